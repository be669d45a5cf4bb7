//! `[objects.NAME.properties]`: which property meets which column.

use std::collections::BTreeMap;

use crate::config::check::creates;
use crate::config::check::values::{DIRECTIONS, POLICIES, WRITE_MODES};
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::suggest::which;
use crate::model::mapping::{Direction, FieldMapping, FieldModes, OWN_KEY, Policy, WriteMode};
use crate::model::name::{ColumnName, MAX_COLUMNS, OWN_COLUMNS, PropertyName};
use crate::model::object::StandardObject;
use crate::model::value::PropertyType;

/// What people write for a type, and its name here.
const OTHER_TYPE_NAMES: [(&str, &str); 9] = [
    ("boolean", "bool"),
    ("text", "string"),
    ("varchar", "string"),
    ("int", "integer"),
    ("bigint", "integer"),
    ("float", "number"),
    ("real", "number"),
    ("timestamp", "datetime"),
    ("checkbox", "set"),
];

/// The mapped properties of an object in the file's order, or the standard ones.
pub(super) fn fields(
    reader: &mut Reader<'_>,
    object: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
    direction: Direction,
    policy: Policy,
) -> Vec<FieldMapping> {
    let Some(entry) = table.get("properties").cloned() else {
        return standard_fields(reader, object, direction, policy);
    };
    let entries = reader.free_table(&entry).map(|table| table.entries);
    if entries.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("no property of `{}` is mapped", object.name);
        let hint =
            "add one, as in `email = \"email\"`; without the table the standard ones are mapped";
        reader.error("empty", &entry.key_span, &entry.path, &message, hint);
    }
    let most = MAX_COLUMNS - OWN_COLUMNS.len();
    if let Some(entries) = entries.as_ref().filter(|entries| entries.len() > most) {
        let message = format!(
            "`{}` has {} properties, and a table in SQLite at most {most} beside its own columns",
            object.name,
            entries.len()
        );
        let hint = "map fewer properties";
        reader.error(
            "too-many-columns",
            &entry.key_span,
            &entry.path,
            &message,
            hint,
        );
    }
    let mut columns = BTreeMap::new();
    let mut fields = Vec::new();
    for entry in entries.unwrap_or_default() {
        if let Some((mut field, column)) = field(reader, &entry, direction, policy) {
            one_column_each(reader, &column, &field, &mut columns);
            if let Some(wish) = creates::create(reader, object, &entry, &field) {
                // Until HubSpot has the property and says otherwise, it is what it is to be.
                field.property_type = field.declared_type.unwrap_or(wish.kind);
                reader.creates.push(wish);
            }
            show_field(reader, &entry, &field);
            fields.push(field);
        }
    }
    fields
}

fn standard_fields(
    reader: &mut Reader<'_>,
    object: &KeyAndValue<'_>,
    direction: Direction,
    policy: Policy,
) -> Vec<FieldMapping> {
    let path = join(&object.path, "properties");
    let Some(standard) = StandardObject::of(object.name) else {
        let shown = "those that the portal made for it, and those that its schema names";
        reader.show(&path, shown, SettingOrigin::Default);
        return Vec::new();
    };
    let properties = standard.properties;
    for property in properties {
        reader.show(
            &join(&path, property),
            &format!("\"{property}\""),
            SettingOrigin::Default,
        );
    }
    let field = |name: &&str| FieldMapping {
        property: PropertyName::parse(name).expect("standard names are names"),
        column: ColumnName::parse(name).expect("standard names are free as columns"),
        declared_type: None,
        property_type: PropertyType::String,
        direction,
        policy,
        modes: FieldModes::default(),
    };
    properties.iter().map(field).collect()
}

