//! The types that the mapped pairs of objects have in HubSpot.

use rusqlite::Transaction;

use crate::decide::portal::link_types;
use crate::engine::portal::schema::is_of_one_object;
use crate::engine::{Engine, StepError};
use crate::hubspot::HubspotError;
use crate::hubspot::endpoints::associations::Ends;
use crate::model::association::{AssociationType, PairMapping};
use crate::model::mapping::Mapping;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::links::{passes, types};

/// The types of a pair, and those of the other direction.
#[derive(Debug)]
pub(super) struct ShownTypes {
    there: Vec<AssociationType>,
    back: Vec<AssociationType>,
}

/// Reads the types of all pairs. One that HubSpot does not give keeps what is known of it.
pub(super) async fn read(
    engine: &Engine,
    mapping: &Mapping,
) -> Result<Vec<(PairMapping, ShownTypes)>, StepError> {
    let mut all = Vec::new();
    for pair in &mapping.pairs {
        match read_of(engine, pair).await {
            Ok(types) => all.push((pair.clone(), types)),
            Err(error) if is_of_one_object(&error) => {
                tracing::warn!(object = %pair.key, error = %error, "the types of an association could not be read; they stay as they are known");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

async fn read_of(engine: &Engine, pair: &PairMapping) -> Result<ShownTypes, HubspotError> {
    let (from, to) = (&pair.from, &pair.to);
    let there = engine.client.association_types(Ends { from, to }).await?;
    let back = match pair.is_of_one_object() {
        true => there.clone(),
        false => {
            let ends = Ends { from: to, to: from };
            engine.client.association_types(ends).await?
        }
    };
    Ok(ShownTypes { there, back })
}

/// Saves what is new of a pair's types. Where one is gone, so are the associations of it: a pass over all finds that.
pub(super) fn save(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    shown: &ShownTypes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let known = types::of(tx, pair)?;
    let changes = link_types::compare(pair, &known, &shown.there, &shown.back);
    if changes.save.is_empty() {
        return Ok(());
    }
    types::save(tx, pair, &changes.save)?;
    types::relabel(tx, pair)?;
    if changes.went {
        passes::begin(tx, pair, now)?;
    }
    Ok(())
}
