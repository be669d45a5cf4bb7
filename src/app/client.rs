//! A client for HubSpot, of what the mapping file names: the way there and the token. The daemon and the commands make theirs here;
//! what it is paced by is theirs to say.

use std::sync::Arc;

use secrecy::SecretString;
use thiserror::Error;

use crate::clock::Clock;
use crate::config::{Auth, Config, ConfigError};
use crate::hubspot::call::limiter::Limiter;
use crate::hubspot::call::transport::{ReqwestTransport, TransportSetupError};
use crate::hubspot::{BadToken, Client};

/// Why none can be made. The file or a secret must be changed first.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The file or a secret that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The way to HubSpot: certificates, a proxy, the address.
    #[error(transparent)]
    Transport(#[from] TransportSetupError),
    /// The token can't be sent in a header.
    #[error(transparent)]
    Token(#[from] BadToken),
}

impl ClientError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Transport(error) => error.hint().map(str::to_owned),
            Self::Token(_) => Some("check the token that `[auth]` names".to_owned()),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) => error.code(),
            Self::Transport(error) => Some(error.code()),
            Self::Token(_) => Some("token-malformed"),
        }
    }
}

/// The token in the file; `None` where a login gives it.
pub(crate) fn token_in_file(config: &Config) -> Result<Option<SecretString>, ClientError> {
    match &config.auth {
        Auth::Token(source) => Ok(Some(source.resolve()?)),
        Auth::OAuth(_) => Ok(None),
    }
}

/// The way to HubSpot.
pub(crate) fn transport(config: &Config) -> Result<Arc<ReqwestTransport>, ClientError> {
    Ok(Arc::new(ReqwestTransport::new(&config.portal.base_url)?))
}

/// The client: with the file's token, or without any until a login gives one.
pub(crate) fn client(
    config: &Config,
    transport: Arc<ReqwestTransport>,
    limiter: Arc<Limiter>,
    (clock, token): (Arc<dyn Clock>, Option<&SecretString>),
) -> Result<Client, ClientError> {
    let version = config.portal.api_version;
    Ok(match (&config.auth, token) {
        (Auth::Token(source), Some(token)) => {
            Client::new(transport, limiter, clock, token, version)?
                .with_token_place(&source.in_short())
        }
        (Auth::Token(_), None) | (Auth::OAuth(_), _) => {
            Client::logged_out(transport, limiter, clock, version)
        }
    })
}
