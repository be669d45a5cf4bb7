//! Sends events to the app over HTTP: signed, up to a hundred a request and ten requests at once, tried again when they
//! fail (`api-facts.md#10`, `#11`).

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use ring::{digest, hmac};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::portal::Portal;
use crate::webhooks::{DeliveryLogEntry, Webhooks};

/// Between two looks for events.
const LOOK: Duration = Duration::from_millis(5);

/// Further attempts after the first (`api-facts.md#10`).
const MOST_RETRIES: u32 = 10;

/// As HubSpot's sender names itself (`api-facts.md#10`).
const USER_AGENT: &str = "HubSpot Connect 2.0 (http://dev.hubspot.com/) (namespace: webhooks-nio-http-client) - WebhooksExecutorDaemon-executor";

/// Sends what the portal has to tell until the stop.
pub(crate) async fn run(portal: Arc<Mutex<Portal>>, stop: CancellationToken) {
    let mut places: Option<(usize, Arc<Semaphore>)> = None;
    while !stop.is_cancelled() {
        let Some(webhooks) = lock(&portal).settings().webhooks.clone() else {
            clock::sleep(LOOK * 10).await;
            continue;
        };
        let wanted = webhooks.concurrency.max(1);
        let free = match &places {
            Some((count, free)) if *count == wanted => Arc::clone(free),
            _ => {
                let free = Arc::new(Semaphore::new(wanted));
                places = Some((wanted, Arc::clone(&free)));
                free
            }
        };
        let Ok(place) = free.acquire_owned().await else {
            return;
        };
        let events = lock(&portal).take_events(clock::now_ms());
        let Some(events) = events else {
            drop(place);
            clock::sleep(LOOK).await;
            continue;
        };
        let (portal, stop) = (Arc::clone(&portal), stop.clone());
        tokio::spawn(async move {
            let mut place = Some(place);
            let mut events = events;
            for attempt in 0..=MOST_RETRIES {
                // The target may have moved since.
                let now = lock(&portal).settings().webhooks.clone();
                let webhooks = now.as_ref().unwrap_or(&webhooks);
                let status = deliver(webhooks, &events, clock::now_ms()).await;
                drop(place.take());
                lock(&portal).log_delivery(DeliveryLogEntry {
                    status,
                    events: events.len(),
                    attempt,
                });
                if (200..300).contains(&status) {
                    return;
                }
                let wait = spacing(&portal, webhooks.retry_span_ms);
                tokio::select! {
                    () = clock::sleep(wait) => {}
                    () = stop.cancelled() => return,
                }
                for event in &mut events {
                    event["attemptNumber"] = json!(attempt + 1);
                }
            }
        });
    }
}

fn lock(portal: &Mutex<Portal>) -> MutexGuard<'_, Portal> {
    portal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random, so that ten of them take about the whole span.
fn spacing(portal: &Mutex<Portal>, span_ms: u64) -> Duration {
    let mean = span_ms / u64::from(MOST_RETRIES);
    let ms = lock(portal)
        .rng_mut()
        .random_range(mean / 2..=mean + mean / 2);
    Duration::from_millis(ms)
}

/// Sends one request. The status; 0 where no answer came in time.
async fn deliver(webhooks: &Webhooks, events: &[Value], now_ms: i64) -> u16 {
    let timeout = Duration::from_millis(webhooks.timeout_ms);
    let sent = tokio::time::timeout(timeout, send(webhooks, events, now_ms)).await;
    sent.ok().and_then(Result::ok).unwrap_or(0)
}

