//! `changes`: `sync_history` as a line a change, as it happens. It reads the database and asks nobody else.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::{ChangesArgs, ChangesSince};
use crate::cli::format::printable;
use crate::cli::{ExitStatus, known_object};
use crate::clock::Clock;
use crate::store::commands::{CommandDb, Row};

/// So many changes are shown where nobody says from when on.
const LAST: u32 = 20;

/// Between two looks for more.
const LOOK: Duration = Duration::from_millis(100);

/// Prints changes; with `--follow` until SIGINT, SIGTERM or the end of the pipe.
///
/// # Errors
/// The database can't be read, or changes that were asked for are forgotten.
pub async fn changes(
    database: &Path,
    args: &ChangesArgs,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let db = CommandDb::open(database)?;
    let object = args.object.as_deref();
    if let Some(object) = object {
        let known = db.names()?;
        known_object(object, &known)?;
    }
    let mut after = match args.since {
        Some(ChangesSince::Id(id)) => {
            db.nothing_forgotten_after(id)?;
            id
        }
        Some(ChangesSince::At(at)) => db.before_time(at)?,
        Some(ChangesSince::Ago(ago)) => db.before_time(clock.now() - ago)?,
        None => db.before_last(LAST, object)?,
    };
    loop {
        let page = db.changes_after(after, object)?;
        let is_empty = page.is_empty();
        for change in page {
            after = change.number("id").unwrap_or(after).max(after);
            if !print(&change, args.json, out)? {
                return Ok(ExitStatus::Done);
            }
        }
        if !is_empty {
            continue;
        }
        if !args.follow || is_closed() {
            return Ok(ExitStatus::Done);
        }
        tokio::select! {
            _ = terminate.recv() => return Ok(ExitStatus::Done),
            _ = interrupt.recv() => return Ok(ExitStatus::Done),
            () = clock.sleep(LOOK) => {}
        }
    }
}

/// Prints a line and hands it over at once. `false`: nobody reads any more.
fn print(change: &Row, json: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
    let line = match json {
        true => serde_json::to_string(change)?,
        false => line(change),
    };
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether standard output is a pipe that nobody reads any more.
pub(crate) fn is_closed() -> bool {
    let stdout = io::stdout();
    let fd = stdout.as_fd();
    let mut polled = [PollFd::new(&fd, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::ERR)
}

/// `17  2026-11-24T03:10:00.000Z  contacts 7  city: Rome -> Lima  (poll)`.
fn line(change: &Row) -> String {
    let text = |column: &str| printable(change.text(column).unwrap_or_default());
    let number = |column: &str| {
        change
            .number(column)
            .map_or_else(|| "-".to_owned(), |number| number.to_string())
    };
    let value = |column: &str| {
        change
            .text(column)
            .map_or_else(|| "-".to_owned(), printable)
    };
    format!(
        "{}  {}  {} {}  {}: {} -> {}  ({})",
        number("id"),
        text("at"),
        text("object"),
        number("local_id"),
        text("property"),
        value("old_value"),
        value("new_value"),
        text("origin"),
    )
}
