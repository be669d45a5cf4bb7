//! The whole engine under virtual time with seeded faults: chaos first, then calm, every promise checked.
//!
//! `HUBSYNC_SIM_SEED=7` replays one seed and prints its whole trace; `HUBSYNC_SIM_SEEDS=N` and `HUBSYNC_SIM_SECONDS=S`
//! choose how many are run.

mod checks;
mod daemon;
mod executor;
mod local;
mod model;
mod model_existence;
mod people;
mod plan;
mod points;
mod run;
mod trace;
mod values;
mod world;
mod worlds;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use run::{Outcome, run_seed};

/// One seed in this many is run twice and must give the same trace.
const TWICE: u64 = 100;
/// The first seed of an ordinary run.
const FIRST: u64 = 1;
/// How many parts the seeds are run in, side by side.
const PARTS: u64 = 2;
/// How long a part goes on drawing seeds where nothing else is said.
const SECONDS: u64 = 100;
/// Fewer seeds than this test too little: a part on a slow machine goes on beyond its time until it has them.
const LEAST: u64 = 140;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn report(seed: u64, outcome: &Outcome) -> Option<String> {
    let (what, trace) = outcome.broken.as_ref()?;
    Some(format!(
        "seed {seed}: {what}\nreplay: HUBSYNC_SIM_SEED={seed} cargo nextest run --test sim\n{trace}\nseed {seed}: {what}"
    ))
}

type Happened = BTreeMap<&'static str, u64>;

fn check(seed: u64, happened: &Mutex<Happened>) -> Result<(), String> {
    let first = run_seed(seed, false);
    for (kind, times) in &first.happened {
        *happened
            .lock()
            .expect("no panic while counting")
            .entry(kind)
            .or_default() += times;
    }
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
    let happened = Mutex::new(Happened::new());
    let begun = started();
    let go_on = std::env::var_os("HUBSYNC_SIM_GO_ON").is_some();
    let (mut done, mut failures) = (0, Vec::new());
    for seed in (first..first.saturating_add(most)).filter(|seed| seed % PARTS == part) {
        let enough = done >= least && begun.elapsed() >= time;
        if enough || (!failures.is_empty() && !go_on) {
            break;
        }
        let checked = std::panic::catch_unwind(|| check(seed, &happened));
        if let Err(report) =
            checked.unwrap_or_else(|_| Err(format!("seed {seed}: a panic, see above")))
        {
            failures.push(report);
        }
        done += 1;
    }
    (
        done,
        happened.into_inner().expect("no panic while counting"),
        failures,
    )
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
    for (kind, times) in &happened {
        writeln!(out, "{times:>8} {kind}").expect("stderr");
    }
    for failure in &failures {
        writeln!(out, "{failure}\n").expect("stderr");
    }
    assert!(
        failures.is_empty(),
        "{}",
        failures[0].lines().next().unwrap_or_default()
    );
    let never: Vec<_> = happened.iter().filter(|(_, times)| **times == 0).collect();
    assert!(
        never.is_empty() || done < LEAST,
        "the seeds no longer test this: {never:?}"
    );
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
