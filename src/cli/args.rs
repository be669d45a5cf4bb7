//! The command line: which commands there are and what each may be asked for. It reads arguments and does nothing.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::ConfigPath;
use crate::cli::check::CheckArgs;
#[cfg(feature = "simulator")]
use crate::cli::simulate::SimulateArgs;
use crate::config::{parse_duration, suggest};
use crate::model::origin::Origin;
use crate::model::time::Timestamp;

pub mod generate;

/// Keep a local SQLite database and a HubSpot portal in agreement, both ways.
#[derive(Debug, Parser)]
#[command(
    name = "hubsyncd",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 done, 1 failed while working, 2 wrong usage, 78 configuration.\n\
                  Nothing is ever sent anywhere but to HubSpot."
)]
pub struct Cli {
    /// The mapping file, for every command that needs it.
    #[command(flatten)]
    pub config: ConfigPath,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands that bring a mapping file of their own, or need none.
const WITHOUT_CONFIG: [&str; 4] = ["demo", "simulate", "man", "completions"];

impl Cli {
    /// The program's arguments; wrong usage ends it.
    pub fn read() -> Self {
        Self::try_read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads arguments.
    ///
    /// # Errors
    /// They are wrong, or ask for help.
    pub(crate) fn try_read<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut program = Self::program();
        let matches = program.try_get_matches_from_mut(arguments)?;
        if let Some((name, inner)) = matches.subcommand()
            && WITHOUT_CONFIG.contains(&name)
            && inner.value_source("config") == Some(ValueSource::CommandLine)
        {
            let explanation =
                format!("`{name}` takes no `--config`: it needs no mapping file of yours");
            return Err(program.error(ErrorKind::UnknownArgument, explanation));
        }
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut program))
    }

    /// The definition of the command line: `--config` is shown where it means something.
    fn program() -> clap::Command {
        let mut program = Self::command();
        for name in WITHOUT_CONFIG {
            if program.find_subcommand(name).is_some() {
                program = program.mut_subcommand(name, |command| command.arg(hidden_config()));
            }
        }
        program
    }
}

