//! UPDATE.

use super::scene::{CLAUSES, everywhere, with_each_clause};

#[test]
fn an_update_queues_the_field_with_the_value_it_had() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET first_name = 'Augusta' WHERE local_id = 1"
        ));
        assert_eq!(scene.contacts()[0], "1 101 ada@example.com Augusta");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
    });
}

#[test]
fn the_first_value_stays_the_base_however_often_a_field_is_written() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET first_name = 'B' WHERE local_id = 1;
             UPDATE {clause} contacts SET first_name = 'C' WHERE local_id = 1;
             UPDATE {clause} contacts SET email = NULL, first_name = 'D' WHERE local_id = 1"
        ));
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; email was ada@example.com; firstname was Ada"]
        );
        assert_eq!(scene.rows("SELECT version FROM sync_outbox"), ["3"]);
    });
}

#[test]
fn every_type_keeps_its_base_as_the_column_held_it_and_the_daemon_reads_it_in_canonical_spelling() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET revenue = 0.1 + 0.2, price = '13', owner = 8, opt_out = 1, birthday = NULL,
                    seen = '2026-11-25 00:00', stage = 'customer', interests = 'b' WHERE local_id = 1"
        ));
        assert_eq!(
            scene.rows(
                "SELECT group_concat(property || ' ' || typeof(base_value) || ' ' || base_value, '; ') FROM sync_outbox_fields"
            ),
            [
                "annualrevenue real 1.5; birthday text 1815-12-10; interests text a;b; optout integer 0; \
                 owner integer 7; price text 12.50; seen text 2026-11-24T03:10:00.000Z; stage text lead"
            ]
        );
        assert_eq!(
            scene.read_by_the_daemon(),
            [
                "update 1; annualrevenue was 1.5; birthday was 1815-12-10; interests was a;b; optout was false; \
                 owner was 7; price was 12.5; seen was 2026-11-24T03:10:00.000Z; stage was lead"
            ]
        );
        scene.do_run("UPDATE contacts SET revenue = 100, opt_out = 0 WHERE local_id = 2");
        assert_eq!(
            scene.outbox()[1],
            "update contacts 2 102; annualrevenue was -; optout was -"
        );
    });
}

#[test]
fn numbers_are_kept_with_all_their_digits_and_read_with_as_few_as_read_back_the_same() {
    let numbers = [
        ("0.1 + 0.2", "0.30000000000000004"),
        ("100", "100"),
        ("-0.5", "-0.5"),
        ("1e21", "1000000000000000000000"),
        ("-0.00005", "-0.00005"),
        ("1.0 / 3000", "0.0003333333333333333"),
        ("1.2345678901234567e18", "1234567890123456800"),
        ("12345678901234567.0", "12345678901234568"),
        ("6.02e23", "602000000000000000000000"),
        ("1e-7", "0.0000001"),
        ("123456789.125", "123456789.125"),
        ("9007199254740993", "9007199254740992"),
        ("-0.0", "0"),
    ];
    everywhere(|scene| {
        for (number, text) in numbers {
            scene.as_daemon(&format!(
                "DELETE FROM sync_outbox_fields; DELETE FROM sync_outbox; UPDATE contacts SET revenue = {number} WHERE local_id = 2"
            ));
            scene.do_run("UPDATE contacts SET revenue = NULL WHERE local_id = 2");
            assert_eq!(
                scene.rows(&format!(
                    "SELECT typeof(base_value), base_value = CAST({number} AS REAL) FROM sync_outbox_fields"
                )),
                ["real 1"],
                "{number}"
            );
            assert_eq!(
                scene.read_by_the_daemon(),
                [format!("update 2; annualrevenue was {text}")],
                "{number}"
            );
            // A deleted row keeps them too.
            scene.as_daemon(&format!(
                "DELETE FROM sync_outbox_fields; DELETE FROM sync_outbox; UPDATE contacts SET revenue = {number}, email = 'b@example.com' WHERE local_id = 2"
            ));
            scene.do_run("DELETE FROM contacts WHERE local_id = 2");
            assert_eq!(
                scene.kept_by_the_daemon("annualrevenue"),
                [text.to_owned()],
                "{number}"
            );
            scene.as_daemon(&format!(
                "INSERT INTO contacts (local_id, hs_id, email, revenue) VALUES (2, 102, 'b@example.com', {number})"
            ));
        }
    });
}

