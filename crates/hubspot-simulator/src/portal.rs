//! `Portal`: HubSpot in memory. A request and a time go in, a reply comes out; no input or output, no clock.
//!
//! This file is the front door: token, limits, scopes, faults, then the call; and what tests look at afterwards.

pub(crate) mod commit;
pub(crate) mod custom;
pub(crate) mod fill;
pub(crate) mod fill_links;
pub(crate) mod index;
pub(crate) mod link_commit;
pub(crate) mod link_moves;
pub(crate) mod link_people;
pub(crate) mod link_types;
pub(crate) mod links;
pub(crate) mod logs;
pub(crate) mod merge;
pub(crate) mod people;
pub(crate) mod prepare;
pub mod record;
pub(crate) mod schema;
pub(crate) mod table;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::api::answer::Answer;
use crate::api::problem::Problem;
use crate::api::request::{Delivery, Reply, Request};
use crate::api::routes::{Call, Route, route};
use crate::api::search::SearchCache;
use crate::catalogue::{OBJECTS, ObjectIndex};
use crate::portal::commit::Author;
use crate::portal::custom::CustomObject;
pub use crate::portal::custom::NewObject;
pub use crate::portal::link_people::{Link, Named, PairType};
use crate::portal::link_types::LinkTypes;
pub use crate::portal::link_types::{LinkCategory, LinkType};
use crate::portal::links::{End, Links};
use crate::portal::logs::Logs;
pub use crate::portal::logs::{
    LinkLogEntry, Operation, PropertyWrite, RequestLogEntry, WriteLogEntry,
};
use crate::portal::table::Table;
use crate::webhooks::Outgoing;
use crate::webhooks::subscriptions::AppWebhooks;
use crate::world::auth::{self, Caller};
use crate::world::faults::{FaultKind, Faults};
use crate::world::gateway::{GATEWAY_TIMEOUT, html_reply, json_reply, problem_reply};
pub use crate::world::limits::Violations;
use crate::world::limits::{Asked, Counted, Limits, Policy, refusal};
use crate::world::oauth::Grants;
use crate::world::settings::Settings;
use crate::world::time;

/// What a handler gives.
pub(crate) type Handled = Result<Answer, Problem>;

/// How long an archived record can be read (`api-facts.md#13`).
const ARCHIVE_DAYS: i64 = 90;

/// Longer addresses give 414 (`api-facts.md#5`: beyond 8 to 16 KB).
const MOST_URL_BYTES: usize = 12_000;

/// What is done to a page of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFault {
    Duplicate,
    Missing,
    Unreadable,
    Omitted,
}

/// A HubSpot account in memory.
#[derive(Debug, Clone)]
pub struct Portal {
    settings: Settings,
    faults: Faults,
    rng: ChaCha8Rng,
    seed: u64,
    /// By object, each made when it is first asked for: a portal has many objects and a test few.
    tables: Vec<OnceLock<Box<Table>>>,
    customs: Vec<CustomObject>,
    links: Links,
    link_types: LinkTypes,
    limits: Limits,
    late: BTreeMap<(i64, u64), Request>,
    late_count: u64,
    logs: Logs,
    page_fault: Option<PageFault>,
    /// Whether what is called at the moment a person does.
    person_calls: bool,
    search_cache: Option<SearchCache>,
    purged_ms: i64,
    outgoing: Outgoing,
    grants: Grants,
    app: AppWebhooks,
}

const YEAR_MS: i64 = 365 * 24 * 3_600_000;

impl Portal {
    /// An empty portal. The same seed, requests and times give the same answers, byte for byte.
    pub fn new(settings: Settings, seed: u64, now_ms: i64) -> Self {
        Self {
            settings,
            faults: Faults::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            seed,
            tables: (0..OBJECTS.len()).map(|_| OnceLock::new()).collect(),
            customs: Vec::new(),
            links: Links::default(),
            link_types: LinkTypes::default(),
            limits: Limits::default(),
            late: BTreeMap::new(),
            late_count: 0,
            logs: Logs::default(),
            page_fault: None,
            person_calls: false,
            search_cache: None,
            purged_ms: now_ms,
            outgoing: Outgoing::default(),
            grants: Grants::default(),
            app: AppWebhooks::default(),
        }
    }

