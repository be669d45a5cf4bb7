//! The three request limits with their headers and 429 bodies (`api-facts.md#3`).
//!
//! Counts even when limits are off, so that a test can say how fast a client went.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::world::settings::Settings;
use crate::world::time;

const BURST_WINDOW_MS: i64 = 10_000;
const SEARCH_WINDOW_MS: i64 = 1_000;

/// Which limit refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    /// Too many requests in ten seconds.
    Burst,
    /// Too many searches in a second.
    Search,
    /// Too many requests since the portal's midnight.
    Daily,
}

/// What a client did to the limits; tests of pacing expect zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// 429 answers of the ten-second window.
    pub burst: u64,
    /// 429 answers of the search window.
    pub search: u64,
    /// 429 answers of the day.
    pub daily: u64,
    /// The most requests that count in the burst, refused ones too, that arrived in any ten seconds.
    pub most_in_ten_seconds: u64,
    /// The most searches, refused ones too, that arrived in any second.
    pub most_searches_in_a_second: u64,
}

impl Violations {
    /// All 429 answers.
    pub fn total(&self) -> u64 {
        self.burst + self.search + self.daily
    }
}

/// Arrival times within a rolling window.
#[derive(Debug, Clone, Default)]
struct Window(VecDeque<i64>);

impl Window {
    fn forget(&mut self, now_ms: i64, length_ms: i64) {
        while self
            .0
            .front()
            .is_some_and(|at_ms| *at_ms <= now_ms - length_ms)
        {
            self.0.pop_front();
        }
    }

    fn count(&mut self, now_ms: i64, length_ms: i64) -> u64 {
        self.forget(now_ms, length_ms);
        self.0.len() as u64
    }
}

/// Whether the day's limit applies to who asks (`api-facts.md#3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Daily {
    /// Static tokens share the account's day.
    Counts,
    /// An OAuth app has no limit a day, and no headers about one.
    Absent,
}

/// What a request counts as (`api-facts.md#3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// In the ten seconds and in the day.
    Plain,
    /// In a second of its own, and in the day.
    Search,
    /// In the day alone: bulk calls and labels of associations.
    Exempt,
}

/// What asks to pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub counted: Counted,
    pub daily: Daily,
}

impl Asked {
    fn counts_in_burst(self, settings: &Settings) -> bool {
        match self.counted {
            Counted::Plain => true,
            Counted::Search => settings.searches_count_in_burst,
            Counted::Exempt => false,
        }
    }

    fn counts_in_day(self, settings: &Settings) -> bool {
        let counts = !self.is_search() || settings.searches_count_in_day;
        self.daily == Daily::Counts && counts
    }

    fn is_search(self) -> bool {
        self.counted == Counted::Search
    }
}

/// The state of all limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    burst: Window,
    search: Window,
    arrived: Window,
    searches_arrived: Window,
    day: i32,
    used_today: u64,
    pub violations: Violations,
}

impl Limits {
    /// Lets a request pass or names the limit that refuses it.
    pub(crate) fn admit(
        &mut self,
        settings: &Settings,
        asked: Asked,
        now_ms: i64,
    ) -> Result<(), Policy> {
        self.note_arrival(settings, asked, now_ms);
        let verdict = self.verdict(settings, asked, now_ms);
        if settings.limits_enabled
            && let Err(policy) = verdict
        {
            self.note_violation(policy);
            let is_counted = asked.daily == Daily::Counts && policy != Policy::Daily;
            if settings.refused_count_in_day && is_counted {
                self.used_today += 1;
            }
            return Err(policy);
        }
        if asked.is_search() {
            self.search.0.push_back(now_ms);
        }
        if asked.counts_in_burst(settings) {
            self.burst.0.push_back(now_ms);
        }
        if asked.counts_in_day(settings) {
            self.used_today += 1;
        }
        Ok(())
    }

    fn note_arrival(&mut self, settings: &Settings, asked: Asked, now_ms: i64) {
        if asked.is_search() {
            self.searches_arrived.0.push_back(now_ms);
            let count = self.searches_arrived.count(now_ms, SEARCH_WINDOW_MS);
            let most = &mut self.violations.most_searches_in_a_second;
            *most = count.max(*most);
        }
        if asked.counts_in_burst(settings) {
            self.arrived.0.push_back(now_ms);
            let count = self.arrived.count(now_ms, BURST_WINDOW_MS);
            let most = &mut self.violations.most_in_ten_seconds;
            *most = count.max(*most);
        }
    }

