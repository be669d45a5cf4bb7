//! Triggers, views and indexes as they should be against those in the file: puts back what was dropped or altered.
//!
//! Each text carries a seal, a checksum of itself: one that is ours but older than the mapping, or than the user's own
//! columns and indexes, is told apart from one that somebody altered.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::name::TableName;
use crate::model::time::Timestamp;
use crate::store::database::migrate;
use crate::store::database::savepoint;
use crate::store::fields;
use crate::store::shape::associations::{self, Pairs};
use crate::store::shape::bypassed::{self, Way};
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::entries;
use crate::store::shape::fit::{self, fit_to_mapping};
use crate::store::shape::guards;
use crate::store::shape::labels;
use crate::store::shape::sequences;
use crate::store::shape::triggers::{self, Made, MirrorShape, UNMAPPED_PREFIX};
use crate::store::shape::unique;
use crate::store::shape::views;
use crate::store::{StoreError, conflicts, meta};

const SEAL: &str = "/* hubsyncd ";
const SEAL_END: &str = " */ ";

/// Puts back triggers, views, indexes and columns that somebody dropped or altered, and makes the triggers fit the user's own
/// columns and UNIQUE indexes. To be called every minute: one SELECT where the schema has not changed since. Returns the
/// names of what was put back; each deserves a warning, and `sync_health` is `degraded` for an hour.
pub(crate) fn repair(
    tx: &Transaction<'_>,
    mapping: &Mapping,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    if !migrate::are_there(tx)? || !schema_is_as_left(tx)? {
        return Ok(fit_to_mapping(tx, mapping, now)?.put_back);
    }
    tidy(tx, mapping, now)?;
    Ok(Vec::new())
}

/// What a program's statement may have left or taken away without a change of the schema.
pub(crate) fn tidy(
    tx: &Transaction<'_>,
    mapping: &Mapping,
    now: Timestamp,
) -> Result<(), StoreError> {
    close_gate(tx, mapping, now)?;
    // With a condition: without one SQLite writes the empty table anew.
    for left in [
        "DELETE FROM _sync_replaced WHERE object IS NOT NULL",
        "DELETE FROM _sync_written WHERE object IS NOT NULL",
        "DELETE FROM _sync_left WHERE outbox_id IS NOT NULL",
    ] {
        tx.prepare_cached(left)?.execute([])?;
    }
    sequences::heal(tx)?;
    for object in &mapping.objects {
        sequences::keep(tx, object.object.as_str(), object.table.as_str())?;
    }
    bypassed::forget_handled(tx, &mapping.objects, now)
}

/// Whether a program has got past the gate: it stands open at rest, so that no trigger records what is written, or a
/// trigger has marked a write to a mirror while it did.
///
/// # Errors
/// SQLite's own.
pub(crate) fn gate_was_passed(connection: &Connection) -> Result<bool, StoreError> {
    let is_open = connection
        .prepare_cached("SELECT 1 FROM _sync_gate WHERE open <> 0")?
        .exists([])?;
    Ok(is_open || bypassed::is_marked(connection)?)
}

/// Closes the gate where it stands open, and takes up what programs wrote past it: it is in no outbox.
///
/// # Errors
/// SQLite's own.
pub(crate) fn close_gate(
    tx: &Transaction<'_>,
    mapping: &Mapping,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_open = shut_gate(tx, now)?;
    let marked = bypassed::take_marks(tx)?;
    for object in &mapping.objects {
        if is_open || marked.contains(object.object.as_str()) {
            bypassed::take_up(tx, object, Way::Gate, now)?;
        }
    }
    Ok(())
}

/// Closes the gate: nobody's trigger runs while this transaction does. Tells whether it stood open.
pub(crate) fn shut_gate(tx: &Transaction<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let closed = tx
        .prepare_cached("UPDATE _sync_gate SET open = 0 WHERE open <> 0")?
        .execute([])?;
    if closed > 0 {
        meta::note_repair(tx, "a program left `_sync_gate` open, closed", now)?;
    }
    Ok(closed > 0)
}

fn schema_is_as_left(connection: &Connection) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce((SELECT value FROM _sync_meta WHERE name = :name), '') = CAST(schema_version AS TEXT)
         FROM pragma_schema_version",
    )?;
    Ok(
        statement.query_row(named_params! { ":name": meta::SCHEMA_SEEN }, |row| {
            row.get(0)
        })?,
    )
}

