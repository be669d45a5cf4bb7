//! What a person's word makes of an open conflict about a field, or its two sides, where they moved.
//!
//! | the word | HubSpot's value | what is done |
//! |---|---|---|
//! | none | the sides have met, or one went back | it ends by itself |
//! | none | anything else | it waits |
//! | `local` | any | the value here stays, and is pushed |
//! | `remote` | can be held here | it is taken |
//! | `remote` | can't | the word is given back |
//! | `value:…` | any | a third value goes to both sides |
//! | anything else | any | the word is given back |
//!
//! A field that is not in force can only be decided for HubSpot's value.

pub mod commands;
pub mod undo;

use std::collections::BTreeMap;

use crate::decide::acts::Act;
use crate::decide::echo::{SentValue, is_sent};
use crate::decide::record::{ended_by_itself, judge_open};
use crate::model::conflict::{End, Winner};
use crate::model::entry::{Base, Entry, EntryField};
use crate::model::field_values::FieldValues;
use crate::model::id::HubspotId;
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::row::json as rowjson;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

/// Why a resolution is given back that is no decision.
pub const UNKNOWN_WORD: &str =
    "this is no decision: write `local`, `remote` or `value:…` with the value behind it";

/// Why HubSpot's value is not taken.
const NOT_TO_BE_HELD: &str = "HubSpot's value is not of the column's type, so that it can't be taken: write `local` or `value:…`, or correct it in HubSpot";

/// Why a decision about a deleted row is given back.
pub const ROW_DELETED: &str = "the row was deleted here: INSERT it again to keep it";

/// Why a conflict of associations can't be decided by a value.
pub const NOT_AN_ASSOCIATION: &str = "a conflict of associations is decided by 'local' or 'remote': associate other records in associations";

/// Why a decision about a property is given back that left the mapping.
pub const NOT_MAPPED: &str = "the property is not mapped any more";

/// Why a decision about an object or a pair is given back that left the mapping.
pub fn not_in_file(name: &str) -> String {
    format!("`{name}` is no longer in the mapping file: write it there again, then decide")
}

/// Why a word about a whole record is given back.
pub const WHOLE_TAKES: &str = "a conflict about a whole record takes `local` or `remote`";

/// An open conflict about a field in force.
#[derive(Debug, Clone, Copy)]
pub struct FieldConflict<'a> {
    /// The field.
    pub field: &'a FieldMapping,
    /// The base that the conflict holds.
    pub base: &'a Base,
    /// HubSpot's value as the conflict saw it last.
    pub remembered: &'a Value,
    /// HubSpot's value as a read shows it, where one does.
    pub shown: Option<&'a Value>,
    /// What the row holds.
    pub local: &'a Value,
    /// What lost requests of ours carried for it.
    pub sent: &'a [SentValue],
    /// The person's word.
    pub word: Option<&'a str>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldDecision {
    /// It waits.
    Wait,
    /// The word is given back.
    Refuse(String),
    /// It is closed, and nothing is taken or sent.
    Close(End<'static>),
    /// It is closed, and both sides are to hold a value.
    Settle {
        /// How it ended.
        end: End<'static>,
        /// The value.
        value: Value,
        /// What HubSpot holds.
        remote: Value,
    },
}

/// How a conflict ends by HubSpot's value.
pub const REMOTE_TAKEN: End<'static> = End {
    winner: Winner::Remote,
    resolution: "decided",
    reason: "decided: HubSpot's value is taken",
};

/// Decides about a field.
pub fn decide_field(conflict: &FieldConflict<'_>) -> FieldDecision {
    let kind = conflict.field.property_type;
    let remote = conflict.shown.unwrap_or(conflict.remembered);
    // What somebody else has set in HubSpot: a late request of ours over it is not what the conflict is about.
    let theirs = match is_sent(kind, conflict.sent, remote) {
        true => conflict.remembered,
        false => remote,
    };
    let is_unreadable = kind.canonical(theirs.as_deref()).is_err();
    let settle = |end, value: &Value| FieldDecision::Settle {
        end,
        value: value.clone(),
        remote: remote.clone(),
    };
    let decided = |winner, reason| End {
        winner,
        resolution: "decided",
        reason,
    };
    let refuse = |explanation: &str| FieldDecision::Refuse(explanation.to_owned());
    let Some(word) = conflict.word else {
        return match judge_open(kind, conflict.base, conflict.local, remote) {
            // Nothing here is to be sent any more; what can't be read is not taken either.
            Some(Winner::Remote) if is_unreadable => {
                FieldDecision::Close(ended_by_itself(Winner::Remote))
            }
            Some(Winner::Remote) => settle(ended_by_itself(Winner::Remote), theirs),
            Some(winner) => settle(ended_by_itself(winner), conflict.local),
            None => FieldDecision::Wait,
        };
    };
    let third = word.strip_prefix("value:");
    match (word, third.map(|text| third_value(kind, text))) {
        ("local", _) => {
            let end = decided(Winner::Local, "decided: the value here stays");
            settle(end, conflict.local)
        }
        ("remote", _) if is_unreadable => refuse(NOT_TO_BE_HELD),
        ("remote", _) => settle(REMOTE_TAKEN, theirs),
        (_, Some(Ok(value))) => {
            let end = decided(Winner::Value, "decided: a third value goes to both sides");
            settle(end, &value)
        }
        (_, Some(Err(explanation))) => FieldDecision::Refuse(explanation),
        (_, None) => refuse(UNKNOWN_WORD),
    }
}

