//! Which batch the push sends next: creates before updates before archives, small and recent before bulk.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::outgoing::gap::{Age, RECORDS_OF_A_LOOK, is_looked_at};
use crate::model::entry::Operation;
use crate::model::id::OutboxId;
use crate::model::time::Timestamp;

/// The most inputs of one batch (`hubspot/api-facts.md#3`).
pub const BATCH: usize = 100;

/// The most batches of an object that go at once: as many as fill 19 requests a second where each takes 0.3 s.
const MOST_AT_ONCE: usize = 8;

/// A step that took longer than this had as many batches as quota and latency bear; where it took twice as long it had too many, and
/// what a program writes meanwhile waits for it.
const STEP: Duration = Duration::from_secs(1);

/// The most inputs of one batch read that asks for histories (`hubspot/api-facts.md#3`).
pub const BATCH_WITH_HISTORY: usize = 50;

/// How many batches of an object go at once in its next step, where one with `before` of them took so long. A lock of HubSpot's, or
/// a failure, brings it back to one.
pub fn batches_at_once(before: usize, took: Duration, went_well: bool) -> usize {
    match (went_well, took) {
        (false, _) => 1,
        (true, took) if took < STEP => (before * 2).min(MOST_AT_ONCE),
        (true, took) if took < 2 * STEP => before,
        (true, _) => (before / 2).max(1),
    }
}

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

/// In which order the next batch of a queue is taken. `turn` counts its batches: with more than one of them waiting (`is_long`) every
/// second one takes the youngest, so that 200,000 changed rows delay a single later write by one batch and not by 2,000.
pub fn order(is_long: bool, turn: u64) -> Order {
    match is_long && turn % 2 == 1 {
        true => Order::NewestFirst,
        false => Order::OldestFirst,
    }
}

/// Which of so many queues comes first at a turn: each in its turn, so that none waits for the end of another.
pub fn first_queue(queues: usize, turn: u64) -> usize {
    let queues = queues.max(1) as u64;
    (turn % queues) as usize
}

/// Chooses the next batch of an object's records. `turn` counts the object's batches.
pub fn next_batch(backlog: &Backlog, turn: u64) -> Option<Pick> {
    let bulk = backlog.creates.max(backlog.updates) > BATCH
        || (backlog.creates > 0 && backlog.updates > 0);
    if order(bulk, turn) == Order::NewestFirst
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

/// An entry that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueEntry {
    /// Since when.
    pub due: Timestamp,
    /// The entry.
    pub id: OutboxId,
}

/// All that is due of an object's creates and updates, in the batches that [`next_batch`] takes one after the other; each list
/// is the oldest first. Whatever else is due goes behind them.
pub fn all_batches(
    creates: Vec<DueEntry>,
    updates: Vec<DueEntry>,
) -> Vec<(Operation, Vec<OutboxId>)> {
    let (mut creates, mut updates) = (VecDeque::from(creates), VecDeque::from(updates));
    let mut batches = Vec::new();
    for turn in 0.. {
        let newest = match (creates.back(), updates.back()) {
            (Some(create), Some(update)) if create >= update => Some(Operation::Create),
            (_, Some(_)) => Some(Operation::Update),
            (Some(_), None) => Some(Operation::Create),
            (None, None) => None,
        };
        let backlog = Backlog {
            creates: creates.len(),
            updates: updates.len(),
            archives: 0,
            newest,
        };
        let Some(pick) = next_batch(&backlog, turn) else {
            break;
        };
        let queue = match pick.operation {
            Operation::Create => &mut creates,
            Operation::Update
            | Operation::Archive
            | Operation::Associate
            | Operation::Disassociate => &mut updates,
        };
        let many = queue.len().min(BATCH);
        let batch: Vec<DueEntry> = match pick.order {
            Order::OldestFirst => queue.drain(..many).collect(),
            Order::NewestFirst => queue.drain(queue.len() - many..).rev().collect(),
        };
        batches.push((pick.operation, batch.iter().map(|entry| entry.id).collect()));
    }
    batches
}

