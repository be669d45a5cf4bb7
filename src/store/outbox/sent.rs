//! What went out and may still come back: `_sync_sent`, and what an attempt in doubt went over or without.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::echo::{SentValue, SentValues};
use crate::decide::merge::Owed;
use crate::model::entry::Entry;
use crate::model::id::{LocalId, OutboxId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::StoreError;
use crate::store::outbox::{MAY_BE_SENT, OF_ROW, time_of};

/// Notes what HubSpot called the request that answered these entries; of an attempt without an answer the former stays.
pub(crate) fn correlate(
    tx: &Transaction<'_>,
    entries: &[OutboxId],
    correlation_id: Option<&str>,
) -> Result<(), StoreError> {
    let Some(correlation_id) = correlation_id else {
        return Ok(());
    };
    let mut statement =
        tx.prepare_cached("UPDATE sync_outbox SET correlation_id = :called WHERE id = :id")?;
    for id in entries {
        statement.execute(named_params! { ":called": correlation_id, ":id": id.0 })?;
    }
    Ok(())
}

/// Notes a value that goes back with the entry.
pub(crate) fn owe(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    owed: &Owed,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_owed (outbox_id, property, value, over)
         VALUES (:id, :property, :value, :over)
         ON CONFLICT (outbox_id, property) DO UPDATE
         SET value = excluded.value, over = excluded.over",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":property": property.as_str(),
        ":value": owed.value.to_wire(),
        ":over": owed.over.as_deref(),
    })?;
    Ok(())
}

/// Values that go back with an entry, of the fields that wait in it.
pub fn owed(
    connection: &Connection,
    id: OutboxId,
) -> Result<BTreeMap<PropertyName, Owed>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.property, o.value, o.over
         FROM _sync_owed AS o
         JOIN sync_outbox_fields AS f ON f.outbox_id = o.outbox_id AND f.property = o.property
         WHERE o.outbox_id = :id",
    )?;
    let rows = statement.query_map(named_params! { ":id": id.0 }, |row| {
        let owed = Owed {
            value: row.get(1).map(Value::from_stored)?,
            over: row.get(2).map(Value::from_stored)?,
        };
        Ok((row.get::<_, String>(0)?, owed))
    })?;
    let mut all = BTreeMap::new();
    for row in rows {
        let (property, owed) = row?;
        // A name that is none was written by somebody else, and no field is called so.
        if let Ok(property) = PropertyName::parse(&property) {
            all.insert(property, owed);
        }
    }
    Ok(all)
}

/// Whether a value that goes back is due to be sent.
pub(crate) fn owes(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT 1
             FROM sync_outbox AS e
             WHERE object = :object
               AND {MAY_BE_SENT}
               AND next_attempt_at <= :now
               AND EXISTS (
                   SELECT 1
                   FROM _sync_owed AS o
                   JOIN sync_outbox_fields AS f ON f.outbox_id = o.outbox_id AND f.property = o.property
                   WHERE o.outbox_id = e.id
               )
             LIMIT 1"
        ))?
        .exists(named_params! { ":object": object.as_str(), ":now": now.to_string() })?)
}

/// Forgets what went back, or waits no more.
pub(crate) fn forget_owed(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_owed
         WHERE NOT EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.id = _sync_owed.outbox_id)",
    )?
    .execute([])?;
    Ok(())
}

/// Whether an entry waits for the answer to a create that no key finds again, begun before `created`. `has_key`: HubSpot
/// knows the key's property by now.
pub(crate) fn keyless_create_in_doubt(
    connection: &Connection,
    object: &ObjectType,
    has_key: bool,
    created: Timestamp,
) -> Result<bool, StoreError> {
    let found: Option<i64> = connection
        .prepare_cached(
            "SELECT 1
             FROM sync_outbox
             WHERE object = :object
               AND operation = 'create'
               AND state <> 'dead'
               AND (sent_keyless = 1 OR NOT :has_key)
               AND unanswered_since <= :created
             LIMIT 1",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":has_key": has_key, ":created": created.to_string() },
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.is_some())
}

