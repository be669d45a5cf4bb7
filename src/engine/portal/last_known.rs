//! The objects in force as the database last knew them, for whoever works beside a daemon or without one: the portal is not asked.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use crate::decide::schema::{resolve, synced_objects};
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::engine::portal::reading::settle;
use crate::engine::portal::schema::with_unlisted;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::store::shape::ddl;
use crate::store::{StoreError, reference};

/// What the objects of a mapping are by what was last read of the portal. One that was never read is left out. `made` is what the
/// database has of the mapping file (`store/shape/fit/as_made`).
///
/// # Errors
/// The database refuses.
pub fn objects(tx: &Transaction<'_>, made: &Mapping) -> Result<Objects, StoreError> {
    let names: Vec<ObjectType> = made
        .objects
        .iter()
        .map(|object| object.object.clone())
        .collect();
    let portal = reference::definitions(tx, &names)?;
    let schemas = reference::schemas(tx)?.into_iter();
    let schemas: BTreeMap<_, _> = schemas
        .filter_map(|(name, schema)| Some((ObjectType::parse(&name).ok()?, schema)))
        .collect();
    let unlisted = reference::unlisted(tx)?.into_iter();
    let unlisted: BTreeMap<_, _> = unlisted
        .filter_map(|(name, properties)| Some((ObjectType::parse(&name).ok()?, properties)))
        .collect();
    let none = BTreeSet::new();
    let known = settle(made, &portal, (&schemas, &none), &mut Vec::new());
    let (mapping, problems) = resolve(&known, &portal);
    let (mapping, held) = ddl::hold_types(tx, &mapping, &problems)?;
    let (mapping, locked) = ddl::hold_directions(tx, &mapping, made)?;
    let problems: Vec<_> = problems.into_iter().chain(held).chain(locked).collect();
    let synced = synced_objects(&mapping, &problems, &portal, &schemas).into_iter();
    let objects = synced.map(|object| ObjectSync::new(with_unlisted(object, &unlisted)));
    Ok(Objects::new(objects.collect()))
}
