//! Expects the tests that a patch names to find its bug.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::cargo::{Ended, filter_of, together};
use crate::garden::Garden;
use crate::patches::Bug;
use crate::tree::VARIABLE;

/// A bug that its tests have not found by then goes unseen.
const MOST: Duration = Duration::from_mins(3);
/// So many bugs are looked for at a time.
const AT_ONCE: usize = 4;
/// How long the simulation looks for a bug, where nothing else is said.
const SIMULATION_SECONDS: &str = "30";

/// Runs all; whether each was found.
pub(crate) fn run(garden: &Garden) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut all_found = garden.bad.is_empty();
    for (name, reason) in &garden.bad {
        writeln!(out, "BAD      {name}: {reason}")?;
    }
    let targets = together(garden.bugs.iter().map(|bug| bug.targets.as_slice()));
    let alone = garden.build_together(&targets)?;
    let (apart, beside): (Vec<_>, Vec<_>) = garden
        .bugs
        .iter()
        .partition(|bug| alone.contains_key(&bug.name));
    drop(out);
    all_found &= side_by_side(garden, &beside)?;
    let mut out = std::io::stdout().lock();
    for bug in apart {
        let own = together(std::iter::once(bug.targets.as_slice()));
        let (found, line) = match garden.build_alone(bug, &own)? {
            Some(complaint) => (
                false,
                format!("BAD      {}: does not compile: {complaint}", bug.name),
            ),
            None => verdict(garden, bug, 0)?,
        };
        all_found &= found;
        writeln!(out, "{line} (built alone: {})", alone[&bug.name])?;
    }
    Ok(all_found)
}

/// Several at a time, since most of their tests wait.
fn side_by_side(garden: &Garden, bugs: &[&Bug]) -> Result<bool> {
    let next = AtomicUsize::new(0);
    let work = |place: usize| {
        let mut all_found = true;
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (found, line) = verdict(garden, bug, place)?;
            all_found &= found;
            writeln!(std::io::stdout(), "{line}")?;
        }
        Ok(all_found)
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|place| scope.spawn(move || work(place)))
            .collect();
        let ends = threads.into_iter().map(|thread| {
            let end: Result<bool> = thread.join().expect("no panic in a run");
            end
        });
        ends.into_iter().try_fold(true, |all, one| Ok(all & one?))
    })
}

fn verdict(garden: &Garden, bug: &Bug, place: usize) -> Result<(bool, String)> {
    let Bug {
        name, why, expect, ..
    } = bug;
    let filter = format!("({}) & ({expect})", filter_of(&bug.targets)?);
    let seconds = std::env::var("HUBSYNC_SIM_SECONDS").unwrap_or(SIMULATION_SECONDS.to_owned());
    let variables = [
        (VARIABLE, name.clone()),
        ("HUBSYNC_SIM_SECONDS", seconds),
        ("HUBSYNC_SIM_SHRINK", "0".to_owned()),
    ];
    let line = match garden.workshop.test(&filter, &variables, MOST, place)? {
        Ended::Red => return Ok((true, format!("found    {name}: {why}"))),
        Ended::Green => format!("UNSEEN   {name}: {why}"),
        Ended::Late => format!(
            "UNSEEN   {name}: not found within {} s: {why}",
            MOST.as_secs()
        ),
        Ended::Empty => format!("BAD      {name}: no test is named so: {expect}"),
        Ended::Broken => {
            let log = std::fs::read_to_string(garden.workshop.log(place))?;
            format!("BAD      {name}: its tests could not be run\n{log}")
        }
    };
    Ok((false, line))
}
