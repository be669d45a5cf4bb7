//! The real binary with a folder of its own, and local programs beside it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hubsyncd::clock::{Clock as _, SystemClock};
use hubsyncd::simulator::settings::DEFAULT_TOKEN;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::looks::Looks;
use crate::portal::Portal;

/// Longer than anything here takes, also on a busy machine: a create that may have been lost waits for a minute.
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The properties of contacts that the tests map.
pub(crate) const CONTACTS: &str = r#"
[objects.contacts.properties]
email = "email"
firstname = "first_name"
lastname = "last_name"
city = "city"
"#;

/// Every version of HubSpot's API.
const API_VERSIONS: [&str; 3] = ["2026-03", "2026-09", "v3"];

/// The version that this test speaks: drawn by its name, so that a failure comes again. `HUBSYNC_API_VERSION` is another.
fn api_version() -> String {
    std::env::var("HUBSYNC_API_VERSION").unwrap_or_else(|_| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let sum: usize = name.bytes().map(usize::from).sum();
        API_VERSIONS[sum % API_VERSIONS.len()].to_owned()
    })
}

/// A folder with a mapping file, and a daemon that may run in it.
pub(crate) struct Site {
    folder: TempDir,
    daemon: Option<Child>,
}

impl Site {
    /// A site that polls every second.
    pub(crate) fn new(portal: &Portal) -> Self {
        Self::with(portal, "", CONTACTS)
    }

    /// A site with more settings and objects of its own.
    pub(crate) fn with(portal: &Portal, settings: &str, objects: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let site = Self {
            folder,
            daemon: None,
        };
        fs::write(site.path("token"), DEFAULT_TOKEN).expect("the token is written");
        fs::set_permissions(site.path("token"), fs::Permissions::from_mode(0o600))
            .expect("nobody else reads it");
        site.configure(portal, settings, objects);
        site
    }

    /// Writes the mapping file anew.
    pub(crate) fn configure(&self, portal: &Portal, settings: &str, objects: &str) {
        let poll = if settings.contains("[schedule]") {
            ""
        } else {
            "[schedule]\npoll = \"1s\"\n"
        };
        // Sample records are a day old, and no test waits for a quiet object.
        let often = "poll = \"1s\"\npoll_idle = \"1s\"\n";
        let hurried = |text: &str| match text.contains("poll_idle") {
            true => text.to_owned(),
            false => text.replace("poll = \"1s\"\n", often),
        };
        let (poll, settings) = (hurried(poll), hurried(settings));
        let version = api_version();
        let text = format!(
            "[portal]\nbase_url = \"{}\"\ntier = \"professional\"\napi_version = \"{version}\"\n\
             [auth]\naccess_token = {{ file = \"token\" }}\n\
             [database]\npath = \"crm.db\"\n[log]\nlevel = \"debug\"\nformat = \"text\"\n{poll}{settings}\n{objects}",
            portal.url()
        );
        fs::write(self.path("config.toml"), text).expect("the mapping file is written");
    }

    /// A file of the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary with the site's mapping file.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubsyncd"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("config.toml"))
            .current_dir(self.folder.path())
            .env_remove("HUBSPOT_ACCESS_TOKEN")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Writes as the daemon does, past all triggers.
    pub(crate) fn execute_as_daemon(&self, sql: &str) {
        let program = self.program();
        let config = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
        program.set_db_config(config, false).expect("no triggers");
        program.execute(sql, []).expect(sql);
    }

    /// `once`, which must end with 0.
    pub(crate) fn once(&self) -> String {
        let output = self.run(&["once", "--timeout", "50s"]);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(
            output.status.success(),
            "{}\n{out}\n{}",
            output.status,
            tail(&err)
        );
        out
    }

    /// Starts `run`; its log goes to `log`.
    pub(crate) fn start(&mut self) {
        self.start_by(self.command(&["run"]));
    }

