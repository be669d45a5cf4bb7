//! The slow chores: heartbeat, file identity, triggers, retention, calls that no step has written down.

use std::time::Duration;

use crate::daemon::condition::Condition;
use crate::engine::forgetting;
use crate::engine::source::deliveries::WEBHOOKS_MISSED;
use crate::engine::{Engine, StepError};
use crate::model::settings::Checkpoint;
use crate::store::calls::ring::{self, KeepCalls};
use crate::store::database::descriptors::{self, FewDescriptors};
use crate::store::database::log_readers::{self, LONG_LOG};
use crate::store::meta::{self, PUT_BACK, Phase};
use crate::store::quota::LimitsInForce;
use crate::store::retention::{self, Keep};
use crate::store::shape::ddl;
use crate::store::shape::repair;
use crate::store::{DISK_TROUBLE, FEW_DESCRIPTORS, Lane, MORE_DESCRIPTORS, Store, erase, quota};

/// Time between two heartbeats; `sync_health` calls a daemon stopped after 30 s without one.
pub(crate) const BEAT: Duration = Duration::from_secs(5);

/// Time between two looks at the triggers: a dropped one is put back within a minute.
pub(crate) const TRIGGERS: Duration = Duration::from_secs(20);

/// Time between two rounds of forgetting.
pub(crate) const FORGET: Duration = Duration::from_mins(5);

/// Time between two looks at the ring of calls (`contract-operations.md`, section 2).
pub(crate) const RING: Duration = Duration::from_mins(1);

/// A clock that is off by more makes times in the mirror's bookkeeping hard to read, and signatures of webhooks invalid
/// soon (`hubspot/api-facts.md#10`).
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// The code of the log's line about an erasure, for whatever watches the log.
const ERASED: &str = "erased";

/// What to say of a clock that differs from HubSpot's.
fn clock_problem(offset_ms: i64) -> Option<String> {
    let side = if offset_ms > 0 { "behind" } else { "ahead of" };
    let seconds = offset_ms.abs() / 1000;
    (offset_ms.abs() > CLOCK_TOLERANCE_MS).then(|| {
        format!(
            "this machine's clock is {seconds} s {side} HubSpot's: set it, and keep it right (NTP)"
        )
    })
}

/// What keeps the log beside the database from being written back, with its code.
fn log_problem(engine: &Engine, condition: &Condition) -> Option<(String, &'static str)> {
    let (store, at) = (engine.store(), engine.clock().monotonic());
    match store.checkpoint() {
        Checkpoint::Own => {
            let log = log_readers::of_long_log(store.path());
            Some((condition.long_log(log, at)?, "log-held"))
        }
        // Whoever owns the log reads in it all the time: what counts is whether it is written back.
        Checkpoint::Outside => {
            let bytes = store.bytes_to_write_back()?;
            let long_for = condition.unwritten_log(bytes >= LONG_LOG, at)?;
            Some((growing_log(bytes, long_for), "log-grows"))
        }
    }
}

/// What to say where files, connections or sockets can't be opened any more, or soon can't, with its code.
fn descriptor_problem() -> Option<(String, &'static str)> {
    let FewDescriptors { limit, open } = descriptors::few()?;
    let problem = format!(
        "this process has {open} of the {limit} files open that it may have: {MORE_DESCRIPTORS}"
    );
    Some((problem, FEW_DESCRIPTORS))
}

/// What to say of a log that another program should write back, and does not.
fn growing_log(bytes: u64, long_for: Duration) -> String {
    format!(
        "the log beside the database has {} MiB that nobody has written back for {} s, though `checkpoint = \"outside\"` leaves that to another program: see whether Litestream runs",
        bytes >> 20,
        long_for.as_secs()
    )
}

/// Says that the daemon lives, and what it counted.
pub(crate) async fn beat(engine: &Engine, condition: &Condition) -> Result<(), StepError> {
    let usage = engine.client().limiter().snapshot();
    let mut daemon = condition.daemon(usage.requests_last_minute, usage.throttled_last_minute);
    let now = engine.clock().now();
    let mut problems = Vec::new();
    let offset = engine.client().clock_offset_ms();
    problems.extend(clock_problem(offset).map(|problem| (problem, Some("clock-off"))));
    if let Some(relaxed) = engine.settings().relaxed_poll {
        let standing = engine.deliveries().standing(now, relaxed);
        daemon.webhooks = Some(standing.as_str());
        daemon.webhooks_dropped = engine.deliveries().dropped();
        let missed = engine.deliveries().problem();
        problems.extend(missed.map(|problem| (problem, Some(WEBHOOKS_MISSED))));
    }
    problems.extend(descriptor_problem().map(|(problem, code)| (problem, Some(code))));
    problems.extend(log_problem(engine, condition).map(|(problem, code)| (problem, Some(code))));
    daemon.forbidden = engine.forbidden();
    daemon.codes.forbidden = engine.forbidden_code();
    // One problem must not hide another, nor the last error.
    let last = daemon.last_error.take();
    problems.extend(last.map(|error| (error, daemon.codes.last_error)));
    // The state goes by the first of them.
    problems.sort_by_key(|(_, code)| !code.is_some_and(|code| DISK_TROUBLE.contains(&code)));
    daemon.codes.last_error = problems.first().and_then(|(_, code)| *code);
    let words: Vec<&str> = problems.iter().map(|(words, _)| words.as_str()).collect();
    daemon.last_error = (!words.is_empty()).then(|| words.join("; "));
    let day = quota::DayAsTold {
        date: Some(usage.day),
        used: Some(usage.daily_used),
        limit: usage.daily_limit,
        resets_at: Some(usage.daily_resets_at),
    };
    let limits = LimitsInForce {
        burst: usage.burst_limit,
        search: usage.search_limit,
    };
    // What is not in its row yet would count as somebody else's.
    engine.store().write_calls().await?;
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            meta::beat(tx, &daemon, now)?;
            quota::set_day(tx, &day)?;
            quota::note_use(tx, usage.daily_used, limits, now)
        })
        .await?;
    condition.beaten(engine.clock().monotonic());
    Ok(())
}

