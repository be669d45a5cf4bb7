//! Serves a router over HTTP/1.1 with everything bounded: connections, the time to send a request, its size, the time to
//! stop. It knows no path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::health::{self, Health};

/// A request's head; probes send a few hundred bytes. hyper's least.
const MOST_HEAD_BYTES: usize = 8 * 1024;

/// How long to wait after the system gave no connection (it has no descriptors left, for example).
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// What a caller may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at the same time; others wait in the system's queue.
    pub connections: usize,
    /// How long a request's head may take, and how long an idle connection is kept.
    pub head: Duration,
    /// How long answers that are being written may take after the stop.
    pub drain: Duration,
}

/// For health: a few probes and a person.
const FOR_HEALTH: Bounds = Bounds {
    connections: 16,
    head: Duration::from_secs(10),
    drain: Duration::from_secs(2),
};

/// Serves health and readiness until the stop.
pub async fn serve(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    stop: CancellationToken,
) {
    serve_router(listener, health::router(health), FOR_HEALTH, stop).await;
}

/// Serves a router until the stop; then lets answers that are being written end.
pub async fn serve_router(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        let work = serve_connection(stream, router.clone(), bounds.head, stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            work.await;
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.drain, ended).await.is_err() {
        connections.abort_all();
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    head: Duration,
    stop: CancellationToken,
) {
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
        let task = tokio::spawn(serve(listener, seen, stop.clone()));
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
            &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        (status, body.to_owned())
    }

    fn pair(status: &str, body: &str) -> (String, String) {
        (status.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn it_lives_from_the_first_moment_and_is_ready_when_the_daemon_says_so() {
        let served = served().await;
        assert_eq!(get(served.address, "/healthz").await, pair("200", "ok\n"));
        let starting =
            r#"{"reason":"the portal's schema has not been read yet","state":"starting"}"#;
        assert_eq!(get(served.address, "/readyz").await, pair("503", starting));
        served.health.send_replace(Health::of(Ok(())));
        assert_eq!(
            get(served.address, "/readyz").await,
            pair("200", r#"{"reason":null,"state":"running"}"#)
        );
        served.health.send_replace(Health::of(Err((
            "unauthorized",
            "HubSpot refuses the token".to_owned(),
        ))));
        let refused = r#"{"reason":"HubSpot refuses the token","state":"unauthorized"}"#;
        assert_eq!(get(served.address, "/readyz").await, pair("503", refused));
        drop(served.health);
        assert_eq!(get(served.address, "/readyz").await.0, "503");
    }

    #[tokio::test]
    async fn other_paths_are_not_found_and_other_methods_not_allowed() {
        let served = served().await;
        for path in ["/", "/metrics", "/healthz/x"] {
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
    async fn more_connections_than_allowed_wait_and_are_served_when_one_goes() {
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
        let address = served.address;
        let mut waiting = tokio::spawn(async move { get(address, "/healthz").await });
        let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
        assert!(early.is_err(), "served although all places are taken");
        idle.clear();
        let served_at_last = tokio::time::timeout(SOON, waiting)
            .await
            .expect("soon")
            .expect("no panic");
        assert_eq!(served_at_last.0, "200");
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_off() {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (_health, seen) = watch::channel(Health::starting());
        let bounds = Bounds {
            head: Duration::from_millis(50),
            ..FOR_HEALTH
        };
        let served = serve_router(
            listener,
            health::router(seen),
            bounds,
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