#[test]
fn an_update_to_the_same_values_queues_nothing() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.does_nothing(&format!(
            "UPDATE {clause} contacts SET local_id = local_id, hs_id = hs_id, email = email, first_name = first_name, revenue = 1.5,
                    price = price, owner = owner, opt_out = opt_out, birthday = birthday, seen = seen, stage = stage,
                    interests = interests, score = score, hs_created_at = hs_created_at, hs_modified_at = hs_modified_at,
                    hs_archived = hs_archived WHERE local_id = 1"
        ));
    });
}

#[test]
fn an_orm_that_sets_every_column_queues_what_differs() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET local_id = 1, hs_id = 101, email = 'ada@example.com', first_name = 'Augusta', revenue = 1.5,
                    price = '12.50', owner = 7, opt_out = 0, birthday = '1815-12-10', seen = '2026-11-24T03:10:00.000Z',
                    stage = 'lead', interests = 'a;b', score = 9, hs_archived = 0 WHERE local_id = 1"
        ));
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
    });
}

/// As ORMs write it back.
#[test]
fn a_moment_in_another_spelling_waits_for_the_daemon_to_see_that_it_is_the_same_one() {
    let spellings = [
        "2026-11-24 03:10:00.000000",
        "2026-11-24 03:10",
        "2026-11-24T03:10:00Z",
        "2026-11-24T04:10:00.000+01:00",
    ];
    let queued = ["update contacts 1 101; seen was 2026-11-24T03:10:00.000Z"];
    everywhere(|scene| {
        for spelling in spellings {
            scene.do_run(&format!(
                "UPDATE contacts SET seen = '{spelling}' WHERE local_id = 1"
            ));
            assert_eq!(scene.outbox(), queued, "{spelling}");
        }
        scene.do_run("UPDATE contacts SET seen = '2026-11-24 03:11' WHERE local_id = 1");
        assert_eq!(scene.outbox(), queued);
        scene.do_run("UPDATE contacts SET seen = '2026-11-24T03:10:00.000Z' WHERE local_id = 1");
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn empty_text_over_null_waits_for_the_daemon_to_see_that_both_are_empty() {
    everywhere(|scene| {
        scene
            .do_run("UPDATE contacts SET stage = '', birthday = '', price = '' WHERE local_id = 2");
        assert_eq!(
            scene.outbox(),
            ["update contacts 2 102; birthday was -; price was -; stage was -"]
        );
        scene.do_run("UPDATE contacts SET stage = NULL WHERE local_id = 2");
        assert_eq!(
            scene.outbox(),
            ["update contacts 2 102; birthday was -; price was -"]
        );
    });
}

#[test]
fn a_field_written_back_to_its_base_leaves_nothing() {
    with_each_clause(&CLAUSES, |scene, clause| {
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET first_name = 'B', revenue = 2 WHERE local_id = 1;
             UPDATE {clause} contacts SET first_name = 'Ada' WHERE local_id = 1"
        ));
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; annualrevenue was 1.5"]
        );
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET revenue = 1.5 WHERE local_id = 1"
        ));
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn while_an_attempt_is_open_nothing_is_cut_short_and_the_state_stays() {
    for open in [
        "state = 'in_flight'",
        "unanswered_since = '2026-11-24T03:10:00.000Z'",
    ] {
        everywhere(|scene| {
            scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
            scene.as_daemon(&format!(
                "UPDATE sync_outbox SET {open}; UPDATE sync_outbox_fields SET sent_value = 'B'"
            ));
            scene.do_run("UPDATE contacts SET first_name = 'Ada', stage = 'x' WHERE local_id = 1");
            let state = if open.starts_with("state") {
                "in_flight"
            } else {
                "unanswered"
            };
            assert_eq!(
                scene.outbox(),
                [format!(
                    "update contacts 1 101, {state}; firstname was Ada; stage was lead"
                )]
            );
            assert_eq!(scene.rows("SELECT version FROM sync_outbox"), ["2"]);
        });
    }
}

#[test]
fn a_write_to_a_row_whose_create_waits_is_part_of_the_create() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts (email) VALUES ('cy@example.com'); UPDATE contacts SET first_name = 'Cy' WHERE local_id = 3");
        assert_eq!(scene.outbox(), ["create contacts 3 -; firstname was -?"]);
        assert_eq!(scene.rows("SELECT version FROM sync_outbox"), ["2"]);
    });
}

