//! Records that something asked to be read: which of them go into one batch, what an answer leaves out, and how long a
//! privacy deletion is looked for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::outgoing::plan::BATCH_WITH_HISTORY;
use crate::decide::outgoing::present::Present;
use crate::model::answer::Record;
use crate::model::id::HubspotId;
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::record::RemoteRecord;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// A read that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The record.
    pub id: HubspotId,
    /// Who asked first.
    pub origin: Origin,
    /// How often it was asked for.
    pub number: i64,
}

/// What HubSpot's archive says of a record that is not among the live ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    /// It does not show it, or was not asked.
    Unshown,
    /// It shows it, with the time of its archiving where HubSpot says that.
    Shown(Option<Timestamp>),
}

impl Archived {
    /// When the record was archived, where that is known.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::Unshown => None,
            Self::Shown(at) => at,
        }
    }

    /// Whether the archive shows it.
    pub fn is_shown(self) -> bool {
        self != Self::Unshown
    }

    /// The same with what was said before.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        match (self, before) {
            (Self::Shown(at), Self::Shown(former)) => Self::Shown(at.or(former)),
            (Self::Shown(_), Self::Unshown) => self,
            (Self::Unshown, _) => before,
        }
    }
}

/// A record that HubSpot no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// The record.
    pub id: HubspotId,
    /// What HubSpot's archive says of it.
    pub archived: Archived,
    /// How it was found.
    pub origin: Origin,
}

/// What is asked for in one read.
#[derive(Debug, Default)]
pub struct WantedReads {
    /// The records.
    pub ids: Vec<Due>,
    /// Properties whose histories are asked for.
    pub with_history: BTreeSet<PropertyName>,
    /// Whether some history is to tell what became of a request of ours.
    pub in_doubt: bool,
}

impl WantedReads {
    /// Adds a record, with the properties for which a merge may need the time or the author of HubSpot's change. `false`: it
    /// does not go into this read, which is full as it is: with histories a batch is smaller (`hubspot/api-facts.md#3`).
    pub fn add(&mut self, due: Due, contested: BTreeSet<PropertyName>, in_doubt: bool) -> bool {
        if !contested.is_empty() && self.ids.len() >= BATCH_WITH_HISTORY {
            return false;
        }
        self.ids.push(due);
        self.with_history.extend(contested);
        self.in_doubt |= in_doubt;
        true
    }

    /// The read, no larger than its histories allow.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if !self.with_history.is_empty() {
            self.ids.truncate(BATCH_WITH_HISTORY);
        }
        self
    }
}

/// What a read tells of the records that it does not show.
#[derive(Debug, Default, PartialEq)]
pub struct Absent {
    /// Nothing is known of them yet.
    pub unread: Vec<Due>,
    /// HubSpot says that they are missing, or shows them in its archive.
    pub missing: Vec<Due>,
}

/// What was asked for and is not shown. An id that was merged away is answered by the survivor (`hubspot/api-facts.md#13`).
pub fn absent(asked: &[Due], found: &[Record]) -> Vec<Due> {
    let mut seen = BTreeSet::new();
    for record in found {
        seen.insert(record.id);
        seen.extend(record.merged_ids());
    }
    let asked = asked.iter().filter(|due| !seen.contains(&due.id));
    asked.copied().collect()
}

/// Gone is what HubSpot says to be missing, or shows in its archive. Of anything else nothing is known yet.
pub fn told_of_absent(absent: Vec<Due>, unread: &[String], archived: &[Record]) -> Absent {
    let is_archived = |id| archived.iter().any(|record| record.id == id);
    let (unread, missing) = absent
        .into_iter()
        .partition(|due| unread.contains(&due.id.to_string()) && !is_archived(due.id));
    Absent { unread, missing }
}

/// Who asked for a record, by its own id or by one that was merged into it.
pub fn origin_of(asked: &[Due], record: &RemoteRecord) -> Origin {
    let by_id = asked.iter().find(|due| due.id == record.id);
    let by_merge = || asked.iter().find(|due| record.merged_ids.contains(&due.id));
    by_id
        .or_else(by_merge)
        .map_or(Origin::Poll, |due| due.origin)
}

/// What a fresh read says of removals that a person let go.
#[derive(Debug, Default, PartialEq)]
pub struct ApprovedRemovals {
    /// They go.
    pub gone: Vec<Removal>,
    /// HubSpot could not read them this time.
    pub unread: Vec<HubspotId>,
}

/// Sorts removals that a person let go by what a fresh read shows. `noted`: those that are still to be removed: one that is
/// shown again meanwhile is none any more.
pub fn approved_removals(
    removals: &[Removal],
    noted: &[Removal],
    present: &Present,
) -> ApprovedRemovals {
    let is_shown = |id| present.records.iter().any(|record| record.id == id);
    let (unread, told): (Vec<&Removal>, Vec<&Removal>) = removals
        .iter()
        .partition(|removal| present.is_unread(removal.id));
    let gone = told
        .into_iter()
        .filter(|removal| noted.contains(removal) && !is_shown(removal.id));
    ApprovedRemovals {
        gone: gone.copied().collect(),
        unread: unread.into_iter().map(|removal| removal.id).collect(),
    }
}

/// How far apart a push that HubSpot acknowledged and its entry in a history may be.
const ACKNOWLEDGED_WITHIN_MS: i64 = 60_000;

/// A value that an app has set, perhaps by a push of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct MaybePushed {
    /// The property.
    pub property: PropertyName,
    /// The value.
    pub value: Value,
    /// Within which time a push would have been acknowledged, by this machine's clock.
    pub within: (Timestamp, Timestamp),
    /// The app.
    pub app: String,
}

