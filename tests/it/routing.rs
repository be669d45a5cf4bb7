//! The manual's way to route leads: its page runs as it stands, gives each lead one owner whatever is killed, and is quick.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hubsyncd::clock::{Clock, SystemClock};
use hubsyncd::simulator::settings::Settings;
use hubsyncd::simulator::webhooks::Webhooks;
use serde_json::{Value, json};

use crate::daemon::{Site, eventually, wait};
use crate::manual::blocks;
use crate::portal::Portal;
use crate::webhooks::Door;

const PAGE: &str = include_str!("../../docs/routing.md");

/// What HubSpot takes for each answer.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Owners of the simulator's catalogue.
const MARIA: &str = "41629779";
const TOM: &str = "41629780";
const YUKI: &str = "41629782";
const ELENA: &str = "41629790";

/// The page's own program beside the daemon.
struct Router(Child);

impl Router {
    fn of(site: &Site) -> Self {
        let programs = blocks(PAGE, "python");
        let program = programs
            .iter()
            .find(|text| text.starts_with("# python: routing\n"));
        let child = Command::new("python3")
            .args(["-c", program.expect("the page's program"), "crm.db"])
            .current_dir(site.path(""))
            .stdout(Stdio::null())
            .spawn()
            .expect("python3 runs");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may be over.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A daemon that hears of new leads, with the page's tables.
fn begun(portal: &Portal) -> Site {
    let door = Door::new();
    let properties = blocks(PAGE, "toml").join("\n");
    let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
    let mut site = Door::site_with(portal, &settings, &properties);
    site.start_and_settle();
    site.until_sql("SELECT count(*) > 3 FROM owners WHERE archived = 0");
    door.until_open();
    door.subscribe(portal, Webhooks::default());
    let tables = blocks(PAGE, "sql").remove(0);
    site.program()
        .execute_batch(&tables)
        .expect("the page's tables");
    site
}

/// People who are at work at every hour of every day.
fn people(site: &Site, lines: &[(&str, &str, u32)]) {
    for (name, country, most) in lines {
        site.execute(&format!(
            "INSERT INTO routing_people (email, country, most, days, opens, closes)
             SELECT email, '{country}', {most}, '1234567', '00:00', '24:00' FROM owners WHERE first_name = '{name}'"
        ));
    }
}

fn lead(portal: &Portal, email: &str, country: &str) -> u64 {
    let lead = [
        ("email", email),
        ("country", country),
        ("lifecyclestage", "lead"),
    ];
    let now = portal.now_ms();
    portal.stand().create("contacts", &lead, now)
}

fn owner(portal: &Portal, id: u64) -> Option<String> {
    portal.value(id, "hubspot_owner_id")
}

/// How often HubSpot's owner of a lead was another one.
fn times_given(portal: &Portal, id: u64) -> usize {
    let path = format!("/crm/objects/2026-03/contacts/{id}?propertiesWithHistory=hubspot_owner_id");
    let (status, record) = portal.call("GET", &path, &Value::Null);
    assert_eq!(status, 200, "{record}");
    let history = record["propertiesWithHistory"]["hubspot_owner_id"].as_array();
    history.map_or(0, |entries| {
        let given = entries.iter().filter(|entry| entry["value"] != json!(""));
        given.count()
    })
}

#[test]
fn a_lead_goes_to_whoever_of_its_territory_is_at_work_and_has_the_least() {
    let portal = Portal::quick();
    let site = begun(&portal);
    people(
        &site,
        &[
            ("Maria", "Sweden", 2),
            ("Tom", "Japan", 4),
            ("Yuki", "Japan", 2),
            ("Elena", "*", 9),
        ],
    );
    // Somebody who never is at work.
    site.execute(
        "INSERT INTO routing_people (email, country, most, days) SELECT email, 'Italy', 9, '' FROM owners WHERE first_name = 'Elena'",
    );
    let _router = Router::of(&site);
    let owned = |id: u64| {
        eventually("it has an owner", || owner(&portal, id).is_some());
        owner(&portal, id).expect("an owner")
    };
    let mut of_japan = Vec::new();
    for number in 0..6 {
        let id = lead(&portal, &format!("japan{number}@example.com"), "Japan");
        of_japan.push(owned(id));
    }
    let count = |whose: &str| of_japan.iter().filter(|owner| *owner == whose).count();
    assert_eq!((count(TOM), count(YUKI)), (4, 2), "{of_japan:?}");
    assert_eq!(owned(lead(&portal, "s1@example.com", "Sweden")), MARIA);
    assert_eq!(owned(lead(&portal, "s2@example.com", "Sweden")), MARIA);
    assert_eq!(owned(lead(&portal, "peru@example.com", "Peru")), ELENA);
    // Nobody has room, or is at work: the lead waits for them.
    let full = lead(&portal, "s3@example.com", "Sweden");
    let closed = lead(&portal, "italy@example.com", "Italy");
    // A contact that is no lead is nobody's.
    let now = portal.now_ms();
    let other = [
        ("email", "other@example.com"),
        ("country", "Peru"),
        ("lifecyclestage", "customer"),
    ];
    let other = portal.stand().create("contacts", &other, now);
    assert_eq!(owned(lead(&portal, "peru2@example.com", "Peru")), ELENA);
    let waiting =
        "SELECT count(*) = 2 FROM contacts WHERE lifecycle_stage = 'lead' AND owner_id IS NULL";
    site.until_sql(waiting);
    site.execute("UPDATE routing_people SET most = 3 WHERE country = 'Sweden'");
    assert_eq!(owned(full), MARIA);
    assert_eq!(owner(&portal, closed), None);
    site.execute("UPDATE routing_people SET days = '1234567', opens = '00:00', closes = '24:00' WHERE country = 'Italy'");
    assert_eq!(owned(closed), ELENA);
    assert_eq!(owner(&portal, other), None);
    let log = "SELECT count(*) = count(DISTINCT local_id) FROM routing_log WHERE why LIKE '% has % of % and takes %'";
    assert_eq!(site.number(log), 1);
}

#[test]
fn a_kill_at_any_moment_loses_no_lead_and_gives_none_away_twice() {
    let portal = Portal::quick();
    let mut site = begun(&portal);
    people(&site, &[("Maria", "*", 1_000), ("Tom", "*", 1_000)]);
    let mut leads = Vec::new();
    let mut more = |many: usize| {
        for _ in 0..many {
            let number = leads.len();
            leads.push(lead(&portal, &format!("lead{number}@example.com"), "Peru"));
        }
    };
    // Leads come while nobody routes, while two do, and around kills of the router and of the daemon.
    more(5);
    for round in 0..4 {
        let (first, second) = (Router::of(&site), Router::of(&site));
        more(5);
        let routed = format!("SELECT count(*) >= {} FROM routing_log", 5 + 8 * round);
        site.until_sql(&routed);
        first.kill();
        more(3);
        second.kill();
        if round == 1 {
            site.kill();
            site.start();
        }
    }
    let _router = Router::of(&site);
    eventually("each lead has an owner", || {
        leads.iter().all(|id| owner(&portal, *id).is_some())
    });
    site.until_pushed();
    for id in &leads {
        assert_eq!(times_given(&portal, *id), 1, "{id}");
    }
    assert_eq!(
        site.number("SELECT count(*) FROM routing_log"),
        leads.len() as i64
    );
    let both = "SELECT count(DISTINCT owner_id) FROM contacts";
    assert_eq!(site.number(both), 2);
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
}

#[test]
fn an_owner_whom_somebody_has_chosen_in_hubspot_stays() {
    let portal = Portal::quick();
    let site = begun(&portal);
    people(&site, &[("Maria", "*", 9)]);
    site.execute("INSERT INTO sync_commands (command, argument) VALUES ('pause', 'push')");
    site.until_sql("SELECT state = 'paused' FROM sync_health");
    let id = lead(&portal, "ann@example.com", "Peru");
    let _router = Router::of(&site);
    site.until_sql("SELECT count(*) FROM routing_log");
    portal.stand().settings_mut().webhooks = None;
    portal.edit(id, &[("hubspot_owner_id", TOM)]);
    site.execute("INSERT INTO sync_commands (command, argument) VALUES ('resume', 'push')");
    site.until_pushed();
    assert_eq!(owner(&portal, id).as_deref(), Some(TOM));
    site.until_sql(&format!("SELECT owner_id = {TOM} FROM contacts"));
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE resolution IS NULL"),
        0
    );
}

#[test]
fn from_a_lead_s_webhook_to_its_owner_takes_less_than_a_second_and_two_round_trips() {
    let latency = ROUND_TRIP.as_millis() as u64;
    let portal = Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        latency_min_ms: latency,
        latency_max_ms: latency,
        ..Settings::default()
    });
    let site = begun(&portal);
    people(&site, &[("Maria", "*", 1_000), ("Tom", "*", 1_000)]);
    let _router = Router::of(&site);
    let clock = SystemClock::new();
    let mut took: Vec<Duration> = Vec::new();
    // The first two find program and connections cold.
    for number in 0..26 {
        let begun = clock.monotonic();
        let id = lead(&portal, &format!("lead{number}@example.com"), "Peru");
        while owner(&portal, id).is_none() {
            assert!(clock.monotonic().saturating_sub(begun) < Duration::from_secs(30));
            wait(Duration::from_millis(2));
        }
        took.push(clock.monotonic().saturating_sub(begun));
    }
    let mut warm = took.split_off(2);
    warm.sort_unstable();
    let median = warm[warm.len() / 2];
    eprintln!(
        "from a lead's webhook to its owner: {median:?} at the median, {:?} at the worst",
        warm[warm.len() - 1]
    );
    assert!(median < Duration::from_secs(1) + 2 * ROUND_TRIP, "{warm:?}");
}
