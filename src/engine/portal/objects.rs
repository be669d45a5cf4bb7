//! The objects in force: the mapping with the portal's types, its mirror tables, and what requests ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::matching::{LookBefore, look_before_create};
use crate::hubspot::record::MERGED_IDS;
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::is_unique_in_hubspot;
use crate::store::mirror::MirrorTable;

/// A contact's further e-mail addresses.
pub(crate) const OTHER_EMAILS: &str = "hs_additional_emails";

/// An object in force.
#[derive(Debug, Clone)]
pub struct ObjectSync {
    /// Its mirror table, with the fields that can be synced.
    pub table: MirrorTable,
    /// The property of our own that keys our creates, where the portal has it; never a natural key.
    pub key_property: Option<PropertyName>,
    /// Whether the key property is to be made before the first create.
    pub key_wanted: bool,
    /// Mapped properties of which HubSpot gives no two records one value: they can be looked up by batch read.
    pub unique: Vec<PropertyName>,
    /// The properties that every request asks for.
    pub properties: Vec<String>,
}

impl ObjectSync {
    /// The object's mapping.
    pub fn mapping(&self) -> &ObjectMapping {
        self.table.mapping()
    }

    /// The object's name.
    pub fn object(&self) -> &ObjectType {
        &self.table.mapping().object
    }

    /// Whether HubSpot gives no two records one value of a property.
    pub fn is_unique(&self, property: &PropertyName) -> bool {
        self.unique.contains(property)
    }

    /// The fields by which a create's record is looked for in one way before it is sent.
    pub fn looked_up(&self, way: LookBefore) -> impl Iterator<Item = &FieldMapping> {
        let direction = self.mapping().direction;
        self.mapping().identities().filter(move |field| {
            look_before_create(direction, self.is_unique(&field.property)) == way
        })
    }

    /// What a request must ask for beside the mapped properties: merges would be invisible otherwise
    /// (`hubspot/api-facts.md#13`), and our own creates can't be told without their key.
    pub fn asked_properties(mapping: &ObjectMapping, key: Option<&PropertyName>) -> Vec<String> {
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
            .chain(key.map(PropertyName::as_str));
        for name in own {
            if !properties.iter().any(|property| property == name) {
                properties.push(name.to_owned());
            }
        }
        properties
    }
}

/// All objects in force.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    by_name: BTreeMap<ObjectType, Arc<ObjectSync>>,
    order: Vec<ObjectType>,
}

impl Objects {
    /// Takes objects in the mapping's order.
    pub fn new(objects: Vec<ObjectSync>) -> Self {
        let order = objects
            .iter()
            .map(|object| object.object().clone())
            .collect();
        let by_name = objects
            .into_iter()
            .map(|object| (object.object().clone(), Arc::new(object)))
            .collect();
        Self { by_name, order }
    }

    /// An object by its name.
    pub fn get(&self, name: &ObjectType) -> Option<Arc<ObjectSync>> {
        self.by_name.get(name).cloned()
    }

    /// All objects in the mapping's order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ObjectSync>> {
        self.order.iter().filter_map(|name| self.by_name.get(name))
    }

    /// Whether the schema has not been read yet.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
