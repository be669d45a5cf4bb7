//! The store as a whole: what is written, who may write, and what becomes of a file that others touch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use futures_util::FutureExt as _;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::testing::{Standing, at_once, folder, open, options};
use super::*;
use crate::model::id::PortalId;
use crate::store::error::DEFAULT_FOLDER;

fn remember(store: &Store, lane: Lane, name: &'static str) -> Result<(), StoreError> {
    at_once(store.write(lane, move |tx| meta::set(tx, name, "x")))
}

fn remembered(store: &Store) -> i64 {
    let count = |connection: &Connection| {
        Ok(connection.query_row(
            "SELECT count(*) FROM _sync_meta WHERE value = 'x'",
            [],
            |row| row.get(0),
        )?)
    };
    at_once(store.read(count)).expect("reads")
}

#[test]
fn what_was_written_is_read_in_both_modes_and_after_a_crash() {
    for mode in [Mode::Threads, Mode::Inline] {
        let folder = folder();
        let store = open(&folder, mode).expect("opens");
        assert_eq!(store.epoch(), 1);
        remember(&store, Lane::Interactive, "a").expect("writes");
        remember(&store, Lane::Bulk, "b").expect("writes");
        assert_eq!(remembered(&store), 2);
        if mode == Mode::Threads {
            store.close();
        } else {
            drop(store);
        }
        let again = open(&folder, Mode::Inline).expect("opens again");
        assert_eq!((again.epoch(), remembered(&again)), (2, 2));
    }
}

/// A third of a push went into preparing statements anew for each value of a parameter that a partial index names.
#[test]
fn a_statement_stays_prepared_whatever_value_a_parameter_gets() {
    let folder = folder();
    let store = open(&folder, Mode::Threads).expect("opens");
    let is_on =
        |connection: &Connection| Ok(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG)?);
    assert!(at_once(store.read(is_on)).expect("reads"));
    assert!(at_once(store.write(Lane::Bulk, move |tx| is_on(tx))).expect("writes"));
    store.close();
}

#[test]
fn a_second_daemon_is_told_the_pid_of_the_first() {
    let folder = folder();
    let first = open(&folder, Mode::Inline).expect("opens");
    let error = open(&folder, Mode::Inline).expect_err("held");
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(error.to_string().ends_with(&format!(
        "is held by another daemon (pid {})",
        std::process::id()
    )));
    drop(first);
    open(&folder, Mode::Inline).expect("free again");
}

#[test]
fn a_failed_job_leaves_nothing_and_takes_nothing_with_it() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let error = at_once(store.write(Lane::Bulk, |tx| {
        meta::set(tx, "a", "x")?;
        Err::<(), _>(StoreError::UnknownValue("`y` as a test".to_owned()))
    }));
    assert_eq!(
        error.expect_err("fails").to_string(),
        "unknown `y` as a test in the database"
    );
    assert_eq!(remembered(&store), 0);
}

