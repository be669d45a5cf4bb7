//! A unique value that HubSpot did not give because another record has it: who has it, as far as our own rows tell, and what
//! becomes of the entry.

use std::time::Duration;

use crate::decide::acts::Act;
use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::incoming::convert::identity;
use crate::decide::matching::Identity;
use crate::decide::outgoing::refusal::VALUE_TAKEN;
use crate::decide::outgoing::settle::{TakenOutcome, ValueHolder, settle_taken};
use crate::model::entry::{Entry, Operation};
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::FieldMapping;
use crate::model::row::MirrorRow;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;

/// How long after the other change's next attempt an entry looks whether that is done.
pub const AFTER_GIVER: Duration = Duration::from_secs(1);

/// The longest rest between two such looks: a person may let the other change go at any moment.
pub const LONGEST_REST: Duration = Duration::from_mins(1);

/// A record whose value of a property HubSpot is still to learn, or that is to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giver {
    /// Its row.
    pub local_id: LocalId,
    /// The record.
    pub hs_id: HubspotId,
    /// Whether its entry is dead.
    pub is_dead: bool,
    /// When its entry is tried next; `None` while it waits for a person's word.
    pub next: Option<Timestamp>,
}

/// The code of a row that means a record which is another row's.
pub const RECORD_OF_ANOTHER_ROW: &str = "record-of-another-row";

/// That two rows have one value which only one of their records may have.
pub fn shared_words(
    object: &SyncedObject,
    own: LocalId,
    shared: &str,
    holder: (LocalId, HubspotId),
) -> String {
    let table = &object.mapping().table;
    format!(
        "{table} row {own} has the {shared} {}",
        holder_words(holder)
    )
}

/// Whose the value is, at the end of such a sentence.
pub fn holder_words((local_id, hs_id): (LocalId, HubspotId)) -> String {
    format!("of row {local_id}, which is HubSpot record {hs_id} [{RECORD_OF_ANOTHER_ROW}]")
}

/// The unique values that an attempt was to give, with their fields.
pub fn wanted<'a>(object: &'a SyncedObject, entry: &Entry) -> Vec<(&'a FieldMapping, Identity)> {
    let fields = object.mapping().fields.iter();
    fields
        .filter(|field| object.is_unique(&field.property))
        .filter_map(|field| {
            let sent = entry.field(&field.property)?.sent.as_ref()?;
            Some((field, identity(object, field, sent)?))
        })
        .collect()
}

/// The unique values that an entry is to give next, by what its row holds.
pub fn to_give<'a>(
    object: &'a SyncedObject,
    entry: &Entry,
    row: &MirrorRow,
) -> Vec<(&'a FieldMapping, Identity)> {
    let is_create = entry.standing.operation == Operation::Create;
    let fields = object.mapping().fields.iter();
    fields
        .filter(|field| object.is_unique(&field.property) && field.is_sent())
        .filter(|field| is_create || entry.field(&field.property).is_some())
        .filter_map(|field| {
            let value = row.value(&field.property);
            Some((field, identity(object, field, value)?))
        })
        .collect()
}

/// When it is worth a look whether the other change is done: after its next attempt, which may be `None` while a person
/// decides about it.
pub fn next_look(other: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let longest = now + LONGEST_REST;
    other.map_or(longest, |next| (next.max(now) + AFTER_GIVER).min(longest))
}

/// Who has a unique value, with the row that gives it up and what is to be said, as far as our own rows tell.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldValue {
    /// Who has it.
    pub by: ValueHolder,
    /// The row that gives it up.
    pub giver: Option<Giver>,
    /// What is to be said.
    pub explanation: Option<String>,
}

impl HeldValue {
    /// A value that is kept, by a row or by nobody that we know.
    pub fn kept(explanation: Option<String>) -> Self {
        Self {
            by: ValueHolder::KeepsIt,
            giver: None,
            explanation,
        }
    }

    /// A value that was given up while the attempt was on its way.
    pub fn given_up() -> Self {
        Self {
            by: ValueHolder::GaveItUp,
            ..Self::kept(None)
        }
    }

    /// A value that a row gives up whose own change is to come; `in_turn`: it waits, over others, for what this one gives up.
    pub fn of_giver(
        object: &SyncedObject,
        own: LocalId,
        value: &Identity,
        giver: Giver,
        in_turn: bool,
    ) -> Self {
        let (table, property) = (&object.mapping().table, &value.property);
        let (other, hs_id) = (giver.local_id, giver.hs_id);
        let (by, explanation) = if in_turn {
            let explanation = format!(
                "{table} row {own} is to have the {property} of row {other}, HubSpot record {hs_id}, which is to have \
                 another of these in turn: HubSpot can't exchange them; give one of them another value first [{VALUE_TAKEN}]"
            );
            (ValueHolder::Exchanges, explanation)
        } else {
            let until = match giver.next {
                Some(_) => "its own change is done",
                None => "its own change, which waits for a person, is done",
            };
            let explanation = format!(
                "{table} row {other}, HubSpot record {hs_id}, has this {property} until {until}: row {own} is sent \
                 after that"
            );
            (ValueHolder::GivesItUp, explanation)
        };
        Self {
            by,
            giver: Some(giver),
            explanation: Some(explanation),
        }
    }

