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

impl Backlog {
    /// Leaves out an operation with which HubSpot is in trouble. Tells whether something of it waits.
    pub fn leave_out(&mut self, operation: Operation) -> bool {
        let waiting = match operation {
            Operation::Create => &mut self.creates,
            Operation::Update => &mut self.updates,
            Operation::Archive => &mut self.archives,
            Operation::Associate | Operation::Disassociate => return false,
        };
        if std::mem::take(waiting) == 0 {
            return false;
        }
        if operation == Operation::Create {
            // Nor is one overtaken by an archive.
            self.archives = 0;
        }
        self.newest = self.newest.filter(|newest| *newest != operation);
        true
    }
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
    fn what_hubspot_is_in_trouble_with_is_left_out_and_no_archive_overtakes_a_create() {
        let backlog = Backlog {
            creates: 1,
            updates: 1,
            archives: 1,
            newest: Some(Operation::Update),
        };
        let next = |operation| {
            let mut left = backlog;
            assert!(left.leave_out(operation));
            assert!(!left.leave_out(operation), "nothing of it is left");
            [0, 1].map(|turn| next_batch(&left, turn).map(|pick| pick.operation))
        };
        assert_eq!(next(Operation::Update), [Some(Operation::Create); 2]);
        assert_eq!(next(Operation::Create), [Some(Operation::Update); 2]);
        assert_eq!(
            next(Operation::Archive),
            [Operation::Create, Operation::Update].map(Some)
        );
        let mut left = Backlog {
            updates: 0,
            ..backlog
        };
        assert!(left.leave_out(Operation::Create));
        assert_eq!(next_batch(&left, 0), None);
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
