//! `[webhooks]`: binds the listener, checks each delivery's signature, stores it, answers.

use std::io;
use std::net::{SocketAddr, TcpListener as Socket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;

use crate::app::client::ClientError;
use crate::config::{ConfigError, SecretSource, TlsFiles, Webhooks};
use crate::daemon::bells::Ring;
use crate::daemon::run::RunError;
use crate::daemon::seldom::Seldom;
use crate::daemon::systemd;
use crate::daemon::tasks::{is_fatal, with_causes};
use crate::engine::source::receive::{Receipt, receive};
use crate::engine::{Engine, StepError};
use crate::http::listener::{CallerBounds, serve_router};
use crate::http::tls::Tls;
use crate::http::webhooks::{DeliveryAnswer, PostedDelivery, Receive, router};
use crate::hubspot::webhook::{self, NotEvents};
use crate::model::event::Event;
use crate::model::settings::SignatureVersion;
use crate::store::measured::working;

/// How long a head or a handshake may take, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(5);

/// How long deliveries that are being stored may take after the stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How long storing may take. HubSpot gives up after 5 seconds (`hubspot/api-facts.md#10`); what is stored later all the
/// same is known when it comes again.
const STORE: Duration = Duration::from_secs(4);

/// A body up to so many bytes is read where it arrives: that takes less than a millisecond. HubSpot's hundred events have
/// about 30 KiB.
const READ_AT_ONCE: usize = 64 << 10;

/// The listener at work.
pub(super) struct Listening {
    task: JoinHandle<()>,
    stop: CancellationToken,
    /// Closed once nothing new is taken.
    door: Option<WebhookSocket>,
    /// What it takes deliveries by.
    by: DeliveryDesk,
}

impl Listening {
    /// Takes nothing new from here on.
    pub(super) fn shut(&mut self) {
        self.door = None;
        self.stop.cancel();
    }

    /// Takes nothing new, and waits until the deliveries under way are answered.
    pub(super) async fn ended(mut self) {
        self.shut();
        let Self { task, .. } = self;
        if let Err(error) = task.await {
            tracing::error!(%error, "the webhook listener failed");
        }
    }

    /// The same, and what opens it again.
    pub(super) async fn closed(self) -> DeliveryDesk {
        let by = self.by.clone();
        self.ended().await;
        by
    }

    /// The address that it listens on, where it opened that itself.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let door = self.door.as_ref()?;
        (!door.is_handed_over).then_some(door.address)
    }

    /// A certificate that is read again when its files change.
    pub(super) fn tls(&self) -> Option<&Arc<Tls>> {
        self.by.tls.as_ref()
    }
}

/// The socket on which deliveries arrive: whoever answers them can be exchanged without a caller noticing.
#[derive(Debug)]
pub(super) struct WebhookSocket {
    socket: Socket,
    address: SocketAddr,
    is_handed_over: bool,
}

impl WebhookSocket {
    /// A socket on `[webhooks].listen`.
    fn bind(listen: SocketAddr) -> io::Result<Self> {
        Self::new(Socket::bind(listen)?, listen, false)
    }

    fn new(socket: Socket, address: SocketAddr, is_handed_over: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            is_handed_over,
        })
    }

    /// The same socket, where it is the one that `listen` asks for.
    fn again(&self, listen: SocketAddr) -> Option<io::Result<Self>> {
        let Self {
            socket,
            address,
            is_handed_over,
        } = self;
        let is_meant = *is_handed_over || *address == listen;
        is_meant.then(|| {
            Ok(Self {
                socket: socket.try_clone()?,
                address: *address,
                is_handed_over: *is_handed_over,
            })
        })
    }
}

/// What deliveries are taken by: the section, and what its files hold.
#[derive(Clone)]
pub(super) struct DeliveryDesk {
    webhooks: Webhooks,
    secrets: Vec<SecretString>,
    tls: Option<Arc<Tls>>,
}

/// A door that is open, and what takes deliveries there once it does.
pub(super) struct Opened {
    door: WebhookSocket,
    listener: TcpListener,
    by: DeliveryDesk,
}

/// Reads what `[webhooks]` names: secrets and certificate.
pub(super) fn read(webhooks: &Webhooks) -> Result<DeliveryDesk, RunError> {
    let secrets = webhooks
        .client_secrets
        .iter()
        .map(SecretSource::resolve)
        .collect::<Result<Vec<_>, ConfigError>>()
        .map_err(|error| RunError::Start(ClientError::from(error).into()))?;
    let tls = webhooks
        .tls
        .as_ref()
        .map(|TlsFiles { cert, key }| Tls::load(cert, key).map(Arc::new))
        .transpose()?;
    Ok(DeliveryDesk {
        webhooks: webhooks.clone(),
        secrets,
        tls,
    })
}

