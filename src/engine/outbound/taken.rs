//! A unique value that HubSpot did not give because another record has it. Where one of our own pending changes gives it
//! up, the entry waits for that change; a chain of them goes through, the last one first.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::incoming::convert::identity;
use crate::decide::matching::{Identity, MatchRule};
use crate::decide::outgoing::settle::ValueHolder;
use crate::decide::outgoing::taken::{Giver, HeldValue, next_look, shared_words, to_give, wanted};
use crate::engine::Engine;
use crate::engine::acts::EntryWork;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::entry::Entry;
use crate::model::id::{LocalId, OutboxId};
use crate::model::mapping::FieldMapping;
use crate::model::time::Timestamp;
use crate::store::history::{self, Origin};
use crate::store::outbox;
use crate::store::{Lane, StoreError};

/// A value that was given up this long ago is free in HubSpot.
const FREED_LATELY: Duration = Duration::from_mins(1);

/// The longest chain of rows that is followed.
const LONGEST_CHAIN: usize = 1_000;

/// Settles an entry whose value was refused as taken. `false`: our own rows say nothing about it.
pub(crate) fn settle(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<bool, StoreError> {
    let (object, now) = (pass.object, pass.now);
    for (field, value) in wanted(object, entry) {
        let held = held(tx, pass, entry, (field, &value))?;
        let Some(act) = held.settled(entry, now) else {
            continue;
        };
        EntryWork::of_entry(tx, object.object(), entry, now).carry_out(vec![act])?;
        return Ok(true);
    }
    Ok(false)
}

/// The entries that need not wait for another row's change; those that do are put off, which costs no request.
pub(crate) async fn without_waiting(
    engine: &Engine,
    object: &ObjectSync,
    mut due: Vec<Entry>,
) -> Result<Vec<Entry>, StoreError> {
    let waiting = due
        .iter()
        .filter(|queued| queued.standing.taken_by.is_some());
    let waiting: Vec<OutboxId> = waiting.map(|queued| queued.id).collect();
    if waiting.is_empty() {
        return Ok(due);
    }
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let put_off = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset);
            let mut put_off = BTreeSet::new();
            for id in waiting {
                if still_waits(tx, &pass, id)? {
                    put_off.insert(id);
                }
            }
            Ok(put_off)
        })
        .await?;
    due.retain(|queued| !put_off.contains(&queued.id));
    Ok(due)
}

/// Puts an entry off that met such a value and whose other change is still to come.
fn still_waits(tx: &Transaction<'_>, pass: &Pass<'_>, id: OutboxId) -> Result<bool, StoreError> {
    let Some(entry) = outbox::by_id(tx, id)? else {
        return Ok(false);
    };
    let Some(waits) = waits_for(tx, pass, &entry)? else {
        return Ok(false);
    };
    outbox::put_off(tx, id, waits.next)?;
    Ok(true)
}

/// Another row's change that goes before an entry.
pub(super) struct GivenUpFirst {
    /// The row.
    pub(super) by: LocalId,
    /// When the entry is looked at again.
    pub(super) next: Timestamp,
}

/// The change of another row that an entry waits for which met a value of it in HubSpot.
pub(super) fn waits_for(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<Option<GivenUpFirst>, StoreError> {
    let object = pass.object;
    if entry.standing.taken_by.is_none() {
        return Ok(None);
    }
    let Some(row) = object.table.by_local_id(tx, entry.local_id)? else {
        return Ok(None);
    };
    for (field, value) in to_give(object, entry, &row) {
        let held = held(tx, pass, entry, (field, &value))?;
        if let (ValueHolder::GivesItUp, Some(giver)) = (held.by, held.giver) {
            return Ok(Some(GivenUpFirst {
                by: giver.local_id,
                next: next_look(giver.next, pass.now),
            }));
        }
    }
    Ok(None)
}

/// Who has a unique value, with the row that gives it up and what is to be said, as far as our own rows tell.
fn held(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    (field, value): (&FieldMapping, &Identity),
) -> Result<HeldValue, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let (property, own) = (&value.property, entry.local_id);
    let mut others = givers(tx, object, own, field, value)?;
    if let Some(place) = others.iter().position(|giver| !giver.is_dead) {
        let giver = others.swap_remove(place);
        let in_turn = leads_to(tx, object, entry, field, &giver)?;
        return Ok(HeldValue::of_giver(object, own, value, giver, in_turn));
    }
    if let Some(giver) = others.first() {
        return Ok(HeldValue::of_dead(object, value, giver));
    }
    if let Some(holder) = object.table.holder_of(tx, value, own)? {
        let explanation = shared_words(object, own, property.as_str(), holder);
        return Ok(HeldValue::kept(Some(explanation)));
    }
    let rule = MatchRule::of(object.object(), field);
    let since = now - FREED_LATELY;
    let was_freed = history::was_given_up(tx, object.object(), field, rule, &value.form, since)?;
    Ok(match was_freed {
        true => HeldValue::given_up(),
        false => HeldValue::kept(None),
    })
}

