//! Who may write: the lock, the epoch, the identity of the files, the portal (promise 12).
//!
//! Two locks, each for another failure: a lock on `crm.db.lock`, freed by the kernel when its holder dies, and an epoch in
//! the file, so that a daemon that slept through a takeover can't write. No other descriptor on the database itself is
//! kept: closing one would drop the POSIX locks that SQLite holds on it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, Transaction, TransactionBehavior, named_params};

use crate::model::id::PortalId;
use crate::model::time::Timestamp;
use crate::store::database::access;
use crate::store::database::head::DatabaseHead;
use crate::store::database::wal::Log;
use crate::store::{StoreError, meta};

/// The longest pid that is read from a lock file, in bytes.
const MAX_LOCK_BYTES: u64 = 64;

/// What stands beside a database in WAL mode while a connection is open: the log, and the log's index. SQLite makes them
/// with the first connection and takes them away with the last one, so that none of them may change in between: whoever
/// removes the log gets one of its own, and what is committed to the open one is seen by nobody.
const BESIDE: [&str; 2] = [LOG, INDEX];
const LOG: &str = "-wal";
const INDEX: &str = "-shm";

/// What this process may rely on while it holds the database.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    path: PathBuf,
    /// The database, its log and the log's index.
    files: Arc<[(PathBuf, FileIdentity)]>,
    head: Arc<DatabaseHead>,
    log: Arc<Log>,
    epoch: i64,
    /// What was first found to be wrong with them.
    harm: Arc<OnceLock<StoreError>>,
}

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl Lease {
    /// A lease on a database that is open in WAL mode and was written to. `identity` was taken when it was opened.
    ///
    /// # Errors
    /// A file that must stand beside it is not there.
    pub(crate) fn new(
        path: PathBuf,
        identity: FileIdentity,
        epoch: i64,
    ) -> Result<Self, StoreError> {
        let mut files = vec![(path.clone(), identity)];
        for suffix in BESIDE {
            let file = beside(&path, suffix);
            let identity = file_identity(&file)?;
            files.push((file, identity));
        }
        let [log, index] = BESIDE.map(|suffix| beside(&path, suffix));
        let opened = Log::open(&log, &index).map_err(|error| cannot_open(&log, error))?;
        let head = DatabaseHead::open(&path).map_err(|error| cannot_open(&path, error))?;
        Ok(Self {
            path,
            files: files.into(),
            head: Arc::new(head),
            log: Arc::new(opened),
            epoch,
            harm: Arc::default(),
        })
    }

    /// The database.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The epoch of this holder.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Fails once a path has named another file, or none, even if it names the old one again; once another file was written
    /// over the database in place; and once the log or its index was cut.
    pub(crate) fn check_file(&self) -> Result<(), StoreError> {
        // Whatever was first is told.
        if let Some(path) = self.replaced() {
            self.harm.get_or_init(|| StoreError::FileReplaced { path });
        } else if !self.log.is_whole() {
            let path = beside(&self.path, LOG);
            self.harm.get_or_init(|| StoreError::LogCut { path });
        }
        match self.harm.get() {
            Some(harm) => Err(harm.clone()),
            None => Ok(()),
        }
    }

    /// A file that is no more what was opened.
    fn replaced(&self) -> Option<PathBuf> {
        let mut files = self.files.iter();
        let moved =
            files.find(|(path, open)| !file_identity(path).is_ok_and(|found| found == *open));
        if let Some((path, _)) = moved {
            return Some(path.clone());
        }
        if !self.head.is_ours(&self.log) {
            return Some(self.path.clone());
        }
        let index = || beside(&self.path, INDEX);
        self.log.index_is_cut().then(index)
    }

    /// Whether what is in the open log may still be written into the database: it is all there, and nobody else can have a
    /// log of their own, also where ours was removed.
    pub(crate) fn log_may_be_written_back(&self) -> bool {
        let is_the_only_one = self.files.iter().all(|(path, open)| {
            let found = file_identity(path);
            let is_log = path.as_os_str().as_encoded_bytes().ends_with(b"-wal");
            found.is_ok_and(|found| found == *open) || (is_log && !path.exists())
        });
        is_the_only_one
            && self.head.is_ours(&self.log)
            && !self.log.index_is_cut()
            && !self.log_was_cut()
    }

    /// How many frames the log has, by the last [`check_file`](Self::check_file) that went well.
    pub(crate) fn log_frames(&self) -> u32 {
        self.log.frames()
    }

    /// Bytes of the log that nobody has written back yet; `None` where that can't be told at the moment.
    pub(crate) fn bytes_to_write_back(&self) -> Option<u64> {
        self.log.bytes_to_write_back()
    }

    /// Whether the log has lost something that was committed.
    pub(crate) fn log_was_cut(&self) -> bool {
        matches!(self.harm.get(), Some(StoreError::LogCut { .. })) || !self.log.is_whole()
    }

    /// Fails where another holder has raised the epoch.
    pub(crate) fn check_epoch(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let found: i64 = tx
            .prepare_cached("SELECT epoch FROM _sync_lease WHERE id = 1")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|error| gone_or(tx, error))?;
        if found == self.epoch {
            Ok(())
        } else {
            Err(StoreError::LeaseLost {
                found,
                ours: self.epoch,
            })
        }
    }
}

