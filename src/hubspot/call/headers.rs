//! What the headers of an answer say about quotas and the time.
//!
//! Missing is not zero: every one of them may be absent (`hubspot/api-facts.md#3`). `X-HubSpot-RateLimit-Secondly` and
//! its `-Remaining` are still sent and no longer mean anything; they are not read.

use std::time::Duration;

use http::HeaderMap;

use crate::decide::quota::Observed;
use crate::model::time::Timestamp;

/// The window that the burst limit is said for.
const BURST_WINDOW_MS: u64 = 10_000;

/// `Retry-After` is never believed beyond a day: the longest that HubSpot names is 24 hours, for 477.
const LONGEST_RETRY_AFTER: u64 = 24 * 60 * 60;

/// The quotas that an answer reports.
pub(crate) fn read_quota(headers: &HeaderMap) -> Observed {
    let window =
        number(headers, "x-hubspot-ratelimit-interval-milliseconds").unwrap_or(BURST_WINDOW_MS);
    let burst = |name| number(headers, name).filter(|_| window == BURST_WINDOW_MS);
    Observed {
        burst_limit: burst("x-hubspot-ratelimit-max").map(clamp),
        burst_left: burst("x-hubspot-ratelimit-remaining").map(clamp),
        day_limit: number(headers, "x-hubspot-ratelimit-daily"),
        day_left: number(headers, "x-hubspot-ratelimit-daily-remaining"),
    }
}

/// `Retry-After`, in seconds or as a date.
pub(crate) fn read_retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text(headers, "retry-after")?;
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => read_http_date(text)?.since(now),
    };
    Some(wait.min(Duration::from_secs(LONGEST_RETRY_AFTER)))
}

/// `Date`, by HubSpot's clock, in whole seconds.
pub(crate) fn read_date(headers: &HeaderMap) -> Option<Timestamp> {
    read_http_date(text(headers, "date")?)
}

/// `X-HubSpot-Correlation-Id`.
pub(crate) fn read_correlation_id(headers: &HeaderMap) -> Option<&str> {
    text(headers, "x-hubspot-correlation-id")
}

fn read_http_date(text: &str) -> Option<Timestamp> {
    let moment = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_millis(moment.timestamp_millis()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
                (name, http::HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn every_spelling_is_read_and_missing_is_not_zero() {
        let full = headers(&[
            ("X-HubSpot-RateLimit-Max", "190"),
            ("x-hubspot-ratelimit-remaining", "0"),
            ("X-HUBSPOT-RATELIMIT-INTERVAL-MILLISECONDS", "10000"),
            ("X-HubSpot-RateLimit-Daily", "625000"),
            ("X-HubSpot-RateLimit-Daily-Remaining", " 624999 "),
            ("X-HubSpot-RateLimit-Secondly", "19"),
            ("X-HubSpot-RateLimit-Secondly-Remaining", "0"),
        ]);
        let observed = Observed {
            burst_limit: Some(190),
            burst_left: Some(0),
            day_limit: Some(625_000),
            day_left: Some(624_999),
        };
        assert_eq!(read_quota(&full), observed);
        let oauth = headers(&[
            ("x-hubspot-ratelimit-max", "110"),
            ("x-hubspot-ratelimit-remaining", "109"),
        ]);
        let observed = Observed {
            burst_limit: Some(110),
            burst_left: Some(109),
            ..Observed::default()
        };
        assert_eq!(read_quota(&oauth), observed);
        assert_eq!(read_quota(&headers(&[])), Observed::default());
        assert_eq!(
            read_quota(&headers(&[("x-hubspot-ratelimit-max", "many")])),
            Observed::default()
        );
    }

    #[test]
    fn a_limit_for_another_window_is_not_the_burst_limit() {
        let other = headers(&[
            ("x-hubspot-ratelimit-max", "10"),
            ("x-hubspot-ratelimit-remaining", "9"),
            ("x-hubspot-ratelimit-interval-milliseconds", "1000"),
        ]);
        assert_eq!(read_quota(&other), Observed::default());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        let now = Timestamp::parse("2026-11-24T03:10:00Z").expect("a time");
        let wait = |value| read_retry_after(&headers(&[("retry-after", value)]), now);
        assert_eq!(wait("3"), Some(Duration::from_secs(3)));
        assert_eq!(wait("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(
            wait("Tue, 24 Nov 2026 03:11:00 GMT"),
            Some(Duration::from_mins(1))
        );
        assert_eq!(wait("99999999"), Some(Duration::from_hours(24)));
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("soon"), None);
        assert_eq!(read_retry_after(&headers(&[]), now), None);
    }
}
