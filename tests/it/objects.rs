//! Any object of the portal's: HubSpot's own by a table of facts, a portal's by its schema.

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::portal::NewObject;
use hubsyncd::simulator::settings::Settings;
use hubsyncd::simulator::webhooks::Webhooks;
use serde_json::json;

use crate::daemon::{Site, eventually};
use crate::portal::Portal;
use crate::webhooks::Door;

/// Every object that HubSpot defines and apps may write, each with what a new record needs.
const WRITTEN: [(&str, &str); 26] = [
    ("contacts", "email = 'new@example.com'"),
    ("companies", "name = 'New'"),
    (
        "deals",
        "dealname = 'New', pipeline = 'default', dealstage = 'qualifiedtobuy'",
    ),
    (
        "tickets",
        "subject = 'New', hs_pipeline = '0', hs_pipeline_stage = '1'",
    ),
    ("products", "name = 'New'"),
    ("line_items", "name = 'New'"),
    (
        "quotes",
        "hs_title = 'New', hs_expiration_date = '2027-01-01'",
    ),
    (
        "calls",
        "hs_call_title = 'New', hs_timestamp = '2026-11-24T09:00:00Z'",
    ),
    (
        "emails",
        "hs_email_subject = 'New', hs_timestamp = '2026-11-24T09:00:00Z', hs_email_direction = 'EMAIL'",
    ),
    (
        "meetings",
        "hs_meeting_title = 'New', hs_timestamp = '2026-11-24T09:00:00Z'",
    ),
    (
        "notes",
        "hs_note_body = 'New', hs_timestamp = '2026-11-24T09:00:00Z'",
    ),
    (
        "tasks",
        "hs_task_subject = 'New', hs_timestamp = '2026-11-24T09:00:00Z'",
    ),
    (
        "communications",
        "hs_communication_body = 'New', hs_timestamp = '2026-11-24T09:00:00Z'",
    ),
    (
        "postal_mail",
        "hs_postal_mail_body = 'New', hs_timestamp = '2026-11-24T09:00:00Z'",
    ),
    ("orders", "hs_order_name = 'New'"),
    ("carts", "hs_cart_name = 'New'"),
    ("invoices", "hs_title = 'New'"),
    ("subscriptions", "hs_name = 'New'"),
    ("commerce_payments", "hs_initial_amount = 5"),
    ("services", "hs_name = 'New'"),
    ("appointments", "hs_appointment_name = 'New'"),
    ("listings", "hs_name = 'New'"),
    ("courses", "hs_course_name = 'New'"),
    ("projects", "hs_name = 'New'"),
    ("goal_targets", "hs_goal_name = 'New'"),
    ("marketing_events", "hs_event_name = 'New'"),
];

/// `a = 1, b = 2` as an INSERT.
fn insert(table: &str, values: &str) -> String {
    let pairs: Vec<(&str, &str)> = values
        .split(", ")
        .filter_map(|pair| pair.split_once(" = "))
        .collect();
    let (columns, values): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
    format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        columns.join(", "),
        values.join(", ")
    )
}

