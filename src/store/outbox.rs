//! `sync_outbox` and `sync_outbox_fields`: fetches and saves entries. What becomes of one is `decide/entry`'s to say.
//!
//! Triggers on the mirror tables write here too (`store/shape/triggers.rs`); what they promise stands there.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use crate::decide::echo::{SentValue, SentValues};
pub use crate::decide::entry::{Answered, Attempt, UNWRITABLE};
use crate::decide::entry::{Event, Standing, step};
use crate::decide::matching::MatchRule;
use crate::decide::plan::{Backlog, Order, Pick};
use crate::decide::retry::latest_due;
use crate::model::entry::{Base, Entry, EntryField, EntryState, Operation, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::{ObjectType, PropertyName, TableName};
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};
use crate::store::file::text;
use crate::store::{StoreError, rowjson};

/// What `last_error` says of an entry whose record an answer did not show, or in no form that can be read.
pub const UNREAD: &str = "HubSpot's answer shows the record in no form that can be read, or not at all, so that nothing is written over it: it is read again; see sync_unreadable";

/// Which entries are a row's own, at most one a row; the others are associations of it. In the words of the index
/// `sync_outbox_record`.
pub(crate) const OF_ROW: &str = "operation IN ('create', 'update', 'archive')";

/// Which entries may be sent once their time has come. What a person gave up goes only where it may be done already.
const MAY_BE_SENT: &str = "state = 'pending' AND (waits_for IS NULL OR waits_for IN ('answer', 'lock')) \
     AND (discarded_at IS NULL OR (operation = 'create' AND unanswered_since IS NOT NULL))";

/// What says where an entry stands, in the order in which `standing_of` reads it.
const STANDING: &str = "operation, hs_id, state, attempts, enqueued_at, next_attempt_at, waits_for, unanswered_since, last_error, \
     sent_over, sent_keyless, taken_by, discarded_at, approved_hold, row IS NOT NULL";

/// An entry, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// The entry, as decisions about its record see it.
    pub entry: Entry,
    /// Where it stands.
    pub standing: Standing,
}

fn unknown(what: &str, text: &str) -> StoreError {
    StoreError::UnknownValue(format!("`{text}` as {what} of `sync_outbox`"))
}

fn time_of(text: &str) -> Result<Timestamp, StoreError> {
    Timestamp::parse(text).ok_or_else(|| unknown("a time", text))
}

fn standing_of(row: &Row<'_>) -> Result<Standing, StoreError> {
    let time = |index: usize| -> Result<Option<Timestamp>, StoreError> {
        let text: Option<String> = row.get(index)?;
        text.as_deref().map(time_of).transpose()
    };
    let (operation, state): (String, String) = (row.get(0)?, row.get(2)?);
    let waits_for: Option<String> = row.get(6)?;
    let waits_for =
        waits_for.map(|text| WaitsFor::parse(&text).ok_or_else(|| unknown("waits_for", &text)));
    let enqueued_at: String = row.get(4)?;
    Ok(Standing {
        operation: Operation::parse(&operation).ok_or_else(|| unknown("operation", &operation))?,
        hs_id: row.get::<_, Option<i64>>(1)?.map(HubspotId),
        state: EntryState::parse(&state).ok_or_else(|| unknown("state", &state))?,
        attempts: row.get(3)?,
        enqueued_at: time_of(&enqueued_at)?,
        due: time(5)?,
        waits_for: waits_for.transpose()?,
        unanswered_since: time(7)?,
        last_error: row.get(8)?,
        sent_over: time(9)?,
        sent_keyless: row.get(10)?,
        taken_by: row.get::<_, Option<i64>>(11)?.map(LocalId),
        discarded_at: time(12)?,
        approved_hold: row.get(13)?,
        has_row: row.get(14)?,
    })
}

/// The columns are those of `select`.
fn from_row(connection: &Connection, row: &Row<'_>) -> Result<Queued, StoreError> {
    let standing = standing_of(row)?;
    let id = OutboxId(row.get(15)?);
    let kept = text::json_of(row, 19)?;
    let entry = Entry {
        id,
        local_id: LocalId(row.get(16)?),
        hs_id: standing.hs_id,
        operation: standing.operation,
        state: standing.state,
        attempts: standing.attempts,
        enqueued_at: standing.enqueued_at,
        version: row.get(17)?,
        key: row.get(18)?,
        row: kept
            .map(|kept| spelled_row(connection, id, &kept))
            .transpose()?,
        fields: fields(connection, id)?,
    };
    Ok(Queued { entry, standing })
}

/// Where an entry stands; `None` where it is gone.
pub fn standing(connection: &Connection, id: OutboxId) -> Result<Option<Standing>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {STANDING} FROM sync_outbox WHERE id = :id"
    ))?;
    let mut rows = statement.query(named_params! { ":id": id.0 })?;
    rows.next()?.map(standing_of).transpose()
}

