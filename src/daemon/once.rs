//! `hubsyncd once`: the daemon's steps, called until nothing is due, and an end.

mod report;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::app::login::LoginError;
use crate::config::Config;
use crate::daemon::bells::{Bell, Bells};
use crate::daemon::condition::{Condition, Source};
use crate::daemon::heartbeat::{self, BEAT};
use crate::daemon::run::{DRAIN, keeper, parts, wait_for_token, write_end};
use crate::daemon::steps::{self, Caller};
use crate::daemon::table::{Parts, job_of_task};
use crate::daemon::tasks::{
    Job, Loop, Name, Tasks, is_fatal, is_stopping, wait_after_failure, with_causes,
};
use crate::decide::outgoing::associate::UNTYPED;
use crate::decide::round::once::{Retries, Settled, is_left, settled, wait_for_next};
use crate::decide::round::{self, Part, Step, Task};
use crate::engine::decisions::orders;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::source::reconcile;
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::hubspot::{HubspotError, RENEWING, Retry};
use crate::model::mapping::KeyChoice;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::meta::Phase;
use crate::store::{Lane, awaited, cursors, meta, outbox, reads};

use self::report::Before;
pub(crate) use self::report::report_of_all;
pub use self::report::{OnceFailure, OnceReport};

/// Tokens that HubSpot may refuse to one step before `once` gives up: a renewed one that is refused too may have met
/// the same change of HubSpot's, a third says that renewing doesn't help.
const RENEWALS: u32 = 2;

/// A step that fails so often in a row is given up where others wait for its object.
const ENOUGH: u32 = 4;

/// What `once` is asked to do.
#[derive(Debug, Clone)]
pub struct OnceOptions {
    /// A full comparison as well.
    pub reconcile: bool,
    /// When the time is up, by the steady clock: a step that still runs is cut off then, and none begins shortly before.
    pub deadline: Duration,
    /// Cancelled by a signal, from when on the same holds.
    pub stop: CancellationToken,
}

/// Brings both sides into agreement once: schema, first full read, decisions, poll to now, outbox.
pub async fn once(
    config: &Config,
    engine: &Arc<Engine>,
    keeping: &Keeping,
    options: OnceOptions,
) -> Result<OnceReport, StepError> {
    let before = Before::look(engine).await?;
    let work = OnceWork {
        engine: Arc::clone(engine),
        condition: Arc::clone(&keeping.all.condition),
        begun: engine.clock().monotonic(),
        deadline: options.deadline,
        stop: options.stop.clone(),
        left: Mutex::default(),
        failures: Mutex::default(),
        kept_from: Mutex::default(),
        read: AtomicUsize::new(0),
    };
    engine.store().wait_until(options.deadline + LAST_WORDS);
    heartbeat::set_phase(engine, Phase::Running).await?;
    let failure = match Box::pin(until_stopped(
        &work,
        agree(config, &work, options.reconcile),
    ))
    .await
    {
        Ok(()) => {
            work.write_down().await?;
            work.failure()
        }
        Err(error) if is_fatal(&error) => {
            heartbeat::end_failed(engine.store(), with_causes(&error), error.code()).await;
            return Err(error);
        }
        Err(error) => Some(OnceFailure::from(&error)),
    };
    end_work(&work).await?;
    report::report(engine, before, failure).await
}

/// Says how HubSpot stands at the end, and writes it down.
async fn end_work(work: &OnceWork) -> Result<(), StepError> {
    work.condition.stands(&work.engine.standing());
    write_end(&work.engine, &work.condition).await
}

/// Carries the work on to its end, and after a stop to the end of what was sent: nothing more is.
async fn until_stopped<T>(work: &OnceWork, all: impl Future<Output = T>) -> T {
    tokio::pin!(all);
    tokio::select! {
        biased;
        done = &mut all => done,
        () = work.stop.cancelled() => {
            tracing::info!("stopping");
            let engine = &work.engine;
            engine.client().limiter().close();
            let end = engine.clock().monotonic() + DRAIN;
            engine.store().wait_until(end.min(work.deadline + LAST_WORDS));
            all.await
        }
    }
}

