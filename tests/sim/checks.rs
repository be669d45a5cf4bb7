//! The promises, each checked from outside: against the portal's own logs and against what local programs remember.

use std::collections::{BTreeMap, BTreeSet};

use hubsyncd::model::mapping::{ObjectMapping, OnRemoteDelete};
use hubsyncd::model::value::{ColumnValue, PropertyType, Value};
use hubsyncd::simulator::portal::Operation;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

use crate::links;
use crate::local::{Programs, Shadow, Written, tag_of};
use crate::plan::Plan;
use crate::script::Act;
use crate::world::World;

/// The type in force of a property.
pub(crate) fn kind_of(connection: &Connection, object: &str, property: &str) -> PropertyType {
    let found: Result<String, _> = connection.query_row(
        "SELECT type FROM sync_fields WHERE object = ?1 AND property = ?2",
        [object, property],
        |row| row.get(0),
    );
    found
        .ok()
        .and_then(|name| PropertyType::parse(&name))
        .unwrap_or(PropertyType::String)
}

/// A mirror row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) local_id: i64,
    pub(crate) hs_id: Option<u64>,
    pub(crate) modified_at: Option<String>,
    pub(crate) is_archived: bool,
    pub(crate) values: BTreeMap<String, Value>,
}

/// The rows of an object.
pub(crate) fn rows(connection: &Connection, object: &ObjectMapping) -> Vec<Row> {
    let columns: Vec<String> = object
        .fields
        .iter()
        .map(|field| field.column.as_str().to_owned())
        .collect();
    let sql = format!(
        "SELECT local_id, hs_id, hs_modified_at, hs_archived, {} FROM {} ORDER BY local_id",
        columns.join(", "),
        object.table
    );
    let kinds: Vec<PropertyType> = object
        .fields
        .iter()
        .map(|field| kind_of(connection, object.object.as_str(), field.property.as_str()))
        .collect();
    let mut statement = connection
        .prepare_cached(&sql)
        .expect("the mirror can be read");
    let rows = statement.query_map([], |row| {
        let mut values = BTreeMap::new();
        for (index, field) in object.fields.iter().enumerate() {
            values.insert(
                field.property.as_str().to_owned(),
                value_of(kinds[index], row.get(index + 4)?),
            );
        }
        Ok(Row {
            local_id: row.get(0)?,
            hs_id: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            modified_at: row.get(2)?,
            is_archived: row.get(3)?,
            values,
        })
    });
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("mirror rows")
}

fn value_of(kind: PropertyType, value: Sql) -> Value {
    let column = match value {
        Sql::Null | Sql::Blob(_) => ColumnValue::Null,
        Sql::Integer(number) => ColumnValue::Integer(number),
        Sql::Real(number) => ColumnValue::Real(number),
        Sql::Text(text) => ColumnValue::Text(text),
    };
    kind.from_column(&column).unwrap_or(Value::EMPTY)
}

/// Rows as text.
pub(crate) fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare_cached(sql).expect(sql);
    let rows = statement.query_map([], |row| {
        let mut text = String::new();
        for index in 0..row.as_ref().column_count() {
            text.push_str(&plain(row.get(index)?));
            text.push('|');
        }
        Ok(text)
    });
    rows.expect(sql).collect::<Result<_, _>>().expect(sql)
}