    /// Starts the daemon by a command of the test's own; its log goes to `log`.
    pub(crate) fn start_by(&mut self, mut command: Command) {
        assert!(self.daemon.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        command.stdout(Stdio::null()).stderr(Stdio::from(log));
        self.daemon = Some(command.spawn().expect("it starts"));
    }

    /// Starts `run` and waits until the first load is done.
    pub(crate) fn start_and_load(&mut self) {
        self.start();
        self.wait_loaded();
    }

    /// Starts `run` and waits until the first load and the first poll are done: nothing that a test does from here on is
    /// met by a poll before its interval is over.
    pub(crate) fn start_and_settle(&mut self) {
        self.start_and_load();
        self.until_sql(
            "SELECT min(direction = 'push' OR last_poll_at >= (SELECT started_at FROM sync_health)) FROM sync_status",
        );
    }

    /// Waits until the first load is done.
    pub(crate) fn wait_loaded(&self) {
        let pid = self.daemon.as_ref().expect("it runs").id();
        self.until_sql(&format!(
            "SELECT min(backfill = 'done') AND (SELECT pid FROM sync_health) = {pid} FROM sync_status"
        ));
    }

    /// The daemon's process.
    fn pid(&self) -> Pid {
        let child = self.daemon.as_ref().expect("it runs");
        Pid::from_raw(child.id().cast_signed()).expect("a process")
    }

    /// The limits that the daemon runs under.
    pub(crate) fn limits(&self) -> String {
        let id = self.daemon.as_ref().expect("it runs").id();
        fs::read_to_string(format!("/proc/{id}/limits")).expect("Linux")
    }

    /// Waits for a daemon that a signal ended.
    pub(crate) fn crashed(&mut self) {
        let mut child = self.daemon.take().expect("it runs");
        let status = child.wait().expect("a child");
        assert!(status.code().is_none(), "{status}");
    }

    /// The most memory that the daemon ever held.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let id = self.daemon.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
            .and_then(|number| number.trim().parse().ok())
            .expect("VmHWM")
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal");
    }

    /// SIGSTOP between two transactions: what programs write then waits for nothing.
    pub(crate) fn freeze(&self) {
        eventually("it stops between two transactions", || {
            self.signal(Signal::STOP);
            eventually("each of its threads stops", || self.is_still());
            let look = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK";
            let is_between = self.program().execute_batch(look).is_ok();
            if !is_between {
                self.signal(Signal::CONT);
            }
            is_between
        });
    }

    /// Whether a signal has stopped each of the daemon's threads.
    fn is_still(&self) -> bool {
        let id = self.daemon.as_ref().expect("it runs").id();
        let threads = fs::read_dir(format!("/proc/{id}/task")).expect("Linux");
        threads.flatten().all(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:\tT"))
        })
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.daemon.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it ended");
    }

    /// SIGTERM; the exit status.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for the daemon to end by itself; the exit status.
    pub(crate) fn ended(&mut self) -> i32 {
        let mut child = self.daemon.take().expect("it runs");
        let mut status = None;
        eventually("the daemon ends", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        status.and_then(|status| status.code()).expect("a status")
    }

    /// What the daemon logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A local program's connection, opened like any other client's.
    pub(crate) fn program(&self) -> Connection {
        open(&self.path("crm.db"))
    }

    /// A local program's write.
    pub(crate) fn execute(&self, sql: &str) -> usize {
        self.program().execute(sql, []).expect(sql)
    }

    /// A number; 0 where there is none, or no table yet.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.looks().number(sql)
    }

    /// For whoever looks more than once.
    pub(crate) fn looks(&self) -> Looks {
        Looks::at(self.path("crm.db"))
    }

    /// A text.
    pub(crate) fn text(&self, sql: &str) -> Option<String> {
        self.program()
            .query_row(sql, [], |row| row.get(0))
            .expect(sql)
    }

    /// Waits until a query answers with a number that is not 0.
    pub(crate) fn until_sql(&self, sql: &str) {
        let mut looks = self.looks();
        eventually(sql, || looks.number(sql) != 0);
    }

    /// Waits until nothing is pending or in flight.
    pub(crate) fn until_pushed(&self) {
        self.until_sql("SELECT count(*) = 0 FROM sync_outbox WHERE state <> 'dead'");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            #[expect(
                clippy::print_stderr,
                reason = "a failed test shows what the daemon said"
            )]
            {
                eprintln!("the daemon's log ends:\n{}", tail(&self.log()));
            }
        }
    }
}

/// Opens a database as local programs do.
pub(crate) fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("the database opens");
    connection
        .busy_timeout(Duration::from_secs(30))
        .expect("a timeout");
    connection
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Looks again and again until a condition holds; fails when it does not in time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    while !holds() {
        assert!(
            clock.monotonic().saturating_sub(begun) < PATIENCE,
            "this never came: {what}"
        );
        wait(LOOK);
    }
}

/// Lets time pass: for what happens in another process and leaves no trace to wait for.
pub(crate) fn wait(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the only wait of these tests")]
    std::thread::sleep(time);
}
