//! Serves a router over HTTP/1.1 with everything bounded: connections, the time to send a request, its size, the time to
//! stop. It knows no path.
//!
//! Where all places are taken, the oldest connection whose request is not being worked on makes room: idle or half-open
//! senders can't keep others out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::http::bearer::{AskedToken, guarded};
use crate::http::health::{self, Health};
use crate::http::metrics::{self, Scrape};
use crate::http::page::{self, StatusReport};
use crate::http::tls::Tls;

/// A request's head; probes send a few hundred bytes. hyper's least.
const MOST_HEAD_BYTES: usize = 8 * 1024;

/// How long to wait after the system gave no connection (it has no descriptors left, for example).
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// What a caller may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerBounds {
    /// Connections at the same time; others wait in the system's queue.
    pub connections: usize,
    /// How long a request's head may take, and how long an idle connection is kept.
    pub head: Duration,
    /// How long answers that are being written may take after the stop.
    pub drain: Duration,
}

/// For health: a few probes and a person.
const FOR_HEALTH: CallerBounds = CallerBounds {
    connections: 16,
    head: Duration::from_secs(10),
    drain: Duration::from_secs(2),
};

/// What is served on `[http].listen`.
#[derive(Clone)]
pub(crate) struct HttpServed {
    /// To everybody.
    pub(crate) health: watch::Receiver<Health>,
    /// To whoever shows the token.
    pub(crate) scrape: Scrape,
    /// To the same.
    pub(crate) report: StatusReport,
    /// Which one that is.
    pub(crate) token: AskedToken,
}

/// Serves health, readiness, what is measured and the page until the stop.
pub(crate) async fn serve(listener: TcpListener, served: HttpServed, stop: CancellationToken) {
    let HttpServed {
        health,
        scrape,
        report,
        token,
    } = served;
    let guarded_paths = metrics::router(scrape).merge(page::router(report));
    let router = health::router(health).merge(guarded(guarded_paths, token));
    serve_router(listener, router, FOR_HEALTH, None, stop).await;
}

/// Serves health and readiness alone until the stop: there is no database yet for anything else.
pub(crate) async fn serve_without_database(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    stop: CancellationToken,
) {
    serve_router(
        listener,
        health::router_alone(health),
        FOR_HEALTH,
        None,
        stop,
    )
    .await;
}

/// A connection whose request is being worked on; handlers find it among a request's extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Occupied(Arc<AtomicUsize>);

impl Occupied {
    /// Keeps the connection from being cut to make room for another, until the result is dropped.
    #[must_use]
    pub(crate) fn hold(&self) -> HeldPlace {
        self.0.fetch_add(1, Ordering::SeqCst);
        HeldPlace(Arc::clone(&self.0))
    }

