//! A record on either side.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::field_values::FieldValues;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A record as HubSpot showed it, its values canonical by the mapping's types.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteRecord {
    /// Its id in the answer; after a merge not always the id that was asked for.
    pub id: HubspotId,
    /// The mapped properties that the answer carried.
    pub values: FieldValues,
    /// Properties whose text can't be of the mapping's type, with that text.
    pub invalid: BTreeMap<PropertyName, Value>,
    /// `createdAt`.
    pub created_at: Timestamp,
    /// `updatedAt`, equal to the last-modified property.
    pub updated_at: Timestamp,
    /// Whether it lies in the archive.
    pub archived: bool,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// Ids of records that were merged into it (`hs_merged_object_ids`).
    pub merged_ids: Vec<HubspotId>,
    /// The key of our own create, where the portal has such a property.
    pub own_key: Option<String>,
    /// A contact's further e-mail addresses, each of which finds it as its first one does (`hubspot/api-facts.md#5`).
    pub other_emails: Vec<Value>,
    /// The pipeline in which it stands, of an object whose stage is mapped and whose pipeline is not.
    pub pipeline: Option<String>,
}

impl RemoteRecord {
    /// What the answer showed of a property, also where its type can't hold it.
    pub fn shown(&self, property: &PropertyName) -> Option<&Value> {
        self.values
            .get(property)
            .or_else(|| self.invalid.get(property))
    }

    /// Whether an id means this record: its own, or one that was merged into it.
    pub fn answers_to(&self, id: HubspotId) -> bool {
        self.id == id || self.merged_ids.contains(&id)
    }
}

/// A mirror row.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalRecord {
    /// The row's id.
    pub local_id: LocalId,
    /// The record's id, once HubSpot has it.
    pub hs_id: Option<HubspotId>,
    /// The mapped columns by property, canonical.
    pub values: FieldValues,
    /// Properties whose column holds text that is no UTF-8. It can't be sent; its value above is the literal of its bytes.
    pub unreadable: BTreeSet<PropertyName>,
    /// HubSpot's `updatedAt` when the row was last written from it.
    pub modified_at: Option<Timestamp>,
}
