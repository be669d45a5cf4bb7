//! `hubsyncd once`: brings both sides together once and says what it did, a line an object.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::cli::args::OnceArgs;
use crate::cli::backfills;
use crate::cli::format::printable;
use crate::cli::progress::Screen;
use crate::cli::run::watch_signals;
use crate::cli::{ExitStatus, Unusable, with_code};
use crate::clock::{Clock, SystemClock};
use crate::daemon::build::{BUSY_TIMEOUT, build_within};
use crate::daemon::once::{Keeping, OnceFailure, OnceOptions, OnceReport, once as agree};
use crate::daemon::run::DRAIN;
use crate::{config, telemetry};

/// So much later than its time a run may end, where the database is kept busy.
const LATEST: Duration = Duration::from_secs(2);

/// Runs once. The time is counted from here, so that opening the database and waiting for a login are within it. A signal
/// ends it in order, as it ends the daemon; a second one at once.
pub async fn once(path: &Path, args: OnceArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let stop = CancellationToken::new();
    let deadline = clock.monotonic() + args.timeout;
    let options = OnceOptions {
        reconcile: args.reconcile,
        deadline,
        stop: stop.clone(),
    };
    let config = config::load(path)?;
    // It needs none of the listeners' itself: a file with which the daemon would not start is said to be one.
    config.look_for_secrets()?;
    let screen = Screen::stderr();
    telemetry::init(&config.log, screen.clone())?;
    watch_signals(stop.clone()).context("signals can't be watched")?;
    let stopped_for = async |patience| {
        stop.cancelled().await;
        clock.sleep(patience).await;
    };
    let patience = args.timeout.min(BUSY_TIMEOUT);
    let built = tokio::select! {
        biased;
        built = build_within(&config, Arc::clone(&clock), patience) => built,
        // A busy database is waited for as long as `patience` in each of a few steps.
        () = clock.sleep(args.timeout) => return Err(late("the database was kept busy until the time was up").into()),
        () = stopped_for(DRAIN) => return Err(late("it was stopped while the database was kept busy").into()),
    };
    let engine = match built {
        Ok(engine) => engine,
        Err(error) => return Err(error.into()),
    };
    let keeping = match Keeping::begin(&config, &engine).await {
        Ok(keeping) => keeping,
        Err(error) => return Err(error.into()),
    };
    let shown = tokio::spawn(backfills::show(
        engine.store().clone(),
        Arc::clone(engine.clock()),
        screen,
        config.log.format.into(),
    ));
    let left = deadline.saturating_sub(clock.monotonic());
    let done = tokio::select! {
        biased;
        done = agree(&config, &engine, &keeping, options) => Some(done),
        // Steps are cut off by then: only a database that another program keeps busy is left.
        () = clock.sleep(left + LATEST) => None,
        () = stopped_for(2 * DRAIN) => None,
    };
    shown.abort();
    let left = deadline.saturating_sub(clock.monotonic());
    keeping.end(left.max(LATEST)).await;
    match done {
        Some(Ok(report)) => {
            print(&report, args.json, out)?;
            Ok(if report.is_done() {
                ExitStatus::Done
            } else {
                ExitStatus::Failed
            })
        }
        Some(Err(error)) => Err(error.into()),
        None if stop.is_cancelled() => {
            Err(late("it was stopped while the database was kept busy").into())
        }
        None => Err(late("the database was kept busy until the time was up").into()),
    }
}

fn late(explanation: &str) -> Unusable {
    Unusable {
        explanation: explanation.to_owned(),
        code: Some("busy-database"),
        hint: "look for a program that keeps a transaction open",
    }
}