/// The value of its own that a person writes to both sides of a field.
///
/// # Errors
/// The sentence that says why no property of that type can hold it, with its code.
pub fn third_value(kind: PropertyType, text: &str) -> Result<Value, String> {
    match kind.canonical_here(Some(text)) {
        Ok(value) if value.is_too_long() => {
            Err("the value is longer than HubSpot takes [value-too-long]".to_owned())
        }
        Ok(value) => Ok(value),
        Err(invalid) => Err(format!("{invalid} [{}]", invalid.code())),
    }
}

/// What the row takes of a decided value.
pub fn taken_here(field: &FieldMapping, row: &MirrorRow, value: &Value) -> Vec<Act> {
    let former = row.value(&field.property);
    if field.property_type.same(former, value) {
        return Vec::new();
    }
    let property = || field.property.clone();
    let history = Act::History {
        property: property(),
        old: former.clone(),
        new: value.clone(),
        origin: Origin::Conflict,
    };
    let taken = Act::Set {
        property: property(),
        value: value.clone(),
    };
    vec![history, taken]
}

/// What waits of a field once a value is decided.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldWaits {
    /// Nothing: both sides hold it.
    Nothing,
    /// It goes along with the create; where that is under way without it, an update follows.
    WithCreate,
    /// It is to be sent over HubSpot's value.
    Over(Base),
}

/// Says what waits of a decided value.
pub fn waits_of_decided(
    field: &FieldMapping,
    row: &MirrorRow,
    value: &Value,
    remote: &Value,
) -> FieldWaits {
    match row.record.hs_id {
        None => FieldWaits::WithCreate,
        Some(_) if field.property_type.same(value, remote) => FieldWaits::Nothing,
        Some(_) => FieldWaits::Over(Base::Known(remote.clone())),
    }
}

/// Why only HubSpot's value can be decided for, of a field that is not in force; `trouble`: what is wrong with it, and what can
/// be done.
pub fn not_in_force(property: &str, trouble: Option<(&str, Option<&str>)>) -> String {
    let why = match trouble {
        Some((problem, hint)) => {
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            format!(": {problem}{hint}")
        }
        None => String::new(),
    };
    format!("`{property}` is not synced at the moment, so that only `remote` can be decided{why}")
}

/// What becomes of a field of a discarded update: it goes back to its base, and what it held is kept. `None`: it is not in force.
pub fn taken_back(
    mapping: &ObjectMapping,
    field: &EntryField,
    row: &MirrorRow,
) -> Option<Vec<Act>> {
    mapping.field(&field.property)?;
    let base = field.base.or_empty().clone();
    let history = Act::History {
        property: field.property.clone(),
        old: row.value(&field.property).clone(),
        new: base.clone(),
        origin: Origin::Discard,
    };
    let taken = Act::Set {
        property: field.property.clone(),
        value: base,
    };
    Some(vec![history, taken])
}

/// The fields of an entry that wait no more once its deleted row is back: what HubSpot holds already, and what a person
/// decides about.
pub fn settled_by_return(
    mapping: &ObjectMapping,
    entry: &Entry,
    values: &FieldValues,
    is_open: impl Fn(&PropertyName) -> bool,
) -> Vec<Act> {
    let fields = entry.fields.iter().filter(|field| {
        let held = values.get(&field.property).unwrap_or(&Value::EMPTY);
        let mapped = mapping.field(&field.property);
        let is_agreed = mapped.is_some_and(|mapped| field.base.is_same(mapped.property_type, held));
        is_agreed || is_open(&field.property)
    });
    let dropped = fields.map(|field| Act::DropField(field.property.clone()));
    dropped.collect()
}

