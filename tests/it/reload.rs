//! A mapping file that is changed while the daemon runs: what is valid is in force without a restart, and what is not changes
//! nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use rustix::process::Signal;
use serde_json::json;

use crate::associations::both_name_one;
use crate::codes::produces;
use crate::commands::{get, get_with};
use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::links;
use crate::portal::Portal;
use crate::ports::free_port;
use crate::webhooks::{Door, certificate};

/// Polling alone would find nothing within a test.
const RARELY: &str = "[schedule]\npoll = \"1h\"\n";

const COMPANIES: &str = "[objects.companies.properties]\nname = \"name\"\n";

fn both() -> String {
    format!("{CONTACTS}{COMPANIES}")
}

/// Waits until the log says something more often than before; `what` is done meanwhile.
fn until_said(site: &Site, sentence: &str, what: impl FnOnce()) {
    let count = || site.log().matches(sentence).count();
    let before = count();
    what();
    eventually(sentence, || count() > before);
}

/// Puts another file in force.
fn reconfigure(site: &Site, portal: &Portal, settings: &str, objects: &str) {
    until_said(site, "the changed mapping file is in force", || {
        site.configure(portal, settings, objects);
    });
    assert_eq!(config_error(site), None);
}

fn config_error(site: &Site) -> Option<String> {
    site.text("SELECT config_error FROM sync_health")
}

/// The daemon is the one that was started, and its first load was not repeated.
fn nothing_began_anew(site: &Site) {
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_runs WHERE kind = 'backfill' AND object = 'contacts'"
        ),
        1
    );
}

#[test]
fn plain_settings_are_in_force_at_once_and_the_log_says_which() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::with(&portal, RARELY, CONTACTS);
    site.start_and_settle();
    portal.edit(id, &[("city", "Oslo")]);
    let settings = "[schedule]\npoll = \"1s\"\n[guard]\nmax_archives = 7\n[limits]\nburst_per_10_seconds = 90\n[retention]\nhistory = \"5d\"\n";
    site.configure(&portal, settings, CONTACTS);
    // By the poll of the new schedule.
    site.until_sql("SELECT city = 'Oslo' FROM contacts");
    site.until_sql("SELECT burst_limit = 90 FROM sync_quota");
    let log = site.log();
    for line in [
        "schedule.poll: \\\"1h\\\" → \\\"1s\\\"",
        "guard.max_archives: 100 → 7",
        "limits.burst_per_10_seconds: 190 → 90",
        "retention.history: \\\"90d\\\" → \\\"5d\\\"",
    ] {
        let plain = line.replace('\\', "");
        assert!(log.contains(line) || log.contains(&plain), "{line}\n{log}");
    }
    // Level and form of the log too, and a rename over the file as editors do it.
    let text = fs::read_to_string(site.path("config.toml")).expect("a file");
    let text = text.replace("format = \"text\"", "format = \"json\"");
    fs::write(site.path("config.toml~"), text).expect("written");
    fs::rename(site.path("config.toml~"), site.path("config.toml")).expect("renamed");
    eventually("JSON", || site.log().contains("{\"timestamp\""));
    nothing_began_anew(&site);
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn columns_and_objects_come_and_go_while_the_daemon_runs() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("phone", "123"), ("city", "Oslo")]);
    portal.fill("companies", 3);
    let mut site = Site::with(&portal, "", CONTACTS);
    site.start_and_settle();
    // A column more, one under another name, and an object.
    let more = CONTACTS.replace("city = \"city\"", "city = \"town\"\nphone = \"phone\"");
    reconfigure(&site, &portal, "", &format!("{more}{COMPANIES}"));
    site.until_sql("SELECT phone = '123' AND town = 'Oslo' FROM contacts");
    site.until_sql("SELECT count(*) = 3 FROM companies");
    site.until_sql("SELECT min(backfill = 'done') FROM sync_status");
    site.execute("UPDATE contacts SET phone = '456', town = 'Lima'");
    site.execute("UPDATE companies SET name = 'Acme' WHERE local_id = 1");
    site.until_pushed();
    assert_eq!(portal.value(id, "phone").as_deref(), Some("456"));
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    // The object taken out: its table stays, nothing of it is synced.
    reconfigure(&site, &portal, "", &more);
    assert_eq!(site.number("SELECT count(*) FROM sync_status"), 1);
    let write = "UPDATE companies SET name = 'Unseen' WHERE local_id = 2";
    let refused = site
        .program()
        .execute(write, [])
        .expect_err("it is not mapped");
    assert!(
        refused.to_string().contains("not in the mapping file"),
        "{refused}"
    );
    let gone = site
        .number("SELECT hs_id FROM companies WHERE local_id = 1")
        .cast_unsigned();
    let edited = site
        .number("SELECT hs_id FROM companies WHERE local_id = 2")
        .cast_unsigned();
    let now = portal.now_ms();
    portal.stand().archive("companies", gone, now);
    portal
        .stand()
        .edit("companies", edited, &[("name", "Edited")], now);
    // And put in again: it is compared, since no poll shows what was archived meanwhile.
    reconfigure(&site, &portal, "", &format!("{more}{COMPANIES}"));
    site.until_sql("SELECT name = 'Edited' FROM companies WHERE local_id = 2");
    site.until_sql("SELECT count(*) = 2 FROM companies");
    site.execute("UPDATE companies SET name = 'Seen' WHERE local_id = 3");
    site.until_pushed();
    nothing_began_anew(&site);
    assert_eq!(site.stop(), 0);
    let names: Vec<String> = {
        let stand = portal.stand();
        let records = stand.records("companies");
        let names = records.iter().filter_map(|record| record.value("name"));
        names.map(str::to_owned).collect()
    };
    assert!(names.contains(&"Seen".to_owned()), "{names:?}");
}

