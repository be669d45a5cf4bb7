//! `Transport`: the seam through which every request leaves, and `ReqwestTransport`, the real one.
//!
//! reqwest is known here and nowhere else. A transport sends one request once: it never tries again, never follows a
//! redirect, never waits for a quota. What it does say is whether a failed request can have reached HubSpot.

use std::error::Error;
use std::fmt;
use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustls::RootCertStore;
use thiserror::Error;

use crate::hubspot::call::authorities::{self, NoAuthorities};
use crate::hubspot::call::proxy::{self, BadProxy, Chosen, Tunnel};

/// The largest answer that is read, unpacked. A page of 100 records with 400 properties of 64 KiB would be more, but
/// HubSpot itself gives up on such pages; ordinary ones have 0.1 to 5 MB.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// TCP, TLS and DNS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Nothing at all for this long while an answer comes is a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(110);
/// Cloudflare closes idle connections after some minutes; closing first avoids sending into a closed one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// More requests than this are never in flight at once, by the limiter.
const POOL_MAX_IDLE: usize = 32;
/// Keep-alive of TCP and HTTP/2, so that a dead path is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A request, complete but for the host. Its `Debug` form shows neither query nor body, which may hold a secret.
#[derive(Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Begins with `/`, percent-encoded.
    pub path_and_query: String,
    /// All headers; a secret one is marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, uncompressed.
    pub body: Option<Bytes>,
    /// From the first byte out to the last byte in.
    pub timeout: Duration,
    /// The path with names in place of ids, for logs.
    pub template: &'static str,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("template", &self.template)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// An answer of any status, unpacked.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A cause that is kept as it came.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// No complete answer came.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The request surely never reached HubSpot: no name, no connection, no TLS.
    #[error("no connection")]
    NotSent(#[source] Cause),
    /// The host's name leads nowhere, so that nothing was sent.
    #[error("the name of HubSpot's host can't be looked up")]
    NoName(#[source] Cause),
    /// The proxy between this machine and HubSpot refused the tunnel or found no way, so that nothing was sent.
    #[error("the proxy opens no tunnel to HubSpot: it answers {status}")]
    Tunnel {
        /// The proxy's status.
        status: u16,
    },
    /// The other side's certificate is not accepted, so that nothing was sent.
    #[error("the certificate is not accepted")]
    Unverified(#[source] Cause),
    /// The request may have reached HubSpot and may have been carried out: a reset, a cut body.
    #[error("the connection ended before the answer did")]
    Lost(#[source] Cause),
    /// The same, because nothing came for too long.
    #[error("no answer came in time")]
    TimedOut(#[source] Cause),
    /// HubSpot answered, with more than is read.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// An answer that has more bytes than are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer has more than {MAX_BODY_BYTES} bytes")]
pub struct TooLarge {
    /// Its status.
    pub status: u16,
}

/// What helps where no answer comes. Whether the question is asked again is not said: a daemon does that, a command has ended.
pub(crate) const LOOK_AT_NETWORK: &str = "look at this machine's network, DNS and proxy";

impl TransportError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotSent(_) | Self::Lost(_) | Self::TimedOut(_) => Some(LOOK_AT_NETWORK),
            Self::NoName(_) => Some(
                "look at `/etc/resolv.conf` and at the name server that it names (`getent hosts api.hubapi.com` asks it); behind a proxy set `HTTPS_PROXY`, which then looks the name up",
            ),
            Self::Tunnel { status: 407 } => {
                Some("write the proxy as `http://user:password@host:port` in `HTTPS_PROXY`")
            }
            Self::Tunnel { .. } => Some(
                "look at the proxy that `HTTPS_PROXY` or `ALL_PROXY` names: whether it lets HubSpot's host through, and at its log",
            ),
            Self::Unverified(_) => Some(
                "look at this machine's clock and authorities; one that opens TLS on the way needs its own in SSL_CERT_FILE",
            ),
            Self::TooLarge(_) => None,
        }
    }

    /// The stable name of the way in which it failed.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "no-connection",
            Self::NoName(_) => "dns",
            Self::Tunnel { .. } => "proxy",
            Self::Unverified(_) => "tls",
            Self::Lost(_) => "connection-lost",
            Self::TimedOut(_) => "timeout",
            Self::TooLarge(_) => "unreadable-answer",
        }
    }
}

