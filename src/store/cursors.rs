//! `_sync_cursors` and `_sync_again`: how far each object is. A cursor moves only in the transaction that applies the page.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::cursor::SearchWindow;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::fields::FieldState;
use crate::store::ranges::{self, ListWalk};
use crate::store::shape::bypassed;
use crate::store::{StoreError, modes};

/// Where an object's first full read stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfill {
    /// Not begun.
    Waiting,
    /// Some pages are in.
    Running,
    /// All pages are in.
    Done,
}

/// An object's cursor.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Where the first full read stands.
    pub backfill: Backfill,
    /// When it began, by HubSpot's clock.
    pub backfill_started_at: Option<Timestamp>,
    /// Records read so far.
    pub backfill_rows: u64,
    /// Records that HubSpot has, where it was asked.
    pub backfill_total: Option<u64>,
    /// By HubSpot's clock, every change up to here is known.
    pub polled_to: Option<Timestamp>,
    /// The window whose walk was begun.
    pub window: Option<SearchWindow>,
    /// When the last full comparison began, by this machine's clock; `None` between two.
    pub reconcile_started_at: Option<Timestamp>,
    /// Whether it is at the list of archived records.
    pub reconcile_archived: bool,
    /// When the last one ended.
    pub last_reconcile_at: Option<Timestamp>,
    /// Where the filling of new columns goes on; the empty text is the first page.
    pub filling_after: Option<String>,
    /// When HubSpot last brought a change, by this machine's clock; the first full read brings none.
    pub last_change_at: Option<Timestamp>,
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(Timestamp::parse)
}

/// Reads an object's cursor.
pub fn get(connection: &Connection, object: &ObjectType) -> Result<Cursor, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT backfill, backfill_started_at, backfill_rows, backfill_total, polled_to,
                window_from, window_to, window_last_id, reconcile_started_at,
                last_reconcile_at, filling_after, reconcile_archived, last_change_at
         FROM _sync_cursors
         WHERE object = :object",
    )?;
    let cursor = statement.query_row(named_params! { ":object": object.as_str() }, |row| {
        let backfill: String = row.get(0)?;
        let window = time(row.get::<_, Option<String>>(5)?.as_deref())
            .zip(time(row.get::<_, Option<String>>(6)?.as_deref()));
        let last_id: Option<i64> = row.get(7)?;
        Ok(Cursor {
            backfill: match backfill.as_str() {
                "done" => Backfill::Done,
                "running" => Backfill::Running,
                _ => Backfill::Waiting,
            },
            backfill_started_at: time(row.get::<_, Option<String>>(1)?.as_deref()),
            backfill_rows: row.get::<_, i64>(2)?.unsigned_abs(),
            backfill_total: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
            polled_to: time(row.get::<_, Option<String>>(4)?.as_deref()),
            window: window.map(|(from, to)| SearchWindow {
                from,
                to,
                last_id: last_id.map(HubspotId),
            }),
            reconcile_started_at: time(row.get::<_, Option<String>>(8)?.as_deref()),
            last_reconcile_at: time(row.get::<_, Option<String>>(9)?.as_deref()),
            filling_after: row.get(10)?,
            reconcile_archived: row.get(11)?,
            last_change_at: time(row.get::<_, Option<String>>(12)?.as_deref()),
        })
    })?;
    Ok(cursor)
}

/// Begins the first full read.
pub fn begin_backfill(
    tx: &Transaction<'_>,
    object: &ObjectType,
    hubspot_now: Timestamp,
) -> Result<(), StoreError> {
    let begun = tx
        .prepare_cached(
            "UPDATE _sync_cursors
             SET backfill = 'running', backfill_started_at = :now, backfill_rows = 0
             WHERE object = :object AND backfill = 'waiting'",
        )?
        .execute(named_params! { ":object": object.as_str(), ":now": hubspot_now.to_string() })?;
    if begun > 0 {
        ranges::begin(tx, object, ListWalk::Backfill)?;
    }
    Ok(())
}

/// Counts the records of a page of the first full read. `started` is when it began, as the pages so far know it.
pub fn count_backfill(
    tx: &Transaction<'_>,
    object: &ObjectType,
    rows: usize,
    started: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET backfill_rows = backfill_rows + :rows, backfill_started_at = :started
         WHERE object = :object",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":rows": rows as i64,
        ":started": started.to_string(),
    })?;
    Ok(())
}

