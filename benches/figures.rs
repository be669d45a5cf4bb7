//! What the daemon costs, as ratios taken in one run: against plain `rusqlite`, and against the floor of requests.
//!
//! `make bench` runs it, `cargo bench -- ingest` one part of it; `HUBSYNC_BENCH_RECORDS` sets the records of the long first read (1,000,000). Nothing here is a
//! pass or a failure: `docs/figures.md` says what was seen, and `tests/it/floors.rs` holds what can be counted.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hubsyncd::clock::{Clock, SystemClock};
use hubsyncd::config::{self, Config};
use hubsyncd::daemon::build::lease_from;
use hubsyncd::decide::quota::LimitSettings;
use hubsyncd::decide::record::{CleanBase, RecordInput, merge_record};
use hubsyncd::engine::portal::schema;
use hubsyncd::engine::source::backfill;
use hubsyncd::engine::{Engine, Progress, Settings as EngineSettings, StepEnd};
use hubsyncd::hubspot::Client;
use hubsyncd::hubspot::call::limiter::{Limiter, StartState};
use hubsyncd::hubspot::call::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use hubsyncd::model::field_values::{FieldNames, FieldValues};
use hubsyncd::model::id::{HubspotId, LocalId};
use hubsyncd::model::record::{LocalRecord, RemoteRecord};
use hubsyncd::model::settings::{ApiVersion, Checkpoint, Limits, Tier};
use hubsyncd::model::time::Timestamp;
use hubsyncd::model::value::Value;
use hubsyncd::simulator::portal::Portal;
use hubsyncd::simulator::request::{Reply, Request};
use hubsyncd::simulator::settings::DEFAULT_TOKEN;
use hubsyncd::store::{Lane, Mode, OpenOptions, Store, meta};
use rusqlite::Connection;
use secrecy::SecretString;
use serde_json::value::RawValue;
use tempfile::TempDir;

mod stage;

use stage::{median, number, rest, say, serve_portal, start, wait_loaded, wide_open};

/// Records of the ingest that is compared with plain SQL.
const INGEST: usize = 50_000;
/// Times that each side of the comparison is run; the median counts.
const ROUNDS: usize = 5;

/// Twenty properties, as the figures are defined.
const PROPERTIES: [&str; 20] = [
    "email",
    "firstname",
    "lastname",
    "phone",
    "mobilephone",
    "company",
    "jobtitle",
    "website",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "lifecyclestage",
    "hs_lead_status",
    "hubspot_owner_id",
    "internal_notes",
    "birthday",
    "vip",
    "credit_limit",
];

fn main() {
    say("figures of one run on this machine; smaller is better where nothing is said");
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|other| other == name);
    if wanted("ingest") {
        ingest();
    }
    if wanted("merge") {
        merge();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if wanted("latency") {
        latency(&runtime);
    }
    if wanted("first_read") {
        let records = std::env::var("HUBSYNC_BENCH_RECORDS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(1_000_000);
        first_read(&runtime, records);
    }
}

fn portal(records: usize) -> Portal {
    let now = SystemClock::new().now().millis();
    let mut portal = Portal::new(wide_open(), 1, now);
    portal.fill("contacts", records, now - 86_400_000);
    portal
}

fn write_config(folder: &Path, base_url: &str) -> Config {
    let properties: Vec<String> = PROPERTIES
        .iter()
        .map(|name| format!("{name} = \"{name}\""))
        .collect();
    let path = folder.join("config.toml");
    let text = format!(
        "[portal]\nbase_url = \"{base_url}\"\n[auth]\naccess_token = {{ env = \"HUBSYNC_BENCH_TOKEN\" }}\n\
         [database]\npath = \"crm.db\"\n[log]\nlevel = \"warn\"\n\
         [limits]\nburst_per_10_seconds = 10000\nper_second = 1000.0\nsearch_per_second = 100.0\nper_day = 1000000000\n\
         [objects.contacts.properties]\n{}\n",
        properties.join("\n")
    );
    fs::write(&path, text).expect("written");
    config::load(&path).expect("a good file")
}

// ---- ingest: the daemon's own path, from bodies to rows, against plain SQL for the same bodies ----

/// Answers from memory what the portal answered once.
struct Recorded {
    portal: Mutex<Portal>,
    bodies: Mutex<HashMap<String, HttpResponse>>,
}

impl Transport for Recorded {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let key = format!("{} {}", request.method, request.path_and_query);
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = bodies.entry(key).or_insert_with(|| {
            let mut portal = self.portal.lock().unwrap_or_else(PoisonError::into_inner);
            let now = SystemClock::new().now().millis();
            answer_of(portal.handle(&request_of(&request), now))
        });
        let answer = answer.clone();
        Box::pin(async move { Ok(answer) })
    }
}

