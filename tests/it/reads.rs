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
pub(crate) fn call(portal: &Portal, method: &str, path: &str, body: &Value) {
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

/// A custom property of deals that HubSpot keeps unique, as somebody makes and archives it.
pub(crate) fn make_property(portal: &Portal, object: &str, name: &str, unique: bool) {
    let property = json!({"name": name, "label": name, "type": "string", "fieldType": "text",
                          "groupName": format!("{}information", object.trim_end_matches('s')),
                          "hasUniqueValue": unique});
    call(
        portal,
        "POST",
        &format!("/crm/properties/2026-03/{object}"),
        &property,
    );
}

pub(crate) fn archive_property(portal: &Portal, object: &str, name: &str) {
    let path = format!("/crm/properties/2026-03/{object}/{name}");
    call(portal, "DELETE", &path, &Value::Null);
}

#[test]
fn a_new_rows_value_of_a_degraded_field_waits_while_its_record_is_made() {
    let portal = Portal::quick();
    make_property(&portal, "contacts", "nickname", false);
    let objects = format!("{CONTACTS}nickname = \"nickname\"\n");
    let site = Site::with(&portal, "", &objects);
    site.once();
    let theirs = portal.contact("theirs@example.com");
    archive_property(&portal, "contacts", "nickname");
    site.once();
    site.execute(
        "INSERT INTO contacts (email, city, nickname) VALUES ('new@example.com', 'Oslo', 'Newt')",
    );
    site.execute("REPLACE INTO contacts (hs_id, email, nickname) SELECT hs_id, email, 'Tess' FROM contacts WHERE hs_id");
    site.run(&["once", "--timeout", "3s"]);
    assert_eq!(portal.count_with("city", "Oslo"), 1);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox AS e JOIN sync_outbox_fields AS f ON f.outbox_id = e.id
                     WHERE e.operation = 'update' AND e.state = 'pending' AND f.property = 'nickname'"),
        2
    );
    make_property(&portal, "contacts", "nickname", false);
    site.once();
    assert_eq!(portal.count_with("nickname", "Newt"), 1);
    assert_eq!(portal.value(theirs, "nickname").as_deref(), Some("Tess"));
    assert_eq!(portal.contacts(), 2);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn a_new_row_waits_while_its_own_key_is_not_synced() {
    let portal = Portal::quick();
    make_property(&portal, "deals", "reference", true);
    let objects = "[objects.deals]\nkey = \"reference\"\n[objects.deals.properties]\ndealname = \"name\"\n\
                   reference = \"reference\"\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    archive_property(&portal, "deals", "reference");
    site.once();
    site.execute("INSERT INTO deals (name, reference) VALUES ('Keyed', 'R-1'), ('Keyless', NULL)");
    site.run(&["once", "--timeout", "3s"]);
    let names = || {
        let stand = portal.stand();
        let records = stand.records("deals").into_iter();
        let names = records.filter_map(|record| record.value("dealname").map(str::to_owned));
        names.collect::<BTreeSet<String>>()
    };
    assert_eq!(names(), BTreeSet::from(["Keyless".to_owned()]));
    assert_eq!(
        site.text("SELECT operation || ' ' || state || ' ' || last_error FROM sync_outbox")
            .as_deref(),
        Some(
            "create pending `reference` is the key of deals row 1 and is not synced at the moment: \
              SELECT problem, hint FROM sync_fields says why"
        )
    );
    make_property(&portal, "deals", "reference", true);
    site.once();
    assert_eq!(names().len(), 2);
    assert_eq!(site.number("SELECT count(hs_id) FROM deals"), 2);
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

/// What stands in a text in place of half an emoji.
const HALF: &str = "a \u{fffd}";

#[test]
fn half_an_emoji_in_one_record_holds_up_neither_first_read_nor_poll_nor_push() {
    let portal = Portal::with(Settings {
        cuts_pairs: true,
        ..Settings::quick()
    });
    portal.fill("contacts", 119);
    let odd = portal.contact("odd@example.com");
    portal.edit(odd, &[("city", HALF)]);
    let mut site = Site::with(&portal, SOON, CONTACTS);
    site.start_and_load();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 120);
    let city = format!("SELECT city FROM contacts WHERE hs_id = {odd}");
    assert_eq!(site.text(&city).as_deref(), Some(HALF));
    let other = portal.contact("other@example.com");
    portal.edit(odd, &[("firstname", HALF)]);
    site.until_sql(&format!(
        "SELECT count(*) = 2 FROM contacts WHERE hs_id = {other} OR (hs_id = {odd} AND first_name = '{HALF}')"
    ));
    site.execute("UPDATE contacts SET last_name = 'Changed'");
    site.until_pushed();
    assert_eq!(portal.count_with("lastname", "Changed"), 121);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_search_without_hits_that_has_a_next_page_lets_the_full_comparison_find_what_it_hides() {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    portal.fill("companies", 3);
    let objects = format!("{CONTACTS}\n[objects.companies.properties]\nname = \"name\"\n");
    let mut site = Site::with(&portal, SOON, &objects);
    site.start_and_load();
    let hidden = Script::new(FaultKind::EmptyPage, u32::MAX, "/contacts/search");
    portal.stand().faults_mut().script(hidden);
    let id = portal.contact("hidden@example.com");
    site.until_sql(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}"));
    // The other object knows nothing of it.
    let company = json!({"properties": {"name": "New"}});
    call(&portal, "POST", "/crm/objects/2026-03/companies", &company);
    site.until_sql("SELECT count(*) FROM companies WHERE name = 'New'");
    site.until_sql("SELECT last_error IS NOT NULL FROM sync_status WHERE object = 'contacts'");
    assert_eq!(site.stop(), 0);
    // A run that ends goes the other way at once.
    let later = portal.contact("later@example.com");
    let run = site.run(&["once", "--reconcile"]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert_eq!(
        site.number(&format!(
            "SELECT count(*) FROM contacts WHERE hs_id = {later}"
        )),
        1
    );
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_poll_that_stands_in_hubspots_future_is_set_back_and_finds_what_was_changed_meanwhile() {
    let portal = Portal::with(Settings {
        clock_offset_ms: 8 * HOUR_MS,
        ..Settings::quick()
    });
    portal.fill("contacts", 3);
    let mut site = Site::with(&portal, SOON, CONTACTS);
    site.start_and_load();
    site.until_sql("SELECT lag_seconds < 60 FROM sync_status");
    portal.stand().settings_mut().clock_offset_ms = 0;
    let id = portal.contact("after@example.com");
    site.until_sql(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}"));
    site.until_sql("SELECT polled_to <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 second') FROM _sync_cursors WHERE object = 'contacts'");
    site.until_sql("SELECT lag_seconds < 60 FROM sync_status");
    assert_eq!(site.stop(), 0);
}

#[test]
fn one_answer_whose_date_is_a_year_ahead_hides_nothing() {
    for path in ["/search", "/contacts"] {
        let portal = Portal::quick();
        portal.fill("contacts", 3);
        let ahead = Script::new(FaultKind::FutureDate, 1, path);
        portal.stand().faults_mut().script(ahead);
        let mut site = Site::with(&portal, SOON, CONTACTS);
        site.start_and_load();
        let id = portal.contact("after@example.com");
        site.until_sql(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}"));
        assert_eq!(
            site.number("SELECT count(*) FROM _sync_cursors WHERE polled_to > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 day')"),
            0,
            "{path}"
        );
        assert_eq!(site.stop(), 0);
    }
}
