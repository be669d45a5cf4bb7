//! What the live screen shows, as of one moment: the status views, what waits for a person, and the last changes.

use rusqlite::{Connection, named_params};

use super::{CommandDb, CommandError, Row, StatusRows, rows, status_rows};
use crate::model::time::Timestamp;

/// So many of each kind are shown at most; the counts of `sync_status` tell how many there are.
const MOST: i64 = 50;

/// What the live screen shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WatchedRows {
    /// What `status` shows.
    pub status: StatusRows,
    /// The row of `sync_quota`.
    pub quota: Row,
    /// `oldest_entry` and `oldest_event`: since when the oldest of each waits, NULL where none does.
    pub queues: Row,
    /// The oldest conflicts that wait for a decision.
    pub conflicts: Vec<Row>,
    /// The oldest dead entries.
    pub dead: Vec<Row>,
    /// The last ten rows of `sync_history`, the newest first.
    pub changes: Vec<Row>,
}

impl CommandDb {
    /// Everything that the live screen shows.
    pub(crate) fn watched(&mut self) -> Result<WatchedRows, CommandError> {
        // One transaction, so that all of it is of one moment.
        let tx = self.connection.transaction()?;
        watched(&tx)
    }

    /// Asks the daemon for something by `sync_commands`: `pause`, `resume`.
    pub(crate) fn order(&mut self, command: &str) -> Result<(), CommandError> {
        self.connection.execute(
            "INSERT INTO sync_commands (command) VALUES (:command)",
            named_params! { ":command": command },
        )?;
        Ok(())
    }
}

/// Everything that the live screen and the page show, in one transaction of the caller's.
pub(crate) fn watched(connection: &Connection) -> Result<WatchedRows, CommandError> {
    let one = |found: Vec<Row>| found.into_iter().next().unwrap_or(Row(Vec::new()));
    let most = named_params! { ":most": MOST };
    Ok(WatchedRows {
        status: status_rows(connection)?,
        quota: one(rows(connection, QUOTA, [])?),
        queues: one(rows(connection, QUEUES, [])?),
        conflicts: rows(connection, OPEN, most)?,
        dead: rows(connection, DEAD, most)?,
        changes: rows(connection, CHANGES, [])?,
    })
}

/// Requests and changes since the beginning of an hour, by hours: `hour` with `requests` and `failed`, and `hour` with `changes`.
pub(crate) fn by_hours(
    connection: &Connection,
    since: Timestamp,
) -> Result<[Vec<Row>; 2], CommandError> {
    let since = since.to_string();
    let since = named_params! { ":since": since };
    Ok([
        rows(connection, REQUESTS, since)?,
        rows(connection, BY_HOUR, since)?,
    ])
}

const REQUESTS: &str = "
    SELECT hour, sum(requests) AS requests, sum(errors) AS failed
    FROM sync_requests
    WHERE hour >= :since
    GROUP BY hour";

const BY_HOUR: &str = "
    SELECT substr(at, 1, 13) || ':00:00.000Z' AS hour, count(*) AS changes
    FROM sync_history
    WHERE at >= :since
    GROUP BY 1";

const QUOTA: &str = "
    SELECT burst_limit, search_limit, daily_limit, daily_used, used_by_others, per_hour, empty_at, resets_at
    FROM sync_quota";

const QUEUES: &str = "
    SELECT (SELECT min(enqueued_at) FROM sync_outbox WHERE state <> 'dead') AS oldest_entry,
        (SELECT min(received_at) FROM sync_inbox WHERE state = 'pending') AS oldest_event";

const OPEN: &str = "
    SELECT id, object, local_id, hs_id, property, local_value, remote_value, detected_at
    FROM sync_conflicts
    WHERE resolved_at IS NULL
    ORDER BY id
    LIMIT :most";

const DEAD: &str = "
    SELECT id, object, local_id, hs_id, operation, last_error, code
    FROM sync_outbox
    WHERE state = 'dead'
    ORDER BY id
    LIMIT :most";

const CHANGES: &str = "
    SELECT id, at, object, local_id, property, old_value, new_value, origin
    FROM sync_history
    ORDER BY id DESC
    LIMIT 10";
