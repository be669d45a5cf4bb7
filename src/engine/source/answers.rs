//! Which events a read answers. HubSpot's store may lag behind what it announces: an answer that is older than the event
//! is asked for again, a few times, before the event is done.
//!
//! HubSpot's times are compared with HubSpot's alone, and an answer that shows what the event says is new enough by any
//! clock: in the usual case no event costs a second read.

use std::time::Duration;

use rusqlite::Transaction;

use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::hubspot::Record;
use crate::model::event::EventKind;
use crate::model::id::HubspotId;
use crate::model::time::Timestamp;
use crate::store::history::Origin;
use crate::store::inbox::{self, State, WaitingEvent};
use crate::store::reads::Due;
use crate::store::{StoreError, reads};

/// When after an event's coming its record is read again while the answers are older than the event; then it is done, and
/// polling finds what is left.
const LOOKS: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_mins(1),
];

/// Ends the events that a read answers, and asks for another one where the answer is older than an event.
pub fn end_events(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    due: Due,
    found: &[Record],
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let name = object.object();
    let record = found
        .iter()
        .find(|record| record.id == due.id || record.merged_ids().contains(&due.id));
    let up_to = record.map(|record| record.updated_at);
    inbox::read_was_applied(tx, name, due.id, due.number, up_to)?;
    let Some(record) = record else {
        return Ok(());
    };
    let (mut late, mut next) = (Vec::new(), None);
    for waiting in inbox::unanswered(tx, name, due.id, due.number)? {
        let look = match shows(object, record, &waiting) {
            true => None,
            false => next_look(waiting.received_at, now),
        };
        match look {
            Some(look) => {
                late.push(waiting.id);
                next = Some(next.map_or(look, |next: Timestamp| next.min(look)));
            }
            None => inbox::end(tx, waiting.id, State::Done, None)?,
        }
    }
    let Some(next) = next else {
        return Ok(());
    };
    let number = reads::ask(tx, name, due.id, Origin::Webhook, next)?;
    for event in late {
        inbox::answered_by(tx, event, number)?;
    }
    Ok(())
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
fn shows(object: &ObjectSync, record: &Record, waiting: &WaitingEvent) -> bool {
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
