//! What HubSpot is sent and what it answers, as the client hands it on: texts, unread.
//!
//! What a text means by its property's type is `model/value`'s business. `Debug` shows names and never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::association::TypeId;
use crate::model::id::HubspotId;
use crate::model::time::Timestamp;

/// A value that a property had.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The value's text; `None` where it was cleared.
    pub value: Option<String>,
    /// When it was set.
    pub at: Timestamp,
    /// What kind of thing set it: `INTEGRATION`, `CRM_UI` …; an open list (`hubspot/api-facts.md#7`).
    pub source_type: Option<String>,
    /// Which one: the app's id for an integration.
    pub source_id: Option<String>,
}

/// A record as an answer showed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The id in the answer; after a merge not always the one asked for.
    pub id: HubspotId,
    /// The texts of properties; `None` and absent both mean no value (`hubspot/api-facts.md#5`).
    pub properties: BTreeMap<String, Option<String>>,
    /// The JSON of properties that hold no text, number or boolean: what they say can't be read.
    pub odd: BTreeMap<String, String>,
    /// `createdAt`.
    pub created_at: Timestamp,
    /// `updatedAt`, the last-modified property to the millisecond.
    pub updated_at: Timestamp,
    /// Whether it lies in the archive.
    pub archived: bool,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// Upserts: whether this request made it.
    pub new: Option<bool>,
    /// Writes: the `objectWriteTraceId` of the input.
    pub trace_id: Option<String>,
    /// The values that properties had, the newest first, where they were asked for.
    pub history: BTreeMap<String, Vec<HistoryEntry>>,
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Record")
            .field("id", &self.id)
            .field("properties", &self.properties.keys())
            .field("updated_at", &self.updated_at.to_string())
            .field("archived", &self.archived)
            .field("trace_id", &self.trace_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HistoryEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HistoryEntry")
            .field("at", &self.at.to_string())
            .field("source_type", &self.source_type)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// A property's text; `None` where it has no value.
    pub fn text(&self, property: &str) -> Option<&str> {
        self.properties
            .get(property)?
            .as_deref()
            .filter(|text| !text.is_empty())
    }

    /// Whether the answer shows a property, in whatever form.
    pub fn shows(&self, property: &str) -> bool {
        self.properties.contains_key(property) || self.odd.contains_key(property)
    }

    /// The ids that were merged into the record (`hubspot/api-facts.md#13`).
    pub fn merged_ids(&self) -> Vec<HubspotId> {
        self.text(MERGED_IDS)
            .unwrap_or_default()
            .split(';')
            .filter_map(|part| part.trim().parse().ok())
            .filter(|id| *id != self.id)
            .collect()
    }

    /// The record of an answer that an id means, itself or merged into another one.
    pub fn answering(records: &[Self], id: HubspotId) -> Option<&Self> {
        records
            .iter()
            .find(|record| record.id == id || record.merged_ids().contains(&id))
    }
}

/// The property that says which ids a record answers to.
pub const MERGED_IDS: &str = "hs_merged_object_ids";

/// A record to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteInput {
    /// Distinct in the batch; comes back with the result.
    pub trace_id: String,
    /// The record's id, or the value of the id property; creates have none.
    pub id: Option<String>,
    /// Texts by property; an empty one clears (`hubspot/api-facts.md#7`).
    pub properties: Vec<(String, String)>,
    /// What a new record is associated with from its first moment; a create's alone.
    pub associations: Vec<NewAssociation>,
}

/// An association that goes along in a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAssociation {
    /// The record that is there already.
    pub to: HubspotId,
    /// Its types, as the new record sees them.
    pub types: BTreeSet<TypeId>,
}

impl fmt::Debug for WriteInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .properties
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        formatter
            .debug_struct("WriteInput")
            .field("trace_id", &self.trace_id)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}
