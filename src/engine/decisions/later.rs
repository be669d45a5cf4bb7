//! What people asked for and HubSpot could not tell yet: put off until another question is worth its request.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::decide::retry::latest_due;
use crate::model::time::Timestamp;

/// Things that wait for a better answer of HubSpot's, each with the time of the next question: a look a second would cost a
/// request a second. After a start each is looked at once more.
#[derive(Debug)]
pub(crate) struct PutOff<K>(Mutex<BTreeMap<K, Timestamp>>);

impl<K> Default for PutOff<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Copy> PutOff<K> {
    /// Those that wait. A time that no wait explains was written by a clock that was ahead.
    pub(crate) fn ids(&self, now: Timestamp) -> BTreeSet<K> {
        let mut later = self.0.lock();
        later.retain(|_, until| now < *until && *until <= latest_due(now));
        later.keys().copied().collect()
    }

    /// Puts some off.
    pub(crate) fn put_off(&self, some: impl IntoIterator<Item = (K, Timestamp)>) {
        self.0.lock().extend(some);
    }

    /// When the next one is to be looked at.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let later = self.0.lock();
        later.values().filter(|until| now < **until).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_put_off_waits_until_its_time_and_not_for_a_clock_that_was_ahead() {
        let now = Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment");
        let later = PutOff::default();
        assert_eq!(later.next(now), None);
        later.put_off([
            (1_i64, now + Duration::from_secs(30)),
            (2, now + Duration::from_secs(10)),
            (3, now + Duration::from_hours(24 * 365)),
        ]);
        assert_eq!(later.next(now), Some(now + Duration::from_secs(10)));
        assert_eq!(later.ids(now), BTreeSet::from([1, 2]));
        assert_eq!(
            later.ids(now + Duration::from_secs(10)),
            BTreeSet::from([1])
        );
        assert_eq!(later.ids(now + Duration::from_secs(30)), BTreeSet::new());
    }
}
