//! The objects in force, each with its mirror table.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::model::synced::SyncedObject;
use crate::store::mirror::MirrorTable;

/// An object in force, with its table. What is decided about it looks at the object alone.
#[derive(Debug, Clone)]
pub struct ObjectSync {
    /// Its mirror table, with the fields that can be synced.
    pub table: MirrorTable,
    synced: SyncedObject,
}

impl ObjectSync {
    /// An object with the table of its mapping.
    pub fn new(synced: SyncedObject) -> Self {
        let (mapping, names) = (Arc::clone(&synced.mapping), Arc::clone(&synced.names));
        Self {
            table: MirrorTable::of(mapping, names),
            synced,
        }
    }
}

impl Deref for ObjectSync {
    type Target = SyncedObject;

    fn deref(&self) -> &SyncedObject {
        &self.synced
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

/// What was read of the portal and is in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortalInForce {
    /// The objects that can be synced.
    pub(crate) objects: Arc<Objects>,
    /// The mapping with the portal's types; `None` until the schema was read.
    pub(crate) mapping: Option<Arc<Mapping>>,
}

impl PortalInForce {
    /// The same with what another mapping of the same shape says of ways to go: who wins, and when HubSpot is asked.
    #[must_use]
    pub(crate) fn with_ways_of(&self, in_file: &Mapping) -> Self {
        let objects = self.objects.iter().map(|former| {
            let synced = SyncedObject::clone(former);
            ObjectSync::new(synced.with_ways_of(in_file))
        });
        let mapping = self.mapping.as_ref();
        Self {
            objects: Arc::new(Objects::new(objects.collect())),
            mapping: mapping.map(|own| Arc::new(own.with_ways_of(in_file))),
        }
    }

    /// The same with another version of one object.
    #[must_use]
    pub(crate) fn with(&self, object: &ObjectSync) -> Self {
        let objects = self.objects.iter().map(|former| {
            if former.object() == object.object() {
                object.clone()
            } else {
                ObjectSync::clone(former)
            }
        });
        Self {
            objects: Arc::new(Objects::new(objects.collect())),
            mapping: self.mapping.clone(),
        }
    }
}
