//! What `/metrics` says: what was measured since the start, the limits that are left, and a look at the tables. `design.md` 6.4.
//!
//! Nothing is collected while nobody asks. A database that can't be read leaves out what stands in it; the rest is told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Mutex;

use crate::decide::record::MergeOutcome;
use crate::decide::round::Step;
use crate::engine::{Engine, StepError};
use crate::http::metrics::MetricValue::{Counter, Gauge, Histogram};
use crate::http::metrics::{MetricFamily, MetricValue, Scrape};
use crate::http::webhooks::DeliveryAnswer;
use crate::model::entry::EntryState;
use crate::model::mapping::Mapping;
use crate::model::origin::Origin;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::measured::{BOUNDS, Measures, OTHER_WORK, OUTCOMES, Spread};
use crate::store::metrics::{Counted, TablesLook, look};

/// The classes of requests (`contract-crm.md`, section 1).
const CLASSES: [&str; 10] = [
    "archive",
    "associations",
    "create",
    "list",
    "oauth",
    "read",
    "schema",
    "search",
    "update",
    "upsert",
];

/// The words of `sync_conflicts.winner`.
const WINNERS: [&str; 4] = ["agreed", "local", "remote", "value"];

/// The words of `sync_health.state`.
const STATES: [&str; 11] = [
    "stopped",
    "starting",
    "stopping",
    "unauthorized",
    "unreachable",
    "out_of_quota",
    "held",
    "paused",
    "degraded",
    "backfilling",
    "running",
];

/// So long what was read of the tables is shown again: however many ask, and however often, the tables are looked at no more often.
const LOOK_LASTS: Duration = Duration::from_secs(5);

/// What the tables said at the last look.
struct LastLook {
    counted: Counted,
    tables: Option<Arc<TablesLook>>,
    /// By the steady clock.
    at: Duration,
}

/// What is asked for at each call of `/metrics`. Changes and conflicts count from here on.
pub(super) async fn scrape(engine: &Arc<Engine>) -> Result<Scrape, StepError> {
    let last = LastLook {
        counted: engine.store().read(Counted::from_here).await?,
        tables: None,
        at: Duration::ZERO,
    };
    let (engine, last) = (Arc::clone(engine), Arc::new(Mutex::new(last)));
    Ok(Arc::new(move || {
        let (engine, last) = (Arc::clone(&engine), Arc::clone(&last));
        async move { families(&engine, &last).await }.boxed()
    }))
}

async fn families(engine: &Engine, last: &Mutex<LastLook>) -> Vec<MetricFamily> {
    let measures = engine.store().measured().now();
    let mut families = of_measures(&measures);
    families.extend(of_limits(engine));
    families.extend(of_files(engine.store().path()));
    let info = MetricFamily::new("hubsyncd_build_info", "The version that runs.");
    families.push(info.with([("version", env!("CARGO_PKG_VERSION"))], Gauge(1.0)));
    // One at a time, so that nothing is counted twice.
    let mut last = last.lock().await;
    let now = engine.clock().monotonic();
    if last.tables.is_none() || now.saturating_sub(last.at) >= LOOK_LASTS {
        let before = last.counted.clone();
        let seen = engine.store().read(move |connection| {
            let mut counted = before;
            counted.look(connection)?;
            Ok::<_, StoreError>((look(connection)?, counted))
        });
        match seen.await {
            Ok((tables, counted)) => {
                *last = LastLook {
                    counted,
                    tables: Some(Arc::new(tables)),
                    at: now,
                };
            }
            Err(error) => {
                tracing::debug!(error = %error, "the tables could not be read for /metrics");
                last.tables = None;
            }
        }
    }
    let (counted, tables) = (last.counted.clone(), last.tables.clone());
    drop(last);
    let mapping = engine.mapping();
    let objects = mapping.objects.iter().map(|own| own.object.as_str());
    // Changes, conflicts and holds of associations stand under the names of their pairs.
    let pairs = mapping.pairs.iter().map(|pair| pair.key.as_str());
    let names: Vec<&str> = objects.chain(pairs).collect();
    families.extend(of_counted(&counted, &names));
    families.extend(of_merges(&measures, &mapping));
    if let Some(tables) = tables {
        families.extend(of_tables(&tables, &names, engine.clock().now()));
    }
    families
}

