//! What the lists that are being walked have shown of themselves (`source/ranges`), beside their ranges. A start finds it out again.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::store::ranges::ListWalk;

/// What is known of each object's list.
#[derive(Debug, Default)]
pub(crate) struct WalkedLists(Mutex<BTreeMap<(ObjectType, ListWalk), KnownList>>);

/// When the next search beside a list may leave, by the steady clock: all objects share one pace.
#[derive(Debug, Default)]
pub(crate) struct SearchTurns(Mutex<Duration>);

impl SearchTurns {
    /// Takes a turn; how long it is off.
    pub(super) fn take(&self, now: Duration, per_second: f64) -> Duration {
        let mut next = self.0.lock();
        let turn = (*next).max(now);
        *next = turn + Duration::from_secs_f64(1.0 / per_second);
        turn.saturating_sub(now)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct KnownList {
    /// Whether its cursor was shown to be a record's id.
    pub(super) is_by_id: bool,
    /// Whether it was shown not to be, in the middle of the list.
    pub(super) is_one_chain: bool,
    /// The highest id, and how many records there are.
    pub(super) extent: Option<(HubspotId, u64)>,
    /// Records that the walk has seen.
    pub(super) seen: u64,
    /// From one id to the next one, by the start of the range.
    pub(super) spacing: BTreeMap<HubspotId, f64>,
    /// The shortest time in which a page was answered.
    pub(super) latency: Option<Duration>,
}

impl WalkedLists {
    pub(super) fn of(&self, key: &(ObjectType, ListWalk)) -> KnownList {
        self.0.lock().get(key).cloned().unwrap_or_default()
    }

    pub(super) fn note(&self, key: (ObjectType, ListWalk), known: KnownList) {
        self.0.lock().insert(key, known);
    }

    /// The walk is at its end. That its cursor is no id is remembered.
    pub(super) fn forget(&self, key: &(ObjectType, ListWalk)) {
        if let Some(known) = self.0.lock().get_mut(key) {
            *known = KnownList {
                is_one_chain: known.is_one_chain,
                ..KnownList::default()
            };
        }
    }
}
