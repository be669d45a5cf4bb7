//! `_sync_held_clears`: values that one side emptied and that the guard holds, and what it counts of a column. Fetches and saves,
//! decides nothing.

use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, named_params};

use crate::model::id::{HoldId, HubspotId, LocalId, OutboxId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};
use crate::store::database::text;
use crate::store::holds::Side;
use crate::store::outbox::OF_ROW;
use crate::store::shape::ddl::quoted;
use crate::store::{StoreError, meta};

/// A field that is held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeldClear {
    /// The property.
    pub property: PropertyName,
    /// The row.
    pub local_id: LocalId,
    /// Its record.
    pub hs_id: Option<HubspotId>,
    /// Where it would be emptied.
    pub side: Side,
    /// What HubSpot held when it was held: the base of the change.
    pub remote: Value,
    /// What HubSpot has shown since, where that is something else.
    pub shown: Option<Value>,
    /// When it was emptied.
    pub changed_at: Timestamp,
}

impl HeldClear {
    /// What HubSpot holds as far as is known.
    pub(crate) fn last_shown(&self) -> &Value {
        self.shown.as_ref().unwrap_or(&self.remote)
    }
}

const COLUMNS: &str =
    "h.property, h.local_id, h.hs_id, h.side, h.remote_value, h.changed_at, s.type, h.shown_value";

const FROM: &str = "FROM _sync_held_clears AS h
     LEFT JOIN sync_fields AS s ON s.object = h.object AND s.property = h.property";

fn from_row(row: &Row<'_>) -> Result<HeldClear, StoreError> {
    let (property, side, changed_at): (String, String, String) =
        (row.get(0)?, row.get(3)?, row.get(5)?);
    let kind: Option<String> = row.get(6)?;
    let kind = kind.as_deref().and_then(PropertyType::parse);
    let value = |held: Option<String>| {
        let canonical = kind.and_then(|kind| kind.canonical(held.as_deref()).ok());
        canonical.unwrap_or_else(|| Value::from_stored(held))
    };
    let (remote, shown) = (value(text::of(row, 4)?), text::of(row, 7)?);
    Ok(HeldClear {
        property: PropertyName::parse(&property)
            .map_err(|error| StoreError::UnknownValue(error.to_string()))?,
        local_id: LocalId(row.get(1)?),
        hs_id: row.get::<_, Option<i64>>(2)?.map(HubspotId),
        side: match side.as_str() {
            "local" => Side::Local,
            _ => Side::Hubspot,
        },
        remote,
        shown: shown.map(|shown| value(Some(shown))),
        changed_at: Timestamp::parse(&changed_at).unwrap_or_default(),
    })
}

fn many(
    connection: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<HeldClear>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} {FROM} {condition}"))?;
    let mut rows = statement.query(params)?;
    let mut held = Vec::new();
    while let Some(row) = rows.next()? {
        held.push(from_row(row)?);
    }
    Ok(held)
}

/// Whether anything of an object is held.
pub(crate) fn has_any(connection: &Connection, object: &ObjectType) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM _sync_held_clears WHERE object = :object LIMIT 1")?
        .exists(named_params! { ":object": object.as_str() })?)
}

/// What is held of a row.
pub(crate) fn of_row(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Vec<HeldClear>, StoreError> {
    many(
        connection,
        "WHERE h.object = ?1 AND h.local_id = ?2",
        (object.as_str(), local_id.0),
    )
}

/// What is held on its way to HubSpot of rows of which nothing else waits, row by row.
pub(crate) fn without_entry(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<HeldClear>, StoreError> {
    many(
        connection,
        &format!(
            "WHERE h.object = ?1 AND h.side = 'hubspot'
               AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e
                               WHERE e.object = h.object AND e.local_id = h.local_id AND {OF_ROW} AND state <> 'dead')
             ORDER BY h.local_id, h.property"
        ),
        [object.as_str()],
    )
}

/// What is held of rows that are gone, without an entry; at most `limit`.
pub(crate) fn of_gone(
    connection: &Connection,
    object: &ObjectType,
    table: &str,
    limit: usize,
) -> Result<Vec<HeldClear>, StoreError> {
    if !has_any(connection, object)? {
        return Ok(Vec::new());
    }
    let table = quoted(table);
    many(
        connection,
        &format!(
            "WHERE h.object = ?1
               AND NOT EXISTS (SELECT 1 FROM {table} AS m WHERE m.local_id = h.local_id)
               AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.object = h.object AND e.local_id = h.local_id)
             LIMIT ?2"
        ),
        (object.as_str(), limit as i64),
    )
}

/// What a hold holds, as many as `limit`.
pub(crate) fn of_hold(
    connection: &Connection,
    hold: HoldId,
    limit: usize,
) -> Result<Vec<HeldClear>, StoreError> {
    many(
        connection,
        "WHERE h.hold_id = ?1 ORDER BY h.local_id LIMIT ?2",
        (hold.0, limit as i64),
    )
}

/// How much of a property is held.
pub(crate) fn count(
    connection: &Connection,
    object: &ObjectType,
    side: Side,
    property: &PropertyName,
) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM _sync_held_clears
             WHERE object = :object AND property = :property AND side = :side",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":property": property.as_str(), ":side": side.as_str() },
            |row| row.get(0),
        )?;
    Ok(count.unsigned_abs())
}

