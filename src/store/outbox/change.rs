//! What befalls one entry: each function is an event of `decide/entry`, carried over into the row.

use rusqlite::{Transaction, named_params};

use crate::decide::acts::Act;
use crate::decide::entry::{Answered, Attempt, EntryEvent, step};
use crate::decide::outgoing::taken::{RECORD_OF_ANOTHER_ROW, holder_words};
use crate::model::entry::{Entry, EntryState, Operation, Standing, WaitsFor, code_in};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::{ObjectType, TableName};
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::outbox::fields::{
    clear_sent, drop_field, drop_fields, fields, put_field, set_base, set_sent,
};
use crate::store::outbox::made::{end, id_of_row};
use crate::store::outbox::missing;
use crate::store::outbox::sent::{owe, remember_sent};
use crate::store::outbox::{UNREAD, standing};

/// Carries an event over into an entry; an entry that is gone stays gone. Tells whether it changed.
fn change(tx: &Transaction<'_>, id: OutboxId, event: EntryEvent) -> Result<bool, StoreError> {
    match standing(tx, id)? {
        Some(before) => carry_over(tx, id, &before, event),
        None => Ok(false),
    }
}

/// The same where the caller knows how the entry stands in this transaction.
fn carry_over(
    tx: &Transaction<'_>,
    id: OutboxId,
    before: &Standing,
    event: EntryEvent,
) -> Result<bool, StoreError> {
    debug_assert_eq!(standing(tx, id)?.as_ref(), Some(before), "{event:?}");
    let Some(after) = step(before.clone(), event) else {
        end(tx, id)?;
        return Ok(true);
    };
    if after == *before {
        return Ok(false);
    }
    save(tx, id, &after)?;
    let begins_to_wait = after.waits_for == Some(WaitsFor::Create)
        && (before.waits_for != after.waits_for || before.state != after.state);
    let says = begins_to_wait && missing::say(tx, id)?;
    if says || makes_none(before) || makes_none(&after) {
        missing::tell_of_create(tx, id)?;
    }
    Ok(true)
}

/// Whether it is a create that makes no record by itself, so that what waits for that says so.
fn makes_none(standing: &Standing) -> bool {
    let waits = standing.waits_for == Some(WaitsFor::Create);
    standing.operation == Operation::Create && (waits || standing.state == EntryState::Dead)
}

/// Carries out what was decided of an entry. What is of its row or its conflicts is not for here.
pub fn act(
    tx: &Transaction<'_>,
    object: &ObjectType,
    entry: &Entry,
    act: Act,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = entry.id;
    match act {
        Act::Befall(event) => change(tx, id, event).map(drop),
        Act::End => end(tx, id),
        Act::EndIfEmpty => match fields(tx, id)?.is_empty() {
            true => end(tx, id),
            false => Ok(()),
        },
        Act::DropField(property) => drop_field(tx, id, &property),
        Act::DropFields => drop_fields(tx, id),
        Act::PutField {
            property,
            base,
            changed_at,
        } => put_field(tx, id, &property, &base, changed_at),
        Act::SetBase { property, base } => set_base(tx, id, &property, &base),
        Act::SetSent { property, value } => set_sent(tx, id, &property, &value),
        Act::Owe { property, owed } => owe(tx, id, &property, &owed),
        Act::ClearSent => clear_sent(tx, id),
        Act::RememberSent => remember_sent(tx, object, entry, now),
        Act::Set { .. }
        | Act::History { .. }
        | Act::Conflict { .. }
        | Act::AskRead { .. }
        | Act::NoteGap { .. }
        | Act::LookAtArchive { .. } => Ok(()),
    }
}

fn save(tx: &Transaction<'_>, id: OutboxId, standing: &Standing) -> Result<(), StoreError> {
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET operation = :operation,
             hs_id = :hs_id,
             state = :state,
             attempts = :attempts,
             enqueued_at = :enqueued_at,
             next_attempt_at = :due,
             waits_for = :waits_for,
             unanswered_since = :unanswered_since,
             last_error = :last_error,
             code = :code,
             sent_over = :sent_over,
             sent_keyless = :sent_keyless,
             taken_by = :taken_by,
             discarded_at = :discarded_at,
             approved_hold = :approved_hold
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":operation": standing.operation.as_str(),
        ":hs_id": standing.hs_id.map(|hs_id| hs_id.0),
        ":state": standing.state.as_str(),
        ":attempts": standing.attempts,
        ":enqueued_at": standing.enqueued_at.to_string(),
        ":due": text(standing.due),
        ":waits_for": standing.waits_for.map(WaitsFor::as_str),
        ":unanswered_since": text(standing.unanswered_since),
        ":last_error": standing.last_error,
        ":code": standing.code(),
        ":sent_over": text(standing.sent_over),
        ":sent_keyless": standing.sent_keyless,
        ":taken_by": standing.taken_by.map(|row| row.0),
        ":discarded_at": text(standing.discarded_at),
        ":approved_hold": standing.approved_hold,
    })?;
    Ok(())
}

