//! A mapping file that is changed while the daemon runs: read again when it, or a secret that it names, is another than before, and
//! at SIGHUP.
//!
//! A file with a mistake changes nothing: what was in force stays so, and `sync_health.config_error` says why. Of a right one
//! plain settings are exchanged at once. Objects, columns and pairs are read from the portal first; then the tasks that know them
//! end between two steps, the mirror is made to fit, and they begin again: no step and no answer is lost. A rotated token is tried
//! before it is sent with, since it may be another portal's.

mod file;
pub(crate) mod watched;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;

use crate::app::client::ClientError;
use crate::config::{Config, ConfigError, LogSettings, Setting, Severity};
use crate::daemon::bells::Bell;
use crate::daemon::build::StartError;
use crate::daemon::listeners::{Listeners, Ready};
use crate::daemon::reload::file::{FilePart, FileRead};
use crate::daemon::reload::watched::Watched;
use crate::daemon::run::{RunError, keeper};
use crate::daemon::systemd::Systemd;
use crate::daemon::table::{self, Begins, Parts, goes_by_the_mapping};
use crate::daemon::tasks::{Loop, Tasks, is_fatal, wait_after_failure, with_causes};
use crate::daemon::webhooks;
use crate::decide::round::Task;
use crate::engine::portal::schema::{self, SchemaRead};
use crate::engine::source::reconcile;
use crate::engine::{Engine, StepError};
use crate::hubspot::Client;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::store::StoreError;

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

/// Has the log go by other settings, or tells why it can't and stays as it is.
pub(crate) type SetLog = Box<dyn Fn(&LogSettings) -> Result<(), String> + Send + Sync>;

/// Why the file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhyLook {
    /// A file is another than before.
    File,
    /// Somebody asked for it.
    Signal,
}

/// What happens to the mapping file.
pub(super) enum FileEvent {
    /// It is to be read again.
    Look(WhyLook),
    /// HubSpot has answered for a changed one.
    Portal(Box<Result<PortalSaid, StepError>>),
}

/// What HubSpot says of a changed file.
pub(super) struct PortalSaid {
    schema: SchemaRead,
    mapping: Arc<Mapping>,
    token: Option<Token>,
}

