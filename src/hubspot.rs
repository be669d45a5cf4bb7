//! HubSpot's API: `Client`, one typed method for each endpoint that is called.
//!
//! The client paces itself by the [`Limiter`], repeats reads and whatever HubSpot did not carry out (429), and never
//! repeats a write whose outcome is unknown. It decides nothing about records: what an answer means for a row is said
//! by `decide/`, and carried out by `engine/`. Nothing here knows SQLite.

pub mod call;
pub mod endpoints;
pub mod record;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod testing;
pub mod webhook;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

pub(crate) use crate::decide::quota::Priority;
pub use crate::hubspot::call::answer::Answer;
pub use crate::hubspot::call::error::{HubspotError, Retry, TokenName};
pub use crate::hubspot::call::limiter::Limiter;
pub(crate) use crate::hubspot::call::observe::CallLog;
pub use crate::hubspot::call::transport::Transport;
pub(crate) use crate::hubspot::endpoints::batch::BatchRead;
pub use crate::hubspot::endpoints::batch::ReadQuery;
pub use crate::hubspot::endpoints::list::{ListQuery, Page};
pub(crate) use crate::hubspot::endpoints::reread::Reread;
pub use crate::hubspot::endpoints::search::{SearchPage, SearchQuery};
pub(crate) use crate::hubspot::endpoints::write::{BatchWrite, InputError};
pub use crate::model::answer::Record;
pub(crate) use crate::model::answer::WriteInput;

use crate::clock::Clock;
use crate::decide::clock::HubspotTime;
use crate::hubspot::call::standing::Learnt;
use crate::hubspot::endpoints::list::ListWalks;
use crate::hubspot::endpoints::pages::PageSize;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::model::name::ObjectType;
use crate::model::settings::ApiVersion;
use crate::model::time::Timestamp;

/// Why nothing is sent before an OAuth app's token was looked for.
pub(crate) const NO_TOKEN_YET: &str = "no token yet";

/// Why nothing is sent between the end of a token and its renewal.
pub(crate) const RENEWING: &str = "the access token has died and is being renewed";

/// How long a request waits for a token to be renewed, like `limiter::LONGEST_PAUSE`; then it is not sent.
const LONGEST_RENEWAL: Duration = Duration::from_secs(15);

/// A client of one portal; clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<ClientInner>,
}

struct ClientInner {
    transport: Arc<dyn Transport>,
    limiter: Arc<Limiter>,
    clock: Arc<dyn Clock>,
    authorization: RwLock<Result<HeaderValue, Arc<str>>>,
    /// Whether HubSpot refused the present token since it was set.
    rejected: AtomicBool,
    /// Whether HubSpot accepted the present token since it was set.
    works: AtomicBool,
    /// When the present token dies, in milliseconds; the greatest number where nobody said.
    dies_at: AtomicI64,
    /// Rings when there is another token, or another reason for none.
    changed: Notify,
    /// Whether the token is an OAuth app's.
    is_oauth: bool,
    version: ApiVersion,
    /// HubSpot's time, by its answers.
    time: Mutex<HubspotTime>,
    /// The state of the jitter's generator.
    jitter: AtomicU64,
    /// Who keeps what was sent.
    calls: OnceLock<Box<dyn CallLog>>,
    /// What the last answers say of HubSpot and the token.
    learnt: Mutex<Learnt>,
    /// Where the static token stands.
    token_place: RwLock<Option<String>>,
    /// The app that the token belongs to.
    own_app: Mutex<OwnApp>,
    /// How long pages are, by endpoint and object.
    page_sizes: Mutex<BTreeMap<(&'static str, ObjectType), PageSize>>,
    /// Where the pages of lists began that are being walked.
    walks: Mutex<ListWalks>,
    /// What HubSpot calls objects that are called otherwise here.
    addresses: RwLock<BTreeMap<ObjectType, ObjectType>>,
}

/// What is known of the app that the token belongs to.
#[derive(Debug, Clone, Default)]
enum OwnApp {
    /// Nobody has asked.
    #[default]
    NotAsked,
    /// HubSpot does not say: a service key, an OAuth app.
    Unsaid,
    /// Its id, as histories name it.
    Known(String),
}

/// A token that no header can carry: control characters or none at all.
#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    /// Nothing but space.
    #[error("the access token is empty")]
    Empty,
    /// Line ends or other characters that no header can carry.
    #[error("the access token has characters that no token has")]
    Characters(#[source] http::header::InvalidHeaderValue),
}

impl Client {
    /// A client that sends by `transport`, paced by `limiter`, with a static bearer token.
    pub fn new(
        transport: Arc<dyn Transport>,
        limiter: Arc<Limiter>,
        clock: Arc<dyn Clock>,
        token: &SecretString,
        version: ApiVersion,
    ) -> Result<Self, BadToken> {
        let authorization = Ok(bearer(token)?);
        Ok(Self::with_authorization(
            transport,
            limiter,
            clock,
            authorization,
            version,
        ))
    }

