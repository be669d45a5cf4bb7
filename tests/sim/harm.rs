//! Harm to the file under a running daemon: it is replaced, written over, cut, or taken over by another holder. Whoever goes on
//! writes into what nobody reads, or over what somebody has just put there; so the daemon must end, at each moment of its work.

use std::path::Path;
use std::time::Duration;

use hubsyncd::model::mapping::{Direction, Modes};
use hubsyncd::model::settings::Guard;
use hubsyncd::store::StoreError;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::daemon::Daemon;
use crate::plan::Plan;
use crate::run::{Run, SECOND};

/// Each kind of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Another file is renamed to its name.
    Renamed,
    /// It is removed.
    Removed,
    /// An older copy is written over it in place.
    WrittenOver,
    /// Its log is removed.
    LogRemoved,
    /// Its log is cut.
    LogCut,
    /// Another holder has raised the epoch while the daemon slept.
    TakenOver,
}

const ALL: [Harm; 6] = [
    Harm::Renamed,
    Harm::Removed,
    Harm::WrittenOver,
    Harm::LogRemoved,
    Harm::LogCut,
    Harm::TakenOver,
];

/// After a program's commit: before the daemon has heard of it, on its way, and later.
const MOMENTS_MS: [u64; 3] = [0, 40, 4_000];
/// A daemon looks at its file with each step that writes, and it polls within this.
const SOON: u64 = 60 * SECOND;

fn plan() -> Plan {
    let mut drawn = Plan::draw(1);
    for object in &mut drawn.mapping.objects {
        object.modes = Modes::default();
        object.direction = Direction::Both;
    }
    Plan {
        settings: hubsyncd::simulator::settings::Settings {
            webhooks: None,
            ..hubsyncd::simulator::settings::Settings::quick()
        },
        chances: std::collections::BTreeMap::new(),
        script: Vec::new(),
        records: 3,
        poll: Duration::from_secs(10),
        guard: Guard {
            max_archives: 1_000,
            max_share: 1.0,
            ..drawn.guard
        },
        narrow: None,
        ..drawn
    }
}

/// A daemon at work, some milliseconds after a program has written.
fn at_work(after_ms: u64) -> Result<Run, String> {
    let mut run = Run::new(plan(), false);
    run.start()?;
    run.wait(120 * SECOND)?;
    write(&run);
    if let Some(daemon) = &run.daemon {
        daemon.committed();
    }
    run.wait(after_ms * SECOND / 1_000)?;
    Ok(run)
}

fn write(run: &Run) {
    let sql = "UPDATE contacts SET c_firstname = 'written' WHERE local_id = (SELECT min(local_id) FROM contacts)";
    let done = run.programs.connection().execute(sql, []);
    assert_eq!(done.expect("a program's write"), 1);
}

fn copy(run: &Run, to: &Path) {
    let to = to.to_string_lossy().into_owned();
    let done = run.programs.connection().execute("VACUUM INTO ?1", [to]);
    done.expect("a copy");
}

/// Does the harm; what stands in the file's place then.
fn harm(run: &Run, harm: Harm) -> Option<Vec<u8>> {
    let path = run.path();
    let beside = |suffix: &str| run.folder.path().join(format!("crm.db{suffix}"));
    let copied = run.folder.path().join("copy.db");
    match harm {
        Harm::Renamed => {
            copy(run, &copied);
            std::fs::rename(&copied, &path).expect("a name");
        }
        Harm::Removed => std::fs::remove_file(&path).expect("a file"),
        Harm::WrittenOver => {
            copy(run, &copied);
            let bytes = std::fs::read(&copied).expect("a file");
            std::fs::write(&path, bytes).expect("a file");
        }
        Harm::LogRemoved => std::fs::remove_file(beside("-wal")).expect("a log"),
        Harm::LogCut => {
            let log = std::fs::OpenOptions::new().write(true).open(beside("-wal"));
            log.and_then(|log| log.set_len(0)).expect("a log");
        }
        Harm::TakenOver => {
            let other = Connection::open(&path).expect("the file opens");
            // Our own triggers keep other programs from it.
            let fires = DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
            other.set_db_config(fires, false).expect("a setting");
            let done = other.execute("UPDATE _sync_lease SET epoch = epoch + 1", []);
            assert_eq!(done.expect("the lease"), 1);
        }
    }
    let is_another = matches!(harm, Harm::Renamed | Harm::WrittenOver);
    is_another.then(|| std::fs::read(&path).expect("a file"))
}

/// The daemon ends, and what was put in place stays as it is.
fn ends(kind: Harm, after_ms: u64) -> Result<(), String> {
    let mut run = at_work(after_ms)?;
    let placed = harm(&run, kind);
    run.world.state().ends = Some(Vec::new());
    let start = run.world.state().steady;
    let is_over = |run: &Run| run.world.state().ends.iter().flatten().count() > 0;
    while !is_over(&run) {
        if run.world.state().steady > start + SOON {
            return Err("the daemon goes on".to_owned());
        }
        if let Some(daemon) = &run.daemon {
            daemon.committed();
        }
        run.wait(SECOND)?;
    }
    run.kill();
    let is_as_placed = |bytes: &[u8]| std::fs::read(run.path()).is_ok_and(|found| found == bytes);
    match placed {
        Some(bytes) if !is_as_placed(&bytes) => Err("what was put in place was written to".into()),
        Some(_) | None => Ok(()),
    }
}

#[test]
fn a_daemon_whose_file_is_harmed_ends() {
    for kind in ALL {
        for after_ms in MOMENTS_MS {
            if let Err(what) = ends(kind, after_ms) {
                panic!("{kind:?}, {after_ms} ms after a program's write: {what}");
            }
        }
    }
}

#[test]
fn a_second_daemon_is_not_let_in() {
    let mut run = at_work(0).expect("a daemon at work");
    let path = run.path();
    let second = Daemon::start(&run.plan, &run.world, &path, &mut run.executor);
    let refused = second.err().expect("the first one holds the file");
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
}
