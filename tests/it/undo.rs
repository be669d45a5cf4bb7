//! `undo`: recorded changes are turned back as ordinary local writes, and what was changed again since is left.

use std::process::Output;

use serde_json::{Value, json};

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site};
use crate::links::OBJECTS;
use crate::portal::Portal;

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The command's JSON.
fn undone(site: &Site, arguments: &[&str]) -> Value {
    let output = site.run(&[&["undo", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", told(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Object, row and property of each change, with its values.
fn changes(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let changes = report["changes"].as_array().expect("a list").iter();
    changes
        .map(|change| {
            let [object, property, from, to] =
                ["object", "property", "from", "to"].map(|key| text(&change[key]));
            match property.as_str() {
                "*" | "association" => format!("{object} {} {property}", change["local_id"]),
                _ => format!("{object} {} {property}: {from} -> {to}", change["local_id"]),
            }
        })
        .collect()
}

fn left(report: &Value) -> Vec<String> {
    let left = report["left"].as_array().expect("a list").iter();
    left.map(|left| {
        let [property, code] = ["property", "code"].map(|key| left[key].as_str().expect(key));
        format!("{} {property} {code}", left["local_id"])
    })
    .collect()
}

/// `count` contacts on both sides, all in Rome.
fn in_rome(count: usize) -> (Portal, Site) {
    let portal = Portal::quick();
    portal.fill("contacts", count);
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome'");
    site.once();
    (portal, site)
}

fn last_change(site: &Site) -> i64 {
    site.number("SELECT max(id) FROM sync_history")
}

/// All changes after this one.
fn after(site: &Site, id: i64) -> String {
    format!("{}-{}", id + 1, last_change(site))
}

fn id_of(site: &Site, row: i64) -> u64 {
    site.number(&format!(
        "SELECT hs_id FROM contacts WHERE local_id = {row}"
    ))
    .unsigned_abs()
}

#[test]
fn a_wrong_mass_update_goes_back_and_what_was_changed_again_is_left() {
    let (portal, site) = in_rome(6);
    let before = last_change(&site);
    // The wrong one, pushed; and then somebody here and somebody in HubSpot go on with two of the records.
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.once();
    site.execute("UPDATE contacts SET city = 'Oslo' WHERE local_id = 1");
    portal.edit(id_of(&site, 2), &[("city", "Kiel")]);
    site.once();
    site.execute("UPDATE contacts SET city = 'Bern' WHERE local_id = 3");
    let pushed = site
        .number("SELECT count(*) FROM sync_history WHERE origin = 'push' AND new_value = 'Lima'");
    assert_eq!(pushed, 6);
    let ids = format!(
        "{}-{}",
        before + 1,
        site.number("SELECT max(id) FROM sync_history WHERE new_value = 'Lima'")
    );
    let seen = undone(&site, &["--ids", &ids, "--dry-run"]);
    assert_eq!(seen["dry_run"], json!(true));
    assert_eq!(seen["undone"], json!(0));
    let expected = [4, 5, 6].map(|row| format!("contacts {row} city: Lima -> Rome"));
    assert_eq!(changes(&seen), expected);
    assert_eq!(
        left(&seen),
        [
            &format!("1 city {}", produces("changed-since")),
            "2 city changed-since",
            &format!("3 city {}", produces("pending"))
        ]
    );
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Rome'"),
        0
    );
    // Nobody is there to ask.
    let asked = site.run(&["undo", "--ids", &ids]);
    assert_eq!(asked.status.code(), Some(2), "{}", told(&asked));
    insta::assert_snapshot!("nobody_to_ask", told(&asked));
    let dry = site.run(&["undo", "--ids", &ids, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", told(&dry));
    let nothing = "nothing was written (`--dry-run`)\n";
    assert!(told(&dry).ends_with(nothing), "{}", told(&dry));
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Rome'"),
        0
    );

    let done = undone(&site, &["--ids", &ids, "--yes"]);
    assert_eq!(
        (&done["dry_run"], &done["undone"]),
        (&json!(false), &json!(3))
    );
    assert_eq!(changes(&done), expected);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE operation = 'update'"),
        4
    );
    // The same again does nothing, before the push and after it.
    assert_eq!(undone(&site, &["--ids", &ids, "--yes"])["undone"], json!(0));
    site.once();
    assert_eq!(undone(&site, &["--ids", &ids, "--yes"])["undone"], json!(0));
    assert_eq!(portal.count_with("city", "Rome"), 3);
    for (row, city) in [(1, "Oslo"), (2, "Kiel"), (3, "Bern")] {
        assert_eq!(
            portal.value(id_of(&site, row), "city").as_deref(),
            Some(city)
        );
    }
    assert_eq!(
        site.number("SELECT count(*) FROM sync_history WHERE origin = 'undo' AND property = 'city' AND new_value = 'Rome'"),
        3,
        "the write and its acknowledgement are one row"
    );
    assert_eq!(site.number("SELECT count(*) FROM _sync_undone"), 0);
    // By time everything but undos is chosen; an undo is taken back by its name.
    let last = site.run(&["undo", "--since", "1h", "--origin", "undo", "--yes"]);
    insta::assert_snapshot!("an_undo_turned_back", told(&last));
    site.once();
    assert_eq!(portal.count_with("city", "Lima"), 3);
}

#[test]
fn what_hubspot_changed_goes_back_by_its_run() {
    let (portal, site) = in_rome(3);
    let before = last_change(&site);
    portal.edit(id_of(&site, 1), &[("city", "Kiel"), ("firstname", "Eve")]);
    portal.edit(id_of(&site, 2), &[("city", "Kiel")]);
    site.once();
    let run = site.number(&format!(
        "SELECT max(run_id) FROM sync_history WHERE id > {before}"
    ));
    let kind = site.text(&format!("SELECT kind FROM sync_runs WHERE id = {run}"));
    assert_eq!(kind.as_deref(), Some("poll"));
    let run = run.to_string();
    let by_column = undone(
        &site,
        &[
            "--run",
            &run,
            "--object",
            "contacts",
            "--column",
            "first_name",
            "--dry-run",
        ],
    );
    assert_eq!(by_column["changes"].as_array().map(Vec::len), Some(1));
    let done = undone(&site, &["--run", &run, "--yes"]);
    assert_eq!(done["undone"], json!(3));
    site.once();
    assert_eq!(portal.count_with("city", "Rome"), 3);
    assert_eq!(portal.count_with("firstname", "Eve"), 0);
    let pushes = "SELECT count(*) FROM sync_history AS h JOIN sync_runs AS r ON r.id = h.run_id WHERE r.kind = 'push' AND h.origin IN ('push', 'undo')";
    assert_eq!(site.number(pushes), 6, "pushes name their runs too");
}

#[test]
fn records_that_were_made_go_and_those_that_went_come_back() {
    let (portal, site) = in_rome(4);
    let before = last_change(&site);
    site.execute("INSERT INTO contacts (email, city) VALUES ('ada@example.com', 'London')");
    site.execute("DELETE FROM contacts WHERE local_id = 1");
    site.once();
    let theirs = portal.contact("eve@example.com");
    let gone = id_of(&site, 2);
    let now = portal.now_ms();
    portal.stand().archive("contacts", gone, now);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success(), "{}", told(&compared));
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 4);
    let name = portal
        .stand()
        .record("contacts", gone)
        .and_then(|record| record.value("firstname").map(str::to_owned));
    let seen = undone(&site, &["--ids", &after(&site, before), "--dry-run"]);
    let mut shown = changes(&seen);
    shown.sort_unstable();
    assert_eq!(shown, ["contacts 1 *", "contacts 2 *", "contacts 5 *"]);
    assert_eq!(
        left(&seen),
        [format!("6 * {}", produces("made-in-hubspot"))]
    );
    let asked = site.run(&["undo", "--ids", &after(&site, before), "--dry-run"]);
    let text = told(&asked);
    assert!(
        text.contains(
            "contacts 1: its row comes back; HubSpot makes a new record of it, under a new id\n"
        ),
        "said before: {text}"
    );
    undone(&site, &["--ids", &after(&site, before), "--yes"]);
    site.once();
    assert_eq!(
        portal.count_with("email", "ada@example.com"),
        0,
        "archived again"
    );
    assert_eq!(portal.count_with("city", "Rome"), 4);
    assert_ne!(id_of(&site, 2), gone, "a new record");
    assert_eq!(
        site.text("SELECT first_name FROM contacts WHERE local_id = 2"),
        name
    );
    assert!(portal.value(theirs, "email").is_some());
    assert_eq!(
        site.number("SELECT count(*) FROM sync_history WHERE origin = 'undo' AND property = '*'"),
        3
    );
}

#[test]
fn associations_are_made_again_and_taken_away_again() {
    let portal = Portal::quick();
    portal.fill("contacts", 2);
    portal.fill("companies", 3);
    let objects = format!(
        "{CONTACTS}\n[objects.companies.properties]\nname = \"name\"\n\
         [associations]\nworks = {{ from = \"contacts\", to = \"companies\" }}\n"
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    let count = "SELECT count(*) FROM associations WHERE from_local_id = 1";
    let there = site.number(count);
    let before = last_change(&site);
    let to = site.number(
        "SELECT min(local_id) FROM companies WHERE local_id NOT IN (SELECT to_local_id FROM associations WHERE from_local_id = 1)",
    );
    site.execute(&format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', {to})"
    ));
    site.once();
    let made = after(&site, before);
    assert!(site.number(count) > there);
    let done = undone(&site, &["--ids", &made, "--yes"]);
    assert!(left(&done).is_empty(), "{done}");
    site.once();
    assert_eq!(site.number(count), there);
    let before = last_change(&site);
    let again = undone(&site, &["--since", "1h", "--origin", "undo", "--yes"]);
    assert!(!changes(&again).is_empty(), "{again}");
    site.once();
    assert!(site.number(count) > there, "{again}");
    assert!(last_change(&site) > before);
}

/// Contacts and companies that nothing joins.
fn unjoined() -> (Portal, Site) {
    unjoined_by(OBJECTS, None)
}

/// The same with a mapping of its own, in a portal that has a label besides.
fn unjoined_by(objects: &str, label: Option<&str>) -> (Portal, Site) {
    let portal = Portal::quick();
    for number in 0..3 {
        portal.contact(&format!("c{number}@example.com"));
    }
    if let Some(label) = label {
        let pair = ("contacts", "companies");
        portal.stand().create_label(pair, label, None);
    }
    let site = Site::with(&portal, "", objects);
    site.once();
    site.execute("INSERT INTO companies (name) VALUES ('Acme'), ('Beta')");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    (portal, site)
}

fn join(site: &Site, column: &str, value: &str) {
    site.execute(&format!(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id{column}) VALUES ('contacts', 1, 'companies', 1{value})"
    ));
    site.once();
}

