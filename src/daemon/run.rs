//! `hubsyncd run`: starts the tasks, waits for the stop, drains in order.

pub(crate) mod opening;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::login::{LoginError, keeper_of};
use crate::config::{Auth, Config};
use crate::daemon::bells::{AFTER_A_COMMIT, Bell, Bells};
use crate::daemon::build::StartError;
use crate::daemon::condition::{Condition, Source};
use crate::daemon::heartbeat;
use crate::daemon::listeners::Listeners;
use crate::daemon::reload::{AtWork, FileEvent, MappingFile, Reload};
use crate::daemon::settings::{InForce, TaskSettings};
use crate::daemon::systemd::Systemd;
use crate::daemon::table::{Begins, Parts};
use crate::daemon::tasks::{Loop, Tasks, is_fatal, wait_after_failure, with_causes};
use crate::decide::round::{Step, Task};
use crate::engine::decisions::orders;
use crate::engine::portal::schema;
use crate::engine::portal::tokens::{self, Keeper};
use crate::engine::source::reconcile;
use crate::engine::{Engine, StepError};
use crate::http::health::Health;
use crate::http::tls::TlsError;
use crate::hubspot::NO_TOKEN_YET;
use crate::store::database::watch::Watch;
use crate::store::measured::working;
use crate::store::meta::Phase;
use crate::store::{Lane, StoreError, quota};

/// How long running steps may take to finish after a stop.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A step met what no retry mends.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A listener.
    #[error("can't listen on {address}")]
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
    pub(crate) fn is_configuration(&self) -> bool {
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
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Start(error) => error.hint(),
            Self::Step(error) => error.hint().map(Cow::into_owned),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Listen { section, .. } => Some(format!(
                "give `[{section}].listen` an address of this machine whose port is free"
            )),
            Self::Login(error) => error.hint(),
            Self::Tls(_) => Some("check `tls` of `[webhooks]`".to_owned()),
            Self::Task => None,
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Start(error) => return error.code(),
            Self::Step(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Listen { .. } => "address-taken",
            Self::Login(error) => return error.code(),
            Self::Tls(_) => "bad-certificate",
            Self::Task => "task-ended",
        })
    }
}

/// Runs an engine until `stop`. `Ok` also after a drain that missed its deadline.
pub(crate) async fn run_engine(
    config: &Config,
    engine: Arc<Engine>,
    stop: CancellationToken,
    file: Option<MappingFile>,
) -> Result<(), RunError> {
    let all = Loop {
        engine,
        condition: Arc::new(Condition::default()),
        stop: CancellationToken::new(),
    };
    let mut tasks = Tasks::new(all.clone());
    let (health, told) = watch::channel(Health::starting());
    let bells = Bells::new(&all.condition);
    let taken = (Arc::clone(&all.engine), Arc::clone(bells.of(Bell::Inbox)));
    let mut listeners = Listeners::new(told, taken, all.stop.clone());
    let mut at = AtWork {
        parts: Parts {
            systemd: Arc::new(Systemd::from_env()),
            health: Arc::new(health),
            ..parts(config, &all, &bells)
        },
        all: &all,
        tasks: &mut tasks,
        listeners: &mut listeners,
        has_begun: false,
    };
    let mut reload = Reload::new(config, file);
    // It is large, and lives as long as the daemon.
    let ended = Box::pin(work(config, &mut at, &mut reload, &stop)).await;
    let systemd = Arc::clone(&at.parts.systemd);
    finish(&all, tasks, listeners, &systemd, ended).await
}

