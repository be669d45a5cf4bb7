//! `sync_conflicts`: writes conflicts down and reads people's decisions, decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::decision::{NOT_MAPPED, not_in_file, not_in_force};
use crate::decide::echo::PastValue;
use crate::decide::record::{ConflictNote, OpenConflict, WAITS};
use crate::model::association::{ExclusiveEnd, PairMapping};
pub(crate) use crate::model::conflict::End;
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::Base;
use crate::model::id::{ConflictId, HubspotId, LocalId};
use crate::model::name::{ObjectType, PropertyName, TableName};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::database::text;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::{StoreError, rowjson};

/// The record that a conflict is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// The object.
    pub object: &'a ObjectType,
    /// The row.
    pub local_id: LocalId,
    /// The record.
    pub hs_id: Option<HubspotId>,
}

/// A conflict as a row, values as stored text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewConflict<'a> {
    /// The property, or `*`.
    pub property: &'a str,
    /// The base, `None` where it is unknown or empty.
    pub base: Option<&'a str>,
    /// Whether the base is known.
    pub base_known: bool,
    /// The mirror's value.
    pub local: Option<&'a str>,
    /// HubSpot's value.
    pub remote: Option<&'a str>,
    /// The policy in force.
    pub policy: &'a str,
    /// Why it ended as it did, or what it waits for.
    pub reason: &'a str,
    /// When HubSpot's value was set, and by whom, where its history was read.
    pub set: Option<&'a PastValue>,
}

impl<'a> From<&'a ConflictNote> for NewConflict<'a> {
    fn from(note: &'a ConflictNote) -> Self {
        let (base, base_known) = match &note.base {
            Base::Known(value) => (value.as_deref(), true),
            Base::Unknown => (None, false),
        };
        Self {
            property: note.property.as_str(),
            base,
            base_known,
            local: note.local.as_deref(),
            remote: note.remote.as_deref(),
            policy: note.policy.as_str(),
            reason: note.reason,
            set: None,
        }
    }
}

/// Writes a conflict that was decided at once.
pub(crate) fn record_closed(
    tx: &Transaction<'_>,
    about: About<'_>,
    conflict: NewConflict<'_>,
    winner: Winner,
    now: Timestamp,
) -> Result<(), StoreError> {
    insert(tx, about, conflict, Some(winner), (None, now))
}

/// Whether the very same conflict of a row was written closed before.
pub(crate) fn is_recorded(
    connection: &Connection,
    about: About<'_>,
    conflict: NewConflict<'_>,
    winner: Winner,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_conflicts
             WHERE object = :object
               AND local_id = :local_id
               AND property = :property
               AND hs_id IS :hs_id
               AND base_value IS :base
               AND local_value IS :local
               AND remote_value IS :remote
               AND winner = :winner
               AND resolved_at IS NOT NULL",
        )?
        .exists(named_params! {
            ":object": about.object.as_str(),
            ":local_id": about.local_id.0,
            ":property": conflict.property,
            ":hs_id": about.hs_id.map(|id| id.0),
            ":base": conflict.base,
            ":local": conflict.local,
            ":remote": conflict.remote,
            ":winner": winner.as_str(),
        })?)
}

/// Whether a value of HubSpot's stands in a conflict of a field, or of the whole record, that was written since `since`.
pub(crate) fn names_remote_since(
    connection: &Connection,
    about: About<'_>,
    property: &str,
    remote: Option<&str>,
    since: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_conflicts
             WHERE object = :object
               AND local_id = :local_id
               AND property = :property
               AND remote_value IS :remote
               AND detected_at >= :since",
        )?
        .exists(named_params! {
            ":object": about.object.as_str(),
            ":local_id": about.local_id.0,
            ":property": property,
            ":remote": remote,
            ":since": since.to_string(),
        })?)
}

/// Writes a conflict that waits for a person. One that is open for the field already stays.
pub(crate) fn record_open(
    tx: &Transaction<'_>,
    about: About<'_>,
    conflict: NewConflict<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    insert(tx, about, conflict, None, (None, now))
}

