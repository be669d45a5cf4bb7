//! The records of one object: live, archived and merged away, with the indexes that keep every look-up cheap.
//!
//! Checks nothing and logs nothing: `prepare` has checked, `commit` logs and tells the search index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalogue::objects::ObjectSpec;
use crate::catalogue::{CONTACT, OBJECTS, ObjectIndex, schema_of};
use crate::portal::index::{SearchIndex, Visible};
use crate::portal::record::{Document, HistoryEntry, PropertyId, Source, Stored};
use crate::portal::schema::Schema;
use crate::portal::value::unique_key;
use crate::world::time;

/// A normalised change; `None` clears.
pub(crate) type Change = (PropertyId, Option<String>);

/// Properties whose value isn't stored but follows from the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Created,
    Modified,
    ObjectId,
}

/// All records of one object.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub spec: ObjectSpec,
    /// Shared with the copies of this portal until one of them changes it.
    pub schema: Arc<Schema>,
    pub live: BTreeMap<u64, Stored>,
    pub archived: BTreeMap<u64, Stored>,
    /// Merged-away ids and who took them in.
    pub redirects: BTreeMap<u64, u64>,
    pub by_modified: BTreeSet<(i64, u64)>,
    pub index: SearchIndex,
    /// E-mails that may not come back after a privacy deletion.
    pub blocked_emails: BTreeSet<String>,
    pub next_id: u64,
    unique: BTreeMap<PropertyId, HashMap<Box<str>, u64>>,
    system: Vec<(PropertyId, System)>,
    email: Option<PropertyId>,
    additional_emails: Option<PropertyId>,
}

impl Table {
    /// The table of a standard object, without records.
    pub(crate) fn new(object: ObjectIndex) -> Self {
        let spec = OBJECTS[object];
        Self::with(spec, schema_of(&spec))
    }

    /// The table of any object, without records.
    pub(crate) fn with(spec: ObjectSpec, schema: Schema) -> Self {
        let named = |name: &str, system| schema.id(name).map(|id| (id, system));
        let system = [
            named("createdate", System::Created),
            named("hs_createdate", System::Created),
            named(spec.modified, System::Modified),
            named("hs_object_id", System::ObjectId),
        ];
        let email = if spec.type_id == OBJECTS[CONTACT].type_id {
            schema.id("email")
        } else {
            None
        };
        let unique = schema
            .iter()
            .filter(|(id, property)| property.unique || Some(*id) == email);
        Self {
            spec,
            unique: unique.map(|(id, _)| (id, HashMap::new())).collect(),
            system: system.into_iter().flatten().collect(),
            email,
            additional_emails: schema.id("hs_additional_emails"),
            schema: Arc::new(schema),
            live: BTreeMap::new(),
            archived: BTreeMap::new(),
            redirects: BTreeMap::new(),
            by_modified: BTreeSet::new(),
            index: SearchIndex::default(),
            blocked_emails: BTreeSet::new(),
            next_id: spec.first_id,
        }
    }

    pub(crate) fn email(&self) -> Option<PropertyId> {
        self.email
    }

    pub(crate) fn system(&self, property: PropertyId) -> Option<System> {
        self.system
            .iter()
            .find(|(id, _)| *id == property)
            .map(|(_, system)| *system)
    }

    /// Whether values of this property name at most one record.
    pub(crate) fn is_key(&self, property: PropertyId) -> bool {
        self.unique.contains_key(&property)
    }

    /// A property that has just become unique; it has no values yet.
    pub(crate) fn add_key(&mut self, property: PropertyId) {
        self.unique.entry(property).or_default();
    }

    /// The live record that holds this unique value; a secondary e-mail counts.
    pub(crate) fn find_by_key(&self, property: PropertyId, value: &str) -> Option<u64> {
        self.unique
            .get(&property)?
            .get(unique_key(value).as_str())
            .copied()
    }

    /// The archived record that holds this unique value.
    pub(crate) fn find_archived_by_key(&self, property: PropertyId, value: &str) -> Option<u64> {
        let key = unique_key(value);
        let held = |stored: &Stored| {
            stored
                .document
                .values
                .get(property)
                .is_some_and(|text| unique_key(text) == key)
        };
        self.archived
            .iter()
            .find(|(_, stored)| held(stored))
            .map(|(id, _)| *id)
    }

    /// The live record that an id means, through any merges.
    pub(crate) fn resolve(&self, id: u64) -> Option<u64> {
        let id = self.redirects.get(&id).copied().unwrap_or(id);
        self.live.contains_key(&id).then_some(id)
    }

    /// The document that search shows for a record, if it shows one.
    pub(crate) fn visible(&self, id: u64) -> Option<&Document> {
        match self.index.visible(id) {
            Visible::AsStored => self.live.get(&id).map(|stored| &stored.document),
            Visible::Stale(document) => document,
        }
    }

