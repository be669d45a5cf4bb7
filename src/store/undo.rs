//! What `undo` reads and writes: chosen rows of `sync_history`, and ordinary local writes on a program's connection, with the
//! triggers on. `_sync_undone` notes each, so that its acknowledgement is told as an undo and not as somebody's push.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::config::DbConfig;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params_from_iter};
use serde_json::Value as Json;

use crate::decide::decision::undo::ChosenRow;
use crate::model::conflict::WHOLE_RECORD;
use crate::model::mapping::ObjectMapping;
use crate::model::name::RESERVED_COLUMNS;
use crate::model::origin::Origin;
use crate::model::time::Timestamp;
use crate::model::value::{ColumnRef, PropertyType};
use crate::store::StoreError;
use crate::store::commands::CommandError;
use crate::store::conflicts::ASSOCIATION;
use crate::store::fields;
use crate::store::history::Change;
use crate::store::rowjson::{self, OwnValue};
use crate::store::shape::ddl::quoted;
use crate::store::shape::fit;

/// Which rows of `sync_history` are chosen. Each part that is there narrows the choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryChoice {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Of this run.
    pub run: Option<i64>,
    /// Those with numbers in these ranges, both ends included.
    pub ids: Vec<(i64, i64)>,
    /// Of this object.
    pub object: Option<String>,
    /// Of this property.
    pub property: Option<String>,
    /// Of this origin.
    pub origin: Option<Origin>,
}

impl HistoryChoice {
    /// Former undos are chosen by name alone, so that the same command twice does nothing the second time.
    fn takes_undos(&self) -> bool {
        self.run.is_some() || !self.ids.is_empty() || self.origin == Some(Origin::Undo)
    }
}

/// The chosen rows, in the order of their numbers.
pub(crate) fn chosen(
    connection: &Connection,
    choice: &HistoryChoice,
) -> Result<Vec<ChosenRow>, StoreError> {
    let ranges = choice
        .ids
        .iter()
        .map(|(from, to)| Json::from(vec![*from, *to]));
    let ranges = Json::from(ranges.collect::<Vec<_>>()).to_string();
    let mut statement = connection.prepare_cached(
        "SELECT id, object, local_id, property, old_value, new_value, origin, hs_id
         FROM sync_history
         WHERE (:since IS NULL OR at >= :since)
           AND (:run IS NULL OR run_id = :run)
           AND (:object IS NULL OR object = :object)
           AND (:property IS NULL OR property = :property)
           AND (:origin IS NULL OR origin = :origin)
           AND (:undos OR origin <> 'undo')
           AND (:all OR EXISTS (SELECT 1 FROM json_each(:ranges) AS r
                                WHERE sync_history.id BETWEEN json_extract(r.value, '$[0]') AND json_extract(r.value, '$[1]')))
           AND local_id IS NOT NULL
         ORDER BY id",
    )?;
    let mut rows = statement.query(named_params! {
        ":since": choice.since.map(|at| at.to_string()),
        ":run": choice.run,
        ":object": choice.object,
        ":property": choice.property,
        ":origin": choice.origin.map(Origin::as_str),
        ":undos": choice.takes_undos(),
        ":all": choice.ids.is_empty(),
        ":ranges": ranges,
    })?;
    let mut chosen = Vec::new();
    while let Some(row) = rows.next()? {
        let origin: String = row.get(6)?;
        chosen.push(ChosenRow {
            id: row.get(0)?,
            object: row.get(1)?,
            local_id: row.get(2)?,
            hs_id: row.get(7)?,
            property: row.get(3)?,
            old: row.get(4)?,
            new: row.get(5)?,
            // One that this program does not know is nobody's own.
            origin: Origin::parse(&origin).unwrap_or(Origin::Poll),
        });
    }
    Ok(chosen)
}

/// Rows that went since their records were merged into others, by object and number, each with the row of the survivor.
pub(crate) fn absorbed(
    connection: &Connection,
) -> Result<BTreeMap<(String, i64), i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, local_id, CAST(new_value AS INTEGER)
         FROM sync_history
         WHERE origin = 'absorb' AND property = '*' AND local_id IS NOT NULL AND new_value IS NOT NULL
         ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of some ranges of numbers in which no row is.