/// Keeps an OAuth app's token fresh, and says how it goes, while `once` works.
pub struct Keeping {
    tasks: Tasks,
    all: Loop,
}

/// The loop that only writes the heartbeat: nobody else asks how a run is doing that ends.
fn heartbeat_of(all: &Loop, bells: &Bells) -> Job {
    let condition = Arc::clone(&all.condition);
    Job {
        name: Task::Heartbeat.into(),
        ring: Arc::clone(bells.of(Bell::Health)),
        longest: BEAT,
        step: Box::new(move |engine, _| {
            let condition = Arc::clone(&condition);
            async move {
                heartbeat::beat(&engine, &condition).await?;
                Ok(Progress::Idle {
                    until: Some(engine.clock().now() + BEAT),
                })
            }
            .boxed()
        }),
    }
}

impl Keeping {
    /// Begins; a static token needs no loop of its own.
    ///
    /// # Errors
    /// The app's secrets are missing, or the key is another one than at the last login.
    pub async fn begin(config: &Config, engine: &Arc<Engine>) -> Result<Self, LoginError> {
        let all = Loop {
            engine: Arc::clone(engine),
            condition: Arc::new(Condition::default()),
            stop: CancellationToken::new(),
        };
        let keeper = match keeper(config, engine).await {
            Ok(keeper) => keeper,
            Err(error) => {
                heartbeat::end_failed(engine.store(), with_causes(&error), error.code()).await;
                return Err(error);
            }
        };
        let mut tasks = Tasks::new(all.clone());
        let bells = Bells::new(&all.condition);
        tasks.start(heartbeat_of(&all, &bells));
        let parts = Parts {
            keeper,
            ..parts(config, &all, &bells)
        };
        if let Some(job) = job_of_task(&parts, Task::Share) {
            tasks.start(job);
        }
        if let Some(job) = job_of_task(&parts, Task::Tokens) {
            tasks.start(job);
            wait_for_token(engine).await;
        }
        Ok(Self { tasks, all })
    }

    /// Ends; a renewal under way is finished, since its refresh token may be a new one, unless HubSpot keeps silent.
    pub async fn end(mut self, patience: Duration) {
        self.all.stop.cancel();
        let ended = async { while self.tasks.ended().await.is_some() {} };
        drop(tokio::time::timeout(patience.min(DRAIN), ended).await);
    }
}

/// HubSpot's `Date` has whole seconds, and a window ends with it: so long after its beginning a run's poll shows what was
/// there when it began.
const A_SECOND: Duration = Duration::from_secs(1);

/// That part of a run's time is left to the steps that run in the end, [`DRAIN`] at most.
const SHARE_TO_END: u32 = 5;

/// For so long after its time a run waits for a program that holds the write lock, to say how it went.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What every part of one run is handed.
struct OnceWork {
    engine: Arc<Engine>,
    begun: Duration,
    condition: Arc<Condition>,
    deadline: Duration,
    stop: CancellationToken,
    /// What was begun and had more to do when the time was up, or the stop came.
    left: Mutex<BTreeSet<String>>,
    /// What failed, while the rest went on.
    failures: Mutex<Vec<(Option<ObjectType>, OnceFailure)>>,
    /// What a step that is left had failed of, the last time.
    kept_from: Mutex<Option<OnceFailure>>,
    /// Objects that were read to this moment.
    read: AtomicUsize,
}

