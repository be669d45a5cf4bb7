//! Entries of associations: which are due, what they are about, and their rows in `associations`. Triggers write them
//! (`store/shape/associations`).

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::entry::Answered;
use crate::decide::outgoing::associate::{
    CountedLink, LinkCall, LinkEnd, NamedType, QueuedLink, needs_reread, needs_reread_at_other_end,
    needs_reread_of_other_row, told_of_entry,
};
use crate::decide::outgoing::refusal::{ASSOCIATION_LIMIT, RECORD_NOT_FOUND, REFUSED};
use crate::decide::portal::exclusion::Exclusion;
use crate::decide::portal::link_types::{KnownType, turned_type};
use crate::model::association::{ExclusiveEnd, PairMapping, TypeId};
use crate::model::entry::Operation;
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::conflicts;
pub(crate) use crate::store::outbox::links_due::next_due;
use crate::store::outbox::{OF_ROW, STANDING, missing, standing_of};
use crate::store::shape::ddl::quoted;

/// The operations of associations, one after the other: each goes by an index of its own.
pub(super) const OPERATIONS: [Operation; 2] = [Operation::Associate, Operation::Disassociate];

/// Neither of an association's records is in an open conflict of the whole record: while a person decides about one, nothing of it
/// is sent.
pub(crate) const IS_DECIDED: &str = "NOT EXISTS (SELECT 1 FROM sync_conflicts AS w
                           WHERE w.object = sync_outbox.object AND w.local_id = sync_outbox.local_id
                             AND w.property = '*' AND w.resolved_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM sync_conflicts AS w
                           WHERE w.object = sync_outbox.to_object AND w.local_id = sync_outbox.to_local_id
                             AND w.property = '*' AND w.resolved_at IS NULL)";

/// Whether the record to which an association leads is read before its entry goes out.
pub(crate) fn is_reread_at_other_end(
    connection: &Connection,
    pair: &PairMapping,
    types: &[KnownType],
    (operation, named, to): (Operation, NamedType<'_>, LocalId),
) -> Result<bool, StoreError> {
    // Each association of a pair of one object has a row from either end.
    if pair.is_of_one_object() || !needs_reread_at_other_end(operation, named, types, true) {
        return Ok(false);
    }
    let open = conflicts::open_association(connection, &pair.name(), (ExclusiveEnd::To, to))?;
    Ok(needs_reread_at_other_end(
        operation,
        named,
        types,
        open.is_some(),
    ))
}

/// How an entry is counted that goes out by a call.
pub(crate) fn counted(
    connection: &Connection,
    pair: &PairMapping,
    types: &[KnownType],
    (link, call): (&QueuedLink, LinkCall),
) -> Result<CountedLink, StoreError> {
    let (name, operation) = (pair.name(), link.standing.operation);
    let named = link.kind.as_ref().map(NamedType::of).unwrap_or_default();
    let is_open = |row| conflicts::is_open(connection, &name, row, conflicts::ASSOCIATION);
    let is_read = needs_reread(operation, named, types, is_open(link.from.local_id)?)
        || (pair.is_of_one_object()
            && needs_reread_of_other_row(operation, named, types, is_open(link.to.local_id)?));
    let at_end = (operation, named, link.to.local_id);
    let is_read_there = is_reread_at_other_end(connection, pair, types, at_end)?;
    let exclusion = Exclusion::of(types, ExclusiveEnd::To);
    let excludes = exclusion.why(link.kind.as_ref()).is_some();
    Ok(CountedLink {
        call,
        ends: (link.from.local_id, link.to.local_id),
        is_read_first: is_read,
        is_read_at_other_end: is_read_there,
        is_looked_at_there: excludes && !pair.is_of_one_object(),
    })
}

/// Entries of an object's associations that were left in flight.
pub fn in_flight(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id
         FROM sync_outbox
         WHERE object = :object AND operation = :operation AND state = 'in_flight'",
    )?;
    let mut found = Vec::new();
    for operation in OPERATIONS {
        let rows = statement.query_map(
            named_params! { ":object": object.as_str(), ":operation": operation.as_str() },
            |row| row.get(0).map(OutboxId),
        )?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// An association's entry with all that is known of it, by the types of its pair; `None` where it is gone.
pub fn queued(
    connection: &Connection,
    types: &[KnownType],
    id: OutboxId,
) -> Result<Option<QueuedLink>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {STANDING}, local_id, to_local_id, category, type_id, label, object, to_object, by_default
         FROM sync_outbox
         WHERE id = :id AND to_local_id IS NOT NULL"
    ))?;
    let mut rows = statement.query(named_params! { ":id": id.0 })?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (category, label): (Option<String>, Option<String>) = (row.get(17)?, row.get(19)?);
    let named = NamedType {
        category: category.as_deref(),
        number: row.get(18)?,
        label: label.as_deref(),
    };
    let (from, to): (String, String) = (row.get(20)?, row.get(21)?);
    let standing = standing_of(row)?;
    let told = told_of_entry(standing.operation, named, types);
    Ok(Some(QueuedLink {
        id,
        standing,
        from: end_of(connection, &from, LocalId(row.get(15)?))?,
        to: end_of(connection, &to, LocalId(row.get(16)?))?,
        has_row: !rows_of(connection, id)?.is_empty(),
        told,
        kind: named.kind(),
        label,
        by_default: row.get(22)?,
    }))
}

