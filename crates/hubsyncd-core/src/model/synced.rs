//! An object in force: its mapping with the portal's types, what identifies its records, and what requests ask for.

use std::sync::Arc;

use crate::model::answer::MERGED_IDS;
use crate::model::association::PairMapping;
use crate::model::field_values::FieldNames;
use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::{NewLinks, StageProperties, StandardObject, is_unique_in_hubspot};

/// A contact's further e-mail addresses.
pub(crate) const OTHER_EMAILS: &str = "hs_additional_emails";

/// An object as the portal lets it be synced.
#[derive(Debug, Clone)]
pub struct SyncedObject {
    /// Its mapping, with the fields that can be synced.
    pub mapping: Arc<ObjectMapping>,
    /// The properties of the mapping, by whose places values are numbered.
    pub names: Arc<FieldNames>,
    /// The property of our own that keys our creates, where the portal has it; never a natural key.
    pub key_property: Option<PropertyName>,
    /// Whether the key property is to be made before the first create.
    pub key_wanted: bool,
    /// Mapped properties of which HubSpot gives no two records one value: they can be looked up by batch read.
    pub unique: Vec<PropertyName>,
    /// Properties without which HubSpot takes no create.
    pub required: Vec<String>,
    /// Properties without at least one of which HubSpot takes no create.
    pub one_of: &'static [&'static str],
    /// What becomes of a new record's associations.
    pub new_links: NewLinks,
    /// The properties that say where a record stands, where it moves through pipelines.
    pub stages: Option<StageProperties>,
    /// Mapped properties that HubSpot answers without listing them.
    pub unlisted: Vec<PropertyName>,
    /// The properties that every request asks for.
    pub properties: Vec<String>,
    /// The pairs at one of whose ends it stands.
    pub pairs: Vec<PairMapping>,
}

impl SyncedObject {
    /// An object without a key property and without unique ones, of which the portal has said nothing.
    pub fn of(mapping: ObjectMapping) -> Self {
        let standard = StandardObject::of(mapping.object.as_str());
        let required = standard.map_or(&[][..], |standard| standard.required);
        Self {
            names: FieldNames::of(&mapping),
            properties: asked_properties(
                &mapping,
                None,
                standard.and_then(|standard| standard.stages),
            ),
            required: required.iter().map(ToString::to_string).collect(),
            one_of: standard.map_or(&[][..], |standard| standard.one_of),
            new_links: NewLinks::of(&mapping.object),
            stages: standard.and_then(|standard| standard.stages),
            mapping: Arc::new(mapping),
            key_property: None,
            key_wanted: false,
            unique: Vec::new(),
            unlisted: Vec::new(),
            pairs: Vec::new(),
        }
    }

    /// The same with the pairs of a mapping at one of whose ends it stands.
    #[must_use]
    pub(crate) fn paired(self, pairs: &[PairMapping]) -> Self {
        let object = self.object();
        let own = pairs
            .iter()
            .filter(|pair| pair.from == *object || pair.to == *object);
        Self {
            pairs: own.cloned().collect(),
            ..self
        }
    }

    /// The same with the key property that is there, or was found to be not to be had.
    #[must_use]
    pub fn keyed(self, key_property: Option<PropertyName>) -> Self {
        Self {
            properties: asked_properties(&self.mapping, key_property.as_ref(), self.stages),
            key_property,
            key_wanted: false,
            ..self
        }
    }

    /// The same with what another mapping of the same shape says of ways to go.
    #[must_use]
    pub fn with_ways_of(self, in_file: &Mapping) -> Self {
        let pairs = self.pairs.into_iter();
        Self {
            mapping: Arc::new(self.mapping.with_ways_of(in_file)),
            pairs: pairs.map(|pair| pair.with_ways_of(in_file)).collect(),
            ..self
        }
    }

    /// The object's mapping.
    pub fn mapping(&self) -> &ObjectMapping {
        &self.mapping
    }

    /// The object's name.
    pub fn object(&self) -> &ObjectType {
        &self.mapping.object
    }

    /// The property that says in which pipeline a record stands, where the mapping has the stage alone.
    pub(crate) fn unmapped_pipeline(&self) -> Option<&'static str> {
        unmapped_pipeline(&self.mapping, self.stages)
    }

    /// Whether HubSpot gives no two records one value of a property.
    pub fn is_unique(&self, property: &PropertyName) -> bool {
        self.unique.contains(property)
    }
}

/// What a request must ask for beside the mapped properties: merges would be invisible otherwise
/// (`hubspot/api-facts.md#13`), our own creates can't be told without their key, and a stage is wrong in its pipeline alone.
fn asked_properties(
    mapping: &ObjectMapping,
    key: Option<&PropertyName>,
    stages: Option<StageProperties>,
) -> Vec<String> {
    let mut properties: Vec<String> = mapping
        .fields
        .iter()
        .map(|field| field.property.as_str().to_owned())
        .collect();
    let by_email = mapping
        .identities()
        .any(|field| is_unique_in_hubspot(&mapping.object, &field.property));
    let own = [MERGED_IDS]
        .into_iter()
        .chain(by_email.then_some(OTHER_EMAILS))
        .chain(key.map(PropertyName::as_str))
        .chain(unmapped_pipeline(mapping, stages));
    for name in own {
        if !properties.iter().any(|property| property == name) {
            properties.push(name.to_owned());
        }
    }
    properties
}

fn unmapped_pipeline(
    mapping: &ObjectMapping,
    stages: Option<StageProperties>,
) -> Option<&'static str> {
    let StageProperties {
        pipeline, stage, ..
    } = stages?;
    let is_mapped = |name: &str| {
        let mut fields = mapping.fields.iter();
        fields.any(|field| field.property.as_str() == name)
    };
    (is_mapped(stage) && !is_mapped(pipeline)).then_some(pipeline)
}
