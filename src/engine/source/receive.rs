//! Verified events → `sync_inbox`. What is stored here survives a power cut; only then may HubSpot be answered.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::decide::news::{NewsVerdict, verdict};
use crate::engine::{Engine, StepError};
use crate::model::event::Event;
use crate::model::id::PortalId;
use crate::model::mapping::Mapping;
use crate::model::time::Timestamp;
use crate::store::inbox::{self, NewEvent, State};
use crate::store::{Lane, StoreError, meta};

/// The longest event type that is kept; HubSpot's have up to 30 letters.
const LONGEST_TYPE: usize = 100;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// All its events are on disk, or were there before.
    Stored {
        /// Events that were not known.
        new: usize,
        /// Events of another portal, which were dropped.
        foreign: usize,
    },
    /// It is not known yet which portal this is.
    NoPortal,
}

/// Stores a delivery's events. Repeating it changes nothing.
///
/// # Errors
/// The database refused: nothing of the delivery is promised, and HubSpot must send it again.
pub async fn receive(engine: &Engine, events: Vec<Event>) -> Result<Receipt, StepError> {
    let mapping = engine.mapping_arc();
    let configured = engine.settings().portal;
    let all = events.len();
    let receipt = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            let remembered = meta::get(tx, meta::PORTAL_ID)?;
            let remembered = remembered.and_then(|text| text.parse().ok().map(PortalId));
            let Some(portal) = remembered.or(configured) else {
                return Ok(Receipt::NoPortal);
            };
            let own: Vec<NewEvent> = events
                .into_iter()
                .filter(|event| event.portal_id.is_none_or(|from| from == portal))
                .map(|event| sort(&mapping, event))
                .collect();
            let foreign = all - own.len();
            let new = inbox::receive(tx, &own, now)?;
            Ok::<_, StoreError>(Receipt::Stored { new, foreign })
        })
        .await?;
    if let Receipt::Stored { new, foreign } = receipt {
        engine.deliveries.drop_foreign(foreign);
        if foreign < all {
            engine.deliveries.came(engine.now());
        }
        engine.arrivals.note(engine.now(), new);
    }
    Ok(receipt)
}

/// What is to become of an event, by the mapping alone.
fn sort(mapping: &Mapping, mut event: Event) -> NewEvent {
    let (state, words) = match verdict(mapping, &event) {
        NewsVerdict::Wanted => (State::Pending, None),
        NewsVerdict::Ignored(words) => (State::Ignored, Some(words)),
        NewsVerdict::Dead(words) => (State::Dead, Some(words)),
    };
    if let Some((end, _)) = event.event_type.char_indices().nth(LONGEST_TYPE) {
        event.event_type.truncate(end);
    }
    NewEvent {
        event,
        state,
        words,
    }
}

/// How many events are remembered to tell a trickle from a burst.
const MOST_REMEMBERED: usize = 64;

/// A burst: this many events within [`BURST_SPAN`].
const BURST: usize = 50;

const BURST_SPAN: Duration = Duration::from_secs(1);

/// How long after a single event its read may begin: a second event of the same change is usually in the same request.
const QUIET: Duration = Duration::from_millis(10);

/// The same within a burst, where a read of few records would cost a request that a fuller one saves.
const QUIET_IN_BURST: Duration = Duration::from_millis(150);

/// When events came, so that reads of a burst are full and those of a single change quick.
#[derive(Debug, Default)]
pub struct Arrivals {
    last: Mutex<VecDeque<Timestamp>>,
}

impl Arrivals {
    fn note(&self, now: Timestamp, events: usize) {
        let mut last = self.last.lock();
        for _ in 0..events.min(MOST_REMEMBERED) {
            if last.len() == MOST_REMEMBERED {
                last.pop_front();
            }
            last.push_back(now);
        }
    }

    /// When it is quiet enough for a read that is not full; a time that has come means now.
    pub fn quiet_at(&self, now: Timestamp) -> Timestamp {
        let last = self.last.lock();
        let Some(latest) = last.back() else {
            return now;
        };
        let since = now - BURST_SPAN;
        // A clock that went back ends the burst.
        let lately = last.iter().filter(|at| **at > since && **at <= now).count();
        let quiet = if lately >= BURST {
            QUIET_IN_BURST
        } else {
            QUIET
        };
        (*latest + quiet).min(now + quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    #[test]
    fn a_single_event_is_read_soon_and_a_burst_when_it_is_over() {
        let arrivals = Arrivals::default();
        assert_eq!(arrivals.quiet_at(at(0)), at(0));
        arrivals.note(at(0), 1);
        assert_eq!(arrivals.quiet_at(at(1)), at(10));
        arrivals.note(at(5), 100);
        assert_eq!(arrivals.quiet_at(at(6)), at(155));
        arrivals.note(at(2000), 1);
        assert_eq!(arrivals.quiet_at(at(2001)), at(2010));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_hold_reads_up() {
        let arrivals = Arrivals::default();
        arrivals.note(at(100_000), 100);
        assert_eq!(arrivals.quiet_at(at(0)), at(10));
    }
}