/// Remembers the schema, so that the next look is one SELECT.
pub(crate) fn leave_schema(tx: &Transaction<'_>) -> Result<(), StoreError> {
    if schema_is_as_left(tx)? {
        return Ok(());
    }
    let version: i64 = tx.pragma_query_value(None, "schema_version", |row| row.get(0))?;
    meta::set(tx, meta::SCHEMA_SEEN, &version.to_string())
}

/// Triggers and views that were there when the daemon left and are missing or altered, by name.
pub(crate) fn lost(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let left = meta::get(connection, meta::MADE)?.unwrap_or_default();
    let found = found(connection)?;
    let is_lost = |name: &&str| !found.get(*name).is_some_and(|found| is_sealed(&found.sql));
    Ok(left.lines().filter(is_lost).map(str::to_owned).collect())
}

/// Makes the file's triggers and views those of the mapping. Returns all their names.
pub(crate) fn put_back(
    tx: &Transaction<'_>,
    mapping: &Mapping,
) -> Result<BTreeSet<String>, StoreError> {
    let mut there = found(tx)?;
    let expected = expected(tx, mapping)?;
    for made in &expected {
        if there
            .get(&made.name)
            .is_some_and(|found| found.sql == made.sql)
        {
            continue;
        }
        if let Some(other) = there.get(&made.name) {
            drop_one(tx, other)?;
            if other.kind == "view" {
                // Its triggers went with it.
                there = found(tx)?;
            }
        }
        tx.execute_batch(&made.sql)?;
    }
    let names: BTreeSet<String> = expected.into_iter().map(|made| made.name).collect();
    for stale in there
        .values()
        .filter(|found| !names.contains(&found.name))
        // SQLite rewrites a trigger whose table is renamed: the seal of a refusal is broken, and it must go all the same.
        .filter(|found| is_sealed(&found.sql) || found.name.starts_with(UNMAPPED_PREFIX))
    {
        drop_one(tx, stale)?;
    }
    remember(tx, &names)?;
    Ok(names)
}

/// Makes the views where they are missing, before the portal's schema is known: what keeps it from being read must be
/// seen. They go by the tables as they are, since the mapping file may be ahead of those. In a new file associations are refused until
/// then. Returns the names of the views that somebody dropped. The tables and everything else come with the schema.
///
/// # Errors
/// SQLite's own.
pub(crate) fn views_first(
    tx: &Transaction<'_>,
    file: &Mapping,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let there = found(tx)?;
    let made = fit::as_made(tx, &fit::with_those_that_left(tx, file)?)?;
    let left = meta::get(tx, meta::MADE)?.unwrap_or_default();
    let mut put_back = Vec::new();
    // A view over what a program put in a table's place can't be read.
    let is_made = |object: &ObjectMapping| made.object(object.object.as_str()).is_some();
    let is_replaced = !file.objects.iter().all(is_made);
    for view in views::before_schema(&made, file) {
        if let Some(found) = there.get(&view.name) {
            if is_replaced && matches!(&*view.name, "sync_status" | "sync_records") {
                drop_one(tx, found)?;
                tx.execute_batch(&sealed(&view.sql))?;
            }
            continue;
        }
        tx.execute_batch(&sealed(&view.sql))?;
        if left.lines().any(|name| name == view.name) {
            put_back.push(view.name);
        }
    }
    let refuse = associations::before_schema();
    if left.is_empty() && !there.contains_key(&refuse.name) {
        tx.execute_batch(&sealed(&refuse.sql))?;
    }
    if !put_back.is_empty() {
        meta::note_repair(tx, &meta::put_back(&put_back), now)?;
    }
    Ok(put_back)
}

