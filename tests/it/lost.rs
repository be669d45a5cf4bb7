//! Answers that never came: what we may have sent is known in every decision, and nobody else's value is taken for it.

use std::collections::BTreeSet;

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::Settings;

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

/// The record's e-mail.
const EMAIL: &str = "ann@example.com";

/// A contact in Paris, and a site that has loaded it.
fn ann(settings: &str) -> (Portal, Site, u64) {
    let portal = Portal::quick();
    let id = portal.contact(EMAIL);
    portal.edit(id, &[("city", "Paris")]);
    let mut site = Site::with(&portal, settings, CONTACTS);
    site.start_and_load();
    (portal, site, id)
}

fn policy(name: &str) -> String {
    format!("[conflicts]\npolicy = \"{name}\"\n")
}

/// A program writes Lima; it lands, and the daemon is killed before the answer.
fn lima_lands_and_its_answer_is_lost(portal: &Portal, site: &mut Site, id: u64) {
    portal.stand().faults_mut().slow_ms = 20_000;
    portal.script(FaultKind::Slow, 1, "/batch/update");
    site.execute("UPDATE contacts SET city = 'Lima'");
    eventually("HubSpot has it", || {
        portal.value(id, "city").as_deref() == Some("Lima")
    });
    site.kill();
}

/// The values of a field that `sync_history` has, as `origin:old>new`, in order; the line of a create holds the whole row.
fn history(site: &Site, property: &str) -> String {
    let sql = format!(
        "SELECT coalesce(group_concat(line, ' '), '') FROM (SELECT origin || ':' || coalesce(old_value, '-') || '>'
         || coalesce(iif(property = '*', new_value ->> '{property}', new_value), '-') AS line FROM sync_history
         WHERE property = '{property}' OR (property = '*' AND origin = 'push' AND new_value IS NOT NULL) ORDER BY id)"
    );
    site.text(&sql).unwrap_or_default()
}

#[test]
fn a_row_deleted_after_an_update_whose_answer_was_lost_is_archived() {
    for (name, between) in [("remote", None), ("newest", Some("Oslo"))] {
        let (portal, mut site, id) = ann(&policy(name));
        lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
        if let Some(city) = between {
            site.execute(&format!("UPDATE contacts SET city = '{city}'"));
        }
        site.execute("DELETE FROM contacts");
        site.start();
        eventually("archived", || portal.value(id, "email").is_none());
        site.until_pushed();
        assert_eq!(site.number("SELECT count(*) FROM contacts"), 0, "{name}");
        assert_eq!(
            site.number("SELECT count(*) FROM sync_conflicts"),
            0,
            "{name}"
        );
    }
}

#[test]
fn a_row_deleted_after_a_person_changed_what_its_lost_update_brought_is_a_conflict() {
    // Back to what it was before: also that is an edit.
    for theirs in ["Paris", "Rome"] {
        let (portal, mut site, id) = ann(&policy("remote"));
        lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
        portal.edit(id, &[("city", theirs)]);
        site.execute("DELETE FROM contacts");
        site.start();
        site.until_sql(
            "SELECT count(*) FROM sync_conflicts WHERE property = '*' AND winner = 'remote'",
        );
        assert_eq!(portal.value(id, "city").as_deref(), Some(theirs));
        site.until_sql(&format!(
            "SELECT count(*) FROM contacts WHERE city = '{theirs}'"
        ));
    }
}

#[test]
fn an_undo_of_an_update_whose_answer_was_lost_stays() {
    for name in ["newest", "local", "remote"] {
        let (portal, mut site, id) = ann(&policy(name));
        lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
        portal.edit(id, &[("city", "Paris")]);
        site.start();
        site.until_sql("SELECT city = 'Paris' FROM contacts");
        site.until_pushed();
        assert_eq!(portal.value(id, "city").as_deref(), Some("Paris"), "{name}");
        assert_eq!(portal.requests("/batch/update"), 1, "{name}");
        assert_eq!(
            history(&site, "city"),
            "push:Paris>Lima poll:Lima>Paris",
            "{name}"
        );
    }
}

