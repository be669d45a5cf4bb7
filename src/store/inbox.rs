//! `sync_inbox`: events of webhooks, from the moment they are on disk to the read that answers them.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use crate::model::entry::states;
use crate::model::event::Event;
pub(crate) use crate::model::event::WaitingEvent;
use crate::model::id::HubspotId;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::store::StoreError;

states! {
    /// Where an event is.
    State {
        /// It waits for its read.
        Pending = "pending",
        /// A read as new as the event was applied, or none was needed.
        Done = "done",
        /// It is understood and not wanted.
        Ignored = "ignored",
        /// It makes no sense; `last_error` says why.
        Dead = "dead",
    }
}

/// An event with what is to become of it.
#[derive(Debug)]
pub struct NewEvent {
    /// What HubSpot sent.
    pub event: Event,
    /// `Pending`, `Ignored` or `Dead`.
    pub state: State,
    /// Why it is ignored or dead.
    pub explanation: Option<&'static str>,
}

/// Finds an event by its index alone: a body may have thousands that are alike but for one thing.
const KNOWN: &str = "SELECT 1
     FROM sync_inbox
     WHERE hs_id IS :hs_id AND occurred_at IS :occurred_at AND event_type = :event_type AND object IS :object
       AND property IS :property AND event_id IS :event_id AND others IS :others
       AND (state <> 'dead' OR last_error IS :words)";

/// Stores events. Those that were stored before are left out, also days later, as long as `[retention].inbox` keeps
/// them. Tells how many were new.
///
/// A value is kept only while a read may need it, and never one of a record that is erased or about to be.
///
/// HubSpot's `eventId` alone is not unique (`hubspot/api-facts.md#10`): an event is known by record, time, type,
/// property, id and the other records. One that makes no sense makes only those known that make none for the same
/// reason.
pub fn receive(
    tx: &Transaction<'_>,
    events: &[NewEvent],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let now = now.to_string();
    let mut known = tx.prepare_cached(KNOWN)?;
    let mut erasing = tx
        .prepare_cached("SELECT 1 FROM _sync_erasures WHERE object = :object AND hs_id = :hs_id")?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO sync_inbox (event_id, event_type, object, hs_id, occurred_at, received_at, state, last_error,
                                 property, value, others, own)
         VALUES (:event_id, :event_type, :object, :hs_id, :occurred_at, :now, :state, :words, :property, :value, :others,
                 :own)",
    )?;
    let mut new = 0;
    for NewEvent {
        event,
        state,
        explanation,
    } in events
    {
        let occurred_at = event.occurred_at.map(|at| at.to_string());
        let others = names(&event.others);
        let object = event.object.as_ref().map(ObjectType::as_str);
        let property = event.property.as_ref().map(PropertyName::as_str);
        let hs_id = event.hs_id.map(|id| id.0);
        if known.exists(named_params! {
            ":hs_id": hs_id,
            ":occurred_at": occurred_at,
            ":event_type": event.event_type,
            ":object": object,
            ":property": property,
            ":event_id": event.event_id,
            ":others": others,
            ":words": explanation,
        })? {
            continue;
        }
        let mut value = event.value.as_deref().filter(|_| *state == State::Pending);
        if value.is_some()
            && erasing.exists(named_params! { ":object": object, ":hs_id": hs_id })?
        {
            value = None;
        }
        insert.execute(named_params! {
            ":event_id": event.event_id,
            ":event_type": event.event_type,
            ":object": object,
            ":hs_id": hs_id,
            ":occurred_at": occurred_at,
            ":now": now,
            ":state": state.as_str(),
            ":words": explanation,
            ":property": property,
            ":value": value,
            ":others": others,
            ":own": event.own,
        })?;
        new += 1;
    }
    Ok(new)
}

/// Ids as one text; none as NULL.
fn names(ids: &[HubspotId]) -> Option<String> {
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// Events for which no read was asked yet, the oldest first, at most `limit`.
pub fn waiting(connection: &Connection, limit: usize) -> Result<Vec<WaitingEvent>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, received_at, event_id, event_type, object, hs_id, occurred_at, property, value, others, own
         FROM sync_inbox
         WHERE state = 'pending' AND read_number IS NULL
         ORDER BY id
         LIMIT :limit",
    )?;
    let rows = statement.query_map(named_params! { ":limit": limit as i64 }, waiting_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn waiting_from_row(row: &Row<'_>) -> rusqlite::Result<WaitingEvent> {
    let time = |text: Option<String>| text.as_deref().and_then(Timestamp::parse);
    let object: Option<String> = row.get(4)?;
    let property: Option<String> = row.get(7)?;
    let others: Option<String> = row.get(9)?;
    Ok(WaitingEvent {
        id: row.get(0)?,
        received_at: time(row.get(1)?).unwrap_or_default(),
        event: Event {
            event_id: row.get(2)?,
            event_type: row.get(3)?,
            portal_id: None,
            object: object.and_then(|name| ObjectType::parse(&name).ok()),
            hs_id: row.get::<_, Option<i64>>(5)?.map(HubspotId),
            others: others
                .unwrap_or_default()
                .split(' ')
                .filter_map(|text| text.parse().ok())
                .collect(),
            property: property.and_then(|name| PropertyName::parse(&name).ok()),
            value: row.get(8)?,
            occurred_at: time(row.get(6)?),
            own: row.get(10)?,
            problem: None,
        },
    })
}

/// Whether an event waits that no read was asked for.
pub fn is_waiting(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM sync_inbox WHERE state = 'pending' AND read_number IS NULL")?
        .exists([])?)
}

