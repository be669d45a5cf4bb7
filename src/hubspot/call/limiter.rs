//! `Limiter`: no request leaves before it may.
//!
//! `decide::quota` says whether a request may go; here is what waits until then: a small queue for each class of
//! endpoint, the highest priority first, and `governor` as the pace inside the exact windows, so that requests come
//! evenly and a push never stands behind a whole window's burst. Waiting is by the `Clock` and by wakers of our own,
//! so that a simulated run needs no runtime. What a person pays for by the day is leased in blocks through a function
//! that the daemon gives: after a kill an open lease counts as sent (design, section 7).

mod pace;
mod queue;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;

use crate::clock::Clock;
pub use crate::decide::quota::LimitSettings;
use crate::decide::quota::day::{KnownQuotaDay, QuotaDay};
use crate::decide::quota::{
    Ending, EndpointClass, Grant, Now, Observed, Pause, Priority, Quota, QuotaVerdict, Recent,
    RestingWork,
};
use crate::hubspot::call::limiter::pace::RequestPace;
use crate::hubspot::call::limiter::queue::{Queue, Ticket};
use crate::model::time::Timestamp;

/// A longer pause that HubSpot asks for is no wait inside a step: the request is refused with the time to come back.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A block of requests that is about to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// How many requests, at most 20.
    pub count: u32,
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// The day they belong to: the date in the account's zone.
    pub day: String,
    /// The end of that day.
    pub day_resets_at: Timestamp,
    /// The day's requests as known so far; `None`: it has no bound.
    pub day_limit: Option<u64>,
}

/// Why a lease could not be written.
pub(crate) type LeaseError = Box<dyn std::error::Error + Send + Sync>;

/// Writes a lease where it survives a kill, before its requests are sent.
pub(crate) type LeaseFn =
    Arc<dyn Fn(LeaseRequest) -> BoxFuture<'static, Result<(), LeaseError>> + Send + Sync>;

/// What is known of the time before the start.
#[derive(Debug, Clone, Default)]
pub struct StartState {
    /// Requests that may still lie in HubSpot's window of 10 seconds: after a kill all leases that were open in that time.
    pub recent: Vec<Recent>,
    /// The day that `day_used` belongs to: the date of its leases.
    pub day: Option<String>,
    /// Requests of that day, open leases included.
    pub day_used: u64,
    /// The day's limit as HubSpot last said it.
    pub day_limit: Option<u64>,
    /// The end of the day as it was last known.
    pub day_resets_at: Option<Timestamp>,
    /// The account's time zone as it was last known.
    pub time_zone: Option<String>,
}

/// Why a request was not let go.
#[derive(Debug, Error)]
pub enum LimiterError {
    /// The day is spent, or what is left of it is kept for higher priorities.
    #[error("the day's requests are spent until {until}")]
    OutOfQuota {
        /// The account's next midnight, by this machine's clock.
        until: Timestamp,
    },
    /// HubSpot asked for a pause that is longer than anybody should wait inside a step.
    #[error("{} until {until}", reason(*why))]
    Paused {
        /// What HubSpot asked for it for.
        why: Pause,
        /// When it goes on, by this machine's clock.
        until: Timestamp,
    },
    /// Five requests in a row had no answer; one probe at a time goes.
    #[error("HubSpot does not answer; the next probe goes at {until}")]
    Unreachable {
        /// When the next probe goes, by this machine's clock.
        until: Timestamp,
    },
    /// The lease could not be written.
    #[error("the day's budget could not be leased")]
    Lease(#[source] LeaseError),
    /// The process is stopping: nothing new is sent.
    #[error("the process is stopping")]
    Closed,
}

/// Why HubSpot is left alone, in words that a moment ends.
fn reason(pause: Pause) -> String {
    let work = match pause {
        Pause::Everything => return "HubSpot is moving the account".to_owned(),
        Pause::Day => return "the day's requests are spent".to_owned(),
        Pause::Class(EndpointClass::Search) => {
            return "HubSpot's limit of searches is exceeded, and they rest".to_owned();
        }
        Pause::Class(EndpointClass::Associations) => {
            return "HubSpot's limit of association calls is exceeded, and they rest".to_owned();
        }
        Pause::Class(EndpointClass::Crm) => {
            return "HubSpot's limit of requests is exceeded, and they rest".to_owned();
        }
        Pause::Rest(RestingWork::Search) => "searches",
        Pause::Rest(RestingWork::Read) => "reads",
        Pause::Rest(RestingWork::Create) => "creates",
        Pause::Rest(RestingWork::Update) => "updates",
        Pause::Rest(RestingWork::Archive) => "archives",
        Pause::Rest(RestingWork::Associations) => "associations",
        Pause::Rest(RestingWork::Portal) => "questions about the portal",
    };
    format!("HubSpot is in trouble with {work}, and they rest")
}

impl LimiterError {
    /// Whether the database, where the day's budget stands, could not be written.
    pub(crate) fn is_of_the_database(&self) -> bool {
        matches!(self, Self::Lease(_))
    }