/// Carries an event over into an entry; an entry that is gone stays gone. Tells whether it changed.
fn change(tx: &Transaction<'_>, id: OutboxId, event: Event) -> Result<bool, StoreError> {
    match standing(tx, id)? {
        Some(before) => carry_over(tx, id, &before, event),
        None => Ok(false),
    }
}

/// The same where the caller knows how the entry stands in this transaction.
fn carry_over(
    tx: &Transaction<'_>,
    id: OutboxId,
    before: &Standing,
    event: Event,
) -> Result<bool, StoreError> {
    debug_assert_eq!(standing(tx, id)?.as_ref(), Some(before), "{event:?}");
    let Some(after) = step(before.clone(), event) else {
        end(tx, id)?;
        return Ok(true);
    };
    if after == *before {
        return Ok(false);
    }
    save(tx, id, &after)?;
    Ok(true)
}

fn save(tx: &Transaction<'_>, id: OutboxId, standing: &Standing) -> Result<(), StoreError> {
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET operation = :operation,
             hs_id = :hs_id,
             state = :state,
             attempts = :attempts,
             enqueued_at = :enqueued_at,
             next_attempt_at = :due,
             waits_for = :waits_for,
             unanswered_since = :unanswered_since,
             last_error = :last_error,
             sent_over = :sent_over,
             sent_keyless = :sent_keyless,
             taken_by = :taken_by,
             discarded_at = :discarded_at,
             approved_hold = :approved_hold
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":operation": standing.operation.as_str(),
        ":hs_id": standing.hs_id.map(|hs_id| hs_id.0),
        ":state": standing.state.as_str(),
        ":attempts": standing.attempts,
        ":enqueued_at": standing.enqueued_at.to_string(),
        ":due": text(standing.due),
        ":waits_for": standing.waits_for.map(WaitsFor::as_str),
        ":unanswered_since": text(standing.unanswered_since),
        ":last_error": standing.last_error,
        ":sent_over": text(standing.sent_over),
        ":sent_keyless": standing.sent_keyless,
        ":taken_by": standing.taken_by.map(|row| row.0),
        ":discarded_at": text(standing.discarded_at),
        ":approved_hold": standing.approved_hold,
    })?;
    Ok(())
}

/// The canonical value of what a column held, as text; what can't be of its type stays as it is.
fn spelled(kind: Option<PropertyType>, held: Option<String>) -> Value {
    let canonical = kind.and_then(|kind| kind.canonical(held.as_deref()).ok());
    canonical.unwrap_or_else(|| Value::from_stored(held))
}

/// A row as canonical text; triggers write what its columns held.
fn spelled_row(connection: &Connection, id: OutboxId, row: &str) -> Result<String, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT s.property, s.type
         FROM sync_outbox AS e
         JOIN sync_fields AS s ON s.object = e.object
         WHERE e.id = :id",
    )?;
    let types = statement
        .query_map(named_params! { ":id": id.0 }, |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<(String, String)>, _>>()?;
    let types = types
        .into_iter()
        .filter_map(|(property, name)| Some((property, PropertyType::parse(&name)?)))
        .collect();
    Ok(rowjson::spelled(row, &types))
}

/// The fields of an entry, by property name. Their bases are canonical; triggers write what the columns held.
pub fn fields(connection: &Connection, id: OutboxId) -> Result<Vec<EntryField>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT f.property, f.base_value, f.changed_at, f.base_known, f.sent_value, f.sent_value IS NOT NULL, s.type
         FROM sync_outbox_fields AS f
         JOIN sync_outbox AS e ON e.id = f.outbox_id
         LEFT JOIN sync_fields AS s ON s.object = e.object AND s.property = f.property
         WHERE f.outbox_id = :id
         ORDER BY f.property",
    )?;
    let mut rows = statement.query(named_params! { ":id": id.0 })?;
    let mut fields = Vec::new();
    while let Some(row) = rows.next()? {
        let property: String = row.get(0)?;
        let changed_at: String = row.get(2)?;
        let kind: Option<String> = row.get(6)?;
        let kind = kind.as_deref().and_then(PropertyType::parse);
        let base = spelled(kind, text::of(row, 1)?);
        fields.push(EntryField {
            property: PropertyName::parse(&property)
                .map_err(|error| StoreError::UnknownValue(error.to_string()))?,
            base: if row.get(3)? {
                Base::Known(base)
            } else {
                Base::Unknown
            },
            changed_at: time_of(&changed_at)?,
            sent: if row.get(5)? {
                Some(Value::from_stored(text::of(row, 4)?))
            } else {
                None
            },
        });
    }
    Ok(fields)
}

