//! HubSpot's records as the model's: values canonical by the mapping's types.

use std::collections::BTreeMap;

use crate::decide::echo::{Histories, PastValue, ToldSource, author};
use crate::decide::matching::{Identity, MatchRule};
use crate::model::answer::Record;
use crate::model::field_values::FieldValues;
use crate::model::mapping::FieldMapping;
use crate::model::name::PropertyName;
use crate::model::object::is_unique_in_hubspot;
use crate::model::record::RemoteRecord;
use crate::model::synced::{OTHER_EMAILS, SyncedObject};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A record with its mapped properties in canonical form.
pub fn remote_record(object: &SyncedObject, mut record: Record) -> RemoteRecord {
    let (merged_ids, own_key) = (record.merged_ids(), own_key(object, &record));
    let other_emails = other_emails(object, &record);
    let pipeline = object.unmapped_pipeline();
    let pipeline = pipeline.and_then(|name| record.text(name).map(str::to_owned));
    let mut values = FieldValues::nothing(&object.names);
    let mut invalid = BTreeMap::new();
    for (position, field) in object.mapping().fields.iter().enumerate() {
        if let Some(json) = record.odd.remove(field.property.as_str()) {
            invalid.insert(field.property.clone(), Value::from_canonical(json));
            continue;
        }
        let Some(text) = record.properties.remove(field.property.as_str()) else {
            continue;
        };
        match field.property_type.canonical_of(text) {
            Ok(value) => values.set_at(position, value),
            Err(text) => {
                invalid.insert(field.property.clone(), Value::from_canonical(text));
            }
        }
    }
    RemoteRecord {
        id: record.id,
        values,
        invalid,
        created_at: record.created_at,
        updated_at: record.updated_at,
        archived: record.archived,
        archived_at: record.archived_at,
        merged_ids,
        own_key,
        other_emails,
        pipeline: pipeline.filter(|pipeline| !pipeline.is_empty()),
    }
}

/// Many records, each with its mapped properties in canonical form.
pub fn remote_records(object: &SyncedObject, records: Vec<Record>) -> Vec<RemoteRecord> {
    records
        .into_iter()
        .map(|record| remote_record(object, record))
        .collect()
}

fn own_key(object: &SyncedObject, record: &Record) -> Option<String> {
    let property = object.key_property.as_ref()?;
    record
        .properties
        .get(property.as_str())?
        .clone()
        .filter(|key| !key.is_empty())
}

fn other_emails(object: &SyncedObject, record: &Record) -> Vec<Value> {
    if object.object().as_str() != "contacts" {
        return Vec::new();
    }
    let listed = record.text(OTHER_EMAILS).unwrap_or_default();
    listed.split(';').map(Value::from_canonical).collect()
}

/// The history of each property that was asked for, the newest value first. `own_app` is the app that our token belongs
/// to, where that is known.
pub fn histories(
    object: &SyncedObject,
    record: &Record,
    asked: &[PropertyName],
    own_app: Option<&str>,
) -> Histories {
    let past = |property: &PropertyName| -> Vec<PastValue> {
        let (Some(field), Some(entries)) = (
            object.mapping().field(property),
            record.history.get(property.as_str()),
        ) else {
            return Vec::new();
        };
        entries
            .iter()
            .map(|entry| PastValue {
                value: canonical_or_text(field, entry.value.clone()),
                at: entry.at,
                author: author(
                    entry.source_type.as_deref(),
                    entry.source_id.as_deref(),
                    own_app,
                ),
                source: ToldSource {
                    kind: entry.source_type.clone(),
                    id: entry.source_id.clone(),
                },
            })
            .collect()
    };
    asked
        .iter()
        .map(|property| (property.clone(), past(property)))
        .collect()
}

/// A value that a property had, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldValue {
    /// The property.
    pub property: PropertyName,
    /// When it was set.
    pub at: Timestamp,
    /// The value, canonical where its type can hold it.
    pub value: Value,
    /// What kind of thing set it.
    pub source_type: Option<String>,
    /// Which one.
    pub source_id: Option<String>,
}

/// What an answer tells of the properties whose history is kept, in HubSpot's order; of two values with one time the later in
/// HubSpot's list.
pub fn told_histories(object: &SyncedObject, record: &Record) -> Vec<ToldValue> {
    let fields = object.mapping().with_remote_history();
    let told = fields.flat_map(|field| {
        let entries = record.history.get(field.property.as_str());
        let entries = entries.map_or(&[][..], Vec::as_slice);
        let last = |place: usize| {
            let mut later = entries[place + 1..].iter();
            later.all(|later| later.at != entries[place].at)
        };
        let kept = entries.iter().enumerate();
        kept.filter(move |(place, _)| last(*place))
            .map(|(_, entry)| ToldValue {
                property: field.property.clone(),
                at: entry.at,
                value: canonical_or_text(field, entry.value.clone()),
                source_type: entry.source_type.clone(),
                source_id: entry.source_id.clone(),
            })
    });
    told.collect()
}

fn canonical_or_text(field: &FieldMapping, text: Option<String>) -> Value {
    match field.property_type.canonical_of(text) {
        Ok(value) => value,
        Err(text) => Value::from_canonical(text),
    }
}

