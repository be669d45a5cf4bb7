//! Budget on disk: blocks that were handed out, the day's count, requests by the hour (promise 7).
//!
//! A block is on disk before its first request is sent. After a kill an open block counts as sent.

pub mod command;

use std::time::Duration;

use rusqlite::{Connection, Transaction, named_params};

use crate::decide::quota::Recent;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::shape::views::quota::SENT_TODAY;

/// What was sent within this time may still lie in HubSpot's window of 10 seconds: two more for clocks and for requests
/// on the wire.
const RECENT: Duration = Duration::from_secs(12);

/// What may have been sent before a start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SentBefore {
    /// Requests that may still lie in HubSpot's window of 10 seconds.
    pub recent: Vec<Recent>,
    /// The day, in the account's time zone, that `day_used` belongs to.
    pub day: Option<String>,
    /// Requests of that day, blocks that were open at the stop included.
    pub day_used: u64,
    /// The day's limit, as HubSpot last said.
    pub day_limit: Option<u64>,
    /// When the day ends.
    pub day_resets_at: Option<Timestamp>,
}

/// Reads what a start has to count.
pub fn start_state(connection: &Connection, now: Timestamp) -> Result<SentBefore, StoreError> {
    // A block that is open belongs to a run that did not end its leases, and those that it had used up may be on the wire.
    let mut recent = command::sent(connection, now)?;
    let of_daemon: Vec<Recent> = connection
        .prepare_cached(
            "SELECT requests,
                    CASE WHEN NOT EXISTS (SELECT 1 FROM _sync_quota_leases WHERE returned_at IS NULL) THEN returned_at END
             FROM _sync_quota_leases
             WHERE returned_at IS NULL OR returned_at >= :since
             ORDER BY id",
        )?
        .query_map(
            named_params! { ":since": (now - RECENT).to_string() },
            |row| {
                let at: Option<String> = row.get(1)?;
                Ok(Recent {
                    requests: row.get(0)?,
                    counted_before: at
                        .as_deref()
                        .and_then(Timestamp::parse)
                        .map(|at| now.since(at)),
                })
            },
        )?
        .collect::<Result<_, _>>()?;
    recent.extend(of_daemon);
    let mut statement = connection.prepare_cached(
        "SELECT day, day_used, day_limit, day_resets_at FROM _sync_quota WHERE id = 1",
    )?;
    Ok(statement.query_row([], |row| {
        Ok(SentBefore {
            recent,
            day: row.get(0)?,
            day_used: row.get::<_, i64>(1)?.unsigned_abs(),
            day_limit: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
            day_resets_at: row
                .get::<_, Option<String>>(3)?
                .as_deref()
                .and_then(Timestamp::parse),
        })
    })?)
}

/// Hands out a block of the budget. The block before it may still have unsent requests; those before that one are used
/// up. A block of another day begins that day's count.
pub(crate) fn lease(
    tx: &Transaction<'_>,
    requests: u32,
    day: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_quota_leases
         SET returned_at = :now
         WHERE returned_at IS NULL AND id < (SELECT max(id) FROM _sync_quota_leases)",
    )?
    .execute(named_params! { ":now": now.to_string() })?;
    tx.prepare_cached("DELETE FROM _sync_quota_leases WHERE returned_at < :before")?
        .execute(named_params! { ":before": (now - RECENT).to_string() })?;
    tx.prepare_cached(
        "INSERT INTO _sync_quota_leases (granted_at, requests) VALUES (:now, :requests)",
    )?
    .execute(named_params! { ":now": now.to_string(), ":requests": requests })?;
    spend(tx, requests, day)
}

/// Counts requests of a day before they are sent. Another day than the one that is counted begins with them.
fn spend(tx: &Transaction<'_>, requests: u32, day: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_quota
         SET day_used = CASE WHEN day IS :day THEN day_used ELSE 0 END + :requests,
             day = :day
         WHERE id = 1",
    )?
    .execute(named_params! { ":day": day, ":requests": requests })?;
    Ok(())
}

/// Gives the day that is counted its name in the account's zone, once that is known: what was sent before belongs to it.
pub(crate) fn name_day(tx: &Transaction<'_>, day: &str) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_quota SET day = :day WHERE id = 1 AND day IS NOT NULL")?
        .execute(named_params! { ":day": day })?;
    Ok(())
}

/// Ends all blocks at a clean stop: `unsent` requests of them were not sent, and of the others HubSpot still counts `recent`,
/// with the moment of each. They take the blocks' place, so that a start waits for what was sent alone.
pub(crate) fn end_leases(
    tx: &Transaction<'_>,
    unsent: u32,
    recent: &[(u32, Timestamp)],
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_quota_leases WHERE id IS NOT NULL")?
        .execute([])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO _sync_quota_leases (granted_at, requests, returned_at) VALUES (:at, :requests, :at)",
    )?;
    for (requests, at) in recent {
        insert.execute(named_params! { ":at": at.to_string(), ":requests": requests })?;
    }
    tx.prepare_cached("UPDATE _sync_quota SET day_used = max(day_used - :unsent, 0) WHERE id = 1")?
        .execute(named_params! { ":unsent": unsent })?;
    Ok(())
}

