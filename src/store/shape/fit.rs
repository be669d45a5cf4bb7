//! Makes the file fit the mapping: mirror tables, columns, `sync_fields`, triggers and views (end of `design.md`, 6.2).
//!
//! A column added is filled from HubSpot; one removed stays, unsynced; another column or table for the same property or
//! object is a rename; another type makes the column anew, unless values of it wait. The user's own columns, indexes and
//! triggers stay. It may be run at any time, and changes nothing where everything fits.

mod as_made;
mod columns;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::schema::FieldProblem;
use crate::model::mapping::{Direction, FieldMapping, Mapping, ObjectMapping};
use crate::model::name::{ColumnName, ObjectType};
use crate::model::time::Timestamp;
use crate::model::value::PropertyType;
use crate::store::cursors::{self, Backfill};
use crate::store::database::migrate;
use crate::store::fields::{self, FieldRow, FieldState};
use crate::store::meta::{self, PUT_BACK};
use crate::store::modes::{self, FieldMode};
use crate::store::shape::alter;
use crate::store::shape::aside;
use crate::store::shape::bypassed::{self, Way};
use crate::store::shape::ddl::{self, quoted};
use crate::store::shape::definition;
use crate::store::shape::guards;
use crate::store::shape::repair;
use crate::store::shape::sequences;
use crate::store::{StoreError, conflicts, outbox, property_history, reference};

pub(crate) use as_made::{as_made, with_those_that_left};

/// What was changed, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Tables and columns.
    pub lines: Vec<String>,
    /// Indexes, triggers and views that were missing or altered, by name; none at the first time.
    pub put_back: Vec<String>,
}

/// The direction in `_sync_objects` of an object that the mapping no longer has.
const UNMAPPED: &str = "unmapped";

/// Makes the file fit the mapping.
///
/// # Errors
/// [`StoreError::TypeChange`] while values of a retyped property wait, [`StoreError::Mapping`] where a table or column of
/// that name is somebody else's.
pub fn fit_to_mapping(
    tx: &Transaction<'_>,
    mapping: &Mapping,
    now: Timestamp,
) -> Result<Changes, StoreError> {
    // First: everything that follows reads these tables, and looks entries and conflicts up by these indexes.
    let tables = migrate::put_back_tables(tx, now)?;
    let indexes = repair::put_back_indexes(tx)?;
    let known = KnownBefore::read(tx)?;
    let lost = repair::lost(tx)?;
    let mut work = ShapeWork {
        tx,
        triggers_before: repair::texts_of_updates(tx)?,
        now,
        known: &known,
        lines: Vec::new(),
        way_is_clear: false,
        replaced: BTreeMap::new(),
        made: BTreeSet::new(),
    };
    work.find_mirrors(mapping)?;
    work.tables(mapping)?;
    work.refuse_taken_views(mapping)?;
    for object in &mapping.objects {
        work.object(object)?;
        work.columns(object)?;
        work.modes(object)?;
    }
    work.forget_unmapped(mapping)?;
    for object in &mapping.objects {
        work.indexes(object)?;
    }
    let (lines, replaced, made_tables) = (work.lines, work.replaced, work.made);
    let objects = mapping.objects.iter().map(|object| object.object.as_str());
    let pairs = mapping.pairs.iter().map(|pair| pair.key.as_str());
    for name in objects.chain(pairs) {
        conflicts::forget_absence(tx, name)?;
    }
    let made = repair::put_back(tx, mapping)?;
    aside::forget_dropped(tx)?;
    let is_open = repair::shut_gate(tx, now)?;
    let marked = bypassed::take_marks(tx)?;
    let is_unguarded = lost.iter().any(|name| guards::keeps_recording(name));
    for object in &mapping.objects {
        let triggers = format!("sync_mirror_{}_", object.table);
        let is_lost = lost.iter().any(|name| name.starts_with(&triggers))
            && !made_tables.contains(&object.object);
        let way = match is_open || marked.contains(object.object.as_str()) {
            true => Way::Gate,
            false if is_lost => Way::Triggers,
            false if is_unguarded => Way::Guards,
            false => continue,
        };
        bypassed::take_up(tx, object, way, now)?;
    }
    repair::tidy(tx, mapping, now)?;
    repair::leave_schema(tx)?;
    // What went with a table that a program replaced is told of with that table.
    let with_table = |name: &str| {
        replaced
            .keys()
            .any(|table| name.starts_with(&format!("sync_mirror_{table}_")))
    };
    let lost = lost
        .into_iter()
        .filter(|name| made.contains(name) && !with_table(name));
    let put_back: Vec<String> = tables.into_iter().chain(indexes).chain(lost).collect();
    if !put_back.is_empty() {
        meta::note_repair(tx, &meta::put_back(&put_back), now)?;
    }
    Ok(Changes { lines, put_back })
}

