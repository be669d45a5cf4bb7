//! `POST` on the path of `[webhooks]`: reads a delivery within its bounds and hands it on. Whether it is believed and kept
//! is decided by whom it is handed to. `design.md` 6.4.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::http::listener::Occupied;

/// How long a body may take. HubSpot gives up after 5 seconds (`hubspot/api-facts.md#10`).
pub(crate) const BODY: Duration = Duration::from_secs(10);

/// The most bytes of a body that is too large that are read, to be able to say so.
const MOST_DISCARDED: usize = 16 << 20;

/// How long that may take.
const DISCARD: Duration = Duration::from_secs(2);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct PostedDelivery {
    /// What stood behind the `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryAnswer {
    /// Its events are on disk.
    Stored,
    /// It is signed well and holds no events.
    NotEvents,
    /// It is not believed.
    Unverified,
    /// It can't be kept now; to be sent again.
    Unavailable,
}

impl DeliveryAnswer {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::Stored,
        Self::NotEvents,
        Self::Unverified,
        Self::Unavailable,
    ];

    /// The name in counts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::NotEvents => "not_events",
            Self::Unverified => "unverified",
            Self::Unavailable => "unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Stored => StatusCode::NO_CONTENT,
            Self::NotEvents => StatusCode::BAD_REQUEST,
            Self::Unverified => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Decides on a delivery.
pub type Receive = Arc<dyn Fn(PostedDelivery) -> BoxFuture<'static, DeliveryAnswer> + Send + Sync>;

#[derive(Clone)]
struct WebhookDoor {
    max_body: usize,
    receive: Receive,
}

/// One path, for `POST` alone.
pub fn router(path: &str, max_body: usize, receive: Receive) -> Router {
    Router::new()
        .route(path, post(take))
        .with_state(WebhookDoor { max_body, receive })
}

async fn take(
    State(door): State<WebhookDoor>,
    occupied: Option<Extension<Occupied>>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    if announced(&head.headers).is_some_and(|length| length > door.max_body as u64) {
        // Whoever asks first is told before the body is sent.
        if !head.headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return closing(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = match read(body, door.max_body).await {
        Ok(body) => body,
        Err(status) => return closing(status),
    };
    // From here on the connection is not cut to make room for another.
    let _held = occupied.map(|Extension(occupied)| occupied.hold());
    let delivery = PostedDelivery {
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body,
    };
    (door.receive)(delivery).await.status().into_response()
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn read(body: Body, most: usize) -> Result<Bytes, StatusCode> {
    let collected = tokio::time::timeout(BODY, Limited::new(body, most).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_too_large(error.as_ref()) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Reads what is still being sent, within bounds: a connection that is closed on unread bytes loses the answer.
async fn discard(body: Body) {
    let mut body = Limited::new(body, MOST_DISCARDED);
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever is slower finds the connection closed.
    drop(tokio::time::timeout(DISCARD, rest).await);
}

fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_too_large)
}

/// The rest of the body is not wanted: the connection ends.
fn closing(status: StatusCode) -> Response {
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (status, close).into_response()
}
