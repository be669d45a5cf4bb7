//! HubSpot's API: `Client`, one typed method for each endpoint that is called.
//!
//! The client paces itself by the [`limiter`], repeats reads and whatever HubSpot did not carry out (429), and never
//! repeats a write whose outcome is unknown. It decides nothing about records: what an answer means for a row is said
//! by `decide/`, and carried out by `engine/`. Nothing here knows SQLite.

pub mod account;
pub mod answer;
pub mod batch;
mod call;
pub mod error;
mod headers;
pub mod limiter;
pub mod list;
pub mod observe;
pub mod owners;
pub mod paths;
pub mod pipelines;
pub mod properties;
pub mod record;
pub mod search;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod webhook;
mod wire;
pub mod write;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

pub use crate::decide::quota::{EndpointClass, Priority};
pub use crate::hubspot::account::{Account, DailyUsage};
pub use crate::hubspot::batch::{BatchRead, ReadQuery};
pub use crate::hubspot::error::{HubspotError, Retry};
pub use crate::hubspot::limiter::Limiter;
pub use crate::hubspot::list::{ListQuery, Page};
pub use crate::hubspot::observe::RequestCount;
pub use crate::hubspot::record::{HistoryEntry, Record};
pub use crate::hubspot::search::{SearchPage, SearchQuery};
pub use crate::hubspot::transport::Transport;
pub use crate::hubspot::write::{BatchWrite, InputError, WriteInput};

use crate::clock::Clock;
use crate::hubspot::observe::Observations;
use crate::model::settings::ApiVersion;
use crate::model::time::Timestamp;

/// A client of one portal; clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    limiter: Arc<Limiter>,
    clock: Arc<dyn Clock>,
    authorization: HeaderValue,
    version: ApiVersion,
    /// HubSpot's clock minus ours, in milliseconds.
    clock_offset_ms: AtomicI64,
    /// The state of the jitter's generator.
    jitter: AtomicU64,
    observations: Mutex<Observations>,
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
        Ok(Self {
            inner: Arc::new(Inner {
                transport,
                limiter,
                clock,
                authorization: bearer(token)?,
                version,
                clock_offset_ms: AtomicI64::new(0),
                jitter: AtomicU64::new(0),
                observations: Mutex::default(),
            }),
        })
    }

    /// Seeds the jitter of repeated reads. Daemons of many portals give each its own seed; a simulated run gives the
    /// run's.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        self.inner.jitter.store(seed, Ordering::Relaxed);
        self
    }

    /// The limiter that all calls go through.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.inner.limiter
    }

    /// HubSpot's clock minus this machine's, in milliseconds, by the `Date` of a recent answer; 0 under two seconds,
    /// which is all that such a header can tell.
    pub fn clock_offset_ms(&self) -> i64 {
        self.inner.clock_offset_ms.load(Ordering::Relaxed)
    }

    /// The time by HubSpot's clock: the upper end of every search window (`hubspot/api-facts.md#6`).
    pub fn hubspot_now(&self) -> Timestamp {
        self.inner.clock.now().plus_millis(self.clock_offset_ms())
    }

    /// What was sent since the last call of this, by endpoint.
    pub fn take_request_counts(&self) -> BTreeMap<&'static str, RequestCount> {
        self.observations().take_counts()
    }

    fn observations(&self) -> std::sync::MutexGuard<'_, Observations> {
        self.inner
            .observations
            .lock()
            .expect("no panic while counting")
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
