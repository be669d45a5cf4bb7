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

/// Makes the file know these pairs alone. A pair that has another name is renamed wherever its name stands; what was known of another
/// one under the same name is forgotten, so that its first pass runs; entries of a pair that is in the file no more are dead, and pending again when it is back. Rows stay, unsynced.
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
    rename(tx, &list)?;
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

/// Where a pair's name stands, by the column that holds it; what else has names of its own there is left alone.
const NAMED: [(&str, &str, &str); 9] = [
    ("_sync_links_due", "pair", "1"),
    ("_sync_links_waiting", "pair", "1"),
    ("_sync_links_missed", "pair", "1"),
    ("sync_conflicts", "object", "property = 'association'"),
    ("sync_history", "object", "property = 'association'"),
    ("_sync_undone", "object", "property = 'association'"),
    ("sync_holds", "object", "operation = 'disassociate'"),
    ("_sync_guard_log", "object", "operation = 'disassociate'"),
    ("_sync_link_passes", "pair", "1"),
];

/// What a name begins with on its way from the former one: two pairs may have exchanged theirs, and no name begins so.
const ON_ITS_WAY: char = ' ';

/// Gives pairs the names that the file has for their ends by now: what waits for a person, what is held and what was written down goes
/// on under them.
fn rename(tx: &Transaction<'_>, pairs: &str) -> Result<(), StoreError> {
    let renamed: Vec<(String, String)> = tx
        .prepare_cached(
            "SELECT p.pair, f.value ->> 'pair'
             FROM json_each(:pairs) AS f
             JOIN _sync_link_passes AS p ON p.from_object = f.value ->> 'from' AND p.to_object = f.value ->> 'to'
             WHERE p.pair <> f.value ->> 'pair'
               -- Two that were known of the same ends are one pair's, and its present name is known already.
               AND NOT EXISTS (SELECT 1 FROM _sync_link_passes AS o
                               WHERE o.pair = f.value ->> 'pair' AND o.from_object = p.from_object AND o.to_object = p.to_object)",
        )?
        .query_map(named_params! { ":pairs": pairs }, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    for (former, name) in &renamed {
        let change = format!("{former} → {name}");
        tracing::info!(
            change,
            "a pair has another name in the mapping file: what was known of it goes on under that"
        );
        give_name(tx, former, &format!("{ON_ITS_WAY}{name}"))?;
    }
    for (_, name) in &renamed {
        // What is known under the new name is another pair's, and that is in the file no more.
        forget(tx, name)?;
        give_name(tx, &format!("{ON_ITS_WAY}{name}"), name)?;
    }
    Ok(())
}

fn give_name(tx: &Transaction<'_>, former: &str, name: &str) -> Result<(), StoreError> {
    for (table, column, which) in NAMED {
        // A conflict that another pair has left open under the name stays by itself: it is in nobody's way once that pair is back.
        tx.prepare_cached(&format!(
            "UPDATE OR IGNORE {table} SET {column} = :name WHERE {column} = :former AND {which}"
        ))?
        .execute(named_params! { ":name": name, ":former": former })?;
    }
    Ok(())
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
        forget(tx, &pair)?;
    }
    Ok(())
}

fn forget(tx: &Transaction<'_>, pair: &str) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM _sync_links_due WHERE pair = :pair",
        "DELETE FROM _sync_links_waiting WHERE pair = :pair",
        "DELETE FROM _sync_links_missed WHERE pair = :pair",
        "DELETE FROM _sync_link_passes WHERE pair = :pair",
    ] {
        tx.prepare_cached(sql)?
            .execute(named_params! { ":pair": pair })?;
    }
    Ok(())
}
