//! What happened, as lines of text: hashed whole, the last of them kept for a failure's report.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many of the last lines a failure shows.
const TAIL: usize = 400;

/// A run's lines.
#[derive(Debug)]
pub(crate) struct Trace {
    tail: VecDeque<String>,
    hasher: DefaultHasher,
    lines: u64,
    whole: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace. With `whole` every line is kept.
    pub(crate) fn new(whole: bool) -> Self {
        Self {
            tail: VecDeque::new(),
            hasher: DefaultHasher::new(),
            lines: 0,
            whole: whole.then(Vec::new),
        }
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
