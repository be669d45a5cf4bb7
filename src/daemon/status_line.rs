//! The line that `systemctl status` shows: the state with its reason, or what the daemon does in a few numbers.

use std::time::Duration;

use parking_lot::Mutex;

use crate::daemon::systemd::Systemd;
use crate::decide::decision::commands::grouped;
use crate::engine::Engine;
use crate::http::health::Health;
use crate::store::metrics::{self, Numbers};

/// Between two counts of all rows of the mirrors in one state, which takes longer the more there are.
const COUNT: Duration = Duration::from_secs(30);

/// The line, as it was last told.
#[derive(Debug, Default)]
pub(super) struct StatusLine {
    told: Mutex<String>,
    counted: Mutex<Option<CountedRows>>,
}

/// How many rows there were.
#[derive(Debug, Clone)]
struct CountedRows {
    /// By the steady clock.
    at: Duration,
    state: String,
    rows: u64,
}

impl StatusLine {
    /// Tells a state with its reason at once.
    pub(super) fn tell_reason(&self, systemd: &Systemd, health: &Health) {
        if let Some(reason) = &health.reason {
            self.tell(systemd, format!("{}: {reason}", health.state));
        }
    }

    /// Tells a state that has no reason, with numbers from one read.
    pub(super) async fn tell_numbers(&self, engine: &Engine, systemd: &Systemd, health: &Health) {
        if health.reason.is_some() || !systemd.is_present() {
            return;
        }
        let now = engine.clock().monotonic();
        let known = self.counted.lock().clone();
        let known = known
            .filter(|known| now.saturating_sub(known.at) < COUNT && known.state == health.state);
        let is_to_be_counted = known.is_none();
        let read = engine
            .store()
            .read(move |connection| metrics::numbers(connection, is_to_be_counted));
        // A database that can't be read says so by its own state.
        let numbers = read.await.unwrap_or_default();
        let rows = known.map(|known| known.rows).or(numbers.rows);
        if let Some(rows) = numbers.rows {
            *self.counted.lock() = Some(CountedRows {
                at: now,
                state: health.state.clone(),
                rows,
            });
        }
        let usage = engine.client().limiter().snapshot();
        let limit = usage.daily_limit.filter(|limit| *limit > 0);
        let share = limit.map(|limit| 100 * usage.daily_used / limit);
        self.tell(systemd, line(&health.state, rows, &numbers, share));
    }

    fn tell(&self, systemd: &Systemd, line: String) {
        let mut told = self.told.lock();
        if *told != line {
            systemd.status(&line);
            *told = line;
        }
    }
}

/// `running: 20,500 rows, 0 waiting, lag 2 s, quota 1 %`; what is not known is left out.
fn line(state: &str, rows: Option<u64>, numbers: &Numbers, quota: Option<u64>) -> String {
    let parts = [
        rows.map(|rows| format!("{} rows", grouped(rows))),
        numbers
            .waiting
            .map(|waiting| format!("{} waiting", grouped(waiting))),
        numbers.lag_seconds.map(|lag| format!("lag {}", age(lag))),
        quota.map(|share| format!("quota {share} %")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => state.to_owned(),
        false => format!("{state}: {}", parts.join(", ")),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_what_is_known() {
        let numbers = |waiting, lag_seconds| Numbers {
            rows: None,
            waiting,
            lag_seconds,
        };
        for (told, expected) in [
            (
                line("running", Some(20_500), &numbers(Some(0), Some(2)), Some(1)),
                "running: 20,500 rows, 0 waiting, lag 2 s, quota 1 %",
            ),
            (
                line("backfilling", Some(7), &numbers(Some(1_000), None), None),
                "backfilling: 7 rows, 1,000 waiting",
            ),
            (
                line("running", None, &numbers(None, Some(300)), None),
                "running: lag 5 min",
            ),
            (
                line("starting", None, &Numbers::default(), None),
                "starting",
            ),
        ] {
            assert_eq!(told, expected);
        }
    }
}
