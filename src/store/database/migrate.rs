//! Applies `migrations/` in order, one transaction each; refuses a newer database, and one from before the first release.
//!
//! The number of the last one applied stands in `user_version`, and in `_sync_meta` too, since a dump carries tables and
//! no `user_version`. A migration that was released is never edited.
//!
//! What the migrations make is also what must be there: a table that somebody dropped is made again, empty, and one that
//! somebody put in its place is set aside.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction, TransactionBehavior, named_params};

use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::meta::{self, PUT_BACK};
use crate::store::shape::aside;
use crate::store::shape::ddl::quoted;
use crate::store::shape::sequences;

/// The migrations, the first of them number 1.
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/0001_tables.sql")];

/// The newest schema version that this program knows.
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Brings the bookkeeping tables up to date. Tells whether the schema had to be recognised by itself, because the file was
/// made from a dump.
///
/// # Errors
/// [`StoreError::NewerDatabase`] where a newer program has been here, [`StoreError::Unreleased`] where one from before the
/// first release has, [`StoreError::Incomplete`] where only some of the
/// tables are there and nothing says of which version.
pub(crate) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<bool, StoreError> {
    let recognised = recognise(connection)?;
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let number = index as i64 + 1;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if known_version(&tx)? < number {
            tx.execute_batch(migration)?;
            tx.pragma_update(None, "user_version", number)?;
        }
        tx.commit()?;
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    put_back_tables(&tx, now)?;
    note_version(&tx)?;
    // Before the first row: a program may have set a number so high that none is left for it.
    sequences::heal_own(&tx)?;
    tx.commit()?;
    Ok(recognised)
}

/// Gives a file without `user_version` the version of its schema.
fn recognise(connection: &mut Connection) -> Result<bool, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if known_version(&tx)? != 0 {
        return Ok(false);
    }
    let (there, ours) = (Shape::of(&tx)?, Shape::at(NEWEST)?);
    if !there.has_any_of(&ours) {
        let taken = ours
            .tables
            .keys()
            .find(|name| there.tables.contains_key(*name));
        return match taken {
            Some(table) => Err(StoreError::Taken {
                table: table.clone(),
            }),
            None => Ok(false),
        };
    }
    let found = match noted_version(&tx)? {
        Some(found) => found,
        None => version_of_shape(&tx)?.ok_or(StoreError::Incomplete)?,
    };
    if found > NEWEST {
        return Err(StoreError::NewerDatabase {
            found,
            known: NEWEST,
        });
    }
    tx.pragma_update(None, "user_version", found)?;
    tx.commit()?;
    tracing::warn!(
        version = found,
        "the database was made from a dump: it goes on as a backup that was put back"
    );
    Ok(true)
}

/// The version in `_sync_meta`, where it is there and says one.
fn noted_version(connection: &Connection) -> Result<Option<i64>, StoreError> {
    if !Shape::of(connection)?.tables.contains_key("_sync_meta") {
        return Ok(None);
    }
    let noted = meta::get(connection, meta::SCHEMA_VERSION)?;
    Ok(noted.and_then(|noted| noted.parse().ok()))
}

/// The newest version whose tables and columns are all there.
fn version_of_shape(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let found = Shape::of(connection)?;
    for number in (1..=NEWEST).rev() {
        if found.has_all_of(&Shape::at(number)?) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Notes the version where a dump takes it along.
fn note_version(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let text = NEWEST.to_string();
    if meta::get(tx, meta::SCHEMA_VERSION)?.as_deref() == Some(text.as_str()) {
        return Ok(());
    }
    meta::set(tx, meta::SCHEMA_VERSION, &text)
}

/// The bookkeeping tables as the migrations up to a number leave them, in memory.
fn model(number: i64) -> Result<Connection, StoreError> {
    let connection = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(usize::try_from(number).unwrap_or(0)) {
        connection.execute_batch(migration)?;
    }
    Ok(connection)
}

/// Makes the bookkeeping tables again that somebody dropped, and sets aside what somebody put in their place. Returns their
/// names: what stood in them is lost to the daemon, and deserves a warning. To be called before anything reads them.
pub(crate) fn put_back_tables(
    tx: &Transaction<'_>,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let (model, found) = (model(NEWEST)?, Shape::of(tx)?);
    let mut put_back = Vec::new();
    for (name, expected) in Shape::of(&model)?.tables {
        let there = found.tables.get(&name);
        if there.is_some_and(|there| there.is_kept(&expected)) {
            continue;
        }
        if there.is_some() {
            let other = aside::move_aside(tx, &name)?;
            put_back.push((name.clone(), Some(other)));
        } else {
            put_back.push((name.clone(), None));
        }
        let sql: String = model.query_row(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = :name",
            named_params! { ":name": name },
            |row| row.get(0),
        )?;
        tx.execute_batch(&sql)?;
        fill_one_row(tx, &model, &name)?;
    }
    // Only now is there a table to note it in.
    for (name, other) in &put_back {
        match other {
            Some(other) => aside::note(tx, other, name, "", now)?,
            None => {
                tracing::error!(table_name = %name, code = PUT_BACK, "a table of hubsyncd's was dropped; it was made again, empty");
            }
        }
    }
    Ok(put_back.into_iter().map(|(name, _)| name).collect())
}

/// Whether the tables are there without which nothing can be looked at.
pub(crate) fn are_there(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT count(*) = 5
             FROM sqlite_schema
             WHERE type = 'table' AND name IN ('_sync_meta', '_sync_gate', '_sync_replaced', '_sync_objects', '_sync_cursors')",
        )?
        .query_row([], |row| row.get(0))?)
}