pub(crate) fn missing(
    connection: &Connection,
    ranges: &[(i64, i64)],
) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM sync_history WHERE id BETWEEN ?1 AND ?2")?;
    let mut missing = Vec::new();
    for range in ranges {
        if !statement.exists(*range)? {
            missing.push(*range);
        }
    }
    Ok(missing)
}

/// Whether the history tells of an object, or of a pair.
pub(crate) fn is_told_of(connection: &Connection, object: &str) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM sync_history WHERE object = ?1")?
        .exists([object])?)
}

/// Whether there was a run of that number, though its own row may be aged by now.
pub(crate) fn is_run(connection: &Connection, run: i64) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM sync_runs WHERE id = ?1 UNION ALL SELECT 1 FROM sync_history WHERE run_id = ?1",
        )?
        .exists([run])?)
}

/// Whether a person decides about something of a row.
pub(crate) fn is_in_conflict(
    connection: &Connection,
    object: &str,
    local_id: i64,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM sync_conflicts
             WHERE object = :object AND local_id = :local_id AND resolved_at IS NULL",
        )?
        .exists(named_params! { ":object": object, ":local_id": local_id })?)
}

/// A value that a column is to hold, of a type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewValue {
    /// The column.
    pub column: String,
    /// The value, of the class of its column.
    pub value: SqlValue,
    /// Where it goes in a statement.
    place: &'static str,
}

impl NewValue {
    /// A canonical text as its column holds it.
    pub(crate) fn of(column: &str, kind: PropertyType, text: Option<&str>) -> Self {
        let canonical = kind.canonical(text).unwrap_or_default();
        let value = match kind.to_column(&canonical) {
            ColumnRef::Null => SqlValue::Null,
            ColumnRef::Integer(number) => SqlValue::Integer(number),
            ColumnRef::Real(number) => SqlValue::Real(number),
            ColumnRef::Text(text) => SqlValue::Text(text.to_owned()),
        };
        Self {
            column: column.to_owned(),
            value,
            place: "?",
        }
    }

    fn own(own: OwnValue) -> Self {
        Self {
            place: own.place(),
            column: own.column,
            value: own.value,
        }
    }
}

/// Writes columns of a row.
pub(crate) fn write_row(
    tx: &Transaction<'_>,
    table: &str,
    local_id: i64,
    values: &[NewValue],
) -> Result<(), CommandError> {
    let settings: Vec<String> = values
        .iter()
        .map(|value| format!("{} = {}", quoted(&value.column), value.place))
        .collect();
    let sql = format!(
        "UPDATE {} SET {} WHERE local_id = ?",
        quoted(table),
        settings.join(", ")
    );
    let id = SqlValue::Integer(local_id);
    carry_out(
        tx,
        &sql,
        values.iter().map(|value| &value.value).chain([&id]),
    )
}

/// One statement with its values.
fn carry_out<'v>(
    tx: &Transaction<'_>,
    sql: &str,
    values: impl Iterator<Item = &'v SqlValue>,
) -> Result<(), CommandError> {
    tx.prepare(sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// Deletes a row.
pub(crate) fn delete_row(
    tx: &Transaction<'_>,
    table: &str,
    local_id: i64,
) -> Result<(), CommandError> {
    let sql = format!("DELETE FROM {} WHERE local_id = ?", quoted(table));
    carry_out(tx, &sql, [&SqlValue::Integer(local_id)].into_iter())
}

/// Inserts a row again under its number.
pub(crate) fn insert_row(
    tx: &Transaction<'_>,
    table: &str,
    local_id: i64,
    values: &[NewValue],
) -> Result<(), CommandError> {
    let names = values.iter().map(|value| quoted(&value.column));
    let columns: Vec<String> = ["local_id".to_owned()].into_iter().chain(names).collect();
    let places: Vec<&str> = ["?"]
        .into_iter()
        .chain(values.iter().map(|value| value.place))
        .collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        quoted(table),
        columns.join(", "),
        places.join(", ")
    );
    let id = SqlValue::Integer(local_id);
    let values = values.iter().map(|value| &value.value);
    carry_out(tx, &sql, [&id].into_iter().chain(values))
}

/// What the JSON of a row by column holds of the table's columns that nothing is mapped to.
pub(crate) fn own_columns(
    connection: &Connection,
    mapping: &ObjectMapping,
    row: &str,
) -> Result<Vec<NewValue>, StoreError> {
    let is_mapped = |name: &str| {
        let mut fields = mapping.fields.iter();
        fields.any(|field| field.column.as_str().eq_ignore_ascii_case(name))
            || RESERVED_COLUMNS
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
    };
    let columns = fit::columns_of(connection, mapping.table.as_str())?;
    let own = columns.into_iter().filter(|name| !is_mapped(name));
    // What was mapped once, or is not in force at the moment, is kept as its type spells it: by its property where the row was
    // removed, by its column where it was deleted.
    let former = fields::out_of_force(connection, mapping)?;
    let of_former = |column: &str| {
        let mut former = former.iter();
        let field = former.find(|field| field.column_name.eq_ignore_ascii_case(column))?;
        Some((field, PropertyType::parse(&field.property_type)?))
    };
    Ok(own
        .filter_map(|column| match of_former(&column) {
            Some((field, kind)) => {
                let by_property = rowjson::text_in(row, &field.property);
                let held = by_property.or_else(|| rowjson::text_in(row, &column))?;
                Some(NewValue::of(&column, kind, held.as_deref()))
            }
            None => rowjson::own_value(row, &column).map(NewValue::own),
        })
        .collect())
}

/// An association by its rows and its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UndoLink {
    /// The object where it starts.
    pub from_object: String,
    /// The row there.
    pub from: i64,
    /// The object where it leads.
    pub to_object: String,
    /// The row there.
    pub to: i64,
    /// The type's category.
    pub category: Option<String>,
    /// The type's number.
    pub type_id: Option<i64>,
}

