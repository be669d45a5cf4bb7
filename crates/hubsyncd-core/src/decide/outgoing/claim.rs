//! What is taken for an attempt: what of a row can be sent, and what of it is.

use std::collections::BTreeMap;

use crate::decide::acts::Act;
use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::outgoing::along::new_associations;
use crate::decide::record::OpenConflict;
use crate::decide::retry::{AFTER_DRIFT, AFTER_READ, latest_due};
use crate::model::answer::WriteInput;
use crate::model::attempt::{Along, Sent};
use crate::model::entry::{Entry, EntryField, EntryState, Operation, WaitsFor};
use crate::model::id::OutboxId;
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::{LONGEST_VALUE, Value};

/// The code of a row that only links, and finds no record to be linked to.
pub const NO_RECORD_TO_LINK: &str = "no-record-to-link";

/// Why a row that means no record of HubSpot's does not become one, with the code at the end; nothing where it does.
pub fn made_by_nobody(mapping: &ObjectMapping, row: &MirrorRow) -> Option<String> {
    let new_records = mapping.modes.new_records;
    if new_records.makes_records() {
        return None;
    }
    let (table, id, mode) = (&mapping.table, row.record.local_id, new_records.as_str());
    let with_value = match mapping.match_field() {
        Some(field) if row.value(&field.property).is_empty() => {
            format!("it has no `{}` to be found by", field.column)
        }
        Some(field) => format!("HubSpot has no record with its `{}`", field.column),
        None => "nothing says which record it means".to_owned(),
    };
    Some(format!(
        "{table} row {id} only links to a record that HubSpot has (`new_records = \"{mode}\"`), and {with_value}: \
         make the record in HubSpot, or write a value that one has [{NO_RECORD_TO_LINK}]"
    ))
}

/// Why a value of a row can't be sent, in words that name the column; nothing where all that is sent can.
pub fn unsendable(
    mapping: &ObjectMapping,
    row: &MirrorRow,
    is_sent: impl Fn(&PropertyName) -> bool,
) -> Option<String> {
    let is_identity = |field: &FieldMapping| {
        let mut identities = mapping.identities();
        identities.any(|identity| identity.property == field.property)
    };
    let mut sent = mapping
        .fields
        .iter()
        .filter(|field| field.is_sent() && is_sent(&field.property));
    sent.find_map(|field| {
        let (table, column, id) = (&mapping.table, &field.column, row.record.local_id);
        if row.record.unreadable.contains(&field.property) {
            Some(format!(
                "`{table}.{column}` of row {id} holds text that is no UTF-8, so that it can't be sent: write it again [unsendable-text]"
            ))
        } else if row.value(&field.property).is_too_long() {
            Some(format!(
                "`{table}.{column}` of row {id} holds more than the {LONGEST_VALUE} characters that HubSpot takes: write a shorter text [value-too-long]"
            ))
        } else if is_identity(field) && field.property_type.is_blurred(row.value(&field.property)) {
            Some(format!(
                "`{table}.{column}` of row {id} says which record the row is, and holds a number of more digits than a column of type \
                 `number` can keep: discard this, give the property the type `decimal` in the mapping file, and write it again [blurred-key]"
            ))
        } else {
            None
        }
    })
}

/// The trace id of an attempt: HubSpot answers for each input apart by it (`hubspot/api-facts.md#4`).
fn trace_id(entry: OutboxId, attempt: u32) -> String {
    format!("{entry}-{attempt}")
}

fn texts(carried: &[(&PropertyName, &Value)]) -> Vec<(String, String)> {
    let carried = carried.iter();
    carried
        .map(|(property, value)| (property.as_str().to_owned(), value.to_wire().to_owned()))
        .collect()
}

/// The attempt of a create that carries these values and associations, and our key where HubSpot knows one.
pub fn create_of(
    object: &SyncedObject,
    entry: &Entry,
    carried: &[(&PropertyName, &Value)],
    along: Vec<Along>,
) -> Sent {
    let mut properties = texts(carried);
    let key = object.key_property.as_ref().zip(entry.key.as_ref());
    if let Some((property, key)) = key {
        properties.push((property.as_str().to_owned(), key.clone()));
    }
    let attempts = entry.standing.attempts + 1;
    Sent {
        entry: entry.id,
        attempts,
        input: WriteInput {
            trace_id: trace_id(entry.id, attempts),
            id: key.map(|(_, key)| key.clone()),
            properties,
            associations: new_associations(&along),
        },
        read_version: None,
        archive: None,
        along,
    }
}