/// Some tables hold exactly one row from the beginning.
fn fill_one_row(tx: &Transaction<'_>, model: &Connection, table: &str) -> Result<(), StoreError> {
    let from = quoted(table);
    let one_row: i64 = model.query_row(&format!("SELECT count(*) FROM {from}"), [], |row| {
        row.get(0)
    })?;
    if one_row == 0 {
        return Ok(());
    }
    let mut statement = model.prepare(&format!("SELECT * FROM {from}"))?;
    let count = statement.column_count();
    let row: Vec<rusqlite::types::Value> =
        statement.query_row([], |row| (0..count).map(|index| row.get(index)).collect())?;
    let places = vec!["?"; count].join(", ");
    tx.execute(
        &format!("INSERT INTO {from} VALUES ({places})"),
        rusqlite::params_from_iter(row),
    )?;
    Ok(())
}

/// Tables and their columns, as far as it matters whether they are ours.
#[derive(Debug)]
struct Shape {
    tables: BTreeMap<String, TableShape>,
}

/// Column by column: name, type, whether NULL is refused, place in the primary key.
#[derive(Debug)]
struct TableShape {
    is_strict: bool,
    columns: BTreeSet<(String, String, bool, i64)>,
}

impl TableShape {
    /// Whether everything is there that is expected; more columns do no harm.
    fn is_kept(&self, expected: &Self) -> bool {
        self.is_strict == expected.is_strict && self.columns.is_superset(&expected.columns)
    }
}

impl Shape {
    fn at(number: i64) -> Result<Self, StoreError> {
        Self::of(&model(number)?)
    }

    fn of(connection: &Connection) -> Result<Self, StoreError> {
        let mut statement = connection.prepare(
            // A view's columns are not asked for: one that can't be read would end the query.
            "SELECT lower(l.name), l.strict, c.name, c.type, c.\"notnull\", c.pk
             FROM pragma_table_list AS l
             LEFT JOIN pragma_table_info(CASE l.type WHEN 'table' THEN l.name END) AS c
             WHERE l.schema = 'main' AND l.type IN ('table', 'view') AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?;
        let mut rows = statement.query([])?;
        let mut tables = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let table = tables
                .entry(row.get::<_, String>(0)?)
                .or_insert(TableShape {
                    is_strict: row.get(1)?,
                    columns: BTreeSet::new(),
                });
            if let Some(column) = row.get::<_, Option<String>>(2)? {
                table
                    .columns
                    .insert((column, row.get(3)?, row.get(4)?, row.get(5)?));
            }
        }
        Ok(Self { tables })
    }

    fn has_any_of(&self, other: &Self) -> bool {
        other
            .tables
            .keys()
            .any(|name| name.contains("sync_") && self.tables.contains_key(name))
    }

    fn has_all_of(&self, other: &Self) -> bool {
        other.tables.iter().all(|(name, expected)| {
            self.tables
                .get(name)
                .is_some_and(|there| there.is_kept(expected))
        })
    }
}

/// The indexes of the bookkeeping tables, by name, as the migrations leave them.
pub(crate) fn indexes() -> BTreeMap<&'static str, &'static str> {
    let mut indexes = BTreeMap::new();
    let statements = MIGRATIONS
        .iter()
        .flat_map(|migration| migration.split(";\n"));
    for statement in statements {
        let begin = statement.find("CREATE INDEX ");
        let unique = statement.find("CREATE UNIQUE INDEX ");
        if let Some(at) = begin.or(unique) {
            let sql = &statement[at..];
            let named = sql.split(" INDEX ").nth(1);
            let name = named.and_then(|rest| rest.split_whitespace().next());
            indexes.insert(name.expect("an index has a name"), sql);
        } else if let Some((_, rest)) = statement.split_once("DROP INDEX ") {
            indexes.remove(rest.trim());
        }
    }
    indexes
}