/// Puts back indexes of the bookkeeping tables that somebody dropped or replaced, and names them.
pub(crate) fn put_back_indexes(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let mut put_back = Vec::new();
    for (name, sql) in migrate::indexes() {
        let there: Option<Option<String>> = tx
            .prepare_cached("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = :name")?
            .query_row(named_params! { ":name": name }, |row| row.get(0))
            .optional()?;
        if there.flatten().as_deref() == Some(sql) {
            continue;
        }
        if name == "sync_conflicts_open" {
            conflicts::close_doubles(tx)?;
        }
        let make = || {
            let drop = format!("DROP INDEX IF EXISTS {}", quoted(name));
            Ok(tx.execute_batch(&format!("{drop}; {sql}"))?)
        };
        match savepoint::within(tx, make) {
            Ok(()) => put_back.push(name.to_owned()),
            // Only a program that got past the guards can have made rows that a unique index refuses.
            Err(error) if error.is_constraint() => {
                tracing::error!(name, error = %error, code = error.code(), "an index can't be put back: its table holds rows of one key");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(put_back)
}

fn remember(tx: &Transaction<'_>, names: &BTreeSet<String>) -> Result<(), StoreError> {
    let text = names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n");
    if meta::get(tx, meta::MADE)?.as_deref() == Some(text.as_str()) {
        return Ok(());
    }
    meta::set(tx, meta::MADE, &text)
}

/// Drops all triggers and views that are ours, so that tables and columns can be altered.
pub(crate) fn take_away(tx: &Transaction<'_>) -> Result<(), StoreError> {
    for found in found(tx)?.values() {
        let ours = [
            "sync_mirror_",
            "sync_guard_",
            entries::PREFIX,
            associations::PREFIX,
            UNMAPPED_PREFIX,
        ]
        .iter()
        .any(|prefix| found.name.starts_with(prefix));
        if ours || found.kind == "view" || is_sealed(&found.sql) {
            drop_one(tx, found)?;
        }
    }
    Ok(())
}

/// The texts of the mirror tables' update triggers, by name.
pub(crate) fn texts_of_updates(
    connection: &Connection,
) -> Result<BTreeMap<String, String>, StoreError> {
    let found = found(connection)?.into_iter();
    let updates =
        found.filter(|(name, _)| name.starts_with("sync_mirror_") && name.ends_with("_update"));
    Ok(updates.map(|(name, found)| (name, found.sql)).collect())
}

/// The column that a property has by its table's update trigger: SQLite follows a column's new name there.
pub(crate) fn renamed_column(
    texts: &BTreeMap<String, String>,
    object: &ObjectMapping,
    property: &str,
) -> Option<String> {
    let text = texts.get(&format!("sync_mirror_{}_update", object.table))?;
    let (_, rest) = text.split_once(&format!(", {}, old.\"", literal(property)))?;
    let (name, _) = rest.split_once('"')?;
    Some(name.to_owned())
}

struct FoundInFile {
    kind: String,
    name: String,
    sql: String,
}

fn found(connection: &Connection) -> Result<BTreeMap<String, FoundInFile>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT type, name, sql
         FROM sqlite_schema
         WHERE (type = 'trigger' AND name LIKE 'sync\\_%' ESCAPE '\\')
            OR type = 'view'",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(FoundInFile {
            kind: row.get(0)?,
            name: row.get(1)?,
            sql: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
        })
    })?;
    let mut ours = BTreeMap::new();
    let left = meta::get(connection, meta::MADE)?.unwrap_or_default();
    for row in rows {
        let found = row?;
        let is_ours = match found.kind.as_str() {
            // That of a pair has the pair's name.
            "view" => {
                is_own_view(&found.name)
                    || is_sealed(&found.sql)
                    || left.lines().any(|name| name == found.name)
            }
            _ => true,
        };
        if is_ours {
            ours.insert(found.name.clone(), found);
        }
    }
    Ok(ours)
}

/// Whether a view of that name is one that we made.
pub(crate) fn is_ours(connection: &Connection, name: &str) -> Result<bool, StoreError> {
    let found = found(connection)?;
    Ok(found.get(name).is_some_and(|found| found.kind == "view"))
}

fn is_own_view(name: &str) -> bool {
    views::NAMES.contains(&name) || entries::is_view(name) || associations::is_view(name)
}

fn drop_one(tx: &Transaction<'_>, found: &FoundInFile) -> Result<(), StoreError> {
    let kind = if found.kind == "view" {
        "VIEW"
    } else {
        "TRIGGER"
    };
    Ok(tx.execute_batch(&format!("DROP {kind} IF EXISTS {}", quoted(&found.name)))?)
}

