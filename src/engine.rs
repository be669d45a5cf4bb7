//! The shell: joins store and HubSpot through the decisions, in bounded steps.
//!
//! A step does one page, one batch or one transaction and says when it wants to be called again; `daemon/tasks.rs`
//! loops round it, `once` and the simulation call the same steps. No step spawns a task or holds a lock across a wait.

mod acts;
pub mod decisions;
#[cfg(test)]
pub(crate) mod desk;
pub mod forgetting;
pub mod inbound;
mod memory;
pub mod outbound;
pub mod pass;
pub mod portal;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
pub use crate::decide::round::Progress;
use crate::engine::memory::StepMemory;
use crate::engine::portal::objects::{ObjectSync, Objects, PortalInForce};
use crate::engine::source::heard::Deliveries;
use crate::hubspot::{CallLog, Client, HubspotError};
use crate::model::attempt::CallMade;
use crate::model::id::PortalId;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::store::calls::CallBook;
use crate::store::{Store, StoreError};

/// Why a step could not be done.
#[derive(Debug, Error)]
pub enum StepError {
    /// HubSpot refused or could not be reached.
    #[error(transparent)]
    Hubspot(#[from] HubspotError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token endpoint refused or could not be reached.
    #[error(transparent)]
    OAuth(#[from] crate::hubspot::call::oauth::OAuthError),
    /// A token could not be sealed.
    #[error(transparent)]
    Seal(crate::store::seal::SealError),
    /// A walk through search results would not end.
    #[error(transparent)]
    NoProgress(#[from] crate::decide::cursor::NoProgress),
    /// The token belongs to another portal than the mapping file names.
    #[error("the token is for portal {found}, and the mapping file for portal {expected}")]
    OtherPortal {
        /// The token's portal.
        found: PortalId,
        /// The portal that was expected.
        expected: PortalId,
    },
}

impl StepError {
    /// Whether the mapping, the token or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::OtherPortal { .. } => true,
            Self::Store(error) => error.is_configuration(),
            Self::Hubspot(_) | Self::OAuth(_) | Self::Seal(_) | Self::NoProgress(_) => false,
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Hubspot(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::OAuth(error) => error.code(),
            Self::Seal(_) => "token-key",
            Self::NoProgress(_) => "no-progress",
            Self::OtherPortal { .. } => "other-portal",
        }
    }

    /// What somebody can do about it.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::OtherPortal { .. } => "use the token of the portal that the mapping file names",
            Self::Store(error) => return error.hint().map(Cow::Borrowed),
            Self::Hubspot(error) => return error.hint(),
            Self::OAuth(error) => error.hint(),
            Self::NoProgress(_) => {
                "report it if it comes again; nothing is lost, since the full comparison finds what the search leaves out"
            }
            Self::Seal(_) => "check `token_key` of `[auth.oauth]`",
        };
        Some(Cow::Borrowed(hint))
    }
}

/// What the steps need to know of the mapping file besides the mapping.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The portal that the file names.
    pub portal: Option<PortalId>,
    /// How far a poll's window reaches back over the last one's end.
    pub overlap: Duration,
    /// After which times a window is walked again.
    pub again: Vec<Duration>,
    /// The brake on mass removal.
    pub guard: Guard,
    /// The interval of polls while webhooks are healthy; `None` without webhooks.
    pub relaxed_poll: Option<Duration>,
    /// Between two passes over all associations.
    pub associations: Duration,
}

impl CallLog for CallBook {
    fn note(&self, call: CallMade) {
        Self::note(self, call);
    }

    fn found(&self, records: u64) {
        Self::found(self, records);
    }
}

/// Where the steps find their settings. Whoever keeps those of the whole mapping file exchanges them there, for its tasks and
/// for the steps in one.
#[derive(Clone)]
pub(crate) struct SettingsSource(Arc<dyn Fn() -> Arc<Settings> + Send + Sync>);

impl SettingsSource {
    /// Those that a function gives at the moment.
    pub(crate) fn new(now: impl Fn() -> Arc<Settings> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
}

/// Joins one database and one portal.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    settings: watch::Sender<SettingsSource>,
    /// The mapping as the file gives it.
    mapping: watch::Sender<Arc<Mapping>>,
    /// Read from the portal, and looked at by each step once: one exchange puts all of it in force.
    in_force: watch::Sender<Arc<PortalInForce>>,
    /// The one source of chance, so that a run can be replayed: whoever draws moves it on for all.
    random: Mutex<ChaCha8Rng>,
    pub(crate) memory: StepMemory,
    started_at: Timestamp,
    /// Held by whoever makes the mirror fit a mapping and puts that in force.
    fitting: tokio::sync::Mutex<()>,
}

/// When a step that goes on for long begins nothing more: at the stop of its task, or when the time of a run is up.
#[derive(Debug, Clone)]
pub struct StepEnd {
    stop: CancellationToken,
    /// By the steady clock; `None`: nobody has said a time.
    at: Option<Duration>,
}

impl StepEnd {
    /// With a task's stop.
    pub fn with(stop: &CancellationToken) -> Self {
        Self {
            stop: stop.clone(),
            at: None,
        }
    }

    /// Or at that moment, by the steady clock.
    #[must_use]
    pub(crate) fn or_at(self, at: Duration) -> Self {
        Self {
            at: Some(at),
            ..self
        }
    }

    /// When the step itself has come to an end, and no sooner.
    pub fn never() -> Self {
        Self::with(&CancellationToken::new())
    }

