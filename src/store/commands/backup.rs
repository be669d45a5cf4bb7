//! `backup`: a consistent copy of the database, beside a running daemon or without one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, named_params};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::store::commands::{CommandDb, CommandError};

/// Nobody else may read a copy of people's data.
const MODE: u32 = 0o600;

impl CommandDb {
    /// Copies all that is committed into a new file of mode 0600, looks it through, and gives it its name only then. Returns its
    /// bytes. Whoever writes meanwhile is not held up.
    ///
    /// # Errors
    /// [`CommandError::Taken`] where something is at that path, [`CommandError::Copy`] where the file can't be written, and
    /// [`CommandError::BadCopy`] where the copy is damaged, since the database is.
    pub(crate) fn back_up(&self, path: &Path) -> Result<u64, CommandError> {
        let taken = || CommandError::Taken {
            path: path.to_owned(),
        };
        if path.symlink_metadata().is_ok() {
            return Err(taken());
        }
        let copy = Unnamed::beside(path)?;
        let into = copy.path.to_string_lossy().into_owned();
        self.connection.pragma_update(None, "query_only", false)?;
        let failed = |source| CommandError::Copy {
            path: path.to_owned(),
            source,
        };
        let copied = self
            .connection
            .execute("VACUUM INTO :path", named_params! { ":path": into });
        copied.map_err(|error| match error.sqlite_error_code() {
            // It is the copy's disk, since nothing is written to the database.
            Some(ErrorCode::DiskFull) => failed(io::ErrorKind::StorageFull.into()),
            Some(_) | None => error.into(),
        })?;
        copy.check()?;
        let file = File::open(&copy.path).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        match renameat_with(CWD, &copy.path, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken()),
            // Some file systems know no such name change; what was there was looked for.
            Err(rustix::io::Errno::INVAL) => fs::rename(&copy.path, path).map_err(failed)?,
            Err(error) => return Err(failed(error.into())),
        }
        let folder = folder_of(path);
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed)?;
        Ok(bytes)
    }
}

/// A copy that has not its name yet; it goes where nobody gives it one.
struct Unnamed {
    path: PathBuf,
}

impl Unnamed {
    /// An empty file beside `path` that only this user may read.
    fn beside(path: &Path) -> Result<Self, CommandError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let own = folder_of(path).join(name);
        let mut options = OpenOptions::new();
        let made: io::Result<File> = options.write(true).create_new(true).mode(MODE).open(&own);
        match made {
            Ok(_) => Ok(Self { path: own }),
            Err(source) => Err(CommandError::Copy {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn check(&self) -> Result<(), CommandError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let copy = Connection::open_with_flags(&self.path, flags)?;
        let found: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(CommandError::BadCopy(found)),
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        // It is gone where it has its name.
        drop(fs::remove_file(&self.path));
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}
