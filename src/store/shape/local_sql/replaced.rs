//! Tables that a program dropped, renamed or made anew: by their definition, not by their columns' names.

use super::scene::{Scene, everywhere};

const NONE: [&str; 0] = [];

/// What pandas' `to_sql(if_exists="replace")` makes of a table that it read before: types by its own mind, numbers of a
/// column with a gap as fractions, no keys, no checks.
const AS_PANDAS: &str = "
    CREATE TABLE written (local_id INTEGER, hs_id REAL, email TEXT, first_name TEXT, revenue REAL, opt_out REAL, birthday TEXT);
    INSERT INTO written SELECT local_id, hs_id, email, first_name, revenue, opt_out, birthday || ' 00:00:00' FROM contacts;
    DROP TABLE contacts;
    CREATE TABLE contacts AS SELECT * FROM written;
    DROP TABLE written;";

fn health(scene: &Scene) -> Vec<String> {
    scene.as_daemon(
        "UPDATE _sync_daemon SET phase = 'running', heartbeat_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), trigger_repaired_at = NULL;
         UPDATE _sync_cursors SET backfill = 'done', polled_to = '2026-11-24T00:00:00.000Z'",
    );
    scene.rows("SELECT state, last_error FROM sync_health")
}

#[test]
fn a_table_that_a_program_wrote_back_is_set_aside_and_the_mirror_takes_up_what_waits() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1;
             INSERT INTO contacts (email) VALUES ('new@example.com');
             DELETE FROM contacts WHERE local_id = 2",
        );
        scene.do_run(AS_PANDAS);
        scene.do_run("INSERT INTO contacts (hs_id, email) VALUES (NULL, 'unseen@example.com')");
        scene.repair();
        assert_eq!(
            scene.contacts(),
            ["1 101 ada@example.com B"],
            "the row of a waiting change is back under its own id, and a deleted one is not"
        );
        assert_eq!(
            scene.rows("SELECT revenue, opt_out, birthday, hs_modified_at FROM contacts"),
            ["1.5 0 - -"]
        );
        assert_eq!(
            scene.rows("SELECT count(*) FROM contacts_replaced_1"),
            ["3"],
            "nothing is lost"
        );
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; firstname was Ada",
                "archive contacts 2 102, keeps the row",
                "create contacts 3 -, dead"
            ]
        );
        assert_eq!(
            scene.rows("SELECT last_error FROM sync_outbox WHERE local_id = 3"),
            [
                "row 3 stayed in contacts_replaced_1, which a program had put in the place of contacts: \
                 INSERT it into contacts again to create it in HubSpot, and discard this entry [row-gone]"
            ]
        );
        assert_eq!(
            scene.rows("SELECT backfill, polled_to FROM _sync_cursors WHERE object = 'contacts'"),
            ["waiting -"]
        );
        let explanation = "a program put another table in the place of `contacts`: what it made stands in `contacts_replaced_1`, \
                     with 2 rows that HubSpot does not know yet (see the dead entry in sync_outbox); take what you need from it, and drop it";
        assert_eq!(health(scene), [format!("degraded {explanation}")]);
        // The mirror is one again: a write is seen, and no id is given twice.
        scene.do_run("INSERT INTO contacts (email) VALUES ('next@example.com')");
        assert_eq!(scene.contacts()[1], "4 - next@example.com -");
        assert_eq!(scene.repair(), NONE);
        scene.do_run("DROP TABLE contacts_replaced_1");
        assert_eq!(health(scene), ["running -"]);
        assert_eq!(scene.repair(), NONE);
        assert_eq!(scene.rows("SELECT * FROM _sync_set_aside"), NONE);
    });
}

#[test]
fn what_waited_for_the_rows_of_a_dropped_table_is_dead_and_named() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1;
             INSERT INTO contacts (email) VALUES ('new@example.com'), ('dead@example.com');
             DELETE FROM contacts WHERE local_id = 2",
        );
        scene.as_daemon(
            "UPDATE sync_outbox SET state = 'dead', last_error = 'no' WHERE local_id = 4",
        );
        scene.do_run("DROP TABLE contacts");
        scene.repair();
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 -, dead",
                "archive contacts 2 102, keeps the row",
                "create contacts 3 -, dead",
                "create contacts 4 -, dead"
            ]
        );
        let went = "went with the table contacts, which a program dropped";
        assert_eq!(
            scene.rows("SELECT last_error FROM sync_outbox WHERE state = 'dead' ORDER BY local_id"),
            [
                format!(
                    "row 1, HubSpot record 101, {went}, with what waited of it: write `firstname` again, and discard this entry [row-gone]"
                ),
                format!(
                    "row 3 {went}: INSERT it into contacts again to create it in HubSpot, and discard this entry [row-gone]"
                ),
                format!(
                    "row 4 {went}: INSERT it into contacts again to create it in HubSpot, and discard this entry [row-gone]"
                ),
            ]
        );
        let explanation = "a program dropped `contacts`; it was made again, and is filled; \
                     3 changes that waited find their rows no more (see the dead entries in sync_outbox)";
        assert_eq!(health(scene), [format!("degraded {explanation}")]);
        assert_eq!(scene.repair(), NONE);
        assert_eq!(
            scene.outbox().len(),
            4,
            "they stay until somebody discards them"
        );
        scene.as_daemon("DELETE FROM sync_outbox WHERE state = 'dead'");
        scene.repair();
        assert_eq!(health(scene), ["running -"]);
    });
}

