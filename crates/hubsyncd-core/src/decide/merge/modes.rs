//! How a local value is written (`write` of a property): what becomes of it before the conflict rules have a word
//! (`contract-crm.md`, section 2). It makes no conflict: what gives way is named in the outcome, and kept.
//!
//! | `write` | HubSpot's value | the local write |
//! |---|---|---|
//! | `if_empty` | none | goes out |
//! | `if_empty` | any | gives way, a clearing too |
//! | `append` | any | what it adds goes out; what it alone took away comes back |

use std::collections::BTreeSet;

use crate::decide::merge::{FieldInput, FieldOutcome};
use crate::model::entry::Base;
use crate::model::mapping::{Direction, WriteMode};
use crate::model::value::Value;

/// A value of HubSpot's that our write went over although it was to go only where there is none: it goes back.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// What was written over.
    pub value: Value,
    /// What HubSpot holds by our write: while it does, the value above counts as HubSpot's.
    pub over: Value,
}

/// What the way of writing makes of a field; `None`: it is merged like any other.
pub(crate) fn by_mode(field: &FieldInput<'_>) -> Option<FieldOutcome> {
    match field.write {
        _ if field.direction != Direction::Both => None,
        WriteMode::Replace => None,
        WriteMode::IfEmpty => owed(field).or_else(|| if_empty(field)),
        WriteMode::Append => append(field),
    }
}

/// Whether both sides hold other values, and somebody has written here.
fn is_written(field: &FieldInput<'_>) -> bool {
    let is_clean = field.base.is_same(field.kind, field.local);
    !is_clean && !field.kind.same(field.local, field.remote)
}

fn owed(field: &FieldInput<'_>) -> Option<FieldOutcome> {
    let owed = field
        .owed
        .filter(|owed| field.kind.same(&owed.over, field.remote))?;
    Some(match field.kind.same(&owed.value, field.local) {
        true => FieldOutcome::PushLocal,
        false => gives_way(&owed.value),
    })
}

fn gives_way(value: &Value) -> FieldOutcome {
    FieldOutcome::Meet {
        value: value.clone(),
        gives_up: true,
    }
}

fn if_empty(field: &FieldInput<'_>) -> Option<FieldOutcome> {
    if !is_written(field) {
        return None;
    }
    match (field.base, field.remote.is_empty()) {
        (_, true) => Some(FieldOutcome::PushLocal),
        // Nobody has written anything: an adopted row that has no value.
        (Base::Unknown, false) if field.local.is_empty() => None,
        (Base::Known(_) | Base::Unknown, false) => Some(gives_way(field.remote)),
    }
}