/// What keeps the epoch from being read: the table may be gone.
fn gone_or(tx: &Transaction<'_>, error: rusqlite::Error) -> StoreError {
    let is_there = tx
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = '_sync_lease'")
        .and_then(|mut statement| statement.exists([]));
    match is_there {
        Ok(false) => StoreError::LeaseGone,
        Ok(true) if error == rusqlite::Error::QueryReturnedNoRows => StoreError::LeaseGone,
        Ok(true) | Err(_) => error.into(),
    }
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// The epoch of the last holder, where the lock file says so.
    last_epoch: Option<i64>,
}

impl Lock {
    /// Whether the database is older than what its last holder left: a backup was put back, or the file came without
    /// its lock file. `epoch` is this holder's.
    pub(crate) fn is_restored(&self, epoch: i64) -> bool {
        self.last_epoch.unwrap_or(0) != epoch - 1
    }

    /// Takes back who held it: the next holder finds a database that is older than what this one left.
    pub(crate) fn unsign(&mut self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Writes down who holds the lock.
    pub(crate) fn sign(&mut self, epoch: i64) -> io::Result<()> {
        let signature = format!("{}\n{epoch}\n", std::process::id());
        // Over the former one: a disk that is full takes that, and what the next holder goes by is never gone.
        self.file.rewind()?;
        self.file.write_all(signature.as_bytes())?;
        self.file.set_len(signature.len() as u64)
    }
}

/// Takes the lock beside the database, or says who holds it.
pub(crate) fn lock(database: &Path) -> Result<Lock, StoreError> {
    let path = beside(database, ".lock");
    let mut file = open_or_make(&path).map_err(|error| cannot_open(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked {
                path: database.to_path_buf(),
                pid: read_pid(&mut file),
            });
        }
        Err(TryLockError::Error(error)) => return Err(cannot_open(&path, error)),
    }
    let last_epoch = read_line(&mut file, 1).and_then(|line| line.parse().ok());
    Ok(Lock { file, last_epoch })
}

fn read_pid(file: &mut File) -> Option<u32> {
    read_line(file, 0)?.parse().ok()
}

/// A line of the lock file: the holder's pid, then its epoch.
fn read_line(file: &mut File, line: usize) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(MAX_LOCK_BYTES).read_to_string(&mut text).ok()?;
    text.lines().nth(line).map(|line| line.trim().to_owned())
}

/// The file that stands beside a database under its name and a suffix.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(database.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn cannot_open(path: &Path, error: io::Error) -> StoreError {
    let (kind, folder) = (error.kind(), folder_of(path));
    if kind == io::ErrorKind::NotFound && !folder.exists() {
        return StoreError::NoFolder { folder };
    }
    if kind == io::ErrorKind::NotADirectory
        && let Some(file) = path.ancestors().skip(1).find(|above| above.is_file())
    {
        let path = file.to_path_buf();
        return StoreError::NotAFolder { path };
    }
    if kind == io::ErrorKind::PermissionDenied {
        return access::refused(path, error);
    }
    let path = path.to_path_buf();
    if kind == io::ErrorKind::ReadOnlyFilesystem {
        return StoreError::ReadOnlyDisk { path };
    }
    if matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return StoreError::no_room(&error);
    }
    StoreError::Open {
        path,
        cause: Arc::new(error),
    }
}

/// The folder of a path; of `crm.db` alone it is the current one.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Makes the database file where it is missing, so that its group may write to it if the umask or its folder allows that;
/// SQLite's own default would not. The log and its index get the file's mode from SQLite.
pub(crate) fn make_file(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    open_or_make(path)
        .map(drop)
        .map_err(|error| cannot_open(path, error))
}

