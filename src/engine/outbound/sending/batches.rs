//! What was claimed together goes out in one request, in halves where that is refused as a whole, and by itself what makes HubSpot
//! fail again and again. One loop and one answer to a failure, for records and for associations.

use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::outgoing::settle::{ALONE_AFTER, BatchFate, settle_failure};
use crate::decide::retry::{RetryClass, latest_due, next_attempt};
use crate::engine::{Engine, StepError};
use crate::hubspot::{HubspotError, Retry};
use crate::model::attempt::Late;
use crate::model::entry::WaitsFor;
use crate::model::id::OutboxId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::runs::{self, Kind};

/// How claimed entries of one kind are sent, and what becomes of them.
pub(in crate::engine::outbound) trait Batches: Sync {
    /// An entry that was claimed.
    type Claimed: Send + Sync;
    /// What HubSpot says to a batch that it took.
    type Answer: Send;

    fn engine(&self) -> &Engine;

    fn entry(claimed: &Self::Claimed) -> OutboxId;

    /// Which attempt this is, from 1.
    fn attempts(claimed: &Self::Claimed) -> u32;

    /// What may go in one request; the last goes first.
    fn parts(claimed: Vec<Self::Claimed>) -> Vec<Vec<Self::Claimed>> {
        vec![claimed]
    }

    /// What becomes of a batch that failed as a whole.
    fn fate(&self, error: &HubspotError, inputs: usize, attempts: u32) -> BatchFate {
        settle_failure(error.batch_failure(), inputs, attempts)
    }

    /// Whether the step ends with the error of such a batch.
    fn ends_step(&self, _error: &HubspotError, fate: BatchFate) -> bool {
        fate != BatchFate::Dead
    }

    fn send(
        &self,
        batch: &[Self::Claimed],
    ) -> impl Future<Output = Result<Self::Answer, HubspotError>> + Send;

    /// Settles the answer to a question of `asked_at`.
    fn answered(
        &self,
        batch: Vec<Self::Claimed>,
        answer: Self::Answer,
        asked_at: Timestamp,
    ) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Takes the claims back of what was not sent.
    fn unclaim(
        &self,
        batch: Vec<Self::Claimed>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Settles a batch that failed as a whole.
    fn failed(
        &self,
        batch: Vec<Self::Claimed>,
        failed: FailedBatch,
        error: &HubspotError,
    ) -> impl Future<Output = Result<(), StepError>> + Send;
}

/// Sends what was claimed and settles it, in halves where it is refused as a whole. What rests on a read that is too old by then is
/// answered with.
pub(in crate::engine::outbound) async fn send_all<B: Batches>(
    sending: &B,
    claimed: Vec<B::Claimed>,
) -> Result<Vec<Late>, StepError> {
    let in_all = claimed.len();
    let mut late = Vec::new();
    // What makes HubSpot fail again and again goes by itself: the others of its batch must not fail with it.
    let (alone, together): (Vec<_>, Vec<_>) = claimed
        .into_iter()
        .partition(|claimed| B::attempts(claimed) > ALONE_AFTER);
    let mut batches: Vec<Vec<B::Claimed>> =
        alone.into_iter().map(|claimed| vec![claimed]).collect();
    batches.extend(B::parts(together));
    let mut first_error = None;
    while let Some(mut batch) = batches.pop() {
        if batch.is_empty() {
            continue;
        }
        let asked_at = sending.engine().now();
        let error = match sending.send(&batch).await {
            Ok(answer) => {
                sending.answered(batch, answer, asked_at).await?;
                continue;
            }
            Err(error) => error,
        };
        if matches!(error, HubspotError::Stale { .. }) {
            let entries = batch.iter().map(B::entry).collect();
            let is_part = batch.len() < in_all;
            sending.unclaim(batch).await?;
            late.push(Late { entries, is_part });
            continue;
        }
        let attempts = batch.iter().map(B::attempts).max().unwrap_or(1);
        let fate = sending.fate(&error, batch.len(), attempts);
        if fate == BatchFate::Split {
            let rest = batch.split_off(batch.len() / 2);
            batches.extend([rest, batch]);
            continue;
        }
        let failed = FailedBatch::of(sending.engine(), &error, fate);
        sending.failed(batch, failed, &error).await?;
        if sending.ends_step(&error, fate) {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(late), |error| Err(error.into()))
}

/// A batch that failed as a whole and is not split: what is said of its entries, and when they are due again.
#[derive(Debug)]
pub(in crate::engine::outbound) struct FailedBatch {
    pub(in crate::engine::outbound) fate: BatchFate,
    pub(in crate::engine::outbound) explanation: String,
    /// The code of the error, where a request went out.
    attempted: Option<&'static str>,
    /// When HubSpot is to be asked again, where it says that itself.
    until: Option<Timestamp>,
    /// How long a lock of HubSpot's lasts that it met.
    lock_lasts: Option<Duration>,
    /// How long HubSpot is to be left alone.
    rest: Duration,
}

impl FailedBatch {
    fn of(engine: &Engine, error: &HubspotError, fate: BatchFate) -> Self {
        let explanation = match fate {
            _ if error.is_forbidden() => error.refusal_words(),
            BatchFate::Dead => error.refusal_words(),
            BatchFate::Split | BatchFate::Retry | BatchFate::Lost => error.explanation(),
        };
        let (until, lock_lasts) = match error.retry() {
            Retry::At(until) => (Some(until), None),
            Retry::Backoff(RetryClass::Locked) => {
                let wait = next_attempt(RetryClass::Locked, 1, engine.jitter());
                (None, Some(wait))
            }
            Retry::Backoff(_) | Retry::Split | Retry::Reauthorize | Retry::Never => (None, None),
        };
        Self {
            fate,
            explanation,
            attempted: error.was_attempted().then(|| error.code()),
            until,
            lock_lasts,
            rest: error.retry_after().unwrap_or_default(),
        }
    }

    /// Writes down that a request for so many entries of an object came to nothing; where none was sent, nothing.
    pub(in crate::engine::outbound) fn note_run(
        &self,
        tx: &Transaction<'_>,
        object: &ObjectType,
        seen: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(code) = self.attempted else {
            return Ok(());
        };
        let work = runs::Work {
            requests: 1,
            seen,
            changed: 0,
        };
        let said = (self.explanation.as_str(), code);
        runs::fail(tx, (object, Kind::Push), work, said, now)
    }

    /// How long an entry waits after so many attempts.
    pub(in crate::engine::outbound) fn wait(&self, engine: &Engine, attempts: u32) -> Duration {
        let by_curve = || engine.backoff(attempts).max(self.rest);
        self.lock_lasts.unwrap_or_else(by_curve)
    }

    /// When it is due then.
    pub(in crate::engine::outbound) fn next(&self, wait: Duration, now: Timestamp) -> Timestamp {
        self.until.unwrap_or(now + wait).min(latest_due(now))
    }

    /// What it waits for, where it is surely not done.
    pub(in crate::engine::outbound) fn waits_for(&self) -> Option<WaitsFor> {
        self.lock_lasts.map(|_| WaitsFor::Lock)
    }
}
