//! Two records became one in HubSpot, and both rows wait with a change of one field: what becomes of the lost row's value.
//!
//! The surviving row's value stays (`design.md`, section 4). What the way of writing says goes before that, as where a row meets
//! HubSpot: a set takes what both rows added. Equal values agree, and a value that loses is named.

use crate::decide::merge::{FieldInput, FieldOutcome, RemoteTime, by_mode};
use crate::decide::record::ConflictNote;
use crate::model::entry::EntryField;
use crate::model::mapping::FieldMapping;
use crate::model::value::Value;

/// What becomes of a value that a lost row waits with, beside the survivor's.
#[derive(Debug, Clone, PartialEq)]
pub enum AbsorbedField {
    /// The survivor has the same, or nobody wrote it: nothing is to be done.
    Agreed,
    /// The survivor takes the value that the way of writing gives.
    Meet {
        /// The value.
        value: Value,
        /// Whether the lost row's gives way to it: it is kept.
        gives_up: bool,
    },
    /// The survivor's stays: the other is a closed conflict.
    Lost(ConflictNote),
}

/// Decides about a field of which both rows wait with a value: `waits` is what waits of the lost row, `values` the lost row's
/// and the survivor's. `reason`: why the survivor's stays.
pub fn absorb_field(
    field: &FieldMapping,
    waits: &EntryField,
    (lost, survivors): (&Value, &Value),
    reason: &'static str,
) -> AbsorbedField {
    let kind = field.property_type;
    if kind.same(lost, survivors) || waits.base.is_same(kind, lost) {
        return AbsorbedField::Agreed;
    }
    let met = by_mode(&FieldInput {
        kind,
        direction: field.direction,
        write: field.write_mode(),
        owed: None,
        policy: field.policy,
        base: &waits.base,
        local: lost,
        remote: survivors,
        local_changed_at: Some(waits.changed_at),
        remote_changed_at: RemoteTime::NotAsked,
        record_updated_at: waits.changed_at,
    });
    if let Some(FieldOutcome::Meet { value, gives_up }) = met {
        return AbsorbedField::Meet { value, gives_up };
    }
    if met == Some(FieldOutcome::PushLocal) {
        return AbsorbedField::Meet {
            value: lost.clone(),
            gives_up: false,
        };
    }
    AbsorbedField::Lost(ConflictNote {
        property: field.property.clone(),
        base: waits.base.clone(),
        local: lost.clone(),
        remote: survivors.clone(),
        policy: field.policy,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Base;
    use crate::model::mapping::{Policy, WriteMode};
    use crate::model::value::PropertyType;
    use crate::testing::{at, contacts, value};

    /// What becomes of a field whose lost row has gone from the base (`?`: unknown) to a value, beside the survivor's value.
    fn outcome(
        kind: PropertyType,
        write: WriteMode,
        (base, lost, survivors): (&str, &str, &str),
    ) -> String {
        let mut mapped = contacts().mapping().fields[1].clone();
        mapped.property_type = kind;
        mapped.modes.write = write;
        mapped.policy = Policy::Local;
        let waits = EntryField {
            property: mapped.property.clone(),
            base: match base {
                "?" => Base::Unknown,
                text => Base::Known(value(text)),
            },
            changed_at: at(0),
            sent: None,
        };
        let values = (&value(lost), &value(survivors));
        match absorb_field(&mapped, &waits, values, "so it is") {
            AbsorbedField::Agreed => "nothing".to_owned(),
            AbsorbedField::Meet { value, gives_up } => {
                let kept = if gives_up {
                    ", the lost one is kept"
                } else {
                    ""
                };
                format!("{}{kept}", value.to_wire())
            }
            AbsorbedField::Lost(note) => format!("{} loses", note.policy.as_str()),
        }
    }

    #[test]
    fn of_two_rows_the_survivors_value_stays_unless_both_can_be_held() {
        let set = |sides| outcome(PropertyType::Set, WriteMode::Append, sides);
        assert_eq!(set(("a", "a;e", "a;b")), "a;b;e");
        assert_eq!(set(("a", "a;b;e", "a;b")), "a;b;e");
        assert_eq!(set(("a", "b;a", "a;b")), "nothing");
        assert_eq!(set(("a;c", "a", "a;b;c")), "a;b;c, the lost one is kept");
        let empty = |sides| outcome(PropertyType::String, WriteMode::IfEmpty, sides);
        assert_eq!(empty(("", "112", "111")), "111, the lost one is kept");
        assert_eq!(empty(("?", "112", "")), "112");
        assert_eq!(empty(("", "111", "111")), "nothing");
        let plain = |kind, sides| outcome(kind, WriteMode::Replace, sides);
        assert_eq!(plain(PropertyType::String, ("a", "b", "c")), "local loses");
        assert_eq!(plain(PropertyType::String, ("a", "", "c")), "local loses");
        assert_eq!(plain(PropertyType::String, ("c", "b", "c")), "local loses");
        assert_eq!(plain(PropertyType::String, ("a", "b", "b")), "nothing");
        assert_eq!(plain(PropertyType::String, ("a", "a", "c")), "nothing");
        assert_eq!(plain(PropertyType::Number, ("1", "2.0", "2")), "nothing");
        assert_eq!(plain(PropertyType::Set, ("a", "b;c", "c;b")), "nothing");
        assert_eq!(plain(PropertyType::Set, ("a", "b", "c")), "local loses");
    }
}