    /// The stable name of what holds requests back.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::OutOfQuota { .. }
            | Self::Paused {
                why: Pause::Day, ..
            } => "out-of-quota",
            Self::Paused {
                why: Pause::Everything,
                ..
            } => "moving",
            Self::Paused {
                why: Pause::Class(_),
                ..
            } => "throttled",
            Self::Paused {
                why: Pause::Rest(_),
                ..
            } => "resting",
            Self::Unreachable { .. } => "unreachable",
            Self::Lease(_) => "no-lease",
            Self::Closed => "stopping",
        }
    }

    /// When to come back, where that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::OutOfQuota { until }
            | Self::Paused { until, .. }
            | Self::Unreachable { until } => Some(*until),
            Self::Lease(_) | Self::Closed => None,
        }
    }
}

/// The quotas' state, for `sync_health`, logs and metrics.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuotaSnapshot {
    /// The day's requests; `None`: it has no bound.
    pub daily_limit: Option<u64>,
    /// Used of it by all the account's apps, as far as known.
    pub daily_used: u64,
    /// The account's next midnight.
    pub daily_resets_at: Timestamp,
    /// The date of the day in the account's zone.
    pub day: String,
    /// The burst limit in force.
    pub burst_limit: u32,
    /// Searches in a second, in force.
    pub search_limit: f64,
    /// Left of the burst window.
    pub burst_left: u32,
    /// Left of the search window.
    pub search_left: u32,
    /// Requests sent in the last minute.
    pub requests_last_minute: u64,
    /// 429s of the last minute.
    pub throttled_last_minute: u64,
}

/// Lets requests go, one portal's worth.
pub struct Limiter {
    clock: Arc<dyn Clock>,
    lease: LeaseFn,
    state: Mutex<LimiterState>,
}

struct LimiterState {
    quota: Quota,
    /// Of each class.
    pace: [RequestPace; EndpointClass::ALL.len()],
    /// Of each class.
    queues: [Queue; EndpointClass::ALL.len()],
    leasing: bool,
    /// Whether nothing new is let go, and who waits to hear of that.
    closed: bool,
    closing: Vec<Waker>,
    /// HubSpot's time less the steady clock's, in milliseconds, once HubSpot has said it: a step of our clock must not
    /// begin another day.
    lead_ms: Option<i64>,
}

/// A request that may be sent now. It must be told how the request ended; dropped without a word it counts as lost.
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    grant: Option<Grant>,
}

