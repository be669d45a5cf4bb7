//! `status --watch` by the real binary: on a terminal of the test's own, and without one.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

/// A terminal of 80 by 24, and what was written to it so far.
struct Terminal {
    keys: File,
    seen: Arc<Mutex<String>>,
    end: File,
}

impl Terminal {
    fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let end = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a path"))
            .expect("its end");
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&end, size).expect("a size");
        let keys = File::from(master);
        let mut screen = keys.try_clone().expect("a copy");
        let seen: Arc<Mutex<String>> = Arc::default();
        let written = Arc::clone(&seen);
        // It ends when the last end of the terminal is closed.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                let mut all = written.lock().unwrap_or_else(PoisonError::into_inner);
                all.push_str(&text);
            }
        });
        Self { keys, seen, end }
    }

    fn side(&self) -> Stdio {
        self.end.try_clone().expect("a copy").into()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("pressed");
    }

    /// Waits until a text was drawn since the last time.
    fn until(&self, text: &str) {
        eventually(text, || self.taken(|seen| seen.contains(text)));
        self.taken(|seen| {
            seen.clear();
            true
        });
    }

    fn taken(&self, look: impl FnOnce(&mut String) -> bool) -> bool {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[test]
fn the_screen_shows_what_waits_and_does_what_is_answered_with_y() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::with(&portal, "[conflicts]\npolicy = \"manual\"\n", CONTACTS);
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome'");
    portal.edit(id, &[("city", "Oslo")]);
    site.once();
    let mut terminal = Terminal::open();
    let mut command = site.command(&["status", "--watch"]);
    command
        .env("TERM", "xterm-256color")
        .env("NO_COLOR", "1")
        .stdin(terminal.side())
        .stdout(terminal.side())
        .stderr(terminal.side());
    let mut child = command.spawn().expect("it starts");
    terminal.until("waits for you: 0 holds, 1 conflict, 0 dead");
    terminal.press("p");
    terminal.until("Pause the daemon");
    terminal.press("n");
    terminal.until("q quit");
    terminal.press("py");
    site.until_sql(
        "SELECT count(*) FROM sync_commands WHERE command = 'pause' AND state = 'waiting'",
    );
    terminal.press("h");
    terminal.until("Take HubSpot");
    terminal.press("y");
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE resolution = 'remote'");
    terminal.press("q");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    // The other screen is left, and the cursor is back.
    terminal.until("\u{1b}[?1049l");
}

#[test]
fn without_a_terminal_it_is_a_table_now_and_then_and_waits_for_a_database() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let site = Site::new(&portal);
    for (arguments, signal) in [
        (&["status", "--watch"][..], Signal::TERM),
        (&["status", "--watch", "--json"], Signal::INT),
    ] {
        let mut command = site.command(arguments);
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut until = |wanted: &str| {
            loop {
                let line = lines.next().expect("it goes on").expect("a line");
                assert!(!line.contains('\u{1b}'), "{line}");
                if arguments.len() == 3 {
                    serde_json::from_str::<serde_json::Value>(&line).expect("one JSON value");
                }
                if line.contains(wanted) {
                    break;
                }
            }
        };
        if arguments.len() == 2 {
            until("stopped   there is no database at");
            site.once();
        }
        until("contacts");
        until("contacts");
        kill_process(pid, signal).expect("a signal");
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
}
