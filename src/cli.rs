//! The commands, a file each: they ask, print and decide nothing. `ExitStatus` is what each ends with.

use std::path::PathBuf;
use std::process::{ExitCode, Termination};

pub mod args;
pub mod check;
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
