//! How a property is written (`write`), and what is kept of it (`history = false`): a program that fills in never goes over
//! what a person typed, and makes no conflict.

use hubsyncd::simulator::faults::FaultKind;

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

const LOCAL: &str = "[conflicts]\npolicy = \"local\"\n";

fn site(portal: &Portal, property: &str) -> Site {
    Site::with(portal, LOCAL, &format!("{CONTACTS}{property}\n"))
}

const PHONE: &str = "phone = { column = \"phone\", write = \"if_empty\" }";

/// What gave way here: the local value and HubSpot's.
const GAVE_WAY: &str =
    "SELECT group_concat(local_id || ' ' || coalesce(old_value, '-') || ' ' || new_value, ', ')
     FROM (SELECT * FROM sync_history WHERE origin = 'conflict' ORDER BY id)";

fn conflicts(site: &Site) -> i64 {
    site.number("SELECT count(*) FROM sync_conflicts")
}

#[test]
fn a_program_that_fills_in_numbers_never_goes_over_one_that_a_person_typed() {
    let portal = Portal::quick();
    let (empty, typed) = (
        portal.contact("a@example.com"),
        portal.contact("b@example.com"),
    );
    let site = site(&portal, PHONE);
    site.once();
    portal.edit(typed, &[("phone", "typed")]);
    site.execute("UPDATE contacts SET phone = 'found' || local_id");
    site.once();
    assert_eq!(portal.value(empty, "phone").as_deref(), Some("found1"));
    assert_eq!(portal.value(typed, "phone").as_deref(), Some("typed"));
    let here = "SELECT group_concat(phone) FROM (SELECT phone FROM contacts ORDER BY local_id)";
    assert_eq!(site.text(here).as_deref(), Some("found1,typed"));
    assert_eq!(site.text(GAVE_WAY).as_deref(), Some("2 found2 typed"));
    // Neither another number nor none goes over what is there.
    site.execute("UPDATE contacts SET phone = iif(local_id = 1, NULL, 'again')");
    site.once();
    assert_eq!(site.text(here).as_deref(), Some("found1,typed"));
    assert_eq!(portal.value(empty, "phone").as_deref(), Some("found1"));
    assert_eq!(portal.value(typed, "phone").as_deref(), Some("typed"));
    assert_eq!(portal.requests("/batch/update"), 1);
    // What a person empties is filled again.
    portal.edit(typed, &[("phone", "")]);
    site.execute("UPDATE contacts SET phone = 'third' WHERE local_id = 2");
    site.once();
    assert_eq!(portal.value(typed, "phone").as_deref(), Some("third"));
    assert_eq!(conflicts(&site), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn a_new_row_sends_its_number_and_one_that_hubspot_has_takes_hubspots() {
    let portal = Portal::quick();
    let site = site(&portal, PHONE);
    site.once();
    let known = portal.contact("known@example.com");
    portal.edit(known, &[("phone", "typed")]);
    site.execute("INSERT INTO contacts (email, phone) VALUES ('known@example.com', 'found'), ('new@example.com', 'found')");
    site.once();
    assert_eq!(portal.contacts(), 2);
    assert_eq!(portal.value(known, "phone").as_deref(), Some("typed"));
    assert_eq!(portal.count_with("phone", "found"), 1);
    let here = "SELECT group_concat(phone) FROM (SELECT phone FROM contacts ORDER BY email)";
    assert_eq!(site.text(here).as_deref(), Some("typed,found"));
    assert_eq!(site.text(GAVE_WAY).as_deref(), Some("1 found typed"));
    let of_phone = "SELECT count(*) FROM sync_conflicts WHERE property = 'phone'";
    assert_eq!(site.number(of_phone), 0);
}

#[test]
fn a_number_that_came_in_the_last_moment_goes_back_over_ours() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = site(&portal, PHONE);
    site.once();
    site.execute("UPDATE contacts SET phone = 'found'");
    portal.stand().faults_mut().slow_ms = 700;
    portal.script(FaultKind::Slow, 1, "/batch/read");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| site.once());
        eventually("the read before the write", || {
            portal.requests("/batch/read") > 0
        });
        portal.edit(id, &[("phone", "typed")]);
        run.join().expect("once ends");
    });
    assert_eq!(portal.value(id, "phone").as_deref(), Some("typed"));
    assert_eq!(
        site.text("SELECT phone FROM contacts").as_deref(),
        Some("typed")
    );
    let told = "SELECT group_concat(local_value || ' ' || remote_value || ' ' || winner)
                FROM sync_conflicts
                WHERE property = 'phone' AND resolved_at IS NOT NULL AND reason LIKE '%goes back'";
    assert_eq!(site.text(told).as_deref(), Some("found typed remote"));
    assert_eq!(site.text(GAVE_WAY).as_deref(), Some("1 found typed"));
    site.once();
    assert_eq!(conflicts(&site), 1);
    assert_eq!(portal.requests("/batch/update"), 2);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn a_set_takes_what_both_sides_add_and_nothing_is_taken_away_from_here() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("interests", "webinars;newsletter")]);
    let site = site(
        &portal,
        "interests = { column = \"interests\", write = \"append\" }",
    );
    site.once();
    let both = |expected: &str| {
        assert_eq!(portal.value(id, "interests").as_deref(), Some(expected));
        let here = site.text("SELECT interests FROM contacts");
        assert_eq!(here.as_deref(), Some(expected));
        assert_eq!(conflicts(&site), 0);
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    };
    site.execute("UPDATE contacts SET interests = interests || ';events'");
    portal.edit(id, &[("interests", "webinars")]);
    site.once();
    both("webinars;events");
    site.execute("UPDATE contacts SET interests = 'events'");
    let updates = portal.requests("/batch/update");
    site.once();
    both("webinars;events");
    assert_eq!(
        portal.requests("/batch/update"),
        updates,
        "nothing is new to HubSpot"
    );
    assert_eq!(
        site.text(GAVE_WAY).as_deref(),
        Some("1 events webinars;events")
    );
}

