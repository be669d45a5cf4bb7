//! Which events a read answers. HubSpot's store may lag behind what it announces: an answer that is older than the event
//! is asked for again, a few times, before the event is done.
//!
//! HubSpot's times are compared with HubSpot's alone, and an answer that shows what the event says is new enough by any
//! clock: in the usual case no event costs a second read.

use std::time::Duration;

use crate::model::answer::Record;
use crate::model::event::{EventKind, WaitingEvent};
use crate::model::id::HubspotId;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;

/// When after an event's coming its record is read again while the answers are older than the event; then it is done, and
/// polling finds what is left.
const LOOKS: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_mins(1),
];

/// What becomes of events that an answer is older than.
#[derive(Debug, Default, PartialEq)]
pub struct AfterAnswer {
    /// Events that are done.
    pub done: Vec<i64>,
    /// Events that wait for another answer.
    pub late: Vec<i64>,
    /// When that is asked for.
    pub next: Option<Timestamp>,
}

/// Decides about events that an answer is older than.
pub fn after_answer(
    object: &SyncedObject,
    record: &Record,
    events: &[WaitingEvent],
    now: Timestamp,
) -> AfterAnswer {
    let mut after = AfterAnswer::default();
    for waiting in events {
        let look = match shows(object, record, waiting) {
            true => None,
            false => next_look(waiting.received_at, now),
        };
        match look {
            Some(look) => {
                after.late.push(waiting.id);
                after.next = Some(after.next.map_or(look, |next| next.min(look)));
            }
            None => after.done.push(waiting.id),
        }
    }
    after
}

/// When the record is to be looked at again; `None`: often enough.
fn next_look(received_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    // A clock that was set back must not keep the event.
    let looks = LOOKS.iter().map(|after| received_at + *after);
    looks
        .into_iter()
        .find(|look| *look > now && received_at <= now)
}

/// Whether an answer shows what an event says, whatever its time.
fn shows(object: &SyncedObject, record: &Record, waiting: &WaitingEvent) -> bool {
    let event = &waiting.event;
    match event.kind() {
        Some(EventKind::PropertyChange) => {
            let field = event
                .property
                .as_ref()
                .and_then(|property| object.mapping().field(property));
            let Some(field) = field else { return true };
            let canonical = |text| field.property_type.canonical(text).ok();
            let shown = canonical(record.text(field.property.as_str()));
            match (
                event
                    .value
                    .as_deref()
                    .and_then(|text| canonical(Some(text))),
                shown,
            ) {
                (Some(said), Some(shown)) => field.property_type.same(&said, &shown),
                (None, _) | (_, None) => false,
            }
        }
        Some(EventKind::Merge) => {
            let merged: Vec<HubspotId> = record.merged_ids();
            event
                .others
                .iter()
                .all(|other| *other == record.id || merged.contains(other))
        }
        // A record that was merged away is answered by the survivor (`hubspot/api-facts.md#13`).
        Some(EventKind::Deletion) => event.hs_id != Some(record.id),
        // A privacy deletion is looked for by itself, a whole day.
        Some(
            EventKind::Creation
            | EventKind::PrivacyDeletion
            | EventKind::Restore
            | EventKind::AssociationChange,
        )
        | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_looked_at_three_times_more_at_most() {
        let at = |seconds: i64| Timestamp::from_millis(1_790_000_000_000 + seconds * 1000);
        for (now, next) in [
            (0, Some(2)),
            (1, Some(2)),
            (2, Some(10)),
            (9, Some(10)),
            (11, Some(60)),
            (60, None),
            (9_000, None),
            (-1, None),
        ] {
            assert_eq!(next_look(at(0), at(now)), next.map(at), "{now}");
        }
    }
}
