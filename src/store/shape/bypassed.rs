//! What programs did past the triggers: with the gate open, with triggers dropped or altered, or to a whole table. What can
//! be taken up is taken up here, and all of it is told in `_sync_bypassed`, from which `sync_health` tells it, until it is
//! handled.
//!
//! A new row is what an INSERT means, so it is created in HubSpot. A changed or deleted one looks like any other: a
//! comparison finds it, HubSpot's values stand, and `sync_history` keeps the others.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, named_params};

use crate::model::mapping::{Direction, ObjectMapping};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::shape::aside;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::entries;
use crate::store::shape::triggers::KEY;
use crate::store::shape::views::NOW;
use crate::store::{StoreError, cursors, outbox};

/// How a program got past the triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It opened `_sync_gate`.
    Gate,
    /// It dropped or altered triggers of the table.
    Triggers,
    /// It dropped or altered guards of the tables that recording stands on.
    Guards,
}

/// Until when something is told: the daemon takes up what a trigger has marked.
const MARK: &str = "mark";

/// Until when something is told: its comparison has ended.
const COMPARISON: &str = "comparison";
/// Until when something is told: the rows that can't be sent are gone, or can be sent.
const ROWS: &str = "rows";
/// Until when something is told: the dead entries without a row are gone.
const ENTRIES: &str = "entries";
/// Until when something is told: the column is filled again. Its property follows.
const COLUMN: &str = "column ";

/// The statement by which a trigger marks the table of `new.object`, which is written to while the gate is open.
pub(crate) fn mark() -> String {
    let (before, after) = GATE;
    format!(
        "INSERT INTO _sync_bypassed (object, until, at, problem)\n\
         VALUES (new.object, {}, {NOW},\n    \
         {} || coalesce((SELECT table_name FROM _sync_objects WHERE object = new.object), new.object) || {})\n\
         ON CONFLICT DO NOTHING",
        literal(MARK),
        literal(before),
        literal(after),
    )
}

/// What is said of a write past the gate, before and after the table's name.
const GATE: (&str, &str) = (
    "a program opened `_sync_gate`, so that writes to `",
    "` were not recorded",
);

/// Whether any table is marked.
pub(crate) fn is_marked(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM _sync_bypassed WHERE until = :mark")?
        .exists(named_params! { ":mark": MARK })?)
}

