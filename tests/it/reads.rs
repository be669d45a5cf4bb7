//! Answers that say less than was asked for: nothing is lost by them, and nothing is taken for gone.

use std::collections::BTreeSet;
use std::time::Duration;

use hubsyncd::simulator::request::Request;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use serde_json::{Value, json};

use crate::daemon::{CONTACTS, Site, wait};
use crate::portal::Portal;

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
    // What HubSpot said of its properties a moment ago is believed for ten seconds.
    wait(Duration::from_secs(11));
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
        "SELECT state = 'degraded' AND instr(config_error, 'companies') FROM sync_health",
    );
    assert_eq!(site.stop(), 0);
    portal.stand().settings_mut().denied_scopes.clear();
    site.start();
    site.until_sql("SELECT count(*) = 5 FROM companies");
    site.until_sql("SELECT config_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}
