//! Promises 3, 4, 9 and 13: both sides come to agree, own writes do not come back, nobody waits, and losers are kept.

use std::time::Duration;

use rusqlite::Connection;

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::portal::Portal;

#[test]
fn edits_on_both_sides_meet() {
    let portal = Portal::quick();
    portal.fill("contacts", 250);
    portal.fill("companies", 40);
    portal.fill("deals", 30);
    portal.fill("tickets", 20);
    let mut site = Site::with(
        &portal,
        "",
        "[objects.contacts]\n[objects.companies]\n[objects.deals]\n[objects.tickets]\n",
    );
    site.start_and_load();
    for (object, count) in [
        ("contacts", 250),
        ("companies", 40),
        ("deals", 30),
        ("tickets", 20),
    ] {
        let rows = site.number(&format!(
            "SELECT rows FROM sync_status WHERE object = '{object}'"
        ));
        assert_eq!(rows, count, "{object}");
    }
    let id = portal.contact("new@example.com");
    site.until_sql("SELECT count(*) FROM contacts WHERE email = 'new@example.com'");
    portal.edit(id, &[("city", "Oslo")]);
    site.until_sql(
        "SELECT count(*) FROM contacts WHERE email = 'new@example.com' AND city = 'Oslo'",
    );
    site.execute("UPDATE contacts SET city = 'Lima' WHERE email = 'new@example.com'");
    eventually("Lima in HubSpot", || {
        portal.value(id, "city").as_deref() == Some("Lima")
    });
    site.until_sql("SELECT in_sync = rows FROM sync_status WHERE object = 'contacts'");
    site.execute("DELETE FROM contacts WHERE email = 'new@example.com'");
    eventually("archived", || portal.value(id, "email").is_none());
    site.until_pushed();
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn own_writes_do_not_come_back() {
    let portal = Portal::quick();
    portal.fill("contacts", 120);
    let schedule = "[schedule]\npoll = \"1s\"\nagain = [\"1s\"]\n";
    let mut site = Site::with(&portal, schedule, crate::daemon::CONTACTS);
    site.start_and_load();
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_pushed();
    let (writes, history) = (
        portal.stand().write_log().len(),
        site.number("SELECT count(*) FROM sync_history"),
    );
    let polls = portal.requests("/search");
    // Many polls, and walks again, see the daemon's own changes.
    eventually("four polls", || portal.requests("/search") >= polls + 4);
    assert_eq!(portal.stand().write_log().len(), writes);
    assert_eq!(site.number("SELECT count(*) FROM sync_history"), history);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn two_writes_with_a_push_between_never_bring_the_older_value_back() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_load();
    for round in 0..10 {
        let (first, second) = (format!("first {round}"), format!("second {round}"));
        site.execute(&format!("UPDATE contacts SET city = '{first}'"));
        wait(Duration::from_millis(200));
        site.execute(&format!("UPDATE contacts SET city = '{second}'"));
        let seen = |site: &Site| site.text("SELECT city FROM contacts");
        // The mirror shows the second value from now on, whatever is pushed and polled.
        eventually("the second value in HubSpot", || {
            assert_eq!(seen(&site).as_deref(), Some(second.as_str()));
            portal.value(id, "city").as_deref() == Some(second.as_str())
        });
        site.until_pushed();
        let polls = portal.requests("/search");
        eventually("two polls", || {
            assert_eq!(seen(&site).as_deref(), Some(second.as_str()));
            portal.requests("/search") >= polls + 2
        });
    }
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn a_row_deleted_while_its_record_is_edited_does_not_come_back_unasked() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let other = portal.contact("bob@example.com");
    let mut site = Site::with(
        &portal,
        "[conflicts]\npolicy = \"local\"\n",
        crate::daemon::CONTACTS,
    );
    site.start_and_load();
    {
        // HubSpot answers nothing until the edit is in: the read before the archive meets it, however slow anybody is.
        let now = portal.now_ms();
        let mut stand = portal.stand();
        site.execute("DELETE FROM contacts WHERE email = 'ann@example.com'");
        stand.edit("contacts", id, &[("city", "Oslo")], now);
    }
    eventually("archived", || portal.value(id, "email").is_none());
    site.until_pushed();
    let polls = portal.requests("/search");
    eventually("two polls", || portal.requests("/search") >= polls + 2);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
    assert!(portal.value(other, "email").is_some());
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_conflicts WHERE property = '*' AND winner = 'local'"
        ),
        1,
        "the edit that was archived over is kept"
    );
}

