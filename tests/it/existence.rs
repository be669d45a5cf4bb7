//! How records come and go: each mode of the file, by each path on which a deletion or a new record is met.

use hubsyncd::simulator::webhooks::Webhooks;

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site};
use crate::exclusive::associate;
use crate::links::{FIRST_PASS, OBJECTS, in_hubspot, until_equal};
use crate::portal::Portal;
use crate::webhooks::Door;

/// Contacts in some modes.
fn site(portal: &Portal, modes: &str) -> Site {
    Site::with(
        portal,
        "",
        &format!("[objects.contacts]\n{modes}\n{CONTACTS}"),
    )
}

/// A full comparison, which must end with 0.
fn compare(site: &Site) {
    let output = site.run(&["once", "--reconcile", "--timeout", "50s"]);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
}

/// A contact that a person made a day ago: no answer that misses it is of before.
fn contact(portal: &Portal, email: &str) -> u64 {
    let day_ago = portal.now_ms() - 86_400_000;
    let values = [("email", email), ("firstname", "Ann")];
    portal.stand().create("contacts", &values, day_ago)
}

fn archive(portal: &Portal, id: u64) {
    let now = portal.now_ms();
    assert!(portal.stand().archive("contacts", id, now));
}

fn restore(portal: &Portal, id: u64) {
    let now = portal.now_ms();
    assert!(portal.stand().restore("contacts", id, now));
}

/// Rows of the history about whole records: whether it was made, the row's first name, and by whom.
fn whole(site: &Site) -> String {
    let told = "SELECT group_concat(kind || ' ' || name || ' ' || origin, '; ')
                FROM (SELECT iif(new_value IS NULL, 'gone', 'made') AS kind,
                             coalesce(new_value, old_value) ->> 'first_name' AS name, origin
                      FROM sync_history WHERE property = '*' ORDER BY id)";
    site.text(told).unwrap_or_default()
}

#[test]
fn a_row_that_is_only_marked_keeps_no_new_record_with_its_email_away() {
    let portal = Portal::quick();
    let ann = contact(&portal, "ann@example.com");
    let site = site(&portal, "on_remote_delete = \"mark\"");
    site.once();
    archive(&portal, ann);
    compare(&site);
    assert_eq!(site.number("SELECT hs_archived FROM contacts"), 1);
    site.execute("INSERT INTO contacts (email, first_name) VALUES ('ann@example.com', 'Anna')");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    let new = format!(
        "SELECT count(*) FROM contacts WHERE hs_id <> {ann} AND hs_archived = 0 AND first_name = 'Anna'"
    );
    assert_eq!(site.number(&new), 1);
    assert_eq!(portal.contacts(), 1);
    compare(&site);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 2);
}

#[test]
fn an_archived_record_marks_its_row_until_it_is_restored() {
    let portal = Portal::quick();
    let (ann, bob) = (
        contact(&portal, "ann@example.com"),
        contact(&portal, "bob@example.com"),
    );
    let site = site(&portal, "on_remote_delete = \"mark\"");
    site.once();
    archive(&portal, ann);
    compare(&site);
    let rows = "SELECT group_concat(hs_archived, ' ') FROM (SELECT hs_archived FROM contacts ORDER BY local_id)";
    assert_eq!(site.text(rows).as_deref(), Some("1 0"));
    assert_eq!(site.number("SELECT excluded FROM sync_status"), 1);
    assert_eq!(whole(&site), "gone Ann reconcile");
    // It takes no write, and the next comparison neither asks for it nor tells of it again.
    let refused = site
        .program()
        .execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1", []);
    let refused = refused.expect_err("it is archived").to_string();
    assert!(refused.contains("[record-archived]"), "{refused}");
    let reads = portal.requests("/contacts/batch/read");
    compare(&site);
    assert_eq!(portal.requests("/contacts/batch/read"), reads);
    restore(&portal, ann);
    portal.edit(ann, &[("city", "Oslo")]);
    compare(&site);
    assert_eq!(site.text(rows).as_deref(), Some("0 0"));
    let city = "SELECT city FROM contacts WHERE local_id = 1";
    assert_eq!(site.text(city).as_deref(), Some("Oslo"));
    // A marked row just goes, and nothing is archived for it.
    archive(&portal, bob);
    compare(&site);
    site.execute("DELETE FROM contacts WHERE local_id = 2");
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    restore(&portal, bob);
    site.once();
    assert!(portal.value(bob, "email").is_some());
}