/// The same of associations that exclude each other at the record where they lead, which is that of row `to`.
pub(crate) fn record_open_at(
    tx: &Transaction<'_>,
    about: About<'_>,
    conflict: NewConflict<'_>,
    to: LocalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    insert(tx, about, conflict, None, (Some(to), now))
}

fn insert(
    tx: &Transaction<'_>,
    about: About<'_>,
    conflict: NewConflict<'_>,
    winner: Option<Winner>,
    (to, now): (Option<LocalId>, Timestamp),
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_conflicts (object, local_id, hs_id, property, base_value, base_known, local_value, remote_value,
                                     policy, winner, detected_at, resolved_at, resolution, reason, to_local_id,
                                     remote_changed_at, remote_source_type, remote_source_id, local_changed_at)
         VALUES (:object, :local_id, :hs_id, :property, :base, :base_known, :local, :remote,
                 :policy, :winner, :now, :resolved_at, :resolution, :reason, :to, :set_at, :source_type, :source_id,
                 (SELECT max(f.changed_at)
                  FROM sync_outbox_fields AS f
                  JOIN sync_outbox AS e ON e.id = f.outbox_id
                  WHERE e.object = :object AND e.local_id = :local_id
                    AND e.operation NOT IN ('associate', 'disassociate') AND f.property = :property))
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! {
        ":object": about.object.as_str(),
        ":local_id": about.local_id.0,
        ":hs_id": about.hs_id.map(|id| id.0),
        ":property": conflict.property,
        ":base": conflict.base,
        ":base_known": conflict.base_known,
        ":local": conflict.local,
        ":remote": conflict.remote,
        ":policy": conflict.policy,
        ":winner": winner.map(Winner::as_str),
        ":now": now.to_string(),
        ":resolved_at": winner.map(|_| now.to_string()),
        ":resolution": winner.map(|_| "policy"),
        ":reason": conflict.reason,
        ":to": to.map(|row| row.0),
        ":set_at": conflict.set.map(|set| set.at.to_string()),
        ":source_type": conflict.set.and_then(|set| set.source.kind.as_deref()),
        ":source_id": conflict.set.and_then(|set| set.source.id.as_deref()),
    })?;
    Ok(())
}

/// Gives an open conflict to another row, which is the record now.
pub(crate) fn move_open(
    tx: &Transaction<'_>,
    about: About<'_>,
    property: &PropertyName,
    to: About<'_>,
    local: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET local_id = :to, hs_id = :hs_id, local_value = :local
         WHERE object = :object AND local_id = :from AND property = :property AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":object": about.object.as_str(),
        ":from": about.local_id.0,
        ":to": to.local_id.0,
        ":hs_id": to.hs_id.map(|id| id.0),
        ":property": property.as_str(),
        ":local": local.as_deref(),
    })?;
    Ok(())
}

/// Tells a row's open conflicts which record it is by now: a decision reads that one, and another's erasure spares them.
pub(crate) fn follow(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    hs_id: Option<HubspotId>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET hs_id = :hs_id
         WHERE object = :object AND local_id = :local_id AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":hs_id": hs_id.map(|id| id.0),
    })?;
    Ok(())
}

/// When the latest open conflict of a row's fields was found: the local value that it holds is no younger than that, as far
/// as anybody knows.
pub(crate) fn last_opened_at(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(
            "SELECT max(detected_at)
             FROM sync_conflicts
             WHERE object = :object AND local_id = :local_id AND resolved_at IS NULL AND property <> '*'",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":local_id": local_id.0 },
            |row| row.get(0),
        )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// When a conflict was found.
pub(crate) fn detected_at(
    connection: &Connection,
    id: ConflictId,
) -> Result<Timestamp, StoreError> {
    let text: String = connection
        .prepare_cached("SELECT detected_at FROM sync_conflicts WHERE id = :id")?
        .query_row(named_params! { ":id": id.0 }, |row| row.get(0))?;
    Timestamp::parse(&text).ok_or(StoreError::UnknownValue(text))
}

/// The open conflicts of a row's fields, with the local value as the triggers keep it.
pub(crate) fn open_of(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<BTreeMap<PropertyName, OpenConflict>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT property, id, base_value, base_known, remote_value
         FROM sync_conflicts
         WHERE object = :object AND local_id = :local_id AND resolved_at IS NULL AND property <> '*'",
    )?;
    let mut rows =
        statement.query(named_params! { ":object": object.as_str(), ":local_id": local_id.0 })?;
    let mut open = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let property: String = row.get(0)?;
        let property = PropertyName::parse(&property)
            .map_err(|error| StoreError::UnknownValue(error.to_string()))?;
        let base = Value::from_stored(text::of(row, 2)?);
        let conflict = OpenConflict {
            id: ConflictId(row.get(1)?),
            base: if row.get(3)? {
                Base::Known(base)
            } else {
                Base::Unknown
            },
            remote: Value::from_stored(text::of(row, 4)?),
        };
        open.insert(property, conflict);
    }
    Ok(open)
}

