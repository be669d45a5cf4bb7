//! What is counted and measured while the daemon runs and stands in no table: for `/metrics`, from the start on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::attempt::CallMade;
use crate::model::name::ObjectType;

/// What is written outside of all steps: by commands, and around the start and the end.
pub(crate) const OTHER_WORK: &str = "other";

tokio::task_local! {
    static WORK: &'static str;
}

/// What a job of the writer counts. It is added to the measures once the job's transaction is committed: what is rolled back has not
/// happened.
#[derive(Debug, Default)]
pub(crate) struct JobTally {
    echoes: BTreeMap<ObjectType, u64>,
    merges: BTreeMap<(ObjectType, &'static str), u64>,
}

thread_local! {
    /// Of the job that runs: it begins and ends on one thread.
    static TALLY: RefCell<JobTally> = RefCell::default();
}

/// An event of an object told nothing that the mirror, or a request of our own, did not show already.
pub(crate) fn count_echo(object: &ObjectType) {
    TALLY.with_borrow_mut(|tally| *tally.echoes.entry(object.clone()).or_default() += 1);
}

/// A field of an object was merged, with that outcome.
pub(crate) fn count_merge(object: &ObjectType, outcome: &'static str) {
    let key = (object.clone(), outcome);
    TALLY.with_borrow_mut(|tally| *tally.merges.entry(key).or_default() += 1);
}

/// What was counted on this thread since the last call.
pub(super) fn take_tally() -> JobTally {
    TALLY.take()
}

/// Does something as part of a kind of work: what is written meanwhile counts to it.
pub(crate) fn working<F: Future>(
    work: &'static str,
    does: F,
) -> tokio::task::futures::TaskLocalFuture<&'static str, F> {
    WORK.scope(work, does)
}

/// What this is part of.
pub(crate) fn work() -> &'static str {
    WORK.try_with(|work| *work).unwrap_or(OTHER_WORK)
}

/// Upper bounds of the classes of durations, in seconds: from a small commit to a request that is given up.
pub(crate) const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Durations by classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Spread {
    /// How many are at most as long as each bound, and longer than the one before.
    pub(crate) within: [u64; BOUNDS.len()],
    /// All of them.
    pub(crate) count: u64,
    /// Seconds in all.
    pub(crate) seconds: f64,
}

impl Spread {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(class) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.within[class] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }
}

/// All counts and measures since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measures {
    /// Attempts of requests by class and outcome.
    pub(crate) requests: BTreeMap<(&'static str, &'static str), u64>,
    /// How long each took, by class.
    pub(crate) request_seconds: BTreeMap<&'static str, Spread>,
    /// How long commits took.
    pub(crate) commits: Spread,
    /// How long it took to write the log back into the file.
    pub(crate) checkpoints: Spread,
    /// Events that told nothing new, by object.
    pub(crate) echoes: BTreeMap<ObjectType, u64>,
    /// Fields that were merged, by object and outcome.
    pub(crate) merges: BTreeMap<(ObjectType, &'static str), u64>,
    /// How long the write lock was held, by the kind of work.
    pub(crate) locks: BTreeMap<&'static str, Spread>,
    /// Deliveries of webhooks by what became of them.
    pub(crate) deliveries: BTreeMap<&'static str, u64>,
}

/// The measures as they grow; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured(Arc<Mutex<Measures>>);

impl Measured {
    /// Those of this moment.
    pub(crate) fn now(&self) -> Measures {
        self.0.lock().clone()
    }

    /// An attempt of a request has ended.
    pub(super) fn asked(&self, call: &CallMade) {
        let mut measures = self.0.lock();
        let outcome = outcome(call);
        *measures.requests.entry((call.class, outcome)).or_default() += 1;
        let spread = measures.request_seconds.entry(call.class).or_default();
        spread.add(Duration::from_millis(call.ms));
    }

