//! Conflicts of associations that a person decides: each side named another record where only one can be.
//!
//! `remote`: ours goes and HubSpot's comes with the next read. `local`: HubSpot's is written down as what it has, and ours is
//! sent, with which HubSpot takes its own away.

use rusqlite::Transaction;

use crate::decide::decision::NOT_AN_ASSOCIATION;
use crate::engine::{Engine, StepError};
use crate::model::association::PairMapping;
use crate::model::conflict::Winner;
use crate::model::id::ConflictId;
use crate::model::time::Timestamp;
use crate::store::conflicts::{self, End, Waiting};
use crate::store::history::Origin;
use crate::store::links::due;
use crate::store::outbox::links;
use crate::store::{Lane, StoreError};

/// How many decisions one step takes.
const BATCH: usize = 100;

/// Carries out what people have decided. Tells whether something was.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let mapping = engine.mapping_arc();
    let of_pairs = {
        let mapping = mapping.clone();
        move |connection: &rusqlite::Connection| {
            let mut decided: Vec<(Waiting, PairMapping)> = Vec::new();
            for conflict in conflicts::of_associations(connection, BATCH)? {
                let pair = mapping.pair_of_key(&conflict.object).cloned();
                decided.extend(pair.map(|pair| (conflict, pair)));
            }
            Ok::<_, StoreError>(decided)
        }
    };
    let look = of_pairs.clone();
    if engine
        .store
        .read(move |connection| look(connection))
        .await?
        .is_empty()
    {
        return Ok(false);
    }
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            for (conflict, pair) in of_pairs(tx)? {
                decide(tx, &conflict, &pair, tx.now())?;
            }
            Ok(())
        })
        .await?;
    Ok(true)
}

fn decide(
    tx: &Transaction<'_>,
    conflict: &Waiting,
    pair: &PairMapping,
    now: Timestamp,
) -> Result<(), StoreError> {
    match conflict.resolution.as_deref() {
        Some("local") => {
            let (ours, theirs) = (&conflict.local, &conflict.remote);
            links::insert_listed(tx, pair, theirs.as_deref().unwrap_or("[]"))?;
            links::associate_listed(tx, pair, ours.as_deref().unwrap_or("[]"), now)?;
            close(tx, conflict.id, Winner::Local, now)?;
        }
        Some("remote") => close(tx, conflict.id, Winner::Remote, now)?,
        Some(_) | None => {
            return conflicts::refuse_resolution(tx, conflict.id, NOT_AN_ASSOCIATION);
        }
    }
    match conflict.hs_id {
        Some(hs_id) => due::ask(tx, &pair.key, hs_id, Origin::Poll, now),
        None => Ok(()),
    }
}

fn close(
    tx: &Transaction<'_>,
    id: ConflictId,
    winner: Winner,
    now: Timestamp,
) -> Result<(), StoreError> {
    let end = End {
        winner,
        resolution: winner.as_str(),
        reason: "a person decided",
    };
    conflicts::close(tx, id, end, now)
}
