//! Progress of long work for people: `contacts  120,300 of ~1,000,000 rows  12 %  1,890/s  8 min left`. On a terminal a
//! bar for each object; otherwise every few seconds for each a plain line beside a log in text, or a line of the log where
//! that is read by a program. It measures nothing itself: whoever runs the work hands it a count now and then.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::format::{counted, duration, printable, thousands};
use crate::clock::Clock;
use crate::config::LogFormat;
use crate::telemetry::in_force;

/// Time between two plain lines of one object.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// How far back the rate looks: long enough to be calm, short enough to notice a throttle.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// The least time that a rate is taken over.
const SHORTEST_RATE: Duration = Duration::from_secs(1);

/// How far one piece of work is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkSnapshot {
    /// Whose work: the object's name.
    pub object: String,
    /// Rows that are done.
    pub done: u64,
    /// Rows that there are, as far as anybody knows; it may grow.
    pub total: Option<u64>,
    /// Nothing is left to do.
    pub finished: bool,
}

impl WorkSnapshot {
    /// Whether nothing has come yet, and nobody knows how much is to come.
    fn says_nothing(&self) -> bool {
        self.done == 0 && self.total.unwrap_or(0) == 0 && !self.finished
    }
}

/// Standard error, shared by bars and log: a log line pushes the bars down and never lands inside one.
#[derive(Debug, Clone)]
pub struct Screen {
    bars: MultiProgress,
    is_terminal: bool,
}

impl Screen {
    /// Bars where standard error is a terminal.
    pub fn stderr() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            is_terminal,
        }
    }
}

impl<'writer> MakeWriter<'writer> for Screen {
    type Writer = ScreenWriter;

    fn make_writer(&'writer self) -> ScreenWriter {
        ScreenWriter {
            screen: self.clone(),
        }
    }
}

/// Writes one piece of text beside the bars.
#[derive(Debug)]
pub struct ScreenWriter {
    screen: Screen,
}

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.screen.bars.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How progress is written where no terminal shows bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// For people, as they are.
    Plain,
    /// As lines of the log, in the log's form.
    Logged,
}

impl From<LogFormat> for Lines {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Plain,
            LogFormat::Journal | LogFormat::Json => Self::Logged,
            LogFormat::Auto => Self::from(in_force(format)),
        }
    }
}

/// The progress of all work that runs. Counts come in through [`WorkProgress::update`], as often as the caller likes.
pub(crate) struct WorkProgress {
    clock: Arc<dyn Clock>,
    screen: Screen,
    lines: Lines,
    works: Vec<PieceOfWork>,
}

struct PieceOfWork {
    object: String,
    rate: Rate,
    bar: ProgressBar,
    next_line: Duration,
    over: bool,
}

impl WorkProgress {
    /// Nothing runs yet.
    pub(crate) fn new(screen: Screen, lines: Lines, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            screen,
            lines,
            works: Vec::new(),
        }
    }

    /// Shows how far each piece of work is: bars at once, lines on `err` or in the log when they are due.
    ///
    /// # Errors
    /// `err` can't be written to.
    pub(crate) fn update(
        &mut self,
        snapshots: &[WorkSnapshot],
        err: &mut dyn Write,
    ) -> io::Result<()> {
        let now = self.clock.monotonic();
        for snapshot in snapshots {
            let (is_terminal, lines) = (self.screen.is_terminal, self.lines);
            let Some(work) = self.work(snapshot, now) else {
                continue;
            };
            work.rate.note(now, snapshot.done);
            let text = line(snapshot, work.rate.per_second());
            if is_terminal {
                work.show(snapshot, &text);
            } else if snapshot.finished || (!snapshot.says_nothing() && now >= work.next_line) {
                // A read that has brought nothing yet has nothing to say.
                work.next_line = now + BETWEEN_LINES;
                match lines {
                    Lines::Plain => writeln!(err, "{text}")?,
                    Lines::Logged => tracing::info!(
                        object = snapshot.object,
                        rows = snapshot.done,
                        total = snapshot.total,
                        "the first full read: {text}"
                    ),
                }
            }
            if snapshot.finished {
                work.over = true;
                work.bar.finish_and_clear();
            }
        }
        Ok(())
    }

    /// The work of a snapshot; `None` where it is over, or ended before anybody saw it.
    fn work(&mut self, snapshot: &WorkSnapshot, now: Duration) -> Option<&mut PieceOfWork> {
        let found = self
            .works
            .iter()
            .position(|work| work.object == snapshot.object);
        let index = match found {
            Some(index) if self.works[index].over && snapshot.finished => return None,
            Some(index) => index,
            None if snapshot.finished => return None,
            None => {
                let bar = ProgressBar::no_length().with_style(style());
                let bar = if self.screen.is_terminal {
                    self.screen.bars.add(bar)
                } else {
                    bar
                };
                let rate = Rate::default();
                self.works.push(PieceOfWork {
                    object: snapshot.object.clone(),
                    rate,
                    bar,
                    next_line: now,
                    over: false,
                });
                self.works.len() - 1
            }
        };
        self.works[index].over = false;
        Some(&mut self.works[index])
    }
}

