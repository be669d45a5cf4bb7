//! Associations that go along in a create: of a lead, which HubSpot takes with one alone, and of a note, which nobody finds
//! without.

use hubsyncd::simulator::faults::FaultKind;

use crate::codes::produces;
use crate::daemon::{Site, eventually};
use crate::portal::Portal;

const OBJECTS: &str = "[objects.contacts]\n[objects.deals]\n[objects.leads]\n[objects.notes]\n[associations]\n\
     leads_contacts = { from = \"leads\", to = \"contacts\" }\n\
     deals_notes = { from = \"deals\", to = \"notes\" }\n";

/// Polling alone would find nothing within a test.
const RARELY: &str = "[schedule]\npoll = \"1h\"\n";

const PASSES: &str = "SELECT count(last_association_pass_at) = 2 FROM sync_status WHERE object IN ('leads', 'deals')";

fn loaded(settings: &str) -> (Portal, Site) {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, settings, OBJECTS);
    site.start_and_load();
    site.until_sql(PASSES);
    (portal, site)
}

/// A new contact and a new lead of hers; the lead first.
const LEAD: &str = "BEGIN;
    INSERT INTO leads (hs_lead_name) VALUES ('Ada');
    INSERT INTO contacts (email) VALUES ('ada@example.com');
    INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
    SELECT 'leads', l.local_id, 'contacts', c.local_id FROM leads AS l, contacts AS c;
    COMMIT";

/// A new deal and a new note under it; the note first.
const NOTE: &str = "BEGIN;
    INSERT INTO notes (hs_timestamp, hs_note_body) VALUES ('2026-11-30T08:00:00.000Z', 'Called');
    INSERT INTO deals (dealname) VALUES ('Engine');
    INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
    SELECT 'deals', d.local_id, 'notes', n.local_id FROM deals AS d, notes AS n;
    COMMIT";

/// The plain associations of a pair in HubSpot and here.
fn both(portal: &Portal, site: &Site, (from, to): (&str, &str)) -> (usize, i64) {
    let links = portal.stand().links(from, to);
    let there = links.iter().filter(|link| link.label.is_none()).count();
    let here = format!(
        "SELECT count(*) FROM associations WHERE from_object = '{from}' AND to_object = '{to}' AND type_id IS NOT NULL AND label IS NULL"
    );
    (there, site.number(&here))
}

fn live(portal: &Portal, object: &str) -> usize {
    let stand = portal.stand();
    let records = stand.records(object);
    records
        .iter()
        .filter(|record| !record.is_archived())
        .count()
}

/// The lines of history that tell of an association that was made in HubSpot; what one implied besides, once it was read, has a
/// label here and a line of its own.
const PUSHED: &str = "SELECT count(*) FROM sync_history WHERE property = 'association' AND origin = 'push' AND new_value IS NOT NULL AND new_value ->> 'label' IS NULL";
/// Lines that tell what another one tells already.
const TOLD_TWICE: &str =
    "SELECT count(*) - count(DISTINCT new_value) FROM sync_history WHERE property = 'association'";

