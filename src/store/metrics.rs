//! What `/metrics` shows of the tables: a look at the views, and what history and conflicts have grown by since the last look.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, named_params};

use crate::model::entry::EntryState;
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

/// Entries by object and state, with the first of each, by the index of what is due alone.
pub(crate) const ENTRIES: &str = "
    SELECT object, state, count(*), min(id)
    FROM sync_outbox INDEXED BY sync_outbox_due
    GROUP BY object, operation, state";

/// What is shown of each object, without what would look at each entry or row of its.
const STATUS: &str = "SELECT object, \"rows\", lag_seconds, conflicts, problems FROM sync_status";

/// What `sync_health` says.
const STATE: &str = "SELECT state FROM sync_health";

/// Events that wait.
const INBOX: &str = "
    SELECT count(*), min(received_at)
    FROM sync_inbox
    WHERE state = 'pending'";

/// What the guard holds.
const HELD: &str = "
    SELECT object, side, sum(records)
    FROM sync_holds
    WHERE approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL
    GROUP BY object, side";

/// Runs that this daemon has begun and not ended.
const RUNS: &str = "
    SELECT object, kind, min(started_at)
    FROM sync_runs
    WHERE finished_at IS NULL AND started_at >= (SELECT started_at FROM _sync_daemon WHERE id = 1)
    GROUP BY object, kind";

/// When the day is spent, and when it is new.
const DAY: &str = "SELECT empty_at, resets_at FROM sync_quota";

/// What history has grown by. Else SQLite would go through all of it by an index, in the order of the groups.
const CHANGES: &str = "
    SELECT object, origin, count(*), max(id)
    FROM sync_history NOT INDEXED
    WHERE id > :last
    GROUP BY object, origin";

/// Conflicts that have come since.
const CONFLICTS: &str = "SELECT id, object, winner FROM sync_conflicts WHERE id > :last";

/// Conflicts that wait for a person.
const OPEN: &str = "SELECT id FROM sync_conflicts WHERE resolved_at IS NULL";

/// Entries by object and state, and of each object the first that is not dead.
type EntriesLook = (BTreeMap<(String, String), u64>, BTreeMap<String, i64>);

fn entries(connection: &Connection) -> Result<EntriesLook, StoreError> {
    let (mut counts, mut first) = (BTreeMap::new(), BTreeMap::new());
    let mut statement = connection.prepare_cached(ENTRIES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (object, state): (String, String) = (row.get(0)?, row.get(1)?);
        let (count, id) = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, i64>(3)?);
        if state != EntryState::Dead.as_str() {
            let known = first.entry(object.clone()).or_insert(id);
            *known = id.min(*known);
        }
        *counts.entry((object, state)).or_default() += count;
    }
    Ok((counts, first))
}

fn moment(text: Option<String>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse(&text))
}

