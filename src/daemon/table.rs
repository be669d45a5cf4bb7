//! The table of tasks: what each waits for, whom it rings and what it calls. `run` and the simulation start what stands
//! here; `docs/ARCHITECTURE.md` shows it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Schedule;
use crate::daemon::bells::{Bell, Bells};
use crate::daemon::condition::Source;
use crate::daemon::errors::{self, Errors};
use crate::daemon::heartbeat::{self, BEAT, FORGET, RING, TRIGGERS};
use crate::daemon::seldom::Seldom;
use crate::daemon::settings::InForce;
use crate::daemon::status_line::StatusLine;
use crate::daemon::steps::{self, Caller};
use crate::daemon::systemd::Systemd;
use crate::daemon::tasks::{Job, Loop, Name, StepCall, is_fatal, is_stopping, with_causes};
use crate::decide::decision::commands::PausedSide;
use crate::decide::round::pace::Chore;
use crate::decide::round::{self, CountsFrom, LOOK, Next, Quiet, Seen, Task, Turn, Walks};
use crate::engine::decisions::orders;
use crate::engine::portal::access;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::portal::share;
use crate::engine::portal::tokens::{self, Keeper};
use crate::engine::source::deliveries::{self, DeliveryStanding};
use crate::engine::source::reconcile;
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::http::health::Health;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Backfill};

/// When a task begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// With the daemon.
    AtOnce,
    /// When the portal's schema was read.
    WithTheSchema,
}

/// A line of the table.
struct Line {
    task: Task,
    begins: Begins,
    /// What ends its waits.
    bell: Option<Bell>,
    /// Whom it rings.
    rings: &'static [Bell],
    step: MadeTasks,
    /// What it calls, as the documentation names it.
    calls: &'static str,
}

/// A step, and how long its loop waits at most.
type Paced = (Duration, StepCall);

/// How a task's step is made.
enum MadeTasks {
    /// One for the daemon.
    Once(fn(&Parts, Rings) -> Paced),
    /// One for the daemon, where there is something for it to do.
    Maybe(fn(&Parts, Rings) -> Option<Paced>),
    /// One for each object: the steps that `decide/round` gives the task.
    ForEachObject,
}

/// All tasks, in the order in which they are started.
const TABLE: [Line; 19] = {
    use Begins::{AtOnce, WithTheSchema};
    use MadeTasks::{ForEachObject, Maybe, Once};
    [
        line(
            Task::Heartbeat,
            AtOnce,
            Some(Bell::Health),
            &[Bell::Settings],
            Once(heartbeat),
            "`daemon/heartbeat`",
        ),
        line(
            Task::File,
            AtOnce,
            None,
            &[],
            Once(file),
            "`store/database/lease`, `store/shape/repair`",
        ),
        line(
            Task::Triggers,
            AtOnce,
            None,
            &[],
            Once(triggers),
            "`store/shape/ddl`",
        ),
        line(
            Task::Forget,
            AtOnce,
            None,
            &[],
            Once(forget),
            "`store/retention`",
        ),
        line(Task::Calls, AtOnce, None, &[], Once(calls), "`store/calls`"),
        line(
            Task::Inbox,
            AtOnce,
            Some(Bell::Inbox),
            &[Bell::Reads, Bell::Push, Bell::Links],
            Once(inbox),
            "`engine/source/ingest`",
        ),
        line(Task::Erase, AtOnce, None, &[], Once(erase), "`store/erase`"),
        line(
            Task::Share,
            AtOnce,
            None,
            &[],
            Once(share),
            "`engine/portal/share`",
        ),
        line(
            Task::Deliveries,
            AtOnce,
            None,
            &[Bell::Inbound],
            Maybe(missed),
            "`engine/source/deliveries`",
        ),
        line(
            Task::Tokens,
            AtOnce,
            Some(Bell::Logins),
            &[],
            Maybe(renewal),
            "`engine/portal/tokens`",
        ),
        line(
            Task::Schema,
            WithTheSchema,
            Some(Bell::Settings),
            &[Bell::Inbound, Bell::Reads, Bell::Push, Bell::Filling],
            Once(portal),
            "`engine/portal/schema`",
        ),
        line(
            Task::Decisions,
            WithTheSchema,
            Some(Bell::Decisions),
            &[Bell::Push, Bell::Reads],
            Once(decisions),
            "`engine/decisions/resolve`",
        ),
        line(
            Task::Commands,
            AtOnce,
            Some(Bell::Decisions),
            &[Bell::Inbound, Bell::Reads, Bell::Push, Bell::Filling],
            Once(commands),
            "`engine/decisions/orders`",
        ),
        line(
            Task::Inbound,
            WithTheSchema,
            Some(Bell::Inbound),
            &[Bell::Reads, Bell::Push, Bell::Links, Bell::Looks],
            ForEachObject,
            "`engine/source/backfill`, `engine/source/poll`",
        ),
        line(
            Task::Reads,
            WithTheSchema,
            Some(Bell::Reads),
            &[Bell::Links, Bell::Looks],
            ForEachObject,
            "`engine/source/reads`, `engine/inbound/removal`",
        ),
        line(
            Task::Push,
            WithTheSchema,
            Some(Bell::Push),
            &[Bell::Reads, Bell::Links, Bell::Looks],
            ForEachObject,
            "`engine/outbound/push`",
        ),
        line(
            Task::Links,
            WithTheSchema,
            Some(Bell::Links),
            &[],
            ForEachObject,
            "`engine/source/links`",
        ),
        line(
            Task::Looks,
            WithTheSchema,
            Some(Bell::Looks),
            &[Bell::Push],
            ForEachObject,
            "`engine/outbound/gap`, `engine/source/histories`",
        ),
        line(
            Task::Comparison,
            WithTheSchema,
            Some(Bell::Filling),
            &[Bell::Reads, Bell::Links],
            ForEachObject,
            "`engine/source/filling`, `engine/source/reconcile`",
        ),
    ]
};

