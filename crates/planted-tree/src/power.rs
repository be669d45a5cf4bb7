//! Measures what every suite finds: each bug against each of them, until it is found or the bound is over.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cargo::{Ended, Workshop, filter_of};
use crate::garden::Garden;
use crate::patches::Bug;
use crate::table::Table;
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

fn setting(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Measures all, and writes the table; whether each bug was found by some suite.
pub(crate) fn power(garden: &Garden, page: &Path) -> Result<bool> {
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
    let mut all_found = garden.bad.is_empty();
    let mut out = std::io::stdout().lock();
    let (apart, beside): (Vec<_>, Vec<_>) = garden
        .bugs
        .iter()
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
    let most = Duration::from_secs(seconds + 60);
    let Looks::Seeds(first, count, time) = suite.looks else {
        // What its patch names is asked first: a whole suite takes minutes.
        let own = filter_of(&bug.targets)?;
        if own.contains(suite.filter) {
            let named = format!("({own}) & ({})", bug.expect);
            let ended = workshop.test(&named, std::slice::from_ref(&awake), most, 0)?;
            if ended == Ended::Red {
                return Ok("found".to_owned());
            }
        }
        let ended = workshop.test(suite.filter, &[awake], most, 0)?;
        let found = matches!(ended, Ended::Red);
        return Ok(if found { "found" } else { "—" }.to_owned());
    };
    let mut taken = Vec::new();
    for start in 0..setting("HUBSYNC_PLANTED_STARTS", STARTS) {
        let variables = [
            awake.clone(),
            (first, (start * APART + 1).to_string()),
            (count, MOST_SEEDS.to_string()),
            (time, seconds.to_string()),
            ("HUBSYNC_SIM_SHRINK", "0".to_owned()),
        ];
        let ended = workshop.test(suite.filter, &variables, most, 0)?;
        let words = std::fs::read_to_string(workshop.log(0))?;
        taken.push(match ended {
            Ended::Red => seeds(&words, start * APART).unwrap_or(1),
            Ended::Green | Ended::Empty | Ended::Late | Ended::Broken => u64::MAX,
        });
    }
    taken.sort_unstable();
    Ok(match taken.get(taken.len() / 2) {
        Some(&u64::MAX) | None => "—".to_owned(),
        Some(median) => median.to_string(),
    })
}

/// How many seeds it took, as the suite says: by the seed that failed first.
fn seeds(words: &str, start: u64) -> Option<u64> {
    let failed = words.lines().filter_map(|line| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix("seed ")
            .or_else(|| line.strip_prefix("# drawn from seed "))
            .or_else(|| line.strip_prefix("# enumerated "))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    });
    failed.map(|seed| seed.saturating_sub(start).max(1)).min()
}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn the_first_seed_that_failed_tells_how_many_it_took() {
        let words = "part 1: 9 seeds from 1000001 were run, 1 failed\nseed 1000017: I1: lost\n  seed 1000021: I3\n";
        assert_eq!(seeds(words, 1_000_000), Some(17));
        assert_eq!(seeds("# enumerated 33\n", 0), Some(33));
        assert_eq!(seeds("a panic\n", 0), None);
    }
}
