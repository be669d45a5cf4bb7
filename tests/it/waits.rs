//! What waits for a time: it asks when that time has come, and no clock that was ahead makes it wait for hours.

use std::time::Duration;

use hubsyncd::clock::{Clock as _, SystemClock};
use hubsyncd::simulator::faults::{FaultKind, Script};
use hubsyncd::simulator::settings::Settings;
use rusqlite::config::DbConfig;

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;
use crate::reads::{archive_property, make_property};

#[test]
fn a_write_of_a_program_whose_clock_is_ahead_is_pushed_at_once() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    // What its triggers would have written there.
    let program = site.program();
    program
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("no guards");
    let ahead = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+8 hours')";
    let changed = program
        .execute(
            &format!("UPDATE sync_outbox SET enqueued_at = {ahead}, next_attempt_at = {ahead}"),
            [],
        )
        .expect("written");
    assert_eq!(changed, 1);
    site.once();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
}

#[test]
fn a_pending_entry_that_waits_for_later_is_retried_too() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    let program = site.program();
    program
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("no guards");
    program
        .execute(
            "UPDATE sync_outbox
             SET attempts = 3, next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+4 minutes')",
            [],
        )
        .expect("written");
    let retried = site.run(&["outbox", "retry"]);
    assert!(retried.status.success());
    let explanation = String::from_utf8_lossy(&retried.stdout).into_owned();
    assert!(
        explanation.starts_with("1 entry is due again"),
        "{explanation}"
    );
    site.once();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
}

#[test]
fn a_run_that_ends_waits_for_no_degraded_field() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    make_property(&portal, "contacts", "nickname", false);
    let site = Site::with(&portal, "", &format!("{CONTACTS}nickname = \"nickname\"\n"));
    site.once();
    archive_property(&portal, "contacts", "nickname");
    site.execute("UPDATE contacts SET nickname = 'Annie'");
    let clock = SystemClock::new();
    for run in 1..=3 {
        let begun = clock.monotonic();
        let ended = site.run(&["once", "--timeout", "15m"]);
        let took = clock.monotonic().saturating_sub(begun);
        assert!(took < Duration::from_mins(1), "run {run} took {took:?}");
        assert_eq!(ended.status.code(), Some(1), "run {run}");
        let explanation = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(
            explanation.contains(&format!(
                "ended early: 1 change still waits to be pushed [{}]\n",
                produces("work-left")
            )),
            "{explanation}"
        );
        assert!(
            explanation.contains("warning: contacts.nickname: "),
            "{explanation}"
        );
    }
    make_property(&portal, "contacts", "nickname", false);
    site.once();
    assert_eq!(portal.value(id, "nickname").as_deref(), Some("Annie"));
}

#[test]
fn a_run_that_ends_before_the_day_does_not_wait_for_the_next_one() {
    let portal = Portal::with(Settings {
        daily_limit: 24,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    });
    portal.fill("contacts", 3_000);
    let site = Site::with(&portal, "[limits]\nper_day = 24\n", CONTACTS);
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let ended = site.run(&["once", "--timeout", "10m"]);
    let took = clock.monotonic().saturating_sub(begun);
    assert!(took < Duration::from_mins(1), "it took {took:?}");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn an_answer_that_makes_no_sense_is_asked_for_a_few_times_and_its_object_says_so() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let site = Site::new(&portal);
    // Half of the JSON; lists are the only reads by GET of an object's records.
    let script = Script {
        method: Some("GET".to_owned()),
        ..Script::new(FaultKind::TruncatedJson, 1_000_000, "/objects/")
    };
    portal.stand().faults_mut().script(script);
    let ended = site.run(&["once", "--timeout", "10m"]);
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("a body that can't be read"), "{told}");
    assert_eq!(portal.pages("contacts"), 4);
    let explanation = site
        .text("SELECT last_error FROM sync_status")
        .expect("a sentence");
    assert!(
        explanation.contains("a body that can't be read"),
        "{explanation}"
    );
    portal.stand().faults_mut().calm();
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 1);
}
