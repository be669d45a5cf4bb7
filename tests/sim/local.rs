//! Programs that write to the mirror by plain SQL, on a connection of their own with the triggers in force.
//!
//! `strftime` and `randomblob` are replaced on that connection, so that what triggers write follows virtual time and the
//! seed.

mod rewrites;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hubsyncd::model::mapping::{FieldMapping, Mapping, ObjectMapping};
use hubsyncd::model::value::{ColumnRef, Value};
use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params_from_iter};

use crate::plan::{Hot, TAG, pick};
use crate::script::Act;
use crate::values::{Values, is_unique_text};
use crate::world::World;

/// A committed local write of one text that nobody else writes.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The object.
    pub(crate) object: String,
    /// The row.
    pub(crate) local_id: i64,
    /// The property.
    pub(crate) property: String,
    /// The text.
    pub(crate) value: String,
}

/// What local programs did, as they remember it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Shadow {
    /// Texts written, the superseded ones left out.
    pub(crate) written: Vec<Written>,
    /// Fields changed, of any type.
    pub(crate) changes: u64,
    /// Rows inserted.
    pub(crate) inserts: u64,
    /// Rows deleted: object, tag.
    pub(crate) deletes: u64,
}

impl Shadow {
    fn write(&mut self, object: &str, local_id: i64, property: &str, value: &str) {
        self.changes += 1;
        self.written.retain(|old| {
            !(old.object == object && old.local_id == local_id && old.property == property)
        });
        if is_unique_text(property) && !value.is_empty() {
            self.written.push(Written {
                object: object.to_owned(),
                local_id,
                property: property.to_owned(),
                value: value.to_owned(),
            });
        }
    }

    fn delete(&mut self, object: &str, local_id: i64) {
        self.deletes += 1;
        self.written
            .retain(|old| !(old.object == object && old.local_id == local_id));
    }
}

/// The local programs.
pub(crate) struct Programs {
    connection: Connection,
    mapping: Mapping,
    hot: Hot,
    world: Arc<World>,
    /// What they remember.
    pub(crate) shadow: Shadow,
    /// Records whose rows they deleted.
    pub(crate) deleted_ids: BTreeSet<u64>,
    /// What rows that they deleted were known by.
    pub(crate) deleted_tags: BTreeSet<String>,
    /// Rows that they deleted, with their objects.
    pub(crate) deleted_rows: BTreeSet<(String, i64)>,
}

impl Programs {
    /// Opens the file beside the daemon.
    pub(crate) fn open(path: &Path, world: &Arc<World>, mapping: &Mapping) -> Self {
        let connection = Connection::open(path).expect("the file opens");
        connection
            .pragma_update(None, "synchronous", "OFF")
            .expect("a pragma");
        replace_functions(&connection, world).expect("functions can be replaced");
        Self {
            connection,
            mapping: mapping.clone(),
            hot: Hot::default(),
            world: Arc::clone(world),
            shadow: Shadow::default(),
            deleted_ids: BTreeSet::new(),
            deleted_tags: BTreeSet::new(),
            deleted_rows: BTreeSet::new(),
        }
    }

    /// The same, with most of what they do falling on what is hot.
    pub(crate) fn meeting(mut self, hot: &Hot) -> Self {
        self.hot = hot.clone();
        self
    }

    /// The connection, for looking.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the mirror tables are there.
    pub(crate) fn is_ready(&self) -> bool {
        self.mapping
            .objects
            .iter()
            .all(|object| self.rows(object).is_some())
    }

