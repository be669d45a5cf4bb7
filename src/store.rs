//! `Store`: the database file as async code sees it, and what can go wrong with it.
//!
//! One thread owns the writing connection (`writer.rs`), reads go beside it (`readers.rs`). The files of this folder hold
//! functions on `&Transaction`, a file a table: they fetch and save, and decide nothing. Only the writer begins and commits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use thiserror::Error;

use crate::clock::Clock;
use crate::model::id::PortalId;
use crate::model::time::Timestamp;
use crate::store::file::access::Remedy;

pub mod absent;
pub mod around;
pub mod awaited;
pub mod conflicts;
pub mod counts;
pub mod cursors;
pub mod erase;
pub mod fields;
pub mod file;
pub mod gaps;
pub mod history;
pub mod holds;
pub mod inbox;
pub mod links;
pub mod merges;
pub mod meta;
pub mod mirror;
pub mod modes;
pub mod outbox;
pub mod people;
pub mod property_history;
pub mod quota;
pub mod reads;
pub mod reference;
pub mod retention;
pub mod rowjson;
pub mod runs;
pub mod seal;
pub mod shape;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
pub mod unreadable;

use file::lease::Lease;
use file::readers::Readers;
use file::writer::Writer;
use file::{access, lease, migrate, writer};

pub use file::writer::WriteTx;

/// Who runs the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A writer thread, and tokio's blocking threads for reads.
    Threads,
    /// The caller: a paused clock would take a task that waits for an OS thread for idle, and jump ahead.
    Inline,
}

/// What `Store::open` needs to know.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The database file; it is made where it is missing. Its folder must exist.
    pub path: PathBuf,
    /// Who runs the jobs.
    pub mode: Mode,
    /// How long to wait for another program's transaction before [`StoreError::Busy`].
    pub busy_timeout: Duration,
}

/// Which queue a write waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for it: webhooks, small pushes, commands. Goes first.
    Interactive,
    /// Pages of a backfill or reconciliation.
    Bulk,
}

/// The database, as a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
}

#[derive(Debug)]
struct StoreInner {
    // Readers first: they can't write the log back, and the last one that closes must.
    readers: Readers,
    writer: Writer,
    lease: Lease,
    restored: bool,
}

impl Store {
    /// Takes the file over: lock, pragmas, migrations, the next epoch.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another daemon holds it, [`StoreError::NewerDatabase`] where a newer program made it,
    /// and whatever opening a file can meet.
    pub fn open(options: &OpenOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let mut lock = lease::lock(&options.path)?;
        lease::make_file(&options.path)?;
        let taken = take_over(options, clock.now());
        let (connection, lease, recognised) =
            taken.map_err(|error| access::explain(&options.path, error))?;
        let epoch = lease.epoch();
        let restored = lock.is_restored(epoch) || recognised;
        lock.sign(epoch).map_err(|cause| StoreError::Open {
            path: options.path.clone(),
            cause: Arc::new(cause),
        })?;
        let readers = Readers::new(options);
        let writer = Writer::start(options, connection, clock, lease.clone(), lock)?;
        Ok(Self {
            inner: Arc::new(StoreInner {
                readers,
                writer,
                lease,
                restored,
            }),
        })
    }

    /// Runs a job in a transaction of the writing connection and answers after the commit. A job that fails leaves
    /// nothing behind. A job handed over is carried out even if the caller stops waiting. What it decides by time, it
    /// decides by [`WriteTx::now`].
    ///
    /// # Errors
    /// The job's own, and whatever keeps the commit from being made or trusted.
    pub async fn write<T, J>(&self, lane: Lane, job: J) -> Result<T, StoreError>
    where
        T: Send + 'static,
        J: FnOnce(&WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.inner.writer.write(lane, job).await
    }