    /// A value of a row whose own change is dead.
    pub fn of_dead(object: &SyncedObject, value: &Identity, giver: &Giver) -> Self {
        let (table, property) = (&object.mapping().table, &value.property);
        Self::kept(Some(format!(
            "{table} row {}, HubSpot record {}, still has this {property}, since its own change is dead: settle that, then retry this [{VALUE_TAKEN}]",
            giver.local_id, giver.hs_id
        )))
    }

    /// What becomes of an entry that was refused this value; `None`: our own rows say nothing about it.
    pub fn settled(self, entry: &Entry, now: Timestamp) -> Option<Act> {
        let outcome = settle_taken(self.by, entry.standing.attempts);
        Some(Act::Befall(match (outcome, self.giver, self.explanation) {
            (TakenOutcome::AfterTheOther, Some(giver), Some(explanation)) => {
                EntryEvent::TakenByRow {
                    row: giver.local_id,
                    next: next_look(giver.next, now),
                    explanation,
                }
            }
            (TakenOutcome::Again, ..) => EntryEvent::SentBack {
                next: now,
                explanation: Some(
                    "HubSpot gave the value to nobody, since another record had it until then"
                        .to_owned(),
                ),
                waits_for: None,
                answered: Answered::Yes,
            },
            (TakenOutcome::Dead, _, Some(explanation)) => EntryEvent::Refused {
                explanation,
                answered: Answered::Yes,
            },
            (TakenOutcome::AfterTheOther | TakenOutcome::Dead, ..) => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, contacts, entry, property, row};

    fn giver(next: Option<i64>) -> Giver {
        Giver {
            local_id: LocalId(7),
            hs_id: HubspotId(107),
            is_dead: false,
            next: next.map(at),
        }
    }

    fn email() -> Identity {
        Identity {
            property: property("email"),
            form: "a@example.com".to_owned(),
        }
    }

    #[test]
    fn an_entry_waits_for_the_row_that_gives_its_value_up() {
        let object = contacts();
        let update = entry(Operation::Update, &[("email", "", Some("A@example.com"))]);
        assert_eq!(wanted(&object, &update).len(), 1);
        let held = |next, in_turn| {
            let value = email();
            HeldValue::of_giver(&object, LocalId(1), &value, giver(next), in_turn)
        };
        match held(Some(20), false).settled(&update, at(2)) {
            Some(Act::Befall(EntryEvent::TakenByRow { row, next, .. })) => {
                assert_eq!((row, next), (LocalId(7), at(20) + AFTER_GIVER));
            }
            other => panic!("{other:?}"),
        }
        let dead = HeldValue::of_dead(&object, &email(), &giver(None));
        for held in [held(Some(20), true), dead] {
            assert!(matches!(
                held.settled(&update, at(2)),
                Some(Act::Befall(EntryEvent::Refused { explanation, .. })) if explanation.ends_with("[value-taken]")
            ));
        }
        assert_eq!(HeldValue::kept(None).settled(&update, at(2)), None);
    }

    #[test]
    fn a_look_is_made_after_the_other_attempt_and_once_a_minute_behind_a_person() {
        assert_eq!(next_look(Some(at(20)), at(2)), at(20) + AFTER_GIVER);
        assert_eq!(next_look(Some(at(20)), at(30)), at(30) + AFTER_GIVER);
        assert_eq!(next_look(Some(at(9_000)), at(2)), at(2) + LONGEST_REST);
        assert_eq!(next_look(None, at(2)), at(2) + LONGEST_REST);
    }

    #[test]
    fn an_update_gives_what_it_changes_and_a_create_all_that_its_row_holds() {
        let object = contacts();
        let here = row(1, None, &[("email", "a@example.com"), ("city", "Kiel")]);
        let count = |entry: &Entry| to_give(&object, entry, &here).len();
        assert_eq!(count(&entry(Operation::Create, &[])), 1);
        assert_eq!(count(&entry(Operation::Update, &[("city", "", None)])), 0);
        let update = entry(Operation::Update, &[("email", "", None)]);
        assert_eq!(count(&update), 1);
        // What HubSpot lets nobody write any more is not given.
        let mut locked = object.mapping().clone();
        for field in &mut locked.fields {
            field.modes.locked = true;
        }
        let locked = SyncedObject {
            unique: object.unique.clone(),
            ..SyncedObject::of(locked)
        };
        assert!(locked.is_unique(&property("email")));
        assert_eq!(to_give(&locked, &update, &here).len(), 0);
    }
}
