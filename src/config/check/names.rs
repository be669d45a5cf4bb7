//! Which of HubSpot's objects a table of `[objects]` is about, and what its own table is called.

use crate::config::check::values::DIRECTIONS;
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::suggest::nearest;
use crate::model::mapping::Direction;
use crate::model::name::{ObjectType, TableName};
use crate::model::object::{STANDARD_OBJECTS, StandardObject};

/// A shorter name may be anything's.
const SHORTEST_SLIP: usize = 6;

/// An object by the names that the file gives it.
pub(super) struct ObjectNames {
    /// The key.
    pub(super) object: ObjectType,
    /// What HubSpot is asked for, where that is another word.
    pub(super) address: Option<ObjectType>,
}

/// The object's names: a standard one has its plural, any other is the portal's own affair.
pub(super) fn named(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
) -> Option<ObjectNames> {
    let hint = "write HubSpot's plural name, as `contacts`, or a custom object's name or object type id, as `\"2-2000001\"`";
    let key = entry.at_key();
    let parsed = ObjectType::parse(entry.name);
    let object = reader.name(&key, parsed, "the object's name", hint)?;
    let written = table.get("object").cloned();
    let address = match &written {
        Some(written) => {
            let text = reader.text(written)?;
            let parsed = ObjectType::parse(text);
            Some(reader.name(written, parsed, "the object's name", hint)?)
        }
        None => None,
    };
    if let Some(standard) = StandardObject::spelled(entry.name) {
        if standard.name != entry.name {
            let message = format!("`{}` is `{}`", entry.name, standard.name);
            let hint = format!("write `[objects.{}]`", standard.name);
            reader.error("object-name", &entry.key_span, &entry.path, &message, &hint);
            return None;
        }
        if let (Some(address), Some(written)) = (&address, &written)
            && StandardObject::spelled(address.as_str()) != Some(standard)
        {
            let message = format!("`{}` is HubSpot's own object, not `{address}`", entry.name);
            let hint = format!("call the table of `[objects]` by another word than `{object}`");
            reader.error("object-name", &written.span, &written.path, &message, &hint);
            return None;
        }
        return Some(ObjectNames {
            object,
            address: None,
        });
    }
    let standard = address
        .as_ref()
        .and_then(|address| StandardObject::spelled(address.as_str()));
    if let (Some(standard), Some(written)) = (standard, &written) {
        let message = format!(
            "`object` is for custom objects, and `{}` is none",
            standard.name
        );
        let hint = format!(
            "write `[objects.{}]` with `table = \"{object}\"`",
            standard.name
        );
        reader.error("object-name", &written.span, &written.path, &message, &hint);
        return None;
    }
    if written.is_none() && entry.name.len() >= SHORTEST_SLIP {
        let known = STANDARD_OBJECTS.each_ref().map(|standard| standard.name);
        if let Some(near) = nearest(entry.name, &known) {
            let message = format!("HubSpot defines no object `{}`", entry.name);
            let hint = format!(
                "write `{near}`; for a custom object of that name add `object = \"{}\"`",
                entry.name
            );
            reader.error("object-name", &entry.key_span, &entry.path, &message, &hint);
            return None;
        }
    }
    let address = address.filter(|address| *address != object);
    Some(ObjectNames { object, address })
}

/// The object's direction: what no app may write is only pulled.
pub(super) fn direction(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
) -> Direction {
    let is_read_only = StandardObject::of(entry.name).is_some_and(|standard| standard.is_read_only);
    let default = match is_read_only {
        true => (Direction::Pull, "\"pull\""),
        false => (Direction::Both, "\"both\""),
    };
    let direction = reader.or_default(table, "direction", default, |reader, entry| {
        reader.choice(entry, "direction", &DIRECTIONS)
    });
    if is_read_only
        && direction != Direction::Pull
        && let Some(written) = table.get("direction")
    {
        let message = format!("HubSpot lets no app write {}", entry.name);
        let hint = "write `\"pull\"`, or take it out";
        reader.error(
            "read-only-object",
            &written.span,
            &written.path,
            &message,
            hint,
        );
        return Direction::Pull;
    }
    direction
}

/// The mirror table's name; that of an object which is called by its type id is the schema's word, unless one is written.
pub(super) fn table_name(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
) -> Option<TableName> {
    if table.get("table").is_some() {
        let hint = "write another name of letters, digits and `_`";
        return reader.optional(table, "table", |reader, entry| {
            let text = reader.text(entry)?;
            reader.name(entry, TableName::parse(text), "the table's name", hint)
        });
    }
    let object = ObjectType::parse(entry.name).ok()?;
    if object.is_type_id() {
        let shown = "the name in the portal's schema";
        reader.show(&join(&table.path, "table"), shown, SettingOrigin::Default);
        return Some(TableName::until_named(&object));
    }
    let shown = format!("{:?}", entry.name);
    reader.show(&join(&table.path, "table"), &shown, SettingOrigin::Default);
    let hint = format!("add `table` to `[{}]`, with another name", entry.path);
    let parsed = TableName::parse(entry.name);
    reader.name(&entry.at_key(), parsed, "the table's name", &hint)
}