/// Takes an entry for an attempt: one more, in flight, unanswered. Nothing may have befallen it since it was read.
pub fn claim(
    tx: &Transaction<'_>,
    queued: &Entry,
    attempt: Attempt,
    at: Timestamp,
) -> Result<(), StoreError> {
    hold_to_the_look(tx, queued, at)?;
    let event = EntryEvent::Claimed { at, attempt };
    carry_over(tx, queued.id, &queued.standing, event)?;
    // It makes its record by now: whoever says that nothing does says so no more. What it waited for itself may have been taken away
    // by a program, whose triggers know of the entry alone.
    match attempt {
        Attempt::Create { .. } if missing::is_awaited_in_vain(tx, queued.id)? => {
            missing::tell_of_create(tx, queued.id)
        }
        Attempt::Create { .. }
        | Attempt::Update { .. }
        | Attempt::Archive
        | Attempt::Association => Ok(()),
    }
}

/// Writes down that what an entry carries was written at the latest when it was looked at: a program's clock may be ahead,
/// and whatever HubSpot is changed to afterwards is later.
pub(crate) fn hold_to_the_look(
    tx: &Transaction<'_>,
    entry: &Entry,
    looked_at: Timestamp,
) -> Result<(), StoreError> {
    if entry
        .fields
        .iter()
        .all(|field| field.changed_at <= looked_at)
    {
        return Ok(());
    }
    tx.prepare_cached(
        "UPDATE sync_outbox_fields
         SET changed_at = :looked_at
         WHERE outbox_id = :id AND changed_at > :looked_at",
    )?
    .execute(named_params! { ":id": entry.id.0, ":looked_at": looked_at.to_string() })?;
    Ok(())
}

/// Takes a claim back whose attempt was not sent: as if it had never been made. `claimed_at` is the claim's time, by
/// which an older attempt in doubt is known.
pub(crate) fn unclaim(
    tx: &Transaction<'_>,
    id: OutboxId,
    claimed_at: Timestamp,
) -> Result<(), StoreError> {
    match change(tx, id, EntryEvent::TakenBack { claimed_at })? {
        true => clear_sent(tx, id),
        false => Ok(()),
    }
}

/// Makes an entry an update of a record, due at once: after a create was acknowledged or its record found.
pub(crate) fn become_update(
    tx: &Transaction<'_>,
    id: OutboxId,
    hs_id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    become_operation(tx, id, Operation::Update, hs_id, now)
}

/// Makes an entry the archive of a record, due at once: its row was deleted while an attempt was in flight.
pub(crate) fn become_archive(
    tx: &Transaction<'_>,
    id: OutboxId,
    hs_id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    become_operation(tx, id, Operation::Archive, hs_id, now)
}

fn become_operation(
    tx: &Transaction<'_>,
    id: OutboxId,
    operation: Operation,
    hs_id: HubspotId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let event = EntryEvent::Linked {
        operation,
        hs_id,
        at,
    };
    change(tx, id, event).map(drop)
}

/// Sends an entry back to the queue: due at `next`, with the words of the last error. `answered` ends the doubt about
/// its attempts.
pub fn retry(
    tx: &Transaction<'_>,
    id: OutboxId,
    next: Timestamp,
    explanation: Option<&str>,
    waits_for: Option<WaitsFor>,
    answered: Answered,
) -> Result<(), StoreError> {
    let event = EntryEvent::SentBack {
        next,
        explanation: explanation.map(str::to_owned),
        waits_for,
        answered,
    };
    change(tx, id, event).map(drop)
}

/// Notes when the answer to an attempt was given up: a lost request may still land for a while after that.
pub(crate) fn lose(
    tx: &Transaction<'_>,
    id: OutboxId,
    explanation: &str,
    next: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = EntryEvent::Lost {
        at: now,
        next,
        explanation: explanation.to_owned(),
    };
    change(tx, id, event).map(drop)
}

/// Puts a pending entry off without counting an attempt.
pub(crate) fn put_off(
    tx: &Transaction<'_>,
    id: OutboxId,
    next: Timestamp,
) -> Result<(), StoreError> {
    put_off_saying(tx, id, next, None)
}

