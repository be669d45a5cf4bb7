//! What people and service managers meet: exit statuses, clear errors, health, the stop, and no secret anywhere.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use hubsyncd::clock::{Clock as _, SystemClock};
use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::ports::free_port;

pub(crate) fn get(port: u16, path: &str) -> String {
    get_with(port, path, "")
}

/// The same with headers, each with its line's end. Where nobody listens, or not to the end, there is no answer.
pub(crate) fn get_with(port: u16, path: &str, headers: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        )
        .expect("sent");
        if stream.read_to_string(&mut answer).is_err() {
            return String::new();
        }
    }
    answer
}

#[test]
fn the_daemon_tells_the_service_manager_and_the_health_listener() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mut site = Site::with(&portal, &http, CONTACTS);
    let socket = UnixDatagram::bind(site.path("notify")).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let mut child = site
        .command(&["run"])
        .env("NOTIFY_SOCKET", site.path("notify"))
        .spawn()
        .expect("it starts");
    let mut told = String::new();
    let mut hear = |word: &str| {
        let mut buffer = [0; 1_024];
        while !told.contains(word) {
            let length = socket.recv(&mut buffer).expect(word);
            told.push_str(&String::from_utf8_lossy(&buffer[..length]));
            told.push('\n');
        }
    };
    hear("READY=1");
    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
    eventually("ready", || get(port, "/readyz").starts_with("HTTP/1.1 200"));
    eventually("running", || {
        get(port, "/readyz").contains(r#""state":"running""#)
    });
    // What it does in numbers, in one line.
    hear("STATUS=running: 20 rows, 0 waiting, lag ");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, Signal::TERM).expect("a signal");
    hear("STOPPING=1");
    let numbers = told
        .lines()
        .filter(|line| line.contains(", quota "))
        .count();
    assert!(numbers > 0, "{told}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    site.start_and_load();
    assert_eq!(site.stop(), 0);
}

#[test]
fn the_service_manager_is_told_that_it_is_up_while_hubspot_is_waited_for() {
    let portal = Portal::quick();
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    let site = Site::new(&portal);
    let socket = UnixDatagram::bind(site.path("notify")).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let mut child = site
        .command(&["run"])
        .env("NOTIFY_SOCKET", site.path("notify"))
        .env("WATCHDOG_USEC", "1000000")
        .spawn()
        .expect("it starts");
    let mut told: Vec<String> = Vec::new();
    let wanted = ["READY=1", "STATUS=unauthorized: ", "WATCHDOG=1"];
    while !wanted
        .iter()
        .all(|word| told.iter().any(|line| line.starts_with(word)))
    {
        let mut buffer = [0; 1_024];
        let length = socket.recv(&mut buffer).expect("a message");
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        told.extend(message.lines().map(str::to_owned));
    }
    let beats = |told: &[String]| told.iter().filter(|line| *line == "WATCHDOG=1").count();
    // It goes on while nothing can be read.
    let before = beats(&told);
    while beats(&told) < before + 3 {
        let mut buffer = [0; 1_024];
        let length = socket.recv(&mut buffer).expect("a ping");
        told.push(
            String::from_utf8_lossy(&buffer[..length])
                .trim_end()
                .to_owned(),
        );
    }
    assert_eq!(told.iter().filter(|line| *line == "READY=1").count(), 1);
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, Signal::TERM).expect("a signal");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_start_that_failed_looks_stopped_and_says_why() {
    let portal = Portal::quick();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let mut site = Site::with(
        &portal,
        &format!("[http]\nlisten = \"{address}\"\n"),
        CONTACTS,
    );
    site.start();
    assert_eq!(site.ended(), 1);
    assert_eq!(
        site.text("SELECT phase FROM _sync_daemon").as_deref(),
        Some("stopped")
    );
    let explanation = site.text("SELECT last_error FROM sync_health");
    assert!(
        explanation
            .as_deref()
            .is_some_and(|explanation| explanation.contains("can't listen on")),
        "{explanation:?}"
    );
    assert_eq!(
        site.text("SELECT state FROM sync_health").as_deref(),
        Some(produces("stopped"))
    );
    // What ends `run` has its code in the log too.
    assert!(
        says(&site.log(), produces("address-taken")),
        "{}",
        site.log()
    );
    // A token that no header can hold is seen when the database is open already.
    let site = Site::new(&portal);
    std::fs::write(site.path("token"), "no\u{1}token").expect("written");
    let output = site.run(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says(&told, produces("secret-malformed")), "{told}");
    let began = site.number("SELECT count(*) FROM _sync_daemon WHERE pid IS NOT NULL");
    let stopped = site.number("SELECT phase = 'stopped' FROM _sync_daemon");
    assert!(began == 0 || stopped == 1, "{began} {stopped}");
}

