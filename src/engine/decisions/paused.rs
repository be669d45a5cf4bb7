//! Which sides are paused, as a daemon remembers it: each turn of each task asks, and nobody else changes the table.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::decide::decision::commands::PausedSide;
use crate::store::{Store, StoreError, orders};

/// The sides that are paused, once they were read.
#[derive(Debug, Default, Clone)]
pub(crate) struct KnownPauses(Arc<Mutex<PausesStanding>>);

#[derive(Debug, Default)]
struct PausesStanding {
    sides: Option<Vec<PausedSide>>,
    /// How many changes are on their way: what is read beside one may be older than it.
    changing: u32,
    /// How many changes are over.
    changes: u64,
}

/// A read of the sides, by the changes that were over when it began.
#[derive(Debug, Clone, Copy)]
struct PausesRead(u64);

/// A change that is on its way. It is dropped behind the commit, whoever waits for that: until then nothing is remembered.
#[derive(Debug)]
pub(crate) struct ChangingPauses(KnownPauses);

impl KnownPauses {
    /// Whether a side is paused. The table is read where nobody knows.
    pub(crate) async fn ask(&self, store: &Store, side: PausedSide) -> Result<bool, StoreError> {
        let read = match self.known(side) {
            Ok(is_paused) => return Ok(is_paused),
            Err(read) => read,
        };
        let paused = store.read(orders::paused).await?;
        let is_paused = paused.contains(&side);
        self.remember(read, paused);
        Ok(is_paused)
    }

    /// Whether a side is paused; or the read that is wanted, where nobody knows.
    fn known(&self, side: PausedSide) -> Result<bool, PausesRead> {
        let standing = self.0.lock();
        match &standing.sides {
            Some(sides) => Ok(sides.contains(&side)),
            None => Err(PausesRead(standing.changes)),
        }
    }

    /// Remembers what was read, unless a change came between.
    fn remember(&self, read: PausesRead, sides: Vec<PausedSide>) {
        let mut standing = self.0.lock();
        if standing.changing == 0 && standing.changes == read.0 {
            standing.sides = Some(sides);
        }
    }

    /// Begins a change.
    pub(crate) fn changing(&self) -> ChangingPauses {
        let mut standing = self.0.lock();
        standing.changing += 1;
        standing.sides = None;
        ChangingPauses(self.clone())
    }
}

impl Drop for ChangingPauses {
    fn drop(&mut self) {
        let mut standing = self.0.0.lock();
        standing.changing -= 1;
        standing.changes += 1;
        standing.sides = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_beside_a_change_is_not_remembered() {
        let known = KnownPauses::default();
        let before = known.known(PausedSide::Push).expect_err("unknown");
        known.remember(before, vec![PausedSide::Push]);
        assert_eq!(known.known(PausedSide::Push).ok(), Some(true));
        assert_eq!(known.known(PausedSide::Pull).ok(), Some(false));

        let changing = known.changing();
        let beside = known.known(PausedSide::Push).expect_err("unknown");
        known.remember(beside, vec![PausedSide::Push]);
        known.known(PausedSide::Push).expect_err("it changes");
        drop(changing);
        known.remember(beside, vec![PausedSide::Push]);
        let after = known.known(PausedSide::Push).expect_err("older");
        known.remember(after, Vec::new());
        assert_eq!(known.known(PausedSide::Push).ok(), Some(false));
    }
}
