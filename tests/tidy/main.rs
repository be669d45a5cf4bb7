//! Keeps the layers apart and the tree clean: what `docs/ARCHITECTURE.md` says about who may know whom is tested here.
//! Each rule is a function from a file's text to what it finds, and is shown a bad sample first.

mod circles;
mod codes;
mod disturbances;
mod errors;
mod plans;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which top-level modules each may name. `store` and `hubspot` don't know each other.
const LAYERS: [(&str, &[&str]); 12] = [
    ("model", &["model"]),
    ("decide", &["decide", "model"]),
    ("clock", &["clock", "model"]),
    // The centre's word on what a mapping needs; see `config/check/auth`.
    ("config", &["config", "decide", "model"]),
    ("hubspot", &["hubspot", "clock", "decide", "model"]),
    ("store", &["store", "clock", "decide", "model"]),
    (
        "engine",
        &["engine", "clock", "decide", "hubspot", "model", "store"],
    ),
    ("http", &["http"]),
    (
        "app",
        &[
            "app", "clock", "config", "decide", "engine", "hubspot", "http", "model", "store",
        ],
    ),
    (
        "daemon",
        &[
            "daemon", "app", "clock", "config", "decide", "engine", "hubspot", "http", "model",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "cli",
            "app",
            "clock",
            "config",
            "daemon",
            "engine",
            "model",
            "simulator",
            "store",
            "telemetry",
        ],
    ),
    ("telemetry", &["telemetry", "config"]),
];

/// Libraries that only these files or folders may name.
const DOORS: [(&str, &[&str]); 10] = [
    ("backoff::", &["crates/hubsyncd-core/src/decide/retry.rs"]),
    ("reqwest", &["src/hubspot/call/transport.rs"]),
    ("Instant::now", &["src/clock.rs"]),
    ("SystemTime::now", &["src/clock.rs"]),
    (
        "Utc::now",
        &["src/clock.rs", "crates/hubspot-simulator/src/clock.rs"],
    ),
    // Waits in code that runs in a task go through the clock; what serves sockets goes by real time.
    (
        "tokio::time::sleep",
        &[
            "src/clock.rs",
            "src/http/listener.rs",
            "crates/hubspot-simulator/src/clock.rs",
        ],
    ),
    ("Connection::open", &["src/store", "tests/"]),
    ("governor::", &["src/hubspot/call/limiter"]),
    ("prometheus_client::", &["src/http/metrics.rs"]),
    (
        "notify::",
        &[
            "src/store/database/watch.rs",
            "src/daemon/reload/watched.rs",
            "src/daemon/systemd.rs",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), extension, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root())
                .expect("inside the tree")
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(path).expect("text"))
        })
        .collect()
}

/// All Rust of the product: the daemon's, and that of the crates below it.
const SOURCES: [&str; 3] = [
    "src",
    "crates/hubsyncd-core/src",
    "crates/hubspot-simulator/src",
];

/// What the centre may not name: it has no input or output, and waits for nothing.
const NOT_IN_THE_CENTRE: [&str; 6] = [
    "async fn",
    ".await",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
];

/// The code of a file: its tests may know more.
fn code(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        // What the attribute stands before: an item of one line, or one that ends at its own depth.
        let mut item = lines
            .by_ref()
            .skip_while(|line| line.trim().starts_with("#["));
        if item.next().is_some_and(|first| first.ends_with('{')) {
            let _rest = item.find(|line| *line == end);
        }
    }
    kept
}

fn layer_of(name: &str) -> Option<&str> {
    let rest = name
        .strip_prefix("src/")
        .or_else(|| name.strip_prefix("crates/hubsyncd-core/src/"))?;
    Some(rest.split(['/', '.']).next().unwrap_or(rest))
}

fn wrong_imports(name: &str, text: &str) -> Vec<String> {
    let Some((layer, allowed)) =
        layer_of(name).and_then(|own| LAYERS.iter().find(|(layer, _)| *layer == own))
    else {
        return Vec::new();
    };
    let code = code(text);
    code.match_indices("crate::")
        // A name that ends in `crate::`, such as `$crate::`, is not one of ours.
        .filter_map(|(at, word)| {
            let rest = &code[at + word.len()..];
            let named: String = rest
                .chars()
                .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                .collect();
            LAYERS
                .iter()
                .any(|(other, _)| *other == named)
                .then_some(named)
        })
        .filter(|named| !allowed.contains(&named.as_str()))
        .map(|named| format!("{name}: `{layer}` names `{named}`"))
        .collect()
}