/// The same of an entry whose record could not be read: its `last_error` says so.
pub(crate) fn put_off_unread(
    tx: &Transaction<'_>,
    id: OutboxId,
    next: Timestamp,
) -> Result<(), StoreError> {
    put_off_saying(tx, id, next, Some(UNREAD))
}

/// The same of an entry whose `last_error` says why; `None` leaves what it says.
pub(crate) fn put_off_saying(
    tx: &Transaction<'_>,
    id: OutboxId,
    next: Timestamp,
    explanation: Option<&str>,
) -> Result<(), StoreError> {
    let explanation = explanation.map(str::to_owned);
    change(tx, id, EntryEvent::PutOff { next, explanation }).map(drop)
}

/// Parks an entry for a person.
pub(crate) fn park(
    tx: &Transaction<'_>,
    id: OutboxId,
    explanation: &str,
    answered: Answered,
) -> Result<(), StoreError> {
    let explanation = explanation.to_owned();
    change(
        tx,
        id,
        EntryEvent::Refused {
            explanation,
            answered,
        },
    )
    .map(drop)
}

/// What is dead since its value is a record's of another row names the row that has the record now, in place of its former one.
pub(crate) fn name_holder(
    tx: &Transaction<'_>,
    object: &ObjectType,
    hs_id: HubspotId,
    (former, now): (LocalId, LocalId),
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET last_error = replace(last_error, :former, :holder), code = :code
         WHERE object = :object AND operation = 'create' AND state = 'dead' AND code = :code AND local_id <> :row",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":code": RECORD_OF_ANOTHER_ROW,
        ":former": holder_words((former, hs_id)),
        ":holder": holder_words((now, hs_id)),
        ":row": now.0,
    })?;
    Ok(())
}

/// Where a row went whose deletion no trigger has recorded.
pub(crate) const UNRECORDED: &str = "is gone, and no trigger recorded its deletion";

/// Parks an entry whose row is gone without a trigger's word: nothing of it can be sent, and no record can be taken for its
/// own. It names row, record and properties, and `went` says where the row is. Without a time, by which it is known; retried,
/// it is parked again.
pub(crate) fn park_without_row(
    tx: &Transaction<'_>,
    table: &TableName,
    entry: &Entry,
    went: &str,
) -> Result<(), StoreError> {
    let row = entry.local_id;
    let record = entry
        .standing
        .hs_id
        .map_or_else(String::new, |id| format!(", HubSpot record {id},"));
    let properties: Vec<String> = entry
        .fields
        .iter()
        .map(|field| format!("`{}`", field.property))
        .collect();
    let explanation = match (entry.standing.operation, properties.is_empty()) {
        (Operation::Create, _) => format!(
            "row {row} {went}: INSERT it into {table} again to create it in HubSpot, and discard this entry [row-gone]"
        ),
        (_, false) => format!(
            "row {row}{record} {went}, with what waited of it: write {} again, and discard this entry [row-gone]",
            properties.join(", ")
        ),
        (_, true) => format!("row {row}{record} {went}: discard this entry [row-gone]"),
    };
    tracing::error!(table_name = %table, local_id = %row, operation = entry.standing.operation.as_str(), code = code_in(&explanation), "{explanation}");
    drop_fields(tx, entry.id)?;
    // The old key is the key of a record that may come in as any other.
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET key = lower(hex(randomblob(16)))
         WHERE id = :id AND key IS NOT NULL",
    )?
    .execute(named_params! { ":id": entry.id.0 })?;
    change(tx, entry.id, EntryEvent::RowGone { explanation }).map(drop)
}

/// Keeps an entry from being sent until somebody decides.
pub(crate) fn never_due(
    tx: &Transaction<'_>,
    id: OutboxId,
    explanation: &str,
) -> Result<(), StoreError> {
    let explanation = explanation.to_owned();
    change(tx, id, EntryEvent::Asked { explanation }).map(drop)
}

/// Lets an entry go on of which a person has decided, also a dead one.
pub fn decide(tx: &Transaction<'_>, id: OutboxId, at: Timestamp) -> Result<(), StoreError> {
    change(tx, id, EntryEvent::Decided { at }).map(drop)
}

/// Gives a discarding that can't be carried out back to the person, with the reason.
pub(crate) fn refuse_discard(
    tx: &Transaction<'_>,
    id: OutboxId,
    explanation: &str,
) -> Result<(), StoreError> {
    let explanation = explanation.to_owned();
    change(tx, id, EntryEvent::DiscardRefused { explanation }).map(drop)
}

