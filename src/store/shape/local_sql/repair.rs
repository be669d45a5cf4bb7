//! Triggers and views that somebody dropped or altered.

use super::scene::everywhere;

const NONE: [&str; 0] = [];

#[test]
fn a_dropped_trigger_is_put_back_and_named() {
    everywhere(|scene| {
        scene.do_run(
            "DROP TRIGGER sync_mirror_contacts_update; DROP TRIGGER sync_guard_owners_insert",
        );
        scene.do_run("UPDATE contacts SET first_name = 'unseen' WHERE local_id = 2");
        assert_eq!(scene.outbox(), NONE);
        assert_eq!(
            scene.repair(),
            ["sync_guard_owners_insert", "sync_mirror_contacts_update"]
        );
        assert_eq!(scene.repair(), NONE);
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["update contacts 1 101; firstname was Ada"]);
    });
}

#[test]
fn an_altered_trigger_is_put_back_and_named() {
    everywhere(|scene| {
        scene.do_run(
            "DROP TRIGGER sync_mirror_contacts_delete;
             CREATE TRIGGER sync_mirror_contacts_delete AFTER DELETE ON contacts BEGIN SELECT 1; END",
        );
        assert_eq!(scene.repair(), ["sync_mirror_contacts_delete"]);
        scene.do_run("DELETE FROM contacts WHERE local_id = 1");
        assert_eq!(scene.outbox(), ["archive contacts 1 101, keeps the row"]);
    });
}

#[test]
fn without_a_part_that_mirrors_share_no_write_goes_unrecorded_and_it_is_put_back() {
    everywhere(|scene| {
        scene.do_run(
            "DROP VIEW _sync_entry_update; DROP TRIGGER sync_entry_create;
             DROP VIEW _sync_entry; CREATE VIEW _sync_entry AS SELECT 1 AS id",
        );
        for sql in [
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1",
            "INSERT INTO contacts (email) VALUES ('cy@example.com')",
        ] {
            assert!(scene.run(sql).is_err(), "{sql}");
        }
        assert_eq!(scene.outbox(), NONE);
        let mut put_back = scene.repair();
        put_back.sort();
        assert_eq!(
            put_back,
            [
                "_sync_entry",
                "_sync_entry_update",
                "sync_entry_create",
                "sync_entry_update"
            ]
        );
        assert_eq!(scene.repair(), NONE);
        scene.do_run(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1; INSERT INTO contacts (email) VALUES ('cy@example.com')",
        );
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; firstname was Ada",
                "create contacts 3 -"
            ]
        );
    });
}

#[test]
fn dropped_and_replaced_indexes_of_the_bookkeeping_are_put_back_and_named() {
    everywhere(|scene| {
        scene.do_run(
            "DROP INDEX sync_outbox_record; DROP INDEX sync_conflicts_open; DROP INDEX sync_outbox_due;
             CREATE INDEX sync_outbox_due ON sync_outbox (id)",
        );
        let conflict =
            "INSERT INTO sync_conflicts (object, local_id, property, policy, detected_at)
                        VALUES ('contacts', 1, 'email', 'manual', '2026-11-24T03:10:00.000Z')";
        scene.as_daemon(&format!("{conflict}; {conflict}"));
        assert_eq!(
            scene.repair(),
            [
                "sync_conflicts_open",
                "sync_outbox_due",
                "sync_outbox_record"
            ]
        );
        assert_eq!(scene.repair(), NONE);
        assert_eq!(
            scene.rows("SELECT id, reason FROM sync_conflicts WHERE resolved_at IS NOT NULL"),
            ["2 an older conflict of the field is open: it decides"]
        );
        assert_eq!(
            scene.rows("SELECT group_concat(name, ' ') FROM pragma_index_info('sync_outbox_due')"),
            ["object operation state next_attempt_at"]
        );
    });
}

#[test]
fn an_index_that_rows_of_one_key_refuse_keeps_nothing_else_from_its_place() {
    everywhere(|scene| {
        scene.do_run("DROP INDEX sync_outbox_record; DROP TRIGGER sync_mirror_contacts_update");
        let entry = "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
                     VALUES ('contacts', 1, 101, 'update', '2026-11-24T03:10:00.000Z', '2026-11-24T03:10:00.000Z')";
        scene.as_daemon(&format!("{entry}; {entry}"));
        assert_eq!(scene.repair(), ["sync_mirror_contacts_update"]);
        scene.as_daemon("DELETE FROM sync_outbox WHERE id = 2; CREATE TABLE own (id)");
        assert_eq!(scene.repair(), ["sync_outbox_record"]);
    });
}

