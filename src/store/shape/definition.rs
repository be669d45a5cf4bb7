//! Whether a table is the mirror that hubsyncd made: by its definition, not by its columns' names.
//!
//! A program that writes a whole table back (pandas' `to_sql(if_exists="replace")`, CREATE AS SELECT with a rename, many
//! migration tools) makes one of the same columns without their types, keys and checks. Nothing written to it is seen, and
//! its rows have no `local_id`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::model::mapping::FieldMapping;
use crate::store::StoreError;
use crate::store::shape::ddl;

/// What a table lacks to be the mirror; `None` where it is the mirror. A mapped column that is not there is no reason: it
/// is made again. The user's own columns, indexes and triggers are free.
pub(crate) fn difference(
    connection: &Connection,
    table: &str,
    fields: &[FieldMapping],
) -> Result<Option<String>, StoreError> {
    let Some(found) = FoundTable::of(connection, table)? else {
        return Ok(Some("it is not there".to_owned()));
    };
    Ok(found.kind().or_else(|| found.own_columns()).or_else(|| {
        fields
            .iter()
            .find_map(|field| found.mapped_column(field))
            .or_else(|| found.checks(fields))
    }))
}

/// A table as the file has it.
struct FoundTable {
    kind: String,
    is_without_rowid: bool,
    is_strict: bool,
    sql: String,
    columns: BTreeMap<String, Column>,
    /// Columns that a UNIQUE constraint of the table holds alone.
    unique: Vec<String>,
}

struct Column {
    sql_type: String,
    is_not_null: bool,
    default: Option<String>,
    key: i64,
}

impl FoundTable {
    fn of(connection: &Connection, table: &str) -> Result<Option<Self>, StoreError> {
        let name = named_params! { ":table": table };
        let found = connection
            .prepare_cached(
                "SELECT l.type, l.wr, l.strict, coalesce(s.sql, '')
                 FROM pragma_table_list AS l
                 JOIN sqlite_schema AS s ON s.name = l.name AND s.type IN ('table', 'view')
                 WHERE l.schema = 'main' AND lower(l.name) = lower(:table)",
            )?
            .query_row(name, |row| {
                Ok(Self {
                    kind: row.get(0)?,
                    is_without_rowid: row.get(1)?,
                    is_strict: row.get(2)?,
                    sql: row.get(3)?,
                    columns: BTreeMap::new(),
                    unique: Vec::new(),
                })
            })
            .optional()?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        if found.kind != "table" {
            return Ok(Some(found));
        }
        let mut statement = connection.prepare_cached(
            "SELECT lower(name), type, \"notnull\", dflt_value, pk FROM pragma_table_info(:table)",
        )?;
        let columns = statement.query_map(name, |row| {
            let column = Column {
                sql_type: row.get(1)?,
                is_not_null: row.get(2)?,
                default: row.get(3)?,
                key: row.get(4)?,
            };
            Ok((row.get(0)?, column))
        })?;
        found.columns = columns.collect::<Result<_, _>>()?;
        let mut statement = connection.prepare_cached(
            "SELECT min(lower(i.name))
             FROM pragma_index_list(:table) AS l
             JOIN pragma_index_info(l.name) AS i
             WHERE l.origin = 'u'
             GROUP BY l.name
             HAVING count(*) = 1",
        )?;
        let unique = statement.query_map(name, |row| row.get::<_, Option<String>>(0))?;
        found.unique = unique
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect();
        Ok(Some(found))
    }

    fn kind(&self) -> Option<String> {
        let lacks = if self.kind != "table" {
            format!("it is a {}", self.kind)
        } else if self.is_without_rowid {
            "it is WITHOUT ROWID".to_owned()
        } else if !self.is_strict {
            "it is not STRICT".to_owned()
        } else if !self.sql.to_ascii_uppercase().contains("AUTOINCREMENT") {
            "it has no AUTOINCREMENT".to_owned()
        } else {
            return None;
        };
        Some(lacks)
    }

    fn own_columns(&self) -> Option<String> {
        let is = |name: &str, sql_type: &str, key: i64, not_null: bool, default: Option<&str>| {
            self.columns.get(name).is_some_and(|column| {
                column.sql_type.eq_ignore_ascii_case(sql_type)
                    && column.key == key
                    && (column.is_not_null == not_null || key > 0)
                    && column.default.as_deref() == default
            })
        };
        if !is("local_id", "INTEGER", 1, false, None) {
            return Some("its local_id is no primary key".to_owned());
        }
        if !is("hs_id", "INTEGER", 0, false, None)
            || !self.unique.iter().any(|name| name == "hs_id")
        {
            return Some("its hs_id is not unique".to_owned());
        }
        ["hs_created_at", "hs_modified_at"]
            .into_iter()
            .find(|name| !is(name, "TEXT", 0, false, None))
            .or_else(|| {
                (!is("hs_archived", "INTEGER", 0, true, Some("0"))).then_some("hs_archived")
            })
            .map(|name| format!("its {name} is another column"))
    }

