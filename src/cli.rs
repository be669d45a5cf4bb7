//! The commands, a file each: they ask, print and decide nothing. `ExitStatus` is what each ends with.

use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use crate::config::ConfigError;
use crate::daemon::build::StartError;
use crate::daemon::run::RunError;
use crate::store::StoreError;

pub mod args;
pub mod check;
#[cfg(feature = "simulator")]
pub mod demo;
pub mod once;
pub mod run;
#[cfg(feature = "simulator")]
pub mod simulate;

/// How a command ends (`design.md` 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It did what it should.
    Done = 0,
    /// It failed while working.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// The configuration is wrong; systemd doesn't restart on it.
    Config = 78,
}

/// The status of a command that ended with an error: 78 where the file, a secret or the database must be changed first.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    let configuration = error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_configuration)
            || cause.downcast_ref::<StartError>().is_some_and(StartError::is_configuration)
            || cause.downcast_ref::<RunError>().is_some_and(RunError::is_configuration)
    });
    if configuration { ExitStatus::Config } else { ExitStatus::Failed }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

impl Termination for ExitStatus {
    fn report(self) -> ExitCode {
        self.into()
    }
}

/// `--config`, for every command that needs the mapping file.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigPath {
    /// The mapping file.
    #[arg(
        long = "config",
        value_name = "PATH",
        env = "HUBSYNCD_CONFIG",
        hide_env_values = true,
        default_value = "/etc/hubsyncd/config.toml",
        global = true
    )]
    pub config: PathBuf,
}
