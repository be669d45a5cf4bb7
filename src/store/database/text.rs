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

/// The JSON of a column, or nothing where it is NULL: each text in it is read for itself. Under `$column:NAME` a text that is
/// no UTF-8 becomes `$text:NAME` with its bytes in hexadecimal: it can be written as it was, and no other text looks like it.
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

/// A JSON in which each string that is no UTF-8 is the literal of its bytes, as they stand between the quotes, or those of a
/// column of the user's in hexadecimal.
fn json(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    // Where the last key stands in `text`.
    let mut key = 0..0;
    while let Some(begin) = rest.iter().position(|byte| *byte == b'"') {
        let string = &rest[begin + 1..];
        let end = end_of_string(string);
        text.push_str(&String::from_utf8_lossy(&rest[..begin]));
        rest = string.get(end + 1..).unwrap_or_default();
        let string = &string[..end];
        let column = text[key.clone()].strip_prefix("$column:");
        let own = column.filter(|_| std::str::from_utf8(string).is_err());
        let shown = match own.map(|name| format!("$text:{name}")) {
            Some(name) => {
                text.replace_range(key.clone(), &name);
                hex::encode(&unescaped(string))
            }
            None => spelled(string),
        };
        text.push('"');
        let begin = text.len();
        text.push_str(&shown);
        if rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':') {
            key = begin..text.len();
        }
        text.push('"');
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// The bytes of a string that SQLite has escaped: it writes what is below 32 as `\n` or `\u0001`, and all else as it is.
fn unescaped(string: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(string.len());
    let mut rest = string;
    loop {
        match rest {
            [] => return bytes,
            [b'\\', b'u', b'0', b'0', digits @ ..] if digits.len() >= 2 => {
                let code = std::str::from_utf8(&digits[..2]).unwrap_or_default();
                bytes.push(u8::from_str_radix(code, 16).unwrap_or(b'?'));
                rest = &digits[2..];
            }
            [b'\\', escaped, after @ ..] => {
                bytes.push(match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
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

    #[test]
    fn text_of_a_users_column_that_is_no_utf_8_is_told_from_all_other_text() {
        let found = json(
            b"{\"note\":\"\xff\",\"$column:a\":\"x\\\"\\\\\\n\\u001f\xff\", \"$column:b\" : \"x'ff'\",\"$column:c\":1,\"d\":\"\xfe\"}",
        );
        assert_eq!(
            found,
            r#"{"note":"x'ff'","$text:a":"78225c0a1fff", "$column:b" : "x'ff'","$column:c":1,"d":"x'fe'"}"#
        );
    }
}