fn one(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Option<Queued>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?
        .map(|row| from_row(connection, row))
        .transpose()
}

fn many(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Queued>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(from_row(connection, row)?);
    }
    Ok(entries)
}

/// The entry of a row.
pub fn of_row(
    connection: &Connection,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<Option<Queued>, StoreError> {
    let sql = select(&format!("WHERE object = ?1 AND local_id = ?2 AND {OF_ROW}"));
    one(connection, &sql, (object.as_str(), local_id.0))
}

/// The entry of a record whose row was deleted or is being pushed.
pub fn of_record(
    connection: &Connection,
    object: &ObjectType,
    hs_id: HubspotId,
) -> Result<Option<Queued>, StoreError> {
    let sql = select(&format!(
        "WHERE object = ?1 AND hs_id = ?2 AND {OF_ROW} LIMIT 1"
    ));
    one(connection, &sql, (object.as_str(), hs_id.0))
}

/// The create that carries a key.
pub fn of_key(
    connection: &Connection,
    object: &ObjectType,
    key: &str,
) -> Result<Option<Queued>, StoreError> {
    one(
        connection,
        &select("WHERE key = ?2 AND object = ?1 AND operation = 'create'"),
        (object.as_str(), key),
    )
}

/// An entry by its id.
pub fn by_id(connection: &Connection, id: OutboxId) -> Result<Option<Queued>, StoreError> {
    one(connection, &select("WHERE id = ?1"), [id.0])
}

fn select(condition: &str) -> String {
    format!("SELECT {STANDING}, id, local_id, version, key, row FROM sync_outbox {condition}")
}

/// Entries that people have discarded, at most `limit`; not those whose attempt is under way, nor creates that may be
/// done already: those are looked for first.
pub fn discarded(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<(ObjectType, Queued)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, id
         FROM sync_outbox
         WHERE discarded_at IS NOT NULL
           AND state <> 'in_flight'
           AND (operation <> 'create' OR state = 'dead' OR unanswered_since IS NULL)
         ORDER BY id
         LIMIT :limit",
    )?;
    let found = statement
        .query_map(named_params! { ":limit": limit as i64 }, |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = Vec::with_capacity(found.len());
    for (object, id) in found {
        let object = ObjectType::parse(&object)
            .map_err(|error| StoreError::UnknownValue(error.to_string()))?;
        if let Some(queued) = by_id(connection, OutboxId(id))? {
            entries.push((object, queued));
        }
    }
    Ok(entries)
}

/// What may be sent of an object, counted up to `bound`.
pub fn backlog(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
    bound: usize,
) -> Result<Backlog, StoreError> {
    let now = now.to_string();
    let count = |operation: Operation| -> Result<usize, StoreError> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT count(*)
             FROM (
                 SELECT 1
                 FROM sync_outbox
                 WHERE object = :object
                   AND operation = :operation
                   AND {MAY_BE_SENT}
                   AND next_attempt_at <= :now
                 LIMIT :bound
             )"
        ))?;
        let count: i64 = statement.query_row(
            named_params! { ":object": object.as_str(), ":operation": operation.as_str(), ":now": now, ":bound": bound as i64 },
            |row| row.get(0),
        )?;
        Ok(usize::try_from(count).unwrap_or(0))
    };
    let (creates, updates, archives) = (
        count(Operation::Create)?,
        count(Operation::Update)?,
        count(Operation::Archive)?,
    );
    let newest = if creates + updates > 0 {
        newest(connection, object, &now)?
    } else {
        None
    };
    Ok(Backlog {
        creates,
        updates,
        archives,
        newest,
    })
}

fn newest(
    connection: &Connection,
    object: &ObjectType,
    now: &str,
) -> Result<Option<Operation>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT next_attempt_at, id
         FROM sync_outbox
         WHERE object = :object
           AND operation = :operation
           AND {MAY_BE_SENT}
           AND next_attempt_at <= :now
         ORDER BY next_attempt_at DESC, id DESC
         LIMIT 1"
    ))?;
    let mut youngest: Option<((String, i64), Operation)> = None;
    for operation in [Operation::Create, Operation::Update] {
        let found = statement
            .query_row(
                named_params! { ":object": object.as_str(), ":operation": operation.as_str(), ":now": now },
                |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
            )
            .optional()?;
        if let Some(age) = found
            && youngest.as_ref().is_none_or(|(oldest, _)| *oldest < age)
        {
            youngest = Some((age, operation));
        }
    }
    Ok(youngest.map(|(_, operation)| operation))
}