/// What an answer says to the limiter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QuotaWord {
    /// Its quota headers.
    pub observed: Observed,
    /// Whether HubSpot itself wrote it, rather than a gateway in front that could not reach it.
    pub by_hubspot: bool,
    /// The quota that is exceeded, where it says so.
    pub pause: Option<Pause>,
    /// Its `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Limiter {
    /// A limiter that knows what was sent before the start.
    pub fn new(
        settings: LimitSettings,
        clock: Arc<dyn Clock>,
        lease: LeaseFn,
        start: &StartState,
    ) -> Arc<Self> {
        let now = Now {
            steady: clock.monotonic(),
            hubspot: clock.now(),
        };
        let known = KnownQuotaDay {
            date: start.day.as_deref(),
            used: start.day_used,
            limit: start.day_limit,
            resets_at: start.day_resets_at,
            time_zone: start.time_zone.as_deref(),
        };
        let day = QuotaDay::new(&settings, &known, now);
        let quota = Quota::new(settings, &start.recent, day, now);
        let pace = EndpointClass::ALL.map(|class| RequestPace::new(quota.pace(class, now), &clock));
        Arc::new(Self {
            clock,
            lease,
            state: Mutex::new(LimiterState {
                quota,
                pace,
                queues: EndpointClass::ALL.map(|_| Queue::default()),
                leasing: false,
                closed: false,
                closing: Vec::new(),
                lead_ms: None,
            }),
        })
    }

    /// Waits until a request may go. Higher priorities go first, equal ones in the order they came.
    ///
    /// # Errors
    /// It may not go soon: the day is spent, HubSpot asked for a long pause or does not answer, or the lease could not
    /// be written.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        class: EndpointClass,
        priority: Priority,
    ) -> Result<Permit, LimiterError> {
        let mut permits = self.acquire_together(class, priority, 1).await?;
        Ok(permits.pop().expect("one request was let go"))
    }

    /// Waits until so many requests may go one right after the other. Fewer are let go, but at least one, where the
    /// limits never have room for all of them.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub(crate) async fn acquire_together(
        self: &Arc<Self>,
        class: EndpointClass,
        priority: Priority,
        requests: u32,
    ) -> Result<Vec<Permit>, LimiterError> {
        let mut place = QueuePlace {
            limiter: self,
            class,
            ticket: self.state().queues[class.index()].enter(priority),
            requests,
            paced: 0,
        };
        loop {
            let mut sleep = None;
            match poll_fn(|context| place.poll(&mut sleep, context)).await? {
                QueueTurn::Go(grants) => {
                    let permit = |grant| Permit {
                        limiter: Arc::clone(self),
                        grant: Some(grant),
                    };
                    return Ok(grants.into_iter().map(permit).collect());
                }
                QueueTurn::Lease(request) => self.take_lease(request).await?,
            }
        }
    }

    /// Waits while HubSpot is to be left alone with this.
    ///
    /// # Errors
    /// That lasts longer than is waited here, or nothing new is let go.
    pub async fn rest(self: &Arc<Self>, work: RestingWork) -> Result<(), LimiterError> {
        while let Some(rest) = self.rest_of(work) {
            if rest > LONGEST_PAUSE {
                let until = self.clock.now() + rest;
                let why = Pause::Rest(work);
                return Err(LimiterError::Paused { why, until });
            }
            let closed = pin!(self.closed());
            if let Either::Right(_) = select(self.clock.sleep(rest), closed).await {
                return Err(LimiterError::Closed);
            }
        }
        Ok(())
    }

    /// How long HubSpot is still to be left alone with this.
    pub(crate) fn rest_of(&self, work: RestingWork) -> Option<Duration> {
        let state = self.state();
        state.quota.rest_of(work, self.now(&state))
    }

    /// Until when nothing goes because HubSpot moves the account, by this machine's clock.
    pub(crate) fn moving_until(&self) -> Option<Timestamp> {
        let state = self.state();
        let now = self.now(&state);
        let until = state.quota.moving_until(now)?;
        Some(self.clock.now() + until.saturating_sub(now.steady))
    }

    async fn take_lease(self: &Arc<Self>, request: LeaseRequest) -> Result<(), LimiterError> {
        let count = request.count;
        // Whoever waits meanwhile is woken even if this future is dropped.
        let guard = Leasing { limiter: self };
        (self.lease)(request).await.map_err(LimiterError::Lease)?;
        self.state().quota.add_lease(count);
        drop(guard);
        Ok(())
    }

    /// Tells the account's time zone; false if there is none of that name.
    pub fn set_time_zone(&self, name: &str) -> bool {
        let mut state = self.state();
        let now = self.now(&state);
        let is_known = state.quota.day_mut().set_time_zone(name, now.hubspot);
        state.wake_all();
        is_known
    }

    /// Goes by other limits of the file from here on; whoever waits looks again.
    pub(crate) fn set_limits(&self, settings: LimitSettings) {
        let mut state = self.state();
        state.quota.set_limits(settings);
        state.wake_all();
    }

    /// Tells HubSpot's time less the steady clock's.
    pub(crate) fn set_hubspots_lead_ms(&self, lead: i64) {
        self.state().lead_ms = Some(lead);
    }

    /// Leaves a command's share of the windows free, or takes it back. Tells whether the command may begin: what was sent
    /// before leaves it free.
    pub(crate) fn leave_share(&self, is_left: bool) -> bool {
        let mut state = self.state();
        let now = self.now(&state);
        state.quota.leave_share(is_left);
        state.wake_all();
        state.quota.has_left_share(now)
    }

    /// Lets nothing new go, for ever: whoever waits is told so at once. Requests that were let go are not touched.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for queue in &state.queues {
            queue.wake();
        }
        for waker in state.closing.drain(..) {
            waker.wake();
        }
    }

    /// Ends when the limiter is closed.
    pub async fn closed(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.closed {
                return Poll::Ready(());
            }
            // Polled again by the same task: one waker each, however often.
            state
                .closing
                .retain(|waker| !waker.will_wake(context.waker()));
            state.closing.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Requests that were leased and not sent; at a clean stop the daemon gives them back to the day.
    pub(crate) fn unused_lease(&self) -> u32 {
        self.state().quota.unused_lease()
    }

    /// What HubSpot may still count of what was sent, for the next start: requests, and when they were counted at the latest, by
    /// this machine's clock.
    pub fn recent(&self) -> Vec<(u32, Timestamp)> {
        let mut state = self.state();
        let now = self.now(&state);
        let wall = self.clock.now();
        let recent = state.quota.recent(now).into_iter();
        recent
            .map(|(requests, ago)| (requests, wall.plus_millis(-ago)))
            .collect()
    }

    /// How long what was sent before the start keeps a request of any class waiting.
    pub(crate) fn first_wait(&self) -> Option<Duration> {
        let mut state = self.state();
        let now = self.now(&state);
        let until = EndpointClass::ALL.map(|class| state.quota.full_until(class, now));
        let until = until.into_iter().flatten().max()?;
        Some(until.saturating_sub(now.steady))
    }

    /// The quotas' state.
    pub(crate) fn snapshot(&self) -> QuotaSnapshot {
        let mut state = self.state();
        let now = self.now(&state);
        state.quota.roll(now);
        let (requests_last_minute, throttled_last_minute) = state.quota.last_minute(now);
        let day = state.quota.day();
        QuotaSnapshot {
            daily_limit: day.limit(),
            daily_used: day.used(),
            daily_resets_at: day.resets_at(),
            day: day.date(),
            burst_limit: state.quota.burst_limit(),
            search_limit: state.quota.pace(EndpointClass::Search, now).0,
            burst_left: state.quota.window_left(EndpointClass::Crm, now),
            search_left: state.quota.window_left(EndpointClass::Search, now),
            requests_last_minute,
            throttled_last_minute,
        }
    }

    /// How many searches a second a first read may make beside its lists, if any.
    pub(crate) fn searches_beside_lists(&self) -> Option<f64> {
        let state = self.state();
        state.quota.searches_beside_lists(self.now(&state))
    }

    /// Whether a request of this class waits for its turn: more at once would leave no sooner.
    pub(crate) fn is_waited_for(&self, class: EndpointClass) -> bool {
        !self.state().queues[class.index()].is_empty()
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock()
    }

    fn now(&self, state: &LimiterState) -> Now {
        let steady = self.clock.monotonic();
        let by_lead = |lead: i64| Timestamp::from_millis(lead) + steady;
        Now {
            steady,
            hubspot: state.lead_ms.map_or_else(|| self.clock.now(), by_lead),
        }
    }

    /// A moment of HubSpot's by this machine's clock.
    fn by_our_clock(&self, moment: Timestamp, now: Now) -> Timestamp {
        moment.plus_millis(self.clock.now().millis() - now.hubspot.millis())
    }
}