/// Stands in the place of the global argument.
fn hidden_config() -> clap::Arg {
    clap::Arg::new("config")
        .long("config")
        .value_name("PATH")
        .value_parser(clap::value_parser!(PathBuf))
        .hide(true)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground, until Ctrl-C or SIGTERM
    Run,
    /// Bring both sides together once, and end
    #[command(
        long_about = "Bring both sides together once, and end: read the portal's schema, backfill what was never read, \
                      poll up to this moment, push what waits; wait for retries that fall due.\n\n\
                      Ends with 0 when nothing is pending or in flight (what is dead, in conflict or held is counted in \
                      the last line and is no failure), with 1 when work was left at the timeout or at a signal, or HubSpot \
                      refused or could not be reached; the last line says what is unfinished. A step that runs at the \
                      timeout or at a signal gets 5 seconds to end; a second Ctrl-C ends it at once."
    )]
    Once(OnceArgs),
    /// Check the mapping file without touching anything
    Check(CheckArgs),
    /// Write a mapping file from the portal's own schema
    #[command(
        long_about = "Write a mapping file from the portal's own schema: its objects, properties with label, type and options, and \
                      associations. The file passes `check` and `check --online` as it is; nothing is ever written over.\n\n\
                      Portal and token are those of `--config` where that file is there, else HubSpot itself and \
                      HUBSPOT_ACCESS_TOKEN."
    )]
    Init(InitArgs),
    /// Show how the daemon and each object are doing
    Status(StatusArgs),
    /// Show what was changed on either side, as it happens
    #[command(
        long_about = "Show what was changed on either side, a line a change, from `sync_history`: with --follow as it happens, until \
                      Ctrl-C. Ids grow in the order of commits: who goes on from the last id that it has seen misses none. \
                      Where changes after that id are forgotten by now ([retention].history), it ends with 1."
    )]
    Changes(ChangesArgs),
    /// Tell why a record is as it is, or what a code means
    #[command(
        long_about = "Tell why a record is as it is: each field's value here, in HubSpot as it was last seen and as both last agreed, \
                      what waits and for what, conflicts, history, its last call, and what happens next. Or tell what a code \
                      means, how to look and what to do. HubSpot is not asked."
    )]
    Explain(ExplainArgs),
    /// List, show and decide conflicts
    Conflicts(ConflictsArgs),
    /// List what waits to be pushed; retry, discard or approve it
    Outbox(OutboxArgs),
    /// Show what the next push would send, and send nothing
    #[command(
        long_about = "Show what the next push would send, and send nothing: row by row and field by field with old and new \
                      value, what the guard says of it, how many requests it costs and which share of the day.\n\n\
                      It tells from the database, beside a running daemon or without one, and asks HubSpot nothing: HubSpot \
                      is taken to hold what both sides last agreed on. With --online the records are read again first (a \
                      request for a hundred), and conflicts and the fields that go out only where there is none are \
                      decided as the push would decide them. No record, row or entry is changed."
    )]
    Plan(PlanArgs),
    /// Turn recorded changes back, as ordinary local writes
    #[command(
        long_about = "Turn recorded changes back, as ordinary local writes: of every origin, pushed ones too, beside a running \
                      daemon or without one. Shows them and asks first. What was changed again since, waits to be sent or \
                      is in an open conflict is left and listed.\n\n\
                      Several changes of one field are one, from the first's former value to the last's. A record that this \
                      daemon made is deleted again, one that is gone comes back (HubSpot gives it a new id), associations \
                      are made or taken away again. Former undos are chosen by --origin undo, --run or --ids alone. The \
                      guard counts what it writes like any other local write."
    )]
    Undo(UndoArgs),
    /// Copy the database, while the daemon runs too
    #[command(
        long_about = "Copy the database into a new file, while the daemon runs too: all that is committed at one moment, looked through, \
                      readable for you alone (mode 0600). Nothing is written over."
    )]
    Backup(BackupArgs),
    /// Log in to HubSpot with an OAuth app; see or end the login
    Auth(AuthArgs),
    /// Make the app's webhook subscriptions match the mapping
    Webhooks(WebhooksArgs),
    /// Make the properties that the mapping file declares
    Properties(PropertiesArgs),
    /// See it all on this machine, without an account
    #[cfg(feature = "simulator")]
    #[command(
        long_about = "See it all on this machine, without an account: starts a HubSpot simulator, fills it with sample \
                      data, runs the daemon against it in a new folder, makes edits on both sides and a conflict, and \
                      shows what happened and what to look at with `sqlite3`. Goes on until Ctrl-C. The folder is kept."
    )]
    Demo(DemoArgs),
    /// Serve HubSpot's API from memory, for your own tests
    #[cfg(feature = "simulator")]
    Simulate(SimulateArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// Write the completions for a shell
    #[command(
        long_about = "Write the completions for a shell to standard output; the Debian package brings those of bash, zsh and fish.\n\n\
                      For bash, as one user: hubsyncd completions bash > ~/.local/share/bash-completion/completions/hubsyncd"
    )]
    Completions(CompletionsArgs),
}

/// Which manual pages are written.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ManArgs {
    /// Those of all commands into this folder; without it the program's own page goes to standard output
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// Whose completions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// What `once` may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct OnceArgs {
    /// Compare every record of the portal with the mirror as well, which finds deletions
    #[arg(long)]
    pub reconcile: bool,
    /// How long to work at most, like 30s, 10m or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
    /// Print one JSON value
    #[arg(long)]
    pub json: bool,
}

/// What `plan` may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct PlanArgs {
    /// Read the records in HubSpot again first
    #[arg(long)]
    pub online: bool,
    /// End with 3 where something would be sent
    #[arg(long)]
    pub exit_code: bool,
    /// Print all of it as one JSON array
    #[arg(long)]
    pub json: bool,
}