/// Sends a request once.
pub trait Transport: Send + Sync {
    /// The answer of any status, or how its way failed. Dropping the future counts as `Lost`.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// Why a transport could not be made.
#[derive(Debug, Error)]
pub enum TransportSetupError {
    /// Not a URL with a host.
    #[error("`{url}` is not a base URL such as `https://api.hubapi.com`")]
    NotABaseUrl {
        /// As it was given.
        url: String,
    },
    /// Plain HTTP to another machine would show the token.
    #[error("`{url}` must begin with `https://`; plain HTTP is only for this machine itself")]
    PlainHttp {
        /// As it was given.
        url: String,
    },
    /// There is nobody to vouch for HubSpot.
    #[error(transparent)]
    NoAuthorities(#[from] NoAuthorities),
    /// The environment names a proxy that none can be.
    #[error(transparent)]
    BadProxy(#[from] BadProxy),
    /// TLS could not be set up.
    #[error("the HTTP client could not be set up")]
    Client(#[source] Cause),
}

impl TransportSetupError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotABaseUrl { .. } | Self::PlainHttp { .. } => {
                Some("write `https://api.hubapi.com` for `[portal].base_url`, or leave it out")
            }
            Self::NoAuthorities(_) => {
                Some("apt-get install ca-certificates, or name a bundle in SSL_CERT_FILE")
            }
            Self::BadProxy(_) => Some(
                "write `http://host:port` or `http://user:password@host:port`, or unset it; what goes through the tunnel is encrypted all the same",
            ),
            Self::Client(_) => None,
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotABaseUrl { .. } | Self::PlainHttp { .. } => "bad-base-url",
            Self::NoAuthorities(_) => "no-authorities",
            Self::BadProxy(_) => "bad-proxy",
            Self::Client(_) => "tls",
        }
    }
}

/// How a base URL would be reached, each part for itself. Nothing is asked.
pub(crate) struct WayThere {
    /// The host, and the port.
    pub(crate) host: (String, u16),
    /// Whose word is taken for the host's certificate; `None` where it needs none.
    pub(crate) authorities: Option<Result<String, NoAuthorities>>,
    /// The variable that names a proxy, where one does.
    pub(crate) proxy: Result<Option<&'static str>, BadProxy>,
}

impl WayThere {
    /// The way to a base URL in this process's environment.
    ///
    /// # Errors
    /// It is no base URL.
    pub(crate) fn to(base_url: &str) -> Result<Self, TransportSetupError> {
        let base_url = check_base_url(base_url)?;
        let url = reqwest::Url::parse(&base_url).ok();
        let port = url.as_ref().and_then(reqwest::Url::port_or_known_default);
        let host = url.as_ref().and_then(reqwest::Url::host_str);
        let variable = |name: &str| std::env::var(name).ok();
        let proxy = proxy::choose(is_own(&base_url), port, &variable);
        let authorities = base_url
            .starts_with("https://")
            .then(|| authorities::find().map(|found| found.explanation()));
        let host = host.unwrap_or_default().trim_matches(['[', ']']);
        Ok(Self {
            host: (host.to_owned(), port.unwrap_or_default()),
            authorities,
            proxy: proxy.map(|chosen| chosen.map(|chosen| chosen.variable)),
        })
    }
}

/// HTTP/1.1 and HTTP/2 with gzip over kept connections, by reqwest.
#[derive(Debug)]
pub(crate) struct ReqwestTransport {
    client: reqwest::Client,
    base_url: String,
    tunnel: Option<Tunnel>,
}

impl ReqwestTransport {
    /// A transport to `base_url`: https, or http to a loopback address. Redirects are not followed: the token goes to
    /// that host alone, if need be through the tunnel of the environment's proxy, which sees no more than the host's
    /// name. This machine itself is never reached by a proxy.
    pub(crate) fn new(base_url: &str) -> Result<Self, TransportSetupError> {
        Self::within(base_url, &|name| std::env::var(name).ok())
    }