fn impure(name: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let lines = code.lines();
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .filter(|line| NOT_IN_THE_CENTRE.iter().any(|word| line.contains(word)))
        .map(|line| format!("{name}: {}", line.trim()))
        .collect()
}

fn wrong_doors(name: &str, text: &str) -> Vec<String> {
    let code = code(text);
    DOORS
        .iter()
        .filter(|(word, places)| {
            code.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| names(line, word))
                && !places.iter().any(|place| name.starts_with(place))
        })
        .map(|(word, _)| format!("{name} names `{word}`"))
        .collect()
}

/// Who writes where an entry of the outbox stands: events of `decide/entry`, one by one or many at once, and the triggers,
/// which tests hold to its table. `people` writes as a person's program does, and triggers answer it.
const WRITERS_OF_ENTRIES: [&str; 6] = [
    "src/store/outbox",
    "src/store/shape/associations.rs",
    "src/store/shape/entries.rs",
    "src/store/shape/guards.rs",
    "src/store/shape/local_sql",
    "src/store/commands",
];

fn entries_written_past_the_table(name: &str, text: &str) -> Vec<String> {
    if WRITERS_OF_ENTRIES
        .iter()
        .any(|place| name.starts_with(place))
        || name.ends_with("/tests.rs")
    {
        return Vec::new();
    }
    let code = code(text).split_whitespace().collect::<Vec<_>>().join(" ");
    ["UPDATE sync_outbox", "REPLACE INTO sync_outbox"]
        .iter()
        .flat_map(|statement| {
            code.split(statement)
                .skip(1)
                .filter(|rest| !rest.starts_with('_'))
                .map(|rest| rest.chars().take(60).collect::<String>())
        })
        .map(|rest| format!("{name} writes an entry: {rest}"))
        .collect()
}

/// Statements that write what is said of an entry, and not the code that it ends with.
fn words_without_their_code(name: &str, text: &str) -> Vec<String> {
    if name.starts_with("src/store/shape/local_sql") {
        return Vec::new();
    }
    let code = code(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let writes = |statement: &str| {
        let is_told = |column: &str| {
            let set = format!("{column} =");
            let sets = statement.starts_with("UPDATE") && statement.contains(&set);
            sets || statement.starts_with("INSERT") && names(statement, column)
        };
        is_told("last_error") && !is_told("code")
    };
    let mut found = Vec::new();
    for begin in ["UPDATE sync_outbox SET", "INSERT INTO sync_outbox ("] {
        for (at, _) in code.match_indices(begin) {
            let rest = &code[at..];
            let statement = &rest[..rest.find('"').unwrap_or(rest.len())];
            // What stands behind the condition is read.
            let statement = statement.split(" WHERE ").next().unwrap_or_default();
            found
                .extend(writes(statement).then(|| format!("{name} forgets the code: {statement}")));
        }
    }
    found
}

/// Whether a line names a library or call, and not another one that ends alike.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_')
    })
}

fn unfinished(name: &str, text: &str) -> Vec<String> {
    // Written in parts, so that this file is not one of its own finds.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("#[al", "low("),
        concat!("#![al", "low("),
    ];
    text.lines()
        .filter(|line| words.iter().any(|word| line.contains(word)))
        .map(|line| format!("{name}: {}", line.trim()))
        .collect()
}

fn places_of_a_machine(name: &str, text: &str) -> Vec<String> {
    let words = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
    ];
    text.lines()
        .filter(|line| words.iter().any(|word| line.contains(word)))
        .map(|line| format!("{name}: {}", line.trim()))
        .collect()
}

fn without_a_head(name: &str, text: &str) -> Vec<String> {
    if text.starts_with("//!") {
        return Vec::new();
    }
    vec![format!(
        "{name} does not say in its first lines what it is for"
    )]
}

