//! The mapping file: read, checked with every mistake at once, and turned into the settings of each part.
//!
//! Only `cli` and `daemon` see `Config`; the rest of the daemon is handed its own few settings. Nothing here speaks to
//! HubSpot or opens the database (promise 8).

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub mod changes;
pub mod check;
mod conceal;
mod file;
mod json_schema;
mod keys;
pub mod problem;
mod reader;
pub mod render;
pub mod schedule;
pub mod secret;
pub mod settings;
mod source;
pub(crate) mod suggest;
mod units;

pub(crate) use crate::config::check::{Checked, check_file, check_file_and_secrets, needs_leave};
pub(crate) use crate::config::json_schema::json_schema;
pub(crate) use crate::config::problem::Drawing;
pub use crate::config::problem::{Report, Severity};
pub(crate) use crate::config::render::{Setting, SettingOrigin};
pub use crate::config::schedule::Schedule;
pub use crate::config::secret::{PortalIdSource, SecretSource};
pub use crate::config::settings::{
    Auth, ClientId, Config, HttpSettings, LogFormat, LogSettings, OAuth, PollRhythm, PollSettings,
    TlsFiles, Webhooks,
};
pub(crate) use crate::config::units::parse_duration;

/// Why the daemon can't start with its settings. All of them end a command with 78.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file has mistakes, or can't be read.
    #[error("{0}")]
    Invalid(Box<Report>),
    /// A variable that the file names is not set.
    #[error("the environment variable `{name}` is not set")]
    EnvUnset {
        /// The variable.
        name: String,
    },
    /// A credential is wanted and systemd gave none.
    #[error("no credential `{name}`: `CREDENTIALS_DIRECTORY` is not set")]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// A secret's file can't be read.
    #[error("can't read {place}")]
    SecretUnreadable {
        /// Which secret.
        place: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret is empty.
    #[error("{place} is empty")]
    SecretEmpty {
        /// Which secret.
        place: String,
    },
    /// A secret can't be sent in a header.
    #[error("{place} holds something other than one line of printable letters")]
    SecretMalformed {
        /// Which secret.
        place: String,
    },
    /// A variable that should hold the portal's id holds something else.
    #[error("the environment variable `{name}` is no portal id")]
    NotAPortalId {
        /// The variable.
        name: String,
    },
}

impl ConfigError {
    /// What somebody can do about it; a report's problems carry their own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid(_) => None,
            Self::EnvUnset { name } => Some(format!("export {name}=… in the daemon's environment")),
            Self::NoCredentials { name } => {
                Some(format!("add `LoadCredential={name}:PATH` to the unit"))
            }
            Self::SecretUnreadable { path, .. } => Some(format!(
                "let the daemon's user read `{}`, and nobody else",
                path.display()
            )),
            Self::SecretEmpty { .. } | Self::SecretMalformed { .. } => {
                Some("put the token there alone, on one line".to_owned())
            }
            Self::NotAPortalId { name } => Some(format!(
                "export {name}=12345678, the number in HubSpot's account menu"
            )),
        }
    }
}

impl ConfigError {
    /// Whether the file or a secret must be changed first (status 78): always.
    #[expect(
        clippy::unused_self,
        reason = "each error that a command ends with is asked this"
    )]
    pub(crate) fn is_configuration(&self) -> bool {
        true
    }

    /// The stable name of what went wrong; a report's problems carry their own.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Invalid(_) => return None,
            Self::EnvUnset { .. } | Self::NoCredentials { .. } => "secret-unset",
            Self::SecretUnreadable { .. } => "secret-unreadable",
            Self::SecretEmpty { .. } => "secret-empty",
            Self::SecretMalformed { .. } => "secret-malformed",
            Self::NotAPortalId { .. } => "no-portal-id",
        })
    }
}

/// What is in force where there is no file: HubSpot itself, and the token of `HUBSPOT_ACCESS_TOKEN`.
pub(crate) fn unwritten() -> Config {
    let checked = check::check_bytes(Path::new("config.toml"), b"[objects.contacts]".to_vec());
    checked.config.expect("the shortest file is right")
}

/// Reads and checks a mapping file.
///
/// # Errors
/// It can't be read or has mistakes: all of them, rendered as `check` does.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    load_shown(path).map(|(config, _)| config)
}

/// The database that a mapping file names, and how many other mistakes the file has: what a person asks of the database does not
/// wait for those, and the daemon runs on beside them.
///
/// # Errors
/// It can't be read, or it is in doubt which database is meant.
pub(crate) fn database(path: &Path) -> Result<(PathBuf, usize), ConfigError> {
    let Checked {
        database, report, ..
    } = check_file(path);
    match database {
        Some(database) => Ok((database, report.count(Severity::Error))),
        None => Err(ConfigError::Invalid(Box::new(report))),
    }
}

/// The same with every setting as `check --show` tells it.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_shown(path: &Path) -> Result<(Config, Vec<Setting>), ConfigError> {
    let Checked {
        config,
        report,
        settings,
        ..
    } = check_file(path);
    match config {
        Some(config) => Ok((config, settings)),
        None => Err(ConfigError::Invalid(Box::new(report))),
    }
}