/// What `undo` may be asked for.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(group = clap::ArgGroup::new("chosen").required(true).multiple(false))]
pub struct UndoArgs {
    /// Changes from this time on (2026-11-29T10:00:00Z, 2026-11-29), or of the last 10m, 2h, 1d
    #[arg(long, group = "chosen", value_name = "TIME|DURATION", value_parser = since)]
    pub since: Option<UndoSince>,
    /// Changes of this run, by its `id` in `sync_runs`
    #[arg(long, group = "chosen", value_name = "ID")]
    pub run: Option<i64>,
    /// These changes, by their `id` in `sync_history`: 101,102 or 101-140
    #[arg(long, group = "chosen", value_name = "IDS", value_delimiter = ',', value_parser = ids)]
    pub ids: Vec<(i64, i64)>,
    /// Only those of this object
    #[arg(long, value_name = "OBJECT")]
    pub object: Option<String>,
    /// Only those of this origin
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub origin: Option<String>,
    /// Only those of this column
    #[arg(long, requires = "object", value_name = "COLUMN")]
    pub column: Option<String>,
    /// Show what would be turned back, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write it without asking
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON value
    #[arg(long)]
    pub json: bool,
}

/// From when on changes are turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoSince {
    /// From a time on.
    At(Timestamp),
    /// Of so long.
    Ago(Duration),
}

fn since(text: &str) -> Result<UndoSince, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(UndoSince::At(at));
    }
    let ago = duration(text);
    ago.map(UndoSince::Ago).map_err(|_unread| {
        "write a time (2026-11-29T10:00:00Z, 2026-11-29) or a duration (10m, 2h, 1d)".to_owned()
    })
}

fn ids(text: &str) -> Result<(i64, i64), String> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let range = match text.split_once('-') {
        Some((from, to)) => number(from).zip(number(to)),
        None => number(text).map(|id| (id, id)),
    };
    range
        .filter(|(from, to)| from <= to)
        .ok_or_else(|| "write numbers of `sync_history`: 101,102 or 101-140".to_owned())
}

fn origin(text: &str) -> Result<String, String> {
    match Origin::parse(text) {
        Some(origin) => Ok(origin.as_str().to_owned()),
        None => Err(suggest::which(text, &Origin::ALL.map(Origin::as_str))),
    }
}

/// What `init` may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct InitArgs {
    /// The file to write, which must not exist; without it the text goes to standard output
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// These objects, by name; without it those that have a record, activities only by name
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub objects: Vec<String>,
    /// Only the properties that tell records apart, and those that HubSpot demands
    #[arg(long, conflicts_with = "all_properties")]
    pub minimal: bool,
    /// Every property that the portal has
    #[arg(long)]
    pub all_properties: bool,
    /// Another host than HubSpot, such as a simulator's
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
}

/// What `status` may be asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// Show it again and again: on a terminal a screen with keys, else a table every two seconds
    #[arg(long, conflicts_with = "exit_code")]
    pub watch: bool,
    /// End with 3 where somebody should look, with 4 where nothing is synced
    #[arg(long)]
    pub exit_code: bool,
    /// Print one JSON value
    #[arg(long)]
    pub json: bool,
}

/// What `changes` may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ChangesArgs {
    /// Go on with what comes
    #[arg(long)]
    pub follow: bool,
    /// Those after this id, from this time on (2026-11-29T10:00:00Z, 2026-11-29), or of the last 10m, 2h, 1d
    #[arg(long, value_name = "ID|TIME", value_parser = changes_since)]
    pub since: Option<ChangesSince>,
    /// Only those of this object
    #[arg(long, value_name = "OBJECT")]
    pub object: Option<String>,
    /// Print a JSON value a line
    #[arg(long)]
    pub json: bool,
}

