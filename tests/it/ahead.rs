//! What people have decided goes before a push: a plan shows what goes then, and changes nothing of it.

use serde_json::Value;

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site};
use crate::exclusive::{associate, limit};
use crate::links::{company, in_hubspot};
use crate::plan::{in_short, planned};
use crate::portal::Portal;

/// 110 contacts of one city, of which five deletions and a hundred emptied cities are held.
fn held() -> (Portal, Site) {
    let portal = Portal::quick();
    for number in 0..110 {
        let id = portal.contact(&format!("c{number}@example.com"));
        portal.edit(id, &[("city", "Rome")]);
    }
    let guard = "[guard]\nmax_archives = 2\nmax_share = 0.0\n";
    let site = Site::with(&portal, guard, CONTACTS);
    site.once();
    site.execute("DELETE FROM contacts WHERE local_id <= 5");
    site.execute("UPDATE contacts SET city = NULL WHERE local_id <= 105");
    site.execute("UPDATE contacts SET last_name = 'Moved' WHERE local_id = 6");
    site.once();
    (portal, site)
}

fn count(plan: &[Value], operation: &str, waits_for: &Value) -> usize {
    let of = plan.iter().filter(|entry| {
        entry["operation"] == operation
            && entry["waits_for"] == *waits_for
            && entry["sent"] == waits_for.is_null()
    });
    of.count()
}

#[test]
fn what_a_decided_hold_holds_is_shown_as_it_goes() {
    let guard = Value::from("guard");
    for (approved, archives, clears) in [("archive", 5, 0), ("clear", 0, 100)] {
        let (portal, site) = held();
        let plan = planned(&site, &[]);
        assert_eq!(count(&plan, "archive", &guard), 5);
        assert_eq!(count(&plan, "update", &guard), 100, "a clear is held");
        assert_eq!(plan.len(), 105);
        site.execute(&format!(
            "DELETE FROM sync_holds WHERE operation <> '{approved}'"
        ));
        site.execute(&format!(
            "UPDATE sync_holds SET approved_at = '2026-11-30T10:00:00.000Z' WHERE operation = '{approved}'"
        ));
        for arguments in [&[][..], &["--online"]] {
            let plan = planned(&site, arguments);
            let sent = |operation| count(&plan, operation, &Value::Null);
            let found = (sent("archive"), sent("update"), plan.len());
            let expected = (archives, clears, archives + clears);
            assert_eq!(found, expected, "{approved} {arguments:?}");
        }
        site.once();
        assert_eq!(portal.contacts(), 110 - archives, "{approved}");
        let emptied = 110 - portal.count_with("city", "Rome") - archives;
        assert_eq!(emptied, clears, "{approved}");
    }
}

#[test]
fn a_decided_conflict_is_shown_as_it_goes() {
    let portal = Portal::quick();
    let ids =
        ["ann", "bob", "cyd", "dan"].map(|name| portal.contact(&format!("{name}@example.com")));
    let site = Site::with(&portal, "[conflicts]\npolicy = \"manual\"\n", CONTACTS);
    site.once();
    site.execute("UPDATE contacts SET city = 'ours'");
    for id in ids {
        portal.edit(id, &[("city", "theirs")]);
    }
    site.once();
    assert_eq!(in_short(&planned(&site, &[])), [""; 0]);
    let of = |name: &str, word: &str| {
        let row = format!("(SELECT local_id FROM contacts WHERE email = '{name}@example.com')");
        site.execute(&format!(
            "UPDATE sync_conflicts SET resolution = '{word}' WHERE local_id = {row}"
        ));
        site.number(&format!(
            "SELECT local_id FROM contacts WHERE email = '{name}@example.com'"
        ))
    };
    let (ann, bob) = (of("ann", "local"), of("bob", "value:Turku"));
    of("cyd", "remote");
    let mut expected = [
        format!("update {ann}; city: theirs -> ours"),
        format!("update {bob}; city: theirs -> Turku"),
    ];
    expected.sort();
    for arguments in [&[][..], &["--online"]] {
        let mut plan = in_short(&planned(&site, arguments));
        plan.sort();
        assert_eq!(plan, expected, "{arguments:?}");
    }
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL"),
        4,
        "a plan decides nothing"
    );
    site.once();
    let shown = ids.map(|id| portal.value(id, "city").unwrap_or_default());
    assert_eq!(shown, ["ours", "Turku", "theirs", "theirs"]);
}

