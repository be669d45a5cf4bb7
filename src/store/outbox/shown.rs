//! What was shown of a deleted row's record while its entry waits: there is no row that would know its version.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::id::OutboxId;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// Notes that an answer has shown a version of the record.
pub(crate) fn note_shown(
    tx: &Transaction<'_>,
    id: OutboxId,
    version: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET shown_version = :version
         WHERE id = :id
           AND (shown_version IS NULL OR shown_version < :version)",
    )?
    .execute(named_params! { ":id": id.0, ":version": version.to_string() })?;
    Ok(())
}

/// HubSpot's time of the latest version that was shown of the record.
pub(crate) fn shown_version(
    connection: &Connection,
    id: OutboxId,
) -> Result<Option<Timestamp>, StoreError> {
    let shown: Option<Option<String>> = connection
        .prepare_cached("SELECT shown_version FROM sync_outbox WHERE id = :id")?
        .query_row(named_params! { ":id": id.0 }, |row| row.get(0))
        .optional()?;
    Ok(shown.flatten().as_deref().and_then(Timestamp::parse))
}