/// Counts by labels, with those that have not come yet at zero: `rate()` sees the first one only where it has seen none before.
fn with_zeros<K: Ord + Clone>(
    counts: &BTreeMap<K, u64>,
    known: impl IntoIterator<Item = K>,
) -> BTreeMap<K, u64> {
    let zeros = known.into_iter().map(|key| (key, 0));
    let mut all: BTreeMap<K, u64> = zeros.collect();
    all.extend(counts.iter().map(|(key, count)| (key.clone(), *count)));
    all
}

fn whole(count: u64) -> MetricValue {
    Gauge(count as f64)
}

fn histogram(spread: &Spread) -> MetricValue {
    let bounds = BOUNDS.into_iter().zip(spread.within).collect();
    Histogram(bounds, spread.count, spread.seconds)
}

/// Durations by labels, with those of which there are none yet.
fn spreads(
    measured: &BTreeMap<&'static str, Spread>,
    known: impl IntoIterator<Item = &'static str>,
) -> BTreeMap<&'static str, Spread> {
    let mut all = measured.clone();
    for label in known {
        all.entry(label).or_default();
    }
    all
}

fn of_measures(measures: &Measures) -> Vec<MetricFamily> {
    let mut requests = MetricFamily::new(
        "hubsyncd_requests",
        "Attempts of requests to HubSpot, by class of the endpoint and outcome.",
    );
    let all = CLASSES.iter();
    let all = all.flat_map(|class| OUTCOMES.map(|outcome| (*class, outcome)));
    for ((class, outcome), count) in with_zeros(&measures.requests, all) {
        requests = requests.with([("class", class), ("outcome", outcome)], Counter(count));
    }
    let mut took = MetricFamily::new(
        "hubsyncd_request_duration_seconds",
        "How long attempts of requests took.",
    );
    for (class, spread) in spreads(&measures.request_seconds, CLASSES) {
        took = took.with([("class", class)], histogram(&spread));
    }
    let commits = MetricFamily::new("hubsyncd_commit_duration_seconds", "How long commits took.");
    let checkpoints = MetricFamily::new(
        "hubsyncd_checkpoint_duration_seconds",
        "How long it took to write the log back into the database.",
    )
    .with([], histogram(&measures.checkpoints));
    let mut locks = MetricFamily::new(
        "hubsyncd_write_lock_seconds",
        "How long transactions held the write lock, by the kind of work.",
    );
    let works = Step::works()
        .into_iter()
        .chain(["settle", "webhook", OTHER_WORK]);
    for (work, spread) in spreads(&measures.locks, works) {
        locks = locks.with([("work", work)], histogram(&spread));
    }
    let mut deliveries = MetricFamily::new(
        "hubsyncd_webhook_deliveries",
        "Deliveries of webhooks, by what became of them.",
    );
    let answers = DeliveryAnswer::ALL.map(DeliveryAnswer::as_str);
    for (outcome, count) in with_zeros(&measures.deliveries, answers) {
        deliveries = deliveries.with([("outcome", outcome)], Counter(count));
    }
    let commits = commits.with([], histogram(&measures.commits));
    vec![requests, took, commits, checkpoints, locks, deliveries]
}

/// What is left of the limits as they are in force, and whether webhooks are missed.
fn of_limits(engine: &Engine) -> Vec<MetricFamily> {
    let quota = engine.client().limiter().snapshot();
    let mut left = MetricFamily::new(
        "hubsyncd_quota_remaining",
        "Requests that may still be sent: in the ten-second window, the search window, the day.",
    )
    .with([("window", "burst")], whole(quota.burst_left.into()))
    .with([("window", "search")], whole(quota.search_left.into()));
    let mut limit = MetricFamily::new("hubsyncd_quota_limit", "The limits that are in force.")
        .with([("window", "burst")], whole(quota.burst_limit.into()))
        .with([("window", "search")], Gauge(quota.search_limit));
    if let Some(day) = quota.daily_limit {
        let rest = day.saturating_sub(quota.daily_used);
        left = left.with([("window", "day")], whole(rest));
        limit = limit.with([("window", "day")], whole(day));
    }
    let missed = engine.deliveries().problem().is_some();
    let missed = MetricFamily::new(
        "hubsyncd_webhooks_missed",
        "1 while polling finds what no webhook has announced.",
    )
    .with([], whole(missed.into()));
    vec![left, limit, missed]
}

