//! What an answer makes of an entry and its row: what was acknowledged, what is sent back, and what may have happened.
//!
//! | the answer | the row | what is written |
//! |---|---|---|
//! | acknowledged | holds what was sent | takes HubSpot's spelling, and the field waits no more |
//! | acknowledged | was written again meanwhile | what HubSpot holds is the base of that write |
//! | acknowledged, and HubSpot kept its own value | any | a closed conflict |
//! | acknowledged | deleted meanwhile | the record is to be archived, over what HubSpot holds |
//! | refused | any | nothing of the attempt happened |
//! | lost | any | what was carried is remembered, and sent again after a merge; a create is looked for |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::acts::{Act, pushed};
use crate::decide::adopt::LOOKS_FOR_MATCH;
use crate::decide::echo::{AfterLoss, after_loss};
use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::incoming::freshness::{Evidence, Freshness, of_version};
use crate::decide::outgoing::associate::MISSED_ATTEMPTS;
use crate::decide::outgoing::gap::gaps_of_lost;
use crate::decide::outgoing::settle::Settlement;
use crate::decide::outgoing::taken::RECORD_OF_ANOTHER_ROW;
use crate::decide::record::{ConflictNote, OpenConflict};
use crate::decide::retry::LOCK_LASTS;
use crate::model::conflict::Winner;
use crate::model::entry::{Base, Entry, EntryField, Operation};
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// How long a record rests that was written again while its push was in flight: what comes meanwhile goes along.
pub const AFTER_REWRITE: Duration = Duration::from_millis(500);

/// What HubSpot does not take of an update, and says so by answering with its own value.
const KEPT_ITS_OWN: &str = "HubSpot took the update and kept its own value";

/// What is written of an acknowledged attempt whose row is there: HubSpot's values become the base of what was sent.
/// `held`: the row's open conflicts. That a record was made is one change of the whole, which whoever settles it writes down.
pub fn acknowledged(
    mapping: &ObjectMapping,
    entry: &Entry,
    row: &MirrorRow,
    record: &RemoteRecord,
    held: &BTreeMap<PropertyName, OpenConflict>,
) -> Vec<Act> {
    let is_create = entry.standing.operation == Operation::Create;
    let mut acts = Vec::new();
    for field in &entry.fields {
        match (&field.sent, mapping.field(&field.property)) {
            (Some(sent), Some(mapped)) => {
                let answered = record.values.get(&field.property).unwrap_or(sent);
                let is_update = entry.standing.operation == Operation::Update;
                let is_kept = is_update && is_refused(mapped, field, sent, answered);
                if !is_create {
                    acts.extend(told(mapped, field, (sent, answered), is_kept));
                }
                acts.extend(agreed(mapped, row, (sent, answered)));
            }
            // Left out of requests when the row was created: HubSpot has nothing of it.
            (None, None) if is_create => acts.push(Act::SetBase {
                property: field.property.clone(),
                base: Value::EMPTY,
            }),
            (Some(_), None) | (None, _) => {}
        }
    }
    if is_create {
        acts.extend(defaults(mapping, entry, row, record, held));
    }
    acts
}

/// Whether HubSpot took an update and answered with what it held before.
fn is_refused(mapped: &FieldMapping, field: &EntryField, sent: &Value, answered: &Value) -> bool {
    let kind = mapped.property_type;
    !kind.same(sent, answered) && field.base.is_same(kind, answered)
}

/// What is written down of a field that was sent.
fn told(
    mapped: &FieldMapping,
    field: &EntryField,
    (sent, answered): (&Value, &Value),
    is_kept: bool,
) -> Vec<Act> {
    if !is_kept {
        return vec![pushed(&field.property, &field.base, answered)];
    }
    let note = ConflictNote {
        property: field.property.clone(),
        base: field.base.clone(),
        local: sent.clone(),
        remote: answered.clone(),
        policy: mapped.policy,
        reason: KEPT_ITS_OWN,
    };
    let history = Act::History {
        property: field.property.clone(),
        old: sent.clone(),
        new: answered.clone(),
        origin: Origin::Conflict,
    };
    let conflict = Act::Conflict {
        note,
        winner: Winner::Remote,
        set: None,
    };
    vec![conflict, history]
}