/// Notes which read answers an event.
pub(crate) fn answered_by(
    tx: &Transaction<'_>,
    id: i64,
    read_number: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_inbox SET read_number = :number WHERE id = :id")?
        .execute(named_params! { ":id": id, ":number": read_number })?;
    Ok(())
}

/// Forgets what the events of a record say: it is to be erased. They stay known, and need a read.
pub(crate) fn forget_values(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_inbox
         SET value = NULL
         WHERE hs_id = :id AND object = :object AND value IS NOT NULL",
    )?
    .execute(named_params! { ":id": id.0, ":object": object.as_str() })?;
    Ok(())
}

/// Ends an event that needs no read.
pub fn end(
    tx: &Transaction<'_>,
    id: i64,
    state: State,
    explanation: Option<&str>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_inbox SET state = :state, last_error = :words, value = NULL WHERE id = :id",
    )?
    .execute(named_params! { ":id": id, ":state": state.as_str(), ":words": explanation })?;
    Ok(())
}

/// Ends the events of a record that a read up to this number answers; with `up_to` only those that happened by then, by
/// HubSpot's clock. Those without a time end always.
pub(crate) fn read_was_applied(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    read_number: i64,
    up_to: Option<Timestamp>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_inbox
         SET state = 'done', value = NULL
         WHERE hs_id = :id
           AND object = :object
           AND state = 'pending'
           AND read_number <= :number
           AND (:up_to IS NULL OR occurred_at IS NULL OR occurred_at <= :up_to)",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":object": object.as_str(),
        ":number": read_number,
        ":up_to": up_to.map(|at| at.to_string()),
    })?;
    Ok(())
}

/// The events of a record that a read up to this number was to answer and that have not ended.
pub fn unanswered(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
    read_number: i64,
) -> Result<Vec<WaitingEvent>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, received_at, event_id, event_type, object, hs_id, occurred_at, property, value, others, own
         FROM sync_inbox
         WHERE hs_id = :id AND object = :object AND state = 'pending' AND read_number <= :number
         ORDER BY id",
    )?;
    let rows = statement.query_map(
        named_params! { ":id": id.0, ":object": object.as_str(), ":number": read_number },
        waiting_from_row,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether an event of a record came since a time.
pub(crate) fn came_since(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
    since: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_inbox
             WHERE hs_id = :id AND object = :object AND received_at >= :since",
        )?
        .exists(named_params! {
            ":id": id.0,
            ":object": object.as_str(),
            ":since": since.to_string(),
        })?)
}

/// Whether an event of a property's change came that happened after `after`, by HubSpot's clock.
pub(crate) fn said_after(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
    property: &PropertyName,
    after: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_inbox
             WHERE hs_id = :id AND occurred_at > :after AND object = :object AND property = :property",
        )?
        .exists(named_params! {
            ":id": id.0,
            ":after": after.to_string(),
            ":object": object.as_str(),
            ":property": property.as_str(),
        })?)
}

/// When the last event came.
pub(crate) fn last_received_at(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT received_at FROM sync_inbox ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, open};
    use crate::store::{Lane, Mode};

    #[test]
    fn whatever_sets_an_event_apart_is_found_by_the_index() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let plan = at_once(store.write(Lane::Bulk, |tx| {
            let mut statement = tx.prepare(&format!("EXPLAIN QUERY PLAN {KNOWN}"))?;
            let nothing = named_params! {
                ":hs_id": None::<i64>, ":occurred_at": None::<&str>, ":event_type": "", ":object": None::<&str>,
                ":property": None::<&str>, ":event_id": None::<i64>, ":others": None::<&str>, ":words": None::<&str>,
            };
            let lines = statement.query_map(nothing, |row| row.get::<_, String>(3))?;
            Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }));
        let plan = plan.expect("a plan");
        for column in [
            "hs_id",
            "occurred_at",
            "event_type",
            "property",
            "event_id",
            "others",
        ] {
            assert!(plan.contains(&format!("{column}=?")), "{column}: {plan}");
        }
    }

    #[test]
    fn an_answer_ends_the_events_of_before_it_and_those_of_before_it_was_asked_for() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let left = at_once(store.write(Lane::Bulk, |tx| {
            tx.execute_batch(
                "INSERT INTO sync_inbox (event_type, object, hs_id, occurred_at, received_at, state, read_number) VALUES
                    ('before', 'contacts', 7, '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:09.000Z', 'pending', 1),
                    ('later', 'contacts', 7, '2026-11-24T03:00:02.000Z', '2026-11-24T03:00:09.000Z', 'pending', 1),
                    ('timeless', 'contacts', 7, NULL, '2026-11-24T03:00:09.000Z', 'pending', 1),
                    ('next read', 'contacts', 7, '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:09.000Z', 'pending', 2),
                    ('another', 'contacts', 8, '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:09.000Z', 'pending', 1)",
            )?;
            let contacts = ObjectType::parse("contacts").expect("an object");
            let up_to = Timestamp::parse("2026-11-24T03:00:01.000Z").expect("a time");
            read_was_applied(tx, &contacts, HubspotId(7), 1, Some(up_to))?;
            let mut statement =
                tx.prepare("SELECT event_type FROM sync_inbox WHERE state = 'pending' ORDER BY id")?;
            let left = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(left.collect::<Result<Vec<_>, _>>()?)
        }));
        assert_eq!(left.expect("written"), ["later", "next read", "another"]);
    }
}
