//! Rows whose record HubSpot no longer has: counted as a whole by the guard, then removed, created again or held.

use rusqlite::Transaction;

use crate::decide::existence::{RemovedOutcome, removed_in_hubspot, winner_of_removal};
use crate::decide::guard::{Count, Verdict, judge};
use crate::engine::objects::ObjectSync;
use crate::engine::push::bounds;
use crate::engine::{Engine, Progress, StepError};
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::EntryState;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::history::{self, Change};
use crate::store::holds::{self, HeldOperation, HoldKey, Side};
use crate::store::mirror::MirrorRow;
use crate::store::outbox::Queued;
use crate::store::reads::Removal;
use crate::store::{Lane, StoreError, cursors, erase, outbox, reads, rowjson};

/// How many rows are removed in one transaction.
const BATCH: usize = 200;

/// Judges and carries out what was found missing, once nothing more is being looked for.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let (sync, guard) = (object.clone(), engine.settings.guard);
    let offset = engine.client.clock_offset_ms();
    let keys: Vec<String> = (0..BATCH).map(|_| engine.random_key()).collect();
    let more = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            let name = sync.object();
            let due = reads::count_removals(tx, name, None)?;
            if due == 0 || still_looking(tx, name, now)? {
                return Ok(false);
            }
            let key = removal_key(name);
            let in_window = holds::counted(tx, key, now - guard.window)?;
            let left = sync.table.linked(tx)?.saturating_sub(due);
            if let Verdict::Hold { allowed } = judge(
                Count {
                    due,
                    in_window,
                    left,
                },
                bounds(&guard),
            ) {
                hold(tx, key, allowed, now)?;
                return Ok(false);
            }
            let removals = reads::removals(tx, name, None, BATCH)?;
            let removed = remove_all(
                tx,
                &sync,
                &removals,
                &Moment {
                    now,
                    offset_ms: offset,
                },
                keys,
            )?;
            holds::count(tx, key, removed as u64, now)?;
            Ok(removed > 0)
        })
        .await?;
    Ok(if more { Progress::More } else { Progress::RING })
}

/// The transaction's time and the clock offset.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The transaction's time.
    pub now: Timestamp,
    /// HubSpot's clock minus this machine's.
    pub offset_ms: i64,
}

/// The guard's key of removals here.
pub fn removal_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Local,
        operation: HeldOperation::Delete,
    }
}

fn still_looking(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let reconciling = cursors::get(tx, object)?.reconcile_started_at.is_some();
    let reading = reads::next_due(tx, object)?.is_some_and(|due| due <= now);
    Ok(reconciling || reading)
}

fn hold(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    allowed: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = holds::hold(tx, key, 0, allowed, now)?;
    reads::hold_removals(tx, key.object, id)?;
    let held = reads::count_removals(tx, key.object, Some(id))?;
    holds::hold(tx, key, held, allowed, now)?;
    tracing::error!(
        object = %key.object, records = held, allowed,
        "HubSpot no longer has these records; their rows stay until `hubsyncd outbox approve` or an answer in sync_holds"
    );
    Ok(())
}

/// Removes rows, or creates their records again, each by its own decision. Tells how many were settled.
pub fn remove_all(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    removals: &[Removal],
    moment: &Moment,
    keys: Vec<String>,
) -> Result<usize, StoreError> {
    let mut settled = 0;
    for (removal, key) in removals.iter().zip(keys) {
        settled += usize::from(remove(tx, object, removal, moment, &key)?);
    }
    Ok(settled)
}