#[test]
fn a_pair_that_is_added_is_read_and_written_at_once() {
    let portal = Portal::quick();
    let contact = portal.contact("ann@example.com");
    portal.fill("companies", 1);
    let company = portal.stand().records("companies")[0].id();
    let day_ago = portal.now_ms() - 86_400_000;
    let ends = (("contacts", contact), ("companies", company));
    assert!(portal.stand().associate(ends.0, ends.1, day_ago));
    let mut site = Site::with(&portal, "", &both());
    site.start_and_settle();
    let pair = "[associations]\ncontacts_companies = { from = \"contacts\", to = \"companies\" }\n";
    reconfigure(&site, &portal, "", &format!("{}{pair}", both()));
    site.until_sql("SELECT count(*) FROM contacts_companies");
    reconfigure(&site, &portal, "", &both());
    let write = format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', {0}, 'companies', {0})",
        1
    );
    let refused = site
        .program()
        .execute(&write, [])
        .expect_err("no pair is mapped");
    assert!(refused.to_string().contains("[pair-unmapped]"), "{refused}");
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_is_in_flight_ends_before_the_mapping_is_another() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    portal.stand().faults_mut().slow_ms = 1_500;
    portal.script(FaultKind::Slow, 1, "/contacts/batch/update");
    let before = portal.requests("/contacts/batch/update");
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'in_flight'");
    let other = CONTACTS.replace("city = \"city\"", "city = \"town\"");
    reconfigure(&site, &portal, "", &other);
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(
        site.text("SELECT town FROM contacts").as_deref(),
        Some("Lima")
    );
    assert_eq!(portal.requests("/contacts/batch/update") - before, 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_first_load_goes_on_from_where_it_was() {
    let portal = Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        latency_min_ms: 60,
        latency_max_ms: 60,
        ..Settings::default()
    });
    portal.fill("contacts", 2_000);
    let mut site = Site::new(&portal);
    site.start();
    site.until_sql("SELECT count(*) FROM contacts");
    let more = format!("{CONTACTS}phone = \"phone\"\n");
    reconfigure(&site, &portal, "", &more);
    site.wait_loaded();
    site.until_sql("SELECT count(*) = 2000 FROM contacts");
    site.until_sql("SELECT state = 'active' FROM sync_fields WHERE property = 'phone'");
    nothing_began_anew(&site);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_every_mistake_is_told() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let good = fs::read_to_string(site.path("config.toml")).expect("a file");
    let bad = format!("{good}\n[guard]\nmax_archivs = 7\nwindow = \"soon\"\n");
    fs::write(site.path("config.toml"), &bad).expect("written");
    site.until_sql("SELECT config_error IS NOT NULL FROM sync_health");
    let told = config_error(&site).unwrap_or_default();
    assert!(
        told.contains("max_archivs") && told.contains("soon"),
        "{told}"
    );
    assert!(told.starts_with("config.toml:"), "{told}");
    assert_eq!(
        site.text("SELECT state || ' ' || code FROM sync_health")
            .as_deref(),
        Some("degraded unknown-key")
    );
    let log = site.log();
    assert!(
        log.contains("max_archivs") && log.contains("`soon`"),
        "{log}"
    );
    // What was in force goes on.
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    fs::remove_file(site.path("config.toml")).expect("removed");
    site.until_sql("SELECT code = 'unreadable' FROM sync_health");
    fs::write(site.path("config.toml"), &good).expect("written");
    site.until_sql("SELECT config_error IS NULL AND state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_the_database_refuses_leaves_the_former_mapping_at_work() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let refused = site.program();
    refused
        .execute_batch("CREATE TABLE people (name TEXT)")
        .expect("a program's table");
    let other = format!("[objects.contacts]\ntable = \"people\"\n{CONTACTS}");
    site.configure(&portal, "", &other);
    site.until_sql("SELECT config_error LIKE '%people%' FROM sync_health");
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    // Nothing of a file that is refused is in force, and it is told once.
    site.configure(&portal, "[limits]\nburst_per_10_seconds = 90\n", &other);
    site.until_sql("SELECT config_error LIKE '%people%' FROM sync_health");
    assert_eq!(site.number("SELECT burst_limit FROM sync_quota"), 190);
    assert!(!site.log().contains("limits.burst_per_10_seconds"));
    // Out of the way, the same file is in force without a word.
    refused.execute_batch("DROP TABLE people").expect("dropped");
    site.until_sql("SELECT count(*) FROM pragma_table_info('people') WHERE name = 'local_id'");
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    assert_eq!(
        site.text("SELECT city FROM people").as_deref(),
        Some("Lima")
    );
    site.until_sql("SELECT burst_limit = 90 FROM sync_quota");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_changed_mapping_waits_for_hubspot_while_the_former_one_goes_on() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    portal.script(FaultKind::InternalError, 30, "/account-info");
    until_said(&site, "the changed mapping file waits", || {
        site.configure(&portal, "", &both());
    });
    site.until_sql("SELECT config_error LIKE 'the changed mapping file waits: %' FROM sync_health");
    assert_eq!(site.number("SELECT count(*) FROM sync_status"), 1);
    portal.stand().faults_mut().scripts.clear();
    site.until_sql("SELECT count(*) = 2 FROM sync_status");
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_file_that_is_taken_back_while_hubspot_is_away_leaves_no_state_behind() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::with(&portal, RARELY, CONTACTS);
    site.start_and_settle();
    portal.script(FaultKind::BadGateway, 10_000, "");
    site.configure(&portal, RARELY, &both());
    site.until_sql("SELECT state = 'unreachable' FROM sync_health");
    site.configure(&portal, RARELY, CONTACTS);
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    portal.stand().faults_mut().scripts.clear();
    // Nothing is due for an hour.
    site.until_sql("SELECT state = 'running' AND last_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_right_file_on_its_way_is_taken_back_by_whatever_is_written_over_it() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let good = fs::read_to_string(site.path("config.toml")).expect("a file");
    portal.stand().faults_mut().slow_ms = 1_000;
    let spoil = |name: &str, text: Option<&str>| {
        let path = site.path(name);
        match text {
            Some(text) => fs::write(path, text).expect("written"),
            None => fs::remove_file(path).expect("removed"),
        }
    };
    let mistaken = format!("{good}{COMPANIES}[guard]\nmax_archivs = 7\n");
    for (name, text, code) in [
        ("config.toml", Some(mistaken.as_str()), "unknown-key"),
        ("config.toml", None, "unreadable"),
        ("token", None, "secret-unreadable"),
    ] {
        let asked = || portal.requests("/account-info");
        let before = asked();
        portal.script(FaultKind::Slow, 1, "/account-info");
        site.configure(&portal, "", &both());
        eventually("HubSpot is asked", || asked() > before);
        spoil(name, text);
        let stands = format!("SELECT code = '{code}' AND state = 'degraded' FROM sync_health");
        site.until_sql(&stands);
        // The answer for the former text comes after a second.
        wait(Duration::from_millis(2_500));
        assert_eq!(site.number(&stands), 1, "{name}: {}", site.log());
        assert_eq!(site.number("SELECT count(*) FROM sync_status"), 1, "{name}");
        fs::write(site.path("token"), DEFAULT_TOKEN).expect("written");
        fs::set_permissions(site.path("token"), fs::Permissions::from_mode(0o600))
            .expect("nobody else reads it");
        fs::write(site.path("config.toml"), &good).expect("written");
        site.until_sql("SELECT config_error IS NULL AND state = 'running' FROM sync_health");
    }
    assert!(!site.log().contains("companies: new"), "{}", site.log());
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_bad_file_keeps_no_start_from_coming_to_its_end() {
    // The schema takes longer to be read than it takes until a refused file is tried again.
    let portal = Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        latency_min_ms: 1_500,
        latency_max_ms: 1_500,
        ..Settings::default()
    });
    portal.contact("ann@example.com");
    let mut site = Site::with(&portal, "", &both());
    let good = fs::read_to_string(site.path("config.toml")).expect("a file");
    site.start();
    eventually("HubSpot is asked", || portal.requests("/account-info") > 0);
    fs::write(site.path("config.toml"), format!("{good}[broken\n")).expect("written");
    site.until_sql("SELECT config_error IS NOT NULL FROM sync_health");
    site.until_sql("SELECT state <> 'starting' FROM sync_health");
    assert_eq!(portal.requests("/account-info"), 1);
    site.wait_loaded();
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_file_that_the_mirror_refuses_ends_no_start_that_waits_for_hubspot() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.once();
    site.execute("CREATE TABLE companies (a)");
    let good = fs::read_to_string(site.path("config.toml")).expect("a file");
    portal.script(FaultKind::BadGateway, 6, "/account-info");
    site.start();
    eventually("HubSpot is asked", || portal.requests("/account-info") > 1);
    // A program's table has the name that the new object's would have.
    let other = good.replace(
        "[objects.contacts",
        "[objects.companies]\n[objects.contacts",
    );
    fs::write(site.path("config.toml"), other).expect("written");
    site.until_sql("SELECT state <> 'starting' AND state <> 'unreachable' FROM sync_health");
    site.until_sql("SELECT config_error LIKE '%companies%' FROM sync_health");
    site.execute("UPDATE contacts SET city = 'Oslo'");
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Oslo"), 1);
    fs::write(site.path("config.toml"), good).expect("written");
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_is_in_force() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let text = fs::read_to_string(site.path("config.toml")).expect("a file");
    let text = text
        .replace("path = \"crm.db\"", "path = \"other.db\"")
        .replace("tier = \"professional\"", "tier = \"enterprise\"")
        .replace(
            "[log]\nlevel = \"debug\"",
            "[retention]\nruns = \"9d\"\n[log]\nlevel = \"debug\"",
        );
    until_said(&site, "retention.runs: ", || {
        fs::write(site.path("config.toml"), text).expect("written");
    });
    let log = site.log();
    for key in ["database.path: ", "portal.tier: "] {
        let line = log.lines().find(|line| line.contains(key)).expect(key);
        assert!(line.contains("; this needs a restart"), "{line}");
    }
    let line = log.lines().find(|line| line.contains("retention.runs: "));
    assert!(!line.unwrap_or_default().contains("needs a restart"));
    assert!(!site.path("other.db").exists());
    assert_eq!(config_error(&site), None);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_token_that_is_rotated_in_its_file_is_sent_from_then_on_unless_it_is_another_portals() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let rotated = "pat-na1-62222222-2222-4333-8444-555555555555";
    portal
        .stand()
        .settings_mut()
        .tokens
        .0
        .push(rotated.to_owned());
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    until_said(&site, "requests are sent with another token", || {
        fs::write(site.path("token"), rotated).expect("written");
    });
    site.until_sql("SELECT state = 'running' FROM sync_health");
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert!(!site.log().contains(rotated), "a secret in the log");
    // The same file with a token of another portal: nothing is sent with it.
    portal.stand().settings_mut().portal_id += 1;
    portal
        .stand()
        .settings_mut()
        .tokens
        .0
        .push("pat-na1-7".to_owned());
    fs::write(site.path("token"), "pat-na1-7").expect("written");
    site.until_sql("SELECT code = 'other-portal' AND config_error IS NOT NULL FROM sync_health");
    portal.stand().settings_mut().portal_id -= 1;
    site.execute("UPDATE contacts SET city = 'Rome'");
    site.until_pushed();
    assert_eq!(site.stop(), 0);
}

