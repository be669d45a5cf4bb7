//! `plan`: what it shows is what the push then sends.

use std::process::Output;

use hubsyncd::simulator::settings::Settings;
use serde_json::{Value, json};

use crate::daemon::{CONTACTS, Site};
use crate::links::OBJECTS;
use crate::portal::Portal;
use crate::reads::make_property;

/// The plan of the site as JSON; nothing in the database may change by it.
pub(crate) fn planned(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let waiting = "SELECT group_concat(id || operation || state || attempts || coalesce(next_attempt_at, ''), ' ') FROM sync_outbox";
    let before = site.text(waiting);
    let output = site.run(&[&["plan", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(site.text(waiting), before, "a plan changes nothing");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn said(site: &Site, arguments: &[&str]) -> String {
    let output = site.run(arguments);
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// The plan in short: operation and row, with what would be sent and what is kept.
pub(crate) fn in_short(plan: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    plan.iter()
        .map(|entry| {
            let mut parts = vec![format!(
                "{} {}",
                text(&entry["operation"]),
                entry["local_id"]
            )];
            if let Some(what) = entry["waits_for"].as_str() {
                parts.push(format!("waits for {what}"));
            }
            for field in entry["fields"].as_array().expect("a list") {
                let [property, old, new] = ["property", "old", "new"].map(|key| text(&field[key]));
                parts.push(format!("{property}: {old} -> {new}"));
            }
            for field in entry["kept"].as_array().expect("a list") {
                let keys = ["property", "why", "local", "remote"];
                let [property, why, local, remote] = keys.map(|key| text(&field[key]));
                parts.push(format!("{property} {why}: {local} | {remote}"));
            }
            parts.join("; ")
        })
        .collect()
}

/// Five contacts on both sides.
fn loaded(settings: &str, objects: &str) -> (Portal, Site) {
    let portal = Portal::quick();
    portal.fill("contacts", 5);
    let site = Site::with(&portal, settings, objects);
    site.once();
    (portal, site)
}

fn id_of(site: &Site, row: i64) -> u64 {
    site.number(&format!(
        "SELECT hs_id FROM contacts WHERE local_id = {row}"
    ))
    .unsigned_abs()
}

#[test]
fn what_is_planned_is_what_the_push_sends() {
    let (portal, site) = loaded("", CONTACTS);
    let ids: Vec<u64> = (1..=5).map(|row| id_of(&site, row)).collect();
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id <= 3");
    site.once();
    site.execute(
        "UPDATE contacts SET city = 'Lima', first_name = first_name || ' ' WHERE local_id = 1",
    );
    site.execute("UPDATE contacts SET city = NULL WHERE local_id = 2");
    // Back where it was: nothing of it is to be sent.
    site.execute("UPDATE contacts SET city = 'Oslo' WHERE local_id = 3");
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 3");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ada@example.com', 'London')");
    site.execute("DELETE FROM contacts WHERE local_id = 4");
    let asked = portal.stand().request_log().len();
    let plan = planned(&site, &[]);
    assert_eq!(
        portal.stand().request_log().len(),
        asked,
        "HubSpot was not asked"
    );
    let first = portal.value(ids[0], "firstname").expect("a name");
    assert_eq!(
        in_short(&plan),
        [
            "create 6; email: - -> ada@example.com; city: - -> London".to_owned(),
            format!("update 1; city: Rome -> Lima; firstname: {first} -> {first} "),
            "update 2; city: Rome -> -".to_owned(),
            "archive 4".to_owned(),
        ]
    );
    assert_eq!(plan[1]["object"], "contacts");
    assert_eq!(plan[1]["hs_id"], json!(ids[0]));
    assert_eq!(plan[0]["hs_id"], Value::Null);
    assert!(plan[0]["due_at"].is_string(), "{plan:?}");
    let asked = site.run(&["plan", "--exit-code"]);
    assert_eq!(asked.status.code(), Some(3), "{}", told(&asked));
    let text = String::from_utf8(asked.stdout).expect("text");
    for line in [
        "contacts 6: create",
        "  city: - -> London",
        &format!("contacts 1 (record {}): update", ids[0]),
        "  city: Rome -> Lima",
        &format!("contacts 4 (record {}): archive", ids[3]),
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
    assert!(
        text.contains(
            "the next push would send 4 entries in 8 requests, 0.00 % of the day's 625,000 ("
        ),
        "{text}"
    );
    // The push sends exactly that: so many inputs, and these values.
    let sent = portal.stand().request_log().len();
    site.once();
    {
        let stand = portal.stand();
        let writes = stand.request_log()[sent..].iter();
        let writes = writes.filter(|request| request.method == "POST");
        let inputs = |part: &str| -> usize {
            let of = writes
                .clone()
                .filter(|request| request.path_template.ends_with(part));
            of.map(|request| request.inputs).sum()
        };
        assert_eq!(inputs("/batch/update"), 2);
        assert_eq!(inputs("/batch/archive"), 1);
        assert_eq!(inputs("/batch/upsert") + inputs("/batch/create"), 1);
    }
    assert_eq!(portal.value(ids[0], "city").as_deref(), Some("Lima"));
    assert_eq!(portal.value(ids[1], "city"), None);
    assert_eq!(portal.count_with("city", "London"), 1);
    assert_eq!(portal.contacts(), 5);
    let asked = site.run(&["plan", "--exit-code"]);
    assert_eq!(asked.status.code(), Some(0));
    assert_eq!(asked.stdout, b"the next push would send nothing\n");
}

/// How the fields of a contact are written.
const MODES: &str = r#"
[objects.contacts.properties]
email = "email"
firstname = { column = "first_name", write = "if_empty" }
lastname = { column = "last_name", conflict = "newest" }
city = { column = "city", conflict = "remote" }
"#;

#[test]
fn online_the_records_are_read_first_and_decided_as_the_push_decides() {
    let (portal, site) = loaded("", MODES);
    let (one, two) = (id_of(&site, 1), id_of(&site, 2));
    let first = portal.value(one, "firstname").expect("a name");
    site.execute("UPDATE contacts SET city = 'Lima', first_name = 'Ada', last_name = 'Byron' WHERE local_id IN (1, 2)");
    let city = portal.value(two, "city");
    portal.edit(one, &[("city", "Oslo"), ("lastname", "King")]);
    let offline = in_short(&planned(&site, &[]));
    assert!(offline[0].contains("city: "), "{offline:?}");
    assert!(
        offline[0].contains(&format!("firstname if-empty: Ada | {first}")),
        "HubSpot is taken to hold what it held: {offline:?}"
    );
    let online = in_short(&planned(&site, &["--online"]));
    assert!(
        online[0].contains("city conflict: Lima | Oslo"),
        "{online:?}"
    );
    assert!(
        online[0].contains("lastname conflict: Byron | King"),
        "{online:?}"
    );
    assert!(!online[0].contains("->"), "{online:?}");
    let old = city.unwrap_or_else(|| "-".to_owned());
    assert!(
        online[1].contains(&format!("city: {old} -> Lima")),
        "{online:?}"
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(
        site.number(
            "SELECT count(*) FROM _sync_command_leases WHERE ended_at IS NOT NULL AND requests > 0"
        ),
        1,
        "it has given its share back"
    );
    site.once();
    assert_eq!(portal.value(one, "city").as_deref(), Some("Oslo"));
    assert_eq!(portal.value(one, "lastname").as_deref(), Some("King"));
    assert_eq!(portal.value(one, "firstname"), Some(first));
    assert_eq!(portal.value(two, "city").as_deref(), Some("Lima"));
    assert_eq!(portal.value(two, "lastname").as_deref(), Some("Byron"));
    portal.assert_limits_were_kept();
}

#[test]
fn what_the_guard_would_hold_is_told_before_and_after_it_is_held() {
    let portal = Portal::quick();
    portal.fill("contacts", 130);
    let site = Site::with(
        &portal,
        "[guard]\nmax_archives = 20\nmax_share = 0.0\n",
        CONTACTS,
    );
    site.once();
    site.execute("DELETE FROM contacts WHERE local_id <= 30");
    let plan = planned(&site, &[]);
    assert_eq!(plan.len(), 30);
    assert!(
        plan.iter().all(|entry| entry["waits_for"] == "guard"),
        "{:?}",
        plan[0]
    );
    let text = said(&site, &["plan", "--exit-code"]);
    assert!(
        text.ends_with(
            "the next push would send nothing\nthe guard holds 30 entries: `hubsyncd outbox approve` lets them go once they are held, \
             `hubsyncd outbox discard --hold ID` takes them back\n"
        ),
        "{text}"
    );
    site.once();
    assert_eq!(portal.contacts(), 130);
    assert!(
        planned(&site, &[])
            .iter()
            .all(|entry| entry["waits_for"] == "guard")
    );
}

#[test]
fn a_column_that_would_be_emptied_is_told_before_it_is_held() {
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome'");
    site.once();
    site.execute("UPDATE contacts SET city = NULL");
    site.execute("UPDATE contacts SET last_name = 'Moved' WHERE local_id = 1");
    let plan = planned(&site, &[]);
    let (sent, held): (Vec<_>, Vec<_>) = plan.iter().partition(|entry| entry["local_id"] == 1);
    assert_eq!(held.len(), 149);
    assert!(
        held.iter().all(|entry| entry["waits_for"] == "guard"),
        "{:?}",
        held[0]
    );
    let emptied = json!([{"property": "city", "old": "Rome", "new": null}]);
    assert!(
        held.iter().all(|entry| entry["fields"] == emptied),
        "{held:?}"
    );
    let fields = sent[0]["fields"].as_array().expect("a list");
    assert_eq!(fields.len(), 1, "the other fields go on: {fields:?}");
    assert_eq!(fields[0]["property"], "lastname");
    let kept = json!([{"property": "city", "local": null, "remote": "Rome", "why": "guard"}]);
    assert_eq!(sent[0]["kept"], kept);
    let told = site.once();
    assert!(told.contains(", 150 held"), "{told}");
    assert_eq!(portal.count_with("city", "Rome"), 150);
    assert_eq!(portal.count_with("lastname", "Moved"), 1);
    assert_eq!(
        site.number("SELECT records FROM sync_holds WHERE operation = 'clear'"),
        150
    );
    // What is held stands in the plan, with the record's other fields where there are some.
    site.execute("UPDATE contacts SET last_name = 'Again' WHERE local_id = 1");
    let plan = planned(&site, &[]);
    assert_eq!(plan.len(), 150);
    let (sent, held): (Vec<_>, Vec<_>) = plan.iter().partition(|entry| entry["sent"] == true);
    assert_eq!((sent.len(), &sent[0]["kept"]), (1, &kept));
    assert!(held.iter().all(|entry| entry["waits_for"] == "guard"));
    assert!(
        held.iter().all(|entry| entry["fields"] == emptied),
        "{held:?}"
    );
    let text = said(&site, &["plan"]);
    for line in [
        "  city: - stays here, held by the guard: HubSpot keeps Rome",
        "  city: Rome -> -",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
    assert!(
        text.contains("the guard holds 149 entries and 1 emptied value: "),
        "{text}"
    );
}

#[test]
fn what_hubspot_lets_nobody_write_any_more_is_kept_until_it_is_healed_and_the_rest_is_sent() {
    const TEXT: (&str, &str) = ("string", "text");
    let portal = Portal::quick();
    make_property(&portal, "contacts", "colour", false);
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("colour", "red"), ("city", "Oslo")]);
    let site = Site::with(&portal, "", &format!("{CONTACTS}colour = \"colour\"\n"));
    site.once();
    site.execute("UPDATE contacts SET colour = 'blue'");
    portal.stand().redefine("contacts", "colour", TEXT, true);
    let push = || site.run(&["once", "--timeout", "50s"]).status.code();
    assert_eq!(push(), Some(1), "the value waits");
    site.execute("INSERT INTO contacts (email, colour) VALUES ('new@example.com', 'black')");
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 1");
    for arguments in [&[][..], &["--online"]] {
        let plan = in_short(&planned(&site, arguments));
        assert_eq!(
            plan,
            [
                "create 2; email: - -> new@example.com; colour degraded: black | -",
                "update 1; city: Oslo -> Rome; colour degraded: blue | red",
            ]
        );
    }
    let text = said(&site, &["plan"]);
    assert!(
        text.contains("`SELECT problem, hint FROM sync_fields` says why"),
        "{text}"
    );
    assert_eq!(push(), Some(1));
    assert_eq!(portal.value(id, "city").as_deref(), Some("Rome"));
    assert_eq!(portal.value(id, "colour").as_deref(), Some("red"));
    assert_eq!(portal.contacts(), 2);
    let mut plan = in_short(&planned(&site, &["--online"]));
    plan.sort();
    assert_eq!(
        plan,
        [
            "update 1; colour degraded: blue | red",
            "update 2; colour degraded: black | -",
        ]
    );
    let asked = site.run(&["plan", "--exit-code"]);
    assert_eq!(asked.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&asked.stdout).ends_with("the next push would send nothing\n"));
    // The field is healed by the next read of the schema, and what it waited with is planned and sent.
    portal.stand().redefine("contacts", "colour", TEXT, false);
    site.once();
    assert_eq!(portal.value(id, "colour").as_deref(), Some("blue"));
    assert_eq!(portal.count_with("colour", "black"), 1);
    assert!(planned(&site, &[]).is_empty());
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn associations_stand_in_the_plan_with_both_ends() {
    let portal = Portal::quick();
    portal.fill("contacts", 2);
    portal.fill("companies", 2);
    let objects = format!(
        "{CONTACTS}\n[objects.companies.properties]\nname = \"name\"\n\
         [associations]\nworks = {{ from = \"contacts\", to = \"companies\" }}\n"
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    site.execute("INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', 2)");
    let plan = planned(&site, &[]);
    let entry = plan
        .iter()
        .find(|entry| entry["operation"] == "associate" && entry["to_local_id"] == 2)
        .expect("the association");
    assert_eq!(entry["to_object"], "companies");
    assert_eq!(entry["local_id"], 1);
    assert_eq!(entry["fields"], json!([]));
    for key in ["category", "type_id", "label"] {
        assert!(entry.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_command_beside_a_first_load_at_the_limit_meets_no_429_and_brings_none() {
    let portal = Portal::with(Settings {
        burst_limit: 40,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    });
    portal.fill("contacts", 12_000);
    let mut site = Site::with(&portal, "[limits]\nburst_per_10_seconds = 40\n", CONTACTS);
    site.start();
    site.until_sql("SELECT count(*) > 1000 FROM contacts");
    for _ in 0..3 {
        planned(&site, &["--online"]);
    }
    assert_eq!(
        site.number("SELECT min(backfill <> 'done') FROM sync_status"),
        1,
        "the load still runs"
    );
    site.wait_loaded();
    assert_eq!(
        site.number("SELECT count(*) FROM _sync_command_leases WHERE granted_at IS NULL"),
        0
    );
    portal.assert_limits_were_kept();
}

/// One value of each kind that a plan keeps back, and associations.
const ALL_KINDS: &str = r#"
[objects.contacts.properties]
email = "email"
firstname = { column = "first_name", write = "if_empty" }
lastname = { column = "last_name", conflict = "manual" }
city = "city"
[objects.companies.properties]
name = "name"
[associations]
works = { from = "contacts", to = "companies" }
"#;

#[test]
fn a_plan_reads_as_it_should() {
    let portal = Portal::quick();
    portal.fill("contacts", 7);
    portal.fill("companies", 2);
    let guard = "[guard]\nmax_archives = 1\nmax_share = 0.0\n";
    let site = Site::with(&portal, guard, ALL_KINDS);
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome'");
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima', first_name = 'Ada' WHERE local_id = 1");
    site.execute("UPDATE contacts SET city = NULL, last_name = 'Byron' WHERE local_id = 2");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ada@example.com', 'A long name of a city, much longer than a line of a terminal would like it')");
    site.execute("DELETE FROM contacts WHERE local_id IN (3, 4)");
    for more in ["", ", type_id"] {
        let (row, kind) = match more {
            "" => (5, ""),
            _ => (6, ", 279"),
        };
        site.execute(&format!(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id{more}) \
             VALUES ('contacts', {row}, 'companies', 2{kind})"
        ));
    }
    portal.edit(id_of(&site, 2), &[("lastname", "King")]);
    let mut text = said(&site, &["plan"]);
    text.push_str("---- online:\n");
    text.push_str(&said(&site, &["plan", "--online"]));
    let ids = site.text("SELECT group_concat(hs_id, ' ') FROM contacts");
    for id in ids.iter().flat_map(|ids| ids.split(' ')) {
        text = text.replace(id, "ID");
    }
    let gone =
        site.text("SELECT group_concat(hs_id, ' ') FROM sync_outbox WHERE operation = 'archive'");
    for id in gone.iter().flat_map(|ids| ids.split(' ')) {
        text = text.replace(id, "ID");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_not_sent_says_so_and_why() {
    let modes =
        "[objects.contacts]\non_local_delete = \"restore\"\nnew_records = \"from_hubspot\"\n";
    let (portal, site) = loaded("", &format!("{modes}{CONTACTS}"));
    site.execute("DELETE FROM contacts WHERE local_id = 1");
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 2");
    let plan = planned(&site, &[]);
    let told = |entry: &Value| {
        let reason = entry["reason"].as_str().map(str::to_owned);
        (entry["sent"] == true, reason.unwrap_or_default())
    };
    let told: Vec<_> = plan.iter().map(told).collect();
    assert_eq!(told[0], (true, String::new()), "{plan:?}");
    assert!(
        !told[1].0 && told[1].1.ends_with("the row comes back"),
        "{told:?}"
    );
    site.once();
    assert_eq!(
        (
            portal.contacts(),
            site.number("SELECT count(*) FROM contacts")
        ),
        (5, 5)
    );
}

#[test]
fn what_the_push_puts_off_unsent_is_not_due_and_says_why() {
    let (_portal, site) = loaded("", CONTACTS);
    let email = site.text("SELECT email FROM contacts WHERE local_id = 2");
    let email = email.expect("an address");
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    site.execute("UPDATE contacts SET email = 'new@example.com' WHERE local_id = 2");
    site.execute(&format!(
        "UPDATE contacts SET email = '{email}' WHERE local_id = 3"
    ));
    let plan = planned(&site, &[]);
    assert!(plan.iter().all(|entry| entry["sent"] == true), "{plan:?}");
    // HubSpot has refused the value once, and a record is to be read.
    site.execute_as_daemon("UPDATE sync_outbox SET taken_by = 2 WHERE local_id = 3");
    site.execute_as_daemon(
        "INSERT INTO _sync_reads (object, hs_id, origin, due_at)
         SELECT 'contacts', hs_id, 'poll', '2026-01-01T00:00:00.000Z' FROM contacts WHERE local_id = 1",
    );
    let plan = planned(&site, &[]);
    let told: Vec<_> = plan
        .iter()
        .map(|entry| {
            (
                entry["local_id"].as_i64(),
                entry["sent"] == true,
                entry["reason"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                Some(1),
                false,
                Some("its record is read from HubSpot first")
            ),
            (Some(2), true, None),
            (
                Some(3),
                false,
                Some("row 2 gives up a value of it in HubSpot first")
            ),
        ]
    );
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn the_looks_before_creates_are_counted() {
    let portal = Portal::quick();
    let site = Site::with(
        &portal,
        "",
        "[objects.contacts]\ndirection = \"push\"\n[objects.contacts.properties]\nemail = \"email\"\n",
    );
    let calls = "SELECT count(*) FROM sync_calls
                 WHERE class IN ('read', 'create', 'upsert') OR (class = 'schema' AND method = 'POST')";
    site.once();
    // Before the first create the key's property is made.
    for email in ["ada@example.com", "bob@example.com"] {
        site.execute(&format!("INSERT INTO contacts (email) VALUES ('{email}')"));
        let plan = said(&site, &["plan"]);
        let before = site.number(calls);
        site.once();
        let sent = site.number(calls) - before;
        let words = format!("send 1 entry in {sent} requests");
        assert!(plan.contains(&words), "{sent}: {plan}");
    }
}

#[test]
fn of_an_object_that_the_token_may_not_write_nothing_is_sent() {
    let (portal, site) = loaded("", CONTACTS);
    portal
        .stand()
        .settings_mut()
        .denied_scopes
        .insert("crm.objects.contacts.write".to_owned());
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    let once = site.run(&["once", "--timeout", "50s"]);
    assert_eq!(once.status.code(), Some(1));
    let plan = planned(&site, &[]);
    assert_eq!(
        (&plan[0]["sent"], &plan[0]["reason"]),
        (
            &json!(false),
            &json!("contacts is not synced at present (`missing-scope`)")
        )
    );
    let told = said(&site, &["plan"]);
    assert!(
        told.contains("would send nothing")
            && told.contains("contacts is not synced at present (`missing-scope`), and nothing"),
        "{told}"
    );
}

#[test]
fn there_is_no_plan_without_a_database() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    let output = site.run(&["plan"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("there is no database at"),
        "{}",
        told(&output)
    );
}

#[test]
fn the_requests_around_associations_are_counted() {
    let portal = Portal::quick();
    portal.contact("ada@example.com");
    let site = Site::with(&portal, "", OBJECTS);
    site.once();
    site.execute("INSERT INTO companies (name) VALUES ('Acme'), ('Beta')");
    site.once();
    let insert = "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('contacts', 1, 'companies',";
    site.execute(&format!("{insert} 1, NULL)"));
    let plan = said(&site, &["plan"]);
    assert!(plan.contains("send 1 entry in 2 requests"), "{plan}");
    // Behind the call stands the read of what it implied; before each of two calls that of what the label excludes.
    site.execute(&format!("{insert} 2, 'Primary')"));
    let plan = said(&site, &["plan"]);
    assert!(plan.contains("send 2 entries in 6 requests"), "{plan}");
}

#[test]
fn a_plan_that_hubspot_refuses_is_no_half_of_a_value() {
    let (_portal, site) = loaded("", CONTACTS);
    std::fs::write(site.path("token"), "pat-wrong").expect("written");
    let refused = site.run(&["plan", "--online", "--json"]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert_eq!(refused.stdout, b"");
}
