//! Associations: what people do with them in HubSpot, and whether both sides show the same in the end.

use std::collections::BTreeSet;

use hubsyncd::model::association::PairMapping;
use hubsyncd::model::mapping::{Direction, ObjectMapping, Policy};
use hubsyncd::model::name::TableName;
use hubsyncd::simulator::portal::Link;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

use crate::checks::texts;
use crate::local::Programs;
use crate::plan::{MACHINE, Plan, pick};
use crate::world::World;

/// Who may write the associations of a pair, drawn by itself, so that what else a seed says is the same: mostly both sides.
pub(crate) fn direction(rng: &mut ChaCha8Rng) -> Direction {
    match rng.random_range(0..8) {
        0 => Direction::Push,
        1 => Direction::Pull,
        _ => Direction::Both,
    }
}

/// The pairs of a mapping's objects; with that of companies among themselves, or without.
pub(crate) fn pairs(
    objects: &[ObjectMapping],
    with_family: bool,
    mut direction: impl FnMut() -> Direction,
) -> Vec<PairMapping> {
    let wanted = [
        ("contacts_companies", "contacts", "companies", true),
        ("family", "companies", "companies", with_family),
        ("machine_contacts", MACHINE, "contacts", true),
    ];
    let mapped = |name: &str| objects.iter().find(|object| object.object.as_str() == name);
    let pair = |(key, from, to, is_wanted): (&str, &str, &str, bool)| {
        let (from, to) = mapped(from).zip(mapped(to)).filter(|_| is_wanted)?;
        Some(PairMapping {
            key: TableName::parse(key).expect("a name"),
            from: from.object.clone(),
            to: to.object.clone(),
            direction: direction(),
            policy: Policy::Remote,
        })
    };
    wanted.into_iter().filter_map(pair).collect()
}

/// A person may do something with an association beside whatever else people do; drawn by itself, so that what else happens
/// is the same with and without pairs.
pub(crate) fn act(plan: &Plan, world: &World) {
    let steady = world.state().steady;
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ steady ^ 0x0A55_0C1A);
    for pair in &plan.mapping.pairs {
        if rng.random_bool(0.5) {
            act_on(pair, plan, world, &mut rng);
        }
    }
}

fn act_on(pair: &PairMapping, plan: &Plan, world: &World, rng: &mut ChaCha8Rng) {
    let (from, to) = (pair.from.as_str(), pair.to.as_str());
    let mut state = world.state();
    let live = |object: &str| -> Vec<u64> {
        let records = state.portal.records(object);
        records
            .iter()
            .filter(|record| !record.is_archived())
            .map(hubsyncd::simulator::record::Record::id)
            .collect()
    };
    let (ones, others) = (live(from), live(to));
    if ones.is_empty() || others.is_empty() {
        return;
    }
    let near = plan.hot.of_records(rng, &ones);
    let one = (from, *pick(rng, &near));
    let other = (to, *pick(rng, &others));
    let now = state.true_ms();
    let what = rng.random_range(0..6);
    let done = match what {
        0 | 1 => state.portal.associate(one, other, now),
        2 | 3 => state.portal.set_primary(one, other, now),
        4 => state.portal.disassociate(one, other, now),
        _ => {
            let links = state.portal.links_of(one, to);
            let link = links.get(rng.random_range(0..links.len().max(1)));
            let link = link.cloned();
            link.is_some_and(|link| state.portal.unlabel(one, (to, link.to_id), link.kind, now))
        }
    };
    state.note(&format!(
        "person associates ({what}) {one:?} with {other:?} -> {done}"
    ));
}

/// A program may associate two rows, or take an association away, beside whatever else programs do.
pub(crate) fn write(programs: &Programs, plan: &Plan, world: &World) {
    let steady = world.state().steady;
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ steady ^ 0x0A55_0C1B);
    for pair in &plan.mapping.pairs {
        if rng.random_bool(0.4) {
            write_to(pair, programs, plan, &mut rng);
        }
    }
}

fn write_to(pair: &PairMapping, programs: &Programs, plan: &Plan, rng: &mut ChaCha8Rng) {
    let (from, to) = (pair.from.as_str(), pair.to.as_str());
    let rows = |object: &str| {
        let mapped = plan.mapping.object(object).expect("both ends are mapped");
        programs.rows(mapped).unwrap_or_default()
    };
    let (ones, others) = (rows(from), rows(to));
    if ones.is_empty() || others.is_empty() {
        return;
    }
    let near = plan.hot.of_records(rng, &ones);
    let (one, other) = (*pick(rng, &near), *pick(rng, &others));
    let ends = [Sql::Integer(one), Sql::Integer(other)];
    match rng.random_range(0..5) {
        0 | 1 => {
            let sql = format!(
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('{from}', ?1, '{to}', ?2)"
            );
            programs.run("associates", &sql, &ends);
        }
        2 => {
            let sql = format!(
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('{from}', ?1, '{to}', ?2, 'Primary')"
            );
            programs.run("associates", &sql, &ends);
        }
        3 => {
            let sql = "DELETE FROM associations WHERE from_local_id = ?1 AND to_local_id = ?2";
            programs.run("disassociates", sql, &ends);
        }
        _ => {
            let sql = "DELETE FROM associations WHERE id = (SELECT min(id) FROM associations WHERE from_local_id = ?1)";
            programs.run("disassociates", sql, &ends[..1]);
        }
    }
}

