//! Decisions of people's that wait until HubSpot can tell what they are about.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::decide::retry::latest_due;
use crate::model::id::ConflictId;
use crate::model::time::Timestamp;

/// Decisions that wait for a better answer of HubSpot's, each with the time of the next question: a look a second would cost
/// a request a second. After a start they are looked at once more.
#[derive(Debug, Default)]
pub(crate) struct LaterDecisions(Mutex<BTreeMap<ConflictId, Timestamp>>);

impl LaterDecisions {
    /// Those that wait. A time that no wait explains was written by a clock that was ahead.
    pub(crate) fn ids(&self, now: Timestamp) -> BTreeSet<ConflictId> {
        let mut later = self.0.lock();
        later.retain(|_, until| now < *until && *until <= latest_due(now));
        later.keys().copied().collect()
    }

    /// Puts decisions off.
    pub(crate) fn put_off(&self, decisions: Vec<(ConflictId, Timestamp)>) {
        self.0.lock().extend(decisions);
    }
}
