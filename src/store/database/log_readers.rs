//! Who keeps the log beside the database from being written back: whoever reads in a transaction holds a lock on the log's index, and
//! the system lists such locks with their owners.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::store::database::lease::beside;
use crate::store::database::room::LOCKS;

/// The bytes of the index that readers lock ("WAL-Index Format": five read marks).
const READ_MARKS: RangeInclusive<u64> = 123..=127;

/// A log is looked at from this size on. Between two checkpoints it has a few megabytes.
pub(crate) const LONG_LOG: u64 = 16 << 20;

/// Another program that reads in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogReader {
    /// Its process.
    pub(crate) pid: u32,
    /// What the system calls it.
    pub(crate) name: String,
}

/// How long a long log is, and who reads in it; `None`: it is no longer than usual.
pub(crate) fn of_long_log(database: &Path) -> Option<(u64, Vec<LogReader>)> {
    let bytes = fs::metadata(beside(database, "-wal")).ok()?.len();
    if bytes < LONG_LOG {
        return None;
    }
    let index = fs::metadata(beside(database, "-shm")).ok()?;
    let locks = fs::read_to_string(LOCKS).unwrap_or_default();
    let own = std::process::id();
    let readers = pids(&locks, index.ino()).into_iter();
    let readers = readers.filter(|pid| *pid != own).map(|pid| LogReader {
        pid,
        name: name_of(pid),
    });
    Some((bytes, readers.collect()))
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A process may call itself whatever it wants.
    let name: String = name
        .trim()
        .chars()
        .filter(|letter| !letter.is_control())
        .collect();
    match name.is_empty() {
        true => "a program".to_owned(),
        false => name,
    }
}

/// Whose lines lock a read mark of a file: `1: POSIX  ADVISORY  READ 4711 08:01:131 123 123`. The device is left out, since a file system
/// may give another one than the list.
fn pids(locks: &str, inode: u64) -> Vec<u32> {
    let inode = inode.to_string();
    let mut found: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = words
                .iter()
                .position(|word| *word == "POSIX" || *word == "OFDLCK")?;
            let [pid, file, first] = [
                words.get(place + 3)?,
                words.get(place + 4)?,
                words.get(place + 5)?,
            ];
            let is_ours = file.rsplit(':').next() == Some(&inode);
            let is_mark = READ_MARKS.contains(&first.parse().ok()?);
            (is_ours && is_mark).then(|| pid.parse().ok()).flatten()
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_locks_a_read_mark_of_the_index_reads() {
        let locks = "1: POSIX  ADVISORY  READ 4711 08:01:131 123 123
2: POSIX  ADVISORY  READ 4712 08:01:131 124 124
3: POSIX  ADVISORY  READ 4712 08:01:131 128 128
4: POSIX  ADVISORY  WRITE 4713 08:01:131 120 120
5: POSIX  ADVISORY  READ 4714 08:01:132 124 124
6: FLOCK  ADVISORY  WRITE 4715 08:01:131 0 EOF
7: -> POSIX  ADVISORY  READ 4716 08:01:131 125 125
8: POSIX  ADVISORY  READ -1 08:01:131 125 125
";
        assert_eq!(pids(locks, 131), [4711, 4712, 4716]);
        assert_eq!(pids(locks, 1), [0; 0]);
        assert_eq!(pids("", 131), [0; 0]);
    }

    #[test]
    fn a_process_is_named_as_the_system_has_it() {
        assert_ne!(name_of(std::process::id()), "a program");
        assert_eq!(name_of(0), "a program");
    }
}
