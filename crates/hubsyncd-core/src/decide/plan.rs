//! Which batch the push sends next: creates before updates before archives, small and recent before bulk.

use crate::model::entry::Operation;

/// The most inputs of one batch (`hubspot/api-facts.md#3`).
pub const BATCH: usize = 100;

/// The most inputs of one batch read that asks for histories (`hubspot/api-facts.md#3`).
pub const BATCH_WITH_HISTORY: usize = 50;

/// Due entries of one object, counted by operation up to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Creates that may be sent.
    pub creates: usize,
    /// Updates that may be sent.
    pub updates: usize,
    /// Archives that may be sent.
    pub archives: usize,
    /// The operation of the youngest due create or update.
    pub newest: Option<Operation>,
}

/// In which order a batch is taken from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The longest waiting first.
    OldestFirst,
    /// The youngest first: what an interactive program has just written.
    NewestFirst,
}

/// The next batch of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// What the batch does.
    pub operation: Operation,
    /// Which entries it takes.
    pub order: Order,
}

/// Chooses the next batch. `turn` counts the object's batches: with a backlog of more than one batch every second one
/// takes the youngest, so that 200,000 changed rows delay a single later write by one batch and not by 2,000.
pub fn next_batch(backlog: &Backlog, turn: u64) -> Option<Pick> {
    let bulk = backlog.creates.max(backlog.updates) > BATCH
        || (backlog.creates > 0 && backlog.updates > 0);
    if bulk
        && turn % 2 == 1
        && let Some(operation) = backlog.newest
    {
        return Some(Pick {
            operation,
            order: Order::NewestFirst,
        });
    }
    let oldest = |operation| {
        Some(Pick {
            operation,
            order: Order::OldestFirst,
        })
    };
    match backlog {
        Backlog { creates: 1.., .. } => oldest(Operation::Create),
        Backlog { updates: 1.., .. } => oldest(Operation::Update),
        // An archive never overtakes a create: the create may be the same person, inserted again.
        Backlog { archives: 1.., .. } => oldest(Operation::Archive),
        Backlog { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_go_before_updates_before_archives() {
        let check = |creates, updates, archives, expected: Option<Operation>| {
            let backlog = Backlog {
                creates,
                updates,
                archives,
                newest: None,
            };
            assert_eq!(next_batch(&backlog, 0).map(|pick| pick.operation), expected);
        };
        check(1, 1, 1, Some(Operation::Create));
        check(0, 1, 1, Some(Operation::Update));
        check(0, 0, 1, Some(Operation::Archive));
        check(0, 0, 0, None);
    }

    #[test]
    fn every_second_batch_of_a_long_backlog_takes_the_youngest() {
        let backlog = Backlog {
            creates: 0,
            updates: 101,
            archives: 0,
            newest: Some(Operation::Update),
        };
        assert_eq!(
            next_batch(&backlog, 0).expect("due").order,
            Order::OldestFirst
        );
        assert_eq!(
            next_batch(&backlog, 1).expect("due").order,
            Order::NewestFirst
        );
        let short = Backlog {
            updates: 100,
            ..backlog
        };
        assert_eq!(
            next_batch(&short, 1).expect("due").order,
            Order::OldestFirst
        );
    }
}
