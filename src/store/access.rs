//! Why a file of the database is closed to this process: whose it is, in words that a person can act on.
//!
//! SQLite says "unable to open database file" for all of it. Nothing is opened here: to close another descriptor of an
//! open database would drop the locks that SQLite holds on it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use rustix::process::{getegid, geteuid, getgroups};

use crate::store::{StoreError, lease};

/// Who a process is to the file system.
#[derive(Debug, Clone)]
struct Process {
    user: u32,
    groups: Vec<u32>,
}

/// What decides who may read and write a file.
#[derive(Debug, Clone, Copy)]
struct Ownership {
    user: u32,
    group: u32,
    mode: u32,
}

impl Process {
    fn own() -> Self {
        let further = getgroups().unwrap_or_default();
        Self {
            user: geteuid().as_raw(),
            groups: [getegid()]
                .into_iter()
                .chain(further)
                .map(rustix::fs::Gid::as_raw)
                .collect(),
        }
    }

    /// Whether the mode lets the process read and write. Of several classes the first that fits decides, as in the kernel.
    fn may_write(&self, file: Ownership) -> bool {
        let wanted = if self.user == 0 {
            return true;
        } else if self.user == file.user {
            0o600
        } else if self.groups.contains(&file.group) {
            0o060
        } else {
            0o006
        };
        file.mode & wanted == wanted
    }
}

fn ownership(path: &Path) -> Option<Ownership> {
    let found = fs::metadata(path).ok()?;
    Some(Ownership {
        user: found.uid(),
        group: found.gid(),
        mode: found.mode(),
    })
}

/// The words for a file that the system refused, and whose it is.
pub(super) fn refused(path: &Path, error: io::Error) -> StoreError {
    let own = Process::own();
    match closed_file(&own, path) {
        Some((path, file)) => not_ours(path, file),
        None => StoreError::Open {
            path: path.to_path_buf(),
            source: Arc::new(error),
        },
    }
}

/// What SQLite could not open or write, where a file of the database is closed to this process; else its own words.
pub(super) fn explain(database: &Path, error: StoreError) -> StoreError {
    let is_access = matches!(&error, StoreError::ReadOnly(_))
        || matches!(&error, StoreError::Sqlite(source) if source.sqlite_error_code() == Some(ErrorCode::CannotOpen));
    if !is_access {
        return error;
    }
    match closed_of(&Process::own(), database) {
        Some((path, file)) => not_ours(path, file),
        None => error,
    }
}

/// A file that is closed to this process.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) path: PathBuf,
    pub(super) user: String,
    pub(super) group: String,
}

/// The first file of a database that is closed to this process.
pub(super) fn closed_to_us(database: &Path) -> Option<Closed> {
    let (path, file) = closed_of(&Process::own(), database)?;
    Some(Closed {
        path,
        user: named("/etc/passwd", file.user),
        group: named("/etc/group", file.group),
    })
}

/// Itself, what stands beside it, or its folder.
fn closed_of(process: &Process, database: &Path) -> Option<(PathBuf, Ownership)> {
    ["", "-wal", "-shm", "-journal"]
        .iter()
        .find_map(|suffix| closed_file(process, &lease::beside(database, suffix)))
}

/// The file if it is there and closed, or its folder.
fn closed_file(process: &Process, path: &Path) -> Option<(PathBuf, Ownership)> {
    let folder = lease::folder_of(path);
    [path, &folder].into_iter().find_map(|path| {
        let file = ownership(path)?;
        (!process.may_write(file)).then(|| (path.to_path_buf(), file))
    })
}

fn not_ours(path: PathBuf, file: Ownership) -> StoreError {
    StoreError::NotOurs {
        path,
        user: named("/etc/passwd", file.user),
        group: named("/etc/group", file.group),
    }
}

/// The name of an id in `/etc/passwd` or `/etc/group`; the number where it is in neither.
fn named(list: &str, id: u32) -> String {
    let text = fs::read_to_string(list).unwrap_or_default();
    name_in(&text, id).unwrap_or_else(|| id.to_string())
}

fn name_in(list: &str, id: u32) -> Option<String> {
    list.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::testing::folder;

    fn check(user: u32, groups: &[u32], mode: u32, expected: bool) {
        let process = Process {
            user,
            groups: groups.to_vec(),
        };
        let file = Ownership {
            user: 7,
            group: 70,
            mode,
        };
        assert_eq!(
            process.may_write(file),
            expected,
            "{user} {groups:?} {mode:o}"
        );
    }

    #[test]
    fn the_first_class_that_fits_decides_who_may_write() {
        check(0, &[0], 0o100_000, true);
        check(7, &[1], 0o100_600, true);
        check(7, &[70], 0o100_060, false);
        check(8, &[1, 70], 0o100_660, true);
        check(8, &[1, 70], 0o100_606, false);
        check(8, &[1], 0o100_666, true);
        check(8, &[1], 0o100_660, false);
        check(8, &[70], 0o042_770, true);
    }

    #[test]
    fn the_file_that_another_user_owns_is_named_with_user_and_group() {
        let made = folder();
        let database = made.path().join("crm.db");
        let log = made.path().join("crm.db-wal");
        for path in [&database, &log] {
            fs::write(path, "").expect("writes");
        }
        let stranger = Process {
            user: 65_432,
            groups: vec![65_432],
        };
        let open_to = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets");
        };
        open_to(made.path(), 0o777);
        open_to(&database, 0o666);
        open_to(&log, 0o660);
        let (path, file) = closed_of(&stranger, &database).expect("closed");
        assert_eq!(path, log);
        let words = not_ours(
            path,
            Ownership {
                user: 0,
                group: 0,
                ..file
            },
        )
        .to_string();
        assert_eq!(
            words,
            format!(
                "can't open `{}`: it belongs to user `root`, group `root`",
                log.display()
            )
        );
        open_to(&log, 0o666);
        assert!(closed_of(&stranger, &database).is_none());
        open_to(made.path(), 0o755);
        let (path, _) = closed_of(&stranger, &database).expect("closed");
        assert_eq!(path, made.path());
    }

    #[test]
    fn names_are_read_as_they_stand() {
        let list = "root:x:0:0:root:/:/bin/sh\nalice:x:1001:1001::/:/bin/sh\n";
        assert_eq!(name_in(list, 1001).as_deref(), Some("alice"));
        assert_eq!(name_in(list, 1), None);
        assert_eq!(
            name_in("broken\nusers:x:100:\n", 100).as_deref(),
            Some("users")
        );
    }
}
