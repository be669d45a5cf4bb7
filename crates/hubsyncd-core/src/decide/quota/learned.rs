//! A limit that HubSpot's headers move: down at once, up slowly, never above what the file says.

use std::time::Duration;

/// Between two steps up.
const STEP_EVERY: Duration = Duration::from_secs(10);

/// A limit and what may become of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Learned {
    current: u64,
    /// The file's number; `None`: headers may raise the tier's.
    cap: Option<u64>,
    raised_at: Duration,
}

impl Learned {
    /// Starts with the tier's or the file's number; the file's is never exceeded.
    pub(crate) fn new(start: u64, is_fixed: bool) -> Self {
        Self {
            current: start,
            cap: is_fixed.then_some(start),
            raised_at: Duration::ZERO,
        }
    }

    /// The limit in force.
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    /// Takes a limit that HubSpot reports, in both directions at once: that of the day comes with its count, and the one means
    /// nothing against another limit.
    pub(crate) fn take(&mut self, reported: u64) {
        self.current = self.allowed(reported);
    }

    fn allowed(&self, reported: u64) -> u64 {
        self.cap.map_or(reported, |cap| cap.min(reported))
    }

    /// Takes a limit that HubSpot reports: a lower one at once, a higher one by a tenth every ten seconds.
    pub(crate) fn observe(&mut self, reported: u64, now: Duration) {
        let target = self.allowed(reported);
        if target <= self.current {
            self.current = target;
        } else if now >= self.raised_at + STEP_EVERY {
            self.current = target.min(self.current + (self.current / 10).max(1));
            self.raised_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_tiers_limit_falls_at_once_and_rises_slowly() {
        let mut limit = Learned::new(100, false);
        limit.observe(190, secs(10));
        assert_eq!(limit.current(), 110);
        limit.observe(190, secs(15));
        assert_eq!(limit.current(), 110);
        limit.observe(190, secs(20));
        assert_eq!(limit.current(), 121);
        limit.observe(50, secs(21));
        assert_eq!(limit.current(), 50);
        for step in 3..40 {
            limit.observe(190, secs(step * 10));
        }
        assert_eq!(limit.current(), 190);
    }

    #[test]
    fn the_files_limit_is_never_exceeded() {
        let mut limit = Learned::new(50, true);
        limit.observe(190, secs(100));
        assert_eq!(limit.current(), 50);
        limit.observe(20, secs(101));
        assert_eq!(limit.current(), 20);
        for step in 11..30 {
            limit.observe(190, secs(step * 10));
        }
        assert_eq!(limit.current(), 50);
    }
}
