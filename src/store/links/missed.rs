//! `_sync_links_missed`: associations that HubSpot's answer missed, and of which the records were asked for since.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, named_params};

use crate::model::id::HubspotId;
use crate::model::name::TableName;
use crate::store::StoreError;

/// The records at the other end of those that start from a record.
pub fn of(
    connection: &Connection,
    pair: &TableName,
    from: HubspotId,
) -> Result<BTreeSet<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT to_hs_id
         FROM _sync_links_missed
         WHERE pair = :pair AND from_hs_id = :from",
    )?;
    let rows = statement.query_map(
        named_params! { ":pair": pair.as_str(), ":from": from.0 },
        |row| row.get(0).map(HubspotId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts those that start from a record in place of what was known.
pub fn replace(
    tx: &Transaction<'_>,
    pair: &TableName,
    from: HubspotId,
    (known, missed): (&BTreeSet<HubspotId>, &BTreeSet<HubspotId>),
) -> Result<(), StoreError> {
    if known == missed {
        return Ok(());
    }
    tx.prepare_cached("DELETE FROM _sync_links_missed WHERE pair = :pair AND from_hs_id = :from")?
        .execute(named_params! { ":pair": pair.as_str(), ":from": from.0 })?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO _sync_links_missed (pair, from_hs_id, to_hs_id)
         VALUES (:pair, :from, :to)",
    )?;
    for to in missed {
        insert.execute(named_params! { ":pair": pair.as_str(), ":from": from.0, ":to": to.0 })?;
    }
    Ok(())
}
