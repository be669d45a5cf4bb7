//! What was heard of webhooks' deliveries since the start: the state of `decide/incoming/deliveries`, which the listener and the
//! polls share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::decide::incoming::deliveries::{DeliveryStanding, HeardDeliveries, Suspect};
use crate::model::time::Timestamp;

/// What is known of the deliveries.
#[derive(Debug, Default)]
pub struct Deliveries {
    heard: Mutex<HeardDeliveries>,
    dropped: AtomicU64,
}

impl Deliveries {
    /// Counts events of other portals.
    pub(crate) fn drop_foreign(&self, events: usize) {
        self.dropped.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Events of other portals since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A verified delivery came.
    pub fn came(&self, now: Timestamp) {
        self.heard.lock().came(now);
    }

    /// Deliveries are taken from now on; before, they were not, or not all.
    pub fn open(&self, now: Timestamp) {
        self.heard.lock().open(now);
    }

    /// How webhooks are doing, where `relaxed` is the relaxed interval.
    pub fn standing(&self, now: Timestamp, relaxed: Duration) -> DeliveryStanding {
        self.heard.lock().standing(now, relaxed)
    }

    /// Whether none has come yet: nothing can be missed then.
    pub(super) fn is_silent(&self) -> bool {
        self.heard.lock().is_silent()
    }

    /// Remembers changes that a poll found.
    pub(super) fn suspect(&self, changes: impl Iterator<Item = Suspect>) {
        self.heard.lock().suspect(changes);
    }

    /// Takes the changes that should have been announced by now.
    pub(super) fn take_late(&self, now: Timestamp, after: Duration) -> Vec<Suspect> {
        self.heard.lock().take_late(now, after)
    }

    /// A change was not announced.
    pub(super) fn miss(&self, missed: &Suspect, now: Timestamp) {
        self.heard.lock().miss(missed, now);
    }

    /// What was missed, for people.
    pub fn problem(&self) -> Option<String> {
        self.heard.lock().problem().map(str::to_owned)
    }
}