    /// One thing that a program does.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the acts of others are none of theirs"
    )]
    pub(crate) fn act(&mut self, act: Act, rng: &mut ChaCha8Rng, values: &mut Values) {
        let objects = self.hot.of_objects(rng, &self.mapping);
        let object = pick(rng, &objects).clone();
        let rows = self.rows(&object).unwrap_or_default();
        if rows.is_empty() {
            return self.insert(rng, values, &object);
        }
        let near = self.hot.of_records(rng, &rows);
        let row = *pick(rng, &near);
        match act {
            Act::WriteTwice => {
                self.update(rng, values, &object, row);
                self.update(rng, values, &object, row);
            }
            Act::WriteSame => self.update_same(&object, row),
            Act::ThereAndBack => self.there_and_back(rng, values, &object, row),
            Act::Toggle => {
                for _ in 0..rng.random_range(2..6) {
                    self.there_and_back(rng, values, &object, row);
                }
                self.update(rng, values, &object, row);
            }
            Act::WriteAll => {
                for row in rows {
                    self.update(rng, values, &object, row);
                }
            }
            Act::Insert => self.insert(rng, values, &object),
            Act::InsertKnown => self.insert_known(rng, values, &object),
            Act::InsertAndDelete => {
                self.insert(rng, values, &object);
                self.delete(&object, row);
            }
            Act::Delete => self.delete(&object, row),
            Act::Reinsert => self.delete_and_insert(rng, values, &object, row),
            Act::Replace => self.replace(rng, values, &object, row),
            Act::Upsert => self.upsert(rng, values, &object, row),
            Act::PassOn => self.pass_on(rng, values, &object, &rows),
            Act::RollBack => self.rolled_back(rng, values, &object, row),
            _ => self.update(rng, values, &object, row),
        }
    }

    /// Holds the lock, or lets it go.
    pub(crate) fn lock(&self, is_held: bool) -> bool {
        let sql = if is_held { "BEGIN IMMEDIATE" } else { "COMMIT" };
        let done = self.connection.execute_batch(sql).is_ok();
        self.world.state().locked = is_held && done;
        done
    }

    /// Rows of an object; `None` while the table is missing.
    pub(crate) fn rows(&self, object: &ObjectMapping) -> Option<Vec<i64>> {
        let mut statement = self
            .connection
            .prepare(&format!(
                "SELECT local_id FROM {} ORDER BY hs_id IS NULL, hs_id, local_id",
                object.table
            ))
            .ok()?;
        let rows = statement
            .query_map([], |row| row.get(0))
            .expect("rows")
            .collect::<Result<_, _>>()
            .expect("ids");
        Some(rows)
    }

    /// Runs a statement; whether it changed something.
    pub(crate) fn run(&self, what: &str, sql: &str, values: &[Sql]) -> bool {
        let result = self
            .connection
            .execute(sql, params_from_iter(values.iter().cloned()));
        let text: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        match result {
            Ok(count) => self.world.note(&format!(
                "local {what} {sql} [{}] -> {count}",
                text.join(", ")
            )),
            Err(ref error) => self.world.note(&format!(
                "local {what} {sql} [{}] -> refused: {error}",
                text.join(", ")
            )),
        }
        if let Err(error) = &result
            && error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation)
        {
            self.world
                .state()
                .breaks(format!("a local write failed: {what}: {error}"));
        }
        matches!(result, Ok(count) if count > 0)
    }

    fn writable(object: &ObjectMapping) -> Vec<FieldMapping> {
        object
            .fields
            .iter()
            .filter(|field| field.direction.pushes())
            .cloned()
            .collect()
    }

    fn fresh_row(
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
    ) -> Vec<(FieldMapping, String)> {
        let tag = tag_of(object.object.as_str());
        let mut fields = Vec::new();
        for field in Self::writable(object) {
            let property = field.property.as_str().to_owned();
            if property == tag {
                fields.push((field, values.text("tag")));
            } else if rng.random_bool(if matches!(property.as_str(), "firstname" | "name") {
                0.95
            } else {
                0.7
            }) {
                let value = values.for_property(rng, &property, "l");
                fields.push((field, value));
            }
        }
        fields
    }

    fn insert_row(
        &mut self,
        what: &str,
        object: &ObjectMapping,
        verb: &str,
        local_id: Option<i64>,
        fields: &[(FieldMapping, String)],
    ) -> Option<i64> {
        let mut columns: Vec<String> = fields
            .iter()
            .map(|(field, _)| field.column.as_str().to_owned())
            .collect();
        let mut bound: Vec<Sql> = fields
            .iter()
            .map(|(field, value)| self.to_sql(object, field, value))
            .collect();
        if let Some(id) = local_id {
            columns.push("local_id".to_owned());
            bound.push(Sql::Integer(id));
        }
        let places = vec!["?"; columns.len()].join(", ");
        let sql = format!(
            "{verb} INTO {} ({}) VALUES ({places})",
            object.table,
            columns.join(", ")
        );
        if !self.run(what, &sql, &bound) {
            return None;
        }
        let id = self.connection.last_insert_rowid();
        for (field, value) in fields {
            self.shadow
                .write(object.object.as_str(), id, field.property.as_str(), value);
        }
        Some(id)
    }

    fn insert(&mut self, rng: &mut ChaCha8Rng, values: &mut Values, object: &ObjectMapping) {
        let fields = Self::fresh_row(rng, values, object);
        self.insert_fields(object, &fields);
    }

    fn insert_fields(&mut self, object: &ObjectMapping, fields: &[(FieldMapping, String)]) {
        if !fields.is_empty()
            && self
                .insert_row("insert", object, "INSERT", None, fields)
                .is_some()
        {
            self.shadow.inserts += 1;
        }
    }

    fn update(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        row: i64,
    ) {
        let tag = tag_of(object.object.as_str());
        let fields: Vec<FieldMapping> = Self::writable(object)
            .into_iter()
            .filter(|field| field.property.as_str() != tag)
            .collect();
        if fields.is_empty() {
            return;
        }
        let fields = self.hot.of_fields(rng, &fields);
        let mut sets: Vec<(FieldMapping, String)> = Vec::new();
        for _ in 0..rng.random_range(1..=2) {
            let field = pick(rng, &fields).clone();
            if sets
                .iter()
                .all(|(other, _)| other.property != field.property)
            {
                let value = values.for_property(rng, field.property.as_str(), "l");
                sets.push((field, value));
            }
        }
        self.set(object, row, &sets);
    }

    fn set(&mut self, object: &ObjectMapping, row: i64, sets: &[(FieldMapping, String)]) {
        let columns: Vec<String> = sets
            .iter()
            .map(|(field, _)| format!("{} = ?", field.column))
            .collect();
        let mut bound: Vec<Sql> = sets
            .iter()
            .map(|(field, value)| self.to_sql(object, field, value))
            .collect();
        bound.push(Sql::Integer(row));
        if self.run(
            "update",
            &format!(
                "UPDATE {} SET {} WHERE local_id = ?",
                object.table,
                columns.join(", ")
            ),
            &bound,
        ) {
            for (field, value) in sets {
                self.shadow
                    .write(object.object.as_str(), row, field.property.as_str(), value);
            }
        }
    }

    fn update_same(&mut self, object: &ObjectMapping, row: i64) {
        let columns: Vec<String> = Self::writable(object)
            .iter()
            .map(|field| format!("{0} = {0}", field.column))
            .collect();
        if !columns.is_empty() {
            self.run(
                "same",
                &format!(
                    "UPDATE {} SET {} WHERE local_id = ?",
                    object.table,
                    columns.join(", ")
                ),
                &[Sql::Integer(row)],
            );
        }
    }

    /// A value is written, and written back.
    fn there_and_back(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        row: i64,
    ) {
        let tag = tag_of(object.object.as_str());
        let fields: Vec<FieldMapping> = Self::writable(object)
            .into_iter()
            .filter(|field| field.property.as_str() != tag)
            .collect();
        let fields = self.hot.of_fields(rng, &fields);
        let Some(field) = (!fields.is_empty()).then(|| pick(rng, &fields).clone()) else {
            return;
        };
        let sql = format!(
            "SELECT {} FROM {} WHERE local_id = ?",
            field.column, object.table
        );
        let Ok(old) = self
            .connection
            .query_row(&sql, [row], |row| row.get::<_, Sql>(0))
        else {
            return;
        };
        let value = values.for_property(rng, field.property.as_str(), "l");
        self.set(object, row, &[(field.clone(), value)]);
        let text = match &old {
            Sql::Text(text) => text.clone(),
            Sql::Null | Sql::Integer(_) | Sql::Real(_) | Sql::Blob(_) => String::new(),
        };
        let sql = format!(
            "UPDATE {} SET {} = ? WHERE local_id = ?",
            object.table, field.column
        );
        if self.run("back", &sql, &[old, Sql::Integer(row)]) {
            self.shadow
                .write(object.object.as_str(), row, field.property.as_str(), &text);
        }
    }

    fn delete(&mut self, object: &ObjectMapping, row: i64) {
        let tag = tag_of(object.object.as_str());
        let known = self.connection.query_row(
            &format!(
                "SELECT hs_id, c_{tag} FROM {} WHERE local_id = ?",
                object.table
            ),
            [row],
            |row| {
                Ok((
                    row.get::<_, Option<i64>>(0)?,
                    row.get::<_, Option<String>>(1)?,
                ))
            },
        );
        if let Ok((id, tag)) = known {
            self.deleted_ids.extend(id.map(i64::unsigned_abs));
            self.deleted_tags.extend(tag);
            let object = object.object.as_str().to_owned();
            self.deleted_rows.insert((object, row));
        }
        if self.run(
            "delete",
            &format!("DELETE FROM {} WHERE local_id = ?", object.table),
            &[Sql::Integer(row)],
        ) {
            self.shadow.delete(object.object.as_str(), row);
        }
    }

    /// Ids and texts.
    pub(crate) fn list(&self, sql: &str) -> Vec<(i64, String)> {
        let Ok(mut statement) = self.connection.prepare(sql) else {
            return Vec::new();
        };
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("rows");
        rows.collect::<Result<_, _>>().expect("ids and texts")
    }

    /// The machine's time.
    pub(crate) fn now(&self) -> String {
        hubsyncd::model::time::Timestamp::from_millis(self.world.state().wall_ms()).to_string()
    }

    fn to_sql(&self, object: &ObjectMapping, field: &FieldMapping, text: &str) -> Sql {
        let kind = crate::checks::kind_of(
            &self.connection,
            object.object.as_str(),
            field.property.as_str(),
        );
        let value = kind.canonical(Some(text)).unwrap_or(Value::EMPTY);
        match kind.to_column(&value) {
            ColumnRef::Null => Sql::Null,
            ColumnRef::Integer(number) => Sql::Integer(number),
            ColumnRef::Real(number) => Sql::Real(number),
            ColumnRef::Text(text) => Sql::Text(text.to_owned()),
        }
    }
}

/// The property that rows of an object are known by.
pub(crate) fn tag_of(object: &str) -> &'static str {
    TAG.iter()
        .find(|(name, _)| *name == object)
        .map_or("", |(_, tag)| tag)
}

fn replace_functions(connection: &Connection, world: &Arc<World>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    let for_time = Arc::clone(world);
    connection.create_scalar_function("strftime", 2, flags, move |context| {
        let format: String = context.get(0)?;
        let ms = for_time.state().wall_ms();
        let now = hubsyncd::model::time::Timestamp::from_millis(ms).to_chrono();
        Ok(match format.as_str() {
            "%s" => (ms / 1000).to_string(),
            _ => now.format(&format.replace("%f", "%S%.3f")).to_string(),
        })
    })?;
    let for_keys = Arc::clone(world);
    connection.create_scalar_function("randomblob", 1, flags, move |context| {
        let length: i64 = context.get(0)?;
        let mut bytes = vec![0; length as usize];
        for_keys.state().key_rng.fill_bytes(&mut bytes);
        Ok(bytes)
    })
}
