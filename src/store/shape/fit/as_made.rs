//! A mapping as the database has it, for whoever reads the mirror and can't ask a daemon what is in force. A right file may be ahead of
//! the tables for as long as HubSpot can't be asked for it: a column has its former name then, and a new one is not there.

use std::time::Duration;

use rusqlite::{Connection, named_params};

use crate::model::association::PairMapping;
use crate::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Mapping, Modes, ObjectMapping, Policy,
};
use crate::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use crate::model::value::PropertyType;
use crate::store::StoreError;
use crate::store::fields::{FieldRow, FieldState};
use crate::store::shape::fit::{KnownBefore, TYPE_CHANGE, UNMAPPED, columns_of, has, tables_of};

/// What of a mapping file the database has: objects, properties and pairs under the names of their tables, columns and views, with the
/// types and directions that these were made for. How they are synced says the file. What a program has dropped or replaced is left out.
///
/// # Errors
/// SQLite's own.
pub(crate) fn as_made(connection: &Connection, file: &Mapping) -> Result<Mapping, StoreError> {
    let known = KnownBefore::read(connection)?;
    let mut objects = Vec::new();
    for made in made_objects(connection)? {
        let Some(object) = file.object(made.object.as_str()) else {
            continue;
        };
        let columns = columns_of(connection, made.table.as_str())?;
        let fields = object.fields.iter();
        let fields = fields.filter_map(|field| known.as_it_is(object, field));
        objects.push(ObjectMapping {
            fields: fields
                .filter(|field| has(&columns, field.column.as_str()))
                .collect(),
            table: made.table,
            direction: made.direction,
            ..object.clone()
        });
    }
    let place = |object: &ObjectMapping| {
        let mut listed = file.objects.iter();
        listed.position(|listed| listed.object == object.object)
    };
    objects.sort_by_key(place);
    let pairs = as_made_pairs(connection, file)?;
    Ok(Mapping { objects, pairs }.of_objects(|_| true))
}

/// A mapping file with the objects and properties that the database has beside it: they have left the file, and it is not in force yet.
/// Nothing says any more how those are synced.
///
/// # Errors
/// SQLite's own.
pub(crate) fn with_those_that_left(
    connection: &Connection,
    file: &Mapping,
) -> Result<Mapping, StoreError> {
    let known = KnownBefore::read(connection)?;
    let mut all = file.clone();
    for made in made_objects(connection)? {
        if all.object(made.object.as_str()).is_none() {
            all.objects.push(made.alone());
        }
    }
    for object in &mut all.objects {
        let left = known.of_object(object).filter_map(field_alone);
        let left = left.filter(|field| object.field(&field.property).is_none());
        let left: Vec<FieldMapping> = left.collect();
        object.fields.extend(left);
    }
    Ok(all)
}

/// An object that has its table.
struct MadeObject {
    object: ObjectType,
    table: TableName,
    direction: Direction,
}

impl MadeObject {
    fn alone(&self) -> ObjectMapping {
        ObjectMapping {
            object: self.object.clone(),
            address: None,
            table: self.table.clone(),
            direction: self.direction,
            key: KeyChoice::None,
            match_property: None,
            modes: Modes::default(),
            policy: Policy::Remote,
            poll: Duration::ZERO,
            fields: Vec::new(),
        }
    }
}

fn made_objects(connection: &Connection) -> Result<Vec<MadeObject>, StoreError> {
    let tables = tables_of(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT object, direction FROM _sync_objects WHERE direction <> :unmapped",
    )?;
    let listed = statement.query_map(named_params! { ":unmapped": UNMAPPED }, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut objects = Vec::new();
    for listed in listed {
        let (object, direction) = listed?;
        let Some(table) = tables.get(&object) else {
            continue;
        };
        let read = (
            ObjectType::parse(&object),
            TableName::parse(table),
            Direction::parse(&direction),
        );
        if let (Ok(object), Ok(table), Some(direction)) = read {
            objects.push(MadeObject {
                object,
                table,
                direction,
            });
        }
    }
    Ok(objects)
}

impl KnownBefore {
    /// A field of the file by its column. A type that HubSpot changed under it is found out anew by whoever settles the types.
    fn as_it_is(&self, object: &ObjectMapping, field: &FieldMapping) -> Option<FieldMapping> {
        let (made, known) = (self.as_made(object, field)?, self.field(object, field)?);
        let is_retyped = known.code.as_deref() == Some(TYPE_CHANGE);
        Some(FieldMapping {
            declared_type: Some(made.property_type).filter(|_| !is_retyped),
            direction: Direction::parse(&known.direction)?,
            ..made
        })
    }
}

/// A property that is not in the file.
fn field_alone(known: &FieldRow) -> Option<FieldMapping> {
    if known.state == FieldState::Unmapped {
        return None;
    }
    Some(FieldMapping {
        property: PropertyName::parse(&known.property).ok()?,
        column: ColumnName::parse(&known.column_name).ok()?,
        declared_type: None,
        property_type: PropertyType::parse(&known.property_type)?,
        direction: Direction::parse(&known.direction)?,
        policy: Policy::Remote,
        modes: FieldModes::default(),
    })
}

/// The pairs of a file whose ends the database knows for one, under the name that it has there.
fn as_made_pairs(connection: &Connection, file: &Mapping) -> Result<Vec<PairMapping>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT pair FROM _sync_link_passes WHERE from_object = :from AND to_object = :to ORDER BY pair LIMIT 1",
    )?;
    let mut pairs = Vec::new();
    for pair in &file.pairs {
        let ends = named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str() };
        let mut rows = statement.query(ends)?;
        let Some(row) = rows.next()? else {
            continue;
        };
        let name: String = row.get(0)?;
        if let Ok(key) = TableName::parse(&name) {
            pairs.push(PairMapping {
                key,
                ..pair.clone()
            });
        }
    }
    Ok(pairs)
}
