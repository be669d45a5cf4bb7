//! What `once` reports of an object: the work since its start and what is left.

use rusqlite::{Connection, named_params};
use serde::Serialize;

use crate::model::association::PairMapping;
use crate::model::name::ObjectType;
use crate::store::outbox::links::IS_DECIDED;
use crate::store::shape::associations::MISSING_RECORD;
use crate::store::{StoreError, reads};

/// What `once` did to one object, and what is left of it.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ObjectReport {
    /// The object.
    pub object: String,
    /// Records that changed the mirror.
    pub pulled: u64,
    /// Local changes that HubSpot acknowledged.
    pub pushed: u64,
    /// Entries that are pending or in flight, without those that wait for the guard or hang on a removal that it holds.
    pub pending: u64,
    /// Entries that HubSpot refused.
    pub dead: u64,
    /// Open conflicts.
    pub conflicts: u64,
    /// Records that wait for an operator's word.
    pub held: u64,
    /// Values and records of HubSpot's that can't be read: `sync_unreadable` has them.
    pub unreadable: u64,
    /// Records that the table refuses, in or out, by a constraint of somebody else's.
    pub refused: u64,
    /// Why it refuses one of them.
    pub refusal: Option<String>,
    /// Why one of the pending entries waits for a record that nothing makes, and how many do.
    #[serde(skip)]
    pub unmade: Option<(String, u64)>,
}

/// Whether an entry is about a record whose removal here the guard holds: nothing is sent of it before somebody has decided.
const HANGS_ON_A_REMOVAL: &str = "hs_id IN (SELECT r.hs_id FROM _sync_removals AS r WHERE r.object = :object AND r.hold_id IS NOT NULL)";

/// What all runs of an object did that are still kept. A run may go on after a stop, so that no number of a run parts what
/// was done before from what was done since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkDone {
    pulled: u64,
    pushed: u64,
}

/// What all kept runs of an object did.
pub fn done(connection: &Connection, object: &ObjectType) -> Result<WorkDone, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT
             coalesce(sum(changed) FILTER (WHERE kind IN ('backfill', 'poll', 'reconcile')), 0),
             coalesce(sum(changed) FILTER (WHERE kind = 'push'), 0)
         FROM sync_runs
         WHERE object = :object",
    )?;
    Ok(
        statement.query_row(named_params! { ":object": object.as_str() }, |row| {
            Ok(WorkDone {
                pulled: row.get::<_, i64>(0)?.unsigned_abs(),
                pushed: row.get::<_, i64>(1)?.unsigned_abs(),
            })
        })?,
    )
}

/// Counts what is left of an object, and what was done since `before`. The conflicts of associations count to the object that
/// their pair starts from.
pub fn of(
    connection: &Connection,
    object: &ObjectType,
    pairs: &[PairMapping],
    before: WorkDone,
) -> Result<ObjectReport, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT
             (SELECT count(*) FROM sync_outbox
              WHERE object = :object AND state IN ('pending', 'in_flight') AND waits_for IS NOT 'guard'
                AND (next_attempt_at IS NOT NULL OR waits_for = 'create') AND (to_local_id IS NULL OR ({IS_DECIDED}))
                AND NOT (state = 'pending' AND {HANGS_ON_A_REMOVAL})),
             (SELECT count(*) FROM sync_outbox WHERE object = :object AND state = 'dead'),
             (SELECT count(*) FROM sync_conflicts
              WHERE object IN (SELECT :object UNION SELECT value FROM json_each(:pairs)) AND resolved_at IS NULL),
             (SELECT count(*) FROM sync_outbox WHERE object = :object AND waits_for = 'guard')
             + (SELECT count(*) FROM _sync_removals WHERE object = :object AND hold_id IS NOT NULL)
             + (SELECT count(*) FROM _sync_held_clears WHERE object = :object),
             (SELECT count(*) FROM sync_unreadable WHERE object = :object),
             (SELECT count(*) FROM sync_outbox WHERE object = :object AND waits_for = 'create' AND code = '{MISSING_RECORD}'),
             -- The cause itself is said before what waits for it.
             (SELECT last_error FROM sync_outbox
              WHERE object = :object AND waits_for = 'create' AND code = '{MISSING_RECORD}'
              ORDER BY instr(last_error, 'waits itself'), id
              LIMIT 1)"
    ))?;
    let own = pairs.iter().filter(|pair| pair.from == *object);
    let keys: Vec<&str> = own.map(|pair| pair.key.as_str()).collect();
    let keys = serde_json::to_string(&keys).expect("names have a JSON form");
    let named = named_params! { ":object": object.as_str(), ":pairs": keys };
    let row = statement.query_row(named, |row| {
        let mut numbers = [0_u64; 6];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = row.get::<_, i64>(index)?.unsigned_abs();
        }
        Ok((numbers, row.get::<_, Option<String>>(6)?))
    })?;
    let ([pending, dead, conflicts, held, unreadable, unmade], why_unmade) = row;
    let now = done(connection, object)?;
    let (refused, refusal) = reads::refused(connection, object)?;
    Ok(ObjectReport {
        object: object.as_str().to_owned(),
        pulled: now.pulled.saturating_sub(before.pulled),
        pushed: now.pushed.saturating_sub(before.pushed),
        pending,
        dead,
        conflicts,
        held,
        unreadable,
        refused,
        refusal,
        unmade: why_unmade.map(|why| (why, unmade)),
    })
}
