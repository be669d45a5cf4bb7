//! `Schedule`: a duration or a cron expression, and the next moment that it names.
//!
//! It is given the time and never reads a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use cron::TimeUnitSpec;

use crate::config::units::{duration_text, parse_duration};
use crate::model::time::Timestamp;

/// When something runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// That long after the last run.
    Every(Duration),
    /// At the times that a cron expression names, in a time zone.
    Cron(Box<CronSchedule>),
}

/// A cron expression with seconds (`sec min hour day month weekday`, weekdays from 1 = Sunday or by name) in a time zone.
///
/// A time that a change to summer time skips runs right after the gap. A time that comes twice runs once, the first
/// time; an expression for every hour goes on through both.
#[derive(Debug, Clone, PartialEq)]
pub struct CronSchedule {
    expression: cron::Schedule,
    timezone: Tz,
}

/// A text that is neither a duration nor a cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScheduleError {
    /// It begins like a duration and is none.
    Duration,
    /// It is no cron expression.
    Cron,
    /// A cron expression of five fields, without seconds.
    WithoutSeconds,
    /// A cron expression for a day that never comes.
    Never,
}

/// Expressions are tried from here: no run of hubsyncd lies before it.
const FIRST_RUN: i64 = 1_767_225_600_000; // 2026-01-01T00:00:00Z

impl Schedule {
    /// Reads either form. A cron expression has spaces in it, or is one of cron's `@daily` and the like.
    pub(crate) fn parse(text: &str, timezone: Tz) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let words = text.split_whitespace().count();
        let with_unit = words == 2 && text.starts_with(|first: char| first.is_ascii_digit());
        if with_unit || (words <= 1 && !text.contains(['@', '*'])) {
            return parse_duration(text)
                .map(Self::Every)
                .ok_or(ScheduleError::Duration);
        }
        if words == 5 {
            return Err(ScheduleError::WithoutSeconds);
        }
        // The parser's own error names its inner state, which helps nobody.
        let expression = cron::Schedule::from_str(text)
            .ok()
            .ok_or(ScheduleError::Cron)?;
        let schedule = CronSchedule {
            expression,
            timezone,
        };
        let runs = schedule.next(Timestamp::from_millis(FIRST_RUN)).is_some();
        if runs {
            Ok(Self::Cron(Box::new(schedule)))
        } else {
            Err(ScheduleError::Never)
        }
    }

    /// The first moment after `after`; the end of time where an expression names no more years.
    pub fn next(&self, after: Timestamp) -> Timestamp {
        match self {
            Self::Every(duration) => after + *duration,
            Self::Cron(schedule) => schedule
                .next(after)
                .unwrap_or(Timestamp::from_millis(i64::MAX)),
        }
    }

    /// The time between two runs; for an expression, between the first two that it ever makes.
    pub(crate) fn interval(&self) -> Duration {
        match self {
            Self::Every(duration) => *duration,
            Self::Cron(_) => {
                let first = self.next(Timestamp::from_millis(FIRST_RUN));
                self.next(first).since(first)
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(duration) => formatter.write_str(&duration_text(*duration)),
            Self::Cron(schedule) => formatter.write_str(schedule.expression.source()),
        }
    }
}