/// Begins the first full read's list again, as one chain: what its pages say of their ids makes no sense.
pub(crate) fn list_again(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
) -> Result<(), StoreError> {
    if walk == ListWalk::Backfill {
        tx.prepare_cached("UPDATE _sync_cursors SET backfill_rows = 0 WHERE object = :object")?
            .execute(named_params! { ":object": object.as_str() })?;
    }
    ranges::begin(tx, object, walk)
}

/// Notes how many records HubSpot has.
pub(crate) fn set_backfill_total(
    tx: &Transaction<'_>,
    object: &ObjectType,
    total: u64,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_cursors SET backfill_total = :total WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str(), ":total": total as i64 })?;
    Ok(())
}

/// Ends the first full read: polling goes on from where that began. One whose table was made again meanwhile begins anew.
pub fn end_backfill(
    tx: &Transaction<'_>,
    object: &ObjectType,
    polled_to: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET backfill = 'done', polled_to = :polled_to
         WHERE object = :object AND backfill = 'running'",
    )?
    .execute(named_params! { ":object": object.as_str(), ":polled_to": polled_to.to_string() })?;
    modes::note_filled(tx, object, FieldState::Active)?;
    ranges::clear(tx, object, ListWalk::Backfill)
}

/// Saves how far the walk of a poll's window got.
pub fn save_window(
    tx: &Transaction<'_>,
    object: &ObjectType,
    window: &SearchWindow,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET window_from = :from, window_to = :to, window_last_id = :last_id
         WHERE object = :object",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":from": window.from.to_string(),
        ":to": window.to.to_string(),
        ":last_id": window.last_id.map(|id| id.0),
    })?;
    Ok(())
}

/// Ends a window: everything up to its end is known.
pub fn end_window(
    tx: &Transaction<'_>,
    object: &ObjectType,
    to: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET polled_to = :to, window_from = NULL, window_to = NULL, window_last_id = NULL, last_poll_at = :now
         WHERE object = :object",
    )?
    .execute(named_params! { ":object": object.as_str(), ":to": to.to_string(), ":now": now.to_string() })?;
    Ok(())
}

/// Sets a poll back that stands in HubSpot's future, its walks again too.
pub(crate) fn set_back(
    tx: &Transaction<'_>,
    object: &ObjectType,
    to: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET polled_to = :to, window_from = NULL, window_to = NULL, window_last_id = NULL
         WHERE object = :object",
    )?
    .execute(named_params! { ":object": object.as_str(), ":to": to.to_string() })?;
    tx.prepare_cached("DELETE FROM _sync_again WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str() })?;
    Ok(())
}

/// Notes that HubSpot changed something here.
pub(crate) fn set_last_change(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_cursors SET last_change_at = :now WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str(), ":now": now.to_string() })?;
    Ok(())
}

/// Keeps the words of an object's last error, and the code of the first of them.
pub(crate) fn set_error(
    tx: &Transaction<'_>,
    object: &ObjectType,
    failing: Option<(&str, Option<&str>)>,
) -> Result<(), StoreError> {
    let (explanation, code) = failing.unzip();
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET last_error = :words,
             last_error_code = :code
         WHERE object = :object",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":words": explanation,
        ":code": code.flatten(),
    })?;
    Ok(())
}

/// The objects of which something waits to be sent and can't be at present, each with the code that says why.
pub(crate) fn kept_back(connection: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT k.object, k.forbidden_code
         FROM _sync_cursors AS k
         WHERE k.forbidden_code IS NOT NULL
           AND EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.object = k.object AND e.state <> 'dead')
         ORDER BY k.object",
    )?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Keeps the sentences on what HubSpot forbids of an object, with their code, and whether its records can be read.
pub(crate) fn set_forbidden(
    tx: &Transaction<'_>,
    object: &ObjectType,
    forbidden: Option<(&str, &str)>,
    is_readable: bool,
) -> Result<(), StoreError> {
    let (explanation, code) = forbidden.unzip();
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET forbidden = :words, forbidden_code = :code, is_readable = :is_readable
         WHERE object = :object",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":words": explanation,
        ":code": code,
        ":is_readable": is_readable,
    })?;
    Ok(())
}

