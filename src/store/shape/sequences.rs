//! `sqlite_sequence`: the last numbers of the tables whose rows are never numbered twice.
//!
//! Any program can write there, and SQLite says "database or disk is full" to every INSERT once a number is the largest that
//! there is. No trigger can stand on that table, so numbers that leave no room are brought down every minute. SQLite forgets a
//! number with a dropped table, and programs reset theirs (a flushed test database, a "truncate"): the largest `local_id` that
//! any row had is therefore kept where no program's statement takes it away, and a number that was lost is raised to it.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::store::StoreError;
use crate::store::outbox::OF_ROW;
use crate::store::shape::bring_up;
use crate::store::shape::ddl::quoted;
use crate::store::shape::triggers::LARGEST_LOCAL_ID;

/// Brings numbers that leave no room down to the largest that a row has, and gives rows beyond it, written past the
/// triggers, a number of the others'. Names the tables where one has moved.
pub(crate) fn heal(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let tables = too_high(tx)?;
    let mut healed = Vec::new();
    if tables.is_empty() {
        return Ok(healed);
    }
    let mirrors = bring_up::tables_of(tx)?;
    for (table, is_own) in tables {
        let is_mirror = |(_, mirror): (&String, &String)| mirror.eq_ignore_ascii_case(&table);
        let has_moved = match mirrors.iter().find(|entry| is_mirror(*entry)) {
            Some((object, _)) => heal_mirror(tx, object, &table)?,
            None if is_own => set(tx, &table, &largest(&table, "id"))?,
            // What a program put in a mirror's place counts as it likes.
            None => false,
        };
        if has_moved {
            tracing::warn!(
                name = table,
                "numbers of this table left no room for rows after them: they were brought down"
            );
            healed.push(table);
        }
    }
    Ok(healed)
}

/// hubsyncd's tables whose next rows would have no number, or one that few languages can count to, and whether they are its
/// own, not a mirror.
fn too_high(tx: &Transaction<'_>) -> Result<Vec<(String, bool)>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT name, lower(name) NOT IN (SELECT lower(table_name) FROM _sync_objects)
         FROM sqlite_sequence
         WHERE seq >= :largest
           AND (name = 'associations'
                OR name LIKE 'sync\\_%' ESCAPE '\\'
                OR name LIKE '\\_sync\\_%' ESCAPE '\\'
                OR lower(name) IN (SELECT lower(table_name) FROM _sync_objects))",
    )?;
    let names = statement.query_map(named_params! { ":largest": LARGEST_LOCAL_ID }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Tells whether a number has moved.
fn heal_mirror(tx: &Transaction<'_>, object: &str, table: &str) -> Result<bool, StoreError> {
    let used = format!(
        "max(({rows}), {entries}, {history}, {conflicts},
             coalesce((SELECT last_local_id FROM _sync_objects WHERE object = :object AND last_local_id < {LARGEST_LOCAL_ID}), 0))",
        rows = largest(table, "local_id"),
        entries = used_in("sync_outbox"),
        history = used_in("sync_history"),
        conflicts = used_in("sync_conflicts"),
    );
    let name = quoted(table);
    let beyond: Vec<i64> = tx
        .prepare(&format!(
            "SELECT \"local_id\" FROM {name} WHERE \"local_id\" >= {LARGEST_LOCAL_ID} ORDER BY \"local_id\""
        ))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let last: i64 = tx.query_row(
        &format!("SELECT {used}"),
        named_params! { ":object": object },
        |row| row.get(0),
    )?;
    let mut has_moved = false;
    for (next, former) in (last + 1..).zip(&beyond) {
        if next == *former {
            continue;
        }
        has_moved = true;
        tx.execute(
            &format!("UPDATE {name} SET \"local_id\" = :next WHERE \"local_id\" = :former"),
            named_params! { ":next": next, ":former": former },
        )?;
        for known in [
            "sync_outbox",
            "sync_history",
            "sync_conflicts",
            "_sync_sent",
        ] {
            tx.execute(
                &format!("UPDATE {known} SET local_id = :next WHERE object = :object AND local_id = :former"),
                named_params! { ":next": next, ":former": former, ":object": object },
            )?;
        }
    }
    let last = last + beyond.len() as i64;
    // Or the number that was lost would be raised to it again.
    tx.execute(
        "UPDATE _sync_objects SET last_local_id = :last WHERE object = :object AND last_local_id > :last",
        named_params! { ":last": last, ":object": object },
    )?;
    Ok(set(tx, table, &last.to_string())? || has_moved)
}

/// The largest number of a table's rows that leaves room, as SQL.
fn largest(table: &str, column: &str) -> String {
    let (table, column) = (quoted(table), quoted(column));
    format!("SELECT coalesce(max({column}), 0) FROM {table} WHERE {column} < {LARGEST_LOCAL_ID}")
}

/// The largest number of a mirror's row that a table of the bookkeeping remembers: none is used twice.
fn used_in(table: &str) -> String {
    format!(
        "(SELECT coalesce(max(local_id), 0) FROM {table} WHERE object = :object AND local_id < {LARGEST_LOCAL_ID})"
    )
}

/// Sets a table's number; tells whether it was another one.
fn set(tx: &Transaction<'_>, table: &str, number: &str) -> Result<bool, StoreError> {
    let moved = tx.execute(
        &format!(
            "UPDATE sqlite_sequence SET seq = ({number}) WHERE name = :table AND seq <> ({number})"
        ),
        named_params! { ":table": table },
    )?;
    Ok(moved > 0)
}