/// A static token, and its place in as few words as a sentence needs.
type Token = (SecretString, String);

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
    /// Begins tasks of the table, by the parts of this moment.
    pub(super) fn start(&mut self, begins: Begins, whose: impl Fn(Task) -> bool) {
        for job in table::jobs(&self.parts, begins) {
            if whose(job.name.task) {
                self.tasks.start(job);
            }
        }
    }

    /// Ends tasks between two steps.
    async fn stop(&mut self, whose: impl Fn(Task) -> bool) {
        // A walk over a list goes on for many pages in one step: it begins no further one.
        let engine = &self.all.engine;
        engine.end_steps_at(engine.clock().monotonic());
        let stopped = self.tasks.stop(|name| whose(name.task)).await;
        engine.end_steps_at(Duration::MAX);
        for name in stopped {
            self.all.condition.forget(&name);
        }
    }

    /// Begins what was ended again.
    fn resume(&mut self, whose: impl Fn(Task) -> bool + Copy) {
        self.start(Begins::AtOnce, whose);
        if self.has_begun {
            self.start(Begins::WithTheSchema, whose);
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

/// What is in force of the file, and what is to be.
pub(super) struct Reload {
    /// `None`: nobody changes it.
    disk: Option<OnDisk>,
    /// As it was last read well. Its mapping may still wait for HubSpot.
    read: FileRead,
    /// What is sent with.
    token: Option<SecretString>,
    /// The question to HubSpot that a changed mapping or token waits for.
    asks: Option<BoxFuture<'static, Result<PortalSaid, StepError>>>,
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
            token: read.token().map(|(token, _)| token.clone()),
            read,
            asks: None,
        }
    }

    /// Waits for what happens to the file. May be dropped at any time.
    pub(super) async fn next(&mut self, engine: &Engine) -> FileEvent {
        let Self { disk, asks, .. } = self;
        let Some(disk) = disk else {
            return pending().await;
        };
        let answer = async {
            match asks {
                Some(asks) => asks.await,
                None => pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            answer = answer => FileEvent::Portal(Box::new(answer)),
            () = disk.hangup.notified() => FileEvent::Look(WhyLook::Signal),
            () = disk.watched.changed(engine.clock()) => FileEvent::Look(WhyLook::File),
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
        match event {
            FileEvent::Look(cause) => {
                at.parts.systemd.reloading();
                match self.look(cause, at).await {
                    Ok(()) => {}
                    Err(error) => Self::refuse(at.all, &error),
                }
                if self.asks.is_none() {
                    at.parts.systemd.ready();
                }
                Ok(())
            }
            FileEvent::Portal(answered) => {
                let done = self.answered(*answered, at).await;
                if self.asks.is_none() {
                    at.parts.systemd.ready();
                }
                done
            }
        }
    }

    /// Reads the file again, and puts in force what needs no answer of HubSpot's.
    async fn look(&mut self, cause: WhyLook, at: &mut AtWork<'_>) -> Result<(), FileRefused> {
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let read = self.read.again(&disk.path)?;
        let (next, changes) = read.after(&self.read);
        if cause == WhyLook::Signal && next.has_credential() {
            tracing::info!(
                "systemd hands its credentials over at the start: one that changed is in force after a restart"
            );
        }
        if let Some(tls) = at.listeners.tls() {
            webhooks::reload(&tls);
        }
        let is_same = next.is_as(&self.read) && changes.is_empty();
        match cause {
            WhyLook::Signal if is_same => {
                tracing::info!("the mapping file was read again, and says what it said before");
            }
            WhyLook::File if is_same => {
                tracing::debug!("the mapping file says what it said before");
            }
            WhyLook::Signal | WhyLook::File => {}
        }
        let differs = next.differs(&self.read);
        // First what may be refused: a file that can't be in force as a whole changes nothing.
        let ready = at
            .listeners
            .prepare(&next.config, differs.contains(&FilePart::Webhooks))
            .await?;
        let engine = Arc::clone(&at.all.engine);
        let token = next.token().filter(|(token, _)| {
            let sent = self.token.as_ref().map(SecretString::expose_secret);
            sent != Some(token.expose_secret())
        });
        let token = token.map(|(token, place)| (token.clone(), place));
        let other = match &token {
            Some((token, place)) => Some(
                engine
                    .client()
                    .with_token(token, place)
                    .map_err(ClientError::from)?,
            ),
            None => None,
        };
        if differs.contains(&FilePart::Login) {
            at.parts.keeper = keeper(&next.config, &engine)
                .await
                .map_err(RunError::from)?;
        }
        if differs.contains(&FilePart::Log) {
            (disk.log)(&next.config.log).map_err(|explanation| FileRefused {
                mistakes: vec![FileMistake {
                    explanation,
                    ..FileMistake::default()
                }],
            })?;
        }
        for warning in &next.config.warnings {
            tracing::warn!(key = %warning.key, "{}", warning.message);
        }
        for change in &changes {
            tracing::info!(change = %change.line, "the mapping file was changed");
        }
        at.all.condition.set_config_error(None);
        disk.watched.follow(next.files(&disk.path));
        self.asks = None;
        self.read = next;
        self.exchange(&differs, ready, at).await?;
        self.ask(token, other, at)
    }

    /// Puts plain settings, limits and listeners in force, and has everybody look at them.
    async fn exchange(
        &mut self,
        differs: &BTreeSet<FilePart>,
        ready: Ready,
        at: &mut AtWork<'_>,
    ) -> Result<(), FileRefused> {
        let (config, engine) = (&self.read.config, Arc::clone(&at.all.engine));
        at.parts.settings.exchange(config);
        if differs.contains(&FilePart::Limits) {
            engine.client().limiter().set_limits(config.limits);
        }
        if differs.contains(&FilePart::Guard)
            && let Err(error) = schema::say_guard(&engine).await
        {
            tracing::warn!(error = %with_causes(&error), "the new guard of emptied values is in force with the next read of the schema");
        }
        let ring = at.parts.bells.of(Bell::Inbox);
        let exchanged = at
            .listeners
            .exchange(ready, config.webhooks.as_ref(), (&engine, ring))
            .await?;
        at.parts.webhooks = config.webhooks.is_some();
        at.parts.tls = at.listeners.tls();
        let anew = [
            (Task::Deliveries, exchanged),
            (Task::Certificate, exchanged),
            (Task::Tokens, differs.contains(&FilePart::Login)),
            (Task::Schema, differs.contains(&FilePart::Reference)),
        ];
        let is_made_anew = |task: Task| anew.contains(&(task, true));
        at.stop(is_made_anew).await;
        at.resume(is_made_anew);
        at.parts.bells.ring_all();
        Ok(())
    }

    /// Asks HubSpot for what another mapping or token has to be known of first. Before the start's own read of the schema that one
    /// asks.
    fn ask(
        &mut self,
        token: Option<Token>,
        other: Option<Client>,
        at: &AtWork<'_>,
    ) -> Result<(), FileRefused> {
        let engine = &at.all.engine;
        let mapping = Arc::new(self.read.config.mapping.clone());
        let is_other_mapping = *mapping != *engine.mapping();
        if !at.has_begun {
            if let Some((token, place)) = token {
                let client = engine.client();
                let sent = client.exchange_token(&token, &place);
                sent.map_err(ClientError::from)?;
                self.token = Some(token);
            }
            if is_other_mapping {
                engine.take_mapping(mapping);
            }
            return Ok(());
        }
        if is_other_mapping || token.is_some() {
            let client = other.unwrap_or_else(|| engine.client().clone());
            client.tell_calls(engine.store().calls().clone());
            self.asks = Some(question(at, client, (token, mapping), 0));
        }
        Ok(())
    }

    /// Puts another mapping and token in force, now that HubSpot has answered for them.
    async fn answered(
        &mut self,
        answered: Result<PortalSaid, StepError>,
        at: &mut AtWork<'_>,
    ) -> Result<(), RunError> {
        let PortalSaid {
            schema,
            mapping,
            token,
        } = match answered {
            Ok(answered) => answered,
            Err(error) if is_refusal(&error) => {
                Self::refuse(at.all, &error.into());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let engine = Arc::clone(&at.all.engine);
        // Whoever was refused with the former token waits for longer each time, and need not with this one.
        let mut begin_anew = *mapping != *engine.mapping();
        if let Some((token, place)) = token
            && engine.client().exchange_token(&token, &place).is_ok()
        {
            tracing::info!("requests are sent with another token");
            self.token = Some(token);
            begin_anew = true;
        }
        if begin_anew {
            at.stop(goes_by_the_mapping).await;
        }
        let known = engine.objects();
        let put = schema::put_in_force(&engine, schema).await;
        let begun = match &put {
            Ok(_) => begin_those_that_are_new(&engine, |name| known.get(name).is_some()).await,
            Err(_) => Ok(()),
        };
        if begin_anew {
            at.resume(goes_by_the_mapping);
        }
        at.parts.bells.ring_all();
        match put.map(|_| ()).and(begun) {
            Ok(()) => {
                at.all.condition.set_config_error(None);
                tracing::info!("the changed mapping file is in force");
            }
            Err(error) if is_fatal(&error) => return Err(error.into()),
            Err(error) if is_refusal(&error) => Self::refuse(at.all, &error.into()),
            // The file is locked, or the disk full: asked again after a while.
            Err(error) => {
                wait_is_told(at.all, &error);
                let client = engine.client().clone();
                self.asks = Some(question(at, client, (None, mapping), 1));
            }
        }
        Ok(())
    }

    /// Says why a changed file is not in force.
    fn refuse(all: &Loop, refusal: &FileRefused) {
        for mistake in &refusal.mistakes {
            let FileMistake {
                place,
                key,
                code,
                explanation,
                hint,
            } = mistake;
            tracing::error!(place, key, code, hint, "{explanation}");
        }
        tracing::error!("the changed mapping file is not in force; what was in force stays so");
        let told = refusal.mistakes.iter().map(FileMistake::to_string);
        let told: Vec<String> = told.collect();
        let code = refusal.mistakes.iter().find_map(|mistake| mistake.code);
        all.condition
            .set_config_error(Some((told.join("; "), code)));
    }
}

/// Begins a comparison of objects that were not in force before and were away for long.
async fn begin_those_that_are_new(
    engine: &Engine,
    was_there: impl Fn(&ObjectType) -> bool,
) -> Result<(), StepError> {
    for object in engine.objects().iter() {
        if !was_there(object.object()) {
            reconcile::begin_if_behind(engine, object).await?;
        }
    }
    Ok(())
}

/// The question for a changed file, asked as often as it takes; the first failure ends what systemd waits for.
fn question(
    at: &AtWork<'_>,
    client: Client,
    (token, mapping): (Option<Token>, Arc<Mapping>),
    failures: u32,
) -> BoxFuture<'static, Result<PortalSaid, StepError>> {
    let (all, systemd) = (at.all.clone(), Arc::clone(&at.parts.systemd));
    async move {
        let schema = ask(&all, &systemd, &client, (&mapping, failures)).await?;
        Ok(PortalSaid {
            schema,
            mapping,
            token,
        })
    }
    .boxed()
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

/// Why a changed file is not in force: every mistake.
#[derive(Debug)]
pub(super) struct FileRefused {
    mistakes: Vec<FileMistake>,
}

#[derive(Debug, Default)]
struct FileMistake {
    place: Option<String>,
    key: Option<String>,
    code: Option<&'static str>,
    explanation: String,
    hint: Option<String>,
}

impl std::fmt::Display for FileMistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}", self.explanation),
            None => formatter.write_str(&self.explanation),
        }
    }
}