/// From when on changes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangesSince {
    /// After a number of `sync_history`.
    Id(i64),
    /// From a time on.
    At(Timestamp),
    /// Of so long.
    Ago(Duration),
}

fn changes_since(text: &str) -> Result<ChangesSince, String> {
    if let Some(id) = text.parse::<i64>().ok().filter(|id| *id >= 0) {
        return Ok(ChangesSince::Id(id));
    }
    match since(text) {
        Ok(UndoSince::At(at)) => Ok(ChangesSince::At(at)),
        Ok(UndoSince::Ago(ago)) => Ok(ChangesSince::Ago(ago)),
        Err(hint) => Err(format!(
            "write an id (101), or {}",
            hint.trim_start_matches("write ")
        )),
    }
}

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ExplainArgs {
    /// The record's object; or, alone, a code such as `invalid-option`
    #[arg(value_name = "OBJECT|CODE")]
    pub what: String,
    /// The record's row
    #[arg(value_name = "LOCAL_ID", conflicts_with = "hs_id")]
    pub local_id: Option<i64>,
    /// The record by HubSpot's id
    #[arg(long, value_name = "ID")]
    pub hs_id: Option<i64>,
    /// Print one JSON value
    #[arg(long)]
    pub json: bool,
}

/// What `backup` is told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct BackupArgs {
    /// The copy, which must not exist
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// `conflicts`.
#[derive(Debug, Args)]
pub struct ConflictsArgs {
    /// What about them.
    #[command(subcommand)]
    pub command: ConflictsCommand,
}

/// What can be done about conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ConflictsCommand {
    /// List the conflicts that wait for a decision, and the last ones that a policy decided
    List {
        /// Only those that wait for a decision
        #[arg(long)]
        open: bool,
        /// Print all of them as one JSON array of table rows
        #[arg(long)]
        json: bool,
    },
    /// Show base, local and remote value of a conflict, and who won and why
    Show {
        /// Its `id`
        id: i64,
        /// Print the table row as one JSON value
        #[arg(long)]
        json: bool,
    },
    /// Decide conflicts that wait
    #[command(
        long_about = "Decide conflicts that wait: those named, or those of an object. The running daemon carries it out \
                      within a second, else the next one that starts.\n\n\
                      `--take local` takes what the mirror holds when it is carried out, `--take remote` what HubSpot \
                      holds then, `--value TEXT` writes a value of its own to both sides, and `--value \"\"` clears the \
                      property. Without them the conflicts are shown one after another, and you are asked.",
        group = clap::ArgGroup::new("which").multiple(false)
    )]
    Resolve(ResolveArgs),
}

/// Which conflicts are decided, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ResolveArgs {
    /// Their `id`s
    #[arg(group = "which", value_name = "ID")]
    pub ids: Vec<i64>,
    /// All that wait of this object
    #[arg(long, group = "which", value_name = "OBJECT")]
    pub object: Option<String>,
    /// Only those of this property
    #[arg(
        long,
        requires = "object",
        conflicts_with = "ids",
        value_name = "PROPERTY"
    )]
    pub property: Option<String>,
    /// The side that they end with
    #[arg(long, value_name = "local|remote", value_parser = side, requires = "which", allow_hyphen_values = true)]
    pub take: Option<Take>,
    /// The value that they end with, on both sides
    #[arg(
        long,
        value_name = "TEXT",
        requires = "which",
        conflicts_with = "take",
        allow_hyphen_values = true
    )]
    pub value: Option<String>,
}

/// The side that a conflict ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// What the mirror holds.
    Local,
    /// What HubSpot holds.
    Remote,
}

/// A slip of the pen must not become a value on both sides.
fn side(text: &str) -> Result<Take, String> {
    match text {
        "local" => Ok(Take::Local),
        "remote" => Ok(Take::Remote),
        _ => Err(format!(
            "{}; a value of its own goes behind `--value`",
            suggest::which(text, &["local", "remote"])
        )),
    }
}