/// The entries of the next batch.
pub fn due(
    connection: &Connection,
    object: &ObjectType,
    pick: Pick,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Queued>, StoreError> {
    let order = match pick.order {
        Order::OldestFirst => "ORDER BY next_attempt_at, id LIMIT ?4",
        Order::NewestFirst => "ORDER BY next_attempt_at DESC, id DESC LIMIT ?4",
    };
    let condition = format!(
        "WHERE object = ?1 AND operation = ?2 AND {MAY_BE_SENT} AND next_attempt_at <= ?3 {order}"
    );
    many(
        connection,
        &select(&condition),
        (
            object.as_str(),
            pick.operation.as_str(),
            now.to_string(),
            limit as i64,
        ),
    )
}

/// The moment at which the next pending entry of an object falls due, later than `now`.
pub fn next_due(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Option<Timestamp>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT min(next_attempt_at)
         FROM sync_outbox
         WHERE object = :object
           AND {MAY_BE_SENT}"
    ))?;
    let text: Option<String> = statement
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?;
    text.as_deref().map(time_of).transpose()
}

/// Takes an entry for an attempt: one more, in flight, unanswered. Nothing may have befallen it since it was read.
pub fn claim(
    tx: &Transaction<'_>,
    queued: &Queued,
    attempt: Attempt,
    at: Timestamp,
) -> Result<(), StoreError> {
    let event = Event::Claimed { at, attempt };
    carry_over(tx, queued.entry.id, &queued.standing, event).map(drop)
}

/// Takes a claim back whose attempt was not sent: as if it had never been made. `claimed_at` is the claim's time, by
/// which an older attempt in doubt is known.
pub fn unclaim(
    tx: &Transaction<'_>,
    id: OutboxId,
    claimed_at: Timestamp,
) -> Result<(), StoreError> {
    match change(tx, id, Event::TakenBack { claimed_at })? {
        true => clear_sent(tx, id),
        false => Ok(()),
    }
}

/// Notes the value that an attempt carries for a field. Empty text stands for a cleared value.
pub fn set_sent(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    sent: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox_fields
         SET sent_value = :sent
         WHERE outbox_id = :id AND property = :property",
    )?
    .execute(
        named_params! { ":id": id.0, ":property": property.as_str(), ":sent": sent.to_wire() },
    )?;
    Ok(())
}

/// HubSpot's time of the record's version that the last attempt went over; `None` where it had none.
pub fn sent_over(connection: &Connection, id: OutboxId) -> Result<Option<Timestamp>, StoreError> {
    let over: Option<Option<String>> = connection
        .prepare_cached("SELECT sent_over FROM sync_outbox WHERE id = :id")?
        .query_row(named_params! { ":id": id.0 }, |row| row.get(0))
        .optional()?;
    Ok(over.flatten().as_deref().and_then(Timestamp::parse))
}

/// Forgets what attempts carried, after a definite refusal.
pub fn clear_sent(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_outbox_fields SET sent_value = NULL WHERE outbox_id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// Saves a field: made where it is missing, given this base where it is there. The write's time stays.
pub fn put_field(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    base: &Base,
    changed_at: Timestamp,
) -> Result<(), StoreError> {
    let (value, known) = match base {
        Base::Known(value) => (value.as_deref(), true),
        Base::Unknown => (None, false),
    };
    tx.prepare_cached(
        "INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at, base_known)
         VALUES (:id, :property, :base, :changed_at, :known)
         ON CONFLICT (outbox_id, property) DO UPDATE
         SET base_value = excluded.base_value, base_known = excluded.base_known, sent_value = NULL",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":property": property.as_str(),
        ":base": value,
        ":changed_at": changed_at.to_string(),
        ":known": known,
    })?;
    Ok(())
}

/// Drops a field's pending change.
pub fn drop_field(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM sync_outbox_fields WHERE outbox_id = :id AND property = :property",
    )?
    .execute(named_params! { ":id": id.0, ":property": property.as_str() })?;
    Ok(())
}

/// Drops all fields of an entry.
pub fn drop_fields(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM sync_outbox_fields WHERE outbox_id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// Ends an entry.
pub fn end(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    drop_fields(tx, id)?;
    tx.prepare_cached("DELETE FROM sync_outbox WHERE id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// The entry of a row, made as an update where there is none.
pub fn ensure_update(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    hs_id: HubspotId,
    now: Timestamp,
) -> Result<OutboxId, StoreError> {
    let found: Option<i64> = tx
        .prepare_cached(&format!(
            "SELECT id
             FROM sync_outbox
             WHERE object = :object AND local_id = :local_id AND {OF_ROW}"
        ))?
        .query_row(
            named_params! { ":object": object.as_str(), ":local_id": local_id.0 },
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = found {
        return Ok(OutboxId(id));
    }
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
         VALUES (:object, :local_id, :hs_id, 'update', :now, :now)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":hs_id": hs_id.0,
        ":now": now.to_string(),
    })?;
    Ok(OutboxId(tx.last_insert_rowid()))
}

/// Queues a create for a row that lost its record and was written at `written_at`.
pub fn queue_create(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    key: &str,
    written_at: Timestamp,
    now: Timestamp,
) -> Result<OutboxId, StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, key)
         VALUES (:object, :local_id, 'create', :written_at, :now, :key)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":local_id": local_id.0,
        ":written_at": written_at.to_string(),
        ":now": now.to_string(),
        ":key": key,
    })?;
    Ok(OutboxId(tx.last_insert_rowid()))
}

