//! `sync_outbox` and `sync_outbox_fields`: fetches and saves entries. What becomes of one is `decide/entry`'s to say.
//!
//! Triggers on the mirror tables write here too (`store/shape/triggers.rs`); what they promise stands there.

mod bulk;
mod change;
mod fields;
mod givers;
mod guarded;
pub mod links;
pub(crate) mod links_due;
mod made;
mod missing;
mod queue;
mod sent;
mod shown;

use rusqlite::{Connection, Row, named_params};

use self::fields::spelled_row;
use crate::model::entry::{Entry, EntryState, Operation, Standing, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::database::text;

pub(crate) use self::bulk::{
    heal_times, is_outdated_refusal, is_put_off_by_a_clock, release_backfill, release_property,
    revive_refused,
};
pub(crate) use self::change::{
    UNRECORDED, become_archive, become_update, hold_to_the_look, lose, name_holder, never_due,
    park, park_without_row, put_off, put_off_saying, put_off_unread, refuse_discard, rename_record,
    unclaim, undelete,
};
pub use self::change::{act, claim, decide, retry};
pub(crate) use self::fields::{
    clear_sent, drop_field, drop_fields, is_writable, put_field, writable,
};
pub use self::fields::{fields, set_sent};
pub(crate) use self::givers::givers;
pub(crate) use self::guarded::{GuardedEntries, cover};
pub use self::made::end;
pub(crate) use self::made::{ensure_update, exclude, queue_create, set_row};
pub(crate) use self::queue::MAY_BE_SENT;
pub(crate) use self::queue::{WaitingEntry, backlog, next_due, waiting, waiting_archives};
pub use self::queue::{discarded, due, in_flight, objects};
pub(crate) use self::sent::{
    check_sent, correlate, forget_owed, forget_sent, is_creating, keyless_create_in_doubt,
    move_sent, owes, remember_sent,
};
pub use self::sent::{owed, sent_earlier};
pub(crate) use self::shown::{note_shown, shown_version};
pub(crate) use crate::decide::entry::UNWRITABLE;
pub use crate::decide::entry::{Answered, Attempt};

/// What `last_error` says of an entry whose record an answer did not show, or in no form that can be read.
pub(crate) const UNREAD: &str = "HubSpot's answer shows the record in no form that can be read, or not at all, so that nothing is written over it: it is read again; see sync_unreadable";

/// Which entries are a row's own, at most one a row; the others are associations of it. In the words of the index
/// `sync_outbox_record`.
pub(crate) const OF_ROW: &str = "operation NOT IN ('associate', 'disassociate')";

/// The same entries one operation after the other, for a query that is to go by the index `sync_outbox_due`.
pub(crate) const LISTED: &str = "operation IN ('create', 'update', 'archive')";

/// What says where an entry stands, in the order in which `standing_of` reads it.
const STANDING: &str = "operation, hs_id, state, attempts, enqueued_at, next_attempt_at, waits_for, unanswered_since, last_error, \
     sent_over, sent_keyless, taken_by, discarded_at, approved_hold, row IS NOT NULL";

pub(crate) fn unknown(what: &str, text: &str) -> StoreError {
    StoreError::UnknownValue(format!("`{text}` as {what} of `sync_outbox`"))
}

fn time_of(text: &str) -> Result<Timestamp, StoreError> {
    Timestamp::parse(text).ok_or_else(|| unknown("a time", text))
}

fn standing_of(row: &Row<'_>) -> Result<Standing, StoreError> {
    let time = |index: usize| -> Result<Option<Timestamp>, StoreError> {
        let text: Option<String> = row.get(index)?;
        text.as_deref().map(time_of).transpose()
    };
    let (operation, state): (String, String) = (row.get(0)?, row.get(2)?);
    let waits_for: Option<String> = row.get(6)?;
    let waits_for =
        waits_for.map(|text| WaitsFor::parse(&text).ok_or_else(|| unknown("waits_for", &text)));
    let enqueued_at: String = row.get(4)?;
    Ok(Standing {
        operation: Operation::parse(&operation).ok_or_else(|| unknown("operation", &operation))?,
        hs_id: row.get::<_, Option<i64>>(1)?.map(HubspotId),
        state: EntryState::parse(&state).ok_or_else(|| unknown("state", &state))?,
        attempts: row.get(3)?,
        enqueued_at: time_of(&enqueued_at)?,
        due: time(5)?,
        waits_for: waits_for.transpose()?,
        unanswered_since: time(7)?,
        last_error: row.get(8)?,
        sent_over: time(9)?,
        sent_keyless: row.get(10)?,
        taken_by: row.get::<_, Option<i64>>(11)?.map(LocalId),
        discarded_at: time(12)?,
        approved_hold: row.get(13)?,
        has_row: row.get(14)?,
    })
}

/// The columns are those of `select`.
fn from_row(connection: &Connection, row: &Row<'_>) -> Result<Entry, StoreError> {
    let id = OutboxId(row.get(15)?);
    let kept = text::json_of(row, 19)?;
    Ok(Entry {
        id,
        local_id: LocalId(row.get(16)?),
        standing: standing_of(row)?,
        version: row.get(17)?,
        key: row.get(18)?,
        row: kept
            .map(|kept| spelled_row(connection, id, &kept))
            .transpose()?,
        fields: fields(connection, id)?,
    })
}

/// Where an entry stands; `None` where it is gone.
pub fn standing(connection: &Connection, id: OutboxId) -> Result<Option<Standing>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {STANDING} FROM sync_outbox WHERE id = :id"
    ))?;
    let mut rows = statement.query(named_params! { ":id": id.0 })?;
    rows.next()?.map(standing_of).transpose()
}

fn one(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Option<Entry>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?
        .map(|row| from_row(connection, row))
        .transpose()
}

fn many(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(from_row(connection, row)?);
    }
    Ok(entries)
}

/// The entry of a row.
pub fn of_row(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Option<Entry>, StoreError> {
    let sql = select(&format!("WHERE object = ?1 AND local_id = ?2 AND {OF_ROW}"));
    one(connection, &sql, (object.as_str(), local_id.0))
}

/// The entry of a record whose row was deleted or is being pushed.
pub fn of_record(
    connection: &Connection,
    object: &ObjectType,
    hs_id: HubspotId,
) -> Result<Option<Entry>, StoreError> {
    let sql = select(&format!(
        "WHERE object = ?1 AND hs_id = ?2 AND {OF_ROW} LIMIT 1"
    ));
    one(connection, &sql, (object.as_str(), hs_id.0))
}

/// The create that carries a key.
pub(crate) fn of_key(
    connection: &Connection,
    object: &ObjectType,
    key: &str,
) -> Result<Option<Entry>, StoreError> {
    one(
        connection,
        &select("WHERE key = ?2 AND object = ?1 AND operation = 'create'"),
        (object.as_str(), key),
    )
}

/// An entry by its id.
pub fn by_id(connection: &Connection, id: OutboxId) -> Result<Option<Entry>, StoreError> {
    one(connection, &select("WHERE id = ?1"), [id.0])
}

/// Whether an entry is dead for a reason in these words.
pub(crate) fn is_dead_saying(
    connection: &Connection,
    id: OutboxId,
    explanation: &str,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM sync_outbox WHERE id = :id AND state = 'dead' AND last_error = :words",
        )?
        .exists(named_params! { ":id": id.0, ":words": explanation })?)
}

fn select(condition: &str) -> String {
    format!("SELECT {STANDING}, id, local_id, version, key, row FROM sync_outbox {condition}")
}
