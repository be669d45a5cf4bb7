//! `hubsyncd run`: starts the tasks, waits for the stop, drains in order.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::login::{LoginError, keeper_of};
use crate::config::{Auth, Config, Schedule};
use crate::daemon::build::StartError;
use crate::daemon::condition::Condition;
use crate::daemon::heartbeat::{self, BEAT, FORGET, TRIGGERS};
use crate::daemon::seldom::Seldom;
use crate::daemon::systemd::Systemd;
use crate::daemon::tasks::{Loop, is_fatal, is_stopping, wait_after_failure, with_causes};
use crate::daemon::webhooks::{self, Listening};
use crate::decide::retry::latest_due;
use crate::engine::inbound::removal;
use crate::engine::outbound::gap::{self, Looks};
use crate::engine::outbound::push;
use crate::engine::people::resolve;
use crate::engine::portal::access::{self, Access, TO_PUSH, TO_READ};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::portal::tokens;
use crate::engine::source::backfill;
use crate::engine::source::deliveries::{self, Standing};
use crate::engine::source::filling;
use crate::engine::source::ingest;
use crate::engine::source::poll;
use crate::engine::source::reads;
use crate::engine::source::reconcile;
use crate::engine::{Engine, Progress, StepError};
use crate::http::health::Health;
use crate::http::tls::TlsError;
use crate::hubspot::NO_TOKEN_YET;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Backfill};
use crate::store::file::watch::Watch;
use crate::store::meta::Phase;
use crate::store::retention::Keep;
use crate::store::{Lane, StoreError, quota};

/// How long running steps may take to finish after a stop.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How often people's decisions are looked for.
const DECISIONS: Duration = Duration::from_secs(1);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A step met what no retry mends.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A listener.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The section of the mapping file.
        section: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The app or its key.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The certificate of `[webhooks].tls`.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The folder of the database can't be watched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task panicked.
    #[error("a task ended unasked")]
    Task,
}

impl RunError {
    /// Whether a restart can't help (status 78).
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Start(error) => error.is_configuration(),
            Self::Step(error) => error.is_configuration(),
            Self::Store(error) => error.is_configuration(),
            Self::Login(error) => error.is_configuration(),
            Self::Tls(_) => true,
            Self::Listen { .. } | Self::Task => false,
        }
    }

    /// What somebody can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start(error) => error.hint(),
            Self::Step(error) => error.hint().map(str::to_owned),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Listen { section, .. } => Some(format!(
                "give `[{section}].listen` an address of this machine whose port is free"
            )),
            Self::Login(error) => error.hint(),
            Self::Tls(_) => Some("check `tls` of `[webhooks]`".to_owned()),
            Self::Task => None,
        }
    }
}

/// The doorbells: who rings is in `docs/ARCHITECTURE.md`.
#[derive(Debug, Clone, Default)]
struct Bells {
    push: Arc<Notify>,
    reads: Arc<Notify>,
    decisions: Arc<Notify>,
    inbox: Arc<Notify>,
    inbound: Arc<Notify>,
    logins: Arc<Notify>,
    looks: Arc<Notify>,
}

/// Runs an engine until `stop`. `Ok` also after a drain that missed its deadline.
pub async fn run_engine(
    config: &Config,
    engine: Arc<Engine>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let all = Loop {
        engine,
        condition: Arc::new(Condition::default()),
        stop: CancellationToken::new(),
    };
    let mut tasks: JoinSet<Result<(), StepError>> = JoinSet::new();
    let mut listeners = Listeners::default();
    let systemd = Arc::new(Systemd::from_env());
    let ended = work(config, &all, &mut tasks, &mut listeners, &systemd, &stop).await;
    finish(&all, tasks, listeners, &systemd, ended).await
}

