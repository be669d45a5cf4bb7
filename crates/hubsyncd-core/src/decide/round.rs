//! What is due next, and when: the one order of work, by which `run`, `once` and the simulation go.
//!
//! | step | task | due in a daemon | in `once` |
//! |---|---|---|---|
//! | schema | schema | at the start; where an object was kept back, and at each `reference` | at first |
//! | reference | schema | at each `reference` | where it is old, or a comparison is asked for |
//! | first read | inbound | until it is done; nothing else of the task before | of each object, to its end |
//! | filling | comparison | once the first read is done | then |
//! | comparison | comparison | when filling is done: while one runs, else as the schedule names it | then, where asked for or behind |
//! | poll | inbound | once the first read is done, at its interval | then |
//! | walks again | inbound | after the poll, each in its turn | then |
//! | decisions | decisions | always | then, and again and again until nothing is due |
//! | inbox | inbox | always | as decisions |
//! | reads | reads | always | as decisions, of each object |
//! | removals | reads | when no read is left | as reads |
//! | push | push | always | as reads |
//! | links | links | always | after the push of each object |
//! | looks | looks | always | at the end |
//! | histories | looks | when nothing is looked at | at the end |
//!
//! A daemon's task takes *turns*: it calls its steps in this order until one of them has more to do, which ends the turn,
//! and so does the end of a walk. Where none has, the task waits for the earliest moment that one of them named. `once`
//! calls each step to its end before the next one.

pub mod once;
pub mod pace;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::retry::latest_due;
use crate::model::time::Timestamp;

/// Between two looks for what nobody rings for: people's decisions, and the first read that a comparison waits for.
pub const LOOK: Duration = Duration::from_secs(1);

/// A loop of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Says how the daemon is doing.
    Heartbeat,
    /// Looks whether the database is the same file, and closes its gate.
    File,
    /// Puts dropped triggers back.
    Triggers,
    /// Forgets what is old.
    Forget,
    /// Writes down the calls that no step has, and keeps their ring within its bounds.
    Calls,
    /// Takes stored events in.
    Inbox,
    /// Empties the log after an erasure.
    Erase,
    /// Leaves a command's share of the requests free.
    Share,
    /// Looks for changes that no delivery announced.
    Deliveries,
    /// Renews the token.
    Tokens,
    /// Reads the portal's schema, owners and pipelines.
    Schema,
    /// Carries out people's decisions.
    Decisions,
    /// Carries out commands by SQL.
    Commands,
    /// Reads an object first in full, then what changed.
    Inbound,
    /// Reads single records, and removes those that are gone.
    Reads,
    /// Pushes local changes.
    Push,
    /// Reads associations.
    Links,
    /// Looks at what was pushed, and reads histories.
    Looks,
    /// Fills new columns, and compares in full.
    Comparison,
}

impl Task {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::File => "file",
            Self::Triggers => "triggers",
            Self::Forget => "forget",
            Self::Calls => "calls",
            Self::Inbox => "inbox",
            Self::Erase => "erase",
            Self::Share => "share",
            Self::Deliveries => "deliveries",
            Self::Tokens => "tokens",
            Self::Schema => "schema",
            Self::Decisions => "decisions",
            Self::Commands => "commands",
            Self::Inbound => "inbound",
            Self::Reads => "reads",
            Self::Push => "push",
            Self::Links => "links",
            Self::Looks => "looks",
            Self::Comparison => "comparison",
        }
    }
}

/// What a task or `once` can be at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The portal's schema.
    Schema,
    /// Owners and pipelines.
    Reference,
    /// A page of an object's first read.
    FirstRead,
    /// A page for new columns.
    Filling,
    /// A page of the full comparison.
    Comparison,
    /// A page of a poll.
    Poll,
    /// A page of a former window; the number says after which of the delays.
    Again(usize),
    /// People's decisions.
    Decisions,
    /// Stored events.
    Inbox,
    /// Single records.
    Reads,
    /// Records that are gone.
    Removals,
    /// A batch of local changes.
    Push,
    /// A batch of records' associations.
    Links,
    /// Looks at what was pushed.
    Looks,
    /// HubSpot's own history of chosen properties.
    Histories,
}