    /// The same in an environment.
    fn within(
        base_url: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, TransportSetupError> {
        let base_url = check_base_url(base_url)?;
        install_ring();
        let is_https = base_url.starts_with("https://");
        // Plain HTTP needs nobody to vouch for it: where reqwest looked for authorities itself, a machine without any would have
        // no client at all.
        let authorities = if is_https {
            authorities::find()?.store
        } else {
            RootCertStore::empty()
        };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(verified_by(authorities)?);
        let port = reqwest::Url::parse(&base_url).ok();
        let port = port.and_then(|url| url.port_or_known_default());
        let chosen = proxy::choose(is_own(&base_url), port, variable)?;
        if let Some(chosen) = &chosen {
            builder = builder.proxy(proxied(chosen)?);
        }
        let tunnel = chosen.and_then(|chosen| tunnel_of(&chosen, &base_url));
        let client = builder
            .user_agent(concat!("hubsyncd/", env!("CARGO_PKG_VERSION")))
            .https_only(is_https)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .gzip(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_MAX_IDLE)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEP_ALIVE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build()
            .map_err(|error| TransportSetupError::Client(error.into()))?;
        Ok(Self {
            client,
            base_url,
            tunnel,
        })
    }

    async fn send_once(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let url = format!("{}{}", self.base_url, request.path_and_query);
        let mut builder = self
            .client
            .request(request.method, url)
            .timeout(request.timeout);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let mut response = match builder.send().await {
            Ok(response) => response,
            Err(error) => {
                let is_of_tunnel = is_about_a_tunnel(&error);
                let error = sort_send_error(error);
                return Err(self.explained(error, is_of_tunnel).await);
            }
        };
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let body = read_bounded(&mut response).await?;
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
    }

    /// An error with the proxy's status, where it is of the tunnel: the HTTP client keeps that for itself.
    async fn explained(&self, error: TransportError, is_of_tunnel: bool) -> TransportError {
        let is_refused = is_of_tunnel && matches!(&error, TransportError::NotSent(_));
        match (is_refused, &self.tunnel) {
            (true, Some(tunnel)) => match tunnel.status().await {
                Some(status) => TransportError::Tunnel { status },
                None => error,
            },
            (_, _) => error,
        }
    }
}

impl Transport for ReqwestTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(self.send_once(request))
    }
}

/// reqwest is built without a TLS provider; the process has one, ring.
fn install_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody else's provider, put there first, serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// TLS that takes these authorities' word.
fn verified_by(authorities: RootCertStore) -> Result<rustls::ClientConfig, TransportSetupError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportSetupError::Client(error.into()))?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn proxied(chosen: &Chosen) -> Result<reqwest::Proxy, TransportSetupError> {
    let bad = |error: reqwest::Error| {
        // Its words may quote the URL, and that a password.
        tracing::debug!(
            name = chosen.variable,
            status = error.status().map(|status| status.as_u16()),
            "the proxy can't be used"
        );
        BadProxy {
            variable: chosen.variable,
        }
    };
    let but = chosen.except.as_deref();
    let but = but.and_then(reqwest::NoProxy::from_string);
    Ok(reqwest::Proxy::https(&chosen.url)
        .map_err(bad)?
        .no_proxy(but))
}

