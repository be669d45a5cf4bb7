//! Who wins where both sides wrote: what the times of the writes are, what waits for a person, and what is no fight.

use std::process::Command;

use hubsyncd::clock::{Clock as _, SystemClock};

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

const SOON: &str = "[schedule]\npoll = \"1s\"\n";

fn of_policy(portal: &Portal, policy: &str) -> Site {
    let settings = format!("[conflicts]\npolicy = \"{policy}\"\n{SOON}");
    Site::with(portal, &settings, CONTACTS)
}

/// The next write is of a later millisecond.
fn a_moment_later() {
    let clock = SystemClock::new();
    let before = clock.now();
    eventually("a later moment", || clock.now() > before.plus_millis(2));
}

#[test]
fn newest_compares_rows_of_a_first_start_with_the_time_of_their_insert() {
    let portal = Portal::quick();
    portal.fill("contacts", 1);
    let mut site = of_policy(&portal, "newest");
    site.once();
    for name in ["ann", "bob"] {
        site.execute(&format!(
            "INSERT INTO contacts (email, city) VALUES ('{name}@example.com', 'ours')"
        ));
    }
    a_moment_later();
    let (ann, bob) = (
        portal.contact("ann@example.com"),
        portal.contact("bob@example.com"),
    );
    for id in [ann, bob] {
        portal.edit(id, &[("city", "theirs")]);
    }
    a_moment_later();
    site.execute("UPDATE contacts SET city = 'ours again' WHERE email = 'bob@example.com'");
    a_moment_later();
    site.start();
    site.until_sql("SELECT count(*) = 2 FROM sync_conflicts WHERE property = 'city'");
    site.until_pushed();
    assert_eq!(
        site.text("SELECT city FROM contacts WHERE email = 'ann@example.com'")
            .as_deref(),
        Some("theirs")
    );
    assert_eq!(portal.value(ann, "city").as_deref(), Some("theirs"));
    assert_eq!(portal.value(bob, "city").as_deref(), Some("ours again"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_merge_in_hubspot_leaves_an_open_conflict_to_the_person() {
    let portal = Portal::quick();
    let (ann, bob) = (
        portal.contact("ann@example.com"),
        portal.contact("bob@example.com"),
    );
    for id in [ann, bob] {
        portal.edit(id, &[("city", "base")]);
    }
    let mut site = of_policy(&portal, "manual");
    site.once();
    site.execute("UPDATE contacts SET city = 'ours of A' WHERE email = 'ann@example.com'");
    portal.edit(ann, &[("city", "theirs of A")]);
    site.once();
    site.execute("UPDATE contacts SET city = 'ours of B' WHERE email = 'bob@example.com'");
    let now = portal.now_ms();
    let survivor = portal
        .stand()
        .merge("contacts", ann, bob, now)
        .expect("both are there");
    site.start();
    site.until_sql("SELECT count(*) = 1 FROM contacts");
    site.until_pushed();
    let open =
        "SELECT local_value || ' / ' || remote_value FROM sync_conflicts WHERE resolved_at IS NULL";
    assert_eq!(site.text(open).as_deref(), Some("ours of A / theirs of A"));
    assert_eq!(
        site.text("SELECT city FROM contacts").as_deref(),
        Some("ours of A")
    );
    site.until_sql(
        "SELECT count(*) FROM sync_conflicts WHERE local_value = 'ours of B' AND resolved_at IS NOT NULL",
    );
    assert_eq!(
        portal.value(survivor, "city").as_deref(),
        Some("theirs of A")
    );
    site.execute("UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL");
    eventually("the decision is carried out", || {
        portal.value(survivor, "city").as_deref() == Some("ours of A")
    });
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_program_that_toggles_a_field_is_no_fight_and_somebody_who_answers_each_push_is() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    portal.edit(ann, &[("city", "off")]);
    let mut site = of_policy(&portal, "local");
    site.start_and_load();
    let write = |site: &Site, city: &str| {
        site.execute(&format!("UPDATE contacts SET city = '{city}'"));
        eventually("the write in HubSpot", || {
            portal.value(ann, "city").as_deref() == Some(city)
        });
        site.until_pushed();
    };
    for _ in 0..7 {
        write(&site, "on");
        write(&site, "off");
    }
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    for _ in 0..5 {
        write(&site, "ours");
        portal.edit(ann, &[("city", "theirs")]);
        site.until_sql("SELECT count(*) FROM contacts WHERE city = 'theirs'");
    }
    site.execute("UPDATE contacts SET city = 'ours'");
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL");
    site.until_pushed();
    assert_eq!(portal.value(ann, "city").as_deref(), Some("theirs"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_conflict_tells_when_each_side_wrote_its_value_and_who_did_in_hubspot() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    portal.edit(ann, &[("city", "base")]);
    let settings = format!("[conflicts]\npolicy = \"manual\"\n{SOON}");
    let objects = CONTACTS.replace(
        "city = \"city\"",
        "city = { column = \"city\", remote_history = true }",
    );
    let site = Site::with(&portal, &settings, &objects);
    site.once();
    site.execute("UPDATE contacts SET city = 'ours'");
    portal.edit(ann, &[("city", "theirs")]);
    site.once();
    let known = "SELECT c.local_changed_at < c.detected_at AND h.value = c.remote_value
         FROM sync_conflicts AS c
         JOIN property_history AS h ON h.hs_id = c.hs_id AND h.property = c.property
         WHERE c.resolved_at IS NULL ORDER BY h.at DESC LIMIT 1";
    assert_eq!(site.number(known), 1);
    let shown = site.run(&["conflicts", "show", "1"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("written 20").count(), 2, "{shown}");
    assert!(shown.contains(", CRM_UI, userId:"), "{shown}");
    // Somebody is there to be asked.
    let typed = format!(
        "import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv({binary:?}, [{binary:?}, 'conflicts', 'resolve', '--config', 'config.toml'])
os.write(terminal, b'?\\nr\\n')
try:
    while part := os.read(terminal, 4096):
        sys.stdout.buffer.write(part)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))",
        binary = env!("CARGO_BIN_EXE_hubsyncd"),
    );
    let asked = Command::new("python3")
        .args(["-c", &typed])
        .current_dir(site.path(""))
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success(), "{told}");
    assert!(
        told.contains("s: leave it open") && told.contains("HubSpot's value wins"),
        "{told}"
    );
    let resolution = site.text("SELECT resolution FROM sync_conflicts WHERE id = 1");
    assert_eq!(resolution.as_deref(), Some("remote"));
    site.execute("UPDATE sync_conflicts SET resolution = NULL WHERE id = 1");
    // Nobody is.
    let asked = site.run(&["conflicts", "resolve", "--object", "contacts"]);
    assert_eq!(asked.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&asked.stderr),
        format!(
            "hubsyncd: nobody is there to ask, so nothing was done [{}]\n\
             hint: give `--take local`, `--take remote` or `--value TEXT`\n",
            produces("nobody-to-ask")
        )
    );
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE resolution IS NOT NULL"),
        0
    );
}

/// The daemon would give it back a second later, behind a person's back.
#[test]
fn a_value_that_the_type_can_not_hold_is_refused_at_once_and_by_sql_with_its_reason() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    portal.edit(ann, &[("birthday", "2001-01-01")]);
    let settings = format!("[conflicts]\npolicy = \"manual\"\n{SOON}");
    let mut site = Site::with(
        &portal,
        &settings,
        &format!("{CONTACTS}birthday = \"birthday\"\n"),
    );
    site.once();
    site.execute("UPDATE contacts SET birthday = '2002-02-02'");
    portal.edit(ann, &[("birthday", "2003-03-03")]);
    site.once();
    let refused = site.run(&["conflicts", "resolve", "1", "--value", "soon"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        format!(
            "hubsyncd: conflict 1: the value is not a date [{}]\n",
            produces("invalid-date")
        )
    );
    let word = "SELECT resolution FROM sync_conflicts";
    assert_eq!(site.text(word), None);
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&site.run(arguments).stdout).expect("JSON")
    };
    let shown = json(&["conflicts", "show", "1", "--json"]);
    // It tells besides when each side changed, and by whom.
    let listed = json(&["conflicts", "list", "--json"]);
    let listed = listed[0].as_object().expect("a conflict");
    for (column, value) in listed {
        assert_eq!(&shown[column], value, "{column}");
    }
    assert!(listed.contains_key("winner") && shown["local_changed_at"].is_string());
    site.execute("UPDATE sync_conflicts SET resolution = 'value:soon'");
    site.start();
    site.until_sql(
        "SELECT resolution IS NULL AND reason = 'the value is not a date [invalid-date]' FROM sync_conflicts",
    );
    assert_eq!(site.stop(), 0);
    let taken = site.run(&["conflicts", "resolve", "1", "--value", "2004-04-04"]);
    assert!(taken.status.success());
    assert_eq!(site.text(word).as_deref(), Some("value:2004-04-04"));
}
