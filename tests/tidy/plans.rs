//! No statement of the store looks through a table that grows with the portal: SQLite's own plan of each one that stands in the
//! source whole is asked for. (Those that are put together of parts are not seen here; `docs/figures.md` has the curve.)

use rusqlite::Connection;

use super::{code, files};

/// Tables with a row for each record, change, association or request.
const GROWING: [&str; 12] = [
    "_sync_gaps",
    "_sync_links_due",
    "_sync_links_missed",
    "_sync_links_waiting",
    "_sync_pushes",
    "_sync_sent",
    "associations",
    "property_history",
    "sync_calls",
    "sync_conflicts",
    "sync_history",
    "sync_outbox",
];

/// Columns that have a handful of values: looking by them alone is looking through.
const COARSE: [&str; 4] = ["from_object", "object", "pair", "to_object"];

/// Indexes of what waits and is soon gone.
const SMALL: [&str; 3] = [
    "sync_calls_unsigned",
    "sync_conflicts_waiting",
    "sync_outbox_discarded",
];

/// Where a statement may look through a table, and why.
const MAY: [(&str, &str); 12] = [
    ("src/store/commands", "a person asks, once"),
    ("src/store/undo.rs", "a person asks, once"),
    (
        "src/store/erase.rs",
        "a person is erased everywhere, and that is rare",
    ),
    ("src/store/retention.rs", "counts, each hour"),
    (
        "src/store/calls/ring.rs",
        "the oldest, by the index of their times",
    ),
    ("src/store/shape", "a mapping was changed"),
    ("src/store/links/pairs.rs", "a mapping was changed"),
    ("src/store/links/types.rs", "a label was renamed in HubSpot"),
    ("src/store/counts.rs", "a watcher of counts, seldom"),
    (
        "src/store/property_history.rs",
        "a property's history is wanted no more",
    ),
    ("src/store/orders.rs", "a command by SQL has ended"),
    ("src/store/metrics.rs", "somebody asks for /metrics"),
];

/// Statements that may, by their beginnings, and why.
const MAY_TOO: [(&str, &str); 8] = [
    (
        "UPDATE sync_conflicts SET reason = :waits WHERE object = :name",
        "an object or a pair came back into the mapping",
    ),
    ("SELECT DISTINCT object FROM sync_outbox", "a start"),
    (
        "SELECT k.object, k.forbidden_code FROM _sync_cursors AS k WHERE",
        "the first entry that waits ends it, of an object that HubSpot forbids",
    ),
    (
        "SELECT id, old_value, new_value FROM sync_history WHERE object = :object AND property = :whole",
        "a column was renamed",
    ),
    (
        "SELECT id, base_value, local_value, remote_value FROM sync_conflicts WHERE object = :object AND property = :whole",
        "a column was renamed",
    ),
    (
        "UPDATE sync_conflicts SET reason = :waits WHERE object = :object",
        "a property is well again: the open ones of its object",
    ),
    (
        "SELECT count(*) FROM (SELECT 1 FROM associations",
        "the guard's share of a pair, where something is to be taken away",
    ),
    (
        "UPDATE sync_outbox AS e SET state = 'pending', attempts = 0, next_attempt_at = :now, last_error = NULL, code = NULL \
         WHERE (operation = 'associate'",
        "a mapping was changed",
    ),
];

/// The SQL in a source file that is whole: text between quotes that begins with a statement's word and has no place for parts.
fn statements(text: &str) -> Vec<String> {
    let text = code(text);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(begin) = rest.find('"') {
        let mut literal = String::new();
        let mut letters = rest[begin + 1..].char_indices();
        let mut end = rest.len() - begin - 1;
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = at;
                    break;
                }
                '\\' => match letters.next() {
                    Some((_, '\n')) | None => literal.push(' '),
                    Some((_, 'n')) => literal.push('\n'),
                    Some((_, other)) => literal.push(other),
                },
                _ => literal.push(letter),
            }
        }
        rest = &rest[(begin + end + 2).min(rest.len())..];
        let word = literal.split_whitespace().next().unwrap_or_default();
        if ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&word)
            && !literal.contains('{')
        {
            found.push(literal);
        }
    }
    found
}

/// The lines of a statement's plan that look through a growing table.
fn looks_through(connection: &Connection, sql: &str) -> Vec<String> {
    let Ok(mut statement) = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")) else {
        // It names a table of the mapping, a part of another statement, or a function of the daemon's.
        return Vec::new();
    };
    let plan = statement
        .raw_query()
        .mapped(|row| row.get::<_, String>("detail"));
    let plan: Vec<String> = plan.map(|line| line.expect("a line")).collect();
    plan.into_iter()
        .filter(|line| {
            let mut words = line.split_whitespace();
            let (verb, name) = (
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
            );
            let grows = GROWING.iter().any(|table| {
                *table == name
                    || sql.contains(&format!("{table} AS {name} "))
                    || sql.contains(&format!("{table} AS {name}\n"))
            });
            let is_coarse = COARSE
                .iter()
                .any(|column| line.ends_with(&format!("({column}=?)")));
            grows
                && (verb == "SCAN" || (verb == "SEARCH" && is_coarse))
                && !SMALL.iter().any(|index| line.contains(index))
        })
        .collect()
}

#[test]
fn no_statement_looks_through_a_table_that_grows() {
    let connection = Connection::open_in_memory().expect("a database");
    for (_, migration) in files("migrations", "sql") {
        connection.execute_batch(&migration).expect("the schema");
    }
    let listed = "SELECT a.id FROM json_each(?1) AS j JOIN associations AS a ON a.from_object = 'x' AND a.from_local_id = j.value ->> 'x'";
    assert!(looks_through(&connection, "SELECT 1 FROM sync_outbox WHERE attempts = 1").len() == 1);
    assert!(looks_through(&connection, "SELECT 1 FROM sync_outbox WHERE id = 1").is_empty());
    assert_eq!(statements(&format!("f(\"{listed}\")")), [listed]);
    let (mut looked_at, mut found) = (0, Vec::new());
    for (name, text) in files("src/store", "rs") {
        if name.contains("/local_sql")
            || name.ends_with("/tests.rs")
            || name.ends_with("testing.rs")
        {
            continue;
        }
        for sql in statements(&text) {
            looked_at += 1;
            let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_asked_for_one =
                words.starts_with("SELECT 1 FROM ") && words.ends_with(" LIMIT 1");
            if is_asked_for_one
                || MAY.iter().any(|(place, _)| name.starts_with(place))
                || MAY_TOO.iter().any(|(begin, _)| words.starts_with(begin))
            {
                continue;
            }
            found.extend(
                looks_through(&connection, &sql)
                    .iter()
                    .map(|line| format!("{name}: {line}\n{sql}")),
            );
        }
    }
    assert!(looked_at > 300, "{looked_at} statements");
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}
