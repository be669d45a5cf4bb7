//! The client of a command that asks HubSpot: sent where the file says, with the file's token, and paced by its limits.

use std::sync::Arc;

use secrecy::SecretString;
use thiserror::Error;

use crate::clock::Clock;
use crate::hubspot::call::limiter::{LeaseFn, LimitSettings, Limiter, StartState};
use crate::hubspot::call::transport::{ReqwestTransport, TransportSetupError};
use crate::hubspot::{BadToken, Client};
use crate::model::settings::ApiVersion;

/// Where HubSpot is asked, and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    /// Scheme, host and port.
    pub(super) base_url: &'a str,
    /// The family of paths.
    pub(super) version: ApiVersion,
    /// What the requests are paced by.
    pub(super) limits: LimitSettings,
}

impl Asking<'_> {
    /// A client with a static token, or without one yet.
    ///
    /// # Errors
    /// The HTTP client can't be set up; the token can't be sent.
    pub(super) fn client(
        &self,
        clock: &Arc<dyn Clock>,
        token: Option<&SecretString>,
    ) -> Result<Client, ClientError> {
        let transport = Arc::new(ReqwestTransport::new(self.base_url)?);
        let lease: LeaseFn = Arc::new(|_request| Box::pin(async { Ok(()) }));
        let start = StartState::default();
        let limiter = Limiter::new(self.limits, Arc::clone(clock), lease, &start);
        let clock = Arc::clone(clock);
        Ok(match token {
            Some(token) => Client::new(transport, limiter, clock, token, self.version)?,
            None => Client::logged_out(transport, limiter, clock, self.version),
        })
    }
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The HTTP client.
    #[error(transparent)]
    Transport(#[from] TransportSetupError),
    /// The token can't be sent in a header.
    #[error(transparent)]
    Token(#[from] BadToken),
}

impl ClientError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Transport(error) => error.hint(),
            Self::Token(_) => Some("put the token there alone, on one line"),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Transport(error) => error.code(),
            Self::Token(_) => "token-malformed",
        }
    }
}
