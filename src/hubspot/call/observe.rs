//! What was sent, told attempt by attempt to whoever keeps it (`sync_calls`, `sync_requests`). The limiter counts for the quotas.

use std::time::Duration;

use http::Method;

use crate::hubspot::Client;
use crate::hubspot::call::headers;
use crate::hubspot::call::transport::{HttpResponse, TransportError};
use crate::model::attempt::CallMade;
use crate::model::time::Timestamp;

/// Who keeps what was sent.
pub(crate) trait CallLog: Send + Sync {
    /// Keeps a call.
    fn note(&self, call: CallMade);

    /// Tells how many results the page has that the caller's last call brought, where that says no number of its own.
    fn found(&self, records: u64);
}

/// A request as it is told of.
#[derive(Debug, Clone)]
pub(crate) struct CallBegun {
    /// When it left.
    pub at: Timestamp,
    /// Its method.
    pub method: Method,
    /// As [`CallMade::path`].
    pub path: String,
    /// As [`CallMade::class`].
    pub class: &'static str,
    /// As [`CallMade::attempt`].
    pub attempt: u32,
    /// Inputs of a batch.
    pub inputs: Option<u64>,
}

impl CallBegun {
    /// The call, by what came of it.
    pub(crate) fn ended(
        self,
        took: Duration,
        answer: Result<&HttpResponse, &TransportError>,
        code: Option<&'static str>,
    ) -> CallMade {
        let quota = answer.map(|response| headers::read_quota(&response.headers));
        let quota = quota.unwrap_or_default();
        let correlation_id = answer
            .ok()
            .and_then(|response| headers::read_correlation_id(&response.headers));
        CallMade {
            at: self.at,
            method: self.method.to_string(),
            path: self.path,
            class: self.class,
            status: answer.ok().map(|response| response.status),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            attempt: self.attempt,
            records: self.inputs,
            code: code.or_else(|| answer.err().map(TransportError::code)),
            correlation_id: correlation_id.map(str::to_owned),
            burst_left: quota.burst_left,
            day_left: quota.day_left,
        }
    }
}

impl Client {
    /// From here on each call is told there.
    pub(crate) fn tell_calls(&self, log: impl CallLog + 'static) {
        // Clones share it: the first one stays.
        self.inner.calls.get_or_init(|| Box::new(log));
    }

    /// Tells of a call.
    pub(crate) fn note_call(&self, call: CallMade) {
        if let Some(log) = self.inner.calls.get() {
            log.note(call);
        }
    }

    /// Tells how many results the page of the last call has.
    pub(super) fn note_results(&self, records: u64) {
        if let Some(log) = self.inner.calls.get() {
            log.found(records);
        }
    }
}
