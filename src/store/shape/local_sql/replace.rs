//! REPLACE, which fires no DELETE trigger and may hand out a new `local_id`.

use super::scene::{Scene, everywhere};

const VERBS: [&str; 2] = ["REPLACE", "INSERT OR REPLACE"];

fn with_each_verb(act: impl Fn(&Scene, &str)) {
    for verb in VERBS {
        everywhere(|scene| act(scene, verb));
    }
}

#[test]
fn a_replace_by_hs_id_is_the_update_that_was_meant_and_keeps_the_local_id() {
    with_each_verb(|scene, verb| {
        scene.do_run(&format!(
            "{verb} INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Robert')"
        ));
        assert_eq!(
            scene.contacts(),
            ["1 101 ada@example.com Ada", "2 102 bob@example.com Robert"]
        );
        assert_eq!(scene.outbox(), ["update contacts 2 102; firstname was Bob"]);
    });
}

#[test]
fn a_replace_by_local_id_keeps_the_record() {
    with_each_verb(|scene, verb| {
        scene.do_run(&format!(
            "{verb} INTO contacts (local_id, email, first_name) VALUES (2, 'bob@example.com', 'Robert')"
        ));
        assert_eq!(scene.contacts()[1], "2 102 bob@example.com Robert");
        assert_eq!(scene.outbox(), ["update contacts 2 102; firstname was Bob"]);
    });
}

#[test]
fn columns_that_a_replace_leaves_out_are_emptied_but_for_hubspots_own() {
    with_each_verb(|scene, verb| {
        scene.do_run(&format!(
            "{verb} INTO contacts (local_id, hs_id, email) VALUES (1, 101, 'ada@example.com')"
        ));
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; annualrevenue was 1.5; birthday was 1815-12-10; firstname was Ada; interests was a;b; \
              optout was 0; owner was 7; price was 12.50; seen was 2026-11-24T03:10:00.000Z; stage was lead"
            ]
        );
        assert_eq!(
            scene.rows("SELECT first_name, score, hs_created_at, hs_modified_at FROM contacts WHERE local_id = 1"),
            ["- 9.0 2026-01-01T00:00:00.000Z 2026-01-02T00:00:00.000Z"]
        );
    });
}

#[test]
fn a_replace_with_the_same_values_leaves_nothing() {
    with_each_verb(|scene, verb| {
        scene.does_nothing(&format!("{verb} INTO contacts SELECT * FROM contacts"));
    });
}

#[test]
fn a_replace_by_a_unique_index_of_the_users_is_an_update() {
    with_each_verb(|scene, verb| {
        scene.do_run("CREATE UNIQUE INDEX own ON contacts (email COLLATE NOCASE)");
        scene.repair();
        scene.do_run(&format!(
            "{verb} INTO contacts (email, first_name) VALUES ('BOB@example.com', 'Robert')"
        ));
        assert_eq!(scene.contacts()[1], "2 102 BOB@example.com Robert");
        assert_eq!(
            scene.outbox(),
            ["update contacts 2 102; email was bob@example.com; firstname was Bob"]
        );
    });
}

#[test]
fn a_replace_by_a_unique_index_on_an_expression_is_an_update() {
    with_each_verb(|scene, verb| {
        scene.do_run(
            "ALTER TABLE contacts ADD COLUMN tenant TEXT GENERATED ALWAYS AS (coalesce(stage, 'none')) VIRTUAL;
             CREATE UNIQUE INDEX own ON contacts (lower(trim(email)), tenant DESC)",
        );
        assert_eq!(scene.repair(), Vec::<String>::new());
        scene.do_run(&format!(
            "{verb} INTO contacts (email, first_name) VALUES (' BOB@example.com', 'Robert');
             {verb} INTO contacts (email, stage) VALUES ('bob@example.com', 'other')"
        ));
        assert_eq!(
            scene.contacts()[1..],
            ["2 102  BOB@example.com Robert", "4 - bob@example.com -"]
        );
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 2 102; email was bob@example.com; firstname was Bob",
                "create contacts 4 -"
            ]
        );
        scene.refused(
            "UPDATE OR REPLACE contacts SET stage = NULL WHERE local_id = 4",
            "UPDATE OR REPLACE would take another row of contacts away: DELETE that row first [two-rows]",
        );
    });
}

