//! Decisions about an object or a pair that the mapping file no longer has: nobody could carry them out, so that they go back to the
//! person, with the reason.

use rusqlite::{Connection, Transaction};
use serde_json::json;

use crate::decide::decision::not_in_file;
use crate::engine::{Engine, StepError};
use crate::model::id::ConflictId;
use crate::model::mapping::Mapping;
use crate::store::{Lane, StoreError, conflicts};

/// How many decisions one step gives back.
const BATCH: usize = 100;

/// Gives back what nobody can carry out. Tells whether something was.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let mapping = engine.mapping();
    let found = engine
        .store
        .read({
            let mapping = mapping.clone();
            move |connection| waiting(connection, &mapping)
        })
        .await?;
    if found.is_empty() {
        return Ok(false);
    }
    let given_back = engine
        .store
        .write(Lane::Interactive, move |tx| give_back(tx, &mapping))
        .await?;
    Ok(given_back)
}

/// The same within a transaction, a batch of it.
pub(super) fn give_back(tx: &Transaction<'_>, mapping: &Mapping) -> Result<bool, StoreError> {
    let found = waiting(tx, mapping)?;
    for (id, name) in &found {
        conflicts::refuse_resolution(tx, *id, &not_in_file(name))?;
    }
    Ok(!found.is_empty())
}

/// What waits, with the name that is not mapped.
pub(super) fn waiting(
    connection: &Connection,
    mapping: &Mapping,
) -> Result<Vec<(ConflictId, String)>, StoreError> {
    let objects = mapping.objects.iter();
    let objects: Vec<&str> = objects.map(|object| object.object.as_str()).collect();
    let pairs = mapping.pairs.iter();
    let pairs: Vec<&str> = pairs.map(|pair| pair.key.as_str()).collect();
    let (objects, pairs) = (json!(objects).to_string(), json!(pairs).to_string());
    conflicts::decided_of_others(connection, &objects, &pairs, BATCH)
}
