//! One call: let go by the limiter, sent, logged, judged, and repeated where that is safe.
//!
//! Repeated are reads after a passing fault, and everything after a 429, which was not carried out. A write whose
//! outcome is unknown is never repeated here (design, section 4). Logged is what an operator may see: method, path
//! template, status, time, attempt and what is left of each quota; never a body, a value or the token.

pub mod answer;
pub mod authorities;
pub mod error;
pub(crate) mod headers;
pub mod limiter;
pub(crate) mod mask;
pub mod oauth;
pub mod observe;
pub mod proxy;
pub mod standing;
pub mod transport;

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

use crate::decide::clock::Sample;
use crate::decide::quota::{EndpointClass, Pause, Priority, RestingWork};
use crate::decide::retry::{self, RetryClass};
use crate::hubspot::Client;
use crate::hubspot::call::answer::{Answer, read_answer};
use crate::hubspot::call::error::{Call, HubspotError, from_answer, is_from_elsewhere};
use crate::hubspot::call::limiter::{LimiterError, Permit, QuotaWord};
use crate::hubspot::call::mask::mask;
use crate::hubspot::call::observe::CallBegun;
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::call::transport::{HttpRequest, HttpResponse, TransportError};
use crate::hubspot::endpoints::pages::is_too_much;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::endpoints::reread::Reread;
use crate::hubspot::wire::{self, Elements};
use crate::model::attempt::CallMade;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;

/// A read is sent so often before its failure is somebody else's business.
const READ_ATTEMPTS: u32 = 3;

/// A request that meets 429 is sent so often: alone on the portal it never does.
const THROTTLED_ATTEMPTS: u32 = 4;

/// A longer `Retry-After` is not waited for inside a call.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Ordinary reads take 0.1 to 3 s (`hubspot/api-facts.md#6`).
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// HubSpot's own gateway gives a write up after 100 s (`hubspot/api-facts.md#4`, status 524).
const WRITE_TIMEOUT: Duration = Duration::from_secs(105);

/// So many records that can't be read are named in a line of the log.
const MOST_NAMED: usize = 20;

/// An answer that took longer says too little about HubSpot's clock.
const LONGEST_FOR_CLOCK: Duration = Duration::from_secs(2);

/// A request to be sent.
pub(crate) struct Request<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) object: Option<&'a ObjectType>,
    /// The object at the other end, of an association.
    pub(super) to: Option<&'a ObjectType>,
    /// With its `?`, percent-encoded; empty for none.
    pub(super) query: String,
    pub(super) body: Option<Bytes>,
    /// How many inputs the body has, of a batch.
    pub(super) inputs: Option<u64>,
    pub(super) priority: Priority,
}

