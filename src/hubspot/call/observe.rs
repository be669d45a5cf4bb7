//! Counts of what was sent, by endpoint, for `sync_runs` and metrics. The limiter counts for the quotas.

use std::collections::BTreeMap;

/// What was sent to one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestCount {
    /// Requests that left, repeats included.
    pub requests: u64,
    /// Those without a success for an answer.
    pub errors: u64,
    /// Those answered with 429; they are errors too.
    pub throttled: u64,
}

/// Counts by endpoint since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    counts: BTreeMap<&'static str, RequestCount>,
}

impl Observations {
    /// Counts a request by its status; `None` where no answer came.
    pub(crate) fn count(&mut self, endpoint: &'static str, status: Option<u16>) {
        let count = self.counts.entry(endpoint).or_default();
        count.requests += 1;
        count.errors += u64::from(!status.is_some_and(|status| (200..300).contains(&status)));
        count.throttled += u64::from(status == Some(429));
    }

    /// How many were sent since the counts began.
    pub(crate) fn sent(&self) -> u64 {
        self.counts.values().map(|count| count.requests).sum()
    }

    /// The counts, which begin at zero again.
    pub(crate) fn take_counts(&mut self) -> BTreeMap<&'static str, RequestCount> {
        std::mem::take(&mut self.counts)
    }
}
