//! How an object's records come and go: `on_remote_delete`, `on_local_delete` and `new_records`.

use crate::config::file::{KeyAndValue, TomlTable};
use crate::config::reader::Reader;
use crate::model::mapping::{
    Direction, FirstReadBy, Modes, NewRecords, OnLocalDelete, OnRemoteDelete, Sees,
};

const ON_REMOTE_DELETE: [(&str, OnRemoteDelete); 3] = [
    ("delete", OnRemoteDelete::Delete),
    ("mark", OnRemoteDelete::Mark),
    ("recreate", OnRemoteDelete::Recreate),
];

const ON_LOCAL_DELETE: [(&str, OnLocalDelete); 2] = [
    ("archive", OnLocalDelete::Archive),
    ("restore", OnLocalDelete::Restore),
];

const NEW_RECORDS: [(&str, NewRecords); 4] = [
    ("both", NewRecords::Both),
    ("from_hubspot", NewRecords::FromHubspot),
    ("from_local", NewRecords::FromLocal),
    ("none", NewRecords::None),
];

/// The modes of an object; `[auth].sees` is put in by whoever has read it.
pub(super) fn modes(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    direction: Direction,
    has_match: bool,
) -> Modes {
    let on_remote_delete = reader.or_default(
        table,
        "on_remote_delete",
        (OnRemoteDelete::Delete, "\"delete\""),
        |reader, entry| reader.choice(entry, "on_remote_delete", &ON_REMOTE_DELETE),
    );
    let on_local_delete = reader.or_default(
        table,
        "on_local_delete",
        (OnLocalDelete::Archive, "\"archive\""),
        |reader, entry| reader.choice(entry, "on_local_delete", &ON_LOCAL_DELETE),
    );
    let new_records = reader.or_default(
        table,
        "new_records",
        (NewRecords::Both, "\"both\""),
        |reader, entry| reader.choice(entry, "new_records", &NEW_RECORDS),
    );
    let strict_options =
        reader.or_default(table, "strict_options", (false, "false"), Reader::boolean);
    let modes = Modes {
        strict_options,
        // Put in by whoever reads what is to come.
        backfill: FirstReadBy::List,
        on_remote_delete,
        on_local_delete,
        new_records,
        sees: Sees::Portal,
    };
    if let Some(entry) = table.get("new_records").cloned() {
        needs_a_match(reader, &entry, new_records, direction, has_match);
    }
    if let Some(entry) = table.get("on_remote_delete").cloned() {
        makes_what_it_recreates(reader, &entry, modes, direction);
    }
    modes
}

/// Rows and records of which one side may make none find each other by a value alone.
fn needs_a_match(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    new_records: NewRecords,
    direction: Direction,
    has_match: bool,
) {
    let is_what_happens = direction == Direction::Pull && new_records == NewRecords::FromHubspot;
    if new_records == NewRecords::Both || has_match || is_what_happens {
        return;
    }
    let name = new_records.as_str();
    let message =
        format!("`new_records = \"{name}\"` links rows and records, and `match` says by what");
    let hint =
        "add `match` with a property whose value says which record a row is, or write `both`";
    reader.error("match-missing", &entry.span, &entry.path, &message, hint);
}

/// What is created again is made here.
fn makes_what_it_recreates(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    modes: Modes,
    direction: Direction,
) {
    if modes.on_remote_delete != OnRemoteDelete::Recreate {
        return;
    }
    let (message, hint) = if !direction.pushes() {
        (
            "`recreate` makes a record in HubSpot, and these rows are only pulled".to_owned(),
            "write `delete` or `mark`, or `direction = \"both\"`",
        )
    } else if !modes.new_records.makes_records() {
        (
            format!(
                "`recreate` makes a record in HubSpot, and `new_records = \"{}\"` makes none there",
                modes.new_records.as_str()
            ),
            "write `delete` or `mark`, or `new_records = \"both\"`",
        )
    } else {
        return;
    };
    reader.error("contradiction", &entry.span, &entry.path, &message, hint);
}