#[test]
fn the_same_undo_of_associations_does_nothing_the_second_time() {
    let count = "SELECT count(*) FROM associations";
    // The plain one, of which HubSpot makes the primary too; the label, with which the plain one comes.
    for (column, value) in [("", ""), (", label", ", 'primary'")] {
        let (_portal, site) = unjoined();
        let before = last_change(&site);
        join(&site, column, value);
        assert_eq!(site.number(count), 2, "{value}");
        let since = after(&site, before);
        let shown = told(&site.run(&["undo", "--ids", &since, "--dry-run"]));
        assert!(
            shown.contains(
                "contacts_companies 1: the association is taken away: contacts 1 - companies 1 ("
            ),
            "{shown}"
        );
        let done = undone(&site, &["--ids", &since, "--yes"]);
        assert_eq!(done["undone"], json!(2), "{done}");
        assert_eq!(left(&done), [""; 0]);
        site.once();
        assert_eq!(site.number(count), 0, "{value}: nothing is left of it");
        let same = told(&site.run(&["undo", "--ids", &since, "--yes"]));
        assert!(
            same.starts_with(
                "left: contacts_companies 1: association: it is undone already: it is as it was before [changed-since]\n"
            ),
            "{same}"
        );
        let again = undone(
            &site,
            &["--since", "1h", "--object", "contacts_companies", "--yes"],
        );
        assert_eq!(again["undone"], json!(0), "{again}");
        assert_eq!(site.number("SELECT count(*) FROM _sync_undone"), 0);
    }
}

