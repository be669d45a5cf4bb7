//! The codes of a database that can't be used: at the end of a command's sentence, and in the log of what ends.

use std::fs::{self, File, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use super::{produces, says};
use crate::daemon::{Site, open};
use crate::disks::disk_in_trouble;
use crate::portal::Portal;

fn told(output: &Output) -> String {
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// A command ends with this status, and with this code behind its sentence.
fn ends(site: &Site, arguments: &[&str], status: i32, code: &str) {
    let output = site.run(arguments);
    let told = told(&output);
    assert!(
        told.contains(&format!("[{code}]")) || says(&told, code),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(status), "{told}");
}

/// A site whose database is filled, or something else by a program's statements.
fn site(statements: &str) -> (Portal, Site) {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let site = Site::new(&portal);
    if statements.is_empty() {
        site.once();
    } else {
        open(&site.path("crm.db"))
            .execute_batch(statements)
            .expect("a program's own file");
    }
    (portal, site)
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_told_by_its_code() {
    let (_portal, own) = site("CREATE TABLE mine (x)");
    ends(&own, &["status"], 78, produces("no-database"));
    let (_portal, taken) = site("CREATE TABLE owners (x)");
    ends(&taken, &["once"], 78, produces("table-taken"));
    let (_portal, old) = site("CREATE TABLE sync_meta (x); CREATE TABLE sync_outbox (x)");
    ends(&old, &["status"], 78, produces("unreleased-database"));
    ends(&old, &["once"], 78, "unreleased-database");
    let (_portal, new) = site("");
    new.program()
        .execute_batch("PRAGMA user_version = 9999")
        .expect("written");
    ends(&new, &["once"], 78, produces("newer-database"));
    ends(&new, &["status"], 78, "newer-database");
}

#[test]
fn a_file_of_which_a_part_is_gone_is_told_by_its_code() {
    let (_portal, half) = site("");
    half.program()
        .execute_batch("DROP VIEW sync_status")
        .expect("dropped");
    ends(&half, &["status"], 1, produces("incomplete-database"));
    // It is made again at the next start.
    half.once();
    half.program()
        .execute_batch(
            "DROP VIEW sync_health; CREATE VIEW sync_health AS SELECT missing FROM nowhere",
        )
        .expect("replaced");
    ends(&half, &["status"], 1, produces("sqlite"));
    let (_portal, damaged) = site("");
    let pages = damaged.number("PRAGMA page_count").unsigned_abs();
    let size = damaged.number("PRAGMA page_size").unsigned_abs();
    let mut file = File::options()
        .write(true)
        .open(damaged.path("crm.db"))
        .expect("opens");
    for page in 2..pages {
        file.seek(SeekFrom::Start(page * size)).expect("a page");
        file.write_all(&[0xa5; 512]).expect("written");
    }
    drop(file);
    ends(&damaged, &["once"], 1, produces("damaged-database"));
}

#[test]
fn a_database_that_another_program_keeps_busy_is_told_by_its_code() {
    let (_portal, busy) = site("");
    let program = busy.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    ends(
        &busy,
        &["once", "--timeout", "1s"],
        1,
        produces("busy-database"),
    );
    program.execute_batch("ROLLBACK").expect("given up");
}

#[test]
fn a_daemon_that_lost_its_lease_ends_and_its_log_says_so() {
    let (_portal, mut lost) = site("");
    lost.start_and_settle();
    lost.execute_as_daemon("UPDATE _sync_lease SET epoch = epoch + 1");
    lost.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    assert_eq!(lost.ended(), 1);
    assert!(says(&lost.log(), produces("lease-lost")), "{}", lost.log());
}

/// The command as a user who is nobody: none of the files is his, in a folder with this mode. What runs is a copy that he may read.
pub(crate) fn as_nobody(site: &Site, folder: u32, arguments: &[&str]) -> Output {
    const NOBODY: u32 = 65_534;
    fs::set_permissions(site.path("."), Permissions::from_mode(0o755)).expect("ours");
    let binary = site.path("hubsyncd");
    fs::copy(env!("CARGO_BIN_EXE_hubsyncd"), &binary).expect("copied");
    for (name, mode) in [
        ("hubsyncd", 0o755),
        ("config.toml", 0o644),
        ("token", 0o644),
        (".", folder),
    ] {
        fs::set_permissions(site.path(name), Permissions::from_mode(mode)).expect("ours");
    }
    let mut command = Command::new(&binary);
    command
        .args(arguments)
        .arg("--config")
        .arg(site.path("config.toml"));
    // Whoever runs the tests as another user than root is nobody already, to files that nobody may open.
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("it runs")
}

#[test]
fn a_file_that_is_another_users_is_told_by_its_code() {
    let (_portal, closed) = site("");
    fs::set_permissions(closed.path("crm.db"), Permissions::from_mode(0o000)).expect("ours");
    let shown = told(&as_nobody(&closed, 0o755, &["status"]));
    assert!(says(&shown, produces("not-ours")), "{shown}");
}

#[test]
fn a_full_disk_and_one_that_can_only_be_read_are_told_by_their_codes() {
    let (_portal, full) = site("");
    let library = disk_in_trouble(&full);
    for (arguments, trouble, code) in [
        (
            &["once", "--timeout", "5s"][..],
            "full",
            produces("disk-full"),
        ),
        (&["once"], "read-only", produces("read-only-disk")),
        (
            &["outbox", "retry"],
            "read-only",
            produces("read-only-database"),
        ),
    ] {
        let output = full
            .command(arguments)
            .env("LD_PRELOAD", &library)
            .env("DISK_IS", trouble)
            .output()
            .expect("it runs");
        let told = told(&output);
        assert!(says(&told, code), "{told}");
        assert_eq!(output.status.code(), Some(1), "{told}");
    }
    // Once there is room again it goes on.
    full.once();
}
