//! The demo's daemon, in this process: it is stopped and started again, as a person would do it with `hubsyncd run`.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::run::RunError;
use crate::daemon::{build, run};
use crate::engine::Engine;

/// A daemon that runs, or is stopped.
pub(super) struct DemoDaemon {
    config: Config,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    running: Option<Running>,
}

struct Running {
    task: JoinHandle<Result<(), RunError>>,
    stop: CancellationToken,
}

impl DemoDaemon {
    /// Starts it for the first time.
    pub(super) async fn begin(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let engine = build::build(config, Arc::clone(clock)).await?;
        Ok(Self {
            running: Some(running(config, &engine)),
            config: config.clone(),
            clock: Arc::clone(clock),
            engine,
        })
    }

    /// The engine of the last start.
    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Starts it again.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.engine = build::build(&self.config, Arc::clone(&self.clock)).await?;
        self.running = Some(running(&self.config, &self.engine));
        Ok(())
    }

    /// Stops it, and says how it ended; a stopped one stays so.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        running.stop.cancel();
        let ended = (&mut running.task).await;
        self.running = None;
        // Its lock on the database goes with the writer, for which no handle is waited.
        self.engine.store().clone().close();
        ended.context("the daemon's task was lost")??;
        Ok(())
    }
}

fn running(config: &Config, engine: &Arc<Engine>) -> Running {
    let stop = CancellationToken::new();
    let (config, engine, stopped) = (config.clone(), Arc::clone(engine), stop.clone());
    Running {
        task: tokio::spawn(async move { run::run_engine(&config, engine, stopped, None).await }),
        stop,
    }
}