/// Sizes of the database and its log, and what the disk has left.
fn of_files(database: &Path) -> Vec<MetricFamily> {
    let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let mut log = OsString::from(database);
    log.push("-wal");
    let bytes = MetricFamily::new("hubsyncd_database_bytes", "Size of the database.")
        .with([], whole(size(database)));
    let wal = MetricFamily::new("hubsyncd_wal_bytes", "Size of the log beside the database.")
        .with([], whole(size(&PathBuf::from(log))));
    let mut free = MetricFamily::new(
        "hubsyncd_disk_free_bytes",
        "What the database's disk has left for the daemon.",
    );
    if let Ok(found) = rustix::fs::statvfs(database) {
        free = free.with([], whole(found.f_bavail * found.f_frsize));
    }
    vec![bytes, wal, free]
}

fn of_counted(counted: &Counted, objects: &[&str]) -> Vec<MetricFamily> {
    let each = |words: &[&'static str]| {
        let mut pairs = Vec::with_capacity(objects.len() * words.len());
        for object in objects {
            for word in words {
                pairs.push(((*object).to_owned(), (*word).to_owned()));
            }
        }
        pairs
    };
    let origins = Origin::ALL.map(Origin::as_str);
    let mut changes = MetricFamily::new(
        "hubsyncd_changes",
        "Rows of sync_history since the start, by object and origin.",
    );
    for ((object, origin), count) in with_zeros(&counted.changes, each(&origins)) {
        changes = changes.with([("object", &object), ("origin", &origin)], Counter(count));
    }
    let mut conflicts = MetricFamily::new(
        "hubsyncd_conflicts",
        "Conflicts that were decided since the start, by object and winner.",
    );
    for ((object, winner), count) in with_zeros(&counted.decided, each(&WINNERS)) {
        conflicts = conflicts.with([("object", &object), ("winner", &winner)], Counter(count));
    }
    vec![changes, conflicts]
}

/// What merging and the events of webhooks have come to, by object.
fn of_merges(measures: &Measures, mapping: &Mapping) -> [MetricFamily; 2] {
    let objects = || mapping.objects.iter().map(|own| own.object.clone());
    let mut echoes = MetricFamily::new(
        "hubsyncd_echoes",
        "Events of webhooks that told what the mirror or a request of ours showed already, and cost no request.",
    );
    for (object, count) in with_zeros(&measures.echoes, objects()) {
        echoes = echoes.with([("object", object.as_str())], Counter(count));
    }
    let mut merges = MetricFamily::new(
        "hubsyncd_merges",
        "Fields of records that were merged, by what became of them.",
    );
    let outcomes = MergeOutcome::ALL.map(MergeOutcome::as_str);
    let all = objects().flat_map(|object| outcomes.map(|outcome| (object.clone(), outcome)));
    for ((object, outcome), count) in with_zeros(&measures.merges, all) {
        let labels = [("object", object.as_str()), ("outcome", outcome)];
        merges = merges.with(labels, Counter(count));
    }
    [echoes, merges]
}

