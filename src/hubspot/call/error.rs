//! `HubspotError`: why a call has no result, one variant per thing that a caller treats differently.
//!
//! It answers its caller's questions: when may this be tried again, and may it have happened all the same? HubSpot's
//! own words are apart, in [`HubspotError::explanation`], because they may quote a property's value.

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
use thiserror::Error;

use crate::decide::outgoing::refusal::{code_of, coded};
use crate::decide::outgoing::settle::Failure;
use crate::decide::portal::scopes::{ASK_THE_ACCOUNT, is_of_scope};
use crate::decide::quota::{LONGEST_REST, Pause};
use crate::decide::retry::RetryClass;
use crate::hubspot::call::answer::Answer;
use crate::hubspot::call::limiter::LimiterError;
use crate::hubspot::call::standing::{Trouble, with_causes};
use crate::hubspot::call::transport::{Cause, LOOK_AT_NETWORK, TooLarge, TransportError};
use crate::model::time::Timestamp;

/// Which call failed, as logs name it: no id, no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path with `{object}` for the object.
    pub template: &'static str,
}

impl std::fmt::Display for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "`{} {}`", self.method, self.template)
    }
}

/// Why a call has no result.
#[derive(Debug, Error)]
pub enum HubspotError {
    /// HubSpot refused what was asked: 400, 404, 409, 413 and other statuses that repeat for the same request.
    #[error("{call} was refused: {}", said(answer))]
    Refused {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
    },
    /// 401: no token, a wrong one, an expired one.
    #[error("HubSpot refuses {token}: {}", said(answer))]
    Unauthorized {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
        /// Which token: where it stands and what may be shown of it.
        token: TokenName,
    },
    /// There is no token: nobody logged in, or the grant was revoked. Nothing was sent.
    #[error("{call} was not sent: {why}")]
    LoggedOut {
        /// The call.
        call: Call,
        /// What to do.
        why: std::sync::Arc<str>,
    },
    /// 403 by HubSpot itself: a scope is missing, or the account may not.
    #[error("{why}")]
    Forbidden {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
        /// Which scope is missing for what.
        why: String,
        /// Where the scope is added, and what waits for it.
        remedy: String,
    },
    /// 429, several times over: a quota that somebody else uses up. It was not carried out.
    #[error("{call} met a limit of HubSpot's: {}", said(answer))]
    Throttled {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
        /// No request of its class goes before.
        until: Timestamp,
    },
    /// 423: the records are locked, for two seconds (`hubspot/api-facts.md#4`). It was not carried out.
    #[error("{call} met locked records: {}", said(answer))]
    Locked {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
    },
    /// 477: the account moves between data centres (`hubspot/api-facts.md#4`). It was not carried out.
    #[error("{call}: HubSpot is moving the account until {until}")]
    Moving {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
        /// When HubSpot wants to be asked again.
        until: Timestamp,
    },
    /// 500: HubSpot failed. A write may have happened.
    #[error("{call} failed in HubSpot: {}{}", said(answer), rest_of(answer))]
    Server {
        /// The call.
        call: Call,
        /// What HubSpot says.
        answer: Box<Answer>,
    },
    /// 408, 502, 503, 504, 52x, a redirect, or a page in place of an answer, whatever its status. A write may have happened.
    #[error(
        "{call} got no answer from HubSpot itself: {}{}",
        elsewhere(answer),
        rest_of(answer)
    )]
    Gateway {
        /// The call.
        call: Call,
        /// What the gateway says.
        answer: Box<Answer>,
    },
    /// A success whose body is not what the endpoint answers. A write has happened, most likely.
    #[error("{call} was answered with {status} and a body that can't be read")]
    Unreadable {
        /// The call.
        call: Call,
        /// The status.
        status: u16,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// No connection: the request surely never reached HubSpot.
    #[error("{call} was not sent")]
    NotSent {
        /// The call.
        call: Call,
        /// How it failed.
        #[source]
        source: TransportError,
    },
    /// The answer was lost on its way. A write may have happened.
    #[error("{call} was sent and its answer was lost")]
    Lost {
        /// The call.
        call: Call,
        /// How it failed.
        #[source]
        source: TransportError,
    },
    /// The limiter let nothing go: out of quota, paused, or HubSpot is unreachable. Nothing was sent.
    #[error("{call} was held back{}", because.as_ref().map(|trouble| after(call, &trouble.explanation)).unwrap_or_default())]
    HeldBack {
        /// The call.
        call: Call,
        /// Why, and until when.
        #[source]
        source: LimiterError,
        /// How the requests before it ended, where HubSpot is unreachable: the cause to look at.
        because: Option<Box<Trouble>>,
    },
    /// What a write rests on was read too long ago by the time that it could go: it was not sent, and is read again.
    #[error("{call} was not sent: what it rests on was read too long ago")]
    Stale {
        /// The call.
        call: Call,
    },
    /// A request that HubSpot is known to refuse, so that it was not sent.
    #[error("{call} was not sent: {why}")]
    Invalid {
        /// The call.
        call: Call,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A token as it may be shown: where it stands, and how it looks without what is secret of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName {
    explanation: String,
    is_oauth: bool,
    /// Whether it looks like one of HubSpot's.
    is_shaped: bool,
}

/// What HubSpot's static tokens have: `pat-na1-` and a UUID (`hubspot/api-facts.md#2`).
const TOKEN_LETTERS: usize = 44;

impl TokenName {
    /// The token that stands in `place`. HubSpot's own say their kind and data centre in front (`pat-na1-…`), which is
    /// no secret; its length tells one that was cut off.
    pub fn new(place: &str, token: &str) -> Self {
        let mut parts = token.splitn(3, '-');
        let kind = match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(centre), Some(_)) if kind.len() <= 4 && centre.len() <= 4 => {
                format!("{kind}-{centre}-…, ")
            }
            (_, _, _) => String::new(),
        };
        let letters = token.chars().count();
        Self {
            explanation: format!("the token of {place} ({kind}{letters} letters)"),
            is_oauth: false,
            is_shaped: !kind.is_empty() && letters == TOKEN_LETTERS,
        }
    }

    /// The access token of an OAuth app's login, which is renewed.
    pub(crate) fn of_login() -> Self {
        Self {
            explanation: "the access token of the login".to_owned(),
            is_oauth: true,
            is_shaped: true,
        }
    }
}

