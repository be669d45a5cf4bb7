//! What all claims share: rows that can't be sent, and what is put aside.

use rusqlite::Transaction;

use crate::decide::outgoing::claim::needs_its_row;
use crate::decide::retry::AFTER_CONSTRAINT;
use crate::engine::pass::Pass;
use crate::model::entry::Entry;
use crate::model::id::OutboxId;
use crate::model::time::Timestamp;
use crate::store::history::Origin;
use crate::store::outbox;
use crate::store::{StoreError, reads};

/// An entry whose row a constraint of somebody else's refuses, or that is too large to be read, rests; the others go on.
pub(crate) fn put_aside(
    tx: &Transaction<'_>,
    entry: &Entry,
    error: &StoreError,
    now: Timestamp,
) -> Result<(), StoreError> {
    let explanation = format!("HubSpot's values do not fit into the table: {error}");
    outbox::retry(
        tx,
        entry.id,
        now + AFTER_CONSTRAINT,
        Some(&explanation),
        entry.standing.waits_for,
        outbox::Answered::No,
    )
}

/// Parks what waits of a row that is gone without a trigger's word, before anything is decided by its absence: a row that was
/// not deleted archives nothing. Its record comes in as a new row.
pub(crate) fn park_without_row(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: OutboxId,
) -> Result<bool, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(entry) = outbox::by_id(tx, id)? else {
        return Ok(false);
    };
    if !needs_its_row(&entry) || object.table.by_local_id(tx, entry.local_id)?.is_some() {
        return Ok(false);
    }
    outbox::park_without_row(tx, &object.mapping().table, &entry, outbox::UNRECORDED)?;
    if let Some(hs_id) = entry.standing.hs_id {
        reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
    }
    Ok(true)
}
