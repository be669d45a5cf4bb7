//! OAuth: codes and refresh tokens against access tokens, revocation, introspection.
//!
//! Everything goes into the body of the request, as the newer endpoints demand (`hubspot/api-facts.md#2`); no secret
//! stands in a URL. Nothing here is repeated: whoever calls decides, since a refresh may have given a new refresh token.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::decide::quota::{EndpointClass, Priority};
use crate::hubspot::Client;
use crate::hubspot::call::headers;
use crate::hubspot::call::limiter::{LimiterError, QuotaWord};
use crate::hubspot::call::mask::mask;
use crate::hubspot::call::observe::CallBegun;
use crate::hubspot::call::transport::{HttpRequest, HttpResponse, LOOK_AT_NETWORK, TransportError};
use crate::hubspot::wire::{self, Elements, Scalar};
use crate::model::id::PortalId;

/// How long the token endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest error description that is kept.
const LONGEST_WORDS: usize = 300;

/// Fields whose values nobody may read, should an answer repeat them.
const SECRET_FIELDS: [&str; 5] = [
    "client_secret",
    "refresh_token",
    "code",
    "code_verifier",
    "token",
];

/// What stands unescaped in a form.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Who this app is.
#[derive(Debug, Clone)]
pub struct App {
    /// Its id, as every consent URL shows it.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// `/oauth/2026-03/token`, or `/oauth/v1/token` until 2027-02-16.
    pub token_path: String,
}

/// What the token endpoint gives.
#[derive(Debug, Clone)]
pub struct TokenGrant {
    /// For the next minutes.
    pub access_token: SecretString,
    /// For the next access token; maybe another one than before (`hubspot/api-facts.md#2`).
    pub refresh_token: Option<SecretString>,
    /// The access token's life; 30 minutes today.
    pub expires_in: Duration,
    /// The portal; the oldest endpoint doesn't say.
    pub portal_id: Option<PortalId>,
    /// The scopes that were granted; the oldest endpoint doesn't say.
    pub scopes: Option<Vec<String>>,
}

/// Why there is no grant.
#[derive(Debug, Error)]
pub enum OAuthError {
    /// The code or refresh token is dead: the app was uninstalled, or the token deleted.
    #[error("HubSpot revoked the grant: {explanation}")]
    Revoked {
        /// HubSpot's words.
        explanation: String,
    },
    /// HubSpot refuses the app itself, or the request: a wrong id, secret, redirect address.
    #[error("HubSpot refused the token request with {status}: {explanation}")]
    Refused {
        /// The status.
        status: u16,
        /// HubSpot's words.
        explanation: String,
    },
    /// 429 or 5xx: says nothing about the token.
    #[error("HubSpot's token endpoint failed with {status}")]
    Failed {
        /// The status.
        status: u16,
    },
    /// An answer that can't be read.
    #[error("HubSpot's token endpoint answered with something that can't be read")]
    Unreadable,
    /// No connection, or no answer.
    #[error("HubSpot's token endpoint could not be reached")]
    Transport(#[from] TransportError),
    /// The limiter let nothing go.
    #[error("the token request was held back")]
    HeldBack(#[from] LimiterError),
}

impl OAuthError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Revoked { .. } => "run `hubsyncd auth login` again",
            Self::Refused { .. } => "check `client_id` and `client_secret` of `[auth.oauth]`",
            Self::Transport(error) => error.hint().unwrap_or(LOOK_AT_NETWORK),
            Self::Failed { .. } | Self::Unreadable | Self::HeldBack(_) => LOOK_AT_NETWORK,
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Revoked { .. } => "logged-out",
            Self::Refused { .. } => "oauth-app-refused",
            Self::Failed { .. } => "internal-error",
            Self::Unreadable => "unreadable-answer",
            Self::Transport(error) => error.code(),
            Self::HeldBack(error) => error.code(),
        }
    }
}