#[test]
fn a_dropped_view_comes_back_and_health_says_so_for_an_hour() {
    everywhere(|scene| {
        scene.do_run("DROP VIEW sync_status");
        assert_eq!(scene.repair(), ["sync_status"]);
        assert_eq!(
            scene.rows("SELECT object, \"rows\", in_sync FROM sync_status ORDER BY object"),
            ["companies 1 1", "contacts 2 2", "deals 1 1"]
        );
        assert_eq!(
            scene.rows("SELECT trigger_repaired_at FROM _sync_daemon"),
            ["2026-11-24T03:10:00.000Z"]
        );
        scene.as_daemon(
            "UPDATE _sync_daemon SET phase = 'running', heartbeat_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
                    trigger_repaired_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        );
        let told = &scene.rows("SELECT state, last_error FROM sync_health")[0];
        assert!(
            told.starts_with("degraded a program dropped or altered `sync_status`, put back at 20"),
            "{told}"
        );
        scene.as_daemon("UPDATE _sync_daemon SET last_error = 'HubSpot failed'");
        let told = &scene.rows("SELECT last_error FROM sync_health")[0];
        assert!(
            told.contains("`sync_status`") && told.ends_with("; HubSpot failed"),
            "{told}"
        );
        scene.as_daemon("UPDATE _sync_daemon SET last_error = NULL");
        scene.as_daemon("UPDATE _sync_daemon SET trigger_repaired_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-61 minutes')");
        assert_eq!(
            scene.rows("SELECT state, last_error FROM sync_health"),
            ["running -"]
        );
    });
}

#[test]
fn the_users_own_triggers_columns_and_indexes_stay_and_deserve_no_warning() {
    everywhere(|scene| {
        scene.do_run(
            "ALTER TABLE contacts ADD COLUMN note TEXT;
             CREATE UNIQUE INDEX own ON contacts (email);
             CREATE TRIGGER mine AFTER DELETE ON contacts BEGIN SELECT 1; END",
        );
        assert_eq!(scene.repair(), NONE);
        assert_eq!(
            scene
                .rows("SELECT name FROM sqlite_schema WHERE name IN ('own', 'mine') ORDER BY name"),
            ["mine", "own"]
        );
        assert_eq!(scene.rows("SELECT note FROM contacts"), ["-", "-"]);
    });
}

#[test]
fn a_dropped_column_comes_back_and_is_filled_again() {
    everywhere(|scene| {
        scene.do_run(
            "DROP TRIGGER sync_mirror_contacts_before_insert; DROP TRIGGER sync_mirror_contacts_insert;
             DROP TRIGGER sync_mirror_contacts_insert_again; DROP TRIGGER sync_mirror_contacts_refuse;
             DROP TRIGGER sync_mirror_contacts_update; DROP TRIGGER sync_mirror_contacts_delete;
             DROP VIEW sync_records; ALTER TABLE contacts DROP COLUMN first_name",
        );
        assert_eq!(scene.repair().len(), 7);
        assert_eq!(
            scene.rows("SELECT state FROM sync_fields WHERE property = 'firstname'"),
            ["filling"]
        );
        assert_eq!(
            scene.rows("SELECT filling_after FROM _sync_cursors WHERE object = 'contacts'"),
            [""]
        );
    });
}

#[test]
fn a_dropped_table_comes_back_empty_and_is_read_again() {
    everywhere(|scene| {
        scene
            .do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1; DROP TABLE contacts");
        let put_back = scene.repair();
        assert!(
            put_back.contains(&"sync_mirror_contacts_insert".to_owned()),
            "{put_back:?}"
        );
        assert_eq!(scene.contacts(), NONE);
        assert_eq!(scene.outbox(), ["update contacts 1 -, dead"]);
        assert_eq!(
            scene.rows("SELECT backfill, polled_to FROM _sync_cursors WHERE object = 'contacts'"),
            ["waiting -"]
        );
    });
}
