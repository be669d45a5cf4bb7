//! What a standard object is in HubSpot: one table, from which everything else about contacts, companies, deals and
//! tickets follows. A custom object has the defaults.

use crate::model::name::{ObjectType, PropertyName};

/// An object that every portal has (`hubspot/api-facts.md#5`).
#[derive(Debug, PartialEq, Eq)]
pub struct StandardObject {
    /// The plural name: in the mapping, in paths and in scopes.
    pub name: &'static str,
    /// The word in front of the dot of an event type, as in `contact.creation`.
    pub event_word: &'static str,
    /// HubSpot's object type id.
    pub type_id: &'static str,
    /// The group in which properties of our own stand, where it has no name by the rule (`hubspot/api-facts.md#7`).
    pub group: Option<&'static str>,
    /// The property that holds the time of a record's last change.
    pub modified_property: &'static str,
    /// The property that HubSpot keeps unique, whatever the schema says.
    pub unique: Option<&'static str>,
    /// The property that HubSpot holds as the host of an address.
    pub domain: Option<&'static str>,
    /// Whether its records move through pipelines.
    pub has_pipelines: bool,
    /// The one scope for reading and writing, where there is no pair of them (`hubspot/api-facts.md#2`).
    pub only_scope: Option<&'static str>,
    /// Whether its records can be erased for privacy.
    pub has_privacy_deletion: bool,
    /// The properties that an object without a list of its own gets, so that `[objects.contacts]` alone works. All are
    /// HubSpot's own and writable by default; what a portal calculates is found out from its schema. Empty for one that
    /// the mapping can't name yet.
    pub properties: &'static [&'static str],
}

/// The last-modified property of all objects but contacts.
const MODIFIED: &str = "hs_lastmodifieddate";

/// The last-modified properties, of all objects.
pub const MODIFIED_PROPERTIES: [&str; 2] = [MODIFIED, CONTACTS.modified_property];

/// What most objects have in common.
const PLAIN: StandardObject = StandardObject {
    name: "",
    event_word: "",
    type_id: "",
    group: None,
    modified_property: MODIFIED,
    unique: None,
    domain: None,
    has_pipelines: false,
    only_scope: None,
    has_privacy_deletion: false,
    properties: &[],
};

const CONTACTS: StandardObject = StandardObject {
    name: "contacts",
    event_word: "contact",
    type_id: "0-1",
    group: Some("contactinformation"),
    modified_property: "lastmodifieddate",
    unique: Some("email"),
    has_privacy_deletion: true,
    properties: &[
        "email",
        "firstname",
        "lastname",
        "phone",
        "mobilephone",
        "company",
        "jobtitle",
        "website",
        "address",
        "city",
        "state",
        "zip",
        "country",
        "lifecyclestage",
        "hs_lead_status",
        "hubspot_owner_id",
    ],
    ..PLAIN
};

/// The table.
pub const STANDARD_OBJECTS: [StandardObject; 6] = [
    CONTACTS,
    StandardObject {
        name: "companies",
        event_word: "company",
        type_id: "0-2",
        group: Some("companyinformation"),
        domain: Some("domain"),
        properties: &[
            "name",
            "domain",
            "phone",
            "industry",
            "numberofemployees",
            "annualrevenue",
            "address",
            "city",
            "state",
            "zip",
            "country",
            "website",
            "description",
            "lifecyclestage",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "deals",
        event_word: "deal",
        type_id: "0-3",
        group: Some("dealinformation"),
        has_pipelines: true,
        properties: &[
            "dealname",
            "amount",
            "closedate",
            "pipeline",
            "dealstage",
            "dealtype",
            "description",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "tickets",
        event_word: "ticket",
        type_id: "0-5",
        group: Some("ticketinformation"),
        has_pipelines: true,
        only_scope: Some("tickets"),
        properties: &[
            "subject",
            "content",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hs_ticket_priority",
            "hs_ticket_category",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    // Events tell of these, whether or not anybody maps them.
    StandardObject {
        name: "products",
        event_word: "product",
        type_id: "0-7",
        ..PLAIN
    },
    StandardObject {
        name: "line_items",
        event_word: "line_item",
        type_id: "0-8",
        ..PLAIN
    },
];

impl StandardObject {
    /// The standard object of a name in the mapping; `None` for a custom one.
    pub fn of(name: &str) -> Option<&'static Self> {
        STANDARD_OBJECTS.iter().find(|object| object.name == name)
    }

    /// The standard object of any of its spellings: `contacts`, `contact`, `0-1`.
    pub fn spelled(text: &str) -> Option<&'static Self> {
        STANDARD_OBJECTS
            .iter()
            .find(|object| [object.name, object.event_word, object.type_id].contains(&text))
    }

    /// Those that the mapping file can name, in the table's order.
    pub fn mapped() -> impl Iterator<Item = &'static Self> {
        STANDARD_OBJECTS
            .iter()
            .filter(|object| !object.properties.is_empty())
    }

    /// Its name as an object's type.
    pub fn object_type(&self) -> ObjectType {
        ObjectType::parse(self.name).expect("the table has valid names")
    }
}

/// Whether HubSpot keeps a property of an object unique, whatever the schema says.
pub fn is_unique_in_hubspot(object: &ObjectType, property: &PropertyName) -> bool {
    let unique = StandardObject::of(object.as_str()).and_then(|standard| standard.unique);
    unique == Some(property.as_str())
}

/// The property that holds the time of a record's last change: contacts alone have their own.
pub fn modified_property(object: &ObjectType) -> &'static str {
    StandardObject::of(object.as_str()).map_or(MODIFIED, |standard| standard.modified_property)
}

/// The group in which properties of our own stand.
pub fn group_of(object: &ObjectType) -> String {
    let own = StandardObject::of(object.as_str()).and_then(|standard| standard.group);
    own.map_or_else(|| format!("{}_information", object.as_str()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_spelling_means_two_objects() {
        let mut seen = BTreeSet::new();
        for object in &STANDARD_OBJECTS {
            for spelling in [object.name, object.event_word, object.type_id] {
                assert!(seen.insert(spelling), "{spelling}");
                assert_eq!(StandardObject::spelled(spelling), Some(object));
            }
            assert_eq!(object.object_type().as_str(), object.name);
        }
        assert_eq!(StandardObject::spelled("pets"), None);
    }

    #[test]
    fn what_identifies_a_record_is_among_its_properties() {
        for object in StandardObject::mapped() {
            for property in [object.unique, object.domain].into_iter().flatten() {
                assert!(object.properties.contains(&property), "{property}");
            }
        }
    }

    #[test]
    fn an_object_that_is_no_standard_one_has_the_defaults() {
        let pets = ObjectType::parse("pets").expect("a name");
        assert_eq!(modified_property(&pets), "hs_lastmodifieddate");
        assert_eq!(group_of(&pets), "pets_information");
        let email = PropertyName::parse("email").expect("a name");
        assert!(!is_unique_in_hubspot(&pets, &email));
    }
}
