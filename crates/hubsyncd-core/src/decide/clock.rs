//! HubSpot's time, by the `Date` of its answers and a clock of ours that no step can move.
//!
//! The wall clock may jump by hours while the daemon runs, and one answer may carry a `Date` of another year. Neither
//! moves HubSpot's time here: it is the middle of what the last answers say, carried on by the steady clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::time::Timestamp;

/// Under this difference clocks agree: `Date` has whole seconds.
const AGREE_MS: i64 = 2000;

/// So many answers are asked for their word: two wrong ones are outvoted, and a clock that HubSpot put right is believed
/// after three.
const ANSWERS: usize = 5;

/// What an answer says of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was half-way, by the steady clock.
    pub steady: Duration,
    /// The same moment by this machine's wall clock.
    pub ours: Timestamp,
    /// The same moment by HubSpot's.
    pub theirs: Timestamp,
}

impl Sample {
    fn lead_ms(&self) -> i64 {
        self.theirs.millis() - millis(self.steady)
    }
}

/// What the last answers say of HubSpot's time.
#[derive(Debug, Clone, Default)]
pub struct HubspotTime {
    /// HubSpot's time less the steady clock's, by the last answers.
    leads_ms: VecDeque<i64>,
    /// The one that holds.
    lead_ms: Option<i64>,
}

impl HubspotTime {
    /// Takes an answer's word.
    pub fn observe(&mut self, sample: Sample) {
        if self.leads_ms.len() == ANSWERS {
            self.leads_ms.pop_front();
        }
        self.leads_ms.push_back(sample.lead_ms());
        let own_ms = sample.ours.millis() - millis(sample.steady);
        let ahead_ms = middle(&self.leads_ms, own_ms) - own_ms;
        let ahead_ms = if ahead_ms.abs() < AGREE_MS {
            0
        } else {
            ahead_ms / 1000 * 1000
        };
        self.lead_ms = Some(own_ms + ahead_ms);
    }

    /// Whether an answer said it.
    pub fn is_known(&self) -> bool {
        self.lead_ms.is_some()
    }

    /// HubSpot's time less the steady clock's, in milliseconds.
    pub fn lead_ms(&self) -> Option<i64> {
        self.lead_ms
    }

    /// HubSpot's clock less ours at a moment, in milliseconds; 0 under two seconds, which is all that a `Date` can tell,
    /// and before any answer.
    pub fn offset_ms(&self, steady: Duration, ours: Timestamp) -> i64 {
        let offset = self
            .lead_ms
            .map_or(0, |lead| lead + millis(steady) - ours.millis());
        if offset.abs() < AGREE_MS { 0 } else { offset }
    }
}

/// The middle one; of the two of an even number the one that is nearer to our own clock.
fn middle(leads: &VecDeque<i64>, own: i64) -> i64 {
    let mut sorted: Vec<i64> = leads.iter().copied().collect();
    sorted.sort_unstable();
    let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    if lower.abs_diff(own) <= upper.abs_diff(own) {
        lower
    } else {
        upper
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: i64 = 365 * 24 * 3_600_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    /// Samples at each second of the steady clock: ours and theirs against the true time, in milliseconds.
    fn after(samples: &[(i64, i64)]) -> HubspotTime {
        let mut time = HubspotTime::default();
        for (second, (ours, theirs)) in samples.iter().enumerate() {
            time.observe(Sample {
                steady: Duration::from_secs(second as u64),
                ours: at(second as i64).plus_millis(*ours),
                theirs: at(second as i64).plus_millis(*theirs),
            });
        }
        time
    }

    fn offset(samples: &[(i64, i64)], ours: i64) -> i64 {
        let second = samples.len() as i64;
        after(samples).offset_ms(
            Duration::from_secs(second as u64),
            at(second).plus_millis(ours),
        )
    }

    #[test]
    fn one_answer_of_another_year_does_not_move_the_time() {
        for wrong in [YEAR_MS, -YEAR_MS, 60_000] {
            assert_eq!(offset(&[(0, 0), (0, wrong)], 0), 0, "{wrong}");
            assert_eq!(offset(&[(0, wrong), (0, 0)], 0), 0, "{wrong}");
            assert_eq!(
                offset(&[(0, 0), (0, wrong), (0, wrong), (0, 0)], 0),
                0,
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_clock_that_is_off_is_measured_and_forgotten_quickly() {
        assert_eq!(offset(&[(0, 90_400)], 0), 90_000);
        assert_eq!(offset(&[(-20 * YEAR_MS, 0)], -20 * YEAR_MS), 20 * YEAR_MS);
        assert_eq!(offset(&[(0, 1999)], 0), 0);
        let five = [(0, 90_000); 5];
        let back = |answers: usize| [&five[..], &[(0, 0)].repeat(answers)].concat();
        assert_eq!(offset(&back(2), 0), 90_000);
        assert_eq!(offset(&back(3), 0), 0);
    }

    #[test]
    fn a_step_of_our_clock_does_not_move_hubspots_time() {
        for step in [8 * 3_600_000, -8 * 3_600_000, 400 * 24 * 3_600_000] {
            let steps_after = [(0, 0), (0, 0)];
            assert_eq!(offset(&steps_after, step), -step);
            assert_eq!(offset(&[(0, 0), (0, 0), (step, 0)], step), -step);
            assert_eq!(offset(&[(0, 0), (0, 0), (step, 0)], 0), 0);
        }
        assert_eq!(HubspotTime::default().offset_ms(Duration::ZERO, at(0)), 0);
    }
}
