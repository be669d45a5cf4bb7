//! Whether webhooks arrive: while they do, polling may relax; a change that polling finds and no delivery announced
//! tightens it again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::engine::{Engine, StepError};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::{StoreError, inbox, meta};

/// Changes that are remembered until their delivery is late. HubSpot sends bulk changes minutes late
/// (`hubspot/api-facts.md#10`): a sample of them tells enough.
const MOST_SUSPECTS: usize = 200;

/// The longest that a delivery may take before it is missed; usually it takes 1 to 10 seconds
/// (`hubspot/api-facts.md#10`).
const LATEST: Duration = Duration::from_secs(30);

/// The shortest, for short intervals.
const LATEST_AT_LEAST: Duration = Duration::from_secs(2);

/// Polls in a row without a missed delivery after which webhooks are trusted again.
const POLLS_OF_TRUST: u32 = 10;

/// How much earlier than the change's time by HubSpot its delivery may seem to have come, for clocks.
const CLOCKS: Duration = Duration::from_secs(5);

/// What is known of the deliveries.
#[derive(Debug, Default)]
pub struct Deliveries {
    inner: Mutex<Heard>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Heard {
    last_at: Option<Timestamp>,
    missed: Option<Missed>,
    suspects: VecDeque<Suspect>,
    /// Up to then deliveries may have been turned away; HubSpot sends them again at any time of the next day.
    open_since: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Missed {
    at: Timestamp,
    words: String,
}

/// A change that a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspect {
    object: ObjectType,
    id: HubspotId,
    changed_at: Timestamp,
}

/// How webhooks are doing, as `sync_health.webhooks` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStanding {
    /// None has come yet.
    Waiting,
    /// They come, and polling has found nothing that they had not announced.
    Healthy,
    /// Polling found a change that no delivery announced.
    Missed,
}

impl DeliveryStanding {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Healthy => "healthy",
            Self::Missed => "missed",
        }
    }
}

impl Deliveries {
    fn change<T>(&self, change: impl FnOnce(&mut Heard) -> T) -> T {
        change(&mut self.inner.lock())
    }

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
        self.change(|state| state.last_at = Some(now));
    }

    /// Deliveries are taken from now on; before, they were not, or not all.
    pub fn open(&self, now: Timestamp) {
        self.change(|state| state.open_since = Some(now));
    }

    /// How webhooks are doing, where `relaxed` is the relaxed interval.
    pub fn standing(&self, now: Timestamp, relaxed: Duration) -> DeliveryStanding {
        self.change(|state| {
            let trust = relaxed * POLLS_OF_TRUST;
            let is_over = |missed: &Missed| {
                // A clock that was set back must not keep the miss for ever.
                let age = now.since(missed.at);
                (age >= trust || missed.at > now)
                    && state.last_at.is_some_and(|last| last > missed.at)
            };
            if state.missed.as_ref().is_some_and(is_over) {
                state.missed = None;
            }
            match (&state.missed, state.last_at) {
                (Some(_), _) => DeliveryStanding::Missed,
                (None, Some(_)) => DeliveryStanding::Healthy,
                (None, None) => DeliveryStanding::Waiting,
            }
        })
    }

    /// What was missed, for people.
    pub fn problem(&self) -> Option<String> {
        self.change(|state| state.missed.as_ref().map(|missed| missed.words.clone()))
    }

    fn suspect(&self, suspects: impl Iterator<Item = Suspect>) {
        self.change(|state| {
            for suspect in suspects {
                if state.suspects.len() == MOST_SUSPECTS {
                    state.suspects.pop_front();
                }
                state.suspects.push_back(suspect);
            }
        });
    }

    /// Takes the changes whose delivery is late. One that was made before deliveries were taken is none: HubSpot was
    /// turned away, and its next attempt may come at any time of a day.
    fn take_late(&self, now: Timestamp, latest: Duration) -> Vec<Suspect> {
        self.change(|state| {
            // A clock that was set back must not excuse everything.
            let open_since = state.open_since.filter(|open| *open <= now);
            let could_come = |suspect: &Suspect| {
                open_since.is_none_or(|open| suspect.changed_at > open + CLOCKS)
            };
            let (late, waiting): (VecDeque<_>, VecDeque<_>) = state
                .suspects
                .drain(..)
                .partition(|suspect| now.since(suspect.changed_at) >= latest);
            state.suspects = waiting;
            late.into_iter().filter(could_come).collect()
        })
    }
}

