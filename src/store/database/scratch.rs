//! A copy of the database in which a rehearsal writes: nobody sees what is done in it, and it is gone once it is dropped.

use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ffi};

use crate::store::StoreError;
use crate::store::database::writer;

/// Copies what a connection sees, in one state of it. SQLite keeps the copy in memory while it is small, and else in a file
/// without a name, which no crash leaves behind.
///
/// # Errors
/// The database refuses, or there is no room for the copy.
pub(crate) fn copy(of: &Connection) -> Result<Connection, StoreError> {
    let mut copy = Connection::open("")?;
    let done = Backup::new(of, &mut copy)?.step(-1)?;
    if done != StepResult::Done {
        return Err(busy().into());
    }
    writer::harden(&copy, Duration::ZERO)?;
    copy.pragma_update(None, "foreign_keys", true)?;
    // What the daemon writes fires no trigger.
    copy.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    Ok(copy)
}

fn busy() -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)
}
