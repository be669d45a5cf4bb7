//! Creates whose record HubSpot has already: what `plan --online` shows is what comes of them.

use std::collections::BTreeMap;

use hubsyncd::simulator::settings::Settings;
use serde_json::Value;

use crate::daemon::Site;
use crate::plan::{in_short, planned};
use crate::portal::Portal;

/// A portal whose search shows nothing new in the time that a test takes: a push meets what no poll has brought.
pub(crate) fn behind() -> Portal {
    Portal::with(Settings {
        index_delay_min_ms: 600_000,
        index_delay_max_ms: 600_000,
        ..Settings::default()
    })
}

const FIELDS: &str = "[objects.contacts.properties]\nemail = \"email\"\ncity = \"city\"\nlastname = \"last_name\"\n\
     firstname = { column = \"first_name\", write = \"if_empty\" }\ncustomer_number = \"customer_number\"\n";

/// Rows that HubSpot has with the same values, with others, and with none; and one that it has not.
fn met(object: &str) -> (Portal, Site) {
    let portal = behind();
    // What is only pushed knows no other way of writing.
    let if_empty = "{ column = \"first_name\", write = \"if_empty\" }";
    let fields = match object.contains("push") {
        true => FIELDS.replace(if_empty, "\"first_name\""),
        false => FIELDS.to_owned(),
    };
    let objects = format!("[objects.contacts]\n{object}\n{fields}");
    let site = Site::with(&portal, "", &objects);
    site.once();
    for (name, values) in [
        (
            "same",
            &[
                ("city", "Lima"),
                ("lastname", "Byron"),
                ("firstname", "Ada"),
            ][..],
        ),
        (
            "other",
            &[
                ("city", "Oslo"),
                ("lastname", "Byron"),
                ("firstname", "Eve"),
            ],
        ),
        ("bare", &[]),
    ] {
        let (email, now) = (format!("{name}@example.com"), portal.now_ms());
        let own = [("email", &*email), ("customer_number", name)];
        let values = [&own[..], values].concat();
        portal.stand().create("contacts", &values, now);
    }
    for name in ["same", "other", "bare", "new"] {
        site.execute(&format!(
            "INSERT INTO contacts (email, customer_number, city, last_name, first_name)
             VALUES ('{name}@example.com', '{name}', 'Lima', 'Byron', 'Ada')"
        ));
    }
    (portal, site)
}

/// What was written through the API of each contact since a moment, by its number: creates and updates alike.
fn written(portal: &Portal, since: usize) -> BTreeMap<String, BTreeMap<String, String>> {
    let stand = portal.stand();
    let mut written: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let writes = stand.write_log()[since..].iter();
    for write in writes.filter(|write| write.by_api && write.object == "contacts") {
        let record = stand.record("contacts", write.id).expect("a record");
        let name = record
            .value("customer_number")
            .expect("a number")
            .to_owned();
        for property in &write.properties {
            let new = property.new.clone().unwrap_or_default();
            written
                .entry(name.clone())
                .or_default()
                .insert(property.name.clone(), new);
        }
    }
    for values in written.values_mut() {
        values.retain(|name, _| name != "hubsyncd_key");
    }
    written
}