fn plain(value: Sql) -> String {
    match value {
        Sql::Null | Sql::Blob(_) => String::new(),
        Sql::Integer(number) => number.to_string(),
        Sql::Real(number) => number.to_string(),
        Sql::Text(text) => text,
    }
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// I1: every text that was committed is in HubSpot, waits, or is kept where it lost.
pub(crate) fn no_write_is_lost(
    connection: &Connection,
    world: &World,
    shadow: &Shadow,
) -> Result<(), String> {
    let mut kept: BTreeSet<String> = BTreeSet::new();
    let sources = [
        "SELECT base_value, local_value, remote_value FROM sync_conflicts",
        "SELECT old_value, new_value FROM sync_history",
        "SELECT row FROM sync_outbox WHERE row IS NOT NULL",
        "SELECT base_value, sent_value FROM sync_outbox_fields",
    ];
    for sql in sources {
        for text in texts(connection, sql) {
            kept.extend(explanation(&text));
        }
    }
    {
        let state = world.state();
        for entry in state.portal.write_log() {
            kept.extend(
                entry
                    .properties
                    .iter()
                    .filter_map(|property| property.new.clone()),
            );
        }
    }
    let waiting: BTreeSet<String> = texts(
        connection,
        "SELECT object, local_id, 'create' FROM sync_outbox WHERE operation = 'create'
         UNION SELECT o.object, o.local_id, f.property FROM sync_outbox AS o JOIN sync_outbox_fields AS f ON f.outbox_id = o.id
         UNION SELECT object, local_id, property FROM sync_conflicts WHERE resolved_at IS NULL",
    )
    .into_iter()
    .collect();
    for written in &shadow.written {
        if !kept.contains(&written.value) && !is_waiting(connection, &waiting, written) {
            return Err(format!(
                "I1: the local write {written:?} is nowhere: not sent, not waiting, not kept"
            ));
        }
    }
    Ok(())
}

/// The words of a text or of a row's JSON.
pub(crate) fn explanation(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric() && !"@.-_:".contains(letter))
        .map(str::to_owned)
        .collect()
}

/// The mirror holds it, and an entry will send it, or a row without an entry is one whose create was discarded.
fn is_waiting(connection: &Connection, waiting: &BTreeSet<String>, written: &Written) -> bool {
    let sql = format!(
        "SELECT c_{}, hs_id IS NULL FROM {} WHERE local_id = ?1",
        written.property, written.object
    );
    let row = connection.query_row(&sql, [written.local_id], |row| {
        Ok((row.get::<_, Option<String>>(0)?, row.get::<_, bool>(1)?))
    });
    let Ok((value, unlinked)) = row else {
        return false;
    };
    let key = |what: &str| format!("{}|{}|{what}|", written.object, written.local_id);
    let queued = waiting.contains(&key("create")) || waiting.contains(&key(&written.property));
    value.as_deref() == Some(written.value.as_str()) && (queued || unlinked)
}

/// I2: no key was ever created twice, and no row either; but where a person hid the record while its create was in
/// doubt (archived it, gave it another e-mail, merged it into one with another key), so that nothing could find it by its
/// key or its match value.
pub(crate) fn no_create_happens_twice(
    connection: &Connection,
    world: &World,
    plan: &Plan,
) -> Result<(), String> {
    let state = world.state();
    let mut by_key: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_tag: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut hidden: BTreeSet<u64> = BTreeSet::new();
    for entry in state.portal.write_log() {
        let renamed = entry
            .properties
            .iter()
            .any(|property| property.name == "email");
        if !entry.by_api && (renamed || entry.operation == Operation::Archive) {
            hidden.insert(entry.id);
        }
        if entry.operation == Operation::Merge {
            let merged = entry.properties.iter();
            let merged = merged.filter(|property| property.name == "hs_merged_object_ids");
            let ids = merged.filter_map(|property| property.new.as_deref());
            hidden
                .extend(ids.flat_map(|ids| ids.split(';').filter_map(|id| id.parse::<u64>().ok())));
        }
        if !entry.by_api || entry.operation != Operation::Create {
            continue;
        }
        for property in &entry.properties {
            let Some(value) = &property.new else { continue };
            if property.name == "hubsyncd_key"
                && let Some(first) = by_key.insert(value, entry.id)
                && !hidden.contains(&first)
            {
                return Err(format!(
                    "I2: the key {value} was created as {first} and {}",
                    entry.id
                ));
            }
            if property.name == tag_of(entry.object) {
                let ids = by_tag.entry(value).or_default();
                ids.retain(|id| !hidden.contains(id));
                ids.push(entry.id);
            }
        }
    }
    let untold = texts(
        connection,
        "SELECT id || ' ' || coalesce(last_error, '-') FROM sync_outbox WHERE state = 'dead' AND code IS NULL",
    );
    if let Some(entry) = untold.first() {
        return Err(format!("a dead entry has no code: {entry}"));
    }
    let again: BTreeSet<String> = texts(
        connection,
        "SELECT local_value FROM sync_conflicts WHERE property = '*' AND winner = 'local'",
    )
    .iter()
    .flat_map(|text| explanation(text))
    .collect();
    // A restored file may have forgotten why a record was made again.
    if plan.has(Act::PutBack) {
        return Ok(());
    }
    for (tag, ids) in by_tag {
        if ids.len() > 1 && !again.contains(tag) && !was_discarded(connection, tag) {
            return Err(format!("I2: the row {tag} was created as {ids:?}"));
        }
    }
    Ok(())
}