    fn verdict(&mut self, settings: &Settings, asked: Asked, now_ms: i64) -> Result<(), Policy> {
        self.turn_day(settings, now_ms);
        if asked.counts_in_day(settings) && self.used_today >= u64::from(settings.daily_limit) {
            return Err(Policy::Daily);
        }
        let searches = self.search.count(now_ms, SEARCH_WINDOW_MS);
        if asked.is_search() && searches >= u64::from(settings.search_limit) {
            return Err(Policy::Search);
        }
        let requests = self.burst.count(now_ms, BURST_WINDOW_MS);
        if asked.counts_in_burst(settings) && requests >= u64::from(settings.burst_limit) {
            Err(Policy::Burst)
        } else {
            Ok(())
        }
    }

    fn turn_day(&mut self, settings: &Settings, now_ms: i64) {
        let day = time::day_number(now_ms, time::zone(&settings.time_zone));
        if day != self.day {
            self.day = day;
            self.used_today = 0;
        }
    }

    fn note_violation(&mut self, policy: Policy) {
        let count = match policy {
            Policy::Burst => &mut self.violations.burst,
            Policy::Search => &mut self.violations.search,
            Policy::Daily => &mut self.violations.daily,
        };
        *count += 1;
    }

    /// Requests of this day so far, at most what the headers can say.
    pub(crate) fn used_today(&mut self, settings: &Settings, now_ms: i64) -> u64 {
        self.turn_day(settings, now_ms);
        self.used_today
    }

    /// Makes the day's count start elsewhere: other apps eat the same day.
    pub(crate) fn use_today(&mut self, settings: &Settings, requests: u64, now_ms: i64) {
        self.turn_day(settings, now_ms);
        self.used_today += requests;
    }

    /// The seven headers; search answers carry none of them, an OAuth app's not the two of the day.
    pub(crate) fn headers(
        &mut self,
        settings: &Settings,
        daily: Daily,
        now_ms: i64,
    ) -> Vec<(String, String)> {
        let used = self.burst.count(now_ms, BURST_WINDOW_MS);
        let left = u64::from(settings.burst_limit).saturating_sub(used);
        let left_today =
            u64::from(settings.daily_limit).saturating_sub(self.used_today(settings, now_ms));
        let mut headers = vec![
            ("Max", settings.burst_limit.to_string()),
            ("Remaining", left.to_string()),
            ("Interval-Milliseconds", BURST_WINDOW_MS.to_string()),
            ("Secondly", "19".to_owned()),
            ("Secondly-Remaining", "18".to_owned()),
        ];
        if settings.daily_headers && daily == Daily::Counts {
            headers.push(("Daily", settings.daily_limit.to_string()));
            headers.push(("Daily-Remaining", left_today.to_string()));
        }
        headers
            .into_iter()
            .map(|(name, value)| (format!("X-HubSpot-RateLimit-{name}"), value))
            .collect()
    }

    /// Seconds until a request may pass again, rounded up.
    pub(crate) fn retry_after_s(&self, settings: &Settings, policy: Policy, now_ms: i64) -> i64 {
        let oldest = |window: &Window, length_ms| {
            window
                .0
                .front()
                .map_or(0, |at_ms| at_ms + length_ms - now_ms)
        };
        let wait_ms = match policy {
            Policy::Burst => oldest(&self.burst, BURST_WINDOW_MS),
            Policy::Search => oldest(&self.search, SEARCH_WINDOW_MS),
            Policy::Daily => time::next_midnight(now_ms, time::zone(&settings.time_zone)) - now_ms,
        };
        (wait_ms + 999) / 1000
    }
}