#[test]
fn waiting_jobs_share_a_commit_and_the_failed_one_is_undone_alone() {
    let folder = folder();
    let store = open(&folder, Mode::Threads).expect("opens");
    let (release, gate) = mpsc::sync_channel::<()>(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let first = spawn(&runtime, &store, Lane::Bulk, move |_tx| {
        gate.recv().expect("released");
        Ok(())
    });
    // The queue keeps the order of one task, so that these wait behind the first one.
    let later: Vec<_> = [("a", false), ("b", true), ("c", false)]
        .map(|(name, fails)| {
            spawn(&runtime, &store, Lane::Interactive, move |tx| {
                meta::set(tx, name, "x")?;
                if fails {
                    Err(StoreError::Closed)
                } else {
                    Ok(())
                }
            })
        })
        .into();
    release.send(()).expect("waited for");
    assert!(runtime.block_on(first).expect("runs").is_ok());
    let ok: Vec<bool> = later
        .into_iter()
        .map(|task| runtime.block_on(task).expect("runs").is_ok())
        .collect();
    assert_eq!(ok, [true, false, true]);
    assert_eq!(remembered(&store), 2);
    store.close();
}

fn spawn<J>(
    runtime: &tokio::runtime::Runtime,
    store: &Store,
    lane: Lane,
    job: J,
) -> tokio::task::JoinHandle<Result<(), StoreError>>
where
    J: FnOnce(&WriteTx<'_>) -> Result<(), StoreError> + Send + 'static,
{
    let store = store.clone();
    runtime.spawn(async move { store.write(lane, job).await })
}

#[test]
fn a_job_is_carried_out_even_if_nobody_waits_for_it() {
    let folder = folder();
    let store = open(&folder, Mode::Threads).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (started, has_started) = mpsc::sync_channel::<()>(1);
    let (release, gate) = mpsc::sync_channel::<()>(1);
    let handle = store.clone();
    runtime.block_on(async move {
        let task = tokio::spawn(async move {
            let job = move |tx: &WriteTx<'_>| {
                started.send(()).expect("listened to");
                gate.recv().expect("released");
                meta::set(tx, "a", "x")
            };
            handle.write(Lane::Interactive, job).await
        });
        tokio::task::yield_now().await;
        has_started.recv().expect("the job runs");
        task.abort();
        assert!(task.await.expect_err("aborted").is_cancelled());
    });
    release.send(()).expect("the job waits");
    store.close();
    assert_eq!(remembered(&open(&folder, Mode::Inline).expect("opens")), 1);
}

#[test]
fn a_file_that_was_removed_or_replaced_is_not_written_again() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    store.check_file().expect("in place");
    let aside = folder.path().join("aside.db");
    std::fs::rename(store.path(), &aside).expect("moves");
    assert!(matches!(
        store.check_file(),
        Err(StoreError::FileReplaced { .. })
    ));
    std::fs::rename(&aside, store.path()).expect("moves back");
    let error = remember(&store, Lane::Bulk, "a").expect_err("stays stopped");
    assert!(matches!(error, StoreError::FileReplaced { .. }) && error.is_fatal());
    assert_eq!(remembered(&store), 0);
}

#[test]
fn a_database_or_an_index_that_is_written_over_in_place_is_noticed_before_anything_more_is_acknowledged()
 {
    let elsewhere = folder();
    open(&elsewhere, Mode::Threads).expect("opens").close();
    let other = std::fs::read(elsewhere.path().join("crm.db")).expect("reads");
    let nothing = vec![0; 65_536];
    for (name, bytes) in [
        ("crm.db", other.as_slice()),
        ("crm.db", nothing.as_slice()),
        ("crm.db", &[][..]),
        ("crm.db-shm", &[][..]),
    ] {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        for _ in 0..3 {
            // As many pages as make the file larger, which its first page counts.
            let grow = |tx: &WriteTx<'_>| {
                let sql = "INSERT INTO _sync_meta (name, value) VALUES (hex(randomblob(8)), hex(zeroblob(20000)))";
                Ok(tx.execute_batch(sql)?)
            };
            at_once(store.write(Lane::Bulk, grow)).expect("writes");
            let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
            let program = Connection::open(store.path()).expect("opens");
            let busy: i64 = program
                .query_row(checkpoint, [], |row| row.get(0))
                .expect("writes back");
            assert_eq!(busy, 0);
            store.check_file().expect("it is the same file");
        }
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("is written over");
        let error = remember(&store, Lane::Bulk, "b").expect_err("nobody would see it");
        assert!(
            matches!(&error, StoreError::FileReplaced { path: found } if *found == path),
            "{name}: {error}"
        );
        store.close();
        let left = std::fs::read(&path).expect("reads");
        assert!(
            left == bytes || name == "crm.db-shm",
            "nothing is written into it"
        );
    }
}

#[test]
fn a_log_that_was_removed_is_noticed_before_anything_more_is_acknowledged() {
    for name in ["crm.db-wal", "crm.db-shm"] {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        remember(&store, Lane::Bulk, "a").expect("writes");
        std::fs::remove_file(folder.path().join(name)).expect("removes");
        let error = remember(&store, Lane::Bulk, "b").expect_err("nobody would see it");
        assert!(error.is_fatal());
        assert!(
            error.to_string().ends_with(&format!(
                "{name}` was removed or replaced while it was open"
            )),
            "{error}"
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("never remove"))
        );
    }
}

