//! Rings when another program has committed.
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use notify::Watcher as _;
use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;

/// Looks after an event of the file system, which comes before the commit is visible (engineering notes, 0).
const LOOKS: [u64; 9] = [150, 150, 300, 600, 1_300, 2_500, 5_000, 15_000, 35_000];

/// Watches the database's folder until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Begins to watch; `ring` is called after each commit of another connection.
    pub fn new(path: &Path, ring: impl Fn() + Send + 'static) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let mut watcher = notify::recommended_watcher(move |_event| {
            // A full channel has a ring waiting already.
            drop(sender.try_send(()));
        })
        .map_err(|error| StoreError::Mapping(error.to_string()))?;
        let folder = path.parent().unwrap_or(path);
        watcher
            .watch(folder, notify::RecursiveMode::NonRecursive)
            .map_err(|error| StoreError::Mapping(error.to_string()))?;
        std::thread::spawn(move || look(&connection, &receiver, &ring));
        Ok(Self { _watcher: watcher })
    }
}

fn look(connection: &Connection, receiver: &mpsc::Receiver<()>, ring: &dyn Fn()) {
    let version = || {
        connection
            .query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0))
            .unwrap_or(-1)
    };
    let mut seen = version();
    loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        for wait in LOOKS {
            let now = version();
            if now != seen {
                seen = now;
                ring();
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a thread of its own, between two looks"
            )]
            std::thread::sleep(Duration::from_micros(wait));
        }
    }
}
