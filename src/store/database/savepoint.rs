//! Work inside a transaction that may be taken back alone.

use rusqlite::Transaction;

use crate::store::StoreError;

/// Does some work; an error takes that work back and leaves the rest of the transaction as it is.
pub fn within<T>(
    tx: &Transaction<'_>,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    tx.prepare_cached("SAVEPOINT part")?.execute([])?;
    let done = work();
    if done.is_err() && tx.is_autocommit() {
        // A full disk, a full table or no memory: SQLite has taken the whole transaction back, and the error says why.
        return done;
    }
    if done.is_err() {
        tx.prepare_cached("ROLLBACK TO part")?.execute([])?;
    }
    tx.prepare_cached("RELEASE part")?.execute([])?;
    done
}
