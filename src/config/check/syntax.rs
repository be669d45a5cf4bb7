//! Mistakes of TOML itself: found one after another by taking each bad line out, so that the rest of the file is checked
//! all the same.

use std::ops::Range;

use toml::de::DeTable;

use crate::config::conceal::suspects;
use crate::config::reader::Reader;
use crate::config::source::FileSource;

/// How often the text is read again without its bad lines. The parser finds several mistakes in one go and stops at
/// some; a file with more of those is read no further.
const MOST_ROUNDS: usize = 10;

/// Mistakes that are reported: more than anybody reads at once.
const MOST_MISTAKES: usize = 100;

/// A mistake of TOML.
pub(super) struct Mistake {
    span: Range<usize>,
    message: String,
}

/// The text with every line that is no TOML made blank, so that all places stay, and what was wrong with those.
pub(super) fn without_mistakes(source: &FileSource) -> (String, Vec<Mistake>) {
    let mut text = source.text.clone();
    let mut mistakes: Vec<Mistake> = Vec::new();
    for _ in 0..MOST_ROUNDS {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let found = errors.into_iter().map(|error| Mistake {
            span: error.span().unwrap_or(0..0),
            message: error
                .message()
                .lines()
                .next()
                .unwrap_or("no TOML")
                .to_owned(),
        });
        let found: Vec<_> = found.take(MOST_MISTAKES).collect();
        if found.is_empty() || mistakes.len() >= MOST_MISTAKES {
            break;
        }
        for mistake in &found {
            blank(&mut text, &bad_part(source, &mistake.span));
        }
        mistakes.extend(found);
    }
    (text, mistakes)
}

/// The lines of a mistake; for a table's header also what stands below it, which would fall to the table above.
fn bad_part(source: &FileSource, span: &Range<usize>) -> Range<usize> {
    let lines = source.lines(span);
    if !source.text[lines.clone()].trim_start().starts_with('[') {
        return lines;
    }
    let below = &source.text[lines.end..];
    let next = below.find("\n[").unwrap_or(below.len());
    lines.start..lines.end + next
}

/// Whether a part that is no TOML may be about one of these words.
pub(super) fn may_be_about(source: &FileSource, mistakes: &[Mistake], words: &[&str]) -> bool {
    let mut parts = mistakes
        .iter()
        .map(|mistake| &source.text[bad_part(source, &mistake.span)]);
    parts.any(|part| words.iter().any(|word| part.contains(word)))
}

fn blank(text: &mut String, part: &Range<usize>) {
    let spaces: String = text[part.clone()]
        .bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect();
    text.replace_range(part.clone(), &spaces);
}

/// Adds the mistakes to the problems, and takes out what may only follow from a line that is missing.
pub(super) fn note(reader: &mut Reader<'_>, mistakes: &[Mistake]) {
    if mistakes.is_empty() {
        return;
    }
    let follows = [
        "no-objects",
        "empty",
        "missing-key",
        "bad-secret",
        "match-not-mapped",
    ];
    reader
        .problems
        .retain(|problem| !follows.contains(&problem.code));
    for Mistake { span, message } in mistakes {
        let lines = reader.source.lines(span);
        let hint = hint(message, reader.source.text[lines.clone()].trim_start());
        reader.secrets.extend(suspects(&reader.source.text, &lines));
        reader.error(
            "syntax",
            span,
            "",
            &format!("this is no TOML: {message}"),
            hint,
        );
    }
}

fn hint(message: &str, line: &str) -> &'static str {
    if message.contains("duplicate") {
        "write each key and each table once"
    } else if line.starts_with('[') {
        "write a table's name in `[ ]`, alone on its line"
    } else if message.contains("string") || message.contains("quote") {
        "write text in double quotes, `\"like this\"`, on one line"
    } else {
        "write `key = value`, one a line, with text in double quotes"
    }
}
