//! Tells when one of some files is another than before: written in place, renamed over, linked elsewhere, or gone.
//!
//! Folders are watched, since editors put another file in the place of the old one, and those behind links too: in a Kubernetes
//! volume the file is a link into a folder that is a link itself and is exchanged. An event is a reason to look, what the system
//! says of the files is the truth, and a slow look behind both finds what no event told (a network file system).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::clock::Clock;

/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// A file is read once it has stayed as it is for that long: an editor empties it before it writes it.
const STILL: Duration = Duration::from_millis(150);

/// A file that is written all the time is read nevertheless after so many looks.
const MOST_LOOKS: u32 = 20;

/// Links that lead to one file.
const MOST_LINKS: usize = 16;

/// What the system says of a file; `None`: it is not there.
type FileStat = Option<[i64; 6]>;

/// Some files, as they were last seen.
pub(crate) struct Watched {
    files: Vec<PathBuf>,
    seen: Vec<FileStat>,
    call: Arc<Notify>,
    /// `None` where the system has no watch to give: the slow look finds everything.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watched {
    /// Begins to watch. What is there now is known.
    pub(crate) fn new(files: Vec<PathBuf>) -> Self {
        let mut watched = Self {
            files: Vec::new(),
            seen: Vec::new(),
            call: Arc::default(),
            watcher: None,
            folders: BTreeSet::new(),
        };
        watched.follow(files);
        watched
    }

    /// Watches these files, and the links that lead to them now. Those that are new are known as they are.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        let known = |file: &PathBuf| {
            let at = self.files.iter().position(|own| own == file);
            at.map_or_else(|| look(file), |at| self.seen[at])
        };
        self.seen = files.iter().map(known).collect();
        let is_same = self.files == files;
        self.files = files;
        let folders: BTreeSet<PathBuf> = self.files.iter().flat_map(|file| way(file)).collect();
        // A folder that was exchanged has the same name and is another one.
        if is_same && self.folders == folders && self.watcher.is_some() && !has_links(&self.files) {
            return;
        }
        self.folders = folders;
        self.watcher = match self.watch() {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "can't watch the mapping file's folder: a changed file is noticed within 10 seconds, or at SIGHUP");
                None
            }
        };
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let names: BTreeSet<OsString> = self
            .files
            .iter()
            .filter_map(|file| file.file_name().map(OsString::from))
            .collect();
        let call = Arc::clone(&self.call);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.map_or(true, |event| may_be_ours(&event, &names)) {
                    call.notify_one();
                }
            })?;
        for folder in &self.folders {
            // One that is not there comes back with an event of its own folder, or is found by the slow look.
            if folder.is_dir() {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
        }
        Ok(watcher)
    }

    /// Waits until a file is another than it was last seen. May be dropped at any time.
    pub(super) async fn changed(&mut self, clock: &Arc<dyn Clock>) {
        loop {
            if self.look() != self.seen {
                self.settled(clock).await;
                return;
            }
            tokio::select! {
                () = self.call.notified() => {}
                () = clock.sleep(LOOK) => {}
            }
        }
    }

    /// Waits until the files stay as they are, and takes that for what was last seen.
    async fn settled(&mut self, clock: &Arc<dyn Clock>) {
        for _ in 0..MOST_LOOKS {
            let before = self.look();
            clock.sleep(STILL).await;
            if before == self.look() {
                break;
            }
        }
        self.take();
    }

    /// What is there now is known.
    pub(super) fn take(&mut self) {
        self.seen = self.look();
        self.follow(self.files.clone());
    }

    fn look(&self) -> Vec<FileStat> {
        self.files.iter().map(|file| look(file)).collect()
    }
}

fn look(file: &Path) -> FileStat {
    let found = file.metadata().ok()?;
    Some([
        found.dev().cast_signed(),
        found.ino().cast_signed(),
        found.size().cast_signed(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime().wrapping_mul(1_000_000_000) + found.ctime_nsec(),
    ])
}

fn has_links(files: &[PathBuf]) -> bool {
    files.iter().any(|file| way(file).len() > 1)
}

/// The folders in which a change may make another file of it: its own, and those of what links lead to.
fn way(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut file = file.to_owned();
    for _ in 0..MOST_LINKS {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        folders.push(folder.clone());
        match file.read_link() {
            Ok(target) => file = folder.join(target),
            Err(_) => break,
        }
    }
    folders
}

/// Whether an event may make another of one of the files: what comes, goes or is renamed may be a link to it.
fn may_be_ours(event: &notify::Event, names: &BTreeSet<OsString>) -> bool {
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
    let is_written = match event.kind {
        EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Any
        | EventKind::Other => return true,
        EventKind::Modify(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
    };
    event.need_rescan() || (is_written && event.paths.iter().any(ours))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::clock::SystemClock;

    async fn is_seen(watched: &mut Watched, clock: &Arc<dyn Clock>) {
        let soon = Duration::from_mins(1);
        let seen = tokio::time::timeout(soon, watched.changed(clock)).await;
        seen.expect("the change is seen");
    }

    #[tokio::test]
    async fn a_file_is_seen_written_renamed_over_gone_and_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("c.toml"), folder.path().join("c.toml~"));
        let clock: Arc<dyn Clock> = SystemClock::new();
        fs::write(&file, "one").expect("written");
        let mut watched = Watched::new(vec![file.clone()]);
        fs::write(&file, "two, longer").expect("written");
        is_seen(&mut watched, &clock).await;
        fs::write(&other, "three").expect("written");
        fs::rename(&other, &file).expect("renamed");
        is_seen(&mut watched, &clock).await;
        fs::remove_file(&file).expect("removed");
        is_seen(&mut watched, &clock).await;
        fs::write(&file, "four").expect("written");
        is_seen(&mut watched, &clock).await;
        assert_eq!(watched.look(), watched.seen);
    }

    #[tokio::test]
    async fn a_folder_of_links_that_is_exchanged_is_seen_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let clock: Arc<dyn Clock> = SystemClock::new();
        for name in ["..1", "..2", "..3"] {
            fs::create_dir(at(name)).expect("made");
            fs::write(at(name).join("c.toml"), name).expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/c.toml", at("c.toml")).expect("linked");
        let mut watched = Watched::new(vec![at("c.toml")]);
        for name in ["..2", "..3"] {
            symlink(name, at("..data_tmp")).expect("linked");
            fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
            is_seen(&mut watched, &clock).await;
        }
        fs::write(at("..3").join("c.toml"), "in place").expect("written");
        is_seen(&mut watched, &clock).await;
    }

    #[test]
    fn the_writes_of_others_in_the_folder_are_no_reason_to_look() {
        use notify::event::DataChange;
        let names = BTreeSet::from([OsString::from("c.toml")]);
        let event = |kind, path: &str| {
            let event = notify::Event::new(kind).add_path(PathBuf::from(path));
            may_be_ours(&event, &names)
        };
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(event(written, "/etc/c.toml"));
        assert!(!event(written, "/etc/crm.db-wal"));
        assert!(event(
            EventKind::Create(notify::event::CreateKind::Any),
            "/etc/..data"
        ));
        assert!(!event(EventKind::Access(AccessKind::Read), "/etc/c.toml"));
    }
}