/// A row of a table, and its record. One that only says that its record is archived is associated with nothing.
fn end_in(connection: &Connection, table: &str, local_id: LocalId) -> Result<LinkEnd, StoreError> {
    let sql = format!(
        "SELECT hs_id FROM {} WHERE local_id = ?1 AND hs_archived = 0",
        quoted(table)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([local_id.0])?;
    let mut end = LinkEnd {
        local_id,
        is_there: false,
        hs_id: None,
    };
    if let Some(row) = rows.next()? {
        end.is_there = true;
        end.hs_id = row.get::<_, Option<i64>>(0)?.map(HubspotId);
    }
    Ok(end)
}

/// The rows that an entry stands for, by their numbers: its own, and that of the other direction, in a pair of one object or one that
/// the file maps in both orders.
pub(crate) fn rows_of(connection: &Connection, id: OutboxId) -> Result<Vec<i64>, StoreError> {
    let rows = rows_by_direction(connection, id)?.into_iter();
    Ok(rows.map(|(row, _)| row).collect())
}

/// The same, and whether each is of the other direction.
fn rows_by_direction(
    connection: &Connection,
    id: OutboxId,
) -> Result<Vec<(i64, bool)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT a.id, 0
         FROM sync_outbox AS e
         JOIN associations AS a ON a.from_object = e.object AND a.from_local_id = e.local_id
              AND a.to_object = e.to_object AND a.to_local_id = e.to_local_id
              AND a.category IS e.category AND a.type_id IS e.type_id AND (e.type_id IS NOT NULL OR a.label IS e.label)
         WHERE e.id = :id
         UNION ALL
         SELECT a.id, 1
         FROM sync_outbox AS e
         JOIN association_types AS t ON t.from_object = e.object AND t.to_object = e.to_object
              AND t.category = e.category AND t.type_id = e.type_id
         JOIN associations AS a ON a.from_object = e.to_object AND a.from_local_id = e.to_local_id
              AND a.to_object = e.object AND a.to_local_id = e.local_id
              AND a.category = e.category AND a.type_id = t.inverse_type_id
         WHERE e.id = :id",
    )?;
    let rows = statement.query_map(named_params! { ":id": id.0 }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The entries of a row's associations, whichever end it stands at.
pub(crate) fn naming(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id
         FROM sync_outbox
         WHERE object = :object AND local_id = :local_id AND operation IN ('associate', 'disassociate')
         UNION
         SELECT id
         FROM sync_outbox
         WHERE to_object = :object AND to_local_id = :local_id AND to_local_id IS NOT NULL
         ORDER BY id",
    )?;
    let rows = statement.query_map(
        named_params! { ":object": object.as_str(), ":local_id": local_id.0 },
        |row| row.get(0).map(OutboxId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether an association is on its way in the create of one of its rows, whose own step settles it.
pub(crate) fn goes_along(connection: &Connection, id: OutboxId) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_outbox AS e
             JOIN sync_outbox AS c ON c.operation = 'create' AND c.state = 'in_flight'
                  AND ((c.object = e.object AND c.local_id = e.local_id)
                       OR (c.object = e.to_object AND c.local_id = e.to_local_id))
             WHERE e.id = :id",
        )?
        .exists(named_params! { ":id": id.0 })?)
}