impl OnceWork {
    /// Whether nothing more is to begin: the stop came, or the time is nearly up.
    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.engine.clock().monotonic() >= self.last_begin()
    }

    /// The last moment at which something may begin: what runs has the rest of the time to come to an end.
    fn last_begin(&self) -> Duration {
        let rest = self.deadline.saturating_sub(self.begun) / SHARE_TO_END;
        self.deadline.saturating_sub(rest.min(DRAIN))
    }

    /// The time that is left. A step of the wall clock neither takes of it nor adds to it.
    fn left(&self) -> Duration {
        let passed = self.engine.clock().monotonic();
        self.deadline.saturating_sub(passed)
    }

    /// When a step that runs is cut off: when the time is up, or after a stop as much later as a daemon's step may take.
    async fn cut_off(&self) {
        let clock = self.engine.clock();
        let drained = async {
            self.stop.cancelled().await;
            clock.sleep(DRAIN).await;
        };
        tokio::select! {
            () = clock.sleep(self.left()) => {}
            () = drained => {}
        }
    }

    fn leave(&self, what: String) {
        let mut left = self.left.lock();
        left.insert(what);
    }

    /// What the time was too short for, or what a stop came before, in a sentence.
    fn unfinished(&self) -> Option<OnceFailure> {
        let left = self.left.lock();
        let parts: Vec<&str> = left.iter().map(String::as_str).collect();
        let (ended, hint, code) = match self.stop.is_cancelled() {
            true => (
                "it was stopped",
                "run it again, it goes on from there",
                "stopped",
            ),
            false if parts.is_empty() => return None,
            false => (
                "the time was up",
                "run it again, it goes on from there; or give it a longer `--timeout`",
                "time-up",
            ),
        };
        let explanation = match parts[..] {
            [] => ended.to_owned(),
            [..] => format!("{ended} before this was done: {}", parts.join(", ")),
        };
        let kept_from = self.kept_from.lock();
        let Some(cause) = kept_from.as_ref() else {
            return Some(OnceFailure {
                explanation,
                hint: Some(hint.to_owned()),
                code: Some(code.into()),
            });
        };
        // More time helps only where nothing else is in the way.
        Some(OnceFailure {
            explanation: format!("{explanation}; the last try failed: {}", cause.explanation),
            hint: cause.hint.clone().or_else(|| Some(hint.to_owned())),
            code: cause.code.clone().or(Some(code.into())),
        })
    }

    /// Keeps what one object failed of; the others go on. What no retry mends ends the run.
    fn go_on_without(
        &self,
        object: Option<&ObjectType>,
        error: StepError,
    ) -> Result<(), StepError> {
        if is_fatal(&error) || error.is_configuration() {
            return Err(error);
        }
        let mut failures = self.failures.lock();
        failures.push((object.cloned(), OnceFailure::from(&error)));
        Ok(())
    }

    /// Of each object what it failed of.
    fn failed(&self) -> Vec<(ObjectType, Option<OnceFailure>)> {
        let failures = self.failures.lock();
        let of = |name: &ObjectType| {
            let own = failures
                .iter()
                .find(|(object, _)| object.as_ref() == Some(name));
            own.map(|(_, failure)| failure.clone())
        };
        let mapping = self.engine.mapping();
        let objects = mapping.objects.iter();
        objects
            .map(|object| (object.object.clone(), of(&object.object)))
            .collect()
    }

    /// Writes down of each object whether it failed.
    async fn write_down(&self) -> Result<(), StepError> {
        let objects = self.failed();
        self.engine
            .store()
            .write(Lane::Interactive, move |tx| {
                for (object, failure) in &objects {
                    let failing = failure.as_ref();
                    let failing =
                        failing.map(|failure| (&*failure.explanation, failure.code.as_deref()));
                    cursors::set_error(tx, object, failing)?;
                }
                Ok(())
            })
            .await?;
        Ok(())
    }

    /// Why something is left, the gravest first.
    fn failure(&self) -> Option<OnceFailure> {
        let failures = self.failures.lock();
        let explanation: BTreeSet<&str> = failures
            .iter()
            .map(|(_, failure)| failure.explanation.as_str())
            .collect();
        let failed = failures.first().map(|(_, first)| OnceFailure {
            explanation: explanation.into_iter().collect::<Vec<_>>().join("; "),
            hint: first.hint.clone(),
            code: first.code.clone(),
        });
        let forbidden = || {
            Some(OnceFailure {
                explanation: self.engine.forbidden()?,
                hint: self.engine.remedies(),
                code: self.engine.forbidden_code().map(Into::into),
            })
        };
        failed.or_else(|| self.unfinished()).or_else(forbidden)
    }

    /// Calls a step until it is idle or the time is up; what is left then is noted.
    async fn drain(&self, step: Step, object: Option<&ObjectSync>) -> Result<Progress, StepError> {
        let engine = &self.engine;
        let ends = &StepEnd::with(&self.stop).or_at(self.last_begin());
        let call = || async move {
            match object {
                Some(object) => steps::within(engine, object, step, (Caller::Once, ends)).await,
                None => steps::shared(engine, step).await,
            }
        };
        let name = object.map(|object| object.object());
        while !self.is_over() {
            match self.patiently(source(step, name), call).await? {
                Some(Progress::More) => self.condition.answered(&engine.standing()),
                Some(idle @ Progress::Idle { .. }) => return Ok(idle),
                None => break,
            }
        }
        self.leave(explanation(step, name));
        Ok(Progress::More)
    }

    /// Calls a step again after failures that pass, until the time is up or the stop comes. `None`: it was not done by
    /// then; a step that still ran was cut off as by a kill.
    async fn patiently<T, S, F>(&self, source: Source, step: S) -> Result<Option<T>, StepError>
    where
        S: FnMut() -> F,
        F: Future<Output = Result<T, StepError>>,
    {
        let mut last = None;
        let done = self.try_again(source, step, &mut last).await;
        if matches!(done, Ok(None)) && last.is_some() {
            *self.kept_from.lock() = last;
        }
        done
    }

    /// The same; `last` keeps what the step failed of.
    async fn try_again<T, S, F>(
        &self,
        source: Source,
        mut step: S,
        last: &mut Option<OnceFailure>,
    ) -> Result<Option<T>, StepError>
    where
        S: FnMut() -> F,
        F: Future<Output = Result<T, StepError>>,
    {
        let engine = &self.engine;
        let (mut failures, mut refusals) = (0, 0);
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let error = tokio::select! {
                biased;
                done = step() => match done {
                    Ok(done) => {
                        self.condition.went_well(&source);
                        return Ok(Some(done));
                    }
                    Err(error) if is_stopping(&error) => return Ok(None),
                    Err(error) => error,
                },
                () = self.cut_off() => return Ok(None),
            };
            failures += 1;
            *last = Some(OnceFailure::from(&error));
            self.condition.failed(&source, &error);
            refusals += u32::from(is_refused(&error));
            let wait = wait_after_failure(engine, &error, failures);
            // The next request waits for the renewal that a refused OAuth token sets off.
            let is_renewed =
                is_refused(&error) && engine.client().is_oauth() && refusals <= RENEWALS;
            if is_fatal(&error)
                || error.is_configuration()
                || !(is_renewed || passes(&error))
                || (failures >= ENOUGH && self.others_wait(&error))
                || wait.max(self.pause(&error)) >= self.left()
            {
                return Err(error);
            }
            tracing::warn!(error = %with_causes(&error), hint = error.hint().as_deref(), code = error.code(), wait_ms = wait.as_millis() as u64, "a step failed and is tried again");
            self.wait(wait).await;
        }
    }

    /// How long HubSpot lets nothing through: what a daemon looks at again meanwhile, a run that ends before need not.
    fn pause(&self, error: &StepError) -> Duration {
        match error {
            StepError::Hubspot(error) => match error.retry() {
                Retry::At(until) => until.since(self.engine.clock().now()),
                Retry::Backoff(_) | Retry::Split | Retry::Reauthorize | Retry::Never => {
                    Duration::ZERO
                }
            },
            StepError::OAuth(_)
            | StepError::Seal(_)
            | StepError::Store(_)
            | StepError::NoProgress(_)
            | StepError::OtherPortal { .. } => Duration::ZERO,
        }
    }

    /// Waits, but not beyond a stop.
    async fn wait(&self, wait: Duration) {
        tokio::select! {
            () = self.engine.clock().sleep(wait) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Whether a step that goes on failing keeps others from what they could do: another object is done with its reading,
    /// so that HubSpot is there, or HubSpot says no to this one request, or something that nobody understands.
    fn others_wait(&self, error: &StepError) -> bool {
        let is_said = matches!(
            error,
            StepError::Hubspot(HubspotError::Refused { .. } | HubspotError::Unreadable { .. })
        );
        is_said || self.read.load(Ordering::Relaxed) > 0
    }

    /// A read of the portal, which changes nothing half-way: it is cut off at the deadline. `false`: it was, or the stop
    /// came.
    async fn look<S, F>(&self, of: Step, step: S) -> Result<bool, StepError>
    where
        S: FnMut() -> F,
        F: Future<Output = Result<(), StepError>>,
    {
        let done = self.patiently(source(of, None), step).await?.is_some();
        if done {
            self.condition.answered(&self.engine.standing());
        } else {
            self.leave(explanation(of, None));
        }
        Ok(done)
    }
}

/// Whose errors those of a step are.
fn source(step: Step, object: Option<&ObjectType>) -> Source {
    Source::Loop(Name {
        task: step.task(),
        object: object.cloned(),
    })
}

/// What a step does, for whoever is told that the time was too short for it.
fn explanation(step: Step, object: Option<&ObjectType>) -> String {
    let name = object.map_or("", ObjectType::as_str);
    match step {
        Step::Schema => "the read of the portal's schema".to_owned(),
        Step::Reference => "the read of owners and pipelines".to_owned(),
        Step::FirstRead => format!("the first full read of {name}"),
        Step::Filling => format!("the filling of new columns of {name}"),
        Step::Comparison => format!("the full comparison of {name}"),
        Step::Poll | Step::Again(_) => format!("the poll of {name}"),
        Step::Decisions => "decisions on conflicts and dead entries".to_owned(),
        Step::Inbox => "the events of webhooks".to_owned(),
        Step::Reads => format!("the reads of changed {name}"),
        Step::Removals => format!("the removal of {name}"),
        Step::Push => format!("the push of {name}"),
        Step::Links => format!("the read of associations of {name}"),
        Step::Looks => format!("the look at {name} that were pushed"),
        Step::Histories => format!("the read of the histories of {name}"),
    }
}

/// The parts of the round, one after another; those of objects side by side.
async fn agree(config: &Config, work: &OnceWork, compare: bool) -> Result<(), StepError> {
    let engine = &work.engine;
    for step in round::steps(Part::Portal, 0) {
        if !read_portal(config, work, step, compare).await? {
            return Ok(());
        }
    }
    try_refused(work).await?;
    carry_out_commands(work).await?;
    let mut objects: Vec<Arc<ObjectSync>> = engine.objects().iter().cloned().collect();
    let pulls = objects.iter().map(|object| pull(work, object, compare));
    let pulled = each_alone(work, &objects, join_all(pulls).await)?;
    if pulled.iter().any(|(_, pulled)| *pulled == Pulled::InPart) {
        return Ok(());
    }
    objects = pulled.into_iter().map(|(object, _)| object).collect();
    let mut left_before = Vec::new();
    loop {
        // Among them what a daemon's receiver stored before it ended.
        for step in round::steps(Part::Shared, 0) {
            work.drain(step, None).await?;
        }
        let settled = join_all(objects.iter().map(|object| settle(work, object))).await;
        let settled = each_alone(work, &objects, settled)?;
        if work.is_over() {
            return Ok(());
        }
        let mut left = Vec::with_capacity(settled.len());
        for (object, _) in &settled {
            left.push(retries(work, object).await?.push);
        }
        let due = settled.iter().map(|(_, due)| *due);
        let now = engine.clock().now();
        let wait = match is_left(&left, &left_before, now) {
            true => Some(Duration::ZERO),
            false => wait_for_next(due, now, now + work.left()),
        };
        left_before = left;
        objects = settled.into_iter().map(|(object, _)| object).collect();
        let Some(wait) = wait else { break };
        work.wait(wait).await;
        if work.stop.is_cancelled() {
            return Ok(());
        }
    }
    let looked = join_all(objects.iter().map(|object| end(work, object))).await;
    each_alone(work, &objects, looked)?;
    answer_commands(work, objects).await
}

/// So often an object is polled once more for a command: a poll ends with a whole second of HubSpot's.
const MOST_POLLS: usize = 4;

/// What was read since answers the commands that only wait for it; what was noticed within a poll's last second takes another one.
async fn answer_commands(
    work: &OnceWork,
    mut objects: Vec<Arc<ObjectSync>>,
) -> Result<(), StepError> {
    let engine = &work.engine;
    // They were asked for when the commands were taken up, and made since.
    objects.retain(|object| {
        engine.takes_asked_poll(object.object());
        true
    });
    for _ in 0..MOST_POLLS {
        orders::step(engine, true).await?;
        objects.retain(|object| engine.takes_asked_poll(object.object()));
        if objects.is_empty() || work.is_over() {
            return Ok(());
        }
        work.wait(A_SECOND).await;
        for object in &objects {
            if work.drain(Step::Poll, Some(object)).await? == Progress::More {
                return Ok(());
            }
            settle(work, object).await?;
        }
    }
    orders::step(engine, true).await.map(drop)
}

/// Takes up the commands that wait, and carries out those whose work is no part of this run anyway.
async fn carry_out_commands(work: &OnceWork) -> Result<(), StepError> {
    let engine = &work.engine;
    while !work.is_over() && orders::step(engine, true).await? == Progress::More {
        for object in engine.objects().iter() {
            let name = object.object().clone();
            let cursor = engine
                .store()
                .read(move |connection| cursors::get(connection, &name));
            if cursor.await?.reconcile_started_at.is_some() {
                work.drain(Step::Comparison, Some(object)).await?;
            }
        }
    }
    Ok(())
}

/// Makes due what tables have refused: somebody who runs this may have mended what refuses it.
async fn try_refused(work: &OnceWork) -> Result<(), StepError> {
    let objects = work.engine.objects();
    let store = work.engine.store();
    let made_due = store.write(Lane::Interactive, move |tx| {
        for object in objects.iter() {
            reads::try_refused(tx, object.object(), tx.now())?;
        }
        Ok(())
    });
    Ok(made_due.await?)
}

/// Reads what the portal is like, where it is to be read. `false`: there is no time for more.
async fn read_portal(
    config: &Config,
    work: &OnceWork,
    step: Step,
    compare: bool,
) -> Result<bool, StepError> {
    let engine = &work.engine;
    if step == Step::Schema {
        let read = work.look(step, || async {
            let soon = schema::refresh(engine).await?.soon;
            soon.map_or(Ok(()), |error| work.go_on_without(None, error.into()))
        });
        return read.await;
    }
    if !compare && !reference_is_old(config, engine).await? {
        return Ok(true);
    }
    let read = work.look(step, || async {
        steps::shared(engine, step).await.map(drop)
    });
    match read.await {
        // No object needs owners and pipelines.
        Err(error) => work.go_on_without(None, error).map(|()| true),
        done => done,
    }
}

/// Looks at what was pushed, without waiting for more of it. What such a look gives back to HubSpot goes out at once.
async fn end(work: &OnceWork, object: &ObjectSync) -> Result<(), StepError> {
    loop {
        for step in round::steps(Part::End, 0) {
            work.drain(step, Some(object)).await?;
        }
        let name = object.object().clone();
        let store = work.engine.store();
        let now = work.engine.clock().now();
        let owes = store.read(move |connection| outbox::owes(connection, &name, now));
        if !owes.await? || work.drain(Step::Push, Some(object)).await? == Progress::More {
            return Ok(());
        }
    }
}

/// What came of each object; one that failed is left out, and kept in what is told at the end.
fn each_alone<T>(
    work: &OnceWork,
    objects: &[Arc<ObjectSync>],
    done: Vec<Result<T, StepError>>,
) -> Result<Vec<(Arc<ObjectSync>, T)>, StepError> {
    let mut went_well = Vec::with_capacity(done.len());
    for (object, done) in objects.iter().zip(done) {
        match done {
            Ok(done) => went_well.push((Arc::clone(object), done)),
            Err(error) => work.go_on_without(Some(object.object()), error)?,
        }
    }
    Ok(went_well)
}

async fn reference_is_old(config: &Config, engine: &Engine) -> Result<bool, StepError> {
    let (now, interval) = (engine.clock().now(), config.poll.reference);
    let read = engine
        .store()
        .read(|connection| meta::get(connection, "reference_read_at"))
        .await?;
    let read = read.as_deref().and_then(Timestamp::parse);
    // A time to come was written before the clock was set back.
    Ok(read.is_none_or(|read| read > now || now.since(read) >= interval))
}

/// How far the reading of an object came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulled {
    /// To this moment.
    Whole,
    /// The time was up before; what comes next would build on it.
    InPart,
}

