//! What other connectors got wrong, by name (engineering notes, section 1): six tests that keep it from happening here.

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::Settings;

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

/// A bulk import: many records get one and the same last-modified time.
pub(crate) fn touch_all(portal: &Portal, count: usize, city: &str) {
    let now = portal.now_ms();
    let mut stand = portal.stand();
    let ids: Vec<u64> = stand
        .records("contacts")
        .iter()
        .map(hubsyncd::simulator::record::Record::id)
        .take(count)
        .collect();
    for id in ids {
        stand.edit("contacts", id, &[("city", city)], now);
    }
}

#[test]
fn airbyte_43317_more_than_10_000_records_of_one_timestamp_end() {
    let portal = Portal::quick();
    portal.fill("contacts", 10_400);
    let site = Site::new(&portal);
    site.once();
    touch_all(&portal, 10_400, "Lima");
    let before = portal.requests("/search");
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        10_400
    );
    let searches = portal.requests("/search") - before;
    assert!(searches <= 60, "{searches} searches for 52 pages");
    portal.assert_limits_were_kept();
}

#[test]
fn airbyte_23630_what_lies_beyond_the_cap_of_10_000_arrives_too() {
    let portal = Portal::quick();
    portal.fill("contacts", 10_400);
    let site = Site::new(&portal);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 10_400);
    for (from, city) in [(0, "Lima"), (5_200, "Oslo")] {
        let now = portal.now_ms();
        let mut stand = portal.stand();
        let ids: Vec<u64> = stand
            .records("contacts")
            .iter()
            .map(hubsyncd::simulator::record::Record::id)
            .skip(from)
            .take(5_200)
            .collect();
        for id in ids {
            stand.edit("contacts", id, &[("city", city)], now);
        }
    }
    site.once();
    for city in ["Lima", "Oslo"] {
        let rows = site.number(&format!(
            "SELECT count(*) FROM contacts WHERE city = '{city}'"
        ));
        assert_eq!(rows, 5_200, "{city}");
    }
}

#[test]
fn airbyte_69203_a_late_index_loses_nothing() {
    let portal = Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 4_000,
        ..Settings::default()
    });
    portal.fill("contacts", 200);
    let settings = "[schedule]\npoll = \"1s\"\noverlap = \"1s\"\nagain = [\"2s\", \"5s\"]\n";
    let mut site = Site::with(&portal, settings, CONTACTS);
    site.start_and_load();
    // Each document appears after a delay of its own, out of order; the polls go on meanwhile.
    for round in 0..10 {
        touch_all(&portal, 200, &format!("round {round}"));
        let polls = portal.requests("/search");
        eventually("a poll", || portal.requests("/search") > polls);
    }
    site.until_sql("SELECT count(*) = 200 FROM contacts WHERE city = 'round 9'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn airbyte_34446_no_company_is_missing_though_pages_lose_records() {
    let portal = Portal::quick();
    portal.fill("companies", 900);
    portal.script(FaultKind::MissingRecord, 3, "/companies");
    let site = Site::with(&portal, "", "[objects.companies]\n");
    site.once();
    // The comparison finds what the pages left out.
    let compared = site.run(&["once", "--reconcile"]);
    assert!(
        compared.status.success(),
        "{}",
        String::from_utf8_lossy(&compared.stderr)
    );
    assert_eq!(site.number("SELECT count(*) FROM companies"), 900);
}

#[test]
fn airbyte_45653_searches_ask_for_full_pages() {
    let portal = Portal::quick();
    portal.fill("contacts", 1_000);
    let site = Site::new(&portal);
    site.once();
    touch_all(&portal, 1_000, "Lima");
    let before = portal.requests("/search");
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        1_000
    );
    let searches = portal.requests("/search") - before;
    assert!(searches <= 8, "{searches} searches for 5 pages of 200");
}

#[test]
fn fivetran_more_than_10_000_changes_are_no_full_read() {
    let portal = Portal::quick();
    portal.fill("contacts", 12_000);
    let site = Site::new(&portal);
    site.once();
    touch_all(&portal, 10_200, "Lima");
    let lists = |portal: &Portal| portal.pages("contacts");
    let before = lists(&portal);
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        10_200
    );
    assert!(
        lists(&portal) <= before,
        "{} pages of a full read",
        lists(&portal) - before
    );
}

#[test]
fn segment_a_time_out_of_ours_makes_no_duplicate() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    portal.stand().faults_mut().late_min_ms = 1_000;
    portal.stand().faults_mut().late_max_ms = 3_000;
    portal.script(FaultKind::Late, 1, "/batch/upsert");
    let program = site.program();
    program
        .execute_batch(
            "BEGIN;
             INSERT INTO contacts (email) VALUES ('a@example.com'), ('b@example.com'), ('c@example.com');
             COMMIT;",
        )
        .expect("local writes");
    eventually("the late request lands", || portal.contacts() == 3);
    site.until_sql("SELECT count(*) = 3 FROM contacts WHERE hs_id IS NOT NULL");
    site.until_pushed();
    assert_eq!(portal.contacts(), 3);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3);
}
