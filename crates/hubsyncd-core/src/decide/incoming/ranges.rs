//! How a walk over a list is parted into ranges of ids that are read at once.
//!
//! A list is a chain, each page of which names the next. Where the name is a record's id (`hubspot/api-facts.md#5`), a page can
//! be asked for at any id, so that several chains go on side by side, each in a range of its own. What a range has left is
//! an estimate, and nothing rests on it but how evenly the work is shared out.

use std::time::Duration;

use crate::model::id::HubspotId;

/// A range of a list's ids, and how far it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRange {
    /// It begins behind this id, by which it is known.
    pub start: HubspotId,
    /// With what its next page is asked for; `None` for the list's first.
    pub after: Option<String>,
    /// It was read up to this id.
    pub last: HubspotId,
    /// Its last id; `None` to the end of the list.
    pub until: Option<HubspotId>,
}

/// What a page tells of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeReach {
    /// Every record of the range up to here was on this page or an earlier one.
    pub to: HubspotId,
    /// Whether the range has no further page.
    pub is_end: bool,
}

/// The id above all others.
const HIGHEST: HubspotId = HubspotId(i64::MAX);

impl IdRange {
    /// The whole list, of which nothing was read.
    pub fn whole() -> Self {
        Self {
            start: HubspotId(0),
            after: None,
            last: HubspotId(0),
            until: None,
        }
    }

    /// What lies behind an id, up to where another range ended.
    pub fn behind(start: HubspotId, until: Option<HubspotId>) -> Self {
        Self {
            start,
            after: Some(start.to_string()),
            last: start,
            until,
        }
    }

    /// Whether an id is one of the range's.
    pub fn holds(&self, id: HubspotId) -> bool {
        id > self.start && self.until.is_none_or(|until| id <= until)
    }

    /// How far the next page reaches, whose highest id is `highest`, and which names the page after it.
    pub fn reach(&self, highest: Option<HubspotId>, next: Option<&str>) -> RangeReach {
        let highest = highest.unwrap_or(self.last).max(self.last);
        let is_passed = |until: HubspotId| {
            highest >= until || next.and_then(id_of).is_some_and(|next| next > until)
        };
        if next.is_none() || self.until.is_some_and(is_passed) {
            return RangeReach {
                to: self.until.unwrap_or(HIGHEST),
                is_end: true,
            };
        }
        RangeReach {
            to: highest,
            is_end: false,
        }
    }
}

fn id_of(after: &str) -> Option<HubspotId> {
    after.parse().ok()
}

/// Whether a page's name of the next one is the id of its last record, or the one behind that: then any id may be asked with.
pub fn names_an_id(next: &str, highest: HubspotId) -> bool {
    id_of(next).is_some_and(|next| next == highest || next.0 == highest.0.saturating_add(1))
}

/// Whether a page that was asked for at an id, in the middle of a list, is what lies behind that id.
pub fn begins_at(start: HubspotId, lowest: Option<HubspotId>, next: Option<&str>) -> bool {
    lowest.is_none_or(|lowest| lowest >= start)
        && next.is_none_or(|next| id_of(next).is_some_and(|next| next >= start))
}

/// A range that is being read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenRange {
    /// It was read up to about this id, pages included that are on their way.
    pub at: HubspotId,
    /// Its last id; `None` to the end of the list.
    pub until: Option<HubspotId>,
    /// From one record's id to the next one's, on average of its last page.
    pub spacing: f64,
}

/// What is known of a list as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListExtent {
    /// The highest id that was shown.
    pub highest: HubspotId,
    /// Records that are left, of all ranges, where they were counted.
    pub left: Option<u64>,
}

/// The records of a page (`hubspot/api-facts.md#5`).
const PAGE: f64 = 100.0;

/// A range that has fewer pages left is not parted: where it is, a page is read twice in part.
const LEAST_PAGES: f64 = 3.0;

/// At which id to part which of the ranges, so that there is one more: the one that has most left. `wanted` ranges in all are to
/// be equally long; beyond that the range is halved.
pub fn split(open: &[OpenRange], extent: ListExtent, wanted: usize) -> Option<(usize, HubspotId)> {
    let parts = (wanted.saturating_sub(open.len()) + 1).max(2);
    let left = open.iter().map(|range| pages_left(range, extent));
    let (index, pages) = left
        .enumerate()
        .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    if pages < LEAST_PAGES {
        return None;
    }
    let range = &open[index];
    let end = range.until.unwrap_or(extent.highest);
    let ids = (pages * PAGE * range.spacing / parts as f64) as i64;
    let at = HubspotId(range.at.0.saturating_add(ids.max(1)));
    (at < end).then_some((index, at))
}

/// About how many pages a range has left.
fn pages_left(range: &OpenRange, extent: ListExtent) -> f64 {
    let end = range.until.unwrap_or(extent.highest);
    let ids = end.0.saturating_sub(range.at.0).max(0) as f64;
    let records = ids / range.spacing.max(1.0);
    let most = extent.left.map_or(f64::INFINITY, |left| left as f64);
    records.min(most) / PAGE
}

