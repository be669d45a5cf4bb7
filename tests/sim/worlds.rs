//! Small worlds: one record, a hot field, a dozen events at most, every sequence of them and every single fault. Who should
//! have won is told by the model beside this file (`docs/TESTING.md`).
//!
//! `HUBSYNC_WORLDS_SECONDS` says how long worlds are drawn, `HUBSYNC_WORLDS_FIRST` where the seeds and the enumerated ones
//! begin, `HUBSYNC_WORLDS_MOST` how many are drawn at most, and `HUBSYNC_WORLDS_FAILURES` after how many that are broken a part
//! ends; `HUBSYNC_WORLD` names a file with one world, which is played with its whole trace, and `HUBSYNC_WORLDS_FOLDER` a folder
//! of them in place of `tests/sim/found`.

pub(crate) mod acts;
pub(crate) mod alphabet;
mod beginnings;
mod bench;
mod clearings;
mod letters;
mod many;
mod people;
mod play;
mod programs;
mod reached;
mod remembered;
pub(crate) mod seen;
mod ties;
mod traces;
mod watch;

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hubsyncd::model::mapping::Policy;

use alphabet::{Setup, Small};
use bench::Bench;
use play::{Played, play};
use reached::Reached;

/// How many parts the worlds are run in, side by side.
const PARTS: u64 = 2;
/// How long a part goes on drawing worlds where nothing else is said: the same ones on every machine.
const SECONDS: u64 = 0;
/// Seeds that are drawn in any case: a slow machine must reach as much.
const LEAST: u64 = 600;
/// A short run takes one of so many of the enumerated worlds; `make long` takes all.
const STRIDE: u64 = 47;
/// More failures than this tell nothing new, where nothing else is said.
const MOST_FAILURES: u64 = 8;
/// glibc keeps twice the largest block that it has given back to the system (`M_MMAP_THRESHOLD` in mallopt(3)). Else what a
/// world has freed goes back too, and a moment later each page of it is a page fault again.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// A bench for each setup, made when it is needed.
#[derive(Default)]
struct Benches(Vec<(Setup, Bench)>);

impl Benches {
    fn play(&mut self, small: &Small) -> Played {
        let setup = small.setup;
        if !self.0.iter().any(|(own, _)| *own == setup) {
            self.0.push((setup, Bench::new(setup, false)));
        }
        let found = self.0.iter_mut().find(|(own, _)| *own == setup);
        let bench = &mut found.expect("it was made").1;
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| play(bench, small)));
        played.unwrap_or_else(|_| {
            // Whatever the panic left behind is no bench to play on.
            self.0.retain(|(own, _)| *own != setup);
            Played {
                broken: Some("a panic, see above".to_owned()),
                ..Played::default()
            }
        })
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test bounds and measures its own real time"
)]
fn now() -> Instant {
    Instant::now()
}

/// A part of a run.
struct Part {
    benches: Benches,
    reached: Reached,
    failures: Vec<String>,
    /// The worlds of `tests/sim/open`, as they are written.
    open: Vec<String>,
    /// How many broken worlds were, made smaller, one of those.
    known: u64,
}

impl Part {
    fn new() -> Self {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BYTES)));
        Self {
            benches: Benches::default(),
            reached: Reached::new(),
            failures: Vec::new(),
            open: worlds_in(&kept("open"))
                .iter()
                .map(|(_, small)| small.to_string())
                .collect(),
            known: 0,
        }
    }

    fn check(&mut self, small: &Small, whence: &str) {
        let played = self.benches.play(small);
        self.reached.count(small, &played);
        if played.broken.is_none() {
            return;
        }
        let place = self.reached.worlds * PARTS;
        let smallest = many::shrink(small, &mut |world| {
            self.benches.play(world).broken.is_some()
        });
        let what = self.benches.play(&smallest).broken.unwrap_or_default();
        let report = format!("# world {place}: {whence}\n# {what}\n{smallest}");
        if self.open.contains(&smallest.to_string()) {
            self.known += 1;
            return;
        }
        if !self
            .failures
            .iter()
            .any(|known| known.ends_with(&smallest.to_string()))
        {
            // At once: a run may be ended before its end.
            writeln!(
                std::io::stderr().lock(),
                "\nbroken; to be kept in tests/sim/found:\n{report}"
            )
            .expect("stderr");
            self.failures.push(report);
        }
    }

    /// Plays them, until enough are broken.
    fn check_all(&mut self, worlds: impl Iterator<Item = (Small, String)>) {
        let most = setting("HUBSYNC_WORLDS_FAILURES").unwrap_or(MOST_FAILURES);
        for (small, whence) in worlds {
            if self.failures.len() as u64 >= most {
                return;
            }
            self.check(&small, &whence);
        }
    }

    /// A thin run is one of fewer enumerated worlds than usual: it need not reach everything.
    fn end(self, begun: Instant, is_thin: bool) {
        let (worlds, time) = (self.reached.worlds, begun.elapsed());
        let mut out = std::io::stderr().lock();
        writeln!(
            out,
            "{worlds} worlds in {time:?}, {:.0} a second; {} requests; {} acts whose point was not passed",
            worlds as f64 / time.as_secs_f64(),
            self.reached.requests,
            self.reached.missed
        )
        .expect("stderr");
        for line in self.reached.lines() {
            writeln!(out, "{line}").expect("stderr");
        }
        writeln!(
            out,
            "{} broken worlds are of those in tests/sim/open",
            self.known
        )
        .expect("stderr");
        drop(out);
        assert!(self.failures.is_empty(), "{}", self.failures[0]);
        assert!(
            self.reached.never().is_empty() || is_thin,
            "no world reaches this any more: {:?}",
            self.reached.never()
        );
    }
}