#[test]
fn a_log_that_was_cut_in_place_is_never_written_back_and_the_next_start_knows_of_it() {
    let folder = folder();
    let store = open(&folder, Mode::Threads).expect("opens");
    remember(&store, Lane::Bulk, "a").expect("writes");
    store.close();
    let store = open(&folder, Mode::Threads).expect("opens again");
    remember(&store, Lane::Bulk, "b").expect("writes");
    let log = std::fs::File::options()
        .write(true)
        .open(folder.path().join("crm.db-wal"))
        .expect("opens");
    log.set_len(0).expect("cuts");
    let error = remember(&store, Lane::Bulk, "c").expect_err("it would stand behind a hole");
    assert!(matches!(error, StoreError::LogCut { .. }) && error.is_fatal());
    remember(&store, Lane::Bulk, "d").expect_err("stays stopped");
    store.close();
    let store = open(&folder, Mode::Threads).expect("the database is good");
    assert!(store.was_restored());
    assert_eq!(remembered(&store), 1, "`b` stood in the log alone");
    store.close();
}

#[test]
fn what_stood_in_a_log_that_was_removed_is_saved_at_the_end_and_beside_another_log_nothing_is_written()
 {
    for is_replaced in [false, true] {
        let folder = folder();
        let store = open(&folder, Mode::Threads).expect("opens");
        remember(&store, Lane::Bulk, "a").expect("writes");
        let (database, log) = (
            folder.path().join("crm.db"),
            folder.path().join("crm.db-wal"),
        );
        std::fs::remove_file(&log).expect("removes");
        if is_replaced {
            std::fs::write(&log, "").expect("somebody else's");
        }
        let before = std::fs::read(&database).expect("reads");
        store.check_file().expect_err("noticed");
        store.close();
        let after = std::fs::read(&database).expect("reads");
        assert_eq!(after == before, is_replaced);
        if !is_replaced {
            assert_eq!(remembered(&open(&folder, Mode::Inline).expect("opens")), 1);
        }
    }
}

#[test]
fn a_clean_end_leaves_everything_in_the_file_also_beside_a_program_that_has_it_open() {
    for (mode, is_shared, is_closed) in [
        (Mode::Threads, false, true),
        (Mode::Threads, true, true),
        // The last handle may only be dropped, as in a command that ends early.
        (Mode::Threads, false, false),
        (Mode::Inline, true, true),
    ] {
        let folder = folder();
        let store = open(&folder, mode).expect("opens");
        let program = is_shared.then(|| {
            let program = Connection::open(store.path()).expect("opens");
            let _version: i64 = program
                .query_row("SELECT count(*) FROM _sync_meta", [], |row| row.get(0))
                .expect("reads");
            program
        });
        remember(&store, Lane::Bulk, "a").expect("writes");
        assert_eq!(remembered(&store), 1);
        if is_closed {
            store.close();
        } else {
            drop(store);
        }
        let log = folder.path().join("crm.db-wal");
        let left = std::fs::metadata(&log).map_or(0, |found| found.len());
        assert_eq!(left, 0, "{mode:?} {is_shared}");
        assert_eq!(log.exists(), is_shared, "{mode:?}");
        let copy = folder.path().join("copy.db");
        std::fs::copy(folder.path().join("crm.db"), &copy).expect("copies");
        let copy = Connection::open(copy).expect("opens");
        let count: i64 = copy
            .query_row(
                "SELECT count(*) FROM _sync_meta WHERE value = 'x'",
                [],
                |row| row.get(0),
            )
            .expect("reads");
        assert_eq!(count, 1);
        drop(program);
    }
}