/// What the file knew before.
struct KnownBefore {
    tables: BTreeMap<String, String>,
    fields: BTreeMap<(String, String), FieldRow>,
}

impl KnownBefore {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT object, table_name FROM _sync_objects")?;
        let tables = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let keyed = |field: FieldRow| ((field.object.clone(), field.property.clone()), field);
        Ok(Self {
            tables,
            fields: fields::all(connection)?.into_iter().map(keyed).collect(),
        })
    }

    fn field(&self, object: &ObjectMapping, field: &FieldMapping) -> Option<&FieldRow> {
        self.fields.get(&(
            object.object.as_str().to_owned(),
            field.property.as_str().to_owned(),
        ))
    }

    /// The type under which a field's column was made.
    fn type_of(&self, object: &ObjectMapping, field: &FieldMapping) -> Option<PropertyType> {
        PropertyType::parse(&self.field(object, field)?.property_type)
    }

    /// A mapped field as its column was made; `None` where it has none that is in use.
    fn as_made(&self, object: &ObjectMapping, field: &FieldMapping) -> Option<FieldMapping> {
        let known = self.field(object, field)?;
        if known.state == FieldState::Unmapped {
            return None;
        }
        Some(FieldMapping {
            column: ColumnName::parse(&known.column_name).ok()?,
            property_type: PropertyType::parse(&known.property_type)?,
            ..field.clone()
        })
    }

    fn of_object<'a>(&'a self, object: &'a ObjectMapping) -> impl Iterator<Item = &'a FieldRow> {
        self.fields
            .values()
            .filter(|field| field.object == object.object.as_str())
    }
}

struct ShapeWork<'a> {
    tx: &'a Transaction<'a>,
    /// The update triggers as they were found, by name.
    triggers_before: BTreeMap<String, String>,
    now: Timestamp,
    known: &'a KnownBefore,
    lines: Vec<String>,
    /// Whether the triggers and views were dropped for a table or column to be altered.
    way_is_clear: bool,
    /// Mirrors in whose place a program put a table, and where that stands.
    replaced: BTreeMap<String, String>,
    /// Objects whose table was made in this run.
    made: BTreeSet<ObjectType>,
}