/// The parts between the top commas of what begins behind a `(`, to its `)`.
fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for letter in text.chars() {
        if quoted {
            quoted = escaped || letter != '"';
            escaped = letter == '\\' && !escaped;
        } else {
            match letter {
                '"' => quoted = true,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(std::mem::take(&mut part));
                    continue;
                }
                _ => {}
            }
        }
        part.push(letter);
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// The fields of every log line of a file: what stands before the message.
fn log_fields(text: &str) -> Vec<String> {
    let text = code(text);
    let text = text.as_str();
    let levels = ["error", "warn", "info", "debug", "trace"];
    levels
        .iter()
        .flat_map(|level| {
            let begin = format!("tracing::{level}!(");
            let lines: Vec<_> = text.split(begin.as_str()).skip(1).map(arguments).collect();
            lines
        })
        .flat_map(|line| {
            line.into_iter()
                .take_while(|argument| !argument.starts_with('"') && !argument.is_empty())
        })
        .map(|field| {
            let name = field.split('=').next().unwrap_or(&field);
            name.trim().trim_start_matches(['%', '?']).to_owned()
        })
        .collect()
}

fn unknown_log_fields(name: &str, text: &str) -> Vec<String> {
    log_fields(text)
        .into_iter()
        .filter(|field| !hubsyncd::telemetry::FIELDS.contains(&field.as_str()))
        .map(|field| format!("{name} logs `{field}`, which `telemetry::FIELDS` has not"))
        .collect()
}