/// Remembers the largest id of an object's rows, and raises SQLite's own note of it where it was lost. Returns the id. It
/// writes nothing where nothing has changed.
pub(crate) fn keep(tx: &Transaction<'_>, object: &str, table: &str) -> Result<i64, StoreError> {
    let noted = noted(tx, table)?;
    let remembered = tx
        .prepare_cached("SELECT last_local_id FROM _sync_objects WHERE object = :object")?
        .query_row(named_params! { ":object": object }, |row| {
            row.get::<_, i64>(0)
        })
        .optional()?
        .unwrap_or(0);
    let own = noted.filter(|id| *id <= LARGEST_LOCAL_ID).unwrap_or(0);
    // What was given since the last look is in one of these: every new row has an entry first.
    let known = if own < remembered || noted.is_none() {
        remembered.max(own).max(seen(tx, object)?)
    } else {
        own
    };
    if noted.unwrap_or(0) < known {
        raise(tx, table, known)?;
    }
    if remembered < known {
        tx.prepare_cached(
            "UPDATE _sync_objects SET last_local_id = :known WHERE object = :object",
        )?
        .execute(named_params! { ":known": known, ":object": object })?;
    }
    Ok(known)
}

fn noted(connection: &Connection, table: &str) -> Result<Option<i64>, StoreError> {
    let found = connection
        .prepare_cached("SELECT max(seq) FROM sqlite_sequence WHERE lower(name) = lower(:table)")?
        .query_row(named_params! { ":table": table }, |row| row.get(0))?;
    Ok(found)
}

fn seen(connection: &Connection, object: &str) -> Result<i64, StoreError> {
    let found: Option<i64> = connection
        .prepare_cached(&format!(
            "SELECT max(id)
             FROM (SELECT max(local_id) AS id FROM sync_outbox
                   WHERE object = :object AND {OF_ROW}
                   UNION ALL SELECT max(local_id) FROM sync_history WHERE object = :object
                   UNION ALL SELECT max(local_id) FROM sync_conflicts WHERE object = :object)
             WHERE id <= :largest"
        ))?
        .query_row(
            named_params! { ":object": object, ":largest": LARGEST_LOCAL_ID },
            |row| row.get(0),
        )?;
    Ok(found.unwrap_or(0))
}

fn raise(tx: &Transaction<'_>, table: &str, to: i64) -> Result<(), StoreError> {
    let name = named_params! { ":table": table };
    tx.prepare_cached("DELETE FROM sqlite_sequence WHERE lower(name) = lower(:table)")?
        .execute(name)?;
    // Under the name as the schema spells it: SQLite looks for that.
    tx.prepare_cached(
        "INSERT INTO sqlite_sequence (name, seq)
         SELECT name, :to FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(:table)",
    )?
    .execute(named_params! { ":table": table, ":to": to })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::shape::ddl;
    use crate::store::testing::{contacts, daemons_connection, folder, mapping, now, open};
    use crate::store::{Lane, Mode, WriteTx, testing};

    /// What each of three looks healed after `sql`, and the number of contacts then.
    fn healed(sql: &str) -> (Vec<usize>, i64) {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let fill =
            |tx: &WriteTx<'_>| ddl::bring_up(tx, &mapping(vec![contacts()]), now()).map(drop);
        testing::at_once(store.write(Lane::Bulk, fill)).expect("fills");
        store.close();
        let mut connection = daemons_connection(&folder);
        connection.execute_batch(sql).expect(sql);
        let tx = connection.transaction().expect("begins");
        let looks = (0..3).map(|_| {
            let healed = heal(&tx).expect("heals");
            keep(&tx, "contacts", "contacts").expect("keeps");
            healed.len()
        });
        let looks = looks.collect();
        let last = noted(&tx, "contacts").expect("a number").unwrap_or(0);
        (looks, last)
    }

    #[test]
    fn a_number_is_brought_down_once_and_told_of_only_where_it_moved() {
        let insert = "INSERT INTO contacts (local_id) VALUES";
        for (sql, looks, last) in [
            (format!("{insert} (3)"), vec![0, 0, 0], 3),
            (
                format!("{insert} (3); UPDATE sqlite_sequence SET seq = 9223372036854775807 WHERE name = 'contacts'"),
                vec![1, 0, 0],
                3,
            ),
            // The last one that leaves no room, also where it was taken for a row's.
            (
                format!("{insert} (3); UPDATE sqlite_sequence SET seq = {LARGEST_LOCAL_ID} WHERE name = 'contacts';
                         UPDATE _sync_objects SET last_local_id = {LARGEST_LOCAL_ID}"),
                vec![1, 0, 0],
                3,
            ),
            (format!("{insert} (3), ({LARGEST_LOCAL_ID})"), vec![1, 0, 0], 4),
            // There is no room below either: nothing moves, and nothing is said.
            (
                format!("{insert} ({}), ({LARGEST_LOCAL_ID})", LARGEST_LOCAL_ID - 1),
                vec![0, 0, 0],
                LARGEST_LOCAL_ID,
            ),
        ] {
            assert_eq!(healed(&sql), (looks, last), "{sql}");
        }
    }
}