/// The attempt of an update of a record.
pub fn update_of(
    entry: &Entry,
    record: &RemoteRecord,
    carried: &[(&PropertyName, &Value)],
) -> Sent {
    let attempts = entry.standing.attempts + 1;
    Sent {
        entry: entry.id,
        attempts,
        input: WriteInput {
            trace_id: trace_id(entry.id, attempts),
            id: Some(record.id.to_string()),
            properties: texts(carried),
            associations: Vec::new(),
        },
        read_version: Some(record.updated_at),
        archive: None,
        along: Vec::new(),
    }
}

/// Whether an entry is an update that may be sent: it waits, for no word of the guard's, and nobody has given it up.
pub fn is_free_update(entry: &Entry) -> bool {
    let standing = &entry.standing;
    standing.operation == Operation::Update
        && standing.state == EntryState::Pending
        && standing.waits_for != Some(WaitsFor::Guard)
        && standing.discarded_at.is_none()
}

/// Whether nothing of an update is on its way, in doubt, or meant for a deleted row: what it holds can be compared.
pub fn is_update_at_rest(entry: &Entry) -> bool {
    let standing = &entry.standing;
    standing.operation == Operation::Update
        && standing.state == EntryState::Pending
        && entry.row.is_none()
        && standing.unanswered_since.is_none()
}

/// Whether what waits of a row waits for that row: with it gone and no trigger's word, nothing of it can be sent.
pub fn needs_its_row(entry: &Entry) -> bool {
    let standing = &entry.standing;
    standing.state == EntryState::Pending
        && entry.row.is_none()
        && matches!(standing.operation, Operation::Create | Operation::Update)
}

/// The fields of an update by what is done with each.
#[derive(Debug, Default, PartialEq)]
pub struct UpdateFields<'a> {
    /// A person decides about them, however they came to wait here too.
    pub held: Vec<&'a PropertyName>,
    /// They may be sent.
    pub free: Vec<&'a EntryField>,
}

/// Sorts the fields of an update; one that is not in force, or flows the other way, is neither.
pub fn update_fields<'a>(
    mapping: &ObjectMapping,
    entry: &'a Entry,
    open: &BTreeMap<PropertyName, OpenConflict>,
) -> UpdateFields<'a> {
    let mut sorted = UpdateFields::default();
    for field in &entry.fields {
        let mapped = mapping.field(&field.property);
        if open.contains_key(&field.property) {
            sorted.held.push(&field.property);
        } else if mapped.is_some_and(FieldMapping::is_sent) {
            sorted.free.push(field);
        }
    }
    sorted
}

/// What becomes of an update of which nothing can be sent at the moment.
pub fn rest_unwritable(explanation: &str, is_writable: bool, now: Timestamp) -> Act {
    let rest = match is_writable {
        true => AFTER_READ,
        false => AFTER_DRIFT,
    };
    Act::Befall(EntryEvent::SentBack {
        next: now + rest,
        explanation: Some(explanation.to_owned()),
        waits_for: None,
        answered: Answered::Yes,
    })
}

