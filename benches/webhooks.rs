//! What webhooks cost: durable answers beside a receiver that only answers, and the time from a delivery to its row.
//!
//! `cargo bench --bench webhooks` runs it. Nothing here is a pass or a failure: `docs/figures.md` says what was seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use hubsyncd::clock::{Clock, SystemClock};
use hubsyncd::http::listener::{CallerBounds, serve_router};
use hubsyncd::http::webhooks::{DeliveryAnswer, Receive, router};
use hubsyncd::simulator::portal::Portal;
use hubsyncd::simulator::settings::Settings;
use ring::hmac;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

mod stage;

use stage::{median, rest, say, serve_portal, start, wait_loaded, wide_open};

const SECRET: &str = "a-secret-of-this-bench";
const PATH: &str = "/webhooks/hubspot";
/// Mirrored contacts that events are about.
const RECORDS: usize = 5_000;
/// Connections that send as fast as they are answered.
const CONNECTIONS: usize = 16;
/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(5);

fn main() {
    say("webhooks, in one run on this machine; the sender has the same cores");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    answers(&runtime);
    rows(&runtime);
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

fn write_config(folder: &std::path::Path, url: &str, door: SocketAddr) {
    std::fs::write(folder.join("secret"), SECRET).expect("written");
    let text = format!(
        "[portal]\nbase_url = \"{url}\"\n[auth]\naccess_token = {{ env = \"HUBSYNC_BENCH_TOKEN\" }}\n\
         [database]\npath = \"crm.db\"\n[limits]\nburst_per_10_seconds = 10000\n[schedule]\npoll = \"1h\"\n\
         [webhooks]\nlisten = \"{door}\"\npublic_url = \"http://{door}{PATH}\"\nclient_secret = {{ file = \"secret\" }}\n\
         [objects.contacts]\nkey = \"none\"\n[objects.contacts.properties]\nemail = \"email\"\ncity = \"city\"\n"
    );
    std::fs::write(folder.join("config.toml"), text).expect("written");
}

fn event(id: u64, city: &str, number: u64, now_ms: i64) -> Value {
    json!({
        "eventId": number, "subscriptionId": 7, "portalId": 48_151_623, "appId": 1_160_452, "occurredAt": now_ms,
        "subscriptionType": "contact.propertyChange", "attemptNumber": 0, "objectId": id, "propertyName": "city",
        "propertyValue": city, "changeSource": "CRM_UI", "sourceId": "userId:1",
    })
}

/// A whole signed request.
fn request(door: SocketAddr, events: &[Value], now_ms: i64) -> Vec<u8> {
    let body = Value::from(events.to_vec()).to_string();
    let (url, timestamp) = (format!("http://{door}{PATH}"), now_ms.to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let message = format!("POST{url}{body}{timestamp}");
    let signature = STANDARD.encode(hmac::sign(&key, message.as_bytes()));
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: {door}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-HubSpot-Request-Timestamp: {timestamp}\r\nX-HubSpot-Signature-v3: {signature}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends a request on an open connection; the status.
async fn send(stream: &mut TcpStream, request: &[u8]) -> u16 {
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    let mut part = [0_u8; 512];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await.expect("an answer");
        assert!(read > 0, "the connection was closed");
        answer.extend_from_slice(&part[..read]);
    }
    let text = String::from_utf8_lossy(&answer);
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status")
}

/// The next events for a request: known contacts in turn, with the value that the mirror shows.
struct Source {
    ids: Vec<(u64, String)>,
    next: AtomicU64,
}

impl Source {
    fn take(&self, count: usize, now_ms: i64) -> Vec<Value> {
        (0..count)
            .map(|_| {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let (id, city) = &self.ids[number as usize % self.ids.len()];
                event(*id, city, number, now_ms)
            })
            .collect()
    }
}

/// As fast as answers come; requests a second.
async fn hammer(door: SocketAddr, source: &Arc<Source>, events: usize) -> f64 {
    let clock = SystemClock::new();
    let done = Arc::new(AtomicUsize::new(0));
    let begun = clock.monotonic();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (clock, done, source) = (Arc::clone(&clock), Arc::clone(&done), Arc::clone(source));
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(door).await.expect("connects");
                stream.set_nodelay(true).expect("no delay");
                while clock.monotonic().saturating_sub(begun) < LOAD {
                    let now = clock.now().millis();
                    let request = request(door, &source.take(events, now), now);
                    assert_eq!(send(&mut stream, &request).await, 204);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.expect("no panic");
    }
    let took = clock.monotonic().saturating_sub(begun);
    done.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
}

/// A thousand requests a second of ten events each, by the clock and not by the answers; times from when each was due.
async fn steady(door: SocketAddr, source: &Arc<Source>) -> Vec<Duration> {
    const EVERY: Duration = Duration::from_millis(1);
    let count = (LOAD.as_millis() / EVERY.as_millis()) as u32;
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let next = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (clock, next, source) = (Arc::clone(&clock), Arc::clone(&next), Arc::clone(source));
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(door).await.expect("connects");
                stream.set_nodelay(true).expect("no delay");
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed) as u32;
                    if number >= count {
                        return times;
                    }
                    let due = begun + EVERY * number;
                    let early = due.saturating_sub(clock.monotonic());
                    if !early.is_zero() {
                        clock.sleep(early).await;
                    }
                    let now = clock.now().millis();
                    let request = request(door, &source.take(10, now), now);
                    // A timer is late by up to a millisecond: what is measured begins with the sending.
                    let sent = clock.monotonic();
                    assert_eq!(send(&mut stream, &request).await, 204);
                    times.push(clock.monotonic().saturating_sub(sent));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for sender in senders {
        all.extend(sender.await.expect("no panic"));
    }
    all
}

fn filled() -> Portal {
    let now = SystemClock::new().now().millis();
    let mut portal = Portal::new(wide_open(), 1, now);
    portal.fill("contacts", RECORDS, now - 86_400_000);
    portal
}

fn answers(runtime: &tokio::runtime::Runtime) {
    let served = serve_portal(runtime, filled());
    let (folder, door) = (TempDir::new().expect("a folder"), free_address());
    write_config(folder.path(), &served.url, door);
    let mut child = start(folder.path());
    wait_loaded(folder.path());
    let ids = {
        let portal = served.portal.lock().unwrap_or_else(PoisonError::into_inner);
        let records = portal.records("contacts");
        let city = |record: &hubsyncd::simulator::record::Record<'_>| {
            record.value("city").unwrap_or_default().to_owned()
        };
        records
            .iter()
            .map(|record| (record.id(), city(record)))
            .collect()
    };
    let source = Arc::new(Source {
        ids,
        next: AtomicU64::new(0),
    });
    // A receiver of the same build that only answers.
    let (bare, stop) = (free_address(), CancellationToken::new());
    let receive: Receive = Arc::new(|_delivery| async { DeliveryAnswer::Stored }.boxed());
    let bounds = CallerBounds {
        connections: 64,
        head: Duration::from_secs(5),
        drain: Duration::from_secs(1),
    };
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(bare))
        .expect("the port");
    let app = router(PATH, 1 << 20, receive);
    runtime.spawn(serve_router(listener, app, bounds, None, stop.clone()));
    for events in [1, 10, 100] {
        let durable = runtime.block_on(hammer(door, &source, events));
        let only = runtime.block_on(hammer(bare, &source, events));
        say(&format!(
            "{events} events a request: {durable:.0} requests/s durable ({:.0} events/s), {only:.0} where nothing is kept: {:.2} of it",
            durable * events as f64,
            durable / only
        ));
        rest(Duration::from_secs(2));
    }
    let mut times = runtime.block_on(steady(door, &source));
    times.sort_unstable();
    let at =
        |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros() as f64 / 1000.0;
    say(&format!(
        "1,000 requests/s of 10 events: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms (goals 3 and 10)",
        at(0.5),
        at(0.99),
        at(0.999)
    ));
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    stop.cancel();
    served.stop.cancel();
}

