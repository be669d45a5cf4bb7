//! `associations`, and the entries of the outbox that stand for them, from the record where they start.
//!
//! A unary plus keeps SQLite from an index that finds all associations of an object instead of a row's.

use rusqlite::{Connection, Row, Rows, Transaction, named_params};

use crate::decide::incoming::links::{LinkEntry, LinkRow};
use crate::decide::outgoing::associate::{NamedType, told};
use crate::decide::portal::link_types::KnownType;
use crate::model::association::{Category, PairMapping, TypeId};
use crate::model::entry::{EntryState, Operation};
use crate::model::id::{LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::store::StoreError;
use crate::store::outbox::unknown;

/// The type that two columns name.
fn kind(row: &Row<'_>, category: usize, number: usize) -> rusqlite::Result<Option<TypeId>> {
    let category: Option<String> = row.get(category)?;
    let number: Option<i64> = row.get(number)?;
    Ok(category.zip(number).map(|(category, number)| TypeId {
        category: Category::parse(&category),
        number,
    }))
}

/// The rows of a pair that start from a record's row.
pub fn from(
    connection: &Connection,
    pair: &PairMapping,
    from: LocalId,
) -> Result<Vec<LinkRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, to_local_id, category, type_id, label
         FROM associations
         WHERE from_object = :from_object AND from_local_id = :from AND +to_object = :to_object
         ORDER BY to_local_id, id",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":from_object": pair.from.as_str(),
            ":from": from.0,
            ":to_object": pair.to.as_str(),
        },
        |row| {
            Ok(LinkRow {
                id: row.get(0)?,
                to: LocalId(row.get(1)?),
                kind: kind(row, 2, 3)?,
                label: row.get(4)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rows from which a pair's associations lead to a row, once for each type.
pub(crate) fn leading_to(
    connection: &Connection,
    pair: &PairMapping,
    to: LocalId,
) -> Result<Vec<LocalId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT from_local_id
         FROM associations
         WHERE to_object = :to_object AND to_local_id = :to AND +from_object = :from_object",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":to_object": pair.to.as_str(),
            ":to": to.0,
            ":from_object": pair.from.as_str(),
        },
        |row| row.get(0).map(LocalId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rows of a pair that lead to a record's row, as seen from there.
pub(crate) fn at_other_end(
    connection: &Connection,
    pair: &PairMapping,
    to: LocalId,
) -> Result<Vec<LinkRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, from_local_id, category, type_id, label
         FROM associations
         WHERE to_object = :to_object AND to_local_id = :to AND +from_object = :from_object
         ORDER BY from_local_id, id",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":to_object": pair.to.as_str(),
            ":to": to.0,
            ":from_object": pair.from.as_str(),
        },
        |row| {
            Ok(LinkRow {
                id: row.get(0)?,
                to: LocalId(row.get(1)?),
                kind: kind(row, 2, 3)?,
                label: row.get(4)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The entries of a pair's associations that start from a record's row. That of a pair of one object, or of one that the file maps in
/// both orders, serves both directions: seen from its other end it has the inverse type. `types` are those of the pair.
pub fn entries(
    connection: &Connection,
    pair: &PairMapping,
    types: &[KnownType],
    from: LocalId,
) -> Result<Vec<LinkEntry>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.id, e.operation, e.state, iif(n.is_from, e.to_local_id, e.local_id),
                e.category, iif(n.is_from, e.type_id, t.inverse_type_id),
                iif(n.is_from, e.type_id, t.inverse_type_id), iif(n.is_from OR e.type_id IS NULL, e.label, NULL),
                e.unanswered_since IS NOT NULL
         FROM (
             SELECT id, 1 AS is_from
             FROM sync_outbox
             WHERE object = :from_object AND local_id = :from AND to_object = :to_object
               AND operation IN ('associate', 'disassociate')
             UNION ALL
             SELECT id, 0
             FROM sync_outbox
             WHERE to_object = :from_object AND to_local_id = :from AND object = :to_object
               AND operation IN ('associate', 'disassociate')
         ) AS n
         JOIN sync_outbox AS e ON e.id = n.id
         LEFT JOIN association_types AS t ON t.from_object = e.object AND t.to_object = e.to_object
              AND t.category = e.category AND t.type_id = e.type_id
         ORDER BY e.id",
    )?;
    let rows = statement.query(named_params! {
        ":from_object": pair.from.as_str(),
        ":from": from.0,
        ":to_object": pair.to.as_str(),
    })?;
    read_entries(rows, types)
}

/// The entries of a pair's associations that lead to a record's row, as seen from there.
pub(crate) fn entries_at_other_end(
    connection: &Connection,
    pair: &PairMapping,
    types: &[KnownType],
    to: LocalId,
) -> Result<Vec<LinkEntry>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, operation, state, local_id, category, type_id, type_id, label, unanswered_since IS NOT NULL
         FROM sync_outbox
         WHERE to_object = :to_object AND to_local_id = :to AND to_local_id IS NOT NULL AND +object = :from_object
           AND operation IN ('associate', 'disassociate')
         ORDER BY id",
    )?;
    let rows = statement.query(named_params! {
        ":to_object": pair.to.as_str(),
        ":to": to.0,
        ":from_object": pair.from.as_str(),
    })?;
    read_entries(rows, types)
}

fn read_entries(mut rows: Rows<'_>, types: &[KnownType]) -> Result<Vec<LinkEntry>, StoreError> {
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let (operation, state): (String, String) = (row.get(1)?, row.get(2)?);
        let (category, label): (Option<String>, Option<String>) = (row.get(4)?, row.get(7)?);
        let named = NamedType {
            category: category.as_deref(),
            number: row.get(6)?,
            label: label.as_deref(),
        };
        entries.push(LinkEntry {
            id: OutboxId(row.get(0)?),
            operation: Operation::parse(&operation)
                .ok_or_else(|| unknown("operation", &operation))?,
            state: EntryState::parse(&state).ok_or_else(|| unknown("state", &state))?,
            to: LocalId(row.get(3)?),
            kind: kind(row, 4, 5)?,
            takes_all: told(named, types).takes_all(types),
            is_in_doubt: row.get(8)?,
        });
    }
    Ok(entries)
}

