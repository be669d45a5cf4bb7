//! In which order associations go to HubSpot, and what becomes of those that it has locked.

use hubsyncd::simulator::faults::FaultKind;

use crate::daemon::Site;
use crate::exclusive::associate;
use crate::links::{FIRST_PASS, OBJECTS, company};
use crate::portal::Portal;

/// Three batches of 500.
const MANY: usize = 1_200;

/// How many associations were made in HubSpot before that of two records; `None`: it is not there.
fn made_before(portal: &Portal, to_object: &str, ends: (u64, u64)) -> Option<usize> {
    let stand = portal.stand();
    let made = stand.link_log().iter().filter(|entry| !entry.removed);
    let mut made = made.filter(|entry| entry.by_api && entry.from_object == "contacts");
    made.position(|entry| entry.to_object == to_object && (entry.from_id, entry.to_id) == ends)
}

#[test]
fn one_association_is_not_behind_thousands_of_its_pair_nor_of_another() {
    let portal = Portal::quick();
    portal.fill("contacts", MANY);
    let ann = portal.contact("ann@example.com");
    let acme = company(&portal, "Acme");
    let beta = company(&portal, "Beta");
    let deal = portal.deal();
    let objects = format!(
        "[objects.deals]\n{OBJECTS}contacts_deals = {{ from = \"contacts\", to = \"deals\" }}\n"
    );
    let limits = "[limits]\nassociations_per_second = 100.0\n";
    let site = Site::with(&portal, limits, &objects);
    site.once();
    let all = format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
         SELECT 'contacts', c.local_id, 'companies', o.local_id FROM contacts AS c, companies AS o
         WHERE o.hs_id = {acme} AND c.hs_id <> {ann}"
    );
    assert!(site.execute(&all) >= MANY);
    site.execute(&associate(("contacts", ann), ("companies", beta), 0));
    site.execute(&associate(("contacts", ann), ("deals", deal), 0));
    site.once();
    let of_pair = made_before(&portal, "companies", (ann, beta));
    let of_other = made_before(&portal, "deals", (ann, deal));
    // Behind a batch of the oldest, in that of the youngest; each association may have a primary beside it.
    assert!(of_pair.is_some_and(|before| before <= 2_000), "{of_pair:?}");
    assert!(
        of_other.is_some_and(|before| before <= 1_000),
        "{of_other:?}"
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn of_two_writes_of_one_association_in_a_long_queue_the_last_has_the_last_word() {
    let portal = Portal::quick();
    portal.fill("contacts", MANY);
    let ann = portal.contact("ann@example.com");
    let [acme, beta, gamma] = ["Acme", "Beta", "Gamma"].map(|name| company(&portal, name));
    let site = Site::with(
        &portal,
        "[limits]\nassociations_per_second = 100.0\n",
        OBJECTS,
    );
    site.once();
    let all = format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
         SELECT 'contacts', c.local_id, 'companies', o.local_id FROM contacts AS c, companies AS o
         WHERE o.hs_id = {acme} AND c.hs_id <> {ann}"
    );
    let primary = |company| associate(("contacts", ann), ("companies", company), 1);
    // The older of the two is among the oldest, the younger among the youngest.
    site.execute(&primary(beta));
    site.execute(&all);
    site.execute(&primary(gamma));
    site.once();
    let links = portal.stand().links("contacts", "companies");
    let primary = links
        .iter()
        .find(|link| link.from_id == ann && link.kind.type_id == 1);
    assert_eq!(primary.map(|link| link.to_id), Some(gamma));
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn an_association_that_hubspot_has_locked_is_sent_again_after_two_seconds() {
    let portal = Portal::quick();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let mut site = Site::with(&portal, "[schedule]\npoll = \"1h\"\n", OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    let path = "contacts/companies/batch/associate/default";
    portal.script(FaultKind::Locked, 1, path);
    site.execute(&associate(("contacts", ann), ("companies", acme), 0));
    site.until_pushed();
    site.until_sql(&format!("SELECT count(*) = 2 {CALLS}"));
    let between = format!(
        "SELECT CAST((julianday(max(at)) - julianday(min(at))) * 86400000 AS INTEGER) {CALLS}"
    );
    let between = site.number(&between);
    assert!(between >= 1_990, "{between} ms");
}

const CALLS: &str =
    "FROM sync_calls WHERE method = 'POST' AND path LIKE '%/batch/associate/default'";
