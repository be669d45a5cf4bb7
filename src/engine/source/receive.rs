//! Verified events → `sync_inbox`. What is stored here survives a power cut; only then may HubSpot be answered.

use rusqlite::Connection;

use crate::decide::incoming::news::{NewsVerdict, verdict};
use crate::decide::portal::objects::ObjectSchema;
use crate::engine::{Engine, StepError};
use crate::model::event::Event;
use crate::model::id::PortalId;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::store::inbox::{self, NewEvent, State};
use crate::store::{Lane, StoreError, meta, reference};

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
    let mapping = engine.mapping();
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
            let mut own: Vec<Event> = events;
            own.retain(|event| event.portal_id.is_none_or(|from| from == portal));
            name_objects(tx, &mapping, &mut own)?;
            let own: Vec<NewEvent> = own.into_iter().map(|event| sort(&mapping, event)).collect();
            let foreign = all - own.len();
            let new = inbox::receive(tx, &own, now)?;
            Ok::<_, StoreError>(Receipt::Stored { new, foreign })
        })
        .await?;
    if let Receipt::Stored { new, foreign } = receipt {
        engine.memory.deliveries.drop_foreign(foreign);
        if foreign < all {
            engine.memory.deliveries.came(engine.now());
        }
        engine.memory.arrivals.note(engine.now(), new);
    }
    Ok(receipt)
}

/// Events call an object that HubSpot doesn't define by its type id alone (`hubspot/api-facts.md#10`): gives it the name that
/// the mapping has for it.
fn name_objects(
    connection: &Connection,
    mapping: &Mapping,
    events: &mut [Event],
) -> Result<(), StoreError> {
    let is_foreign =
        |name: &ObjectType| name.is_type_id() && mapping.object(name.as_str()).is_none();
    if !events
        .iter()
        .filter_map(|event| event.object.as_ref())
        .any(is_foreign)
    {
        return Ok(());
    }
    let schemas = reference::schemas(connection)?;
    for event in events {
        let Some(type_id) = event.object.clone().filter(is_foreign) else {
            continue;
        };
        let is_meant = |(name, schema): &(&String, &ObjectSchema)| {
            schema.type_id == type_id.as_str() && mapping.object(name).is_some()
        };
        let own = schemas.iter().find(is_meant);
        if let Some(name) = own.and_then(|(name, _)| ObjectType::parse(name).ok()) {
            event.object = Some(name);
        }
    }
    Ok(())
}

/// What is to become of an event, by the mapping alone.
fn sort(mapping: &Mapping, mut event: Event) -> NewEvent {
    let (state, explanation) = match verdict(mapping, &event) {
        NewsVerdict::Wanted => (State::Pending, None),
        NewsVerdict::Ignored(explanation) => (State::Ignored, Some(explanation)),
        NewsVerdict::Dead(explanation) => (State::Dead, Some(explanation)),
    };
    if let Some((end, _)) = event.event_type.char_indices().nth(LONGEST_TYPE) {
        event.event_type.truncate(end);
    }
    NewEvent {
        event,
        state,
        explanation,
    }
}
