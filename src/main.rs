//! `hubsyncd`: arguments, logging, runtime, exit status.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;

use hubsyncd::cli::args::{Cli, Command};
use hubsyncd::cli::{self, ExitStatus};

fn main() -> ExitCode {
    let arguments = Cli::parse();
    match run(arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            // Nothing can be done about a closed stderr.
            drop(writeln!(io::stderr(), "hubsyncd: {error:#}"));
            cli::status_of(&error).into()
        }
    }
}

fn run(arguments: Cli) -> anyhow::Result<ExitStatus> {
    let path = arguments.config.config;
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    match arguments.command {
        Command::Check(args) => cli::check::check(&path, args, out, err),
        Command::Status(_) | Command::Conflicts(_) | Command::Outbox(_) => anyhow::bail!("not there yet"),
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

/// Two workers: one step's parsing must not hold up the health listener. SQLite has threads of its own.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
