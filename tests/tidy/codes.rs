//! Every code that the program can say has a page: a literal that looks like one stands in `docs/codes.txt`, or below.

use std::collections::BTreeSet;

use super::{SOURCES, code, files};

/// Words with hyphens that are no codes: headers, threads, programs.
const NO_CODES: [&str; 7] = [
    "no-referrer",
    "no-store",
    "order-k",
    "retry-after",
    "store-watch",
    "store-writer",
    "xdg-open",
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
    words
        .filter(|word| is_spelled_like_one(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_code_that_is_said_has_a_page() {
    let sample = "fn code() { \"a-code\" }\n let x = \"sentence [b-code]\";\n// \"no-code\"\n#[cfg(test)]\nmod tests {\n \"c-code\"\n}\n";
    assert_eq!(
        codes_in(sample),
        BTreeSet::from(["a-code".to_owned(), "b-code".to_owned()])
    );
    let pages = std::fs::read_to_string(super::root().join("docs/codes.txt")).expect("the table");
    let lines = pages.lines().filter_map(|line| line.split_once(": "));
    let pages: BTreeSet<&str> = lines.map(|(code, _)| code).collect();
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
            if !pages.contains(code.as_str()) && !NO_CODES.contains(&code.as_str()) {
                missing.insert(format!("{code} ({name})"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "write a line in docs/codes.txt for {missing:#?}"
    );
}