/// A person who discards a create in doubt, or REPLACEs a row away, gets another record by the next write.
fn was_discarded(connection: &Connection, tag: &str) -> bool {
    texts(
        connection,
        "SELECT old_value, new_value FROM sync_history WHERE origin = 'discard'",
    )
    .iter()
    .any(|text| text.contains(tag))
}

fn has_mirror(connection: &Connection, object: &ObjectMapping) -> bool {
    let found = connection.query_row(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
        [object.table.as_str()],
        |_| Ok(()),
    );
    found.is_ok()
}

/// I3: field by field, both ways, but for what is listed.
pub(crate) fn both_sides_agree(
    connection: &Connection,
    world: &World,
    plan: &Plan,
) -> Result<(), String> {
    for object in &plan.mapping.objects {
        if !has_mirror(connection, object) {
            return Err(format!("I3: the table `{}` is gone", object.table));
        }
        let mirror = rows(connection, object);
        let listed = Listed::of(connection, object);
        check_rows(connection, world, object, &mirror, &listed)?;
        if !object.direction.pulls() || !object.modes.new_records.makes_rows() {
            continue;
        }
        let linked: BTreeSet<u64> = mirror.iter().filter_map(|row| row.hs_id).collect();
        for record in world.state().portal.records(object.object.as_str()) {
            if !linked.contains(&record.id()) && !listed.records.contains(&record.id()) {
                return Err(format!(
                    "I3: {} {} of HubSpot has no row here",
                    object.object,
                    record.id()
                ));
            }
        }
    }
    Ok(())
}

/// Entries that wait for another row's value, which that row gives up once a person has let it go on.
const AFTER_A_PERSON: &str = "
    WITH RECURSIVE held(object, local_id, id) AS (
        SELECT object, local_id, id FROM sync_outbox WHERE state = 'pending' AND (waits_for = 'guard' OR next_attempt_at IS NULL)
        UNION
        SELECT e.object, e.local_id, e.id
        FROM sync_outbox AS e JOIN held AS h ON e.object = h.object AND e.taken_by = h.local_id
        WHERE e.state = 'pending')
    SELECT e.id FROM sync_outbox AS e JOIN held AS h USING (id) WHERE e.taken_by IS NOT NULL AND e.state = 'pending'";

/// What waits of an association while a person decides about one of its records: its ids.
pub(crate) const OF_AN_UNDECIDED_RECORD: &str = "
    SELECT e.id FROM sync_outbox AS e JOIN sync_conflicts AS c
        ON (c.object, c.local_id) IN ((e.object, e.local_id), (e.to_object, e.to_local_id))
    WHERE e.operation IN ('associate', 'disassociate') AND e.state = 'pending'
      AND c.property = '*' AND c.resolved_at IS NULL";

/// What the status tables list as not in agreement.
struct Listed {
    /// Rows with a dead entry, that the guard holds, or that wait for a person.
    rows: BTreeSet<i64>,
    /// Fields with an open conflict.
    fields: BTreeSet<(i64, String)>,
    /// Records of entries that wait for a person.
    records: BTreeSet<u64>,
}

