//! May this request go, and if not, when? Priorities, the reserve, the windows, the day.
//!
//! Several windows, the strictest wins (design, section 7): 10 seconds, searches, associations, the day. Everything is exact and
//! pure: times come in, verdicts go out. Pacing inside the windows, waiting and queueing are `hubspot/call/limiter.rs`.
//!
//! HubSpot counts a request when it arrives, which is some time between its sending and its answer. So a request is
//! taken to be in the window from its sending until the window's length after its *answer*: whatever the latencies,
//! no window of HubSpot's then holds more than the limit. A request holds its place for its latency longer than
//! needed, which costs 1.5 % of the rate at 150 ms.

pub mod breaker;
pub mod day;
pub mod learned;
pub mod minute;
pub mod share;
pub mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::quota::breaker::Breaker;
use crate::decide::quota::day::QuotaDay;
use crate::decide::quota::learned::Learned;
use crate::decide::quota::minute::Minute;
use crate::decide::quota::window::RollingWindow;
use crate::model::settings::{Limits, SEARCH_PER_SECOND, Tier};
use crate::model::time::Timestamp;

/// HubSpot's burst window.
pub const BURST_WINDOW: Duration = Duration::from_secs(10);

/// Places are held this much longer than the window, for clocks that run at different speeds and are rounded.
pub(crate) const WINDOW_MARGIN: Duration = Duration::from_millis(25);

/// A request whose answer was lost may still arrive this long afterwards (design, section 4: a repeat waits as long).
pub(crate) const LATE_LANDING: Duration = Duration::from_mins(1);

/// A 477 without `Retry-After`: accounts move for hours, so a minute is often enough to ask.
pub(crate) const MOVING_WAIT: Duration = Duration::from_mins(1);

/// A `Retry-After` of a server in trouble, or of a window that is spent, is believed up to this: what is said in a moment's
/// trouble must not stop a class of endpoints for an hour. A move and a spent day last as long as HubSpot says.
pub const LONGEST_REST: Duration = Duration::from_mins(1);

/// What was on the wire at a kill arrives this long after the start, at the latest.
pub(crate) const ON_THE_WIRE: Duration = Duration::from_secs(5);

/// So many bulk association calls are unanswered at once, at most (`contract-crm.md`, section 1). Their window holds as many, however
/// slow their pace: a write goes at once with the reads that it rests on, and the pace is met before and afterwards.
pub const ASSOCIATIONS_IN_FLIGHT: u32 = 4;

/// So long after a 429 association calls go at half their pace: what limit they have beside the day nobody says.
pub const HALF_PACE: Duration = Duration::from_mins(1);

/// How long searches beside lists leave half of their place to other apps.
const HALF_SEARCHES: Duration = Duration::from_mins(10);

/// At most this many requests are leased from the day at a time (design, section 7).
pub const LEASE_REQUESTS: u32 = 20;

/// Requests in 10 seconds of an OAuth app in one account (`hubspot/api-facts.md#3`).
const OAUTH_BURST: u32 = 110;

/// Who is in the way of whom: earlier ones go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Pushes of local changes, and what a person waits for.
    Interactive,
    /// Reads that a webhook asks for.
    Webhook,
    /// Incremental polls.
    Poll,
    /// Backfill and reconciliation.
    Bulk,
    /// Looks at what was pushed: nothing waits for them.
    Look,
}

/// Which of HubSpot's limits a request meets (`hubspot/api-facts.md#3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointClass {
    /// Searches: their own window, for the whole account; the day, but not the burst.
    Search,
    /// Bulk association calls and their labels: a pace of their own; the day, but not the burst.
    Associations,
    /// Everything else: burst and day.
    Crm,
}

impl EndpointClass {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Search, Self::Associations, Self::Crm];

    /// Its place in a list of one thing for each class.
    pub const fn index(self) -> usize {
        match self {
            Self::Search => 0,
            Self::Associations => 1,
            Self::Crm => 2,
        }
    }
}

/// What rests together while HubSpot is in trouble: with one of them it may be, and well with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestingWork {
    /// Searches.
    Search,
    /// Lists and reads by id.
    Read,
    /// Creates, also those that go as upserts.
    Create,
    /// Updates.
    Update,
    /// Archives.
    Archive,
    /// Associations, read and written.
    Associations,
    /// What the portal is like.
    Portal,
}

