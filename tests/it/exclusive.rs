//! What a record can have only once: HubSpot's primaries, and what a portal limits to one record, at either end of a pair.

use std::time::Duration;

use hubsyncd::simulator::faults::{FaultKind, Script};
use serde_json::Value;

use crate::daemon::{Site, eventually, wait};
use crate::links::{FIRST_PASS, company, set_primary};
use crate::portal::Portal;

/// The types between two objects' records on each side, as `from to type`.
pub(crate) fn both_sides(portal: &Portal, site: &Site, from: &str, to: &str) -> [String; 2] {
    let mut there: Vec<String> = portal
        .stand()
        .links(from, to)
        .iter()
        .map(|link| format!("{} {} {}", link.from_id, link.to_id, link.kind.type_id))
        .collect();
    there.sort();
    let here = format!(
        "SELECT group_concat(line) FROM (SELECT f.hs_id || ' ' || t.hs_id || ' ' || a.type_id AS line FROM associations AS a
         JOIN {from} AS f ON f.local_id = a.from_local_id JOIN {to} AS t ON t.local_id = a.to_local_id
         WHERE a.from_object = '{from}' AND a.to_object = '{to}' ORDER BY line)"
    );
    [site.text(&here).unwrap_or_default(), there.join(",")]
}

/// Associates two rows by a type; 0: by the pair's default.
pub(crate) fn associate(from: (&str, u64), to: (&str, u64), number: i64) -> String {
    let ((from, start), (to, end)) = (from, to);
    format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, type_id)
         SELECT '{from}', f.local_id, '{to}', t.local_id, nullif({number}, 0) FROM {from} AS f, {to} AS t
         WHERE f.hs_id = {start} AND t.hs_id = {end}"
    )
}

fn in_one_transaction(site: &Site, statements: &[String]) {
    let all = statements.join("; ");
    let done = site
        .program()
        .execute_batch(&format!("BEGIN; {all}; COMMIT"));
    done.expect("is taken");
}

#[test]
fn of_two_primaries_that_a_program_names_the_last_stands_at_either_end() {
    for (ends, number) in [
        (["contacts", "companies"], 1),
        (["companies", "contacts"], 2),
    ] {
        for is_turned in [false, true] {
            let portal = Portal::quick();
            let mut companies = ["Acme", "Beta"].map(|name| company(&portal, name));
            let ann = portal.contact("ann@example.com");
            let objects = format!(
                "[objects.companies]\n[objects.contacts]\n[associations]\n\
                 staff = {{ from = \"{}\", to = \"{}\" }}\n",
                ends[0], ends[1]
            );
            let site = Site::with(&portal, "", &objects);
            site.once();
            if is_turned {
                companies.reverse();
            }
            let named = companies.map(|company| match number {
                1 => associate(("contacts", ann), ("companies", company), 1),
                _ => associate(("companies", company), ("contacts", ann), 2),
            });
            in_one_transaction(&site, &named);
            site.once();
            let [here, there] = both_sides(&portal, &site, ends[0], ends[1]);
            assert_eq!(here, there, "{ends:?}");
            let last = match number {
                1 => format!("{ann} {} 1", companies[1]),
                _ => format!("{} {ann} 2", companies[1]),
            };
            let primaries = there
                .split(',')
                .filter(|line| line.ends_with(&format!(" {number}")));
            assert_eq!(
                primaries.collect::<Vec<_>>(),
                [last],
                "{ends:?} {is_turned}"
            );
            assert_eq!(there.split(',').count(), 3, "{there}");
            assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
        }
    }
}

