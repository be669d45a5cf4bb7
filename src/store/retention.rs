//! What the daemon may forget, by age and size: history, inbox, runs. In small batches, so that nobody waits for it.
//!
//! Nothing that waits is ever forgotten: pending and dead events stay, and so does an open run.

use std::time::Duration;

use rusqlite::{Connection, Transaction, named_params};

use crate::model::time::Timestamp;
use crate::store::{StoreError, history as changes, undo};

/// Rows of one table that go in one transaction: a few milliseconds.
pub(super) const BATCH: i64 = 500;

/// Rows whose size is measured to know that of all.
const SAMPLE: i64 = 1000;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// `sync_history`.
    pub history: Duration,
    /// Events of `sync_inbox` that are done or ignored.
    pub inbox: Duration,
    /// `sync_runs` and `sync_requests`.
    pub runs: Duration,
    /// Bound on the bytes of the three together; 0: none.
    pub max_bytes: u64,
}

/// Forgets one batch. Tells how many rows went: 0 means that nothing is left to forget.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    keep: Keep,
    now: Timestamp,
) -> Result<usize, StoreError> {
    changes::forget_pushes(tx, now)?;
    undo::forget_marks(tx, now - keep.history)?;
    let by_age = history(tx, now - keep.history)?
        + inbox(tx, now - keep.inbox)?
        + runs(tx, now - keep.runs)?;
    if by_age > 0 || keep.max_bytes == 0 {
        return Ok(by_age);
    }
    by_size(tx, keep.max_bytes, now)
}

fn history(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM sync_history
         WHERE id IN (SELECT id FROM sync_history WHERE at < :before ORDER BY at LIMIT :batch)",
    )?;
    Ok(statement.execute(named_params! { ":before": before.to_string(), ":batch": BATCH })?)
}

fn inbox(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let mut gone = 0;
    for state in ["done", "ignored"] {
        gone += tx
            .prepare_cached(
                "DELETE FROM sync_inbox
                 WHERE id IN (
                     SELECT id
                     FROM sync_inbox
                     WHERE state = :state AND received_at < :before
                     ORDER BY received_at
                     LIMIT :batch
                 )",
            )?
            .execute(
                named_params! { ":state": state, ":before": before.to_string(), ":batch": BATCH },
            )?;
    }
    Ok(gone)
}

fn runs(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let runs = tx
        .prepare_cached(
            "DELETE FROM sync_runs
             WHERE id IN (SELECT id FROM sync_runs WHERE finished_at < :before ORDER BY finished_at LIMIT :batch)",
        )?
        .execute(named_params! { ":before": before.to_string(), ":batch": BATCH })?;
    let requests = tx
        .prepare_cached("DELETE FROM sync_requests WHERE hour < :before")?
        .execute(named_params! { ":before": before.to_string() })?;
    let commands = tx
        .prepare_cached(
            "DELETE FROM sync_commands
             WHERE id IN (SELECT id FROM sync_commands WHERE finished_at < :before ORDER BY finished_at LIMIT :batch)",
        )?
        .execute(named_params! { ":before": before.to_string(), ":batch": BATCH })?;
    Ok(runs + requests + commands)
}

/// Forgets the oldest of the largest table, where the three together are above the bound.
fn by_size(tx: &Transaction<'_>, max_bytes: u64, now: Timestamp) -> Result<usize, StoreError> {
    let sizes = [history_bytes(tx)?, inbox_bytes(tx)?, runs_bytes(tx)?];
    if sizes.iter().sum::<u64>() <= max_bytes {
        return Ok(0);
    }
    let largest = (0..sizes.len()).max_by_key(|&index| sizes[index]);
    match largest {
        Some(0) => history(tx, now),
        Some(1) => inbox(tx, now),
        Some(_) | None => runs(tx, now),
    }
}

fn history_bytes(connection: &Connection) -> Result<u64, StoreError> {
    bytes(
        connection,
        "SELECT coalesce((SELECT max(id) FROM sync_history) - (SELECT min(id) FROM sync_history) + 1, 0),
                coalesce(avg(length(object) + length(property) + coalesce(length(old_value), 0) + coalesce(length(new_value), 0)), 0)
         FROM (SELECT object, property, old_value, new_value FROM sync_history ORDER BY id DESC LIMIT :sample)",
    )
}

