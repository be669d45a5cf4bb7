//! `CommandDb`: the database as the commands for people see it. A plain connection like any other program's, with triggers
//! on, beside a running daemon or without one: it reads the views, and carries out the few statements of "Operating by
//! SQL" (`design.md` 6.3). It takes no lock, migrates nothing and decides nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Transaction, TransactionBehavior,
    named_params,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use thiserror::Error;

use crate::decide::decision::{NOT_AN_ASSOCIATION, WHOLE_TAKES, not_in_file, third_value};
use crate::model::conflict::WHOLE_RECORD;
use crate::model::entry::code_in;
use crate::model::value::PropertyType;
use crate::store::StoreError;
pub(crate) use crate::store::commands::explained::{ExplainedRecord, WantedRecord};
pub(crate) use crate::store::commands::watched::WatchedRows;
use crate::store::conflicts::ASSOCIATION;
use crate::store::database::access;
use crate::store::database::checkpoints;
use crate::store::database::lease::{FileIdentity, file_identity};
use crate::store::database::migrate::known_version;
use crate::store::database::read_only::open_to_look;
use crate::store::database::scratch;
use crate::store::shape::matching;
use crate::store::undo::{self, NewValue};

mod backup;
mod changes;
mod explained;
mod next_step;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod watched;

/// How long a command waits for the daemon's transaction or another program's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The extended code of `RAISE(ABORT, …)` in a trigger.
const CONSTRAINT_TRIGGER: i32 = rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER;

/// Why a command got no answer from the database.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// There is no file.
    #[error("there is no database at `{path}`")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("`{path}` is no database of hubsyncd")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was made, and its views were not.
    #[error("the database `{path}` is not set up yet")]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has been here.
    #[error("the database `{path}` has schema version {found}, and this program knows {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// A program from before the first release made it.
    #[error("the database `{path}` was made by a hubsyncd from before the first release")]
    Unreleased {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be opened.
    #[error("can't open the database `{path}`")]
    Closed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A file of the database is closed to this user.
    #[error("can't open `{path}`: it belongs to user `{user}`, group `{group}`")]
    NotOurs {
        /// The file, or its folder.
        path: PathBuf,
        /// Its user.
        user: String,
        /// Its group.
        group: String,
    },
    /// What the daemon's own statements meet as well: a damaged page, a full disk, a file system that can only be read (SQLite needs
    /// to write beside the file even to read it).
    #[error(transparent)]
    Store(StoreError),
    /// The user of this command may not write.
    #[error("this user may not write to the database")]
    ReadOnly,
    /// Another program holds the file for too long.
    #[error("another program has kept the database locked for {} seconds", BUSY_TIMEOUT.as_secs())]
    Busy,
    /// No row has that id.
    #[error("there is no {what} {id}")]
    None {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: i64,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NoneOf(String),
    /// Changes that were asked for are not there any more, or never were.
    #[error("{}", forgotten(*id, *first, *last))]
    Forgotten {
        /// Those after this number.
        id: i64,
        /// The first that is still there.
        first: Option<i64>,
        /// The last that was ever given.
        last: i64,
    },
    /// Another file stands in the place of the one that is open, or none.
    #[error("the database `{path}` was removed or replaced while it was open")]
    Replaced {
        /// Where it was.
        path: PathBuf,
    },
    /// Something is where a copy was to be.
    #[error("`{path}` is there already")]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// A copy can't be written.
    #[error("can't write the copy `{path}`")]
    Copy {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A copy is damaged.
    #[error("the copy is damaged, and so is the database: {0}")]
    BadCopy(String),
    /// The database's own rules say no, with a sentence.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error("the database could not answer: {0}")]
    Sqlite(rusqlite::Error),
}

/// Why changes after a number can't be told.
fn forgotten(id: i64, first: Option<i64>, last: i64) -> String {
    match first {
        _ if id > last => format!(
            "there is no change {id}: the last one is {last}, so the database was made anew since"
        ),
        Some(first) => {
            format!("changes after {id} are forgotten: the first that is still there is {first}")
        }
        None => format!("changes after {id} are forgotten: none up to {last} is still there"),
    }
}

impl CommandError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Missing { .. } => Some(
                "start `hubsyncd run` or `hubsyncd once` to make it, or name another mapping file with `--config`",
            ),
            Self::Foreign { .. } => Some("look at `[database] path` in the mapping file"),
            Self::Unfinished { .. } => {
                Some("start `hubsyncd run`: it makes them before it asks HubSpot for anything")
            }
            Self::Newer { .. } => Some("use the hubsyncd that the daemon runs"),
            Self::Unreleased { .. } => Some(
                "look at it with the program that made it, or name another file in `[database] path`",
            ),
            Self::Closed { .. } | Self::NotOurs { .. } | Self::ReadOnly => {
                Some("run this as the daemon's user or as a member of its group")
            }
            Self::Busy => Some("end the other program's transaction and try again"),
            Self::Forgotten { .. } => Some(
                "read the mirror anew, and go on from `SELECT seq FROM sqlite_sequence WHERE name = 'sync_history'` of before that",
            ),
            Self::Replaced { .. } => Some(
                "start this again: what it gave last may not be in the file that stands there now",
            ),
            Self::Taken { .. } => Some("name a file that is not there: nothing is written over"),
            Self::Copy { .. } => {
                Some("name a folder that this user may write to, with room for the copy")
            }
            Self::BadCopy(_) => {
                Some("put an older backup back; `PRAGMA integrity_check` shows all of the damage")
            }
            Self::None { .. } | Self::NoneOf(_) | Self::Refused(_) | Self::Sqlite(_) => None,
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Missing { .. } | Self::Foreign { .. } => "no-database",
            Self::Unfinished { .. } => "incomplete-database",
            Self::Newer { .. } => "newer-database",
            Self::Unreleased { .. } => "unreleased-database",
            Self::Closed { .. } => "file-unusable",
            Self::NotOurs { .. } => "not-ours",
            Self::ReadOnly => "read-only-database",
            Self::Busy => "busy-database",
            Self::Forgotten { .. } => "changes-forgotten",
            Self::Replaced { .. } => "database-replaced",
            Self::Taken { .. } => "file-exists",
            Self::Copy { .. } => "file-unusable",
            Self::BadCopy(_) => "damaged-database",
            Self::None { .. } | Self::NoneOf(_) => "no-such-row",
            Self::Refused(_) => "refused",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Whether the program must be changed first, not the command repeated (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Newer { .. } | Self::Unreleased { .. } | Self::Foreign { .. }
        )
    }
}

