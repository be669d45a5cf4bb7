//! `status --watch`: the status again and again. On a terminal it is the screen, with keys that do what the commands do; else a
//! table every two seconds.

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::path::Path;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::print;
use super::screen::{KeyAnswer, ScreenAct, StatusScreen};
use crate::cli::ExitStatus;
use crate::cli::operating::changes::is_closed;
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
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    if !json && io::stdout().is_terminal() && io::stdin().is_terminal() {
        screen(database, clock, signals).await
    } else {
        tables(database, json, clock, signals, out).await
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A table every two seconds, parted by an empty line, or a JSON value a line.
async fn tables(
    database: &Path,
    json: bool,
    clock: &dyn Clock,
    mut signals: Signals,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    loop {
        let mut text = Vec::new();
        match CommandDb::open(database).and_then(|mut db| db.status()) {
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
            writeln!(text)?;
        }
        match out.write_all(&text).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitStatus::Done),
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = signals.any() => return Ok(ExitStatus::Done),
            () = clock.sleep(TABLE) => {}
        }
        if is_closed() {
            return Ok(ExitStatus::Done);
        }
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
    loop {
        let begun = clock.monotonic();
        let read = CommandDb::open(database).and_then(|mut db| db.watched());
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
