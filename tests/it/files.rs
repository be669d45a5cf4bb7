//! The file and what stands beside it, as programs and people treat it: a log that is removed, a table that is written back,
//! a dump, a clean end.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use hubsyncd::simulator::request::Request;
use hubsyncd::simulator::settings::DEFAULT_TOKEN;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site, eventually, open, wait};
use crate::disks::disk_in_trouble;
use crate::portal::Portal;

/// The database alone, without what stands beside it, as a copy has it.
fn number_in_copy(site: &Site, sql: &str) -> i64 {
    std::fs::copy(site.path("crm.db"), site.path("copy.db")).expect("copied");
    open(&site.path("copy.db"))
        .query_row(sql, [], |row| row.get(0))
        .expect(sql)
}

#[test]
fn a_clean_end_leaves_everything_in_the_database() {
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    let mut site = Site::new(&portal);
    site.start_and_load();
    assert_eq!(site.stop(), 0);
    assert!(!site.path("crm.db-wal").exists());
    let rows = "SELECT count(*) FROM contacts";
    assert_eq!(number_in_copy(&site, rows), 150);
    // Beside a program that has the file open, and in `once` too.
    let program = site.program();
    let read = |sql: &str| -> i64 { program.query_row(sql, [], |row| row.get(0)).expect(sql) };
    assert_eq!(read(rows), 150);
    for number in 0..5 {
        portal.contact(&format!("new{number}@example.com"));
    }
    site.once();
    assert_eq!(read(rows), 155);
    let log = std::fs::metadata(site.path("crm.db-wal")).expect("the program has it open");
    assert_eq!(log.len(), 0);
    assert_eq!(number_in_copy(&site, rows), 155);
    // A program that reads in a transaction keeps the log, and the daemon says so.
    program.execute_batch("BEGIN").expect("begins");
    assert_eq!(read(rows), 155);
    portal.contact("last@example.com");
    let output = site.run(&["once", "--timeout", "50s"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("could not be emptied"), "{said}");
    let log = std::fs::metadata(site.path("crm.db-wal")).expect("the program has it open");
    assert!(log.len() > 0);
    program.execute_batch("COMMIT").expect("ends");
    assert_eq!(read(rows), 156);
    drop(program);
    assert!(site.run(&["status"]).status.success());
    assert!(
        !site.path("crm.db-wal").exists(),
        "a command leaves nothing behind"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a stop has a time that is promised, and the daemon can't be asked for it"
)]
fn a_stop_beside_a_program_that_holds_the_write_lock_takes_five_seconds_and_ends_well() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let program = site.program();
    program
        .execute_batch("BEGIN IMMEDIATE; UPDATE contacts SET city = 'Kiel' WHERE local_id = 1")
        .expect("it writes");
    let begun = Instant::now();
    assert_eq!(site.stop(), 0, "{}", site.log());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    let log = site.log();
    assert!(!log.contains("a program reads in a transaction"), "{log}");
    assert!(
        log.contains("stopped, and the end could not be written down; nothing is lost"),
        "{log}"
    );
    program.execute_batch("COMMIT").expect("ends");
    drop(program);
    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE city = 'Kiel'"),
        1
    );
}

#[test]
fn a_log_that_is_removed_ends_the_daemon_and_what_was_committed_is_in_the_file() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let rows = site.number("SELECT count(*) FROM contacts");
    std::fs::remove_file(site.path("crm.db-wal")).expect("removed");
    assert_eq!(site.ended(), 1);
    assert!(
        site.log()
            .contains("crm.db-wal` was removed or replaced while it was open"),
        "{}",
        site.log()
    );
    assert_eq!(site.number("SELECT count(*) FROM contacts"), rows);
    site.start_and_load();
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_log_that_is_cut_in_place_ends_the_daemon_and_leaves_the_database_good() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_load();
    assert_eq!(site.stop(), 0);
    site.start_and_load();
    let log = std::fs::File::options()
        .write(true)
        .open(site.path("crm.db-wal"))
        .expect("opens");
    log.set_len(0).expect("cut");
    assert_eq!(site.ended(), 1);
    assert!(
        site.log()
            .contains("crm.db-wal` was cut or written over while it was open"),
        "{}",
        site.log()
    );
    assert!(says(&site.log(), produces("log-cut")), "{}", site.log());
    assert_eq!(site.text("PRAGMA integrity_check").as_deref(), Some("ok"));
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 20);
    site.start_and_load();
    assert_eq!(site.stop(), 0);
}

