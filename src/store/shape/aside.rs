//! Tables that a program made in the place of ours: moved to another name with all that is in them, and told of until
//! somebody drops them. The mirror that is made again takes over what HubSpot's ids tell: rows, their `local_id` and the
//! values that wait.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::id::OutboxId;
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::time::Timestamp;
use crate::model::value::PropertyType;
use crate::store::shape::alter;
use crate::store::shape::ddl::{self, each, quoted};
use crate::store::shape::fit;
use crate::store::shape::matching::spelled_as;
use crate::store::{StoreError, mirror, outbox};

/// Gives what stands in a table's place another name, and returns that.
pub(crate) fn move_aside(tx: &Transaction<'_>, table: &str) -> Result<String, StoreError> {
    let other = free_name(tx, table)?;
    let (kind, sql): (String, String) = tx.query_row(
        "SELECT type, coalesce(sql, '') FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(:table)",
        named_params! { ":table": table },
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if kind == "view" {
        let body = body_of_view(&sql);
        tx.execute_batch(&format!(
            "DROP VIEW {}; CREATE VIEW {}{body}",
            quoted(table),
            quoted(&other)
        ))?;
    } else {
        rename_alone(tx, table, &other)?;
    }
    Ok(other)
}

fn free_name(connection: &Connection, table: &str) -> Result<String, StoreError> {
    for number in 1.. {
        let name = format!("{table}_replaced_{number}");
        if !fit::exists(connection, &name)? {
            return Ok(name);
        }
    }
    unreachable!("a file holds fewer tables than numbers")
}

/// Renames a table and nothing that refers to it: views, triggers and foreign keys of other tables mean the place, not what
/// a program put there.
pub(crate) fn rename_alone(tx: &Transaction<'_>, from: &str, to: &str) -> Result<(), StoreError> {
    let keys = tx.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY)?;
    tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    tx.pragma_update(None, "legacy_alter_table", true)?;
    let renamed = tx.execute_batch(&alter::rename_table(from, to));
    tx.pragma_update(None, "legacy_alter_table", false)?;
    tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, keys)?;
    Ok(renamed?)
}

/// What follows the name in a view's text, as SQLite keeps it.
fn body_of_view(sql: &str) -> &str {
    let rest = sql
        .get("CREATE VIEW ".len()..)
        .unwrap_or_default()
        .trim_start();
    let end = match rest.chars().next() {
        Some(open @ ('"' | '`' | '\'' | '[')) => {
            let close = if open == '[' { ']' } else { open };
            let mut at = 1;
            loop {
                let Some(found) = rest[at..].find(close) else {
                    return "";
                };
                at += found + 1;
                // A quote inside a name stands twice.
                if close == ']' || !rest[at..].starts_with(close) {
                    break at;
                }
                at += 1;
            }
        }
        Some(_) | None => rest
            .find(|letter: char| {
                letter.is_whitespace() || letter == '(' || letter == '/' || letter == '-'
            })
            .unwrap_or(rest.len()),
    };
    &rest[end..]
}

/// Says that a table was set aside: in `_sync_set_aside`, from which `sync_health` tells it, and in the log.
pub(crate) fn note(
    tx: &Transaction<'_>,
    other: &str,
    place: &str,
    more: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let problem = format!(
        "a program put another table in the place of `{place}`: what it made stands in `{other}`{more}; \
         take what you need from it, and drop it"
    );
    tracing::error!(
        table_name = other,
        place,
        code = "table-replaced",
        "{problem}"
    );
    tx.prepare_cached(
        "INSERT INTO _sync_set_aside (table_name, place, at, problem)
         VALUES (:other, :place, :now, :problem)
         ON CONFLICT (table_name) DO UPDATE
         SET place = excluded.place, at = excluded.at, problem = excluded.problem",
    )?
    .execute(named_params! {
        ":other": other,
        ":place": place,
        ":now": now.to_string(),
        ":problem": problem,
    })?;
    Ok(())
}

/// Forgets what somebody has dropped.
pub(crate) fn forget_dropped(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_set_aside
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_schema AS s WHERE lower(s.name) = lower(_sync_set_aside.table_name))",
    )?
    .execute([])?;
    Ok(())
}

