//! What associations cost: requests of a pass over all records and of many INSERTs, and what a pass takes from a first load beside
//! it.
//!
//! `cargo bench --bench associations` runs it; `HUBSYNC_BENCH_RECORDS` sets the contacts (100,000). Nothing here is a pass or a
//! failure: `docs/figures.md` says what was seen, and `tests/it/floors.rs` holds what can be counted.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use hubsyncd::clock::{Clock, SystemClock};
use hubsyncd::simulator::portal::Portal;
use rusqlite::Connection;
use tempfile::TempDir;

mod stage;

use stage::{Served, median, number, rest, say, serve_portal, start, wait_loaded, wide_open};

/// Contacts, where nothing else is said.
const RECORDS: usize = 100_000;
/// Companies that they are associated with.
const COMPANIES: usize = 100;
/// Times that each side of the comparison is run; the median counts.
const ROUNDS: usize = 3;

/// What is measured is the daemon, not its patience.
const WIDE_OPEN: &str = "[limits]\nburst_per_10_seconds = 10000\nper_second = 1000.0\nsearch_per_second = 100.0\nper_day = 1000000000\n\
     associations_per_second = 100.0\n[schedule]\npoll = \"1h\"\n";
/// What HubSpot gives a portal of the tier that most have: a load beside which a pass runs is as fast as HubSpot lets it be.
const OF_HUBSPOT: &str = "[limits]\nburst_per_10_seconds = 190\nper_second = 19.0\nper_day = 1000000000\n[schedule]\npoll = \"1h\"\n";
const LINKED: &str = "[objects.contacts]\n[objects.companies]\n";
const PAIR: &str =
    "[associations]\ncontacts_companies = { from = \"contacts\", to = \"companies\" }\n";

const PASSED: &str =
    "SELECT last_association_pass_at IS NOT NULL FROM sync_status WHERE object = 'contacts'";

fn main() {
    let records = std::env::var("HUBSYNC_BENCH_RECORDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(RECORDS);
    say("associations, in one run on this machine, the simulator on the same cores");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    pass_and_inserts(&runtime, records);
    beside_a_load(&runtime, records);
}

fn portal(records: usize, deals: usize) -> Portal {
    let now = SystemClock::new().now().millis();
    let mut portal = Portal::new(wide_open(), 1, now);
    let day_ago = now - 86_400_000;
    for (object, count) in [
        ("contacts", records),
        ("companies", COMPANIES),
        ("deals", deals),
    ] {
        portal.fill(object, count, day_ago);
    }
    portal.fill_links("contacts", "companies");
    portal
}

fn configured(url: &str, limits: &str, objects: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let text = format!(
        "[portal]\nbase_url = \"{url}\"\n[auth]\naccess_token = {{ env = \"HUBSYNC_BENCH_TOKEN\" }}\n\
         [database]\npath = \"crm.db\"\n[log]\nlevel = \"warn\"\n{limits}{objects}"
    );
    fs::write(folder.path().join("config.toml"), text).expect("written");
    folder
}

/// How often a path was asked for whose template ends like this.
fn requests(served: &Served, ends: &str) -> usize {
    let portal = served.portal.lock().unwrap_or_else(PoisonError::into_inner);
    let log = portal.request_log().iter();
    log.filter(|request| {
        request.path_template.contains("associations") && request.path_template.ends_with(ends)
    })
    .count()
}

fn wait_for(folder: &Path, sql: &str) {
    while number(folder, sql) == 0 {
        rest(Duration::from_millis(20));
    }
}

fn pass_and_inserts(runtime: &tokio::runtime::Runtime, records: usize) {
    let served = serve_portal(runtime, portal(records, 0));
    let folder = configured(&served.url, WIDE_OPEN, &format!("{LINKED}{PAIR}"));
    let mut child = start(folder.path());
    wait_loaded(folder.path());
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    wait_for(folder.path(), PASSED);
    let took = clock.monotonic().saturating_sub(begun);
    let (used, floor) = (requests(&served, "/batch/read"), records.div_ceil(1_000));
    say(&format!(
        "pass: {records} contacts in {used} requests, {:.2} of the floor of {floor} (goal: at most 1.05), {:.1} s behind the load",
        used as f64 / floor as f64,
        took.as_secs_f64(),
    ));
    let inserted = records / 10;
    Connection::open(folder.path().join("crm.db"))
        .and_then(|program| {
            program.busy_timeout(Duration::from_secs(30))?;
            program.execute(
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
                 SELECT 'contacts', c.local_id, 'companies', o.local_id
                 FROM contacts AS c
                 JOIN companies AS o ON o.local_id = (SELECT min(f.local_id) FROM companies AS f
                      WHERE f.local_id NOT IN (SELECT a.to_local_id FROM associations AS a
                                               WHERE a.from_object = 'contacts' AND a.from_local_id = c.local_id))
                 ORDER BY c.local_id LIMIT ?1",
                [inserted as i64],
            )
        })
        .expect("they are taken");
    let begun = clock.monotonic();
    wait_for(folder.path(), "SELECT count(*) = 0 FROM sync_outbox");
    let took = clock.monotonic().saturating_sub(begun);
    let used = requests(&served, "/batch/associate/default") + requests(&served, "/batch/create");
    let floor = inserted.div_ceil(100);
    say(&format!(
        "inserts: {inserted} associations in {used} requests, {:.2} of one for a hundred (goal: at most 1.05), {:.1} s",
        used as f64 / floor as f64,
        took.as_secs_f64(),
    ));
    child.kill().expect("killed");
    child.wait().expect("ended");
    served.stop.cancel();
}

/// The first load of deals while the contacts' associations are read, and without.
fn beside_a_load(runtime: &tokio::runtime::Runtime, records: usize) {
    let (contacts, deals) = (records / 20, records / 8);
    let time = |objects: &str| -> Duration {
        let served = serve_portal(runtime, portal(contacts, deals));
        let folder = configured(&served.url, OF_HUBSPOT, objects);
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        let mut child = start(folder.path());
        wait_loaded(folder.path());
        let took = clock.monotonic().saturating_sub(begun);
        child.kill().expect("killed");
        child.wait().expect("ended");
        served.stop.cancel();
        took
    };
    let rounds = |objects: &str| median((0..ROUNDS).map(|_| time(objects)).collect());
    let with = rounds(&format!("{LINKED}[objects.deals]\n{PAIR}"));
    let without = rounds(&format!("{LINKED}[objects.deals]\n"));
    say(&format!(
        "load: {deals} deals and {contacts} contacts in {:.2} s with a pass over associations beside it, {:.2} s without: {:.2} of its \
         speed (goal: at least 0.95)",
        with.as_secs_f64(),
        without.as_secs_f64(),
        without.as_secs_f64() / with.as_secs_f64(),
    ));
}
