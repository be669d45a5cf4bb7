//! `properties plan` and `properties apply`: what the mapping file declares is shown, made once, and never taken away.

use std::process::Output;

use hubsyncd::simulator::settings::Settings;
use serde_json::{Value, json};

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;
use crate::terminal::Terminal;

/// Two properties that the portal lacks, one in a group of its own, and options beyond those of one that it has.
fn declared() -> String {
    format!(
        "{CONTACTS}\
         level = {{ create = {{ label = \"Level\", type = \"enumeration\", group = \"loyalty\", options = [\"gold\", {{ value = \"x0\", label = \"Not yet\" }}] }} }}\n\
         erp_id = {{ column = \"erp\", create = {{ label = \"ERP id\", type = \"string\", unique = true, description = \"of the ERP\" }} }}\n\
         loyalty_tier = {{ column = \"tier\", create = {{ label = \"Tier\", type = \"enumeration\", options = [\"gold\", \"diamond\"] }} }}\n"
    )
}

fn told(output: &Output) -> String {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn property(portal: &Portal, name: &str) -> (u16, Value) {
    portal.call(
        "GET",
        &format!("/crm/v3/properties/contacts/{name}"),
        &Value::Null,
    )
}

#[test]
fn the_plan_is_shown_and_made_once_and_everything_that_was_there_stays() {
    let portal = Portal::with(Settings::quick());
    let site = Site::with(&portal, "", &declared());
    let plan = site.run(&["properties", "plan", "--exit-code"]);
    assert_eq!(plan.status.code(), Some(3), "{}", told(&plan));
    insta::assert_snapshot!("plan", told(&plan));
    let plan = site.run(&["properties", "plan", "--json"]);
    assert_eq!(plan.status.code(), Some(0));
    let rows: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    assert_eq!(
        rows,
        json!([
            {"object": "contacts", "name": "loyalty", "kind": "group", "label": "loyalty", "type": null},
            {"object": "contacts", "name": "level", "kind": "property", "label": "Level", "type": "enumeration"},
            {"object": "contacts", "name": "erp_id", "kind": "property", "label": "ERP id", "type": "string"},
            {"object": "contacts", "name": "loyalty_tier", "kind": "option", "label": "diamond", "type": null},
        ])
    );
    // Nobody is there to be asked: it is shown, and nothing is done.
    let asked = site.run(&["properties", "apply"]);
    assert_eq!(asked.status.code(), Some(2), "{}", told(&asked));
    assert!(told(&asked).contains("contacts: makes the group `loyalty`"));
    assert!(told(&asked).contains("[nobody-to-ask]\nhint: give `--yes`"));
    assert_eq!(property(&portal, "level").0, 404);
    let applied = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(applied.status.code(), Some(0), "{}", told(&applied));
    insta::assert_snapshot!("applied", told(&applied));
    let (_, level) = property(&portal, "level");
    assert_eq!(
        (&level["groupName"], &level["options"][1]["label"]),
        (&json!("loyalty"), &json!("Not yet"))
    );
    assert_eq!(property(&portal, "erp_id").1["hasUniqueValue"], true);
    let (_, tier) = property(&portal, "loyalty_tier");
    let values: Vec<&str> = tier["options"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|option| option["value"].as_str())
        .collect();
    assert_eq!(values, ["bronze", "silver", "gold", "platinum", "diamond"]);
    let again = site.run(&["properties", "apply", "--yes"]);
    insta::assert_snapshot!("again", told(&again));
    let plan = site.run(&["properties", "plan", "--exit-code"]);
    assert_eq!(plan.status.code(), Some(0));
    // What was made is synced like any other.
    site.once();
    site.execute(
        "INSERT INTO contacts (email, level, erp) VALUES ('new@example.com', 'gold', '7')",
    );
    site.once();
    assert_eq!(portal.count_with("level", "gold"), 1);
}

/// Value, place, whether people see it and what they are told of it, of each option.
fn options(portal: &Portal, name: &str) -> Vec<String> {
    let (_, found) = property(portal, name);
    let options = found["options"].as_array().expect("a list").iter();
    options
        .map(|option| {
            let [value, place, hidden, told] =
                ["value", "displayOrder", "hidden", "description"].map(|key| &option[key]);
            format!("{value} {place} {hidden} {told}")
        })
        .collect()
}

#[test]
fn what_people_did_to_the_options_before_the_answer_to_the_plan_stays() {
    let portal = Portal::with(Settings::quick());
    let path = "/crm/v3/properties/contacts";
    let gold = json!({"label": "Gold", "value": "gold", "displayOrder": 1, "hidden": false, "description": "the best"});
    let old = json!({"label": "Old", "value": "old", "displayOrder": 0, "hidden": true});
    let tier = json!({"name": "tier", "label": "Tier", "type": "enumeration", "fieldType": "select",
                      "groupName": "contactinformation", "options": [old, gold]});
    assert_eq!(portal.call("POST", path, &tier).0, 201);
    let objects = format!(
        "{CONTACTS}tier = {{ create = {{ label = \"Tier\", type = \"enumeration\", options = [\"gold\", \"silver\"] }} }}\n"
    );
    let site = Site::with(&portal, "", &objects);
    let mut terminal = Terminal::open();
    let mut child = terminal.start(&mut site.command(&["properties", "apply"]));
    terminal.until("adds `silver`");
    // While somebody reads the plan, somebody else adds one.
    let platinum =
        json!({"label": "Platinum", "value": "platinum", "displayOrder": 2, "hidden": false});
    let more = json!({"options": [old, gold, platinum]});
    assert_eq!(portal.call("PATCH", &format!("{path}/tier"), &more).0, 200);
    terminal.press("y\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let expected = [
        "\"old\" 0 true \"\"",
        "\"gold\" 1 false \"the best\"",
        "\"platinum\" 2 false \"\"",
        "\"silver\" 3 false \"\"",
    ];
    assert_eq!(options(&portal, "tier"), expected);
}

#[test]
fn a_property_that_comes_back_from_the_archive_has_its_missing_options_at_once() {
    let portal = Portal::with(Settings::quick());
    let path = "/crm/v3/properties/contacts";
    let old = json!({"label": "Old", "value": "old", "displayOrder": 0, "hidden": true});
    let tier = json!({"name": "tier", "label": "Tier", "type": "enumeration", "fieldType": "select",
                      "groupName": "contactinformation", "options": [old]});
    assert_eq!(portal.call("POST", path, &tier).0, 201);
    let archived = portal.call("DELETE", &format!("{path}/tier"), &Value::Null);
    assert_eq!(archived.0, 204);
    let objects = format!(
        "{CONTACTS}tier = {{ create = {{ label = \"Tier\", type = \"enumeration\", options = [\"gold\"] }} }}\n"
    );
    let site = Site::with(&portal, "", &objects);
    let applied = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(applied.status.code(), Some(0), "{}", told(&applied));
    let values: Vec<String> = options(&portal, "tier")
        .iter()
        .filter_map(|option| option.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(values, ["\"old\"", "\"gold\""]);
    let plan = site.run(&["properties", "plan", "--exit-code"]);
    assert_eq!(plan.status.code(), Some(0), "{}", told(&plan));
}

#[test]
fn the_daemon_makes_none_of_them_and_the_doctor_says_what_does() {
    let portal = Portal::with(Settings::quick());
    let site = Site::with(&portal, "", &declared());
    site.run(&["once", "--timeout", "50s"]);
    assert_eq!(property(&portal, "level").0, 404);
    let output = site.run(&["check", "--online", "--json"]);
    let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (name, code) in [
        ("property contacts.level", "unknown-property"),
        ("property contacts.loyalty_tier", "option-missing"),
    ] {
        let lines = page["checks"].as_array().expect("a list");
        let line = lines.iter().find(|line| line["name"] == name).expect(name);
        assert_eq!(
            (&line["status"], &line["code"]),
            (&json!("yellow"), &json!(code))
        );
        let hint = line["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("hubsyncd properties apply"), "{line:#}");
    }
}

/// The fields that are declared, by state and code.
const FIELDS: &str =
    "SELECT group_concat(state || coalesce(' ' || code, ''), ', ') FROM sync_fields
                      WHERE property IN ('level', 'erp_id')";
const UNKNOWN: &str = "degraded unknown-property, degraded unknown-property";

#[test]
fn once_syncs_what_was_made_since_the_run_before_it() {
    let portal = Portal::with(Settings::quick());
    let site = Site::with(&portal, "", &declared());
    site.run(&["once", "--timeout", "50s"]);
    assert_eq!(site.text(FIELDS).as_deref(), Some(UNKNOWN));
    let applied = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(applied.status.code(), Some(0), "{}", told(&applied));
    site.once();
    assert_eq!(site.text(FIELDS).as_deref(), Some("active, active"));
}

#[test]
fn a_column_has_the_declared_type_before_the_property_is_there_and_heals_once_it_is() {
    let portal = Portal::with(Settings::quick());
    let id = portal.contact("ann@example.com");
    let objects = format!(
        "{CONTACTS}\
         wish_bool = {{ column = \"yes\", create = {{ label = \"Yes\", type = \"bool\" }} }}\n\
         wish_day = {{ column = \"day\", create = {{ label = \"Day\", type = \"date\" }} }}\n\
         later_number = \"later\"\nlater_bool = \"later_yes\"\n"
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    // One that HubSpot says nothing of and the file neither is text, whatever it will be.
    site.execute(
        "UPDATE contacts SET yes = 1, day = '2026-01-02', later = '12.5', later_yes = 'perhaps'",
    );
    let applied = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(applied.status.code(), Some(0), "{}", told(&applied));
    for (name, kind, field_type) in [
        ("later_number", "number", "number"),
        ("later_bool", "bool", "booleancheckbox"),
    ] {
        let options = json!([{"value": "true", "label": "Yes"}, {"value": "false", "label": "No"}]);
        let mut property = json!({"name": name, "label": name, "type": kind, "fieldType": field_type,
                                  "groupName": "contactinformation"});
        if kind == "bool" {
            property["options"] = options;
        }
        let (status, body) = portal.call("POST", "/crm/v3/properties/contacts", &property);
        assert!(status < 300, "{body}");
    }
    let run = site.run(&["once", "--timeout", "50s"]);
    let degraded =
        "SELECT group_concat(property || ' ' || code) FROM sync_fields WHERE state = 'degraded'";
    assert_eq!(
        site.text(degraded).as_deref(),
        Some("later_bool type-change"),
        "{}",
        told(&run)
    );
    let sent = |name: &str| portal.value(id, name);
    assert_eq!(sent("wish_bool").as_deref(), Some("true"));
    assert_eq!(sent("wish_day").as_deref(), Some("2026-01-02"));
    assert_eq!(sent("later_number").as_deref(), Some("12.5"));
    let why = site.text("SELECT problem FROM sync_fields WHERE property = 'later_bool'");
    assert_eq!(
        why.as_deref(),
        Some(
            "HubSpot has `later_bool` as bool, and of the values that wait in contacts.later_yes some are none"
        )
    );
    site.execute("UPDATE contacts SET later_yes = 'yes'");
    site.execute("UPDATE contacts SET later_yes = 'true'");
    site.once();
    assert_eq!(sent("later_bool").as_deref(), Some("true"));
    assert_eq!(site.text(degraded), None);
    let types = "SELECT group_concat(type, ' ') FROM pragma_table_info('contacts') WHERE name IN ('yes', 'day', 'later', 'later_yes')";
    assert_eq!(
        site.text(types).as_deref(),
        Some("INTEGER TEXT REAL INTEGER")
    );
}

#[test]
fn what_is_made_beside_a_daemon_is_synced_from_its_next_read_of_the_schema_on() {
    let portal = Portal::with(Settings::quick());
    let mut site = Site::with(&portal, "[schedule]\nreference = \"1s\"\n", &declared());
    site.start_and_load();
    assert_eq!(site.text(FIELDS).as_deref(), Some(UNKNOWN));
    // The record is made without what HubSpot has not.
    site.execute(
        "INSERT INTO contacts (email, level, erp) VALUES ('new@example.com', 'gold', '7')",
    );
    site.until_sql("SELECT hs_id IS NOT NULL FROM contacts WHERE email = 'new@example.com'");
    let applied = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(applied.status.code(), Some(0), "{}", told(&applied));
    site.until_sql(&format!("SELECT ({FIELDS}) = 'active, active'"));
    site.until_pushed();
    assert_eq!(portal.count_with("level", "gold"), 1);
    assert_eq!(portal.count_with("erp_id", "7"), 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_is_there_and_other_than_declared_is_told_and_left() {
    let portal = Portal::with(Settings::quick());
    let objects = format!(
        "{CONTACTS}birthday = {{ create = {{ label = \"Birthday\", type = \"string\" }} }}\n"
    );
    let site = Site::with(&portal, "", &objects);
    let plan = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(plan.status.code(), Some(0), "{}", told(&plan));
    insta::assert_snapshot!("otherwise", told(&plan));
    assert_eq!(property(&portal, "birthday").1["type"], "date");
    // A token of another portal makes nothing.
    let config = std::fs::read_to_string(site.path("config.toml")).expect("a file");
    let config = config.replace("[portal]\n", "[portal]\nid = 1\n");
    std::fs::write(site.path("config.toml"), config).expect("written");
    let plan = site.run(&["properties", "plan"]);
    assert_eq!(plan.status.code(), Some(78), "{}", told(&plan));
    assert!(told(&plan).contains("[other-portal]"), "{}", told(&plan));
}

#[test]
fn what_hubspot_does_not_make_is_told_in_the_file_or_in_its_words() {
    let portal = Portal::with(Settings::quick());
    let declared = |field_type: &str| {
        format!(
            "{CONTACTS}x_id = {{ create = {{ label = \"X\", type = \"number\", unique = true{field_type} }} }}\n"
        )
    };
    let site = Site::with(&portal, "", &declared(", field_type = \"text\""));
    let checked = site.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78));
    let words = told(&checked);
    assert!(words.contains("write `number`"), "{words}");
    site.configure(&portal, "", &declared(""));
    // So many can be unique, and no more.
    let unique = |number: usize| {
        json!({"name": format!("unique_{number}"), "label": "U", "type": "string", "fieldType": "text",
               "groupName": "contactinformation", "hasUniqueValue": true})
    };
    let mut made =
        (0..20).map(|number| portal.call("POST", "/crm/v3/properties/contacts", &unique(number)));
    assert!(made.any(|(status, _)| status == 400));
    let applied = site.run(&["properties", "apply", "--yes"]);
    assert_eq!(applied.status.code(), Some(1));
    let words = told(&applied);
    let (_, refused) = words.split_once("hubsyncd: ").expect("an error");
    assert!(
        refused.starts_with(
            "can't make the property `x_id` of contacts: HubSpot says `At most 10 properties"
        ),
        "{refused}"
    );
    assert!(
        refused.ends_with(&format!(
            " [{}]\nhint: correct its `create` in the mapping file and apply again: what was made before it stays\n",
            produces("refused")
        )),
        "{refused}"
    );
}