#[test]
fn what_is_kept_out_of_the_history_is_synced_and_its_conflicts_are_kept() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = site(
        &portal,
        "phone = { column = \"phone\", history = false }\njobtitle = \"title\"",
    );
    site.once();
    portal.edit(id, &[("phone", "theirs"), ("jobtitle", "theirs")]);
    site.once();
    site.execute("UPDATE contacts SET phone = 'ours', title = 'ours'");
    site.once();
    assert_eq!(portal.value(id, "phone").as_deref(), Some("ours"));
    let kept = "SELECT group_concat(property || ' ' || origin || ' ' || new_value, ', ')
                FROM (SELECT * FROM sync_history ORDER BY property, id)";
    assert_eq!(
        site.text(kept).as_deref(),
        Some("jobtitle poll theirs, jobtitle push ours")
    );
    portal.edit(id, &[("phone", "edited")]);
    site.execute("UPDATE contacts SET phone = 'written'");
    site.once();
    assert_eq!(conflicts(&site), 1);
    let lost = "SELECT count(*) FROM sync_history WHERE property = 'phone' AND origin = 'conflict' AND old_value = 'edited'";
    assert_eq!(site.number(lost), 1);
    let shown = site.run(&["check", "--show"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("history = false"), "{shown}");
    // Neither do the rows of whole records hold it: made by either side, gone on either side.
    site.execute(
        "INSERT INTO contacts (email, phone, title) VALUES ('bob@example.com', 'secret', 'told')",
    );
    site.once();
    let cid = portal.contact("cid@example.com");
    portal.edit(cid, &[("phone", "secret"), ("jobtitle", "told")]);
    site.once();
    site.execute("DELETE FROM contacts WHERE email = 'bob@example.com'");
    site.once();
    let now = portal.now_ms();
    portal.stand().archive("contacts", cid, now);
    assert!(site.run(&["once", "--reconcile"]).status.success());
    let whole = "SELECT count(*) FROM sync_history
                 WHERE property = '*' AND coalesce(old_value, new_value) ->> 'title' = 'told'";
    assert_eq!(site.number(whole), 4);
    let held = "SELECT count(*) FROM sync_history WHERE old_value LIKE '%secret%' OR new_value LIKE '%secret%'";
    assert_eq!(site.number(held), 0);
}
