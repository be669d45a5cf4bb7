//! Rings when another connection has committed: how a program's write is pushed within milliseconds.
//!
//! The file system's event comes before the commit can be seen: SQLite writes to the WAL, flushes it, and only then moves
//! the index. So an event is a reason to look several times, `PRAGMA data_version` is the truth, and a slow poll behind both
//! finds what no event told (a network file system, a flush that took long). A ring says that something was committed, not
//! what: the tables say that. The daemon's own commits ring too.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rusqlite::Connection;

use crate::store::StoreError;
use crate::store::database::readers;

/// The wait before each look that follows an event, in microseconds. The looks come 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 25 and
/// 60 ms after it; measured so, a commit is seen after 0.34 ms at the median and 6.7 ms at worst.
const WAITS: [u64; 9] = [150, 150, 300, 600, 1_300, 2_500, 5_000, 15_000, 35_000];

/// The longest time between two looks.
const FALLBACK: Duration = Duration::from_secs(1);

/// How long a look waits for a lock. WAL's readers wait for nobody; only the recovery after a crash holds one.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Watches the database until it is dropped; then its thread has ended.
pub(crate) struct Watch {
    bell: Arc<CommitBell>,
    thread: Option<JoinHandle<()>>,
    /// `None` where the system has no watch to give: the slow poll finds everything.
    _watcher: Option<RecommendedWatcher>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watch")
    }
}

impl Watch {
    /// Begins to watch. `ring` is called on a thread of the watch: once at the start, and after commits of other
    /// connections, several of which may share a ring.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(crate) fn new(path: &Path, ring: impl Fn() + Send + 'static) -> Result<Self, StoreError> {
        Self::with_fallback(path, FALLBACK, ring)
    }

    fn with_fallback(
        path: &Path,
        fallback: Duration,
        ring: impl Fn() + Send + 'static,
    ) -> Result<Self, StoreError> {
        let bell = Arc::new(CommitBell::default());
        let watcher = match watch_folder(path, Arc::clone(&bell)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "can't watch the database's folder: local writes are noticed within a second"
                );
                None
            }
        };
        let look = WatchLook {
            path: path.to_path_buf(),
            connection: None,
            seen: None,
        };
        let at_work = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || work(&at_work, fallback, look, &ring))
            .map_err(|error| StoreError::Open {
                path: path.to_path_buf(),
                cause: Arc::new(error),
            })?;
        Ok(Self {
            bell,
            thread: Some(thread),
            _watcher: watcher,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bell.stop();
        let joined = self.thread.take().map(JoinHandle::join);
        debug_assert!(
            !matches!(joined, Some(Err(_))),
            "the watch's thread panicked"
        );
    }
}

/// Watches the folder, not the file: the WAL comes and goes.
fn watch_folder(path: &Path, bell: Arc<CommitBell>) -> notify::Result<RecommendedWatcher> {
    let name = path.file_name().unwrap_or_default().to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| may_be_a_commit(&event, &name)) {
            bell.event();
        }
    })?;
    watcher.watch(folder_of(path), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// The folder of a path; of `crm.db` alone it is the current one.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Whether an event is about the database or a file beside it, and not only of its being opened or read.
fn may_be_a_commit(event: &notify::Event, name: &OsStr) -> bool {
    let only_read = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    };
    let ours = |path: &PathBuf| {
        path.file_name().is_some_and(|found| {
            found
                .as_encoded_bytes()
                .starts_with(name.as_encoded_bytes())
        })
    };
    event.need_rescan() || (!only_read && event.paths.iter().any(ours))
}

/// What the watch's thread is told.
#[derive(Default)]
struct CommitBell {
    told: Mutex<AlreadyTold>,
    changed: Condvar,
}

#[derive(Default)]
struct AlreadyTold {
    event: bool,
    stopped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Woken {
    Event,
    TimeOver,
    Stopped,
}

impl CommitBell {
    fn event(&self) {
        self.tell(|told| told.event = true);
    }

    fn stop(&self) {
        self.tell(|told| told.stopped = true);
    }

    fn tell(&self, what: impl FnOnce(&mut AlreadyTold)) {
        what(&mut self.told.lock().expect("no holder panics"));
        self.changed.notify_one();
    }

    /// Waits for an event, which it takes.
    fn wait(&self, time: Duration) -> Woken {
        self.wait_while(time, |told| !told.event && !told.stopped)
    }

