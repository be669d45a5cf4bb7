//! The pairs of the mapping file, and what the file still holds of former ones: a pair is its two ends, whatever it is called.

use rusqlite::{Transaction, named_params};
use serde_json::json;

use crate::decide::entry::Answered;
use crate::model::association::PairMapping;
use crate::model::id::OutboxId;
use crate::model::time::Timestamp;
use crate::store::{StoreError, outbox};

/// Why an association's entry is not sent any more.
pub(crate) const UNMAPPED: &str = "this pair of objects is no longer in the mapping file: write it there again, or discard the entry \
     [pair-unmapped]";

/// Makes the file know these pairs alone. What was known of another one under the same name is forgotten, so that its first pass
/// runs; entries of a pair that is in the file no more are dead, and pending again when it is back. Rows stay, unsynced.
pub(crate) fn follow(
    tx: &Transaction<'_>,
    pairs: &[PairMapping],
    now: Timestamp,
) -> Result<(), StoreError> {
    let list: Vec<_> = pairs
        .iter()
        .map(|pair| {
            json!({
                "pair": pair.key.as_str(), "from": pair.from.as_str(), "to": pair.to.as_str(), "pulls": pair.direction.pulls(),
            })
        })
        .collect();
    let list = json!(list).to_string();
    forget_former(tx, &list)?;
    tx.prepare_cached(
        "INSERT INTO _sync_link_passes (pair, from_object, to_object)
         SELECT value ->> 'pair', value ->> 'from', value ->> 'to'
         FROM json_each(:pairs)
         WHERE value ->> 'pulls'
         ON CONFLICT DO NOTHING",
    )?
    .execute(named_params! { ":pairs": list })?;
    super::passes::show(tx, None)?;
    let unmapped: Vec<i64> = tx
        .prepare_cached(
            "SELECT id
             FROM sync_outbox AS e
             WHERE (operation = 'associate' OR operation = 'disassociate') AND state = 'pending'
               AND NOT EXISTS (SELECT 1 FROM json_each(:pairs)
                               WHERE value ->> 'from' = e.object AND value ->> 'to' = e.to_object)",
        )?
        .query_map(named_params! { ":pairs": list }, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in unmapped {
        outbox::park(tx, OutboxId(id), UNMAPPED, Answered::No)?;
    }
    outbox::links::revive(tx, &list, now)
}

/// Forgets how far the reading of pairs was that had other ends, or are in the file no more.
fn forget_former(tx: &Transaction<'_>, pairs: &str) -> Result<(), StoreError> {
    let former: Vec<String> = tx
        .prepare_cached(
            "SELECT pair
             FROM _sync_link_passes AS p
             WHERE NOT EXISTS (SELECT 1 FROM json_each(:pairs)
                               WHERE value ->> 'pair' = p.pair AND value ->> 'from' = p.from_object
                                 AND value ->> 'to' = p.to_object AND value ->> 'pulls')",
        )?
        .query_map(named_params! { ":pairs": pairs }, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for pair in former {
        for sql in [
            "DELETE FROM _sync_links_due WHERE pair = :pair",
            "DELETE FROM _sync_links_waiting WHERE pair = :pair",
            "DELETE FROM _sync_links_missed WHERE pair = :pair",
            "DELETE FROM _sync_link_passes WHERE pair = :pair",
        ] {
            tx.prepare_cached(sql)?
                .execute(named_params! { ":pair": pair })?;
        }
    }
    Ok(())
}
