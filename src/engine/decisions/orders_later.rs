//! Commands by SQL that HubSpot did not answer: when each is tried again.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::decide::retry::{AFTER_UNREAD, latest_due};
use crate::model::time::Timestamp;

/// Commands with the time of the next attempt. After a start each is tried at once.
#[derive(Debug, Default)]
pub(crate) struct LaterOrders(Mutex<BTreeMap<i64, Timestamp>>);

impl LaterOrders {
    /// Whether it is too early for another attempt. A time that no wait explains was written by a clock that was ahead.
    pub(crate) fn is_put_off(&self, id: i64, now: Timestamp) -> bool {
        let mut later = self.0.lock();
        later.retain(|_, until| now < *until && *until <= latest_due(now));
        later.contains_key(&id)
    }

    /// Puts one off.
    pub(crate) fn put_off(&self, id: i64, now: Timestamp) {
        self.0.lock().insert(id, now + AFTER_UNREAD);
    }

    /// When the next one is to be tried.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let later = self.0.lock();
        later.values().filter(|until| now < **until).min().copied()
    }
}
