//! `status --watch` by the real binary: on a terminal of the test's own, and without one.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;
use crate::terminal::Terminal;

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
    command.env("NO_COLOR", "1");
    let mut child = terminal.start(&mut command);
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
