//! Associations that a program makes and takes away by SQL are made and taken away in HubSpot, whatever crashes.

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::DEFAULT_TOKEN;

use crate::codes::produces;
use crate::commands::get;
use crate::daemon::{Site, eventually};
use crate::links::{FIRST_PASS, OBJECTS, company, in_hubspot, set_primary, until_equal};
use crate::portal::Portal;
use crate::ports::free_port;

/// A new contact and a new company, and the association between them, in one transaction.
const BOTH_NEW: &str = "BEGIN;
    INSERT INTO contacts (email) VALUES ('ada@example.com');
    INSERT INTO companies (name) VALUES ('Analytical Engines');
    INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
    SELECT 'contacts', c.local_id, 'companies', o.local_id FROM contacts AS c, companies AS o
    WHERE c.email = 'ada@example.com' AND o.name = 'Analytical Engines';
    COMMIT";

fn link(contact: u64, company: u64, more: &str, values: &str) -> String {
    format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id{more})
         SELECT 'contacts', c.local_id, 'companies', o.local_id{values} FROM contacts AS c, companies AS o
         WHERE c.hs_id = {contact} AND o.hs_id = {company}"
    )
}

/// How many contacts and companies are associated in HubSpot.
fn associated(portal: &Portal) -> usize {
    let links = portal.stand().links("contacts", "companies");
    links.iter().filter(|link| link.label.is_none()).count()
}

