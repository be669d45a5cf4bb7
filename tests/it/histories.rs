//! HubSpot's own history of chosen properties (`remote_history = true`): `property_history` and `stage_times`.

use hubsyncd::simulator::webhooks::Webhooks;

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::webhooks::Door;

const DEALS: &str = r#"
[objects.deals.properties]
dealname = "name"
pipeline = "pipeline"
dealstage = { column = "stage", remote_history = true }
"#;

const TOLD: &str = "SELECT count(*) FROM property_history";

/// Requests that asked for histories.
const REQUESTS: &str = "SELECT coalesce(sum(requests), 0) FROM sync_runs WHERE kind = 'history' AND finished_at IS NOT NULL";

fn move_deal(portal: &Portal, id: u64, stage: &str) {
    let now = portal.now_ms();
    let edited = portal
        .stand()
        .edit("deals", id, &[("dealstage", stage)], now);
    assert!(edited, "a deal");
}

#[test]
fn the_stages_of_a_deal_are_told_with_the_time_in_each() {
    let portal = Portal::quick();
    let hour = 3_600_000;
    let began = portal.now_ms() - 3 * hour;
    let first = [
        ("dealname", "Big"),
        ("pipeline", "default"),
        ("dealstage", "appointmentscheduled"),
    ];
    let id = portal.stand().create("deals", &first, began);
    for (stage, hours) in [("qualifiedtobuy", 1), ("appointmentscheduled", 2)] {
        let at = began + hours * hour;
        portal
            .stand()
            .edit("deals", id, &[("dealstage", stage)], at);
    }
    let site = Site::with(&portal, "", DEALS);
    site.once();
    let stays = "SELECT group_concat(stage_id || ' ' || pipeline_id || ' ' || (seconds / 60) || ' ' || (left_at IS NULL), ', ')
         FROM (SELECT * FROM stage_times WHERE object = 'deals' AND local_id = 1 ORDER BY entered_at)";
    assert_eq!(
        site.text(stays).as_deref(),
        Some(
            "appointmentscheduled default 60 0, qualifiedtobuy default 60 0, appointmentscheduled default 60 1"
        )
    );
    assert_eq!(site.number(TOLD), 3);
    let sources = "SELECT count(*) FROM property_history WHERE source_type IS NULL OR value IS NULL OR property <> 'dealstage'";
    assert_eq!(site.number(sources), 0);
    let status = "SELECT last_history_at IS NOT NULL FROM sync_status WHERE object = 'deals'";
    assert_eq!(site.number(status), 1);
    assert_eq!(site.number(REQUESTS), 1);
    // Nothing moved: nothing is asked. What moved is asked for again.
    site.once();
    assert_eq!(site.number(REQUESTS), 1);
    move_deal(&portal, id, "closedwon");
    site.once();
    assert_eq!((site.number(TOLD), site.number(REQUESTS)), (4, 2));
    // A local change is in HubSpot's history too.
    site.execute("UPDATE deals SET stage = 'closedlost'");
    site.once();
    assert_eq!((site.number(TOLD), site.number(REQUESTS)), (5, 3));
    let refused = site.program().execute("DELETE FROM property_history", ());
    assert!(refused.is_err(), "it is hubsyncd's");
}

#[test]
fn histories_are_asked_of_fifty_records_a_request_and_go_with_the_setting() {
    let portal = Portal::quick();
    portal.fill("deals", 120);
    let site = Site::with(&portal, "", &DEALS.replace(", remote_history = true", ""));
    site.once();
    assert_eq!((site.number(TOLD), site.number(REQUESTS)), (0, 0));
    assert_eq!(site.number("SELECT count(*) FROM stage_times"), 0);
    site.configure(&portal, "", DEALS);
    site.once();
    assert_eq!(site.number(REQUESTS), 3);
    let told = "SELECT count(DISTINCT hs_id) FROM property_history";
    assert_eq!(site.number(told), 120);
    site.configure(&portal, "", &DEALS.replace(", remote_history = true", ""));
    site.once();
    assert_eq!(site.number(TOLD), 0);
}

fn contacts() -> String {
    CONTACTS.replace(
        "city = \"city\"",
        "city = { column = \"city\", remote_history = true }",
    )
}

#[test]
fn a_running_daemon_asks_for_the_history_of_what_changed() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("city", "Rome")]);
    let mut site = Site::with(&portal, "", &contacts());
    site.start_and_load();
    site.until_sql(TOLD);
    portal.edit(id, &[("city", "Lima")]);
    site.until_sql("SELECT count(*) FROM property_history WHERE value = 'Lima'");
    assert_eq!(site.stop(), 0);
    assert_eq!(site.number(TOLD), 2);
}

#[test]
fn the_survivor_of_a_merge_tells_the_history_of_both() {
    let portal = Portal::quick();
    let (kept, lost) = (
        portal.contact("kept@example.com"),
        portal.contact("lost@example.com"),
    );
    portal.edit(kept, &[("city", "Rome")]);
    portal.edit(lost, &[("city", "Lima")]);
    let site = Site::with(&portal, "", &contacts());
    site.once();
    assert_eq!(site.number(TOLD), 2);
    let now = portal.now_ms();
    let survivor = portal
        .stand()
        .merge("contacts", kept, lost, now)
        .expect("two records");
    site.once();
    let ids = "SELECT group_concat(DISTINCT hs_id) FROM property_history";
    assert_eq!(site.text(ids), Some(survivor.to_string()));
    assert!(site.number(TOLD) >= 1);
}

#[test]
fn a_privacy_deletion_takes_the_history_too() {
    let portal = Portal::quick();
    let door = Door::new();
    let id = portal.contact("zebulon@example.com");
    let other = portal.contact("other@example.com");
    for id in [id, other] {
        portal.edit(id, &[("city", "Zwolle")]);
    }
    let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
    let mut site = Door::site_with(&portal, &settings, &contacts());
    site.start_and_settle();
    site.until_sql("SELECT count(*) = 2 FROM property_history");
    door.subscribe(&portal, Webhooks::default());
    let now = portal.now_ms();
    assert!(portal.stand().delete_for_good("contacts", id, now));
    site.until_sql("SELECT count(*) = 1 FROM contacts");
    eventually("its history is erased", || site.number(TOLD) == 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_stay_in_a_stage_that_is_gone_has_no_pipeline() {
    let portal = Portal::quick();
    let began = portal.now_ms() - 7_200_000;
    let first = [
        ("dealname", "Big"),
        ("pipeline", "default"),
        ("dealstage", "contractsent"),
    ];
    let id = portal.stand().create("deals", &first, began);
    let won = [("dealstage", "closedwon")];
    portal.stand().edit("deals", id, &won, began + 3_600_000);
    let site = Site::with(&portal, "", DEALS);
    site.once();
    // As if HubSpot had it no longer.
    site.execute_as_daemon("DELETE FROM pipeline_stages WHERE id = 'contractsent'");
    let stays = "SELECT group_concat(coalesce(pipeline_id, 'NULL') || ' ' || (left_at IS NULL), ', ')
         FROM (SELECT * FROM stage_times WHERE stage_id IN ('contractsent', 'closedwon') ORDER BY entered_at)";
    assert_eq!(site.text(stays).as_deref(), Some("NULL 0, default 1"));
}
