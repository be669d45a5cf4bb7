//! Which row is which record: natural keys, the ways in which people spell one value, values that go from one record to
//! another, and records that are looked for before they are made.

use hubsyncd::simulator::faults::{FaultKind, Script};
use hubsyncd::simulator::settings::Settings;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::daemon::Site;
use crate::portal::Portal;

const DEALS: &str = "[objects.deals]\nkey = \"order_number\"\n[objects.deals.properties]\ndealname = \"name\"\n\
                     order_number = \"order_number\"\n";

/// What HubSpot's live records of an object hold in a property, sorted; those without a value have `-`.
fn held(portal: &Portal, object: &str, property: &str) -> Vec<String> {
    let stand = portal.stand();
    let mut values: Vec<String> = stand
        .records(object)
        .iter()
        .filter(|record| !record.is_archived())
        .map(|record| record.value(property).unwrap_or("-").to_owned())
        .collect();
    values.sort();
    values
}

fn deal(site: &Site, name: &str, number: Option<&str>) {
    site.program()
        .execute(
            "INSERT INTO deals (name, order_number) VALUES (?1, ?2)",
            (name, number),
        )
        .expect("a deal");
}

#[test]
fn a_natural_key_is_sent_as_it_stands_and_never_replaced() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, "", DEALS);
    site.start_and_load();
    deal(&site, "Mine", Some("ORDER-4711"));
    site.until_sql("SELECT count(hs_id) FROM deals");
    site.until_pushed();
    assert_eq!(held(&portal, "deals", "order_number"), ["ORDER-4711"]);
    let row = site.text("SELECT order_number FROM deals");
    assert_eq!(row.as_deref(), Some("ORDER-4711"));
    assert_eq!(portal.requests("/batch/upsert"), 0);
    deal(&site, "Twin", Some(" order-4711"));
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    let explanation = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("words");
    let expected = "deals row 2 has the order_number of row 1, which is HubSpot record";
    assert!(explanation.starts_with(expected), "{explanation}");
    deal(&site, "Numberless", None);
    site.until_sql("SELECT count(hs_id) = 2 FROM deals");
    assert_eq!(held(&portal, "deals", "dealname"), ["Mine", "Numberless"]);
}

#[test]
fn a_key_that_hubspot_does_not_keep_unique_is_told_where_people_look() {
    let portal = Portal::quick();
    let named = DEALS.replace("key = \"order_number\"", "key = \"dealname\"");
    let site = Site::with(&portal, "", &named);
    let said = site.once();
    let explanation =
        "HubSpot does not keep `dealname` unique: as the `key` of deals it does what `match` does";
    assert!(
        said.contains(&format!("warning: deals.dealname: {explanation}")),
        "{said}"
    );
    let field = "SELECT state || ': ' || problem FROM sync_fields WHERE property = 'dealname'";
    let told = site.text(field).unwrap_or_default();
    assert!(
        told.starts_with(&format!("active: {explanation}")),
        "{told}"
    );
    let code = "SELECT code FROM sync_fields WHERE problem IS NOT NULL";
    assert_eq!(site.text(code).as_deref(), Some("key-not-unique"));
    let status = site.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(explanation), "{status}");
    // It is synced all the same, and the word goes with its cause.
    deal(&site, "Mine", Some("ORDER-1"));
    site.once();
    assert_eq!(held(&portal, "deals", "dealname"), ["Mine"]);
    site.configure(&portal, "", DEALS);
    assert!(!site.once().contains("warning"));
    assert_eq!(
        site.number("SELECT count(problem) + count(code) FROM sync_fields"),
        0
    );
}

#[test]
fn a_key_property_of_somebody_elses_that_is_not_unique_carries_no_create() {
    let own = serde_json::json!({"name": "hubsyncd_key", "label": "k", "type": "string", "fieldType": "text",
                                 "groupName": "dealinformation"});
    let deals = "[objects.deals]\nmatch = \"order_number\"\n[objects.deals.properties]\ndealname = \"name\"\n\
                 order_number = \"order_number\"\n";
    // Before the schema is read, and behind its back.
    for is_known in [true, false] {
        let portal = Portal::quick();
        let site = Site::with(&portal, "", deals);
        if !is_known {
            site.once();
        }
        let made = portal.call("POST", "/crm/v3/properties/deals", &own);
        assert_eq!(made.0, 201, "{}", made.1);
        if is_known {
            site.once();
        }
        deal(&site, "Mine", Some("ORDER-1"));
        site.once();
        assert_eq!(held(&portal, "deals", "dealname"), ["Mine"]);
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
        assert_eq!(held(&portal, "deals", "hubsyncd_key"), ["-"]);
    }
}