/// What is shown before an undo, which is then what it does, all of it.
#[track_caller]
fn undone_as_shown(site: &Site, ids: &str, lines: usize) {
    let seen = undone(site, &["--ids", ids, "--dry-run"]);
    let done = undone(site, &["--ids", ids, "--yes"]);
    assert_eq!(changes(&done), changes(&seen), "{done}");
    assert_eq!(
        (changes(&seen).len(), left(&seen), left(&done)),
        (lines, Vec::new(), Vec::new())
    );
    assert_eq!(done["undone"], json!(lines));
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM _sync_undone"), 0);
    let same = undone(site, &["--ids", ids, "--yes"]);
    assert_eq!(
        (&same["undone"], left(&same).len()),
        (&json!(0), lines),
        "{same}"
    );
}

#[test]
fn what_comes_and_goes_with_another_association_is_undone_with_it_and_is_not_left() {
    let rows = "SELECT count(*) FROM associations";
    // Made by a person in HubSpot, so that a line tells of each type.
    let (portal, site) = unjoined();
    let [contact, company] = ["contacts", "companies"]
        .map(|table| site.number(&format!("SELECT hs_id FROM {table} WHERE local_id = 1")));
    let ends = (
        ("contacts", contact.unsigned_abs()),
        ("companies", company.unsigned_abs()),
    );
    let before = last_change(&site);
    assert!(portal.stand().associate(ends.0, ends.1, portal.now_ms()));
    let now = portal.now_ms();
    portal
        .stand()
        .edit("contacts", ends.0.1, &[("city", "Rome")], now);
    site.once();
    assert_eq!(site.number(rows), 2);
    let of_pair = format!(
        "SELECT group_concat(id) FROM sync_history WHERE id > {before} AND object = 'contacts_companies'"
    );
    let ids = site.text(&of_pair).expect("two lines");
    undone_as_shown(&site, &ids, 2);
    assert_eq!(site.number(rows), 0);
    // With the plain type its primary goes, and both come back.
    join(&site, "", "");
    let before = last_change(&site);
    site.execute("DELETE FROM associations WHERE label IS NULL");
    site.once();
    assert_eq!(site.number(rows), 0);
    undone_as_shown(&site, &after(&site, before), 2);
    assert_eq!(site.number(rows), 2);
}