impl Listed {
    fn of(connection: &Connection, object: &ObjectMapping) -> Self {
        let name = object.object.as_str();
        let mut listed = Self {
            rows: BTreeSet::new(),
            fields: BTreeSet::new(),
            records: BTreeSet::new(),
        };
        let sql = format!(
            "SELECT local_id, property, hs_id FROM sync_conflicts WHERE object = ?1 AND resolved_at IS NULL
             UNION ALL
             SELECT local_id, '*', hs_id FROM sync_outbox WHERE object = ?1 AND (state = 'dead' OR waits_for = 'guard')
             UNION ALL
             SELECT local_id, '*', hs_id FROM sync_outbox WHERE object = ?1 AND id IN ({AFTER_A_PERSON})
             UNION ALL
             SELECT m.local_id, '*', r.hs_id FROM _sync_removals AS r JOIN {} AS m USING (hs_id)
             WHERE r.object = ?1 AND r.hold_id IS NOT NULL",
            object.table
        );
        let mut statement = connection
            .prepare_cached(&sql)
            .expect("the lists can be read");
        let found = statement.query_map([name], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Option<i64>>(2)?,
            ))
        });
        for entry in found.expect("lists") {
            let (local_id, property, hs_id) = entry.expect("a list's row");
            if property == "*" {
                listed.rows.insert(local_id);
                listed.records.extend(hs_id.map(i64::unsigned_abs));
            } else {
                listed.fields.insert((local_id, property));
            }
        }
        listed
    }
}

fn check_rows(
    connection: &Connection,
    world: &World,
    object: &ObjectMapping,
    mirror: &[Row],
    listed: &Listed,
) -> Result<(), String> {
    let state = world.state();
    for row in mirror {
        if listed.rows.contains(&row.local_id) {
            continue;
        }
        let name = &object.object;
        let Some(hs_id) = row.hs_id else {
            let entry = texts(
                connection,
                &format!(
                    "SELECT * FROM sync_outbox WHERE object = '{name}' AND local_id = {}
                     AND operation NOT IN ('associate', 'disassociate')",
                    row.local_id
                ),
            );
            // Without an entry of its own its create was discarded: it is listed as excluded, and its associations wait.
            if entry.is_empty() {
                continue;
            }
            return Err(format!(
                "I3: {name} row {} has no record: {entry:?}",
                row.local_id
            ));
        };
        let live = state.portal.record(name.as_str(), hs_id);
        let live = live.filter(|record| !record.is_archived());
        if row.is_archived {
            if live.is_none() && object.modes.on_remote_delete == OnRemoteDelete::Mark {
                continue;
            }
            return Err(format!(
                "I3: {name} row {} says that record {hs_id} is archived, which it is not",
                row.local_id
            ));
        }
        let Some(record) = live else {
            return Err(format!(
                "I3: {name} row {} has record {hs_id}, which HubSpot no longer has",
                row.local_id
            ));
        };
        for field in &object.fields {
            let property = field.property.as_str();
            let kind = kind_of(connection, name.as_str(), property);
            let remote = kind
                .canonical(record.value(property))
                .unwrap_or(Value::EMPTY);
            let local = &row.values[property];
            if !kind.same(local, &remote)
                && !listed.fields.contains(&(row.local_id, property.to_owned()))
            {
                return Err(format!(
                    "I3: {name} row {} record {hs_id}: {property} is {local:?} here and {remote:?} in HubSpot",
                    row.local_id
                ));
            }
        }
    }
    Ok(())
}

/// I7: a row's version never goes back while it stays with its record. Returns the present versions.
pub(crate) fn no_version_goes_back(
    connection: &Connection,
    plan: &Plan,
    known: &mut BTreeMap<(String, i64), (u64, String)>,
) -> Result<(), String> {
    for object in &plan.mapping.objects {
        let sql = format!(
            "SELECT local_id, hs_id, hs_modified_at FROM {} WHERE hs_id IS NOT NULL AND hs_modified_at IS NOT NULL",
            object.table
        );
        let Ok(mut statement) = connection.prepare_cached(&sql) else {
            return Ok(());
        };
        let found = statement.query_map([], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
            ))
        });
        for row in found.expect("rows") {
            let (local_id, hs_id, modified_at) = row.expect("a row");
            let key = (object.object.as_str().to_owned(), local_id);
            let former = known.insert(key, (hs_id.unsigned_abs(), modified_at.clone()));
            if let Some((id, former)) = former
                && id == hs_id.unsigned_abs()
                && former > modified_at
            {
                return Err(format!(
                    "I7: {} row {local_id} went back from {former} to {modified_at}",
                    object.object
                ));
            }
        }
    }
    Ok(())
}

