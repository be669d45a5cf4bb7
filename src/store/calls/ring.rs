//! The ring of `sync_calls`: what succeeded goes by an age and a size of its own, and so does what failed
//! (`contract-operations.md`, section 2).

use std::time::Duration;

use rusqlite::{Transaction, named_params};

use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::retention::{BATCH, bytes};

/// Bytes of the calls that succeeded, and of those that failed.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// How long calls are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepCalls {
    /// Those that succeeded.
    pub calls: Duration,
    /// Those that failed.
    pub errors: Duration,
}

/// Calls of one sort: a condition that an index has, and where their size is read.
struct CallSort {
    by_age: &'static str,
    oldest: &'static str,
    size: &'static str,
}

const SUCCEEDED: CallSort = CallSort {
    by_age: "DELETE FROM sync_calls
             WHERE id IN (SELECT id FROM sync_calls WHERE code IS NULL AND at < :before ORDER BY at LIMIT :batch)",
    oldest: "DELETE FROM sync_calls
             WHERE id IN (SELECT id FROM sync_calls WHERE code IS NULL ORDER BY at LIMIT :batch)",
    size: "SELECT (SELECT count(*) FROM sync_calls WHERE code IS NULL),
                  coalesce(avg(length(path) + coalesce(length(correlation_id), 0)), 0)
           FROM (SELECT path, correlation_id FROM sync_calls WHERE code IS NULL ORDER BY at DESC LIMIT :sample)",
};

const FAILED: CallSort = CallSort {
    by_age: "DELETE FROM sync_calls
             WHERE id IN (SELECT id FROM sync_calls WHERE code IS NOT NULL AND at < :before ORDER BY at LIMIT :batch)",
    oldest: "DELETE FROM sync_calls
             WHERE id IN (SELECT id FROM sync_calls WHERE code IS NOT NULL ORDER BY at LIMIT :batch)",
    size: "SELECT (SELECT count(*) FROM sync_calls WHERE code IS NOT NULL),
                  coalesce(avg(length(path) + coalesce(length(correlation_id), 0) + length(code)), 0)
           FROM (SELECT path, correlation_id, code FROM sync_calls WHERE code IS NOT NULL ORDER BY at DESC LIMIT :sample)",
};

/// Forgets one batch of each sort. Tells how many rows went: 0 means that nothing is left to forget.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    keep: KeepCalls,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let succeeded = SUCCEEDED.forget(tx, now - keep.calls, MOST_BYTES)?;
    Ok(succeeded + FAILED.forget(tx, now - keep.errors, MOST_BYTES)?)
}

impl CallSort {
    fn forget(
        &self,
        tx: &Transaction<'_>,
        before: Timestamp,
        most_bytes: u64,
    ) -> Result<usize, StoreError> {
        let before = named_params! { ":before": before.to_string(), ":batch": BATCH };
        let by_age = tx.prepare_cached(self.by_age)?.execute(before)?;
        if by_age > 0 || bytes(tx, self.size)? <= most_bytes {
            return Ok(by_age);
        }
        let batch = named_params! { ":batch": BATCH };
        Ok(tx.prepare_cached(self.oldest)?.execute(batch)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode};

    const KEEP: KeepCalls = KeepCalls {
        calls: Duration::from_hours(7 * 24),
        errors: Duration::from_hours(30 * 24),
    };

    #[test]
    fn what_failed_is_kept_for_longer_than_what_succeeded() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let left = at_once(store.write(Lane::Bulk, |tx| {
            for days in [1, 8, 29, 31] {
                for code in ["NULL", "'throttled'"] {
                    let at = now() - Duration::from_hours(24 * days);
                    tx.execute_batch(&format!(
                        "INSERT INTO sync_calls (at, method, path, class, ms, attempt, code)
                         VALUES ('{at}', 'GET', '/', 'list', {days}, 1, {code})"
                    ))?;
                }
            }
            while forget(tx, KEEP, now())? > 0 {}
            let mut left = tx.prepare("SELECT ms, code IS NOT NULL FROM sync_calls ORDER BY id")?;
            let left = left.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(left.collect::<Result<Vec<(i64, bool)>, _>>()?)
        }));
        let left = left.expect("forgets");
        assert_eq!(left, [(1, false), (1, true), (8, true), (29, true)]);
    }

    #[test]
    fn each_sort_has_its_own_bound_and_loses_its_oldest() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let left = at_once(store.write(Lane::Bulk, |tx| {
            tx.execute_batch(&format!(
                "INSERT INTO sync_calls (at, method, path, class, ms, attempt, code) VALUES ('{at}', 'GET', '/', 'list', 0, 1, 'dns');
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO sync_calls (at, method, path, class, ms, attempt)
                 SELECT '{at}', 'GET', '/', 'list', i, 1 FROM n",
                at = now()
            ))?;
            let long_ago = now() - KEEP.errors;
            let gone = [100_000, 100_000].map(|most| SUCCEEDED.forget(tx, long_ago, most));
            let kept = FAILED.forget(tx, long_ago, 100_000)?;
            let [first, second] = gone;
            Ok((first?, second?, kept))
        }));
        assert_eq!(left.expect("forgets"), (BATCH as usize, 0, 0));
    }
}
