//! The codes of what HubSpot answers, or something in its place: on the entry that it is about, on the call, and on the run.

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::portal::NewObject;
use serde_json::json;

use super::{produces, says};
use crate::daemon::{CONTACTS, Site, eventually};
use crate::met::behind;
use crate::portal::Portal;
use crate::way::{Meets, Way, answer};

/// HubSpot's refusal of a whole batch, by its name of the mistake.
fn refusal(mistake: &str) -> Meets {
    let body = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "not so", "correlationId": "c-1",
        "errors": [{"message": "not so", "code": mistake}]});
    answer("400 Bad Request", "application/json", &body.to_string())
}

/// A site whose requests take a way of the test's.
fn by_a_way(portal: &Portal, objects: &str) -> (Way, Site) {
    let (way, site) = (Way::to(portal), Site::with(portal, "", objects));
    let file = site.path("config.toml");
    let text = std::fs::read_to_string(&file).expect("the mapping file");
    std::fs::write(&file, text.replace(&portal.url(), &way.url())).expect("written");
    (way, site)
}

fn code_of_entry(site: &Site) -> Option<String> {
    site.text("SELECT code FROM sync_outbox WHERE state = 'dead'")
}

#[test]
fn what_hubspot_refuses_an_update_for_is_told_by_its_code() {
    let portal = Portal::quick();
    portal.fill("contacts", 1);
    let (way, site) = by_a_way(&portal, CONTACTS);
    site.once();
    for (mistake, code) in [
        ("INVALID_OBJECT_IDS", produces("invalid-batch")),
        ("APPROVAL_REQUIRED", produces("approval-required")),
        ("NOBODY_KNOWS_THIS_ONE", produces("refused")),
    ] {
        way.obstruct("/batch/update", refusal(mistake));
        site.execute(&format!("UPDATE contacts SET city = '{code}'"));
        site.once();
        assert_eq!(code_of_entry(&site).as_deref(), Some(code));
    }
}

#[test]
fn owners_and_pipelines_that_hubspot_does_not_have_are_told_by_their_codes() {
    let portal = Portal::quick();
    let objects = "[objects.contacts.properties]\nemail = \"email\"\nhubspot_owner_id = \"owner\"\n\
        [objects.deals.properties]\ndealname = \"name\"\npipeline = \"pipeline\"\ndealstage = \"stage\"\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    site.execute("INSERT INTO contacts (email, owner) VALUES ('ada@example.com', 1)");
    site.once();
    assert_eq!(
        code_of_entry(&site).as_deref(),
        Some(produces("unknown-owner"))
    );
    site.execute("DELETE FROM sync_outbox");
    site.once();
    site.execute("INSERT INTO deals (name, pipeline, stage) VALUES ('Big', 'nowhere', 'nowhere')");
    site.once();
    assert_eq!(
        code_of_entry(&site).as_deref(),
        Some(produces("unknown-pipeline"))
    );
}

#[test]
fn a_unique_value_of_a_record_that_no_row_stands_for_is_told_by_its_code() {
    let portal = behind();
    portal.contact("ada@example.com");
    let site = Site::with(&portal, "", CONTACTS);
    site.once();
    portal.contact("eve@example.com");
    site.execute("UPDATE contacts SET email = 'eve@example.com'");
    site.once();
    assert_eq!(
        code_of_entry(&site).as_deref(),
        Some(produces("value-taken"))
    );
}

#[test]
fn a_number_that_a_column_blurs_identifies_no_record() {
    let portal = Portal::quick();
    let objects = "[objects.contacts]\nkey = \"customer_number\"\n[objects.contacts.properties]\n\
        customer_number = { column = \"number\", type = \"number\" }\ncity = \"city\"\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    site.execute("INSERT INTO contacts (number, city) VALUES (9007199254740993, 'Lima')");
    site.once();
    assert_eq!(
        code_of_entry(&site).as_deref(),
        Some(produces("blurred-key"))
    );
}

#[test]
fn an_answer_that_a_table_of_the_users_refuses_is_told_by_its_code() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    // HubSpot spells the address in small letters, and so does its answer.
    site.program()
        .execute_batch(
            "CREATE TABLE spelled (email TEXT UNIQUE REFERENCES contacts (email)); CREATE UNIQUE INDEX spelling ON contacts (email);
             INSERT INTO contacts (email) VALUES ('Ada@Example.com'); INSERT INTO spelled VALUES ('Ada@Example.com')",
        )
        .expect("a program's own table");
    let output = site.run(&["once", "--timeout", "20s"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        site.text("SELECT code FROM sync_outbox").as_deref(),
        Some(produces("answer-unfit")),
        "{told}"
    );
}

/// Requests of contacts meet a fault, and `once` goes on.
fn calls_with(fault: FaultKind, code: &str) {
    let portal = Portal::quick();
    portal.fill("contacts", 10);
    portal.script(fault, 1, "/contacts");
    let site = Site::new(&portal);
    site.once();
    let met = format!("SELECT count(*) FROM sync_calls WHERE code = '{code}'");
    assert_eq!(site.number(&met), 1, "{code}");
}

#[test]
fn attempts_that_come_to_nothing_have_their_codes() {
    calls_with(FaultKind::RateLimited, produces("throttled"));
    calls_with(FaultKind::Locked, produces("locked"));
    calls_with(FaultKind::InternalError, produces("internal-error"));
    calls_with(FaultKind::BadGateway, produces("gateway"));
    calls_with(FaultKind::HtmlAnswer, produces("not-hubspot"));
}

