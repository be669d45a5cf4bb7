//! What a portal has from the first day: objects, owners, and how a property table becomes definitions.
//!
//! The tables themselves are a file each.

pub(crate) mod activities;
pub(crate) mod commerce;
pub(crate) mod contacts;
pub(crate) mod links;
pub(crate) mod objects;
pub(crate) mod others;
pub(crate) mod pipelines;
pub(crate) mod records;

use crate::catalogue::objects::ObjectSpec;
use crate::catalogue::pipelines::Stages;
use crate::portal::schema::{Choice, Kind, Property, Schema};

/// Position of an object in [`OBJECTS`] and in the portal's tables.
pub(crate) type ObjectIndex = usize;

pub(crate) const CONTACT: ObjectIndex = 0;
pub(crate) const COMPANY: ObjectIndex = 1;
pub(crate) const DEAL: ObjectIndex = 2;
pub(crate) const TICKET: ObjectIndex = 3;

/// Every standard object.
pub(crate) static OBJECTS: [ObjectSpec; 29] = [
    records::CONTACTS,
    records::COMPANIES,
    records::DEALS,
    records::TICKETS,
    commerce::PRODUCTS,
    commerce::LINE_ITEMS,
    commerce::QUOTES,
    activities::LEADS,
    activities::CALLS,
    activities::EMAILS,
    activities::MEETINGS,
    activities::NOTES,
    activities::TASKS,
    activities::COMMUNICATIONS,
    activities::POSTAL_MAIL,
    activities::USERS,
    commerce::OTHERS[0],
    commerce::OTHERS[1],
    commerce::OTHERS[2],
    commerce::OTHERS[3],
    commerce::OTHERS[4],
    commerce::OTHERS[5],
    commerce::OTHERS[6],
    commerce::OTHERS[7],
    commerce::OTHERS[8],
    commerce::OTHERS[9],
    commerce::OTHERS[10],
    commerce::OTHERS[11],
    commerce::OTHERS[12],
];

