//! Two records became one in HubSpot: rows of the ids that were merged away go over to the survivor's.
//!
//! The word is *absorb*, since *merge* is ours for values. Nothing is archived, and nothing local is lost: the lost row
//! stays in `sync_history`, its pending changes go to the survivor or become conflicts.

use rusqlite::Transaction;

use crate::engine::apply::Applying;
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::{Base, Entry, EntryState, Operation};
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::history::{self, Change, Origin};
use crate::store::mirror::MirrorRow;
use crate::store::{StoreError, merges, outbox, reads, rowjson};

/// Takes care of every id that was merged into a record. Tells whether a row changed.
pub fn absorb_merged(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let mut changed = false;
    let mut losers = Vec::new();
    merges::note(tx, applying.object.object(), record.id, &record.merged_ids)?;
    for id in &record.merged_ids {
        changed |= archive_becomes_conflict(tx, applying, *id)?;
        if let Some(row) = applying.object.table.by_hs_id(tx, *id)? {
            losers.push(row);
        }
    }
    if losers.is_empty() {
        return Ok(changed);
    }
    losers.sort_by_key(|row| row.record.local_id);
    let mut losers = losers.into_iter();
    let survivor = match applying.object.table.by_hs_id(tx, record.id)? {
        Some(row) => row,
        None => match losers.next() {
            Some(row) => take_over(tx, applying, row, record)?,
            None => return Ok(changed),
        },
    };
    for loser in losers {
        lose_row(tx, applying, &survivor, &loser)?;
    }
    Ok(true)
}

/// The only row of the pair takes the survivor's id.
fn take_over(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    mut row: MirrorRow,
    record: &RemoteRecord,
) -> Result<MirrorRow, StoreError> {
    let object = applying.object.object();
    if let Some(former) = row.record.hs_id {
        reads::bury(tx, object, former, applying.now)?;
        reads::forget_removal(tx, object, former)?;
    }
    row.record.hs_id = Some(record.id);
    row.record.modified_at = None;
    applying.object.table.update(tx, &row)?;
    outbox::rename_record(tx, object, row.record.local_id, record.id)?;
    Ok(row)
}

fn lose_row(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    survivor: &MirrorRow,
    loser: &MirrorRow,
) -> Result<(), StoreError> {
    let object = applying.object.object();
    let lost = rowjson::of_values(&loser.record.values);
    let kept = survivor.record.local_id.to_string();
    let change = Change {
        object,
        local_id: loser.record.local_id,
        hs_id: loser.record.hs_id,
        property: WHOLE_RECORD,
        old: Some(&lost),
        new: Some(&kept),
        origin: Origin::Absorb,
    };
    history::record(tx, change, applying.now)?;
    if let Some(queued) = outbox::of_row(tx, object, loser.record.local_id)? {
        move_pending(tx, applying, survivor, loser, &queued.entry)?;
        outbox::end(tx, queued.entry.id)?;
    }
    conflicts::close_all_of(
        tx,
        object,
        loser.record.local_id,
        Winner::Remote,
        "the record was merged into another one in HubSpot, and the row went with it",
        applying.now,
    )?;
    if let Some(id) = loser.record.hs_id {
        reads::bury(tx, object, id, applying.now)?;
        reads::forget_removal(tx, object, id)?;
    }
    applying.object.table.delete(tx, loser.record.local_id)
}

/// The lost row's pending changes go to the survivor; where that has its own, the other is a closed conflict.
fn move_pending(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    survivor: &MirrorRow,
    loser: &MirrorRow,
    entry: &Entry,
) -> Result<(), StoreError> {
    let object = applying.object.object();
    let Some(hs_id) = survivor.record.hs_id else {
        return Ok(());
    };
    let mut row = survivor.clone();
    for field in &entry.fields {
        let value = loser.value(&field.property);
        let target =
            outbox::ensure_update(tx, object, survivor.record.local_id, hs_id, applying.now)?;
        let taken = outbox::fields(tx, target)?
            .iter()
            .any(|other| other.property == field.property);
        if taken {
            let base = match &field.base {
                Base::Known(base) => base.as_deref(),
                Base::Unknown => None,
            };
            let lost = NewConflict {
                property: field.property.as_str(),
                base,
                base_known: field.base != Base::Unknown,
                local: value.as_deref(),
                remote: survivor.value(&field.property).as_deref(),
                policy: applying.object.mapping().policy.as_str(),
                reason: "the record was merged in HubSpot, and the surviving row had a change of its own",
            };
            let about = About {
                object,
                local_id: survivor.record.local_id,
                hs_id: Some(hs_id),
            };
            conflicts::record_closed(tx, about, lost, Winner::Remote, applying.now)?;
        } else {
            outbox::put_field(tx, target, &field.property, &field.base, field.changed_at)?;
            row.set(applying.object.mapping(), &field.property, value);
        }
    }
    applying.object.table.update(tx, &row)
}

/// A pending archive of a merged record is never sent: it would take the survivor with it.
fn archive_becomes_conflict(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    id: HubspotId,
) -> Result<bool, StoreError> {
    let object = applying.object.object();
    let Some(queued) = outbox::of_record(tx, object, id)? else {
        return Ok(false);
    };
    let entry = queued.entry;
    if entry.operation != Operation::Archive || entry.state == EntryState::InFlight {
        return Ok(false);
    }
    let conflict = NewConflict {
        property: WHOLE_RECORD,
        base: entry.row.as_deref(),
        base_known: true,
        local: None,
        remote: entry.row.as_deref(),
        policy: applying.object.mapping().policy.as_str(),
        reason: "the record was merged into another one in HubSpot before its archive was sent",
    };
    let about = About {
        object,
        local_id: entry.local_id,
        hs_id: Some(id),
    };
    conflicts::record_closed(tx, about, conflict, Winner::Remote, applying.now)?;
    outbox::end(tx, entry.id)?;
    tracing::warn!(object = %object, hs_id = %id, "an archive was dropped: its record was merged in HubSpot");
    Ok(true)
}
