//! `_sync_links_due`: records whose associations are to be read.
//!
//! A question carries a number: an answer to an earlier question says nothing of what was written since.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use crate::decide::retry::latest_due;
use crate::model::entry::states;
use crate::model::id::HubspotId;
use crate::model::name::TableName;
use crate::model::origin::Origin;
use crate::model::time::Timestamp;
use crate::store::StoreError;

states! {
    /// From which end of a pair a record's associations are read.
    Side {
        /// From where its rows start.
        From = "from",
        /// From where they lead: that tells whose are to be read from the other end.
        To = "to",
    }
}

/// A record whose associations are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueLinks {
    /// The record.
    pub id: HubspotId,
    /// Who asked; `push`: the daemon itself, since nobody has read yet what HubSpot made beside a write.
    pub origin: Origin,
    /// The number of the question.
    pub asked: i64,
}

impl DueLinks {
    /// What `sync_history` says of what the answer brings.
    pub(crate) fn told_by(self) -> Origin {
        match self.origin == Origin::Push {
            true => Origin::Poll,
            false => self.origin,
        }
    }
}

/// Asks for a record's associations to be read at a moment, or earlier where they are to be anyway. Each question has a number of
/// its own that none before it had: an answer that is slow to come may meet the next question but one. What HubSpot made beside a
/// write is unread until an answer comes, whoever else asks.
pub(crate) fn ask(
    tx: &Transaction<'_>,
    pair: &TableName,
    id: HubspotId,
    origin: Origin,
    at: Timestamp,
) -> Result<(), StoreError> {
    ask_from(tx, (pair, Side::From), id, origin, at)
}

/// The same from an end of the pair.
pub(crate) fn ask_from(
    tx: &Transaction<'_>,
    (pair, side): (&TableName, Side),
    id: HubspotId,
    origin: Origin,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_links_due (pair, side, hs_id, origin, due_at)
         VALUES (:pair, :side, :id, :origin, :at)
         ON CONFLICT (pair, side, hs_id) DO UPDATE
         SET asked = excluded.asked, origin = iif(origin = 'push', origin, excluded.origin), due_at = min(due_at, excluded.due_at)",
    )?
    .execute(named_params! {
        ":pair": pair.as_str(),
        ":side": side.as_str(),
        ":id": id.0,
        ":origin": origin.as_str(),
        ":at": at.to_string(),
    })?;
    Ok(())
}

/// What is due of a pair, the longest waiting first. A time that no wait explains was written by a clock that was ahead: it is
/// due.
pub fn due(
    connection: &Connection,
    (pair, side): (&TableName, Side),
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueLinks>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id, origin, asked
         FROM _sync_links_due
         WHERE pair = :pair AND side = :side AND (due_at <= :now OR due_at > :latest)
         ORDER BY due_at, hs_id
         LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":pair": pair.as_str(),
            ":side": side.as_str(),
            ":now": now.to_string(),
            ":latest": latest_due(now).to_string(),
            ":limit": limit as i64,
        },
        from_row,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the next of a pair falls due.
pub fn next(
    connection: &Connection,
    (pair, side): (&TableName, Side),
) -> Result<Option<Timestamp>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT min(due_at) FROM _sync_links_due WHERE pair = :pair AND side = :side",
    )?;
    let text: Option<String> = statement.query_row(
        named_params! { ":pair": pair.as_str(), ":side": side.as_str() },
        |row| row.get(0),
    )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// The numbers of the questions that wait for answers about these records.
pub fn asked(
    connection: &Connection,
    (pair, side): (&TableName, Side),
    ids: &[HubspotId],
) -> Result<BTreeMap<HubspotId, i64>, StoreError> {
    let mut numbers = BTreeMap::new();
    for id in ids {
        let number = number_of(connection, (pair, side), *id)?;
        numbers.extend(number.map(|number| (*id, number)));
    }
    Ok(numbers)
}

/// The number of the question that waits for an answer about a record.
pub(crate) fn number_of(
    connection: &Connection,
    end: (&TableName, Side),
    id: HubspotId,
) -> Result<Option<i64>, StoreError> {
    let question = question(connection, end, id)?;
    Ok(question.map(|question| question.asked))
}

/// The question that waits for an answer about a record.
pub(crate) fn question(
    connection: &Connection,
    (pair, side): (&TableName, Side),
    id: HubspotId,
) -> Result<Option<DueLinks>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id, origin, asked
         FROM _sync_links_due
         WHERE pair = :pair AND side = :side AND hs_id = :id",
    )?;
    let question = statement.query_row(
        named_params! { ":pair": pair.as_str(), ":side": side.as_str(), ":id": id.0 },
        from_row,
    );
    Ok(question.optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<DueLinks> {
    let origin: String = row.get(1)?;
    Ok(DueLinks {
        id: HubspotId(row.get(0)?),
        origin: Origin::parse(&origin).unwrap_or(Origin::Poll),
        asked: row.get(2)?,
    })
}

/// The associations of a record were read.
pub fn done(
    tx: &Transaction<'_>,
    (pair, side): (&TableName, Side),
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_links_due WHERE pair = :pair AND side = :side AND hs_id = :id",
    )?
    .execute(named_params! { ":pair": pair.as_str(), ":side": side.as_str(), ":id": id.0 })?;
    Ok(())
}

/// Asks for a record's associations again, but not before a moment.
pub(crate) fn put_off(
    tx: &Transaction<'_>,
    (pair, side): (&TableName, Side),
    id: HubspotId,
    origin: Origin,
    until: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_links_due (pair, side, hs_id, origin, due_at)
         VALUES (:pair, :side, :id, :origin, :until)
         ON CONFLICT (pair, side, hs_id) DO UPDATE SET due_at = excluded.due_at",
    )?
    .execute(named_params! {
        ":pair": pair.as_str(),
        ":side": side.as_str(),
        ":id": id.0,
        ":origin": origin.as_str(),
        ":until": until.to_string(),
    })?;
    Ok(())
}
