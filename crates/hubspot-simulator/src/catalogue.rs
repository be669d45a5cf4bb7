//! What a portal has from the first day: objects, owners, pipelines, and how a property table becomes definitions.
//!
//! The tables themselves are in `contacts` and `others`.

pub(crate) mod contacts;
pub(crate) mod links;
pub(crate) mod others;

use crate::catalogue::contacts::CONTACTS;
use crate::catalogue::others::{COMPANIES, DEALS, TICKETS};
use crate::portal::schema::{Choice, Kind, Property, Schema};

/// One object type (`api-facts.md#5`).
#[derive(Debug)]
pub(crate) struct ObjectSpec {
    pub plural: &'static str,
    pub singular: &'static str,
    pub type_id: &'static str,
    /// As error messages name it.
    pub upper: &'static str,
    /// Contacts are the only object with `lastmodifieddate`.
    pub modified: &'static str,
    /// What search and reads return when nothing is asked for.
    pub defaults: &'static [&'static str],
    /// The first record's id.
    pub first_id: u64,
    /// Entries of a property's history that are kept.
    pub history_cap: usize,
    pub group: &'static str,
    properties: &'static [Row],
}

/// Position of an object in [`OBJECTS`] and in the portal's tables.
pub(crate) type ObjectIndex = usize;

pub(crate) const CONTACT: ObjectIndex = 0;
pub(crate) const COMPANY: ObjectIndex = 1;
pub(crate) const DEAL: ObjectIndex = 2;
pub(crate) const TICKET: ObjectIndex = 3;

pub(crate) const OBJECTS: [ObjectSpec; 4] = [
    ObjectSpec {
        plural: "contacts",
        singular: "contact",
        type_id: "0-1",
        upper: "CONTACT",
        modified: "lastmodifieddate",
        defaults: &[
            "createdate",
            "email",
            "firstname",
            "hs_object_id",
            "lastmodifieddate",
            "lastname",
        ],
        first_id: 57_156_923_994,
        history_cap: 45,
        group: "contactinformation",
        properties: CONTACTS,
    },
    ObjectSpec {
        plural: "companies",
        singular: "company",
        type_id: "0-2",
        upper: "COMPANY",
        modified: "hs_lastmodifieddate",
        defaults: &[
            "createdate",
            "domain",
            "hs_lastmodifieddate",
            "hs_object_id",
            "name",
        ],
        first_id: 18_213_337_201,
        history_cap: 20,
        group: "companyinformation",
        properties: COMPANIES,
    },
    ObjectSpec {
        plural: "deals",
        singular: "deal",
        type_id: "0-3",
        upper: "DEAL",
        modified: "hs_lastmodifieddate",
        defaults: &[
            "amount",
            "closedate",
            "createdate",
            "dealname",
            "dealstage",
            "hs_lastmodifieddate",
            "hs_object_id",
            "pipeline",
        ],
        first_id: 21_678_228_008,
        history_cap: 20,
        group: "dealinformation",
        properties: DEALS,
    },
    ObjectSpec {
        plural: "tickets",
        singular: "ticket",
        type_id: "0-5",
        upper: "TICKET",
        modified: "hs_lastmodifieddate",
        defaults: &[
            "content",
            "createdate",
            "hs_lastmodifieddate",
            "hs_object_id",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hs_ticket_category",
            "hs_ticket_priority",
            "subject",
        ],
        first_id: 3_104_455_667,
        history_cap: 20,
        group: "ticketinformation",
        properties: TICKETS,
    },
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

/// The definitions that a new portal has for an object.
pub(crate) fn schema_of(object: ObjectIndex) -> Schema {
    let spec = &OBJECTS[object];
    let mut schema = Schema::default();
    for row in spec.properties {
        schema.add(property_of(row, spec.group));
    }
    schema.groups = vec![(
        spec.group.to_owned(),
        format!("{} information", spec.singular),
    )];
    schema
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

/// A pipeline: id, label, stages (id, label, the `metadata` entry).
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub id: &'static str,
    pub label: &'static str,
    pub stages: &'static [(&'static str, &'static str, &'static str)],
}

const DEAL_PIPELINES: &[Pipeline] = &[
    Pipeline {
        id: "default",
        label: "Sales Pipeline",
        stages: &[
            ("appointmentscheduled", "Appointment Scheduled", "0.2"),
            ("qualifiedtobuy", "Qualified To Buy", "0.4"),
            ("presentationscheduled", "Presentation Scheduled", "0.6"),
            ("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
            ("contractsent", "Contract Sent", "0.9"),
            ("closedwon", "Closed Won", "1.0"),
            ("closedlost", "Closed Lost", "0.0"),
        ],
    },
    Pipeline {
        id: "75e28846-ad0d-4be2-a027-5e1da6590b98",
        label: "Renewals",
        stages: &[
            ("139921", "Up for renewal", "0.5"),
            ("139922", "Renewed", "1.0"),
            ("139923", "Lost", "0.0"),
        ],
    },
];

const TICKET_PIPELINES: &[Pipeline] = &[
    Pipeline {
        id: "0",
        label: "Support Pipeline",
        stages: &[
            ("1", "New", "OPEN"),
            ("2", "Waiting on contact", "OPEN"),
            ("3", "Waiting on us", "OPEN"),
            ("4", "Closed", "CLOSED"),
        ],
    },
    Pipeline {
        id: "1480221",
        label: "Returns",
        stages: &[("5566001", "Asked", "OPEN"), ("5566002", "Done", "CLOSED")],
    },
];

/// The pipelines of an object; contacts and companies have none.
pub(crate) fn pipelines_of(object: ObjectIndex) -> &'static [Pipeline] {
    match object {
        DEAL => DEAL_PIPELINES,
        TICKET => TICKET_PIPELINES,
        _ => &[],
    }
}

/// The properties that hold an object's pipeline and stage, with the pipeline that is meant when none is given.
pub(crate) fn pipeline_properties(
    object: ObjectIndex,
) -> Option<(&'static str, &'static str, &'static str)> {
    match object {
        DEAL => Some(("pipeline", "dealstage", "default")),
        TICKET => Some(("hs_pipeline", "hs_pipeline_stage", "0")),
        _ => None,
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
            let schema = schema_of(index);
            for name in object
                .defaults
                .iter()
                .chain([&object.modified, &"hs_merged_object_ids"])
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
        let contacts = schema_of(CONTACT);
        let company = contacts.property(contacts.id("associatedcompanyid").expect("there"));
        assert_eq!(
            (company.kind, company.referenced_object.as_deref()),
            (Kind::Number, Some("COMPANY"))
        );
        let owner = contacts.property(contacts.id("hubspot_owner_id").expect("there"));
        assert!(owner.external_options && owner.choices.is_empty());
    }
}