/// Within which time a push would have been acknowledged that HubSpot carried out `at` that moment, by this machine's clock.
pub fn acknowledged_within(at: Timestamp, clock_offset_ms: i64) -> (Timestamp, Timestamp) {
    let at = at.plus_millis(-clock_offset_ms);
    let span = ACKNOWLEDGED_WITHIN_MS;
    (at.plus_millis(-span), at.plus_millis(span))
}

/// The values of a record's histories that an app has set: where one was pushed by us, that app is ours.
pub fn set_by_apps(
    object: &SyncedObject,
    record: &Record,
    clock_offset_ms: i64,
) -> Vec<MaybePushed> {
    let mut found = Vec::new();
    for (property, entries) in &record.history {
        let property = PropertyName::parse(property).ok();
        let Some(field) = property.and_then(|property| object.mapping().field(&property)) else {
            continue;
        };
        for entry in entries {
            let value = field.property_type.canonical(entry.value.as_deref());
            let (Some("INTEGRATION"), Some(app), Ok(value)) =
                (entry.source_type.as_deref(), &entry.source_id, value)
            else {
                continue;
            };
            found.push(MaybePushed {
                property: field.property.clone(),
                value,
                within: acknowledged_within(entry.at, clock_offset_ms),
                app: app.clone(),
            });
        }
    }
    found
}

/// How long after a privacy deletion's event HubSpot may still show the record.
const LATEST_ERASURE: Duration = Duration::from_hours(24);

/// Time between two looks at a record whose privacy deletion was announced and that HubSpot still shows: at first the
/// event may only have been faster than the deletion.
const BETWEEN_FIRST_LOOKS: Duration = Duration::from_secs(10);

/// How long those go on.
const FIRST_LOOKS: Duration = Duration::from_mins(2);

/// Time between two later looks.
const BETWEEN_LOOKS: Duration = Duration::from_mins(5);

/// When a record that is to be erased and that HubSpot still shows is looked at again; `None`: no more. `borne_out`: this
/// machine's time as far as HubSpot's bears it out.
pub fn next_look_for_erasure(
    asked_at: Timestamp,
    borne_out: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    // A clock that is put ahead must not end the wait for a deletion that was promised to a person.
    let age = borne_out.unwrap_or(now).since(asked_at);
    // A clock that was set back must not keep it at the first looks.
    let wait = match age < FIRST_LOOKS && asked_at <= now {
        true => BETWEEN_FIRST_LOOKS,
        false => BETWEEN_LOOKS,
    };
    (age < LATEST_ERASURE).then_some(now + wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, property, record};

    fn due(id: i64) -> Due {
        Due {
            id: HubspotId(id),
            origin: Origin::Webhook,
            number: 1,
        }
    }

    #[test]
    fn a_read_with_histories_is_smaller() {
        let contested = || BTreeSet::from([property("city")]);
        let ids = |contested_at: usize| {
            let mut wanted = WantedReads::default();
            for id in 0..100 {
                let properties = match id == contested_at {
                    true => contested(),
                    false => BTreeSet::new(),
                };
                if !wanted.add(due(id as i64), properties, false) {
                    break;
                }
            }
            wanted.bounded().ids.len()
        };
        assert_eq!((ids(0), ids(200)), (BATCH_WITH_HISTORY, 100));
        assert_eq!(ids(70), 70);
    }

    #[test]
    fn what_could_not_be_read_is_gone_only_where_the_archive_shows_it() {
        let archived = [Record {
            id: HubspotId(2),
            properties: std::collections::BTreeMap::new(),
            odd: std::collections::BTreeMap::new(),
            created_at: at(0),
            updated_at: at(0),
            archived: true,
            archived_at: None,
            new: None,
            trace_id: None,
            history: std::collections::BTreeMap::new(),
        }];
        let asked = [due(1), due(2), due(3)];
        let told = told_of_absent(asked.to_vec(), &["1".to_owned(), "2".to_owned()], &archived);
        assert_eq!(told.unread, [due(1)]);
        assert_eq!(told.missing, [due(2), due(3)]);
        assert_eq!(absent(&asked, &archived), [due(1), due(3)]);
    }

    #[test]
    fn an_approved_removal_goes_only_where_it_is_still_noted_and_a_read_misses_it() {
        let removal = |id| Removal {
            id: HubspotId(id),
            archived: Archived::Unshown,
            origin: Origin::Poll,
        };
        let all = [removal(1), removal(2), removal(3), removal(4)];
        let present = Present {
            records: vec![record(2, 0, &[])],
            unread: vec!["3".to_owned()],
            ..Present::default()
        };
        let sorted = approved_removals(&all, &all[..3], &present);
        assert_eq!(sorted.gone, [removal(1)]);
        assert_eq!(sorted.unread, [HubspotId(3)]);
    }

    #[test]
    fn a_privacy_deletion_is_looked_for_a_whole_day() {
        let day = 24 * 3600;
        for (second, wait) in [
            (20, Some(10)),
            (200, Some(300)),
            (day - 1, Some(300)),
            (day, None),
        ] {
            let next = next_look_for_erasure(at(0), None, at(second));
            assert_eq!(next, wait.map(|wait| at(second + wait)), "{second}");
        }
        // A clock that was put ahead ends nothing, and one that was set back does not look all the time.
        assert!(next_look_for_erasure(at(0), Some(at(10)), at(2 * day)).is_some());
        assert_eq!(next_look_for_erasure(at(100), None, at(0)), Some(at(300)));
    }
}
