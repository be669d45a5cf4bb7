//! Whether the log of a database still holds what its index says: somebody may cut it to nothing, or write over it, in place.
//! SQLite would read the holes as pages, and a checkpoint would write them into the database.
//!
//! The index, the first 136 bytes of `-shm`, tells how many frames are valid and by which two salts; the log's header and each
//! frame carry the same salts ("WAL-Index Format" and "WAL File Format" of SQLite's documentation). Whoever cuts the log
//! rightly, at the end of a checkpoint, has said before in the index that no frame is valid.

use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;

/// Bytes of one of the two copies of the index's head, which are alike when nobody writes it.
const HEAD: usize = 48;
/// Bytes of the log's header, and of a frame's before its page.
const LOG_HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;
/// Where the index says how many frames are in the database, and how many are on their way there.
const DONE: usize = 96;
const BEGUN: usize = 128;
/// Bytes of the index that are looked at.
const LOOKED_AT: usize = BEGUN + 4;
/// Bytes of the index while a connection is open: it grows by as many.
const SHORTEST_INDEX: u64 = 32 * 1024;
/// The one version of the index that there is.
const VERSION: u32 = 3_007_000;
/// Looks until the index stands still: other programs commit meanwhile.
const LOOKS: usize = 5;

type Salts = [u8; 8];

/// What the index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    frames: u32,
    page_bytes: u64,
    salts: Salts,
}

impl Head {
    /// `None` where somebody writes it at the moment, or it is of no kind that is known.
    fn parse(bytes: &[u8; LOOKED_AT]) -> Option<Self> {
        let (first, second) = bytes.get(..2 * HEAD)?.split_at(HEAD);
        let number = |at: usize| Some(u32::from_ne_bytes(first.get(at..at + 4)?.try_into().ok()?));
        let is_made = *first.get(12)? == 1;
        if first != second || !is_made || number(0)? != VERSION {
            return None;
        }
        let page = u16::from_ne_bytes(first.get(14..16)?.try_into().ok()?);
        Some(Self {
            frames: number(16)?,
            // The largest page has 65,536 bytes, which is written as 1.
            page_bytes: u64::from(page & 0xfe00) + (u64::from(page & 1) << 16),
            salts: first.get(32..40)?.try_into().ok()?,
        })
    }

    /// Where a frame begins; they are counted from 1.
    fn place(&self, frame: u32) -> u64 {
        LOG_HEAD + u64::from(frame.saturating_sub(1)) * (FRAME_HEAD + self.page_bytes)
    }
}

/// How far checkpoints have come, by the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoints {
    salts: Salts,
    /// Frames that are in the database.
    done: u32,
    /// Frames that a checkpoint has begun to write there.
    begun: u32,
}

impl Checkpoints {
    /// Whether none is at work, and none was cut off.
    pub(crate) fn are_over(&self) -> bool {
        self.done == self.begun
    }
}

/// The open log with its index.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Never closed: that would drop the POSIX locks that SQLite holds on the same file.
    index: ManuallyDrop<File>,
    /// The newest frame of the last look: a hole before a frame that was written since is seen there.
    seen: Mutex<Option<(Salts, u32)>>,
}

