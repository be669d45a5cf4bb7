//! The whole engine under virtual time with seeded faults: chaos first, then calm, every promise checked.
//!
//! `HUBSYNC_SIM_SEED=7` replays one seed and prints its whole trace; `HUBSYNC_SIM_SEEDS=N` and `HUBSYNC_SIM_SECONDS=S`
//! choose how many are run, from `HUBSYNC_SIM_FIRST=N` on. A seed that fails is made smaller for `HUBSYNC_SIM_SHRINK=S` seconds
//! and printed as a list, for `tests/sim/found/`; `HUBSYNC_SIM_PLAN=FILE` plays such a list and prints its whole trace.

mod causes;
mod chaos;
mod checks;
mod cut;
mod daemon;
mod executor;
mod harm;
mod links;
mod load;
mod local;
mod model;
mod model_existence;
mod model_links;
mod model_options;
mod operators;
mod people;
mod plan;
mod points;
mod run;
mod script;
mod shrink;
mod tally;
mod trace;
mod values;
mod world;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use cut::Cut;
use plan::Plan;
use run::{Outcome, run_plan, run_seed};

/// One seed in this many is run twice and must give the same trace.
const TWICE: u64 = 100;
/// The first seed of an ordinary run.
const FIRST: u64 = 1;
/// How many parts the seeds are run in, side by side.
const PARTS: u64 = 2;
/// How long a part goes on drawing seeds where nothing else is said: the same ones on every machine.
const SECONDS: u64 = 0;
/// Fewer seeds than this test too little: a part on a slow machine goes on beyond its time until it has them.
const LEAST: u64 = 140;
/// So many seeds reach also what is seldom.
const MANY: u64 = 3_000;
/// How long a plan that fails is made smaller.
const SHRINK_SECONDS: u64 = 60;
/// What an ordinary run reaches, a line each: `often`, or `seldom` where it takes many seeds.
const REACHED: &str = include_str!("reached.txt");

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn report(seed: u64, outcome: &Outcome) -> Option<String> {
    let (what, trace) = outcome.broken.as_ref()?;
    Some(format!(
        "seed {seed}: {what}\nreplay: HUBSYNC_SIM_SEED={seed} cargo nextest run --test sim\n{trace}\nseed {seed}: {what}"
    ))
}

/// By what two failures are the same: the promise that is broken.
fn kind_of_failure(what: &str) -> String {
    let explanation = what.chars().filter(|letter| !letter.is_ascii_digit());
    explanation.take(12).collect()
}

/// What is broken under a plan, if anything is; a panic too.
fn broken(plan: Plan) -> Option<String> {
    let run = std::panic::AssertUnwindSafe(|| run_plan(plan, false).broken);
    match std::panic::catch_unwind(run) {
        Ok(broken) => broken.map(|(what, _)| what),
        Err(_) => Some("a panic, see above".to_owned()),
    }
}

/// A seed that fails, as small as it gets in the time that there is.
fn smaller(seed: u64, what: &str) -> Option<String> {
    let time = setting("HUBSYNC_SIM_SHRINK").unwrap_or(SHRINK_SECONDS);
    if time == 0 {
        return None;
    }
    let kind = kind_of_failure(what);
    let cut = shrink::shrink(
        Cut::of(&Plan::draw(seed)),
        Duration::from_secs(time),
        &|cut| broken(cut.plan()).is_some_and(|what| kind_of_failure(&what) == kind),
    );
    let what = broken(cut.plan()).unwrap_or_default();
    Some(format!("# {what}\n{cut}"))
}

#[derive(Default)]
struct Happened {
    kinds: BTreeMap<&'static str, u64>,
    reached: BTreeMap<String, u64>,
}

impl Happened {
    fn add(&mut self, outcome: &Outcome) {
        for (kind, times) in &outcome.happened {
            *self.kinds.entry(kind).or_default() += times;
        }
        for (what, times) in &outcome.reached {
            *self.reached.entry(what.clone()).or_default() += times;
        }
    }

    /// What should have been reached by so many seeds and was not.
    fn never(&self, seeds: u64) -> Vec<String> {
        if seeds < LEAST {
            return Vec::new();
        }
        let kinds = self.kinds.iter();
        let mut never: Vec<String> = kinds
            .filter(|(_, times)| **times == 0)
            .map(|(kind, _)| (*kind).to_owned())
            .collect();
        let listed = REACHED.lines().filter_map(|line| line.split_once(' '));
        let due = listed.filter(|(how, _)| *how == "often" || seeds >= MANY);
        let missing = due.filter(|(_, what)| !self.reached.contains_key(*what));
        never.extend(missing.map(|(_, what)| what.to_owned()));
        never
    }