/// Whether a conflict of a row's property waits for a person.
pub fn is_open(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
    property: &str,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_conflicts
             WHERE object = :object AND local_id = :local_id AND property = :property AND resolved_at IS NULL",
        )?
        .exists(named_params! {
            ":object": object.as_str(),
            ":local_id": local_id.0,
            ":property": property,
        })?)
}

/// A conflict that a person has decided, or whose sides moved.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its row.
    pub id: ConflictId,
    /// The object.
    pub object: String,
    /// The row of the mirror.
    pub local_id: LocalId,
    /// The record.
    pub hs_id: Option<HubspotId>,
    /// The property, or `*`.
    pub property: String,
    /// The base that it holds.
    pub base: Base,
    /// The mirror's value as the triggers keep it.
    pub local: Value,
    /// HubSpot's value as last seen.
    pub remote: Value,
    /// The person's word.
    pub resolution: Option<String>,
    /// Of associations that exclude each other at the record where they lead: its row.
    pub to: Option<LocalId>,
}

/// The property of conflicts, and of lines of `sync_history`, that are about associations.
pub(crate) const ASSOCIATION: &str = "association";

/// The open conflict of the associations at an end of a pair, of the row that stands there: its number, and its lists of what both
/// sides had, of ours and of HubSpot's.
pub(crate) fn open_association(
    connection: &Connection,
    pair: &ObjectType,
    (end, local_id): (ExclusiveEnd, LocalId),
) -> Result<Option<(ConflictId, [String; 3])>, StoreError> {
    let sql = match end {
        ExclusiveEnd::From => {
            "SELECT id, coalesce(base_value, '[]'), coalesce(local_value, '[]'), coalesce(remote_value, '[]')
             FROM sync_conflicts
             WHERE object = :pair AND local_id = :local_id AND property = :association AND resolved_at IS NULL
               AND to_local_id IS NULL"
        }
        ExclusiveEnd::To => {
            "SELECT id, coalesce(base_value, '[]'), coalesce(local_value, '[]'), coalesce(remote_value, '[]')
             FROM sync_conflicts
             WHERE object = :pair AND to_local_id = :local_id AND property = :association AND resolved_at IS NULL"
        }
    };
    Ok(connection
        .prepare_cached(sql)?
        .query_row(
            named_params! {
                ":pair": pair.as_str(),
                ":local_id": local_id.0,
                ":association": ASSOCIATION,
            },
            |row| {
                Ok((
                    ConflictId(row.get(0)?),
                    [row.get(1)?, row.get(2)?, row.get(3)?],
                ))
            },
        )
        .optional()?)
}

