//! Writes to hubsyncd's own tables: what "Operating by SQL" allows, and nothing else.

use super::scene::{Scene, everywhere};

const DEAD: &str = "
    INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, state, attempts, enqueued_at, last_error, waits_for)
    VALUES (1, 'contacts', 1, 101, 'update', 'dead', 8, '2026-11-24T03:10:00.000Z', 'no', NULL),
           (2, 'contacts', 2, 102, 'archive', 'in_flight', 1, '2026-11-24T03:10:00.000Z', NULL, NULL);
    INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at) VALUES (1, 'firstname', 'A', '2026-11-24T03:10:00.000Z');";

const CONFLICTS: &str = "
    INSERT INTO sync_conflicts (id, object, local_id, hs_id, property, base_value, local_value, remote_value, policy, winner, detected_at,
                                resolved_at, resolution)
    VALUES (1, 'contacts', 1, 101, 'firstname', 'A', 'Ada', 'Augusta', 'manual', NULL, '2026-11-24T03:10:00.000Z', NULL, NULL),
           (2, 'contacts', 2, 102, 'email', 'a', 'b', 'c', 'remote', 'remote', '2026-11-24T03:10:00.000Z', '2026-11-24T03:10:00.000Z', 'policy');";

const HOLDS: &str = "
    INSERT INTO sync_holds (id, object, side, operation, records, allowed, held_at, approved_at)
    VALUES (1, 'contacts', 'hubspot', 'archive', 500, 100, '2026-11-24T03:10:00.000Z', NULL),
           (2, 'contacts', 'hubspot', 'archive', 500, 100, '2026-11-24T03:10:00.000Z', '2026-11-24T03:11:00.000Z');";

#[test]
fn every_table_that_is_not_the_programs_refuses_every_write() {
    everywhere(|scene| {
        fill_every_table(scene);
        let tables = scene.rows(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'
             AND name NOT IN ('contacts', 'companies', 'deals', '_sync_gate', '_sync_changed', 'sync_commands') ORDER BY name",
        );
        assert!(tables.len() > 25, "{tables:?}");
        for table in tables {
            let column = &scene.rows(&format!(
                "SELECT name FROM pragma_table_info('{table}') LIMIT 1"
            ))[0];
            for sql in [
                format!("UPDATE {table} SET {column} = {column}"),
                format!("UPDATE OR IGNORE {table} SET {column} = {column}"),
                format!("INSERT INTO {table} SELECT * FROM {table}"),
                format!("REPLACE INTO {table} SELECT * FROM {table}"),
                format!("INSERT OR IGNORE INTO {table} SELECT * FROM {table}"),
                format!("DELETE FROM {table}"),
            ] {
                let Err(sentence) = scene.run(&sql) else {
                    panic!("{sql} is taken");
                };
                assert!(
                    [
                        " is kept by hubsyncd: ",
                        " is a copy of HubSpot's settings: ",
                        "associations can not be written"
                    ]
                    .iter()
                    .any(|part| sentence.contains(part))
                        || ["sync_outbox", "sync_conflicts", "sync_holds"]
                            .contains(&table.as_str()),
                    "{sql}: {sentence}"
                );
            }
        }
    });
}

