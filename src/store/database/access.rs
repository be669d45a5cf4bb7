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
use rustix::fs::StatVfsMountFlags;
use rustix::process::{getegid, geteuid, getgroups};

use crate::store::StoreError;
use crate::store::database::lease;

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
                .map(rustix::process::Gid::as_raw)
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
pub(crate) fn refused(path: &Path, error: io::Error) -> StoreError {
    let own = Process::own();
    match closed_file(&own, path) {
        Some((path, file)) => not_ours(&own, path, file),
        None => StoreError::Open {
            path: path.to_path_buf(),
            cause: Arc::new(error),
        },
    }
}

/// What SQLite could not open or write, where a file of the database is closed to this process or its disk to everybody; else its
/// own words. To an open file SQLite calls the latter an I/O error.
pub(crate) fn explain(database: &Path, error: StoreError) -> StoreError {
    let is_access =
        matches!(&error, StoreError::ReadOnly(_)) || error.has_code(ErrorCode::CannotOpen);
    let is_of_disk = is_access || error.has_code(ErrorCode::SystemIoFailure);
    if is_of_disk && is_on_a_read_only_disk(database) {
        let path = database.to_path_buf();
        return StoreError::ReadOnlyDisk { path };
    }
    if !is_access {
        return error;
    }
    let own = Process::own();
    match closed_of(&own, database) {
        Some((path, file)) => not_ours(&own, path, file),
        None => error,
    }
}

/// Whether nobody may write a file, whoever it belongs to: its file system is mounted to be read only.
pub(crate) fn is_on_a_read_only_disk(path: &Path) -> bool {
    let found = rustix::fs::statvfs(path);
    found.is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// A file that is closed to this process.
#[derive(Debug)]
pub(crate) struct ClosedFile {
    pub(crate) path: PathBuf,
    pub(crate) user: String,
    pub(crate) group: String,
}

/// The first file of a database that is closed to this process.
pub(crate) fn closed_to_us(database: &Path) -> Option<ClosedFile> {
    let (path, file) = closed_of(&Process::own(), database)?;
    Some(ClosedFile {
        path,
        user: named("/etc/passwd", file.user),
        group: named("/etc/group", file.group),
    })
}

/// The first file of a database that is closed to this process, with what opens it.
pub(crate) fn closed_with_remedy(database: &Path) -> Option<StoreError> {
    let own = Process::own();
    let (path, file) = closed_of(&own, database)?;
    Some(not_ours(&own, path, file))
}

/// User and group of a file, by name where the system has one.
pub(crate) fn owners(file: &fs::Metadata) -> (String, String) {
    (
        named("/etc/passwd", file.uid()),
        named("/etc/group", file.gid()),
    )
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

/// What opens a file or folder to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It is ours, and its mode keeps even us out.
    OwnMode,
    /// A file whose group is ours, and whose mode keeps the group out.
    GroupMode,
    /// A file that its group may write, and the group is not ours.
    Group,
    /// A file with another group, and a mode that keeps that out too.
    GroupAndMode,
    /// A folder of another user whose group is ours.
    FolderMode,
    /// A folder of another user and group.
    Folder,
}

impl Remedy {
    fn of(process: &Process, file: Ownership) -> Self {
        let is_folder = file.mode & 0o170_000 == 0o040_000;
        let is_our_group = process.groups.contains(&file.group);
        let may_group = file.mode & 0o060 == 0o060;
        if process.user == file.user {
            return Self::OwnMode;
        }
        match (is_folder, is_our_group, may_group) {
            (true, true, _) => Self::FolderMode,
            (true, false, _) => Self::Folder,
            (false, true, _) => Self::GroupMode,
            (false, false, true) => Self::Group,
            (false, false, false) => Self::GroupAndMode,
        }
    }

    /// The command, and what it is good for.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::OwnMode => "chmod u+rwX it",
            Self::GroupMode => {
                "chmod g+rw it: it belongs to the daemon's group, which may not write it"
            }
            Self::Group => {
                "chgrp it to the daemon's group; chmod 2770 the folder, so that what is made there stays in that group"
            }
            Self::GroupAndMode => {
                "chgrp it to the daemon's group and chmod g+rw it; chmod 2770 the folder, so that what is made there stays in that group"
            }
            Self::FolderMode => {
                "chmod 2770 it, so that the daemon's group may write there and keeps what is made there"
            }
            Self::Folder => {
                "chgrp it to the daemon's group and chmod 2770 it, so that what is made there stays in that group"
            }
        }
    }
}

fn not_ours(process: &Process, path: PathBuf, file: Ownership) -> StoreError {
    StoreError::NotOurs {
        remedy: Remedy::of(process, file),
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
        let explanation = not_ours(
            &stranger,
            path,
            Ownership {
                user: 0,
                group: 0,
                ..file
            },
        )
        .to_string();
        assert_eq!(
            explanation,
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
    fn the_hint_names_the_command_that_helps() {
        let check = |user, group, mode, expected| {
            let process = Process {
                user: 8,
                groups: vec![80],
            };
            let file = Ownership { user, group, mode };
            assert!(!process.may_write(file), "{user} {group} {mode:o}");
            assert_eq!(
                Remedy::of(&process, file),
                expected,
                "{user} {group} {mode:o}"
            );
        };
        check(8, 80, 0o100_400, Remedy::OwnMode);
        check(7, 80, 0o100_600, Remedy::GroupMode);
        check(7, 80, 0o100_640, Remedy::GroupMode);
        check(7, 70, 0o100_660, Remedy::Group);
        check(7, 70, 0o100_600, Remedy::GroupAndMode);
        check(7, 80, 0o040_750, Remedy::FolderMode);
        check(7, 70, 0o042_770, Remedy::Folder);
        for (remedy, command) in [
            (Remedy::GroupMode, "chmod g+rw"),
            (Remedy::Group, "chgrp"),
            (Remedy::GroupAndMode, "chmod g+rw"),
            (Remedy::FolderMode, "chmod 2770"),
        ] {
            assert!(remedy.hint().contains(command), "{}", remedy.hint());
        }
        assert!(!Remedy::GroupMode.hint().contains("chgrp"));
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
