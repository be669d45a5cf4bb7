//! `sync_history` for `changes`: by its numbers, which grow in the order of commits and are never used twice.

use rusqlite::{OptionalExtension, named_params};

use crate::model::time::Timestamp;
use crate::store::commands::{CommandDb, CommandError, Row, rows};

/// Lines that are read at once.
const PAGE: i64 = 500;

const COLUMNS: &str =
    "id, at, object, local_id, hs_id, property, old_value, new_value, origin, run_id";

impl CommandDb {
    /// A page of the changes with a greater number, of an object or of all.
    pub(crate) fn changes_after(
        &self,
        id: i64,
        object: Option<&str>,
    ) -> Result<Vec<Row>, CommandError> {
        rows(
            &self.connection,
            &format!(
                "SELECT {COLUMNS} FROM sync_history
                 WHERE id > :id AND (:object IS NULL OR object = :object)
                 ORDER BY id LIMIT :page"
            ),
            named_params! { ":id": id, ":object": object, ":page": PAGE },
        )
    }

    /// The number before the last so many changes, of an object or of all.
    pub(crate) fn before_last(&self, many: u32, object: Option<&str>) -> Result<i64, CommandError> {
        let sql = "SELECT coalesce(min(id), 1) - 1 FROM (
                       SELECT id FROM sync_history
                       WHERE :object IS NULL OR object = :object
                       ORDER BY id DESC LIMIT :many)";
        let wanted = named_params! { ":object": object, ":many": many };
        Ok(self.connection.query_row(sql, wanted, |row| row.get(0))?)
    }

    /// The number before the first change of that time or later.
    pub(crate) fn before_time(&self, since: Timestamp) -> Result<i64, CommandError> {
        let since = named_params! { ":since": since.to_string() };
        let first: Option<i64> = self.connection.query_row(
            "SELECT min(id) FROM sync_history WHERE at >= :since",
            since,
            |row| row.get(0),
        )?;
        match first {
            Some(first) => Ok(first - 1),
            None => self.last_change(),
        }
    }

    /// The last number that was ever given.
    pub(crate) fn last_change(&self) -> Result<i64, CommandError> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'sync_history'";
        let last = self.connection.query_row(sql, [], |row| row.get(0));
        Ok(last.optional()?.unwrap_or(0))
    }

    /// Looks whether all that was ever recorded after a number is still there.
    ///
    /// # Errors
    /// [`CommandError::Forgotten`].
    pub(crate) fn nothing_forgotten_after(&self, id: i64) -> Result<(), CommandError> {
        let last = self.last_change()?;
        let first: Option<i64> =
            self.connection
                .query_row("SELECT min(id) FROM sync_history", [], |row| row.get(0))?;
        let is_whole = match first {
            Some(first) => first <= id.saturating_add(1),
            None => last <= id,
        };
        match is_whole && id <= last {
            true => Ok(()),
            false => Err(CommandError::Forgotten { id, first, last }),
        }
    }

    /// The names under which changes stand.
    pub(crate) fn names(&self) -> Result<Vec<String>, CommandError> {
        let mut statement = self.connection.prepare(
            "SELECT object FROM sync_status WHERE object IS NOT NULL
             UNION SELECT pair FROM _sync_link_passes
             UNION SELECT object FROM sync_history
             UNION SELECT object FROM sync_conflicts
             ORDER BY 1",
        )?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }
}