/// The schema's version in `user_version`: 0 where nothing has been here yet, or the file was made from a dump.
///
/// # Errors
/// [`StoreError::NewerDatabase`] and [`StoreError::Unreleased`]: this program must not touch the file.
pub(crate) fn known_version(connection: &Connection) -> Result<i64, StoreError> {
    // Before the first release the internal tables had no underscore in front, and a numbering of their own.
    let is_unreleased: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'sync_meta')
            AND EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'sync_outbox')
            AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sync_meta')",
        [],
        |row| row.get(0),
    )?;
    if is_unreleased {
        return Err(StoreError::Unreleased);
    }
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > NEWEST {
        return Err(StoreError::NewerDatabase {
            found,
            known: NEWEST,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{folder, open};

    fn user_version(connection: &Connection) -> i64 {
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .expect("reads")
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let folder = folder();
        drop(open(&folder, Mode::Inline).expect("opens"));
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        connection
            .pragma_update(None, "user_version", NEWEST + 1)
            .expect("a newer program was here");
        let error = open(&folder, Mode::Inline).expect_err("refused");
        assert_eq!(
            error.to_string(),
            format!(
                "the database has schema version {}, and this program knows up to {NEWEST}",
                NEWEST + 1
            )
        );
        assert!(error.is_configuration());
        assert_eq!(user_version(&connection), NEWEST + 1);
    }

    #[test]
    fn a_database_from_before_the_first_release_is_refused_in_words_and_left_alone() {
        let folder = folder();
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        connection
            .execute_batch(
                "CREATE TABLE sync_meta (name TEXT); CREATE TABLE sync_outbox (id INTEGER); PRAGMA user_version = 5",
            )
            .expect("is SQL");
        let error = open(&folder, Mode::Inline).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "the database was made by a hubsyncd from before the first release"
        );
        assert!(error.is_configuration() && error.hint().is_some());
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .expect("reads");
        assert_eq!(tables, 2);
    }

    /// A file as a dump leaves it: everything but `user_version`.
    fn without_version(change: &str) -> Result<(bool, i64), StoreError> {
        let folder = folder();
        drop(open(&folder, Mode::Inline).expect("opens"));
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        connection
            .execute_batch(&format!("PRAGMA user_version = 0; {change}"))
            .expect("is SQL");
        let store = open(&folder, Mode::Inline)?;
        Ok((store.was_restored(), user_version(&connection)))
    }

    #[test]
    fn a_file_that_came_out_of_a_dump_is_recognised_and_goes_on_as_a_restored_one() {
        assert_eq!(without_version("").expect("opens"), (true, NEWEST));
        let unnoted = "DELETE FROM _sync_meta WHERE name = 'schema_version'";
        assert_eq!(without_version(unnoted).expect("opens"), (true, NEWEST));
        let newer = format!(
            "UPDATE _sync_meta SET value = '{}' WHERE name = 'schema_version'",
            NEWEST + 1
        );
        assert!(matches!(
            without_version(&newer),
            Err(StoreError::NewerDatabase { .. })
        ));
        let part = format!("{unnoted}; DROP TABLE sync_outbox");
        let error = without_version(&part).expect_err("is not whole");
        assert_eq!(
            error.to_string(),
            "the database holds only some of hubsyncd's tables"
        );
        assert!(error.is_configuration() && error.hint().is_some());
    }

    #[test]
    fn somebody_elses_table_under_one_of_our_names_is_named_and_left_alone() {
        let folder = folder();
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        connection
            .execute_batch("CREATE TABLE Owners (name TEXT); INSERT INTO Owners VALUES ('me')")
            .expect("is SQL");
        let error = open(&folder, Mode::Inline).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "the database has a table or view `owners` that is not hubsyncd's"
        );
        assert!(error.is_configuration() && error.hint().is_some());
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .expect("reads");
        assert_eq!(tables, 1);
    }

    #[test]
    fn each_version_is_recognised_by_its_tables_and_columns() {
        for number in 1..=NEWEST {
            let connection = model(number).expect("is SQL");
            assert_eq!(version_of_shape(&connection).expect("looks"), Some(number));
        }
    }

    #[test]
    fn the_indexes_are_those_of_the_file() {
        let folder = folder();
        drop(open(&folder, Mode::Inline).expect("opens"));
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        let mut statement = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
            .expect("prepares");
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("runs");
        let found: Vec<(String, String)> = rows.collect::<Result<_, _>>().expect("reads");
        let known = indexes()
            .into_iter()
            .map(|(name, sql)| (name.to_owned(), sql.to_owned()));
        assert_eq!(found, known.collect::<Vec<_>>());
    }

    #[test]
    fn the_bookkeeping_schema_is_this() {
        let folder = folder();
        drop(open(&folder, Mode::Inline).expect("opens"));
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        let sql = "SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name";
        let mut statement = connection.prepare(sql).expect("prepares");
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .expect("runs");
        let schema = rows
            .collect::<Result<Vec<_>, _>>()
            .expect("reads")
            .join("\n");
        insta::assert_snapshot!("bookkeeping_schema", schema);
    }
}