/// Starts everything, and waits for the end.
async fn work(
    config: &Config,
    all: &Loop,
    tasks: &mut JoinSet<Result<(), StepError>>,
    listeners: &mut Listeners,
    systemd: &Arc<Systemd>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let engine = &all.engine;
    let (health, seen) = watch::channel(Health::starting());
    listeners.health = listen(config, seen, all.stop.clone()).await?;
    let bells = Bells::default();
    if let Some(webhooks) = &config.webhooks {
        deliveries::remember(engine).await?;
        let ring = Arc::clone(&bells.inbox);
        let listening = webhooks::listen(webhooks, engine, ring, all.stop.clone()).await?;
        listeners.deliveries = Some(listening);
    }
    spawn_chores(tasks, config, all, systemd, health);
    spawn_webhooks(tasks, config, all, &bells, listeners.deliveries.as_ref());
    spawn_tokens(tasks, config, all, Arc::clone(&bells.logins)).await?;
    // To wait for HubSpot is a state and no failed start: local writes and webhooks are taken from here on.
    systemd.ready();
    if !start(all, tasks, stop).await? {
        return Ok(());
    }
    let watch = Watch::new(engine.store().path(), ring_all(&bells))?;
    heartbeat::set_phase(engine, Phase::Running).await?;
    spawn_objects(tasks, config, all, &bells);
    all.condition.schema_read();
    tracing::info!(portal_objects = engine.objects().iter().count(), "running");
    let ended = wait_for_end(tasks, stop).await;
    drop(watch);
    ended
}

fn ring_all(bells: &Bells) -> impl Fn() + Send + 'static {
    let bells = bells.clone();
    move || {
        bells.push.notify_waiters();
        bells.decisions.notify_waiters();
        bells.logins.notify_waiters();
    }
}

/// Reads the schema, as often as it takes. `false`: stopped before that. The chores run meanwhile, and one that ends
/// (the file was removed or replaced) ends the start.
async fn start(
    all: &Loop,
    tasks: &mut JoinSet<Result<(), StepError>>,
    stop: &CancellationToken,
) -> Result<bool, RunError> {
    tokio::select! {
        read = read_schema(all) => {
            read?;
            Ok(true)
        }
        // A read that is dropped half-way has changed nothing.
        ended = wait_for_end(tasks, stop) => ended.map(|()| false),
    }
}

async fn read_schema(all: &Loop) -> Result<(), StepError> {
    let mut failures = 0;
    let source = all.condition.source();
    loop {
        match schema::refresh(&all.engine).await {
            Ok(_) => {
                all.condition.went_well(source);
                for object in all.engine.objects().iter() {
                    reconcile::begin_if_behind(&all.engine, object).await?;
                }
                all.condition.answered(&all.engine.standing());
                return Ok(());
            }
            Err(error) if is_fatal(&error) || error.is_configuration() => return Err(error),
            Err(error) => {
                failures += 1;
                all.condition.failed(source, &error);
                all.condition.stands(&all.engine.standing());
                let wait = wait_after_failure(&all.engine, &error, failures);
                tracing::warn!(error = %with_causes(&error), hint = error.hint(), wait_ms = wait.as_millis() as u64, "the portal's schema could not be read");
                all.engine.clock().sleep(wait).await;
            }
        }
    }
}

async fn listen(
    config: &Config,
    health: watch::Receiver<Health>,
    stop: CancellationToken,
) -> Result<Option<tokio::task::JoinHandle<()>>, RunError> {
    let Some(address) = config.http else {
        return Ok(None);
    };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen {
            section: "http",
            address,
            source,
        })?;
    tracing::info!(address = %address, "health is served");
    Ok(Some(tokio::spawn(crate::http::listener::serve(
        listener, health, stop,
    ))))
}

fn spawn_chores(
    tasks: &mut JoinSet<Result<(), StepError>>,
    config: &Config,
    all: &Loop,
    systemd: &Arc<Systemd>,
    health: watch::Sender<Health>,
) {
    let keep = Keep {
        history: config.retention.history,
        inbox: config.retention.inbox,
        runs: config.retention.runs,
        max_bytes: config.retention.max_size,
    };
    spawn_heartbeat(tasks, all, systemd, health);
    every(tasks, all, "file", DECISIONS, |engine| async move {
        engine.store().check_file()?;
        heartbeat::close_gate(&engine).await
    });
    every(tasks, all, "triggers", TRIGGERS, |engine| async move {
        heartbeat::repair_triggers(&engine).await
    });
    every(tasks, all, "forget", FORGET, move |engine| async move {
        heartbeat::forget(&engine, keep).await
    });
}

