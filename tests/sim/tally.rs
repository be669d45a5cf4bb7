//! What was reached: how entries moved, how conflicts ended, which points were passed, which requests met which faults.
//!
//! `REACHED` is the list of what an ordinary run must reach: what no seed reaches is no longer tested.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::plan::Plan;
use crate::points::Passing;

/// Counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    version: (i64, u64),
    entries: BTreeMap<i64, String>,
    counts: BTreeMap<String, u64>,
}

impl Tally {
    /// What it counted.
    pub(crate) fn counts(self) -> BTreeMap<String, u64> {
        self.counts
    }

    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Looks at the outbox, where somebody has written since the last look.
    pub(crate) fn look(&mut self, connection: &Connection) {
        let version = connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)));
        let version = (version.unwrap_or(0), connection.total_changes());
        if std::mem::replace(&mut self.version, version) == version {
            return;
        }
        let entries = connection
            .prepare_cached(
                "SELECT id, operation || ' ' || state || iif(unanswered_since IS NULL, '', ' in doubt') || iif(waits_for IS NULL, '', ' for ' || waits_for)
                 FROM sync_outbox",
            )
            .and_then(|mut statement| {
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<rusqlite::Result<BTreeMap<i64, String>>>()
            });
        // Before its first start a file has no such table.
        let Ok(entries) = entries else { return };
        let former = std::mem::replace(&mut self.entries, entries);
        let mut moves = Vec::new();
        for (id, now) in &self.entries {
            match former.get(id) {
                Some(was) if was == now => {}
                Some(was) => moves.push(format!("entry: {was} -> {now}")),
                None => moves.push(format!("entry: none -> {now}")),
            }
        }
        let gone = former
            .iter()
            .filter(|(id, _)| !self.entries.contains_key(id));
        moves.extend(gone.map(|(_, was)| format!("entry: {was} -> none")));
        for one in moves {
            self.count(one);
        }
    }

    /// The points that were passed.
    pub(crate) fn passed(&mut self, points: &[Passing]) {
        for passing in points {
            self.count(format!("point: {}", passing.point));
        }
    }

    /// How conflicts ended, by the policy that was in force.
    pub(crate) fn end(&mut self, connection: &Connection, plan: &Plan) {
        let found = connection
            .prepare("SELECT object, property, coalesce(winner, 'open'), coalesce(reason, '') FROM sync_conflicts")
            .and_then(|mut statement| {
                let rows = statement.query_map([], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?;
                rows.collect::<rusqlite::Result<Vec<(String, String, String, String)>>>()
            });
        for (object, property, winner, reason) in found.unwrap_or_default() {
            let mapped = plan.mapping.objects.iter();
            let Some(mapped) = mapped.clone().find(|one| one.object.as_str() == object) else {
                continue;
            };
            let field = mapped.fields.iter();
            let mut field = field.filter(|one| one.property.as_str() == property);
            let policy = field.next().map_or(mapped.policy, |field| field.policy);
            let kind = if property == "*" {
                "existence"
            } else {
                "merge"
            };
            self.count(format!(
                "{kind}: {} {winner}: {}",
                policy.as_str(),
                without_names(&reason)
            ));
        }
    }
}

/// A reason without the numbers and names of its own case.
fn without_names(reason: &str) -> String {
    let mut text = String::new();
    for (place, part) in reason.split('`').enumerate() {
        text.push_str(if place % 2 == 0 { part } else { "…" });
    }
    text.retain(|letter| !letter.is_ascii_digit());
    text
}
