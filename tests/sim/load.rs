//! The walk over a long list in virtual time: how many requests it takes and at which rate, and that nothing is missed where the
//! daemon is killed and people go on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use hubsyncd::model::mapping::{Direction, FieldModes, FirstReadBy, Modes};
use hubsyncd::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::record::Record;
use hubsyncd::simulator::settings::Settings;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::checks;
use crate::links;
use crate::plan::Plan;
use crate::run::{Run, SECOND};
use crate::setting;
use crate::world::{Network, START_MS};

/// Requests in ten seconds.
const BURST: u32 = 190;

/// A portal of contacts alone, so far away, in which nothing goes wrong.
fn plan(latency: Duration, settings: Settings) -> Plan {
    let mut plan = Plan::draw(1);
    plan.mapping
        .objects
        .retain(|object| object.object.as_str() == "contacts");
    plan.mapping.pairs.clear();
    for object in &mut plan.mapping.objects {
        object.modes = Modes::default();
        // What else is read of a record is no part of the list.
        object
            .fields
            .retain(|field| field.property.as_str() != "hs_lead_status");
        for field in &mut object.fields {
            field.modes = FieldModes::default();
        }
    }
    let one_way = latency.as_millis() as u64 / 2;
    Plan {
        settings: Settings {
            burst_limit: BURST,
            ..settings
        },
        network: Network {
            least_ms: one_way,
            most_ms: one_way,
            times_out: 0.0,
        },
        chances: BTreeMap::new(),
        records: 0,
        script: Vec::new(),
        narrow: None,
        reconcile: Duration::from_hours(1_000),
        ..plan
    }
}

fn filled(plan: Plan, records: usize) -> Run {
    let run = Run::new(plan, false);
    let mut state = run.world.state();
    state.points = None;
    state
        .portal
        .fill("contacts", records, START_MS - 86_400_000);
    drop(state);
    run
}

/// What a walk cost.
#[derive(Debug)]
struct Cost {
    lists: usize,
    searches: usize,
    /// From the first list page asked for to the last page of either kind.
    seconds: f64,
    throttled: usize,
}

/// What was asked for since so many requests, until all was in the mirror.
fn cost(run: &Run, since: usize) -> Cost {
    let state = run.world.state();
    let log: Vec<_> = state.portal.request_log().iter().skip(since).collect();
    let times = |method: &str, end: &str| -> Vec<i64> {
        let of = log
            .iter()
            .filter(|one| one.method == method && one.path_template.ends_with(end));
        of.map(|one| one.at_ms).collect()
    };
    let (lists, searches) = (times("GET", "/contacts"), times("POST", "/contacts/search"));
    let first = lists.first().copied().unwrap_or(0);
    let last = lists.last().copied().unwrap_or(0);
    Cost {
        lists: lists.len(),
        // What is polled afterwards is no part of it.
        searches: searches.iter().filter(|at| **at <= last + 500).count(),
        seconds: (last - first) as f64 / 1_000.0,
        throttled: log.iter().filter(|one| one.status == 429).count(),
    }
}

fn until(run: &mut Run, sql: &str) {
    for _ in 0..3_600 {
        run.wait(SECOND).expect("no promise is broken");
        let holds = run
            .programs
            .connection()
            .query_row(sql, [], |row| row.get(0));
        if holds.unwrap_or(false) {
            return;
        }
    }
    panic!("never: {sql}");
}

const LOADED: &str = "SELECT backfill = 'done' FROM sync_status WHERE object = 'contacts'";

fn load(plan: Plan, records: usize) -> (Run, Cost) {
    let mut run = filled(plan, records);
    run.start().expect("a start");
    until(&mut run, LOADED);
    let cost = cost(&run, 0);
    let plan = run.plan.clone();
    checks::both_sides_agree(run.programs.connection(), &run.world, &plan).expect("all of it");
    (run, cost)
}

/// Pages of lists in the seconds between the first and the last, against those that are allowed.
fn share(cost: &Cost) -> f64 {
    cost.lists as f64 / cost.seconds / (f64::from(BURST) / 10.0)
}

