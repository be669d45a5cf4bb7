//! The JSON of a whole row, as the DELETE trigger keeps it in `sync_outbox.row` and conflicts about a record show it.
//!
//! Keys are property names; `$hs_created_at`, `$hs_modified_at` and the columns that the mapping does not know stand beside
//! them: `$column:NAME` a text, a whole number or NULL, `$real:NAME` the digits of a REAL, `$blob:NAME` a BLOB's in
//! hexadecimal, `$text:NAME` those of a text that is no UTF-8 (`store/database/text.rs`). Triggers write what the mapped columns held, the daemon canonical text; [`spelled`] makes the one of the
//! other. Text that is no JSON object reads as an empty row: the file is open to other programs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use crate::model::field_values::FieldValues;
use crate::model::mapping::ObjectMapping;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

fn object(text: &str) -> Map<String, Json> {
    match serde_json::from_str(text) {
        Ok(Json::Object(map)) => map,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn text_of(json: &Json) -> Option<String> {
    match json {
        Json::Null | Json::Array(_) | Json::Object(_) => None,
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::String(text) => Some(text.clone()),
    }
}

/// A row whose values of these types are canonical; what can't be of its type stays as it is. Numbers are read digit by
/// digit: JSON's own reader may take another one for the last.
pub fn spelled(text: &str, types: &BTreeMap<String, PropertyType>) -> String {
    let mut map = object(text);
    let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap_or_default();
    for (property, kind) in types {
        let Some(json) = map.get_mut(property) else {
            continue;
        };
        let held = match (&*json, raw.get(property)) {
            (Json::Number(_), Some(raw)) => Some(raw.get().to_owned()),
            _ => text_of(json),
        };
        let canonical = kind.canonical(held.as_deref()).map(Value::into_stored);
        *json = Json::from(canonical.unwrap_or(held));
    }
    Json::Object(map).to_string()
}

/// What a row held in one property, mapped or not, as text; `None` where it says nothing of it, within where it was empty.
pub fn text_in(text: &str, property: &str) -> Option<Option<String>> {
    object(text).get(property).map(text_of)
}

/// The mapped values of a row, canonical; a missing key is an empty value.
pub fn values(mapping: &ObjectMapping, text: &str) -> FieldValues {
    let map = object(text);
    let value = |name: &str| map.get(name).and_then(text_of);
    mapping
        .fields
        .iter()
        .map(|field| {
            let canonical = field
                .property_type
                .canonical(value(field.property.as_str()).as_deref());
            (field.property.clone(), canonical.unwrap_or_default())
        })
        .collect()
}

/// The version of the record that the row had.
pub fn modified_at(text: &str) -> Option<Timestamp> {
    object(text)
        .get("$hs_modified_at")
        .and_then(text_of)
        .as_deref()
        .and_then(Timestamp::parse)
}

/// The time of the record's creation that the row had.
pub fn created_at(text: &str) -> Option<Timestamp> {
    object(text)
        .get("$hs_created_at")
        .and_then(text_of)
        .as_deref()
        .and_then(Timestamp::parse)
}

/// A row with the times of the record that its create made; the version only where the row is what that shows.
pub fn with_times(text: &str, created_at: Timestamp, version: Option<Timestamp>) -> String {
    let mut map = object(text);
    let times = [
        ("$hs_created_at", Some(created_at)),
        ("$hs_modified_at", version),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            map.insert(name.to_owned(), Json::from(time.to_string()));
        }
    }
    Json::Object(map).to_string()
}

/// A row with the values that HubSpot gave its new record by itself, where the row has none and nobody wrote one.
pub fn with_defaults(
    mapping: &ObjectMapping,
    text: &str,
    record: &RemoteRecord,
    is_written: impl Fn(&PropertyName) -> bool,
) -> String {
    let own = values(mapping, text);
    let mut map = object(text);
    for (property, value) in record.values.iter() {
        let is_empty = own.get(property).is_none_or(Value::is_empty);
        if is_empty && !is_written(property) {
            let json = value.as_deref().map_or(Json::Null, Json::from);
            map.insert(property.as_str().to_owned(), json);
        }
    }
    Json::Object(map).to_string()
}

/// A record of HubSpot's as such a JSON, with the values that their columns can't hold.
pub fn of_record(record: &RemoteRecord) -> String {
    of_all(record.values.iter().chain(&record.invalid))
}

/// A deleted row with the values that its record has by now; the columns that the mapping does not know hold what they held.
pub fn with_record(mapping: &ObjectMapping, text: &str, record: &RemoteRecord) -> String {
    let mapped = |name: &str| {
        let mut fields = mapping.fields.iter();
        fields.any(|field| field.property.as_str() == name)
    };
    let mut map = object(text);
    map.retain(|name, _| !mapped(name) && (!name.starts_with('$') || name.contains(':')));
    map.extend(object(&of_record(record)));
    Json::Object(map).to_string()
}

/// Such a row under the names of its columns, as `sync_history` keeps it: also what columns hold that the mapping does not
/// know, without the row's times and number. A BLOB is `{"blob": "00FF"}`, a text that is no UTF-8 `{"text": "FFFE"}`.
pub fn by_column(mapping: &ObjectMapping, text: &str) -> String {
    let shown = |(name, value): (String, Json)| match name.strip_prefix('$') {
        Some(own) => {
            let (class, column) = own.split_once(':')?;
            Some((column.to_owned(), of_class(class, value)))
        }
        None => Some((column_of(mapping, &name).unwrap_or(name), value)),
    };
    Json::Object(object(text).into_iter().filter_map(shown).collect()).to_string()
}

/// A row by column whose columns have other names by now; `None` where it has none of them.
pub fn with_columns_renamed(text: &str, renamed: &BTreeMap<String, String>) -> Option<String> {
    let row = object(text);
    let named = |name: &String| renamed.contains_key(name);
    row.keys().any(named).then(|| {
        let row = row.into_iter().map(|(name, value)| {
            let name = renamed.get(&name).cloned().unwrap_or(name);
            (name, value)
        });
        Json::Object(row.collect()).to_string()
    })
}

/// The classes whose values stand there by their bytes.
pub const BY_BYTES: [&str; 2] = ["blob", "text"];

/// What a column of the user's own held; the digits of bytes name their class, since a text may look like them.
fn of_class(class: &str, value: Json) -> Json {
    match BY_BYTES.contains(&class) && !value.is_null() {
        true => Json::Object([(class.to_owned(), value)].into_iter().collect()),
        false => value,
    }
}

/// Such a row without these properties.
pub fn without(text: &str, properties: &BTreeSet<String>) -> String {
    let mut map = object(text);
    map.retain(|name, _| !properties.contains(name));
    Json::Object(map).to_string()
}

fn column_of(mapping: &ObjectMapping, property: &str) -> Option<String> {
    let mut fields = mapping.fields.iter();
    let field = fields.find(|field| field.property.as_str() == property)?;
    Some(field.column.to_string())
}

/// Values as such a JSON.
pub(crate) fn of_values(values: &FieldValues) -> String {
    of_all(values.iter())
}

/// Values as such a JSON, with those of columns that the mapping does not know; what is empty there is left out.
pub fn of_row(values: &FieldValues, others: Vec<(String, Value)>) -> String {
    let mut map = object(&of_values(values));
    for (name, value) in others {
        if let Some(text) = value.into_stored() {
            map.insert(name, Json::from(text));
        }
    }
    Json::Object(map).to_string()
}

fn of_all<'a>(values: impl Iterator<Item = (&'a PropertyName, &'a Value)>) -> String {
    let map: Map<String, Json> = values
        .map(|(property, value)| {
            (
                property.as_str().to_owned(),
                value.as_deref().map_or(Json::Null, Json::from),
            )
        })
        .collect();
    Json::Object(map).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_users_own_columns_stand_under_their_class_in_a_row_by_column() {
        let mapping = crate::testing::contacts().mapping().clone();
        let held = r#"{"city":"Lima","$local_id":1,"$blob:photo":"00FF","$text:odd":"FFFE","$column:alike":"00FF","$column:none":null,"$real:share":"0.1"}"#;
        assert_eq!(
            by_column(&mapping, held),
            r#"{"alike":"00FF","city":"Lima","none":null,"odd":{"text":"FFFE"},"photo":{"blob":"00FF"},"share":"0.1"}"#
        );
    }

    #[test]
    fn columns_that_swap_their_names_keep_their_values() {
        let renamed = [("a", "b"), ("b", "a"), ("c", "d")];
        let renamed = renamed
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .into();
        let check = |row: &str, expected: Option<&str>| {
            assert_eq!(
                with_columns_renamed(row, &renamed).as_deref(),
                expected,
                "{row}"
            );
        };
        check(
            r#"{"a":"1","b":"2","e":"3"}"#,
            Some(r#"{"a":"2","b":"1","e":"3"}"#),
        );
        check(r#"{"c":null}"#, Some(r#"{"d":null}"#));
        check(r#"{"e":"3"}"#, None);
        check("17", None);
    }

    #[test]
    fn what_columns_held_is_spelled_by_its_types_and_the_rest_stays() {
        let types = [
            ("flag", PropertyType::Bool),
            ("number", PropertyType::Number),
            ("digits", PropertyType::Number),
            ("moment", PropertyType::Datetime),
            ("empty", PropertyType::String),
            ("wrong", PropertyType::Date),
            ("missing", PropertyType::Integer),
        ];
        let types = types.map(|(name, kind)| (name.to_owned(), kind)).into();
        let held = r#"{"flag":1,"number":9.0,"digits":3.00000000000000044408e-01,"moment":"2026-11-24 03:10",
            "empty":"","wrong":"soon","other":7,"$local_id":1,"$real:own":"0.1"}"#;
        let spelled_once = spelled(held, &types);
        assert_eq!(
            spelled_once,
            r#"{"$local_id":1,"$real:own":"0.1","digits":"0.30000000000000004","empty":null,"flag":"true","moment":"2026-11-24T03:10:00.000Z","number":"9","other":7,"wrong":"soon"}"#
        );
        assert_eq!(spelled(&spelled_once, &types), spelled_once);
    }
}