/// Says how the daemon is doing, at an interval and whenever that becomes something else: in `sync_health`, to the health
/// listener and to systemd. A database that can't be written for a while is told by the last two only.
fn spawn_heartbeat(
    tasks: &mut JoinSet<Result<(), StepError>>,
    all: &Loop,
    systemd: &Arc<Systemd>,
    health: watch::Sender<Health>,
) {
    let interval = systemd.watchdog_interval().unwrap_or(BEAT).min(BEAT);
    let (condition, systemd) = (Arc::clone(&all.condition), Arc::clone(systemd));
    let (health, unwritten) = (Arc::new(health), Arc::new(Seldom::default()));
    let source = condition.source();
    let step = move |engine: Arc<Engine>| {
        let (condition, systemd) = (Arc::clone(&condition), Arc::clone(&systemd));
        let (health, unwritten) = (Arc::clone(&health), Arc::clone(&unwritten));
        async move {
            // What the tasks know is told before the database is asked, and again while it keeps silent.
            let last = health.borrow().state.clone();
            let say = |state: Option<&str>| {
                let at = engine.clock().monotonic();
                tell(&health, &systemd, condition.health(state, at));
            };
            say(Some(&last));
            let beating = heartbeat::beat(&engine, &condition);
            tokio::pin!(beating);
            let beaten = loop {
                tokio::select! {
                    beaten = &mut beating => break beaten,
                    () = engine.clock().sleep(interval.min(UNWRITTEN)) => {
                        condition.unbeaten(None);
                        say(Some(&last));
                    }
                }
            };
            // Whoever asks is told of the silence when `sync_health` tells it by its age.
            let next = if beaten.is_ok() {
                interval
            } else {
                interval.min(UNWRITTEN)
            };
            if beaten.is_ok() {
                condition.went_well(source);
            }
            if let Err(error) = beaten {
                if is_fatal(&error) {
                    return Err(error);
                }
                condition.unbeaten(Some(with_causes(&error)));
                condition.failed(source, &error);
                if let Some(attempts) = unwritten.turn(engine.clock().monotonic()) {
                    tracing::warn!(error = %with_causes(&error), hint = error.hint(), attempts, "the heartbeat could not be written");
                }
            } else if let Some(attempts) = unwritten.over() {
                tracing::info!(attempts, "the heartbeat is written again");
            }
            say(heartbeat::state(&engine).await.as_deref());
            systemd.alive();
            Ok(Progress::Idle {
                until: Some(engine.clock().now() + next),
            })
        }
    };
    let ring = all.condition.changed();
    tasks.spawn(all.clone().run("heartbeat", ring, interval, step));
}

fn tell(health: &watch::Sender<Health>, systemd: &Systemd, now: Health) {
    let line = match &now.reason {
        Some(reason) => format!("{}: {reason}", now.state),
        None => now.state.clone(),
    };
    let changed = health.send_if_modified(|last| {
        let changed = *last != now;
        *last = now;
        changed
    });
    if changed {
        systemd.status(&line);
    }
}

/// Between two looks at a heartbeat that can't be written.
const UNWRITTEN: Duration = Duration::from_secs(1);