/// Takes the marks away, and tells of which objects: they are to be taken up.
pub(crate) fn take_marks(tx: &Transaction<'_>) -> Result<BTreeSet<String>, StoreError> {
    if !is_marked(tx)? {
        return Ok(BTreeSet::new());
    }
    let marked = tx
        .prepare_cached("DELETE FROM _sync_bypassed WHERE until = :mark RETURNING object")?
        .query_map(named_params! { ":mark": MARK }, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(marked)
}

fn how(object: &ObjectMapping, way: Way) -> String {
    let table = &object.table;
    match way {
        Way::Gate => format!("{}{table}{}", GATE.0, GATE.1),
        Way::Triggers => format!(
            "a program dropped or altered triggers of `{table}`, so that writes to it were not recorded"
        ),
        Way::Guards => format!(
            "a program dropped or altered guards of hubsyncd's own tables, so that writes to `{table}` may not be recorded"
        ),
    }
}

/// The most rows that a sentence names.
const MOST_NAMED: usize = 10;

/// Takes up what a program may have written to an object's table while nothing was recorded.
pub(crate) fn take_up(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    way: Way,
    now: Timestamp,
) -> Result<(), StoreError> {
    let how = how(object, way);
    // What a program took out of the outbox itself left them behind: foreign keys are off in most clients.
    tx.execute(
        "DELETE FROM sync_outbox_fields WHERE outbox_id NOT IN (SELECT id FROM sync_outbox)",
        [],
    )?;
    let new = queue_new_rows(tx, object, now)?;
    let rows = match (new.len(), object.direction.pushes()) {
        (0, _) | (_, false) => String::new(),
        (1, true) => format!("; {} is new and is created in HubSpot", named(&new)),
        (_, true) => format!("; {} are new and are created in HubSpot", named(&new)),
    };
    let stand = match object.direction.pulls() {
        true => ", whose values stand where they differ (see sync_history)",
        false => "",
    };
    let problem = format!("{how}{rows}; its records are compared with HubSpot{stand}");
    cursors::compare(tx, &object.object, now)?;
    tell(tx, object, COMPARISON, &problem, now)?;
    if !new.is_empty() && !object.direction.pushes() {
        let problem = format!(
            "{how}; {} of it: HubSpot alone makes records there (`direction = \"pull\"`), and nobody sends what stands in no \
             record of HubSpot's; `direction = \"both\"` creates it",
            named(&new)
        );
        tell(tx, object, ROWS, &problem, now)?;
    }
    let found_no_row = aside::park_without_row(tx, object, outbox::UNRECORDED)?;
    tell_entries(tx, object, &how, found_no_row, now)
}

/// Names what waited for rows of a table that a program dropped: the rows are gone with it.
pub(crate) fn take_dropped(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    now: Timestamp,
) -> Result<(), StoreError> {
    let table = &object.table;
    let went = format!("went with the table {table}, which a program dropped");
    let found_no_row = aside::park_without_row(tx, object, &went)?;
    let how = format!("a program dropped `{table}`; it was made again, and is filled");
    tell_entries(tx, object, &how, found_no_row, now)
}

fn tell_entries(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    how: &str,
    found_no_row: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    let what = match found_no_row {
        0 => return Ok(()),
        1 => "1 change that waited finds its row no more (see the dead entry in sync_outbox)"
            .to_owned(),
        more => format!(
            "{more} changes that waited find their rows no more (see the dead entries in sync_outbox)"
        ),
    };
    tell(tx, object, ENTRIES, &format!("{how}; {what}"), now)
}

/// Names the rows whose waiting value went with a column that a program dropped.
pub(crate) fn tell_column(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    (property, column): (&str, &str),
    rows: &[i64],
    now: Timestamp,
) -> Result<(), StoreError> {
    let problem = format!(
        "a program dropped the column `{column}` of `{}`, and what waited in it to be sent went with it: {}",
        object.table,
        named(rows)
    );
    tell(tx, object, &format!("{COLUMN}{property}"), &problem, now)
}

fn named(rows: &[i64]) -> String {
    let first: Vec<String> = rows.iter().take(MOST_NAMED).map(i64::to_string).collect();
    let more = match rows.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let rows = if rows.len() == 1 { "row" } else { "rows" };
    format!("{rows} {}{more}", first.join(", "))
}

/// Queues the creates of rows that stand in no outbox and were never meant to stay here: it finds none where the triggers
/// were at work. Where nothing is sent they are only found.
fn queue_new_rows(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    let name = object.object.as_str();
    entries::free_numbers(tx, object)?;
    let rows: Vec<i64> = tx
        .prepare(&format!(
            "SELECT m.\"local_id\"
             FROM {} AS m
             WHERE m.\"hs_id\" IS NULL
               AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e
                               WHERE e.object = :object AND e.local_id = m.\"local_id\"
                                 AND e.{})
               AND NOT EXISTS (SELECT 1 FROM _sync_excluded AS x WHERE x.object = :object AND x.local_id = m.\"local_id\")
             ORDER BY m.\"local_id\"",
            quoted(object.table.as_str()),
            outbox::OF_ROW,
        ))?
        .query_map(named_params! { ":object": name }, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if !object.direction.pushes() {
        return Ok(rows);
    }
    let pushed_only = object.direction == Direction::Push;
    let mut insert = tx.prepare(&format!(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, waits_for, key)
         SELECT :object, :row, 'create', :now, CASE WHEN w.waits_for IS NULL THEN :now END, w.waits_for, {KEY}
         FROM (SELECT (SELECT 'backfill' FROM _sync_cursors
                       WHERE object = :object AND backfill <> 'done' AND NOT :pushed_only) AS waits_for) AS w"
    ))?;
    for row in &rows {
        insert.execute(named_params! {
            ":object": name,
            ":row": row,
            ":now": now.to_string(),
            ":pushed_only": pushed_only,
        })?;
    }
    Ok(rows)
}

fn tell(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    until: &str,
    problem: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tracing::error!(object = %object.object, code = "triggers-bypassed", "{problem}");
    tx.prepare_cached(
        "INSERT INTO _sync_bypassed (object, until, at, problem)
         VALUES (:object, :until, :now, :problem)
         ON CONFLICT (object, until) DO UPDATE SET at = excluded.at, problem = excluded.problem",
    )?
    .execute(named_params! {
        ":object": object.object.as_str(),
        ":until": until,
        ":now": now.to_string(),
        ":problem": problem,
    })?;
    Ok(())
}

/// An object was compared with HubSpot to the end.
pub(crate) fn compared(tx: &Transaction<'_>, object: &ObjectType) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_bypassed WHERE object = :object AND until = :comparison")?
        .execute(named_params! { ":object": object.as_str(), ":comparison": COMPARISON })?;
    Ok(())
}

/// Forgets what is handled by now.
pub(crate) fn forget_handled(
    tx: &Transaction<'_>,
    objects: &[ObjectMapping],
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_any = tx
        .prepare_cached("SELECT 1 FROM _sync_bypassed")?
        .exists([])?;
    if !is_any {
        return Ok(());
    }
    tx.prepare_cached(
        "DELETE FROM _sync_bypassed
         WHERE (until = :comparison
                AND NOT EXISTS (SELECT 1 FROM _sync_cursors AS k
                                WHERE k.object = _sync_bypassed.object AND k.reconcile_started_at IS NOT NULL))
            OR (until = :entries
                AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e
                                WHERE e.object = _sync_bypassed.object AND e.state = 'dead' AND e.next_attempt_at IS NULL
                                  AND e.operation IN ('create', 'update')))
            OR EXISTS (SELECT 1 FROM sync_fields AS f
                       WHERE f.object = _sync_bypassed.object AND until = :column || f.property AND f.state <> 'filling')",
    )?
    .execute(named_params! { ":comparison": COMPARISON, ":entries": ENTRIES, ":column": COLUMN })?;
    for object in objects {
        let mine = named_params! { ":object": object.object.as_str(), ":rows": ROWS };
        let is_told = tx
            .prepare_cached(
                "SELECT 1 FROM _sync_bypassed WHERE object = :object AND until = :rows",
            )?
            .exists(mine)?;
        if !is_told {
            continue;
        }
        // A direction that was changed since lets them go.
        let left = queue_new_rows(tx, object, now)?;
        if left.is_empty() || object.direction.pushes() {
            tx.prepare_cached(
                "DELETE FROM _sync_bypassed WHERE object = :object AND until = :rows",
            )?
            .execute(mine)?;
        }
    }
    Ok(())
}
