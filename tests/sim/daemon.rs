//! The daemon in the simulation: its parts are built on the world's clock and wire, and the loops are those that ship.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use hubsyncd::clock::Clock;
use hubsyncd::config::{PollRhythm, PollSettings, Schedule};
use hubsyncd::daemon::bells::{AFTER_A_COMMIT, Bell, Bells, Ring};
use hubsyncd::daemon::build::lease_from;
use hubsyncd::daemon::condition::Condition;
use hubsyncd::daemon::run;
use hubsyncd::daemon::settings::{InForce, TaskSettings};
use hubsyncd::daemon::table::{self, Begins, Parts};
use hubsyncd::daemon::tasks::{Job, Loop, is_fatal};
use hubsyncd::decide::quota::LimitSettings;
use hubsyncd::decide::round::Task;
use hubsyncd::engine::outbound::settle;
use hubsyncd::engine::source::{deliveries, receive, reconcile};
use hubsyncd::engine::{Engine, Progress, Settings, StepError};
use hubsyncd::http::health::Health;
use hubsyncd::hubspot::Client;
use hubsyncd::hubspot::call::limiter::{Limiter, StartState};
use hubsyncd::hubspot::webhook;
use hubsyncd::model::settings::{ApiVersion, Checkpoint, Limits, Tier};
use hubsyncd::simulator::settings::DEFAULT_TOKEN;
use hubsyncd::store::calls::ring::KeepCalls;
use hubsyncd::store::retention::Keep;
use hubsyncd::store::{Lane, Mode, OpenOptions, Store, StoreError, meta, quota};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::executor::{Door, Executor, GiveWay, at_once};
use crate::plan::Plan;
use crate::world::{Sleep, VirtualClock, Wire, World};

/// How often a step may say in a row that something was due in the past.
const MOST_IDLE_IN_THE_PAST: u32 = 400;
/// Requests a second where no pace is to keep them apart.
const UNPACED: f64 = 1_000.0;
/// Between two looks for what HubSpot has to deliver.
const DELIVERIES: Duration = Duration::from_millis(250);
/// Nothing that a run writes down is forgotten in it.
const KEPT: Duration = Duration::from_hours(24 * 365);

/// With what a daemon begins.
pub(crate) struct Begun {
    /// The tasks whose loops are started.
    pub(crate) wanted: fn(Task) -> bool,
    /// Who has read the portal's schema before.
    pub(crate) knows: Option<Arc<Engine>>,
}

impl Default for Begun {
    fn default() -> Self {
        Self {
            wanted: |_task| true,
            knows: None,
        }
    }
}

/// One run of the daemon, from start to kill.
pub(crate) struct Daemon {
    engine: Arc<Engine>,
    bells: Bells,
    /// What ends the waits of comparisons, for which nobody else rings.
    comparisons: Comparisons,
}

type Comparisons = Arc<Mutex<Vec<Arc<Ring>>>>;

impl Daemon {
    /// Opens the file, recovers, and starts the loops.
    pub(crate) fn start(
        plan: &Plan,
        world: &Arc<World>,
        path: &Path,
        executor: &mut Executor,
    ) -> Result<Self, StoreError> {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(Arc::clone(world)));
        let options = OpenOptions {
            path: path.to_owned(),
            mode: Mode::Inline,
            // Whoever holds the lock holds it for virtual time: waiting for it is no use.
            busy_timeout: Duration::from_millis(1),
            checkpoint: Checkpoint::Own,
        };
        let store = Store::open(&options, clock)?;
        Self::on(plan, world, store, executor, &Begun::default())
    }

    /// Recovers on an open file, and starts the loops.
    pub(crate) fn on(
        plan: &Plan,
        world: &Arc<World>,
        store: Store,
        executor: &mut Executor,
        with: &Begun,
    ) -> Result<Self, StoreError> {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(Arc::clone(world)));
        let engine = Arc::new(at_once(join(plan, world, store, clock))?);
        if let Some(former) = &with.knows {
            engine.knows_the_portal_from(former);
        }
        let parts = parts(plan, &engine);
        let (bells, door) = (parts.bells.clone(), executor.door());
        if parts.webhooks {
            at_once(deliveries::remember(&engine)).expect("a read of the file");
            engine.deliveries().open(engine.clock().now());
            let hubspot = deliver(Arc::clone(world), Arc::clone(&engine), bells.clone());
            door.spawn("webhooks", hubspot.boxed());
        }
        for job in table::jobs(&parts, Begins::AtOnce) {
            if (with.wanted)(job.name.task) {
                spawn(&parts, job, world, &door);
            }
        }
        let comparisons = Comparisons::default();
        let begin = begin(
            parts,
            Arc::clone(world),
            door.clone(),
            Arc::clone(&comparisons),
            with.wanted,
        );
        door.spawn("start", begin.boxed());
        Ok(Self {
            engine,
            bells,
            comparisons,
        })
    }

    /// The engine, for another one that need not ask for what this one knows.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Another program has committed.
    pub(crate) fn committed(&self) {
        self.bells.ring(&AFTER_A_COMMIT);
    }

    /// Begins a full comparison of every object; `false`: they are not all in force yet.
    pub(crate) fn compare(&self) -> bool {
        let objects = self.engine.objects();
        let all = objects.iter().count() == self.engine.mapping().objects.len();
        for object in objects.iter().filter(|_| all) {
            at_once(reconcile::begin(&self.engine, object)).expect("a write to the file");
        }
        for ring in self.comparisons.lock().expect("no panic").iter() {
            ring.ring();
        }
        all
    }

    /// Closes the file; whatever was in flight is lost.
    pub(crate) fn kill(self) {
        drop(self.engine);
    }
}