#[test]
fn an_undo_and_a_later_local_write_are_a_conflict_by_time() {
    let (portal, mut site, id) = ann(&policy("newest"));
    lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
    portal.edit(id, &[("city", "Paris")]);
    site.execute("UPDATE contacts SET city = 'Oslo'");
    site.start();
    eventually("the later write in HubSpot", || {
        portal.value(id, "city").as_deref() == Some("Oslo")
    });
    site.until_pushed();
    let conflict = site.text(
        "SELECT winner || ':' || base_value || '/' || local_value || '/' || remote_value FROM sync_conflicts",
    );
    assert_eq!(conflict.as_deref(), Some("local:Lima/Oslo/Paris"));
}

#[test]
fn a_late_landing_of_what_a_lost_update_carried_is_nobodys_edit() {
    let (portal, mut site, id) = ann(&policy("remote"));
    lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
    site.execute("UPDATE contacts SET city = 'Oslo'");
    site.start();
    eventually("the later write in HubSpot", || {
        portal.value(id, "city").as_deref() == Some("Oslo")
    });
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(history(&site, "city"), "push:Paris>Lima push:Lima>Oslo");
}

#[test]
fn a_person_or_another_app_that_sets_the_value_of_a_lost_update_is_not_taken_for_it() {
    for app in [None, Some(77)] {
        let (portal, mut site, id) = ann(&policy("remote"));
        lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
        for city in ["Rome", "Lima"] {
            let now = portal.now_ms();
            let values = [("city", city)];
            match app {
                Some(app) => portal
                    .stand()
                    .edit_by_app("contacts", id, &values, app, now),
                None => portal.stand().edit("contacts", id, &values, now),
            };
        }
        site.execute("UPDATE contacts SET city = 'Oslo'");
        site.start();
        site.until_sql("SELECT count(*) FROM sync_conflicts");
        site.until_pushed();
        let conflict = site
            .text("SELECT winner || ':' || local_value || '/' || remote_value FROM sync_conflicts");
        assert_eq!(conflict.as_deref(), Some("remote:Oslo/Lima"));
        assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    }
}

#[test]
fn every_value_that_reached_hubspot_is_in_the_history_with_the_one_before_it() {
    let (portal, mut site, id) = ann("");
    // Acknowledged by nothing but a look.
    lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
    site.start();
    site.until_pushed();
    assert_eq!(history(&site, "city"), "push:Paris>Lima");
    // A create that its key finds.
    portal.script(FaultKind::AnswerLost, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email, city) VALUES ('bob@example.com', 'Bonn')");
    site.until_sql("SELECT count(*) = 2 FROM contacts WHERE hs_id IS NOT NULL");
    site.until_pushed();
    assert_eq!(history(&site, "city"), "push:Paris>Lima push:->Bonn");
    assert_eq!(history(&site, "email"), "push:->bob@example.com");
    // A row that is deleted while its update is on its way.
    portal.stand().faults_mut().slow_ms = 1_500;
    portal.script(FaultKind::Slow, 1, "/batch/update");
    site.execute("UPDATE contacts SET city = 'Kiel' WHERE email = 'bob@example.com'");
    eventually("HubSpot has it", || portal.count_with("city", "Kiel") == 1);
    site.execute("DELETE FROM contacts WHERE email = 'bob@example.com'");
    eventually("archived", || portal.contacts() == 1);
    site.until_pushed();
    assert_eq!(
        history(&site, "city"),
        "push:Paris>Lima push:->Bonn push:Bonn>Kiel"
    );
    // An archive of which only the record's absence tells.
    let archives = site.number("SELECT count(*) FROM sync_history WHERE property = '*' AND origin = 'push' AND new_value IS NULL");
    portal.script(FaultKind::AnswerLost, 1, "/batch/archive");
    site.execute("DELETE FROM contacts");
    site.until_pushed();
    assert_eq!(portal.contacts(), 0);
    let sql = "SELECT count(*) FROM sync_history WHERE property = '*' AND origin = 'push' AND new_value IS NULL";
    assert_eq!(site.number(sql), archives + 1);
    assert!(
        site.text("SELECT old_value FROM sync_history ORDER BY id DESC LIMIT 1")
            .is_some_and(|row| row.contains("Lima"))
    );
}

