//! Sections whose feature this version doesn't have: they are read to the last key, so that a slip or a secret in clear
//! in them is found, and then refused as a whole.

use crate::config::check::values::DIRECTIONS;
use crate::config::file::{KeyAndValue, TomlTable};
use crate::config::keys;
use crate::config::reader::Reader;

/// `[associations]`.
pub(super) fn associations(reader: &mut Reader<'_>, root: &TomlTable<'_>) {
    let Some(entry) = root.get("associations").cloned() else {
        return;
    };
    refuse(reader, &entry, "associations", "take `[associations]` out");
    let pairs = reader
        .free_table(&entry)
        .map(|table| table.entries)
        .unwrap_or_default();
    for pair in pairs {
        if let Some(table) = reader.table(&pair, keys::ASSOCIATION) {
            reader.optional(&table, "from", Reader::text);
            reader.optional(&table, "to", Reader::text);
            reader.optional(&table, "direction", |reader, entry| {
                reader.choice(entry, "direction", &DIRECTIONS)
            });
        }
    }
}

/// A property's `create`.
pub(super) fn create(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<()> {
    refuse(
        reader,
        entry,
        "the making of properties",
        "make the property in HubSpot and take `create` out",
    );
    let table = reader.table(entry, keys::CREATE)?;
    reader.optional(&table, "label", Reader::text);
    reader.optional(&table, "type", Reader::text);
    reader.optional(&table, "options", texts);
    None
}

fn refuse(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>, what: &str, hint: &str) {
    reader.not_yet(&entry.key_span, &entry.path, what, hint);
}

fn texts(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<()> {
    let list = reader.list(entry)?;
    let read: Vec<_> = list.iter().map(|element| reader.text(element)).collect();
    read.iter().all(Option::is_some).then_some(())
}