/// Other rows of a pair whose open conflicts are about a row too: of a pair of one object.
pub(crate) fn open_about(
    connection: &Connection,
    pair: &ObjectType,
    local_id: LocalId,
) -> Result<BTreeSet<LocalId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT c.local_id
         FROM sync_conflicts AS c, (VALUES (0), (1), (2)) AS v,
              json_each(CASE v.column1 WHEN 0 THEN c.base_value WHEN 1 THEN c.local_value ELSE c.remote_value END) AS j
         WHERE c.object = :pair AND c.property = :association AND c.resolved_at IS NULL AND c.local_id <> :local_id
           AND j.value ->> 'to_local_id' = :local_id",
    )?;
    let rows = statement.query_map(
        named_params! { ":pair": pair.as_str(), ":association": ASSOCIATION, ":local_id": local_id.0 },
        |row| row.get(0).map(LocalId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What an open conflict of associations is about from now on: its three lists.
pub(crate) fn move_association(
    tx: &Transaction<'_>,
    id: ConflictId,
    [base, local, remote]: [&str; 3],
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET base_value = :base, base_known = 1, local_value = :local, remote_value = :remote
         WHERE id = :id AND resolved_at IS NULL",
    )?
    .execute(named_params! { ":id": id.0, ":base": base, ":local": local, ":remote": remote })?;
    Ok(())
}

/// Names the row, and its record, by which a conflict at the record where associations lead stands in the table.
pub(crate) fn stand_by(
    tx: &Transaction<'_>,
    id: ConflictId,
    local_id: LocalId,
    hs_id: Option<HubspotId>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts SET local_id = :local_id, hs_id = :hs_id WHERE id = :id AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":local_id": local_id.0,
        ":hs_id": hs_id.map(|id| id.0),
    })?;
    Ok(())
}

/// All open conflicts of records that have a resolution, or whose local value is the base or HubSpot's value; at most `limit`.
pub fn waiting(connection: &Connection, limit: usize) -> Result<Vec<Waiting>, StoreError> {
    read_waiting(
        connection,
        "property <> :association
           AND (resolution IS NOT NULL
                OR (property <> '*' AND (local_value IS remote_value OR (base_known = 1 AND local_value IS base_value))))",
        limit,
    )
}

/// Decided conflicts of objects and pairs that are in none of these JSON lists of names, with those names, at most `limit`.
pub(crate) fn decided_of_others(
    connection: &Connection,
    objects: &str,
    pairs: &str,
    limit: usize,
) -> Result<Vec<(ConflictId, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, object
         FROM sync_conflicts
         WHERE resolved_at IS NULL AND resolution IS NOT NULL
           AND object NOT IN (SELECT value FROM json_each(iif(property = :association, :pairs, :objects)))
         ORDER BY id
         LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":association": ASSOCIATION,
            ":pairs": pairs,
            ":objects": objects,
            ":limit": limit as i64,
        },
        |row| Ok((ConflictId(row.get(0)?), row.get(1)?)),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The open conflicts of a pair's associations that have a resolution, or name a row that is gone, at most `limit`.
pub(crate) fn of_associations(
    connection: &Connection,
    pair: &PairMapping,
    (from, to): (&TableName, &TableName),
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let (from, to) = (quoted(from.as_str()), quoted(to.as_str()));
    let lost = |list: &str| {
        format!(
            "EXISTS (SELECT 1 FROM json_each({list}) AS j
                     WHERE (json_extract(j.value, '$.to_local_id') IS NOT NULL
                            AND NOT EXISTS (SELECT 1 FROM {to} AS m WHERE m.local_id = json_extract(j.value, '$.to_local_id')))
                        OR NOT EXISTS (SELECT 1 FROM {from} AS m WHERE m.local_id = json_extract(j.value, '$.from_local_id')))"
        )
    };
    let which = format!(
        "object = {} AND property = :association
         AND (resolution IS NOT NULL
              OR NOT EXISTS (SELECT 1 FROM {from} AS m WHERE m.local_id = sync_conflicts.local_id)
              OR {} OR {})",
        literal(pair.key.as_str()),
        lost("local_value"),
        lost("remote_value"),
    );
    read_waiting(connection, &which, limit)
}