/// Makes an entry an update of a record, due at once: after a create was acknowledged or its record found.
pub fn become_update(
    tx: &Transaction<'_>,
    id: OutboxId,
    hs_id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    become_operation(tx, id, Operation::Update, hs_id, now)
}

/// Makes an entry the archive of a record, due at once: its row was deleted while an attempt was in flight.
pub fn become_archive(
    tx: &Transaction<'_>,
    id: OutboxId,
    hs_id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    become_operation(tx, id, Operation::Archive, hs_id, now)
}

fn become_operation(
    tx: &Transaction<'_>,
    id: OutboxId,
    operation: Operation,
    hs_id: HubspotId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let event = Event::Linked {
        operation,
        hs_id,
        at,
    };
    change(tx, id, event).map(drop)
}

/// Sends an entry back to the queue: due at `next`, with the words of the last error. `answered` ends the doubt about
/// its attempts.
pub fn retry(
    tx: &Transaction<'_>,
    id: OutboxId,
    next: Timestamp,
    words: Option<&str>,
    waits_for: Option<WaitsFor>,
    answered: Answered,
) -> Result<(), StoreError> {
    let event = Event::SentBack {
        next,
        words: words.map(str::to_owned),
        waits_for,
        answered,
    };
    change(tx, id, event).map(drop)
}

/// Lets an entry go on of which a person has decided, also a dead one.
pub fn decide(tx: &Transaction<'_>, id: OutboxId, at: Timestamp) -> Result<(), StoreError> {
    change(tx, id, Event::Decided { at }).map(drop)
}

/// Sends an entry back to the queue whose unique value the record of `row` has, and gives up.
pub fn wait_for_row(
    tx: &Transaction<'_>,
    id: OutboxId,
    row: LocalId,
    next: Timestamp,
    words: &str,
) -> Result<(), StoreError> {
    let words = words.to_owned();
    change(tx, id, Event::TakenByRow { row, next, words }).map(drop)
}

/// Gives a discarding that can't be carried out back to the person, with the reason.
pub fn refuse_discard(tx: &Transaction<'_>, id: OutboxId, words: &str) -> Result<(), StoreError> {
    let words = words.to_owned();
    change(tx, id, Event::DiscardRefused { words }).map(drop)
}

/// Parks an entry for a person.
pub fn park(
    tx: &Transaction<'_>,
    id: OutboxId,
    words: &str,
    answered: Answered,
) -> Result<(), StoreError> {
    let words = words.to_owned();
    change(tx, id, Event::Refused { words, answered }).map(drop)
}

/// Where a row went whose deletion no trigger has recorded.
pub const UNRECORDED: &str = "is gone, and no trigger recorded its deletion";

/// Parks an entry whose row is gone without a trigger's word: nothing of it can be sent, and no record can be taken for its
/// own. It names row, record and properties, and `went` says where the row is. Without a time, by which it is known; retried,
/// it is parked again.
pub fn park_without_row(
    tx: &Transaction<'_>,
    table: &TableName,
    entry: &Entry,
    went: &str,
) -> Result<(), StoreError> {
    let row = entry.local_id;
    let record = entry
        .hs_id
        .map_or_else(String::new, |id| format!(", HubSpot record {id},"));
    let properties: Vec<String> = entry
        .fields
        .iter()
        .map(|field| format!("`{}`", field.property))
        .collect();
    let words = match (entry.operation, properties.is_empty()) {
        (Operation::Create, _) => format!(
            "row {row} {went}: INSERT it into {table} again to create it in HubSpot, and discard this entry"
        ),
        (_, false) => format!(
            "row {row}{record} {went}, with what waited of it: write {} again, and discard this entry",
            properties.join(", ")
        ),
        (_, true) => format!("row {row}{record} {went}: discard this entry"),
    };
    tracing::error!(table_name = %table, local_id = %row, operation = entry.operation.as_str(), "{words}");
    drop_fields(tx, entry.id)?;
    // The old key is the key of a record that may come in as any other.
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET key = lower(hex(randomblob(16)))
         WHERE id = :id AND key IS NOT NULL",
    )?
    .execute(named_params! { ":id": entry.id.0 })?;
    change(tx, entry.id, Event::RowGone { words }).map(drop)
}