impl CommandError {
    /// Whether it is about what was written: a trigger or a constraint refuses that, and may take the next.
    pub(crate) fn is_of_one_row(&self) -> bool {
        let of_sqlite = |error: &rusqlite::Error| {
            error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
        };
        matches!(self, Self::Refused(_)) || matches!(self, Self::Sqlite(error) if of_sqlite(error))
    }

    /// Its sentence, and the code that stands in brackets at its end.
    pub(crate) fn told(&self) -> (String, String) {
        let sentence = self.to_string();
        let code = code_in(&sentence).unwrap_or("refused").to_owned();
        (sentence, code)
    }
}

impl From<rusqlite::Error> for CommandError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(code, message) = &error else {
            return Self::Sqlite(error);
        };
        match (code.code, message) {
            (ErrorCode::ConstraintViolation, Some(sentence))
                if code.extended_code == CONSTRAINT_TRIGGER =>
            {
                Self::Refused(sentence.clone())
            }
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Busy,
            (ErrorCode::ReadOnly, _) => Self::ReadOnly,
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::DiskFull, _) => {
                Self::Store(StoreError::from(error))
            }
            (_, _) => Self::Sqlite(error),
        }
    }
}

/// A row of a table or view, with its columns in order. In JSON an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// A column's value; NULL where there is no such column.
    pub fn get(&self, column: &str) -> &Value {
        self.0
            .iter()
            .find(|(name, _)| name == column)
            .map_or(&Value::Null, |(_, value)| value)
    }

    /// It without a column.
    #[must_use]
    pub fn without(mut self, column: &str) -> Self {
        self.0.retain(|(name, _)| name != column);
        self
    }

    /// A column's text; `None` for NULL and for numbers.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.get(column).as_str()
    }

    /// A column's whole number; `None` for NULL and for text.
    pub fn number(&self, column: &str) -> Option<i64> {
        self.get(column).as_i64()
    }

    /// Its columns, in order.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn from_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let names = row.as_ref().column_names();
        let columns = names.enumerate().map(|(index, name)| {
            let value = match row.get_ref(index)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
                ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()).into(),
            };
            Ok((name.to_owned(), value))
        });
        columns.collect::<rusqlite::Result<_>>().map(Self)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What `status` shows, as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusRows {
    /// The row of `sync_health`.
    pub health: Row,
    /// The rows of `sync_status`.
    pub objects: Vec<Row>,
    /// The rows of `sync_holds` that are still to be decided or carried out.
    pub holds: Vec<Row>,
    /// Backfills that are not done: `object`, `backfill_rows`, `backfill_total`.
    pub backfills: Vec<Row>,
    /// Rows of `sync_fields` that are not `active`.
    pub problems: Vec<Row>,
    /// The sides that are paused: `side`, `at`.
    pub paused: Vec<Row>,
    /// Of a daemon that is stopped.
    pub stopped: WhyStopped,
}