/// Entries of a batch that the push takes up together, by what is asked of HubSpot for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedBatch {
    /// What the batch does.
    pub operation: Operation,
    /// Updates and archives whose records are read first.
    pub read: usize,
    /// Entries that are sent behind that read.
    pub sent: usize,
    /// Of a batch of creates: those that take associations along, which go by a call of their own.
    pub along: usize,
    /// Of a batch of creates: those that HubSpot refuses since it has their record.
    pub refused: usize,
    /// Of those: the ones of which it names the record, which is read then.
    pub named: usize,
    /// The requests that look for the records of the others.
    pub looks: u64,
    /// Of creates that are looked for by search: those whose record is found, which is read then.
    pub searched: usize,
    /// Creates whose record HubSpot has, which become updates of it.
    pub adopted: usize,
    /// Those that wait for the histories of their fields, which are read first.
    pub contested: usize,
    /// What of the last two is sent as an update after all.
    pub sent_later: usize,
}

impl PlannedBatch {
    /// One of which nothing is known yet.
    pub fn of(operation: Operation) -> Self {
        Self {
            operation,
            read: 0,
            sent: 0,
            along: 0,
            refused: 0,
            named: 0,
            looks: 0,
            searched: 0,
            adopted: 0,
            contested: 0,
            sent_later: 0,
        }
    }
}

/// What the batches of an object's records cost, with the looks behind them: at what was pushed, and at the histories that the file
/// keeps. Associations are counted by their pairs (`decide/outgoing/associate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushCost {
    requests: u64,
    updates_looked_at: usize,
    archives_looked_at: usize,
    /// Records whose last-modified time moves.
    moved: usize,
    contested: usize,
    sent_later: usize,
}

impl PushCost {
    /// Adds a batch.
    pub fn add(&mut self, batch: &PlannedBatch) {
        let requests = |entries: usize| entries.div_ceil(BATCH) as u64;
        let bare = batch.sent - batch.along;
        self.requests += match batch.operation {
            Operation::Create => {
                let shown = requests(batch.named) + requests(batch.searched);
                requests(bare) + requests(batch.along) + batch.looks + shown
            }
            Operation::Update | Operation::Archive => requests(batch.read) + requests(batch.sent),
            Operation::Associate | Operation::Disassociate => 0,
        };
        match batch.operation {
            Operation::Update => self.updates_looked_at += looked_at(batch.sent),
            Operation::Archive => self.archives_looked_at += looked_at(batch.sent),
            Operation::Create | Operation::Associate | Operation::Disassociate => {}
        }
        self.moved += match batch.operation {
            Operation::Create => batch.sent - batch.refused + batch.adopted,
            Operation::Update => batch.sent + batch.sent_later,
            Operation::Archive | Operation::Associate | Operation::Disassociate => 0,
        };
        self.contested += batch.contested;
        self.sent_later += batch.sent_later;
    }

    /// All requests. `keeps_histories`: the file keeps HubSpot's own history of a property of the object.
    pub fn requests(&self, keeps_histories: bool) -> u64 {
        let of_histories = |records: usize| records.div_ceil(BATCH_WITH_HISTORY) as u64;
        // Each is read before it is written, as any other update.
        let later = 2 * self.sent_later.div_ceil(BATCH);
        let last = looked_at(self.sent_later % BATCH);
        let updates = self.updates_looked_at + last;
        let moved = if keeps_histories { self.moved } else { 0 };
        self.requests
            + later as u64
            + of_histories(self.contested)
            + looks(updates, self.archives_looked_at)
            + of_histories(moved)
    }
}

/// Records of a request that are looked at afterwards, where HubSpot is not slow about it: of a small push each is.
fn looked_at(sent: usize) -> usize {
    let age = Age {
        asked: Duration::ZERO,
        answered: Duration::ZERO,
    };
    if is_looked_at(sent, age, false) {
        sent
    } else {
        0
    }
}

