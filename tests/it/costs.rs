//! What a plan says that the next push costs is what the push then sends.

use crate::daemon::{CONTACTS, Site};
use crate::links::OBJECTS;
use crate::met::behind;
use crate::portal::Portal;

/// The requests that a plan tells of.
fn planned(site: &Site, arguments: &[&str]) -> i64 {
    let output = site.run(&[&["plan"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = text
        .lines()
        .find_map(|line| line.strip_prefix("the next push would send "));
    let told = told.unwrap_or_else(|| panic!("{text}"));
    let number = told
        .split(" in ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    number.map_or(0, |number| number.parse().expect("a number"))
}

fn calls(site: &Site) -> i64 {
    // Whose app the token is of is asked once by each process that reads a history.
    site.number("SELECT count(*) FROM sync_calls WHERE class <> 'oauth'")
}

/// What a run costs in which nothing is to be pushed.
fn idle(site: &Site) -> i64 {
    let before = calls(site);
    site.once();
    calls(site) - before
}

/// Does something here, and compares what the plan says with what the run sends beside what it sends anyway.
#[track_caller]
fn compare(site: &Site, arguments: &[&str], sql: &[&str]) {
    let idle = idle(site);
    for sql in sql {
        site.execute(sql);
    }
    let planned = planned(site, arguments);
    let before = calls(site);
    let first = site.number("SELECT max(id) FROM sync_calls");
    site.once();
    let sent = calls(site) - before - idle;
    let told = crate::calls::lines(
        site,
        &format!(
            "SELECT method || ' ' || path || ' ' || coalesce(records, '-') FROM sync_calls WHERE id > {first}"
        ),
    );
    assert_eq!(planned, sent, "{sql:?}: {told:#?}");
}

fn filled(contacts: usize, objects: &str) -> (Portal, Site) {
    let portal = behind();
    portal.fill("contacts", contacts);
    let site = Site::with(&portal, "", objects);
    site.once();
    site.once();
    (portal, site)
}

#[test]
fn the_looks_behind_updates_and_archives_are_counted() {
    let (_portal, site) = filled(230, CONTACTS);
    let update = |from, to, city: &str| {
        format!("UPDATE contacts SET city = '{city}' WHERE local_id BETWEEN {from} AND {to}")
    };
    compare(&site, &[], &[&update(1, 3, "Lima")]);
    compare(&site, &[], &[&update(1, 60, "Oslo")]);
    compare(&site, &[], &[&update(1, 130, "Kiel")]);
    compare(&site, &[], &["DELETE FROM contacts WHERE local_id > 220"]);
    compare(
        &site,
        &[],
        &[
            &update(1, 30, "Rome"),
            "DELETE FROM contacts WHERE local_id > 190",
            "INSERT INTO contacts (email) VALUES ('new@example.com')",
        ],
    );
    // A row that a program has written back costs nothing.
    compare(
        &site,
        &[],
        &[&update(1, 30, "Lima"), &update(1, 30, "Rome")],
    );
}

#[test]
fn the_histories_that_the_file_keeps_are_counted() {
    let objects = CONTACTS.replace(
        "city = \"city\"",
        "city = { column = \"city\", remote_history = true }",
    );
    let (_portal, site) = filled(70, &objects);
    compare(&site, &[], &["UPDATE contacts SET last_name = 'Byron'"]);
    compare(
        &site,
        &[],
        &["INSERT INTO contacts (email) VALUES ('ada@example.com'), ('eve@example.com')"],
    );
    compare(&site, &[], &["DELETE FROM contacts WHERE local_id = 1"]);
}

#[test]
fn what_is_contested_and_what_is_adopted_is_counted_as_it_goes_out() {
    let objects = format!("[objects.contacts]\nconflict = \"newest\"\n{CONTACTS}");
    let (portal, site) = filled(5, &objects);
    let id_of = |row: i64| {
        let id = format!("SELECT hs_id FROM contacts WHERE local_id = {row}");
        site.number(&id).unsigned_abs()
    };
    portal.edit(id_of(1), &[("city", "Kiel")]);
    portal.edit(id_of(2), &[("lastname", "King")]);
    compare(
        &site,
        &["--online"],
        &["UPDATE contacts SET city = 'Lima' WHERE local_id <= 3"],
    );
    portal.contact("ada@example.com");
    portal.contact("eve@example.com");
    compare(
        &site,
        &["--online"],
        &[
            "INSERT INTO contacts (email, city) VALUES ('ada@example.com', 'Lima'), ('bob@example.com', 'Lima')",
            "INSERT INTO contacts (email, first_name) VALUES ('eve@example.com', 'Ann')",
        ],
    );
}

#[test]
fn the_reads_around_associations_are_counted() {
    let portal = behind();
    for number in 0..4 {
        portal.contact(&format!("c{number}@example.com"));
    }
    let family = "family = { from = \"contacts\", to = \"contacts\" }\n";
    let site = Site::with(&portal, "", &format!("{OBJECTS}{family}"));
    site.once();
    site.execute("INSERT INTO companies (name) VALUES ('Acme'), ('Beta')");
    site.once();
    site.once();
    let insert = |contact: i64, company: i64, label: &str| {
        format!(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label)
             VALUES ('contacts', {contact}, 'companies', {company}, {label})"
        )
    };
    compare(&site, &[], &[&insert(1, 1, "NULL")]);
    compare(&site, &[], &[&insert(2, 1, "NULL"), &insert(3, 2, "NULL")]);
    compare(&site, &[], &[&insert(1, 2, "'Primary'")]);
    compare(
        &site,
        &[],
        &[
            "DELETE FROM associations WHERE from_local_id = 3 AND to_object = 'companies' AND label IS NULL",
        ],
    );
    compare(
        &site,
        &[],
        &[
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'contacts', 2)",
        ],
    );
}

#[test]
fn what_becomes_of_whole_records_before_anything_of_them_is_sent_is_counted() {
    let restoring = format!("[objects.contacts]\non_local_delete = \"restore\"\n{CONTACTS}");
    let (_portal, site) = filled(120, &restoring);
    compare(
        &site,
        &[],
        &[
            "UPDATE contacts SET city = 'Lima' WHERE local_id <= 3",
            "DELETE FROM contacts WHERE local_id <= 5",
        ],
    );
    compare(
        &site,
        &[],
        &[
            "UPDATE contacts SET city = 'Bern' WHERE local_id = 20",
            "DELETE FROM contacts WHERE local_id > 10",
        ],
    );
    compare(
        &site,
        &["--online"],
        &[
            "UPDATE contacts SET city = 'Oslo' WHERE local_id <= 60",
            "DELETE FROM contacts WHERE local_id <= 55",
        ],
    );
    let objects = format!("[objects.contacts]\nconflict = \"local\"\n{CONTACTS}");
    let (portal, site) = filled(5, &objects);
    let first = site.number("SELECT hs_id FROM contacts WHERE local_id = 1");
    let now = portal.now_ms();
    portal
        .stand()
        .archive("contacts", first.unsigned_abs(), now);
    compare(
        &site,
        &["--online"],
        &["UPDATE contacts SET city = 'Lima' WHERE local_id <= 2"],
    );
}

#[test]
fn associations_of_rows_that_are_made_in_the_same_push_are_counted() {
    let portal = behind();
    portal.contact("c0@example.com");
    let notes = "[objects.deals]\n[objects.notes]\n";
    let pairs = "deals_notes = { from = \"deals\", to = \"notes\" }\n";
    let objects = OBJECTS.replacen(
        "[associations]\n",
        &format!("{notes}[associations]\n{pairs}"),
        1,
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    // Before the first creates the key's property is made.
    site.execute("INSERT INTO contacts (email) VALUES ('first@example.com')");
    site.execute("INSERT INTO companies (name) VALUES ('First')");
    site.execute("INSERT INTO deals (dealname) VALUES ('First')");
    site.execute("INSERT INTO notes (hs_timestamp) VALUES ('2026-11-30T08:00:00.000Z')");
    site.once();
    site.once();
    let join = |from: &str, to: &str| {
        format!(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
             SELECT '{from}', (SELECT max(local_id) FROM {from}), '{to}', (SELECT max(local_id) FROM {to})"
        )
    };
    let company = "INSERT INTO companies (name) VALUES ('Acme')";
    let contact =
        |name: &str| format!("INSERT INTO contacts (email) VALUES ('{name}@example.com')");
    let company_of = join("contacts", "companies");
    compare(&site, &[], &[company, &contact("ada"), &company_of]);
    compare(&site, &[], &[&contact("bob"), &company_of]);
    compare(
        &site,
        &[],
        &[
            "INSERT INTO notes (hs_timestamp) VALUES ('2026-11-30T09:00:00.000Z')",
            "INSERT INTO deals (dealname) VALUES ('Engine')",
            &join("deals", "notes"),
        ],
    );
}
