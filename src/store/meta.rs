//! What the file remembers about itself (`_sync_meta`), and what the daemon says about itself (`_sync_daemon`).

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::entry::states;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// The database's own random id.
pub(crate) const DATABASE_ID: &str = "database_id";
/// The portal that the file was filled from.
pub(crate) const PORTAL_ID: &str = "portal_id";
/// The account's time zone.
pub(crate) const TIME_ZONE: &str = "time_zone";
/// Mapped objects that have no table yet, because their schema could not be read: lines of object, table, direction, why
/// and, where it is a missing scope, its code, with tabs between.
pub(crate) const UNREAD: &str = "unread_objects";
/// The code of an object that waits for a scope, in `sync_status`.
pub(crate) const MISSING_SCOPE: &str = "missing-scope";
/// The code of an object that HubSpot forbids for another reason than a scope, in `sync_status`.
pub const FORBIDDEN: &str = "forbidden";
/// The code of an object that the portal has not, in `sync_status`.
pub(crate) const OBJECT_UNKNOWN: &str = "object-unknown";
/// The code of an object that the portal has otherwise than the mapping can have it, in `sync_status`.
pub(crate) const OBJECT_UNFIT: &str = "object-unfit";
/// The code of what somebody dropped or altered, and was put back.
pub(crate) const PUT_BACK: &str = "put-back";
/// The code of records that a table of the user's refuses.
pub(crate) const REFUSED_BY_TABLE: &str = "refused-by-table";

/// SQLite's `schema_version` when triggers and views were last known to be right.
pub(super) const SCHEMA_SEEN: &str = "schema_seen";

/// The schema's version, as `user_version` has it.
pub(super) const SCHEMA_VERSION: &str = "schema_version";

/// The triggers and views that hubsyncd has made, a name a line.
pub(super) const MADE: &str = "made";
/// What was put back last, in words; the view `sync_health` reads it.
const REPAIRED: &str = "repaired";

/// The most names of what was put back that are told.
const MOST_NAMED: usize = 5;

/// A remembered value.
pub fn get(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM _sync_meta WHERE name = :name")?;
    let value = statement
        .query_row(named_params! { ":name": name }, |row| row.get(0))
        .optional()?;
    Ok(value.flatten())
}

/// Remembers a value.
pub fn set(tx: &Transaction<'_>, name: &str, value: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_meta (name, value)
         VALUES (:name, :value)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(named_params! { ":name": name, ":value": value })?;
    Ok(())
}

/// What the daemon says about itself in `sync_health`; every field is written as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Daemon {
    /// Why HubSpot refuses the token.
    pub unauthorized: Option<String>,
    /// Why HubSpot can't be reached.
    pub unreachable: Option<String>,
    /// When the day's budget is new, while it is spent.
    pub out_of_quota_until: Option<Timestamp>,
    /// What HubSpot forbids to the token.
    pub forbidden: Option<String>,
    /// What is wrong with the mapping file or the clock, while the last good settings hold.
    pub config_error: Option<String>,
    /// The last error of any step.
    pub last_error: Option<String>,
    /// Requests of the last minute.
    pub requests_last_minute: u64,
    /// Those of them that HubSpot answered with 429.
    pub throttled_last_minute: u64,
    /// How webhooks are doing; `None` without them.
    pub webhooks: Option<&'static str>,
    /// Events of other portals that were dropped since the start.
    pub webhooks_dropped: u64,
    /// What each of these is called.
    pub codes: Codes,
}

/// The stable names of what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Codes {
    /// Of `unauthorized`.
    pub unauthorized: Option<&'static str>,
    /// Of `unreachable`.
    pub unreachable: Option<&'static str>,
    /// Of `forbidden`.
    pub forbidden: Option<&'static str>,
    /// Of `config_error`.
    pub config: Option<&'static str>,
    /// Of `last_error`.
    pub last_error: Option<&'static str>,
}

states! {
    /// Where the daemon is in its life.
    Phase {
        /// Schema and token are being looked at.
        Starting = "starting",
        /// All tasks run.
        Running = "running",
        /// What runs is being finished.
        Stopping = "stopping",
        /// It is not there.
        Stopped = "stopped",
    }
}