/// Brings what HubSpot's ids tell of a table that was set aside into the new mirror: a row for each record, under the
/// `local_id` that its waiting entry or the table itself names, with the values that their columns take. What waits for a
/// row that is not there ends: a create whose row HubSpot does not know is dead, and says where the row stands. Returns what
/// stayed behind, in words.
///
/// `last_local_id` is the largest id that a row had: none above it was the mirror's.
pub(crate) fn refill(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    other: &str,
    last_local_id: i64,
) -> Result<String, StoreError> {
    let columns = fit::columns_of(tx, other)?;
    let has = |name: &str| {
        columns
            .iter()
            .any(|column| column.eq_ignore_ascii_case(name))
    };
    if has("hs_id") {
        let fields: Vec<&FieldMapping> = object
            .fields
            .iter()
            .filter(|field| has(field.column.as_str()))
            .collect();
        copy_rows(
            tx,
            object,
            other,
            &fields,
            has("local_id").then_some(last_local_id),
        )?;
        for field in &object.fields {
            forget_unreadable_values(tx, object, field, other, has(field.column.as_str()))?;
        }
    }
    end_empty_updates(tx, object)?;
    let stayed = format!(
        "stayed in {other}, which a program had put in the place of {}",
        object.table
    );
    let parked = park_without_row(tx, object, &stayed)?;
    let unknown = if has("hs_id") {
        unknown_rows(tx, other)?
    } else {
        0
    };
    let entries = match parked {
        0 => "",
        1 => " (see the dead entry in sync_outbox)",
        _ => " (see the dead entries in sync_outbox)",
    };
    Ok(match (unknown, parked) {
        (0, 0) => String::new(),
        (0, _) => format!(", with changes that waited{entries}"),
        (1, _) => format!(", with 1 row that HubSpot does not know yet{entries}"),
        (more, _) => format!(", with {more} rows that HubSpot does not know yet{entries}"),
    })
}

/// Rows of a table that was set aside that name no record: nobody sends them from there.
fn unknown_rows(connection: &Connection, other: &str) -> Result<i64, StoreError> {
    let (other, hs_id) = (quoted(other), id_of("hs_id"));
    let sql = format!("SELECT count(*) FROM {other} AS x WHERE {hs_id} IS NULL");
    Ok(connection.query_row(&sql, [], |row| row.get(0))?)
}

/// A column of `x` as a whole positive number, or NULL: other tools write ids as text or with a fraction.
fn id_of(column: &str) -> String {
    let column = format!("x.{}", quoted(column));
    format!(
        "CASE WHEN CAST({column} AS INTEGER) = {column} AND CAST({column} AS INTEGER) > 0 THEN CAST({column} AS INTEGER) END"
    )
}

/// A value as the mirror's column takes it, or NULL.
fn value_of(field: &FieldMapping) -> String {
    let column = quoted(field.column.as_str());
    let number = format!("typeof({column}) IN ('integer', 'real')");
    let (is_type, value) = match field.property_type {
        PropertyType::Number => (number, format!("CAST({column} AS REAL)")),
        PropertyType::Integer | PropertyType::Bool => (
            format!("{number} AND CAST({column} AS INTEGER) = {column}"),
            format!("CAST({column} AS INTEGER)"),
        ),
        PropertyType::String
        | PropertyType::Decimal
        | PropertyType::Date
        | PropertyType::Datetime
        | PropertyType::Enumeration
        | PropertyType::Set => (format!("typeof({column}) = 'text'"), column),
    };
    let check =
        ddl::check(field).map_or_else(String::new, |(_, condition)| format!(" AND ({condition})"));
    format!("CASE WHEN {is_type}{check} THEN {value} END")
}