/// A line of the history that says that an association was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldLine {
    /// Its number.
    pub id: i64,
    /// The association as JSON.
    pub text: String,
}

impl UndoLink {
    /// Whether its row is there.
    pub(crate) fn is_there(&self, connection: &Connection) -> Result<bool, CommandError> {
        self.exists(
            connection,
            "SELECT 1 FROM associations
             WHERE from_object = ?1 AND from_local_id = ?2 AND to_object = ?3 AND to_local_id = ?4
               AND category IS ?5 AND type_id IS ?6",
        )
    }

    /// Whether an entry about its two records waits.
    pub(crate) fn is_pending(&self, connection: &Connection) -> Result<bool, CommandError> {
        self.exists(
            connection,
            "SELECT 1 FROM sync_outbox
             WHERE operation IN ('associate', 'disassociate')
               AND object = ?1 AND local_id = ?2 AND to_object = ?3 AND to_local_id = ?4
               AND coalesce(category IS ?5 AND type_id IS ?6, 1)",
        )
    }

    fn exists(&self, connection: &Connection, sql: &str) -> Result<bool, CommandError> {
        Ok(connection.prepare_cached(sql)?.exists((
            &self.from_object,
            self.from,
            &self.to_object,
            self.to,
            &self.category,
            self.type_id,
        ))?)
    }

    /// All associations that there are between its two records, whichever they start from.
    fn between(&self, tx: &Transaction<'_>) -> rusqlite::Result<BTreeSet<Self>> {
        let mut statement = tx.prepare_cached(
            "SELECT from_object, from_local_id, to_object, to_local_id, category, type_id
             FROM associations
             WHERE (from_object = ?1 AND from_local_id = ?2 AND to_object = ?3 AND to_local_id = ?4)
                OR (from_object = ?3 AND from_local_id = ?4 AND to_object = ?1 AND to_local_id = ?2)",
        )?;
        let ends = (&self.from_object, self.from, &self.to_object, self.to);
        let all = statement.query_map(ends, |row| {
            Ok(Self {
                from_object: row.get(0)?,
                from: row.get(1)?,
                to_object: row.get(2)?,
                to: row.get(3)?,
                category: row.get(4)?,
                type_id: row.get(5)?,
            })
        })?;
        all.collect()
    }

