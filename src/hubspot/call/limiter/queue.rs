//! Who waits for a class of endpoints: the highest priority first, then whoever came first; but nobody is overtaken
//! for ever.
//!
//! Its length is bounded by the tasks of the daemon, each of which has one request at a time, and a few where a step says so.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::decide::quota::Priority;

/// Whoever was overtaken this often goes next: a program that rewrites one row again and again must not keep polls and
/// the backfill from ever going on.
const MOST_OVERTAKEN: u32 = 16;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) priority: Priority,
    number: u64,
}

/// A waiting queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Ticket, WaitingRequest>,
    entered: u64,
}

#[derive(Debug, Default)]
struct WaitingRequest {
    waker: Option<Waker>,
    /// How many who came later were let go before.
    overtaken: u32,
}

impl Queue {
    /// Takes the last place of a priority.
    pub(super) fn enter(&mut self, priority: Priority) -> Ticket {
        self.entered += 1;
        let ticket = Ticket {
            priority,
            number: self.entered,
        };
        self.waiting.insert(ticket, WaitingRequest::default());
        ticket
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Says who is to be woken.
    pub(super) fn register(&mut self, ticket: Ticket, waker: &Waker) {
        if let Some(WaitingRequest { waker: known, .. }) = self.waiting.get_mut(&ticket)
            && !known.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *known = Some(waker.clone());
        }
    }

    /// Whether it is this one's turn.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.first() == Some(ticket)
    }

    fn first(&self) -> Option<Ticket> {
        let patient = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.overtaken >= MOST_OVERTAKEN)
            .min_by_key(|(ticket, _)| ticket.number);
        patient
            .or_else(|| self.waiting.first_key_value())
            .map(|(ticket, _)| *ticket)
    }

    /// It was let go: whoever came earlier and still waits was overtaken.
    pub(super) fn let_go(&mut self, ticket: Ticket) {
        for (other, waiting) in &mut self.waiting {
            waiting.overtaken += u32::from(other.number < ticket.number);
        }
    }

    /// Gives the place up; the next one is woken.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        if let Some(first) = self.first()
            && let Some(waker) = &self.waiting[&first].waker
        {
            waker.wake_by_ref();
        }
    }

    /// Something changed: all look again, because one that is not first may have to be refused.
    pub(super) fn wake(&self) {
        for waker in self
            .waiting
            .values()
            .filter_map(|waiting| waiting.waker.as_ref())
        {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_overtaken_for_ever() {
        let mut queue = Queue::default();
        let patient = queue.enter(Priority::Bulk);
        for turn in 0..MOST_OVERTAKEN {
            let eager = queue.enter(Priority::Interactive);
            assert!(queue.is_first(eager), "turn {turn}");
            queue.let_go(eager);
            queue.leave(eager);
        }
        let eager = queue.enter(Priority::Interactive);
        assert!(queue.is_first(patient));
        queue.let_go(patient);
        queue.leave(patient);
        assert!(queue.is_first(eager));
    }
}