/// A row in each, so that a trigger for each row has something to fire for.
fn fill_every_table(scene: &Scene) {
    scene.as_daemon(DEAD);
    scene.as_daemon(CONFLICTS);
    scene.as_daemon(HOLDS);
    scene.as_daemon(
        "INSERT INTO sync_unreadable (object, property, hs_id, value, seen_at) VALUES ('contacts', 'revenue', 101, 'many', 'x');
         INSERT INTO _sync_replaced (object, local_id, row) VALUES ('x', 1, '{}');
         INSERT INTO _sync_written (object, for_id, property) VALUES ('x', 1, 'x');
         INSERT INTO _sync_left (outbox_id, property, at, times) VALUES (1, 'x', 'x', 1);
         INSERT INTO _sync_sent (object, local_id, property, sent_at) VALUES ('contacts', 1, 'x', 'x');
         INSERT INTO sync_inbox (event_type, received_at, state) VALUES ('x', 'x', 'done');
         INSERT INTO _sync_removals (object, hs_id, seen_at, origin) VALUES ('contacts', 1, 'x', 'poll');
         INSERT INTO _sync_guard_log (object, side, operation, at, records) VALUES ('contacts', 'local', 'archive', 'x', 1);
         INSERT INTO sync_history (at, object, property, origin) VALUES ('x', 'contacts', 'x', 'poll');
         INSERT INTO sync_runs (kind, started_at) VALUES ('poll', 'x');
         INSERT INTO sync_requests (hour, class) VALUES ('x', 'x');
         INSERT INTO sync_calls (at, method, path, class, ms, attempt) VALUES ('x', 'x', 'x', 'x', 1, 1);
         INSERT INTO _sync_quota_others (at, others) VALUES ('x', 1);
         INSERT INTO _sync_pauses (side, at) VALUES ('push', 'x');
         INSERT INTO _sync_command_work (command_id, object, noticed_at, began_at, history_from, calls_from, seen_from)
         VALUES (1, 'x', 'x', 'x', 0, 0, 0);
         INSERT INTO _sync_again (object, delay_ms, walked_to) VALUES ('contacts', 1, 'x');
         INSERT INTO _sync_ranges (object, walk, start_id, last_id) VALUES ('contacts', 'backfill', 0, 0);
         INSERT INTO _sync_tombstones (object, hs_id, at) VALUES ('contacts', 1, 'x');
         INSERT INTO _sync_absent (object, hs_id, at, unseen, announced) VALUES ('contacts', 1, 'x', 1, 0);
         INSERT INTO _sync_gaps (object, hs_id, local_id, property, base_known, read_version, noted_at, seen)
         VALUES ('contacts', 1, 1, 'x', 1, 'x', 'x', 0);
         INSERT INTO _sync_reads (object, hs_id, origin, due_at) VALUES ('contacts', 1, 'poll', 'x');
         INSERT INTO _sync_links_due (pair, side, hs_id, origin, due_at) VALUES ('x', 'from', 1, 'poll', 'x');
         INSERT INTO _sync_links_waiting (pair, from_hs_id, to_hs_id, category, type_id) VALUES ('x', 1, 1, 'x', 1);
         INSERT INTO _sync_link_limits (from_object, to_object, category, type_id, most) VALUES ('x', 'x', 'x', 1, 1);
         INSERT INTO _sync_links_missed (pair, from_hs_id, to_hs_id) VALUES ('x', 1, 1);
         INSERT INTO _sync_link_passes (pair, from_object, to_object) VALUES ('x', 'x', 'x');
         INSERT INTO association_types (from_object, to_object, category, type_id, archived) VALUES ('x', 'x', 'x', 1, 0);
         INSERT INTO _sync_tokens (portal_id, generation, refresh_token, access_token, issued_at, expires_at, logged_in_at)
         VALUES (1, 1, 'x', 'x', 'x', 'x', 'x');
         INSERT INTO _sync_set_aside (table_name, place, at, problem) VALUES ('x', 'x', 'x', 'x');
         INSERT INTO _sync_bypassed (object, until, at, problem) VALUES ('x', 'x', 'x', 'x');
         INSERT INTO _sync_excluded (object, local_id) VALUES ('x', 1);
         INSERT INTO _sync_owed (outbox_id, property, value) VALUES (1, 'x', 'x');
         INSERT INTO _sync_modes (object, mode, property) VALUES ('contacts', 'unkept', 'x');
         INSERT INTO _sync_pushes (at, object, local_id, property) VALUES ('x', 'contacts', 1, 'x');
         INSERT INTO _sync_histories (object, hs_id) VALUES ('contacts', 1);
         INSERT INTO property_history (object, hs_id, property, at) VALUES ('contacts', 1, 'x', 'x');
         INSERT INTO _sync_merges (object, hs_id, into_id) VALUES ('contacts', 1, 2);
         INSERT INTO _sync_erasures (object, hs_id, asked_at) VALUES ('contacts', 1, 'x');
         INSERT INTO _sync_quota_leases (granted_at, requests) VALUES ('x', 1);
         INSERT INTO _sync_held_clears (object, property, local_id, side, hold_id, changed_at) VALUES ('contacts', 'x', 1, 'local', 1, 'x');
         INSERT INTO _sync_undone (object, local_id, property, value, at) VALUES ('contacts', 1, 'x', 'x', 'x');
         INSERT INTO _sync_command_leases (until) VALUES ('x');
         INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', 1);
         INSERT INTO owners (id, archived) VALUES (1, 0);
         INSERT INTO pipelines (object, id, archived) VALUES ('deals', 'x', 0);
         INSERT INTO pipeline_stages (object, pipeline_id, id, archived) VALUES ('deals', 'x', 'y', 0);
         INSERT INTO properties (object, name, read_only, unique_value, archived) VALUES ('deals', 'x', 0, 0, 0);
         INSERT INTO _sync_options (object, property, value) VALUES ('deals', 'x', 'x');
         INSERT INTO _sync_gone_options (object, property, value) VALUES ('deals', 'x', 'y');",
    );
}

