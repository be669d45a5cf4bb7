//! What an operator asks of the database beside the daemon: its exit status for a monitor, changes as they come, a copy.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::codes::{produces, says};
use crate::daemon::{Site, eventually, open};
use crate::portal::Portal;

fn exit_code(site: &Site) -> Option<i32> {
    site.run(&["status", "--exit-code"]).status.code()
}

fn said(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = site.run(arguments);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_monitor_is_told_by_the_exit_status() {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let mut site = Site::new(&portal);
    site.once();
    assert_eq!(exit_code(&site), Some(4), "nobody runs");
    site.start_and_load();
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(exit_code(&site), Some(0));
    site.execute("INSERT INTO contacts (email) VALUES ('no address')");
    site.until_sql("SELECT sum(dead) FROM sync_status");
    assert_eq!(exit_code(&site), Some(3));
    let log = site.log();
    let refused = log
        .lines()
        .find(|line| line.contains("HubSpot refused a record"));
    let refused = refused.expect("the log says so");
    for field in ["object=contacts", "code=\"invalid-email\""] {
        assert!(refused.contains(field), "{field}: {refused}");
    }
    let (_, told) = said(&site, &["status"]);
    assert!(told.contains("contacts: 1 dead"), "{told}");
    assert_eq!(site.stop(), 0);
    let (_, told) = said(&site, &["status"]);
    assert!(told.contains("hint: start `hubsyncd run`"), "{told}");
}

/// Somebody who follows the changes.
struct Follower {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn of(site: &Site, since: &str) -> Self {
        let mut command = site.command(&["changes", "--follow", "--json", "--since", since]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect(&line)
    }

    fn ended(mut self) -> Option<i32> {
        drop(self.lines);
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn changes_are_followed_line_by_line_and_resumed_by_id() {
    let portal = Portal::quick();
    portal.fill("contacts", 2);
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let mut first = Follower::of(&site, "0");
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    let change = first.next();
    assert_eq!(change["property"], "city");
    assert_eq!(
        (&change["new_value"], &change["origin"]),
        (&"Lima".into(), &"push".into())
    );
    let columns = change.as_object().expect("an object").keys();
    assert_eq!(columns.count(), 10);
    // Who stops is told so, by a signal and by the end of the pipe.
    let id = change["id"].to_string();
    let mut second = Follower::of(&site, &id);
    let pid = Pid::from_raw(first.child.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::INT).expect("a signal");
    assert_eq!(first.ended(), Some(0));
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 1");
    let change = second.next();
    assert_eq!(
        (&change["old_value"], &change["new_value"]),
        (&"Lima".into(), &"Rome".into())
    );
    assert_eq!(second.ended(), Some(0));
    let (code, told) = said(
        &site,
        &["changes", "--since", "10m", "--object", "contacts"],
    );
    assert_eq!((code, told.lines().count()), (Some(0), 2), "{told}");
    assert!(
        told.contains("contacts 1  city: Lima -> Rome  (push)"),
        "{told}"
    );
    let (code, told) = said(&site, &["changes", "--object", "contcats"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("write `contacts`"), "{told}");
    assert_eq!(site.stop(), 0);
    // What was forgotten is said before anything is printed.
    let program = site.program();
    program
        .execute_batch(
            "DROP TRIGGER sync_guard_sync_history_delete; DELETE FROM sync_history WHERE id = 1",
        )
        .expect("it is forgotten");
    for (since, code) in [("0", Some(1)), ("1", Some(0)), ("99", Some(1))] {
        let (ended, told) = said(&site, &["changes", "--since", since]);
        assert_eq!(ended, code, "{since}: {told}");
        assert_eq!(
            says(&told, produces("changes-forgotten")),
            code == Some(1),
            "{told}"
        );
    }
}

#[test]
fn a_copy_is_whole_for_its_owner_alone_and_writes_over_nothing() {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let (code, told) = said(&site, &["backup", "copy.db"]);
    assert_eq!(code, Some(0), "{told}");
    let copy = site.path("copy.db");
    let mode = std::fs::metadata(&copy)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rows = |sql| open(&copy).query_row(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(rows("SELECT count(*) FROM contacts").expect("reads"), 30);
    assert_eq!(
        rows("SELECT count(*) FROM sync_records").expect("reads"),
        30
    );
    let (code, told) = said(&site, &["backup", "copy.db"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(says(&told, produces("file-exists")), "{told}");
    let (code, told) = said(&site, &["backup", "nowhere/copy.db"]);
    assert_eq!(
        (code, says(&told, produces("file-unusable"))),
        (Some(1), true),
        "{told}"
    );
    let left = std::fs::read_dir(site.path(".")).expect("a folder");
    let parts = left.filter(|file| {
        file.as_ref()
            .is_ok_and(|file| file.path().extension().is_some_and(|end| end == "part"))
    });
    assert_eq!(parts.count(), 0);
    // A daemon goes on from it as from any backup.
    assert_eq!(site.stop(), 0);
    std::fs::rename(&copy, site.path("crm.db")).expect("it is put back");
    site.once();
    eventually("nothing was lost", || {
        site.number("SELECT count(*) FROM contacts WHERE hs_id IS NOT NULL") == 30
    });
}

/// What happens next with the first contact, as `explain` says.
fn next_of(site: &Site) -> String {
    let told = site.run(&["explain", "--json", "contacts", "1"]);
    let told: Value = serde_json::from_slice(&told.stdout).expect("one value");
    told["next"]["what"].as_str().expect("words").to_owned()
}

#[test]
fn what_is_paused_degraded_or_held_is_what_comes_next_and_a_plan_says_that_nothing_is_sent() {
    const RESUME: &str = "`INSERT INTO sync_commands (command) VALUES ('resume')`";
    let portal = Portal::quick();
    portal.fill("contacts", 12);
    let mut site = Site::new(&portal);
    site.start_and_load();
    site.execute("INSERT INTO sync_commands (command) VALUES ('pause')");
    site.until_sql("SELECT state = 'done' FROM sync_commands");
    let poll = "the next poll or webhook of contacts";
    assert_eq!(
        next_of(&site),
        format!("once pull is resumed ({RESUME}): {poll}")
    );
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    assert_eq!(
        next_of(&site),
        format!("once push is resumed ({RESUME}): it is pushed")
    );
    let (_, told) = said(&site, &["plan"]);
    assert!(
        told.contains("push is paused in the daemon") && told.contains(RESUME),
        "{told}"
    );
    assert_eq!(site.stop(), 0);
    assert_eq!(
        next_of(&site),
        format!("once the daemon runs and push is resumed ({RESUME}): it is pushed")
    );
    site.start_and_load();
    site.execute("INSERT INTO sync_commands (command) VALUES ('resume')");
    site.until_pushed();
    let (_, told) = said(&site, &["plan"]);
    assert!(!told.contains("paused"), "{told}");
    assert_eq!(next_of(&site), poll);
    // Everything is deleted, and the guard holds it.
    site.execute("DELETE FROM contacts");
    site.until_sql("SELECT count(*) FROM sync_holds");
    let hold = site.number("SELECT id FROM sync_holds");
    let decide = format!(
        "somebody decides hold {hold}: `hubsyncd outbox approve {hold}` or `hubsyncd outbox discard --hold {hold}`"
    );
    site.until_sql("SELECT count(*) = 12 FROM sync_outbox WHERE waits_for = 'guard'");
    assert_eq!(next_of(&site), decide);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_record_and_a_code_are_explained() {
    let portal = Portal::quick();
    portal.fill("contacts", 2);
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    site.once();
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 1");
    let explained = |arguments: &[&str]| -> Value {
        let output = site.run(&[&["explain", "--json"], arguments].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("one value")
    };
    let record = explained(&["contacts", "1"]);
    assert_eq!(
        (&record["state"], &record["local_id"]),
        (&"waiting".into(), &1.into())
    );
    let fields = record["fields"].as_array().expect("fields");
    let field = |column: &str| {
        fields
            .iter()
            .find(|field| field["column"] == column)
            .expect(column)
    };
    let city = field("city");
    assert_eq!(
        (&city["base"], &city["local"], &city["remote"]),
        (&"Lima".into(), &"Rome".into(), &"Lima".into())
    );
    assert_eq!(
        (&city["state"], &field("email")["state"]),
        (&"waiting".into(), &"in_sync".into())
    );
    assert_eq!(record["entry"]["operation"], "update");
    assert_eq!(record["history"][0]["new_value"], "Lima");
    assert_eq!(
        (&record["call"]["class"], &record["call"]["status"]),
        (&"update".into(), &200.into())
    );
    assert_eq!(record["next"]["what"], "once the daemon runs: it is pushed");
    let hs_id = record["hs_id"].to_string();
    assert_eq!(explained(&["contacts", "--hs-id", &hs_id]), record);
    // What no run brought has no call of its own.
    site.execute_as_daemon(
        "UPDATE sync_history SET run_id = NULL WHERE id = (SELECT max(id) FROM sync_history WHERE local_id = 1)",
    );
    assert!(explained(&["contacts", "1"])["call"].is_null());
    site.execute("INSERT INTO contacts (email) VALUES ('no address')");
    site.once();
    let refused = explained(&["contacts", "3"]);
    assert_eq!(
        (&refused["state"], &refused["entry"]["code"]),
        (&"failing".into(), &"invalid-email".into())
    );
    assert_eq!(
        refused["call"]["correlation_id"],
        refused["entry"]["correlation_id"]
    );
    for code in ["out-of-quota", "out_of_quota"] {
        assert_eq!(explained(&[code])["code"], "out-of-quota");
    }
    let (code, told) = said(&site, &["explain", "contacts", "1"]);
    assert_eq!(code, Some(0));
    assert!(
        told.contains("contacts 1, record ") && told.contains("Lima"),
        "{told}"
    );
    for (arguments, status, words) in [
        (
            ["contacts", "99"],
            1,
            format!("contacts has no row 99 [{}]", produces("no-such-row")),
        ),
        (
            ["contcats", "1"],
            2,
            format!(
                "no object is called `contcats` [{}]",
                produces("wrong-usage")
            ),
        ),
    ] {
        let (code, told) = said(&site, &["explain", arguments[0], arguments[1]]);
        assert_eq!(
            (code, told.contains(&words)),
            (Some(status), true),
            "{told}"
        );
    }
    for (arguments, words) in [
        (
            ["--object", "nix"],
            "no object is called `nix` [wrong-usage]",
        ),
        (
            ["--object", "contacts"],
            "no conflict of `contacts` waits [no-such-row]",
        ),
    ] {
        let resolve = [&["conflicts", "resolve", "--take", "local"], &arguments[..]].concat();
        let (_, told) = said(&site, &resolve);
        assert!(told.contains(words), "{told}");
    }
    let (code, told) = said(&site, &["explain", "invalid-emial"]);
    assert_eq!(
        (code, told.contains("`invalid-email`")),
        (Some(2), true),
        "{told}"
    );
}

#[test]
fn a_mistake_in_the_mapping_file_keeps_no_operator_from_the_database() {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let good = std::fs::read_to_string(site.path("config.toml")).expect("a file");
    let write = |text: &str| std::fs::write(site.path("config.toml"), text).expect("written");
    for mistake in ["[guard]\nmax_archivs = 7\n", "[bad\n"] {
        write(&format!("{good}{mistake}"));
        site.until_sql("SELECT state = 'degraded' AND config_error IS NOT NULL FROM sync_health");
        assert_eq!(exit_code(&site), Some(3));
        for arguments in [
            &["status"][..],
            &["changes"],
            &["explain", "contacts", "1"],
            &["outbox", "list"],
            &["conflicts", "list"],
            &["backup", "copy.db"],
        ] {
            let (code, told) = said(&site, arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {told}");
            assert!(
                told.contains("the mapping file has "),
                "{arguments:?}: {told}"
            );
        }
        std::fs::remove_file(site.path("copy.db")).expect("a copy");
    }
    // Which database is meant must be beyond doubt.
    let path = "path = \"crm.db\"\n";
    assert!(good.contains(path));
    for (text, by) in [
        (good.replace(path, "path = 7\n"), "path"),
        (good.replace(path, "pth = \"crm.db\"\n"), "pth"),
        (good.replace("[database]", "[databse]"), "databse"),
        (good.replace("[database]", "[database"), "[database"),
        (good.replace(path, &format!("{path}{path}")), "path"),
    ] {
        write(&text);
        let (code, told) = said(&site, &["outbox", "list"]);
        assert_eq!(code, Some(78), "{text}: {told}");
        assert!(told.contains(by), "{by}: {told}");
    }
    write(&good);
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}
