//! INSERT, UPSERT, INSERT OR IGNORE.

use super::scene::{CLAUSES, everywhere, with_each_clause};

const UNTOUCHED: [&str; 2] = ["1 101 ada@example.com Ada", "2 102 bob@example.com Bob"];

#[test]
fn an_insert_is_a_create_that_is_due_at_once() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.do_run(&format!(
            "INSERT {clause} INTO contacts (email, first_name) VALUES ('cy@example.com', 'Cy'), ('di@example.com', NULL)"
        ));
        assert_eq!(
            scene.contacts()[2..],
            ["3 - cy@example.com Cy", "4 - di@example.com -"]
        );
        assert_eq!(
            scene.outbox(),
            ["create contacts 3 -", "create contacts 4 -"]
        );
        assert_eq!(
            scene.rows("SELECT DISTINCT attempts, version, hs_archived FROM sync_outbox JOIN contacts USING (local_id)"),
            ["0 1 0"]
        );
    });
}

#[test]
fn an_insert_without_a_value_is_a_create_too() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts DEFAULT VALUES");
        assert_eq!(scene.outbox(), ["create contacts 3 -"]);
    });
}

#[test]
fn creates_wait_for_the_first_backfill_and_those_of_an_object_that_is_only_pushed_do_not() {
    everywhere(|scene| {
        scene.as_daemon("UPDATE _sync_cursors SET backfill = 'running' WHERE object = 'contacts'");
        scene.do_run(
            "INSERT INTO contacts (email) VALUES ('cy@example.com'); INSERT INTO deals (amount) VALUES (9)",
        );
        assert_eq!(
            scene.outbox(),
            [
                "create contacts 3 -, waits for backfill",
                "create deals 2 -"
            ]
        );
        assert_eq!(
            scene.rows("SELECT object, next_attempt_at IS NULL FROM sync_outbox ORDER BY object"),
            ["contacts 1", "deals 0"]
        );
    });
}

#[test]
fn a_free_local_id_is_kept_and_a_taken_one_is_refused() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts (local_id, email) VALUES (70, 'cy@example.com')");
        assert_eq!(scene.contacts()[2], "70 - cy@example.com -");
        assert_eq!(scene.outbox(), ["create contacts 70 -"]);
        scene.refused(
            "INSERT INTO contacts (local_id, email) VALUES (1, 'eve@example.com')",
            "UNIQUE constraint failed: contacts.local_id",
        );
    });
}

#[test]
fn what_hubspot_gives_can_not_be_inserted() {
    let cases = [
        (
            "hs_id",
            "555",
            "contacts.hs_id comes from HubSpot: leave it [read-only]",
        ),
        (
            "hs_created_at",
            "'2026-01-01'",
            "contacts.hs_created_at comes from HubSpot: leave it [read-only]",
        ),
        (
            "hs_modified_at",
            "'2026-01-01'",
            "contacts.hs_modified_at comes from HubSpot: leave it [read-only]",
        ),
        (
            "hs_archived",
            "1",
            "contacts.hs_archived is set by hubsyncd: leave it [read-only]",
        ),
        (
            "score",
            "3",
            "contacts.score comes from HubSpot: leave it [read-only]",
        ),
    ];
    with_each_clause(&CLAUSES, |scene, clause| {
        for (column, value, sentence) in cases {
            scene.refused(
                &format!("INSERT {clause} INTO contacts (email, {column}) VALUES ('cy@example.com', {value})"),
                sentence,
            );
        }
        scene.do_run(&format!(
            "INSERT {clause} INTO contacts (email, hs_id, hs_created_at, hs_modified_at, hs_archived, score)
             VALUES ('cy@example.com', NULL, NULL, NULL, 0, NULL)"
        ));
        assert_eq!(scene.outbox(), ["create contacts 3 -"]);
    });
}

#[test]
fn or_ignore_leaves_what_is_there_and_inserts_what_is_not() {
    everywhere(|scene| {
        scene.does_nothing(
            "INSERT OR IGNORE INTO contacts (local_id, hs_id, email) VALUES (1, 101, 'x@example.com')",
        );
        scene.does_nothing(
            "INSERT OR IGNORE INTO contacts (hs_id, email) VALUES (102, 'x@example.com')",
        );
        scene.do_run("INSERT OR IGNORE INTO contacts (email) VALUES ('cy@example.com')");
        assert_eq!(scene.contacts()[..2], UNTOUCHED);
        // SQLite counts the ignored one.
        assert_eq!(scene.outbox(), ["create contacts 4 -"]);
    });
}

#[test]
fn an_upsert_updates_the_row_that_is_there_and_creates_the_one_that_is_not() {
    everywhere(|scene| {
        scene.do_run(
            "CREATE UNIQUE INDEX own ON contacts (email);
             INSERT INTO contacts (email, first_name) VALUES ('ada@example.com', 'Augusta'), ('cy@example.com', 'Cy')
             ON CONFLICT (email) DO UPDATE SET first_name = excluded.first_name",
        );
        assert_eq!(
            scene.contacts(),
            [
                "1 101 ada@example.com Augusta",
                "2 102 bob@example.com Bob",
                "4 - cy@example.com Cy"
            ]
        );
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; firstname was Ada",
                "create contacts 4 -"
            ]
        );
    });
}

#[test]
fn an_upsert_by_hs_id_or_local_id_is_an_update() {
    for key in ["hs_id", "local_id"] {
        everywhere(|scene| {
            let value = if key == "hs_id" { 101 } else { 1 };
            scene.do_run(&format!(
                "INSERT INTO contacts ({key}, first_name) VALUES ({value}, 'Augusta')
                 ON CONFLICT ({key}) DO UPDATE SET first_name = excluded.first_name"
            ));
            assert_eq!(scene.contacts()[0], "1 101 ada@example.com Augusta");
            assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
        });
    }
}

#[test]
fn an_upsert_that_does_nothing_or_sets_the_same_queues_nothing() {
    everywhere(|scene| {
        scene.does_nothing(
            "INSERT INTO contacts (local_id, email) VALUES (1, 'x@example.com') ON CONFLICT DO NOTHING;
             INSERT INTO contacts (hs_id, email) VALUES (102, 'bob@example.com')
             ON CONFLICT (hs_id) DO UPDATE SET email = excluded.email",
        );
    });
}

#[test]
fn an_insert_after_an_upsert_is_not_taken_for_the_row_that_the_upsert_met() {
    everywhere(|scene| {
        scene.do_run(
            "INSERT INTO contacts (local_id, email) VALUES (1, 'x@example.com') ON CONFLICT DO NOTHING;
             INSERT INTO contacts (email) VALUES ('cy@example.com')",
        );
        assert_eq!(scene.contacts()[..2], UNTOUCHED);
        assert_eq!(scene.outbox(), ["create contacts 3 -"]);
    });
}

#[test]
fn the_users_own_columns_and_triggers_go_on_working() {
    everywhere(|scene| {
        scene.do_run(
            "ALTER TABLE contacts ADD COLUMN note TEXT;
             CREATE TRIGGER mine AFTER INSERT ON contacts BEGIN
                 UPDATE contacts SET first_name = 'from my trigger', note = 'seen' WHERE local_id = new.local_id;
             END;
             INSERT INTO contacts (email) VALUES ('cy@example.com')",
        );
        assert_eq!(scene.contacts()[2], "3 - cy@example.com from my trigger");
        assert_eq!(scene.outbox(), ["create contacts 3 -; firstname was -?"]);
        assert_eq!(
            scene.rows("SELECT note FROM contacts WHERE local_id = 3"),
            ["seen"]
        );
    });
}
