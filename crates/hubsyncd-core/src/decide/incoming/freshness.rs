//! How old an answer of HubSpot's is against what is known here. Pages, search hits, reads and absences are all judged by
//! this one rule: an answer may have waited for its turn while something newer was written.
//!
//! It knows three times of two clocks: the version of a record is HubSpot's, the moments of a question and of a departure
//! are this machine's.

use std::time::Duration;

use crate::model::time::Timestamp;

/// How sure an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// List and batch read show the store.
    Store,
    /// Search shows its index, which may be late (`hubspot/api-facts.md#6`).
    Search,
}

/// What an answer may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It may be applied.
    Fresh,
    /// It may be older than what is known: a read from the store tells.
    Unsure,
    /// It is older than what is known, and changes nothing.
    Stale,
}

/// A record of which the mirror has a version already: an older one changes nothing, and of the same one only the store
/// may correct what is here.
pub fn of_version(evidence: Evidence, shown: Timestamp, known: Option<Timestamp>) -> Freshness {
    match known {
        Some(known) if shown < known => Freshness::Stale,
        Some(known) if shown == known && evidence == Evidence::Search => Freshness::Unsure,
        Some(_) | None => Freshness::Fresh,
    }
}

/// A record that a read showed, before a write, a row or a decision rests on it: while its answer was on its way, another
/// one may have shown a later version. `asked_at` is by HubSpot's clock. An answer to a question of long after that version
/// is what HubSpot holds, however old it claims to be: nothing may wait for ever for a version that HubSpot has taken back.
pub fn of_claim(asked_at: Timestamp, shown: Timestamp, known: Option<Timestamp>) -> Freshness {
    match known {
        Some(known) if shown < known && asked_at < known + NOT_SHOWN_YET => Freshness::Stale,
        Some(_) | None => Freshness::Fresh,
    }
}

/// A question to HubSpot, by this machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// How sure its answer is.
    pub evidence: Evidence,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// The time of the transaction that has the answer in hand.
    pub now: Timestamp,
}

/// A record that is shown and that left the mirror, or was called missing, at `left_at`. Only the store's word of a later
/// moment brings it back. Times ahead of the transaction's are of before the clock was put back: they order nothing.
pub fn of_departed(question: Question, left_at: Timestamp) -> Freshness {
    let Question {
        evidence,
        asked_at,
        now,
    } = question;
    let ordered = asked_at <= now && left_at <= now;
    match evidence {
        Evidence::Search => Freshness::Unsure,
        Evidence::Store if !ordered || asked_at == left_at => Freshness::Unsure,
        Evidence::Store if asked_at < left_at => Freshness::Stale,
        Evidence::Store => Freshness::Fresh,
    }
}

/// A record that an answer did not show. Where its row is of a version later than the question, the absence is of before:
/// the record was made or restored meanwhile.
pub(crate) fn of_absence(
    asked_at: Timestamp,
    known: Option<Timestamp>,
    clock_offset_ms: i64,
) -> Freshness {
    let asked_at = asked_at.plus_millis(clock_offset_ms);
    match known {
        Some(known) if known > asked_at => Freshness::Stale,
        Some(_) | None => Freshness::Fresh,
    }
}

/// HubSpot may not show a record everywhere this long after it was made (`hubspot/api-facts.md#6`).
const NOT_SHOWN_YET: Duration = Duration::from_mins(1);

/// When to ask again for a record that an answer misses although it was made moments ago; `None`: it is gone. Times are
/// HubSpot's. What lies in the archive, or whose deletion was announced, is gone, however young.
pub(crate) fn missing_too_soon(
    created_at: Option<Timestamp>,
    now: Timestamp,
    is_told: bool,
) -> Option<Timestamp> {
    let shown_by = created_at? + NOT_SHOWN_YET;
    // A time far ahead is no time of HubSpot's.
    let is_young = now < shown_by && shown_by <= now + 2 * NOT_SHOWN_YET;
    (is_young && !is_told).then(|| shown_by.min(now + BETWEEN_LOOKS))
}

