//! The commands, a file each: they ask, print and decide nothing. `ExitStatus` is what each ends with.
//! `args.rs` has the command line, `format.rs` and `progress.rs` what is written for people.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
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
use crate::config::{ConfigError, suggest};
use crate::daemon::build::StartError;
use crate::daemon::run::RunError;
use crate::daemon::tasks::with_causes;
use crate::engine::StepError;
use crate::model::entry::with_code;
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
pub mod operating;
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
    /// Nothing is synced at present, as `status --exit-code` tells.
    NotSyncing = 4,
    /// The configuration is wrong; systemd doesn't restart on it.
    Config = 78,
}

/// A command that was called so that nothing can be done.
#[derive(Debug, thiserror::Error)]
#[error("{explanation}")]
pub(crate) struct WrongUsage {
    /// What is wrong.
    pub explanation: String,
    /// What to write instead.
    pub hint: String,
}

/// That an object, or a pair, is one of those that are known.
///
/// # Errors
/// It is none of them; the hint names what may have been meant.
fn known_object<S: AsRef<str>>(name: &str, known: &[S]) -> Result<(), WrongUsage> {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    match known.contains(&name) {
        true => Ok(()),
        false => Err(WrongUsage {
            explanation: format!("no object is called `{name}`"),
            hint: suggest::which(name, &known),
        }),
    }
}

/// A command that asks before it changes anything, with nobody there to answer.
#[derive(Debug, thiserror::Error)]
#[error("nobody is there to ask, so nothing was done")]
pub(crate) struct NobodyToAsk {
    /// What answers in a person's place.
    pub hint: &'static str,
}

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

/// What an error says beside its words, and how the command ends that meets it.
trait CommandFailure {
    /// Its stable name.
    fn code(&self) -> Option<&'static str>;
    /// What somebody can do about it.
    fn hint(&self) -> Option<String>;
    /// The status that the command ends with.
    fn status(&self) -> ExitStatus;
}

/// The errors that commands end with: a list of those that know their own code, hint and whether they are of the configuration.
macro_rules! command_failures {
    ($($kind:ty),* $(,)?) => {
        $(impl CommandFailure for $kind {
            fn code(&self) -> Option<&'static str> {
                Option::from(<$kind>::code(self))
            }

            fn hint(&self) -> Option<String> {
                <$kind>::hint(self).map(|hint| hint.to_string())
            }

            fn status(&self) -> ExitStatus {
                match <$kind>::is_configuration(self) {
                    true => ExitStatus::Config,
                    false => ExitStatus::Failed,
                }
            }
        })*

        /// One of our errors, or of those of the system that say why output could not be written.
        fn failure_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e dyn CommandFailure> {
            fn as_failure<'e, E: CommandFailure + Error + 'static>(
                error: &'e (dyn Error + 'static),
            ) -> Option<&'e dyn CommandFailure> {
                error.downcast_ref::<E>().map(|error| error as &dyn CommandFailure)
            }
            let kinds = [
                $(as_failure::<$kind>,)*
                as_failure::<UndoError>,
                as_failure::<WrongUsage>,
                as_failure::<NobodyToAsk>,
                as_failure::<Unusable>,
                as_failure::<io::Error>,
            ];
            kinds.into_iter().find_map(|kind| kind(error))
        }
    };
}

command_failures!(
    ConfigError,
    WebhooksError,
    StartError,
    RunError,
    LoginError,
    AskError,
    DoctorError,
    InitError,
    PlanError,
    PropertiesError,
    StepError,
    StoreError,
    CommandError,
);

impl CommandFailure for UndoError {
    fn code(&self) -> Option<&'static str> {
        Some(UndoError::code(self))
    }

    fn hint(&self) -> Option<String> {
        UndoError::hint(self).map(Cow::into_owned)
    }

    fn status(&self) -> ExitStatus {
        match (self.is_usage(), self.is_configuration()) {
            (true, _) => ExitStatus::Usage,
            (false, true) => ExitStatus::Config,
            (false, false) => ExitStatus::Failed,
        }
    }
}

impl CommandFailure for WrongUsage {
    fn code(&self) -> Option<&'static str> {
        Some("wrong-usage")
    }

    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }

    fn status(&self) -> ExitStatus {
        ExitStatus::Usage
    }
}

impl CommandFailure for NobodyToAsk {
    fn code(&self) -> Option<&'static str> {
        Some("nobody-to-ask")
    }

    fn hint(&self) -> Option<String> {
        Some(self.hint.to_owned())
    }

    fn status(&self) -> ExitStatus {
        ExitStatus::Usage
    }
}

impl CommandFailure for Unusable {
    fn code(&self) -> Option<&'static str> {
        self.code
    }

    fn hint(&self) -> Option<String> {
        Some(self.hint.to_owned())
    }

    fn status(&self) -> ExitStatus {
        ExitStatus::Failed
    }
}

/// Whoever read what a command writes has ended.
impl CommandFailure for io::Error {
    fn code(&self) -> Option<&'static str> {
        (self.kind() == io::ErrorKind::BrokenPipe).then_some("output-closed")
    }

    fn hint(&self) -> Option<String> {
        let hint =
            "what reads the output ended before it was all written; what was carried out stays";
        (self.kind() == io::ErrorKind::BrokenPipe).then(|| hint.to_owned())
    }

    fn status(&self) -> ExitStatus {
        ExitStatus::Failed
    }
}

/// The status of a command that ended with an error: 2 where it was called wrongly, 78 where the file, a secret or the database must
/// be changed first.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    let known = error.chain().filter_map(failure_in);
    let statuses: Vec<ExitStatus> = known.map(CommandFailure::status).collect();
    let of_person = [ExitStatus::Usage, ExitStatus::Config];
    let mut named = of_person.into_iter();
    named
        .find(|status| statuses.contains(status))
        .unwrap_or(ExitStatus::Failed)
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

/// The database that the mapping file names. A mistake elsewhere in the file is told on `err`, and keeps nobody from it.
///
/// # Errors
/// The file can't be read, or it is in doubt which database is meant.
pub fn database(config: &Path, err: &mut dyn Write) -> anyhow::Result<PathBuf> {
    let (database, mistakes) = crate::config::database(config)?;
    if mistakes > 0 {
        let them = if mistakes == 1 { "it" } else { "them" };
        let s = if mistakes == 1 { "" } else { "s" };
        writeln!(
            err,
            "hubsyncd: the mapping file has {mistakes} mistake{s}: `hubsyncd check` tells {them}"
        )?;
    }
    Ok(database)
}

/// Tells a person on `err` why a command failed and what to do about it. Gives the status that it ends with.
///
/// # Errors
/// `err` can't be written to.
pub fn report_failure(error: &anyhow::Error, err: &mut dyn Write) -> std::io::Result<ExitStatus> {
    let known = error.chain().find_map(failure_in);
    // A report of the mapping file has lines of its own.
    let told = with_causes(error.as_ref());
    let sentence = told.lines().map(printable).collect::<Vec<_>>().join("\n");
    let code = known.and_then(CommandFailure::code);
    writeln!(err, "hubsyncd: {}", with_code(&sentence, code))?;
    if let Some(hint) = known.and_then(CommandFailure::hint) {
        writeln!(err, "hint: {}", printable(&hint))?;
    }
    Ok(status_of(error))
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