#[test]
fn every_object_that_hubspot_defines_goes_both_ways() {
    let portal = Portal::quick();
    let names =
        WRITTEN
            .iter()
            .map(|(object, _)| *object)
            .chain(["leads", "users", "feedback_submissions"]);
    let names: Vec<&str> = names.collect();
    for object in &names {
        portal.fill(object, 3);
    }
    let tables = names.iter().map(|object| format!("[objects.{object}]"));
    let objects = tables.collect::<Vec<_>>().join("\n");
    let mut site = Site::with(&portal, "", &objects);
    site.start_and_load();
    for object in &names {
        assert_eq!(
            site.number(&format!("SELECT count(*) FROM {object}")),
            3,
            "{object}"
        );
    }
    assert_eq!(
        site.number("SELECT count(*) FROM sync_fields WHERE state = 'degraded'"),
        0
    );
    let program = site.program();
    for (object, values) in WRITTEN {
        let sql = insert(object, values);
        program.execute(&sql, []).expect(&sql);
    }
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    for (object, _) in WRITTEN {
        assert_eq!(portal.stand().count(object), 4, "{object}");
        assert_eq!(
            site.number(&format!(
                "SELECT count(*) FROM {object} WHERE hs_id IS NOT NULL"
            )),
            4,
            "{object}"
        );
    }
    // Each is polled by its own last-modified property.
    let now = portal.now_ms();
    let edits = WRITTEN.map(|(object, values)| {
        let property = values.split(" = ").next().expect("a property");
        let value = match property {
            "email" => "edited@example.com",
            "hs_initial_amount" => "7",
            _ => "Edited",
        };
        let id = portal.stand().records(object)[0].id();
        let edited = portal.stand().edit(object, id, &[(property, value)], now);
        assert!(edited, "{object}");
        (object, property, value, id)
    });
    for (object, property, value, id) in edits {
        site.until_sql(&format!(
            "SELECT {property} = '{value}' FROM {object} WHERE hs_id = {id}"
        ));
    }
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn users_come_with_hours_zone_and_absence_and_are_never_written() {
    let portal = Portal::quick();
    let now = portal.now_ms();
    let hours = r#"[{"days":"MONDAY_TO_FRIDAY","startMinute":540,"endMinute":1020}]"#;
    let values = [
        ("hs_given_name", "Maria"),
        ("hs_availability_status", "away"),
        ("hs_working_hours", hours),
        ("hs_standard_time_zone", "Europe/Berlin"),
    ];
    portal.stand().create("users", &values, now);
    let mut site = Site::with(&portal, "", "[objects.users]\n");
    site.start_and_load();
    let shown = site.text(
        "SELECT hs_availability_status || ' ' || hs_standard_time_zone || ' ' || hs_working_hours FROM users",
    );
    assert_eq!(shown, Some(format!("away Europe/Berlin {hours}")));
    assert_eq!(
        site.text("SELECT direction FROM sync_status").as_deref(),
        Some("pull")
    );
    let refused = site
        .program()
        .execute("UPDATE users SET hs_given_name = 'M'", []);
    assert!(refused.is_err());
    site.configure(&portal, "", "[objects.users]\ndirection = \"both\"\n");
    let output = site.run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        explanation.contains("HubSpot lets no app write users"),
        "{explanation}"
    );
}

/// A portal that makes machines; their type id.
fn with_machines() -> (Portal, String) {
    let portal = Portal::quick();
    let id = make_machines(&portal);
    (portal, id)
}

fn make_machines(portal: &Portal) -> String {
    let now = portal.now_ms();
    portal.stand().create_object(
        NewObject {
            name: "machine",
            singular: "Machine",
            plural: "Machines",
            texts: &["model", "site"],
            unique: &["serial"],
            required: &["model"],
            associated: &["contacts"],
        },
        now,
    )
}

#[test]
fn a_custom_object_is_found_by_each_of_its_names() {
    let (portal, type_id) = with_machines();
    let now = portal.now_ms();
    let stand = portal
        .stand()
        .create(&type_id, &[("model", "A"), ("serial", "1")], now);
    let full_name = format!("p{}_machine", portal.stand().settings().portal_id);
    for (objects, object, table) in [
        ("[objects.machine]\n".to_owned(), "machine", "machine"),
        (
            format!("[objects.{full_name}]\n"),
            full_name.as_str(),
            full_name.as_str(),
        ),
        (
            format!("[objects.\"{type_id}\"]\n"),
            type_id.as_str(),
            "machine",
        ),
        (
            "[objects.machines]\nobject = \"machine\"\n".to_owned(),
            "machines",
            "machines",
        ),
        (
            format!("[objects.plant]\nobject = \"{type_id}\"\ntable = \"plants\"\n"),
            "plant",
            "plants",
        ),
    ] {
        let site = Site::with(&portal, "", &objects);
        site.once();
        let row = format!("SELECT model || serial FROM {table} WHERE hs_id = {stand}");
        assert_eq!(site.text(&row).as_deref(), Some("A1"), "{objects}");
        let status = "SELECT object || ' ' || table_name FROM sync_status";
        assert_eq!(site.text(status), Some(format!("{object} {table}")));
        site.execute(&format!("UPDATE {table} SET site = '{table}'"));
        site.once();
        let shown = portal.stand();
        let record = shown.record(&type_id, stand).expect("there");
        assert_eq!(record.value("site"), Some(table), "{objects}");
    }
}