    /// What is taken away to undo that it was made, as line `line` of the history says: where it has a label, and the plain type of
    /// its two records is there for it alone, that one, with which it goes. Such a plain type came behind it, at the same moment, and
    /// the line that says so is named too, or no line says that it was made.
    pub(crate) fn whole(
        self,
        connection: &Connection,
        (pair, line): (&str, i64),
    ) -> Result<(Self, Option<ToldLine>), StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT plain.category, plain.type_id, told.id, told.new_value
             FROM associations AS own
             JOIN associations AS plain USING (from_object, from_local_id, to_object, to_local_id)
             LEFT JOIN sync_history AS told ON told.id = (
                   SELECT max(id)
                   FROM sync_history
                   WHERE object = :pair AND local_id = :from AND property = 'association'
                     AND json_extract(coalesce(new_value, old_value), '$.to_local_id') = :to
                     AND json_extract(coalesce(new_value, old_value), '$.category') IS plain.category
                     AND json_extract(coalesce(new_value, old_value), '$.type_id') IS plain.type_id)
             WHERE from_object = :from_object AND from_local_id = :from AND to_object = :to_object AND to_local_id = :to
               AND own.category IS :category AND own.type_id IS :type_id
               AND own.label IS NOT NULL AND plain.label IS NULL AND plain.id > own.id
               AND NOT EXISTS (
                   SELECT 1
                   FROM associations AS other
                   WHERE other.from_object = :from_object AND other.from_local_id = :from
                     AND other.to_object = :to_object AND other.to_local_id = :to
                     AND other.id NOT IN (own.id, plain.id))
               AND (told.new_value IS NULL
                    OR (told.id > :line AND told.at = (SELECT at FROM sync_history WHERE id = :line)))",
        )?;
        let plain = statement
            .query_row(
                named_params! {
                    ":from_object": self.from_object,
                    ":from": self.from,
                    ":to_object": self.to_object,
                    ":to": self.to,
                    ":category": self.category,
                    ":type_id": self.type_id,
                    ":pair": pair,
                    ":line": line,
                },
                |row| {
                    let (id, text): (Option<i64>, Option<String>) = (row.get(2)?, row.get(3)?);
                    let told = id.zip(text).map(|(id, text)| ToldLine { id, text });
                    Ok((row.get(0)?, row.get(1)?, told))
                },
            )
            .optional()?;
        Ok(match plain {
            Some((category, type_id, told)) => {
                let plain = Self {
                    category,
                    type_id,
                    ..self
                };
                (plain, told)
            }
            None => (self, None),
        })
    }

    /// Makes it, and tells what came: with it may come others of its two records.
    pub(crate) fn insert(&self, tx: &Transaction<'_>) -> Result<BTreeSet<Self>, CommandError> {
        let before = self.between(tx)?;
        self.write(
            tx,
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut come = self.between(tx)?;
        come.retain(|link| !before.contains(link));
        Ok(come)
    }

    /// Takes it away, and tells what went: with the plain type go all others of its two records, and with one of two records of an
    /// object its other half.
    pub(crate) fn delete(&self, tx: &Transaction<'_>) -> Result<BTreeSet<Self>, CommandError> {
        let mut gone = self.between(tx)?;
        self.write(
            tx,
            "DELETE FROM associations
             WHERE from_object = ?1 AND from_local_id = ?2 AND to_object = ?3 AND to_local_id = ?4
               AND category IS ?5 AND type_id IS ?6",
        )?;
        let left = self.between(tx)?;
        gone.retain(|link| !left.contains(link));
        Ok(gone)
    }

    fn write(&self, tx: &Transaction<'_>, sql: &str) -> Result<(), CommandError> {
        tx.prepare(sql)?.execute((
            &self.from_object,
            self.from,
            &self.to_object,
            self.to,
            &self.category,
            self.type_id,
        ))?;
        Ok(())
    }

    /// What tells it from other associations of its row.
    pub(crate) fn mark(&self) -> String {
        link_mark(Some(self.to), self.category.as_deref(), self.type_id)
    }
}

fn link_mark(to: Option<i64>, category: Option<&str>, type_id: Option<i64>) -> String {
    let to = to.map_or_else(String::new, |to| to.to_string());
    let type_id = type_id.map_or_else(String::new, |id| id.to_string());
    format!("{to}/{}/{type_id}", category.unwrap_or_default())
}

/// An undo whose acknowledgement is yet to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UndoMark<'a> {
    /// The object, or the pair.
    pub object: &'a str,
    /// The row.
    pub local_id: i64,
    /// The property, `*` or `association`.
    pub property: &'a str,
    /// What was written; of an association what tells it from others.
    pub value: Option<&'a str>,
}

