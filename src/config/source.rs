//! The mapping file's text: reading it, places in it, and hiding what may be a secret.
//!
//! It knows lines and columns and how a secret looks, and nothing of TOML's tree (promise 10).

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The largest file that is read: a mapping of every property of a large portal is a tenth of it.
pub(crate) const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Why there is no text.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    /// The file can't be opened or read.
    Io(io::Error),
    /// It is larger than [`MAX_FILE_BYTES`].
    TooLarge,
    /// It is not UTF-8: the text up to the first wrong byte.
    NotText(String),
}

/// The text of a file, with its path.
pub(crate) struct Source {
    /// As it was given.
    pub(crate) path: PathBuf,
    /// The whole text.
    pub(crate) text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// Reads a file, at most [`MAX_FILE_BYTES`] of it.
    pub(crate) fn read(path: &Path) -> Result<Self, ReadFailure> {
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES as u64 + 1;
        let file = File::open(path).map_err(ReadFailure::Io)?;
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(ReadFailure::Io)?;
        Self::from_bytes(path, bytes)
    }

    /// Takes bytes as a file's content.
    pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ReadFailure> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(ReadFailure::TooLarge);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let mut bytes = error.into_bytes();
                bytes.truncate(valid);
                Err(ReadFailure::NotText(
                    String::from_utf8_lossy(&bytes).into_owned(),
                ))
            }
        }
    }

    /// Takes text as a file's content.
    pub(crate) fn new(path: &Path, text: String) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            path: path.to_owned(),
            text,
            line_starts,
        }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = &self.text[start..offset];
        (line, without_mark(before).chars().count() + 1)
    }

    /// The byte range of the lines that a span touches, without the last line's end.
    pub(crate) fn lines(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.floor(span.start);
        let start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.floor(span.end.max(span.start));
        let end = self.text[end..]
            .find('\n')
            .map_or(self.text.len(), |at| end + at);
        start..end
    }

    /// A path of the file, from the file's own folder.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        match self.path.parent() {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }

    /// The text for excerpts: `spans` and whatever looks like a secret are stars, byte for byte, so that every other
    /// place stays where it was.
    pub(crate) fn masked(&self, spans: &[Range<usize>]) -> String {
        let mut bytes = self.text.clone().into_bytes();
        let found = secret_like(&self.text);
        for span in spans.iter().chain(&found) {
            let end = span.end.min(bytes.len());
            for byte in &mut bytes[span.start.min(end)..end] {
                if !matches!(*byte, b'\n' | b'\r') {
                    *byte = b'*';
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The nearest place at or before `offset` that lies between two characters.
    fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

/// Text without the byte order mark that some editors put in front of a file: nobody sees it, so that it is no column.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a key's name says that its value is a secret.
pub(crate) fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let telling = [
        "token",
        "secret",
        "passw",
        "developer_key",
        "api_key",
        "apikey",
        "bearer",
    ];
    key != "token_path" && telling.iter().any(|word| key.contains(word))
}

/// Text of a message with whatever looks like a secret taken out.
pub(crate) fn redact(text: &str) -> String {
    let mut spans = tokens(text);
    spans.extend(user_infos(text));
    spans.sort_by_key(|span| span.start);
    let mut redacted = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        if span.start >= from {
            redacted.push_str(&text[from..span.start]);
            redacted.push_str("***");
            from = span.end;
        }
    }
    redacted.push_str(&text[from..]);
    redacted
}

/// Every place that looks like a secret, also where the text is no TOML.
fn secret_like(text: &str) -> Vec<Range<usize>> {
    let mut spans = tokens(text);
    spans.extend(user_infos(text));
    spans.extend(assignments(text));
    spans
}

/// The shortest run after `pat-` that is taken for a token.
const LEAST_TOKEN: usize = 8;

/// Tokens of private apps and service keys: `pat-`, a region, a UUID (`hubspot/api-facts.md#2`).
fn tokens(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let found = lower.match_indices("pat-").filter_map(|(start, found)| {
        let rest = &lower[start + found.len()..];
        let is_token =
            |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        let length = rest
            .find(|character| !is_token(character))
            .unwrap_or(rest.len());
        (length >= LEAST_TOKEN).then(|| start..start + found.len() + length)
    });
    found.collect()
}

/// User and password of URLs.
fn user_infos(text: &str) -> Vec<Range<usize>> {
    let found = text.match_indices("://").filter_map(|(at, found)| {
        let start = at + found.len();
        let authority = text[start..]
            .split(['/', '"', '\'', '\n', ' ', '`', '?', '#'])
            .next()?;
        authority.rfind('@').map(|length| start..start + length)
    });
    found.collect()
}

/// Values written straight behind a key whose name says that it is a secret.
fn assignments(text: &str) -> Vec<Range<usize>> {
    let found = text.match_indices('=').filter_map(|(at, _)| {
        let line_start = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let key = text[line_start..at].trim_end();
        let key = key
            .rsplit(|character: char| " \t{,.".contains(character))
            .next()?;
        let value =
            at + 1 + (text[at + 1..].len() - text[at + 1..].trim_start_matches([' ', '\t']).len());
        if names_a_place(key) {
            let length = quoted_suspect(&text[value..])?;
            return Some(value..value + length);
        }
        if !names_a_secret(key) {
            return None;
        }
        written_secret(&text[value..]).map(|length| value..value + length)
    });
    found.collect()
}

/// Whether a key's value names where a secret lies: the secret itself is written there by mistake.
fn names_a_place(key: &str) -> bool {
    matches!(key, "env" | "credential" | "file")
}

/// The length of a quoted text, where it looks like a secret and not like the name of a place.
fn quoted_suspect(value: &str) -> Option<usize> {
    let quote = value
        .chars()
        .next()
        .filter(|first| "\"'".contains(*first))?;
    let inner = &value[1..];
    let end = inner.find([quote, '\n'])?;
    let text = &inner[..end];
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let is_suspect = text.len() >= LEAST_SUSPECT
        && digits >= 3
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains('/');
    is_suspect.then_some(end + 2)
}

/// A run of letters and digits of this length is taken for a secret where the text is no TOML.
const LEAST_SUSPECT: usize = 16;

/// What may be a secret in a part of the text that is no TOML, where keys and values can't be told apart.
pub(crate) fn suspects(text: &str, part: &Range<usize>) -> Vec<Range<usize>> {
    let is_token = |character: char| character.is_alphanumeric() || "-_+/.".contains(character);
    let mut spans = Vec::new();
    let mut after_telling = false;
    for word in text[part.clone()].split(|character| !is_token(character)) {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
        let is_long = word.len() >= LEAST_SUSPECT && has_digit;
        if !word.is_empty() && (is_long || after_telling) {
            spans.push(start..start + word.len());
        }
        after_telling |= names_a_secret(word);
    }
    spans
}

/// How much of what follows the `=` is the secret; a table (`{ env = … }`) is none.
fn written_secret(value: &str) -> Option<usize> {
    if value.starts_with('{') {
        return None;
    }
    for quotes in ["\"\"\"", "'''"] {
        if let Some(rest) = value.strip_prefix(quotes) {
            return Some(
                rest.find(quotes)
                    .map_or(value.len(), |end| end + 2 * quotes.len()),
            );
        }
    }
    let line = value.split(['\n', '\r']).next()?;
    if line.starts_with('[') {
        return line
            .contains(['"', '\''])
            .then_some(line.len())
            .filter(|_| !line.contains('{'));
    }
    Some(line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Source::new(Path::new("x.toml"), text.to_owned()).masked(&[])
    }

    #[test]
    fn places_count_characters_from_one() {
        let source = Source::new(Path::new("x.toml"), "a = 1\nä = \"ö\"\n".to_owned());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.position(11), (2, 5));
        assert_eq!(source.position(9_999), (3, 1));
        assert_eq!(source.lines(&(7..8)), 6..15);
    }

    #[test]
    fn a_secret_is_hidden_also_where_the_text_is_no_toml() {
        assert_eq!(
            masked("access_token = hush\nid = 1"),
            "access_token = ****\nid = 1"
        );
        assert_eq!(
            masked("a = { client_secret = \"hush\" }"),
            "a = { client_secret = ********"
        );
        assert_eq!(masked("x pat-na1-00000000 y"), "x **************** y");
        assert_eq!(
            masked("u = \"https://me:pw@host/\""),
            "u = \"https://*****@host/\""
        );
        assert_eq!(
            masked("token = \"\"\"\nhush\n\"\"\"\nb = 1"),
            "token = ***\n****\n***\nb = 1"
        );
        assert_eq!(
            masked("access_token = { env = \"NAME\" }"),
            "access_token = { env = \"NAME\" }"
        );
        assert_eq!(
            masked("[oauth]\nx = { env = \"9f86d081884c7d65\" }"),
            "[oauth]\nx = { env = ****************** }"
        );
        assert_eq!(
            masked("x = { file = \"/run/secrets/hubspot2026key1\" }"),
            "x = { file = \"/run/secrets/hubspot2026key1\" }"
        );
        assert_eq!(
            masked("token_path = \"/oauth/v1/token\""),
            "token_path = \"/oauth/v1/token\""
        );
    }

    #[test]
    fn where_the_text_is_no_toml_whatever_may_be_a_secret_is_hidden() {
        let source = Source::new(
            Path::new("x.toml"),
            "access_token \"hush\"\nx 0f8fad5b-d9cb-469f y\n".to_owned(),
        );
        let first = suspects(&source.text, &(0..19));
        let second = suspects(&source.text, &(20..42));
        assert_eq!(
            source.masked(&[first, second].concat()),
            "access_token \"****\"\nx ****************** y\n"
        );
    }

    #[test]
    fn a_message_never_repeats_a_token() {
        assert_eq!(redact("`pat-eu1-12345678` is no host"), "`***` is no host");
        assert_eq!(
            redact("`http://a:b@c/` has a user"),
            "`http://***@c/` has a user"
        );
        assert_eq!(redact("a path-like word"), "a path-like word");
    }
}