    /// A client of an OAuth app, without a token yet: [`authorize`](Self::authorize) brings it.
    pub(crate) fn logged_out(
        transport: Arc<dyn Transport>,
        limiter: Arc<Limiter>,
        clock: Arc<dyn Clock>,
        version: ApiVersion,
    ) -> Self {
        let authorization = Err(Arc::from(NO_TOKEN_YET));
        Self::with_authorization(transport, limiter, clock, authorization, version)
    }

    fn with_authorization(
        transport: Arc<dyn Transport>,
        limiter: Arc<Limiter>,
        clock: Arc<dyn Clock>,
        authorization: Result<HeaderValue, Arc<str>>,
        version: ApiVersion,
    ) -> Self {
        Self {
            inner: Arc::new(ClientInner {
                transport,
                limiter,
                clock,
                is_oauth: authorization.is_err(),
                authorization: RwLock::new(authorization),
                rejected: AtomicBool::new(false),
                works: AtomicBool::new(false),
                dies_at: AtomicI64::new(i64::MAX),
                changed: Notify::new(),
                version,
                time: Mutex::default(),
                jitter: AtomicU64::new(0),
                calls: OnceLock::new(),
                learnt: Mutex::default(),
                token_place: RwLock::default(),
                own_app: Mutex::default(),
                page_sizes: Mutex::default(),
                walks: Mutex::default(),
                addresses: RwLock::default(),
            }),
        }
    }

    /// Sends with another token from now on, until it dies.
    ///
    /// # Errors
    /// The token can't be sent in a header; the former one stays.
    pub fn authorize(&self, token: &SecretString, dies_at: Timestamp) -> Result<(), BadToken> {
        let authorization = bearer(token)?;
        self.set_authorization(Ok(authorization), dies_at.millis());
        Ok(())
    }

    /// Sends nothing from now on, and says why.
    pub(crate) fn withdraw(&self, why: &str) {
        self.set_authorization(Err(Arc::from(why)), i64::MAX);
    }

    fn set_authorization(&self, authorization: Result<HeaderValue, Arc<str>>, dies_at: i64) {
        self.inner.dies_at.store(dies_at, Ordering::Relaxed);
        self.inner.rejected.store(false, Ordering::Relaxed);
        self.inner.works.store(false, Ordering::Relaxed);
        *self.inner.authorization.write() = authorization;
        self.inner.changed.notify_waiters();
    }

    /// The token to send with; one that is known to be dead is waited on to be renewed, for a while.
    async fn token(&self) -> Result<HeaderValue, Arc<str>> {
        let began = self.inner.clock.monotonic();
        loop {
            // Registered before the look, so that no ring in between is lost.
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.present_token() {
                Err(why) if &*why == RENEWING => {
                    let waited = self.inner.clock.monotonic().saturating_sub(began);
                    if waited >= LONGEST_RENEWAL {
                        return Err(why);
                    }
                    tokio::select! {
                        // In order, so that a run can be replayed.
                        biased;
                        () = &mut changed => {}
                        () = self.inner.clock.sleep(LONGEST_RENEWAL.saturating_sub(waited)) => {}
                    }
                }
                known => return known,
            }
        }
    }

    /// The token, unless it is known to be dead.
    fn present_token(&self) -> Result<HeaderValue, Arc<str>> {
        let token = self.authorization()?;
        let has_died =
            self.inner.clock.now().millis() >= self.inner.dies_at.load(Ordering::Relaxed);
        // Nobody renews a static token: to send it again is the only way to learn that it is good again.
        if self.inner.is_oauth && (has_died || self.was_rejected()) {
            return Err(Arc::from(RENEWING));
        }
        Ok(token)
    }

    fn authorization(&self) -> Result<HeaderValue, Arc<str>> {
        self.inner.authorization.read().clone()
    }

    /// Why nothing is sent, where there is no token.
    pub(crate) fn logged_out_because(&self) -> Option<String> {
        self.authorization().err().map(|why| why.to_string())
    }

    /// Whether HubSpot refused the present token.
    pub(crate) fn was_rejected(&self) -> bool {
        self.inner.rejected.load(Ordering::Relaxed)
    }