#[test]
fn an_association_of_two_records_of_one_object_is_undone_from_both_its_ends() {
    let portal = Portal::quick();
    let objects = "[objects.companies]\n[associations]\nfamily = { from = \"companies\", to = \"companies\" }\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    site.execute("INSERT INTO companies (name) VALUES ('Acme'), ('Beta')");
    site.once();
    let rows = "SELECT count(*) FROM associations";
    // What is implied has a line of its own, and one line is told for both ends.
    for (label, made, lines) in [("NULL", 2, 1), ("'Child Company'", 4, 2)] {
        let before = last_change(&site);
        site.execute(&format!(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label)
             VALUES ('companies', 1, 'companies', 2, {label})"
        ));
        site.once();
        assert_eq!(site.number(rows), made);
        undone_as_shown(&site, &after(&site, before), lines);
        assert_eq!(site.number(rows), 0, "{label}");
    }
}

/// Types of the associations between the two in HubSpot, and of the rows here.
#[track_caller]
fn assert_types(site: &Site, portal: &Portal, expected: &[u32]) {
    let links = portal.stand().links("contacts", "companies");
    let mut there: Vec<_> = links.iter().map(|link| link.kind.type_id).collect();
    there.sort_unstable();
    assert_eq!(there, expected);
    let rows = "SELECT coalesce(group_concat(type_id), '') FROM (SELECT type_id FROM associations ORDER BY 1)";
    let named: Vec<_> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(site.text(rows).unwrap_or_default(), named.join(","));
}

/// HubSpot makes more than it is asked for: the plain type behind a label, the primary behind the default.
#[test]
fn an_association_that_came_and_went_within_what_is_undone_is_nothing() {
    for (column, value) in [
        ("", ""),
        (", label", ", 'primary'"),
        (", label", ", 'Advisor'"),
    ] {
        let (portal, site) = unjoined_by(OBJECTS, Some("Advisor"));
        let before = last_change(&site);
        join(&site, column, value);
        let made = site.number("SELECT count(*) FROM associations");
        assert_eq!(made, 2, "{value}");
        let lines = format!(
            "SELECT count(*) FROM sync_history WHERE id > {before} AND origin = 'push' AND new_value IS NOT NULL"
        );
        assert_eq!(
            site.number(&lines),
            made,
            "{value}: a line for each that came"
        );
        site.execute("DELETE FROM associations WHERE label IS NULL");
        site.once();
        assert_types(&site, &portal, &[]);
        let done = undone(&site, &["--ids", &after(&site, before), "--yes"]);
        assert_eq!(
            (changes(&done), left(&done)),
            (Vec::new(), Vec::new()),
            "{value}"
        );
        site.once();
        assert_types(&site, &portal, &[]);
    }
}

/// What the other end of an association is told as going is what came at this one.
#[test]
fn an_association_that_came_from_one_end_and_went_from_the_other_is_nothing() {
    let objects = "[objects.contacts]\n[objects.companies]\n[associations]\n\
         forth = { from = \"contacts\", to = \"companies\" }\n\
         back = { from = \"companies\", to = \"contacts\" }\n";
    let (portal, site) = unjoined_by(objects, None);
    let before = last_change(&site);
    join(&site, "", "");
    assert_eq!(site.number("SELECT count(*) FROM associations"), 4);
    site.execute("DELETE FROM associations WHERE from_object = 'companies' AND label IS NULL");
    site.once();
    assert_types(&site, &portal, &[]);
    let done = undone(&site, &["--ids", &after(&site, before), "--yes"]);
    assert_eq!((changes(&done), left(&done)), (Vec::new(), Vec::new()));
    site.once();
    assert_types(&site, &portal, &[]);
}

/// HubSpot takes the primary from the company that had it: that is our push's doing, and an undo of pushes turns it back.
#[test]
fn a_primary_that_our_push_took_from_another_company_goes_back_with_it() {
    let primary = "SELECT to_local_id FROM associations WHERE label = 'Primary'";
    let (_portal, site) = unjoined();
    join(&site, "", "");
    assert_eq!(site.number(primary), 1);
    let before = last_change(&site);
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('contacts', 1, 'companies', 2, 'Primary')",
    );
    site.once();
    assert_eq!(site.number(primary), 2);
    let of = |origin: &str| {
        site.number(&format!(
            "SELECT count(*) FROM sync_history WHERE id > {before} AND origin = '{origin}'"
        ))
    };
    assert_eq!(
        (of("push"), of("poll")),
        (3, 0),
        "made, implied, and taken away"
    );
    let ids = after(&site, before);
    let done = undone(&site, &["--ids", &ids, "--origin", "push", "--yes"]);
    assert_eq!(left(&done), [""; 0], "{done}");
    site.once();
    assert_eq!(site.number(primary), 1);
    assert_eq!(
        site.number("SELECT count(*) FROM associations WHERE to_local_id = 2"),
        0
    );
    assert_eq!(of("push"), 3, "what the undo implied is told as the undo");
    let again = undone(&site, &["--ids", &ids, "--origin", "push", "--yes"]);
    assert_eq!(again["undone"], json!(0), "{again}");
}

