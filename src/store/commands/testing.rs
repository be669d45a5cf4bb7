//! A small database for the tests of the commands: the real bookkeeping tables, with the views and refusals as
//! `design.md` 6.3 describes them.

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::store::Mode;
use crate::store::testing::open;

/// A file with three objects, work in every state, conflicts and a hold.
pub(crate) fn database(folder: &TempDir) -> PathBuf {
    drop(open(folder, Mode::Inline).expect("opens"));
    let path = folder.path().join("crm.db");
    execute(&path, include_str!("../../../tests/fixtures/people.sql"));
    path
}

/// Runs statements as another program would.
pub(crate) fn execute(path: &std::path::Path, sql: &str) {
    let connection = Connection::open(path).expect("opens");
    connection.execute_batch(sql).expect("runs");
}

/// What a query gives, as text.
pub(crate) fn one(path: &std::path::Path, sql: &str) -> Option<String> {
    let connection = Connection::open(path).expect("opens");
    connection
        .query_row(sql, [], |row| row.get(0))
        .expect("a row")
}
