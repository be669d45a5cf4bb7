//! A desk for the unit tests: a portal, a token and a clock that only moves when told.

use serde_json::Value;

use crate::api::request::{Reply, Request};
use crate::portal::Portal;
use crate::world::settings::{DEFAULT_TOKEN, Settings};

/// 2026-11-24, 06:00 UTC.
pub(crate) const START_MS: i64 = 1_795_500_000_000;

/// A portal with somebody who calls it.
pub(crate) struct Desk {
    pub portal: Portal,
    pub now_ms: i64,
}

impl Desk {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            portal: Portal::new(settings, 7, START_MS),
            now_ms: START_MS,
        }
    }

    pub(crate) fn quick() -> Self {
        Self::new(Settings::quick())
    }

    pub(crate) fn reply(&mut self, method: &str, target: &str, body: &Value) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = [
            ("Authorization", format!("Bearer {DEFAULT_TOKEN}")),
            ("Content-Type", "application/json".to_owned()),
        ];
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            body: if body.is_null() {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            },
        };
        self.portal.handle(&request, self.now_ms)
    }

    pub(crate) fn call(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let reply = self.reply(method, target, body);
        (
            reply.status,
            serde_json::from_slice(&reply.body).unwrap_or(Value::Null),
        )
    }

    pub(crate) fn get(&mut self, target: &str) -> (u16, Value) {
        self.call("GET", target, &Value::Null)
    }

    pub(crate) fn post(&mut self, target: &str, body: &Value) -> (u16, Value) {
        self.call("POST", target, body)
    }

    /// A contact made by a person.
    pub(crate) fn contact(&mut self, email: &str) -> u64 {
        self.portal
            .create("contacts", &[("email", email)], self.now_ms)
    }

    /// A company made by a person.
    pub(crate) fn company(&mut self, name: &str) -> u64 {
        self.portal
            .create("companies", &[("name", name)], self.now_ms)
    }

    /// A deal made by a person.
    pub(crate) fn deal(&mut self, name: &str) -> u64 {
        self.portal
            .create("deals", &[("dealname", name)], self.now_ms)
    }

    /// Type ids of HubSpot's own types between a contact and a company, as the contact sees them.
    pub(crate) fn kinds(&self, contact: u64, company: u64) -> Vec<u32> {
        let links = self.portal.links_of(("contacts", contact), "companies");
        let pair = links.iter().filter(|link| link.to_id == company);
        pair.map(|link| link.kind.type_id).collect()
    }
}

/// The ids of a page's results, in order.
pub(crate) fn ids(body: &Value) -> Vec<u64> {
    let results = body["results"].as_array().cloned().unwrap_or_default();
    results
        .iter()
        .filter_map(|record| record["id"].as_str()?.parse().ok())
        .collect()
}