impl ShapeWork<'_> {
    fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Triggers and views out of the way, since SQLite reads them at every ALTER.
    fn clear_way(&mut self) -> Result<(), StoreError> {
        if self.way_is_clear {
            return Ok(());
        }
        self.way_is_clear = true;
        repair::take_away(self.tx)
    }

    /// Finds the mirrors of known objects by their definition: one that a program renamed gets its name back with all that is
    /// in it, and what a program put in its place is set aside.
    fn find_mirrors(&mut self, mapping: &Mapping) -> Result<(), StoreError> {
        for object in &mapping.objects {
            let Some(table) = self.known.tables.get(object.object.as_str()) else {
                continue;
            };
            let fields = self.known_fields(object);
            if definition::difference(self.tx, table, &fields)?.is_none() {
                continue;
            }
            let is_taken = exists(self.tx, table)?;
            let renamed = match aside::renamed_to(self.tx, table)? {
                Some(name) if definition::difference(self.tx, &name, &fields)?.is_none() => {
                    Some(name)
                }
                Some(_) | None => None,
            };
            if renamed.is_none() && !is_taken {
                continue;
            }
            self.clear_way()?;
            if is_taken {
                let other = aside::move_aside(self.tx, table)?;
                self.say(format!(
                    "table {table} is not the mirror of {object}; it is {other} now",
                    object = object.object
                ));
                self.replaced.insert(table.clone(), other);
            }
            if let Some(name) = renamed {
                self.tx.execute_batch(&alter::rename_table(&name, table))?;
                tracing::warn!(table_name = %table, name = %name, code = PUT_BACK, "a program renamed a mirror table; it has its name back");
                self.say(format!("table {name} has its name {table} back"));
                if let Some(other) = self.replaced.get(table) {
                    aside::note(self.tx, other, table, "", self.now)?;
                }
            }
        }
        Ok(())
    }

    /// The fields of an object as their columns were made.
    fn known_fields(&self, object: &ObjectMapping) -> Vec<FieldMapping> {
        let known = self.known;
        object
            .fields
            .iter()
            .filter_map(|field| known.as_made(object, field))
            .collect()
    }

    /// Renames and makes tables. Renames go through a name of their own, so that two objects can swap theirs.
    fn tables(&mut self, mapping: &Mapping) -> Result<(), StoreError> {
        let mut moving = Vec::new();
        for object in &mapping.objects {
            let Some(table) = self.known.tables.get(object.object.as_str()) else {
                continue;
            };
            if table != object.table.as_str() && exists(self.tx, table)? {
                let between = format!("_sync_moving_{}", object.object);
                self.clear_way()?;
                self.drop_indexes(table)?;
                self.tx
                    .execute_batch(&alter::rename_table(table, &between))?;
                moving.push((between, object));
                self.say(format!(
                    "table {table} of {} renamed to {}",
                    object.object, object.table
                ));
            }
        }
        for (between, object) in moving {
            self.refuse_taken(object)?;
            self.tx
                .execute_batch(&alter::rename_table(&between, object.table.as_str()))?;
        }
        for object in &mapping.objects {
            self.make_table(object)?;
        }
        Ok(())
    }

    /// Our indexes are named after their table; `indexes` makes them again.
    fn drop_indexes(&self, table: &str) -> Result<(), StoreError> {
        for (name, _) in alter::own_indexes(self.tx, table)? {
            self.tx
                .execute_batch(&format!("DROP INDEX {}", quoted(&name)))?;
        }
        Ok(())
    }

    fn make_table(&mut self, object: &ObjectMapping) -> Result<(), StoreError> {
        let table = object.table.as_str();
        let known = self.known.tables.get(object.object.as_str());
        // What was known of the tables may be lost, not the tables.
        let fields = if known.is_some() {
            self.known_fields(object)
        } else {
            object.fields.clone()
        };
        if exists(self.tx, table)? && definition::difference(self.tx, table, &fields)?.is_none() {
            return Ok(());
        }
        if repair::is_ours(self.tx, table)? {
            // Of another object's labels, or of a pair that the mapping had.
            self.clear_way()?;
        }
        self.refuse_taken(object)?;
        self.tx.execute_batch(&ddl::create_table(object))?;
        self.say(format!("table {table} made"));
        self.made.insert(object.object.clone());
        let Some(known) = known else {
            return Ok(());
        };
        // Before the first row: no id is given twice.
        let last = sequences::keep(self.tx, object.object.as_str(), table)?;
        if let Some(other) = self.replaced.get(known) {
            let stayed = aside::refill(self.tx, object, other, last)?;
            aside::note(self.tx, other, known, &stayed, self.now)?;
        } else {
            bypassed::take_dropped(self.tx, object, self.now)?;
            aside::end_empty_updates(self.tx, object)?;
        }
        forget_cursors(self.tx, object)?;
        for field in &object.fields {
            aside::restore_conflicts(self.tx, object, field)?;
        }
        Ok(())
    }

    /// A pair's view has the pair's name: what somebody else made under it stays.
    fn refuse_taken_views(&self, mapping: &Mapping) -> Result<(), StoreError> {
        for pair in &mapping.pairs {
            let name = pair.key.as_str();
            if exists(self.tx, name)? && !repair::is_ours(self.tx, name)? {
                return Err(StoreError::Mapping(format!(
                    "there is a table or view `{name}` that is not the view of this pair: rename it, or write another name in `[associations]`"
                )));
            }
        }
        Ok(())
    }

    fn refuse_taken(&self, object: &ObjectMapping) -> Result<(), StoreError> {
        if !exists(self.tx, object.table.as_str())? {
            return Ok(());
        }
        Err(StoreError::Mapping(format!(
            "there is a table or view `{table}` that is not the mirror of {object}: rename it, or write another `table` for {object}",
            table = object.table,
            object = object.object,
        )))
    }

    /// What the file says of how single properties are kept. Of one whose history is told from here on all records are
    /// asked.
    fn modes(&self, object: &ObjectMapping) -> Result<(), StoreError> {
        let (tx, name) = (self.tx, &object.object);
        let unkept = object.fields.iter().filter(|field| !field.modes.history);
        let unkept: Vec<_> = unkept.map(|field| &field.property).collect();
        modes::say(tx, name, FieldMode::Unkept, &unkept)?;
        let told = object.with_remote_history();
        let told: Vec<_> = told.map(|field| &field.property).collect();
        let said = modes::say(tx, name, FieldMode::Told, &told)?;
        if said.less {
            property_history::forget_untold(tx, name)?;
        }
        if said.more {
            tx.execute(
                &format!(
                    "INSERT INTO _sync_histories (object, hs_id)
                     SELECT :object, hs_id FROM {} WHERE hs_id IS NOT NULL
                     ON CONFLICT DO NOTHING",
                    quoted(object.table.as_str())
                ),
                named_params! { ":object": name.as_str() },
            )?;
        }
        Ok(())
    }

    /// The object's rows in `_sync_objects` and `_sync_cursors`.
    fn object(&self, object: &ObjectMapping) -> Result<(), StoreError> {
        if is_unmapped(self.tx, &object.object)? {
            // What was archived or deleted meanwhile no poll shows.
            cursors::compare(self.tx, &object.object, self.now)?;
        }
        save_object(self.tx, object)?;
        let pushed_only = object.direction == Direction::Push;
        self.tx
            .prepare_cached(
                "INSERT INTO _sync_cursors (object, backfill)
                 VALUES (:object, CASE WHEN :pushed_only THEN 'done' ELSE 'waiting' END)
                 ON CONFLICT (object) DO UPDATE
                 SET backfill = CASE WHEN :pushed_only THEN 'done' WHEN polled_to IS NULL AND backfill = 'done' THEN 'waiting' ELSE backfill END
                 WHERE (:pushed_only AND backfill <> 'done') OR (NOT :pushed_only AND backfill = 'done' AND polled_to IS NULL)",
            )?
            .execute(named_params! { ":object": object.object.as_str(), ":pushed_only": pushed_only })?;
        if pushed_only {
            outbox::release_backfill(self.tx, &object.object)?;
        }
        Ok(())
    }

    /// What the mapping no longer has: columns and tables stay, unsynced.
    fn forget_unmapped(&mut self, mapping: &Mapping) -> Result<(), StoreError> {
        // Read anew: a column that made way has another name.
        let known = KnownBefore::read(self.tx)?;
        for field in known
            .fields
            .values()
            .filter(|field| field.state != FieldState::Unmapped)
        {
            let object = mapping.object(&field.object);
            if !object.is_some_and(|object| {
                object
                    .fields
                    .iter()
                    .any(|mapped| mapped.property.as_str() == field.property)
            }) {
                fields::unmap(self.tx, field, self.now)?;
                self.say(format!(
                    "column {}.{} is no longer mapped and stays as it is",
                    known.tables.get(&field.object).unwrap_or(&field.object),
                    field.column_name
                ));
            }
        }
        for object in known
            .tables
            .keys()
            .filter(|object| mapping.object(object).is_none())
        {
            self.tx
                .prepare_cached("UPDATE _sync_objects SET direction = :unmapped WHERE object = :object AND direction <> :unmapped")?
                .execute(named_params! { ":object": object, ":unmapped": UNMAPPED })?;
        }
        Ok(())
    }

    fn indexes(&mut self, object: &ObjectMapping) -> Result<(), StoreError> {
        let mut wanted = ddl::indexes(object);
        let there = alter::own_indexes(self.tx, object.table.as_str())?;
        let was_read = cursors::get(self.tx, &object.object)?.backfill == Backfill::Done;
        wanted.extend(ddl::match_index(object).filter(|index| was_read || there.contains(index)));
        for (name, sql) in there {
            if !wanted.contains(&(name.clone(), sql)) {
                self.tx
                    .execute_batch(&format!("DROP INDEX {}", quoted(&name)))?;
            }
        }
        let there = alter::own_indexes(self.tx, object.table.as_str())?;
        for (name, sql) in wanted {
            if !there.iter().any(|(found, _)| *found == name) {
                // A table that somebody renamed has taken its index along.
                self.tx
                    .execute_batch(&format!("DROP INDEX IF EXISTS {}; {sql}", quoted(&name)))?;
            }
        }
        Ok(())
    }
}