    /// The value of a property as canonical text, computed ones included.
    pub(crate) fn value(
        &self,
        id: u64,
        document: &Document,
        property: PropertyId,
    ) -> Option<String> {
        if let Some(text) = document.values.get(property) {
            return Some(text.to_owned());
        }
        self.system(property).map(|system| match system {
            System::Created => time::iso(document.created_ms),
            System::Modified => time::iso(document.modified_ms),
            System::ObjectId => id.to_string(),
        })
    }

    fn keys_of(&self, document: &Document) -> Vec<(PropertyId, String)> {
        let own = self
            .unique
            .keys()
            .filter_map(|id| Some((*id, unique_key(document.values.get(*id)?))));
        let extra = self
            .additional_emails
            .and_then(|id| document.values.get(id))
            .unwrap_or_default();
        let extra = extra.split(';').filter(|email| !email.is_empty());
        own.chain(
            self.email
                .into_iter()
                .flat_map(|id| extra.clone().map(move |email| (id, unique_key(email)))),
        )
        .collect()
    }

    fn hold_keys(&mut self, id: u64, document: &Document) {
        for (property, key) in self.keys_of(document) {
            if let Some(holders) = self.unique.get_mut(&property) {
                holders.insert(key.into_boxed_str(), id);
            }
        }
    }

    fn free_keys(&mut self, id: u64, document: &Document) {
        for (property, key) in self.keys_of(document) {
            if let Some(holders) = self.unique.get_mut(&property)
                && holders.get(key.as_str()) == Some(&id)
            {
                holders.remove(key.as_str());
            }
        }
    }

    pub(crate) fn insert(&mut self, id: u64, stored: Stored) {
        self.hold_keys(id, &stored.document);
        self.by_modified.insert((stored.document.modified_ms, id));
        self.live.insert(id, stored);
    }

    /// Takes a live record out, keys and all.
    pub(crate) fn take(&mut self, id: u64) -> Option<Stored> {
        let stored = self.live.remove(&id)?;
        self.by_modified.remove(&(stored.document.modified_ms, id));
        self.free_keys(id, &stored.document);
        Some(stored)
    }

    /// Writes values of a live record; `modified_ms` only if the write counts as a change.
    pub(crate) fn update(
        &mut self,
        id: u64,
        changes: &[Change],
        source: Source,
        now_ms: i64,
        modified_ms: Option<i64>,
    ) {
        let Some(mut stored) = self.take(id) else {
            return;
        };
        for (property, value) in changes {
            if stored.document.values.get(*property) != value.as_deref() {
                let value = value.as_deref().unwrap_or_default().into();
                stored.remember(
                    *property,
                    HistoryEntry {
                        value,
                        at_ms: now_ms,
                        source,
                    },
                    self.spec.history_cap,
                );
            }
        }
        stored.document.values = stored.document.values.with(changes);
        if let Some(modified_ms) = modified_ms {
            stored.document.modified_ms = modified_ms;
        }
        self.insert(id, stored);
    }

    pub(crate) fn archive(&mut self, id: u64, now_ms: i64) {
        if let Some(mut stored) = self.take(id) {
            stored.extra_mut().archived_at_ms = Some(now_ms);
            self.archived.insert(id, stored);
        }
    }

    pub(crate) fn restore(&mut self, id: u64, now_ms: i64) {
        if let Some(mut stored) = self.archived.remove(&id) {
            stored.extra_mut().archived_at_ms = None;
            stored.document.modified_ms = now_ms;
            self.insert(id, stored);
        }
    }

    /// Whether another live record holds a key that this archived one would bring back.
    pub(crate) fn keys_are_taken(&self, document: &Document) -> bool {
        let keys = self.keys_of(document);
        keys.iter()
            .any(|(property, key)| self.find_by_key(*property, key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::record::Values;

    #[test]
    fn keys_are_freed_by_archiving_and_held_without_case() {
        let mut table = Table::new(CONTACT);
        let email = table.email().expect("contacts have one");
        let values = Values::new(vec![(email, "ada@example.com")]);
        let document = Document {
            created_ms: 1,
            modified_ms: 1,
            values,
        };
        table.insert(
            5,
            Stored {
                document,
                origin: Source::Import,
                extra: None,
            },
        );
        assert_eq!(table.find_by_key(email, " ADA@example.com"), Some(5));
        table.archive(5, 2);
        assert_eq!(table.find_by_key(email, "ada@example.com"), None);
        assert_eq!(
            table.find_archived_by_key(email, "Ada@example.com"),
            Some(5)
        );
        table.restore(5, 3);
        assert_eq!(table.find_by_key(email, "ada@example.com"), Some(5));
        assert_eq!(table.by_modified.iter().collect::<Vec<_>>(), [&(3, 5)]);
    }
}
