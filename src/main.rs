//! `hubsyncd`: arguments, logging, runtime, exit status.

use std::io;
use std::process::ExitCode;

use hubsyncd::cli::args::{Cli, Command};
use hubsyncd::cli::{self, ExitStatus};
use hubsyncd::clock::{Clock as _, SystemClock};
use hubsyncd::model::time::Timestamp;

fn main() -> ExitCode {
    cli::forbid_core_dumps();
    let arguments = Cli::read();
    match run(arguments) {
        Ok(status) => status.into(),
        // Nothing can be done about a closed stderr.
        Err(error) => cli::report_failure(&error, &mut io::stderr())
            .unwrap_or_else(|_closed| cli::status_of(&error))
            .into(),
    }
}

fn run(arguments: Cli) -> anyhow::Result<ExitStatus> {
    let path = arguments.config.config;
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    match arguments.command {
        Command::Check(args) if args.schema => cli::check::schema(out),
        Command::Check(args) if args.online => {
            runtime()?.block_on(cli::check::online(&path, args, out))
        }
        Command::Check(args) => cli::check::check(&path, args, out),
        Command::Init(args) => runtime()?.block_on(cli::init::init(&path, args, out, err)),
        Command::Status(args) if args.watch => {
            let (database, clock) = (cli::database(&path, err)?, SystemClock::new());
            runtime()?.block_on(cli::status::watch::watch(
                &database, args.json, &*clock, out,
            ))
        }
        Command::Status(args) => cli::status::status(&cli::database(&path, err)?, args, now(), out),
        Command::Changes(args) => {
            let (database, clock) = (cli::database(&path, err)?, SystemClock::new());
            runtime()?.block_on(cli::operating::changes::changes(
                &database, &args, &*clock, out,
            ))
        }
        Command::Explain(args) => cli::operating::explain::explain(&path, &args, now(), (out, err)),
        Command::Backup(args) => {
            cli::operating::backup::backup(&cli::database(&path, err)?, &args.path, out)
        }
        Command::Conflicts(args) => {
            cli::conflicts::conflicts(&cli::database(&path, err)?, &args.command, now(), out)
        }
        Command::Outbox(args) => {
            cli::outbox::outbox(&cli::database(&path, err)?, &args.command, now(), out)
        }
        Command::Plan(args) => runtime()?.block_on(cli::plan::plan(&path, args, out)),
        Command::Undo(args) => cli::undo::undo(&path, &args, out, err),
        Command::Auth(args) => runtime()?.block_on(cli::auth::auth(&path, args.command, out)),
        Command::Webhooks(args) => {
            runtime()?.block_on(cli::webhooks::webhooks(&path, args.command, out))
        }
        Command::Properties(args) => runtime()?.block_on(cli::properties::properties(
            &path,
            args.command,
            out,
            &mut io::stderr(),
        )),
        Command::Man(args) => cli::args::generate::man(&args, out),
        Command::Completions(args) => cli::args::generate::completions(args, out),
        Command::Run => runtime()?.block_on(cli::run::run(&path)),
        Command::Once(args) => runtime()?.block_on(cli::once::once(&path, args, out)),
        #[cfg(feature = "simulator")]
        Command::Demo(args) => runtime()?.block_on(cli::demo::demo(args, out)),
        #[cfg(feature = "simulator")]
        Command::Simulate(args) => {
            runtime()?.block_on(cli::simulate::simulate(args, out))?;
            Ok(ExitStatus::Done)
        }
    }
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// Two workers: one step's parsing must not hold up the health listener. SQLite has threads of its own.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}
