//! What the commands read and decide through a person's connection, against fixed content.

use serde_json::json;
use tempfile::TempDir;

use super::testing::{database, execute, one};
use super::*;

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn ids(db: &CommandDb, which: Which, most: Most) -> Vec<i64> {
    let mut ids = Vec::new();
    db.each_conflict(which, most, |row| {
        ids.push(row.number("id").expect("an id"));
        Ok::<(), CommandError>(())
    })
    .expect("read");
    ids
}

#[test]
fn a_file_on_a_disk_that_can_only_be_read_is_told_as_that_and_not_as_another_users() {
    let folder = folder();
    let path = folder.path().join("crm.db");
    assert!(!access::is_on_a_read_only_disk(folder.path()));
    let source = || {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        rusqlite::Error::SqliteFailure(code, None)
    };
    let error = closed_on(true, &path, source());
    let explanation = error.to_string();
    assert!(
        explanation.ends_with("its file system is mounted to be read only"),
        "{explanation}"
    );
    let hint = error.hint().unwrap_or_default();
    assert!(hint.starts_with("mount it to be written"), "{hint}");
    let other = closed_on(false, &path, source());
    assert!(matches!(other, CommandError::Closed { .. }), "{other}");
}

#[test]
fn a_file_that_is_missing_or_something_else_is_refused_with_a_hint() {
    let folder = folder();
    let path = folder.path().join("none.db");
    let error = CommandDb::open(&path).expect_err("no file");
    assert!(matches!(error, CommandError::Missing { .. }), "{error}");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("hubsyncd run"))
    );
    std::fs::write(&path, "no database at all, and long enough to be looked at").expect("written");
    let error = CommandDb::open(&path).expect_err("text");
    assert!(matches!(error, CommandError::Foreign { .. }), "{error:?}");
    let other = folder.path().join("other.db");
    execute(&other, "CREATE TABLE t (x)");
    assert!(matches!(
        CommandDb::open(&other),
        Err(CommandError::Foreign { .. })
    ));
    assert!(!folder.path().join("other.db-wal").exists());
}

#[test]
fn a_newer_and_an_unfinished_database_are_told_apart() {
    let folder = folder();
    let path = database(&folder);
    execute(&path, "PRAGMA user_version = 999");
    let error = CommandDb::open(&path).expect_err("newer");
    assert!(matches!(error, CommandError::Newer { found: 999, .. }) && error.is_configuration());
    execute(
        &path,
        "PRAGMA user_version = 1; ALTER TABLE _sync_meta RENAME TO sync_meta",
    );
    let error = CommandDb::open(&path).expect_err("unreleased");
    assert!(matches!(error, CommandError::Unreleased { .. }) && error.is_configuration());
    execute(
        &path,
        "ALTER TABLE sync_meta RENAME TO _sync_meta; DROP VIEW sync_health",
    );
    assert!(matches!(
        CommandDb::open(&path),
        Err(CommandError::Unfinished { .. })
    ));
}

#[test]
fn rows_keep_the_order_and_the_types_of_their_columns() {
    let folder = folder();
    let db = CommandDb::open(&database(&folder)).expect("opens");
    let row = db.conflict(1).expect("there");
    let text = serde_json::to_string(&row).expect("json");
    assert!(
        text.starts_with(
            r#"{"id":1,"object":"contacts","local_id":12,"hs_id":101,"property":"email","#
        ),
        "{text}"
    );
    assert_eq!(row.get("resolved_at"), &json!(null));
    assert_eq!(
        (row.number("local_id"), row.text("policy")),
        (Some(12), Some("manual"))
    );
}

#[test]
fn status_reads_views_holds_and_backfills() {
    let folder = folder();
    let status = CommandDb::open(&database(&folder))
        .expect("opens")
        .status()
        .expect("read");
    assert_eq!(status.health.text("state"), Some("held"));
    let objects: Vec<_> = status
        .objects
        .iter()
        .filter_map(|row| row.text("object"))
        .collect();
    assert_eq!(objects, ["companies", "contacts", "deals"]);
    assert_eq!(status.holds.len(), 1, "settled ones are left out");
    assert_eq!(status.backfills.len(), 1);
    assert_eq!(status.problems.len(), 1);
}

#[test]
fn conflicts_that_wait_come_first_and_then_the_latest_decision() {
    let folder = folder();
    let db = CommandDb::open(&database(&folder)).expect("opens");
    assert_eq!(ids(&db, Which::All, Most::All), [1, 4, 3, 2]);
    assert_eq!(ids(&db, Which::All, Most::Rows(3)), [1, 4, 3]);
    assert_eq!(ids(&db, Which::Open, Most::All), [1, 4]);
    assert_eq!(db.count_conflicts().expect("counted"), (2, 2));
}

#[test]
fn a_reader_cant_write() {
    let folder = folder();
    let mut db = CommandDb::open(&database(&folder)).expect("opens");
    assert!(matches!(
        db.resolve(&WantedConflicts::Ids(vec![1]), "local"),
        Err(CommandError::ReadOnly)
    ));
}