#[test]
fn a_conflict_is_decided_by_policy_and_both_values_are_kept() {
    for (policy, winner) in [("local", "local"), ("remote", "remote")] {
        let portal = Portal::quick();
        let id = portal.contact("ann@example.com");
        let settings = format!("[conflicts]\npolicy = \"{policy}\"\n");
        let site = Site::with(&portal, &settings, crate::daemon::CONTACTS);
        site.once();
        site.execute("UPDATE contacts SET city = 'Lima'");
        portal.edit(id, &[("city", "Oslo")]);
        site.once();
        let kept = site.text(
            "SELECT property || ' ' || local_value || ' ' || remote_value || ' ' || winner FROM sync_conflicts",
        );
        assert_eq!(kept, Some(format!("city Lima Oslo {winner}")));
        let value = if winner == "local" { "Lima" } else { "Oslo" };
        assert_eq!(
            site.text("SELECT city FROM contacts").as_deref(),
            Some(value)
        );
        assert_eq!(portal.value(id, "city").as_deref(), Some(value));
    }
}

#[test]
fn the_newer_change_wins_by_the_property_s_own_history() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    portal.edit(id, &[("city", "Oslo")]);
    wait(Duration::from_millis(50));
    site.execute("UPDATE contacts SET city = 'Lima'");
    wait(Duration::from_millis(50));
    // The record is newer than the local write; the property is not.
    portal.edit(id, &[("lastname", "Newer")]);
    site.once();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(
        site.text("SELECT last_name FROM contacts").as_deref(),
        Some("Newer")
    );
    site.execute("UPDATE contacts SET city = 'Quito'");
    wait(Duration::from_millis(50));
    portal.edit(id, &[("city", "Bergen")]);
    site.once();
    assert_eq!(
        site.text("SELECT city FROM contacts").as_deref(),
        Some("Bergen")
    );
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE policy = 'newest'"),
        2
    );
}

#[test]
fn a_manual_conflict_waits_and_is_decided_by_sql_and_by_command() {
    let portal = Portal::quick();
    let (ann, bob) = (
        portal.contact("ann@example.com"),
        portal.contact("bob@example.com"),
    );
    let mut site = Site::with(
        &portal,
        "[conflicts]\npolicy = \"manual\"\n",
        crate::daemon::CONTACTS,
    );
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    for id in [ann, bob] {
        portal.edit(id, &[("city", "Oslo")]);
    }
    site.start();
    site.until_sql("SELECT count(*) = 2 FROM sync_conflicts WHERE resolved_at IS NULL");
    assert_eq!(
        portal.value(ann, "city").as_deref(),
        Some("Oslo"),
        "nothing is pushed unasked"
    );
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Lima'"),
        2
    );
    site.execute(&format!(
        "UPDATE sync_conflicts SET resolution = 'local' WHERE hs_id = {ann}"
    ));
    eventually("the local value in HubSpot", || {
        portal.value(ann, "city").as_deref() == Some("Lima")
    });
    let conflict = site.number(&format!(
        "SELECT id FROM sync_conflicts WHERE hs_id = {bob}"
    ));
    let resolved = site.run(&[
        "conflicts",
        "resolve",
        &conflict.to_string(),
        "--value",
        "Turku",
    ]);
    assert!(
        resolved.status.success(),
        "{}",
        String::from_utf8_lossy(&resolved.stderr)
    );
    eventually("the third value in HubSpot", || {
        portal.value(bob, "city").as_deref() == Some("Turku")
    });
    site.until_sql("SELECT count(*) = 0 FROM sync_conflicts WHERE resolved_at IS NULL");
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Turku'"),
        1
    );
    assert_eq!(
        site.text("SELECT group_concat(reason, '; ') FROM (SELECT reason FROM sync_conflicts ORDER BY hs_id)"),
        Some("decided: the value here stays; decided: a third value goes to both sides".to_owned())
    );
}

