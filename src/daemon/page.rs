//! What the page on `[http]` shows: the live screen's rows, what to do about the state, and 24 hours of requests and changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::app::remedies::remedy_of_state;
use crate::engine::Engine;
use crate::http::health::Health;
use crate::http::page::StatusReport;
use crate::model::time::Timestamp;
use crate::store::commands::watched::{WatchedRows, by_hours, watched};
use crate::store::commands::{CommandError, Row, WhyStopped};

/// So long a report is shown again: however many look, the tables are read no more often.
const REPORT_LASTS: Duration = Duration::from_secs(2);

/// The hours of the charts, the present one included.
const HOURS: i64 = 24;

const HOUR_MS: i64 = 3_600_000;

/// What is told to whoever opens the page.
pub(super) fn status_report(engine: &Arc<Engine>, told: watch::Receiver<Health>) -> StatusReport {
    let engine = Arc::clone(engine);
    let last: Arc<Mutex<Option<(Duration, String)>>> = Arc::default();
    Arc::new(move || {
        let (engine, told, last) = (Arc::clone(&engine), told.clone(), Arc::clone(&last));
        async move {
            // One at a time: whoever comes meanwhile is told the same.
            let mut last = last.lock().await;
            let at = engine.clock().monotonic();
            if let Some((read_at, text)) = &*last
                && at.saturating_sub(*read_at) < REPORT_LASTS
            {
                return text.clone();
            }
            let health = told.borrow().clone();
            let text = report(&engine, &health).await.to_string();
            *last = Some((at, text.clone()));
            text
        }
        .boxed()
    })
}

async fn report(engine: &Engine, health: &Health) -> Value {
    let now = engine.clock().now();
    let since = first_hour(now);
    let read = engine.store().read(move |connection| {
        let look = || -> Result<(WatchedRows, [Vec<Row>; 2]), CommandError> {
            Ok((watched(connection)?, by_hours(connection, since)?))
        };
        Ok(look())
    });
    let explanation = match read.await {
        Ok(Ok((rows, counted))) => return shown(&rows, &hours(since, &counted), now),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    // Before the first read of the schema there are no views.
    tracing::debug!(error = %explanation, "the tables could not be read for the page");
    let told = json!({ "state": health.state, "last_error": health.reason });
    json!({
        "at": now.to_string(),
        "health": told,
        "remedy": remedy_of_state(&health.state, WhyStopped::Ended),
        "quota": {},
        "objects": [],
        "paused": [],
        "backfills": [],
        "problems": [],
        "holds": [],
        "conflicts": [],
        "dead": [],
        "changes": [],
        "hours": hours(since, &[Vec::new(), Vec::new()]),
    })
}

fn shown(rows: &WatchedRows, hours: &[Value], now: Timestamp) -> Value {
    let status = &rows.status;
    let state = status.health.text("state").unwrap_or("stopped");
    json!({
        "at": now.to_string(),
        "health": status.health,
        "remedy": remedy_of_state(state, status.stopped),
        "quota": rows.quota,
        "objects": status.objects,
        "paused": status.paused,
        "backfills": status.backfills,
        "problems": status.problems,
        "holds": status.holds,
        "conflicts": rows.conflicts,
        "dead": rows.dead,
        "changes": rows.changes,
        "hours": hours,
    })
}

/// The beginning of the first hour that is shown.
fn first_hour(now: Timestamp) -> Timestamp {
    let present = now.millis() - now.millis().rem_euclid(HOUR_MS);
    now.plus_millis(present - (HOURS - 1) * HOUR_MS - now.millis())
}

/// Each hour with what was counted in it.
fn hours(since: Timestamp, [requests, changes]: &[Vec<Row>; 2]) -> Vec<Value> {
    let of = |rows: &[Row], column: &str| -> BTreeMap<String, i64> {
        let counted = rows.iter().filter_map(|row| {
            let hour = row.text("hour")?.to_owned();
            Some((hour, row.number(column)?))
        });
        counted.collect()
    };
    let counts = [
        ("requests", of(requests, "requests")),
        ("failed", of(requests, "failed")),
        ("changes", of(changes, "changes")),
    ];
    let hour = |number: i64| {
        let at = since.plus_millis(number * HOUR_MS).to_string();
        let mut shown = serde_json::Map::new();
        for (name, counted) in &counts {
            let count = counted.get(&at).copied().unwrap_or(0);
            shown.insert((*name).to_owned(), count.into());
        }
        shown.insert("at".to_owned(), at.into());
        Value::Object(shown)
    };
    (0..HOURS).map(hour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_24_hours_up_to_the_present_one() {
        let now = Timestamp::parse("2026-11-24T03:10:00.123Z").expect("a moment");
        let since = first_hour(now);
        assert_eq!(since.to_string(), "2026-11-23T04:00:00.000Z");
        let shown = hours(since, &[Vec::new(), Vec::new()]);
        assert_eq!(shown.len(), 24);
        assert_eq!(shown[23]["at"], "2026-11-24T03:00:00.000Z");
        assert_eq!(shown[23]["requests"], 0);
    }
}
