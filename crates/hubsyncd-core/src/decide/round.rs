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
//!
//! | the turn | the task waits |
//! |---|---|
//! | has more to do | not at all |
//! | names a moment | until then, but 5 ms at least and 30 s at most; a ring ends the wait |
//! | names none | 30 s; a ring ends the wait |
//! | failed | as long as the failure asks for; a ring does not end the wait |
//!
//! A chore is called at its interval, and again after a failure; where the interval is longer than 30 s, the loop looks more
//! often whether it is due.

use std::time::Duration;

use crate::decide::retry::latest_due;
use crate::model::time::Timestamp;

/// The longest wait between two turns: a lost ring costs this and never a change.
pub(crate) const SLOW_LOOK: Duration = Duration::from_secs(30);

/// A turn must not begin sooner than this after one that had nothing to do: a moment that lies in the past would spin.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(5);

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
    /// Takes stored events in.
    Inbox,
    /// Empties the log after an erasure.
    Erase,
    /// Looks for changes that no delivery announced.
    Deliveries,
    /// Reads the certificate again.
    Certificate,
    /// Renews the token.
    Tokens,
    /// Reads the portal's schema, owners and pipelines.
    Schema,
    /// Carries out people's decisions.
    Decisions,
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
            Self::Inbox => "inbox",
            Self::Erase => "erase",
            Self::Deliveries => "deliveries",
            Self::Certificate => "certificate",
            Self::Tokens => "tokens",
            Self::Schema => "schema",
            Self::Decisions => "decisions",
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

/// When an object is polled next: at its own interval, or at the relaxed one, where webhooks allow for it.
pub fn next_poll(now: Timestamp, by_schedule: Timestamp, relaxed: Option<Duration>) -> Timestamp {
    relaxed.map_or(by_schedule, |relaxed| by_schedule.max(now + relaxed))
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

/// How long a loop waits between two turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Not,
    /// So long, or until the bell is rung.
    OrRing(Duration),
    /// So long, whoever rings.
    Whole(Duration),
}

/// The pace of a loop: what it has heard of its bell, and how often it has failed in a row.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    longest: Duration,
    heard: u64,
    failures: u32,
}

impl Pace {
    /// Of a loop that looks at this interval at least.
    pub fn new(longest: Duration) -> Self {
        Self {
            longest: longest.min(SLOW_LOOK),
            heard: 0,
            failures: 0,
        }
    }

    /// A turn begins: it sees what those wrote who have rung so far.
    pub fn begins(&mut self, rings: u64) {
        self.heard = rings;
    }

    /// Who rings after so many rings is not heard by the turn that has begun, and ends the wait after it.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// A turn went well.
    pub fn went_well(&mut self, said: Progress, now: Timestamp) -> Wait {
        self.failures = 0;
        match said {
            Progress::More => Wait::Not,
            Progress::Idle { until: None } => Wait::OrRing(self.longest),
            Progress::Idle { until: Some(until) } => {
                Wait::OrRing(until.since(now).clamp(SHORTEST_WAIT, self.longest))
            }
        }
    }

    /// A turn failed; `wait` is how long to wait after so many failures in a row.
    pub fn failed(&mut self, wait: impl FnOnce(u32) -> Duration) -> Wait {
        self.failures += 1;
        Wait::Whole(wait(self.failures))
    }
}

/// What is called at an interval. Its loop may look more often, and a call that failed is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chore {
    interval: Duration,
    next: Timestamp,
}

impl Chore {
    /// Due at once.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            next: Timestamp::EPOCH,
        }
    }

    /// Whether it is to be called. A wall clock that went back must not stop it.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.next || self.next.since(now) > self.interval
    }

    /// It was called at `now`.
    pub fn done(&mut self, now: Timestamp) {
        self.next = now + self.interval;
    }

    /// When it is due.
    pub fn rest(&self) -> Progress {
        Progress::Idle {
            until: Some(self.next),
        }
    }
}

/// What a round of `once` over an object comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Something is due already: the round is made again.
    Again,
    /// Nothing is due until then, or at all.
    Until(Option<Timestamp>),
    /// A step was cut off while it had more to do.
    Cut,
}

