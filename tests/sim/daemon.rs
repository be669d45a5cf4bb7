//! The daemon in the simulation: store, client, engine, and the loops of `daemon/run.rs` on virtual time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubsyncd::clock::Clock;
use hubsyncd::daemon::build::lease_from;
use hubsyncd::daemon::tasks::{is_fatal, wait_after_failure};
use hubsyncd::decide::quota::LimitSettings;
use hubsyncd::decide::retry::latest_due;
use hubsyncd::engine::inbound::removal;
use hubsyncd::engine::outbound::gap::{self, Looks};
use hubsyncd::engine::outbound::push;
use hubsyncd::engine::outbound::settle;
use hubsyncd::engine::people::resolve;
use hubsyncd::engine::portal::objects::ObjectSync;
use hubsyncd::engine::portal::schema;
use hubsyncd::engine::portal::schema::Refreshed;
use hubsyncd::engine::source::backfill;
use hubsyncd::engine::source::deliveries;
use hubsyncd::engine::source::filling;
use hubsyncd::engine::source::ingest;
use hubsyncd::engine::source::poll;
use hubsyncd::engine::source::reads;
use hubsyncd::engine::source::receive;
use hubsyncd::engine::source::reconcile;
use hubsyncd::engine::{Engine, Progress, Settings, StepError};
use hubsyncd::hubspot::Client;
use hubsyncd::hubspot::call::limiter::{Limiter, StartState};
use hubsyncd::hubspot::webhook;
use hubsyncd::model::name::ObjectType;
use hubsyncd::model::settings::{ApiVersion, Limits, Tier};
use hubsyncd::model::time::Timestamp;
use hubsyncd::simulator::settings::DEFAULT_TOKEN;
use hubsyncd::store::cursors::{self, Backfill};
use hubsyncd::store::{Lane, Mode, OpenOptions, Store, StoreError, meta, quota};
use secrecy::SecretString;

use crate::executor::{Executor, GiveWay, at_once};
use crate::plan::Plan;
use crate::world::{Sleep, VirtualClock, Wire, World};

/// The longest wait between two looks, as in the daemon.
const SLOW_LOOK: Duration = Duration::from_secs(30);
/// The shortest, as in the daemon.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);
/// How often a step may say in a row that something was due in the past.
const MOST_IDLE_IN_THE_PAST: u32 = 400;
/// Between two looks for deliveries.
const DELIVERIES: Duration = Duration::from_millis(250);
/// How often people's decisions are looked for.
const DECISIONS: Duration = Duration::from_secs(2);

/// Doorbells: a ring shortens a wait.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Mutex<Ringing>>);

#[derive(Default)]
struct Ringing {
    rings: u64,
    waker: Option<std::task::Waker>,
}

impl Bell {
    /// Rings.
    pub(crate) fn ring(&self) {
        let mut ringing = self.0.lock().expect("no panic");
        ringing.rings += 1;
        if let Some(waker) = ringing.waker.take() {
            waker.wake();
        }
    }

    fn rings(&self) -> u64 {
        self.0.lock().expect("no panic").rings
    }

    async fn wait(&self, seen: u64, mut sleep: Sleep) {
        std::future::poll_fn(|context| {
            let mut ringing = self.0.lock().expect("no panic");
            if ringing.rings != seen {
                return std::task::Poll::Ready(());
            }
            ringing.waker = Some(context.waker().clone());
            drop(ringing);
            std::pin::Pin::new(&mut sleep).poll(context)
        })
        .await;
    }
}

/// What makes comparisons and polls come early in the calm.
#[derive(Clone, Default)]
pub(crate) struct Bells {
    /// Local writes ring it.
    pub(crate) push: Bell,
    /// Asked reads ring it.
    pub(crate) reads: Bell,
    /// Stored events ring it.
    pub(crate) inbox: Bell,
    /// Pushes ring it.
    pub(crate) looks: Bell,
    /// Decisions ring it.
    pub(crate) decisions: Bell,
    /// The test asks for a full comparison.
    pub(crate) comparison: Bell,
    /// Objects whose comparison is asked for.
    pub(crate) wanted: Arc<Mutex<BTreeSet<ObjectType>>>,
}

