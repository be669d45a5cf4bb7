//! DELETE, and a row that comes back.

use super::scene::everywhere;

#[test]
fn a_delete_is_an_archive_that_keeps_the_whole_row() {
    everywhere(|scene| {
        scene
            .do_run("ALTER TABLE contacts ADD COLUMN note TEXT; UPDATE contacts SET note = 'mine'");
        scene.repair();
        scene.do_run("DELETE FROM contacts WHERE local_id = 1");
        assert_eq!(scene.contacts(), ["2 102 bob@example.com Bob"]);
        assert_eq!(scene.outbox(), ["archive contacts 1 101, keeps the row"]);
        let names = "email firstname annualrevenue price owner optout birthday seen stage interests score $local_id $hs_archived $hs_created_at $column:note";
        let columns: Vec<String> = names
            .split(' ')
            .map(|name| format!("json_extract(row, '$.\"{name}\"')"))
            .collect();
        assert_eq!(
            scene.rows(&format!("SELECT {} FROM sync_outbox", columns.join(", "))),
            [
                "ada@example.com Ada 1.5 12.50 7 0 1815-12-10 2026-11-24T03:10:00.000Z lead a;b 9.0 1 0 2026-01-01T00:00:00.000Z mine"
            ]
        );
    });
}

#[test]
fn deleting_all_rows_queues_an_archive_for_each() {
    everywhere(|scene| {
        scene
            .do_run("INSERT INTO contacts (email) VALUES ('cy@example.com'); DELETE FROM contacts");
        assert_eq!(scene.contacts(), Vec::<String>::new());
        assert_eq!(
            scene.outbox(),
            [
                "archive contacts 1 101, keeps the row",
                "archive contacts 2 102, keeps the row"
            ]
        );
    });
}

#[test]
fn a_row_that_hubspot_never_saw_leaves_nothing() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts (email) VALUES ('cy@example.com')");
        scene.do_run("DELETE FROM contacts WHERE local_id = 3");
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn a_row_whose_create_may_have_arrived_keeps_its_entry() {
    for open in [
        "state = 'in_flight', attempts = 1",
        "attempts = 1, unanswered_since = '2026-11-24T03:10:00.000Z'",
    ] {
        everywhere(|scene| {
            scene.do_run("INSERT INTO contacts (email) VALUES ('cy@example.com')");
            scene.as_daemon(&format!("UPDATE sync_outbox SET {open}"));
            scene.do_run("DELETE FROM contacts WHERE local_id = 3");
            let state = if open.starts_with("state") {
                "in_flight"
            } else {
                "unanswered"
            };
            assert_eq!(
                scene.outbox(),
                [format!("create contacts 3 -, {state}, keeps the row")]
            );
        });
    }
}

#[test]
fn a_pending_update_becomes_the_archive_and_keeps_its_bases() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1; DELETE FROM contacts WHERE local_id = 1");
        assert_eq!(
            scene.outbox(),
            ["archive contacts 1 101, keeps the row; firstname was Ada"]
        );
    });
}

#[test]
fn an_update_in_flight_stays_one_until_it_is_settled() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        scene.as_daemon("UPDATE sync_outbox SET state = 'in_flight'");
        scene.do_run("DELETE FROM contacts WHERE local_id = 1");
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101, in_flight, keeps the row; firstname was Ada"]
        );
    });
}

