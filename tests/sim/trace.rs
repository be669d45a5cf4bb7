//! What happened, as lines of text: hashed whole, the last of them kept for a failure's report.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many of the last lines a failure shows.
const TAIL: usize = 400;

/// What a line tells of: all of it must happen in an ordinary run, or the seeds test less than they say.
const KINDS: [(&str, &str); 27] = [
    ("kills of the daemon", "the daemon is killed"),
    ("older copies put back", "an older copy"),
    ("jumps of the clock", "the wall clock jumps"),
    ("steps of HubSpot's dates", "the dates of answers step"),
    ("sleeps of the process", "the process sleeps"),
    ("locks held by programs", "a program holds the lock"),
    ("answers lost on their way", "answers on their way are lost"),
    ("acts at a point", "kept act"),
    ("lost answers", "AnswerLost"),
    ("late landings", "Late {"),
    ("cut answers", "CutAfter"),
    ("throttled requests", "-> 429"),
    ("server errors", "-> 50"),
    ("locked records", "-> 423"),
    ("records made by people", "person creates"),
    ("edits by people", "person edits"),
    ("archives by people", "person archives"),
    ("restores by people", "person restores"),
    ("merges by people", "person merges"),
    ("rows deleted", "local delete"),
    ("rows replaced", "local replace"),
    ("rows deleted and inserted again", "local reinsert"),
    ("upserts", "local upsert"),
    ("transactions rolled back", "local rolled back"),
    ("entries discarded", "local discard"),
    ("conflicts decided", "local decide"),
    ("holds approved", "local approve"),
];

/// A run's lines.
#[derive(Debug)]
pub(crate) struct Trace {
    tail: VecDeque<String>,
    hasher: DefaultHasher,
    lines: u64,
    whole: Option<Vec<String>>,
    happened: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// An empty trace. With `whole` every line is kept.
    pub(crate) fn new(whole: bool) -> Self {
        Self {
            tail: VecDeque::new(),
            hasher: DefaultHasher::new(),
            lines: 0,
            whole: whole.then(Vec::new),
            happened: KINDS.iter().map(|(kind, _)| (*kind, 0)).collect(),
        }
    }

    /// An empty trace of the same kind.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.is_whole())
    }

    /// How often each kind of thing happened.
    pub(crate) fn happened(&self) -> &BTreeMap<&'static str, u64> {
        &self.happened
    }

    /// Counts something that no line tells of.
    pub(crate) fn count(&mut self, kind: &'static str, times: u64) {
        *self.happened.entry(kind).or_default() += times;
    }

    /// Whether every line is kept, for somebody to read.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Adds a line at a virtual time.
    pub(crate) fn line(&mut self, at_ms: u64, text: &str) {
        let line = format!("{:>10}.{:03} {text}", at_ms / 1000, at_ms % 1000);
        line.hash(&mut self.hasher);
        self.lines += 1;
        if let Some((kind, _)) = KINDS
            .iter()
            .find(|(_, explanation)| text.contains(explanation))
        {
            self.count(kind, 1);
        }
        if let Some(whole) = &mut self.whole {
            whole.push(line.clone());
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// A number that differs where two traces differ, and how many lines there are.
    pub(crate) fn digest(&self) -> (u64, u64) {
        (self.hasher.finish(), self.lines)
    }

    /// The lines for a report: all where they were kept, else the last.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut add = |line: &String| {
            text.push_str(line);
            text.push('\n');
        };
        match &self.whole {
            Some(whole) => whole.iter().for_each(&mut add),
            None => self.tail.iter().for_each(&mut add),
        }
        text
    }
}
