//! The present state of records, as a read just before a decision about them showed it.

use std::collections::BTreeMap;

use crate::decide::echo::Histories;
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;

/// What a batch read showed.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// The records that are there.
    pub records: Vec<RemoteRecord>,
    /// The histories that were asked for, by record.
    pub histories: BTreeMap<HubspotId, Histories>,
    /// The keys of which HubSpot could not read the record this time.
    pub unread: Vec<String>,
}

impl Present {
    /// Whether HubSpot could not read a record this time: it is neither shown nor gone.
    pub fn is_unread(&self, id: HubspotId) -> bool {
        let key = id.to_string();
        self.unread.contains(&key)
    }

    /// The record that an id means now, itself or merged into another one.
    pub fn of(&self, id: HubspotId) -> Option<&RemoteRecord> {
        self.records.iter().find(|record| record.answers_to(id))
    }
}
