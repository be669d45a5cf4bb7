//! Plants known bugs into a copy of the tree, all of them at once, and says which tests find each.
//!
//! `planted-tree ROOT run [NAME…]` expects the tests that each patch names to find its bug. `planted-tree ROOT power [NAME…]`
//! measures what every suite finds, and writes the table of `docs/planted-bugs.md`. A name may be a number, `31`, or a whole one.
//! `HUBSYNC_PLANTED_SUITES=simulation,…`, `HUBSYNC_PLANTED_SECONDS` and `HUBSYNC_PLANTED_STARTS` measure less than all.

mod cargo;
mod functions;
mod garden;
mod merge;
mod patches;
mod power;
mod run;
mod table;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::garden::Garden;

fn main() -> ExitCode {
    match work() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments
        .next()
        .context("usage: planted-tree ROOT run|power [NAME…]")?;
    let root = PathBuf::from(root).canonicalize()?;
    let mode = arguments.next().unwrap_or_default();
    let names: Vec<String> = arguments.collect();
    match mode.as_str() {
        "run" => run::run(&Garden::open(&root, &names)?),
        "power" => {
            // One tree with all of them, whichever are measured: it is built once.
            let wanted = patches::names(&root.join("tests/planted"), &names)?;
            let garden = Garden::open(&root, &[])?;
            power::power(&garden, &wanted, &root.join("docs/planted-bugs.md"))
        }
        _ => bail!("usage: planted-tree ROOT run|power [NAME…]"),
    }
}