/// Starts everything, and waits for the end.
async fn work(
    config: &Config,
    at: &mut AtWork<'_>,
    reload: &mut Reload,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let engine = Arc::clone(&at.all.engine);
    let ready = at.listeners.prepare(config, true).await?;
    at.listeners.exchange(ready).await;
    at.parts.keeper = keeper(config, &engine).await?;
    at.start(Begins::AtOnce);
    wait_for_token(&engine).await;
    // To wait for HubSpot is a state and no failed start: local writes and webhooks are taken from here on.
    at.parts.systemd.ready();
    if !start(at, reload, stop).await? {
        return Ok(());
    }
    let bells = at.parts.bells.clone();
    let watch = Watch::new(engine.store().path(), move || {
        bells.ring(&AFTER_A_COMMIT);
    })?;
    at.has_begun = true;
    at.start(Begins::WithTheSchema);
    tracing::info!(portal_objects = engine.objects().iter().count(), "running");
    let ended = wait_for_end(at, reload, stop).await;
    drop(watch);
    ended
}

/// What the file says to the tasks; nobody else is told how they do.
pub(super) fn parts(config: &Config, all: &Loop, bells: &Bells) -> Parts {
    Parts {
        all: all.clone(),
        bells: bells.clone(),
        settings: InForce::of(&all.engine, TaskSettings::from(config)),
        webhooks: config.webhooks.is_some(),
        keeper: None,
        systemd: Arc::default(),
        health: Arc::new(watch::channel(Health::starting()).0),
    }
}

/// Reads the schema, as often as it takes, of the mapping file as it is. `false`: stopped before that. The chores run meanwhile,
/// and one that ends (the file was removed or replaced) ends the start.
async fn start(
    at: &mut AtWork<'_>,
    reload: &mut Reload,
    stop: &CancellationToken,
) -> Result<bool, RunError> {
    let all = at.all;
    let mut begun = pin!(begin(all));
    loop {
        let event = tokio::select! {
            read = &mut begun => {
                let Err(error) = read else {
                    reload.has_begun(at);
                    return Ok(true);
                };
                reload.fall_back(error, at).await?;
                begun.set(begin(all));
                continue;
            }
            event = next_event(at, reload, stop) => event?,
        };
        let Some(event) = event else {
            return Ok(false);
        };
        let before = reload.times_in_force();
        reload.handle(event, at).await?;
        // A read that is dropped half-way has changed nothing. One by a file that stays in force goes on.
        if reload.times_in_force() > before {
            begun.set(begin(all));
        }
    }
}

/// What comes before the tasks of objects: the portal's schema, as often as it has to be asked for.
///
/// # Errors
/// What no retry mends.
pub async fn begin(all: &Loop) -> Result<(), StepError> {
    let mut failures = 0;
    let source = Source::Loop(Task::Schema.into());
    loop {
        match begin_once(&all.engine).await {
            Ok(()) => {
                all.condition.went_well(&source);
                all.condition.answered(&all.engine.standing());
                break;
            }
            Err(error) if is_fatal(&error) || error.is_configuration() => return Err(error),
            Err(error) => {
                failures += 1;
                all.condition.failed(&source, &error);
                all.condition.stands(&all.engine.standing());
                let wait = wait_after_failure(&all.engine, &error, failures);
                tracing::warn!(error = %with_causes(&error), hint = error.hint().as_deref(), code = error.code(), wait_ms = wait.as_millis() as u64, "the portal's schema could not be read");
                all.engine.clock().sleep(wait).await;
            }
        }
    }
    all.condition.schema_read();
    Ok(())
}

/// One try of it, which can be made again from its beginning.
async fn begin_once(engine: &Engine) -> Result<(), StepError> {
    working(Step::Schema.work(), schema::refresh(engine)).await?;
    for object in engine.objects().iter() {
        reconcile::begin_if_behind(engine, object).await?;
    }
    orders::settle_pauses(engine).await?;
    heartbeat::set_phase(engine, Phase::Running).await
}

/// How long the start waits for the token's first look.
const FIRST_LOOKS: u32 = 100;

const BETWEEN_FIRST_LOOKS: Duration = Duration::from_millis(20);