#[test]
fn listeners_come_go_and_take_another_secret_without_a_caller_noticing() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let mut site = Door::site_with(&portal, RARELY, CONTACTS);
    site.start_and_settle();
    let (first, second) = (free_port(), free_port());
    let http = |port: u16| format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let door = Door::new();
    let settings = |port: u16| format!("{RARELY}{}{}", http(port), door.settings(""));
    site.configure(&portal, &settings(first), CONTACTS);
    door.until_open();
    eventually("health", || {
        get(first, "/readyz").starts_with("HTTP/1.1 200")
    });
    let event = |number: u64, city: &str| {
        json!([{
            "eventId": number, "subscriptionId": 1, "portalId": site.number("SELECT portal_id FROM sync_health"), "appId": 1,
            "occurredAt": portal.now_ms(), "subscriptionType": "contact.propertyChange", "attemptNumber": 0,
            "objectId": ann, "propertyName": "city", "propertyValue": city, "changeSource": "CRM"
        }])
    };
    portal.edit(ann, &[("city", "Oslo")]);
    assert_eq!(door.deliver(&portal, &event(1, "Oslo")), 204);
    site.until_sql("SELECT city = 'Oslo' FROM contacts");
    // Another secret in its file, while the door stays open.
    until_said(&site, "webhooks are taken", || {
        fs::write(site.path("secret"), "another-secret").expect("written");
    });
    assert_eq!(door.deliver(&portal, &event(2, "Lima")), 401);
    until_said(&site, "webhooks are taken", || {
        fs::write(
            site.path("secret"),
            hubsyncd::simulator::webhooks::DEFAULT_SECRET,
        )
        .expect("written");
    });
    assert_eq!(door.deliver(&portal, &event(3, "Oslo")), 204);
    // A port that somebody else has: nothing changes.
    let port = free_port();
    let occupied = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    site.configure(&portal, &settings(port), CONTACTS);
    site.until_sql("SELECT code = 'address-taken' FROM sync_health");
    assert!(get(first, "/readyz").starts_with("HTTP/1.1 200"));
    // Once it is free, health is served there, and nobody has to say so.
    drop(occupied);
    eventually("health on a port that became free", || {
        get(port, "/readyz").starts_with("HTTP/1.1 200")
    });
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    site.configure(&portal, &format!("{RARELY}{}", http(second)), CONTACTS);
    eventually("health", || {
        get(second, "/readyz").starts_with("HTTP/1.1 200")
    });
    eventually("the doors are shut", || {
        let shut = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
        shut(first) && shut(port) && !door.is_open()
    });
    assert_eq!(site.stop(), 0);
}

