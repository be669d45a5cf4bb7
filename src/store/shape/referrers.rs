//! Rows of other tables that refer to a mirror row: a program's `REFERENCES contacts (local_id)`.
//!
//! SQLite refuses a DELETE at once where such a row is there, but for a constraint that is deferred: that one would refuse
//! the commit, and with it all that shares the transaction. It is looked at here, while the deletion can be taken back alone.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::id::{HubspotId, LocalId};
use crate::store::StoreError;
use crate::store::shape::ddl::quoted;

/// A column that refers to a mirror table.
#[derive(Debug)]
pub(crate) struct Reference {
    child: String,
    column: String,
    /// The column that is referred to; none stands for the primary key.
    target: Option<String>,
}

/// Whether rows with a deferred constraint still refer to ids that are gone: a deleted row's, or one that a row gave up.
///
/// # Errors
/// [`StoreError::Referenced`] where one does.
pub(crate) fn check_gone(
    tx: &Transaction<'_>,
    deferred: Vec<Reference>,
    local_id: Option<LocalId>,
    hs_id: Option<HubspotId>,
) -> Result<(), StoreError> {
    for reference in deferred {
        let target = reference.target.as_deref().unwrap_or("local_id");
        let id = match target.to_ascii_lowercase().as_str() {
            "local_id" => local_id.map(|id| id.0),
            "hs_id" => hs_id.map(|id| id.0),
            _ => None,
        };
        let Some(id) = id else { continue };
        let sql = format!(
            "SELECT 1 FROM {} WHERE {} = ?1 LIMIT 1",
            quoted(&reference.child),
            quoted(&reference.column)
        );
        if tx.prepare_cached(&sql)?.exists([id])? {
            return Err(StoreError::Referenced {
                child: reference.child,
            });
        }
    }
    Ok(())
}

/// The deferred references to a table: nearly always none.
pub(crate) fn deferred(connection: &Connection, table: &str) -> Result<Vec<Reference>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT m.name, f.\"from\", f.\"to\"
         FROM sqlite_schema AS m
         JOIN pragma_foreign_key_list(m.name) AS f
         WHERE m.type = 'table' AND m.sql LIKE '%DEFERRED%' AND lower(f.\"table\") = lower(:table)",
    )?;
    let rows = statement.query_map(named_params! { ":table": table }, |row| {
        Ok(Reference {
            child: row.get(0)?,
            column: row.get(1)?,
            target: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Tables that refer to a table, by name.
pub(crate) fn of_table(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT m.name
         FROM sqlite_schema AS m
         JOIN pragma_foreign_key_list(m.name) AS f
         WHERE m.type = 'table' AND m.sql LIKE '%REFERENCES%' AND lower(f.\"table\") = lower(:table)
         ORDER BY m.name",
    )?;
    let names = statement.query_map(named_params! { ":table": table }, |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}
