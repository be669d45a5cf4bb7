//! What `--json` prints has the keys that the manual names, in a database that holds nothing and in one that holds some of each.

use serde_json::{Value, json};

use crate::daemon::{CONTACTS, Site};
use crate::links::OBJECTS;
use crate::portal::Portal;

const HEALTH: &str = "state pid version started_at heartbeat_at portal_id daily_limit daily_used daily_resets_at \
    requests_last_minute throttled_last_minute inbox_depth outbox_depth config_error last_error code";
const OBJECT: &str = "object table_name direction rows backfill last_poll_at last_change_at lag_seconds last_reconcile_at pending \
    in_flight dead conflicts last_error in_sync waiting failing excluded problems last_association_pass_at associations_waiting \
    code unseen last_history_at";
const HOLD: &str = "id object side operation records allowed held_at approved_at code property";
const ENTRY: &str = "id object local_id hs_id operation state attempts enqueued_at next_attempt_at last_error version waits_for key \
    row to_object to_local_id category type_id label code correlation_id";
const CONFLICT: &str = "id object local_id hs_id property base_value local_value remote_value policy winner detected_at resolved_at \
    resolution reason";
const CHANGE: &str = "id at object local_id hs_id property old_value new_value origin run_id";
const PLANNED: &str = "object local_id hs_id operation waits_for due_at fields kept";
const DONE: &str = "object pulled pushed pending dead conflicts held";

/// Runs a command, which may end with either of two statuses.
fn output(site: &Site, arguments: &[&str]) -> String {
    let output = site.run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{arguments:?}: {told}"
    );
    String::from_utf8(output.stdout).expect("text")
}

fn answer(site: &Site, arguments: &[&str]) -> Value {
    let text = output(site, arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

/// A value has these keys, and may have more.
#[track_caller]
fn has(value: &Value, keys: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("{value:#}"));
    let missing: Vec<&str> = keys
        .split_whitespace()
        .filter(|key| !object.contains_key(*key))
        .collect();
    assert_eq!(missing, [""; 0], "{value:#}");
}

/// A list has something in it, and each of that these keys.
#[track_caller]
fn each_has<'a>(values: &'a Value, keys: &str) -> &'a [Value] {
    let list = values.as_array().unwrap_or_else(|| panic!("{values:#}"));
    assert!(!list.is_empty(), "nothing is in it");
    for value in list {
        has(value, keys);
    }
    list
}

#[test]
fn of_a_database_that_holds_nothing_every_answer_has_its_shape() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    let done = answer(&site, &["once", "--json"]);
    has(&done, "objects requests");
    each_has(&done["objects"], DONE);
    let status = answer(&site, &["status", "--json"]);
    has(&status, "health objects holds");
    has(&status["health"], HEALTH);
    each_has(&status["objects"], OBJECT);
    assert_eq!(status["holds"], json!([]));
    for list in [
        &["conflicts", "list", "--json"][..],
        &["outbox", "list", "--json"],
        &["plan", "--json"],
        &["plan", "--online", "--json"],
        &["properties", "plan", "--json"],
    ] {
        assert_eq!(answer(&site, list), json!([]), "{list:?}");
    }
    let undone = json!({"dry_run": true, "undone": 0, "changes": [], "left": []});
    assert_eq!(
        answer(&site, &["undo", "--since", "1h", "--dry-run", "--json"]),
        undone
    );
    assert_eq!(output(&site, &["changes", "--json"]), "");
    assert_eq!(
        answer(&site, &["check", "--json"]),
        json!({"ok": true, "problems": []})
    );
    let online = answer(&site, &["check", "--online", "--json"]);
    has(&online, "ok problems checks");
    let lines = each_has(&online["checks"], "name status code message hint");
    for line in lines.iter().filter(|line| line["status"] == "green") {
        assert_eq!((&line["code"], &line["hint"]), (&json!(null), &json!(null)));
    }
}