    fn mapped_column(&self, field: &FieldMapping) -> Option<String> {
        let column = self
            .columns
            .get(&field.column.as_str().to_ascii_lowercase())?;
        let sql_type = field.property_type.sql_type();
        let is_kept = column.sql_type.eq_ignore_ascii_case(sql_type)
            && !column.is_not_null
            && column.default.is_none()
            && column.key == 0;
        (!is_kept).then(|| format!("its {} is another column", field.column))
    }

    /// The checks in the table's text: a program's values get past a column that has lost its own.
    fn checks(&self, fields: &[FieldMapping]) -> Option<String> {
        let archived = ddl::ARCHIVED_CHECK.to_owned();
        let there = |field: &&FieldMapping| {
            self.columns
                .contains_key(&field.column.as_str().to_ascii_lowercase())
        };
        let mapped = fields
            .iter()
            .filter(there)
            .filter_map(|field| Some((field.column.as_str(), ddl::check(field)?.1)));
        [("hs_archived", archived)]
            .into_iter()
            .chain(mapped)
            .find(|(_, condition)| !self.sql.contains(&format!("CHECK ({condition})")))
            .map(|(column, _)| format!("its {column} has lost its check"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::contacts;

    fn check(alter: impl Fn(&str) -> String, expected: Option<&str>) {
        let connection = Connection::open_in_memory().expect("opens");
        let sql = alter(&ddl::create_table(&contacts()));
        connection.execute_batch(&sql).expect("is SQL");
        let found = difference(&connection, "contacts", &contacts().fields).expect("looks");
        assert_eq!(found.as_deref(), expected, "{sql}");
    }

    #[test]
    fn a_table_is_the_mirror_by_its_definition_and_not_by_its_columns_names() {
        let replaced = |from: &'static str, to: &'static str| {
            move |sql: &str| {
                assert!(sql.contains(from), "{from}");
                sql.replacen(from, to, 1)
            }
        };
        check(str::to_owned, None);
        check(
            |sql| {
                format!(
                    "{sql}; ALTER TABLE contacts ADD COLUMN note TEXT; CREATE UNIQUE INDEX own ON contacts (email);
                     ALTER TABLE contacts DROP COLUMN first_name"
                )
            },
            None,
        );
        check(
            |sql| {
                format!(
                    "{sql}; CREATE TABLE copy AS SELECT * FROM contacts; DROP TABLE contacts; ALTER TABLE copy RENAME TO contacts"
                )
            },
            Some("it is not STRICT"),
        );
        check(
            |sql| {
                format!(
                    "{sql}; ALTER TABLE contacts RENAME TO other; CREATE VIEW contacts AS SELECT * FROM other"
                )
            },
            Some("it is a view"),
        );
        check(|_| "SELECT 1".to_owned(), Some("it is not there"));
        check(replaced(") STRICT", ")"), Some("it is not STRICT"));
        check(
            replaced(" AUTOINCREMENT", ""),
            Some("it has no AUTOINCREMENT"),
        );
        check(
            |sql| {
                sql.replace(" AUTOINCREMENT", "")
                    .replace(") STRICT", ") STRICT, WITHOUT ROWID")
            },
            Some("it is WITHOUT ROWID"),
        );
        check(
            replaced(
                "INTEGER PRIMARY KEY AUTOINCREMENT",
                "INTEGER /* AUTOINCREMENT */",
            ),
            Some("its local_id is no primary key"),
        );
        check(
            replaced("\"hs_id\" INTEGER UNIQUE", "\"hs_id\" INTEGER"),
            Some("its hs_id is not unique"),
        );
        check(
            replaced("INTEGER NOT NULL DEFAULT 0", "INTEGER DEFAULT 0"),
            Some("its hs_archived is another column"),
        );
        check(
            replaced("\"hs_archived\" IN (0, 1)", "1"),
            Some("its hs_archived has lost its check"),
        );
        check(
            replaced("\"email\" TEXT", "\"email\" TEXT NOT NULL"),
            Some("its email is another column"),
        );
        check(
            replaced("\"revenue\" REAL", "\"revenue\" TEXT"),
            Some("its revenue is another column"),
        );
        check(
            replaced("\"opt_out\" IN (0, 1)", "1"),
            Some("its opt_out has lost its check"),
        );
    }
}
