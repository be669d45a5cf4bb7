//! Measures what every suite finds: each bug against each of them, until it is found or the bound is over.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cargo::{Ended, Workshop, filter_of};
use crate::garden::Garden;
use crate::patches::Bug;
use crate::table::{FOUND, Table};
use crate::tree::VARIABLE;

/// How a suite looks for a bug.
#[derive(Debug, Clone, Copy)]
enum Looks {
    /// It runs once.
    Once,
    /// It draws seeds from a given one on; the variables for the first seed, how many, and how many seconds.
    Seeds(&'static str, &'static str, &'static str),
}

/// Tests that are run together.
#[derive(Debug, Clone, Copy)]
struct Suite {
    name: &'static str,
    /// What cargo builds for it.
    target: &'static [&'static str],
    filter: &'static str,
    looks: Looks,
}

const SUITES: [Suite; 5] = [
    Suite {
        name: "unit tests",
        target: &["--lib"],
        filter: "kind(lib)",
        looks: Looks::Once,
    },
    Suite {
        name: "daemon",
        target: &["--test", "it"],
        filter: "binary(=it)",
        looks: Looks::Once,
    },
    Suite {
        name: "power cuts",
        target: &["--test", "power"],
        filter: "binary(=power)",
        looks: Looks::Once,
    },
    Suite {
        name: "simulation",
        target: &["--test", "sim"],
        filter: "binary(=sim) & test(every_promise_holds)",
        looks: Looks::Seeds(
            "HUBSYNC_SIM_FIRST",
            "HUBSYNC_SIM_SEEDS",
            "HUBSYNC_SIM_SECONDS",
        ),
    },
    Suite {
        name: "small worlds",
        target: &["--test", "sim"],
        filter: "binary(=sim) & test(small_world)",
        looks: Looks::Seeds(
            "HUBSYNC_WORLDS_FIRST",
            "HUBSYNC_WORLDS_MOST",
            "HUBSYNC_WORLDS_SECONDS",
        ),
    },
];

/// A bug that takes more seeds is not found.
const MOST_SEEDS: u64 = 10_000;
/// A bug that takes longer is not found, where nothing else is said.
const MOST_SECONDS: u64 = 600;
/// How often the seeds of a suite are begun, far from each other.
const STARTS: u64 = 5;
/// Between two starts.
const APART: u64 = 1_000_000;
/// Beyond the time that a suite draws seeds: it builds its first world, ends its last one, and runs some in any case.
const BEYOND: Duration = Duration::from_mins(8);
/// What a cell says of a suite that did not find the bug.
const NOT_FOUND: &str = "—";
/// What a cell says of a suite that failed for no seed and no world: of what it should have reached, say.
const UNNAMED: &str = "fails, names none";
/// What a cell says of a suite that did not end.
const NO_END: &str = "does not end";
/// What a cell says of a suite that could not be run.
const NOT_RUN: &str = "not run";

