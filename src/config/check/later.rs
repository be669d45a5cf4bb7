//! What this version can't do yet: it is read to the last key, so that a slip or a secret in clear in it is found, and then
//! refused as a whole.

use crate::config::file::KeyAndValue;
use crate::config::keys;
use crate::config::reader::Reader;

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
