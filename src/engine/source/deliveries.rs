//! Whether webhooks arrive, and what polling finds that no delivery announced (`decide/incoming/deliveries`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

pub(crate) use crate::decide::incoming::deliveries::DeliveryStanding;
use crate::decide::incoming::deliveries::{CLOCKS, HeardDeliveries, Suspect, latest};
use crate::engine::{Engine, StepError};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::{StoreError, inbox, meta};

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

    /// What was missed, for people.
    pub fn problem(&self) -> Option<String> {
        self.heard.lock().problem().map(str::to_owned)
    }
}

/// Remembers changes that a poll found, to see whether they are announced.
pub(crate) fn found_by_polling(
    engine: &Engine,
    object: &ObjectType,
    changed: Vec<(HubspotId, Timestamp)>,
) {
    if engine.settings().relaxed_poll.is_none() || engine.deliveries.heard.lock().is_silent() {
        return;
    }
    let ahead = engine.client.clock_offset_ms();
    let mut heard = engine.deliveries.heard.lock();
    heard.suspect(changed.into_iter().map(|(id, at)| Suspect {
        object: object.clone(),
        id,
        changed_at: at.plus_millis(-ahead),
    }));
}

/// Looks for changes that no delivery announced in time. Tells whether polling must tighten now.
///
/// # Errors
/// The database can't be read.
pub(crate) async fn look_for_missed(engine: &Engine) -> Result<bool, StepError> {
    let Some(relaxed) = engine.settings().relaxed_poll else {
        return Ok(false);
    };
    let now = engine.now();
    let late = engine
        .deliveries
        .heard
        .lock()
        .take_late(now, latest(relaxed));
    if late.is_empty() {
        return Ok(false);
    }
    let missed = engine
        .store
        .read(move |connection| first_missed(connection, late))
        .await?;
    let Some(missed) = missed else {
        return Ok(false);
    };
    let was_healthy = engine.deliveries.standing(now, relaxed) == DeliveryStanding::Healthy;
    if was_healthy {
        tracing::warn!(object = %missed.object, hs_id = %missed.id, changed_at = %missed.changed_at, "polling found a change that no webhook announced; it goes on at the short interval");
    }
    engine.deliveries.heard.lock().miss(&missed, now);
    Ok(was_healthy)
}

fn first_missed(
    connection: &Connection,
    late: Vec<Suspect>,
) -> Result<Option<Suspect>, StoreError> {
    for suspect in late {
        let since = suspect.changed_at - CLOCKS;
        if !inbox::came_since(connection, &suspect.object, suspect.id, since)? {
            return Ok(Some(suspect));
        }
    }
    Ok(None)
}

/// Takes up what the last run knew: webhooks that were healthy are so until a poll finds otherwise.
///
/// # Errors
/// The database can't be read.
pub async fn remember(engine: &Engine) -> Result<(), StepError> {
    let last = engine
        .store
        .read(|connection| {
            let was_healthy =
                meta::webhooks(connection)?.as_deref() == Some(DeliveryStanding::Healthy.as_str());
            match was_healthy {
                true => inbox::last_received_at(connection),
                false => Ok(None),
            }
        })
        .await?;
    if let Some(last) = last {
        engine.deliveries.came(last);
    }
    Ok(())
}