#[test]
fn a_key_property_that_hubspot_does_not_make_at_this_moment_is_made_a_moment_later() {
    for fault in [
        FaultKind::Locked,
        FaultKind::InternalError,
        FaultKind::BadGateway,
    ] {
        let portal = Portal::quick();
        let site = Site::with(
            &portal,
            "",
            "[objects.deals.properties]\ndealname = \"name\"\n",
        );
        site.once();
        portal.stand().faults_mut().script(Script {
            method: Some("POST".to_owned()),
            ..Script::new(fault, 1, "/properties/")
        });
        site.execute("INSERT INTO deals (name) VALUES ('Mine')");
        site.once();
        assert_eq!(held(&portal, "deals", "dealname"), ["Mine"], "{fault:?}");
        assert_ne!(held(&portal, "deals", "hubsyncd_key"), ["-"], "{fault:?}");
        assert_eq!(portal.requests("/batch/create"), 0, "{fault:?}");
    }
}

#[test]
fn of_two_new_rows_with_one_natural_key_the_second_is_dead() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, "", DEALS);
    site.once();
    deal(&site, "First", Some("A-1"));
    deal(&site, "Second", Some("a-1"));
    site.start();
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    assert_eq!(held(&portal, "deals", "dealname"), ["First"]);
    let explanation = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("words");
    assert!(
        explanation.contains("has the order_number of row 1"),
        "{explanation}"
    );
    assert!(
        explanation.ends_with("[record-of-another-row]"),
        "{explanation}"
    );
    // It was never sent: nobody had to refuse it.
    assert_eq!(portal.requests("/deals/batch/create"), 1);
}

#[test]
fn a_lost_create_is_found_again_by_its_natural_key() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, "", DEALS);
    site.start_and_load();
    portal.script(FaultKind::AnswerLost, 1, "/batch/create");
    deal(&site, "Mine", Some("ORDER-4711"));
    site.until_sql("SELECT count(hs_id) FROM deals");
    site.until_pushed();
    assert_eq!(held(&portal, "deals", "order_number"), ["ORDER-4711"]);
    assert_eq!(portal.requests("/deals/batch/create"), 1);
    assert_eq!(site.number("SELECT count(*) FROM deals"), 1);
}

#[test]
fn what_a_row_takes_from_a_record_that_its_create_met_is_no_push() {
    let portal = Portal::with(Settings {
        index_delay_min_ms: 120_000,
        index_delay_max_ms: 120_000,
        ..Settings::default()
    });
    let site = Site::with(&portal, "", &format!("{DEALS}amount = \"amount\"\n"));
    site.once();
    let now = portal.now_ms();
    let theirs = [
        ("dealname", "Mine"),
        ("order_number", "ORDER-4711"),
        ("amount", "100"),
    ];
    portal.stand().create("deals", &theirs, now);
    deal(&site, "Mine", Some("ORDER-4711"));
    site.once();
    assert_eq!(
        site.number("SELECT count(hs_id) FROM deals WHERE amount = 100"),
        1
    );
    let history =
        "SELECT group_concat(property || ' ' || new_value || ' ' || origin) FROM sync_history";
    assert_eq!(site.text(history).as_deref(), Some("amount 100 poll"));
}

#[test]
fn a_record_whose_key_a_create_was_refused_for_is_a_persons_and_the_policy_decides() {
    // The index is late: neither a poll nor the first read has shown the record when the row is inserted.
    let portal = Portal::with(Settings {
        index_delay_min_ms: 120_000,
        index_delay_max_ms: 120_000,
        ..Settings::default()
    });
    let settings = "[conflicts]\npolicy = \"local\"\n";
    let site = Site::with(&portal, settings, DEALS);
    site.once();
    let now = portal.now_ms();
    let theirs = [("dealname", "Theirs"), ("order_number", "ORDER-4711")];
    portal.stand().create("deals", &theirs, now);
    deal(&site, "Mine", Some("ORDER-4711"));
    site.once();
    let conflict = site.text(
        "SELECT property || ' ' || local_value || ' ' || remote_value || ' ' || winner FROM sync_conflicts",
    );
    assert_eq!(conflict.as_deref(), Some("dealname Mine Theirs local"));
    assert_eq!(held(&portal, "deals", "dealname"), ["Mine"]);
    assert_eq!(site.text("SELECT name FROM deals").as_deref(), Some("Mine"));
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_history WHERE origin = 'push' AND old_value IS NULL"
        ),
        0,
        "nothing that was refused has reached HubSpot"
    );
}