fn of_tables(tables: &TablesLook, names: &[&str], now: Timestamp) -> Vec<MetricFamily> {
    if tables.state.is_empty() {
        return Vec::new();
    }
    let age = |since: Option<Timestamp>| since.map_or(Duration::ZERO, |since| now.since(since));
    let seconds = |since: Option<Timestamp>| Gauge(age(since).as_secs_f64());
    let mut state = MetricFamily::new(
        "hubsyncd_state",
        "1 for the word that sync_health.state says, 0 for the others.",
    );
    for word in STATES {
        state = state.with([("state", word)], whole((word == tables.state).into()));
    }
    let mut families = vec![state];
    families.extend(of_objects(tables));
    let mut entries = MetricFamily::new("hubsyncd_outbox_entries", "Entries of sync_outbox.");
    let mut oldest = MetricFamily::new(
        "hubsyncd_outbox_oldest_seconds",
        "Age of an object's oldest entry that is not dead.",
    );
    let states = [EntryState::Pending, EntryState::InFlight, EntryState::Dead];
    for of in &tables.objects {
        let name = of.object.as_str();
        for state in states.map(EntryState::as_str) {
            let count = tables.entries(name, state);
            entries = entries.with([("object", name), ("state", state)], whole(count));
        }
        oldest = oldest.with([("object", name)], seconds(of.oldest_entry));
    }
    let (waiting, since) = tables.inbox;
    let inbox = MetricFamily::new("hubsyncd_inbox_events", "Events of webhooks that wait.")
        .with([], whole(waiting));
    let inbox_oldest = MetricFamily::new(
        "hubsyncd_inbox_oldest_seconds",
        "Age of the oldest event that waits.",
    )
    .with([], seconds(since));
    let mut held = MetricFamily::new("hubsyncd_held_records", "Records that the guard holds.");
    for name in names {
        for side in ["hubspot", "local"] {
            let own = tables.held.iter();
            let own = own.filter(|(object, held, _)| object == name && held == side);
            let count = own.map(|(.., count)| count).sum();
            held = held.with([("object", *name), ("side", side)], whole(count));
        }
    }
    let mut runs = MetricFamily::new(
        "hubsyncd_run_seconds",
        "How long the run that is under way has taken so far.",
    );
    for (object, kind, since) in &tables.runs {
        runs = runs.with([("object", object), ("kind", kind)], seconds(*since));
    }
    let (empty_at, resets_at) = tables.day;
    let mut empty = MetricFamily::new(
        "hubsyncd_quota_day_empty_timestamp_seconds",
        "When the day is spent at the last hour's rate of all apps; without a value: not before its end.",
    );
    let mut reset = MetricFamily::new(
        "hubsyncd_quota_day_reset_timestamp_seconds",
        "When the day's requests are new.",
    );
    let moment = |at: Timestamp| Gauge(at.millis() as f64 / 1_000.0);
    if let Some(at) = empty_at {
        empty = empty.with([], moment(at));
    }
    if let Some(at) = resets_at {
        reset = reset.with([], moment(at));
    }
    families.extend([
        entries,
        oldest,
        inbox,
        inbox_oldest,
        held,
        runs,
        empty,
        reset,
    ]);
    families
}

fn of_objects(tables: &TablesLook) -> [MetricFamily; 5] {
    let mut lag = MetricFamily::new(
        "hubsyncd_lag_seconds",
        "Now less the HubSpot time up to which every change is known; without a value before the first read is done.",
    );
    let mut dead = MetricFamily::new("hubsyncd_dead_entries", "Entries that are dead.");
    let mut open = MetricFamily::new(
        "hubsyncd_open_conflicts",
        "Conflicts that wait for a person.",
    );
    let mut rows = MetricFamily::new("hubsyncd_records", "Rows of the mirror.");
    let mut degraded = MetricFamily::new(
        "hubsyncd_degraded_fields",
        "Fields that are not active (sync_status.problems).",
    );
    for of in &tables.objects {
        let name = || [("object", of.object.as_str())];
        if let Some(seconds) = of.lag_seconds {
            lag = lag.with(name(), Gauge(seconds));
        }
        let count = tables.entries(&of.object, EntryState::Dead.as_str());
        dead = dead.with(name(), whole(count));
        open = open.with(name(), whole(of.conflicts));
        rows = rows.with(name(), whole(of.rows));
        degraded = degraded.with(name(), whole(of.degraded));
    }
    [lag, dead, open, rows, degraded]
}
