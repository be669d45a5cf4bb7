//! Somebody's edit between the read before a write and the write (promise 13): what comes in between makes the read too
//! old, and what fell into the last moments is found afterwards.

use std::time::Duration;

use hubsyncd::simulator::faults::FaultKind;
use rustix::process::Signal;

use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::portal::Portal;

const LOCAL: &str = "[conflicts]\npolicy = \"local\"\n";

/// A contact in a loaded site whose next batch read is answered late.
fn loaded() -> (Portal, u64, Site) {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::with(&portal, LOCAL, CONTACTS);
    site.start_and_load();
    portal.stand().faults_mut().slow_ms = 700;
    portal.script(FaultKind::Slow, 1, "/batch/read");
    (portal, id, site)
}

fn until_it_is_read(portal: &Portal) {
    eventually("the read before the write", || {
        portal.requests("/batch/read") > 0
    });
}

/// The city's conflict that the read before the write found.
fn found_by_the_read(site: &Site) -> Option<String> {
    site.text(
        "SELECT group_concat(property || ' ' || local_value || ' ' || remote_value || ' ' || winner || ', ' || reason)
         FROM sync_conflicts",
    )
}

const BY_POLICY: &str = "city Lima Oslo local, the policy says so";

#[test]
fn an_edit_behind_a_programs_lock_on_the_database_is_seen_before_the_write() {
    let (portal, id, site) = loaded();
    site.execute("UPDATE contacts SET city = 'Lima'");
    until_it_is_read(&portal);
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    wait(Duration::from_millis(1_500));
    portal.edit(id, &[("city", "Oslo")]);
    wait(Duration::from_millis(1_500));
    program
        .execute_batch("COMMIT")
        .expect("the lock is given up");
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(found_by_the_read(&site).as_deref(), Some(BY_POLICY));
    assert_eq!(portal.requests("/batch/update"), 1);
}

#[test]
fn an_edit_while_the_process_stood_still_is_seen_before_the_write() {
    let (portal, id, site) = loaded();
    site.execute("UPDATE contacts SET city = 'Lima'");
    until_it_is_read(&portal);
    site.signal(Signal::STOP);
    wait(Duration::from_millis(1_500));
    portal.edit(id, &[("city", "Oslo")]);
    wait(Duration::from_millis(1_500));
    site.signal(Signal::CONT);
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(found_by_the_read(&site).as_deref(), Some(BY_POLICY));
    assert_eq!(portal.requests("/batch/update"), 1);
}

#[test]
fn an_edit_while_a_limit_holds_the_write_up_is_seen_before_it() {
    let (portal, id, site) = loaded();
    portal.script(FaultKind::RateLimited, 1, "/batch/update");
    site.execute("UPDATE contacts SET city = 'Lima'");
    eventually("the refused write", || portal.requests("/batch/update") > 0);
    portal.edit(id, &[("city", "Oslo")]);
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(found_by_the_read(&site).as_deref(), Some(BY_POLICY));
    assert_eq!(portal.requests("/batch/update"), 2);
}

#[test]
fn an_edit_behind_a_lock_is_seen_before_its_record_is_archived() {
    let (portal, id, site) = loaded();
    site.execute("DELETE FROM contacts");
    until_it_is_read(&portal);
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    wait(Duration::from_millis(1_500));
    portal.edit(id, &[("city", "Oslo")]);
    wait(Duration::from_millis(1_500));
    program
        .execute_batch("COMMIT")
        .expect("the lock is given up");
    site.until_pushed();
    assert_eq!(portal.value(id, "email"), None);
    let kept = site.number(
        "SELECT count(*) FROM sync_conflicts
         WHERE property = '*' AND winner = 'local' AND remote_value LIKE '%Oslo%'",
    );
    assert_eq!(kept, 1, "the edit that was archived over is kept, once");
    let counted = site.number("SELECT sum(records) FROM _sync_guard_log");
    assert_eq!(counted, 1, "an archive that was not sent is not counted");
}

