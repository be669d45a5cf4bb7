//! How `once` goes round: whether what is due is done again, waited for, or left.

use std::time::Duration;

use crate::decide::round::pace::SHORTEST_WAIT;
use crate::decide::round::{Progress, Step};
use crate::model::time::Timestamp;

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
    /// Of reads of associations that are believed to be gone once their records were shown.
    pub links: Option<Timestamp>,
}

/// What the steps of [`Part::Settle`](crate::decide::round::Part::Settle) came to, each called until it was idle or cut off.
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
                Step::Links => retries.links,
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
    use super::*;
    use crate::decide::round::testing::{at, idle};

    const NOW: u64 = 50;

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
                ..Retries::default()
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
        let check = |read, push, links, expected| {
            let said = [
                (Step::Reads, idle(60)),
                (Step::Push, idle(70)),
                (Step::Links, idle(65)),
            ];
            let settled = settled(said, Retries { read, push, links }, at(NOW));
            assert_eq!(settled, Settled::Until(expected));
        };
        check(Some(at(60)), Some(at(70)), None, Some(at(60)));
        check(None, Some(at(70)), None, Some(at(70)));
        check(None, Some(at(90)), None, Some(at(90)));
        check(None, Some(at(90)), Some(at(80)), Some(at(80)));
        check(None, None, None, None);
        // A step that waits for nothing has no retries either.
        let said = [(Step::Push, Progress::RING)];
        let retries = Retries {
            read: None,
            push: Some(at(NOW)),
            ..Retries::default()
        };
        assert_eq!(settled(said, retries, at(NOW)), Settled::Until(None));
    }
}
