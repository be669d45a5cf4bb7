//! An app's webhook settings and subscriptions, by the developer API (`hubspot/api-facts.md#10`).
//!
//! The developer key goes where HubSpot's description wants it, into the query: no error and no log line here has a URL.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use thiserror::Error;

use crate::decide::portal::subscriptions::{FoundSubscription, Subscription};
use crate::hubspot::call::answer::read_answer;
use crate::hubspot::call::headers;
use crate::hubspot::call::mask::mask;
use crate::hubspot::call::observe::CallBegun;
use crate::hubspot::call::transport::{HttpRequest, HttpResponse, TransportError};
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::wire::{self, Elements, Scalar};
use crate::hubspot::{Client, bearer};
use crate::model::settings::ApiVersion;
use crate::model::time::Timestamp;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often a request that meets 429 is sent.
const ATTEMPTS: u32 = 5;

/// How long a 429 without `Retry-After` is waited out.
const THROTTLED: Duration = Duration::from_secs(10);

/// The longest wait that is taken from `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// An app and who may change it.
#[derive(Debug, Clone)]
pub struct Developer {
    /// The app's number.
    pub app_id: u64,
    /// The developer account's key.
    pub key: SecretString,
}

/// Why an app could not be asked or changed.
#[derive(Debug, Error)]
pub enum SubscriptionError {
    /// 401 or 403.
    #[error("HubSpot refuses the developer key for app {app_id} ({status})")]
    Unauthorized {
        /// The app.
        app_id: u64,
        /// The status.
        status: u16,
    },
    /// Any other refusal.
    #[error("HubSpot refused to {what}: {status} {explanation}")]
    Refused {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// HubSpot's words.
        explanation: String,
    },
    /// An answer that can't be read.
    #[error("HubSpot answered with something that can't be read")]
    Unreadable,
    /// No connection, or no answer.
    #[error("HubSpot could not be reached")]
    Transport(#[from] TransportError),
}

impl SubscriptionError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized { .. } => Some(
                "`developer_key` is the key of the developer account that owns `app_id`, not the portal's token",
            ),
            Self::Refused { status, .. } if *status >= 500 => Some(
                "HubSpot is in trouble: look at https://status.hubspot.com, and run this again",
            ),
            Self::Refused { .. } => {
                Some("look at `app_id` and `public_url` of `[webhooks]`, and at HubSpot's words")
            }
            Self::Unreadable => {
                Some("look whether a proxy changes HubSpot's answers, and run this again")
            }
            Self::Transport(error) => error.hint(),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "developer-key-refused",
            Self::Refused { status, .. } if *status >= 500 => "internal-error",
            Self::Refused { .. } => "refused",
            Self::Unreadable => "unreadable-answer",
            Self::Transport(error) => error.code(),
        }
    }
}

/// What a static token is, by HubSpot's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A private app's, or a project app's with static authentication.
    App(u64),
    /// No app's: a service key.
    ServiceKey,
    /// HubSpot refuses it, whatever it was.
    Refused,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSettings {
    #[serde(default)]
    target_url: Scalar,
    #[serde(default, deserialize_with = "wire::lenient")]
    throttling: Option<WireThrottling>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireThrottling {
    #[serde(default)]
    max_concurrent_requests: Scalar,
    #[serde(default)]
    period: Scalar,
}

/// What an app has set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppSettings {
    /// The URL that it calls.
    pub target: Option<String>,
    /// Requests at once that HubSpot sends.
    pub concurrent: Option<u32>,
    /// What the oldest version counts them by.
    period: Option<String>,
}

