//! What the file remembers about itself (`sync_meta`).

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::store::StoreError;

/// The database's own random id.
pub const DATABASE_ID: &str = "database_id";
/// The portal that the file was filled from.
pub const PORTAL_ID: &str = "portal_id";
/// The account's time zone.
pub const TIME_ZONE: &str = "time_zone";
/// HubSpot's clock less ours, in milliseconds.
pub const CLOCK_OFFSET_MS: &str = "clock_offset_ms";

/// A remembered value.
pub fn get(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM sync_meta WHERE name = :name")?;
    let value = statement.query_row(named_params! { ":name": name }, |row| row.get(0)).optional()?;
    Ok(value.flatten())
}

/// Remembers a value.
pub fn set(tx: &Transaction<'_>, name: &str, value: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_meta (name, value)
         VALUES (:name, :value)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(named_params! { ":name": name, ":value": value })?;
    Ok(())
}