/// What the file tells of why no daemon writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhyStopped {
    /// It ended as it should, or never began.
    Ended,
    /// It never said that it ended.
    Unsaid,
    /// The disk can only be read: one that runs waits for that, and can't say so here.
    ReadOnlyDisk,
}

/// Which conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that wait for a decision.
    Open,
    /// Those too that were decided.
    All,
}

/// Which conflicts are to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedConflicts {
    /// These; each must wait.
    Ids(Vec<i64>),
    /// All that wait of an object, or of one of its properties; at least one must.
    Of {
        /// The object's name in the mapping.
        object: String,
        /// The property.
        property: Option<String>,
    },
    /// All that wait.
    Waiting,
}

/// How many rows of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Most {
    /// That many.
    Rows(u32),
    /// As many as there are.
    All,
}

impl Most {
    /// SQLite takes a negative limit for none.
    fn limit(self) -> i64 {
        match self {
            Self::Rows(rows) => rows.into(),
            Self::All => -1,
        }
    }
}

/// What a command opens the database for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenedFor {
    Look,
    Decide,
}

/// Why a file could not be opened: its disk can only be read, or whose it is, where one of them is the reason.
fn closed(path: &Path, source: rusqlite::Error) -> CommandError {
    closed_on(access::is_on_a_read_only_disk(path), path, source)
}

fn closed_on(is_read_only: bool, path: &Path, source: rusqlite::Error) -> CommandError {
    if is_read_only {
        let path = path.to_owned();
        return CommandError::Store(StoreError::ReadOnlyDisk { path });
    }
    match access::closed_to_us(path) {
        Some(access::ClosedFile { path, user, group }) => {
            CommandError::NotOurs { path, user, group }
        }
        None => CommandError::Closed {
            path: path.to_owned(),
            source,
        },
    }
}

/// The database, open for a command.
#[derive(Debug)]
pub(crate) struct CommandDb {
    connection: Connection,
    path: PathBuf,
    /// Which file was opened.
    file: Option<FileIdentity>,
}

impl CommandDb {
    /// Opens it to read.
    pub(crate) fn open(path: &Path) -> Result<Self, CommandError> {
        Self::open_with(path, OpenedFor::Look)
    }

    /// Opens it to write what people decide.
    pub(crate) fn open_to_decide(path: &Path) -> Result<Self, CommandError> {
        Self::open_with(path, OpenedFor::Decide)
    }

    fn open_with(path: &Path, opened_for: OpenedFor) -> Result<Self, CommandError> {
        if !path.exists() {
            return Err(CommandError::Missing {
                path: path.to_owned(),
            });
        }
        // Also to read, it is opened to be written where this user may: a connection that can only read leaves files of
        // this user's beside the database, and the daemon may not open those.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = match opened_for {
            OpenedFor::Look => open_to_look(path, flags).map_err(|error| closed(path, error))?,
            OpenedFor::Decide if access::is_on_a_read_only_disk(path) => {
                let path = path.to_owned();
                return Err(CommandError::Store(StoreError::ReadOnlyDisk { path }));
            }
            OpenedFor::Decide => {
                let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                Connection::open_with_flags(path, flags).map_err(|error| closed(path, error))?
            }
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", opened_for == OpenedFor::Look)?;
        // Whoever may write to the file must not run SQL with an operator's rights.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // A command asks what the daemon asks; nothing that stands in the file can use it.
        matching::register(&connection)?;
        let db = Self {
            file: file_identity(path).ok(),
            connection,
            path: path.to_owned(),
        };
        db.check()?;
        checkpoints::as_the_daemon_does(&db.connection)?;
        Ok(db)
    }

    /// Whether the file at the path is still the one that was opened.
    pub(crate) fn is_in_place(&self) -> bool {
        let file = file_identity(&self.path).ok();
        file.is_some() && file == self.file
    }