#[derive(serde::Deserialize)]
struct WireList {
    #[serde(default)]
    results: Elements<WireSubscription>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSubscription {
    #[serde(default)]
    id: Scalar,
    #[serde(default)]
    event_type: Scalar,
    #[serde(default)]
    object_type_id: Scalar,
    #[serde(default)]
    property_name: Scalar,
    #[serde(default)]
    active: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTokenInfo {
    #[serde(default)]
    app_id: Scalar,
    #[serde(default, deserialize_with = "wire::lenient")]
    scopes: Option<Vec<Scalar>>,
    #[serde(default)]
    expires_at: Scalar,
}

/// What HubSpot says of a static token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    /// Whose it is.
    pub(crate) kind: TokenKind,
    /// Its scopes, where they are said.
    pub(crate) scopes: Option<Vec<String>>,
    /// When it ends, where that is said.
    pub(crate) ends_at: Option<Timestamp>,
}

/// A time as milliseconds or as text.
fn time_of(text: &str) -> Option<Timestamp> {
    let millis = text.parse().ok().map(Timestamp::from_millis);
    millis.or_else(|| Timestamp::parse(text))
}

impl Client {
    /// The app's settings; nothing in them where none are set.
    ///
    /// # Errors
    /// The key is refused, or HubSpot can't be reached.
    pub(crate) async fn webhook_settings(
        &self,
        developer: &Developer,
    ) -> Result<AppSettings, SubscriptionError> {
        let path = self.app_path(developer, "/settings");
        match self
            .ask(
                developer,
                Method::GET,
                &path,
                None,
                "read the app's settings",
            )
            .await
        {
            Ok(response) => {
                let read = parse::<WireSettings>(&response)?;
                let (many, period) = read.throttling.map_or((None, None), |throttling| {
                    (throttling.max_concurrent_requests.0, throttling.period.0)
                });
                Ok(AppSettings {
                    target: read.target_url.0,
                    concurrent: many.and_then(|text| text.parse().ok()),
                    period,
                })
            }
            Err(SubscriptionError::Refused { status: 404, .. }) => Ok(AppSettings::default()),
            Err(error) => Err(error),
        }
    }

    /// All subscriptions of the app; the list has no pages.
    ///
    /// # Errors
    /// As `webhook_settings`.
    pub async fn subscriptions(
        &self,
        developer: &Developer,
    ) -> Result<Vec<FoundSubscription>, SubscriptionError> {
        let path = self.app_path(developer, "/subscriptions");
        let response = self
            .ask(
                developer,
                Method::GET,
                &path,
                None,
                "list the subscriptions",
            )
            .await?;
        let list = parse::<WireList>(&response)?;
        let found = list.results.read.into_iter().filter_map(|subscription| {
            Some(FoundSubscription {
                id: subscription.id.0?,
                event_type: subscription.event_type.0?,
                object_type_id: subscription.object_type_id.0,
                property: subscription.property_name.0,
                active: subscription.active,
            })
        });
        Ok(found.collect())
    }

    /// Sets the target URL; what else is set stays, and HubSpot wants it repeated.
    ///
    /// # Errors
    /// As [`webhook_settings`](Self::webhook_settings). Repeating it is harmless.
    pub(crate) async fn set_webhook_target(
        &self,
        developer: &Developer,
        url: &str,
        concurrent: u32,
        former: &AppSettings,
    ) -> Result<(), SubscriptionError> {
        let path = self.app_path(developer, "/settings");
        // `period` was taken out of the newer descriptions.
        let mut throttling = json!({ "maxConcurrentRequests": concurrent });
        if self.inner.version == ApiVersion::V3 {
            throttling["period"] = former.period.as_deref().unwrap_or("SECONDLY").into();
        }
        let body = json!({ "targetUrl": url, "throttling": throttling });
        self.ask(
            developer,
            Method::PUT,
            &path,
            Some(&body),
            "set the target URL",
        )
        .await?;
        Ok(())
    }

    /// Makes a subscription that is active.
    ///
    /// # Errors
    /// As `webhook_settings`.
    pub async fn subscribe(
        &self,
        developer: &Developer,
        subscription: &Subscription,
    ) -> Result<(), SubscriptionError> {
        let path = self.app_path(developer, "/subscriptions");
        let mut body = json!({ "eventType": subscription.event_type(), "active": true });
        if let Some(type_id) = subscription.object_type_id() {
            body["objectTypeId"] = type_id.into();
        }
        if let Some(property) = &subscription.property {
            body["propertyName"] = property.as_str().into();
        }
        let what = format!("subscribe {subscription}");
        self.ask(developer, Method::POST, &path, Some(&body), &what)
            .await?;
        Ok(())
    }

