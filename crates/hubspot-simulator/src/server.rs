//! The portal over HTTP/1.1. Cuts connections where the portal says so, waits where it says so, decides nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{Response, StatusCode};
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::api::request::{Delivery, Reply, Request};
use crate::clock;
use crate::portal::Portal;
use crate::webhooks::sender;

/// The largest body that is read: HubSpot documents none, and a batch stays far below.
const MOST_BODY_BYTES: usize = 16 << 20;

/// How often time passes for the portal while no request comes.
const TICK: Duration = Duration::from_millis(50);

/// Serves the portal until `stop`; requests in flight are answered first.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve(
    portal: Arc<Mutex<Portal>>,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let shared = Shared { portal };
    let ticking = tokio::spawn(tick(shared.clone(), stop.clone()));
    let sending = tokio::spawn(sender::run(Arc::clone(&shared.portal), stop.clone()));
    let app = Router::new().fallback(answer).with_state(shared);
    let service = app.into_make_service_with_connect_info::<Cutter>();
    let served = axum::serve(CuttableListener(listener), service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    ticking.abort();
    sending.abort();
    served
}

#[derive(Clone)]
struct Shared {
    portal: Arc<Mutex<Portal>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Portal> {
        self.portal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tick(shared: Shared, stop: CancellationToken) {
    while !stop.is_cancelled() {
        clock::sleep(TICK).await;
        let now_ms = clock::now_ms();
        shared.lock().tick(now_ms);
    }
}

async fn answer(
    State(shared): State<Shared>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    request: HttpRequest,
) -> Response<Body> {
    let Some(request) = read(request).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let reply = {
        let now_ms = clock::now_ms();
        shared.lock().handle(&request, now_ms)
    };
    match reply.delivery {
        Delivery::Whole { latency_ms } => {
            if latency_ms > 0 {
                clock::sleep(Duration::from_millis(latency_ms)).await;
            }
            respond(reply, None)
        }
        Delivery::CutAfter(bytes) => respond(reply, Some(bytes)),
        Delivery::Never | Delivery::AnswerLost | Delivery::Late { .. } => {
            cutter.cut();
            plain(StatusCode::BAD_GATEWAY)
        }
    }
}

async fn read(request: HttpRequest) -> Option<Request> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MOST_BODY_BYTES).await.ok()?;
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    };
    Some(Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(header).collect(),
        body: body.to_vec(),
    })
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn respond(reply: Reply, cut_after: Option<usize>) -> Response<Body> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let body = match cut_after {
        None => Body::from(reply.body),
        Some(bytes) => {
            response = response.header("Content-Length", reply.body.len());
            cut_body(reply.body, bytes)
        }
    };
    response
        .body(body)
        .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

/// Sends the first bytes, lets them leave, then fails: the connection breaks within the body.
fn cut_body(mut body: Vec<u8>, bytes: usize) -> Body {
    body.truncate(bytes);
    let first = Some(Bytes::from(body));
    Body::from_stream(stream::unfold(
        (first, false),
        |(first, failed)| async move {
            if let Some(first) = first {
                return Some((Ok(first), (None, false)));
            }
            if failed {
                return None;
            }
            tokio::task::yield_now().await;
            clock::sleep(Duration::from_millis(5)).await;
            Some((
                Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                (None, true),
            ))
        },
    ))
}

/// Cuts the connection it came with.
#[derive(Clone, Default)]
struct Cutter(Arc<AtomicBool>);

impl Cutter {
    fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().cutter.clone()
    }
}

struct CuttableListener(TcpListener);

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CuttableStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        stream.set_nodelay(true).ok();
        (
            CuttableStream {
                stream,
                cutter: Cutter::default(),
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that fails to write once it is cut, so that not one byte of the answer leaves.
struct CuttableStream {
    stream: TcpStream,
    cutter: Cutter,
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cutter.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::world::faults::{FaultKind, Script};
    use crate::world::settings::{DEFAULT_TOKEN, Settings};

    struct Served {
        portal: Arc<Mutex<Portal>>,
        address: SocketAddr,
        stop: CancellationToken,
        serving: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn served() -> Served {
        let portal = Arc::new(Mutex::new(Portal::new(Settings::quick(), 1, 0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(Arc::clone(&portal), listener, stop.clone()));
        Served {
            portal,
            address,
            stop,
            serving,
        }
    }

    impl Served {
        /// Everything that comes back on a connection of its own.
        async fn create(&self) -> String {
            let body = r#"{"properties": {"email": "ada@example.com", "internal_notes": "a long and winding text"}}"#;
            let head = format!(
                "POST /crm/v3/objects/contacts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Authorization: Bearer {DEFAULT_TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            stream.write_all(head.as_bytes()).await.expect("sent");
            stream.write_all(body.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            // A cut connection may end in a reset; what came before it is what counts.
            stream.read_to_end(&mut answer).await.ok();
            String::from_utf8(answer).expect("text")
        }

        fn script(&self, fault: FaultKind) {
            self.portal
                .lock()
                .expect("no panic")
                .faults_mut()
                .script(Script::new(fault, 1, ""));
        }

        fn count(&self) -> usize {
            self.portal.lock().expect("no panic").count("contacts")
        }
    }

    #[tokio::test]
    async fn a_request_over_http_is_answered_and_the_server_stops_when_told() {
        let served = served().await;
        let answer = served.create().await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        assert!(answer.contains("ada@example.com"), "{answer}");
        served.stop.cancel();
        served.serving.await.expect("no panic").expect("served");
    }

    #[tokio::test]
    async fn a_lost_answer_is_applied_and_not_one_byte_comes() {
        let served = served().await;
        served.script(FaultKind::AnswerLost);
        assert_eq!(served.create().await, "");
        assert_eq!(served.count(), 1);
    }

    #[tokio::test]
    async fn a_request_that_never_arrived_is_cut_off_and_not_applied() {
        let served = served().await;
        served.script(FaultKind::NeverArrived);
        assert_eq!(served.create().await, "");
        assert_eq!(served.count(), 0);
    }

    #[tokio::test]
    async fn a_body_is_cut_in_the_middle_with_its_full_length_announced() {
        let served = served().await;
        served.script(FaultKind::CutBody);
        let answer = served.create().await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse().ok());
        let length: usize = length.expect("a length");
        assert_eq!(body.len(), length / 2, "{answer}");
        assert_eq!(served.count(), 1);
    }
}
