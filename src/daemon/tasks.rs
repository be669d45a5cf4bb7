//! The loop round each step: wait for a ring, a timer or the stop; call the step; go on, wait or back off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::daemon::bells::Ring;
use crate::daemon::condition::{Condition, Source};
use crate::decide::retry::{LOCK_LASTS, RetryClass};
use crate::decide::round::Task;
use crate::decide::round::pace::{Pace, SHORTEST_WAIT, Wait};
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::hubspot::Retry;
use crate::hubspot::call::oauth::OAuthError;
pub(crate) use crate::hubspot::call::standing::with_causes;
use crate::model::name::ObjectType;
use crate::store::StoreError;
use crate::store::measured::working;

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

/// Whose loop it is: a task's, and where each object has one of its own, that object's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The task.
    pub task: Task,
    /// The object.
    pub object: Option<ObjectType>,
}

impl From<Task> for Name {
    fn from(task: Task) -> Self {
        Self { task, object: None }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.task.as_str())?;
        match &self.object {
            Some(object) => write!(formatter, " {object}"),
            None => Ok(()),
        }
    }
}

/// What a loop calls, again and again.
pub(crate) type StepCall =
    Box<dyn FnMut(Arc<Engine>, StepEnd) -> BoxFuture<'static, Result<Progress, StepError>> + Send>;

/// What a loop needs.
pub struct Job {
    /// Whose loop it is.
    pub name: Name,
    /// What ends its waits.
    pub ring: Arc<Ring>,
    /// How long it waits at most.
    pub longest: Duration,
    /// What it calls.
    pub step: StepCall,
}

/// What ended a wait between two steps.
enum WaitEnd {
    /// A ring, or its time.
    Over,
    /// What the last step failed of is another by now.
    Anew,
    /// The stop.
    Stop,
}

impl Loop {
    /// Calls a job's step until the stop. Ends early with an error that no retry mends.
    pub async fn run(self, job: Job) -> Result<(), StepError> {
        let Job {
            name,
            ring,
            longest,
            mut step,
        } = job;
        let mut pace = Pace::new(longest);
        let source = Source::Loop(name.clone());
        loop {
            pace.begins(ring.rings());
            let anew = self.condition.anew().rings();
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let ends = StepEnd::with(&self.stop);
            let done = working(name.task.as_str(), step(Arc::clone(&self.engine), ends)).await;
            let wait = match done {
                Ok(progress) => {
                    self.condition.went_well(&source);
                    self.condition.stands(&self.engine.standing());
                    pace.went_well(progress, self.engine.clock().now())
                }
                Err(error) if is_stopping(&error) => return Ok(()),
                Err(error) => {
                    self.condition.failed(&source, &error);
                    self.condition.stands(&self.engine.standing());
                    if is_fatal(&error) {
                        return Err(error);
                    }
                    pace.failed(|failures| self.wait_after_failure(&name, &error, failures))
                }
            };
            match self.waits(wait, (&ring, pace.heard()), anew).await {
                WaitEnd::Stop => return Ok(()),
                WaitEnd::Anew => pace = Pace::new(longest),
                WaitEnd::Over => {}
            }
        }
    }

    /// Waits, and tells what ended that. The order of the branches is part of a run that can be replayed.
    async fn waits(&self, wait: Wait, (ring, heard): (&Ring, u64), anew: u64) -> WaitEnd {
        match wait {
            Wait::Not => WaitEnd::Over,
            Wait::OrRing(longest) => tokio::select! {
                biased;
                () = self.stop.cancelled() => WaitEnd::Stop,
                () = ring.after(heard) => WaitEnd::Over,
                () = self.engine.clock().sleep(longest) => WaitEnd::Over,
            },
            Wait::Whole(whole) => tokio::select! {
                biased;
                () = self.stop.cancelled() => WaitEnd::Stop,
                () = self.engine.clock().sleep(whole) => WaitEnd::Over,
                () = self.condition.anew().after(anew) => WaitEnd::Anew,
            },
        }
    }

    fn wait_after_failure(&self, name: &Name, error: &StepError, failures: u32) -> Duration {
        let wait = wait_after_failure(&self.engine, error, failures);
        tracing::warn!(task = name.task.as_str(), error = %with_causes(error), hint = error.hint().as_deref(), code = error.code(), wait_ms = wait.as_millis() as u64, "a step failed and is tried again");
        wait
    }
}

