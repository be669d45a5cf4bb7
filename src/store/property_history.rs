//! `property_history`, HubSpot's own history of chosen properties, and `_sync_histories`, the records whose history is to be
//! read: fetches and saves them, decides nothing.
//!
//! A record is put into the queue where its row is written (`store/mirror`): when it is new, and when its last-modified time
//! or its id has moved.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::incoming::convert::ToldValue;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// How often a record's history is asked for that does not come, or comes older than its row.
const MOST_TRIES: i64 = 3;

/// Records whose history is to be read, at most so many.
pub fn due(
    connection: &Connection,
    object: &ObjectType,
    limit: usize,
) -> Result<Vec<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id
         FROM _sync_histories
         WHERE object = :object
         ORDER BY tries, hs_id
         LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! { ":object": object.as_str(), ":limit": limit as i64 },
        |row| row.get(0).map(HubspotId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When histories of an object were asked for last.
pub fn asked_at(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<Option<String>> = connection
        .prepare_cached("SELECT history_asked_at FROM _sync_cursors WHERE object = :object")?
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })
        .optional()?;
    Ok(text.flatten().as_deref().and_then(Timestamp::parse))
}

/// Saves what HubSpot tells of a record. Tells whether something of it is new.
pub(crate) fn save(
    tx: &Transaction<'_>,
    object: &ObjectType,
    record: HubspotId,
    told: &[ToldValue],
) -> Result<bool, StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO property_history (object, hs_id, property, at, value, source_type, source_id)
         VALUES (:object, :hs_id, :property, :at, :value, :source_type, :source_id)
         ON CONFLICT (object, hs_id, property, at) DO UPDATE
         SET value = excluded.value, source_type = excluded.source_type, source_id = excluded.source_id
         WHERE value IS NOT excluded.value
            OR source_type IS NOT excluded.source_type
            OR source_id IS NOT excluded.source_id",
    )?;
    let mut changed = 0;
    for told in told {
        changed += statement.execute(named_params! {
            ":object": object.as_str(),
            ":hs_id": record.0,
            ":property": told.property.as_str(),
            ":at": told.at.to_string(),
            ":value": told.value.as_deref(),
            ":source_type": told.source_type,
            ":source_id": told.source_id,
        })?;
    }
    Ok(changed > 0)
}

/// A record's history is read.
pub fn done(tx: &Transaction<'_>, object: &ObjectType, id: HubspotId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_histories WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(())
}

/// A record's history did not come, or came older than its row: it is asked for again, but not for ever.
pub fn again(tx: &Transaction<'_>, object: &ObjectType, id: HubspotId) -> Result<(), StoreError> {
    let own = named_params! { ":object": object.as_str(), ":id": id.0, ":most": MOST_TRIES };
    tx.prepare_cached(
        "DELETE FROM _sync_histories
         WHERE object = :object AND hs_id = :id AND tries + 1 >= :most",
    )?
    .execute(own)?;
    tx.prepare_cached(
        "UPDATE _sync_histories
         SET tries = tries + 1
         WHERE object = :object AND hs_id = :id AND tries + 1 < :most",
    )?
    .execute(own)?;
    Ok(())
}

/// Notes that histories were asked for. Tells whether all that were to be read are.
pub(crate) fn note_asked(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let is_over = due(tx, object, 1)?.is_empty();
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET history_asked_at = :now,
             last_history_at = CASE WHEN :is_over THEN :now ELSE last_history_at END
         WHERE object = :object",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":now": now.to_string(),
        ":is_over": is_over,
    })?;
    Ok(is_over)
}

/// Forgets the history of a record that is no more.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    done(tx, object, id)?;
    tx.prepare_cached("DELETE FROM property_history WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(())
}

/// Forgets what is told of properties of which nothing is to be told any more.
pub(crate) fn forget_untold(tx: &Transaction<'_>, object: &ObjectType) -> Result<(), StoreError> {
    let own = named_params! { ":object": object.as_str() };
    for sql in [
        "DELETE FROM property_history
         WHERE object = :object
           AND property NOT IN (
               SELECT property FROM _sync_modes WHERE object = :object AND mode = 'remote_history'
           )",
        "DELETE FROM _sync_histories
         WHERE object = :object
           AND NOT EXISTS (
               SELECT 1 FROM _sync_modes WHERE object = :object AND mode = 'remote_history'
           )",
    ] {
        tx.prepare_cached(sql)?.execute(own)?;
    }
    Ok(())
}
