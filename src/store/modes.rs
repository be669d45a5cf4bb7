//! `_sync_modes`: what the mapping file says of how single properties are kept, for those who write them down; and which of them were
//! ever read in full.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, named_params};

use crate::model::name::{ObjectType, PropertyName};
use crate::store::StoreError;
use crate::store::fields::FieldState;

/// What is said of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldMode {
    /// `history = false`.
    Unkept,
    /// `remote_history = true`.
    Told,
    /// Not of the file: the column has held the values of all records once. What HubSpot changes of it from there on is a change.
    Filled,
}

impl FieldMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unkept => "unkept",
            Self::Told => "remote_history",
            Self::Filled => "filled",
        }
    }
}

/// What saying it anew has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SaidModes {
    /// It is said of a property of which it was not.
    pub more: bool,
    /// It is not said any more of a property of which it was.
    pub less: bool,
}

/// Says it of these properties of an object, and of no others.
pub fn say(
    tx: &Transaction<'_>,
    object: &ObjectType,
    mode: FieldMode,
    properties: &[&PropertyName],
) -> Result<SaidModes, StoreError> {
    let names = properties.iter().map(|name| name.as_str());
    let listed = serde_json::Value::from(names.collect::<Vec<_>>()).to_string();
    let own = named_params! {
        ":object": object.as_str(),
        ":mode": mode.as_str(),
        ":properties": listed,
    };
    let gone = tx
        .prepare_cached(
            "DELETE FROM _sync_modes
             WHERE object = :object
               AND mode = :mode
               AND property NOT IN (SELECT value FROM json_each(:properties))",
        )?
        .execute(own)?;
    let new = tx
        .prepare_cached(
            "INSERT INTO _sync_modes (object, mode, property)
             SELECT :object, :mode, value
             FROM json_each(:properties)
             WHERE true
             ON CONFLICT DO NOTHING",
        )?
        .execute(own)?;
    Ok(SaidModes {
        more: new > 0,
        less: gone > 0,
    })
}

/// The columns of an object in a state of `sync_fields` hold the values of all its records.
pub(crate) fn note_filled(
    tx: &Transaction<'_>,
    object: &ObjectType,
    state: FieldState,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_modes (object, mode, property)
         SELECT object, :mode, property FROM sync_fields WHERE object = :object AND state = :state
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":mode": FieldMode::Filled.as_str(),
        ":state": state.as_str(),
    })?;
    Ok(())
}

/// A property's column was made anew: it holds nothing yet.
pub(crate) fn forget_filled(
    tx: &Transaction<'_>,
    object: &ObjectType,
    property: &PropertyName,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_modes WHERE object = :object AND mode = :mode AND property = :property",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":mode": FieldMode::Filled.as_str(),
        ":property": property.as_str(),
    })?;
    Ok(())
}

/// The properties of an object of which it is said.
pub fn said(
    connection: &Connection,
    object: &ObjectType,
    mode: FieldMode,
) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT property
         FROM _sync_modes
         WHERE object = :object AND mode = :mode",
    )?;
    let properties = statement.query_map(
        named_params! { ":object": object.as_str(), ":mode": mode.as_str() },
        |row| row.get(0),
    )?;
    Ok(properties.collect::<Result<_, _>>()?)
}

/// Whether it is said of a property.
pub fn is_said(
    connection: &Connection,
    object: &ObjectType,
    mode: FieldMode,
    property: &str,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1
             FROM _sync_modes
             WHERE object = :object AND mode = :mode AND property = :property",
        )?
        .exists(named_params! {
            ":object": object.as_str(),
            ":mode": mode.as_str(),
            ":property": property,
        })?)
}