/// Calls something at an interval.
fn every<S, F>(
    tasks: &mut JoinSet<Result<(), StepError>>,
    all: &Loop,
    name: &'static str,
    interval: Duration,
    mut chore: S,
) where
    S: FnMut(Arc<Engine>) -> F + Send + 'static,
    F: Future<Output = Result<(), StepError>> + Send + 'static,
{
    let next_ms = Arc::new(AtomicI64::new(0));
    let step = move |engine: Arc<Engine>| {
        // The loop looks more often than a long interval; a chore that failed is due again.
        let now = engine.clock().now();
        let next = Timestamp::from_millis(next_ms.load(Ordering::Relaxed));
        // A wall clock that went back must not stop the chores.
        let due = now >= next || next.since(now) > interval;
        let (next_ms, work) = (Arc::clone(&next_ms), due.then(|| chore(engine)));
        async move {
            if let Some(work) = work {
                work.await?;
                next_ms.store((now + interval).millis(), Ordering::Relaxed);
            }
            Ok(Progress::Idle {
                until: Some(Timestamp::from_millis(next_ms.load(Ordering::Relaxed))),
            })
        }
    };
    tasks.spawn(
        all.clone()
            .run(name, Arc::new(Notify::new()), interval, step),
    );
}

/// How long the start waits for the token's first look.
const FIRST_LOOKS: u32 = 100;

const BETWEEN_FIRST_LOOKS: Duration = Duration::from_millis(20);

/// Between two looks at the stored tokens: a login is taken up within this.
const LOGINS: Duration = Duration::from_secs(1);

/// The one loop that renews an OAuth app's token, begun before anything is asked of HubSpot.
pub(super) async fn spawn_tokens(
    tasks: &mut JoinSet<Result<(), StepError>>,
    config: &Config,
    all: &Loop,
    ring: Arc<Notify>,
) -> Result<(), LoginError> {
    let Auth::OAuth(oauth) = &config.auth else {
        return Ok(());
    };
    let keeper = Arc::new(keeper_of(oauth)?);
    tokens::check_key(&all.engine, &keeper).await??;
    let condition = Arc::clone(&all.condition);
    let step = move |engine: Arc<Engine>| {
        let (keeper, condition) = (Arc::clone(&keeper), Arc::clone(&condition));
        async move {
            let done = tokens::step(&engine, &keeper).await;
            condition.set_logged_out(engine.client().logged_out_because());
            if done.is_ok() {
                condition.renewed();
            }
            done
        }
    };
    tasks.spawn(all.clone().run("tokens", ring, LOGINS, step));
    // Its first look decides whether anything can be asked at all.
    for _ in 0..FIRST_LOOKS {
        if all.engine.client().logged_out_because().as_deref() != Some(NO_TOKEN_YET) {
            break;
        }
        all.engine.clock().sleep(BETWEEN_FIRST_LOOKS).await;
    }
    Ok(())
}

/// What listens.
#[derive(Default)]
struct Listeners {
    health: Option<tokio::task::JoinHandle<()>>,
    deliveries: Option<Listening>,
}

/// Time between two looks at the certificate's files.
const CERTIFICATE: Duration = Duration::from_secs(10);

/// Time between two looks for changes that no webhook announced, and for a log to empty.
const MISSED: Duration = Duration::from_secs(1);

/// The loop that takes stored events in, and the chores around it. Events that a former run stored are taken in without
/// `[webhooks]` too.
fn spawn_webhooks(
    tasks: &mut JoinSet<Result<(), StepError>>,
    config: &Config,
    all: &Loop,
    bells: &Bells,
    listening: Option<&Listening>,
) {
    let reads = Arc::clone(&bells.reads);
    let step = move |engine: Arc<Engine>| {
        let reads = Arc::clone(&reads);
        async move {
            if engine.objects().is_empty() {
                return Ok(Progress::Idle {
                    until: Some(engine.clock().now() + DECISIONS),
                });
            }
            let progress = ingest::step(&engine).await?;
            reads.notify_waiters();
            Ok(progress)
        }
    };
    let inbox = Arc::clone(&bells.inbox);
    tasks.spawn(all.clone().run("inbox", inbox, Duration::MAX, step));
    every(tasks, all, "erase", MISSED, |engine| async move {
        heartbeat::empty_log(&engine).await
    });
    if config.webhooks.is_none() {
        return;
    }
    let inbound = Arc::clone(&bells.inbound);
    every(tasks, all, "deliveries", MISSED, move |engine| {
        let inbound = Arc::clone(&inbound);
        async move {
            if deliveries::look_for_missed(&engine).await? {
                inbound.notify_waiters();
            }
            Ok(())
        }
    });
    if let Some(tls) = listening.and_then(|listening| listening.tls.clone()) {
        every(tasks, all, "certificate", CERTIFICATE, move |_engine| {
            let tls = Arc::clone(&tls);
            async move {
                webhooks::reload(&tls);
                Ok(())
            }
        });
    }
}