#[test]
fn a_log_that_a_reader_held_up_shrinks_again() {
    let folder = folder();
    let store = open(&folder, Mode::Threads).expect("opens");
    let reader = Connection::open(store.path()).expect("opens");
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM _sync_meta")
        .expect("begins");
    let _seen: i64 = reader
        .query_row("SELECT count(*) FROM _sync_meta", [], |row| row.get(0))
        .expect("reads");
    at_once(store.write(Lane::Bulk, |tx| meta::set(tx, "a", &"x".repeat(12_000_000))))
        .expect("writes");
    let log = || {
        std::fs::metadata(folder.path().join("crm.db-wal"))
            .expect("is there")
            .len()
    };
    remember(&store, Lane::Bulk, "b").expect("writes");
    assert!(log() > 12_000_000);
    reader.execute_batch("COMMIT").expect("ends");
    for name in ["c", "d", "e"] {
        remember(&store, Lane::Bulk, name).expect("writes");
    }
    assert!(log() <= 4 * 1024 * 1024, "{}", log());
}

#[test]
fn a_daemon_whose_lease_was_dropped_ends_and_the_next_one_goes_on() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let other = Connection::open(store.path()).expect("opens");
    other
        .execute_batch("DROP TABLE _sync_lease")
        .expect("drops");
    let error = remember(&store, Lane::Bulk, "a").expect_err("whose is it");
    assert!(matches!(error, StoreError::LeaseGone) && error.is_fatal());
    drop(store);
    let again = open(&folder, Mode::Inline).expect("opens");
    assert!(again.was_restored());
    remember(&again, Lane::Bulk, "a").expect("writes");
}

#[test]
fn a_file_that_was_replaced_during_a_transaction_is_not_acknowledged() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let path = store.path().to_path_buf();
    let written = at_once(store.write(Lane::Bulk, move |tx| {
        std::fs::remove_file(&path).expect("removes");
        meta::set(tx, "a", "x")
    }));
    assert!(matches!(written, Err(StoreError::FileReplaced { .. })));
}

#[test]
fn a_daemon_that_slept_through_a_takeover_can_not_write() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let other = Connection::open(store.path()).expect("opens");
    other
        .execute("UPDATE _sync_lease SET epoch = 9", [])
        .expect("takes over");
    let error = remember(&store, Lane::Bulk, "a").expect_err("lost");
    assert!(matches!(error, StoreError::LeaseLost { found: 9, ours: 1 }));
    assert_eq!(remembered(&store), 0);
}

#[test]
fn another_programs_long_transaction_is_waited_for_and_then_named() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let other = Connection::open(store.path()).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begins");
    assert!(matches!(
        remember(&store, Lane::Bulk, "a"),
        Err(StoreError::Busy(_))
    ));
    other.execute_batch("COMMIT").expect("ends");
    remember(&store, Lane::Bulk, "a").expect("goes on");
}

/// Tells a later time while somebody may write: it asks for the lock itself.
struct Watching(PathBuf);

const LOCKED: Duration = Duration::from_secs(1);