/// Notes it. The guards that keep programs from our tables are passed for that: no trigger may fire, so that this is no write to
/// a mirror.
pub(crate) fn note(
    tx: &Transaction<'_>,
    mark: UndoMark<'_>,
    now: Timestamp,
) -> Result<(), CommandError> {
    tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    let noted = tx
        .prepare(
            "INSERT OR REPLACE INTO _sync_undone (object, local_id, property, value, at)
             VALUES (:object, :local_id, :property, coalesce(:value, ''), :now)",
        )
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":object": mark.object,
                ":local_id": mark.local_id,
                ":property": mark.property,
                ":value": mark.value,
                ":now": now.to_string(),
            })
        });
    tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    noted?;
    Ok(())
}

/// Whether a change is an undo's that HubSpot acknowledged. What was noted goes with it, and where another value took its place: with
/// a later local write, by a conflict or a discard.
pub(crate) fn take(tx: &Transaction<'_>, change: &Change<'_>) -> Result<bool, StoreError> {
    let is_push = change.origin == Origin::Push;
    let (value, any) = match (change.property, is_push) {
        (WHOLE_RECORD | ASSOCIATION, false) => return Ok(false),
        (WHOLE_RECORD, true) => (String::new(), false),
        (ASSOCIATION, true) => (
            link_named(change.new.or(change.old).unwrap_or_default()),
            false,
        ),
        (_, true) => (change.new.unwrap_or_default().to_owned(), true),
        (_, false) => (change.old.unwrap_or_default().to_owned(), false),
    };
    let mut statement = tx.prepare_cached(
        "DELETE FROM _sync_undone
         WHERE object = :object AND local_id = :local_id AND property = :property AND (:any OR value = :value)
         RETURNING value",
    )?;
    let taken = statement.query_map(
        named_params! {
            ":object": change.object.as_str(),
            ":local_id": change.local_id.0,
            ":property": change.property,
            ":any": any,
            ":value": value,
        },
        |row| row.get::<_, String>(0),
    )?;
    let taken: Vec<String> = taken.collect::<Result<_, _>>()?;
    Ok(is_push && taken.contains(&value))
}

fn link_named(text: &str) -> String {
    let json: Json = serde_json::from_str(text).unwrap_or_default();
    link_mark(
        json["to_local_id"].as_i64(),
        json["category"].as_str(),
        json["type_id"].as_i64(),
    )
}

/// Forgets undos that were never acknowledged: they were discarded, or lost a conflict.
pub(crate) fn forget_marks(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_undone WHERE at < :before")?
        .execute(named_params! { ":before": before.to_string() })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::LocalId;
    use crate::model::name::ObjectType;
    use crate::store::testing::{daemons_connection, folder, now, open};
    use crate::store::{Mode, history};

    #[test]
    fn a_push_is_told_as_an_undo_while_nothing_took_the_place_of_what_was_turned_back() {
        let folder = folder();
        open(&folder, Mode::Inline).expect("opens");
        let object = ObjectType::parse("contacts").expect("a name");
        // What happens to the field between the undo and the push of `Rome`, and as what that is told.
        let cases = [
            (&[][..], "undo"),
            (&[(Origin::Push, "Rome", "Lima")], "push"),
            (&[(Origin::Poll, "Rome", "Oslo")], "push"),
            (&[(Origin::Discard, "Rome", "Oslo")], "push"),
            (&[(Origin::Conflict, "Oslo", "Rome")], "undo"),
        ];
        for (local_id, (between, told)) in (1..).zip(cases) {
            let mut connection = daemons_connection(&folder);
            let tx = connection.transaction().expect("begins");
            tx.execute(
                "INSERT INTO _sync_undone (object, local_id, property, value, at) VALUES ('contacts', ?1, 'city', 'Rome', 'x')",
                [local_id],
            )
            .expect("is noted");
            let all = between.iter().chain(&[(Origin::Push, "Oslo", "Rome")]);
            for (origin, old, new) in all.copied() {
                let change = Change {
                    object: &object,
                    local_id: LocalId(local_id),
                    hs_id: None,
                    property: "city",
                    old: Some(old),
                    new: Some(new),
                    origin,
                };
                history::record(&tx, change, now()).expect("is written down");
            }
            let last: String = tx
                .query_row(
                    "SELECT origin FROM sync_history ORDER BY id DESC LIMIT 1",
                    [],
                    |row| row.get(0),
                )
                .expect("a line");
            assert_eq!(last, told, "{between:?}");
        }
    }
}
