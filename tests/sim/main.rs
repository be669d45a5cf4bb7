//! The whole engine under virtual time with seeded faults: chaos first, then calm, every promise checked.
//!
//! `HUBSYNC_SIM_SEED=7` replays one seed and prints its whole trace; `HUBSYNC_SIM_SEEDS=N` and `HUBSYNC_SIM_SECONDS=S`
//! choose how many are run.

mod checks;
mod daemon;
mod executor;
mod local;
mod people;
mod plan;
mod run;
mod trace;
mod values;
mod world;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use run::{Outcome, run_seed};

/// One seed in this many is run twice and must give the same trace.
const TWICE: u64 = 100;
/// The first seed of an ordinary run.
const FIRST: u64 = 1;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn report(seed: u64, outcome: &Outcome) -> Option<String> {
    let (what, trace) = outcome.broken.as_ref()?;
    Some(format!(
        "seed {seed}: {what}\nreplay: HUBSYNC_SIM_SEED={seed} cargo nextest run --test sim\n{trace}\nseed {seed}: {what}"
    ))
}

fn check(seed: u64) -> Result<(), String> {
    let first = run_seed(seed, false);
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

/// Runs seeds on all cores until enough were run or the time is over; how many, and the first failures.
fn run_many(first: u64, most: u64, time: Duration) -> (u64, Vec<String>) {
    let (next, done, failed) = (
        AtomicU64::new(first),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let failures = Mutex::new(Vec::new());
    let begun = started();
    let work = || {
        while !failed.load(Ordering::Relaxed) && begun.elapsed() < time {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first.saturating_add(most) {
                return;
            }
            let checked = std::panic::catch_unwind(|| check(seed));
            if let Err(report) =
                checked.unwrap_or_else(|_| Err(format!("seed {seed}: a panic, see above")))
            {
                failures.lock().expect("no panic").push(report);
                failed.store(
                    std::env::var_os("HUBSYNC_SIM_GO_ON").is_none(),
                    Ordering::Relaxed,
                );
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    (done.into_inner(), failures.into_inner().expect("no panic"))
}

#[test]
fn every_promise_holds_under_every_seed() {
    if let Some(seed) = setting("HUBSYNC_SIM_SEED") {
        let outcome = run_seed(seed, true);
        if let Some(report) = report(seed, &outcome) {
            panic!("{report}");
        }
        return;
    }
    let first = setting("HUBSYNC_SIM_FIRST").unwrap_or(FIRST);
    let most = setting("HUBSYNC_SIM_SEEDS").unwrap_or(u64::MAX);
    let seconds = setting("HUBSYNC_SIM_SECONDS").unwrap_or(60);
    let (done, failures) = run_many(first, most, Duration::from_secs(seconds));
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "{done} seeds from {first} were run, {} failed",
        failures.len()
    )
    .expect("stderr");
    for failure in &failures {
        writeln!(out, "{failure}\n").expect("stderr");
    }
    assert!(
        failures.is_empty(),
        "{}",
        failures[0].lines().next().unwrap_or_default()
    );
    assert!(done >= most.min(500), "only {done} seeds in {seconds} s");
}