/// Contacts and companies of which some of each waits: a create, an update, an association, a dead entry, an open conflict, held
/// archives, a value that is kept back, and a history.
fn some_of_each() -> (Portal, Site) {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let site = Site::with(
        &portal,
        "[conflicts]\npolicy = \"manual\"\n[guard]\nmax_archives = 5\n",
        OBJECTS,
    );
    site.once();
    let row = "SELECT hs_id FROM contacts WHERE local_id = 1";
    let id = site.number(row).unsigned_abs();
    site.execute("UPDATE contacts SET lastname = 'Changed' WHERE local_id = 2");
    site.once();
    site.execute("UPDATE contacts SET lastname = 'Ours' WHERE local_id = 1");
    portal.edit(id, &[("lastname", "Theirs")]);
    // An address that HubSpot refuses.
    site.execute("UPDATE contacts SET email = 'no address' WHERE local_id = 3");
    site.once();
    site.execute("DELETE FROM contacts WHERE local_id > 3");
    site.once();
    let programs = site.program().execute_batch(
        "INSERT INTO companies (name) VALUES ('Acme');
         UPDATE contacts SET firstname = 'Ada' WHERE local_id = 2;
         INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 2, 'companies', 1)",
    );
    programs.expect("is taken");
    (portal, site)
}

#[test]
fn of_a_database_that_holds_some_of_each_every_answer_has_its_shape() {
    let (_portal, site) = some_of_each();
    let status = answer(&site, &["status", "--json"]);
    has(&status, "health objects holds");
    has(&status["health"], HEALTH);
    each_has(&status["objects"], OBJECT);
    each_has(&status["holds"], HOLD);
    each_has(&answer(&site, &["conflicts", "list", "--json"]), CONFLICT);
    each_has(&answer(&site, &["outbox", "list", "--json"]), ENTRY);
    let plan = answer(&site, &["plan", "--json"]);
    let (links, records): (Vec<&Value>, Vec<&Value>) = plan
        .as_array()
        .expect("a list")
        .iter()
        .partition(|entry| entry["operation"] == "associate");
    for record in &records {
        has(record, PLANNED);
    }
    let link = links.first().expect("an association");
    has(
        link,
        &format!("{PLANNED} to_object to_local_id category type_id label"),
    );
    let fields = records
        .iter()
        .flat_map(|entry| entry["fields"].as_array().expect("a list"));
    let fields: Vec<&Value> = fields.collect();
    assert!(!fields.is_empty());
    for field in fields {
        has(field, "property old new");
    }
    let held = records
        .iter()
        .filter(|entry| entry["waits_for"] == "guard" && entry["operation"] == "archive");
    assert_eq!(held.count(), 27, "{plan:#}");
    let undone = answer(&site, &["undo", "--since", "1h", "--dry-run", "--json"]);
    has(&undone, "dry_run undone changes left");
    let before =
        "SELECT group_concat(id) FROM sync_history WHERE property = 'lastname' AND local_id = 2";
    let ids = site.text(before).expect("a line");
    site.execute("DELETE FROM sync_outbox WHERE local_id = 2");
    let undone = answer(&site, &["undo", "--ids", &ids, "--dry-run", "--json"]);
    each_has(
        &undone["changes"],
        "history_ids object local_id property from to",
    );
    let changes = output(&site, &["changes", "--json", "--since", "0"]);
    assert!(!changes.is_empty());
    for line in changes.lines() {
        has(&serde_json::from_str(line).expect("JSON"), CHANGE);
    }
    let done = answer(&site, &["once", "--json"]);
    has(&done, "objects requests");
    each_has(&done["objects"], DONE);
}

#[test]
fn what_a_plan_keeps_back_and_a_mistake_of_the_file_have_their_shapes() {
    let portal = Portal::quick();
    portal.fill("contacts", 1);
    let objects = CONTACTS.replace(
        "city = \"city\"",
        "city = { column = \"city\", write = \"if_empty\" }",
    );
    assert_ne!(objects, CONTACTS);
    let site = Site::with(&portal, "", &objects);
    site.once();
    let id = site.number("SELECT hs_id FROM contacts").unsigned_abs();
    portal.edit(id, &[("city", "")]);
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome'");
    portal.edit(id, &[("city", "Lima")]);
    let plan = answer(&site, &["plan", "--online", "--json"]);
    let kept = each_has(&plan, PLANNED)[0]["kept"].clone();
    each_has(&kept, "property local remote why");
    let file = site.path("config.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, format!("{text}\n[guard]\nmax_archive = 1\n")).expect("written");
    let checked = site.run(&["check", "--online", "--json"]);
    assert_eq!(checked.status.code(), Some(78));
    let page: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    has(&page, "ok problems checks");
    assert_eq!((&page["ok"], &page["checks"]), (&json!(false), &json!([])));
    each_has(
        &page["problems"],
        "severity code file line column key message hint",
    );
}