const fn line(
    task: Task,
    begins: Begins,
    bell: Option<Bell>,
    rings: &'static [Bell],
    step: MadeTasks,
    calls: &'static str,
) -> Line {
    Line {
        task,
        begins,
        bell,
        rings,
        step,
        calls,
    }
}

/// The table's lines as `docs/ARCHITECTURE.md` shows them.
pub fn shown() -> Vec<String> {
    let lines = TABLE.iter().map(|line| {
        let of = match line.step {
            MadeTasks::Once(_) | MadeTasks::Maybe(_) => "",
            MadeTasks::ForEachObject => " (of each object)",
        };
        let bell = line.bell.map_or("–", Bell::as_str);
        let rings: Vec<&str> = line.rings.iter().map(|bell| bell.as_str()).collect();
        let rings = match rings[..] {
            [] => "–".to_owned(),
            [..] => rings.join(", "),
        };
        let task = line.task.as_str();
        format!("| {task}{of} | {bell} | {rings} | {} |", line.calls)
    });
    lines.collect()
}

/// What the tasks are made of.
#[derive(Clone)]
pub struct Parts {
    /// What every loop is handed.
    pub all: Loop,
    /// The bells.
    pub bells: Bells,
    /// What is in force of the mapping file.
    pub settings: InForce,
    /// Whether webhooks are listened for.
    pub webhooks: bool,
    /// An OAuth app's keeper of tokens.
    pub keeper: Option<Arc<Keeper>>,
    /// The service manager.
    pub systemd: Arc<Systemd>,
    /// Where probes are told of the daemon's health.
    pub health: Arc<watch::Sender<Health>>,
}

/// Whom a task rings.
#[derive(Clone)]
struct Rings {
    bells: Bells,
    whom: &'static [Bell],
}

impl Rings {
    fn ring(&self) {
        self.bells.ring(self.whom);
    }
}

/// The jobs of the tasks that begin then. Those of objects are made for all of the mapping: one that the token may not
/// read yet begins when it may.
pub fn jobs(parts: &Parts, begins: Begins) -> Vec<Job> {
    let lines = || TABLE.iter().filter(|line| line.begins == begins);
    let mut jobs: Vec<Job> = lines().filter_map(|line| job(parts, line)).collect();
    for object in &parts.all.engine.mapping().objects {
        let errors = Arc::new(Errors::default());
        let own = lines().filter(|line| matches!(line.step, MadeTasks::ForEachObject));
        jobs.extend(own.map(|line| job_of(parts, line, &object.object, &errors)));
    }
    jobs
}