/// The pair that an entry is of, where it is mapped.
pub(crate) fn pair_of(
    connection: &Connection,
    id: OutboxId,
    pairs: &[PairMapping],
) -> Result<Option<PairMapping>, StoreError> {
    let ends: Option<(String, Option<String>)> = connection
        .prepare_cached("SELECT object, to_object FROM sync_outbox WHERE id = :id")?
        .query_row(named_params! { ":id": id.0 }, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((from, Some(to))) = ends else {
        return Ok(None);
    };
    let is_of = |pair: &&PairMapping| pair.from.as_str() == from && pair.to.as_str() == to;
    Ok(pairs.iter().find(is_of).cloned())
}

/// What an entry of an association names: the other end, and the type as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedEnds {
    /// The object where it leads.
    pub to_object: String,
    /// The row there.
    pub to_local_id: LocalId,
    /// The type's category.
    pub category: Option<String>,
    /// The type's number.
    pub type_id: Option<i64>,
    /// The type's label.
    pub label: Option<String>,
}

/// What an entry names; `None` where it is of no association.
pub(crate) fn queued_ends(
    connection: &Connection,
    id: OutboxId,
) -> Result<Option<QueuedEnds>, StoreError> {
    let ends = connection
        .prepare_cached(
            "SELECT to_object, to_local_id, category, type_id, label
             FROM sync_outbox
             WHERE id = :id AND to_object IS NOT NULL",
        )?
        .query_row(named_params! { ":id": id.0 }, |row| {
            Ok(QueuedEnds {
                to_object: row.get(0)?,
                to_local_id: LocalId(row.get(1)?),
                category: row.get(2)?,
                type_id: row.get(3)?,
                label: row.get(4)?,
            })
        })
        .optional()?;
    Ok(ends)
}

/// Takes away the rows that an entry stands for. A create that waits for a record that they name looks anew.
pub(crate) fn delete_rows(
    tx: &Transaction<'_>,
    id: OutboxId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ends: Vec<(String, i64)> = tx
        .prepare_cached(
            "SELECT object, local_id FROM sync_outbox WHERE id = :id AND to_local_id IS NOT NULL
             UNION ALL
             SELECT to_object, to_local_id FROM sync_outbox WHERE id = :id AND to_local_id IS NOT NULL",
        )?
        .query_map(named_params! { ":id": id.0 }, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    for (object, local_id) in ends {
        release_creates(tx, &object, LocalId(local_id), now)?;
    }
    for row in rows_of(tx, id)? {
        tx.prepare_cached("DELETE FROM associations WHERE id = :row")?
            .execute(named_params! { ":row": row })?;
    }
    Ok(())
}

/// Puts back the rows that an entry stands for, also that of the other direction where that has one. One that is there stays as it
/// is, and a record that is gone is associated with nothing.
pub(crate) fn put_rows_back(
    tx: &Transaction<'_>,
    id: OutboxId,
    opposite: Option<&PairMapping>,
) -> Result<(), StoreError> {
    let Some(queued) = queued(tx, &[], id)? else {
        return Ok(());
    };
    if !queued.from.is_there || !queued.to.is_there {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id, label)
         SELECT s.from_object, s.from_local_id, s.to_object, s.to_local_id, s.category, s.type_id, s.label
         FROM (
             SELECT object AS from_object, local_id AS from_local_id, to_object, to_local_id, category, type_id, label
             FROM sync_outbox
             WHERE id = :id
             UNION ALL
             SELECT e.to_object, e.to_local_id, e.object, e.local_id, b.category, b.type_id, b.label
             FROM sync_outbox AS e
             JOIN association_types AS t ON t.from_object = e.object AND t.to_object = e.to_object
                  AND t.category = e.category AND t.type_id = e.type_id
             JOIN association_types AS b ON b.from_object = e.to_object AND b.to_object = e.object
                  AND b.category = e.category AND b.type_id = t.inverse_type_id
             WHERE e.id = :id AND :has_opposite
         ) AS s
         WHERE NOT EXISTS (SELECT 1 FROM associations AS a
                           WHERE a.from_object = s.from_object AND a.from_local_id = s.from_local_id
                             AND a.to_object = s.to_object AND a.to_local_id = s.to_local_id
                             AND a.category IS s.category AND a.type_id IS s.type_id
                             AND (s.type_id IS NOT NULL OR a.label IS s.label))",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":has_opposite": opposite.is_some(),
    })?;
    Ok(())
}

