//! `hubsyncd once`: brings both sides together once and says what it did, a line an object.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::cli::ExitStatus;
use crate::cli::args::OnceArgs;
use crate::cli::backfills;
use crate::cli::progress::Screen;
use crate::clock::{Clock, SystemClock};
use crate::daemon::build::{BUSY_TIMEOUT, build_within};
use crate::daemon::once::{Keeping, OnceOptions, OnceReport, once as agree};
use crate::daemon::run::DRAIN;
use crate::daemon::tasks::with_causes;
use crate::{config, telemetry};

/// Runs once. The time is counted from here, so that opening the database and waiting for a login are within it.
pub async fn once(path: &Path, args: OnceArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let options = OnceOptions {
        reconcile: args.reconcile,
        deadline: clock.now() + args.timeout,
    };
    let config = config::load(path)?;
    let screen = Screen::stderr();
    telemetry::init(&config.log, screen.clone())?;
    let patience = args.timeout.min(BUSY_TIMEOUT);
    let built = tokio::select! {
        biased;
        built = build_within(&config, Arc::clone(&clock), patience) => built,
        // A busy database is waited for as long as `patience` in each of a few steps.
        () = clock.sleep(args.timeout + patience) => return Ok(late("the database was kept busy until the time was up")),
    };
    let engine = match built {
        Ok(engine) => engine,
        Err(error) => {
            let status = status_of(error.is_configuration());
            return Ok(failed(&error, error.hint().as_deref(), status));
        }
    };
    let keeping = match Keeping::begin(&config, &engine).await {
        Ok(keeping) => keeping,
        Err(error) => {
            let status = status_of(error.is_configuration());
            return Ok(failed(&error, error.hint().as_deref(), status));
        }
    };
    let shown = tokio::spawn(backfills::show(
        engine.store().clone(),
        Arc::clone(engine.clock()),
        screen,
        config.log.format.into(),
    ));
    let left = options.deadline.since(clock.now());
    let done = tokio::select! {
        biased;
        done = agree(&config, &engine, &keeping, options) => Some(done),
        // Steps had theirs and are cut off by then: only a database that another program keeps busy is left.
        () = clock.sleep(left + 2 * DRAIN) => None,
    };
    shown.abort();
    keeping.end().await;
    match done {
        Some(Ok(report)) => {
            print(&report, args.json, out)?;
            Ok(if report.is_done() {
                ExitStatus::Done
            } else {
                ExitStatus::Failed
            })
        }
        Some(Err(error)) => {
            let status = status_of(error.is_configuration());
            Ok(failed(&error, error.hint(), status))
        }
        None => Ok(late("the database was kept busy until the time was up")),
    }
}

fn late(words: &str) -> ExitStatus {
    tracing::error!(
        hint = "look for a program that keeps a transaction open",
        "{words}"
    );
    ExitStatus::Failed
}

fn status_of(is_configuration: bool) -> ExitStatus {
    if is_configuration {
        ExitStatus::Config
    } else {
        ExitStatus::Failed
    }
}

fn failed(error: &dyn std::error::Error, hint: Option<&str>, status: ExitStatus) -> ExitStatus {
    tracing::error!(hint, "{}", with_causes(error));
    status
}

/// Prints a report: one JSON value, or a line an object and one for all.
pub fn print(report: &OnceReport, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        if let Some(words) = &report.failure {
            tracing::error!("ended early: {words}");
        }
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let (mut dead, mut conflicts, mut held) = (0, 0, 0);
    for object in &report.objects {
        writeln!(
            out,
            "{}: {} pulled, {} pushed, {} pending",
            object.object, object.pulled, object.pushed, object.pending
        )?;
        dead += object.dead;
        conflicts += object.conflicts;
        held += object.held;
    }
    let end = match &report.failure {
        Some(words) => format!("ended early: {words}"),
        None => "done".to_owned(),
    };
    writeln!(
        out,
        "{end}; {dead} dead, {conflicts} open conflicts, {held} held, {} requests",
        report.requests
    )?;
    Ok(())
}
