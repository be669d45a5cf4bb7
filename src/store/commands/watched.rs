//! What the live screen shows, as of one moment: the status views, what waits for a person, and the last changes.

use super::{CommandDb, CommandError, Row, StatusRows, rows, status_rows};

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
        let one = |found: Vec<Row>| found.into_iter().next().unwrap_or(Row(Vec::new()));
        let most = rusqlite::named_params! { ":most": MOST };
        Ok(WatchedRows {
            status: status_rows(&tx)?,
            quota: one(rows(&tx, QUOTA, [])?),
            queues: one(rows(&tx, QUEUES, [])?),
            conflicts: rows(&tx, OPEN, most)?,
            dead: rows(&tx, DEAD, most)?,
            changes: rows(&tx, CHANGES, [])?,
        })
    }

    /// Asks the daemon for something by `sync_commands`: `pause`, `resume`.
    pub(crate) fn order(&mut self, command: &str) -> Result<(), CommandError> {
        self.connection.execute(
            "INSERT INTO sync_commands (command) VALUES (:command)",
            rusqlite::named_params! { ":command": command },
        )?;
        Ok(())
    }
}

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