/// Makes the index of rows by their match value, at the end of an object's first read. It may be run at any time, and
/// changes nothing where the index is there.
///
/// A million rows take about a second, for which local writers wait this once.
pub(crate) fn make_match_index(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
) -> Result<(), StoreError> {
    let Some(index) = ddl::match_index(object) else {
        return Ok(());
    };
    if alter::own_indexes(tx, object.table.as_str())?.contains(&index) {
        return Ok(());
    }
    let (name, sql) = index;
    // The schema is not noted as seen: somebody may have altered it since the last look.
    tx.execute_batch(&format!("DROP INDEX IF EXISTS {}; {sql}", quoted(&name)))?;
    Ok(())
}

/// Whether an object was taken out of the mapping and is not in it again yet.
fn is_unmapped(tx: &Transaction<'_>, object: &ObjectType) -> Result<bool, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT 1 FROM _sync_objects WHERE object = :object AND direction = :unmapped",
    )?;
    Ok(statement.exists(named_params! { ":object": object.as_str(), ":unmapped": UNMAPPED })?)
}

fn save_object(tx: &Transaction<'_>, object: &ObjectMapping) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_objects (object, table_name, direction)
         VALUES (:object, :table_name, :direction)
         ON CONFLICT (object) DO UPDATE
         SET table_name = excluded.table_name, direction = excluded.direction
         WHERE table_name <> excluded.table_name OR direction <> excluded.direction",
    )?
    .execute(named_params! {
        ":object": object.object.as_str(),
        ":table_name": object.table.as_str(),
        ":direction": object.direction.as_str(),
    })?;
    Ok(())
}