/// The tunnel through a proxy to a base URL.
fn tunnel_of(chosen: &Chosen, base_url: &str) -> Option<Tunnel> {
    let proxy = reqwest::Url::parse(&chosen.url).ok()?;
    let base = reqwest::Url::parse(base_url).ok()?;
    let address = |url: &reqwest::Url| {
        let port = url.port_or_known_default()?;
        Some(format!("{}:{port}", url.host_str()?))
    };
    let password = proxy.password().unwrap_or_default();
    Some(Tunnel::new(
        address(&proxy)?,
        address(&base)?,
        (proxy.username(), password),
    ))
}

fn is_own(base_url: &str) -> bool {
    let url = reqwest::Url::parse(base_url).ok();
    url.as_ref()
        .and_then(reqwest::Url::host_str)
        .is_some_and(is_loopback)
}

fn check_base_url(base_url: &str) -> Result<String, TransportSetupError> {
    let trimmed = base_url.trim_end_matches('/');
    let not_a_base = || TransportSetupError::NotABaseUrl {
        url: base_url.to_owned(),
    };
    let url = reqwest::Url::parse(trimmed).map_err(|error| {
        tracing::debug!(%error, "the base URL can't be read");
        not_a_base()
    })?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let Some(host) = url
        .host_str()
        .filter(|_| plain && url.username().is_empty())
    else {
        return Err(not_a_base());
    };
    match url.scheme() {
        "https" => Ok(trimmed.to_owned()),
        "http" if is_loopback(host) => Ok(trimmed.to_owned()),
        "http" => Err(TransportSetupError::PlainHttp {
            url: base_url.to_owned(),
        }),
        _ => Err(not_a_base()),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Only what fails before a connection stands was surely never seen by HubSpot.
fn sort_send_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if is_about_a_certificate(&error) {
        TransportError::Unverified(Innermost(error).into())
    } else if is_about_a_name(&error) {
        TransportError::NoName(Innermost(error).into())
    } else if error.is_connect() || error.is_builder() {
        TransportError::NotSent(Innermost(error).into())
    } else {
        lost(error)
    }
}

fn lost(error: reqwest::Error) -> TransportError {
    match error.is_timeout() {
        true => TransportError::TimedOut(Innermost(error).into()),
        false => TransportError::Lost(Innermost(error).into()),
    }
}

/// Whether the host's name was looked up in vain. The client's connector tells it in its words alone.
fn is_about_a_name(error: &(dyn Error + 'static)) -> bool {
    error.to_string() == "dns error" || error.source().is_some_and(is_about_a_name)
}

/// A failure of the HTTP client's, in the words of its innermost cause. What the client says around that ("error sending request",
/// "client error (Connect)", "tcp connect error") only tells through whose hands it went.
#[derive(Debug)]
struct Innermost(reqwest::Error);

impl fmt::Display for Innermost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut innermost: &dyn Error = &self.0;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        fmt::Display::fmt(innermost, formatter)
    }
}

impl Error for Innermost {}