/// Begins a full comparison.
pub(crate) fn begin_reconcile(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    let begun = tx
        .prepare_cached(
            "UPDATE _sync_cursors
             SET reconcile_started_at = :now, reconcile_archived = 0
             WHERE object = :object AND reconcile_started_at IS NULL",
        )?
        .execute(named_params! { ":object": object.as_str(), ":now": now.to_string() })?;
    if begun > 0 {
        ranges::begin(tx, object, ListWalk::Reconcile)?;
    }
    Ok(())
}

/// Begins a comparison anew, also where one runs: what it has passed may have been written since.
pub(crate) fn compare(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET reconcile_started_at = :now, reconcile_archived = 0
         WHERE object = :object",
    )?
    .execute(named_params! { ":object": object.as_str(), ":now": now.to_string() })?;
    ranges::begin(tx, object, ListWalk::Reconcile)
}

/// Goes on with a full comparison at the list of archived records.
pub(crate) fn turn_to_archive(tx: &Transaction<'_>, object: &ObjectType) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET reconcile_archived = 1
         WHERE object = :object",
    )?
    .execute(named_params! { ":object": object.as_str() })?;
    ranges::begin(tx, object, ListWalk::Reconcile)
}

/// Ends a full comparison.
pub(crate) fn end_reconcile(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET last_reconcile_at = :now, reconcile_started_at = NULL, reconcile_archived = 0
         WHERE object = :object",
    )?
    .execute(named_params! { ":object": object.as_str(), ":now": now.to_string() })?;
    ranges::clear(tx, object, ListWalk::Reconcile)?;
    bypassed::compared(tx, object)
}

/// Moves the filling of new columns; `None` ends it.
pub(crate) fn move_filling(
    tx: &Transaction<'_>,
    object: &ObjectType,
    after: Option<&str>,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_cursors SET filling_after = :after WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str(), ":after": after })?;
    Ok(())
}

/// Where a chain of walks again stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgainWalk {
    /// Everything up to here was walked again.
    pub walked_to: Timestamp,
    /// The window whose walk was begun.
    pub window: Option<SearchWindow>,
}

/// Reads a chain of walks again.
pub fn again(
    connection: &Connection,
    object: &ObjectType,
    delay: Duration,
) -> Result<Option<AgainWalk>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT walked_to, window_to, last_id
         FROM _sync_again
         WHERE object = :object AND delay_ms = :delay",
    )?;
    let found = statement
        .query_row(
            named_params! { ":object": object.as_str(), ":delay": delay.as_millis() as i64 },
            |row| {
                Ok((
                    row.get::<_, Option<String>>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<i64>>(2)?,
                ))
            },
        )
        .optional()?;
    Ok(found.and_then(|(walked_to, window_to, last_id)| {
        let walked_to = time(walked_to.as_deref())?;
        let window = time(window_to.as_deref()).map(|to| SearchWindow {
            from: walked_to,
            to,
            last_id: last_id.map(HubspotId),
        });
        Some(AgainWalk { walked_to, window })
    }))
}

/// Saves a chain of walks again.
pub(crate) fn save_again(
    tx: &Transaction<'_>,
    object: &ObjectType,
    delay: Duration,
    again: &AgainWalk,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_again (object, delay_ms, walked_to, window_to, last_id)
         VALUES (:object, :delay, :walked_to, :window_to, :last_id)
         ON CONFLICT (object, delay_ms) DO UPDATE
         SET walked_to = excluded.walked_to, window_to = excluded.window_to, last_id = excluded.last_id",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":delay": delay.as_millis() as i64,
        ":walked_to": again.walked_to.to_string(),
        ":window_to": again.window.map(|window| window.to.to_string()),
        ":last_id": again.window.and_then(|window| window.last_id).map(|id| id.0),
    })?;
    Ok(())
}

/// How far an object's first full read is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackfillProgress {
    /// The object.
    pub object: String,
    /// Records read so far.
    pub rows: u64,
    /// Records that HubSpot has, where it was asked.
    pub total: Option<u64>,
    /// Whether all are read.
    pub done: bool,
}

/// The first full reads that have begun.
pub(crate) fn backfills(connection: &Connection) -> Result<Vec<BackfillProgress>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, backfill_rows, backfill_total, backfill = 'done'
         FROM _sync_cursors
         WHERE backfill <> 'waiting'
         ORDER BY object",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(BackfillProgress {
            object: row.get(0)?,
            rows: row.get::<_, i64>(1)?.unsigned_abs(),
            total: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
            done: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