#[test]
fn an_archived_record_is_made_anew_under_another_id() {
    let portal = Portal::quick();
    let ann = contact(&portal, "ann@example.com");
    let site = site(&portal, "on_remote_delete = \"recreate\"");
    site.once();
    archive(&portal, ann);
    compare(&site);
    site.once();
    assert_eq!(portal.count_with("email", "ann@example.com"), 1);
    assert_eq!(portal.count_with("firstname", "Ann"), 1);
    let row = format!("SELECT count(*) FROM contacts WHERE local_id = 1 AND hs_id <> {ann}");
    assert_eq!(site.number(&row), 1);
    assert_eq!(whole(&site), "gone Ann reconcile; made Ann push");
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn a_push_that_meets_an_archived_record_is_decided_by_policy_and_leaves_what_the_file_says() {
    for (mode, policy, rows, conflict) in [
        ("mark", "remote", "1 Rome", "remote Lima"),
        ("delete", "remote", "", "remote Lima"),
        ("delete", "local", "0 Lima", "local Lima"),
        ("recreate", "remote", "0 Lima", "remote Lima"),
    ] {
        let portal = Portal::quick();
        let ann = contact(&portal, "ann@example.com");
        portal.edit(ann, &[("city", "Rome")]);
        let modes = format!("on_remote_delete = \"{mode}\"\nconflict = \"{policy}\"");
        let site = site(&portal, &modes);
        site.once();
        site.execute("UPDATE contacts SET city = 'Lima'");
        archive(&portal, ann);
        site.once();
        let held = site.text("SELECT group_concat(hs_archived || ' ' || city, '; ') FROM contacts");
        assert_eq!(held.unwrap_or_default(), rows, "{mode} {policy}");
        let told = site.text(
            "SELECT winner || ' ' || (local_value ->> 'city') FROM sync_conflicts WHERE property = '*'",
        );
        assert_eq!(told.as_deref(), Some(conflict), "{mode} {policy}");
        let made_anew = usize::from(rows == "0 Lima");
        assert_eq!(
            portal.count_with("city", "Lima"),
            made_anew,
            "{mode} {policy}"
        );
    }
}

#[test]
fn a_deleted_row_comes_back_with_what_waited_of_it() {
    let portal = Portal::quick();
    let (ann, bob) = (
        contact(&portal, "ann@example.com"),
        contact(&portal, "bob@example.com"),
    );
    let site = site(&portal, "on_local_delete = \"restore\"");
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    site.execute("DELETE FROM contacts");
    portal.edit(bob, &[("city", "Oslo")]);
    site.once();
    let rows = "SELECT group_concat(local_id || ' ' || city, '; ') FROM (SELECT * FROM contacts ORDER BY local_id)";
    assert_eq!(site.text(rows).as_deref(), Some("1 Lima; 2 Oslo"));
    assert_eq!(portal.value(ann, "city").as_deref(), Some("Lima"));
    assert_eq!(portal.contacts(), 2);
    // All rows at once are held by nobody: nothing would be archived.
    assert_eq!(site.number("SELECT count(*) FROM sync_holds"), 0);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    // What HubSpot has archived meanwhile is deleted on both sides.
    archive(&portal, ann);
    site.execute("DELETE FROM contacts WHERE local_id = 1");
    site.once();
    assert_eq!(site.text(rows).as_deref(), Some("2 Oslo"));
}

#[test]
fn records_that_only_programs_make_come_in_where_a_row_means_them() {
    let portal = Portal::quick();
    let ann = contact(&portal, "ann@example.com");
    portal.contact("bob@example.com");
    let site = site(&portal, "new_records = \"from_local\"");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 0);
    site.execute("INSERT INTO contacts (email) VALUES ('Ann@Example.com'), ('cid@example.com')");
    site.once();
    let rows = "SELECT group_concat(email || ' ' || coalesce(first_name, '-'), '; ') FROM (SELECT * FROM contacts ORDER BY local_id)";
    assert_eq!(
        site.text(rows).as_deref(),
        Some("ann@example.com Ann; cid@example.com -")
    );
    let linked = format!("SELECT hs_id = {ann} FROM contacts WHERE local_id = 1");
    assert_eq!(site.number(&linked), 1);
    assert_eq!(portal.contacts(), 3);
    // What is linked goes both ways; what is not stays away, also when it is edited.
    portal.edit(ann, &[("city", "Oslo")]);
    let dan = portal.contact("dan@example.com");
    portal.edit(dan, &[("city", "Oslo")]);
    compare(&site);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 2);
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Oslo'"),
        1
    );
}

