//! `/metrics`: what is measured reads as `OpenMetrics`, under the names of the contract, and rules and dashboard ask for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::commands::{get, get_with};
use crate::daemon::{CONTACTS, eventually};
use crate::portal::Portal;
use crate::ports::free_port;
use crate::webhooks::Door;

/// The names of `design.md` 6.4 and `contract-operations.md` 5.
const PROMISED: [&str; 19] = [
    "hubsyncd_requests_total{class,outcome}",
    "hubsyncd_request_duration_seconds{class}",
    "hubsyncd_quota_remaining{window}",
    "hubsyncd_outbox_entries{object,state}",
    "hubsyncd_outbox_oldest_seconds{object}",
    "hubsyncd_dead_entries{object}",
    "hubsyncd_open_conflicts{object}",
    "hubsyncd_conflicts_total{object,winner}",
    "hubsyncd_lag_seconds{object}",
    "hubsyncd_changes_total{object,origin}",
    "hubsyncd_webhook_deliveries_total{outcome}",
    "hubsyncd_database_bytes{}",
    "hubsyncd_wal_bytes{}",
    "hubsyncd_commit_duration_seconds{}",
    "hubsyncd_state{state}",
    "hubsyncd_write_lock_seconds{work}",
    "hubsyncd_checkpoint_duration_seconds{}",
    "hubsyncd_merges_total{object,outcome}",
    "hubsyncd_echoes_total{object}",
];

/// The samples of a text by name and labels. Fails where the text is no `OpenMetrics` 1.0.
fn samples(text: &str) -> BTreeMap<(String, String), f64> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    let mut family = (String::new(), String::new());
    let mut buckets: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for line in body.lines() {
        assert!(!line.is_empty(), "an empty line");
        if let Some(meta) = line.strip_prefix("# ") {
            let mut parts = meta.splitn(3, ' ');
            let (word, name) = (parts.next().expect("a word"), parts.next().expect("a name"));
            let rest = parts.next().expect("a text");
            match word {
                "HELP" => assert!(!kinds.contains_key(name), "{name} stands twice"),
                "TYPE" => {
                    family = (name.to_owned(), rest.to_owned());
                    let former = kinds.insert(name.to_owned(), rest.to_owned());
                    assert_eq!(former, None, "{name} has two types");
                }
                other => panic!("# {other}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("a closed brace")),
            None => (series, ""),
        };
        let letters = |text: &str| {
            text.bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        };
        assert!(letters(name), "{line}");
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (key, text) = label.split_once("=\"").expect("a label");
            assert!(
                letters(key) && !text.trim_end_matches('"').contains('\n'),
                "{line}"
            );
        }
        let number: f64 = value.parse().expect("a number");
        let suffix = name
            .strip_prefix(family.0.as_str())
            .expect("its own family");
        let is_of_kind = match family.1.as_str() {
            "counter" => suffix == "_total" && number >= 0.0,
            "gauge" => suffix.is_empty(),
            "histogram" => ["_bucket", "_count", "_sum"].contains(&suffix),
            _ => false,
        };
        assert!(is_of_kind, "{line} in a {}", family.1);
        if suffix == "_bucket" {
            let others = labels.split(',').filter(|label| !label.starts_with("le="));
            let others: Vec<&str> = others.filter(|label| !label.is_empty()).collect();
            let key = format!("{}{{{}}}", family.0, others.join(","));
            buckets
                .entry(key)
                .or_default()
                .push((labels.to_owned(), number));
        }
        let former = samples.insert((name.to_owned(), labels.to_owned()), number);
        assert_eq!(former, None, "{series} stands twice");
    }
    for (series, buckets) in buckets {
        assert!(
            buckets.is_sorted_by(|one, next| one.1 <= next.1),
            "{series}: {buckets:?}"
        );
        let (labels, all) = buckets.last().expect("a bucket");
        assert!(labels.contains("le=\"+Inf\""), "{series}");
        let (name, own) = series.split_once('{').expect("labels");
        let own = own.trim_end_matches('}').to_owned();
        let count = samples[&(format!("{name}_count"), own)];
        assert!((count - all).abs() < 0.5, "{series}");
    }
    samples
}

