//! `_sync_links_waiting`: associations whose other record is not in the mirror.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, named_params};

use crate::model::association::{Category, TypeId};
use crate::model::id::HubspotId;
use crate::model::name::TableName;
use crate::store::StoreError;

/// One of them: the record that is missed, and the type.
pub(crate) type WaitingLink = (HubspotId, TypeId);

/// Those that start from a record.
pub fn of(
    connection: &Connection,
    pair: &TableName,
    from: HubspotId,
) -> Result<BTreeSet<WaitingLink>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT to_hs_id, category, type_id
         FROM _sync_links_waiting
         WHERE pair = :pair AND from_hs_id = :from",
    )?;
    let rows = statement.query_map(
        named_params! { ":pair": pair.as_str(), ":from": from.0 },
        |row| {
            let category: String = row.get(1)?;
            let kind = TypeId {
                category: Category::parse(&category),
                number: row.get(2)?,
            };
            Ok((HubspotId(row.get(0)?), kind))
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts those that start from a record in place of what was known. Tells whether that is anything else.
pub fn replace(
    tx: &Transaction<'_>,
    pair: &TableName,
    from: HubspotId,
    links: &BTreeSet<WaitingLink>,
) -> Result<bool, StoreError> {
    if of(tx, pair, from)? == *links {
        return Ok(false);
    }
    tx.prepare_cached("DELETE FROM _sync_links_waiting WHERE pair = :pair AND from_hs_id = :from")?
        .execute(named_params! { ":pair": pair.as_str(), ":from": from.0 })?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO _sync_links_waiting (pair, from_hs_id, to_hs_id, category, type_id)
         VALUES (:pair, :from, :to, :category, :type_id)",
    )?;
    for (to, kind) in links {
        insert.execute(named_params! {
            ":pair": pair.as_str(),
            ":from": from.0,
            ":to": to.0,
            ":category": kind.category.as_str(),
            ":type_id": kind.number,
        })?;
    }
    Ok(true)
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
