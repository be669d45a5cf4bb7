//! What waits for the record of a row, and what it says while nothing makes that: the create of the row is dead, was given up, or
//! waits itself for such a record. Said where that happens, and by the trigger that makes an association of such a row; another
//! reason or none is said where the wait goes on or ends.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::entry::{Operation, code_in};
use crate::model::id::{LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::object::NewLinks;
use crate::store::StoreError;
use crate::store::outbox::links::end_of;
use crate::store::shape::associations::{MISSING_RECORD, unmade_record, waiting_record};

/// The entries of a row's associations that wait for a record.
const LINKS: &str = "SELECT id
     FROM sync_outbox
     WHERE object = :object AND local_id = :local_id AND operation IN ('associate', 'disassociate') AND waits_for = 'create'
     UNION
     SELECT id
     FROM sync_outbox
     WHERE to_object = :object AND to_local_id = :local_id AND waits_for = 'create'";

/// The creates that wait for a row's record, since one of their associations names it.
const CREATES: &str = "SELECT c.id
     FROM associations AS a
     JOIN sync_outbox AS c ON c.object = a.to_object AND c.local_id = a.to_local_id
     WHERE a.from_object = :object AND a.from_local_id = :local_id
       AND c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create' AND c.waits_for = 'create'
     UNION
     SELECT c.id
     FROM associations AS a
     JOIN sync_outbox AS c ON c.object = a.from_object AND c.local_id = a.from_local_id
     WHERE a.to_object = :object AND a.to_local_id = :local_id
       AND c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create' AND c.waits_for = 'create'";

/// A row of an object.
type RowName = (String, LocalId);

/// Why nothing makes the record of a row that has none, in a sentence with its code.
struct Missing {
    explanation: String,
    /// Whether the row's own create is at fault, and not what that waits for.
    is_own: bool,
}

fn why_missing(
    connection: &Connection,
    (object, local_id): &RowName,
) -> Result<Option<Missing>, StoreError> {
    if end_of(connection, object, *local_id)?.hs_id.is_some() {
        return Ok(None);
    }
    let (own, waits): (Option<String>, Option<String>) = connection
        .prepare_cached(&format!(
            "SELECT {}, {}",
            unmade_record(":object", ":local_id"),
            waiting_record(":object", ":local_id")
        ))?
        .query_row(
            named_params! { ":object": object, ":local_id": local_id.0 },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    let is_own = own.is_some();
    Ok(own.or(waits).map(|explanation| Missing {
        explanation,
        is_own,
    }))
}

/// The creates that wait for a row's record.
pub(super) fn creates_for(
    connection: &Connection,
    object: &str,
    local_id: LocalId,
) -> Result<Vec<OutboxId>, StoreError> {
    ids(connection, CREATES, &(object.to_owned(), local_id))
}

fn ids(connection: &Connection, sql: &str, row: &RowName) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(
        named_params! { ":object": row.0, ":local_id": row.1.0 },
        |row| row.get(0).map(OutboxId),
    )?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Tells what waits for a row's record whether anything makes that, and what waits for those.
pub(crate) fn tell(
    tx: &Transaction<'_>,
    object: &str,
    local_id: LocalId,
) -> Result<(), StoreError> {
    let mut told: Vec<RowName> = Vec::new();
    let mut next = vec![(object.to_owned(), local_id)];
    while let Some(row) = next.pop() {
        if told.contains(&row) {
            continue;
        }
        tell_links(tx, &row)?;
        for create in ids(tx, CREATES, &row)? {
            if say(tx, create)? {
                next.extend(row_of(tx, create)?);
            }
        }
        told.push(row);
    }
    Ok(())
}

fn tell_links(tx: &Transaction<'_>, row: &RowName) -> Result<(), StoreError> {
    let Some(missing) = why_missing(tx, row)? else {
        for link in ids(
            tx,
            &format!(
                "SELECT id FROM sync_outbox WHERE code = '{MISSING_RECORD}' AND id IN ({LINKS})"
            ),
            row,
        )? {
            say(tx, link)?;
        }
        return Ok(());
    };
    // One statement, however many they are. What itself is at fault is said rather than what waits for it.
    tx.prepare_cached(&format!(
        "UPDATE sync_outbox
         SET last_error = :why, code = :code
         WHERE id IN ({LINKS}) AND (:is_own OR code IS NOT :code)"
    ))?
    .execute(named_params! {
        ":object": row.0,
        ":local_id": row.1.0,
        ":why": missing.explanation,
        ":code": code_in(&missing.explanation),
        ":is_own": missing.is_own,
    })?;
    Ok(())
}

/// Whether anything that waits for the record of a create says that nothing makes it.
pub(super) fn is_awaited_in_vain(
    connection: &Connection,
    create: OutboxId,
) -> Result<bool, StoreError> {
    let Some((object, local_id)) = row_of(connection, create)? else {
        return Ok(false);
    };
    Ok(connection
        .prepare_cached(&format!(
            "SELECT 1
             FROM sync_outbox
             WHERE code = '{MISSING_RECORD}' AND id IN (SELECT * FROM ({LINKS}) UNION ALL SELECT * FROM ({CREATES}))
             LIMIT 1"
        ))?
        .exists(named_params! { ":object": object, ":local_id": local_id.0 })?)
}

/// Tells what waits for the record of a create whether anything makes that.
pub(super) fn tell_of_create(tx: &Transaction<'_>, create: OutboxId) -> Result<(), StoreError> {
    match row_of(tx, create)? {
        Some((object, local_id)) => tell(tx, &object, local_id),
        None => Ok(()),
    }
}

/// Has an entry say why nothing makes the record that it waits for, or that no more where something does, or it waits no longer.
/// Tells whether that is another word than before.
pub(super) fn say(tx: &Transaction<'_>, id: OutboxId) -> Result<bool, StoreError> {
    let missing = why_waiting(tx, id)?.map(|missing| missing.explanation);
    let changed = match &missing {
        Some(why) => tx
            .prepare_cached(
                "UPDATE sync_outbox SET last_error = :why, code = :code WHERE id = :id AND last_error IS NOT :why",
            )?
            .execute(named_params! { ":id": id.0, ":why": why, ":code": code_in(why) })?,
        None => tx
            .prepare_cached(&format!(
                "UPDATE sync_outbox SET last_error = NULL, code = NULL WHERE id = :id AND code = '{MISSING_RECORD}'"
            ))?
            .execute(named_params! { ":id": id.0 })?,
    };
    Ok(changed > 0)
}

/// Why nothing makes a record that an entry waits for.
fn why_waiting(connection: &Connection, id: OutboxId) -> Result<Option<Missing>, StoreError> {
    let mut found: Option<Missing> = None;
    for row in awaited_by(connection, id)? {
        if let Some(missing) = why_missing(connection, &row)? {
            if missing.is_own {
                return Ok(Some(missing));
            }
            found = found.or(Some(missing));
        }
    }
    Ok(found)
}

/// The rows whose records an entry waits for, where it waits for one.
fn awaited_by(connection: &Connection, id: OutboxId) -> Result<Vec<RowName>, StoreError> {
    let found: Option<(String, RowName, Option<RowName>)> = connection
        .prepare_cached(
            "SELECT operation, object, local_id, to_object, to_local_id
             FROM sync_outbox
             WHERE id = :id AND state = 'pending' AND waits_for = 'create'",
        )?
        .query_row(named_params! { ":id": id.0 }, |row| {
            let to: (Option<String>, Option<i64>) = (row.get(3)?, row.get(4)?);
            let to = to.0.zip(to.1.map(LocalId));
            Ok((row.get(0)?, (row.get(1)?, LocalId(row.get(2)?)), to))
        })
        .optional()?;
    let Some((operation, own, to)) = found else {
        return Ok(Vec::new());
    };
    if operation != Operation::Create.as_str() {
        return Ok([own].into_iter().chain(to).collect());
    }
    let mut named = connection.prepare_cached(
        "SELECT to_object, to_local_id FROM associations WHERE from_object = :object AND from_local_id = :local_id
         UNION
         SELECT from_object, from_local_id FROM associations WHERE to_object = :object AND to_local_id = :local_id",
    )?;
    let named = named
        .query_map(
            named_params! { ":object": own.0, ":local_id": own.1.0 },
            |row| Ok((row.get(0)?, LocalId(row.get(1)?))),
        )?
        .collect::<Result<Vec<RowName>, _>>()?;
    let hangs = |object: &str| {
        ObjectType::parse(object)
            .ok()
            .map(|name| NewLinks::of(&name))
    };
    // Of two new records the one on whose associations more hangs waits.
    let is_awaited = |other: &RowName| {
        hangs(&own.0)
            .zip(hangs(&other.0))
            .is_some_and(|(own, other)| own.exceeds(other))
    };
    Ok(named.into_iter().filter(is_awaited).collect())
}

fn row_of(connection: &Connection, create: OutboxId) -> Result<Option<RowName>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT object, local_id FROM sync_outbox WHERE id = :id AND to_local_id IS NULL",
        )?
        .query_row(named_params! { ":id": create.0 }, |row| {
            Ok((row.get(0)?, LocalId(row.get(1)?)))
        })
        .optional()?)
}
