//! `hubsyncd once`: the daemon's steps, called until nothing is due, and an end.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::daemon::condition::Condition;
use crate::daemon::heartbeat::{self, BEAT};
use crate::daemon::login::LoginError;
use crate::daemon::run::{DRAIN, spawn_tokens};
use crate::daemon::tasks::{Loop, is_fatal, wait_after_failure, with_causes};
use crate::engine::objects::ObjectSync;
use crate::engine::{
    Engine, Progress, StepError, backfill, filling, ingest, poll, push, reads, reconcile, removal,
    resolve, schema,
};
use crate::hubspot::{HubspotError, RENEWING};
use crate::model::time::Timestamp;
use crate::store::meta::Phase;
use crate::store::{Lane, counts, meta, quota};

/// Tokens that HubSpot may refuse to one step before `once` gives up: a renewed one that is refused too may have met
/// the same change of HubSpot's, a third says that renewing doesn't help.
const RENEWALS: u32 = 2;

/// What `once` is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct OnceOptions {
    /// A full comparison as well.
    pub reconcile: bool,
    /// When the time is up: no step begins after it, and one that runs may take [`DRAIN`] longer to end.
    pub deadline: Timestamp,
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
    keeping: &Keeping,
    options: OnceOptions,
) -> Result<OnceReport, StepError> {
    let before = Before {
        started: engine.clock().now(),
        requests: engine.store().read(quota::requests_in_all).await?,
    };
    let work = Work {
        engine: Arc::clone(engine),
        condition: Arc::clone(&keeping.condition),
        deadline: options.deadline,
        left: Mutex::default(),
    };
    heartbeat::set_phase(engine, Phase::Running).await?;
    let failure = match agree(config, &work, options).await {
        Ok(()) => work.unfinished().or_else(|| work.engine.forbidden()),
        Err(error) if is_fatal(&error) => {
            heartbeat::end_failed(engine.store(), with_causes(&error)).await;
            return Err(error);
        }
        Err(error) => Some(with_causes(&error)),
    };
    report(&work, before, failure).await
}

/// What stood in the database before.
struct Before {
    started: Timestamp,
    requests: u64,
}

/// Keeps an OAuth app's token fresh, and says how it goes, while `once` works.
pub struct Keeping {
    tasks: JoinSet<Result<(), StepError>>,
    condition: Arc<Condition>,
    stop: CancellationToken,
}

impl Keeping {
    /// Begins; a static token needs no loop of its own.
    ///
    /// # Errors
    /// The app's secrets are missing, or the key is another one than at the last login.
    pub async fn begin(config: &Config, engine: &Arc<Engine>) -> Result<Self, LoginError> {
        let (stop, condition) = (CancellationToken::new(), Arc::new(Condition::default()));
        let all = Loop {
            engine: Arc::clone(engine),
            condition: Arc::clone(&condition),
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        let told = Arc::clone(&condition);
        let beat = move |engine: Arc<Engine>| {
            let condition = Arc::clone(&told);
            async move {
                heartbeat::beat(&engine, &condition).await?;
                Ok(Progress::Idle {
                    until: Some(engine.clock().now() + BEAT),
                })
            }
        };
        let ring = condition.changed();
        tasks.spawn(all.clone().run("heartbeat", ring, BEAT, beat));
        let spawned = spawn_tokens(&mut tasks, config, &all, Arc::new(Notify::new())).await;
        if let Err(error) = spawned {
            heartbeat::end_failed(engine.store(), with_causes(&error)).await;
            return Err(error);
        }
        Ok(Self {
            tasks,
            condition,
            stop,
        })
    }

    /// Ends; a renewal under way is finished, since its refresh token may be a new one, unless HubSpot keeps silent.
    pub async fn end(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN, ended).await);
    }
}

/// What every part of one run is handed.
struct Work {
    engine: Arc<Engine>,
    condition: Arc<Condition>,
    deadline: Timestamp,
    /// What was begun and had more to do when the time was up.
    left: Mutex<BTreeSet<String>>,
}

impl Work {
    fn is_over(&self) -> bool {
        self.engine.clock().now() >= self.deadline
    }