/// The most chains of a list: with more a page of a hundred records each in memory says little for itself.
pub const MOST_CHAINS: usize = 24;

/// How many chains keep requests leaving at a rate, where each waits so long for its answer.
pub fn chains_at(requests_per_second: f64, latency: Duration) -> usize {
    let under_way = (requests_per_second * latency.as_secs_f64()).ceil();
    // One more, that waits for its turn.
    (under_way as usize).saturating_add(1).min(MOST_CHAINS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(last: i64, until: Option<i64>) -> IdRange {
        IdRange {
            last: HubspotId(last),
            ..IdRange::behind(HubspotId(100), until.map(HubspotId))
        }
    }

    #[test]
    fn a_range_ends_where_the_next_one_begins_or_the_list_ends() {
        let reach = |until, highest: Option<i64>, next| {
            let reach = range(150, until).reach(highest.map(HubspotId), next);
            (reach.to.0, reach.is_end)
        };
        assert_eq!(reach(None, Some(180), Some("181")), (180, false));
        assert_eq!(reach(None, Some(180), None), (i64::MAX, true));
        assert_eq!(reach(Some(200), Some(180), Some("181")), (180, false));
        assert_eq!(reach(Some(200), Some(200), Some("201")), (200, true));
        assert_eq!(reach(Some(200), Some(240), Some("241")), (200, true));
        assert_eq!(reach(Some(200), Some(180), None), (200, true));
        // A page whose last records are hidden.
        assert_eq!(reach(Some(200), None, Some("231")), (200, true));
        assert_eq!(reach(Some(200), None, Some("191")), (150, false));
        assert_eq!(reach(Some(200), Some(180), Some("opaque")), (180, false));
    }

    #[test]
    fn a_range_holds_what_lies_behind_its_start_up_to_its_end() {
        let held = [100, 101, 200, 201].map(|id| range(150, Some(200)).holds(HubspotId(id)));
        assert_eq!(held, [false, true, true, false]);
    }

    #[test]
    fn a_name_of_the_next_page_is_an_id_where_it_follows_the_last_record() {
        let is_id = |next| names_an_id(next, HubspotId(100));
        assert!(is_id("100") && is_id("101"));
        assert!(!is_id("99") && !is_id("102") && !is_id("NTc") && !is_id("search:0"));
    }

    #[test]
    fn a_page_in_the_middle_shows_by_its_ids_that_it_was_asked_for_by_id() {
        let begins =
            |lowest: Option<i64>, next| begins_at(HubspotId(500), lowest.map(HubspotId), next);
        assert!(begins(Some(500), Some("601")) && begins(Some(501), None) && begins(None, None));
        assert!(!begins(Some(1), Some("601")) && !begins(Some(500), Some("NTc")));
    }

    fn open(at: i64, until: Option<i64>, spacing: f64) -> OpenRange {
        OpenRange {
            at: HubspotId(at),
            until: until.map(HubspotId),
            spacing,
        }
    }

    fn extent(highest: i64, left: u64) -> ListExtent {
        ListExtent {
            highest: HubspotId(highest),
            left: Some(left),
        }
    }

    #[test]
    fn as_many_ranges_as_are_wanted_are_equally_long() {
        let mut ranges = vec![open(0, None, 1.0)];
        while ranges.len() < 5 {
            let (index, at) = split(&ranges, extent(50_000, 50_000), 5).expect("a place");
            ranges.insert(
                index + 1,
                open(at.0, ranges[index].until.map(|id| id.0), 1.0),
            );
            ranges[index].until = Some(at);
        }
        let starts: Vec<i64> = ranges.iter().map(|range| range.at.0).collect();
        assert_eq!(starts, [0, 10_000, 20_000, 30_000, 40_000]);
        // One more than wanted: the largest is halved.
        let place = split(&ranges, extent(50_000, 50_000), 5)
            .expect("a place")
            .1;
        assert_eq!(place.0 % 10_000, 5_000);
    }

    #[test]
    fn the_place_lies_among_the_records_however_far_the_highest_id_is() {
        let (_, at) = split(&[open(100, None, 1.0)], extent(1 << 40, 10_000), 2).expect("a place");
        assert_eq!(at.0, 5_100);
    }

    #[test]
    fn what_is_nearly_read_is_not_parted() {
        assert_eq!(
            split(&[open(0, Some(299), 1.0)], extent(9_999, 9_999), 2),
            None
        );
        assert_eq!(split(&[open(0, None, 1.0)], extent(9_999, 299), 2), None);
        assert_eq!(split(&[], extent(9_999, 9_999), 2), None);
    }

    #[test]
    fn so_many_requests_are_under_way_as_leave_while_one_is_answered() {
        let chains = |rate, ms| chains_at(rate, Duration::from_millis(ms));
        assert_eq!(chains(19.0, 300), 7);
        assert_eq!(chains(10.0, 0), 1);
        assert_eq!(chains(1_000.0, 300), MOST_CHAINS);
    }
}
