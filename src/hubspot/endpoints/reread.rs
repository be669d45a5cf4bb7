//! `Reread`: a read just before a write, and the write that rests on it.
//!
//! Both are let go by the limiter at once, so that the write never waits for a place of its own while what was read
//! grows old. Just before it is sent its age is looked at, behind everything that may have come between: a limit that
//! another request met, a lock of a program on the database, a process that stood still, a machine that slept.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use parking_lot::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::decide::outgoing::gap::{Age, FRESH};
use crate::decide::quota::Priority;
use crate::hubspot::Client;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::call::limiter::Permit;
use crate::hubspot::endpoints::batch::{BatchRead, ReadQuery};
use crate::hubspot::endpoints::paths::Endpoint;
use crate::model::name::ObjectType;
use crate::model::time::ClockMoment;

/// A read and a write.
pub(crate) const READ_AND_WRITE: u32 = 2;

/// Between two looks at the clocks while the answer is waited for.
const LOOK: Duration = Duration::from_millis(250);

/// A read, and the write that rests on it.
pub(crate) struct Reread {
    clock: Arc<dyn Clock>,
    state: Mutex<RereadState>,
    /// Whether the limits let all of them go at once. Where they never do, no write can follow its read within a second.
    are_together: bool,
}

#[derive(Default)]
struct RereadState {
    permits: Vec<Permit>,
    read: Option<ReadTimes>,
    /// How many requests the read took.
    reads: u32,
}

/// When the read was sent, by the attempt that was answered, and when its answer came.
#[derive(Clone, Copy)]
struct ReadTimes {
    asked_at: ClockMoment,
    answered_at: ClockMoment,
}

impl Client {
    /// Waits until a read of records and a write may go at once.
    ///
    /// # Errors
    /// The limiter lets nothing go.
    pub(crate) async fn begin_reread(&self, priority: Priority) -> Result<Reread, HubspotError> {
        self.begin(Endpoint::BatchRead, READ_AND_WRITE, priority)
            .await
    }

    /// Waits until so many requests may go at once: reads of associations, and the write that rests on them.
    ///
    /// # Errors
    /// The limiter lets nothing go.
    pub(crate) async fn begin_reread_of_links(
        &self,
        requests: u32,
        priority: Priority,
    ) -> Result<Reread, HubspotError> {
        self.begin(Endpoint::ReadAssociations, requests, priority)
            .await
    }

    async fn begin(
        &self,
        read: Endpoint,
        requests: u32,
        priority: Priority,
    ) -> Result<Reread, HubspotError> {
        let limiter = &self.inner.limiter;
        let class = read.class(self.inner.version);
        let let_go = async {
            limiter.rest(read.work()).await?;
            limiter.acquire_together(class, priority, requests).await
        };
        let let_go = let_go.await;
        let permits = let_go.map_err(|source| self.held_back(&self.name(read), source))?;
        Ok(Reread {
            clock: Arc::clone(&self.inner.clock),
            are_together: permits.len() == requests as usize,
            state: Mutex::new(RereadState {
                permits,
                read: None,
                reads: 0,
            }),
        })
    }

    /// Reads up to 100 records as [`Self::batch_read`], right before they are written.
    ///
    /// # Errors
    /// As [`Self::batch_read`].
    pub(crate) async fn reread(
        &self,
        object: &ObjectType,
        query: &ReadQuery,
        priority: Priority,
        reread: &Reread,
    ) -> Result<BatchRead, HubspotError> {
        self.batch_read_within(object, query, priority, Some(reread))
            .await
    }
}

impl Reread {
    /// How long ago the read was sent, and answered; where it went in parts, the first of them.
    pub(crate) fn age(&self) -> Age {
        let now = self.clock.moment();
        let read = self.state().read;
        let since = |at: fn(ReadTimes) -> ClockMoment| {
            read.map_or(Duration::MAX, |read| now.since(at(read)))
        };
        Age {
            asked: since(|read| read.asked_at),
            answered: since(|read| read.answered_at),
        }
    }

    /// Whether what was read is too old for a write to rest on it. It counts from the answer: a HubSpot that takes long over
    /// each of them would be asked without end; what was edited meanwhile is looked for afterwards (`decide/outgoing/gap`).
    pub(crate) fn is_stale(&self) -> bool {
        self.are_together && self.age().answered > FRESH
    }

    /// A place that was reserved, for the first attempt of a request. Whoever must wait for another place gives up what
    /// is left: HubSpot may let go only one request at a time, and it must not be waited for by the one that holds it.
    pub(crate) fn take(&self, attempt: u32) -> Option<Permit> {
        let mut state = self.state();
        let mut reserved = state.permits.pop().filter(|_| attempt == 1);
        if !reserved.as_mut().is_some_and(Permit::may_still_go) {
            state.permits.extend(reserved.take());
            state.release();
        }
        reserved
    }

    /// Waits for the read's answer; tells when it came. A process that stood still meanwhile can't know that: then it may
    /// have come right after the last look.
    pub(crate) async fn attend<T>(&self, answer: impl Future<Output = T>) -> (T, ClockMoment) {
        let mut answer = pin!(answer);
        let mut looked_at = self.clock.moment();
        loop {
            let tick = self.clock.sleep(LOOK);
            let came = match select(answer.as_mut(), tick).await {
                Either::Left((came, _)) => Some(came),
                Either::Right(_) => None,
            };
            let now = self.clock.moment();
            let Some(came) = came else {
                // What stood still until now may find the answer at the next look.
                if now.since(looked_at) <= FRESH {
                    looked_at = now;
                }
                continue;
            };
            let at = if now.since(looked_at) <= FRESH {
                now
            } else {
                looked_at
            };
            return (came, at);
        }
    }

    /// The read was answered. One in parts is as old as the first of them.
    pub(crate) fn was_answered(&self, asked_at: ClockMoment, answered_at: ClockMoment) {
        let read = ReadTimes {
            asked_at,
            answered_at,
        };
        let mut state = self.state();
        state.read.get_or_insert(read);
        state.reads += 1;
    }

    /// Lets the write go however old the read is.
    pub(crate) fn never_stale(&mut self) {
        self.are_together = false;
    }

    /// How many requests the read took.
    pub(crate) fn reads(&self) -> u32 {
        self.state().reads
    }

    fn state(&self) -> MutexGuard<'_, RereadState> {
        self.state.lock()
    }
}

impl RereadState {
    fn release(&mut self) {
        for permit in self.permits.drain(..) {
            permit.unused();
        }
    }
}

impl Drop for Reread {
    fn drop(&mut self) {
        self.state.get_mut().release();
    }
}
