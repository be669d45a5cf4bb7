//! Options that a value has to be one of. With `strict_options` a program's value that is none of HubSpot's options is refused where
//! it is written (`design.md`, section 3); and where HubSpot has taken an option away that rows hold, the field says so.
//!
//! The options are those that HubSpot gave last (`_sync_options`), and those that it gave before (`_sync_gone_options`). A property
//! whose options live elsewhere, such as an owner, has none there and takes anything.

use std::collections::BTreeSet;

use rusqlite::{Connection, named_params};

use crate::decide::schema::FieldProblem;
use crate::model::mapping::{FieldMapping, Mapping, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::stage_properties;
use crate::model::row::MirrorRow;
use crate::model::value::{PropertyType, Value};
use crate::store::StoreError;
use crate::store::shape::ddl::{literal, quoted};

/// Whether a field takes HubSpot's options alone.
pub(crate) fn is_strict(object: &ObjectMapping, field: &FieldMapping) -> bool {
    object.modes.strict_options && has_options(field)
}

fn has_options(field: &FieldMapping) -> bool {
    matches!(
        field.property_type,
        PropertyType::Enumeration | PropertyType::Set
    )
}

/// Why a value is refused.
pub(crate) fn sentence(object: &ObjectMapping, field: &FieldMapping) -> String {
    format!(
        "{}.{} takes HubSpot's options alone: SELECT options FROM properties WHERE object = '{}' AND name = '{}' \
         lists them [invalid-option]",
        object.table, field.column, object.object, field.property
    )
}

/// Whether a value is, or has among its parts, none of the options.
pub(crate) fn is_unknown(object: &ObjectMapping, field: &FieldMapping, value: &str) -> String {
    let options = format!(
        "SELECT 1 FROM _sync_options AS o WHERE o.object = {} AND o.property = {}",
        literal(object.object.as_str()),
        literal(field.property.as_str())
    );
    let lacks = |part: &str| format!("NOT EXISTS ({options} AND o.value = {part})");
    let is_lacking = if field.property_type == PropertyType::Set {
        format!(
            "EXISTS (WITH RECURSIVE p (part, rest) AS (SELECT '', {value} || ';' UNION ALL
             SELECT substr(p.rest, 1, instr(p.rest, ';') - 1), substr(p.rest, instr(p.rest, ';') + 1) FROM p WHERE p.rest <> '')
             SELECT 1 FROM p WHERE p.part <> '' AND {})",
            lacks("p.part")
        )
    } else {
        lacks(value)
    };
    format!("{value} <> '' AND EXISTS ({options}) AND {is_lacking}")
}

/// Why a value that a person has decided on is refused: a program's write of it would be, and a decision is written past the triggers
/// that hold that rule. `None`: it is one of HubSpot's options, or the field takes anything.
pub(crate) fn refusal(
    connection: &Connection,
    object: &ObjectMapping,
    field: &FieldMapping,
    value: &Value,
) -> Result<Option<String>, StoreError> {
    if !is_strict(object, field) {
        return Ok(None);
    }
    let is_unknown: Option<bool> = connection
        .prepare_cached(&format!("SELECT {}", is_unknown(object, field, ":value")))?
        .query_row(named_params! { ":value": value.as_deref() }, |row| {
            row.get(0)
        })?;
    Ok((is_unknown == Some(true)).then(|| sentence(object, field)))
}

/// The codes of fields of which HubSpot has taken options, stages or pipelines away that rows hold. Everything else of these fields
/// is synced on.
pub(crate) const LOST: [&str; 3] = [OPTION_MISSING, STAGE_UNKNOWN, PIPELINE_UNKNOWN];

/// The same as a list in SQL.
pub(crate) fn lost_codes() -> String {
    LOST.map(literal).join(", ")
}

const OPTION_MISSING: &str = "option-missing";
const STAGE_UNKNOWN: &str = "unknown-stage";
const PIPELINE_UNKNOWN: &str = "unknown-pipeline";

