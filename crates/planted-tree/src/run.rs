//! Expects the tests that a patch names to find its bug.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::cargo::{Ended, filter_of, together};
use crate::garden::Garden;
use crate::patches::Bug;
use crate::tree::VARIABLE;

/// A bug that its tests have not found by then goes unseen.
const MOST: Duration = Duration::from_secs(180);
/// How long the simulation looks for a bug, where nothing else is said.
const SIMULATION_SECONDS: &str = "30";

/// Runs all; whether each was found.
pub(crate) fn run(garden: Garden) -> Result<bool> {
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
    for bug in beside {
        let (found, line) = verdict(&garden, bug)?;
        all_found &= found;
        writeln!(out, "{line}")?;
    }
    for bug in apart {
        let own = together(std::iter::once(bug.targets.as_slice()));
        let (found, line) = match garden.build_alone(bug, &own)? {
            Some(complaint) => (false, format!("BAD      {}: does not compile: {complaint}", bug.name)),
            None => verdict(&garden, bug)?,
        };
        all_found &= found;
        writeln!(out, "{line} (built alone: {})", alone[&bug.name])?;
    }
    Ok(all_found)
}

fn verdict(garden: &Garden, bug: &Bug) -> Result<(bool, String)> {
    let Bug { name, why, expect, .. } = bug;
    let filter = format!("({}) & ({expect})", filter_of(&bug.targets)?);
    let seconds = std::env::var("HUBSYNC_SIM_SECONDS").unwrap_or(SIMULATION_SECONDS.to_owned());
    let variables = [(VARIABLE, name.clone()), ("HUBSYNC_SIM_SECONDS", seconds)];
    let line = match garden.workshop.test(&filter, &variables, MOST)? {
        Ended::Red => return Ok((true, format!("found    {name}: {why}"))),
        Ended::Green => format!("UNSEEN   {name}: {why}"),
        Ended::Late => format!("UNSEEN   {name}: not found within {} s: {why}", MOST.as_secs()),
        Ended::Empty => format!("BAD      {name}: no test is named so: {expect}"),
        Ended::Broken => {
            let log = std::fs::read_to_string(garden.workshop.log())?;
            format!("BAD      {name}: its tests could not be run\n{log}")
        }
    };
    Ok((false, line))
}
