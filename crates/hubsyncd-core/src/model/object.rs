//! What an object is in HubSpot: one table of the standard ones, from which everything else about them follows. An object
//! that isn't there has the defaults, and the portal's schema tells the rest.

mod standard;

use crate::model::name::{ObjectType, PropertyName};
pub use crate::model::object::standard::STANDARD_OBJECTS;

/// Which webhook events tell of an object (`hubspot/api-facts.md#10`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectEvents {
    /// `contact.creation` and its kin, and the generic form.
    Classic,
    /// `object.creation` with an object type id alone.
    Generic,
    /// None: it is polled.
    None,
}

/// An object that HubSpot defines (`hubspot/api-facts.md#5`). Not every portal has each of them.
#[derive(Debug, PartialEq, Eq)]
pub struct StandardObject {
    /// The plural name: in the mapping, in paths and in scopes.
    pub name: &'static str,
    /// The singular: in front of the dot of a classic event type, as in `contact.creation`.
    pub event_word: &'static str,
    /// HubSpot's object type id.
    pub type_id: &'static str,
    /// Which webhook events tell of it.
    pub events: ObjectEvents,
    /// The group in which properties of our own stand, where it is known (`hubspot/api-facts.md#7`).
    pub group: Option<&'static str>,
    /// The property that holds the time of a record's last change.
    pub modified_property: &'static str,
    /// The property that HubSpot keeps unique, whatever the schema says.
    pub unique: Option<&'static str>,
    /// The property that HubSpot holds as the host of an address.
    pub domain: Option<&'static str>,
    /// The properties that hold a record's pipeline and its stage, where it moves through pipelines.
    pub stages: Option<StageProperties>,
    /// The one scope for reading and writing, where there is no pair of them (`hubspot/api-facts.md#2`).
    pub only_scope: Option<&'static str>,
    /// The object by whose scopes it is opened, where it has none of its own (`hubspot/api-facts.md#2`).
    pub opened_as: Option<&'static str>,
    /// Whether its records can be erased for privacy.
    pub has_privacy_deletion: bool,
    /// Whether HubSpot lets no app write its records (`hubspot/api-facts.md#9`).
    pub is_read_only: bool,
    /// The properties without which HubSpot takes no create of it, beside what a portal's own rules demand
    /// (`hubspot/api-facts.md#5`).
    pub required: &'static [&'static str],
    /// Properties without at least one of which HubSpot takes no create; empty where it asks for none.
    pub one_of: &'static [&'static str],
    /// What becomes of a new record's associations.
    pub new_links: NewLinks,
    /// The properties that an object without a list of its own gets, so that `[objects.contacts]` alone works. All are
    /// HubSpot's own; what a portal calculates is found out from its schema.
    pub properties: &'static [&'static str],
}

/// What becomes of the associations of a new record, from the least to the most that hangs on them. Of two new records that
/// name each other the one on which more hangs goes last.
///
/// Where nothing hangs on them they follow the create: so it stays a batch upsert, which may be repeated and takes none, and so
/// no create waits for another row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewLinks {
    /// They are made once both records are there.
    Follow,
    /// They go along in the create: a note that nobody finds under a record is useless.
    GoAlong,
    /// They go along, and HubSpot takes no new record without an association with a record of one of these
    /// (`hubspot/api-facts.md#5`).
    Demanded(&'static [&'static str]),
}

impl NewLinks {
    /// What becomes of those of an object's new records.
    pub fn of(object: &ObjectType) -> Self {
        let standard = StandardObject::of(object.as_str());
        standard.map_or(Self::Follow, |standard| standard.new_links)
    }

    /// Whether more hangs on them than on those of another new record.
    pub fn exceeds(self, other: Self) -> bool {
        let rank = |links| match links {
            Self::Follow => 0,
            Self::GoAlong => 1,
            Self::Demanded(_) => 2,
        };
        rank(self) > rank(other)
    }
}

/// The properties of a record that say where it stands (`hubspot/api-facts.md#9`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageProperties {
    /// Which pipeline.
    pub pipeline: &'static str,
    /// Which of its stages.
    pub stage: &'static str,
    /// The pipeline in which HubSpot makes a record that names none, where that is known (`hubspot/api-facts.md#5`).
    pub default_pipeline: Option<&'static str>,
}

/// Those of deals.
const DEAL_STAGES: StageProperties = StageProperties {
    pipeline: "pipeline",
    stage: "dealstage",
    default_pipeline: Some("default"),
};

/// Those of tickets.
const TICKET_STAGES: StageProperties = StageProperties {
    default_pipeline: Some("0"),
    ..STAGES
};

/// Those of all other objects that have pipelines, custom ones too.
pub(crate) const STAGES: StageProperties = StageProperties {
    pipeline: "hs_pipeline",
    stage: "hs_pipeline_stage",
    default_pipeline: None,
};

/// The last-modified property of all objects but contacts.
const MODIFIED: &str = "hs_lastmodifieddate";

/// The last-modified property of contacts.
const MODIFIED_OF_CONTACTS: &str = "lastmodifieddate";

/// The last-modified properties, of all objects.
pub const MODIFIED_PROPERTIES: [&str; 2] = [MODIFIED, MODIFIED_OF_CONTACTS];

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

/// The group in which properties of our own stand, where that is known; else the portal's groups tell.
pub fn group_of(object: &ObjectType) -> Option<&'static str> {
    StandardObject::of(object.as_str()).and_then(|standard| standard.group)
}

/// The properties that hold pipeline and stage of an object's records, if it has them: what it is to have is in the
/// table, what another has is told by the names of its properties.
pub fn stage_properties(
    object: &ObjectType,
    has: impl Fn(&str) -> bool,
) -> Option<StageProperties> {
    match StandardObject::of(object.as_str()) {
        Some(standard) if standard.stages.is_some() => standard.stages,
        Some(_) | None => (has(STAGES.pipeline) && has(STAGES.stage)).then_some(STAGES),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_spelling_means_two_objects() {
        let mut seen = BTreeSet::new();
        for object in &STANDARD_OBJECTS {
            let spellings = BTreeSet::from([object.name, object.event_word, object.type_id]);
            for spelling in spellings {
                assert!(seen.insert(spelling), "{spelling}");
                assert_eq!(StandardObject::spelled(spelling), Some(object));
            }
            assert_eq!(object.object_type().as_str(), object.name);
        }
        assert_eq!(StandardObject::spelled("pets"), None);
    }

    #[test]
    fn what_identifies_a_record_is_among_its_properties() {
        for object in &STANDARD_OBJECTS {
            let named = [object.unique, object.domain].into_iter().flatten();
            let stages = object
                .stages
                .iter()
                .flat_map(|own| [own.pipeline, own.stage]);
            for property in named.chain(stages).chain(object.required.iter().copied()) {
                assert!(object.properties.contains(&property), "{property}");
            }
        }
    }

    #[test]
    fn an_object_that_is_no_standard_one_has_the_defaults() {
        let pets = ObjectType::parse("pets").expect("a name");
        assert_eq!(modified_property(&pets), "hs_lastmodifieddate");
        assert_eq!(group_of(&pets), None);
        assert_eq!(stage_properties(&pets, |_| false), None);
        assert_eq!(stage_properties(&pets, |_| true), Some(STAGES));
        let email = PropertyName::parse("email").expect("a name");
        assert!(!is_unique_in_hubspot(&pets, &email));
    }
}