/// The same as a plan says that it will be.
fn said(plan: &[Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let names = ["same", "other", "bare", "new"];
    let mut said = BTreeMap::new();
    for entry in plan.iter().filter(|entry| entry["sent"] == true) {
        let row = entry["local_id"].as_u64().expect("a row") as usize;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let fields = entry["fields"].as_array().expect("a list").iter();
        let fields = fields.map(|field| (text(&field["property"]), text(&field["new"])));
        said.insert(names[row - 1].to_owned(), fields.collect());
    }
    said
}

/// The modes in which a create may find its record.
const WAYS: [&str; 9] = [
    "conflict = \"local\"",
    "conflict = \"remote\"",
    "conflict = \"newest\"",
    "conflict = \"manual\"",
    "conflict = \"local\"\nmatch = \"customer_number\"",
    "conflict = \"local\"\nkey = \"customer_number\"",
    "conflict = \"local\"\nkey = \"none\"",
    "conflict = \"local\"\nnew_records = \"from_local\"",
    "direction = \"push\"",
];

#[test]
fn a_create_whose_record_is_there_is_planned_as_what_comes_of_it() {
    for way in WAYS {
        let (portal, site) = met(way);
        let plan = planned(&site, &["--online"]);
        let since = portal.stand().write_log().len();
        site.once();
        assert_eq!(
            written(&portal, since),
            said(&plan),
            "{way}: {:#?}",
            in_short(&plan)
        );
        // What is kept here says whose value it was.
        for entry in &plan {
            let id = &entry["hs_id"];
            assert_eq!(
                entry["operation"] == "create",
                id.is_null(),
                "{way}: {entry}"
            );
            for kept in entry["kept"].as_array().expect("a list") {
                let (id, property) = (id.as_u64().expect("a record"), kept["property"].as_str());
                let remote = portal.value(id, property.expect("a property"));
                assert_eq!(kept["remote"].as_str(), remote.as_deref(), "{way}: {entry}");
            }
        }
        assert!(
            planned(&site, &["--online"])
                .iter()
                .all(|entry| entry["sent"] != true)
        );
    }
}

#[test]
fn what_gives_way_in_a_record_that_is_there_is_kept_with_its_reason() {
    for (policy, expected) in [
        (
            "local",
            "update 2; city: Oslo -> Lima; firstname if-empty: Ada | Eve",
        ),
        (
            "remote",
            "update 2; city conflict: Lima | Oslo; firstname if-empty: Ada | Eve",
        ),
        (
            "manual",
            "update 2; city conflict: Lima | Oslo; firstname if-empty: Ada | Eve",
        ),
    ] {
        let (_portal, site) = met(&format!("conflict = \"{policy}\""));
        let plan = in_short(&planned(&site, &["--online"]));
        let new = "create 4; email: - -> new@example.com; city: - -> Lima; lastname: - -> Byron; firstname: - -> Ada; \
                   customer_number: - -> new";
        assert_eq!(
            plan,
            [
                "update 1",
                expected,
                "update 3; city: - -> Lima; firstname: - -> Ada; lastname: - -> Byron",
                new,
            ],
            "{policy}"
        );
    }
}

#[test]
fn a_refused_address_counts_although_rows_are_matched_by_another_property() {
    let (portal, site) = met("conflict = \"local\"\nmatch = \"customer_number\"");
    let id = portal.contact("taken@example.com");
    site.execute("INSERT INTO contacts (email, city) VALUES ('taken@example.com', 'Rome')");
    let plan = planned(&site, &["--online"]);
    let of_row = plan.iter().find(|entry| entry["local_id"] == 5);
    let of_row = of_row.expect("the row");
    assert_eq!(
        (&of_row["operation"], &of_row["hs_id"]),
        (&Value::from("update"), &Value::from(id))
    );
    site.once();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Rome"));
}

#[test]
fn of_two_rows_with_one_address_the_second_waits_for_the_first() {
    let portal = behind();
    let site = Site::new(&portal);
    site.once();
    for city in ["Lima", "Rome"] {
        site.execute(&format!(
            "INSERT INTO contacts (email, city) VALUES ('ada@example.com', '{city}')"
        ));
    }
    for arguments in [&[][..], &["--online"]] {
        let plan = planned(&site, arguments);
        let told = |entry: &Value| {
            (
                entry["sent"] == true,
                entry["reason"].as_str().map(str::to_owned),
            )
        };
        let why = "row 1 has the same `email`, and its record is made first";
        let expected = [(true, None), (false, Some(why.to_owned()))];
        assert_eq!(plan.iter().map(told).collect::<Vec<_>>(), expected);
    }
    let once = site.run(&["once", "--timeout", "50s"]);
    assert_eq!(portal.contacts(), 1, "{once:?}");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE state = 'dead' AND local_id = 2"),
        1
    );
}