fn request_of(request: &HttpRequest) -> Request {
    let (path, query) = request
        .path_and_query
        .split_once('?')
        .unwrap_or((&request.path_and_query, ""));
    let headers = request.headers.iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    Request {
        method: request.method.as_str().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.collect(),
        body: request.body.as_deref().unwrap_or_default().to_vec(),
    }
}

fn answer_of(reply: Reply) -> HttpResponse {
    HttpResponse {
        status: reply.status,
        headers: http::HeaderMap::new(),
        body: reply.body.into(),
    }
}

fn ingest() {
    let recorded = Arc::new(Recorded {
        portal: Mutex::new(portal(INGEST)),
        bodies: Mutex::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // The first round fills the memory of answers.
    runtime.block_on(backfill_once(&recorded));
    let daemon = (0..ROUNDS)
        .map(|_| runtime.block_on(backfill_once(&recorded)))
        .collect();
    let pages = pages(&recorded);
    let plain = (0..ROUNDS).map(|_| plain_upserts(&pages)).collect();
    let (daemon, plain) = (median(daemon), median(plain));
    let rate = |time: Duration| INGEST as f64 / time.as_secs_f64();
    say(&format!(
        "ingest: {:.0} rows/s through the daemon, {:.0} rows/s by plain rusqlite: {:.2} of its speed (goal: at least 0.5)",
        rate(daemon),
        rate(plain),
        plain.as_secs_f64() / daemon.as_secs_f64(),
    ));
}

async fn backfill_once(recorded: &Arc<Recorded>) -> Duration {
    let folder = TempDir::new().expect("a folder");
    let config = write_config(folder.path(), "http://127.0.0.1:1");
    let clock: Arc<dyn Clock> = SystemClock::new();
    let options = OpenOptions {
        path: config.database.clone(),
        mode: Mode::Threads,
        busy_timeout: Duration::from_secs(5),
        checkpoint: Checkpoint::Own,
    };
    let store = Store::open(&options, clock.clone()).expect("a database");
    let now = clock.now();
    store
        .write(Lane::Interactive, move |tx| {
            meta::begin_daemon(tx, "bench", now)
        })
        .await
        .expect("begun");
    let limits = Limits {
        burst_per_10_seconds: Some(1_000_000),
        per_second: Some(100_000.0),
        per_day: Some(1_000_000_000),
        ..Limits::default()
    };
    let limiter = Limiter::new(
        LimitSettings::new(&limits, Tier::Enterprise),
        Arc::clone(&clock),
        lease_from(&store),
        &StartState::default(),
    );
    let client = Client::new(
        Arc::clone(recorded) as Arc<dyn Transport>,
        limiter,
        Arc::clone(&clock),
        &SecretString::from(DEFAULT_TOKEN),
        ApiVersion::default(),
    )
    .expect("a token");
    let settings = EngineSettings {
        portal: None,
        overlap: config.poll.overlap,
        again: config.poll.again.clone(),
        guard: config.guard,
        relaxed_poll: None,
        associations: config.poll.associations,
    };
    let mapping = Arc::new(config.mapping.clone());
    let engine = Engine::new(store, client, Arc::clone(&clock), mapping, settings, 1);
    schema::refresh(&engine).await.expect("the schema");
    let object = engine.objects().iter().next().cloned().expect("contacts");
    let begun = clock.monotonic();
    while backfill::step(&engine, &object, &StepEnd::never())
        .await
        .expect("a page")
        == Progress::More
    {}
    let took = clock.monotonic().saturating_sub(begun);
    let rows: i64 = Connection::open(&config.database)
        .and_then(|connection| {
            connection.query_row("SELECT count(*) FROM contacts", [], |row| row.get(0))
        })
        .expect("rows");
    assert_eq!(rows, INGEST as i64);
    took
}

fn pages(recorded: &Recorded) -> Vec<Vec<u8>> {
    let bodies = recorded
        .bodies
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    bodies
        .iter()
        .filter(|(key, _)| key.contains("/objects/"))
        .map(|(_, answer)| answer.body.to_vec())
        .collect()
}

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<Row<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    id: &'a str,
    properties: HashMap<&'a str, Option<std::borrow::Cow<'a, str>>>,
    #[serde(borrow)]
    updated_at: &'a RawValue,
}

/// What somebody would write by hand: parse a page, upsert its rows in one transaction, at full durability.
fn plain_upserts(pages: &[Vec<u8>]) -> Duration {
    let folder = TempDir::new().expect("a folder");
    let connection = Connection::open(folder.path().join("plain.db")).expect("opens");
    let columns = PROPERTIES.map(|name| format!("{name} TEXT")).join(", ");
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE contacts (local_id INTEGER PRIMARY KEY, hs_id INTEGER UNIQUE, {columns}, modified TEXT) STRICT;"
        ))
        .expect("a table");
    let updates = PROPERTIES
        .map(|name| format!("{name} = excluded.{name}"))
        .join(", ");
    let places = vec!["?"; PROPERTIES.len() + 2].join(", ");
    let sql = format!(
        "INSERT INTO contacts (hs_id, {}, modified) VALUES ({places}) ON CONFLICT (hs_id) DO UPDATE SET {updates}, modified = excluded.modified",
        PROPERTIES.join(", ")
    );
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    for body in pages {
        let page: Page<'_> = serde_json::from_slice(body).expect("a page");
        let tx = connection.unchecked_transaction().expect("begins");
        {
            let mut statement = tx.prepare_cached(&sql).expect("prepared");
            for row in &page.results {
                let id: i64 = row.id.parse().expect("a number");
                statement.raw_bind_parameter(1, id).expect("bound");
                for (index, name) in PROPERTIES.iter().enumerate() {
                    let value = row.properties.get(name).and_then(Option::as_deref);
                    statement
                        .raw_bind_parameter(index + 2, value)
                        .expect("bound");
                }
                statement
                    .raw_bind_parameter(PROPERTIES.len() + 2, row.updated_at.get())
                    .expect("bound");
                statement.raw_execute().expect("a row");
            }
        }
        tx.commit().expect("committed");
    }
    clock.monotonic().saturating_sub(begun)
}