/// Begins the daemon's row anew: pid, version, phase `starting`.
pub fn begin_daemon(tx: &Transaction<'_>, version: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_daemon
         SET phase = 'starting',
             pid = :pid,
             version = :version,
             started_at = :now,
             heartbeat_at = :now,
             unauthorized = NULL,
             unreachable = NULL,
             out_of_quota_until = NULL,
             forbidden = NULL,
             config_error = NULL,
             last_error = NULL,
             last_error_code = NULL,
             requests_last_minute = 0,
             throttled_last_minute = 0
         WHERE id = 1",
    )?
    .execute(
        named_params! { ":pid": std::process::id(), ":version": version, ":now": now.to_string() },
    )?;
    Ok(())
}

/// Moves the daemon to a phase.
pub(crate) fn set_phase(
    tx: &Transaction<'_>,
    phase: Phase,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_daemon SET phase = :phase, heartbeat_at = :now WHERE id = 1")?
        .execute(named_params! { ":phase": phase.as_str(), ":now": now.to_string() })?;
    Ok(())
}

/// Ends a run that failed: nothing may look like a daemon at work, and why it ended is the last error.
pub(crate) fn end_failed(
    tx: &Transaction<'_>,
    (explanation, code): (&str, Option<&str>),
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_daemon SET phase = 'stopped', heartbeat_at = :now, last_error = :words, last_error_code = :code WHERE id = 1",
    )?
    .execute(named_params! { ":now": now.to_string(), ":words": explanation, ":code": code })?;
    Ok(())
}

/// The heartbeat, at least every 10 seconds, with what the daemon says about itself.
pub(crate) fn beat(
    tx: &Transaction<'_>,
    daemon: &Daemon,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_daemon
         SET heartbeat_at = :now,
             unauthorized = :unauthorized,
             unreachable = :unreachable,
             out_of_quota_until = :out_of_quota_until,
             forbidden = :forbidden,
             config_error = :config_error,
             last_error = :last_error,
             requests_last_minute = :requests,
             throttled_last_minute = :throttled,
             webhooks = :webhooks,
             webhooks_dropped = :dropped,
             unauthorized_code = :unauthorized_code,
             unreachable_code = :unreachable_code,
             forbidden_code = :forbidden_code,
             config_code = :config_code,
             last_error_code = :last_error_code
         WHERE id = 1",
    )?
    .execute(named_params! {
        ":now": now.to_string(),
        ":unauthorized": daemon.unauthorized,
        ":unreachable": daemon.unreachable,
        ":out_of_quota_until": daemon.out_of_quota_until.map(|at| at.to_string()),
        ":forbidden": daemon.forbidden,
        ":config_error": daemon.config_error,
        ":last_error": daemon.last_error,
        ":requests": daemon.requests_last_minute as i64,
        ":throttled": daemon.throttled_last_minute as i64,
        ":webhooks": daemon.webhooks,
        ":dropped": daemon.webhooks_dropped as i64,
        ":unauthorized_code": daemon.codes.unauthorized,
        ":unreachable_code": daemon.codes.unreachable,
        ":forbidden_code": daemon.codes.forbidden,
        ":config_code": daemon.codes.config,
        ":last_error_code": daemon.codes.last_error,
    })?;
    Ok(())
}

/// The state in `sync_health`; `stopped` where no daemon has made the view yet: a login may come before the first start.
pub fn state(connection: &Connection) -> Result<String, StoreError> {
    let is_made = connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = 'sync_health'")?
        .exists([])?;
    if !is_made {
        return Ok("stopped".to_owned());
    }
    let word = connection
        .prepare_cached("SELECT state FROM sync_health")?
        .query_row([], |row| row.get(0))?;
    Ok(word)
}

/// How webhooks were doing when that was last written.
pub fn webhooks(connection: &Connection) -> Result<Option<String>, StoreError> {
    let word = connection
        .prepare_cached("SELECT webhooks FROM _sync_daemon WHERE id = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(word)
}

/// Notes what of ours had to be put back, in words: `sync_health` is `degraded` for an hour, and says so.
pub(crate) fn note_repair(
    tx: &Transaction<'_>,
    what: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_daemon SET trigger_repaired_at = :now WHERE id = 1")?
        .execute(named_params! { ":now": now.to_string() })?;
    set(tx, REPAIRED, what)
}

/// What `note_repair` says of triggers, views, indexes and tables by their names.
pub fn put_back(names: &[String]) -> String {
    let first: Vec<String> = names
        .iter()
        .take(MOST_NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = match names.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "a program dropped or altered {}{more}, put back",
        first.join(", ")
    )
}
