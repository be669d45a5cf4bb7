//! The user's own UNIQUE indexes on a mirror table: how a trigger finds the rows that a new one collides with.

use rusqlite::{Connection, named_params};

use crate::store::StoreError;
use crate::store::shape::ddl::quoted;

/// For each index the conditions that all hold for a row of the same key as `new`. An index that can't be understood is
/// left out. Of a partial one too many rows are found; the triggers look which of them are gone afterwards.
pub(crate) fn conditions(
    connection: &Connection,
    table: &str,
) -> Result<Vec<Vec<String>>, StoreError> {
    let columns = columns(connection, table)?;
    let mut statement = connection.prepare_cached(
        "SELECT l.name, s.sql
         FROM pragma_index_list(:table) AS l
         JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name
         WHERE l.\"unique\" = 1 AND l.origin = 'c'
         ORDER BY l.name",
    )?;
    let indexes = statement.query_map(named_params! { ":table": table }, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut all = Vec::new();
    for index in indexes {
        let (name, sql) = index?;
        let keys = keys(connection, &name)?;
        let terms = terms(&sql);
        if terms.len() != keys.len() {
            continue;
        }
        let same = keys.into_iter().zip(terms);
        let same = same.map(|(key, term)| key.same_as_new(connection, &term, &columns));
        all.extend(same.collect::<Option<Vec<String>>>());
    }
    Ok(all)
}

/// All columns, generated ones too.
fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM pragma_table_xinfo(:table) WHERE hidden IN (0, 2, 3) ORDER BY cid",
    )?;
    let names = statement.query_map(named_params! { ":table": table }, |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// A part of an index: a column, or an expression that has no name.
struct Key {
    column: Option<String>,
    collation: String,
}

fn keys(connection: &Connection, index: &str) -> Result<Vec<Key>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name, coll FROM pragma_index_xinfo(:index) WHERE key = 1 ORDER BY seqno",
    )?;
    let keys = statement.query_map(named_params! { ":index": index }, |row| {
        Ok(Key {
            column: row.get(0)?,
            collation: row.get(1)?,
        })
    })?;
    Ok(keys.collect::<Result<_, _>>()?)
}

impl Key {
    /// The condition; `None` for an expression that holds only inside its index. An expression is evaluated for `new` as it
    /// stands, over a row whose columns have the table's names.
    fn same_as_new(
        &self,
        connection: &Connection,
        term: &str,
        columns: &[String],
    ) -> Option<String> {
        let collation = quoted(&self.collation);
        if let Some(column) = &self.column {
            let column = quoted(column);
            return Some(format!("{column} = new.{column} COLLATE {collation}"));
        }
        let row = |value: &dyn Fn(&str) -> String| {
            let columns: Vec<String> = columns
                .iter()
                .map(|name| format!("{} AS {}", value(name), quoted(name)))
                .collect();
            columns.join(", ")
        };
        let empty = row(&|_| "NULL".to_owned());
        connection
            .prepare(&format!("SELECT ({term}) FROM (SELECT {empty})"))
            .ok()?;
        let new = row(&|name| format!("new.{}", quoted(name)));
        Some(format!(
            "({term}) = (SELECT ({term}) FROM (SELECT {new})) COLLATE {collation}"
        ))
    }
}

/// The terms of a CREATE INDEX, as written, without ASC and DESC; none where it holds a comment.
fn terms(sql: &str) -> Vec<String> {
    if sql.contains("--") || sql.contains("/*") {
        return Vec::new();
    }
    let mut terms = Vec::new();
    let (mut term, mut depth, mut quote) = (String::new(), 0, None);
    for letter in sql.chars() {
        if let Some(end) = quote {
            if letter == end {
                quote = None;
            }
        } else {
            match letter {
                '\'' | '"' | '`' => quote = Some(letter),
                '[' => quote = Some(']'),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            let is_end = depth == 0 && letter == ')';
            if is_end || (depth == 1 && letter == ',') {
                terms.push(without_order(&term));
                term.clear();
                if is_end {
                    break;
                }
                continue;
            }
            if depth == 1 && letter == '(' {
                term.clear();
                continue;
            }
        }
        term.push(letter);
    }
    terms
}

fn without_order(term: &str) -> String {
    let term = term.trim();
    let plain = term.rsplit_once(char::is_whitespace).filter(|(_, word)| {
        ["asc", "desc"]
            .iter()
            .any(|order| word.eq_ignore_ascii_case(order))
    });
    plain
        .map_or(term, |(before, _)| before.trim_end())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_told_apart_whatever_they_hold() {
        let check = |sql: &str, expected: &[&str]| assert_eq!(terms(sql), expected, "{sql}");
        check("CREATE UNIQUE INDEX i ON t (a)", &["a"]);
        check(
            "CREATE UNIQUE INDEX \"i (x, y)\" ON [t(] (lower(a), b DESC) WHERE (c, d) > (1, 2)",
            &["lower(a)", "b"],
        );
        check(
            "create unique index i on t(coalesce(a, ',)'), \"b,(\" COLLATE NOCASE asc)",
            &["coalesce(a, ',)')", "\"b,(\" COLLATE NOCASE"],
        );
        check("CREATE UNIQUE INDEX i ON t (a /* , */, b)", &[]);
        check(
            "CREATE UNIQUE INDEX i ON t (a || 'it''s (', b)",
            &["a || 'it''s ('", "b"],
        );
    }
}