#[derive(serde::Deserialize)]
struct WireGrant {
    #[serde(default)]
    access_token: Scalar,
    #[serde(default)]
    refresh_token: Scalar,
    #[serde(default)]
    expires_in: Scalar,
    #[serde(default)]
    hub_id: Scalar,
    #[serde(default, deserialize_with = "wire::lenient")]
    scopes: Option<Elements<Scalar>>,
    #[serde(default)]
    scope: Scalar,
}

#[derive(Default, serde::Deserialize)]
struct WireRefusal {
    #[serde(default)]
    error: Scalar,
    #[serde(default)]
    error_description: Scalar,
    #[serde(default)]
    status: Scalar,
    #[serde(default)]
    message: Scalar,
}

#[derive(serde::Deserialize)]
struct WireIntrospection {
    #[serde(default)]
    active: bool,
    #[serde(default)]
    hub_id: Scalar,
    #[serde(default, deserialize_with = "wire::lenient")]
    scopes: Option<Elements<Scalar>>,
}

/// What HubSpot says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// Whether it is good.
    pub active: bool,
    /// Its portal.
    pub portal_id: Option<PortalId>,
    /// Its scopes.
    pub scopes: Option<Vec<String>>,
}

impl App {
    fn own_fields(&self) -> [(&'static str, &str); 2] {
        [
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
        ]
    }

    /// Whether the endpoint is the oldest, which has neither introspection nor revocation beside it.
    fn is_oldest(&self) -> bool {
        self.token_path.contains("/v1/")
    }
}

impl Client {
    /// Exchanges the code of a consent.
    ///
    /// # Errors
    /// The code is dead, the app is refused, or HubSpot can't be reached. A code works once.
    pub(crate) async fn exchange_code(
        &self,
        app: &App,
        code: &str,
        redirect_uri: &str,
        verifier: &SecretString,
    ) -> Result<TokenGrant, OAuthError> {
        let [id, secret] = app.own_fields();
        let fields = [
            ("grant_type", "authorization_code"),
            id,
            secret,
            ("redirect_uri", redirect_uri),
            ("code", code),
            ("code_verifier", verifier.expose_secret()),
        ];
        let response = self.post_form(&app.token_path, &fields).await?;
        read_grant(&response)
    }

    /// Gets a new access token.
    ///
    /// # Errors
    /// [`OAuthError::Revoked`] where no repetition helps.
    pub async fn refresh(
        &self,
        app: &App,
        refresh_token: &SecretString,
    ) -> Result<TokenGrant, OAuthError> {
        let [id, secret] = app.own_fields();
        let fields = [
            ("grant_type", "refresh_token"),
            id,
            secret,
            ("refresh_token", refresh_token.expose_secret()),
        ];
        let response = self.post_form(&app.token_path, &fields).await?;
        read_grant(&response)
    }

    /// What HubSpot says of an access token; `None` where the endpoint is too old to be asked without the token in a URL.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh).
    pub async fn introspect(
        &self,
        app: &App,
        token: &SecretString,
    ) -> Result<Option<Introspection>, OAuthError> {
        if app.is_oldest() {
            return Ok(None);
        }
        let [id, secret] = app.own_fields();
        let fields = [
            id,
            secret,
            ("token", token.expose_secret()),
            ("token_type_hint", "access_token"),
        ];
        let path = format!("{}/introspect", app.token_path);
        let response = self.post_form(&path, &fields).await?;
        let read: WireIntrospection = wire::read(&response.body)
            .map_err(|_its_words_may_quote_a_token| OAuthError::Unreadable)?;
        Ok(Some(Introspection {
            active: read.active,
            portal_id: portal(&read.hub_id),
            scopes: read.scopes.map(texts),
        }))
    }

