//! The objects in force: the mapping with the portal's types, its mirror tables, and what requests ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::mapping::ObjectMapping;
use crate::model::name::{ObjectType, PropertyName};
use crate::store::mirror::MirrorTable;

/// An object in force.
#[derive(Debug, Clone)]
pub struct ObjectSync {
    /// Its mirror table, with the fields that can be synced.
    pub table: MirrorTable,
    /// The unique property that keys our creates, where the portal has it.
    pub key_property: Option<PropertyName>,
    /// Whether the key property is to be made before the first create.
    pub key_wanted: bool,
    /// Whether the match property can be looked up by batch read: contacts' e-mail, or a unique property.
    pub match_is_unique: bool,
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

    /// What a request must ask for beside the mapped properties: merges would be invisible otherwise
    /// (`hubspot/api-facts.md#13`), and our own creates can't be told without their key.
    pub fn asked_properties(mapping: &ObjectMapping, key: Option<&PropertyName>) -> Vec<String> {
        let mut properties: Vec<String> = mapping
            .fields
            .iter()
            .map(|field| field.property.as_str().to_owned())
            .collect();
        let own = ["hs_merged_object_ids"]
            .into_iter()
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