#[test]
fn what_nobody_sees_around_an_address_makes_no_second_person() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    for (number, around) in ["\r", "\n", "\t", "\u{a0}", "\u{200b}"].iter().enumerate() {
        portal.contact(&format!("p{number}@example.com"));
        let address = format!("P{number}@Example.com{around}");
        site.program()
            .execute(
                "INSERT INTO contacts (email, city) VALUES (?1, 'Bonn')",
                [address],
            )
            .expect("a row");
    }
    portal.contact("müller@example.com");
    site.execute("INSERT INTO contacts (email) VALUES ('MÜLLER@example.com')");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 6);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE property = 'email'"),
        0
    );
    assert_eq!(portal.contacts(), 6);
    assert_eq!(portal.count_with("city", "Bonn"), 5);
}

#[test]
fn a_second_address_of_a_person_means_the_same_record() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    let (first, second) = (
        portal.contact("ann@example.com"),
        portal.contact("ann@example.org"),
    );
    let now = portal.now_ms();
    portal
        .stand()
        .merge("contacts", first, second, now)
        .expect("merges");
    site.execute("INSERT INTO contacts (email, city) VALUES ('Ann@Example.org ', 'Bonn')");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(portal.count_with("city", "Bonn"), 1);
    assert_eq!(portal.contacts(), 1);
}

#[test]
fn a_company_is_known_by_its_domain_however_that_is_written() {
    let portal = Portal::quick();
    let objects = "[objects.companies]\nmatch = \"domain\"\n[objects.companies.properties]\ndomain = \"domain\"\n\
                   name = \"name\"\ncity = \"city\"\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    let now = portal.now_ms();
    let company = [("name", "Web"), ("domain", "web.example.com")];
    portal.stand().create("companies", &company, now);
    site.execute(
        "INSERT INTO companies (domain, name, city) VALUES ('https://www.web.example.com/about', 'Web', 'Bonn')",
    );
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM companies"), 1);
    assert_eq!(held(&portal, "companies", "city"), ["Bonn"]);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

/// Makes a new row's entry as old as search's lag.
fn age_entries(site: &Site) {
    let program: Connection = site.program();
    program
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("turns triggers off");
    program
        .execute(
            "UPDATE sync_outbox SET enqueued_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 minutes')",
            [],
        )
        .expect("ages");
}

#[test]
fn an_object_that_is_only_pushed_finds_its_records_by_a_value_that_is_not_unique() {
    let portal = Portal::quick();
    let objects = "[objects.companies]\ndirection = \"push\"\nmatch = \"domain\"\n[objects.companies.properties]\n\
                   domain = \"domain\"\nname = \"name\"\n";
    let mut site = Site::with(&portal, "", objects);
    site.once();
    let now = portal.now_ms();
    let company = [("name", "Theirs"), ("domain", "web.example.com")];
    let theirs = portal.stand().create("companies", &company, now);
    portal.stand().create("companies", &company, now);
    site.execute(
        "INSERT INTO companies (domain, name) VALUES ('https://www.Web.example.com/', 'Ours')",
    );
    site.execute("INSERT INTO companies (domain, name) VALUES ('new.example.com', 'New')");
    site.execute("INSERT INTO companies (domain, name) VALUES ('NEW.example.com', 'Twin')");
    site.start();
    // Search shows nothing that is new: the rows wait.
    site.until_sql("SELECT count(*) = 3 FROM sync_outbox WHERE next_attempt_at > enqueued_at");
    assert_eq!(portal.requests("/companies/batch/create"), 0);
    assert_eq!(site.stop(), 0);
    age_entries(&site);
    site.execute("UPDATE sync_outbox SET state = 'pending'");
    site.start();
    site.until_sql("SELECT count(hs_id) = 2 FROM companies");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    site.until_pushed();
    let found = site.number("SELECT hs_id FROM companies WHERE local_id = 1");
    assert_eq!(u64::try_from(found), Ok(theirs));
    assert_eq!(
        held(&portal, "companies", "name"),
        ["New", "Ours", "Theirs"]
    );
}

fn contacts_with(site: &Site, addresses: &[&str]) {
    for address in addresses {
        site.program()
            .execute("INSERT INTO contacts (email) VALUES (?1)", [address])
            .expect("a contact");
    }
    site.until_sql(&format!(
        "SELECT count(hs_id) = {} FROM contacts",
        addresses.len()
    ));
    site.until_pushed();
}

#[test]
fn a_chain_of_addresses_in_one_transaction_goes_through() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    let addresses = [
        "p1@example.com",
        "p2@example.com",
        "p3@example.com",
        "p4@example.com",
        "p5@example.com",
    ];
    contacts_with(&site, &addresses);
    site.execute("UPDATE contacts SET email = 'p' || (substr(email, 2, 1) + 1) || '@example.com'");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    let expected: Vec<String> = (2..=6)
        .map(|number| format!("p{number}@example.com"))
        .collect();
    assert_eq!(held(&portal, "contacts", "email"), expected);
    // A new row with an address that another one gives up.
    site.program()
        .execute_batch(
            "BEGIN; INSERT INTO contacts (email) VALUES ('p6@example.com');
             UPDATE contacts SET email = 'p7@example.com' WHERE local_id = 5; COMMIT",
        )
        .expect("one transaction");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    assert_eq!(portal.contacts(), 6);
    assert_eq!(portal.count_with("email", "p6@example.com"), 1);
    // And one whose holder was deleted.
    site.program()
        .execute_batch(
            "BEGIN; UPDATE contacts SET email = 'p7@example.com' WHERE local_id = 1;
             DELETE FROM contacts WHERE local_id = 5; COMMIT",
        )
        .expect("one transaction");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    assert_eq!(portal.contacts(), 5);
    assert_eq!(portal.count_with("email", "p7@example.com"), 1);
}