/// What both sides agree on by an answer.
fn agreed(mapped: &FieldMapping, row: &MirrorRow, (sent, answered): (&Value, &Value)) -> Vec<Act> {
    let property = || mapped.property.clone();
    if mapped.property_type.same(row.value(&mapped.property), sent) {
        let value = answered.clone();
        let taken = Act::Set {
            property: property(),
            value,
        };
        vec![taken, Act::DropField(property())]
    } else {
        // Written again while it was in flight: what HubSpot has is the base of that write.
        vec![Act::SetBase {
            property: property(),
            base: answered.clone(),
        }]
    }
}

/// Values that HubSpot gave a new record by itself.
fn defaults(
    mapping: &ObjectMapping,
    create: &Entry,
    row: &MirrorRow,
    record: &RemoteRecord,
    held: &BTreeMap<PropertyName, OpenConflict>,
) -> Vec<Act> {
    let fields = mapping.fields.iter();
    let free = fields.filter(|field| {
        field.direction.pulls()
            && create.field(&field.property).is_none()
            && !held.contains_key(&field.property)
            && row.value(&field.property).is_empty()
    });
    let given = free.filter_map(|field| {
        Some(Act::Set {
            property: field.property.clone(),
            value: record.values.get(&field.property)?.clone(),
        })
    });
    given.collect()
}

/// The version that a row has by an answer: an older one than it was written from says nothing.
pub fn version_by_answer(known: Option<Timestamp>, record: &RemoteRecord) -> Option<Timestamp> {
    match of_version(Evidence::Store, record.updated_at, known) {
        Freshness::Stale => known,
        Freshness::Fresh | Freshness::Unsure => Some(record.updated_at),
    }
}

/// What is written of an acknowledged attempt whose row is gone: what HubSpot holds is what an archive is measured against.
/// Without a trigger's word nobody has deleted it: a table that a program dropped archives nothing.
pub fn acknowledged_without_row(entry: &Entry, record: &RemoteRecord) -> Vec<Act> {
    let is_create = entry.standing.operation == Operation::Create;
    let mut acts = Vec::new();
    for field in &entry.fields {
        let property = field.property.clone();
        let answered = record.values.get(&field.property);
        match &field.sent {
            Some(sent) => {
                let answered = answered.unwrap_or(sent);
                if !is_create {
                    acts.push(pushed(&property, &field.base, answered));
                }
                acts.push(match entry.row.is_some() {
                    true => Act::SetBase {
                        property,
                        base: answered.clone(),
                    },
                    false => Act::DropField(property),
                });
            }
            None if is_create => acts.push(Act::SetBase {
                property,
                base: answered.unwrap_or(&Value::EMPTY).clone(),
            }),
            None => {}
        }
    }
    acts
}

/// What is written of an attempt that a settlement sends back, gives up or calls lost; `next`: when an entry is due that is
/// tried again. `None`: the answer is no matter of the entry alone.
pub fn sent_back(
    entry: &Entry,
    settlement: &Settlement,
    next: Timestamp,
    now: Timestamp,
) -> Option<Vec<Act>> {
    let again = |next, explanation: &str| {
        Act::Befall(EntryEvent::SentBack {
            next,
            explanation: Some(explanation.to_owned()),
            waits_for: None,
            answered: Answered::Yes,
        })
    };
    Some(match settlement {
        // Refused for sure: what it carried made no record, whoever's record the look finds.
        Settlement::LookForMatch(explanation) if entry.standing.attempts < LOOKS_FOR_MATCH => {
            vec![Act::ClearSent, looked_for(explanation, now)]
        }
        Settlement::Reread(explanation) => {
            let asked = entry.standing.hs_id.map(|hs_id| Act::AskRead {
                hs_id,
                origin: Origin::Poll,
                at: now,
            });
            let rest = [Act::RememberSent, Act::ClearSent, again(next, explanation)];
            asked.into_iter().chain(rest).collect()
        }
        // Most likely the record is locked, which lasts two seconds (`hubspot/api-facts.md#4`).
        Settlement::Retry(explanation) => {
            vec![
                Act::ClearSent,
                again(next.max(now + LOCK_LASTS), explanation),
            ]
        }
        Settlement::MissesOther(explanation) if entry.standing.attempts < MISSED_ATTEMPTS => {
            vec![Act::ClearSent, again(next, explanation)]
        }
        Settlement::Lost(explanation) => lost(entry, explanation, next, now),
        Settlement::Acknowledge(_)
        | Settlement::Adopt(_)
        | Settlement::LookForMatch(_)
        | Settlement::Taken(_)
        | Settlement::MissesOther(_)
        | Settlement::Dead(_) => return None,
    })
}

