//! The mapping file's text: reading it, places in it, and hiding what may be a secret.
//!
//! It knows lines and columns, and nothing of TOML's tree. How a secret looks is `conceal.rs`'s (promise 10).

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::conceal::places;

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
pub(crate) struct FileSource {
    /// As it was given.
    pub(crate) path: PathBuf,
    /// The whole text.
    pub(crate) text: String,
    line_starts: Vec<usize>,
}

impl FileSource {
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
        let found = places(&self.text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = FileSource::new(Path::new("x.toml"), "a = 1\nä = \"ö\"\n".to_owned());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.position(11), (2, 5));
        assert_eq!(source.position(9_999), (3, 1));
        assert_eq!(source.lines(&(7..8)), 6..15);
    }
}
