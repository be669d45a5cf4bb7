//! `GET /healthz` (the process lives) and `GET /readyz` (it does its work, or why not). `design.md` 6.4.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::watch;

/// How the daemon is doing, in a word and, where it is not ready, a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Migrated, token accepted, schema read, every worker alive. A backfill may still run.
    pub ready: bool,
    /// A word of `sync_health.state`.
    pub state: String,
    /// Why it is not ready, or what is wrong although it is.
    pub reason: Option<String>,
}

impl Health {
    /// Before the portal's schema was read.
    pub fn starting() -> Self {
        Self::not_ready(
            "starting",
            "the portal's schema has not been read yet".to_owned(),
        )
    }

    /// Ready, in a state of `sync_health`.
    pub fn ready(state: String, reason: Option<String>) -> Self {
        Self {
            ready: true,
            state,
            reason,
        }
    }

    /// Not ready, and why.
    pub(crate) fn not_ready(state: &str, reason: String) -> Self {
        Self {
            ready: false,
            state: state.to_owned(),
            reason: Some(reason),
        }
    }

    fn to_json(&self) -> String {
        serde_json::json!({ "state": self.state, "reason": self.reason }).to_string()
    }
}

/// The two paths; everything else is 404.
pub fn router(health: watch::Receiver<Health>) -> Router {
    paths().with_state(health)
}

/// The same where nothing else can be served: whatever is asked for, the answer is why.
pub(crate) fn router_alone(health: watch::Receiver<Health>) -> Router {
    paths().fallback(ready).with_state(health)
}

fn paths() -> Router<watch::Receiver<Health>> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

type HealthAnswer = (StatusCode, [(header::HeaderName, HeaderValue); 2], String);

async fn alive() -> HealthAnswer {
    answer(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        "ok\n".to_owned(),
    )
}

/// A sender that is gone means that the daemon's tasks are.
async fn ready(State(health): State<watch::Receiver<Health>>) -> HealthAnswer {
    let gone = health.has_changed().is_err();
    let seen = if gone {
        Health::not_ready("stopping", "the daemon is stopping".to_owned())
    } else {
        health.borrow().clone()
    };
    let status = if seen.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    answer(status, "application/json", seen.to_json())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> HealthAnswer {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body)
}