// ---- merge: the pure decision for one record of twenty fields ----

fn merge() {
    const TIMES: u32 = 20_000;
    let folder = TempDir::new().expect("a folder");
    let config = write_config(folder.path(), "http://127.0.0.1:1");
    let mapping = &config.mapping.objects[0];
    let now = SystemClock::new().now();
    let names = FieldNames::of(mapping);
    let mut values = FieldValues::nothing(&names);
    for position in 0..mapping.fields.len() {
        values.set_at(position, Value::from_canonical("Lima"));
    }
    let mut changed = values.clone();
    for position in 0..3 {
        changed.set_at(position, Value::from_canonical("Oslo"));
    }
    let local = LocalRecord {
        local_id: LocalId(1),
        hs_id: Some(HubspotId(1)),
        values,
        unreadable: std::collections::BTreeSet::new(),
        modified_at: Some(Timestamp::EPOCH),
    };
    let remote = RemoteRecord {
        pipeline: None,
        id: HubspotId(1),
        values: changed,
        invalid: BTreeMap::new(),
        created_at: now,
        updated_at: now,
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
    };
    let (open, sent) = (BTreeMap::new(), BTreeMap::new());
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let mut actions = 0;
    for _ in 0..TIMES {
        let plan = merge_record(&RecordInput {
            mapping,
            local: &local,
            entry: None,
            open: &open,
            remote: &remote,
            histories: None,
            sent_earlier: &sent,
            owed: &BTreeMap::new(),
            now: Timestamp::EPOCH,
            clock_offset_ms: 0,
            clean_base: CleanBase::Mirror,
        });
        actions += plan.actions.len();
    }
    let took = clock.monotonic().saturating_sub(begun);
    assert_eq!(actions, 3 * TIMES as usize);
    say(&format!(
        "merge: {} ns a record of 20 fields, 3 of them changed",
        (took / TIMES).as_nanos()
    ));
}