/// Ends what waits to take associations apart one of whose rows is gone for good, with no entry left that could bring it back:
/// HubSpot took them along with its record. `from` and `to` are the pair's tables.
pub(crate) fn end_of_gone(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    (from, to): (&str, &str),
) -> Result<(), StoreError> {
    let is_gone = |table: &str, object: &str, local_id: &str| {
        format!(
            "(NOT EXISTS (SELECT 1 FROM {} AS m WHERE m.local_id = sync_outbox.{local_id})
              AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e
                              WHERE e.object = sync_outbox.{object} AND e.local_id = sync_outbox.{local_id} AND e.{OF_ROW}))",
            quoted(table)
        )
    };
    tx.prepare_cached(&format!(
        "DELETE FROM sync_outbox
         WHERE object = :from AND to_object = :to AND operation = 'disassociate' AND state <> 'in_flight'
           AND unanswered_since IS NULL AND ({} OR {})",
        is_gone(from, "object", "local_id"),
        is_gone(to, "to_object", "to_local_id")
    ))?
    .execute(named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str() })?;
    Ok(())
}

/// The records whose associations show an entry's rows, where HubSpot has them: that where it starts, and that where it leads.
pub(crate) fn records_shown_by(
    connection: &Connection,
    id: OutboxId,
) -> Result<[Option<HubspotId>; 2], StoreError> {
    let link = queued(connection, &[], id)?;
    Ok(link.map_or([None; 2], |link| [link.from.hs_id, link.to.hs_id]))
}

/// Writes down which type an entry and its row are of. Where another entry or row is of that type already, this one has
/// nothing left to say: it goes, and `false` is given.
pub fn name(
    tx: &Transaction<'_>,
    id: OutboxId,
    kind: &TypeId,
    types: &[KnownType],
) -> Result<bool, StoreError> {
    let label = types
        .iter()
        .find(|known| known.id == *kind)
        .and_then(|known| known.label.as_deref());
    let rows = rows_by_direction(tx, id)?;
    let turned = turned_type(types, kind);
    let named = named_params! {
        ":id": id.0,
        ":category": kind.category.as_str(),
        ":type_id": kind.number,
        ":label": label,
    };
    let changed = tx
        .prepare_cached(
            "UPDATE OR IGNORE sync_outbox
             SET category = :category, type_id = :type_id, label = :label
             WHERE id = :id",
        )?
        .execute(named)?;
    for (row, is_turned) in rows {
        let shown = if is_turned {
            turned.as_ref()
        } else {
            Some(kind)
        };
        // Nobody knows what the other direction has with it: the next read tells.
        let Some(shown) = shown else { continue };
        let done = tx
            .prepare_cached(
                "UPDATE OR IGNORE associations
                 SET category = :category, type_id = :type_id,
                     label = (SELECT t.label FROM association_types AS t
                              WHERE t.from_object = associations.from_object AND t.to_object = associations.to_object
                                AND t.category = :category AND t.type_id = :type_id)
                 WHERE id = :row",
            )?
            .execute(named_params! {
                ":row": row,
                ":category": shown.category.as_str(),
                ":type_id": shown.number,
            })?;
        // Another row is of that type already, and means the same.
        if done == 0 {
            tx.prepare_cached("DELETE FROM associations WHERE id = :row")?
                .execute(named_params! { ":row": row })?;
        }
    }
    if changed == 0 {
        super::end(tx, id)?;
    }
    Ok(changed > 0)
}

/// Writes down that an entry is of its pair's plain type, which is `plain` as seen from a pair: it may stand in the other direction.
pub(crate) fn name_plain(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    id: OutboxId,
    plain: &TypeId,
    types: &[KnownType],
) -> Result<(), StoreError> {
    let stands_in = tx
        .prepare_cached(
            "SELECT 1 FROM sync_outbox WHERE id = :id AND object = :from AND to_object = :to",
        )?
        .exists(
            named_params! { ":id": id.0, ":from": pair.from.as_str(), ":to": pair.to.as_str() },
        )?;
    if stands_in {
        return name(tx, id, plain, types).map(drop);
    }
    let known = types.iter().find(|known| known.id == *plain);
    let Some((known, turned)) = known.and_then(|known| Some((known, known.turned()?))) else {
        return Ok(());
    };
    // The types of that direction, as far as its plain one needs them.
    let back = KnownType {
        id: turned.clone(),
        inverse: Some(plain.number),
        ..known.clone()
    };
    name(tx, id, &turned, &[back]).map(drop)
}