#[test]
fn what_a_new_record_is_associated_with_goes_along_in_its_create() {
    let (portal, mut site) = loaded("");
    site.program().execute_batch(LEAD).expect("is taken");
    site.program().execute_batch(NOTE).expect("is taken");
    site.until_pushed();
    for pair in [("leads", "contacts"), ("deals", "notes")] {
        assert_eq!(both(&portal, &site, pair), (1, 1), "{pair:?}");
    }
    for (path, requests) in [
        ("leads/batch/create", 1),
        ("notes/batch/create", 1),
        ("contacts/batch/upsert", 1),
        ("deals/batch/upsert", 1),
        ("leads/batch/upsert", 0),
        ("notes/batch/upsert", 0),
        ("leads/contacts/batch/create", 0),
        ("leads/contacts/batch/associate/default", 0),
        ("deals/notes/batch/associate/default", 0),
    ] {
        assert_eq!(portal.requests(path), requests, "{path}");
    }
    assert_eq!(site.number(PUSHED), 2);
    // Nothing names a note: it goes out as other records do.
    site.execute("INSERT INTO notes (hs_timestamp) VALUES ('2026-11-30T09:00:00.000Z')");
    site.until_pushed();
    assert_eq!(portal.requests("notes/batch/upsert"), 1);
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn a_lead_and_its_contact_both_new_are_made_and_associated_once_whatever_crashes() {
    for path in [
        "",
        "contacts/batch/upsert",
        "leads/batch/create",
        "leads/contacts/batch/read",
    ] {
        let (portal, mut site) = loaded(RARELY);
        if path.is_empty() {
            site.kill();
            site.program().execute_batch(LEAD).expect("is taken");
        } else {
            portal.stand().faults_mut().slow_ms = 20_000;
            portal.script(FaultKind::Slow, 1, path);
            let before = portal.requests(path);
            site.program().execute_batch(LEAD).expect("is taken");
            eventually("the request is on its way", || {
                portal.requests(path) > before
            });
            site.kill();
        }
        site.start();
        eventually("both sides have it", || {
            both(&portal, &site, ("leads", "contacts")) == (1, 1)
        });
        site.until_pushed();
        assert_eq!(
            (live(&portal, "leads"), live(&portal, "contacts")),
            (1, 1),
            "{path}"
        );
        assert_eq!(site.number(PUSHED), 1, "{path}");
        assert_eq!(site.number(TOLD_TWICE), 0, "{path}");
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn an_association_taken_away_while_its_create_was_on_its_way_is_not_there_in_the_end() {
    for is_killed in [true, false] {
        let (portal, mut site) = loaded(RARELY);
        portal.stand().faults_mut().slow_ms = if is_killed { 20_000 } else { 2_000 };
        portal.script(FaultKind::Slow, 1, "notes/batch/create");
        site.program().execute_batch(NOTE).expect("is taken");
        eventually("HubSpot has it", || {
            both(&portal, &site, ("deals", "notes")).0 == 1
        });
        assert_eq!(
            site.number("SELECT count(*) FROM sync_outbox WHERE state = 'in_flight'"),
            2
        );
        site.execute("DELETE FROM associations");
        if is_killed {
            site.kill();
            site.start();
        }
        site.until_sql("SELECT count(hs_id) FROM notes");
        site.until_pushed();
        eventually("it is taken away", || {
            both(&portal, &site, ("deals", "notes")) == (0, 0)
        });
        assert_eq!(live(&portal, "notes"), 1);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_create_whose_answer_is_lost_is_found_with_its_associations_and_not_repeated() {
    let (portal, mut site) = loaded(RARELY);
    portal.script(FaultKind::AnswerLost, 1, "notes/batch/create");
    site.program().execute_batch(NOTE).expect("is taken");
    site.until_sql("SELECT count(hs_id) FROM notes");
    site.until_pushed();
    assert_eq!(live(&portal, "notes"), 1);
    assert_eq!(portal.requests("notes/batch/create"), 1);
    assert_eq!(both(&portal, &site, ("deals", "notes")), (1, 1));
    assert_eq!(site.number(PUSHED), 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_lead_without_an_association_is_dead_unsent_until_one_names_it() {
    let (portal, mut site) = loaded("");
    let ada = portal.contact("ada@example.com");
    site.until_sql("SELECT count(*) FROM contacts");
    site.execute("INSERT INTO leads (hs_lead_name) VALUES ('Ada')");
    site.until_sql(&format!(
        "SELECT count(*) FROM sync_outbox WHERE state = 'dead' AND operation = 'create' AND code = '{}'",
        produces("association-required")
    ));
    let explanation = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("words");
    assert!(
        explanation.starts_with(
            "HubSpot takes no new record of leads without an association with one of contacts, companies"
        ),
        "{explanation}"
    );
    for path in ["leads/batch/create", "leads/batch/upsert"] {
        assert_eq!(portal.requests(path), 0, "{path}");
    }
    site.execute(&format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
         SELECT 'leads', l.local_id, 'contacts', c.local_id FROM leads AS l, contacts AS c WHERE c.hs_id = {ada}"
    ));
    site.until_sql("SELECT count(hs_id) FROM leads");
    site.until_pushed();
    assert_eq!(both(&portal, &site, ("leads", "contacts")), (1, 1));
    assert_eq!(portal.requests("leads/batch/create"), 1);
    assert_eq!(site.stop(), 0);
}

/// A deal that both sides have.
fn with_a_deal() -> (Portal, Site, u64) {
    let portal = Portal::quick();
    let now = portal.now_ms();
    let deal = portal
        .stand()
        .create("deals", &[("dealname", "Engine")], now);
    let mut site = Site::with(&portal, RARELY, OBJECTS);
    site.start_and_load();
    site.until_sql(PASSES);
    (portal, site, deal)
}

/// A new note under it.
const NOTE_UNDER_IT: &str = "BEGIN;
    INSERT INTO notes (hs_timestamp) VALUES ('2026-11-30T08:00:00.000Z');
    INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
    SELECT 'deals', d.local_id, 'notes', n.local_id FROM deals AS d, notes AS n;
    COMMIT";

#[test]
fn a_note_under_a_deal_that_is_gone_in_hubspot_is_made_without_it() {
    let (portal, mut site, deal) = with_a_deal();
    let now = portal.now_ms();
    portal.stand().archive("deals", deal, now);
    site.program()
        .execute_batch(NOTE_UNDER_IT)
        .expect("is taken");
    site.until_sql("SELECT count(hs_id) FROM notes");
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM deals"), 0);
    assert_eq!(both(&portal, &site, ("deals", "notes")), (0, 0));
    assert_eq!(live(&portal, "notes"), 1);
    assert_eq!(site.stop(), 0);
}

/// A deal whose record can't be read for now.
fn with_an_unread_deal() -> (Portal, Site, u64) {
    let (portal, site, deal) = with_a_deal();
    portal.script(FaultKind::Unavailable, 1_000_000, "deals/batch/read");
    (portal, site, deal)
}

/// HubSpot refuses a note for its deal's sake until it is dead, and then the daemon may read the deal.
fn is_made_once_the_deal_is_read(portal: &Portal, site: &Site) {
    site.program()
        .execute_batch(NOTE_UNDER_IT)
        .expect("is taken");
    site.until_sql(
        "SELECT count(*) FROM sync_outbox WHERE operation = 'create' AND state = 'dead' AND code = 'record-not-found'",
    );
    portal.stand().faults_mut().calm();
    site.until_sql("SELECT count(hs_id) FROM notes");
    site.until_pushed();
    assert_eq!(live(portal, "notes"), 1);
}

#[test]
fn a_note_that_was_refused_before_its_deal_was_known_to_be_gone_is_made_without_it() {
    let (portal, mut site, deal) = with_an_unread_deal();
    let now = portal.now_ms();
    portal.stand().archive("deals", deal, now);
    is_made_once_the_deal_is_read(&portal, &site);
    assert_eq!(site.number("SELECT count(*) FROM deals"), 0);
    assert_eq!(both(&portal, &site, ("deals", "notes")), (0, 0));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_note_that_was_refused_before_its_deal_was_known_to_be_merged_is_made_under_the_survivor() {
    let (portal, mut site, deal) = with_an_unread_deal();
    portal.stand().settings_mut().merge_keeps_primary_id = false;
    let now = portal.now_ms();
    let other = portal
        .stand()
        .create("deals", &[("dealname", "Train")], now);
    portal.stand().merge("deals", deal, other, now + 1_000);
    is_made_once_the_deal_is_read(&portal, &site);
    assert_eq!(both(&portal, &site, ("deals", "notes")), (1, 1));
    assert_eq!(site.stop(), 0);
}

#[test]
fn once_makes_a_record_and_what_it_is_associated_with_in_one_run() {
    let portal = Portal::quick();
    let site = Site::with(&portal, "", OBJECTS);
    site.once();
    site.program().execute_batch(LEAD).expect("is taken");
    site.program().execute_batch(NOTE).expect("is taken");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    for pair in [("leads", "contacts"), ("deals", "notes")] {
        assert_eq!(both(&portal, &site, pair), (1, 1), "{pair:?}");
    }
}

/// A deal with a person whom HubSpot does not take, and a lead of hers; the person last.
const UNMADE: &str = "BEGIN;
    INSERT INTO leads (hs_lead_name) VALUES ('Ada');
    INSERT INTO deals (dealname) VALUES ('Engine');
    INSERT INTO contacts (email) VALUES ('nobody');
    INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES
    ('leads', 1, 'contacts', 1), ('deals', 1, 'contacts', 1);
    COMMIT";

#[test]
fn what_waits_for_a_record_that_nothing_makes_says_so_until_something_does() {
    let portal = Portal::quick();
    let objects = OBJECTS
        .replace("deals_notes", "deals_contacts")
        .replace("\"notes\"", "\"contacts\"");
    let site = Site::with(&portal, "", &objects);
    site.once();
    site.program().execute_batch(UNMADE).expect("is taken");
    // What waits is pending: `once` is not done.
    let ends_waiting = || {
        let output = site.run(&["once", "--timeout", "50s"]);
        assert_eq!(output.status.code(), Some(1));
    };
    ends_waiting();
    let told = "SELECT group_concat(object || ' ' || operation || ' ' || state || ' ' || coalesce(code, '-'), ', ')
                FROM (SELECT * FROM sync_outbox ORDER BY object, operation)";
    let waits = "contacts create dead invalid-email, deals associate pending waits-for-create, \
                 leads associate pending waits-for-create, leads create pending waits-for-create";
    assert_eq!(site.text(told).as_deref(), Some(waits));
    let why = format!(
        "SELECT min(last_error) FROM sync_outbox WHERE code = '{}'",
        produces("waits-for-create")
    );
    let said = "waits for the create of contacts row 1, which is dead: ";
    let why = site.text(&why).expect("words");
    assert!(why.starts_with(said), "{why}");
    // The commands say it too, of a row that waits itself and of one that is done.
    for command in [
        &["explain", "leads", "1"][..],
        &["explain", "deals", "1"],
        &["plan"],
        &["outbox", "list"],
    ] {
        let shown = site.run(command);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(said), "{command:?}: {shown}");
    }
    // One that comes later says it from the first.
    site.execute("INSERT INTO deals (dealname) VALUES ('Later')");
    ends_waiting();
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('deals', 2, 'contacts', 1)",
    );
    let waiting =
        "SELECT count(*) FROM sync_outbox WHERE waits_for = 'create' AND code = 'waits-for-create'";
    assert_eq!(site.number(waiting), 4);
    // So does what waits for a record that was given up.
    site.execute("DELETE FROM sync_outbox WHERE object = 'contacts'");
    ends_waiting();
    let given_up = "SELECT count(*) FROM sync_outbox WHERE last_error LIKE 'waits for a record of contacts row 1, whose create was discarded: %'";
    assert_eq!(site.number(given_up), 4);
    // Written again, the row is made, and all goes on by itself.
    site.execute("UPDATE contacts SET email = 'ada@example.com'");
    site.once();
    assert_eq!(site.text(told), None);
    for (pair, number) in [(("leads", "contacts"), 1), (("deals", "contacts"), 2)] {
        assert_eq!(
            both(&portal, &site, pair),
            (number, number as i64),
            "{pair:?}"
        );
    }
}

#[test]
fn what_waits_for_two_records_that_nothing_makes_says_so_until_both_are_made_and_what_waits_for_it_too()
 {
    let portal = Portal::quick();
    let objects = OBJECTS
        .replace("[associations]", "[objects.companies]\n[associations]\nleads_companies = { from = \"leads\", to = \"companies\" }")
        .replace("deals_notes", "deals_contacts")
        .replace("\"notes\"", "\"contacts\"");
    let site = Site::with(&portal, "", &objects);
    site.once();
    // The deal is too long for a number, the person has no address; the lead waits for her, and its company for the lead.
    site.program()
        .execute_batch(
            "BEGIN;
             INSERT INTO leads (hs_lead_name) VALUES ('Ada');
             INSERT INTO companies (name) VALUES ('Acme');
             INSERT INTO contacts (email) VALUES ('nobody'), ('no one');
             INSERT INTO deals (dealname, dealstage) VALUES ('Engine', 'nowhere');
             INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES
             ('leads', 1, 'contacts', 1), ('leads', 1, 'companies', 1), ('deals', 1, 'contacts', 2);
             COMMIT",
        )
        .expect("is taken");
    let run = || {
        let output = site.run(&["once", "--timeout", "5m", "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let pending = |object: &str| {
            let all = told["objects"].as_array().expect("a list");
            let own = all.iter().find(|one| one["object"] == object);
            own.and_then(|one| one["pending"].as_u64())
                .expect("a number")
        };
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let counts = (pending("leads"), pending("deals"));
        (output.status.code(), counts, words)
    };
    let whys = |object: &str| {
        crate::calls::lines(
            &site,
            &format!(
                "SELECT operation || coalesce(' ' || to_object, '') || ': ' || coalesce(substr(last_error, 1, instr(last_error, ',') - 1), '-')
                 FROM sync_outbox WHERE object = '{object}' AND state = 'pending' ORDER BY 1"
            ),
        )
    };
    let (status, counts, words) = run();
    assert_eq!((status, counts), (Some(1), (3, 1)), "{words}");
    assert!(
        words.contains("one of deals waits for the create of ")
            && words.contains("waits for the create of contacts row 1, which is dead"),
        "{words}"
    );
    let of_lead = [
        "associate companies: waits for the create of leads row 1",
        "associate contacts: waits for the create of contacts row 1",
        "create: waits for the create of contacts row 1",
    ];
    assert_eq!(whys("leads"), of_lead);
    assert!(whys("deals")[0].starts_with("associate contacts: waits for the create of "));
    // One of the two ends is mended: the other one is named.
    site.execute("UPDATE contacts SET email = 'second@example.com' WHERE local_id = 2");
    assert_eq!(run().0, Some(1));
    assert_eq!(
        whys("deals"),
        ["associate contacts: waits for the create of deals row 1"]
    );
    site.execute("UPDATE deals SET dealstage = 'qualifiedtobuy'");
    site.execute("UPDATE contacts SET email = 'first@example.com' WHERE local_id = 1");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    for pair in [
        ("leads", "contacts"),
        ("leads", "companies"),
        ("deals", "contacts"),
    ] {
        assert_eq!(both(&portal, &site, pair), (1, 1), "{pair:?}");
    }
}
