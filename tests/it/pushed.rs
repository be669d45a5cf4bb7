//! A pair that is only pushed: `associations` has what programs made and what HubSpot implies of it. What a person takes away in
//! HubSpot is told and made again; what people add there is left alone, and does not come.

use hubsyncd::simulator::webhooks::Webhooks;

use crate::daemon::{Site, eventually};
use crate::links::{FIRST_PASS, company, in_hubspot, set_primary, until_equal};
use crate::portal::Portal;
use crate::webhooks::Door;

fn objects(from: &str, to: &str) -> String {
    format!(
        "[objects.contacts]\n[objects.companies]\n[associations]\n\
         {from}_{to} = {{ from = \"{from}\", to = \"{to}\", direction = \"push\" }}\n"
    )
}

/// A contact and two companies that were read, in a pair that is only pushed.
fn loaded(settings: &str) -> (Portal, Site, u64, [u64; 2]) {
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    let ann = portal.contact("ann@example.com");
    let companies = [company(&portal, "Acme"), company(&portal, "Beta")];
    let mut site = Site::with(&portal, settings, &objects("contacts", "companies"));
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    (portal, site, ann, companies)
}

fn link(contact: u64, company: u64, label: &str) -> String {
    format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label)
         SELECT 'contacts', c.local_id, 'companies', o.local_id, {label} FROM contacts AS c, companies AS o
         WHERE c.hs_id = {contact} AND o.hs_id = {company}"
    )
}

fn disassociate(portal: &Portal, contact: u64, company: u64) {
    let now = portal.now_ms();
    let ends = (("contacts", contact), ("companies", company));
    assert!(portal.stand().disassociate(ends.0, ends.1, now));
}

/// What `sync_conflicts` says of the pair.
const TOLD: &str = "SELECT group_concat(winner || ' ' || reason, ';') FROM sync_conflicts
     WHERE object = 'contacts_companies' AND property = 'association' AND resolved_at IS NOT NULL";

const ROWS: &str = "SELECT count(*) FROM associations";

#[test]
fn what_our_own_primary_takes_from_another_company_goes_with_the_answer() {
    let (portal, mut site, ann, [acme, beta]) = loaded("");
    for company in [acme, beta] {
        site.execute(&link(ann, company, "'Primary'"));
        site.until_pushed();
        let primary = "SELECT group_concat(o.hs_id) FROM contacts_companies AS l
             JOIN companies AS o ON o.local_id = l.companies_local_id WHERE l.is_primary";
        // Whoever asked since the answer is told by the next one.
        let mut looks = site.looks();
        eventually("it is the only one", || {
            looks.text(primary) == Some(company.to_string())
        });
        until_equal(&site, &portal);
    }
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_primary_of_ours_takes_another_ones_where_rows_start_from_the_companies() {
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    let ann = portal.contact("ann@example.com");
    let companies = [company(&portal, "Acme"), company(&portal, "Beta")];
    let mut site = Site::with(&portal, "", &objects("companies", "contacts"));
    site.start_and_load();
    site.until_sql(&FIRST_PASS.replace("'contacts'", "'companies'"));
    for company in companies {
        site.execute(&format!(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label)
             SELECT 'companies', o.local_id, 'contacts', c.local_id, 'Primary' FROM contacts AS c, companies AS o
             WHERE c.hs_id = {ann} AND o.hs_id = {company}"
        ));
        site.until_pushed();
        site.until_sql(&format!(
            "SELECT group_concat(o.hs_id) = '{company}' FROM companies_contacts AS l
             JOIN companies AS o ON o.local_id = l.companies_local_id WHERE l.is_primary"
        ));
    }
    assert_eq!(site.stop(), 0);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    assert_eq!(site.number(ROWS), 3);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn what_a_person_takes_away_is_told_by_a_comparison_and_made_again() {
    let (portal, mut site, ann, [acme, beta]) = loaded("");
    site.execute(&link(ann, acme, "NULL"));
    site.execute(&link(ann, beta, "'Primary'"));
    site.until_pushed();
    until_equal(&site, &portal);
    let both = in_hubspot(&portal);
    assert_eq!(site.stop(), 0);
    // All of one, and the primary alone of the other.
    disassociate(&portal, ann, acme);
    set_primary(&portal, ann, acme);
    assert_ne!(in_hubspot(&portal), both);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    // The plain type came back by the person's hand; the primary is ours again.
    assert_eq!(in_hubspot(&portal), both);
    assert_eq!(
        site.text(TOLD).as_deref(),
        Some(
            "local the pair is only pushed;local each side named another record where only one can be"
        )
    );
    disassociate(&portal, ann, acme);
    disassociate(&portal, ann, beta);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    assert_eq!(in_hubspot(&portal), both);
    until_equal(&site, &portal);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 3);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn what_people_add_is_left_alone_and_does_not_come() {
    let (portal, mut site, ann, [acme, beta]) = loaded("");
    site.execute(&link(ann, acme, "NULL"));
    site.until_pushed();
    assert_eq!(site.stop(), 0);
    // Another company, and the primary of ours.
    set_primary(&portal, ann, beta);
    set_primary(&portal, ann, acme);
    let all = in_hubspot(&portal);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    assert_eq!(in_hubspot(&portal), all);
    assert_eq!(site.number(ROWS), 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    // A primary of ours goes out over theirs, and that is told.
    site.execute(&link(ann, beta, "'Primary'"));
    site.once();
    assert_eq!(site.number(ROWS), 3);
    assert_eq!(
        site.text(TOLD).as_deref(),
        Some("local each side named another record where only one can be")
    );
    assert_eq!(
        site.number("SELECT count(*) FROM contacts_companies WHERE is_primary"),
        1
    );
}

#[test]
fn an_association_with_a_record_that_is_gone_goes_with_it() {
    let (portal, mut site, ann, [acme, _]) = loaded("");
    site.execute(&link(ann, acme, "NULL"));
    site.until_pushed();
    assert_eq!(site.stop(), 0);
    let now = portal.now_ms();
    assert!(portal.stand().archive("companies", acme, now));
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success());
    assert_eq!(site.number(ROWS), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn a_webhook_tells_what_a_person_takes_away() {
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let door = Door::new();
    let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, &objects("contacts", "companies"));
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    door.until_open();
    door.subscribe(&portal, Webhooks::default());
    site.execute(&link(ann, acme, "NULL"));
    site.until_pushed();
    disassociate(&portal, ann, acme);
    eventually("it is made again", || !in_hubspot(&portal).is_empty());
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE object = 'contacts_companies'");
    assert_eq!(site.number(ROWS), 1);
    assert_eq!(site.stop(), 0);
}
