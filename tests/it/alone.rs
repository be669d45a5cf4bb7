//! Promise 12: one daemon a database, one portal a database, and a file that is replaced under the daemon.

use hubsyncd::simulator::settings::DEFAULT_TOKEN;

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;

#[test]
fn a_second_daemon_ends_before_its_first_request_and_names_the_first() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::with(&portal, "[schedule]\npoll = \"1h\"\n", CONTACTS);
    site.start_and_settle();
    let pid = site.number("SELECT pid FROM sync_health");
    let before = portal.stand().request_log().len();
    let second = site.run(&["once"]);
    assert_eq!(second.status.code(), Some(1));
    let explanation = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        explanation.contains(&pid.to_string()) && says(&explanation, produces("held-by-another")),
        "{explanation}"
    );
    assert_eq!(portal.stand().request_log().len(), before);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_file_that_is_replaced_ends_the_daemon_and_is_not_written_to() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_load();
    std::fs::rename(site.path("crm.db"), site.path("moved.db")).expect("moved");
    rusqlite::Connection::open(site.path("crm.db"))
        .and_then(|other| {
            other.execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);")
        })
        .expect("somebody else's file");
    let before = std::fs::read(site.path("crm.db")).expect("read");
    assert_eq!(site.ended(), 1);
    assert_eq!(std::fs::read(site.path("crm.db")).expect("read"), before);
    let log = site.log();
    assert!(
        log.contains("replaced") && says(&log, produces("database-replaced")),
        "{log}"
    );
}

#[test]
fn a_file_that_is_removed_ends_the_daemon() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_load();
    for name in ["crm.db", "crm.db-wal", "crm.db-shm"] {
        std::fs::remove_file(site.path(name)).expect("removed");
    }
    assert_eq!(site.ended(), 1);
}

#[test]
fn a_file_that_is_removed_while_hubspot_is_waited_for_ends_the_daemon() {
    let portal = Portal::quick();
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    let mut site = Site::new(&portal);
    site.start();
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    for name in ["crm.db", "crm.db-wal", "crm.db-shm"] {
        std::fs::remove_file(site.path(name)).expect("removed");
    }
    assert_eq!(site.ended(), 1);
    assert!(site.log().contains("removed or replaced"), "{}", site.log());
}

#[test]
fn another_portal_s_token_ends_the_start_with_78() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let site = Site::new(&portal);
    site.once();
    let other = Portal::with(hubsyncd::simulator::settings::Settings {
        portal_id: 4_711,
        ..hubsyncd::simulator::settings::Settings::default()
    });
    site.configure(&other, "", CONTACTS);
    let output = site.run(&["once"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(says(&told, produces("other-portal")), "{told}");
    // A daemon's log has the same code.
    let output = site.run(&["run"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert!(says(&log, "other-portal"), "{log}");
    assert_eq!(other.requests("/contacts"), 0, "nothing was read from it");
}

#[test]
fn a_kill_leaves_the_database_free_for_the_next_start() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.kill();
    site.start();
    // The killed one's row looks alive for 30 seconds: the pid tells them apart.
    site.wait_loaded();
    assert_eq!(site.stop(), 0);
}
