//! Every pair of fields in one record: what is decided of one does not depend on the other.

use std::collections::BTreeMap;

use super::cases::{at, mapping};
use super::*;
use crate::decide::echo::{Author, PastValue, ToldSource};
use crate::model::entry::{Operation, Standing};
use crate::model::field_values::FieldValues;
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::mapping::FieldModes;
use crate::model::name::ColumnName;

/// How a field stands; both sides had agreed on `a`.
#[derive(Debug, Clone, Copy)]
struct FieldCase {
    direction: Direction,
    policy: Policy,
    write: WriteMode,
    is_pending: bool,
    is_open: bool,
    local: &'static str,
    remote: &'static str,
}

/// What holds for the record as a whole.
#[derive(Debug, Clone, Copy)]
struct Whole {
    state: EntryState,
    /// When HubSpot's values were set, where the histories were asked for.
    set_at: Option<i64>,
}

fn everything() -> Vec<FieldCase> {
    let mut all = Vec::new();
    for remote in ["a", "b", "c"] {
        for local in ["a", "b"] {
            let standing = |direction, policy, is_pending, is_open| FieldCase {
                direction,
                policy,
                write: WriteMode::Replace,
                is_pending,
                is_open,
                local,
                remote,
            };
            all.push(standing(Direction::Pull, Policy::Remote, false, false));
            all.push(standing(Direction::Both, Policy::Manual, false, true));
            for is_pending in [false, true] {
                all.push(standing(Direction::Push, Policy::Local, is_pending, false));
                for policy in Policy::ALL {
                    all.push(standing(Direction::Both, policy, is_pending, false));
                }
                all.push(FieldCase {
                    write: WriteMode::IfEmpty,
                    ..standing(Direction::Both, Policy::Manual, is_pending, false)
                });
            }
        }
    }
    all
}

fn value(text: &str) -> Value {
    Value::from_canonical(text)
}

fn plan(fields: &[(PropertyName, FieldCase)], whole: Whole) -> RecordPlan {
    let mut mapping = mapping(Direction::Both, Policy::Remote);
    let field = mapping.fields.remove(0);
    mapping.fields = fields
        .iter()
        .map(|(property, standing)| FieldMapping {
            property: property.clone(),
            column: ColumnName::parse(property.as_str()).expect("a name"),
            direction: standing.direction,
            policy: standing.policy,
            modes: FieldModes {
                write: standing.write,
                ..field.modes
            },
            ..field.clone()
        })
        .collect();
    let values = |side: fn(&FieldCase) -> &'static str| -> FieldValues {
        let values = fields.iter();
        values
            .map(|(property, standing)| (property.clone(), value(side(standing))))
            .collect()
    };
    let pending: Vec<EntryField> = fields
        .iter()
        .filter(|(_, standing)| standing.is_pending)
        .map(|(property, _)| EntryField {
            property: property.clone(),
            base: Base::Known(value("a")),
            changed_at: at(20),
            sent: None,
        })
        .collect();
    let entry = (!pending.is_empty()).then(|| Entry {
        id: OutboxId(1),
        local_id: LocalId(1),
        standing: Standing {
            hs_id: Some(HubspotId(7)),
            operation: Operation::Update,
            state: whole.state,
            attempts: 0,
            enqueued_at: at(20),
            ..Standing::NOTHING
        },
        version: 1,
        key: None,
        row: None,
        fields: pending,
    });
    let open = fields
        .iter()
        .filter(|(_, standing)| standing.is_open)
        .map(|(property, _)| {
            let conflict = OpenConflict {
                id: ConflictId(3),
                base: Base::Known(value("a")),
                remote: value("c"),
            };
            (property.clone(), conflict)
        })
        .collect();
    let histories: Option<Histories> = whole.set_at.map(|second| {
        let top = |standing: &FieldCase| PastValue {
            value: value(standing.remote),
            at: at(second),
            author: Author::Other,
            source: ToldSource::default(),
        };
        let all = fields.iter();
        all.map(|(property, standing)| (property.clone(), vec![top(standing)]))
            .collect()
    });
    merge_record(&RecordInput {
        mapping: &mapping,
        local: &LocalRecord {
            local_id: LocalId(1),
            hs_id: Some(HubspotId(7)),
            modified_at: None,
            unreadable: std::collections::BTreeSet::new(),
            values: values(|standing| standing.local),
        },
        entry: entry.as_ref(),
        open: &open,
        remote: &RemoteRecord {
            id: HubspotId(7),
            values: values(|standing| standing.remote),
            invalid: BTreeMap::new(),
            created_at: at(0),
            updated_at: at(30),
            archived: false,
            archived_at: None,
            merged_ids: Vec::new(),
            own_key: None,
            other_emails: Vec::new(),
            pipeline: None,
        },
        histories: histories.as_ref(),
        sent_earlier: &SentValues::new(),
        owed: &BTreeMap::new(),
        now: at(60),
        clock_offset_ms: 0,
        clean_base: CleanBase::Mirror,
    })
}

#[test]
fn what_is_decided_of_a_field_does_not_depend_on_another_one() {
    let [first, second] = ["city", "zip"].map(|name| PropertyName::parse(name).expect("a name"));
    let all = everything();
    for state in [EntryState::Pending, EntryState::InFlight] {
        for set_at in [None, Some(19), Some(21)] {
            let whole = Whole { state, set_at };
            let alone = |property: &PropertyName| -> Vec<RecordPlan> {
                let plans = all.iter();
                plans
                    .map(|one| plan(&[(property.clone(), *one)], whole))
                    .collect()
            };
            let (firsts, seconds) = (alone(&first), alone(&second));
            assert!(firsts.iter().any(|plan| !plan.actions.is_empty()));
            for (one, of_one) in all.iter().zip(&firsts) {
                for (other, of_other) in all.iter().zip(&seconds) {
                    let both = [(first.clone(), *one), (second.clone(), *other)];
                    let expected = RecordPlan {
                        actions: [&of_one.actions[..], &of_other.actions].concat(),
                        need_history: [&of_one.need_history[..], &of_other.need_history].concat(),
                        held: [&of_one.held[..], &of_other.held].concat(),
                        deferred: of_one.deferred || of_other.deferred,
                    };
                    assert_eq!(plan(&both, whole), expected, "{one:?} {other:?} {whole:?}");
                }
            }
        }
    }
}