    /// Waits that long whatever happens in the folder.
    fn pause(&self, time: Duration) -> Woken {
        self.wait_while(time, |told| !told.stopped)
    }

    fn wait_while(&self, time: Duration, condition: impl Fn(&mut AlreadyTold) -> bool) -> Woken {
        let told = self.told.lock().expect("no holder panics");
        let (mut told, waited) = self
            .changed
            .wait_timeout_while(told, time, |told| condition(told))
            .expect("no holder panics");
        if told.stopped {
            return Woken::Stopped;
        }
        if waited.timed_out() {
            return Woken::TimeOver;
        }
        told.event = false;
        Woken::Event
    }
}

/// Looks after each event at all of `WAITS`, and again from the first where another event comes meanwhile. The first wait is
/// not cut short, so that a folder in which something happens all the time is looked at, and not more often than that.
fn work(bell: &CommitBell, fallback: Duration, mut look: WatchLook, ring: &dyn Fn()) {
    let mut look = || {
        if look.has_changed() {
            ring();
        }
    };
    look();
    let mut next = WAITS.len();
    loop {
        let woken = match WAITS.get(next) {
            Some(wait) if next == 0 => bell.pause(Duration::from_micros(*wait)),
            Some(wait) => bell.wait(Duration::from_micros(*wait)),
            None => bell.wait(fallback),
        };
        match woken {
            Woken::Stopped => return,
            Woken::Event => next = 0,
            Woken::TimeOver => {
                look();
                next = WAITS.len().min(next + 1);
            }
        }
    }
}

/// A connection of its own, since `data_version` tells of the commits of others only.
struct WatchLook {
    path: PathBuf,
    connection: Option<Connection>,
    /// What the connection saw last; another connection's numbers mean nothing to it.
    seen: Option<i64>,
}

impl WatchLook {
    /// Whether something was committed since the last look, as far as this connection can tell: its first look says yes.
    /// One that fails drops the connection, and the next look opens another.
    fn has_changed(&mut self) -> bool {
        match self.version() {
            Ok(version) => self.seen.replace(version) != Some(version),
            Err(_tried_again) => {
                self.seen = None;
                false
            }
        }
    }

    fn version(&mut self) -> Result<i64, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => readers::connect(&self.path, BUSY_TIMEOUT)?,
        };
        let version = connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        self.connection = Some(connection);
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{folder, open};

    /// Longer than any machine is busy; a test that waits for it has failed.
    const DEADLINE: Duration = Duration::from_mins(1);

    /// A fallback that no test lives to see.
    const NEVER: Duration = Duration::from_hours(24);

    fn database(folder: &tempfile::TempDir) -> PathBuf {
        drop(open(folder, Mode::Inline).expect("opens"));
        folder.path().join("crm.db")
    }

    /// A connection as a program has it: WAL from the file, `synchronous=FULL` by default.
    fn program(path: &Path) -> Connection {
        let connection = Connection::open(path).expect("opens");
        connection
            .execute_batch("CREATE TABLE notes (text TEXT) STRICT")
            .expect("makes a table of its own");
        connection
    }

    fn commit(connection: &Connection) {
        connection
            .execute("INSERT INTO notes (text) VALUES ('x')", [])
            .expect("commits");
    }

    /// A watch whose rings can be waited for; the first of them, at the start, is taken.
    fn watch(path: &Path, fallback: Duration) -> (Watch, Receiver<()>) {
        let (sender, rings) = sync_channel(1024);
        let ring = move || sender.try_send(()).expect("there is room");
        let watch = Watch::with_fallback(path, fallback, ring).expect("watches");
        rings.recv_timeout(DEADLINE).expect("rings at the start");
        (watch, rings)
    }

    /// Takes the rings of what was committed before.
    fn settle(rings: &Receiver<()>) {
        while rings.recv_timeout(Duration::from_millis(100)).is_ok() {}
    }

    #[test]
    fn each_commit_of_another_connection_rings() {
        let folder = folder();
        let path = database(&folder);
        let program = program(&path);
        let (_watch, rings) = watch(&path, FALLBACK);
        for number in 0..20 {
            take_all(&rings);
            commit(&program);
            assert!(rings.recv_timeout(DEADLINE).is_ok(), "commit {number}");
        }
    }

    /// A ring that waits is of an earlier commit.
    fn take_all(rings: &Receiver<()>) {
        while rings.try_recv().is_ok() {}
    }