#[test]
fn rows_keep_their_ids_also_where_nothing_waits() {
    everywhere(|scene| {
        scene.repair();
        scene.do_run(
            "CREATE TABLE copy AS SELECT hs_id, email, local_id FROM contacts ORDER BY local_id DESC;
             DROP TABLE contacts; PRAGMA legacy_alter_table = ON; ALTER TABLE copy RENAME TO contacts;
             INSERT INTO contacts VALUES (103, 'c@example.com', NULL), ('x', 'no id', 9), (102, 'double', 7)",
        );
        scene.repair();
        assert_eq!(
            scene.contacts(),
            [
                "1 101 ada@example.com -",
                "2 102 bob@example.com -",
                "3 103 c@example.com -"
            ]
        );
        assert_eq!(
            scene.rows("SELECT count(*) FROM contacts_replaced_1"),
            ["5"]
        );
    });
}

#[test]
fn a_second_table_in_the_mirrors_place_gets_the_next_name() {
    everywhere(|scene| {
        for number in 1..3 {
            scene.do_run("DROP TABLE contacts; CREATE TABLE contacts (email TEXT)");
            scene.repair();
            let made = format!("SELECT count(*) FROM contacts_replaced_{number}");
            assert_eq!(scene.rows(&made), ["0"]);
        }
        assert_eq!(scene.contacts(), NONE);
    });
}

#[test]
fn a_value_that_waits_and_that_the_column_does_not_take_is_not_sent_as_empty() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET birthday = '1815-12-11', first_name = 'B', stage = 'won' WHERE local_id = 1");
        scene.do_run(AS_PANDAS);
        scene.repair();
        // The birthday is no day any more, and the stage has no column.
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
    });
}

#[test]
fn a_view_in_the_mirrors_place_is_set_aside_too() {
    everywhere(|scene| {
        scene.do_run(
            "CREATE TABLE own AS SELECT * FROM contacts; DROP TABLE contacts; CREATE VIEW contacts (hs_id, email) AS SELECT hs_id, email FROM own",
        );
        scene.repair();
        assert_eq!(
            scene.rows("SELECT email FROM contacts_replaced_1 ORDER BY 1"),
            ["ada@example.com", "bob@example.com"]
        );
        assert_eq!(scene.contacts().len(), 2);
        scene.do_run("UPDATE contacts SET email = 'x@example.com' WHERE hs_id = 101");
        assert_eq!(scene.outbox().len(), 1);
    });
}

#[test]
fn what_refers_to_the_mirror_goes_on_to_do_so() {
    everywhere(|scene| {
        scene.do_run(
            "CREATE TABLE notes (contact INTEGER REFERENCES contacts (local_id) ON DELETE CASCADE, text TEXT);
             INSERT INTO notes VALUES (1, 'called');
             CREATE VIEW names AS SELECT first_name FROM contacts",
        );
        scene.repair();
        scene.do_run(
            "PRAGMA foreign_keys = OFF; CREATE TABLE copy AS SELECT * FROM contacts; DROP TABLE contacts; PRAGMA legacy_alter_table = ON; ALTER TABLE copy RENAME TO contacts",
        );
        scene.repair();
        assert_eq!(
            scene.rows("SELECT \"table\" FROM pragma_foreign_key_list('notes')"),
            ["contacts"]
        );
        assert_eq!(scene.rows("SELECT * FROM notes"), ["1 called"]);
        assert_eq!(scene.rows("SELECT first_name FROM names"), ["Ada", "Bob"]);
        assert_eq!(scene.rows("PRAGMA foreign_key_check"), NONE);
    });
}

#[test]
fn a_renamed_mirror_gets_its_name_back_and_what_took_its_place_is_set_aside() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        scene.do_run("ALTER TABLE contacts RENAME TO old_contacts");
        scene.repair();
        assert_eq!(scene.contacts()[0], "1 101 ada@example.com B");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
        scene.do_run(
            "ALTER TABLE contacts RENAME TO old_contacts; CREATE TABLE contacts AS SELECT * FROM old_contacts",
        );
        scene.repair();
        assert_eq!(scene.contacts()[0], "1 101 ada@example.com B");
        assert_eq!(
            scene.rows("SELECT count(*) FROM contacts_replaced_1"),
            ["2"]
        );
        assert_eq!(
            scene.rows("SELECT count(*) FROM sqlite_schema WHERE name = 'old_contacts'"),
            ["0"]
        );
        scene.do_run("UPDATE contacts SET first_name = 'C' WHERE local_id = 2");
        assert_eq!(scene.outbox().len(), 2);
        assert_eq!(
            scene.rows("SELECT backfill FROM _sync_cursors WHERE object = 'contacts'"),
            ["done"]
        );
    });
}

