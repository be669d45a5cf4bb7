//! Entries that a person gives up: the row goes back to what both sides agreed on, or is back as it was.

use rusqlite::Transaction;

use crate::decide::decision::taken_back;
use crate::decide::existence::{GivenUp, given_up};
use crate::engine::hands::Hands;
use crate::engine::inbound::existence::undelete;
use crate::engine::outbound::guarded::{archive_key, disassociation_key, update_key};
use crate::engine::pass::Pass;
use crate::engine::{Engine, StepError};
use crate::model::conflict::Winner;
use crate::model::entry::{Base, Entry, EntryField, Operation};
use crate::model::id::{HubspotId, LocalId};
use crate::model::value::Value;
use crate::store::conflicts::{self, End};
use crate::store::fields::{self, FieldRow};
use crate::store::file::savepoint;
use crate::store::history::{self, Change, Origin};
use crate::store::links::due;
use crate::store::outbox::{GuardedEntries, links};
use crate::store::{Lane, StoreError, holds, outbox, reads};

/// How many entries one step gives up.
const BATCH: usize = 100;

/// Gives up what people have discarded. Tells whether something was.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let objects = engine.objects();
    let waiting = engine
        .store
        .read(|connection| outbox::discarded(connection, BATCH))
        .await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let offset_ms = engine.client.clock_offset_ms();
    let more = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let mut carried_out = false;
            for (object, queued) in outbox::discarded(tx, BATCH)? {
                let Some(sync) = objects.get(&object) else {
                    continue;
                };
                carried_out = true;
                let pass = Pass::of(tx, &sync, Origin::Discard, offset_ms);
                match savepoint::within(tx, || discard_one(tx, &pass, &queued)) {
                    Err(error) if error.is_of_one_row() => {
                        let words = format!("it can't be discarded: {error}");
                        outbox::refuse_discard(tx, queued.id, &words)?;
                    }
                    discarded => discarded?,
                }
            }
            Ok(carried_out)
        })
        .await?;
    Ok(more)
}

pub(super) fn discard_one(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    if is_of_link(entry) {
        return discard_link(tx, pass, entry);
    }
    match given_up(entry) {
        GivenUp::TakeBack(hs_id) => {
            take_back(tx, pass, entry)?;
            outbox::end(tx, entry.id)?;
            reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
        }
        GivenUp::Undelete(hs_id) => {
            undelete(tx, pass, entry, hs_id)?;
            if let Some(whole) = conflicts::open_whole(tx, object.object(), entry.local_id)? {
                let end = End {
                    winner: Winner::Remote,
                    resolution: "discarded",
                    reason: "the deletion was discarded, and the row is back",
                };
                conflicts::close(tx, whole, end, now)?;
            }
            reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
        }
        GivenUp::Exclude => {
            outbox::exclude(tx, object.object(), entry.local_id)?;
            outbox::end(tx, entry.id)?;
        }
        GivenUp::End => outbox::end(tx, entry.id)?,
    }
    for key in [archive_key, update_key].map(|key| key(object.object())) {
        holds::recount_entries(tx, key, GuardedEntries::of_key(key), now)?;
    }
    Ok(())
}

fn is_of_link(entry: &Entry) -> bool {
    matches!(
        entry.standing.operation,
        Operation::Associate | Operation::Disassociate
    )
}

/// An association that is given up goes again, one whose taking away is given up is back; a read of the record's associations
/// tells what HubSpot has.
fn discard_link(tx: &Transaction<'_>, pass: &Pass<'_>, entry: &Entry) -> Result<(), StoreError> {
    let pair = links::pair_of(tx, entry.id, &pass.object.pairs)?;
    match entry.standing.operation {
        Operation::Disassociate => links::put_row_back(tx, entry.id)?,
        Operation::Create | Operation::Update | Operation::Archive | Operation::Associate => {
            links::delete_rows(tx, entry.id, pass.now)?;
        }
    }
    outbox::end(tx, entry.id)?;
    let Some(pair) = pair else {
        return Ok(());
    };
    if let Some(hs_id) = entry.standing.hs_id.filter(|_| pair.direction.pulls()) {
        due::ask(tx, &pair.key, hs_id, Origin::Poll, pass.now)?;
    }
    let (name, entries) = (pair.name(), GuardedEntries::of_pair(&pair));
    holds::recount_entries(tx, disassociation_key(&name), entries, pass.now)
}

/// The fields of a discarded update go back to their base; what they held is kept.
fn take_back(tx: &Transaction<'_>, pass: &Pass<'_>, entry: &Entry) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(mut row) = object.table.by_local_id(tx, entry.local_id)? else {
        return Ok(());
    };
    let hands = Hands::of_entry(tx, object.object(), entry, now);
    for field in &entry.fields {
        match taken_back(object.mapping(), field, &row) {
            Some(acts) => hands.carry_out_on(object.mapping(), &mut row, acts)?,
            None => take_back_other(tx, pass, entry, field)?,
        }
    }
    object.table.update(tx, &row)
}

/// A field that is not in force, since it left the mapping or has a problem: its column stands in the table all the same.
/// Without a known base, or without the column, nothing is taken back, and nothing is written down.
fn take_back_other(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    field: &EntryField,
) -> Result<(), StoreError> {
    let Base::Known(base) = &field.base else {
        return Ok(());
    };
    let others = fields::out_of_force(tx, pass.object.mapping())?;
    let other = others
        .iter()
        .find(|other| other.property == field.property.as_str());
    match other {
        Some(other) => {
            let ids = (entry.local_id, entry.standing.hs_id);
            set_other(tx, pass, ids, other, (base, Origin::Discard))
        }
        None => Ok(()),
    }
}

/// Gives the column of a field that is not in force a value; what it held is kept.
pub(super) fn set_other(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (local_id, hs_id): (LocalId, Option<HubspotId>),
    other: &FieldRow,
    (value, origin): (&Value, Origin),
) -> Result<(), StoreError> {
    let object = pass.object;
    let Some(held) = object.table.former_value(tx, local_id, other)? else {
        return Ok(());
    };
    let change = Change {
        object: object.object(),
        local_id,
        hs_id,
        property: &other.property,
        old: held.as_deref(),
        new: value.as_deref(),
        origin,
    };
    history::record(tx, change, pass.now)?;
    object.table.set_former(tx, local_id, other, value)
}