/// Queues an association for each row of two records that has no entry: an archive of all types has taken it away.
pub(crate) fn associate_again(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    (from, to): (LinkEnd, LinkEnd),
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at,
                                  to_object, to_local_id, category, type_id, label)
         SELECT a.from_object, a.from_local_id, :hs_id, 'associate', :now, :now,
                a.to_object, a.to_local_id, a.category, a.type_id, a.label
         FROM associations AS a
         WHERE a.from_object = :from_object AND a.from_local_id = :from
           AND a.to_object = :to_object AND a.to_local_id = :to
           AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e
                           WHERE e.operation IN ('associate', 'disassociate')
                             AND e.object = a.from_object AND e.local_id = a.from_local_id
                             AND e.to_object = a.to_object AND e.to_local_id = a.to_local_id
                             AND e.category IS a.category AND e.type_id IS a.type_id
                             AND (a.type_id IS NOT NULL OR e.label IS a.label))",
    )?
    .execute(named_params! {
        ":hs_id": from.hs_id.map(|id| id.0),
        ":now": now.to_string(),
        ":from_object": pair.from.as_str(),
        ":from": from.local_id.0,
        ":to_object": pair.to.as_str(),
        ":to": to.local_id.0,
    })?;
    Ok(())
}

/// Writes associations down as HubSpot's, of a list as conflicts have it.
pub(crate) fn insert_listed(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    list: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id, label)
         SELECT :from, json_extract(j.value, '$.from_local_id'), :to, json_extract(j.value, '$.to_local_id'),
                json_extract(j.value, '$.category'), json_extract(j.value, '$.type_id'), json_extract(j.value, '$.label')
         FROM json_each(:list) AS j
         WHERE json_extract(j.value, '$.to_local_id') IS NOT NULL
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str(), ":list": list })?;
    Ok(())
}

/// Queues the associations of such a list whose rows are still there.
pub(crate) fn associate_listed(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    list: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at,
                                  to_object, to_local_id, category, type_id, label)
         SELECT a.from_object, a.from_local_id, json_extract(j.value, '$.from_hs_id'), 'associate', :now, :now,
                a.to_object, a.to_local_id, a.category, a.type_id, a.label
         FROM json_each(:list) AS j
         -- Else SQLite looks through all associations for the few of the list.
         CROSS JOIN associations AS a ON a.from_object = :from AND a.to_object = :to
              AND a.from_local_id = json_extract(j.value, '$.from_local_id')
              AND a.to_local_id = json_extract(j.value, '$.to_local_id')
              AND a.category = json_extract(j.value, '$.category')
              AND a.type_id = json_extract(j.value, '$.type_id')
         WHERE 1
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! {
        ":from": pair.from.as_str(),
        ":to": pair.to.as_str(),
        ":list": list,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Queues that the associations of such a list are taken away, whose rows are gone already.
pub(crate) fn disassociate_listed(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    list: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at,
                                  to_object, to_local_id, category, type_id, label)
         SELECT :from, json_extract(j.value, '$.from_local_id'), json_extract(j.value, '$.from_hs_id'), 'disassociate', :now, :now,
                :to, json_extract(j.value, '$.to_local_id'), json_extract(j.value, '$.category'),
                json_extract(j.value, '$.type_id'), json_extract(j.value, '$.label')
         FROM json_each(:list) AS j
         WHERE 1
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! {
        ":from": pair.from.as_str(),
        ":to": pair.to.as_str(),
        ":list": list,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Brings the associations back that went with a deleted row, as its entry kept them: what HubSpot had not heard of is queued
/// again. One whose other row is gone stays away.
pub(crate) fn bring_back(
    tx: &Transaction<'_>,
    row: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT j.value,
                json_extract(j.value, '$.from_object'), json_extract(j.value, '$.from_local_id'),
                json_extract(j.value, '$.to_object'), json_extract(j.value, '$.to_local_id')
         FROM json_each(:row, '$.associations') AS j
         WHERE json_type(:row, '$.associations') = 'array'",
    )?;
    let kept: Vec<(String, [(String, i64); 2])> = statement
        .query_map(named_params! { ":row": row }, |row| {
            let ends = [(row.get(1)?, row.get(2)?), (row.get(3)?, row.get(4)?)];
            Ok((row.get(0)?, ends))
        })?
        .collect::<Result<_, _>>()?;
    for (link, ends) in kept {
        let mut is_there = true;
        for (object, local_id) in ends {
            is_there &= end_of(tx, &object, LocalId(local_id))?.is_there;
        }
        // The other row went too, and took its associations into its own entry.
        if is_there {
            bring_one_back(tx, &link, now)?;
        }
    }
    Ok(())
}

fn bring_one_back(tx: &Transaction<'_>, link: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id, label)
         SELECT :link ->> 'from_object', :link ->> 'from_local_id', :link ->> 'to_object', :link ->> 'to_local_id',
                :link ->> 'category', :link ->> 'type_id', :link ->> 'label'
         WHERE NOT EXISTS (SELECT 1 FROM associations AS a
                           WHERE a.from_object = :link ->> 'from_object' AND a.from_local_id = :link ->> 'from_local_id'
                             AND a.to_object = :link ->> 'to_object' AND a.to_local_id = :link ->> 'to_local_id'
                             AND a.category IS :link ->> 'category' AND a.type_id IS :link ->> 'type_id'
                             AND a.label IS :link ->> 'label')",
    )?
    .execute(named_params! { ":link": link })?;
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at,
                                  to_object, to_local_id, category, type_id, label, by_default)
         SELECT :link ->> 'from_object', :link ->> 'from_local_id', :link ->> 'from_hs_id', 'associate', :now, :now,
                :link ->> 'to_object', :link ->> 'to_local_id', :link ->> 'category', :link ->> 'type_id', :link ->> 'label',
                coalesce(:link ->> 'by_default', 0)
         WHERE :link ->> 'pending' = 1
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! { ":link": link, ":now": now.to_string() })?;
    Ok(())
}