#[test]
fn a_stop_comes_to_an_end_whatever_is_going_on() {
    let portal = Portal::with(Settings {
        latency_min_ms: 100,
        latency_max_ms: 100,
        ..Settings::default()
    });
    portal.fill("contacts", 4_000);
    let mut site = Site::new(&portal);
    // While it starts.
    site.start();
    eventually("its first request", || {
        !portal.stand().request_log().is_empty()
    });
    assert_eq!(site.stop(), 0);
    // In the middle of the backfill, by Ctrl-C.
    site.start();
    site.until_sql("SELECT count(*) > 300 FROM contacts");
    site.signal(Signal::INT);
    assert_eq!(site.ended(), 0);
    // While HubSpot does not answer.
    portal.stand().faults_mut().slow_ms = 30_000;
    portal.script(FaultKind::Slow, 50, "/contacts");
    site.start();
    let before = portal.stand().request_log().len();
    eventually("a request", || portal.stand().request_log().len() > before);
    assert_eq!(site.stop(), 0);
    assert_eq!(
        site.text("SELECT state FROM sync_health").as_deref(),
        Some("stopped")
    );
    portal.stand().faults_mut().calm();
    site.start_and_load();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 4_000);
}

#[test]
fn a_refused_token_keeps_the_daemon_alive_and_ends_once_with_1() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mut site = Site::with(&portal, &http, CONTACTS);
    site.once();
    site.start();
    eventually("ready", || get(port, "/readyz").starts_with("HTTP/1.1 200"));
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    // It is told before it is written.
    let answer = get(port, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(r#""state":"unauthorized""#), "{answer}");
    assert_eq!(site.stop(), 0);
    let output = site.run(&["once"]);
    assert_eq!(output.status.code(), Some(1));
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        explanation.contains("HubSpot refuses the token of the file ")
            && explanation.contains("\nhint: "),
        "{explanation}"
    );
    site.start();
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").starts_with("HTTP/1.1 503"));
    // Local writes are taken all the same.
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE state = 'pending'"),
        1
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_fresh_database_says_what_keeps_the_schema_from_being_read() {
    let portal = Portal::quick();
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    let mut site = Site::new(&portal);
    site.start();
    site.until_sql("SELECT state = 'unauthorized' AND last_error LIKE 'HubSpot refuses the token of %' FROM sync_health");
    let status = site.run(&["status"]);
    let explanation = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.success() && explanation.contains("unauthorized"),
        "{explanation}"
    );
    assert!(
        explanation.contains("contacts") && explanation.contains("waiting"),
        "{explanation}"
    );
    assert_eq!(site.stop(), 0);
    // Nobody listens there.
    let mut site = Site::new(&portal);
    let config = std::fs::read_to_string(site.path("config.toml")).expect("the mapping file");
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    std::fs::write(
        site.path("config.toml"),
        config.replace(&portal.url(), &nowhere),
    )
    .expect("written");
    site.start();
    site.until_sql("SELECT state = 'unreachable' AND last_error IS NOT NULL FROM sync_health");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_status WHERE backfill = 'waiting'"),
        1
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn broken_answers_are_waited_out_and_nothing_is_lost() {
    let portal = Portal::quick();
    portal.fill("contacts", 300);
    for fault in [
        FaultKind::BadGateway,
        FaultKind::HtmlAnswer,
        FaultKind::TruncatedJson,
        FaultKind::CutBody,
        FaultKind::InternalError,
        FaultKind::Locked,
    ] {
        portal.script(fault, 1, "/contacts");
    }
    let site = Site::new(&portal);
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 300);
    site.execute("UPDATE contacts SET city = 'Lima'");
    for fault in [
        FaultKind::BadGateway,
        FaultKind::HtmlAnswer,
        FaultKind::TruncatedJson,
        FaultKind::CutBody,
    ] {
        portal.script(fault, 1, "/batch/update");
    }
    site.once();
    assert_eq!(portal.count_with("city", "Lima"), 300);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn mistakes_of_the_mapping_file_end_with_78_and_touch_nothing() {
    let portal = Portal::quick();
    let site = Site::with(&portal, "", "[objects.contacts]\ntabel = \"people\"\n");
    for arguments in [&["run"][..], &["once"], &["check"]] {
        let output = site.run(arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        let explanation = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(
            explanation.contains("tabel") && explanation.contains("table"),
            "{explanation}"
        );
    }
    assert!(!site.path("crm.db").exists());
    assert!(portal.stand().request_log().is_empty());
}

#[test]
fn check_warns_of_a_secret_that_is_not_set_here_and_what_needs_it_ends_with_78() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    let problems = || {
        let output = site.run(&["check", "--json"]);
        assert_eq!(output.status.code(), Some(0));
        let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(page["ok"], true);
        page["problems"].as_array().expect("a list").clone()
    };
    assert_eq!(problems(), [Value::Null; 0]);
    let written = std::fs::read_to_string(site.path("config.toml")).expect("a file");
    for (place, code, hint) in [
        (
            "{ env = \"NOT_SET_HERE\" }",
            produces("secret-unset"),
            "export NOT_SET_HERE=",
        ),
        (
            "{ credential = \"token\" }",
            "secret-unset",
            "add `LoadCredential=token:PATH`",
        ),
        (
            "{ file = \"gone\" }",
            produces("secret-unreadable"),
            "let the daemon's user read",
        ),
    ] {
        let config = written.replace("{ file = \"token\" }", place);
        std::fs::write(site.path("config.toml"), config).expect("written");
        let found = problems();
        let [missing] = found.as_slice() else {
            panic!("{found:?}")
        };
        for (key, expected) in [
            ("severity", "warning"),
            ("code", code),
            ("key", "auth.access_token"),
        ] {
            assert_eq!(missing[key], expected, "{missing}");
        }
        assert_eq!(missing["line"], 6);
        assert!(
            missing["hint"]
                .as_str()
                .is_some_and(|told| told.starts_with(hint)),
            "{missing}"
        );
        let output = site.run(&["check"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(
            told.contains(&format!("warning[{code}]")) && told.contains("config.toml` is right"),
            "{told}"
        );
        for arguments in [&["run"][..], &["once"], &["check", "--online"]] {
            assert_eq!(
                site.run(arguments).status.code(),
                Some(78),
                "{arguments:?} {place}"
            );
        }
    }
    assert!(portal.stand().request_log().is_empty());
}

#[test]
fn a_mapping_that_changes_between_runs_moves_the_columns() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[("city", "Oslo"), ("lastname", "Able")]);
    let site = Site::new(&portal);
    site.once();
    site.program()
        .execute_batch("CREATE INDEX mine ON contacts (city)")
        .expect("the user's own index");
    site.configure(
        &portal,
        "",
        "[objects.contacts]\ntable = \"people\"\n[objects.contacts.properties]\nemail = \"email\"\n\
         firstname = \"first_name\"\nlastname = \"last_name\"\ncity = \"town\"\nphone = \"phone\"\n",
    );
    portal.edit(id, &[("phone", "+47 1")]);
    site.once();
    let row =
        site.text("SELECT email || ' ' || last_name || ' ' || town || ' ' || phone FROM people");
    assert_eq!(row.as_deref(), Some("ann@example.com Able Oslo +47 1"));
    assert_eq!(
        site.number("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = 'mine' AND tbl_name = 'people'"),
        1
    );
    site.execute("UPDATE people SET town = 'Lima'");
    site.once();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
}

#[test]
fn no_secret_is_ever_written_down() {
    let portal = Portal::quick();
    portal.fill("contacts", 50);
    let mut site = Site::new(&portal);
    portal.script(FaultKind::InternalError, 2, "/contacts");
    site.start_and_load();
    site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com'), ('no address')");
    site.until_pushed();
    let mut said = Vec::new();
    for arguments in [
        &["status", "--json"][..],
        &["outbox", "list", "--json"],
        &["conflicts", "list", "--json"],
        &["check", "--show"],
        &["check", "--json"],
    ] {
        let output = site.run(arguments);
        said.extend(output.stdout);
        said.extend(output.stderr);
    }
    assert_eq!(site.stop(), 0);
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    let refused = site.run(&["once"]);
    said.extend(refused.stdout);
    said.extend(refused.stderr);
    assert!(
        site.log().contains("HubSpot answered"),
        "calls are logged at debug"
    );
    for name in ["log", "crm.db", "crm.db-wal", "crm.db.lock", "config.toml"] {
        if site.path(name).exists() {
            said.extend(std::fs::read(site.path(name)).expect("read"));
        }
    }
    let secret = &DEFAULT_TOKEN.as_bytes()[8..];
    let found = said.windows(secret.len()).any(|part| part == secret);
    assert!(!found, "the token was written somewhere");
}

#[test]
fn once_says_in_json_what_it_did() {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let site = Site::new(&portal);
    let output = site.run(&["once", "--json"]);
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert_eq!(report["objects"][0]["object"], "contacts");
    assert_eq!(report["objects"][0]["pulled"], 30);
    for key in ["pushed", "pending", "dead", "conflicts", "held"] {
        assert_eq!(report["objects"][0][key], 0, "{key}");
    }
    assert_eq!(
        report["requests"].as_u64(),
        Some(portal.stand().request_log().len() as u64)
    );
    // What HubSpot said of the day is kept, and what was sent before its time zone was known counts.
    assert_eq!(
        site.number(&format!(
            "SELECT daily_limit > 0 AND daily_resets_at IS NOT NULL AND daily_used = {} FROM sync_health",
            report["requests"]
        )),
        1
    );
}

#[test]
fn once_that_runs_out_of_time_ends_with_1_and_says_what_is_unfinished() {
    let portal = Portal::with(Settings {
        latency_min_ms: 200,
        latency_max_ms: 200,
        ..Settings::default()
    });
    portal.fill("contacts", 25_000);
    let site = Site::new(&portal);
    let output = site.run(&["once", "--timeout", "3s"]);
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{explanation}");
    assert!(
        explanation.contains(
            "ended early: the time was up before this was done: the first full read of contacts"
        ) && explanation.contains(&format!(" [{}]\nhint: run it again", produces("time-up"))),
        "{explanation}"
    );
    assert!(!explanation.contains("\ndone"), "{explanation}");
    let rows = site.number("SELECT count(*) FROM contacts");
    let output = site.run(&["once", "--json", "--timeout", "3s"]);
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    let more = site.number("SELECT count(*) FROM contacts") - rows;
    assert!(more > 0, "it goes on");
    assert_eq!(told["objects"][0]["pulled"], more, "{told}");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("ended early: the time was up before"), "{log}");
}

