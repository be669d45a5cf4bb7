//! serde types exactly as HubSpot sends them; they never leave `hubspot/`.
//!
//! Lenient where HubSpot is (`hubspot/api-facts.md#1`): unknown fields are ignored, ids are texts or numbers, times
//! have any number of digits, values of properties may come as numbers. Each element of a list is read by itself.

mod elements;
mod mend;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

pub(super) use elements::Elements;
pub(super) use mend::mend;

use crate::model::id::HubspotId;
use crate::model::time::Timestamp;

/// Reads JSON: as it stands, and where that fails with its texts mended.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    // Reading from a `str` is a quarter faster (notes, 5.2).
    let as_it_stands = std::str::from_utf8(body).map(serde_json::from_str);
    match as_it_stands {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(_)) | Err(_) => serde_json::from_str(&mend(body)),
    }
}

/// A field that decides nothing: one that can't be read is none.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(read::<Option<T>>(text.get().as_bytes()).unwrap_or_default())
}

/// An id, text or number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) i64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an id as text or number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                let id = text.trim().parse();
                id.map(Id)
                    .map_err(|error: std::num::ParseIntError| E::custom(error))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
                let id = i64::try_from(number);
                id.map(Id)
                    .map_err(|error: std::num::TryFromIntError| E::custom(error))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id(number))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// A value as text, whatever JSON it came as; `None` for null and for what is no scalar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scalar(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Text::deserialize(deserializer)? {
            Text::Plain(text) => Self(text),
            Text::Odd(_) => Self(None),
        })
    }
}

/// A value as text where that would be taken for "no value": what is no scalar can't be read.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
    match Text::deserialize(deserializer)? {
        Text::Plain(text) => Ok(Scalar(text)),
        Text::Odd(_) => Err(D::Error::custom("a value that is no scalar")),
    }
}

/// A value as an answer holds it.
enum Text {
    /// A text, number, boolean or null.
    Plain(Option<String>),
    /// The JSON of anything else: it says something, and nobody knows what.
    Odd(String),
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text, number, boolean or null")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::Plain(Some(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
                Ok(Text::Plain(Some(text)))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
                Ok(Text::Plain(Some(value.to_string())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text::Plain(Some(number.to_string())))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text::Plain(Some(number.to_string())))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text::Plain(Some(number.to_string())))
            }

            fn visit_unit<E: Error>(self) -> Result<Text, E> {
                Ok(Text::Plain(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Text, A::Error> {
                let list = serde_json::Value::deserialize(SeqAccessDeserializer::new(sequence))?;
                Ok(Text::Odd(list.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                let map = serde_json::Value::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Text::Odd(map.to_string()))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A moment: ISO 8601, or milliseconds as number or text.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireMoment(pub(super) Timestamp);

impl<'de> Deserialize<'de> for WireMoment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MomentVisitor;
        impl Visitor<'_> for MomentVisitor {
            type Value = WireMoment;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<WireMoment, E> {
                let milliseconds = || text.trim().parse().ok().map(Timestamp::from_millis);
                let moment = Timestamp::parse(text).or_else(milliseconds);
                moment
                    .map(WireMoment)
                    .ok_or_else(|| E::custom("a time in no known form"))
            }

            fn visit_i64<E: Error>(self, milliseconds: i64) -> Result<WireMoment, E> {
                Ok(WireMoment(Timestamp::from_millis(milliseconds)))
            }

            fn visit_u64<E: Error>(self, milliseconds: u64) -> Result<WireMoment, E> {
                let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
                Ok(WireMoment(Timestamp::from_millis(milliseconds)))
            }
        }
        deserializer.deserialize_any(MomentVisitor)
    }
}

/// Properties by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Properties {
    /// Values as text.
    pub(super) texts: BTreeMap<String, Option<String>>,
    /// The JSON of those that are no scalar.
    pub(super) odd: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PropertiesVisitor;
        impl<'de> Visitor<'de> for PropertiesVisitor {
            type Value = Properties;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = Properties::default();
                while let Some((name, value)) = map.next_entry::<String, Text>()? {
                    match value {
                        Text::Plain(text) => drop(properties.texts.insert(name, text)),
                        Text::Odd(json) => drop(properties.odd.insert(name, json)),
                    }
                }
                Ok(properties)
            }
        }
        deserializer.deserialize_map(PropertiesVisitor)
    }
}

