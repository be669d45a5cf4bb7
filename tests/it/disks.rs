//! A disk that is full or can only be read, and files that are another user's: what a daemon, a start and a command make of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::codes::database::as_nobody;
use crate::codes::{produces, says};
use crate::commands::get;
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::ports::free_port;

/// A library that puts a process on a disk in trouble (`disk_of_daemon.c`).
pub(crate) fn disk_in_trouble(site: &Site) -> PathBuf {
    let library = site.path("disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/disk_of_daemon.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
    let made = compiler.arg(&library).arg(source).status();
    assert!(made.expect("a C compiler").success());
    library
}

/// What a daemon is started under: a disk in whatever trouble a file says, and a service manager that listens.
struct Surroundings {
    elsewhere: TempDir,
    /// The lines that systemd was told and nobody asked for yet.
    told: Arc<Mutex<Vec<String>>>,
}

impl Surroundings {
    fn new() -> Self {
        let elsewhere = TempDir::new().expect("a folder");
        let systemd = UnixDatagram::bind(elsewhere.path().join("notify")).expect("a socket");
        let told = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&told);
        // Read all the time, as systemd does: whoever tells a full socket something waits.
        std::thread::spawn(move || {
            let mut bytes = [0; 2_048];
            while let Ok(read) = systemd.recv(&mut bytes) {
                let lines = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let mut heard = heard.lock().expect("nobody panics with it");
                heard.extend(lines.lines().map(str::to_owned));
            }
        });
        Self { elsewhere, told }
    }

    /// The disk becomes this.
    fn disk_is(&self, trouble: &str) {
        fs::write(self.elsewhere.path().join("says"), trouble).expect("written");
    }

    fn start(&self, site: &mut Site) {
        let path = |name| self.elsewhere.path().join(name);
        let mut command = site.command(&["run"]);
        command
            .env("LD_PRELOAD", disk_in_trouble(site))
            .env("DISK_IS", format!("@{}", path("says").display()))
            .env("NOTIFY_SOCKET", path("notify"))
            .env("WATCHDOG_USEC", "2000000")
            .env_remove("WATCHDOG_PID");
        site.start_by(command);
    }

    /// Waits until systemd is told a line that begins and ends so.
    fn hears(&self, begins: &str, ends: &str) {
        eventually("systemd is told", || {
            let mut told = self.told.lock().expect("nobody panics with it");
            let found = told
                .iter()
                .position(|line| line.starts_with(begins) && line.ends_with(ends));
            found.inspect(|at| drop(told.drain(..=*at))).is_some()
        });
    }
}

/// A folder that can only be read by whoever opens something in it, until this goes. What is open stays so: the kernel makes no
/// file system read-only while files are open for writing, unless its disk is broken.
struct ReadOnlyMount(PathBuf);

impl ReadOnlyMount {
    /// `None` where this user may mount nothing.
    fn over(folder: &Path) -> Option<Self> {
        let mount = |arguments: &[&str]| {
            let mut mount = Command::new("mount");
            let done = mount.args(arguments).arg(folder).output();
            done.is_ok_and(|done| done.status.success())
        };
        let from = folder.to_str().expect("text");
        if !mount(&["--bind", from]) {
            return None;
        }
        let mounted = Self(folder.to_owned());
        mount(&["-o", "remount,bind,ro"]).then_some(mounted)
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.expect("it runs").success());
    }
}

/// A site with health, and the port of that.
fn site_with_health(portal: &Portal) -> (Site, u16) {
    let port = free_port();
    let settings = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    (Site::with(portal, &settings, CONTACTS), port)
}