/// Remembers changes that a poll found, to see whether they are announced.
pub(crate) fn found_by_polling(
    engine: &Engine,
    object: &ObjectType,
    changed: Vec<(HubspotId, Timestamp)>,
) {
    if engine.settings().relaxed_poll.is_none() || engine.deliveries.is_silent() {
        return;
    }
    let ahead = engine.client.clock_offset_ms();
    engine
        .deliveries
        .suspect(changed.into_iter().map(|(id, at)| Suspect {
            object: object.clone(),
            id,
            changed_at: at.plus_millis(-ahead),
        }));
}

impl Deliveries {
    /// Whether none has come yet: nothing can be missed then.
    fn is_silent(&self) -> bool {
        self.change(|state| state.last_at.is_none())
    }
}

/// Looks for changes that no delivery announced in time. Tells whether polling must tighten now.
///
/// # Errors
/// The database can't be read.
pub async fn look_for_missed(engine: &Engine) -> Result<bool, StepError> {
    let Some(relaxed) = engine.settings().relaxed_poll else {
        return Ok(false);
    };
    let now = engine.now();
    let late = engine
        .deliveries
        .take_late(now, (relaxed / 2).clamp(LATEST_AT_LEAST, LATEST));
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
    let words = format!(
        "HubSpot sent no webhook for a change of {} record {} at {}; polling goes on at the short interval. See `hubsyncd webhooks list`",
        missed.object, missed.id, missed.changed_at
    );
    let was_healthy = engine.deliveries.standing(now, relaxed) == DeliveryStanding::Healthy;
    if was_healthy {
        tracing::warn!(object = %missed.object, hs_id = %missed.id, changed_at = %missed.changed_at, "polling found a change that no webhook announced; it goes on at the short interval");
    }
    engine
        .deliveries
        .change(|state| state.missed = Some(Missed { at: now, words }));
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

#[cfg(test)]
mod tests {
    use super::*;

    const RELAXED: Duration = Duration::from_mins(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    fn miss(deliveries: &Deliveries, now: Timestamp) {
        deliveries.change(|state| {
            state.missed = Some(Missed {
                at: now,
                words: "missed".to_owned(),
            });
        });
    }

    #[test]
    fn they_are_healthy_from_the_first_delivery_until_one_is_missed() {
        let deliveries = Deliveries::default();
        assert_eq!(
            deliveries.standing(at(0), RELAXED),
            DeliveryStanding::Waiting
        );
        deliveries.came(at(1));
        assert_eq!(
            deliveries.standing(at(9000), RELAXED),
            DeliveryStanding::Healthy
        );
        miss(&deliveries, at(9001));
        assert_eq!(
            deliveries.standing(at(9002), RELAXED),
            DeliveryStanding::Missed
        );
        assert_eq!(
            deliveries.standing(at(20_000), RELAXED),
            DeliveryStanding::Missed
        );
        deliveries.came(at(9003));
        assert_eq!(
            deliveries.standing(at(9004), RELAXED),
            DeliveryStanding::Missed
        );
        assert_eq!(
            deliveries.standing(at(9601), RELAXED),
            DeliveryStanding::Healthy
        );
        assert_eq!(deliveries.problem(), None);
    }

    #[test]
    fn a_change_is_late_only_after_its_time() {
        let deliveries = Deliveries::default();
        let suspect = Suspect {
            object: ObjectType::parse("contacts").expect("a name"),
            id: HubspotId(101),
            changed_at: at(0),
        };
        deliveries.suspect(std::iter::once(suspect.clone()));
        assert_eq!(deliveries.take_late(at(29), LATEST), []);
        assert_eq!(deliveries.take_late(at(30), LATEST), [suspect]);
        assert_eq!(deliveries.take_late(at(31), LATEST), []);
    }

    #[test]
    fn a_change_from_before_deliveries_were_taken_is_not_missed() {
        let deliveries = Deliveries::default();
        let suspect = |seconds| Suspect {
            object: ObjectType::parse("contacts").expect("a name"),
            id: HubspotId(101),
            changed_at: at(seconds),
        };
        let late = |now| {
            deliveries.suspect([suspect(0), suspect(100), suspect(106)].into_iter());
            deliveries.take_late(now, LATEST)
        };
        assert_eq!(late(at(200)), [suspect(0), suspect(100), suspect(106)]);
        deliveries.open(at(101));
        assert_eq!(late(at(200)), []);
        deliveries.open(at(100));
        assert_eq!(late(at(200)), [suspect(106)]);
        // The clock was set back.
        deliveries.open(at(900));
        assert_eq!(late(at(200)).len(), 3);
    }
}
