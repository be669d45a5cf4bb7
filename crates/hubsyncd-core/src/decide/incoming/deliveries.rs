//! Whether webhooks arrive: while they do, polling may relax; a change that polling finds and no delivery announced
//! tightens it again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;

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
pub const CLOCKS: Duration = Duration::from_secs(5);

/// What is known of the deliveries.
#[derive(Debug, Default)]
pub struct HeardDeliveries {
    last_at: Option<Timestamp>,
    missed: Option<Missed>,
    suspects: VecDeque<Suspect>,
    /// Up to then deliveries may have been turned away; HubSpot sends them again at any time of the next day.
    open_since: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Missed {
    at: Timestamp,
    explanation: String,
}

/// A change that a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The object.
    pub object: ObjectType,
    /// The record.
    pub id: HubspotId,
    /// When it changed, by this machine's clock.
    pub changed_at: Timestamp,
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

/// How long a delivery may take before it is missed, by the relaxed interval.
pub fn latest(relaxed: Duration) -> Duration {
    (relaxed / 2).clamp(LATEST_AT_LEAST, LATEST)
}

impl HeardDeliveries {
    /// A verified delivery came.
    pub fn came(&mut self, now: Timestamp) {
        self.last_at = Some(now);
    }

    /// Deliveries are taken from now on; before, they were not, or not all.
    pub fn open(&mut self, now: Timestamp) {
        self.open_since = Some(now);
    }

    /// Whether none has come yet: nothing can be missed then.
    pub fn is_silent(&self) -> bool {
        self.last_at.is_none()
    }

    /// How webhooks are doing, where `relaxed` is the relaxed interval.
    pub fn standing(&mut self, now: Timestamp, relaxed: Duration) -> DeliveryStanding {
        let trust = relaxed * POLLS_OF_TRUST;
        let is_over = |missed: &Missed| {
            // A clock that was set back must not keep the miss for ever.
            let age = now.since(missed.at);
            (age >= trust || missed.at > now) && self.last_at.is_some_and(|last| last > missed.at)
        };
        if self.missed.as_ref().is_some_and(is_over) {
            self.missed = None;
        }
        match (&self.missed, self.last_at) {
            (Some(_), _) => DeliveryStanding::Missed,
            (None, Some(_)) => DeliveryStanding::Healthy,
            (None, None) => DeliveryStanding::Waiting,
        }
    }

    /// What was missed, for people.
    pub fn problem(&self) -> Option<&str> {
        self.missed
            .as_ref()
            .map(|missed| missed.explanation.as_str())
    }

    /// Remembers changes that a poll found.
    pub fn suspect(&mut self, suspects: impl Iterator<Item = Suspect>) {
        for suspect in suspects {
            if self.suspects.len() == MOST_SUSPECTS {
                self.suspects.pop_front();
            }
            self.suspects.push_back(suspect);
        }
    }

    /// Takes the changes whose delivery is late. One that was made before deliveries were taken is none: HubSpot was
    /// turned away, and its next attempt may come at any time of a day.
    pub fn take_late(&mut self, now: Timestamp, latest: Duration) -> Vec<Suspect> {
        // A clock that was set back must not excuse everything.
        let open_since = self.open_since.filter(|open| *open <= now);
        let could_come =
            |suspect: &Suspect| open_since.is_none_or(|open| suspect.changed_at > open + CLOCKS);
        let (late, waiting): (VecDeque<_>, VecDeque<_>) = self
            .suspects
            .drain(..)
            .partition(|suspect| now.since(suspect.changed_at) >= latest);
        self.suspects = waiting;
        late.into_iter().filter(could_come).collect()
    }

    /// Notes a change that no delivery announced.
    pub fn miss(&mut self, suspect: &Suspect, now: Timestamp) {
        let explanation = format!(
            "HubSpot sent no webhook for a change of {} record {} at {}; polling goes on at the short interval. See `hubsyncd webhooks list`",
            suspect.object, suspect.id, suspect.changed_at
        );
        self.missed = Some(Missed {
            at: now,
            explanation,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAXED: Duration = Duration::from_mins(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    fn miss(deliveries: &mut HeardDeliveries, now: Timestamp) {
        let suspect = Suspect {
            object: ObjectType::parse("contacts").expect("a name"),
            id: HubspotId(101),
            changed_at: at(0),
        };
        deliveries.miss(&suspect, now);
    }

    #[test]
    fn they_are_healthy_from_the_first_delivery_until_one_is_missed() {
        let mut deliveries = HeardDeliveries::default();
        assert_eq!(
            deliveries.standing(at(0), RELAXED),
            DeliveryStanding::Waiting
        );
        deliveries.came(at(1));
        assert_eq!(
            deliveries.standing(at(9000), RELAXED),
            DeliveryStanding::Healthy
        );
        miss(&mut deliveries, at(9001));
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
        let mut deliveries = HeardDeliveries::default();
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
        let mut deliveries = HeardDeliveries::default();
        let suspect = |seconds| Suspect {
            object: ObjectType::parse("contacts").expect("a name"),
            id: HubspotId(101),
            changed_at: at(seconds),
        };
        let late = |deliveries: &mut HeardDeliveries, now| {
            deliveries.suspect([suspect(0), suspect(100), suspect(106)].into_iter());
            deliveries.take_late(now, LATEST)
        };
        assert_eq!(
            late(&mut deliveries, at(200)),
            [suspect(0), suspect(100), suspect(106)]
        );
        deliveries.open(at(101));
        assert_eq!(late(&mut deliveries, at(200)), []);
        deliveries.open(at(100));
        assert_eq!(late(&mut deliveries, at(200)), [suspect(106)]);
        // The clock was set back.
        deliveries.open(at(900));
        assert_eq!(late(&mut deliveries, at(200)).len(), 3);
    }
}