/// When the next retries of an object fall due, those left out that rest until somebody else has changed something: a
/// run that ends waits for no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retries {
    /// Of reads.
    pub read: Option<Timestamp>,
    /// Of local changes.
    pub push: Option<Timestamp>,
}

/// What the steps of [`Part::Settle`] came to, each called until it was idle or cut off.
pub fn settled(
    said: impl IntoIterator<Item = (Step, Progress)>,
    retries: Retries,
    now: Timestamp,
) -> Settled {
    let all = said.into_iter().map(|(step, said)| match (step, said) {
        (_, Progress::More) => Progress::More,
        (_, Progress::Idle { until: None }) => Progress::RING,
        (step, Progress::Idle { until: Some(until) }) => {
            let retry = match step {
                Step::Reads => retries.read,
                Step::Push => retries.push,
                // A removal that a program's constraint refused is not waited for.
                Step::Removals => None,
                // Nor the next pass over all associations, and what HubSpot did not tell.
                Step::Links => None,
                Step::Schema
                | Step::Reference
                | Step::FirstRead
                | Step::Filling
                | Step::Comparison
                | Step::Poll
                | Step::Again(_)
                | Step::Decisions
                | Step::Inbox
                | Step::Looks
                | Step::Histories => Some(until),
            };
            Progress::Idle {
                until: retry.map(|retry| retry.max(until)),
            }
        }
    });
    match all.fold(Progress::RING, Progress::or) {
        Progress::More => Settled::Cut,
        Progress::Idle { until: Some(until) } if until <= now => Settled::Again,
        Progress::Idle { until } => Settled::Until(until),
    }
}

/// Whether another object's step has left an object something to push that is due by now, such as an association that waited for
/// that object's create. `left` is when the first change of each object is due, `before` the same after the round before: what is
/// due as it was is not pushed by one more round.
pub fn is_left(left: &[Option<Timestamp>], before: &[Option<Timestamp>], now: Timestamp) -> bool {
    left != before && left.iter().flatten().any(|due| *due <= now)
}

