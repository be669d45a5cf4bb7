//! `check --online`: the doctor. Looks at this machine, the token and the portal, and holds the mapping against them: the
//! schema step without its writes (`engine/portal/reading`). What is said of each thing stands in `decide/portal/doctor`.

mod machine;
mod mapping;
mod portal;
mod webhooks;

use std::sync::Arc;

use thiserror::Error;

use crate::app::login::LoginError;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
pub(crate) use crate::decide::portal::doctor::{CheckLine, Colour};
use crate::store::database::room;

/// Why nothing could be looked at.
#[derive(Debug, Error)]
pub(crate) enum DoctorError {
    /// A secret that the file names is not there.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The app or its key.
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl DoctorError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Login(error) => error.hint(),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) => error.code(),
            Self::Login(error) => error.code(),
        }
    }

    /// Whether the file or a secret must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Login(error) => error.is_configuration(),
        }
    }
}

/// What is left out where HubSpot can be asked no more.
const REST_OF_MAPPING: &str = "what of the mapping has no line here";

/// What is left out where HubSpot can't be asked.
const ALL_OF_HUBSPOT: &str = "everything that HubSpot is asked about";

/// Looks at everything. A line is left out where another one says why.
///
/// # Errors
/// A secret is missing.
pub(crate) async fn examine(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<CheckLine>, DoctorError> {
    config.look_for_secrets()?;
    let holder = room::holder(&config.database);
    let mut lines = Vec::new();
    let way = machine::way(&config.portal.base_url, &mut lines).await;
    let asked = match &way {
        Some(way) => portal::ask(config, clock, way, &mut lines).await?,
        None => None,
    };
    for line in machine::place(config, holder) {
        // The database may have kept HubSpot from being asked, and have its line for that.
        if lines.iter().all(|known| known.name != line.name) {
            lines.push(line);
        }
    }
    if let Some(webhooks) = &config.webhooks {
        let mut found = webhooks::look(config, webhooks, clock, asked.is_some()).await;
        if let (Some(pid), Some(url)) = (holder, found.first_mut()) {
            *url = machine::in_use(&url.name, pid);
        }
        lines.extend(found);
    }
    if let (Some(asked), Some(way)) = (asked, &way)
        && let Err(error) = mapping::compare(config, &asked, &mut lines).await
    {
        let line = portal::unasked(&error, way).leaving_out(REST_OF_MAPPING);
        portal::replace(&mut lines, line);
    }
    Ok(lines)
}