/// How a loop ended.
pub(crate) type Ended = Result<(Name, Result<(), StepError>), JoinError>;

/// The loops that run, each of which can be stopped alone.
pub(crate) struct Tasks {
    all: Loop,
    running: JoinSet<(Name, Result<(), StepError>)>,
    stops: BTreeMap<Name, CancellationToken>,
    /// Ends of others that came while one was waited for.
    early: VecDeque<Ended>,
}

impl Tasks {
    /// None yet.
    pub(crate) fn new(all: Loop) -> Self {
        Self {
            all,
            running: JoinSet::new(),
            stops: BTreeMap::new(),
            early: VecDeque::new(),
        }
    }

    /// Begins a loop.
    pub(crate) fn start(&mut self, job: Job) {
        let name = job.name.clone();
        let own = Loop {
            stop: self.all.stop.child_token(),
            ..self.all.clone()
        };
        let former = self.stops.insert(name.clone(), own.stop.clone());
        debug_assert!(former.is_none(), "{name} runs already");
        self.running
            .spawn(async move { (name, own.run(job).await) });
    }

    /// Whether a loop runs that was not asked to end.
    pub(crate) fn runs(&self, name: &Name) -> bool {
        self.stops.contains_key(name)
    }

    /// Ends some loops between two of their steps, and waits for that; the others go on. Gives whose they were.
    pub(crate) async fn stop(&mut self, whose: impl Fn(&Name) -> bool) -> BTreeSet<Name> {
        let mut stopped = BTreeSet::new();
        self.stops.retain(|name, stop| {
            let is_meant = whose(name);
            if is_meant {
                stop.cancel();
                stopped.insert(name.clone());
            }
            !is_meant
        });
        let mut running = stopped.clone();
        while !running.is_empty()
            && let Some(ended) = self.running.join_next().await
        {
            let is_asked = matches!(&ended, Ok((name, Ok(()))) if running.contains(name));
            match &ended {
                Ok((name, _)) => drop(running.remove(name)),
                // Nobody knows whose end it is, and with it everything ends.
                Err(_) => running.clear(),
            }
            if !is_asked {
                self.early.push_back(ended);
            }
        }
        stopped
    }

    /// Waits for the next loop that ends; `None` where none runs.
    pub(crate) async fn ended(&mut self) -> Option<Ended> {
        match self.early.pop_front() {
            Some(ended) => Some(ended),
            None => self.running.join_next().await,
        }
    }
}

/// How long a failed step waits: as long as HubSpot says, else by the retry curve.
pub(crate) fn wait_after_failure(engine: &Engine, error: &StepError, failures: u32) -> Duration {
    let by_curve = engine.backoff(failures);
    if is_of_the_database(error) {
        return by_curve.min(LONGEST_STORE_WAIT);
    }
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
        StepError::Store(_)
        | StepError::OAuth(_)
        | StepError::Seal(_)
        | StepError::NoProgress(_)
        | StepError::OtherPortal { .. } => by_curve,
    }
}

/// Whether the database could not answer, also where that was met by the lease of a request.
fn is_of_the_database(error: &StepError) -> bool {
    match error {
        StepError::Store(_) => true,
        StepError::Hubspot(error) => error.is_of_the_database(),
        StepError::OAuth(OAuthError::HeldBack(error)) => error.is_of_the_database(),
        StepError::OAuth(_)
        | StepError::Seal(_)
        | StepError::NoProgress(_)
        | StepError::OtherPortal { .. } => false,
    }
}

/// The stable name of why a step failed; where the database kept a request back, that of what keeps the database.
pub(crate) fn code_of(error: &StepError) -> &'static str {
    if !is_of_the_database(error) {
        return error.code();
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(known) = cause {
        if let Some(of_store) = known.downcast_ref::<StoreError>() {
            return of_store.code();
        }
        cause = known.source();
    }
    error.code()
}

