//! Whether the database file is still the one that was opened, by its beginning: somebody may write another file over it,
//! or cut it to nothing, in place, so that device and inode stay.
//!
//! In WAL mode only a checkpoint writes to the database, whoever makes it, and the log's index tells how far checkpoints
//! have come, before the first page is written and after the last ("The Database Header" and "WAL-Index Format" of SQLite's
//! documentation). A file that begins otherwise while no checkpoint has been at work is another one. One that begins alike
//! goes unseen.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;

use crate::store::database::wal::{Checkpoints, Log};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of the header: it counts changes and pages among other things.
const HEADER: usize = 100;

type Header = [u8; HEADER];

/// The beginning of the open database.
#[derive(Debug)]
pub(crate) struct DatabaseHead {
    /// Never closed: that would drop the POSIX locks that SQLite holds on the same file.
    file: ManuallyDrop<File>,
    /// What stood there at the last look at which no checkpoint was at work.
    seen: Mutex<Option<(Checkpoints, Header)>>,
}

impl DatabaseHead {
    /// That of a database that is open in WAL mode.
    ///
    /// # Errors
    /// The file can't be opened.
    pub(crate) fn open(database: &Path) -> io::Result<Self> {
        Ok(Self {
            file: ManuallyDrop::new(File::open(database)?),
            seen: Mutex::new(None),
        })
    }

    /// Whether it can still be the file that was there at the last look. What can't be read says nothing.
    pub(crate) fn is_ours(&self, log: &Log) -> bool {
        let before = log.checkpoints();
        let mut header = [0; HEADER];
        match self.file.read_exact_at(&mut header, 0) {
            Ok(()) if !header.starts_with(MAGIC) => return false,
            Ok(()) => {}
            Err(error) => return error.kind() != ErrorKind::UnexpectedEof,
        }
        let Some(idle) = before.filter(Checkpoints::are_over) else {
            return true;
        };
        if log.checkpoints() != Some(idle) {
            return true;
        }
        let mut seen = self.seen.lock();
        let is_other = seen.is_some_and(|(then, other)| then == idle && other != header);
        if !is_other {
            *seen = Some((idle, header));
        }
        !is_other
    }
}