    /// The same, for whoever goes on reading it.
    ///
    /// # Errors
    /// It is not: what is written from here on is in another file.
    pub(crate) fn stays_in_place(&self) -> Result<(), CommandError> {
        match self.is_in_place() {
            true => Ok(()),
            false => Err(CommandError::Replaced {
                path: self.path.clone(),
            }),
        }
    }

    /// Looks whether the file is ours, not newer than this program, and set up.
    fn check(&self) -> Result<(), CommandError> {
        let path = || self.path.clone();
        let known = |name: &str| -> rusqlite::Result<bool> {
            let mut statement = self
                .connection
                .prepare("SELECT count(*) FROM sqlite_schema WHERE name = :name")?;
            statement.query_row(named_params! { ":name": name }, |row| row.get(0))
        };
        let ours = known("_sync_meta").map_err(|error| self.unreadable(error))?;
        match known_version(&self.connection) {
            Err(StoreError::NewerDatabase { found, known }) => {
                return Err(CommandError::Newer {
                    path: path(),
                    found,
                    known,
                });
            }
            Err(StoreError::Unreleased) => return Err(CommandError::Unreleased { path: path() }),
            // What else is wrong the looks below meet too.
            Err(_) | Ok(_) => {}
        }
        if !ours {
            return Err(CommandError::Foreign { path: path() });
        }
        if known("sync_status")? && known("sync_health")? {
            Ok(())
        } else {
            Err(CommandError::Unfinished { path: path() })
        }
    }