/// Whether a step ended because the process is stopping.
pub(crate) fn is_stopping(error: &StepError) -> bool {
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::engine::desk::{Desk, run};
    use crate::hubspot::HubspotError;
    use crate::hubspot::call::error::Call;
    use crate::hubspot::call::limiter::LimiterError;
    use crate::model::id::PortalId;

    fn counting(name: &Name) -> (Job, Arc<AtomicU32>) {
        let counts = Arc::new(AtomicU32::new(0));
        let own = Arc::clone(&counts);
        let step: StepCall = Box::new(move |_, _| {
            own.fetch_add(1, Ordering::Relaxed);
            // The test's clock never lets anybody wait.
            async {
                tokio::task::yield_now().await;
                Ok(Progress::RING)
            }
            .boxed()
        });
        let job = Job {
            name: name.clone(),
            ring: Arc::default(),
            longest: Duration::MAX,
            step,
        };
        (job, counts)
    }

    async fn others_go_on() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn tasks() -> Tasks {
        Tasks::new(Loop {
            engine: Arc::new(Desk::new(0).engine),
            condition: Arc::default(),
            stop: CancellationToken::new(),
        })
    }

    #[test]
    fn one_loop_is_exchanged_while_the_others_go_on() {
        run(async {
            let mut tasks = tasks();
            let (push, reads) = (Name::from(Task::Push), Name::from(Task::Reads));
            let (job, former) = counting(&push);
            tasks.start(job);
            let (job, others) = counting(&reads);
            tasks.start(job);
            others_go_on().await;
            tasks.stop(|name| *name == push).await;
            let (called, seen) = (
                former.load(Ordering::Relaxed),
                others.load(Ordering::Relaxed),
            );
            assert!(called > 0);
            let (job, exchanged) = counting(&push);
            tasks.start(job);
            others_go_on().await;
            assert_eq!(former.load(Ordering::Relaxed), called);
            assert!(exchanged.load(Ordering::Relaxed) > 0);
            assert!(others.load(Ordering::Relaxed) > seen);
        });
    }

    #[test]
    fn an_end_that_comes_while_another_loop_is_stopped_is_told_afterwards() {
        run(async {
            let mut tasks = tasks();
            let (push, file) = (Name::from(Task::Push), Name::from(Task::File));
            tasks.start(counting(&push).0);
            tasks.start(Job {
                step: Box::new(|_, _| {
                    let (expected, found) = (PortalId(1), PortalId(2));
                    async move { Err(StepError::OtherPortal { found, expected }) }.boxed()
                }),
                ..counting(&file).0
            });
            others_go_on().await;
            tasks.stop(|name| *name == push).await;
            let ended = tasks.ended().await.expect("an end").expect("no panic");
            assert_eq!(ended.0, file);
            assert!(ended.1.is_err());
            assert!(tasks.ended().await.is_none());
        });
    }

    #[test]
    fn a_loop_is_named_after_its_task_and_object() {
        let contacts = ObjectType::parse("contacts").expect("a name");
        let name = Name {
            task: Task::Push,
            object: Some(contacts),
        };
        assert_eq!(name.to_string(), "push contacts");
        assert_eq!(Name::from(Task::Schema).to_string(), "schema");
    }

    #[test]
    fn what_keeps_the_database_is_named_also_where_a_lease_met_it() {
        let held_back = HubspotError::HeldBack {
            call: Call {
                method: http::Method::GET,
                template: "/account-info",
            },
            source: LimiterError::Lease(Box::new(StoreError::Closed)),
            because: None,
        };
        let code = StoreError::Closed.code();
        assert_eq!(code_of(&held_back.into()), code);
        assert_eq!(code_of(&StepError::Store(StoreError::Closed)), code);
    }

    #[test]
    fn a_database_that_could_not_answer_is_asked_again_within_seconds_however_often_it_failed() {
        let desk = Desk::new(0);
        let full = || LimiterError::Lease("the disk is full".into());
        let held_back = HubspotError::HeldBack {
            call: Call {
                method: http::Method::GET,
                template: "/account-info",
            },
            source: full(),
            because: None,
        };
        let at_the_login = OAuthError::HeldBack(full());
        for error in [
            StepError::Store(StoreError::Closed),
            held_back.into(),
            at_the_login.into(),
        ] {
            for failures in 1..40 {
                let wait = wait_after_failure(&desk.engine, &error, failures);
                assert!(wait <= LONGEST_STORE_WAIT, "{error}, {failures}: {wait:?}");
            }
        }
    }
}
