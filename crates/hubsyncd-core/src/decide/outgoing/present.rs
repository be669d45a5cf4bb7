//! The present state of records, as a read just before a decision about them showed it.

use std::collections::BTreeMap;

use crate::decide::echo::Histories;
use crate::decide::incoming::freshness::{Freshness, of_claim};
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;

/// What a batch read showed.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// When HubSpot was asked, by this machine's clock.
    pub asked_at: Timestamp,
    /// The records that are there.
    pub records: Vec<RemoteRecord>,
    /// The histories that were asked for, by record.
    pub histories: BTreeMap<HubspotId, Histories>,
    /// The keys of which HubSpot could not read the record this time.
    pub unread: Vec<String>,
}

/// What a read says of one record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Look<'a> {
    /// It shows it, itself or what it was merged into.
    Shown(&'a RemoteRecord),
    /// It shows it as it was before what is known here: another answer was faster.
    Outdated,
    /// HubSpot could not read it this time.
    Unread,
    /// It does not show it.
    Missing,
}

/// What is known here of a record that a read is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownVersion {
    /// The latest version that was shown.
    pub version: Option<Timestamp>,
    /// HubSpot's clock minus this machine's.
    pub offset_ms: i64,
}

impl Present {
    /// What the read says of a record: what rests on it says what is known.
    pub fn look(&self, id: HubspotId, known: KnownVersion) -> Look<'_> {
        match self.of(id) {
            Some(record) if record.id == id && self.is_outdated(record, known) => Look::Outdated,
            Some(record) => Look::Shown(record),
            None if self.is_unread(id) => Look::Unread,
            None => Look::Missing,
        }
    }

    fn is_outdated(&self, record: &RemoteRecord, known: KnownVersion) -> bool {
        let asked_at = self.asked_at.plus_millis(known.offset_ms);
        of_claim(asked_at, record.updated_at, known.version) == Freshness::Stale
    }

    /// Whether HubSpot could not read a record this time: it is neither shown nor gone.
    pub(crate) fn is_unread(&self, id: HubspotId) -> bool {
        let key = id.to_string();
        self.unread.contains(&key)
    }

    /// The record that an id means now, itself or merged into another one.
    pub fn of(&self, id: HubspotId) -> Option<&RemoteRecord> {
        self.records.iter().find(|record| record.answers_to(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, record};

    #[test]
    fn a_read_says_of_a_record_no_more_than_what_is_as_new_as_what_is_known() {
        let mut survivor = record(104, 5, &[]);
        survivor.merged_ids = vec![HubspotId(103)];
        let present = Present {
            asked_at: at(8),
            records: vec![record(101, 5, &[]), survivor],
            unread: vec!["102".to_owned()],
            ..Present::default()
        };
        let look = |id, version: Option<i64>| {
            let known = KnownVersion {
                version: version.map(at),
                offset_ms: 0,
            };
            present.look(HubspotId(id), known)
        };
        let is_shown = |look| matches!(look, Look::Shown(_));
        assert!(is_shown(look(101, None)));
        assert!(is_shown(look(101, Some(5))));
        assert_eq!(look(101, Some(9)), Look::Outdated);
        assert_eq!(look(102, Some(9)), Look::Unread);
        // What it went into is another record, with versions of its own.
        assert!(is_shown(look(103, Some(9))));
        assert_eq!(look(104, Some(9)), Look::Outdated);
        assert_eq!(look(105, None), Look::Missing);
    }
}