/// Notes that a row stays here although HubSpot does not have it: nothing waits for it, and nobody missed its INSERT.
pub fn exclude(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_excluded (object, local_id)
         VALUES (:object, :local_id)
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! { ":object": object.as_str(), ":local_id": local_id.0 })?;
    Ok(())
}

/// Lets go the creates that waited for the first backfill.
pub fn release_backfill(tx: &Transaction<'_>, object: &ObjectType) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET waits_for = NULL, next_attempt_at = enqueued_at
         WHERE object = :object AND operation = 'create' AND waits_for = 'backfill'",
    )?
    .execute(named_params! { ":object": object.as_str() })?;
    Ok(())
}

/// Makes updates due that carry a property which can be written again: while it could not, they were put off.
pub fn release_property(
    tx: &Transaction<'_>,
    object: &str,
    property: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET next_attempt_at = :now
         WHERE object = :object
           AND operation IN ('create', 'update')
           AND state = 'pending'
           AND waits_for IS NULL
           AND next_attempt_at > :now
           AND EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = sync_outbox.id AND f.property = :property)",
    )?
    .execute(named_params! { ":object": object, ":property": property, ":now": now.to_string() })?;
    Ok(())
}

/// Whether a field of an entry can be written, as `sync_fields` says: a step that began before it could does not know.
pub fn is_writable(
    connection: &Connection,
    object: &ObjectType,
    id: OutboxId,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM sync_outbox_fields AS f
             JOIN sync_fields AS s ON s.object = :object AND s.property = f.property
             WHERE f.outbox_id = :id
               AND s.direction <> 'pull'
               AND (s.state IN ('active', 'filling')
                    OR (s.state = 'degraded' AND EXISTS (SELECT 1 FROM sync_unreadable AS u
                                                         WHERE u.object = s.object AND u.property = s.property)))",
        )?
        .exists(named_params! { ":object": object.as_str(), ":id": id.0 })?)
}

/// Entries of an object that were left in flight: nobody knows what became of them.
pub fn in_flight(connection: &Connection, object: &ObjectType) -> Result<Vec<Queued>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id FROM sync_outbox
         WHERE object = :object AND {OF_ROW} AND state = 'in_flight'
         ORDER BY id"
    ))?;
    let found = statement
        .query_map(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = Vec::with_capacity(found.len());
    for id in found {
        entries.extend(by_id(connection, OutboxId(id))?);
    }
    Ok(entries)
}

/// The objects that have entries, also those that the mapping no longer names.
pub fn objects(connection: &Connection) -> Result<Vec<ObjectType>, StoreError> {
    connection
        .prepare_cached("SELECT DISTINCT object FROM sync_outbox ORDER BY object")?
        .query_map([], |row| row.get::<_, String>(0))?
        .map(|object| {
            ObjectType::parse(&object?).map_err(|error| StoreError::UnknownValue(error.to_string()))
        })
        .collect()
}

/// A record whose value of a property HubSpot is still to learn, or that is to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giver {
    /// Its row.
    pub local_id: LocalId,
    /// The record.
    pub hs_id: HubspotId,
    /// Whether its entry is dead.
    pub is_dead: bool,
    /// When its entry is tried next; `None` while it waits for a person's word.
    pub next: Option<Timestamp>,
}

/// Records that HubSpot shows with a value of this form and that a change of ours, or an archive, takes it from.
pub fn givers(
    connection: &Connection,
    object: &ObjectType,
    property: &PropertyName,
    rule: MatchRule,
    form: &str,
) -> Result<Vec<Giver>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.local_id, e.hs_id, e.state = 'dead', iif(e.waits_for IS 'guard', NULL, e.next_attempt_at)
         FROM sync_outbox_fields AS f
         JOIN sync_outbox AS e ON e.id = f.outbox_id
         WHERE f.property = :property
           AND f.base_known = 1
           AND e.object = :object
           AND e.operation = 'update'
           AND e.hs_id IS NOT NULL
           AND hubsyncd_match_form(f.base_value, :rule) = :form
         UNION ALL
         SELECT e.local_id, e.hs_id, e.state = 'dead', iif(e.waits_for IS 'guard', NULL, e.next_attempt_at)
         FROM sync_outbox AS e
         WHERE e.object = :object
           AND e.operation = 'archive'
           AND e.hs_id IS NOT NULL
           AND json_valid(e.row)
           AND hubsyncd_match_form(json_extract(e.row, :path), :rule) = :form",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":object": object.as_str(),
            ":property": property.as_str(),
            ":path": format!("$.\"{property}\""),
            ":rule": rule.as_str(),
            ":form": form,
        },
        |row| {
            Ok((
                LocalId(row.get(0)?),
                HubspotId(row.get(1)?),
                row.get(2)?,
                row.get::<_, Option<String>>(3)?,
            ))
        },
    )?;
    rows.map(|row| {
        let (local_id, hs_id, is_dead, next) = row?;
        Ok(Giver {
            local_id,
            hs_id,
            is_dead,
            next: next.as_deref().map(time_of).transpose()?,
        })
    })
    .collect()
}