    fn leave(&self, what: &str) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(what.to_owned());
    }

    /// What the time was too short for, in a sentence.
    fn unfinished(&self) -> Option<String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<&str> = left.iter().map(String::as_str).collect();
        (!parts.is_empty())
            .then(|| format!("the time was up before this was done: {}", parts.join(", ")))
    }

    /// Calls a step until it is idle or the time is up; what is left then is noted.
    async fn drain<S, F>(&self, what: &str, mut step: S) -> Result<Progress, StepError>
    where
        S: FnMut() -> F,
        F: Future<Output = Result<Progress, StepError>>,
    {
        while !self.is_over() {
            match self.patiently(self.deadline + DRAIN, &mut step).await? {
                Some(Progress::More) => self.condition.answered(self.engine.client().token_works()),
                Some(idle @ Progress::Idle { .. }) => return Ok(idle),
                None => break,
            }
        }
        self.leave(what);
        Ok(Progress::More)
    }

    /// Calls a step again after failures that pass, until the time is up. `None`: it was up in the middle of the step,
    /// which is cut off as by a kill.
    async fn patiently<T, S, F>(
        &self,
        limit: Timestamp,
        mut step: S,
    ) -> Result<Option<T>, StepError>
    where
        S: FnMut() -> F,
        F: Future<Output = Result<T, StepError>>,
    {
        let engine = &self.engine;
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let now = engine.clock().now();
            let error = tokio::select! {
                biased;
                done = step() => match done {
                    Ok(done) => return Ok(Some(done)),
                    Err(error) => error,
                },
                () = engine.clock().sleep(limit.since(now)) => return Ok(None),
            };
            failures += 1;
            self.condition.failed(&error);
            refusals += u32::from(is_refused(&error));
            let wait = wait_after_failure(engine, &error, failures);
            // The next request waits for the renewal that a refused OAuth token sets off.
            let is_renewed =
                is_refused(&error) && engine.client().is_oauth() && refusals <= RENEWALS;
            if is_fatal(&error)
                || error.is_configuration()
                || !(is_renewed || passes(&error))
                || engine.clock().now() + wait >= self.deadline
            {
                return Err(error);
            }
            tracing::warn!(error = %with_causes(&error), wait_ms = wait.as_millis() as u64, "a step failed and is tried again");
            engine.clock().sleep(wait).await;
        }
    }

    /// A read that changes nothing half-way: it is cut off at the deadline. `false`: it was.
    async fn look<S, F>(&self, what: &str, step: S) -> Result<bool, StepError>
    where
        S: FnMut() -> F,
        F: Future<Output = Result<(), StepError>>,
    {
        let done = self.patiently(self.deadline, step).await?.is_some();
        if done {
            self.condition.answered(self.engine.client().token_works());
        } else {
            self.leave(what);
        }
        Ok(done)
    }
}