/// Every name that is shown, with the names of its labels; a histogram's without its parts.
fn names(samples: &BTreeMap<(String, String), f64>) -> BTreeSet<String> {
    let of = |(name, labels): &(String, String)| {
        let keys = labels.split(',').filter_map(|label| label.split_once('='));
        let keys: Vec<&str> = keys
            .map(|(key, _)| key)
            .filter(|key| *key != "le")
            .collect();
        let bases = ["_bucket", "_count", "_sum"].iter();
        let name = bases.fold(name.as_str(), |name, part| {
            name.strip_suffix(part).unwrap_or(name)
        });
        format!("{name}{{{}}}", keys.join(","))
    };
    samples.keys().map(of).collect()
}

fn file(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect(name)
}

/// The names that a text asks for.
fn asked_for(text: &str) -> BTreeSet<String> {
    let pieces = text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
    let names = pieces.filter(|piece| piece.starts_with("hubsyncd_"));
    let bases = |name: &str| name.trim_end_matches("_bucket").to_owned();
    names.map(bases).collect()
}

/// Runs `promtool`, where it is installed.
fn promtool(arguments: &[&str], input: &str) {
    let begun = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = begun else { return };
    let sent = child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes());
    drop(sent);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn what_is_measured_reads_as_openmetrics_under_the_promised_names() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let (port, door) = (free_port(), Door::new());
    let settings = format!(
        "[schedule]\npoll = \"1h\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n[conflicts]\npolicy = \"remote\"\n{}",
        door.settings("")
    );
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    // Both sides change one field: HubSpot's wins, by a webhook.
    let event = json!([{
        "eventId": 1, "subscriptionId": 1, "portalId": site.number("SELECT portal_id FROM sync_health"), "appId": 1,
        "occurredAt": portal.now_ms(), "subscriptionType": "contact.propertyChange", "attemptNumber": 0,
        "objectId": ann, "propertyName": "city", "propertyValue": "Oslo", "changeSource": "CRM"
    }]);
    portal.edit(ann, &[("city", "Oslo")]);
    site.execute("UPDATE contacts SET city = 'Lima', first_name = 'Anna'");
    site.until_pushed();
    assert_eq!(door.deliver(&portal, &event), 204);
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE winner = 'remote'");
    // A dead one, and one that waits for a person.
    site.execute("INSERT INTO contacts (email) VALUES ('no address')");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    let openmetrics = || get_with(port, "/metrics", "Accept: application/openmetrics-text\r\n");
    let mut answer = String::new();
    eventually("every promised name, and what has happened", || {
        answer = openmetrics();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if !head.starts_with("HTTP/1.1 200") {
            return false;
        }
        assert!(
            head.contains("application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        let all = samples(text);
        let shown = names(&all);
        let dead = all.get(&(
            "hubsyncd_dead_entries".to_owned(),
            "object=\"contacts\"".to_owned(),
        ));
        dead.is_some_and(|dead| *dead > 0.5) && PROMISED.iter().all(|name| shown.contains(*name))
    });
    let (_, text) = answer.split_once("\r\n\r\n").expect("a body");
    let all = samples(text);
    let value = |name: &str, labels: &str| {
        let found = all.get(&(name.to_owned(), labels.to_owned()));
        *found.unwrap_or_else(|| panic!("{name}{{{labels}}} in {text}"))
    };
    let is = |name: &str, labels: &str, number: f64| {
        let found = value(name, labels);
        assert!(
            (found - number).abs() < 1e-9,
            "{name}{{{labels}}} is {found}"
        );
    };
    is("hubsyncd_dead_entries", "object=\"contacts\"", 1.0);
    is(
        "hubsyncd_conflicts_total",
        "object=\"contacts\",winner=\"remote\"",
        1.0,
    );
    is(
        "hubsyncd_webhook_deliveries_total",
        "outcome=\"stored\"",
        1.0,
    );
    is("hubsyncd_state", "state=\"running\"", 1.0);
    // What has not happened yet is there at zero, so that its first time is a growth.
    for (name, labels) in [
        (
            "hubsyncd_conflicts_total",
            "object=\"contacts\",winner=\"local\"",
        ),
        (
            "hubsyncd_changes_total",
            "object=\"contacts\",origin=\"undo\"",
        ),
        (
            "hubsyncd_requests_total",
            "class=\"list\",outcome=\"throttled\"",
        ),
        (
            "hubsyncd_webhook_deliveries_total",
            "outcome=\"unverified\"",
        ),
        (
            "hubsyncd_outbox_entries",
            "object=\"contacts\",state=\"in_flight\"",
        ),
        (
            "hubsyncd_held_records",
            "object=\"contacts\",side=\"local\"",
        ),
        ("hubsyncd_write_lock_seconds_count", "work=\"removals\""),
    ] {
        is(name, labels, 0.0);
    }
    for work in [
        "backfill",
        "webhook",
        "inbox",
        "push",
        "settle",
        "schema",
        "heartbeat",
    ] {
        let held = value(
            "hubsyncd_write_lock_seconds_count",
            &format!("work=\"{work}\""),
        );
        assert!(held > 0.5, "{work}");
    }
    is("hubsyncd_records", "object=\"contacts\"", 2.0);
    let length = site.path("crm.db").metadata().expect("a file").len();
    is("hubsyncd_database_bytes", "", length as f64);
    let counted = site.number("SELECT sum(requests) FROM sync_requests WHERE class = 'list'");
    assert!(value("hubsyncd_requests_total", "class=\"list\",outcome=\"ok\"") <= counted as f64);
    // What is shown twice counts once.
    let again = openmetrics();
    let (_, again) = again.split_once("\r\n\r\n").expect("a body");
    let conflicts = (
        "hubsyncd_conflicts_total".to_owned(),
        "object=\"contacts\",winner=\"remote\"".to_owned(),
    );
    assert!((samples(again)[&conflicts] - 1.0).abs() < 1e-9);
    // Whoever does not ask for it gets the plain form, which names a counter by its sample.
    let answer = get(port, "/metrics");
    let (head, plain) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        plain.contains("\n# TYPE hubsyncd_requests_total counter\n"),
        "{plain}"
    );
    assert!(
        plain.contains("\nhubsyncd_dead_entries{object=\"contacts\"} 1\n"),
        "{plain}"
    );
    promtool(&["check", "metrics"], plain);
    assert_eq!(site.stop(), 0);
    // Rules and dashboard ask for what there is.
    let mut shown: BTreeSet<String> = names(&all).into_iter().collect();
    shown = shown
        .iter()
        .map(|name| name.split('{').next().unwrap_or(name).to_owned())
        .collect();
    shown.extend(["hubsyncd_held_records", "hubsyncd_run_seconds"].map(str::to_owned));
    shown.insert("hubsyncd_quota_day_empty_timestamp_seconds".to_owned());
    for name in ["monitoring/alerts.yml", "monitoring/dashboard.json"] {
        let wanted = asked_for(&file(name));
        let missing: Vec<&String> = wanted.difference(&shown).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

/// What Grafana can show without being told more; `make monitoring` holds the whole file to the types of its schema.
#[test]
fn the_dashboard_is_one_that_grafana_can_show() {
    let dashboard: Value = serde_json::from_str(&file("monitoring/dashboard.json")).expect("JSON");
    assert!(
        dashboard["schemaVersion"].as_u64() >= Some(36),
        "{dashboard}"
    );
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let names: Vec<_> = variables.iter().map(|one| one["name"].as_str()).collect();
    assert_eq!(names, [Some("datasource"), Some("instance")]);
    let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("a list") {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        let title = panel["title"].as_str().expect("a title");
        assert!(!title.is_empty(), "{panel}");
        let kind = panel["type"].as_str().expect("a type");
        assert!(titles.insert((title, kind)), "{panel}");
        assert!(["stat", "timeseries"].contains(&kind), "{panel}");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{panel}"
        );
        // Twenty-four columns, and no two panels in one place.
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(place("x") + place("w") <= 24 && place("h") > 0, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{panel} lies over another one");
            }
        }
        let mut letters = BTreeSet::new();
        for query in panel["targets"].as_array().expect("queries") {
            assert!(letters.insert(query["refId"].as_str()), "{panel}");
            assert_eq!(query["datasource"]["uid"], "${datasource}");
            let asks = query["expr"].as_str().expect("a query");
            assert!(asks.contains("instance=~\"$instance\""), "{query}");
        }
        assert!(!letters.is_empty(), "{panel}");
    }
}