/// `propertiesWithHistory`: values of one property, the newest first.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryValue {
    #[serde(default, deserialize_with = "scalar")]
    pub(super) value: Scalar,
    pub(super) timestamp: WireMoment,
    #[serde(default)]
    pub(super) source_type: Scalar,
    #[serde(default)]
    pub(super) source_id: Scalar,
}

/// A record of an answer to a read: one without properties says nothing, and is not an empty one.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Record);

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let record = Record::deserialize(deserializer)?;
        match record.properties {
            Some(_) => Ok(Self(record)),
            None => Err(D::Error::missing_field("properties")),
        }
    }
}

/// A record of an answer to a write: it says that the write was done, whatever else it shows.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) id: Id,
    pub(super) properties: Option<Properties>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<WireMoment>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) updated_at: Option<WireMoment>,
    /// Taken for another one, a record would be removed or would come back: one that can't be read is no record.
    #[serde(default)]
    pub(super) archived: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived_at: Option<WireMoment>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) new: Option<bool>,
    #[serde(default)]
    pub(super) object_write_trace_id: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) properties_with_history: Option<BTreeMap<String, Elements<HistoryValue>>>,
}

/// `paging`; absent on the last page.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Paging {
    pub(super) next: Option<NextPage>,
}

/// `paging.next`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct NextPage {
    #[serde(default)]
    pub(super) after: Scalar,
}

/// A page of a list or a search, and every answer that is a bare list.
#[derive(Debug, serde::Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
pub(super) struct Page<T> {
    pub(super) results: Elements<T>,
    pub(super) paging: Option<Paging>,
    /// Searches only.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) total: Option<u64>,
}

impl<T> Page<T> {
    /// Where the next page begins.
    pub(super) fn after(&self) -> Option<String> {
        self.paging.as_ref()?.next.as_ref()?.after.0.clone()
    }
}

/// A batch's answer, 200, 201 and 207 alike.
#[derive(Debug, serde::Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
pub(super) struct Batch<T> {
    pub(super) results: Elements<T>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) errors: Option<Elements<serde_json::Value>>,
}

/// A record that an answer names by its id alone.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Named {
    pub(super) id: Id,
}

/// A page of one record's associations.
#[derive(Debug, serde::Deserialize)]
pub(super) struct RecordLinks {
    pub(super) from: Named,
    pub(super) to: Elements<Link>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) paging: Option<Paging>,
}

impl RecordLinks {
    /// Whether nothing of the page is beyond reading.
    pub(super) fn is_whole(&self) -> bool {
        let links = self.to.read.iter();
        self.to.are_whole()
            && links
                .map(|link| &link.association_types)
                .all(Elements::are_whole)
    }
}

/// An associated record, and by which types.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    pub(super) to_object_id: Id,
    pub(super) association_types: Elements<LinkType>,
}

/// A type of associations.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkType {
    pub(super) category: String,
    pub(super) type_id: Id,
    #[serde(default)]
    pub(super) label: Scalar,
}

/// A type of associations that the portal limits.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkLimit {
    pub(super) category: String,
    pub(super) type_id: Id,
    #[serde(default)]
    pub(super) user_enforced_max_to_object_ids: Option<u32>,
}

/// A pair that was associated by its default type, or its inverse.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DefaultLink {
    pub(super) from: Named,
    pub(super) to: Named,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) association_spec: Option<LinkSpec>,
}

/// A type as an association's own answer spells it.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkSpec {
    pub(super) association_category: String,
    pub(super) association_type_id: Id,
}

/// A pair that was associated by types.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LabelledPair {
    pub(super) from_object_id: Id,
    pub(super) to_object_id: Id,
}

/// What an archive of associations says where it says anything.
#[derive(Debug, serde::Deserialize)]
pub(super) struct LinksArchived {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) errors: Option<Elements<serde_json::Value>>,
}

/// A property's definition.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Property {
    pub(super) name: String,
    #[serde(default)]
    pub(super) label: Scalar,
    #[serde(rename = "type", default)]
    pub(super) kind: Scalar,
    #[serde(default)]
    pub(super) field_type: Scalar,
    #[serde(default)]
    pub(super) group_name: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) has_unique_value: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) hidden: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) calculated: Option<bool>,
    #[serde(default)]
    pub(super) referenced_object_type: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) options: Option<Elements<PropertyOption>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) hubspot_defined: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) modification_metadata: Option<ModificationMetadata>,
}

