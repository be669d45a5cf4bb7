//! The rule of `decide/matching.rs` in SQL: a function of the daemon's own connections, and the terms of the indexes that
//! find its candidates. Beside it another function of theirs, which spells values.
//!
//! Other programs keep the indexes up, so that their terms use nothing but what SQLite 3.37 knows by itself. A term is
//! coarser than the rule: two values of one form have one term, or the empty one. The function has the last word.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use crate::decide::matching::{MatchRule, is_unseen};
use crate::model::value::{ColumnValue, PropertyType};
use crate::store::database::text;

/// The function's name: of a column's value and a rule's name it makes the form.
pub(crate) const FORM: &str = "hubsyncd_match_form";

/// Makes the rule known to a connection. It can't be used by what stands in the file.
pub fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function(FORM, 2, flags, |context| form(context))?;
    connection.create_scalar_function(SPELLED, 2, flags, |context| spelled(context))
}

/// Another function's name: of a column's value and a type's name it makes canonical text; what can't be of the type stays
/// as it is.
const SPELLED: &str = "hubsyncd_canonical";

/// A column's value in canonical spelling, as SQL for the daemon's own connections.
pub(crate) fn spelled_as(column: &str, kind: PropertyType) -> String {
    format!("{SPELLED}({column}, '{kind}')")
}

fn spelled(context: &Context<'_>) -> Result<Option<String>> {
    let held = match context.get_raw(0) {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => text::spelled(bytes),
    };
    let name: Option<String> = context.get(1)?;
    let kind = name.as_deref().and_then(PropertyType::parse);
    Ok(match kind.map(|kind| kind.canonical(Some(&held))) {
        Some(Ok(value)) => value.into_stored(),
        Some(Err(_)) | None => Some(held),
    })
}

fn form(context: &Context<'_>) -> Result<Option<String>> {
    let column = match context.get_raw(0) {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(number) => ColumnValue::Integer(number),
        ValueRef::Real(number) => ColumnValue::Real(number),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            ColumnValue::Text(String::from_utf8_lossy(text).into_owned())
        }
    };
    let rule: String = context.get(1)?;
    Ok(MatchRule::parse(&rule).and_then(|rule| rule.form_of_column(&column)))
}

/// The condition that a column holds a value of the form `?1`; the index serves it where the rule has a term.
pub(crate) fn holds_form(rule: MatchRule, column: &str) -> String {
    let exact = format!("{FORM}({column}, '{}') = ?1", rule.as_str());
    match term(rule, column) {
        None => exact,
        Some(own) if own == column => {
            let sql_type = match rule {
                MatchRule::Typed(property_type) => property_type.sql_type(),
                MatchRule::Text | MatchRule::Domain => "TEXT",
            };
            format!("{column} = CAST(?1 AS {sql_type}) AND {exact}")
        }
        Some(own) => {
            let asked = term(rule, "?1").expect("a rule with a term has it for each value");
            format!("{own} IN ({asked}, '') AND {exact}")
        }
    }
}

/// What an index holds of a value; `None` where the few rows are looked through.
pub(crate) fn term(rule: MatchRule, value: &str) -> Option<String> {
    match rule {
        MatchRule::Text => Some(text_term(value)),
        MatchRule::Domain => Some(domain_term(value)),
        MatchRule::Typed(PropertyType::Number | PropertyType::Integer) => Some(value.to_owned()),
        MatchRule::Typed(_) => None,
    }
}

/// Letters that SQLite's `lower` does not know leave their length and what stands before the first of them. Of those that
/// are no ASCII two become ASCII in lower case (U+212A, U+0130). What holds a NUL, behind which SQLite's functions see
/// nothing, has the empty term.
fn text_term(value: &str) -> String {
    let bare = format!(
        "trim(replace(replace({value}, char(8490), 'k'), char(304), 'i' || char(775)), {})",
        unseen()
    );
    format!(
        "CASE WHEN instr({value}, char(0)) THEN '' WHEN {bare} GLOB '*[^ -~]*' \
         THEN length({bare}) || ' ' || lower(substr({bare}, 1, length({bare}) - length(ltrim({bare}, {})))) \
         ELSE lower({bare}) END",
        ascii()
    )
}

/// The host, as far as ASCII goes; `w` and `.` in front of it say nothing, since `www.` is left out.
fn domain_term(value: &str) -> String {
    let lower = format!("lower({value})");
    let bare = format!(
        "substr({lower}, CASE instr({lower}, '://') WHEN 0 THEN 1 ELSE instr({lower}, '://') + 3 END)"
    );
    let cut = ["?", "#", ":", "\\"]
        .iter()
        .fold(bare, |text, sign| format!("replace({text}, '{sign}', '/')"));
    format!(
        "CASE WHEN {value} GLOB '*[^ -~]*' OR instr({value}, char(0)) THEN '' \
         ELSE ltrim(rtrim(substr({cut}, 1, instr({cut} || '/', '/') - 1), ' .'), ' .w') END"
    )
}