/// Whether an entry waits for the answer to a create that no key finds again, begun before `created`. `has_key`: HubSpot
/// knows the key's property by now.
pub fn keyless_create_in_doubt(
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
pub fn is_creating(connection: &Connection, object: &ObjectType) -> Result<bool, StoreError> {
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
pub fn remember_sent(
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
pub fn check_sent(
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
pub fn move_sent(
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
pub fn forget_sent(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
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

/// Gives a row's entry the id of the record that survived a merge in HubSpot.
pub fn rename_record(
    tx: &Transaction<'_>,
    object: &ObjectType,
    local_id: LocalId,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "UPDATE sync_outbox
         SET hs_id = :hs_id
         WHERE object = :object AND local_id = :local_id AND {OF_ROW}"
    ))?
    .execute(
        named_params! { ":object": object.as_str(), ":local_id": local_id.0, ":hs_id": hs_id.0 },
    )?;
    Ok(())
}

/// Keeps an entry from being sent until somebody decides.
pub fn never_due(tx: &Transaction<'_>, id: OutboxId, words: &str) -> Result<(), StoreError> {
    let words = words.to_owned();
    change(tx, id, Event::Asked { words }).map(drop)
}

/// Entries whose time is none that the daemon set: due at once when they were queued, by a clock that was ahead; or later
/// than any wait.
fn put_off_by_a_clock() -> String {
    format!(
        "object = :object
           AND {OF_ROW}
           AND state = 'pending'
           AND next_attempt_at > :now
           AND (next_attempt_at > :latest OR (attempts = 0 AND next_attempt_at = enqueued_at))"
    )
}

/// Whether a clock that was ahead has put an entry off.
pub fn is_put_off_by_a_clock(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT 1 FROM sync_outbox WHERE {}",
            put_off_by_a_clock()
        ))?
        .exists(named_params! {
            ":object": object.as_str(),
            ":now": now.to_string(),
            ":latest": latest_due(now).to_string(),
        })?)
}

/// Makes those due. Tells how many they are.
pub fn heal_times(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached(&format!(
            "UPDATE sync_outbox SET next_attempt_at = :now WHERE {}",
            put_off_by_a_clock()
        ))?
        .execute(named_params! {
            ":object": object.as_str(),
            ":now": now.to_string(),
            ":latest": latest_due(now).to_string(),
        })?)
}

/// Puts a pending entry off without counting an attempt.
pub fn put_off(tx: &Transaction<'_>, id: OutboxId, next: Timestamp) -> Result<(), StoreError> {
    change(tx, id, Event::PutOff { next, words: None }).map(drop)
}

/// The same of an entry whose record could not be read: its `last_error` says so.
pub fn put_off_unread(
    tx: &Transaction<'_>,
    id: OutboxId,
    next: Timestamp,
) -> Result<(), StoreError> {
    let words = Some(UNREAD.to_owned());
    change(tx, id, Event::PutOff { next, words }).map(drop)
}

/// Archives that are not in flight, at most `limit`.
pub fn waiting_archives(
    connection: &Connection,
    object: &ObjectType,
    limit: usize,
) -> Result<Vec<Queued>, StoreError> {
    many(
        connection,
        &select("WHERE object = ?1 AND operation = 'archive' AND state = 'pending' LIMIT ?2"),
        (object.as_str(), limit as i64),
    )
}

/// Notes when the answer to an attempt was given up: a lost request may still land for a while after that.
pub fn lose(
    tx: &Transaction<'_>,
    id: OutboxId,
    words: &str,
    next: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = Event::Lost {
        at: now,
        next,
        words: words.to_owned(),
    };
    change(tx, id, event).map(drop)
}

/// Gives a field that was written in flight the base that the answer brought.
pub fn set_base(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    base: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox_fields
         SET base_value = :base, base_known = 1, sent_value = NULL
         WHERE outbox_id = :id AND property = :property",
    )?
    .execute(
        named_params! { ":id": id.0, ":property": property.as_str(), ":base": base.as_deref() },
    )?;
    Ok(())
}

/// An attempt that never reached HubSpot does not count.
pub fn uncount_attempt(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    change(tx, id, Event::Uncounted).map(drop)
}

