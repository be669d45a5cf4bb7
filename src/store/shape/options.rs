//! `strict_options`: a program's value that is none of HubSpot's options is refused where it is written (`design.md`, section 3).
//!
//! The options are those that HubSpot gave last (`_sync_options`). A property whose options live elsewhere, such as an owner,
//! has none there and takes anything.

use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::value::PropertyType;
use crate::store::shape::ddl::literal;

/// Whether a field takes HubSpot's options alone.
pub(crate) fn is_strict(object: &ObjectMapping, field: &FieldMapping) -> bool {
    let has_options = matches!(
        field.property_type,
        PropertyType::Enumeration | PropertyType::Set
    );
    object.modes.strict_options && has_options
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
