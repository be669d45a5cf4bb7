//! Properties that an answer does not show though they were asked for.
//!
//! HubSpot shows a property without a value as `null`; one that is left out has none either, unless HubSpot has no such
//! property any more: then it is left out of every answer at once (`hubspot/api-facts.md#5`), and taken for empty it
//! would clear the column. A property that another record of the answer shows is there. For the others HubSpot is asked
//! before a column is cleared; never while answers show what was asked for, and never for columns that are empty already.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::{Engine, StepError};
use crate::hubspot::Record;
use crate::model::id::HubspotId;
use crate::model::name::PropertyName;
use crate::store::StoreError;

/// How long HubSpot's word on an object's properties holds, from its answer.
const HOLDS: Duration = Duration::from_secs(1);

/// How long it holds between a read and the write that rests on it. A push asks for it there, and repeats a read that is older
/// than a second: where HubSpot is slow, or few requests may be sent, the word must outlive the next read, or no push of such
/// a record would ever come to its write.
const HOLDS_BEFORE_A_WRITE: Duration = Duration::from_secs(10);

/// Gives every record the properties that were asked for and that it does not show, without a value. A property that
/// HubSpot no longer has stays absent, and the schema is read again.
///
/// # Errors
/// HubSpot could not be asked which properties there are: nothing of the answer may be applied.
pub async fn fill(
    engine: &Engine,
    object: &ObjectSync,
    asked: &[String],
    records: &mut [Record],
) -> Result<(), StepError> {
    fill_by(engine, object, asked, records, HOLDS).await
}

/// The same of a read on which a write is to rest.
///
/// # Errors
/// As of [`fill`].
pub(crate) async fn fill_before_a_write(
    engine: &Engine,
    object: &ObjectSync,
    asked: &[String],
    records: &mut [Record],
) -> Result<(), StepError> {
    fill_by(engine, object, asked, records, HOLDS_BEFORE_A_WRITE).await
}

async fn fill_by(
    engine: &Engine,
    object: &ObjectSync,
    asked: &[String],
    records: &mut [Record],
    holds: Duration,
) -> Result<(), StepError> {
    let asked: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
    let fields = object.mapping().fields.iter();
    let absent: BTreeSet<&str> = fields
        .map(|field| field.property.as_str())
        .filter(|name| asked.contains(name) && is_absent(name, records))
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    let unseen: Vec<&str> = absent
        .iter()
        .copied()
        .filter(|name| !is_shown(name, records))
        .collect();
    let known = match would_clear(engine, object, &unseen, records).await? {
        true => Some(known(engine, object, holds).await?),
        false => None,
    };
    let is_there = |name: &str, records: &[Record]| {
        is_shown(name, records) || known.as_ref().is_none_or(|known| known.contains(name))
    };
    // Of a property that HubSpot doesn't list nobody can say whether it is empty or gone.
    let is_unlisted = |name: &str| {
        object.unlisted.iter().any(|one| one.as_str() == name) && !is_shown(name, records)
    };
    let (empty, gone): (Vec<&str>, Vec<&str>) = absent
        .into_iter()
        .filter(|name| !is_unlisted(name))
        .partition(|name| is_there(name, records));
    for record in records.iter_mut() {
        for name in empty.iter().filter(|name| !record.odd.contains_key(**name)) {
            record.properties.entry((*name).to_owned()).or_insert(None);
        }
    }
    let gone = !gone.is_empty();
    // Once: with the new schema the property is not asked for any more.
    if gone
        && engine
            .object(object.object())
            .is_some_and(|now| now.properties == object.properties)
    {
        schema::refresh(engine).await?;
    }
    Ok(())
}

/// Whether a row has a value in one of these columns.
async fn would_clear(
    engine: &Engine,
    object: &ObjectSync,
    unseen: &[&str],
    records: &[Record],
) -> Result<bool, StoreError> {
    let properties: Vec<PropertyName> = unseen
        .iter()
        .filter_map(|name| PropertyName::parse(name).ok())
        .collect();
    if properties.is_empty() {
        return Ok(false);
    }
    let ids: Vec<HubspotId> = records.iter().map(|record| record.id).collect();
    let table = object.table.clone();
    engine
        .store
        .read(move |connection| {
            for id in ids {
                if let Some(row) = table.by_hs_id(connection, id)?
                    && properties
                        .iter()
                        .any(|property| !row.value(property).is_empty())
                {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
}

fn is_absent(name: &str, records: &[Record]) -> bool {
    records.iter().any(|record| !record.shows(name))
}

fn is_shown(name: &str, records: &[Record]) -> bool {
    records.iter().any(|record| record.shows(name))
}

async fn known(
    engine: &Engine,
    object: &ObjectSync,
    holds: Duration,
) -> Result<Arc<BTreeSet<String>>, StepError> {
    let (listed, name) = (&engine.memory.listed, object.object());
    if let Some(known) = listed.of(name, engine.now(), holds) {
        return Ok(known);
    }
    let found = engine.client.properties(name).await?;
    let names = found.into_iter().map(|property| property.name).collect();
    Ok(listed.note(name, engine.now(), names))
}