/// An object whose table was made again is read from the beginning.
fn forget_cursors(tx: &Transaction<'_>, object: &ObjectMapping) -> Result<(), StoreError> {
    let name = named_params! { ":object": object.object.as_str() };
    tx.prepare_cached("DELETE FROM _sync_cursors WHERE object = :object")?
        .execute(name)?;
    tx.prepare_cached("DELETE FROM _sync_again WHERE object = :object")?
        .execute(name)?;
    tx.prepare_cached("DELETE FROM _sync_ranges WHERE object = :object")?
        .execute(name)?;
    Ok(())
}

/// The code of a field whose type HubSpot changed.
const TYPE_CHANGE: &str = "type-change";

/// The code of a field whose property HubSpot has not.
const UNKNOWN_PROPERTY: &str = "unknown-property";

/// The mapping as it can be put in force: a property whose type HubSpot changed keeps the type of its column, and is a problem
/// of that field alone, until HubSpot has the former type again or the file names the new one. So does one that HubSpot had and has
/// not any more, as `problems` say. A type that the file asks for is left to [`fit_to_mapping`], which refuses it while values wait;
/// so is the first that HubSpot tells of a property, under which the column is made anew. To be called before the portal's new
/// definitions are kept.
///
/// # Errors
/// SQLite's own.
pub(crate) fn hold_types(
    connection: &Connection,
    mapping: &Mapping,
    problems: &[FieldProblem],
) -> Result<(Mapping, Vec<FieldProblem>), StoreError> {
    let known = KnownBefore::read(connection)?;
    let (mut held, mut added) = (mapping.clone(), Vec::new());
    for object in &mut held.objects {
        let told = reference::properties(connection, &object.object)?;
        for index in 0..object.fields.len() {
            let field = &object.fields[index];
            let property = field.property.as_str();
            let Some(from) = known
                .type_of(object, field)
                .filter(|from| field.declared_type.is_none() && *from != field.property_type)
            else {
                continue;
            };
            let Some(made) = known.as_made(object, field) else {
                continue;
            };
            let mut definitions = told.iter();
            let former = definitions.find(|known| known.name == property);
            let unfit = unfit(object, field);
            // What was written here before HubSpot told of it for the first time may still not fit.
            let was_unfit = fields::problem_of(connection, object.object.as_str(), property)?
                .is_some_and(|problem| problem == unfit.problem);
            let was_told = (former.is_some() && !was_unfit) || told.is_empty();
            let is_missing = problems.iter().any(|problem| {
                problem.object == object.object
                    && problem.property == field.property
                    && problem.code == UNKNOWN_PROPERTY
            });
            if is_missing {
                if was_told {
                    object.fields[index].property_type = from;
                }
                continue;
            }
            if alter::is_plain_text(from) && alter::is_plain_text(field.property_type) {
                continue;
            }
            if !has(
                &columns_of(connection, object.table.as_str())?,
                made.column.as_str(),
            ) || definition::difference(connection, object.table.as_str(), &[])?.is_some()
            {
                continue;
            }
            let waiting = waiting_values(connection, object, &made)?;
            let problem = match was_told {
                true => {
                    let former = former
                        .filter(|known| !known.archived)
                        .map(|known| known.definition.property_type());
                    let is_held = known
                        .field(object, field)
                        .is_some_and(|known| known.code.as_deref() == Some(TYPE_CHANGE));
                    // The file named another type and no longer does.
                    if !is_held && former.is_some_and(|former| former != from) && waiting == 0 {
                        continue;
                    }
                    retyped(object, field, from)
                }
                // HubSpot has said nothing of it before: what was written here meanwhile is taken along.
                false
                    if waiting == 0
                        || columns::in_type(connection, object, &made, field.property_type)?
                            .is_some() =>
                {
                    continue;
                }
                false => unfit,
            };
            added.push(problem);
            object.fields[index].property_type = from;
        }
    }
    Ok((held, added))
}