/// A row of an object's table, and its record; not there where the object has no table.
pub(super) fn end_of(
    connection: &Connection,
    object: &str,
    local_id: LocalId,
) -> Result<LinkEnd, StoreError> {
    let table: Option<String> = connection
        .prepare_cached("SELECT table_name FROM _sync_objects WHERE object = :object")?
        .query_row(named_params! { ":object": object }, |row| row.get(0))
        .optional()?;
    match table {
        Some(table) => end_in(connection, &table, local_id),
        None => Ok(LinkEnd {
            local_id,
            is_there: false,
            hs_id: None,
        }),
    }
}

/// Tells a row's associations which record it is by now: those that waited for its create go on where the other row is a
/// record too. Without a record they wait for one.
pub(crate) fn follow(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    hs_id: Option<HubspotId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
    };
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET hs_id = :hs_id
         WHERE object = :object AND local_id = :local_id AND operation IN ('associate', 'disassociate')
           AND state <> 'in_flight'",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":hs_id": hs_id.map(|id| id.0),
    })?;
    revive_creates(tx, object, local_id, now)?;
    if hs_id.is_none() {
        // What HubSpot refused of the record that is gone says nothing of the one that is to come.
        pending_again(
            tx,
            &format!("operation = 'associate' AND {OF_MAPPED_PAIR} AND {NAMES_ROW}"),
            now,
            row,
        )?;
        tx.prepare_cached(
            "UPDATE sync_outbox
             SET waits_for = 'create', next_attempt_at = NULL
             WHERE state = 'pending'
               AND ((object = :object AND local_id = :local_id AND operation IN ('associate', 'disassociate'))
                    OR (to_object = :object AND to_local_id = :local_id AND to_local_id IS NOT NULL))",
        )?
        .execute(row)?;
        return associate_anew(tx, object, local_id, now);
    }
    // HubSpot found no record of the id that the row had before it was merged into this one.
    pending_again(
        tx,
        &format!("operation = 'associate' AND code = '{RECORD_NOT_FOUND}' AND {NAMES_ROW}"),
        now,
        row,
    )?;
    let waiting: Vec<(i64, String, i64, String, i64)> = tx
        .prepare_cached(
            "SELECT id, object, local_id, to_object, to_local_id
             FROM sync_outbox
             WHERE object = :object AND local_id = :local_id AND operation IN ('associate', 'disassociate')
               AND waits_for = 'create'
             UNION
             SELECT id, object, local_id, to_object, to_local_id
             FROM sync_outbox
             WHERE to_object = :object AND to_local_id = :local_id AND waits_for = 'create'",
        )?
        .query_map(row, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<Result<_, _>>()?;
    let is_record = |name: &str, row: i64| -> Result<bool, StoreError> {
        if name == object.as_str() && row == local_id.0 {
            return Ok(true);
        }
        // One whose row is gone by now has nothing to wait for.
        let end = end_of(tx, name, LocalId(row))?;
        Ok(!end.is_there || end.hs_id.is_some())
    };
    for (id, from_object, from, to_object, to) in waiting {
        match is_record(&from_object, from)? && is_record(&to_object, to)? {
            true => let_go(tx, OutboxId(id), now)?,
            // It waits for the other one, and says why.
            false => missing::say(tx, OutboxId(id)).map(drop)?,
        }
    }
    release_creates(tx, object.as_str(), local_id, now)
}

