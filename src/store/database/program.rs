//! The database as a company's own program sees it: an ordinary connection, triggers on. `demo` writes through it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::store::StoreError;

/// How long a program waits for the daemon's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An ordinary connection.
#[derive(Debug)]
pub struct Program {
    connection: Connection,
}

impl Program {
    /// Opens a database that is there already.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(Self { connection })
    }

    /// Runs one statement with text parameters; tells how many rows it changed.
    pub fn execute(&self, sql: &str, parameters: &[&str]) -> Result<usize, StoreError> {
        Ok(self.connection.execute(sql, params_from_iter(parameters))?)
    }

    /// The first column of the first row as a number; 0 where there is none.
    pub fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        Ok(match rows.next()? {
            Some(row) => row.get::<_, Option<i64>>(0)?.unwrap_or(0),
            None => 0,
        })
    }

    /// All rows as text, NULL as empty text.
    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, StoreError> {
        let mut statement = self.connection.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns)
                .map(|index| Ok(text_of(row.get_ref(index)?)))
                .collect()
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn text_of(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
    }
}