    /// What was reached and is not listed.
    fn unlisted(&self) -> Vec<&String> {
        let listed: BTreeSet<&str> = REACHED
            .lines()
            .filter_map(|line| line.split_once(' ').map(|(_, what)| what))
            .collect();
        let reached = self.reached.keys();
        reached
            .filter(|what| !listed.contains(what.as_str()))
            .collect()
    }
}

fn check(seed: u64, happened: &mut Happened) -> Result<(), String> {
    let first = run_seed(seed, false);
    happened.add(&first);
    if let Some(report) = report(seed, &first) {
        return Err(report);
    }
    if seed.is_multiple_of(TWICE) {
        let second = run_seed(seed, false);
        if second.digest != first.digest {
            return Err(format!(
                "seed {seed}: two runs differ: {:?} and {:?}",
                first.digest, second.digest
            ));
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test bounds its own real time"
)]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}

/// Runs every `PARTS`th seed until all were run, or the time is over and at least `least` were; how many, what happened,
/// and the failures.
fn run_many(
    part: u64,
    first: u64,
    most: u64,
    least: u64,
    time: Duration,
) -> (u64, Happened, Vec<String>) {
    let mut happened = Happened::default();
    let begun = started();
    let go_on = std::env::var_os("HUBSYNC_SIM_GO_ON").is_some();
    let (mut done, mut failures) = (0, Vec::new());
    for seed in (first..first.saturating_add(most)).filter(|seed| seed % PARTS == part) {
        let enough = done >= least && begun.elapsed() >= time;
        if enough || (!failures.is_empty() && !go_on) {
            break;
        }
        let run = std::panic::AssertUnwindSafe(|| check(seed, &mut happened));
        let checked = std::panic::catch_unwind(run);
        if let Err(report) =
            checked.unwrap_or_else(|_| Err(format!("seed {seed}: a panic, see above")))
        {
            failures.push(report);
        }
        done += 1;
    }
    (done, happened, failures)
}

fn run_part(part: u64) {
    if let Some(seed) = setting("HUBSYNC_SIM_SEED") {
        if seed % PARTS == part
            && let Some(report) = report(seed, &run_seed(seed, true))
        {
            panic!("{report}");
        }
        return;
    }
    let first = setting("HUBSYNC_SIM_FIRST").unwrap_or(FIRST);
    let most = setting("HUBSYNC_SIM_SEEDS").unwrap_or(u64::MAX);
    let asked = setting("HUBSYNC_SIM_SECONDS");
    // Whoever asks for less time gets fewer seeds; an ordinary run must be worth its name.
    let least = if asked.is_some() { 0 } else { LEAST };
    let time = Duration::from_secs(asked.unwrap_or(SECONDS));
    let (done, happened, failures) = run_many(part, first, most, least, time);
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "part {part}: {done} seeds from {first} were run, {} failed",
        failures.len()
    )
    .expect("stderr");
    for (kind, times) in &happened.kinds {
        writeln!(out, "{times:>8} {kind}").expect("stderr");
    }
    for (what, times) in &happened.reached {
        writeln!(out, "{times:>8} {what}").expect("stderr");
    }
    let never = happened.never(done);
    writeln!(out, "never reached: {never:#?}").expect("stderr");
    writeln!(out, "reached and not listed: {:#?}", happened.unlisted()).expect("stderr");
    for failure in &failures {
        writeln!(out, "{failure}\n").expect("stderr");
        let line = failure.lines().next().unwrap_or_default();
        let named = line
            .strip_prefix("seed ")
            .and_then(|rest| rest.split_once(": "));
        if let Some((seed, what)) = named
            && let Some(small) = seed.parse().ok().and_then(|seed| smaller(seed, what))
        {
            writeln!(out, "{small}").expect("stderr");
        }
    }
    assert!(
        failures.is_empty(),
        "{}",
        failures[0].lines().next().unwrap_or_default()
    );
    assert!(never.is_empty(), "the seeds no longer test this: {never:?}");
}

/// Two parts, each a process of its own under nextest: the seeds of one process would wait for each other's allocator.
#[test]
fn every_promise_holds_under_every_even_seed() {
    run_part(0);
}

#[test]
fn every_promise_holds_under_every_odd_seed() {
    run_part(1);
}

/// Plans that once failed, cut down to what it took.
#[test]
fn what_was_found_once_is_mended() {
    if let Some(path) = std::env::var_os("HUBSYNC_SIM_PLAN") {
        let text = std::fs::read_to_string(path).expect("a text");
        let plan = Cut::parse(&text).expect("a plan").plan();
        if let Some(report) = report(plan.seed, &run_plan(plan.clone(), true)) {
            panic!("{report}");
        }
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/found");
    let mut played = 0;
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|ending| ending != "plan") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let cut = Cut::parse(&text).unwrap_or_else(|| panic!("{} is no plan", path.display()));
        assert_eq!(broken(cut.plan()), None, "{}", path.display());
        played += 1;
    }
    assert!(played > 0, "none is kept");
}