    /// A transaction has ended: how long its commit took, how long it held the lock, and how long each of its jobs ran. Begin and
    /// commit belong to the last job, so that all kinds of work together have held the lock for as long as it was held.
    pub(super) fn committed(
        &self,
        commit: Duration,
        held: Duration,
        jobs: &[(&'static str, Duration)],
    ) {
        let mut measures = self.0.lock();
        measures.commits.add(commit);
        let mut rest = held;
        for (index, (work, ran)) in jobs.iter().enumerate() {
            let is_last = index + 1 == jobs.len();
            let part = if is_last { rest } else { (*ran).min(rest) };
            rest = rest.saturating_sub(part);
            measures.locks.entry(work).or_default().add(part);
        }
    }

    /// What the jobs of a transaction counted, which is committed.
    pub(super) fn counted(&self, tallies: Vec<JobTally>) {
        let mut measures = self.0.lock();
        for JobTally { echoes, merges } in tallies {
            for (object, count) in echoes {
                *measures.echoes.entry(object).or_default() += count;
            }
            for (key, count) in merges {
                *measures.merges.entry(key).or_default() += count;
            }
        }
    }

    /// The log was written back.
    pub(super) fn checkpointed(&self, took: Duration) {
        self.0.lock().checkpoints.add(took);
    }

    /// A delivery was answered.
    pub(crate) fn delivered(&self, outcome: &'static str) {
        *self.0.lock().deliveries.entry(outcome).or_default() += 1;
    }
}

/// All words for how an attempt ends.
pub(crate) const OUTCOMES: [&str; 6] = [
    "no_answer",
    "ok",
    "refused",
    "server_error",
    "throttled",
    "unreadable",
];

/// How an attempt ended, in a word.
fn outcome(call: &CallMade) -> &'static str {
    match call.status {
        None => "no_answer",
        Some(429) => "throttled",
        Some(500..) => "server_error",
        Some(400..) => "refused",
        Some(_) if call.code.is_some() => "unreadable",
        Some(_) => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_work_together_have_held_the_lock_for_as_long_as_it_was_held() {
        let measured = Measured::default();
        let ms = Duration::from_millis;
        measured.committed(
            ms(3),
            ms(10),
            &[("poll", ms(2)), ("push", ms(1)), ("poll", ms(3))],
        );
        let locks = measured.now().locks;
        let seconds = |work: &str| locks[work].seconds;
        assert_eq!((locks["poll"].count, locks["push"].count), (2, 1));
        assert!((seconds("poll") - 0.009).abs() < 1e-9 && (seconds("push") - 0.001).abs() < 1e-9);
    }

    #[test]
    fn what_a_job_counts_is_there_once_it_is_handed_on() {
        let contacts = ObjectType::parse("contacts").expect("a name");
        count_echo(&contacts);
        count_merge(&contacts, "taken");
        count_merge(&contacts, "taken");
        let measured = Measured::default();
        drop(take_tally());
        count_merge(&contacts, "taken");
        measured.counted(vec![take_tally(), take_tally()]);
        let now = measured.now();
        assert_eq!(now.merges, BTreeMap::from([((contacts, "taken"), 1)]));
        assert_eq!(now.echoes, BTreeMap::new(), "of a job that was dropped");
    }

    #[tokio::test]
    async fn what_is_written_counts_to_the_innermost_work() {
        let inner = working("settle", async { work() });
        let seen = working("push", async { (work(), inner.await, work()) });
        assert_eq!(seen.await, ("push", "settle", "push"));
        assert_eq!(work(), OTHER_WORK);
    }

    #[test]
    fn a_duration_counts_in_the_class_that_holds_it_and_the_longest_in_none() {
        let mut spread = Spread::default();
        for ms in [1, 2, 100, 40_000] {
            spread.add(Duration::from_millis(ms));
        }
        assert_eq!(
            (spread.within[0], spread.within[1], spread.within[6]),
            (1, 1, 1)
        );
        assert_eq!(spread.count, 4);
        assert!((spread.seconds - 40.103).abs() < 1e-9);
    }
}
