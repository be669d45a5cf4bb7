//! The JSON Schema of the mapping file (`check --schema`): editors complete and explain the file by it. It says no more than
//! `check` does, which also knows what goes with what.

use serde_json::{Map, Value, json};

use crate::config::keys::{MUST_BE_WRITTEN, MappingKey, ROOT_KEYS, ValueShape};

/// Whole numbers up to here have no bound of their own.
const UNBOUNDED: u64 = u64::MAX >> 1;

/// The whole schema.
pub(crate) fn json_schema() -> Value {
    let mut schema = of_table(ROOT_KEYS);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "hubsyncd's mapping file".into();
    schema["required"] = json!(["objects"]);
    schema["properties"]["objects"]["minProperties"] = 1.into();
    schema
}

fn of_table(keys: &[MappingKey]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        if matches!(key.shape, ValueShape::Reserved) {
            continue;
        }
        let mut schema = of_shape(key.shape);
        schema["description"] = described(key).into();
        if let Some(default) = default_of(key) {
            schema["default"] = default;
        }
        properties.insert(key.name.to_owned(), schema);
        if key.default == MUST_BE_WRITTEN {
            required.push(key.name);
        }
    }
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn of_shape(shape: ValueShape) -> Value {
    match shape {
        ValueShape::Text | ValueShape::Rhythm => json!({ "type": "string" }),
        ValueShape::Flag => json!({ "type": "boolean" }),
        ValueShape::Whole(least, UNBOUNDED) => json!({ "type": "integer", "minimum": least }),
        ValueShape::Whole(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        ValueShape::Number(least, most) => {
            json!({ "type": "number", "minimum": least, "maximum": most })
        }
        ValueShape::Time => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        ValueShape::Size => {
            json!({ "type": "string", "pattern": "^[0-9]+(([kKmMgG][iI]?)?[bB])?$" })
        }
        ValueShape::OneOf(words) => json!({ "type": "string", "enum": words }),
        ValueShape::AnyOf(shapes) => {
            let shapes: Vec<Value> = shapes.iter().map(|shape| of_shape(*shape)).collect();
            json!({ "anyOf": shapes })
        }
        ValueShape::List(of) => json!({ "type": "array", "items": of_shape(*of) }),
        ValueShape::Table(keys) => of_table(keys),
        ValueShape::Named(of) => json!({ "type": "object", "additionalProperties": of_shape(*of) }),
        ValueShape::Reserved => Value::Bool(false),
    }
}

/// What an editor shows of a key.
fn described(key: &MappingKey) -> String {
    match (key.default, default_of(key)) {
        ("" | "none" | MUST_BE_WRITTEN, _) | (_, Some(_)) => key.meaning.to_owned(),
        (default, None) => format!("{} (default: {default})", key.meaning),
    }
}

/// The default as a value, where it is one.
fn default_of(key: &MappingKey) -> Option<Value> {
    let written = key.default.strip_prefix('`')?.strip_suffix('`')?;
    let table: toml::Table = toml::from_str(&format!("value = {written}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::check::check_bytes;
    use crate::config::keys;
    use crate::model::value::PropertyType;

    const EXAMPLE: &str = include_str!("../../config.example.toml");
    const MANUAL: &str = include_str!("../../docs/configuration.md");

    /// What a value breaks of a schema: as much of JSON Schema as ours uses.
    fn broken(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        let mut note = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("{path}: {what}"));
            }
        };
        if let Some(any) = schema["anyOf"].as_array() {
            let fits = |one: &Value| {
                let mut inner = Vec::new();
                broken(one, value, path, &mut inner);
                inner.is_empty()
            };
            note(any.iter().any(fits), "anyOf");
            return;
        }
        let is_of_type = match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_u64(),
            Some("number") => value.is_number(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some(_) | None => false,
        };
        note(is_of_type, "type");
        if let Some(words) = schema["enum"].as_array() {
            note(words.contains(value), "enum");
        }
        if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64()) {
            note(number >= least, "minimum");
        }
        if let (Some(most), Some(number)) = (schema["maximum"].as_f64(), value.as_f64()) {
            note(number <= most, "maximum");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            note(value.get(name).is_some(), "required");
        }
        for element in value.as_array().into_iter().flatten() {
            broken(&schema["items"], element, path, found);
        }
        for (name, inner) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            match (
                schema["properties"].get(name),
                &schema["additionalProperties"],
            ) {
                (Some(own), _) => broken(own, inner, &path, found),
                (None, others) if others.is_object() => broken(others, inner, &path, found),
                (None, _) => found.push(format!("{path}: unknown")),
            }
        }
    }

    fn breaks(text: &str) -> Vec<String> {
        let table: toml::Table = toml::from_str(text).expect(text);
        let value = serde_json::to_value(table).expect("it has a JSON form");
        let mut found = Vec::new();
        broken(&json_schema(), &value, "", &mut found);
        found
    }

    /// The mistakes that `check` finds of a word that it does not know.
    fn unknown_words(text: &str) -> usize {
        let checked = check_bytes(Path::new("config.toml"), text.as_bytes().to_vec());
        let problems = checked.report.problems.iter();
        problems
            .filter(|problem| problem.code == "unknown-value")
            .count()
    }

    #[test]
    fn what_check_takes_the_schema_takes_and_its_slips_it_finds() {
        assert_eq!(breaks(EXAMPLE), Vec::<String>::new());
        for (text, broken) in [
            (
                "[objects.contacts]\ntabel = \"x\"",
                ".objects.contacts.tabel: unknown",
            ),
            (
                "[portal]\ntier = \"gold\"\n[objects.contacts]",
                ".portal.tier: enum",
            ),
            (
                "[limits]\nper_second = 0.0\n[objects.contacts]",
                ".limits.per_second: minimum",
            ),
            ("[portal]", ": required"),
            (
                "[associations]\na = { from = \"x\" }\n[objects.x]",
                ".associations.a: required",
            ),
            (
                "[objects.x.properties]\na = 1",
                ".objects.x.properties.a: anyOf",
            ),
        ] {
            assert_eq!(breaks(text), [broken], "{text}");
        }
    }

    #[test]
    fn the_words_of_the_schema_are_those_of_check() {
        assert_eq!(
            keys::PROPERTY_KEYS
                .iter()
                .find_map(|key| match (key.name, key.shape) {
                    ("type", ValueShape::OneOf(words)) => Some(words.to_vec()),
                    _ => None,
                }),
            Some(PropertyType::ALL.map(PropertyType::as_str).to_vec())
        );
        let mut tried = 0;
        for (section, keys) in [
            ("[portal]", keys::PORTAL_KEYS),
            ("[auth]", keys::AUTH_KEYS),
            ("[conflicts]", keys::CONFLICTS_KEYS),
            ("[log]", keys::LOG_KEYS),
            ("[objects.contacts]", keys::OBJECT_KEYS),
            ("[objects.contacts.properties.email]", keys::PROPERTY_KEYS),
            ("[associations.pair]", keys::ASSOCIATION_KEYS),
        ] {
            for key in keys {
                let ValueShape::OneOf(words) = key.shape else {
                    continue;
                };
                let with = |word: &str| {
                    let rest = match section {
                        "[objects.contacts]" => "",
                        _ => "[objects.contacts]\n",
                    };
                    unknown_words(&format!("{rest}{section}\n{} = \"{word}\"\n", key.name))
                };
                for word in words {
                    assert_eq!(with(word), 0, "{section} {} = {word}", key.name);
                    tried += 1;
                }
                assert_eq!(with("nonsense"), 1, "{section} {}", key.name);
            }
        }
        assert!(tried > 30, "{tried}");
    }

    #[test]
    fn the_manuals_tables_are_those_of_the_keys() {
        for keys in [
            keys::PORTAL_KEYS,
            keys::AUTH_KEYS,
            keys::OAUTH_KEYS,
            keys::DATABASE_KEYS,
            keys::LIMITS_KEYS,
            keys::SCHEDULE_KEYS,
            keys::WEBHOOKS_KEYS,
            keys::HTTP_KEYS,
            keys::CONFLICTS_KEYS,
            keys::LOG_KEYS,
            keys::OBJECT_KEYS,
            keys::PROPERTY_KEYS,
            keys::CREATE_KEYS,
            keys::ASSOCIATION_KEYS,
            keys::GUARD_KEYS,
            keys::RETENTION_KEYS,
        ] {
            let table = keys::manual_table(keys);
            assert!(
                MANUAL.contains(&table),
                "docs/configuration.md lacks this table:\n{table}"
            );
        }
    }

    #[test]
    fn the_schema_reads_as_it_should() {
        let text = serde_json::to_string_pretty(&json_schema()).expect("JSON");
        insta::assert_snapshot!(text);
    }
}
