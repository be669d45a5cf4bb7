//! Read-only connections beside the writer: for status, planning and lookups. They never block it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::store::database::read_only::open_to_look;
use crate::store::database::writer;
use crate::store::{Mode, OpenOptions, StoreError};

/// Connections that read at the same time: as many as the daemon has kinds of steps; more would only wait for the disk.
const MAX_READERS: usize = 4;

#[derive(Debug)]
pub(crate) struct Readers {
    shared: Arc<ReadersShared>,
    mode: Mode,
}

#[derive(Debug)]
struct ReadersShared {
    path: PathBuf,
    busy_timeout: Duration,
    /// Connections that nobody uses at the moment; `None` once closed.
    idle: Mutex<Option<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(options: &OpenOptions) -> Self {
        let shared = ReadersShared {
            path: options.path.clone(),
            busy_timeout: options.busy_timeout,
            idle: Mutex::new(Some(Vec::new())),
            permits: Arc::new(Semaphore::new(MAX_READERS)),
        };
        Self {
            shared: Arc::new(shared),
            mode: options.mode,
        }
    }

    pub(crate) async fn read<T, J>(&self, job: J) -> Result<T, StoreError>
    where
        T: Send + 'static,
        J: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if self.mode == Mode::Inline {
            return self.shared.run(job);
        }
        let permit = Arc::clone(&self.shared.permits)
            .acquire_owned()
            .await
            .map_err(|_closed| StoreError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let answer = shared.run(job);
            drop(permit);
            answer
        });
        done.await.map_err(|_stopped| StoreError::Closed)?
    }

    /// See [`Store::empty_log`](crate::store::Store::empty_log). On a connection of its own, so that no commit waits for a reader.
    pub(crate) async fn empty_log(&self) -> Result<bool, StoreError> {
        let path = self.shared.path.clone();
        if self.mode == Mode::Inline {
            return empty_log(&path);
        }
        let done = tokio::task::spawn_blocking(move || empty_log(&path));
        done.await.map_err(|_stopped| StoreError::Closed)?
    }

    pub(crate) fn close(&self) {
        self.shared.permits.close();
        *self.shared.idle.lock().expect("no holder panics") = None;
    }
}

/// How long the log waits for a reader in one try.
const LOG_WAIT: Duration = Duration::from_millis(100);

fn empty_log(path: &Path) -> Result<bool, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    writer::harden(&connection, LOG_WAIT)?;
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

impl ReadersShared {
    fn run<T>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = self.take()?;
        let answer = in_one_state(&connection, job);
        if connection.is_autocommit() {
            self.give_back(connection);
        }
        answer
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self
            .idle
            .lock()
            .expect("no holder panics")
            .as_mut()
            .ok_or(StoreError::Closed)?
            .pop();
        idle.map_or_else(|| connect(&self.path, self.busy_timeout), Ok)
    }

    fn give_back(&self, connection: Connection) {
        if let Some(idle) = self.idle.lock().expect("no holder panics").as_mut() {
            idle.push(connection);
        }
    }
}

fn in_one_state<T>(
    connection: &Connection,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let answer = job(connection);
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    answer
}

/// Opens a connection that can't write.
pub(crate) fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let connection = open_to_look(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    writer::harden(&connection, busy_timeout)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    Ok(connection)
}
