//! Conflicts of associations that a person decides, or that name a row that is gone.
//!
//! `remote`: ours goes and HubSpot's comes. `local`: ours is sent, and what HubSpot has besides is taken away.

use rusqlite::{Connection, Transaction};

use crate::decide::decision::NOT_AN_ASSOCIATION;
use crate::engine::inbound::links::{PairSync, decide_open};
use crate::engine::{Engine, StepError};
use crate::model::association::ExclusiveEnd;
use crate::model::conflict::Winner;
use crate::model::time::Timestamp;
use crate::store::conflicts::{self, End, Waiting};
use crate::store::{Lane, StoreError};

/// How many decisions one step takes.
const BATCH: usize = 100;

/// Carries out what people have decided. Tells whether something was.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let mapping = engine.mapping_arc();
    let pairs = mapping.pairs.iter().filter_map(|pair| {
        Some(PairSync {
            mapping: pair.clone(),
            from: engine.object(&pair.from)?,
            to: engine.object(&pair.to)?,
        })
    });
    let mut is_any = false;
    for pair in pairs {
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
            .write(Lane::Interactive, move |tx| {
                for conflict in waiting(tx, &pair)? {
                    decide(tx, &conflict, &pair, tx.now())?;
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    Ok(is_any)
}

fn waiting(connection: &Connection, pair: &PairSync) -> Result<Vec<Waiting>, StoreError> {
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
