//! A start whose database can't be had yet: the disk is full or can only be read, another program keeps the file locked. To wait for
//! that is a state and no failed start, as it is in a daemon that runs: whoever asks is told, and it is tried again every few seconds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::daemon::build::{StartError, build};
use crate::daemon::listeners::bound;
use crate::daemon::reload::MappingFile;
use crate::daemon::status_line::StatusLine;
use crate::daemon::systemd::Systemd;
use crate::daemon::tasks::with_causes;
use crate::engine::Engine;
use crate::http::health::Health;
use crate::http::listener;
use crate::model::entry::with_code;
use crate::store::DISK_TROUBLE;

/// Between two tries: as a running daemon's first ones, and less than its longest.
const BETWEEN_TRIES: Duration = Duration::from_secs(5);

/// Opens the database of a mapping file and joins it with its portal, as often as it takes: each try goes by the file as it is then, which
/// may name another database. `None`: the stop was asked for before.
///
/// # Errors
/// What does not pass by itself.
pub(crate) async fn open(
    config: &mut Config,
    file: &mut MappingFile,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Option<Arc<Engine>>, StartError> {
    let mut opening = Opening::default();
    let opened = loop {
        let error = match build(config, Arc::clone(clock)).await {
            Ok(engine) => break Ok(Some(engine)),
            Err(error) if error.passes() || opening.is_of_file(&error) => error,
            Err(error) => break Err(error),
        };
        opening.tell(&error, config).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                tracing::info!("stopped before the database could be opened");
                break Ok(None);
            }
            () = file.hangup.notified() => {}
            () = clock.sleep(BETWEEN_TRIES) => {}
            () = opening.stays_alive(clock) => {}
        }
        read_again(config, file);
    };
    opening.close().await;
    opened
}

/// A file with mistakes is told of once it is followed.
fn read_again(config: &mut Config, file: &mut MappingFile) {
    let Ok((read, settings)) = config::load_shown(&file.path) else {
        return;
    };
    if let Ok(put_in_force) = (file.log)(&read.log) {
        put_in_force();
    }
    (*config, file.settings) = (read, settings);
}

/// A start that waits, and what is told of it.
struct Opening {
    systemd: Systemd,
    line: StatusLine,
    told: watch::Sender<Health>,
    /// What the log has said.
    logged: Option<String>,
    served: Option<ServedHealth>,
}

/// Health where nothing else is served yet.
struct ServedHealth {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            systemd: Systemd::from_env(),
            line: StatusLine::default(),
            told: watch::Sender::new(Health::starting()),
            logged: None,
            served: None,
        }
    }
}

impl Opening {
    /// Whether a start that waits already meets a mistake of the mapping file or a secret that went since: neither takes down a
    /// daemon that runs.
    fn is_of_file(&self, error: &StartError) -> bool {
        self.logged.is_some() && matches!(error, StartError::Client(_))
    }

    /// Feeds the watchdog, without end.
    async fn stays_alive(&self, clock: &Arc<dyn Clock>) {
        let Some(interval) = self.systemd.watchdog_interval() else {
            return std::future::pending().await;
        };
        loop {
            self.systemd.alive();
            clock.sleep(interval).await;
        }
    }

    /// Says why a try failed.
    async fn tell(&mut self, error: &StartError, config: &Config) {
        let (sentence, code) = (with_causes(error), error.code());
        let state = match code.is_some_and(|code| DISK_TROUBLE.contains(&code)) {
            true => "degraded",
            false => "starting",
        };
        let health = Health::not_ready(state, with_code(&sentence, code));
        self.line.tell_reason(&self.systemd, &health);
        self.told.send_replace(health);
        self.serve(config).await;
        if self.logged.as_ref() == Some(&sentence) {
            return;
        }
        tracing::warn!(error = %sentence, hint = error.hint(), code, "the database can't be had, and is tried again every few seconds");
        if self.logged.replace(sentence).is_none() {
            // Else systemd would end it after `TimeoutStartSec=`.
            self.systemd.ready();
        }
    }

    /// Has health served where the file says so.
    async fn serve(&mut self, config: &Config) {
        let wanted = config.http.as_ref().map(|http| http.listen);
        if self.served.as_ref().map(|served| served.address) == wanted {
            return;
        }
        self.close().await;
        let Some(address) = wanted else { return };
        match bound(address).await {
            Ok(listener) => {
                let stop = CancellationToken::new();
                let (told, ends) = (self.told.subscribe(), stop.clone());
                let served = listener::serve_without_database(listener, told, ends);
                self.served = Some(ServedHealth {
                    address,
                    stop,
                    served: tokio::spawn(served),
                });
            }
            // The start itself meets it.
            Err(error) => {
                tracing::debug!(address = %address, error = %with_causes(&error), code = error.code(), "health can't be served");
            }
        }
    }

    /// Gives the address free: the database is open, or the process ends.
    async fn close(&mut self) {
        if let Some(ServedHealth { stop, served, .. }) = self.served.take() {
            stop.cancel();
            // That it was cut off is as good.
            drop(served.await);
        }
    }
}