fn remove(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    removal: &Removal,
    moment: &Moment,
    key: &str,
) -> Result<bool, StoreError> {
    let Some(row) = object.table.by_hs_id(tx, removal.id)? else {
        reads::forget_removal(tx, object.object(), removal.id)?;
        return Ok(true);
    };
    let queued = outbox::of_row(tx, object.object(), row.record.local_id)?;
    if queued
        .as_ref()
        .is_some_and(|queued| queued.entry.state == EntryState::InFlight)
    {
        return Ok(false);
    }
    if reads::erasure_asked_at(tx, object.object(), removal.id)?.is_some() {
        // Whatever waits here too: the person's data must go.
        erase::erase(tx, &object.table, removal.id, moment.now)?;
        return Ok(true);
    }
    let last_write = queued
        .as_ref()
        .and_then(last_write)
        .map(|at| at.plus_millis(moment.offset_ms));
    let outcome = removed_in_hubspot(object.mapping().policy, last_write, removal.archived_at);
    note_conflict(tx, object, &row, outcome, moment.now)?;
    reads::forget_removal(tx, object.object(), removal.id)?;
    match outcome {
        RemovedOutcome::RemoveRow | RemovedOutcome::RemoveRowInConflict(_) => {
            remove_row(tx, object, &row, queued.as_ref(), removal, moment.now)?;
        }
        RemovedOutcome::CreateAgain(_) => {
            create_again(tx, object, row, queued.as_ref(), moment.now, key)?;
        }
        RemovedOutcome::Ask => {
            if let Some(queued) = &queued {
                outbox::never_due(
                    tx,
                    queued.entry.id,
                    "HubSpot no longer has the record; decide its conflict in sync_conflicts",
                )?;
            }
        }
    }
    Ok(true)
}

fn last_write(queued: &Queued) -> Option<Timestamp> {
    queued
        .entry
        .fields
        .iter()
        .map(|field| field.changed_at)
        .max()
}

fn note_conflict(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    row: &MirrorRow,
    outcome: RemovedOutcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let reason = match outcome {
        RemovedOutcome::RemoveRow => return Ok(()),
        RemovedOutcome::RemoveRowInConflict(reason) | RemovedOutcome::CreateAgain(reason) => reason,
        RemovedOutcome::Ask => "the record was removed in HubSpot while a local change waited",
    };
    let local = rowjson::of_values(&row.record.values);
    let conflict = NewConflict {
        property: WHOLE_RECORD,
        base: None,
        base_known: false,
        local: Some(&local),
        remote: None,
        policy: object.mapping().policy.as_str(),
        reason,
    };
    let about = About {
        object: object.object(),
        local_id: row.record.local_id,
        hs_id: row.record.hs_id,
    };
    match winner_of_removal(outcome) {
        Some(winner) => conflicts::record_closed(tx, about, conflict, winner, now),
        None => conflicts::record_open(tx, about, conflict, now),
    }
}

/// Takes a row out of the mirror; the whole row stays in `sync_history`.
pub fn remove_row(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    row: &MirrorRow,
    queued: Option<&Queued>,
    removal: &Removal,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lost = rowjson::of_values(&row.record.values);
    let change = Change {
        object: object.object(),
        local_id: row.record.local_id,
        hs_id: Some(removal.id),
        property: WHOLE_RECORD,
        old: Some(&lost),
        new: None,
        origin: removal.origin,
    };
    history::record(tx, change, now)?;
    if let Some(queued) = queued {
        outbox::end(tx, queued.entry.id)?;
    }
    conflicts::close_all_of(
        tx,
        object.object(),
        row.record.local_id,
        Winner::Remote,
        "the record was removed in HubSpot, and the row with it",
        now,
    )?;
    reads::bury(tx, object.object(), removal.id, now)?;
    cursors::set_last_change(tx, object.object(), now)?;
    object.table.delete(tx, row.record.local_id)
}

/// The row stays, loses its id, and a create with all columns is queued.
pub fn create_again(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    mut row: MirrorRow,
    queued: Option<&Queued>,
    now: Timestamp,
    key: &str,
) -> Result<(), StoreError> {
    if let Some(id) = row.record.hs_id {
        reads::bury(tx, object.object(), id, now)?;
    }
    if let Some(queued) = queued {
        outbox::end(tx, queued.entry.id)?;
    }
    row.unlink();
    object.table.update(tx, &row)?;
    outbox::queue_create(tx, object.object(), row.record.local_id, key, now)?;
    Ok(())
}
