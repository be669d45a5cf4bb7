//! Promise 11: no pass removes more than a bounded share, on either side, without an operator's word.

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

#[test]
fn emptying_the_table_waits_for_an_operator() {
    let portal = Portal::quick();
    portal.fill("contacts", 400);
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute("DELETE FROM contacts");
    site.until_sql(
        "SELECT count(*) FROM sync_holds WHERE side = 'hubspot' AND operation = 'archive'",
    );
    let polls = portal.requests("/search");
    eventually("two polls", || portal.requests("/search") >= polls + 2);
    assert_eq!(portal.contacts(), 400, "nothing was archived");
    assert_eq!(site.number("SELECT records FROM sync_holds"), 400);
    assert_eq!(
        site.text("SELECT state FROM sync_health").as_deref(),
        Some("held")
    );
    // Other operations go on.
    site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')");
    eventually("a create", || portal.contacts() == 401);
    let approved = site.run(&["outbox", "approve"]);
    assert!(
        approved.status.success(),
        "{}",
        String::from_utf8_lossy(&approved.stderr)
    );
    eventually("all archived", || portal.contacts() == 1);
    site.until_pushed();
}

#[test]
fn a_hold_counts_what_it_still_holds() {
    let portal = Portal::quick();
    portal.fill("contacts", 200);
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute("DELETE FROM contacts");
    site.until_sql("SELECT records = 200 FROM sync_holds");
    site.execute("DELETE FROM sync_outbox WHERE local_id <= 20");
    site.until_sql("SELECT records = 180 FROM sync_holds WHERE settled_at IS NULL");
    // Rows that are inserted again are held no more either.
    site.execute("INSERT INTO contacts (local_id, email) VALUES (21, 'again@example.com')");
    site.until_sql("SELECT records = 179 FROM sync_holds WHERE settled_at IS NULL");
    site.execute("DELETE FROM sync_outbox WHERE waits_for = 'guard'");
    site.until_sql("SELECT settled_at IS NOT NULL FROM sync_holds");
    site.until_pushed();
    assert_eq!(portal.contacts(), 200, "nothing was archived");
}

#[test]
fn a_few_deletes_need_nobody() {
    let portal = Portal::quick();
    portal.fill("contacts", 400);
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute("DELETE FROM contacts WHERE local_id <= 50");
    eventually("archived", || portal.contacts() == 350);
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn rows_whose_records_vanished_wait_for_an_operator_too() {
    let portal = Portal::quick();
    portal.fill("contacts", 300);
    let mut site = Site::new(&portal);
    site.once();
    let ids: Vec<u64> = portal
        .stand()
        .records("contacts")
        .iter()
        .map(hubsyncd::simulator::record::Record::id)
        .collect();
    let now = portal.now_ms();
    for id in &ids[..250] {
        portal.stand().archive("contacts", *id, now);
    }
    let compared = site.run(&["once", "--reconcile"]);
    assert!(
        compared.status.success(),
        "{}",
        String::from_utf8_lossy(&compared.stderr)
    );
    assert_eq!(
        site.number("SELECT count(*) FROM contacts"),
        300,
        "the rows stay"
    );
    assert_eq!(
        site.number("SELECT records FROM sync_holds WHERE side = 'local' AND operation = 'delete'"),
        250
    );
    site.execute("UPDATE sync_holds SET approved_at = '2026-01-01T00:00:00.000Z'");
    site.start();
    site.until_sql("SELECT count(*) = 50 FROM contacts");
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_history WHERE property = '*' AND old_value IS NOT NULL"
        ),
        250,
        "each removed row is kept"
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn one_record_archived_in_hubspot_goes_by_the_comparison() {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let id = portal.contact("ann@example.com");
    let site = Site::with(&portal, "", CONTACTS);
    site.once();
    let now = portal.now_ms();
    portal.stand().archive("contacts", id, now);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 30);
    assert_eq!(
        site.number(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}")),
        0
    );
}
