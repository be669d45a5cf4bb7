//! The account's day: how many requests are left of it, and when the next one begins.
//!
//! The day ends at midnight in the account's own time zone (`hubspot/api-facts.md#3`), daylight saving included. It is
//! shared with the account's other apps, so HubSpot's own count joins ours: what is used is our count and whatever
//! HubSpot counts beyond it. A count of HubSpot's that drops is a new day, whatever our calendar says.

use std::time::Duration;

use chrono::{NaiveDate, TimeZone};
use chrono_tz::Tz;

use crate::decide::quota::learned::Learned;
use crate::decide::quota::{LEASE_REQUESTS, LimitSettings, Now};
use crate::model::time::Timestamp;

/// The new day is believed this long after midnight: clocks are only known to two seconds.
pub(crate) const AFTER_MIDNIGHT: Duration = Duration::from_secs(3);

/// A day that HubSpot calls spent this soon after its start is rather the last one, not over yet.
const JUST_BEGUN: Duration = Duration::from_mins(15);

/// Between two looks at a day whose end is not known for sure.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Without the account's time zone the day may end at any hour.
const LOOK_AGAIN_WITHOUT_ZONE: Duration = Duration::from_hours(1);

/// HubSpot's count may fall by what is in flight and this much without a new day.
const COUNT_JITTER: u64 = 100;

/// What the database knows of the day.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownQuotaDay<'a> {
    /// The date, in the account's zone, on which `used` were used.
    pub date: Option<&'a str>,
    /// Requests of that date.
    pub used: u64,
    /// The day's limit as HubSpot last said it.
    pub limit: Option<u64>,
    /// The end of the day as it was last known.
    pub resets_at: Option<Timestamp>,
    /// The account's time zone as it was last known.
    pub time_zone: Option<&'a str>,
}

/// What holds of a day until HubSpot says more.
fn limit_of(settings: &LimitSettings) -> Option<Learned> {
    let limit = settings.per_day?;
    Some(Learned::new(limit, settings.day_is_fixed))
}

/// The day's count.
#[derive(Debug)]
pub struct QuotaDay {
    limit: Option<Learned>,
    own: u64,
    /// Requests of the account's other apps, by HubSpot's count.
    others: u64,
    /// The number of the request that brought HubSpot's newest count, and that count.
    report: (u64, u64),
    zone: Tz,
    zone_is_known: bool,
    began_at: Timestamp,
    resets_at: Timestamp,
    spent_until: Option<Timestamp>,
}

impl QuotaDay {
    /// The day at a start. What was used before counts if it was used on this day.
    pub fn new(settings: &LimitSettings, known: &KnownQuotaDay<'_>, now: Now) -> Self {
        let zone = known.time_zone.and_then(|name| name.parse().ok());
        let ahead = known.resets_at.filter(|at| is_ahead(*at, now.hubspot));
        let mut day = Self {
            limit: limit_of(settings),
            own: 0,
            others: 0,
            report: (0, 0),
            zone: zone.unwrap_or(Tz::UTC),
            zone_is_known: zone.is_some(),
            began_at: now.hubspot - JUST_BEGUN,
            resets_at: ahead.unwrap_or_else(|| next_midnight(zone.unwrap_or(Tz::UTC), now.hubspot)),
            spent_until: None,
        };
        let is_todays = known
            .date
            .map_or(ahead.is_some(), |date| date == day.date());
        day.own = if is_todays { known.used } else { 0 };
        let known_limit = known.limit.filter(|limit| *limit > 0);
        if let (Some(limit), Some(known_limit)) = (day.limit.as_mut(), known_limit) {
            limit.take(known_limit);
        }
        day
    }

    /// Another limit of the file.
    pub(crate) fn set_limit(&mut self, settings: &LimitSettings) {
        self.limit = limit_of(settings);
    }

    /// The day's requests; `None`: no bound.
    pub fn limit(&self) -> Option<u64> {
        self.limit.as_ref().map(Learned::current)
    }

    /// What is used of it, by everybody.
    pub fn used(&self) -> u64 {
        self.own + self.others
    }

    /// What we used of it.
    pub fn own(&self) -> u64 {
        self.own
    }

    /// When the next day begins.
    pub fn resets_at(&self) -> Timestamp {
        self.resets_at
    }

    /// The day's name in the database: the date in the account's zone.
    pub fn date(&self) -> String {
        let last = self
            .resets_at
            .plus_millis(-1)
            .to_chrono()
            .with_timezone(&self.zone);
        last.date_naive().to_string()
    }