fn retyped(object: &ObjectMapping, field: &FieldMapping, from: PropertyType) -> FieldProblem {
    FieldProblem {
        object: object.object.clone(),
        property: field.property.clone(),
        code: TYPE_CHANGE,
        problem: format!(
            "HubSpot changed the type of `{}` from {from} to {}",
            field.property, field.property_type
        ),
        hint: format!(
            "set the type back in HubSpot; or write `type = \"{}\"` for it in the mapping file, and its column is made anew and \
             filled from HubSpot, once none of its values waits here (`hubsyncd outbox list`, `hubsyncd conflicts list`)",
            field.property_type
        ),
    }
}

/// Of a property that HubSpot has for the first time, and of which values were written here that it can't take.
fn unfit(object: &ObjectMapping, field: &FieldMapping) -> FieldProblem {
    FieldProblem {
        object: object.object.clone(),
        property: field.property.clone(),
        code: TYPE_CHANGE,
        problem: format!(
            "HubSpot has `{}` as {}, and of the values that wait in {}.{} some are none",
            field.property, field.property_type, object.table, field.column
        ),
        hint: "correct them, or give them up (`hubsyncd outbox discard`): the column takes HubSpot's type by itself then"
            .to_owned(),
    }
}

/// The mapping with its properties locked that HubSpot takes no write of any more, though it took some before: they are pulled
/// on, and what is written here waits. One that was never pushed, or that the file only pulls, refuses writes.
///
/// # Errors
/// SQLite's own.
pub(crate) fn hold_directions(
    connection: &Connection,
    mapping: &Mapping,
    in_file: &Mapping,
) -> Result<(Mapping, Vec<FieldProblem>), StoreError> {
    let known = KnownBefore::read(connection)?;
    let (mut held, mut problems) = (mapping.clone(), Vec::new());
    for object in &mut held.objects {
        let Some(wanted) = in_file.object(object.object.as_str()) else {
            continue;
        };
        for index in 0..object.fields.len() {
            let field = &object.fields[index];
            let of_file = wanted.field(&field.property);
            let direction = of_file.map_or(wanted.direction, |field| field.direction);
            let was_pushed = known.field(object, field).is_some_and(|known| {
                known.state != FieldState::Unmapped
                    && Direction::parse(&known.direction).is_some_and(Direction::pushes)
            });
            if field.direction != Direction::Pull || direction != Direction::Both || !was_pushed {
                continue;
            }
            problems.push(FieldProblem {
                object: object.object.clone(),
                property: field.property.clone(),
                code: "read-only-property",
                problem: format!("HubSpot lets nobody write `{}` any more", field.property),
                hint: "make it writable in HubSpot again, and what was written here meanwhile is sent; or write `direction = \"pull\"` for it \
                       in the mapping file, and its column refuses writes"
                    .to_owned(),
            });
            let field = &mut object.fields[index];
            field.direction = direction;
            field.modes.locked = true;
        }
    }
    Ok((held, problems))
}

