//! The pace inside a window: `governor` on our `Clock`.
//!
//! A bucket lets burst + window × rate through in its worst window (notes, finding 2), so it is not what keeps the
//! limit; `decide::quota` is. It keeps requests apart evenly.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// Our clock as governor wants it.
#[derive(Clone)]
struct Steady(Arc<dyn Clock>);

impl GovernorClock for Steady {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// A bucket and what it was made for.
pub(super) struct RequestPace {
    rate_and_burst: (f64, u32),
    bucket: RateLimiter<NotKeyed, InMemoryState, Steady, NoOpMiddleware<Duration>>,
}

impl RequestPace {
    /// So many requests a second, and so many at once.
    pub(super) fn new(rate_and_burst: (f64, u32), clock: &Arc<dyn Clock>) -> Self {
        let (rate, burst) = rate_and_burst;
        let period = Duration::from_secs_f64(1.0 / rate.clamp(0.001, 1000.0));
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period)
            .expect("the period is above zero")
            .allow_burst(burst);
        Self {
            rate_and_burst,
            bucket: RateLimiter::direct_with_clock(quota, Steady(Arc::clone(clock))),
        }
    }

    /// Takes one, or says how long until there is one. A new pace begins with a full bucket, which the window holds
    /// in check.
    pub(super) fn take(
        &mut self,
        rate_and_burst: (f64, u32),
        clock: &Arc<dyn Clock>,
    ) -> Option<Duration> {
        let is_new = self.rate_and_burst != rate_and_burst;
        if is_new {
            *self = Self::new(rate_and_burst, clock);
        }
        let refused = self.bucket.check().err()?;
        // At least a little, so that a waiter never spins on a rounded-down zero.
        Some(
            refused
                .wait_time_from(clock.monotonic())
                .max(Duration::from_micros(100)),
        )
    }
}
