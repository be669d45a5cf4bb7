//! `changes`: `sync_history` as a line a change, as it happens. It reads the database and asks nobody else.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::cli::args::{ChangesArgs, ChangesSince};
use crate::cli::format::printable;
use crate::cli::operating::outlet::{Outlet, is_closed};
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
/// The database can't be read, changes that were asked for are forgotten, or another file stands in the place of the one that is
/// followed.
pub async fn changes(
    database: &Path,
    args: &ChangesArgs,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let mut outlet = match args.follow {
        true => Outlet::followed(out, clock)?,
        false => Outlet::listed(out, clock),
    };
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
            let text = text(&change, args.json)?;
            if outlet.write(text.as_bytes()).await?.is_break() {
                return Ok(ExitStatus::Done);
            }
        }
        if !is_empty {
            continue;
        }
        if !args.follow || is_closed() {
            return Ok(ExitStatus::Done);
        }
        db.stays_in_place()?;
        if outlet.rest(LOOK).await.is_break() {
            return Ok(ExitStatus::Done);
        }
    }
}

/// A change as a line.
fn text(change: &Row, json: bool) -> serde_json::Result<String> {
    let line = match json {
        true => serde_json::to_string(change)?,
        false => line(change),
    };
    Ok(line + "\n")
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
