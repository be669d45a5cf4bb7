//! Who waits for a class of endpoints: the highest priority first, then whoever came first.
//!
//! Its length is bounded by the tasks of the daemon, each of which has one request at a time.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::decide::quota::Priority;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) priority: Priority,
    number: u64,
}

/// A waiting queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Ticket, Option<Waker>>,
    entered: u64,
}

impl Queue {
    /// Takes the last place of a priority.
    pub(super) fn enter(&mut self, priority: Priority) -> Ticket {
        self.entered += 1;
        let ticket = Ticket {
            priority,
            number: self.entered,
        };
        self.waiting.insert(ticket, None);
        ticket
    }

    /// Says who is to be woken.
    pub(super) fn register(&mut self, ticket: Ticket, waker: &Waker) {
        if let Some(known) = self.waiting.get_mut(&ticket)
            && !known.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *known = Some(waker.clone());
        }
    }

    /// Whether it is this one's turn.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == ticket)
    }

    /// Gives the place up; the next one is woken.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        if let Some((_, Some(waker))) = self.waiting.first_key_value() {
            waker.wake_by_ref();
        }
    }

    /// Something changed: all look again, because one that is not first may have to be refused.
    pub(super) fn wake(&self) {
        for waker in self.waiting.values().flatten() {
            waker.wake_by_ref();
        }
    }
}