/// Whether TLS refused the other side's certificate: somewhere below, rustls says so.
fn is_about_a_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // What an I/O error wraps is not its source, but what it is.
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    let wrapped = wrapped.map(|error| error as &(dyn Error + 'static));
    wrapped
        .or_else(|| error.source())
        .is_some_and(is_about_a_certificate)
}

/// Whether a proxy answered, and said no.
fn is_about_a_tunnel(error: &(dyn Error + 'static)) -> bool {
    let explanation = error.to_string();
    let says = |end: &str| explanation == format!("tunnel error: {end}");
    says("unsuccessful")
        || says("proxy authorization required")
        || error.source().is_some_and(is_about_a_tunnel)
}

/// The body as it comes, counted after unpacking, so that a small answer can't unpack into all memory.
async fn read_bounded(response: &mut reqwest::Response) -> Result<Bytes, TransportError> {
    let status = response.status().as_u16();
    let mut body = BytesMut::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| lost(error.without_url()))?;
        let Some(chunk) = chunk else {
            return Ok(body.freeze());
        };
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(TooLarge { status }.into());
        }
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn only_https_or_this_machine_is_a_base_url() {
        for good in [
            "https://api.hubapi.com",
            "https://api.hubapi.com/",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost:1",
        ] {
            assert_eq!(
                check_base_url(good).expect(good),
                good.trim_end_matches('/')
            );
        }
        for bad in [
            "",
            "api.hubapi.com",
            "ftp://x",
            "https://user:pass@x",
            "https://x/path",
            "https://x?y",
        ] {
            assert!(
                matches!(
                    check_base_url(bad),
                    Err(TransportSetupError::NotABaseUrl { .. })
                ),
                "{bad}"
            );
        }
        for plain in [
            "http://api.hubapi.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
        ] {
            assert!(
                matches!(
                    check_base_url(plain),
                    Err(TransportSetupError::PlainHttp { .. })
                ),
                "{plain}"
            );
        }
    }

    /// Answers one connection with raw bytes; says what was asked.
    fn serve_once(answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
        serve(1, answer)
    }

    /// The same of several, one after another.
    fn serve(connections: usize, answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let handle = std::thread::spawn(move || {
            let mut asked = String::new();
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut seen = vec![0; 4096];
                let length = stream.read(&mut seen).expect("a request");
                stream.write_all(&answer).expect("room for the answer");
                asked += &String::from_utf8_lossy(&seen[..length]);
            }
            asked
        });
        (url, handle)
    }

    fn request(timeout: Duration) -> HttpRequest {
        let mut token = HeaderValue::from_static("Bearer secret-token");
        token.set_sensitive(true);
        HttpRequest {
            method: Method::GET,
            path_and_query: "/crm/objects/2026-03/contacts?limit=1".to_owned(),
            headers: vec![(http::header::AUTHORIZATION, token)],
            body: None,
            timeout,
            template: "/crm/objects/2026-03/{object}",
        }
    }

    async fn ask(answer: &[u8]) -> (Result<HttpResponse, TransportError>, String) {
        let (url, handle) = serve_once(answer.to_vec());
        let transport = ReqwestTransport::new(&url).expect("loopback");
        let result = transport.send(request(Duration::from_secs(10))).await;
        (result, handle.join().expect("the server's words"))
    }

    #[tokio::test]
    async fn an_answer_of_any_status_comes_back_whole() {
        let (result, asked) = ask(
            b"HTTP/1.1 404 Not Found\r\nx-hubspot-correlation-id: c\r\ncontent-length: 2\r\n\r\n{}",
        )
        .await;
        let response = result.expect("an answer");
        assert_eq!((response.status, &response.body[..]), (404, &b"{}"[..]));
        assert_eq!(response.headers["X-HubSpot-Correlation-Id"], "c");
        let asked = asked.to_lowercase();
        assert!(asked.starts_with("get /crm/objects/2026-03/contacts?limit=1 http/1.1"));
        assert!(asked.contains("accept-encoding: gzip"));
        assert!(asked.contains("authorization: bearer secret-token"));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let (result, _) = ask(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(result.expect("an answer").status, 302);
    }

    #[tokio::test]
    async fn a_cut_answer_is_lost_and_a_closed_port_is_not_sent() {
        let (result, _) = ask(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"resul").await;
        assert!(matches!(result, Err(TransportError::Lost(_))), "{result:?}");
        let (result, _) = ask(b"").await;
        assert!(matches!(result, Err(TransportError::Lost(_))), "{result:?}");
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("its address");
        let transport = ReqwestTransport::new(&format!("http://{port}")).expect("loopback");
        let result = transport.send(request(Duration::from_secs(10))).await;
        assert!(
            matches!(result, Err(TransportError::NotSent(_))),
            "{result:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_beyond_the_bound_is_no_loss_of_the_connection() {
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        answer.resize(answer.len() + MAX_BODY_BYTES + 1, b'x');
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let handle = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut seen = [0; 4096];
            let length = stream.read(&mut seen).expect("a request");
            // The client hangs up at the bound, which may come as an error here.
            (length, stream.write_all(&answer).is_ok())
        });
        let transport = ReqwestTransport::new(&url).expect("loopback");
        let result = transport.send(request(Duration::from_mins(1))).await;
        let status = 200;
        assert!(
            matches!(result, Err(TransportError::TooLarge(found)) if found == TooLarge { status })
        );
        let (length, _) = handle.join().expect("the server's words");
        assert!(length > 0);
    }

    /// A TLS server that greets one client with a certificate of its own making.
    fn greet_once(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der())
                .expect("a key");
        install_ring();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let connection = rustls::ServerConnection::new(std::sync::Arc::new(config));
            let mut connection = connection.expect("a connection");
            // The client hangs up where it doesn't believe the certificate.
            drop(connection.complete_io(&mut stream));
        });
        port
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_told_apart_and_says_why() {
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let port = greet_once(&certificate.expect("a certificate"));
        let transport =
            ReqwestTransport::new(&format!("https://localhost:{port}")).expect("loopback");
        let error = transport
            .send(request(Duration::from_secs(10)))
            .await
            .expect_err("nobody vouches for it");
        assert!(matches!(error, TransportError::Unverified(_)), "{error:?}");
        let explanation = crate::hubspot::call::standing::with_causes(&error);
        assert!(
            explanation.contains("invalid peer certificate"),
            "{explanation}"
        );
    }

    #[tokio::test]
    async fn a_refused_connection_says_so_in_few_words() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let transport = ReqwestTransport::new(&url).expect("loopback");
        let error = transport
            .send(request(Duration::from_secs(10)))
            .await
            .expect_err("nobody listens");
        let explanation = crate::hubspot::call::standing::with_causes(&error);
        assert_eq!(
            explanation,
            "no connection: Connection refused (os error 111)"
        );
    }

    #[tokio::test]
    async fn the_environments_proxy_is_asked_for_a_tunnel_and_never_for_this_machine() {
        let (url, handle) = serve(
            2,
            b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_vec(),
        );
        let url = url.replace("http://", "http://me:hush@");
        let environment = move |name: &str| (name == "HTTPS_PROXY").then(|| url.clone());
        let through = ReqwestTransport::within("https://api.hubapi.example", &environment);
        let through = through.expect("a proxy");
        assert!(!format!("{through:?}").contains("hush"), "{through:?}");
        let refused = through.send(request(Duration::from_secs(10))).await;
        let refused = refused.expect_err("no tunnel");
        let explanation = crate::hubspot::call::standing::with_causes(&refused);
        assert_eq!(
            explanation,
            "the proxy opens no tunnel to HubSpot: it answers 502"
        );
        let asked = handle.join().expect("the proxy's words").to_lowercase();
        let asked: Vec<&str> = asked.split_inclusive("\r\n\r\n").collect();
        assert_eq!(asked.len(), 2, "{asked:?}");
        for asked in asked {
            assert!(
                asked.starts_with("connect api.hubapi.example:443 ")
                    && asked.contains("\r\nproxy-authorization: basic bwu6ahvzaa==\r\n"),
                "{asked}"
            );
            assert!(!asked.contains("secret-token"), "{asked}");
        }
        let (own, handle) = serve_once(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec());
        let direct = ReqwestTransport::within(&own, &|_| Some("http://127.0.0.1:1".to_owned()));
        let answer = direct
            .expect("loopback")
            .send(request(Duration::from_secs(10)))
            .await;
        assert_eq!(answer.expect("no proxy between").status, 200);
        handle.join().expect("the server's words");
    }

    #[test]
    fn the_token_does_not_show_in_debug() {
        let shown = format!("{:?}", request(Duration::from_secs(1)));
        assert!(!shown.contains("secret-token"), "{shown}");
    }
}
