//! The codes of what a command can't do, in brackets behind its sentence.

use std::fs;
use std::process::Stdio;

use hubsyncd::simulator::settings::Settings;
use hubsyncd::simulator::webhooks::{ClientSecret, Webhooks};
use serde_json::json;

use super::{produces, says};
use crate::clocks::Clocks;
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::way::{Meets, Way};
use crate::webhooks::Door;

/// A command ends with this status, and with this code behind its sentence.
fn ends(site: &Site, arguments: &[&str], status: i32, code: &str) {
    let output = site.run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says(&told, code), "{told}");
    assert_eq!(output.status.code(), Some(status), "{told}");
}

fn instead(site: &Site, what: &str, other: &str) {
    let file = site.path("config.toml");
    let text = fs::read_to_string(&file).expect("the mapping file");
    assert!(text.contains(what), "{text}");
    fs::write(&file, text.replace(what, other)).expect("written");
}

#[test]
fn secrets_and_numbers_that_are_not_there_are_told_by_their_codes() {
    let site = Site::new(&Portal::quick());
    fs::write(site.path("token"), "\n").expect("written");
    ends(&site, &["once"], 78, produces("secret-empty"));
    fs::write(site.path("token"), "no\u{1}token").expect("written");
    ends(&site, &["once"], 78, produces("secret-malformed"));
    instead(
        &site,
        "[portal]\n",
        "[portal]\nid = { env = \"PORTAL_OF_THE_TEST\" }\n",
    );
    fs::write(site.path("token"), "a-token").expect("written");
    let output = site
        .command(&["once"])
        .env("PORTAL_OF_THE_TEST", "mine")
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says(&told, produces("no-portal-id")), "{told}");
    assert_eq!(output.status.code(), Some(78), "{told}");
}

#[test]
fn an_address_that_is_no_base_url_is_told_by_its_code() {
    let site = Site::new(&Portal::quick());
    ends(
        &site,
        &["init", "--base-url", "ftp://crm.example.com"],
        78,
        produces("bad-base-url"),
    );
}

#[test]
fn what_is_to_be_undone_and_is_not_there_is_told_by_its_code() {
    let portal = Portal::quick();
    portal.fill("contacts", 1);
    let site = Site::new(&portal);
    site.once();
    ends(&site, &["undo", "--run", "999"], 2, produces("unknown-run"));
    ends(
        &site,
        &[
            "undo", "--since", "1h", "--object", "contacts", "--column", "nix",
        ],
        2,
        produces("unknown-column"),
    );
}

#[test]
fn a_record_that_is_gone_is_not_turned_back() {
    let portal = Portal::quick();
    let id = portal.contact("ada@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.once();
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", id, now));
    let output = site.run(&["once", "--reconcile"]);
    assert!(output.status.success(), "{output:?}");
    let changed = site.number("SELECT id FROM sync_history WHERE property = 'city'");
    let output = site.run(&["undo", "--ids", &changed.to_string(), "--dry-run", "--json"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains(&format!("\"code\":\"{}\"", produces("gone"))),
        "{told}"
    );
}

#[test]
fn subscriptions_that_can_not_be_made_are_told_by_their_codes() {
    let plain = Site::new(&Portal::quick());
    ends(&plain, &["webhooks", "list"], 78, produces("no-webhooks"));
    let key = "dev-0000-key";
    let portal = Portal::with(Settings {
        developer_key: Some(ClientSecret(key.to_owned())),
        webhooks: Some(Webhooks::default()),
        ..Settings::quick()
    });
    let door = Door::new();
    let settings = door.settings("app_id = 1160452\ndeveloper_key = { file = \"key\" }");
    let site = Door::site_with(&portal, &settings, CONTACTS);
    fs::write(site.path("key"), key).expect("written");
    let apply = ["webhooks", "apply", "--yes", "--project", "project"];
    ends(&site, &apply, 1, produces("no-project"));
    let file = site.path("project/src/app/webhooks/webhooks-hsmeta.json");
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(site.path("project/hsproject.json"), "{}").expect("written");
    fs::write(file, "[]").expect("written");
    ends(&site, &apply, 1, produces("no-project-file"));
    let properties: Vec<String> = (0..1_100)
        .map(|number| format!("p{number} = \"c{number}\""))
        .collect();
    let many = format!("[objects.contacts.properties]\n{}", properties.join("\n"));
    let site = Door::site_with(&portal, &settings, &many);
    fs::write(site.path("key"), key).expect("written");
    ends(
        &site,
        &["webhooks", "list"],
        1,
        produces("too-many-subscriptions"),
    );
}

#[test]
fn one_command_at_a_time_asks_hubspot() {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let site = Site::new(&portal);
    site.once();
    let way = Way::to(&portal);
    instead(&site, &portal.url(), &way.url());
    way.obstruct("", Meets::Silence);
    let mut first = site
        .command(&["plan", "--online"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    site.execute("UPDATE contacts SET city = 'Lima'");
    eventually("the first one asks", || way.met() > 0);
    // A minute and a quarter pass for the second one.
    let clocks = Clocks::of(&site);
    let mut second = clocks
        .command(&site, &["plan", "--online"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut passed = 0;
    eventually("the second one gives up", || {
        passed += 2;
        clocks.set("STEADY_OFF_BY", passed);
        second.try_wait().expect("a child").is_some()
    });
    let output = second.wait_with_output().expect("it ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says(&told, produces("no-lease")), "{told}");
    first.kill().expect("it is killed");
    first.wait().expect("it ended");
}

#[test]
fn a_record_that_is_to_be_erased_and_is_shown_still_is_told_by_its_code() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ada@example.com");
    let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    let deletion = json!([{"objectId": id, "subscriptionType": "contact.privacyDeletion", "eventId": 1,
        "subscriptionId": 1, "portalId": portal.stand().settings().portal_id, "appId": 1_160_452,
        "occurredAt": portal.now_ms(), "attemptNumber": 0}]);
    assert_eq!(door.deliver(&portal, &deletion), 204);
    site.until_sql("SELECT count(*) FROM _sync_reads");
    assert_eq!(site.stop(), 0);
    let output = site.run(&["once", "--timeout", "3s"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(says(&told, produces("erasure-waits")), "{told}");
}

#[test]
fn a_command_by_sql_that_can_not_be_carried_out_is_told_by_its_code() {
    let portal = Portal::quick();
    portal.fill("companies", 3);
    let site = Site::with(&portal, "", &format!("{CONTACTS}[objects.companies]\n"));
    site.once();
    let scope = "crm.objects.companies.read".to_owned();
    portal.stand().settings_mut().denied_scopes.insert(scope);
    site.execute(
        "INSERT INTO sync_commands (command, object, argument) VALUES ('refetch', 'companies', '101')",
    );
    let output = site.run(&["once", "--timeout", "20s"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        site.text("SELECT state || ' ' || code FROM sync_commands"),
        Some(format!("failed {}", produces("command-failed"))),
        "{told}"
    );
}
