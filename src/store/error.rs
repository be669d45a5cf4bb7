//! What can go wrong with the database, and what somebody can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use rustix::io::Errno;
use thiserror::Error;

use crate::model::id::PortalId;
use crate::store::database::access::Remedy;
use crate::store::database::descriptors::{self, FewDescriptors};

/// The code of a process that may open no more files.
pub(crate) const FEW_DESCRIPTORS: &str = "few-descriptors";

/// The codes of a disk that takes nothing more: the daemon is `degraded`, whatever else is the matter (`design.md` 6.3).
pub(crate) const DISK_TROUBLE: [&str; 3] = ["disk-full", "read-only-disk", "read-only-database"];

/// What helps it.
pub(crate) const MORE_DESCRIPTORS: &str = "raise `LimitNOFILE=` in the unit, or `ulimit -n`; it goes on by itself once files can be opened";

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
    /// The process may open no more files.
    #[error(
        "can't open the database: this process has {open} of the {limit} files open that it may have"
    )]
    FewDescriptors {
        /// How many it has open.
        open: u64,
        /// How many it may.
        limit: u64,
    },
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
    /// What the system said of a file for which there is no room, in SQLite's place.
    pub(crate) fn no_room(error: &io::Error) -> Self {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let source = rusqlite::Error::SqliteFailure(code, Some(error.to_string()));
        Self::Full(Arc::new(source))
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Open { cause, .. } if is_of_descriptors(cause) => FEW_DESCRIPTORS,
            Self::Open { .. } => "file-unusable",
            Self::Locked { .. } => "held-by-another",
            Self::NewerDatabase { .. } => "newer-database",
            Self::OtherPortal { .. } => "other-portal",
            Self::FileReplaced { .. } => "database-replaced",
            Self::LogCut { .. } => "log-cut",
            Self::NoFolder { .. } | Self::NotAFolder { .. } => "no-folder",
            Self::NotOurs { .. } => "not-ours",
            Self::ReadOnlyDisk { .. } => "read-only-disk",
            Self::NoLog { .. } => "no-wal",
            Self::Taken { .. } => "table-taken",
            Self::Unreleased => "unreleased-database",
            Self::Incomplete => "incomplete-database",
            Self::LeaseLost { .. } | Self::LeaseGone => "lease-lost",
            Self::Full(_) => "disk-full",
            Self::ReadOnly(_) => "read-only-database",
            Self::Corrupt(_) => "damaged-database",
            Self::NoDatabase(_) => "no-database",
            Self::Busy(_) => "busy-database",
            Self::FewDescriptors { .. } => FEW_DESCRIPTORS,
            Self::Closed => "stopping",
            Self::TypeChange { .. } => "type-change",
            Self::Referenced { .. } => "row-referenced",
            Self::Mapping(_) => "object-unfit",
            Self::UnknownValue(_) => "unknown-value",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Whether going on is useless: the process should end and be started again, or be looked at. A full disk is not
    /// fatal, nor is one that turned read-only: room may come back, and somebody may mount it anew.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::NoFolder { .. }
            | Self::NotAFolder { .. }
            | Self::NotOurs { .. }
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
            | Self::Corrupt(_)
            | Self::NoDatabase(_)
            | Self::Closed => true,
            Self::Full(_)
            | Self::ReadOnly(_)
            | Self::ReadOnlyDisk { .. }
            | Self::Busy(_)
            | Self::FewDescriptors { .. }
            | Self::TypeChange { .. }
            | Self::Referenced { .. }
            | Self::Mapping(_)
            | Self::UnknownValue(_)
            | Self::Sqlite(_) => false,
        }
    }

    /// Whether the database may be had again without a word of the mapping file's: there is room, the disk is mounted to be written,
    /// another program has ended its transaction, files are free.
    pub(crate) fn passes(&self) -> bool {
        let code = self.code();
        DISK_TROUBLE.contains(&code) || [FEW_DESCRIPTORS, "busy-database"].contains(&code)
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

    /// Whether SQLite said so, and it is none of the cases above.
    pub(crate) fn has_code(&self, code: ErrorCode) -> bool {
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
            Self::Open { cause, .. } if is_of_descriptors(cause) => Some(MORE_DESCRIPTORS),
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
            Self::FewDescriptors { .. } => Some(MORE_DESCRIPTORS),
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
        // The index of the log grows where the file system has no room for it.
        let has_no_room =
            error.sqlite_extended_error_code() == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        let code = error.sqlite_error_code();
        let source = Arc::new(error);
        match code {
            _ if has_no_room => Self::Full(source),
            Some(ErrorCode::DiskFull) => Self::Full(source),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(source),
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt(source),
            Some(ErrorCode::NotADatabase) => Self::NoDatabase(source),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(source),
            Some(ErrorCode::CannotOpen) => match descriptors::few() {
                Some(FewDescriptors { limit, open }) => Self::FewDescriptors { open, limit },
                None => Self::Sqlite(source),
            },
            Some(_) | None => Self::Sqlite(source),
        }
    }
}

/// Whether the system has no more files for the process, or none for anybody.
fn is_of_descriptors(cause: &io::Error) -> bool {
    let number = cause.raw_os_error();
    number == Some(Errno::MFILE.raw_os_error()) || number == Some(Errno::NFILE.raw_os_error())
}

/// Where the database stands unless the mapping file says otherwise.
pub(super) const DEFAULT_FOLDER: &str = "/var/lib/hubsyncd";

/// Whether a path is the log of a database or the log's index.
fn is_beside(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    name.ends_with(b"-wal") || name.ends_with(b"-shm")
}