/// When an object is polled next: at its own interval, or at the relaxed one while webhooks are healthy.
fn next_poll(engine: &Engine, schedule: &Schedule) -> Timestamp {
    let now = engine.clock().now();
    let next = schedule.next(now);
    match engine.settings().relaxed_poll {
        Some(relaxed) if engine.deliveries().standing(now, relaxed) == Standing::Healthy => {
            next.max(now + relaxed)
        }
        Some(_) | None => next,
    }
}

fn spawn_objects(
    tasks: &mut JoinSet<Result<(), StepError>>,
    config: &Config,
    all: &Loop,
    bells: &Bells,
) {
    let reference = config.poll.reference;
    let condition = Arc::clone(&all.condition);
    let mut first = true;
    let ring = bells.clone();
    every(tasks, all, "schema", reference, move |engine| {
        let (condition, ring) = (Arc::clone(&condition), ring.clone());
        let again = !std::mem::take(&mut first) || engine.has_kept_back();
        async move {
            let mut soon = None;
            if again {
                soon = schema::refresh(&engine).await?.soon;
                // An object that waited for it begins at once.
                ring.inbound.notify_waiters();
                ring.reads.notify_waiters();
                ring.push.notify_waiters();
            }
            schema::refresh_reference(&engine).await?;
            condition.answered(&engine.standing());
            soon.map_or(Ok(()), |error| Err(error.into()))
        }
    });
    let decisions = Arc::clone(&bells.decisions);
    let ring = bells.clone();
    tasks.spawn(
        all.clone()
            .run("decisions", decisions, DECISIONS, move |engine| {
                let ring = ring.clone();
                async move {
                    let progress = resolve::step(&engine).await?;
                    if progress == Progress::More {
                        ring.push.notify_waiters();
                        ring.reads.notify_waiters();
                    }
                    Ok(progress)
                }
            }),
    );
    // Also those that the token may not read yet: they begin when it may.
    for object in &all.engine.mapping().objects {
        spawn_object(tasks, config, all, bells, &object.object);
    }
}

