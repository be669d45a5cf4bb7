//! What a property holds: its type, its canonical text, equality by type, and what a column stores.
//!
//! Equality is by meaning, not by text: `1` and `1.0` are one number, a moment is one moment however it is written, a
//! checkbox list is a set, and empty and NULL are the same (`hubspot/api-facts.md#7`).

use std::collections::BTreeSet;
use std::fmt;

use chrono::NaiveDate;

use crate::model::time::Timestamp;

/// The longest value that HubSpot takes, in characters (`hubspot/api-facts.md#7`). What it holds itself may be longer.
pub const LONGEST_VALUE: usize = 65_536;

/// How a property's text is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PropertyType {
    /// Text, kept as it is.
    String,
    /// A number in a REAL column; equal when a REAL holds the same.
    Number,
    /// A number kept exactly, as text.
    Decimal,
    /// A whole number of 64 bits; ids too.
    Integer,
    /// `true` or `false`; 1 or 0 in SQL.
    Bool,
    /// A day without a zone.
    Date,
    /// A moment with milliseconds.
    Datetime,
    /// One of a list of options, by its internal value; case matters.
    Enumeration,
    /// Several options, separated by `;`, in no order.
    Set,
}

impl PropertyType {
    /// Whether a property of this type holds one value at a time, so that it can say which record is meant.
    pub fn is_one_value(self) -> bool {
        self != Self::Set
    }

    /// All types, in the order of the manual.
    pub const ALL: [Self; 9] = [
        Self::String,
        Self::Number,
        Self::Decimal,
        Self::Integer,
        Self::Bool,
        Self::Date,
        Self::Datetime,
        Self::Enumeration,
        Self::Set,
    ];

    /// The name in the mapping file and in `sync_fields.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Decimal => "decimal",
            Self::Integer => "integer",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Enumeration => "enumeration",
            Self::Set => "set",
        }
    }

    /// Reads a name of the mapping file.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.as_str() == name)
    }

    /// The type that a property of HubSpot's has, from its `type`, `fieldType` and whether it refers to other records
    /// (`hubspot/api-facts.md#7`). What is not known is text.
    pub(crate) fn from_definition(kind: &str, field_type: &str, refers_to_record: bool) -> Self {
        match (kind, field_type) {
            ("number", _) if refers_to_record => Self::Integer,
            ("number", _) => Self::Number,
            ("bool", _) => Self::Bool,
            ("date", _) => Self::Date,
            ("datetime", _) => Self::Datetime,
            ("enumeration", "checkbox") => Self::Set,
            ("enumeration", _) => Self::Enumeration,
            _ => Self::String,
        }
    }

    /// The column's type in a STRICT table.
    pub fn sql_type(self) -> &'static str {
        match self {
            Self::Number => "REAL",
            Self::Integer | Self::Bool => "INTEGER",
            Self::String
            | Self::Decimal
            | Self::Date
            | Self::Datetime
            | Self::Enumeration
            | Self::Set => "TEXT",
        }
    }
}

impl fmt::Display for PropertyType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A property's value as canonical text, or nothing. Empty text is nothing.
///
/// Canonical is HubSpot's own spelling: `true`, `2026-11-24`, ISO milliseconds, the shortest decimal. Its `Debug` form
/// never shows the text, since CRM data is personal data.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Value(Option<String>);

impl Value {
    /// No value.
    pub const EMPTY: Self = Self(None);

    /// Takes text that is canonical already.
    pub fn from_canonical(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() {
            Self::EMPTY
        } else {
            Self(Some(text))
        }
    }

    /// Takes canonical text that may be missing, as a column of `sync_outbox_fields` stores it.
    pub fn from_stored(text: Option<String>) -> Self {
        text.map_or(Self::EMPTY, Self::from_canonical)
    }