/// Whoever measures chooses how many records there are, and how far away they are.
fn measured() -> (usize, Duration) {
    let records = setting("HUBSYNC_LOAD_RECORDS").map_or(20_000, |records| records as usize);
    let latency = setting("HUBSYNC_LOAD_MS").unwrap_or(300);
    (records, Duration::from_millis(latency))
}

/// By lists alone.
fn listed(mut plan: Plan) -> Plan {
    for object in &mut plan.mapping.objects {
        object.modes.backfill = FirstReadBy::ListOnly;
    }
    plan
}

fn tell(what: &str, cost: &Cost) {
    let told = format!(
        "{what}: {cost:?}: {:.3} of what lists are allowed\n",
        share(cost)
    );
    std::io::stdout()
        .write_all(told.as_bytes())
        .expect("a line");
}

#[test]
fn a_first_load_by_lists_and_a_comparison_use_what_is_allowed() {
    let (records, latency) = measured();
    let (mut run, loaded) = load(listed(plan(latency, Settings::default())), records);
    let asked = run.world.state().portal.request_log().len();
    run.daemon.as_ref().expect("a daemon").compare();
    until(
        &mut run,
        "SELECT last_reconcile_at IS NOT NULL FROM sync_status WHERE object = 'contacts'",
    );
    for cost in [loaded, cost(&run, asked)] {
        tell("by lists", &cost);
        // Half a dozen round trips of its beginning and its end are in it.
        assert!(share(&cost) >= 0.86, "{cost:?}");
        assert!(cost.lists <= records / 100 + 12, "{cost:?}");
        assert_eq!(cost.throttled, 0);
    }
}

#[test]
fn searches_beside_the_lists_pass_what_lists_are_allowed() {
    let (records, latency) = measured();
    let (_, cost) = load(plan(latency, Settings::default()), records);
    tell("with searches", &cost);
    let bound = (records / 100) as f64 / (f64::from(BURST) / 10.0);
    assert!(
        cost.seconds <= 0.95 * bound,
        "{bound:.1} s are the lists': {cost:?}"
    );
    assert!(
        cost.lists + cost.searches <= records * 96 / 10_000 + 12,
        "{cost:?}"
    );
    assert_eq!(cost.throttled, 0);
}

/// Requests in ten seconds, where each of them counts.
const FEW: u32 = 20;

/// Contacts and companies that are associated, and twice as many deals as contacts, which are loaded last; read by lists, where
/// HubSpot allows few requests.
fn beside_a_pass(contacts: usize, with_pair: bool) -> Plan {
    let mut plan = listed(plan(Duration::from_millis(300), Settings::default()));
    let of_contacts = plan.mapping.objects[0].clone();
    for (object, property) in [("companies", "name"), ("deals", "dealname")] {
        let mut other = of_contacts.clone();
        other.object = ObjectType::parse(object).expect("a name");
        other.table = TableName::parse(object).expect("a name");
        other.match_property = None;
        other.fields.truncate(1);
        for field in &mut other.fields {
            field.property = PropertyName::parse(property).expect("a name");
            field.column = ColumnName::parse(property).expect("a name");
        }
        plan.mapping.objects.push(other);
    }
    if with_pair {
        plan.mapping.pairs = links::pairs(&plan.mapping.objects, false, || Direction::Both);
        assert_eq!(plan.mapping.pairs.len(), 1);
    }
    plan.narrow = Some(FEW);
    plan.settings.burst_limit = FEW;
    plan.records = contacts;
    plan
}

/// How fast the deals' lists went once the contacts were loaded, in pages a second; the requests of a pass in that time; and those
/// that were refused.
fn speed_beside_a_pass(mut plan: Plan) -> (f64, usize, usize) {
    let contacts = std::mem::take(&mut plan.records);
    let mut run = filled(plan, contacts);
    {
        let mut state = run.world.state();
        for (object, records) in [("companies", 50), ("deals", 2 * contacts)] {
            state.portal.fill(object, records, START_MS - 86_400_000);
        }
        state.portal.fill_links("contacts", "companies");
    }
    run.start().expect("a start");
    until(
        &mut run,
        "SELECT count(*) = 3 FROM sync_status WHERE backfill = 'done'",
    );
    let state = run.world.state();
    let log = state.portal.request_log();
    let times = |method: &str, end: &str| -> Vec<i64> {
        let of = log
            .iter()
            .filter(|one| one.method == method && one.path_template.ends_with(end));
        of.map(|one| one.at_ms).collect()
    };
    let loaded = *times("GET", "/contacts").last().expect("a page");
    let pages: Vec<i64> = times("GET", "/deals");
    let ended = *pages.last().expect("a page");
    let beside = |at: &&i64| (loaded..=ended).contains(*at);
    let seconds = (ended - loaded) as f64 / 1_000.0;
    let passed = times("POST", "/contacts/companies/batch/read");
    (
        pages.iter().filter(beside).count() as f64 / seconds,
        passed.iter().filter(beside).count(),
        log.iter().filter(|one| one.status == 429).count(),
    )
}