#[test]
fn a_decision_is_written_once_and_refusals_are_sentences() {
    let folder = folder();
    let path = database(&folder);
    let mut db = CommandDb::open_to_decide(&path).expect("opens");
    let before = db
        .resolve(&WantedConflicts::Ids(vec![1]), "value:ann@example.org")
        .expect("open");
    assert_eq!(before[0].text("property"), Some("email"));
    assert_eq!(
        one(&path, "SELECT resolution FROM sync_conflicts WHERE id = 1").as_deref(),
        Some("value:ann@example.org")
    );
    let error = db
        .resolve(&WantedConflicts::Ids(vec![2]), "local")
        .expect_err("decided");
    assert!(
        error
            .to_string()
            .starts_with("conflict 2 was decided at 2026-11-24T"),
        "{error}"
    );
    assert!(matches!(
        db.resolve(&WantedConflicts::Ids(vec![99]), "local"),
        Err(CommandError::None { id: 99, .. })
    ));
    let error = db
        .resolve(&WantedConflicts::Ids(vec![4]), "sideways")
        .expect_err("the trigger refuses it");
    assert!(matches!(&error, CommandError::Refused(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("write 'local', 'remote' or 'value:"),
        "{error}"
    );
}

#[test]
fn retry_is_all_or_nothing() {
    let folder = folder();
    let path = database(&folder);
    let mut db = CommandDb::open_to_decide(&path).expect("opens");
    let dead = "SELECT CAST(count(*) AS TEXT) FROM sync_outbox WHERE state = 'dead'";
    let error = db.retry(&[2, 3]).expect_err("3 is in flight");
    assert!(error.to_string().contains("in flight"), "{error}");
    assert_eq!(one(&path, dead).as_deref(), Some("2"));
    assert!(matches!(
        db.retry(&[2, 77]),
        Err(CommandError::None { id: 77, .. })
    ));
    assert_eq!(one(&path, dead).as_deref(), Some("2"));
    assert_eq!(db.retry(&[2]).expect("dead"), 1);
    assert_eq!(db.retry(&[]).expect("all dead"), 1);
    assert_eq!(db.retry(&[]).expect("none dead"), 0);
}

#[test]
fn retry_of_everything_takes_what_waits_for_later_too() {
    let folder = folder();
    let path = database(&folder);
    let mut db = CommandDb::open_to_decide(&path).expect("opens");
    assert_eq!(db.retry(&[]).expect("the dead ones"), 2);
    execute(
        &path,
        "UPDATE sync_outbox SET next_attempt_at = '2126-11-24T03:10:00.000Z' WHERE state = 'pending'",
    );
    let waiting = "SELECT CAST(count(*) AS TEXT) FROM sync_outbox WHERE state = 'pending'";
    let waiting = one(&path, waiting).expect("a count");
    let retried = db.retry(&[]).expect("what waits");
    assert_eq!(retried.to_string(), waiting);
}

#[test]
fn discard_leaves_the_work_to_the_daemon_and_refuses_what_is_in_flight() {
    let folder = folder();
    let path = database(&folder);
    let mut db = CommandDb::open_to_decide(&path).expect("opens");
    assert_eq!(
        db.discard(&[2]).expect("dead")[0].text("operation"),
        Some("update")
    );
    assert!(one(&path, "SELECT discarded_at FROM sync_outbox WHERE id = 2").is_some());
    assert!(
        db.discard(&[3])
            .expect_err("in flight")
            .to_string()
            .contains("in flight")
    );
    assert!(matches!(db.discard(&[99]), Err(CommandError::None { .. })));
}

#[test]
fn approving_takes_one_hold_or_all() {
    let folder = folder();
    let path = database(&folder);
    let mut db = CommandDb::open_to_decide(&path).expect("opens");
    assert!(
        matches!(db.approve(Some(1)), Err(CommandError::None { id: 1, .. })),
        "settled"
    );
    assert_eq!(db.approve(None).expect("held").len(), 1);
    assert!(
        one(&path, "SELECT approved_at FROM sync_holds WHERE id = 2")
            .is_some_and(|at| at.ends_with('Z'))
    );
    assert_eq!(db.approve(None).expect("nothing is held").len(), 0);
}

#[test]
fn another_programs_long_transaction_is_named() {
    let folder = folder();
    let path = database(&folder);
    let mut db = CommandDb::open_to_decide(&path).expect("opens");
    db.connection
        .busy_timeout(Duration::from_millis(10))
        .expect("set");
    let other = Connection::open(&path).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begins");
    let error = db.retry(&[]).expect_err("locked");
    assert!(matches!(error, CommandError::Busy) && error.hint().is_some());
    assert_eq!(
        ids(&db, Which::Open, Most::All),
        [1, 4],
        "a reader is not blocked"
    );
}
