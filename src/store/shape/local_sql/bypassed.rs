//! Writes that no trigger recorded, because a program opened the gate or dropped triggers.

use super::scene::{Scene, everywhere};

const NONE: [&str; 0] = [];

fn health(scene: &Scene) -> Vec<String> {
    scene.as_daemon(
        "UPDATE _sync_daemon SET phase = 'running', heartbeat_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), trigger_repaired_at = NULL",
    );
    scene.rows("SELECT state, last_error FROM sync_health")
}

#[test]
fn what_was_written_while_the_gate_stood_open_is_taken_up_and_told_of_until_it_is_handled() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B', email = 'b@example.com' WHERE local_id = 2",
        );
        scene.as_daemon(
            "UPDATE _sync_gate SET open = 20813;
             INSERT INTO contacts (email) VALUES ('new@example.com'), ('newer@example.com');
             DELETE FROM contacts WHERE local_id = 2",
        );
        scene.repair();
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 2 -, dead",
                "create contacts 3 -",
                "create contacts 4 -"
            ]
        );
        assert_eq!(
            scene.rows("SELECT last_error FROM sync_outbox WHERE local_id = 2"),
            [
                "row 2, HubSpot record 102, is gone, and no trigger recorded its deletion, with what waited of it: \
                 write `email`, `firstname` again, and discard this entry [row-gone]"
            ]
        );
        let explanation = &scene.rows(
            "SELECT problem FROM _sync_bypassed WHERE object = 'contacts' AND until = 'comparison'",
        )[0];
        assert_eq!(
            explanation,
            "a program opened `_sync_gate`, so that writes to `contacts` were not recorded; rows 3, 4 are new and are created in \
             HubSpot; its records are compared with HubSpot, whose values stand where they differ (see sync_history)"
        );
        assert!(health(scene)[0].starts_with("degraded a program opened `_sync_gate`"));
        // Compared, and discarded.
        scene.as_daemon("UPDATE _sync_cursors SET reconcile_started_at = NULL");
        scene.repair();
        assert_eq!(
            health(scene),
            [
                "degraded a program opened `_sync_gate`, so that writes to `contacts` were not recorded; \
                 1 change that waited finds its row no more (see the dead entry in sync_outbox)"
            ]
        );
        scene.as_daemon("DELETE FROM sync_outbox WHERE local_id = 2");
        scene.repair();
        assert_eq!(health(scene), ["running -"]);
        assert_eq!(scene.outbox().len(), 2, "nothing is queued twice");
    });
}

#[test]
fn a_row_that_was_inserted_while_a_trigger_was_missing_is_created() {
    everywhere(|scene| {
        scene.do_run("DROP TRIGGER sync_mirror_contacts_insert; INSERT INTO contacts (email) VALUES ('new@example.com')");
        assert_eq!(scene.outbox(), NONE);
        assert_eq!(scene.repair(), ["sync_mirror_contacts_insert"]);
        assert_eq!(scene.outbox(), ["create contacts 3 -"]);
        assert_eq!(
            scene.rows("SELECT object FROM _sync_cursors WHERE reconcile_started_at IS NOT NULL"),
            ["contacts"],
            "the others lost nothing"
        );
        assert!(health(scene)[0].starts_with(
            "degraded a program dropped or altered triggers of `contacts`, so that writes to it were not recorded; row 3 is new"
        ));
    });
}

#[test]
fn a_row_that_stays_here_on_purpose_is_not_taken_for_an_insert_that_was_missed() {
    everywhere(|scene| {
        scene.do_run("INSERT INTO contacts (email) VALUES ('own@example.com')");
        scene.as_daemon(
            "DELETE FROM sync_outbox; INSERT INTO _sync_excluded (object, local_id) VALUES ('contacts', 3);
             UPDATE _sync_gate SET open = 20813",
        );
        scene.repair();
        assert_eq!(scene.outbox(), NONE);
        scene.do_run("UPDATE contacts SET email = 'mine@example.com' WHERE local_id = 3");
        assert_eq!(scene.outbox(), ["create contacts 3 -; email was -?"]);
    });
}

