//! The look after a write: what somebody set in HubSpot between the read before it and the write is found and kept as a
//! closed conflict (promise 13). From an event that says the value, and without one from the property's history.
//!
//! Looks stand in `sync_gaps`, so that a restart loses none. They are collected for a while, asked for 50 at once, and
//! go after all other requests.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::gap::{
    COLLECTED_FOR, Gap, RECORDS_OF_A_LOOK, Told, WRITTEN_OVER, is_looked_at, told_by_event,
    written_over,
};
use crate::decide::retry::latest_due;
use crate::engine::actions::late_since;
use crate::engine::apply::Applying;
use crate::engine::convert::histories;
use crate::engine::create::MAY_STILL_LAND;
use crate::engine::objects::ObjectSync;
use crate::engine::reads::AFTER_UNREAD;
use crate::engine::settle::Sent;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{BatchRead, HubspotError, Priority, ReadQuery, Record};
use crate::model::conflict::Winner;
use crate::model::entry::{Base, EntryState, Operation};
use crate::model::event::{Event, EventKind};
use crate::model::id::HubspotId;
use crate::model::mapping::FieldMapping;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::gaps::{self, NewGap, Noted};
use crate::store::history::{self, Change, Origin};
use crate::store::{Lane, StoreError, inbox, outbox, reads};

/// How long an event may still tell of a gap: events are seconds late, bulk ones minutes
/// (`hubspot/api-facts.md#10`).
const LATE_EVENTS: Duration = Duration::from_hours(1);

/// A look that could not be made for so long is given up.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Which looks a step makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Those that are due.
    Due,
    /// Also those that are still collected: the process is about to end.
    Collected,
}

/// How a push went.
#[derive(Debug, Clone, Copy)]
pub struct Push {
    /// Records of its request.
    pub records: usize,
    /// From the answer to the read to the answer to the write.
    pub gap: Duration,
    /// Whether events may tell of what is not looked at.
    pub has_webhooks: bool,
}

/// Keeps the fields of an acknowledged update, to be looked at or to be told of.
pub fn note(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    sent: &Sent,
    record: &RemoteRecord,
    push: Push,
) -> Result<(), StoreError> {
    let object = applying.object.object();
    // A read that was asked for while the write was on its way: something showed a change.
    let seen = reads::is_asked(tx, object, record.id)?;
    let look_at =
        is_looked_at(push.records, push.gap, seen).then_some(applying.now + COLLECTED_FOR);
    if look_at.is_none() && !push.has_webhooks {
        return Ok(());
    }
    note_fields(tx, applying, sent, Some(record), look_at, seen)
}

/// Keeps the fields of an update whose answer was lost: it may have landed, or may land yet, over somebody's edit.
pub fn note_lost(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    sent: &Sent,
) -> Result<(), StoreError> {
    let look_at = applying.now + MAY_STILL_LAND + COLLECTED_FOR;
    note_fields(tx, applying, sent, None, Some(look_at), true)
}

fn note_fields(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    sent: &Sent,
    answer: Option<&RemoteRecord>,
    look_at: Option<Timestamp>,
    seen: bool,
) -> Result<(), StoreError> {
    let (Some(read_version), Some(queued)) = (sent.read_version, outbox::by_id(tx, sent.entry)?)
    else {
        return Ok(());
    };
    let entry = queued.entry;
    let (Operation::Update, EntryState::InFlight, Some(hs_id)) =
        (entry.operation, entry.state, entry.hs_id)
    else {
        return Ok(());
    };
    for field in &entry.fields {
        let Some(value) = &field.sent else { continue };
        let answered = answer.map(|record| record.shown(&field.property).unwrap_or(value).clone());
        let gap = Gap {
            base: field.base.clone(),
            sent: value.clone(),
            answered,
            read_version,
            written_version: answer.map(|record| record.updated_at),
        };
        let new = NewGap {
            object: applying.object.object(),
            hs_id: answer.map_or(hs_id, |record| record.id),
            local_id: entry.local_id,
            property: &field.property,
            gap: &gap,
            look_at,
            seen,
        };
        gaps::note(tx, new, applying.now)?;
    }
    Ok(())
}

/// Looks at one batch of records.
pub async fn step(
    engine: &Engine,
    object: &ObjectSync,
    looks: Looks,
) -> Result<Progress, StepError> {
    let (sync, now) = (object.clone(), engine.now());
    // Events take a while, and where they tell, nobody has to ask.
    let full_is_due = engine.settings.relaxed_poll.is_none();
    let (noted, next) = engine
        .store
        .read(move |connection| {
            let (name, latest) = (sync.object(), latest_due(now));
            let up_to = match looks {
                Looks::Due => now,
                Looks::Collected => now + COLLECTED_FOR,
            };
            let mut noted = Vec::new();
            let limit = RECORDS_OF_A_LOOK;
            for id in gaps::due(connection, name, up_to, latest, limit, full_is_due)? {
                for of_record in gaps::of_record(connection, name, id)? {
                    let told = !of_record.seen
                        && inbox::said_after(
                            connection,
                            name,
                            id,
                            &of_record.property,
                            of_record.gap.read_version,
                        )?;
                    noted.push((of_record, told));
                }
            }
            Ok((noted, gaps::next_due(connection, name)?))
        })
        .await?;
    if noted.is_empty() {
        return Ok(Progress::Idle { until: next });
    }
    let (told, wanted): (Vec<_>, Vec<_>) = noted.into_iter().partition(|(_, told)| *told);
    let told: Vec<i64> = told.into_iter().map(|(noted, _)| noted.id).collect();
    let wanted: Vec<Noted> = wanted.into_iter().map(|(noted, _)| noted).collect();
    let found = match ask(engine, object, &wanted).await {
        // What is left of the day is for other work: the histories tell as much tomorrow.
        Err(error) if error.out_of_quota_until().is_some() => {
            return Ok(Progress::Idle {
                until: error.out_of_quota_until(),
            });
        }
        // Nobody is helped by asking the same again.
        Err(HubspotError::Refused { .. }) => {
            tracing::warn!(object = %object.object(), records = wanted.len(), "HubSpot refused to tell the histories of records that were pushed: edits in the moment before the push go unnoticed");
            BatchRead::default()
        }
        found => found?,
    };
    let sync = object.clone();
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            for id in told {
                gaps::leave_to_events(tx, id)?;
            }
            for noted in wanted {
                if found.unread.contains(&noted.hs_id.to_string()) {
                    gaps::put_off(tx, noted.id, now + AFTER_UNREAD)?;
                    continue;
                }
                let record = found.records.iter().find(|record| record.id == noted.hs_id);
                if let Some(record) = record {
                    look(tx, &sync, &noted, record, now)?;
                }
                gaps::end(tx, noted.id)?;
            }
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(Progress::More)
}

