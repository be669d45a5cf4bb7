//! The commands, a file each: they ask, print and decide nothing. `ExitStatus` is what each ends with.
//! `args.rs` has the command line, `format.rs` and `progress.rs` what is written for people.

use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use crate::app::budget::AskError;
use crate::app::doctor::DoctorError;
use crate::app::init::InitError;
use crate::app::login::LoginError;
use crate::app::plan::PlanError;
use crate::app::properties::PropertiesError;
use crate::app::subscriptions::WebhooksError;
use crate::app::undo::UndoError;
use crate::cli::format::printable;
use crate::config::ConfigError;
use crate::daemon::build::StartError;
use crate::daemon::run::RunError;
use crate::daemon::tasks::with_causes;
use crate::engine::StepError;
use crate::model::entry::code_in;
use crate::store::StoreError;
use crate::store::commands::{CommandDb, CommandError};

pub mod args;
mod ask;
pub mod auth;
pub mod backfills;
pub mod check;
pub mod conflicts;
#[cfg(feature = "simulator")]
pub mod demo;
mod format;
pub mod init;
pub mod once;
pub mod outbox;
pub mod plan;
pub mod progress;
pub mod properties;
pub mod run;
#[cfg(feature = "simulator")]
pub mod simulate;
pub mod status;
pub mod undo;
pub mod webhooks;

/// A crash must not write the tokens in memory to a disk (promise 10); a debugger of the same user is kept out too.
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where the system refuses one, the other holds; there is nobody to tell yet.
    setrlimit(Resource::Core, none).ok();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
}

/// How a command ends (`design.md` 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It did what it should.
    Done = 0,
    /// It failed while working.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// It found what `--exit-code` asks about.
    Found = 3,
    /// The configuration is wrong; systemd doesn't restart on it.
    Config = 78,
}

/// A command that was called so that nothing can be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub String);

/// A command that asks before it changes anything, with nobody there to answer.
#[derive(Debug, thiserror::Error)]
#[error("nobody is there to ask, so nothing was done")]
pub(crate) struct NobodyToAsk;

/// What an argument names can't be used: a file, a folder, an address.
#[derive(Debug, thiserror::Error)]
#[error("{explanation}")]
pub(crate) struct Unusable {
    /// What and why.
    pub explanation: String,
    /// Its stable name, where it has one.
    pub code: Option<&'static str>,
    /// What somebody can do about it.
    pub hint: &'static str,
}

/// The status of a command that ended with an error: 78 where the file, a secret or the database must be changed first.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    if error.is::<WrongUsage>()
        || error.is::<NobodyToAsk>()
        || error
            .downcast_ref::<UndoError>()
            .is_some_and(UndoError::is_usage)
    {
        return ExitStatus::Usage;
    }
    let configuration = error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause
                .downcast_ref::<StoreError>()
                .is_some_and(StoreError::is_configuration)
            || cause
                .downcast_ref::<StartError>()
                .is_some_and(StartError::is_configuration)
            || cause
                .downcast_ref::<StepError>()
                .is_some_and(StepError::is_configuration)
            || cause
                .downcast_ref::<RunError>()
                .is_some_and(RunError::is_configuration)
            || cause
                .downcast_ref::<WebhooksError>()
                .is_some_and(WebhooksError::is_configuration)
            || cause
                .downcast_ref::<DoctorError>()
                .is_some_and(DoctorError::is_configuration)
            || cause
                .downcast_ref::<InitError>()
                .is_some_and(InitError::is_configuration)
            || cause
                .downcast_ref::<PropertiesError>()
                .is_some_and(PropertiesError::is_configuration)
            || cause
                .downcast_ref::<LoginError>()
                .is_some_and(LoginError::is_configuration)
            || cause
                .downcast_ref::<AskError>()
                .is_some_and(AskError::is_configuration)
            || cause
                .downcast_ref::<PlanError>()
                .is_some_and(PlanError::is_configuration)
            || cause
                .downcast_ref::<UndoError>()
                .is_some_and(UndoError::is_configuration)
            || cause
                .downcast_ref::<CommandError>()
                .is_some_and(CommandError::is_configuration)
    });
    if configuration {
        ExitStatus::Config
    } else {
        ExitStatus::Failed
    }
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