fn expected(connection: &Connection, mapping: &Mapping) -> Result<Vec<Made>, StoreError> {
    let unread = meta::get(connection, meta::UNREAD)?.unwrap_or_default();
    let mut all = views::of_mapping(mapping, &unread);
    let pairs = Pairs::of(connection, mapping)?;
    all.extend(entries::all(&pairs));
    all.extend(associations::all(&pairs));
    all.extend(guards::all());
    for object in &mapping.objects {
        all.extend(triggers::of_mirror(&shape(connection, object)?));
        if let Some(name) = name_of_labels(connection, mapping, object)? {
            let columns = fit::columns_of(connection, object.table.as_str())?;
            let owners = labels::owner_properties(connection, object)?;
            let former = labels::former_choices(connection, object)?;
            all.push(labels::view(object, &name, &columns, (&owners, &former)));
        }
    }
    for (object, table) in fit::unmapped_tables(connection, mapping)? {
        let columns = unmapped_columns(connection, &object, &table)?;
        all.extend(triggers::of_unmapped(&object, &table, &columns));
    }
    for made in &mut all {
        made.sql = sealed(&made.sql);
    }
    Ok(all)
}

/// The name of an object's view with labels: the first that no mapped table, no pair and nothing of a program's has.
fn name_of_labels(
    connection: &Connection,
    mapping: &Mapping,
    object: &ObjectMapping,
) -> Result<Option<String>, StoreError> {
    for name in labels::names(object) {
        let is = |other: &TableName| other.as_str().eq_ignore_ascii_case(&name);
        let mut tables = mapping.objects.iter().map(|object| &object.table);
        let mut pairs = mapping.pairs.iter().map(|pair| &pair.key);
        let is_mapped = tables.any(is) || pairs.any(is);
        if !is_mapped && (!fit::exists(connection, &name)? || is_ours(connection, &name)?) {
            return Ok(Some(name));
        }
    }
    tracing::warn!(object = %object.object, code = "table-taken", "both names of its view with labels are taken: it has none");
    Ok(None)
}

/// The columns of an unmapped table that are hubsyncd's.
fn unmapped_columns(
    connection: &Connection,
    object: &str,
    table: &str,
) -> Result<Vec<String>, StoreError> {
    let mapped: Vec<String> = fields::all(connection)?
        .into_iter()
        .filter(|field| field.object == object)
        .map(|field| field.column_name)
        .collect();
    let is_ours = |name: &String| {
        let reserved = crate::model::name::RESERVED_COLUMNS.iter().copied();
        reserved
            .chain(mapped.iter().map(String::as_str))
            .any(|own| own.eq_ignore_ascii_case(name))
    };
    let columns = fit::columns_of(connection, table)?;
    Ok(columns.into_iter().filter(is_ours).collect())
}

/// A mirror table as it lies in the file.
fn shape<'a>(
    connection: &Connection,
    object: &'a ObjectMapping,
) -> Result<MirrorShape<'a>, StoreError> {
    let is_ours = |name: &str| {
        let reserved = crate::model::name::RESERVED_COLUMNS
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name));
        reserved
            || object
                .fields
                .iter()
                .any(|field| field.column.as_str().eq_ignore_ascii_case(name))
    };
    let columns = fit::columns_of(connection, object.table.as_str())?;
    Ok(MirrorShape {
        object,
        own_columns: columns.into_iter().filter(|name| !is_ours(name)).collect(),
        unique: unique::conditions(connection, object.table.as_str())?,
    })
}

/// The text with its seal, in the first place where SQLite keeps a comment.
fn sealed(sql: &str) -> String {
    let place = place_of_seal(sql);
    format!(
        "{}{SEAL}{:016x}{SEAL_END}{}",
        &sql[..place],
        checksum(sql),
        &sql[place..]
    )
}

fn place_of_seal(sql: &str) -> usize {
    let begins = [
        sql.find("\nBEGIN\n").map(|at| at + 7),
        sql.find(" AS\n").map(|at| at + 4),
    ];
    begins
        .into_iter()
        .flatten()
        .min()
        .expect("a trigger begins and a view selects")
}

/// Whether a text is as it was when it was sealed.
fn is_sealed(sql: &str) -> bool {
    let Some((before, rest)) = sql.split_once(SEAL) else {
        return false;
    };
    let Some((seal, after)) = rest.split_once(SEAL_END) else {
        return false;
    };
    format!("{:016x}", checksum(&format!("{before}{after}"))) == seal
}

/// FNV-1a: tells an edit, not an attack.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