fn spawn_object(
    tasks: &mut JoinSet<Result<(), StepError>>,
    config: &Config,
    all: &Loop,
    bells: &Bells,
    name: &ObjectType,
) {
    let errors = Arc::new(Errors::default());
    let condition = Arc::clone(&all.condition);
    let schedule = config.poll.of(name).clone();
    let ring = bells.clone();
    let round = Arc::new(Round::default());
    object_loop(
        tasks,
        all,
        ("inbound", TO_READ),
        (name, &errors),
        Arc::clone(&bells.inbound),
        move |engine, object| {
            let (condition, ring) = (Arc::clone(&condition), ring.clone());
            let (round, next) = (Arc::clone(&round), next_poll(&engine, &schedule));
            async move {
                let progress = inbound(&engine, &object, &round, next).await?;
                condition.answered(&engine.standing());
                ring.reads.notify_waiters();
                ring.push.notify_waiters();
                Ok(progress)
            }
        },
    );
    let condition = Arc::clone(&all.condition);
    object_loop(
        tasks,
        all,
        ("reads", TO_READ),
        (name, &errors),
        Arc::clone(&bells.reads),
        move |engine, object| {
            let condition = Arc::clone(&condition);
            async move {
                let read = reads::step(&engine, &object).await?;
                if read == Progress::More {
                    condition.answered(&engine.standing());
                    return Ok(read);
                }
                Ok(read.or(removal::step(&engine, &object).await?))
            }
        },
    );
    let condition = Arc::clone(&all.condition);
    let ring = bells.clone();
    object_loop(
        tasks,
        all,
        ("push", TO_PUSH),
        (name, &errors),
        Arc::clone(&bells.push),
        move |engine, object| {
            let (condition, ring) = (Arc::clone(&condition), ring.clone());
            async move {
                let progress = push::step(&engine, &object).await?;
                if progress == Progress::More {
                    condition.answered(&engine.standing());
                    // A push that met a conflict or a missing record waits for the read that it asked for.
                    ring.reads.notify_waiters();
                    ring.looks.notify_waiters();
                }
                Ok(progress)
            }
        },
    );
    object_loop(
        tasks,
        all,
        ("looks", TO_READ),
        (name, &errors),
        Arc::clone(&bells.looks),
        |engine, object| async move { gap::step(&engine, &object, Looks::Due).await },
    );
    let schedule = config.poll.reconcile.clone();
    let ring = bells.clone();
    let began = Arc::new(AtomicI64::new(i64::MIN));
    object_loop(
        tasks,
        all,
        ("comparison", TO_READ),
        (name, &errors),
        Arc::new(Notify::new()),
        move |engine, object| {
            let (schedule, ring, began) = (schedule.clone(), ring.clone(), Arc::clone(&began));
            async move {
                let progress = comparison(&engine, &object, &schedule, &began).await?;
                ring.reads.notify_waiters();
                Ok(progress)
            }
        },
    );
}

fn object_loop<S, F>(
    tasks: &mut JoinSet<Result<(), StepError>>,
    all: &Loop,
    (task, needs): (&'static str, &'static [Access]),
    (name, errors): (&ObjectType, &Arc<Errors>),
    ring: Arc<Notify>,
    mut step: S,
) where
    S: FnMut(Arc<Engine>, Arc<ObjectSync>) -> F + Send + 'static,
    F: Future<Output = Result<Progress, StepError>> + Send + 'static,
{
    let name = name.clone();
    let errors = Arc::clone(errors);
    let whole = move |engine: Arc<Engine>| {
        let object = engine.object(&name);
        let work = object.map(|object| step(Arc::clone(&engine), object));
        let (name, errors) = (name.clone(), Arc::clone(&errors));
        async move {
            let Some(work) = work else {
                return Ok(Progress::RING);
            };
            let done = access::within(&engine, &name, needs, work).await;
            if done.as_ref().is_err_and(is_stopping) {
                return done;
            }
            if let Some(words) =
                errors.note(task, done.as_ref().err().map(|error| with_causes(error)))
            {
                note_error(&engine, &name, words).await;
            }
            done
        }
    };
    tasks.spawn(all.clone().run(task, ring, Duration::MAX, whole));
}

/// What keeps failing of one object, by task: what one of them does well ends no error of another.
#[derive(Debug, Default)]
struct Errors(Mutex<Failing>);

#[derive(Debug, Default)]
struct Failing {
    by_task: BTreeMap<&'static str, String>,
    told: Told,
}

/// What `sync_status` says of an object's errors.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Told {
    /// What the last run left there.
    #[default]
    Former,
    /// None.
    Well,
    /// These words.
    Failing(String),
}

impl Errors {
    /// How a task's step ended. Gives what is to be told, where that is news.
    fn note(&self, task: &'static str, words: Option<String>) -> Option<Told> {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match words {
            Some(words) => drop(failing.by_task.insert(task, words)),
            None => drop(failing.by_task.remove(task)),
        }
        let words: BTreeSet<&str> = failing.by_task.values().map(String::as_str).collect();
        let words = words.into_iter().collect::<Vec<_>>().join("; ");
        let all = match words.as_str() {
            "" => Told::Well,
            _ => Told::Failing(words),
        };
        let is_news = failing.told != all;
        failing.told = all.clone();
        is_news.then_some(all)
    }
}