impl std::fmt::Display for TokenName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.explanation)
    }
}

/// What came before a call was held back; the same call is not named twice.
fn after(call: &Call, explanation: &str) -> String {
    match explanation.strip_prefix(&call.to_string()) {
        Some(rest) if rest.starts_with(' ') => format!(" after it{rest}"),
        Some(_) | None => format!(" after this: {explanation}"),
    }
}

/// What came in place of an answer: not HubSpot's words, since these are somebody else's.
fn elsewhere(answer: &Answer) -> String {
    match answer.status {
        407 => "407, a proxy on the way wants a user and a password".to_owned(),
        300..=399 => format!("{}, a redirect to another address", answer.status),
        200..=299 => format!("{} with a page that is no answer", answer.status),
        500..=599 if !answer.by_hubspot => {
            format!("{} with a page that is no answer", said(answer))
        }
        _ => said(answer),
    }
}

/// For how long it is left alone, where it asked for that.
fn rest_of(answer: &Answer) -> String {
    answer.retry_after.map_or_else(String::new, |asked| {
        let rest = asked.min(LONGEST_REST).as_secs();
        format!(
            "; it asked to be left alone for {} s, and is asked again after {rest} s",
            asked.as_secs()
        )
    })
}

/// Whether an answer comes from something between this machine and HubSpot, or in front of it: a gateway that could not
/// reach it, a proxy, a sign-in page. HubSpot's own is JSON and never a redirect.
pub(crate) fn is_from_elsewhere(answer: &Answer) -> bool {
    match answer.status {
        // A 429 may come as HTML from the edge and is a limit all the same (`hubspot/api-facts.md#3`).
        401 | 423 | 429 | 477 => false,
        status if splits(status) => false,
        200..=399 | 407 | 408 | 502..=599 => true,
        _ => !answer.by_hubspot,
    }
}