/// Time between two looks at a record that is not shown yet.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use Evidence::{Search, Store};
    use Freshness::{Fresh, Stale, Unsure};

    fn at(millis: i64) -> Timestamp {
        Timestamp::EPOCH.plus_millis(millis)
    }

    #[test]
    fn an_older_version_changes_nothing_and_a_hit_of_the_same_one_is_read() {
        let check = |evidence, shown, known: Option<i64>, expected| {
            assert_eq!(
                of_version(evidence, at(shown), known.map(at)),
                expected,
                "{evidence:?} {shown} {known:?}"
            );
        };
        for evidence in [Store, Search] {
            check(evidence, 9, Some(10), Stale);
            check(evidence, 11, Some(10), Fresh);
            check(evidence, 10, None, Fresh);
        }
        check(Store, 10, Some(10), Fresh);
        check(Search, 10, Some(10), Unsure);
    }

    #[test]
    fn only_the_stores_word_of_a_later_moment_brings_a_record_back() {
        let check = |evidence, asked_at, left_at, now, expected| {
            let question = Question {
                evidence,
                asked_at: at(asked_at),
                now: at(now),
            };
            assert_eq!(
                of_departed(question, at(left_at)),
                expected,
                "asked {asked_at}, left {left_at}, now {now}"
            );
        };
        check(Store, 10, 20, 30, Stale);
        check(Store, 10, 20, 20, Stale);
        check(Store, 21, 20, 30, Fresh);
        check(Search, 10, 20, 30, Unsure);
        check(Search, 21, 20, 30, Unsure);
        // Both within a millisecond.
        check(Store, 20, 20, 30, Unsure);
        // The clock was put back after the departure, and after the question.
        check(Store, 10, 20, 15, Unsure);
        check(Store, 25, 20, 22, Unsure);
    }

    #[test]
    fn nothing_rests_on_an_answer_that_is_older_than_what_was_shown_meanwhile() {
        let minute = NOT_SHOWN_YET.as_millis() as i64;
        let check = |asked_at, shown, known: Option<i64>, expected| {
            assert_eq!(
                of_claim(at(asked_at), at(shown), known.map(at)),
                expected,
                "asked {asked_at}, shown {shown}, known {known:?}"
            );
        };
        check(10, 5, None, Fresh);
        check(10, 5, Some(5), Fresh);
        check(10, 5, Some(4), Fresh);
        // Shown meanwhile; the clocks may differ, too.
        check(10, 5, Some(11), Stale);
        check(10, 5, Some(6), Stale);
        check(minute, 5, Some(6), Stale);
        check(minute + 6, 5, Some(6), Fresh);
    }

    #[test]
    fn an_absence_of_before_the_rows_version_says_nothing() {
        assert_eq!(of_absence(at(10), None, 0), Fresh);
        assert_eq!(of_absence(at(10), Some(at(10)), 0), Fresh);
        assert_eq!(of_absence(at(10), Some(at(11)), 0), Stale);
        // HubSpot's clock is ahead of this one.
        assert_eq!(of_absence(at(10), Some(at(14)), 5), Fresh);
        assert_eq!(of_absence(at(10), Some(at(16)), 5), Stale);
    }

    #[test]
    fn a_record_that_was_made_moments_ago_is_not_gone_because_one_answer_misses_it() {
        let made = Timestamp::from_millis(1_000_000);
        let check = |seconds, is_archived, expected: Option<u64>| {
            let now = made + Duration::from_secs(seconds);
            let again = missing_too_soon(Some(made), now, is_archived);
            assert_eq!(
                again,
                expected.map(|seconds| made + Duration::from_secs(seconds))
            );
        };
        check(0, false, Some(10));
        check(55, false, Some(60));
        check(60, false, None);
        check(3, true, None);
        assert_eq!(missing_too_soon(None, made, false), None);
        let hours_ahead = made + Duration::from_hours(3);
        assert_eq!(missing_too_soon(Some(hours_ahead), made, false), None);
    }
}
