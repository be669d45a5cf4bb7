//! The shell: joins store and HubSpot through the decisions, in bounded steps.
//!
//! A step does one page, one batch or one transaction and says when it wants to be called again; `daemon/tasks.rs`
//! loops round it, `once` and the simulation call the same steps. No step spawns a task or holds a lock across a wait.

#[cfg(test)]
pub(crate) mod desk;
pub mod forgetting;
mod hands;
pub mod inbound;
pub mod outbound;
pub mod pass;
pub mod people;
pub mod portal;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;
use tokio::sync::watch;

use crate::clock::Clock;
pub use crate::decide::round::Progress;
use crate::engine::people::later;
use crate::engine::portal::access;
use crate::engine::portal::contradictions;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::engine::source::{backfill, blanks, deliveries, receive};
use crate::hubspot::{Client, HubspotError};
use crate::model::id::PortalId;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
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
    #[error("{0}")]
    Seal(crate::store::seal::SealError),
    /// A walk through search results would not end.
    #[error("{0}; the walk goes on through the full comparison")]
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

    /// What somebody can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OtherPortal { .. } => {
                Some("use the token of the portal that the mapping file names")
            }
            Self::Store(error) => error.hint(),
            Self::OAuth(crate::hubspot::call::oauth::OAuthError::Refused { .. }) => {
                Some("check `client_id` and `client_secret` of `[auth.oauth]`")
            }
            Self::Hubspot(error) => error.hint(),
            Self::OAuth(_) => Some("it is tried again; look at this machine's network and proxy"),
            Self::NoProgress(_) => Some("nothing is lost; report it if it comes again"),
            Self::Seal(_) => Some("check `token_key` of `[auth.oauth]`"),
        }
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

/// Joins one database and one portal.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    settings: watch::Sender<Arc<Settings>>,
    /// The mapping as the file gives it.
    pub(crate) mapping: Arc<Mapping>,
    objects: RwLock<Arc<Objects>>,
    resolved: RwLock<Option<Arc<Mapping>>>,
    random: Mutex<ChaCha8Rng>,
    turns: AtomicU64,
    /// Pages of first reads that were asked for ahead.
    ahead: Mutex<BTreeMap<ObjectType, backfill::Ahead>>,
    /// Objects that wait for a scope.
    pub(crate) refusals: access::Refusals,
    /// Which answers have contradicted what is known of the portal.
    pub(crate) met: contradictions::Contradicted,
    /// Which properties HubSpot has, where an answer made somebody ask.
    known_properties: Mutex<BTreeMap<ObjectType, blanks::KnownProperties>>,
    /// Whether webhooks arrive.
    pub(crate) deliveries: deliveries::Deliveries,
    /// When events came.
    pub(crate) arrivals: receive::Arrivals,
    /// Which decisions wait for a better answer.
    pub(crate) later: later::LaterDecisions,
    started_at: Timestamp,
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
        Self {
            started_at,
            store,
            client,
            clock,
            settings: watch::Sender::new(Arc::new(settings)),
            mapping,
            objects: RwLock::new(Arc::new(Objects::default())),
            resolved: RwLock::new(None),
            random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            turns: AtomicU64::new(0),
            ahead: Mutex::default(),
            refusals: access::Refusals::default(),
            met: contradictions::Contradicted::default(),
            known_properties: Mutex::default(),
            deliveries: deliveries::Deliveries::default(),
            arrivals: receive::Arrivals::default(),
            later: later::LaterDecisions::default(),
        }
    }

    /// The objects in force: empty until the portal's schema was read.
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(&self.objects.read())
    }

    /// One object in force.
    pub fn object(&self, name: &ObjectType) -> Option<Arc<ObjectSync>> {
        self.objects().get(name)
    }

    pub(crate) fn set_objects(&self, objects: Objects) {
        for object in objects.iter() {
            self.client
                .call_object(object.object(), object.mapping().address());
        }
        *self.objects.write() = Arc::new(objects);
    }

    /// Puts another version of one object in force.
    pub(crate) fn replace_object(&self, object: &ObjectSync) {
        let objects = self.objects();
        let name = object.object().clone();
        let changed = objects.iter().map(|former| {
            if former.object() == &name {
                object.clone()
            } else {
                ObjectSync::clone(former)
            }
        });
        self.set_objects(Objects::new(changed.collect()));
    }

    /// Whether an entry of that age may be done already, because the database is a backup that was put back.
    pub(crate) fn may_be_done(&self, enqueued_at: Timestamp) -> bool {
        self.store.was_restored() && enqueued_at <= self.started_at
    }

    /// Whether webhooks arrive.
    pub fn deliveries(&self) -> &deliveries::Deliveries {
        &self.deliveries
    }

    /// What of the mapping file is in force at this moment. A step looks once.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Puts other settings in force; a step that runs ends by those that it has looked at.
    pub(crate) fn exchange_settings(&self, settings: Settings) {
        self.settings.send_replace(Arc::new(settings));
    }

    /// Puts in force what another engine has read of the same portal for the same mapping and file, so that it needn't be
    /// asked for again.
    pub fn knows_the_portal_from(&self, other: &Self) {
        self.set_objects(Objects::clone(&other.objects()));
        *self.resolved.write() = other.resolved_mapping();
    }

    pub(crate) fn keep_ahead(&self, object: &ObjectType, ahead: backfill::Ahead) {
        self.ahead.lock().insert(object.clone(), ahead);
    }

    pub(crate) fn take_ahead(&self, object: &ObjectType) -> Option<backfill::Ahead> {
        self.ahead.lock().remove(object)
    }

    pub(crate) fn known_properties(&self, object: &ObjectType) -> Option<blanks::KnownProperties> {
        self.known_properties.lock().get(object).cloned()
    }

    pub(crate) fn set_known_properties(&self, object: &ObjectType, known: blanks::KnownProperties) {
        self.known_properties.lock().insert(object.clone(), known);
    }

    /// Counts the batches that were sent.
    pub(crate) fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The clock, for the loops.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The mapping as the file gives it.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn mapping_arc(&self) -> Arc<Mapping> {
        Arc::clone(&self.mapping)
    }

    /// The mapping with the portal's types; `None` until the schema was read.
    pub(crate) fn resolved_mapping(&self) -> Option<Arc<Mapping>> {
        self.resolved.read().clone()
    }

    pub(crate) fn set_resolved(&self, mapping: Mapping) {
        *self.resolved.write() = Some(Arc::new(mapping));
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
