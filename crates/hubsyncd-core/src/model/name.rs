//! Names that come from the mapping file or from HubSpot, checked when they are made.
//!
//! A `TableName` or `ColumnName` is safe to quote into SQL: `store/shape/ddl.rs` takes nothing else.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest table or column name that is taken, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 63;

/// The longest property name (`hubspot/api-facts.md#3`: 100 characters).
pub(crate) const MAX_PROPERTY_BYTES: usize = 100;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing, or more than the bound.
    #[error("`{name}` must have 1 to {max} characters")]
    Length {
        /// The name as it was given.
        name: String,
        /// The bound that it broke.
        max: usize,
    },
    /// Something other than letters, digits and `_`, or a digit in front.
    #[error("`{name}` may only have letters, digits and `_`, and must not begin with a digit")]
    Characters {
        /// The name as it was given.
        name: String,
    },
    /// A name that SQLite or hubsyncd keeps for itself.
    #[error("`{name}` is reserved")]
    Reserved {
        /// The name as it was given.
        name: String,
    },
}

/// Tables that hubsyncd makes for itself, beside those that begin with `sync_`.
pub(crate) const RESERVED_TABLES: [&str; 8] = [
    "associations",
    "association_types",
    "owners",
    "pipelines",
    "pipeline_stages",
    "properties",
    "property_history",
    "stage_times",
];

/// SQLite's own tables that nobody has to make, beside those that begin with `pragma_` or `sqlite_`: a table of such a name
/// would stand in front of one that triggers and clients use.
const SQLITES_TABLES: [&str; 12] = [
    "bytecode",
    "carray",
    "completion",
    "dbstat",
    "fsdir",
    "fts3tokenize",
    "generate_series",
    "json_each",
    "json_tree",
    "jsonb_each",
    "jsonb_tree",
    "tables_used",
];

/// The most columns of a table, SQLite's own limit.
pub const MAX_COLUMNS: usize = 2000;

/// Columns that every mirror table has of its own.
pub const OWN_COLUMNS: [&str; 5] = [
    "local_id",
    "hs_id",
    "hs_created_at",
    "hs_modified_at",
    "hs_archived",
];

/// [`OWN_COLUMNS`], and `rowid` and its aliases, which would hide SQLite's.
pub const RESERVED_COLUMNS: [&str; 8] = [
    "local_id",
    "hs_id",
    "hs_created_at",
    "hs_modified_at",
    "hs_archived",
    "rowid",
    "oid",
    "_rowid_",
];

fn check_identifier(name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() || name.len() > max {
        return Err(NameError::Length {
            name: name.to_owned(),
            max,
        });
    }
    let mut bytes = name.bytes();
    let starts_well = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if !starts_well || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(NameError::Characters {
            name: name.to_owned(),
        });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a name, or says why it can't be one.
            pub fn parse(name: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(name).map(|()| Self(Arc::from(name)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

impl ObjectType {
    /// Whether it is one of HubSpot's object type ids, as `2-2000001`.
    pub fn is_type_id(&self) -> bool {
        is_type_id(self.as_str())
    }
}

impl TableName {
    /// What stands for the table of an object that is called by its type id, until the portal's schema has named it. No
    /// table is made under it, and no file can name it.
    pub fn until_named(object: &ObjectType) -> Self {
        Self(Arc::clone(&object.0))
    }

    /// Whether the portal's schema is to name the table.
    pub(crate) fn is_until_named(&self) -> bool {
        is_type_id(self.as_str())
    }
}

/// `2-2000001`: two numbers.
fn is_type_id(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= MAX_IDENTIFIER_BYTES
        && name
            .split_once('-')
            .is_some_and(|(kind, number)| is_number(kind) && is_number(number))
}

name! {
    /// What the mapping calls a kind of record: `contacts`, `notes`, a custom object's name or its object type id.
    ObjectType, |name| match is_type_id(name) {
        true => Ok(()),
        false => check_identifier(name, MAX_IDENTIFIER_BYTES),
    }
}
name! {
    /// A property's internal name in HubSpot.
    PropertyName, |name| check_identifier(name, MAX_PROPERTY_BYTES)
}
name! {
    /// A mirror table's name: none of SQLite's own, not `sync_…` or `_sync_…`, not a reference table's.
    TableName, |name| {
        check_identifier(name, MAX_IDENTIFIER_BYTES)?;
        let lower = name.to_ascii_lowercase();
        let is_kept = ["sqlite_", "pragma_", "sync_", "_sync_"].iter().any(|prefix| lower.starts_with(prefix));
        if is_kept || RESERVED_TABLES.contains(&lower.as_str()) || SQLITES_TABLES.contains(&lower.as_str()) {
            return Err(NameError::Reserved { name: name.to_owned() });
        }
        Ok(())
    }
}
name! {
    /// A mapped column's name: none that a mirror table has already.
    ColumnName, |name| {
        check_identifier(name, MAX_IDENTIFIER_BYTES)?;
        if RESERVED_COLUMNS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(NameError::Reserved { name: name.to_owned() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_and_underscores() {
        for good in ["contacts", "_x", "select", "Order"] {
            assert_eq!(TableName::parse(good).expect("good name").as_str(), good);
        }
        for bad in [
            "",
            "1st",
            "a b",
            "a\"b",
            "a;b",
            "ä",
            "sync_status",
            "SQLITE_master",
            "Owners",
        ] {
            assert!(TableName::parse(bad).is_err(), "{bad}");
        }
        assert!(TableName::parse(&"x".repeat(64)).is_err());
    }

    #[test]
    fn an_object_may_be_called_by_its_type_id() {
        for good in ["contacts", "p12345_machine", "2-2000001", "0-1"] {
            assert_eq!(ObjectType::parse(good).expect("good name").as_str(), good);
        }
        for bad in ["2-", "-1", "2-a", "2-1-3", "2_1", "2"] {
            assert!(ObjectType::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_column_may_not_hide_one_of_the_mirrors_own() {
        for bad in ["local_id", "HS_ID", "rowid", "hs_archived"] {
            assert!(
                matches!(ColumnName::parse(bad), Err(NameError::Reserved { .. })),
                "{bad}"
            );
        }
        assert!(ColumnName::parse("from").is_ok());
    }
}
