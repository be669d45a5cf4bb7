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
    rename(tx, &list, now)?;
    forget_former(tx, &list)?;
    tx.prepare_cached(
        "INSERT INTO _sync_link_passes (pair, from_object, to_object, pulls)
         SELECT value ->> 'pair', value ->> 'from', value ->> 'to', value ->> 'pulls'
         FROM json_each(:pairs)
         WHERE true
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
fn rename(tx: &Transaction<'_>, pairs: &str, now: Timestamp) -> Result<(), StoreError> {
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
        settle_hold(tx, name, now)?;
        give_name(tx, &format!("{ON_ITS_WAY}{name}"), name)?;
    }
    Ok(())
}

/// Ends the hold that a pair has left open whose entries are dead, so that another pair's may have its name.
fn settle_hold(tx: &Transaction<'_>, pair: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_holds
         SET settled_at = :now
         WHERE object = :pair AND operation = 'disassociate' AND approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL",
    )?
    .execute(named_params! { ":pair": pair, ":now": now.to_string() })?;
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

/// Forgets how far the reading of pairs was that had other ends or another direction, or are in the file no more.
fn forget_former(tx: &Transaction<'_>, pairs: &str) -> Result<(), StoreError> {
    let former: Vec<String> = tx
        .prepare_cached(
            "SELECT pair
             FROM _sync_link_passes AS p
             WHERE NOT EXISTS (SELECT 1 FROM json_each(:pairs)
                               WHERE value ->> 'pair' = p.pair AND value ->> 'from' = p.from_object
                                 AND value ->> 'to' = p.to_object AND value ->> 'pulls' = p.pulls)",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::{Direction, Policy};
    use crate::model::name::{ObjectType, TableName};
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode, WriteTx};

    fn pair(key: &str, to: &str, direction: Direction) -> PairMapping {
        PairMapping {
            key: TableName::parse(key).expect("a name"),
            from: ObjectType::parse("contacts").expect("a name"),
            to: ObjectType::parse(to).expect("a name"),
            direction,
            policy: Policy::Remote,
        }
    }

    /// What stands under which name, and whether any of it still has a name that is on its way.
    fn named(tx: &Transaction<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, column, which) in NAMED {
            let sql = format!("SELECT {column} FROM {table} WHERE {which} ORDER BY 1");
            let mut statement = tx.prepare(&sql).expect(&sql);
            let names = statement.query_map([], |row| row.get::<_, String>(0));
            let names: Vec<String> = names.expect(&sql).map(|name| name.expect(&sql)).collect();
            lines.push(format!("{table}: {}", names.join(" ")));
        }
        lines
    }

    /// One row wherever the name of a pair of companies may stand.
    const KEPT: &str = "
        INSERT INTO _sync_links_due (pair, side, hs_id, origin, due_at) VALUES ('a', 'from', 1, 'poll', '2026-11-24T00:00:00.000Z');
        INSERT INTO _sync_links_waiting (pair, from_hs_id, to_hs_id, category, type_id) VALUES ('a', 1, 2, 'HUBSPOT_DEFINED', 1);
        INSERT INTO _sync_links_missed (pair, from_hs_id, to_hs_id) VALUES ('a', 1, 2);
        INSERT INTO sync_conflicts (object, local_id, property, policy, detected_at) VALUES ('a', 1, 'association', 'manual', '2026-11-24T00:00:00.000Z');
        INSERT INTO sync_history (at, object, property, origin) VALUES ('2026-11-24T00:00:00.000Z', 'a', 'association', 'push');
        INSERT INTO sync_holds (object, side, operation, records, allowed, held_at) VALUES ('a', 'hubspot', 'disassociate', 9, 5, '2026-11-24T00:00:00.000Z');
        INSERT INTO sync_holds (object, side, operation, records, allowed, held_at) VALUES ('b', 'hubspot', 'disassociate', 7, 5, '2026-11-24T00:00:00.000Z');
        INSERT INTO _sync_guard_log (object, side, operation, at, records) VALUES ('a', 'hubspot', 'disassociate', '2026-11-24T00:00:00.000Z', 3);";

    #[test]
    fn whatever_stands_under_a_pairs_name_has_its_new_one_whichever_way_the_pair_flows() {
        for direction in [Direction::Both, Direction::Pull, Direction::Push] {
            let folder = folder();
            let store = open(&folder, Mode::Inline).expect("opens");
            let done = at_once(store.write(Lane::Bulk, move |tx: &WriteTx<'_>| {
                follow(tx, &[pair("a", "companies", direction)], now())?;
                tx.execute_batch(KEPT)?;
                follow(tx, &[pair("b", "companies", direction)], now())?;
                let open = "SELECT group_concat(records) FROM sync_holds WHERE settled_at IS NULL";
                let open: String = tx.query_row(open, [], |row| row.get(0))?;
                Ok::<_, StoreError>((named(tx), open))
            }));
            let (named, open) = done.expect("follows");
            let of_others = ["sync_holds: b b", "_sync_undone: "];
            for line in named {
                let is_renamed = line.ends_with(": b") || of_others.contains(&line.as_str());
                assert!(is_renamed, "{direction:?}: {line}");
            }
            assert_eq!(
                open, "9",
                "{direction:?}: what another pair has left is over"
            );
        }
    }

    #[test]
    fn a_pair_that_is_only_pushed_has_passes_too_and_a_first_one_anew_once_it_is_pulled() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let done = at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
            tx.execute_batch("INSERT INTO _sync_cursors (object) VALUES ('contacts')")?;
            let pulled = pair("a", "companies", Direction::Both);
            let pushed = pair("b", "deals", Direction::Push);
            follow(tx, &[pulled.clone(), pushed.clone()], now())?;
            let told = |tx: &WriteTx<'_>| {
                super::super::passes::show(tx, None)?;
                let sql = "SELECT last_association_pass_at FROM _sync_cursors";
                Ok::<_, StoreError>(tx.query_row(sql, [], |row| row.get::<_, Option<String>>(0))?)
            };
            let mut ended = Vec::new();
            for ends in ["a", "b"] {
                tx.execute_batch(&format!(
                    "UPDATE _sync_link_passes SET last_ended_at = '2026-11-24T00:00:00.000Z' WHERE pair = '{ends}'"
                ))?;
                ended.push(told(tx)?);
            }
            // What people made comes from now on: that is another first pass.
            let pulled_too = PairMapping { direction: Direction::Both, ..pushed };
            follow(tx, &[pulled, pulled_too], now())?;
            Ok::<_, StoreError>((ended, told(tx)?))
        }));
        let (ended, with_pull) = done.expect("follows");
        assert_eq!(ended, [None, Some("2026-11-24T00:00:00.000Z".to_owned())]);
        assert_eq!(with_pull, None);
    }
}
