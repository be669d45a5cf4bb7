//! `sync_history`: a row per field that one side changed in the other, and every value that lost.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Transaction, named_params};

use crate::decide::fight::FieldPush;
use crate::decide::matching::MatchRule;
use crate::model::conflict::WHOLE_RECORD;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
pub use crate::model::origin::Origin;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::modes::{self, FieldMode};
use crate::store::{StoreError, rowjson, runs, undo};

/// A change of one field.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The object.
    pub object: &'a ObjectType,
    /// The row.
    pub local_id: LocalId,
    /// The record.
    pub hs_id: Option<HubspotId>,
    /// The property, or `*`.
    pub property: &'a str,
    /// The value before.
    pub old: Option<&'a str>,
    /// The value after.
    pub new: Option<&'a str>,
    /// Where it came from.
    pub origin: Origin,
}

/// Writes a change down. Of a property that is kept out of the table (`history = false`) only what gave way to the other side
/// is; a push of it is remembered for a while.
pub fn record(tx: &Transaction<'_>, change: Change<'_>, now: Timestamp) -> Result<(), StoreError> {
    tell(tx, change, now).map(drop)
}

/// The same, and what the line names as the origin: the push of what an undo wrote is told as that undo.
pub(crate) fn tell(
    tx: &Transaction<'_>,
    change: Change<'_>,
    now: Timestamp,
) -> Result<Origin, StoreError> {
    let origin = match undo::take(tx, &change)? {
        true => Origin::Undo,
        false => change.origin,
    };
    let is_unkept = || modes::is_said(tx, change.object, FieldMode::Unkept, change.property);
    if change.origin != Origin::Conflict && is_unkept()? {
        return match change.origin == Origin::Push {
            true => remember_push(tx, change, now).map(|()| origin),
            false => Ok(origin),
        };
    }
    tx.prepare_cached(
        "INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, new_value, origin, run_id)
         VALUES (:at, :object, :local_id, :hs_id, :property, :old, :new, :origin, :run)",
    )?
    .execute(named_params! {
        ":at": now.to_string(),
        ":object": change.object.as_str(),
        ":local_id": change.local_id.0,
        ":hs_id": change.hs_id.map(|id| id.0),
        ":property": change.property,
        ":old": change.old,
        ":new": change.new,
        ":origin": origin.as_str(),
        ":run": runs::of_line(origin),
    })?;
    Ok(origin)
}

/// Gives the whole rows that are kept of an object the names that its columns have from here on.
pub(crate) fn rename_columns(
    tx: &Transaction<'_>,
    object: &ObjectType,
    renamed: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let mut kept = tx.prepare(
        "SELECT id, old_value, new_value FROM sync_history WHERE object = :object AND property = :whole",
    )?;
    let of = named_params! { ":object": object.as_str(), ":whole": WHOLE_RECORD };
    let mut rows = kept.query(of)?;
    let mut change = tx.prepare(
        "UPDATE sync_history
         SET old_value = coalesce(:old, old_value), new_value = coalesce(:new, new_value)
         WHERE id = :id",
    )?;
    while let Some(row) = rows.next()? {
        let (id, old, new): (i64, Option<String>, Option<String>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let [old, new] = [old, new]
            .map(|text| text.and_then(|text| rowjson::with_columns_renamed(&text, renamed)));
        if old.is_some() || new.is_some() {
            change.execute(named_params! { ":id": id, ":old": old, ":new": new })?;
        }
    }
    Ok(())
}

/// A record as a whole: one side made it or took it away in the other, or it became a part of another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WholeRecord<'a> {
    /// The object's mapping.
    pub mapping: &'a ObjectMapping,
    /// The row.
    pub local_id: LocalId,
    /// The record.
    pub hs_id: Option<HubspotId>,
    /// Where it came from.
    pub origin: Origin,
}

impl WholeRecord<'_> {
    /// It was made, with the row that it is.
    pub(crate) fn made(
        self,
        tx: &Transaction<'_>,
        row: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kept = self.kept(tx, row, now, |value| (None, value))?;
        self.record(tx, (None, Some(&self.by_column(&kept))), now)
    }

    /// It went, with the row that it was, where that is known.
    pub(crate) fn gone(
        self,
        tx: &Transaction<'_>,
        row: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kept = match row {
            Some(row) => Some(self.kept(tx, row, now, |value| (value, None))?),
            None => None,
        };
        let kept = kept.map(|kept| self.by_column(&kept));
        self.record(tx, (kept.as_deref(), None), now)
    }

    /// It became a part of another row's.
    pub(crate) fn absorbed(
        self,
        tx: &Transaction<'_>,
        row: &str,
        into: LocalId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kept = self.kept(tx, row, now, |value| (value, None))?;
        self.record(
            tx,
            (Some(&self.by_column(&kept)), Some(&into.to_string())),
            now,
        )
    }

    fn record(
        self,
        tx: &Transaction<'_>,
        (old, new): (Option<&str>, Option<&str>),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let change = self.change(WHOLE_RECORD, old, new);
        record(tx, change, now)
    }

    fn change<'c>(
        &'c self,
        property: &'c str,
        old: Option<&'c str>,
        new: Option<&'c str>,
    ) -> Change<'c> {
        Change {
            object: &self.mapping.object,
            local_id: self.local_id,
            hs_id: self.hs_id,
            property,
            old,
            new,
            origin: self.origin,
        }
    }

    fn by_column(self, row: &str) -> String {
        rowjson::by_column(self.mapping, row)
    }

    /// What is kept of its row: not what is kept out of the table. Of that a push is remembered for a while, as of a field.
    fn kept(
        self,
        tx: &Transaction<'_>,
        row: &str,
        now: Timestamp,
        sides: impl Fn(Option<&str>) -> (Option<&str>, Option<&str>),
    ) -> Result<String, StoreError> {
        let unkept = modes::said(tx, &self.mapping.object, FieldMode::Unkept)?;
        if unkept.is_empty() {
            return Ok(row.to_owned());
        }
        if self.origin == Origin::Push {
            let values = rowjson::values(self.mapping, row);
            let told = values.iter().filter(|(property, value)| {
                unkept.contains(property.as_str()) && !value.is_empty()
            });
            for (property, value) in told {
                let (old, new) = sides(value.as_deref());
                remember_push(tx, self.change(property.as_str(), old, new), now)?;
            }
        }
        Ok(rowjson::without(row, &unkept))
    }
}