/// What a waiting request does next.
enum QueueTurn {
    Go(Vec<Grant>),
    Lease(LeaseRequest),
}

/// A place in the queue; it is left when dropped.
struct QueuePlace<'a> {
    limiter: &'a Arc<Limiter>,
    class: EndpointClass,
    ticket: Ticket,
    /// How many requests are to go at once.
    requests: u32,
    /// How many of them the pace has let through so far.
    paced: u32,
}

impl QueuePlace<'_> {
    /// Looks whether it is our turn; otherwise sees to it that we are woken when it may be.
    fn poll(
        &mut self,
        sleep: &mut Option<BoxFuture<'static, ()>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<QueueTurn, LimiterError>> {
        loop {
            let wait = match self.look(context) {
                QueueLook::Ready(result) => return Poll::Ready(result),
                QueueLook::Wait(wait) => wait,
            };
            let Some(wait) = wait else {
                *sleep = None;
                return Poll::Pending;
            };
            let timer = sleep.insert(self.limiter.clock.sleep(wait));
            if Pin::new(timer).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn look(&mut self, context: &Context<'_>) -> QueueLook {
        let mut state = self.limiter.state();
        if state.closed {
            return QueueLook::Ready(Err(LimiterError::Closed));
        }
        let now = self.limiter.now(&state);
        let lane = self.class.index();
        state.queues[lane].register(self.ticket, context.waker());
        let (class, priority) = (self.class, self.ticket.priority);
        let requests = state.quota.at_once(class, priority, self.requests);
        let verdict = state.quota.may_go_together(class, priority, requests, now);
        let by_our_clock = |at: Duration| self.limiter.clock.now() + at.saturating_sub(now.steady);
        let refusal = match verdict {
            QuotaVerdict::OutOfQuota(until) => Some(LimiterError::OutOfQuota {
                until: self.limiter.by_our_clock(until, now),
            }),
            QuotaVerdict::Unreachable(at) => Some(LimiterError::Unreachable {
                until: by_our_clock(at),
            }),
            QuotaVerdict::Paused(at, why) if at > now.steady + LONGEST_PAUSE => {
                Some(LimiterError::Paused {
                    why,
                    until: by_our_clock(at),
                })
            }
            QuotaVerdict::Paused(_, _)
            | QuotaVerdict::Wait(_)
            | QuotaVerdict::Lease(_)
            | QuotaVerdict::Go => None,
        };
        // Before the queue: whoever waits behind somebody would else be told of a pause only once that one has gone.
        if let Some(refusal) = refusal {
            return QueueLook::Ready(Err(refusal));
        }
        if !state.queues[lane].is_first(self.ticket) {
            return QueueLook::Wait(None);
        }
        match verdict {
            QuotaVerdict::Wait(at) => QueueLook::Wait(at.map(|at| at.saturating_sub(now.steady))),
            QuotaVerdict::Paused(at, _) => QueueLook::Wait(Some(at.saturating_sub(now.steady))),
            // One writes the lease for all; the end of its write wakes the others.
            QuotaVerdict::Lease(_) if state.leasing => QueueLook::Wait(None),
            QuotaVerdict::Lease(count) => {
                let request = state.begin_lease(count, self.limiter.clock.now());
                QueueLook::Ready(Ok(QueueTurn::Lease(request)))
            }
            QuotaVerdict::Go => self.go(&mut state, requests, now),
            QuotaVerdict::OutOfQuota(_) | QuotaVerdict::Unreachable(_) => {
                unreachable!("refused above")
            }
        }
    }

    fn go(&mut self, state: &mut LimiterState, requests: u32, now: Now) -> QueueLook {
        let lane = self.class.index();
        let pace = state.quota.pace(self.class, now);
        // A look that ends in a wait keeps what the pace has let through: it is asked for the rest alone.
        while self.paced < requests {
            if let Some(wait) = state.pace[lane].take(pace, &self.limiter.clock) {
                return QueueLook::Wait(Some(wait));
            }
            self.paced += 1;
        }
        state.queues[lane].let_go(self.ticket);
        let grants = (0..requests).map(|_| state.quota.grant(self.class, now));
        QueueLook::Ready(Ok(QueueTurn::Go(grants.collect())))
    }
}

enum QueueLook {
    Ready(Result<QueueTurn, LimiterError>),
    Wait(Option<Duration>),
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.limiter.state().queues[self.class.index()].leave(self.ticket);
    }
}

