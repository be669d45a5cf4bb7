//! `hubsyncd once`: the daemon's steps, called until nothing is due, and an end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::daemon::heartbeat;
use crate::daemon::login::LoginError;
use crate::daemon::run::spawn_tokens;
use crate::daemon::tasks::{Loop, is_fatal, wait_after_failure, with_causes};
use crate::engine::objects::ObjectSync;
use crate::engine::{
    Engine, Progress, StepError, backfill, filling, poll, push, reads, reconcile, removal, resolve,
    schema,
};
use crate::model::time::Timestamp;
use crate::store::meta::Phase;
use crate::store::{Lane, counts, meta, quota};

/// What `once` is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct OnceOptions {
    /// A full comparison as well.
    pub reconcile: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// What `once` did to one object.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ObjectReport {
    /// The object.
    pub object: String,
    /// Records that changed the mirror.
    pub pulled: u64,
    /// Local changes that HubSpot acknowledged.
    pub pushed: u64,
    /// Entries that are pending or in flight, those that wait for the guard left out.
    pub pending: u64,
    /// Entries that HubSpot refused.
    pub dead: u64,
    /// Open conflicts.
    pub conflicts: u64,
    /// Records that wait for an operator's word.
    pub held: u64,
}

/// What `once` did.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct OnceReport {
    /// Each object, in the mapping's order.
    pub objects: Vec<ObjectReport>,
    /// Requests sent.
    pub requests: u64,
    /// Why it ended early, where it did.
    #[serde(skip)]
    pub failure: Option<String>,
}

impl OnceReport {
    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.failure.is_none() && self.objects.iter().all(|object| object.pending == 0)
    }
}

/// Brings both sides into agreement once: schema, first full read, decisions, poll to now, outbox.
pub async fn once(
    config: &Config,
    engine: &Arc<Engine>,
    options: OnceOptions,
) -> Result<OnceReport, StepError> {
    let started = engine.clock().now();
    let deadline = started + options.timeout;
    heartbeat::set_phase(engine, Phase::Running).await?;
    let failure = match agree(config, engine, options, deadline).await {
        Ok(()) => None,
        Err(error) if is_fatal(&error) => return Err(error),
        Err(error) => Some(with_causes(&error)),
    };
    report(engine, started, failure).await
}

/// Keeps an OAuth app's token fresh while `once` works.
pub struct Keeping {
    tasks: JoinSet<Result<(), StepError>>,
    stop: CancellationToken,
}