    /// Switches a subscription on or off.
    ///
    /// # Errors
    /// As [`webhook_settings`](Self::webhook_settings). Repeating it is harmless.
    pub(crate) async fn set_active(
        &self,
        developer: &Developer,
        id: &str,
        active: bool,
    ) -> Result<(), SubscriptionError> {
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
        let path = self.app_path(developer, &format!("/subscriptions/{id}"));
        let body = json!({ "active": active });
        self.ask(
            developer,
            Method::PATCH,
            &path,
            Some(&body),
            "change a subscription",
        )
        .await?;
        Ok(())
    }

    /// Whose a static token is.
    ///
    /// # Errors
    /// HubSpot can't be reached or fails.
    pub(crate) async fn token_kind(
        &self,
        token: &SecretString,
    ) -> Result<TokenKind, SubscriptionError> {
        Ok(self.token_info(token).await?.kind)
    }

    /// What HubSpot says of a static token.
    ///
    /// # Errors
    /// HubSpot can't be reached or fails.
    pub(super) async fn token_info(
        &self,
        token: &SecretString,
    ) -> Result<TokenInfo, SubscriptionError> {
        let unsaid = |kind| TokenInfo {
            kind,
            scopes: None,
            ends_at: None,
        };
        let body = json!({ "tokenKey": token.expose_secret() });
        let path = "/oauth/v2/private-apps/get/access-token-info";
        let mut response = self
            .post_once(Method::POST, path.to_owned(), Some(&body), 1)
            .await?;
        mask(&mut response, &[token.expose_secret()]);
        match response.status {
            200 => {
                let info = parse::<WireTokenInfo>(&response)?;
                let id = info.app_id.0.and_then(|text| text.parse().ok());
                let ends = info.expires_at.0.as_deref();
                Ok(TokenInfo {
                    kind: id.map_or(TokenKind::ServiceKey, TokenKind::App),
                    scopes: info
                        .scopes
                        .map(|all| all.into_iter().filter_map(|scope| scope.0).collect()),
                    ends_at: ends.and_then(time_of),
                })
            }
            // It names no app. Whether it is a token at all, only its use tells.
            400..=499 if response.status != 429 => {
                Ok(unsaid(match self.is_refused(token).await? {
                    true => TokenKind::Refused,
                    false => TokenKind::ServiceKey,
                }))
            }
            status => Err(refused("say whose the token is", status, &response)),
        }
    }

    /// Whether HubSpot refuses a token: asked with a request that every token may send.
    async fn is_refused(&self, token: &SecretString) -> Result<bool, SubscriptionError> {
        let Ok(bearer) = bearer(token) else {
            return Ok(true);
        };
        let request = HttpRequest {
            method: Method::GET,
            path_and_query: Endpoint::Account.path(self.inner.version, None, None),
            headers: vec![
                (AUTHORIZATION, bearer),
                (ACCEPT, HeaderValue::from_static("application/json")),
            ],
            body: None,
            timeout: TIMEOUT,
            template: Endpoint::Account.template(self.inner.version),
        };
        let sent = self.told(&request, ("schema", request.template), 1);
        let mut response = self.send_told(request, sent).await?;
        mask(&mut response, &[token.expose_secret()]);
        match response.status {
            401 => Ok(true),
            429 | 500.. => Err(refused("take the token", response.status, &response)),
            _ => Ok(false),
        }
    }

    fn app_path(&self, developer: &Developer, rest: &str) -> String {
        let base = match self.inner.version {
            ApiVersion::V3 => "/webhooks/v3",
            ApiVersion::V2026_03 => "/webhooks/2026-03",
            ApiVersion::V2026_09 => "/app-webhooks/2026-09",
        };
        format!("{base}/{}{rest}", developer.app_id)
    }

