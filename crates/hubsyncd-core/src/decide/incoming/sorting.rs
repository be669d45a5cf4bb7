//! Events that wait: by object and record, in parts of a transaction each, and when their reads may begin.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::decide::outgoing::plan::BATCH;
use crate::decide::round::Progress;
use crate::model::event::{Event, WaitingEvent};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;

/// The most events that are looked at in one step.
pub const MOST: usize = 2_000;

/// The events of one transaction.
const PART: usize = 100;

/// The longest that an event waits for others to fill its read.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Time between two looks at records in doubt.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What a step has to do with the events that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithEvents {
    /// Nothing waits.
    Nothing,
    /// Others may come to fill the reads: it is looked again then.
    Wait(Timestamp),
    /// They are sorted; `flush`: reads that are not full begin too.
    Sort {
        /// Whether it is quiet, or something has waited long enough.
        flush: bool,
    },
}

/// Says what a step has to do. `quiet_at`: when it is quiet enough for a read that is not full.
pub fn with_events(waiting: &[WaitingEvent], quiet_at: Timestamp, now: Timestamp) -> WithEvents {
    let Some(oldest) = waiting.first() else {
        return WithEvents::Nothing;
    };
    let waited = now.since(oldest.received_at);
    let flush = now >= quiet_at || waited >= LONGEST_WAIT || oldest.received_at > now;
    match flush || waiting.len() >= BATCH {
        true => WithEvents::Sort { flush },
        false => WithEvents::Wait(quiet_at.min(oldest.received_at + LONGEST_WAIT)),
    }
}

/// What a step left behind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LeftEvents {
    /// Records that wait for others to fill their read.
    pub unfilled: bool,
    /// Records that may be creates of our own.
    pub doubtful: bool,
    /// Whether something was ended or asked for.
    pub did_something: bool,
}

impl LeftEvents {
    /// When the step is called again; `is_all`: it has looked at all that waits.
    pub fn progress(self, is_all: bool, quiet_at: Timestamp, now: Timestamp) -> Progress {
        if !is_all && self.did_something {
            Progress::More
        } else if self.unfilled {
            Progress::Idle {
                until: Some(quiet_at.min(now + LONGEST_WAIT)),
            }
        } else if self.doubtful {
            Progress::Idle {
                until: Some(now + BETWEEN_LOOKS),
            }
        } else {
            Progress::RING
        }
    }
}

/// By object, of which `None` is one that no mapping could name.
pub fn by_object(waiting: Vec<WaitingEvent>) -> BTreeMap<Option<ObjectType>, Vec<WaitingEvent>> {
    let mut objects: BTreeMap<_, Vec<WaitingEvent>> = BTreeMap::new();
    for event in waiting {
        let of_object = objects.entry(event.event.object.clone()).or_default();
        of_object.push(event);
    }
    objects
}

/// The events of one record, the oldest first.
#[derive(Debug)]
pub struct RecordEvents {
    /// The record.
    pub id: HubspotId,
    /// Its events.
    pub events: Vec<WaitingEvent>,
}

/// By record, in the order of each one's oldest event.
fn by_record(waiting: Vec<WaitingEvent>) -> Vec<RecordEvents> {
    let mut places: BTreeMap<HubspotId, usize> = BTreeMap::new();
    let mut groups: Vec<RecordEvents> = Vec::new();
    for event in waiting {
        let id = event.event.hs_id.unwrap_or(HubspotId(0));
        let place = *places.entry(id).or_insert(groups.len());
        if place == groups.len() {
            groups.push(RecordEvents {
                id,
                events: Vec::new(),
            });
        }
        groups[place].events.push(event);
    }
    groups
}

/// An object's events by record, in parts of about so many: a delivery that waits for the writer must not wait for all of them.
pub fn parts(waiting: Vec<WaitingEvent>) -> Vec<Vec<RecordEvents>> {
    let mut parts: Vec<Vec<RecordEvents>> = Vec::new();
    let mut events = usize::MAX;
    for group in by_record(waiting) {
        if events >= PART {
            parts.push(Vec::new());
            events = 0;
        }
        events += group.events.len();
        if let Some(part) = parts.last_mut() {
            part.push(group);
        }
    }
    parts
}

/// The reads that may begin, a batch each: all, or as many as are full. Tells whether some wait to be filled.
pub fn batches(mut wanted: Vec<RecordEvents>, all: bool) -> (Vec<Vec<RecordEvents>>, bool) {
    let full = wanted.len() - wanted.len() % BATCH;
    let is_left = !all && full < wanted.len();
    if !all {
        wanted.truncate(full);
    }
    let mut batches = Vec::new();
    let mut wanted = wanted.into_iter().peekable();
    while wanted.peek().is_some() {
        batches.push(wanted.by_ref().take(BATCH).collect());
    }
    (batches, is_left)
}

/// The records that a merge's event names: those that went in, its own included, and the survivor.
pub fn merged_by(event: &Event, own: HubspotId) -> Option<(HubspotId, Vec<HubspotId>)> {
    let survivor = event.others.last().copied()?;
    let others = event.others.iter().copied().chain([own]);
    Some((survivor, others.filter(|id| *id != survivor).collect()))
}

