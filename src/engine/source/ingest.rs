//! Events that wait in `sync_inbox` → reads of their records, coalesced and full; those that tell nothing new end here.
//!
//! An event says that something changed, not what is true now: order and single delivery are not guaranteed
//! (`hubspot/api-facts.md#10`). So it is never applied; it costs a read, or nothing where the mirror shows what it says.

use rusqlite::Transaction;

use crate::decide::echo::late_since;
use crate::decide::incoming::news::{self, Need};
use crate::decide::incoming::sorting::{
    LeftEvents, MOST, RecordEvents, WithEvents, batches, by_object, merged_by, parts, with_events,
};
use crate::engine::inbound::{absorb, links};
use crate::engine::outbound::gap;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::model::entry::Entry;
use crate::model::event::{Event, EventKind};
use crate::model::id::HubspotId;
use crate::model::mapping::Sees;
use crate::model::name::PropertyName;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::store::absent::{Deletion, WhyAbsent};
use crate::store::history::{self, Origin};
use crate::store::inbox::{self, State, WaitingEvent};
use crate::store::lookups::{self, Lookups};
use crate::store::outbox;
use crate::store::{Lane, StoreError, absent, conflicts, gaps, measured, merges, reads};

/// Ends the events that need no read and asks for the reads of the others. Rings nobody.
pub async fn step(engine: &Engine) -> Result<Progress, StepError> {
    let waiting = engine
        .store
        .read(|connection| inbox::waiting(connection, MOST))
        .await?;
    let now = engine.now();
    let quiet_at = engine.memory.arrivals.quiet_at(now);
    let flush = match with_events(&waiting, quiet_at, now) {
        WithEvents::Nothing => return Ok(Progress::RING),
        WithEvents::Wait(until) => return Ok(Progress::Idle { until: Some(until) }),
        WithEvents::Sort { flush } => flush,
    };
    let is_all = waiting.len() < MOST;
    let mut left = LeftEvents::default();
    for (name, waiting) in by_object(waiting) {
        let object = name.as_ref().and_then(|name| engine.object(name));
        let Some(object) = object else {
            ignore(engine, waiting).await?;
            left.did_something = true;
            continue;
        };
        let groups = sort_out(engine, &object, waiting, &mut left).await?;
        ask_for(engine, &object, groups, flush && is_all, &mut left).await?;
    }
    Ok(left.progress(is_all, quiet_at, now))
}

/// Ends events of an object that is not mapped any more.
async fn ignore(engine: &Engine, waiting: Vec<WaitingEvent>) -> Result<(), StepError> {
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            for event in waiting {
                inbox::end(
                    tx,
                    event.id,
                    State::Ignored,
                    Some("the object is not mapped"),
                )?;
            }
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(())
}

/// Ends the events that tell nothing new; the others, by record.
async fn sort_out(
    engine: &Engine,
    object: &ObjectSync,
    waiting: Vec<WaitingEvent>,
    left: &mut LeftEvents,
) -> Result<Vec<RecordEvents>, StepError> {
    let hubspot_ahead = engine.client.clock_offset_ms();
    let mut wanted = Vec::new();
    for part in parts(waiting) {
        let sync = object.clone();
        let sorted = engine
            .store
            .write(Lane::Bulk, move |tx| {
                let pass = Pass::of(tx, &sync, Origin::Webhook, hubspot_ahead);
                let surroundings = Surroundings {
                    creating: outbox::is_creating(tx, sync.object())?,
                    lookups: lookups::look(tx, sync.object(), &sync.table)?,
                };
                sort_part(tx, &pass, part, surroundings)
            })
            .await?;
        left.did_something |= sorted.ended;
        left.doubtful |= sorted.doubtful;
        wanted.extend(sorted.wanted);
    }
    Ok(wanted)
}

/// What was looked at before an object's events are sorted.
#[derive(Debug, Clone, Copy)]
struct Surroundings {
    /// Whether creates of the object are being sent.
    creating: bool,
    lookups: Lookups,
}

struct Sorted {
    wanted: Vec<RecordEvents>,
    ended: bool,
    doubtful: bool,
}