#[test]
fn a_custom_record_is_made_once_and_not_without_what_its_schema_requires() {
    let (portal, type_id) = with_machines();
    let mut site = Site::with(&portal, "", "[objects.machines]\nobject = \"machine\"\n");
    site.start_and_load();
    site.execute("INSERT INTO machines (serial) VALUES ('1')");
    site.until_sql(
        "SELECT count(*) FROM sync_outbox WHERE state = 'dead' AND code = 'required-property'",
    );
    let said = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("a sentence");
    assert!(
        said.contains("`machines.model` of row 1 is empty"),
        "{said}"
    );
    assert_eq!(
        portal.requests("/batch/upsert") + portal.requests("/batch/create"),
        0
    );
    site.execute("UPDATE machines SET model = 'B'");
    site.until_sql("SELECT count(*) FROM machines WHERE hs_id IS NOT NULL");
    assert_eq!(portal.stand().count(&type_id), 1);
    // Ours was made in the object's own group.
    let key = portal
        .stand()
        .record(
            &type_id,
            site.number("SELECT hs_id FROM machines").cast_unsigned(),
        )
        .and_then(|record| record.value("hubsyncd_key").map(str::to_owned));
    assert!(key.is_some_and(|key| key.len() == 32));
    site.execute("DELETE FROM machines");
    eventually("archived", || portal.stand().count(&type_id) == 0);
}