fn looked_for(explanation: &str, now: Timestamp) -> Act {
    Act::Befall(EntryEvent::Lost {
        at: now,
        next: now,
        explanation: explanation.to_owned(),
    })
}

/// The answer to an attempt is lost: it may have happened, and may still happen. `next`: when the entry is due again.
pub fn lost(entry: &Entry, explanation: &str, next: Timestamp, now: Timestamp) -> Vec<Act> {
    let after = after_loss(entry);
    if after == AfterLoss::Look {
        return vec![looked_for(explanation, now)];
    }
    let mut acts = gaps_of_lost(entry, now);
    acts.extend([Act::RememberSent, Act::ClearSent]);
    acts.push(match (after, entry.standing.hs_id) {
        (AfterLoss::Archive, Some(hs_id)) => Act::Befall(EntryEvent::Linked {
            operation: Operation::Archive,
            hs_id,
            at: next,
        }),
        _ => Act::Befall(EntryEvent::SentBack {
            // Merged and sent again at once the first time, later by the retry curve.
            next: if entry.standing.attempts <= 1 {
                now
            } else {
                next
            },
            explanation: Some(explanation.to_owned()),
            waits_for: None,
            answered: Answered::No,
        }),
    });
    acts
}

/// What was sent may have happened, and is not sent again by itself: it is remembered, and a person decides.
pub fn parked_in_doubt(entry: &Entry, explanation: &str, now: Timestamp) -> Vec<Act> {
    let parked = |answered| {
        Act::Befall(EntryEvent::Refused {
            explanation: explanation.to_owned(),
            answered,
        })
    };
    if entry.standing.operation == Operation::Create {
        return vec![parked(Answered::No)];
    }
    let mut acts = gaps_of_lost(entry, now);
    acts.extend([Act::RememberSent, Act::ClearSent, parked(Answered::Yes)]);
    acts
}

/// A definite refusal: nothing of the attempt happened. A create whose row was deleted meanwhile is done by it.
pub fn refused(entry: &Entry, explanation: &str) -> Vec<Act> {
    let is_over = entry.row.is_some() && entry.standing.operation == Operation::Create;
    let after = match is_over {
        true => Act::End,
        false => Act::Befall(EntryEvent::Refused {
            explanation: explanation.to_owned(),
            answered: Answered::Yes,
        }),
    };
    vec![Act::ClearSent, after]
}

/// A refusal for what HubSpot's settings were when the attempt was made, and no longer are: it is due again.
pub fn refused_before(explanation: &str, now: Timestamp) -> Vec<Act> {
    let again = EntryEvent::SentBack {
        next: now,
        explanation: Some(explanation.to_owned()),
        waits_for: None,
        answered: Answered::Yes,
    };
    vec![Act::ClearSent, Act::Befall(again)]
}

/// A create that can't be one: what it carried waits no more, and a person reads why.
pub fn parked_bare(explanation: String) -> Vec<Act> {
    let answered = Answered::Yes;
    vec![
        Act::DropFields,
        Act::Befall(EntryEvent::Refused {
            explanation,
            answered,
        }),
    ]
}