/// Lets creates go that waited for a row's record, since one of their associations names it. What else they wait for their claim
/// sees.
fn release_creates(
    tx: &Transaction<'_>,
    object: &str,
    local_id: LocalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for id in missing::creates_for(tx, object, local_id)? {
        let_go(tx, id, now)?;
    }
    Ok(())
}

/// An entry that waited for a record is due, and says no more why there was none.
fn let_go(tx: &Transaction<'_>, id: OutboxId, now: Timestamp) -> Result<(), StoreError> {
    super::retry(tx, id, now, None, None, Answered::No)?;
    missing::say(tx, id).map(drop)
}

/// The entries of a row's associations are another row's of its object from now on. Doubles go, and so does what would associate a
/// record with itself.
pub(crate) fn move_all(
    tx: &Transaction<'_>,
    object: &ObjectType,
    from: LocalId,
    to: LocalId,
) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM sync_outbox
         WHERE operation IN ('associate', 'disassociate') AND object = :object AND to_object = :object
           AND local_id IN (:from, :to) AND to_local_id IN (:from, :to)",
        "UPDATE OR IGNORE sync_outbox
         SET local_id = :to
         WHERE operation IN ('associate', 'disassociate') AND object = :object AND local_id = :from",
        "UPDATE OR IGNORE sync_outbox
         SET to_local_id = :to
         WHERE to_object = :object AND to_local_id = :from",
        "DELETE FROM sync_outbox
         WHERE operation IN ('associate', 'disassociate') AND :from <> :to
           AND ((object = :object AND local_id = :from)
                OR (to_local_id IS NOT NULL AND to_object = :object AND to_local_id = :from))",
    ] {
        tx.prepare_cached(sql)?.execute(named_params! {
            ":object": object.as_str(),
            ":from": from.0,
            ":to": to.0,
        })?;
    }
    Ok(())
}

/// A row is to be another record: all of its associations are to be made anew, once it is.
fn associate_anew(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, waits_for, to_object, to_local_id,
                                  category, type_id, label)
         SELECT a.from_object, a.from_local_id, 'associate', :now, 'create', a.to_object, a.to_local_id,
                a.category, a.type_id, a.label
         FROM associations AS a
         WHERE ((a.from_object = :object AND a.from_local_id = :local_id)
                OR (a.to_object = :object AND a.to_local_id = :local_id))
           AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e
                           WHERE e.operation IN ('associate', 'disassociate')
                             AND e.object = a.from_object AND e.local_id = a.from_local_id
                             AND e.to_object = a.to_object AND e.to_local_id = a.to_local_id
                             AND e.category IS a.category AND e.type_id IS a.type_id)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Pairs of records that are associated.
pub(crate) fn count_pairs(connection: &Connection, pair: &PairMapping) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*)
             FROM (SELECT 1 FROM associations WHERE from_object = :from AND to_object = :to
                   GROUP BY from_local_id, to_local_id)",
        )?
        .query_row(
            named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str() },
            |row| row.get(0),
        )?;
    Ok(count.unsigned_abs())
}

/// Entries that were dead since their pair was not in the mapping file are pending again where it is. `pairs` is a JSON list of
/// the ends of those that are.
pub(crate) fn revive(tx: &Transaction<'_>, pairs: &str, now: Timestamp) -> Result<(), StoreError> {
    pending_again(
        tx,
        "(operation = 'associate' OR operation = 'disassociate') AND code = 'pair-unmapped'
           AND EXISTS (SELECT 1 FROM json_each(:pairs)
                       WHERE value ->> 'from' = sync_outbox.object AND value ->> 'to' = sync_outbox.to_object)",
        now,
        named_params! { ":pairs": pairs },
    )
    .map(drop)
}

/// Dead entries of pairs that are in the mapping file.
const OF_MAPPED_PAIR: &str = "code IS NOT 'pair-unmapped'";

