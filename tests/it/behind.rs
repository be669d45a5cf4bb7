//! Tables that are behind a right mapping file, since HubSpot can't be asked for it: views and commands go by what the database has.

use hubsyncd::simulator::faults::FaultKind;
use serde_json::Value;

use crate::daemon::{CONTACTS, Site};
use crate::plan::{in_short, planned};
use crate::portal::Portal;

const PAIR: &str =
    "[associations]\ncontacts_companies = { from = \"contacts\", to = \"companies\" }\n";

/// The mapping of `CONTACTS` in which everything has another name, with a property, an object and a pair more.
fn ahead() -> String {
    let renamed = CONTACTS.replace("city = \"city\"", "city = \"town\"\nphone = \"phone\"");
    format!("[objects.contacts]\ntable = \"people\"\n{renamed}[objects.companies]\n{PAIR}")
}

/// A site whose second contact moved to Oslo in HubSpot, with a write and a create that wait.
fn site() -> (Portal, Site) {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let site = Site::new(&portal);
    site.once();
    let id = site.number("SELECT hs_id FROM contacts WHERE local_id = 2");
    portal.edit(id.unsigned_abs(), &[("city", "Oslo")]);
    site.once();
    (portal, site)
}

fn write(site: &Site) {
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 1");
    site.execute("INSERT INTO contacts (email, city) VALUES ('new@example.com', 'Lima')");
}

fn answer(site: &Site, arguments: &[&str]) -> Value {
    let output = site.run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What is known by the columns as they are.
fn all_is_told(site: &Site) {
    let records = "SELECT group_concat(local_id || ' ' || state || coalesce(' ' || pending, ''), '; ') FROM sync_records";
    assert_eq!(
        site.text(records).as_deref(),
        Some("1 waiting city; 2 in_sync; 3 in_sync; 4 waiting city,email")
    );
    let status = "SELECT table_name || ' ' || \"rows\" FROM sync_status WHERE object = 'contacts'";
    assert_eq!(site.text(status).as_deref(), Some("contacts 4"));
    assert_eq!(site.number("SELECT count(*) FROM contacts_labels"), 4);
    let explained = answer(site, &["explain", "contacts", "1", "--json"]);
    let fields = explained["fields"].as_array().expect("a list");
    let city = fields.iter().find(|field| field["property"] == "city");
    assert_eq!(city.expect("the city")["local"], "Rome");
    let plan = in_short(&planned(site, &[]));
    assert!(
        plan[0].starts_with("create 4; ") && plan[0].contains("city: - -> Lima"),
        "{plan:?}"
    );
    assert!(plan[1].starts_with("update 1; city: "), "{plan:?}");
    assert_eq!(plan.len(), 2, "{plan:?}");
    let undo = answer(site, &["undo", "--since", "1h", "--dry-run", "--json"]);
    assert_eq!(undo["left"], Value::Array(Vec::new()));
    let change = &undo["changes"][0];
    assert_eq!(
        (&change["local_id"], &change["from"]),
        (&2.into(), &"Oslo".into())
    );
    let of_column = [
        "undo",
        "--since",
        "1h",
        "--dry-run",
        "--object",
        "contacts",
        "--column",
    ];
    assert_eq!(
        site.run(&[&of_column[..], &["city"]].concat())
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        site.run(&[&of_column[..], &["town"]].concat())
            .status
            .code(),
        Some(2)
    );
    for command in ["status", "outbox list", "conflicts list", "changes"] {
        let words: Vec<&str> = command.split(' ').chain(["--json"]).collect();
        assert_eq!(site.run(&words).status.code(), Some(0), "{command}");
    }
}

/// HubSpot can be reached again: the file comes into force with all that waited.
fn all_comes_after(portal: &Portal, site: &mut Site) {
    portal.stand().faults_mut().scripts.clear();
    site.until_sql("SELECT count(*) = 2 FROM sync_status WHERE backfill = 'done'");
    site.until_pushed();
    assert_eq!(
        site.number("SELECT count(*) FROM sync_records WHERE state = 'in_sync'"),
        4
    );
    assert_eq!(
        site.text("SELECT town FROM people WHERE local_id = 4")
            .as_deref(),
        Some("Lima")
    );
    assert_eq!(
        portal.count_with("city", "Rome") + portal.count_with("city", "Lima"),
        2
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_start_that_waits_for_hubspot_shows_the_tables_as_they_are() {
    let (portal, mut site) = site();
    write(&site);
    site.configure(&portal, "", &ahead());
    // Without a daemon too.
    all_is_told(&site);
    portal.script(FaultKind::BadGateway, 10_000, "");
    site.start();
    site.until_sql("SELECT state = 'unreachable' FROM sync_health");
    all_is_told(&site);
    let waits = "SELECT backfill || ' ' || \"rows\" FROM sync_status WHERE object = 'companies'";
    assert_eq!(site.text(waits).as_deref(), Some("waiting 0"));
    all_comes_after(&portal, &mut site);
}

#[test]
fn a_file_that_waits_for_hubspot_leaves_the_commands_to_the_former_one() {
    let (portal, mut site) = site();
    site.start_and_settle();
    portal.script(FaultKind::BadGateway, 10_000, "");
    site.until_sql("SELECT state = 'unreachable' FROM sync_health");
    write(&site);
    site.configure(&portal, "", &ahead());
    site.until_sql("SELECT config_error LIKE 'the changed mapping file waits: %' FROM sync_health");
    all_is_told(&site);
    all_comes_after(&portal, &mut site);
}

#[test]
fn what_left_the_file_is_told_of_until_the_file_is_in_force() {
    let (portal, mut site) = site();
    write(&site);
    let without = CONTACTS.replace("city = \"city\"\n", "");
    site.configure(&portal, "", &format!("{without}[objects.companies]\n"));
    portal.script(FaultKind::BadGateway, 10_000, "");
    site.start();
    site.until_sql("SELECT state = 'unreachable' FROM sync_health");
    let pending = "SELECT pending FROM sync_records WHERE local_id = 4";
    assert_eq!(site.text(pending).as_deref(), Some("city,email"));
    site.configure(&portal, "", "[objects.companies]\n");
    site.kill();
    site.start();
    site.until_sql("SELECT state = 'unreachable' FROM sync_health");
    let listed = "SELECT group_concat(object || ' ' || \"rows\", ', ') FROM sync_status";
    assert_eq!(
        site.text(listed).as_deref(),
        Some("contacts 4, companies 0")
    );
    assert_eq!(site.text(pending).as_deref(), Some("city,email"));
    portal.stand().faults_mut().scripts.clear();
    site.until_sql("SELECT count(*) = 1 FROM sync_status WHERE backfill = 'done'");
    assert_eq!(site.stop(), 0);
}