/// When an update is tried again whose record is to be read first. Whatever waits for a read that is due later asks when its
/// time has come.
pub fn after_its_read(due: Timestamp, now: Timestamp) -> Timestamp {
    due.clamp(now + AFTER_READ, latest_due(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Base;
    use crate::model::id::ConflictId;
    use crate::model::mapping::NewRecords;
    use crate::testing::{at, contacts, entry, property, record, row, value};

    #[test]
    fn a_row_becomes_a_record_only_where_the_file_lets_it() {
        let mut mapping = contacts().mapping().clone();
        mapping.match_property = Some(property("email"));
        let explanation = |mapping: &ObjectMapping, email: &str| {
            made_by_nobody(mapping, &row(7, None, &[("email", email)]))
        };
        for new_records in [NewRecords::Both, NewRecords::FromLocal] {
            mapping.modes.new_records = new_records;
            assert_eq!(explanation(&mapping, "ann@example.com"), None);
        }
        for new_records in [NewRecords::FromHubspot, NewRecords::None] {
            mapping.modes.new_records = new_records;
            let why = explanation(&mapping, "ann@example.com").expect("it only links");
            assert!(
                why.contains("HubSpot has no record with its `email`"),
                "{why}"
            );
            let why = explanation(&mapping, "").expect("it only links");
            assert!(why.contains("it has no `email`"), "{why}");
        }
    }

    #[test]
    fn what_can_t_be_sent_is_named_by_its_column() {
        let object = contacts();
        let mut here = row(7, None, &[("city", "Kiel")]);
        let why = |row: &MirrorRow| unsendable(object.mapping(), row, |_| true);
        assert_eq!(why(&here), None);
        here.record.unreadable.insert(property("city"));
        let explanation = why(&here).expect("can't be sent");
        assert!(
            explanation.starts_with("`contacts.city` of row 7 holds text"),
            "{explanation}"
        );
        let others = unsendable(object.mapping(), &here, |name| *name != property("city"));
        assert_eq!(others, None);
        let long = "x".repeat(70_000);
        let explanation = why(&row(7, None, &[("city", &long)])).expect("is too long");
        assert!(
            explanation.contains("characters that HubSpot takes"),
            "{explanation}"
        );
        // What HubSpot lets nobody write any more is not sent, whatever it holds.
        let mut locked = object.mapping().clone();
        for field in &mut locked.fields {
            field.modes.locked = true;
        }
        let why = unsendable(&locked, &row(7, None, &[("city", &long)]), |_| true);
        assert_eq!(why, None);
    }

    #[test]
    fn an_update_leaves_out_what_a_person_decides_about_and_what_flows_the_other_way() {
        let object = contacts();
        let fields = [
            ("city", "", None),
            ("email", "", None),
            ("score", "", None),
            ("gone", "", None),
        ];
        let update = entry(Operation::Update, &fields);
        let conflict = OpenConflict {
            id: ConflictId(1),
            base: Base::Unknown,
            remote: value("Kiel"),
        };
        let open = BTreeMap::from([(property("city"), conflict)]);
        let sorted = update_fields(object.mapping(), &update, &open);
        assert_eq!(sorted.held, [&property("city")]);
        let free: Vec<&str> = sorted
            .free
            .iter()
            .map(|field| field.property.as_str())
            .collect();
        assert_eq!(free, ["email"]);
        // Nor what HubSpot lets nobody write any more.
        let mut locked = object.mapping().clone();
        locked.fields[0].modes.locked = true;
        assert!(!locked.fields[0].is_sent() && locked.fields[1].is_sent());
        assert_eq!(
            update_fields(&locked, &update, &open).free,
            Vec::<&EntryField>::new()
        );
    }

    #[test]
    fn an_attempt_carries_its_number_and_a_create_our_key_where_hubspot_knows_one() {
        let mut create = entry(Operation::Create, &[]);
        create.key = Some("k1".to_owned());
        let (city, kiel) = (property("city"), value("Kiel"));
        let carried = [(&city, &kiel)];
        let plain = create_of(&contacts(), &create, &carried, Vec::new());
        assert_eq!((plain.input.id, plain.attempts), (None, 1));
        let keyed = contacts().keyed(Some(property("hubsyncd_key")));
        let sent = create_of(&keyed, &create, &carried, Vec::new());
        assert_eq!(sent.input.trace_id, "1-1");
        assert_eq!(sent.input.id.as_deref(), Some("k1"));
        assert_eq!(sent.input.properties.len(), 2);
        let update = update_of(&create, &record(101, 9, &[]), &carried);
        assert_eq!(update.read_version, Some(at(9)));
        assert_eq!(update.input.id.as_deref(), Some("101"));
    }

    #[test]
    fn only_what_waits_of_a_row_needs_it() {
        let of = |operation, state| {
            let mut entry = entry(operation, &[]);
            entry.standing.state = state;
            needs_its_row(&entry)
        };
        assert!(of(Operation::Update, EntryState::Pending));
        assert!(!of(Operation::Update, EntryState::InFlight));
        assert!(!of(Operation::Archive, EntryState::Pending));
    }
}