#[test]
fn a_row_that_nobody_may_send_is_named_as_long_as_it_is_there() {
    everywhere(|scene| {
        scene.as_daemon(
            "UPDATE _sync_gate SET open = 20813; INSERT INTO companies (name) VALUES ('Own')",
        );
        scene.repair();
        assert_eq!(scene.outbox(), NONE);
        scene.as_daemon("UPDATE _sync_cursors SET reconcile_started_at = NULL");
        scene.repair();
        let explanation = &health(scene)[0];
        assert!(
            explanation.contains("`companies`") && explanation.contains("row 2"),
            "{explanation}"
        );
        scene.as_daemon("DELETE FROM companies WHERE local_id = 2");
        scene.repair();
        assert_eq!(health(scene), ["running -"]);
    });
}

#[test]
fn what_was_written_while_the_gate_was_open_is_taken_up_also_when_it_is_closed_again() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE _sync_gate SET open = 20813;
             UPDATE contacts SET first_name = 'Unseen' WHERE local_id = 1;
             UPDATE _sync_gate SET open = 0",
        );
        assert!(health(scene)[0].starts_with("degraded a program opened `_sync_gate`"));
        scene.repair();
        assert_eq!(compared(scene), ["contacts"]);
        let explanation = &health(scene)[0];
        assert!(
            explanation
                .contains("writes to `contacts` were not recorded; its records are compared"),
            "{explanation}"
        );
        scene.as_daemon("UPDATE _sync_cursors SET reconcile_started_at = NULL");
        scene.repair();
        assert_eq!(health(scene), ["running -"]);
    });
}

#[test]
fn a_gate_without_guards_or_without_its_row_hides_nothing() {
    for opening in ["UPDATE _sync_gate SET open = 1", "DELETE FROM _sync_gate"] {
        everywhere(|scene| {
            scene.do_run(&format!(
                "BEGIN;
                 DROP TRIGGER sync_guard__sync_gate_insert; DROP TRIGGER sync_guard__sync_gate_update;
                 DROP TRIGGER sync_guard__sync_gate_delete;
                 {opening};
                 INSERT INTO contacts (email) VALUES ('new@example.com');
                 DELETE FROM contacts WHERE local_id = 2;
                 INSERT OR IGNORE INTO _sync_gate (id, open) VALUES (1, 0);
                 UPDATE _sync_gate SET open = 0;
                 COMMIT",
            ));
            assert_eq!(scene.repair().len(), 3);
            assert_eq!(scene.outbox(), ["create contacts 3 -"]);
            assert_eq!(compared(scene), ["companies", "contacts", "deals"]);
            let told = scene.rows("SELECT problem FROM _sync_bypassed WHERE object = 'contacts'");
            assert!(
                told[0].starts_with("a program opened `_sync_gate`"),
                "{told:?}"
            );
        });
    }
}

#[test]
fn guards_of_the_outbox_that_were_dropped_are_a_way_past_it() {
    everywhere(|scene| {
        scene.do_run(
            "UPDATE contacts SET first_name = 'B' WHERE local_id = 1;
             DROP TRIGGER sync_guard_sync_outbox_delete; DROP TRIGGER sync_guard_sync_outbox_fields_delete;
             DELETE FROM sync_outbox_fields; DELETE FROM sync_outbox",
        );
        scene.repair();
        assert_eq!(compared(scene), ["companies", "contacts", "deals"]);
        assert!(health(scene)[0].contains("guards of hubsyncd's own tables"));
    });
}

fn compared(scene: &Scene) -> Vec<String> {
    scene.rows(
        "SELECT object FROM _sync_cursors WHERE reconcile_started_at IS NOT NULL ORDER BY object",
    )
}
