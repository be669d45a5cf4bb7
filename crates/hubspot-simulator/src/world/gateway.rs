//! Replies that no handler writes: gateways, refusals, limits, and what the network does to an answer.

use rand::RngExt as _;

use crate::api::problem::Problem;
use crate::api::request::{Delivery, Reply, Request};
use crate::api::routes::Route;
use crate::portal::Portal;
use crate::world::faults::{FaultKind, html};
use crate::world::limits::{Policy, refusal};

/// The status of a gateway that has waited long enough; always with HTML.
pub(crate) const GATEWAY_TIMEOUT: u16 = 504;

impl Portal {
    /// The gateway's 504 in place of a page of too many records.
    pub(crate) fn check_page(&self, records: usize) -> Result<(), Problem> {
        let most = self.faults().pages_time_out_above.unwrap_or(usize::MAX);
        if records <= most {
            return Ok(());
        }
        Err(Problem::new(GATEWAY_TIMEOUT, "GATEWAY_TIMEOUT", ""))
    }

    /// The answers that come from a gateway or a refusal; some of them after the request was applied.
    pub(crate) fn refuse_by_fault(
        &mut self,
        fault: FaultKind,
        request: &Request,
        route: &Result<Route, Problem>,
        correlation_id: &str,
        at_ms: i64,
    ) -> Option<Reply> {
        let problem = |status, category, message: &str| {
            problem_reply(&Problem::new(status, category, message), correlation_id)
        };
        let retry_after =
            |reply: Reply, seconds: u64| with_header(reply, "Retry-After", seconds.to_string());
        Some(match fault {
            FaultKind::RateLimited => {
                let body = refusal(self.settings(), Policy::Burst, correlation_id);
                let reply = json_reply(429, body.to_string().into_bytes());
                match self.settings().retry_after_on_429 {
                    true => retry_after(reply, self.faults().retry_after_s),
                    false => reply,
                }
            }
            FaultKind::InternalError => problem(
                500,
                "INTERNAL_ERROR",
                "There was a problem with the request.",
            ),
            FaultKind::Unavailable => retry_after(
                problem(503, "INTERNAL_ERROR", "The service is unavailable."),
                self.faults().retry_after_s,
            ),
            FaultKind::Locked => {
                problem(423, "LOCKED", "The record is locked by another operation.")
            }
            FaultKind::Migrating => {
                let words = "This account is being migrated between data centers.";
                retry_after(
                    problem(477, "MIGRATION_IN_PROGRESS", words),
                    self.faults().migration_s,
                )
            }
            FaultKind::Forbidden => {
                let words = "This account is suspended. Contact the owner of the account.";
                problem(403, "FORBIDDEN", words)
            }
            FaultKind::HtmlAnswer => html_reply(200),
            FaultKind::EmptyPage => {
                let page = serde_json::json!({"total": 1, "results": [], "paging": {"next": {"after": "1"}}});
                json_reply(200, page.to_string().into_bytes())
            }
            FaultKind::BadGateway | FaultKind::GatewayTimeout => {
                if self.rng_mut().random_bool(0.5) {
                    drop(self.called(request, route, None, correlation_id, at_ms));
                }
                html_reply(if fault == FaultKind::BadGateway {
                    502
                } else {
                    GATEWAY_TIMEOUT
                })
            }
            FaultKind::NeverArrived
            | FaultKind::AnswerLost
            | FaultKind::Late
            | FaultKind::CutBody
            | FaultKind::TruncatedJson
            | FaultKind::Slow
            | FaultKind::DuplicateRecord
            | FaultKind::MissingRecord
            | FaultKind::UnreadableRecord
            | FaultKind::OmittedRecord
            | FaultKind::FutureDate => return None,
        })
    }

    pub(crate) fn deliver(&mut self, mut reply: Reply, fault: Option<FaultKind>) -> Reply {
        let (low, high) = (
            self.settings().latency_min_ms,
            self.settings().latency_max_ms,
        );
        let latency_ms = if high == 0 {
            0
        } else {
            self.rng_mut().random_range(low.min(high)..=high)
        };
        reply.delivery = match fault {
            Some(FaultKind::AnswerLost) => Delivery::AnswerLost,
            Some(FaultKind::CutBody) if reply.body.is_empty() => Delivery::AnswerLost,
            Some(FaultKind::CutBody) => Delivery::CutAfter(reply.body.len() / 2),
            Some(FaultKind::Slow) => Delivery::Whole {
                latency_ms: latency_ms + self.faults().slow_ms,
            },
            _ => Delivery::Whole { latency_ms },
        };
        if fault == Some(FaultKind::TruncatedJson) {
            reply.body.truncate(reply.body.len() / 2);
        }
        if self.settings().cuts_pairs {
            reply.body = with_half_pairs(&reply.body);
        }
        reply
    }
}

/// Writes each U+FFFD as half of a pair, as it stands in a text that was cut within an emoji.
fn with_half_pairs(body: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(body)
        .replace('\u{fffd}', "\\ud83d")
        .into_bytes()
}

fn with_header(mut reply: Reply, name: &str, value: String) -> Reply {
    reply.headers.push((name.to_owned(), value));
    reply
}

fn plain_reply(status: u16, content_type: &str, body: Vec<u8>) -> Reply {
    let headers = if body.is_empty() {
        Vec::new()
    } else {
        vec![("Content-Type".to_owned(), content_type.to_owned())]
    };
    Reply {
        status,
        headers,
        body,
        delivery: Delivery::Whole { latency_ms: 0 },
    }
}

pub(crate) fn json_reply(status: u16, body: Vec<u8>) -> Reply {
    plain_reply(status, "application/json;charset=utf-8", body)
}

pub(crate) fn html_reply(status: u16) -> Reply {
    plain_reply(status, "text/html; charset=UTF-8", html(status))
}

pub(crate) fn problem_reply(problem: &Problem, correlation_id: &str) -> Reply {
    json_reply(
        problem.status,
        problem.body(correlation_id).to_string().into_bytes(),
    )
}
