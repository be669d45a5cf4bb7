//! A deleted row's record before its archive: has somebody edited it in HubSpot since both sides agreed?

use std::collections::BTreeMap;

use crate::decide::acts::{Act, pushed};
use crate::decide::echo::{self, Edited, Histories, SentValues};
use crate::decide::record::{OpenConflict, judge_open};
use crate::model::conflict::Winner;
use crate::model::entry::{Base, Entry};
use crate::model::field_values::FieldValues;
use crate::model::mapping::ObjectMapping;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::row::json as rowjson;
use crate::model::value::Value;

/// A deleted row, and what HubSpot shows of its record.
#[derive(Debug, Clone, Copy)]
pub struct DeletedRow<'a> {
    /// The object's mapping.
    pub mapping: &'a ObjectMapping,
    /// Its entry.
    pub entry: &'a Entry,
    /// What HubSpot shows.
    pub record: &'a RemoteRecord,
    /// What lost requests of ours carried.
    pub sent: &'a SentValues,
}

impl DeletedRow<'_> {
    /// Whether somebody changed a mapped field in HubSpot since both sides agreed on it: not we, with a late request.
    pub fn edited(&self, histories: Option<&Histories>) -> Edited {
        let Some(text) = self.entry.row.as_deref() else {
            return Edited::No;
        };
        // Of one version the values are compared: the answer to a push tells its version, and not what else was edited.
        if rowjson::modified_at(text).is_some_and(|known| self.record.updated_at < known) {
            return Edited::No;
        }
        let former = rowjson::values(self.mapping, text);
        let fields = self.mapping.fields.iter();
        let both_ways = fields.filter(|field| field.direction.pulls() && field.direction.pushes());
        let mut edited = Edited::No;
        for field in both_ways {
            let property = &field.property;
            let Some(remote) = self.record.shown(property) else {
                continue;
            };
            let local = former.get(property).unwrap_or(&Value::EMPTY);
            let pending = self.entry.field(property);
            let base = match pending {
                Some(pending) => pending.base.clone(),
                None => Base::Known(local.clone()),
            };
            let found = echo::edited(&echo::SentField {
                kind: field.property_type,
                base: &base,
                local,
                remote,
                pending: pending.is_some(),
                sent: self.sent.get(property).map_or(&[], Vec::as_slice),
                history: histories
                    .and_then(|histories| histories.get(property))
                    .map(Vec::as_slice),
                updated_at: self.record.updated_at,
            });
            match found {
                Edited::Yes => return Edited::Yes,
                Edited::NeedHistory => edited = Edited::NeedHistory,
                Edited::No => {}
            }
        }
        edited
    }

    /// What lost updates of the row have brought to HubSpot, once: the entry's bases are all that is left of what they went
    /// over.
    pub fn arrived(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for field in &self.entry.fields {
            let property = &field.property;
            let (Some(mapped), Some(value), Some(sent)) = (
                self.mapping.field(property),
                self.record.shown(property),
                self.sent.get(property),
            ) else {
                continue;
            };
            let kind = mapped.property_type;
            if !field.base.is_same(kind, value) && echo::is_sent(kind, sent, value) {
                acts.push(pushed(property, &field.base, value));
                acts.push(Act::SetBase {
                    property: property.clone(),
                    base: value.clone(),
                });
            }
        }
        acts
    }
}

/// Whether one of the row's open conflicts is still one: an edit in HubSpot that nobody has decided about.
pub fn is_undecided(
    mapping: &ObjectMapping,
    open: &BTreeMap<PropertyName, OpenConflict>,
    former: &FieldValues,
    record: &RemoteRecord,
) -> bool {
    open.iter().any(|(property, conflict)| {
        let (Some(field), Some(remote)) = (mapping.field(property), record.shown(property)) else {
            return false;
        };
        let local = former.get(property).unwrap_or(&Value::EMPTY);
        match judge_open(field.property_type, &conflict.base, local, remote) {
            None | Some(Winner::Remote) => true,
            Some(Winner::Local | Winner::Value | Winner::Agreed) => false,
        }
    })
}

