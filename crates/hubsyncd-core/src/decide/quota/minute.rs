//! Requests and 429s of the last minute, in sixty counters.

use std::time::Duration;

const SECONDS: usize = 60;

/// Counts of the last sixty seconds.
#[derive(Debug)]
pub(crate) struct Minute {
    /// By second modulo sixty: which second it is, requests, 429s.
    seconds: [(u64, u64, u64); SECONDS],
}

impl Default for Minute {
    fn default() -> Self {
        Self {
            seconds: [(0, 0, 0); SECONDS],
        }
    }
}

impl Minute {
    fn at(&mut self, now: Duration) -> &mut (u64, u64, u64) {
        let second = now.as_secs();
        let counter = &mut self.seconds[(second % SECONDS as u64) as usize];
        if counter.0 != second {
            *counter = (second, 0, 0);
        }
        counter
    }

    /// Counts a request.
    pub(crate) fn count(&mut self, now: Duration) {
        self.at(now).1 += 1;
    }

    /// Counts a 429.
    pub(crate) fn count_throttled(&mut self, now: Duration) {
        self.at(now).2 += 1;
    }

    /// Requests and 429s of the last sixty seconds.
    pub(crate) fn totals(&mut self, now: Duration) -> (u64, u64) {
        let second = now.as_secs();
        let recent = self
            .seconds
            .iter()
            .filter(|counter| counter.0 + SECONDS as u64 > second);
        recent.fold((0, 0), |total, counter| {
            (total.0 + counter.1, total.1 + counter.2)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_forgets_what_is_older() {
        let mut minute = Minute::default();
        minute.count(Duration::from_secs(0));
        minute.count(Duration::from_secs(59));
        minute.count_throttled(Duration::from_secs(59));
        assert_eq!(minute.totals(Duration::from_secs(59)), (2, 1));
        assert_eq!(minute.totals(Duration::from_mins(1)), (1, 1));
        minute.count(Duration::from_mins(1));
        assert_eq!(minute.totals(Duration::from_secs(61)), (2, 1));
        assert_eq!(minute.totals(Duration::from_secs(500)), (0, 0));
    }
}
