//! One row's problem: a text that can't be sent, a row that a program's constraint keeps, one that is too large. Nothing
//! else waits for it.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::Value;

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site, eventually, open};
use crate::portal::Portal;

/// A program that switches triggers off.
fn past_the_triggers(site: &Site, sql: &str) {
    let program: Connection = open(&site.path("crm.db"));
    program
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("turns triggers off");
    program.execute_batch(sql).expect("writes");
}

fn people(portal: &Portal, count: usize) -> Vec<u64> {
    (0..count)
        .map(|number| portal.contact(&format!("p{number}@example.com")))
        .collect()
}

const DEAD: &str = "SELECT group_concat(last_error, '; ') FROM (SELECT last_error FROM sync_outbox WHERE state = 'dead' ORDER BY operation DESC)";

#[test]
fn text_that_is_no_utf_8_is_dead_by_its_column_keeps_its_bytes_and_nothing_else_waits() {
    let portal = Portal::quick();
    let ids = people(&portal, 3);
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute(&format!(
        "UPDATE contacts SET first_name = CAST(x'fffe41' AS TEXT), city = 'Oslo' WHERE hs_id = {}",
        ids[0]
    ));
    site.execute("INSERT INTO contacts (email, first_name) VALUES ('new@example.com', CAST(x'c328' AS TEXT))");
    site.execute(&format!(
        "UPDATE contacts SET city = 'Oslo' WHERE hs_id <> {}",
        ids[0]
    ));
    eventually("the others are pushed", || {
        portal.count_with("city", "Oslo") == 2
    });
    site.until_sql(&format!(
        "SELECT count(*) = 2 FROM sync_outbox WHERE state = 'dead' AND code = '{}'",
        produces("unsendable-text")
    ));
    assert_eq!(
        site.text(DEAD).as_deref(),
        Some(
            "`contacts.first_name` of row 1 holds text that is no UTF-8, so that it can't be sent: write it again [unsendable-text]; \
             `contacts.first_name` of row 4 holds text that is no UTF-8, so that it can't be sent: write it again [unsendable-text]"
        )
    );
    // Somebody edits it in HubSpot, and other fields go on arriving.
    portal.edit(ids[0], &[("firstname", "Augusta"), ("lastname", "King")]);
    site.until_sql("SELECT count(*) = 1 FROM contacts WHERE last_name = 'King'");
    assert_eq!(
        site.text(
            "SELECT group_concat(hex(first_name), ' ') FROM contacts WHERE local_id IN (1, 4)"
        )
        .as_deref(),
        Some("FFFE41 C328"),
        "the bytes stay in the row"
    );
    // A record of that person does not take the row whose create waits, and its bytes, away.
    let made = portal.contact("new@example.com");
    site.until_sql(&format!(
        "SELECT count(*) = 1 FROM contacts WHERE hs_id = {made}"
    ));
    assert_eq!(
        site.text("SELECT hex(first_name) FROM contacts WHERE local_id = 4")
            .as_deref(),
        Some("C328")
    );
    site.execute("UPDATE contacts SET first_name = 'Ada' WHERE local_id = 1");
    site.execute("UPDATE contacts SET first_name = 'Bob' WHERE local_id = 4");
    site.until_pushed();
    assert_eq!(portal.value(made, "firstname").as_deref(), Some("Bob"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_value_of_65_mib_is_one_records_problem() {
    let portal = Portal::quick();
    let ids = people(&portal, 3);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let large = format!(
        "UPDATE contacts SET first_name = hex(zeroblob({})) WHERE hs_id = {}",
        65 * 1024 * 1024 / 2,
        ids[0]
    );
    past_the_triggers(&site, &large);
    // Pushes go on, that row's other columns too; so do polls, and the row itself.
    site.execute("UPDATE contacts SET city = 'Oslo'");
    eventually("all are pushed", || portal.count_with("city", "Oslo") == 3);
    site.until_pushed();
    for id in &ids {
        portal.edit(*id, &[("lastname", "King")]);
    }
    site.until_sql("SELECT count(*) = 3 FROM contacts WHERE last_name = 'King'");
    // Once it is to be sent itself, it is dead by its column.
    let program = site.program();
    let write = |text: &str| {
        let sql = format!("UPDATE contacts SET city = {text} WHERE hs_id = {}", ids[0]);
        program.execute_batch(&sql).expect("is taken");
    };
    program.execute_batch("BEGIN IMMEDIATE").expect("begins");
    write("'recorded'");
    program
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("turns triggers off");
    write("hex(zeroblob(40000))");
    program.execute_batch("COMMIT").expect("past the refusal");
    site.execute("INSERT INTO contacts (email) VALUES ('new@example.com')");
    eventually("a create", || portal.contacts() == 4);
    site.until_sql(&format!(
        "SELECT count(*) = 1 FROM sync_outbox WHERE state = 'dead' AND code = '{}'",
        produces("value-too-long")
    ));
    assert_eq!(
        site.text(DEAD).as_deref(),
        Some(
            "`contacts.city` of row 1 holds more than the 65536 characters that HubSpot takes: write a shorter text [value-too-long]"
        )
    );
    // Its deletion is one entry of many, though it keeps the whole row.
    past_the_triggers(&site, &large);
    site.execute(&format!("DELETE FROM contacts WHERE hs_id = {}", ids[0]));
    site.execute(&format!(
        "UPDATE contacts SET city = 'Rome' WHERE hs_id = {}",
        ids[1]
    ));
    eventually("the other is pushed", || {
        portal.count_with("city", "Rome") == 1
    });
    assert_eq!(site.stop(), 0);
}

#[test]
fn two_records_that_became_one_go_on_though_a_program_refers_to_the_row_that_is_to_go() {
    let portal = Portal::quick();
    let ids = people(&portal, 3);
    let mut site = Site::new(&portal);
    site.start_and_load();
    past_the_triggers(
        &site,
        &format!(
            "CREATE TABLE orders (contact INTEGER REFERENCES contacts (local_id));
             INSERT INTO orders SELECT local_id FROM contacts WHERE hs_id = {}",
            ids[1]
        ),
    );
    let now = portal.now_ms();
    let survivor = portal
        .stand()
        .merge("contacts", ids[0], ids[1], now)
        .expect("merges");
    portal.edit(survivor, &[("city", "Oslo")]);
    portal.edit(ids[2], &[("city", "Oslo")]);
    site.until_sql("SELECT count(*) = 2 FROM contacts WHERE city = 'Oslo'");
    site.until_sql("SELECT instr(last_error, 'FOREIGN KEY') > 0 FROM sync_status");
    let polls = portal.requests("/search");
    eventually("two polls", || portal.requests("/search") >= polls + 2);
    assert_eq!(
        site.number("SELECT instr(last_error, 'FOREIGN KEY') > 0 FROM sync_status"),
        1,
        "the words stay"
    );
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3);
    past_the_triggers(&site, "DELETE FROM orders");
    portal.edit(survivor, &[("city", "Rome")]);
    site.until_sql("SELECT count(*) = 2 FROM contacts");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_removal_that_a_program_keeps_is_named_and_once_ends_all_the_same() {
    let portal = Portal::quick();
    let ids = people(&portal, 5);
    let site = Site::with(&portal, "", CONTACTS);
    site.once();
    past_the_triggers(
        &site,
        &format!(
            "CREATE TABLE orders (contact INTEGER REFERENCES contacts (local_id) DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO orders SELECT local_id FROM contacts WHERE hs_id = {}",
            ids[1]
        ),
    );
    let now = portal.now_ms();
    for id in &ids[..3] {
        portal.stand().archive("contacts", *id, now);
    }
    let compared = site.run(&["once", "--reconcile", "--timeout", "50s"]);
    assert_eq!(compared.status.code(), Some(1), "a row is left");
    let told = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(
        told.contains("ended early: the table refuses 1 record"),
        "{told}"
    );
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3);
    let explanation = site
        .text("SELECT last_error FROM sync_status")
        .expect("the row is named");
    assert!(
        explanation.contains("contacts row 2 can't be removed"),
        "{explanation}"
    );
    past_the_triggers(&site, "DELETE FROM orders");
    let compared = site.run(&["once", "--reconcile", "--timeout", "50s"]);
    assert!(
        compared.status.success(),
        "{}",
        String::from_utf8_lossy(&compared.stderr)
    );
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 2);
    assert_eq!(site.text("SELECT last_error FROM sync_status"), None);
}

#[test]
fn a_record_that_a_table_refuses_is_told_with_the_reason_until_it_is_mended_and_logged_once() {
    let portal = Portal::quick();
    let ids = people(&portal, 3);
    let mut site = Site::with(&portal, "", CONTACTS);
    site.once();
    site.execute("CREATE UNIQUE INDEX one_city ON contacts (city)");
    for id in &ids {
        portal.edit(*id, &[("city", "Oslo")]);
    }
    let ended = site.run(&["once", "--timeout", "50s"]);
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    for explanation in [
        "warning: contacts: HubSpot record ",
        " does not fit into contacts: SQLite: UNIQUE constraint failed: contacts.city: change the rows, or what refuses it",
        " (2 such records)",
        "ended early: the tables refuse 2 records",
        ", 2 refused by a table, ",
    ] {
        assert!(told.contains(explanation), "{explanation}: {told}");
    }
    let status = site.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("UNIQUE constraint failed: contacts.city")
            && status.contains("; and 1 more like it"),
        "{status}"
    );
    let ended = site.run(&["once", "--json", "--timeout", "50s"]);
    assert_eq!(ended.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&ended.stdout).expect("one value");
    let contacts = &report["objects"][0];
    assert_eq!(contacts["refused"], 2);
    assert!(
        contacts["refusal"]
            .as_str()
            .is_some_and(|explanation| explanation.contains("UNIQUE constraint failed")),
        "{contacts}"
    );
    site.execute("DROP INDEX one_city");
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Oslo'"),
        3
    );
    assert_eq!(site.text("SELECT last_error FROM sync_status"), None);
    site.execute("CREATE UNIQUE INDEX one_name ON contacts (last_name)");
    site.start_and_settle();
    for id in &ids[..2] {
        portal.edit(*id, &[("lastname", "King")]);
    }
    site.until_sql("SELECT instr(last_error, 'UNIQUE constraint failed') > 0 FROM sync_status");
    let polls = portal.requests("/search");
    // Their window begins before the last one's end: each of them shows the record again.
    eventually("five polls", || portal.requests("/search") >= polls + 5);
    let lines = site.log();
    let lines = lines.matches("the table refuses a record").count();
    assert_eq!(lines, 1, "it is said once");
    assert_eq!(site.stop(), 0);
}

#[test]
fn of_two_rows_of_one_person_the_second_has_the_record_once_the_first_is_deleted() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute("INSERT INTO contacts (email, city) VALUES ('Ann@example.com', 'Lima')");
    site.once();
    let dead =
        "SELECT count(*) FROM sync_outbox WHERE state = 'dead' AND code = 'record-of-another-row'";
    assert_eq!(site.number(dead), 1);
    site.execute("DELETE FROM contacts WHERE local_id = 1");
    site.once();
    let rows = "SELECT group_concat(local_id || ' ' || hs_id || ' ' || city) FROM contacts";
    assert_eq!(site.text(rows), Some(format!("2 {ann} Lima")));
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(portal.value(ann, "city").as_deref(), Some("Lima"));
    assert_eq!(portal.requests("batch/archive"), 0);
}