/// Tells a person on `err` why a command failed and what to do about it. Gives the status that it ends with.
///
/// # Errors
/// `err` can't be written to.
pub fn report_failure(error: &anyhow::Error, err: &mut dyn Write) -> std::io::Result<ExitStatus> {
    let known = error.chain().find_map(ToldBeside::of).unwrap_or_default();
    // A report of the mapping file has lines of its own.
    let told = with_causes(error.as_ref());
    let sentence = told.lines().map(printable).collect::<Vec<_>>().join("\n");
    // What HubSpot or a trigger refused names its code itself.
    let code = known.code.map(|code| format!(" [{code}]"));
    let code = code.filter(|_| code_in(&sentence).is_none());
    writeln!(err, "hubsyncd: {sentence}{}", code.unwrap_or_default())?;
    if let Some(hint) = &known.hint {
        writeln!(err, "hint: {}", printable(hint))?;
    }
    Ok(status_of(error))
}

/// What is told of an error beside its words.
#[derive(Default)]
struct ToldBeside {
    /// Its stable name.
    code: Option<&'static str>,
    /// What somebody can do about it.
    hint: Option<String>,
}

impl ToldBeside {
    /// That of one of our errors.
    fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        macro_rules! own {
            ($($kind:ty),*) => {
                $(if let Some(error) = error.downcast_ref::<$kind>() {
                    return Some(Self {
                        code: Option::from(error.code()),
                        hint: error.hint().map(|hint| hint.to_string()),
                    });
                })*
            };
        }
        own!(
            ConfigError,
            WebhooksError,
            StartError,
            RunError,
            LoginError,
            AskError,
            DoctorError,
            InitError,
            PlanError,
            UndoError,
            PropertiesError,
            StepError,
            StoreError,
            CommandError
        );
        if error.is::<NobodyToAsk>() {
            return Some(Self {
                code: Some("nobody-to-ask"),
                hint: Some("give `--yes` to carry it out".to_owned()),
            });
        }
        let unusable = error.downcast_ref::<Unusable>()?;
        Some(Self {
            code: unusable.code,
            hint: Some(unusable.hint.to_owned()),
        })
    }
}

/// Who carries out what a person wrote down, and when.
fn carried_out(db: &CommandDb) -> Result<&'static str, CommandError> {
    let stopped = db.state()? == "stopped";
    Ok(if stopped {
        "the daemon does not run; it carries this out at its next start"
    } else {
        "the running daemon carries it out within a second"
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn reported(error: &anyhow::Error) -> (ExitStatus, String) {
        let mut err = Vec::new();
        let status = report_failure(error, &mut err).expect("a buffer takes everything");
        (status, String::from_utf8(err).expect("text"))
    }

    #[test]
    fn a_failure_is_told_with_its_remedy_and_ends_with_its_status() {
        let missing = CommandError::Missing {
            path: "/nowhere/crm.db".into(),
        };
        let (status, text) = reported(&missing.into());
        assert_eq!(status, ExitStatus::Failed);
        assert!(
            text.starts_with(
                "hubsyncd: there is no database at `/nowhere/crm.db` [no-database]\nhint: start `hubsyncd run`"
            ),
            "{text}"
        );
        let newer = CommandError::Newer {
            path: "crm.db".into(),
            found: 9,
            known: 1,
        };
        assert_eq!(reported(&newer.into()).0, ExitStatus::Config);
        let unset = anyhow::Error::from(ConfigError::EnvUnset {
            name: "TOKEN".to_owned(),
        })
        .context("starting");
        let (status, text) = reported(&unset);
        assert_eq!(status, ExitStatus::Config);
        assert_eq!(
            text,
            "hubsyncd: starting: the environment variable `TOKEN` is not set [secret-unset]\nhint: export TOKEN=… in the daemon's environment\n"
        );
        let other: anyhow::Result<()> = Err(std::io::Error::other("no")).context("listening");
        assert_eq!(
            reported(&other.expect_err("no")),
            (ExitStatus::Failed, "hubsyncd: listening: no\n".to_owned())
        );
    }
}
