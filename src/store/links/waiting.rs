//! `_sync_links_waiting`: associations whose other record is not in the mirror.

use rusqlite::{Connection, Row, Statement, named_params};

use crate::model::association::{Category, TypeId};
use crate::model::id::HubspotId;
use crate::model::name::TableName;
use crate::store::StoreError;
use crate::store::links::noted::NotedLink;

/// One of them: the record that is missed, and the type.
pub(crate) type WaitingLink = (HubspotId, TypeId);

impl NotedLink for WaitingLink {
    const SELECT: &'static str = "SELECT to_hs_id, category, type_id
         FROM _sync_links_waiting
         WHERE pair = :pair AND from_hs_id = :from";
    const DELETE: &'static str = "DELETE FROM _sync_links_waiting
         WHERE pair = :pair AND from_hs_id = :from";
    const INSERT: &'static str =
        "INSERT INTO _sync_links_waiting (pair, from_hs_id, to_hs_id, category, type_id)
         VALUES (:pair, :from, :to, :category, :type_id)";

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let category: String = row.get(1)?;
        let kind = TypeId {
            category: Category::parse(&category),
            number: row.get(2)?,
        };
        Ok((HubspotId(row.get(0)?), kind))
    }

    fn insert(
        &self,
        insert: &mut Statement<'_>,
        pair: &TableName,
        from: HubspotId,
    ) -> rusqlite::Result<usize> {
        let (to, kind) = self;
        insert.execute(named_params! {
            ":pair": pair.as_str(),
            ":from": from.0,
            ":to": to.0,
            ":category": kind.category.as_str(),
            ":type_id": kind.number,
        })
    }
}

/// The records whose associations wait for a record.
pub(crate) fn for_record(
    connection: &Connection,
    pair: &TableName,
    to: HubspotId,
) -> Result<Vec<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT from_hs_id
         FROM _sync_links_waiting
         WHERE pair = :pair AND to_hs_id = :to",
    )?;
    let rows = statement.query_map(
        named_params! { ":pair": pair.as_str(), ":to": to.0 },
        |row| row.get(0).map(HubspotId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