fn inbox_bytes(connection: &Connection) -> Result<u64, StoreError> {
    bytes(
        connection,
        "SELECT coalesce((SELECT max(id) FROM sync_inbox) - (SELECT min(id) FROM sync_inbox) + 1, 0),
                coalesce(avg(length(event_type) + coalesce(length(last_error), 0)), 0)
         FROM (SELECT event_type, last_error FROM sync_inbox ORDER BY id DESC LIMIT :sample)",
    )
}

fn runs_bytes(connection: &Connection) -> Result<u64, StoreError> {
    bytes(
        connection,
        "SELECT coalesce((SELECT max(id) FROM sync_runs) - (SELECT min(id) FROM sync_runs) + 1, 0),
                coalesce(avg(coalesce(length(error), 0)), 0)
         FROM (SELECT error FROM sync_runs ORDER BY id DESC LIMIT :sample)",
    )
}

/// Bytes of a row besides its free text: numbers, times, indexes.
const ROW_BYTES: f64 = 150.0;

/// About how large a table is: rows go at the old end, so that ids without a gap number them.
pub(super) fn bytes(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let (rows, text): (i64, f64) = statement
        .query_row(named_params! { ":sample": SAMPLE }, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok((rows as f64 * (text + ROW_BYTES)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode, Store};

    const DAY: Duration = Duration::from_hours(24);
    const KEEP: Keep = Keep {
        history: DAY,
        inbox: DAY,
        runs: DAY,
        max_bytes: 0,
    };

    fn fill(store: &Store) {
        let filled = at_once(store.write(Lane::Bulk, |tx| {
            tx.execute_batch(
                "INSERT INTO sync_history (at, object, property, origin)
                 SELECT '2026-11-0' || (1 + value / 600) || 'T00:00:00.000Z', 'contacts', 'email', 'poll'
                 FROM (WITH RECURSIVE n (value) AS (VALUES (0) UNION ALL SELECT value + 1 FROM n WHERE value < 1199) SELECT value FROM n);
                 INSERT INTO sync_history (at, object, property, origin) VALUES ('2026-11-24T00:00:00.000Z', 'contacts', 'email', 'poll');
                 INSERT INTO sync_inbox (event_type, received_at, state)
                 VALUES ('x', '2026-11-01T00:00:00.000Z', 'done'), ('x', '2026-11-01T00:00:00.000Z', 'dead'),
                        ('x', '2026-11-01T00:00:00.000Z', 'pending'), ('x', '2026-11-24T00:00:00.000Z', 'ignored');
                 INSERT INTO sync_runs (object, kind, started_at, finished_at)
                 VALUES ('contacts', 'poll', '2026-11-01T00:00:00.000Z', '2026-11-01T00:00:00.000Z'),
                        ('contacts', 'backfill', '2026-11-01T00:00:00.000Z', NULL);
                 INSERT INTO sync_requests (hour, class) VALUES ('2026-11-01T00:00:00.000Z', 'search');",
            )?;
            Ok(())
        }));
        filled.expect("writes");
    }

    fn left(store: &Store) -> [i64; 4] {
        let read = at_once(store.read(|connection| {
            let count = |table: &str| {
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                    row.get::<_, i64>(0)
                })
            };
            Ok([
                count("sync_history")?,
                count("sync_inbox")?,
                count("sync_runs")?,
                count("sync_requests")?,
            ])
        }));
        read.expect("reads")
    }

    fn forget_all(store: &Store, keep: Keep) -> usize {
        let once = || {
            at_once(store.write(Lane::Bulk, move |tx| forget(tx, keep, now()))).expect("forgets")
        };
        std::iter::repeat_with(once)
            .take_while(|gone| *gone > 0)
            .count()
    }

    #[test]
    fn what_is_old_goes_in_batches_and_what_waits_stays() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        fill(&store);
        assert_eq!(forget_all(&store, KEEP), 3);
        assert_eq!(left(&store), [1, 3, 1, 0]);
    }

    #[test]
    fn above_its_size_the_oldest_of_the_largest_goes_first() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        fill(&store);
        let old = Duration::from_hours(24 * 365);
        let keep = Keep {
            history: old,
            inbox: old,
            runs: old,
            max_bytes: 60_000,
        };
        assert_eq!(forget_all(&store, keep), 2);
        assert_eq!(left(&store), [201, 4, 2, 1]);
    }
}
