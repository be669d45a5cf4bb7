//! This machine's clocks, of the binary alone: set while it runs, by a library that is loaded before it (`clock_of_daemon.c`).

use std::path::PathBuf;
use std::process::Command;

use crate::daemon::Site;

/// Clocks of the daemon's own, which a test sets while it runs.
pub(crate) struct Clocks {
    library: PathBuf,
    folder: PathBuf,
}

impl Clocks {
    pub(crate) fn of(site: &Site) -> Self {
        let (library, folder) = (site.path("clock.so"), site.path(""));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock_of_daemon.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        assert!(made.expect("a C compiler").success(), "{source}");
        Self { library, folder }
    }

    /// A command that goes by them.
    pub(crate) fn command(&self, site: &Site, arguments: &[&str]) -> Command {
        let mut command = site.command(arguments);
        command.env("LD_PRELOAD", &self.library);
        command.envs(["CLOCK_OFF_BY", "STEADY_OFF_BY"].map(|name| (name, self.folder.join(name))));
        command
    }

    /// Puts one of them ahead by so many seconds.
    pub(crate) fn set(&self, name: &str, seconds: i64) {
        std::fs::write(self.folder.join(name), seconds.to_string()).expect("written");
    }
}
