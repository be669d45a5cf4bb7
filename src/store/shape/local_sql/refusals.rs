//! Values that no column takes, and objects that only one side writes.

use super::scene::{CLAUSES, everywhere, with_each_clause};

#[test]
fn a_local_id_that_leaves_no_room_is_refused() {
    with_each_clause(&CLAUSES, |scene, clause| {
        for id in [
            "9223372036854775807",
            "9007199254740991",
            "4503599627370497",
        ] {
            for (columns, values) in [
                ("email", "'z@z.example'"),
                // A row that the clause skips, because another one has the record: its number would stay.
                ("hs_id", "101"),
            ] {
                scene.refused(
                    &format!("INSERT {clause} INTO contacts (local_id, {columns}) VALUES ({id}, {values})"),
                    "this local_id leaves no room for rows after it: leave it out, or use one up to 4503599627370496 [out-of-range]",
                );
            }
            scene.refused(
                &format!("INSERT {clause} INTO companies (local_id, hs_id) VALUES ({id}, 201)"),
                "this local_id leaves no room for rows after it: leave it out, or use one up to 4503599627370496 [out-of-range]",
            );
            scene
                .run(&format!(
                    "UPDATE {clause} contacts SET local_id = {id}, hs_id = 101 WHERE local_id = 2"
                ))
                .ok();
        }
        scene.do_run(&format!(
            "INSERT {clause} INTO contacts (email) VALUES ('next@z.example')"
        ));
        assert_eq!(scene.rows("SELECT max(local_id) FROM contacts"), ["3"]);
    });
}

#[test]
fn after_the_largest_local_id_of_a_program_rows_go_on() {
    everywhere(|scene| {
        scene.do_run(
            "INSERT INTO contacts (local_id, email) VALUES (4503599627370496, 'last@z.example');
             INSERT INTO contacts (email) VALUES ('next@z.example')",
        );
        assert_eq!(
            scene.rows("SELECT max(local_id) FROM contacts"),
            ["4503599627370497"]
        );
    });
}

#[test]
fn a_local_id_counts_from_one() {
    with_each_clause(
        &["", "OR REPLACE", "OR FAIL", "OR ABORT"],
        |scene, clause| {
            for id in ["0", "-1", "-7"] {
                scene.refused(
                &format!("INSERT {clause} INTO contacts (local_id, email) VALUES ({id}, 'z@z.example')"),
                "contacts.local_id counts from 1: leave it out [out-of-range]",
            );
            }
        },
    );
}

#[test]
fn a_number_that_leaves_no_room_is_brought_down_within_a_minute() {
    everywhere(|scene| {
        scene.do_run("UPDATE sqlite_sequence SET seq = 9223372036854775807");
        let full = scene.run("INSERT INTO contacts (email) VALUES ('z@z.example')");
        assert_eq!(full, Err("database or disk is full".to_owned()));
        scene.repair();
        scene.do_run("INSERT INTO contacts (email) VALUES ('z@z.example')");
        assert_eq!(
            scene.outbox(),
            ["create contacts 3 -"],
            "the bookkeeping's numbers too"
        );
        assert_eq!(
            scene.rows("SELECT count(*) FROM sqlite_sequence WHERE seq > 100"),
            ["0"]
        );
    });
}

#[test]
fn a_row_past_the_triggers_with_the_largest_number_ends_nobodys_inserts() {
    everywhere(|scene| {
        scene.as_daemon(
            "INSERT INTO contacts (local_id, hs_id, email) VALUES (9223372036854775807, 103, 'z@z.example');
             INSERT INTO sync_history (at, object, local_id, property, origin) VALUES ('x', 'contacts', 7, 'email', 'poll')",
        );
        scene.repair();
        scene.do_run("INSERT INTO contacts (email) VALUES ('next@z.example')");
        assert_eq!(
            scene.rows("SELECT local_id, hs_id FROM contacts WHERE local_id > 2"),
            ["8 103", "9 -"]
        );
    });
}

/// 65,536 characters of two bytes each.
const LONGEST: &str = "replace(hex(zeroblob(32768)), '0', char(233))";