/// The object with that plural name, singular name or type id, in any case (`api-facts.md#1`).
pub(crate) fn object_named(name: &str) -> Option<ObjectIndex> {
    OBJECTS.iter().position(|object| {
        [object.plural, object.singular, object.type_id]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// One line of a property table.
#[derive(Debug)]
pub(crate) struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub field_type: &'static str,
    pub flag: Flag,
    pub choices: &'static [&'static str],
}

/// What is special about a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Plain,
    /// Made in this portal: no `modificationMetadata`.
    Custom,
    /// Custom, and unique.
    CustomUnique,
    ReadOnly,
    Calculated,
    /// Read-only and unique, such as `hs_unique_creation_key`.
    ReadOnlyUnique,
    /// Refers to records of that type.
    Refers(&'static str),
    /// Enumeration whose options live elsewhere, with what they refer to.
    External(&'static str),
}

pub(crate) const fn row(
    name: &'static str,
    kind: Kind,
    field_type: &'static str,
    flag: Flag,
) -> Row {
    Row {
        name,
        kind,
        field_type,
        flag,
        choices: &[],
    }
}

pub(crate) const fn text(name: &'static str) -> Row {
    row(name, Kind::String, "text", Flag::Plain)
}

pub(crate) const fn number(name: &'static str) -> Row {
    row(name, Kind::Number, "number", Flag::Plain)
}

pub(crate) const fn choice(
    name: &'static str,
    flag: Flag,
    choices: &'static [&'static str],
) -> Row {
    Row {
        name,
        kind: Kind::Enumeration,
        field_type: "select",
        flag,
        choices,
    }
}

pub(crate) const fn read_only(name: &'static str, kind: Kind, field_type: &'static str) -> Row {
    row(name, kind, field_type, Flag::ReadOnly)
}

fn property_of(row: &Row, group: &str) -> Property {
    let mut property = Property::new(row.name, row.kind, row.field_type, group);
    let as_choice = |value: &&str| Choice {
        value: (*value).to_owned(),
        label: (*value).to_owned(),
        hidden: false,
        description: String::new(),
    };
    property.choices = row.choices.iter().map(as_choice).collect();
    match row.flag {
        Flag::Plain => {}
        Flag::Custom => property.hubspot_defined = false,
        Flag::CustomUnique => {
            property.hubspot_defined = false;
            property.unique = true;
        }
        Flag::ReadOnly => property.read_only = true,
        Flag::Calculated => {
            property.read_only = true;
            property.calculated = true;
        }
        Flag::ReadOnlyUnique => {
            property.read_only = true;
            property.unique = true;
        }
        Flag::Refers(object) => property.referenced_object = Some(object.to_owned()),
        Flag::External(object) => {
            property.external_options = true;
            property.referenced_object = Some(object.to_owned());
        }
    }
    property
}

/// Properties that every object has, beside its own times.
const COMMON: [Row; 4] = [
    read_only("hs_object_id", Kind::Number, "number"),
    read_only("hs_merged_object_ids", Kind::Enumeration, "checkbox"),
    row(
        "hs_unique_creation_key",
        Kind::String,
        "text",
        Flag::ReadOnlyUnique,
    ),
    row(
        "hubspot_owner_id",
        Kind::Enumeration,
        "select",
        Flag::External("OWNER"),
    ),
];

/// The definitions that a new portal has for an object.
pub(crate) fn schema_of(spec: &ObjectSpec) -> Schema {
    let mut schema = Schema::default();
    let times = [spec.created, spec.modified].map(|name| read_only(name, Kind::Datetime, "date"));
    for row in spec.properties.iter().chain(&times).chain(&COMMON) {
        if schema.id(row.name).is_none() {
            schema.add(property_of(row, spec.group));
        }
    }
    for name in spec.stages.into_iter().flat_map(stage_times) {
        let mut property = Property::new(&name, Kind::Datetime, "date", spec.group);
        property.read_only = true;
        property.calculated = true;
        property.listed = false;
        schema.add(property);
    }
    schema.groups = vec![(
        spec.group.to_owned(),
        format!("{} information", spec.singular),
    )];
    schema
}

/// When a record entered and left each stage: readable, and in no list (`api-facts.md#7`).
fn stage_times(stages: &'static Stages) -> impl Iterator<Item = String> {
    let all = stages.pipelines.iter().flat_map(|known| known.stages);
    all.flat_map(|(stage, _, _)| [entered(stage), exited(stage)])
}

/// The property that tells when a record entered a stage.
pub(crate) fn entered(stage: &str) -> String {
    format!("hs_v2_date_entered_{}", stage.replace('-', "_"))
}

/// The property that tells when a record left a stage.
pub(crate) fn exited(stage: &str) -> String {
    format!("hs_v2_date_exited_{}", stage.replace('-', "_"))
}

/// A person who may own records (`hubspot_owner_id` holds `id`, never `user_id`).
#[derive(Debug)]
pub(crate) struct Owner {
    pub id: u64,
    pub user_id: u32,
    pub email: &'static str,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub archived: bool,
}

pub(crate) const OWNERS: [Owner; 5] = [
    owner(
        41_629_779,
        9_586_504,
        "maria.lindqvist@example.com",
        "Maria",
        "Lindqvist",
        false,
    ),
    owner(
        41_629_780,
        9_586_511,
        "tom.okafor@example.com",
        "Tom",
        "Okafor",
        false,
    ),
    owner(
        41_629_782,
        9_586_520,
        "yuki.tanaka@example.com",
        "Yuki",
        "Tanaka",
        false,
    ),
    owner(
        41_629_790,
        9_586_533,
        "elena.rossi@example.com",
        "Elena",
        "Rossi",
        false,
    ),
    owner(
        41_629_701,
        9_586_402,
        "sam.former@example.com",
        "Sam",
        "Former",
        true,
    ),
];

const fn owner(
    id: u64,
    user_id: u32,
    email: &'static str,
    first_name: &'static str,
    last_name: &'static str,
    archived: bool,
) -> Owner {
    Owner {
        id,
        user_id,
        email,
        first_name,
        last_name,
        archived,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_found_by_name_and_type_id_and_has_its_default_properties() {
        for (index, object) in OBJECTS.iter().enumerate() {
            assert_eq!(object_named(object.plural), Some(index));
            assert_eq!(object_named(object.type_id), Some(index));
            let schema = schema_of(object);
            for name in object
                .defaults
                .iter()
                .chain([&object.modified, &object.created, &"hs_merged_object_ids"])
                .chain(object.needs.iter().copied().flatten())
            {
                assert!(
                    schema.live(name).is_some(),
                    "{} lacks {name}",
                    object.plural
                );
            }
        }
        assert_eq!(object_named("unicorns"), None);
    }

    /// api-facts.md#7: identifiers wear the type `number`; owners are enumerations without options.
    #[test]
    fn identifiers_and_owners_are_typed_as_hubspot_types_them() {
        let contacts = schema_of(&OBJECTS[CONTACT]);
        let company = contacts.property(contacts.id("associatedcompanyid").expect("there"));
        assert_eq!(
            (company.kind, company.referenced_object.as_deref()),
            (Kind::Number, Some("COMPANY"))
        );
        let owner = contacts.property(contacts.id("hubspot_owner_id").expect("there"));
        assert!(owner.external_options && owner.choices.is_empty());
    }
}