/// A contact and two companies, loaded with their associations.
fn loaded(settings: &str) -> (Portal, Site, u64, [u64; 2]) {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let companies = [company(&portal, "Acme"), company(&portal, "Beta")];
    let mut site = Site::with(&portal, settings, OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    (portal, site, ann, companies)
}

#[test]
fn an_association_of_two_new_records_is_made_once_whatever_crashes() {
    for path in ["", "companies/batch/upsert", "batch/associate/default"] {
        let portal = Portal::quick();
        let mut site = Site::with(&portal, "", OBJECTS);
        site.start_and_load();
        site.until_sql(FIRST_PASS);
        if path.is_empty() {
            site.kill();
            site.program().execute_batch(BOTH_NEW).expect("is taken");
        } else {
            portal.stand().faults_mut().slow_ms = 20_000;
            portal.script(FaultKind::Slow, 1, path);
            let before = portal.requests(path);
            site.program().execute_batch(BOTH_NEW).expect("is taken");
            eventually("the request is on its way", || {
                portal.requests(path) > before
            });
            site.kill();
        }
        site.start();
        eventually("both sides have it", || !in_hubspot(&portal).is_empty());
        site.until_pushed();
        until_equal(&site, &portal);
        assert_eq!(portal.contacts(), 1, "{path}");
        assert_eq!(
            site.number("SELECT count(*) FROM associations WHERE type_id IS NOT NULL"),
            site.number("SELECT count(*) FROM associations"),
            "{path}"
        );
        assert_eq!(
            site.number("SELECT count(*) FROM sync_history WHERE property = 'association' AND origin = 'push'"),
            site.number("SELECT count(*) FROM associations"),
            "{path}"
        );
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn labels_and_primaries_go_out_and_what_they_imply_is_there_after_the_next_answer() {
    let (portal, mut site, ann, [acme, beta]) = loaded("[schedule]\nreference = \"1s\"\n");
    portal
        .stand()
        .create_label(("contacts", "companies"), "Boss", None);
    site.until_sql("SELECT count(*) FROM association_types WHERE label = 'Boss'");
    site.execute(&link(ann, acme, ", label", ", ' boss '"));
    site.until_pushed();
    until_equal(&site, &portal);
    // The label and the plain type.
    assert_eq!(site.number("SELECT count(*) FROM associations"), 2);
    for company in [acme, beta] {
        site.execute(&link(ann, company, ", label", ", 'Primary'"));
        site.until_pushed();
        // What it takes from the former one comes with its acknowledgement.
        assert_eq!(
            site.number("SELECT count(*) FROM contacts_companies WHERE is_primary"),
            1
        );
        until_equal(&site, &portal);
        let primary = "SELECT o.hs_id FROM contacts_companies AS l JOIN companies AS o ON o.local_id = l.companies_local_id WHERE l.is_primary";
        assert_eq!(site.number(primary), company as i64, "one at a time");
    }
    // What is there already is no change.
    let asked = portal.requests("contacts/companies/batch/create");
    assert_eq!(site.execute(&link(ann, beta, ", label", ", 'primary'")), 0);
    assert_eq!(site.execute(&link(ann, beta, "", "")), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(portal.requests("contacts/companies/batch/create"), asked);
    let explanation = site
        .program()
        .execute(&link(ann, beta, ", label", ", 'Bos'"), [])
        .expect_err("there is no such label")
        .to_string();
    assert!(
        explanation.starts_with("contacts_companies has no such label or type: it has ")
            && explanation.contains("`Boss` (USER_DEFINED"),
        "{explanation}"
    );
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn a_label_is_known_in_any_case_of_any_letter() {
    let portal = Portal::quick();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let pair = ("contacts", "companies");
    portal.stand().create_label(pair, "Ärzte", None);
    let mut site = Site::with(&portal, "", OBJECTS);
    site.start_and_load();
    site.until_sql("SELECT count(*) FROM association_types WHERE label = 'Ärzte'");
    site.execute(&link(ann, acme, ", label", ", 'ärzte'"));
    site.until_sql("SELECT count(*) FROM associations WHERE label = 'Ärzte'");
    site.until_pushed();
    until_equal(&site, &portal);
    assert!(in_hubspot(&portal).contains("Ärzte"));
    // What the portal has not at all is dead, with what it has.
    site.execute(&link(ann, acme, ", label", ", 'Ärztin'"));
    site.until_sql(&format!(
        "SELECT count(*) FROM sync_outbox WHERE state = 'dead' AND code = '{}'",
        produces("unknown-association-type")
    ));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_number_alone_waits_until_the_types_are_read_and_is_never_the_default() {
    let portal = Portal::quick();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let (boss, _) = portal
        .stand()
        .create_label(("contacts", "companies"), "Boss", None);
    // Its number is another type's too: that of the second one is its own.
    assert_eq!(boss.type_id, 1);
    let (chief, _) = portal
        .stand()
        .create_label(("contacts", "companies"), "Chief", None);
    portal.script(FaultKind::InternalError, 40, "/labels");
    let mut site = Site::with(&portal, "[schedule]\nreference = \"1s\"\n", OBJECTS);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    assert_eq!(site.number("SELECT count(*) FROM association_types"), 0);
    site.execute(&link(
        ann,
        acme,
        ", type_id",
        &format!(", {}", chief.type_id),
    ));
    site.until_sql(
        "SELECT count(*) FROM sync_outbox WHERE last_error LIKE 'the labels of this pair%'",
    );
    assert_eq!(in_hubspot(&portal), "", "nothing is guessed");
    portal.stand().faults_mut().scripts.clear();
    site.until_sql("SELECT count(*) FROM associations WHERE label = 'Chief'");
    site.until_pushed();
    until_equal(&site, &portal);
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_is_deleted_here_is_disassociated_there_a_label_alone_or_the_pair_with_all_its_types() {
    let (portal, mut site, ann, [acme, beta]) = loaded("");
    for company in [acme, beta] {
        site.execute(&link(ann, company, "", ""));
        site.execute(&link(ann, company, ", label", ", 'Primary'"));
        site.until_pushed();
        until_equal(&site, &portal);
    }
    site.execute("DELETE FROM associations WHERE label = 'Primary'");
    site.until_pushed();
    until_equal(&site, &portal);
    assert_eq!(site.number("SELECT count(*) FROM associations"), 2);
    site.execute(&link(ann, acme, ", label", ", 'Primary'"));
    site.until_pushed();
    let of_acme = format!(
        "DELETE FROM associations WHERE type_id = 279 AND to_local_id = (SELECT local_id FROM companies WHERE hs_id = {acme})"
    );
    site.execute(&of_acme);
    assert_eq!(site.number("SELECT count(*) FROM associations"), 1);
    site.until_pushed();
    until_equal(&site, &portal);
    assert_eq!(associated(&portal), 1);
    let lines = "SELECT count(*) FROM sync_history WHERE object = 'contacts_companies' AND property = 'association' AND origin = 'push'
         AND old_value IS NOT NULL";
    // The primary that went from one company to the other, the one that was deleted, and both types of the pair.
    assert_eq!(site.number(lines), 4);
    // A record that goes takes its associations with it, without a word of ours.
    let asked = portal.requests("contacts/companies/batch/archive");
    site.execute("DELETE FROM contacts");
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    site.until_pushed();
    assert_eq!(portal.requests("contacts/companies/batch/archive"), asked);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_pair_that_is_deleted_here_is_read_before_and_a_label_added_since_is_no_victim_unseen() {
    for (policy, stays) in [("remote", true), ("local", false), ("manual", true)] {
        let objects = OBJECTS.replace(" }", &format!(", conflict = \"{policy}\" }}"));
        let portal = Portal::quick();
        portal.stand().settings_mut().first_company_is_primary = false;
        let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
        let pair = ("contacts", "companies");
        let (boss, _) = portal.stand().create_label(pair, "Boss", None);
        let mut site = Site::with(&portal, "[schedule]\npoll = \"1h\"\n", &objects);
        site.start_and_load();
        site.until_sql(FIRST_PASS);
        site.execute(&link(ann, acme, "", ""));
        site.until_pushed();
        until_equal(&site, &portal);
        site.stop();
        let now = portal.now_ms();
        let ends = (("contacts", ann), ("companies", acme));
        assert!(portal.stand().label(ends.0, ends.1, boss, now));
        site.execute("DELETE FROM associations");
        site.start();
        site.until_sql("SELECT count(*) FROM sync_conflicts");
        site.until_pushed();
        let labels = ["Boss", "-"].map(|label| in_hubspot(&portal).contains(label));
        assert_eq!(labels, [stays, stays], "{policy}");
        let told = site.text("SELECT coalesce(winner, 'open') || json_array_length(local_value) || json_array_length(remote_value) FROM sync_conflicts");
        let winner = if policy == "manual" { "open" } else { policy };
        assert_eq!(told, Some(format!("{winner}02")));
        if policy == "manual" {
            assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
            site.execute("UPDATE sync_conflicts SET resolution = 'local'");
            site.until_sql("SELECT winner = 'local' FROM sync_conflicts");
            site.until_pushed();
        }
        until_equal(&site, &portal);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn what_hubspot_refuses_is_dead_in_its_words_and_the_others_go_on() {
    let (portal, mut site, ann, [acme, beta]) = loaded("");
    limit_to_one(&portal);
    let bob = portal.contact("bob@example.com");
    site.until_sql("SELECT count(*) = 2 FROM contacts");
    site.program()
        .execute_batch(&format!(
            "BEGIN; {}; {}; {}; COMMIT",
            link(ann, acme, "", ""),
            link(ann, beta, "", ""),
            link(bob, beta, "", "")
        ))
        .expect("is taken");
    site.until_sql("SELECT count(*) = 1 FROM sync_outbox WHERE state = 'dead'");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox WHERE state <> 'dead'");
    assert_eq!(associated(&portal), 2);
    let explanation = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("words");
    assert!(
        explanation.contains("has reached its limit of 1"),
        "{explanation}"
    );
    let code = site.text("SELECT code FROM sync_outbox");
    assert_eq!(code.as_deref(), Some(produces("association-limit")));
    // Where the other one makes room it goes out after all.
    let other = format!(
        "DELETE FROM associations WHERE to_local_id = (SELECT local_id FROM companies WHERE hs_id = {acme}) AND from_local_id = 1"
    );
    site.execute(&other);
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    until_equal(&site, &portal);
    assert_eq!(associated(&portal), 2);
    // Given up, its row goes again.
    site.execute(&link(ann, acme, "", ""));
    site.until_sql("SELECT count(*) = 1 FROM sync_outbox WHERE state = 'dead'");
    site.execute("DELETE FROM sync_outbox");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    until_equal(&site, &portal);
    // Of what is taken away and what comes in its place, whichever was written first, the former goes first.
    let beta_goes = format!(
        "DELETE FROM associations WHERE to_local_id = (SELECT local_id FROM companies WHERE hs_id = {beta}) AND from_local_id = 1"
    );
    site.program()
        .execute_batch(&format!(
            "BEGIN; {}; {beta_goes}; COMMIT",
            link(ann, acme, "", "")
        ))
        .expect("is taken");
    site.until_pushed();
    until_equal(&site, &portal);
    assert!(in_hubspot(&portal).contains(&format!("{ann} {acme}")));
    assert_eq!(site.stop(), 0);
}

/// A contact has one company at most.
fn limit_to_one(portal: &Portal) {
    let types = portal.stand().pair_types("contacts", "companies");
    let plain = types.into_iter().find(|kind| kind.label.is_none());
    let plain = plain.expect("a plain type").kind;
    let pair = ("contacts", "companies");
    portal.stand().limit_links(pair, plain, Some(1));
}

#[test]
fn under_a_limit_of_one_the_policy_or_a_person_decides_whose_company_stands() {
    for (policy, resolution, winner) in [
        ("remote", None, 0),
        ("local", None, 1),
        ("manual", Some("remote"), 0),
        ("manual", Some("local"), 1),
    ] {
        let (portal, mut site, ann, companies) = loaded("");
        site.stop();
        // What the daemon does not know yet it learns when HubSpot refuses.
        limit_to_one(&portal);
        let objects = OBJECTS.replace(" }", &format!(", conflict = \"{policy}\" }}"));
        site.configure(&portal, "[schedule]\npoll = \"1h\"\n", &objects);
        let now = portal.now_ms();
        let [acme, beta] = companies;
        let ends = (("contacts", ann), ("companies", acme));
        assert!(portal.stand().associate(ends.0, ends.1, now));
        site.execute(&link(ann, beta, "", ""));
        site.start();
        site.until_sql("SELECT count(*) FROM sync_conflicts WHERE object = 'contacts_companies' AND property = 'association'");
        if let Some(word) = resolution {
            site.until_pushed();
            let here = "SELECT group_concat(DISTINCT o.hs_id) FROM contacts_companies AS l JOIN companies AS o ON o.local_id = l.companies_local_id";
            assert_eq!(site.text(here), Some(beta.to_string()), "it keeps ours");
            assert!(in_hubspot(&portal).starts_with(&format!("{ann} {acme}")));
            site.execute(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
        }
        let wins = companies[winner];
        eventually(&format!("{policy} {resolution:?}: one company"), || {
            let links = portal.stand().links("contacts", "companies");
            !links.is_empty() && links.iter().all(|link| link.to_id == wins)
        });
        site.until_pushed();
        until_equal(&site, &portal);
        let told = site.text(
            "SELECT group_concat(winner || ' ' || json_extract(local_value, '$[0].to_hs_id') || ' ' || json_extract(remote_value, '$[0].to_hs_id')) FROM sync_conflicts",
        );
        let name = ["remote", "local"][winner];
        assert_eq!(told, Some(format!("{name} {beta} {acme}")), "{policy}");
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_mass_of_disassociations_waits_for_a_word() {
    let port = free_port();
    let settings = format!("[guard]\nmax_archives = 2\n[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let (portal, mut site, ann, [acme, _]) = loaded(&settings);
    let held = |records: u32| {
        let line = format!(
            "hubsyncd_held_records{{object=\"contacts_companies\",side=\"hubspot\"}} {records}\n"
        );
        eventually(&line, || get(port, "/metrics").contains(&line));
    };
    held(0);
    let more: Vec<u64> = (0..4)
        .map(|number| company(&portal, &format!("Company {number}")))
        .collect();
    site.until_sql("SELECT count(*) = 6 FROM companies");
    for company in more.iter().chain([&acme]) {
        site.execute(&link(ann, *company, "", ""));
    }
    site.until_pushed();
    site.execute("DELETE FROM associations");
    site.until_sql("SELECT count(*) FROM sync_holds WHERE object = 'contacts_companies' AND operation = 'disassociate' AND records = 5");
    assert_eq!(associated(&portal), 5);
    held(5);
    site.execute("UPDATE sync_holds SET approved_at = datetime('now')");
    site.until_pushed();
    assert_eq!(associated(&portal), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn disassociations_are_taken_back_with_their_hold() {
    let (portal, mut site, ann, [acme, beta]) = loaded("[guard]\nmax_archives = 1\n");
    for company in [acme, beta] {
        site.execute(&link(ann, company, "", ""));
    }
    site.until_pushed();
    until_equal(&site, &portal);
    let held = site.number("SELECT count(*) FROM associations");
    site.execute("DELETE FROM associations");
    site.until_sql("SELECT count(*) FROM sync_holds WHERE operation = 'disassociate'");
    site.execute("DELETE FROM sync_holds");
    site.until_sql("SELECT count(*) = 0 FROM sync_holds");
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM associations"), held);
    assert_eq!(associated(&portal), 2);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_record_that_is_gone_is_no_longer_held_apart_and_is_associated_with_nothing() {
    for is_archived_there in [true, false] {
        let (portal, mut site, ann, [acme, beta]) = loaded("[guard]\nmax_archives = 2\n");
        let more: Vec<u64> = (0..2)
            .map(|number| company(&portal, &format!("Company {number}")))
            .collect();
        let bob = portal.contact("bob@example.com");
        site.until_sql("SELECT count(*) = 4 FROM companies");
        site.until_sql("SELECT count(*) = 2 FROM contacts");
        for company in [acme, beta].iter().chain(&more) {
            site.execute(&link(ann, *company, "", ""));
        }
        site.execute(&link(bob, acme, "", ""));
        site.until_pushed();
        until_equal(&site, &portal);
        site.execute("DELETE FROM associations");
        site.until_sql("SELECT records = 5 FROM sync_holds WHERE operation = 'disassociate'");
        let row = format!("SELECT count(*) = 0 FROM contacts WHERE hs_id = {bob}");
        if is_archived_there {
            let now = portal.now_ms();
            assert!(portal.stand().archive("contacts", bob, now));
            site.execute(&format!(
                "INSERT INTO sync_commands (command, object, argument) VALUES ('refetch', 'contacts', '{bob}')"
            ));
        } else {
            site.execute(&format!("DELETE FROM contacts WHERE hs_id = {bob}"));
        }
        site.until_sql(&row);
        site.until_sql("SELECT records = 4 FROM sync_holds WHERE operation = 'disassociate'");
        site.execute("DELETE FROM sync_holds");
        site.until_sql("SELECT count(*) = 0 FROM sync_holds");
        site.until_pushed();
        let dangling = "SELECT count(*) FROM associations WHERE from_local_id NOT IN (SELECT local_id FROM contacts)";
        assert_eq!(site.number(dangling), 0, "{is_archived_there}");
        until_equal(&site, &portal);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn associations_come_back_with_a_row_whose_deletion_is_given_up() {
    let settings = "[guard]\nmax_archives = 0\n";
    let (portal, mut site, ann, [acme, beta]) = loaded(settings);
    site.execute(&link(ann, acme, "", ""));
    site.until_pushed();
    until_equal(&site, &portal);
    let held = site.number("SELECT count(*) FROM associations");
    for number in 0..11 {
        portal.contact(&format!("more{number}@example.com"));
    }
    site.until_sql("SELECT count(*) = 12 FROM contacts");
    site.program()
        .execute_batch(&format!(
            "BEGIN; {}; DELETE FROM contacts; COMMIT",
            link(ann, beta, "", "")
        ))
        .expect("is taken");
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    site.until_sql("SELECT count(*) FROM sync_holds WHERE operation = 'archive'");
    site.execute("DELETE FROM sync_outbox");
    site.until_sql("SELECT count(*) = 12 FROM contacts");
    site.until_pushed();
    until_equal(&site, &portal);
    assert_eq!(associated(&portal), 2);
    assert_eq!(site.number("SELECT count(*) FROM associations"), held + 1);
    assert_eq!(site.stop(), 0);
}

/// Ann is associated with both companies, and each side names another one as her primary company while the daemon is away.
pub(crate) fn both_name_one(policy: &str) -> (Portal, Site, [u64; 2]) {
    let (portal, mut site, ann, [acme, beta]) = loaded("");
    for company in [acme, beta] {
        site.execute(&link(ann, company, "", ""));
        site.until_pushed();
        until_equal(&site, &portal);
    }
    // HubSpot makes the first company the primary one: neither side has any before the two differ.
    site.execute("DELETE FROM associations WHERE label = 'Primary'");
    site.until_pushed();
    until_equal(&site, &portal);
    site.stop();
    let objects = OBJECTS.replace(" }", &format!(", conflict = \"{policy}\" }}"));
    site.configure(&portal, "", &objects);
    set_primary(&portal, ann, acme);
    site.execute(&link(ann, beta, ", label", ", 'Primary'"));
    site.start();
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE object = 'contacts_companies' AND property = 'association'");
    (portal, site, [acme, beta])
}

/// The primary company on each side.
fn primaries(portal: &Portal, site: &Site) -> (i64, i64) {
    let links = portal.stand().links("contacts", "companies");
    let there = links
        .iter()
        .find(|link| link.label.as_deref() == Some("Primary"));
    let here = "SELECT o.hs_id FROM contacts_companies AS l JOIN companies AS o ON o.local_id = l.companies_local_id WHERE l.is_primary";
    (there.map_or(0, |link| link.to_id as i64), site.number(here))
}

#[test]
fn where_each_side_named_another_primary_the_policy_or_a_person_decides() {
    for (policy, resolution, winner) in [
        ("remote", None, 0),
        ("local", None, 1),
        ("manual", Some("remote"), 0),
        ("manual", Some("local"), 1),
    ] {
        let (portal, mut site, companies) = both_name_one(policy);
        let wins = companies[winner] as i64;
        if let Some(word) = resolution {
            site.until_pushed();
            let there = companies[0] as i64;
            assert_eq!(primaries(&portal, &site), (there, companies[1] as i64));
            site.execute("UPDATE sync_conflicts SET resolution = 'value:x'");
            site.until_sql("SELECT count(*) FROM sync_conflicts WHERE resolution IS NULL AND reason LIKE '%decided by%'");
            site.execute(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
        }
        eventually(&format!("{policy} {resolution:?}: one primary"), || {
            primaries(&portal, &site) == (wins, wins)
        });
        site.until_pushed();
        until_equal(&site, &portal);
        assert_eq!(site.number("SELECT count(*) FROM associations"), 3);
        let told = site.text(
            "SELECT group_concat(winner || ' ' || json_extract(local_value, '$[0].to_hs_id') || ' ' || json_extract(remote_value, '$[0].to_hs_id')) FROM sync_conflicts",
        );
        let name = ["remote", "local"][winner];
        let [theirs, ours] = companies;
        assert_eq!(told, Some(format!("{name} {ours} {theirs}")), "{policy}");
        assert_eq!(site.stop(), 0);
    }
}

/// Ann has no primary company of the two, and each side names another one while the daemon is away. The pair is mapped from its
/// companies: what excludes stands where the rows lead.
fn both_name_one_from_companies(policy: &str, is_brought: bool) -> (Portal, Site, [u64; 2]) {
    let objects = format!(
        "[objects.companies]\n[objects.contacts]\n[associations]\n\
         staff = {{ from = \"companies\", to = \"contacts\", conflict = \"{policy}\" }}\n"
    );
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    // Rows of companies and contacts have other numbers.
    let companies = ["Other", "Acme", "Beta"].map(|name| company(&portal, name));
    let ann = portal.contact("ann@example.com");
    for company in companies {
        let ends = (("contacts", ann), ("companies", company));
        let now = portal.now_ms();
        assert!(portal.stand().associate(ends.0, ends.1, now));
    }
    let site = Site::with(&portal, "", &objects);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM associations"), 3);
    let [_, acme, beta] = companies;
    set_primary(&portal, ann, acme);
    site.execute(&format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, type_id)
         SELECT 'companies', o.local_id, 'contacts', c.local_id, 2 FROM contacts AS c, companies AS o WHERE o.hs_id = {beta}"
    ));
    if is_brought {
        let now = portal.now_ms();
        portal
            .stand()
            .edit("companies", acme, &[("city", "Rome")], now);
    }
    site.once();
    (portal, site, [acme, beta])
}

#[test]
fn where_rows_lead_from_companies_to_contacts_each_side_may_name_another_primary_too() {
    let primaries = |portal: &Portal, site: &Site| {
        let links = portal.stand().links("contacts", "companies");
        let mut there = links.iter();
        let there = there.find(|link| link.label.as_deref() == Some("Primary"));
        let here = "SELECT group_concat(o.hs_id) FROM associations AS a JOIN companies AS o ON o.local_id = a.from_local_id WHERE a.type_id = 2";
        (there.map_or(0, |link| link.to_id), site.text(here))
    };
    for is_brought in [false, true] {
        for (policy, resolution, winner) in [
            ("remote", None, 0),
            ("local", None, 1),
            ("manual", Some("remote"), 0),
            ("manual", Some("local"), 1),
        ] {
            let (portal, site, companies) = both_name_one_from_companies(policy, is_brought);
            let told = format!("{policy} {resolution:?} {is_brought}");
            let [theirs, ours] = companies;
            let lists = "SELECT group_concat(json_extract(local_value, '$[0].from_hs_id') || ' ' || json_extract(remote_value, '$[0].from_hs_id')
                 || ' ' || hs_id || ' ' || json_array_length(remote_value)) FROM sync_conflicts WHERE object = 'staff' AND property = 'association'";
            let expected = format!("{ours} {theirs} {ours} 1");
            assert_eq!(site.text(lists), Some(expected), "{told}");
            if let Some(word) = resolution {
                // Nothing of it moves until a person has decided.
                site.run(&["once", "--reconcile"]);
                let both = (theirs, Some(ours.to_string()));
                assert_eq!(primaries(&portal, &site), both, "{told}");
                assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
                site.execute(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
                site.once();
            }
            site.once();
            let wins = companies[winner];
            let both = (wins, Some(wins.to_string()));
            assert_eq!(primaries(&portal, &site), both, "{told}");
            let ended = site.text("SELECT group_concat(winner) FROM sync_conflicts");
            assert_eq!(
                ended.as_deref(),
                Some(["remote", "local"][winner]),
                "{told}"
            );
            assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0, "{told}");
            let rows = "SELECT count(*) FROM associations";
            assert_eq!(site.number(rows), 4, "{told}");
        }
    }
}

#[test]
fn a_primary_that_hubspot_names_by_itself_is_nobodys_word_against_ours() {
    for (policy, is_told) in [("remote", false), ("manual", false), ("remote", true)] {
        let objects = OBJECTS.replace(" }", &format!(", conflict = \"{policy}\" }}"));
        let portal = Portal::quick();
        portal.stand().settings_mut().default_names_primary = is_told;
        let companies = [company(&portal, "Acme"), company(&portal, "Beta")];
        let site = Site::with(&portal, "", &objects);
        site.once();
        let associate = |name: &str, more: &str, value: &str| {
            format!(
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id{more})
                 SELECT 'contacts', c.local_id, 'companies', o.local_id{value} FROM contacts AS c, companies AS o WHERE o.name = '{name}'"
            )
        };
        site.program()
            .execute_batch(&format!(
                "BEGIN; INSERT INTO contacts (email) VALUES ('ada@example.com'); {}; {}; COMMIT",
                associate("Acme", "", ""),
                associate("Beta", ", label", ", 'Primary'")
            ))
            .expect("is taken");
        site.once();
        let beta = companies[1] as i64;
        assert_eq!(primaries(&portal, &site), (beta, beta), "{policy}");
        assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
        assert_eq!(site.number("SELECT count(*) FROM associations"), 3);
        until_equal(&site, &portal);
    }
}

/// Which rows are associated.
const KEPT: &str =
    "SELECT group_concat(DISTINCT from_local_id || ' ' || to_local_id) FROM associations";

/// A daemon's database with a contact that is associated with a company, read by `once`.
fn associated_once(objects: &str) -> (Portal, Site, u64, u64) {
    let portal = Portal::quick();
    // A day ago: no answer that misses one of them is of before.
    let now = portal.now_ms();
    let made = |object: &str, values: &[(&str, &str)]| {
        portal.stand().create(object, values, now - 86_400_000)
    };
    let ann = made("contacts", &[("email", "ann@example.com")]);
    let acme = made("companies", &[("name", "Acme")]);
    assert!(
        portal
            .stand()
            .associate(("contacts", ann), ("companies", acme), now)
    );
    let site = Site::with(&portal, "", objects);
    site.once();
    assert_eq!(site.text(KEPT).as_deref(), Some("1 1"));
    (portal, site, ann, acme)
}

#[test]
fn what_a_record_takes_along_stays_where_its_row_is_created_anew() {
    for of_the_contact in [false, true] {
        let recreated = "on_remote_delete = \"recreate\"\n";
        let (contacts, companies) = match of_the_contact {
            true => (recreated, ""),
            false => ("", recreated),
        };
        let objects = format!(
            "[objects.contacts]\n{contacts}[objects.companies]\n{companies}[associations]\n\
             contacts_companies = {{ from = \"contacts\", to = \"companies\" }}\n"
        );
        let (portal, site, ann, acme) = associated_once(&objects);
        let now = portal.now_ms();
        let gone = match of_the_contact {
            true => ("contacts", ann),
            false => ("companies", acme),
        };
        assert!(portal.stand().archive(gone.0, gone.1, now));
        // A poll brings the contact, and with it what it is associated with.
        if !of_the_contact {
            portal.edit(ann, &[("city", "Rome")]);
        }
        site.once();
        let rows = || site.text(KEPT);
        assert_eq!(rows().as_deref(), Some("1 1"), "{objects}");
        eventually("it is created anew", || {
            site.run(&["once", "--reconcile"]);
            let table = gone.0;
            site.number(&format!(
                "SELECT coalesce(hs_id, 0) NOT IN (0, {}) FROM {table}",
                gone.1
            )) == 1
        });
        site.once();
        assert_eq!(rows().as_deref(), Some("1 1"), "{objects}");
        until_equal(&site, &portal);
    }
}

#[test]
fn what_a_person_took_apart_goes_though_the_row_would_outlive_its_record() {
    let objects = OBJECTS.replace(
        "[objects.companies]\n",
        "[objects.companies]\non_remote_delete = \"recreate\"\n",
    );
    let (portal, site, ann, acme) = associated_once(&objects);
    let now = portal.now_ms();
    assert!(
        portal
            .stand()
            .disassociate(("contacts", ann), ("companies", acme), now)
    );
    portal.edit(ann, &[("city", "Rome")]);
    eventually("the row goes", || {
        site.once();
        site.text(KEPT).is_none()
    });
}

#[test]
fn a_record_that_is_gone_keeps_no_other_association_of_its_batch_waiting() {
    for fails_batch in [true, false] {
        let (portal, site, ann, _) = associated_once(OBJECTS);
        portal.stand().settings_mut().missing_record_fails_batch = fails_batch;
        let day_ago = portal.now_ms() - 86_400_000;
        let made = |name: &str| {
            portal
                .stand()
                .create("companies", &[("name", name)], day_ago)
        };
        let companies = ["Beta", "Gamma", "Delta"].map(made);
        site.run(&["once", "--reconcile"]);
        for company in companies {
            site.execute(&link(ann, company, "", ""));
        }
        // Nothing has told of it yet.
        let now = portal.now_ms();
        assert!(portal.stand().archive("companies", companies[1], now));
        site.once();
        assert_eq!(associated(&portal), 3);
        assert_eq!(site.number("SELECT count(*) FROM companies"), 3);
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
        until_equal(&site, &portal);
    }
}

#[test]
fn an_association_that_is_dead_already_ends_with_its_record() {
    for kept in ["", "on_remote_delete = \"mark\"\n"] {
        let objects = OBJECTS.replace(
            "[objects.companies]\n",
            &format!("[objects.companies]\n{kept}"),
        );
        let (portal, mut site, ann, _) = associated_once(&objects);
        let day_ago = portal.now_ms() - 86_400_000;
        let beta = portal
            .stand()
            .create("companies", &[("name", "Beta")], day_ago);
        site.run(&["once", "--reconcile"]);
        // What became of the record is read only after the association was refused for the last time.
        portal.script(FaultKind::Unavailable, 100, "companies/batch/read");
        let now = portal.now_ms();
        assert!(portal.stand().archive("companies", beta, now));
        site.execute(&link(ann, beta, "", ""));
        site.start();
        site.until_sql(&format!(
            "SELECT count(*) FROM sync_outbox WHERE state = 'dead' AND code = '{}'",
            produces("record-not-found")
        ));
        portal.stand().faults_mut().scripts.clear();
        site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
        until_equal(&site, &portal);
    }
}

#[test]
fn associations_outlive_a_record_whose_edited_row_a_person_takes() {
    let objects = OBJECTS.replace(
        "[objects.contacts]\n",
        "[objects.contacts]\nconflict = \"manual\"\n",
    );
    let (portal, site, ann, _) = associated_once(&objects);
    let beta = company(&portal, "Beta");
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.execute(&link(ann, beta, "", ""));
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", ann, now));
    site.run(&["once", "--reconcile"]);
    site.run(&["once", "--reconcile"]);
    let both = "SELECT count(DISTINCT to_local_id) FROM associations WHERE from_local_id = 1";
    assert_eq!(site.number(both), 2);
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_conflicts WHERE property = '*' AND resolved_at IS NULL"
        ),
        1
    );
    site.execute("UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL");
    site.once();
    site.once();
    assert_eq!(portal.count_with("city", "Lima"), 1);
    // What HubSpot refused of the record that was gone is made of the one that took its place.
    assert_eq!(site.number(both), 2);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    until_equal(&site, &portal);
}

#[test]
fn nothing_is_sent_of_an_association_while_a_person_decides_about_one_of_its_records() {
    for of_the_contact in [true, false] {
        for word in ["local", "remote"] {
            let manual = "conflict = \"manual\"\n";
            let (contacts, companies) = match of_the_contact {
                true => (manual, ""),
                false => ("", manual),
            };
            let objects = format!(
                "[objects.contacts]\n{contacts}[objects.companies]\n{companies}[associations]\n\
                 contacts_companies = {{ from = \"contacts\", to = \"companies\" }}\n"
            );
            let (portal, site, ann, acme) = associated_once(&objects);
            let (bob, beta) = (portal.contact("bob@example.com"), company(&portal, "Beta"));
            site.once();
            let (table, gone, others) = match of_the_contact {
                true => ("contacts", ann, (ann, beta)),
                false => ("companies", acme, (bob, acme)),
            };
            site.execute(&format!(
                "UPDATE {table} SET city = 'Lima' WHERE hs_id = {gone}"
            ));
            let now = portal.now_ms();
            assert!(portal.stand().archive(table, gone, now));
            site.run(&["once", "--reconcile"]);
            site.run(&["once", "--reconcile"]);
            let open =
                "SELECT count(*) FROM sync_conflicts WHERE property = '*' AND resolved_at IS NULL";
            assert_eq!(site.number(open), 1, "{objects}");
            let asked = portal.requests("contacts/companies/batch/associate");
            site.execute(&link(others.0, others.1, "", ""));
            // It is a person's turn: what waits for that is no work left.
            site.once();
            let waits = "SELECT count(*) FROM sync_outbox WHERE operation = 'associate' AND state = 'pending' AND attempts = 0";
            assert_eq!(site.number(waits), 1, "{objects}");
            let asked_since = portal.requests("contacts/companies/batch/associate");
            assert_eq!(asked_since, asked, "{objects}");
            site.execute(&format!(
                "UPDATE sync_conflicts SET resolution = '{word}' WHERE resolved_at IS NULL"
            ));
            site.once();
            site.once();
            assert_eq!(
                site.number("SELECT count(*) FROM sync_outbox"),
                0,
                "{word}: {objects}"
            );
            let expected = if word == "local" { 2 } else { 0 };
            assert_eq!(associated(&portal), expected, "{word}: {objects}");
            until_equal(&site, &portal);
        }
    }
}

#[test]
fn an_open_conflict_of_associations_is_counted_moves_with_both_sides_and_ends_by_itself() {
    const ENDED: &str =
        "SELECT count(*) = 1 FROM sync_conflicts WHERE winner = 'agreed' AND resolution = 'agreed'";
    let primary_rows = "SELECT count(*) FROM contacts_companies WHERE is_primary";
    // HubSpot names a third one, and then ours.
    let (portal, mut site, [acme, beta]) = both_name_one("manual");
    let ann = site.number("SELECT hs_id FROM contacts") as u64;
    let counted = "SELECT conflicts || ' ' || failing || ' ' || in_sync FROM sync_status WHERE object = 'contacts'";
    assert_eq!(site.text(counted).as_deref(), Some("1 1 0"));
    let gamma = company(&portal, "Gamma");
    set_primary(&portal, ann, gamma);
    site.until_sql(&format!(
        "SELECT json_extract(remote_value, '$[0].to_hs_id') = {gamma} FROM sync_conflicts"
    ));
    let former = format!(
        "SELECT count(*) FROM sync_history WHERE origin = 'conflict' AND json_extract(old_value, '$.to_hs_id') = {acme} AND json_extract(old_value, '$.type_id') = 1"
    );
    assert_eq!(site.number(&former), 1);
    set_primary(&portal, ann, beta);
    site.until_sql(ENDED);
    until_equal(&site, &portal);
    assert_eq!(site.stop(), 0);
    // A program names another one, and then HubSpot's.
    let (portal, mut site, [acme, _]) = both_name_one("manual");
    let ann = site.number("SELECT hs_id FROM contacts") as u64;
    let gamma = company(&portal, "Gamma");
    site.until_sql("SELECT count(*) = 3 FROM companies");
    site.execute(&link(ann, gamma, ", label", ", 'Primary'"));
    site.until_sql(&format!(
        "SELECT json_extract(local_value, '$[0].to_hs_id') = {gamma} FROM sync_conflicts"
    ));
    site.until_pushed();
    assert_eq!(primaries(&portal, &site), (acme as i64, gamma as i64));
    assert_eq!(site.number(primary_rows), 1);
    site.execute(&link(ann, acme, ", label", ", 'Primary'"));
    site.until_sql(ENDED);
    site.until_pushed();
    until_equal(&site, &portal);
    assert_eq!(site.number(primary_rows), 1);
    assert_eq!(site.stop(), 0);
    // The row goes.
    let (_portal, mut site, _) = both_name_one("manual");
    site.execute("DELETE FROM contacts");
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE resolution = 'gone'");
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_archived_record_whose_row_is_marked_takes_its_associations_along_until_it_is_restored() {
    let objects = OBJECTS.replace(
        "[objects.contacts]\n",
        "[objects.contacts]\non_remote_delete = \"mark\"\n",
    );
    let (portal, site, ann, acme) = associated_once(&objects);
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", ann, now));
    eventually("the row says so", || {
        site.run(&["once", "--reconcile"]);
        site.number("SELECT hs_archived FROM contacts") == 1
    });
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    let explanation = site
        .program()
        .execute(&link(ann, acme, "", ""), [])
        .expect_err("it is archived")
        .to_string();
    assert_eq!(
        explanation,
        format!(
            "the record of contacts with this from_local_id is archived in HubSpot: restore it there first [{}]",
            produces("association-archived")
        )
    );
    let now = portal.now_ms();
    assert!(portal.stand().restore("contacts", ann, now));
    eventually("it is back", || {
        site.run(&["once", "--reconcile"]);
        site.number("SELECT hs_archived FROM contacts") == 0
    });
    site.once();
    until_equal(&site, &portal);
}

#[test]
fn one_run_makes_two_new_records_and_their_association_in_whatever_order_the_file_names_them() {
    let turned = "[objects.companies]\n[objects.contacts]\n[associations]\n\
         contacts_companies = { from = \"contacts\", to = \"companies\" }\n";
    for objects in [OBJECTS, turned] {
        let portal = Portal::quick();
        let site = Site::with(&portal, "", objects);
        site.once();
        site.program().execute_batch(BOTH_NEW).expect("is taken");
        site.once();
        assert_eq!(
            site.number("SELECT count(*) FROM sync_outbox"),
            0,
            "{objects}"
        );
        assert_eq!(associated(&portal), 1, "{objects}");
    }
}

#[test]
fn an_open_conflict_of_a_pair_of_one_object_is_open_from_both_its_ends() {
    let portal = Portal::quick();
    let [parent, child] = ["Parent", "Child"].map(|name| company(&portal, name));
    let pair = ("companies", "companies");
    let (boss, _) = portal.stand().create_label(pair, "Boss", None);
    let ends = (("companies", parent), ("companies", child));
    let now = portal.now_ms() - 86_400_000;
    assert!(portal.stand().associate(ends.0, ends.1, now));
    let objects = "[objects.companies]\n[associations]\n\
         family = { from = \"companies\", to = \"companies\", conflict = \"manual\" }\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    let rows = "SELECT count(*) FROM associations";
    assert_eq!(site.number(rows), 2);
    assert!(portal.stand().label(ends.0, ends.1, boss, portal.now_ms()));
    site.execute(&format!(
        "DELETE FROM associations WHERE from_local_id = (SELECT local_id FROM companies WHERE hs_id = {parent})"
    ));
    site.once();
    let open = "SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL";
    assert_eq!(site.number(open), 1);
    // The other end is read too: nothing of what a person is to decide comes or goes.
    for company in [parent, child] {
        let now = portal.now_ms();
        portal
            .stand()
            .edit("companies", company, &[("city", "Rome")], now);
    }
    site.once();
    assert_eq!((site.number(rows), site.number(open)), (0, 1));
    assert_eq!(portal.stand().links(pair.0, pair.1).len(), 4);
    site.execute("UPDATE sync_conflicts SET resolution = 'remote' WHERE resolved_at IS NULL");
    site.once();
    assert_eq!((site.number(rows), site.number(open)), (4, 0));
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn a_row_of_a_pair_that_left_the_file_may_be_deleted_and_goes_in_hubspot_once_the_pair_is_back() {
    let (portal, site, ann, _) = associated_once(OBJECTS);
    let bare = "[objects.contacts]\n[objects.companies]\n";
    site.configure(&portal, "", bare);
    site.once();
    assert!(site.execute("DELETE FROM associations") > 0);
    site.once();
    let told =
        "SELECT group_concat(DISTINCT operation || ' ' || state || ' ' || code) FROM sync_outbox";
    assert_eq!(
        site.text(told),
        Some(format!("disassociate dead {}", produces("pair-unmapped")))
    );
    assert_eq!(associated(&portal), 1);
    site.configure(&portal, "", OBJECTS);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(associated(&portal), 0);
    assert!(portal.stand().record("contacts", ann).is_some());
}

#[test]
fn what_a_deleted_row_takes_along_of_a_pair_that_left_the_file_comes_back_with_it() {
    let settings = "[guard]\nmax_archives = 0\n";
    let (portal, site, ..) = associated_once(OBJECTS);
    for number in 0..11 {
        portal.contact(&format!("more{number}@example.com"));
    }
    site.once();
    let held = site.number("SELECT count(*) FROM associations");
    let bare = "[objects.contacts]\n[objects.companies]\n";
    site.configure(&portal, settings, bare);
    site.once();
    site.execute("DELETE FROM contacts");
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    site.run(&["once"]);
    site.execute("DELETE FROM sync_outbox");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 12);
    assert_eq!(site.number("SELECT count(*) FROM associations"), held);
}

#[test]
fn a_pair_that_is_turned_round_is_read_anew_and_what_waits_of_the_former_one_says_so() {
    let (portal, site, ann, acme) = associated_once(OBJECTS);
    let beta = company(&portal, "Beta");
    site.once();
    site.execute(&link(ann, beta, "", ""));
    let turned = OBJECTS.replace(
        "from = \"contacts\", to = \"companies\"",
        "from = \"companies\", to = \"contacts\"",
    );
    site.configure(&portal, "", &turned);
    site.once();
    let of = "SELECT count(DISTINCT o.hs_id) FROM contacts_companies AS l JOIN companies AS o ON o.local_id = l.companies_local_id WHERE o.hs_id = ";
    assert_eq!(site.number(&format!("{of}{acme}")), 1);
    assert_eq!(
        site.number(
            "SELECT last_association_pass_at IS NULL FROM sync_status WHERE object = 'contacts'"
        ),
        1,
        "it has no pair"
    );
    let told = "SELECT state || ' ' || code FROM sync_outbox";
    assert_eq!(site.text(told).as_deref(), Some("dead pair-unmapped"));
    assert_eq!(associated(&portal), 1);
    site.configure(&portal, "", OBJECTS);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(associated(&portal), 2);
    until_equal(&site, &portal);
}

#[test]
fn what_a_person_does_between_two_records_of_one_object_is_seen_from_both_though_a_poll_brings_one()
{
    let portal = Portal::quick();
    let [parent, child] = ["Parent", "Child"].map(|name| company(&portal, name));
    let objects = "[objects.companies]\n[associations]\n\
         family = { from = \"companies\", to = \"companies\" }\n";
    let mut site = Site::with(&portal, "[schedule]\npoll = \"1s\"\n", objects);
    site.start_and_load();
    site.until_sql("SELECT last_association_pass_at IS NOT NULL FROM sync_status");
    let ends = (("companies", parent), ("companies", child));
    let touch = |city: &str| {
        let now = portal.now_ms();
        portal
            .stand()
            .edit("companies", parent, &[("city", city)], now);
    };
    let day_ago = portal.now_ms() - 86_400_000;
    assert!(portal.stand().associate(ends.0, ends.1, day_ago));
    touch("Rome");
    site.until_sql("SELECT count(*) = 2 FROM associations");
    assert!(portal.stand().disassociate(ends.0, ends.1, portal.now_ms()));
    touch("Oslo");
    site.until_sql("SELECT count(*) = 0 FROM associations");
    assert_eq!(site.stop(), 0);
}

#[test]
fn labels_that_a_gateway_keeps_back_hold_up_their_pair_alone() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let now = portal.now_ms();
    portal.stand().create("companies", &[("name", "Acme")], now);
    portal.stand().create("deals", &[("dealname", "Big")], now);
    let objects = "[objects.contacts]\n[objects.companies]\n[objects.deals]\n[associations]\n\
                   contacts_companies = { from = \"contacts\", to = \"companies\" }\n\
                   deals_contacts = { from = \"deals\", to = \"contacts\" }\n";
    portal.script(
        FaultKind::HtmlAnswer,
        1_000_000,
        "/contacts/companies/labels",
    );
    let mut site = Site::with(&portal, "", objects);
    site.start_and_load();
    site.until_sql("SELECT count(*) > 0 FROM association_types WHERE from_object = 'deals'");
    site.until_sql("SELECT last_error LIKE '%labels%' FROM sync_health");
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('contacts', 1, 'companies', 1, 'Boss')",
    );
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('deals', 1, 'contacts', 1)",
    );
    site.until_sql(
        "SELECT count(*) FROM associations WHERE from_object = 'deals' AND type_id IS NOT NULL",
    );
    site.until_sql(
        "SELECT count(*) FROM sync_outbox WHERE object = 'contacts' AND last_error LIKE 'the labels of this pair%'",
    );
    assert_eq!(site.stop(), 0);
}

/// After a few such answers in a row the daemon takes HubSpot for unreachable, until another request is answered.
#[test]
fn labels_and_limits_that_no_pair_gets_hold_up_no_record() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let objects = "[objects.contacts]\n[objects.companies]\n[objects.deals]\n[associations]\n\
                   contacts_companies = { from = \"contacts\", to = \"companies\" }\n\
                   deals_companies = { from = \"deals\", to = \"companies\" }\n\
                   deals_contacts = { from = \"deals\", to = \"contacts\" }\n";
    portal.script(FaultKind::BadGateway, 1_000_000, "/labels");
    portal.script(
        FaultKind::Unavailable,
        1_000_000,
        "/definitions/configurations",
    );
    let mut site = Site::with(&portal, "", objects);
    site.start_and_load();
    site.execute("INSERT INTO contacts (email) VALUES ('bob@example.com')");
    eventually("the new contact is there", || portal.contacts() == 2);
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_association_is_refused_while_nobody_has_read_what_the_portal_is_like() {
    let portal = Portal::quick();
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    let mut site = Site::with(
        &portal,
        "",
        "[objects.contacts]\n[objects.companies]\n[associations]\n\
                   contacts_companies = { from = \"contacts\", to = \"companies\" }\n",
    );
    site.start();
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    let refused = site.program().execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', 1)",
        [],
    );
    let refused = refused.expect_err("nothing would record it").to_string();
    assert!(
        refused.contains("can not be written yet") && refused.ends_with("[pair-unmapped]"),
        "{refused}"
    );
    assert_eq!(site.stop(), 0);
}