#[test]
fn a_primary_whose_company_is_still_to_be_made_gives_way_to_one_that_was_named_later() {
    let portal = Portal::quick();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let objects = "[objects.contacts]\n[objects.companies]\n[associations]\n\
         contacts_companies = { from = \"contacts\", to = \"companies\" }\n";
    let mut site = Site::with(&portal, "[schedule]\npoll = \"1h\"\n", objects);
    site.start_and_load();
    site.until_sql(
        "SELECT last_association_pass_at IS NOT NULL FROM sync_status WHERE object = 'contacts'",
    );
    portal.stand().faults_mut().slow_ms = 2_000;
    portal.script(FaultKind::Slow, 1, "companies/batch/upsert");
    let new = "INSERT INTO companies (name) VALUES ('Beta')".to_owned();
    let of_new = "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, type_id)
         SELECT 'contacts', c.local_id, 'companies', o.local_id, 1 FROM contacts AS c, companies AS o WHERE o.name = 'Beta'";
    let later = associate(("contacts", ann), ("companies", acme), 1);
    in_one_transaction(&site, &[new, of_new.to_owned(), later]);
    site.until_pushed();
    let [here, there] = both_sides(&portal, &site, "contacts", "companies");
    assert_eq!(here, there);
    let primaries: Vec<&str> = there
        .split(',')
        .filter(|line| line.ends_with(" 1"))
        .collect();
    assert_eq!(primaries, [format!("{ann} {acme} 1")]);
    assert_eq!(there.split(',').count(), 3, "{there}");
    assert_eq!(site.stop(), 0);
}

/// Limits the associations of one object's records by a type to one record.
pub(crate) fn limit(portal: &Portal, pair: (&str, &str), number: Option<u32>) {
    let types = portal.stand().pair_types(pair.0, pair.1);
    let kind = types.into_iter().find(|known| match number {
        Some(number) => known.kind.type_id == number,
        None => known.label.is_none(),
    });
    let kind = kind.expect("HubSpot has the type").kind;
    portal.stand().limit_links(pair, kind, Some(1));
}

#[test]
fn under_a_limit_of_one_where_rows_lead_the_policy_or_a_person_decides_as_well() {
    for (policy, resolution, winner) in [
        ("remote", None, 0),
        ("local", None, 1),
        ("manual", Some("remote"), 0),
        ("manual", Some("local"), 1),
    ] {
        for is_known in [true, false] {
            let told = format!("{policy} {resolution:?} {is_known}");
            let portal = Portal::quick();
            portal.stand().settings_mut().first_company_is_primary = false;
            // A company has one contact.
            if is_known {
                limit(&portal, ("companies", "contacts"), None);
            }
            let contacts = ["bob@example.com", "ann@example.com"].map(|name| portal.contact(name));
            let acme = company(&portal, "Acme");
            let objects = format!(
                "[objects.companies]\n[objects.contacts]\n[associations]\n\
                 staff = {{ from = \"contacts\", to = \"companies\", conflict = \"{policy}\" }}\n"
            );
            let site = Site::with(&portal, "", &objects);
            site.once();
            if !is_known {
                limit(&portal, ("companies", "contacts"), None);
            }
            let [bob, ann] = contacts;
            let now = portal.now_ms();
            let ends = (("contacts", bob), ("companies", acme));
            assert!(portal.stand().associate(ends.0, ends.1, now));
            site.execute(&associate(("contacts", ann), ("companies", acme), 0));
            site.once();
            let lists = "SELECT group_concat(json_extract(local_value, '$[0].from_hs_id') || ' ' || json_extract(remote_value, '$[0].from_hs_id'))
                 FROM sync_conflicts WHERE object = 'staff' AND property = 'association'";
            assert_eq!(site.text(lists), Some(format!("{ann} {bob}")), "{told}");
            if let Some(word) = resolution {
                let row = site.number(&format!(
                    "SELECT local_id FROM contacts WHERE hs_id = {ann}"
                ));
                let explained = site.run(&["explain", "--json", "contacts", &row.to_string()]);
                let explained: Value =
                    serde_json::from_slice(&explained.stdout).expect("one value");
                assert_eq!(explained["conflicts"][0]["object"], "staff", "{told}");
                let next = explained["next"]["what"].as_str().unwrap_or_default();
                assert!(
                    next.starts_with("somebody decides conflict"),
                    "{told}: {next}"
                );
                let sides = both_sides(&portal, &site, "contacts", "companies");
                let one = |contact: u64| format!("{contact} {acme} 279");
                assert_eq!(sides, [one(ann), one(bob)], "{told}");
                site.execute(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
                site.once();
            }
            let [here, there] = both_sides(&portal, &site, "contacts", "companies");
            let stands = format!("{} {acme} 279", contacts[winner]);
            assert_eq!((here, there), (stands.clone(), stands), "{told}");
            assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0, "{told}");
        }
    }
}