/// Keeps the words of an object's errors where `sync_status` shows them, and forgets them when they are over.
async fn note_error(engine: &Engine, name: &ObjectType, told: Told) {
    let name = name.clone();
    let words = match told {
        Told::Former | Told::Well => None,
        Told::Failing(words) => Some(words),
    };
    let noted = engine
        .store()
        .write(Lane::Bulk, move |tx| {
            cursors::set_error(tx, &name, words.as_deref())
        })
        .await;
    if let Err(failed) = noted {
        tracing::warn!(error = %failed, "the last error could not be noted");
    }
}

/// Where an object's round of walks stands: the poll, then each of the walks again.
#[derive(Debug, Default)]
struct Round {
    /// When the next round is due, in milliseconds since 1970.
    due: AtomicI64,
    /// How many walks of this round are done.
    walked: AtomicUsize,
}

/// Backfill until it is done; then, when they are due, the poll and the walks again, one page a step; then nothing until
/// `next`.
async fn inbound(
    engine: &Engine,
    object: &ObjectSync,
    round: &Round,
    next: Timestamp,
) -> Result<Progress, StepError> {
    if backfill::step(engine, object).await? == Progress::More {
        return Ok(Progress::More);
    }
    // Never later than a whole interval from now, also after the wall clock was set back.
    let due = Timestamp::from_millis(round.due.load(Ordering::Relaxed)).min(next);
    if engine.clock().now() < due {
        round.due.store(due.millis(), Ordering::Relaxed);
        return Ok(Progress::Idle { until: Some(due) });
    }
    let (walked, again) = (round.walked.load(Ordering::Relaxed), engine.again());
    let walk = match walked.checked_sub(1).map(|index| again.get(index)) {
        None => poll::step(engine, object).await?,
        Some(Some(delay)) => poll::step_again(engine, object, *delay).await?,
        Some(None) => {
            round.due.store(next.millis(), Ordering::Relaxed);
            round.walked.store(0, Ordering::Relaxed);
            return Ok(Progress::Idle { until: Some(next) });
        }
    };
    if walk != Progress::More {
        round.walked.store(walked + 1, Ordering::Relaxed);
    }
    Ok(Progress::More)
}

/// New columns first, then the full comparison when it is due. `began` keeps when the last one began, in milliseconds
/// since 1970, so that what a cron expression named while it ran is met as soon as it has ended.
async fn comparison(
    engine: &Engine,
    object: &ObjectSync,
    schedule: &Schedule,
    began: &AtomicI64,
) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let cursor = engine
        .store()
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    if cursor.backfill != Backfill::Done {
        return Ok(Progress::Idle {
            until: Some(engine.clock().now() + DECISIONS),
        });
    }
    if filling::step(engine, object).await? == Progress::More {
        return Ok(Progress::More);
    }
    let now = engine.clock().now();
    if let Some(started) = cursor.reconcile_started_at {
        began.store(started.millis(), Ordering::Relaxed);
        return Ok(match reconcile::step(engine, object).await? {
            Progress::More => Progress::More,
            // The next one may be due already.
            Progress::Idle { .. } => Progress::Idle { until: Some(now) },
        });
    }
    // A time that is still to come was written by a clock that was ahead: nobody knows when it really was.
    let ended = cursor
        .last_reconcile_at
        .or(cursor.backfill_started_at)
        .filter(|ended| *ended <= latest_due(now));
    match ended.map(|ended| next_comparison(schedule, ended, began.load(Ordering::Relaxed), now)) {
        Some(next) if next > now => Ok(Progress::Idle { until: Some(next) }),
        Some(_) | None => {
            reconcile::begin(engine, object).await?;
            Ok(Progress::More)
        }
    }
}

/// When the next comparison is due: a duration counts from the end of the last one, an expression from its beginning.
fn next_comparison(
    schedule: &Schedule,
    ended: Timestamp,
    began_ms: i64,
    now: Timestamp,
) -> Timestamp {
    let last = match schedule {
        Schedule::Cron(_) if began_ms != i64::MIN => Timestamp::from_millis(began_ms),
        Schedule::Cron(_) | Schedule::Every(_) => ended,
    };
    // A clock that was set back must not put it off.
    schedule.next(last.min(now))
}