fn read_waiting(
    connection: &Connection,
    which: &str,
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, object, local_id, hs_id, property, base_value, base_known, local_value, remote_value, resolution, to_local_id
         FROM sync_conflicts
         WHERE resolved_at IS NULL AND {which}
         ORDER BY id
         LIMIT :limit"
    ))?;
    let named = named_params! { ":limit": limit as i64, ":association": ASSOCIATION };
    let rows = statement.query_map(named, |row| {
        let base = Value::from_stored(text::of(row, 5)?);
        Ok(Waiting {
            id: ConflictId(row.get(0)?),
            object: row.get(1)?,
            local_id: LocalId(row.get(2)?),
            hs_id: row.get::<_, Option<i64>>(3)?.map(HubspotId),
            property: row.get(4)?,
            base: if row.get(6)? {
                Base::Known(base)
            } else {
                Base::Unknown
            },
            local: Value::from_stored(text::of(row, 7)?),
            remote: Value::from_stored(text::of(row, 8)?),
            resolution: text::of(row, 9)?,
            to: row.get::<_, Option<i64>>(10)?.map(LocalId),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The open conflicts whose local value a trigger wrote as the column held it, and its canonical spelling.
const MISSPELLED: &str = "SELECT c.id, hubsyncd_canonical(c.local_value, f.type) AS spelled
         FROM sync_conflicts AS c
         JOIN sync_fields AS f ON f.object = c.object AND f.property = c.property
         WHERE c.resolved_at IS NULL AND c.local_value IS NOT hubsyncd_canonical(c.local_value, f.type)";

/// Whether a trigger has written a local value that is not canonical.
pub(crate) fn is_misspelled(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached(MISSPELLED)?.exists([])?)
}

/// Spells those.
pub(crate) fn spell(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "UPDATE sync_conflicts SET local_value = m.spelled FROM ({MISSPELLED}) AS m WHERE sync_conflicts.id = m.id"
    ))?
    .execute([])?;
    Ok(())
}

/// Closes an open conflict.
pub fn close(
    tx: &Transaction<'_>,
    id: ConflictId,
    end: End<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET winner = :winner, resolution = coalesce(resolution, :resolution), reason = :reason, resolved_at = :now
         WHERE id = :id AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":winner": end.winner.as_str(),
        ":resolution": end.resolution,
        ":reason": end.reason,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Closes what is still open for a row that is gone from both sides.
pub(crate) fn close_all_of(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    winner: Winner,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET winner = :winner, resolution = coalesce(resolution, 'gone'), reason = :reason, resolved_at = :now
         WHERE object = :object AND local_id = :local_id AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":winner": winner.as_str(),
        ":reason": reason,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Closes the open conflicts of a row's fields, because the row was deleted here. Without a winner the conflict of the
/// whole record decides.
pub(crate) fn close_fields_of(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    winner: Option<Winner>,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET winner = :winner, resolution = coalesce(resolution, 'gone'), reason = :reason, resolved_at = :now
         WHERE object = :object AND local_id = :local_id AND property <> '*' AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":winner": winner.map(Winner::as_str),
        ":reason": reason,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// The records of deleted rows whose archive waits for a person's word on the conflict about the whole record.
pub(crate) fn of_deleted(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.hs_id
         FROM sync_conflicts AS c
         JOIN sync_outbox AS e ON e.object = c.object AND e.local_id = c.local_id
         WHERE c.object = :object AND c.property = '*' AND c.resolved_at IS NULL
           AND e.operation = 'archive' AND e.hs_id IS NOT NULL",
    )?;
    let ids = statement.query_map(named_params! { ":object": object.as_str() }, |row| {
        row.get(0).map(HubspotId)
    })?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Closes all open conflicts of a row that is gone, also the one about it as a whole: there is nothing left to decide.
pub(crate) fn close_of_gone(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET winner = :winner, resolution = coalesce(resolution, 'gone'), reason = :reason, resolved_at = :now
         WHERE object = :object AND local_id = :local_id AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":winner": Winner::Agreed.as_str(),
        ":reason": reason,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Closes open conflicts of a field that has an older open one: they were written while the index was missing that allows
/// one.
pub(super) fn close_doubles(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE sync_conflicts
         SET resolution = coalesce(resolution, 'gone'),
             reason = 'an older conflict of the field is open: it decides',
             resolved_at = detected_at
         WHERE resolved_at IS NULL
           AND EXISTS (SELECT 1 FROM sync_conflicts AS o
                       WHERE o.object = sync_conflicts.object AND o.local_id = sync_conflicts.local_id
                         AND o.property = sync_conflicts.property AND o.to_local_id IS sync_conflicts.to_local_id AND o.resolved_at IS NULL AND o.id < sync_conflicts.id)",
        [],
    )?;
    Ok(())
}

/// Gives the whole rows that conflicts of an object show the names that its columns have from here on.
pub(crate) fn rename_columns(
    tx: &Transaction<'_>,
    object: &ObjectType,
    renamed: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let mut shown = tx.prepare(
        "SELECT id, base_value, local_value, remote_value
         FROM sync_conflicts
         WHERE object = :object AND property = :whole",
    )?;
    let of = named_params! { ":object": object.as_str(), ":whole": WHOLE_RECORD };
    let mut rows = shown.query(of)?;
    let mut change = tx.prepare(
        "UPDATE sync_conflicts
         SET base_value = coalesce(:base, base_value), local_value = coalesce(:local, local_value),
             remote_value = coalesce(:remote, remote_value)
         WHERE id = :id",
    )?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let texts: [Option<String>; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
        let [base, local, remote] =
            texts.map(|text| text.and_then(|text| rowjson::with_columns_renamed(&text, renamed)));
        change.execute(
            named_params! { ":id": id, ":base": base, ":local": local, ":remote": remote },
        )?;
    }
    Ok(())
}

/// A property is synced again, or is mapped again: what a decision about it was given back for holds no more.
pub(crate) fn forget_refusals(
    tx: &Transaction<'_>,
    object: &str,
    property: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET reason = :waits
         WHERE object = :object AND property IN (:property, :whole) AND resolved_at IS NULL
           AND (instr(reason, :degraded) = 1 OR reason = :unmapped)",
    )?
    .execute(named_params! {
        ":waits": WAITS,
        ":object": object,
        ":property": property,
        ":whole": WHOLE_RECORD,
        ":degraded": not_in_force(property, None),
        ":unmapped": NOT_MAPPED,
    })?;
    Ok(())
}

/// An object or a pair is in the mapping file, or is there again: the same of what was given back for its absence.
pub(crate) fn forget_absence(tx: &Transaction<'_>, name: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET reason = :waits
         WHERE object = :name AND resolved_at IS NULL AND reason = :left",
    )?
    .execute(named_params! { ":waits": WAITS, ":name": name, ":left": not_in_file(name) })?;
    Ok(())
}

/// Gives a decision that can't be carried out back to the person, with the reason.
pub(crate) fn refuse_resolution(
    tx: &Transaction<'_>,
    id: ConflictId,
    reason: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_conflicts SET resolution = NULL, reason = :reason WHERE id = :id AND resolved_at IS NULL")?
        .execute(named_params! { ":id": id.0, ":reason": reason })?;
    Ok(())
}

/// Keeps HubSpot's new value in an open conflict.
pub(crate) fn set_remote(
    tx: &Transaction<'_>,
    id: ConflictId,
    remote: &Value,
    set: Option<&PastValue>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_conflicts
         SET remote_value = :remote, remote_changed_at = :set_at, remote_source_type = :source_type,
             remote_source_id = :source_id
         WHERE id = :id AND resolved_at IS NULL",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":remote": remote.as_deref(),
        ":set_at": set.map(|set| set.at.to_string()),
        ":source_type": set.and_then(|set| set.source.kind.as_deref()),
        ":source_id": set.and_then(|set| set.source.id.as_deref()),
    })?;
    Ok(())
}

/// The open conflict about a record as a whole.
pub(crate) fn open_whole(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Option<ConflictId>, StoreError> {
    let id: Option<i64> = connection
        .prepare_cached(
            "SELECT id
             FROM sync_conflicts
             WHERE object = :object AND local_id = :local_id AND property = '*' AND resolved_at IS NULL",
        )?
        .query_row(named_params! { ":object": object.as_str(), ":local_id": local_id.0 }, |row| row.get(0))
        .optional()?;
    Ok(id.map(ConflictId))
}

/// When a person decided a field's conflict last.
pub(crate) fn last_decided_at(
    connection: &Connection,
    about: About<'_>,
    property: &PropertyName,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(
            "SELECT max(resolved_at)
             FROM sync_conflicts
             WHERE object = :object AND local_id = :local_id AND property = :property AND resolution <> 'policy'",
        )?
        .query_row(
            named_params! {
                ":object": about.object.as_str(),
                ":local_id": about.local_id.0,
                ":property": property.as_str(),
            },
            |row| row.get(0),
        )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}