/// The job of a task that the daemon has once; `None` where there is nothing for it to do.
fn job(parts: &Parts, line: &Line) -> Option<Job> {
    let rings = rings(parts, line);
    let (longest, step) = match line.step {
        MadeTasks::Once(make) => make(parts, rings),
        MadeTasks::Maybe(make) => make(parts, rings)?,
        MadeTasks::ForEachObject => return None,
    };
    Some(Job {
        name: line.task.into(),
        ring: parts.bells.of_line(line.bell),
        longest,
        step,
    })
}

/// The job of an object's task.
fn job_of(parts: &Parts, line: &Line, object: &ObjectType, errors: &Arc<Errors>) -> Job {
    let own = Arc::new(OwnTurn {
        task: line.task,
        object: object.clone(),
        settings: parts.settings.clone(),
        known: Mutex::default(),
        errors: Arc::clone(errors),
        rings: rings(parts, line),
        all: parts.all.clone(),
    });
    Job {
        name: Name {
            task: line.task,
            object: Some(object.clone()),
        },
        ring: parts.bells.of_line(line.bell),
        longest: Duration::MAX,
        step: Box::new(move |engine, ends| Arc::clone(&own).step(engine, ends).boxed()),
    }
}

fn rings(parts: &Parts, line: &Line) -> Rings {
    Rings {
        bells: parts.bells.clone(),
        whom: line.rings,
    }
}

/// The job of a loop that the daemon has once, for a run that ends too: the one that keeps an OAuth app's token, or that leaves
/// a command its share. `None` where there is nothing for it to do.
pub(super) fn job_of_task(parts: &Parts, task: Task) -> Option<Job> {
    let line = TABLE.iter().find(|line| line.task == task)?;
    job(parts, line)
}

/// Calls something at an interval.
fn every<S, F>(interval: Duration, chore: S) -> Paced
where
    S: FnMut(Arc<Engine>) -> F + Send + 'static,
    F: Future<Output = Result<(), StepError>> + Send + 'static,
{
    every_as_said(move || interval, chore)
}