async fn wait_for_end(
    tasks: &mut JoinSet<Result<(), StepError>>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Ok(Ok(())) | Err(_)) | None => Err(RunError::Task),
        },
    }
}

/// Stops in order: no new steps, running ones end and write what they learnt, leases are returned, the file is closed.
async fn finish(
    all: &Loop,
    mut tasks: JoinSet<Result<(), StepError>>,
    listeners: Listeners,
    systemd: &Systemd,
    ended: Result<(), RunError>,
) -> Result<(), RunError> {
    systemd.stopping();
    all.stop.cancel();
    let engine = &all.engine;
    // What was sent is waited for; nothing new is.
    engine.client().limiter().close();
    if ended.is_ok() {
        tracing::info!("stopping");
        heartbeat::set_phase(engine, Phase::Stopping).await?;
    }
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_ok();
    if let Some(health) = listeners.health {
        health.abort();
    }
    if let Some(deliveries) = listeners.deliveries {
        deliveries.ended().await;
    }
    if !drained {
        tracing::warn!(
            "some steps did not end in time; what they had in flight is looked at again at the next start"
        );
    }
    if let Err(error) = ended {
        heartbeat::end_failed(engine.store(), with_causes(&error)).await;
        return Err(error);
    }
    heartbeat::beat(engine, &all.condition).await?;
    let limiter = engine.client().limiter();
    let (unsent, recent) = (limiter.unused_lease(), limiter.recent());
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            quota::end_leases(tx, unsent, &recent)?;
            crate::store::meta::set_phase(tx, Phase::Stopped, tx.now())
        })
        .await?;
    tracing::info!(drained, "stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schedule;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(&format!("2026-11-24T{text}Z")).expect("a moment")
    }

    #[test]
    fn what_one_task_does_well_ends_no_error_of_another() {
        let errors = Errors::default();
        let said = |words: &str| Some(words.to_owned());
        let told = |words: &str| Some(Told::Failing(words.to_owned()));
        assert_eq!(errors.note("inbound", None), Some(Told::Well), "over");
        assert_eq!(errors.note("inbound", None), None);
        assert_eq!(errors.note("push", said("refused")), told("refused"));
        assert_eq!(errors.note("inbound", None), None);
        assert_eq!(errors.note("push", said("refused")), None);
        assert_eq!(errors.note("reads", said("lost")), told("lost; refused"));
        assert_eq!(errors.note("push", None), told("lost"));
        assert_eq!(errors.note("reads", None), Some(Told::Well));
    }

    #[test]
    fn a_comparisons_cron_is_met_to_the_second_or_as_soon_as_the_one_before_has_ended() {
        let cron = Schedule::parse("*/10 * * * * *", chrono_tz::Tz::UTC).expect("an expression");
        let next = |ended: &str, began: Option<&str>, now: &str| {
            let began = began.map_or(i64::MIN, |began| at(began).millis());
            next_comparison(&cron, at(ended), began, at(now))
        };
        // Ended before the next tick.
        assert_eq!(
            next("03:00:04", Some("03:00:00"), "03:00:04"),
            at("03:00:10")
        );
        // It took longer than the time between two ticks: one is due.
        assert_eq!(
            next("03:00:14", Some("03:00:00"), "03:00:14"),
            at("03:00:10")
        );
        // After a start only the end is known.
        assert_eq!(next("03:00:14", None, "03:00:15"), at("03:00:20"));
        // The clock was set back by hours.
        assert_eq!(
            next("09:00:00", Some("09:00:00"), "03:00:15"),
            at("03:00:20")
        );
        let every = Schedule::parse("5s", chrono_tz::Tz::UTC).expect("a duration");
        let from = next_comparison(
            &every,
            at("03:00:04"),
            at("03:00:00").millis(),
            at("03:00:05"),
        );
        assert_eq!(from, at("03:00:09"));
    }
}