impl CronSchedule {
    /// The first moment after `after`, if there is one.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_chrono();
        let every_hour = self.expression.hours().count() == 24;
        let next = if every_hour {
            self.next_by_offset(after)?
        } else {
            self.next_by_wall_clock(after)?
        };
        Some(Timestamp::from_millis(next.timestamp_millis()))
    }

    /// The next wall-clock time that the expression names.
    fn next_named(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let next = self.expression.after(&after.and_utc()).next()?;
        Some(next.naive_utc())
    }

    /// For certain hours of a day: goes by what a clock on the wall shows.
    fn next_by_wall_clock(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut wall = self
            .timezone
            .from_utc_datetime(&after.naive_utc())
            .naive_local();
        loop {
            wall = self.next_named(wall)?;
            let moment = self.moment(wall);
            // In the second of two equal hours the named times lie in the first, which is over.
            if moment > after {
                return Some(moment);
            }
        }
    }

    /// For every hour: goes on by the offset in force, and begins again at the moment when that changes.
    fn next_by_offset(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (mut from, mut offset) = (after, self.offset(after));
        loop {
            let candidate = self.next_named(from.naive_utc() + offset)?.and_utc() - offset;
            if self.offset(candidate) == offset {
                return Some(candidate);
            }
            let change = self.end_of_offset(from, offset, candidate);
            offset = self.offset(change);
            from = change - TimeDelta::seconds(1); // so that the change itself can be a run
        }
    }

    fn offset(&self, moment: DateTime<Utc>) -> TimeDelta {
        let offset = self.timezone.offset_from_utc_datetime(&moment.naive_utc());
        TimeDelta::seconds(i64::from(offset.fix().local_minus_utc()))
    }

    /// The second in which an offset ends that is in force after `from` and no longer at `until`.
    fn end_of_offset(
        &self,
        from: DateTime<Utc>,
        offset: TimeDelta,
        until: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let (mut low, mut high) = (from.timestamp(), until.timestamp());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let moment = DateTime::from_timestamp(middle, 0).unwrap_or(until);
            if self.offset(moment) == offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        DateTime::from_timestamp(high, 0).unwrap_or(until)
    }

    /// The moment of a wall-clock time: the first of two, or the end of the gap that it lies in.
    fn moment(&self, wall: NaiveDateTime) -> DateTime<Utc> {
        match self.timezone.from_local_datetime(&wall) {
            LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => moment.to_utc(),
            LocalResult::None => self.end_of_gap(wall),
        }
    }

    fn end_of_gap(&self, wall: NaiveDateTime) -> DateTime<Utc> {
        // Zones change on whole minutes, and the longest gap ever was a day.
        let mut probe = wall.with_second(0).unwrap_or(wall);
        for _ in 0..=2 * 24 * 60 {
            probe += TimeDelta::minutes(1);
            if let Some(moment) = self.timezone.from_local_datetime(&probe).earliest() {
                return moment.to_utc();
            }
        }
        wall.and_utc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, timezone: Tz, after: &str, expected: &[&str]) {
        let schedule = Schedule::parse(expression, timezone).expect(expression);
        let mut moment = Timestamp::parse(after).expect(after);
        for next in expected {
            moment = schedule.next(moment);
            assert_eq!(
                moment.to_string(),
                format!("{next}.000Z"),
                "{expression} after {after}"
            );
        }
    }

    #[test]
    fn a_duration_counts_from_the_last_run() {
        check(
            "10s",
            Tz::UTC,
            "2026-11-24T03:10:00Z",
            &["2026-11-24T03:10:10", "2026-11-24T03:10:20"],
        );
    }

    #[test]
    fn an_expression_is_local_to_its_zone() {
        check(
            "0 30 3 * * *",
            Tz::UTC,
            "2026-11-24T03:30:00Z",
            &["2026-11-25T03:30:00"],
        );
        check(
            "0 30 3 * * *",
            Tz::Europe__Berlin,
            "2026-11-24T02:29:59.999Z",
            &["2026-11-24T02:30:00"],
        );
        check(
            "0 30 3 * * *",
            Tz::America__New_York,
            "2026-07-01T00:00:00Z",
            &["2026-07-01T07:30:00"],
        );
    }

    #[test]
    fn a_skipped_time_runs_right_after_the_gap() {
        // Berlin goes from 02:00 to 03:00 on 2026-03-29 at 01:00Z.
        check(
            "0 30 2 * * *",
            Tz::Europe__Berlin,
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00", "2026-03-30T00:30:00"],
        );
        // Lord Howe skips half an hour: 02:00 to 02:30 on 2026-10-04 at 15:30Z of the day before.
        check(
            "0 15 2 * * *",
            Tz::Australia__Lord_Howe,
            "2026-10-03T12:00:00Z",
            &["2026-10-03T15:30:00"],
        );
    }

    #[test]
    fn a_time_that_comes_twice_runs_once() {
        // Berlin goes from 03:00 back to 02:00 on 2026-10-25 at 01:00Z.
        check(
            "0 30 2 * * *",
            Tz::Europe__Berlin,
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00", "2026-10-26T01:30:00"],
        );
        // A start within the second of the two hours.
        check(
            "0 30 2 * * *",
            Tz::Europe__Berlin,
            "2026-10-25T01:15:00Z",
            &["2026-10-26T01:30:00"],
        );
    }

    #[test]
    fn an_expression_for_every_hour_runs_through_both_changes() {
        check(
            "0 0/30 * * * *",
            Tz::Europe__Berlin,
            "2026-03-29T00:20:00Z",
            &[
                "2026-03-29T00:30:00",
                "2026-03-29T01:00:00",
                "2026-03-29T01:30:00",
            ],
        );
        check(
            "0 0/30 * * * *",
            Tz::Europe__Berlin,
            "2026-10-25T00:20:00Z",
            &[
                "2026-10-25T00:30:00",
                "2026-10-25T01:00:00",
                "2026-10-25T01:30:00",
                "2026-10-25T02:00:00",
            ],
        );
    }

    #[test]
    fn what_names_no_time_is_refused() {
        let check = |text: &str, expected: ScheduleError| {
            assert_eq!(Schedule::parse(text, Tz::UTC), Err(expected), "{text}");
        };
        check("soon", ScheduleError::Duration);
        check("10", ScheduleError::Duration);
        check("10 seconds", ScheduleError::Duration);
        check("30 3 * * *", ScheduleError::WithoutSeconds);
        check("0 61 3 * * *", ScheduleError::Cron);
        check("* *", ScheduleError::Cron);
        check("0 0 0 30 2 *", ScheduleError::Never);
        check("0 0 0 1 1 * 2018", ScheduleError::Never);
    }

    #[test]
    fn an_expression_of_past_years_ends() {
        let schedule = Schedule::parse("0 0 0 1 1 * 2027", Tz::UTC).expect("expression");
        let last = schedule.next(Timestamp::parse("2026-06-01").expect("date"));
        assert_eq!(last.to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(schedule.next(last), Timestamp::from_millis(i64::MAX));
    }

    proptest::proptest! {
        #[test]
        fn the_next_run_is_always_later(start in 1_700_000_000_000_i64..1_900_000_000_000, hour in 0_u8..24, minute in 0_u8..60) {
            for expression in [format!("0 {minute} {hour} * * *"), format!("{minute} {minute} * * * *")] {
                for timezone in [Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::America__St_Johns, Tz::Africa__Casablanca] {
                    let schedule = Schedule::parse(&expression, timezone).expect("expression");
                    let start = Timestamp::from_millis(start);
                    let next = schedule.next(start);
                    proptest::prop_assert!(next > start);
                    proptest::prop_assert!(next.since(start) <= Duration::from_hours(26));
                }
            }
        }
    }
}