    /// The canonical text.
    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The options of a set, in its order.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.to_wire().split(';').filter(|part| !part.is_empty())
    }

    /// A set with more options behind its own; what it has is not repeated.
    #[must_use]
    pub(crate) fn with_options<'a>(&'a self, more: impl Iterator<Item = &'a str>) -> Self {
        let mut all: Vec<&str> = self.options().collect();
        for option in more {
            if !all.contains(&option) {
                all.push(option);
            }
        }
        Self::from_canonical(all.join(";"))
    }

    /// Whether HubSpot would refuse it because of its length.
    pub fn is_too_long(&self) -> bool {
        self.0
            .as_deref()
            .is_some_and(|text| text.len() > LONGEST_VALUE && text.chars().count() > LONGEST_VALUE)
    }

    /// What is sent to HubSpot: the text, and `""` to clear (`hubspot/api-facts.md#7`).
    pub fn to_wire(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }

    /// The text to be stored where NULL means empty.
    pub fn into_stored(self) -> Option<String> {
        self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(text) => write!(formatter, "Value({} bytes)", text.len()),
            None => formatter.write_str("Value(empty)"),
        }
    }
}

/// What a column holds, without SQLite's own types.
#[derive(Clone, PartialEq)]
pub enum ColumnValue {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(String),
}

/// What a column holds, its text borrowed.
#[derive(Clone, Copy, PartialEq)]
pub enum ColumnRef<'a> {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(&'a str),
}

impl ColumnValue {
    /// The same, its text borrowed.
    pub fn borrowed(&self) -> ColumnRef<'_> {
        match self {
            Self::Null => ColumnRef::Null,
            Self::Integer(number) => ColumnRef::Integer(*number),
            Self::Real(number) => ColumnRef::Real(*number),
            Self::Text(text) => ColumnRef::Text(text),
        }
    }
}

impl From<ColumnRef<'_>> for ColumnValue {
    fn from(column: ColumnRef<'_>) -> Self {
        match column {
            ColumnRef::Null => Self::Null,
            ColumnRef::Integer(number) => Self::Integer(number),
            ColumnRef::Real(number) => Self::Real(number),
            ColumnRef::Text(text) => Self::Text(text.to_owned()),
        }
    }
}

impl fmt::Debug for ColumnRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        ColumnValue::from(*self).fmt(formatter)
    }
}

impl fmt::Debug for ColumnValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null => "Null",
            Self::Integer(_) => "Integer(…)",
            Self::Real(_) => "Real(…)",
            Self::Text(_) => "Text(…)",
        })
    }
}

/// Text that its property's type can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is not a {expected}")]
pub struct InvalidValue {
    /// The type that was asked of it.
    pub expected: PropertyType,
}

impl InvalidValue {
    /// The stable name of the refusal, the same where HubSpot is the one that refuses.
    pub(crate) fn code(self) -> &'static str {
        match self.expected {
            PropertyType::Number | PropertyType::Decimal | PropertyType::Integer => {
                "invalid-number"
            }
            PropertyType::Bool => "invalid-boolean",
            PropertyType::Date | PropertyType::Datetime => "invalid-date",
            PropertyType::Enumeration | PropertyType::Set => "invalid-option",
            PropertyType::String => "refused",
        }
    }
}

