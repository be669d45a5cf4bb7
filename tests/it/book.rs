//! The manual as a book: each page stands in its list, each link leads somewhere, each statement runs, each command is understood, and
//! the first hour goes as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection};

use crate::daemon::Site;
use crate::manual::{blocks, filled};
use crate::portal::Portal;

/// Pages beside the book.
const BESIDE: [&str; 3] = ["../README.md", "../CONTRIBUTING.md", "../SECURITY.md"];

/// Commands that wait for somebody: they are looked at with `--help` behind them.
const WAITING: [&str; 5] = ["run", "once", "demo", "auth login", "changes --follow"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn page(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A page without its blocks.
fn prose(text: &str) -> String {
    let parts = text.split("\n```").enumerate();
    let outside = parts.filter(|(number, _)| number % 2 == 0);
    outside.map(|(_, part)| part).collect()
}

/// Where the links of a text lead.
fn links(text: &str) -> Vec<String> {
    let pieces = text.split("](").skip(1);
    let targets = pieces.filter_map(|piece| piece.split_once(')'));
    targets
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://") && !target.contains(' '))
        .collect()
}

/// The headings of a text as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let letters = line.trim_start_matches('#').trim().to_lowercase();
            let kept = letters
                .chars()
                .filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// The pages in the order of the book.
fn pages() -> Vec<String> {
    let listed = links(&page("SUMMARY.md"));
    assert!(listed.len() > 15, "{listed:?}");
    listed
}

#[test]
fn every_page_stands_in_the_book_and_every_link_leads_somewhere() {
    let sample = "# A `b`, c\n[x](a.md#b)\n```sh\n# no heading\n```\n";
    assert_eq!(anchors(sample), BTreeSet::from(["a-b-c".to_owned()]));
    assert_eq!(links(&prose(sample)), ["a.md#b"]);
    let listed: BTreeSet<String> = pages().into_iter().collect();
    let names = fs::read_dir(docs()).expect("the folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    });
    let there: BTreeSet<String> = names
        .filter(|name| {
            Path::new(name).extension().is_some_and(|kind| kind == "md") && name != "SUMMARY.md"
        })
        .collect();
    assert_eq!(listed, there, "docs/SUMMARY.md lists each page once");
    let mut broken = Vec::new();
    for name in listed.iter().map(String::as_str).chain(BESIDE) {
        let text = page(name);
        let folder = docs().join(name);
        for link in links(&prose(&text)) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => folder.clone(),
                path => folder.parent().expect("a folder").join(path),
            };
            let is_there = match (target.exists(), anchor) {
                (there, "") => there,
                (false, _) => false,
                (true, anchor) => {
                    let text = fs::read_to_string(&target).expect("a page");
                    anchors(&text).contains(anchor)
                }
            };
            if !is_there {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Runs every statement of a text.
fn run_all(connection: &Connection, sql: &str) -> Result<(), String> {
    let mut batch = Batch::new(connection, sql);
    loop {
        let told = |error: rusqlite::Error| format!("{error}");
        let Some(mut statement) = batch.next().map_err(told)? else {
            return Ok(());
        };
        let mut rows = statement.query([]).map_err(told)?;
        while rows.next().map_err(told)?.is_some() {}
    }
}

#[test]
fn every_statement_of_the_book_runs() {
    let site = filled();
    let wrong = run_all(
        &site.program(),
        "SELECT 1; SELECT nothing FROM sync_status;",
    );
    assert!(wrong.is_err());
    let mut failed = Vec::new();
    let mut statements = 0;
    for name in pages() {
        let copy = site.path("of_a_page.db");
        for beside in ["", "-wal", "-shm"] {
            fs::remove_file(site.path(&format!("of_a_page.db{beside}"))).ok();
        }
        fs::copy(site.path("crm.db"), &copy).expect("a copy");
        let program = Connection::open(&copy).expect("opens");
        // What the page about a table in the mirror's place finds.
        program
            .execute_batch("CREATE TABLE contacts_replaced_1 AS SELECT * FROM contacts LIMIT 1")
            .expect("a table of a program's own");
        let backup = site.path(&format!("backup-{name}.db"));
        let backup = format!("'{}'", backup.display());
        for block in blocks(&page(&name), "sql") {
            let block = block.replace("'backup.db'", &backup);
            statements += 1;
            if let Err(error) = run_all(&program, &block) {
                failed.push(format!("{name}: {error}\n{block}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(statements > 40, "{statements}");
}

/// The commands of a page's blocks, without comments.
fn commands(text: &str) -> Vec<String> {
    let shell = blocks(text, "sh");
    let lines = shell.iter().flat_map(|block| block.lines());
    lines
        .filter_map(|line| {
            let line = line.split(" #").next().unwrap_or_default().trim();
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let at = line.find("hubsyncd ")?;
            let before = &line[..at];
            let is_for_a_file = before.starts_with("HUBSYNCD_CONFIG=") && before.ends_with(' ');
            (before.is_empty() || is_for_a_file).then(|| line[at + "hubsyncd ".len()..].to_owned())
        })
        .collect()
}

/// What a command ends with and says, in the site's folder and with its mapping file.
fn said(site: &Site, command: &str) -> (Option<i32>, String) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let words: Vec<&str> = match words.iter().position(|word| *word == "--config") {
        Some(at) => [&words[..at], &words[at + 2..]].concat(),
        None => words,
    };
    let output = Command::new(env!("CARGO_BIN_EXE_hubsyncd"))
        .args(&words)
        .current_dir(site.path(""))
        .env("HUBSYNCD_CONFIG", site.path("config.toml"))
        .env_remove("HUBSPOT_ACCESS_TOKEN")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn every_command_of_the_book_is_understood() {
    let site = filled();
    assert!(said(&site, "plan --nonsense").1.contains("try '--help'"));
    let mut failed = BTreeMap::new();
    let mut tried = 0;
    for name in pages().iter().map(String::as_str).chain(BESIDE) {
        for command in commands(&page(name)) {
            tried += 1;
            let waits = WAITING.iter().any(|waiting| command.starts_with(waiting));
            let help = if waits { " --help" } else { "" };
            let (status, text) = said(&site, &format!("{command}{help}"));
            if status.is_none() || text.contains("try '--help'") {
                failed.insert(format!("{name}: hubsyncd {command}"), text);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(tried > 25, "{tried}");
}

/// The page's steps, each with its blocks in their order.
fn steps(text: &str) -> Vec<Vec<(String, String)>> {
    let steps = text.split("\n## ").skip(1);
    steps
        .map(|step| {
            let pieces = step.split("\n```").skip(1).step_by(2);
            let parted = pieces.filter_map(|piece| piece.split_once('\n'));
            parted
                .map(|(language, block)| (language.to_owned(), block.to_owned()))
                .collect()
        })
        .collect()
}

#[test]
fn the_first_hour_goes_as_it_is_told() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let text = page("first-hour.md");
    let steps = steps(&text);
    assert_eq!(steps.len(), 7);
    let file = steps[1].iter().find(|(language, _)| language == "toml");
    let (_, file) = file.expect("the page's mapping file");
    let (_, objects) = file.split_once("\n[objects").expect("its objects");
    let objects = format!("[objects{objects}\n");
    let mut site = Site::with(&portal, "", &objects);
    for (number, blocks) in steps.iter().enumerate() {
        if number == 4 {
            assert!(objects.contains("direction = \"pull\""), "{objects}");
            let all = objects.replace("direction = \"pull\"", "");
            site.configure(&portal, "", &all);
            site.until_sql("SELECT direction = 'both' FROM sync_status");
        }
        for (language, block) in blocks {
            match language.as_str() {
                "sql" => {
                    let run = run_all(&site.program(), block);
                    assert_eq!(run, Ok(()), "{block}");
                    if number >= 3 {
                        site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
                    }
                }
                "sh" => {
                    for command in commands(&format!("\n```sh\n{block}\n```\n")) {
                        if command == "run" {
                            site.start_and_settle();
                            continue;
                        }
                        let (status, text) = said(&site, &command);
                        assert_eq!(status, Some(0), "{command}: {text}");
                    }
                }
                _ => {}
            }
        }
    }
    site.until_sql("SELECT count(*) = 0 FROM contacts WHERE city = 'Oops'");
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Oops"), 0);
    assert_eq!(portal.count_with("email", "first.hour@example.com"), 0);
    assert!(site.path("all.toml").exists());
    assert_eq!(site.stop(), 0);
}