/// What `sync_health` calls the daemon's state; `None` where it can't be read.
pub async fn state(engine: &Engine) -> Option<String> {
    engine.store().read(meta::state).await.ok()
}

/// Closes the gate that a program has opened, and has what it wrote past it compared.
pub(crate) async fn close_gate(engine: &Engine) -> Result<(), StepError> {
    let store = engine.store();
    let Some(mapping) = engine.resolved_mapping() else {
        return Ok(());
    };
    if store.read(repair::gate_was_passed).await? {
        store
            .write(Lane::Interactive, move |tx| {
                repair::close_gate(tx, &mapping, tx.now())
            })
            .await?;
    }
    Ok(())
}

/// Puts dropped or altered triggers and views back.
pub(crate) async fn repair_triggers(engine: &Engine) -> Result<(), StepError> {
    let Some(mapping) = engine.resolved_mapping() else {
        return Ok(());
    };
    let repaired = engine
        .store()
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            ddl::repair(tx, &mapping, now)
        })
        .await?;
    for name in repaired {
        tracing::warn!(
            name,
            code = PUT_BACK,
            "somebody dropped or altered this; it was put back"
        );
    }
    Ok(())
}

/// Forgets what is older than the mapping file keeps, a batch at a time. Nothing while nobody knows whether this machine's
/// clock is right.
pub(crate) async fn forget(engine: &Engine, keep: Keep) -> Result<(), StepError> {
    let Some(now) = engine.time_borne_out() else {
        return Ok(());
    };
    forgetting::forget(engine, now).await?;
    while engine
        .store()
        .write(Lane::Bulk, move |tx| retention::forget(tx, keep, now))
        .await?
        > 0
    {}
    Ok(())
}

/// Writes down the calls that no transaction has taken along.
pub(crate) async fn write_calls(engine: &Engine) -> Result<(), StepError> {
    Ok(engine.store().write_calls().await?)
}

/// Keeps the ring of calls within its bounds, a batch at a time. Nothing while nobody knows whether this machine's clock is right.
pub(crate) async fn forget_calls(engine: &Engine, keep: KeepCalls) -> Result<(), StepError> {
    let Some(now) = engine.time_borne_out() else {
        return Ok(());
    };
    while engine
        .store()
        .write(Lane::Bulk, move |tx| ring::forget(tx, keep, now))
        .await?
        > 0
    {}
    Ok(())
}

/// Empties the log of the database once something was erased, so that no copy stays in it, and names what was. A reader
/// that holds the log puts it off. Where another program owns the log, that one has to be told.
pub(crate) async fn empty_log(engine: &Engine) -> Result<(), StepError> {
    let store = engine.store();
    let is_ours = store.checkpoint() == Checkpoint::Own;
    if !store.read(erase::log_is_to_be_emptied).await? || (is_ours && !store.empty_log().await?) {
        return Ok(());
    }
    let erased = store
        .write(Lane::Bulk, |tx| erase::log_was_emptied(tx))
        .await?;
    for (object, id) in erased {
        if is_ours {
            tracing::info!(%object, hs_id = %id, code = ERASED, "a record was erased, and the log was emptied after it");
        } else {
            tracing::warn!(
                %object,
                hs_id = %id,
                code = ERASED,
                hint = "run `litestream reset PATH`; once its retention has passed no replica can restore the record",
                "a record was erased; the log and its replicas still hold it"
            );
        }
    }
    Ok(())
}

/// Says that the run ended with an error, where the database can still be written: what failed may be the database.
pub(crate) async fn end_failed(
    store: &Store,
    explanation: String,
    code: impl Into<Option<&'static str>>,
) {
    let code = code.into();
    let said = store
        .write(Lane::Interactive, move |tx| {
            meta::end_failed(tx, (&explanation, code), tx.now())
        })
        .await;
    if let Err(failed) = said {
        tracing::debug!(error = %failed, "the end could not be written down");
    }
}

/// Moves the daemon to a phase of its life.
pub(crate) async fn set_phase(engine: &Engine, phase: Phase) -> Result<(), StepError> {
    engine
        .store()
        .write(Lane::Interactive, move |tx| {
            meta::set_phase(tx, phase, tx.now())
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_named_with_its_side() {
        assert_eq!(clock_problem(60_000), None);
        let behind = clock_problem(90_000).expect("a problem");
        assert!(behind.contains("90 s behind HubSpot's"), "{behind}");
        let ahead = clock_problem(-3_600_000).expect("a problem");
        assert!(ahead.contains("3600 s ahead of HubSpot's"), "{ahead}");
    }
}
