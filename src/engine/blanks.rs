//! Properties that an answer does not show though they were asked for.
//!
//! HubSpot shows a property without a value as `null`; one that is left out has none either, unless HubSpot has no such
//! property any more: then it is left out of every answer at once (`hubspot/api-facts.md#5`), and taken for empty it
//! would clear the column. A property that another record of the answer shows is there; for the others HubSpot is asked,
//! at most every ten seconds for an object, and never while answers show what was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::objects::ObjectSync;
use crate::engine::{Engine, StepError, schema};
use crate::hubspot::Record;
use crate::model::time::Timestamp;

/// How long HubSpot's word on an object's properties holds.
const HOLDS: Duration = Duration::from_secs(10);

/// What HubSpot said of an object's properties.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    at: Timestamp,
    names: BTreeSet<String>,
}

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
    let mapped = |name: &&str| asked.iter().any(|asked| asked == name);
    let fields = object.mapping().fields.iter();
    let asked: Vec<&str> = fields
        .map(|field| field.property.as_str())
        .filter(mapped)
        .collect();
    let absent: BTreeSet<&str> = absent(&asked, records).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let unseen = absent.iter().any(|name| !is_shown(name, records));
    let known = match unseen {
        true => Some(known(engine, object).await?),
        false => None,
    };
    let is_there = |name: &str, records: &[Record]| {
        is_shown(name, records)
            || known
                .as_ref()
                .is_none_or(|known| known.names.contains(name))
    };
    let (empty, gone): (Vec<&str>, Vec<&str>) =
        absent.into_iter().partition(|name| is_there(name, records));
    for record in records.iter_mut() {
        for name in &empty {
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

fn absent<'a>(asked: &'a [&'a str], records: &'a [Record]) -> impl Iterator<Item = &'a str> {
    records.iter().flat_map(move |record| {
        let asked = asked.iter().copied();
        asked.filter(|name| !record.properties.contains_key(*name))
    })
}

fn is_shown(name: &str, records: &[Record]) -> bool {
    records
        .iter()
        .any(|record| record.properties.contains_key(name))
}

async fn known(engine: &Engine, object: &ObjectSync) -> Result<Known, StepError> {
    let now = engine.now();
    if let Some(known) = engine.known_properties(object.object())
        && (known.at..=known.at + HOLDS).contains(&now)
    {
        return Ok(known);
    }
    let found = engine.client.properties(object.object()).await?;
    let known = Known {
        at: now,
        names: found.into_iter().map(|property| property.name).collect(),
    };
    engine.set_known_properties(object.object(), known.clone());
    Ok(known)
}