/// Writes an association down that HubSpot has, and tells whether that is new here. One that is there stays as it is.
pub fn insert(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    (from, to): (LocalId, LocalId),
    kind: &TypeId,
    label: Option<&str>,
) -> Result<bool, StoreError> {
    let inserted = tx.prepare_cached(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id, label)
         VALUES (:from_object, :from, :to_object, :to, :category, :type_id, :label)
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! {
        ":from_object": pair.from.as_str(),
        ":from": from.0,
        ":to_object": pair.to.as_str(),
        ":to": to.0,
        ":category": kind.category.as_str(),
        ":type_id": kind.number,
        ":label": label,
    })?;
    Ok(inserted > 0)
}

/// What starts from a row, or leads to it, does so from another one of its object from now on. Doubles go with the row, and so does
/// what would associate a record with itself.
pub(crate) fn move_all(
    tx: &Transaction<'_>,
    object: &ObjectType,
    from: LocalId,
    to: LocalId,
) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM associations
         WHERE from_object = :object AND to_object = :object AND from_local_id IN (:from, :to) AND to_local_id IN (:from, :to)",
        "UPDATE OR IGNORE associations SET from_local_id = :to WHERE from_object = :object AND from_local_id = :from",
        "UPDATE OR IGNORE associations SET to_local_id = :to WHERE to_object = :object AND to_local_id = :from",
    ] {
        tx.prepare_cached(sql)?.execute(named_params! {
            ":object": object.as_str(),
            ":from": from.0,
            ":to": to.0,
        })?;
    }
    Ok(())
}

/// Takes away what starts from a row that is gone, or leads to it.
pub(crate) fn end_of(
    tx: &Transaction<'_>,
    object: &ObjectType,
    row: LocalId,
) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM associations WHERE from_object = :object AND from_local_id = :row",
        "DELETE FROM associations WHERE to_object = :object AND to_local_id = :row",
    ] {
        tx.prepare_cached(sql)?
            .execute(named_params! { ":object": object.as_str(), ":row": row.0 })?;
    }
    Ok(())
}

/// Takes an association away.
pub fn delete(tx: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM associations WHERE id = :id")?
        .execute(named_params! { ":id": id })?;
    Ok(())
}