/// What the look afterwards has found: base, ours, theirs.
const FOUND_AFTERWARDS: &str = "SELECT group_concat(coalesce(base_value, '') || '|' || local_value || '|' || remote_value)
     FROM sync_conflicts
     WHERE property = 'city' AND winner = 'local' AND resolved_at IS NOT NULL AND reason LIKE 'it was set in HubSpot between%'";

const KEPT: &str = "SELECT count(*) FROM sync_history
     WHERE property = 'city' AND origin = 'conflict' AND old_value = 'Oslo' AND new_value = 'Lima'";

/// A program that takes the write lock after each read for longer than a read stays fresh, until the write is sent.
fn lock_after_each_read(portal: &Portal, site: &Site, write: &str) -> usize {
    let program = site.program();
    portal.script(FaultKind::Slow, 12, "/batch/read");
    let mut seen = 0;
    while portal.requests(write) == 0 && seen < 12 {
        eventually("another read or the write", || {
            portal.requests("/batch/read") > seen || portal.requests(write) > 0
        });
        seen = portal.requests("/batch/read");
        program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        wait(Duration::from_millis(2_200));
        program
            .execute_batch("COMMIT")
            .expect("the lock is given up");
    }
    seen
}

#[test]
fn a_write_goes_out_where_every_claim_takes_longer_than_a_read_stays_fresh() {
    let (portal, id, site) = loaded();
    site.execute("UPDATE contacts SET city = 'Lima'");
    let reads = lock_after_each_read(&portal, &site, "/batch/update");
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert!(reads <= 4, "{reads} reads for one write");
}

#[test]
fn an_archive_goes_out_where_every_claim_takes_longer_than_a_read_stays_fresh() {
    let (portal, id, site) = loaded();
    site.execute("DELETE FROM contacts");
    let reads = lock_after_each_read(&portal, &site, "/batch/archive");
    assert_eq!(portal.value(id, "email"), None);
    assert!(reads <= 4, "{reads} reads for one archive");
}

#[test]
fn an_edit_behind_a_claim_that_took_long_is_seen_before_the_write() {
    let (portal, id, site) = loaded();
    portal.script(FaultKind::Slow, 12, "/batch/read");
    site.execute("UPDATE contacts SET city = 'Lima'");
    let program = site.program();
    for reads in 1..=2 {
        eventually("a read before the write", || {
            portal.requests("/batch/read") >= reads
        });
        program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        wait(Duration::from_millis(1_700));
        if reads == 2 {
            portal.edit(id, &[("city", "Oslo")]);
        }
        program
            .execute_batch("COMMIT")
            .expect("the lock is given up");
    }
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(found_by_the_read(&site).as_deref(), Some(BY_POLICY));
    assert_eq!(portal.requests("/batch/update"), 1);
}

#[test]
fn a_claim_whose_second_read_fails_is_taken_back_and_counts_as_no_lost_write() {
    let (portal, id, site) = loaded();
    portal.script(FaultKind::Slow, 1, "/batch/read");
    portal.script(FaultKind::Unavailable, 8, "/batch/read");
    site.execute("UPDATE contacts SET city = 'Lima'");
    let program = site.program();
    for reads in 1..=2 {
        eventually("a read before the write", || {
            portal.requests("/batch/read") >= reads
        });
        if reads == 1 {
            program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
            wait(Duration::from_millis(2_200));
            program
                .execute_batch("COMMIT")
                .expect("the lock is given up");
        }
    }
    eventually("the second read has failed", || {
        portal.requests("/batch/read") >= 3
    });
    eventually("the write", || {
        let lost = "SELECT count(*) FROM sync_outbox WHERE state = 'pending' AND unanswered_since IS NOT NULL";
        assert_eq!(site.number(lost), 0, "it was never sent");
        portal.requests("/batch/update") > 0
    });
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(portal.requests("/batch/update"), 1);
}

