//! What entries say that wait for a record which nothing makes: the create of another row is dead, or was given up. Said where that
//! happens, and by the trigger that makes an association of such a row; forgotten where the wait ends.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::entry::code_in;
use crate::model::id::{LocalId, OutboxId};
use crate::store::StoreError;
use crate::store::shape::associations::{MISSING_RECORD, missing_record};

/// Entries that wait for the record of a row: its associations, and the creates in which one of them goes along.
const WAITING: &str = "SELECT id
     FROM sync_outbox
     WHERE object = :object AND local_id = :local_id AND operation IN ('associate', 'disassociate') AND waits_for = 'create'
     UNION
     SELECT id
     FROM sync_outbox
     WHERE to_object = :object AND to_local_id = :local_id AND waits_for = 'create'
     UNION
     SELECT c.id
     FROM associations AS a
     JOIN sync_outbox AS c ON c.object = a.to_object AND c.local_id = a.to_local_id
     WHERE a.from_object = :object AND a.from_local_id = :local_id
       AND c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create' AND c.waits_for = 'create'
     UNION
     SELECT c.id
     FROM associations AS a
     JOIN sync_outbox AS c ON c.object = a.from_object AND c.local_id = a.from_local_id
     WHERE a.to_object = :object AND a.to_local_id = :local_id
       AND c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create' AND c.waits_for = 'create'";

/// Why nothing makes the record of a row that has none, in a sentence with its code; `None`: its create waits, or is on its way.
pub(crate) fn why_missing(
    connection: &Connection,
    object: &str,
    local_id: LocalId,
) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {}",
            missing_record(":object", ":local_id")
        ))?
        .query_row(
            named_params! { ":object": object, ":local_id": local_id.0 },
            |row| row.get(0),
        )?)
}

/// Tells what waits for a row's record that nothing makes it.
pub(crate) fn tell(
    tx: &Transaction<'_>,
    object: &str,
    local_id: LocalId,
) -> Result<(), StoreError> {
    let Some(why) = why_missing(tx, object, local_id)? else {
        return Ok(());
    };
    tx.prepare_cached(&format!(
        "UPDATE sync_outbox
         SET last_error = :why, code = :code
         WHERE id IN ({WAITING})"
    ))?
    .execute(named_params! {
        ":object": object,
        ":local_id": local_id.0,
        ":why": why,
        ":code": code_in(&why),
    })?;
    Ok(())
}

/// The same of the row of a create.
pub(super) fn tell_of_create(tx: &Transaction<'_>, create: OutboxId) -> Result<(), StoreError> {
    match row_of(tx, create)? {
        Some((object, local_id)) => tell(tx, &object, local_id),
        None => Ok(()),
    }
}

/// What waits for the record of a create's row says no longer that nothing makes it: it is sent again.
pub(super) fn forget_of_create(tx: &Transaction<'_>, create: OutboxId) -> Result<(), StoreError> {
    let Some((object, local_id)) = row_of(tx, create)? else {
        return Ok(());
    };
    tx.prepare_cached(&format!(
        "UPDATE sync_outbox
         SET last_error = NULL, code = NULL
         WHERE code = '{MISSING_RECORD}' AND id IN ({WAITING})"
    ))?
    .execute(named_params! { ":object": object, ":local_id": local_id.0 })?;
    Ok(())
}

/// An entry goes on that may have said so.
pub(super) fn forget(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "UPDATE sync_outbox
         SET last_error = NULL, code = NULL
         WHERE id = :id AND code = '{MISSING_RECORD}'"
    ))?
    .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

fn row_of(
    connection: &Connection,
    create: OutboxId,
) -> Result<Option<(String, LocalId)>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT object, local_id FROM sync_outbox WHERE id = :id")?
        .query_row(named_params! { ":id": create.0 }, |row| {
            Ok((row.get(0)?, LocalId(row.get(1)?)))
        })
        .optional()?)
}