#[test]
fn a_lost_create_is_linked_with_what_was_sent_as_its_base() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, &policy("remote"), CONTACTS);
    site.start_and_load();
    portal.stand().faults_mut().slow_ms = 20_000;
    portal.script(FaultKind::Slow, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Paris')");
    eventually("HubSpot has it", || portal.contacts() == 1);
    site.kill();
    site.execute("UPDATE contacts SET city = 'Oslo'");
    site.start();
    eventually("the later write in HubSpot", || {
        portal.count_with("city", "Oslo") == 1
    });
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(history(&site, "city"), "push:->Paris push:Paris>Oslo");
}

#[test]
fn a_row_deleted_after_its_lost_create_is_archived_whatever_was_written_between() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, &policy("remote"), CONTACTS);
    site.start_and_load();
    portal.stand().faults_mut().slow_ms = 20_000;
    portal.script(FaultKind::Slow, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Paris')");
    eventually("HubSpot has it", || portal.contacts() == 1);
    site.kill();
    site.execute("UPDATE contacts SET city = 'Oslo', first_name = 'Ann'");
    site.execute("DELETE FROM contacts");
    site.start();
    eventually("archived", || portal.contacts() == 0);
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn a_row_deleted_after_its_lost_create_is_archived_also_where_none_of_its_values_is_unique() {
    let portal = Portal::quick();
    let objects = "[objects.companies]\nkey = \"none\"\nmatch = \"domain\"\n[objects.companies.properties]\n\
                   domain = \"domain\"\nname = \"name\"\n";
    let mut site = Site::with(&portal, SELDOM, objects);
    site.start_and_settle();
    let live = || {
        let stand = portal.stand();
        let records = stand.records("companies");
        records
            .iter()
            .filter(|record| !record.is_archived())
            .count()
    };
    portal.stand().faults_mut().slow_ms = 20_000;
    portal.script(FaultKind::Slow, 1, "/companies/batch/create");
    site.execute("INSERT INTO companies (domain, name) VALUES ('example.com', 'Ours')");
    eventually("HubSpot has it", || live() == 1);
    site.kill();
    site.execute("DELETE FROM companies");
    site.start();
    eventually("archived", || live() == 0);
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM companies"), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

/// Nothing but the looks and answers of pushes shows a record: a poll is far away.
const SELDOM: &str = "[schedule]\npoll = \"10m\"\n";

#[test]
fn a_persons_record_is_not_archived_with_a_row_whose_create_met_it() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, SELDOM, CONTACTS);
    site.start_and_settle();
    let id = portal.contact(EMAIL);
    portal.stand().faults_mut().slow_ms = 1_500;
    portal.script(FaultKind::Slow, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Paris')");
    eventually("the create is on its way", || {
        portal.requests("/batch/upsert") == 1
    });
    site.execute("DELETE FROM contacts");
    site.until_pushed();
    site.until_sql("SELECT count(hs_id) FROM contacts");
    assert!(portal.value(id, "email").is_some());
    assert_eq!(portal.requests("/batch/archive"), 0);
}

#[test]
fn a_persons_record_is_not_taken_for_a_lost_create_that_carried_a_key() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, SELDOM, CONTACTS);
    site.start_and_settle();
    portal.script(FaultKind::NeverArrived, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Paris')");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE waits_for = 'answer' AND attempts = 1");
    site.execute("DELETE FROM contacts");
    let id = portal.contact(EMAIL);
    site.until_pushed();
    assert!(portal.value(id, "email").is_some());
    assert_eq!(portal.requests("/batch/archive"), 0);
    assert_eq!(
        site.number(
            "SELECT count(*) FROM contacts WHERE email = 'ann@example.com' AND city IS NULL"
        ),
        1,
        "it is a new row like any other"
    );
}