/// Replaces the row that a deleted record's entry keeps.
pub fn set_row(tx: &Transaction<'_>, id: OutboxId, row: &str) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_outbox SET row = :row WHERE id = :id")?
        .execute(named_params! { ":id": id.0, ":row": row })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode, WriteTx};

    #[test]
    fn a_time_to_come_that_no_wait_explains_is_due() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let name = ObjectType::parse("contacts").expect("a name");
        let (hours, minutes) = (
            |hours| now() + std::time::Duration::from_hours(hours),
            |minutes| now() + std::time::Duration::from_mins(minutes),
        );
        let entries = [
            // By a program whose clock is ahead.
            (1, 0, hours(8), hours(8), true),
            (2, 0, minutes(3), minutes(3), true),
            // By this machine while its clock was ahead.
            (3, 2, now(), hours(8), true),
            // By the daemon: a wait, and a put-off.
            (4, 1, now(), minutes(5), false),
            (5, 0, now(), minutes(1), false),
            (6, 0, now(), now(), false),
        ];
        let healed = at_once(store.write(Lane::Bulk, move |tx: &WriteTx<'_>| {
            let mut insert = tx.prepare(
                "INSERT INTO sync_outbox (object, local_id, hs_id, operation, attempts, enqueued_at, next_attempt_at)
                 VALUES ('contacts', ?1, ?1, 'update', ?2, ?3, ?4)",
            )?;
            for (id, attempts, enqueued_at, next, _) in entries {
                insert.execute((id, attempts, enqueued_at.to_string(), next.to_string()))?;
            }
            assert!(is_put_off_by_a_clock(tx, &name, now())?);
            let healed = heal_times(tx, &name, now())?;
            assert!(!is_put_off_by_a_clock(tx, &name, now())?);
            for (id, _, _, next, is_due) in entries {
                let due: String = tx.query_row(
                    "SELECT next_attempt_at FROM sync_outbox WHERE local_id = ?1",
                    [id],
                    |row| row.get(0),
                )?;
                let expected = if is_due { now() } else { next };
                assert_eq!(due, expected.to_string(), "{id}");
            }
            Ok::<_, StoreError>(healed)
        }));
        assert_eq!(healed.expect("heals"), 3);
    }

    #[test]
    fn a_claim_that_is_taken_back_leaves_an_older_doubt_alone() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let done = at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
            let before = now() - std::time::Duration::from_secs(9);
            tx.execute_batch(&format!(
                "INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, attempts, enqueued_at, unanswered_since)
                 VALUES (1, 'contacts', 1, 1, 'update', 0, '{before}', NULL), (2, 'contacts', 2, 2, 'update', 4, '{before}', '{before}')"
            ))?;
            for (id, attempts, doubt) in [(1, 0, None), (2, 4, Some(before))] {
                let queued = by_id(tx, OutboxId(id))?.expect("it is there");
                claim(tx, &queued, Attempt::Archive, now())?;
                unclaim(tx, OutboxId(id), now())?;
                let queued = by_id(tx, OutboxId(id))?.expect("it is there");
                assert_eq!(queued.entry.state, EntryState::Pending);
                assert_eq!(queued.entry.attempts, attempts);
                assert_eq!(queued.standing.unanswered_since, doubt);
            }
            Ok::<_, StoreError>(())
        }));
        done.expect("unclaims");
    }

    #[test]
    fn an_entry_of_a_row_with_text_that_is_no_utf_8_keeps_no_other_one_from_being_read() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let read = store.write(Lane::Bulk, |tx| {
            tx.execute_batch(
                "INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at, row) VALUES
                     (1, 'contacts', 1, 101, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z', NULL),
                     (2, 'contacts', 2, 102, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z',
                      CAST(x'7b2261223a22ff222c2262223a22616461227d' AS TEXT));
                 INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at) VALUES
                     (1, 'firstname', CAST(x'fffe41' AS TEXT), '2026-11-24T03:00:00.000Z'),
                     (2, 'firstname', 'Ada', '2026-11-24T03:00:00.000Z')",
            )?;
            let pick = Pick {
                operation: Operation::Update,
                order: Order::OldestFirst,
            };
            due(tx, &ObjectType::parse("contacts").expect("a name"), pick, now(), 100)
        });
        let entries = at_once(read).expect("reads");
        let base = |queued: &Queued| match &queued.entry.fields[0].base {
            Base::Known(value) => value.to_wire().to_owned(),
            Base::Unknown => "?".to_owned(),
        };
        assert_eq!(
            entries.iter().map(base).collect::<Vec<_>>(),
            ["x'fffe41'", "Ada"]
        );
        assert_eq!(
            entries[1].entry.row.as_deref(),
            Some(r#"{"a":"x'ff'","b":"ada"}"#)
        );
    }
}