async fn pull(work: &OnceWork, object: &ObjectSync, compare: bool) -> Result<Pulled, StepError> {
    for step in round::steps(Part::Pull, work.engine.again().len()) {
        // What a run before this one left half done shows what was there then.
        if was_begun(work, object, step, compare).await?
            && work.drain(step, Some(object)).await? == Progress::More
        {
            return Ok(Pulled::InPart);
        }
        if is_wanted(work, object, step, compare).await?
            && work.drain(step, Some(object)).await? == Progress::More
        {
            return Ok(Pulled::InPart);
        }
    }
    work.read.fetch_add(1, Ordering::Relaxed);
    Ok(Pulled::Whole)
}

/// Whether a walk was begun before this run that a whole one is to follow.
async fn was_begun(
    work: &OnceWork,
    object: &ObjectSync,
    step: Step,
    compare: bool,
) -> Result<bool, StepError> {
    let engine = &work.engine;
    let name = object.object().clone();
    let read = engine
        .store()
        .read(move |connection| cursors::get(connection, &name));
    let cursor = read.await?;
    if step == Step::Comparison {
        let began = cursor.reconcile_started_at;
        return Ok(compare && began.is_some_and(|began| !engine.is_of_this_run(began)));
    }
    Ok(step == Step::Poll && cursor.window.is_some())
}

