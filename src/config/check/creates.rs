//! A property's `create`: how HubSpot is to have it, where it has not. `properties apply` makes it, never the daemon.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::config::file::{KeyAndValue, TomlTable};
use crate::config::keys::{self, MADE_TYPES};
use crate::config::reader::Reader;
use crate::config::suggest;
use crate::decide::portal::wishes::{PropertyWish, WishedOption, is_made_name, wire_types};
use crate::model::mapping::FieldMapping;
use crate::model::name::ObjectType;
use crate::model::value::PropertyType;

/// Reads the `create` of a property that is mapped in long form.
pub(super) fn create(
    reader: &mut Reader<'_>,
    object: &KeyAndValue<'_>,
    property: &KeyAndValue<'_>,
    field: &FieldMapping,
) -> Option<PropertyWish> {
    if !Reader::is_table(property) {
        return None;
    }
    let entry = reader.free_table(property)?.get("create")?.clone();
    let table = reader.table(&entry, keys::CREATE)?;
    let types: Vec<(&str, PropertyType)> = MADE_TYPES
        .iter()
        .filter_map(|name| Some((*name, PropertyType::parse(name)?)))
        .collect();
    let label = needed(reader, &entry, &table, "label").and_then(|entry| reader.text(&entry));
    let kind = needed(reader, &entry, &table, "type")
        .and_then(|entry| reader.choice(&entry, "type", &types));
    let mut text = |name: &str| {
        let entry = table.get(name)?.clone();
        reader.text(&entry).map(str::to_owned)
    };
    let (field_type, group) = (text("field_type"), text("group"));
    let description = text("description").unwrap_or_default();
    check_made_name(
        reader,
        property.name,
        "a property",
        (&property.key_span, &property.path),
    );
    if let (Some(entry), Some(group)) = (table.get("group"), &group) {
        check_made_name(reader, group, "a group", (&entry.span, &entry.path));
    }
    if let (Some(entry), Some(kind), Some(field_type)) =
        (table.get("field_type"), kind, &field_type)
        && let (_, field_types) = wire_types(kind)
        && !field_types.contains(&field_type.as_str())
    {
        let message = format!("HubSpot has no property of type `{kind}` with this field_type");
        let hint = suggest::which(field_type, field_types);
        reader.error("contradiction", &entry.span, &entry.path, &message, &hint);
    }
    let options = table.get("options").cloned();
    let options = options.map(|entry| options_of(reader, &entry, kind));
    let unique = table.get("unique").cloned();
    let is_unique = unique.as_ref().and_then(|entry| reader.boolean(entry));
    if let (Some(entry), Some(true), Some(kind)) = (&unique, is_unique, kind)
        && !matches!(kind, PropertyType::String | PropertyType::Number)
    {
        let message = format!("HubSpot keeps no property of type `{kind}` unique");
        let hint = "take `unique` out; it is for `string` and `number`";
        reader.error("contradiction", &entry.span, &entry.path, &message, hint);
    } else if let (Some(entry), Some(true), Some("textarea")) =
        (&unique, is_unique, field_type.as_deref())
    {
        let message = "HubSpot keeps no text of several lines unique";
        let hint = "take `unique` out, or write `field_type = \"text\"`";
        reader.error("contradiction", &entry.span, &entry.path, message, hint);
    }
    let has_options = matches!(kind, Some(PropertyType::Enumeration | PropertyType::Set));
    if has_options && options.as_ref().is_none_or(Vec::is_empty) {
        let message = format!("`{}` has no options", entry.path);
        let hint = "write `options = [\"one\", \"two\"]`: HubSpot makes no such property without";
        reader.error("missing-key", &entry.key_span, &entry.path, &message, hint);
    }
    Some(PropertyWish {
        object: ObjectType::parse(object.name).ok()?,
        property: field.property.clone(),
        label: label?.to_owned(),
        kind: kind?,
        field_type,
        group,
        description,
        options: options.unwrap_or_default(),
        unique: is_unique.unwrap_or(false),
    })
}

/// HubSpot makes nothing under any other name.
fn check_made_name(
    reader: &mut Reader<'_>,
    name: &str,
    of: &str,
    (span, path): (&Range<usize>, &str),
) {
    if !is_made_name(name) {
        let message = format!("`{name}` can't be the name of {of} that HubSpot makes");
        let hint = "use lower case letters, digits and `_`, a letter first, 100 at most";
        reader.error("bad-name", span, path, &message, hint);
    }
}

/// A key that must be there.
fn needed<'t>(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'t>,
    name: &str,
) -> Option<KeyAndValue<'t>> {
    if let Some(found) = table.get(name) {
        return Some(found.clone());
    }
    let message = format!("`{}` has no `{name}`", entry.path);
    let hint = format!("write `{name}`: HubSpot makes no property without");
    reader.error("missing-key", &entry.key_span, &entry.path, &message, &hint);
    None
}

fn options_of(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    kind: Option<PropertyType>,
) -> Vec<WishedOption> {
    if let Some(kind) = kind
        && !matches!(kind, PropertyType::Enumeration | PropertyType::Set)
    {
        let message = format!("a property of type `{kind}` has no options");
        let hint = "take `options` out, or write `type = \"enumeration\"`";
        reader.error("contradiction", &entry.span, &entry.path, &message, hint);
    }
    let mut seen = BTreeSet::new();
    let mut options = Vec::new();
    for element in reader.list(entry).unwrap_or_default() {
        let Some(option) = option(reader, &element) else {
            continue;
        };
        // A set's values stand in one text, with semicolons between them.
        let is_value = !option.value.is_empty() && !option.value.contains(';');
        if !is_value || !seen.insert(option.value.clone()) {
            let message = format!("`{}` can't be an option's value here", option.value);
            let hint = "write each value once, with something in it and without `;`";
            reader.error("bad-value", &element.span, &element.path, &message, hint);
        }
        options.push(option);
    }
    options
}

fn option(reader: &mut Reader<'_>, element: &KeyAndValue<'_>) -> Option<WishedOption> {
    if !Reader::is_table(element) {
        let value = reader.text(element)?.to_owned();
        return Some(WishedOption {
            label: value.clone(),
            value,
        });
    }
    let table = reader.table(element, keys::OPTION)?;
    let value = needed(reader, element, &table, "value")?;
    let value = reader.text(&value)?.to_owned();
    let label = table.get("label").cloned();
    let label = label.and_then(|entry| reader.text(&entry).map(str::to_owned));
    Some(WishedOption {
        label: label.unwrap_or_else(|| value.clone()),
        value,
    })
}
