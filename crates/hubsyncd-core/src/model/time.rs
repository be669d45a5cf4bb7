//! `Timestamp`: a moment in UTC with milliseconds, and its one text form.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Utc};

/// A moment: milliseconds since 1970 in UTC. Its text is `YYYY-MM-DDTHH:MM:SS.mmmZ`, in SQL, logs and JSON alike.
///
/// ```
/// use hubsyncd_core::model::time::Timestamp;
/// let moment = Timestamp::parse("2026-11-24T03:10:00Z").unwrap();
/// assert_eq!(moment.to_string(), "2026-11-24T03:10:00.000Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// Milliseconds of 9999-12-31T23:59:59.999Z, the last moment whose text has four digits for the year.
const LAST_MS: i64 = 253_402_300_799_999;
/// Milliseconds of 0001-01-01T00:00:00Z.
const FIRST_MS: i64 = -62_135_596_800_000;

impl Timestamp {
    /// The first moment of 1970.
    pub const EPOCH: Self = Self(0);

    /// A moment from milliseconds since 1970, held to the years 1 to 9999.
    pub fn from_millis(milliseconds: i64) -> Self {
        Self(milliseconds.clamp(FIRST_MS, LAST_MS))
    }

    /// A moment from milliseconds since 1970, or nothing outside the years 1 to 9999.
    pub(crate) fn checked_from_millis(milliseconds: i64) -> Option<Self> {
        in_range(milliseconds)
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Reads ISO 8601 with `T` or a space, 0 to 9 digits of fraction, `Z`, an offset or nothing (UTC); a date alone is
    /// its midnight. Fractions beyond milliseconds are cut.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return in_range(moment.timestamp_millis());
        }
        for format in [
            "%Y-%m-%dT%H:%M:%S%.f%#z",
            "%Y-%m-%d %H:%M:%S%.f%#z",
            "%Y-%m-%dT%H:%M%#z",
            "%Y-%m-%d %H:%M%#z",
        ] {
            if let Ok(moment) = DateTime::parse_from_str(text, format) {
                return in_range(moment.timestamp_millis());
            }
        }
        let bare = text.strip_suffix(['Z', 'z']).map_or(text, str::trim_end);
        for format in [
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%d %H:%M",
        ] {
            if let Ok(moment) = NaiveDateTime::parse_from_str(bare, format) {
                return in_range(moment.and_utc().timestamp_millis());
            }
        }
        let date = NaiveDate::parse_from_str(bare, "%Y-%m-%d").ok()?;
        in_range(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
    }

    /// The moment as chrono's type, for calendars and time zones.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// The moment that many milliseconds later (earlier where negative).
    #[must_use]
    pub fn plus_millis(self, milliseconds: i64) -> Self {
        Self::from_millis(self.0.saturating_add(milliseconds))
    }

    /// How long after `earlier` this is; zero where it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A moment by both clocks of a machine: the one that never goes back, which stands still while the machine sleeps, and
/// the time of day, which may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMoment {
    /// By the clock that never goes back.
    pub steady: Duration,
    /// By the time of day.
    pub wall: Timestamp,
}

impl ClockMoment {
    /// How long ago `earlier` may have been: what the clock says that tells more. A time of day that was set back counts
    /// like one that went on.
    pub fn since(self, earlier: Self) -> Duration {
        let by_wall = self.wall.since(earlier.wall);
        let set_back = earlier.wall.since(self.wall);
        self.steady
            .saturating_sub(earlier.steady)
            .max(by_wall)
            .max(set_back)
    }
}

fn in_range(milliseconds: i64) -> Option<Timestamp> {
    (FIRST_MS..=LAST_MS)
        .contains(&milliseconds)
        .then_some(Timestamp(milliseconds))
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.plus_millis(-i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.to_chrono();
        // Most statements are handed such a text: by hand it takes a fraction of what `write!` takes.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let parts = [
            (4, moment.year().unsigned_abs()),
            (7, moment.month()),
            (10, moment.day()),
            (13, moment.hour()),
            (16, moment.minute()),
            (19, moment.second()),
            (23, moment.timestamp_subsec_millis()),
        ];
        for (end, number) in parts {
            let (mut place, mut rest) = (end, number);
            while rest > 0 {
                place -= 1;
                text[place] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        formatter.write_str(str::from_utf8(&text).expect("digits"))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_tells_more_says_how_long_ago_a_moment_was() {
        let at = |steady, wall: i64| ClockMoment {
            steady: Duration::from_millis(steady),
            wall: Timestamp::from_millis(1_790_000_000_000 + wall),
        };
        let read = at(5_000, 0);
        for (now, milliseconds) in [
            (at(5_000, 0), 0),
            (at(5_700, 700), 700),
            // The machine slept: the steady clock stood still.
            (at(5_010, 60_000), 60_000),
            // The time of day was set back.
            (at(5_010, -60_000), 60_000),
            (at(9_000, 10), 4_000),
        ] {
            assert_eq!(now.since(read), Duration::from_millis(milliseconds));
        }
    }

    #[test]
    fn each_part_of_a_moments_text_has_its_place_from_the_first_year_to_the_last() {
        for (millis, text) in [
            (FIRST_MS, "0001-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_500_060_007, "2026-11-24T06:01:00.007Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn every_iso_form_that_programs_write_is_one_moment() {
        for text in [
            "2026-11-24T03:10:00.120Z",
            "2026-11-24T03:10:00.12Z",
            "2026-11-24T03:10:00.120000000Z",
            "2026-11-24 03:10:00.12",
            "2026-11-24T04:10:00.120+01:00",
            "2026-11-24 04:10:00.120+0100",
        ] {
            let moment = Timestamp::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(moment.to_string(), "2026-11-24T03:10:00.120Z", "{text}");
        }
        assert_eq!(
            Timestamp::parse("2026-11-24").expect("date").to_string(),
            "2026-11-24T00:00:00.000Z"
        );
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-24T25:00:00Z",
            "12345",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