#[test]
fn a_text_that_is_longer_than_hubspot_takes_is_refused() {
    with_each_clause(&CLAUSES, |scene, clause| {
        // One of each type that is text of any length, and what is behind a NUL.
        for (column, text) in [
            ("first_name", format!("{LONGEST} || 'x'")),
            ("stage", format!("{LONGEST} || 'x'")),
            (
                "interests",
                format!("char(0) || {LONGEST} || {LONGEST} || {LONGEST}"),
            ),
        ] {
            let sentence =
                format!("shorten contacts.{column} to 65536 characters [value-too-long]");
            for sql in [
                format!("INSERT {clause} INTO contacts ({column}) VALUES ({text})"),
                format!("UPDATE {clause} contacts SET {column} = {text} WHERE local_id = 1"),
            ] {
                scene.refused(&sql, &sentence);
            }
        }
        scene.do_run(&format!(
            "UPDATE {clause} contacts SET stage = {LONGEST} WHERE local_id = 1;
             INSERT {clause} INTO contacts (stage) VALUES ({LONGEST})"
        ));
    });
}

#[test]
fn a_text_that_is_too_long_is_refused_in_a_replace_and_an_upsert_too() {
    everywhere(|scene| {
        for sql in [
            format!(
                "REPLACE INTO contacts (local_id, hs_id, stage) VALUES (1, 101, {LONGEST} || 'x')"
            ),
            format!(
                "INSERT INTO contacts (local_id, stage) VALUES (1, {LONGEST} || 'x')
                 ON CONFLICT (local_id) DO UPDATE SET stage = excluded.stage"
            ),
        ] {
            scene.refused(
                &sql,
                "shorten contacts.stage to 65536 characters [value-too-long]",
            );
        }
    });
}

#[test]
fn what_hubspot_itself_holds_may_be_longer_and_is_written_again() {
    everywhere(|scene| {
        scene.as_daemon(&format!(
            "UPDATE contacts SET first_name = {LONGEST} || 'x' WHERE local_id = 1"
        ));
        scene.do_run(
            "UPDATE contacts SET first_name = first_name, email = 'new@example.com' WHERE local_id = 1",
        );
        scene.do_run(
            "REPLACE INTO contacts SELECT * FROM contacts WHERE local_id = 1;
             DELETE FROM contacts WHERE local_id = 1",
        );
        assert_eq!(
            scene.outbox(),
            ["archive contacts 1 101, keeps the row; email was ada@example.com"]
        );
    });
}

#[test]
fn a_value_of_another_type_is_refused() {
    let cases = [
        (
            "revenue",
            "'many'",
            "cannot store TEXT value in REAL column contacts.revenue",
        ),
        (
            "owner",
            "1.5",
            "cannot store REAL value in INTEGER column contacts.owner",
        ),
        (
            "opt_out",
            "'yes'",
            "cannot store TEXT value in INTEGER column contacts.opt_out",
        ),
        (
            "email",
            "x'00'",
            "cannot store BLOB value in TEXT column contacts.email",
        ),
    ];
    with_each_clause(
        &["", "OR REPLACE", "OR FAIL", "OR ABORT", "OR ROLLBACK"],
        |scene, clause| {
            for (column, value, sentence) in cases {
                scene.refused(
                    &format!("INSERT {clause} INTO contacts ({column}) VALUES ({value})"),
                    sentence,
                );
                scene.refused(
                    &format!("UPDATE {clause} contacts SET {column} = {value} WHERE local_id = 1"),
                    sentence,
                );
            }
        },
    );
}

#[test]
fn a_value_that_hubspot_would_refuse_is_refused_where_the_type_can_tell() {
    let cases = [
        (
            "opt_out",
            "2",
            "opt_out must be 0, 1 or NULL [invalid-boolean]",
        ),
        (
            "birthday",
            "'10.12.1815'",
            "birthday must be a date like 2026-11-24 [invalid-date]",
        ),
        (
            "birthday",
            "'now'",
            "birthday must be a date like 2026-11-24 [invalid-date]",
        ),
        // A day that older versions of SQLite hand out as it came in.
        (
            "birthday",
            "'2026-02-30'",
            "birthday must be a date like 2026-11-24 [invalid-date]",
        ),
        (
            "seen",
            "'2026-02-30 03:10'",
            "seen must be a time like 2026-11-24T03:10:00.000Z [invalid-date]",
        ),
        (
            "seen",
            "'now'",
            "seen must be a time like 2026-11-24T03:10:00.000Z [invalid-date]",
        ),
        (
            "seen",
            "'noon'",
            "seen must be a time like 2026-11-24T03:10:00.000Z [invalid-date]",
        ),
        (
            "price",
            "'12,50'",
            "price must be a decimal number like 12.50 [invalid-number]",
        ),
        (
            "revenue",
            "9e999",
            "revenue must be a finite number [invalid-number]",
        ),
    ];
    with_each_clause(
        &["", "OR REPLACE", "OR FAIL", "OR ABORT", "OR ROLLBACK"],
        |scene, clause| {
            for (column, value, sentence) in cases {
                let sentence = format!("CHECK constraint failed: {sentence}");
                scene.refused(
                    &format!("INSERT {clause} INTO contacts ({column}) VALUES ({value})"),
                    &sentence,
                );
                scene.refused(
                    &format!("UPDATE {clause} contacts SET {column} = {value} WHERE local_id = 1"),
                    &sentence,
                );
            }
        },
    );
}

