//! `_sync_link_passes`: how far the pass over each pair's records is.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::incoming::rotation::RotationPace;
use crate::model::association::PairMapping;
use crate::model::id::HubspotId;
use crate::model::name::{ObjectType, TableName};
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// Where the passes over a pair stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkPass {
    /// When the first one ended.
    pub first_ended_at: Option<Timestamp>,
    /// When the last one ended.
    pub last_ended_at: Option<Timestamp>,
    /// When the one under way began.
    pub started_at: Option<Timestamp>,
    /// The last record that it has read.
    pub last_hs_id: Option<HubspotId>,
    /// When its slices are due; `None` where it goes on at once.
    pub pace: Option<RotationPace>,
}

/// Where the passes over a pair stand.
pub fn get(connection: &Connection, pair: &TableName) -> Result<LinkPass, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT first_ended_at, last_ended_at, started_at, last_hs_id, slices, slice_due_at
         FROM _sync_link_passes
         WHERE pair = :pair",
    )?;
    let pass = statement.query_row(named_params! { ":pair": pair.as_str() }, |row| {
        let time = |index: usize| -> rusqlite::Result<Option<Timestamp>> {
            let text: Option<String> = row.get(index)?;
            Ok(text.as_deref().and_then(Timestamp::parse))
        };
        let last: Option<i64> = row.get(3)?;
        let slices: Option<u32> = row.get(4)?;
        Ok(LinkPass {
            first_ended_at: time(0)?,
            last_ended_at: time(1)?,
            started_at: time(2)?,
            last_hs_id: last.map(HubspotId),
            pace: slices
                .zip(time(5)?)
                .map(|(slices, last_due_at)| RotationPace {
                    slices,
                    last_due_at,
                }),
        })
    });
    Ok(pass.optional()?.unwrap_or_default())
}

/// Begins a pass over all of a pair's records that goes on at once; one that is under way begins anew.
pub fn begin(tx: &Transaction<'_>, pair: &PairMapping, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_link_passes (pair, from_object, to_object, started_at)
         VALUES (:pair, :from, :to, :now)
         ON CONFLICT (pair) DO UPDATE
         SET started_at = excluded.started_at, last_hs_id = NULL, slices = NULL, slice_due_at = NULL",
    )?
    .execute(named_params! {
        ":pair": pair.key.as_str(),
        ":from": pair.from.as_str(),
        ":to": pair.to.as_str(),
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Begins the next rotation over all of a pair's records, at its pace.
pub(crate) fn rotate(
    tx: &Transaction<'_>,
    pair: &TableName,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_link_passes SET started_at = :now, last_hs_id = NULL WHERE pair = :pair",
    )?
    .execute(named_params! { ":pair": pair.as_str(), ":now": now.to_string() })?;
    Ok(())
}

/// The pass under way has read up to a record. One that began anew meanwhile stays where it is.
pub fn advance(
    tx: &Transaction<'_>,
    pair: &TableName,
    pass: &LinkPass,
    last: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_link_passes
         SET last_hs_id = :last, slice_due_at = :slice_due_at
         WHERE pair = :pair AND started_at IS :started",
    )?
    .execute(named_params! {
        ":pair": pair.as_str(),
        ":last": last.0,
        ":slice_due_at": pass.pace.map(|pace| pace.last_due_at.to_string()),
        ":started": pass.started_at.map(|at| at.to_string()),
    })?;
    Ok(())
}

/// The pass under way has come to its end, and a rotation at this pace is next. One that began anew meanwhile goes on.
pub fn end(
    tx: &Transaction<'_>,
    pair: &TableName,
    pass: &LinkPass,
    pace: RotationPace,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_link_passes
         SET first_ended_at = coalesce(first_ended_at, :now), last_ended_at = :now, started_at = NULL, last_hs_id = NULL,
             slices = :slices, slice_due_at = :slice_due_at
         WHERE pair = :pair AND started_at IS :started",
    )?
    .execute(named_params! {
        ":pair": pair.as_str(),
        ":now": now.to_string(),
        ":slices": pace.slices,
        ":slice_due_at": pace.last_due_at.to_string(),
        ":started": pass.started_at.map(|at| at.to_string()),
    })?;
    Ok(())
}

/// Tells `sync_status` how old the oldest pass over the pairs of an object, or of each object, is; nothing where one has not
/// ended yet.
pub fn show(tx: &Transaction<'_>, object: Option<&ObjectType>) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_cursors
         SET last_association_pass_at = (SELECT iif(count(*) = count(last_ended_at), min(last_ended_at), NULL)
                                         FROM _sync_link_passes
                                         WHERE from_object = _sync_cursors.object)
         WHERE :object IS NULL OR object = :object",
    )?
    .execute(named_params! { ":object": object.map(ObjectType::as_str) })?;
    Ok(())
}
