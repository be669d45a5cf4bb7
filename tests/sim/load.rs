//! The walk over a long list in virtual time: how many requests it takes and at which rate, and that nothing is missed where the
//! daemon is killed and people go on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use hubsyncd::model::mapping::{FieldModes, Modes};
use hubsyncd::simulator::record::Record;
use hubsyncd::simulator::settings::Settings;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::checks;
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
    pages: usize,
    /// From the first page asked for to the last one.
    seconds: f64,
    throttled: usize,
}

/// What was asked for since so many requests.
fn cost(run: &Run, since: usize) -> Cost {
    let state = run.world.state();
    let log = state.portal.request_log();
    let asked = log.iter().skip(since);
    let lists = asked.filter(|one| one.method == "GET" && one.path_template.ends_with("/contacts"));
    let times: Vec<i64> = lists.map(|one| one.at_ms).collect();
    let (first, last) = (times.first().copied(), times.last().copied());
    Cost {
        pages: times.len(),
        seconds: (last.unwrap_or(0) - first.unwrap_or(0)) as f64 / 1_000.0,
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

fn load(latency: Duration, settings: Settings, records: usize) -> (Run, Cost) {
    let mut run = filled(plan(latency, settings), records);
    run.start().expect("a start");
    until(&mut run, LOADED);
    let cost = cost(&run, 0);
    let plan = run.plan.clone();
    checks::both_sides_agree(run.programs.connection(), &run.world, &plan).expect("all of it");
    (run, cost)
}

/// Pages in the seconds between the first and the last, against those that are allowed.
fn share(cost: &Cost) -> f64 {
    cost.pages as f64 / cost.seconds / (f64::from(BURST) / 10.0)
}

/// Whoever measures chooses how many records there are, and how far away they are.
fn measured() -> (usize, Duration) {
    let records = setting("HUBSYNC_LOAD_RECORDS").map_or(20_000, |records| records as usize);
    let latency = setting("HUBSYNC_LOAD_MS").unwrap_or(300);
    (records, Duration::from_millis(latency))
}

#[test]
fn a_first_load_and_a_comparison_use_what_is_allowed_whatever_the_latency() {
    let (records, latency) = measured();
    let (mut run, loaded) = load(latency, Settings::default(), records);
    let asked = run.world.state().portal.request_log().len();
    run.daemon.as_ref().expect("a daemon").compare();
    until(
        &mut run,
        "SELECT last_reconcile_at IS NOT NULL FROM sync_status WHERE object = 'contacts'",
    );
    for cost in [loaded, cost(&run, asked)] {
        let told = format!("{cost:?}: {:.3} of what is allowed\n", share(&cost));
        std::io::stdout()
            .write_all(told.as_bytes())
            .expect("a line");
        // Half a dozen round trips of its beginning and its end are in it.
        assert!(share(&cost) >= 0.86, "{cost:?}");
        assert!(cost.pages <= records / 100 + 12, "{cost:?}");
        assert_eq!(cost.throttled, 0);
    }
}

#[test]
fn a_list_whose_cursor_is_no_id_is_one_chain() {
    let settings = Settings {
        opaque_after: true,
        ..Settings::default()
    };
    let (_, cost) = load(Duration::from_millis(300), settings, 2_000);
    assert_eq!(cost.pages, 21);
}

#[test]
fn kills_and_edits_during_a_load_lose_nothing_and_repeat_what_was_under_way_alone() {
    for seed in 0..3 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let records = 4_000;
        let mut run = filled(
            plan(Duration::from_millis(300), Settings::default()),
            records,
        );
        run.start().expect("a start");
        let mut kills = 0;
        while kills < 5 {
            run.wait(rng.random_range(SECOND / 10..SECOND))
                .expect("no promise is broken");
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
            state.portal.create(
                "contacts",
                &[("email", &format!("new{now}@example.com"))],
                now,
            );
            drop(state);
            if rng.random_bool(0.3) {
                run.kill();
                run.start().expect("a start");
                kills += 1;
            }
        }
        until(&mut run, LOADED);
        let pages = cost(&run, 0).pages;
        // Each kill met less than two dozen pages on their way.
        assert!(pages <= records / 100 + 3 + kills * 24, "{pages} pages");
        run.wait(60 * SECOND).expect("no promise is broken");
        run.daemon.as_ref().expect("a daemon").compare();
        run.wait(120 * SECOND).expect("no promise is broken");
        let plan = run.plan.clone();
        checks::both_sides_agree(run.programs.connection(), &run.world, &plan).expect("all of it");
    }
}