/// Requests sent since a moment, by whole hours.
pub(crate) fn requests_since(connection: &Connection, since: Timestamp) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(requests), 0) FROM sync_requests WHERE hour >= :since",
    )?;
    let since = named_params! { ":since": since.to_string() };
    let sum: i64 = statement.query_row(since, |row| row.get(0))?;
    Ok(sum.unsigned_abs())
}

/// What HubSpot says of the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DayAsTold {
    /// Its date in the account's zone; `None` where that is not known.
    pub date: Option<String>,
    /// Requests used by all of the account's apps; `None` where HubSpot does not say.
    pub used: Option<u64>,
    /// The day's limit.
    pub limit: Option<u64>,
    /// When the day ends.
    pub resets_at: Option<Timestamp>,
}

/// What the daemon goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LimitsInForce {
    /// Requests in ten seconds.
    pub burst: u32,
    /// Searches in a second.
    pub search: f64,
}

/// Between two looks at what others have used.
const OTHERS: Duration = Duration::from_mins(5);

/// Keeps what others have used of the day, by what all have, and the limits in force. Our own calls must be written down before.
pub(crate) fn note_use(
    tx: &Transaction<'_>,
    used: u64,
    limits: LimitsInForce,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "UPDATE _sync_quota AS q
         SET day_others = max(:used - {SENT_TODAY}, 0),
             burst_limit = :burst,
             search_limit = :search
         WHERE q.id = 1"
    ))?
    .execute(named_params! {
        ":used": used as i64,
        ":burst": limits.burst,
        ":search": limits.search,
    })?;
    // A new day begins at nothing, and what is older than an hour tells no rate.
    tx.prepare_cached(
        "DELETE FROM _sync_quota_others
         WHERE at < :before OR at > :now OR others > (SELECT day_others FROM _sync_quota WHERE id = 1)",
    )?
    .execute(named_params! {
        ":before": (now - Duration::from_hours(1)).to_string(),
        ":now": now.to_string(),
    })?;
    tx.prepare_cached(
        "INSERT INTO _sync_quota_others (at, others)
         SELECT :now, day_others
         FROM _sync_quota
         WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM _sync_quota_others WHERE at > :lately)",
    )?
    .execute(named_params! {
        ":now": now.to_string(),
        ":lately": (now - OTHERS).to_string(),
    })?;
    Ok(())
}

/// Keeps HubSpot's word on the day: its count only raises ours. Another day's date begins that day's count.
pub(crate) fn set_day(tx: &Transaction<'_>, day: &DayAsTold) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_quota
         SET day_used = CASE WHEN :date IS NULL OR day IS NULL OR day = :date THEN max(day_used, coalesce(:used, 0)) ELSE coalesce(:used, 0) END,
             day = CASE WHEN day IS NULL THEN NULL ELSE coalesce(:date, day) END,
             day_limit = coalesce(:limit, day_limit),
             day_resets_at = coalesce(:resets_at, day_resets_at)
         WHERE id = 1",
    )?
    .execute(named_params! {
        ":date": day.date,
        ":used": day.used.map(|used| used as i64),
        ":limit": day.limit.map(|limit| limit as i64),
        ":resets_at": day.resets_at.map(|at| at.to_string()),
    })?;
    Ok(())
}

/// Requests of one endpoint class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// All of them.
    pub requests: u64,
    /// Those that failed, throttled ones included.
    pub errors: u64,
    /// Those answered with 429.
    pub throttled: u64,
}

/// Adds to the hour's row of `sync_requests`.
pub fn count(
    tx: &Transaction<'_>,
    class: &str,
    requests: Requests,
    now: Timestamp,
) -> Result<(), StoreError> {
    let hour = now.to_chrono().format("%Y-%m-%dT%H:00:00.000Z").to_string();
    tx.prepare_cached(
        "INSERT INTO sync_requests (hour, class, requests, errors, throttled)
         VALUES (:hour, :class, :requests, :errors, :throttled)
         ON CONFLICT (hour, class) DO UPDATE
         SET requests = requests + excluded.requests,
             errors = errors + excluded.errors,
             throttled = throttled + excluded.throttled",
    )?
    .execute(named_params! {
        ":hour": hour,
        ":class": class,
        ":requests": requests.requests as i64,
        ":errors": requests.errors as i64,
        ":throttled": requests.throttled as i64,
    })?;
    Ok(())
}