/// Values of a property about which nobody has decided yet or that only the mirror has: pending fields, open conflicts, what the
/// guard holds of it, rows that HubSpot does not know.
fn waiting_values(
    connection: &Connection,
    object: &ObjectMapping,
    field: &FieldMapping,
) -> Result<i64, StoreError> {
    let (table, column) = (quoted(object.table.as_str()), quoted(field.column.as_str()));
    let sql = format!(
        "SELECT (SELECT count(*)
                 FROM sync_outbox_fields AS f
                 JOIN sync_outbox AS e ON e.id = f.outbox_id
                 WHERE e.object = :object AND f.property = :property)
              + (SELECT count(*) FROM sync_conflicts WHERE object = :object AND property = :property AND resolved_at IS NULL)
              + (SELECT count(*) FROM _sync_held_clears WHERE object = :object AND property = :property)
              + (SELECT count(*) FROM {table} WHERE \"hs_id\" IS NULL AND {column} <> '')"
    );
    let params =
        named_params! { ":object": object.object.as_str(), ":property": field.property.as_str() };
    Ok(connection.query_row(&sql, params, |row| row.get(0))?)
}

fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

fn has(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| same_name(column, name))
}

/// Mirror tables that are still there and whose object the mapping no longer has: object and table.
pub(crate) fn unmapped_tables(
    connection: &Connection,
    mapping: &Mapping,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.object, s.name
         FROM _sync_objects AS o
         JOIN sqlite_schema AS s ON s.type = 'table' AND lower(s.name) = lower(o.table_name)
         WHERE o.direction = :unmapped
         ORDER BY o.object",
    )?;
    let tables = statement
        .query_map(named_params! { ":unmapped": UNMAPPED }, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let taken = |table: &str| {
        mapping
            .objects
            .iter()
            .any(|object| same_name(object.table.as_str(), table))
    };
    let mut mirrors = Vec::new();
    for (object, table) in tables {
        // What a program made in its place is the user's own.
        if !taken(&table) && definition::difference(connection, &table, &[])?.is_none() {
            mirrors.push((object, table));
        }
    }
    Ok(mirrors)
}

/// Whether a table or view of that name is there.
pub(crate) fn exists(connection: &Connection, table: &str) -> Result<bool, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(:name)")?;
    Ok(statement
        .query_row(named_params! { ":name": table }, |_row| Ok(()))
        .optional()?
        .is_some())
}

/// The tables of the objects that were brought up, where they are still there and no program has replaced them.
pub(crate) fn tables_of(connection: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    let mut tables = KnownBefore::read(connection)?.tables;
    let mut gone = Vec::new();
    for (object, table) in &tables {
        if definition::difference(connection, table, &[])?.is_some() {
            gone.push(object.clone());
        }
    }
    tables.retain(|object, _| !gone.contains(object));
    Ok(tables)
}

/// A table's columns, in order; none where there is no such table.
pub(crate) fn columns_of(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM pragma_table_info(:table) ORDER BY cid")?;
    let names = statement.query_map(named_params! { ":table": table }, |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