#[test]
fn a_row_outside_a_partial_unique_index_is_met_by_nobody() {
    with_each_verb(|scene, verb| {
        scene.do_run("CREATE UNIQUE INDEX own ON contacts (email) WHERE stage = 'lead'");
        assert_eq!(scene.repair(), Vec::<String>::new());
        scene.do_run(&format!(
            "{verb} INTO contacts (email, first_name) VALUES ('ada@example.com', 'Another')"
        ));
        assert_eq!(scene.outbox(), ["create contacts 3 -"]);
        scene.do_run("UPDATE OR REPLACE contacts SET email = 'ada@example.com' WHERE local_id = 2");
        assert_eq!(scene.contacts().len(), 3);
        scene.do_run(&format!(
            "{verb} INTO contacts (email, first_name, stage) VALUES ('ada@example.com', 'Augusta', 'lead')"
        ));
        assert_eq!(scene.contacts()[0], "1 101 ada@example.com Augusta");
    });
}

#[test]
fn a_replace_that_meets_nobody_is_a_create() {
    with_each_verb(|scene, verb| {
        scene.do_run(&format!(
            "{verb} INTO contacts (email) VALUES ('cy@example.com')"
        ));
        assert_eq!(scene.outbox(), ["create contacts 3 -"]);
        scene.refused(
            &format!("{verb} INTO contacts (hs_id, email) VALUES (555, 'cy@example.com')"),
            "contacts.hs_id comes from HubSpot: leave it [read-only]",
        );
    });
}

#[test]
fn a_replace_of_a_row_whose_create_waits_keeps_the_create_and_its_key() {
    with_each_verb(|scene, verb| {
        scene.do_run("INSERT INTO contacts (email) VALUES ('cy@example.com')");
        let key = scene.rows("SELECT key FROM sync_outbox");
        scene.do_run(&format!(
            "{verb} INTO contacts (local_id, email, first_name) VALUES (3, 'cy@example.com', 'Cy')"
        ));
        assert_eq!(scene.contacts()[2], "3 - cy@example.com Cy");
        assert_eq!(scene.outbox(), ["create contacts 3 -; firstname was -?"]);
        assert_eq!(scene.rows("SELECT key FROM sync_outbox"), key);
    });
}

#[test]
fn a_replace_of_two_rows_at_once_is_refused() {
    with_each_verb(|scene, verb| {
        scene.refused(
            &format!(
                "{verb} INTO contacts (local_id, hs_id, email) VALUES (1, 102, 'x@example.com')"
            ),
            "this overwrites two rows: DELETE one first [two-rows]",
        );
    });
}

