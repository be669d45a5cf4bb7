//! `[conflicts]` and `[objects]`: which object meets which table, and by what rules. The properties are read in
//! `fields.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::check::existence;
use crate::config::check::fields;
use crate::config::check::names::{self, ObjectNames};
use crate::config::check::rhythm::{POLL_BOUNDS, poll_idle, rhythm};
use crate::config::check::values::POLICIES;
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::schedule::Schedule;
use crate::config::settings::{PollRhythm, PollSettings};
use crate::config::suggest::nearest;
use crate::config::units::duration_text;
use crate::decide::matching::SEARCH_LAG;
use crate::model::mapping::{
    Direction, FieldMapping, FirstReadBy, KeyChoice, Mapping, Modes, OWN_KEY, ObjectMapping,
    Policy, Sees,
};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::is_unique_in_hubspot;

const NO_OBJECTS_HINT: &str =
    "add `[objects.contacts]`: alone it maps the standard properties of contacts";

/// `[conflicts]`.
pub(super) fn default_policy(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> Policy {
    let table = reader.section(root, "conflicts", keys::CONFLICTS);
    reader.or_default(
        &table,
        "policy",
        (Policy::Newest, "\"newest\""),
        |reader, entry| reader.choice(entry, "policy", &POLICIES),
    )
}

/// `[objects]`; puts their own polls into `polls`.
pub(super) fn mapping(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    policy: Policy,
    sees: Sees,
    polls: &mut PollSettings,
) -> Mapping {
    let entry = root.get("objects").cloned();
    let objects = entry.as_ref().and_then(|entry| reader.free_table(entry));
    let entries = objects.map(|table| table.entries).unwrap_or_default();
    if entries.is_empty() {
        let span = entry.map_or(0..0, |entry| entry.key_span);
        reader.error(
            "no-objects",
            &span,
            "objects",
            "no object is mapped",
            NO_OBJECTS_HINT,
        );
    }
    let mut mapping = Mapping::default();
    let mut tables = BTreeMap::new();
    for entry in &entries {
        if let Some(mut object) = object(reader, entry, policy, polls) {
            object.modes.sees = sees;
            one_table_each(reader, entry, &object, &mut tables);
            mapping.objects.push(object);
        }
    }
    mapping
}

fn object(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    policy: Policy,
    polls: &mut PollSettings,
) -> Option<ObjectMapping> {
    let table = reader.table(entry, keys::OBJECT)?;
    let named = names::named(reader, entry, &table);
    let backfill = first_read(reader, &table);
    let direction = names::direction(reader, entry, &table);
    let policy = object_policy(reader, &table, direction, policy);
    let sql_table = names::table_name(reader, entry, &table);
    let fields = fields::fields(reader, entry, &table, direction, policy);
    let key = reader.or_default(
        &table,
        "key",
        (KeyChoice::Auto, "\"auto\""),
        |reader, entry| key_choice(reader, entry, &table, direction, &fields),
    );
    let match_property = match_property(reader, &table, direction, &key, &fields);
    if let Some(matched) = match_property
        .as_ref()
        .filter(|_| direction == Direction::Push)
    {
        say_what_search_finds(reader, entry, &table, &key, matched);
    }
    let modes = existence::modes(reader, &table, direction, match_property.is_some());
    let modes = Modes { backfill, ..modes };
    let own_poll = reader.optional(&table, "poll", |reader, entry| {
        reader.schedule(entry, polls.timezone, &POLL_BOUNDS)
    });
    let own_idle = poll_idle(reader, &table);
    let own_rhythm = rhythm_of(reader, &table, &polls.poll, own_poll, own_idle);
    let poll = own_rhythm.as_ref().unwrap_or(&polls.poll).poll.interval();
    let ObjectNames { object, address } = named?;
    if let Some(own_rhythm) = own_rhythm {
        polls.objects.push((object.clone(), own_rhythm));
    }
    Some(ObjectMapping {
        object,
        address,
        table: sql_table?,
        direction,
        key,
        match_property,
        modes,
        policy,
        poll,
        fields,
    })
}

/// How often an object is polled, where it says a part of that itself.
fn rhythm_of(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    above: &PollRhythm,
    poll: Option<Schedule>,
    idle: Option<Duration>,
) -> Option<PollRhythm> {
    if let Some(poll) = poll {
        return Some(rhythm(reader, table, poll, idle));
    }
    let mut show = |name: &str, value: String| {
        let path = join(&table.path, name);
        reader.show(&path, &format!("\"{value}\""), SettingOrigin::Above);
    };
    show("poll", above.poll.to_string());
    if idle.is_none()
        && let Some(longest) = above.longest()
    {
        show("poll_idle", duration_text(longest));
    }
    let poll = above.poll.clone();
    idle.map(|idle| PollRhythm { poll, idle })
}

/// How the object is read first. The values that ask for a feature which is to come are refused.
fn first_read(reader: &mut Reader<'_>, table: &TomlTable<'_>) -> FirstReadBy {
    if let Some(filter) = table.get(keys::FILTER) {
        let message = "`filter` is reserved for record filters, which are to come";
        reader.error(
            "reserved",
            &filter.key_span,
            &filter.path,
            message,
            "take it out: all records are mapped",
        );
    }
    let names = [
        ("list", Some(FirstReadBy::List)),
        ("list_only", Some(FirstReadBy::ListOnly)),
        ("export", None),
    ];
    let default = (Some(FirstReadBy::List), "\"list\"");
    let chosen = reader.or_default(table, "backfill", default, |reader, entry| {
        reader.choice(entry, "backfill", &names)
    });
    if chosen.is_none()
        && let Some(entry) = table.get("backfill")
    {
        reader.not_yet(
            &entry.span,
            &entry.path,
            "`backfill = \"export\"`",
            "write `list`, or take it out",
        );
    }
    chosen.unwrap_or_default()
}

fn object_policy(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    direction: Direction,
    above: Policy,
) -> Policy {
    let own = reader.optional(table, "conflict", |reader, entry| {
        fields::policy(reader, entry, direction, "object")
    });
    if table.get("conflict").is_none() {
        reader.show(
            &join(&table.path, "conflict"),
            &format!("\"{}\"", above.as_str()),
            SettingOrigin::Above,
        );
    }
    own.unwrap_or(above)
}

/// SQLite doesn't tell `Contacts` from `contacts`.
fn one_table_each(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    object: &ObjectMapping,
    tables: &mut BTreeMap<String, String>,
) {
    let lower = object.table.as_str().to_ascii_lowercase();
    let other = tables.insert(lower, object.object.to_string());
    if let Some(other) = other {
        let message = format!(
            "`{other}` and `{}` both go to table `{}`",
            object.object, object.table
        );
        let hint = format!("give `{}` a `table` of its own", object.object);
        reader.error(
            "duplicate-table",
            &entry.key_span,
            &entry.path,
            &message,
            &hint,
        );
    }
}

fn key_choice(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
    direction: Direction,
    fields: &[FieldMapping],
) -> Option<KeyChoice> {
    let choice = match reader.text(entry)? {
        "auto" => KeyChoice::Auto,
        "none" => KeyChoice::None,
        OWN_KEY => {
            let message = format!("`{OWN_KEY}` is hubsyncd's own: no row has a value of it");
            let hint = "write `auto`: where the portal has the property already, it is not made";
            reader.error("reserved", &entry.span, &entry.path, &message, hint);
            return None;
        }
        name => {
            let hint = "write `auto`, `none` or the name of a property with unique values";
            let name = reader.name(entry, PropertyName::parse(name), "the key", hint)?;
            KeyChoice::Property(name)
        }
    };
    let mapped = match &choice {
        KeyChoice::Property(name) => fields.iter().find(|field| &field.property == name),
        KeyChoice::Auto | KeyChoice::None => None,
    };
    if direction == Direction::Pull {
        if mapped.is_some_and(|field| !is_one_value(reader, entry, field, "key")) {
            return None;
        }
        if choice != KeyChoice::Auto {
            say_what_it_is_for(reader, entry, "key", "records that are made from rows");
        }
        return Some(choice);
    }
    match &choice {
        KeyChoice::Property(name) => {
            natural_key(reader, entry, table, name, fields).then_some(choice)
        }
        KeyChoice::Auto | KeyChoice::None => Some(choice),
    }
}

/// Whether a natural key has values that rows may be given here.
fn natural_key(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
    name: &PropertyName,
    fields: &[FieldMapping],
) -> bool {
    let Some(field) = fields.iter().find(|field| &field.property == name) else {
        if is_written(reader, table, name.as_str()) {
            return false; // It is there, with a mistake of its own.
        }
        let message = format!("the key `{name}` is not mapped, so no row has a value of it");
        let properties = entry.path.replace(".key", ".properties");
        let hint = format!("add it to `{properties}`, or write `auto`");
        reader.error("key-not-mapped", &entry.span, &entry.path, &message, &hint);
        return false;
    };
    if !field.direction.pushes() {
        let message = format!(
            "the key `{name}` is only pulled, so a row has no value of it before it has a record"
        );
        let hint = "write a property that local programs may set, or `auto`";
        reader.error("key-one-way", &entry.span, &entry.path, &message, hint);
        return false;
    }
    is_one_value(reader, entry, field, "key")
}

/// Whether a property that is to identify records has one value.
fn is_one_value(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    field: &FieldMapping,
    what: &str,
) -> bool {
    let is_set = field
        .declared_type
        .is_some_and(|declared| !declared.is_one_value());
    if is_set {
        let message = format!(
            "`{}` can hold several values, so `{what}` can't find a record by it",
            field.property
        );
        let hint = "write a property that holds one value";
        reader.error("several-values", &entry.span, &entry.path, &message, hint);
    }
    !is_set
}

/// Rows that are only pulled are never made here, so that each has its record: nothing is left for a key or a match to do.
fn say_what_it_is_for(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>, what: &str, purpose: &str) {
    let message =
        format!("`{what}` does nothing here: it is for {purpose}, and these rows are only pulled");
    let hint = "take it out, or write `direction = \"both\"`";
    reader.warning("no-effect", &entry.span, &entry.path, &message, hint);
}

/// A property that HubSpot need not keep unique is looked up by search, which shows nothing that is new.
fn say_what_search_finds(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    table: &TomlTable<'_>,
    key: &KeyChoice,
    matched: &PropertyName,
) {
    let is_key = matches!(key, KeyChoice::Property(name) if name == matched);
    let is_unique =
        ObjectType::parse(entry.name).is_ok_and(|object| is_unique_in_hubspot(&object, matched));
    if is_key || is_unique {
        return;
    }
    let place = table
        .get("match")
        .cloned()
        .unwrap_or_else(|| entry.at_key());
    let seconds = SEARCH_LAG.as_secs();
    let message = format!(
        "unless HubSpot keeps `{matched}` unique, a new row waits {seconds}s and its record is then looked for by search: \
         one that was made in HubSpot within that time is not found, and a second one is made"
    );
    let hint = "to be sure, match by a unique property, or write `direction = \"both\"`";
    reader.warning("match-by-search", &place.span, &place.path, &message, hint);
}

fn is_written(reader: &mut Reader<'_>, table: &TomlTable<'_>, property: &str) -> bool {
    let properties = table
        .get("properties")
        .filter(|entry| Reader::is_table(entry));
    let properties = properties.and_then(|entry| reader.free_table(entry));
    properties.is_some_and(|table| table.get(property).is_some())
}

/// What is written, else the key where that is a mapped property, else `email` where it is mapped.
fn match_property(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    direction: Direction,
    key: &KeyChoice,
    fields: &[FieldMapping],
) -> Option<PropertyName> {
    if table.get("match").is_some() {
        return reader.optional(table, "match", |reader, entry| {
            let text = reader.text(entry)?;
            let mapped = fields.iter().find(|field| field.property.as_str() == text);
            if mapped.is_none() && is_written(reader, table, text) {
                return None; // It is there, with a mistake of its own.
            }
            written_match(reader, entry, text, direction, fields)
        });
    }
    let usable = |field: &&FieldMapping| direction == Direction::Pull || field.direction.pushes();
    let by_name = |name: &str| {
        fields
            .iter()
            .filter(usable)
            .find(|field| field.property.as_str() == name)
    };
    let of_key = match key {
        KeyChoice::Property(name) => by_name(name.as_str()),
        KeyChoice::Auto | KeyChoice::None => None,
    };
    let of_contacts = || {
        (table.path == "objects.contacts")
            .then(|| by_name("email"))
            .flatten()
    };
    let field = of_key.or_else(of_contacts)?;
    reader.show(
        &join(&table.path, "match"),
        &format!("\"{}\"", field.property),
        SettingOrigin::Default,
    );
    Some(field.property.clone())
}

fn written_match(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
    text: &str,
    direction: Direction,
    fields: &[FieldMapping],
) -> Option<PropertyName> {
    let Some(field) = fields.iter().find(|field| field.property.as_str() == text) else {
        let mapped: Vec<&str> = fields.iter().map(|field| field.property.as_str()).collect();
        let message = format!("`{text}` is not mapped, so no row has a value to match by");
        let hint = match nearest(text, &mapped) {
            Some(near) => format!("write `{near}`"),
            None => format!(
                "add it to `{}`, or write a property that is there",
                entry.path.replace(".match", ".properties")
            ),
        };
        reader.error(
            "match-not-mapped",
            &entry.span,
            &entry.path,
            &message,
            &hint,
        );
        return None;
    };
    if direction.pushes() && !field.direction.pushes() {
        let message =
            format!("`{text}` is only pulled, so a row has no value of it before it has a record");
        let hint = "write a property that local programs may set";
        reader.error("match-one-way", &entry.span, &entry.path, &message, hint);
        return None;
    }
    if !is_one_value(reader, entry, field, "match") {
        return None;
    }
    if direction == Direction::Pull {
        say_what_it_is_for(reader, entry, "match", "rows that have no record yet");
    }
    Some(field.property.clone())
}
