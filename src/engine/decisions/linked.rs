//! Conflicts of associations that a person decides, or that name a row that is gone.
//!
//! `remote`: ours goes and HubSpot's comes. `local`: ours is sent, and what HubSpot has besides is taken away.

use rusqlite::{Connection, Transaction};

use crate::decide::decision::NOT_AN_ASSOCIATION;
use crate::engine::inbound::links::{PairSync, decide_open};
use crate::engine::portal::objects::Objects;
use crate::engine::{Engine, StepError};
use crate::model::association::ExclusiveEnd;
use crate::model::conflict::Winner;
use crate::model::mapping::Mapping;
use crate::model::time::Timestamp;
use crate::store::conflicts::{self, End, Waiting};
use crate::store::{Lane, StoreError};

/// How many decisions one step takes.
const BATCH: usize = 100;

/// Carries out what people have decided. Tells whether something was.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let mapping = engine.mapping();
    let mut is_any = false;
    for pair in pairs(&mapping, &engine.objects()) {
        let look = pair.clone();
        let found = engine
            .store
            .read(move |connection| waiting(connection, &look))
            .await?;
        if found.is_empty() {
            continue;
        }
        is_any = true;
        engine
            .store
            .write(Lane::Interactive, move |tx| carry_out(tx, &pair, tx.now()))
            .await?;
    }
    Ok(is_any)
}

/// The pairs whose objects are both in force.
pub(super) fn pairs(mapping: &Mapping, objects: &Objects) -> Vec<PairSync> {
    let pairs = mapping.pairs.iter().filter_map(|pair| {
        Some(PairSync {
            mapping: pair.clone(),
            from: objects.get(&pair.from)?,
            to: objects.get(&pair.to)?,
        })
    });
    pairs.collect()
}

/// Carries out what waits of a pair, a batch of it.
pub(super) fn carry_out(
    tx: &Transaction<'_>,
    pair: &PairSync,
    now: Timestamp,
) -> Result<(), StoreError> {
    for conflict in waiting(tx, pair)? {
        decide(tx, &conflict, pair, now)?;
    }
    Ok(())
}

/// What waits of a pair.
pub(super) fn waiting(
    connection: &Connection,
    pair: &PairSync,
) -> Result<Vec<Waiting>, StoreError> {
    let tables = (&pair.from.mapping().table, &pair.to.mapping().table);
    conflicts::of_associations(connection, &pair.mapping, tables, BATCH)
}

fn decide(
    tx: &Transaction<'_>,
    conflict: &Waiting,
    pair: &PairSync,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (object, end) = match conflict.to {
        None => (&pair.from, (ExclusiveEnd::From, conflict.local_id)),
        Some(to) => (&pair.to, (ExclusiveEnd::To, to)),
    };
    if object.table.by_local_id(tx, end.1)?.is_none() {
        return conflicts::close(tx, conflict.id, GONE, now);
    }
    let word = match conflict.resolution.as_deref() {
        None => None,
        Some("local") => Some(Winner::Local),
        Some("remote") => Some(Winner::Remote),
        Some(_) => return conflicts::refuse_resolution(tx, conflict.id, NOT_AN_ASSOCIATION),
    };
    decide_open(tx, pair, end, word, now)
}

/// How a conflict ends whose row is gone.
const GONE: End<'static> = End {
    winner: Winner::Remote,
    resolution: "gone",
    reason: "the row is gone, and its associations with it",
};