    /// Answers a request that arrives at `now_ms` (epoch milliseconds of the caller's clock, never going back).
    pub fn handle(&mut self, request: &Request, now_ms: i64) -> Reply {
        self.tick(now_ms);
        let fault = self.faults.choose(request, &mut self.rng);
        let correlation_id = self.draw_uuid();
        match fault {
            Some(FaultKind::NeverArrived) => return self.cut(Delivery::Never, now_ms),
            Some(FaultKind::Late) => {
                let after_ms = self.rng.random_range(
                    self.faults.late_min_ms.min(self.faults.late_max_ms)..=self.faults.late_max_ms,
                );
                self.late_count += 1;
                self.late
                    .insert((now_ms + after_ms as i64, self.late_count), request.clone());
                return self.cut(Delivery::Late { after_ms }, now_ms);
            }
            _ => {}
        }
        let mut reply = self.answer(request, fault, &correlation_id, now_ms);
        if fault == Some(FaultKind::FutureDate) {
            let date = time::http_date(self.hubspot_ms(now_ms) + YEAR_MS);
            reply.headers.retain(|(name, _)| name != "Date");
            reply.headers.push(("Date".to_owned(), date));
        }
        self.deliver(reply, fault)
    }

    /// Lets the time pass: late requests land, index documents become visible, old archives are purged.
    pub fn tick(&mut self, now_ms: i64) {
        while let Some(entry) = self
            .late
            .first_entry()
            .filter(|entry| entry.key().0 <= now_ms)
        {
            let ((due_ms, _), request) = entry.remove_entry();
            let at_ms = self.hubspot_ms(due_ms);
            if let Ok(route) = self.route(&request) {
                let status = self
                    .call(&route, &request, at_ms)
                    .map_or_else(|problem| problem.status, |done| done.status);
                self.log_request(&request, Some(&route), status, false, at_ms);
            }
        }
        let at_ms = self.hubspot_ms(now_ms);
        for table in self.tables.iter_mut().filter_map(OnceLock::get_mut) {
            table.index.tick(at_ms);
        }
        if at_ms - self.purged_ms >= time::DAY_MS {
            self.purge(at_ms);
        }
    }

    fn purge(&mut self, at_ms: i64) {
        self.purged_ms = at_ms;
        let oldest_ms = at_ms - ARCHIVE_DAYS * time::DAY_MS;
        for table in self.tables.iter_mut().filter_map(OnceLock::get_mut) {
            table
                .archived
                .retain(|_, stored| stored.archived_at_ms().is_some_and(|ms| ms > oldest_ms));
        }
        let tables = &self.tables;
        let can_come_back = |end: End| {
            let table = tables[end.object].get();
            table.is_some_and(|table| table.archived.contains_key(&end.id))
        };
        self.links.keep_shelved(can_come_back);
    }

    fn answer(
        &mut self,
        request: &Request,
        fault: Option<FaultKind>,
        correlation_id: &str,
        now_ms: i64,
    ) -> Reply {
        let at_ms = self.hubspot_ms(now_ms);
        if let Some(reply) = self.oauth_reply(request, fault, at_ms) {
            return reply;
        }
        if let Some(reply) = self.app_webhooks(request, at_ms) {
            return reply;
        }
        let route = if is_too_long(request) {
            Err(Problem::new(414, "URI_TOO_LONG", "HTTP 414 URI Too Long"))
        } else {
            self.route(request)
        };
        let known = route.as_ref().ok();
        let counted = known.map_or(Counted::Plain, Route::counted);
        let caller = self.caller(request, known, at_ms);
        let gate = match &caller {
            Ok(caller) => self.gate(caller, known, counted, at_ms),
            Err(problem) => Err(Gate::Problem(problem.clone())),
        };
        let throttled = matches!(gate, Err(Gate::Limit(_)));
        let mut rate_headers = Vec::new();
        if let Ok(caller) = &caller
            && counted != Counted::Search
            && !matches!(gate, Err(Gate::Problem(_)))
        {
            rate_headers = self.limits.headers(&self.settings, caller.daily(), at_ms);
        }
        let mut reply = match gate {
            Err(Gate::Limit(policy)) => self.throttle(policy, correlation_id, at_ms),
            Err(Gate::Problem(problem)) => problem_reply(&problem, correlation_id),
            Ok(()) => match fault.and_then(|fault| {
                self.refuse_by_fault(fault, request, &route, correlation_id, at_ms)
            }) {
                Some(reply) => reply,
                None => self.called(request, &route, fault, correlation_id, at_ms),
            },
        };
        self.log_request(request, route.as_ref().ok(), reply.status, throttled, at_ms);
        reply.headers.extend(rate_headers);
        reply
            .headers
            .push(("Date".to_owned(), time::http_date(at_ms)));
        reply.headers.push((
            "X-HubSpot-Correlation-Id".to_owned(),
            correlation_id.to_owned(),
        ));
        reply
            .headers
            .push(("CF-RAY".to_owned(), format!("{}-SIM", &correlation_id[..8])));
        reply
    }

