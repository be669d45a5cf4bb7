//! A terminal of a test's own, for commands that ask or draw.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::daemon::eventually;

/// A terminal of 80 by 24, and what was written to it so far.
pub(crate) struct Terminal {
    keys: File,
    seen: Arc<Mutex<String>>,
    end: File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
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

    /// Starts a command whose input and outputs are this terminal.
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let side = || Stdio::from(self.end.try_clone().expect("a copy"));
        command
            .env("TERM", "xterm-256color")
            .stdin(side())
            .stdout(side())
            .stderr(side());
        command.spawn().expect("it starts")
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("pressed");
    }

    /// Waits until a text was drawn since the last time.
    pub(crate) fn until(&self, text: &str) {
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
