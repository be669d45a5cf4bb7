//! Commands that go on printing: whoever reads them may stand still, and the file that they read may be replaced under them.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Site, eventually, wait};
use crate::portal::Portal;

/// A command whose output goes into a pipe of the test's own.
struct Printing {
    child: Child,
    pipe: BufReader<PipeReader>,
    /// The same end as the command's: what the test writes there takes the room that is left.
    beside: PipeWriter,
}

impl Printing {
    fn of(site: &Site, arguments: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let beside = writer.try_clone().expect("the same end");
        let mut command = site.command(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        Self {
            child: command.spawn().expect("it starts"),
            pipe: BufReader::with_capacity(1, reader),
            beside,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.pipe.read_line(&mut line).expect("a line");
        line
    }

    /// Waits until the command writes no more, since nothing fits into the pipe any more.
    fn stands_still(&mut self, since: Duration) {
        let held = || ioctl_fionread(self.pipe.get_ref()).expect("its fill");
        let mut before = 0;
        eventually("it has filled the pipe", || {
            let former = std::mem::replace(&mut before, held());
            wait(since);
            before > 30_000 && former == before
        });
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("a signal");
    }

    /// How it ended, and what it said on standard error.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut code = None;
        eventually("it ends", || match self.child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            Ok(None) => false,
            Err(error) => panic!("{error}"),
        });
        let errors = self.child.stderr.take().expect("a pipe");
        let said = BufReader::new(errors).lines();
        (code, said.map_while(Result::ok).collect())
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        // It may be over.
        self.child.kill().ok();
    }
}

/// More changes than a pipe holds.
const MANY: &str = "INSERT INTO sync_history (at, object, local_id, property, old_value, new_value, origin)
     SELECT '2026-11-24T03:10:00.000Z', 'contacts', 1, 'city', 'Rome', 'Lima', 'poll'
     FROM (WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 3000) SELECT v FROM n)";

#[test]
fn a_signal_ends_what_goes_on_printing_also_while_nobody_reads() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let site = Site::new(&portal);
    site.once();
    site.execute_as_daemon(MANY);
    let look = Duration::from_millis(200);
    for (json, signal) in [(true, Signal::TERM), (false, Signal::INT)] {
        let mut arguments = vec!["changes", "--since", "0", "--follow"];
        arguments.extend(json.then_some("--json"));
        let mut changes = Printing::of(&site, &arguments);
        changes.stands_still(look);
        changes.signal(signal);
        assert_eq!(changes.ended(), (Some(0), String::new()), "{arguments:?}");
    }
    // Whoever only lists ends by the signal itself, since not everything was listed.
    let mut listing = Printing::of(&site, &["changes", "--since", "0"]);
    listing.stands_still(look);
    listing.signal(Signal::TERM);
    assert_eq!(listing.ended().0, None);
    let mut tables = Printing::of(&site, &["status", "--watch", "--json"]);
    assert!(tables.line().contains("contacts"));
    tables
        .beside
        .write_all(&vec![b'\n'; 62_000])
        .expect("it fits");
    // A table comes every two seconds.
    tables.stands_still(Duration::from_secs(3));
    tables.signal(Signal::TERM);
    assert_eq!(tables.ended().0, Some(0));
}

#[test]
fn whoever_follows_changes_is_told_that_the_file_is_another_one() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    site.execute("UPDATE contacts SET city = 'Lima'");
    let follow = ["changes", "--since", "0", "--follow"];
    let mut replaced = Printing::of(&site, &follow);
    assert!(replaced.line().contains("Lima"));
    assert_eq!(site.run(&["backup", "copy.db"]).status.code(), Some(0));
    assert_eq!(site.stop(), 0);
    std::fs::rename(site.path("copy.db"), site.path("crm.db")).expect("it is put back");
    let (code, said) = replaced.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("[database-replaced]"), "{said}");
    let mut removed = Printing::of(&site, &follow);
    assert!(removed.line().contains("Lima"));
    std::fs::remove_file(site.path("crm.db")).expect("removed");
    assert_eq!(removed.ended().0, Some(1));
}