/// `outbox`.
#[derive(Debug, Args)]
pub struct OutboxArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: OutboxCommand,
}

/// What can be done about the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum OutboxCommand {
    /// List the records with work to push, and what the guard holds
    List {
        /// Print all of it as one JSON array of table rows
        #[arg(long)]
        json: bool,
    },
    /// Send again what HubSpot refused for good, or what waits for a later attempt
    Retry {
        /// The entries' `id`; without one, everything that is dead or waits for a later attempt
        #[arg(value_name = "ID")]
        ids: Vec<i64>,
    },
    /// Give up local changes
    #[command(
        long_about = "Give up local changes: those named, all or none, or with --hold all that one hold keeps back. An update's fields go back to what both sides last agreed on (the value \
                      is kept in `sync_history`), a deleted row comes back with its `local_id`, and a row that was \
                      never created in HubSpot stays here alone until the next write to it. What is in flight can't be \
                      given up; wait for its answer."
    )]
    Discard {
        /// The entries' `id`
        #[arg(value_name = "ID", required_unless_present = "hold")]
        ids: Vec<i64>,
        /// All that the guard holds of one hold, by the hold's `id`
        #[arg(long, value_name = "ID", conflicts_with = "ids")]
        hold: Option<i64>,
    },
    /// Let go what the guard holds
    #[command(
        long_about = "Let go what the guard holds: archives that would be sent, or rows that would be removed, beyond \
                      the bound in `[guard]`. What is held at this moment goes; what comes later is counted anew."
    )]
    Approve {
        /// The hold's `id`; without one, everything that is held
        id: Option<i64>,
    },
}

/// `auth`.
#[derive(Debug, Args)]
pub struct AuthArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: AuthCommand,
}

/// What can be done about the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum AuthCommand {
    /// Ask for HubSpot's consent in the browser, and keep what comes of it
    #[command(
        long_about = "Ask for HubSpot's consent in the browser, and keep what comes of it: opens or prints the URL of the \
                      consent page, waits on `redirect_uri` for the browser to come back, and stores the tokens sealed \
                      in the database. A running daemon takes them up by itself. A static token needs no login."
    )]
    Login {
        /// Print the URL and open nothing
        #[arg(long)]
        no_browser: bool,
    },
    /// Show whose login is kept and until when its token lives; 1 where nobody is logged in
    Status {
        /// Print one JSON value
        #[arg(long)]
        json: bool,
    },
    /// Revoke the refresh token and forget the login; the daemon sends nothing more
    Logout,
}

/// `webhooks`.
#[derive(Debug, Args)]
pub struct WebhooksArgs {
    /// What about them.
    #[command(subcommand)]
    pub command: WebhooksCommand,
}

/// What can be done about webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum WebhooksCommand {
    /// Show what the mapping wants, beside what the app has where that can be asked
    List {
        /// Print one JSON value
        #[arg(long)]
        json: bool,
    },
    /// Make the app's subscriptions match the mapping; show the plan and ask first
    #[command(
        long_about = "Make the app's subscriptions match the mapping: one propertyChange for each mapped property, \
                      creation, deletion, merge, restore and associations for each mapped object. Shows the plan and \
                      asks. By API with `app_id` and `developer_key` of `[webhooks]`; with --project as a file of a \
                      project app; else it says what to set where. What the mapping doesn't want is paused, not deleted."
    )]
    Apply {
        /// Folder of a HubSpot project, whose webhooks-hsmeta.json is written
        #[arg(long, value_name = "FOLDER")]
        project: Option<PathBuf>,
        /// Carry the plan out without asking
        #[arg(long)]
        yes: bool,
    },
}

/// `properties`.
#[derive(Debug, Args)]
pub struct PropertiesArgs {
    /// What about them.
    #[command(subcommand)]
    pub command: PropertiesCommand,
}