/// Ends the leasing, whichever way it ends.
struct Leasing<'a> {
    limiter: &'a Arc<Limiter>,
}

impl Drop for Leasing<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.leasing = false;
        state.wake_all();
    }
}

impl LimiterState {
    fn begin_lease(&mut self, count: u32, at: Timestamp) -> LeaseRequest {
        self.leasing = true;
        let day = self.quota.day();
        LeaseRequest {
            count,
            at,
            day: day.date(),
            day_resets_at: day.resets_at(),
            day_limit: day.limit(),
        }
    }

    fn wake_all(&self) {
        for queue in &self.queues {
            queue.wake();
        }
    }
}

impl Permit {
    /// HubSpot answered, or a gateway in front of it. Gives the moment, by our clock, when requests of the class go on.
    pub(crate) fn answered(mut self, answered: &QuotaWord) -> Timestamp {
        let Some(grant) = self.grant.take() else {
            unreachable!("a permit ends once");
        };
        let mut state = self.limiter.state();
        let now = self.limiter.now(&state);
        // A gateway in front of it: it counts against the window all the same, and HubSpot itself was not heard.
        let ending = if answered.by_hubspot {
            Ending::Answered
        } else {
            Ending::Failed
        };
        state.quota.end(&grant, ending, now);
        state.quota.observe(&grant, &answered.observed, now);
        let until = if let Some(pause) = answered.pause {
            state.quota.pause(pause, &grant, answered.retry_after, now)
        } else {
            state.quota.not_throttled(&grant);
            now.hubspot
        };
        state.wake_all();
        self.limiter.by_our_clock(until, now)
    }

    /// The request surely never reached HubSpot.
    pub(crate) fn not_sent(mut self) {
        self.finish(Ending::NotSent);
    }

    /// Nobody sent it: that says nothing about HubSpot.
    pub(crate) fn unused(mut self) {
        self.finish(Ending::Unused);
    }

    /// Whether a request that was let go a while ago may still go: HubSpot has asked for no pause since, and the process
    /// is not stopping.
    pub(crate) fn may_still_go(&mut self) -> bool {
        let Some(grant) = self.grant.as_mut() else {
            return false;
        };
        let mut state = self.limiter.state();
        let now = self.limiter.now(&state);
        !state.closed && state.quota.may_still_go(grant, now)
    }

    /// Nobody knows what became of it.
    pub(crate) fn lost(mut self) {
        self.finish(Ending::Lost);
    }

    fn finish(&mut self, ending: Ending) {
        if let Some(grant) = self.grant.take() {
            let mut state = self.limiter.state();
            let now = self.limiter.now(&state);
            state.quota.end(&grant, ending, now);
            state.wake_all();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.finish(Ending::Lost);
    }
}

#[cfg(test)]
mod tests;