/// One property, and the entry that names its column.
fn field<'t>(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'t>,
    object: Direction,
    above: Policy,
) -> Option<(FieldMapping, KeyAndValue<'t>)> {
    let property = property_name(reader, entry);
    let long = if Reader::is_table(entry) {
        reader.table(entry, keys::PROPERTY)
    } else {
        None
    };
    let column_entry = match &long {
        Some(table) => table.get("column").cloned(),
        None => Some(entry.clone()),
    };
    let own_key = entry.at_key();
    let column = match &column_entry {
        Some(column) => reader
            .text(column)
            .and_then(|text| column_name(reader, column, text)),
        None => column_name(reader, &own_key, entry.name),
    };
    let options = long.map_or(Some(Options::plain(object, above)), |table| {
        options(reader, &table, object, above)
    });
    let (property, column, options) = (property?, column?, options?);
    if property.as_str() == OWN_KEY && options.direction.pushes() {
        let message = format!("`{OWN_KEY}` is hubsyncd's own: it marks the records that it made");
        reader.error(
            "reserved",
            &entry.key_span,
            &entry.path,
            &message,
            "take it out, or write `direction = \"pull\"`",
        );
        return None;
    }
    let field = FieldMapping {
        property,
        column,
        declared_type: options.declared_type,
        property_type: options.declared_type.unwrap_or(PropertyType::String),
        direction: options.direction,
        policy: options.policy,
        modes: options.modes,
    };
    Some((field, column_entry.unwrap_or(own_key)))
}

fn property_name(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<PropertyName> {
    let key = entry.at_key();
    let hint = "write the property's internal name, as HubSpot's property settings show it";
    reader.name(
        &key,
        PropertyName::parse(entry.name),
        "the property's name",
        hint,
    )
}

fn column_name(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>, name: &str) -> Option<ColumnName> {
    let hint = "write another column, of letters, digits and `_`";
    reader.name(entry, ColumnName::parse(name), "the column's name", hint)
}

/// What the long form of a property says besides its column.
struct Options {
    declared_type: Option<PropertyType>,
    direction: Direction,
    policy: Policy,
    modes: FieldModes,
}

impl Options {
    fn plain(direction: Direction, policy: Policy) -> Self {
        Self {
            declared_type: None,
            direction,
            policy,
            modes: FieldModes::default(),
        }
    }
}

fn options(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    object: Direction,
    above: Policy,
) -> Option<Options> {
    let declared_type = table
        .get("type")
        .and_then(|entry| property_type(reader, entry));
    let direction = match table.get("direction") {
        Some(entry) => {
            let own = reader.choice(entry, "direction", &DIRECTIONS);
            own.and_then(|own| narrow(reader, entry, object, own))
        }
        None => Some(object),
    };
    let own_policy = table.get("conflict").and_then(|entry| {
        // Of a direction that is wrong itself nothing follows.
        policy(
            reader,
            entry,
            direction.unwrap_or(Direction::Both),
            "property",
        )
    });
    let flag = |reader: &mut Reader<'_>, key: &str| {
        let entry = table.get(key)?;
        reader.boolean(entry)
    };
    let plain = FieldModes::default();
    let modes = FieldModes {
        write: write_mode(reader, table, direction, declared_type).unwrap_or_default(),
        history: flag(reader, "history").unwrap_or(plain.history),
        remote_history: flag(reader, "remote_history").unwrap_or(plain.remote_history),
        ..plain
    };
    Some(Options {
        declared_type,
        direction: direction?,
        policy: own_policy.unwrap_or(above),
        modes,
    })
}