impl PropertyType {
    /// Canonical form of text from HubSpot, in each of its spellings (`hubspot/api-facts.md#7`). Whatever HubSpot holds is
    /// believed: guards against slips of a program are in `canonical_here`.
    ///
    /// # Errors
    /// The text can't be of this type.
    pub fn canonical(self, text: Option<&str>) -> Result<Value, InvalidValue> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(Value::EMPTY);
        };
        let invalid = InvalidValue { expected: self };
        let canonical = match self {
            Self::String | Self::Enumeration => Some(text.to_owned()),
            Self::Number => canonical_number(text),
            Self::Decimal => canonical_decimal(text),
            Self::Integer => canonical_integer(text),
            Self::Bool => canonical_bool(text).map(str::to_owned),
            Self::Date => canonical_date(text),
            Self::Datetime => canonical_datetime(text),
            Self::Set => return Ok(Value::from_canonical(without_empty_parts(text))),
        };
        canonical.map(Value::from_canonical).ok_or(invalid)
    }

    /// As [`canonical`](Self::canonical), for text that is the caller's to give away.
    ///
    /// # Errors
    /// The text, which can't be of this type.
    pub(crate) fn canonical_of(self, text: Option<String>) -> Result<Value, String> {
        if matches!(self, Self::String | Self::Enumeration) {
            return Ok(Value::from_stored(text));
        }
        self.canonical(text.as_deref())
            .map_err(|_invalid| text.unwrap_or_default())
    }

    /// As [`canonical`](Self::canonical), for text that a program or a person wrote here: a whole number that can only be
    /// meant as seconds is no moment, since HubSpot would read it as one of 1970 (`hubspot/api-facts.md#14`).
    ///
    /// # Errors
    /// The text can't be of this type, or is a number of seconds.
    pub fn canonical_here(self, text: Option<&str>) -> Result<Value, InvalidValue> {
        let is_moment = matches!(self, Self::Date | Self::Datetime);
        match text {
            Some(text) if is_moment && is_seconds(text) => Err(InvalidValue { expected: self }),
            text => self.canonical(text),
        }
    }

    /// Canonical value of what a column holds.
    ///
    /// # Errors
    /// The column holds text that can't be of this type (a CHECK that was dropped, a client older than the check).
    pub fn from_column(self, column: &ColumnValue) -> Result<Value, InvalidValue> {
        match column {
            ColumnValue::Null => Ok(Value::EMPTY),
            ColumnValue::Integer(number) if self == Self::Bool => {
                self.canonical(Some(&(*number != 0).to_string()))
            }
            ColumnValue::Integer(number) => self.canonical_here(Some(&number.to_string())),
            ColumnValue::Real(number) => self.canonical_here(Some(&number.to_string())),
            ColumnValue::Text(text) => self.canonical_here(Some(text)),
        }
    }

    /// What the column stores for a canonical value. Text that can't be of this type is stored as NULL in columns that
    /// can't hold text.
    pub fn to_column(self, value: &Value) -> ColumnRef<'_> {
        let Some(text) = value.as_deref() else {
            return ColumnRef::Null;
        };
        match self {
            Self::Number => text.parse().map_or(ColumnRef::Null, ColumnRef::Real),
            Self::Integer => text.parse().map_or(ColumnRef::Null, ColumnRef::Integer),
            Self::Bool => ColumnRef::Integer(i64::from(text == "true")),
            Self::String
            | Self::Decimal
            | Self::Date
            | Self::Datetime
            | Self::Enumeration
            | Self::Set => ColumnRef::Text(text),
        }
    }

    /// Whether a value is one of several that a column of this type takes for one: from 2^53 on a REAL does not hold each whole
    /// number. Such a value can't say which record is meant.
    pub(crate) fn is_blurred(self, value: &Value) -> bool {
        let number = || value.as_deref()?.trim().parse::<f64>().ok();
        self == Self::Number && number().is_some_and(|number| number.abs() >= FIRST_BLURRED)
    }

    /// Whether two canonical values mean the same. A number's last digits may be spelled in more than one way.
    pub fn same(self, left: &Value, right: &Value) -> bool {
        left == right
            || (self == Self::Set && as_set(left) == as_set(right))
            || (self == Self::Number && is_one_number(left, right))
    }
}

/// 2^53: the number after it is the same REAL.
const FIRST_BLURRED: f64 = 9_007_199_254_740_992.0;

fn is_one_number(left: &Value, right: &Value) -> bool {
    let number = |value: &Value| value.as_deref()?.parse::<f64>().ok();
    number(left).is_some_and(|left| number(right) == Some(left))
}

fn as_set(value: &Value) -> BTreeSet<&str> {
    value.options().collect()
}

/// A set as HubSpot takes it: a leading `;` would append instead of replace (`hubspot/api-facts.md#7`).
fn without_empty_parts(text: &str) -> String {
    text.split(';')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(";")
}

fn canonical_number(text: &str) -> Option<String> {
    let number: f64 = text.trim().parse().ok()?;
    // Adding zero makes -0 the 0 that it equals.
    number.is_finite().then(|| (number + 0.0).to_string())
}