/// I12: without a word of an operator no more was archived or removed than the brake allows.
pub(crate) fn the_brake_holds(
    connection: &Connection,
    world: &World,
    plan: &Plan,
) -> Result<(), String> {
    if !plan.small_guard
        || number(
            connection,
            "SELECT count(*) FROM sync_holds WHERE approved_at IS NOT NULL",
        ) > 0
    {
        return Ok(());
    }
    let state = world.state();
    for object in &plan.mapping.objects {
        let times: Vec<i64> = state
            .portal
            .write_log()
            .iter()
            .filter(|entry| {
                entry.by_api
                    && entry.operation == Operation::Archive
                    && entry.object == object.object.as_str()
            })
            .map(|entry| entry.at_ms)
            .collect();
        let most_rows = 60.0 + plan.records as f64 + plan.script.len() as f64;
        let bound = plan
            .guard
            .max_archives
            .max((most_rows * plan.guard.max_share) as u64) as usize;
        let window = plan.guard.window.as_millis() as i64;
        for (index, start) in times.iter().enumerate() {
            let within = times[index..]
                .iter()
                .filter(|at| **at - start < window)
                .count();
            if within > bound {
                return Err(format!(
                    "I12: {within} records of {} were archived within an hour; {bound} may be",
                    object.object
                ));
            }
        }
    }
    Ok(())
}

/// The status view adds up.
pub(crate) fn the_status_adds_up(connection: &Connection) -> Result<(), String> {
    let wrong = texts(
        connection,
        "SELECT object, in_sync, waiting, failing, excluded, rows FROM sync_status WHERE in_sync + waiting + failing + excluded <> rows",
    );
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("sync_status does not add up: {wrong:?}"))
    }
}

/// What still waits to be done without anybody's word.
pub(crate) fn unfinished(connection: &Connection) -> Vec<String> {
    let mut left = texts(
        connection,
        &format!("SELECT 'outbox', id, object, local_id, hs_id, operation, state, attempts, next_attempt_at, waits_for, unanswered_since, last_error
         FROM sync_outbox
         WHERE id NOT IN ({AFTER_A_PERSON}) AND id NOT IN ({OF_AN_UNDECIDED_RECORD}) AND (
            state = 'in_flight' OR discarded_at IS NOT NULL
            OR (state = 'pending' AND next_attempt_at IS NOT NULL AND waits_for IS NOT 'guard'
                AND hs_id NOT IN (SELECT hs_id FROM _sync_removals WHERE hold_id IS NOT NULL))
            OR (state = 'pending' AND next_attempt_at IS NOT NULL AND hs_id IS NULL)
            OR (state = 'pending' AND waits_for = 'backfill'))"),
    );
    left.extend(texts(
        connection,
        "SELECT 'read', object, hs_id, due_at FROM _sync_reads",
    ));
    left.extend(texts(
        connection,
        "SELECT 'removal', object, hs_id, seen_at FROM _sync_removals WHERE hold_id IS NULL",
    ));
    left.extend(texts(
        connection,
        "SELECT 'event', id, event_type, object, hs_id, read_number FROM sync_inbox WHERE state = 'pending'",
    ));
    left.extend(texts(connection, "SELECT 'decision', id FROM sync_conflicts WHERE resolved_at IS NULL AND resolution IS NOT NULL"));
    left.extend(texts(
        connection,
        "SELECT 'hold', id FROM sync_holds WHERE approved_at IS NOT NULL AND settled_at IS NULL",
    ));
    left.extend(texts(connection, "SELECT 'comparison', object FROM _sync_cursors WHERE reconcile_started_at IS NOT NULL OR backfill <> 'done'"));
    left.extend(links::unfinished(connection));
    left
}

/// The whole mirror, without its bookkeeping.
pub(crate) fn mirror(connection: &Connection, plan: &Plan) -> Vec<Vec<Row>> {
    plan.mapping
        .objects
        .iter()
        .map(|object| rows(connection, object))
        .collect()
}

/// All checks that hold at every moment.
pub(crate) fn at_any_time(
    programs: &Programs,
    world: &World,
    plan: &Plan,
    versions: &mut BTreeMap<(String, i64), (u64, String)>,
) -> Result<(), String> {
    no_version_goes_back(programs.connection(), plan, versions)?;
    no_write_is_lost(programs.connection(), world, &programs.shadow)?;
    no_create_happens_twice(programs.connection(), world, plan)?;
    the_brake_holds(programs.connection(), world, plan)
}