    /// Runs a job on a connection that can't write. It sees one consistent state.
    ///
    /// # Errors
    /// The job's own, and whatever keeps the file from being read.
    pub async fn read<T, J>(&self, job: J) -> Result<T, StoreError>
    where
        T: Send + 'static,
        J: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.inner.readers.read(job).await
    }

    /// Whether the file at the path is still the one that is open; to be asked every second.
    ///
    /// # Errors
    /// [`StoreError::FileReplaced`] or [`StoreError::LogCut`], and then every later write fails too.
    pub(crate) fn check_file(&self) -> Result<(), StoreError> {
        self.inner.lease.check_file()
    }

    /// Writes the log back into the file and cuts it to nothing, so that what was erased is nowhere. `false`: a reader
    /// holds it; to be tried again.
    ///
    /// # Errors
    /// The file can't be opened or written.
    pub(crate) async fn empty_log(&self) -> Result<bool, StoreError> {
        self.check_file()?;
        self.inner.readers.empty_log().await
    }

    /// Waits for no other program's lock any more once the steady clock shows this time: from then on a write that meets
    /// one fails at once, and so does the last checkpoint.
    pub(crate) fn wait_until(&self, end: Duration) {
        self.inner.writer.wait_until(end);
    }

    /// Whether the file is older than what its last daemon left (a backup was put back) or came without its lock file:
    /// what it calls pending may be done already.
    pub(crate) fn was_restored(&self) -> bool {
        self.inner.restored
    }

    /// The epoch under which this handle writes.
    #[cfg(test)]
    pub(crate) fn epoch(&self) -> i64 {
        self.inner.lease.epoch()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        self.inner.lease.path()
    }

    /// Carries out what was handed over and closes the file, for all clones. Blocks until it is done; a job must not
    /// call it.
    pub fn close(self) {
        self.inner.readers.close();
        self.inner.writer.close();
    }
}

/// Opens the file that the lock is held for. Also tells whether its schema was recognised without its version, as in a file
/// that was made from a dump.
fn take_over(
    options: &OpenOptions,
    now: Timestamp,
) -> Result<(Connection, Lease, bool), StoreError> {
    let mut connection = writer::connect(options)?;
    let found = lease::file_identity(&options.path)?;
    let recognised = migrate::migrate(&mut connection, now)?;
    let epoch = lease::take(&mut connection, now)?;
    let lease = Lease::new(options.path.clone(), found, epoch)?;
    Ok((connection, lease, recognised))
}

/// Where the database stands unless the mapping file says otherwise.
const DEFAULT_FOLDER: &str = "/var/lib/hubsyncd";

/// Whether a path is the log of a database or the log's index.
fn is_beside(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    name.ends_with(b"-wal") || name.ends_with(b"-shm")
}

