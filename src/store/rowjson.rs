//! What the JSON of a whole row (`model/row/json`) holds of columns that the mapping does not know.

use std::fmt::Write as _;

use rusqlite::types::Value as SqlValue;
use serde_json::{Map, Value as Json};

pub use crate::model::row::json::{created_at, modified_at, of_record, of_row, values, without};

pub(crate) use crate::model::row::json::{
    BY_BYTES, by_column, spelled, text_in, with_columns_renamed, with_defaults, with_record,
    with_times,
};

/// What a row held in a column that the mapping does not know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnValue {
    /// The column's name.
    pub column: String,
    /// The value, of the class that it had.
    pub value: SqlValue,
    /// Whether a BLOB stands for a text of its bytes, which are no UTF-8.
    pub is_text_of_bytes: bool,
}

impl OwnValue {
    /// Where the value goes in a statement.
    pub(crate) fn place(&self) -> &'static str {
        match self.is_text_of_bytes {
            true => "CAST(? AS TEXT)",
            false => "?",
        }
    }

    /// What `sync_history` calls the column.
    pub(crate) fn name(&self) -> String {
        format!("$column:{}", self.column)
    }

    /// The value as text; `None` where it is NULL.
    pub(crate) fn text(&self) -> Option<String> {
        match &self.value {
            SqlValue::Null => None,
            SqlValue::Integer(number) => Some(number.to_string()),
            SqlValue::Real(number) => Some(number.to_string()),
            SqlValue::Text(text) => Some(text.clone()),
            SqlValue::Blob(bytes) => {
                let mut text = String::from("x'");
                for byte in bytes {
                    write!(text, "{byte:02x}").expect("a string takes text");
                }
                text.push('\'');
                Some(text)
            }
        }
    }
}

/// What a row held in the columns that the mapping did not know when it was deleted.
pub(crate) fn own_values(text: &str) -> Vec<OwnValue> {
    let own = |(key, json): (String, Json)| {
        let (class, column) = key.strip_prefix('$')?.split_once(':')?;
        let value = match (class, json) {
            ("column", Json::Null) => SqlValue::Null,
            ("column", Json::String(text)) => SqlValue::Text(text),
            ("column", Json::Number(number)) => SqlValue::Integer(number.as_i64()?),
            ("real", Json::String(digits)) => SqlValue::Real(digits.parse().ok()?),
            ("blob" | "text", Json::String(digits)) => SqlValue::Blob(bytes_of(&digits)?),
            _ => return None,
        };
        Some(OwnValue {
            column: column.to_owned(),
            value,
            is_text_of_bytes: class == "text",
        })
    };
    let held: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
    held.into_iter().filter_map(own).collect()
}

/// What a row by column (`by_column`) tells of a column that the mapping does not know; `None` where that held nothing.
pub(crate) fn own_value(text: &str, column: &str) -> Option<OwnValue> {
    let mut held: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
    let (value, is_text_of_bytes) = match held.remove(column)? {
        Json::String(text) => (SqlValue::Text(text), false),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => (SqlValue::Integer(whole), false),
            None => (SqlValue::Text(number.to_string()), false),
        },
        Json::Object(of_class) => {
            let (class, digits) = of_class.into_iter().next()?;
            let is_known = BY_BYTES.contains(&class.as_str());
            let digits = digits.as_str().filter(|_| is_known)?;
            (SqlValue::Blob(bytes_of(digits)?), class == "text")
        }
        Json::Null | Json::Bool(_) | Json::Array(_) => return None,
    };
    Some(OwnValue {
        column: column.to_owned(),
        value,
        is_text_of_bytes,
    })
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(pair).collect()
}