/// Makes the site's file a link as Kubernetes mounts a volume.
fn mount(site: &Site) {
    let folder = site.path("..1");
    fs::create_dir(&folder).expect("a folder");
    fs::rename(site.path("config.toml"), folder.join("config.toml")).expect("moved");
    symlink("..1", site.path("..data")).expect("a link");
    symlink("..data/config.toml", site.path("config.toml")).expect("a link");
}

#[test]
fn a_volume_of_links_that_is_exchanged_is_another_file() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    mount(&site);
    let text = fs::read_to_string(site.path("config.toml")).expect("a file");
    site.start_and_settle();
    let folder = site.path("..2");
    fs::create_dir(&folder).expect("a folder");
    fs::write(
        folder.join("config.toml"),
        format!("{text}phone = \"phone\"\n"),
    )
    .expect("written");
    until_said(&site, "the changed mapping file is in force", || {
        symlink("..2", site.path("..tmp")).expect("a link");
        fs::rename(site.path("..tmp"), site.path("..data")).expect("exchanged");
    });
    site.until_sql("SELECT count(*) FROM sync_fields WHERE property = 'phone'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn the_service_manager_hears_of_a_reload_and_of_its_end() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    let socket = UnixDatagram::bind(site.path("notify")).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let mut command = site.command(&["run"]);
    command.env("NOTIFY_SOCKET", site.path("notify"));
    site.start_by(command);
    site.wait_loaded();
    let next = |word: &str| {
        let mut buffer = [0; 1_024];
        loop {
            let length = socket.recv(&mut buffer).expect(word);
            let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if told.contains(word) {
                return told;
            }
        }
    };
    next("READY=1");
    until_said(&site, "says what it said before", || {
        site.signal(Signal::HUP);
    });
    let told = next("RELOADING=1");
    let time = told
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(
        time.is_some_and(|time| time.parse::<u64>().is_ok()),
        "{told}"
    );
    next("READY=1");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_terminal_that_goes_away_ends_the_daemon_in_order() {
    let portal = Portal::quick();
    portal.fill("contacts", 5);
    let mut site = Site::new(&portal);
    let run = site.command(&["run"]);
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    // A terminal of its own, which is gone with its owner.
    let mut command = Command::new("script");
    command
        .args([
            "-q",
            "-c",
            &format!("exec {}", words.join(" ")),
            "/dev/null",
        ])
        .current_dir(Path::new("/"))
        .env_remove("HUBSPOT_ACCESS_TOKEN")
        .stdin(Stdio::null());
    site.start_by(command);
    site.until_sql("SELECT min(backfill = 'done') FROM sync_status");
    site.kill();
    site.until_sql("SELECT phase = 'stopped' FROM _sync_daemon");
}

#[test]
fn a_secret_that_is_not_there_is_a_mistake_like_any_other() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_settle();
    fs::set_permissions(site.path("token"), fs::Permissions::from_mode(0o600)).expect("ours");
    fs::remove_file(site.path("token")).expect("removed");
    site.until_sql(
        "SELECT code = 'secret-unreadable' AND config_error IS NOT NULL FROM sync_health",
    );
    fs::write(site.path("token"), DEFAULT_TOKEN).expect("written");
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

/// A request that HubSpot takes its time for: longer than the test needs, shorter than its patience.
const SLOW_MS: u64 = 25_000;

#[test]
fn other_objects_and_their_requests_go_on_while_one_is_changed() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    portal.fill("companies", 1);
    let mut site = Site::with(&portal, RARELY, &both());
    site.start_and_settle();
    portal.stand().faults_mut().slow_ms = SLOW_MS;
    portal.script(FaultKind::Slow, 1, "/companies/batch/update");
    site.execute("UPDATE companies SET name = 'Acme'");
    let in_flight =
        "SELECT count(*) FROM sync_outbox WHERE object = 'companies' AND state = 'in_flight'";
    site.until_sql(in_flight);
    let more = format!("{CONTACTS}phone = \"phone\"\n{COMPANIES}");
    reconfigure(&site, &portal, RARELY, &more);
    site.until_sql("SELECT count(*) FROM sync_fields WHERE property = 'phone'");
    assert_eq!(
        site.number(in_flight),
        1,
        "nobody has waited for its answer"
    );
    // Who wins and when HubSpot is asked asks nobody.
    let asked = portal.requests("/account-info");
    let settings = format!("{RARELY}[conflicts]\npolicy = \"manual\"\n");
    reconfigure(&site, &portal, &settings, &more);
    assert_eq!(site.number(in_flight), 1);
    assert_eq!(portal.requests("/account-info"), asked);
    nothing_began_anew(&site);
    site.until_pushed();
    assert_eq!(site.stop(), 0);
}