/// Calls something at the interval that is in force.
fn every_as_said<S, F>(said: impl Fn() -> Duration + Send + 'static, mut chore: S) -> Paced
where
    S: FnMut(Arc<Engine>) -> F + Send + 'static,
    F: Future<Output = Result<(), StepError>> + Send + 'static,
{
    let interval = said();
    let pace = Arc::new(Mutex::new(Chore::every(interval)));
    let step: StepCall = Box::new(move |engine, _| {
        let now = engine.clock().now();
        let is_due = pace.lock().at(said()).is_due(now);
        let (pace, work) = (Arc::clone(&pace), is_due.then(|| chore(engine)));
        async move {
            if let Some(work) = work {
                work.await?;
                pace.lock().done(now);
            }
            Ok(pace.lock().rest())
        }
        .boxed()
    });
    (interval, step)
}

fn file(_: &Parts, _: Rings) -> Paced {
    every(LOOK, |engine| async move {
        engine.store().check_file()?;
        heartbeat::close_gate(&engine).await
    })
}

fn triggers(_: &Parts, _: Rings) -> Paced {
    every(TRIGGERS, |engine| async move {
        heartbeat::repair_triggers(&engine).await
    })
}

fn forget(parts: &Parts, _: Rings) -> Paced {
    let settings = parts.settings.clone();
    every(FORGET, move |engine| {
        let keep = settings.now().tasks.keep;
        async move { heartbeat::forget(&engine, keep).await }
    })
}

fn calls(parts: &Parts, _: Rings) -> Paced {
    let settings = parts.settings.clone();
    let ring = Arc::new(Mutex::new(Chore::every(RING)));
    every(LOOK, move |engine| {
        let (keep, ring) = (settings.now().tasks.keep_calls, Arc::clone(&ring));
        async move {
            heartbeat::write_calls(&engine).await?;
            let now = engine.clock().now();
            let is_due = ring.lock().is_due(now);
            if is_due {
                heartbeat::forget_calls(&engine, keep).await?;
                ring.lock().done(now);
            }
            Ok(())
        }
    })
}

fn erase(_: &Parts, _: Rings) -> Paced {
    every(
        LOOK,
        |engine| async move { heartbeat::empty_log(&engine).await },
    )
}

fn share(_: &Parts, _: Rings) -> Paced {
    every(LOOK, |engine| async move { share::step(&engine).await })
}

/// Events that a former run stored are taken in without `[webhooks]` too.
fn inbox(_: &Parts, rings: Rings) -> Paced {
    let step: StepCall = Box::new(move |engine, _| {
        let rings = rings.clone();
        async move {
            if engine.objects().is_empty() {
                return Ok(Progress::Idle {
                    until: Some(engine.clock().now() + LOOK),
                });
            }
            let progress = steps::shared(&engine, round::Step::Inbox).await?;
            rings.ring();
            Ok(progress)
        }
        .boxed()
    });
    (Duration::MAX, step)
}

fn missed(parts: &Parts, rings: Rings) -> Option<Paced> {
    let look = move |engine: Arc<Engine>| {
        let rings = rings.clone();
        async move {
            if deliveries::look_for_missed(&engine).await? {
                rings.ring();
            }
            Ok(())
        }
    };
    parts.webhooks.then(|| every(LOOK, look))
}

/// Renews an OAuth app's token. A login is taken up within a second.
fn renewal(parts: &Parts, _: Rings) -> Option<Paced> {
    let keeper = parts.keeper.clone()?;
    let condition = Arc::clone(&parts.all.condition);
    let step: StepCall = Box::new(move |engine, _| {
        let (keeper, condition) = (Arc::clone(&keeper), Arc::clone(&condition));
        async move {
            let done = tokens::step(&engine, &keeper).await;
            condition.set_logged_out(engine.client().logged_out_because());
            if done.is_ok() {
                condition.renewed();
            }
            done
        }
        .boxed()
    });
    Some((LOOK, step))
}

/// Between two reads of the schema while HubSpot is called unreachable and nobody else asks it: whoever met that has given up what it
/// asked for, and the others may have nothing to ask for hours.
const UNASKED: Duration = Duration::from_secs(15);

/// The schema was read a moment ago: it is read again from the second time on, or where an object was kept back.
fn portal(parts: &Parts, rings: Rings) -> Paced {
    let condition = Arc::clone(&parts.all.condition);
    let mut first = true;
    let settings = parts.settings.clone();
    let asked = Arc::clone(&parts.all.condition);
    let reference = move || {
        let reference = settings.now().tasks.poll.reference;
        match asked.is_unasked() {
            true => reference.min(UNASKED),
            false => reference,
        }
    };
    every_as_said(reference, move |engine| {
        let (condition, rings) = (Arc::clone(&condition), rings.clone());
        let again = !std::mem::take(&mut first) || engine.has_kept_back();
        async move {
            let mut soon = None;
            if again {
                soon = schema::refresh(&engine).await?.soon;
                // An object that waited for it begins at once, and so does what a field is to be filled with.
                rings.ring();
            }
            steps::shared(&engine, round::Step::Reference).await?;
            condition.answered(&engine.standing());
            soon.map_or(Ok(()), |error| Err(error.into()))
        }
    })
}

fn decisions(_: &Parts, rings: Rings) -> Paced {
    let step: StepCall = Box::new(move |engine, _| {
        let rings = rings.clone();
        async move {
            let progress = steps::shared(&engine, round::Step::Decisions).await?;
            if progress == Progress::More {
                rings.ring();
            }
            Ok(progress)
        }
        .boxed()
    });
    (LOOK, step)
}

fn commands(parts: &Parts, rings: Rings) -> Paced {
    let changed = parts.bells.clone();
    let step: StepCall = Box::new(move |engine, _| {
        let (rings, changed) = (rings.clone(), changed.clone());
        async move {
            let progress = orders::step(&engine, false).await?;
            if progress == Progress::More {
                rings.ring();
                changed.ring(&[Bell::Health]);
            }
            Ok(progress)
        }
        .boxed()
    });
    (LOOK, step)
}

/// What rests while that side is paused: all that asks HubSpot by itself, or all that sends.
fn paused_with(task: Task) -> Option<PausedSide> {
    match task {
        Task::Push => Some(PausedSide::Push),
        Task::Inbound | Task::Reads | Task::Links | Task::Looks | Task::Comparison => {
            Some(PausedSide::Pull)
        }
        Task::Heartbeat
        | Task::File
        | Task::Triggers
        | Task::Forget
        | Task::Calls
        | Task::Inbox
        | Task::Erase
        | Task::Share
        | Task::Deliveries
        | Task::Tokens
        | Task::Schema
        | Task::Decisions
        | Task::Commands => None,
    }
}

/// Whether a task knows tables, columns or pairs of objects that another mapping has otherwise: such a one must not be at work while
/// they are changed. A read of the schema looks itself whether the mapping is still the one that it was asked for.
pub(super) fn goes_by_the_mapping(name: &Name, reshaped: &BTreeSet<ObjectType>) -> bool {
    match name.task {
        Task::File
        | Task::Triggers
        | Task::Forget
        | Task::Inbox
        | Task::Decisions
        | Task::Commands => true,
        Task::Inbound | Task::Reads | Task::Push | Task::Links | Task::Looks | Task::Comparison => {
            name.object
                .as_ref()
                .is_some_and(|own| reshaped.contains(own))
        }
        Task::Schema
        | Task::Heartbeat
        | Task::Calls
        | Task::Erase
        | Task::Share
        | Task::Deliveries
        | Task::Tokens => false,
    }
}

/// Between two looks at a heartbeat that can't be written.
const UNWRITTEN: Duration = Duration::from_secs(1);

/// Says how the daemon is doing, at an interval and whenever that becomes something else: in `sync_health`, to the health
/// listener and to systemd. A database that can't be written for a while is told by the last two only.
fn heartbeat(parts: &Parts, rings: Rings) -> Paced {
    let interval = parts.systemd.watchdog_interval().unwrap_or(BEAT).min(BEAT);
    let (parts, told) = (
        parts.clone(),
        Arc::new((Seldom::default(), StatusLine::default())),
    );
    let step: StepCall = Box::new(move |engine, _| {
        let (parts, told) = (parts.clone(), Arc::clone(&told));
        if parts.all.condition.is_unasked() {
            rings.ring();
        }
        async move { beat(&engine, &parts, interval, (&told.0, &told.1)).await }.boxed()
    });
    (interval, step)
}

async fn beat(
    engine: &Engine,
    parts: &Parts,
    interval: Duration,
    (unwritten, line): (&Seldom, &StatusLine),
) -> Result<Progress, StepError> {
    let condition = &parts.all.condition;
    // What the tasks know is told before the database is asked, and again while it keeps silent.
    let last = parts.health.borrow().state.clone();
    let say = |state: Option<&str>| {
        let at = engine.clock().monotonic();
        let health = condition.health(state, at);
        line.tell_reason(&parts.systemd, &health);
        parts.health.send_if_modified(|last| {
            let changed = *last != health;
            *last = health;
            changed
        });
    };
    say(Some(&last));
    let beating = heartbeat::beat(engine, condition);
    tokio::pin!(beating);
    let beaten = loop {
        tokio::select! {
            biased;
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
        condition.went_well(&Source::Beat);
    }
    if let Err(error) = beaten {
        if is_fatal(&error) {
            return Err(error);
        }
        condition.unbeaten(Some(&error));
        condition.failed(&Source::Beat, &error);
        if let Some(attempts) = unwritten.turn(engine.clock().monotonic()) {
            tracing::warn!(error = %with_causes(&error), hint = error.hint().as_deref(), code = error.code(), attempts, "the heartbeat could not be written");
        }
    } else if let Some(attempts) = unwritten.over() {
        tracing::info!(attempts, "the heartbeat is written again");
    }
    say(heartbeat::state(engine).await.as_deref());
    parts.systemd.alive();
    let health = parts.health.borrow().clone();
    line.tell_numbers(engine, &parts.systemd, &health).await;
    Ok(Progress::Idle {
        until: Some(engine.clock().now() + next),
    })
}

/// What a task of one object goes by.
struct OwnTurn {
    task: Task,
    object: ObjectType,
    settings: InForce,
    known: Mutex<KnownOfObject>,
    errors: Arc<Errors>,
    rings: Rings,
    all: Loop,
}

/// What is known of an object from turn to turn, and is in no table.
#[derive(Debug, Default, Clone, Copy)]
struct KnownOfObject {
    walks: Walks,
    /// The newest change that its rows showed when they were looked at; that moment, where there were none.
    newest: Option<Timestamp>,
    /// The last change that was not a write of this daemon's own, once the first read is done.
    changed: Option<Timestamp>,
    /// When the last comparison of this run began.
    compares_since: Option<Timestamp>,
}

impl OwnTurn {
    /// A turn, unless the object is not in force or waits for a scope; its failure is kept where `sync_status` shows it.
    async fn step(
        self: Arc<Self>,
        engine: Arc<Engine>,
        ends: StepEnd,
    ) -> Result<Progress, StepError> {
        let Some(object) = engine.object(&self.object) else {
            return Ok(Progress::RING);
        };
        if let Some(side) = paused_with(self.task)
            && orders::is_paused(&engine, side).await?
        {
            return Ok(Progress::RING);
        }
        let turn = self.turn(&engine, &object, &ends);
        let done = access::within(&engine, &self.object, steps::needs(self.task), turn).await;
        if done.as_ref().is_err_and(is_stopping) {
            return done;
        }
        let failed = done.as_ref().err();
        let failed = failed.map(|error| (with_causes(error), error.code()));
        if let Some(told) = self.errors.note(self.task, failed) {
            errors::write_down(&engine, &self.object, told).await;
        }
        done
    }

    /// The steps that are due, until one has more to do; then those are told who wait for what it did.
    async fn turn(
        &self,
        engine: &Engine,
        object: &ObjectSync,
        ends: &StepEnd,
    ) -> Result<Progress, StepError> {
        let mut turn = Turn::of(self.task);
        let done = loop {
            let seen = self.look(engine).await?;
            let step = match turn.next(&seen, engine.clock().now()) {
                Next::Do(step) => step,
                Next::BeginComparison => {
                    reconcile::begin(engine, object).await?;
                    break Progress::More;
                }
                Next::Rest(rest) => break rest,
            };
            let said = steps::of_object(engine, object, step, (Caller::Daemon, ends)).await?;
            let now = engine.clock().now();
            if said != Progress::More && matches!(step, round::Step::Poll | round::Step::Again(_)) {
                // The walk itself may have brought a change.
                self.look(engine).await?;
                let mut known = self.known.lock();
                let again = engine.again().len();
                let next = self.next_poll(engine, now, known.changed);
                known.walks = known.walks.walked(again, next);
            }
            if let Some(end) = turn.ends(step, said, now) {
                break end;
            }
        };
        let asked = done == Progress::More;
        if asked || self.task == Task::Inbound {
            self.all.condition.answered(&engine.standing());
        }
        // A push that met a conflict or a missing record waits for the read that it asked for.
        if asked || self.task != Task::Push {
            self.rings.ring();
        }
        Ok(done)
    }

    /// What is known of the object, where its task goes by that.
    async fn look(&self, engine: &Engine) -> Result<Seen, StepError> {
        if !matches!(self.task, Task::Inbound | Task::Comparison) {
            return Ok(Seen::default());
        }
        let name = self.object.clone();
        let cursor = engine
            .store()
            .read(move |connection| cursors::get(connection, &name))
            .await?;
        let now = engine.clock().now();
        let changed = match cursor.backfill {
            Backfill::Done => Some(self.last_change(engine, cursor.last_change_at).await?),
            Backfill::Waiting | Backfill::Running => None,
        };
        let next_poll = self.next_poll(engine, now, changed);
        let mut known = self.known.lock();
        known.changed = changed;
        known.walks = match self.task == Task::Inbound && engine.takes_asked_poll(&self.object) {
            true => Walks::default(),
            false => known.walks.by(next_poll),
        };
        known.compares_since = cursor.reconcile_started_at.or(known.compares_since);
        let ended = cursor.last_reconcile_at.or(cursor.backfill_started_at);
        Ok(Seen {
            first_read_is_done: cursor.backfill == Backfill::Done,
            walks: known.walks,
            compares: cursor.reconcile_started_at.is_some(),
            comparison_due: next_comparison(
                &self.settings.now().tasks.poll.reconcile,
                ended,
                known.compares_since,
                now,
            ),
        })
    }

    /// When the object last changed. Where no change came since its first read, its rows are asked, once: all of them are read.
    async fn last_change(
        &self,
        engine: &Engine,
        brought: Option<Timestamp>,
    ) -> Result<Timestamp, StepError> {
        let newest = self.known.lock().newest;
        if let Some(changed) = brought.max(newest) {
            return Ok(changed);
        }
        let found = match engine.object(&self.object) {
            Some(object) => {
                let read = engine
                    .store()
                    .read(move |all| object.table.newest_change(all));
                read.await?
            }
            None => None,
        };
        let newest = found.unwrap_or_else(|| engine.clock().now());
        self.known.lock().newest = Some(newest);
        Ok(newest)
    }

    /// At the object's own interval, or at the relaxed one while webhooks are healthy; later after quiet hours.
    fn next_poll(&self, engine: &Engine, now: Timestamp, changed: Option<Timestamp>) -> Timestamp {
        let settings = self.settings.now();
        let rhythm = settings.tasks.poll.of(&self.object);
        let by_schedule = rhythm.poll.next(now);
        let quiet = changed.zip(rhythm.longest());
        let quiet = quiet.map(|(since, longest)| Quiet { since, longest });
        let relaxed = settings.steps.relaxed_poll.filter(|relaxed| {
            engine.deliveries().standing(now, *relaxed) == DeliveryStanding::Healthy
        });
        round::next_poll(now, by_schedule, relaxed, quiet)
    }
}

/// When the next comparison is due by its schedule.
fn next_comparison(
    schedule: &Schedule,
    ended: Option<Timestamp>,
    began: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    let from = match schedule {
        Schedule::Cron(_) => CountsFrom::Beginning,
        Schedule::Every(_) => CountsFrom::End,
    };
    round::next_comparison(from, ended, began, now, |last| schedule.next(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::bells::AFTER_A_COMMIT;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(&format!("2026-11-24T{text}Z")).expect("a moment")
    }

    #[test]
    fn every_task_has_one_line_and_every_bell_that_is_waited_for_is_rung() {
        let tasks: BTreeSet<Task> = TABLE.iter().map(|line| line.task).collect();
        assert_eq!(tasks.len(), TABLE.len());
        // Deliveries ring the inbox, the condition its own bell, and another mapping file all of them.
        let outside = [Bell::Inbox, Bell::Health, Bell::Settings];
        for line in &TABLE {
            let Some(bell) = line.bell else { continue };
            let is_rung = TABLE.iter().any(|other| other.rings.contains(&bell));
            assert!(
                is_rung || AFTER_A_COMMIT.contains(&bell) || outside.contains(&bell),
                "nobody rings {bell:?}"
            );
        }
        for line in &TABLE {
            for bell in line.rings {
                let is_heard = TABLE.iter().any(|other| other.bell == Some(*bell));
                assert!(is_heard, "nobody waits for {bell:?}");
            }
        }
    }

    #[test]
    fn a_comparisons_cron_is_met_to_the_second_or_as_soon_as_the_one_before_has_ended() {
        let cron = Schedule::parse("*/10 * * * * *", chrono_tz::Tz::UTC).expect("an expression");
        let next = |ended: &str, began: Option<&str>, now: &str| {
            next_comparison(&cron, Some(at(ended)), began.map(at), at(now))
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
        // The clock was set back.
        assert_eq!(
            next("03:09:00", Some("03:09:00"), "03:00:15"),
            at("03:00:20")
        );
        let every = Schedule::parse("5s", chrono_tz::Tz::UTC).expect("a duration");
        let (ended, began) = (Some(at("03:00:04")), Some(at("03:00:00")));
        let from = next_comparison(&every, ended, began, at("03:00:05"));
        assert_eq!(from, at("03:00:09"));
    }
}