#[test]
fn a_replace_of_a_dirty_row_keeps_the_bases() {
    with_each_verb(|scene, verb| {
        scene.do_run(&format!(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 2;
             {verb} INTO contacts (hs_id, email, first_name) VALUES (102, 'robert@example.com', 'C')"
        ));
        assert_eq!(
            scene.outbox(),
            ["update contacts 2 102; email was bob@example.com; firstname was Bob"]
        );
        scene.do_run(&format!(
            "{verb} INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Bob')"
        ));
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn a_replace_while_an_update_is_in_flight_only_adds_to_it() {
    with_each_verb(|scene, verb| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 2");
        scene.as_daemon("UPDATE sync_outbox SET state = 'in_flight'; UPDATE sync_outbox_fields SET sent_value = 'B'");
        scene.do_run(&format!(
            "{verb} INTO contacts (hs_id, email, first_name) VALUES (102, 'robert@example.com', 'B')"
        ));
        assert_eq!(scene.contacts()[1], "2 102 robert@example.com B");
        assert_eq!(
            scene.outbox(),
            ["update contacts 2 102, in_flight; email was bob@example.com; firstname was Bob"]
        );
    });
}

#[test]
fn a_replace_of_what_hubspot_gives_is_refused() {
    with_each_verb(|scene, verb| {
        let cases = [
            (
                "score",
                "8",
                "contacts.score comes from HubSpot: leave it [read-only]",
            ),
            (
                "hs_modified_at",
                "'2027-01-01'",
                "contacts.hs_modified_at comes from HubSpot: leave it [read-only]",
            ),
        ];
        for (column, value, sentence) in cases {
            scene.refused(
                &format!("{verb} INTO contacts (hs_id, email, {column}) VALUES (101, 'ada@example.com', {value})"),
                sentence,
            );
        }
    });
}

#[test]
fn a_replace_of_a_marked_row_is_refused() {
    with_each_verb(|scene, verb| {
        scene.as_daemon("UPDATE contacts SET hs_archived = 1 WHERE local_id = 1");
        scene.refused(
            &format!("{verb} INTO contacts (hs_id, email) VALUES (101, 'ada@example.com')"),
            "this record is archived: DELETE its row, or restore it in HubSpot [record-archived]",
        );
    });
}

#[test]
fn a_replace_of_a_field_in_an_open_conflict_tells_the_conflict() {
    with_each_verb(|scene, verb| {
        scene.as_daemon(
            "INSERT INTO sync_conflicts (object, local_id, hs_id, property, base_value, local_value, remote_value, policy, detected_at)
             VALUES ('contacts', 2, 102, 'firstname', 'A', 'Bob', 'Rob', 'manual', '2026-11-24T03:10:00.000Z')",
        );
        scene.do_run(&format!(
            "{verb} INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Robert')"
        ));
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(
            scene.rows("SELECT local_value FROM sync_conflicts"),
            ["Robert"]
        );
    });
}

#[test]
fn the_order_in_which_triggers_fire_changes_nothing() {
    everywhere(|scene| {
        scene.do_run("CREATE UNIQUE INDEX own ON contacts (email) WHERE stage = 'lead'");
        assert_eq!(scene.repair(), Vec::<String>::new());
        for turned in [false, true] {
            if turned {
                scene.turn_triggers_round();
            }
            scene.refused(
                "REPLACE INTO contacts (local_id, hs_id, email) VALUES (1, 102, 'x@example.com')",
                "this overwrites two rows: DELETE one first [two-rows]",
            );
            scene.refused(
                "REPLACE INTO contacts (hs_id, score) VALUES (101, 8)",
                "contacts.score comes from HubSpot: leave it [read-only]",
            );
            scene.do_run(
                "BEGIN;
                 REPLACE INTO contacts (email, stage, first_name) VALUES ('ada@example.com', 'lead', 'Augusta');
                 REPLACE INTO contacts (email, stage) VALUES ('ada@example.com', 'other');
                 DELETE FROM contacts WHERE local_id = 2;
                 INSERT INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Rob');
                 UPDATE contacts SET first_name = 'Countess' WHERE local_id = 1;
                 COMMIT",
            );
            assert_eq!(scene.contacts()[0], "1 101 ada@example.com Countess");
            assert_eq!(scene.contacts()[1], "2 102 bob@example.com Rob");
            let outbox = scene.outbox();
            assert!(
                outbox[0].contains("; firstname was Ada; interests was a;b"),
                "{outbox:?}"
            );
            assert_eq!(outbox[1], "update contacts 2 102; firstname was Bob");
            assert!(outbox[2].starts_with("create contacts "), "{outbox:?}");
            assert_eq!(outbox.len(), 3);
            scene.as_daemon(
                "DELETE FROM sync_outbox_fields; DELETE FROM sync_outbox; DELETE FROM contacts WHERE local_id > 2;
                 UPDATE contacts SET first_name = 'Ada', interests = 'a;b', stage = 'lead' WHERE local_id = 1;
                 UPDATE contacts SET first_name = 'Bob' WHERE local_id = 2",
            );
        }
    });
}