#[test]
fn a_row_that_only_links_waits_dead_for_its_record() {
    for mode in ["from_hubspot", "none"] {
        let portal = Portal::quick();
        contact(&portal, "ann@example.com");
        let mut site = site(&portal, &format!("new_records = \"{mode}\""));
        site.start_and_load();
        let loaded = i64::from(mode == "from_hubspot");
        assert_eq!(
            site.number("SELECT count(*) FROM contacts"),
            loaded,
            "{mode}"
        );
        site.execute("INSERT INTO contacts (email) VALUES ('bob@example.com')");
        site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
        let explanation = site
            .text("SELECT last_error FROM sync_outbox")
            .expect("words");
        assert!(
            explanation.ends_with(&format!("[{}]", produces("no-record-to-link"))),
            "{explanation}"
        );
        assert_eq!(portal.contacts(), 1);
        assert_eq!(site.number("SELECT failing FROM sync_status"), 1);
        let bob = portal.contact("bob@example.com");
        site.until_sql(&format!(
            "SELECT count(*) FROM contacts WHERE email = 'bob@example.com' AND hs_id = {bob}"
        ));
        site.until_sql("SELECT failing = 0 AND dead = 0 FROM sync_status");
        site.until_sql(&format!(
            "SELECT count(*) = {loaded} + 1 FROM contacts WHERE first_name = 'Ann'"
        ));
        assert_eq!(portal.contacts(), 2);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_row_that_only_links_is_told_which_row_its_record_is() {
    let portal = Portal::quick();
    let mut site = site(&portal, "new_records = \"from_hubspot\"");
    site.start_and_load();
    site.execute("INSERT INTO contacts (email) VALUES ('bob@example.com'), ('bob@example.com')");
    site.until_sql("SELECT count(*) = 2 FROM sync_outbox WHERE code = 'no-record-to-link'");
    let bob = portal.contact("bob@example.com");
    site.until_sql(&format!(
        "SELECT count(*) FROM sync_outbox WHERE code = '{}'",
        produces("record-of-another-row")
    ));
    let explanation = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("words");
    let expected = format!(
        "contacts row 2 has the email of row 1, which is HubSpot record {bob} [record-of-another-row]"
    );
    assert_eq!(explanation, expected);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_record_that_one_side_made_or_took_away_is_one_row_of_the_history() {
    let portal = Portal::quick();
    let site = site(&portal, "");
    site.once();
    site.execute("INSERT INTO contacts (email, first_name) VALUES ('bob@example.com', 'Bob')");
    site.once();
    let ann = portal.contact("ann@example.com");
    site.once();
    site.execute("DELETE FROM contacts WHERE first_name = 'Bob'");
    site.once();
    archive(&portal, ann);
    compare(&site);
    assert_eq!(
        whole(&site),
        "made Bob push; made Ann poll; gone Bob push; gone Ann reconcile"
    );
    assert_eq!(site.number("SELECT count(*) FROM sync_history"), 4);
}

/// Whether the tokens' user sees a record from now on.
fn show(portal: &Portal, id: u64, is_seen: bool) {
    let mut stand = portal.stand();
    let hidden = &mut stand.settings_mut().hidden;
    match is_seen {
        true => hidden.remove(&id),
        false => hidden.insert(id),
    };
}

#[test]
fn what_a_users_token_does_not_see_stays_until_the_archive_shows_it() {
    let portal = Portal::quick();
    let names = ["ann", "bob", "cid", "dan", "eve"];
    let ids = names.map(|name| contact(&portal, &format!("{name}@example.com")));
    let [ann, bob, cid, dan, eve] = ids;
    let site = site(&portal, "");
    let file = std::fs::read_to_string(site.path("config.toml")).expect("written");
    let file = file.replace("[auth]\n", "[auth]\nsees = \"user\"\n");
    std::fs::write(site.path("config.toml"), file).expect("written");
    site.once();
    // Hidden from the user, and archived, which the list of archived records alone tells.
    portal.stand().settings_mut().archived_by_id = false;
    show(&portal, ann, false);
    show(&portal, bob, false);
    archive(&portal, cid);
    let now = portal.now_ms();
    let survivor = portal.stand().merge("contacts", dan, eve, now);
    archive(&portal, survivor.expect("they are merged"));
    compare(&site);
    let left = "SELECT group_concat(hs_id, ' ') FROM (SELECT hs_id FROM contacts ORDER BY hs_id)";
    assert_eq!(site.text(left), Some(format!("{ann} {bob}")));
    assert_eq!(site.number("SELECT unseen FROM sync_status"), 2);
    // What programs write of them waits dead, and no record is archived unseen.
    site.execute(&format!(
        "UPDATE contacts SET city = 'Lima' WHERE hs_id = {ann}"
    ));
    site.execute(&format!("DELETE FROM contacts WHERE hs_id = {bob}"));
    site.once();
    let dead = format!(
        "SELECT group_concat(operation, ' ') FROM (SELECT operation FROM sync_outbox
         WHERE state = 'dead' AND last_error LIKE '%[{}]' ORDER BY operation)",
        produces("not-visible")
    );
    assert_eq!(site.text(&dead).as_deref(), Some("archive update"));
    assert!(portal.value(bob, "email").is_some());
    // A comparison that sees them lets both go on.
    show(&portal, ann, true);
    show(&portal, bob, true);
    compare(&site);
    site.once();
    assert_eq!(portal.value(ann, "city").as_deref(), Some("Lima"));
    assert_eq!(portal.value(bob, "email"), None);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(site.number("SELECT unseen FROM sync_status"), 0);
}

#[test]
fn an_association_with_a_record_that_the_user_does_not_see_stays() {
    let portal = Portal::quick();
    let day_ago = portal.now_ms() - 86_400_000;
    let [ann, bob, cid] =
        ["ann", "bob", "cid"].map(|name| contact(&portal, &format!("{name}@example.com")));
    let [acme, beta] = ["Acme", "Beta"].map(|name| {
        let mut stand = portal.stand();
        stand.create("companies", &[("name", name)], day_ago)
    });
    for (contact, company) in [(ann, acme), (bob, beta)] {
        let ends = (("contacts", contact), ("companies", company));
        assert!(portal.stand().associate(ends.0, ends.1, day_ago));
    }
    let site = Site::with(&portal, "", OBJECTS);
    let file = std::fs::read_to_string(site.path("config.toml")).expect("written");
    let file = file.replace("[auth]\n", "[auth]\nsees = \"user\"\n");
    std::fs::write(site.path("config.toml"), file).expect("written");
    site.once();
    let linked = "SELECT group_concat(line) FROM (SELECT DISTINCT c.hs_id || ' ' || o.hs_id AS line FROM associations AS a
         JOIN contacts AS c ON c.local_id = a.from_local_id JOIN companies AS o ON o.local_id = a.to_local_id ORDER BY line)";
    let mut all = vec![format!("{ann} {acme}"), format!("{bob} {beta}")];
    assert_eq!(site.text(linked), Some(all.join(",")));
    // One who is hidden where the rows start, and one where they lead.
    show(&portal, ann, false);
    show(&portal, beta, false);
    compare(&site);
    compare(&site);
    assert_eq!(site.text(linked), Some(all.join(",")));
    // What a program names of a record that is hidden is taken, and stays too.
    site.execute(&associate(("contacts", cid), ("companies", beta), 0));
    site.once();
    site.once();
    compare(&site);
    all.push(format!("{cid} {beta}"));
    assert_eq!(site.text(linked), Some(all.join(",")));
    let ends = (("contacts", cid), "companies");
    assert!(!portal.stand().links_of(ends.0, ends.1).is_empty());
}

#[test]
fn a_deletion_that_a_webhook_tells_is_made_anew_with_its_associations() {
    let portal = Portal::quick();
    let day_ago = portal.now_ms() - 86_400_000;
    let ann = contact(&portal, "ann@example.com");
    let acme = portal
        .stand()
        .create("companies", &[("name", "Acme")], day_ago);
    assert!(
        portal
            .stand()
            .associate(("contacts", ann), ("companies", acme), day_ago)
    );
    let door = Door::new();
    let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
    let objects = OBJECTS.replace(
        "[objects.companies]\n",
        "[objects.companies]\non_remote_delete = \"recreate\"\n",
    );
    let mut site = Door::site_with(&portal, &settings, &objects);
    site.start_and_settle();
    site.until_sql(FIRST_PASS);
    door.subscribe(&portal, Webhooks::default());
    let now = portal.now_ms();
    assert!(portal.stand().archive("companies", acme, now));
    site.until_sql(&format!(
        "SELECT count(*) FROM companies WHERE local_id = 1 AND hs_id <> {acme} AND name = 'Acme'"
    ));
    site.until_pushed();
    until_equal(&site, &portal);
    assert_ne!(in_hubspot(&portal), "");
    assert_eq!(portal.stand().count("companies"), 1);
    assert_eq!(site.stop(), 0);
}