/// A custom object.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Schema {
    pub(super) object_type_id: String,
    #[serde(default)]
    pub(super) fully_qualified_name: Scalar,
    #[serde(default)]
    pub(super) name: Scalar,
    #[serde(default)]
    pub(super) primary_display_property: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) secondary_display_properties: Option<Vec<Scalar>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) required_properties: Option<Vec<Scalar>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: Option<bool>,
}

/// An option of an enumeration.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PropertyOption {
    #[serde(default)]
    pub(super) value: Scalar,
    #[serde(default)]
    pub(super) label: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) display_order: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) hidden: Option<bool>,
    #[serde(default)]
    pub(super) description: Scalar,
}

/// What may be changed about a property.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModificationMetadata {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) read_only_value: Option<bool>,
}

/// A group that properties stand in.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Group {
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: Option<bool>,
}

/// An owner.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    pub(super) id: Id,
    #[serde(default)]
    pub(super) email: Scalar,
    #[serde(default)]
    pub(super) first_name: Scalar,
    #[serde(default)]
    pub(super) last_name: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) user_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: Option<bool>,
}

/// A pipeline.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pipeline {
    #[serde(default)]
    pub(super) id: Scalar,
    #[serde(default)]
    pub(super) label: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) display_order: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) stages: Option<Elements<Stage>>,
}

/// A stage of a pipeline.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stage {
    #[serde(default)]
    pub(super) id: Scalar,
    #[serde(default)]
    pub(super) label: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) display_order: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) metadata: Option<Properties>,
}

/// The account.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    pub(super) portal_id: Id,
    #[serde(default)]
    pub(super) time_zone: Scalar,
    #[serde(rename = "accountType", default)]
    pub(super) kind: Scalar,
}

impl Record {
    /// The record's own id.
    pub(super) fn hubspot_id(&self) -> HubspotId {
        HubspotId(self.id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_texts_or_numbers() {
        for (json, id) in [
            ("\"57156923994\"", 57_156_923_994),
            ("7", 7),
            ("\" 8 \"", 8),
        ] {
            assert_eq!(serde_json::from_str::<Id>(json).expect(json).0, id);
        }
        for json in ["\"x\"", "null", "18446744073709551615", "1.5", "[]"] {
            assert!(serde_json::from_str::<Id>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn values_are_texts_whatever_they_came_as() {
        let json =
            r#"{"a":"x","b":null,"c":42,"d":true,"e":1.5,"f":{"g":[1]},"h":[1,{"i":2}],"j":-3}"#;
        let properties = serde_json::from_str::<Properties>(json).expect("an object");
        let texts: Vec<_> = properties
            .texts
            .values()
            .map(|value| value.as_deref().unwrap_or("-"))
            .collect();
        assert_eq!(texts, ["x", "-", "42", "true", "1.5", "-3"]);
        assert_eq!(properties.odd["f"], r#"{"g":[1]}"#);
        assert_eq!(properties.odd["h"], r#"[1,{"i":2}]"#);
        let scalar = |json: &str| serde_json::from_str::<Scalar>(json).expect("whatever").0;
        assert_eq!((scalar("[1]"), scalar("{}")), (None, None));
    }

    #[test]
    fn a_record_without_properties_is_no_empty_one_where_it_is_read() {
        for (json, is_shown) in [
            (r#"{"id":"1","properties":{}}"#, true),
            (r#"{"id":"1","properties":null}"#, false),
            (r#"{"id":"1","properties":[]}"#, false),
            (r#"{"id":"1"}"#, false),
        ] {
            assert_eq!(
                serde_json::from_str::<Shown>(json).is_ok(),
                is_shown,
                "{json}"
            );
        }
        assert!(serde_json::from_str::<Record>(r#"{"id":"1"}"#).is_ok());
    }

    #[test]
    fn times_have_any_number_of_digits() {
        for json in [
            "\"2026-09-11T13:27:39.350Z\"",
            "\"2026-09-11T13:27:39.35Z\"",
            "\"2026-09-11T13:27:39.350000000Z\"",
            "\"1789133259350\"",
            "1789133259350",
        ] {
            let moment = serde_json::from_str::<WireMoment>(json).expect(json);
            assert_eq!(moment.0.to_string(), "2026-09-11T13:27:39.350Z", "{json}");
        }
        assert!(serde_json::from_str::<WireMoment>("\"soon\"").is_err());
    }
}
