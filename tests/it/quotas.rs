//! Promise 7: the portal's limits are kept, across restarts too.

use std::time::Duration;

use hubsyncd::clock::{Clock, SystemClock};
use hubsyncd::simulator::settings::Settings;

use crate::codes::produces;
use crate::daemon::{Site, eventually};
use crate::portal::Portal;

#[test]
fn no_window_is_ever_overrun_also_across_restarts() {
    let portal = Portal::with(Settings {
        burst_limit: 40,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    });
    portal.fill("contacts", 9_000);
    let mut site = Site::with(
        &portal,
        "[limits]\nburst_per_10_seconds = 40\n",
        crate::daemon::CONTACTS,
    );
    site.start();
    // A restart must not forget what was sent in the last ten seconds, a kill even less.
    for restart in 0..4 {
        let sent = portal.stand().request_log().len();
        eventually("some more requests", || {
            portal.stand().request_log().len() >= sent + 12
        });
        if restart % 2 == 0 {
            site.kill();
        } else {
            assert_eq!(site.stop(), 0);
        }
        site.start();
    }
    site.wait_loaded();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 9_000);
    portal.assert_limits_were_kept();
}

#[test]
fn after_clean_ends_in_a_row_a_start_waits_for_nothing_that_was_not_sent() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let site = Site::new(&portal);
    let clock = SystemClock::new();
    for run in 0..9 {
        let begun = clock.monotonic();
        site.once();
        let took = clock.monotonic().saturating_sub(begun);
        // Far under the window's ten seconds, on a busy machine too.
        assert!(took < Duration::from_secs(6), "run {run} took {took:?}");
    }
    portal.assert_limits_were_kept();
}

#[test]
fn a_spent_day_stops_requests_and_not_local_writes() {
    let portal = Portal::with(Settings {
        daily_limit: 24,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    });
    portal.fill("contacts", 100);
    let mut site = Site::with(
        &portal,
        "[limits]\nper_day = 24\nreserve_for_push = 0.25\n",
        crate::daemon::CONTACTS,
    );
    site.start_and_load();
    site.until_sql(&format!(
        "SELECT replace(state, '_', '-') = '{}' FROM sync_health",
        produces("out-of-quota")
    ));
    // Polling may not eat the reserve: a local write still goes out.
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    eventually("the reserve is for pushes", || {
        portal.count_with("city", "Lima") == 1
    });
    assert!(portal.stand().request_log().len() <= 24);
    portal.assert_limits_were_kept();
    assert_eq!(site.stop(), 0);
}

#[test]
fn throttling_by_somebody_else_is_waited_out() {
    use hubsyncd::simulator::faults::FaultKind;
    let portal = Portal::quick();
    portal.fill("contacts", 300);
    portal.script(FaultKind::RateLimited, 2, "/contacts");
    let site = Site::new(&portal);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 300);
    assert!(site.number("SELECT sum(throttled) FROM sync_requests") >= 1);
}
