//! Promises 5 and 10, and what webhooks are for: changes in HubSpot are in the table within a second or two.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hubsyncd::simulator::faults::{FaultKind, Script};
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use hubsyncd::simulator::webhooks::{DEFAULT_SECRET, Webhooks};
use ring::hmac;
use serde_json::{Value, json};

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::portal::Portal;
use crate::ports::free_port;

/// Polling alone would find nothing within a test.
const RARELY: &str = "[schedule]\npoll = \"1h\"\n";

/// Where the daemon of a site listens.
pub(crate) struct Door {
    address: SocketAddr,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, free_port()).into(),
        }
    }

    /// A door at an address of the test's own.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    fn url(&self) -> String {
        format!("http://{}/webhooks/hubspot", self.address)
    }

    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "[webhooks]\nlisten = \"{}\"\npublic_url = \"{}\"\nclient_secret = {{ file = \"secret\" }}\n{more}\n",
            self.address,
            self.url()
        )
    }

    /// A site that takes webhooks here.
    fn site(&self, portal: &Portal, schedule: &str) -> Site {
        Door::site_with(
            portal,
            &format!("{schedule}{}", self.settings("")),
            CONTACTS,
        )
    }

    pub(crate) fn site_with(portal: &Portal, settings: &str, objects: &str) -> Site {
        let site = Site::with(portal, settings, objects);
        let secret = site.path("secret");
        std::fs::write(&secret, DEFAULT_SECRET).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(secret, mode).expect("nobody else reads it");
        site
    }

    /// The portal tells this door of all changes from now on.
    pub(crate) fn subscribe(&self, portal: &Portal, webhooks: Webhooks) {
        portal.stand().settings_mut().webhooks = Some(Webhooks {
            url: self.url(),
            ..webhooks
        });
    }

    /// Sends a body with headers; the status, 0 where the connection ended without one.
    fn post(&self, headers: &[(&str, String)], body: &[u8]) -> u16 {
        self.post_to("/webhooks/hubspot", headers, body)
    }

    fn post_to(&self, path: &str, headers: &[(&str, String)], body: &[u8]) -> u16 {
        let mut stream = self.connect();
        let head = head(path, headers, body.len());
        // A refusal may come before all of the body is sent.
        let sent = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
        drop(sent);
        status(&mut stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        stream
    }

    /// Sends events as HubSpot does.
    pub(crate) fn deliver(&self, portal: &Portal, events: &Value) -> u16 {
        let body = events.to_string();
        self.post(
            &signed(portal.now_ms(), &self.url(), body.as_bytes()),
            body.as_bytes(),
        )
    }

    /// Waits until the daemon takes connections.
    pub(crate) fn until_open(&self) {
        eventually("it listens", || self.is_open());
    }

    /// Whether somebody takes connections.
    pub(crate) fn is_open(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }
}

/// The head of a delivery, as a proxy hands it on.
fn head(path: &str, headers: &[(&str, String)], length: usize) -> String {
    let mut lines = vec![
        format!("POST {path} HTTP/1.1"),
        "Host: proxy.internal".to_owned(),
        "Connection: close".to_owned(),
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {length}"),
    ];
    lines.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.join("\r\n") + "\r\n\r\n"
}

fn status(stream: &mut impl std::io::Read) -> u16 {
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let text = String::from_utf8_lossy(&answer);
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

fn signature(secret: &str, message: &[&[u8]]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, &message.concat()))
}

fn signed(now_ms: i64, url: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    signed_with(DEFAULT_SECRET, now_ms, url, body)
}

fn signed_with(secret: &str, now_ms: i64, url: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let timestamp = now_ms.to_string();
    let message: [&[u8]; 4] = [b"POST", url.as_bytes(), body, timestamp.as_bytes()];
    vec![
        ("X-HubSpot-Signature-v3", signature(secret, &message)),
        ("X-HubSpot-Request-Timestamp", timestamp),
    ]
}

/// A change of a contact's city, as HubSpot tells it.
fn change(portal: &Portal, id: u64, city: &str) -> Value {
    json!({
        "eventId": 1, "subscriptionId": 7, "portalId": portal.stand().settings().portal_id, "appId": 1_160_452,
        "occurredAt": portal.now_ms(), "subscriptionType": "contact.propertyChange", "attemptNumber": 0,
        "objectId": id, "propertyName": "city", "propertyValue": city, "changeSource": "CRM_UI", "sourceId": "userId:1",
    })
}

/// Waits until every event that was stored is done.
fn until_taken_in(site: &Site) {
    site.until_sql("SELECT count(*) = 0 FROM sync_inbox WHERE state = 'pending'");
}