/// Opens a file, or makes it for this user and, where the umask or the folder says so, its group.
fn open_or_make(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o660)
        .open(path)?;
    let (folder, made) = (fs::metadata(folder_of(path))?, file.metadata()?);
    if is_new && let Some(mode) = shared_mode(folder.mode(), made.mode()) {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// The mode of a new file in a folder that hands its group on and lets it write: programs of the group write to the file
/// too, whatever the umask takes from them. Where that takes the reading too, the file is meant for its user alone.
fn shared_mode(folder: u32, file: u32) -> Option<u32> {
    let is_shared = folder & 0o2020 == 0o2020;
    let is_half_open = file & 0o060 == 0o040;
    (is_shared && is_half_open).then_some((file & 0o7777) | 0o020)
}

/// Device and inode of the file at a path.
pub(crate) fn file_identity(path: &Path) -> Result<FileIdentity, StoreError> {
    let found = fs::metadata(path).map_err(|error| cannot_open(path, error))?;
    Ok(FileIdentity {
        device: found.dev(),
        inode: found.ino(),
    })
}

/// Raises the epoch and gives the file its id, if it has none.
pub(crate) fn take(connection: &mut Connection, now: Timestamp) -> Result<i64, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let epoch = tx.query_row(
        "UPDATE _sync_lease
         SET epoch = epoch + 1,
             pid = :pid,
             taken_at = :now
         WHERE id = 1
         RETURNING epoch",
        named_params! { ":pid": std::process::id(), ":now": now.to_string() },
        |row| row.get(0),
    )?;
    tx.execute(
        "INSERT INTO _sync_meta (name, value)
         VALUES (:name, lower(hex(randomblob(16))))
         ON CONFLICT (name) DO NOTHING",
        named_params! { ":name": meta::DATABASE_ID },
    )?;
    tx.commit()?;
    Ok(epoch)
}

/// Remembers the portal the first time, and refuses another one later.
///
/// # Errors
/// [`StoreError::OtherPortal`].
pub(crate) fn check_portal(tx: &Transaction<'_>, portal: PortalId) -> Result<(), StoreError> {
    let Some(remembered) = meta::get(tx, meta::PORTAL_ID)? else {
        return meta::set(tx, meta::PORTAL_ID, &portal.to_string());
    };
    let remembered = remembered
        .parse()
        .map_err(|_not_a_number| StoreError::UnknownValue(format!("portal id `{remembered}`")))?;
    if remembered == portal {
        Ok(())
    } else {
        Err(StoreError::OtherPortal {
            remembered,
            found: portal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{folder, open};

    #[test]
    fn in_a_folder_that_a_group_shares_its_files_are_the_groups_to_write_whatever_the_umask_is() {
        for (folder, file, expected) in [
            (0o042_770, 0o100_640, Some(0o660)),
            (0o042_775, 0o100_644, Some(0o664)),
            (0o042_770, 0o100_660, None),
            // Umask 077: the file is its user's alone.
            (0o042_770, 0o100_600, None),
            (0o042_750, 0o100_640, None),
            (0o040_770, 0o100_640, None),
        ] {
            assert_eq!(shared_mode(folder, file), expected, "{folder:o} {file:o}");
        }
        let shared_folder = folder();
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
        let plain = shared_folder.path().join("plain");
        fs::write(&plain, "").expect("writes");
        let umask_takes = 0o666 & !mode(&plain);
        let permissions = fs::Permissions::from_mode(0o2770);
        fs::set_permissions(shared_folder.path(), permissions).expect("sets");
        let expected = match umask_takes & 0o040 {
            0 => 0o060,
            _ => 0,
        };
        let store = open(&shared_folder, Mode::Inline).expect("opens");
        for name in ["crm.db", "crm.db-wal", "crm.db-shm", "crm.db.lock"] {
            assert_eq!(
                mode(&shared_folder.path().join(name)) & 0o060,
                expected,
                "{name}"
            );
        }
        drop(store);
    }

    #[test]
    fn a_holder_signs_over_the_former_one_and_leaves_nothing_of_it() {
        let folder = folder();
        let database = folder.path().join("crm.db");
        let mut held = lock(&database).expect("nobody holds it");
        for epoch in [1_000, 9] {
            held.sign(epoch).expect("signed");
        }
        drop(held);
        let text = fs::read_to_string(beside(&database, ".lock")).expect("text");
        assert_eq!(text, format!("{}\n9\n", std::process::id()));
        let next = lock(&database).expect("nobody holds it");
        assert!(!next.is_restored(10));
        assert!(next.is_restored(1_001));
    }

    #[test]
    fn a_file_that_comes_without_its_lock_file_counts_as_restored() {
        let folder = folder();
        let was_restored = || {
            let store = open(&folder, Mode::Inline).expect("opens");
            store.was_restored()
        };
        assert!(!was_restored(), "a new file");
        assert!(!was_restored(), "the same file again");
        std::fs::remove_file(folder.path().join("crm.db.lock")).expect("removed");
        assert!(was_restored());
        assert!(!was_restored(), "only once");
        std::fs::write(folder.path().join("crm.db.lock"), "1\n1\n").expect("written");
        assert!(was_restored(), "a lock file of another time");
    }
}