/// The version of HubSpot's API that a seed speaks. `HUBSYNC_API_VERSION` is another.
fn version_of(seed: u64) -> ApiVersion {
    let named = std::env::var("HUBSYNC_API_VERSION").ok();
    let named = named.as_deref().and_then(ApiVersion::parse);
    named.unwrap_or(ApiVersion::ALL[(seed % 3) as usize])
}

/// What a configuration would say, drawn from the seed.
fn parts(plan: &Plan, engine: &Arc<Engine>) -> Parts {
    let condition = Arc::new(Condition::default());
    Parts {
        bells: Bells::new(&condition),
        all: Loop {
            engine: Arc::clone(engine),
            condition,
            stop: CancellationToken::new(),
        },
        settings: InForce::of(
            engine,
            TaskSettings {
                poll: PollSettings {
                    poll: PollRhythm::of(Schedule::Every(plan.poll)),
                    objects: Vec::new(),
                    reconcile: Schedule::Every(plan.reconcile),
                    timezone: chrono_tz::Tz::UTC,
                    overlap: plan.overlap,
                    again: plan.again.clone(),
                    poll_with_webhooks: relaxed(plan),
                    reference: Duration::from_hours(1),
                    associations: Duration::from_hours(24),
                },
                keep: Keep {
                    history: KEPT,
                    inbox: KEPT,
                    runs: KEPT,
                    max_bytes: 0,
                },
                keep_calls: KeepCalls {
                    calls: KEPT,
                    errors: KEPT,
                },
            },
        ),
        webhooks: plan.settings.webhooks.is_some(),
        keeper: None,
        systemd: Arc::default(),
        health: Arc::new(watch::channel(Health::starting()).0),
    }
}

fn relaxed(plan: &Plan) -> Duration {
    plan.poll * 3
}

/// Reads the schema, and starts the loops that wait for it.
async fn begin(
    parts: Parts,
    world: Arc<World>,
    door: Door,
    comparisons: Comparisons,
    wanted: fn(Task) -> bool,
) {
    if !parts.all.engine.objects().is_empty() {
        // Another engine has read the schema.
        parts.all.condition.schema_read();
    } else if let Err(error) = run::begin(&parts.all).await {
        ended(&world, "the start", &error);
        return;
    }
    let jobs = table::jobs(&parts, Begins::WithTheSchema).into_iter();
    for job in jobs.filter(|job| wanted(job.name.task)) {
        if job.name.task == Task::Comparison {
            let ring = Arc::clone(&job.ring);
            comparisons.lock().expect("no panic").push(ring);
        }
        spawn(&parts, job, &world, &door);
    }
}

fn spawn(parts: &Parts, job: Job, world: &Arc<World>, door: &Door) {
    let (name, world) = (job.name.to_string(), Arc::clone(world));
    let runs = parts.all.clone().run(watched(job, &world));
    let own = name.clone();
    let whole = async move {
        if let Err(error) = runs.await {
            ended(&world, &own, &error);
        }
    };
    door.spawn(&name, whole.boxed());
}

fn ended(world: &World, task: &str, error: &StepError) {
    let what = format!("{task} met an error that no retry mends: {error}");
    let mut state = world.state();
    match &mut state.ends {
        Some(ends) => ends.push(what),
        None => state.breaks(what),
    }
}

