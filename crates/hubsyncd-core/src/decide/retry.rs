//! How long to wait before the next attempt. The only file that knows `backoff`.
//!
//! The curve is `backoff`'s without its own randomness; the jitter is full and comes from the caller, so that a run
//! with the same seed waits the same times. Whether to try again at all is said by `HubspotError::retry` and
//! `decide::outgoing::settle`.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

use crate::model::time::Timestamp;

/// The first step of the curve (engineering notes, 2.5).
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The highest step of the curve (engineering notes, 2.5).
pub const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// HubSpot's lock on records lasts two seconds (`hubspot/api-facts.md#4`, status 423).
pub const LOCK_LASTS: Duration = Duration::from_secs(2);

/// How long a record that a table refuses rests at first: somebody may be mending what refuses it.
const FIRST_REST: Duration = Duration::from_mins(1);

/// How long it rests at most: under [`LATEST_DUE`].
const LONGEST_REST: Duration = Duration::from_mins(10);

/// A record that HubSpot could not read is asked for again after this long: it is neither shown nor gone.
pub const AFTER_UNREAD: Duration = Duration::from_secs(30);

/// How long a record waits for the answer of an attempt that is under way, before it is read again.
pub const AFTER_FLIGHT: Duration = Duration::from_secs(5);

/// How long a record waits that one of the user's own constraints refused.
pub const AFTER_CONSTRAINT: Duration = Duration::from_mins(10);

/// How long an entry waits whose record must be read once more before its update can be sent.
pub const AFTER_READ: Duration = Duration::from_secs(1);

/// How long an entry waits of which nothing can be sent, because HubSpot no longer has its properties.
pub const AFTER_DRIFT: Duration = Duration::from_mins(10);

/// No wait that stands in the database is longer: a later time was written by a clock that was ahead, a program's or this
/// machine's, or is a pause whose end is asked for again meanwhile.
const LATEST_DUE: Duration = Duration::from_mins(15);

/// The latest time to come that is believed: what falls due later is due at once.
pub fn latest_due(now: Timestamp) -> Timestamp {
    now + LATEST_DUE
}

/// After this many doublings the curve is flat; more attempts change nothing.
const FLAT_AFTER: u32 = 16;

/// What kind of failure is waited out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// No connection, no answer, a server's error: full jitter under a doubling curve.
    Transient,
    /// HubSpot locked the records for two seconds: never sooner than that, then as `Transient`.
    Locked,
}

/// The wait before the next attempt after `attempts` failed ones (at least 1). `random` is from 0 up to 1.
pub fn next_attempt(class: RetryClass, attempts: u32, random: f64) -> Duration {
    match class {
        RetryClass::Transient => jittered(ceiling(attempts), random),
        RetryClass::Locked => LOCK_LASTS + jittered(ceiling(attempts), random),
    }
}

/// How long a record rests that a table has refused so many times, by a constraint of somebody else's.
pub fn rest_of_refused(times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(FLAT_AFTER);
    (FIRST_REST * 2_u32.pow(doublings)).min(LONGEST_REST)
}

/// The curve's step after `attempts` failed attempts, without jitter: 1 s, 2 s, 4 s … 5 min.
pub(crate) fn ceiling(attempts: u32) -> Duration {
    let mut curve = ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_WAIT)
        .with_max_interval(LONGEST_WAIT)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_elapsed_time(None)
        .build();
    let mut step = FIRST_WAIT;
    for _ in 0..attempts.clamp(1, FLAT_AFTER) {
        step = curve.next_backoff().unwrap_or(LONGEST_WAIT);
    }
    step
}

/// Full jitter: anything from nothing to the step, in whole milliseconds.
fn jittered(step: Duration, random: f64) -> Duration {
    let milliseconds = step.as_millis() as f64 * random.clamp(0.0, 1.0);
    Duration::from_millis(milliseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_doubles_from_a_second_to_five_minutes() {
        let steps: Vec<u64> = (0..12)
            .map(|attempts| ceiling(attempts).as_secs())
            .collect();
        assert_eq!(steps, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(ceiling(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn the_rest_of_a_refused_record_doubles_from_a_minute_to_ten() {
        let rests: Vec<u64> = [1, 2, 3, 4, 5, u32::MAX]
            .map(|times| rest_of_refused(times).as_secs() / 60)
            .to_vec();
        assert_eq!(rests, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn jitter_is_full_and_the_callers_own() {
        let wait = |random| next_attempt(RetryClass::Transient, 4, random);
        assert_eq!(wait(0.0), Duration::ZERO);
        assert_eq!(wait(0.25), Duration::from_secs(2));
        assert_eq!(wait(1.0), Duration::from_secs(8));
        assert_eq!(wait(7.0), Duration::from_secs(8));
        assert_eq!(wait(f64::NAN), Duration::ZERO);
    }

    #[test]
    fn a_lock_is_never_tried_sooner_than_it_lasts() {
        assert_eq!(next_attempt(RetryClass::Locked, 1, 0.0), LOCK_LASTS);
        assert_eq!(
            next_attempt(RetryClass::Locked, 2, 0.5),
            Duration::from_secs(3)
        );
    }
}