impl Step {
    /// What its writes count as in `hubsyncd_write_lock_seconds`.
    pub fn work(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Reference => "reference",
            Self::FirstRead => "backfill",
            Self::Filling => "filling",
            Self::Comparison => "reconcile",
            Self::Poll | Self::Again(_) => "poll",
            Self::Decisions => "decisions",
            Self::Inbox => "inbox",
            Self::Reads => "reads",
            Self::Removals => "removals",
            Self::Push => "push",
            Self::Links => "links",
            Self::Looks => "looks",
            Self::Histories => "histories",
        }
    }

    /// What any step's writes may count as, each once.
    pub fn works() -> BTreeSet<&'static str> {
        ORDER.iter().map(|(step, ..)| step.work()).collect()
    }
}

/// The parts of `once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the portal is like.
    Portal,
    /// What an object has in HubSpot.
    Pull,
    /// What people and deliveries left; it belongs to no object.
    Shared,
    /// What an object has to do on both sides.
    Settle,
    /// What was pushed is looked at.
    End,
}

/// The order of all steps, with whose they are. One walk again stands for all.
const ORDER: [(Step, Task, Part); 15] = [
    (Step::Schema, Task::Schema, Part::Portal),
    (Step::Reference, Task::Schema, Part::Portal),
    (Step::FirstRead, Task::Inbound, Part::Pull),
    (Step::Filling, Task::Comparison, Part::Pull),
    (Step::Comparison, Task::Comparison, Part::Pull),
    (Step::Poll, Task::Inbound, Part::Pull),
    (Step::Again(0), Task::Inbound, Part::Pull),
    (Step::Decisions, Task::Decisions, Part::Shared),
    (Step::Inbox, Task::Inbox, Part::Shared),
    (Step::Reads, Task::Reads, Part::Settle),
    (Step::Removals, Task::Reads, Part::Settle),
    (Step::Push, Task::Push, Part::Settle),
    (Step::Links, Task::Links, Part::Settle),
    (Step::Looks, Task::Looks, Part::End),
    (Step::Histories, Task::Looks, Part::End),
];

/// The steps of a part of `once`, in their order; `again` is how many walks follow a poll.
pub fn steps(part: Part, again: usize) -> impl Iterator<Item = Step> {
    let own = ORDER.iter().filter(move |(_, _, of)| *of == part);
    own.flat_map(move |(step, _, _)| {
        if matches!(step, Step::Again(_)) {
            (0..again).map(Step::Again).collect()
        } else {
            vec![*step]
        }
    })
}

/// The steps of a task, in their order; walks again are [`Walks`]' business.
fn steps_of(task: Task) -> impl Iterator<Item = Step> {
    ORDER
        .iter()
        .filter(move |(_, of, _)| *of == task)
        .map(|(step, _, _)| *step)
}

impl Step {
    /// The task whose step it is.
    pub fn task(self) -> Task {
        let own = |step: Step| match (step, self) {
            (Step::Again(_), Step::Again(_)) => true,
            (step, own) => step == own,
        };
        let found = ORDER.iter().find(|(step, _, _)| own(*step));
        found.expect("the order has every step").1
    }
}

/// What a step did, and when it wants to be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do at once.
    More,
    /// Nothing to do until then; `None` until somebody rings.
    Idle {
        /// The time of the next step.
        until: Option<Timestamp>,
    },
}

impl Progress {
    /// Nothing to do until somebody rings.
    pub const RING: Self = Self::Idle { until: None };

    /// The earlier of two wishes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::More, _) | (_, Self::More) => Self::More,
            (Self::Idle { until: Some(left) }, Self::Idle { until: Some(right) }) => Self::Idle {
                until: Some(left.min(right)),
            },
            (Self::Idle { until: None }, later) | (later, Self::Idle { until: None }) => later,
        }
    }
}

/// Where an object's round of walks stands: the poll, then each of the walks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walks {
    due: Timestamp,
    walked: usize,
}

impl Default for Walks {
    /// A round that is due at once.
    fn default() -> Self {
        Self {
            due: Timestamp::EPOCH,
            walked: 0,
        }
    }
}

