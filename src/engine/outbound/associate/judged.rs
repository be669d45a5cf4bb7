//! The guard's word on what takes associations apart: before the records are read, and once more inside the transaction that claims.

use rusqlite::{Connection, Transaction};

use crate::engine::Engine;
use crate::engine::inbound::links::PairSync;
use crate::engine::outbound::guarded::{Guarded, bounds, disassociation_key};
use crate::model::association::PairMapping;
use crate::model::name::ObjectType;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::store::outbox::{GuardedEntries, links};
use crate::store::{Lane, StoreError, holds};

/// Ends what is to be taken apart of rows that are gone, counts the other pairs, and holds them as a whole where that would cross the bound.
pub(super) async fn judge_due(engine: &Engine, pair: &PairSync) -> Result<(), StoreError> {
    let (sync, now) = (pair.clone(), engine.now());
    let is_any = engine
        .store
        .read(move |connection| {
            let name = sync.mapping.name();
            let key = disassociation_key(&name);
            let entries = GuardedEntries::of_pair(&sync.mapping);
            let (due, held) = entries.due_and_held(connection, now)?;
            Ok(due > 0 || held > 0 || holds::open(connection, key)?.is_some())
        })
        .await?;
    if !is_any {
        return Ok(());
    }
    let (sync, guard) = (pair.clone(), engine.settings().guard);
    let offset = engine.client.clock_offset_ms();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let tables = [&sync.from, &sync.to].map(|end| end.mapping().table.as_str());
            links::end_of_gone(tx, &sync.mapping, tables.into())?;
            judge(tx, &sync.mapping, &guard, (tx.now(), offset))
        })
        .await
}

/// The same inside the transaction that claims: what a program has committed since the last look is counted too, and what is held is
/// not claimed.
pub(super) fn judge_before_claim(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    guard: &Guard,
    (now, offset_ms): (Timestamp, i64),
) -> Result<(), StoreError> {
    let (due, _) = GuardedEntries::of_pair(pair).due_and_held(tx, now)?;
    match due {
        0 => Ok(()),
        1.. => judge(tx, pair, guard, (now, offset_ms)),
    }
}

fn judge(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    guard: &Guard,
    (now, offset_ms): (Timestamp, i64),
) -> Result<(), StoreError> {
    let since = now.plus_millis(offset_ms) - guard.window;
    guarded_pair(tx, pair, &pair.name(), guard, since)?.judge(tx, now)
}

/// What the guard has its word on of a pair.
pub(in crate::engine::outbound) fn guarded_pair<'a>(
    connection: &Connection,
    pair: &'a PairMapping,
    name: &'a ObjectType,
    guard: &Guard,
    since: Timestamp,
) -> Result<Guarded<'a>, StoreError> {
    Ok(Guarded {
        key: disassociation_key(name),
        entries: GuardedEntries::of_pair(pair),
        bounds: bounds(guard),
        left: links::count_pairs(connection, pair)?,
        since,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::outgoing::plan::Order;
    use crate::engine::testing::{Scene, at};
    use crate::model::mapping::{Direction, Policy};
    use crate::model::name::TableName;
    use crate::store::outbox::links_due;

    #[test]
    fn what_a_program_takes_apart_between_the_guards_look_and_the_claim_is_held_with_the_rest() {
        let scene = Scene::of(Policy::Remote);
        let pair = PairMapping {
            key: TableName::parse("knows").expect("a name"),
            from: scene.object.object().clone(),
            to: scene.object.object().clone(),
            direction: Direction::Both,
            policy: Policy::Remote,
        };
        let guard = Guard {
            max_archives: 5,
            ..Guard::default()
        };
        let take_apart = |rows: std::ops::RangeInclusive<i64>| {
            for row in rows {
                scene.daemon(&format!(
                    "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, to_object, to_local_id)
                     VALUES ('contacts', {row}, 'disassociate', '{time}', '{time}', 'contacts', 100)",
                    time = at(1)
                ));
            }
        };
        let due = |second| {
            scene.write(|tx| {
                judge_before_claim(tx, &pair, &guard, (at(second), 0))?;
                links_due::due(tx, &pair, Order::OldestFirst, at(second), 100)
            })
        };
        take_apart(1..=2);
        assert_eq!(due(2).len(), 2);
        // While their records are read.
        take_apart(3..=20);
        assert_eq!(due(3), []);
        let held = "SELECT object, operation, records FROM sync_holds WHERE settled_at IS NULL";
        assert_eq!(scene.rows(held), ["knows disassociate 20"]);
    }
}