/// Undoes what a DELETE made of an entry, whose row is back: what was pending before it is pending again.
pub(crate) fn undelete(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    change(tx, id, EntryEvent::InsertedAgain)?;
    tx.prepare_cached("UPDATE sync_outbox SET row = NULL WHERE id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// Gives a row's entry the id of the record that survived a merge in HubSpot.
pub(crate) fn rename_record(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    match id_of_row(tx, object, local_id)? {
        Some(id) => change(tx, id, EntryEvent::Renamed { hs_id }).map(drop),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::EntryState;
    use crate::store::outbox::by_id;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode, WriteTx};

    #[test]
    fn a_claim_that_is_taken_back_leaves_an_older_doubt_alone() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let done = at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
            let before = now() - std::time::Duration::from_secs(9);
            tx.execute_batch(&format!(
                "INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, attempts, enqueued_at, unanswered_since)
                 VALUES (1, 'contacts', 1, 1, 'update', 0, '{before}', NULL), (2, 'contacts', 2, 2, 'update', 4, '{before}', '{before}')"
            ))?;
            for (id, attempts, doubt) in [(1, 0, None), (2, 4, Some(before))] {
                let queued = by_id(tx, OutboxId(id))?.expect("it is there");
                claim(tx, &queued, Attempt::Archive, now())?;
                unclaim(tx, OutboxId(id), now())?;
                let queued = by_id(tx, OutboxId(id))?.expect("it is there");
                assert_eq!(queued.standing.state, EntryState::Pending);
                assert_eq!(queued.standing.attempts, attempts);
                assert_eq!(queued.standing.unanswered_since, doubt);
            }
            Ok::<_, StoreError>(())
        }));
        done.expect("unclaims");
    }

    /// A program deletes the association for which a create waited: its triggers know of that create alone, and not of what waits for
    /// the create itself.
    #[test]
    fn what_waited_for_a_create_that_waited_itself_says_so_no_more_once_that_is_sent() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let done = at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
            let words = "waits for the create of leads row 1, which waits itself for a record that nothing makes [waits-for-create]";
            tx.execute_batch(&format!(
                "INSERT INTO sync_outbox (id, object, local_id, operation, enqueued_at, next_attempt_at, key)
                 VALUES (1, 'leads', 1, 'create', '{0}', '{0}', 'k');
                 INSERT INTO sync_outbox (id, object, local_id, operation, enqueued_at, waits_for, to_object, to_local_id, last_error, code)
                 VALUES (2, 'deals', 1, 'associate', '{0}', 'create', 'leads', 1, '{words}', 'waits-for-create')",
                now()
            ))?;
            let queued = by_id(tx, OutboxId(1))?.expect("it is there");
            claim(tx, &queued, Attempt::Create { is_keyless: false }, now())?;
            let waiting = by_id(tx, OutboxId(2))?.expect("it is there");
            Ok::<_, StoreError>((waiting.standing.last_error, waiting.standing.waits_for))
        }));
        assert_eq!(done.expect("claims"), (None, Some(WaitsFor::Create)));
    }

    #[test]
    fn what_waits_for_a_dead_create_is_looked_at_where_its_other_record_is_gone() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let done = at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
            tx.execute_batch(&format!(
                "INSERT INTO sync_outbox (id, object, local_id, operation, state, enqueued_at, key, last_error)
                 VALUES (1, 'contacts', 4, 'create', 'dead', '{0}', 'k', 'words');
                 INSERT INTO sync_outbox (id, object, local_id, operation, enqueued_at, waits_for, to_object, to_local_id, last_error, code)
                 VALUES (2, 'contacts', 4, 'associate', '{0}', 'create', 'companies', 7, 'waits [waits-for-create]', 'waits-for-create'),
                        (3, 'contacts', 4, 'associate', '{0}', 'create', 'companies', 8, 'waits [waits-for-create]', 'waits-for-create')",
                now()
            ))?;
            let companies = ObjectType::parse("companies").expect("a name");
            crate::store::outbox::links::look_at_gone(tx, &companies, LocalId(7), now())?;
            let standing = |id| {
                let entry = by_id(tx, OutboxId(id))?.expect("it is there");
                let standing = entry.standing;
                Ok::<_, StoreError>((standing.waits_for, standing.due, standing.last_error.is_some()))
            };
            Ok::<_, StoreError>((standing(2)?, standing(3)?))
        }));
        let waits = (Some(WaitsFor::Create), None, true);
        assert_eq!(done.expect("looks"), ((None, Some(now()), false), waits));
    }
}