/// The body of a 429.
pub(crate) fn refusal(settings: &Settings, policy: Policy, correlation_id: &str) -> Value {
    let (words, name) = match policy {
        Policy::Burst => ("ten_secondly_rolling", Some("TEN_SECONDLY_ROLLING")),
        Policy::Search => (
            "secondly",
            Some("SECONDLY").filter(|_| settings.search_policy_name),
        ),
        Policy::Daily => ("daily", Some("DAILY")),
    };
    let mut body = json!({"status": "error", "message": format!("You have reached your {words} limit."),
        "errorType": "RATE_LIMIT", "category": "RATE_LIMITS", "correlationId": correlation_id, "requestId": correlation_id});
    if let Some(name) = name {
        body["policyName"] = json!(name);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked = Asked {
        counted: Counted::Plain,
        daily: Daily::Counts,
    };
    const SEARCH: Asked = Asked {
        counted: Counted::Search,
        daily: Daily::Counts,
    };

    fn portal() -> Settings {
        Settings {
            burst_limit: 3,
            search_limit: 2,
            daily_limit: 10,
            ..Settings::default()
        }
    }

    #[test]
    fn the_burst_is_any_ten_seconds_and_names_its_policy() {
        let (mut limits, settings) = (Limits::default(), portal());
        for at_ms in [0, 4_000, 8_000] {
            assert_eq!(limits.admit(&settings, PLAIN, at_ms), Ok(()));
        }
        assert_eq!(limits.admit(&settings, PLAIN, 9_999), Err(Policy::Burst));
        assert_eq!(limits.retry_after_s(&settings, Policy::Burst, 9_999), 1);
        assert_eq!(limits.admit(&settings, PLAIN, 10_000), Ok(()));
        assert_eq!(
            (
                limits.violations.burst,
                limits.violations.most_in_ten_seconds
            ),
            (1, 4)
        );
        assert_eq!(
            refusal(&settings, Policy::Burst, "c")["policyName"],
            "TEN_SECONDLY_ROLLING"
        );
    }

    #[test]
    fn searches_have_their_own_second_and_need_not_count_in_the_burst() {
        let (mut limits, settings) = (Limits::default(), portal());
        assert_eq!(limits.admit(&settings, SEARCH, 0), Ok(()));
        assert_eq!(limits.admit(&settings, SEARCH, 1), Ok(()));
        assert_eq!(limits.admit(&settings, SEARCH, 999), Err(Policy::Search));
        assert_eq!(limits.admit(&settings, SEARCH, 1000), Ok(()));
        let remaining = &limits.headers(&settings, Daily::Counts, 1000)[1];
        assert_eq!(
            remaining,
            &("X-HubSpot-RateLimit-Remaining".to_owned(), "3".to_owned())
        );
        let unnamed = Settings {
            search_policy_name: false,
            ..portal()
        };
        assert!(
            refusal(&unnamed, Policy::Search, "c")
                .get("policyName")
                .is_none()
        );
    }

    #[test]
    fn the_day_turns_at_the_portal_s_midnight() {
        let (mut limits, settings) = (
            Limits::default(),
            Settings {
                burst_limit: 1000,
                ..portal()
            },
        );
        let evening = time::datetime_ms("2026-11-24T23:59:00-05:00").expect("a time");
        for _ in 0..10 {
            assert_eq!(limits.admit(&settings, PLAIN, evening), Ok(()));
        }
        assert_eq!(limits.admit(&settings, PLAIN, evening), Err(Policy::Daily));
        assert_eq!(limits.retry_after_s(&settings, Policy::Daily, evening), 60);
        assert_eq!(limits.admit(&settings, PLAIN, evening + 60_000), Ok(()));
    }

    #[test]
    fn switched_off_nothing_is_refused_but_all_is_counted() {
        let mut limits = Limits::default();
        let settings = Settings {
            limits_enabled: false,
            ..portal()
        };
        for _ in 0..9 {
            assert_eq!(limits.admit(&settings, PLAIN, 5), Ok(()));
        }
        assert_eq!(
            (
                limits.violations.total(),
                limits.violations.most_in_ten_seconds
            ),
            (0, 9)
        );
    }

    #[test]
    fn searches_count_in_the_day_and_not_in_the_ten_seconds() {
        let (mut limits, settings) = (Limits::default(), portal());
        for second in 0..5 {
            assert_eq!(limits.admit(&settings, SEARCH, second * 1_000), Ok(()));
        }
        assert_eq!(limits.violations.most_in_ten_seconds, 0);
        assert_eq!(limits.used_today(&settings, 5_000), 5);
        assert_eq!(limits.admit(&settings, PLAIN, 5_000), Ok(()));
    }

    /// api-facts.md#3: exempt from the ten-second window, not from the day.
    #[test]
    fn bulk_and_label_calls_of_associations_count_in_the_day_alone() {
        let mut desk = crate::testing::Desk::new(Settings {
            limits_enabled: true,
            ..portal()
        });
        let labels = "/crm/associations/2026-03/contacts/companies/labels";
        let inputs = json!({"inputs": [{"id": "7"}]});
        for _ in 0..4 {
            assert_eq!(desk.get(labels).0, 200);
        }
        let read = "/crm/v4/associations/contacts/companies/batch/read";
        for expected in [207, 207] {
            assert_eq!(desk.post(read, &inputs).0, expected);
        }
        assert_eq!(desk.portal.violations().most_in_ten_seconds, 0);
        // The associations of one record and the older spelling of the label path are not exempt.
        assert_eq!(desk.get("/crm/v4/associations/0-1/0-2/labels").0, 200);
        let one = "/crm/v4/objects/contacts/7/associations/companies";
        assert_eq!(desk.get(one).0, 404);
        assert_eq!(desk.portal.violations().most_in_ten_seconds, 2);
        for expected in [207, 207, 429] {
            assert_eq!(desk.post(read, &inputs).0, expected);
        }
        assert_eq!(desk.portal.violations().daily, 1);
    }
}