async fn agree(config: &Config, work: &Work, options: OnceOptions) -> Result<(), StepError> {
    let engine = &work.engine;
    if !work
        .look("the read of the portal's schema", || {
            schema::refresh(engine)
        })
        .await?
    {
        return Ok(());
    }
    if (options.reconcile || reference_is_old(config, engine).await?)
        && !work
            .look("the read of owners and pipelines", || {
                schema::refresh_reference(engine)
            })
            .await?
    {
        return Ok(());
    }
    let objects: Vec<Arc<ObjectSync>> = engine.objects().iter().cloned().collect();
    let pulls = objects
        .iter()
        .map(|object| pull(work, object, options.reconcile));
    let pulled = try_join_all(pulls).await?;
    if pulled.contains(&Pulled::InPart) {
        return Ok(());
    }
    loop {
        work.drain("decisions on conflicts and dead entries", || {
            resolve::step(engine)
        })
        .await?;
        // What a daemon's receiver stored before it ended.
        work.drain("the events of webhooks", || ingest::step(engine))
            .await?;
        let waits = try_join_all(objects.iter().map(|object| settle(work, object))).await?;
        if work.is_over() {
            return Ok(());
        }
        let next = waits.into_iter().flatten().min();
        match next {
            Some(next) if next < work.deadline => {
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

/// How far the reading of an object came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulled {
    /// To this moment.
    Whole,
    /// The time was up before; what comes next would build on it.
    InPart,
}

async fn pull(work: &Work, object: &ObjectSync, compare: bool) -> Result<Pulled, StepError> {
    let (engine, name) = (&work.engine, object.object());
    let first = format!("the first full read of {name}");
    if work
        .drain(&first, || backfill::step(engine, object))
        .await?
        == Progress::More
    {
        return Ok(Pulled::InPart);
    }
    let filled = format!("the filling of new columns of {name}");
    if work
        .drain(&filled, || filling::step(engine, object))
        .await?
        == Progress::More
    {
        return Ok(Pulled::InPart);
    }
    if compare {
        reconcile::begin(engine, object).await?;
    }
    let compared = format!("the full comparison of {name}");
    if (reconcile::begin_if_behind(engine, object).await? || compare)
        && work
            .drain(&compared, || reconcile::step(engine, object))
            .await?
            == Progress::More
    {
        return Ok(Pulled::InPart);
    }
    let polled = format!("the poll of {name}");
    if work.drain(&polled, || poll::step(engine, object)).await? == Progress::More {
        return Ok(Pulled::InPart);
    }
    for delay in engine.again() {
        let walked = || poll::step_again(engine, object, delay);
        if work.drain(&polled, walked).await? == Progress::More {
            return Ok(Pulled::InPart);
        }
    }
    Ok(Pulled::Whole)
}

/// Reads, removals and pushes until nothing is due; tells when the next of them is.
async fn settle(work: &Work, object: &ObjectSync) -> Result<Option<Timestamp>, StepError> {
    let (engine, name) = (&work.engine, object.object());
    let (of_reads, of_removals, of_the_push) = (
        format!("the reads of changed {name}"),
        format!("the removal of {name}"),
        format!("the push of {name}"),
    );
    loop {
        let read = work
            .drain(&of_reads, || reads::step(engine, object))
            .await?;
        let removed = work
            .drain(&of_removals, || removal::step(engine, object))
            .await?;
        let pushed = work
            .drain(&of_the_push, || push::step(engine, object))
            .await?;
        match read.or(removed).or(pushed) {
            Progress::More => return Ok(None),
            Progress::Idle { until: Some(until) } if until <= engine.clock().now() => {}
            Progress::Idle { until } => return Ok(until),
        }
    }
}

/// Whether HubSpot refused the token.
fn is_refused(error: &StepError) -> bool {
    matches!(error, StepError::Hubspot(HubspotError::Unauthorized { .. }))
}

/// Whether waiting may help.
fn passes(error: &StepError) -> bool {
    match error {
        StepError::Hubspot(HubspotError::LoggedOut { why, .. }) => &**why == RENEWING,
        StepError::Hubspot(error) => !error.is_unauthorized() && !error.is_forbidden(),
        StepError::OAuth(_) | StepError::Seal(_) | StepError::Store(_) => true,
        StepError::NoProgress(_) | StepError::OtherPortal { .. } => false,
    }
}

async fn report(
    work: &Work,
    before: Before,
    failure: Option<String>,
) -> Result<OnceReport, StepError> {
    let engine = &work.engine;
    heartbeat::beat(engine, &work.condition).await?;
    let unsent = engine.client().limiter().unused_lease();
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            quota::end_leases(tx, unsent, tx.now())?;
            meta::set_phase(tx, Phase::Stopped, tx.now())
        })
        .await?;
    let requests = engine.store().read(quota::requests_in_all).await?;
    let objects = objects_since(engine, before.started).await?;
    let pending: u64 = objects.iter().map(|object| object.pending).sum();
    let waiting = || (pending > 0).then(|| format!("{pending} changes still wait to be pushed"));
    Ok(OnceReport {
        failure: failure.or_else(waiting),
        objects,
        requests: requests.saturating_sub(before.requests),
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

/// Writes the counts of requests down.
async fn count_requests(engine: &Arc<Engine>) -> Result<(), StepError> {
    let counts = engine.client().take_request_counts();
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            for (class, count) in counts {
                let count = quota::Requests {
                    requests: count.requests,
                    errors: count.errors,
                    throttled: count.throttled,
                };
                quota::count(tx, class, count, tx.now())?;
            }
            Ok(())
        })
        .await?;
    Ok(())
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
