//! `_sync_merges`: which record each merged one went into, for as long as the survivor may have to be erased.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::store::{StoreError, property_history};

/// Notes that records were merged into another one, and names those of which that is news. Repeating it writes nothing.
pub fn note(
    tx: &Transaction<'_>,
    object: &ObjectType,
    survivor: HubspotId,
    merged: &[HubspotId],
) -> Result<Vec<HubspotId>, StoreError> {
    let mut news = Vec::new();
    if merged.is_empty() {
        return Ok(news);
    }
    let mut statement = tx.prepare_cached(
        "INSERT INTO _sync_merges (object, hs_id, into_id)
         VALUES (:object, :id, :survivor)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET into_id = excluded.into_id
         WHERE into_id <> excluded.into_id",
    )?;
    for id in merged {
        let noted = statement.execute(
            named_params! { ":object": object.as_str(), ":id": id.0, ":survivor": survivor.0 },
        )?;
        if noted > 0 {
            news.push(*id);
        }
        // The survivor tells the history of both.
        property_history::forget(tx, object, *id)?;
    }
    Ok(news)
}

/// A record's id and all those that went into it, also by way of others.
pub(crate) fn ids_of(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Vec<HubspotId>, StoreError> {
    chain(connection, object, id, ("into_id", "hs_id"))
}

/// A record's id and those of all that it went into, also by way of others.
pub(crate) fn survivors_of(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Vec<HubspotId>, StoreError> {
    chain(connection, object, id, ("hs_id", "into_id"))
}

/// A record's id and all that merges lead to from it, from one column to the other.
fn chain(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
    (from, to): (&str, &str),
) -> Result<Vec<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "WITH RECURSIVE known (id) AS (
             SELECT :id
             UNION
             SELECT merged.{to}
             FROM _sync_merges AS merged
             JOIN known ON merged.{from} = known.id
             WHERE merged.object = :object
         )
         SELECT id FROM known",
    ))?;
    let rows = statement.query_map(
        named_params! { ":object": object.as_str(), ":id": id.0 },
        |row| row.get(0).map(HubspotId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets what went into a record that was erased.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_merges WHERE object = :object AND (hs_id = :id OR into_id = :id)",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(())
}
