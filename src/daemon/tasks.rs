//! The loop round each step: wait for a ring, a timer or the stop; call the step; go on, wait or back off.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::daemon::condition::Condition;
use crate::decide::retry::{LOCK_LASTS, RetryClass};
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::Retry;
pub use crate::hubspot::call::standing::with_causes;
use crate::model::time::Timestamp;

/// The longest wait between two looks: a lost ring costs this and never a change.
const SLOW_LOOK: Duration = Duration::from_secs(30);

/// A step must not be called again sooner than this after it said that there is nothing to do: a due time that lies in
/// the past would spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// A pause that HubSpot asked for, or the rest of a spent day, is looked at again this often: the limiter refuses without
/// a request, and what it knows may have changed.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A database that could not answer is asked again at the latest after this: what was in its way (a lock, a mirror that a
/// program put another table in the place of) is gone within a minute, and all objects wait for the one that failed.
const LONGEST_STORE_WAIT: Duration = Duration::from_secs(15);

/// Between two looks for a token while nobody is logged in.
const LOGGED_OUT: Duration = Duration::from_secs(2);

/// What every loop is handed.
#[derive(Clone)]
pub struct Loop {
    /// The engine.
    pub engine: Arc<Engine>,
    /// How the daemon is doing.
    pub condition: Arc<Condition>,
    /// Ends the loops between two steps.
    pub stop: CancellationToken,
}

impl Loop {
    /// Calls a step until the stop. Ends early with an error that no retry mends.
    pub async fn run<S, F>(
        self,
        name: &'static str,
        ring: Arc<Notify>,
        longest: Duration,
        mut step: S,
    ) -> Result<(), StepError>
    where
        S: FnMut(Arc<Engine>) -> F,
        F: Future<Output = Result<Progress, StepError>>,
    {
        let mut failures = 0;
        let source = self.condition.source();
        loop {
            // Registered before the look, so that no ring in between is lost.
            let call = ring.notified();
            tokio::pin!(call);
            call.as_mut().enable();
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let wait = match step(Arc::clone(&self.engine)).await {
                Ok(progress) => {
                    failures = 0;
                    self.condition.went_well(source);
                    self.condition.stands(&self.engine.standing());
                    self.wait_after(progress, longest)
                }
                Err(error) if is_stopping(&error) => return Ok(()),
                Err(error) => {
                    failures += 1;
                    self.condition.failed(source, &error);
                    self.condition.stands(&self.engine.standing());
                    if is_fatal(&error) {
                        return Err(error);
                    }
                    let wait = self.wait_after_failure(&error, failures);
                    tracing::warn!(task = name, error = %with_causes(&error), hint = error.hint(), wait_ms = wait.as_millis() as u64, "a step failed and is tried again");
                    // A ring must not shorten the wait after a failure.
                    tokio::select! {
                        () = self.engine.clock().sleep(wait) => {}
                        () = self.stop.cancelled() => return Ok(()),
                    }
                    continue;
                }
            };
            let Some(wait) = wait else { continue };
            tokio::select! {
                () = &mut call => {}
                () = self.engine.clock().sleep(wait) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn wait_after(&self, progress: Progress, longest: Duration) -> Option<Duration> {
        match progress {
            Progress::More => None,
            Progress::Idle { until: None } => Some(longest.min(SLOW_LOOK)),
            Progress::Idle { until: Some(until) } => Some(
                until
                    .since(self.now())
                    .clamp(SHORTEST_WAIT, longest.min(SLOW_LOOK)),
            ),
        }
    }

    fn wait_after_failure(&self, error: &StepError, failures: u32) -> Duration {
        wait_after_failure(&self.engine, error, failures)
    }

    fn now(&self) -> Timestamp {
        self.engine.clock().now()
    }
}

/// How long a failed step waits: as long as HubSpot says, else by the retry curve.
pub fn wait_after_failure(engine: &Engine, error: &StepError, failures: u32) -> Duration {
    let by_curve = engine.backoff(failures);
    match error {
        StepError::Hubspot(error) => match error.retry() {
            Retry::At(until) => until
                .since(engine.clock().now())
                .clamp(SHORTEST_WAIT, LONGEST_PAUSE),
            // Nothing was sent: the token may come at any moment.
            Retry::Reauthorize if error.status().is_none() => by_curve.min(LOGGED_OUT),
            Retry::Backoff(RetryClass::Locked) => by_curve.max(LOCK_LASTS),
            Retry::Backoff(_) | Retry::Split | Retry::Reauthorize | Retry::Never => {
                by_curve.max(error.retry_after().unwrap_or_default())
            }
        },
        StepError::Store(_) => by_curve.min(LONGEST_STORE_WAIT),
        StepError::OAuth(_)
        | StepError::Seal(_)
        | StepError::NoProgress(_)
        | StepError::OtherPortal { .. } => by_curve,
    }
}

/// Whether a step ended because the process is stopping.
pub fn is_stopping(error: &StepError) -> bool {
    matches!(error, StepError::Hubspot(error) if error.is_stopping())
}

/// Whether the process must end: the file is gone, taken over or damaged, or the token is another portal's.
pub fn is_fatal(error: &StepError) -> bool {
    match error {
        StepError::Store(error) => error.is_fatal(),
        StepError::OtherPortal { .. } => true,
        StepError::Hubspot(_)
        | StepError::OAuth(_)
        | StepError::Seal(_)
        | StepError::NoProgress(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::Desk;
    use crate::store::StoreError;

    #[test]
    fn a_database_that_could_not_answer_is_asked_again_within_seconds_however_often_it_failed() {
        let desk = Desk::new(0);
        let error = StepError::Store(StoreError::Closed);
        for failures in 1..40 {
            let wait = wait_after_failure(&desk.engine, &error, failures);
            assert!(wait <= LONGEST_STORE_WAIT, "{failures}: {wait:?}");
        }
    }
}
