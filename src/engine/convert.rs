//! HubSpot's records as the model's: values canonical by the mapping's types.

use std::collections::BTreeMap;

use crate::decide::echo::{Histories, PastValue, author};
use crate::engine::objects::ObjectSync;
use crate::hubspot::Record;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::value::Value;

/// A record with its mapped properties in canonical form.
pub fn remote_record(object: &ObjectSync, mut record: Record) -> RemoteRecord {
    let (merged_ids, own_key) = (record.merged_ids(), own_key(object, &record));
    let mut values = BTreeMap::new();
    let mut invalid = BTreeMap::new();
    for field in &object.mapping().fields {
        let Some(text) = record.properties.remove(field.property.as_str()) else {
            continue;
        };
        match field.property_type.canonical_of(text) {
            Ok(value) => values.insert(field.property.clone(), value),
            Err(text) => invalid.insert(field.property.clone(), Value::from_canonical(text)),
        };
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
    }
}

/// Many records, each with its mapped properties in canonical form.
pub fn remote_records(object: &ObjectSync, records: Vec<Record>) -> Vec<RemoteRecord> {
    records
        .into_iter()
        .map(|record| remote_record(object, record))
        .collect()
}

fn own_key(object: &ObjectSync, record: &Record) -> Option<String> {
    let property = object.key_property.as_ref()?;
    record
        .properties
        .get(property.as_str())?
        .clone()
        .filter(|key| !key.is_empty())
}

/// The history of each property that was asked for, the newest value first. `own_app` is the app that our token belongs
/// to, where that is known.
pub fn histories(
    object: &ObjectSync,
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
                value: match field.property_type.canonical_of(entry.value.clone()) {
                    Ok(value) => value,
                    Err(text) => Value::from_canonical(text),
                },
                at: entry.at,
                author: author(
                    entry.source_type.as_deref(),
                    entry.source_id.as_deref(),
                    own_app,
                ),
            })
            .collect()
    };
    asked
        .iter()
        .map(|property| (property.clone(), past(property)))
        .collect()
}

/// The value of the match property as it is compared.
pub fn match_value<'a>(
    object: &ObjectSync,
    values: &'a BTreeMap<PropertyName, Value>,
) -> Option<&'a str> {
    let field = object.mapping().match_field()?;
    values
        .get(&field.property)?
        .as_deref()
        .filter(|text| !text.trim().is_empty())
}

/// The match value as two of them are held against each other: trimmed, in lower case.
pub fn match_key(object: &ObjectSync, values: &BTreeMap<PropertyName, Value>) -> Option<String> {
    match_value(object, values).map(|value| value.trim().to_lowercase())
}
