//! What the next push would do with an entry: the push's own decisions, without its last step. Nothing is asked and nothing
//! written; of a record that was not read again, HubSpot is taken to hold what both sides last agreed on.

use std::collections::BTreeMap;

use crate::decide::acts::Act;
use crate::decide::adopt::{rebased, spelled};
use crate::decide::outgoing::acknowledge::unchanged;
use crate::decide::outgoing::claim::{is_update_at_rest, update_fields};
use crate::decide::outgoing::looking::{carried, claimed};
use crate::decide::record::{CleanBase, ConflictNote, FieldAction, OpenConflict, RecordPlan};
use crate::model::conflict::Winner;
use crate::model::entry::{Base, Entry, EntryField, Operation, states};
use crate::model::field_values::FieldValues;
use crate::model::id::HubspotId;
use crate::model::mapping::WriteMode;
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A field that would be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewField {
    /// The property.
    pub property: PropertyName,
    /// What HubSpot holds; empty where nobody knows, and of a record that is made.
    pub old: Value,
    /// What would be sent.
    pub new: Value,
}

states! {
    /// Why a field is kept back.
    KeptWhy {
        /// HubSpot has a value, and ours goes out only where there is none.
        IfEmpty = "if-empty",
        /// HubSpot's value wins, or a person decides.
        Conflict = "conflict",
        /// The property is not as the mapping has it.
        Degraded = "degraded",
        /// It would be emptied, and the guard holds what empties its column.
        Guard = "guard",
    }
}

/// A field that waits and would not be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptField {
    /// The property.
    pub property: PropertyName,
    /// The mirror's value.
    pub local: Value,
    /// HubSpot's value, as far as it is known.
    pub remote: Value,
    /// Why.
    pub why: KeptWhy,
}

/// The fields of an entry, by what would be done with them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preview {
    /// They would be sent.
    pub fields: Vec<PreviewField>,
    /// They would not.
    pub kept: Vec<KeptField>,
}

impl Preview {
    /// How many fields are kept back for a reason.
    pub fn kept_because(&self, why: KeptWhy) -> u64 {
        let kept = self.kept.iter().filter(|field| field.why == why);
        kept.count() as u64
    }

    /// A field that would be sent is kept back for a reason.
    pub fn keep(&mut self, field: PreviewField, why: KeptWhy) {
        self.kept.push(KeptField {
            property: field.property,
            local: field.new,
            remote: field.old,
            why,
        });
        self.kept
            .sort_by(|one, other| one.property.cmp(&other.property));
    }
}

/// What waits of a field that is left out of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// The property.
    pub property: PropertyName,
    /// What its column holds.
    pub held: Value,
}

/// The record of a row as it is known here: HubSpot holds what both sides last agreed on, and in an open conflict what it was
/// last seen to hold. A field whose base nobody knows is not shown.
pub fn as_known(
    object: &SyncedObject,
    id: HubspotId,
    row: &MirrorRow,
    (entry, open): (&Entry, &BTreeMap<PropertyName, OpenConflict>),
) -> RemoteRecord {
    let mut values = FieldValues::nothing(&object.names);
    for (position, field) in object.mapping().fields.iter().enumerate() {
        let property = &field.property;
        let pending = entry.field(property).map(|pending| &pending.base);
        let known = match (open.get(property), pending) {
            (Some(open), _) => Some(&open.remote),
            (None, Some(Base::Known(base))) => Some(base),
            (None, Some(Base::Unknown)) => None,
            (None, None) => Some(row.value(property)),
        };
        if let Some(known) = known {
            values.set_at(position, known.clone());
        }
    }
    RemoteRecord {
        id,
        values,
        invalid: BTreeMap::new(),
        created_at: row.created_at().unwrap_or(Timestamp::EPOCH),
        updated_at: row.record.modified_at.unwrap_or(Timestamp::EPOCH),
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
        pipeline: None,
    }
}