/// The limits as tier and file say them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSettings {
    /// What holds until HubSpot's headers say more.
    pub burst: u32,
    /// Whether the file says the burst, so that headers may only lower it.
    pub burst_is_fixed: bool,
    /// The pace inside the burst window; `None`: what the window allows.
    pub per_second: Option<f64>,
    /// Searches a second.
    pub search_per_second: f64,
    /// Bulk association calls a second.
    pub associations_per_second: f64,
    /// The day; `None`: it has none of its own (OAuth).
    pub per_day: Option<u64>,
    /// Whether the file says the day, so that headers may only lower it.
    pub day_is_fixed: bool,
    /// Share of the day that polling and backfill leave alone.
    pub reserve_for_push: f64,
    /// Whether only a command's share of them is had: the daemon sends the rest.
    pub is_share: bool,
}

impl LimitSettings {
    /// For a static token: the tier's limits where the file says none.
    pub fn new(limits: &Limits, tier: Tier) -> Self {
        Self {
            burst: limits
                .burst_per_10_seconds
                .unwrap_or(tier.burst_per_10_seconds())
                .max(1),
            burst_is_fixed: limits.burst_per_10_seconds.is_some(),
            per_second: limits.per_second,
            search_per_second: limits.search_per_second.unwrap_or(SEARCH_PER_SECOND),
            associations_per_second: limits
                .associations_per_second
                .unwrap_or(a_tenth_of(tier.burst_per_10_seconds())),
            per_day: Some(limits.per_day.unwrap_or(tier.per_day()).max(1)),
            day_is_fixed: limits.per_day.is_some(),
            reserve_for_push: limits.reserve_for_push.clamp(0.0, 0.9),
            is_share: false,
        }
    }

    /// For an OAuth app: 110 in 10 seconds and no day of its own.
    pub fn oauth(limits: &Limits) -> Self {
        Self {
            burst: limits.burst_per_10_seconds.unwrap_or(OAUTH_BURST).max(1),
            associations_per_second: limits
                .associations_per_second
                .unwrap_or(a_tenth_of(OAUTH_BURST)),
            per_day: limits.per_day,
            ..Self::new(limits, Tier::Free)
        }
    }
}

/// The rate that spends a burst evenly.
fn a_tenth_of(burst: u32) -> f64 {
    f64::from(burst) / BURST_WINDOW.as_secs_f64()
}

/// What meets a rate a second alone: a window that is never shorter than a second, and how many it holds.
#[derive(Debug)]
struct RateWindow {
    window: RollingWindow,
    limit: u32,
    rate: f64,
    /// How many it holds at least.
    least: u32,
}

impl RateWindow {
    fn new(per_second: f64, least: u32) -> Self {
        let (rate, limit, length) = Self::shape(per_second, least);
        Self {
            window: RollingWindow::new(length),
            limit,
            rate,
            least,
        }
    }

    /// The rate that can be met, how many the window holds, and how long it is.
    fn shape(per_second: f64, least: u32) -> (f64, u32, Duration) {
        let rate = per_second.clamp(0.001, 1000.0);
        let limit = (rate as u32).max(least);
        let length = Duration::from_secs_f64((f64::from(limit) / rate).max(1.0));
        (rate, limit, length + WINDOW_MARGIN)
    }

    /// Another rate; what was sent counts against it.
    fn set_rate(&mut self, per_second: f64) {
        let (rate, limit, length) = Self::shape(per_second, self.least);
        self.window.set_length(length);
        (self.rate, self.limit) = (rate, limit);
    }
}

/// What an answer's headers report; missing is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// Requests allowed in 10 seconds.
    pub burst_limit: Option<u32>,
    /// Left of them.
    pub burst_left: Option<u32>,
    /// Requests allowed in the day.
    pub day_limit: Option<u64>,
    /// Left of them.
    pub day_left: Option<u64>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Time that never goes back.
    pub steady: Duration,
    /// The time of day by HubSpot's clock.
    pub hubspot: Timestamp,
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaVerdict {
    /// It may.
    Go,
    /// It may once so many requests are leased from the day.
    Lease(u32),
    /// Not before this steady time; `None`: not before something changes (an answer comes).
    Wait(Option<Duration>),
    /// HubSpot asked for a pause until this steady time, and why.
    Paused(Duration, Pause),
    /// The day is spent for its priority.
    OutOfQuota(Timestamp),
    /// HubSpot does not answer; the next probe goes at this steady time.
    Unreachable(Duration),
}