/// Values that HubSpot had for a field and has no longer.
struct Lost {
    code: &'static str,
    /// One of them.
    what: &'static str,
    /// A query of them, whose one column is `value`.
    sql: String,
    /// A query of all that HubSpot is known to have had, likewise.
    ever: String,
}

/// Where values that are gone are known of a field, if it has a list of values at all.
fn lost_of(object: &ObjectMapping, field: &FieldMapping) -> Option<Lost> {
    let property = field.property.as_str();
    let code = match stage_properties(&object.object, |_| true) {
        Some(stages) if stages.stage == property => STAGE_UNKNOWN,
        Some(stages) if stages.pipeline == property => PIPELINE_UNKNOWN,
        Some(_) | None => Some(OPTION_MISSING).filter(|_| has_options(field))?,
    };
    Lost::by(code, object.object.as_str(), property)
}

impl Lost {
    /// By the code that says of what kind the values are.
    fn by(code: &str, object: &str, property: &str) -> Option<Self> {
        let code = LOST.into_iter().find(|known| *known == code)?;
        let (object, property) = (literal(object), literal(property));
        let all_of =
            |table: &str| format!("SELECT id AS value FROM {table} WHERE object = {object}");
        let options = |table: &str| {
            format!("SELECT value FROM {table} WHERE object = {object} AND property = {property}")
        };
        let (what, table) = match code {
            STAGE_UNKNOWN => ("stage", "pipeline_stages"),
            PIPELINE_UNKNOWN => ("pipeline", "pipelines"),
            _ => {
                let gone = options("_sync_gone_options");
                return Some(Self {
                    code,
                    what: "option",
                    ever: format!("{} UNION {gone}", options("_sync_options")),
                    sql: gone,
                });
            }
        };
        let ever = all_of(table);
        Some(Self {
            code,
            what,
            sql: format!(
                "{ever} AND archived = 1 AND id NOT IN (SELECT id FROM {table} WHERE object = {object} AND archived = 0)"
            ),
            ever,
        })
    }
}

/// Whether a value of a field that is degraded for what its rows hold is gone itself: any other is synced.
pub(crate) fn is_gone(
    connection: &Connection,
    (object, property, code): (&str, &str, &str),
    held: &str,
) -> rusqlite::Result<bool> {
    let Some(lost) = Lost::by(code, object, property) else {
        return Ok(false);
    };
    holds_any(connection, &lost, held)
}

fn holds_any(connection: &Connection, lost: &Lost, held: &str) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT 1 FROM ({}) AS g WHERE {}",
        lost.sql,
        has_value(":held", "g.value")
    ))?;
    Ok(!held.is_empty() && statement.exists(named_params! { ":held": held })?)
}

/// Whether a text is a value or, of a set, has it among its parts.
fn has_value(text: &str, value: &str) -> String {
    format!("instr(';' || {text} || ';', ';' || {value} || ';') > 0")
}

/// What is wrong with a field whose rows hold what HubSpot has no longer; nothing where none does.
pub(crate) fn lost_by(
    connection: &Connection,
    object: &ObjectMapping,
    field: &FieldMapping,
) -> Result<Option<FieldProblem>, StoreError> {
    let Some(lost) = lost_of(object, field) else {
        return Ok(None);
    };
    let gone = values_of(connection, &lost.sql)?;
    held(connection, (object, field), &lost, &gone)
}

/// The same, held against what HubSpot has of the field right now and the tables may not know yet.
pub(crate) fn lost_against(
    connection: &Connection,
    object: &ObjectMapping,
    field: &FieldMapping,
    offered: &BTreeSet<&str>,
) -> Result<Option<FieldProblem>, StoreError> {
    let Some(lost) = lost_of(object, field) else {
        return Ok(None);
    };
    let mut gone = values_of(connection, &lost.ever)?;
    gone.retain(|value| !offered.contains(value.as_str()));
    held(connection, (object, field), &lost, &gone)
}

fn values_of(connection: &Connection, sql: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let values = statement.query_map([], |row| row.get(0))?;
    Ok(values.collect::<Result<_, _>>()?)
}