    /// What the first read of a file says about it.
    fn unreadable(&self, error: rusqlite::Error) -> CommandError {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => CommandError::Foreign {
                path: self.path.clone(),
            },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                closed(&self.path, error)
            }
            Some(_) | None => error.into(),
        }
    }

    /// One look at it, as of one moment.
    pub(crate) fn look(&mut self) -> Result<Transaction<'_>, CommandError> {
        Ok(self.connection.transaction()?)
    }

    /// A copy in which the same may be written as here and nobody sees it: no lock is taken, and nothing is left.
    ///
    /// # Errors
    /// It can't be read, or there is no room for the copy.
    pub(crate) fn rehearsal(&self) -> Result<Self, StoreError> {
        let copy = scratch::copy(&self.connection)?;
        // What a program writes fires triggers, and most programs leave foreign keys alone.
        copy.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        copy.pragma_update(None, "foreign_keys", false)?;
        matching::register(&copy)?;
        Ok(Self {
            connection: copy,
            path: self.path.clone(),
            file: self.file,
        })
    }

    /// One write to it, as any program's: triggers fire.
    pub(crate) fn begin(&mut self) -> Result<Transaction<'_>, CommandError> {
        Ok(self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Everything that `status` shows.
    pub(crate) fn status(&mut self) -> Result<StatusRows, CommandError> {
        // One transaction, so that all of it is of one moment.
        let tx = self.connection.transaction()?;
        status_rows(&tx)
    }

    /// `sync_health.state`.
    pub(crate) fn state(&self) -> Result<String, CommandError> {
        let mut statement = self.connection.prepare("SELECT state FROM sync_health")?;
        let state: Option<Option<String>> = statement.query_row([], |row| row.get(0)).optional()?;
        Ok(state.flatten().unwrap_or_default())
    }

    /// Hands out conflicts: those that wait first, by age; then the decided ones, the last one first.
    pub(crate) fn each_conflict<E: From<CommandError>>(
        &self,
        which: Which,
        most: Most,
        each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let params = named_params! { ":all": which == Which::All, ":limit": most.limit() };
        each_row(&self.connection, CONFLICTS, params, each)
    }

    /// How many conflicts wait, and how many were decided.
    pub(crate) fn count_conflicts(&self) -> Result<(i64, i64), CommandError> {
        let sql = "SELECT count(*) FILTER (WHERE resolved_at IS NULL), count(resolved_at) FROM sync_conflicts";
        Ok(self
            .connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// A conflict, with `base_known` behind the documented columns.
    pub(crate) fn conflict(&self, id: i64) -> Result<Row, CommandError> {
        let found = rows(&self.connection, CONFLICT, named_params! { ":id": id })?;
        found.into_iter().next().ok_or(CommandError::None {
            what: "conflict",
            id,
        })
    }

    /// When each side of a conflict was last changed, and by whom in HubSpot, as far as the file tells: `local_at`,
    /// `remote_at`, `source_type`, `source_id`, `person`.
    pub(crate) fn changes_of(&self, conflict: i64) -> Result<Row, CommandError> {
        let found = rows(
            &self.connection,
            CHANGES_OF_CONFLICT,
            named_params! { ":id": conflict },
        )?;
        Ok(found.into_iter().next().unwrap_or(Row(Vec::new())))
    }

    /// Hands out entries of the outbox: dead ones first, then by age.
    pub(crate) fn each_entry<E: From<CommandError>>(
        &self,
        most: Most,
        each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        each_row(
            &self.connection,
            ENTRIES,
            named_params! { ":limit": most.limit() },
            each,
        )
    }

    /// How many entries the outbox has.
    pub(crate) fn count_entries(&self) -> Result<i64, CommandError> {
        Ok(self
            .connection
            .query_row("SELECT count(*) FROM sync_outbox", [], |row| row.get(0))?)
    }

    /// The rows of `sync_status`.
    pub(crate) fn objects(&self) -> Result<Vec<Row>, CommandError> {
        rows(&self.connection, OBJECTS, [])
    }

    /// The holds that are still to be decided or carried out.
    pub(crate) fn holds(&self) -> Result<Vec<Row>, CommandError> {
        rows(&self.connection, HOLDS, [])
    }

    /// The conflicts that wait among those that are wanted.
    pub(crate) fn waiting_conflicts(
        &self,
        wanted: &WantedConflicts,
    ) -> Result<Vec<Row>, CommandError> {
        waiting(&self.connection, wanted)
    }

    /// Decides conflicts that wait: `local`, `remote` or `value:…`. All or none. Gives the conflicts as they were.
    pub(crate) fn resolve(
        &mut self,
        wanted: &WantedConflicts,
        resolution: &str,
    ) -> Result<Vec<Row>, CommandError> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let conflicts = waiting(&tx, wanted)?;
        for conflict in &conflicts {
            check_mapped(&tx, conflict)?;
            if let Some(text) = resolution.strip_prefix("value:") {
                check_value(&tx, conflict, text)?;
            }
            tx.execute(
                "UPDATE sync_conflicts
                 SET resolution = :resolution
                 WHERE id = :id",
                named_params! { ":id": conflict.number("id"), ":resolution": resolution },
            )?;
        }
        tx.commit()?;
        Ok(conflicts)
    }

    /// Makes entries due again: those, or without one everything that is dead or waits for a later attempt. All or none.
    /// Gives how many.
    pub(crate) fn retry(&mut self, ids: &[i64]) -> Result<usize, CommandError> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut retried = 0;
        if ids.is_empty() {
            retried = tx.execute(
                "UPDATE sync_outbox
                 SET state = 'pending'
                 WHERE state = 'dead'
                    OR (state = 'pending' AND next_attempt_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
                [],
            )?;
        }
        for id in ids {
            let params = named_params! { ":id": id };
            let changed = tx.execute(
                "UPDATE sync_outbox SET state = 'pending' WHERE id = :id",
                params,
            )?;
            if changed == 0 {
                return Err(CommandError::None {
                    what: "outbox entry",
                    id: *id,
                });
            }
            retried += changed;
        }
        tx.commit()?;
        Ok(retried)
    }

    /// Gives up local changes. All or none. Gives the entries as they were.
    pub(crate) fn discard(&mut self, ids: &[i64]) -> Result<Vec<Row>, CommandError> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let discarded = discard_entries(&tx, ids)?;
        tx.commit()?;
        Ok(discarded)
    }

    /// Takes back what a hold holds. Gives the hold, and the entries as they were that it keeps from HubSpot.
    pub(crate) fn discard_hold(&mut self, id: i64) -> Result<(Row, Vec<Row>), CommandError> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut holds = rows(&tx, HOLDS, [])?.into_iter();
        let hold =
            holds.find(|hold| hold.number("id") == Some(id) && hold.text("approved_at").is_none());
        let hold = hold.ok_or(CommandError::None {
            what: "hold that waits with id",
            id,
        })?;
        let entries = rows(
            &tx,
            HELD_ENTRIES,
            named_params! { ":object": hold.text("object"), ":operation": hold.text("operation") },
        )?;
        // A trigger notes the wish: the row goes with what it holds.
        tx.execute(
            "DELETE FROM sync_holds WHERE id = :id",
            named_params! { ":id": id },
        )?;
        tx.commit()?;
        Ok((hold, entries))
    }

    /// Lets go what the guard holds: one hold, or without an id all of them. Gives the holds as they were.
    pub(crate) fn approve(&mut self, id: Option<i64>) -> Result<Vec<Row>, CommandError> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut held = rows(&tx, HOLDS, [])?;
        held.retain(|hold| {
            hold.text("approved_at").is_none() && id.is_none_or(|id| hold.number("id") == Some(id))
        });
        if let (true, Some(id)) = (held.is_empty(), id) {
            return Err(CommandError::None {
                what: "hold that waits with id",
                id,
            });
        }
        for hold in &held {
            tx.execute(
                "UPDATE sync_holds
                 SET approved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                 WHERE id = :id",
                named_params! { ":id": hold.number("id") },
            )?;
        }
        tx.commit()?;
        Ok(held)
    }
}

