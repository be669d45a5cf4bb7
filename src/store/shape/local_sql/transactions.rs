//! Transactions, savepoints, and clients with settings of their own.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::scene::{Client, everywhere};

const EVERYTHING: &str = "
    INSERT INTO contacts (email) VALUES ('cy@example.com');
    UPDATE contacts SET first_name = 'B' WHERE local_id = 2;
    REPLACE INTO contacts (hs_id, email) VALUES (102, 'b@example.com');
    DELETE FROM contacts WHERE local_id = 1;";

const WHAT_EVERYTHING_QUEUES: [&str; 3] = [
    "archive contacts 1 101, keeps the row",
    "update contacts 2 102; email was bob@example.com; firstname was Bob",
    "create contacts 3 -",
];

#[test]
fn a_rollback_leaves_nothing() {
    everywhere(|scene| {
        scene.does_nothing(&format!("BEGIN; {EVERYTHING} ROLLBACK"));
        scene.does_nothing(&format!(
            "SAVEPOINT s; {EVERYTHING} ROLLBACK TO s; RELEASE s"
        ));
    });
}

#[test]
fn a_savepoint_that_is_rolled_back_takes_its_own_part_with_it() {
    everywhere(|scene| {
        scene.do_run(&format!(
            "BEGIN; UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1;
             SAVEPOINT s; {EVERYTHING} ROLLBACK TO s;
             UPDATE contacts SET stage = 'x' WHERE local_id = 1; COMMIT"
        ));
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; firstname was Ada; stage was lead"]
        );
    });
}

#[test]
fn a_refused_statement_takes_nothing_else_of_its_transaction_with_it() {
    everywhere(|scene| {
        if scene.client() == Client::System {
            return;
        }
        let connection = Connection::open(scene.path()).expect("opens");
        let run = |sql: &str| connection.execute_batch(sql);
        run("BEGIN; UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1")
            .expect("is taken");
        for refused in [
            "UPDATE contacts SET hs_id = 9",
            "UPDATE OR FAIL contacts SET score = 1",
            "INSERT INTO contacts (hs_id) VALUES (9)",
            "UPDATE sync_outbox SET state = 'dead'",
        ] {
            run(refused).expect_err(refused);
        }
        run("UPDATE contacts SET stage = 'x' WHERE local_id = 1; COMMIT").expect("is taken");
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; firstname was Ada; stage was lead"]
        );
    });
}

#[test]
fn or_rollback_takes_the_whole_transaction_with_it() {
    everywhere(|scene| {
        let sql = "BEGIN; UPDATE contacts SET first_name = 'B'; INSERT OR ROLLBACK INTO contacts (local_id) VALUES (1)";
        assert_eq!(
            scene.run(sql),
            Err("UNIQUE constraint failed: contacts.local_id".to_owned())
        );
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn a_client_that_checks_foreign_keys_and_ignores_checks_writes_like_any_other() {
    everywhere(|scene| {
        scene.do_run(&format!(
            "PRAGMA foreign_keys = ON; PRAGMA case_sensitive_like = ON; PRAGMA ignore_check_constraints = ON; {EVERYTHING}"
        ));
        assert_eq!(scene.outbox(), WHAT_EVERYTHING_QUEUES);
    });
}

/// SQLite 3.40 counts its own JSON functions among those that a schema may not call where `trusted_schema` is off: there a
/// program is refused, and nothing is lost.
#[test]
fn a_client_that_trusts_no_schema_writes_like_any_other_or_is_refused() {
    everywhere(|scene| {
        let sql = format!("PRAGMA trusted_schema = OFF; {EVERYTHING}");
        match scene.run(&sql) {
            Ok(()) => assert_eq!(scene.outbox(), WHAT_EVERYTHING_QUEUES),
            Err(sentence) => {
                assert_eq!(scene.client(), Client::System);
                assert!(sentence.starts_with("unsafe use of json_"), "{sentence}");
                assert_eq!(scene.outbox(), Vec::<String>::new());
            }
        }
    });
}

/// Not promised, and said so in the manual: the row is changed, and nobody learns of it.
#[test]
fn a_write_with_triggers_switched_off_is_not_seen() {
    everywhere(|scene| {
        if scene.client() == Client::System {
            scene.do_run(".dbconfig enable_trigger off\nUPDATE contacts SET first_name = 'X' WHERE local_id = 1;");
        } else {
            let connection = Connection::open(scene.path()).expect("opens");
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
                .expect("turns triggers off");
            connection
                .execute(
                    "UPDATE contacts SET first_name = 'X' WHERE local_id = 1",
                    [],
                )
                .expect("is taken");
        }
        assert_eq!(scene.contacts()[0], "1 101 ada@example.com X");
        assert_eq!(scene.outbox(), Vec::<String>::new());
        scene.do_run("UPDATE contacts SET first_name = 'Y' WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was X"]);
    });
}

/// What gets past the refusal: a program that writes what the triggers write.
#[test]
fn a_gate_left_open_is_shut_by_the_daemon_which_says_so_and_compares_everything() {
    everywhere(|scene| {
        scene.refused(
            "UPDATE _sync_gate SET open = 1",
            "_sync_gate is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]",
        );
        scene.as_daemon("UPDATE _sync_gate SET open = 20813");
        assert_eq!(scene.repair(), Vec::<String>::new());
        assert_eq!(scene.rows("SELECT open FROM _sync_gate"), ["0"]);
        assert_eq!(
            scene.rows("SELECT count(*) FROM _sync_cursors WHERE reconcile_started_at IS NULL"),
            ["0"]
        );
        assert_eq!(
            scene.rows("SELECT trigger_repaired_at IS NOT NULL FROM _sync_daemon"),
            ["1"]
        );
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
    });
}

#[test]
fn what_a_program_takes_out_of_the_outbox_with_the_gate_open_is_queued_again_or_compared() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        scene.do_run("INSERT INTO contacts (local_id, email) VALUES (70, 'new@example.com')");
        let program = Connection::open(scene.path()).expect("opens");
        program
            .execute_batch("PRAGMA foreign_keys = OFF; UPDATE _sync_gate SET open = 20813; DELETE FROM sync_outbox")
            .expect("is let through");
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(scene.repair(), Vec::<String>::new());
        assert_eq!(scene.outbox(), ["create contacts 70 -"]);
        assert_eq!(
            scene.rows("SELECT count(*) FROM sync_outbox_fields"),
            ["0"],
            "nothing is left of what was taken out"
        );
        assert_eq!(
            scene.rows("SELECT reconcile_started_at IS NOT NULL FROM _sync_cursors WHERE object = 'contacts'"),
            ["1"]
        );
        assert_eq!(
            scene.rows("SELECT problem LIKE 'a program opened `_sync_gate`%row 70 is new%' FROM _sync_bypassed WHERE object = 'contacts'"),
            ["1"]
        );
    });
}