    /// The account's time zone; false if the name is none.
    pub fn set_time_zone(&mut self, name: &str, now: Timestamp) -> bool {
        let Ok(zone) = name.parse::<Tz>() else {
            return false;
        };
        if !self.zone_is_known || zone != self.zone {
            self.zone = zone;
            self.zone_is_known = true;
            self.resets_at = next_midnight(zone, now);
        }
        true
    }

    /// Begins a new day if it is time; true if so.
    pub fn roll(&mut self, now: Timestamp) -> bool {
        if self.resets_at > now && !is_ahead(self.resets_at, now) {
            // The clock by which that was worked out has been found wrong: no day is so long.
            self.resets_at = next_midnight(self.zone, now);
            self.began_at = self.began_at.min(now);
            self.spent_until = self.spent_until.map(|until| until.min(self.resets_at));
        }
        if now < self.resets_at + AFTER_MIDNIGHT {
            return false;
        }
        self.begin(0, now);
        true
    }

    fn begin(&mut self, own: u64, now: Timestamp) {
        // A day that HubSpot began shortly before our midnight is the day after it.
        let inside = now.max(self.resets_at) + Duration::from_secs(1);
        self.own = own;
        self.others = 0;
        self.report = (0, 0);
        self.began_at = now;
        self.resets_at = next_midnight(
            self.zone,
            if self.resets_at.since(now) < Duration::from_hours(1) {
                inside
            } else {
                now
            },
        );
        self.spent_until = None;
    }

    /// Until when nothing goes that leaves `kept` of the day alone.
    pub fn out_of_quota(&self, kept: f64, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.spent_until.filter(|until| *until > now) {
            return Some(until);
        }
        let limit = self.limit()?;
        let allowed = limit - (limit as f64 * kept) as u64;
        (self.used() >= allowed).then_some(self.resets_at + AFTER_MIDNIGHT)
    }

    /// What is left of it beyond the share that is kept.
    pub fn left(&self, kept: f64) -> u64 {
        self.limit().map_or(u64::MAX, |limit| {
            let allowed = limit - (limit as f64 * kept) as u64;
            allowed.saturating_sub(self.used())
        })
    }

    /// How many requests to lease: never more than the day has.
    pub(crate) fn lease_size(&self) -> u32 {
        let left = self
            .limit()
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.used()));
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .clamp(1, LEASE_REQUESTS)
    }

    /// A request goes.
    pub fn count(&mut self) {
        self.own += 1;
    }

    /// A request never arrived.
    pub fn uncount(&mut self) {
        self.own = self.own.saturating_sub(1);
    }

    /// Takes HubSpot's count from the answer to request `number`, when our own count was `own_then`; true if it shows
    /// a new day.
    pub fn observe(
        &mut self,
        number: u64,
        own_then: u64,
        limit: u64,
        left: u64,
        in_flight: u64,
        now: Now,
    ) -> bool {
        if let Some(own) = self.limit.as_mut().filter(|_| limit > 0) {
            own.take(limit);
        }
        if number < self.report.0 {
            return false;
        }
        let counted = limit.saturating_sub(left);
        let is_new_day = counted + COUNT_JITTER + in_flight < self.report.1;
        if is_new_day {
            self.begin(counted, now.hubspot);
        } else {
            self.others = counted.saturating_sub(own_then);
        }
        self.report = (number, counted);
        is_new_day
    }

    /// HubSpot says that the day is spent; gives the moment when to ask again.
    pub fn spent(&mut self, retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
        let look_again = if now.since(self.began_at) < JUST_BEGUN {
            LOOK_AGAIN
        } else if self.zone_is_known {
            Duration::MAX
        } else {
            LOOK_AGAIN_WITHOUT_ZONE
        };
        let wait = retry_after.map_or(look_again, |wait| wait.max(LOOK_AGAIN));
        let until = (self.resets_at + AFTER_MIDNIGHT).min(now + wait);
        self.spent_until = Some(until);
        until
    }
}

/// Whether a day can end then: no later than the second midnight, clocks put back included.
fn is_ahead(resets_at: Timestamp, now: Timestamp) -> bool {
    resets_at > now && resets_at.since(now) <= Duration::from_hours(49)
}

/// The first moment of the date after `now`'s, in a time zone.
fn next_midnight(zone: Tz, now: Timestamp) -> Timestamp {
    let today = now.to_chrono().with_timezone(&zone).date_naive();
    let tomorrow = today.succ_opt().unwrap_or(today);
    first_moment(zone, tomorrow).unwrap_or(now + Duration::from_hours(24))
}

