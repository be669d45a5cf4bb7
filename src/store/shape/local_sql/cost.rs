//! What a statement costs beside the same one on a table without triggers: in steps of SQLite's machine a row, which are the
//! same on every computer, and in tables that SQLite makes for itself, which cost more than all steps and show in none.

use rusqlite::{Connection, StatementStatus};

use super::scene::{Client, Scene, with_mapping};
use crate::model::mapping::{Direction, Mapping};
use crate::model::value::PropertyType;
use crate::store::testing::{field, mapping, object};

/// The rows of a statement; the cost of a row is the slope between the two.
const FEW: i64 = 40;
const MANY: i64 = 240;

const SETTINGS: &str = "c1 = c1 || 'x', c2 = c2 || 'x', c3 = c3 || 'x', c4 = c4 || 'x', c5 = c5 + 1, c6 = c6 + 1, c7 = 1 - c7,
    c8 = '2026-11-25T03:10:00.000Z', c9 = c9 || 'x', c10 = c10 || 'x', c11 = c11 || 'x', c12 = c12 || 'x', c13 = c13 || 'x',
    c14 = c14 || 'x', c15 = c15 || 'x'";
const COLUMNS: &str = "c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15";
const VALUES: &str = "'1 of ' || i, '2 of ' || i, '3 of ' || i, '4 of ' || i, i + 0.5, i, i % 2, '2026-11-24T03:10:00.000Z', '9 of ' || i,
    '10 of ' || i, '11 of ' || i, '12 of ' || i, '13 of ' || i, '14 of ' || i, '15 of ' || i";
const COUNT: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";

/// What programs write, with the number of rows as `?1`.
fn statements() -> [(&'static str, String); 8] {
    let one = "UPDATE contacts SET c1 = c1 || 'y' WHERE local_id <= ?1".to_owned();
    [
        (
            "INSERT",
            format!("{COUNT} INSERT INTO contacts ({COLUMNS}) SELECT {VALUES} FROM n"),
        ),
        ("UPDATE of one column", one.clone()),
        ("a second UPDATE of it", one),
        (
            "UPDATE of all columns",
            format!("UPDATE contacts SET {SETTINGS} WHERE local_id <= ?1"),
        ),
        (
            "UPDATE that changes nothing",
            "UPDATE contacts SET c1 = c1 WHERE local_id <= ?1".to_owned(),
        ),
        (
            "UPSERT",
            format!(
                "{COUNT} INSERT INTO contacts (local_id, c1) SELECT i, 'x' FROM n WHERE 1
                 ON CONFLICT (local_id) DO UPDATE SET c1 = excluded.c1"
            ),
        ),
        (
            "REPLACE",
            format!(
                "{COUNT} REPLACE INTO contacts (local_id, {COLUMNS}) SELECT i, {VALUES} FROM n"
            ),
        ),
        (
            "DELETE",
            "DELETE FROM contacts WHERE local_id <= ?1".to_owned(),
        ),
    ]
}

/// Contacts of 21 columns, as many as people map.
fn of_21_columns() -> Mapping {
    let fields = (1..=16).map(|number| {
        let name = format!("c{number}");
        let kind = match number {
            5 => PropertyType::Number,
            6 => PropertyType::Integer,
            7 => PropertyType::Bool,
            8 => PropertyType::Datetime,
            _ => PropertyType::String,
        };
        let direction = if number == 16 {
            Direction::Pull
        } else {
            Direction::Both
        };
        field(&name, &name, kind, direction)
    });
    mapping(vec![object("contacts", Direction::Both, fields.collect())])
}

/// A thousand of them that HubSpot knows.
fn records() -> String {
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO contacts (local_id, hs_id, {COLUMNS}) SELECT i, 1000000 + i, {VALUES} FROM n;
         UPDATE _sync_cursors SET backfill = 'done', polled_to = '2026-11-24T00:00:00.000Z'"
    )
}

/// Steps of a statement in a transaction that is rolled back.
fn steps(connection: &Connection, before: &str, sql: &str, rows: i64) -> i64 {
    connection.execute_batch("BEGIN").expect("begins");
    connection.execute_batch(before).expect(before);
    let mut statement = connection.prepare(sql).expect(sql);
    statement.execute([rows]).expect(sql);
    let steps = i64::from(statement.get_status(StatementStatus::VmStep));
    drop(statement);
    connection.execute_batch("ROLLBACK").expect("rolls back");
    steps
}

