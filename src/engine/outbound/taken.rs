//! A unique value that HubSpot did not give because another record has it. Where one of our own pending changes gives it
//! up, the entry waits for that change; a chain of them goes through, the last one first.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::matching::Identity;
use crate::decide::matching::MatchRule;
use crate::decide::settle::{TakenOutcome, ValueHolder, settle_taken};
use crate::engine::Engine;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::entry::{Entry, Operation};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::mapping::FieldMapping;
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::history::{self, Origin};
use crate::store::outbox::{self, Answered, Giver};
use crate::store::{Lane, StoreError};

/// How long after the other change's next attempt an entry looks whether that is done.
const AFTER_GIVER: Duration = Duration::from_secs(1);

/// The longest rest between two such looks: a person may let the other change go at any moment.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// A value that was given up this long ago is free in HubSpot.
const FREED_LATELY: Duration = Duration::from_mins(1);

/// The longest chain of rows that is followed.
const LONGEST_CHAIN: usize = 1_000;

/// That two rows have one value which only one of their records may have.
pub(crate) fn words(
    object: &ObjectSync,
    own: LocalId,
    shared: &str,
    holder: (LocalId, HubspotId),
) -> String {
    let (local_id, hs_id) = holder;
    format!(
        "{} row {own} has the {shared} of row {local_id}, which is HubSpot record {hs_id}",
        object.mapping().table
    )
}

/// The unique values that an attempt was to give, with their fields.
fn wanted<'a>(object: &'a ObjectSync, entry: &Entry) -> Vec<(&'a FieldMapping, Identity)> {
    let fields = object.mapping().fields.iter();
    fields
        .filter(|field| object.is_unique(&field.property))
        .filter_map(|field| {
            let mut sent = entry.fields.iter();
            let sent = sent.find(|other| other.property == field.property)?;
            Some((field, identity(object, field, sent.sent.as_ref()?)?))
        })
        .collect()
}

fn identity(object: &ObjectSync, field: &FieldMapping, value: &Value) -> Option<Identity> {
    let form = MatchRule::of(object.object(), field).form(value)?;
    Some(Identity {
        property: field.property.clone(),
        form,
    })
}

/// Settles an entry whose value was refused as taken. `false`: our own rows say nothing about it.
pub(crate) fn settle(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<bool, StoreError> {
    let (object, now) = (pass.object, pass.now);
    for (field, value) in wanted(object, entry) {
        let HeldValue { by, giver, words } = held(tx, pass, entry, (field, &value))?;
        match (settle_taken(by, entry.standing.attempts), giver, words) {
            (TakenOutcome::AfterTheOther, Some(giver), Some(words)) => {
                let next = next_look(giver.next, now);
                outbox::wait_for_row(tx, entry.id, giver.local_id, next, &words)?;
            }
            (TakenOutcome::Again, ..) => {
                let words =
                    "HubSpot gave the value to nobody, since another record had it until then";
                outbox::retry(tx, entry.id, now, Some(words), None, Answered::Yes)?;
            }
            (TakenOutcome::Dead, _, Some(words)) => {
                outbox::park(tx, entry.id, &words, Answered::Yes)?;
            }
            (TakenOutcome::AfterTheOther | TakenOutcome::Dead, ..) => continue,
        }
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
    let (object, now) = (pass.object, pass.now);
    let Some(queued) = outbox::by_id(tx, id)? else {
        return Ok(false);
    };
    let entry = &queued;
    let Some(row) = object.table.by_local_id(tx, entry.local_id)? else {
        return Ok(false);
    };
    let is_sent = |property: &PropertyName| {
        let mut fields = entry.fields.iter();
        entry.standing.operation == Operation::Create
            || fields.any(|field| &field.property == property)
    };
    let fields = object.mapping().fields.iter();
    let unique = fields.filter(|field| object.is_unique(&field.property));
    for field in unique.filter(|field| is_sent(&field.property)) {
        let Some(value) = identity(object, field, row.value(&field.property)) else {
            continue;
        };
        let held = held(tx, pass, entry, (field, &value))?;
        if let (ValueHolder::GivesItUp, Some(giver)) = (held.by, held.giver) {
            outbox::put_off(tx, id, next_look(giver.next, now))?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// When it is worth a look whether the other change is done: after its next attempt, which may be `None` while a person
/// decides about it.
fn next_look(other: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let longest = now + LONGEST_REST;
    other.map_or(longest, |next| (next.max(now) + AFTER_GIVER).min(longest))
}

/// Who has a unique value, with the row that gives it up and what is to be said, as far as our own rows tell.
struct HeldValue {
    by: ValueHolder,
    giver: Option<Giver>,
    words: Option<String>,
}

fn held(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    (field, value): (&FieldMapping, &Identity),
) -> Result<HeldValue, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let (table, property, own) = (&object.mapping().table, &value.property, entry.local_id);
    let kept = |words: Option<String>| HeldValue {
        by: ValueHolder::KeepsIt,
        giver: None,
        words,
    };
    let mut others = givers(tx, object, own, field, value)?;
    if let Some(place) = others.iter().position(|giver| !giver.is_dead) {
        let giver = others.swap_remove(place);
        let (other, hs_id) = (giver.local_id, giver.hs_id);
        let (by, words) = if leads_to(tx, object, entry, field, &giver)? {
            let words = format!(
                "{table} row {own} is to have the {property} of row {other}, HubSpot record {hs_id}, which is to have \
                 another of these in turn: HubSpot can't exchange them; give one of them another value first"
            );
            (ValueHolder::Exchanges, words)
        } else {
            let until = match giver.next {
                Some(_) => "its own change is done",
                None => "its own change, which waits for a person, is done",
            };
            let words = format!(
                "{table} row {other}, HubSpot record {hs_id}, has this {property} until {until}: row {own} is sent \
                 after that"
            );
            (ValueHolder::GivesItUp, words)
        };
        return Ok(HeldValue {
            by,
            giver: Some(giver),
            words: Some(words),
        });
    }
    if let Some(giver) = others.first() {
        let words = format!(
            "{table} row {}, HubSpot record {}, still has this {property}, since its own change is dead: settle that, then retry this",
            giver.local_id, giver.hs_id
        );
        return Ok(kept(Some(words)));
    }
    if let Some(holder) = object.table.holder_of(tx, value, own)? {
        return Ok(kept(Some(words(object, own, property.as_str(), holder))));
    }
    let rule = MatchRule::of(object.object(), field);
    let since = now - FREED_LATELY;
    let was_freed = history::was_given_up(tx, object.object(), property, rule, &value.form, since)?;
    Ok(match was_freed {
        true => HeldValue {
            by: ValueHolder::GaveItUp,
            ..kept(None)
        },
        false => kept(None),
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
    use crate::engine::testing::{Scene, at};
    use crate::model::mapping::Policy;

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
