//! What a look at the database's place shows without opening anything: who holds it, whose its folder is, what is free.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::database::{access, lease};

/// Where the system lists who holds which lock.
pub(super) const LOCKS: &str = "/proc/locks";

/// The daemon that holds a database, by its lock; its pid, where the lock file says it.
pub(crate) fn holder(database: &Path) -> Option<u32> {
    let path = lease::beside(database, ".lock");
    let file = fs::metadata(&path).ok()?;
    let locks = fs::read_to_string(LOCKS).ok()?;
    if !is_locked(&locks, &file) {
        return None;
    }
    let text = fs::read_to_string(&path).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether the list of locks has one on a file: `1: FLOCK ADVISORY WRITE 4711 08:01:131 0 EOF`. The device is left out, since a
/// file system may give another one than the list.
fn is_locked(locks: &str, file: &fs::Metadata) -> bool {
    let inode = file.ino().to_string();
    locks.lines().any(|line| {
        let mut words = line.split_whitespace();
        let is_flock = words.any(|word| word == "FLOCK");
        is_flock && words.any(|word| word.rsplit(':').next() == Some(&inode) && word.contains(':'))
    })
}

/// A folder that can hold the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FolderLook {
    /// The folder.
    pub(crate) path: PathBuf,
    /// Its user, by name where the system has one.
    pub(crate) user: String,
    /// Its group.
    pub(crate) group: String,
    /// Whether what is made there stays in its group, or nobody of the group may make anything.
    pub(crate) keeps_group: bool,
    /// Free bytes of its disk, and all of them.
    pub(crate) space: (u64, u64),
}

/// Looks at the folder of a database.
///
/// # Errors
/// It isn't there, or this process may not write there.
pub(crate) fn look_at_folder(database: &Path) -> Result<FolderLook, StoreError> {
    let folder = lease::folder_of(database);
    let found = match fs::metadata(&folder) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return Err(StoreError::NotAFolder { path: folder }),
        Err(_missing) => return Err(StoreError::NoFolder { folder }),
    };
    if access::is_on_a_read_only_disk(&folder) {
        return Err(StoreError::ReadOnlyDisk {
            path: database.to_path_buf(),
        });
    }
    if let Some(closed) = access::closed_with_remedy(database) {
        return Err(closed);
    }
    let space = rustix::fs::statvfs(&folder).map(|disk| {
        let block = disk.f_frsize;
        (disk.f_bavail * block, disk.f_blocks * block)
    });
    let mode = found.mode();
    let (user, group) = access::owners(&found);
    Ok(FolderLook {
        path: folder,
        user,
        group,
        keeps_group: mode & 0o020 == 0 || mode & 0o2000 != 0,
        space: space.unwrap_or((u64::MAX, u64::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::folder;

    #[test]
    fn a_held_lock_names_its_holder_and_a_free_one_nobody() {
        let folder = folder();
        let database = folder.path().join("crm.db");
        assert_eq!(holder(&database), None);
        let mut lock = lease::lock(&database).expect("nobody holds it");
        lock.sign(1).expect("signed");
        assert_eq!(holder(&database), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(&database), None);
    }

    #[test]
    fn a_folder_that_is_none_is_told() {
        let folder = folder();
        let look = look_at_folder(&folder.path().join("crm.db")).expect("a folder");
        assert!(look.space.0 <= look.space.1);
        let nowhere = folder.path().join("nowhere/crm.db");
        let error = look_at_folder(&nowhere).expect_err("there is none");
        assert_eq!(error.code(), "no-folder");
    }
}