impl Walks {
    /// The same, but due at `next` at the latest, the end of an interval that begins at this moment: also after the wall
    /// clock was set back.
    #[must_use]
    pub fn by(self, next: Timestamp) -> Self {
        Self {
            due: self.due.min(next),
            ..self
        }
    }

    /// The same after a walk that has come to its end; after the last one the round is over, and the next is due at `next`.
    #[must_use]
    pub fn walked(self, again: usize, next: Timestamp) -> Self {
        match self.walked < again {
            true => Self {
                walked: self.walked + 1,
                ..self
            },
            false => Self {
                due: next,
                walked: 0,
            },
        }
    }

    fn step(self) -> Step {
        self.walked.checked_sub(1).map_or(Step::Poll, Step::Again)
    }
}

/// How long nothing has changed in an object, and how long it may be left alone for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// The last change that was not a write of this daemon's own.
    pub since: Timestamp,
    /// The longest wait.
    pub longest: Duration,
}

impl Quiet {
    /// The wait before the next poll is this part of the time for which nothing has changed: 10 s until 40 minutes, 90 s after
    /// 6 hours. What is found late is found late by less than half a percent of that time.
    const PART: u32 = 240;

    fn wait(self, now: Timestamp) -> Duration {
        (now.since(self.since) / Self::PART).min(self.longest)
    }
}

/// When an object is polled next: at its own interval, or at the relaxed one, where webhooks allow for it; later after quiet
/// hours. Of a cron expression, which is met as written, no quiet is told.
pub fn next_poll(
    now: Timestamp,
    by_schedule: Timestamp,
    relaxed: Option<Duration>,
    quiet: Option<Quiet>,
) -> Timestamp {
    let soonest = relaxed.map_or(by_schedule, |relaxed| by_schedule.max(now + relaxed));
    quiet.map_or(soonest, |quiet| soonest.max(now + quiet.wait(now)))
}

/// What the time between two comparisons counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountsFrom {
    /// A duration: from the end of the last one.
    End,
    /// An expression: from the beginning, so that a moment which it named meanwhile is met as soon as the last one has ended.
    Beginning,
}

/// When the next comparison is due. `ended` is what the database knows of the last one, or of the first read; `began` what
/// this run knows; `next` gives the moment that the schedule names after another one.
pub fn next_comparison(
    from: CountsFrom,
    ended: Option<Timestamp>,
    began: Option<Timestamp>,
    now: Timestamp,
    next: impl Fn(Timestamp) -> Timestamp,
) -> Timestamp {
    // A time that is still to come was written by a clock that was ahead: nobody knows when it really was.
    let Some(ended) = ended.filter(|ended| *ended <= latest_due(now)) else {
        return now;
    };
    let last = match from {
        CountsFrom::Beginning => began.unwrap_or(ended),
        CountsFrom::End => ended,
    };
    // A clock that was set back must not put it off.
    next(last.min(now))
}

/// What is known of an object when one of its tasks asks for its next step; of no matter, but for inbound and comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Whether its first read is done.
    pub first_read_is_done: bool,
    /// Where its walks stand.
    pub walks: Walks,
    /// Whether a comparison runs.
    pub compares: bool,
    /// When the next one is due.
    pub comparison_due: Timestamp,
}

/// What a task does next in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This step.
    Do(Step),
    /// Begins a comparison, which ends the turn.
    BeginComparison,
    /// Nothing: the turn is over.
    Rest(Progress),
}

/// A turn of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    task: Task,
    /// How many steps have been called.
    called: usize,
    said: Progress,
}

impl Turn {
    /// A turn that begins.
    pub fn of(task: Task) -> Self {
        Self {
            task,
            called: 0,
            said: Progress::RING,
        }
    }

    /// What comes next. `seen` is looked at by the tasks that read an object as a whole, inbound and comparison.
    pub fn next(&self, seen: &Seen, now: Timestamp) -> Next {
        let until = |moment| {
            Next::Rest(self.said.or(Progress::Idle {
                until: Some(moment),
            }))
        };
        if self.task == Task::Inbound && seen.first_read_is_done {
            return match now < seen.walks.due {
                true => until(seen.walks.due),
                false => Next::Do(seen.walks.step()),
            };
        }
        if self.task == Task::Inbound && self.called > 0 {
            return Next::Rest(self.said);
        }
        if self.task == Task::Comparison && !seen.first_read_is_done {
            return until(now + LOOK);
        }
        if self.task == Task::Comparison && self.called > 0 {
            return match (seen.compares, now < seen.comparison_due) {
                (true, _) => Next::Do(Step::Comparison),
                (false, true) => until(seen.comparison_due),
                (false, false) => Next::BeginComparison,
            };
        }
        steps_of(self.task)
            .nth(self.called)
            .map_or(Next::Rest(self.said), Next::Do)
    }