#[test]
fn an_object_that_the_portal_has_not_waits_and_loads_by_itself_once_it_is_there() {
    let portal = Portal::with(Settings {
        missing_objects: ["quotes".to_owned()].into(),
        ..Settings::quick()
    });
    portal.contact("ann@example.com");
    let schedule = "[schedule]\npoll = \"1s\"\nreference = \"1s\"\n";
    let objects = "[objects.contacts]\n[objects.quotes]\n[objects.machine]\n";
    let mut site = Site::with(&portal, schedule, objects);
    site.start();
    site.until_sql("SELECT count(*) FROM contacts");
    for object in ["quotes", "machine"] {
        let waits = format!(
            "SELECT count(*) FROM sync_status WHERE object = '{object}' AND code = 'object-unknown'
             AND last_error = 'the portal has no object `{object}`' AND backfill = 'waiting'"
        );
        site.until_sql(&waits);
    }
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    let shown = String::from_utf8_lossy(&site.run(&["status"]).stdout).into_owned();
    assert!(
        shown.contains("the portal has no object `quotes`"),
        "{shown}"
    );
    assert!(shown.contains("hint: look at the name"), "{shown}");
    let id = make_machines(&portal);
    let now = portal.now_ms();
    portal.stand().create(&id, &[("model", "A")], now);
    site.until_sql("SELECT count(*) FROM machine WHERE model = 'A'");
    portal.stand().settings_mut().missing_objects.clear();
    portal.fill("quotes", 2);
    site.until_sql("SELECT count(*) = 2 FROM quotes");
    site.until_sql("SELECT sum(code IS NULL) = 3 AND sum(last_error IS NULL) = 3 FROM sync_status");
    // Taken away again: it waits, nothing of it is lost, and it goes on afterwards.
    portal
        .stand()
        .settings_mut()
        .missing_objects
        .insert("quotes".to_owned());
    site.until_sql(
        "SELECT count(*) FROM sync_status WHERE object = 'quotes' AND code = 'object-unknown'",
    );
    site.execute("UPDATE quotes SET hs_title = 'changed'");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE state = 'pending'"),
        2
    );
    portal.stand().settings_mut().missing_objects.clear();
    site.until_pushed();
    site.until_sql(
        "SELECT count(*) FROM sync_status WHERE object = 'quotes' AND last_error IS NULL",
    );
    assert_eq!(
        site.number("SELECT count(*) FROM quotes WHERE hs_title = 'changed'"),
        2
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_property_that_is_readable_and_not_listed_is_pulled() {
    let portal = Portal::quick();
    portal.deal();
    let schedule = "[schedule]\npoll = \"1s\"\nreference = \"1s\"\n";
    let objects = "[objects.deals.properties]\ndealname = \"dealname\"\ndealstage = \"dealstage\"\n\
                   hs_v2_date_entered_qualifiedtobuy = \"qualified_at\"\n\
                   hs_v2_date_entered_closedwon = \"won_at\"\nhs_v2_date_entered_nowhere = \"nowhere\"\n";
    let mut site = Site::with(&portal, schedule, objects);
    site.start_and_load();
    assert_eq!(
        site.number("SELECT count(*) FROM deals WHERE qualified_at IS NOT NULL AND won_at IS NULL"),
        1
    );
    let degraded = "SELECT group_concat(property) FROM sync_fields WHERE state = 'degraded'";
    assert_eq!(
        site.text(degraded).as_deref(),
        Some("hs_v2_date_entered_nowhere")
    );
    let kind = "SELECT type || ' ' || direction FROM sync_fields WHERE column_name = 'won_at'";
    assert_eq!(site.text(kind).as_deref(), Some("datetime pull"));
    site.execute("UPDATE deals SET dealstage = 'closedwon'");
    site.until_sql("SELECT count(*) FROM deals WHERE won_at IS NOT NULL");
    let read = portal.requests("/properties/");
    eventually("the schema is read again", || {
        portal.requests("/properties/") > read + 1
    });
    assert_eq!(
        site.text(degraded).as_deref(),
        Some("hs_v2_date_entered_nowhere")
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn webhooks_name_an_object_by_its_type_id() {
    let (portal, type_id) = with_machines();
    let now = portal.now_ms();
    let note = [
        ("hs_note_body", "before"),
        ("hs_timestamp", "2026-11-24T09:00:00Z"),
    ];
    let (machine, note) = {
        let mut stand = portal.stand();
        let machine = stand.create(&type_id, &[("model", "A")], now);
        (machine, stand.create("notes", &note, now))
    };
    let door = Door::new();
    // Polling alone would find nothing within the test.
    let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
    let objects = "[objects.notes]\n[objects.machines]\nobject = \"machine\"\n";
    let mut site = Door::site_with(&portal, &settings, objects);
    site.start_and_settle();
    door.until_open();
    door.subscribe(&portal, Webhooks::default());
    let now = portal.now_ms();
    portal
        .stand()
        .edit(&type_id, machine, &[("model", "B")], now);
    portal
        .stand()
        .edit("notes", note, &[("hs_note_body", "after")], now);
    site.until_sql("SELECT count(*) FROM machines WHERE model = 'B'");
    site.until_sql("SELECT count(*) FROM notes WHERE hs_note_body = 'after'");
    assert!(site.number("SELECT count(*) FROM sync_inbox WHERE object = 'machines'") > 0);
    let event = json!([{
        "eventId": 99, "subscriptionType": "object.deletion", "objectTypeId": "2-9", "objectId": 1,
        "portalId": portal.stand().settings().portal_id, "occurredAt": now,
    }]);
    assert_eq!(door.deliver(&portal, &event), 204);
    site.until_sql("SELECT count(*) FROM sync_inbox WHERE object = '2-9' AND state = 'ignored'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_table_that_the_schema_named_keeps_its_name_while_hubspot_is_silent() {
    let (portal, type_id) = with_machines();
    let now = portal.now_ms();
    portal.stand().create(&type_id, &[("model", "A")], now);
    let mut site = Site::with(&portal, "", &format!("[objects.\"{type_id}\"]\n"));
    site.once();
    let status = "SELECT table_name || ' ' || rows || ' ' || backfill FROM sync_status";
    assert_eq!(site.text(status).as_deref(), Some("machine 1 done"));
    portal.script(FaultKind::Unavailable, 1_000_000, "/");
    site.start();
    site.until_sql("SELECT count(*) FROM sync_health WHERE state = 'unreachable'");
    assert_eq!(site.text(status).as_deref(), Some("machine 1 done"));
    site.execute("UPDATE machine SET model = 'B'");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE state = 'pending'"),
        1
    );
}

#[test]
fn a_custom_object_waits_for_its_scope_and_goes_on_by_itself() {
    let (portal, type_id) = with_machines();
    let now = portal.now_ms();
    portal.stand().create(&type_id, &[("model", "A")], now);
    portal.contact("ann@example.com");
    for right in ["objects", "schemas"] {
        let scope = format!("crm.{right}.custom.read");
        portal.stand().settings_mut().denied_scopes.insert(scope);
    }
    let schedule = "[schedule]\npoll = \"1s\"\nreference = \"1s\"\n";
    let mut site = Site::with(&portal, schedule, "[objects.contacts]\n[objects.machine]\n");
    site.start();
    site.until_sql("SELECT count(*) FROM contacts");
    site.until_sql(
        "SELECT count(*) FROM sync_status WHERE object = 'machine' AND code = 'missing-scope'",
    );
    let said = site.text("SELECT last_error FROM sync_status WHERE object = 'machine'");
    assert!(
        said.as_ref()
            .is_some_and(|said| said.contains("crm.schemas.custom.read")),
        "{said:?}"
    );
    portal.stand().settings_mut().denied_scopes.clear();
    site.until_sql("SELECT count(*) FROM machine WHERE model = 'A'");
    site.until_sql("SELECT count(*) FROM sync_status WHERE object = 'machine' AND code IS NULL");
    assert_eq!(site.stop(), 0);
}