    #[test]
    fn a_commit_rings_by_its_own_event_and_not_by_the_next_one() {
        let folder = folder();
        let path = database(&folder);
        let program = program(&path);
        let (_watch, rings) = watch(&path, NEVER);
        // A disk may be so busy that a flush outlasts all looks: that is what the slow poll is for. Not ten times.
        let rang = (0..10).any(|_| {
            settle(&rings);
            commit(&program);
            rings.recv_timeout(Duration::from_secs(2)).is_ok()
        });
        assert!(rang);
    }

    #[test]
    fn without_events_the_slow_poll_rings() {
        let folder = folder();
        let path = database(&folder);
        let program = program(&path);
        let bell = Arc::new(CommitBell::default());
        let look = WatchLook {
            path,
            connection: None,
            seen: None,
        };
        let (sender, rings) = sync_channel(1024);
        let at_work = Arc::clone(&bell);
        let thread = thread::spawn(move || {
            work(&at_work, Duration::from_millis(20), look, &|| {
                sender.try_send(()).expect("there is room");
            });
        });
        rings.recv_timeout(DEADLINE).expect("rings at the start");
        commit(&program);
        assert!(rings.recv_timeout(DEADLINE).is_ok());
        bell.stop();
        thread.join().expect("ends");
    }

    #[test]
    fn a_look_tells_of_every_commit_once_and_of_nothing_else() {
        let folder = folder();
        let path = database(&folder);
        let program = program(&path);
        let mut look = WatchLook {
            path,
            connection: None,
            seen: None,
        };
        assert!(look.has_changed());
        assert!(!look.has_changed());
        commit(&program);
        assert!(look.has_changed());
        program
            .execute_batch("BEGIN; INSERT INTO notes (text) VALUES ('y'); ROLLBACK")
            .expect("rolls back");
        assert!(!look.has_changed());
    }

    #[test]
    fn a_look_that_fails_opens_the_file_again_and_then_rings() {
        let folder = folder();
        let path = database(&folder);
        let away = folder.path().join("away.db");
        fs::rename(&path, &away).expect("moves");
        let mut look = WatchLook {
            path: path.clone(),
            connection: None,
            seen: Some(1),
        };
        assert!(!look.has_changed());
        fs::rename(&away, &path).expect("moves back");
        assert!(look.has_changed());
        assert!(!look.has_changed());
    }

    #[test]
    fn the_thread_has_ended_when_the_watch_is_dropped() {
        let folder = folder();
        let (watch, rings) = watch(&database(&folder), NEVER);
        drop(watch);
        take_all(&rings);
        assert_eq!(rings.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn a_relative_path_is_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("crm.db")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/crm.db")), Path::new("a"));
        assert_eq!(folder_of(Path::new("/crm.db")), Path::new("/"));
        let bell = Arc::new(CommitBell::default());
        assert!(watch_folder(Path::new("crm.db"), bell).is_ok());
    }

    #[test]
    fn an_event_is_taken_once_and_a_pause_leaves_it() {
        let bell = CommitBell::default();
        assert_eq!(bell.wait(Duration::ZERO), Woken::TimeOver);
        bell.event();
        bell.event();
        assert_eq!(bell.pause(Duration::ZERO), Woken::TimeOver);
        assert_eq!(bell.wait(DEADLINE), Woken::Event);
        assert_eq!(bell.wait(Duration::ZERO), Woken::TimeOver);
        bell.stop();
        assert_eq!(bell.wait(DEADLINE), Woken::Stopped);
        assert_eq!(bell.pause(DEADLINE), Woken::Stopped);
    }

    #[test]
    fn being_read_is_no_reason_to_look() {
        use notify::event::{CreateKind, DataChange, Flag, ModifyKind};
        let name = OsString::from("crm.db");
        let about = |kind, file: &str| {
            let event = notify::Event::new(kind).add_path(PathBuf::from("/data").join(file));
            may_be_a_commit(&event, &name)
        };
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(about(written, "crm.db-wal"));
        assert!(about(written, "crm.db"));
        assert!(about(EventKind::Create(CreateKind::File), "crm.db-wal"));
        assert!(about(
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            "crm.db"
        ));
        assert!(!about(written, "other.db"));
        assert!(!about(
            EventKind::Access(AccessKind::Open(AccessMode::Any)),
            "crm.db"
        ));
        let overflow = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(may_be_a_commit(&overflow, &name));
    }
}