/// How long `once` waits for what is due next of all objects. `None`: nothing is due before the deadline.
pub fn wait_for_next(
    due: impl IntoIterator<Item = Option<Timestamp>>,
    now: Timestamp,
    deadline: Timestamp,
) -> Option<Duration> {
    let next = due.into_iter().flatten().min()?;
    (next < deadline).then(|| next.since(now).max(SHORTEST_WAIT))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn idle(seconds: u64) -> Progress {
        Progress::Idle {
            until: Some(at(seconds)),
        }
    }

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
        assert_eq!(next_poll(at(0), at(5), None), at(5));
        assert_eq!(next_poll(at(0), at(5), Some(relaxed)), at(10));
        assert_eq!(next_poll(at(0), at(50), Some(relaxed)), at(50));
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

    #[test]
    fn a_loop_waits_for_what_its_turn_says() {
        let check = |longest, said, expected| {
            let mut pace = Pace::new(Duration::from_secs(longest));
            assert_eq!(pace.went_well(said, at(NOW)), expected);
        };
        let ring = |seconds| Wait::OrRing(Duration::from_secs(seconds));
        check(3_600, Progress::More, Wait::Not);
        check(3_600, Progress::RING, ring(30));
        check(3_600, idle(NOW + 7), ring(7));
        check(3_600, idle(NOW + 700), ring(30));
        check(3_600, idle(NOW - 1), Wait::OrRing(SHORTEST_WAIT));
        check(10, Progress::RING, ring(10));
        check(10, idle(NOW + 20), ring(10));
    }

    #[test]
    fn failures_are_counted_until_a_turn_goes_well() {
        let mut pace = Pace::new(SLOW_LOOK);
        let seconds = |count: u32| Duration::from_secs(count.into());
        assert_eq!(pace.failed(seconds), Wait::Whole(seconds(1)));
        assert_eq!(pace.failed(seconds), Wait::Whole(seconds(2)));
        pace.went_well(Progress::RING, at(NOW));
        assert_eq!(pace.failed(seconds), Wait::Whole(seconds(1)));
    }

    #[test]
    fn a_chore_is_called_at_its_interval_and_again_after_a_failure() {
        let mut chore = Chore::every(Duration::from_secs(100));
        assert!(chore.is_due(at(0)));
        chore.done(at(0));
        assert_eq!(chore.rest(), idle(100));
        assert!(!chore.is_due(at(99)));
        assert!(chore.is_due(at(100)), "and so it stays until it is done");
        assert!(
            chore.is_due(at(0) - Duration::from_secs(1)),
            "the clock went back"
        );
    }

    #[test]
    fn once_goes_round_until_nothing_is_due() {
        let due = |said| match said {
            Progress::Idle { until } => until,
            Progress::More => None,
        };
        let check = |reads, removals, push, expected| {
            let said = [
                (Step::Reads, reads),
                (Step::Removals, removals),
                (Step::Push, push),
            ];
            let retries = Retries {
                read: due(reads),
                push: due(push),
            };
            assert_eq!(settled(said, retries, at(NOW)), expected);
        };
        let none = Progress::RING;
        check(none, none, none, Settled::Until(None));
        check(idle(80), none, idle(70), Settled::Until(Some(at(70))));
        check(none, none, idle(NOW), Settled::Again);
        check(none, Progress::More, none, Settled::Cut);
        check(none, idle(NOW), none, Settled::Until(None));
        let wait =
            |due: [Option<Timestamp>; 2], deadline| wait_for_next(due, at(NOW), at(deadline));
        assert_eq!(wait([None, None], 100), None);
        assert_eq!(
            wait([Some(at(80)), Some(at(60))], 100),
            Some(Duration::from_secs(10))
        );
        assert_eq!(wait([Some(at(80)), None], 80), None, "not in time");
        assert_eq!(wait([Some(at(0)), None], 100), Some(SHORTEST_WAIT));
    }

    #[test]
    fn once_goes_round_again_for_what_one_object_leaves_another() {
        let now = at(NOW);
        assert!(!is_left(&[None, None], &[], now));
        assert!(is_left(&[Some(now), None], &[], now));
        assert!(is_left(
            &[Some(at(NOW - 1)), None],
            &[Some(at(NOW - 2)), None],
            now
        ));
        assert!(!is_left(&[Some(at(NOW + 1)), None], &[], now));
        assert!(
            !is_left(&[Some(now), None], &[Some(now), None], now),
            "nobody pushes it"
        );
    }

    #[test]
    fn once_waits_for_retries_and_not_for_what_rests_until_somebody_else_acts() {
        let check = |read, push, expected| {
            let said = [(Step::Reads, idle(60)), (Step::Push, idle(70))];
            let settled = settled(said, Retries { read, push }, at(NOW));
            assert_eq!(settled, Settled::Until(expected));
        };
        check(Some(at(60)), Some(at(70)), Some(at(60)));
        check(None, Some(at(70)), Some(at(70)));
        check(None, Some(at(90)), Some(at(90)));
        check(None, None, None);
        // A step that waits for nothing has no retries either.
        let said = [(Step::Push, Progress::RING)];
        let retries = Retries {
            read: None,
            push: Some(at(NOW)),
        };
        assert_eq!(settled(said, retries, at(NOW)), Settled::Until(None));
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

        /// Somebody writes and rings at any moment: what no turn has seen ends the wait that follows.
        #[test]
        fn a_bell_is_never_lost(moments in prop::collection::vec((0_u8..6, 1_u64..3_600), 1..60)) {
            let (mut pace, mut rings) = (Pace::new(SLOW_LOOK), 0_u64);
            // Writes that no turn which has begun could see, and how the present turn has ended.
            let (mut unseen, mut wait) = (0_u32, Some(Wait::Not));
            for (what, seconds) in moments {
                match (what, wait) {
                    (0 | 1, _) => {
                        unseen += 1;
                        rings += 1;
                    }
                    // The wait is over, by itself or by a ring.
                    (2, Some(_)) => {
                        pace.begins(rings);
                        (unseen, wait) = (0, None);
                    }
                    (3, None) => wait = Some(pace.went_well(idle(seconds), at(NOW))),
                    (4, None) => wait = Some(pace.went_well(Progress::More, at(NOW))),
                    (5, None) => wait = Some(pace.failed(|_| Duration::from_secs(seconds))),
                    _ => {}
                }
                if let Some(Wait::OrRing(longest)) = wait {
                    prop_assert!(longest <= SLOW_LOOK);
                    prop_assert_eq!(unseen > 0, pace.heard() != rings);
                }
            }
        }
    }
}