/// How many requests look at so many updates, and at so many archives that follow them: the last of the ones share a look with the
/// first of the others, which is a request of each kind.
fn looks(updates: usize, archives: usize) -> u64 {
    let shared = match archives {
        0 => 0,
        _ => (updates + archives).div_ceil(RECORDS_OF_A_LOOK) - updates / RECORDS_OF_A_LOOK,
    };
    (updates.div_ceil(RECORDS_OF_A_LOOK) + shared) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_go_at_once_as_long_as_a_step_is_short_and_goes_well() {
        let check = |before, took_ms, went_well, expected| {
            let next = batches_at_once(before, Duration::from_millis(took_ms), went_well);
            assert_eq!(next, expected, "{before} in {took_ms} ms");
        };
        check(1, 300, true, 2);
        check(4, 700, true, 8);
        check(8, 999, true, 8);
        check(8, 1_500, true, 8);
        check(8, 2_000, true, 4);
        check(1, 60_000, true, 1);
        check(8, 300, false, 1);
    }

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

    #[test]
    fn a_push_costs_its_reads_its_writes_and_the_looks_behind_them() {
        use Operation::{Archive, Create, Update};
        let costs = |batches: &[PlannedBatch]| {
            let mut cost = PushCost::default();
            for batch in batches {
                cost.add(batch);
            }
            [cost.requests(false), cost.requests(true)]
        };
        let of = |operation, read, sent| PlannedBatch {
            read,
            sent,
            ..PlannedBatch::of(operation)
        };
        assert_eq!(costs(&[]), [0, 0]);
        // A read, a write, a look at what was written.
        assert_eq!(costs(&[of(Update, 3, 3)]), [3, 4]);
        assert_eq!(costs(&[of(Archive, 3, 3)]), [3, 3]);
        // Only after the read nothing is left to be sent.
        assert_eq!(costs(&[of(Update, 3, 0)]), [1, 1]);
        // A large push that goes well is not looked at.
        assert_eq!(costs(&[of(Update, 100, 100), of(Update, 50, 50)]), [5, 8]);
        assert_eq!(costs(&[of(Create, 0, 60)]), [1, 3]);
        // One look at updates and archives is a request for each.
        assert_eq!(
            costs(&[of(Update, 30, 30), of(Archive, 30, 30)]),
            [4 + 3, 4 + 3 + 1]
        );
        assert_eq!(
            costs(&[of(Update, 50, 50), of(Archive, 1, 1)]),
            [4 + 2, 4 + 2 + 1]
        );
        let along = PlannedBatch {
            along: 2,
            ..of(Create, 0, 5)
        };
        assert_eq!(costs(&[along]), [2, 3]);
        // Refused, read, and then an update of the record: its read, its write and the look at it.
        let refused = PlannedBatch {
            refused: 1,
            named: 1,
            adopted: 1,
            sent_later: 1,
            ..of(Create, 0, 1)
        };
        assert_eq!(costs(&[refused]), [5, 6]);
        // The read shows a contest, a second one its history, and then it is an update like any other.
        let contested = PlannedBatch {
            contested: 1,
            sent_later: 1,
            ..of(Update, 1, 0)
        };
        assert_eq!(costs(&[contested]), [5, 6]);
    }

    #[test]
    fn all_that_is_due_goes_in_batches_of_which_every_second_of_a_backlog_is_the_youngest() {
        let due = |numbers: std::ops::Range<i64>| -> Vec<DueEntry> {
            let entry = |number| DueEntry {
                due: Timestamp::from_millis(number),
                id: OutboxId(number),
            };
            numbers.map(entry).collect()
        };
        let said = |creates, updates| -> Vec<String> {
            let batches = all_batches(due(creates), due(updates)).into_iter();
            batches
                .map(|(operation, ids)| {
                    let (first, last) = (ids[0].0, ids[ids.len() - 1].0);
                    format!("{} {first}..{last}", operation.as_str())
                })
                .collect()
        };
        assert_eq!(said(0..0, 0..3), ["update 0..2"]);
        assert_eq!(said(0..2, 10..13), ["create 0..1", "update 10..12"]);
        assert_eq!(
            said(0..0, 0..250),
            ["update 0..99", "update 249..150", "update 100..149"]
        );
        assert_eq!(
            said(50..200, 0..10),
            ["create 50..149", "create 199..150", "update 0..9"]
        );
    }
}