/// Status, category, codes and the id for HubSpot's support; not the words.
fn said(answer: &Answer) -> String {
    let status = answer.status.to_string();
    let parts = [&status, &answer.category].into_iter().chain(&answer.codes);
    let parts: Vec<&str> = parts
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    let scopes = match answer.scopes.join("`, `") {
        scopes if scopes.is_empty() => scopes,
        scopes => format!(", scopes `{scopes}`"),
    };
    let correlation_id = match &answer.correlation_id {
        id if id.is_empty() => String::new(),
        id => format!(", correlation id {id}"),
    };
    format!("{}{scopes}{correlation_id}", parts.join(" "))
}

/// When a call may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before this moment, by this machine's clock; then at once.
    At(Timestamp),
    /// After the wait that `decide::retry` gives for this class.
    Backoff(RetryClass),
    /// In two halves, until the bad input is alone; alone, never.
    Split,
    /// Once, with another token.
    Reauthorize,
    /// Not as it is.
    Never,
}

impl HubspotError {
    /// When the call may be tried again. Whether a write may is another question: `batch_failure`.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused { answer, .. } if splits(answer.status) => Retry::Split,
            Self::Refused { .. } | Self::Forbidden { .. } | Self::Invalid { .. } => Retry::Never,
            Self::Unauthorized { .. } | Self::LoggedOut { .. } => Retry::Reauthorize,
            Self::Throttled { until, .. } | Self::Moving { until, .. } => Retry::At(*until),
            Self::HeldBack { source, .. } => source
                .until()
                .map_or(Retry::Backoff(RetryClass::Transient), Retry::At),
            Self::Locked { .. } => Retry::Backoff(RetryClass::Locked),
            Self::Server { .. }
            | Self::Gateway { .. }
            | Self::Unreadable { .. }
            | Self::NotSent { .. }
            | Self::Stale { .. }
            | Self::Lost { .. } => Retry::Backoff(RetryClass::Transient),
        }
    }

    /// Whether HubSpot could not be reached, so that it says nothing about the request.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::NotSent { .. }
            | Self::Lost { .. }
            | Self::Gateway { .. }
            | Self::Moving { .. } => true,
            Self::HeldBack { source, .. } => matches!(
                source,
                LimiterError::Unreachable { .. }
                    | LimiterError::Paused {
                        why: Pause::Everything,
                        ..
                    }
            ),
            Self::Refused { .. }
            | Self::Unauthorized { .. }
            | Self::LoggedOut { .. }
            | Self::Forbidden { .. }
            | Self::Throttled { .. }
            | Self::Locked { .. }
            | Self::Server { .. }
            | Self::Unreadable { .. }
            | Self::Stale { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// Whether a request went on its way, so that there is a row of it in `sync_calls`.
    pub(crate) fn was_attempted(&self) -> bool {
        !matches!(
            self,
            Self::LoggedOut { .. }
                | Self::HeldBack { .. }
                | Self::Stale { .. }
                | Self::Invalid { .. }
        )
    }

    /// Whether HubSpot itself answered, and said no.
    pub(crate) fn is_own_answer(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::Unauthorized { .. }
                | Self::Forbidden { .. }
                | Self::Throttled { .. }
                | Self::Locked { .. }
        )
    }

    /// Whether the request was made and nothing came of it.
    pub(crate) fn came_to_nothing(&self) -> bool {
        matches!(
            self,
            Self::NotSent { .. }
                | Self::Lost { .. }
                | Self::Gateway { .. }
                | Self::Moving { .. }
                | Self::Server { .. }
        )
    }

    /// The stable name of what went wrong, in kebab case: logs, `--json` and the manual know it by that.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { answer, .. } => code_of(&answer.category, &answer.codes),
            Self::Unauthorized { .. } => "unauthorized",
            Self::LoggedOut { .. } => "logged-out",
            Self::Forbidden { .. } if self.is_of_scope() => "missing-scope",
            Self::Forbidden { .. } => "forbidden",
            Self::Throttled { .. } => "throttled",
            Self::Locked { .. } => "locked",
            Self::Moving { .. } => "moving",
            Self::Server { .. } => "internal-error",
            Self::Gateway { answer, .. } if answer.status == 407 => "proxy",
            Self::Gateway { answer, .. } if answer.status < 500 && answer.status != 408 => {
                "not-hubspot"
            }
            Self::Gateway { .. } => "gateway",
            Self::Unreadable { .. } => "unreadable-answer",
            Self::NotSent { source, .. } | Self::Lost { source, .. } => source.code(),
            Self::HeldBack { source, .. } => source.code(),
            Self::Stale { .. } => "stale-read",
            Self::Invalid { .. } => "invalid-request",
        }
    }

    /// What somebody can do about it.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        if let Self::Forbidden { remedy, .. } = self {
            return Some(Cow::Owned(remedy.clone()));
        }
        // What helps is what helped against the cause.
        if let Self::HeldBack {
            source: LimiterError::Unreachable { .. },
            because: Some(trouble),
            ..
        } = self
            && let Some(hint) = &trouble.hint
        {
            return Some(hint.clone());
        }
        self.known_hint().map(Cow::Borrowed)
    }

    /// What helps whatever the answer names.
    fn known_hint(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized { token, .. } if token.is_oauth => {
                Some("it is renewed by itself; if that goes on, run `hubsyncd auth login` again")
            }
            Self::Unauthorized { token, .. } if !token.is_shaped => Some(
                "copy it again from HubSpot, whole: a private app's token and a service key begin with `pat-` and have 44 letters",
            ),
            Self::Unauthorized { .. } => {
                Some("copy it again from HubSpot; it may be expired, revoked or cut off")
            }
            Self::LoggedOut { .. } => Some("run `hubsyncd auth login`"),
            Self::Forbidden { .. } => Some(ASK_THE_ACCOUNT),
            Self::NotSent { source, .. } | Self::Lost { source, .. } => source.hint(),
            Self::Gateway { answer, .. } if answer.status == 407 => {
                Some("write the proxy as `http://user:password@host:port` in `HTTPS_PROXY`")
            }
            Self::Gateway { answer, .. } if answer.status < 500 && answer.status != 408 => Some(
                "something on the way answers in HubSpot's place: look at proxy, firewall and `[portal].base_url`",
            ),
            Self::Gateway { .. }
            | Self::Server { .. }
            | Self::HeldBack {
                source:
                    LimiterError::Paused {
                        why: Pause::Rest(_),
                        ..
                    },
                ..
            } => Some("HubSpot is in trouble: look at https://status.hubspot.com, and wait"),
            Self::Unreadable { .. } => Some(
                "if it goes on, look whether a proxy changes HubSpot's answers, and report it with this line",
            ),
            Self::HeldBack {
                source: LimiterError::OutOfQuota { .. },
                ..
            } => Some(
                "wait for the account's midnight, when the day begins anew, or find the app that uses it up: HubSpot lists them under Development > Monitoring",
            ),
            Self::HeldBack {
                source: LimiterError::Unreachable { .. },
                ..
            } => Some(LOOK_AT_NETWORK),
            Self::Throttled { .. }
            | Self::HeldBack {
                source:
                    LimiterError::Paused {
                        why: Pause::Class(_),
                        ..
                    },
                ..
            } => Some("another app uses the account's limit up: lower `[limits]`, or slow it down"),
            Self::Moving { .. }
            | Self::Locked { .. }
            | Self::HeldBack { .. }
            | Self::Stale { .. } => Some("wait: it is over by itself"),
            Self::Refused { .. } | Self::Invalid { .. } => Some(
                "look at the mapping file and at HubSpot's words in `sync_outbox.last_error` and `sync_status.last_error`",
            ),
        }
    }

    /// Whether this machine's database kept the request back, so that it says nothing about HubSpot.
    pub(crate) fn is_of_the_database(&self) -> bool {
        matches!(self, Self::HeldBack { source, .. } if source.is_of_the_database())
    }

    /// Whether the token was not accepted.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::LoggedOut { .. })
    }

    /// Whether HubSpot forbids this because a scope is missing.
    pub(crate) fn is_of_scope(&self) -> bool {
        matches!(self, Self::Forbidden { answer, .. } if is_of_scope(&answer.scopes, &answer.category))
    }

    /// Whether the token may not do this: a scope is missing, or the account or its user may not.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// Until when the day's requests are spent, where that is why.
    pub(crate) fn out_of_quota_until(&self) -> Option<Timestamp> {
        match self {
            Self::HeldBack {
                source: LimiterError::OutOfQuota { until },
                ..
            } => Some(*until),
            Self::HeldBack { .. }
            | Self::Refused { .. }
            | Self::Unauthorized { .. }
            | Self::LoggedOut { .. }
            | Self::Forbidden { .. }
            | Self::Throttled { .. }
            | Self::Locked { .. }
            | Self::Moving { .. }
            | Self::Server { .. }
            | Self::Gateway { .. }
            | Self::Unreadable { .. }
            | Self::NotSent { .. }
            | Self::Lost { .. }
            | Self::Stale { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Whether the answer has more bytes than are read: fewer records may be asked for.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.is::<TooLarge>())
    }

    /// Whether HubSpot answered, and nobody can make sense of it: asking in the same way again may never help.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }

    /// What HubSpot said, where it said anything.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Refused { answer, .. }
            | Self::Unauthorized { answer, .. }
            | Self::Forbidden { answer, .. }
            | Self::Throttled { answer, .. }
            | Self::Locked { answer, .. }
            | Self::Moving { answer, .. }
            | Self::Server { answer, .. }
            | Self::Gateway { answer, .. } => Some(answer),
            Self::Unreadable { .. }
            | Self::NotSent { .. }
            | Self::Lost { .. }
            | Self::HeldBack { .. }
            | Self::LoggedOut { .. }
            | Self::Stale { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Whether nothing was sent because the process is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(
            self,
            Self::HeldBack {
                source: LimiterError::Closed,
                ..
            }
        )
    }

    /// For how long HubSpot asked not to be asked, at most a minute: longer ones are those of a spent day and 477, which
    /// [`retry`](Self::retry) names.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let asked = self.answer()?.retry_after?;
        Some(asked.min(LONGEST_REST))
    }

    /// The HTTP status, where an answer came.
    pub fn status(&self) -> Option<u16> {
        if let Self::Unreadable { status, .. } = self {
            return Some(*status);
        }
        self.answer().map(|answer| answer.status)
    }

    /// The words of a refusal for good, with our code of it (`decide/outgoing/refusal`).
    pub(crate) fn refusal_words(&self) -> String {
        let (category, codes) = match (self, self.answer()) {
            (Self::Forbidden { .. }, _) if self.is_of_scope() => ("MISSING_SCOPES", &[][..]),
            (Self::Forbidden { .. }, _) => ("FORBIDDEN", &[][..]),
            (_, Some(answer)) => (answer.category.as_str(), &answer.codes[..]),
            (_, None) => ("", &[][..]),
        };
        coded(&self.explanation(), category, codes)
    }

    /// HubSpot's words about a request that it refuses, where it has some. They may quote what was sent.
    pub(crate) fn words_of_refusal(&self) -> Option<&str> {
        let Self::Refused { answer, .. } = self else {
            return None;
        };
        Some(answer.message.as_str()).filter(|words| !words.is_empty())
    }

    /// HubSpot's own words, else what failed: for `last_error` in the database, never for the log.
    pub fn explanation(&self) -> String {
        // Which scope is missing says more than that one is; what is not HubSpot's has no words of HubSpot's.
        if let Self::Forbidden { why, answer, .. } = self
            && (self.is_of_scope() || answer.message.as_str().is_empty())
        {
            return why.clone();
        }
        if let Self::Gateway { answer, .. } = self
            && !answer.by_hubspot
        {
            return self.to_string();
        }
        let rests = matches!(self, Self::Server { .. } | Self::Gateway { .. });
        match self.answer() {
            Some(answer) if !answer.message.as_str().is_empty() => {
                let rest = if rests {
                    rest_of(answer)
                } else {
                    String::new()
                };
                format!("{}{rest}", answer.message.as_str())
            }
            Some(_) => self.to_string(),
            None => with_causes(self),
        }
    }

    /// How `decide::outgoing::settle` takes it, for a batch that failed as a whole.
    pub(crate) fn batch_failure(&self) -> Failure {
        match self {
            Self::Refused { answer, .. } if splits(answer.status) => Failure::Refused,
            Self::Server { .. } => Failure::ServerError,
            Self::Gateway { .. } | Self::Unreadable { .. } | Self::Lost { .. } => Failure::Unknown,
            // A wrong path, a missing scope or a spent quota says nothing about the records.
            Self::Refused { .. }
            | Self::Unauthorized { .. }
            | Self::LoggedOut { .. }
            | Self::Forbidden { .. }
            | Self::Throttled { .. }
            | Self::Locked { .. }
            | Self::Moving { .. }
            | Self::NotSent { .. }
            | Self::HeldBack { .. }
            | Self::Stale { .. }
            | Self::Invalid { .. } => Failure::NotDone,
        }
    }
}