/// The keeper of an OAuth app's token, where its key is the one of the last login.
pub(super) async fn keeper(
    config: &Config,
    engine: &Engine,
) -> Result<Option<Arc<Keeper>>, LoginError> {
    let Auth::OAuth(oauth) = &config.auth else {
        return Ok(None);
    };
    let keeper = Arc::new(keeper_of(oauth)?);
    tokens::check_key(engine, &keeper).await??;
    Ok(Some(keeper))
}

/// Waits for the first look at the token, which decides whether anything can be asked at all.
pub(super) async fn wait_for_token(engine: &Engine) {
    for _ in 0..FIRST_LOOKS {
        if engine.client().logged_out_because().as_deref() != Some(NO_TOKEN_YET) {
            break;
        }
        engine.clock().sleep(BETWEEN_FIRST_LOOKS).await;
    }
}

/// Goes by the mapping file as it is until the stop.
async fn wait_for_end(
    at: &mut AtWork<'_>,
    reload: &mut Reload,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    while let Some(event) = next_event(at, reload, stop).await? {
        tokio::select! {
            biased;
            // What is dropped half-way the next start finds: the mirror fits one mapping or the other.
            () = stop.cancelled() => break,
            done = reload.handle(event, at) => done?,
        }
    }
    Ok(())
}

/// What happens to the mapping file; `None`: the stop was asked for.
async fn next_event(
    at: &mut AtWork<'_>,
    reload: &mut Reload,
    stop: &CancellationToken,
) -> Result<Option<FileEvent>, RunError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        ended = at.tasks.ended() => match ended {
            Some(Ok((_, Err(error)))) => Err(error.into()),
            Some(Ok((_, Ok(()))) | Err(_)) | None => Err(RunError::Task),
        },
        event = reload.next(&at.all.engine) => Ok(Some(event)),
    }
}

/// Stops in order: no new steps, running ones end and write what they learnt, leases are returned, the file is closed.
async fn finish(
    all: &Loop,
    mut tasks: Tasks,
    mut listeners: Listeners,
    systemd: &Systemd,
    ended: Result<(), RunError>,
) -> Result<(), RunError> {
    systemd.stopping();
    listeners.shut();
    all.stop.cancel();
    let engine = &all.engine;
    // What was sent is waited for; nothing new is.
    engine.client().limiter().close();
    // A program that holds the write lock keeps the end waiting for no longer than a step does.
    engine
        .store()
        .wait_until(engine.clock().monotonic() + DRAIN);
    let is_asked = ended.is_ok();
    let tell = async {
        if is_asked {
            tracing::info!("stopping");
            // Whatever keeps this from being written meets the last write too.
            drop(heartbeat::set_phase(engine, Phase::Stopping).await);
        }
    };
    let drain = async { while tasks.ended().await.is_some() {} };
    let ((), drained) = tokio::join!(tell, tokio::time::timeout(DRAIN, drain));
    let drained = drained.is_ok();
    listeners.ended().await;
    if !drained {
        tracing::warn!(
            "some steps did not end in time; what they had in flight is looked at again at the next start"
        );
    }
    if let Err(error) = ended {
        heartbeat::end_failed(engine.store(), with_causes(&error), error.code()).await;
        return Err(error);
    }
    match write_end(engine, &all.condition).await {
        Ok(()) => tracing::info!(drained, "stopped"),
        Err(StepError::Store(error @ StoreError::Busy(_))) => {
            tracing::warn!(%error, hint = error.hint(), code = error.code(), drained, "stopped, and the end could not be written down; nothing is lost");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Says how it went, and gives back what was leased and not sent.
pub(super) async fn write_end(engine: &Engine, condition: &Condition) -> Result<(), StepError> {
    heartbeat::write_calls(engine).await?;
    heartbeat::beat(engine, condition).await?;
    let limiter = engine.client().limiter();
    let (unsent, recent) = (limiter.unused_lease(), limiter.recent());
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            quota::end_leases(tx, unsent, &recent)?;
            crate::store::meta::set_phase(tx, Phase::Stopped, tx.now())
        })
        .await?;
    Ok(())
}
