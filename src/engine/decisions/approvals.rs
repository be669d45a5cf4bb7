//! Holds of the guard's of which a person has said something. Of one that is approved goes what it holds; of one that is
//! deleted comes back what waited for HubSpot, and the rows stay whose records HubSpot no longer has, marked. A row goes or
//! is marked only if a fresh read does not show its record.

use std::sync::Arc;

use rusqlite::Transaction;

use crate::decide::existence::{Here, Hubspot, Sides, decide};
use crate::decide::incoming::reading::{ApprovedRemovals, Removal, approved_removals};
use crate::decide::outgoing::present::Present;
use crate::decide::retry::AFTER_UNREAD;
use crate::engine::inbound::clearing;
use crate::engine::inbound::existence::Matter;
use crate::engine::inbound::removal::remove_all;
use crate::engine::outbound::present::read_records;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::engine::{Engine, StepError};
use crate::hubspot::Priority;
use crate::model::association::PairMapping;
use crate::model::id::{HoldId, HubspotId};
use crate::model::mapping::{Mapping, Modes, OnRemoteDelete};
use crate::model::name::ObjectType;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::history::Origin;
use crate::store::holds::{Decided, HeldOperation, HoldWord};
use crate::store::outbox::GuardedEntries;
use crate::store::reads::FallsDue;
use crate::store::{Lane, StoreError, holds, reads};

/// How many removals one step carries out.
pub(super) const BATCH: usize = 100;

/// Lets go, or takes back, what decided holds hold at this moment.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let decided = engine.store.read(holds::decided).await?;
    let mut carried_out = false;
    let (mapping, objects) = (engine.mapping(), engine.objects());
    for hold in decided {
        carried_out |= match held_by(&hold, &mapping, &objects) {
            Some(Held::Entries(pair)) => settle_entries(engine, &hold, pair).await?,
            Some(Held::Clears(object)) => decide_clears(engine, &object, &hold).await?,
            Some(Held::Removals(object)) => decide_removals(engine, &object, &hold).await?,
            None => false,
        };
    }
    Ok(carried_out)
}

/// What a hold holds.
pub(super) enum Held<'a> {
    /// Entries of the outbox: a pair's, or an object's.
    Entries(Option<&'a PairMapping>),
    /// Emptied values.
    Clears(Arc<ObjectSync>),
    /// Rows here.
    Removals(Arc<ObjectSync>),
}

/// What a hold holds; nothing where what it is about is not in force.
pub(super) fn held_by<'a>(
    hold: &Decided,
    mapping: &'a Mapping,
    objects: &Objects,
) -> Option<Held<'a>> {
    if let Some(pair) = mapping.pair_of_key(&hold.object)
        && hold.operation == HeldOperation::Disassociate.as_str()
    {
        return Some(Held::Entries(Some(pair)));
    }
    let object = objects.get(&ObjectType::parse(&hold.object).ok()?)?;
    Some(if hold.operation == HeldOperation::Clear.as_str() {
        Held::Clears(object)
    } else if hold.local {
        Held::Removals(object)
    } else {
        Held::Entries(None)
    })
}

/// Lets entries of the outbox go, an object's or a pair's, or gives them up.
async fn settle_entries(
    engine: &Engine,
    hold: &Decided,
    pair: Option<&PairMapping>,
) -> Result<bool, StepError> {
    let (pair, hold) = (pair.cloned(), hold.clone());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            settle_held(tx, &hold, pair.as_ref(), tx.now())
        })
        .await?;
    Ok(true)
}

/// The same in one transaction.
pub(super) fn settle_held(
    tx: &Transaction<'_>,
    hold: &Decided,
    pair: Option<&PairMapping>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let entries = match pair {
        Some(pair) => GuardedEntries::of_pair(pair),
        None => GuardedEntries::of(&hold.object, &hold.operation),
    };
    match hold.word {
        HoldWord::Approved => entries.release_held(tx, hold.id, now)?,
        HoldWord::Discarded => entries.discard_held(tx, now)?,
    }
    holds::settle(tx, hold.id, now)
}

