//! What `/metrics` shows of the tables: a look at the views, and what history and conflicts have grown by since the last look.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, named_params};

use crate::model::time::Timestamp;
use crate::store::StoreError;

/// What the views say at a moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct TablesLook {
    /// A word of `sync_health.state`.
    pub(crate) state: String,
    /// A row of `sync_status` each.
    pub(crate) objects: Vec<ObjectLook>,
    /// How many entries there are, by object and state.
    outbox: BTreeMap<(String, String), u64>,
    /// Events that wait, and when the oldest came.
    pub(crate) inbox: (u64, Option<Timestamp>),
    /// Held records by object and side.
    pub(crate) held: Vec<(String, String, u64)>,
    /// Runs that are under way: object, kind, when the oldest began.
    pub(crate) runs: Vec<(String, String, Option<Timestamp>)>,
    /// When the day is spent at the last hour's rate of all apps, and when it begins anew.
    pub(crate) day: (Option<Timestamp>, Option<Timestamp>),
}

/// What `sync_status` says of an object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectLook {
    pub(crate) object: String,
    pub(crate) rows: u64,
    /// `None` before the first read is done.
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) conflicts: u64,
    pub(crate) degraded: u64,
    /// When the oldest of its entries came that are not dead.
    pub(crate) oldest_entry: Option<Timestamp>,
}

impl TablesLook {
    /// How many entries of an object are in a state.
    pub(crate) fn entries(&self, object: &str, state: &str) -> u64 {
        let key = (object.to_owned(), state.to_owned());
        self.outbox.get(&key).copied().unwrap_or(0)
    }
}

/// Entries by object and state, by the index of what is due alone.
pub(crate) const ENTRIES: &str = "
    SELECT object, state, count(*)
    FROM sync_outbox INDEXED BY sync_outbox_due
    GROUP BY object, operation, state";

fn moment(text: Option<String>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse(&text))
}

/// Looks at the views. Before the first read of the schema there are none, and nothing is told.
pub(crate) fn look(connection: &Connection) -> Result<TablesLook, StoreError> {
    if !is_made(connection)? {
        return Ok(TablesLook::default());
    }
    let state = connection
        .prepare_cached("SELECT state FROM sync_health")?
        .query_row([], |row| row.get(0))?;
    let objects = connection
        .prepare_cached(
            "SELECT s.object, s.\"rows\", s.lag_seconds, s.conflicts, s.problems,
                    (SELECT e.enqueued_at FROM sync_outbox AS e
                     WHERE e.object = s.object AND e.state <> 'dead' ORDER BY e.id LIMIT 1)
             FROM sync_status AS s",
        )?
        .query_map([], |row| {
            Ok(ObjectLook {
                object: row.get(0)?,
                rows: row.get::<_, i64>(1)?.cast_unsigned(),
                lag_seconds: row.get(2)?,
                conflicts: row.get::<_, i64>(3)?.cast_unsigned(),
                degraded: row.get::<_, i64>(4)?.cast_unsigned(),
                oldest_entry: moment(row.get(5)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut outbox = BTreeMap::new();
    let mut statement = connection.prepare_cached(ENTRIES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(2)?.cast_unsigned();
        *outbox.entry((row.get(0)?, row.get(1)?)).or_default() += count;
    }
    let inbox = connection
        .prepare_cached(
            "SELECT count(*), min(received_at) FROM sync_inbox WHERE state = 'pending'",
        )?
        .query_row([], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), moment(row.get(1)?)))
        })?;
    let held = connection
        .prepare_cached(
            "SELECT object, side, sum(records)
             FROM sync_holds
             WHERE approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL
             GROUP BY object, side",
        )?
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, i64>(2)?.cast_unsigned(),
            ))
        })?
        .collect::<Result<_, _>>()?;
    let runs = connection
        .prepare_cached(
            "SELECT object, kind, min(started_at)
             FROM sync_runs
             WHERE finished_at IS NULL AND started_at >= (SELECT started_at FROM _sync_daemon WHERE id = 1)
             GROUP BY object, kind",
        )?
        .query_map([], |row| {
            let object: Option<String> = row.get(0)?;
            Ok((object.unwrap_or_default(), row.get(1)?, moment(row.get(2)?)))
        })?
        .collect::<Result<_, _>>()?;
    let day = connection
        .prepare_cached("SELECT empty_at, resets_at FROM sync_quota")?
        .query_row([], |row| Ok((moment(row.get(0)?), moment(row.get(1)?))))
        .optional()?;
    Ok(TablesLook {
        state,
        objects,
        outbox,
        inbox,
        held,
        runs,
        day: day.unwrap_or_default(),
    })
}