/// First the rows that something waits for, under the ids that it knows; then those whose own `local_id` is free; then the
/// others, under new ones. A row that was deleted, and whose archive waits, stays deleted.
fn copy_rows(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    other: &str,
    fields: &[&FieldMapping],
    last_local_id: Option<i64>,
) -> Result<(), StoreError> {
    let hs_id = id_of("hs_id");
    let waiting = format!(
        "(SELECT min(local_id) FROM (SELECT local_id FROM sync_outbox
                WHERE object = :object AND hs_id = {hs_id} AND operation = 'update'
                UNION SELECT local_id FROM sync_conflicts
                WHERE object = :object AND hs_id = {hs_id} AND resolved_at IS NULL))"
    );
    let own = id_of("local_id");
    let is_free = format!(
        "{own} <= {last} AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.object = :object AND e.local_id = {own})",
        last = last_local_id.unwrap_or(0)
    );
    let mut passes = vec![(waiting.as_str(), format!("{waiting} IS NOT NULL"))];
    if last_local_id.is_some() {
        passes.push((own.as_str(), is_free));
    }
    let table = quoted(object.table.as_str());
    passes.push((
        "NULL",
        format!("{hs_id} NOT IN (SELECT \"hs_id\" FROM {table} WHERE \"hs_id\" IS NOT NULL)"),
    ));
    let names = each(fields, |field| {
        format!(", {}", quoted(field.column.as_str()))
    });
    let values = each(fields, |field| format!(", {}", value_of(field)));
    for (local_id, condition) in passes {
        let sql = format!(
            "INSERT INTO {table} (\"local_id\", \"hs_id\"{names})
             SELECT {local_id}, {hs_id}{values}
             FROM {other} AS x
             WHERE {hs_id} IS NOT NULL AND {condition}
               AND NOT EXISTS (SELECT 1 FROM sync_outbox AS d WHERE d.object = :object AND d.hs_id = {hs_id} AND d.row IS NOT NULL)
             ON CONFLICT DO NOTHING",
            other = quoted(other),
        );
        tx.execute(&sql, named_params! { ":object": object.object.as_str() })?;
    }
    Ok(())
}

/// A value that was to be sent and that the mirror's column does not take, or whose column is gone, is not sent as empty: it
/// stays where it is.
fn forget_unreadable_values(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    field: &FieldMapping,
    other: &str,
    is_there: bool,
) -> Result<(), StoreError> {
    let lost = if is_there {
        let column = quoted(field.column.as_str());
        format!(
            "AND EXISTS (SELECT 1 FROM {} AS m WHERE m.\"local_id\" = e.local_id AND m.{column} IS NULL)
             AND EXISTS (SELECT 1 FROM {} AS x WHERE {} = e.hs_id AND x.{column} IS NOT NULL)",
            quoted(object.table.as_str()),
            quoted(other),
            id_of("hs_id"),
        )
    } else {
        String::new()
    };
    let sql = format!(
        "DELETE FROM sync_outbox_fields
         WHERE property = :property
           AND outbox_id IN (SELECT e.id FROM sync_outbox AS e
                             WHERE e.object = :object AND e.operation = 'update' AND e.state <> 'in_flight' AND e.row IS NULL {lost})"
    );
    let forgotten = tx.execute(
        &sql,
        named_params! { ":object": object.object.as_str(), ":property": field.property.as_str() },
    )?;
    if forgotten > 0 {
        tracing::error!(
            object = %object.object,
            property = %field.property,
            entries = forgotten,
            table_name = other,
            code = "table-replaced",
            "values that waited to be sent are not in a form that the column takes; they stay in the table that was set aside"
        );
    }
    Ok(())
}

/// An update of which nothing is left to be sent would keep its record from coming in.
pub(crate) fn end_empty_updates(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM sync_outbox
         WHERE object = :object AND operation = 'update' AND state <> 'in_flight' AND row IS NULL
           AND NOT (state = 'dead' AND next_attempt_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = sync_outbox.id)",
    )?
    .execute(named_params! { ":object": object.object.as_str() })?;
    Ok(())
}