/// A contact whose city is Lima here and Oslo in HubSpot, in an open conflict; then its row is deleted.
fn deleted_in_conflict(portal: &Portal, objects: &str) -> (Site, u64) {
    let id = portal.contact("ann@example.com");
    let mut site = Site::with(portal, "", objects);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    portal.edit(id, &[("city", "Oslo")]);
    site.start();
    site.until_sql(
        "SELECT count(*) FROM sync_conflicts WHERE property = 'city' AND resolved_at IS NULL",
    );
    site.execute("DELETE FROM contacts");
    (site, id)
}

#[test]
fn a_row_deleted_in_conflict_is_a_conflict_of_the_whole_record() {
    let portal = Portal::quick();
    let objects = "[objects.contacts]\nconflict = \"manual\"\n\
                   [objects.contacts.properties]\nemail = \"email\"\ncity = \"city\"\n";
    let (site, id) = deleted_in_conflict(&portal, objects);
    site.until_sql(
        "SELECT count(*) FROM sync_conflicts WHERE property = '*' AND resolved_at IS NULL",
    );
    assert_eq!(
        site.text("SELECT reason FROM sync_conflicts WHERE property = 'city' AND resolved_at IS NOT NULL AND winner IS NULL"),
        Some(
            "the row was deleted here: the conflict of the whole record (`*`) decides".to_owned()
        )
    );
    assert_eq!(portal.value(id, "city").as_deref(), Some("Oslo"));
    site.execute("UPDATE sync_conflicts SET resolution = 'remote' WHERE property = '*'");
    site.until_sql("SELECT count(*) FROM contacts WHERE city = 'Oslo' AND local_id = 1");
    site.until_sql("SELECT count(*) = 0 FROM sync_conflicts WHERE resolved_at IS NULL");
    assert_eq!(
        site.text("SELECT reason FROM sync_conflicts WHERE property = '*'"),
        Some("decided: the row is back with HubSpot's values".to_owned())
    );
    site.until_pushed();
}

#[test]
fn a_deletion_that_wins_over_a_field_in_conflict_keeps_hubspots_value() {
    let portal = Portal::quick();
    let objects = "[objects.contacts]\nconflict = \"local\"\n\
                   [objects.contacts.properties]\nemail = \"email\"\n\
                   city = { column = \"city\", conflict = \"manual\" }\n";
    let (site, id) = deleted_in_conflict(&portal, objects);
    eventually("archived", || portal.value(id, "email").is_none());
    site.until_pushed();
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_conflicts WHERE winner = 'local' AND resolved_at IS NOT NULL"
        ),
        2
    );
    assert_eq!(
        site.text(
            "SELECT json_extract(remote_value, '$.city') FROM sync_conflicts WHERE property = '*'"
        ),
        Some("Oslo".to_owned())
    );
}