/// A portal makes the first company that comes by default the primary one, which nobody asked for.
#[test]
fn a_plain_association_is_made_and_brought_back_as_no_primary() {
    let (portal, site) = unjoined();
    let types = || {
        let links = portal.stand().links("contacts", "companies");
        let types = links.iter().map(|link| link.kind.type_id);
        types.collect::<Vec<_>>()
    };
    join(&site, ", type_id", ", 279");
    assert_eq!(types(), [279], "the one that was named");
    let before = last_change(&site);
    site.execute("DELETE FROM associations");
    site.once();
    assert_eq!(types(), [0; 0]);
    undone(&site, &["--ids", &after(&site, before), "--yes"]);
    site.once();
    assert_eq!(types(), [279], "the one that went");
}

#[test]
fn a_label_that_is_undone_by_its_line_alone_takes_the_plain_type_along_that_came_with_it() {
    for label in ["primary", "Advisor"] {
        let (portal, site) = unjoined_by(OBJECTS, Some("Advisor"));
        let before = last_change(&site);
        join(&site, ", label", &format!(", '{label}'"));
        assert_eq!(site.number("SELECT count(*) FROM associations"), 2);
        let of = |what: &str| {
            let line = format!(
                "SELECT id FROM sync_history WHERE id > {before} AND json_extract(new_value, '$.label') IS {what} NULL"
            );
            site.number(&line)
        };
        let (own, plain) = (of("NOT"), of(""));
        let ids = own.to_string();
        let seen = undone(&site, &["--ids", &ids, "--dry-run"]);
        let lines: Vec<&Value> = seen["changes"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|change| &change["history_ids"])
            .collect();
        assert_eq!(
            lines,
            [&json!([own]), &json!([plain])],
            "what goes is shown"
        );
        let shown = told(&site.run(&["undo", "--ids", &ids, "--dry-run"]));
        assert_eq!(
            shown.matches("the association is taken away").count(),
            2,
            "{shown}"
        );
        let done = undone(&site, &["--ids", &ids, "--yes"]);
        assert_eq!((&done["undone"], left(&done)), (&json!(2), Vec::new()));
        site.once();
        assert_types(&site, &portal, &[]);
        let again = undone(
            &site,
            &["--since", "1h", "--object", "contacts_companies", "--yes"],
        );
        assert_eq!(again["undone"], json!(0), "{again}");
    }
}

#[test]
fn an_association_that_came_before_a_merge_and_went_after_it_is_nothing() {
    let (portal, site) = unjoined();
    let before = last_change(&site);
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 2, 'companies', 1)",
    );
    site.once();
    let now = portal.now_ms();
    let (kept, lost) = (id_of(&site, 1), id_of(&site, 2));
    portal
        .stand()
        .merge("contacts", kept, lost, now)
        .expect("they are there");
    assert!(site.run(&["once", "--reconcile"]).status.success());
    let of_survivor = "SELECT count(*) FROM associations WHERE from_local_id = 1";
    assert_eq!(site.number(of_survivor), 2, "they are the survivor's");
    site.execute("DELETE FROM associations");
    site.once();
    let seen = undone(&site, &["--ids", &after(&site, before), "--dry-run"]);
    let all = [changes(&seen), left(&seen)].concat();
    assert!(
        all.iter().all(|line| !line.contains("association")),
        "{seen:#}"
    );
    // Of its end alone the survivor's row is told.
    let went = format!(
        "SELECT group_concat(id) FROM sync_history WHERE id > {before} AND property = 'association' AND old_value IS NOT NULL"
    );
    let ids = site.text(&went).expect("two lines");
    let seen = undone(&site, &["--ids", &ids, "--dry-run"]);
    assert_eq!(
        (seen["changes"].as_array().map(Vec::len), left(&seen)),
        (Some(2), Vec::new())
    );
}

#[test]
fn what_a_label_did_not_bring_alone_stays() {
    let (_portal, site) = unjoined();
    join(&site, "", "");
    site.execute("DELETE FROM associations WHERE label = 'Primary'");
    site.once();
    let before = last_change(&site);
    join(&site, ", label", ", 'primary'");
    undone(&site, &["--ids", &after(&site, before), "--yes"]);
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM associations WHERE label IS NULL"),
        1
    );
}