/// How a property is written. It is decided before any conflict, so that a policy beside it would never be asked.
fn write_mode(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    direction: Option<Direction>,
    declared_type: Option<PropertyType>,
) -> Option<WriteMode> {
    let entry = table.get("write")?;
    let mode = reader.choice(entry, "way of writing", &WRITE_MODES)?;
    let mut refuse = |code, message: &str, hint: &str| {
        reader.error(code, &entry.span, &entry.path, message, hint);
    };
    if let Some(one_way) = direction.filter(|direction| *direction != Direction::Both) {
        let message = format!(
            "this property only flows one way (`{}`), so there is nothing to say of how it is written",
            one_way.as_str()
        );
        let hint = "take `write` out, or make the direction `both`";
        refuse("one-way-write", &message, hint);
        return None;
    }
    if let Some(kind) = declared_type.filter(|kind| *kind != PropertyType::Set)
        && mode == WriteMode::Append
    {
        let message = format!("`append` adds to a set, and this property is of type `{kind}`");
        let hint = "write `type = \"set\"` for a checkbox property, or `replace` or `if_empty`";
        refuse("append-to-no-set", &message, hint);
        return None;
    }
    if mode != WriteMode::Replace && table.get("conflict").is_some() {
        let message = format!(
            "with `write = \"{}\"` the property never comes to a conflict, so it can have no policy",
            mode.as_str()
        );
        refuse(
            "policy-never-asked",
            &message,
            "take `conflict` or `write` out",
        );
        return None;
    }
    Some(mode)
}

fn property_type(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<PropertyType> {
    let text = reader.text(entry)?;
    if let Some(found) = PropertyType::parse(text) {
        return Some(found);
    }
    let other = OTHER_TYPE_NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    let hint = match other {
        Some((_, name)) => format!("write `{name}`"),
        None => which(text, &PropertyType::ALL.map(PropertyType::as_str)),
    };
    let message = format!("unknown type `{text}` for `{}`", entry.path);
    reader.error("unknown-value", &entry.span, &entry.path, &message, &hint);
    None
}

fn narrow(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    object: Direction,
    own: Direction,
) -> Option<Direction> {
    let narrowed = object.narrow(own);
    if narrowed.is_none() {
        let (object, own) = (object.as_str(), own.as_str());
        let message = format!("a property of an object that is `{object}` can't be `{own}`");
        let hint = format!("write `{object}`, or make the object's direction `both`");
        reader.error(
            "opposite-directions",
            &entry.span,
            &entry.path,
            &message,
            &hint,
        );
    }
    narrowed
}

/// A policy; what flows one way has no conflicts and so can have none.
pub(super) fn policy(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    direction: Direction,
    what: &str,
) -> Option<Policy> {
    let policy = reader.choice(entry, "policy", &POLICIES)?;
    if direction != Direction::Both {
        let message = format!(
            "this {what} only flows one way (`{}`), so it can have no policy",
            direction.as_str()
        );
        let hint = "take `conflict` out, or make the direction `both`";
        reader.error("one-way-policy", &entry.span, &entry.path, &message, hint);
        return None;
    }
    Some(policy)
}

/// SQLite doesn't tell `Email` from `email`.
fn one_column_each(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    field: &FieldMapping,
    columns: &mut BTreeMap<String, PropertyName>,
) {
    let lower = field.column.as_str().to_ascii_lowercase();
    let other = columns.insert(lower, field.property.clone());
    if let Some(other) = other {
        let message = format!(
            "`{other}` and `{}` both go to column `{}`",
            field.property, field.column
        );
        let hint = format!("give `{}` a column of its own", field.property);
        reader.error(
            "duplicate-column",
            &entry.span,
            &entry.path,
            &message,
            &hint,
        );
    }
}

fn show_field(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>, field: &FieldMapping) {
    let (line, _) = reader.source.position(entry.key_span.start);
    let kind = field
        .declared_type
        .map_or(String::new(), |kind| format!(", type = \"{kind}\""));
    let modes = field.modes;
    let mut rest = match (field.direction, modes.write) {
        (Direction::Both, WriteMode::Replace) => {
            format!(", conflict = \"{}\"", field.policy.as_str())
        }
        (Direction::Both, mode) => format!(", write = \"{}\"", mode.as_str()),
        (Direction::Pull | Direction::Push, _) => String::new(),
    };
    if !modes.history {
        rest.push_str(", history = false");
    }
    if modes.remote_history {
        rest.push_str(", remote_history = true");
    }
    let direction = field.direction.as_str();
    let value = format!(
        "{{ column = \"{}\"{kind}, direction = \"{direction}\"{rest} }}",
        field.column
    );
    reader.show(&entry.path, &value, SettingOrigin::File { line });
}
