//! Mirror tables as SQL: names, columns, checks. Triggers (`triggers.rs`, `guards.rs`), views and these are the only SQL
//! built from names.
//!
//! Every name is quoted, and was checked when it was made (`model/name.rs`). Nothing here needs more than SQLite 3.37.

use crate::decide::matching::MatchRule;
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::value::PropertyType;
pub use crate::store::shape::fit::fit_to_mapping;
pub(crate) use crate::store::shape::fit::{hold_directions, hold_types, make_match_index};
use crate::store::shape::matching;
pub(crate) use crate::store::shape::repair::repair;

/// A name as SQL, safe whatever it holds.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as SQL, safe whatever it holds.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The SQL of each item, one after the other.
pub(crate) fn each<T>(items: &[T], sql: impl Fn(&T) -> String) -> String {
    items.iter().map(sql).collect()
}

/// What `hs_archived` must be.
pub(crate) const ARCHIVED_CHECK: &str = "\"hs_archived\" IN (0, 1)";

/// A mirror table.
pub(crate) fn create_table(object: &ObjectMapping) -> String {
    let columns = each(&object.fields, |field| format!("    {},\n", column(field)));
    format!(
        "CREATE TABLE {table} (
    \"local_id\" INTEGER PRIMARY KEY AUTOINCREMENT,
    \"hs_id\" INTEGER UNIQUE,
{columns}    \"hs_created_at\" TEXT,
    \"hs_modified_at\" TEXT,
    \"hs_archived\" INTEGER NOT NULL DEFAULT 0 CONSTRAINT \"hs_archived must be 0 or 1\" CHECK ({ARCHIVED_CHECK})
) STRICT",
        table = quoted(object.table.as_str()),
    )
}

/// A mapped column with its check.
pub(crate) fn column(field: &FieldMapping) -> String {
    let name = quoted(field.column.as_str());
    let sql_type = field.property_type.sql_type();
    match check(field) {
        Some((sentence, condition)) => format!(
            "{name} {sql_type} CONSTRAINT {} CHECK ({condition})",
            quoted(&sentence)
        ),
        None => format!("{name} {sql_type}"),
    }
}

/// What a column of a type must hold: a sentence, which a refused client reads, and its condition. Empty text is the same
/// as NULL and always passes.
pub(crate) fn check(field: &FieldMapping) -> Option<(String, String)> {
    let name = field.column.as_str();
    let column = quoted(name);
    let (must, condition) = match field.property_type {
        PropertyType::Bool => (
            "must be 0, 1 or NULL [invalid-boolean]",
            format!("{column} IN (0, 1)"),
        ),
        PropertyType::Number => (
            "must be a finite number [invalid-number]",
            format!("abs({column}) <= 1.7976931348623157e308"),
        ),
        PropertyType::Decimal => (
            "must be a decimal number like 12.50 [invalid-number]",
            decimal_check(&column),
        ),
        PropertyType::Date => (
            "must be a date like 2026-11-24 [invalid-date]",
            date_check(&column),
        ),
        PropertyType::Datetime => (
            "must be a time like 2026-11-24T03:10:00.000Z [invalid-date]",
            datetime_check(&column),
        ),
        PropertyType::String
        | PropertyType::Integer
        | PropertyType::Enumeration
        | PropertyType::Set => return None,
    };
    Some((format!("{name} {must}"), condition))
}

fn decimal_check(column: &str) -> String {
    let unsigned = format!(
        "(CASE WHEN substr({column}, 1, 1) IN ('-', '+') THEN substr({column}, 2) ELSE {column} END)"
    );
    format!(
        "{column} = '' OR ({unsigned} GLOB '*[0-9]*' AND {unsigned} NOT GLOB '*[^0-9.]*' AND {unsigned} NOT GLOB '*.*.*')"
    )
}

const DAY: &str = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]";

/// SQLite carries 30 February over into March: what comes out must be what went in. Older versions hand a day out as it
/// came in, unless they have to reckon with it.
fn exists(day: &str) -> String {
    format!("date({day}, '+0 days') IS {day}")
}

fn date_check(column: &str) -> String {
    let exists = exists(column);
    format!("{column} = '' OR ({column} GLOB '{DAY}' AND {exists})")
}

/// `T` or a space, seconds and fraction or none, `Z`, an offset with or without its colon, or nothing; a day alone is its
/// midnight. SQLite reads offsets only with a colon.
fn datetime_check(column: &str) -> String {
    let with_colon = format!(
        "CASE WHEN {column} GLOB '*[+-][0-9][0-9][0-9][0-9]' \
         THEN substr({column}, 1, length({column}) - 2) || ':' || substr({column}, -2) ELSE {column} END"
    );
    format!(
        "{column} = '' OR (({column} GLOB '{DAY}' OR {column} GLOB '{DAY}[T ][0-2][0-9]:[0-9][0-9]*') \
         AND substr({column}, 12, 2) <> '24' AND {} \
         AND julianday({with_colon}) IS NOT NULL)",
        exists(&format!("substr({column}, 1, 10)"))
    )
}

/// Indexes on a mirror table that are ours, by name: the few rows that are marked, and the few without a record by what
/// says which record they are.
pub(crate) fn indexes(object: &ObjectMapping) -> Vec<(String, String)> {
    let archived = index(object, "archived", "\"hs_archived\"", "\"hs_archived\" = 1");
    let is_match = |field: &FieldMapping| object.match_property.as_ref() == Some(&field.property);
    let unlinked = object.identities().filter_map(|field| {
        let kind = if is_match(field) {
            "adopt"
        } else {
            "adopt_key"
        };
        let term = match_term(object, field)?;
        Some(index(object, kind, &term, "\"hs_id\" IS NULL"))
    });
    [archived].into_iter().chain(unlinked).collect()
}