#[test]
fn once_ends_in_order_at_a_signal_and_says_what_is_left() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let site = Site::new(&portal);
    site.once();
    portal.stand().faults_mut().slow_ms = 1_500;
    for (signal, city) in [
        (Signal::INT, "Lima"),
        (Signal::TERM, "Oslo"),
        (Signal::HUP, "Rome"),
    ] {
        site.execute(&format!("UPDATE contacts SET city = '{city}'"));
        portal.script(FaultKind::Slow, 1, "/contacts/batch/update");
        let mut command = site.command(&["once", "--timeout", "50s"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it starts");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
        site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'in_flight'");
        kill_process(pid, signal).expect("a signal");
        let output = child.wait_with_output().expect("it ended");
        let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{signal:?}\n{explanation}\n{log}"
        );
        assert!(explanation.contains("contacts: "), "{explanation}\n{log}");
        assert!(
            explanation.contains("\nended early: it was stopped"),
            "{explanation}\n{log}"
        );
        // What was under way has ended and is written down, and the next run waits for no lease.
        assert_eq!(
            site.number("SELECT count(*) FROM sync_outbox WHERE state = 'in_flight'"),
            0,
            "{explanation}\n{log}"
        );
        assert_eq!(
            site.text("SELECT state FROM sync_health").as_deref(),
            Some("stopped")
        );
        site.once();
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    }
}

