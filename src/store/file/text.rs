//! Text as other programs may have left it: SQLite keeps whatever bytes somebody writes as TEXT.
//!
//! What is no UTF-8 is read as the SQL literal of its bytes, `x'fffe41'`: nothing of it is lost, no record's value is
//! mistaken for it, and the row of which it is part keeps no other one waiting.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::model::hex;

/// The text of a column, or nothing where it is NULL.
pub(crate) fn of(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(spelled(bytes)),
    })
}

/// The JSON of a column, or nothing where it is NULL: each text in it is read for itself.
pub(crate) fn json_of(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    match row.get_ref(index)? {
        ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_err() => Ok(Some(json(bytes))),
        ValueRef::Null
        | ValueRef::Integer(_)
        | ValueRef::Real(_)
        | ValueRef::Text(_)
        | ValueRef::Blob(_) => of(row, index),
    }
}

/// The text, or the SQL literal of its bytes.
pub(crate) fn spelled(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_not_utf8) => format!("x'{}'", hex::encode(bytes)),
    }
}

/// A JSON in which each string that is no UTF-8 is the literal of its bytes, as they stand between the quotes.
fn json(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(begin) = rest.iter().position(|byte| *byte == b'"') {
        let string = &rest[begin + 1..];
        let end = end_of_string(string);
        text.push_str(&String::from_utf8_lossy(&rest[..begin]));
        text.push('"');
        text.push_str(&spelled(&string[..end]));
        text.push('"');
        rest = string.get(end + 1..).unwrap_or_default();
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// Where the quote stands that ends a string.
fn end_of_string(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let is_end = |byte: &u8| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    };
    bytes.iter().position(is_end).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_utf_8_is_the_literal_of_its_bytes() {
        assert_eq!(spelled("Zoë\0".as_bytes()), "Zoë\0");
        assert_eq!(spelled(b"\xff\xfeA"), "x'fffe41'");
    }

    #[test]
    fn a_json_keeps_its_other_strings_where_one_is_no_utf_8() {
        let found =
            json(b"{\"a\":\"x\\\"\\\\\",\"b\":\"\xff\xfeA\",\"c\":null,\"d\":\"Zo\xc3\xab\"}");
        assert_eq!(found, r#"{"a":"x\"\\","b":"x'fffe41'","c":null,"d":"Zoë"}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&found).is_ok());
    }
}
