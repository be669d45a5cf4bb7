//! Applies `migrations/` in order, one transaction each; refuses a newer database.
//!
//! The number of the last one applied stands in `user_version`. A migration that was released is never edited.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// The migrations, the first of them number 1.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_bookkeeping.sql")];

/// The newest schema version that this program knows.
pub const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Brings the bookkeeping tables up to date.
///
/// # Errors
/// [`StoreError::NewerDatabase`] where a newer program has been here.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let number = index as i64 + 1;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = version(&tx)?;
        if found > NEWEST {
            return Err(StoreError::NewerDatabase { found, known: NEWEST });
        }
        if found < number {
            tx.execute_batch(migration)?;
            tx.pragma_update(None, "user_version", number)?;
        }
        tx.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