/// The socket that systemd handed over for deliveries, the first time it is asked for. systemd goes on listening there, so nobody can
/// open another in its place: it is kept for as long as the process lives.
pub(super) fn handed_over(by: &DeliveryDesk) -> Result<Option<WebhookSocket>, RunError> {
    let address = by.webhooks.listen;
    let handed = systemd::handed_over().and_then(|handed| {
        let handed = handed.map(|socket| WebhookSocket::new(socket, address, true));
        handed.transpose()
    });
    handed.map_err(|source| unheard(address, source))
}

fn unheard(address: SocketAddr, source: io::Error) -> RunError {
    RunError::Listen {
        section: "webhooks",
        address,
        source,
    }
}

/// Opens the socket for it, which may be the one that is open already, or the one that systemd handed over.
pub(super) fn open(
    by: DeliveryDesk,
    former: Option<&Listening>,
    handed_over: Option<&WebhookSocket>,
) -> Result<Opened, RunError> {
    let address = by.webhooks.listen;
    let open = former.and_then(|former| former.door.as_ref());
    let same = open.or(handed_over).and_then(|door| door.again(address));
    let opened = || -> io::Result<(WebhookSocket, TcpListener)> {
        let door = same.unwrap_or_else(|| WebhookSocket::bind(address))?;
        let listener = door.socket.try_clone().and_then(TcpListener::from_std)?;
        Ok((door, listener))
    };
    let (door, listener) = opened().map_err(|source| unheard(address, source))?;
    Ok(Opened { door, listener, by })
}

/// Takes deliveries; `ring` is rung for each that was stored.
pub(super) fn serve(
    opened: Opened,
    engine: &Arc<Engine>,
    ring: Arc<Ring>,
    stop: CancellationToken,
) -> Listening {
    let Opened { door, listener, by } = opened;
    let DeliveryDesk {
        webhooks,
        secrets,
        tls,
    } = by.clone();
    let address = door.address;
    if webhooks.signature != SignatureVersion::V3 {
        tracing::warn!(
            signature = webhooks.signature.as_str(),
            "old signatures carry no time: whoever has seen a delivery can send it again; v3 comes with every delivery"
        );
    }
    let address = listener.local_addr().unwrap_or(address);
    engine.deliveries().open(engine.clock().now());
    tracing::info!(address = %address, path = webhooks.path, tls = tls.is_some(), "webhooks are taken");
    let desk = Arc::new(Desk {
        engine: Arc::clone(engine),
        secrets,
        signature: webhooks.signature,
        url: Url::new(&webhooks.public_url),
        ring,
        refused: Seldom::default(),
        turned_away: Seldom::default(),
    });
    let receive: Receive = Arc::new(move |delivery| {
        let desk = Arc::clone(&desk);
        async move {
            let answer = desk.take(delivery).await;
            desk.engine.store().measured().delivered(answer.as_str());
            answer
        }
        .boxed()
    });
    let bounds = CallerBounds {
        connections: webhooks.max_connections,
        head: HEAD,
        drain: DRAIN,
    };
    let router = router(&webhooks.path, webhooks.max_body, receive);
    Listening {
        task: tokio::spawn(serve_router(listener, router, bounds, tls, stop.clone())),
        stop,
        door: Some(door),
        by,
    }
}

/// The URL that HubSpot calls, without and with its query.
struct Url {
    base: String,
    query: Option<String>,
}

impl Url {
    fn new(public_url: &str) -> Self {
        match public_url.split_once('?') {
            Some((base, query)) => Self {
                base: base.to_owned(),
                query: Some(query.to_owned()),
            },
            None => Self {
                base: public_url.to_owned(),
                query: None,
            },
        }
    }

    /// The URL of a request: the public one with the query that came, since a proxy changes the rest.
    fn of(&self, query: Option<&str>) -> String {
        match query.or(self.query.as_deref()) {
            Some(query) => format!("{}?{query}", self.base),
            None => self.base.clone(),
        }
    }
}

/// Where deliveries are looked at.
struct Desk {
    engine: Arc<Engine>,
    secrets: Vec<SecretString>,
    signature: SignatureVersion,
    url: Url,
    ring: Arc<Ring>,
    /// Whoever sends what is refused must not fill the disk with the log's lines.
    refused: Seldom,
    turned_away: Seldom,
}

/// Reads the events of a verified body; a large one on a thread of its own, so that neither what else the runtime carries nor
/// a stop waits for it.
async fn read_events(body: Bytes) -> Result<Vec<Event>, NotEvents> {
    if body.len() <= READ_AT_ONCE {
        return webhook::parse(&body);
    }
    match tokio::task::spawn_blocking(move || webhook::parse(&body)).await {
        Ok(events) => events,
        // The runtime ends, and nobody is answered any more.
        Err(_) => Err(NotEvents),
    }
}