impl FileRefused {
    fn of(error: &dyn std::error::Error, code: Option<&'static str>, hint: Option<String>) -> Self {
        Self {
            mistakes: vec![FileMistake {
                code,
                explanation: with_causes(error),
                hint,
                ..FileMistake::default()
            }],
        }
    }
}

impl From<ConfigError> for FileRefused {
    fn from(error: ConfigError) -> Self {
        let ConfigError::Invalid(report) = error else {
            return Self::of(&error, error.code(), error.hint());
        };
        let errors = report.problems.into_iter();
        let errors = errors.filter(|problem| problem.severity == Severity::Error);
        Self {
            mistakes: errors
                .map(|problem| FileMistake {
                    place: (!problem.is_unreadable()).then(|| {
                        let file = problem.file.file_name().unwrap_or_default();
                        let file = file.to_string_lossy();
                        format!("{file}:{}:{}", problem.line, problem.column)
                    }),
                    key: Some(problem.key).filter(|key| !key.is_empty()),
                    code: Some(problem.code),
                    explanation: problem.message,
                    hint: Some(problem.hint),
                })
                .collect(),
        }
    }
}

impl From<RunError> for FileRefused {
    fn from(error: RunError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}

impl From<ClientError> for FileRefused {
    fn from(error: ClientError) -> Self {
        RunError::from(StartError::from(error)).into()
    }
}

impl From<StepError> for FileRefused {
    fn from(error: StepError) -> Self {
        RunError::from(error).into()
    }
}