impl Log {
    /// The log and the index of a database that is open in WAL mode.
    ///
    /// # Errors
    /// One of them can't be opened.
    pub(crate) fn open(log: &Path, index: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(log)?,
            index: ManuallyDrop::new(File::open(index)?),
            seen: Mutex::new(None),
        })
    }

    /// Whether all that the index calls valid can still be there. What can't be read says nothing.
    pub(crate) fn is_whole(&self) -> bool {
        for _ in 0..LOOKS {
            let Some(head) = self.head() else { continue };
            if head.frames == 0 || self.holds(&head).unwrap_or(true) {
                return true;
            }
            if self.head() == Some(head) {
                return false;
            }
        }
        true
    }

    /// Bytes of the log that nobody has written back yet; `None` where somebody writes the index at the moment.
    pub(crate) fn bytes_to_write_back(&self) -> Option<u64> {
        let head = self.head()?;
        let frames = head.frames.saturating_sub(self.checkpoints()?.done);
        Some(u64::from(frames) * head.page_bytes)
    }

    /// The newest frame that a look has found to be there.
    pub(crate) fn frames(&self) -> u32 {
        self.seen.lock().map_or(0, |(_, frame)| frame)
    }

    /// Whether the index was cut in place: SQLite has it mapped, and whoever touches what is not there any more is killed.
    /// What can't be read says nothing.
    pub(crate) fn index_is_cut(&self) -> bool {
        let index = self.index.metadata();
        index.is_ok_and(|index| index.len() < SHORTEST_INDEX)
    }

    /// `None` where somebody writes the index at the moment.
    pub(crate) fn checkpoints(&self) -> Option<Checkpoints> {
        let bytes = self.look()?;
        let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Checkpoints {
            salts: Head::parse(&bytes)?.salts,
            done: number(DONE)?,
            begun: number(BEGUN)?,
        })
    }

    fn head(&self) -> Option<Head> {
        Head::parse(&self.look()?)
    }

    /// One read of all of it: a commit looks some six times.
    fn look(&self) -> Option<[u8; LOOKED_AT]> {
        let mut bytes = [0; LOOKED_AT];
        self.index.read_exact_at(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    fn holds(&self, head: &Head) -> io::Result<bool> {
        let bytes = self
            .file
            .metadata()
            .as_ref()
            .map_or(u64::MAX, Metadata::len);
        if bytes < head.place(head.frames.saturating_add(1)) {
            return Ok(false);
        }
        let mut seen = self.seen.lock();
        let before = seen.filter(|(salts, frame)| *salts == head.salts && *frame < head.frames);
        let frames = before.map(|(_, frame)| frame).into_iter();
        let frames = frames.chain([head.frames]);
        for place in [16]
            .into_iter()
            .chain(frames.map(|frame| head.place(frame) + 8))
        {
            let mut salts = Salts::default();
            self.file.read_exact_at(&mut salts, place)?;
            if salts != head.salts {
                return Ok(false);
            }
        }
        *seen = Some((head.salts, head.frames));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::database::lease::beside;

    /// A database with a log, and the log as it was when it was opened.
    fn database(folder: &tempfile::TempDir) -> (Connection, Log) {
        let path = folder.path().join("some.db");
        let connection = Connection::open(&path).expect("opens");
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE a (b)")
            .expect("makes a log");
        let log = Log::open(&beside(&path, "-wal"), &beside(&path, "-shm")).expect("opens");
        (connection, log)
    }

    fn add(connection: &Connection) {
        connection
            .execute("INSERT INTO a VALUES (randomblob(9000))", [])
            .expect("writes");
    }

    #[test]
    fn a_log_that_checkpoints_cut_and_begin_anew_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (connection, log) = database(&folder);
        for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            for _ in 0..3 {
                add(&connection);
                assert!(log.is_whole(), "{mode}");
            }
            connection
                .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_row| Ok(()))
                .expect("writes back");
            assert!(log.is_whole(), "{mode}");
            connection
                .execute_batch(
                    "PRAGMA journal_size_limit = 0; BEGIN; INSERT INTO a VALUES (1); ROLLBACK",
                )
                .expect("nothing is left of it");
            assert!(log.is_whole(), "{mode}");
        }
    }

    #[test]
    fn what_is_to_be_written_back_is_what_no_checkpoint_has_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let (connection, log) = database(&folder);
        add(&connection);
        let before = log.bytes_to_write_back().expect("a head");
        assert!(before > 9_000, "{before}");
        connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_row| Ok(()))
            .expect("writes back");
        assert_eq!(log.bytes_to_write_back(), Some(0));
        add(&connection);
        let after = log.bytes_to_write_back().expect("a head");
        assert!(after > 9_000, "{after}");
    }

    #[test]
    fn a_log_that_somebody_cut_or_wrote_over_is_not_whole_whatever_its_length_is() {
        for (cut_to, length) in [(0, 0), (0, 1 << 20), (4000, 1 << 20)] {
            let folder = tempfile::tempdir().expect("a folder");
            let (connection, log) = database(&folder);
            add(&connection);
            assert!(log.is_whole());
            let file = File::options()
                .write(true)
                .open(folder.path().join("some.db-wal"))
                .expect("opens");
            file.set_len(cut_to).expect("cuts");
            file.set_len(length).expect("makes a hole");
            assert!(!log.is_whole(), "{cut_to} {length}");
        }
    }
}