/// What a request that went was given; handed back with its answer.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    class: EndpointClass,
    /// Requests are numbered as they go.
    number: u64,
    /// Of the burst window, this one included.
    in_window: u32,
    /// Granted in the burst window's class so far, this one included.
    window_number: u64,
    /// Own requests of the day, this one included.
    own_day: u64,
}

/// Requests that were sent before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// How many.
    pub requests: u32,
    /// How long before the start HubSpot counted the last of them; `None`: some may still be on the wire, after a kill.
    pub counted_before: Option<Duration>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// HubSpot answered it.
    Answered,
    /// A gateway answered it: HubSpot is in trouble.
    Failed,
    /// It surely never arrived, and takes no place.
    NotSent,
    /// Nobody sent it: it takes no place, and says nothing about HubSpot.
    Unused,
    /// Nobody knows whether and when it arrived.
    Lost,
}

/// Which quota an answer says is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// One class waits: its limit is exceeded.
    Class(EndpointClass),
    /// HubSpot is in trouble with this, and says for how long.
    Rest(RestingWork),
    /// Nothing goes.
    Everything,
    /// The day is spent.
    Day,
}

/// All windows of one portal.
#[derive(Debug)]
pub struct Quota {
    settings: LimitSettings,
    burst: RollingWindow,
    burst_limit: Learned,
    search: RateWindow,
    associations: RateWindow,
    /// Until when association calls go at half their pace.
    half_pace_until: Duration,
    /// Until when searches beside lists do, since HubSpot refused a search.
    half_searches_until: Duration,
    /// Requests of others under the same token, by HubSpot's count of the window, and until when.
    foreign: (u32, Duration),
    newest_burst_report: u64,
    /// Whether a search met the burst's limit: then HubSpot counts searches there too, which is unsure
    /// (`hubspot/api-facts.md#3`), and their share is kept free.
    searches_in_burst: bool,
    /// Whether a command's share is left free.
    leaves_share: bool,
    day: QuotaDay,
    breaker: Breaker,
    /// Until when each class waits, and why.
    paused: [(Duration, Pause); EndpointClass::ALL.len()],
    rests: BTreeMap<RestingWork, Duration>,
    throttled_in_a_row: [u32; EndpointClass::ALL.len()],
    leased: u32,
    granted: u64,
    granted_in_burst: u64,
    minute: Minute,
}

impl Quota {
    /// The state at a start: `recent` were sent before it, `day` is what the database knows.
    pub fn new(settings: LimitSettings, recent: &[Recent], day: QuotaDay, now: Now) -> Self {
        let mut burst = RollingWindow::new(BURST_WINDOW + WINDOW_MARGIN);
        let mut search = RateWindow::new(settings.search_per_second, 1);
        let mut associations =
            RateWindow::new(settings.associations_per_second, ASSOCIATIONS_IN_FLIGHT);
        // Nobody knows which of them were searches, or of associations.
        for sent in recent {
            let (searches, others) = (search.limit, associations.limit);
            for (window, requests) in [
                (&mut burst, sent.requests),
                (&mut search.window, sent.requests.min(searches)),
                (&mut associations.window, sent.requests.min(others)),
            ] {
                match sent.counted_before {
                    None => window.hold(requests, now.steady + ON_THE_WIRE),
                    Some(before) => window.hold_from_before(requests, now.steady, before),
                }
            }
        }
        Self {
            burst,
            burst_limit: Learned::new(settings.burst.into(), settings.burst_is_fixed),
            search,
            associations,
            half_pace_until: Duration::ZERO,
            half_searches_until: Duration::ZERO,
            foreign: (0, Duration::ZERO),
            newest_burst_report: 0,
            searches_in_burst: false,
            leaves_share: false,
            day,
            breaker: Breaker::default(),
            // None yet: that time is over.
            paused: [(Duration::ZERO, Pause::Everything); EndpointClass::ALL.len()],
            rests: BTreeMap::new(),
            throttled_in_a_row: [0; EndpointClass::ALL.len()],
            leased: 0,
            granted: 0,
            granted_in_burst: 0,
            minute: Minute::default(),
            settings,
        }
    }