/// What can be done about declared properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum PropertiesCommand {
    /// Show which groups, properties and options would be made
    Plan {
        /// Print one JSON value
        #[arg(long)]
        json: bool,
        /// End with 3 where something would be made
        #[arg(long)]
        exit_code: bool,
    },
    /// Make them; show the plan and ask first
    #[command(
        long_about = "Make the groups, properties and options that the mapping file declares (`create`) and HubSpot has not. Shows the \
                      plan and asks. Nothing is deleted, and of what is there nothing is changed but by options that are added. The \
                      daemon makes none of them by itself."
    )]
    Apply {
        /// Carry the plan out without asking
        #[arg(long)]
        yes: bool,
        /// Print the plan as one JSON value
        #[arg(long)]
        json: bool,
    },
}

/// What `demo` may be asked for.
#[cfg(feature = "simulator")]
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DemoArgs {
    /// End after the tour
    #[arg(long)]
    pub once: bool,
    /// Folder to work in, which must not hold a database yet; without it a new one is made, printed and kept
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Contacts to begin with; half as many companies, a third deals, a quarter tickets
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = records)]
    pub records: usize,
    /// Seed of the sample data
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON value at the end, with `--once`
    #[arg(long, requires = "once")]
    pub json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a whole number and a unit: `30s`, `10m` or `1h`".to_owned())
}