#[test]
fn a_row_that_comes_back_brings_its_associations_as_a_part_of_the_undo() {
    let (_portal, site) = unjoined();
    join(&site, "", "");
    let before = last_change(&site);
    site.execute("DELETE FROM contacts WHERE local_id = 1");
    site.once();
    let gone = after(&site, before);
    undone(&site, &["--ids", &gone, "--yes"]);
    site.once();
    assert!(site.number("SELECT count(*) FROM associations") > 0);
    let own = format!(
        "SELECT count(*) FROM sync_history WHERE id > {before} AND property = 'association' AND origin = 'push' AND new_value IS NOT NULL"
    );
    assert_eq!(site.number(&own), 0);
    let again = undone(
        &site,
        &[
            "--ids",
            &gone,
            "--object",
            "contacts_companies",
            "--dry-run",
        ],
    );
    assert_eq!(changes(&again), [""; 0], "{again}");
}

#[test]
fn a_row_whose_record_a_person_archived_comes_back_with_its_associations() {
    let (portal, site) = unjoined();
    join(&site, "", "");
    let linked = site.number("SELECT count(*) FROM associations");
    assert!(linked > 0);
    let before = last_change(&site);
    let now = portal.now_ms();
    portal.stand().archive("contacts", id_of(&site, 1), now);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success(), "{}", told(&compared));
    assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
    undone(&site, &["--ids", &after(&site, before), "--yes"]);
    site.once();
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM associations"), linked);
    let links = portal.stand().links("contacts", "companies");
    assert_eq!(links.len() as i64, linked, "{links:?}");
}

#[test]
fn columns_that_an_ordinary_write_does_not_turn_back_are_left() {
    let portal = Portal::quick();
    portal.contact("ada@example.com");
    let objects = CONTACTS.replace(
        "city = \"city\"",
        "city = { column = \"city\", write = \"if_empty\" }\nstate = { column = \"state\", history = false }",
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    let before = last_change(&site);
    site.execute("UPDATE contacts SET city = 'Lima', state = 'Callao', first_name = 'Ada'");
    site.once();
    let written = after(&site, before);
    let done = undone(&site, &["--ids", &written, "--yes"]);
    assert_eq!(changes(&done), ["contacts 1 firstname: Ada -> Ann"]);
    assert_eq!(left(&done), [format!("1 city {}", produces("if-empty"))]);
    site.once();
    let before = last_change(&site);
    site.execute("DELETE FROM contacts");
    site.once();
    let done = undone(&site, &["--ids", &after(&site, before), "--yes"]);
    assert_eq!(changes(&done), ["contacts 1 *"]);
    assert_eq!(
        left(&done),
        [format!("1 state {}", produces("history-off"))]
    );
    site.once();
    assert_eq!(portal.count_with("city", "Lima"), 1);
}

#[test]
fn undo_works_beside_a_running_daemon_and_the_guard_counts_it() {
    let portal = Portal::quick();
    portal.fill("contacts", 5);
    let mut site = Site::with(
        &portal,
        "[guard]\nmax_archives = 3\nmax_share = 0.0\n",
        CONTACTS,
    );
    site.start_and_load();
    let before = last_change(&site);
    for number in 0..6 {
        site.execute(&format!(
            "INSERT INTO contacts (email) VALUES ('new{number}@example.com')"
        ));
    }
    site.until_pushed();
    let done = undone(&site, &["--ids", &after(&site, before), "--yes"]);
    assert_eq!(done["undone"], json!(6));
    site.until_sql("SELECT records = 6 FROM sync_holds WHERE operation = 'archive'");
    assert_eq!(portal.contacts(), 11, "it waits for an operator");
}

#[test]
fn a_look_at_what_would_be_turned_back_waits_for_no_program_and_keeps_none_waiting() {
    let (_portal, site) = in_rome(2);
    let before = last_change(&site);
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.once();
    let ids = after(&site, before);
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let seen = undone(&site, &["--ids", &ids, "--dry-run"]);
    assert_eq!(changes(&seen).len(), 2, "{seen}");
    program.execute_batch("ROLLBACK").expect("gives it up");
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        2
    );
    let done = undone(&site, &["--ids", &ids, "--yes"]);
    assert_eq!(changes(&done), changes(&seen));
}

#[test]
fn wrong_usage_is_told() {
    let (_portal, site) = in_rome(1);
    for arguments in [
        &["undo"][..],
        &["undo", "--column", "city", "--since", "1h"],
        &[
            "undo", "--since", "1h", "--object", "contacts", "--column", "nothing",
        ],
        &[
            "undo", "--since", "1h", "--object", "nothing", "--column", "city",
        ],
        &["undo", "--since", "1h", "--origin", "nobody"],
        &["undo", "--since", "1h", "--object", "contcts"],
        &["undo", "--run", "99999"],
    ] {
        let output = site.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
    }
    let nothing = site.run(&["undo", "--ids", "9999"]);
    assert!(nothing.status.success());
    // Reserved: nothing has it yet.
    let of_rules = site.run(&["undo", "--since", "1h", "--origin", "rule"]);
    assert!(of_rules.status.success(), "{}", told(&of_rules));
    assert_eq!(
        told(&nothing),
        "no recorded change is chosen\n`sync_history` has no row 9999\n"
    );
    let slip = told(&site.run(&["undo", "--since", "1h", "--object", "contcts"]));
    assert_eq!(
        slip,
        format!(
            "hubsyncd: no object `contcts` is synced here [{}]\nhint: write `contacts`\n",
            produces("unknown-object")
        )
    );
}