async fn send(webhooks: &Webhooks, events: &[Value], now_ms: i64) -> io::Result<u16> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let uri: Uri = webhooks.url.parse().map_err(io::Error::other)?;
    let host: IpAddr = uri
        .host()
        .and_then(|host| host.trim_matches(['[', ']']).parse().ok())
        .filter(IpAddr::is_loopback)
        .ok_or_else(|| wrong("webhooks go to an address of this machine alone"))?;
    let port = uri.port_u16().ok_or_else(|| wrong("the URL has no port"))?;
    let body = Value::from(events.to_vec()).to_string().into_bytes();
    let signed = match webhooks.signed_url.as_str() {
        "" => webhooks.url.as_str(),
        other => other,
    };
    let signed = match webhooks.signs_decoded_url {
        true => decoded(signed),
        false => signed.to_owned(),
    };
    let path = uri
        .path_and_query()
        .map_or("/", axum::http::uri::PathAndQuery::as_str);
    let timestamp = now_ms.to_string();
    let request = Request::post(path)
        .header("Host", format!("{host}:{port}"))
        .header("User-Agent", USER_AGENT)
        .header("Content-Type", "application/json")
        .header("X-HubSpot-Request-Timestamp", &timestamp)
        .header(
            "X-HubSpot-Signature-v3",
            signature_v3(&webhooks.secret.0, &signed, &body, &timestamp),
        )
        .header("X-HubSpot-Signature-Version", "v1")
        .header(
            "X-HubSpot-Signature",
            signature_v1(&webhooks.secret.0, &body),
        )
        .header("Content-Length", body.len())
        .body(Body::from(body))
        .map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let status = answer.map_err(io::Error::other)?.status().as_u16();
    driving.abort();
    Ok(status)
}

/// The URL with those escapes decoded that HubSpot decodes before it signs, and no others (`api-facts.md#11`).
fn decoded(url: &str) -> String {
    const DECODED: &str = ":/?@!$'()*,;";
    let (head, escapes) = match url.split_once('%') {
        Some((head, rest)) => (head, rest.split('%')),
        None => return url.to_owned(),
    };
    let mut text = head.to_owned();
    for escape in escapes {
        let letter = escape
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .map(char::from)
            .filter(|letter| DECODED.contains(*letter));
        match letter {
            Some(letter) => {
                text.push(letter);
                text.push_str(&escape[2..]);
            }
            None => {
                text.push('%');
                text.push_str(escape);
            }
        }
    }
    text
}

/// Base64 of the HMAC over method, URL, body and time.
fn signature_v3(secret: &str, url: &str, body: &[u8], timestamp: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let message = [b"POST", url.as_bytes(), body, timestamp.as_bytes()].concat();
    STANDARD.encode(hmac::sign(&key, &message))
}

/// The hash of secret and body in hexadecimal.
fn signature_v1(secret: &str, body: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, &[secret.as_bytes(), body].concat());
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#;
    const SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";

    /// api-facts.md#11, vectors 7 and 8.
    #[test]
    fn a_url_is_signed_decoded_or_as_it_is() {
        let url = "https://sync.example.com/webhooks/hubspot?src=hs%3Aapp%2Fv3&x=%28a%29&y=a%20b";
        assert_eq!(
            decoded(url),
            "https://sync.example.com/webhooks/hubspot?src=hs:app/v3&x=(a)&y=a%20b"
        );
        assert_eq!(decoded("/a%2fb%26%3D%25%2"), "/a/b%26%3D%25%2");
        let signed = |url: &str| signature_v3(SECRET, url, b"[]", "1790000001000");
        let expected = "AglZL1f13BNTXSFpztiDFMX9f8MrdBMu2vG3fmOwhn8=";
        assert_eq!(signed(&decoded(url)), expected);
        assert_eq!(signed(url), "LHonO8eKIGjxsw65+poKO7/cTyXGohEINpZZUIsWLQQ=");
    }

    /// api-facts.md#11, vectors 1 and 6.
    #[test]
    fn signatures_are_hubspot_s() {
        assert_eq!(
            signature_v1(SECRET, BODY.as_bytes()),
            "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"
        );
        let url = "https://sync.example.com/webhooks/hubspot";
        assert_eq!(
            signature_v3(SECRET, url, BODY.as_bytes(), "1790000001000"),
            "nDR8Kt40soQthcf6bhXhr1ivBdsc4hNpo7YXi5/znMI="
        );
    }
}
