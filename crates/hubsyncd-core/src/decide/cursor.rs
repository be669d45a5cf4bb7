//! Which window of last-modified times a poll walks next, and whether a page of the walk makes sense.
//!
//! A window is walked by record id, so that neither the cap of 10,000 results nor many records of one timestamp loses
//! one (`hubspot/api-facts.md#6`, keyset recipe). All times are HubSpot's.

use std::time::Duration;

use crate::model::id::HubspotId;
use crate::model::time::Timestamp;

/// A fixed window of last-modified times, both ends included, and how far its walk got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchWindow {
    /// The first moment.
    pub from: Timestamp,
    /// The last moment.
    pub to: Timestamp,
    /// Records up to this id were walked.
    pub last_id: Option<HubspotId>,
}

impl SearchWindow {
    /// The window of which an answer can know: what HubSpot changes after its `Date` no walk has seen, whatever end was
    /// asked for. One whose `Date` lies before the window leaves it without length.
    #[must_use]
    pub fn seen_at(self, date: Option<Timestamp>) -> Self {
        Self {
            to: no_later(self.to, date).max(self.from),
            ..self
        }
    }
}

/// A moment by which an answer knew everything: no later than its `Date`.
pub fn no_later(moment: Timestamp, date: Option<Timestamp>) -> Timestamp {
    date.map_or(moment, |date| moment.min(date))
}

/// The next window to poll: from a short overlap before the end of the last one to the present.
pub fn next_window(polled_to: Timestamp, now: Timestamp, overlap: Duration) -> SearchWindow {
    SearchWindow {
        // A clock that went back must not turn the window round.
        from: polled_to.min(now) - overlap,
        to: now,
        last_id: None,
    }
}

/// What was modified since a time, as of a moment of HubSpot's.
pub fn window_since(since: Timestamp, now: Timestamp) -> SearchWindow {
    SearchWindow {
        from: since,
        to: since.max(now + CLOCKS),
        last_id: None,
    }
}

/// By so much a cursor may be ahead of HubSpot's time, which is known to two seconds only.
const CLOCKS: Duration = Duration::from_secs(2);

/// Whether a cursor lies in HubSpot's future: nobody knows what was changed between the moment up to which all is known
/// and now.
pub fn is_ahead(polled_to: Timestamp, now: Timestamp) -> bool {
    polled_to > now + CLOCKS
}

/// The next window to walk again, once enough of it has aged. `changed` is when a change was last seen: polls that saw none
/// are walked again together, many by one search.
pub fn next_again(
    walked_to: Timestamp,
    now: Timestamp,
    delay: Duration,
    changed: Option<Timestamp>,
) -> Option<SearchWindow> {
    let to = now - delay;
    let step = match changed {
        Some(changed) if changed + CLOCKS >= walked_to => again_step(delay),
        Some(_) | None => delay * QUIET,
    };
    (to.since(walked_to) >= step).then_some(SearchWindow {
        from: walked_to,
        to,
        last_id: None,
    })
}

/// So many delays are walked again at a time where polls saw nothing.
const QUIET: u32 = 2;

/// How much is walked again at a time: a fifth of the delay, so that each change costs one more read and not one a poll.
fn again_step(delay: Duration) -> Duration {
    (delay / 5).max(Duration::from_secs(1))
}

/// A page that can't be part of a walk by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a search sorted by record id answered with record {got} after record {after}")]
pub struct NoProgress {
    /// The id after which the page was asked for or the record before it.
    pub after: HubspotId,
    /// What came.
    pub got: HubspotId,
}

/// The last id of a page whose ids go up from where the walk stands; `None` for an empty page.
///
/// # Errors
/// The page goes back, so that the walk might never end.
pub fn page_end(
    last_id: Option<HubspotId>,
    ids: impl Iterator<Item = HubspotId>,
) -> Result<Option<HubspotId>, NoProgress> {
    let mut end = last_id;
    for id in ids {
        if let Some(after) = end.filter(|after| id <= *after) {
            return Err(NoProgress { after, got: id });
        }
        end = Some(id);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn windows_overlap_and_never_turn_round() {
        let window = next_window(at(100_000), at(130_000), Duration::from_secs(15));
        assert_eq!((window.from, window.to), (at(85_000), at(130_000)));
        let window = next_window(at(100_000), at(90_000), Duration::from_secs(15));
        assert_eq!((window.from, window.to), (at(75_000), at(90_000)));
    }

    #[test]
    fn a_window_never_ends_later_than_the_date_of_the_answer_that_walked_it() {
        let year = Duration::from_hours(365 * 24);
        let window = next_window(at(100_000), at(130_000) + year, Duration::from_secs(15));
        let seen = window.seen_at(Some(at(130_000)));
        assert_eq!((seen.from, seen.to), (window.from, at(130_000)));
        // One whose `Date` is a year ahead says nothing of the year that it skips.
        assert_eq!(seen.seen_at(Some(at(130_000) + year)), seen);
        assert_eq!(seen.seen_at(None), seen);
        // One whose `Date` is a year behind does not turn it round.
        assert_eq!(seen.seen_at(Some(at(0))).to, window.from);
    }

    #[test]
    fn a_cursor_in_hubspots_future_is_told_from_one_that_clocks_explain() {
        assert!(!is_ahead(at(100_000), at(130_000)));
        assert!(!is_ahead(at(102_000), at(100_000)));
        assert!(is_ahead(at(102_001), at(100_000)));
    }

    #[test]
    fn a_walk_again_leaves_no_gap_and_waits_for_its_step() {
        let delay = Duration::from_mins(5);
        let changed = Some(at(500_000));
        assert_eq!(next_again(at(0), at(359_999), delay, changed), None);
        let first = next_again(at(0), at(360_000), delay, changed).expect("due");
        assert_eq!((first.from, first.to), (at(0), at(60_000)));
        let second = next_again(first.to, at(420_000), delay, changed).expect("due");
        assert_eq!(second.from, first.to);
    }

    #[test]
    fn windows_that_showed_nothing_are_walked_again_together_and_none_is_left_out() {
        let delay = Duration::from_mins(5);
        let walked_to = at(10_000_000);
        let due = walked_to + 3 * delay;
        for quiet in [None, Some(at(9_997_999))] {
            assert_eq!(
                next_again(walked_to, due.plus_millis(-1), delay, quiet),
                None
            );
            let window = next_again(walked_to, due, delay, quiet).expect("due");
            assert_eq!((window.from, window.to), (walked_to, walked_to + 2 * delay));
        }
        // One change, and what had waited is walked again at once.
        let window = next_again(walked_to, due.plus_millis(-1), delay, Some(due)).expect("due");
        assert_eq!(
            (window.from, window.to),
            (walked_to, (due - delay).plus_millis(-1))
        );
        let in_doubt = Some(at(9_998_000));
        assert!(next_again(walked_to, due.plus_millis(-1), delay, in_doubt).is_some());
    }

    #[test]
    fn a_page_that_goes_back_is_an_error() {
        let ids = |list: &[i64]| list.iter().map(|id| HubspotId(*id)).collect::<Vec<_>>();
        assert_eq!(
            page_end(Some(HubspotId(5)), ids(&[6, 9]).into_iter()),
            Ok(Some(HubspotId(9)))
        );
        assert_eq!(page_end(None, ids(&[]).into_iter()), Ok(None));
        assert!(page_end(Some(HubspotId(5)), ids(&[5]).into_iter()).is_err());
        assert!(page_end(None, ids(&[10, 9]).into_iter()).is_err());
    }
}
