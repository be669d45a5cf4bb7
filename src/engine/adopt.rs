//! A record that no row has by its id: is it a row that waits for its create, or one that was deleted and inserted again?
//!
//! The key of our own create comes first, then the object's match property (`design.md`, "Which row is this record?").

use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::record::CleanBase;
use crate::engine::apply::{Applying, merge_into};
use crate::engine::convert::match_value;
use crate::engine::create::sent_values;
use crate::model::entry::{EntryState, Operation};
use crate::model::id::LocalId;
use crate::model::record::RemoteRecord;
use crate::store::outbox::{self, Queued};
use crate::store::{StoreError, reads, rowjson};

/// How long a record waits while the create that may be its own is in flight.
const AFTER_FLIGHT: Duration = Duration::from_secs(5);

/// Links a record to a row that means it. `None`: no row does. `Some(false)`: one may, and the record waits.
pub fn adopt(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<Option<bool>, StoreError> {
    let object = applying.object.object();
    let pending = outbox::of_record(tx, object, record.id)?;
    if let Some(key) = &record.own_key
        && let Some(create) = outbox::of_key(tx, object, key)?
    {
        return link_by_key(tx, applying, record, &create).map(Some);
    }
    let matched = match match_value(applying.object, &record.values) {
        Some(value) => applying.object.table.unlinked_by_match(tx, value)?,
        None => None,
    };
    match (matched, pending) {
        (Some(local_id), pending) => {
            link_by_match(tx, applying, record, local_id, pending).map(Some)
        }
        // Its row was deleted here: the archive looks at the record itself before it is sent.
        (None, Some(_)) => Ok(Some(false)),
        (None, None) => Ok(None),
    }
}

fn link_by_key(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    create: &Queued,
) -> Result<bool, StoreError> {
    if create.entry.state == EntryState::InFlight {
        return wait(tx, applying, record);
    }
    // What the lost create carried is what both sides agreed on.
    let sent = sent_values(&create.entry);
    link(
        tx,
        applying,
        record,
        create.entry.local_id,
        Some(create),
        CleanBase::Given(&sent),
    )
}

fn link_by_match(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    local_id: LocalId,
    pending: Option<Queued>,
) -> Result<bool, StoreError> {
    let create = outbox::of_row(tx, applying.object.object(), local_id)?;
    let busy = [&create, &pending]
        .into_iter()
        .flatten()
        .any(|queued| queued.entry.state == EntryState::InFlight);
    if busy {
        return wait(tx, applying, record);
    }
    let Some(archive) = pending.filter(|queued| queued.entry.operation == Operation::Archive)
    else {
        return link(
            tx,
            applying,
            record,
            local_id,
            create.as_ref(),
            CleanBase::Unknown,
        );
    };
    let former = archive
        .entry
        .row
        .as_deref()
        .map(|row| rowjson::values(applying.object.mapping(), row))
        .unwrap_or_default();
    outbox::end(tx, archive.entry.id)?;
    link(
        tx,
        applying,
        record,
        local_id,
        create.as_ref(),
        CleanBase::Given(&former),
    )
}

fn wait(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    reads::ask(
        tx,
        applying.object.object(),
        record.id,
        applying.origin,
        applying.now + AFTER_FLIGHT,
    )?;
    Ok(false)
}

/// Gives a row its record: the id and times, then the fields through the merge.
pub fn link(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    local_id: LocalId,
    create: Option<&Queued>,
    clean_base: CleanBase<'_>,
) -> Result<bool, StoreError> {
    let object = applying.object.object();
    let Some(mut row) = applying.object.table.by_local_id(tx, local_id)? else {
        return deleted_meanwhile(tx, record, create, applying);
    };
    row.link(record);
    applying.object.table.update(tx, &row)?;
    reads::unbury(tx, object, record.id)?;
    if let Some(create) = create {
        // The fields' bases are decided afresh; what the create carried is in `clean_base`.
        outbox::drop_fields(tx, create.entry.id)?;
        outbox::become_update(tx, create.entry.id, record.id, applying.now)?;
    }
    // The row has the record's version already: the merge must not take it for an unchanged search hit.
    row.record.modified_at = None;
    merge_into(tx, applying, row, record, None, clean_base)?;
    Ok(true)
}

/// The row was deleted while its create was in doubt, and the record is there: it is archived, past the guard.
fn deleted_meanwhile(
    tx: &Transaction<'_>,
    record: &RemoteRecord,
    create: Option<&Queued>,
    applying: &Applying<'_>,
) -> Result<bool, StoreError> {
    match create {
        Some(create) => {
            outbox::drop_fields(tx, create.entry.id)?;
            outbox::become_archive(tx, create.entry.id, record.id, applying.now)?;
            Ok(false)
        }
        None => Ok(false),
    }
}