/// What says which record values belong to, the surest first.
pub fn identities(object: &SyncedObject, values: &FieldValues) -> Vec<Identity> {
    object
        .mapping()
        .identities()
        .filter_map(|field| identity(object, field, values.get(&field.property)?))
        .collect()
}

/// The same of a record: each of a contact's addresses finds it.
pub fn record_identities(object: &SyncedObject, record: &RemoteRecord) -> Vec<Identity> {
    let mut found = identities(object, &record.values);
    let by_email = object
        .mapping()
        .identities()
        .find(|field| is_unique_in_hubspot(object.object(), &field.property));
    if let Some(field) = by_email {
        let others = record.other_emails.iter();
        found.extend(others.filter_map(|email| identity(object, field, email)));
    }
    found
}

/// What a value of a field says; `None` where it says nothing.
pub fn identity(object: &SyncedObject, field: &FieldMapping, value: &Value) -> Option<Identity> {
    let form = MatchRule::of(object.object(), field).form(value)?;
    Some(Identity {
        property: field.property.clone(),
        form,
    })
}

/// Whether a record has a unique value that was sent, in whatever spelling HubSpot answers it.
pub fn has_unique_value(
    object: &SyncedObject,
    sent: &[(String, String)],
    record: &RemoteRecord,
) -> bool {
    let fields = object.mapping().identities();
    let mut unique = fields.filter(|field| object.is_unique(&field.property));
    unique.any(|field| {
        let mut sent = sent.iter();
        let own = sent.find(|(name, _)| name == field.property.as_str());
        let own = own.map(|(_, text)| Value::from_canonical(text.as_str()));
        let own = own.and_then(|value| identity(object, field, &value));
        own.is_some_and(|own| record_identities(object, record).contains(&own))
    })
}

/// The value of the match property in the form in which two of them are compared.
pub fn match_identity(object: &SyncedObject, values: &FieldValues) -> Option<Identity> {
    let field = object.mapping().match_field()?;
    identity(object, field, values.get(&field.property)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{contacts, record};

    #[test]
    fn of_chosen_properties_each_value_is_told_with_its_time_and_source() {
        use crate::model::answer::HistoryEntry;
        use crate::model::time::Timestamp;
        use crate::testing::{at, property};

        let mut mapping = contacts().mapping().clone();
        for field in &mut mapping.fields {
            field.modes.remote_history = field.property == property("city");
        }
        let object = SyncedObject::of(mapping);
        let entry = |text: Option<&str>, second: i64, source: &str| HistoryEntry {
            value: text.map(str::to_owned),
            at: at(second),
            source_type: Some(source.to_owned()),
            source_id: None,
        };
        let told = vec![
            entry(Some("Lima"), 9, "CRM_UI"),
            entry(None, 5, "API"),
            entry(Some("Rome"), 5, "IMPORT"),
        ];
        let shown = Record {
            id: crate::model::id::HubspotId(101),
            properties: BTreeMap::new(),
            odd: BTreeMap::new(),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            archived: false,
            archived_at: None,
            new: None,
            trace_id: None,
            history: BTreeMap::from([
                ("city".to_owned(), told.clone()),
                ("email".to_owned(), told),
            ]),
        };
        let kept = told_histories(&object, &shown);
        let kept: Vec<_> = kept
            .iter()
            .map(|told| (told.property.as_str(), told.value.to_wire(), told.at))
            .collect();
        assert_eq!(kept, [("city", "Lima", at(9)), ("city", "Rome", at(5))]);
    }

    #[test]
    fn a_value_that_is_no_scalar_is_one_that_cannot_be_read_and_no_empty_one() {
        let object = contacts();
        let shown = Record {
            id: crate::model::id::HubspotId(101),
            properties: BTreeMap::from([("email".to_owned(), None)]),
            odd: BTreeMap::from([("firstname".to_owned(), r#"{"a":1}"#.to_owned())]),
            created_at: crate::model::time::Timestamp::EPOCH,
            updated_at: crate::model::time::Timestamp::EPOCH,
            archived: false,
            archived_at: None,
            new: None,
            trace_id: None,
            history: BTreeMap::new(),
        };
        let shown = remote_record(&object, shown);
        let named = |(name, value): (&PropertyName, &Value)| format!("{name}={}", value.to_wire());
        let readable: Vec<String> = shown.values.iter().map(named).collect();
        assert_eq!(readable, ["email="]);
        let invalid: Vec<String> = shown.invalid.iter().map(named).collect();
        assert_eq!(invalid, [r#"firstname={"a":1}"#]);
    }

    #[test]
    fn an_answer_is_known_by_the_address_that_was_sent_however_hubspot_spells_it() {
        let object = contacts();
        let sent = |email: &str| {
            let email = ("email".to_owned(), email.to_owned());
            vec![("firstname".to_owned(), "Ann".to_owned()), email]
        };
        let mut answered = record(
            101,
            0,
            &[("email", "ann@example.com"), ("firstname", "Ann")],
        );
        let knows = |answered: &RemoteRecord, email: &str| {
            has_unique_value(&object, &sent(email), answered)
        };
        assert!(knows(&answered, "Ann@Example.com\u{a0}"));
        assert!(!knows(&answered, "bob@example.com"));
        assert!(!knows(&answered, ""));
        answered.other_emails = vec![Value::from_canonical("ann@example.org")];
        assert!(knows(&answered, "ANN@example.org"));
    }
}