#[test]
fn a_create_that_went_out_before_the_key_was_there_is_not_looked_for_by_it() {
    let portal = Portal::with(Settings {
        denied_scopes: BTreeSet::from(["crm.schemas.contacts.write".to_owned()]),
        ..Settings::quick()
    });
    let mut site = Site::with(&portal, SELDOM, CONTACTS);
    site.start_and_settle();
    portal.script(FaultKind::AnswerLost, 1, "/batch/create");
    site.execute("INSERT INTO contacts (first_name) VALUES ('Ann')");
    let is_dead = "SELECT count(*) FROM sync_outbox WHERE state = 'dead'";
    site.until_sql(is_dead);
    assert_eq!(portal.contacts(), 1, "it landed");
    assert_eq!(site.stop(), 0);
    portal.stand().settings_mut().denied_scopes.clear();
    site.start_and_settle();
    site.execute("INSERT INTO contacts (email) VALUES ('bob@example.com')");
    site.until_sql("SELECT hs_id FROM contacts WHERE email = 'bob@example.com'");
    assert_eq!(portal.requests("/batch/upsert"), 1, "the key is there now");
    let reads = portal.requests("/batch/read");
    // It makes the entry due again, and gives the row a value by which it would be looked for.
    site.execute(
        "UPDATE contacts SET email = 'ann@example.com' WHERE first_name = 'Ann' AND hs_id IS NULL",
    );
    site.until_sql(is_dead);
    assert_eq!(portal.contacts(), 2);
    assert_eq!(
        portal.requests("/batch/read"),
        reads,
        "what landed does not carry the key: asking for it says nothing"
    );
}

#[test]
fn a_create_in_doubt_is_not_repeated_while_hubspot_can_not_read_whether_it_is_there() {
    let portal = Portal::quick();
    let objects =
        "[objects.contacts]\nkey = \"none\"\n[objects.contacts.properties]\nemail = \"email\"\n";
    let mut site = Site::with(&portal, SELDOM, objects);
    site.start_and_settle();
    portal.script(FaultKind::AnswerLost, 1, "/batch/create");
    portal.script(FaultKind::UnreadableRecord, 1_000, "/batch/read");
    let looks = portal.requests("/batch/read");
    site.execute("INSERT INTO contacts (email) VALUES ('ann@example.com')");
    // At once, after half a minute and after a minute: by then it might have been repeated.
    eventually("three looks", || {
        portal.requests("/batch/read") >= looks + 3
    });
    assert_eq!(portal.requests("/batch/create"), 1);
    portal.stand().faults_mut().calm();
    site.until_sql("SELECT count(hs_id) FROM contacts");
    site.until_pushed();
    assert_eq!(portal.requests("/batch/create"), 1);
    assert_eq!(portal.contacts(), 1);
}

#[test]
fn a_record_archived_with_what_a_lost_update_brought_takes_its_row_along() {
    let (portal, mut site, id) = ann(&policy("local"));
    lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", id, now));
    site.start();
    site.until_sql("SELECT count(*) = 0 FROM contacts");
    site.until_pushed();
    assert_eq!(
        portal.contacts(),
        0,
        "nothing waited that would make it again"
    );
    assert_eq!(history(&site, "city"), "push:Paris>Lima");
}

#[test]
fn what_a_lost_update_brings_is_no_edit_over_the_row_that_was_inserted_again() {
    for name in ["remote", "newest"] {
        let (portal, mut site, id) = ann(&policy(name));
        lima_lands_and_its_answer_is_lost(&portal, &mut site, id);
        let again = "BEGIN; DELETE FROM contacts;
            INSERT INTO contacts (email, first_name) VALUES ('ann@example.com', 'Ann'); COMMIT";
        site.program().execute_batch(again).expect("is taken");
        site.start();
        site.until_pushed();
        eventually("the city is emptied", || portal.value(id, "city").is_none());
        assert_eq!(portal.contacts(), 1, "{name}");
        assert_eq!(
            site.number("SELECT count(*) FROM contacts WHERE city IS NULL AND hs_id IS NOT NULL"),
            1,
            "{name}"
        );
        assert_eq!(
            site.number("SELECT count(*) FROM sync_conflicts"),
            0,
            "{name}"
        );
    }
}
