//! What a command asks HubSpot with, beside a running daemon or without one: a client that has a share of the window, and counts
//! what it sends in the database where there is one, so that neither meets a 429 by the other (`design.md`, section 6.1).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use secrecy::SecretString;
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::app::calls::CommandCalls;
use crate::app::client::{self, ClientError};
use crate::app::login::{LoginApp, LoginError};
use crate::clock::Clock;
use crate::config::Config;
use crate::decide::quota::share::{LONGEST, RENEWED};
use crate::hubspot::Client;
use crate::hubspot::call::limiter::{LeaseError, LeaseFn, Limiter, StartState};
use crate::model::time::Timestamp;
use crate::store::database::lease;
use crate::store::quota;
use crate::store::quota::command::{self, AskedShare};
use crate::store::tokens::{Installation, Nobody, Own, Tokens, beside_the_daemon, look};
use crate::store::{StoreError, meta};

/// Between two looks whether the share is free.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How long a command waits for its share: another one's lease ends within a minute unless it works on, and a daemon that was
/// killed counts as stopped after half of one.
const PATIENCE: Duration = Duration::from_secs(75);

/// A token that dies sooner is renewed first …
const TOKEN_LEFT: Duration = Duration::from_secs(30);

/// … but beside a daemon, which renews it in its own time, one that lives this long is enough to begin with.
const LEAST_LEFT: Duration = Duration::from_secs(5);

/// How long a running daemon may take to renew a token that has died: a start reads the file first.
const RENEWAL: Duration = Duration::from_secs(10);

/// Why a command can't ask HubSpot.
#[derive(Debug, Error)]
pub enum AskError {
    /// The file, a secret that it names, or the way to HubSpot.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The login of an OAuth app.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// There is no login.
    #[error("{0}")]
    LoggedOut(Nobody),
    /// The access token has died, and the daemon that is to renew it has not.
    #[error("the access token ended at {0}, and the running daemon has not renewed it")]
    Ended(Timestamp),
    /// Another command has the share of the requests.
    #[error("another command asks HubSpot until {0}, and one at a time may")]
    Taken(Timestamp),
    /// The daemon did not make room.
    #[error("the running daemon has left this command no requests for {} seconds", PATIENCE.as_secs())]
    NoRoom,
}

impl AskError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Client(error) => return error.hint(),
            Self::Store(error) => return error.hint().map(str::to_owned),
            Self::Login(error) => return error.hint(),
            Self::LoggedOut(_) => "log in with `hubsyncd auth login`",
            Self::Ended(_) => "look at `hubsyncd status`, which says what keeps it from that",
            Self::Taken(_) => "wait for it to end, and try again",
            Self::NoRoom => "look at `hubsyncd status`, and try again",
        };
        Some(hint.to_owned())
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Client(error) => return error.code(),
            Self::Store(error) => error.code(),
            Self::Login(error) => return error.code(),
            Self::LoggedOut(_) => "logged-out",
            Self::Ended(_) => "token-expired",
            Self::Taken(_) | Self::NoRoom => "no-lease",
        })
    }

    /// Whether the file, a secret or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Client(_) => true,
            Self::Store(error) => error.is_configuration(),
            Self::Login(error) => error.is_configuration(),
            Self::LoggedOut(_) | Self::Ended(_) | Self::Taken(_) | Self::NoRoom => false,
        }
    }
}

/// A client with a command's share of the requests. What it leased and did not send goes back when it is dropped.
pub struct AskingCommand {
    client: Client,
    clock: Arc<dyn Clock>,
    lease: Option<DatabaseLease>,
    calls: CommandCalls,
}

/// The share in the database.
struct DatabaseLease {
    path: PathBuf,
    id: i64,
    renewal: JoinHandle<()>,
}

impl AskingCommand {
    /// Takes the share, and waits until the daemon, where one runs, has made room.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn begin(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, AskError> {
        let token = token(config)?;
        let transport = client::transport(config)?;
        let path = config.database.clone();
        let (lease, start) = match path.exists() {
            true => {
                let (lease, start) = lease(path, clock).await?;
                (Some(lease), start)
            }
            false => (None, StartState::default()),
        };
        let leased: LeaseFn = match &lease {
            Some(lease) => lease.counting(clock),
            None => Arc::new(|_request| Box::pin(async { Ok(()) })),
        };
        let limits = config.limits.of_command();
        let limiter = Limiter::new(limits, Arc::clone(clock), leased, &start);
        let own = match &token {
            TokenToSend::Static(token) => Some(token),
            TokenToSend::OfLogin(_) => None,
        };
        let client = client::client(config, transport, limiter, (Arc::clone(clock), own))?;
        let asking = Self {
            calls: CommandCalls::of(&client, &config.database, clock),
            client,
            clock: Arc::clone(clock),
            lease,
        };
        if let TokenToSend::OfLogin(app) = token {
            let tokens = fresh_tokens(&app, &asking.client, (clock, &config.database)).await?;
            asking
                .client
                .authorize(&tokens.access, tokens.expires_at)
                .map_err(ClientError::from)?;
        }
        Ok(asking)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Writes down what was sent so far, where there is a database; tells how many requests are written down nowhere.
    pub(crate) fn write_calls(&self) -> u64 {
        self.calls.write()
    }
}