/// Statuses by which a batch is refused because of an input.
fn splits(status: u16) -> bool {
    matches!(status, 400 | 409 | 413 | 414 | 422)
}

/// Sorts an answer that is no success. `until` is when the limiter lets requests go again.
pub(crate) fn from_answer(call: Call, answer: Answer, until: Timestamp) -> HubspotError {
    let answer = Box::new(answer);
    match answer.status {
        _ if is_from_elsewhere(&answer) => HubspotError::Gateway { call, answer },
        401 => HubspotError::Unauthorized {
            call,
            answer,
            token: TokenName {
                explanation: "the token".to_owned(),
                is_oauth: false,
                is_shaped: true,
            },
        },
        403 => HubspotError::Forbidden {
            why: format!(
                "{call}: HubSpot forbids this to the token: {}",
                said(&answer)
            ),
            remedy: ASK_THE_ACCOUNT.to_owned(),
            call,
            answer,
        },
        423 => HubspotError::Locked { call, answer },
        429 => HubspotError::Throttled {
            call,
            answer,
            until,
        },
        477 => HubspotError::Moving {
            call,
            answer,
            until,
        },
        500 | 501 => HubspotError::Server { call, answer },
        _ => HubspotError::Refused { call, answer },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubspot::call::answer::read_answer;

    const UNTIL: i64 = 1_000_000;

    fn error(status: u16, body: &str) -> HubspotError {
        let call = Call {
            method: Method::POST,
            template: "/crm/objects/2026-03/{object}/batch/update",
        };
        from_answer(
            call,
            read_answer(status, body.as_bytes()),
            Timestamp::from_millis(UNTIL),
        )
    }

    #[test]
    fn each_status_says_whether_when_and_whether_it_happened() {
        let json = r#"{"status":"error","message":"words"}"#;
        let at = Retry::At(Timestamp::from_millis(UNTIL));
        let transient = Retry::Backoff(RetryClass::Transient);
        let locked = Retry::Backoff(RetryClass::Locked);
        for (status, retry, failure) in [
            (302, transient, Failure::Unknown),
            (407, transient, Failure::Unknown),
            (400, Retry::Split, Failure::Refused),
            (401, Retry::Reauthorize, Failure::NotDone),
            (403, Retry::Never, Failure::NotDone),
            (404, Retry::Never, Failure::NotDone),
            (409, Retry::Split, Failure::Refused),
            (413, Retry::Split, Failure::Refused),
            (414, Retry::Split, Failure::Refused),
            (415, Retry::Never, Failure::NotDone),
            (423, locked, Failure::NotDone),
            (429, at, Failure::NotDone),
            (477, at, Failure::NotDone),
            (500, transient, Failure::ServerError),
            (502, transient, Failure::Unknown),
            (503, transient, Failure::Unknown),
            (504, transient, Failure::Unknown),
            (521, transient, Failure::Unknown),
            (524, transient, Failure::Unknown),
            (526, transient, Failure::Unknown),
        ] {
            let error = error(status, json);
            assert_eq!(error.retry(), retry, "{status}");
            assert_eq!(error.batch_failure(), failure, "{status}");
            assert_eq!(error.status(), Some(status));
            assert_eq!(error.explanation(), "words");
        }
    }

    #[test]
    fn each_failure_has_a_code_and_a_remedy() {
        let json = |category: &str| format!(r#"{{"status":"error","category":"{category}"}}"#);
        let html = "<html><title>We are down for maintenance</title></html>".to_owned();
        for (status, body, code) in [
            (400, json("VALIDATION_ERROR"), "refused"),
            (401, json("INVALID_AUTHENTICATION"), "unauthorized"),
            (403, json("MISSING_SCOPES"), "missing-scope"),
            (403, json("BLOCKED"), "forbidden"),
            (404, html.clone(), "not-hubspot"),
            (407, html.clone(), "proxy"),
            (423, json("LOCKED"), "locked"),
            (429, json("RATE_LIMITS"), "throttled"),
            (477, json("MIGRATION_IN_PROGRESS"), "moving"),
            (500, json("INTERNAL_ERROR"), "internal-error"),
            (503, html, "gateway"),
        ] {
            let error = error(status, &body);
            assert_eq!(error.code(), code, "{status} {body}");
            assert!(error.hint().is_some(), "{status} {body}");
        }
        let nowhere = TransportError::NoName("no such name".into());
        let late = TransportError::TimedOut("nothing came".into());
        assert_eq!((nowhere.code(), late.code()), ("dns", "timeout"));
        assert!(
            nowhere
                .hint()
                .is_some_and(|hint| hint.contains("resolv.conf"))
        );
        let maintenance = error(503, "<html>down</html>").to_string();
        assert!(
            maintenance.contains("503 with a page that is no answer"),
            "{maintenance}"
        );
    }

    #[test]
    fn a_gateways_403_is_no_missing_scope() {
        let html = error(403, "<html><title>Attention Required!</title></html>");
        assert!(!html.is_forbidden() && html.is_unreachable());
        assert_eq!(html.batch_failure(), Failure::Unknown);
        assert!(error(403, "{}").is_forbidden());
        assert!(error(401, "").is_unauthorized());
    }

    #[test]
    fn the_text_names_call_status_and_codes_and_no_words() {
        let error = error(
            400,
            include_str!("../../../tests/fixtures/400_embedded.json"),
        );
        assert_eq!(
            error.to_string(),
            "`POST /crm/objects/2026-03/{object}/batch/update` was refused: 400 VALIDATION_ERROR \
             PROPERTY_DOESNT_EXIST INVALID_EMAIL, correlation id a43683b0-5717-4ceb-80b4-104d02915d8c"
        );
        assert!(error.explanation().contains("does not exist"));
        assert!(!format!("{error:?}").contains("not-an-address"));
    }
}
