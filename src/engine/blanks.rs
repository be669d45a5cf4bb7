//! Properties that an answer does not show though they were asked for.
//!
//! HubSpot shows a property without a value as `null`; one that is left out has none either, unless HubSpot has no such
//! property any more: then it is left out of every answer at once (`hubspot/api-facts.md#5`), and taken for empty it
//! would clear the column. So HubSpot is asked, at most once a minute for an object, and never while answers show what
//! was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::objects::ObjectSync;
use crate::engine::{Engine, StepError, schema};
use crate::hubspot::Record;
use crate::model::time::Timestamp;

/// How long HubSpot's word on an object's properties holds.
const HOLDS: Duration = Duration::from_mins(1);

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
    if absent(&asked, records).next().is_none() {
        return Ok(());
    }
    let known = known(engine, object).await?;
    let gone = absent(&asked, records).any(|name| !known.names.contains(name));
    for record in records.iter_mut() {
        for name in &asked {
            if !record.properties.contains_key(*name) && known.names.contains(*name) {
                record.properties.insert((*name).to_owned(), None);
            }
        }
    }
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