    /// What belongs to OAuth is outside of limits and scopes; faults hit it like everything else.
    fn oauth_reply(
        &mut self,
        request: &Request,
        fault: Option<FaultKind>,
        at_ms: i64,
    ) -> Option<Reply> {
        let fails = matches!(
            fault,
            Some(FaultKind::InternalError | FaultKind::Unavailable)
        );
        let is_oauth = self.settings.oauth.is_some() && request.path.starts_with("/oauth/");
        if is_oauth && fault == Some(FaultKind::RateLimited) {
            let problem = Problem::new(429, "RATE_LIMITS", "HTTP 429 Too Many Requests");
            return Some(problem_reply(&problem, "0"));
        }
        if fails && is_oauth {
            let problem = Problem::new(503, "UNAVAILABLE", "HTTP 503 Service Unavailable");
            return Some(problem_reply(&problem, "0"));
        }
        let mut reply = self.oauth(request, at_ms)?;
        reply
            .headers
            .push(("Date".to_owned(), time::http_date(at_ms)));
        Some(reply)
    }

    fn route(&self, request: &Request) -> Result<Route, Problem> {
        route(request, &|name| self.object_of(name))
    }

    /// Who makes a request; a token that asks about itself names itself in the body.
    fn caller(
        &self,
        request: &Request,
        route: Option<&Route>,
        at_ms: i64,
    ) -> Result<Caller, Problem> {
        if route.is_some_and(|route| route.call == Call::TokenInfo) {
            return Ok(Caller::Static);
        }
        auth::authenticate(request, &self.settings, &self.grants, at_ms)
    }

    fn gate(
        &mut self,
        caller: &Caller,
        route: Option<&Route>,
        counted: Counted,
        at_ms: i64,
    ) -> Result<(), Gate> {
        let asked = Asked {
            counted,
            daily: caller.daily(),
        };
        self.limits
            .admit(&self.settings, asked, at_ms)
            .map_err(Gate::Limit)?;
        route
            .map_or(Ok(()), |route| {
                let scopes = |object| self.table(object).spec.scopes;
                let ends = (scopes(route.object), scopes(route.to));
                auth::authorize(route, ends, caller, &self.settings)
            })
            .map_err(Gate::Problem)
    }

    fn throttle(&mut self, policy: Policy, correlation_id: &str, at_ms: i64) -> Reply {
        let mut reply = json_reply(
            429,
            refusal(&self.settings, policy, correlation_id)
                .to_string()
                .into_bytes(),
        );
        if self.settings.retry_after_on_429 {
            let seconds = self.limits.retry_after_s(&self.settings, policy, at_ms);
            reply
                .headers
                .push(("Retry-After".to_owned(), seconds.to_string()));
        }
        reply
    }

    pub(crate) fn called(
        &mut self,
        request: &Request,
        route: &Result<Route, Problem>,
        fault: Option<FaultKind>,
        correlation_id: &str,
        at_ms: i64,
    ) -> Reply {
        self.page_fault = match fault {
            Some(FaultKind::DuplicateRecord) => Some(PageFault::Duplicate),
            Some(FaultKind::MissingRecord) => Some(PageFault::Missing),
            Some(FaultKind::UnreadableRecord) => Some(PageFault::Unreadable),
            Some(FaultKind::OmittedRecord) => Some(PageFault::Omitted),
            _ => None,
        };
        self.person_calls = auth::is_a_person(request, &self.settings);
        let handled = match route {
            Ok(route) => self.call(route, request, at_ms),
            Err(problem) => Err(problem.clone()),
        };
        (self.page_fault, self.person_calls) = (None, false);
        match handled {
            Ok(answer) => json_reply(answer.status, answer.body),
            Err(problem) if problem.status == GATEWAY_TIMEOUT => html_reply(GATEWAY_TIMEOUT),
            Err(problem) => problem_reply(&problem, correlation_id),
        }
    }