/// What is still to be read.
pub(crate) fn unfinished(connection: &Connection) -> Vec<String> {
    let mut left = texts(
        connection,
        "SELECT 'links', pair, side, hs_id, due_at FROM _sync_links_due",
    );
    left.extend(texts(
        connection,
        "SELECT 'pass', pair, started_at FROM _sync_link_passes WHERE started_at IS NOT NULL",
    ));
    left
}

/// I10: associations of records that both sides have are the same on both, or listed as dead, in conflict or held by the guard. Of a
/// pair that is only pushed HubSpot has all that the table has, and the table no untyped type less of what is in it.
pub(crate) fn both_sides_agree(
    connection: &Connection,
    world: &World,
    plan: &Plan,
) -> Result<(), String> {
    for pair in &plan.mapping.pairs {
        let (from, to) = (pair.from.as_str(), pair.to.as_str());
        let here: BTreeSet<String> = texts(
            connection,
            &format!(
                "SELECT f.hs_id, t.hs_id, a.type_id FROM associations AS a
                 JOIN {from} AS f ON f.local_id = a.from_local_id JOIN {to} AS t ON t.local_id = a.to_local_id
                 WHERE a.from_object = '{from}' AND a.to_object = '{to}' AND f.hs_id IS NOT NULL AND t.hs_id IS NOT NULL"
            ),
        )
        .into_iter()
        .collect();
        let rows = |object: &str| -> BTreeSet<String> {
            let sql = format!("SELECT hs_id FROM {object} WHERE hs_id IS NOT NULL");
            texts(connection, &sql).into_iter().collect()
        };
        let (ones, others) = (rows(from), rows(to));
        let links = world.state().portal.links(from, to);
        let line = |link: &Link| format!("{}|{}|{}|", link.from_id, link.to_id, link.kind.type_id);
        let untyped = links.iter().filter(|link| link.label.is_none());
        let untyped: BTreeSet<String> = untyped.map(line).collect();
        let there: BTreeSet<String> = links
            .iter()
            .filter(|link| {
                ones.contains(&format!("{}|", link.from_id))
                    && others.contains(&format!("{}|", link.to_id))
            })
            .map(line)
            .collect();
        let listed: BTreeSet<String> = texts(
            connection,
            &format!(
                "SELECT f.hs_id FROM sync_outbox AS e JOIN {from} AS f ON f.local_id = e.local_id
                 WHERE e.object = '{from}' AND e.operation IN ('associate', 'disassociate')
                 UNION
                 SELECT t.hs_id FROM sync_outbox AS e JOIN {to} AS t ON t.local_id = e.to_local_id
                 WHERE e.object = '{from}' AND e.to_object = '{from}'
                 UNION
                 SELECT f.hs_id FROM sync_conflicts AS c JOIN {from} AS f ON f.local_id = c.local_id
                 WHERE c.object = '{}' AND c.resolved_at IS NULL",
                pair.key
            ),
        )
        .into_iter()
        .collect();
        // What is known of a record that is archived while a person is to decide about it, or while the guard holds the removal of
        // its row, stays with its row.
        let undecided = |object: &str| -> BTreeSet<String> {
            let sql = format!(
                "SELECT m.hs_id FROM sync_conflicts AS c JOIN {object} AS m ON m.local_id = c.local_id
                 WHERE c.object = '{object}' AND c.property = '*' AND c.resolved_at IS NULL
                 UNION
                 SELECT hs_id FROM _sync_removals WHERE object = '{object}' AND hold_id IS NOT NULL"
            );
            texts(connection, &sql).into_iter().collect()
        };
        let (undecided_ones, undecided_others) = (undecided(from), undecided(to));
        let is_listed = |line: &String| {
            let mut ends = line.split('|').map(|id| format!("{id}|"));
            let (one, other) = (
                ends.next().unwrap_or_default(),
                ends.next().unwrap_or_default(),
            );
            listed.contains(&one)
                || undecided_ones.contains(&one)
                || undecided_others.contains(&other)
        };
        let is_ours = |line: &&String| match pair.direction {
            Direction::Both | Direction::Pull => true,
            Direction::Push => {
                here.contains(*line)
                    || (untyped.contains(*line)
                        && here.iter().any(|own| ends_of(own) == ends_of(line)))
            }
        };
        let differ: Vec<&String> = here
            .symmetric_difference(&there)
            .filter(is_ours)
            .filter(|line| !is_listed(line))
            .collect();
        if !differ.is_empty() {
            return Err(format!(
                "I10: {} differ, and nothing says so: {differ:?}",
                pair.key
            ));
        }
    }
    Ok(())
}

/// The two records of a line of I10.
fn ends_of(line: &str) -> Option<(&str, &str)> {
    let (from, rest) = line.split_once('|')?;
    Some((from, rest.split_once('|')?.0))
}