#[test]
fn the_gate_can_neither_be_taken_away_nor_doubled() {
    everywhere(|scene| {
        let sentence = "_sync_gate is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]";
        scene.refused("DELETE FROM _sync_gate", sentence);
        scene.refused("INSERT INTO _sync_gate (open) VALUES (1)", sentence);
        scene.refused("REPLACE INTO _sync_gate (id, open) VALUES (1, 1)", sentence);
    });
}

#[test]
fn refusals_name_the_table_and_what_to_do() {
    everywhere(|scene| {
        scene.refused(
            "INSERT INTO sync_outbox_fields (outbox_id, property, changed_at) VALUES (1, 'x', 'x')",
            "sync_outbox_fields is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]",
        );
        scene.refused(
            "INSERT INTO _sync_changed (property) VALUES ('firstname')",
            "CHECK constraint failed: _sync_changed is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]",
        );
        scene.refused(
            "INSERT INTO owners (id, archived) VALUES (1, 0)",
            "owners is a copy of HubSpot's settings: change them in HubSpot [read-only]",
        );
        scene.refused(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', 1)",
            "associations can not be written: the mapping file has no pair, or its pairs wait with their objects (sync_status.last_error) [pair-unmapped]",
        );
    });
}

#[test]
fn what_our_triggers_write_to_is_not_the_programs_to_write_to() {
    everywhere(|scene| {
        for part in [
            "note", "former", "found", "insert", "update", "again", "archive",
        ] {
            scene.refused(
                &format!("INSERT INTO _sync_entry_{part} (object, local_id) VALUES ('contacts', 1)"),
                &format!(
                    "_sync_entry_{part} is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]"
                ),
            );
        }
        // Where a row has an entry.
        for part in ["apart", "leave"] {
            scene.refused(
                &format!("INSERT INTO _sync_entry_{part} (id) VALUES (1)"),
                &format!(
                    "_sync_entry_{part} is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]"
                ),
            );
        }
        for sql in [
            "INSERT INTO _sync_entry_create (object, local_id, key, at) VALUES ('contacts', 1, 'x', 'x')",
            "INSERT INTO _sync_entry_first (object, local_id, hs_id, at) VALUES ('contacts', 1, 101, 'x')",
            "INSERT INTO _sync_entry_leave (object, local_id, hs_id, at) VALUES ('contacts', 1, 101, 'x')",
        ] {
            scene.refused(
                sql,
                "sync_outbox is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]",
            );
        }
    });
}

#[test]
fn setting_an_entry_to_pending_tries_again() {
    everywhere(|scene| {
        scene.as_daemon(DEAD);
        scene.do_run("UPDATE sync_outbox SET state = 'pending' WHERE state = 'dead'");
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; firstname was A",
                "archive contacts 2 102, in_flight"
            ]
        );
        assert_eq!(
            scene.rows("SELECT attempts, last_error, next_attempt_at > '2026' FROM sync_outbox WHERE id = 1"),
            ["0 no 1"]
        );
    });
}

#[test]
fn a_retry_does_not_pass_the_guard_or_the_backfill() {
    for held in ["guard", "backfill"] {
        everywhere(|scene| {
            scene.as_daemon(DEAD);
            scene.as_daemon(&format!(
                "UPDATE sync_outbox SET state = 'pending', waits_for = '{held}' WHERE id = 1"
            ));
            scene.do_run("UPDATE sync_outbox SET state = 'pending' WHERE id = 1");
            assert_eq!(
                scene.outbox()[0],
                format!("update contacts 1 101, waits for {held}; firstname was A")
            );
        });
    }
}

#[test]
fn an_entry_in_flight_is_waited_for() {
    everywhere(|scene| {
        scene.as_daemon(DEAD);
        let sentence =
            "this entry is in flight: wait until its attempt is answered [entry-in-flight]";
        scene.refused(
            "UPDATE sync_outbox SET state = 'pending' WHERE id = 2",
            sentence,
        );
        scene.refused("DELETE FROM sync_outbox WHERE id = 2", sentence);
        scene.refused("DELETE FROM sync_outbox", sentence);
    });
}