/// Where the JSON of a whole row holds a field.
fn path_of(field: &FieldMapping) -> String {
    format!("$.\"{}\"", field.column)
}

/// How long pushes are remembered of what is not kept: longer than any fight is counted.
const REMEMBERED: Duration = Duration::from_hours(24);

fn remember_push(
    tx: &Transaction<'_>,
    change: Change<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_pushes (at, object, local_id, hs_id, property, old_value, new_value)
         VALUES (:at, :object, :local_id, :hs_id, :property, :old, :new)",
    )?
    .execute(named_params! {
        ":at": now.to_string(),
        ":object": change.object.as_str(),
        ":local_id": change.local_id.0,
        ":hs_id": change.hs_id.map(|id| id.0),
        ":property": change.property,
        ":old": change.old,
        ":new": change.new,
    })?;
    Ok(())
}

/// Forgets pushes that nothing is told by any more.
pub(crate) fn forget_pushes(tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_pushes WHERE at < :before")?
        .execute(named_params! { ":before": (now - REMEMBERED).to_string() })?;
    Ok(())
}

/// Whether HubSpot acknowledged a value of a field, of a create's too, within a span of time.
pub(crate) fn was_pushed(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
    field: &FieldMapping,
    value: &Value,
    (from, to): (Timestamp, Timestamp),
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_history
             WHERE object = :object AND local_id = :local_id AND origin IN ('push', 'undo') AND at BETWEEN :from AND :to
               AND ((property = :property AND new_value IS :value)
                    OR (property = '*' AND json_valid(new_value) AND json_extract(new_value, :path) IS :value))
             UNION ALL
             SELECT 1
             FROM _sync_pushes
             WHERE object = :object AND local_id = :local_id AND property = :property
               AND new_value IS :value AND at BETWEEN :from AND :to
             LIMIT 1",
        )?
        .exists(named_params! {
            ":object": object.as_str(),
            ":local_id": local_id.0,
            ":property": field.property.as_str(),
            ":path": path_of(field),
            ":value": value.as_deref(),
            ":from": from.to_string(),
            ":to": to.to_string(),
        })?)
}

/// Whether a push since `since` took a value of this form from a record.
pub(crate) fn was_given_up(
    connection: &Connection,
    object: &ObjectType,
    field: &FieldMapping,
    rule: MatchRule,
    form: &str,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1
         FROM sync_history
         WHERE at >= :since
           AND object = :object
           AND origin IN ('push', 'undo')
           AND ((property = :property AND hubsyncd_match_form(old_value, :rule) = :form)
                OR (property = '*' AND new_value IS NULL AND json_valid(old_value)
                    AND hubsyncd_match_form(json_extract(old_value, :path), :rule) = :form))
         UNION ALL
         SELECT 1
         FROM _sync_pushes
         WHERE at >= :since
           AND object = :object
           AND property = :property
           AND hubsyncd_match_form(old_value, :rule) = :form
         LIMIT 1",
    )?;
    Ok(statement.exists(named_params! {
        ":object": object.as_str(),
        ":property": field.property.as_str(),
        ":path": path_of(field),
        ":rule": rule.as_str(),
        ":form": form,
        ":since": since.to_string(),
    })?)
}

/// The pushes of a field since `since`, the oldest first.
pub(crate) fn pushes_since(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
    property: &PropertyName,
    since: Timestamp,
) -> Result<Vec<FieldPush>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT old_value, new_value
         FROM (
             SELECT id, at, old_value, new_value
             FROM sync_history
             WHERE object = :object AND local_id = :local_id AND property = :property AND origin IN ('push', 'undo') AND at >= :since
             UNION ALL
             SELECT id, at, old_value, new_value
             FROM _sync_pushes
             WHERE object = :object AND local_id = :local_id AND property = :property AND at >= :since
         )
         ORDER BY at, id",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":object": object.as_str(),
            ":local_id": local_id.0,
            ":property": property.as_str(),
            ":since": since.to_string(),
        },
        |row| {
            Ok(FieldPush {
                before: row.get(0).map(Value::from_stored)?,
                after: row.get(1).map(Value::from_stored)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