impl Client {
    /// The body of a success.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<HttpResponse, HubspotError> {
        self.send_within(request, None).await
    }

    /// The same for a read that a write rests on, or for that write.
    pub(super) async fn send_within(
        &self,
        request: &Request<'_>,
        reread: Option<&Reread>,
    ) -> Result<HttpResponse, HubspotError> {
        let mut attempt = 1;
        loop {
            let ended = self.send_once(request, attempt, reread).await;
            self.learn(request, &ended);
            let error = match ended {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !is_repeated(request.endpoint, &error, attempt) {
                return Err(error);
            }
            self.rest(&error, attempt).await;
            attempt += 1;
        }
    }

    /// Waits before a call is repeated. The limiter knows how long a 429 lasts, and a shorter page of what was too large
    /// need not wait; everything else waits by the curve, and
    /// for as long as HubSpot says.
    pub(super) async fn rest(&self, error: &HubspotError, attempt: u32) {
        if matches!(error, HubspotError::Throttled { .. }) || error.is_too_large() {
            return;
        }
        let by_curve = retry::next_attempt(RetryClass::Transient, attempt, self.jitter());
        let wait = by_curve.max(error.retry_after().unwrap_or_default());
        let closed = pin!(self.inner.limiter.closed());
        select(self.inner.clock.sleep(wait), closed).await;
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        attempt: u32,
        reread: Option<&Reread>,
    ) -> Result<HttpResponse, HubspotError> {
        let endpoint = request.endpoint;
        let call = self.name(endpoint);
        let reserved = reread.and_then(|reread| reread.take(attempt));
        let (authorization, permit) = self.admit(request, &call, reserved).await?;
        let http = self.http_request(request, authorization.clone());
        let sent_at = (self.inner.clock.monotonic(), self.inner.clock.now());
        let result = match reread {
            Some(reread) if endpoint.is_read() => {
                let asked_at = self.inner.clock.moment();
                let (result, at) = reread.attend(self.inner.transport.send(http)).await;
                if result.as_ref().is_ok_and(is_success) {
                    reread.was_answered(asked_at, at);
                }
                result
            }
            // Nothing comes between this look and the sending.
            Some(reread) if reread.is_stale() => {
                permit.unused();
                return Err(HubspotError::Stale { call });
            }
            Some(_) | None => self.inner.transport.send(http).await,
        };
        let took = self.inner.clock.monotonic().saturating_sub(sent_at.0);
        let sent = self.sent(request, sent_at.1, attempt);
        match result {
            Ok(mut response) => {
                let token = authorization.to_str().unwrap_or_default();
                mask(&mut response, &[token.trim_start_matches("Bearer ")]);
                self.observe_clock(&response.headers, sent_at, took);
                self.observe_token(&authorization, response.status, is_success(&response));
                let told = sent.ended(took, Ok(&response), None);
                let judged = self.judge(request, call, response, permit, took, attempt);
                self.note_call(CallMade {
                    code: judged.as_ref().err().map(HubspotError::code),
                    ..told
                });
                judged
            }
            Err(error) => {
                self.note_call(sent.ended(took, Err(&error), None));
                tracing::debug!(method = %call.method, path = call.template, ms = took.as_millis() as u64, attempt,
                    error = with_causes(&error), "no answer from HubSpot");
                Err(lost(call, error, permit))
            }
        }
    }

    /// A token and a permit; a token that died on the way to the permit is waited on anew.
    async fn admit(
        &self,
        request: &Request<'_>,
        call: &Call,
        mut reserved: Option<Permit>,
    ) -> Result<(HeaderValue, Permit), HubspotError> {
        let class = request.endpoint.class(self.inner.version);
        let work = request.endpoint.work();
        let limiter = &self.inner.limiter;
        loop {
            if let Err(why) = self.token().await {
                if let Some(permit) = reserved {
                    permit.unused();
                }
                let call = call.clone();
                return Err(HubspotError::LoggedOut { call, why });
            }
            let permit = match reserved.take() {
                Some(permit) if limiter.rest_of(work).is_none() => permit,
                reserved => {
                    if let Some(permit) = reserved {
                        permit.unused();
                    }
                    let let_go = async {
                        limiter.rest(work).await?;
                        limiter.acquire(class, request.priority).await
                    };
                    let let_go = let_go.await;
                    let_go.map_err(|source| self.held_back(call, source))?
                }
            };
            match self.present_token() {
                Ok(token) => return Ok((token, permit)),
                Err(_) => permit.unused(),
            }
        }
    }

    /// A request that the limiter let not go, with what went wrong before where HubSpot is unreachable.
    pub(super) fn held_back(&self, call: &Call, source: LimiterError) -> HubspotError {
        let because = self
            .trouble()
            .filter(|_| matches!(source, LimiterError::Unreachable { .. }));
        HubspotError::HeldBack {
            call: call.clone(),
            source,
            because: because.map(Box::new),
        }
    }

    /// Ends the permit by what the answer says, logs it, and gives its success or its error.
    fn judge(
        &self,
        request: &Request<'_>,
        call: Call,
        response: HttpResponse,
        permit: Permit,
        took: Duration,
        attempt: u32,
    ) -> Result<HttpResponse, HubspotError> {
        let answer = (!is_success(&response)).then(|| read_answer(response.status, &response.body));
        let class = request.endpoint.class(self.inner.version);
        let work = request.endpoint.work();
        let retry_after = headers::read_retry_after(&response.headers, self.hubspot_now());
        let until = permit.answered(&QuotaWord {
            observed: headers::read_quota(&response.headers),
            by_hubspot: !answer.as_ref().is_some_and(is_from_elsewhere),
            pause: answer
                .as_ref()
                .and_then(|answer| pause_for(answer, (class, work), retry_after.is_some())),
            retry_after,
        });
        self.log(&call, &response, took, attempt);
        let Some(mut answer) = answer else {
            return Ok(response);
        };
        answer.retry_after = retry_after;
        if answer.correlation_id.is_empty() {
            let known = headers::read_correlation_id(&response.headers).unwrap_or_default();
            known.clone_into(&mut answer.correlation_id);
        }
        if answer.status == 429 {
            tracing::warn!(path = call.template, policy = answer.policy, %until, code = "throttled", "HubSpot says that a limit is exceeded");
        }
        let mut error = from_answer(call, answer, until);
        if let HubspotError::Unauthorized { token, .. } = &mut error {
            *token = self.token_name();
        }
        if let HubspotError::Forbidden {
            answer,
            why,
            remedy,
            ..
        } = &mut error
        {
            *why = Self::refusal(request, answer);
            *remedy = Self::remedy(request, answer);
        }
        Err(error)
    }

    fn log(&self, call: &Call, response: &HttpResponse, took: Duration, attempt: u32) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let left = self.inner.limiter.snapshot();
        tracing::debug!(
            method = %call.method,
            path = call.template,
            status = response.status,
            ms = took.as_millis() as u64,
            attempt,
            burst_left = left.burst_left,
            search_left = left.search_left,
            day_left = left.daily_limit.map(|limit| limit.saturating_sub(left.daily_used)),
            correlation_id = headers::read_correlation_id(&response.headers),
            "HubSpot answered"
        );
    }

    /// The path as it is sent, without what stands behind it.
    fn path(&self, request: &Request<'_>) -> String {
        let endpoint = request.endpoint;
        endpoint.path(
            self.inner.version,
            self.address_of(endpoint, request.object).as_ref(),
            self.address_of(endpoint, request.to).as_ref(),
        )
    }

    /// A request as it is told of.
    fn sent(&self, request: &Request<'_>, at: Timestamp, attempt: u32) -> CallBegun {
        let endpoint = request.endpoint;
        let mut path = self.path(request);
        // What its path ends with is a name.
        if endpoint == Endpoint::ChangeProperty {
            path.push_str("{name}");
        }
        CallBegun {
            at,
            method: endpoint.method(),
            path,
            class: endpoint.label(),
            attempt,
            inputs: request.inputs,
        }
    }

    fn http_request(&self, request: &Request<'_>, authorization: HeaderValue) -> HttpRequest {
        let endpoint = request.endpoint;
        let mut path_and_query = self.path(request);
        path_and_query.push_str(&request.query);
        let json = HeaderValue::from_static("application/json");
        let mut headers: Vec<(HeaderName, HeaderValue)> =
            vec![(AUTHORIZATION, authorization), (ACCEPT, json.clone())];
        if request.body.is_some() {
            headers.push((CONTENT_TYPE, json));
        }
        HttpRequest {
            method: endpoint.method(),
            path_and_query,
            headers,
            body: request.body.clone(),
            timeout: if endpoint.is_read() {
                READ_TIMEOUT
            } else {
                WRITE_TIMEOUT
            },
            template: endpoint.template(self.inner.version),
        }
    }

    /// What errors and logs call an endpoint.
    pub(super) fn name(&self, endpoint: Endpoint) -> Call {
        Call {
            method: endpoint.method(),
            template: endpoint.template(self.inner.version),
        }
    }

    /// A request that HubSpot is known to refuse.
    pub(super) fn invalid(&self, endpoint: Endpoint, why: &'static str) -> HubspotError {
        HubspotError::Invalid {
            call: self.name(endpoint),
            why,
        }
    }

    /// Reads the body of a success.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        response: &HttpResponse,
    ) -> Result<T, HubspotError> {
        let read = wire::read(&response.body).map_err(|error| HubspotError::Unreadable {
            call: self.name(endpoint),
            status: response.status,
            source: without_values(&error),
        });
        self.learn_reading(&read);
        read
    }

    /// Sends a read of a page and takes it apart; with it comes the answer's `Date`.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
    ) -> Result<(wire::Page<T>, Option<Timestamp>), HubspotError> {
        let response = self.send(request).await?;
        let page: wire::Page<T> = self.parse(request.endpoint, &response)?;
        self.note_unread(request.endpoint, &page.results);
        Ok((page, headers::read_date(&response.headers)))
    }

    /// Says which elements of an answer can't be read; the others are taken. All of them count in the call.
    pub(super) fn note_unread<T>(&self, endpoint: Endpoint, elements: &Elements<T>) {
        self.note_results(elements.len());
        if elements.are_whole() {
            return;
        }
        let ids = elements.unread.iter().take(MOST_NAMED);
        let ids: Vec<String> = ids.map(ToString::to_string).collect();
        tracing::warn!(
            path = endpoint.template(self.inner.version),
            records = elements.len(),
            unread = elements.len() - elements.read.len() as u64,
            hs_ids = ids.join(" "),
            code = "unreadable-answer",
            "some of an answer of HubSpot's can't be read; the rest is taken"
        );
    }

    fn observe_clock(&self, headers: &HeaderMap, sent_at: (Duration, Timestamp), took: Duration) {
        let mut time = self.time();
        // A slow one is better than none.
        let date =
            headers::read_date(headers).filter(|_| took <= LONGEST_FOR_CLOCK || !time.is_known());
        let Some(date) = date else {
            return;
        };
        // Cut to the second, so half a second later on average; answered half-way on average.
        time.observe(Sample {
            steady: sent_at.0 + took / 2,
            ours: sent_at.1 + took / 2,
            theirs: date.plus_millis(500),
        });
        let lead = time.lead_ms();
        drop(time);
        if let Some(lead) = lead {
            self.inner.limiter.set_hubspots_lead_ms(lead);
        }
    }

    /// The next number of the jitter's generator (splitmix64), from 0 up to 1.
    fn jitter(&self) -> f64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let seed = self
            .inner
            .jitter
            .fetch_add(STEP, std::sync::atomic::Ordering::Relaxed);
        let mut number = seed.wrapping_add(STEP);
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((number ^ (number >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn is_repeated(endpoint: Endpoint, error: &HubspotError, attempt: u32) -> bool {
    match error {
        HubspotError::Throttled { .. } => attempt < THROTTLED_ATTEMPTS,
        // Whoever walks the pages asks for a shorter one.
        HubspotError::Gateway { .. } if endpoint.is_paged() && is_too_much(error) => false,
        // So long a wait is no business of one call.
        error if error.retry_after().is_some_and(|wait| wait > LONGEST_REST) => false,
        HubspotError::Server { .. }
        | HubspotError::Gateway { .. }
        | HubspotError::NotSent { .. }
        | HubspotError::Lost { .. } => endpoint.is_read() && attempt < READ_ATTEMPTS,
        HubspotError::Refused { .. }
        | HubspotError::Unauthorized { .. }
        | HubspotError::LoggedOut { .. }
        | HubspotError::Forbidden { .. }
        | HubspotError::Locked { .. }
        | HubspotError::Moving { .. }
        | HubspotError::Unreadable { .. }
        | HubspotError::HeldBack { .. }
        | HubspotError::Stale { .. }
        | HubspotError::Invalid { .. } => false,
    }
}

/// Whether HubSpot did what was asked: a page of a proxy says nothing of the kind, whatever its status.
fn is_success(response: &HttpResponse) -> bool {
    (200..300).contains(&response.status) && may_be_json(&response.body)
}

fn lost(call: Call, source: TransportError, permit: Permit) -> HubspotError {
    match source {
        TransportError::TooLarge(too_large) => {
            // HubSpot is well: it is this answer that nobody can take.
            permit.answered(&QuotaWord {
                by_hubspot: true,
                ..QuotaWord::default()
            });
            HubspotError::Unreadable {
                call,
                status: too_large.status,
                source: too_large.into(),
            }
        }
        TransportError::NotSent(_)
        | TransportError::NoName(_)
        | TransportError::Tunnel { .. }
        | TransportError::Unverified(_) => {
            permit.not_sent();
            HubspotError::NotSent { call, source }
        }
        TransportError::Lost(_) | TransportError::TimedOut(_) => {
            permit.lost();
            HubspotError::Lost { call, source }
        }
    }
}

/// Whether a body can be what HubSpot answers: an object, a list or nothing. A page of a proxy is not.
fn may_be_json(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    first.is_none_or(|byte| matches!(byte, b'{' | b'['))
}

/// Which quota a refusal names: by policy first, then by words, else that of the class. One that nobody knows is waited
/// out like the burst's, but where the burst has no part in it (`hubspot/api-facts.md#3`).
fn pause_for(
    answer: &Answer,
    (class, work): (EndpointClass, RestingWork),
    says_how_long: bool,
) -> Option<Pause> {
    match answer.status {
        477 => return Some(Pause::Everything),
        503 if says_how_long => return Some(Pause::Rest(work)),
        429 => {}
        _ => return None,
    }
    let named = format!("{} {}", answer.policy, answer.message.as_str()).to_ascii_lowercase();
    if named.contains("ten_secondly") {
        Some(Pause::Class(EndpointClass::Crm))
    } else if named.contains("daily") {
        Some(Pause::Day)
    } else if answer.policy.is_empty() || named.contains("secondly") {
        Some(Pause::Class(class))
    } else {
        Some(Pause::Class(match class {
            EndpointClass::Associations => EndpointClass::Associations,
            EndpointClass::Search | EndpointClass::Crm => EndpointClass::Crm,
        }))
    }
}

/// `serde_json` quotes the value that it did not expect; only place and kind are kept.
fn without_values(error: &serde_json::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let kind = match error.classify() {
        serde_json::error::Category::Io => "read error",
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Data => "JSON of another shape",
        serde_json::error::Category::Eof => "cut short",
    };
    format!("{kind} at line {} column {}", error.line(), error.column()).into()
}