fn sort_part(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    groups: Vec<RecordEvents>,
    surroundings: Surroundings,
) -> Result<Sorted, StoreError> {
    let mut sorted = Sorted {
        wanted: Vec::new(),
        ended: false,
        doubtful: false,
    };
    let has_gaps = gaps::is_any(tx, pass.name())?;
    for group in groups {
        let known = KnownRecord::look(tx, pass.object, group.id, surroundings.lookups)?;
        let noted = match has_gaps {
            true => gap::noted_of(tx, pass.name(), group.id)?,
            false => Vec::new(),
        };
        let archive = match has_gaps {
            true => gaps::archive_of(tx, pass.name(), group.id)?,
            false => None,
        };
        let mut needs = Vec::new();
        for event in group.events {
            let need = known.need(pass, &event, surroundings.creating);
            let is_of_pair = event.event.kind() == Some(EventKind::AssociationChange);
            if is_of_pair && need != Need::Patience {
                links::ask_announced(tx, pass, group.id, &event.event.others)?;
            }
            if let Some(archive) = archive.as_ref().filter(|_| !is_of_pair) {
                gap::take_event_of_archived(tx, pass, archive, &event.event)?;
            }
            if !is_of_pair && gap::take_event(tx, pass, &noted, &event.event)? {
                inbox::end(tx, event.id, State::Done, None)?;
                sorted.ended = true;
                continue;
            }
            match need {
                Need::Nothing => {
                    inbox::end(tx, event.id, State::Done, None)?;
                    sorted.ended = true;
                    if !is_of_pair {
                        measured::count_echo(pass.name());
                    }
                }
                Need::Patience => sorted.doubtful = true,
                Need::Read if known.is_late_echo(tx, pass, &event.event)? => {
                    inbox::end(tx, event.id, State::Done, None)?;
                    sorted.ended = true;
                    measured::count_echo(pass.name());
                }
                Need::Read => needs.push(event),
            }
        }
        if !needs.is_empty() {
            sorted.wanted.push(RecordEvents {
                id: group.id,
                events: needs,
            });
        }
    }
    Ok(sorted)
}

