//! When events came: reads that are not full wait until it is quiet (`decide/incoming/sorting`).

use parking_lot::Mutex;

use crate::decide::incoming::sorting::LastArrivals;
use crate::model::time::Timestamp;

/// When events came.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(Mutex<LastArrivals>);

impl Arrivals {
    pub(super) fn note(&self, now: Timestamp, events: usize) {
        self.0.lock().note(now, events);
    }

    /// When it is quiet enough for a read that is not full; a time that has come means now.
    pub(crate) fn quiet_at(&self, now: Timestamp) -> Timestamp {
        self.0.lock().quiet_at(now)
    }
}
