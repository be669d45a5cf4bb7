//! `init`: the file that it proposes, which passes the checks as it is, for a small portal, for one with 400 properties and
//! custom objects, and for a token that may not do everything.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use hubsyncd::simulator::portal::NewObject;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use serde_json::{Value, json};

use crate::codes::produces;
use crate::daemon::Site;
use crate::portal::Portal;

/// `init` beside a site whose own mapping file it does not read.
fn init(site: &Site, portal: &Portal, arguments: &[&str]) -> Output {
    let url = portal.url();
    let own = ["init", "--base-url", &url];
    with_file(site, "nowhere.toml", &[&own, arguments].concat())
}

fn told(output: &Output) -> String {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Writes a file, which must pass both checks; its text, where the portal stands the same for all tests.
fn proposed(site: &Site, portal: &Portal, arguments: &[&str]) -> String {
    let arguments = [&["--out", "new.toml"], arguments].concat();
    let output = init(site, portal, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(output.stdout, b"");
    let output = checked(site);
    let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{page:#}");
    assert_eq!(page["problems"], json!([]));
    for line in page["checks"].as_array().expect("a list") {
        assert_ne!(line["status"], "red", "{line:#}");
        let is_of_mapping = line["name"].as_str().is_some_and(|name| name.contains(' '));
        assert!(!is_of_mapping || line["status"] == "green", "{line:#}");
    }
    let text = std::fs::read_to_string(site.path("new.toml")).expect("a file");
    text.replace(&portal.url(), "http://127.0.0.1:1")
}

/// A command with another mapping file than the site's.
fn with_file(site: &Site, file: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hubsyncd"))
        .args(arguments)
        .args(["--config", file])
        .current_dir(site.path(""))
        .env("HUBSPOT_ACCESS_TOKEN", DEFAULT_TOKEN)
        .output()
        .expect("it runs")
}

fn checked(site: &Site) -> Output {
    with_file(site, "new.toml", &["check", "--online", "--json"])
}

/// A portal with contacts, companies, deals and a custom object of which somebody has made a record.
fn portal() -> Portal {
    let portal = Portal::with(Settings::quick());
    for object in ["contacts", "companies", "deals"] {
        portal.fill(object, 3);
    }
    let now = portal.now_ms();
    portal.stand().create_object(
        NewObject {
            name: "machine",
            singular: "Machine",
            plural: "Machines",
            texts: &["model", "place"],
            unique: &["serial"],
            required: &["serial"],
            associated: &["contacts"],
        },
        now,
    );
    let machine = [("model", "M1"), ("serial", "1")];
    portal.stand().create("machine", &machine, now);
    let tier = json!({"name": "tier", "label": "Customer tier", "type": "enumeration", "fieldType": "select",
        "groupName": "contactinformation", "options": [{"label": "Gold", "value": "gold"}, {"label": "Not yet", "value": "x0"}]});
    let (status, answer) = portal.call("POST", "/crm/v3/properties/contacts", &tier);
    assert_eq!(status, 201, "{answer}");
    portal
}

#[test]
fn what_the_portal_uses_is_proposed_with_a_word_on_each_property() {
    let portal = portal();
    let site = Site::new(&portal);
    insta::assert_snapshot!("sensible", proposed(&site, &portal, &[]));
    std::fs::remove_file(site.path("new.toml")).expect("it was there");
    let minimal = ["--minimal", "--objects", "contacts,deal,machine,notes"];
    insta::assert_snapshot!("minimal", proposed(&site, &portal, &minimal));
    // What the file says is what is synced.
    let output = with_file(&site, "new.toml", &["once", "--timeout", "50s"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(site.number("SELECT count(*) FROM machine"), 1);
}

#[test]
fn with_400_properties_the_way_from_init_to_the_plan_needs_no_change_of_the_file() {
    let portal = portal();
    // Words of SQL, names of columns that every table has, labels that are none, and a name longer than a column's.
    let long = "l".repeat(100);
    for name in ["select", "rowid", "hs_id", "tier_label", &long] {
        let label = format!(
            "Line one\nline two\r[objects.deals] \"\"\" {}",
            "L".repeat(200)
        );
        let body = json!({"name": name, "label": label, "type": "string", "fieldType": "text", "groupName": "contactinformation"});
        let (status, answer) = portal.call("POST", "/crm/v3/properties/contacts", &body);
        assert_eq!(status, 201, "{answer}");
    }
    for number in 0..400 {
        let body = json!({"name": format!("own_{number}"), "label": format!("Own {number}"), "type": "string",
            "fieldType": "text", "groupName": "contactinformation"});
        let (status, _) = portal.call("POST", "/crm/v3/properties/contacts", &body);
        assert_eq!(status, 201);
    }
    let site = Site::new(&portal);
    let text = proposed(
        &site,
        &portal,
        &["--all-properties", "--objects", "contacts"],
    );
    let lines = text.lines().filter(|line| line.starts_with("own_"));
    assert_eq!(lines.count(), 400);
    for (property, column) in [
        ("select", "select"),
        ("rowid", "rowid_value"),
        ("hs_id", "hs_id_value"),
        (&*long, &long[..63]),
    ] {
        let line = format!("{property} = \"{column}\"");
        assert!(
            text.lines().any(|shown| shown.starts_with(&line)),
            "{line}: {text}"
        );
    }
    assert!(
        text.contains("hs_searchable_calculated_phone_number = { column = "),
        "{text}"
    );
    let succeeds = |arguments: &[&str]| {
        let output = with_file(&site, "new.toml", arguments);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        output.stdout
    };
    succeeds(&["check"]);
    let page: Value =
        serde_json::from_slice(&succeeds(&["check", "--online", "--json"])).expect("JSON");
    assert_eq!(page["ok"], true);
    succeeds(&["once", "--timeout", "50s"]);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3);
    let nothing = succeeds(&["plan", "--json"]);
    assert_eq!(nothing.trim_ascii(), b"[]");
    site.execute("UPDATE contacts SET own_399 = 'ours' WHERE local_id = 1");
    let plan: Value = serde_json::from_slice(&succeeds(&["plan", "--json"])).expect("JSON");
    let fields = json!([{"property": "own_399", "old": null, "new": "ours"}]);
    assert_eq!(
        (&plan[0]["operation"], &plan[0]["fields"]),
        (&json!("update"), &fields)
    );
    succeeds(&["once", "--timeout", "50s"]);
    assert_eq!(portal.count_with("own_399", "ours"), 1);
    assert_eq!(portal.stand().violations().total(), 0);
}

#[test]
fn a_file_that_is_there_is_never_written_over_and_nothing_is_asked() {
    let portal = portal();
    let site = Site::new(&portal);
    std::fs::write(site.path("new.toml"), "mine").expect("written");
    let before = portal.stand().request_log().len();
    let output = init(&site, &portal, &["--out", "new.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("[file-exists]\nhint: "),
        "{}",
        told(&output)
    );
    assert_eq!(portal.stand().request_log().len(), before);
    let text = std::fs::read_to_string(site.path("new.toml")).expect("a file");
    assert_eq!(text, "mine");
    let output = init(&site, &portal, &["--out", "nowhere/new.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains(&format!("[{}]\nhint: ", produces("file-not-writable"))),
        "{}",
        told(&output)
    );
    assert_eq!(portal.stand().request_log().len(), before);
}

#[test]
fn names_of_objects_are_told_from_slips_of_the_pen() {
    let portal = portal();
    let site = Site::new(&portal);
    let output = init(&site, &portal, &["--objects", "contcts,deals,unicorns"]);
    assert_eq!(output.status.code(), Some(1));
    let text = told(&output);
    assert!(
        text.contains(
            "the portal has no object `contcts`, `unicorns` [object-unknown]\nhint: write `contacts` for `contcts`; name HubSpot's plural"
        ),
        "{text}"
    );
    let output = init(&site, &portal, &["--objects", ""]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    // However often and in whichever spelling one is named, it is one.
    let named = "contacts,contact,0-1,machine,contacts,companies,Machine";
    let output = init(&site, &portal, &["--objects", named]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for once in [
        "[objects.contacts]",
        "[objects.machine]",
        "contacts_companies = ",
    ] {
        assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
    }
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(
        progress.starts_with(
            "looking which objects the portal has\nreading the properties of contacts\n"
        ),
        "{progress}"
    );
}

#[test]
fn an_object_of_the_portals_own_may_be_called_nearly_like_one_of_hubspots() {
    let portal = portal();
    let now = portal.now_ms();
    for name in ["contracts", "tasks_"] {
        let object = NewObject {
            name,
            singular: "Own",
            plural: "Owns",
            texts: &["model"],
            unique: &[],
            required: &[],
            associated: &["contacts"],
        };
        portal.stand().create_object(object, now);
        portal.stand().create(name, &[("model", "M1")], now);
    }
    let site = Site::new(&portal);
    proposed(&site, &portal, &["--objects", "contacts,contracts,tasks_"]);
    let output = with_file(&site, "new.toml", &["once", "--timeout", "50s"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(site.number("SELECT count(*) FROM contracts"), 1);
}

#[test]
fn what_the_token_may_not_do_is_left_out_or_only_read() {
    let portal = portal();
    portal.stand().settings_mut().denied_scopes = BTreeSet::from([
        "crm.objects.companies.read".to_owned(),
        "crm.objects.deals.write".to_owned(),
    ]);
    let site = Site::new(&portal);
    let output = init(&site, &portal, &["--out", "new.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = std::fs::read_to_string(site.path("new.toml")).expect("a file");
    assert!(!text.contains("[objects.companies]"), "{text}");
    assert!(told(&output).contains("companies is left out: the token may not read companies"));
    assert!(
        text.contains("# the token may not write deals: scope `crm.objects.deals.write` is missing\n[objects.deals]\ndirection = \"pull\""),
        "{text}"
    );
    let mut words = text.replace(&portal.url(), "http://127.0.0.1:1");
    words.push_str("---- and on standard error:\n");
    words.push_str(&told(&output));
    insta::assert_snapshot!("denied", words);
    let output = checked(&site);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn portal_and_token_are_those_of_a_file_that_is_there() {
    let portal = portal();
    let site = Site::new(&portal);
    let output = site.run(&["init", "--objects", "deals"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let token = site.path("token").display().to_string();
    assert!(
        text.contains(&format!("access_token = {{ file = \"{token}\" }}")),
        "{text}"
    );
    assert!(
        text.contains(&format!("base_url = \"{}\"", portal.url())),
        "{text}"
    );
}