    /// Other limits of the file from here on. What was sent counts against them, and what HubSpot's headers said of a limit holds
    /// where the file says of it what it said before.
    pub fn set_limits(&mut self, settings: LimitSettings) {
        let former = std::mem::replace(&mut self.settings, settings);
        if (former.burst, former.burst_is_fixed) != (settings.burst, settings.burst_is_fixed) {
            self.burst_limit = Learned::new(settings.burst.into(), settings.burst_is_fixed);
        }
        if (former.per_day, former.day_is_fixed) != (settings.per_day, settings.day_is_fixed) {
            self.day.set_limit(&settings);
        }
        self.search.set_rate(settings.search_per_second);
        self.associations.set_rate(settings.associations_per_second);
    }

    /// How many of `wanted` requests the limits ever let go at once; at least one.
    pub fn at_once(&self, class: EndpointClass, priority: Priority, wanted: u32) -> u32 {
        let window = match class {
            EndpointClass::Search => self.searches(),
            EndpointClass::Associations => self.associations.limit.min(ASSOCIATIONS_IN_FLIGHT),
            EndpointClass::Crm => self.own_share(priority),
        };
        let left = self.day.left(self.share_kept(priority));
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        wanted.min(window).min(left).max(1)
    }

    /// Whether so many requests may go at once; not more than [`Self::at_once`] says. Nothing changes but what time alone
    /// changes.
    pub fn may_go_together(
        &mut self,
        class: EndpointClass,
        priority: Priority,
        requests: u32,
        now: Now,
    ) -> QuotaVerdict {
        self.roll(now);
        if let Some(until) = self
            .day
            .out_of_quota(self.share_kept(priority), now.hubspot)
        {
            return QuotaVerdict::OutOfQuota(until);
        }
        let (until, why) = self.paused[class.index()];
        if until > now.steady {
            return QuotaVerdict::Paused(until, why);
        }
        if let Some(verdict) = self.breaker.verdict(self.in_flight(), now.steady) {
            return verdict;
        }
        // One place is left for each of the others.
        let others = requests.saturating_sub(1);
        let unanswered = self.associations.window.in_flight() + others;
        if class == EndpointClass::Associations && unanswered >= ASSOCIATIONS_IN_FLIGHT {
            return QuotaVerdict::Wait(None);
        }
        let allowed = self
            .allowed(class, priority, now.steady)
            .saturating_sub(others);
        if self.window(class).used(now.steady) >= allowed {
            return QuotaVerdict::Wait(self.window_free_at(class, allowed, now.steady));
        }
        // Without a day of its own (OAuth) the lease still says what may have been sent before a kill.
        if self.leased < requests.max(1) {
            return QuotaVerdict::Lease(self.day.lease_size().saturating_sub(self.leased).max(1));
        }
        QuotaVerdict::Go
    }

    /// Begins a new day if it is time; what was leased from the old one is gone with it.
    pub fn roll(&mut self, now: Now) {
        if self.day.roll(now.hubspot) {
            self.leased = 0;
        }
    }

    /// Places of a class's window for a priority.
    fn allowed(&self, class: EndpointClass, priority: Priority, now: Duration) -> u32 {
        match class {
            EndpointClass::Search => self.searches(),
            EndpointClass::Associations => self.associations.limit,
            EndpointClass::Crm => self.burst_allowed(priority, now),
        }
    }

    /// Requests that nobody has answered.
    fn in_flight(&self) -> u32 {
        let windows = [&self.burst, &self.search.window, &self.associations.window];
        windows.into_iter().map(RollingWindow::in_flight).sum()
    }

    fn window(&mut self, class: EndpointClass) -> &mut RollingWindow {
        match class {
            EndpointClass::Search => &mut self.search.window,
            EndpointClass::Associations => &mut self.associations.window,
            EndpointClass::Crm => &mut self.burst,
        }
    }

    /// When there is room; `None`: not before an answer comes.
    fn window_free_at(
        &mut self,
        class: EndpointClass,
        allowed: u32,
        now: Duration,
    ) -> Option<Duration> {
        let own = self.window(class).free_at(allowed);
        let foreign =
            Some(self.foreign.1).filter(|until| class == EndpointClass::Crm && *until > now);
        own.into_iter().chain(foreign).min()
    }

