//! The codes of statements that the mirror's triggers and checks refuse: in brackets at the end of the sentence.

use super::{produces, says};
use crate::daemon::Site;
use crate::portal::Portal;
use crate::reads::call;

/// Contacts with a column of each kind, companies and deals, and pairs of them.
const OBJECTS: &str = "[objects.contacts.properties]\nemail = \"email\"\nbirthday = \"birthday\"\nlast_visit = \"last_visit\"\n\
    credit_limit = \"credit_limit\"\nvip = \"vip\"\ncity = { column = \"city\", direction = \"pull\" }\n\
    [objects.companies]\n[objects.deals]\n[associations]\n\
    contacts_companies = { from = \"contacts\", to = \"companies\" }\n\
    contacts_contacts = { from = \"contacts\", to = \"contacts\" }\n\
    deals_contacts = { from = \"deals\", to = \"contacts\", direction = \"pull\" }\n";

/// A loaded site: two contacts, a company and a deal.
fn loaded() -> Site {
    let portal = Portal::quick();
    let vip = serde_json::json!({"name": "vip", "label": "VIP", "type": "bool", "fieldType": "booleancheckbox",
        "groupName": "contactinformation", "options": [{"label": "Yes", "value": "true"}, {"label": "No", "value": "false"}]});
    call(&portal, "POST", "/crm/properties/2026-03/contacts", &vip);
    for email in ["ada@example.com", "eve@example.com"] {
        portal.contact(email);
    }
    portal.fill("companies", 1);
    portal.deal();
    portal
        .stand()
        .create_label(("contacts", "companies"), "Primary", None);
    let site = Site::with(&portal, "", OBJECTS);
    site.once();
    site
}

fn refused(site: &Site, code: &str, sql: &str) {
    let told = site.program().execute(sql, []).expect_err(sql).to_string();
    assert!(
        told.ends_with(&format!("[{code}]")) && says(&told, code),
        "{told}"
    );
}

#[test]
fn values_that_a_column_can_not_hold_are_refused_by_their_codes() {
    let site = loaded();
    let update = |code: &str, value: &str| {
        refused(&site, code, &format!("UPDATE contacts SET {value}"));
    };
    update(produces("invalid-boolean"), "vip = 7");
    update(produces("invalid-number"), "credit_limit = 9e999");
    update(produces("invalid-date"), "birthday = '24.11.2026'");
    update(produces("invalid-date"), "last_visit = 'soon'");
    update(produces("read-only"), "local_id = 99");
}

#[test]
fn associations_that_can_not_be_are_refused_by_their_codes() {
    let site = loaded();
    let associate = |code: &str, columns: &str, values: &str| {
        let into = "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id";
        refused(&site, code, &format!("{into}{columns}) VALUES ({values})"));
    };
    let one = "'contacts', 1, 'companies', 1";
    associate(produces("association-id"), ", id", &format!("{one}, 7"));
    associate(produces("pair-turned"), "", "'companies', 1, 'contacts', 1");
    associate(produces("pair-pulled"), "", "'deals', 1, 'contacts', 1");
    associate(
        produces("association-without-row"),
        "",
        "'contacts', 99, 'companies', 1",
    );
    associate(
        produces("association-with-itself"),
        "",
        "'contacts', 1, 'contacts', 1",
    );
    associate(
        produces("ambiguous-association-type"),
        ", label",
        &format!("{one}, 'primary'"),
    );
    associate(
        produces("pair-unmapped"),
        "",
        "'companies', 1, 'companies', 1",
    );
    let plain = format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ({one})"
    );
    site.execute(&plain);
    refused(
        &site,
        produces("association-update"),
        "UPDATE associations SET to_local_id = 2",
    );
}

#[test]
fn a_command_that_runs_is_not_taken_back() {
    let site = loaded();
    site.execute("INSERT INTO sync_commands (command) VALUES ('poll')");
    site.execute_as_daemon("UPDATE sync_commands SET state = 'running'");
    refused(
        &site,
        produces("command-running"),
        "DELETE FROM sync_commands",
    );
}

#[test]
fn what_is_decided_on_its_way_or_hubsyncds_own_is_not_a_programs_to_change() {
    const AT: &str = "2026-11-24T03:10:00.000Z";
    let site = loaded();
    refused(
        &site,
        produces("kept-by-hubsyncd"),
        &format!(
            "INSERT INTO sync_runs (object, kind, started_at) VALUES ('contacts', 'poll', '{AT}')"
        ),
    );
    site.execute_as_daemon(&format!(
        "INSERT INTO sync_conflicts (object, local_id, property, policy, winner, detected_at, resolved_at)
         VALUES ('contacts', 1, 'email', 'manual', 'local', '{AT}', '{AT}')"
    ));
    refused(
        &site,
        produces("conflict-closed"),
        "UPDATE sync_conflicts SET resolution = 'local'",
    );
    site.execute_as_daemon(&format!(
        "INSERT INTO sync_holds (object, side, operation, records, allowed, held_at, settled_at)
         VALUES ('contacts', 'hubspot', 'archive', 240, 100, '{AT}', '{AT}')"
    ));
    refused(
        &site,
        produces("hold-closed"),
        &format!("UPDATE sync_holds SET approved_at = '{AT}'"),
    );
    site.execute("UPDATE contacts SET email = 'new@example.com' WHERE local_id = 1");
    site.execute_as_daemon("UPDATE sync_outbox SET state = 'in_flight'");
    refused(
        &site,
        produces("entry-in-flight"),
        "DELETE FROM sync_outbox",
    );
}

#[test]
fn a_statement_about_an_archived_record_or_two_rows_is_refused_by_its_code() {
    let site = loaded();
    let other = site.number("SELECT hs_id FROM contacts WHERE local_id = 2");
    refused(
        &site,
        produces("two-rows"),
        &format!(
            "INSERT OR REPLACE INTO contacts (local_id, hs_id, email) VALUES (1, {other}, 'x@example.com')"
        ),
    );
    site.execute_as_daemon("UPDATE contacts SET hs_archived = 1 WHERE local_id = 1");
    refused(
        &site,
        produces("record-archived"),
        "UPDATE contacts SET email = 'new@example.com' WHERE local_id = 1",
    );
}