/// What an archived record holds of pending changes has reached it before: its row counts as clean for them. `row`: what the
/// row holds.
pub fn agreed_with_archived(deleted: &DeletedRow<'_>, row: &FieldValues) -> Vec<Act> {
    let mut acts = Vec::new();
    for pending in &deleted.entry.fields {
        let property = &pending.property;
        let (Some(field), Some(value)) = (
            deleted.mapping.field(property),
            deleted.record.values.get(property),
        ) else {
            continue;
        };
        let local = row.get(property).unwrap_or(&Value::EMPTY);
        if !field.property_type.same(local, value) {
            continue;
        }
        let carried = deleted.sent.get(property);
        if carried.is_some_and(|sent| echo::is_sent(field.property_type, sent, value)) {
            acts.push(pushed(property, &pending.base, value));
        }
        acts.push(Act::DropField(property.clone()));
    }
    acts.push(Act::EndIfEmpty);
    acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::echo::SentValue;
    use crate::model::entry::Operation;
    use crate::model::id::ConflictId;
    use crate::testing::{at, contacts, entry, property, record, value};

    const FORMER: &str =
        r#"{"city":"Rome","firstname":"Ann","$hs_modified_at":"1970-01-01T00:00:05.000Z"}"#;

    fn archive(fields: &[(&str, &str, Option<&str>)]) -> Entry {
        Entry {
            row: Some(FORMER.to_owned()),
            ..entry(Operation::Archive, fields)
        }
    }

    fn late(name: &str, text: &str) -> SentValues {
        let sent = SentValue {
            value: value(text),
            over: at(5),
        };
        SentValues::from([(property(name), vec![sent])])
    }

    #[test]
    fn an_edit_of_the_version_of_the_deleted_row_or_after_it_is_one() {
        let object = contacts();
        let check = |entry: &Entry, updated, shown: &[(&str, &str)], expected| {
            let deleted = DeletedRow {
                mapping: object.mapping(),
                entry,
                record: &record(101, updated, shown),
                sent: &SentValues::new(),
            };
            assert_eq!(deleted.edited(None), expected, "{shown:?} at {updated}");
        };
        let plain = archive(&[]);
        check(&plain, 9, &[("city", "Kiel")], Edited::Yes);
        check(&plain, 5, &[("city", "Kiel")], Edited::Yes);
        check(&plain, 4, &[("city", "Kiel")], Edited::No);
        check(&plain, 9, &[("city", "Rome")], Edited::No);
        check(&plain, 9, &[("score", "7")], Edited::No);
        let pending = archive(&[("city", "Lima", None)]);
        check(&pending, 9, &[("city", "Lima")], Edited::No);
        check(
            &entry(Operation::Archive, &[]),
            9,
            &[("city", "Kiel")],
            Edited::No,
        );
    }

    #[test]
    fn a_late_request_is_written_down_once_and_is_the_base_from_then_on() {
        let object = contacts();
        let arrived = |base: &str| {
            let deleted = DeletedRow {
                mapping: object.mapping(),
                entry: &archive(&[("city", base, None)]),
                record: &record(101, 9, &[("city", "Lima")]),
                sent: &late("city", "Lima"),
            };
            deleted.arrived().len()
        };
        assert_eq!((arrived("Rome"), arrived("Lima")), (2, 0));
    }

    #[test]
    fn an_open_conflict_is_one_until_hubspot_went_back() {
        let object = contacts();
        let conflict = OpenConflict {
            id: ConflictId(1),
            base: Base::Known(value("Rome")),
            remote: value("Kiel"),
        };
        let open = BTreeMap::from([(property("city"), conflict)]);
        let former = FieldValues::from_iter([(property("city"), value("Lima"))]);
        let check = |shown: &[(&str, &str)], expected| {
            let record = record(101, 9, shown);
            let found = is_undecided(object.mapping(), &open, &former, &record);
            assert_eq!(found, expected, "{shown:?}");
        };
        check(&[("city", "Kiel")], true);
        check(&[("city", "Rome")], false);
        check(&[("city", "Lima")], false);
        check(&[("firstname", "Ann")], false);
    }

    #[test]
    fn a_pending_change_that_the_archived_record_holds_waits_no_more() {
        let object = contacts();
        let update = entry(
            Operation::Update,
            &[("city", "Rome", None), ("firstname", "A", None)],
        );
        let row = FieldValues::from_iter([
            (property("city"), value("Lima")),
            (property("firstname"), value("Ann")),
        ]);
        let deleted = |sent| DeletedRow {
            mapping: object.mapping(),
            entry: &update,
            record: Box::leak(Box::new(record(
                101,
                9,
                &[("city", "Lima"), ("firstname", "A")],
            ))),
            sent,
        };
        let nothing = SentValues::new();
        let plain = agreed_with_archived(&deleted(&nothing), &row);
        assert_eq!(plain, [Act::DropField(property("city")), Act::EndIfEmpty]);
        let sent = late("city", "Lima");
        assert_eq!(agreed_with_archived(&deleted(&sent), &row).len(), 3);
    }
}