#[test]
fn another_policy_decides_the_next_conflict_while_hubspot_answers_for_no_mapping() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::with(&portal, RARELY, CONTACTS);
    site.start_and_settle();
    portal.script(FaultKind::InternalError, 1_000, "/account-info");
    let settings = format!("{RARELY}[conflicts]\npolicy = \"manual\"\n");
    reconfigure(&site, &portal, &settings, CONTACTS);
    portal.edit(id, &[("city", "Oslo")]);
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql(
        "SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL AND policy = 'manual'",
    );
    assert_eq!(portal.value(id, "city").as_deref(), Some("Oslo"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_certificate_that_turns_bad_is_told_until_it_is_mended() {
    let portal = Portal::quick();
    let door = Door::new();
    let tls = door.settings("tls = { cert = \"cert.pem\", key = \"key.pem\" }");
    let mut site = Door::site_with(&portal, &format!("{RARELY}{tls}"), CONTACTS);
    let (_, cert, key) = certificate();
    fs::write(site.path("cert.pem"), &cert).expect("written");
    fs::write(site.path("key.pem"), key).expect("written");
    site.start_and_settle();
    fs::write(site.path("cert.pem"), "no certificate").expect("written");
    site.until_sql(&format!(
        "SELECT code = '{}' AND state = '{}' FROM sync_health",
        produces("bad-certificate"),
        produces("degraded")
    ));
    assert!(config_error(&site).unwrap_or_default().contains("cert.pem"));
    assert!(door.is_open());
    fs::write(site.path("cert.pem"), cert).expect("written");
    site.until_sql("SELECT config_error IS NULL AND state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

/// Asks with a token; the status, or nothing where nobody listens.
fn status_of(port: u16, path: &str, authorization: &str) -> String {
    let answer = get_with(port, path, &format!("Authorization: {authorization}\r\n"));
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn an_address_that_includes_its_own_port_takes_its_place_and_asks_for_a_token() {
    let portal = Portal::quick();
    let port = free_port();
    let http = |address: &str, more: &str| {
        format!("{RARELY}[http]\nlisten = \"{address}:{port}\"\n{more}")
    };
    let mut site = Site::with(&portal, &http("127.0.0.1", ""), CONTACTS);
    fs::write(site.path("http-token"), "hush").expect("written");
    site.start_and_settle();
    assert!(get(port, "/metrics").starts_with("HTTP/1.1 200"));
    // Without a token it is a mistake of the file.
    site.configure(&portal, &http("0.0.0.0", ""), CONTACTS);
    site.until_sql("SELECT code = 'open-address' FROM sync_health");
    // What else the file asks for can't be had: what listened listens.
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let door = Door::at(occupied.local_addr().expect("an address"));
    fs::write(site.path("secret"), "another").expect("written");
    let token = "token = { file = \"http-token\" }\n";
    let open = http("0.0.0.0", token);
    site.configure(&portal, &format!("{open}{}", door.settings("")), CONTACTS);
    site.until_sql("SELECT code = 'address-taken' FROM sync_health");
    eventually("health as before", || {
        get(port, "/metrics").starts_with("HTTP/1.1 200")
    });
    site.configure(&portal, &open, CONTACTS);
    eventually("the token is asked for", || {
        get(port, "/metrics").starts_with("HTTP/1.1 401")
    });
    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(status_of(port, "/metrics", "Bearer hush"), "200");
    assert_eq!(status_of(port, "/metrics", "Bearer hushed"), "401");
    // Another token in its file, while the socket stays open.
    fs::write(site.path("http-token"), "hushed").expect("written");
    eventually("the other token", || {
        status_of(port, "/metrics", "Bearer hushed") == "200"
    });
    assert_eq!(status_of(port, "/metrics", "Bearer hush"), "401");
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    assert!(!site.log().contains("hush"), "a secret in the log");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_secret_that_comes_later_than_its_file_heals_what_was_refused() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, RARELY, CONTACTS);
    site.start_and_settle();
    let door = Door::new();
    site.configure(&portal, &format!("{RARELY}{}", door.settings("")), CONTACTS);
    site.until_sql("SELECT code = 'secret-unreadable' FROM sync_health");
    assert!(!door.is_open());
    fs::write(site.path("secret"), "hush").expect("written");
    eventually("the door", || door.is_open());
    site.until_sql("SELECT config_error IS NULL AND state = 'running' FROM sync_health");
    let told = site.log().matches("is not in force").count();
    assert_eq!(told, 1, "each refusal is told once");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_pair_that_gets_another_name_keeps_what_waits_and_a_decision_about_what_left_the_file_goes_back()
 {
    let (portal, mut site, [_, ours]) = both_name_one("manual");
    site.until_pushed();
    let objects = links::OBJECTS.replace(" }", ", conflict = \"manual\" }");
    let renamed = objects.replace("contacts_companies", "staff");
    reconfigure(&site, &portal, "", &renamed);
    let open = "SELECT count(*) FROM sync_conflicts WHERE object = 'staff' AND resolved_at IS NULL";
    site.until_sql(open);
    let former = "SELECT count(*) FROM sync_history WHERE object = 'contacts_companies'";
    assert_eq!(site.number(former), 0);
    assert_eq!(
        site.number("SELECT conflicts FROM sync_status WHERE object = 'contacts'"),
        1
    );
    let primary = "SELECT o.hs_id FROM staff AS l JOIN companies AS o ON o.local_id = l.companies_local_id WHERE l.is_primary";
    assert_eq!(site.number(primary).cast_unsigned(), ours);
    // Nobody can carry out what is decided about a pair that is in the file no more.
    reconfigure(
        &site,
        &portal,
        "",
        "[objects.contacts]\n[objects.companies]\n",
    );
    site.execute("UPDATE sync_conflicts SET resolution = 'remote'");
    site.until_sql(
        "SELECT count(*) FROM sync_conflicts WHERE resolution IS NULL AND resolved_at IS NULL
         AND reason = '`staff` is no longer in the mapping file: write it there again, then decide'",
    );
    let id = site.number("SELECT id FROM sync_conflicts").to_string();
    let refused = site.run(&["conflicts", "resolve", &id, "--take", "remote"]);
    let explanation = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{explanation}");
    assert!(
        explanation.contains("`staff` is no longer in the mapping file"),
        "{explanation}"
    );
    reconfigure(&site, &portal, "", &renamed);
    // Back in the file, it waits for a decision as before, and says so.
    site.until_sql(
        "SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL AND reason = 'waits for a decision'",
    );
    site.execute("UPDATE sync_conflicts SET resolution = 'remote'");
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE winner = 'remote'");
    site.until_pushed();
    links::until_equal(&site, &portal);
    assert_eq!(site.stop(), 0);
}
