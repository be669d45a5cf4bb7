//! `hubsyncd once`: brings both sides together once and says what it did, a line an object.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::cli::ExitStatus;
use crate::cli::args::OnceArgs;
use crate::cli::backfills;
use crate::cli::progress::Screen;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::daemon::build::build;
use crate::daemon::once::{Keeping, OnceOptions, OnceReport, once as agree};
use crate::daemon::tasks::with_causes;
use crate::engine::StepError;
use crate::{config, telemetry};

/// Runs once.
pub async fn once(path: &Path, args: OnceArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let config = config::load(path)?;
    let screen = Screen::stderr();
    telemetry::init(&config.log, screen.clone())?;
    let engine = match build(&config, SystemClock::new()).await {
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
    ));
    let done = run_once(&config, &engine, args).await;
    shown.abort();
    keeping.end().await;
    match done {
        Ok(report) => {
            print(&report, args.json, out)?;
            Ok(if report.is_done() {
                ExitStatus::Done
            } else {
                ExitStatus::Failed
            })
        }
        Err(error) => {
            let status = status_of(error.is_configuration());
            Ok(failed(&error, error.hint(), status))
        }
    }
}

fn status_of(is_configuration: bool) -> ExitStatus {
    if is_configuration {
        ExitStatus::Config
    } else {
        ExitStatus::Failed
    }
}

async fn run_once(
    config: &Config,
    engine: &Arc<crate::engine::Engine>,
    args: OnceArgs,
) -> Result<OnceReport, StepError> {
    agree(
        config,
        engine,
        OnceOptions {
            reconcile: args.reconcile,
            timeout: args.timeout,
        },
    )
    .await
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
