//! A mapping file that is changed while the daemon runs: read again when it, or a file that it names, is another than before, and
//! at SIGHUP.
//!
//! A file is in force as a whole, or not at all: first everything is tried that may be refused, then everything is exchanged. What
//! was refused is tried again every few seconds, since its cause may go away without the file's being touched: a secret that is not
//! there yet, a port that another program has. `sync_health.config_error` says why a file is not in force.
//!
//! Where objects, columns or pairs differ, or the token, HubSpot is asked first. Then the tasks of the objects that differ end between
//! two steps, the mirror is made to fit, and they begin again: no step and no answer is lost, and the other objects go on. Whatever
//! else a file says is in force at once. A rotated token is tried before it is sent with, since it may be another portal's.

mod file;
mod refused;
pub(crate) mod watched;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;

use crate::app::client::ClientError;
use crate::config::changes::SettingChange;
use crate::config::{Config, ConfigError, LogSettings, Setting};
use crate::daemon::listeners::Listeners;
use crate::daemon::reload::file::{FilePart, FileRead};
use crate::daemon::reload::refused::FileRefused;
use crate::daemon::reload::watched::Watched;
use crate::daemon::run::{RunError, keeper};
use crate::daemon::systemd::Systemd;
use crate::daemon::table::{self, Begins, Parts, goes_by_the_mapping};
use crate::daemon::tasks::{Loop, Name, Tasks, is_fatal, wait_after_failure, with_causes};
use crate::decide::round::{Step, Task};
use crate::engine::portal::schema::{self, SchemaRead};
use crate::engine::source::reconcile;
use crate::engine::{Engine, StepError};
use crate::hubspot::Client;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::store::StoreError;
use crate::store::measured::working;

/// Between two tries of a file that was refused without a word of HubSpot's.
const AGAIN: Duration = Duration::from_secs(3);

/// The same of one for which HubSpot was asked, at most.
const AGAIN_BY_HUBSPOT: Duration = Duration::from_mins(5);

/// A mapping file that is followed while the daemon runs.
pub(crate) struct MappingFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its settings as it was read for the start.
    pub(crate) settings: Vec<Setting>,
    /// Has the log go by what the file says; tells why it can't.
    pub(crate) log: SetLog,
    /// Rings at SIGHUP.
    pub(crate) hangup: Arc<Notify>,
    /// The file as it was before it was read: what is written meanwhile is found by the first look.
    pub(crate) watched: Watched,
}

/// Gives what has the log go by other settings, or tells why it can't.
pub(crate) type SetLog =
    Box<dyn Fn(&LogSettings) -> Result<Box<dyn FnOnce() + Send>, String> + Send + Sync>;

/// Why the file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhyLook {
    /// A file is another than before.
    File,
    /// Somebody asked for it.
    Signal,
    /// It was refused, and what it was refused for may be gone.
    Again,
}

/// What happens to the mapping file.
pub(super) enum FileEvent {
    /// It is to be read again.
    Look(WhyLook),
    /// HubSpot has answered for a changed one.
    Portal(Box<Result<SchemaRead, StepError>>),
}

/// A static token, and its place in as few words as a sentence needs.
type Token = (SecretString, String);

/// A right file on its way into force.
struct ComingFile {
    read: FileRead,
    changes: Vec<SettingChange>,
    /// Where another one is to be sent with.
    token: Option<Token>,
    mapping: Arc<Mapping>,
}

/// Why a file is not in force, or not yet.
enum NotInForce {
    /// It can't be, as things are.
    Refused(FileRefused),
    /// Neither can it, and HubSpot was asked for it.
    RefusedByMirror(FileRefused),
    /// The database is locked, or the disk full.
    Waits(Box<ComingFile>, StepError),
    /// The daemon must end.
    Fatal(RunError),
}