/// pandas' `to_sql("contacts", if_exists="replace")` is this, in Python's own words.
const WRITE_BACK: &str = "
    DROP TABLE \"contacts\";
    CREATE TABLE \"contacts\" (\"local_id\" INTEGER, \"hs_id\" REAL, \"email\" TEXT, \"first_name\" TEXT, \"city\" TEXT);
    INSERT INTO contacts SELECT * FROM temp.read;";

#[test]
fn a_mirror_that_a_program_writes_back_is_set_aside_made_again_and_filled() {
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    let id = portal.contact("ann@example.com");
    let mut site = Site::with(&portal, "[schedule]\npoll = \"1s\"\n", CONTACTS);
    site.start_and_load();
    let local_id = site.number(&format!("SELECT local_id FROM contacts WHERE hs_id = {id}"));
    assert_eq!(site.stop(), 0);
    site.execute(&format!(
        "UPDATE contacts SET city = 'Lima' WHERE hs_id = {id}"
    ));
    let read =
        "CREATE TEMP TABLE read AS SELECT local_id, hs_id, email, first_name, city FROM contacts";
    let program = site.program();
    program
        .execute_batch(&format!("PRAGMA foreign_keys = OFF; {read}; {WRITE_BACK}"))
        .expect("written back");
    program
        .execute(
            "INSERT INTO contacts (email) VALUES ('unseen@example.com')",
            [],
        )
        .expect("nobody refuses it");
    drop(program);
    site.start_and_load();
    eventually("Lima in HubSpot", || {
        portal.value(id, "city").as_deref() == Some("Lima")
    });
    site.until_sql("SELECT count(*) = 151 FROM contacts WHERE email IS NOT NULL");
    assert_eq!(
        site.number(&format!("SELECT local_id FROM contacts WHERE hs_id = {id}")),
        local_id
    );
    assert_eq!(site.number("SELECT count(*) FROM contacts_replaced_1"), 152);
    site.until_sql(&format!(
        "SELECT state = 'degraded' AND code = '{}' AND last_error LIKE '%contacts_replaced_1%' FROM sync_health",
        produces("table-replaced")
    ));
    // While the daemon runs: noticed within a minute.
    site.execute("INSERT INTO contacts (email) VALUES ('new@example.com')");
    site.until_sql("SELECT hs_id IS NOT NULL FROM contacts WHERE email = 'new@example.com'");
    let program = site.program();
    program
        .execute_batch(&format!("PRAGMA foreign_keys = OFF; {read}; {WRITE_BACK}"))
        .expect("written back");
    drop(program);
    site.until_sql("SELECT count(*) FROM sqlite_schema WHERE name = 'contacts_replaced_2'");
    site.until_sql("SELECT backfill = 'done' FROM sync_status WHERE object = 'contacts'");
    site.until_sql(
        "SELECT count(*) = 152 FROM contacts WHERE email IS NOT NULL AND local_id IS NOT NULL",
    );
    site.execute("DROP TABLE contacts_replaced_1");
    site.execute("DROP TABLE contacts_replaced_2");
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(portal.contacts(), 152);
    assert_eq!(site.stop(), 0);
}

/// Makes the database anew from what the system's `sqlite3` writes of it: statements, or another file.
fn restore_by(site: &Site, command: &str) {
    let other = site.path("other.db");
    let read = Command::new("sqlite3")
        .arg(site.path("crm.db"))
        .arg(command.replace("OTHER", &other.display().to_string()))
        .output()
        .expect("install the package `sqlite3`: the suite runs it as a client");
    for name in ["crm.db", "crm.db-wal", "crm.db-shm"] {
        drop(std::fs::remove_file(site.path(name)));
    }
    if other.exists() {
        std::fs::rename(other, site.path("crm.db")).expect("moved");
    } else {
        let sql = String::from_utf8(read.stdout).expect("is text");
        open(&site.path("crm.db"))
            .execute_batch(&sql)
            .expect("runs");
    }
}