/// That a create was answered with a record that is another row's.
pub fn answered_with_anothers(
    object: &SyncedObject,
    create: &Entry,
    record: HubspotId,
    other: LocalId,
) -> String {
    format!(
        "HubSpot answered the create of {} row {} with record {record}, which row {other} has already [{RECORD_OF_ANOTHER_ROW}]",
        object.mapping().table,
        create.local_id,
    )
}

/// What a create carried made no record: HubSpot has one already.
pub fn exists(next: Timestamp) -> Vec<Act> {
    let again = EntryEvent::SentBack {
        next,
        explanation: Some("HubSpot has this record already".to_owned()),
        waits_for: None,
        answered: Answered::Yes,
    };
    vec![Act::ClearSent, Act::Befall(again)]
}

/// HubSpot does not show the record that it says is there.
pub fn given_up_existing(id: HubspotId) -> Vec<Act> {
    let explanation = format!(
        "HubSpot says that record {id} has this already, and does not show that record: it may be archived [record-hidden]"
    );
    let answered = Answered::Yes;
    vec![
        Act::ClearSent,
        Act::Befall(EntryEvent::Refused {
            explanation,
            answered,
        }),
    ]
}

/// What an entry keeps of fields whose base is what the mirror shows by now: nothing of them is to be sent.
pub fn unchanged(mapping: &ObjectMapping, entry: &Entry, row: &MirrorRow) -> Vec<PropertyName> {
    let fields = entry.fields.iter().filter(|field| {
        let kind = mapping
            .field(&field.property)
            .map(|mapped| mapped.property_type);
        match (kind, &field.base, &field.sent) {
            (Some(kind), Base::Known(_), None) => {
                field.base.is_same(kind, row.value(&field.property))
            }
            _ => false,
        }
    });
    fields.map(|field| field.property.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::EntryState;
    use crate::testing::{at, contacts, entry, property, record, row, value};

    fn set(name: &str, text: &str) -> Act {
        Act::Set {
            property: property(name),
            value: value(text),
        }
    }

    fn based(name: &str, text: &str) -> Act {
        Act::SetBase {
            property: property(name),
            base: value(text),
        }
    }

    fn dropped(name: &str) -> Act {
        Act::DropField(property(name))
    }

    #[test]
    fn an_acknowledged_field_agrees_unless_the_row_was_written_again() {
        let object = contacts();
        let update = entry(Operation::Update, &[("city", "Rome", Some("Lima"))]);
        let answer = record(101, 9, &[("city", "LIMA")]);
        let acts = |held: &str| {
            let row = row(1, Some(101), &[("city", held)]);
            acknowledged(object.mapping(), &update, &row, &answer, &BTreeMap::new())
        };
        let told = pushed(
            &property("city"),
            &Base::Known(value("Rome")),
            &value("LIMA"),
        );
        assert_eq!(
            acts("Lima"),
            [told.clone(), set("city", "LIMA"), dropped("city")]
        );
        assert_eq!(acts("Kiel"), [told, based("city", "LIMA")]);
    }

    #[test]
    fn an_update_that_hubspot_answers_with_its_own_value_is_a_conflict_and_no_push() {
        let object = contacts();
        let update = entry(Operation::Update, &[("city", "Rome", Some("Lima"))]);
        let row = row(1, Some(101), &[("city", "Lima")]);
        let answer = record(101, 9, &[("city", "Rome")]);
        let acts = acknowledged(object.mapping(), &update, &row, &answer, &BTreeMap::new());
        let is_conflict =
            |act: &Act| matches!(act, Act::Conflict { winner, .. } if *winner == Winner::Remote);
        assert!(is_conflict(&acts[0]), "{acts:?}");
        assert!(acts.contains(&set("city", "Rome")));
    }

    #[test]
    fn a_new_record_gives_its_row_what_nobody_wrote_and_nobody_decides_about() {
        let object = contacts();
        let create = entry(
            Operation::Create,
            &[("email", "", Some("a@example.com")), ("left", "", None)],
        );
        let row = row(1, None, &[("email", "a@example.com"), ("city", "Kiel")]);
        let shown = [
            ("email", "a@example.com"),
            ("city", "Rome"),
            ("firstname", "Ann"),
            ("score", "7"),
        ];
        let held = BTreeMap::from([(
            property("firstname"),
            OpenConflict {
                id: crate::model::id::ConflictId(1),
                base: Base::Unknown,
                remote: Value::EMPTY,
            },
        )]);
        let answer = record(101, 9, &shown);
        let acts = acknowledged(object.mapping(), &create, &row, &answer, &held);
        assert!(acts.contains(&based("left", "")));
        assert_eq!(acts.last(), Some(&set("score", "7")));
        assert!(!acts.contains(&set("city", "Rome")));
        assert!(!acts.contains(&set("firstname", "Ann")));
    }

    #[test]
    fn what_hubspot_holds_is_what_the_archive_of_a_deleted_row_is_measured_against() {
        let mut update = entry(Operation::Update, &[("city", "Rome", Some("Lima"))]);
        let answer = record(101, 9, &[("city", "LIMA")]);
        assert_eq!(
            acknowledged_without_row(&update, &answer).last(),
            Some(&dropped("city"))
        );
        update.row = Some("{}".to_owned());
        assert_eq!(
            acknowledged_without_row(&update, &answer).last(),
            Some(&based("city", "LIMA"))
        );
    }

    #[test]
    fn what_was_lost_is_remembered_and_sent_again_at_once_the_first_time_only() {
        let mut update = entry(Operation::Update, &[("city", "Rome", Some("Lima"))]);
        update.standing.hs_id = Some(HubspotId(101));
        update.standing.state = EntryState::InFlight;
        let next_of = |attempts| {
            let mut update = update.clone();
            update.standing.attempts = attempts;
            let acts = lost(&update, "cut", at(60), at(10));
            assert!(acts.contains(&Act::RememberSent), "{acts:?}");
            match acts.last() {
                Some(Act::Befall(EntryEvent::SentBack { next, answered, .. })) => {
                    assert_eq!(*answered, Answered::No);
                    *next
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((next_of(1), next_of(2)), (at(10), at(60)));
        let create = entry(Operation::Create, &[("city", "", Some("Lima"))]);
        assert_eq!(
            lost(&create, "cut", at(60), at(10)),
            [looked_for("cut", at(10))]
        );
    }

    #[test]
    fn what_is_not_of_the_entry_alone_is_left_to_whoever_settles_it() {
        let mut create = entry(Operation::Create, &[]);
        let look = Settlement::LookForMatch("taken".to_owned());
        assert!(sent_back(&create, &look, at(60), at(10)).is_some());
        create.standing.attempts = LOOKS_FOR_MATCH;
        assert_eq!(sent_back(&create, &look, at(60), at(10)), None);
        let dead = Settlement::Dead("no".to_owned());
        assert_eq!(sent_back(&create, &dead, at(60), at(10)), None);
        let again = sent_back(
            &create,
            &Settlement::Retry("busy".to_owned()),
            at(10),
            at(10),
        );
        let next = at(10) + LOCK_LASTS;
        assert!(
            matches!(&again.expect("is sent back")[1], Act::Befall(EntryEvent::SentBack { next: due, .. }) if *due == next)
        );
    }

    #[test]
    fn a_refused_create_of_a_deleted_row_is_done() {
        let mut create = entry(Operation::Create, &[]);
        assert!(!refused(&create, "no").contains(&Act::End));
        create.row = Some("{}".to_owned());
        assert_eq!(refused(&create, "no"), [Act::ClearSent, Act::End]);
    }

    #[test]
    fn only_a_field_that_holds_its_base_and_is_not_on_its_way_is_unchanged() {
        let object = contacts();
        let fields = [
            ("city", "Rome", None),
            ("firstname", "Ann", None),
            ("email", "a@example.com", Some("a@example.com")),
        ];
        let update = entry(Operation::Update, &fields);
        let row = row(
            1,
            Some(101),
            &[
                ("city", "Rome"),
                ("firstname", "Bea"),
                ("email", "a@example.com"),
            ],
        );
        assert_eq!(
            unchanged(object.mapping(), &update, &row),
            [property("city")]
        );
    }
}