/// Holds one.
pub(crate) fn hold(
    tx: &Transaction<'_>,
    object: &ObjectType,
    field: &HeldClear,
    hold: HoldId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO _sync_held_clears
             (object, property, local_id, hs_id, side, hold_id, remote_value, changed_at)
         VALUES (:object, :property, :local_id, :hs_id, :side, :hold, :remote, :changed_at)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":property": field.property.as_str(),
        ":local_id": field.local_id.0,
        ":hs_id": field.hs_id.map(|id| id.0),
        ":side": field.side.as_str(),
        ":hold": hold.0,
        ":remote": field.remote.as_deref(),
        ":changed_at": field.changed_at.to_string(),
    })?;
    Ok(())
}

/// Notes what HubSpot shows of it by now.
pub(crate) fn note_shown(
    tx: &Transaction<'_>,
    object: &ObjectType,
    held: &HeldClear,
    shown: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_held_clears
         SET shown_value = :shown
         WHERE object = :object AND property = :property AND local_id = :local_id",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":property": held.property.as_str(),
        ":local_id": held.local_id.0,
        ":shown": shown.as_deref(),
    })?;
    Ok(())
}

/// It is held no more.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    object: &ObjectType,
    held: &HeldClear,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_held_clears
         WHERE object = :object AND property = :property AND local_id = :local_id",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":property": held.property.as_str(),
        ":local_id": held.local_id.0,
    })?;
    Ok(())
}

/// Entries that wait to empty a property of their record, and that no approval covers.
fn emptying(table: &str, column: &str) -> String {
    let (table, column) = (quoted(table), quoted(column));
    format!(
        "FROM sync_outbox AS e
         JOIN sync_outbox_fields AS f ON f.outbox_id = e.id AND f.property = :property
         JOIN {table} AS m ON m.local_id = e.local_id
         WHERE e.object = :object AND e.operation = 'update' AND e.state = 'pending'
           AND e.approved_hold IS NULL AND e.discarded_at IS NULL AND e.unanswered_since IS NULL
           AND f.base_known = 1 AND f.sent_value IS NULL AND coalesce(f.base_value, '') <> ''
           AND coalesce(m.{column}, '') = ''"
    )
}

/// How many they are.
pub(crate) fn waiting(
    connection: &Connection,
    object: &ObjectType,
    property: &PropertyName,
    (table, column): (&str, &str),
) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) {}", emptying(table, column));
    let count: i64 = connection.prepare_cached(&sql)?.query_row(
        named_params! { ":object": object.as_str(), ":property": property.as_str() },
        |row| row.get(0),
    )?;
    Ok(count.unsigned_abs())
}

/// Takes them out of their entries. Tells which entries these are.
pub(crate) fn take_out(
    tx: &Transaction<'_>,
    object: &ObjectType,
    property: &PropertyName,
    (table, column): (&str, &str),
    hold: HoldId,
) -> Result<Vec<OutboxId>, StoreError> {
    let from = emptying(table, column);
    let whose = named_params! { ":object": object.as_str(), ":property": property.as_str() };
    let ids = tx
        .prepare_cached(&format!("SELECT e.id {from}"))?
        .query_map(whose, |row| row.get(0).map(OutboxId))?
        .collect::<Result<Vec<_>, _>>()?;
    tx.prepare_cached(&format!(
        "INSERT OR REPLACE INTO _sync_held_clears
             (object, property, local_id, hs_id, side, hold_id, remote_value, changed_at)
         SELECT e.object, f.property, e.local_id, e.hs_id, 'hubspot', :hold, f.base_value, f.changed_at {from}"
    ))?
    .execute(named_params! { ":object": object.as_str(), ":property": property.as_str(), ":hold": hold.0 })?;
    let mut drop = tx.prepare_cached(
        "DELETE FROM sync_outbox_fields WHERE outbox_id = :id AND property = :property",
    )?;
    for id in &ids {
        drop.execute(named_params! { ":id": id.0, ":property": property.as_str() })?;
    }
    Ok(ids)
}

/// How many rows hold a value in a column, no more than `most` of them.
pub(crate) fn filled(
    connection: &Connection,
    (table, column): (&str, &str),
    most: Option<u64>,
) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {} WHERE coalesce({}, '') <> '' LIMIT :most)",
        quoted(table),
        quoted(column)
    );
    let most = most.map_or(-1, |most| most as i64);
    let count: i64 = connection
        .prepare_cached(&sql)?
        .query_row(named_params! { ":most": most }, |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// How many of these records' rows hold a value in a column.
pub(crate) fn filled_of(
    connection: &Connection,
    (table, column): (&str, &str),
    records: &[HubspotId],
) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE hs_id IN (SELECT value FROM json_each(:ids)) AND coalesce({}, '') <> ''",
        quoted(table),
        quoted(column)
    );
    let ids: Vec<i64> = records.iter().map(|id| id.0).collect();
    let count: i64 = connection.prepare_cached(&sql)?.query_row(
        named_params! { ":ids": serde_json::json!(ids).to_string() },
        |row| row.get(0),
    )?;
    Ok(count.unsigned_abs())
}

/// What of the guard's bounds is looked at where HubSpot's values are taken: the share of a column and the window.
const BOUND: &str = "guard_cleared";

/// Keeps it for the transactions of this run.
pub(crate) fn set_bound(tx: &Transaction<'_>, guard: &Guard) -> Result<(), StoreError> {
    let text = format!("{} {}", guard.max_cleared, guard.window.as_millis());
    meta::set(tx, BOUND, &text)
}

/// The bound; `None` where there is none.
pub(crate) fn bound(connection: &Connection) -> Result<Option<(f64, Duration)>, StoreError> {
    let text = meta::get(connection, BOUND)?;
    let parts = text.as_deref().and_then(|text| text.split_once(' '));
    Ok(parts.and_then(|(share, window)| {
        let share: f64 = share.parse().ok()?;
        let window = Duration::from_millis(window.parse().ok()?);
        (share < 1.0).then_some((share, window))
    }))
}