    /// Whether the token is an OAuth app's, which is renewed.
    pub(crate) fn is_oauth(&self) -> bool {
        self.inner.is_oauth
    }

    /// Whether HubSpot accepted the present token.
    pub(crate) fn token_works(&self) -> bool {
        self.inner.works.load(Ordering::Relaxed)
    }

    /// Learns from an answer whether the token is good; one to a former token says nothing about the present one.
    fn observe_token(&self, sent: &HeaderValue, status: u16, works: bool) {
        let is_present = || self.authorization().is_ok_and(|present| present == *sent);
        if (works || status == 401) && is_present() {
            self.inner.works.store(works, Ordering::Relaxed);
            self.inner.rejected.store(!works, Ordering::Relaxed);
        }
    }

    /// Seeds the jitter of repeated reads. Daemons of many portals give each its own seed; a simulated run gives the
    /// run's.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        self.inner.jitter.store(seed, Ordering::Relaxed);
        self
    }

    /// Tells where the static token stands, for the words about one that is refused.
    #[must_use]
    pub(crate) fn with_token_place(self, place: &str) -> Self {
        *self.inner.token_place.write() = Some(place.to_owned());
        self
    }

    /// A client on the same way and under the same limits, with another static token: to try it before it is put in force.
    pub(crate) fn with_token(&self, token: &SecretString, place: &str) -> Result<Self, BadToken> {
        let ClientInner {
            transport,
            limiter,
            clock,
            version,
            ..
        } = &*self.inner;
        let (transport, limiter) = (Arc::clone(transport), Arc::clone(limiter));
        let other = Self::new(transport, limiter, Arc::clone(clock), token, *version)?;
        Ok(other.with_token_place(place))
    }

    /// Sends with another static token from now on, of the same portal.
    pub(crate) fn exchange_token(&self, token: &SecretString, place: &str) -> Result<(), BadToken> {
        let authorization = bearer(token)?;
        *self.inner.token_place.write() = Some(place.to_owned());
        // It may be another app's.
        *self.inner.own_app.lock() = OwnApp::NotAsked;
        self.set_authorization(Ok(authorization), i64::MAX);
        Ok(())
    }

    /// The present token as it may be shown.
    fn token_name(&self) -> TokenName {
        if self.inner.is_oauth {
            return TokenName::of_login();
        }
        let place = self.inner.token_place.read().clone();
        let place = place.as_deref().unwrap_or("`[auth]`");
        let header = self.authorization().ok();
        let header = header.as_ref().and_then(|value| value.to_str().ok());
        let token = header.unwrap_or_default().trim_start_matches("Bearer ");
        TokenName::new(place, token)
    }

    /// Asks for an object under what HubSpot calls it from now on.
    pub(crate) fn call_object(&self, object: &ObjectType, address: &ObjectType) {
        let mut addresses = self.inner.addresses.write();
        addresses.insert(object.clone(), address.clone());
    }

    /// What HubSpot calls an object. Its schema is looked for under the name that is given.
    fn address_of(&self, endpoint: Endpoint, object: Option<&ObjectType>) -> Option<ObjectType> {
        let object = object?;
        if endpoint == Endpoint::Schema {
            return Some(object.clone());
        }
        let addresses = self.inner.addresses.read();
        Some(addresses.get(object).unwrap_or(object).clone())
    }

    /// The limiter that all calls go through.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.inner.limiter
    }

    /// HubSpot's clock minus this machine's, in milliseconds, by the `Date` of the last answers; 0 under two seconds,
    /// which is all that such a header can tell. A step of this machine's clock is known at once.
    pub fn clock_offset_ms(&self) -> i64 {
        let clock = &self.inner.clock;
        self.time().offset_ms(clock.monotonic(), clock.now())
    }

    /// The time by HubSpot's clock: the upper end of every search window (`hubspot/api-facts.md#6`).
    pub(crate) fn hubspot_now(&self) -> Timestamp {
        self.inner.clock.now().plus_millis(self.clock_offset_ms())
    }

    /// Whether HubSpot has answered, so that its time is known.
    pub(crate) fn knows_hubspots_time(&self) -> bool {
        self.time().is_known()
    }

    fn time(&self) -> parking_lot::MutexGuard<'_, HubspotTime> {
        self.inner.time.lock()
    }
}

fn bearer(token: &SecretString) -> Result<HeaderValue, BadToken> {
    let token = token.expose_secret().trim();
    if token.is_empty() {
        return Err(BadToken::Empty);
    }
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(BadToken::Characters)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
