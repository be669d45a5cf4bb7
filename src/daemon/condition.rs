//! How the daemon is doing: what the tasks learnt from their last steps, for `sync_health`, readiness and the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::bells::Ring;
use crate::daemon::long_log::LongLog;
use crate::daemon::tasks::{Name, code_of, with_causes};
use crate::engine::StepError;
use crate::engine::portal::access::AccessStanding;
use crate::http::health::Health;
use crate::hubspot::call::oauth::OAuthError;
use crate::hubspot::{HubspotError, RENEWING};
use crate::model::entry::with_code;
use crate::model::time::Timestamp;
use crate::store::DISK_TROUBLE;
use crate::store::database::log_readers::LogReader;
use crate::store::meta::{Codes, Daemon};
use parking_lot::Mutex;

/// So many requests in a row that came to nothing, whatever it was, and nothing works. One that was not sent or got no
/// answer says so at once.
const NOTHING_WORKS: u32 = 3;

/// `sync_health` calls a daemon stopped whose heartbeat is older (`design.md` 6.3); whoever asks the daemon itself is told
/// the same.
const STALE: Duration = Duration::from_secs(30);

/// What is wrong, shared by all tasks.
#[derive(Debug, Default)]
pub struct Condition {
    inner: Mutex<ConditionState>,
    changed: Arc<Ring>,
    anew: Ring,
    long_log: Mutex<LongLog>,
}

/// Whose errors end with its own next success.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A loop's.
    Loop(Name),
    /// Those of writing the heartbeat, whose loop goes on without.
    Beat,
}