#[test]
fn a_decided_conflict_of_a_whole_record_is_shown_as_it_goes() {
    for (word, deleted, archived) in [
        (
            "local",
            Some("archive 1"),
            Some("create 2; email: - -> bob@example.com; firstname: - -> Ann; city: - -> ours"),
        ),
        ("remote", None, None),
    ] {
        let portal = Portal::quick();
        let (ann, bob) = (
            portal.contact("ann@example.com"),
            portal.contact("bob@example.com"),
        );
        let site = Site::with(&portal, "[conflicts]\npolicy = \"manual\"\n", CONTACTS);
        site.once();
        site.execute("UPDATE contacts SET city = 'ours' WHERE local_id = 2");
        site.execute("DELETE FROM contacts WHERE local_id = 1");
        portal.edit(ann, &[("city", "theirs")]);
        let now = portal.now_ms();
        portal.stand().archive("contacts", bob, now);
        let waits = site.run(&["once", "--timeout", "50s", "--reconcile"]);
        assert_eq!(
            site.number("SELECT count(*) FROM sync_conflicts WHERE property = '*'"),
            2,
            "{waits:?}"
        );
        let plan = planned(&site, &[]);
        assert!(plan.iter().all(|entry| entry["sent"] == false), "{plan:?}");
        let is_told = |entry: &Value| {
            let reason = entry["reason"].as_str();
            reason.is_some_and(|reason| says(reason, produces("open-conflict")))
        };
        assert!(plan.iter().all(is_told), "{plan:?}");
        site.execute(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
        for arguments in [&[][..], &["--online"]] {
            let mut plan = in_short(&planned(&site, arguments));
            plan.sort();
            let expected: Vec<&str> = deleted.into_iter().chain(archived).collect();
            assert_eq!(plan, expected, "{word} {arguments:?}");
        }
        site.once();
        let here = site.text("SELECT group_concat(email) FROM contacts");
        let left = match word {
            "local" => "bob@example.com",
            _ => "ann@example.com",
        };
        assert_eq!(here.as_deref(), Some(left), "{word}");
        assert_eq!(portal.contacts(), 1, "{word}");
    }
}

#[test]
fn a_decided_conflict_of_associations_is_shown_as_it_goes() {
    for (word, number) in [("local", 2), ("remote", 0)] {
        let portal = Portal::quick();
        portal.stand().settings_mut().first_company_is_primary = false;
        limit(&portal, ("companies", "contacts"), None);
        let [bob, ann] = ["bob@example.com", "ann@example.com"].map(|name| portal.contact(name));
        let acme = company(&portal, "Acme");
        let objects = "[objects.companies]\n[objects.contacts]\n[associations]\n\
             staff = { from = \"contacts\", to = \"companies\", conflict = \"manual\" }\n";
        let site = Site::with(&portal, "", objects);
        site.once();
        let now = portal.now_ms();
        let ends = (("contacts", bob), ("companies", acme));
        assert!(portal.stand().associate(ends.0, ends.1, now));
        site.execute(&associate(("contacts", ann), ("companies", acme), 0));
        site.once();
        site.execute(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
        let plan = planned(&site, &[]);
        assert_eq!(plan.len(), number, "{word} {plan:?}");
        assert!(plan.iter().all(|entry| entry["sent"] == true), "{plan:?}");
        site.once();
        let stands = if number > 0 { ann } else { bob };
        assert_eq!(
            in_hubspot(&portal),
            format!("{stands} {acme} 279 -"),
            "{word}"
        );
    }
}

#[test]
fn a_create_whose_record_hubspot_has_is_none_and_shows_what_the_merge_sends() {
    let linked = "new_records = \"from_hubspot\"\nconflict = \"local\"";
    // Where HubSpot's values are never taken, an empty column empties them.
    for (mode, name) in [("direction = \"push\"", None), (linked, Some("Ann"))] {
        let portal = Portal::quick();
        let objects = format!("[objects.contacts]\n{mode}\n{CONTACTS}");
        let site = Site::with(&portal, "[schedule]\npoll = \"1h\"\n", &objects);
        site.once();
        let ann = portal.contact("ann@example.com");
        portal.edit(ann, &[("city", "Rome")]);
        site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Lima')");
        let asked = portal.stand().request_log().len();
        let offline = in_short(&planned(&site, &[]));
        assert_eq!(portal.stand().request_log().len(), asked);
        assert!(offline[0].starts_with("create 1"), "{mode}: {offline:?}");
        let plan = planned(&site, &["--online"]);
        let emptied = match name {
            None => "; firstname: Ann -> -",
            Some(_) => "",
        };
        let expected = format!("update 1; city: Rome -> Lima{emptied}");
        assert_eq!(in_short(&plan), [expected], "{mode}");
        assert_eq!(plan[0]["hs_id"], ann, "{mode}");
        assert_eq!(
            site.number("SELECT count(hs_id) FROM contacts"),
            0,
            "{mode}"
        );
        site.once();
        assert_eq!(portal.value(ann, "city").as_deref(), Some("Lima"), "{mode}");
        assert_eq!(portal.value(ann, "firstname").as_deref(), name, "{mode}");
        assert_eq!(portal.contacts(), 1, "{mode}");
    }
}

#[test]
fn a_row_that_was_inserted_again_is_an_update_of_its_record() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute("DELETE FROM contacts");
    site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Lima')");
    for arguments in [&[][..], &["--online"]] {
        let plan = in_short(&planned(&site, arguments));
        assert_eq!(
            plan,
            ["update 2; city: - -> Lima; firstname: Ann -> -"],
            "{arguments:?}"
        );
    }
    site.once();
    assert_eq!(portal.value(ann, "city").as_deref(), Some("Lima"));
    assert_eq!(
        (portal.value(ann, "firstname"), portal.contacts()),
        (None, 1)
    );
}

#[test]
fn a_record_that_is_archived_or_merged_already_is_not_archived_again() {
    let portal = Portal::quick();
    // One that was made moments ago may be missed by a read all the same.
    let made = portal.now_ms() - 3_600_000;
    let ids = ["ann", "bob", "cyd", "dan"].map(|name| {
        let email = format!("{name}@example.com");
        portal
            .stand()
            .create("contacts", &[("email", &email)], made)
    });
    let site = Site::new(&portal);
    site.once();
    site.execute("DELETE FROM contacts WHERE local_id <= 3");
    let now = portal.now_ms();
    portal.stand().archive("contacts", ids[0], now);
    portal
        .stand()
        .merge("contacts", ids[3], ids[1], now)
        .expect("both are there");
    let plan = planned(&site, &["--online"]);
    let told = |row: i64| {
        let entry = plan
            .iter()
            .find(|entry| entry["local_id"] == row)
            .expect("it waits");
        (
            entry["sent"] == true,
            entry["reason"].as_str().unwrap_or("-"),
        )
    };
    assert_eq!(told(1), (false, "HubSpot has archived the record already"));
    let (sent, why) = told(2);
    assert!(
        !sent && why.starts_with("HubSpot has merged the record"),
        "{why}"
    );
    assert_eq!(told(3), (true, "-"));
    let archived = portal.requests("batch/archive");
    site.once();
    assert_eq!(portal.requests("batch/archive") - archived, 1);
    assert_eq!(portal.contacts(), 1);
}

/// Whether an entry of a row is sent, and else why not.
fn outcome(plan: &[Value], row: i64) -> (bool, &str) {
    let mut of_row = plan.iter().filter(|entry| entry["local_id"] == row);
    let entry = of_row.next().expect("it stands in the plan");
    assert!(of_row.next().is_none(), "once: {plan:?}");
    (
        entry["sent"] == true,
        entry["reason"].as_str().unwrap_or_default(),
    )
}

#[test]
fn a_deleted_row_that_comes_back_is_shown_with_what_is_sent_of_it_then() {
    let portal = Portal::quick();
    portal.stand().settings_mut().first_company_is_primary = false;
    let ids = ["ann", "bob", "cyd"].map(|name| portal.contact(&format!("{name}@example.com")));
    for id in ids {
        portal.edit(id, &[("city", "Rome")]);
    }
    let acme = company(&portal, "Acme");
    let objects = format!(
        "[objects.contacts]\non_local_delete = \"restore\"\n{CONTACTS}\n[objects.companies]\n\
         [associations]\nstaff = {{ from = \"contacts\", to = \"companies\" }}\n"
    );
    let site = Site::with(&portal, "", &objects);
    site.once();
    let row_of =
        |id: u64| site.number(&format!("SELECT local_id FROM contacts WHERE hs_id = {id}"));
    let rows = ids.map(row_of);
    let [ann, bob, cyd] = rows;
    site.execute(&format!(
        "UPDATE contacts SET city = 'Lima' WHERE local_id = {ann}"
    ));
    site.execute(&associate(("contacts", ids[2]), ("companies", acme), 0));
    site.execute("DELETE FROM contacts");
    for arguments in [&[][..], &["--online"]] {
        let plan = planned(&site, arguments);
        let shown = in_short(&plan);
        assert!(
            shown.contains(&format!("update {ann}; city: Rome -> Lima")),
            "{arguments:?}: {shown:?}"
        );
        assert_eq!(outcome(&plan, ann), (true, ""), "{arguments:?}");
        let (sent, why) = outcome(&plan, bob);
        assert!(!sent && why.ends_with("the row comes back"), "{why}");
        assert!(shown.contains(&format!("archive {bob}")), "{shown:?}");
        // Of the third one what is sent is its association.
        let of_cyd: Vec<_> = plan
            .iter()
            .filter(|entry| entry["local_id"] == cyd)
            .map(|entry| (entry["operation"].as_str(), entry["sent"] == true))
            .collect();
        assert!(of_cyd.contains(&(Some("associate"), true)), "{of_cyd:?}");
        assert!(of_cyd.contains(&(Some("archive"), false)), "{of_cyd:?}");
        assert_eq!(site.number("SELECT count(*) FROM contacts"), 0);
    }
    let before = portal.stand().request_log().len();
    site.once();
    assert_eq!(portal.contacts(), 3);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3);
    assert_eq!(portal.value(ids[0], "city").as_deref(), Some("Lima"));
    assert_eq!(in_hubspot(&portal), format!("{} {acme} 279 -", ids[2]));
    let stand = portal.stand();
    let sent = stand.request_log()[before..].iter();
    let inputs = |part: &str| -> usize {
        let of = sent.clone().filter(|request| {
            let path = &request.path_template;
            path.contains("/objects/") && path.ends_with(part)
        });
        of.map(|request| request.inputs).sum()
    };
    assert_eq!(
        (inputs("/batch/update"), inputs("/batch/archive")),
        (1, 0),
        "no more than was planned"
    );
}

