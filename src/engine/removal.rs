//! Rows whose record HubSpot no longer has: counted as a whole by the guard, then removed, created again or held.

use rusqlite::Transaction;

use crate::decide::existence::{RemovedOutcome, removed_in_hubspot, winner_of_removal};
use crate::decide::guard::{Count, Verdict, judge};
use crate::engine::objects::ObjectSync;
use crate::engine::push::bounds;
use crate::engine::{Engine, Progress, StepError};
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::{Base, EntryState};
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
    let opened_at = conflicts::last_opened_at(tx, object.object(), row.record.local_id)?;
    let last_write = queued
        .as_ref()
        .and_then(last_write)
        .max(opened_at)
        .map(|at| at.min(moment.now))
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
    let local_id = row.record.local_id;
    conflicts::follow(tx, object.object(), local_id, None)?;
    // Created again, but not written again: what meets the create is compared with the times of the writes.
    let entry = queued.map(|queued| &queued.entry);
    let written_at = entry.map_or(now, |entry| entry.enqueued_at);
    let create = outbox::queue_create(tx, object.object(), local_id, key, written_at, now)?;
    for field in entry.into_iter().flat_map(|entry| &entry.fields) {
        outbox::put_field(
            tx,
            create,
            &field.property,
            &Base::Unknown,
            field.changed_at,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, at, record};
    use crate::model::id::HubspotId;
    use crate::model::mapping::Policy;
    use crate::store::history::Origin;

    fn remove_101(scene: &Scene, archived_at: i64, offset_ms: i64) {
        let removal = Removal {
            id: HubspotId(101),
            archived_at: Some(at(archived_at)),
            origin: Origin::Poll,
        };
        let moment = Moment {
            now: at(1_000),
            offset_ms,
        };
        let keys = vec!["0123456789abcdef0123456789abcdef".to_owned()];
        scene.write(|tx| remove_all(tx, &scene.object, &[removal], &moment, keys));
    }

    /// Written twice: the first name at 5, the price at 20.
    fn written(policy: Policy) -> Scene {
        let scene = Scene::of(policy);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
        );
        scene.program("UPDATE contacts SET first_name = 'Ours', price = '2'");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET enqueued_at = '{}';
             UPDATE sync_outbox_fields SET changed_at = CASE property WHEN 'price' THEN '{}' ELSE '{}' END",
            at(5),
            at(20),
            at(5)
        ));
        scene
    }

    #[test]
    fn a_rows_latest_pending_write_is_compared_with_an_archiving() {
        let scene = written(Policy::Newest);
        remove_101(&scene, 10, 0);
        assert_eq!(scene.rows("SELECT local_id, hs_id FROM contacts"), ["1 -"]);
        let scene = written(Policy::Newest);
        remove_101(&scene, 30, 0);
        assert_eq!(scene.rows("SELECT count(*) FROM contacts"), ["0"]);
        assert_eq!(scene.conflicts().len(), 1);
    }

    #[test]
    fn a_write_is_compared_with_an_archiving_in_hubspots_time() {
        // HubSpot's clock is 15 s behind: the write was at 5 there, and at 35 if it is 15 s ahead.
        for (archived_at, offset_ms, left) in [(10, -15_000, "0"), (30, 15_000, "1")] {
            let scene = written(Policy::Newest);
            remove_101(&scene, archived_at, offset_ms);
            assert_eq!(scene.rows("SELECT count(*) FROM contacts"), [left]);
        }
    }

    #[test]
    fn a_row_that_is_created_again_was_not_written_again() {
        let scene = written(Policy::Local);
        remove_101(&scene, 30, 0);
        assert_eq!(scene.outbox(), ["create 1 -; firstname was ?; price was ?"]);
        assert_eq!(
            scene.rows("SELECT enqueued_at FROM sync_outbox UNION ALL SELECT changed_at FROM sync_outbox_fields"),
            [at(5), at(5), at(20)].map(|at| at.to_string())
        );
    }

    #[test]
    fn a_row_that_waits_for_a_decision_is_not_removed_as_a_clean_one() {
        let in_conflict = |policy| {
            let scene = Scene::with(|mapping| {
                mapping.policy = policy;
                for field in &mut mapping.fields {
                    field.policy = Policy::Manual;
                }
            });
            scene.apply(
                How::at(0),
                &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
            );
            scene.program("UPDATE contacts SET first_name = 'Ours'");
            scene.apply(
                How::at(5),
                &record(101, 5, &[("firstname", "Theirs"), ("price", "1")]),
            );
            remove_101(&scene, 10, 0);
            scene
        };
        let asked = in_conflict(Policy::Manual);
        assert_eq!(asked.rows("SELECT first_name FROM contacts"), ["Ours"]);
        let kept = in_conflict(Policy::Remote);
        assert_eq!(kept.rows("SELECT count(*) FROM contacts"), ["0"]);
        assert_eq!(kept.conflicts()[0], "1 firstname Ours Theirs remote");
        // Created again: the field goes on waiting, for the record that will be.
        let again = in_conflict(Policy::Local);
        assert_eq!(again.conflicts()[0], "1 firstname Ours Theirs -");
        assert_eq!(
            again.rows("SELECT hs_id FROM sync_conflicts WHERE resolved_at IS NULL"),
            ["-"]
        );
    }
}