#[test]
fn a_write_while_a_create_is_in_flight_is_noted_with_an_unknown_base() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts (email) VALUES ('cy@example.com')");
        scene.as_daemon("UPDATE sync_outbox SET state = 'in_flight', attempts = 1, unanswered_since = '2026-11-24T03:10:00.000Z'");
        scene.do_run("UPDATE contacts SET first_name = 'Cy' WHERE local_id = 3");
        assert_eq!(
            scene.outbox(),
            ["create contacts 3 -, in_flight, unanswered; firstname was -?"]
        );
    });
}

#[test]
fn a_write_to_a_dead_entry_makes_it_due_again() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        scene.as_daemon("UPDATE sync_outbox SET state = 'dead', attempts = 8, next_attempt_at = NULL, last_error = 'no'");
        scene.do_run("UPDATE contacts SET stage = 'x' WHERE local_id = 1");
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; firstname was Ada; stage was lead"]
        );
        assert_eq!(scene.rows("SELECT attempts FROM sync_outbox"), ["0"]);
    });
}

#[test]
fn a_write_does_not_wait_for_a_value_that_no_property_takes() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        scene.as_daemon(&format!(
            "UPDATE sync_outbox SET next_attempt_at = '2999-01-01T00:00:00.000Z', last_error = '{}'",
            crate::store::outbox::UNWRITABLE
        ));
        scene.do_run("UPDATE contacts SET stage = 'x' WHERE local_id = 1");
        assert_eq!(
            scene.rows("SELECT next_attempt_at < '2900' FROM sync_outbox WHERE last_error IS NULL"),
            ["1"]
        );
        // Any other rest goes on.
        scene.as_daemon(
            "UPDATE sync_outbox SET next_attempt_at = '2999-01-01T00:00:00.000Z', last_error = 'later'",
        );
        scene.do_run("UPDATE contacts SET stage = 'y' WHERE local_id = 1");
        assert_eq!(
            scene.rows(
                "SELECT next_attempt_at > '2900' FROM sync_outbox WHERE last_error = 'later'"
            ),
            ["1"]
        );
    });
}

#[test]
fn a_row_whose_create_was_discarded_is_created_at_the_next_write() {
    everywhere(|scene| {
        scene.as_daemon("INSERT INTO contacts (local_id, email) VALUES (3, 'cy@example.com')");
        scene.does_nothing("UPDATE contacts SET email = 'cy@example.com' WHERE local_id = 3");
        scene.do_run("UPDATE contacts SET first_name = 'Cy' WHERE local_id = 3");
        assert_eq!(scene.outbox(), ["create contacts 3 -; firstname was -?"]);
    });
}

