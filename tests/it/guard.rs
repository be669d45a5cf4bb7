//! Promise 11: no pass removes more than a bounded share, on either side, without an operator's word.

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::reads::make_property;

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

fn ids(portal: &Portal) -> Vec<u64> {
    let stand = portal.stand();
    let records = stand.records("contacts");
    records
        .iter()
        .map(hubsyncd::simulator::record::Record::id)
        .collect()
}

/// Compares the mirror with HubSpot in full.
fn compare(site: &Site) {
    let compared = site.run(&["once", "--reconcile"]);
    let told = String::from_utf8_lossy(&compared.stderr);
    assert!(compared.status.success(), "{told}");
}

/// Of 300 records the first 250 were archived in HubSpot, and a comparison has missed them. All ids, in their order.
fn most_are_missed() -> (Portal, Site, Vec<u64>) {
    let portal = Portal::quick();
    portal.fill("contacts", 300);
    let site = Site::new(&portal);
    site.once();
    let ids = ids(&portal);
    let now = portal.now_ms();
    for id in &ids[..250] {
        portal.stand().archive("contacts", *id, now);
    }
    compare(&site);
    (portal, site, ids)
}

#[test]
fn rows_whose_records_vanished_wait_for_an_operator_too() {
    let (_portal, mut site, _) = most_are_missed();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts"),
        300,
        "the rows stay"
    );
    assert_eq!(
        site.number("SELECT records FROM sync_holds WHERE side = 'local' AND operation = 'remove'"),
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
fn rows_of_a_hold_that_is_deleted_stay_as_archived_and_are_not_counted_again() {
    let (portal, mut site, ids) = most_are_missed();
    assert_eq!(site.number("SELECT records FROM sync_holds"), 250);
    // One is back before anybody said anything.
    let now = portal.now_ms();
    portal.stand().restore("contacts", ids[0], now + 1);
    site.execute("DELETE FROM sync_holds");
    site.start();
    site.until_sql("SELECT count(*) = 0 FROM sync_holds");
    let marked = "SELECT count(*) FROM contacts WHERE hs_archived = 1";
    assert_eq!(site.number(marked), 249);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 300);
    assert_eq!(site.stop(), 0);
    // The next comparison misses them all the same.
    compare(&site);
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
    assert_eq!(site.number(marked), 249);
    // What is archived now is held against the bound alone.
    for id in &ids[250..] {
        portal.stand().archive("contacts", *id, now + 2);
    }
    compare(&site);
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 250);
}

#[test]
fn rows_come_back_whose_hold_is_deleted_and_are_not_counted() {
    let portal = Portal::quick();
    portal.fill("contacts", 200);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let rows = "SELECT sum(local_id * hs_id) FROM contacts";
    let before = site.number(rows);
    site.execute("DELETE FROM contacts");
    site.until_sql("SELECT records = 200 FROM sync_holds");
    let given_up = site.run(&["outbox", "discard", "--hold", "1"]);
    let told = String::from_utf8_lossy(&given_up.stdout);
    assert!(
        told.starts_with("taken back: 200 archives of contacts in HubSpot\n"),
        "{told}"
    );
    site.until_sql("SELECT count(*) = 0 FROM sync_holds");
    site.until_pushed();
    assert_eq!(site.number(rows), before);
    assert_eq!(portal.contacts(), 200, "nothing was archived");
    site.execute("DELETE FROM contacts WHERE local_id <= 90");
    eventually("archived", || portal.contacts() == 110);
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
    compare(&site);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 30);
    assert_eq!(
        site.number(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}")),
        0
    );
}

/// A column of 150 contacts, all in Rome on both sides.
fn all_in_rome(settings: &str) -> (Portal, Site) {
    all_in_rome_by(settings, CONTACTS)
}

fn all_in_rome_by(settings: &str, objects: &str) -> (Portal, Site) {
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    let mut site = Site::with(&portal, settings, objects);
    site.start_and_settle();
    site.execute("UPDATE contacts SET city = 'Rome'");
    site.until_pushed();
    (portal, site)
}

const HELD: &str = "SELECT id FROM sync_holds WHERE operation = 'clear' AND settled_at IS NULL";

