//! Answers that contradict what is known of the portal: a record with an owner or a stage that no table has, a refusal that names
//! an option, property, owner or stage. What they are about is read again at once, and not again for the same cause before
//! the schedule's time.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::decide::outgoing::settle::Contradiction;
use crate::engine::portal::contradicted::NamedBy;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::{pair_types, reference, schema};
use crate::engine::{Engine, StepError};
use crate::hubspot::Record;
use crate::model::association::PairMapping;
use crate::store::{StoreError, reference as tables};

/// The property that holds a record's owner, of every object.
const OWNER: &str = "hubspot_owner_id";

/// Looks whether records name owners or stages that the tables don't have, and reads those again.
///
/// # Errors
/// The database refuses. What HubSpot does not show stays as it is known.
pub async fn look_at(
    engine: &Engine,
    object: &ObjectSync,
    records: &[Record],
) -> Result<(), StepError> {
    let new = engine
        .memory
        .contradicted
        .new_of(&named_by(object, records));
    if new.is_empty() {
        return Ok(());
    }
    let unknown = engine
        .store
        .read(move |connection| {
            let mut unknown = BTreeSet::new();
            for (kind, id) in new {
                if !is_known(connection, &kind, &id)? {
                    unknown.insert(kind);
                }
            }
            Ok::<_, StoreError>(unknown)
        })
        .await?;
    for kind in unknown {
        match kind {
            NamedBy::Owner => reference::read_owners_again(engine).await?,
            NamedBy::Stage(_) => reference::read_pipelines_again(engine, object).await?,
        }
    }
    Ok(())
}

fn named_by(object: &ObjectSync, records: &[Record]) -> BTreeSet<(NamedBy, String)> {
    let stage = object.stages.map(|stages| stages.stage);
    let mut named = BTreeSet::new();
    for record in records {
        let mut name = |kind: NamedBy, property: &str| {
            let value = record.properties.get(property).cloned().flatten();
            named.extend(value.filter(|id| !id.is_empty()).map(|id| (kind, id)));
        };
        name(NamedBy::Owner, OWNER);
        if let Some(stage) = stage {
            name(NamedBy::Stage(object.object().clone()), stage);
        }
    }
    named
}

/// A table that was never filled knows nothing, and is filled by the schedule.
fn is_known(connection: &Connection, kind: &NamedBy, id: &str) -> Result<bool, StoreError> {
    match kind {
        NamedBy::Owner => tables::has_owner(connection, id),
        NamedBy::Stage(object) => {
            let known = tables::pipelines(connection, object)?;
            let mut stages = known.iter().flat_map(|pipeline| &pipeline.stages);
            Ok(known.is_empty() || stages.any(|stage| stage.id == id))
        }
    }
}

/// Reads again what refusals contradict.
///
/// # Errors
/// The database refuses.
pub(crate) async fn after_refusals(
    engine: &Engine,
    object: &ObjectSync,
    contradicted: BTreeSet<Contradiction>,
) -> Result<(), StepError> {
    if contradicted.is_empty() || !engine.memory.contradicted.may_read(None, engine.now()) {
        return Ok(());
    }
    for what in contradicted {
        match what {
            Contradiction::Owners => reference::read_owners_again(engine).await?,
            Contradiction::Pipelines if object.stages.is_some() => {
                reference::read_pipelines_again(engine, object).await?;
            }
            Contradiction::Pipelines => {}
            Contradiction::Properties => match schema::refresh(engine).await {
                Err(StepError::Hubspot(error)) => {
                    tracing::warn!(object = %object.object(), error = %error, code = error.code(), "the properties could not be read again");
                }
                read => drop(read?),
            },
        }
    }
    Ok(())
}

/// Reads again with how many records one of a pair may be associated: HubSpot has refused one that should have room. Tells whether
/// that is another number than was known.
///
/// # Errors
/// The database refuses.
pub(crate) async fn after_full_pair(
    engine: &Engine,
    pair: &PairMapping,
) -> Result<bool, StepError> {
    match engine
        .memory
        .contradicted
        .may_read(Some(&pair.key), engine.now())
    {
        true => pair_types::read_limits_again(engine, pair).await,
        false => Ok(false),
    }
}