impl PieceOfWork {
    fn show(&self, snapshot: &WorkSnapshot, text: &str) {
        if let Some(total) = snapshot.total {
            self.bar.set_length(total.max(snapshot.done));
        }
        self.bar.set_position(snapshot.done);
        self.bar.set_message(if snapshot.says_nothing() {
            printable(&snapshot.object)
        } else {
            text.to_owned()
        });
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:16} {msg}").expect("the template is right")
}

/// Rows a second over the last half minute.
#[derive(Debug, Default)]
struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

/// Samples that are kept: more than one in three seconds within the window adds nothing.
const MOST_SAMPLES: usize = 16;

impl Rate {
    fn note(&mut self, now: Duration, done: u64) {
        let spacing = RATE_WINDOW / MOST_SAMPLES as u32;
        let before_last = self
            .samples
            .len()
            .checked_sub(2)
            .and_then(|index| self.samples.get(index));
        // The last sample moves along until it is far enough from the one before.
        if before_last.is_some_and(|(at, _)| now.saturating_sub(*at) < spacing) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, done));
        while self.samples.len() > 2 && now.saturating_sub(self.samples[1].0) >= RATE_WINDOW {
            self.samples.pop_front();
        }
    }

    /// `None` while too little time has passed.
    fn per_second(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.samples.front()?, self.samples.back()?);
        let passed = last_at.saturating_sub(*first_at);
        (passed >= SHORTEST_RATE).then(|| last.saturating_sub(*first) as f64 / passed.as_secs_f64())
    }
}

/// One line about one piece of work.
pub fn line(snapshot: &WorkSnapshot, per_second: Option<f64>) -> String {
    let WorkSnapshot {
        object,
        done,
        total,
        finished,
    } = snapshot;
    let mut parts = vec![printable(object)];
    match total.filter(|total| total >= done && !finished) {
        Some(total) => {
            parts.push(format!(
                "{} of ~{}",
                thousands(*done as i64),
                counted(total as i64, "row", "rows")
            ));
            parts.push(format!("{} %", done.saturating_mul(100) / total.max(1)));
        }
        None => parts.push(counted(*done as i64, "row", "rows")),
    }
    if *finished {
        parts.push("done".to_owned());
        return parts.join("  ");
    }
    if let Some(rate) = per_second {
        parts.push(format!("{}/s", thousands(rate.round() as i64)));
        parts.extend(total.and_then(|total| time_left(total.saturating_sub(*done), rate)));
    }
    parts.join("  ")
}

/// Nobody believes a longer estimate.
const LONGEST_ESTIMATE_SECONDS: f64 = 30.0 * 86_400.0;