    /// Takes in what a step said. Gives what the whole turn comes to, where that ends it.
    pub fn ends(&mut self, step: Step, said: Progress, now: Timestamp) -> Option<Progress> {
        self.called += 1;
        match (said, step) {
            (Progress::More, _) => return Some(Progress::More),
            // A walk that has ended may be followed by one at once.
            (Progress::Idle { .. }, Step::Poll | Step::Again(_)) => return Some(Progress::More),
            // The next one may be due already.
            (Progress::Idle { .. }, Step::Comparison) => {
                return Some(Progress::Idle { until: Some(now) });
            }
            (idle, _) => self.said = self.said.or(idle),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::decide::cursor::next_again;
    use crate::decide::round::pace::{Pace, SLOW_LOOK, Wait};
    use crate::decide::round::testing::{at, idle};

    /// An object whose first read is done, with nothing due before 100 s; the present is 50 s.
    fn quiet() -> Seen {
        Seen {
            first_read_is_done: true,
            walks: Walks::default().by(at(40)).walked(0, at(100)),
            compares: false,
            comparison_due: at(200),
        }
    }

    const NOW: u64 = 50;

    /// What a task calls in a turn, and what that comes to, where its steps say this.
    fn turn(task: Task, seen: Seen, says: &[Progress]) -> (Vec<Step>, Progress) {
        let (mut turn, mut called) = (Turn::of(task), Vec::new());
        loop {
            match turn.next(&seen, at(NOW)) {
                Next::Do(step) => {
                    let said = says[called.len()];
                    called.push(step);
                    if let Some(end) = turn.ends(step, said, at(NOW)) {
                        return (called, end);
                    }
                }
                Next::BeginComparison => return (called, Progress::More),
                Next::Rest(rest) => return (called, rest),
            }
        }
    }

    #[test]
    fn the_order_of_once_is_that_of_the_table() {
        let of = |part| steps(part, 2).collect::<Vec<_>>();
        assert_eq!(of(Part::Portal), [Step::Schema, Step::Reference]);
        assert_eq!(
            of(Part::Pull),
            [
                Step::FirstRead,
                Step::Filling,
                Step::Comparison,
                Step::Poll,
                Step::Again(0),
                Step::Again(1),
            ]
        );
        assert_eq!(of(Part::Shared), [Step::Decisions, Step::Inbox]);
        assert_eq!(
            of(Part::Settle),
            [Step::Reads, Step::Removals, Step::Push, Step::Links]
        );
        assert_eq!(of(Part::End), [Step::Looks, Step::Histories]);
        assert_eq!(steps(Part::Pull, 0).count(), 4);
    }

    #[test]
    fn every_step_is_of_one_task() {
        assert_eq!(Step::Again(7).task(), Task::Inbound);
        assert_eq!(Step::Filling.task(), Task::Comparison);
        assert_eq!(Step::Removals.task(), Task::Reads);
        for (step, task, _) in ORDER {
            assert_eq!(step.task(), task);
        }
    }

    #[test]
    fn inbound_reads_an_object_in_full_before_it_polls() {
        let unread = Seen {
            first_read_is_done: false,
            walks: Walks::default(),
            ..quiet()
        };
        let check = |said, end| {
            let expected = (vec![Step::FirstRead], end);
            assert_eq!(turn(Task::Inbound, unread, &[said]), expected);
        };
        check(Progress::More, Progress::More);
        // It waits for a scope.
        check(Progress::RING, Progress::RING);
    }

    #[test]
    fn inbound_polls_at_its_interval_and_walks_again_after_each_poll() {
        let with = |walks| Seen { walks, ..quiet() };
        let check = |walks: Walks, step, said| {
            let expected = (vec![step], Progress::More);
            assert_eq!(turn(Task::Inbound, with(walks), &[said]), expected);
        };
        assert_eq!(turn(Task::Inbound, quiet(), &[]), (vec![], idle(100)));
        let first = Walks::default();
        check(first, Step::Poll, Progress::More);
        check(first, Step::Poll, Progress::RING);
        let (second, third) = (
            first.walked(2, at(60)),
            first.walked(2, at(60)).walked(2, at(60)),
        );
        check(second, Step::Again(0), Progress::RING);
        check(third, Step::Again(1), Progress::More);
        let over = third.walked(2, at(60));
        assert_eq!(turn(Task::Inbound, with(over), &[]), (vec![], idle(60)));
    }

    #[test]
    fn a_clock_that_was_set_back_puts_a_poll_off_by_one_interval_at_most() {
        let seen = Seen {
            walks: quiet().walks.by(at(60)),
            ..quiet()
        };
        assert_eq!(turn(Task::Inbound, seen, &[]), (vec![], idle(60)));
    }

    #[test]
    fn webhooks_relax_a_poll_and_never_hasten_it() {
        let relaxed = Duration::from_secs(10);
        assert_eq!(next_poll(at(0), at(5), None, None), at(5));
        assert_eq!(next_poll(at(0), at(5), Some(relaxed), None), at(10));
        assert_eq!(next_poll(at(0), at(50), Some(relaxed), None), at(50));
    }

    #[test]
    fn quiet_hours_put_a_poll_off_by_a_240th_of_themselves() {
        const HOUR: u64 = 3_600;
        let check =
            |quiet_s: u64, poll_s: u64, relaxed_s: Option<u64>, longest_s: u64, expected: u64| {
                let now = at(100 * HOUR);
                let quiet = Quiet {
                    since: at(100 * HOUR - quiet_s),
                    longest: Duration::from_secs(longest_s),
                };
                let relaxed = relaxed_s.map(Duration::from_secs);
                let next = next_poll(now, now + Duration::from_secs(poll_s), relaxed, Some(quiet));
                assert_eq!(
                    next.since(now),
                    Duration::from_secs(expected),
                    "{quiet_s} s quiet"
                );
            };
        check(0, 10, None, 90, 10);
        check(40 * 60, 10, None, 90, 10);
        check(HOUR, 10, None, 90, 15);
        check(2 * HOUR, 10, None, 90, 30);
        check(6 * HOUR, 10, None, 90, 90);
        check(90 * HOUR, 10, None, 90, 90);
        // Never slower than `poll`, and never faster.
        check(90 * HOUR, 10, None, 10, 10);
        check(90 * HOUR, 10, None, 1, 10);
        // Beside healthy webhooks.
        check(0, 10, Some(60), 90, 60);
        check(6 * HOUR, 10, Some(60), 90, 90);
        check(6 * HOUR, 10, Some(120), 90, 120);
    }

    /// Polls and walks again of an object in which nothing has changed for a long time. Four of them are to take 2 % of a free
    /// account's 250,000 requests a day at most.
    #[test]
    fn a_quiet_day_takes_few_requests() {
        let day = Duration::from_hours(24);
        let (begun, changed) = (at(0) + day, at(0));
        let again = [Duration::from_mins(5), Duration::from_hours(1)];
        let mut walked = again.map(|delay| begun - delay);
        let (mut now, mut requests) = (begun, 0);
        while now.since(begun) < day {
            requests += 1;
            for (delay, walked_to) in again.iter().zip(&mut walked) {
                if let Some(window) = next_again(*walked_to, now, *delay, Some(changed)) {
                    *walked_to = window.to;
                    requests += 1;
                }
            }
            let quiet = Quiet {
                since: changed,
                longest: Duration::from_secs(90),
            };
            now = next_poll(now, now + Duration::from_secs(10), None, Some(quiet));
        }
        assert!(requests <= 250_000 / 50 / 4, "{requests} requests");
    }

    #[test]
    fn a_change_of_the_future_is_one_of_this_moment() {
        let quiet = Quiet {
            since: at(500),
            longest: Duration::from_secs(90),
        };
        assert_eq!(
            next_poll(at(NOW), at(NOW + 10), None, Some(quiet)),
            at(NOW + 10)
        );
    }

    #[test]
    fn a_comparison_waits_for_the_first_read_and_for_new_columns() {
        let unread = Seen {
            first_read_is_done: false,
            ..quiet()
        };
        assert_eq!(turn(Task::Comparison, unread, &[]), (vec![], idle(NOW + 1)));
        let due = Seen {
            comparison_due: at(NOW),
            ..quiet()
        };
        let check = |seen, says: &[Progress], steps: &[Step], end| {
            assert_eq!(turn(Task::Comparison, seen, says), (steps.to_vec(), end));
        };
        let (filling, both) = ([Step::Filling], [Step::Filling, Step::Comparison]);
        check(due, &[Progress::More], &filling, Progress::More);
        check(due, &[Progress::RING], &filling, Progress::More);
        check(quiet(), &[Progress::RING], &filling, idle(200));
        let runs = Seen {
            compares: true,
            ..quiet()
        };
        check(
            runs,
            &[Progress::RING, Progress::More],
            &both,
            Progress::More,
        );
        check(runs, &[Progress::RING, Progress::RING], &both, idle(NOW));
    }

    #[test]
    fn removals_follow_when_no_read_is_left_and_the_earlier_wish_is_kept() {
        let check = |says: &[Progress], steps: &[Step], end| {
            assert_eq!(turn(Task::Reads, quiet(), says), (steps.to_vec(), end));
        };
        let both = [Step::Reads, Step::Removals];
        check(&[Progress::More], &[Step::Reads], Progress::More);
        check(&[Progress::RING, Progress::More], &both, Progress::More);
        check(&[idle(80), idle(70)], &both, idle(70));
        check(&[Progress::RING, Progress::RING], &both, Progress::RING);
    }

    #[test]
    fn histories_are_read_when_nothing_is_left_to_be_looked_at() {
        let check = |says: &[Progress], steps: &[Step], end| {
            assert_eq!(turn(Task::Looks, quiet(), says), (steps.to_vec(), end));
        };
        let both = [Step::Looks, Step::Histories];
        check(&[Progress::More], &[Step::Looks], Progress::More);
        check(&[Progress::RING, Progress::More], &both, Progress::More);
        check(&[idle(80), idle(70)], &both, idle(70));
    }

    #[test]
    fn a_task_of_one_step_says_what_its_step_says() {
        for (task, step) in [
            (Task::Push, Step::Push),
            (Task::Inbox, Step::Inbox),
            (Task::Decisions, Step::Decisions),
        ] {
            for said in [Progress::More, Progress::RING, idle(70)] {
                assert_eq!(turn(task, quiet(), &[said]), (vec![step], said));
            }
        }
    }

    #[test]
    fn a_comparison_counts_from_what_its_schedule_counts_from() {
        let check = |from, ended: Option<u64>, began: Option<u64>, expected: u64| {
            let next = next_comparison(from, ended.map(at), began.map(at), at(NOW), |last| {
                last + Duration::from_secs(7)
            });
            assert_eq!(next, at(expected));
        };
        check(CountsFrom::End, Some(40), Some(30), 47);
        check(CountsFrom::Beginning, Some(40), Some(30), 37);
        // After a start only the end is known.
        check(CountsFrom::Beginning, Some(40), None, 47);
        // Never compared, or at a time that nobody believes.
        check(CountsFrom::End, None, None, NOW);
        check(CountsFrom::End, Some(9_000), None, NOW);
        // The clock was set back by minutes.
        check(CountsFrom::End, Some(NOW + 300), None, NOW + 7);
    }

    /// An object with so much to do at each step; time passes in the waits alone.
    #[derive(Debug, Clone)]
    struct World {
        left: BTreeMap<u8, u32>,
        again: usize,
        first_read_is_done: bool,
        walks: Walks,
        compares: bool,
        compared_at: Option<Timestamp>,
        /// The wall clock, and the time that has passed.
        now: Timestamp,
        steady: Duration,
        called: Vec<(Step, Duration)>,
    }

    const INTERVAL: Duration = Duration::from_mins(1);

    /// Within this each step is called again: an interval and a slow look after the work before it, and after a clock that
    /// was set back as much later as a time ahead is believed.
    const LONGEST: Duration = Duration::from_mins(15 + 4);

    fn number(step: Step) -> u8 {
        if let Step::Again(index) = step {
            return 100 + index as u8;
        }
        let own = ORDER.iter().position(|(own, _, _)| *own == step);
        own.expect("it is there") as u8
    }

    impl World {
        fn seen(&mut self) -> Seen {
            self.walks = self.walks.by(self.now + INTERVAL);
            Seen {
                first_read_is_done: self.first_read_is_done,
                walks: self.walks,
                compares: self.compares,
                comparison_due: next_comparison(
                    CountsFrom::End,
                    self.compared_at,
                    None,
                    self.now,
                    |last| last + INTERVAL,
                ),
            }
        }

        fn call(&mut self, step: Step) -> Progress {
            self.called.push((step, self.steady));
            let left = self.left.entry(number(step)).or_default();
            *left = left.saturating_sub(1);
            if *left > 0 {
                return Progress::More;
            }
            if step == Step::FirstRead {
                self.first_read_is_done = true;
            }
            if matches!(step, Step::Poll | Step::Again(_)) {
                self.walks = self.walks.walked(self.again, self.now + INTERVAL);
            }
            if step == Step::Comparison {
                self.compares = false;
                self.compared_at = Some(self.now);
            }
            Progress::RING
        }

        /// Lets a task's loop go on for so long. The first read belongs to inbound alone.
        fn run(&mut self, task: Task, time: Duration) {
            let end = self.steady + time;
            let mut pace = Pace::new(SLOW_LOOK);
            while self.steady < end {
                let mut turn = Turn::of(task);
                let said = loop {
                    let seen = self.seen();
                    match turn.next(&seen, self.now) {
                        Next::Do(step) => {
                            let said = self.call(step);
                            if let Some(said) = turn.ends(step, said, self.now) {
                                break said;
                            }
                        }
                        Next::BeginComparison => {
                            self.compares = true;
                            break Progress::More;
                        }
                        Next::Rest(said) => break said,
                    }
                };
                if let Wait::OrRing(wait) | Wait::Whole(wait) = pace.went_well(said, self.now) {
                    self.now = self.now + wait;
                    self.steady += wait;
                }
            }
        }

        fn was_called_since(&self, step: Step, since: Duration) -> bool {
            self.called
                .iter()
                .any(|(own, when)| *own == step && *when >= since)
        }
    }

    proptest! {
        /// Whatever there is to do at the steps before it, and whatever the wall clock does: each step is called again, and
        /// its work comes to an end.
        #[test]
        fn no_step_that_is_due_starves(
            work in prop::collection::btree_map(0_u8..13, 0_u32..6, 0..13),
            of_walks in prop::collection::btree_map(100_u8..103, 0_u32..6, 0..3),
            again in 0_usize..4,
            first_read_is_done: bool,
            jumps in prop::collection::vec(-7_200_i64..7_200, 0..4),
        ) {
            let tasks = [Task::Inbound, Task::Comparison, Task::Reads, Task::Push, Task::Looks, Task::Inbox, Task::Decisions];
            for task in tasks {
                let mut world = World {
                    left: work.clone().into_iter().chain(of_walks.clone()).collect(),
                    again,
                    first_read_is_done: first_read_is_done || task != Task::Inbound,
                    walks: Walks::default(),
                    compares: false,
                    compared_at: None,
                    now: at(0),
                    steady: Duration::ZERO,
                    called: Vec::new(),
                };
                for jump in std::iter::once(0).chain(jumps.iter().copied()) {
                    world.now = world.now.plus_millis(jump * 1_000);
                    world.left.extend(work.clone());
                    let since = world.steady;
                    world.run(task, LONGEST);
                    let own: Vec<Step> = steps_of(task)
                        .filter(|step| !matches!(step, Step::FirstRead | Step::Again(_)))
                        .chain((task == Task::Inbound).then_some(0..again).into_iter().flatten().map(Step::Again))
                        .collect();
                    for step in own {
                        prop_assert!(world.was_called_since(step, since), "{task:?} never calls {step:?}");
                        prop_assert_eq!(world.left.get(&number(step)).copied().unwrap_or(0), 0, "{:?} is not done", step);
                    }
                }
            }
        }
    }
}
