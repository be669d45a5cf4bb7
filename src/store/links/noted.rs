//! What is noted of the associations of a record, beside the rows: those whose other record is not in the mirror
//! (`_sync_links_waiting`), and those that an answer missed (`_sync_links_missed`). Two tables of one shape: `pair` and `from_hs_id`
//! say whose they are, the other columns which.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, Statement, Transaction, named_params};

use crate::model::id::HubspotId;
use crate::model::name::TableName;
use crate::store::StoreError;

/// An association as one of these tables has it, with the statements of its table: each takes `:pair` and `:from`.
pub(crate) trait NotedLink: Ord + Sized {
    /// Fetches those that start from a record.
    const SELECT: &'static str;
    /// Deletes those.
    const DELETE: &'static str;
    /// Saves one of them.
    const INSERT: &'static str;

    /// One of them, by the columns of `SELECT`.
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self>;

    /// Saves it by `INSERT`.
    fn insert(
        &self,
        insert: &mut Statement<'_>,
        pair: &TableName,
        from: HubspotId,
    ) -> rusqlite::Result<usize>;
}

/// Those that start from a record.
pub(crate) fn of<N: NotedLink>(
    connection: &Connection,
    pair: &TableName,
    from: HubspotId,
) -> Result<BTreeSet<N>, StoreError> {
    let mut statement = connection.prepare_cached(N::SELECT)?;
    let whose = named_params! { ":pair": pair.as_str(), ":from": from.0 };
    let rows = statement.query_map(whose, N::from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts those that start from a record in place of what was known. Nothing is written where they are the same.
pub(crate) fn replace<N: NotedLink>(
    tx: &Transaction<'_>,
    pair: &TableName,
    from: HubspotId,
    links: &BTreeSet<N>,
) -> Result<(), StoreError> {
    if of::<N>(tx, pair, from)? == *links {
        return Ok(());
    }
    tx.prepare_cached(N::DELETE)?
        .execute(named_params! { ":pair": pair.as_str(), ":from": from.0 })?;
    let mut insert = tx.prepare_cached(N::INSERT)?;
    for link in links {
        link.insert(&mut insert, pair, from)?;
    }
    Ok(())
}