    /// Revokes a refresh token. `false` where the endpoint is too old for it to be done without the token in a URL.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh). Revoking a dead token is a success.
    pub async fn revoke(
        &self,
        app: &App,
        refresh_token: &SecretString,
    ) -> Result<bool, OAuthError> {
        if app.is_oldest() {
            return Ok(false);
        }
        let [id, secret] = app.own_fields();
        let fields = [
            id,
            secret,
            ("token", refresh_token.expose_secret()),
            ("token_type_hint", "refresh_token"),
        ];
        let path = format!("{}/revoke", app.token_path);
        match self.post_form(&path, &fields).await {
            Ok(_) | Err(OAuthError::Revoked { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn post_form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<HttpResponse, OAuthError> {
        let permit = self
            .inner
            .limiter
            .acquire(EndpointClass::Crm, Priority::Interactive)
            .await?;
        let request = HttpRequest {
            method: Method::POST,
            path_and_query: path.to_owned(),
            headers: vec![
                (ACCEPT, HeaderValue::from_static("application/json")),
                (
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                ),
            ],
            body: Some(Bytes::from(form(fields))),
            timeout: TIMEOUT,
            template: "/oauth/token",
        };
        let begun = (self.inner.clock.monotonic(), self.inner.clock.now());
        let sent = self.inner.transport.send(request).await;
        let took = self.inner.clock.monotonic().saturating_sub(begun.0);
        let told = CallBegun {
            at: begun.1,
            method: Method::POST,
            path: path.to_owned(),
            class: "oauth",
            attempt: 1,
            inputs: None,
        };
        let refused = sent.as_ref().ok().filter(|response| !is_ok(response));
        let code = refused.map(|response| refusal(response).code());
        self.note_call(told.ended(took, sent.as_ref(), code));
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                match error {
                    TransportError::NotSent(_)
                    | TransportError::NoName(_)
                    | TransportError::Tunnel { .. }
                    | TransportError::Unverified(_) => permit.not_sent(),
                    TransportError::Lost(_)
                    | TransportError::TimedOut(_)
                    | TransportError::TooLarge(_) => permit.lost(),
                }
                return Err(error.into());
            }
        };
        let secrets: Vec<&str> = fields
            .iter()
            .filter(|(name, _)| SECRET_FIELDS.contains(name))
            .map(|(_, value)| *value)
            .collect();
        mask(&mut response, &secrets);
        tracing::debug!(
            method = "POST",
            path = "/oauth/token",
            status = response.status,
            ms = took.as_millis() as u64,
            "HubSpot answered"
        );
        permit.answered(&QuotaWord {
            observed: headers::read_quota(&response.headers),
            by_hubspot: response.status < 500,
            pause: None,
            retry_after: headers::read_retry_after(&response.headers, self.hubspot_now()),
        });
        if is_ok(&response) {
            return Ok(response);
        }
        Err(refusal(&response))
    }
}

fn is_ok(response: &HttpResponse) -> bool {
    (200..300).contains(&response.status)
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, FORM)))
        .collect();
    pairs.join("&")
}

/// A URL with parameters behind it.
pub(crate) fn with_query(url: &str, fields: &[(&str, &str)]) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{}", form(fields))
}

fn portal(id: &Scalar) -> Option<PortalId> {
    id.0.as_deref()?.parse().ok().map(PortalId)
}

fn texts(scalars: Elements<Scalar>) -> Vec<String> {
    let scalars = scalars.read.into_iter();
    scalars.filter_map(|scalar| scalar.0).collect()
}

fn read_grant(response: &HttpResponse) -> Result<TokenGrant, OAuthError> {
    let read: WireGrant = wire::read(&response.body)
        .map_err(|_its_words_may_quote_a_token| OAuthError::Unreadable)?;
    let secret = |text: Scalar| {
        text.0
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(SecretString::from)
    };
    let seconds = read.expires_in.0.and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| *seconds >= 1.0 && *seconds <= 31_536_000.0);
    let scopes = match (read.scopes, read.scope.0) {
        (Some(scopes), _) => Some(texts(scopes)),
        (None, Some(scope)) => Some(scope.split_whitespace().map(str::to_owned).collect()),
        (None, None) => None,
    };
    Ok(TokenGrant {
        access_token: secret(read.access_token).ok_or(OAuthError::Unreadable)?,
        refresh_token: secret(read.refresh_token),
        expires_in: Duration::from_secs_f64(seconds.ok_or(OAuthError::Unreadable)?),
        portal_id: portal(&read.hub_id),
        scopes,
    })
}