/// A contact on both sides that is old enough to be missed, with columns of the user's own, whose row was deleted and pushed.
fn deleted(own: &str) -> (Portal, Site, String) {
    let portal = Portal::quick();
    let id = portal.contact("ada@example.com");
    portal.edit(id, &[("lastname", "Byron")]);
    let site = Site::new(&portal);
    site.once();
    for sql in own.split(';').filter(|sql| !sql.trim().is_empty()) {
        site.execute(sql);
    }
    site.once();
    let before = last_change(&site);
    site.execute("DELETE FROM contacts WHERE local_id = 1");
    site.once();
    let ids = after(&site, before);
    (portal, site, ids)
}

#[test]
fn bytes_of_the_users_own_columns_come_back_with_their_row() {
    const OWN: &str = "ALTER TABLE contacts ADD COLUMN photo BLOB;
         ALTER TABLE contacts ADD COLUMN odd TEXT;
         ALTER TABLE contacts ADD COLUMN alike TEXT;
         ALTER TABLE contacts ADD COLUMN share REAL;
         ALTER TABLE contacts ADD COLUMN anything ANY;
         UPDATE contacts SET photo = x'00FF', odd = CAST(x'FFFE41' AS TEXT), alike = '00FF', share = 0.1, anything = 7";
    const HELD: &str = "SELECT quote(photo) || typeof(odd) || hex(odd) || quote(alike) || quote(share) || typeof(anything) FROM contacts";
    let expected = "X'00FF'textFFFE41'00FF'0.1integer";
    // Deleted here, and archived in HubSpot.
    let (portal, site, ids) = deleted(OWN);
    let done = undone(&site, &["--ids", &ids, "--yes"]);
    assert_eq!(changes(&done), ["contacts 1 *"]);
    assert_eq!(left(&done), [""; 0]);
    assert_eq!(site.text(HELD).as_deref(), Some(expected));
    site.once();
    let before = last_change(&site);
    let now = portal.now_ms();
    let id = id_of(&site, 1);
    portal.stand().archive("contacts", id, now);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success(), "{}", told(&compared));
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 0);
    let done = undone(&site, &["--ids", &after(&site, before), "--yes"]);
    assert_eq!(changes(&done), ["contacts 1 *"]);
    let expected = expected.replace("integer", "text");
    assert_eq!(site.text(HELD), Some(expected), "by a removal");
}

#[test]
fn a_row_comes_back_to_columns_that_have_other_names_by_now() {
    let (portal, site, ids) = deleted("");
    let config = std::fs::read_to_string(site.path("config.toml")).expect("the mapping file");
    let swapped = config
        .replace("firstname = \"first_name\"", "firstname = \"_between\"")
        .replace("lastname = \"last_name\"", "lastname = \"first_name\"")
        .replace("\"_between\"", "\"last_name\"")
        .replace("city = \"city\"", "city = \"town\"");
    assert_ne!(config, swapped);
    std::fs::write(site.path("config.toml"), swapped).expect("written");
    site.once();
    let done = undone(&site, &["--ids", &ids, "--yes"]);
    assert_eq!(changes(&done), ["contacts 1 *"]);
    site.once();
    let id = id_of(&site, 1);
    assert_eq!(portal.value(id, "firstname").as_deref(), Some("Ann"));
    assert_eq!(portal.value(id, "lastname").as_deref(), Some("Byron"));
}

#[test]
fn a_row_whose_match_value_another_row_has_by_now_is_left_before_anybody_is_asked() {
    for is_pushed in [true, false] {
        let (_portal, site, ids) = deleted("");
        site.execute("INSERT INTO contacts (email) VALUES ('Ada@example.com')");
        if is_pushed {
            site.once();
        }
        let other = site.number("SELECT local_id FROM contacts");
        let seen = undone(&site, &["--ids", &ids, "--dry-run"]);
        assert_eq!(changes(&seen), [""; 0]);
        assert_eq!(left(&seen), ["1 * value-taken"]);
        let message = seen["left"][0]["message"].as_str().expect("a sentence");
        let begins = format!("row {other}: another row has its match value by now");
        assert!(message.starts_with(&begins), "{message}");
        assert_eq!(undone(&site, &["--ids", &ids, "--yes"])["undone"], json!(0));
    }
}

