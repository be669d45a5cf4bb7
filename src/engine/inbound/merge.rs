//! One record and its row: loads what stands around them, asks `decide/record`, and writes what that says.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use crate::decide::echo::{Histories, SentValues, late_since};
use crate::decide::incoming::freshness::{Freshness, of_version};
use crate::decide::record::{CleanBase, RecordInput, RecordPlan, merge_record, written_at};
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::inbound::actions::RecordHands;
use crate::engine::inbound::applying::Applying;
use crate::engine::inbound::clearing;
use crate::engine::pass::Pass;
use crate::model::entry::{Entry, EntryState, Operation};
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::store::lookups::Lookups;
use crate::store::outbox;
use crate::store::{StoreError, conflicts, measured, reads, unreadable};

/// What HubSpot shows of a record, as its row is to be merged with it.
#[derive(Clone, Copy)]
pub(crate) struct ShownRecord<'a> {
    /// The record.
    pub record: &'a RemoteRecord,
    /// The histories that were read with it.
    pub histories: Option<&'a Histories>,
    /// What both sides agreed on where nothing waits.
    pub clean_base: CleanBase<'a>,
    /// What may stand around its row.
    pub lookups: Lookups,
}

/// Merges a record into its row.
pub(crate) fn merge_into(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    mut row: MirrorRow,
    shown: ShownRecord<'_>,
) -> Result<bool, StoreError> {
    let ShownRecord {
        record,
        clean_base,
        lookups,
        ..
    } = shown;
    let pass = &applying.pass;
    let known = row.record.modified_at;
    let freshness = of_version(applying.evidence, record.updated_at, known);
    if freshness == Freshness::Stale {
        return Ok(false);
    }
    let object = pass.name();
    let queued = match lookups.entries {
        true => outbox::of_row(tx, object, row.record.local_id)?,
        false => None,
    };
    if let Some(queued) = &queued {
        outbox::hold_to_the_look(tx, queued, pass.now)?;
    }
    let plan = decided(tx, pass, &row, queued.as_ref(), shown)?;
    // What is only asked for empties nothing yet.
    let plan = match freshness == Freshness::Unsure {
        true => plan,
        false => clearing::guarded(tx, applying, &row, shown, plan)?,
    };
    if freshness == Freshness::Unsure {
        if !plan.actions.is_empty() || !plan.need_history.is_empty() {
            reads::ask(tx, object, record.id, pass.origin, pass.now)?;
        }
        return Ok(false);
    }
    note_unreadable(tx, pass, record, lookups)?;
    let settled = ask_for_more(tx, pass, &plan, record)?;
    let entry = queued.as_ref().map(|queued| queued.id);
    let written_at = written_at(
        queued.as_ref(),
        clean_base,
        record.updated_at,
        pass.offset_ms,
    );
    let mut work = RecordHands {
        tx,
        applying,
        version: record.updated_at,
        row: &mut row,
        entry,
        written_at,
        histories: shown.histories,
    };
    let changed = work.carry_out(&plan)?;
    for outcome in plan.outcomes() {
        measured::count_merge(object, outcome.as_str());
    }
    work.keep_bases(&plan.need_history, clean_base)?;
    work.keep_bases(&plan.held, clean_base)?;
    let moved = settled && known != Some(record.updated_at);
    if moved {
        row.tell_times(record);
    }
    if changed || moved {
        pass.object.table.update(tx, &row)?;
    }
    end_if_done(tx, queued.as_ref(), record)?;
    Ok(changed)
}

/// What becomes of the fields of a row whose record is shown. Nothing is written.
pub(crate) fn decided(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
    queued: Option<&Entry>,
    shown: ShownRecord<'_>,
) -> Result<RecordPlan, StoreError> {
    let object = pass.name();
    let local_id = row.record.local_id;
    let sent_earlier = match shown.lookups.sent {
        true => outbox::sent_earlier(tx, object, local_id, late_since(pass.now, pass.offset_ms))?,
        false => SentValues::new(),
    };
    let open = match shown.lookups.conflicts {
        true => conflicts::open_of(tx, object, local_id)?,
        false => BTreeMap::new(),
    };
    let owed = match queued {
        Some(queued) if pass.object.mapping().has_if_empty() => outbox::owed(tx, queued.id)?,
        Some(_) | None => BTreeMap::new(),
    };
    Ok(merge_record(&RecordInput {
        mapping: pass.object.mapping(),
        local: &row.record,
        entry: queued,
        open: &open,
        remote: shown.record,
        histories: shown.histories,
        sent_earlier: &sent_earlier,
        owed: &owed,
        now: pass.now,
        clock_offset_ms: pass.offset_ms,
        clean_base: shown.clean_base,
    }))
}

/// Asks for the reads that a plan still needs; tells whether the record's version is settled.
fn ask_for_more(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    plan: &RecordPlan,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let object = pass.name();
    if plan.deferred {
        reads::ask(tx, object, record.id, pass.origin, pass.now + AFTER_FLIGHT)?;
    } else if !plan.need_history.is_empty() {
        reads::ask(tx, object, record.id, pass.origin, pass.now)?;
    }
    Ok(!plan.deferred && plan.need_history.is_empty())
}

/// Ends an update of which nothing is left, and makes an adopted row's create an update or ends it.
fn end_if_done(
    tx: &Transaction<'_>,
    queued: Option<&Entry>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let Some(queued) = queued else { return Ok(()) };
    let entry = &queued;
    if entry.standing.state == EntryState::InFlight
        || entry.row.is_some()
        || entry.standing.operation != Operation::Update
    {
        return Ok(());
    }
    if outbox::fields(tx, entry.id)?.is_empty() {
        return outbox::end(tx, entry.id);
    }
    if entry.standing.hs_id != Some(record.id) {
        outbox::become_update(tx, entry.id, record.id, entry.standing.enqueued_at)?;
    }
    Ok(())
}

/// Notes values that no column can hold, and that former ones can be read again.
pub(crate) fn note_unreadable(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
    lookups: Lookups,
) -> Result<(), StoreError> {
    if record.invalid.is_empty() && !lookups.unreadable {
        return Ok(());
    }
    unreadable::note(tx, pass.name(), record, pass.now)
}
