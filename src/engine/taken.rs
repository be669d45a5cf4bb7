//! A unique value that HubSpot did not give because another record has it. Where one of our own pending changes gives it
//! up, the entry waits for that change; a chain of them goes through, the last one first.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::matching::MatchRule;
use crate::decide::settle::{TakenOutcome, ValueHolder, settle_taken};
use crate::engine::objects::ObjectSync;
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::FieldMapping;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::mirror::Identity;
use crate::store::outbox::{self, Answered, Giver};
use crate::store::{StoreError, history};

/// How long an entry rests between two looks at whether the other change is done.
const AFTER_GIVER: Duration = Duration::from_secs(1);

/// A value that was given up this long ago is free in HubSpot.
const FREED_LATELY: Duration = Duration::from_mins(1);

/// The longest chain of rows that is followed.
const LONGEST_CHAIN: usize = 1_000;

/// That two rows have one value which only one of their records may have.
pub(super) fn words(
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
pub(super) fn settle(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    entry: &Entry,
    now: Timestamp,
) -> Result<bool, StoreError> {
    for (field, value) in wanted(object, entry) {
        let (holder, said) = holder(tx, object, entry, (field, &value), now)?;
        match (settle_taken(holder, entry.attempts), said) {
            (TakenOutcome::AfterTheOther, Some(said)) => {
                outbox::retry(
                    tx,
                    entry.id,
                    now + AFTER_GIVER,
                    Some(&said),
                    None,
                    Answered::Yes,
                )?;
            }
            (TakenOutcome::Again, _) => {
                let said =
                    "HubSpot gave the value to nobody, since another record had it until then";
                outbox::retry(tx, entry.id, now, Some(said), None, Answered::Yes)?;
            }
            (TakenOutcome::Dead, Some(said)) => {
                outbox::park(tx, entry.id, &said, Answered::Yes)?;
            }
            (TakenOutcome::AfterTheOther | TakenOutcome::Dead, None) => continue,
        }
        return Ok(true);
    }
    Ok(false)
}

/// Puts an entry off that met such a value and whose other change is still to come.
pub(super) fn still_waits(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    entry: &Entry,
    value_of: impl Fn(&FieldMapping) -> Value,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if entry.attempts == 0 {
        return Ok(false);
    }
    let fields = object.mapping().fields.iter();
    for field in fields.filter(|field| object.is_unique(&field.property)) {
        let Some(value) = identity(object, field, &value_of(field)) else {
            continue;
        };
        let (holder, _) = holder(tx, object, entry, (field, &value), now)?;
        if holder == ValueHolder::GivesItUp {
            outbox::put_off(tx, entry.id, now + AFTER_GIVER)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who has a value, and what is to be said about it.
fn holder(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    entry: &Entry,
    (field, value): (&FieldMapping, &Identity),
    now: Timestamp,
) -> Result<(ValueHolder, Option<String>), StoreError> {
    let (table, property) = (&object.mapping().table, &value.property);
    let others = givers(tx, object, entry.local_id, field, value)?;
    if let Some(giver) = others.iter().find(|giver| !giver.is_dead) {
        let (own, other, hs_id) = (entry.local_id, giver.local_id, giver.hs_id);
        if leads_to(tx, object, entry, field, giver)? {
            let said = format!(
                "{table} row {own} is to have the {property} of row {other}, HubSpot record {hs_id}, which is to have \
                 another of these in turn: HubSpot can't exchange them; give one of them another value first"
            );
            return Ok((ValueHolder::Exchanges, Some(said)));
        }
        let said = format!(
            "{table} row {other}, HubSpot record {hs_id}, has this {property} until its own change is done: \
             row {own} is sent after that"
        );
        return Ok((ValueHolder::GivesItUp, Some(said)));
    }
    if let Some(giver) = others.first() {
        let said = format!(
            "{table} row {}, HubSpot record {}, still has this {property}, since its own change is dead: settle that, then retry this",
            giver.local_id, giver.hs_id
        );
        return Ok((ValueHolder::KeepsIt, Some(said)));
    }
    if let Some(kept) = object.table.holder_of(tx, value, entry.local_id)? {
        let said = words(object, entry.local_id, property.as_str(), kept);
        return Ok((ValueHolder::KeepsIt, Some(said)));
    }
    let rule = MatchRule::of(object.object(), field);
    let since = now - FREED_LATELY;
    let was_freed = history::was_given_up(tx, object.object(), property, rule, &value.form, since)?;
    Ok(match was_freed {
        true => (ValueHolder::GaveItUp, None),
        false => (ValueHolder::KeepsIt, None),
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
