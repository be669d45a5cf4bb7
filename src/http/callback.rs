//! The address that a browser comes back to after a consent: served on this machine until the right answer comes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::http::listener::{CallerBounds, serve_router};

/// A browser and whoever else finds the port.
const BOUNDS: CallerBounds = CallerBounds {
    connections: 8,
    head: Duration::from_secs(10),
    drain: Duration::from_secs(2),
};

/// What the browser brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The query as it came.
    pub query: String,
}

/// Whether a query is the awaited one; what it is not is answered with 400 and waited on.
pub(crate) type IsAwaited = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone)]
struct CallbackDoor {
    /// Unescaped. Compared, not routed: it may have letters that mean something in a route.
    path: Arc<str>,
    is_awaited: IsAwaited,
    came: mpsc::Sender<Returned>,
}

/// The addresses of a host on this machine: a browser may take `localhost` for either family, so both are listened on. One
/// that somebody else listens on would get the code in our place.
///
/// # Errors
/// A port is taken, or no address is to be had.
pub async fn bind(host: &str, port: u16) -> std::io::Result<Vec<TcpListener>> {
    let host = host.trim_matches(['[', ']']);
    let addresses: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    let mut listeners = Vec::new();
    let mut failure = None;
    for address in addresses.into_iter().filter(IpAddr::is_loopback) {
        match TcpListener::bind(SocketAddr::new(address, port)).await {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 has one of them.
            Err(error) if is_without_family(&error) => failure = Some(error),
            Err(error) => {
                let explanation = format!("{}: {error}", SocketAddr::new(address, port));
                return Err(std::io::Error::new(error.kind(), explanation));
            }
        }
    }
    match (listeners.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(std::io::ErrorKind::AddrNotAvailable.into()),
        (false, _) => Ok(listeners),
    }
}

fn is_without_family(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Serves the path until the awaited query comes. `None`: the listeners failed.
pub async fn wait(
    listeners: Vec<TcpListener>,
    path: &str,
    is_awaited: IsAwaited,
) -> Option<Returned> {
    let (came, mut awaited) = mpsc::channel(1);
    let router = Router::new().fallback(take).with_state(CallbackDoor {
        path: Arc::from(unescaped(path)),
        is_awaited,
        came,
    });
    let stop = CancellationToken::new();
    let served: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let serving = serve_router(listener, router.clone(), BOUNDS, None, stop.clone());
            tokio::spawn(serving)
        })
        .collect();
    drop(router);
    let returned = awaited.recv().await;
    stop.cancel();
    for task in served {
        if let Err(error) = task.await {
            tracing::debug!(error = %error, "the callback's listener failed");
        }
    }
    returned
}

fn unescaped(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

async fn take(
    State(door): State<CallbackDoor>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
) -> Response {
    if unescaped(uri.path()) != *door.path {
        return StatusCode::NOT_FOUND.into_response();
    }
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let query = query.unwrap_or_default();
    if !(door.is_awaited)(&query) {
        return page(
            StatusCode::BAD_REQUEST,
            "This is not the answer to the login that was begun here. Begin it again from the terminal.",
        );
    }
    let has_code = query.split('&').any(|pair| {
        pair.strip_prefix("code=")
            .is_some_and(|code| !code.is_empty())
    });
    // A second one finds the channel full: the first holds.
    drop(door.came.try_send(Returned { query }));
    let explanation = if has_code {
        "hubsyncd has what it needs; the terminal says how it went. You may close this window."
    } else {
        "HubSpot gave hubsyncd no access; the terminal says why. You may close this window."
    };
    page(StatusCode::OK, explanation)
}

fn page(status: StatusCode, explanation: &str) -> Response {
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>hubsyncd</title><p>{explanation}</p>"
    );
    (status, Html(html)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, target: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_port_that_one_family_has_lost_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let error = bind("localhost", port).await.expect_err("taken");
        assert!(
            error.to_string().contains(&format!("127.0.0.1:{port}: ")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_path_is_no_route() {
        for path in ["/:x", "/*x", "/{x}", "/a/{*x}", "/call%20back"] {
            let listeners = bind("127.0.0.1", 0).await.expect("a free port");
            let address = listeners[0].local_addr().expect("bound");
            let waiting = tokio::spawn(wait(listeners, path, Arc::new(|_query| true)));
            assert_eq!(get(address, "/other?code=1").await, "404", "{path}");
            let target = format!("{path}?code=2");
            assert_eq!(get(address, &target).await, "200", "{path}");
            let returned = waiting.await.expect("no panic").expect("an answer");
            assert_eq!(returned.query, "code=2");
        }
    }

    #[tokio::test]
    async fn only_the_awaited_answer_ends_the_wait() {
        let listeners = bind("127.0.0.1", 0).await.expect("a free port");
        let address = listeners[0].local_addr().expect("bound");
        let is_awaited: IsAwaited = Arc::new(|query| query.contains("state=right"));
        let waiting = tokio::spawn(wait(listeners, "/callback", is_awaited));
        assert_eq!(get(address, "/callback?state=wrong&code=1").await, "400");
        assert_eq!(get(address, "/other?state=right").await, "404");
        assert_eq!(get(address, "/callback?state=right&code=2").await, "200");
        let returned = waiting.await.expect("no panic").expect("an answer");
        assert_eq!(returned.query, "state=right&code=2");
        assert!(
            TcpStream::connect(address).await.is_err(),
            "still listening"
        );
    }
}
