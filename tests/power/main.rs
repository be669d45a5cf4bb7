//! Power cuts (promise 6): the store's transactions are recorded on their way to the disk, the power is cut at every
//! flush, and from each disk that this may leave the file is opened again. Every acknowledged transaction is there, none in
//! part, SQLite finds no damage, and the daemon starts.
//!
//! `HUBSYNC_POWER_SEEDS=N` runs N scenarios instead of one, `HUBSYNC_POWER_CUTS=N` cuts N times at each flush.

mod disk;
mod replay;
mod scenario;
mod vfs;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use replay::{Found, folder, kinds, replay};
use scenario::{Durability, run};

/// One recording at a time: the VFS is the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn say(found: &Found, what: &str) {
    writeln!(
        std::io::stderr(),
        "{what}: {} states, {} lost, {} half, {} corrupt, {} stuck {:#?}",
        found.states,
        found.lost,
        found.half,
        found.corrupt,
        found.stuck,
        found.examples
    )
    .expect("stderr");
}

#[test]
fn no_cut_loses_or_halves_what_was_acknowledged() {
    let _alone = alone();
    let cuts = setting("HUBSYNC_POWER_CUTS", 16) as usize;
    for seed in 1..=setting("HUBSYNC_POWER_SEEDS", 1) {
        let folder = folder();
        let recorded = run(folder.path(), seed, Durability::Store);
        let kinds = kinds(&recorded);
        for happened in [
            ("crm.db", "write"),
            ("crm.db", "sync"),
            ("crm.db-wal", "write"),
            ("crm.db-wal", "sync"),
            ("crm.db-wal", "delete"),
            ("crm.db-journal", "delete"),
        ] {
            assert!(
                kinds.get(&happened).is_some_and(|count| *count > 0),
                "{kinds:?}"
            );
        }
        let found = replay(&recorded, seed, cuts);
        say(&found, &format!("seed {seed}"));
        assert!(found.states > 1_000, "{found:?}");
        let wrong = (found.lost, found.half, found.corrupt, found.stuck);
        assert_eq!(wrong, (0, 0, 0, 0), "seed {seed}: {:#?}", found.examples);
    }
}

/// The control: a daemon that does not flush its commits loses some, and this test sees it.
#[test]
fn at_synchronous_normal_acknowledged_commits_are_lost_and_that_is_found() {
    let _alone = alone();
    let folder = folder();
    let recorded = run(folder.path(), 1, Durability::Normal);
    let found = replay(&recorded, 1, 8);
    say(&found, "synchronous=NORMAL");
    assert!(found.lost > 0, "{found:?}");
    assert_eq!((found.half, found.corrupt), (0, 0), "{:#?}", found.examples);
}