fn run_part(part: u64) {
    let mut run = Part::new();
    let begun = now();
    let stride = setting("HUBSYNC_WORLDS_STRIDE").unwrap_or(STRIDE).max(1);
    let policy = if part == 0 {
        Policy::Remote
    } else {
        Policy::Local
    };
    let first = setting("HUBSYNC_WORLDS_FIRST").unwrap_or(0);
    let found = worlds_in(&kept("found"))
        .into_iter()
        .map(|(_, small)| small);
    let own = found.skip(part as usize).step_by(PARTS as usize);
    run.check_all(own.map(|small| (small, "it once found something".to_owned())));
    let again = many::comings_again(policy).chain(many::comings_in_modes());
    run.check_all(again.map(|small| (small, "a person who comes again".to_owned())));
    let of_ties = if part == 0 {
        Policy::Remote
    } else {
        Policy::Newest
    };
    let tied = many::associations_with_faults(of_ties);
    run.check_all(tied.map(|small| (small, "an association beside a fault".to_owned())));
    let own = many::spread(first, stride)
        .skip(part as usize)
        .step_by(PARTS as usize);
    run.check_all(own.map(|small| (small, "enumerated".to_owned())));
    let time = Duration::from_secs(setting("HUBSYNC_WORLDS_SECONDS").unwrap_or(SECONDS));
    let most = setting("HUBSYNC_WORLDS_MOST").unwrap_or(u64::MAX);
    let seeds = first..first.saturating_add(most);
    let drawing = now();
    let drawn = seeds
        .filter(|seed| seed % PARTS == part)
        .take_while(|seed| drawing.elapsed() < time || *seed < first + LEAST)
        .map(|seed| (many::drawn(seed), format!("drawn from seed {seed}")));
    run.check_all(drawn);
    run.end(begun, stride > STRIDE || most < LEAST);
}

/// Two parts, each a process of its own under nextest.
#[test]
fn every_even_small_world_ends_as_the_design_says() {
    run_part(0);
}

#[test]
fn every_odd_small_world_ends_as_the_design_says() {
    run_part(1);
}

/// Every world that once found something, and the one that was asked for.
#[test]
fn no_world_that_was_once_broken_breaks_again() {
    if let Some(path) = std::env::var_os("HUBSYNC_WORLD") {
        let small = read(Path::new(&path));
        let mut bench = Bench::new(small.setup, true);
        let played = play(&mut bench, &small);
        let trace = bench.trace();
        if std::env::var_os("HUBSYNC_WORLD_TRACE").is_some() {
            writeln!(std::io::stderr().lock(), "{trace}").expect("stderr");
        }
        assert!(
            played.broken.is_none(),
            "{trace}\n{small}{:?}",
            played.broken
        );
        return;
    }
    let folder = std::env::var_os("HUBSYNC_WORLDS_FOLDER").map_or(kept("found"), PathBuf::from);
    let mut benches = Benches::default();
    let mut broken = Vec::new();
    let worlds = worlds_in(&folder);
    for (path, small) in &worlds {
        if let Some(what) = benches.play(small).broken {
            broken.push(format!("{}\n{small}{what}", path.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
    assert!(!worlds.is_empty(), "no world was kept");
}

/// What is in `open` is broken, and nobody has mended it yet: what was mended belongs in `found`.
#[test]
fn a_world_that_is_open_is_broken_still() {
    let mut benches = Benches::default();
    for (path, small) in worlds_in(&kept("open")) {
        let broken = benches.play(&small).broken;
        assert!(
            broken.is_some(),
            "{}: move it to tests/sim/found",
            path.display()
        );
    }
}

fn kept(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sim")
        .join(folder)
}

/// The worlds of a folder. Cut plans of the large simulation lie beside them.
fn worlds_in(folder: &Path) -> Vec<(PathBuf, Small)> {
    let entries = std::fs::read_dir(folder).expect("the folder of worlds");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let worlds = paths.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    worlds.map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> Small {
    let text = std::fs::read_to_string(path).expect("the file of a world");
    Small::parse(&text).unwrap_or_else(|| panic!("{} is no world", path.display()))
}