/// What is wrong with a field, where rows hold any of these values.
fn held(
    connection: &Connection,
    (object, field): (&ObjectMapping, &FieldMapping),
    lost: &Lost,
    gone: &[String],
) -> Result<Option<FieldProblem>, StoreError> {
    // Nothing is counted where nothing is gone.
    if gone.is_empty() {
        return Ok(None);
    }
    let column = format!("m.{}", quoted(field.column.as_str()));
    let sql = format!(
        "SELECT g.value, count(*)
         FROM json_each(:gone) AS g
         JOIN {} AS m ON m.hs_archived = 0 AND {}
         GROUP BY g.value
         ORDER BY count(*) DESC, g.value",
        quoted(object.table.as_str()),
        has_value(&column, "g.value")
    );
    let gone = serde_json::json!(gone).to_string();
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! { ":gone": gone })?;
    let Some(first) = rows.next()? else {
        return Ok(None);
    };
    let (value, held): (String, i64) = (first.get(0)?, first.get(1)?);
    let more = match rows.next()? {
        Some(_) => ", nor others that rows hold",
        None => "",
    };
    let rows = match held {
        1 => "1 row holds it".to_owned(),
        _ => format!("{held} rows hold it"),
    };
    Ok(Some(FieldProblem {
        object: object.object.clone(),
        property: field.property.clone(),
        code: lost.code,
        problem: format!(
            "HubSpot has no {} `{value}` of `{}` any more, and {rows}{more}",
            lost.what, field.property
        ),
        hint: format!(
            "make it in HubSpot again, and what waits for it is sent; or write another one: SELECT local_id FROM {} WHERE {} = {}",
            object.table,
            field.column,
            literal(&value)
        ),
    }))
}

/// The same of all fields of a mapping.
pub(crate) fn lost(
    connection: &Connection,
    mapping: &Mapping,
) -> Result<Vec<FieldProblem>, StoreError> {
    let mut problems = Vec::new();
    for object in &mapping.objects {
        for field in &object.fields {
            problems.extend(lost_by(connection, object, field)?);
        }
    }
    Ok(problems)
}

/// The fields of a row that hold options, stages or pipelines which HubSpot has no longer: it would refuse the row for them. A
/// pipeline and its stage are one place: where one of them is gone, neither is sent.
pub(crate) fn gone_in(
    connection: &Connection,
    object: &ObjectMapping,
    row: &MirrorRow,
) -> Result<Vec<PropertyName>, StoreError> {
    let mut gone = Vec::new();
    if !has_gone(connection, &object.object)? {
        return Ok(gone);
    }
    let sent = || object.fields.iter().filter(|field| field.is_sent());
    for field in sent() {
        let Some(lost) = lost_of(object, field) else {
            continue;
        };
        if holds_any(connection, &lost, row.value(&field.property).to_wire())? {
            gone.push(field.property.clone());
        }
    }
    let place: Vec<&PropertyName> = sent()
        .map(|field| &field.property)
        .filter(|property| is_of_place(&object.object, property))
        .collect();
    if place.iter().any(|property| gone.contains(property)) {
        gone.retain(|property| !place.contains(&property));
        gone.extend(place.into_iter().cloned());
    }
    Ok(gone)
}

/// Whether a property says in which pipeline, or at which stage of it, a record stands.
pub(crate) fn is_of_place(object: &ObjectType, property: &PropertyName) -> bool {
    let stages = stage_properties(object, |_| true);
    stages.is_some_and(|stages| [stages.pipeline, stages.stage].contains(&property.as_str()))
}

/// Whether HubSpot has taken away any value of an object's fields.
fn has_gone(connection: &Connection, object: &ObjectType) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM _sync_gone_options WHERE object = :object
             UNION ALL
             SELECT 1 FROM pipelines WHERE object = :object AND archived = 1
             UNION ALL
             SELECT 1 FROM pipeline_stages WHERE object = :object AND archived = 1
             LIMIT 1",
        )?
        .exists(named_params! { ":object": object.as_str() })?)
}