    /// Places of the burst window for a priority: lower ones leave some, so that a push never waits for a slot.
    fn burst_allowed(&self, priority: Priority, now: Duration) -> u32 {
        // Beside the daemon the others are mostly the daemon, which leaves the share free.
        let foreign = if self.foreign.1 > now && !self.settings.is_share {
            self.foreign.0
        } else {
            0
        };
        // Searches that HubSpot counts in the burst are among the others in its report, and so is a command.
        let kept = self.kept_for_searches() + self.kept_for_command();
        self.own_share(priority)
            .saturating_sub(foreign.saturating_sub(kept))
    }

    /// Places of the burst window that a priority has where nobody else sends.
    fn own_share(&self, priority: Priority) -> u32 {
        let limit = self.burst_limit();
        if self.settings.is_share {
            return share::of_window(limit);
        }
        let reserve = if priority == Priority::Interactive {
            0
        } else {
            limit / 64
        };
        let kept = self.kept_for_searches() + self.kept_for_command();
        limit.saturating_sub(reserve + kept)
    }

    /// Places of the burst window that a command has.
    fn kept_for_command(&self) -> u32 {
        match self.leaves_share {
            true => share::of_window(self.burst_limit()),
            false => 0,
        }
    }

    /// Searches in their window; the only one of a window is not given away.
    fn searches(&self) -> u32 {
        let limit = self.search.limit;
        limit.saturating_sub(u32::from(self.leaves_share)).max(1)
    }

    /// Leaves a command's share of the windows free, or takes it back.
    pub fn leave_share(&mut self, is_left: bool) {
        self.leaves_share = is_left;
    }

    /// Whether a command may begin: what was sent leaves its share free.
    pub fn has_left_share(&mut self, now: Now) -> bool {
        let (burst, searches) = (self.own_share(Priority::Interactive), self.searches());
        let used = (
            self.burst.used(now.steady),
            self.search.window.used(now.steady),
        );
        self.leaves_share && used.0 <= burst && used.1 <= searches
    }

    /// Places of the burst window that searches take.
    fn kept_for_searches(&self) -> u32 {
        let most = self.settings.search_per_second * BURST_WINDOW.as_secs_f64();
        match self.searches_in_burst {
            true => (most.ceil() as u32).min(self.burst_limit() / 2),
            false => 0,
        }
    }

    /// The share of the day that a priority leaves alone. Backfill leaves some more, so that polling goes on.
    fn share_kept(&self, priority: Priority) -> f64 {
        match priority {
            Priority::Interactive | Priority::Webhook => 0.0,
            Priority::Poll => self.settings.reserve_for_push,
            Priority::Bulk => (self.settings.reserve_for_push * 1.5).min(0.95),
            Priority::Look => (self.settings.reserve_for_push * 2.0).min(0.95),
        }
    }

    /// Takes the place that [`Self::may_go_together`] said is there.
    pub fn grant(&mut self, class: EndpointClass, now: Now) -> Grant {
        self.granted += 1;
        self.leased = self.leased.saturating_sub(1);
        self.day.count();
        self.minute.count(now.steady);
        self.granted_in_burst += u64::from(class == EndpointClass::Crm);
        self.window(class).start();
        self.stamp(class, now)
    }

    /// Whether a request that was let go a while ago may still go: HubSpot has asked for no pause since. It counts as
    /// newly let go, so that its answer is held against what was sent before it.
    pub fn may_still_go(&mut self, grant: &mut Grant, now: Now) -> bool {
        if self.paused[grant.class.index()].0 > now.steady {
            return false;
        }
        self.granted += 1;
        *grant = self.stamp(grant.class, now);
        true
    }

    fn stamp(&mut self, class: EndpointClass, now: Now) -> Grant {
        Grant {
            class,
            number: self.granted,
            in_window: self.burst.used(now.steady),
            window_number: self.granted_in_burst,
            own_day: self.day.own(),
        }
    }

    /// Requests that were leased from the day.
    pub fn add_lease(&mut self, requests: u32) {
        self.leased += requests;
    }

    /// Leased requests that were not sent: at a clean stop they go back.
    pub fn unused_lease(&self) -> u32 {
        self.leased
    }

