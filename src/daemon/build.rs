//! Builds the parts from the configuration: database, limiter, client, engine. Only here and in `cli` is `Config` known.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use secrecy::SecretString;
use thiserror::Error;

use crate::app::client::{self, ClientError};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::tasks::with_causes;
use crate::daemon::{heartbeat, settings};
use crate::engine::Engine;
use crate::engine::outbound::settle;
use crate::hubspot::call::limiter::{LeaseError, LeaseFn, Limiter, StartState};
use crate::hubspot::call::transport::ReqwestTransport;
use crate::store::meta::PUT_BACK;
use crate::store::shape::repair;
use crate::store::{Lane, Mode, OpenOptions, Store, StoreError, meta, quota};

/// How long the daemon waits for another program's transaction.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the daemon can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The file, a secret that it names, or the way to HubSpot.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StartError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.hint(),
            Self::Store(error) => error.hint().map(str::to_owned),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Client(error) => error.code(),
            Self::Store(error) => Some(error.code()),
        }
    }

    /// Whether the same start may go well in a while, without a word of the mapping file's.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Client(_) => false,
            Self::Store(error) => error.passes(),
        }
    }

    /// Whether a restart can't help, because the file, a secret or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Client(_) => true,
            Self::Store(error) => error.is_configuration(),
        }
    }
}

/// Opens the database and joins it with the portal that the file names.
pub async fn build(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<Engine>, StartError> {
    build_within(config, clock, BUSY_TIMEOUT).await
}

/// The same, with a time of its own to wait for another program's transaction.
pub(crate) async fn build_within(
    config: &Config,
    clock: Arc<dyn Clock>,
    busy_timeout: Duration,
) -> Result<Arc<Engine>, StartError> {
    let token = client::token_in_file(config)?;
    let portal = config
        .portal
        .id
        .as_ref()
        .map(crate::config::PortalIdSource::resolve)
        .transpose()
        .map_err(ClientError::from)?;
    let transport = client::transport(config)?;
    let store = open(config, &clock, busy_timeout)?;
    let joined = join(
        config,
        store.clone(),
        transport,
        Arc::clone(&clock),
        token.as_ref(),
        portal,
    );
    match joined.await {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => {
            heartbeat::end_failed(&store, with_causes(&error), error.code()).await;
            Err(error)
        }
    }
}

fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    busy_timeout: Duration,
) -> Result<Store, StoreError> {
    let options = OpenOptions {
        path: config.database.clone(),
        mode: Mode::Threads,
        busy_timeout,
        checkpoint: config.checkpoint,
    };
    Store::open(&options, Arc::clone(clock))
}

async fn join(
    config: &Config,
    store: Store,
    transport: Arc<ReqwestTransport>,
    clock: Arc<dyn Clock>,
    token: Option<&SecretString>,
    portal: Option<crate::model::id::PortalId>,
) -> Result<Engine, StartError> {
    let mapping = config.mapping.clone();
    let start = store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            meta::begin_daemon(tx, env!("CARGO_PKG_VERSION"), now)?;
            for name in repair::views_first(tx, &mapping, now)? {
                tracing::warn!(
                    name,
                    code = PUT_BACK,
                    "somebody dropped this; it was put back"
                );
            }
            let left = settle::recover(tx, now)?;
            if left > 0 {
                tracing::info!(
                    entries = left,
                    "entries were in flight when the daemon stopped; they are looked at again"
                );
            }
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
        time_zone: zone,
    };
    let limiter = Limiter::new(
        config.limits,
        Arc::clone(&clock),
        lease_from(&store),
        &start,
    );
    if let Some(wait) = limiter.first_wait() {
        let until = clock.now().plus_millis(wait.as_millis() as i64);
        tracing::info!(%until, "what the last run sent fills HubSpot's window; the first requests wait until it is free");
    }
    let seed: u64 = rand::random();
    let client = client::client(config, transport, limiter, (Arc::clone(&clock), token))?;
    let client = client.with_seed(seed);
    Ok(Engine::new(
        store,
        client,
        clock,
        Arc::new(config.mapping.clone()),
        settings::of_engine(config, portal),
        seed,
    ))
}

/// The limiter leases budget through the database, so that what may have been sent before a kill still counts.
pub fn lease_from(store: &Store) -> LeaseFn {
    let store = store.clone();
    Arc::new(move |request| {
        let store = store.clone();
        async move {
            store
                .write(Lane::Interactive, move |tx| {
                    quota::lease(tx, request.count, &request.day, tx.now())
                })
                .await
                .map_err(LeaseError::from)
        }
        .boxed()
    })
}