/// The index of the rows with a record by their match value. Its entries come in no order, so that each row of a first
/// read would write a page of its own: it is made when that read ends.
pub(crate) fn match_index(object: &ObjectMapping) -> Option<(String, String)> {
    let field = object.match_field()?;
    Some(index(
        object,
        "match",
        &match_term(object, field)?,
        "\"hs_id\" IS NOT NULL",
    ))
}

fn match_term(object: &ObjectMapping, field: &FieldMapping) -> Option<String> {
    let rule = MatchRule::of(&object.object, field);
    matching::term(rule, &quoted(field.column.as_str()))
}

fn index(object: &ObjectMapping, kind: &str, term: &str, rows: &str) -> (String, String) {
    let table = object.table.as_str();
    let name = format!("sync_{kind}_{table}");
    let sql = format!(
        "CREATE INDEX {} ON {} ({term}) WHERE {rows}",
        quoted(&name),
        quoted(table)
    );
    (name, sql)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, types::Value};

    use super::*;
    use crate::model::mapping::Direction;
    use crate::model::value::ColumnValue;
    use crate::store::testing::{contacts, field};

    #[test]
    fn a_mirror_table_reads_like_this() {
        insta::assert_snapshot!("mirror_table", create_table(&contacts()));
    }

    #[test]
    fn names_and_texts_are_quoted_whatever_they_hold() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    fn taken(kind: PropertyType, value: Value) -> Result<(), String> {
        let connection = Connection::open_in_memory().expect("opens");
        let column = column(&field("x", "x", kind, Direction::Both));
        connection
            .execute_batch(&format!("CREATE TABLE t ({column}) STRICT"))
            .expect("the column is SQL");
        connection
            .execute("INSERT INTO t VALUES (?1)", [value])
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn check_texts(kind: PropertyType, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(
                taken(kind, Value::Text((*text).to_owned())),
                Ok(()),
                "{kind} {text}"
            );
        }
        for text in bad {
            let error = taken(kind, Value::Text((*text).to_owned())).expect_err(text);
            assert!(error.contains("x must be a"), "{kind} {text}: {error}");
        }
    }

    /// What HubSpot gives must never be refused here: its record would be kept out.
    #[test]
    fn checks_take_whatever_is_canonical() {
        let texts = [
            "0000-01-01",
            "0001-01-01",
            "9999-12-31",
            "+12026-11-24",
            "-0001-01-01",
            "2024-2-29",
            "-99999999999999999",
            "99999999999999999",
            "2016-12-31T23:59:60Z",
            "2026-11-24T03:10:00.9999Z",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "5e-324",
            "1e399",
            "-1e-399",
            "-0.0",
            "1",
            "true",
        ];
        for kind in PropertyType::ALL {
            let values = texts
                .iter()
                .filter_map(|text| Some((text, kind.canonical(Some(text)).ok()?)));
            for (text, value) in values {
                let stored = match ColumnValue::from(kind.to_column(&value)) {
                    ColumnValue::Null => Value::Null,
                    ColumnValue::Integer(number) => Value::Integer(number),
                    ColumnValue::Real(number) => Value::Real(number),
                    ColumnValue::Text(text) => Value::Text(text),
                };
                assert_eq!(taken(kind, stored), Ok(()), "{kind} {text}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn checks_take_every_day_and_moment(millis in -62_135_596_800_000_i64..253_402_300_800_000) {
            for kind in [PropertyType::Date, PropertyType::Datetime] {
                let text = crate::model::time::Timestamp::from_millis(millis).to_string();
                let value = kind.canonical(Some(&text)).expect("a moment");
                let text = value.as_deref().expect("is not empty").to_owned();
                proptest::prop_assert_eq!(taken(kind, Value::Text(text)), Ok(()));
            }
        }
    }

    #[test]
    fn checks_refuse_what_hubspot_would_refuse_and_the_type_can_tell() {
        check_texts(
            PropertyType::Date,
            &["", "2026-11-24", "2024-02-29"],
            &[
                "2026-02-29",
                "now",
                "24.11.2026",
                "2026-11-24T00:00",
                "2026-1-1",
            ],
        );
        check_texts(
            PropertyType::Datetime,
            &[
                "",
                "2026-11-24",
                "2026-11-24 03:10",
                "2026-11-24T03:10:00",
                "2026-11-24 03:10:00.5",
                "2026-11-24T03:10:00.123456Z",
                "2026-11-24T03:10:00+01:00",
                "2026-11-24 03:10:00-0330",
            ],
            &[
                "now",
                "2026-02-30T00:00:00Z",
                "2026-11-24T24:00:00Z",
                "2026-11-24T25:00Z",
                "1764028800000",
                "2026-11-24Tnoon",
            ],
        );
        check_texts(
            PropertyType::Decimal,
            &["", "12.50", "-0.1", "+3", ".5"],
            &["1,5", "1.2.3", "-", ".", "1e5", "12 "],
        );
        assert_eq!(taken(PropertyType::Bool, Value::Integer(1)), Ok(()));
        assert_eq!(taken(PropertyType::Bool, Value::Null), Ok(()));
        assert!(
            taken(PropertyType::Bool, Value::Integer(2))
                .expect_err("two")
                .contains("x must be 0, 1 or NULL [invalid-boolean]")
        );
        assert_eq!(taken(PropertyType::Number, Value::Real(1.5)), Ok(()));
        assert!(
            taken(PropertyType::Number, Value::Real(f64::INFINITY))
                .expect_err("infinite")
                .contains("x must be a finite number [invalid-number]")
        );
    }
}
