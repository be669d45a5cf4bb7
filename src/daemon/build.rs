//! Builds the parts from the configuration: database, limiter, client, engine. Only here and in `cli` is `Config` known.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use secrecy::SecretString;
use thiserror::Error;

use crate::clock::Clock;
use crate::config::{Auth, Config, ConfigError};
use crate::daemon::tasks::with_causes;
use crate::daemon::{heartbeat, settings};
use crate::engine::Engine;
use crate::engine::outbound::settle;
use crate::hubspot::call::limiter::{LeaseError, LeaseFn, Limiter, StartState};
use crate::hubspot::call::transport::{ReqwestTransport, TransportSetupError};
use crate::hubspot::{BadToken, Client};
use crate::store::shape::repair;
use crate::store::{Lane, Mode, OpenOptions, Store, StoreError, meta, quota};

/// How long the daemon waits for another program's transaction.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the daemon can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The file or a secret that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client.
    #[error(transparent)]
    Transport(#[from] TransportSetupError),
    /// The token can't be sent in a header.
    #[error(transparent)]
    Token(#[from] BadToken),
}

impl StartError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Transport(error) => error.hint().map(str::to_owned),
            Self::Token(_) => Some("check the token that `[auth]` names".to_owned()),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Config(error) => return error.code(),
            Self::Store(error) => error.code(),
            Self::Transport(error) => error.code(),
            Self::Token(_) => "token-malformed",
        })
    }

    /// Whether a restart can't help, because the file, a secret or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::Token(_) | Self::Transport(_) => true,
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
    let token = match &config.auth {
        Auth::Token(source) => Some(source.resolve()?),
        Auth::OAuth(_) => None,
    };
    let portal = config
        .portal
        .id
        .as_ref()
        .map(crate::config::PortalIdSource::resolve)
        .transpose()?;
    let transport = Arc::new(ReqwestTransport::new(&config.portal.base_url)?);
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
                tracing::warn!(name, "somebody dropped this; it was put back");
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
    let version = config.portal.api_version;
    let own_clock = Arc::clone(&clock);
    let client = match token {
        Some(token) => Client::new(transport, limiter, own_clock, token, version)?,
        None => Client::logged_out(transport, limiter, own_clock, version),
    };
    let client = match &config.auth {
        Auth::Token(source) => client.with_token_place(&source.in_short()),
        Auth::OAuth(_) => client,
    };
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