/// Asks for reads: of all, or of as many as fill whole batches.
async fn ask_for(
    engine: &Engine,
    object: &ObjectSync,
    wanted: Vec<RecordEvents>,
    all: bool,
    left: &mut LeftEvents,
) -> Result<(), StepError> {
    let (batches, is_left) = batches(wanted, all);
    left.unfilled |= is_left;
    left.did_something |= !batches.is_empty();
    // A batch a transaction: reads that go on meanwhile stay full.
    for batch in batches {
        let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
        engine
            .store
            .write(Lane::Bulk, move |tx| {
                let pass = Pass::of(tx, &sync, Origin::Webhook, offset);
                for group in &batch {
                    ask(tx, &pass, group)?;
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    Ok(())
}

fn ask(tx: &Transaction<'_>, pass: &Pass<'_>, group: &RecordEvents) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let name = object.object();
    let number = reads::ask(tx, name, group.id, Origin::Webhook, now)?;
    for WaitingEvent { id, event, .. } in &group.events {
        match event.kind() {
            Some(EventKind::PrivacyDeletion) => {
                // Told by an id that was merged away, it is the survivor's, whom a read must miss too.
                for id in merges::survivors_of(tx, name, group.id)? {
                    reads::note_erasure(tx, name, id, now)?;
                    inbox::forget_values(tx, name, id)?;
                    if id != group.id {
                        reads::ask(tx, name, id, Origin::Webhook, now)?;
                    }
                }
            }
            Some(EventKind::Merge) => {
                note_merge(tx, pass, event, group.id)?;
                // Also of one without a row: a page that is on its way may bring it.
                for other in event.others.iter().filter(|other| **other != group.id) {
                    reads::ask(tx, name, *other, Origin::Webhook, now)?;
                }
            }
            Some(EventKind::Deletion) => {
                for survivor in survivors_here(tx, object, group.id)? {
                    reads::ask(tx, name, survivor, Origin::Webhook, now)?;
                }
                if object.mapping().modes.sees == Sees::User {
                    let said = WhyAbsent::Deleted(Deletion { archived_at: None });
                    absent::note(tx, name, group.id, said, now)?;
                }
            }
            Some(
                EventKind::Creation
                | EventKind::PropertyChange
                | EventKind::Restore
                | EventKind::AssociationChange,
            )
            | None => {}
        }
        inbox::answered_by(tx, *id, number)?;
    }
    Ok(())
}

/// The records that are here and that one has become a part of.
fn survivors_here(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    id: HubspotId,
) -> Result<Vec<HubspotId>, StoreError> {
    let mut here = Vec::new();
    for survivor in merges::survivors_of(tx, object.object(), id)? {
        if survivor != id && absorb::is_held(tx, object, survivor)? {
            here.push(survivor);
        }
    }
    Ok(here)
}

/// Notes what went into a merge's survivor, so that an erasure of that reaches it. Where the survivor was erased already,
/// or is to be, so is what went into it.
fn note_merge(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    event: &Event,
    own: HubspotId,
) -> Result<(), StoreError> {
    let (object, now) = (pass.name(), pass.now);
    let Some((survivor, merged)) = merged_by(event, own) else {
        return Ok(());
    };
    // The archive of the survivor takes what nobody has heard of for news (`engine/inbound/absorb`): the read tells it.
    let mut noted = merged.clone();
    if absorb::is_deleted_here(tx, pass.object, survivor)? {
        noted.clear();
        for id in &merged {
            noted.extend(absorb::is_held(tx, pass.object, *id)?.then_some(*id));
        }
    }
    merges::note(tx, object, survivor, &noted)?;
    if !reads::is_to_be_erased(tx, object, survivor)? {
        return Ok(());
    }
    for id in &merged {
        reads::note_erasure(tx, object, *id, now)?;
        inbox::forget_values(tx, object, *id)?;
    }
    Ok(())
}

/// What the mirror knows of a record.
struct KnownRecord {
    row: Option<MirrorRow>,
    queued: Option<Entry>,
    contested: Vec<PropertyName>,
    buried_at: Option<Timestamp>,
    is_merged: bool,
}

impl KnownRecord {
    fn look(
        tx: &Transaction<'_>,
        object: &ObjectSync,
        id: HubspotId,
        lookups: Lookups,
    ) -> Result<Self, StoreError> {
        let name = object.object();
        let row = object.table.by_hs_id(tx, id)?;
        let local_id = row.as_ref().map(|row| row.record.local_id);
        let queued = match local_id.filter(|_| lookups.entries) {
            Some(local_id) => outbox::of_row(tx, name, local_id)?,
            None if lookups.entries => outbox::of_record(tx, name, id)?,
            None => None,
        };
        let contested = match local_id.filter(|_| lookups.conflicts) {
            Some(local_id) => conflicts::open_of(tx, name, local_id)?
                .into_keys()
                .collect(),
            None => Vec::new(),
        };
        let buried_at = match local_id {
            None if lookups.tombstones => reads::buried_at(tx, name, id)?,
            None | Some(_) => None,
        };
        let is_merged = row.is_none() && !survivors_here(tx, object, id)?.is_empty();
        Ok(Self {
            row,
            queued,
            contested,
            buried_at,
            is_merged,
        })
    }

    fn shown(&self) -> news::Known<'_> {
        let queued = self.queued.as_ref();
        news::Known {
            row: self.row.as_ref().map(|row| &row.record),
            entry: queued,
            in_doubt: queued.is_some_and(|queued| queued.standing.unanswered_since.is_some()),
            contested: &self.contested,
            left_at: self.buried_at,
            is_merged: self.is_merged,
        }
    }

    fn need(&self, pass: &Pass<'_>, waiting: &WaitingEvent, creating: bool) -> Need {
        let moment = news::NewsMoment {
            now: pass.now,
            hubspot_ahead_ms: pass.offset_ms,
            creating,
            received_at: waiting.received_at,
        };
        news::need(
            pass.object.mapping(),
            &self.shown(),
            &waiting.event,
            &moment,
        )
    }

    /// Whether a change is an earlier push of ours that comes back after a later one.
    fn is_late_echo(
        &self,
        tx: &Transaction<'_>,
        pass: &Pass<'_>,
        event: &Event,
    ) -> Result<bool, StoreError> {
        let (object, now) = (pass.object, pass.now);
        let echo = news::may_be_late_echo(object.mapping(), &self.shown(), event);
        let (Some(echo), Some(row)) = (echo, &self.row) else {
            return Ok(false);
        };
        let (name, local_id) = (object.object(), row.record.local_id);
        let property = &echo.field.property;
        let lost = outbox::sent_earlier(tx, name, local_id, late_since(now, pass.offset_ms))?;
        if echo.may_be_of(lost.get(property).map_or(&[][..], Vec::as_slice)) {
            return Ok(false);
        }
        let within = echo.acknowledged_within(pass.offset_ms);
        history::was_pushed(tx, name, local_id, echo.field, &echo.said, within)
    }
}
