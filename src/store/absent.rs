//! Records of which an answer said something that is believed only later: those that the token does not see
//! (`[auth] sees = "user"`), and those whose deletion a webhook has announced.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// Notes that an answer missed a record whose row is kept, or what waits of it.
pub fn note_unseen(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_absent (object, hs_id, at, unseen, announced)
         VALUES (:object, :id, :now, 1, 0)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET unseen = 1",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":now": now.to_string() })?;
    Ok(())
}

/// Notes that HubSpot has announced a record's deletion.
pub fn announce(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_absent (object, hs_id, at, unseen, announced)
         VALUES (:object, :id, :now, 0, 1)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET announced = 1",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":now": now.to_string() })?;
    Ok(())
}

/// Whether HubSpot has announced a record's deletion, and has not shown the record since.
pub fn is_announced(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM _sync_absent WHERE object = :object AND hs_id = :id AND announced = 1",
        )?
        .exists(named_params! { ":object": object.as_str(), ":id": id.0 })?)
}

/// Forgets what was said of a record: it is shown, or its row is gone. Tells whether there was something.
pub fn forget(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    let forgotten = tx
        .prepare_cached("DELETE FROM _sync_absent WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(forgotten > 0)
}