/// Somebody edits the record after the read before our write was carried out, and before our write comes.
fn edit_in_the_gap(portal: &Portal, id: u64) {
    until_it_is_read(portal);
    portal.edit(id, &[("city", "Bergen")]);
    wait(Duration::from_millis(20));
    portal.edit(id, &[("city", "Oslo"), ("lastname", "Elsewhere")]);
    eventually("our write", || {
        portal.value(id, "city").as_deref() == Some("Lima")
    });
}

#[test]
fn an_edit_in_the_last_moment_before_a_write_is_found_at_once_by_once() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::with(&portal, LOCAL, CONTACTS);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    portal.stand().faults_mut().slow_ms = 700;
    portal.script(FaultKind::Slow, 1, "/batch/read");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| site.once());
        edit_in_the_gap(&portal, id);
        run.join().expect("once ends");
    });
    assert_eq!(site.text(FOUND_AFTERWARDS).as_deref(), Some("|Lima|Oslo"));
    assert_eq!(site.number(KEPT), 1);
    let set = "SELECT remote_source_type || ' ' || remote_source_id || ' ' || (remote_changed_at < detected_at) FROM sync_conflicts";
    assert!(
        site.text(set)
            .is_some_and(|set| set.starts_with("CRM_UI userId:") && set.ends_with(" 1")),
        "{:?}",
        site.text(set)
    );
    assert_eq!(site.number("SELECT count(*) FROM _sync_gaps"), 0);
    // The read before the write, and one look.
    assert_eq!(portal.requests("/batch/read"), 2);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 1);
    assert_eq!(
        site.text("SELECT last_name FROM contacts").as_deref(),
        Some("Elsewhere")
    );
}

#[test]
fn a_look_at_what_was_pushed_survives_a_kill() {
    let (portal, id, mut site) = loaded();
    site.execute("UPDATE contacts SET city = 'Lima'");
    edit_in_the_gap(&portal, id);
    site.until_pushed();
    site.kill();
    assert_eq!(site.text(FOUND_AFTERWARDS), None);
    assert_eq!(site.number("SELECT count(*) FROM _sync_gaps"), 1);
    site.start_and_load();
    site.until_sql("SELECT count(*) FROM sync_conflicts");
    assert_eq!(site.text(FOUND_AFTERWARDS).as_deref(), Some("|Lima|Oslo"));
    assert_eq!(site.number(KEPT), 1);
    // Once, and the mirror is as HubSpot is.
    site.until_sql("SELECT count(*) = 0 FROM _sync_gaps");
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 1);
    assert_eq!(
        site.text("SELECT city FROM contacts").as_deref(),
        Some("Lima")
    );
    assert_eq!(site.stop(), 0);
}

/// What the look after an archive has found, and what is kept of it.
const ARCHIVED_OVER: &str = "SELECT count(*) FROM sync_conflicts AS c JOIN sync_history AS h
     ON h.property = '*' AND h.origin = 'conflict' AND h.old_value = c.remote_value AND h.hs_id = c.hs_id
     WHERE c.property = '*' AND c.winner = 'local' AND c.resolved_at IS NOT NULL
       AND c.remote_value LIKE '%Oslo%' AND c.base_value NOT LIKE '%Oslo%' AND c.reason LIKE 'it was edited in HubSpot between%'";

#[test]
fn an_edit_in_the_last_moment_before_an_archive_is_found_afterwards() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::with(&portal, LOCAL, CONTACTS);
    site.once();
    site.execute("DELETE FROM contacts");
    portal.stand().faults_mut().slow_ms = 700;
    portal.script(FaultKind::Slow, 1, "/batch/read");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| site.once());
        until_it_is_read(&portal);
        portal.edit(id, &[("city", "Oslo")]);
        run.join().expect("once ends");
    });
    assert_eq!(portal.value(id, "email"), None, "it is archived");
    assert_eq!(site.number(ARCHIVED_OVER), 1);
    assert_eq!(site.number("SELECT count(*) FROM _sync_gaps"), 0);
    // The read before the archive, and one look.
    assert_eq!(portal.requests("/batch/read"), 2);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 1);
}