fn all_clean(folders: &[&str], rule: fn(&str, &str) -> Vec<String>) {
    let found: Vec<String> = folders
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .flat_map(|(name, text)| rule(&name, &text))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn layers_know_only_what_lies_below_them() {
    let bad = "use crate::hubspot::Client;\n";
    assert_eq!(wrong_imports("src/store/outbox.rs", bad).len(), 1);
    let hidden = format!("#[cfg(test)]\nmod testing;\n#[cfg(test)]\nmod tests {{\n    {bad}}}\n");
    assert!(wrong_imports("src/store/outbox.rs", &hidden).is_empty());
    let behind = format!("{hidden}{bad}");
    assert_eq!(wrong_imports("src/store/outbox.rs", &behind).len(), 1);
    let centre = "crates/hubsyncd-core/src/model/id.rs";
    assert_eq!(wrong_imports(centre, "use crate::decide::x;").len(), 1);
    assert!(wrong_imports("src/engine/outbound/push.rs", bad).is_empty());
    all_clean(&SOURCES, wrong_imports);
}

#[test]
fn the_centre_has_no_input_or_output() {
    assert_eq!(impure("x", "let text = std::fs::read(path);").len(), 1);
    assert_eq!(impure("x", "pub async fn step() {}").len(), 1);
    all_clean(&["crates/hubsyncd-core/src"], impure);
}

#[test]
fn each_library_has_one_door() {
    assert_eq!(
        wrong_doors(
            "src/engine/outbound/push.rs",
            "use backoff::ExponentialBackoff;"
        )
        .len(),
        1
    );
    assert_eq!(
        wrong_doors("src/cli/once.rs", "let now = Instant::now();").len(),
        1
    );
    let retry = "crates/hubsyncd-core/src/decide/retry.rs";
    assert!(wrong_doors(retry, "use backoff::x;").is_empty());
    all_clean(&SOURCES, wrong_doors);
}

#[test]
fn what_becomes_of_an_entry_is_written_where_its_table_is_carried_out() {
    let elsewhere = "src/store/holds.rs";
    let written = "\"UPDATE sync_outbox\n     SET waits_for = 'guard'\"";
    assert_eq!(entries_written_past_the_table(elsewhere, written).len(), 1);
    let field = "\"UPDATE sync_outbox_fields SET base_value = NULL\"";
    assert!(entries_written_past_the_table(elsewhere, field).is_empty());
    all_clean(&SOURCES, entries_written_past_the_table);
}

#[test]
fn whoever_says_something_of_an_entry_says_its_code() {
    let found = |sql: &str| words_without_their_code("x", &format!("\"{sql}\"")).len();
    assert_eq!(
        found("UPDATE sync_outbox\n SET last_error = NULL WHERE code = 1"),
        1
    );
    assert_eq!(
        found("UPDATE sync_outbox SET last_error = NULL, code = NULL WHERE id = 1"),
        0
    );
    assert_eq!(
        found("UPDATE sync_outbox SET state = 'dead' WHERE last_error = 'x'"),
        0
    );
    assert_eq!(
        found("INSERT INTO sync_outbox (object, last_error) VALUES (1, 2)"),
        1
    );
    all_clean(&["src"], words_without_their_code);
}

#[test]
fn nothing_is_unfinished_ignored_or_silenced() {
    assert_eq!(unfinished("x", concat!("// TO", "DO: later")).len(), 1);
    assert_eq!(unfinished("x", concat!("#[al", "low(dead_code)]")).len(), 1);
    all_clean(&["src", "crates", "tests", "benches"], unfinished);
}

#[test]
fn log_lines_have_the_field_names_of_the_list_and_the_list_no_others() {
    let line = r#"tracing::warn!(object = f("a, (b"), %zone, naem = 1, "message {}", other = x);"#;
    assert_eq!(log_fields(line), ["object", "zone", "naem"]);
    assert_eq!(unknown_log_fields("x", line).len(), 1);
    all_clean(&["src"], unknown_log_fields);
    let used: Vec<String> = files("src", "rs")
        .iter()
        .flat_map(|(_, text)| log_fields(text))
        .collect();
    let unused: Vec<&&str> = hubsyncd::telemetry::FIELDS
        .iter()
        .filter(|field| !used.iter().any(|name| name == *field))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// What can be public.
const ITEMS: [&str; 7] = ["fn", "struct", "enum", "const", "static", "trait", "type"];

/// Names of some kinds that the product makes public, beyond its crate or within it, each with its file.
fn public_names(name: &str, text: &str, kinds: &[&str], ways: &[&str]) -> Vec<(String, String)> {
    let code = code(text);
    let lines = code.lines().map(str::trim_start);
    let public = lines.filter(|line| ways.iter().any(|way| line.starts_with(way)));
    public
        .filter_map(|line| {
            let mut words = line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            let _kind = words.by_ref().find(|word| kinds.contains(word))?;
            let own = words.find(|word| !word.is_empty() && *word != "fn")?;
            Some((own.to_owned(), name.to_owned()))
        })
        .collect()
}

/// Those of the names that stand in no other place than their own.
fn named_by_nobody(public: &[(String, String)], all: &[(String, String)]) -> Vec<String> {
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, text) in all {
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for word in lines.flat_map(|line| {
            line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
        }) {
            *uses.entry(word).or_default() += 1;
        }
    }
    let alone = public
        .iter()
        .filter(|(own, _)| uses.get(own.as_str()) == Some(&1));
    alone
        .map(|(own, file)| format!("{file}: nobody names `{own}`"))
        .collect()
}

#[test]
fn nothing_is_public_that_nobody_names() {
    let sample = "pub(crate) async fn unheard() {}\npub fn heard() { heard() }\n";
    let ways = ["pub ", "pub("];
    let public = public_names("x", sample, &ITEMS, &ways);
    let all = [("x".to_owned(), sample.to_owned())];
    assert_eq!(
        named_by_nobody(&public, &all),
        ["x: nobody names `unheard`"]
    );
    let sources = SOURCES.iter().flat_map(|folder| files(folder, "rs"));
    let public: Vec<_> = sources
        .flat_map(|(name, text)| public_names(&name, &text, &ITEMS, &ways))
        .collect();
    let folders = ["src", "crates", "tests", "benches"];
    let all: Vec<_> = folders
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect();
    let found = named_by_nobody(&public, &all);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The lines of the examples in a file's documentation, which are compiled as a crate of their own.
fn examples(text: &str) -> String {
    let mut is_inside = false;
    let mut kept = String::new();
    for line in text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("///"))
    {
        if line.trim_start().starts_with("```") {
            is_inside = !is_inside;
        } else if is_inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Functions and constants that a crate shows to all, of which no text outside it says the name.
fn public_for_nobody(own: &[(String, String)], outside: &str) -> Vec<String> {
    let words: BTreeSet<&str> = outside
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')))
        .collect();
    let own = own.iter();
    own.flat_map(|(name, text)| public_names(name, text, &["fn", "const", "static"], &["pub "]))
        .filter(|(name, _)| !words.contains(name.as_str()))
        .map(|(name, file)| format!("{file}: no other crate names `{name}`: pub(crate)"))
        .collect()
}

/// A type may have to be public because a public function takes it: that the compiler looks after. The simulator is for
/// people's own tests as well as for ours.
#[test]
fn what_no_other_crate_names_is_public_in_its_crate_alone() {
    let sample = "/// ```\n/// shown();\n/// ```\npub fn shown() {}\npub fn hidden() {}\npub(crate) fn own() {}\n";
    let own = [("x".to_owned(), sample.to_owned())];
    assert_eq!(
        public_for_nobody(&own, &examples(sample)),
        ["x: no other crate names `hidden`: pub(crate)"]
    );
    let text_of = |folders: &[&str]| -> String {
        let all = folders.iter().flat_map(|folder| files(folder, "rs"));
        all.map(|(_, text)| text).collect()
    };
    for (own, outside) in [
        ("src", &["tests", "benches", "fuzz/src"][..]),
        ("crates/hubsyncd-core/src", &["src", "tests", "benches"]),
    ] {
        let (main, own): (Vec<_>, Vec<_>) = files(own, "rs")
            .into_iter()
            .partition(|(name, _)| name == "src/main.rs");
        let mut named = text_of(outside);
        named.extend(main.into_iter().map(|(_, text)| text));
        named.extend(own.iter().map(|(_, text)| examples(text)));
        let found = public_for_nobody(&own, &named);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// Types whose names stand in more than one file, with the files.
fn shared_type_names(all: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let kinds = ["struct", "enum", "trait", "type"];
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in all {
        // Associated types stand further in.
        let code = code(text);
        for line in code.lines().filter(|line| !line.starts_with([' ', '/'])) {
            let mut words = line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            let own = words
                .by_ref()
                .take(4)
                .find(|word| kinds.contains(word))
                .and_then(|_| words.next());
            if let Some(own) = own.filter(|own| !own.is_empty()) {
                found
                    .entry(own.to_owned())
                    .or_default()
                    .insert(name.clone());
            }
        }
    }
    found.retain(|_, files| files.len() > 1);
    found
}

/// Files that tests alone stand on.
const OF_TESTS: [&str; 4] = ["/tests.rs", "/testing.rs", "/desk.rs", "/cases.rs"];

#[test]
fn each_type_has_a_name_of_its_own() {
    let sample = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let shared = shared_type_names(&[
        sample("a", "pub struct Work;\nenum Alone {}\n"),
        sample("b", "pub(crate) enum Work {}\n    type Alone = ();\n"),
    ]);
    assert_eq!(shared.keys().collect::<Vec<_>>(), ["Work"]);
    // What HubSpot's answers are read into is named as HubSpot names it.
    let all: Vec<_> = ["src", "crates/hubsyncd-core/src"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .filter(|(name, _)| !name.starts_with("src/hubspot/wire"))
        .filter(|(name, _)| !OF_TESTS.iter().any(|own| name.ends_with(own)))
        .filter(|(name, _)| !name.contains("/local_sql/"))
        .collect();
    let shared = shared_type_names(&all);
    assert!(shared.is_empty(), "{shared:#?}");
}

/// Files that a folder holds at most: where it outgrows that, it has rooms that nobody has named yet.
const MOST_FILES: usize = 20;

#[test]
fn no_folder_has_outgrown_its_rooms() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in files("src", "rs").into_iter().chain(files("crates", "rs")) {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    // A file a table.
    assert!(folders.remove("src/store").is_some());
    folders.retain(|_, files| *files > MOST_FILES);
    assert!(folders.is_empty(), "{folders:?}");
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    assert_eq!(
        places_of_a_machine("x", concat!("let x = \"/ro", "ot/y\";")).len(),
        1
    );
    all_clean(&["src", "crates", "tests", "benches"], places_of_a_machine);
    for folder in ["docs", ".ci", "systemd", "migrations"] {
        for extension in ["md", "sql", "service"] {
            for (name, text) in files(folder, extension) {
                assert!(places_of_a_machine(&name, &text).is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn each_file_says_what_it_is_for() {
    assert_eq!(without_a_head("x", "use std::fs;").len(), 1);
    all_clean(&["src", "crates", "tests", "benches"], without_a_head);
}

/// TOML blocks of a page that are whole mapping files.
fn mapping_files(page: &str) -> Vec<String> {
    page.split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.contains("[objects."))
        .map(str::to_owned)
        .collect()
}

fn check(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("config.toml");
    fs::write(&path, text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_hubsyncd"))
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn the_example_and_the_readme_s_mapping_pass_the_check() {
    assert_eq!(check("[objects.contacts]\ntabel = \"x\"\n").0, Some(78));
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let mut all = mapping_files(&readme);
    assert_eq!(all.len(), 1, "the README's minimal mapping file");
    assert_eq!(all[0].trim().lines().count(), 4, "four lines");
    all.push(fs::read_to_string(root().join("config.example.toml")).expect("the example"));
    for text in all {
        let (status, words) = check(&text);
        assert_eq!(status, Some(0), "{words}\n{text}");
    }
}

fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    unit.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{key} is set"))
}

#[test]
fn the_unit_agrees_with_the_code() {
    let unit = fs::read_to_string(root().join("systemd/hubsyncd.service")).expect("the unit");
    assert_eq!(setting(&unit, "Type"), "notify");
    // Locks and their owners' names stand in /proc (`store/database/log_readers.rs`, `room.rs`).
    assert_eq!(setting(&unit, "ProcSubset"), "all");
    assert_eq!(setting(&unit, "ProtectProc"), "default");
    let kept_down = setting(&unit, "RestartPreventExitStatus");
    for status in [
        hubsyncd::cli::ExitStatus::Usage,
        hubsyncd::cli::ExitStatus::Config,
    ] {
        let number = (status as i32).to_string();
        assert!(
            kept_down.split(' ').any(|other| other == number),
            "{number}"
        );
    }
    let stop: u64 = setting(&unit, "TimeoutStopSec")
        .trim_end_matches('s')
        .parse()
        .expect("seconds");
    assert!(stop > 2 * hubsyncd::daemon::run::DRAIN.as_secs());
    assert!(
        setting(&unit, "ExecStart").ends_with("hubsyncd run --config /etc/hubsyncd/config.toml")
    );
}

#[test]
fn the_template_unit_is_the_unit_with_a_folder_for_each_instance() {
    let unit = |name: &str| fs::read_to_string(root().join("systemd").join(name)).expect("a unit");
    let template = unit("hubsyncd@.service")
        .replace(" (%i)", "")
        .replace("hubsyncd/%i", "hubsyncd");
    assert_eq!(template, unit("hubsyncd.service"));
}

/// The rows of the table under a heading, without its head.
/// The page shows what the package runs.
#[test]
fn the_page_on_replicas_shows_the_script_of_the_package_and_its_timer() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    let (page, script) = (
        read("docs/replicas.md"),
        read("packaging/forget-in-replica"),
    );
    assert!(script.starts_with("#!/bin/sh\n"), "{script}");
    assert!(
        page.contains(&format!("```sh\n{script}```\n")),
        "the page shows another script"
    );
    let (service, timer) = (
        read("systemd/hubsyncd-forget.service"),
        read("systemd/hubsyncd-forget.timer"),
    );
    assert_eq!(setting(&service, "Type"), "oneshot");
    let runs = setting(&service, "ExecStart");
    assert!(runs.ends_with("/lib/hubsyncd/forget-in-replica"), "{runs}");
    // The hour that the page adds to the replica's retention.
    assert_eq!(setting(&timer, "OnCalendar"), "hourly");
    assert_eq!(setting(&timer, "WantedBy"), "timers.target");
    assert!(
        page.contains("hubsyncd-forget.timer"),
        "it says how it is switched on"
    );
}

fn rows_under<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let section = page.split("\n## ").find(|part| part.starts_with(heading));
    let rows = section.unwrap_or_default().lines();
    rows.filter(|line| line.starts_with("| ")).skip(1).collect()
}

#[test]
fn the_documented_table_of_tasks_is_that_of_the_code() {
    let sample = "## A\n\n| x |\n|---|\n| 1 |\n\n## B\n| y |\n|---|\n| 2 |\n";
    assert_eq!(rows_under(sample, "B"), ["| 2 |"]);
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the page");
    let shown = rows_under(&page, "The tasks, and who rings");
    assert_eq!(shown, hubsyncd::daemon::table::shown());
}
