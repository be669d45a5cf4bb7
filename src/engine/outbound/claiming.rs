//! What all claims share: rows that can't be sent, and what is put aside.

use rusqlite::Transaction;

use crate::decide::retry::AFTER_CONSTRAINT;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::entry::{Entry, EntryState, Operation};
use crate::model::id::OutboxId;
use crate::model::mapping::FieldMapping;
use crate::model::name::PropertyName;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::LONGEST_VALUE;
use crate::store::history::Origin;
use crate::store::outbox;
use crate::store::{StoreError, reads};

/// An entry whose row a constraint of somebody else's refuses, or that is too large to be read, rests; the others go on.
pub fn put_aside(
    tx: &Transaction<'_>,
    queued: &Entry,
    error: &StoreError,
    now: Timestamp,
) -> Result<(), StoreError> {
    let words = format!("HubSpot's values do not fit into the table: {error}");
    outbox::retry(
        tx,
        queued.id,
        now + AFTER_CONSTRAINT,
        Some(&words),
        queued.standing.waits_for,
        outbox::Answered::No,
    )
}

/// Why a value of a row can't be sent, in words that name the column; nothing where all that is sent can.
pub fn unsendable(
    object: &ObjectSync,
    row: &MirrorRow,
    is_sent: impl Fn(&PropertyName) -> bool,
) -> Option<String> {
    let mapping = object.mapping();
    let is_identity = |field: &FieldMapping| {
        let mut identities = mapping.identities();
        identities.any(|identity| identity.property == field.property)
    };
    let pushed = mapping
        .fields
        .iter()
        .filter(|field| field.direction.pushes());
    pushed.filter(|field| is_sent(&field.property)).find_map(|field| {
        let (table, column, id) = (&mapping.table, &field.column, row.record.local_id);
        if row.record.unreadable.contains(&field.property) {
            Some(format!(
                "`{table}.{column}` of row {id} holds text that is no UTF-8, so that it can't be sent: write it again"
            ))
        } else if row.value(&field.property).is_too_long() {
            Some(format!(
                "`{table}.{column}` of row {id} holds more than the {LONGEST_VALUE} characters that HubSpot takes: write a shorter text"
            ))
        } else if is_identity(field) && field.property_type.is_blurred(row.value(&field.property)) {
            Some(format!(
                "`{table}.{column}` of row {id} says which record the row is, and holds a number of more digits than a column of type \
                 `number` can keep: discard this, give the property the type `decimal` in the mapping file, and write it again"
            ))
        } else {
            None
        }
    })
}

/// Parks what waits of a row that is gone without a trigger's word, before anything is decided by its absence: a row that was
/// not deleted archives nothing. Its record comes in as a new row.
pub fn park_without_row(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: OutboxId,
) -> Result<bool, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(queued) = outbox::by_id(tx, id)? else {
        return Ok(false);
    };
    let entry = queued;
    let is_waiting = entry.standing.state == EntryState::Pending && entry.row.is_none();
    if !is_waiting
        || !matches!(
            entry.standing.operation,
            Operation::Create | Operation::Update
        )
        || object.table.by_local_id(tx, entry.local_id)?.is_some()
    {
        return Ok(false);
    }
    outbox::park_without_row(tx, &object.mapping().table, &entry, outbox::UNRECORDED)?;
    if let Some(hs_id) = entry.standing.hs_id {
        reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
    }
    Ok(true)
}

/// The trace id of an attempt: HubSpot answers for each input apart by it (`hubspot/api-facts.md#4`).
pub fn trace_id(entry: OutboxId, attempt: u32) -> String {
    format!("{entry}-{attempt}")
}