impl Clock for Watching {
    fn now(&self) -> Timestamp {
        let other = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let is_free = other.and_then(|other| {
            other.busy_timeout(Duration::ZERO)?;
            other.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
        });
        match is_free {
            Ok(()) => testing::now(),
            Err(_) => testing::now() + LOCKED,
        }
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _duration: Duration) -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Each look at the time of day is a millisecond later than the last, and ten have passed by the steady clock.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        testing::now() + Duration::from_millis(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(10 * self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _duration: Duration) -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn a_bulk_job_leaves_the_lock_to_others_for_a_while_once_another_program_has_written() {
    let folder = folder();
    let clock = Arc::new(Ticking::default());
    let options = options(&folder, Mode::Threads);
    let store = Store::open(&options, clock.clone()).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // The jobs of one transaction have one time.
    let in_one = || {
        let (release, gate) = mpsc::sync_channel::<()>(0);
        let (begun, begins) = mpsc::sync_channel(1);
        let ticks = Arc::clone(&clock);
        let slow = store.write(Lane::Bulk, move |_tx| {
            begun.send(()).expect("waited for");
            gate.recv().expect("released");
            ticks.now();
            Ok(())
        });
        let bulk = store.write(Lane::Bulk, |tx| Ok(tx.now()));
        let interactive = store.write(Lane::Interactive, |tx| Ok(tx.now()));
        futures_util::pin_mut!(slow, bulk, interactive);
        // What was looked at once has handed its job over.
        assert!(slow.as_mut().now_or_never().is_none());
        begins.recv().expect("begins");
        assert!(bulk.as_mut().now_or_never().is_none());
        assert!(interactive.as_mut().now_or_never().is_none());
        release.send(()).expect("waited for");
        let all = futures_util::future::join3(slow, bulk, interactive);
        let (slow, bulk, interactive) = runtime.block_on(all);
        slow.expect("writes");
        bulk.expect("writes") == interactive.expect("writes")
    };
    assert!(in_one(), "nobody else writes");
    let program = testing::connection(&folder);
    program
        .execute_batch("CREATE TABLE theirs (x)")
        .expect("writes");
    assert!(!in_one(), "the interactive job alone, then the bulk job");
    store.close();
}

#[test]
fn a_transactions_time_is_taken_once_it_has_its_turn() {
    let folder = folder();
    let options = options(&folder, Mode::Inline);
    let clock = Arc::new(Watching(options.path.clone()));
    let store = Store::open(&options, clock).expect("opens");
    let told = at_once(store.write(Lane::Bulk, |tx| Ok(tx.now())));
    assert_eq!(told.expect("writes"), testing::now() + LOCKED);
}

#[test]
fn a_database_belongs_to_one_portal() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let check =
        |id| at_once(store.write(Lane::Bulk, move |tx| lease::check_portal(tx, PortalId(id))));
    check(7).expect("the first time");
    check(7).expect("the same");
    let error = check(8).expect_err("another");
    assert_eq!(
        error.to_string(),
        "the database belongs to portal 7, and the token to portal 8"
    );
    assert!(error.is_configuration());
}

#[test]
fn a_closed_store_says_so_and_a_reader_can_not_write() {
    let folder = folder();
    for mode in [Mode::Threads, Mode::Inline] {
        let store = open(&folder, mode).expect("opens");
        let wrote =
            at_once(store.read(|connection| Ok(connection.execute("DELETE FROM _sync_meta", [])?)));
        assert!(
            matches!(wrote, Err(StoreError::ReadOnly(_) | StoreError::Sqlite(_))),
            "{wrote:?}"
        );
        let other = store.clone();
        store.close();
        assert!(matches!(
            remember(&other, Lane::Bulk, "a"),
            Err(StoreError::Closed)
        ));
        assert!(matches!(
            at_once(other.read(|_| Ok(()))),
            Err(StoreError::Closed)
        ));
    }
}

#[test]
fn what_is_no_database_and_a_missing_folder_are_told_apart() {
    let folder = folder();
    std::fs::write(folder.path().join("crm.db"), "certainly no database").expect("writes");
    assert!(matches!(
        open(&folder, Mode::Inline),
        Err(StoreError::NoDatabase(_))
    ));
    let mut elsewhere = options(&folder, Mode::Inline);
    elsewhere.path = folder.path().join("crm.db/crm.db");
    let error = Store::open(&elsewhere, Arc::new(Standing)).expect_err("no folder");
    let file = folder.path().join("crm.db");
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is a file, so the database can't lie in it",
            file.display()
        )
    );
    assert!(error.hint().is_some_and(|hint| !hint.contains("user")));
    elsewhere.path = folder.path().join("missing/crm.db");
    let error = Store::open(&elsewhere, Arc::new(Standing)).expect_err("no folder");
    assert_eq!(
        error.to_string(),
        format!(
            "there is no folder `{}` for the database",
            folder.path().join("missing").display()
        )
    );
    let default = StoreError::NoFolder {
        folder: PathBuf::from(DEFAULT_FOLDER),
    };
    assert_eq!(
        default.to_string(),
        "there is no folder `/var/lib/hubsyncd` for the database (the default of `[database].path`)"
    );
    assert_eq!(
        default.hint(),
        Some(
            "write `[database] path = \"crm.db\"` to keep it beside the mapping file, or make the folder"
        )
    );
}
