//! Sections whose feature this version doesn't have: they are read to the last key, so that a slip or a secret in clear
//! in them is found, and then refused as a whole.

use crate::config::check::values::DIRECTIONS;
use crate::config::file::{Entry, Table};
use crate::config::keys;
use crate::config::reader::Reader;

/// `[auth.oauth]`.
pub(super) fn oauth(reader: &mut Reader<'_>, auth: &Table<'_>) {
    let Some(entry) = auth.get("oauth").cloned() else {
        return;
    };
    refuse(
        reader,
        &entry,
        "OAuth",
        "take `[auth.oauth]` out and write `access_token = { env = \"HUBSPOT_ACCESS_TOKEN\" }`",
    );
    let Some(table) = reader.table(&entry, keys::OAUTH) else {
        return;
    };
    for name in ["client_secret", "token_key"] {
        secrets(reader, &table, name);
    }
    // An app's id is printed in every consent URL.
    reader.optional(&table, "client_id", |reader, entry| {
        if Reader::is_table(entry) {
            reader.secret(entry).map(|_| ())
        } else {
            reader.text(entry).map(|_| ())
        }
    });
    for name in ["redirect_uri", "authorize_url", "token_path"] {
        reader.optional(&table, name, Reader::text);
    }
    for name in ["scopes", "optional_scopes"] {
        reader.optional(&table, name, texts);
    }
}

/// `[associations]`.
pub(super) fn associations(reader: &mut Reader<'_>, root: &Table<'_>) {
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
pub(super) fn create(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<()> {
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

fn refuse(reader: &mut Reader<'_>, entry: &Entry<'_>, what: &str, hint: &str) {
    reader.not_yet(&entry.key_span, &entry.path, what, hint);
}

/// One secret, or several in a list.
fn secrets(reader: &mut Reader<'_>, table: &Table<'_>, name: &str) {
    let Some(entry) = table.get(name).cloned() else {
        return;
    };
    let places = if Reader::is_list(&entry) {
        reader.list(&entry).unwrap_or_default()
    } else {
        vec![entry]
    };
    for place in places {
        // What it names is not kept: the section is refused.
        drop(reader.secret(&place));
    }
}

fn texts(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<()> {
    let list = reader.list(entry)?;
    let read: Vec<_> = list.iter().map(|element| reader.text(element)).collect();
    read.iter().all(Option::is_some).then_some(())
}