/// Whether a create is being sent, or its answer is missing.
pub(crate) fn is_creating(
    connection: &Connection,
    object: &ObjectType,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_outbox
             WHERE object = :object
               AND operation = 'create'
               AND state <> 'dead'
               AND (state = 'in_flight' OR unanswered_since IS NOT NULL)
             LIMIT 1",
        )?
        .exists(named_params! { ":object": object.as_str() })?)
}

/// Remembers what a lost update carried.
pub(crate) fn remember_sent(
    tx: &Transaction<'_>,
    object: &ObjectType,
    entry: &Entry,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO _sync_sent (object, local_id, property, value, sent_at, sent_over)
         VALUES (:object, :local_id, :property, :value, :now, (SELECT sent_over FROM sync_outbox WHERE id = :id))",
    )?;
    for field in &entry.fields {
        // Written after the claim: the request did not carry it.
        let Some(sent) = &field.sent else { continue };
        statement.execute(named_params! {
            ":object": object.as_str(),
            ":local_id": entry.local_id.0,
            ":property": field.property.as_str(),
            ":value": sent.to_wire(),
            ":now": now.to_string(),
            ":id": entry.id.0,
        })?;
    }
    Ok(())
}

/// What lost updates of a row carried since `since`, and for as long as the row's entry waits: before that nobody has been
/// able to look.
pub fn sent_earlier(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
    since: Timestamp,
) -> Result<SentValues, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT property, value, sent_over
         FROM _sync_sent AS s
         WHERE object = :object
           AND local_id = :local_id
           AND (sent_at >= :since OR EXISTS (
               SELECT 1 FROM sync_outbox AS e
               WHERE e.object = s.object AND e.local_id = s.local_id AND e.{OF_ROW}))"
    ))?;
    let mut rows = statement.query(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":since": since.to_string(),
    })?;
    let mut sent = SentValues::new();
    while let Some(row) = rows.next()? {
        let property: String = row.get(0)?;
        let property = PropertyName::parse(&property)
            .map_err(|error| StoreError::UnknownValue(error.to_string()))?;
        let over: Option<String> = row.get(2)?;
        sent.entry(property).or_default().push(SentValue {
            value: Value::from_stored(row.get(1)?),
            // Nothing is known of what it went over: whatever the record shows may be later.
            over: over
                .as_deref()
                .map(time_of)
                .transpose()?
                .unwrap_or(Timestamp::EPOCH),
        });
    }
    Ok(sent)
}

/// Notes up to which version of its record a field's history was asked for what lost updates brought.
pub(crate) fn check_sent(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    property: &PropertyName,
    version: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_sent
         SET sent_over = :version
         WHERE object = :object
           AND local_id = :local_id
           AND property = :property
           AND (sent_over IS NULL OR sent_over < :version)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":property": property.as_str(),
        ":version": version.to_string(),
    })?;
    Ok(())
}

/// Gives what lost updates of one row carried to the row that its record went into.
pub(crate) fn move_sent(
    tx: &Transaction<'_>,
    object: &ObjectType,
    from: LocalId,
    to: LocalId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_sent SET local_id = :to WHERE object = :object AND local_id = :from",
    )?
    .execute(named_params! { ":object": object.as_str(), ":from": from.0, ":to": to.0 })?;
    Ok(())
}

/// Forgets what lost updates carried before `before`, unless the row still waits.
pub(crate) fn forget_sent(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "DELETE FROM _sync_sent
         WHERE sent_at < :before
           AND NOT EXISTS (
               SELECT 1 FROM sync_outbox AS e
               WHERE e.object = _sync_sent.object
                 AND e.local_id = _sync_sent.local_id
                 AND e.{OF_ROW})"
    ))?
    .execute(named_params! { ":before": before.to_string() })?;
    Ok(())
}
