//! What waits for a time: it asks when that time has come, and no clock that was ahead makes it wait for hours.

use rusqlite::config::DbConfig;

use crate::daemon::Site;
use crate::portal::Portal;

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
    let words = String::from_utf8_lossy(&retried.stdout).into_owned();
    assert!(words.starts_with("1 entry is due again"), "{words}");
    site.once();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
}