fn setting(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Measures those that are wanted, and writes the table; whether each was found by some suite.
pub(crate) fn power(garden: &Garden, wanted_bugs: &[String], page: &Path) -> Result<bool> {
    let wanted = std::env::var("HUBSYNC_PLANTED_SUITES").unwrap_or_default();
    let suites: Vec<&Suite> = SUITES
        .iter()
        .filter(|suite| wanted.is_empty() || wanted.split(',').any(|name| name == suite.name))
        .collect();
    if suites.is_empty() {
        bail!("no suite is named so: {wanted}");
    }
    let mut targets: Vec<String> = Vec::new();
    for suite in &suites {
        let target: Vec<String> = suite.target.iter().map(|&word| word.to_owned()).collect();
        if !targets.windows(target.len()).any(|known| known == target) {
            targets.extend(target);
        }
    }
    let alone = garden.build_together(&targets)?;
    let mut table = Table::read(page, &SUITES.map(|suite| suite.name))?;
    let mut out = std::io::stdout().lock();
    let mut all_found = true;
    let bad = garden.bad.iter();
    for (name, reason) in bad.filter(|(name, _)| wanted_bugs.contains(name)) {
        writeln!(out, "BAD      {name}: {reason}")?;
        all_found = false;
    }
    let bugs = garden.bugs.iter();
    let (apart, beside): (Vec<_>, Vec<_>) = bugs
        .filter(|bug| wanted_bugs.contains(&bug.name))
        .partition(|bug| alone.contains_key(&bug.name));
    for (place, bug) in beside.iter().chain(&apart).enumerate() {
        if place >= beside.len()
            && let Some(complaint) = garden.build_alone(bug, &targets)?
        {
            writeln!(out, "BAD      {}: {complaint}", bug.name)?;
            all_found = false;
            continue;
        }
        for suite in &suites {
            let cell = measure(&garden.workshop, suite, bug)?;
            writeln!(out, "{}: {}: {cell}", bug.name, suite.name)?;
            table.put(&bug.name, &bug.why, suite.name, &cell);
        }
        all_found &= table.is_found(&bug.name);
        table.write(page)?;
    }
    Ok(all_found)
}

fn measure(workshop: &Workshop, suite: &Suite, bug: &Bug) -> Result<String> {
    let seconds = setting("HUBSYNC_PLANTED_SECONDS", MOST_SECONDS);
    let awake = (VARIABLE, bug.name.clone());
    let most = Duration::from_secs(seconds) + BEYOND;
    let Looks::Seeds(first, count, time) = suite.looks else {
        // What its patch names is asked first: a whole suite takes minutes.
        let own = filter_of(&bug.targets)?;
        if own.contains(suite.filter) {
            let named = format!("({own}) & ({})", bug.expect);
            let ended = workshop.test(&named, std::slice::from_ref(&awake), most, 0)?;
            if ended == Ended::Red {
                return Ok(FOUND.to_owned());
            }
        }
        let ended = workshop.test(suite.filter, &[awake], most, 0)?;
        let found = matches!(ended, Ended::Red);
        return Ok(if found { FOUND } else { NOT_FOUND }.to_owned());
    };
    let mut taken = Vec::new();
    for start in 0..setting("HUBSYNC_PLANTED_STARTS", STARTS) {
        let variables = [
            awake.clone(),
            (first, (start * APART + 1).to_string()),
            (count, MOST_SEEDS.to_string()),
            (time, seconds.to_string()),
            // Of those that fail the first is enough, as it is.
            ("HUBSYNC_SIM_SHRINK", "0".to_owned()),
            ("HUBSYNC_WORLDS_FAILURES", "1".to_owned()),
        ];
        let ended = workshop.test(suite.filter, &variables, most, 0)?;
        let words = std::fs::read_to_string(workshop.log(0))?;
        taken.push(Taken::of(ended, &words, start * APART));
    }
    taken.sort_unstable();
    Ok(taken
        .get(taken.len() / 2)
        .map_or(NOT_FOUND.to_owned(), Taken::cell))
}

/// What it took a suite of seeds from one start; what is better comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Taken {
    /// So many seeds or worlds, with the one that failed.
    Seeds(u64),
    /// It held all the time.
    NotFound,
    /// It failed, and names neither seed nor world.
    Unnamed,
    /// It had to be ended.
    NoEnd,
    /// It was not run.
    NotRun,
}

impl Taken {
    fn of(ended: Ended, words: &str, start: u64) -> Self {
        match ended {
            Ended::Red => seeds(words, start).map_or(Self::Unnamed, Self::Seeds),
            Ended::Green => Self::NotFound,
            Ended::Late => Self::NoEnd,
            Ended::Empty | Ended::Broken => Self::NotRun,
        }
    }

    fn cell(&self) -> String {
        match self {
            Self::Seeds(count) => count.to_string(),
            Self::NotFound => NOT_FOUND.to_owned(),
            Self::Unnamed => UNNAMED.to_owned(),
            Self::NoEnd => NO_END.to_owned(),
            Self::NotRun => NOT_RUN.to_owned(),
        }
    }
}

/// How many seeds or worlds it took, as the suite says.
fn seeds(words: &str, start: u64) -> Option<u64> {
    let failed = words.lines().filter_map(|line| {
        let line = line.trim_start();
        let number = |rest: &str| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        };
        match line.strip_prefix("seed ") {
            Some(rest) => Some(number(rest)?.saturating_sub(start).max(1)),
            None => number(line.strip_prefix("# world ")?),
        }
    });
    failed.min()
}

#[cfg(test)]
mod tests {
    use super::{NOT_FOUND, Taken, UNNAMED, seeds};
    use crate::cargo::Ended;

    #[test]
    fn the_first_seed_that_failed_tells_how_many_it_took() {
        let words = "part 1: 9 seeds from 1000001 were run, 1 failed\nseed 1000017: I1: lost\n  seed 1000021: I3\n";
        assert_eq!(seeds(words, 1_000_000), Some(17));
        let words = "# world 212: enumerated 33\n# a panic, see above\n";
        assert_eq!(seeds(words, 1_000_000), Some(212));
        assert_eq!(seeds("a panic\n", 0), None);
    }

    #[test]
    fn a_suite_that_fails_and_names_no_seed_has_found_nothing() {
        let thin = "assertion failed: the seeds no longer test this: [\"a kill\"]\n";
        let taken = Taken::of(Ended::Red, thin, 0);
        assert_eq!((taken, taken.cell().as_str()), (Taken::Unnamed, UNNAMED));
        let taken = Taken::of(Ended::Green, "seed 7: a word of its own\n", 0);
        assert_eq!(taken.cell(), NOT_FOUND);
        let found = Taken::of(Ended::Red, "seed 7: I1\n", 0);
        assert!(found < taken, "the median of what was found is found");
    }
}
