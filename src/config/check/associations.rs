//! `[associations]`: which pairs of objects have their links here, and by what rules.

use std::collections::BTreeMap;

use crate::config::check::fields;
use crate::config::check::values::DIRECTIONS;
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::suggest::which;
use crate::model::association::PairMapping;
use crate::model::mapping::{Direction, ObjectMapping, Policy};
use crate::model::name::{ObjectType, TableName};

/// Who wins in a pair that says nothing of it.
const DEFAULT_POLICY: Policy = Policy::Remote;

/// `[associations]`.
pub(super) fn associations(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    objects: &[ObjectMapping],
) -> Vec<PairMapping> {
    let entry = root.get("associations").cloned();
    let table = entry.as_ref().and_then(|entry| reader.free_table(entry));
    let mut pairs = Vec::new();
    let mut names = taken_names(objects);
    for entry in table.map(|table| table.entries).unwrap_or_default() {
        let Some(pair) = pair(reader, root, &entry) else {
            continue;
        };
        one_name_each(reader, &entry, &pair, &mut names);
        once_in_each_order(reader, &entry, &pair, &pairs);
        pairs.push(pair);
    }
    pairs
}

fn pair(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    entry: &KeyAndValue<'_>,
) -> Option<PairMapping> {
    let hint = "write another name of letters, digits and `_`: the pair's view has it";
    let key = reader.name(
        &entry.at_key(),
        TableName::parse(entry.name),
        "the pair's name",
        hint,
    );
    let table = reader.table(entry, keys::ASSOCIATION)?;
    let from = end(reader, root, entry, &table, "from");
    let to = end(reader, root, entry, &table, "to");
    let direction = reader.or_default(
        &table,
        "direction",
        (Direction::Both, "\"both\""),
        |reader, entry| reader.choice(entry, "direction", &DIRECTIONS),
    );
    let policy = reader.optional(&table, "conflict", |reader, entry| {
        policy(reader, entry, direction)
    });
    if table.get("conflict").is_none() && direction == Direction::Both {
        let shown = format!("\"{}\"", DEFAULT_POLICY.as_str());
        reader.show(
            &join(&table.path, "conflict"),
            &shown,
            SettingOrigin::Default,
        );
    }
    Some(PairMapping {
        key: key?,
        from: from?,
        to: to?,
        direction,
        policy: policy.unwrap_or(DEFAULT_POLICY),
    })
}

/// One end of a pair: the key of a mapped object, also of one that has a mistake of its own.
fn end(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    pair: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
    name: &str,
) -> Option<ObjectType> {
    if table.get(name).is_none() {
        let message = format!("`{}` has no `{name}`", pair.path);
        let hint = format!("add `{name}`, the name of an object of `[objects]`");
        reader.error("missing-key", &pair.key_span, &pair.path, &message, &hint);
        return None;
    }
    reader.optional(table, name, |reader, entry| {
        let text = reader.text(entry)?;
        let objects = root.get("objects").filter(|entry| Reader::is_table(entry));
        let objects = objects.and_then(|entry| reader.free_table(entry));
        let mapped: Vec<&str> = objects
            .iter()
            .flat_map(|table| table.entries.iter().map(|object| object.name))
            .collect();
        if mapped.contains(&text) {
            return ObjectType::parse(text).ok();
        }
        let message = format!("`{text}` is not mapped");
        let hint = format!("{}, or add `[objects.{text}]`", which(text, &mapped));
        reader.error(
            "object-not-mapped",
            &entry.span,
            &entry.path,
            &message,
            &hint,
        );
        None
    })
}

/// As for an object; but an association has no time by which one could be the newest.
fn policy(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    direction: Direction,
) -> Option<Policy> {
    let policy = fields::policy(reader, entry, direction, "pair")?;
    if policy == Policy::Newest {
        let message = "an association has no time of its own, so the newest can't win";
        let hint = "write `remote`, `local` or `manual`";
        reader.error("no-newest", &entry.span, &entry.path, message, hint);
        return None;
    }
    Some(policy)
}

/// Tables by their names in lower case, since SQLite doesn't tell `Contacts` from `contacts`.
fn taken_names(objects: &[ObjectMapping]) -> BTreeMap<String, String> {
    let name = |object: &ObjectMapping| {
        let table = object.table.as_str();
        let what = format!("the table of `{}`", object.object);
        (table.to_ascii_lowercase(), what)
    };
    objects.iter().map(name).collect()
}

fn one_name_each(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    pair: &PairMapping,
    names: &mut BTreeMap<String, String>,
) {
    let lower = pair.key.as_str().to_ascii_lowercase();
    let what = format!("the view of `{}`", entry.path);
    let Some(other) = names.insert(lower, what) else {
        return;
    };
    let message = format!("`{}` is the name of {other} already", pair.key);
    let hint = "give the pair a name that no table and no other pair has";
    reader.error(
        "duplicate-table",
        &entry.key_span,
        &entry.path,
        &message,
        hint,
    );
}

fn once_in_each_order(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    pair: &PairMapping,
    pairs: &[PairMapping],
) {
    let same = |other: &&PairMapping| other.from == pair.from && other.to == pair.to;
    let Some(other) = pairs.iter().find(same) else {
        return;
    };
    let message = format!(
        "`{}` leads from `{}` to `{}` as `{}` does",
        pair.key, pair.from, pair.to, other.key
    );
    reader.error(
        "duplicate-pair",
        &entry.key_span,
        &entry.path,
        &message,
        "take one of them out",
    );
}
