//! Answers that say less than was asked for: nothing is lost by them, and nothing is taken for gone.

use std::collections::BTreeSet;
use std::time::Duration;

use hubsyncd::simulator::faults::{FaultKind, Script};
use hubsyncd::simulator::request::Request;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use serde_json::{Value, json};

use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::portal::Portal;
use crate::regressions::touch_all;

/// What somebody else's program does by the API.
fn call(portal: &Portal, method: &str, path: &str, body: &Value) {
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        headers: vec![
            (
                "authorization".to_owned(),
                format!("Bearer {DEFAULT_TOKEN}"),
            ),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        body: body.to_string().into_bytes(),
    };
    let now = portal.now_ms();
    portal.stand().handle(&request, now);
}

const SOON: &str = "[schedule]\npoll = \"1s\"\n";

#[test]
fn a_property_that_is_left_out_is_empty_and_one_that_is_gone_keeps_its_column() {
    let portal = Portal::with(Settings {
        leave_out_empty: true,
        ..Settings::quick()
    });
    let custom = json!({"name": "nickname", "label": "Nickname", "type": "string", "fieldType": "text",
                        "groupName": "contactinformation"});
    call(&portal, "POST", "/crm/properties/2026-03/contacts", &custom);
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("city", "Oslo"), ("nickname", "Annie")]);
    let objects = format!("{CONTACTS}nickname = \"nickname\"\n");
    let mut site = Site::with(&portal, SOON, &objects);
    site.start_and_load();
    site.until_sql("SELECT count(*) FROM contacts WHERE nickname = 'Annie' AND city = 'Oslo'");
    portal.edit(id, &[("city", "")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE nickname = 'Annie' AND city IS NULL");
    // What HubSpot said of its properties is believed for a second.
    wait(Duration::from_secs(2));
    call(
        &portal,
        "DELETE",
        "/crm/properties/2026-03/contacts/nickname",
        &Value::Null,
    );
    portal.edit(id, &[("city", "Rome")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Rome'");
    assert_eq!(
        site.text("SELECT nickname FROM contacts").as_deref(),
        Some("Annie"),
        "HubSpot no longer has the property: its column says what it said last"
    );
    site.until_sql(
        "SELECT count(*) FROM sync_fields WHERE property = 'nickname' AND state = 'degraded'",
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_object_that_the_token_may_not_read_does_not_stop_the_others() {
    let portal = Portal::with(Settings {
        denied_scopes: BTreeSet::from([
            "crm.objects.companies.read".to_owned(),
            "crm.schemas.companies.read".to_owned(),
        ]),
        ..Settings::quick()
    });
    portal.fill("contacts", 5);
    portal.fill("companies", 5);
    let objects = format!("{CONTACTS}\n[objects.companies.properties]\nname = \"name\"\n");
    let mut site = Site::with(&portal, SOON, &objects);
    site.start();
    site.until_sql("SELECT count(*) = 5 FROM contacts");
    site.until_sql(
        "SELECT state = 'degraded' AND instr(last_error, 'may not read the properties of companies') FROM sync_health",
    );
    // Nobody may take the first load for done.
    assert_eq!(
        site.number("SELECT min(backfill = 'done') = 0 AND count(*) = 2 FROM sync_status"),
        1
    );
    assert_eq!(site.stop(), 0);
    assert_eq!(site.run(&["once"]).status.code(), Some(1));
    portal.stand().settings_mut().denied_scopes.clear();
    site.start();
    site.until_sql("SELECT count(*) = 5 FROM companies");
    site.until_sql("SELECT state <> 'degraded' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_record_that_hubspot_failed_to_read_waits_and_the_others_are_pushed() {
    one_of_three_waits(FaultKind::UnreadableRecord);
}

#[test]
fn a_record_that_an_answer_left_out_waits_and_the_others_are_pushed() {
    one_of_three_waits(FaultKind::OmittedRecord);
}

fn one_of_three_waits(fault: FaultKind) {
    let portal = Portal::quick();
    let ids: Vec<u64> = (0..3)
        .map(|number| portal.contact(&format!("p{number}@example.com")))
        .collect();
    let mut site = Site::with(&portal, SOON, CONTACTS);
    site.start_and_load();
    let unread = Script::new(fault, 1, "/batch/read");
    portal.stand().faults_mut().script(unread);
    site.execute("UPDATE contacts SET city = 'Oslo'");
    eventually("two were pushed", || portal.count_with("city", "Oslo") == 2);
    site.until_sql("SELECT count(*) = 1 FROM sync_outbox");
    site.until_pushed();
    for id in ids {
        assert_eq!(portal.value(id, "city").as_deref(), Some("Oslo"));
    }
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3);
    assert_eq!(site.stop(), 0);
}

#[test]
fn pages_that_the_gateway_gives_up_on_are_read_in_shorter_ones() {
    let portal = Portal::quick();
    portal.fill("contacts", 600);
    portal.stand().faults_mut().pages_time_out_above = Some(30);
    let site = Site::new(&portal);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 600);
    // 25 a page once two pages failed, and 50 now and then.
    let lists = portal.requests("/contacts");
    assert!(lists <= 40, "{lists} requests");
    touch_all(&portal, 600, "Lima");
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        600
    );
}