/// All letters that are left out at a value's ends, but NUL; in two lists, since a function takes 127 arguments.
fn unseen() -> String {
    let letters: Vec<String> = ('\u{1}'..='\u{ffff}')
        .filter(|letter| is_unseen(*letter))
        .map(|letter| u32::from(letter).to_string())
        .collect();
    let (first, rest) = letters.split_at(letters.len() / 2);
    format!("char({}) || char({})", first.join(","), rest.join(","))
}

fn ascii() -> String {
    let letters: String = (' '..='~').collect();
    crate::store::shape::ddl::literal(&letters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, TestCaseError, prop_assert, prop_oneof};
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::model::value::Value;

    fn with_rows(rule: MatchRule, texts: &[&str]) -> Connection {
        let connection = Connection::open_in_memory().expect("opens");
        register(&connection).expect("registers");
        let term = term(rule, "value").expect("an index");
        connection
            .execute_batch(&format!(
                "CREATE TABLE rows (value TEXT) STRICT; CREATE INDEX found ON rows ({term})"
            ))
            .expect("a client's own functions");
        for text in texts {
            connection
                .execute("INSERT INTO rows VALUES (?1)", [text])
                .expect("a row");
        }
        connection
    }

    fn count(connection: &Connection, rule: MatchRule, form: &str) -> usize {
        let sql = format!(
            "SELECT count(*) FROM rows WHERE {}",
            holds_form(rule, "value")
        );
        connection
            .query_row(&sql, [form], |row| row.get::<_, i64>(0))
            .expect("a count")
            .try_into()
            .expect("no less than 0")
    }

    #[test]
    fn sql_finds_every_spelling_of_a_value_by_its_index() {
        let check = |rule: MatchRule, texts: &[&str]| {
            let connection = with_rows(rule, texts);
            let form = rule.form(&Value::from_canonical(texts[0]));
            let form = form.expect("a form");
            assert_eq!(count(&connection, rule, &form), texts.len(), "{form}");
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT 1 FROM rows WHERE {}",
                holds_form(rule, "value")
            );
            let plan: String = connection
                .query_row(&sql, [&form], |row| row.get(3))
                .expect("a plan");
            assert!(plan.contains("USING INDEX found"), "{plan}");
        };
        check(
            MatchRule::Text,
            &[
                "ann@example.com",
                "Ann@Example.COM",
                " ann@example.com\r\n",
                "ann@example.com\u{a0}",
                "\u{feff}ann@example.com",
                "ann@example.com\0",
                "\tANN@example.com\u{3000}",
            ],
        );
        check(
            MatchRule::Text,
            &["éric@x.com", "ÉRIC@x.com\n", "\u{85}Éric@X.com"],
        );
        check(MatchRule::Text, &["order-k", "ORDER-\u{212a}"]);
        check(MatchRule::Text, &["i\u{307}x", "\u{130}X"]);
        check(
            MatchRule::Domain,
            &[
                "web.example.com",
                "https://www.web.example.com/about",
                "WEB.example.com.",
                "http://web.example.com:80?x",
                "www.web.example.com\u{a0}",
                "\tweb.example.com",
            ],
        );
        check(MatchRule::Domain, &["www.müller.de", "https://MÜLLER.de/"]);
    }

    #[test]
    fn values_of_one_form_are_found_whatever_they_are() {
        let letters = || {
            prop_oneof![
                proptest::char::any(),
                proptest::char::range('!', 'z'),
                proptest::sample::select(vec![
                    '\0', '\r', ' ', '\u{a0}', '\u{212a}', '\u{130}', 'Σ', 'ς', '.', '/', ':', 'w',
                    'W', '\u{feff}', '@',
                ]),
            ]
        };
        let text = proptest::collection::vec(letters(), 0..12)
            .prop_map(|letters| letters.into_iter().collect::<String>());
        let found = |rule: MatchRule, text: &str| -> std::result::Result<(), TestCaseError> {
            let Some(form) = rule.form(&Value::from_canonical(text)) else {
                return Ok(());
            };
            let connection = with_rows(rule, &[text, &text.to_uppercase().to_lowercase(), &form]);
            prop_assert!(
                count(&connection, rule, &form) >= 2,
                "{text:?} and {form:?}"
            );
            Ok(())
        };
        TestRunner::new(ProptestConfig::with_cases(600))
            .run(&text, |text| {
                found(MatchRule::Text, &text)?;
                found(MatchRule::Domain, &text)
            })
            .expect("each is found");
    }
}