    fn is_held(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

/// See [`Occupied::hold`].
#[derive(Debug)]
pub(crate) struct HeldPlace(Arc<AtomicUsize>);

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An open connection, as the listener sees it.
struct Open {
    occupied: Occupied,
    cut: CancellationToken,
    /// Gone once the connection is.
    alive: std::sync::Weak<()>,
}

/// Cuts the oldest connection that nothing is being done for.
fn make_room(open: &mut VecDeque<Open>) {
    open.retain(|connection| connection.alive.strong_count() > 0);
    let idle =
        |connection: &&Open| !connection.occupied.is_held() && !connection.cut.is_cancelled();
    if let Some(oldest) = open.iter().find(idle) {
        oldest.cut.cancel();
    }
}

/// Serves a router until the stop, over TLS where that is given; then lets answers that are being written end.
pub async fn serve_router(
    listener: TcpListener,
    router: Router,
    bounds: CallerBounds,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        if free.available_permits() == 0 {
            make_room(&mut open);
        }
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&free).acquire_owned() => permit,
        };
        let (occupied, cut, alive) = (Occupied::default(), CancellationToken::new(), Arc::new(()));
        open.retain(|connection| connection.alive.strong_count() > 0);
        open.push_back(Open {
            occupied: occupied.clone(),
            cut: cut.clone(),
            alive: Arc::downgrade(&alive),
        });
        let router = router.clone().layer(axum::Extension(occupied));
        let (tls, stop) = (tls.clone(), stop.clone());
        connections.spawn(async move {
            let _taken = (permit, alive);
            tokio::select! {
                () = serve_stream(stream, router, bounds.head, tls, stop) => {}
                () = cut.cancelled() => tracing::debug!("an idle connection made room for another"),
            }
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.drain, ended).await.is_err() {
        connections.abort_all();
    }
}

async fn serve_stream(
    stream: TcpStream,
    router: Router,
    head: Duration,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) {
    // Answers are one small packet each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "TCP_NODELAY was refused");
    }
    let Some(tls) = tls else {
        return serve_connection(stream, router, head, stop).await;
    };
    let acceptor = TlsAcceptor::from(tls.config());
    match tokio::time::timeout(head, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(stream, router, head, stop).await,
        Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve_connection<S>(stream: S, router: Router, head: Duration, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Longer than any answer takes, shorter than a test's patience.
    const SOON: Duration = Duration::from_secs(20);

    struct Served {
        address: SocketAddr,
        health: watch::Sender<Health>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn served() -> Served {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (health, seen) = watch::channel(Health::starting());
        let stop = CancellationToken::new();
        let (_token, token) = watch::channel(None);
        let served = HttpServed {
            health: seen,
            scrape: Arc::new(|| Box::pin(async { Vec::new() })),
            report: Arc::new(|| Box::pin(async { "{}".to_owned() })),
            token,
        };
        let task = tokio::spawn(serve(listener, served, stop.clone()));
        Served {
            address,
            health,
            stop,
            task,
        }
    }

    async fn send(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        tokio::time::timeout(SOON, read)
            .await
            .expect("soon")
            .expect("text");
        text
    }

    async fn get(address: SocketAddr, path: &str) -> (String, String) {
        let text = send(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        )
        .await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        (status, body.to_owned())
    }

    fn pair(status: &str, body: &str) -> (String, String) {
        (status.to_owned(), body.to_owned())
    }

    #[test]
    fn room_is_made_by_the_oldest_connection_that_nothing_is_being_done_for() {
        let alive = Arc::new(());
        let mut open: VecDeque<Open> = (0..3)
            .map(|_| Open {
                occupied: Occupied::default(),
                cut: CancellationToken::new(),
                alive: Arc::downgrade(&alive),
            })
            .collect();
        let held = open[0].occupied.hold();
        let cut = |open: &VecDeque<Open>| -> Vec<bool> {
            open.iter()
                .map(|connection| connection.cut.is_cancelled())
                .collect()
        };
        make_room(&mut open);
        assert_eq!(cut(&open), [false, true, false]);
        make_room(&mut open);
        assert_eq!(cut(&open), [false, true, true]);
        make_room(&mut open);
        assert_eq!(cut(&open), [false, true, true]);
        drop(held);
        make_room(&mut open);
        assert_eq!(cut(&open), [true, true, true]);
    }

    #[tokio::test]
    async fn it_lives_from_the_first_moment_and_is_ready_when_the_daemon_says_so() {
        let served = served().await;
        assert_eq!(get(served.address, "/healthz").await, pair("200", "ok\n"));
        let starting =
            r#"{"reason":"the portal's schema has not been read yet","state":"starting"}"#;
        assert_eq!(get(served.address, "/readyz").await, pair("503", starting));
        served
            .health
            .send_replace(Health::ready("running".to_owned(), None));
        assert_eq!(
            get(served.address, "/readyz").await,
            pair("200", r#"{"reason":null,"state":"running"}"#)
        );
        served.health.send_replace(Health::not_ready(
            "unauthorized",
            "HubSpot refuses the token".to_owned(),
        ));
        let refused = r#"{"reason":"HubSpot refuses the token","state":"unauthorized"}"#;
        assert_eq!(get(served.address, "/readyz").await, pair("503", refused));
        drop(served.health);
        assert_eq!(get(served.address, "/readyz").await.0, "503");
    }

    #[tokio::test]
    async fn other_paths_are_not_found_and_other_methods_not_allowed() {
        let served = served().await;
        for path in ["/index.html", "/metric", "/healthz/x"] {
            assert_eq!(get(served.address, path).await.0, "404", "{path}");
        }
        let text = send(
            served.address,
            "POST /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let served = served().await;
        let filling = "a".repeat(2 * MOST_HEAD_BYTES);
        let mut stream = TcpStream::connect(served.address).await.expect("connects");
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Filling: {filling}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut first = [0_u8; 12];
        tokio::time::timeout(SOON, stream.read_exact(&mut first))
            .await
            .expect("soon")
            .expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 431");
    }

    #[tokio::test]
    async fn an_idle_connection_makes_room_for_one_more_than_allowed() {
        let served = served().await;
        let mut idle = Vec::new();
        for _ in 0..FOR_HEALTH.connections {
            let mut stream = TcpStream::connect(served.address).await.expect("connects");
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .expect("sent");
            let mut first = [0_u8; 12];
            stream.read_exact(&mut first).await.expect("an answer");
            idle.push(stream);
        }
        let served_at_once = tokio::time::timeout(SOON, get(served.address, "/healthz"))
            .await
            .expect("soon");
        assert_eq!(served_at_once.0, "200");
        let mut oldest = idle.swap_remove(0);
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SOON, oldest.read_to_end(&mut rest)).await;
        drop(read.expect("the oldest is cut"));
        let youngest = idle.last_mut().expect("others");
        youngest
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("still open");
        let mut first = [0_u8; 12];
        youngest.read_exact(&mut first).await.expect("an answer");
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_off() {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (_health, seen) = watch::channel(Health::starting());
        let bounds = CallerBounds {
            head: Duration::from_millis(50),
            ..FOR_HEALTH
        };
        let served = serve_router(
            listener,
            health::router(seen),
            bounds,
            None,
            CancellationToken::new(),
        );
        let served = tokio::spawn(served);
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\n")
            .await
            .expect("sent");
        let mut text = Vec::new();
        let read = stream.read_to_end(&mut text);
        tokio::time::timeout(SOON, read)
            .await
            .expect("soon")
            .expect("closed by the other side");
        assert!(!text.starts_with(b"HTTP/1.1 200"));
        served.abort();
    }

    #[tokio::test]
    async fn it_stops_when_told_and_closes_idle_connections() {
        let served = served().await;
        let mut stream = TcpStream::connect(served.address).await.expect("connects");
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("sent");
        let mut first = [0_u8; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        served.stop.cancel();
        tokio::time::timeout(SOON, served.task)
            .await
            .expect("soon")
            .expect("no panic");
        assert!(
            TcpStream::connect(served.address).await.is_err(),
            "still listening"
        );
    }
}