#[test]
fn one_too_many_where_rows_lead_that_only_this_side_named_is_dead_until_there_is_room() {
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    limit(&portal, ("companies", "contacts"), None);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|name| portal.contact(name));
    let acme = company(&portal, "Acme");
    let objects = "[objects.companies]\n[objects.contacts]\n[associations]\n\
         staff = { from = \"contacts\", to = \"companies\" }\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    let both = [ann, bob].map(|contact| associate(("contacts", contact), ("companies", acme), 0));
    in_one_transaction(&site, &both);
    site.once();
    let dead = "SELECT group_concat(state || ' ' || code) FROM sync_outbox";
    assert_eq!(site.text(dead).as_deref(), Some("dead association-limit"));
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    let ends = |contact: u64| {
        let stands = format!("{contact} {acme} 279");
        let sides = both_sides(&portal, &site, "contacts", "companies");
        assert_eq!(sides, [stands.clone(), stands]);
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    };
    let gone = |contact: u64| {
        format!(
            "DELETE FROM associations WHERE from_local_id = (SELECT local_id FROM contacts WHERE hs_id = {contact})"
        )
    };
    site.execute(&gone(ann));
    site.once();
    ends(bob);
    // Whichever is written first, what is taken away goes before what comes in its place.
    let back = associate(("contacts", ann), ("companies", acme), 0);
    in_one_transaction(&site, &[back, gone(bob)]);
    site.once();
    ends(ann);
}

#[test]
fn a_child_has_one_parent_whichever_company_names_it() {
    for (policy, winner) in [("remote", 0), ("local", 1)] {
        let portal = Portal::quick();
        limit(&portal, ("companies", "companies"), Some(14));
        let objects = format!(
            "[objects.companies]\n[associations]\n\
             family = {{ from = \"companies\", to = \"companies\", conflict = \"{policy}\" }}\n"
        );
        let parents = ["Mother", "Father"].map(|name| company(&portal, name));
        let child = company(&portal, "Child");
        let site = Site::with(&portal, "", &objects);
        site.once();
        let types = portal.stand().pair_types("companies", "companies");
        let down = types.iter().find(|known| known.kind.type_id == 13);
        let down = down.expect("HubSpot has it").kind;
        let (from, to) = (("companies", parents[0]), ("companies", child));
        let now = portal.now_ms();
        assert!(portal.stand().label(from, to, down, now));
        site.execute(&associate(("companies", parents[1]), to, 13));
        site.once();
        site.once();
        let up = format!("{child} {} 14", parents[winner]);
        let [here, there] = both_sides(&portal, &site, "companies", "companies");
        assert_eq!(here, there, "{policy}");
        let ups: Vec<&str> = there
            .split(',')
            .filter(|line| line.ends_with(" 14"))
            .collect();
        assert_eq!(ups, [up], "{policy}");
        let ended = site.text("SELECT group_concat(winner) FROM sync_conflicts");
        assert_eq!(ended.as_deref(), Some(policy));
        assert_eq!(
            site.number("SELECT count(*) FROM sync_outbox"),
            0,
            "{policy}"
        );
    }
}

