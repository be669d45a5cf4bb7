//! `status --watch`: the status again and again. On a terminal it is the screen, with keys that do what the commands do; else a
//! table every two seconds.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;

use super::print;
use super::screen::{KeyAnswer, ScreenAct, StatusScreen};
use crate::cli::ExitStatus;
use crate::cli::operating::outlet::{Outlet, Signals};
use crate::clock::Clock;
use crate::config::Drawing;
use crate::store::commands::{CommandDb, CommandError, WantedConflicts};

/// Between two tables.
const TABLE: Duration = Duration::from_secs(2);
/// Between two looks of the screen, at least.
const LOOK: Duration = Duration::from_secs(1);
/// A look that takes long is made seldom: the screen is a guest beside the daemon.
const REST: u32 = 10;

/// Keys that wait while the screen is drawn; more of them wait in the terminal.
const KEYS: usize = 64;

/// Shows the status until somebody leaves: `q` or Ctrl-C on a terminal, else SIGINT, SIGTERM or the end of the pipe.
///
/// # Errors
/// The output can't be written.
pub async fn watch(
    database: &Path,
    json: bool,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    if !json && io::stdout().is_terminal() && io::stdin().is_terminal() {
        screen(database, clock, Signals::new()?).await
    } else {
        tables(database, json, clock, out).await
    }
}

/// A table every two seconds, parted by an empty line, or a JSON value a line.
async fn tables(
    database: &Path,
    json: bool,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let mut outlet = Outlet::followed(out, clock)?;
    let mut looked = LookedAt::new(database);
    loop {
        let mut text = Vec::new();
        match looked.read(CommandDb::status) {
            Ok(rows) => print(&rows, json, Drawing::Plain, clock.now(), &mut text)?,
            // It waits for a daemon, and the first one makes the database.
            Err(error @ (CommandError::Missing { .. } | CommandError::Unfinished { .. })) => {
                match json {
                    true => writeln!(text, "{}", stopped(&error))?,
                    false => writeln!(text, "stopped   {error}")?,
                }
            }
            Err(error) => return Err(error.into()),
        }
        if !json {
            text = one_block(&text);
        }
        if outlet.write(&text).await?.is_break() || outlet.rest(TABLE).await.is_break() {
            return Ok(ExitStatus::Done);
        }
    }
}

/// A report without empty lines in it and with one behind it, so that a reader can part reports at them.
fn one_block(report: &[u8]) -> Vec<u8> {
    let lines = report.split(|byte| *byte == b'\n');
    let mut block: Vec<u8> = lines
        .filter(|line| !line.is_empty())
        .flat_map(|line| line.iter().copied().chain([b'\n']))
        .collect();
    block.push(b'\n');
    block
}

/// The database, which stays open between two looks as long as the file is the same.
struct LookedAt {
    path: PathBuf,
    open: Option<CommandDb>,
}

impl LookedAt {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
        }
    }

    /// Looks once. After a failure, and where another file was put in the place of the one that is open, it is opened anew.
    fn read<T>(
        &mut self,
        look: impl FnOnce(&mut CommandDb) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let open = self.open.take().filter(CommandDb::is_in_place);
        let mut db = match open {
            Some(db) => db,
            None => CommandDb::open(&self.path)?,
        };
        let read = look(&mut db)?;
        self.open = Some(db);
        Ok(read)
    }
}

/// The value of a database that is not there yet.
fn stopped(error: &CommandError) -> serde_json::Value {
    let told = error.to_string();
    serde_json::json!({
        "health": { "state": "stopped", "last_error": told, "code": error.code() },
        "objects": [],
        "holds": [],
    })
}

/// Gives the terminal back as it was, however the screen ends.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn screen(
    database: &Path,
    clock: &dyn Clock,
    mut signals: Signals,
) -> anyhow::Result<ExitStatus> {
    let mut terminal = ratatui::try_init()?;
    let _restored = Restored;
    let mut events = events();
    let mut screen = StatusScreen::new(Drawing::of_stdout());
    let mut looked = LookedAt::new(database);
    loop {
        let begun = clock.monotonic();
        let read = looked.read(CommandDb::watched);
        screen.take(read.map_err(|error| error.to_string()));
        draw(&mut terminal, &screen, clock)?;
        let took = clock.monotonic().saturating_sub(begun);
        let mut look = clock.sleep(LOOK.max(took * REST));
        loop {
            tokio::select! {
                () = signals.any() => return Ok(ExitStatus::Done),
                () = &mut look => break,
                event = events.recv() => match event {
                    None => return Ok(ExitStatus::Done),
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        match screen.key(key) {
                            KeyAnswer::Leave => return Ok(ExitStatus::Done),
                            KeyAnswer::Nothing => draw(&mut terminal, &screen, clock)?,
                            KeyAnswer::Carry(act) => {
                                screen.tell(match carry_out(database, &act) {
                                    Ok(()) => act.told(),
                                    Err(error) => error.to_string(),
                                });
                                break;
                            }
                        }
                    }
                    // Another size, or something that means nothing here.
                    Some(_) => draw(&mut terminal, &screen, clock)?,
                },
            }
        }
    }
}

fn draw(
    terminal: &mut DefaultTerminal,
    screen: &StatusScreen,
    clock: &dyn Clock,
) -> io::Result<()> {
    let now = clock.now();
    terminal.draw(|frame| screen.draw(frame, now))?;
    Ok(())
}

/// What comes from the terminal, read by a thread of its own, since reading waits; it ends with the program.
fn events() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

fn carry_out(database: &Path, act: &ScreenAct) -> Result<(), CommandError> {
    let mut db = CommandDb::open_to_decide(database)?;
    match act {
        ScreenAct::Retry(id) => db.retry(&[*id]).map(drop),
        ScreenAct::Discard(id) => db.discard(&[*id]).map(drop),
        ScreenAct::TakeBack(id) => db.discard_hold(*id).map(drop),
        ScreenAct::Approve(id) => db.approve(Some(*id)).map(drop),
        ScreenAct::Resolve(id, side) => {
            db.resolve(&WantedConflicts::Ids(vec![*id]), side).map(drop)
        }
        ScreenAct::Command(command) => db.order(command),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::commands::testing::{database, execute};

    #[test]
    fn a_report_is_one_block_with_an_empty_line_behind_it() {
        let block = one_block(b"running\n\nobject  rows\ncontacts  1\n\nhint: x\n");
        let text = String::from_utf8(block).expect("text");
        assert_eq!(text, "running\nobject  rows\ncontacts  1\nhint: x\n\n");
    }

    #[test]
    fn the_file_stays_open_until_another_one_stands_in_its_place() {
        let (folder, other) = (
            TempDir::new().expect("a folder"),
            TempDir::new().expect("a folder"),
        );
        let (path, replacing) = (database(&folder), database(&other));
        execute(&replacing, "DELETE FROM sync_holds");
        let mut looked = LookedAt::new(&path);
        let holds = |looked: &mut LookedAt| {
            let rows = looked.read(CommandDb::status).expect("read");
            rows.holds.len()
        };
        assert!(holds(&mut looked) > 0);
        assert!(looked.open.is_some());
        for ending in ["-wal", "-shm"] {
            let mut beside = path.clone().into_os_string();
            beside.push(ending);
            drop(std::fs::remove_file(beside));
        }
        std::fs::rename(&replacing, &path).expect("replaced");
        assert_eq!(holds(&mut looked), 0);
        std::fs::remove_file(&path).expect("removed");
        assert!(looked.read(CommandDb::watched).is_err());
        assert!(looked.open.is_none());
    }
}
