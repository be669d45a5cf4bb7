//! Erases what the file holds of a record: HubSpot deleted it for good because of a privacy law.
//!
//! SQLite overwrites the freed bytes (`secure_delete`, on for all that the daemon writes), and the log is emptied after
//! the commit ([`Store::empty_log`](crate::store::Store::empty_log)), so that no copy stays in the file.

use rusqlite::{Transaction, named_params};

use crate::model::id::{HubspotId, LocalId};
use crate::model::time::Timestamp;
use crate::store::mirror::MirrorTable;
use crate::store::{StoreError, meta, reads};

/// Set while the log still holds what was erased.
const LOG_TO_EMPTY: &str = "log_to_empty";

/// Erases a record from mirror, history, conflicts, inbox and outbox. Its id stays in `sync_tombstones`, so that a late
/// page does not bring it back.
pub fn erase(
    tx: &Transaction<'_>,
    table: &MirrorTable,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let object = &table.mapping().object;
    for row in rows_of(tx, table, id)? {
        let own = named_params! { ":object": object.as_str(), ":row": row.0 };
        for sql in [
            "DELETE FROM sync_outbox_fields
             WHERE outbox_id IN (SELECT id FROM sync_outbox WHERE object = :object AND local_id = :row)",
            "DELETE FROM sync_outbox WHERE object = :object AND local_id = :row",
            "DELETE FROM sync_sent WHERE object = :object AND local_id = :row",
            "DELETE FROM sync_replaced WHERE object = :object AND local_id = :row",
            "DELETE FROM sync_history WHERE object = :object AND local_id = :row",
            "DELETE FROM sync_conflicts WHERE object = :object AND local_id = :row",
        ] {
            tx.prepare_cached(sql)?.execute(own)?;
        }
        table.delete(tx, row)?;
    }
    let own = named_params! { ":object": object.as_str(), ":id": id.0 };
    for sql in [
        "DELETE FROM sync_history WHERE object = :object AND hs_id = :id",
        "DELETE FROM sync_conflicts WHERE object = :object AND hs_id = :id",
        "DELETE FROM sync_inbox WHERE object = :object AND hs_id = :id",
        "DELETE FROM sync_reads WHERE object = :object AND hs_id = :id",
    ] {
        tx.prepare_cached(sql)?.execute(own)?;
    }
    reads::forget_removal(tx, object, id)?;
    reads::forget_erasure(tx, object, id)?;
    reads::bury(tx, object, id, now)?;
    meta::set(tx, LOG_TO_EMPTY, "1")
}

/// The rows that are or were the record: its row, and those that entries, history and conflicts know under its id. A
/// row that is another record's by now is not among them.
fn rows_of(
    tx: &Transaction<'_>,
    table: &MirrorTable,
    id: HubspotId,
) -> Result<Vec<LocalId>, StoreError> {
    let object = &table.mapping().object;
    let mut statement = tx.prepare_cached(
        "SELECT local_id FROM sync_outbox WHERE object = :object AND hs_id = :id
         UNION SELECT local_id FROM sync_history WHERE object = :object AND hs_id = :id
         UNION SELECT local_id FROM sync_conflicts WHERE object = :object AND hs_id = :id",
    )?;
    let known = statement
        .query_map(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0).map(LocalId),
        )?
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows: Vec<LocalId> = table
        .by_hs_id(tx, id)?
        .map(|row| row.record.local_id)
        .into_iter()
        .collect();
    for row in known {
        let is_others = table
            .by_local_id(tx, row)?
            .is_some_and(|row| row.record.hs_id != Some(id));
        if !is_others && !rows.contains(&row) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether the log still holds what was erased.
pub fn log_is_to_be_emptied(connection: &rusqlite::Connection) -> Result<bool, StoreError> {
    Ok(meta::get(connection, LOG_TO_EMPTY)?.is_some_and(|value| value == "1"))
}

/// The log was emptied.
pub fn log_was_emptied(tx: &Transaction<'_>) -> Result<(), StoreError> {
    meta::set(tx, LOG_TO_EMPTY, "0")
}
