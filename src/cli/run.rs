//! `hubsyncd run`: the daemon in the foreground, until SIGTERM, SIGINT or a fault that no retry mends.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cli::progress::Screen;
use crate::cli::{ExitStatus, backfills};
use crate::clock::{Clock, SystemClock};
use crate::daemon::reload::MappingFile;
use crate::daemon::reload::watched::Watched;
use crate::daemon::run::RunError;
use crate::daemon::tasks::with_causes;
use crate::{config, daemon, telemetry};

/// Runs the daemon. A second signal ends it at once.
pub async fn run(path: &Path) -> anyhow::Result<ExitStatus> {
    let watched = Watched::new(vec![path.to_owned()]);
    let (mut config, settings) = config::load_shown(path)?;
    let screen = Screen::stderr();
    let log = telemetry::init(&config.log, screen.clone())?;
    for warning in &config.warnings {
        tracing::warn!(key = %warning.key, code = warning.code, "{}", warning.message);
    }
    let stop = CancellationToken::new();
    let hangup = Arc::new(Notify::new());
    watch_stop(stop.clone()).context("signals can't be watched")?;
    watch_hangup(&hangup, stop.clone()).context("signals can't be watched")?;
    let mut file = MappingFile {
        path: path.to_owned(),
        settings,
        log: Box::new(move |settings| log.setting(settings).map_err(|error| error.to_string())),
        hangup,
        watched,
    };
    let clock: Arc<dyn Clock> = SystemClock::new();
    let engine = match daemon::run::opening::open(&mut config, &mut file, &clock, &stop).await {
        Ok(Some(engine)) => engine,
        Ok(None) => return Ok(ExitStatus::Done),
        Err(error) => return Ok(report(&error.into())),
    };
    let shown = tokio::spawn(backfills::show(
        engine.store().clone(),
        Arc::clone(engine.clock()),
        screen,
        config.log.format.into(),
    ));
    let ended = daemon::run::run_engine(&config, engine, stop, Some(file)).await;
    shown.abort();
    match ended {
        Ok(()) => Ok(ExitStatus::Done),
        Err(error) => Ok(report(&error)),
    }
}

fn report(error: &RunError) -> ExitStatus {
    tracing::error!(
        hint = error.hint(),
        code = error.code(),
        "{}",
        with_causes(error)
    );
    if error.is_configuration() {
        ExitStatus::Config
    } else {
        ExitStatus::Failed
    }
}

/// What a command that ends by itself does: SIGHUP stops in order like SIGTERM and SIGINT, since the terminal is gone. Where
/// somebody had it ignored (`nohup`) it stays so.
pub(crate) fn watch_signals(stop: CancellationToken) -> std::io::Result<()> {
    if !is_hangup_ignored() {
        let (mut hangup, stop) = (signal(SignalKind::hangup())?, stop.clone());
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    watch_stop(stop)
}

/// SIGHUP has the mapping file read again, but for a terminal that has gone away: that stops in order.
fn watch_hangup(again: &Arc<Notify>, stop: CancellationToken) -> std::io::Result<()> {
    if is_hangup_ignored() {
        return Ok(());
    }
    let is_there = || File::open("/dev/tty").is_ok();
    let had_terminal = is_there();
    let (mut hangup, again) = (signal(SignalKind::hangup())?, Arc::clone(again));
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if had_terminal && !is_there() {
                stop.cancel();
            } else {
                again.notify_one();
            }
        }
    });
    Ok(())
}

/// The first SIGTERM or SIGINT stops in order, the second at once.
fn watch_stop(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                // kill -9 needs no repair, and nor does this.
                std::process::abort();
            }
            asked = true;
            stop.cancel();
        }
    });
    Ok(())
}

/// Whether whoever started the process had SIGHUP ignored.
fn is_hangup_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// `SigIgn` is a mask in hexadecimal; its lowest bit is signal 1, SIGHUP.
fn ignores_hangup(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohups_wish_is_read_from_the_mask_of_ignored_signals() {
        assert!(ignores_hangup(
            "Name:\thubsyncd\nSigIgn:\t0000000000001001\n"
        ));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup("Name:\thubsyncd\n"));
    }
}
