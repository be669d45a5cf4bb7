//! `sqlite_sequence`: the last numbers of the tables whose rows are never numbered twice.
//!
//! Any program can write there, and SQLite says "database or disk is full" to every INSERT once a number is the largest that
//! there is. No trigger can stand on that table, so numbers that leave no room are brought down every minute. SQLite forgets a
//! number with a dropped table, and programs reset theirs (a flushed test database, a "truncate"): the largest `local_id` that
//! any row had is therefore kept where no program's statement takes it away, and a number that was lost is raised to it.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::store::StoreError;
use crate::store::outbox::OF_ROW;
use crate::store::shape::ddl::quoted;
use crate::store::shape::fit;
use crate::store::shape::triggers::LARGEST_LOCAL_ID;

/// Brings numbers that leave no room down to the largest that a row has, and gives rows beyond it, written past the
/// triggers, a number of the others'. Names the tables where one has moved.
pub(crate) fn heal(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let mut healed = heal_own(tx)?;
    let mirrors = fit::tables_of(tx)?;
    for (table, is_own) in too_high(tx)? {
        let is_mirror = |(_, mirror): (&String, &String)| mirror.eq_ignore_ascii_case(&table);
        // What a program put in a mirror's place counts as it likes.
        if !is_own
            && let Some((object, _)) = mirrors.iter().find(|entry| is_mirror(*entry))
            && heal_mirror(tx, object, &table)?
        {
            tell(&table);
            healed.push(table);
        }
    }
    Ok(healed)
}

/// The same of hubsyncd's own tables alone, before the first of them is written to: what stands in a mirror's place is
/// looked at when the portal's schema is known.
pub(crate) fn heal_own(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let mut healed = Vec::new();
    for (table, is_own) in too_high(tx)? {
        if is_own && renumber(tx, &table)? {
            tell(&table);
            healed.push(table);
        }
    }
    Ok(healed)
}

fn tell(table: &str) {
    tracing::warn!(
        name = table,
        "numbers of this table left no room for rows after them: they were brought down"
    );
}

/// Where the numbers of hubsyncd's own tables are named in others.
const NAMED_IN: [(&str, &str, &str); 3] = [
    ("sync_outbox", "sync_outbox_fields", "outbox_id"),
    ("sync_holds", "sync_outbox", "approved_hold"),
    ("sync_holds", "_sync_removals", "hold_id"),
];

/// Tells whether a number of an own table has moved.
fn renumber(tx: &Transaction<'_>, table: &str) -> Result<bool, StoreError> {
    let last: i64 = tx.query_row(&largest(table, "id"), [], |row| row.get(0))?;
    let moves = moves(tx, table, "id", last)?;
    // A field of an entry is the entry's again when both have moved.
    tx.pragma_update(None, "defer_foreign_keys", true)?;
    for (former, next) in &moves {
        let named = NAMED_IN.iter().filter(|(own, _, _)| *own == table);
        let named = named.map(|(_, other, column)| (*other, *column));
        for (table, column) in named.chain([(table, "id")]) {
            move_number(tx, table, column, (*former, *next))?;
        }
    }
    let last = last + moves.len() as i64;
    Ok(set(tx, table, &last.to_string())? || have_moved(&moves))
}

/// The rows beyond the last number that leaves room, and the numbers after `last` that they are to have; the same number
/// where there is no room below either.
fn moves(
    tx: &Transaction<'_>,
    table: &str,
    column: &str,
    last: i64,
) -> Result<Vec<(i64, i64)>, StoreError> {
    let (table, column) = (quoted(table), quoted(column));
    let beyond: Vec<i64> = tx
        .prepare(&format!(
            "SELECT {column} FROM {table} WHERE {column} >= {LARGEST_LOCAL_ID} ORDER BY {column}"
        ))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(beyond.into_iter().zip(last + 1..).collect())
}

fn have_moved(moves: &[(i64, i64)]) -> bool {
    moves.iter().any(|(former, next)| former != next)
}

fn move_number(
    tx: &Transaction<'_>,
    table: &str,
    column: &str,
    (former, next): (i64, i64),
) -> Result<(), StoreError> {
    let (table, column) = (quoted(table), quoted(column));
    tx.execute(
        &format!("UPDATE {table} SET {column} = :next WHERE {column} = :former"),
        named_params! { ":next": next, ":former": former },
    )?;
    Ok(())
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
    let last: i64 = tx.query_row(
        &format!("SELECT {used}"),
        named_params! { ":object": object },
        |row| row.get(0),
    )?;
    let moves = moves(tx, table, "local_id", last)?;
    for (former, next) in &moves {
        move_number(tx, table, "local_id", (*former, *next))?;
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
    let last = last + moves.len() as i64;
    // Or the number that was lost would be raised to it again.
    tx.execute(
        "UPDATE _sync_objects SET last_local_id = :last WHERE object = :object AND last_local_id > :last",
        named_params! { ":last": last, ":object": object },
    )?;
    Ok(set(tx, table, &last.to_string())? || have_moved(&moves))
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
    use crate::store::testing::{contacts, daemons_connection, folder, mapping, now, open, texts};
    use crate::store::{Lane, Mode, WriteTx, quota, testing};

    #[test]
    fn the_next_open_brings_numbers_down_before_anything_is_written() {
        let folder = folder();
        open(&folder, Mode::Inline).expect("opens").close();
        let lease = |tx: &WriteTx<'_>| quota::lease(tx, 20, "2026-11-24", now());
        let tables = texts(
            &folder,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%' ORDER BY name",
        );
        assert!(
            tables.contains(&"_sync_quota_leases".to_owned()),
            "{tables:?}"
        );
        let program = daemons_connection(&folder);
        for table in &tables {
            let high = format!(
                "DELETE FROM sqlite_sequence WHERE name = '{table}';
                 INSERT INTO sqlite_sequence VALUES ('{table}', 9223372036854775807)"
            );
            program.execute_batch(&high).expect(table);
        }
        let store = open(&folder, Mode::Inline).expect("opens");
        testing::at_once(store.write(Lane::Bulk, lease)).expect("leases");
        let high = "SELECT name FROM sqlite_sequence WHERE seq > 100";
        assert_eq!(texts(&folder, high), Vec::<String>::new());
        store.close();
        // A row that was written past the triggers takes the last number as well.
        program
            .execute_batch(
                "INSERT INTO _sync_quota_leases (id, granted_at, requests) VALUES (9223372036854775807, '2026-11-24T03:09:00.000Z', 1);
                 INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at)
                 VALUES (9223372036854775807, 'contacts', 1, 101, 'update', '2026-11-24T03:09:00.000Z');
                 INSERT INTO sync_outbox_fields (outbox_id, property, changed_at)
                 VALUES (9223372036854775807, 'city', '2026-11-24T03:09:00.000Z')",
            )
            .expect("is written");
        let store = open(&folder, Mode::Inline).expect("opens");
        testing::at_once(store.write(Lane::Bulk, lease)).expect("leases");
        let entries =
            "SELECT e.id || ' ' || f.outbox_id FROM sync_outbox AS e JOIN sync_outbox_fields AS f";
        assert_eq!(texts(&folder, entries), ["1 1"]);
    }

    /// What each of three looks healed after `sql`, and the number of contacts then.
    fn healed(sql: &str) -> (Vec<usize>, i64) {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let fill =
            |tx: &WriteTx<'_>| ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now()).map(drop);
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