// ---- the whole daemon as a process of its own ----

fn latency(runtime: &tokio::runtime::Runtime) {
    const WRITES: usize = 60;
    let served = serve_portal(runtime, portal(100));
    let folder = TempDir::new().expect("a folder");
    write_config(folder.path(), &served.url);
    let mut child = start(folder.path());
    wait_loaded(folder.path());
    rest(Duration::from_secs(2));
    let program = Connection::open(folder.path().join("crm.db")).expect("opens");
    program
        .busy_timeout(Duration::from_secs(5))
        .expect("a timeout");
    let clock = SystemClock::new();
    let mut times = Vec::with_capacity(WRITES);
    for index in 0..WRITES {
        let requests = || {
            served
                .portal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .request_log()
                .iter()
                .filter(|request| request.path_template.contains("/batch/"))
                .count()
        };
        let before = requests();
        program
            .execute(
                "UPDATE contacts SET city = ?1 WHERE local_id = ?2",
                rusqlite::params![format!("city {index}"), index as i64 + 1],
            )
            .expect("a write");
        let committed = clock.monotonic();
        while requests() == before {
            rest(Duration::from_micros(100));
        }
        times.push(clock.monotonic().saturating_sub(committed));
        rest(Duration::from_millis(120));
    }
    times.sort_unstable();
    say(&format!(
        "latency: commit to request on the wire {:.1} ms at the median, {:.1} ms at the worst of {WRITES} (goal: median under 25 ms)",
        times[WRITES / 2].as_secs_f64() * 1_000.0,
        times[WRITES - 1].as_secs_f64() * 1_000.0,
    ));
    child.kill().expect("killed");
    child.wait().expect("ended");
    served.stop.cancel();
}

fn first_read(runtime: &tokio::runtime::Runtime, records: usize) {
    let served = serve_portal(runtime, portal(records));
    let folder = TempDir::new().expect("a folder");
    write_config(folder.path(), &served.url);
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let mut child = start(folder.path());
    wait_loaded(folder.path());
    let took = clock.monotonic().saturating_sub(begun);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let high = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or("unknown")
        .trim()
        .to_owned();
    let pages = served
        .portal
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .request_log()
        .iter()
        .filter(|request| {
            request.method == "GET" && request.path_template.ends_with("objects/2026-03/contacts")
        })
        .count();
    let rows = number(folder.path(), "SELECT rows FROM sync_status");
    say(&format!(
        "first read: {rows} contacts of 20 properties over HTTP in {:.0} s, {:.0} rows/s, {pages} requests where {} are the floor, {high} at the most (goal: under 65536 kB)",
        took.as_secs_f64(),
        rows as f64 / took.as_secs_f64(),
        records.div_ceil(100),
    ));
    child.kill().expect("killed");
    child.wait().expect("ended");
    served.stop.cancel();
}