    /// Whether it has come.
    pub(crate) fn is_reached(&self, engine: &Engine) -> bool {
        let is_late = |at: Duration| engine.clock.monotonic() >= at;
        self.stop.is_cancelled() || self.at.is_some_and(is_late)
    }
}

impl Engine {
    /// Joins the parts; `seed` draws the jitter of retries.
    pub fn new(
        store: Store,
        client: Client,
        clock: Arc<dyn Clock>,
        mapping: Arc<Mapping>,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let started_at = clock.now();
        let settings = Arc::new(settings);
        let settings = SettingsSource::new(move || Arc::clone(&settings));
        client.tell_calls(store.calls().clone());
        Self {
            started_at,
            store,
            client,
            clock,
            settings: watch::Sender::new(settings),
            mapping: watch::Sender::new(mapping),
            in_force: watch::Sender::default(),
            random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            memory: StepMemory::default(),
            fitting: tokio::sync::Mutex::default(),
        }
    }

    /// The objects in force: empty until the portal's schema was read.
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(&self.in_force.borrow().objects)
    }

    /// One object in force.
    pub fn object(&self, name: &ObjectType) -> Option<Arc<ObjectSync>> {
        self.objects().get(name)
    }

    /// Puts in force what was read of the portal, and has the client call its objects by their addresses.
    pub(crate) fn put_in_force(&self, in_force: PortalInForce) {
        for object in in_force.objects.iter() {
            self.client
                .call_object(object.object(), object.mapping().address());
        }
        self.in_force.send_replace(Arc::new(in_force));
    }

    /// Puts another version of one object in force.
    pub(crate) fn replace_object(&self, object: &ObjectSync) {
        self.client
            .call_object(object.object(), object.mapping().address());
        self.in_force
            .send_modify(|in_force| *in_force = Arc::new(in_force.with(object)));
    }

    /// Whether an entry of that age may be done already, because the database is a backup that was put back.
    pub(crate) fn may_be_done(&self, enqueued_at: Timestamp) -> bool {
        self.store.was_restored() && enqueued_at <= self.started_at
    }

    /// Whether something that began then belongs to this run. A time to come was written by a clock that was ahead.
    pub(crate) fn is_of_this_run(&self, began: Timestamp) -> bool {
        (self.started_at..=self.now()).contains(&began)
    }

    /// Whether webhooks arrive.
    pub fn deliveries(&self) -> &Deliveries {
        &self.memory.deliveries
    }

    /// What of the mapping file is in force at this moment. A step looks once, and ends by what it has seen.
    pub fn settings(&self) -> Arc<Settings> {
        let source = self.settings.borrow().clone();
        (source.0)()
    }

    /// From here on the settings are looked for there.
    pub(crate) fn go_by(&self, source: SettingsSource) {
        self.settings.send_replace(source);
    }

    /// Puts in force what another engine has read of the same portal for the same mapping and file, so that it needn't be
    /// asked for again.
    pub fn knows_the_portal_from(&self, other: &Self) {
        let known = PortalInForce::clone(&other.in_force.borrow());
        self.put_in_force(known);
    }

    /// The clock, for the loops.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The mapping as the file gives it at this moment.
    pub fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.mapping.borrow())
    }

    /// From here on the file gives that mapping. What of it can be synced is put in force by the next read of the schema.
    pub(crate) fn take_mapping(&self, mapping: Arc<Mapping>) {
        self.mapping.send_replace(mapping);
    }

    /// Puts of another mapping in force what asks for no other shape of the mirror: who wins, when HubSpot is asked, what the token
    /// sees. Steps look at it when they begin.
    pub(crate) async fn take_ways(&self, mapping: Arc<Mapping>) {
        let _alone = self.fitting.lock().await;
        self.in_force
            .send_modify(|in_force| *in_force = Arc::new(in_force.with_ways_of(&mapping)));
        self.mapping.send_replace(mapping);
    }

    /// The mapping with the portal's types; `None` until the schema was read.
    pub(crate) fn resolved_mapping(&self) -> Option<Arc<Mapping>> {
        self.in_force.borrow().mapping.clone()
    }

    /// After which times a window is walked again.
    pub fn again(&self) -> Vec<Duration> {
        self.settings().again.clone()
    }

    /// How long to wait after that many failures in a row.
    pub fn backoff(&self, failures: u32) -> Duration {
        crate::decide::retry::next_attempt(
            crate::decide::retry::RetryClass::Transient,
            failures,
            self.jitter(),
        )
    }

    /// The store, for status and commands.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether somebody asked for a poll of an object at once, which is over with it.
    pub(crate) fn takes_asked_poll(&self, object: &ObjectType) -> bool {
        self.memory.polls.take(object)
    }

    /// A step begins: what this task sent before belongs to another one's run.
    pub(crate) fn begins_step(&self) {
        self.store.calls().begins_step();
    }

    /// The client, for status.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A number from 0 to 1 for jitter, from the engine's seed.
    pub(crate) fn jitter(&self) -> f64 {
        self.random.lock().random::<f64>()
    }

    /// 128 random bits in hexadecimal, for the key of a create.
    pub(crate) fn random_key(&self) -> String {
        let bits: u128 = self.random.lock().random();
        format!("{bits:032x}")
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// This machine's time as far as HubSpot's bears it out: what is forgotten by its age must not be forgotten because
    /// the clock was put ahead. `None` until HubSpot has said its time.
    pub(crate) fn time_borne_out(&self) -> Option<Timestamp> {
        let now = self.now();
        let known = self.client.knows_hubspots_time();
        known.then(|| now.min(self.client.hubspot_now()))
    }
}