/// Bulk reads of associations are outside the ten-second window (`hubspot/api-facts.md#3`): what loads beside them has all of it.
#[test]
fn a_first_load_goes_on_at_its_speed_while_associations_are_read() {
    let contacts = 4_000;
    let (alone, none, _) = speed_beside_a_pass(beside_a_pass(contacts, false));
    let (beside, passed, throttled) = speed_beside_a_pass(beside_a_pass(contacts, true));
    let told = format!("{alone:.3} pages a second, {beside:.3} beside {passed} requests of a pass");
    std::io::stdout()
        .write_all(format!("{told}\n").as_bytes())
        .expect("a line");
    assert_eq!(none, 0);
    assert!(passed >= contacts / 1_000, "{told}");
    assert!(beside >= 0.95 * alone, "{told}");
    assert_eq!(throttled, 0);
}

#[test]
fn a_list_whose_cursor_is_no_id_is_one_chain() {
    let settings = Settings {
        opaque_after: true,
        ..Settings::default()
    };
    let (_, cost) = load(plan(Duration::from_millis(300), settings), 2_000);
    assert_eq!(cost.lists, 21);
}

#[test]
fn kills_edits_and_a_late_index_during_a_load_lose_nothing() {
    for seed in 0..3 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let records = 7_000;
        let settings = Settings {
            index_delay_min_ms: 0,
            index_delay_max_ms: 200_000,
            ..Settings::default()
        };
        let mut run = filled(plan(Duration::from_millis(300), settings), records);
        if seed > 0 {
            // A page of a list or a search misses one of its records.
            let mut state = run.world.state();
            let chances = &mut state.portal.faults_mut().chances;
            chances.insert(FaultKind::MissingRecord, 0.05);
        }
        run.start().expect("a start");
        let mut kills = 0;
        while kills < 4 {
            run.wait(rng.random_range(SECOND / 10..SECOND))
                .expect("no promise is broken");
            people_go_on(&run, &mut rng);
            if rng.random_bool(0.3) {
                run.kill();
                run.start().expect("a start");
                kills += 1;
            }
        }
        until(&mut run, LOADED);
        let cost = cost(&run, 0);
        // Each kill met less than two dozen pages on their way.
        let pages = cost.lists + cost.searches;
        assert!(pages <= records / 100 + 12 + kills * 24, "{cost:?}");
        run.world.state().portal.faults_mut().calm();
        run.wait(300 * SECOND).expect("no promise is broken");
        run.daemon.as_ref().expect("a daemon").compare();
        run.wait(120 * SECOND).expect("no promise is broken");
        let plan = run.plan.clone();
        checks::both_sides_agree(run.programs.connection(), &run.world, &plan).expect("all of it");
    }
}

/// Somebody edits, archives, merges and makes a contact.
fn people_go_on(run: &Run, rng: &mut ChaCha8Rng) {
    let mut state = run.world.state();
    let now = START_MS + (state.steady / 1_000_000) as i64;
    let ids: Vec<u64> = state
        .portal
        .records("contacts")
        .iter()
        .map(Record::id)
        .collect();
    let mut any = || ids[rng.random_range(0..ids.len())];
    let (edited, gone, one, other) = (any(), any(), any(), any());
    state
        .portal
        .edit("contacts", edited, &[("firstname", "Edited")], now);
    state.portal.archive("contacts", gone, now);
    if one != other && one != gone && other != gone {
        state.portal.merge("contacts", one, other, now);
    }
    let email = format!("new{now}@example.com");
    state.portal.create("contacts", &[("email", &email)], now);
}
