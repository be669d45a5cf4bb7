//! Faults on request: by chance with a seed, or one after another by script.
//!
//! [`Scenario`] is the JSON file of `simulate --faults FILE`. Which request meets which fault depends on the seed and the
//! order of requests alone.

use std::collections::BTreeMap;

use rand::{Rng, RngExt as _};
use serde::Deserialize;

use crate::api::request::Request;
use crate::world::scenario::{ScenarioError, mistakes};
use crate::world::settings::Settings;

/// One thing that can go wrong (`api-facts.md#4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 with the body of the ten-second limit, and with `Retry-After` in a portal whose 429s carry one.
    RateLimited,
    /// 500 with HubSpot's JSON; not applied.
    InternalError,
    /// 502 with Cloudflare's HTML; applied or not, by chance.
    BadGateway,
    /// 503 with JSON and `Retry-After`; not applied.
    Unavailable,
    /// 504 with HTML; applied or not, by chance.
    GatewayTimeout,
    /// 423: locked; not applied.
    Locked,
    /// 477 with `Retry-After`: the account moves; not applied.
    Migrating,
    /// 403 that names no scope: the account or its user may not; not applied.
    Forbidden,
    /// The request never arrives.
    NeverArrived,
    /// Applied, and the connection is cut before the answer.
    AnswerLost,
    /// The connection is cut, and the request is applied some time later.
    Late,
    /// Applied, and the connection is cut within the body.
    CutBody,
    /// Applied; 200 with the first half of the JSON.
    TruncatedJson,
    /// 200 with HTML instead of JSON; not applied.
    HtmlAnswer,
    /// Applied; the answer takes `slow_ms`.
    Slow,
    /// One record of a list or search page comes twice.
    DuplicateRecord,
    /// One record is missing from a list or search page.
    MissingRecord,
    /// A batch read answers 207: one record is not among the results, and its entry in `errors` says another thing than
    /// `OBJECT_NOT_FOUND`, with or without its id, by chance.
    UnreadableRecord,
    /// A batch read leaves one record out without a word.
    OmittedRecord,
    /// 200 with a page that has no records and a next page; not applied.
    EmptyPage,
    /// Applied; the `Date` of the answer is a year ahead.
    FutureDate,
}

/// The next requests that match get a fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What happens.
    pub fault: FaultKind,
    /// To how many requests; used up, the script is dropped.
    #[serde(default = "once")]
    pub times: u32,
    /// Only requests whose path contains this.
    #[serde(default)]
    pub path_contains: String,
    /// Only requests with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Matching requests that go through before.
    #[serde(default)]
    pub after: u32,
}

fn once() -> u32 {
    1
}

impl Script {
    /// The next `times` requests whose path contains `path_contains` get `fault`.
    pub fn new(fault: FaultKind, times: u32, path_contains: &str) -> Self {
        Self {
            fault,
            times,
            path_contains: path_contains.to_owned(),
            method: None,
            after: 0,
        }
    }

    fn matches(&self, request: &Request) -> bool {
        let method = self
            .method
            .as_ref()
            .is_none_or(|method| method.eq_ignore_ascii_case(&request.method));
        method && request.path.contains(&self.path_contains)
    }
}

/// All faults of a portal; none by default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Chance of each fault for each request, 0 to 1.
    pub chances: BTreeMap<FaultKind, f64>,
    /// Scripts come before chance; the first that matches wins.
    pub scripts: Vec<Script>,
    /// How long a slow answer takes, milliseconds.
    pub slow_ms: u64,
    /// Bounds of the time until a late request lands, milliseconds.
    pub late_min_ms: u64,
    /// Upper bound of that time, milliseconds.
    pub late_max_ms: u64,
    /// `Retry-After` of 503, and of a 429 that carries one, seconds.
    pub retry_after_s: u64,
    /// `Retry-After` of 477, seconds.
    pub migration_s: u64,
    /// List, search and batch read answer 504 with HTML, as a gateway does, if there are more records to tell than this.
    pub pages_time_out_above: Option<usize>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            chances: BTreeMap::new(),
            scripts: Vec::new(),
            slow_ms: 5_000,
            late_min_ms: 1_000,
            late_max_ms: 90_000,
            retry_after_s: 1,
            migration_s: 60,
            pages_time_out_above: None,
        }
    }
}

