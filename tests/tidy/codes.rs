//! Every code that the program can say has a page: a literal that looks like one stands in `docs/codes.txt`, or below. Each code of
//! that table is produced by a test of the real binary, and the log says the code of whatever has one.

use std::collections::BTreeSet;

use super::{SOURCES, arguments, code, files};

/// Words with hyphens that are no codes: headers, threads, programs.
const NO_CODES: [&str; 8] = [
    "no-referrer",
    "no-store",
    "order-k",
    "retry-after",
    "store-watch",
    "store-writer",
    "unix-none",
    "xdg-open",
];

/// What no test has the real binary say, each with the reason, and a unit test that holds it where there is one.
const NOT_PRODUCED: [(&str, &str, &str); 7] = [
    (
        "disk-nearly-full",
        "the system's own numbers, which no test sets",
        "crates/hubsyncd-core/src/decide/portal/doctor.rs",
    ),
    (
        "invalid-request",
        "a fault of the program's own",
        "src/hubspot/tests.rs",
    ),
    ("no-random", "a system without random numbers", ""),
    (
        "no-wal",
        "a file system that no machine of the tests has",
        "",
    ),
    (
        "stale-read",
        "the records are read again at once, and nobody is told",
        "src/hubspot/tests.rs",
    ),
    (
        "token-malformed",
        "such a secret is refused before (`secret-malformed`), and such a grant too (`unreadable-answer`)",
        "",
    ),
    ("task-ended", "a panic, which ends a release at once", ""),
];

/// Before a literal in one of these places it is a code, also one of a single word.
const PLACES: [&str; 6] = [
    ".error(",
    ".warning(",
    "refuse(",
    "code: ",
    "code: Some(",
    "code = ",
];

/// Whether a text between quotes, or between brackets at the end of a sentence, is spelled like a code.
fn is_spelled_like_one(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    text.contains('-') && text.split('-').all(is_word) && !text.starts_with("x-")
}

fn codes_in(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let quoted = lines.clone().flat_map(|line| line.split('"'));
    let bracketed = lines.flat_map(|line| line.split(" [").skip(1));
    let bracketed = bracketed.filter_map(|piece| piece.split_once(']'));
    let words = quoted.chain(bracketed.map(|(word, _)| word));
    let spelled = words.filter(|word| is_spelled_like_one(word));
    let placed = PLACES.iter().flat_map(|place| code.split(place).skip(1));
    let placed = placed.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let placed = placed.filter(|word| !word.is_empty() && is_word(word));
    spelled.chain(placed).map(str::to_owned).collect()
}

/// The codes of the table, in its order.
fn pages(table: &str) -> Vec<&str> {
    let lines = table.lines().filter_map(|line| line.split_once(": "));
    let lines = lines.map(|(code, _)| code);
    lines
        .filter(|code| !code.starts_with(['#', '[']) && !code.contains(' '))
        .collect()
}

/// The codes that tests have the binary say.
fn produced(text: &str) -> BTreeSet<String> {
    let calls = text.split("produces(").skip(1);
    let literals = calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    literals.map(str::to_owned).collect()
}