fn steps_a_row(connection: &Connection, name: &str, sql: &str) -> i64 {
    let before = match name {
        "a second UPDATE of it" => "UPDATE contacts SET c1 = c1 || 'x'",
        _ => "",
    };
    let [few, many] = [FEW, MANY].map(|rows| steps(connection, before, sql, rows));
    (many - few) / (MANY - FEW)
}

/// A change that makes a local write dearer shows here: it needs a reason, and `docs/figures.md` the new figures.
#[test]
fn a_local_write_costs_no_more_steps_than_these() {
    with_mapping(of_21_columns(), &records(), |scene| {
        if scene.client() != Client::Own || scene.has_recursive_triggers() {
            return;
        }
        let connection = Connection::open(scene.path()).expect("opens");
        let cost = |connection: &Connection| {
            statements().map(|(name, sql)| (name, steps_a_row(connection, name, &sql)))
        };
        let with = cost(&connection);
        for trigger in scene.rows("SELECT name FROM sqlite_schema WHERE type = 'trigger'") {
            scene.as_daemon(&format!("DROP TRIGGER {trigger}"));
        }
        let without = cost(&connection);
        let lines: Vec<String> = with
            .iter()
            .zip(without)
            .map(|((name, with), (_, without))| {
                format!("{name}: {with} steps a row, {without} without triggers")
            })
            .collect();
        insta::assert_snapshot!("steps_a_row", lines.join("\n"));
    });
}

/// The program that SQLite makes of a statement and its triggers, a line an instruction.
fn program_of(scene: &Scene, sql: &str) -> Vec<String> {
    let explain = format!("EXPLAIN {}", sql.replace("?1", "1"));
    if scene.client() == Client::System {
        return scene.reads(&explain);
    }
    let connection = Connection::open(scene.path()).expect("opens");
    let mut statement = connection.prepare(&explain).expect("explains");
    let lines = statement.query_map([], |row| {
        let (address, instruction): (i64, String) = (row.get(0)?, row.get(1)?);
        let text: Option<String> = row.get(5)?;
        Ok(format!(
            "{address} {instruction} {}",
            text.unwrap_or_default()
        ))
    });
    lines
        .expect("asks")
        .collect::<Result<_, _>>()
        .expect("reads")
}

/// The triggers of a statement whose programs open tables of SQLite's own, and the statement itself, where it does.
fn makers_of_tables(scene: &Scene, sql: &str) -> Vec<String> {
    let mut makers = Vec::new();
    let mut program = "the statement".to_owned();
    for line in program_of(scene, sql) {
        if let Some((_, name)) = line.split_once("-- TRIGGER ") {
            program = name
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
        }
        if line.split_whitespace().nth(1) == Some("OpenEphemeral") {
            makers.push(program.clone());
        }
    }
    makers.sort_unstable();
    makers.dedup();
    makers
}

#[test]
fn a_plain_local_write_makes_sqlite_open_no_table_of_its_own_for_each_row() {
    // What runs where a row stands for another one, a field is in dispute, or a trigger of the user's wrote too.
    let seldom = [
        "sync_mirror_contacts_before_insert",
        "sync_mirror_contacts_insert_again",
        "sync_entry_note",
        "sync_entry_former",
        "sync_entry_found",
        "sync_entry_freed",
        "sync_entry_again",
        "sync_entry_rewritten",
        "sync_link_back",
        "sync_link_made",
        "sync_link_lost",
        "sync_entry_unusual",
        "sync_entry_written",
        "sync_entry_late",
        // A row that has an entry is deleted.
        "sync_entry_taken_away",
        // A person's word on an entry: the gate keeps it from what triggers delete.
        "sync_guard_sync_outbox_delete",
        "the statement",
    ];
    with_mapping(of_21_columns(), &records(), |scene| {
        // Under REPLACE each UPDATE of a trigger is an UPDATE OR REPLACE, which may meet other rows.
        let plain = statements()
            .into_iter()
            .filter(|(name, _)| *name != "REPLACE");
        for (name, sql) in plain {
            let makers = makers_of_tables(scene, &sql);
            let often: Vec<&String> = makers
                .iter()
                .filter(|maker| !seldom.contains(&maker.as_str()))
                .collect();
            assert_eq!(often, Vec::<&String>::new(), "{name}");
        }
        // It sees them where they are.
        let makers = makers_of_tables(scene, &statements()[6].1);
        assert!(
            makers.iter().any(|maker| maker == "sync_entry_again"),
            "{makers:?}"
        );
    });
}