#[derive(Debug, Default, Clone)]
struct ConditionState {
    unauthorized: Option<String>,
    logged_out: Option<String>,
    renewal: Option<Renewal>,
    unreachable: Option<(String, &'static str)>,
    out_of_quota_until: Option<Timestamp>,
    /// What HubSpot forbids to the token, and whether some object goes on all the same.
    forbidden: Vec<String>,
    forbidden_code: Option<&'static str>,
    stands_still: bool,
    /// When the heartbeat was last written, and why it can't be since.
    beat_at: Option<Duration>,
    unwritten: Option<(String, Option<&'static str>)>,
    /// What each task failed of and has not done since, and which error in a row it was.
    errors: BTreeMap<Source, (u64, (String, &'static str))>,
    errors_so_far: u64,
    schema_read: bool,
    /// Why a changed mapping file is not in force.
    config_error: Option<(String, Option<&'static str>)>,
}

/// Why the token could not be renewed.
#[derive(Debug, Clone)]
struct Renewal {
    explanation: String,
    /// Whether HubSpot said so; else it passes.
    refused: bool,
}

impl ConditionState {
    /// Why HubSpot takes nothing: there is no token, or a refused one that could not be renewed.
    fn unauthorized(&self) -> Option<String> {
        let refused = || {
            let explanation = self.unauthorized.as_ref()?;
            Some(match &self.renewal {
                Some(renewal) => format!(
                    "{explanation}; the token was not renewed: {}",
                    renewal.explanation
                ),
                None => explanation.clone(),
            })
        };
        self.logged_out.clone().or_else(refused)
    }

    /// The newest error of those that are not over.
    fn last_error(&self) -> Option<(String, &'static str)> {
        let newest = self.errors.values().max_by_key(|(number, _)| *number);
        newest.map(|(_, error)| error.clone())
    }

    /// Why the disk takes nothing more, as the heartbeat or a task met it last.
    fn disk_trouble(&self) -> Option<String> {
        let of_beat = self.unwritten.iter();
        let of_beat = of_beat.filter_map(|(why, code)| Some((why, (*code)?)));
        let of_tasks = self.errors.values().map(|(_, (why, code))| (why, *code));
        let mut all = of_beat.chain(of_tasks);
        let trouble = all.find(|(_, code)| DISK_TROUBLE.contains(code));
        trouble.map(|(why, code)| with_code(why, Some(code)))
    }

    /// Why the heartbeat can't be written.
    fn unwritten(&self) -> Option<String> {
        let (why, code) = self.unwritten.as_ref()?;
        Some(with_code(why, *code))
    }

    /// What is told at once when it changes; words alone can wait for the next heartbeat.
    fn kind(&self) -> [bool; 7] {
        [
            self.config_error.is_some(),
            !self.forbidden.is_empty(),
            self.unauthorized.is_some(),
            self.logged_out.is_some(),
            self.unreachable.is_some(),
            self.out_of_quota_until.is_some(),
            self.schema_read,
        ]
    }
}

impl Condition {
    fn change(&self, change: impl FnOnce(&mut ConditionState)) {
        let mut state = self.inner.lock();
        let before = state.kind();
        change(&mut state);
        let after = state.kind();
        drop(state);
        if before != after {
            self.changed.ring();
        }
    }

    /// Rings when the state becomes another one.
    pub fn changed(&self) -> Arc<Ring> {
        Arc::clone(&self.changed)
    }

    /// Learns how long a long log is and who reads in it; gives what is to be said of that ([`LongLog::learn`]).
    pub(crate) fn long_log(
        &self,
        log: Option<(u64, Vec<LogReader>)>,
        at: Duration,
    ) -> Option<String> {
        self.long_log.lock().learn(log, at)
    }

    /// Learns whether the log is long that another program should write back. Gives for how long it has been, where that is long.
    pub(crate) fn unwritten_log(&self, is_long: bool, at: Duration) -> Option<Duration> {
        self.long_log.lock().unwritten(is_long, at)
    }

    /// Whether HubSpot is called unreachable and no task tries it again.
    pub(crate) fn is_unasked(&self) -> bool {
        let state = self.inner.lock();
        state.unreachable.is_some() && state.errors.is_empty()
    }

    /// Rings when what kept steps from going well is another: whoever waits after a failure tries again at once.
    pub(crate) fn anew(&self) -> &Ring {
        &self.anew
    }

    fn look(&self) -> ConditionState {
        self.inner.lock().clone()
    }

    /// A step went well. Many need no request: what HubSpot last said tells whether the token is accepted and HubSpot
    /// reached.
    pub fn answered(&self, standing: &AccessStanding) {
        self.change(|state| {
            if standing.token_works {
                state.unauthorized = None;
            }
            if standing.trouble.is_none() {
                state.out_of_quota_until = None;
            }
        });
        self.stands(standing);
    }

    /// What HubSpot last said, whoever asked.
    pub fn stands(&self, standing: &AccessStanding) {
        self.change(|state| {
            match &standing.trouble {
                _ if standing.moving.is_some() => {
                    state.unreachable = standing.moving.clone().map(|why| (why, "moving"));
                }
                None => state.unreachable = None,
                Some(trouble) if trouble.in_a_row >= NOTHING_WORKS => {
                    state.unreachable = Some((trouble.explanation.to_string(), trouble.code));
                }
                Some(_) => {}
            }
            state.forbidden.clone_from(&standing.forbidden);
            state.forbidden_code = standing.forbidden_code;
            state.stands_still = !standing.goes_on;
        });
    }

    /// The heartbeat was written, by the steady clock.
    pub(crate) fn beaten(&self, at: Duration) {
        self.change(|state| {
            state.beat_at = Some(at);
            state.unwritten = None;
        });
    }

    /// The heartbeat could not be written, and why; or not yet.
    pub(crate) fn unbeaten(&self, why: Option<&StepError>) {
        let why = why.map(|error| (with_causes(error), Some(code_of(error))));
        self.change(|state| {
            let why = why.or_else(|| state.unwritten.take());
            state.unwritten = why.or_else(|| Some(("the database is busy".to_owned(), None)));
        });
    }

    /// There is no token, and why; or there is one. A refusal of the former one holds until a token works.
    pub(crate) fn set_logged_out(&self, why: Option<String>) {
        self.change(|state| {
            state.logged_out = match why {
                Some(why) if why == RENEWING => {
                    state.unauthorized.get_or_insert(why);
                    None
                }
                why => why,
            };
        });
    }

    /// The token needs no renewal, or was renewed.
    pub fn renewed(&self) {
        self.change(|state| state.renewal = None);
    }

    /// The portal's schema is known.
    pub fn schema_read(&self) {
        self.change(|state| state.schema_read = true);
    }

    /// A changed mapping file is in force, or is not, and why.
    pub(crate) fn set_config_error(&self, why: Option<(String, Option<&'static str>)>) {
        let mut is_news = false;
        self.change(|state| {
            is_news = state.config_error != why;
            state.config_error = why;
        });
        if is_news {
            self.changed.ring();
        }
    }

    /// A loop has ended for good: what it failed of is nobody's any more.
    pub(crate) fn forget(&self, name: &Name) {
        self.went_well(&Source::Loop(name.clone()));
    }

    /// A task's step went well: what it failed of before is over.
    pub(crate) fn went_well(&self, source: &Source) {
        self.change(|state| {
            state.errors.remove(source);
        });
    }

    /// A task's step failed.
    pub fn failed(&self, source: &Source, error: &StepError) {
        let explanation = with_causes(error);
        self.change(|state| {
            if let StepError::OAuth(error) = error {
                let refused = matches!(error, OAuthError::Refused { .. });
                let known = state.renewal.as_ref().is_some_and(|known| known.refused);
                if refused || !known {
                    let explanation = explanation.clone();
                    state.renewal = Some(Renewal {
                        explanation,
                        refused,
                    });
                }
            }
            if let StepError::Hubspot(error) = error {
                if let HubspotError::LoggedOut { .. } = error {
                    // What HubSpot said before tells more.
                    state
                        .unauthorized
                        .get_or_insert_with(|| explanation.clone());
                } else if error.is_unauthorized() {
                    state.unauthorized = Some(explanation.clone());
                } else if let Some(until) = error.out_of_quota_until() {
                    state.out_of_quota_until = Some(until);
                } else if error.is_unreachable() {
                    state.unreachable = Some((explanation.clone(), error.code()));
                }
            }
            state.errors_so_far += 1;
            state.errors.insert(
                source.clone(),
                (state.errors_so_far, (explanation, code_of(error))),
            );
        });
    }

    /// What `sync_health` is told.
    pub fn daemon(&self, requests_last_minute: u64, throttled_last_minute: u64) -> Daemon {
        let state = self.look();
        let (last_error, last_error_code) = state.last_error().unzip();
        let (config_error, config_code) = state.config_error.clone().unzip();
        let (unreachable, unreachable_code) = state.unreachable.clone().unzip();
        let logged_out = if state.logged_out.is_some() {
            "logged-out"
        } else {
            "unauthorized"
        };
        Daemon {
            codes: Codes {
                unauthorized: state.unauthorized().map(|_| logged_out),
                unreachable: unreachable_code,
                forbidden: state.forbidden_code,
                config: config_code.flatten(),
                last_error: last_error_code,
            },
            last_error,
            unauthorized: state.unauthorized(),
            unreachable,
            out_of_quota_until: state.out_of_quota_until,
            forbidden: (!state.forbidden.is_empty()).then(|| state.forbidden.join("; ")),
            config_error,
            requests_last_minute,
            throttled_last_minute,
            webhooks: None,
            webhooks_dropped: 0,
        }
    }

    /// How the daemon is doing, for probes: ready when migrated, token accepted and schema read. `state` is what
    /// `sync_health` calls it, `at` the steady clock's time.
    pub fn health(&self, state: Option<&str>, at: Duration) -> Health {
        let now = self.look();
        let silent = now.beat_at.map(|beat| at.saturating_sub(beat));
        if let (Some(why), Some(silent)) = (now.unwritten(), silent)
            && silent >= STALE
        {
            let seconds = silent.as_secs();
            let explanation = format!("the database could not be written for {seconds} s: {why}");
            // To `sync_health`, which nobody can write, both look alike.
            let state = match now.disk_trouble() {
                Some(_) => "degraded",
                None => "stopped",
            };
            return Health::not_ready(state, explanation);
        }
        if let Some(explanation) = now.unauthorized() {
            return Health::not_ready("unauthorized", explanation);
        }
        if !now.forbidden.is_empty() && (now.stands_still || !now.schema_read) {
            return Health::not_ready("degraded", now.forbidden.join("; "));
        }
        let (unwritten, disk) = (now.unwritten(), now.disk_trouble());
        if now.schema_read {
            // The view is as old as the last heartbeat.
            let state = match state {
                _ if now.unreachable.is_some() => "unreachable",
                Some("running" | "backfilling") if !now.forbidden.is_empty() || disk.is_some() => {
                    "degraded"
                }
                Some(state @ ("out_of_quota" | "held" | "degraded" | "backfilling")) => state,
                Some(_) | None => "running",
            };
            let forbidden = (!now.forbidden.is_empty()).then(|| now.forbidden.join("; "));
            let unreachable = now.unreachable.map(|(why, _)| why);
            let config_error = now.config_error.map(|(why, _)| why);
            let reason = unreachable
                .or(forbidden)
                .or(unwritten)
                .or(disk)
                .or(config_error);
            return Health::ready(state.to_owned(), reason);
        }
        if let Some((explanation, _)) = now.unreachable {
            return Health::not_ready("unreachable", explanation);
        }
        if let Some(until) = now.out_of_quota_until {
            let explanation = format!("the day's requests are spent until {until}");
            return Health::not_ready("out_of_quota", explanation);
        }
        let last_error = now.last_error().map(|(why, _)| why);
        let explanation =
            last_error.unwrap_or_else(|| "the portal's schema has not been read yet".to_owned());
        Health::not_ready("starting", explanation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::round::Task;
    use crate::engine::StepError;
    use crate::hubspot::TokenName;
    use crate::hubspot::call::answer::Answer;
    use crate::hubspot::call::error::Call;
    use crate::hubspot::call::limiter::LimiterError;
    use crate::hubspot::call::standing::Trouble;
    use crate::store::StoreError;

    fn of(task: Task) -> Source {
        Source::Loop(task.into())
    }

    fn rings(condition: &Condition, change: impl FnOnce(&Condition)) -> bool {
        let ring = condition.changed();
        let heard = ring.rings();
        change(condition);
        ring.rings() > heard
    }

    #[test]
    fn the_last_error_says_what_caused_it() {
        let condition = Condition::default();
        let held = HubspotError::HeldBack {
            call: Call {
                method: http::Method::GET,
                template: "/account-info",
            },
            source: LimiterError::Lease("the disk is full".into()),
            because: None,
        };
        condition.failed(&of(Task::Push), &held.into());
        let explanation = condition.daemon(0, 0).last_error;
        assert!(
            explanation
                .as_deref()
                .is_some_and(|explanation| explanation.ends_with(": the disk is full")),
            "{explanation:?}"
        );
    }

    #[test]
    fn a_log_that_nobody_writes_back_is_told_once_it_is_long_for_a_while() {
        let condition = Condition::default();
        let told = |is_long, seconds| {
            let long_for = condition.unwritten_log(is_long, Duration::from_secs(seconds));
            long_for.map(|long_for| long_for.as_secs())
        };
        assert_eq!(told(true, 100), None);
        assert_eq!(told(true, 110), None);
        assert_eq!(told(true, 115), Some(15));
        assert_eq!(told(false, 120), None);
        assert_eq!(told(true, 140), None, "it was written back meanwhile");
    }

    #[test]
    fn an_error_is_told_until_its_own_task_goes_well() {
        let condition = Condition::default();
        let said = || condition.daemon(0, 0).last_error.unwrap_or_default();
        let (polls, pushes) = (of(Task::Inbound), of(Task::Push));
        condition.failed(&polls, &OAuthError::Failed { status: 502 }.into());
        condition.failed(&pushes, &OAuthError::Failed { status: 503 }.into());
        assert!(said().contains("503"), "the newest: {}", said());
        condition.went_well(&pushes);
        assert!(said().contains("502"), "the other goes on: {}", said());
        condition.went_well(&polls);
        assert_eq!(said(), "");
    }

    #[test]
    fn a_change_of_the_state_rings_and_is_seen_at_once() {
        let condition = Condition::default();
        let state = |seen: Option<&str>| condition.health(seen, Duration::ZERO).state;
        assert_eq!(state(None), "starting");
        let refused = || Some("the login was revoked".to_owned());
        assert!(rings(&condition, |now| now.set_logged_out(refused())));
        assert!(!rings(&condition, |now| now.set_logged_out(refused())));
        let health = condition.health(Some("running"), Duration::ZERO);
        assert_eq!(
            (health.ready, health.state.as_str(), health.reason),
            (false, "unauthorized", refused())
        );
        assert!(rings(&condition, |now| now.set_logged_out(None)));
        assert!(rings(&condition, Condition::schema_read));
        assert!(!rings(&condition, |now| now.answered(&well(true))));
        // The view may still say what was true before.
        for (seen, shown) in [
            (Some("starting"), "running"),
            (Some("backfilling"), "backfilling"),
            (Some("held"), "held"),
            (Some("unreachable"), "running"),
            (None, "running"),
        ] {
            assert_eq!(state(seen), shown);
            assert!(condition.health(seen, Duration::ZERO).ready);
        }
    }

    fn refused_token() -> StepError {
        let call = Call {
            method: http::Method::GET,
            template: "/x",
        };
        let answer = Box::new(Answer {
            status: 401,
            category: "EXPIRED_AUTHENTICATION".to_owned(),
            ..Answer::default()
        });
        let token = TokenName::new("`HUBSPOT_ACCESS_TOKEN`", "pat-na1-cut-off");
        HubspotError::Unauthorized {
            call,
            answer,
            token,
        }
        .into()
    }

    fn well(token_works: bool) -> AccessStanding {
        AccessStanding {
            token_works,
            goes_on: true,
            ..AccessStanding::default()
        }
    }

    #[test]
    fn a_missing_scope_is_a_state_of_its_own_and_readiness_follows_what_goes_on() {
        let condition = Condition::default();
        let sentence = "the token may not read companies: scope `x` is missing";
        let told = |goes_on| AccessStanding {
            forbidden: vec![sentence.to_owned()],
            ..AccessStanding {
                goes_on,
                ..well(true)
            }
        };
        condition.schema_read();
        assert!(rings(&condition, |now| now.stands(&told(true))));
        let health = condition.health(Some("backfilling"), Duration::ZERO);
        assert_eq!(
            (
                health.ready,
                health.state.as_str(),
                health.reason.as_deref()
            ),
            (true, "degraded", Some(sentence))
        );
        assert_eq!(condition.daemon(0, 0).forbidden.as_deref(), Some(sentence));
        condition.stands(&told(false));
        let health = condition.health(Some("degraded"), Duration::ZERO);
        assert_eq!((health.ready, health.state.as_str()), (false, "degraded"));
        assert!(rings(&condition, |now| now.stands(&well(true))));
        assert_eq!(condition.daemon(0, 0).forbidden, None);
    }

    #[test]
    fn requests_that_come_to_nothing_in_a_row_are_no_running_whatever_they_are() {
        let condition = Condition::default();
        condition.schema_read();
        let trouble = |in_a_row| AccessStanding {
            trouble: Some(Trouble {
                explanation: "a page that is no answer".into(),
                code: "not-hubspot",
                hint: None,
                in_a_row,
            }),
            ..well(true)
        };
        let state = || condition.health(Some("running"), Duration::ZERO).state;
        condition.stands(&trouble(2));
        assert_eq!(state(), "running");
        condition.stands(&trouble(3));
        assert_eq!(state(), "unreachable");
        // A step that had nothing to ask says nothing.
        condition.answered(&trouble(3));
        assert_eq!(state(), "unreachable");
        condition.answered(&well(true));
        assert_eq!(state(), "running");
    }

    #[test]
    fn an_account_that_is_moved_is_unreachable_whoever_met_that() {
        let condition = Condition::default();
        condition.schema_read();
        let explanation = "HubSpot is moving the account until 2026-11-24T14:00:00.000Z";
        let moving = AccessStanding {
            moving: Some(explanation.to_owned()),
            ..well(true)
        };
        // The answer to a request that was on its way is no sign that it is over.
        assert!(rings(&condition, |now| now.answered(&moving)));
        let health = condition.health(Some("running"), Duration::ZERO);
        assert_eq!(
            (health.state.as_str(), health.reason.as_deref()),
            ("unreachable", Some(explanation))
        );
        assert_eq!(
            condition.daemon(0, 0).unreachable.as_deref(),
            Some(explanation)
        );
        condition.answered(&well(true));
        assert_eq!(condition.daemon(0, 0).unreachable, None);
    }

    #[test]
    fn a_disk_that_takes_nothing_more_degrades_the_daemon_whether_or_not_the_heartbeat_finds_room()
    {
        let path = "/data/crm.db".into();
        let trouble = StepError::from(StoreError::ReadOnlyDisk { path });
        let condition = Condition::default();
        condition.schema_read();
        let told = |seconds| {
            let health = condition.health(Some("running"), Duration::from_secs(seconds));
            let has_cause = health.reason.is_some_and(|why| why.contains("mounted"));
            (health.state, health.ready, has_cause)
        };
        let well = ("running".to_owned(), true, false);
        let degraded = |ready| ("degraded".to_owned(), ready, true);
        condition.beaten(Duration::from_secs(100));
        condition.failed(&of(Task::Push), &trouble);
        assert_eq!(told(101), degraded(true));
        condition.went_well(&of(Task::Push));
        assert_eq!(told(102), well);
        condition.unbeaten(Some(&trouble));
        assert_eq!(told(110), degraded(true));
        assert_eq!(told(131), degraded(false));
        condition.beaten(Duration::from_secs(132));
        assert_eq!(told(133), well);
    }

    #[test]
    fn a_database_that_stays_locked_is_told_as_sync_health_tells_it() {
        let condition = Condition::default();
        condition.schema_read();
        let told = |seconds| condition.health(Some("running"), Duration::from_secs(seconds));
        condition.beaten(Duration::from_secs(100));
        assert_eq!(told(200).state, "running", "nothing failed");
        condition.unbeaten(Some(
            &StoreError::FewDescriptors { open: 9, limit: 9 }.into(),
        ));
        condition.unbeaten(None);
        assert_eq!(told(129).state, "running");
        assert!(
            told(129)
                .reason
                .is_some_and(|explanation| explanation.contains("files open"))
        );
        let late = told(131);
        assert_eq!((late.ready, late.state.as_str()), (false, "stopped"));
        let explanation = late.reason.unwrap_or_default();
        assert_eq!(
            explanation,
            "the database could not be written for 31 s: can't open the database: this process has 9 of the 9 files open that it may have [few-descriptors]"
        );
        condition.beaten(Duration::from_secs(140));
        assert_eq!(told(141).state, "running");
    }

    #[test]
    fn a_refused_token_is_told_until_one_works_whatever_a_renewal_meets() {
        let condition = Condition::default();
        let said = || condition.daemon(0, 0).unauthorized.unwrap_or_default();
        condition.failed(&of(Task::Push), &refused_token());
        condition.failed(
            &of(Task::Tokens),
            &OAuthError::Failed { status: 503 }.into(),
        );
        // A step that had nothing to ask.
        condition.answered(&well(false));
        condition.set_logged_out(Some(RENEWING.to_owned()));
        let explanation = said();
        assert!(
            explanation.contains("EXPIRED_AUTHENTICATION")
                && explanation.contains("failed with 503"),
            "{explanation}"
        );
        let refusal = OAuthError::Refused {
            status: 400,
            explanation: "wrong secret".to_owned(),
        };
        condition.failed(&of(Task::Tokens), &refusal.into());
        condition.failed(
            &of(Task::Tokens),
            &OAuthError::Failed { status: 502 }.into(),
        );
        assert!(said().contains("wrong secret"), "{}", said());
        condition.set_logged_out(None);
        condition.renewed();
        condition.answered(&well(false));
        assert!(said().contains("EXPIRED"), "the new token was not tried");
        condition.answered(&well(true));
        assert_eq!(said(), "");
    }
}