#[test]
fn a_marked_row_is_just_removed() {
    everywhere(|scene| {
        scene.as_daemon("UPDATE contacts SET hs_archived = 1 WHERE local_id = 1");
        scene.do_run("DELETE FROM contacts WHERE local_id = 1");
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn delete_and_insert_of_one_record_is_an_update_and_never_an_archive() {
    for row in ["local_id, hs_id", "local_id", "hs_id"] {
        everywhere(|scene| {
            let ids = match row {
                "local_id, hs_id" => "1, 101",
                "local_id" => "1",
                _ => "101",
            };
            scene.do_run(&format!(
                "BEGIN;
                 DELETE FROM contacts WHERE local_id = 1;
                 INSERT INTO contacts ({row}, email, first_name, revenue, price, owner, opt_out, birthday, seen, stage, interests)
                 VALUES ({ids}, 'ada@example.com', 'Augusta', 1.5, '12.50', 7, 0, '1815-12-10', '2026-11-24T03:10:00.000Z', 'lead', 'a;b');
                 COMMIT"
            ));
            assert_eq!(scene.contacts()[0], "1 101 ada@example.com Augusta");
            assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
            assert_eq!(
                scene.rows(
                    "SELECT score, hs_created_at, hs_modified_at FROM contacts WHERE local_id = 1"
                ),
                ["9.0 2026-01-01T00:00:00.000Z 2026-01-02T00:00:00.000Z"]
            );
        });
    }
}

#[test]
fn delete_and_insert_of_the_same_values_leaves_nothing() {
    everywhere(|scene| {
        scene.do_run(
            "CREATE TABLE copy AS SELECT * FROM contacts;
             DELETE FROM contacts;
             INSERT INTO contacts SELECT * FROM copy",
        );
        assert_eq!(
            scene.contacts(),
            ["1 101 ada@example.com Ada", "2 102 bob@example.com Bob"]
        );
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn delete_and_insert_without_ids_is_an_archive_and_a_create_for_the_daemon_to_match() {
    everywhere(|scene| {
        scene.do_run(
            "DELETE FROM contacts WHERE local_id = 1; INSERT INTO contacts (email) VALUES ('ada@example.com')",
        );
        assert_eq!(
            scene.outbox(),
            [
                "archive contacts 1 101, keeps the row",
                "create contacts 3 -"
            ]
        );
    });
}

#[test]
fn a_row_comes_back_to_its_dirty_fields() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 2;
             DELETE FROM contacts WHERE local_id = 2;
             INSERT INTO contacts (hs_id, email, first_name) VALUES (102, 'robert@example.com', 'B')",
        );
        assert_eq!(scene.contacts()[1], "2 102 robert@example.com B");
        assert_eq!(
            scene.outbox(),
            ["update contacts 2 102; email was bob@example.com; firstname was Bob"]
        );
    });
}

#[test]
fn a_row_whose_archive_is_on_its_way_can_not_come_back() {
    for open in [
        "state = 'in_flight'",
        "unanswered_since = '2026-11-24T03:10:00.000Z'",
    ] {
        everywhere(|scene| {
            scene.do_run("DELETE FROM contacts WHERE local_id = 1");
            scene.as_daemon(&format!("UPDATE sync_outbox SET {open}"));
            scene.refused(
                "INSERT INTO contacts (hs_id, email) VALUES (101, 'ada@example.com')",
                "the former row is being archived in HubSpot at this moment: INSERT it without local_id and hs_id to make a new record [entry-in-flight]",
            );
        });
    }
}

#[test]
fn a_held_archive_that_is_taken_back_waits_for_nothing() {
    everywhere(|scene| {
        scene.do_run("DELETE FROM contacts WHERE local_id = 2");
        scene.as_daemon(
            "UPDATE sync_outbox SET waits_for = 'guard', attempts = 3, next_attempt_at = NULL",
        );
        scene.do_run("INSERT INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Rob')");
        assert_eq!(scene.outbox(), ["update contacts 2 102; firstname was Bob"]);
        assert_eq!(scene.rows("SELECT attempts FROM sync_outbox"), ["0"]);
    });
}

#[test]
fn a_new_row_that_gets_the_number_of_a_deleted_one_is_a_create_beside_its_archive() {
    everywhere(|scene| {
        scene.do_run(
            "DELETE FROM contacts; DELETE FROM sqlite_sequence WHERE name = 'contacts';
             INSERT INTO contacts (email) VALUES ('cy@example.com'), ('dan@example.com'), ('eve@example.com')",
        );
        let kinds = "SELECT operation, count(*), count(row), count(hs_id) FROM sync_outbox GROUP BY operation ORDER BY operation";
        assert_eq!(scene.rows(kinds), ["archive 2 2 2", "create 3 0 0"]);
        let rows = "SELECT local_id FROM sync_outbox WHERE operation = 'create' ORDER BY local_id";
        assert_eq!(scene.rows(rows), ["1", "2", "3"]);
        let archives =
            "SELECT count(*) FROM sync_outbox WHERE operation = 'archive' AND local_id < -1";
        assert_eq!(scene.rows(archives), ["2"]);
    });
}

#[test]
fn a_row_that_got_a_deleted_ones_number_past_the_triggers_is_created_beside_its_archive() {
    everywhere(|scene| {
        scene.do_run("DELETE FROM contacts WHERE local_id = 2");
        scene.do_run(
            "DROP TRIGGER sync_mirror_contacts_insert; DELETE FROM sqlite_sequence WHERE name = 'contacts';
             INSERT INTO contacts (email) VALUES ('cy@example.com')",
        );
        scene.repair();
        let kinds =
            "SELECT operation, count(*) FROM sync_outbox GROUP BY operation ORDER BY operation";
        assert_eq!(scene.rows(kinds), ["archive 1", "create 1"]);
    });
}