#[test]
fn a_disk_that_can_only_be_read_for_a_while_ends_nothing_and_loses_nothing() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let (mut site, port) = site_with_health(&portal);
    let around = Surroundings::new();
    around.start(&mut site);
    site.wait_loaded();
    site.execute("UPDATE contacts SET last_name = 'Kept' WHERE local_id = 1");
    site.until_pushed();
    let Some(mounted) = ReadOnlyMount::over(site.path("crm.db").parent().expect("a folder")) else {
        eprintln!("left out: this user may mount nothing");
        return;
    };
    around.disk_is("read-only");
    portal.edit(id, &[("city", "Oslo")]);
    eventually("the log names the disk", || {
        says(&site.log(), produces("read-only-disk"))
    });
    eventually("whoever asks is told", || {
        get(port, "/readyz").contains("\"state\":\"degraded\"")
    });
    around.hears("STATUS=degraded: ", " [read-only-disk]");
    // It outlives what calls a silent daemon stopped.
    eventually("it is no start that is in its way", || {
        get(port, "/readyz").contains("could not be written for 3")
    });
    around.disk_is("well");
    drop(mounted);
    site.until_sql("SELECT city = 'Oslo' AND last_name = 'Kept' FROM contacts");
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

/// A start on a disk in this trouble says so wherever it can, and goes on by itself.
fn start_waits_for(trouble: &str, code: &'static str) {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let (mut site, port) = site_with_health(&portal);
    site.once();
    portal.edit(id, &[("city", "Oslo")]);
    site.execute("UPDATE contacts SET last_name = 'Kept' WHERE local_id = 1");
    let around = Surroundings::new();
    around.disk_is(trouble);
    around.start(&mut site);
    let in_brackets = format!("[{code}]");
    around.hears("STATUS=degraded: ", &in_brackets);
    around.hears("READY=1", "");
    for _ in 0..3 {
        around.hears("WATCHDOG=1", "");
    }
    for path in ["/readyz", "/metrics"] {
        let told = get(port, path);
        let is_told = told.contains(" 503 ") && told.contains("\"state\":\"degraded\"");
        assert!(is_told && told.contains(&in_brackets), "{path}: {told}");
    }
    assert!(get(port, "/healthz").contains(" 200 "));
    assert!(says(&site.log(), produces(code)), "{}", site.log());
    around.disk_is("well");
    site.until_sql("SELECT city = 'Oslo' AND last_name = 'Kept' FROM contacts");
    site.until_pushed();
    eventually("health is the daemon's", || {
        get(port, "/readyz").contains("\"state\":\"running\"")
    });
    assert_eq!(portal.value(id, "lastname").as_deref(), Some("Kept"));
    let log = site.log();
    assert_eq!(log.matches("the database can't be had").count(), 1, "{log}");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_start_on_a_disk_that_can_only_be_read_waits_and_goes_on_by_itself() {
    start_waits_for("read-only", "read-only-disk");
}

#[test]
fn a_start_on_a_full_disk_waits_and_goes_on_by_itself() {
    start_waits_for("full", "disk-full");
}

#[test]
fn a_start_that_waits_for_its_disk_ends_at_a_signal_and_takes_another_database_that_the_file_names()
{
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    let around = Surroundings::new();
    around.disk_is("read-only");
    around.start(&mut site);
    around.hears("READY=1", "");
    assert_eq!(site.stop(), 0);
    assert!(!site.path("crm.db").exists());
    around.start(&mut site);
    around.hears("READY=1", "");
    let text = fs::read_to_string(site.path("config.toml")).expect("a file");
    let other = text.replace("path = \"crm.db\"", "path = \"other.db\"");
    fs::write(site.path("config.toml"), other).expect("written");
    site.signal(Signal::HUP);
    around.hears("STATUS=running: 1 rows", "");
    assert!(site.path("other.db").exists() && !site.path("crm.db").exists());
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_start_waits_for_a_program_that_keeps_the_database_locked() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let (mut site, port) = site_with_health(&portal);
    site.once();
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    site.start();
    eventually("whoever asks is told", || {
        let told = get(port, "/readyz");
        told.contains("\"state\":\"starting\"") && told.contains(produces("busy-database"))
    });
    program.execute_batch("ROLLBACK").expect("given up");
    site.wait_loaded();
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

/// What a command printed on both, and the status that it ended with.
fn ended(output: &Output) -> (Option<i32>, String) {
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn what_no_waiting_mends_ends_a_start_with_its_code() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    fs::remove_file(site.path("crm.db.lock")).expect("removed");
    let check = |folder: u32, file: u32, named: &str| {
        let mode = Permissions::from_mode(file);
        fs::set_permissions(site.path("crm.db"), mode).expect("ours");
        for command in ["run", "once"] {
            let (status, said) = ended(&as_nobody(&site, folder, &[command]));
            assert_eq!(status, Some(1), "{folder:o} {file:o}: {said}");
            assert!(
                says(&said, produces("not-ours")),
                "{folder:o} {file:o}: {said}"
            );
            let sentence = format!("{named}`: it belongs to user `");
            assert!(said.contains(&sentence) && said.contains("chmod"), "{said}");
        }
    };
    check(0o555, 0o666, "");
    check(0o777, 0o444, "crm.db");
    for (name, mode) in [(".", 0o755), ("crm.db", 0o644)] {
        fs::set_permissions(site.path(name), Permissions::from_mode(mode)).expect("ours");
    }
    // What nobody's look left beside the file has the file's former mode.
    for name in ["crm.db-wal", "crm.db-shm"] {
        fs::remove_file(site.path(name)).ok();
    }
    site.once();
}

/// Commands that only look, each with a word of what it shows.
const LOOKS: [(&[&str], &str); 8] = [
    (&["status"], "can only be read"),
    (&["outbox", "list"], "contacts"),
    (&["conflicts", "list"], "city"),
    (&["conflicts", "show", "1"], "Oslo"),
    (&["explain", "contacts", "1"], "Lima"),
    (&["changes"], "Rome"),
    (&["plan"], "Lima"),
    (&["undo", "--ids", "1", "--dry-run"], "city"),
];

/// Commands that write, or ask HubSpot for something.
const WRITES: [&[&str]; 5] = [
    &["outbox", "retry"],
    &["conflicts", "resolve", "1", "--take", "local"],
    &["undo", "--ids", "1", "--yes"],
    &["plan", "--online"],
    &["once"],
];

#[test]
fn on_a_disk_that_can_only_be_read_commands_that_look_work_and_those_that_write_say_why_not() {
    let portal = Portal::quick();
    let [ann, _bob] = ["ann@example.com", "bob@example.com"].map(|email| portal.contact(email));
    let settings = "[conflicts]\npolicy = \"manual\"\n";
    let mut site = Site::with(&portal, settings, CONTACTS);
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 1");
    site.once();
    portal.edit(ann, &[("city", "Oslo")]);
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    site.once();
    site.execute("UPDATE contacts SET first_name = 'Lima' WHERE local_id = 2");
    let folder = site.path("crm.db").parent().expect("a folder").to_owned();
    let elsewhere = TempDir::new().expect("a folder");
    let look = |how: &str| {
        let Some(mounted) = ReadOnlyMount::over(&folder) else {
            eprintln!("left out: this user may mount nothing");
            return;
        };
        for (arguments, word) in LOOKS {
            let (status, said) = ended(&site.run(arguments));
            assert_eq!(status, Some(0), "{how}: {arguments:?}: {said}");
            assert!(said.contains(word), "{how}: {arguments:?}: {said}");
        }
        let copy = elsewhere.path().join(how);
        let (status, said) = ended(&site.run(&["backup", copy.to_str().expect("text")]));
        assert_eq!(status, Some(0), "{how}: {said}");
        for arguments in WRITES {
            let (status, said) = ended(&site.run(arguments));
            assert_eq!(status, Some(1), "{how}: {arguments:?}: {said}");
            assert!(
                says(&said, "read-only-disk"),
                "{how}: {arguments:?}: {said}"
            );
        }
        drop(mounted);
    };
    look("after a clean end");
    let program = site.program();
    program
        .execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE contacts SET last_name = 'Log' WHERE local_id = 2")
        .expect("written");
    let beside = |suffix| site.path(&format!("crm.db{suffix}"));
    look("beside a program that has it open");
    // As a kill leaves it.
    for suffix in ["", "-wal"] {
        let copy = elsewhere.path().join(format!("crm.db{suffix}"));
        fs::copy(beside(suffix), copy).expect("copied");
    }
    drop(program);
    for suffix in ["", "-wal"] {
        let copy = elsewhere.path().join(format!("crm.db{suffix}"));
        fs::copy(copy, beside(suffix)).expect("copied");
    }
    assert!(!beside("-shm").exists());
    look("with a log and no index");
    site.start();
    site.until_pushed();
    assert_eq!(site.stop(), 0);
}