fn status_rows(tx: &Connection) -> Result<StatusRows, CommandError> {
    let one = |rows: Vec<Row>| rows.into_iter().next().unwrap_or(Row(Vec::new()));
    Ok(StatusRows {
        health: one(rows(tx, HEALTH, [])?),
        objects: rows(tx, OBJECTS, [])?,
        holds: rows(tx, HOLDS, [])?,
        backfills: rows(tx, BACKFILLS, [])?,
        problems: rows(tx, PROBLEMS, [])?,
        paused: rows(tx, PAUSED, [])?,
        stopped: why_stopped(tx)?,
    })
}

fn why_stopped(tx: &Connection) -> Result<WhyStopped, CommandError> {
    let is_read_only = |path: &str| access::is_on_a_read_only_disk(Path::new(path));
    if tx.path().is_some_and(is_read_only) {
        return Ok(WhyStopped::ReadOnlyDisk);
    }
    Ok(match tx.query_row(ENDED_UNASKED, [], |row| row.get(0))? {
        true => WhyStopped::Unsaid,
        false => WhyStopped::Ended,
    })
}

/// Refuses a decision that no daemon could carry out, as far as the database tells: what the conflict is about left the mapping.
fn check_mapped(tx: &Transaction<'_>, conflict: &Row) -> Result<(), CommandError> {
    let sql = match conflict.text("property") == Some(ASSOCIATION) {
        true => "SELECT 1 FROM _sync_link_passes WHERE pair = :name",
        false => "SELECT 1 FROM sync_status WHERE object = :name",
    };
    let name = conflict.text("object").unwrap_or_default();
    match tx.prepare(sql)?.exists(named_params! { ":name": name })? {
        true => Ok(()),
        false => {
            let id = conflict.number("id").unwrap_or(0);
            let why = not_in_file(name);
            Err(CommandError::Refused(format!("conflict {id}: {why}")))
        }
    }
}

