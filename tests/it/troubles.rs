//! What people are told when something is wrong: which object waits and why, what nothing comes of, what to do.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use hubsyncd::clock::{Clock as _, SystemClock};
use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::Settings;

use crate::commands::get;
use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::portal::Portal;
use crate::ports::free_port;

const SOON: &str = "[schedule]\npoll = \"1s\"\nreference = \"1s\"\n";

const NO_COMPANIES: &str =
    "the token may not read companies: scope `crm.objects.companies.read` is missing";

/// A portal whose token lacks scopes.
fn lacking(scopes: &[&str]) -> Portal {
    let portal = Portal::with(Settings {
        denied_scopes: scopes
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>(),
        ..Settings::quick()
    });
    portal.fill("contacts", 250);
    portal.fill("companies", 5);
    portal
}

fn both() -> String {
    format!("{CONTACTS}\n[objects.companies.properties]\nname = \"name\"\n")
}

fn explanation(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = site.run(arguments);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn once_goes_on_with_the_objects_that_the_token_may_read() {
    let portal = lacking(&[
        "crm.objects.companies.read",
        "crm.objects.owners.read",
        "automation",
    ]);
    let site = Site::with(&portal, "", &both());
    let (status, out) = explanation(&site, &["once"]);
    assert_eq!(status, Some(1), "{out}");
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 250, "{out}");
    assert!(
        out.contains(&format!("ended early: {NO_COMPANIES}")),
        "{out}"
    );
    assert!(
        out.contains("\nhint: add it in HubSpot (of a service key under Development > Keys, ")
            && out.contains("), or take `[objects.companies]` out; contacts go on\n"),
        "{out}"
    );
    // What polling and pushing bring goes on too.
    let id = portal.contact("new@example.com");
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    let (status, out) = explanation(&site, &["once"]);
    assert_eq!(status, Some(1), "{out}");
    assert_eq!(
        site.number(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}")),
        1,
        "{out}"
    );
    assert_eq!(portal.count_with("city", "Lima"), 1, "{out}");
    portal.stand().settings_mut().denied_scopes.clear();
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM companies"), 5);
}

#[test]
fn once_goes_on_without_an_object_that_hubspot_keeps_failing_on() {
    let portal = lacking(&[]);
    let site = Site::with(&portal, "", &both());
    site.once();
    portal.script(FaultKind::InternalError, 1_000, "/companies/search");
    let id = portal.contact("new@example.com");
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    let (status, out) = explanation(&site, &["once"]);
    assert_eq!(status, Some(1), "{out}");
    assert_eq!(
        site.number(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}")),
        1,
        "{out}"
    );
    assert_eq!(portal.count_with("city", "Lima"), 1, "{out}");
    assert!(
        out.contains("ended early: ") && out.contains("\nhint: "),
        "{out}"
    );
    assert_eq!(
        site.number("SELECT last_error IS NOT NULL FROM sync_status WHERE object = 'companies'"),
        1
    );
}

