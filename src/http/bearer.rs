//! Who may see more than health: whoever shows the token of `[http]`; where there is none, whoever asks this machine by its address.
//!
//! Without a token `[http]` listens on this machine alone. A page in somebody's browser can still ask it, by a name of its own that it
//! lets point here (DNS rebinding), and would read what it answers: so a request by any name but `localhost` is refused.
//!
//! Programs send it as `Authorization: Bearer TOKEN`. A browser asks its user for it: there it is the password, beside any name.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

/// The token that is asked for at the moment; `None`: everybody may ask.
pub(crate) type AskedToken = watch::Receiver<Option<SecretString>>;

/// What a caller without the token is told to show.
const ASKED_FOR: &str = "Bearer realm=\"hubsyncd\", Basic realm=\"hubsyncd\", charset=\"UTF-8\"";

/// The same paths, for whoever shows the token.
pub(super) fn guarded(router: Router, token: AskedToken) -> Router {
    router.layer(from_fn_with_state(token, look))
}

async fn look(State(token): State<AskedToken>, request: Request, next: Next) -> Response {
    let token = token.borrow().clone();
    match &token {
        None if names_this_machine(request.headers()) => return next.run(request).await,
        None => {
            let told = "ask by this machine's address or by `localhost`, or set `[http].token`\n";
            return (StatusCode::MISDIRECTED_REQUEST, told).into_response();
        }
        Some(token) if is_shown(request.headers(), token) => return next.run(request).await,
        Some(_) => {}
    }
    let headers = [
        (
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(ASKED_FOR),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let told = "the token of `[http]` is asked for\n";
    (StatusCode::UNAUTHORIZED, headers, told).into_response()
}

/// Whether the host that a caller has asked for is an address, which no name server gives, or `localhost`. Browsers always tell it.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let authority = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    })
}

fn is_shown(headers: &HeaderMap, token: &SecretString) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, shown)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    let shown = shown.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_same(shown.as_bytes(), token);
    }
    let decoded = STANDARD
        .decode(shown)
        .ok()
        .filter(|_| scheme.eq_ignore_ascii_case("basic"));
    decoded.is_some_and(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b':');
        let password = parts.nth(1);
        password.is_some_and(|password| is_same(password, token))
    })
}

/// Whether two texts are one, in a time that says nothing of where they differ: both go through an HMAC under one key.
fn is_same(shown: &[u8], token: &SecretString) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    let wanted = hmac::sign(&key, token.expose_secret().as_bytes());
    hmac::verify(&key, shown, wanted.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).expect("a value");
            headers.append(header::AUTHORIZATION, value);
        }
        let token = SecretString::from("a-token");
        assert_eq!(is_shown(&headers, &token), expected, "{lines:?}");
    }

    #[test]
    fn the_token_alone_opens_by_either_scheme() {
        check(&["Bearer a-token"], true);
        check(&["bearer  a-token"], true);
        // `anybody:a-token` and `:a-token`.
        check(&["Basic YW55Ym9keTphLXRva2Vu"], true);
        check(&["basic OmEtdG9rZW4="], true);
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer a-toke",
            "Bearer a-token2",
            "a-token",
            "Token a-token",
            "Basic a-token",
            // `a-token` without a name, and `a-token:`.
            "Basic YS10b2tlbg==",
            "Basic YS10b2tlbjo=",
        ] {
            check(&[wrong], false);
        }
        check(&[], false);
        check(&["Bearer a-token", "Bearer a-token"], false);
    }

    #[test]
    fn without_a_token_a_name_that_can_be_made_to_point_here_opens_nothing() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:9187", true),
            ("127.0.0.1:9187", true),
            ("[::1]:9187", true),
            ("192.0.2.7", true),
            ("evil.example", false),
            ("evil.example:9187", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a value"));
            assert_eq!(names_this_machine(&headers), expected, "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }
}