/// Looks at the views. Before the first read of the schema there are none, and nothing is told.
pub(crate) fn look(connection: &Connection) -> Result<TablesLook, StoreError> {
    if !is_made(connection)? {
        return Ok(TablesLook::default());
    }
    let state = connection
        .prepare_cached(STATE)?
        .query_row([], |row| row.get(0))?;
    let (outbox, first) = entries(connection)?;
    let oldest = |object: &str| -> rusqlite::Result<Option<Timestamp>> {
        let Some(id) = first.get(object) else {
            return Ok(None);
        };
        let enqueued_at = connection
            .prepare_cached("SELECT enqueued_at FROM sync_outbox WHERE id = :id")?
            .query_row(named_params! { ":id": id }, |row| row.get(0));
        Ok(moment(enqueued_at.optional()?))
    };
    let objects = connection
        .prepare_cached(STATUS)?
        .query_map([], |row| {
            let object: String = row.get(0)?;
            Ok(ObjectLook {
                oldest_entry: oldest(&object)?,
                object,
                rows: row.get::<_, i64>(1)?.cast_unsigned(),
                lag_seconds: row.get(2)?,
                conflicts: row.get::<_, i64>(3)?.cast_unsigned(),
                degraded: row.get::<_, i64>(4)?.cast_unsigned(),
            })
        })?
        .collect::<Result<_, _>>()?;
    let inbox = connection.prepare_cached(INBOX)?.query_row([], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), moment(row.get(1)?)))
    })?;
    let held = connection
        .prepare_cached(HELD)?
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, i64>(2)?.cast_unsigned(),
            ))
        })?
        .collect::<Result<_, _>>()?;
    let runs = connection
        .prepare_cached(RUNS)?
        .query_map([], |row| {
            let object: Option<String> = row.get(0)?;
            Ok((object.unwrap_or_default(), row.get(1)?, moment(row.get(2)?)))
        })?
        .collect::<Result<_, _>>()?;
    let day = connection
        .prepare_cached(DAY)?
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
        let mut statement = connection.prepare_cached(CHANGES)?;
        let mut rows = statement.query(named_params! { ":last": self.history })?;
        let mut last = self.history;
        while let Some(row) = rows.next()? {
            let count = row.get::<_, i64>(2)?.cast_unsigned();
            *self.changes.entry((row.get(0)?, row.get(1)?)).or_default() += count;
            last = last.max(row.get(3)?);
        }
        self.history = last;
        let mut statement = connection.prepare_cached(CONFLICTS)?;
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
    let mut statement = connection.prepare_cached(OPEN)?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::model::mapping::Direction;
    use crate::model::value::PropertyType;
    use crate::store::shape::ddl;
    use crate::store::testing::{
        at_once, connection, contacts, field, folder, mapping, now, object, open,
    };
    use crate::store::{Lane, Mode};

    /// Rows of each table that grows.
    const MANY: i32 = 100_000;

    /// What a look costs, in steps of SQLite's machine, for each entry: it is counted once, by an index that holds all that is asked.
    const STEPS_AN_ENTRY: i32 = 30;

    /// A database with many entries of one object, none of another, and many rows in all tables that grow.
    fn grown(folder: &tempfile::TempDir) -> Connection {
        let store = open(folder, Mode::Inline).expect("opens");
        let name = field("name", "name", PropertyType::String, Direction::Both);
        let companies = object("companies", Direction::Both, vec![name]);
        let mapped = mapping(vec![contacts(), companies]);
        let made = at_once(store.write(Lane::Bulk, move |tx| {
            ddl::fit_to_mapping(tx, &mapped, now()).map(drop)
        }));
        made.expect("tables");
        store.close();
        let connection = connection(folder);
        let many = format!(
            "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < {MANY})"
        );
        let at = "'2026-11-24T03:10:00.000Z'";
        connection
            .set_db_config(
                rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
                false,
            )
            .expect("turns triggers off");
        for sql in [
            format!("{many} INSERT INTO contacts (local_id, hs_id) SELECT v, v + 1000 FROM n"),
            format!(
                "{many} INSERT INTO sync_outbox (object, local_id, hs_id, operation, state, enqueued_at, next_attempt_at) SELECT 'contacts', v, v + 1000, 'update', iif(v % 3 = 0, 'dead', 'pending'), {at}, {at} FROM n"
            ),
            format!(
                "{many} INSERT INTO sync_history (at, object, local_id, property, origin) SELECT {at}, 'contacts', v, 'city', 'poll' FROM n"
            ),
            format!(
                "{many} INSERT INTO sync_conflicts (object, local_id, property, policy, winner, detected_at, resolved_at, resolution, reason) SELECT 'contacts', v, 'city', 'remote', 'remote', {at}, {at}, 'policy', 'so' FROM n"
            ),
            format!(
                "{many} INSERT INTO sync_inbox (event_id, event_type, object, hs_id, occurred_at, received_at, state) SELECT v, 'x', 'contacts', v, {at}, {at}, 'done' FROM n"
            ),
        ] {
            connection.execute_batch(&sql).expect(&sql);
        }
        connection
    }

    /// What a statement costs: steps of SQLite's machine, and rows that it walks through without looking for any of them.
    fn cost(connection: &Connection, sql: &str) -> (i32, i32) {
        let mut statement = connection.prepare(sql).expect(sql);
        if statement.parameter_count() > 0 {
            statement
                .raw_bind_parameter(1, MANY - 10)
                .expect("the last that was counted");
        }
        let mut rows = statement.raw_query();
        while rows.next().expect(sql).is_some() {}
        drop(rows);
        (
            statement.get_status(StatementStatus::VmStep),
            statement.get_status(StatementStatus::FullscanStep),
        )
    }

    #[test]
    fn a_look_walks_through_no_table_that_grows_and_counts_entries_once() {
        let folder = folder();
        let connection = grown(&folder);
        for sql in [
            STATE, STATUS, INBOX, HELD, RUNS, DAY, CHANGES, CONFLICTS, OPEN,
        ] {
            let (steps, walked) = cost(&connection, sql);
            assert!(walked < 100, "{walked} rows: {sql}");
            assert!(steps < 5_000, "{steps} steps: {sql}");
        }
        let (steps, walked) = cost(&connection, ENTRIES);
        assert!(walked <= MANY, "{walked} entries");
        assert!(steps < MANY * STEPS_AN_ENTRY, "{steps} steps");
        let tables = look(&connection).expect("the views");
        assert_eq!(
            tables.entries("contacts", "pending") + tables.entries("contacts", "dead"),
            100_000
        );
        let ages: Vec<bool> = tables
            .objects
            .iter()
            .map(|of| of.oldest_entry.is_some())
            .collect();
        assert_eq!(ages, [true, false], "companies have none");
    }
}
