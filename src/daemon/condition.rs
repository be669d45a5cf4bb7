//! How the daemon is doing: what the tasks learnt from their last steps, for `sync_health`, readiness and the log.

use std::sync::{Mutex, PoisonError};

use crate::engine::StepError;
use crate::model::time::Timestamp;
use crate::store::meta::Daemon;

/// What is wrong, shared by all tasks.
#[derive(Debug, Default)]
pub struct Condition {
    inner: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    unauthorized: Option<String>,
    logged_out: Option<String>,
    unreachable: Option<String>,
    out_of_quota_until: Option<Timestamp>,
    last_error: Option<String>,
    schema_read: bool,
}

impl Condition {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn look(&self) -> State {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A step reached HubSpot and was answered.
    pub fn answered(&self) {
        self.change(|state| {
            state.unauthorized = None;
            state.unreachable = None;
            state.out_of_quota_until = None;
        });
    }

    /// There is no token, and why; or there is one.
    pub fn set_logged_out(&self, why: Option<String>) {
        self.change(|state| {
            if state.logged_out != why {
                state.unauthorized = None;
                state.logged_out = why;
            }
        });
    }

    /// The portal's schema is known.
    pub fn schema_read(&self) {
        self.change(|state| state.schema_read = true);
    }

    /// A step failed.
    pub fn failed(&self, error: &StepError) {
        let words = error.to_string();
        self.change(|state| {
            if let StepError::Hubspot(error) = error {
                if error.is_unauthorized() {
                    state.unauthorized = Some(words.clone());
                } else if let Some(until) = error.out_of_quota_until() {
                    state.out_of_quota_until = Some(until);
                } else if error.is_unreachable() {
                    state.unreachable = Some(words.clone());
                }
            }
            state.last_error = Some(words);
        });
    }

    /// What `sync_health` is told.
    pub fn daemon(&self, requests_last_minute: u64, throttled_last_minute: u64) -> Daemon {
        let state = self.look();
        Daemon {
            unauthorized: state.logged_out.or(state.unauthorized),
            unreachable: state.unreachable,
            out_of_quota_until: state.out_of_quota_until,
            config_error: None,
            last_error: state.last_error,
            requests_last_minute,
            throttled_last_minute,
            webhooks: None,
            webhooks_dropped: 0,
        }
    }

    /// Whether the daemon is ready, and why not: migrated, token accepted, schema read.
    pub fn readiness(&self) -> Result<(), (&'static str, String)> {
        let state = self.look();
        if let Some(words) = state.logged_out.or(state.unauthorized) {
            return Err(("unauthorized", words));
        }
        if !state.schema_read {
            let (name, words) = state
                .unreachable
                .map_or(("starting", None), |words| ("unreachable", Some(words)));
            return Err((
                name,
                words.unwrap_or_else(|| "the portal's schema has not been read yet".to_owned()),
            ));
        }
        Ok(())
    }
}
