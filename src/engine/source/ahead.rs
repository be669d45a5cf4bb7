//! The page of a first read that was asked for while the one before it was being written. It is not in the database, and a crash
//! costs its request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::portal::objects::ObjectSync;
use crate::model::id::HubspotId;
use crate::model::mapping::ObjectMapping;
use crate::model::name::ObjectType;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;

/// A page that was read longer ago is read again: what it says may have been overtaken many times.
const AHEAD_AT_MOST: Duration = Duration::from_secs(30);

/// A page of the list, read.
#[derive(Debug)]
pub(super) struct ReadPage {
    /// This machine's time before the request was sent.
    pub(super) asked_at: Timestamp,
    /// Its records.
    pub(super) records: Vec<RemoteRecord>,
    /// Records of the page that HubSpot could not read this time.
    pub(super) unread: Vec<HubspotId>,
    /// What of the page not even the id could be read, in a sentence.
    pub(super) odd: Option<String>,
    /// With what the next one is asked for; `None` at the end.
    pub(super) after: Option<String>,
    /// The `Date` of the answer, by HubSpot's clock.
    pub(super) date: Option<Timestamp>,
}

/// At most one page of each object.
#[derive(Debug, Default)]
pub(crate) struct AheadPages(Mutex<BTreeMap<ObjectType, Ahead>>);

#[derive(Debug)]
struct Ahead {
    /// The `after` that it was asked with.
    asked_with: String,
    /// The mapping that its values were read by.
    mapping: Arc<ObjectMapping>,
    page: ReadPage,
}

impl AheadPages {
    /// Keeps an object's page that was asked for with `asked_with`.
    pub(super) fn keep(&self, object: &ObjectSync, asked_with: String, page: ReadPage) {
        let ahead = Ahead {
            asked_with,
            mapping: Arc::clone(object.table.mapping()),
            page,
        };
        self.0.lock().insert(object.object().clone(), ahead);
    }

    /// Takes the page out, where it is the one that is due and still means what it meant.
    pub(super) fn take(
        &self,
        object: &ObjectSync,
        after: Option<&String>,
        now: Timestamp,
    ) -> Option<ReadPage> {
        let ahead = self.0.lock().remove(object.object())?;
        let asked_at = ahead.page.asked_at;
        let is_due = Some(&ahead.asked_with) == after
            && Arc::ptr_eq(&ahead.mapping, object.table.mapping())
            && (asked_at..=asked_at + AHEAD_AT_MOST).contains(&now);
        is_due.then_some(ahead.page)
    }
}