#[test]
fn what_a_constraint_of_somebodys_refuses_is_left_before_anybody_is_asked() {
    let (_portal, site, ids) = deleted(
        "ALTER TABLE contacts ADD COLUMN number INTEGER;
         CREATE UNIQUE INDEX only_one ON contacts (number);
         UPDATE contacts SET number = 7",
    );
    site.execute("INSERT INTO contacts (email, number) VALUES ('bob@example.com', 7)");
    let seen = undone(&site, &["--ids", &ids, "--dry-run"]);
    assert_eq!(changes(&seen), [""; 0], "{seen}");
    assert_eq!(left(&seen), ["1 * refused"]);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
}

#[test]
fn a_row_that_says_that_its_record_is_archived_is_left_with_that_reason() {
    let portal = Portal::quick();
    let id = portal.contact("ada@example.com");
    let objects = format!("[objects.contacts]\non_remote_delete = \"mark\"\n{CONTACTS}");
    let site = Site::with(&portal, "", &objects);
    site.once();
    let before = last_change(&site);
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.once();
    let now = portal.now_ms();
    portal.stand().archive("contacts", id, now);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success(), "{}", told(&compared));
    assert_eq!(site.number("SELECT sum(hs_archived) FROM contacts"), 1);
    let chosen = after(&site, before);
    let seen = undone(&site, &["--ids", &chosen, "--dry-run"]);
    assert_eq!(changes(&seen), [""; 0]);
    assert_eq!(
        left(&seen),
        ["1 * record-archived", "1 city record-archived"]
    );
}

#[test]
fn a_row_comes_back_with_what_it_held_of_a_property_that_is_out_of_the_file() {
    let portal = Portal::quick();
    portal.contact("ada@example.com");
    let objects = format!("{CONTACTS}vip = \"vip\"\n");
    let site = Site::with(&portal, "", &objects);
    site.once();
    site.execute("UPDATE contacts SET vip = 1");
    site.once();
    let before = last_change(&site);
    site.execute("DELETE FROM contacts");
    site.once();
    let ids = after(&site, before);
    site.configure(&portal, "", CONTACTS);
    site.once();
    let done = undone(&site, &["--ids", &ids, "--yes"]);
    assert_eq!(changes(&done), ["contacts 1 *"]);
    assert_eq!(left(&done), [""; 0]);
    assert_eq!(site.number("SELECT vip FROM contacts"), 1);
}

#[test]
fn a_record_that_was_restored_in_hubspot_since_is_not_made_twice() {
    let portal = Portal::quick();
    let made = portal.now_ms() - 3_600_000;
    let id = portal
        .stand()
        .create("companies", &[("name", "Acme")], made);
    let site = Site::with(
        &portal,
        "",
        "[objects.companies.properties]\nname = \"name\"\n",
    );
    site.once();
    let before = last_change(&site);
    site.execute("DELETE FROM companies");
    site.once();
    let ids = after(&site, before);
    let now = portal.now_ms();
    portal.stand().restore("companies", id, now);
    let compared = site.run(&["once", "--reconcile"]);
    assert!(compared.status.success(), "{}", told(&compared));
    assert_eq!(
        site.number("SELECT hs_id FROM companies").unsigned_abs(),
        id
    );
    let seen = undone(&site, &["--ids", &ids, "--yes"]);
    assert_eq!(changes(&seen), [""; 0]);
    assert_eq!(left(&seen), ["1 * record-of-another-row"]);
    assert_eq!(site.number("SELECT count(*) FROM companies"), 1);
}

#[test]
fn a_record_that_deletions_here_do_not_archive_is_left_there() {
    let portal = Portal::quick();
    let objects = CONTACTS.replacen(
        "[objects.contacts",
        "[objects.contacts]\non_local_delete = \"restore\"\n[objects.contacts",
        1,
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    site.execute("INSERT INTO contacts (email) VALUES ('new@example.com')");
    site.once();
    let seen = undone(&site, &["--since", "1h", "--dry-run"]);
    assert_eq!(changes(&seen), Vec::<String>::new());
    assert_eq!(left(&seen), [format!("1 * {}", produces("comes-back"))]);
}

#[test]
fn what_the_modes_of_an_object_never_send_is_left() {
    for (mode, code) in [
        ("on_local_delete = \"restore\"", "1 * comes-back"),
        ("new_records = \"from_hubspot\"", "1 * no-record-to-link"),
        ("direction = \"pull\"", "1 * read-only"),
    ] {
        let portal = Portal::quick();
        let site = Site::new(&portal);
        let is_made = mode.contains("restore");
        if !is_made {
            portal.contact("ada@example.com");
        }
        site.once();
        let before = last_change(&site);
        if is_made {
            site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')");
        } else {
            site.execute("DELETE FROM contacts");
        }
        site.once();
        let ids = after(&site, before);
        site.configure(
            &portal,
            "",
            &format!("[objects.contacts]\n{mode}\n{CONTACTS}"),
        );
        site.once();
        let seen = undone(&site, &["--ids", &ids, "--yes"]);
        assert_eq!(changes(&seen), [""; 0], "{mode}");
        assert_eq!(left(&seen), [code], "{mode}");
    }
}