#[test]
fn a_column_that_is_emptied_here_waits_and_everything_else_goes_on() {
    let (portal, site) = all_in_rome("");
    site.execute("UPDATE contacts SET city = NULL, last_name = 'Moved'");
    site.until_sql(HELD);
    site.until_pushed();
    assert_eq!(portal.count_with("lastname", "Moved"), 150);
    assert_eq!(portal.count_with("city", "Rome"), 150);
    let hold = "SELECT object || ' ' || side || ' ' || property || ' ' || records || ' ' || allowed || ' ' || code FROM sync_holds";
    assert_eq!(
        site.text(hold).as_deref(),
        Some(&*format!(
            "contacts hubspot city 150 30 {}",
            produces("clears-held")
        ))
    );
    let columns = "SELECT group_concat(name) FROM pragma_table_info('sync_holds')";
    assert!(site.text(columns).expect("columns").starts_with(
        "id,object,side,operation,records,allowed,held_at,approved_at,code,property,"
    ),);
    assert_eq!(
        site.text("SELECT state FROM sync_health").as_deref(),
        Some("held")
    );
    let told = String::from_utf8_lossy(&site.run(&["status"]).stdout).into_owned();
    assert!(
        told.contains("150 values of contacts.city that would become empty in HubSpot"),
        "{told}"
    );
    assert!(
        told.contains("take back with `hubsyncd outbox discard --hold"),
        "{told}"
    );
    assert!(
        site.log().contains("or a DELETE from `sync_holds`"),
        "both ways back are named"
    );
    // The field stays as it is on each side, whatever else comes of the record.
    let id = ids(&portal)[0];
    portal.edit(id, &[("firstname", "Eve")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE first_name = 'Eve'");
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city IS NOT NULL"),
        0
    );
    // A program that writes it again is pushed at once.
    site.execute(&format!(
        "UPDATE contacts SET city = 'Lima' WHERE hs_id = {id}"
    ));
    eventually("the new value", || portal.count_with("city", "Lima") == 1);
    site.until_sql("SELECT records = 149 FROM sync_holds");
    let hold = site.number(HELD).to_string();
    let taken = site.run(&["outbox", "discard", "--hold", &hold]);
    assert!(
        taken.status.success(),
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    site.until_sql("SELECT count(*) = 149 FROM contacts WHERE city = 'Rome'");
    site.until_sql("SELECT count(*) = 0 FROM sync_holds");
    assert_eq!(site.number("SELECT count(*) FROM _sync_held_clears"), 0);
    assert_eq!(portal.count_with("city", "Rome"), 149);
}

#[test]
fn a_held_field_goes_back_to_what_hubspot_holds_by_then_and_waits_until_it_does() {
    let (portal, site) = all_in_rome("");
    site.execute("UPDATE contacts SET city = NULL");
    site.until_sql(HELD);
    site.until_pushed();
    assert_eq!(
        site.text("SELECT DISTINCT state || ' ' || waits_for || ' ' || pending || ' ' || code FROM sync_records")
            .as_deref(),
        Some("waiting guard city clears-held")
    );
    let counted = "SELECT in_sync || ' ' || waiting FROM sync_status WHERE object = 'contacts'";
    assert_eq!(site.text(counted).as_deref(), Some("0 150"));
    let ids = ids(&portal);
    portal.edit(ids[0], &[("city", "Lima")]);
    portal.edit(ids[1], &[("city", "")]);
    // Both sides say the same of this one.
    site.until_sql("SELECT records = 149 FROM sync_holds WHERE settled_at IS NULL");
    site.until_sql("SELECT count(*) FROM _sync_held_clears WHERE shown_value = 'Lima'");
    assert_eq!(site.text(counted).as_deref(), Some("1 149"));
    site.execute("DELETE FROM sync_holds");
    site.until_sql("SELECT count(*) = 0 FROM sync_holds");
    let city = |id: u64| site.text(&format!("SELECT city FROM contacts WHERE hs_id = {id}"));
    assert_eq!(city(ids[0]).as_deref(), Some("Lima"));
    assert_eq!(city(ids[1]), None);
    assert_eq!(city(ids[2]).as_deref(), Some("Rome"));
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Rome"), 148);
    assert_eq!(site.text(counted).as_deref(), Some("150 0"));
}

#[test]
fn a_run_ends_well_where_all_that_is_left_hangs_on_a_held_removal() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let site = Site::with(
        &portal,
        "[guard]\nmax_archives = 0\nmax_share = 0.0001\n",
        CONTACTS,
    );
    site.once();
    let (id, now) = (ids(&portal)[0], portal.now_ms());
    assert!(portal.stand().archive("contacts", id, now));
    compare(&site);
    assert_eq!(site.number("SELECT records FROM sync_holds"), 1);
    site.execute(&format!(
        "UPDATE contacts SET city = 'Lima' WHERE hs_id = {id}"
    ));
    let run = site.run(&["once", "--timeout", "50s"]);
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{told}");
    let waits = format!(
        "SELECT state || ' ' || waits_for || ' ' || code FROM sync_records WHERE hs_id = {id}"
    );
    assert_eq!(
        site.text(&waits).as_deref(),
        Some(&*format!("waiting guard {}", produces("removals-held")))
    );
    let row = site.number(&format!("SELECT local_id FROM contacts WHERE hs_id = {id}"));
    let explained = site.run(&["explain", "contacts", &row.to_string()]);
    let told = String::from_utf8_lossy(&explained.stdout);
    assert!(told.contains("somebody decides hold 1"), "{told}");
}

#[test]
fn a_value_that_is_written_over_a_held_one_counts_whatever_is_decided_about_the_others() {
    for word in [&["outbox", "discard", "--hold"][..], &["outbox", "approve"]] {
        let (portal, mut site) = all_in_rome("[conflicts]\npolicy = \"remote\"\n");
        site.execute("UPDATE contacts SET city = NULL");
        site.until_sql(HELD);
        let hold = site.number(HELD).to_string();
        // The decision is carried out before the push has seen the write.
        assert_eq!(site.stop(), 0);
        site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
        let decided = site.run(&[word, &[hold.as_str()]].concat());
        assert!(decided.status.success());
        assert!(site.run(&["once"]).status.success());
        assert_eq!(portal.count_with("city", "Lima"), 1, "{word:?}");
        let here = site.text("SELECT city FROM contacts WHERE local_id = 1");
        assert_eq!(here.as_deref(), Some("Lima"));
        assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    }
}

#[test]
fn a_row_that_is_deleted_while_its_emptied_value_is_held_is_archived() {
    let (portal, site) = all_in_rome("");
    site.execute("UPDATE contacts SET city = NULL");
    site.until_sql(HELD);
    // Nobody has edited the record: what HubSpot still holds is what the program emptied here.
    let id = ids(&portal)[0];
    site.execute(&format!("DELETE FROM contacts WHERE hs_id = {id}"));
    eventually("it is archived", || {
        portal.count_with("city", "Rome") == 149
    });
    site.until_pushed();
    assert_eq!(
        site.number(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}")),
        0
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    site.until_sql("SELECT records = 149 FROM sync_holds");
}

#[test]
fn a_record_that_is_archived_while_its_emptied_value_is_held_is_a_conflict() {
    let (portal, mut site) = all_in_rome("");
    site.execute("UPDATE contacts SET city = NULL");
    site.until_sql(HELD);
    assert_eq!(site.stop(), 0);
    let (id, now) = (ids(&portal)[0], portal.now_ms());
    assert!(portal.stand().archive("contacts", id, now));
    let compared = site.run(&["once", "--reconcile", "--timeout", "50s"]);
    assert!(compared.status.success());
    // The clearing is a local write that was made before: the later word counts, and the row that loses is kept whole.
    let told = format!(
        "SELECT winner || ' ' || policy || ' ' || (local_value ->> 'email' IS NOT NULL) || ' ' || (local_value ->> 'city' IS NULL)
         FROM sync_conflicts WHERE property = '*' AND hs_id = {id}"
    );
    assert_eq!(site.text(&told).as_deref(), Some("remote newest 1 1"));
    let rows = format!("SELECT count(*) FROM contacts WHERE hs_id = {id}");
    assert_eq!(site.number(&rows), 0);
    assert_eq!(
        site.number("SELECT records FROM sync_holds WHERE settled_at IS NULL"),
        149
    );
    assert_eq!(site.number("SELECT count(*) FROM _sync_held_clears"), 149);
}

#[test]
fn an_emptied_column_goes_out_once_somebody_says_so() {
    let (portal, site) = all_in_rome("");
    site.execute("UPDATE contacts SET city = ''");
    site.until_sql(HELD);
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Rome"), 150);
    assert!(site.run(&["outbox", "approve"]).status.success());
    eventually("all are emptied", || portal.count_with("city", "Rome") == 0);
    site.until_pushed();
    assert_eq!(
        site.number("SELECT count(*) FROM sync_holds WHERE settled_at IS NULL"),
        0
    );
}

#[test]
fn a_column_that_is_emptied_in_hubspot_is_kept_here_from_the_bound_on() {
    for is_approved in [true, false] {
        let (portal, mut site) = all_in_rome("");
        let (first, import) = (ids(&portal)[0], &ids(&portal)[1..]);
        portal.edit(first, &[("city", "")]);
        site.until_sql("SELECT count(*) = 149 FROM contacts WHERE city = 'Rome'");
        assert_eq!(site.stop(), 0);
        for id in import {
            portal.edit(*id, &[("city", "")]);
        }
        site.start();
        site.until_sql(
            "SELECT records = 149 AND allowed = 30 FROM sync_holds WHERE side = 'local' AND property = 'city'",
        );
        assert_eq!(
            site.number("SELECT count(*) FROM contacts WHERE city = 'Rome'"),
            149
        );
        assert!(site.log().contains("records=149"), "{}", site.log());
        if is_approved {
            assert!(site.run(&["outbox", "approve"]).status.success());
            site.until_sql("SELECT count(*) = 0 FROM contacts WHERE city = 'Rome'");
            assert_eq!(portal.count_with("city", "Rome"), 0);
        } else {
            site.execute("DELETE FROM sync_holds");
            eventually("they are local writes", || {
                portal.count_with("city", "Rome") == 149
            });
            assert_eq!(
                site.number("SELECT count(*) FROM contacts WHERE city = 'Rome'"),
                149
            );
        }
        site.until_pushed();
        site.until_sql("SELECT count(*) = 0 FROM sync_holds WHERE settled_at IS NULL");
    }
}

/// Both sides have written all of a column, and HubSpot's is empty by now.
fn emptied_over_local_writes(policy: &str) -> (Portal, Site) {
    let of = format!("city = {{ column = \"city\", conflict = \"{policy}\" }}");
    let objects = CONTACTS.replace("city = \"city\"", &of);
    let (portal, mut site) = all_in_rome_by("", &objects);
    assert_eq!(site.stop(), 0);
    site.execute("UPDATE contacts SET city = 'Lima', last_name = 'Moved'");
    for id in ids(&portal) {
        portal.edit(id, &[("city", "")]);
    }
    site.start();
    (portal, site)
}

/// What is held stays here, nothing of it waits, and everything else has gone out.
#[track_caller]
fn is_held_here(portal: &Portal, site: &Site) {
    site.until_sql(
        "SELECT records = 150 FROM sync_holds WHERE side = 'local' AND property = 'city' AND code = 'clears-held'",
    );
    site.until_pushed();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        150
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(portal.count_with("lastname", "Moved"), 150);
    assert_eq!(portal.count_with("city", "Lima"), 0);
    let closed = "SELECT count(*) FROM sync_conflicts
         WHERE property = 'city' AND winner = 'remote' AND local_value = 'Lima' AND remote_value IS NULL AND base_value = 'Rome'";
    assert_eq!(site.number(closed), 150);
}

/// What becomes of it by an operator's word.
fn ends_well(portal: &Portal, site: &Site, is_approved: bool) {
    let held = site.number(HELD).to_string();
    match is_approved {
        true => {
            assert!(site.run(&["outbox", "approve", &held]).status.success());
            site.until_sql("SELECT count(city) = 0 FROM contacts");
            assert_eq!(portal.count_with("city", "Lima"), 0);
            let kept = "SELECT count(*) FROM sync_history WHERE property = 'city' AND old_value = 'Lima' AND new_value IS NULL";
            assert_eq!(site.number(kept), 150);
        }
        false => {
            let taken = site.run(&["outbox", "discard", "--hold", &held]);
            assert!(taken.status.success());
            eventually("they are local writes", || {
                portal.count_with("city", "Lima") == 150
            });
            assert_eq!(
                site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
                150
            );
        }
    }
    site.until_pushed();
    site.until_sql("SELECT count(*) = 0 FROM sync_holds WHERE settled_at IS NULL");
    assert_eq!(site.number("SELECT count(*) FROM _sync_held_clears"), 0);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL"),
        0
    );
}

#[test]
fn a_column_that_hubspot_empties_over_local_writes_is_held_where_its_value_wins() {
    for (policy, is_approved) in [("remote", true), ("newest", false)] {
        let (portal, site) = emptied_over_local_writes(policy);
        is_held_here(&portal, &site);
        ends_well(&portal, &site, is_approved);
    }
}

#[test]
fn an_emptied_column_that_people_decide_for_is_held_as_well() {
    for is_approved in [true, false] {
        let (portal, site) = emptied_over_local_writes("manual");
        site.until_sql("SELECT count(*) = 150 FROM sync_conflicts WHERE resolved_at IS NULL");
        let all = [
            "conflicts",
            "resolve",
            "--object",
            "contacts",
            "--take",
            "remote",
        ];
        let decided = site.run(&all);
        assert!(
            decided.status.success(),
            "{}",
            String::from_utf8_lossy(&decided.stderr)
        );
        is_held_here(&portal, &site);
        ends_well(&portal, &site, is_approved);
    }
}

#[test]
fn without_a_bound_a_column_is_emptied_at_once() {
    let (portal, site) = all_in_rome("[guard]\nmax_cleared = 1\n");
    site.execute("UPDATE contacts SET city = NULL");
    eventually("all are emptied", || portal.count_with("city", "Rome") == 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
}

#[test]
fn updates_beyond_their_bound_wait_as_a_whole_and_can_be_taken_back() {
    let (portal, site) = all_in_rome("[guard]\nmax_updates = 200\n");
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql("SELECT records = 150 FROM sync_holds WHERE operation = 'update'");
    assert_eq!(portal.count_with("city", "Lima"), 0);
    site.execute("DELETE FROM sync_holds WHERE operation = 'update'");
    site.until_sql("SELECT count(*) = 150 FROM contacts WHERE city = 'Rome'");
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Rome"), 150);
}

#[test]
fn what_never_goes_out_empty_is_not_held() {
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    let objects = CONTACTS.replace(
        "city = \"city\"",
        "city = { column = \"city\", write = \"if_empty\" }",
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    let filled = site.number("SELECT count(city) FROM contacts");
    assert!(filled >= 100, "{filled}");
    site.execute("UPDATE contacts SET city = NULL");
    site.once();
    assert_eq!(site.number("SELECT count(city) FROM contacts"), filled);
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
}

#[test]
fn a_column_that_hubspot_takes_no_value_of_is_not_held_before_it_takes_some_again() {
    const TEXT: (&str, &str) = ("string", "text");
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    make_property(&portal, "contacts", "colour", false);
    let site = Site::with(&portal, "", &format!("{CONTACTS}colour = \"colour\"\n"));
    site.once();
    site.execute("UPDATE contacts SET colour = 'red'");
    site.once();
    portal.stand().redefine("contacts", "colour", TEXT, true);
    let push = || site.run(&["once", "--timeout", "50s"]).status.code();
    assert_eq!(push(), Some(0));
    site.execute("UPDATE contacts SET colour = NULL");
    assert_eq!(push(), Some(1), "all of it waits");
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
    portal.stand().redefine("contacts", "colour", TEXT, false);
    site.once();
    assert_eq!(site.number("SELECT records FROM sync_holds"), 150);
    assert_eq!(portal.count_with("colour", "red"), 150);
}