#[test]
fn an_object_that_waits_for_a_scope_is_told_everywhere_and_loads_when_it_is_there() {
    let portal = lacking(&["crm.objects.companies.read"]);
    let port = free_port();
    let http = format!("{SOON}[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mut site = Site::with(&portal, &http, &both());
    site.start();
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    site.until_sql("SELECT count(*) FROM sync_status WHERE code = 'missing-scope'");
    site.until_sql("SELECT backfill = 'done' FROM sync_status WHERE object = 'contacts'");
    assert_eq!(
        site.text("SELECT last_error FROM sync_status WHERE object = 'companies'")
            .as_deref(),
        Some(NO_COMPANIES)
    );
    assert_eq!(
        site.text("SELECT last_error FROM sync_status WHERE object = 'contacts'"),
        None
    );
    assert_eq!(
        site.text("SELECT backfill FROM sync_status WHERE object = 'companies'")
            .as_deref(),
        Some("waiting"),
        "nothing of it runs"
    );
    eventually("ready and degraded", || {
        let answer = get(port, "/readyz");
        answer.starts_with("HTTP/1.1 200")
            && answer.contains(r#""state":"degraded""#)
            && answer.contains("crm.objects.companies.read")
    });
    let (status, out) = explanation(&site, &["status"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with("degraded"), "{out}");
    assert!(
        out.contains(&format!("companies: {NO_COMPANIES}\nhint: add it")),
        "{out}"
    );
    // It is asked with each read of the schema, not by each step.
    let polls = portal.requests("/search");
    eventually("a few polls", || portal.requests("/search") > polls + 3);
    portal.stand().settings_mut().denied_scopes.clear();
    site.until_sql("SELECT count(*) = 5 FROM companies");
    site.until_sql(
        "SELECT last_error IS NULL AND code IS NULL FROM sync_status WHERE object = 'companies'",
    );
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

/// What the stand-in says where it forbids something for no scope's sake.
const SUSPENDED: &str =
    "HubSpot says FORBIDDEN: This account is suspended. Contact the owner of the account";

#[test]
fn what_hubspot_forbids_for_another_reason_is_said_in_its_own_words() {
    let portal = lacking(&[]);
    let mut site = Site::with(&portal, SOON, &both());
    portal.script(FaultKind::Forbidden, 1_000_000, "companies");
    site.start();
    site.until_sql("SELECT code = 'forbidden' FROM sync_status WHERE object = 'companies'");
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    site.until_sql("SELECT backfill = 'done' FROM sync_status WHERE object = 'contacts'");
    let (_, out) = explanation(&site, &["status"]);
    assert!(out.contains(SUSPENDED), "{out}");
    assert!(
        out.contains("hint: look at the account") && !out.contains("scope"),
        "{out}"
    );
    assert_eq!(
        site.text("SELECT backfill FROM sync_status WHERE object = 'companies'")
            .as_deref(),
        Some("waiting")
    );
    portal.stand().faults_mut().calm();
    site.until_sql("SELECT count(*) = 5 FROM companies");
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_account_that_may_not_be_looked_at_is_no_endless_start() {
    let portal = lacking(&[]);
    let mut site = Site::with(&portal, SOON, CONTACTS);
    portal.script(FaultKind::Forbidden, 1_000_000, "");
    site.start();
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    assert_eq!(
        site.text("SELECT last_error FROM sync_health").as_deref(),
        Some(&*format!(
            "the token may not look at the account: {SUSPENDED}"
        ))
    );
    let (status, out) = explanation(&site, &["status", "--json"]);
    assert_eq!(status, Some(0), "{out}");
    assert!(!site.log().contains("add the scope"), "no scope helps");
    let (status, out) = explanation(&site, &["check"]);
    assert_eq!(status, Some(0), "{out}");
    portal.stand().faults_mut().calm();
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
    portal.script(FaultKind::Forbidden, 1_000_000, "");
    let (status, out) = explanation(&site, &["once"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(
        out.contains(SUSPENDED) && out.contains("hint: look at the account"),
        "{out}"
    );
}

#[test]
fn a_missing_write_scope_is_told_where_the_outbox_is_listed() {
    let portal = lacking(&["crm.objects.contacts.write"]);
    let mut site = Site::with(&portal, SOON, CONTACTS);
    site.start_and_load();
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    let sentence =
        "the token may not write contacts: scope `crm.objects.contacts.write` is missing";
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    site.until_sql("SELECT code = 'missing-scope' FROM sync_status");
    let (_, out) = explanation(&site, &["outbox", "list"]);
    assert!(
        out.contains(&format!("contacts: {sentence}\nhint: add it in HubSpot")),
        "{out}"
    );
    assert!(out.contains("waits for a scope"), "{out}");
    assert_eq!(
        site.text("SELECT last_error FROM sync_outbox").as_deref(),
        Some(&*format!("{sentence} [missing-scope]"))
    );
    // What HubSpot's side changes comes all the same.
    let id = portal.contact("new@example.com");
    site.until_sql(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}"));
    portal.stand().settings_mut().denied_scopes.clear();
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Lima"), 1);
    site.until_sql("SELECT state = 'running' AND last_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

/// Contacts and companies, associated with each other.
fn associated() -> String {
    format!(
        "{}[associations]\ncontacts_companies = {{ from = \"contacts\", to = \"companies\" }}\n",
        both()
    )
}

#[test]
fn associations_that_the_token_may_not_write_wait_for_their_scope_and_nothing_else_does() {
    let portal = lacking(&[]);
    let schedule = "[schedule]\npoll = \"1s\"\nreference = \"1h\"\n";
    let mut site = Site::with(&portal, schedule, &associated());
    site.once();
    let write = "crm.objects.companies.write";
    let deny = |scopes: &[&str]| {
        let scopes = scopes.iter().map(ToString::to_string);
        portal.stand().settings_mut().denied_scopes = scopes.collect();
    };
    deny(&[write]);
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', 2)",
    );
    let sentence = format!(
        "the token may not write associations of contacts with companies: scope `{write}` is missing"
    );
    let (status, out) = explanation(&site, &["once"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(out.contains(&format!("ended early: {sentence}")), "{out}");
    let asked = || portal.requests("batch/associate/default");
    assert_eq!(asked(), 1, "{out}");
    site.start();
    let told =
        "SELECT last_error FROM sync_status WHERE object = 'contacts' AND code = 'missing-scope'";
    let mut looks = site.looks();
    eventually("it is told", || {
        looks.text(told).as_deref() == Some(&sentence)
    });
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    let explanation = "SELECT last_error FROM sync_outbox WHERE code = 'missing-scope'";
    let explanation = site.text(explanation).unwrap_or_default();
    assert!(explanation.starts_with(&sentence), "{explanation}");
    // What it may is done meanwhile, and it is not asked again before the schema is.
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    eventually("the contact goes out", || {
        portal.count_with("city", "Lima") == 1
    });
    wait(Duration::from_secs(3));
    assert_eq!(asked(), 2);
    assert_eq!(site.stop(), 0);
    deny(&[]);
    site.start();
    site.until_pushed();
    site.until_sql("SELECT code IS NULL FROM sync_status WHERE object = 'contacts'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn associations_that_the_token_may_not_read_say_so() {
    let portal = lacking(&[]);
    let site = Site::with(&portal, "", &associated());
    portal.script(FaultKind::Forbidden, 1_000, "contacts/companies/batch/read");
    let (status, out) = explanation(&site, &["once"]);
    assert_eq!(status, Some(1), "{out}");
    let told = "SELECT code || ': ' || last_error FROM sync_status WHERE object = 'contacts'";
    let said = site.text(told).unwrap_or_default();
    assert!(
        said.starts_with(
            "forbidden: the token may not read associations of contacts with companies: "
        ),
        "{said}"
    );
    assert!(
        portal.requests("contacts/companies/batch/read") <= 2,
        "{out}"
    );
}

#[test]
fn labels_and_limits_that_the_token_may_not_read_are_told_and_keep_no_association_away() {
    for (path, what) in [
        ("contacts/companies/labels", "labels"),
        ("configurations/contacts/companies", "limits"),
    ] {
        let portal = lacking(&[]);
        let site = Site::with(&portal, "", &associated());
        portal.script(FaultKind::Forbidden, 1_000, path);
        let (status, out) = explanation(&site, &["once"]);
        assert_eq!(status, Some(1), "{out}");
        let told = "SELECT code || ': ' || last_error FROM sync_status WHERE object = 'contacts'";
        let said = site.text(told).unwrap_or_default();
        let expected = format!(
            "forbidden: the token may not read the {what} of associations of contacts with companies: "
        );
        assert!(said.starts_with(&expected), "{said}");
        let passed = "SELECT last_association_pass_at IS NOT NULL FROM sync_status WHERE object = 'contacts'";
        assert_eq!(site.number(passed), 1, "{out}");
    }
}

#[test]
fn no_object_at_all_is_not_ready_and_says_so() {
    let portal = lacking(&["crm.objects.contacts.read", "crm.schemas.contacts.read"]);
    let port = free_port();
    let http = format!("{SOON}[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mut site = Site::with(&portal, &http, CONTACTS);
    site.start();
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    eventually("not ready", || {
        let answer = get(port, "/readyz");
        answer.starts_with("HTTP/1.1 503") && answer.contains(r#""state":"degraded""#)
    });
    portal.stand().settings_mut().denied_scopes.clear();
    site.until_sql("SELECT count(*) = 250 FROM contacts");
    assert_eq!(site.stop(), 0);
}

/// Answers every request with the same bytes, until the test ends.
fn always(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4_096];
            // Whoever hangs up is answered no more.
            if stream.read(&mut request).is_ok() && stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    port
}

#[test]
fn whatever_answers_in_hubspots_place_is_no_running() {
    for (answer, told) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 28\r\nconnection: close\r\n\r\n<!DOCTYPE html><p>Sign in<p>",
            "200 with a page that is no answer",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://login.example.com/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "302, a redirect",
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot found",
            "404",
        ),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "407, a proxy on the way",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{\"login\":\"here\"}",
            "can't be read",
        ),
    ] {
        let portal = Portal::quick();
        portal.fill("contacts", 5);
        let mut site = Site::new(&portal);
        site.once();
        let config = std::fs::read_to_string(site.path("config.toml")).expect("the mapping file");
        let other = format!("http://127.0.0.1:{}", always(answer));
        std::fs::write(
            site.path("config.toml"),
            config.replace(&portal.url(), &other),
        )
        .expect("written");
        site.start();
        site.until_sql("SELECT state = 'unreachable' FROM sync_health");
        let error = site
            .text("SELECT last_error FROM sync_health")
            .unwrap_or_default();
        assert!(error.contains(told), "{error}");
        let (_, out) = explanation(&site, &["status"]);
        assert!(out.contains("\nhint: "), "{out}");
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn once_warns_of_a_field_whose_values_do_not_fit_its_type() {
    let portal = Portal::quick();
    portal.fill("contacts", 120);
    let site = Site::with(
        &portal,
        "",
        "[objects.contacts.properties]\nemail = { column = \"email\", type = \"integer\" }\nfirstname = \"first_name\"\n",
    );
    let output = site.run(&["once"]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains("warning: contacts.email: "), "{out}");
    assert!(out.contains("\nhint: "), "{out}");
    let unreadable = site.number("SELECT count(*) FROM sync_unreadable");
    assert!(
        unreadable == 0 || out.contains(&format!("({unreadable} values)")),
        "{out}"
    );
}

#[test]
fn once_right_after_a_clean_stop_asks_at_once_and_searches_once_an_object() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    portal.fill("companies", 20);
    let site = Site::with(&portal, "", &both());
    site.once();
    site.once();
    let (before, clock) = (portal.requests("/search"), SystemClock::new());
    let begun = clock.monotonic();
    site.once();
    let took = clock.monotonic().saturating_sub(begun);
    let searches = portal.requests("/search") - before;
    assert!(searches <= 2, "{searches} searches for two objects");
    // Far under the six seconds that requests on the wire would be waited for, on a busy machine too.
    assert!(took < Duration::from_secs(4), "{took:?}");
    portal.assert_limits_were_kept();
}

#[test]
fn comparisons_come_as_often_as_their_cron_says() {
    let portal = Portal::quick();
    portal.fill("contacts", 5);
    let settings = "[schedule]\npoll = \"1h\"\nreconcile = \"*/2 * * * * *\"\n";
    let mut site = Site::with(&portal, settings, CONTACTS);
    site.start_and_load();
    let ended = "SELECT count(DISTINCT last_reconcile_at) FROM _sync_cursors";
    site.until_sql(ended);
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    for _ in 0..3 {
        let last = site
            .text("SELECT last_reconcile_at FROM _sync_cursors")
            .unwrap_or_default();
        site.until_sql(&format!(
            "SELECT last_reconcile_at <> '{last}' FROM _sync_cursors"
        ));
    }
    let took = clock.monotonic().saturating_sub(begun);
    assert!(
        took < Duration::from_secs(25),
        "{took:?} for three of every two seconds"
    );
    assert_eq!(site.stop(), 0);
}