/// Asks for the histories of what was pushed, and for nothing else.
async fn ask(
    engine: &Engine,
    object: &ObjectSync,
    wanted: &[Noted],
) -> Result<BatchRead, HubspotError> {
    let ids: BTreeSet<HubspotId> = wanted.iter().map(|noted| noted.hs_id).collect();
    let properties: BTreeSet<&str> = wanted.iter().map(|noted| noted.property.as_str()).collect();
    let query = ReadQuery {
        keys: ids.iter().map(ToString::to_string).collect(),
        id_property: None,
        properties: Vec::new(),
        with_history: properties.into_iter().map(str::to_owned).collect(),
        archived: false,
    };
    engine
        .client
        .batch_read(object.object(), &query, Priority::Look)
        .await
}

/// Reads one field's history.
fn look(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    noted: &Noted,
    record: &Record,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(field) = object.mapping().field(&noted.property) else {
        return Ok(());
    };
    // Whose app it was does not matter here: the value tells.
    let asked = [noted.property.clone()];
    let histories = histories(object, record, &asked, None);
    let history = histories
        .get(&noted.property)
        .map_or(&[][..], Vec::as_slice);
    let since = late_since(noted.noted_at);
    let sent = outbox::sent_earlier(tx, object.object(), noted.local_id, since)?;
    let sent = sent.get(&noted.property).map_or(&[][..], Vec::as_slice);
    match written_over(field.property_type, history, &noted.gap, sent) {
        Some(value) => keep(tx, object, field, noted, value, now),
        None => Ok(()),
    }
}

/// A text of HubSpot's, canonical where its type can hold it.
fn value_of(field: &FieldMapping, text: Option<&str>) -> Value {
    field
        .property_type
        .canonical(text)
        .unwrap_or_else(|_| Value::from_canonical(text.unwrap_or_default()))
}

/// Whether an event tells of an edit that was written over, which is kept then.
pub fn take_event(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    noted: &[Noted],
    event: &Event,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let is_change = event.kind() == Some(EventKind::PropertyChange) && !event.own;
    let (Some(at), Some(property)) = (
        event.occurred_at,
        event.property.as_ref().filter(|_| is_change),
    ) else {
        return Ok(false);
    };
    let Some(field) = object.mapping().field(property) else {
        return Ok(false);
    };
    let said = event
        .value
        .as_deref()
        .map(|text| value_of(field, Some(text)));
    let mut is_kept = false;
    for noted in noted.iter().filter(|noted| noted.property == *property) {
        match (
            told_by_event(field.property_type, &noted.gap, said.as_ref(), at),
            &said,
        ) {
            (Told::WrittenOver, Some(said)) => {
                keep(tx, object, field, noted, said, now)?;
                is_kept = true;
            }
            (Told::Unsure, _) => gaps::look_at(tx, noted.id, now)?,
            (Told::WrittenOver | Told::Nothing, _) => {}
        }
    }
    Ok(is_kept)
}

/// Keeps a value that our write went over, once.
fn keep(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    field: &FieldMapping,
    noted: &Noted,
    value: &Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let about = About {
        object: object.object(),
        local_id: noted.local_id,
        hs_id: Some(noted.hs_id),
    };
    if conflicts::names_remote_since(tx, about, &field.property, value, noted.noted_at)? {
        return Ok(());
    }
    let (base, base_known) = match &noted.gap.base {
        Base::Known(base) => (base.as_deref(), true),
        Base::Unknown => (None, false),
    };
    let conflict = NewConflict {
        property: field.property.as_str(),
        base,
        base_known,
        local: noted.gap.ours().as_deref(),
        remote: value.as_deref(),
        policy: field.policy.as_str(),
        reason: WRITTEN_OVER,
    };
    conflicts::record_closed(tx, about, conflict, Winner::Local, now)?;
    let change = Change {
        object: object.object(),
        local_id: noted.local_id,
        hs_id: Some(noted.hs_id),
        property: field.property.as_str(),
        old: value.as_deref(),
        new: noted.gap.ours().as_deref(),
        origin: Origin::Conflict,
    };
    history::record(tx, change, now)
}

/// Forgets what no event will tell of any more, and looks that could not be made for a day.
pub fn forget(tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    gaps::forget(tx, now - LATE_EVENTS, now - LONGEST_WAIT, now)
}
