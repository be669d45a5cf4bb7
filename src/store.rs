//! `Store`: the database file as async code sees it.
//!
//! One thread owns the writing connection (`writer.rs`), reads go beside it (`readers.rs`). The files of this folder hold
//! functions on `&Transaction`, a file a table: they fetch and save, and decide nothing. Only the writer begins and commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::Clock;
use crate::model::settings::Checkpoint;
use crate::model::time::Timestamp;

pub mod absent;
pub mod awaited;
pub mod calls;
pub mod cleared;
pub mod commands;
pub mod conflicts;
pub mod counts;
pub mod cursors;
pub mod database;
pub mod erase;
mod error;
pub mod fields;
pub mod gaps;
pub mod history;
pub mod holds;
pub mod inbox;
pub mod links;
pub mod lookups;
pub(crate) mod measured;
pub mod merges;
pub mod meta;
pub(crate) mod metrics;
pub mod mirror;
pub mod modes;
pub mod orders;
pub mod outbox;
pub mod property_history;
pub mod quota;
pub mod ranges;
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
pub mod undo;
pub mod unreadable;

use calls::{CallBook, TakenCalls};
use database::lease::Lease;
use database::readers::Readers;
use database::writer::Writer;
use database::{access, checkpoints, lease, migrate, writer};

pub use database::writer::WriteTx;
pub use error::StoreError;
pub(crate) use error::{DISK_TROUBLE, FEW_DESCRIPTORS, MORE_DESCRIPTORS};

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
    /// Who writes the log back into the file.
    pub checkpoint: Checkpoint,
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
    calls: CallBook,
    checkpoint: Checkpoint,
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
        lock.sign(epoch)
            .map_err(|error| lease::cannot_open(&options.path, error))?;
        let readers = Readers::new(options);
        let calls = CallBook::default();
        let owned = (lease.clone(), lock);
        let writer = Writer::start(options, connection, clock, owned, calls.clone())?;
        Ok(Self {
            inner: Arc::new(StoreInner {
                readers,
                writer,
                lease,
                restored,
                calls,
                checkpoint: options.checkpoint,
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

    /// What was sent, on its way into rows.
    pub(crate) fn calls(&self) -> &CallBook {
        &self.inner.calls
    }

    /// What was counted and measured since the start.
    pub(crate) fn measured(&self) -> &measured::Measured {
        self.calls().measured()
    }

    /// Writes down what was sent and no transaction has taken along; nothing is written where nothing waits.
    ///
    /// # Errors
    /// As [`write`](Self::write); it waits on then.
    pub(crate) async fn write_calls(&self) -> Result<(), StoreError> {
        if self.calls().is_empty() {
            return Ok(());
        }
        let book = self.calls().clone();
        let written = self.write(Lane::Bulk, move |tx| book.write_all(tx));
        written.await?.into_iter().for_each(TakenCalls::are_written);
        Ok(())
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

    /// Who writes the log back into the file.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.inner.checkpoint
    }

    /// Bytes of the log that nobody has written back yet; `None` where that can't be told at the moment.
    pub(crate) fn bytes_to_write_back(&self) -> Option<u64> {
        self.inner.lease.bytes_to_write_back()
    }

    /// Writes the log back into the file and cuts it to nothing, so that what was erased is nowhere. `false`: a reader
    /// holds it; to be tried again.
    ///
    /// # Errors
    /// The file can't be opened or written.
    pub(crate) async fn empty_log(&self) -> Result<bool, StoreError> {
        self.check_file()?;
        let begun = self.inner.writer.steady();
        let emptied = self.inner.readers.empty_log().await?;
        let took = self.inner.writer.steady().saturating_sub(begun);
        self.measured().checkpointed(took);
        Ok(emptied)
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
    let tx = connection.transaction()?;
    checkpoints::keep(&tx, options.checkpoint)?;
    tx.commit()?;
    let epoch = lease::take(&mut connection, now)?;
    let lease = Lease::new(options.path.clone(), found, epoch)?;
    Ok((connection, lease, recognised))
}

#[cfg(test)]
mod tests;
