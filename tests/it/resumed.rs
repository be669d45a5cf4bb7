//! Runs that meet what another one left half done: they end it, and show what there is by now.

use crate::calls::lines;
use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;

#[test]
fn a_run_after_a_kill_within_a_poll_polls_to_now() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    // As a kill leaves it between two pages of a window.
    site.execute_as_daemon(
        "UPDATE _sync_cursors SET window_from = polled_to, window_to = polled_to, window_last_id = 1",
    );
    portal.edit(id, &[("city", "Oslo")]);
    site.once();
    assert_eq!(
        lines(
            &site,
            "SELECT city || coalesce(window_to, '') FROM contacts, _sync_cursors"
        ),
        ["Oslo"]
    );
}

#[test]
fn a_run_that_compares_after_a_kill_within_a_comparison_compares_all_anew() {
    let portal = Portal::quick();
    portal.fill("contacts", 130);
    let objects = format!(
        "{CONTACTS}\n[objects.companies]\n[associations]\ncontacts_companies = {{ from = \"contacts\", to = \"companies\" }}\n"
    );
    let now = portal.now_ms();
    let company = portal.stand().create("companies", &[("name", "Acme")], now);
    let site = Site::with(&portal, "", &objects);
    site.once();
    let first = site.number("SELECT hs_id FROM contacts WHERE local_id = 1");
    let second = site.number("SELECT hs_id FROM contacts WHERE local_id = 2");
    // As a kill leaves it within the last page, and within the pass over the associations behind an earlier one.
    site.execute_as_daemon(
        "UPDATE _sync_cursors
         SET reconcile_started_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 minutes')
         WHERE object = 'contacts'",
    );
    site.execute_as_daemon(
        "INSERT INTO _sync_ranges (object, walk, start_id, after, last_id)
         SELECT 'contacts', 'reconcile', 0, max(hs_id), max(hs_id) FROM contacts",
    );
    site.execute_as_daemon(
        "UPDATE _sync_link_passes
         SET started_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 minutes'), last_hs_id = (SELECT max(hs_id) FROM contacts)",
    );
    let now = portal.now_ms();
    assert!(
        portal
            .stand()
            .archive("contacts", first.unsigned_abs(), now)
    );
    let ends = (("contacts", second.unsigned_abs()), ("companies", company));
    assert!(portal.stand().associate(ends.0, ends.1, now));
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 129);
    assert!(site.number("SELECT count(*) FROM associations WHERE from_local_id = 2") > 0);
}

#[test]
fn a_command_that_comes_while_an_equal_one_runs_is_carried_out_for_itself() {
    const TELL: &str =
        "INSERT INTO sync_commands (command, object) VALUES ('backfill', 'contacts')";
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let site = Site::new(&portal);
    site.once();
    for _ in 0..2 {
        site.execute(TELL);
    }
    // As the two stand after 20 records.
    site.execute_as_daemon("UPDATE sync_commands SET state = 'running'");
    site.execute_as_daemon(
        "INSERT INTO _sync_command_work (command_id, object, noticed_at, began_at, history_from, calls_from, seen_from,
                                         after, seen, changed, requests)
         SELECT min(id), 'contacts', min(at), min(at), 0, 0, 0,
                (SELECT hs_id FROM contacts ORDER BY hs_id LIMIT 1 OFFSET 20), 20, 2, 2
         FROM sync_commands",
    );
    for _ in 0..2 {
        site.execute(TELL);
    }
    site.once();
    let (former, later) = (
        "done: 30 records read, 2 changed, 3 requests",
        "done: 30 records read, 0 changed, 1 request",
    );
    assert_eq!(
        lines(
            &site,
            "SELECT state || ': ' || result FROM sync_commands ORDER BY id"
        ),
        [former, former, later, later]
    );
    assert_eq!(site.number("SELECT count(*) FROM _sync_command_work"), 0);
}

#[test]
fn a_poll_that_a_command_asks_for_is_answered_by_the_run_that_takes_it_up() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    for city in ["Oslo", "Rome", "Lima"] {
        portal.edit(id, &[("city", city)]);
        site.execute("INSERT INTO sync_commands (command) VALUES ('poll')");
        site.once();
        assert_eq!(
            site.text("SELECT state FROM sync_commands ORDER BY id DESC LIMIT 1")
                .as_deref(),
            Some("done")
        );
        assert_eq!(
            site.text("SELECT city FROM contacts").as_deref(),
            Some(city)
        );
    }
}