fn refusal(response: &HttpResponse) -> OAuthError {
    let status = response.status;
    if status == 429 || status >= 500 {
        return OAuthError::Failed { status };
    }
    let read: WireRefusal = wire::read(&response.body).unwrap_or_default();
    let code = read.error.0.or(read.status.0).unwrap_or_default();
    let explanation = read.error_description.0.or(read.message.0);
    let explanation: String = explanation
        .unwrap_or_else(|| code.clone())
        .chars()
        .filter(|letter| !letter.is_control())
        .take(LONGEST_WORDS)
        .collect();
    // Both vocabularies (`hubspot/api-facts.md#2`).
    let is_dead = matches!(
        code.as_str(),
        "invalid_grant" | "BAD_REFRESH_TOKEN" | "BAD_AUTH_CODE" | "EXPIRED_AUTH_CODE"
    );
    if is_dead {
        OAuthError::Revoked { explanation }
    } else {
        OAuthError::Refused {
            status,
            explanation,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn grants_of_both_vocabularies_are_read() {
        let old =
            r#"{"access_token":"a","refresh_token":"r","expires_in":1800,"token_type":"bearer"}"#;
        let grant = read_grant(&response(200, old)).expect("a grant");
        assert_eq!(grant.expires_in, Duration::from_mins(30));
        assert_eq!((grant.portal_id, grant.scopes), (None, None));
        let new =
            r#"{"access_token":"a","expires_in":"60","hub_id":7,"scopes":["oauth","tickets"]}"#;
        let grant = read_grant(&response(200, new)).expect("a grant");
        assert_eq!(grant.portal_id, Some(PortalId(7)));
        assert_eq!(grant.scopes.expect("scopes"), ["oauth", "tickets"]);
        assert!(grant.refresh_token.is_none());
    }

    #[test]
    fn broken_grants_are_refused_without_their_words() {
        for body in [
            "",
            "[]",
            "<html>",
            r#"{"access_token":"hush"}"#,
            r#"{"access_token":"hush","expires_in":0}"#,
            r#"{"access_token":"hush","expires_in":"soon"}"#,
            "{\"access_token\":\"hu\\nsh\",\"expires_in\":60}",
        ] {
            let error = read_grant(&response(200, body)).expect_err(body);
            assert!(!format!("{error} {error:?}").contains("hush"), "{body}");
        }
    }

    #[test]
    fn a_dead_token_is_told_from_a_wrong_app_and_a_bad_day() {
        let said = |status, body: &str| refusal(&response(status, body));
        for body in [
            r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#,
            r#"{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked","status":"BAD_REFRESH_TOKEN"}"#,
        ] {
            assert!(
                matches!(said(400, body), OAuthError::Revoked { .. }),
                "{body}"
            );
        }
        for body in [
            r#"{"status":"BAD_CLIENT_SECRET"}"#,
            r#"{"error":"invalid_client"}"#,
            "<html>",
        ] {
            assert!(
                matches!(said(400, body), OAuthError::Refused { .. }),
                "{body}"
            );
        }
        for status in [429, 500, 502, 503] {
            let dead = r#"{"error":"invalid_grant"}"#;
            assert!(
                matches!(said(status, dead), OAuthError::Failed { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn a_form_escapes_what_it_must() {
        assert_eq!(
            form(&[("a", "x y&z=é"), ("b", "-_.~")]),
            "a=x%20y%26z%3D%C3%A9&b=-_.~"
        );
        assert_eq!(
            with_query("https://a/b?c=d", &[("e", "f")]),
            "https://a/b?c=d&e=f"
        );
    }
}