#[test]
fn a_renamed_column_gets_its_name_back_with_what_waits_in_it() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B', birthday = '1815-12-11' WHERE local_id = 1",
        );
        scene.do_run(
            "ALTER TABLE contacts RENAME COLUMN first_name TO given_name; ALTER TABLE contacts RENAME COLUMN birthday TO born",
        );
        scene.repair();
        assert_eq!(
            scene.rows("SELECT first_name, birthday FROM contacts WHERE local_id = 1"),
            ["B 1815-12-11"]
        );
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; birthday was 1815-12-10; firstname was Ada"]
        );
        assert_eq!(scene.repair(), NONE);
    });
}

#[test]
fn what_waited_in_a_dropped_column_is_not_sent_as_empty() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1;
             UPDATE contacts SET first_name = 'C', stage = 'won' WHERE local_id = 2",
        );
        scene.as_daemon(
            "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'contacts'; PRAGMA writable_schema = RESET;
             DROP VIEW sync_records; ALTER TABLE contacts DROP COLUMN first_name",
        );
        scene.repair();
        assert_eq!(scene.outbox(), ["update contacts 2 102; stage was -"]);
        let told = "SELECT problem FROM _sync_bypassed WHERE until = 'column firstname'";
        assert_eq!(
            scene.rows(told),
            [
                "a program dropped the column `first_name` of `contacts`, and what waited in it to be sent went with it: rows 1, 2"
            ]
        );
        scene.as_daemon("UPDATE sync_fields SET state = 'active'");
        scene.repair();
        assert_eq!(scene.rows(told), NONE);
    });
}

#[test]
fn no_local_id_is_given_twice_whatever_becomes_of_the_sequence() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts (email) VALUES ('a@example.com')");
        scene.repair();
        scene.do_run(
            "DELETE FROM contacts WHERE email = 'a@example.com'; DELETE FROM sqlite_sequence",
        );
        assert_eq!(scene.repair(), NONE);
        scene.do_run("INSERT INTO contacts (email) VALUES ('b@example.com'); UPDATE sqlite_sequence SET seq = 0");
        assert_eq!(scene.contacts()[2], "4 - b@example.com -");
        scene.repair();
        scene.do_run("DROP TABLE contacts");
        scene.repair();
        scene.do_run("INSERT INTO contacts (email) VALUES ('c@example.com')");
        assert_eq!(scene.contacts(), ["5 - c@example.com -"]);
    });
}

#[test]
fn tables_of_the_bookkeeping_are_made_again_and_what_took_their_place_is_set_aside() {
    everywhere(|scene| {
        scene.as_daemon(
            "DROP TABLE owners; CREATE TABLE owners (id TEXT, email TEXT); INSERT INTO owners VALUES ('x', 'y');
             DROP TABLE sync_history; DROP TABLE _sync_gate; DROP TABLE _sync_quota; DROP TABLE pipelines;
             CREATE VIEW pipelines AS SELECT 1 AS id",
        );
        scene.repair();
        assert_eq!(scene.rows("SELECT * FROM owners_replaced_1"), ["x y"]);
        assert_eq!(scene.rows("SELECT * FROM pipelines_replaced_1"), ["1"]);
        assert_eq!(scene.rows("SELECT * FROM owners"), NONE);
        assert_eq!(scene.rows("SELECT id, open FROM _sync_gate"), ["1 0"]);
        assert_eq!(scene.rows("SELECT id, day_used FROM _sync_quota"), ["1 0"]);
        assert!(
            health(scene)[0]
                .starts_with("degraded a program put another table in the place of `owners`")
        );
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
        scene.refused(
            "INSERT INTO sync_history (at, object, property, origin) VALUES ('x', 'contacts', 'x', 'poll')",
            "sync_history is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]",
        );
        assert_eq!(scene.repair(), NONE);
    });
}

#[test]
fn what_is_known_of_the_tables_may_be_lost_and_the_tables_are_not() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        scene.as_daemon("DROP TABLE _sync_objects; DROP TABLE sync_fields; DROP TABLE _sync_cursors; DROP TABLE _sync_meta");
        scene.repair();
        assert_eq!(scene.contacts()[0], "1 101 ada@example.com B");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
        assert_eq!(
            scene.rows(
                "SELECT count(*) FROM sync_fields WHERE object = 'contacts' AND state = 'active'"
            ),
            ["11"]
        );
    });
}