/// What went wrong with the database. Each case is something that a caller treats differently. What SQLite said is part of the words,
/// since they go to `last_error` as they are, and therefore no `source` besides.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The file, its lock or its folder can't be opened.
    #[error("can't open `{}`: {cause}", path.display())]
    Open {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// Another daemon holds the file.
    #[error("`{}` is held by another daemon{}", path.display(), pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Locked {
        /// The database.
        path: PathBuf,
        /// The other's pid, where its lock file says so.
        pid: Option<u32>,
    },
    /// A newer program made the file.
    #[error("the database has schema version {found}, and this program knows up to {known}")]
    NewerDatabase {
        /// The file's version.
        found: i64,
        /// The newest version that this program has.
        known: i64,
    },
    /// The token belongs to another portal than the one in the file.
    #[error("the database belongs to portal {remembered}, and the token to portal {found}")]
    OtherPortal {
        /// The portal that the file was filled from.
        remembered: PortalId,
        /// The portal of the token.
        found: PortalId,
    },
    /// A path names another file than the open one, or none.
    #[error("`{}` was removed or replaced while it was open", path.display())]
    FileReplaced {
        /// The database, its log or the log's index.
        path: PathBuf,
    },
    /// The log holds no more what its index says.
    #[error("`{}` was cut or written over while it was open", path.display())]
    LogCut {
        /// The log.
        path: PathBuf,
    },
    /// There is no folder for the database.
    #[error("there is no folder `{}` for the database{}", folder.display(), if folder.as_path() == Path::new(DEFAULT_FOLDER) { " (the default of `[database].path`)" } else { "" })]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the database, or its folder, is closed to this user.
    #[error("can't open `{}`: it belongs to user `{user}`, group `{group}`", path.display())]
    NotOurs {
        /// The file or folder.
        path: PathBuf,
        /// Its user, by name where the system has one.
        user: String,
        /// Its group.
        group: String,
        /// What helps.
        remedy: Remedy,
    },
    /// What should be the database's folder is a file.
    #[error("`{}` is a file, so the database can't lie in it", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// The disk can only be read.
    #[error("can't write `{}`: its file system is mounted to be read only", path.display())]
    ReadOnlyDisk {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// The file can't have a log that several programs share.
    #[error("the database can't be put into WAL mode: it stays in `{mode}`")]
    NoLog {
        /// The journal mode that SQLite left it in.
        mode: String,
    },
    /// The file was somebody else's before, and one of their tables has the name of one of ours.
    #[error("the database has a table or view `{table}` that is not hubsyncd's")]
    Taken {
        /// Its name.
        table: String,
    },
    /// The file has the tables of a program that was never released: nothing knows how to read them.
    #[error("the database was made by a hubsyncd from before the first release")]
    Unreleased,
    /// Some of hubsyncd's tables are in the file, and others are not.
    #[error("the database holds only some of hubsyncd's tables")]
    Incomplete,
    /// Another daemon has taken the file over.
    #[error("another daemon has taken the database over: its epoch is {found}, ours {ours}")]
    LeaseLost {
        /// The epoch in the file.
        found: i64,
        /// The epoch of this handle.
        ours: i64,
    },
    /// The table that says who may write was dropped.
    #[error("`_sync_lease` was dropped, so that nobody can tell whose the database is")]
    LeaseGone,
    /// No room is left on the disk.
    #[error("the disk is full: {0}")]
    Full(Arc<rusqlite::Error>),
    /// The file or its file system can't be written.
    #[error("the database can't be written: {0}")]
    ReadOnly(Arc<rusqlite::Error>),
    /// The file is damaged.
    #[error("the database is damaged: {0}")]
    Corrupt(Arc<rusqlite::Error>),
    /// The file is something else.
    #[error("the file is no SQLite database: {0}")]
    NoDatabase(Arc<rusqlite::Error>),
    /// Another program's transaction lasted longer than the busy timeout.
    #[error("another program kept the database busy: {0}")]
    Busy(Arc<rusqlite::Error>),
    /// The store was closed.
    #[error("the database was closed")]
    Closed,
    /// A mapped property's type may not change while values of it wait.
    #[error(
        "`{object}.{property}` can't change from {from} to {to} while {waiting} of its values wait to be pushed or decided"
    )]
    TypeChange {
        /// The object.
        object: String,
        /// The property.
        property: String,
        /// The type in the file.
        from: String,
        /// The type in the mapping.
        to: String,
        /// Pending fields and open conflicts.
        waiting: i64,
    },
    /// Rows of another table refer to the row, and their constraint looks only at the commit.
    #[error("rows of `{child}` refer to it")]
    Referenced {
        /// The table that refers to the row's.
        child: String,
    },
    /// A table or column can't be made as the mapping wants it.
    #[error("{0}")]
    Mapping(String),
    /// Text in the file that this program can't read.
    #[error("unknown {0} in the database")]
    UnknownValue(String),
    /// Anything else that SQLite says.
    #[error("SQLite: {0}")]
    Sqlite(Arc<rusqlite::Error>),
}