#[test]
fn a_file_that_was_made_from_a_dump_goes_on_as_a_restored_one() {
    for command in [".dump", ".clone OTHER", "VACUUM INTO 'OTHER'"] {
        let portal = Portal::quick();
        portal.fill("contacts", 20);
        let id = portal.contact("ann@example.com");
        let mut site = Site::new(&portal);
        site.once();
        site.execute(&format!(
            "UPDATE contacts SET city = 'Lima' WHERE hs_id = {id}"
        ));
        site.execute("INSERT INTO contacts (email) VALUES ('new@example.com')");
        restore_by(&site, command);
        site.start_and_load();
        site.until_pushed();
        assert_eq!(
            portal.value(id, "city").as_deref(),
            Some("Lima"),
            "{command}"
        );
        assert_eq!(portal.contacts(), 22, "{command}");
        site.execute("INSERT INTO contacts (email) VALUES ('next@example.com')");
        site.until_sql("SELECT hs_id IS NOT NULL FROM contacts WHERE email = 'next@example.com'");
        assert_eq!(site.stop(), 0);
    }
}

/// A portal with one contact that has a property of its own, of a type.
fn portal_with_tier(kind: &str, field_type: &str) -> (Portal, u64) {
    let portal = Portal::quick();
    let body = format!(
        r#"{{"name":"tier","label":"Tier","type":"{kind}","fieldType":"{field_type}","groupName":"contactinformation"}}"#
    );
    let request = Request {
        method: "POST".to_owned(),
        path: "/crm/v3/properties/contacts".to_owned(),
        headers: vec![
            (
                "authorization".to_owned(),
                format!("Bearer {DEFAULT_TOKEN}"),
            ),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        body: body.into_bytes(),
        ..Request::default()
    };
    let now = portal.now_ms();
    assert_eq!(portal.stand().handle(&request, now).status, 201);
    let id = portal.contact("ann@example.com");
    (portal, id)
}

/// The other portal is the same one later: same id, same contact, another type.
#[test]
fn a_type_that_somebody_changes_in_hubspot_degrades_its_field_and_the_rest_runs() {
    let objects = format!("{CONTACTS}tier = \"tier\"\n");
    let (portal, id) = portal_with_tier("string", "text");
    let mut site = Site::with(&portal, "", &objects);
    site.once();
    site.execute("UPDATE contacts SET tier = 'gold'");
    let (later, same) = portal_with_tier("number", "number");
    assert_eq!(same, id);
    site.configure(&later, "", &objects);
    site.start_and_load();
    site.until_sql("SELECT state = 'degraded' FROM sync_fields WHERE property = 'tier'");
    let problem = site.text("SELECT problem FROM sync_fields WHERE property = 'tier'");
    assert_eq!(
        problem.as_deref(),
        Some("HubSpot changed the type of `tier` from string to number")
    );
    site.execute("UPDATE contacts SET city = 'Lima'");
    eventually("Lima in HubSpot", || {
        later.value(id, "city").as_deref() == Some("Lima")
    });
    let entry = site.number("SELECT id FROM sync_outbox");
    let discarded = site.run(&["outbox", "discard", &entry.to_string()]);
    assert!(discarded.status.success(), "{discarded:?}");
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    assert_eq!(site.stop(), 0);
    // The file takes the new type: the column is made anew.
    let taken = format!("{CONTACTS}tier = {{ column = \"tier\", type = \"number\" }}\n");
    site.configure(&later, "", &taken);
    site.start_and_load();
    site.until_sql(
        "SELECT state = 'active' AND type = 'number' FROM sync_fields WHERE property = 'tier'",
    );
    assert_eq!(
        site.number("SELECT count(*) FROM sync_history WHERE property = 'tier' AND old_value = 'gold' AND origin = 'discard'"),
        1
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_gate_that_a_program_opens_is_closed_within_seconds_and_everything_is_compared() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let refused = site.program().execute("UPDATE _sync_gate SET open = 1", []);
    assert!(refused.is_err());
    // As somebody who has read the triggers does.
    site.execute("UPDATE _sync_gate SET open = 20813");
    site.until_sql("SELECT open = 0 FROM _sync_gate");
    eventually("it is told", || {
        site.log().contains("a program opened `_sync_gate`")
    });
    site.until_sql(
        "SELECT count(*) FROM sync_runs WHERE kind = 'reconcile' AND finished_at IS NOT NULL",
    );
    site.until_sql("SELECT state = 'degraded' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_was_written_past_a_gate_that_was_closed_again_is_told_and_compared_also_by_the_next_start()
{
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    let past = |city: &str| {
        format!(
            "BEGIN; UPDATE _sync_gate SET open = 20813; UPDATE contacts SET city = '{city}';
             UPDATE _sync_gate SET open = 0; COMMIT"
        )
    };
    let compared = |city: &str| {
        format!(
            "SELECT count(*) FROM sync_history WHERE origin IN ('poll', 'reconcile') AND property = 'city' AND old_value = '{city}'"
        )
    };
    site.start_and_load();
    site.program()
        .execute_batch(&past("Unseen"))
        .expect("taken");
    site.until_sql(&compared("Unseen"));
    eventually("it is told", || {
        site.log().contains("a program opened `_sync_gate`")
    });
    assert_eq!(site.stop(), 0);
    site.program()
        .execute_batch(&past("Unheard"))
        .expect("taken");
    site.start_and_load();
    site.until_sql(&compared("Unheard"));
    assert_eq!(portal.value(id, "city"), None, "HubSpot's value stands");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_folder_that_is_not_there_is_named_with_what_to_write() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    let config = std::fs::read_to_string(site.path("config.toml")).expect("read");
    let config = config.replace("path = \"crm.db\"", "path = \"missing/crm.db\"");
    std::fs::write(site.path("config.toml"), config).expect("written");
    let output = site.run(&["once"]);
    let explanation = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{explanation}");
    assert!(explanation.contains("there is no folder"), "{explanation}");
    assert!(explanation.contains("make the folder"), "{explanation}");
}

#[test]
fn what_a_program_wrote_past_the_triggers_is_created_kept_and_told_of() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_load();
    let program = site.program();
    program
        .execute_batch(
            "BEGIN IMMEDIATE;
             DROP TRIGGER sync_guard__sync_gate_update; DROP TRIGGER sync_mirror_contacts_insert;
             UPDATE _sync_gate SET open = 1;
             INSERT INTO contacts (email) VALUES ('new@example.com');
             UPDATE contacts SET city = 'Unseen' WHERE email = 'ann@example.com';
             COMMIT",
        )
        .expect("nothing stops a program that drops what would");
    site.until_sql(
        "SELECT count(*) FROM contacts WHERE email = 'new@example.com' AND hs_id IS NOT NULL",
    );
    assert_eq!(portal.count_with("email", "new@example.com"), 1);
    site.until_sql("SELECT count(*) FROM sync_history WHERE origin IN ('poll', 'reconcile') AND property = 'city' AND old_value = 'Unseen'");
    assert_eq!(portal.value(id, "city"), None, "HubSpot's value stands");
    assert!(
        site.log().contains(
            "a program opened `_sync_gate`, so that writes to `contacts` were not recorded"
        )
    );
    site.until_sql("SELECT count(*) = 0 FROM _sync_bypassed");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_dropped_table_names_what_waited_and_archives_nothing() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.execute("INSERT INTO contacts (email) VALUES ('new@example.com')");
    site.execute("DROP TABLE contacts");
    site.once();
    assert_eq!(
        portal.value(id, "email").as_deref(),
        Some("ann@example.com")
    );
    assert_eq!(
        site.text("SELECT email FROM contacts").as_deref(),
        Some("ann@example.com")
    );
    let dead =
        site.text("SELECT group_concat(last_error, '; ') FROM sync_outbox WHERE state = 'dead'");
    let dead = dead.expect("it is named");
    assert_eq!(
        site.text("SELECT group_concat(DISTINCT code) FROM sync_outbox")
            .as_deref(),
        Some(produces("row-gone"))
    );
    assert!(
        dead.contains("`city`") && dead.contains("row 2 went with the table contacts"),
        "{dead}"
    );
    let told = site
        .text("SELECT last_error FROM sync_health")
        .expect("it is told");
    assert!(
        told.contains("2 changes that waited find their rows no more"),
        "{told}"
    );
    site.execute("DELETE FROM sync_outbox");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    let told = site.text("SELECT coalesce(last_error, '-') FROM sync_health");
    assert!(
        told.is_some_and(|told| !told.contains("find their rows no more")),
        "what was put back may still be told"
    );
}

/// Lets a process have so many files open, from now on.
fn limit_files(pid: u32, files: u64) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    let limit = Rlimit {
        current: Some(files),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
}

#[test]
fn a_daemon_that_may_open_no_more_files_says_so_goes_on_and_heals() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let pid = site.number("SELECT pid FROM sync_health");
    let pid = u32::try_from(pid).expect("a pid");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let open = open.expect("its files").count() as u64;
    limit_files(pid, open);
    let code = produces("few-descriptors");
    site.until_sql(&format!("SELECT code = '{code}' FROM sync_health"));
    let said = site
        .text("SELECT last_error FROM sync_health")
        .expect("words");
    assert!(said.contains("LimitNOFILE="), "{said}");
    // Both sides write meanwhile.
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.execute("INSERT INTO contacts (email) VALUES ('bob@example.com')");
    portal.edit(ann, &[("firstname", "Anna")]);
    wait(Duration::from_secs(3));
    limit_files(pid, 1024);
    site.until_pushed();
    site.until_sql("SELECT count(*) FROM contacts WHERE first_name = 'Anna' AND city = 'Lima'");
    site.until_sql("SELECT code IS NULL AND last_error IS NULL FROM sync_health");
    assert_eq!(portal.value(ann, "city").as_deref(), Some("Lima"));
    assert_eq!(portal.count_with("email", "bob@example.com"), 1);
    assert_eq!(site.stop(), 0);
    // One that can't open its database at all ends with the same word.
    let run = site.command(&["once"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -S -n 14 && exec \"$0\" \"$@\""])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(site.path("."));
    let output = limited.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("LimitNOFILE="), "{said}");
}

#[test]
fn a_log_that_another_program_should_write_back_and_does_not_is_told_until_it_is() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    let text = std::fs::read_to_string(site.path("config.toml")).expect("the mapping file");
    let outside = "path = \"crm.db\"\ncheckpoint = \"outside\"";
    let text = text.replace("path = \"crm.db\"", outside);
    std::fs::write(site.path("config.toml"), text).expect("written");
    site.start_and_settle();
    let program = site.program();
    program
        .execute_batch(
            "PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE filling (a BLOB);
             INSERT INTO filling SELECT randomblob(1048576) FROM (WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 24) SELECT v FROM n)",
        )
        .expect("a program's table");
    let code = produces("log-grows");
    site.until_sql(&format!("SELECT code = '{code}' FROM sync_health"));
    let output = site.run(&["status"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("nobody has written back") && shown.contains("Litestream"),
        "{shown}"
    );
    // It goes on meanwhile.
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_pushed();
    // What Litestream does.
    program
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
        .expect("written back");
    site.until_sql("SELECT code IS NULL AND last_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_program_that_keeps_the_log_from_being_written_back_is_named_until_it_ends() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let reader = site.program();
    reader.execute_batch("BEGIN").expect("begins");
    let seen: i64 = reader
        .query_row("SELECT count(*) FROM contacts", [], |row| row.get(0))
        .expect("a read");
    assert_eq!(seen, 1);
    site.program()
        .execute_batch(
            "CREATE TABLE filling (a BLOB);
             INSERT INTO filling SELECT randomblob(1048576) FROM (WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 24) SELECT v FROM n)",
        )
        .expect("a program's table");
    let named = format!(
        "SELECT code = '{}' AND last_error LIKE '%(pid {})%' FROM sync_health",
        produces("log-held"),
        std::process::id()
    );
    site.until_sql(&named);
    // It goes on meanwhile.
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_pushed();
    reader.execute_batch("COMMIT").expect("ends");
    site.until_sql("SELECT code IS NULL AND last_error IS NULL FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_damaged_page_is_told_by_the_check_and_by_the_copy() {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let site = Site::new(&portal);
    site.once();
    let told = |arguments: &[&str]| {
        let output = site.run(arguments);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = told(&["check", "--online"]);
    assert_eq!(code, Some(0), "{said}");
    let root = site.number("SELECT rootpage FROM sqlite_schema WHERE name = 'contacts'");
    let file = std::fs::File::options()
        .write(true)
        .open(site.path("crm.db"))
        .expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4_096], (root as u64 - 1) * 4_096)
        .expect("written over");
    for arguments in [&["check", "--online"][..], &["backup", "copy.db"]] {
        let (code, said) = told(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("damaged-database"), "{arguments:?}: {said}");
        assert!(said.contains("restore a backup"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_copy_for_which_there_is_no_room_is_told_and_leaves_nothing() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let output = site
        .command(&["backup", "copy.db"])
        .env("LD_PRELOAD", disk_in_trouble(&site))
        .env("DISK_IS", "full")
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(says(&told, "file-unusable"), "{told}");
    assert!(
        told.contains("hint: ") && told.contains("room for the copy"),
        "{told}"
    );
    let files = fs::read_dir(site.path(".")).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name());
    let left = names.filter(|name| name.to_string_lossy().starts_with("copy.db"));
    assert_eq!(left.count(), 0);
    assert_eq!(site.run(&["backup", "copy.db"]).status.code(), Some(0));
    assert_eq!(site.stop(), 0);
}