/// Entries of associations of one row, at either end.
const NAMES_ROW: &str = "((object = :object AND local_id = :local_id)
                OR (to_object = :object AND to_local_id = :local_id AND to_local_id IS NOT NULL))";

/// What dead entries were refused for is no longer so (`EntryEvent::Mended`): they are pending again, due and as if
/// never tried, those that a condition names. What a person gives up stays given up.
fn pending_again(
    tx: &Transaction<'_>,
    which: &str,
    now: Timestamp,
    by: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<Vec<OutboxId>, StoreError> {
    let now = now.to_string();
    let mut named: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":now", &now)];
    named.extend_from_slice(by);
    let mut statement = tx.prepare_cached(&format!(
        "UPDATE sync_outbox
         SET state = 'pending', attempts = 0, next_attempt_at = :now, last_error = NULL, code = NULL, unanswered_since = NULL
         WHERE state = 'dead' AND discarded_at IS NULL AND {which}
         RETURNING id"
    ))?;
    let again = statement.query_map(&named[..], |row| row.get(0).map(OutboxId))?;
    Ok(again.collect::<Result<_, _>>()?)
}

/// A row's record is gone: what was dead of its associations, or waits for the create of the other row, which may be dead itself, is
/// looked at once more, and ends by what is there now. What else waits is looked at anyway.
pub(crate) fn look_at_gone(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = named_params! { ":object": object.as_str(), ":local_id": local_id.0 };
    revive_creates(tx, object, local_id, now)?;
    pending_again(
        tx,
        &format!("operation IN ('associate', 'disassociate') AND {OF_MAPPED_PAIR} AND {NAMES_ROW}"),
        now,
        row,
    )?;
    let waiting: Vec<i64> = tx
        .prepare_cached(&format!(
            "SELECT id
             FROM sync_outbox
             WHERE operation IN ('associate', 'disassociate') AND state = 'pending' AND waits_for = 'create' AND {NAMES_ROW}"
        ))?
        .query_map(row, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in waiting {
        let_go(tx, OutboxId(id), now)?;
    }
    Ok(())
}

/// Creates that HubSpot refused with an association to a row's record, which is gone by now or goes by another id, are tried again: a
/// refusal reaches us before the reads by which that is believed. Those in doubt stay.
fn revive_creates(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    // From the row by the indexes of its associations: their own conditions stand here in their words, and `+` keeps the planner from
    // going through all associations of the object.
    let again = pending_again(
        tx,
        "code IN (:not_found, :refused) AND unanswered_since IS NULL AND id IN (
             SELECT c.id
             FROM sync_outbox AS link
             CROSS JOIN sync_outbox AS c ON c.object = link.to_object AND c.local_id = link.to_local_id
             WHERE link.object = :object AND link.local_id = :local_id AND link.operation IN ('associate', 'disassociate')
               AND +link.operation = 'associate' AND c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create'
             UNION ALL
             SELECT c.id
             FROM sync_outbox AS link
             CROSS JOIN sync_outbox AS c ON c.object = link.object AND c.local_id = link.local_id
             WHERE link.to_object = :object AND link.to_local_id = :local_id AND link.to_local_id IS NOT NULL
               AND +link.operation = 'associate' AND c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create')",
        now,
        named_params! {
            ":object": object.as_str(),
            ":local_id": local_id.0,
            ":not_found": RECORD_NOT_FOUND,
            ":refused": REFUSED,
        },
    )?;
    // What waits for their records says no more that nothing makes them.
    again
        .into_iter()
        .try_for_each(|create| missing::tell_of_create(tx, create))
}

/// Associations that a limit of their pair forbade are tried again: those of two rows one of which has room by now, or all where
/// the limit is another.
pub(crate) fn revive_limited(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    ends: Option<(LocalId, LocalId)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    pending_again(
        tx,
        "object = :from AND to_object = :to AND operation = 'associate' AND code = :code
           AND (:of_all OR local_id = :from_row OR to_local_id = :to_row)",
        now,
        named_params! {
            ":from": pair.from.as_str(),
            ":to": pair.to.as_str(),
            ":code": ASSOCIATION_LIMIT,
            ":of_all": ends.is_none(),
            ":from_row": ends.map(|(from, _)| from.0),
            ":to_row": ends.map(|(_, to)| to.0),
        },
    )
    .map(drop)
}
