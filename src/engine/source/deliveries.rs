//! Whether webhooks arrive, and what polling finds that no delivery announced (`decide/incoming/deliveries`).

use rusqlite::Connection;

pub(crate) use crate::decide::incoming::deliveries::DeliveryStanding;
use crate::decide::incoming::deliveries::{CLOCKS, Suspect, latest};
use crate::engine::{Engine, StepError};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::{StoreError, inbox, meta};

/// The code of a change that polling found and no delivery announced.
pub(crate) const WEBHOOKS_MISSED: &str = "webhooks-missed";

/// Remembers changes that a poll found, to see whether they are announced.
pub(crate) fn found_by_polling(
    engine: &Engine,
    object: &ObjectType,
    changed: Vec<(HubspotId, Timestamp)>,
) {
    if engine.settings().relaxed_poll.is_none() || engine.memory.deliveries.is_silent() {
        return;
    }
    let ahead = engine.client.clock_offset_ms();
    engine
        .memory
        .deliveries
        .suspect(changed.into_iter().map(|(id, at)| Suspect {
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
    let late = engine.memory.deliveries.take_late(now, latest(relaxed));
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
    let was_healthy = engine.memory.deliveries.standing(now, relaxed) == DeliveryStanding::Healthy;
    if was_healthy {
        tracing::warn!(object = %missed.object, hs_id = %missed.id, changed_at = %missed.changed_at, code = WEBHOOKS_MISSED, "polling found a change that no webhook announced; it goes on at the short interval");
    }
    engine.memory.deliveries.miss(&missed, now);
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
        engine.memory.deliveries.came(last);
    }
    Ok(())
}