    async fn ask(
        &self,
        developer: &Developer,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<HttpResponse, SubscriptionError> {
        let key = utf8_percent_encode(developer.key.expose_secret(), NON_ALPHANUMERIC);
        let mut attempt = 1;
        loop {
            let path = format!("{path}?hapikey={key}");
            let mut response = self.post_once(method.clone(), path, body, attempt).await?;
            mask(&mut response, &[developer.key.expose_secret()]);
            match response.status {
                200..300 => return Ok(response),
                429 if attempt < ATTEMPTS => {
                    let told = headers::read_retry_after(&response.headers, self.hubspot_now());
                    let wait = told.unwrap_or(THROTTLED);
                    self.inner.clock.sleep(wait.min(LONGEST_WAIT)).await;
                    attempt += 1;
                }
                status @ (401 | 403) => {
                    return Err(SubscriptionError::Unauthorized {
                        app_id: developer.app_id,
                        status,
                    });
                }
                status => return Err(refused(what, status, &response)),
            }
        }
    }

    async fn post_once(
        &self,
        method: Method,
        path_and_query: String,
        body: Option<&Value>,
        attempt: u32,
    ) -> Result<HttpResponse, SubscriptionError> {
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![(ACCEPT, json.clone())];
        if body.is_some() {
            headers.push((CONTENT_TYPE, json));
        }
        let request = HttpRequest {
            method,
            path_and_query,
            headers,
            body: body.map(|body| Bytes::from(body.to_string())),
            timeout: TIMEOUT,
            template: "/webhooks/{appId}",
        };
        let path = template_of(&request.path_and_query);
        let is_oauth = path.starts_with("/oauth/");
        let class = if is_oauth { "oauth" } else { "webhooks" };
        let sent = self.told(&request, (class, &path), attempt);
        self.send_told(request, sent).await
    }

    /// A request as it is told of, by its class and its path.
    fn told(
        &self,
        request: &HttpRequest,
        (class, path): (&'static str, &str),
        attempt: u32,
    ) -> CallBegun {
        CallBegun {
            at: self.inner.clock.now(),
            method: request.method.clone(),
            path: path.to_owned(),
            class,
            attempt,
            inputs: None,
        }
    }

    /// Sends a request once, and tells of it.
    async fn send_told(
        &self,
        request: HttpRequest,
        sent: CallBegun,
    ) -> Result<HttpResponse, SubscriptionError> {
        let begun = self.inner.clock.monotonic();
        let answer = self.inner.transport.send(request).await;
        let took = self.inner.clock.monotonic().saturating_sub(begun);
        let code = answer.as_ref().ok().and_then(code_of_answer);
        self.note_call(sent.ended(took, answer.as_ref(), code));
        Ok(answer?)
    }
}

/// The path of an app without its query, its numbers as `{id}`.
fn template_of(path_and_query: &str) -> String {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let segments = path.split('/').map(|segment| {
        let is_id = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if is_id { "{id}" } else { segment }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// In one word, why an answer is no success.
fn code_of_answer(response: &HttpResponse) -> Option<&'static str> {
    match response.status {
        200..300 => None,
        429 => Some("throttled"),
        401 | 403 => Some("unauthorized"),
        500.. => Some("internal-error"),
        _ => Some("refused"),
    }
}

fn parse<T: serde::de::DeserializeOwned>(response: &HttpResponse) -> Result<T, SubscriptionError> {
    wire::read(&response.body).map_err(|_not_as_described| SubscriptionError::Unreadable)
}

fn refused(what: &str, status: u16, response: &HttpResponse) -> SubscriptionError {
    let answer = read_answer(status, &response.body);
    SubscriptionError::Refused {
        what: what.to_owned(),
        status,
        explanation: answer.message.as_str().chars().take(300).collect(),
    }
}
