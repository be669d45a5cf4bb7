//! Changes to mirror tables that are there already, as SQL: renames, new columns, a column under another type.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::MAX_IDENTIFIER_BYTES;
use crate::model::value::PropertyType;
use crate::store::StoreError;
use crate::store::fields::FieldRow;
use crate::store::shape::ddl::{self, quoted};
use crate::store::shape::matching::spelled_as;

pub(crate) fn rename_table(from: &str, to: &str) -> String {
    format!("ALTER TABLE {} RENAME TO {}", quoted(from), quoted(to))
}

pub(crate) fn rename_column(table: &str, from: &str, to: &str) -> String {
    format!(
        "ALTER TABLE {} RENAME COLUMN {} TO {}",
        quoted(table),
        quoted(from),
        quoted(to)
    )
}

pub(crate) fn add_column(table: &str, field: &FieldMapping) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {}",
        quoted(table),
        ddl::column(field)
    )
}

/// Types whose columns are the same: text without a check.
pub(crate) fn is_plain_text(kind: PropertyType) -> bool {
    match kind {
        PropertyType::String | PropertyType::Enumeration | PropertyType::Set => true,
        PropertyType::Number
        | PropertyType::Decimal
        | PropertyType::Integer
        | PropertyType::Bool
        | PropertyType::Date
        | PropertyType::Datetime => false,
    }
}

/// A name for a column that was mapped once and whose name is wanted for another property.
pub(crate) fn name_aside(column: &str, property: &str, taken: &[String]) -> String {
    let mut plain = format!("{column}_of_{property}");
    plain.truncate(MAX_IDENTIFIER_BYTES - 4);
    let numbered = (1..1000).map(|number| {
        if number == 1 {
            plain.clone()
        } else {
            format!("{plain}_{number}")
        }
    });
    let mut free =
        numbered.filter(|name| !taken.iter().any(|column| column.eq_ignore_ascii_case(name)));
    free.next().expect("a table has fewer columns than that")
}

/// The check of a renamed column names it in its sentence. Empty where the column has none.
pub(crate) fn rename_check(object: &ObjectMapping, field: &FieldRow, to: &str) -> String {
    let table = quoted(object.table.as_str());
    let Some(mapped) = object
        .fields
        .iter()
        .find(|mapped| mapped.property.as_str() == field.property)
    else {
        return String::new();
    };
    let Some(kind) = PropertyType::parse(&field.property_type) else {
        return String::new();
    };
    let named = |column: &str| {
        let column = crate::model::name::ColumnName::parse(column).ok()?;
        ddl::check(&FieldMapping {
            column,
            property_type: kind,
            ..mapped.clone()
        })
    };
    match (named(&field.column_name), named(to)) {
        (Some((old, _)), Some((new, condition))) => format!(
            "ALTER TABLE {table} DROP CONSTRAINT {}; ALTER TABLE {table} ADD CONSTRAINT {} CHECK ({condition})",
            quoted(&old),
            quoted(&new)
        ),
        (Some(_) | None, _) => String::new(),
    }
}

/// Every value of a column of this type, as rows of `sync_history`; parameters `:now`, `:object`, `:property`.
pub(crate) fn values_to_history(
    object: &ObjectMapping,
    field: &FieldMapping,
    from: PropertyType,
) -> String {
    let (table, column) = (quoted(object.table.as_str()), quoted(field.column.as_str()));
    let value = spelled_as(&column, from);
    format!(
        "INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, new_value, origin)
         SELECT :now, :object, \"local_id\", \"hs_id\", :property, {value}, NULL, 'schema'
         FROM {table}
         WHERE {column} <> ''"
    )
}

/// Drops a column of the type `from` and adds it under its new one. The indexes that hold it, the user's own too, are made
/// again.
pub(crate) fn make_anew(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    field: &FieldMapping,
    from: PropertyType,
) -> Result<(), StoreError> {
    let (table, column) = (quoted(object.table.as_str()), quoted(field.column.as_str()));
    drop_check(tx, object, field, from)?;
    let indexes = indexes_with(tx, object.table.as_str(), field.column.as_str())?;
    for (name, _) in &indexes {
        tx.execute_batch(&format!("DROP INDEX {}", quoted(name)))?;
    }
    // Triggers and views that read the column stay: it is back at once.
    tx.pragma_update(None, "legacy_alter_table", true)?;
    let dropped = tx.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}"));
    tx.pragma_update(None, "legacy_alter_table", false)?;
    dropped?;
    tx.execute_batch(&add_column(object.table.as_str(), field))?;
    for (_, sql) in indexes {
        tx.execute_batch(&sql)?;
    }
    Ok(())
}

/// The check of a column that was renamed is the table's, and would keep the column from being dropped.
fn drop_check(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    field: &FieldMapping,
    from: PropertyType,
) -> Result<(), StoreError> {
    let former = FieldMapping {
        property_type: from,
        ..field.clone()
    };
    let Some((sentence, _)) = ddl::check(&former) else {
        return Ok(());
    };
    let sql: String = tx.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(:table)",
        named_params! { ":table": object.table.as_str() },
        |row| row.get(0),
    )?;
    if !sql.contains(&quoted(&sentence)) {
        return Ok(());
    }
    let table = quoted(object.table.as_str());
    Ok(tx.execute_batch(&format!(
        "ALTER TABLE {table} DROP CONSTRAINT {}",
        quoted(&sentence)
    ))?)
}

/// Indexes that hold a column, or whose expression or condition may.
fn indexes_with(
    connection: &Connection,
    table: &str,
    column: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT name, sql
         FROM sqlite_schema
         WHERE type = 'index' AND lower(tbl_name) = lower(:table) AND sql IS NOT NULL
           AND (instr(lower(sql), lower(:column)) > 0
                OR EXISTS (SELECT 1 FROM pragma_index_info(sqlite_schema.name) AS i WHERE lower(i.name) = lower(:column)))
         ORDER BY name",
    )?;
    let rows = statement.query_map(
        named_params! { ":table": table, ":column": column },
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The indexes on a mirror table that are ours, by name.
pub(crate) fn own_indexes(
    connection: &Connection,
    table: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name, sql
         FROM sqlite_schema
         WHERE type = 'index'
           AND lower(tbl_name) = lower(:table)
           AND (name LIKE 'sync\\_archived\\_%' ESCAPE '\\'
                OR name LIKE 'sync\\_adopt\\_%' ESCAPE '\\'
                OR name LIKE 'sync\\_match\\_%' ESCAPE '\\')
         ORDER BY name",
    )?;
    let rows = statement.query_map(named_params! { ":table": table }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