#[test]
fn deleting_an_entry_leaves_the_discarding_to_the_daemon() {
    everywhere(|scene| {
        scene.as_daemon(DEAD);
        scene.do_run("DELETE FROM sync_outbox WHERE id = 1");
        assert_eq!(
            scene.rows("SELECT id, state, discarded_at > '2026' FROM sync_outbox ORDER BY id"),
            ["1 dead 1", "2 in_flight -"]
        );
    });
}

#[test]
fn nothing_else_of_an_entry_can_be_set() {
    everywhere(|scene| {
        scene.as_daemon(DEAD);
        for setting in [
            "state = 'dead'",
            "state = 'in_flight'",
            "attempts = 0",
            "state = 'pending', key = 'x'",
            "operation = 'archive'",
            "hs_id = 7",
            "id = 9",
            "approved_hold = 1",
        ] {
            scene.refused(
                &format!("UPDATE sync_outbox SET {setting} WHERE id = 1"),
                "only state can be set in sync_outbox, and only to 'pending': that tries again; DELETE discards [read-only]",
            );
        }
    });
}

#[test]
fn a_conflict_is_decided_by_its_resolution() {
    everywhere(|scene| {
        scene.as_daemon(CONFLICTS);
        for word in [
            "'local'",
            "'remote'",
            "'value:Augusta Ada'",
            "'value:'",
            "NULL",
        ] {
            scene.do_run(&format!(
                "UPDATE sync_conflicts SET resolution = {word} WHERE id = 1"
            ));
            assert_eq!(
                scene.rows(
                    "SELECT quote(resolution), winner, resolved_at FROM sync_conflicts WHERE id = 1"
                ),
                [format!("{word} - -")]
            );
        }
        for word in ["'LOCAL'", "'mine'", "''", "'policy'", "'valuex'"] {
            scene.refused(
                &format!("UPDATE sync_conflicts SET resolution = {word} WHERE id = 1"),
                "resolution must be 'local', 'remote', 'value:...' or NULL [bad-value]",
            );
        }
        for setting in [
            "winner = 'local'",
            "local_value = 'x', resolution = 'local'",
            "resolved_at = 'x'",
            "id = 9",
        ] {
            scene.refused(
                &format!("UPDATE sync_conflicts SET {setting} WHERE id = 1"),
                "only resolution can be set in sync_conflicts: 'local', 'remote', 'value:...' or NULL [read-only]",
            );
        }
        scene.refused(
            "UPDATE sync_conflicts SET resolution = 'local' WHERE id = 2",
            "this conflict is closed: change the value in the mirror table instead [conflict-closed]",
        );
        scene.refused(
            "DELETE FROM sync_conflicts WHERE id = 1",
            "a conflict is decided by its resolution: UPDATE sync_conflicts SET resolution = 'local' or 'remote' [kept-by-hubsyncd]",
        );
    });
}

#[test]
fn a_hold_is_let_go_by_its_approval() {
    everywhere(|scene| {
        scene.as_daemon(HOLDS);
        for setting in [
            "records = 1",
            "approved_at = NULL",
            "approved_at = 'x', allowed = 9999",
            "side = 'local'",
        ] {
            scene.refused(
                &format!("UPDATE sync_holds SET {setting} WHERE id = 1"),
                "only approved_at can be set in sync_holds: that lets go what is held [read-only]",
            );
        }
        scene.refused(
            "UPDATE sync_holds SET approved_at = 'x' WHERE id = 2",
            "this hold is closed [hold-closed]",
        );
        scene.refused(
            "DELETE FROM sync_holds WHERE id = 2",
            "this hold is approved: what it holds is let go [hold-closed]",
        );
        scene.do_run("UPDATE sync_holds SET approved_at = datetime('now') WHERE id = 1");
        assert_eq!(
            scene.rows(
                "SELECT approved_at GLOB '????-??-??T??:??:??.???Z' FROM sync_holds WHERE id = 1"
            ),
            ["1"]
        );
    });
}

#[test]
fn a_hold_that_is_deleted_says_so_until_what_it_holds_is_taken_back() {
    everywhere(|scene| {
        scene.as_daemon(HOLDS);
        scene.as_daemon("UPDATE sync_holds SET settled_at = approved_at WHERE id = 2");
        scene.do_run("DELETE FROM sync_holds");
        let said = "SELECT id || ' ' || coalesce(discarded_at GLOB '????-??-??T??:??:??.???Z', '-') FROM sync_holds ORDER BY id";
        assert_eq!(scene.rows(said), ["1 1", "2 -"]);
        scene.refused(
            "UPDATE sync_holds SET approved_at = 'x' WHERE id = 1",
            "this hold is closed [hold-closed]",
        );
    });
}
