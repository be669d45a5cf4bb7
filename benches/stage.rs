//! What the benches stand on: a served portal, the daemon as a process of its own, and words.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubsyncd::simulator::portal::Portal;
use hubsyncd::simulator::server::serve;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

pub(crate) fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("stdout");
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub(crate) fn wide_open() -> Settings {
    Settings {
        limits_enabled: false,
        burst_limit: 1_000_000,
        daily_limit: 1_000_000_000,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    }
}

pub(crate) struct Served {
    pub(crate) portal: Arc<Mutex<Portal>>,
    pub(crate) url: String,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn serve_portal(runtime: &tokio::runtime::Runtime, portal: Portal) -> Served {
    let portal = Arc::new(Mutex::new(portal));
    let stop = CancellationToken::new();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (shared, ended) = (Arc::clone(&portal), stop.clone());
    runtime.spawn(async move { serve(shared, listener, ended).await });
    Served { portal, url, stop }
}

pub(crate) fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_hubsyncd"))
        .args(["run", "--config"])
        .arg(folder.join("config.toml"))
        .env("HUBSYNC_BENCH_TOKEN", DEFAULT_TOKEN)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

pub(crate) fn number(folder: &Path, sql: &str) -> i64 {
    Connection::open(folder.join("crm.db"))
        .and_then(|connection| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)))
        .ok()
        .flatten()
        .unwrap_or(0)
}

pub(crate) fn wait_loaded(folder: &Path) {
    while number(folder, "SELECT min(backfill = 'done') FROM sync_status") == 0 {
        rest(Duration::from_millis(20));
    }
}

pub(crate) fn rest(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "waits for another process")]
    std::thread::sleep(time);
}