#[test]
fn a_primary_company_outside_the_mirror_is_in_conflict_where_rows_lead_to_its_contact_as_well() {
    for (policy, is_ours) in [("remote", false), ("local", true)] {
        let portal = Portal::quick();
        portal.stand().settings_mut().first_company_is_primary = false;
        let ann = portal.contact("ann@example.com");
        let objects = format!(
            "[objects.companies]\nnew_records = \"from_local\"\nmatch = \"domain\"\n[objects.contacts]\n[associations]\n\
             staff = {{ from = \"companies\", to = \"contacts\", conflict = \"{policy}\" }}\n"
        );
        let site = Site::with(&portal, "", &objects);
        site.once();
        let [acme, beta] = ["acme.example", "beta.example"].map(|domain| {
            site.execute(&format!(
                "INSERT INTO companies (domain) VALUES ('{domain}')"
            ));
            let now = portal.now_ms();
            portal
                .stand()
                .create("companies", &[("domain", domain)], now)
        });
        site.once();
        site.execute(&associate(("companies", acme), ("contacts", ann), 2));
        site.once();
        let theirs = company(&portal, "Theirs");
        set_primary(&portal, ann, theirs);
        site.execute(&associate(("companies", beta), ("contacts", ann), 2));
        site.once();
        assert_eq!(site.number("SELECT count(*) FROM companies"), 2);
        let told = "SELECT group_concat(winner || ' ' || json_extract(local_value, '$[0].from_hs_id') || ' ' || json_extract(remote_value, '$[0].from_hs_id')
             || ' ' || coalesce(json_extract(remote_value, '$[0].from_local_id'), '-')) FROM sync_conflicts";
        let expected = format!("{policy} {beta} {theirs} -");
        assert_eq!(site.text(told), Some(expected), "{policy}");
        let links = portal.stand().links("contacts", "companies");
        let primary = links.iter().find(|link| link.kind.type_id == 1);
        let stands = if is_ours { beta } else { theirs };
        assert_eq!(primary.map(|link| link.to_id), Some(stands), "{policy}");
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    }
}

#[test]
fn a_primary_of_hubspots_own_that_nobody_could_read_at_once_is_nobodys_word_against_ours() {
    let pairs = [["contacts", "companies"], ["companies", "contacts"]];
    let whichever = |ends| (0..3).map(move |after| (ends, after));
    for (ends, after) in pairs.into_iter().flat_map(whichever) {
        let portal = Portal::quick();
        portal.stand().settings_mut().default_names_primary = false;
        let ann = portal.contact("ann@example.com");
        let [acme, beta] = ["Acme", "Beta"].map(|name| company(&portal, name));
        let objects = format!(
            "[objects.companies]\n[objects.contacts]\n[associations]\n\
             staff = {{ from = \"{}\", to = \"{}\", conflict = \"remote\" }}\n",
            ends[0], ends[1]
        );
        let site = Site::with(&portal, "", &objects);
        site.once();
        let associate = |company: u64, [plain, primary]: [i64; 2]| match ends[0] {
            "contacts" => associate(("contacts", ann), ("companies", company), plain),
            _ => associate(("companies", company), ("contacts", ann), primary),
        };
        in_one_transaction(&site, &[associate(acme, [0, 0]), associate(beta, [1, 2])]);
        // One of the reads before and behind the two writes.
        let path = format!("{}/{}/batch/read", ends[0], ends[1]);
        portal.stand().faults_mut().script(Script {
            after,
            ..Script::new(FaultKind::TruncatedJson, 1, &path)
        });
        site.once();
        site.once();
        let links = portal.stand().links("contacts", "companies");
        let primary = links.iter().find(|link| link.kind.type_id == 1);
        assert_eq!(
            primary.map(|link| link.to_id),
            Some(beta),
            "{ends:?} {after}"
        );
        let [here, there] = both_sides(&portal, &site, ends[0], ends[1]);
        assert_eq!(here, there, "{ends:?}");
        assert_eq!(
            site.number("SELECT count(*) FROM sync_conflicts"),
            0,
            "{ends:?}"
        );
    }
}

