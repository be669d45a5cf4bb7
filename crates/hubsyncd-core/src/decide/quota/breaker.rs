//! The circuit breaker: after five failures in a row one probe at a time, further and further apart.

use std::time::Duration;

use crate::decide::quota::QuotaVerdict;
use crate::decide::retry;

/// So many failures in a row open it (engineering notes, 2.5).
pub(crate) const OPENS_AFTER: u32 = 5;

/// Probes are never further apart, so that HubSpot's return is noticed within half a minute.
const LONGEST_BETWEEN_PROBES: Duration = Duration::from_secs(30);

/// Failures in a row, and when the next probe goes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Breaker {
    failures: u32,
    next_probe: Duration,
}

impl Breaker {
    /// `None`: it is closed, or the one probe may go.
    pub(crate) fn verdict(&self, in_flight: u32, now: Duration) -> Option<QuotaVerdict> {
        if self.failures < OPENS_AFTER {
            None
        } else if in_flight > 0 {
            Some(QuotaVerdict::Wait(None))
        } else if now < self.next_probe {
            Some(QuotaVerdict::Unreachable(self.next_probe))
        } else {
            None
        }
    }

    /// HubSpot answered.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// HubSpot did not answer.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let probes = self.failures.saturating_sub(OPENS_AFTER - 1);
        self.next_probe = now + retry::ceiling(probes).min(LONGEST_BETWEEN_PROBES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_opens_it_and_a_success_closes_it() {
        let mut breaker = Breaker::default();
        let now = Duration::from_secs(100);
        for _ in 1..OPENS_AFTER {
            breaker.failed(now);
            assert_eq!(breaker.verdict(9, now), None);
        }
        breaker.failed(now);
        let probe_at = now + Duration::from_secs(1);
        assert_eq!(
            breaker.verdict(0, now),
            Some(QuotaVerdict::Unreachable(probe_at))
        );
        assert_eq!(breaker.verdict(1, probe_at), Some(QuotaVerdict::Wait(None)));
        assert_eq!(breaker.verdict(0, probe_at), None);
        breaker.failed(probe_at);
        let later = probe_at + Duration::from_secs(2);
        assert_eq!(
            breaker.verdict(0, probe_at),
            Some(QuotaVerdict::Unreachable(later))
        );
        breaker.succeeded();
        assert_eq!(breaker.verdict(9, now), None);
    }

    #[test]
    fn probes_are_never_more_than_half_a_minute_apart() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(Duration::ZERO);
        }
        assert_eq!(breaker.verdict(0, LONGEST_BETWEEN_PROBES), None);
        assert!(breaker.verdict(0, Duration::from_secs(29)).is_some());
    }
}
