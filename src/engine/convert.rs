//! HubSpot's records as the model's: values canonical by the mapping's types.

use std::collections::BTreeMap;

use crate::decide::record::{Histories, HistoryTop};
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

/// The newest entry of each property's history that was asked for.
pub fn histories(record: &Record, asked: &[PropertyName]) -> Histories {
    asked
        .iter()
        .map(|property| {
            let top = record
                .history
                .get(property.as_str())
                .and_then(|entries| entries.first());
            let top = top.map(|entry| HistoryTop {
                at: entry.at,
                by_app: entry.source_type.as_deref().is_some_and(is_app),
            });
            (property.clone(), top)
        })
        .collect()
}

/// Whether a history entry was written by an app through the API (`hubspot/api-facts.md#7`).
fn is_app(source_type: &str) -> bool {
    matches!(source_type, "INTEGRATION" | "API")
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