/// A few numbers for a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Numbers {
    /// Rows of all mirrors, where they were counted.
    pub(crate) rows: Option<u64>,
    /// Entries that are not dead.
    pub(crate) waiting: Option<u64>,
    /// Of the object that is farthest behind.
    pub(crate) lag_seconds: Option<u64>,
}

/// Looks at the numbers; nothing before the first read of the schema.
pub(crate) fn numbers(connection: &Connection, count_rows: bool) -> Result<Numbers, StoreError> {
    if !is_made(connection)? {
        return Ok(Numbers::default());
    }
    let mut numbers = Numbers {
        waiting: Some(waiting(connection)?),
        ..Numbers::default()
    };
    let mut statement = connection.prepare_cached("SELECT lag_seconds FROM sync_status")?;
    let mut lags = statement.query([])?;
    while let Some(row) = lags.next()? {
        let lag: Option<i64> = row.get(0)?;
        numbers.lag_seconds = numbers.lag_seconds.max(lag.map(i64::cast_unsigned));
    }
    if count_rows {
        let mut statement = connection.prepare_cached("SELECT \"rows\" FROM sync_status")?;
        let counts = statement.query_map([], |row| row.get::<_, i64>(0))?;
        let mut rows = 0;
        for count in counts {
            rows += count?.cast_unsigned();
        }
        numbers.rows = Some(rows);
    }
    Ok(numbers)
}

/// Entries that are not dead.
fn waiting(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(ENTRIES)?;
    let mut rows = statement.query([])?;
    let mut waiting = 0;
    while let Some(row) = rows.next()? {
        let state: String = row.get(1)?;
        if state != "dead" {
            waiting += row.get::<_, i64>(2)?.cast_unsigned();
        }
    }
    Ok(waiting)
}

/// Whether the views are there.
fn is_made(connection: &Connection) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = 'sync_status'",
    )?;
    Ok(statement.exists([])?)
}

/// How far history and conflicts were counted, and what was counted since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    history: i64,
    conflicts: i64,
    open: BTreeSet<i64>,
    /// Rows of `sync_history` by object and origin.
    pub(crate) changes: BTreeMap<(String, String), u64>,
    /// Conflicts that are decided, by object and winner.
    pub(crate) decided: BTreeMap<(String, String), u64>,
}

impl Counted {
    /// Nothing yet: what was there before is not counted.
    pub(crate) fn from_here(connection: &Connection) -> Result<Self, StoreError> {
        let last = |table: &str| -> Result<i64, StoreError> {
            let sql = format!("SELECT coalesce(max(id), 0) FROM {table}");
            Ok(connection.query_row(&sql, [], |row| row.get(0))?)
        };
        Ok(Self {
            history: last("sync_history")?,
            conflicts: last("sync_conflicts")?,
            open: open(connection)?,
            ..Self::default()
        })
    }

    /// Counts what has come since the last look.
    pub(crate) fn look(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT object, origin, count(*), max(id)
             FROM sync_history
             WHERE id > :last
             GROUP BY object, origin",
        )?;
        let mut rows = statement.query(named_params! { ":last": self.history })?;
        let mut last = self.history;
        while let Some(row) = rows.next()? {
            let count = row.get::<_, i64>(2)?.cast_unsigned();
            *self.changes.entry((row.get(0)?, row.get(1)?)).or_default() += count;
            last = last.max(row.get(3)?);
        }
        self.history = last;
        let mut statement = connection
            .prepare_cached("SELECT id, object, winner FROM sync_conflicts WHERE id > :last")?;
        let mut rows = statement.query(named_params! { ":last": self.conflicts })?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            self.conflicts = self.conflicts.max(id);
            self.decide(row.get(1)?, row.get(2)?);
        }
        let open = open(connection)?;
        let mut statement = connection
            .prepare_cached("SELECT object, winner FROM sync_conflicts WHERE id = :id")?;
        let closed: Vec<i64> = self.open.difference(&open).copied().collect();
        for id in closed {
            let found = statement.query_row(named_params! { ":id": id }, |row| {
                Ok((row.get(0)?, row.get(1)?))
            });
            if let Some((object, winner)) = found.optional()? {
                self.decide(object, winner);
            }
        }
        self.open = open;
        Ok(())
    }

    fn decide(&mut self, object: String, winner: Option<String>) {
        if let Some(winner) = winner {
            *self.decided.entry((object, winner)).or_default() += 1;
        }
    }
}

/// Conflicts that wait for a person.
fn open(connection: &Connection) -> Result<BTreeSet<i64>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM sync_conflicts WHERE resolved_at IS NULL")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}
