//! Entries that the daemon makes, and ends.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::outbox::OF_ROW;
use crate::store::outbox::fields::drop_fields;
use crate::store::outbox::missing;

/// The entry of a row, made as an update where there is none.
pub(crate) fn ensure_update(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    hs_id: HubspotId,
    now: Timestamp,
) -> Result<OutboxId, StoreError> {
    if let Some(id) = id_of_row(tx, object, local_id)? {
        return Ok(id);
    }
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
         VALUES (:object, :local_id, :hs_id, 'update', :now, :now)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":hs_id": hs_id.0,
        ":now": now.to_string(),
    })?;
    Ok(OutboxId(tx.last_insert_rowid()))
}

pub(super) fn id_of_row(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Option<OutboxId>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT id
             FROM sync_outbox
             WHERE object = :object AND local_id = :local_id AND {OF_ROW}"
        ))?
        .query_row(
            named_params! { ":object": object.as_str(), ":local_id": local_id.0 },
            |row| row.get(0).map(OutboxId),
        )
        .optional()?)
}

/// Queues a create for a row that lost its record and was written at `written_at`.
pub(crate) fn queue_create(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    key: &str,
    written_at: Timestamp,
    now: Timestamp,
) -> Result<OutboxId, StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, key)
         VALUES (:object, :local_id, 'create', :written_at, :now, :key)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":written_at": written_at.to_string(),
        ":now": now.to_string(),
        ":key": key,
    })?;
    Ok(OutboxId(tx.last_insert_rowid()))
}

/// Replaces the row that a deleted record's entry keeps.
pub(crate) fn set_row(tx: &Transaction<'_>, id: OutboxId, row: &str) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_outbox SET row = :row WHERE id = :id")?
        .execute(named_params! { ":id": id.0, ":row": row })?;
    Ok(())
}

/// Ends an entry.
pub fn end(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    drop_fields(tx, id)?;
    tx.prepare_cached("DELETE FROM sync_outbox WHERE id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// Notes that a row stays here although HubSpot does not have it: nothing waits for it any more, and nobody missed its INSERT.
pub(crate) fn exclude(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_excluded (object, local_id)
         VALUES (:object, :local_id)
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! { ":object": object.as_str(), ":local_id": local_id.0 })?;
    missing::tell(tx, object.as_str(), local_id)
}