/// Midnight, or where clocks jump over it the first quarter of an hour that exists.
fn first_moment(zone: Tz, date: NaiveDate) -> Option<Timestamp> {
    let midnight = date.and_hms_opt(0, 0, 0)?;
    let moment = (0..16).find_map(|quarters| {
        let time = midnight + chrono::TimeDelta::minutes(15 * quarters);
        zone.from_local_datetime(&time).earliest()
    })?;
    Some(Timestamp::from_millis(moment.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::{Limits, Tier};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn day(used: u64, resets_at: Option<&str>, now: &str) -> QuotaDay {
        let settings = LimitSettings::new(&Limits::default(), Tier::Free);
        let known = KnownQuotaDay {
            used,
            resets_at: Some(at(resets_at.unwrap_or("2026-11-25T00:00:00Z"))),
            ..KnownQuotaDay::default()
        };
        QuotaDay::new(&settings, &known, moment(now))
    }

    fn moment(text: &str) -> Now {
        Now {
            steady: Duration::from_secs(1000),
            hubspot: at(text),
        }
    }

    #[test]
    fn a_day_that_a_wrong_clock_began_ends_at_the_next_midnight() {
        let mut day = day(5, Some("2027-12-29T00:00:00Z"), "2027-12-28T12:00:00Z");
        day.spent(None, at("2027-12-28T12:00:00Z"));
        assert!(!day.roll(at("2026-11-24T12:00:00Z")));
        assert_eq!(day.resets_at(), at("2026-11-25T00:00:00Z"));
        assert_eq!(day.own(), 5);
        assert!(day.roll(at("2026-11-25T00:00:04Z")));
        assert_eq!(day.out_of_quota(0.0, at("2026-11-25T00:00:04Z")), None);
    }

    #[test]
    fn what_is_used_is_held_against_the_limit_that_hubspot_counts_by() {
        let now = "2026-11-24T12:00:00Z";
        let mut day = day(0, None, now);
        // The file names no tier, and other apps have used more than the smallest tier allows.
        day.observe(1, 1, 625_000, 320_000, 0, moment(now));
        assert_eq!(day.limit(), Some(625_000));
        assert_eq!(day.out_of_quota(0.1, at(now)), None);
        day.observe(2, 2, 250_000, 1_000, 0, moment(now));
        assert_eq!(day.limit(), Some(250_000));
    }

    #[test]
    fn midnight_is_the_accounts_own_whatever_the_clocks_do() {
        for (zone, now, midnight) in [
            ("UTC", "2026-11-24T03:10:00Z", "2026-11-25T00:00:00Z"),
            ("US/Eastern", "2026-11-24T03:10:00Z", "2026-11-24T05:00:00Z"),
            // The day on which New York's clocks go back has 25 hours, the one on which they go forward 23.
            (
                "America/New_York",
                "2026-11-01T04:00:00Z",
                "2026-11-02T05:00:00Z",
            ),
            (
                "America/New_York",
                "2026-03-08T05:00:00Z",
                "2026-03-09T04:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "Asia/Kolkata",
                "2026-11-24T18:29:59Z",
                "2026-11-24T18:30:00Z",
            ),
            (
                "Asia/Kathmandu",
                "2026-11-24T18:15:00Z",
                "2026-11-25T18:15:00Z",
            ),
            // Beirut's clocks jump from midnight to one o'clock; Havana's midnight comes twice.
            (
                "Asia/Beirut",
                "2026-03-28T20:00:00Z",
                "2026-03-28T22:00:00Z",
            ),
            (
                "America/Havana",
                "2026-10-31T20:00:00Z",
                "2026-11-01T04:00:00Z",
            ),
        ] {
            let zone: Tz = zone.parse().expect(zone);
            assert_eq!(next_midnight(zone, at(now)), at(midnight), "{zone} {now}");
        }
    }

    #[test]
    fn a_day_begins_shortly_after_midnight_and_only_once() {
        let mut day = day(5, None, "2026-11-24T03:00:00Z");
        assert!(day.set_time_zone("Europe/Berlin", at("2026-11-24T03:00:00Z")));
        assert_eq!(day.date(), "2026-11-24");
        assert!(!day.roll(at("2026-11-24T23:00:02Z")));
        assert_eq!(day.used(), 5);
        assert!(day.roll(at("2026-11-24T23:00:03Z")));
        assert_eq!((day.used(), day.date()), (0, "2026-11-25".to_owned()));
        assert!(!day.roll(at("2026-11-24T23:00:04Z")));
        assert!(!day.set_time_zone("Mars/Olympus", at("2026-11-24T23:00:04Z")));
    }

    #[test]
    fn what_was_used_before_a_restart_still_counts_on_that_day_alone() {
        let reset = Some("2026-11-24T05:00:00Z");
        assert_eq!(day(77, reset, "2026-11-24T04:59:00Z").used(), 77);
        assert_eq!(day(77, reset, "2026-11-24T05:00:03Z").used(), 0);
        let kept = day(77, reset, "2026-11-24T04:59:00Z");
        assert_eq!(kept.resets_at(), at("2026-11-24T05:00:00Z"));
    }

    #[test]
    fn a_lease_of_the_new_day_counts_though_its_end_was_not_written_yet() {
        let settings = LimitSettings::new(&Limits::default(), Tier::Free);
        let start = |date| {
            let known = KnownQuotaDay {
                date: Some(date),
                used: 20,
                resets_at: Some(at("2026-11-24T05:00:00Z")),
                time_zone: Some("US/Eastern"),
                limit: Some(1000),
            };
            QuotaDay::new(&settings, &known, moment("2026-11-24T05:00:10Z"))
        };
        assert_eq!(start("2026-11-24").used(), 20);
        assert_eq!(start("2026-11-23").used(), 0);
        assert_eq!(start("2026-11-24").resets_at(), at("2026-11-25T05:00:00Z"));
        assert_eq!(start("2026-11-24").limit(), Some(1000));
    }

    #[test]
    fn others_requests_count_and_ours_only_once() {
        let mut day = day(0, None, "2026-11-24T03:00:00Z");
        for _ in 0..10 {
            day.count();
        }
        let now = moment("2026-11-24T03:00:00Z");
        assert!(!day.observe(10, 10, 250_000, 249_000, 0, now));
        assert_eq!((day.own(), day.used()), (10, 1000));
        // An older answer that comes late changes nothing; a newer one is believed.
        assert!(!day.observe(9, 9, 250_000, 249_999, 0, now));
        assert_eq!(day.used(), 1000);
        day.count();
        assert!(!day.observe(11, 11, 250_000, 248_995, 0, now));
        assert_eq!((day.own(), day.used()), (11, 1005));
    }

    #[test]
    fn a_count_that_drops_is_a_new_day() {
        let mut day = day(0, None, "2026-11-24T03:00:00Z");
        let now = moment("2026-11-24T23:50:00Z");
        assert!(!day.observe(1, 1, 250_000, 100_000, 0, now));
        assert_eq!(day.used(), 149_999);
        assert!(day.observe(2, 2, 250_000, 249_990, 5, now));
        assert_eq!(day.used(), 10);
        // It began ten minutes before our midnight, which begins no third day.
        assert_eq!(day.resets_at(), at("2026-11-26T00:00:00Z"));
        assert!(!day.roll(at("2026-11-25T00:10:00Z")));
    }

    #[test]
    fn a_spent_day_is_asked_again_when_it_is_over() {
        let mut unknown = day(0, None, "2026-11-24T03:00:00Z");
        assert_eq!(
            unknown.spent(None, at("2026-11-24T03:00:00Z")),
            at("2026-11-24T04:00:00Z")
        );
        let mut known = day(0, None, "2026-11-24T03:00:00Z");
        assert!(known.set_time_zone("UTC", at("2026-11-24T03:00:00Z")));
        assert_eq!(
            known.spent(None, at("2026-11-24T03:00:00Z")),
            at("2026-11-25T00:00:03Z")
        );
        assert_eq!(
            known.out_of_quota(0.0, at("2026-11-24T20:00:00Z")),
            Some(at("2026-11-25T00:00:03Z"))
        );
        assert!(known.roll(at("2026-11-25T00:00:03Z")));
        assert_eq!(known.out_of_quota(0.0, at("2026-11-25T00:00:03Z")), None);
        // HubSpot's midnight comes a little later than ours.
        assert_eq!(
            known.spent(None, at("2026-11-25T00:00:04Z")),
            at("2026-11-25T00:01:04Z")
        );
    }

    #[test]
    fn the_reserve_is_left_alone() {
        let mut day = day(225_000, None, "2026-11-24T03:00:00Z");
        let now = at("2026-11-24T03:00:00Z");
        assert!(day.out_of_quota(0.10, now).is_some());
        assert_eq!(day.out_of_quota(0.0, now), None);
        assert_eq!(day.lease_size(), LEASE_REQUESTS);
        for _ in 0..24_995 {
            day.count();
        }
        assert_eq!(day.lease_size(), 5);
        for _ in 0..5 {
            day.count();
        }
        assert!(day.out_of_quota(0.0, now).is_some());
    }
}
