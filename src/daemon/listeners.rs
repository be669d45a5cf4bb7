//! What listens: health and webhooks. Both can be exchanged for those of another mapping file while the daemon runs.

use std::net::SocketAddr;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::client::ClientError;
use crate::config::{Config, SecretSource};
use crate::daemon::bells::Ring;
use crate::daemon::build::StartError;
use crate::daemon::metrics;
use crate::daemon::page;
use crate::daemon::run::RunError;
use crate::daemon::tasks::with_causes;
use crate::daemon::webhooks::{self, DeliveryDesk, Listening, Opened, WebhookSocket};
use crate::engine::Engine;
use crate::engine::source::deliveries;
use crate::http::health::Health;
use crate::http::listener::{self, HttpServed};
use crate::http::metrics::Scrape;
use crate::http::tls::{NewCertificate, TlsError};

/// What listens.
pub(super) struct Listeners {
    /// What whoever asks is told.
    told: watch::Receiver<Health>,
    /// What is measured.
    scrape: Option<Scrape>,
    /// The token of `[http]`.
    token: watch::Sender<Option<SecretString>>,
    health: Option<(SocketAddr, JoinHandle<()>)>,
    deliveries: Option<Listening>,
    /// What systemd handed over for deliveries, once it was asked for.
    handed_over: Option<WebhookSocket>,
    /// Whom stored deliveries call.
    taken: (Arc<Engine>, Arc<Ring>),
    /// Ends all of them.
    stop: CancellationToken,
}

/// What another mapping file asks to be listened on, open and not served yet.
pub(super) struct Ready {
    health: Wanted<(SocketAddr, TcpListener)>,
    deliveries: Wanted<Opened>,
    token: Option<SecretString>,
    /// Files of a certificate that stays and holds something else.
    certificate: Option<NewCertificate>,
    closed: Closed,
}

/// What a file wants in the place of what listens.
enum Wanted<T> {
    /// The same.
    Same,
    /// Another, or nothing.
    Other(Option<T>),
}

/// What was closed to make room for what is wanted.
#[derive(Default)]
struct Closed {
    health: Option<SocketAddr>,
    deliveries: Option<DeliveryDesk>,
}

/// Whether a socket on one address keeps another one from being opened.
fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (is_any || one.ip() == other.ip())
}

impl Listeners {
    /// Nothing yet.
    pub(super) fn new(
        told: watch::Receiver<Health>,
        taken: (Arc<Engine>, Arc<Ring>),
        stop: CancellationToken,
    ) -> Self {
        Self {
            told,
            scrape: None,
            token: watch::Sender::new(None),
            health: None,
            deliveries: None,
            handed_over: None,
            taken,
            stop,
        }
    }

    /// Opens what a mapping file asks for and is not open; what listens goes on, unless it stands in the way. `webhooks`: those of
    /// the file are others, or their secrets. What is not exchanged afterwards is to be put back.
    ///
    /// # Errors
    /// An address is taken, a certificate or a secret can't be used: what listened listens.
    pub(super) async fn prepare(
        &mut self,
        config: &Config,
        webhooks: bool,
    ) -> Result<Ready, RunError> {
        let http = config.http.as_ref();
        let token = http.and_then(|http| http.token.as_ref());
        let token = token
            .map(SecretSource::resolve)
            .transpose()
            .map_err(|error| StartError::from(ClientError::from(error)))?;
        let certificate = match (webhooks, &self.deliveries) {
            (false, Some(deliveries)) => self::changed(deliveries)?,
            (true, _) | (_, None) => None,
        };
        let desk = match (&config.webhooks, webhooks) {
            (_, false) => Wanted::Same,
            (None, true) => Wanted::Other(None),
            (Some(webhooks), true) => Wanted::Other(Some(webhooks::read(webhooks)?)),
        };
        let address = self.health.as_ref().map(|(address, _)| *address);
        let health = match http.map(|http| http.listen) {
            wanted if wanted == address => Wanted::Same,
            wanted => Wanted::Other(wanted),
        };
        if matches!(health, Wanted::Other(Some(_))) && self.scrape.is_none() {
            self.scrape = Some(metrics::scrape(&self.taken.0).await?);
        }
        if matches!(desk, Wanted::Other(Some(_))) && self.deliveries.is_none() {
            deliveries::remember(&self.taken.0).await?;
        }
        if let (Wanted::Other(Some(desk)), None) = (&desk, &self.handed_over) {
            self.handed_over = webhooks::handed_over(desk)?;
        }
        let door = config.webhooks.as_ref().map(|webhooks| webhooks.listen);
        let mut closed = self.make_room(&health, door.filter(|_| webhooks)).await;
        let opened = async {
            let health = match health {
                Wanted::Same => Wanted::Same,
                Wanted::Other(None) => Wanted::Other(None),
                Wanted::Other(Some(address)) => {
                    Wanted::Other(Some((address, bound(address).await?)))
                }
            };
            let deliveries = match desk {
                Wanted::Same => Wanted::Same,
                Wanted::Other(None) => Wanted::Other(None),
                Wanted::Other(Some(desk)) => {
                    let (former, handed_over) = (&self.deliveries, &self.handed_over);
                    let opened = webhooks::open(desk, former.as_ref(), handed_over.as_ref())?;
                    Wanted::Other(Some(opened))
                }
            };
            Ok::<_, RunError>((health, deliveries))
        };
        match opened.await {
            Ok((health, deliveries)) => Ok(Ready {
                health,
                deliveries,
                token,
                certificate,
                closed,
            }),
            Err(error) => {
                self.open_again(std::mem::take(&mut closed)).await;
                Err(error)
            }
        }
    }