fn canonical_integer(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.to_string());
    }
    let plain = canonical_decimal(text)?;
    plain.parse::<i64>().ok().map(|number| number.to_string())
}

fn canonical_bool(text: &str) -> Option<&'static str> {
    match text.trim() {
        "true" | "TRUE" | "True" | "1" => Some("true"),
        "false" | "FALSE" | "False" | "0" => Some("false"),
        _ => None,
    }
}

/// The least number that a program's write may mean as milliseconds: smaller ones are seconds.
const LEAST_MILLIS: u64 = 100_000_000_000;

fn is_seconds(text: &str) -> bool {
    canonical_integer(text)
        .and_then(|number| number.parse::<i64>().ok())
        .is_some_and(|number| number != 0 && number.unsigned_abs() < LEAST_MILLIS)
}

fn from_millis(text: &str) -> Option<Timestamp> {
    Timestamp::checked_from_millis(canonical_integer(text)?.parse().ok()?)
}

fn canonical_date(text: &str) -> Option<String> {
    let text = text.trim();
    if is_canonical_day(text) {
        return Some(text.to_owned());
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        let day = date.format("%Y-%m-%d").to_string();
        return is_canonical_day(&day).then_some(day);
    }
    let moment = from_millis(text).or_else(|| Timestamp::parse(text))?;
    Some(moment.to_chrono().format("%Y-%m-%d").to_string())
}

/// Whether a text is `YYYY-MM-DD` and such a day exists.
fn is_canonical_day(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(4), number(2), number(2)) else {
        return false;
    };
    NaiveDate::from_ymd_opt(year as i32, month, day).is_some()
}

fn canonical_datetime(text: &str) -> Option<String> {
    let moment = from_millis(text).or_else(|| Timestamp::parse(text))?;
    Some(moment.to_string())
}

/// The longest decimal that is kept, in digits on either side of the point; an exponent beyond it is no number that a
/// CRM holds, and would cost memory.
const MAX_DECIMAL_DIGITS: i64 = 400;

/// Sign, digits and point without leading or trailing zeros or an exponent.
fn canonical_decimal(text: &str) -> Option<String> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let length = i64::try_from(digits.len()).ok()?;
    if point.abs() > MAX_DECIMAL_DIGITS || length > MAX_DECIMAL_DIGITS {
        return None;
    }
    Some(place_point(negative, &digits, point))
}