/// From a delivery to the committed row, where HubSpot takes a known time to answer.
fn rows(runtime: &tokio::runtime::Runtime) {
    const LATENCY: Duration = Duration::from_millis(100);
    const CHANGES: usize = 60;
    let mut portal = filled();
    let settings: &mut Settings = portal.settings_mut();
    settings.latency_min_ms = LATENCY.as_millis() as u64;
    settings.latency_max_ms = LATENCY.as_millis() as u64;
    let served = serve_portal(runtime, portal);
    let (folder, door) = (TempDir::new().expect("a folder"), free_address());
    write_config(folder.path(), &served.url, door);
    let mut child = start(folder.path());
    wait_loaded(folder.path());
    rest(Duration::from_secs(2));
    let program = Connection::open(folder.path().join("crm.db")).expect("opens");
    let clock = SystemClock::new();
    let mut times = Vec::new();
    for number in 0..CHANGES {
        let (now, city) = (clock.now().millis(), format!("City {number}"));
        let id = {
            let mut portal = served.portal.lock().unwrap_or_else(PoisonError::into_inner);
            let id = portal.records("contacts")[number].id();
            assert!(portal.edit("contacts", id, &[("city", city.as_str())], now));
            id
        };
        let request = request(door, &[event(id, &city, number as u64, now)], now);
        let begun = clock.monotonic();
        let status = runtime.block_on(async {
            let mut stream = TcpStream::connect(door).await.expect("connects");
            send(&mut stream, &request).await
        });
        assert_eq!(status, 204);
        let is_there = || -> bool {
            program
                .prepare_cached("SELECT 1 FROM contacts WHERE hs_id = ?1 AND city = ?2")
                .and_then(|mut found| found.exists((id as i64, &city)))
                .expect("a query")
        };
        while !is_there() {
            rest(Duration::from_micros(200));
        }
        times.push(clock.monotonic().saturating_sub(begun));
    }
    let worst = times.iter().max().copied().unwrap_or_default();
    let goal = LATENCY * 12 / 10 + Duration::from_millis(20);
    say(&format!(
        "a delivery to its committed row, HubSpot taking {} ms: {} ms at the median, {} ms at the worst of {CHANGES} (goal {} ms)",
        LATENCY.as_millis(),
        median(times).as_millis(),
        worst.as_millis(),
        goal.as_millis()
    ));
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    served.stop.cancel();
}