impl From<FileRefused> for NotInForce {
    fn from(refusal: FileRefused) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ConfigError> for NotInForce {
    fn from(error: ConfigError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ClientError> for NotInForce {
    fn from(error: ClientError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<RunError> for NotInForce {
    fn from(error: RunError) -> Self {
        Self::Refused(error.into())
    }
}

/// The daemon at work, as far as a file can exchange it.
pub(super) struct AtWork<'a> {
    pub(super) all: &'a Loop,
    pub(super) parts: Parts,
    pub(super) tasks: &'a mut Tasks,
    pub(super) listeners: &'a mut Listeners,
    /// Whether the schema was read, so that the tasks that wait for it run.
    pub(super) has_begun: bool,
}

impl AtWork<'_> {
    /// Begins tasks of the table that don't run, by the parts of this moment.
    pub(super) fn start(&mut self, begins: Begins) {
        for job in table::jobs(&self.parts, begins) {
            if !self.tasks.runs(&job.name) {
                self.tasks.start(job);
            }
        }
    }

    /// Ends tasks between two steps.
    async fn stop(&mut self, whose: impl Fn(&Name) -> bool) {
        for name in self.tasks.stop(whose).await {
            self.all.condition.forget(&name);
        }
    }

    /// Begins what was ended again, and what is new.
    fn resume(&mut self) {
        self.start(Begins::AtOnce);
        if self.has_begun {
            self.start(Begins::WithTheSchema);
        }
    }
}

/// The file on the disk.
struct OnDisk {
    path: PathBuf,
    log: SetLog,
    hangup: Arc<Notify>,
    watched: Watched,
}

/// A file that was refused.
struct RefusedFile {
    /// When it is tried again, by the steady clock.
    again_at: Duration,
    /// What was told of it.
    told: String,
    /// How often in a row HubSpot was asked for it.
    asked: u32,
}

/// What is in force of the file, and what is to be.
pub(super) struct Reload {
    /// `None`: nobody changes it.
    disk: Option<OnDisk>,
    /// What is in force.
    read: FileRead,
    /// What was in force before the first file that came during the start, which the mirror may refuse once HubSpot answers.
    former: Option<FileRead>,
    /// How often another one was put in force.
    times: u64,
    /// What waits for HubSpot's answer.
    coming: Option<Box<ComingFile>>,
    /// The question to HubSpot that it waits for.
    asks: Option<BoxFuture<'static, Result<SchemaRead, StepError>>>,
    refused: Option<RefusedFile>,
}

impl Reload {
    /// Follows a file that is in force.
    pub(super) fn new(config: &Config, file: Option<MappingFile>) -> Self {
        let (settings, disk) = file.map(|file| (file.settings.clone(), file)).unzip();
        let read = FileRead::at_start(config, settings.unwrap_or_default());
        let disk = disk.map(|file: MappingFile| {
            let mut watched = file.watched;
            watched.follow(read.files(&file.path));
            OnDisk {
                watched,
                path: file.path,
                log: file.log,
                hangup: file.hangup,
            }
        });
        Self {
            disk,
            read,
            former: None,
            times: 0,
            coming: None,
            asks: None,
            refused: None,
        }
    }

    /// How often another file was put in force so far.
    pub(super) fn times_in_force(&self) -> u64 {
        self.times
    }

    /// Waits for what happens to the file. May be dropped at any time.
    pub(super) async fn next(&mut self, engine: &Engine) -> FileEvent {
        let Self {
            disk,
            asks,
            refused,
            ..
        } = self;
        let Some(disk) = disk else {
            return pending().await;
        };
        let answer = async {
            match asks {
                Some(asks) => asks.await,
                None => pending().await,
            }
        };
        let clock = engine.clock();
        let again = async {
            match refused {
                Some(refused) => {
                    let left = refused.again_at.saturating_sub(clock.monotonic());
                    clock.sleep(left).await;
                }
                None => pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            answer = answer => FileEvent::Portal(Box::new(answer)),
            () = disk.hangup.notified() => FileEvent::Look(WhyLook::Signal),
            () = disk.watched.changed(clock) => FileEvent::Look(WhyLook::File),
            () = again => FileEvent::Look(WhyLook::Again),
        };
        match event {
            FileEvent::Portal(_) => self.asks = None,
            FileEvent::Look(_) => disk.watched.take(),
        }
        event
    }

    /// Does what is to be done.
    ///
    /// # Errors
    /// What ends the daemon: the database is gone or damaged.
    pub(super) async fn handle(
        &mut self,
        event: FileEvent,
        at: &mut AtWork<'_>,
    ) -> Result<(), RunError> {
        let is_told = !matches!(event, FileEvent::Look(WhyLook::Again));
        let done = match event {
            FileEvent::Look(cause) => {
                if is_told {
                    at.parts.systemd.reloading();
                }
                self.look(cause, at).await
            }
            FileEvent::Portal(answered) => self.answered(*answered, at).await,
        };
        let done = self.tell(done, at);
        if self.asks.is_none() && is_told {
            at.parts.systemd.ready();
        }
        done
    }

    /// Says whether a file is in force, and why not.
    fn tell(&mut self, done: Result<(), NotInForce>, at: &AtWork<'_>) -> Result<(), RunError> {
        let (all, former) = (at.all, self.refused.take());
        let (refusal, is_asked) = match done {
            Ok(()) if self.asks.is_some() => {
                // Until HubSpot has answered, a refusal stands.
                self.refused = former.map(|former| RefusedFile {
                    again_at: Duration::MAX,
                    ..former
                });
                return Ok(());
            }
            Ok(()) => {
                all.condition.set_config_error(None);
                return Ok(());
            }
            Err(NotInForce::Fatal(error)) => return Err(error),
            Err(NotInForce::Waits(coming, error)) => {
                wait_is_told(all, &error);
                let client = all.engine.client().clone();
                self.asks = Some(question(at, client, Arc::clone(&coming.mapping), 1));
                self.coming = Some(coming);
                return Ok(());
            }
            Err(NotInForce::Refused(refusal)) => (refusal, false),
            Err(NotInForce::RefusedByMirror(refusal)) => (refusal, true),
        };
        let (told, code) = refusal.told();
        if former.as_ref().is_none_or(|former| former.told != told) {
            refusal.log();
        }
        let engine = &all.engine;
        let asked = former.map_or(0, |former| former.asked) + u32::from(is_asked);
        let wait = match is_asked {
            true => engine.backoff(asked).clamp(AGAIN, AGAIN_BY_HUBSPOT),
            false => AGAIN,
        };
        all.condition.set_config_error(Some((told.clone(), code)));
        self.refused = Some(RefusedFile {
            again_at: engine.clock().monotonic() + wait,
            told,
            asked,
        });
        Ok(())
    }

    /// Reads the file again, and puts it in force or asks HubSpot for it.
    async fn look(&mut self, cause: WhyLook, at: &mut AtWork<'_>) -> Result<(), NotInForce> {
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        // Whatever is on its way was read from a text that may be on the disk no more.
        (self.asks, self.coming) = (None, None);
        let read = self.read.again(&disk.path)?;
        let (read, changes) = read.after(&self.read);
        if cause == WhyLook::Signal && read.has_credential() {
            tracing::info!(
                "systemd hands its credentials over at the start: one that changed is in force after a restart"
            );
        }
        let is_same = read.is_as(&self.read) && changes.is_empty();
        match cause {
            WhyLook::Signal if is_same => {
                tracing::info!("the mapping file was read again, and says what it said before");
            }
            WhyLook::File if is_same => {
                tracing::debug!("the mapping file says what it said before");
            }
            WhyLook::Signal | WhyLook::File | WhyLook::Again => {}
        }
        disk.watched.follow(read.files(&disk.path));
        let coming = self.coming_of(read, changes);
        let engine = Arc::clone(&at.all.engine);
        let reshaped = coming.mapping.reshaped(&engine.mapping());
        if !at.has_begun || (coming.token.is_none() && reshaped.is_empty()) {
            return self.put(Box::new(coming), None, at).await;
        }
        let client = match &coming.token {
            Some((token, place)) => engine
                .client()
                .with_token(token, place)
                .map_err(ClientError::from)?,
            None => engine.client().clone(),
        };
        client.tell_calls(engine.store().calls().clone());
        if cause != WhyLook::Again {
            at.all.condition.set_config_error(None);
            self.refused = None;
        }
        self.asks = Some(question(at, client, Arc::clone(&coming.mapping), 0));
        self.coming = Some(Box::new(coming));
        Ok(())
    }

    /// A right file that is to be in force.
    fn coming_of(&self, read: FileRead, changes: Vec<SettingChange>) -> ComingFile {
        let token = read.token().filter(|(token, _)| {
            let sent = self.read.token();
            sent.is_none_or(|(sent, _)| sent.expose_secret() != token.expose_secret())
        });
        ComingFile {
            token: token.map(|(token, place)| (token.clone(), place)),
            mapping: Arc::new(read.config.mapping.clone()),
            read,
            changes,
        }
    }

    /// Goes back to the file of before, where HubSpot's answer to a start shows that the mirror can't fit one that came meanwhile. It
    /// is tried again once the start has come to its end.
    ///
    /// # Errors
    /// The file is the one of the start: with that no daemon goes on.
    pub(super) async fn fall_back(
        &mut self,
        error: StepError,
        at: &mut AtWork<'_>,
    ) -> Result<(), RunError> {
        let former = self.former.take().filter(|_| is_refusal(&error));
        let Some(former) = former else {
            return Err(error.into());
        };
        let coming = self.coming_of(former, Vec::new());
        match self.put(Box::new(coming), None, at).await {
            Ok(()) => {}
            Err(NotInForce::Fatal(error)) => return Err(error),
            Err(_) => return Err(error.into()),
        }
        self.former = None;
        self.tell(Err(NotInForce::RefusedByMirror(error.into())), at)?;
        self.try_again_at(Duration::MAX);
        Ok(())
    }

    /// The start has come to its end: from here on the mirror is asked before a file is in force.
    pub(super) fn has_begun(&mut self, at: &AtWork<'_>) {
        self.former = None;
        self.try_again_at(at.all.engine.clock().monotonic());
    }

    fn try_again_at(&mut self, again_at: Duration) {
        if let Some(refused) = &mut self.refused {
            refused.again_at = again_at;
        }
    }

    /// Puts a file in force for which HubSpot was asked.
    async fn answered(
        &mut self,
        answered: Result<SchemaRead, StepError>,
        at: &mut AtWork<'_>,
    ) -> Result<(), NotInForce> {
        let Some(coming) = self.coming.take() else {
            return Ok(());
        };
        match answered {
            Ok(schema) => self.put(coming, Some(schema), at).await,
            Err(error) if is_refusal(&error) => Err(NotInForce::RefusedByMirror(error.into())),
            Err(error) => Err(NotInForce::Fatal(error.into())),
        }
    }

    /// Tries everything that may be refused, and then exchanges everything.
    async fn put(
        &mut self,
        coming: Box<ComingFile>,
        schema: Option<SchemaRead>,
        at: &mut AtWork<'_>,
    ) -> Result<(), NotInForce> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        let engine = Arc::clone(&at.all.engine);
        let config = &coming.read.config;
        let differs = coming.read.differs(&self.read);
        let keeper = match differs.contains(&FilePart::Login) {
            true => Some(keeper(config, &engine).await.map_err(RunError::from)?),
            false => None,
        };
        let set_log = match differs.contains(&FilePart::Log) {
            true => Some((disk.log)(&config.log).map_err(FileRefused::because)?),
            false => None,
        };
        let ready = at
            .listeners
            .prepare(config, differs.contains(&FilePart::Webhooks))
            .await?;
        if let Err(error) = put_mapping(&coming, schema, at).await {
            at.listeners.put_back(ready).await;
            return Err(match error {
                error if is_fatal(&error) => NotInForce::Fatal(error.into()),
                error if is_refusal(&error) => NotInForce::RefusedByMirror(error.into()),
                error => NotInForce::Waits(coming, error),
            });
        }
        // From here on nothing is refused any more.
        let ComingFile { read, changes, .. } = *coming;
        let is_same = read.is_as(&self.read) && changes.is_empty();
        for warning in read.config.warnings.iter().filter(|_| !is_same) {
            tracing::warn!(key = %warning.key, code = warning.code, "{}", warning.message);
        }
        for change in &changes {
            tracing::info!(change = %change.line, "the mapping file was changed");
        }
        let before = std::mem::replace(&mut self.read, read);
        if !at.has_begun {
            self.former.get_or_insert(before);
        }
        self.times += u64::from(!is_same);
        let config = &self.read.config;
        at.parts.settings.exchange(config);
        if differs.contains(&FilePart::Limits) {
            engine.client().limiter().set_limits(config.limits);
        }
        if differs.contains(&FilePart::Guard)
            && let Err(error) = schema::say_guard(&engine).await
        {
            tracing::warn!(error = %with_causes(&error), code = error.code(), "the new guard of emptied values is in force with the next read of the schema");
        }
        let exchanged = at.listeners.exchange(ready).await;
        at.parts.webhooks = config.webhooks.is_some();
        let is_other_login = keeper.is_some();
        if let Some(keeper) = keeper {
            at.parts.keeper = keeper;
        }
        at.stop(|name| {
            (name.task == Task::Deliveries && exchanged)
                || (name.task == Task::Tokens && is_other_login)
        })
        .await;
        at.resume();
        at.parts.bells.ring_all();
        if !is_same {
            tracing::info!("the changed mapping file is in force");
        }
        if let Some(set_log) = set_log {
            set_log();
        }
        Ok(())
    }
}

/// Puts mapping and token of a file in force. Before the start's own read of the schema that one brings what HubSpot has to tell.
async fn put_mapping(
    coming: &ComingFile,
    schema: Option<SchemaRead>,
    at: &mut AtWork<'_>,
) -> Result<(), StepError> {
    let engine = Arc::clone(&at.all.engine);
    let mapping = Arc::clone(&coming.mapping);
    match schema {
        None if !at.has_begun => engine.take_mapping(mapping),
        None if *mapping == *engine.mapping() => {}
        None => engine.take_ways(mapping).await,
        Some(schema) => {
            let reshaped = mapping.reshaped(&engine.mapping());
            if !reshaped.is_empty() {
                at.stop(|name| goes_by_the_mapping(name, &reshaped)).await;
            }
            let known = engine.objects();
            let fitting = schema::put_in_force(&engine, schema);
            let put = working(Step::Schema.work(), fitting).await;
            if put.is_ok() {
                begin_those_that_are_new(&engine, |name| known.get(name).is_some()).await;
            }
            at.resume();
            put?;
        }
    }
    if let Some((token, place)) = &coming.token
        && engine.client().exchange_token(token, place).is_ok()
    {
        tracing::info!("requests are sent with another token");
        // Whoever was refused with the former token waits for longer each time, and need not with this one.
        at.all.condition.anew().ring();
    }
    Ok(())
}

/// Begins a comparison of objects that were not in force before and were away for long.
async fn begin_those_that_are_new(engine: &Engine, was_there: impl Fn(&ObjectType) -> bool) {
    for object in engine.objects().iter() {
        if !was_there(object.object())
            && let Err(error) = reconcile::begin_if_behind(engine, object).await
        {
            tracing::warn!(object = %object.object(), error = %with_causes(&error), code = error.code(), "no comparison could be begun; the schedule begins one");
        }
    }
}

/// The question for a changed file, asked as often as it takes; the first failure ends what systemd waits for.
fn question(
    at: &AtWork<'_>,
    client: Client,
    mapping: Arc<Mapping>,
    failures: u32,
) -> BoxFuture<'static, Result<SchemaRead, StepError>> {
    let (all, systemd) = (at.all.clone(), Arc::clone(&at.parts.systemd));
    async move { ask(&all, &systemd, &client, (&mapping, failures)).await }.boxed()
}

async fn ask(
    all: &Loop,
    systemd: &Systemd,
    client: &Client,
    (mapping, mut failures): (&Arc<Mapping>, u32),
) -> Result<SchemaRead, StepError> {
    let engine = &all.engine;
    if failures > 0 {
        engine.clock().sleep(engine.backoff(failures)).await;
    }
    loop {
        match schema::read(engine, client, Arc::clone(mapping)).await {
            Ok(read) => return Ok(read),
            Err(error) if is_fatal(&error) || is_refusal(&error) => return Err(error),
            Err(error) => {
                failures += 1;
                wait_is_told(all, &error);
                systemd.ready();
                let wait = wait_after_failure(engine, &error, failures);
                engine.clock().sleep(wait).await;
            }
        }
    }
}

/// Says that a right file waits.
fn wait_is_told(all: &Loop, error: &StepError) {
    let explanation = with_causes(error);
    tracing::warn!(error = %explanation, hint = error.hint().as_deref(), code = error.code(), "the changed mapping file waits, and what was in force stays so");
    let told = format!("the changed mapping file waits: {explanation}");
    all.condition
        .set_config_error(Some((told, Some(error.code()))));
}

/// Whether it is the file, or the token, that can't be in force.
fn is_refusal(error: &StepError) -> bool {
    match error {
        StepError::OtherPortal { .. } | StepError::Store(StoreError::OtherPortal { .. }) => true,
        StepError::Store(error) => error.is_configuration() && !error.is_fatal(),
        StepError::Hubspot(_)
        | StepError::OAuth(_)
        | StepError::Seal(_)
        | StepError::NoProgress(_) => false,
    }
}