/// Writes `digits` with the decimal point after the first `point` of them (before them where negative).
fn place_point(negative: bool, digits: &str, point: i64) -> String {
    let left = "0".repeat(usize::try_from(-point).unwrap_or(0));
    let right = "0".repeat(usize::try_from(point - digits.len() as i64).unwrap_or(0));
    let padded = format!("{left}{digits}{right}");
    let split = usize::try_from(point).unwrap_or(0);
    let whole = padded[..split].trim_start_matches('0');
    let fraction = padded[split..].trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative && (whole != "0" || !fraction.is_empty()) {
        "-"
    } else {
        ""
    };
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: PropertyType, text: &str, expected: Option<&str>) {
        let value = kind.canonical(Some(text));
        match expected {
            Some(expected) => assert_eq!(value.expect(text).to_wire(), expected, "{kind} {text}"),
            None => assert!(value.is_err(), "{kind} {text}"),
        }
    }

    #[test]
    fn one_meaning_has_one_canonical_text() {
        check(PropertyType::Number, "1.0", Some("1"));
        check(PropertyType::Number, " 1e3 ", Some("1000"));
        check(PropertyType::Number, "1.0E7", Some("10000000"));
        check(PropertyType::Number, "-0", Some("0"));
        check(PropertyType::Number, "0.1", Some("0.1"));
        check(PropertyType::Number, "NaN", None);
        check(PropertyType::Number, "1,5", None);
        check(PropertyType::Decimal, "0012.3400", Some("12.34"));
        check(PropertyType::Decimal, "-0.00", Some("0"));
        check(PropertyType::Decimal, "1.5e3", Some("1500"));
        check(PropertyType::Decimal, "15e-3", Some("0.015"));
        check(
            PropertyType::Decimal,
            "9007199254740993.0000000001",
            Some("9007199254740993.0000000001"),
        );
        check(PropertyType::Decimal, "1e999999999", None);
        check(PropertyType::Decimal, ".", None);
        check(PropertyType::Integer, "57156923994", Some("57156923994"));
        check(PropertyType::Integer, "1.0", Some("1"));
        check(PropertyType::Integer, "1.5", None);
        check(PropertyType::Bool, "TRUE", Some("true"));
        check(PropertyType::Bool, "yes", None);
        check(PropertyType::Date, "1764028800000", Some("2025-11-25"));
        check(PropertyType::Date, "2026-11-24", Some("2026-11-24"));
        check(PropertyType::Date, "2024-02-29", Some("2024-02-29"));
        check(PropertyType::Date, "2026-02-29", None);
        check(PropertyType::Date, "+12026-11-24", None);
        check(PropertyType::Date, "-0001-01-01", None);
        check(PropertyType::Date, "2026-1-2", Some("2026-01-02"));
        check(
            PropertyType::Date,
            "2026-11-24T00:00:00Z",
            Some("2026-11-24"),
        );
        check(PropertyType::Date, "1764028800", Some("1970-01-21"));
        check(
            PropertyType::Datetime,
            "2026-11-23T00:00:00Z",
            Some("2026-11-23T00:00:00.000Z"),
        );
        check(
            PropertyType::Datetime,
            "1763856000000",
            Some("2025-11-23T00:00:00.000Z"),
        );
        check(PropertyType::Set, ";a;;b", Some("a;b"));
        check(PropertyType::String, " kept ", Some(" kept "));
    }

    #[test]
    fn everything_that_hubspot_holds_between_1900_and_2100_arrives_in_each_of_its_spellings() {
        check(PropertyType::Date, "68169600000", Some("1972-02-29"));
        check(PropertyType::Date, "-2208988800000", Some("1900-01-01"));
        check(PropertyType::Date, "-86400000", Some("1969-12-31"));
        check(PropertyType::Date, "0", Some("1970-01-01"));
        check(PropertyType::Date, "86400000", Some("1970-01-02"));
        check(PropertyType::Date, "4133894400000", Some("2100-12-31"));
        check(PropertyType::Date, "6.81696E10", Some("1972-02-29"));
        check(PropertyType::Date, "99999999999999999", None);
        check(
            PropertyType::Datetime,
            "1",
            Some("1970-01-01T00:00:00.001Z"),
        );
        check(
            PropertyType::Datetime,
            "-1",
            Some("1969-12-31T23:59:59.999Z"),
        );
        check(PropertyType::Datetime, "-99999999999999999", None);
        for digits in 0..=9 {
            let fraction = match digits {
                0 => String::new(),
                _ => format!(".{}", &"120000000"[..digits]),
            };
            let milliseconds = ["000", "100", "120"][digits.min(2)];
            for (day, zone) in [
                ("1900-01-01", "Z"),
                ("2100-12-31", "+00:00"),
                ("1969-12-31", "+0000"),
            ] {
                check(
                    PropertyType::Datetime,
                    &format!("{day}T23:59:59{fraction}{zone}"),
                    Some(&format!("{day}T23:59:59.{milliseconds}Z")),
                );
            }
        }
        check(PropertyType::Integer, "1.0E7", Some("10000000"));
        check(PropertyType::Decimal, "1.0E7", Some("10000000"));
        check(PropertyType::Number, "-1.5e-3", Some("-0.0015"));
        check(PropertyType::Bool, "false", Some("false"));
    }

    #[test]
    fn a_program_that_writes_seconds_for_milliseconds_is_told_so() {
        let check_here = |kind: PropertyType, text: &str, taken: bool| {
            assert_eq!(
                kind.canonical_here(Some(text)).is_ok(),
                taken,
                "{kind} {text}"
            );
        };
        for kind in [PropertyType::Date, PropertyType::Datetime] {
            check_here(kind, "1764028800", false);
            check_here(kind, " 1764028800 ", false);
            check_here(kind, "-1764028800", false);
            check_here(kind, "1764028800000", true);
            check_here(kind, "0", true);
            check_here(kind, "1972-02-29", true);
        }
        check_here(PropertyType::Integer, "1764028800", true);
        check_here(PropertyType::String, "1764028800", true);
    }

    proptest::proptest! {
        #[test]
        fn every_midnight_that_hubspot_gives_as_milliseconds_is_that_day(day in -25_567_i64..47_847) {
            let moment = Timestamp::from_millis(day * 86_400_000);
            let value = PropertyType::Date.canonical(Some(&moment.millis().to_string())).expect("a day");
            proptest::prop_assert_eq!(value.to_wire(), &moment.to_string()[..10]);
        }
    }

    #[test]
    fn a_set_has_no_order_and_text_has_case() {
        let set = |text: &str| Value::from_canonical(text);
        assert!(PropertyType::Set.same(&set("a;b"), &set("b;a")));
        assert!(!PropertyType::Set.same(&set("a;b"), &set("a")));
        assert!(!PropertyType::String.same(&set("A"), &set("a")));
        assert!(PropertyType::String.same(&set(""), &Value::EMPTY));
        let (spelling, other) = ("1321995350454.4814", "1321995350454.4815");
        assert!(PropertyType::Number.same(&set(spelling), &set(other)));
        assert!(!PropertyType::Decimal.same(&set(spelling), &set(other)));
        assert!(!PropertyType::Number.same(&set("0"), &Value::EMPTY));
    }

    #[test]
    fn only_a_number_that_a_real_tells_from_all_others_says_which_record_is_meant() {
        let check = |kind: PropertyType, text: &str, expected: bool| {
            let value = Value::from_canonical(text);
            assert_eq!(kind.is_blurred(&value), expected, "{kind} {text}");
        };
        check(PropertyType::Number, "9007199254740991", false);
        check(PropertyType::Number, "9007199254740992", true);
        check(PropertyType::Number, "-9007199254740993", true);
        check(PropertyType::Number, "1.0E16", true);
        check(PropertyType::Number, "0.1", false);
        check(PropertyType::Number, "", false);
        for kind in [
            PropertyType::Integer,
            PropertyType::Decimal,
            PropertyType::String,
        ] {
            check(kind, "9007199254740993", false);
        }
    }

    #[test]
    fn what_a_column_stores_reads_back_as_the_same_value() {
        for (kind, text) in [
            (PropertyType::Number, "12.5"),
            (PropertyType::Integer, "9007199254740993"),
            (PropertyType::Bool, "true"),
            (PropertyType::Bool, "false"),
            (PropertyType::Date, "2026-11-24"),
            (PropertyType::Datetime, "2026-11-24T01:02:03.004Z"),
            (PropertyType::Set, "b;a"),
        ] {
            let value = kind.canonical(Some(text)).expect(text);
            assert_eq!(
                kind.from_column(&kind.to_column(&value).into())
                    .expect(text),
                value
            );
        }
    }

    #[test]
    fn debug_output_never_shows_a_value() {
        assert_eq!(
            format!("{:?}", Value::from_canonical("secret")),
            "Value(6 bytes)"
        );
        assert_eq!(
            format!("{:?}", ColumnValue::Text("secret".to_owned())),
            "Text(…)"
        );
    }

    proptest::proptest! {
        #[test]
        fn canonical_text_is_its_own_canonical_text(text in "[-+]?[0-9]{0,5}\\.?[0-9]{0,5}(e-?[0-9]{1,2})?") {
            for kind in [PropertyType::Number, PropertyType::Decimal, PropertyType::Integer] {
                if let Ok(value) = kind.canonical(Some(&text)) {
                    proptest::prop_assert_eq!(kind.canonical(value.as_deref()).expect("canonical"), value);
                }
            }
        }
    }
}
