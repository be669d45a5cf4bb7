//! When the slices of the rotating pass over a pair's records are due: as many requests a rotation as there are thousands of
//! records, evenly spread, whatever keeps the daemon from being there at each of their moments.

use std::time::Duration;

use crate::model::time::Timestamp;

/// Where the rotation of a pair stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPace {
    /// Into how many slices the records fall.
    pub slices: u32,
    /// When the last one was due.
    pub last_due_at: Timestamp,
}

impl RotationPace {
    /// The pace of a rotation that is to begin one slice's time from a moment on.
    pub fn from(records: u64, slice: usize, now: Timestamp) -> Self {
        let whole = records / (slice as u64).max(1);
        Self {
            slices: u32::try_from(whole).unwrap_or(u32::MAX).saturating_add(1),
            last_due_at: now,
        }
    }

    /// When the next slice is due. A time that is still to come was written by a clock that was ahead.
    pub fn next(self, rotation: Duration, now: Timestamp) -> Timestamp {
        self.last_due_at.min(now) + rotation / self.slices.max(1)
    }

    /// The pace behind that slice. What came due while nobody was there is made up for, one rotation at most.
    #[must_use]
    pub fn moved_on(self, rotation: Duration, now: Timestamp) -> Self {
        Self {
            last_due_at: self.next(rotation, now).max(now - rotation).min(now),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_rotation_is_as_long_as_the_file_says_however_many_records_there_are() {
        for (records, slices) in [(0, 1), (999, 1), (1_000, 2), (100_500, 101)] {
            let mut pace = RotationPace::from(records, 1_000, at(0));
            assert_eq!(pace.slices, slices);
            for _ in 0..slices {
                let due = pace.next(DAY, at(10_000_000));
                pace = pace.moved_on(DAY, due);
            }
            // A slice's length is a whole number of milliseconds.
            let short = at(86_400).millis() - pace.last_due_at.millis();
            assert!((0..i64::from(slices)).contains(&short), "{short}");
        }
    }

    #[test]
    fn slices_that_nobody_read_are_made_up_for_one_rotation_at_most() {
        let hour = at(3_600);
        let mut pace = RotationPace::from(23_000, 1_000, at(0));
        assert_eq!(pace.next(DAY, at(1)), hour);
        // Three hours late: three slices at once, then the next hour's.
        for _ in 0..3 {
            assert!(pace.next(DAY, at(10_800)) <= at(10_800));
            pace = pace.moved_on(DAY, at(10_800));
        }
        assert_eq!(pace.next(DAY, at(10_800)), at(14_400));
        // A month late.
        let month = at(30 * 86_400);
        let mut read = 0;
        while pace.next(DAY, month) <= month {
            pace = pace.moved_on(DAY, month);
            read += 1;
        }
        assert!((24..=25).contains(&read), "{read}");
    }

    #[test]
    fn a_clock_that_was_ahead_puts_no_slice_off_and_a_shorter_rotation_holds_at_once() {
        let pace = RotationPace::from(0, 1_000, at(1_000_000));
        assert_eq!(pace.next(DAY, at(0)), at(86_400));
        assert_eq!(pace.next(Duration::from_secs(1), at(0)), at(1));
        assert_eq!(pace.moved_on(DAY, at(0)).last_due_at, at(0));
    }
}