fn append(field: &FieldInput<'_>) -> Option<FieldOutcome> {
    if !is_written(field) {
        return None;
    }
    let base: BTreeSet<&str> = field.base.or_empty().options().collect();
    let local: BTreeSet<&str> = field.local.options().collect();
    let value = field.remote.with_options(
        local
            .iter()
            .copied()
            .filter(|option| !base.contains(option)),
    );
    let mut comes_back = field.remote.options();
    let gives_up = comes_back.any(|option| base.contains(option) && !local.contains(option));
    Some(match field.kind.same(&value, field.local) {
        true => FieldOutcome::PushLocal,
        false => FieldOutcome::Meet { value, gives_up },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_oneof};
    use proptest::sample::subsequence;

    use super::*;
    use crate::decide::merge::{RemoteTime, merge_field};
    use crate::model::mapping::Policy;
    use crate::model::time::Timestamp;
    use crate::model::value::PropertyType;

    fn value(text: &str) -> Value {
        Value::from_canonical(text)
    }

    /// What both sides agreed on (`?`: nobody knows), the value here, and HubSpot's.
    type Sides<'a> = (&'a str, &'a str, &'a str);

    fn outcome(write: WriteMode, sides: Sides<'_>, owed: Option<&Owed>) -> FieldOutcome {
        let (base, local, remote) = sides;
        let base = match base {
            "?" => Base::Unknown,
            text => Base::Known(value(text)),
        };
        let kind = match write {
            WriteMode::Append => PropertyType::Set,
            WriteMode::Replace | WriteMode::IfEmpty => PropertyType::String,
        };
        merge_field(&FieldInput {
            kind,
            direction: Direction::Both,
            write,
            owed,
            policy: Policy::Manual,
            base: &base,
            local: &value(local),
            remote: &value(remote),
            local_changed_at: None,
            remote_changed_at: RemoteTime::NotAsked,
            record_updated_at: Timestamp::EPOCH,
        })
    }

    fn meet(text: &str, gives_up: bool) -> FieldOutcome {
        let value = value(text);
        FieldOutcome::Meet { value, gives_up }
    }

    #[test]
    fn a_value_goes_out_only_where_hubspot_has_none() {
        let check = |sides, expected| {
            assert_eq!(
                outcome(WriteMode::IfEmpty, sides, None),
                expected,
                "{sides:?}"
            );
        };
        check(("", "ours", ""), FieldOutcome::PushLocal);
        check(("old", "ours", ""), FieldOutcome::PushLocal);
        check(("?", "ours", ""), FieldOutcome::PushLocal);
        check(("", "ours", "typed"), meet("typed", true));
        check(("?", "ours", "typed"), meet("typed", true));
        check(("typed", "ours", "typed"), meet("typed", true));
        check(("old", "ours", "typed"), meet("typed", true));
        // A clearing never goes out.
        check(("typed", "", "typed"), meet("typed", true));
        check(("old", "", "typed"), meet("typed", true));
        // What nobody wrote here follows HubSpot.
        check(("old", "old", "typed"), FieldOutcome::TakeRemote);
        check(("old", "old", ""), FieldOutcome::TakeRemote);
        check(("?", "", "typed"), FieldOutcome::TakeRemote);
        check(("old", "same", "same"), FieldOutcome::Agreed);
        check(("same", "same", "same"), FieldOutcome::Nothing);
    }

    #[test]
    fn what_we_wrote_over_goes_back_while_hubspot_holds_our_value() {
        let owed = Owed {
            value: value("typed"),
            over: value("ours"),
        };
        let check = |sides, expected| {
            let found = outcome(WriteMode::IfEmpty, sides, Some(&owed));
            assert_eq!(found, expected, "{sides:?}");
        };
        check(("ours", "typed", "ours"), FieldOutcome::PushLocal);
        check(("ours", "again", "ours"), meet("typed", true));
        // Somebody has written there since.
        check(("ours", "typed", "new"), meet("new", true));
        check(("ours", "typed", "typed"), FieldOutcome::Agreed);
    }

    #[test]
    fn a_set_takes_what_both_sides_added_and_what_hubspot_took_away() {
        let check = |sides, expected| {
            assert_eq!(
                outcome(WriteMode::Append, sides, None),
                expected,
                "{sides:?}"
            );
        };
        // The contract's example.
        check(("a;b", "a;b;c", "a"), meet("a;c", false));
        check(("a", "a;c", "a"), FieldOutcome::PushLocal);
        check(("a", "a;c", "a;b"), meet("a;b;c", false));
        check(("a;b", "a", "a;b"), meet("a;b", true));
        check(("a;b", "a;c", "a;b"), meet("a;b;c", true));
        check(("a;b", "a", "b"), meet("b", true));
        check(("a;b", "", "a;b"), meet("a;b", true));
        check(("?", "a;c", "b"), meet("b;a;c", false));
        check(("?", "", "b"), meet("b", false));
        check(("a", "a", "a;b"), FieldOutcome::TakeRemote);
        check(("a", "b;a", "a;b"), FieldOutcome::Agreed);
    }

    fn options() -> impl Strategy<Value = String> {
        subsequence(vec!["a", "b", "c", "d"], 0..=4).prop_map(|options| options.join(";"))
    }

    fn bases() -> impl Strategy<Value = String> {
        prop_oneof![options(), proptest::strategy::Just("?".to_owned())]
    }

    /// What the mirror and HubSpot hold once an outcome is carried out.
    fn carried(found: FieldOutcome, (_, local, remote): Sides<'_>) -> (Value, Value) {
        match found {
            FieldOutcome::Nothing | FieldOutcome::Agreed => (value(local), value(remote)),
            FieldOutcome::TakeRemote => (value(remote), value(remote)),
            FieldOutcome::PushLocal => (value(local), value(local)),
            FieldOutcome::Meet { value, .. } => (value.clone(), value),
            found @ (FieldOutcome::Conflict { .. }
            | FieldOutcome::Ask
            | FieldOutcome::NeedHistory) => panic!("{found:?} is for conflicts"),
        }
    }

    proptest::proptest! {
        #[test]
        fn no_way_of_writing_makes_a_conflict_and_both_sides_meet(base in bases(), local in options(), remote in options()) {
            let sides = (&*base, &*local, &*remote);
            for (write, kind) in [(WriteMode::IfEmpty, PropertyType::String), (WriteMode::Append, PropertyType::Set)] {
                let (here, there) = carried(outcome(write, sides, None), sides);
                assert!(kind.same(&here, &there), "{write:?} {sides:?}");
                // Merged once more, nothing moves.
                let again = (here.to_wire(), here.to_wire(), there.to_wire());
                assert_eq!(outcome(write, again, None), FieldOutcome::Nothing);
            }
        }

        #[test]
        fn a_value_of_hubspots_is_never_written_over(base in bases(), local in options(), remote in options()) {
            let sides = (&*base, &*local, &*remote);
            let (_, there) = carried(outcome(WriteMode::IfEmpty, sides, None), sides);
            assert!(remote.is_empty() || there == value(&remote), "{sides:?}");
            let (_, there) = carried(outcome(WriteMode::Append, sides, None), sides);
            let there: BTreeSet<&str> = there.options().collect();
            assert!(value(&remote).options().all(|option| there.contains(option)), "{sides:?}");
        }
    }
}