/// A create whose record HubSpot has already, as it waits once its row has taken the record: an update over `base`. The row is
/// linked, and holds what only differs in its spelling as HubSpot has it. Then it is merged like any other.
pub fn as_adopted(
    object: &SyncedObject,
    (create, row): (&Entry, &mut MirrorRow),
    record: &RemoteRecord,
    open: &BTreeMap<PropertyName, OpenConflict>,
    (base, left_out): (CleanBase<'_>, &[LeftOut]),
) -> Entry {
    let left_out: Vec<PropertyName> = left_out
        .iter()
        .map(|field| field.property.clone())
        .collect();
    let mut adopted = create.clone();
    adopted.standing.operation = Operation::Update;
    adopted.standing.hs_id = Some(record.id);
    let sent = carried(object, row, open);
    let sent: Vec<_> = sent
        .into_iter()
        .filter(|(property, _)| !left_out.contains(property))
        .collect();
    apply_to(&mut adopted, &claimed(create, &sent, &left_out));
    row.link(record);
    let mapping = object.mapping();
    for act in spelled(mapping, row, record, open, Origin::Poll) {
        if let Act::Set { property, value } = act {
            row.set(mapping, &property, &value);
        }
    }
    let acts = rebased(mapping, &adopted, row, base, &left_out);
    apply_to(&mut adopted, &acts);
    adopted
}

/// What acts make of an entry's fields.
fn apply_to(entry: &mut Entry, acts: &[Act]) {
    for act in acts {
        if let Act::DropField(property) | Act::PutField { property, .. } = act {
            entry.fields.retain(|field| field.property != *property);
        }
        if let Act::PutField {
            property,
            base,
            changed_at,
        } = act
        {
            entry.fields.push(EntryField {
                property: property.clone(),
                base: base.clone(),
                changed_at: *changed_at,
                sent: None,
            });
        }
    }
}

fn is_among(left_out: &[LeftOut], property: &PropertyName) -> bool {
    left_out.iter().any(|field| field.property == *property)
}

/// The fields of a create.
pub fn of_create(
    object: &SyncedObject,
    row: &MirrorRow,
    open: &BTreeMap<PropertyName, OpenConflict>,
    left_out: &[LeftOut],
) -> Preview {
    let sent = carried(object, row, open).into_iter();
    let sent = sent.filter(|(property, _)| !is_among(left_out, property));
    let fields = sent.map(|(property, value)| PreviewField {
        property: property.clone(),
        old: Value::EMPTY,
        new: value.clone(),
    });
    let waiting = open.iter().map(|(property, conflict)| KeptField {
        property: property.clone(),
        local: row.value(property).clone(),
        remote: conflict.remote.clone(),
        why: KeptWhy::Conflict,
    });
    let degraded = left_out.iter().map(|field| KeptField {
        property: field.property.clone(),
        local: field.held.clone(),
        remote: Value::EMPTY,
        why: KeptWhy::Degraded,
    });
    Preview {
        fields: fields.collect(),
        kept: waiting.chain(degraded).collect(),
    }
}

/// The fields of an update, after the decision on its record.
pub fn of_update(
    object: &SyncedObject,
    row: &MirrorRow,
    (entry, open): (&Entry, &BTreeMap<PropertyName, OpenConflict>),
    plan: &RecordPlan,
    left_out: &[LeftOut],
) -> Preview {
    let mut left = Left {
        object,
        row: row.clone(),
        entry: entry.clone(),
        kept: Vec::new(),
    };
    if is_update_at_rest(entry) {
        for property in unchanged(object.mapping(), entry, row) {
            left.drop(&property);
        }
    }
    for action in &plan.actions {
        left.carry_out(action);
    }
    for property in &plan.need_history {
        left.drop(property);
    }
    left.sorted(open, left_out)
}

/// What is left of an update while the actions of a decision are carried out.
struct Left<'a> {
    object: &'a SyncedObject,
    row: MirrorRow,
    entry: Entry,
    kept: Vec<KeptField>,
}