/// All requests that the table still counts.
pub(crate) fn requests_in_all(connection: &Connection) -> Result<u64, StoreError> {
    let sum: i64 = connection
        .prepare_cached("SELECT coalesce(sum(requests), 0) FROM sync_requests")?
        .query_row([], |row| row.get(0))?;
    Ok(sum.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode};

    #[test]
    fn after_a_kill_open_blocks_count_as_sent_for_ever_and_used_ones_for_twelve_seconds() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let states = at_once(store.write(Lane::Bulk, |tx| {
            for (second, requests) in [(0, 20), (1, 10), (2, 5)] {
                lease(tx, requests, "2026-11-24", now().plus_millis(second * 1000))?;
            }
            let at = |second: i64| {
                start_state(tx, now().plus_millis(second * 1000)).map(|state| {
                    let sums = state.recent.iter().map(|sent| sent.requests);
                    let is_killed = state
                        .recent
                        .iter()
                        .all(|sent| sent.counted_before.is_none());
                    assert!(is_killed, "a block is open");
                    sums.sum::<u32>()
                })
            };
            Ok([at(3)?, at(14)?, at(15)?, at(1000)?])
        }));
        assert_eq!(states.expect("reads"), [35, 35, 15, 15]);
        drop(store);
        let store = open(&folder, Mode::Inline).expect("opens again");
        let state = at_once(store.write(Lane::Bulk, |tx| {
            let at = |second: i64| now().plus_millis(second * 1000);
            end_leases(tx, 4, &[(2, at(1)), (3, at(5)), (1, at(9))])?;
            start_state(tx, at(15))
        }));
        let state = state.expect("reads");
        assert_eq!(
            (state.day.as_deref(), state.day_used),
            (Some("2026-11-24"), 31)
        );
        let sent = |requests, seconds| Recent {
            requests,
            counted_before: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(
            state.recent,
            [sent(3, 10), sent(1, 6)],
            "what was not sent, or long ago, counts no more"
        );
    }

    #[test]
    fn a_new_day_begins_at_its_first_block_and_hubspots_count_only_raises_ours() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let used = at_once(store.write(Lane::Bulk, |tx| {
            lease(tx, 20, "2026-11-24", now())?;
            set_day(
                tx,
                &DayAsTold {
                    date: Some("2026-11-24".to_owned()),
                    used: Some(500),
                    limit: Some(625_000),
                    resets_at: None,
                },
            )?;
            let first = start_state(tx, now())?;
            set_day(
                tx,
                &DayAsTold {
                    date: None,
                    used: Some(3),
                    limit: None,
                    resets_at: Some(now()),
                },
            )?;
            let second = start_state(tx, now())?;
            lease(tx, 20, "2026-11-25", now())?;
            let third = start_state(tx, now())?;
            // Midnight, before anything is sent.
            set_day(
                tx,
                &DayAsTold {
                    date: Some("2026-11-26".to_owned()),
                    used: Some(0),
                    limit: None,
                    resets_at: None,
                },
            )?;
            Ok([first, second, third, start_state(tx, now())?])
        }));
        let [first, second, third, fourth] = used.expect("reads");
        assert_eq!(
            (fourth.day.as_deref(), fourth.day_used),
            (Some("2026-11-26"), 0)
        );
        assert_eq!(
            (first.day_used, first.day_limit, first.day_resets_at),
            (500, Some(625_000), None)
        );
        assert_eq!(
            (second.day_used, second.day_limit, second.day_resets_at),
            (500, Some(625_000), Some(now()))
        );
        assert_eq!(third.day_used, 20);
    }

    #[test]
    fn what_was_leased_before_the_zone_was_known_belongs_to_the_day() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let state = at_once(store.write(Lane::Bulk, |tx| {
            name_day(tx, "2026-11-23")?;
            assert_eq!(start_state(tx, now())?.day, None);
            lease(tx, 20, "2026-11-24", now())?;
            name_day(tx, "2026-11-23")?;
            lease(tx, 20, "2026-11-23", now())?;
            start_state(tx, now())
        }));
        assert_eq!(state.expect("reads").day_used, 40);
    }

    #[test]
    fn requests_are_counted_by_the_hour() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let row = at_once(store.write(Lane::Bulk, |tx| {
            count(tx, "search", Requests { requests: 3, errors: 1, throttled: 1 }, now())?;
            count(tx, "search", Requests { requests: 4, errors: 0, throttled: 0 }, now().plus_millis(60_000))?;
            let sql = "SELECT hour || ' ' || requests || ' ' || errors || ' ' || throttled FROM sync_requests";
            Ok(tx.query_row(sql, [], |row| row.get::<_, String>(0))?)
        }));
        assert_eq!(row.expect("reads"), "2026-11-24T03:00:00.000Z 7 1 1");
    }
}