/// The code of a delivery that no signature of HubSpot's bears out, or that holds no events.
const DELIVERY_REFUSED: &str = "delivery-refused";

impl Desk {
    async fn take(&self, delivery: PostedDelivery) -> DeliveryAnswer {
        let uri = self.url.of(delivery.query.as_deref());
        let signed = webhook::Delivery {
            method: "POST",
            uri: &uri,
            headers: &delivery.headers,
            body: &delivery.body,
        };
        // What HubSpot signs is its own time: this machine's clock may be wrong by hours.
        let now = self.engine.client().hubspot_now();
        if let Err(refusal) = webhook::verify(&self.secrets, self.signature, &signed, now) {
            self.warn(&refusal.to_string());
            return DeliveryAnswer::Unverified;
        }
        let events = match read_events(delivery.body).await {
            Ok(events) => events,
            Err(error) => {
                self.warn(&error.to_string());
                return DeliveryAnswer::NotEvents;
            }
        };
        let stored = working("webhook", receive(&self.engine, events));
        let stored = tokio::time::timeout(STORE, stored).await;
        let answer = self.answer(stored);
        if answer == DeliveryAnswer::Unavailable {
            // What was turned away is not missed: it comes again.
            self.engine.deliveries().open(self.engine.clock().now());
        }
        answer
    }

    fn answer(&self, stored: Result<Result<Receipt, StepError>, Elapsed>) -> DeliveryAnswer {
        match stored {
            Ok(Ok(Receipt::Stored { new, foreign })) => {
                if new > 0 {
                    self.ring.ring();
                }
                if foreign > 0 {
                    tracing::debug!(events = foreign, "events of another portal were dropped");
                }
                DeliveryAnswer::Stored
            }
            Ok(Ok(Receipt::NoPortal)) => {
                if let Some(refused) = self.turned_away.turn(self.now()) {
                    tracing::info!(
                        refused,
                        "a delivery came before the portal was known; HubSpot sends it again"
                    );
                }
                DeliveryAnswer::Unavailable
            }
            Ok(Err(error)) => {
                if let Some(refused) = self.turned_away.turn(self.now()) {
                    tracing::error!(error = %with_causes(&error), fatal = is_fatal(&error), hint = error.hint().as_deref(), code = error.code(), refused, "a delivery could not be stored; HubSpot sends it again");
                }
                DeliveryAnswer::Unavailable
            }
            Err(_) => {
                if let Some(refused) = self.turned_away.turn(self.now()) {
                    tracing::error!(
                        refused,
                        hint = "look for a program that keeps the database busy, and at the disk",
                        code = "busy-database",
                        "storing a delivery took too long; HubSpot sends it again"
                    );
                }
                DeliveryAnswer::Unavailable
            }
        }
    }

    fn now(&self) -> Duration {
        self.engine.clock().monotonic()
    }

    /// Says why a delivery was refused, at most once a minute.
    fn warn(&self, reason: &str) {
        if let Some(refused) = self.refused.turn(self.now()) {
            tracing::warn!(
                reason,
                code = DELIVERY_REFUSED,
                refused,
                "a webhook delivery was refused; if it is HubSpot's, check `client_secret` and `public_url` of `[webhooks]`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_delivery_does_not_hold_the_runtime_up() {
        let small = Bytes::from_static(br#"[{"eventId": 1}]"#);
        let read = read_events(small).now_or_never();
        assert_eq!(read.expect("at once").map(|events| events.len()), Ok(1));
        // One event with one field 80,000 times.
        let body = format!("[{{{}}}]", vec![r#""objectId": 1"#; 80_000].join(","));
        let mut reading = Box::pin(read_events(Bytes::from(body)));
        assert!(
            (&mut reading).now_or_never().is_none(),
            "on a thread of its own"
        );
        assert_eq!(reading.await.map(|events| events.len()), Ok(1));
    }

    #[test]
    fn the_signed_url_is_the_public_one_with_the_query_that_came() {
        let plain = Url::new("https://sync.example.com/hook");
        assert_eq!(plain.of(None), "https://sync.example.com/hook");
        assert_eq!(plain.of(Some("a=b")), "https://sync.example.com/hook?a=b");
        let own = Url::new("https://sync.example.com/hook?token=%2F");
        assert_eq!(own.of(None), "https://sync.example.com/hook?token=%2F");
        assert_eq!(
            own.of(Some("token=%2F")),
            "https://sync.example.com/hook?token=%2F"
        );
    }
}