impl Left<'_> {
    fn drop(&mut self, property: &PropertyName) -> bool {
        let before = self.entry.fields.len();
        self.entry
            .fields
            .retain(|field| field.property != *property);
        self.entry.fields.len() < before
    }

    fn put(&mut self, property: &PropertyName, base: &Value) {
        self.drop(property);
        self.entry.fields.push(EntryField {
            property: property.clone(),
            base: Base::Known(base.clone()),
            changed_at: self.entry.standing.enqueued_at,
            sent: None,
        });
    }

    fn carry_out(&mut self, action: &FieldAction) {
        match action {
            FieldAction::Take { property, .. } | FieldAction::Agree { property } => {
                self.drop(property);
            }
            FieldAction::Withhold { property, note } => {
                if let Some(note) = note {
                    self.keep(note);
                }
                self.drop(property);
            }
            FieldAction::Meet {
                property,
                value,
                old,
                gives_up,
            } => {
                let mapping = self.object.mapping();
                let is_if_empty = mapping
                    .field(property)
                    .is_some_and(|field| field.write_mode() == WriteMode::IfEmpty);
                if *gives_up && is_if_empty && self.entry.field(property).is_some() {
                    self.kept.push(KeptField {
                        property: property.clone(),
                        local: old.clone(),
                        remote: value.clone(),
                        why: KeptWhy::IfEmpty,
                    });
                }
                self.row.set(mapping, property, value);
            }
            FieldAction::PushOver { property, base } => self.put(property, base),
            FieldAction::Arrived {
                property, value, ..
            } => {
                if self.entry.field(property).is_some() {
                    self.put(property, value);
                }
            }
            FieldAction::Conflict {
                note,
                winner: Winner::Remote,
            } => self.keep(note),
            FieldAction::Ask { note } => {
                self.keep(note);
                self.drop(&note.property);
            }
            FieldAction::Conflict { .. }
            | FieldAction::ArrivedBeside { .. }
            | FieldAction::Checked { .. }
            | FieldAction::RemoteMoved { .. }
            | FieldAction::Close { .. } => {}
        }
    }

    fn keep(&mut self, note: &ConflictNote) {
        self.kept.push(KeptField {
            property: note.property.clone(),
            local: note.local.clone(),
            remote: note.remote.clone(),
            why: KeptWhy::Conflict,
        });
    }

    fn sorted(self, open: &BTreeMap<PropertyName, OpenConflict>, left_out: &[LeftOut]) -> Preview {
        let Self {
            object,
            row,
            mut entry,
            mut kept,
        } = self;
        entry
            .fields
            .sort_by(|one, other| one.property.cmp(&other.property));
        let known = |base: &Base| match base {
            Base::Known(value) => value.clone(),
            Base::Unknown => Value::EMPTY,
        };
        let sorted = update_fields(object.mapping(), &entry, open);
        kept.extend(sorted.held.into_iter().filter_map(|property| {
            Some(KeptField {
                property: property.clone(),
                local: row.value(property).clone(),
                remote: open.get(property)?.remote.clone(),
                why: KeptWhy::Conflict,
            })
        }));
        kept.extend(left_out.iter().filter_map(|field| {
            let waits = entry.field(&field.property)?;
            Some(KeptField {
                property: field.property.clone(),
                local: field.held.clone(),
                remote: known(&waits.base),
                why: KeptWhy::Degraded,
            })
        }));
        kept.sort_by(|one, other| one.property.cmp(&other.property));
        let free = sorted.free.into_iter();
        let free = free.filter(|field| !is_among(left_out, &field.property));
        let fields = free.map(|field| PreviewField {
            property: field.property.clone(),
            old: known(&field.base),
            new: row.value(&field.property).clone(),
        });
        Preview {
            fields: fields.collect(),
            kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::record::{CleanBase, RecordInput, merge_record};
    use crate::model::entry::Operation;
    use crate::model::id::ConflictId;
    use crate::model::mapping::{FieldMapping, ObjectMapping, Policy};
    use crate::testing::{at, contacts, entry, property, record, row, value};

    /// An object whose city is written in a way.
    fn object(change: impl FnOnce(&mut ObjectMapping)) -> SyncedObject {
        let mut mapping = contacts().mapping().clone();
        change(&mut mapping);
        SyncedObject::of(mapping)
    }

    /// The fields of a waiting update of a city from Rome to Lima, where HubSpot holds `remote`; `None`: nobody has asked.
    fn update(object: &SyncedObject, remote: Option<&str>) -> Vec<String> {
        let row = row(1, Some(101), &[("city", "Lima")]);
        let mut waits = entry(Operation::Update, &[("city", "Rome", None)]);
        waits.standing.hs_id = Some(HubspotId(101));
        let open = BTreeMap::new();
        let shown = match remote {
            Some(remote) => record(101, 5, &[("city", remote)]),
            None => as_known(object, HubspotId(101), &row, (&waits, &open)),
        };
        let plan = merge_record(&RecordInput {
            mapping: object.mapping(),
            local: &row.record,
            entry: Some(&waits),
            open: &open,
            remote: &shown,
            histories: None,
            sent_earlier: &BTreeMap::new(),
            owed: &BTreeMap::new(),
            now: at(20),
            clock_offset_ms: 0,
            clean_base: CleanBase::Mirror,
        });
        said(&of_update(object, &row, (&waits, &open), &plan, &[]))
    }

    fn said(preview: &Preview) -> Vec<String> {
        let sent = preview.fields.iter().map(|field| {
            let (old, new) = (field.old.to_wire(), field.new.to_wire());
            format!("{}: {old} -> {new}", field.property)
        });
        let kept = preview.kept.iter().map(|field| {
            let (local, remote) = (field.local.to_wire(), field.remote.to_wire());
            format!(
                "{} kept, {}: {local} | {remote}",
                field.property,
                field.why.as_str()
            )
        });
        sent.chain(kept).collect()
    }

    fn of_city(mapping: &mut ObjectMapping, change: impl Fn(&mut FieldMapping)) {
        for field in &mut mapping.fields {
            if field.property == property("city") {
                change(field);
            }
        }
    }

    #[test]
    fn an_update_is_what_the_merge_leaves_of_it() {
        let by = |policy| object(|mapping| of_city(mapping, |field| field.policy = policy));
        for (policy, remote, expected) in [
            (Policy::Local, None, "city: Rome -> Lima"),
            (Policy::Local, Some("Rome"), "city: Rome -> Lima"),
            (Policy::Local, Some("Oslo"), "city: Oslo -> Lima"),
            (
                Policy::Remote,
                Some("Oslo"),
                "city kept, conflict: Lima | Oslo",
            ),
            (
                Policy::Manual,
                Some("Oslo"),
                "city kept, conflict: Lima | Oslo",
            ),
        ] {
            assert_eq!(
                update(&by(policy), remote),
                [expected],
                "{policy:?} {remote:?}"
            );
        }
        assert!(
            update(&by(Policy::Local), Some("Lima")).is_empty(),
            "both sides agree"
        );
    }

    #[test]
    fn what_goes_out_only_where_there_is_none_is_kept_back_where_there_is_one() {
        let object = object(|mapping| {
            of_city(mapping, |field| field.modes.write = WriteMode::IfEmpty);
        });
        assert_eq!(update(&object, Some("")), ["city:  -> Lima"]);
        assert_eq!(
            update(&object, Some("Oslo")),
            ["city kept, if-empty: Lima | Oslo"]
        );
        assert_eq!(update(&object, None), ["city kept, if-empty: Lima | Rome"]);
    }

    #[test]
    fn a_create_sends_what_has_a_value_and_says_what_it_leaves_out() {
        let object = object(|_| {});
        let row = row(7, None, &[("city", "Lima"), ("email", "")]);
        let open = BTreeMap::new();
        let left_out = [LeftOut {
            property: property("tier"),
            held: value("gold"),
        }];
        assert_eq!(
            said(&of_create(&object, &row, &open, &left_out)),
            ["city:  -> Lima", "tier kept, degraded: gold | "]
        );
        let conflict = OpenConflict {
            id: ConflictId(1),
            base: Base::Unknown,
            remote: value("Oslo"),
        };
        let open = [(property("city"), conflict)].into();
        assert_eq!(
            said(&of_create(&object, &row, &open, &[])),
            ["city kept, conflict: Lima | Oslo"]
        );
    }
}