#[test]
fn what_people_do_in_hubspot_is_here_without_a_poll() {
    for generic in [false, true] {
        let portal = Portal::quick();
        let (door, first) = (Door::new(), portal.contact("first@example.com"));
        let gone = portal.contact("gone@example.com");
        let loser = portal.contact("loser@example.com");
        let mut site = door.site(&portal, RARELY);
        site.start_and_settle();
        eventually("the first poll", || portal.requests("/search") > 0);
        let searches = portal.requests("/search");
        door.subscribe(
            &portal,
            Webhooks {
                generic,
                ..Webhooks::default()
            },
        );
        portal.edit(first, &[("city", "Oslo")]);
        site.until_sql(
            "SELECT count(*) FROM contacts WHERE email = 'first@example.com' AND city = 'Oslo'",
        );
        portal.edit(first, &[("city", "")]);
        site.until_sql(
            "SELECT count(*) FROM contacts WHERE email = 'first@example.com' AND city IS NULL",
        );
        portal.contact("new@example.com");
        site.until_sql("SELECT count(*) FROM contacts WHERE email = 'new@example.com'");
        let now = portal.now_ms();
        assert!(portal.stand().archive("contacts", gone, now));
        site.until_sql("SELECT count(*) = 0 FROM contacts WHERE email = 'gone@example.com'");
        assert!(portal.stand().restore("contacts", gone, now));
        site.until_sql("SELECT count(*) FROM contacts WHERE email = 'gone@example.com'");
        let survivor = portal
            .stand()
            .merge("contacts", first, loser, now)
            .expect("two records");
        site.until_sql(&format!(
            "SELECT count(*) = 3 AND sum(hs_id = {survivor}) = 1 FROM contacts"
        ));
        until_taken_in(&site);
        assert_eq!(portal.requests("/search"), searches, "a poll helped");
        assert_eq!(
            site.number("SELECT count(*) FROM sync_inbox WHERE state NOT IN ('done', 'ignored')"),
            0
        );
        assert!(site.number("SELECT count(*) FROM sync_history WHERE origin = 'webhook'") > 3);
        site.until_sql("SELECT webhooks = 'healthy' FROM sync_health");
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn own_pushes_come_back_as_events_and_cost_no_request() {
    let portal = Portal::quick();
    let (door, objects) = (Door::new(), CONTACTS);
    portal.fill("contacts", 50);
    let mut site = Door::site_with(&portal, &format!("{RARELY}{}", door.settings("")), objects);
    site.start_and_settle();
    door.subscribe(
        &portal,
        // Held back until all is pushed.
        Webhooks {
            delay_min_ms: 3_600_000,
            delay_max_ms: 3_600_000,
            ..Webhooks::default()
        },
    );
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.execute("INSERT INTO contacts (email, first_name) VALUES ('Ada@Example.com', 'Ada')");
    site.until_pushed();
    site.execute("DELETE FROM contacts WHERE local_id = 3");
    site.until_pushed();
    // A push reads before it sends, and again where that took long.
    let reads = portal.requests("/contacts/batch/read");
    portal.stand().send_at_once();
    let told = || site.number("SELECT count(*) FROM sync_inbox");
    eventually("all events came", || {
        told() >= 53 && portal.stand().waiting_events() == 0
    });
    until_taken_in(&site);
    let by_webhook = "SELECT count(*) FROM sync_history WHERE origin = 'webhook'";
    wait(Duration::from_secs(1));
    assert_eq!(site.number(by_webhook), 0);
    assert_eq!(portal.requests("/contacts/batch/read"), reads);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_earlier_push_that_comes_back_late_costs_no_request() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    let pushed_at = ["Lima", "Oslo", "Rome"].map(|city| {
        site.execute(&format!("UPDATE contacts SET city = '{city}'"));
        site.until_pushed();
        portal.now_ms()
    });
    let reads = portal.requests("/contacts/batch/read");
    let told_at = |occurred_at: i64, city: &str, source: &str, more: &str| {
        let mut event = change(&portal, id, city);
        event["occurredAt"] = json!(occurred_at);
        event["changeSource"] = json!(source);
        event["sourceId"] = json!(format!("1160452{more}"));
        door.deliver(&portal, &json!([event]))
    };
    let told = |city: &str, source: &str, more: &str| told_at(portal.now_ms(), city, source, more);
    assert_eq!(told_at(pushed_at[1], "Oslo", "INTEGRATION", ""), 204);
    assert_eq!(told_at(pushed_at[0], "Lima", "INTEGRATION", ""), 204);
    until_taken_in(&site);
    wait(Duration::from_secs(1));
    assert_eq!(portal.requests("/contacts/batch/read"), reads);
    // Somebody else may have set it back, also with the token that is ours, once the push is over.
    wait(Duration::from_secs(3));
    for (source, more) in [("INTEGRATION", "3"), ("CRM_UI", ""), ("INTEGRATION", "")] {
        let before = portal.requests("/contacts/batch/read");
        portal.edit(id, &[("city", "Oslo")]);
        assert_eq!(told("Oslo", source, more), 204);
        site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
        assert!(portal.requests("/contacts/batch/read") > before);
        site.execute("UPDATE contacts SET city = 'Rome'");
        site.until_pushed();
    }
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_burst_is_read_in_full_batches() {
    let portal = Portal::quick();
    let door = Door::new();
    portal.fill("contacts", 10_000);
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    let before = portal.requests("/batch/read");
    let ids: Vec<u64> = portal
        .stand()
        .records("contacts")
        .iter()
        .map(hubsyncd::simulator::record::Record::id)
        .collect();
    let now = portal.now_ms();
    {
        let mut stand = portal.stand();
        for id in &ids {
            assert!(stand.edit("contacts", *id, &[("city", "Quito")], now));
        }
    }
    site.until_sql("SELECT count(*) = 10000 FROM contacts WHERE city = 'Quito'");
    let reads = portal.requests("/batch/read") - before;
    assert!(reads <= 101, "{reads} reads");
    portal.assert_limits_were_kept();
    assert_eq!(site.stop(), 0);
}

#[test]
fn fifty_thousand_deliveries_out_of_order_and_with_doubles_end_in_an_equal_mirror() {
    let portal = Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        limits_enabled: false,
        ..Settings::default()
    });
    let door = Door::new();
    portal.fill("contacts", 500);
    let limits = "[limits]\nburst_per_10_seconds = 5000\n";
    let mut site = Door::site_with(
        &portal,
        &format!("{RARELY}{limits}{}", door.settings("")),
        CONTACTS,
    );
    site.start_and_settle();
    door.subscribe(
        &portal,
        Webhooks {
            duplicates: 0.2,
            delay_max_ms: 3_000,
            most_in_a_request: 10,
            properties: vec!["city".to_owned(), "firstname".to_owned()],
            ..Webhooks::default()
        },
    );
    let ids: Vec<u64> = portal
        .stand()
        .records("contacts")
        .iter()
        .map(hubsyncd::simulator::record::Record::id)
        .collect();
    let (mut round, mut events) = (0, 0);
    while events < 41_700 {
        round += 1;
        let now = portal.now_ms();
        let mut stand = portal.stand();
        for id in &ids {
            let city = format!("city {}", (round * 7 + id) % 97);
            let values = [
                ("city", city.as_str()),
                ("firstname", if round % 2 == 0 { "Ann" } else { "Bea" }),
            ];
            assert!(stand.edit("contacts", *id, &values, now));
            events += 2;
        }
        drop(stand);
        wait(Duration::from_millis(20));
    }
    eventually("all were sent", || portal.stand().waiting_events() == 0);
    eventually("all were taken", || {
        let log = portal.stand().delivery_log();
        let taken: usize = log
            .iter()
            .filter(|sent| sent.status == 204)
            .map(|sent| sent.events)
            .sum();
        taken >= 49_000
    });
    until_taken_in(&site);
    let expected: BTreeMap<u64, (Option<String>, Option<String>)> = portal
        .stand()
        .records("contacts")
        .iter()
        .map(|record| {
            let value = |name: &str| record.value(name).map(str::to_owned);
            (record.id(), (value("city"), value("firstname")))
        })
        .collect();
    let program = site.program();
    let mut statement = program
        .prepare("SELECT hs_id, city, first_name FROM contacts")
        .expect("a table");
    let mirror: BTreeMap<u64, (Option<String>, Option<String>)> = statement
        .query_map([], |row| {
            let id: i64 = row.get(0)?;
            Ok((id.unsigned_abs(), (row.get(1)?, row.get(2)?)))
        })
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("rows");
    assert_eq!(mirror, expected);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_inbox WHERE state NOT IN ('done', 'ignored')"),
        0
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_was_answered_is_not_lost_by_a_kill() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    // HubSpot refuses every read, so that the event waits on disk.
    portal.script(FaultKind::Unavailable, 1_000_000, "/batch/read");
    portal.edit(id, &[("city", "Oslo")]);
    assert_eq!(
        door.deliver(&portal, &json!([change(&portal, id, "Oslo")])),
        204
    );
    site.kill();
    assert_eq!(
        site.number("SELECT count(*) FROM sync_inbox WHERE state = 'pending'"),
        1
    );
    portal.stand().faults_mut().calm();
    portal.stand().clear_request_log();
    site.start();
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    until_taken_in(&site);
    // Again, days later or at once: known, and read no more.
    door.until_open();
    let before = site.number("SELECT count(*) FROM sync_inbox");
    portal.edit(id, &[("city", "Rome")]);
    let event = change(&portal, id, "Rome");
    assert_eq!(door.deliver(&portal, &json!([event, event])), 204);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Rome'");
    assert_eq!(door.deliver(&portal, &json!([event])), 204);
    assert_eq!(site.number("SELECT count(*) FROM sync_inbox"), before + 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn once_takes_in_what_a_daemon_left() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    portal.script(FaultKind::Unavailable, 1_000_000, "/batch/read");
    portal.edit(id, &[("city", "Oslo")]);
    let event = change(&portal, id, "Oslo");
    assert_eq!(door.deliver(&portal, &json!([event])), 204);
    site.kill();
    portal.stand().faults_mut().calm();
    let pending = "SELECT count(*) FROM sync_inbox WHERE state = 'pending'";
    assert_eq!(site.number(pending), 1);
    site.once();
    assert_eq!(site.number(pending), 0);
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Oslo'"),
        1
    );
}

#[test]
fn nothing_forged_or_broken_gets_in() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let settings = format!("{RARELY}{}", door.settings("max_body = \"64KiB\""));
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    portal.edit(id, &[("city", "Oslo")]);
    let (now, url) = (portal.now_ms(), door.url());
    let body = json!([change(&portal, id, "Oslo")]).to_string();
    let body = body.as_bytes();
    let right = || signed(now, &url, body);
    let with = |name: &str, value: &str| {
        let mut headers = right();
        for header in &mut headers {
            if header.0 == name {
                value.clone_into(&mut header.1);
            }
        }
        headers
    };
    let (signature, timestamp) = ("X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp");
    let forged = [
        ("no signature", vec![]),
        ("another secret", signed_with("another", now, &url, body)),
        ("another body", signed(now, &url, b"[]")),
        (
            "another URL",
            signed(now, "https://proxy.internal/webhooks/hubspot", body),
        ),
        ("too old", signed(now - 301_000, &url, body)),
        ("from the future", signed(now + 310_000, &url, body)),
        (
            "another time than the signed one",
            with(timestamp, &(now - 1).to_string()),
        ),
        ("a time in words", with(timestamp, "yesterday")),
        ("no base64", with(signature, "%%%")),
        ("an empty signature", with(signature, "")),
        ("two signatures", [right(), right()].concat()),
        (
            "the old version alone",
            vec![
                ("X-HubSpot-Signature", "00".repeat(32)),
                ("X-HubSpot-Signature-Version", "v1".to_owned()),
            ],
        ),
    ];
    for (what, headers) in forged {
        assert_eq!(door.post(&headers, body), 401, "{what}");
    }
    assert!(says(&site.log(), produces("delivery-refused")));
    let not_events: [&[u8]; 7] = [
        b"",
        b"{}",
        b"1",
        b"[{]",
        b"\xff\xfe[\0{\0",
        b"null",
        b"[{\"eventId\":1}",
    ];
    for body in not_events {
        assert_eq!(door.post(&signed(now, &url, body), body), 400, "{body:?}");
    }
    let large = vec![b' '; 65 * 1024];
    assert_eq!(door.post(&signed(now, &url, &large), &large), 413);
    assert_eq!(door.post_to("/", &right(), body), 404);
    // Truncated: less than was announced, then the end.
    let mut stream = door.connect();
    let head = format!(
        "POST /webhooks/hubspot HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n[",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("ended");
    assert_ne!(status(&mut stream), 204);
    assert_eq!(site.number("SELECT count(*) FROM sync_inbox"), 0);
    wait(Duration::from_millis(300));
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Oslo'"),
        0
    );
    let log = site.log();
    assert!(
        !log.contains(DEFAULT_SECRET) && !log.contains(DEFAULT_TOKEN),
        "a secret in the log"
    );
    // The right one still gets in, under a query too.
    let query = "src=hs%3Aapp&x=%28a%29";
    let signed_url = format!("{url}?src=hs:app&x=(a)");
    assert_eq!(
        door.post_to(
            &format!("/webhooks/hubspot?{query}"),
            &signed(now, &signed_url, body),
            body
        ),
        204
    );
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_deletion_is_believed_only_where_hubspot_says_that_the_record_is_missing() {
    for fault in [FaultKind::UnreadableRecord, FaultKind::OmittedRecord] {
        let portal = Portal::quick();
        let door = Door::new();
        let id = portal.contact("ann@example.com");
        let mut site = door.site(&portal, RARELY);
        site.start_and_settle();
        let unread = Script::new(fault, 1, "/batch/read");
        portal.stand().faults_mut().script(unread);
        let mut event = change(&portal, id, "Oslo");
        event["subscriptionType"] = json!("contact.deletion");
        assert_eq!(door.deliver(&portal, &json!([event])), 204);
        eventually("a read", || portal.requests("/batch/read") > 0);
        // The archive was looked at too; neither shows the record, and neither calls it missing.
        wait(Duration::from_secs(2));
        assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
        assert_eq!(site.number("SELECT count(*) FROM _sync_reads"), 1);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn the_late_index_brings_no_record_that_an_event_told_to_be_gone_before_it_was_here() {
    for kind in ["deletion", "merge", "privacyDeletion"] {
        let portal = Portal::quick();
        let door = Door::new();
        let kept = portal.contact("kept@example.com");
        let mut site = door.site(
            &portal,
            "[schedule]\npoll = \"1s\"\npoll_with_webhooks = \"1s\"\nagain = [\"1h\"]\n",
        );
        site.start_and_settle();
        door.until_open();
        let index_lags = |time: u64| {
            let mut stand = portal.stand();
            let settings = stand.settings_mut();
            settings.index_delay_min_ms = time;
            settings.index_delay_max_ms = time;
        };
        // The index shows the record once it is gone, and goes on showing it.
        index_lags(3_000);
        let gone = portal.contact("gone@example.com");
        index_lags(3_600_000);
        let now = portal.now_ms();
        let mut event = change(&portal, gone, "");
        event["subscriptionType"] = json!(format!("contact.{kind}"));
        match kind {
            "deletion" => assert!(portal.stand().archive("contacts", gone, now)),
            "privacyDeletion" => assert!(portal.stand().delete_for_good("contacts", gone, now)),
            _ => {
                let survivor = portal.stand().merge("contacts", kept, gone, now);
                let survivor = survivor.expect("two records");
                event["objectId"] = json!(survivor);
                event["newObjectId"] = json!(survivor);
                event["primaryObjectId"] = json!(kept);
                event["mergedObjectIds"] = json!([gone]);
            }
        }
        assert_eq!(door.deliver(&portal, &json!([event])), 204);
        until_taken_in(&site);
        let later = site
            .text("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+5 seconds')")
            .expect("a time");
        site.until_sql(&format!(
            "SELECT count(*) FROM sync_status WHERE last_poll_at > '{later}'"
        ));
        site.until_sql("SELECT count(*) = 0 FROM _sync_reads");
        let rows = site.text("SELECT group_concat(email) FROM contacts");
        assert_eq!(rows.as_deref(), Some("kept@example.com"), "{kind}");
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn events_that_are_not_wanted_are_answered_and_cost_nothing() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    // The first poll is nobody's cost.
    site.until_sql(
        "SELECT count(*) FROM sync_runs WHERE kind = 'poll' AND finished_at IS NOT NULL",
    );
    let requests = portal.requests("");
    let event = |kind: &str, more: &Value| {
        let mut event = change(&portal, id, "Oslo");
        event["subscriptionType"] = json!(kind);
        for (name, value) in more.as_object().expect("an object") {
            event[name] = value.clone();
        }
        event
    };
    let events = json!([
        event("contact.propertyChange", &json!({"portalId": 1})),
        event(
            "contact.propertyChange",
            &json!({"propertyName": "jobtitle"})
        ),
        event("company.creation", &json!({})),
        event("object.creation", &json!({"objectTypeId": "2-123456"})),
        event(
            "contact.associationChange",
            &json!({"fromObjectId": id, "toObjectId": 987})
        ),
        event("conversation.newMessage", &json!({})),
        event("", &json!({})),
        event("contact.creation", &json!({"objectId": null})),
        event("contact.creation", &json!({})),
    ]);
    assert_eq!(door.deliver(&portal, &events), 204);
    until_taken_in(&site);
    let states = |state: &str| {
        site.number(&format!(
            "SELECT count(*) FROM sync_inbox WHERE state = '{state}'"
        ))
    };
    assert_eq!(
        (states("ignored"), states("done"), states("dead")),
        (5, 1, 2)
    );
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_inbox WHERE state = 'dead' AND last_error IS NOT NULL"
        ),
        2
    );
    assert_eq!(portal.requests(""), requests, "they cost a request");
    site.until_sql("SELECT webhooks_dropped = 1 FROM sync_health");
    // An unknown id is read like any other; HubSpot doesn't have it: done.
    let unknown = json!([
        event("contact.creation", &json!({"objectId": 424_242})),
        event("contact.deletion", &json!({"objectId": 999_999})),
    ]);
    assert_eq!(door.deliver(&portal, &unknown), 204);
    until_taken_in(&site);
    assert_eq!(states("done"), 3);
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_event_of_associations_of_a_record_that_nobody_has_told_of_brings_record_and_associations() {
    let portal = Portal::quick();
    let door = Door::new();
    let now = portal.now_ms();
    let company = portal.stand().create("companies", &[("name", "Acme")], now);
    let objects = "[objects.contacts]\n[objects.companies]\n[associations]\n\
                   contacts_companies = { from = \"contacts\", to = \"companies\" }\n";
    let settings = format!("{RARELY}{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, objects);
    site.start_and_settle();
    let id = portal.contact("fresh@example.com");
    let ends = (("contacts", id), ("companies", company));
    let now = portal.now_ms();
    assert!(portal.stand().associate(ends.0, ends.1, now));
    let mut event = change(&portal, id, "");
    event["subscriptionType"] = json!("contact.associationChange");
    event["associationType"] = json!("CONTACT_TO_COMPANY");
    event["fromObjectId"] = json!(id);
    event["toObjectId"] = json!(company);
    assert_eq!(door.deliver(&portal, &json!([event])), 204);
    site.until_sql("SELECT count(*) FROM contacts WHERE email = 'fresh@example.com'");
    site.until_sql("SELECT count(*) FROM associations");
    until_taken_in(&site);
    assert_eq!(site.stop(), 0);
}

/// Which names of the fields an event of associations has is unsure, and which end it tells first (`hubspot/api-facts.md#10`).
#[test]
fn an_event_of_associations_is_understood_in_whatever_form_it_comes() {
    let portal = Portal::quick();
    let door = Door::new();
    let now = portal.now_ms();
    let company = portal.stand().create("companies", &[("name", "Acme")], now);
    let forms = |contact: u64| {
        [
            json!({"subscriptionType": "object.associationChange", "objectTypeId": "0-2", "fromObjectTypeId": "0-1",
                   "fromObjectId": contact, "toObjectId": company}),
            json!({"subscriptionType": "company.associationChange", "objectId": company}),
            json!({"subscriptionType": "company.associationChange", "fromObjectId": company}),
            json!({"subscriptionType": "object.associationChange", "objectTypeId": "0-2", "objectId": company}),
            json!({"subscriptionType": "object.associationChange", "associationType": "CONTACT_TO_COMPANY",
                   "fromObjectId": contact, "toObjectId": company}),
            json!({"subscriptionType": "contact.associationChange", "objectId": contact}),
        ]
    };
    let contacts: Vec<u64> = (0..forms(0).len())
        .map(|number| portal.contact(&format!("{number}@example.com")))
        .collect();
    let objects = "[objects.contacts]\n[objects.companies]\n[associations]\n\
                   contacts_companies = { from = \"contacts\", to = \"companies\" }\n";
    let settings = format!("{RARELY}{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, objects);
    site.start_and_settle();
    site.until_sql(
        "SELECT count(*) FROM sync_runs WHERE kind = 'associations' AND finished_at IS NOT NULL",
    );
    for (number, contact) in contacts.into_iter().enumerate() {
        let now = portal.now_ms();
        let ends = (("contacts", contact), ("companies", company));
        assert!(portal.stand().associate(ends.0, ends.1, now));
        let mut event = change(&portal, contact, "");
        let fields = event.as_object_mut().expect("an object");
        for name in ["objectId", "objectTypeId", "propertyName", "propertyValue"] {
            fields.remove(name);
        }
        let form = forms(contact)[number].clone();
        fields.extend(form.as_object().expect("an object").clone());
        assert_eq!(door.deliver(&portal, &json!([event])), 204);
        site.until_sql(&format!(
            "SELECT count(*) FROM associations AS a JOIN contacts AS c ON c.local_id = a.from_local_id WHERE c.hs_id = {contact}"
        ));
    }
    until_taken_in(&site);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_inbox WHERE state <> 'done'"),
        0
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_odd_event_keeps_no_other_of_its_delivery_out() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    door.until_open();
    portal.edit(id, &[("city", "Oslo")]);
    let good = change(&portal, id, "Oslo");
    let twice = good.to_string().replacen('{', "{\"objectId\":1,", 1);
    let nowhere = good.to_string().replacen('{', "{\"portalId\":[],", 1);
    let nowhere = nowhere.replacen(&format!("\"portalId\":{}", good["portalId"]), "\"x\":1", 1);
    let unnamed = good
        .to_string()
        .replacen(&format!("\"objectId\":{id}"), "\"objectId\":1e400", 1);
    let body = format!("[1,{twice},{nowhere},{unnamed},{good}]");
    let headers = signed(portal.now_ms(), &door.url(), body.as_bytes());
    assert_eq!(door.post(&headers, body.as_bytes()), 204);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    until_taken_in(&site);
    let explanation = site.text(
        "SELECT group_concat(last_error, '; ') FROM (SELECT last_error FROM sync_inbox WHERE state = 'dead' ORDER BY id)",
    );
    assert_eq!(
        explanation.as_deref(),
        Some(
            "the event is not a JSON object; the event says one of its fields twice, and not the same; the event's portalId is not a number; the event names no record"
        )
    );
    assert_eq!(
        site.number("SELECT count(*) FROM sync_inbox WHERE value IS NOT NULL"),
        0
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_answer_that_is_older_than_the_event_is_asked_for_again() {
    let portal = Portal::quick();
    let door = Door::new();
    let (id, gone) = (
        portal.contact("ann@example.com"),
        portal.contact("gone@example.com"),
    );
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    door.until_open();
    // HubSpot's store lags: it tells of what it does not show yet.
    let mut deletion = change(&portal, gone, "");
    deletion["subscriptionType"] = json!("contact.deletion");
    let events = json!([change(&portal, id, "Oslo"), deletion]);
    let before = portal.requests("/contacts/batch/read");
    assert_eq!(door.deliver(&portal, &events), 204);
    eventually("the first read", || {
        portal.requests("/contacts/batch/read") > before
    });
    wait(Duration::from_millis(200));
    assert_eq!(
        site.number("SELECT count(*) FROM sync_inbox WHERE state = 'pending'"),
        2
    );
    portal.edit(id, &[("city", "Oslo")]);
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", gone, now));
    site.until_sql("SELECT count(*) = 1 AND max(city) = 'Oslo' FROM contacts");
    until_taken_in(&site);
    assert_eq!(site.stop(), 0);
}

/// Whether the database or its log has these bytes.
fn holds(site: &Site, needle: &str) -> bool {
    ["crm.db", "crm.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(site.path(name)).unwrap_or_default();
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    })
}

#[test]
fn a_privacy_deletion_leaves_no_byte_behind() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("zebulon@example.com");
    let other = portal.contact("other@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    portal.edit(id, &[("city", "Zanzibar-City")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Zanzibar-City'");
    portal.edit(id, &[("city", "Zwolle-City")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Zwolle-City'");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_history WHERE new_value = 'Zanzibar-City'"),
        1
    );
    let now = portal.now_ms();
    assert!(portal.stand().delete_for_good("contacts", id, now));
    site.until_sql("SELECT count(*) = 1 FROM contacts");
    site.until_sql(&format!(
        "SELECT count(*) = 0 FROM sync_history WHERE hs_id = {id}"
    ));
    eventually("the log is emptied", || {
        !["zebulon@", "Zanzibar-City", "Zwolle-City"]
            .iter()
            .any(|needle| holds(&site, needle))
    });
    assert!(holds(&site, "other@example.com"));
    eventually("the log names the record", || {
        is_named_as_erased(&site.log(), id)
    });
    portal.edit(other, &[("city", "Oslo")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    assert_eq!(site.stop(), 0);
}

/// Whether a line of the log says that a record was erased.
fn is_named_as_erased(log: &str, id: u64) -> bool {
    let (code, id) = (produces("erased"), id.to_string());
    log.lines().any(|line| {
        [code, id.as_str(), "a record was erased"]
            .iter()
            .all(|word| line.contains(word))
    })
}

#[test]
fn where_another_program_owns_the_log_an_erasure_says_what_to_run_and_nothing_is_written_back() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("zebulon@example.com");
    let mut site = door.site(&portal, RARELY);
    let text = std::fs::read_to_string(site.path("config.toml")).expect("the mapping file");
    let text = text.replace(
        "path = \"crm.db\"",
        "path = \"crm.db\"\ncheckpoint = \"outside\"",
    );
    std::fs::write(site.path("config.toml"), text).expect("written");
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    let before = std::fs::read(site.path("crm.db")).expect("the file");
    let now = portal.now_ms();
    assert!(portal.stand().delete_for_good("contacts", id, now));
    site.until_sql("SELECT count(*) = 0 FROM contacts");
    eventually("the log names the record", || {
        is_named_as_erased(&site.log(), id)
    });
    assert!(site.log().contains("litestream reset"), "{}", site.log());
    assert_eq!(site.stop(), 0);
    assert_eq!(site.run(&["status"]).status.code(), Some(0));
    let after = std::fs::read(site.path("crm.db")).expect("the file");
    assert!(after == before, "something was written back");
    assert!(holds(&site, "zebulon@"));
}

#[test]
fn a_privacy_deletion_takes_what_was_merged_into_the_record() {
    let portal = Portal::quick();
    let door = Door::new();
    let (kept, lost) = (
        portal.contact("kept@example.com"),
        portal.contact("lost@example.com"),
    );
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    portal.edit(lost, &[("city", "Zanzibar-City")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Zanzibar-City'");
    let now = portal.now_ms();
    let survivor = portal
        .stand()
        .merge("contacts", kept, lost, now)
        .expect("two records");
    site.until_sql(&format!(
        "SELECT count(*) = 1 AND sum(hs_id = {survivor}) = 1 FROM contacts"
    ));
    until_taken_in(&site);
    assert!(
        site.number(&format!(
            "SELECT count(*) FROM sync_history WHERE hs_id = {lost}"
        )) > 0
    );
    let now = portal.now_ms();
    assert!(portal.stand().delete_for_good("contacts", survivor, now));
    site.until_sql("SELECT count(*) = 0 FROM contacts");
    assert_eq!(site.number("SELECT count(*) FROM sync_history"), 0);
    eventually("the log is emptied", || {
        !holds(&site, "lost@") && !holds(&site, "Zanzibar-City")
    });
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_privacy_deletion_reaches_what_was_merged_though_the_survivor_was_never_read() {
    let portal = Portal::quick();
    let door = Door::new();
    let (kept, lost) = (
        portal.contact("kept@example.com"),
        portal.contact("lost@example.com"),
    );
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    portal.edit(lost, &[("city", "Zanzibar-City")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Zanzibar-City'");
    until_taken_in(&site);
    portal.script(FaultKind::Unavailable, 1_000_000, "/batch/read");
    let now = portal.now_ms();
    let survivor = portal
        .stand()
        .merge("contacts", kept, lost, now)
        .expect("two records");
    assert!(portal.stand().delete_for_good("contacts", survivor, now));
    site.until_sql(&format!(
        "SELECT count(*) FROM _sync_erasures WHERE hs_id = {survivor}"
    ));
    site.until_sql("SELECT count(*) = 2 FROM _sync_merges");
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 2);
    portal.stand().faults_mut().calm();
    site.until_sql("SELECT count(*) = 0 FROM contacts");
    site.until_sql("SELECT count(*) = 0 FROM sync_history");
    eventually("the log is emptied", || {
        !holds(&site, "lost@") && !holds(&site, "Zanzibar-City")
    });
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_privacy_deletion_of_a_contact_that_is_only_pushed_erases_too() {
    let portal = Portal::quick();
    let door = Door::new();
    let settings = format!("{RARELY}{}", door.settings(""));
    let objects = format!("[objects.contacts]\ndirection = \"push\"\n{CONTACTS}");
    let mut site = Door::site_with(&portal, &settings, &objects);
    site.start();
    site.until_sql("SELECT state = 'running' FROM sync_health");
    door.subscribe(&portal, Webhooks::default());
    site.execute("INSERT INTO contacts (email, city) VALUES ('zebulon@example.com', 'Lima')");
    site.until_pushed();
    site.execute("UPDATE contacts SET city = 'Zanzibar-City'");
    site.until_pushed();
    let id = site.number("SELECT hs_id FROM contacts").unsigned_abs();
    let now = portal.now_ms();
    assert!(portal.stand().delete_for_good("contacts", id, now));
    site.until_sql("SELECT count(*) = 0 FROM contacts");
    for table in ["sync_history", "sync_outbox"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE hs_id = {id}");
        assert_eq!(site.number(&sql), 0, "{table}");
    }
    assert_eq!(site.stop(), 0);
}

#[test]
fn polling_relaxes_while_webhooks_come_and_tightens_when_one_is_missed() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let schedule = "[schedule]\npoll = \"1s\"\npoll_with_webhooks = \"6s\"\nagain = [\"1h\"]\n";
    let mut site = door.site(&portal, schedule);
    site.start_and_load();
    assert_eq!(
        site.text("SELECT coalesce(webhooks, 'waiting') FROM sync_health")
            .as_deref(),
        Some("waiting")
    );
    door.subscribe(&portal, Webhooks::default());
    portal.edit(id, &[("city", "Oslo")]);
    site.until_sql("SELECT webhooks = 'healthy' FROM sync_health");
    let polls_in = |time: u64| {
        let before = portal.requests("/search");
        wait(Duration::from_secs(time));
        portal.requests("/search") - before
    };
    assert!(polls_in(7) <= 3, "it does not relax");
    portal.stand().settings_mut().webhooks = None;
    portal.edit(id, &[("city", "Rome")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Rome'");
    site.until_sql(&format!(
        "SELECT webhooks = 'missed' AND state = 'degraded' AND code = '{}' FROM sync_health",
        produces("webhooks-missed")
    ));
    let explanation = site
        .text("SELECT last_error FROM sync_health")
        .expect("words");
    assert!(
        explanation.contains("no webhook for a change of contacts"),
        "{explanation}"
    );
    assert!(polls_in(5) >= 4, "it does not tighten");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_restart_does_not_make_webhooks_missed() {
    let portal = Portal::quick();
    let door = Door::new();
    let (id, other) = (
        portal.contact("ann@example.com"),
        portal.contact("bea@example.com"),
    );
    let schedule = "[schedule]\npoll = \"1s\"\npoll_with_webhooks = \"4s\"\nagain = [\"1h\"]\n";
    let mut site = door.site(&portal, schedule);
    site.start_and_load();
    door.subscribe(&portal, Webhooks::default());
    portal.edit(id, &[("city", "Oslo")]);
    site.until_sql("SELECT webhooks = 'healthy' FROM sync_health");
    assert_eq!(site.stop(), 0);
    // HubSpot comes again much later.
    portal.stand().settings_mut().webhooks = None;
    portal.edit(other, &[("city", "Rome")]);
    site.start();
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Rome'");
    wait(Duration::from_secs(5));
    assert_eq!(
        site.text("SELECT webhooks || ' ' || state FROM sync_health")
            .as_deref(),
        Some("healthy running")
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn half_open_and_slow_senders_keep_nobody_out() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let settings = format!("{RARELY}{}", door.settings("max_connections = 8"));
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    let mut idle: Vec<TcpStream> = (0..200).map(|_| door.connect()).collect();
    let mut slow = door.connect();
    slow.write_all(b"POST /webhooks/hubspot HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[")
        .expect("sent");
    portal.edit(id, &[("city", "Oslo")]);
    assert_eq!(
        door.deliver(&portal, &json!([change(&portal, id, "Oslo")])),
        204
    );
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    // A head that never ends is cut off after 5 seconds, a body after 10.
    idle.truncate(1);
    let mut rest = Vec::new();
    drop(idle[0].read_to_end(&mut rest));
    let answer = status(&mut slow);
    assert!(answer == 408 || answer == 0, "{answer}");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_locked_database_is_503_and_the_delivery_comes_again() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    portal.edit(id, &[("city", "Oslo")]);
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    assert_eq!(
        door.deliver(&portal, &json!([change(&portal, id, "Oslo")])),
        503
    );
    program.execute_batch("COMMIT").expect("released");
    assert_eq!(
        door.deliver(&portal, &json!([change(&portal, id, "Oslo")])),
        204
    );
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn either_secret_is_valid_while_it_is_being_changed() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let settings = format!(
        "{RARELY}{}",
        door.settings("").replace(
            "{ file = \"secret\" }",
            "[{ file = \"new\" }, { file = \"secret\" }]"
        )
    );
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    std::fs::write(site.path("new"), "the-new-secret").expect("written");
    site.start_and_settle();
    for (secret, city, expected) in [
        (DEFAULT_SECRET, "Oslo", 204),
        ("the-new-secret", "Rome", 204),
        ("a-third", "Bonn", 401),
    ] {
        let body = json!([change(&portal, id, city)]).to_string();
        let headers = signed_with(secret, portal.now_ms(), &door.url(), body.as_bytes());
        assert_eq!(door.post(&headers, body.as_bytes()), expected, "{city}");
    }
    assert_eq!(site.stop(), 0);
}

/// One certificate and its key, as PEM.
pub(crate) fn certificate() -> (rustls::pki_types::CertificateDer<'static>, String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    (
        made.cert.der().clone(),
        made.cert.pem(),
        made.signing_key.serialize_pem(),
    )
}

/// Sends a delivery over TLS, trusting one certificate; `None` where the handshake fails.
fn deliver_over_tls(
    door: &Door,
    trusted: &rustls::pki_types::CertificateDer<'static>,
    headers: &[(&str, String)],
    body: &str,
) -> Option<u16> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(connection, door.connect());
    let mut request = head("/webhooks/hubspot", headers, body.len());
    request.push_str(body);
    stream.write_all(request.as_bytes()).ok()?;
    Some(status(&mut stream))
}

#[test]
fn tls_is_ended_here_and_a_renewed_certificate_is_taken() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let settings = format!(
        "{RARELY}{}",
        door.settings("tls = { cert = \"cert.pem\", key = \"key.pem\" }")
    );
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    let put = |pair: &(_, String, String)| {
        std::fs::write(site.path("key.pem"), &pair.2).expect("written");
        std::fs::write(site.path("cert.pem"), &pair.1).expect("written");
    };
    let (first, second) = (certificate(), certificate());
    put(&first);
    site.start_and_settle();
    let deliver = |trusted| {
        let body = json!([change(&portal, id, "Oslo")]).to_string();
        let headers = signed(portal.now_ms(), &door.url(), body.as_bytes());
        deliver_over_tls(&door, trusted, &headers, &body)
    };
    assert_eq!(deliver(&first.0), Some(204));
    assert_eq!(deliver(&second.0), None);
    std::fs::write(site.path("key.pem"), &second.2).expect("written");
    std::fs::write(site.path("cert.pem"), &second.1).expect("written");
    eventually("the renewed certificate", || {
        deliver(&second.0) == Some(204)
    });
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_edit_that_a_push_went_over_is_kept_when_its_event_tells_the_value() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let settings = format!(
        "{RARELY}{}[conflicts]\npolicy = \"local\"\n",
        door.settings("")
    );
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    portal.stand().faults_mut().slow_ms = 700;
    portal.script(FaultKind::Slow, 1, "/batch/read");
    site.execute("UPDATE contacts SET city = 'Lima'");
    eventually("the read before the write", || {
        portal.requests("/batch/read") > 0
    });
    let mut edited = change(&portal, id, "Oslo");
    portal.edit(id, &[("city", "Oslo")]);
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    let mut own = change(&portal, id, "Lima");
    own["eventId"] = json!(2);
    let by_our_app = |event: &mut Value| {
        event["changeSource"] = json!("INTEGRATION");
        event["sourceId"] = json!("1160452");
    };
    by_our_app(&mut own);
    // A script with our token made the edit.
    by_our_app(&mut edited);
    // In whatever order, and twice.
    assert_eq!(door.deliver(&portal, &json!([own])), 204);
    assert_eq!(door.deliver(&portal, &json!([edited])), 204);
    let mut again = edited.clone();
    again["eventId"] = json!(3);
    assert_eq!(door.deliver(&portal, &json!([again])), 204);
    until_taken_in(&site);
    let kept = "SELECT group_concat(local_value || ' ' || remote_value || ' ' || winner || ' ' || resolution) FROM sync_conflicts";
    assert_eq!(site.text(kept).as_deref(), Some("Lima Oslo local policy"));
    let history = "SELECT count(*) FROM sync_history WHERE origin = 'conflict' AND old_value = 'Oslo' AND new_value = 'Lima'";
    assert_eq!(site.number(history), 1);
    // Where events tell, nobody asks.
    site.until_sql("SELECT count(*) FROM _sync_gaps WHERE look_at IS NULL");
    assert_eq!(portal.requests("/batch/read"), 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_write_that_waits_for_a_later_read_asks_when_its_time_has_come() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("ann@example.com");
    let mut site = door.site(&portal, RARELY);
    site.start_and_settle();
    // HubSpot announces a privacy deletion, and goes on showing the record.
    let mut deletion = change(&portal, id, "");
    deletion["subscriptionType"] = json!("contact.privacyDeletion");
    assert_eq!(door.deliver(&portal, &json!([deletion])), 204);
    eventually("the look at it", || portal.requests("/batch/read") > 0);
    site.until_sql("SELECT count(*) FROM _sync_reads");
    let before = portal.requests("/batch/read");
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql("SELECT next_attempt_at > enqueued_at FROM sync_outbox");
    wait(Duration::from_secs(6));
    let asked = portal.requests("/batch/read") - before;
    assert!(asked <= 3, "{asked} requests in six seconds");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_deletion_that_a_webhook_tells_of_marks_the_row_and_a_restore_unmarks_it() {
    let portal = Portal::quick();
    let door = Door::new();
    let ids = ["ann", "bob"].map(|name| portal.contact(&format!("{name}@example.com")));
    let objects = format!("[objects.contacts]\non_remote_delete = \"mark\"\n{CONTACTS}");
    let settings = format!("{RARELY}{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, &objects);
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", ids[0], now));
    site.until_sql("SELECT count(*) FROM contacts WHERE local_id = 1 AND hs_archived = 1");
    let now = portal.now_ms();
    assert!(portal.stand().restore("contacts", ids[0], now));
    site.until_sql("SELECT count(*) FROM contacts WHERE local_id = 1 AND hs_archived = 0");
    let told = "SELECT group_concat(iif(new_value IS NULL, 'gone', 'made') || ' ' || origin, '; ')
                FROM (SELECT * FROM sync_history ORDER BY id)";
    assert_eq!(
        site.text(told).as_deref(),
        Some("gone webhook; made webhook")
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_users_token_believes_the_deletion_that_a_webhook_announces() {
    let portal = Portal::quick();
    let door = Door::new();
    let ids = ["ann", "bob"].map(|name| portal.contact(&format!("{name}@example.com")));
    let settings = format!("{RARELY}{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, CONTACTS);
    let file = std::fs::read_to_string(site.path("config.toml")).expect("written");
    let file = file.replace("[auth]\n", "[auth]\nsees = \"user\"\n");
    std::fs::write(site.path("config.toml"), file).expect("written");
    site.start_and_settle();
    door.subscribe(&portal, Webhooks::default());
    portal.stand().settings_mut().hidden.extend(ids);
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", ids[0], now));
    site.until_sql("SELECT count(*) = 1 FROM contacts");
    assert_eq!(
        site.number("SELECT hs_id FROM contacts").cast_unsigned(),
        ids[1]
    );
    assert_eq!(site.stop(), 0);
}