/// Refuses a value that the daemon would give back: the person is told at once.
fn check_value(tx: &Transaction<'_>, conflict: &Row, text: &str) -> Result<(), CommandError> {
    let refused = |explanation: &str| {
        let id = conflict.number("id").unwrap_or(0);
        CommandError::Refused(format!("conflict {id}: {explanation}"))
    };
    let property = conflict.text("property");
    if property == Some(WHOLE_RECORD) {
        return Err(refused(WHOLE_TAKES));
    }
    let field: Option<(String, String, String, bool)> = tx
        .query_row(
            "SELECT f.type, f.column_name, o.table_name, f.state = 'unmapped'
             FROM sync_fields AS f
             JOIN _sync_objects AS o USING (object)
             WHERE object = :object AND f.property = :property",
            named_params! { ":object": conflict.text("object"), ":property": property },
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let Some((kind, column, table, is_unmapped)) = field else {
        return match property == Some(ASSOCIATION) {
            true => Err(refused(NOT_AN_ASSOCIATION)),
            // Nothing is known of it here: the daemon says what becomes of the decision.
            false => Ok(()),
        };
    };
    let Some(kind) = PropertyType::parse(&kind) else {
        return Ok(());
    };
    let value = third_value(kind, text).map_err(|explanation| refused(&explanation))?;
    if is_unmapped {
        return Ok(());
    }
    let value = NewValue::of(&column, kind, value.as_deref());
    let local_id = conflict.number("local_id").unwrap_or(0);
    match try_row(tx, &table, local_id, &[value]) {
        Err(error) if error.is_of_one_row() => Err(refused(&error.to_string())),
        tried => tried,
    }
}

/// Writes columns of a row as a program does, and takes that back: what the mirror's triggers and constraints refuse of any value they
/// refuse of this one.
fn try_row(
    tx: &Transaction<'_>,
    table: &str,
    local_id: i64,
    values: &[NewValue],
) -> Result<(), CommandError> {
    tx.execute_batch("SAVEPOINT tried")?;
    let tried = undo::write_row(tx, table, local_id, values);
    if !tx.is_autocommit() {
        tx.execute_batch("ROLLBACK TO tried; RELEASE tried")?;
    }
    tried
}

fn discard_entries(tx: &Transaction<'_>, ids: &[i64]) -> Result<Vec<Row>, CommandError> {
    let mut discarded = Vec::with_capacity(ids.len());
    for id in ids {
        let found = rows(tx, ENTRY, named_params! { ":id": id })?;
        discarded.push(found.into_iter().next().ok_or(CommandError::None {
            what: "outbox entry",
            id: *id,
        })?);
        // A trigger notes the wish and keeps the row, so the number of deleted rows says nothing.
        tx.execute(
            "DELETE FROM sync_outbox WHERE id = :id",
            named_params! { ":id": id },
        )?;
    }
    Ok(discarded)
}

/// The conflicts that are wanted, each of which waits.
fn waiting(connection: &Connection, wanted: &WantedConflicts) -> Result<Vec<Row>, CommandError> {
    let (object, property) = match wanted {
        WantedConflicts::Ids(ids) => {
            return ids.iter().map(|id| waiting_one(connection, *id)).collect();
        }
        WantedConflicts::Of { object, property } => (Some(object), property.as_ref()),
        WantedConflicts::Waiting => (None, None),
    };
    let found = rows(
        connection,
        OPEN_CONFLICTS,
        named_params! { ":object": object, ":property": property },
    )?;
    match object {
        Some(object) if found.is_empty() => {
            let which = property.map_or_else(|| object.clone(), |name| format!("{object}.{name}"));
            Err(CommandError::NoneOf(format!(
                "no conflict of `{which}` waits"
            )))
        }
        Some(_) | None => Ok(found),
    }
}

fn waiting_one(connection: &Connection, id: i64) -> Result<Row, CommandError> {
    let found = rows(connection, CONFLICT, named_params! { ":id": id })?;
    let conflict = found.into_iter().next().ok_or(CommandError::None {
        what: "conflict",
        id,
    })?;
    if let Some(at) = conflict.text("resolved_at") {
        let sentence = format!(
            "conflict {id} was decided at {at}; write the value that you want to the mirror"
        );
        return Err(CommandError::Refused(sentence));
    }
    Ok(conflict)
}

fn rows(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Row>, CommandError> {
    let mut found = Vec::new();
    each_row(connection, sql, params, |row| {
        found.push(row);
        Ok::<(), CommandError>(())
    })?;
    Ok(found)
}

fn each_row<E: From<CommandError>>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut each: impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection.prepare(sql).map_err(CommandError::from)?;
    let mut found = statement.query(params).map_err(CommandError::from)?;
    while let Some(row) = found.next().map_err(CommandError::from)? {
        each(Row::from_sqlite(row).map_err(CommandError::from)?)?;
    }
    Ok(())
}

/// The documented columns (`design.md` 6.3).
const HEALTH: &str = "
    SELECT state, pid, version, started_at, heartbeat_at, portal_id, daily_limit, daily_used, daily_resets_at,
        requests_last_minute, throttled_last_minute, inbox_depth, outbox_depth, config_error, last_error,
        webhooks, webhooks_dropped, code
    FROM sync_health";

const OBJECTS: &str = "
    SELECT object, table_name, direction, rows, backfill, last_poll_at, last_change_at, lag_seconds, last_reconcile_at,
        pending, in_flight, dead, conflicts, last_error, in_sync, waiting, failing, excluded, problems,
        last_association_pass_at, associations_waiting, code, unseen, last_history_at
    FROM sync_status
    ORDER BY object";

const HOLDS: &str = "
    SELECT id, object, side, operation, records, allowed, held_at, approved_at, code, property
    FROM sync_holds
    WHERE settled_at IS NULL AND discarded_at IS NULL
    ORDER BY id";

const BACKFILLS: &str = "
    SELECT object, backfill_rows, backfill_total
    FROM _sync_cursors
    WHERE backfill <> 'done'
    ORDER BY object";

/// Whether the daemon's last word is not that it ended.
const ENDED_UNASKED: &str =
    "SELECT coalesce((SELECT phase <> 'stopped' FROM _sync_daemon WHERE id = 1), 0)";

/// Pull before push: that is how a pause of both is told.
const PAUSED: &str = "SELECT side, at FROM _sync_pauses ORDER BY side";

const PROBLEMS: &str = "
    SELECT object, property, column_name, state, problem, hint
    FROM sync_fields
    WHERE state <> 'active' OR problem IS NOT NULL
    ORDER BY object, property";

const CONFLICTS: &str = "
    SELECT id, object, local_id, hs_id, property, base_value, local_value, remote_value, policy, winner, detected_at,
        resolved_at, resolution, reason
    FROM sync_conflicts
    WHERE :all OR resolved_at IS NULL
    ORDER BY resolved_at IS NOT NULL, iif(resolved_at IS NULL, id, -id)
    LIMIT :limit";

const CONFLICT: &str = "
    SELECT id, object, local_id, hs_id, property, base_value, local_value, remote_value, policy, winner, detected_at,
        resolved_at, resolution, reason, local_changed_at, remote_changed_at, remote_source_type, remote_source_id,
        base_known
    FROM sync_conflicts
    WHERE id = :id";

const OPEN_CONFLICTS: &str = "
    SELECT id, object, local_id, hs_id, property, base_value, local_value, remote_value, policy, winner, detected_at,
        resolved_at, resolution, reason, base_known
    FROM sync_conflicts
    WHERE resolved_at IS NULL
        AND (:object IS NULL OR object = :object)
        AND (:property IS NULL OR property = :property)
    ORDER BY id";

/// A later local write of a field in conflict waits in the outbox. What the decision read of HubSpot's history stands with the conflict;
/// else that is there for properties with `remote_history`. It names people by the ids of users.
const CHANGES_OF_CONFLICT: &str = "
    SELECT coalesce((SELECT max(f.changed_at)
                     FROM sync_outbox_fields AS f
                     JOIN sync_outbox AS e ON e.id = f.outbox_id
                     WHERE e.object = c.object AND e.local_id = c.local_id
                       AND e.operation NOT IN ('associate', 'disassociate') AND f.property = c.property),
                    c.local_changed_at) AS local_at,
        coalesce(c.remote_changed_at, h.at) AS remote_at,
        iif(c.remote_changed_at IS NULL, h.source_type, c.remote_source_type) AS source_type,
        iif(c.remote_changed_at IS NULL, h.source_id, c.remote_source_id) AS source_id,
        (SELECT coalesce(nullif(trim(coalesce(o.first_name, '') || ' ' || coalesce(o.last_name, '')), ''), o.email)
         FROM owners AS o
         WHERE iif(c.remote_changed_at IS NULL, h.source_id, c.remote_source_id) = 'userId:' || o.user_id) AS person
    FROM sync_conflicts AS c
    LEFT JOIN property_history AS h
        ON h.object = c.object AND h.hs_id = c.hs_id AND h.property = c.property
        AND h.at = (SELECT max(l.at)
                    FROM property_history AS l
                    WHERE l.object = c.object AND l.hs_id = c.hs_id AND l.property = c.property
                      AND l.at <= coalesce(c.resolved_at, l.at))
    WHERE c.id = :id";

const ENTRIES: &str = "
    SELECT id, object, local_id, hs_id, operation, state, attempts, enqueued_at, next_attempt_at, last_error, version,
        waits_for, key, row, to_object, to_local_id, category, type_id, label, code, correlation_id
    FROM sync_outbox
    ORDER BY state <> 'dead', id
    LIMIT :limit";

const ENTRY: &str = "
    SELECT id, object, local_id, hs_id, operation, state, attempts, last_error
    FROM sync_outbox
    WHERE id = :id";

/// A hold of disassociations names the pair: its view tells of which objects it is.
const HELD_ENTRIES: &str = "
    SELECT id, object, local_id, hs_id, operation, state, attempts, last_error
    FROM sync_outbox
    WHERE (object = :object
           OR EXISTS (SELECT 1 FROM sqlite_schema AS v
                      WHERE v.type = 'view' AND v.name = :object
                        AND instr(v.sql, 'from_object = ' || quote(sync_outbox.object)
                                         || ' AND to_object = ' || quote(sync_outbox.to_object)) > 0))
      AND operation = :operation
      AND waits_for = 'guard'
      AND discarded_at IS NULL
    ORDER BY id";

#[cfg(test)]
mod tests;