/// Ann, three companies, and a daemon that has loaded all of it. Its next read of Ann's associations is answered late.
fn before_a_primary() -> (Portal, u64, [u64; 3], Site) {
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    let ann = portal.contact("ann@example.com");
    let companies = ["Acme", "Beta", "Gamma"].map(|name| company(&portal, name));
    let objects = "[objects.contacts]\n[objects.companies]\n[associations]\n\
         staff = { from = \"contacts\", to = \"companies\", conflict = \"remote\" }\n";
    let mut site = Site::with(&portal, "[schedule]\npoll = \"1h\"\n", objects);
    site.start_and_load();
    site.until_sql(FIRST_PASS);
    site.execute(&associate(
        ("contacts", ann),
        ("companies", companies[0]),
        1,
    ));
    site.until_pushed();
    portal.stand().faults_mut().slow_ms = 700;
    portal.script(FaultKind::Slow, 1, READ);
    (portal, ann, companies, site)
}

const READ: &str = "contacts/companies/batch/read";

/// The companies that both sides named as primary, and who won.
const OF_PRIMARIES: &str = "SELECT group_concat(winner || ' ' || json_extract(local_value, '$[0].to_hs_id') || ' ' || json_extract(remote_value, '$[0].to_hs_id'))
     FROM sync_conflicts WHERE object = 'staff' AND property = 'association'";

fn primary_of(portal: &Portal, contact: u64) -> Vec<u64> {
    let links = portal.stand().links("contacts", "companies");
    let primaries = links.iter().filter(|link| link.kind.type_id == 1);
    primaries
        .filter(|link| link.from_id == contact)
        .map(|link| link.to_id)
        .collect()
}