#[test]
fn a_field_in_an_open_conflict_tells_the_conflict_and_is_not_queued() {
    everywhere(|scene| {
        scene.as_daemon(
            "INSERT INTO sync_conflicts (object, local_id, hs_id, property, base_value, local_value, remote_value, policy, detected_at)
             VALUES ('contacts', 1, 101, 'firstname', 'A', 'Ada', 'Augusta', 'manual', '2026-11-24T03:10:00.000Z')",
        );
        scene.do_run("UPDATE contacts SET first_name = 'Countess', stage = 'x' WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["update contacts 1 101; stage was lead"]);
        assert_eq!(
            scene.rows("SELECT base_value, local_value, remote_value FROM sync_conflicts"),
            ["A Countess Augusta"]
        );
    });
}

#[test]
fn the_daemon_spells_what_a_write_told_an_open_conflict() {
    everywhere(|scene| {
        for property in ["annualrevenue", "optout", "seen", "stage"] {
            scene.as_daemon(&format!(
                "INSERT INTO sync_conflicts (object, local_id, hs_id, property, policy, detected_at)
                 VALUES ('contacts', 1, 101, '{property}', 'manual', '2026-11-24T03:10:00.000Z')"
            ));
        }
        scene.do_run(
            "UPDATE contacts SET revenue = 0.1 + 0.2, opt_out = 1, seen = '2026-11-25 04:00', stage = '' WHERE local_id = 1",
        );
        scene.spell_conflicts();
        assert_eq!(
            scene.rows("SELECT local_value FROM sync_conflicts ORDER BY id"),
            [
                "0.30000000000000004",
                "true",
                "2026-11-25T04:00:00.000Z",
                "-"
            ]
        );
    });
}

#[test]
fn what_is_not_the_programs_to_change_is_refused() {
    let cases = [
        (
            "local_id = 9",
            "local_id is the row's own id for ever: leave it as it is [read-only]",
        ),
        // The number by its other names.
        (
            "rowid = 9",
            "local_id is the row's own id for ever: leave it as it is [read-only]",
        ),
        (
            "\"OID\" = 9",
            "local_id is the row's own id for ever: leave it as it is [read-only]",
        ),
        (
            "_rowid_ = 9",
            "local_id is the row's own id for ever: leave it as it is [read-only]",
        ),
        (
            "hs_id = 9",
            "hs_id is given by HubSpot: leave it as it is [read-only]",
        ),
        (
            "hs_id = NULL",
            "hs_id is given by HubSpot: leave it as it is [read-only]",
        ),
        (
            "hs_created_at = NULL",
            "hs_created_at is given by HubSpot: leave it as it is [read-only]",
        ),
        (
            "hs_modified_at = 'x'",
            "hs_modified_at is given by HubSpot: leave it as it is [read-only]",
        ),
        (
            "hs_archived = 1",
            "hs_archived is set by hubsyncd: leave it as it is [read-only]",
        ),
        (
            "score = 3, first_name = 'B'",
            "contacts.score comes from HubSpot: leave it [read-only]",
        ),
    ];
    with_each_clause(&CLAUSES, |scene, clause| {
        for (setting, sentence) in cases {
            scene.refused(
                &format!("UPDATE {clause} contacts SET {setting} WHERE local_id = 1"),
                sentence,
            );
        }
    });
}

#[test]
fn a_marked_row_is_refused_but_for_the_users_own_columns() {
    everywhere(|scene| {
        scene.do_run("ALTER TABLE contacts ADD COLUMN note TEXT");
        scene.as_daemon("UPDATE contacts SET hs_archived = 1 WHERE local_id = 1");
        scene.refused(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1",
            "this record is archived: DELETE its row, or restore it in HubSpot [record-archived]",
        );
        scene.do_run("UPDATE contacts SET note = 'mine' WHERE local_id = 1");
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn update_or_replace_may_not_take_another_row_away() {
    everywhere(|scene| {
        scene.do_run("CREATE UNIQUE INDEX own ON contacts (email)");
        scene.as_daemon("UPDATE _sync_meta SET value = '' WHERE name = 'schema_seen'");
        scene.repair();
        scene.refused(
            "UPDATE OR REPLACE contacts SET email = 'bob@example.com' WHERE local_id = 1",
            "UPDATE OR REPLACE would take another row of contacts away: DELETE that row first [two-rows]",
        );
        scene.refused(
            "UPDATE contacts SET email = 'bob@example.com' WHERE local_id = 1",
            "UNIQUE constraint failed: contacts.email",
        );
        scene.does_nothing(
            "UPDATE OR IGNORE contacts SET email = 'bob@example.com' WHERE local_id = 1",
        );
        scene.do_run("UPDATE OR REPLACE contacts SET email = 'a@example.com' WHERE local_id = 1");
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; email was ada@example.com"]
        );
    });
}

#[test]
fn or_fail_keeps_what_came_before_the_refused_row() {
    everywhere(|scene| {
        scene.do_run("CREATE UNIQUE INDEX own ON contacts (email)");
        let done = scene.run("UPDATE OR FAIL contacts SET email = 'same@example.com'");
        assert_eq!(
            done,
            Err("UNIQUE constraint failed: contacts.email".to_owned())
        );
        assert_eq!(
            scene.contacts(),
            ["1 101 same@example.com Ada", "2 102 bob@example.com Bob"]
        );
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; email was ada@example.com"]
        );
    });
}