#[test]
fn a_chain_of_natural_keys_goes_through_and_an_exchange_is_told() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, "", DEALS);
    site.start_and_load();
    for number in ["N1", "N2", "N3"] {
        deal(&site, number, Some(number));
    }
    site.until_sql("SELECT count(hs_id) = 3 FROM deals");
    site.until_pushed();
    site.execute("UPDATE deals SET order_number = 'N' || (substr(order_number, 2) + 1)");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    assert_eq!(held(&portal, "deals", "order_number"), ["N2", "N3", "N4"]);
    site.execute(
        "UPDATE deals SET order_number = CASE local_id WHEN 1 THEN 'N3' ELSE 'N2' END WHERE local_id < 3",
    );
    site.until_sql("SELECT count(*) = 2 FROM sync_outbox WHERE state = 'dead'");
    let explanation = site
        .text("SELECT group_concat(last_error) FROM sync_outbox")
        .expect("words");
    assert!(
        explanation.contains("HubSpot can't exchange them"),
        "{explanation}"
    );
    assert!(
        !explanation.contains("N2") && !explanation.contains("N3"),
        "{explanation}"
    );
}

#[test]
fn an_address_of_another_row_is_refused_in_words_that_name_it() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    contacts_with(&site, &["ann@example.com", "bob@example.com"]);
    site.execute("UPDATE contacts SET email = 'ANN@example.com' WHERE local_id = 2");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    let explanation = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("words");
    let expected = "contacts row 2 has the email of row 1, which is HubSpot record";
    assert!(explanation.starts_with(expected), "{explanation}");
}

#[test]
fn a_read_that_misses_a_record_made_moments_ago_is_not_believed_at_once() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    contacts_with(&site, &["ann@example.com", "bob@example.com"]);
    let id = |row: i64| {
        let id = site.number(&format!(
            "SELECT hs_id FROM contacts WHERE local_id = {row}"
        ));
        u64::try_from(id).expect("an id")
    };
    let now = portal.now_ms();
    assert!(portal.stand().delete_for_good("contacts", id(1), now));
    assert!(portal.stand().delete_for_good("contacts", id(2), now));
    site.execute("UPDATE contacts SET city = 'Bonn' WHERE local_id = 1");
    site.execute("DELETE FROM contacts WHERE local_id = 2");
    site.until_sql(
        "SELECT count(*) = 2 FROM sync_outbox WHERE next_attempt_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+3 seconds')",
    );
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}