/// Prints a report: one JSON value, or a line an object and one for all.
pub(crate) fn print(report: &OnceReport, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        if let Some(failure) = &report.failure {
            tracing::error!(
                hint = failure.hint,
                code = failure.code.as_deref(),
                "ended early: {}",
                failure.explanation
            );
        }
        for warning in &report.warnings {
            tracing::warn!(
                hint = warning.hint,
                code = warning.code.as_deref(),
                "{}",
                warning.explanation
            );
        }
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let (mut dead, mut conflicts, mut held, mut unreadable, mut refused) = (0, 0, 0, 0, 0);
    for object in &report.objects {
        writeln!(
            out,
            "{}: {} pulled, {} pushed, {} pending",
            object.object, object.pulled, object.pushed, object.pending
        )?;
        dead += object.dead;
        conflicts += object.conflicts;
        held += object.held;
        unreadable += object.unreadable;
        refused += object.refused;
    }
    for warning in &report.warnings {
        tell(out, "warning", warning)?;
    }
    // Numbers as a script reads them.
    let several = |number: u64| if number == 1 { "" } else { "s" };
    let odd = match unreadable {
        0 => String::new(),
        _ => format!(", {unreadable} unreadable (see `sync_unreadable`)"),
    };
    let refused = match refused {
        0 => String::new(),
        _ => format!(", {refused} refused by a table"),
    };
    let sides: Vec<&str> = report.paused.iter().map(|side| side.as_str()).collect();
    let paused = match sides.is_empty() {
        true => String::new(),
        false => format!("; {} paused in the daemon", sides.join(" and ")),
    };
    let counts = format!(
        "{dead} dead, {conflicts} open conflict{}, {held} held{odd}{refused}, {} request{}{paused}",
        several(conflicts),
        report.requests,
        several(report.requests)
    );
    match &report.failure {
        Some(failure) => {
            tell(out, "ended early", failure)?;
            writeln!(out, "{counts}")?;
        }
        None => writeln!(out, "done; {counts}")?,
    }
    Ok(())
}

/// A sentence with its code, and its remedy on a line of its own.
fn tell(out: &mut dyn Write, kind: &str, failure: &OnceFailure) -> anyhow::Result<()> {
    let sentence = with_code(&printable(&failure.explanation), failure.code.as_deref());
    writeln!(out, "{kind}: {sentence}")?;
    if let Some(hint) = &failure.hint {
        writeln!(out, "hint: {}", printable(hint))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::counts::ObjectReport;

    fn printed(failure: Option<OnceFailure>, warnings: Vec<OnceFailure>, requests: u64) -> String {
        let contacts = ObjectReport {
            object: "contacts".to_owned(),
            pulled: 1_500,
            pushed: 0,
            pending: 0,
            dead: 0,
            conflicts: 1,
            held: 0,
            unreadable: 500 * warnings.len() as u64,
            refused: 0,
            refusal: None,
            unmade: None,
        };
        let report = OnceReport {
            objects: vec![contacts],
            requests,
            failure,
            warnings,
            paused: Vec::new(),
        };
        let mut out = Vec::new();
        print(&report, false, &mut out).expect("a buffer takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_failure_stands_apart_from_the_counts_with_its_remedy() {
        let failure = |explanation: &str, hint: &str| OnceFailure {
            explanation: explanation.to_owned(),
            hint: Some(hint.to_owned()),
            code: Some("missing-scope".into()),
        };
        assert_eq!(
            printed(None, Vec::new(), 1),
            "contacts: 1500 pulled, 0 pushed, 0 pending\ndone; 0 dead, 1 open conflict, 0 held, 1 request\n"
        );
        assert_eq!(
            printed(
                Some(failure("the token may not read companies", "add the scope")),
                vec![failure(
                    "contacts.email: wrong type (500 values)",
                    "write another"
                )],
                9
            ),
            "contacts: 1500 pulled, 0 pushed, 0 pending\n\
             warning: contacts.email: wrong type (500 values) [missing-scope]\nhint: write another\n\
             ended early: the token may not read companies [missing-scope]\nhint: add the scope\n\
             0 dead, 1 open conflict, 0 held, 500 unreadable (see `sync_unreadable`), 9 requests\n"
        );
    }
}