/// One run of the daemon, from start to kill.
pub(crate) struct Daemon {
    /// The engine.
    pub(crate) engine: Arc<Engine>,
    /// The doorbells.
    pub(crate) bells: Bells,
}

#[derive(Clone)]
struct Hands {
    engine: Arc<Engine>,
    world: Arc<World>,
    bells: Bells,
    poll: Duration,
    reconcile: Duration,
}

impl Daemon {
    /// Opens the file, recovers, and spawns the loops.
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
            busy_timeout: Duration::from_millis(50),
        };
        let store = Store::open(&options, clock.clone())?;
        let engine = Arc::new(at_once(join(plan, world, store, clock))?);
        let bells = Bells::default();
        let hands = Hands {
            engine: Arc::clone(&engine),
            world: Arc::clone(world),
            bells: bells.clone(),
            poll: plan.poll,
            reconcile: plan.reconcile,
        };
        executor.spawn("schema", Box::pin(hands.clone().schema()));
        executor.spawn("decisions", Box::pin(hands.clone().decisions()));
        executor.spawn("chores", Box::pin(hands.clone().chores()));
        if plan.settings.webhooks.is_some() {
            executor.spawn("webhooks", Box::pin(hands.clone().webhooks()));
            executor.spawn("inbox", Box::pin(hands.clone().inbox()));
        }
        for object in &plan.mapping.objects {
            let name = object.object.clone();
            executor.spawn(
                &format!("inbound {name}"),
                Box::pin(hands.clone().inbound(name.clone())),
            );
            executor.spawn(
                &format!("reads {name}"),
                Box::pin(hands.clone().reads(name.clone())),
            );
            executor.spawn(
                &format!("push {name}"),
                Box::pin(hands.clone().push(name.clone())),
            );
            executor.spawn(
                &format!("looks {name}"),
                Box::pin(hands.clone().looks(name.clone())),
            );
            executor.spawn(
                &format!("comparison {name}"),
                Box::pin(hands.clone().comparison(name)),
            );
        }
        Ok(Self { engine, bells })
    }

    /// Closes the file; whatever was in flight is lost.
    pub(crate) fn kill(self) {
        drop(self.engine);
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
    let settings = LimitSettings::new(&Limits::default(), Tier::Professional);
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
        ApiVersion::default(),
    );
    let client = client.expect("the token fits in a header").with_seed(seed);
    let settings = Settings {
        portal: None,
        overlap: plan.overlap,
        again: plan.again.clone(),
        guard: plan.guard,
        relaxed_poll: plan.settings.webhooks.is_some().then_some(plan.poll * 3),
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

impl Hands {
    fn now(&self) -> Timestamp {
        self.engine.clock().now()
    }

    async fn sleep(&self, wait: Duration) {
        Sleep::new(&self.world, wait).await;
    }

    /// Notes a failure; how long to wait after it.
    fn failed(&self, task: &str, error: &StepError, failures: u32) -> Duration {
        self.world.note(&format!("{task} failed: {error}"));
        if is_fatal(error) || matches!(error, StepError::Store(_)) {
            self.world
                .state()
                .breaks(format!("{task} met an error that no retry mends: {error}"));
        }
        wait_after_failure(&self.engine, error, failures)
    }

    async fn run<S, F>(self, task: String, bell: Bell, mut step: S)
    where
        S: FnMut(Hands) -> F + Send,
        F: Future<Output = Result<Progress, StepError>> + Send,
    {
        let (mut failures, mut in_the_past) = (0, 0);
        loop {
            let seen = bell.rings();
            let until = match step(self.clone()).await {
                Ok(Progress::More) => {
                    failures = 0;
                    GiveWay::default().await;
                    continue;
                }
                Ok(Progress::Idle { until }) => {
                    failures = 0;
                    until
                }
                Err(error) => {
                    failures += 1;
                    let wait = self.failed(&task, &error, failures);
                    self.sleep(wait).await;
                    continue;
                }
            };
            let now = self.now();
            in_the_past = if until.is_some_and(|until| until <= now) {
                in_the_past + 1
            } else {
                0
            };
            if in_the_past > MOST_IDLE_IN_THE_PAST {
                self.world.state().breaks(format!(
                    "{task} is idle and says again and again that something is due"
                ));
            }
            let wait = until.map_or(SLOW_LOOK, |until| {
                until.since(now).clamp(SHORTEST_WAIT, SLOW_LOOK)
            });
            bell.wait(seen, Sleep::new(&self.world, wait)).await;
        }
    }

    async fn object(&self, name: &ObjectType) -> Arc<ObjectSync> {
        loop {
            if let Some(object) = self.engine.object(name) {
                return object;
            }
            self.sleep(Duration::from_millis(500)).await;
        }
    }

    async fn schema(self) {
        let mut first = true;
        self.clone()
            .run("schema".to_owned(), Bell::default(), move |hands| {
                let due = std::mem::take(&mut first) || hands.engine.has_kept_back();
                async move {
                    let soon = match due {
                        true => read_schema(&hands).await.soon,
                        false => None,
                    };
                    if let Some(error) = soon {
                        return Err(error.into());
                    }
                    Ok(Progress::Idle { until: None })
                }
            })
            .await;
    }

    async fn decisions(self) {
        let bell = self.bells.decisions.clone();
        self.run("decisions".to_owned(), bell, |hands| async move {
            let progress = resolve::step(&hands.engine).await?;
            if progress == Progress::More {
                hands.bells.push.ring();
                hands.bells.reads.ring();
                return Ok(progress);
            }
            Ok(Progress::Idle {
                until: Some(hands.now() + DECISIONS),
            })
        })
        .await;
    }

    async fn chores(self) {
        self.run("chores".to_owned(), Bell::default(), |hands| async move {
            hands.engine.store().check_file()?;
            if let Some(now) = hands.engine.time_borne_out() {
                resolve::forget(&hands.engine, now).await?;
            }
            Ok(Progress::Idle { until: None })
        })
        .await;
    }

    /// Takes deliveries as they come; what is not stored is sent again.
    async fn webhooks(self) {
        self.run("webhooks".to_owned(), Bell::default(), |hands| async move {
            let next = Progress::Idle {
                until: Some(hands.now() + DELIVERIES),
            };
            let body = {
                let mut state = hands.world.state();
                let now = state.true_ms();
                state.portal.take_events(now)
            };
            let Some(body) = body else {
                deliveries::look_for_missed(&hands.engine).await?;
                return Ok(next);
            };
            let text = serde_json::Value::from(body).to_string();
            hands.world.note(&format!("HubSpot announces {text}"));
            let events = webhook::parse(text.as_bytes()).expect("events");
            // Before the portal is known HubSpot would send them again; here polling finds what they said.
            receive::receive(&hands.engine, events).await?;
            hands.bells.inbox.ring();
            Ok(Progress::More)
        })
        .await;
    }

    async fn inbox(self) {
        let bell = self.bells.inbox.clone();
        self.run("inbox".to_owned(), bell, |hands| async move {
            if hands.engine.objects().is_empty() {
                return Ok(Progress::Idle {
                    until: Some(hands.now() + DECISIONS),
                });
            }
            let progress = ingest::step(&hands.engine).await?;
            hands.bells.reads.ring();
            Ok(progress)
        })
        .await;
    }

    async fn inbound(self, name: ObjectType) {
        self.object(&name).await;
        let mut next_poll = Timestamp::EPOCH;
        let task = format!("inbound {name}");
        self.run(task, Bell::default(), move |hands| {
            let now = hands.now();
            let due = now >= next_poll || next_poll.since(now) > hands.poll;
            if due {
                next_poll = now + hands.poll;
            }
            let (name, until) = (name.clone(), next_poll);
            async move {
                let object = hands.object(&name).await;
                let progress = inbound(&hands.engine, &object, due, until).await?;
                hands.bells.reads.ring();
                hands.bells.push.ring();
                Ok(progress)
            }
        })
        .await;
    }

    async fn reads(self, name: ObjectType) {
        let bell = self.bells.reads.clone();
        self.run(format!("reads {name}"), bell, move |hands| {
            let name = name.clone();
            async move {
                let object = hands.object(&name).await;
                let read = reads::step(&hands.engine, &object).await?;
                if read == Progress::More {
                    return Ok(read);
                }
                Ok(read.or(removal::step(&hands.engine, &object).await?))
            }
        })
        .await;
    }

    async fn push(self, name: ObjectType) {
        let bell = self.bells.push.clone();
        self.run(format!("push {name}"), bell, move |hands| {
            let name = name.clone();
            async move {
                let object = hands.object(&name).await;
                let progress = push::step(&hands.engine, &object).await?;
                if progress == Progress::More {
                    hands.bells.reads.ring();
                    hands.bells.looks.ring();
                }
                Ok(progress)
            }
        })
        .await;
    }

    async fn looks(self, name: ObjectType) {
        let bell = self.bells.looks.clone();
        self.run(format!("looks {name}"), bell, move |hands| {
            let name = name.clone();
            async move {
                let object = hands.object(&name).await;
                gap::step(&hands.engine, &object, Looks::Due).await
            }
        })
        .await;
    }

    async fn comparison(self, name: ObjectType) {
        let bell = self.bells.comparison.clone();
        self.run(format!("comparison {name}"), bell, move |hands| {
            let name = name.clone();
            async move {
                let object = hands.object(&name).await;
                let progress = comparison(&hands, &object).await?;
                hands.bells.reads.ring();
                Ok(progress)
            }
        })
        .await;
    }
}

/// Reads the portal's schema, as often as it takes.
async fn read_schema(hands: &Hands) -> Refreshed {
    let mut failures = 0;
    loop {
        match schema::refresh(&hands.engine).await {
            Ok(refreshed) => return refreshed,
            Err(error) => {
                failures += 1;
                let wait = hands.failed("schema", &error, failures);
                hands.sleep(wait).await;
            }
        }
    }
}

/// As in `daemon/run.rs`: backfill until it is done; then the polls, when they are due, and the walks again.
async fn inbound(
    engine: &Engine,
    object: &ObjectSync,
    due: bool,
    next_poll: Timestamp,
) -> Result<Progress, StepError> {
    if backfill::step(engine, object).await? == Progress::More {
        return Ok(Progress::More);
    }
    if !due {
        return Ok(Progress::Idle {
            until: Some(next_poll),
        });
    }
    while poll::step(engine, object).await? == Progress::More {}
    for delay in engine.again() {
        while poll::step_again(engine, object, delay).await? == Progress::More {}
    }
    Ok(Progress::Idle {
        until: Some(next_poll),
    })
}

async fn comparison(hands: &Hands, object: &ObjectSync) -> Result<Progress, StepError> {
    let engine = &hands.engine;
    let name = object.object().clone();
    let cursor = engine
        .store()
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    if cursor.backfill != Backfill::Done {
        return Ok(Progress::Idle {
            until: Some(hands.now() + DECISIONS),
        });
    }
    if filling::step(engine, object).await? == Progress::More {
        return Ok(Progress::More);
    }
    let now = hands.now();
    let last = cursor.last_reconcile_at.or(cursor.backfill_started_at);
    let next = last
        .filter(|last| *last <= latest_due(now))
        .map(|last| last + hands.reconcile);
    if cursor.reconcile_started_at.is_none() {
        let wanted = hands
            .bells
            .wanted
            .lock()
            .expect("no panic")
            .contains(object.object());
        match next {
            Some(next) if next > now && !wanted => return Ok(Progress::Idle { until: Some(next) }),
            Some(_) | None => reconcile::begin(engine, object).await?,
        }
        hands
            .bells
            .wanted
            .lock()
            .expect("no panic")
            .remove(object.object());
    }
    reconcile::step(engine, object).await
}