#[test]
fn a_written_row_whose_record_is_archived_is_shown_as_what_becomes_of_it() {
    let gone = "HubSpot no longer has record ID: its row goes too, with what waited of it";
    let marked =
        "HubSpot no longer has record ID: its row stays and says so, without what waited of it";
    let anew = "create 1; email: - -> ann@example.com; firstname: - -> Ann; city: - -> ours";
    for (policy, mode, expected, rows, records) in [
        ("remote", "delete", Err(gone), 0, 0),
        ("remote", "mark", Err(marked), 1, 0),
        ("remote", "recreate", Ok(anew), 1, 1),
        ("local", "delete", Ok(anew), 1, 1),
        ("newest", "delete", Err(gone), 0, 0),
        ("manual", "delete", Err("[open-conflict]"), 1, 0),
    ] {
        let portal = Portal::quick();
        let made = portal.now_ms() - 3_600_000;
        let values = [("email", "ann@example.com"), ("firstname", "Ann")];
        let id = portal.stand().create("contacts", &values, made);
        let objects = format!(
            "[objects.contacts]\nconflict = \"{policy}\"\non_remote_delete = \"{mode}\"\n{CONTACTS}"
        );
        let site = Site::with(&portal, "", &objects);
        site.once();
        site.execute("UPDATE contacts SET city = 'ours'");
        let now = portal.now_ms();
        portal.stand().archive("contacts", id, now);
        let plan = planned(&site, &["--online"]);
        assert_eq!(plan.len(), 1, "{policy} {mode}: {plan:?}");
        match expected {
            Ok(sent) => {
                assert_eq!(outcome(&plan, 1), (true, ""), "{policy} {mode}");
                // What HubSpot keeps by itself of its records is not ours.
                let shown = in_short(&plan).remove(0);
                assert_eq!(shown, sent, "{policy} {mode}");
            }
            Err(why) => {
                let (is_sent, told) = outcome(&plan, 1);
                let told = told.replace(&id.to_string(), "ID");
                assert!(!is_sent && told.ends_with(why), "{policy} {mode}: {told}");
            }
        }
        assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
        let said = site.run(&["once", "--timeout", "50s"]);
        assert_eq!(
            (
                site.number("SELECT count(*) FROM contacts"),
                portal.contacts()
            ),
            (rows, records),
            "{policy} {mode}: {said:?}"
        );
    }
}

