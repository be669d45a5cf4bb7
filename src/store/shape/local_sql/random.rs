//! Any statements beside any triggers of the user's: a mirror holds what a table of the user's own would hold, and the outbox says
//! how it differs from what HubSpot knows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rusqlite::Connection;

use super::scene::{Client, everywhere};
use crate::store::testing::shown;

/// The user's triggers, on the table `{t}`.
const TRIGGERS: [&str; 11] = [
    "AFTER UPDATE OF first_name ON {t} WHEN new.first_name <> upper(new.first_name)
     BEGIN UPDATE {t} SET first_name = upper(first_name) WHERE local_id = new.local_id; END",
    "AFTER UPDATE OF email ON {t} WHEN new.email <> lower(new.email)
     BEGIN UPDATE {t} SET email = lower(email) WHERE local_id = new.local_id; END",
    "AFTER UPDATE OF first_name ON {t} WHEN new.first_name IS NOT old.first_name
     BEGIN UPDATE {t} SET stage = 'seen' WHERE local_id = new.local_id; END",
    "AFTER UPDATE OF email ON {t} WHEN new.email = 'back' AND old.email <> 'back'
     BEGIN UPDATE {t} SET email = old.email WHERE local_id = new.local_id; END",
    "AFTER UPDATE OF email ON {t} WHEN new.hs_id = 101
     BEGIN UPDATE {t} SET stage = new.email WHERE hs_id = 102; END",
    "AFTER UPDATE OF first_name ON {t} WHEN new.first_name = 'TWO'
     BEGIN
         UPDATE {t} SET first_name = 'x' WHERE local_id = new.local_id;
         UPDATE {t} SET first_name = 'Ada' WHERE local_id = new.local_id;
     END",
    "AFTER UPDATE OF interests ON {t} WHEN length(new.interests) < 4
     BEGIN UPDATE {t} SET interests = new.interests || 'x' WHERE local_id = new.local_id; END",
    "BEFORE UPDATE OF first_name ON {t}
     BEGIN UPDATE {t} SET stage = 'before' WHERE local_id = new.local_id; END",
    "AFTER INSERT ON {t} WHEN new.first_name <> upper(new.first_name)
     BEGIN UPDATE {t} SET first_name = upper(first_name) WHERE hs_id = new.hs_id; END",
    "AFTER INSERT ON {t} WHEN new.email <> 'extra' BEGIN INSERT INTO {t} (email) VALUES ('extra'); END",
    "AFTER DELETE ON {t} BEGIN UPDATE {t} SET stage = 'heir' WHERE hs_id = 102; END",
];

/// A program's statements: `{h}` is a record, `{e}` and `{v}` are values.
const STATEMENTS: [&str; 11] = [
    "UPDATE {t} SET first_name = '{v}' WHERE hs_id = {h}",
    "UPDATE {t} SET email = '{e}', stage = '{v}' WHERE hs_id = {h}",
    "UPDATE {t} SET interests = '{e}', first_name = '{v}' WHERE hs_id = {h}",
    "UPDATE {t} SET first_name = '{v}'",
    "UPDATE OR REPLACE {t} SET email = '{e}'",
    "INSERT INTO {t} (email, first_name) VALUES ('{e}', '{v}'), ('{v}', '{e}')",
    "REPLACE INTO {t} (local_id, hs_id, email, first_name, stage) SELECT local_id, hs_id, '{e}', '{v}', stage FROM {t} WHERE hs_id = {h}",
    "REPLACE INTO {t} (hs_id, email, first_name) SELECT hs_id, '{e}', first_name FROM {t} WHERE hs_id > {h}",
    "INSERT INTO {t} (local_id, email) SELECT local_id, '{e}' FROM {t} WHERE hs_id = {h} ON CONFLICT DO UPDATE SET first_name = '{v}'",
    "INSERT OR IGNORE INTO {t} (local_id, email) SELECT local_id, '{e}' FROM {t} WHERE hs_id = {h}",
    "DELETE FROM {t} WHERE hs_id = {h} OR email = '{v}'",
];

const RECORDS: [&str; 2] = ["101", "102"];
const EMAILS: [&str; 5] = [
    "ada@example.com",
    "ADA@example.com",
    "back",
    "new",
    "bob@example.com",
];
const NAMES: [&str; 6] = ["Ada", "ada", "Bob", "bob", "TWO", "extra"];

const COLUMNS: &str = "email, first_name, stage, interests";
const PROPERTIES: [&str; 4] = ["email", "firstname", "stage", "interests"];

#[derive(Debug, Clone)]
struct Case {
    triggers: Vec<&'static str>,
    is_first: bool,
    statements: Vec<String>,
}

fn cases() -> impl Strategy<Value = Case> {
    let statement = (
        prop::sample::select(STATEMENTS.to_vec()),
        prop::sample::select(RECORDS.to_vec()),
        prop::sample::select(EMAILS.to_vec()),
        prop::sample::select(NAMES.to_vec()),
    );
    let statement = statement.prop_map(|(sql, record, email, name)| {
        sql.replace("{h}", record)
            .replace("{e}", email)
            .replace("{v}", name)
    });
    let triggers = subsequence(TRIGGERS.to_vec(), 0..=3);
    (
        triggers,
        any::<bool>(),
        prop::collection::vec(statement, 1..6),
    )
        .prop_map(|(triggers, is_first, statements)| Case {
            triggers,
            is_first,
            statements,
        })
}

fn rows(connection: &Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = connection.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns)
            .map(|index| row.get_ref(index).map(shown))
            .collect()
    });
    rows.expect(sql).collect::<Result<_, _>>().expect(sql)
}

/// What is to be sent: by record or number, each changed property with the value that HubSpot knows.
type Changes = BTreeMap<String, Vec<String>>;