#[test]
fn a_class_of_requests_that_hubspot_lets_rest_is_told_by_its_code() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, "", &format!("{CONTACTS}[objects.companies]\n"));
    site.once();
    portal.stand().faults_mut().retry_after_s = 600;
    portal.script(FaultKind::Unavailable, 100, "/search");
    // The first search is answered so; those of the other object are not sent.
    site.start();
    site.until_sql(&format!(
        "SELECT count(*) FROM sync_status WHERE code = '{}'",
        produces("resting")
    ));
    assert!(says(&site.log(), "resting"), "{}", site.log());
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_answer_that_can_not_be_read_is_told_by_its_code() {
    let portal = Portal::quick();
    portal.script(FaultKind::TruncatedJson, 100, "/contacts");
    let site = Site::new(&portal);
    let output = site.run(&["once", "--timeout", "20s"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(says(&told, produces("unreadable-answer")), "{told}");
}

#[test]
fn a_search_that_leads_nowhere_is_told_by_its_code() {
    let portal = Portal::quick();
    let id = portal.contact("ada@example.com");
    let (way, site) = by_a_way(&portal, CONTACTS);
    site.once();
    // A page that says that others follow, and is all that ever follows.
    let moment = "2026-11-24T03:10:00.000Z";
    let record = json!({"id": id.to_string(), "createdAt": moment, "updatedAt": moment, "archived": false,
        "properties": {"hs_object_id": id.to_string(), "lastmodifieddate": moment}});
    let page =
        json!({"total": 1_000, "results": vec![record; 200], "paging": {"next": {"after": "200"}}});
    way.obstruct(
        "/contacts/search",
        answer("200 OK", "application/json", &page.to_string()),
    );
    let output = site.run(&["once", "--timeout", "20s"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says(&told, produces("no-progress")), "{told}");
}

#[test]
fn a_record_that_a_table_of_the_users_refuses_is_told_by_its_code() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    site.program()
        .execute_batch("CREATE UNIQUE INDEX one_a_city ON contacts (city)")
        .expect("a program's own index");
    for email in ["ada@example.com", "eve@example.com"] {
        let id = portal.contact(email);
        portal.edit(id, &[("city", "Rome")]);
    }
    let output = site.run(&["once", "--timeout", "20s"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(says(&told, produces("refused-by-table")), "{told}");
    assert_eq!(
        site.text("SELECT code FROM sync_status").as_deref(),
        Some("refused-by-table")
    );
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says(&log, "refused-by-table"), "{log}");
}

#[test]
fn a_row_that_another_table_refers_to_is_told_by_its_code() {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let id = site.number("SELECT hs_id FROM contacts WHERE local_id = 1");
    site.program()
        .execute_batch(
            "CREATE TABLE orders (contact INTEGER NOT NULL REFERENCES contacts (local_id) DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO orders VALUES (1)",
        )
        .expect("a program's own table");
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", id.unsigned_abs(), now));
    site.execute("INSERT INTO sync_commands (command, object) VALUES ('reconcile', 'contacts')");
    eventually("the log names what keeps the row", || {
        says(&site.log(), produces("row-referenced"))
    });
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_record_that_has_the_value_and_is_not_shown_is_told_by_its_code() {
    let portal = behind();
    let site = Site::with(&portal, "", CONTACTS);
    site.once();
    let hidden = portal.contact("eve@example.com");
    portal.stand().settings_mut().hidden.insert(hidden);
    site.execute("INSERT INTO contacts (email) VALUES ('eve@example.com')");
    site.once();
    assert_eq!(
        code_of_entry(&site).as_deref(),
        Some(produces("record-hidden"))
    );
}

/// A custom object of the portal's.
const MACHINES: NewObject<'_> = NewObject {
    name: "machine",
    singular: "Machine",
    plural: "Machines",
    texts: &["model"],
    unique: &[],
    required: &[],
    associated: &[],
};

#[test]
fn an_object_that_two_keys_of_the_file_mean_is_told_by_its_code() {
    let portal = Portal::quick();
    let now = portal.now_ms();
    portal.stand().create_object(MACHINES, now);
    let objects = format!("{CONTACTS}[objects.machine]\n[objects.p48151623_machine]\n");
    let site = Site::with(&portal, "", &objects);
    let output = site.run(&["once", "--timeout", "20s"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let unfit = format!(
        "SELECT count(*) FROM sync_status WHERE code = '{}'",
        produces("object-unfit")
    );
    assert!(site.number(&unfit) > 0, "{told}");
}

#[test]
fn what_the_doctor_hears_of_a_token_and_of_pipelines_has_its_codes() {
    let portal = Portal::quick();
    let (way, site) = by_a_way(&portal, "[objects.leads]\n");
    let soon =
        json!({"hubId": 48_151_623, "appId": 1_160_452, "expiresAt": portal.now_ms() + 3_600_000});
    for (path, heard, code) in [
        ("access-token-info", soon, produces("token-ends")),
        (
            "/pipelines/",
            json!({"results": []}),
            produces("no-pipeline"),
        ),
    ] {
        way.obstruct(
            path,
            answer("200 OK", "application/json", &heard.to_string()),
        );
        let output = site.run(&["check", "--online", "--json"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains(&format!("\"code\":\"{code}\"")), "{told}");
    }
}