#[test]
fn written_rows_whose_removal_the_guard_holds_are_shown_as_waiting_for_it() {
    let portal = Portal::quick();
    let made = portal.now_ms() - 3_600_000;
    let ids: Vec<u64> = (0..4)
        .map(|number| {
            let email = format!("c{number}@example.com");
            portal
                .stand()
                .create("contacts", &[("email", &email)], made)
        })
        .collect();
    let guard = "[guard]\nmax_archives = 2\nmax_share = 0.0\n";
    let objects = format!("[objects.contacts]\nconflict = \"remote\"\n{CONTACTS}");
    let site = Site::with(&portal, guard, &objects);
    site.once();
    site.execute("UPDATE contacts SET city = 'ours'");
    let now = portal.now_ms();
    for id in &ids[..3] {
        portal.stand().archive("contacts", *id, now);
    }
    let plan = planned(&site, &["--online"]);
    for (row, is_sent) in [(1, false), (2, false), (3, false), (4, true)] {
        let (sent, why) = outcome(&plan, row);
        assert_eq!(sent, is_sent, "{row}: {why}");
        assert_eq!(
            why.ends_with("its row waits for the guard's word"),
            !is_sent
        );
    }
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
    site.run(&["once", "--timeout", "20s"]);
    assert_eq!(
        site.text(
            "SELECT group_concat(operation || ' ' || side || ' ' || records) FROM sync_holds"
        )
        .as_deref(),
        Some("remove local 3")
    );
    assert_eq!(portal.value(ids[3], "city").as_deref(), Some("ours"));
}