/// How many events are remembered to tell a trickle from a burst.
const MOST_REMEMBERED: usize = 64;

/// A burst: this many events within [`BURST_SPAN`].
const BURST: usize = 50;

const BURST_SPAN: Duration = Duration::from_secs(1);

/// How long after a single event its read may begin: a second event of the same change is usually in the same request.
const QUIET: Duration = Duration::from_millis(10);

/// The same within a burst, where a read of few records would cost a request that a fuller one saves.
const QUIET_IN_BURST: Duration = Duration::from_millis(150);

/// When events came, so that reads of a burst are full and those of a single change quick.
#[derive(Debug, Default)]
pub struct LastArrivals(VecDeque<Timestamp>);

impl LastArrivals {
    /// Notes that so many came.
    pub fn note(&mut self, now: Timestamp, events: usize) {
        for _ in 0..events.min(MOST_REMEMBERED) {
            if self.0.len() == MOST_REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(now);
        }
    }

    /// When it is quiet enough for a read that is not full; a time that has come means now.
    pub fn quiet_at(&self, now: Timestamp) -> Timestamp {
        let Some(latest) = self.0.back() else {
            return now;
        };
        let since = now - BURST_SPAN;
        // A clock that went back ends the burst.
        let lately = self.0.iter().filter(|at| **at > since && **at <= now);
        let quiet = match lately.count() >= BURST {
            true => QUIET_IN_BURST,
            false => QUIET,
        };
        (*latest + quiet).min(now + quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    #[test]
    fn a_single_event_is_read_soon_and_a_burst_when_it_is_over() {
        let mut arrivals = LastArrivals::default();
        assert_eq!(arrivals.quiet_at(at(0)), at(0));
        arrivals.note(at(0), 1);
        assert_eq!(arrivals.quiet_at(at(1)), at(10));
        arrivals.note(at(5), 100);
        assert_eq!(arrivals.quiet_at(at(6)), at(155));
        arrivals.note(at(2000), 1);
        assert_eq!(arrivals.quiet_at(at(2001)), at(2010));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_hold_reads_up() {
        let mut arrivals = LastArrivals::default();
        arrivals.note(at(100_000), 100);
        assert_eq!(arrivals.quiet_at(at(0)), at(10));
    }
}

#[cfg(test)]
mod waiting {
    use super::*;
    use crate::testing::at;

    fn event(id: i64, hs_id: i64, received: i64) -> WaitingEvent {
        WaitingEvent {
            id,
            received_at: at(received),
            event: Event {
                event_id: None,
                event_type: "contact.propertyChange".to_owned(),
                portal_id: None,
                object: None,
                hs_id: Some(HubspotId(hs_id)),
                others: Vec::new(),
                property: None,
                value: None,
                occurred_at: None,
                own: false,
                problem: None,
            },
        }
    }

    #[test]
    fn reads_that_are_not_full_begin_when_it_is_quiet_or_something_has_waited_long() {
        let one = [event(1, 101, 10)];
        let check = |quiet, now, expected| {
            assert_eq!(
                with_events(&one, at(quiet), at(now)),
                expected,
                "{quiet} {now}"
            );
        };
        check(10, 10, WithEvents::Sort { flush: true });
        check(12, 11, WithEvents::Sort { flush: true });
        check(12, 9, WithEvents::Sort { flush: true });
        check(12, 10, WithEvents::Wait(at(10) + LONGEST_WAIT));
        assert_eq!(with_events(&[], at(0), at(0)), WithEvents::Nothing);
    }

    #[test]
    fn events_of_a_record_stay_together_in_their_order_and_parts_stay_small() {
        let events: Vec<WaitingEvent> = (0..250)
            .map(|number| event(number, 101 + number % 2 * number, 0))
            .collect();
        let parts = parts(events);
        let first = &parts[0][0];
        assert_eq!((first.id, first.events.len()), (HubspotId(101), 125));
        assert!(first.events.is_sorted_by_key(|event| event.id));
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 126);
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn only_full_reads_begin_while_others_may_fill_the_rest() {
        let wanted = |records: i64| {
            (0..records)
                .map(|id| RecordEvents {
                    id: HubspotId(id),
                    events: Vec::new(),
                })
                .collect::<Vec<_>>()
        };
        let sizes = |records, all| {
            let (batches, is_left) = batches(wanted(records), all);
            (batches.iter().map(Vec::len).collect::<Vec<_>>(), is_left)
        };
        assert_eq!(sizes(250, false), (vec![100, 100], true));
        assert_eq!(sizes(250, true), (vec![100, 100, 50], false));
        assert_eq!(sizes(100, false), (vec![100], false));
    }

    #[test]
    fn a_merge_names_its_survivor_and_what_went_into_it() {
        let mut merge = event(1, 101, 0).event;
        assert_eq!(merged_by(&merge, HubspotId(101)), None);
        merge.others = vec![HubspotId(102), HubspotId(103)];
        let gone = vec![HubspotId(102), HubspotId(101)];
        assert_eq!(
            merged_by(&merge, HubspotId(101)),
            Some((HubspotId(103), gone))
        );
    }
}