#[test]
fn a_value_that_its_column_can_not_hold_is_shown_and_never_lost() {
    let portal = Portal::quick();
    let (ann, bob) = (
        portal.contact("ann@example.com"),
        portal.contact("bob@example.com"),
    );
    portal.edit(ann, &[("city", "Oslo")]);
    portal.edit(bob, &[("city", "7")]);
    let objects = "[objects.contacts.properties]\nemail = \"email\"\n\
                   city = { column = \"city\", type = \"number\" }\n";
    let site = Site::with(&portal, "", objects);
    let said = site.once();
    let last = said.lines().last().unwrap_or_default();
    let counted = "done; 0 dead, 0 open conflicts, 0 held, 1 unreadable (see `sync_unreadable`), ";
    assert!(last.starts_with(counted), "{said}");
    let field =
        "SELECT state || ': ' || coalesce(problem, '') FROM sync_fields WHERE property = 'city'";
    let problem = format!(
        "degraded: HubSpot record {ann} holds a value that is not of the column's type: its row keeps what it had"
    );
    assert_eq!(site.text(field), Some(problem.clone()));
    let code = "SELECT coalesce(code, 'none') FROM sync_fields WHERE property = 'city'";
    assert_eq!(site.text(code).as_deref(), Some("unreadable-value"));
    assert_eq!(site.number("SELECT problems FROM sync_status"), 1);
    let noted = "SELECT group_concat(hs_id || ' ' || value) FROM sync_unreadable";
    assert_eq!(site.text(noted), Some(format!("{ann} Oslo")));
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city IS NULL"),
        1
    );

    // The others are synced on.
    site.execute("UPDATE contacts SET city = 8 WHERE email = 'bob@example.com'");
    site.once();
    assert_eq!(portal.value(bob, "city").as_deref(), Some("8"));

    // Neither a value nor a clear goes over what nobody here could see.
    portal.edit(bob, &[("city", "Lima")]);
    site.execute("UPDATE contacts SET city = iif(email = 'ann@example.com', 5, NULL)");
    site.once();
    for (id, city) in [(ann, "Oslo"), (bob, "Lima")] {
        assert_eq!(portal.value(id, "city").as_deref(), Some(city));
        let open = format!(
            "SELECT remote_value FROM sync_conflicts WHERE hs_id = {id} AND resolved_at IS NULL"
        );
        assert_eq!(site.text(&open).as_deref(), Some(city));
    }
    assert!(
        site.text(field)
            .is_some_and(|problem| problem.contains("and others hold values"))
    );

    site.execute("UPDATE sync_conflicts SET resolution = 'remote'");
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE resolution IS NULL AND reason LIKE '%can''t be taken%'"),
        2
    );
    site.execute("UPDATE sync_conflicts SET resolution = 'local'");
    site.once();
    assert_eq!(portal.value(ann, "city").as_deref(), Some("5"));
    assert_eq!(portal.value(bob, "city"), None);
    assert_eq!(site.text(field).as_deref(), Some("active: "));
    assert_eq!(site.number("SELECT count(*) FROM sync_unreadable"), 0);
}

#[test]
fn one_bad_record_does_not_stop_ninety_nine_others() {
    let portal = Portal::quick();
    portal.fill("contacts", 100);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let program = site.program();
    program
        .execute_batch(
            "BEGIN;
             UPDATE contacts SET city = 'Lima';
             UPDATE contacts SET email = 'no address at all' WHERE local_id = 7;
             COMMIT;",
        )
        .expect("local writes");
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Lima"), 99);
    let explanation = site.text("SELECT last_error FROM sync_outbox WHERE state = 'dead'");
    assert!(
        explanation.is_some_and(|explanation| explanation.contains("email")
            && says(&explanation, produces("invalid-email"))),
        "HubSpot's own words"
    );
    site.execute("UPDATE contacts SET email = 'seven@example.com' WHERE local_id = 7");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    assert_eq!(portal.count_with("city", "Lima"), 100);
    assert_eq!(portal.count_with("email", "seven@example.com"), 1);
}

#[test]
fn what_hubspot_normalises_is_adopted_and_not_pushed_back() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute("INSERT INTO contacts (email) VALUES ('ADA@Example.COM')");
    site.until_sql(
        "SELECT count(*) FROM contacts WHERE email = 'ada@example.com' AND hs_id IS NOT NULL",
    );
    site.until_pushed();
    let writes = portal.stand().write_log().len();
    let polls = portal.requests("/search");
    eventually("two polls", || portal.requests("/search") >= polls + 2);
    assert_eq!(portal.stand().write_log().len(), writes);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
}

