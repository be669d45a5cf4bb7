//! What the guard holds of values that are emptied, where nothing may be emptied without an operator's word: that nothing is
//! emptied which should be held, that what is held is explained, and that a word frees it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::OptionalExtension as _;

use crate::model::{Place, Text};
use crate::worlds::acts::Act;
use crate::worlds::alphabet::Mode;
use crate::worlds::bench::{FILLERS, FIRST};
use crate::worlds::play::Play;
use crate::worlds::seen::FieldSeen;

/// The side on which a value would be emptied, as the table names it.
const SIDES: [(Place, &str); 2] = [(Place::Local, "local"), (Place::Remote, "hubspot")];

/// What was seen of it in a world.
#[derive(Debug, Default)]
pub(super) struct Clearings {
    /// Fields of which something was held, and where it would have been emptied.
    pub(super) seen: BTreeSet<(usize, Place)>,
    /// How many values of a field an operator has let go on a side.
    approved: BTreeMap<(usize, Place), u32>,
    /// What a field must hold on both sides since an operator's word, while nothing else happens to it.
    due: BTreeMap<usize, Text>,
}

impl Play<'_> {
    /// The fields that are held now, and where they would be emptied.
    fn held_clears(&self) -> Vec<(usize, Place)> {
        if self.small.setup.mode != Mode::Filled {
            return Vec::new();
        }
        let connection = self.bench.programs.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT property, side FROM sync_holds
                 WHERE operation = 'clear' AND approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL",
            )
            .expect("the holds can be read");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let rows: Vec<(String, String)> = rows
            .expect("rows")
            .collect::<Result<_, _>>()
            .expect("holds");
        let known = rows.iter().filter_map(|(property, side)| {
            let index = self.fields.iter().position(|name| name == property)?;
            let (place, _) = SIDES.into_iter().find(|(_, own)| own == side)?;
            Some((index, place))
        });
        known.collect()
    }

    /// Takes note of what is held.
    pub(super) fn see_clearings(&mut self) {
        let held = self.held_clears();
        self.clearings.seen.extend(held);
    }

    /// Something else happens.
    pub(super) fn forget_word(&mut self, act: Act) {
        if !matches!(act, Act::Poll | Act::Pause | Act::Compare) {
            self.clearings.due.clear();
        }
    }

    /// An operator lets go what is held, or takes it back: what must come of it, where neither side has moved since it was held.
    pub(super) fn word_on_clearings(&mut self, is_approved: bool) {
        for (index, place) in self.held_clears() {
            if is_approved {
                *self.clearings.approved.entry((index, place)).or_default() += 1;
            } else {
                self.existence.decided = true;
            }
            let local = self.hot().and_then(|row| row.values[index].clone());
            let remote = self.bench.value_of(self.record, self.fields[index]);
            let former = self.held_over(index);
            let is_alone = self.small.fault.is_none() && !self.finds("SELECT 1 FROM sync_outbox");
            let is_as_held = former == Some(remote.clone()) && local.is_none() != remote.is_none();
            if !is_alone || !is_as_held {
                continue;
            }
            let value = match is_approved {
                true => None,
                false => local.or(remote),
            };
            self.clearings.due.insert(index, value);
        }
    }

    /// HubSpot's value of a field as it was when it was held.
    fn held_over(&self, index: usize) -> Option<Text> {
        let connection = self.bench.programs.connection();
        let row = self.hot()?.local_id;
        connection
            .prepare_cached(
                "SELECT remote_value FROM _sync_held_clears WHERE property = ?1 AND local_id = ?2",
            )
            .and_then(|mut statement| {
                statement
                    .query_row((self.fields[index], row), |row| row.get(0))
                    .optional()
            })
            .expect("what is held can be read")
    }

    /// The daemon empties a field on a side: only what an operator has let go, and a program's value that lost in a conflict.
    pub(super) fn may_be_emptied(&mut self, index: usize, place: Place) -> Result<(), String> {
        let lost = place == Place::Local && self.models[index].is_pending(Place::Local);
        if self.small.setup.mode != Mode::Filled || lost {
            return Ok(());
        }
        let is_certain = self.is_answered();
        match self.clearings.approved.get_mut(&(index, place)) {
            Some(left) if *left > 0 => {
                *left -= u32::from(is_certain);
                Ok(())
            }
            _ => Err(format!(
                "{} was emptied in {place:?} without a word",
                self.fields[index]
            )),
        }
    }

    /// At rest: what is held is what one side has emptied, and is counted as it is.
    pub(super) fn judge_holds(&self) -> Result<(), String> {
        if self.small.setup.mode != Mode::Filled {
            return Ok(());
        }
        let odd = [
            (
                "a word about a hold is not carried out",
                "SELECT 1 FROM sync_holds WHERE operation = 'clear' AND settled_at IS NULL AND (approved_at IS NOT NULL OR discarded_at IS NOT NULL)",
            ),
            (
                "a hold counts what it does not hold",
                "SELECT 1 FROM sync_holds AS h WHERE operation = 'clear' AND settled_at IS NULL
                     AND records <> (SELECT count(*) FROM _sync_held_clears AS c WHERE c.hold_id = h.id)",
            ),
            (
                "something is held for nobody to decide",
                "SELECT 1 FROM _sync_held_clears WHERE hold_id NOT IN (SELECT id FROM sync_holds WHERE settled_at IS NULL)",
            ),
            (
                "a value is held of a row that is gone",
                "SELECT 1 FROM _sync_held_clears WHERE local_id NOT IN (SELECT local_id FROM contacts)",
            ),
        ];
        match odd.into_iter().find(|(_, sql)| self.finds(sql)) {
            Some((what, _)) => Err(what.to_owned()),
            None => Ok(()),
        }
    }

    /// How a field may stand of which something was held; `None`: nothing was.
    pub(super) fn judge_clearing(
        &self,
        index: usize,
        seen: &FieldSeen,
    ) -> Option<Result<(), String>> {
        let mut ever = self.clearings.seen.iter();
        if !ever.any(|(own, _)| *own == index) {
            return None;
        }
        Some(self.fits_the_hold(index, seen))
    }

    fn fits_the_hold(&self, index: usize, seen: &FieldSeen) -> Result<(), String> {
        let (local, remote) = (&seen.local, &seen.remote);
        let stands = || format!("{local:?} here and {remote:?} there");
        for (_, place) in self
            .held_clears()
            .into_iter()
            .filter(|(own, _)| *own == index)
        {
            let is_emptied = match place {
                Place::Local => remote.is_none() && local.is_some(),
                Place::Remote => local.is_none(),
            };
            if !is_emptied {
                return Err(format!(
                    "nothing is to be emptied in {place:?}, and it is held: {}",
                    stands()
                ));
            }
        }
        match self.clearings.due.get(&index) {
            Some(due) if due != local || due != remote => Err(format!(
                "an operator's word makes it {due:?}, and it is {}",
                stands()
            )),
            _ => Ok(()),
        }
    }

    /// Whether a field is held.
    pub(super) fn is_clear_held(&self, index: usize) -> bool {
        self.held_clears().iter().any(|(own, _)| *own == index)
    }
}

/// People beside the person: a column of fewer values has no bound.
pub(super) fn fillers() -> impl Iterator<Item = [(&'static str, String); 3]> {
    (0..FILLERS).map(|number| {
        [
            ("email", format!("filler{number}@example.com")),
            ("firstname", FIRST.to_owned()),
            ("lastname", FIRST.to_owned()),
        ]
    })
}