#[test]
fn a_primary_that_a_person_names_behind_a_programs_lock_is_seen_before_ours_goes() {
    let (portal, ann, [_, beta, gamma], site) = before_a_primary();
    let (reads, writes) = (portal.requests(READ), portal.requests(WRITE));
    site.execute(&associate(("contacts", ann), ("companies", beta), 1));
    eventually("the read before the write", || {
        portal.requests(READ) > reads
    });
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    wait(Duration::from_millis(1_500));
    set_primary(&portal, ann, gamma);
    wait(Duration::from_millis(1_500));
    program
        .execute_batch("COMMIT")
        .expect("the lock is given up");
    site.until_pushed();
    assert_eq!(primary_of(&portal, ann), [gamma]);
    let told = format!("remote {beta} {gamma}");
    assert_eq!(site.text(OF_PRIMARIES), Some(told));
    // Ours keeps its plain type, which goes by a call of its own.
    assert!(portal.requests(WRITE) <= writes + 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

const WRITE: &str = "contacts/companies/batch/create";

#[test]
fn a_primary_that_a_person_names_while_a_limit_holds_ours_up_is_seen_before_it_goes() {
    let (portal, ann, [_, beta, gamma], site) = before_a_primary();
    let writes = portal.requests(WRITE);
    portal.script(FaultKind::RateLimited, 1, WRITE);
    site.execute(&associate(("contacts", ann), ("companies", beta), 1));
    eventually("the refused write", || portal.requests(WRITE) > writes);
    set_primary(&portal, ann, gamma);
    site.until_pushed();
    assert_eq!(primary_of(&portal, ann), [gamma]);
    let told = format!("remote {beta} {gamma}");
    assert_eq!(site.text(OF_PRIMARIES), Some(told));
}

#[test]
fn a_pair_of_which_hubspot_answers_nothing_keeps_no_record_from_its_archive() {
    let (portal, ann, [_, beta, _], site) = before_a_primary();
    let bob = portal.contact("bob@example.com");
    site.execute("INSERT INTO sync_commands (command, object) VALUES ('poll', 'contacts')");
    site.until_sql("SELECT count(*) = 2 FROM contacts");
    // What is to be read before it never is, not even late.
    portal.stand().faults_mut().calm();
    portal.script(FaultKind::Locked, 1_000_000, READ);
    let reads = portal.requests(READ);
    site.execute(&associate(("contacts", ann), ("companies", beta), 1));
    eventually("a read before the write", || {
        portal.requests(READ) > reads + 1
    });
    site.execute(&format!("DELETE FROM contacts WHERE hs_id = {bob}"));
    eventually("Bob is archived", || portal.contacts() == 1);
    let waits =
        "SELECT count(*) FROM sync_outbox WHERE operation = 'associate' AND state = 'pending'";
    assert_eq!(site.number(waits), 1);
    portal.stand().faults_mut().calm();
    site.until_pushed();
    assert_eq!(primary_of(&portal, ann), [beta]);
}

#[test]
fn a_primary_goes_out_where_every_claim_takes_longer_than_a_read_stays_fresh() {
    let (portal, ann, [_, beta, _], site) = before_a_primary();
    let (first, writes) = (portal.requests(READ), portal.requests(WRITE));
    site.execute(&associate(("contacts", ann), ("companies", beta), 1));
    let program = site.program();
    portal.script(FaultKind::Slow, 12, READ);
    let mut seen = first;
    while portal.requests(WRITE) == writes && seen < first + 12 {
        eventually("another read or the write", || {
            portal.requests(READ) > seen || portal.requests(WRITE) > writes
        });
        seen = portal.requests(READ);
        program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        wait(Duration::from_millis(2_200));
        program
            .execute_batch("COMMIT")
            .expect("the lock is given up");
    }
    assert_eq!(primary_of(&portal, ann), [beta]);
    let reads = seen - first;
    assert!(reads <= 5, "{reads} reads for one write");
    let counted = "SELECT count(*) FROM sync_outbox WHERE attempts > 1";
    assert_eq!(
        site.number(counted),
        0,
        "a claim that was taken back is no attempt"
    );
}

#[test]
fn a_disassociation_that_was_not_sent_is_not_counted_by_the_guard() {
    let (portal, ann, [acme, ..], site) = before_a_primary();
    let (reads, archive) = (portal.requests(READ), "contacts/companies/batch/archive");
    site.execute("DELETE FROM associations WHERE type_id <> 1");
    eventually("the read before the write", || {
        portal.requests(READ) > reads
    });
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    wait(Duration::from_secs(2));
    program
        .execute_batch("COMMIT")
        .expect("the lock is given up");
    site.until_pushed();
    let links = portal.stand().links("contacts", "companies");
    assert!(
        links
            .iter()
            .all(|link| (link.from_id, link.to_id) != (ann, acme))
    );
    assert_eq!(portal.requests(archive), 1);
    assert_eq!(site.number("SELECT sum(records) FROM _sync_guard_log"), 1);
}

#[test]
fn a_pair_of_which_one_type_is_to_be_read_again_goes_as_a_whole_and_counts_once() {
    let (portal, ann, _, site) = before_a_primary();
    let (reads, archive) = (portal.requests(READ), "contacts/companies/batch/archive");
    site.execute("DELETE FROM associations WHERE type_id <> 1");
    eventually("the read before the write", || {
        portal.requests(READ) > reads
    });
    // Who polls asks about her associations too, so that the answer on its way is one of before.
    portal.edit(ann, &[("city", "Lima")]);
    site.execute("INSERT INTO sync_commands (command, object) VALUES ('poll', 'contacts')");
    site.until_pushed();
    assert_eq!(portal.requests("batch/labels/archive"), 0);
    assert_eq!(portal.requests(archive), 1);
    assert_eq!(site.number("SELECT sum(records) FROM _sync_guard_log"), 1);
}
