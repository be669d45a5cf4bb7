//! What people do with associations in HubSpot is in `associations` with the next poll, by webhook, and with each pass; and it
//! costs one request for a thousand records.

use hubsyncd::simulator::record::Record;
use hubsyncd::simulator::webhooks::Webhooks;

use crate::daemon::{Site, eventually};
use crate::portal::Portal;
use crate::webhooks::Door;

pub(crate) const OBJECTS: &str = "[objects.contacts]\n[objects.companies]\n[associations]\n\
     contacts_companies = { from = \"contacts\", to = \"companies\" }\n";

/// Polling and passes alone would find nothing within a test.
const RARELY: &str = "[schedule]\npoll = \"1h\"\n";

pub(crate) const FIRST_PASS: &str =
    "SELECT last_association_pass_at IS NOT NULL FROM sync_status WHERE object = 'contacts'";

/// The associations of the mirror by their ends in HubSpot, as `from to type label`.
const SHOWN: &str = "SELECT group_concat(line, ';') FROM (SELECT c.hs_id || ' ' || o.hs_id || ' ' || a.type_id || ' ' || coalesce(a.label, '-') AS line
     FROM associations AS a JOIN contacts AS c ON c.local_id = a.from_local_id JOIN companies AS o ON o.local_id = a.to_local_id
     WHERE a.from_object = 'contacts' AND a.to_object = 'companies' ORDER BY c.hs_id, o.hs_id, a.category, a.type_id)";

/// The same of HubSpot.
pub(crate) fn in_hubspot(portal: &Portal) -> String {
    let links = portal.stand().links("contacts", "companies");
    let mut all: Vec<_> = links
        .iter()
        .map(|link| {
            let key = (
                link.from_id,
                link.to_id,
                link.kind.category.name(),
                link.kind.type_id,
            );
            let label = link.label.as_deref().unwrap_or("-");
            (
                key,
                format!(
                    "{} {} {} {label}",
                    link.from_id, link.to_id, link.kind.type_id
                ),
            )
        })
        .collect();
    all.sort();
    let all: Vec<String> = all.into_iter().map(|(_, line)| line).collect();
    all.join(";")
}

pub(crate) fn until_equal(site: &Site, portal: &Portal) {
    let mut looks = site.looks();
    eventually("both sides show the same associations", || {
        looks.text(SHOWN).unwrap_or_default() == in_hubspot(portal)
    });
}

pub(crate) fn company(portal: &Portal, name: &str) -> u64 {
    let now = portal.now_ms();
    portal.stand().create("companies", &[("name", name)], now)
}

fn associate(portal: &Portal, contact: u64, company: u64) {
    let now = portal.now_ms();
    let mut stand = portal.stand();
    assert!(stand.associate(("contacts", contact), ("companies", company), now));
}

pub(crate) fn set_primary(portal: &Portal, contact: u64, company: u64) {
    let now = portal.now_ms();
    let mut stand = portal.stand();
    assert!(stand.set_primary(("contacts", contact), ("companies", company), now));
}