fn time_left(rows: u64, per_second: f64) -> Option<String> {
    let seconds = rows as f64 / per_second;
    let believable = rows > 0 && per_second > 0.0 && seconds <= LONGEST_ESTIMATE_SECONDS;
    believable.then(|| format!("{} left", duration(Duration::from_secs_f64(seconds))))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::model::time::Timestamp;

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().expect("nobody panics")
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            *self.0.lock().expect("nobody panics") += duration;
            Box::pin(std::future::ready(()))
        }
    }

    fn at(done: u64, total: Option<u64>, finished: bool) -> WorkSnapshot {
        WorkSnapshot {
            object: "contacts".to_owned(),
            done,
            total,
            finished,
        }
    }

    #[test]
    fn a_line_says_what_is_known() {
        let million = Some(1_000_000);
        for (snapshot, rate, text) in [
            (
                at(120_300, million, false),
                Some(1_890.4),
                "contacts  120,300 of ~1,000,000 rows  12 %  1,890/s  7 min left",
            ),
            (
                at(120_300, million, false),
                None,
                "contacts  120,300 of ~1,000,000 rows  12 %",
            ),
            (
                at(0, million, false),
                Some(0.0),
                "contacts  0 of ~1,000,000 rows  0 %  0/s",
            ),
            (at(0, Some(0), false), None, "contacts  0 of ~0 rows  0 %"),
            (at(7, None, false), Some(3.0), "contacts  7 rows  3/s"),
            (at(9, Some(8), false), Some(3.0), "contacts  9 rows  3/s"),
            (at(u64::MAX / 2, Some(u64::MAX), false), Some(0.001), ""),
            (
                at(1_000_001, million, true),
                Some(900.0),
                "contacts  1,000,001 rows  done",
            ),
        ] {
            let shown = line(&snapshot, rate);
            if text.is_empty() {
                assert!(!shown.contains("left"), "{shown}");
            } else {
                assert_eq!(shown, text);
            }
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        let mut done = 0;
        for tenth in 0..1_200_u32 {
            let now = Duration::from_millis(u64::from(tenth) * 100);
            rate.note(now, done);
            assert!(
                rate.samples.len() <= MOST_SAMPLES + 4,
                "{}",
                rate.samples.len()
            );
            done += if tenth < 600 { 200 } else { 10 };
        }
        let per_second = rate.per_second().expect("two minutes have passed");
        assert!((95.0..=105.0).contains(&per_second), "{per_second}");
    }

    /// Progress in plain lines, as in a file, by a clock that is moved by hand.
    fn plain(clock: &Arc<Hand>) -> WorkProgress {
        let screen = Screen {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            is_terminal: false,
        };
        WorkProgress::new(screen, Lines::Plain, Arc::clone(clock) as Arc<dyn Clock>)
    }

    #[test]
    fn plain_lines_come_every_five_seconds_and_at_the_end() {
        let clock = Arc::new(Hand::default());
        let mut progress = plain(&clock);
        let mut err = Vec::new();
        for second in 0..12_u64 {
            progress
                .update(&[at(second * 100, Some(1_200), false)], &mut err)
                .expect("written");
            drop(clock.sleep(Duration::from_secs(1)));
        }
        for _ in 0..3 {
            progress
                .update(&[at(1_200, Some(1_200), true)], &mut err)
                .expect("written");
        }
        let text = String::from_utf8(err).expect("text");
        assert_eq!(
            text,
            "contacts  0 of ~1,200 rows  0 %\n\
             contacts  500 of ~1,200 rows  41 %  100/s  7 s left\n\
             contacts  1,000 of ~1,200 rows  83 %  100/s  2 s left\n\
             contacts  1,200 rows  done\n"
        );
    }

    #[test]
    fn a_read_that_has_brought_nothing_yet_writes_no_line() {
        let clock = Arc::new(Hand::default());
        let mut progress = plain(&clock);
        let mut err = Vec::new();
        for (done, finished) in [(0, false), (0, false), (100, false), (150, true)] {
            progress
                .update(&[at(done, None, finished)], &mut err)
                .expect("written");
        }
        let text = String::from_utf8(err).expect("text");
        assert_eq!(text, "contacts  100 rows\ncontacts  150 rows  done\n");
    }

    #[test]
    fn what_was_done_before_is_not_mentioned() {
        let clock = Arc::new(Hand::default());
        let mut progress = WorkProgress::new(Screen::stderr(), Lines::Plain, clock);
        let mut err = Vec::new();
        progress
            .update(&[at(5, Some(5), true)], &mut err)
            .expect("written");
        assert_eq!(err, b"");
    }
}