fn expected(connection: &Connection, known: &[Vec<String>]) -> Changes {
    let held = rows(
        connection,
        &format!("SELECT hs_id, {COLUMNS} FROM contacts WHERE hs_id > 0"),
    );
    let mut changes = Changes::new();
    for record in known {
        let Some(row) = held.iter().find(|row| row[0] == record[0]) else {
            changes.insert(format!("archive {}", record[0]), Vec::new());
            continue;
        };
        let columns = PROPERTIES.iter().zip(&record[1..]).zip(&row[1..]);
        let fields: Vec<String> = columns
            .filter(|((_, base), held)| base != held)
            .map(|((property, base), _)| format!("{property} was {base}"))
            .collect();
        if !fields.is_empty() {
            changes.insert(format!("update {}", record[0]), fields);
        }
    }
    for row in rows(
        connection,
        "SELECT local_id FROM contacts WHERE hs_id IS NULL",
    ) {
        changes.insert(format!("create {}", row[0]), Vec::new());
    }
    changes
}

fn queued(connection: &Connection) -> Changes {
    let entries = rows(
        connection,
        "SELECT id, operation, coalesce(hs_id, local_id) FROM sync_outbox",
    );
    let fields_of = |entry: &Vec<String>| {
        if entry[1] != "update" {
            return Vec::new();
        }
        let fields = rows(
            connection,
            &format!(
                "SELECT property, base_value FROM sync_outbox_fields WHERE outbox_id = {} AND property IN ('email', 'firstname', 'stage', 'interests')
                 ORDER BY CASE property WHEN 'email' THEN 1 WHEN 'firstname' THEN 2 WHEN 'stage' THEN 3 ELSE 4 END",
                entry[0]
            ),
        );
        fields
            .iter()
            .map(|field| format!("{} was {}", field[0], field[1]))
            .collect()
    };
    entries
        .iter()
        .map(|entry| (format!("{} {}", entry[1], entry[2]), fields_of(entry)))
        .collect()
}

fn check(connection: &Connection, case: &Case) -> Result<(), TestCaseError> {
    connection.execute_batch("BEGIN").expect("begins");
    for table in ["contacts", "beside"] {
        for (number, trigger) in case.triggers.iter().enumerate() {
            let sql = format!("CREATE TRIGGER mine_{table}_{number} {trigger}");
            connection
                .execute_batch(&sql.replace("{t}", table))
                .expect("a trigger");
        }
    }
    if !case.is_first {
        turn_ours_round(connection);
    }
    let known = rows(
        connection,
        &format!("SELECT hs_id, {COLUMNS} FROM contacts ORDER BY hs_id"),
    );
    let mut is_replaced_by_record = false;
    for statement in &case.statements {
        connection
            .execute_batch(&statement.replace("{t}", "contacts"))
            .expect(statement);
        connection
            .execute_batch(&statement.replace("{t}", "beside"))
            .expect(statement);
        // Such a row has a number of its own beside a mirror.
        is_replaced_by_record |= statement.starts_with("REPLACE INTO {t} (hs_id");
        let held = |table| {
            let order = "ORDER BY 1, 2, 3, 4, 5";
            rows(
                connection,
                &format!("SELECT hs_id, {COLUMNS} FROM {table} {order}"),
            )
        };
        if !is_replaced_by_record {
            prop_assert_eq!(held("contacts"), held("beside"), "{}", statement);
        }
        prop_assert_eq!(
            queued(connection),
            expected(connection, &known),
            "{}",
            statement
        );
        prop_assert_eq!(rows(connection, "SELECT open FROM _sync_gate"), [["0"]]);
        prop_assert_eq!(
            rows(connection, "SELECT property FROM _sync_changed").len(),
            0
        );
        prop_assert_eq!(rows(connection, "SELECT * FROM _sync_bypassed").len(), 0);
    }
    Ok(())
}

/// Makes ours anew: SQLite fires the newest first.
fn turn_ours_round(connection: &Connection) {
    let ours = rows(
        connection,
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'sync_mirror_contacts_%' ORDER BY rowid DESC",
    );
    for trigger in ours {
        let drop = format!("DROP TRIGGER {}; {}", trigger[0], trigger[1]);
        connection.execute_batch(&drop).expect("is made anew");
    }
}

#[test]
fn whatever_triggers_write_the_outbox_says_how_the_mirror_differs_from_what_hubspot_knows() {
    everywhere(|scene| {
        if scene.client() == Client::System {
            return;
        }
        scene.as_daemon(
            "CREATE TABLE beside (local_id INTEGER PRIMARY KEY AUTOINCREMENT, hs_id INTEGER UNIQUE, email TEXT, first_name TEXT, stage TEXT,
                                  interests TEXT);
             INSERT INTO beside SELECT local_id, hs_id, email, first_name, stage, interests FROM contacts",
        );
        let connection = Connection::open(scene.path()).expect("opens");
        connection
            .pragma_update(None, "recursive_triggers", scene.has_recursive_triggers())
            .expect("sets");
        let asked = std::env::var("HUBSYNC_SQL_CASES").ok();
        let more: Option<u32> = asked.and_then(|text| text.parse().ok());
        let config = Config {
            cases: more.unwrap_or(150),
            failure_persistence: None,
            ..Config::default()
        };
        // The short form is the same each time; whoever asks for more draws anew.
        let mut runner = match more {
            Some(_) => TestRunner::new(config),
            None => {
                TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
            }
        };
        let done = runner.run(&cases(), |case| {
            let checked = check(&connection, &case);
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK").expect("rolls back");
            }
            checked
        });
        if let Err(error) = done {
            panic!("{error}");
        }
    });
}