/// `OR IGNORE` is the program's own word: what it skips is not written, here or anywhere.
#[test]
fn or_ignore_skips_what_a_column_does_not_take() {
    everywhere(|scene| {
        scene.does_nothing("INSERT OR IGNORE INTO contacts (opt_out) VALUES (2)");
        scene.does_nothing("UPDATE OR IGNORE contacts SET birthday = 'soon'");
    });
}

#[test]
fn an_enumeration_takes_any_option_since_hubspot_may_get_another_one_any_day() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET stage = 'never seen', interests = ';a;;b' WHERE local_id = 1",
        );
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; interests was a;b; stage was lead"]
        );
    });
}

#[test]
fn an_object_that_comes_from_hubspot_takes_no_write() {
    everywhere(|scene| {
        scene.refused(
            "INSERT INTO companies (name) VALUES ('x')",
            "companies comes from HubSpot: rows can not be inserted here [read-only]",
        );
        let replaced = scene.run("REPLACE INTO companies (hs_id, name) VALUES (201, 'x')");
        let sentence = replaced.expect_err("is refused");
        assert!(
            sentence.starts_with("companies comes from HubSpot: rows can not be "),
            "{sentence}"
        );
        scene.refused(
            "UPDATE companies SET name = 'x'",
            "companies.name comes from HubSpot: leave it [read-only]",
        );
        scene.refused(
            "INSERT INTO companies (hs_id, name) VALUES (201, 'x') ON CONFLICT (hs_id) DO UPDATE SET name = excluded.name",
            "companies.name comes from HubSpot: leave it [read-only]",
        );
        scene.refused(
            "DELETE FROM companies",
            "companies comes from HubSpot: rows can not be deleted here [read-only]",
        );
        scene.does_nothing("UPDATE companies SET name = name");
    });
}

#[test]
fn an_object_that_only_goes_to_hubspot_takes_every_write() {
    everywhere(|scene| {
        scene.do_run(
            "INSERT INTO deals (amount) VALUES (1); UPDATE deals SET amount = 6 WHERE local_id = 1;
             REPLACE INTO deals (local_id, amount) VALUES (1, 7)",
        );
        assert_eq!(
            scene.outbox(),
            ["update deals 1 301; amount was 5.0", "create deals 2 -"]
        );
    });
}

#[test]
fn a_write_of_a_degraded_field_waits_however_it_is_written() {
    everywhere(|scene| {
        scene.as_daemon(
            "UPDATE sync_fields SET state = 'degraded', problem = 'gone' WHERE property = 'stage';
             UPDATE _sync_meta SET value = '' WHERE name = 'schema_seen'",
        );
        assert_eq!(scene.repair(), Vec::<String>::new());
        scene.do_run("UPDATE contacts SET stage = 'x' WHERE local_id = 1");
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; firstname was Ada; stage was lead"]
        );
        scene.do_run("UPDATE contacts SET stage = 'lead' WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
        scene.do_run("INSERT INTO contacts (email, stage) VALUES ('cy@example.com', 'x')");
        scene.do_run("REPLACE INTO contacts (hs_id, email, first_name, stage) VALUES (102, 'bob@example.com', 'Bob', 'y')");
        assert_eq!(
            scene.rows("SELECT stage FROM contacts ORDER BY local_id"),
            ["lead", "y", "x"]
        );
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; firstname was Ada",
                "update contacts 2 102; stage was -",
                "create contacts 3 -"
            ]
        );
    });
}