#[test]
fn local_readers_and_writers_do_not_wait_for_the_daemon() {
    let portal = Portal::quick();
    portal.fill("contacts", 5_000);
    let mut site = Site::new(&portal);
    site.start();
    site.until_sql("SELECT count(*) > 0 FROM contacts");
    // A client among fifty transactions of a backfill that writes as fast as it can: were they one, or were a writer held up
    // for many, it would have its turn a few times at most. How long a turn takes is this machine's business.
    let program = Connection::open(site.path("crm.db")).expect("opens");
    program
        .busy_timeout(Duration::from_mins(1))
        .expect("a timeout");
    let mut writes = 0;
    while site.number("SELECT min(backfill = 'done') FROM sync_status") == 0 {
        program
            .query_row("SELECT count(*) FROM contacts", [], |row| {
                row.get::<_, i64>(0)
            })
            .expect("a reader is never blocked");
        program
            .execute(
                "UPDATE contacts SET city = ?1 WHERE local_id = 1",
                [writes.to_string()],
            )
            .expect("a writer has its turn");
        writes += 1;
    }
    assert!(writes > 5, "{writes} writes");
    site.until_pushed();
    assert_eq!(portal.count_with("city", &(writes - 1).to_string()), 1);
}

#[test]
fn a_merge_in_hubspot_leaves_one_row() {
    let portal = Portal::quick();
    let (ann, bob) = (
        portal.contact("ann@example.com"),
        portal.contact("bob@example.com"),
    );
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute("UPDATE contacts SET city = 'Lima' WHERE email = 'bob@example.com'");
    site.until_pushed();
    let now = portal.now_ms();
    let survivor = portal
        .stand()
        .merge("contacts", ann, bob, now)
        .expect("both are there");
    site.until_sql(&format!(
        "SELECT count(*) FROM contacts WHERE hs_id = {survivor}"
    ));
    site.until_sql("SELECT count(*) = 1 FROM contacts");
    site.until_sql("SELECT count(*) FROM sync_history WHERE origin = 'absorb' AND property = '*'");
    assert!(
        portal.value(survivor, "email").is_some(),
        "nothing was archived"
    );
}

#[test]
fn an_open_conflict_goes_with_the_row_that_is_deleted_and_inserted_again() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("city", "Base")]);
    let settings = "[conflicts]\npolicy = \"manual\"\n[schedule]\npoll = \"1s\"\n";
    let mut site = Site::with(&portal, settings, CONTACTS);
    site.once();
    site.execute("UPDATE contacts SET city = 'Here'");
    portal.edit(id, &[("city", "There")]);
    site.start();
    site.until_sql(
        "SELECT count(*) = 1 FROM sync_conflicts WHERE resolved_at IS NULL AND property = 'city'",
    );
    site.program()
        .execute_batch(
            "BEGIN IMMEDIATE;
             CREATE TEMP TABLE kept AS SELECT email, first_name, last_name, city FROM contacts;
             DELETE FROM contacts;
             INSERT INTO contacts (email, first_name, last_name, city) SELECT * FROM kept;
             COMMIT;",
        )
        .expect("a program's own way to rewrite a row");
    let kept = format!(
        "SELECT count(*) = 1
         FROM sync_conflicts AS c
         JOIN contacts AS m ON m.local_id = c.local_id
         WHERE c.resolved_at IS NULL AND c.property = 'city' AND m.city = 'Here' AND m.hs_id = {id}"
    );
    site.until_sql(&kept);
    wait(Duration::from_secs(3));
    assert_eq!(site.number(&kept), 1);
    assert_eq!(portal.value(id, "city").as_deref(), Some("There"));
    site.execute("UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL");
    eventually("the decision is carried out", || {
        portal.value(id, "city").as_deref() == Some("Here")
    });
    assert_eq!(portal.stand().records("contacts").len(), 1);
    assert_eq!(site.stop(), 0);
}