/// Empties, or fills again, the values that a hold holds.
async fn decide_clears(
    engine: &Engine,
    object: &ObjectSync,
    hold: &Decided,
) -> Result<bool, StepError> {
    let offset_ms = engine.client.clock_offset_ms();
    let (sync, decided) = (object.clone(), (hold.id, hold.word));
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset_ms);
            clearing::carry_out(tx, &pass, decided)
        })
        .await?;
    Ok(true)
}

/// Removes or marks the rows that a hold holds, a batch at a time, each only if a fresh read does not show its record.
async fn decide_removals(
    engine: &Engine,
    object: &ObjectSync,
    hold: &Decided,
) -> Result<bool, StepError> {
    let (name, id, now) = (object.object().clone(), hold.id, engine.now());
    let (removals, in_hold) = engine
        .store
        .read(move |connection| {
            let due = reads::removals(connection, &name, Some(id), now, BATCH)?;
            Ok((due, reads::count_removals(connection, &name, Some(id))?))
        })
        .await?;
    if removals.is_empty() && in_hold > 0 {
        // What somebody else's constraint keeps is tried again when it falls due.
        return Ok(false);
    }
    let ids: Vec<HubspotId> = removals.iter().map(|removal| removal.id).collect();
    let present = read_records(engine, object, &ids, Priority::Webhook).await?;
    let keys: Vec<String> = removals.iter().map(|_| engine.random_key()).collect();
    let offset_ms = engine.client.clock_offset_ms();
    let sync = object.clone();
    let modes = modes_of(object, hold.word);
    let carried_out = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Reconcile, offset_ms);
            let part = HoldPart {
                hold: id,
                removals: &removals,
                in_hold,
                modes,
                keys,
            };
            settle_removals(tx, &pass, part, &present)
        })
        .await?;
    Ok(carried_out)
}

/// What becomes of a row that a word is about: one that is kept is marked.
pub(super) fn modes_of(object: &ObjectSync, word: HoldWord) -> Modes {
    let modes = object.mapping().modes;
    match word {
        HoldWord::Approved => modes,
        HoldWord::Discarded => Modes {
            on_remote_delete: OnRemoteDelete::Mark,
            ..modes
        },
    }
}

/// Removals that a hold holds, as many as one batch takes.
pub(crate) struct HoldPart<'a> {
    /// The hold.
    pub(crate) hold: HoldId,
    /// What is to be removed.
    pub(crate) removals: &'a [Removal],
    /// How many the hold holds in all.
    pub(crate) in_hold: u64,
    /// What becomes of a row whose record is gone.
    pub(crate) modes: Modes,
    /// A key for each record that is created again.
    pub(crate) keys: Vec<String>,
}

/// Removes of a hold's part what a fresh read did not show; the rows stay whose record is there, or could not be read this
/// time. Tells whether something was carried out.
pub(crate) fn settle_removals(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    part: HoldPart<'_>,
    present: &Present,
) -> Result<bool, StoreError> {
    let object = pass.object;
    for record in &present.records {
        keep_row(tx, pass, record)?;
    }
    // One that is shown again meanwhile is none any more.
    let noted = reads::removals(tx, object.object(), Some(part.hold), pass.now, BATCH)?;
    let ApprovedRemovals { gone, unread } = approved_removals(part.removals, &noted, present);
    let settled = remove_all(tx, pass, part.modes, (&gone, part.keys))?.settled;
    for id in &unread {
        reads::put_off(
            tx,
            FallsDue::Removal,
            object.object(),
            *id,
            pass.now + AFTER_UNREAD,
        )?;
    }
    let all = part.removals.len() as u64 == part.in_hold;
    if all && settled == gone.len() && unread.is_empty() {
        holds::settle(tx, part.hold, pass.now)?;
    }
    Ok(unread.is_empty() || !gone.is_empty() || !present.records.is_empty())
}

/// A row that was to be removed, and whose record is shown.
fn keep_row(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let object = pass.object;
    let row = object.table.by_hs_id(tx, record.id)?;
    let here = match row {
        Some(_) => Here::row(None, None, &pass.moment()),
        None => Here::Nothing,
    };
    let actions = decide(&Sides::passed(Hubspot::Unchanged, here, object.mapping()));
    let matter = Matter {
        pass: pass.saying(Origin::Reconcile),
        hs_id: record.id,
        row: row.as_ref(),
        queued: None,
        record: Some(record),
        key: "",
        decided: None,
    };
    matter.carry_out(tx, &actions)
}