    /// What HubSpot may still count in a window that it is known to have: requests, and how many milliseconds ago they were
    /// counted at the latest.
    pub fn recent(&mut self, now: Now) -> Vec<(u32, i64)> {
        let mut recent = self.burst.recent(now.steady);
        recent.extend(self.search.window.recent(now.steady));
        recent
    }

    /// Until when what was sent before the start leaves no room for a request.
    pub fn full_until(&mut self, class: EndpointClass, now: Now) -> Option<Duration> {
        let allowed = self.allowed(class, Priority::Poll, now.steady);
        let is_full = self.window(class).used(now.steady) >= allowed;
        let until = self.window_free_at(class, allowed, now.steady);
        until.filter(|_| is_full)
    }

    /// Gives a place back, or holds it for as long as HubSpot may count it.
    pub fn end(&mut self, grant: &Grant, ending: Ending, now: Now) {
        let window = self.window(grant.class);
        match ending {
            Ending::Answered | Ending::Failed => window.end(now.steady),
            Ending::Lost => window.end(now.steady + LATE_LANDING),
            Ending::NotSent | Ending::Unused => window.withdraw(),
        }
        if matches!(ending, Ending::NotSent | Ending::Unused) {
            self.day.uncount();
            self.leased += 1;
        }
        match ending {
            Ending::Answered => self.breaker.succeeded(),
            Ending::Unused => {}
            Ending::Failed | Ending::NotSent | Ending::Lost => self.breaker.failed(now.steady),
        }
    }

    /// Learns from an answer's headers.
    pub fn observe(&mut self, grant: &Grant, observed: &Observed, now: Now) {
        if let Some(limit) = observed.burst_limit.filter(|limit| *limit > 0) {
            self.burst_limit.observe(limit.into(), now.steady);
        }
        let newer = grant.class == EndpointClass::Crm && grant.number > self.newest_burst_report;
        if let (Some(limit), Some(left), true) = (observed.burst_limit, observed.burst_left, newer)
        {
            self.newest_burst_report = grant.number;
            let counted = limit.saturating_sub(left);
            let sent_since =
                u32::try_from(self.granted_in_burst - grant.window_number).unwrap_or(u32::MAX);
            let own_at_most = grant.in_window.saturating_add(sent_since);
            self.foreign = (
                counted.saturating_sub(own_at_most),
                now.steady + BURST_WINDOW,
            );
        }
        if let (Some(limit), Some(left)) = (observed.day_limit, observed.day_left) {
            let in_flight = u64::from(self.in_flight());
            let rolled = self
                .day
                .observe(grant.number, grant.own_day, limit, left, in_flight, now);
            if rolled {
                self.leased = 0;
            }
        }
    }

    /// Stops sending for a while after a 429 or 477; gives the moment, by HubSpot's clock, when it goes on. The class that
    /// met the limit waits too, whichever limit the answer names.
    pub fn pause(
        &mut self,
        pause: Pause,
        met_by: &Grant,
        retry_after: Option<Duration>,
        now: Now,
    ) -> Timestamp {
        if matches!(pause, Pause::Class(_) | Pause::Day) {
            self.minute.count_throttled(now.steady);
        }
        match pause {
            Pause::Day => self.day.spent(retry_after, now.hubspot),
            Pause::Everything => {
                let wait = retry_after.unwrap_or(MOVING_WAIT);
                for class in EndpointClass::ALL {
                    self.wait(class, now.steady + wait, pause);
                }
                now.hubspot + wait
            }
            Pause::Rest(work) => {
                let wait = retry_after.unwrap_or_default().min(LONGEST_REST);
                let until = self.rests.entry(work).or_default();
                *until = (*until).max(now.steady + wait);
                now.hubspot + wait
            }
            Pause::Class(class) => {
                self.searches_in_burst |=
                    class == EndpointClass::Crm && met_by.class == EndpointClass::Search;
                let wait = retry_after
                    .map_or_else(|| self.own_pause(class), |wait| wait.min(LONGEST_REST));
                self.throttled_in_a_row[class.index()] += 1;
                self.wait(class, now.steady + wait, pause);
                self.wait(met_by.class, now.steady + wait, pause);
                if met_by.class == EndpointClass::Associations {
                    self.half_pace_until = now.steady + wait + HALF_PACE;
                }
                if met_by.class == EndpointClass::Search {
                    self.half_searches_until = now.steady + wait + HALF_SEARCHES;
                }
                now.hubspot + wait
            }
        }
    }