#[test]
fn echoes_merges_and_checkpoints_are_counted_as_they_happen() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let (port, door) = (free_port(), Door::new());
    let settings = format!(
        "[schedule]\npoll = \"1h\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n[conflicts]\npolicy = \"manual\"\n{}",
        door.settings("")
    );
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    let portal_id = site.number("SELECT portal_id FROM sync_health");
    let tell = |number: i64, property: &str, value: &str| {
        let event = json!([{
            "eventId": number, "subscriptionId": 1, "portalId": portal_id, "appId": 1, "occurredAt": portal.now_ms(),
            "subscriptionType": "contact.propertyChange", "attemptNumber": 0, "objectId": ann,
            "propertyName": property, "propertyValue": value, "changeSource": "CRM"
        }]);
        assert_eq!(door.deliver(&portal, &event), 204);
    };
    let counted = |name: &str, labels: &str| {
        let answer = get_with(port, "/metrics", "Accept: application/openmetrics-text\r\n");
        let (_, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let found = samples(text)
            .get(&(name.to_owned(), labels.to_owned()))
            .copied();
        found.unwrap_or_else(|| panic!("{name}{{{labels}}} in {text}"))
    };
    let merged = |outcome: &str| {
        let labels = format!("object=\"contacts\",outcome=\"{outcome}\"");
        counted("hubsyncd_merges_total", &labels)
    };
    let echoes = || counted("hubsyncd_echoes_total", "object=\"contacts\"");
    let is = |found: f64, number: f64| (found - number).abs() < 1e-9;
    for outcome in [
        "taken", "kept", "agreed", "met", "decided", "asked", "closed",
    ] {
        assert!(is(merged(outcome), 0.0), "{outcome}");
    }
    assert!(is(echoes(), 0.0));
    // A person's edit is taken.
    portal.edit(ann, &[("city", "Oslo")]);
    tell(1, "city", "Oslo");
    eventually("the edit is taken", || is(merged("taken"), 1.0));
    // A program's write comes back as the event of our own push, and costs no request.
    site.execute("UPDATE contacts SET first_name = 'Anna'");
    site.until_pushed();
    tell(2, "firstname", "Anna");
    eventually("the push comes back", || is(echoes(), 1.0));
    // Both sides write: a person is asked; then HubSpot comes to the same, and the conflict is over.
    portal.edit(ann, &[("city", "Bergen")]);
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL");
    assert!(is(merged("asked"), 1.0));
    portal.edit(ann, &[("city", "Lima")]);
    tell(3, "city", "Lima");
    eventually("the conflict is over", || is(merged("closed"), 1.0));
    assert!(is(merged("taken"), 1.0) && is(merged("decided"), 0.0));
    assert!(is(echoes(), 1.0), "what was read is no echo");
    // A log of more than 300 pages is written back by the daemon's next commit.
    let checkpoints = || counted("hubsyncd_checkpoint_duration_seconds_count", "");
    let before = checkpoints();
    site.execute("CREATE TABLE notes (text)");
    site.execute("INSERT INTO notes VALUES (zeroblob(2000000))");
    tell(4, "city", "Lima");
    eventually("the log is written back", || checkpoints() > before);
    assert_eq!(site.stop(), 0);
}

#[test]
fn each_alert_is_tested_and_has_a_page() {
    let rules = file("monitoring/alerts.yml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 8, "{alerts:?}");
    let (tests, pages) = (file("monitoring/alerts_test.yml"), file("docs/RUNBOOK.md"));
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert}");
        assert!(pages.contains(&format!("\n### `{alert}`\n")), "{alert}");
        let page = format!("docs/RUNBOOK.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&page), "{alert}");
    }
    let dashboard: Value = serde_json::from_str(&file("monitoring/dashboard.json")).expect("JSON");
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 10)
    );
    promtool(&["check", "rules", "monitoring/alerts.yml"], "");
    promtool(&["test", "rules", "monitoring/alerts_test.yml"], "");
}
