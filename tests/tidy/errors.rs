//! Errors say their causes once: whoever tells of an error walks its sources, so that its own words must not hold theirs.

use super::{SOURCES, all_clean, code};

/// Errors whose words hold those of their source.
fn told_twice(name: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let told = code.split("#[error(").skip(1).filter_map(|rest| {
        let (words, item) = rest.split_once(")]\n")?;
        // A variant ends with a comma at the end of a line, or with its closing brace.
        let ends = ["),\n", "},\n", "}\n", ");\n"];
        let end = ends.iter().filter_map(|end| item.find(end)).min();
        let item = &item[..end.unwrap_or(item.len())];
        let holds = |way: &str, field: &str| {
            item.contains(way)
                && (words.contains(&format!("{{{field}}}"))
                    || words.contains(&format!("{{{field}:")))
        };
        let is_twice =
            holds("#[source]", "0") || holds("#[from]", "0") || holds("source: ", "source");
        is_twice.then(|| format!("{name} tells a cause twice: {words}"))
    });
    told.collect()
}

#[test]
fn an_error_leaves_the_words_of_its_source_to_the_source() {
    let found = |variant: &str| told_twice("x", variant).len();
    assert_eq!(
        found("#[error(\"no disk: {0}\")]\nDisk(#[source] Io),\n"),
        1
    );
    assert_eq!(
        found("#[error(\"no disk: {source}\")]\nDisk {\n    source: Io,\n},\n"),
        1
    );
    assert_eq!(found("#[error(\"no disk\")]\nDisk(#[source] Io),\n"), 0);
    assert_eq!(found("#[error(\"no disk: {0}\")]\nDisk(Io),\n"), 0);
    assert_eq!(found("#[error(transparent)]\nDisk(#[from] Io),\n"), 0);
    all_clean(&SOURCES, told_twice);
}
