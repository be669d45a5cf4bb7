//! Epoch milliseconds to and from the spellings HubSpot uses. No clock is read here.

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;

/// Milliseconds of one day.
pub(crate) const DAY_MS: i64 = 86_400_000;

fn utc(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::UNIX_EPOCH)
}

/// `2026-11-24T03:10:00.120Z`, always with three digits.
pub(crate) fn iso(ms: i64) -> String {
    utc(ms).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Leaves out trailing zero milliseconds, as some of HubSpot's answers do (`api-facts.md#1`).
pub(crate) fn shorten(iso: &str) -> String {
    let Some((whole, fraction)) = iso.strip_suffix('Z').and_then(|text| text.split_once('.'))
    else {
        return iso.to_owned();
    };
    let kept = fraction.trim_end_matches('0');
    if kept.is_empty() {
        format!("{whole}Z")
    } else {
        format!("{whole}.{kept}Z")
    }
}

/// The `Date` header, RFC 9110.
pub(crate) fn http_date(ms: i64) -> String {
    utc(ms).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The time of day in the spelling of HubSpot's complaint about dates that aren't midnight (`api-facts.md#7`).
pub(crate) fn time_of_day(ms: i64) -> String {
    let rest = ms.rem_euclid(DAY_MS);
    format!(
        "{}:{}:{}.{}",
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000
    )
}

/// `YYYY-MM-DD` of a UTC instant.
pub(crate) fn date(ms: i64) -> String {
    utc(ms).format("%Y-%m-%d").to_string()
}

/// Midnight UTC of a `YYYY-MM-DD`, none if it is no date.
pub(crate) fn date_ms(text: &str) -> Option<i64> {
    if text.len() != 10 {
        return None;
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}

/// A datetime as ISO 8601 with zone or as digits of milliseconds.
pub(crate) fn datetime_ms(text: &str) -> Option<i64> {
    if let Ok(ms) = text.parse::<i64>() {
        return Some(ms);
    }
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.timestamp_millis())
}

/// The zone of that name; UTC if there is none.
pub(crate) fn zone(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

/// Whether there is a zone of that name.
pub(crate) fn is_zone(name: &str) -> bool {
    name.parse::<Tz>().is_ok()
}

/// Days since year 1 in the zone: changes at the portal's midnight (`api-facts.md#3`).
pub(crate) fn day_number(ms: i64, zone: Tz) -> i32 {
    use chrono::Datelike as _;
    utc(ms).with_timezone(&zone).date_naive().num_days_from_ce()
}

/// The next midnight in the zone; the first valid time of that day where midnight doesn't exist.
pub(crate) fn next_midnight(ms: i64, zone: Tz) -> i64 {
    let tomorrow = utc(ms)
        .with_timezone(&zone)
        .date_naive()
        .succ_opt()
        .unwrap_or(NaiveDate::MAX);
    let candidates = (0..=3).filter_map(|hour| tomorrow.and_hms_opt(hour, 0, 0));
    candidates
        .filter_map(|time| zone.from_local_datetime(&time).earliest())
        .map(|time| time.timestamp_millis())
        .next()
        .unwrap_or(ms + DAY_MS)
}

/// Offset from UTC in milliseconds at that instant.
pub(crate) fn offset_ms(ms: i64, zone: Tz) -> i64 {
    use chrono::Offset as _;
    i64::from(
        zone.offset_from_utc_datetime(&utc(ms).naive_utc())
            .fix()
            .local_minus_utc(),
    ) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_zero_milliseconds_are_left_out() {
        let check = |ms: i64, expected: &str| assert_eq!(shorten(&iso(ms)), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(350, "1970-01-01T00:00:00.35Z");
        check(356, "1970-01-01T00:00:00.356Z");
    }

    #[test]
    fn the_day_ends_at_midnight_of_the_portal_s_zone() {
        let berlin = zone("Europe/Berlin");
        let noon = datetime_ms("2026-11-24T12:00:00Z").expect("a time");
        assert_eq!(iso(next_midnight(noon, berlin)), "2026-11-24T23:00:00.000Z");
        let summer = datetime_ms("2026-07-01T12:00:00Z").expect("a time");
        assert_eq!(
            iso(next_midnight(summer, berlin)),
            "2026-07-01T22:00:00.000Z"
        );
    }

    #[test]
    fn the_complaint_about_dates_spells_the_time_as_hubspot_does() {
        assert_eq!(time_of_day(1_606_768_561_954), "20:36:1.954");
    }
}