#[test]
fn what_is_associated_at_the_start_is_there_after_the_first_pass_in_one_request_for_a_thousand_records()
 {
    let portal = Portal::quick();
    portal.fill("contacts", 1_200);
    portal.fill("companies", 3);
    let (contacts, companies) = (ids(&portal, "contacts"), ids(&portal, "companies"));
    // No poll brings them once more.
    let day_ago = portal.now_ms() - 86_400_000;
    for (number, contact) in contacts
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 3 == 0)
    {
        let ends = (
            ("contacts", *contact),
            ("companies", companies[number % companies.len()]),
        );
        assert!(portal.stand().associate(ends.0, ends.1, day_ago));
    }
    let ends = (("contacts", contacts[0]), ("companies", companies[1]));
    assert!(portal.stand().set_primary(ends.0, ends.1, day_ago));
    let mut site = Site::with(&portal, RARELY, OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    until_equal(&site, &portal);
    let reads = portal.requests("contacts/companies/batch/read");
    assert_eq!(reads, 2);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_history WHERE property = 'association'"),
        0,
        "a first pass has no history"
    );
    let told = "SELECT label FROM association_types WHERE from_object = 'contacts' AND to_object = 'companies' AND type_id = 1";
    assert_eq!(site.text(told).as_deref(), Some("Primary"));
    let view = format!(
        "SELECT count(*) FROM contacts_companies WHERE is_primary AND contacts_local_id = (SELECT local_id FROM contacts WHERE hs_id = {})",
        contacts[0]
    );
    assert_eq!(site.number(&view), 1);
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn a_new_association_of_a_record_that_a_poll_brings_is_there_with_the_poll() {
    let portal = Portal::quick();
    portal.stand().settings_mut().association_moves_modified = true;
    let (ann, acme, beta) = (
        portal.contact("ann@example.com"),
        company(&portal, "Acme"),
        company(&portal, "Beta"),
    );
    let mut site = Site::with(&portal, "", OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    associate(&portal, ann, acme);
    until_equal(&site, &portal);
    set_primary(&portal, ann, beta);
    until_equal(&site, &portal);
    let now = portal.now_ms();
    let gone = portal
        .stand()
        .disassociate(("contacts", ann), ("companies", acme), now);
    assert!(gone);
    until_equal(&site, &portal);
    let came = "SELECT count(*) FROM sync_history WHERE object = 'contacts_companies' AND property = 'association' AND origin = 'poll'
         AND new_value LIKE '{\"from_local_id\":%,\"from_hs_id\":%,\"to_local_id\":%,\"to_hs_id\":%,\"category\":\"HUBSPOT_DEFINED\",\"type_id\":%,\"label\":%}'";
    assert!(site.number(came) >= 3);
    site.until_sql("SELECT count(*) FROM sync_history WHERE property = 'association' AND old_value IS NOT NULL AND new_value IS NULL");
    // A contact that is made with its company: both come with the same poll, in whichever order.
    let bob = portal.contact("bob@example.com");
    let gamma = company(&portal, "Gamma");
    associate(&portal, bob, gamma);
    until_equal(&site, &portal);
    site.until_sql("SELECT associations_waiting = 0 FROM sync_status WHERE object = 'contacts'");
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_webhook_of_either_end_brings_an_association_without_a_poll() {
    let portal = Portal::quick();
    let door = Door::new();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let mut site = Door::site_with(&portal, &format!("{RARELY}{}", door.settings("")), OBJECTS);
    site.start_and_settle();
    site.until_sql(FIRST_PASS);
    door.subscribe(&portal, Webhooks::default());
    associate(&portal, ann, acme);
    until_equal(&site, &portal);
    set_primary(&portal, ann, acme);
    until_equal(&site, &portal);
    let now = portal.now_ms();
    // From the company's side.
    let gone = portal
        .stand()
        .disassociate(("companies", acme), ("contacts", ann), now);
    assert!(gone);
    until_equal(&site, &portal);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_inbox WHERE state = 'pending' OR state = 'dead'"),
        0
    );
    assert_eq!(site.stop(), 0);
}

fn ids(portal: &Portal, object: &str) -> Vec<u64> {
    let stand = portal.stand();
    let records = stand.records(object);
    records.iter().map(Record::id).collect()
}

#[test]
fn a_comparison_and_the_rotating_pass_find_what_nobody_told() {
    let portal = Portal::quick();
    portal.fill("contacts", 1);
    portal.fill("companies", 3);
    let (contact, companies) = (ids(&portal, "contacts")[0], ids(&portal, "companies"));
    // A first company becomes the primary one, which moves the contact's time; another one moves nothing.
    let day_ago = portal.now_ms() - 86_400_000;
    let first =
        portal
            .stand()
            .associate(("contacts", contact), ("companies", companies[0]), day_ago);
    assert!(first);
    let site = Site::with(&portal, "", OBJECTS);
    site.once();
    let before = site.text(SHOWN);
    assert_eq!(before.clone().unwrap_or_default(), in_hubspot(&portal));
    associate(&portal, contact, companies[1]);
    site.once();
    assert_eq!(site.text(SHOWN), before, "nothing tells of it");
    let compared = site.run(&["once", "--reconcile", "--timeout", "50s"]);
    assert!(compared.status.success(), "{compared:?}");
    assert_eq!(site.text(SHOWN).unwrap_or_default(), in_hubspot(&portal));
    let mut site = site;
    site.configure(
        &portal,
        "[schedule]\npoll = \"1h\"\nassociations = \"1s\"\n",
        OBJECTS,
    );
    site.start_and_settle();
    associate(&portal, contact, companies[2]);
    until_equal(&site, &portal);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_record_that_is_new_brings_what_leads_to_it() {
    let portal = Portal::quick();
    portal.fill("contacts", 1);
    portal.fill("companies", 1);
    let (contact, first) = (ids(&portal, "contacts")[0], ids(&portal, "companies")[0]);
    let day_ago = portal.now_ms() - 86_400_000;
    let ends = (("contacts", contact), ("companies", first));
    assert!(portal.stand().associate(ends.0, ends.1, day_ago));
    let mut site = Site::with(&portal, "", OBJECTS);
    site.start_and_settle();
    site.until_sql(FIRST_PASS);
    until_equal(&site, &portal);
    let moved = "SELECT hs_modified_at FROM contacts";
    let before = site.text(moved);
    // Not the first one, so that nothing moves the contact's time: the company alone is brought by a poll.
    let beta = company(&portal, "Beta");
    associate(&portal, contact, beta);
    until_equal(&site, &portal);
    assert_eq!(site.text(moved), before);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_label_that_is_deleted_in_the_portal_is_archived_and_its_rows_go() {
    let portal = Portal::quick();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let pair = ("contacts", "companies");
    let (boss, _) = portal.stand().create_label(pair, "Boss", None);
    let now = portal.now_ms();
    assert!(
        portal
            .stand()
            .label(("contacts", ann), ("companies", acme), boss, now)
    );
    let mut site = Site::with(
        &portal,
        "[schedule]\npoll = \"1h\"\nreference = \"1s\"\n",
        OBJECTS,
    );
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    until_equal(&site, &portal);
    assert!(portal.stand().rename_label(pair, boss, "Chief"));
    site.until_sql("SELECT count(*) FROM associations WHERE label = 'Chief'");
    assert!(portal.stand().delete_label(pair, boss, now));
    site.until_sql("SELECT archived FROM association_types WHERE label = 'Chief'");
    until_equal(&site, &portal);
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_an_answer_does_not_tell_is_asked_for_again_and_nothing_goes_for_it() {
    use hubsyncd::simulator::faults::FaultKind;
    let portal = Portal::quick();
    portal.stand().settings_mut().association_moves_modified = true;
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    associate(&portal, ann, acme);
    let mut site = Site::with(&portal, "", OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    until_equal(&site, &portal);
    portal.script(FaultKind::UnreadableRecord, 1, "companies/batch/read");
    portal.edit(ann, &[("city", "Oslo")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo'");
    site.until_sql("SELECT count(*) FROM _sync_links_due");
    assert_eq!(site.text(SHOWN).unwrap_or_default(), in_hubspot(&portal));
    assert_eq!(site.stop(), 0);
}

#[test]
fn the_rotating_pass_reads_a_slice_at_a_time_and_a_restart_keeps_its_place() {
    let portal = Portal::quick();
    portal.fill("contacts", 2_100);
    portal.fill("companies", 1);
    let path = "contacts/companies/batch/read";
    let often = "[schedule]\npoll = \"1h\"\nassociations = \"9s\"\n";
    let mut site = Site::with(&portal, often, OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    let first = "SELECT last_association_pass_at FROM sync_status WHERE object = 'contacts'";
    let ended = site.text(first);
    assert_eq!(portal.requests(path), 3, "the first pass goes on at once");
    eventually("the rotation has begun", || portal.requests(path) == 4);
    site.until_sql("SELECT last_hs_id FROM _sync_link_passes");
    assert_eq!(site.text(first), ended, "it has not ended");
    site.kill();
    assert_eq!(portal.requests(path), 4, "a slice alone");
    site.start();
    let mut looks = site.looks();
    eventually("the rotation has ended", || looks.text(first) != ended);
    drop(looks);
    assert_eq!(portal.requests(path), 6, "it went on where it was");
    assert_eq!(site.stop(), 0);
}

const MARKED: &str = "[objects.contacts]\non_remote_delete = \"mark\"\n[objects.companies]\n[associations]\n\
     contacts_companies = { from = \"contacts\", to = \"companies\" }\n";

#[test]
fn the_associations_of_a_row_that_is_marked_as_archived_go() {
    let portal = Portal::quick();
    let (ann, bob) = (
        portal.contact("ann@example.com"),
        portal.contact("bob@example.com"),
    );
    let acme = company(&portal, "Acme");
    associate(&portal, ann, acme);
    associate(&portal, bob, acme);
    let mut site = Site::with(
        &portal,
        "[schedule]\npoll = \"1h\"\nreconcile = \"*/2 * * * * *\"\n",
        MARKED,
    );
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    until_equal(&site, &portal);
    let of = |id: u64| {
        format!(
            "SELECT count(*) FROM associations AS a JOIN contacts AS c ON c.local_id = a.from_local_id WHERE c.hs_id = {id}"
        )
    };
    let held = site.number(&of(bob));
    assert!(held > 0 && site.number(&of(ann)) > 0);
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", ann, now));
    site.until_sql("SELECT hs_archived FROM contacts WHERE email = 'ann@example.com'");
    eventually("they go", || site.number(&of(ann)) == 0);
    assert_eq!(site.number(&of(bob)), held);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    // Restored, they are back with it.
    let now = portal.now_ms();
    assert!(portal.stand().restore("contacts", ann, now));
    site.until_sql("SELECT hs_archived = 0 FROM contacts WHERE email = 'ann@example.com'");
    until_equal(&site, &portal);
    assert_eq!(site.stop(), 0);
}

pub(crate) const FAMILY: &str = "[objects.companies]\n[associations]\n\
     family = { from = \"companies\", to = \"companies\" }\n";

/// The types between two companies here, from the first to the second.
fn family(site: &Site, from: u64, to: u64) -> String {
    let types = format!(
        "SELECT group_concat(type_id, ' ') FROM (SELECT a.type_id FROM associations AS a JOIN companies AS f ON f.local_id = a.from_local_id
         JOIN companies AS t ON t.local_id = a.to_local_id WHERE f.hs_id = {from} AND t.hs_id = {to} ORDER BY a.type_id)"
    );
    site.text(&types).unwrap_or_default()
}

/// How many entries that are not dead a program sees in the transaction of its own statement.
fn queued_by(site: &Site, statement: &str) -> i64 {
    let mut program = site.program();
    let tx = program.transaction().expect("a transaction");
    tx.execute(statement, []).expect("is taken");
    let count = tx
        .query_row(
            "SELECT count(*) FROM sync_outbox WHERE state <> 'dead'",
            [],
            |row| row.get(0),
        )
        .expect("a number");
    tx.commit().expect("is committed");
    count
}

#[test]
fn parent_and_child_company_are_read_in_both_directions_and_one_insert_makes_both() {
    let portal = Portal::quick();
    let [mother, daughter, son] = ["Mother", "Daughter", "Son"].map(|name| company(&portal, name));
    let ends = |from, to| (("companies", from), ("companies", to));
    let child = (portal
        .stand()
        .pair_types("companies", "companies")
        .into_iter())
    .find(|kind| kind.kind.type_id == 13)
    .expect("HubSpot has it");
    let now = portal.now_ms();
    let (from, to) = ends(mother, daughter);
    assert!(portal.stand().label(from, to, child.kind, now));
    let mut site = Site::with(&portal, "", FAMILY);
    site.start_and_load();
    site.until_sql(
        "SELECT last_association_pass_at IS NOT NULL FROM sync_status WHERE object = 'companies'",
    );
    eventually("both directions are here", || {
        let (down, up) = (
            family(&site, mother, daughter),
            family(&site, daughter, mother),
        );
        (down.as_str(), up.as_str()) == ("13 450", "14 450")
    });
    let insert = format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label)
         SELECT 'companies', s.local_id, 'companies', m.local_id, 'parent company' FROM companies AS s, companies AS m
         WHERE s.hs_id = {son} AND m.hs_id = {mother}"
    );
    assert_eq!(queued_by(&site, &insert), 1);
    site.until_pushed();
    eventually("HubSpot and both directions have it", || {
        let (down, up) = (family(&site, mother, son), family(&site, son, mother));
        (down.as_str(), up.as_str()) == ("13 450", "14 450")
    });
    let links = portal.stand().links_of(("companies", mother), "companies");
    assert_eq!(links.iter().filter(|link| link.to_id == son).count(), 2);
    let delete = "DELETE FROM associations WHERE type_id = 450 AND from_local_id = (SELECT local_id FROM companies WHERE name = 'Mother')
         AND to_local_id = (SELECT local_id FROM companies WHERE name = 'Son')";
    assert_eq!(queued_by(&site, delete), 2, "one a type");
    assert_eq!(family(&site, son, mother), "");
    site.until_pushed();
    let links = portal.stand().links_of(("companies", mother), "companies");
    assert_eq!(links.iter().filter(|link| link.to_id == son).count(), 0);
    assert_eq!(family(&site, mother, daughter), "13 450");
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_waits_to_be_made_by_a_label_that_is_deleted_ends_dead() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    company(&portal, "Acme");
    let pair = ("contacts", "companies");
    let (boss, _) = portal.stand().create_label(pair, "Boss", None);
    let site = Site::with(&portal, "", OBJECTS);
    site.once();
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('contacts', 1, 'companies', 1, 'Boss')",
    );
    let now = portal.now_ms();
    assert!(portal.stand().delete_label(pair, boss, now));
    site.once();
    site.once();
    let told = "SELECT group_concat(operation || ' ' || state || ' ' || code) FROM sync_outbox";
    assert_eq!(
        site.text(told).as_deref(),
        Some("associate dead unknown-association-type")
    );
    let said = site.text("SELECT last_error FROM sync_outbox");
    let said = said.expect("a sentence");
    assert!(
        said.contains("contacts_companies has no such label or type"),
        "{said}"
    );
    assert_eq!(in_hubspot(&portal), "");
}

#[test]
fn an_association_waits_for_the_row_of_its_other_record_and_is_counted_until_then() {
    let portal = Portal::quick();
    let now = portal.now_ms() - 86_400_000;
    let zed = [("name", "Zed"), ("domain", "zed.example")];
    let zed = portal.stand().create("companies", &zed, now);
    let ann = portal.contact("ann@example.com");
    associate(&portal, ann, zed);
    let companies = "[objects.companies]\nmatch = \"domain\"\nnew_records = \"from_local\"\n";
    let site = Site::with(
        &portal,
        "",
        &OBJECTS.replace("[objects.companies]\n", companies),
    );
    site.once();
    let waiting = "SELECT associations_waiting FROM sync_status WHERE object = 'contacts'";
    assert_eq!(site.number(waiting), 1);
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    site.execute("INSERT INTO companies (domain) VALUES ('zed.example')");
    site.once();
    site.once();
    assert_eq!(site.number(waiting), 0);
    until_equal(&site, &portal);
    assert_ne!(in_hubspot(&portal), "");
}