    fn cut(&self, delivery: Delivery, now_ms: i64) -> Reply {
        let date = ("Date".to_owned(), time::http_date(self.hubspot_ms(now_ms)));
        Reply {
            status: 0,
            headers: vec![date],
            body: Vec::new(),
            delivery,
        }
    }

    /// HubSpot's clock at a moment of the caller's.
    pub(crate) fn hubspot_ms(&self, now_ms: i64) -> i64 {
        now_ms + self.settings.clock_offset_ms
    }

    fn draw_uuid(&mut self) -> String {
        let bits: u128 = self.rng.random();
        let hex = format!("{bits:032x}");
        format!(
            "{}-{}-4{}-8{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..]
        )
    }

    /// Who writes what is called at the moment.
    pub(crate) fn author(&self, trace_id: Option<&str>) -> Author {
        if self.person_calls {
            return Author::someone();
        }
        Author::api(trace_id)
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) fn logs(&self) -> &Logs {
        &self.logs
    }

    pub(crate) fn logs_mut(&mut self) -> &mut Logs {
        &mut self.logs
    }

    pub(crate) fn app(&self) -> &AppWebhooks {
        &self.app
    }

    pub(crate) fn app_mut(&mut self) -> &mut AppWebhooks {
        &mut self.app
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(crate) fn grants_mut(&mut self) -> &mut Grants {
        &mut self.grants
    }

    pub(crate) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    pub(crate) fn outgoing_mut(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn draw_tie_seed(&mut self) -> u64 {
        self.rng.random()
    }

    pub(crate) fn table(&self, object: ObjectIndex) -> &Table {
        self.tables[object].get_or_init(|| Box::new(Table::new(object)))
    }

    pub(crate) fn table_mut(&mut self, object: ObjectIndex) -> &mut Table {
        // Made if it wasn't there.
        self.table(object);
        self.tables[object]
            .get_mut()
            .expect("just made, or there already")
    }

    /// Gives a new object its table; its place.
    pub(crate) fn add_table(&mut self, table: Table, custom: CustomObject) -> ObjectIndex {
        self.tables.push(OnceLock::from(Box::new(table)));
        self.customs.push(custom);
        self.tables.len() - 1
    }

    /// The portal's own objects, in the order of their tables.
    pub(crate) fn customs(&self) -> &[CustomObject] {
        &self.customs
    }

    pub(crate) fn customs_mut(&mut self) -> &mut [CustomObject] {
        &mut self.customs
    }

    pub(crate) fn record_links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn record_links_mut(&mut self) -> &mut Links {
        &mut self.links
    }

    pub(crate) fn link_types(&self) -> &LinkTypes {
        &self.link_types
    }

    pub(crate) fn link_types_mut(&mut self) -> &mut LinkTypes {
        &mut self.link_types
    }

    pub(crate) fn rng_mut(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn take_page_fault(&mut self) -> Option<PageFault> {
        self.page_fault.take()
    }

    pub(crate) fn search_cache(&self) -> Option<&SearchCache> {
        self.search_cache.as_ref()
    }

    pub(crate) fn set_search_cache(&mut self, cache: SearchCache) {
        self.search_cache = Some(cache);
    }

    pub(crate) fn forget_searches(&mut self) {
        self.search_cache = None;
    }

    pub(crate) fn used_today(&mut self, at_ms: i64) -> u64 {
        self.limits.used_today(&self.settings, at_ms)
    }

    /// Adds requests of other apps to this day's count.
    pub fn use_today(&mut self, requests: u64, now_ms: i64) {
        let at_ms = self.hubspot_ms(now_ms);
        self.limits.use_today(&self.settings, requests, at_ms);
    }

    /// Requests that were cut off and have yet to land.
    pub fn late_requests(&self) -> usize {
        self.late.len()
    }

    /// What goes wrong.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// What kind of portal it is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the portal's moods on the fly.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }
}

/// Why a request doesn't come through.
enum Gate {
    Limit(Policy),
    Problem(Problem),
}

/// Whether the gateway refuses the address.
fn is_too_long(request: &Request) -> bool {
    request.path.len() + request.query.len() > MOST_URL_BYTES
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use serde_json::{Value, json};

    use super::{Operation, Portal};
    use crate::api::request::Delivery;
    use crate::testing::{Desk, START_MS};
    use crate::world::faults::{FaultKind, Script};
    use crate::world::settings::Settings;

    const CREATE: &str = "/crm/objects/2026-03/contacts/batch/create";

    fn one_contact() -> Value {
        json!({"inputs": [{"properties": {"email": "ada@example.com"}}]})
    }

    fn met(fault: FaultKind) -> (Desk, super::Reply) {
        let mut desk = Desk::quick();
        desk.portal
            .faults_mut()
            .script(Script::new(fault, 1, "/batch/create"));
        let reply = desk.reply("POST", CREATE, &one_contact());
        (desk, reply)
    }

    #[test]
    fn faults_that_refuse_apply_nothing() {
        let cases = [
            (FaultKind::RateLimited, 429),
            (FaultKind::InternalError, 500),
            (FaultKind::Unavailable, 503),
            (FaultKind::Locked, 423),
            (FaultKind::Migrating, 477),
            (FaultKind::Forbidden, 403),
            (FaultKind::HtmlAnswer, 200),
        ];
        for (fault, status) in cases {
            let (mut desk, reply) = met(fault);
            assert_eq!(
                (reply.status, desk.portal.count("contacts")),
                (status, 0),
                "{fault:?}"
            );
            assert_eq!(
                desk.reply("POST", CREATE, &one_contact()).status,
                201,
                "the script is used up"
            );
        }
        assert_eq!(
            met(FaultKind::Migrating).1.header("retry-after"),
            Some("60")
        );
        assert!(
            met(FaultKind::HtmlAnswer)
                .1
                .body
                .starts_with(b"<!DOCTYPE html>")
        );
    }

    #[test]
    fn faults_of_the_answer_have_applied_the_request() {
        for fault in [
            FaultKind::AnswerLost,
            FaultKind::CutBody,
            FaultKind::TruncatedJson,
            FaultKind::Slow,
        ] {
            let (desk, reply) = met(fault);
            assert_eq!(desk.portal.count("contacts"), 1, "{fault:?}");
            assert_ne!(
                (reply.delivery, reply.body.ends_with(b"}")),
                (Delivery::Whole { latency_ms: 0 }, true)
            );
        }
    }

    #[test]
    fn a_request_that_never_arrives_leaves_no_trace_and_a_late_one_lands_later() {
        let (desk, reply) = met(FaultKind::NeverArrived);
        assert_eq!(
            (reply.delivery, desk.portal.count("contacts")),
            (Delivery::Never, 0)
        );
        assert_eq!(desk.portal.request_log(), []);
        let (mut desk, reply) = met(FaultKind::Late);
        let Delivery::Late { after_ms } = reply.delivery else {
            panic!("{:?}", reply.delivery);
        };
        desk.portal.tick(desk.now_ms + after_ms as i64 - 1);
        assert_eq!(
            (desk.portal.count("contacts"), desk.portal.late_requests()),
            (0, 1)
        );
        desk.portal.tick(desk.now_ms + after_ms as i64);
        assert_eq!(
            (desk.portal.count("contacts"), desk.portal.late_requests()),
            (1, 0)
        );
    }

    #[test]
    fn pages_lose_or_repeat_a_record_on_request() {
        let mut desk = Desk::quick();
        desk.portal.fill("contacts", 4, desk.now_ms);
        for (fault, expected) in [
            (FaultKind::MissingRecord, 3),
            (FaultKind::DuplicateRecord, 5),
        ] {
            for (method, target) in [
                ("GET", "/crm/v3/objects/contacts"),
                ("POST", "/crm/v3/objects/contacts/search"),
            ] {
                desk.portal
                    .faults_mut()
                    .script(Script::new(fault, 1, "contacts"));
                let body = if method == "GET" {
                    Value::Null
                } else {
                    json!({})
                };
                let page = desk.call(method, target, &body).1;
                assert_eq!(
                    page["results"].as_array().map(Vec::len),
                    Some(expected),
                    "{fault:?} {method}"
                );
            }
        }
    }

    /// api-facts.md#3: search answers carry no rate headers, the others all seven.
    #[test]
    fn rate_headers_come_with_all_answers_but_those_of_search() {
        let mut desk = Desk::new(Settings::default());
        let names = |reply: &super::Reply| {
            reply
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("X-HubSpot-RateLimit-"))
                .count()
        };
        let reply = desk.reply("GET", "/crm/v3/objects/contacts", &Value::Null);
        assert_eq!(
            (names(&reply), reply.header("x-hubspot-ratelimit-remaining")),
            (7, Some("189"))
        );
        assert_eq!(
            names(&desk.reply("POST", "/crm/v3/objects/contacts/search", &json!({}))),
            0
        );
        desk.portal.settings_mut().daily_headers = false;
        assert_eq!(names(&desk.reply("GET", "/crm/v3/owners", &Value::Null)), 5);
        assert!(reply.header("X-HubSpot-Correlation-Id").is_some());
    }

    #[test]
    fn the_date_header_is_hubspot_s_clock() {
        let mut desk = Desk::new(Settings {
            clock_offset_ms: 60_000,
            ..Settings::quick()
        });
        let reply = desk.reply("GET", "/crm/v3/owners", &Value::Null);
        assert_eq!(reply.header("date"), Some("Tue, 24 Nov 2026 06:01:00 GMT"));
        let id = desk.contact("ada@example.com");
        let record = desk.portal.record("contacts", id).expect("there");
        assert_eq!(record.created_ms(), desk.now_ms + 60_000);
    }

    #[test]
    fn a_429_names_its_policy_and_is_counted() {
        let mut desk = Desk::new(Settings {
            burst_limit: 2,
            retry_after_on_429: true,
            ..Settings::default()
        });
        for expected in [200, 200, 429] {
            assert_eq!(desk.get("/crm/v3/owners").0, expected);
        }
        let reply = desk.reply("GET", "/crm/v3/owners", &Value::Null);
        assert_eq!(reply.header("retry-after"), Some("10"));
        assert_eq!(
            (
                desk.portal.violations().burst,
                desk.portal.violations().most_in_ten_seconds
            ),
            (2, 4)
        );
        assert!(desk.portal.request_log()[2].throttled);
        desk.now_ms += 10_000;
        assert_eq!(desk.get("/crm/v3/owners").0, 200);
    }

    /// api-facts.md#2.
    #[test]
    fn a_wrong_token_is_401_and_a_missing_scope_403() {
        let mut desk = Desk::quick();
        desk.portal
            .settings_mut()
            .denied_scopes
            .insert("crm.objects.contacts.write".to_owned());
        let (status, body) = desk.post(CREATE, &one_contact());
        assert_eq!(
            (status, body["category"].as_str()),
            (403, Some("MISSING_SCOPES"))
        );
        let known: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/403_scopes.json"))
                .expect("HubSpot's body");
        let mut expected = known;
        expected["correlationId"] = body["correlationId"].clone();
        expected["errors"][0]["context"]["requiredGranularScopes"] =
            json!(["crm.objects.contacts.write"]);
        assert_eq!(body, expected);
        assert_eq!(desk.get("/crm/v3/objects/contacts").0, 200);
        desk.portal.settings_mut().tokens.0.clear();
        assert_eq!(desk.get("/crm/v3/objects/contacts").0, 401);
    }

    #[test]
    fn a_body_without_content_type_is_415() {
        let mut desk = Desk::quick();
        let request = super::Request {
            method: "POST".to_owned(),
            path: CREATE.to_owned(),
            headers: vec![(
                "authorization".to_owned(),
                format!("Bearer {}", crate::world::settings::DEFAULT_TOKEN),
            )],
            body: one_contact().to_string().into_bytes(),
            ..super::Request::default()
        };
        assert_eq!(desk.portal.handle(&request, desk.now_ms).status, 415);
    }

    #[test]
    fn the_write_log_tells_who_wrote_what() {
        let mut desk = Desk::quick();
        let mut input = one_contact();
        input["inputs"][0]["objectWriteTraceId"] = json!("t-1");
        desk.post(CREATE, &input);
        let id = desk.portal.records("contacts")[0].id();
        desk.portal
            .edit("contacts", id, &[("city", "Oslo")], desk.now_ms);
        let log = desk.portal.write_log();
        assert_eq!(
            (log[0].operation, log[0].by_api, log[0].trace_id.as_deref()),
            (Operation::Create, true, Some("t-1"))
        );
        assert_eq!(
            (log[1].operation, log[1].by_api),
            (Operation::Update, false)
        );
        assert_eq!(log[1].properties[0].new.as_deref(), Some("Oslo"));
        assert_eq!(
            (
                desk.portal.request_log()[0].inputs,
                desk.portal.request_log().len()
            ),
            (1, 1)
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let run = || {
            let mut portal = Portal::new(Settings::default(), 99, START_MS);
            portal.fill("contacts", 50, START_MS);
            let mut desk = Desk {
                portal,
                now_ms: START_MS,
            };
            desk.portal
                .faults_mut()
                .chances
                .insert(FaultKind::InternalError, 0.3);
            let bodies: Vec<_> = (0..20)
                .map(|_| {
                    desk.reply("GET", "/crm/v3/objects/contacts?limit=50", &Value::Null)
                        .body
                })
                .collect();
            bodies
        };
        assert_eq!(run(), run());
    }

    fn odd_value(rng: &mut ChaCha8Rng, depth: u32) -> Value {
        let texts = [
            "",
            "1",
            "-1",
            "18446744073709551615",
            "1e400",
            "2026-02-30",
            "email",
            ";",
            "ADA@x.y",
            "\u{0}é",
        ];
        match rng.random_range(0..if depth == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(rng.random_bool(0.5)),
            2 => json!(rng.random::<i64>()),
            3 => json!(f64::from(rng.random::<i32>()) / 7.0),
            4 => json!(texts[rng.random_range(0..texts.len())]),
            5 => (0..rng.random_range(0..4))
                .map(|_| odd_value(rng, depth - 1))
                .collect(),
            _ => {
                let keys = [
                    "inputs",
                    "id",
                    "idProperty",
                    "properties",
                    "email",
                    "vip",
                    "filterGroups",
                    "filters",
                    "sorts",
                    "propertyName",
                    "operator",
                    "value",
                    "highValue",
                    "values",
                    "after",
                    "limit",
                    "options",
                    "name",
                ];
                let entry = |rng: &mut ChaCha8Rng| {
                    let key = keys[rng.random_range(0..keys.len())].to_owned();
                    (key, odd_value(rng, depth - 1))
                };
                Value::Object((0..rng.random_range(0..5)).map(|_| entry(rng)).collect())
            }
        }
    }

    fn odd_filter(rng: &mut ChaCha8Rng) -> Value {
        let operators = [
            "EQ",
            "LT",
            "GT",
            "GTE",
            "BETWEEN",
            "IN",
            "CONTAINS_TOKEN",
            "NOT_HAS_PROPERTY",
        ];
        let names = [
            "hs_object_id",
            "lastmodifieddate",
            "createdate",
            "email",
            "vip",
            "nothing",
        ];
        json!({"propertyName": names[rng.random_range(0..names.len())],
               "operator": operators[rng.random_range(0..operators.len())],
               "value": odd_value(rng, 0), "highValue": odd_value(rng, 0), "values": [odd_value(rng, 0)]})
    }

    /// Whatever arrives, the answer is one of HubSpot's.
    #[test]
    fn strange_bodies_are_answered_and_never_end_in_a_panic() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut desk = Desk::quick();
        desk.portal.fill("contacts", 20, desk.now_ms);
        let base = "/crm/objects/2026-03/contacts";
        let calls = [
            "",
            "/search",
            "/batch/read",
            "/batch/create",
            "/batch/update",
            "/batch/upsert",
            "/merge",
        ];
        for _ in 0..5_000 {
            let call = calls[rng.random_range(0..calls.len())];
            let body = match rng.random_range(0..3) {
                0 => odd_value(&mut rng, 4),
                1 => {
                    json!({"filterGroups": [{"filters": [odd_filter(&mut rng), odd_filter(&mut rng)]}],
                            "sorts": [odd_value(&mut rng, 1)], "after": odd_value(&mut rng, 0)})
                }
                _ => {
                    json!({"inputs": [{"id": odd_value(&mut rng, 0), "idProperty": odd_value(&mut rng, 0),
                                        "properties": odd_value(&mut rng, 1)}]})
                }
            };
            let status = desk.post(&format!("{base}{call}"), &body).0;
            assert!(
                [200, 201, 207, 400, 404, 409].contains(&status),
                "{status} {call} {body}"
            );
        }
    }

    #[test]
    fn an_address_that_is_too_long_is_414() {
        let mut desk = Desk::quick();
        let names = "x".repeat(13_000);
        assert_eq!(
            desk.get(&format!("/crm/v3/objects/contacts?properties={names}"))
                .0,
            414
        );
    }

    #[test]
    fn the_log_is_bounded() {
        let mut desk = Desk::new(Settings {
            log_limit: 10,
            ..Settings::quick()
        });
        for _ in 0..100 {
            desk.get("/crm/v3/owners");
        }
        assert!((10..=20).contains(&desk.portal.request_log().len()));
    }
}