    /// Lets nothing of a class go before a moment; the longest pause holds, with its reason.
    fn wait(&mut self, class: EndpointClass, until: Duration, why: Pause) {
        let paused = &mut self.paused[class.index()];
        if until > paused.0 {
            *paused = (until, why);
        }
    }

    /// Until when nothing goes because HubSpot moves the account.
    pub fn moving_until(&self, now: Now) -> Option<Duration> {
        let moving = self.paused.iter();
        let moving = moving.filter(|(until, why)| *why == Pause::Everything && *until > now.steady);
        moving.map(|(until, _)| *until).max()
    }

    /// How long HubSpot is still to be left alone with this.
    pub fn rest_of(&self, work: RestingWork, now: Now) -> Option<Duration> {
        let until = self.rests.get(&work)?;
        Some(until.saturating_sub(now.steady)).filter(|rest| !rest.is_zero())
    }

    /// HubSpot's own client waits 10 s, or 1 s for searches, times the attempt (`hubspot/api-facts.md#3`).
    fn own_pause(&self, class: EndpointClass) -> Duration {
        let times = self.throttled_in_a_row[class.index()].min(5) + 1;
        match class {
            EndpointClass::Search => Duration::from_secs(1) * times,
            EndpointClass::Associations | EndpointClass::Crm => BURST_WINDOW * times,
        }
    }

    /// An answer that was no 429 ends the row of them.
    pub fn not_throttled(&mut self, grant: &Grant) {
        self.throttled_in_a_row[grant.class.index()] = 0;
    }

    /// The burst limit in force.
    pub fn burst_limit(&self) -> u32 {
        u32::try_from(self.burst_limit.current()).unwrap_or(u32::MAX)
    }

    /// The pace inside the burst window: requests a second, and how many at once. Together they stay below the window
    /// (notes, finding 2: burst + 10 × rate ≤ limit).
    pub fn pace(&self, class: EndpointClass, now: Now) -> (f64, u32) {
        match class {
            EndpointClass::Search => (self.search.rate, 1),
            EndpointClass::Associations if self.half_pace_until > now.steady => {
                (self.associations.rate / 2.0, 1)
            }
            EndpointClass::Associations => (self.associations.rate, 1),
            EndpointClass::Crm => {
                let limit = self.own_share(Priority::Interactive).max(1);
                let at_once = (limit / 50).max(1);
                let rate = f64::from(limit - at_once.min(limit - 1)) / BURST_WINDOW.as_secs_f64();
                match self.settings.per_second {
                    Some(wanted) if wanted < rate => {
                        (wanted.max(0.001), at_once.min((wanted as u32).max(1)))
                    }
                    Some(_) | None => (rate, at_once),
                }
            }
        }
    }

    /// How many searches a second a first read may make beside its lists: one less than are allowed, and half of that while another
    /// app makes them too. None where HubSpot counts them in the burst, in which a list brings as much.
    pub fn searches_beside_lists(&self, now: Now) -> Option<f64> {
        let rate = self.search.rate - 1.0;
        if rate < 1.0 || self.searches_in_burst || self.leaves_share {
            return None;
        }
        let is_shared = self.half_searches_until > now.steady;
        Some(if is_shared { rate / 2.0 } else { rate })
    }

    /// Requests in the burst window that HubSpot counts and that are not ours, by its newest report.
    pub fn others_in_window(&self) -> u32 {
        self.foreign.0
    }

    /// The day's state.
    pub fn day(&self) -> &QuotaDay {
        &self.day
    }

    /// The day's state, to be told zone and usage.
    pub fn day_mut(&mut self) -> &mut QuotaDay {
        &mut self.day
    }

    /// Requests and 429s of the last minute.
    pub fn last_minute(&mut self, now: Now) -> (u64, u64) {
        self.minute.totals(now.steady)
    }

    /// What is left of the class's window.
    pub fn window_left(&mut self, class: EndpointClass, now: Now) -> u32 {
        let allowed = self.allowed(class, Priority::Interactive, now.steady);
        allowed.saturating_sub(self.window(class).used(now.steady))
    }
}
