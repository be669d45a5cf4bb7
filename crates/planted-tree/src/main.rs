//! Plants known bugs into a copy of the tree, all of them at once, and says which tests find each.
//!
//! `planted-tree ROOT run [NAME…]` expects the tests that each patch names to find its bug. `planted-tree ROOT power [NAME…]`
//! measures what every suite finds. A name may be a beginning: `31` or `31-oldest`.

mod cargo;
mod functions;
mod garden;
mod merge;
mod patches;
mod run;
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
    let root = arguments.next().context("usage: planted-tree ROOT run|power [NAME…]")?;
    let root = PathBuf::from(root).canonicalize()?;
    let mode = arguments.next().unwrap_or_default();
    let names: Vec<String> = arguments.collect();
    let garden = Garden::open(&root, &names)?;
    match mode.as_str() {
        "run" => run::run(garden),
        _ => bail!("usage: planted-tree ROOT run|power [NAME…]"),
    }
}
