//! `_sync_command_leases`: the share of the window of a command that asks HubSpot beside the daemon. The command asks for it and
//! gives it back, the daemon makes room. One command at a time has it.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::quota::Recent;
use crate::decide::quota::share::LONGEST;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::quota::{RECENT, spend};

/// What a command hears that asks for the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedShare {
    /// It has it, under this number, once the daemon has made room.
    Lease(i64),
    /// Another command has it until then, unless it renews it.
    Taken(Timestamp),
}

/// Asks for the share.
pub(crate) fn ask(tx: &Transaction<'_>, now: Timestamp) -> Result<AskedShare, StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_command_leases
         WHERE coalesce(ended_at, until) < :before",
    )?
    .execute(named_params! { ":before": (now - RECENT).to_string() })?;
    let taken: Option<String> = tx
        .prepare_cached(
            "SELECT until
             FROM _sync_command_leases
             WHERE ended_at IS NULL AND until > :now
             ORDER BY until DESC
             LIMIT 1",
        )?
        .query_row(named_params! { ":now": now.to_string() }, |row| row.get(0))
        .optional()?;
    // A clock that was set back makes a lease of a time to come, which binds nobody.
    let taken = taken.as_deref().and_then(Timestamp::parse);
    if let Some(until) = taken.filter(|until| *until <= now + LONGEST) {
        return Ok(AskedShare::Taken(until));
    }
    tx.prepare_cached("INSERT INTO _sync_command_leases (until) VALUES (:until)")?
        .execute(named_params! { ":until": (now + LONGEST).to_string() })?;
    Ok(AskedShare::Lease(tx.last_insert_rowid()))
}

/// Renews it.
pub(crate) fn renew(tx: &Transaction<'_>, id: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_command_leases SET until = :until WHERE id = :id")?
        .execute(named_params! { ":id": id, ":until": (now + LONGEST).to_string() })?;
    Ok(())
}

/// Counts requests before they are sent, of the day too.
pub(crate) fn take(
    tx: &Transaction<'_>,
    id: i64,
    requests: u32,
    day: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_command_leases SET requests = requests + :requests WHERE id = :id",
    )?
    .execute(named_params! { ":id": id, ":requests": requests })?;
    spend(tx, requests, day)
}

/// Gives it back: so many requests were counted and not sent.
pub(crate) fn end(
    tx: &Transaction<'_>,
    id: i64,
    unsent: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_command_leases
         SET ended_at = :now, requests = max(requests - :unsent, 0)
         WHERE id = :id",
    )?
    .execute(named_params! { ":id": id, ":unsent": unsent, ":now": now.to_string() })?;
    tx.prepare_cached("UPDATE _sync_quota SET day_used = max(day_used - :unsent, 0) WHERE id = 1")?
        .execute(named_params! { ":unsent": unsent })?;
    Ok(())
}

/// Whether the daemon has made room for it.
pub(crate) fn is_granted(connection: &Connection, id: i64) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM _sync_command_leases WHERE id = :id AND granted_at IS NOT NULL",
        )?
        .exists(named_params! { ":id": id })?)
}

/// What commands have sent that HubSpot may still count: of one that was killed everything that it had counted.
pub(crate) fn sent(connection: &Connection, now: Timestamp) -> Result<Vec<Recent>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT requests, ended_at
         FROM _sync_command_leases
         WHERE requests > 0 AND coalesce(ended_at, until) >= :since
         ORDER BY id",
    )?;
    let rows = statement.query_map(
        named_params! { ":since": (now - RECENT).to_string() },
        |row| {
            let ended: Option<String> = row.get(1)?;
            let ended = ended.as_deref().and_then(Timestamp::parse);
            Ok(Recent {
                requests: row.get(0)?,
                counted_before: ended.map(|at| now.since(at)),
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether the daemon is to leave the share free, and what is to be granted once it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WantedShare {
    /// Somebody has it, or HubSpot may still count what somebody sent.
    pub is_left: bool,
    /// The lease that waits for room.
    pub waiting: Option<i64>,
}

/// Looks at it.
pub(crate) fn wanted(connection: &Connection, now: Timestamp) -> Result<WantedShare, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, granted_at IS NULL AND ended_at IS NULL AND until > :now
         FROM _sync_command_leases
         WHERE coalesce(ended_at, until) >= :since AND until <= :latest",
    )?;
    let params = named_params! {
        ":now": now.to_string(),
        ":since": (now - RECENT).to_string(),
        ":latest": (now + LONGEST + CLOCK).to_string(),
    };
    let mut rows = statement.query(params)?;
    let mut wanted = WantedShare::default();
    while let Some(row) = rows.next()? {
        wanted.is_left = true;
        if row.get(1)? {
            wanted.waiting = Some(row.get(0)?);
        }
    }
    Ok(wanted)
}

/// How far the machine's clock may have been set back since a lease was renewed.
const CLOCK: Duration = Duration::from_secs(10);

/// Room was made.
pub(crate) fn grant(tx: &Transaction<'_>, id: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_command_leases SET granted_at = :now WHERE id = :id")?
        .execute(named_params! { ":id": id, ":now": now.to_string() })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode, quota};

    fn at(second: i64) -> Timestamp {
        now().plus_millis(second * 1000)
    }

    #[test]
    fn one_command_has_the_share_at_a_time_and_the_daemon_leaves_it_until_nothing_counts() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let told = at_once(store.write(Lane::Bulk, |tx| {
            assert_eq!(wanted(tx, at(0))?, WantedShare::default());
            assert_eq!(ask(tx, at(0))?, AskedShare::Lease(1));
            assert_eq!(ask(tx, at(1))?, AskedShare::Taken(at(60)));
            let waits = WantedShare {
                is_left: true,
                waiting: Some(1),
            };
            assert_eq!(wanted(tx, at(1))?, waits);
            grant(tx, 1, at(2))?;
            assert!(is_granted(tx, 1)?);
            take(tx, 1, 20, "2026-11-24")?;
            renew(tx, 1, at(20))?;
            assert_eq!(ask(tx, at(61))?, AskedShare::Taken(at(80)));
            end(tx, 1, 15, at(62))?;
            let left = WantedShare {
                is_left: true,
                waiting: None,
            };
            assert_eq!(wanted(tx, at(70))?, left, "HubSpot still counts it");
            let state = quota::start_state(tx, at(70))?;
            let recent = Recent {
                requests: 5,
                counted_before: Some(Duration::from_secs(8)),
            };
            assert_eq!((state.recent, state.day_used), (vec![recent], 5));
            assert_eq!(wanted(tx, at(80))?, WantedShare::default());
            ask(tx, at(80))
        }));
        assert_eq!(told.expect("done"), AskedShare::Lease(2));
    }

    #[test]
    fn a_command_that_was_killed_has_the_share_for_a_minute_and_may_have_sent_all_it_took() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let state = at_once(store.write(Lane::Bulk, |tx| {
            ask(tx, at(0))?;
            take(tx, 1, 20, "2026-11-24")?;
            assert!(wanted(tx, at(71))?.is_left);
            assert!(!wanted(tx, at(73))?.is_left);
            assert_eq!(ask(tx, at(60))?, AskedShare::Lease(2));
            quota::start_state(tx, at(65))
        }));
        let killed = Recent {
            requests: 20,
            counted_before: None,
        };
        assert_eq!(state.expect("reads").recent, [killed]);
    }
}