    /// Closes what listens where something else is to be opened.
    async fn make_room(&mut self, health: &Wanted<SocketAddr>, door: Option<SocketAddr>) -> Closed {
        let of_health = match health {
            Wanted::Other(address) => *address,
            Wanted::Same => None,
        };
        let (own, own_door) = (
            self.health.as_ref().map(|(address, _)| *address),
            self.deliveries.as_ref().and_then(Listening::address),
        );
        let of_door = door.filter(|door| own_door != Some(*door));
        let is_in_the_way = |open: SocketAddr| {
            let mut wanted = of_health.into_iter().chain(of_door);
            wanted.any(|wanted| overlaps(open, wanted))
        };
        let leaves = matches!(health, Wanted::Other(_));
        let mut closed = Closed::default();
        if own.is_some_and(|own| leaves && is_in_the_way(own))
            && let Some((address, served)) = self.health.take()
        {
            ended(served).await;
            closed.health = Some(address);
        }
        if own_door.is_some_and(|own| Some(own) != door && is_in_the_way(own))
            && let Some(listening) = self.deliveries.take()
        {
            closed.deliveries = Some(listening.closed().await);
        }
        closed
    }

    /// Listens again where something was closed for what does not come.
    async fn open_again(&mut self, closed: Closed) {
        if let Some(address) = closed.health {
            match bound(address).await {
                Ok(listener) => self.serve_health(address, listener),
                Err(error) => {
                    tracing::error!(address = %address, error = %with_causes(&error), code = error.code(), "health can't be served as before");
                }
            }
        }
        if let Some(desk) = closed.deliveries {
            match webhooks::open(desk, None, self.handed_over.as_ref()) {
                Ok(opened) => self.take_deliveries(opened),
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), code = error.code(), "webhooks can't be taken as before");
                }
            }
        }
    }

    /// Leaves everything as it was: the file is not in force.
    pub(super) async fn put_back(&mut self, ready: Ready) {
        let Ready { closed, .. } = ready;
        self.open_again(closed).await;
    }

    fn serve_health(&mut self, address: SocketAddr, listener: TcpListener) {
        let scrape = self.scrape.as_ref();
        let served = HttpServed {
            health: self.told.clone(),
            scrape: Arc::clone(scrape.expect("made before a listener is opened")),
            report: page::status_report(&self.taken.0, self.told.clone()),
            token: self.token.subscribe(),
        };
        tracing::info!(address = %address, "health is served");
        let served = listener::serve(listener, served, self.stop.clone());
        self.health = Some((address, tokio::spawn(served)));
    }

    fn take_deliveries(&mut self, opened: Opened) {
        let (engine, ring) = &self.taken;
        let stop = self.stop.child_token();
        self.deliveries = Some(webhooks::serve(opened, engine, Arc::clone(ring), stop));
    }

    /// Serves what is ready in place of what was. Tells whether whatever takes deliveries is another.
    pub(super) async fn exchange(&mut self, ready: Ready) -> bool {
        self.token.send_replace(ready.token);
        if let Some(certificate) = ready.certificate
            && let Some(tls) = self.deliveries.as_ref().and_then(Listening::tls)
        {
            tls.exchange(certificate);
            tracing::info!("the certificate's files changed; new connections use them");
        }
        if let Wanted::Other(health) = ready.health {
            let former = self.health.take();
            if let Some((address, listener)) = health {
                self.serve_health(address, listener);
            }
            if let Some((_, former)) = former {
                former.abort();
            }
        }
        let Wanted::Other(opened) = ready.deliveries else {
            return false;
        };
        let former = self.deliveries.take();
        if let Some(opened) = opened {
            self.take_deliveries(opened);
        }
        // Beside the new one, which takes what comes meanwhile.
        if let Some(former) = former {
            former.ended().await;
        }
        true
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

/// What the files of a certificate hold by now, where it is another.
fn changed(deliveries: &Listening) -> Result<Option<NewCertificate>, TlsError> {
    deliveries.tls().map_or(Ok(None), |tls| tls.changed())
}

/// Ends a listener; its socket is closed then.
async fn ended(served: JoinHandle<()>) {
    served.abort();
    // That it was cut off is what was wanted.
    drop(served.await);
}

pub(super) async fn bound(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen {
            section: "http",
            address,
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_networks_overlaps_with_each_of_its_port() {
        let check = |one: &str, other: &str, expected: bool| {
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(
                overlaps(parse(one), parse(other)),
                expected,
                "{one} {other}"
            );
            assert_eq!(
                overlaps(parse(other), parse(one)),
                expected,
                "{other} {one}"
            );
        };
        check("127.0.0.1:80", "0.0.0.0:80", true);
        check("127.0.0.1:80", "[::]:80", true);
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("127.0.0.1:80", "0.0.0.0:81", false);
        check("127.0.0.1:0", "0.0.0.0:0", false);
    }
}
