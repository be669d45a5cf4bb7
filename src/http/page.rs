//! `GET /`: a page for people, and `GET /status.json`: what it shows. One file, with its style and script in it; the browser is told to
//! run and to ask nothing else, and the script sets whatever comes from the database as text.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, header};
use ring::digest;

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Gives what the page shows at the moment, as JSON.
pub(crate) type StatusReport = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// What a browser is told beside each answer.
type PageHeaders = [(HeaderName, HeaderValue); 6];

/// What is served, and how.
#[derive(Clone)]
struct StatusPage {
    html: Arc<str>,
    policy: HeaderValue,
    report: StatusReport,
}

/// Both paths.
pub(super) fn router(report: StatusReport) -> Router {
    let html = HTML
        .replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", SCRIPT);
    let page = StatusPage {
        html: html.into(),
        policy: policy(),
        report,
    };
    Router::new()
        .route("/", get(html_of))
        .route("/status.json", get(json_of))
        .with_state(page)
}

/// What the browser may do for the page: apply this style, run this script, ask this daemon.
fn policy() -> HeaderValue {
    let hash = |text: &str| STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
    let text = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&text).expect("a policy is plain text")
}

fn headers(content_type: &'static str, policy: HeaderValue) -> PageHeaders {
    let plain = HeaderValue::from_static;
    [
        (header::CONTENT_TYPE, plain(content_type)),
        (header::CACHE_CONTROL, plain("no-store")),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, plain("nosniff")),
        (header::X_FRAME_OPTIONS, plain("DENY")),
        (header::REFERRER_POLICY, plain("no-referrer")),
    ]
}

async fn html_of(State(page): State<StatusPage>) -> (PageHeaders, String) {
    let headers = headers("text/html; charset=utf-8", page.policy);
    (headers, page.html.to_string())
}

async fn json_of(State(page): State<StatusPage>) -> (PageHeaders, String) {
    let report = (page.report)().await;
    (headers("application/json", page.policy), report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_file_that_asks_nobody_else_and_reads_no_value_as_a_tag() {
        let page = HTML
            .replace("/*STYLE*/", STYLE)
            .replace("/*SCRIPT*/", SCRIPT);
        assert!(page.contains("color-scheme: light dark") && page.contains("const look ="));
        for outside in ["src=", "@import", "url(", "<link", "https://"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for tag in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(tag), "{tag}");
        }
        let policy = policy();
        let policy = policy.to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(policy.matches("'sha256-").count(), 2);
    }
}