/// Prepares a step, and tells whether it is to be called.
async fn is_wanted(
    work: &OnceWork,
    object: &ObjectSync,
    step: Step,
    compare: bool,
) -> Result<bool, StepError> {
    let engine = &work.engine;
    if step == Step::Comparison {
        if compare {
            reconcile::begin(engine, object).await?;
        }
        return Ok(reconcile::begin_if_behind(engine, object).await? || compare);
    }
    if step == Step::Poll {
        let begun = engine.clock().monotonic().saturating_sub(work.begun);
        work.wait(A_SECOND.saturating_sub(begun)).await;
    }
    Ok(true)
}

/// Reads, removals and pushes until nothing is due; tells when the next of them is.
async fn settle(work: &OnceWork, object: &ObjectSync) -> Result<Option<Timestamp>, StepError> {
    loop {
        let mut said = Vec::new();
        for step in round::steps(Part::Settle, 0) {
            said.push((step, work.drain(step, Some(object)).await?));
        }
        let retries = retries(work, object).await?;
        match settled(said, retries, work.engine.clock().now()) {
            Settled::Again => {}
            Settled::Until(until) => return Ok(until),
            Settled::Cut => return Ok(None),
        }
    }
}

/// When the next retries of an object fall due.
async fn retries(work: &OnceWork, object: &ObjectSync) -> Result<Retries, StepError> {
    let engine = &work.engine;
    let (name, now) = (object.object().clone(), engine.clock().now());
    let keyless = match &object.mapping().key {
        KeyChoice::Property(key) if object.mapping().key_field().is_none() => Some(key.clone()),
        KeyChoice::Property(_) | KeyChoice::Auto | KeyChoice::None => None,
    };
    let pairs = object.pairs.clone();
    let retries = engine.store().read(move |connection| {
        let mut push = awaited::next_attempt(connection, &name, keyless.as_ref(), now)?;
        let mut links = None;
        for pair in pairs.iter().filter(|pair| pair.from == name) {
            let next = outbox::links::next_due(connection, pair, Some(UNTYPED))?;
            push = [push, next].into_iter().flatten().min();
            let next = awaited::next_look(connection, pair, now)?;
            links = [links, next].into_iter().flatten().min();
        }
        Ok(Retries {
            read: awaited::next_read(connection, &name, now)?,
            push,
            links,
        })
    });
    Ok(retries.await?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, run};
    use crate::hubspot::call::answer::Answer;
    use crate::hubspot::call::error::Call;
    use crate::hubspot::call::limiter::LimiterError;

    /// A run that may take so long from now.
    fn work(engine: Engine, timeout: Duration) -> OnceWork {
        OnceWork {
            begun: Duration::ZERO,
            condition: Arc::default(),
            deadline: engine.clock().monotonic() + timeout,
            engine: Arc::new(engine),
            stop: CancellationToken::new(),
            left: Mutex::default(),
            failures: Mutex::default(),
            kept_from: Mutex::default(),
            read: AtomicUsize::new(0),
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_neither_ends_a_run_nor_prolongs_it() {
        let Desk {
            engine,
            clock,
            folder: _folder,
            ..
        } = Desk::new(0);
        let work = work(engine, Duration::from_secs(10));
        clock.step(3_600_000);
        assert!(!work.is_over());
        clock.step(-7_200_000);
        clock.pass(Duration::from_secs(9));
        assert_eq!(work.left(), Duration::from_secs(1));
        clock.pass(Duration::from_secs(1));
        assert!(work.is_over());
    }

    #[test]
    fn a_step_that_still_runs_is_cut_off_when_the_time_is_up_and_none_begins_shortly_before() {
        let Desk {
            engine,
            clock,
            folder: _folder,
            ..
        } = Desk::new(0);
        let work = OnceWork {
            begun: engine.clock().monotonic(),
            ..work(engine, Duration::from_secs(10))
        };
        clock.pass(Duration::from_secs(7));
        assert!(!work.is_over());
        let never = || std::future::pending::<Result<(), StepError>>();
        let done = run(work.patiently(source(Step::Poll, None), never));
        assert!(matches!(done, Ok(None)));
        assert_eq!(work.engine.clock().monotonic(), work.deadline);
        // A daemon's step has as long to end as the last fifth, five seconds at most.
        let last = |seconds: u64| {
            let work = OnceWork {
                deadline: work.begun + Duration::from_secs(seconds),
                begun: work.begun,
                engine: Arc::clone(&work.engine),
                condition: Arc::default(),
                stop: CancellationToken::new(),
                left: Mutex::default(),
                failures: Mutex::default(),
                kept_from: Mutex::default(),
                read: AtomicUsize::new(0),
            };
            work.last_begin().saturating_sub(work.begun)
        };
        assert_eq!(last(10), Duration::from_secs(8));
        assert_eq!(last(600), Duration::from_secs(595));
    }

    #[test]
    fn a_run_whose_time_ends_during_a_try_says_what_the_one_before_it_failed_of() {
        let Desk {
            engine,
            clock,
            folder: _folder,
            ..
        } = Desk::new(0);
        let work = work(engine, Duration::from_mins(1));
        let call = || Call {
            method: http::Method::GET,
            template: "/account-info",
        };
        let mut answers = vec![
            HubspotError::HeldBack {
                call: call(),
                source: LimiterError::Closed,
                because: None,
            },
            HubspotError::Gateway {
                call: call(),
                answer: Box::new(Answer {
                    status: 407,
                    ..Answer::default()
                }),
            },
        ];
        let step = || {
            let answer = answers.pop().expect("two tries");
            if answers.is_empty() {
                clock.pass(Duration::from_mins(1));
            }
            std::future::ready(Err(StepError::from(answer)))
        };
        let done = run(work.look(Step::Schema, step));
        assert!(matches!(done, Ok(false)));
        let failure = work.unfinished().expect("it is left");
        assert!(
            failure
                .explanation
                .starts_with("the time was up before this was done: the read of the portal's schema; the last try failed: "),
            "{}",
            failure.explanation
        );
        assert!(
            failure.explanation.contains("407, a proxy"),
            "{}",
            failure.explanation
        );
        let hint = failure.hint.unwrap_or_default();
        assert!(hint.contains("HTTPS_PROXY"), "{hint}");
    }
}