/// Rows that give a value up, and do not only spell it anew.
fn givers(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    own: LocalId,
    field: &FieldMapping,
    value: &Identity,
) -> Result<Vec<Giver>, StoreError> {
    let rule = MatchRule::of(object.object(), field);
    let mut found = outbox::givers(tx, object.object(), &value.property, rule, &value.form)?;
    found.retain(|giver| giver.local_id != own);
    let mut givers = Vec::with_capacity(found.len());
    for giver in found {
        let row = object.table.by_local_id(tx, giver.local_id)?;
        let keeps = row
            .is_some_and(|row| rule.form(row.value(&field.property)).as_ref() == Some(&value.form));
        if !keeps {
            givers.push(giver);
        }
    }
    Ok(givers)
}

/// Whether a row waits, over others, for the value that this entry's own record has.
fn leads_to(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    entry: &Entry,
    field: &FieldMapping,
    first: &Giver,
) -> Result<bool, StoreError> {
    let mut seen = BTreeSet::new();
    let mut next = Some(first.local_id);
    while let Some(local_id) = next.take() {
        if local_id == entry.local_id {
            return Ok(true);
        }
        if !seen.insert(local_id) || seen.len() > LONGEST_CHAIN {
            return Ok(false);
        }
        let Some(row) = object.table.by_local_id(tx, local_id)? else {
            return Ok(false);
        };
        if let Some(value) = identity(object, field, row.value(&field.property)) {
            let others = givers(tx, object, local_id, field, &value)?;
            next = others
                .iter()
                .find(|giver| !giver.is_dead)
                .map(|giver| giver.local_id);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::outgoing::taken::{AFTER_GIVER, LONGEST_REST};
    use crate::engine::testing::{Scene, at};
    use crate::model::mapping::Policy;
    use crate::model::time::Timestamp;
    use crate::model::value::Value;

    /// Row 2 is to have the address that row 1 gives up; HubSpot was asked too early.
    fn waiting() -> (Scene, OutboxId) {
        let scene = Scene::of(Policy::Remote);
        scene.daemon(
            "INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 1001, 'a@example.com'), (2, 1002, 'b@example.com')",
        );
        scene.program("UPDATE contacts SET email = 'new@example.com' WHERE local_id = 1");
        scene.program("UPDATE contacts SET email = 'a@example.com' WHERE local_id = 2");
        let id = scene.write(|tx| {
            let object = scene.object.object();
            let queued = outbox::of_row(tx, object, LocalId(2))?.expect("an entry");
            let mut entry = queued;
            let email = &mut entry.fields[0];
            email.sent = Some(Value::from_canonical("a@example.com"));
            assert!(settle(tx, &scene.pass(at(0)), &entry)?);
            Ok(entry.id)
        });
        (scene, id)
    }

    fn looks_at(scene: &Scene, id: OutboxId, now: Timestamp) -> Option<String> {
        let waits = scene.write(|tx| still_waits(tx, &scene.pass(now), id));
        let next = "SELECT next_attempt_at FROM sync_outbox WHERE local_id = 2";
        waits.then(|| scene.rows(next).remove(0))
    }

    #[test]
    fn an_entry_looks_again_when_the_other_change_was_tried() {
        let (scene, id) = waiting();
        scene.daemon("UPDATE sync_outbox SET next_attempt_at = '2026-11-24T03:10:20.000Z' WHERE local_id = 1");
        assert_eq!(
            looks_at(&scene, id, at(2)),
            Some((at(20) + AFTER_GIVER).to_string())
        );
        assert_eq!(
            looks_at(&scene, id, at(30)),
            Some((at(30) + AFTER_GIVER).to_string())
        );
    }

    #[test]
    fn what_waits_behind_a_persons_decision_looks_once_a_minute() {
        let (scene, id) = waiting();
        scene.daemon("UPDATE sync_outbox SET waits_for = 'guard' WHERE local_id = 1");
        assert_eq!(
            looks_at(&scene, id, at(2)),
            Some((at(2) + LONGEST_REST).to_string())
        );
        scene.daemon(
            "UPDATE sync_outbox SET waits_for = NULL, next_attempt_at = NULL WHERE local_id = 1",
        );
        assert_eq!(
            looks_at(&scene, id, at(2)),
            Some((at(2) + LONGEST_REST).to_string())
        );
    }

    #[test]
    fn an_entry_goes_on_once_the_other_change_is_done() {
        let (scene, id) = waiting();
        scene.daemon("DELETE FROM sync_outbox WHERE local_id = 1");
        assert_eq!(looks_at(&scene, id, at(2)), None);
        assert_eq!(
            scene.rows("SELECT taken_by FROM sync_outbox WHERE local_id = 2"),
            ["1"]
        );
    }
}
