//! The manual: `docs/TABLES.md` is what the schema says, and what `docs/SQL.md` and `docs/clients.md` show runs as it stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::{Connection, OpenFlags};

use crate::daemon::Site;
use crate::portal::Portal;

const PROPERTIES_OF_DEALS: &str = r#"
[objects.contacts]
[objects.companies]
[objects.deals]
[objects.deals.properties]
dealname = "dealname"
amount = "amount"
pipeline = "pipeline"
dealstage = { column = "dealstage", remote_history = true }
hubspot_owner_id = "hubspot_owner_id"
[associations]
contacts_companies = { from = "contacts", to = "companies" }
"#;

/// What stands before the first table.
const HEAD: &str = "# Tables, views and columns

Made from the schema by a test, with the sentences of `docs/tables.txt`: `HUBSYNC_WRITE_DOCS=1 cargo nextest run --test it manual`
writes it anew. What begins with `_sync_` is hubsyncd's own business and is not here.

All columns that end in `_at`, and `at`, are times as TEXT, `YYYY-MM-DDTHH:MM:SS.mmmZ`, in UTC. `object` is the mapping's name
(`contacts`). Values (`old_value`, `local_value` …) are TEXT in HubSpot's spelling (`true`, `2026-11-24`, ISO milliseconds, the
shortest decimal), NULL when empty. What may be written is said with each table; all others refuse a write with a sentence.
";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(docs(name)).expect(name)
}

/// A database with something of everything.
pub(crate) fn filled() -> Site {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    portal.fill("companies", 5);
    portal.fill("deals", 20);
    let site = Site::with(&portal, "", PROPERTIES_OF_DEALS);
    site.once();
    site
}

/// A table of `docs/tables.txt`.
#[derive(Default)]
struct Told {
    name: String,
    sentence: String,
    /// Name, type and sentence.
    columns: Vec<(String, String, String)>,
}

fn told() -> Vec<Told> {
    let mut told = Vec::new();
    let text = read("tables.txt");
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if let Some(opened) = line.strip_prefix('[') {
            let (name, sentence) = opened.split_once("] ").expect(line);
            told.push(Told {
                name: name.to_owned(),
                sentence: sentence.to_owned(),
                columns: Vec::new(),
            });
            continue;
        }
        let (column, sentence) = line.split_once(": ").expect(line);
        let (name, kind) = column.split_once(' ').expect(line);
        let table = told.last_mut().expect("a column stands below its table");
        table
            .columns
            .push((name.to_owned(), kind.to_owned(), sentence.to_owned()));
    }
    told
}

/// The columns of what people see in the file, with their types as SQLite knows them, by the names of the manual.
fn schema(connection: &Connection) -> BTreeMap<String, Vec<(String, String)>> {
    let mut statement = connection
        .prepare(
            "SELECT s.name, c.name, c.type
             FROM sqlite_schema AS s, pragma_table_xinfo(s.name) AS c
             WHERE s.type IN ('table', 'view') AND s.name NOT LIKE '\\_sync\\_%' ESCAPE '\\' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             ORDER BY s.name, c.cid",
        )
        .expect("the schema");
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("the schema");
    let mut schema: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in rows {
        let (table, column, kind): (String, String, String) = row.expect("a column");
        let own = [
            "local_id",
            "hs_id",
            "hs_created_at",
            "hs_modified_at",
            "hs_archived",
        ];
        let name = match table.as_str() {
            "contacts" if !own.contains(&column.as_str()) => continue,
            "contacts" => "<table>",
            "contacts_labels" => {
                schema.entry("<table>_labels".to_owned()).or_default();
                continue;
            }
            "contacts_companies" => "<pair>",
            "companies" | "deals" | "companies_labels" | "deals_labels" => continue,
            other => other,
        };
        schema
            .entry(name.to_owned())
            .or_default()
            .push((column, kind));
    }
    schema
}

#[test]
fn every_public_table_and_column_stands_in_the_manual_with_its_type() {
    let site = filled();
    let schema = schema(&site.program());
    let told = told();
    let mut page = HEAD.to_owned();
    let mut untold: Vec<String> = schema
        .keys()
        .filter(|name| !told.iter().any(|table| table.name == **name))
        .cloned()
        .collect();
    for table in &told {
        let Some(columns) = schema.get(&table.name) else {
            continue;
        };
        write!(page, "\n## `{}`\n\n{}\n", table.name, table.sentence).expect("text");
        if !columns.is_empty() {
            page.push_str("\n| column | type | meaning |\n|---|---|---|\n");
        }
        for (column, kind) in columns {
            let found = table.columns.iter().find(|(name, ..)| name == column);
            let Some((_, usual, sentence)) = found else {
                untold.push(format!("{}.{column}", table.name));
                continue;
            };
            let kind = if kind.is_empty() { usual } else { kind };
            writeln!(page, "| `{column}` | {kind} | {sentence} |").expect("text");
        }
    }
    assert!(
        untold.is_empty(),
        "docs/tables.txt has no sentence for {untold:?}"
    );
    if std::env::var_os("HUBSYNC_WRITE_DOCS").is_some() {
        fs::write(docs("TABLES.md"), &page).expect("is written");
    }
    assert!(
        read("TABLES.md") == page,
        "docs/TABLES.md is not what the schema says: HUBSYNC_WRITE_DOCS=1 writes it anew"
    );
}

/// The texts of a page's blocks of one language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let parts = page.split(&opening).skip(1);
    parts
        .map(|part| part.split("\n```").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_ready_query_runs_and_each_topic_has_three_to_five() {
    let site = filled();
    let path = site.path("crm.db");
    let program =
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens");
    let page = read("SQL.md");
    let topics = page.split("\n## ").skip(1);
    for topic in topics {
        let queries: Vec<String> = blocks(topic, "sql")
            .iter()
            .flat_map(|block| block.split(";\n").map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let title = topic.lines().next().unwrap_or_default();
        assert!(
            (3..=5).contains(&queries.len()),
            "{title}: {}",
            queries.len()
        );
        for query in queries {
            let mut statement = program
                .prepare(&query)
                .unwrap_or_else(|error| panic!("{query}: {error}"));
            let mut rows = statement.query([]).expect(&query);
            while rows
                .next()
                .unwrap_or_else(|error| panic!("{query}: {error}"))
                .is_some()
            {}
        }
    }
    // Clients as old as the system's.
    let run = Command::new("sqlite3")
        .arg(&path)
        .arg(blocks(&page, "sql").join("\n"))
        .output()
        .expect("sqlite3 runs");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn the_example_for_pythons_own_client_runs() {
    let site = filled();
    let page = read("clients.md");
    let examples = blocks(&page, "python");
    let own = examples
        .iter()
        .find(|text| text.starts_with("# python: sqlite3\n"));
    let run = Command::new("python3")
        .args(["-c", own.expect("there is one")])
        .current_dir(site.path(""))
        .output()
        .expect("python3 runs");
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}{err}");
    assert!(out.contains("('contacts', 1, 0, 0)"), "{out}");
    assert!(out.contains("hs_id is given by HubSpot"), "{out}");
    assert_eq!(
        site.text("SELECT city FROM contacts WHERE email = 'ada@example.com'")
            .as_deref(),
        Some("Paris")
    );
}