/// The record of a deleted row, by what is kept of that.
pub fn former_record(
    object: &SyncedObject,
    id: HubspotId,
    text: &str,
    now: Timestamp,
) -> RemoteRecord {
    RemoteRecord {
        id,
        values: rowjson::values(object.mapping(), text),
        invalid: BTreeMap::new(),
        created_at: rowjson::created_at(text).unwrap_or(now),
        updated_at: rowjson::modified_at(text).unwrap_or(Timestamp::EPOCH),
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
        pipeline: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Operation;
    use crate::testing::{at, contacts, entry, property, row, value};

    /// Both sides agreed on `Rome`; the conflict saw `Kiel` in HubSpot.
    fn decided(local: &str, shown: &str, late: Option<&str>, word: Option<&str>) -> FieldDecision {
        let object = contacts();
        let sent: Vec<SentValue> = late
            .map(|text| SentValue {
                value: value(text),
                over: at(1),
            })
            .into_iter()
            .collect();
        decide_field(&FieldConflict {
            field: object.mapping().field(&property("city")).expect("a field"),
            base: &Base::Known(value("Rome")),
            remembered: &value("Kiel"),
            shown: Some(&value(shown)),
            local: &value(local),
            sent: &sent,
            word,
        })
    }

    fn settled(decision: FieldDecision) -> (Winner, String) {
        let FieldDecision::Settle { end, value, .. } = decision else {
            panic!("{decision:?}");
        };
        (end.winner, value.to_wire().to_owned())
    }

    #[test]
    fn a_person_decides_for_either_side_or_a_third_value() {
        let check = |word, winner, held: &str| {
            let decision = decided("Lima", "Kiel", None, Some(word));
            assert_eq!(settled(decision), (winner, held.to_owned()), "{word}");
        };
        check("local", Winner::Local, "Lima");
        check("remote", Winner::Remote, "Kiel");
        check("value:Turku", Winner::Value, "Turku");
        let given_back = decided("Lima", "Kiel", None, Some("Turku"));
        assert_eq!(given_back, FieldDecision::Refuse(UNKNOWN_WORD.to_owned()));
    }

    #[test]
    fn a_late_request_of_our_own_is_not_what_a_person_decided_for() {
        let decision = decided("Lima", "Oslo", Some("Oslo"), Some("remote"));
        assert_eq!(settled(decision), (Winner::Remote, "Kiel".to_owned()));
    }

    #[test]
    fn without_a_word_a_conflict_ends_only_where_the_sides_meet_or_one_went_back() {
        assert_eq!(decided("Lima", "Kiel", None, None), FieldDecision::Wait);
        let check = |local, shown, winner, held: &str| {
            let decision = decided(local, shown, None, None);
            assert_eq!(settled(decision), (winner, held.to_owned()));
        };
        check("Rome", "Kiel", Winner::Remote, "Kiel");
        check("Lima", "Rome", Winner::Local, "Lima");
        check("Lima", "Lima", Winner::Agreed, "Lima");
    }

    #[test]
    fn what_is_decided_waits_for_hubspot_only_where_that_holds_another_value() {
        let object = contacts();
        let field = object.mapping().field(&property("city")).expect("a field");
        let linked = row(1, Some(101), &[("city", "Lima")]);
        let waits = |row: &MirrorRow, remote: &str| {
            waits_of_decided(field, row, &value("Lima"), &value(remote))
        };
        assert_eq!(waits(&linked, "Lima"), FieldWaits::Nothing);
        let over = FieldWaits::Over(Base::Known(value("Kiel")));
        assert_eq!(waits(&linked, "Kiel"), over);
        let unlinked = row(1, None, &[("city", "Lima")]);
        assert_eq!(waits(&unlinked, "Kiel"), FieldWaits::WithCreate);
        assert_eq!(taken_here(field, &linked, &value("Lima")), []);
        assert_eq!(taken_here(field, &linked, &value("Kiel")).len(), 2);
    }

    #[test]
    fn what_is_given_up_goes_back_and_what_hubspot_holds_waits_no_more() {
        let object = contacts();
        let update = entry(
            Operation::Update,
            &[("city", "Rome", None), ("gone", "x", None)],
        );
        let here = row(1, Some(101), &[("city", "Lima")]);
        let set = Act::Set {
            property: property("city"),
            value: value("Rome"),
        };
        let back = |field: &EntryField| taken_back(object.mapping(), field, &here);
        assert_eq!(back(&update.fields[0]).expect("is in force")[1..], [set]);
        assert_eq!(back(&update.fields[1]), None);
        let check = |held: &str, is_open: bool, left: usize| {
            let values = FieldValues::from_iter([(property("city"), value(held))]);
            let acts = settled_by_return(object.mapping(), &update, &values, |_| is_open);
            assert_eq!(acts.len(), left, "{held} {is_open}");
        };
        check("Rome", false, 1);
        check("Lima", false, 0);
        check("Lima", true, 2);
    }
}
