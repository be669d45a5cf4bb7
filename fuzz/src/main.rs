//! Runs one target under `afl`: the word after the program's name says which. `make fuzz` starts it.

use hubsyncd::fuzz::TARGETS;

fn main() {
    let asked = std::env::args().nth(1).unwrap_or_default();
    let Some((_, target)) = TARGETS.into_iter().find(|(name, _)| *name == asked) else {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        eprintln!("hubsyncd-fuzz: `{asked}` is none of {names}");
        std::process::exit(2);
    };
    afl::fuzz!(|bytes: &[u8]| target(bytes));
}