impl StoreError {
    /// Whether going on is useless: the process should end and be started again, or be looked at. A full disk is not
    /// fatal: room may come back.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::NoFolder { .. }
            | Self::NotAFolder { .. }
            | Self::NotOurs { .. }
            | Self::ReadOnlyDisk { .. }
            | Self::NoLog { .. }
            | Self::Taken { .. }
            | Self::Incomplete
            | Self::Unreleased
            | Self::Locked { .. }
            | Self::NewerDatabase { .. }
            | Self::OtherPortal { .. }
            | Self::FileReplaced { .. }
            | Self::LogCut { .. }
            | Self::LeaseLost { .. }
            | Self::LeaseGone
            | Self::ReadOnly(_)
            | Self::Corrupt(_)
            | Self::NoDatabase(_)
            | Self::Closed => true,
            Self::Full(_)
            | Self::Busy(_)
            | Self::TypeChange { .. }
            | Self::Referenced { .. }
            | Self::Mapping(_)
            | Self::UnknownValue(_)
            | Self::Sqlite(_) => false,
        }
    }

    /// Whether a constraint of the schema, ours or the user's, refused a row.
    pub(crate) fn is_constraint(&self) -> bool {
        matches!(self, Self::Referenced { .. }) || self.has_code(ErrorCode::ConstraintViolation)
    }

    /// Whether it is one row's problem, and must hold up no other: a constraint refused it, or it is larger than SQLite
    /// reads or writes.
    pub(crate) fn is_of_one_row(&self) -> bool {
        self.is_constraint() || self.has_code(ErrorCode::TooBig)
    }

    /// Whether rows of another table refer to what was to go.
    pub(crate) fn is_of_reference(&self) -> bool {
        const FOREIGN_KEY: Option<i32> = Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY);
        matches!(self, Self::Referenced { .. })
            || matches!(self, Self::Sqlite(error) if error.sqlite_extended_error_code() == FOREIGN_KEY)
    }

    fn has_code(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(code))
    }

    /// Whether the configuration, not the work, is at fault: exit status 78.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::NewerDatabase { .. }
                | Self::NoDatabase(_)
                | Self::Incomplete
                | Self::Unreleased
                | Self::Taken { .. }
                | Self::OtherPortal { .. }
                | Self::TypeChange { .. }
                | Self::Mapping(_)
        )
    }

    /// What to do about it, where somebody can.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { .. } => Some("let the daemon's user read and write it, and its folder"),
            Self::NoFolder { folder } if folder.as_path() == Path::new(DEFAULT_FOLDER) => Some(
                "write `[database] path = \"crm.db\"` to keep it beside the mapping file, or make the folder",
            ),
            Self::NoFolder { .. } => Some("make the folder, or write another `[database].path`"),
            Self::NotAFolder { .. } => {
                Some("write another `[database].path`, or move that file away and make a folder")
            }
            Self::NotOurs { remedy, .. } => Some(remedy.hint()),
            Self::ReadOnlyDisk { .. } => {
                Some("mount it to be written, or write another `[database].path`")
            }
            Self::NoLog { .. } => {
                Some("end the programs that have it open, and keep it on a disk of this machine")
            }
            Self::Taken { .. } => Some("rename it, or write another `[database].path`"),
            Self::Unreleased => Some(
                "let the program that made it send what waits in `sync_outbox`, then begin with another file: HubSpot's records come again",
            ),
            Self::Incomplete => Some("restore the backup again, into a file that is not there yet"),
            Self::Locked { .. } => {
                Some("stop the other daemon, or give this one another `[database].path`")
            }
            Self::NewerDatabase { .. } => {
                Some("install the newer hubsyncd, or restore a backup that this one made")
            }
            Self::OtherPortal { .. } => {
                Some("use the token of the database's portal, or another `[database].path`")
            }
            Self::FileReplaced { path } if is_beside(path) => Some(
                "never remove `-wal` or `-shm` while a program has the database open; start the daemon again",
            ),
            Self::FileReplaced { .. } => {
                Some("start the daemon again with the file that it should use")
            }
            Self::LogCut { .. } => Some(
                "never write to `-wal` or `-shm`: what stood there alone is lost, and the database is as it was before; start the daemon again",
            ),
            Self::LeaseLost { .. } => Some("run one daemon for a database"),
            Self::LeaseGone => Some("start the daemon again: it makes the table anew"),
            Self::Full(_) => Some("make room on the database's disk"),
            Self::ReadOnly(_) => Some("let the daemon's user write to the database and its folder"),
            Self::Corrupt(_) => Some("restore a backup: the gap is polled again"),
            Self::NoDatabase(_) => {
                Some("look at `[database].path`; what stands there was left as it is")
            }
            Self::TypeChange { .. } => {
                Some("wait until they are pushed, or discard them, and start again")
            }
            Self::Busy(_) => Some("look for a program that keeps a transaction open"),
            Self::Referenced { .. } => Some("delete those rows, or let them refer to nothing"),
            Self::Closed | Self::Mapping(_) | Self::UnknownValue(_) | Self::Sqlite(_) => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        // Without the statement: a whole migration is no message.
        let error = if let rusqlite::Error::SqlInputError { error, msg, .. } = error {
            rusqlite::Error::SqliteFailure(error, Some(msg))
        } else {
            error
        };
        let code = error.sqlite_error_code();
        let source = Arc::new(error);
        match code {
            Some(ErrorCode::DiskFull) => Self::Full(source),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(source),
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt(source),
            Some(ErrorCode::NotADatabase) => Self::NoDatabase(source),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(source),
            Some(_) | None => Self::Sqlite(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rusqlite::OpenFlags;

    use super::testing::{Standing, at_once, folder, open, options};
    use super::*;

    fn remember(store: &Store, lane: Lane, name: &'static str) -> Result<(), StoreError> {
        at_once(store.write(lane, move |tx| meta::set(tx, name, "x")))
    }

    fn remembered(store: &Store) -> i64 {
        let count = |connection: &Connection| {
            Ok(connection.query_row(
                "SELECT count(*) FROM _sync_meta WHERE value = 'x'",
                [],
                |row| row.get(0),
            )?)
        };
        at_once(store.read(count)).expect("reads")
    }

    #[test]
    fn what_was_written_is_read_in_both_modes_and_after_a_crash() {
        for mode in [Mode::Threads, Mode::Inline] {
            let folder = folder();
            let store = open(&folder, mode).expect("opens");
            assert_eq!(store.epoch(), 1);
            remember(&store, Lane::Interactive, "a").expect("writes");
            remember(&store, Lane::Bulk, "b").expect("writes");
            assert_eq!(remembered(&store), 2);
            if mode == Mode::Threads {
                store.close();
            } else {
                drop(store);
            }
            let again = open(&folder, Mode::Inline).expect("opens again");
            assert_eq!((again.epoch(), remembered(&again)), (2, 2));
        }
    }

    #[test]
    fn a_second_daemon_is_told_the_pid_of_the_first() {
        let folder = folder();
        let first = open(&folder, Mode::Inline).expect("opens");
        let error = open(&folder, Mode::Inline).expect_err("held");
        assert!(
            matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        assert!(error.to_string().ends_with(&format!(
            "is held by another daemon (pid {})",
            std::process::id()
        )));
        drop(first);
        open(&folder, Mode::Inline).expect("free again");
    }

    #[test]
    fn a_failed_job_leaves_nothing_and_takes_nothing_with_it() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let error = at_once(store.write(Lane::Bulk, |tx| {
            meta::set(tx, "a", "x")?;
            Err::<(), _>(StoreError::UnknownValue("`y` as a test".to_owned()))
        }));
        assert_eq!(
            error.expect_err("fails").to_string(),
            "unknown `y` as a test in the database"
        );
        assert_eq!(remembered(&store), 0);
    }

    #[test]
    fn waiting_jobs_share_a_commit_and_the_failed_one_is_undone_alone() {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        let (release, gate) = mpsc::sync_channel::<()>(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime");
        let first = spawn(&runtime, &store, Lane::Bulk, move |_tx| {
            gate.recv().expect("released");
            Ok(())
        });
        // The queue keeps the order of one task, so that these wait behind the first one.
        let later: Vec<_> = [("a", false), ("b", true), ("c", false)]
            .map(|(name, fails)| {
                spawn(&runtime, &store, Lane::Interactive, move |tx| {
                    meta::set(tx, name, "x")?;
                    if fails {
                        Err(StoreError::Closed)
                    } else {
                        Ok(())
                    }
                })
            })
            .into();
        release.send(()).expect("waited for");
        assert!(runtime.block_on(first).expect("runs").is_ok());
        let ok: Vec<bool> = later
            .into_iter()
            .map(|task| runtime.block_on(task).expect("runs").is_ok())
            .collect();
        assert_eq!(ok, [true, false, true]);
        assert_eq!(remembered(&store), 2);
        store.close();
    }

    fn spawn<J>(
        runtime: &tokio::runtime::Runtime,
        store: &Store,
        lane: Lane,
        job: J,
    ) -> tokio::task::JoinHandle<Result<(), StoreError>>
    where
        J: FnOnce(&WriteTx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let store = store.clone();
        runtime.spawn(async move { store.write(lane, job).await })
    }

    #[test]
    fn a_job_is_carried_out_even_if_nobody_waits_for_it() {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (started, has_started) = mpsc::sync_channel::<()>(1);
        let (release, gate) = mpsc::sync_channel::<()>(1);
        let handle = store.clone();
        runtime.block_on(async move {
            let task = tokio::spawn(async move {
                let job = move |tx: &WriteTx<'_>| {
                    started.send(()).expect("listened to");
                    gate.recv().expect("released");
                    meta::set(tx, "a", "x")
                };
                handle.write(Lane::Interactive, job).await
            });
            tokio::task::yield_now().await;
            has_started.recv().expect("the job runs");
            task.abort();
            assert!(task.await.expect_err("aborted").is_cancelled());
        });
        release.send(()).expect("the job waits");
        store.close();
        assert_eq!(remembered(&open(&folder, Mode::Inline).expect("opens")), 1);
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_written_again() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        store.check_file().expect("in place");
        let aside = folder.path().join("aside.db");
        std::fs::rename(store.path(), &aside).expect("moves");
        assert!(matches!(
            store.check_file(),
            Err(StoreError::FileReplaced { .. })
        ));
        std::fs::rename(&aside, store.path()).expect("moves back");
        let error = remember(&store, Lane::Bulk, "a").expect_err("stays stopped");
        assert!(matches!(error, StoreError::FileReplaced { .. }) && error.is_fatal());
        assert_eq!(remembered(&store), 0);
    }

    #[test]
    fn a_database_or_an_index_that_is_written_over_in_place_is_noticed_before_anything_more_is_acknowledged()
     {
        let elsewhere = folder();
        open(&elsewhere, Mode::Threads).expect("opens").close();
        let other = std::fs::read(elsewhere.path().join("crm.db")).expect("reads");
        let nothing = vec![0; 65_536];
        for (name, bytes) in [
            ("crm.db", other.as_slice()),
            ("crm.db", nothing.as_slice()),
            ("crm.db", &[][..]),
            ("crm.db-shm", &[][..]),
        ] {
            let folder = folder();
            let store = open(&folder, Mode::Threads).expect("opens");
            for _ in 0..3 {
                // As many pages as make the file larger, which its first page counts.
                let grow = |tx: &WriteTx<'_>| {
                    let sql = "INSERT INTO _sync_meta (name, value) VALUES (hex(randomblob(8)), hex(zeroblob(20000)))";
                    Ok(tx.execute_batch(sql)?)
                };
                at_once(store.write(Lane::Bulk, grow)).expect("writes");
                let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
                let program = Connection::open(store.path()).expect("opens");
                let busy: i64 = program
                    .query_row(checkpoint, [], |row| row.get(0))
                    .expect("writes back");
                assert_eq!(busy, 0);
                store.check_file().expect("it is the same file");
            }
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("is written over");
            let error = remember(&store, Lane::Bulk, "b").expect_err("nobody would see it");
            assert!(
                matches!(&error, StoreError::FileReplaced { path: found } if *found == path),
                "{name}: {error}"
            );
            store.close();
            let left = std::fs::read(&path).expect("reads");
            assert!(
                left == bytes || name == "crm.db-shm",
                "nothing is written into it"
            );
        }
    }

    #[test]
    fn a_log_that_was_removed_is_noticed_before_anything_more_is_acknowledged() {
        for name in ["crm.db-wal", "crm.db-shm"] {
            let folder = folder();
            let store = open(&folder, Mode::Threads).expect("opens");
            remember(&store, Lane::Bulk, "a").expect("writes");
            std::fs::remove_file(folder.path().join(name)).expect("removes");
            let error = remember(&store, Lane::Bulk, "b").expect_err("nobody would see it");
            assert!(error.is_fatal());
            assert!(
                error.to_string().ends_with(&format!(
                    "{name}` was removed or replaced while it was open"
                )),
                "{error}"
            );
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.contains("never remove"))
            );
        }
    }

    #[test]
    fn a_log_that_was_cut_in_place_is_never_written_back_and_the_next_start_knows_of_it() {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        remember(&store, Lane::Bulk, "a").expect("writes");
        store.close();
        let store = open(&folder, Mode::Threads).expect("opens again");
        remember(&store, Lane::Bulk, "b").expect("writes");
        let log = std::fs::File::options()
            .write(true)
            .open(folder.path().join("crm.db-wal"))
            .expect("opens");
        log.set_len(0).expect("cuts");
        let error = remember(&store, Lane::Bulk, "c").expect_err("it would stand behind a hole");
        assert!(matches!(error, StoreError::LogCut { .. }) && error.is_fatal());
        remember(&store, Lane::Bulk, "d").expect_err("stays stopped");
        store.close();
        let store = open(&folder, Mode::Threads).expect("the database is good");
        assert!(store.was_restored());
        assert_eq!(remembered(&store), 1, "`b` stood in the log alone");
        store.close();
    }

    #[test]
    fn what_stood_in_a_log_that_was_removed_is_saved_at_the_end_and_beside_another_log_nothing_is_written()
     {
        for is_replaced in [false, true] {
            let folder = folder();
            let store = open(&folder, Mode::Threads).expect("opens");
            remember(&store, Lane::Bulk, "a").expect("writes");
            let (database, log) = (
                folder.path().join("crm.db"),
                folder.path().join("crm.db-wal"),
            );
            std::fs::remove_file(&log).expect("removes");
            if is_replaced {
                std::fs::write(&log, "").expect("somebody else's");
            }
            let before = std::fs::read(&database).expect("reads");
            store.check_file().expect_err("noticed");
            store.close();
            let after = std::fs::read(&database).expect("reads");
            assert_eq!(after == before, is_replaced);
            if !is_replaced {
                assert_eq!(remembered(&open(&folder, Mode::Inline).expect("opens")), 1);
            }
        }
    }

    #[test]
    fn a_clean_end_leaves_everything_in_the_file_also_beside_a_program_that_has_it_open() {
        for (mode, is_shared, is_closed) in [
            (Mode::Threads, false, true),
            (Mode::Threads, true, true),
            // The last handle may only be dropped, as in a command that ends early.
            (Mode::Threads, false, false),
            (Mode::Inline, true, true),
        ] {
            let folder = folder();
            let store = open(&folder, mode).expect("opens");
            let program = is_shared.then(|| {
                let program = Connection::open(store.path()).expect("opens");
                let _version: i64 = program
                    .query_row("SELECT count(*) FROM _sync_meta", [], |row| row.get(0))
                    .expect("reads");
                program
            });
            remember(&store, Lane::Bulk, "a").expect("writes");
            assert_eq!(remembered(&store), 1);
            if is_closed {
                store.close();
            } else {
                drop(store);
            }
            let log = folder.path().join("crm.db-wal");
            let left = std::fs::metadata(&log).map_or(0, |found| found.len());
            assert_eq!(left, 0, "{mode:?} {is_shared}");
            assert_eq!(log.exists(), is_shared, "{mode:?}");
            let copy = folder.path().join("copy.db");
            std::fs::copy(folder.path().join("crm.db"), &copy).expect("copies");
            let copy = Connection::open(copy).expect("opens");
            let count: i64 = copy
                .query_row(
                    "SELECT count(*) FROM _sync_meta WHERE value = 'x'",
                    [],
                    |row| row.get(0),
                )
                .expect("reads");
            assert_eq!(count, 1);
            drop(program);
        }
    }

    #[test]
    fn a_log_that_a_reader_held_up_shrinks_again() {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        let reader = Connection::open(store.path()).expect("opens");
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM _sync_meta")
            .expect("begins");
        let _seen: i64 = reader
            .query_row("SELECT count(*) FROM _sync_meta", [], |row| row.get(0))
            .expect("reads");
        at_once(store.write(Lane::Bulk, |tx| meta::set(tx, "a", &"x".repeat(12_000_000))))
            .expect("writes");
        let log = || {
            std::fs::metadata(folder.path().join("crm.db-wal"))
                .expect("is there")
                .len()
        };
        remember(&store, Lane::Bulk, "b").expect("writes");
        assert!(log() > 12_000_000);
        reader.execute_batch("COMMIT").expect("ends");
        for name in ["c", "d", "e"] {
            remember(&store, Lane::Bulk, name).expect("writes");
        }
        assert!(log() <= 4 * 1024 * 1024, "{}", log());
    }

    #[test]
    fn a_daemon_whose_lease_was_dropped_ends_and_the_next_one_goes_on() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let other = Connection::open(store.path()).expect("opens");
        other
            .execute_batch("DROP TABLE _sync_lease")
            .expect("drops");
        let error = remember(&store, Lane::Bulk, "a").expect_err("whose is it");
        assert!(matches!(error, StoreError::LeaseGone) && error.is_fatal());
        drop(store);
        let again = open(&folder, Mode::Inline).expect("opens");
        assert!(again.was_restored());
        remember(&again, Lane::Bulk, "a").expect("writes");
    }

    #[test]
    fn a_file_that_was_replaced_during_a_transaction_is_not_acknowledged() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let path = store.path().to_path_buf();
        let written = at_once(store.write(Lane::Bulk, move |tx| {
            std::fs::remove_file(&path).expect("removes");
            meta::set(tx, "a", "x")
        }));
        assert!(matches!(written, Err(StoreError::FileReplaced { .. })));
    }

    #[test]
    fn a_daemon_that_slept_through_a_takeover_can_not_write() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let other = Connection::open(store.path()).expect("opens");
        other
            .execute("UPDATE _sync_lease SET epoch = 9", [])
            .expect("takes over");
        let error = remember(&store, Lane::Bulk, "a").expect_err("lost");
        assert!(matches!(error, StoreError::LeaseLost { found: 9, ours: 1 }));
        assert_eq!(remembered(&store), 0);
    }

    #[test]
    fn another_programs_long_transaction_is_waited_for_and_then_named() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let other = Connection::open(store.path()).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("begins");
        assert!(matches!(
            remember(&store, Lane::Bulk, "a"),
            Err(StoreError::Busy(_))
        ));
        other.execute_batch("COMMIT").expect("ends");
        remember(&store, Lane::Bulk, "a").expect("goes on");
    }

    /// Tells a later time while somebody may write: it asks for the lock itself.
    struct Watching(PathBuf);

    const LOCKED: Duration = Duration::from_secs(1);

    impl Clock for Watching {
        fn now(&self) -> Timestamp {
            let other = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_WRITE);
            let is_free = other.and_then(|other| {
                other.busy_timeout(Duration::ZERO)?;
                other.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
            });
            match is_free {
                Ok(()) => testing::now(),
                Err(_) => testing::now() + LOCKED,
            }
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, _duration: Duration) -> futures_util::future::BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn a_transactions_time_is_taken_once_it_has_its_turn() {
        let folder = folder();
        let options = options(&folder, Mode::Inline);
        let clock = Arc::new(Watching(options.path.clone()));
        let store = Store::open(&options, clock).expect("opens");
        let told = at_once(store.write(Lane::Bulk, |tx| Ok(tx.now())));
        assert_eq!(told.expect("writes"), testing::now() + LOCKED);
    }

    #[test]
    fn a_database_belongs_to_one_portal() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let check =
            |id| at_once(store.write(Lane::Bulk, move |tx| lease::check_portal(tx, PortalId(id))));
        check(7).expect("the first time");
        check(7).expect("the same");
        let error = check(8).expect_err("another");
        assert_eq!(
            error.to_string(),
            "the database belongs to portal 7, and the token to portal 8"
        );
        assert!(error.is_configuration());
    }

    #[test]
    fn a_closed_store_says_so_and_a_reader_can_not_write() {
        let folder = folder();
        for mode in [Mode::Threads, Mode::Inline] {
            let store = open(&folder, mode).expect("opens");
            let wrote = at_once(
                store.read(|connection| Ok(connection.execute("DELETE FROM _sync_meta", [])?)),
            );
            assert!(
                matches!(wrote, Err(StoreError::ReadOnly(_) | StoreError::Sqlite(_))),
                "{wrote:?}"
            );
            let other = store.clone();
            store.close();
            assert!(matches!(
                remember(&other, Lane::Bulk, "a"),
                Err(StoreError::Closed)
            ));
            assert!(matches!(
                at_once(other.read(|_| Ok(()))),
                Err(StoreError::Closed)
            ));
        }
    }

    #[test]
    fn what_is_no_database_and_a_missing_folder_are_told_apart() {
        let folder = folder();
        std::fs::write(folder.path().join("crm.db"), "certainly no database").expect("writes");
        assert!(matches!(
            open(&folder, Mode::Inline),
            Err(StoreError::NoDatabase(_))
        ));
        let mut elsewhere = options(&folder, Mode::Inline);
        elsewhere.path = folder.path().join("crm.db/crm.db");
        let error = Store::open(&elsewhere, Arc::new(Standing)).expect_err("no folder");
        let file = folder.path().join("crm.db");
        assert_eq!(
            error.to_string(),
            format!(
                "`{}` is a file, so the database can't lie in it",
                file.display()
            )
        );
        assert!(error.hint().is_some_and(|hint| !hint.contains("user")));
        elsewhere.path = folder.path().join("missing/crm.db");
        let error = Store::open(&elsewhere, Arc::new(Standing)).expect_err("no folder");
        assert_eq!(
            error.to_string(),
            format!(
                "there is no folder `{}` for the database",
                folder.path().join("missing").display()
            )
        );
        let default = StoreError::NoFolder {
            folder: PathBuf::from(DEFAULT_FOLDER),
        };
        assert_eq!(
            default.to_string(),
            "there is no folder `/var/lib/hubsyncd` for the database (the default of `[database].path`)"
        );
        assert_eq!(
            default.hint(),
            Some(
                "write `[database] path = \"crm.db\"` to keep it beside the mapping file, or make the folder"
            )
        );
    }
}
