//! Applies `migrations/` in order, one transaction each; refuses a newer database.
//!
//! The number of the last one applied stands in `user_version`. A migration that was released is never edited.

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// The migrations, the first of them number 1.
const MIGRATIONS: [&str; 5] = [
    include_str!("../../migrations/0001_bookkeeping.sql"),
    include_str!("../../migrations/0002_webhooks.sql"),
    include_str!("../../migrations/0003_tokens.sql"),
    include_str!("../../migrations/0004_dropped.sql"),
    include_str!("../../migrations/0005_repairs.sql"),
];

/// The newest schema version that this program knows.
pub const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Brings the bookkeeping tables up to date.
///
/// # Errors
/// [`StoreError::NewerDatabase`] where a newer program has been here.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let number = index as i64 + 1;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = version(&tx)?;
        if found > NEWEST {
            return Err(StoreError::NewerDatabase {
                found,
                known: NEWEST,
            });
        }
        if found < number {
            tx.execute_batch(migration)?;
            tx.pragma_update(None, "user_version", number)?;
        }
        tx.commit()?;
    }
    Ok(())
}

/// The indexes of the bookkeeping tables, by name, as the migrations leave them.
pub(super) fn indexes() -> BTreeMap<&'static str, &'static str> {
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

fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{folder, open};

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
        assert_eq!(version(&connection).expect("reads"), NEWEST + 1);
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
