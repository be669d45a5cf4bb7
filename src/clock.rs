//! `Clock`: the one door through which time comes in. Simulated runs bring their own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::model::time::{ClockMoment, Timestamp};

/// Tells the time and waits.
pub trait Clock: Send + Sync {
    /// The time of day by this machine; it may jump.
    fn now(&self) -> Timestamp;

    /// Time since the clock was made; it never goes back.
    fn monotonic(&self) -> Duration;

    /// Both at once.
    fn moment(&self) -> ClockMoment {
        ClockMoment {
            steady: self.monotonic(),
            wall: self.now(),
        }
    }

    /// Waits that long by the monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins at zero.
    pub fn new() -> Arc<Self> {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let started = std::time::Instant::now();
        Arc::new(Self { started })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let now = chrono::Utc::now();
        Timestamp::from_millis(now.timestamp_millis())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