impl Drop for AskingCommand {
    fn drop(&mut self) {
        let Some(lease) = &self.lease else { return };
        lease.renewal.abort();
        let unsent = self.client.limiter().unused_lease();
        let now = self.clock.now();
        let ended = beside_the_daemon(&lease.path, &self.clock, |tx| {
            command::end(tx, lease.id, unsent, now)
        });
        if let Err(error) = ended {
            // It ends by itself within a minute.
            tracing::debug!(%error, "a command's share of the requests could not be given back");
        }
    }
}

/// What a command shows HubSpot.
enum TokenToSend<'a> {
    Static(SecretString),
    OfLogin(Box<LoginApp<'a>>),
}

fn token(config: &Config) -> Result<TokenToSend<'_>, AskError> {
    if let Some(token) = client::token_in_file(config)? {
        return Ok(TokenToSend::Static(token));
    }
    let app = LoginApp::new(config)?;
    app.open(installation(&app)?.as_ref())?;
    Ok(TokenToSend::OfLogin(Box::new(app)))
}

fn installation(app: &LoginApp<'_>) -> Result<Box<Installation>, AskError> {
    match app.installation()? {
        Own::Found(installation) => Ok(installation),
        Own::Nobody(nobody) => Err(AskError::LoggedOut(nobody)),
    }
}

/// The login's tokens, renewed where they die too soon. Who renews holds the daemon's lock, so that no two do it at once; where a
/// daemon has it, that one renews them.
async fn fresh_tokens(
    app: &LoginApp<'_>,
    client: &Client,
    (clock, database): (&Arc<dyn Clock>, &Path),
) -> Result<Tokens, AskError> {
    let give_up = clock.monotonic() + RENEWAL;
    loop {
        let installation = installation(app)?;
        let (now, ends) = (clock.now(), installation.expires_at);
        if now + TOKEN_LEFT <= ends {
            return Ok(app.open(&installation)?);
        }
        match lease::lock(database) {
            Ok(_held) => return Ok(app.renew(client, clock, &installation).await?),
            Err(StoreError::Locked { .. }) if now + LEAST_LEFT <= ends => {
                return Ok(app.open(&installation)?);
            }
            Err(StoreError::Locked { .. }) if clock.monotonic() < give_up => {
                clock.sleep(BETWEEN_LOOKS).await;
            }
            Err(StoreError::Locked { .. }) => return Err(AskError::Ended(ends)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks for the share until it is had.
async fn lease(
    path: PathBuf,
    clock: &Arc<dyn Clock>,
) -> Result<(DatabaseLease, StartState), AskError> {
    let give_up = clock.monotonic() + PATIENCE;
    let id = loop {
        match beside_the_daemon(&path, clock, |tx| command::ask(tx, clock.now()))? {
            AskedShare::Lease(id) => break id,
            AskedShare::Taken(until) if clock.monotonic() >= give_up => {
                return Err(AskError::Taken(until));
            }
            AskedShare::Taken(_) => clock.sleep(BETWEEN_LOOKS).await,
        }
    };
    let lease = DatabaseLease {
        renewal: renew(path.clone(), Arc::clone(clock), id),
        path,
        id,
    };
    let start = lease
        .room(clock, give_up.max(clock.monotonic() + LONGEST))
        .await?;
    Ok((lease, start))
}

/// Renews the lease for as long as the command works.
fn renew(path: PathBuf, clock: Arc<dyn Clock>, id: i64) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            clock.sleep(RENEWED).await;
            let renewed =
                beside_the_daemon(&path, &clock, |tx| command::renew(tx, id, clock.now()));
            if let Err(error) = renewed {
                tracing::debug!(%error, "a command's share of the requests could not be renewed");
            }
        }
    })
}

impl DatabaseLease {
    /// Waits until the daemon has made room, or does not run. Tells what counts of what was sent before.
    async fn room(
        &self,
        clock: &Arc<dyn Clock>,
        give_up: Duration,
    ) -> Result<StartState, AskError> {
        loop {
            let now = clock.now();
            let known = look(&self.path, |connection| {
                let state = quota::start_state(connection, now)?;
                let recent = match command::is_granted(connection, self.id)? {
                    // What the daemon sends is its own business.
                    true => Some(command::sent(connection, now)?),
                    false if meta::state(connection)? == "stopped" => Some(state.recent.clone()),
                    false => None,
                };
                Ok(recent.map(|recent| StartState {
                    recent,
                    day: state.day,
                    day_used: state.day_used,
                    day_limit: state.day_limit,
                    day_resets_at: state.day_resets_at,
                    time_zone: None,
                }))
            })?;
            match known.flatten() {
                Some(start) => {
                    let zone = look(&self.path, |connection| meta::get(connection, "time_zone"))?;
                    return Ok(StartState {
                        time_zone: zone.flatten(),
                        ..start
                    });
                }
                None if clock.monotonic() >= give_up => return Err(AskError::NoRoom),
                None => clock.sleep(BETWEEN_LOOKS).await,
            }
        }
    }

    /// Counts requests in the database before they are sent.
    fn counting(&self, clock: &Arc<dyn Clock>) -> LeaseFn {
        let (path, id, clock) = (self.path.clone(), self.id, Arc::clone(clock));
        Arc::new(move |request| {
            let taken = beside_the_daemon(&path, &clock, |tx| {
                command::take(tx, id, request.count, &request.day)
            });
            async move { taken.map_err(LeaseError::from) }.boxed()
        })
    }
}