/// `once` with a timeout of two seconds: its status, its words, and how long it took.
fn hurried(site: &Site) -> (Option<i32>, String, Duration) {
    let clock = SystemClock::new();
    let output = site.run(&["once", "--timeout", "2s"]);
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), explanation, clock.monotonic())
}

#[test]
fn the_timeout_of_once_bounds_the_schema_read_and_the_wait_for_the_database() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let site = Site::new(&portal);
    site.once();
    portal.stand().faults_mut().slow_ms = 60_000;
    portal.script(FaultKind::Slow, 50, "/account-info");
    let (status, explanation, took) = hurried(&site);
    assert_eq!(status, Some(1), "{explanation}");
    assert!(
        explanation.contains("the read of the portal's schema"),
        "{explanation}"
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
    portal.stand().faults_mut().calm();
    let program = site.program();
    program.execute_batch("BEGIN IMMEDIATE").expect("begins");
    let (status, explanation, took) = hurried(&site);
    assert_eq!(status, Some(1), "{explanation}");
    assert!(
        explanation.contains("kept the database busy"),
        "{explanation}"
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
    program.execute_batch("COMMIT").expect("ends");
    site.once();
}

#[test]
fn a_log_for_programs_has_the_progress_as_lines_of_its_own_form() {
    let portal = Portal::with(Settings {
        latency_min_ms: 100,
        latency_max_ms: 100,
        ..Settings::default()
    });
    portal.fill("contacts", 1_500);
    for (format, is_one) in [
        ("json", |line: &str| line.starts_with('{')),
        ("journal", |line: &str| line.starts_with('<')),
    ] as [(&str, fn(&str) -> bool); 2]
    {
        let site = Site::new(&portal);
        let config = std::fs::read_to_string(site.path("config.toml")).expect("the mapping file");
        let config = config.replace("format = \"text\"", &format!("format = \"{format}\""));
        std::fs::write(site.path("config.toml"), config).expect("written");
        let output = site.run(&["once"]);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{log}");
        assert!(log.contains("the first full read: contacts"), "{log}");
        let other: Vec<&str> = log.lines().filter(|line| !is_one(line)).collect();
        assert!(other.is_empty(), "{other:?}");
    }
}

/// The demo in a folder of its own.
fn demo(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubsyncd"));
    command
        .args(["demo", "--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

#[test]
fn the_demo_runs_with_a_few_records_too() {
    for records in ["1", "7"] {
        let folder = tempfile::TempDir::new().expect("a folder");
        let output = demo(folder.path(), &["--once", "--records", records])
            .output()
            .expect("it runs");
        let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{explanation}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            explanation.contains("both values wait in sync_conflicts"),
            "{explanation}"
        );
    }
}

#[test]
fn a_machine_without_authorities_can_see_the_demo() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let output = demo(folder.path(), &["--once", "--records", "3"])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
}

#[test]
fn what_to_do_about_an_error_stands_on_a_line_of_its_own() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    std::fs::remove_file(site.path("token")).expect("it was there");
    for command in ["once", "run"] {
        let output = site.run(&[command]);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{command}: {log}");
        let lines: Vec<&str> = log.lines().collect();
        let hint = lines.iter().position(|line| line.starts_with("hint: "));
        let hint = hint.unwrap_or_else(|| panic!("{command}: {log}"));
        assert!(lines[hint - 1].contains("can't read"), "{command}: {log}");
        assert!(!log.contains("hint="), "{command}: {log}");
    }
}

#[test]
fn an_interrupted_tour_ends_without_an_error() {
    let folder = tempfile::TempDir::new().expect("a folder");
    // Enough that the first read lasts.
    let child = demo(folder.path(), &["--records", "20000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    eventually("the database", || folder.path().join("crm.db").exists());
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, Signal::INT).expect("a signal");
    let output = child.wait_with_output().expect("it ends");
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{explanation}\n{errors}");
    assert!(
        explanation.contains("ended in the middle of the tour"),
        "{explanation}"
    );
    assert!(!errors.contains("hubsyncd:"), "{errors}");
}

#[test]
fn what_the_demo_prints_can_be_pasted_into_a_shell() {
    let parent = tempfile::TempDir::new().expect("a folder");
    let folder = parent.path().join("it's a demo");
    let output = demo(&folder, &["--once", "--records", "5"])
        .output()
        .expect("it runs");
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{explanation}");
    let typed = explanation
        .lines()
        .filter_map(|line| line.strip_prefix("  $ "));
    let (_, to_try) = explanation
        .split_once("The database stays; look at it:\n")
        .expect("what to try");
    let lines: Vec<&str> = typed.chain(to_try.lines()).collect();
    assert_eq!(lines.len(), 7, "{explanation}");
    // What needs a daemon would come to nothing: it has ended.
    assert!(
        !explanation.contains("UPDATE sync_conflicts") && !explanation.contains("curl "),
        "{explanation}"
    );
    for line in lines {
        let ran = Command::new("sh")
            .args(["-c", line])
            .output()
            .expect("a shell");
        let error = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{line}\n{error}");
    }
}

#[test]
fn the_tour_reads_as_it_should_and_ends_with_a_mistake_that_is_turned_back() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let output = demo(folder.path(), &["--once", "--records", "30"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    let real = folder.path().canonicalize().expect("a folder");
    let told = told
        .replace(&real.display().to_string(), "FOLDER")
        .replace(env!("CARGO_BIN_EXE_hubsyncd"), "hubsyncd");
    insta::assert_snapshot!(without_numbers(&told));
    let site = crate::daemon::open(&folder.path().join("crm.db"));
    let number = |sql: &str| site.query_row(sql, [], |row| row.get::<_, i64>(0));
    let of_origin = |origin: &str, city: &str| {
        number(&format!(
            "SELECT count(*) FROM sync_history WHERE origin = '{origin}' AND new_value = '{city}'"
        ))
    };
    let wrong = of_origin("push", "Atlantis").expect("a number");
    assert!(wrong > 20, "{wrong}");
    assert_eq!(of_origin("undo", "Oslo").expect("a number"), wrong);
}

/// Ids, times and counts differ from run to run.
fn without_numbers(text: &str) -> String {
    let mut masked = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            other => masked.push(other),
        }
    }
    masked.replace(" requests", " request")
}

#[test]
fn the_json_of_the_demo_is_one_value_of_all_objects() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let output = demo(folder.path(), &["--once", "--json", "--records", "8"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("undo --config"), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["requests"].as_u64().is_some(), "{report}");
    let contacts = &report["objects"].as_array().expect("a list")[0];
    for key in [
        "object",
        "pulled",
        "pushed",
        "pending",
        "dead",
        "conflicts",
        "held",
    ] {
        assert!(!contacts[key].is_null(), "{key}: {report}");
    }
}

#[test]
fn a_reader_that_ends_first_is_told_of_in_the_one_form_of_all_errors() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let cut = site
        .command(&["check", "--show"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("runs");
    assert_eq!(cut.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&cut.stderr),
        format!(
            "hubsyncd: Broken pipe (os error 32) [{}]\n\
             hint: what reads the output ended before it was all written; what was carried out stays\n",
            produces("output-closed")
        )
    );
}
