//! What listens: health and webhooks. Both can be exchanged for those of another mapping file while the daemon runs.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Webhooks};
use crate::daemon::bells::Ring;
use crate::daemon::metrics;
use crate::daemon::run::RunError;
use crate::daemon::webhooks::{self, Listening, Opened};
use crate::engine::Engine;
use crate::engine::source::deliveries;
use crate::http::health::Health;
use crate::http::metrics::Scrape;
use crate::http::tls::Tls;

/// What listens.
pub(super) struct Listeners {
    /// What whoever asks is told.
    told: watch::Receiver<Health>,
    /// What is measured.
    scrape: Option<Scrape>,
    health: Option<(SocketAddr, JoinHandle<()>)>,
    deliveries: Option<Listening>,
    /// Ends all of them.
    stop: CancellationToken,
}

/// What another mapping file asks to be listened on, open and not served yet.
pub(super) struct Ready {
    health: Wanted<(SocketAddr, TcpListener)>,
    deliveries: Wanted<Opened>,
}

/// What a file wants in the place of what listens.
enum Wanted<T> {
    /// The same.
    Same,
    /// Another, or nothing.
    Other(Option<T>),
}

impl Listeners {
    /// Nothing yet.
    pub(super) fn new(told: watch::Receiver<Health>, stop: CancellationToken) -> Self {
        Self {
            told,
            scrape: None,
            health: None,
            deliveries: None,
            stop,
        }
    }

    /// Opens what a mapping file asks for and is not open; what listens goes on. `webhooks`: those of the file are others, or
    /// their secrets.
    ///
    /// # Errors
    /// An address is taken, a certificate or a secret can't be used.
    pub(super) async fn prepare(&self, config: &Config, webhooks: bool) -> Result<Ready, RunError> {
        let address = self.health.as_ref().map(|(address, _)| *address);
        let health = match config.http {
            wanted if wanted == address => Wanted::Same,
            None => Wanted::Other(None),
            Some(address) => Wanted::Other(Some((address, bound(address).await?))),
        };
        let deliveries = match (&config.webhooks, webhooks) {
            (_, false) => Wanted::Same,
            (None, true) => Wanted::Other(None),
            (Some(webhooks), true) => {
                let opened = webhooks::open(webhooks, self.deliveries.as_ref())?;
                Wanted::Other(Some(opened))
            }
        };
        Ok(Ready { health, deliveries })
    }

    /// Serves what is ready in place of what was. Tells whether whatever takes deliveries is another.
    ///
    /// # Errors
    /// The socket can't be used, or the database refused.
    pub(super) async fn exchange(
        &mut self,
        ready: Ready,
        webhooks: Option<&Webhooks>,
        (engine, ring): (&Arc<Engine>, &Arc<Ring>),
    ) -> Result<bool, RunError> {
        if let Wanted::Other(health) = ready.health {
            let former = self.health.take();
            if let Some((address, listener)) = health {
                let scrape = match &self.scrape {
                    Some(scrape) => Arc::clone(scrape),
                    None => metrics::scrape(engine).await.map_err(RunError::Step)?,
                };
                self.scrape = Some(Arc::clone(&scrape));
                tracing::info!(address = %address, "health is served");
                let (told, stop) = (self.told.clone(), self.stop.clone());
                let served = crate::http::listener::serve(listener, told, scrape, stop);
                self.health = Some((address, tokio::spawn(served)));
            }
            if let Some((_, former)) = former {
                former.abort();
            }
        }
        let Wanted::Other(opened) = ready.deliveries else {
            return Ok(false);
        };
        let former = self.deliveries.take();
        if let (Some(webhooks), Some(opened)) = (webhooks, opened) {
            if former.is_none() {
                deliveries::remember(engine).await.map_err(RunError::Step)?;
            }
            let (ring, stop) = (Arc::clone(ring), self.stop.child_token());
            let serving = webhooks::serve(webhooks, opened, engine, ring, stop)?;
            self.deliveries = Some(serving);
        }
        // Beside the new one, which takes what comes meanwhile.
        if let Some(former) = former {
            former.ended().await;
        }
        Ok(true)
    }

    /// A certificate that is read again when its files change.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.deliveries.as_ref()?.tls.clone()
    }

    /// Takes no delivery from here on.
    pub(super) fn shut(&mut self) {
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.shut();
        }
    }

    /// Waits until the deliveries under way are answered. The stop was asked for.
    pub(super) async fn ended(self) {
        if let Some((_, health)) = self.health {
            health.abort();
        }
        if let Some(deliveries) = self.deliveries {
            deliveries.ended().await;
        }
    }
}

async fn bound(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen {
            section: "http",
            address,
            source,
        })
}