/// The demo's records: its tour edits one.
#[cfg(feature = "simulator")]
fn records(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|records| *records > 0)
        .ok_or_else(|| "write a number from 1: the tour edits a contact".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_read(std::iter::once("hubsyncd").chain(line.split_whitespace()))
    }

    fn command(line: &str) -> Command {
        parse(line).expect(line).command
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::program().debug_assert();
    }

    #[test]
    fn the_mapping_file_may_be_named_before_and_behind_the_command() {
        for line in [
            "--config a.toml run",
            "run --config a.toml",
            "conflicts list --config a.toml",
        ] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.config.config, PathBuf::from("a.toml"), "{line}");
        }
    }

    #[test]
    fn once_works_ten_minutes_unless_it_is_told() {
        let Command::Once(args) = command("once") else {
            panic!("another command")
        };
        assert_eq!(
            args,
            OnceArgs {
                reconcile: false,
                timeout: Duration::from_mins(10),
                json: false
            }
        );
        let Command::Once(args) = command("once --reconcile --timeout 90s --json") else {
            panic!("another command")
        };
        assert_eq!(
            args,
            OnceArgs {
                reconcile: true,
                timeout: Duration::from_secs(90),
                json: true
            }
        );
        for wrong in [
            "once --timeout 10",
            "once --timeout 0s",
            "once --timeout soon",
        ] {
            assert_eq!(
                parse(wrong).expect_err(wrong).kind(),
                ErrorKind::ValueValidation,
                "{wrong}"
            );
        }
    }

    fn resolve(line: &str) -> ResolveArgs {
        let Command::Conflicts(ConflictsArgs {
            command: ConflictsCommand::Resolve(args),
        }) = command(line)
        else {
            panic!("another command")
        };
        args
    }

    #[test]
    fn a_conflict_is_resolved_by_a_side_or_a_value_also_one_with_a_hyphen() {
        let args = resolve("conflicts resolve 7 --take local");
        assert_eq!(
            (args.ids, args.take, args.value),
            (vec![7], Some(Take::Local), None)
        );
        let args = resolve("conflicts resolve 7 8 --value -5");
        assert_eq!(
            (args.ids, args.take, args.value.as_deref()),
            (vec![7, 8], None, Some("-5"))
        );
        let args = resolve("conflicts resolve --object contacts --property email --take remote");
        assert_eq!(
            (args.object.as_deref(), args.property.as_deref(), args.take),
            (Some("contacts"), Some("email"), Some(Take::Remote))
        );
        assert_eq!(resolve("conflicts resolve").ids, Vec::<i64>::new());
        for wrong in [
            "conflicts resolve --take local",
            "conflicts resolve --value x",
            "conflicts resolve 7 --object contacts --take local",
            "conflicts resolve 7 --property email --take local",
            "conflicts resolve 7 --take local --value x",
        ] {
            assert_eq!(parse(wrong).expect_err(wrong).exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn another_word_for_a_side_is_refused_with_the_one_that_was_meant() {
        for (word, hint) in [
            ("remot", "write `remote`"),
            ("Local", "write `local`"),
            ("Turku", "write one of `local` or `remote`"),
            ("value:x", "write one of `local` or `remote`"),
            ("-5", "write one of `local` or `remote`"),
        ] {
            let error = parse(&format!("conflicts resolve 1 --take {word}")).expect_err(word);
            assert_eq!(error.exit_code(), 2, "{word}");
            let text = error.to_string();
            assert!(
                text.contains(&format!("{hint}; a value of its own goes behind `--value`")),
                "{text}"
            );
        }
    }

    #[test]
    fn retry_takes_any_number_of_entries_and_the_others_what_they_need() {
        let Command::Outbox(OutboxArgs { command }) = command("outbox retry 3 4") else {
            panic!("another command")
        };
        assert_eq!(command, OutboxCommand::Retry { ids: vec![3, 4] });
        let Command::Outbox(OutboxArgs { command }) = self::command("outbox retry") else {
            panic!("another command")
        };
        assert_eq!(command, OutboxCommand::Retry { ids: vec![] });
        let Command::Outbox(OutboxArgs { command }) = self::command("outbox approve") else {
            panic!("another command")
        };
        assert_eq!(command, OutboxCommand::Approve { id: None });
        assert_eq!(
            parse("outbox discard").expect_err("no entry").exit_code(),
            2
        );
    }

    #[cfg(feature = "simulator")]
    #[test]
    fn the_demo_and_the_simulator_neither_show_nor_take_a_mapping_file() {
        for line in ["demo --config a.toml", "--config a.toml simulate"] {
            let error = parse(line).expect_err("no use for it");
            assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{line}");
        }
        for (line, shown) in [
            ("demo --help", false),
            ("simulate -h", false),
            ("run -h", true),
        ] {
            let help = parse(line).expect_err("help").to_string();
            assert_eq!(help.contains("--config"), shown, "{help}");
        }
        parse("demo --once").expect("without it");
    }

    #[cfg(feature = "simulator")]
    #[test]
    fn the_demo_needs_a_contact_to_show() {
        let Command::Demo(args) = command("demo --records 1") else {
            panic!("another command")
        };
        assert_eq!(args.records, 1);
        let error = parse("demo --records 0").expect_err("nothing to edit");
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(
            error.to_string().contains("the tour edits a contact"),
            "{error}"
        );
    }

    #[test]
    fn commands_of_later_versions_are_wrong_usage() {
        for line in [
            "undo",
            "undo --since tomorrow",
            "undo --ids 3-1",
            "undo --run 1 --origin push1",
            "status --watch --exit-code",
            "",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[cfg(feature = "simulator")]
    #[test]
    fn the_help_of_every_command_reads_as_it_should() {
        let mut whole = String::new();
        let mut program = Cli::program().term_width(80);
        program.build();
        append_help(&mut program, &mut whole);
        insta::assert_snapshot!(whole.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    #[cfg(feature = "simulator")]
    fn append_help(command: &mut clap::Command, whole: &mut String) {
        if command.get_name() == "help" {
            return;
        }
        let text = command.render_long_help().to_string();
        let name = command.get_bin_name().unwrap_or("hubsyncd");
        whole.push_str("=== ");
        whole.push_str(name);
        whole.push('\n');
        whole.push_str(&text);
        whole.push('\n');
        for inner in command.get_subcommands_mut() {
            append_help(inner, whole);
        }
    }
}