/// The job, with each of its turns judged, and with a chance for the others after it.
fn watched(mut job: Job, world: &Arc<World>) -> Job {
    let (name, world) = (job.name.to_string(), Arc::clone(world));
    let in_the_past = Arc::new(AtomicU32::new(0));
    let mut step = job.step;
    job.step = Box::new(move |engine, ends| {
        let turn = step(Arc::clone(&engine), ends);
        let (name, world, in_the_past) =
            (name.clone(), Arc::clone(&world), Arc::clone(&in_the_past));
        async move {
            let done = turn.await;
            match &done {
                Ok(Progress::Idle { until: Some(until) }) if *until <= engine.clock().now() => {
                    if in_the_past.fetch_add(1, Ordering::Relaxed) == MOST_IDLE_IN_THE_PAST {
                        world.state().breaks(format!(
                            "{name} is idle and says again and again that something is due"
                        ));
                    }
                }
                Ok(Progress::Idle { .. }) => in_the_past.store(0, Ordering::Relaxed),
                Ok(Progress::More) => {}
                Err(error) => failed(&world, &name, error),
            }
            GiveWay::default().await;
            done
        }
        .boxed()
    });
    job
}

/// A failure is HubSpot's, or a bug.
fn failed(world: &World, task: &str, error: &StepError) {
    world.note(&format!("{task} failed: {error}"));
    let is_locked = world.state().locked;
    if is_fatal(error) || (matches!(error, StepError::Store(_)) && !is_locked) {
        ended(world, task, error);
    }
}

/// What the listener does: takes deliveries as they come; what is not stored is sent again.
async fn deliver(world: Arc<World>, engine: Arc<Engine>, bells: Bells) {
    loop {
        let body = {
            let mut state = world.state();
            let now = state.true_ms();
            state.portal.take_events(now)
        };
        let Some(body) = body else {
            Sleep::new(&world, DELIVERIES).await;
            continue;
        };
        let text = serde_json::Value::from(body).to_string();
        world.note(&format!("HubSpot announces {text}"));
        let events = webhook::parse(text.as_bytes()).expect("events");
        // Before the portal is known HubSpot would send them again; here polling finds what they said.
        match receive::receive(&engine, events).await {
            Ok(_) => bells.ring(&[Bell::Inbox]),
            Err(error) => {
                failed(&world, "webhooks", &error);
                Sleep::new(&world, DELIVERIES).await;
            }
        }
        GiveWay::default().await;
    }
}

async fn join(
    plan: &Plan,
    world: &Arc<World>,
    store: Store,
    clock: Arc<dyn Clock>,
) -> Result<Engine, StoreError> {
    let now = clock.now();
    let start = store
        .write(Lane::Interactive, move |tx| {
            meta::begin_daemon(tx, "sim", now)?;
            settle::recover(tx, now)?;
            quota::start_state(tx, now)
        })
        .await?;
    let zone = store
        .read(|connection| meta::get(connection, "time_zone"))
        .await?;
    let start = StartState {
        recent: start.recent,
        day: start.day,
        day_used: start.day_used,
        day_limit: start.day_limit,
        day_resets_at: start.day_resets_at,
        time_zone: zone.clone(),
    };
    let limits = Limits {
        burst_per_10_seconds: plan.narrow,
        per_second: plan.narrow.filter(|_| plan.unpaced).map(|_| UNPACED),
        ..Limits::default()
    };
    let settings = LimitSettings::new(&limits, Tier::Professional);
    let limiter = Limiter::new(settings, Arc::clone(&clock), lease_from(&store), &start);
    if let Some(zone) = zone {
        limiter.set_time_zone(&zone);
    }
    let token = SecretString::from(DEFAULT_TOKEN);
    let seed = plan.seed ^ (world.state().incarnation << 32);
    let client = Client::new(
        Arc::new(Wire(Arc::clone(world))),
        limiter,
        Arc::clone(&clock),
        &token,
        version_of(plan.seed),
    );
    let client = client.expect("the token fits in a header").with_seed(seed);
    let settings = Settings {
        portal: None,
        overlap: plan.overlap,
        again: plan.again.clone(),
        guard: plan.guard,
        relaxed_poll: plan.settings.webhooks.is_some().then(|| relaxed(plan)),
        associations: Duration::from_hours(24),
    };
    Ok(Engine::new(
        store,
        client,
        clock,
        Arc::new(plan.mapping.clone()),
        settings,
        seed,
    ))
}