/// What waits for a row that is not in the mirror, and whose deletion no trigger has recorded, is dead and names row, record
/// and properties: it has nothing to send. `went` says where the row is. Returns how many entries that are.
pub(crate) fn park_without_row(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    went: &str,
) -> Result<usize, StoreError> {
    let sql = format!(
        "SELECT e.id
         FROM sync_outbox AS e
         WHERE e.object = :object AND e.operation IN ('create', 'update') AND e.state <> 'in_flight' AND e.row IS NULL
           AND NOT (e.state = 'dead' AND e.next_attempt_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM {} AS m WHERE m.\"local_id\" = e.local_id)",
        quoted(object.table.as_str())
    );
    let found: Vec<i64> = tx
        .prepare(&sql)?
        .query_map(named_params! { ":object": object.object.as_str() }, |row| {
            row.get(0)
        })?
        .collect::<Result<_, _>>()?;
    for id in &found {
        if let Some(queued) = outbox::by_id(tx, OutboxId(*id))? {
            outbox::park_without_row(tx, &object.table, &queued, went)?;
        }
    }
    Ok(found.len())
}

/// Puts the values of open conflicts into a field's column: it was made anew, and the conflict has kept what it held.
pub(crate) fn restore_conflicts(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    field: &FieldMapping,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT local_id, local_value
         FROM sync_conflicts
         WHERE object = :object AND property = :property AND resolved_at IS NULL",
    )?;
    let open = statement
        .query_map(
            named_params! { ":object": object.object.as_str(), ":property": field.property.as_str() },
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)),
        )?
        .collect::<Result<Vec<_>, _>>()?;
    let sql = format!(
        "UPDATE {} SET {} = :value WHERE \"local_id\" = :local_id",
        quoted(object.table.as_str()),
        quoted(field.column.as_str())
    );
    for (local_id, text) in open {
        let Ok(value) = field.property_type.canonical(text.as_deref()) else {
            continue;
        };
        let value = mirror::to_sql(field.property_type.to_column(&value));
        tx.execute(
            &sql,
            named_params! { ":value": value, ":local_id": local_id },
        )?;
    }
    Ok(())
}

/// Shows in open conflicts what a field's column holds: while it was not mapped, no trigger told them of a write.
pub(crate) fn follow_conflicts(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    field: &FieldMapping,
) -> Result<(), StoreError> {
    let table = quoted(object.table.as_str());
    let column = format!("m.{}", quoted(field.column.as_str()));
    let sql = format!(
        "UPDATE sync_conflicts
         SET local_value = (SELECT {} FROM {table} AS m WHERE m.\"local_id\" = sync_conflicts.local_id)
         WHERE object = :object AND property = :property AND resolved_at IS NULL
           AND EXISTS (SELECT 1 FROM {table} AS m WHERE m.\"local_id\" = sync_conflicts.local_id)",
        spelled_as(&column, field.property_type)
    );
    tx.execute(
        &sql,
        named_params! { ":object": object.object.as_str(), ":property": field.property.as_str() },
    )?;
    Ok(())
}

/// The table that the mirror of `table` was renamed to by a program: our index went along.
pub(crate) fn renamed_to(
    connection: &Connection,
    table: &str,
) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT s.name
             FROM sqlite_schema AS i
             JOIN sqlite_schema AS s ON s.type = 'table' AND s.name = i.tbl_name
             WHERE i.type = 'index' AND i.name = :index AND lower(i.tbl_name) <> lower(:table)",
        )?
        .query_row(
            named_params! { ":index": format!("sync_archived_{table}"), ":table": table },
            |row| row.get(0),
        )
        .optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_views_body_follows_its_name_however_that_is_spelled() {
        for (sql, body) in [
            ("CREATE VIEW contacts AS SELECT 1", " AS SELECT 1"),
            (
                "CREATE VIEW contacts(a, b) AS SELECT 1, 2",
                "(a, b) AS SELECT 1, 2",
            ),
            ("CREATE VIEW \"con\"\"tacts\" AS SELECT 1", " AS SELECT 1"),
            ("CREATE VIEW [contacts]AS SELECT 1", "AS SELECT 1"),
            ("CREATE VIEW `c`\n(a) AS SELECT 1", "\n(a) AS SELECT 1"),
            ("CREATE VIEW 'c d' AS SELECT 1", " AS SELECT 1"),
        ] {
            assert_eq!(body_of_view(sql), body, "{sql}");
        }
    }
}
