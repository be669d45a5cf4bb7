//! How long a loop waits between two turns, and when a chore is due.
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

use crate::decide::round::Progress;
use crate::model::time::Timestamp;

/// The longest wait between two turns: a lost ring costs this and never a change.
pub(crate) const SLOW_LOOK: Duration = Duration::from_secs(30);

/// A turn must not begin sooner than this after one that had nothing to do: a moment that lies in the past would spin.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(5);

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
    /// When it was last called.
    done: Option<Timestamp>,
}

impl Chore {
    /// Due at once.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            done: None,
        }
    }

    /// The same at another interval, from its last call on.
    pub fn at(&mut self, interval: Duration) -> &mut Self {
        self.interval = interval;
        self
    }

    fn next(&self) -> Timestamp {
        self.done
            .map_or(Timestamp::EPOCH, |done| done + self.interval)
    }

    /// Whether it is to be called. A wall clock that went back must not stop it.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.next() || self.next().since(now) > self.interval
    }

    /// It was called at `now`.
    pub fn done(&mut self, now: Timestamp) {
        self.done = Some(now);
    }

    /// When it is due.
    pub fn rest(&self) -> Progress {
        Progress::Idle {
            until: Some(self.next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::round::testing::{at, idle};

    const NOW: u64 = 50;

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

    proptest! {
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