impl Keeping {
    /// Begins; a static token needs nothing.
    ///
    /// # Errors
    /// The app's secrets are missing, or the key is another one than at the last login.
    pub async fn begin(config: &Config, engine: &Arc<Engine>) -> Result<Self, LoginError> {
        let stop = CancellationToken::new();
        let all = Loop {
            engine: Arc::clone(engine),
            condition: Arc::default(),
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        spawn_tokens(&mut tasks, config, &all, Arc::new(Notify::new())).await?;
        Ok(Self { tasks, stop })
    }

    /// Ends; a renewal under way is finished, since its refresh token may be a new one.
    pub async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn agree(
    config: &Config,
    engine: &Arc<Engine>,
    options: OnceOptions,
    deadline: Timestamp,
) -> Result<(), StepError> {
    patiently(engine, deadline, || schema::refresh(engine)).await?;
    if options.reconcile || reference_is_old(config, engine).await? {
        patiently(engine, deadline, || schema::refresh_reference(engine)).await?;
    }
    let objects: Vec<Arc<ObjectSync>> = engine.objects().iter().cloned().collect();
    try_join_all(
        objects
            .iter()
            .map(|object| pull(engine, object, options.reconcile, deadline)),
    )
    .await?;
    loop {
        drain(engine, deadline, || resolve::step(engine)).await?;
        let waits = try_join_all(
            objects
                .iter()
                .map(|object| settle(engine, object, deadline)),
        )
        .await?;
        let next = waits.into_iter().flatten().min();
        match next {
            Some(next) if next < deadline => {
                let wait = next
                    .since(engine.clock().now())
                    .max(Duration::from_millis(5));
                engine.clock().sleep(wait).await;
            }
            Some(_) | None => return Ok(()),
        }
    }
}

async fn reference_is_old(config: &Config, engine: &Engine) -> Result<bool, StepError> {
    let (now, interval) = (engine.clock().now(), config.poll.reference);
    let read = engine
        .store()
        .read(|connection| meta::get(connection, "reference_read_at"))
        .await?;
    let read = read.as_deref().and_then(Timestamp::parse);
    Ok(read.is_none_or(|read| now.since(read) >= interval))
}

async fn pull(
    engine: &Arc<Engine>,
    object: &ObjectSync,
    compare: bool,
    deadline: Timestamp,
) -> Result<(), StepError> {
    drain(engine, deadline, || backfill::step(engine, object)).await?;
    drain(engine, deadline, || filling::step(engine, object)).await?;
    if compare {
        reconcile::begin(engine, object).await?;
    }
    if reconcile::begin_if_behind(engine, object).await? || compare {
        drain(engine, deadline, || reconcile::step(engine, object)).await?;
    }
    drain(engine, deadline, || poll::step(engine, object)).await?;
    for delay in engine.again() {
        drain(engine, deadline, || poll::step_again(engine, object, delay)).await?;
    }
    Ok(())
}

/// Reads, removals and pushes until nothing is due; tells when the next of them is.
async fn settle(
    engine: &Arc<Engine>,
    object: &ObjectSync,
    deadline: Timestamp,
) -> Result<Option<Timestamp>, StepError> {
    loop {
        let read = drain(engine, deadline, || reads::step(engine, object)).await?;
        let removed = drain(engine, deadline, || removal::step(engine, object)).await?;
        let pushed = drain(engine, deadline, || push::step(engine, object)).await?;
        match read.or(removed).or(pushed) {
            Progress::More => return Ok(None),
            Progress::Idle { until: Some(until) } if until <= engine.clock().now() => {}
            Progress::Idle { until } => return Ok(until),
        }
    }
}

/// Calls a step until it is idle or the time is up.
async fn drain<S, F>(
    engine: &Arc<Engine>,
    deadline: Timestamp,
    mut step: S,
) -> Result<Progress, StepError>
where
    S: FnMut() -> F,
    F: Future<Output = Result<Progress, StepError>>,
{
    loop {
        let progress = patiently(engine, deadline, &mut step).await?;
        if progress != Progress::More || engine.clock().now() >= deadline {
            return Ok(progress);
        }
    }
}

/// Calls a step again after failures that pass, until the time is up.
async fn patiently<T, S, F>(
    engine: &Arc<Engine>,
    deadline: Timestamp,
    mut step: S,
) -> Result<T, StepError>
where
    S: FnMut() -> F,
    F: Future<Output = Result<T, StepError>>,
{
    let mut failures = 0;
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        failures += 1;
        let wait = wait_after_failure(engine, &error, failures);
        if is_fatal(&error) || !passes(&error) || engine.clock().now() + wait >= deadline {
            return Err(error);
        }
        tracing::warn!(error = %with_causes(&error), wait_ms = wait.as_millis() as u64, "a step failed and is tried again");
        engine.clock().sleep(wait).await;
    }
}

/// Whether waiting may help.
fn passes(error: &StepError) -> bool {
    match error {
        StepError::Hubspot(error) => !error.is_unauthorized() && !error.is_forbidden(),
        StepError::OAuth(_) | StepError::Seal(_) | StepError::Store(_) => true,
        StepError::NoProgress(_) | StepError::OtherPortal { .. } => false,
    }
}

async fn report(
    engine: &Arc<Engine>,
    started: Timestamp,
    failure: Option<String>,
) -> Result<OnceReport, StepError> {
    let requests = count_requests(engine).await?;
    let (unsent, now) = (
        engine.client().limiter().unused_lease(),
        engine.clock().now(),
    );
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            quota::end_leases(tx, unsent, now)?;
            meta::set_phase(tx, Phase::Stopped, now)
        })
        .await?;
    Ok(OnceReport {
        objects: objects_since(engine, started).await?,
        requests,
        failure,
    })
}

/// What was done since `since`, and all requests that the database knows of.
pub async fn report_since(engine: &Arc<Engine>, since: Timestamp) -> Result<OnceReport, StepError> {
    count_requests(engine).await?;
    let requests = engine.store().read(quota::requests_in_all).await?;
    Ok(OnceReport {
        objects: objects_since(engine, since).await?,
        requests,
        failure: None,
    })
}

/// Writes the counts of requests down; tells how many there were since the last time.
async fn count_requests(engine: &Arc<Engine>) -> Result<u64, StepError> {
    let counts = engine.client().take_request_counts();
    let total = counts.values().map(|count| count.requests).sum();
    let now = engine.clock().now();
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            for (class, count) in counts {
                let count = quota::Requests {
                    requests: count.requests,
                    errors: count.errors,
                    throttled: count.throttled,
                };
                quota::count(tx, class, count, now)?;
            }
            Ok(())
        })
        .await?;
    Ok(total)
}

async fn objects_since(
    engine: &Arc<Engine>,
    since: Timestamp,
) -> Result<Vec<ObjectReport>, StepError> {
    let names: Vec<_> = engine
        .mapping()
        .objects
        .iter()
        .map(|object| object.object.clone())
        .collect();
    let counted = engine
        .store()
        .read(move |connection| {
            names
                .iter()
                .map(|name| counts::of(connection, name, since))
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(counted.into_iter().map(ObjectReport::from).collect())
}

impl From<counts::Counts> for ObjectReport {
    fn from(count: counts::Counts) -> Self {
        Self {
            object: count.object,
            pulled: count.pulled,
            pushed: count.pushed,
            pending: count.pending,
            dead: count.dead,
            conflicts: count.conflicts,
            held: count.held,
        }
    }
}