impl Faults {
    /// Ends all faults; requests already on their way still land late.
    pub fn calm(&mut self) {
        self.chances.clear();
        self.scripts.clear();
        self.pages_time_out_above = None;
    }

    /// Adds a script.
    pub fn script(&mut self, script: Script) {
        self.scripts.push(script);
    }

    /// The fault that this request meets. Chance is drawn for every kind, so that one fault doesn't shift the others.
    pub(crate) fn choose(&mut self, request: &Request, rng: &mut impl Rng) -> Option<FaultKind> {
        let mut drawn = None;
        for (kind, chance) in &self.chances {
            if rng.random_bool(chance.clamp(0.0, 1.0)) && drawn.is_none() {
                drawn = Some(*kind);
            }
        }
        self.scripted(request).or(drawn)
    }

    fn scripted(&mut self, request: &Request) -> Option<FaultKind> {
        let position = self
            .scripts
            .iter()
            .position(|script| script.matches(request))?;
        let script = &mut self.scripts[position];
        if script.after > 0 {
            script.after -= 1;
            return None;
        }
        let fault = script.fault;
        script.times = script.times.saturating_sub(1);
        if script.times == 0 {
            self.scripts.remove(position);
        }
        Some(fault)
    }
}

/// The file of `simulate --faults`: faults, and settings of the portal that differ from the usual.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What goes wrong.
    pub faults: Faults,
    /// What kind of portal it is.
    pub settings: Settings,
}

impl Scenario {
    /// Reads the JSON text of a scenario file.
    ///
    /// # Errors
    ///
    /// With line and column, for what is no JSON or has an unknown key; with the key, for a value that means nothing.
    pub fn from_json(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_str(text)?;
        let found = mistakes(&scenario, &serde_json::from_str(text)?);
        if found.is_empty() {
            Ok(scenario)
        } else {
            Err(ScenarioError::Values(found))
        }
    }
}

/// Cloudflare's page.
pub(crate) fn html(status: u16) -> Vec<u8> {
    format!(
        "<!DOCTYPE html>\n<html><head><title>api.hubapi.com | {status}</title></head>\n\
         <body><h1>Error {status}</h1><p>cloudflare</p></body></html>\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn request(method: &str, path: &str) -> Request {
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Request::default()
        }
    }

    #[test]
    fn a_script_hits_the_next_matching_requests_and_no_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut faults = Faults::default();
        faults.script(Script {
            after: 1,
            ..Script::new(FaultKind::AnswerLost, 2, "/batch/create")
        });
        let create = request("POST", "/crm/v3/objects/contacts/batch/create");
        assert_eq!(
            faults.choose(&request("GET", "/crm/v3/owners"), &mut rng),
            None
        );
        let met: Vec<_> = (0..4).map(|_| faults.choose(&create, &mut rng)).collect();
        assert_eq!(
            met,
            [
                None,
                Some(FaultKind::AnswerLost),
                Some(FaultKind::AnswerLost),
                None
            ]
        );
    }

    #[test]
    fn chance_is_replayed_by_its_seed() {
        let chances = BTreeMap::from([(FaultKind::Slow, 0.3), (FaultKind::Locked, 0.3)]);
        let run = |seed| {
            let mut faults = Faults {
                chances: chances.clone(),
                ..Faults::default()
            };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..50)
                .map(|_| faults.choose(&request("GET", "/"), &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert!(run(7).contains(&Some(FaultKind::Slow)) && run(7).contains(&None));
    }

    #[test]
    fn the_file_names_faults_in_words_and_refuses_what_it_does_not_know() {
        let text = r#"{"faults": {"chances": {"answer_lost": 0.01},
                       "scripts": [{"fault": "locked", "path_contains": "/batch/", "times": 3}]},
                       "settings": {"burst_limit": 100, "opaque_after": true}}"#;
        let scenario = Scenario::from_json(text).expect("a scenario");
        assert_eq!(scenario.faults.scripts[0].fault, FaultKind::Locked);
        assert!(scenario.settings.opaque_after && scenario.settings.daily_limit == 625_000);
        assert!(Scenario::from_json(r#"{"fault": {}}"#).is_err());
    }
}
