//! Which entries are sent next, and which are looked at before anything is.

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::decide::outgoing::plan::{Backlog, DueEntry, Order, Pick};
use crate::model::entry::{Entry, Operation};
use crate::model::id::OutboxId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::outbox::{LISTED, OF_ROW, by_id, many, select, time_of};

/// Which entries may be sent once their time has come. What a person gave up goes only where it may be done already.
pub(crate) const MAY_BE_SENT: &str = "state = 'pending' AND (waits_for IS NULL OR waits_for IN ('answer', 'lock')) \
     AND (discarded_at IS NULL OR (operation = 'create' AND unanswered_since IS NOT NULL))";

/// What may be sent of an object, counted up to `bound`.
pub(crate) fn backlog(
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
    // Archives are never taken youngest first: nobody waits for them, and the guard counts them as a whole.
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
    // One operation after the other: each goes by the index, and both at once would sort all that is due.
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
) -> Result<Vec<Entry>, StoreError> {
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

/// The moment at which the next pending entry of an object's rows falls due.
pub(crate) fn next_due(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Option<Timestamp>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT min(next_attempt_at)
         FROM sync_outbox
         WHERE object = :object
           AND {LISTED}
           AND {MAY_BE_SENT}"
    ))?;
    let text: Option<String> = statement
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?;
    text.as_deref().map(time_of).transpose()
}

/// Entries that people have discarded, at most `limit`; not those whose attempt is under way, nor creates that may be
/// done already: those are looked for first.
pub fn discarded(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<(ObjectType, Entry)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, id
         FROM sync_outbox
         WHERE discarded_at IS NOT NULL
           AND state <> 'in_flight'
           AND (operation <> 'create' OR state = 'dead' OR unanswered_since IS NULL)
         ORDER BY +id
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

/// An entry that waits: it is neither dead nor given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitingEntry {
    /// Its number.
    pub id: OutboxId,
    /// What it does.
    pub operation: Operation,
    /// When it is due; `None`: when what it waits for is there, or it is in flight.
    pub due: Option<Timestamp>,
    /// Whether the next push takes it.
    pub is_due: bool,
}

impl WaitingEntry {
    /// As a batch is made of it.
    pub(crate) fn as_due(&self) -> DueEntry {
        DueEntry {
            due: self.due.unwrap_or_default(),
            id: self.id,
        }
    }
}

/// All entries of an object that wait and do this, or of a pair of objects.
pub(crate) fn waiting(
    connection: &Connection,
    object: &ObjectType,
    to: Option<&ObjectType>,
    operation: Operation,
    now: Timestamp,
) -> Result<Vec<WaitingEntry>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, next_attempt_at, ({MAY_BE_SENT} AND next_attempt_at <= :now) IS TRUE
         FROM sync_outbox
         WHERE object = :object AND to_object IS :to AND operation = :operation
           AND state <> 'dead' AND discarded_at IS NULL
         ORDER BY next_attempt_at, id"
    ))?;
    let mut rows = statement.query(named_params! {
        ":object": object.as_str(),
        ":to": to.map(ObjectType::as_str),
        ":operation": operation.as_str(),
        ":now": now.to_string(),
    })?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let due: Option<String> = row.get(1)?;
        found.push(WaitingEntry {
            id: OutboxId(row.get(0)?),
            operation,
            due: due.as_deref().map(time_of).transpose()?,
            is_due: row.get(2)?,
        });
    }
    Ok(found)
}

/// Entries of an object that were left in flight: nobody knows what became of them.
pub fn in_flight(connection: &Connection, object: &ObjectType) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id FROM sync_outbox
         WHERE object = :object AND {OF_ROW} AND {LISTED} AND state = 'in_flight'
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

/// Archives that are not in flight, at most `limit`.
pub(crate) fn waiting_archives(
    connection: &Connection,
    object: &ObjectType,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    many(
        connection,
        &select(
            "WHERE object = ?1 AND operation = 'archive' AND state IN ('pending', 'dead') LIMIT ?2",
        ),
        (object.as_str(), limit as i64),
    )
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