#[test]
fn each_code_is_produced_by_a_test_of_the_real_binary() {
    let sample = "let a = produces(\"a-code\");\nlet b = says(\n produces(\n \"b-code\"));";
    assert_eq!(
        produced(sample),
        BTreeSet::from(["a-code".to_owned(), "b-code".to_owned()])
    );
    let table = std::fs::read_to_string(super::root().join("docs/codes.txt")).expect("the table");
    let (pages, tests) = (pages(&table), files("tests/it", "rs"));
    let produced: BTreeSet<String> = tests.iter().flat_map(|(_, text)| produced(text)).collect();
    let alerts = std::fs::read_to_string(super::root().join("monitoring/alerts_test.yml"));
    let alerts = alerts.expect("the alerts' tests");
    let is_left_out = |code: &str| NOT_PRODUCED.iter().any(|(left_out, ..)| *left_out == code);
    let is_alert = |code: &str| code.starts_with("Hubsyncd") && alerts.contains(code);
    let missing: Vec<&&str> = pages
        .iter()
        .filter(|code| !produced.contains(**code) && !is_left_out(code) && !is_alert(code))
        .collect();
    assert!(
        missing.is_empty(),
        "no test of tests/it has the binary say {missing:#?}: ask for it by `produces(…)`"
    );
    let pageless: Vec<&String> = produced
        .iter()
        .filter(|code| !pages.contains(&code.as_str()))
        .collect();
    assert!(pageless.is_empty(), "these have no page: {pageless:?}");
    for (code, why, held) in NOT_PRODUCED {
        assert!(pages.contains(&code) && !produced.contains(code), "{code}");
        assert!(!why.is_empty(), "{code}");
        assert!(
            held.is_empty() || super::root().join(held).is_file(),
            "{held}"
        );
    }
}

/// Warnings and errors of the log that tell of an error, what to do about one, or what is refused, and not by which code it is known.
fn told_without_a_code(name: &str, text: &str) -> Vec<String> {
    let text = code(text);
    let mut found = Vec::new();
    for level in ["error", "warn"] {
        let begin = format!("tracing::{level}!(");
        for line in text.split(begin.as_str()).skip(1).map(arguments) {
            let field = |wanted: &str| {
                line.iter().any(|argument| {
                    let name = argument.split('=').next().unwrap_or_default();
                    argument.starts_with(wanted) && name.trim() == wanted
                })
            };
            let tells = field("hint")
                || line.iter().any(|part| part.starts_with("error = "))
                || line
                    .last()
                    .is_some_and(|sentence| sentence.contains("refused"));
            if tells && !field("code") {
                found.push(format!("{name}: {}", line.join(", ")));
            }
        }
    }
    found
}

#[test]
fn the_log_says_the_code_of_each_error_that_has_one() {
    let sample = "tracing::warn!(error = %error, code = error.code(), \"well\");\n\
        tracing::error!(hint, \"what to do\");\ntracing::warn!(error = %error, \"what\");\n\
        tracing::warn!(%error, \"the system's\");\ntracing::warn!(object, \"it was refused\");\ntracing::error!(object, code, hint, \"well\");\n";
    assert_eq!(
        told_without_a_code("a", sample),
        [
            "a: hint, \"what to do\"",
            "a: error = %error, \"what\"",
            "a: object, \"it was refused\""
        ]
    );
    super::all_clean(&["src"], told_without_a_code);
}

#[test]
fn each_code_that_is_said_has_a_page() {
    let sample = "fn code() { \"a-code\" }\n let x = \"sentence [b-code]\";\n// \"no-code\"\nreader.error(\n \"word\", x);\n\
        #[cfg(test)]\nmod tests {\n \"c-code\"\n}\n";
    let expected = ["a-code", "b-code", "word"].map(str::to_owned);
    assert_eq!(codes_in(sample), BTreeSet::from(expected));
    let table = std::fs::read_to_string(super::root().join("docs/codes.txt")).expect("the table");
    let pages = pages(&table);
    let is_product = |name: &str| {
        !name.starts_with("crates/hubspot-simulator")
            && !["/tests", "testing.rs", "desk.rs", "local_sql"]
                .iter()
                .any(|part| name.contains(part))
    };
    let sources = SOURCES.iter().flat_map(|folder| files(folder, "rs"));
    let mut missing = BTreeSet::new();
    for (name, text) in sources.filter(|(name, _)| is_product(name)) {
        for code in codes_in(&text) {
            if !pages.contains(&code.as_str()) && !NO_CODES.contains(&code.as_str()) {
                missing.insert(format!("{code} ({name})"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "write a line in docs/codes.txt for {missing:#?}"
    );
}
