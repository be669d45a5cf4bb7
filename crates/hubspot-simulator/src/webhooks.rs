//! Events of the portal's changes, as an app's webhooks tell them (`api-facts.md#10`): a queue, no input or output.

pub(crate) mod links;
pub(crate) mod sender;
pub(crate) mod subscriptions;

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::ObjectIndex;
use crate::portal::schema::Kind;
use crate::portal::{Operation, Portal, WriteLogEntry};
use crate::world::time;

/// Deliveries that are remembered for tests.
const MOST_REMEMBERED: usize = 100_000;

/// An app's subscriptions and how its deliveries behave. Every field but the URL has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// The target: `http://` on this machine.
    pub url: String,
    /// The URL that is signed, where a proxy in front of the target has another; empty: the target.
    pub signed_url: String,
    /// Whether the v3 signature is over the URL with some escapes decoded, as documented; else over the URL as it is, as
    /// HubSpot's own clients check it (`api-facts.md#11`).
    pub signs_decoded_url: bool,
    /// The app's client secret.
    pub secret: ClientSecret,
    /// Properties whose changes are subscribed; empty: all that are written.
    pub properties: Vec<String>,
    /// Whether only what the app has subscribed by API is sent.
    pub by_subscription: bool,
    /// Whether events have the generic form `object.…` with `objectTypeId`.
    pub generic: bool,
    /// Chance that an event is sent a second time, 0 to 1.
    pub duplicates: f64,
    /// Chance that an event gets lost, 0 to 1.
    pub losses: f64,
    /// Bounds of the time from the change to its event, milliseconds; differing bounds change the order.
    pub delay_min_ms: u64,
    /// Upper bound of that time.
    pub delay_max_ms: u64,
    /// Events of one request at most (`api-facts.md#10`: 100).
    pub most_in_a_request: usize,
    /// Requests at the same time (`api-facts.md#10`: 10).
    pub concurrency: usize,
    /// HubSpot tries again up to 10 times over 24 hours; this is the whole span here, milliseconds.
    pub retry_span_ms: u64,
    /// How long a request may take, milliseconds (`api-facts.md#10`: 5 seconds).
    pub timeout_ms: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            url: String::new(),
            signed_url: String::new(),
            signs_decoded_url: true,
            secret: ClientSecret(DEFAULT_SECRET.to_owned()),
            properties: Vec::new(),
            by_subscription: false,
            generic: false,
            duplicates: 0.0,
            losses: 0.0,
            delay_min_ms: 0,
            delay_max_ms: 0,
            most_in_a_request: 100,
            concurrency: 10,
            retry_span_ms: 20_000,
            timeout_ms: 5_000,
        }
    }
}

/// The client secret of a new portal's app.
pub const DEFAULT_SECRET: &str = "5eccec5e-1111-4222-8333-944444444444";

/// A secret; never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(pub String);

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientSecret(…)")
    }
}

/// One request to the app, as it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryLogEntry {
    /// The status; 0 where no answer came.
    pub status: u16,
    /// Its events.
    pub events: usize,
    /// Which attempt it was, from 0.
    pub attempt: u32,
}

/// A merge of two records.
pub(crate) struct Merged {
    pub(crate) primary: u64,
    pub(crate) other: u64,
    /// The result.
    pub(crate) winner: u64,
}

/// Events that wait, and what became of requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing {
    waiting: BTreeMap<(i64, u64), Value>,
    count: u64,
    log: VecDeque<DeliveryLogEntry>,
}

impl Portal {
    /// Tells the app what was written.
    pub(crate) fn announce(&mut self, object: ObjectIndex, entry: &WriteLogEntry) {
        let Some(webhooks) = self.settings().webhooks.clone() else {
            return;
        };
        for event in self.events_of(&webhooks, object, entry) {
            self.send_event(&webhooks, &event, entry.at_ms);
        }
    }

    /// Tells the app of a privacy deletion.
    pub(crate) fn announce_privacy_deletion(&mut self, object: ObjectIndex, id: u64, at_ms: i64) {
        let Some(webhooks) = self.settings().webhooks.clone() else {
            return;
        };
        if !self.table(object).spec.has_classic_events {
            return;
        }
        // The generic form doesn't know it (`api-facts.md#10`).
        let form = Webhooks {
            generic: false,
            ..webhooks.clone()
        };
        let mut event = self.event(&form, object, "privacyDeletion", at_ms);
        event["objectId"] = json!(id);
        event["changeFlag"] = json!("PRIVACY_DELETED");
        self.send_event(&webhooks, &event, at_ms);
    }

    pub(crate) fn send_event(&mut self, webhooks: &Webhooks, event: &Value, at_ms: i64) {
        if webhooks.by_subscription && !self.app().wants(event) {
            return;
        }
        let copies = if self.rng_mut().random_bool(webhooks.losses.clamp(0.0, 1.0)) {
            0
        } else {
            1 + usize::from(
                self.rng_mut()
                    .random_bool(webhooks.duplicates.clamp(0.0, 1.0)),
            )
        };
        for _ in 0..copies {
            let (low, high) = (webhooks.delay_min_ms, webhooks.delay_max_ms);
            let delay = self.rng_mut().random_range(low.min(high)..=high);
            let outgoing = self.outgoing_mut();
            outgoing.count += 1;
            let place = (at_ms + delay as i64, outgoing.count);
            outgoing.waiting.insert(place, event.clone());
        }
    }

    pub(crate) fn event(
        &mut self,
        webhooks: &Webhooks,
        object: ObjectIndex,
        what: &str,
        at_ms: i64,
    ) -> Value {
        let spec = self.table(object).spec;
        // Most objects have no form of their own.
        let is_generic = webhooks.generic || !spec.has_classic_events;
        let word = if is_generic { "object" } else { spec.singular };
        // Not unique, as HubSpot's: small numbers come again and again.
        let id = self.rng_mut().random_range(1..=1_000_000_u32);
        let (portal, app) = (self.settings().portal_id, self.settings().app_id);
        let mut event = json!({
            "eventId": id,
            "subscriptionId": 1_000 + object,
            "portalId": portal,
            "appId": app,
            "occurredAt": at_ms,
            "subscriptionType": format!("{word}.{what}"),
            "attemptNumber": 0,
        });
        if is_generic {
            event["objectTypeId"] = json!(spec.type_id);
        }
        event
    }

    fn events_of(
        &mut self,
        webhooks: &Webhooks,
        object: ObjectIndex,
        entry: &WriteLogEntry,
    ) -> Vec<Value> {
        let whole = match entry.operation {
            Operation::Create => Some(("creation", "CREATED")),
            Operation::Archive => Some(("deletion", "DELETED")),
            Operation::Restore => Some(("restore", "RESTORED")),
            // A merge has an event of its own.
            Operation::Merge | Operation::Update => None,
        };
        let mut events = Vec::new();
        if entry.operation == Operation::Merge && !self.settings().merge_tells_property_changes {
            return events;
        }
        if let Some((what, flag)) = whole {
            let mut event = self.event(webhooks, object, what, entry.at_ms);
            event["objectId"] = json!(entry.id);
            event["changeFlag"] = json!(flag);
            events.push(event);
        }
        let subscribed =
            |name: &String| webhooks.properties.is_empty() || webhooks.properties.contains(name);
        for write in &entry.properties {
            if write.old == write.new || !subscribed(&write.name) {
                continue;
            }
            let mut event = self.event(webhooks, object, "propertyChange", entry.at_ms);
            event["objectId"] = json!(entry.id);
            event["propertyName"] = json!(write.name);
            event["propertyValue"] = json!(self.raw(object, &write.name, write.new.as_deref()));
            events.push(event);
        }
        let app = self.settings().app_id.to_string();
        for event in &mut events {
            let (source, id) = match entry.by_api {
                true => ("INTEGRATION", app.clone()),
                false => ("CRM_UI", "userId:1".to_owned()),
            };
            event["changeSource"] = json!(source);
            event["sourceId"] = json!(id);
        }
        events
    }

    /// Tells the app of a merge, and of the end of the record that lost.
    pub(crate) fn announce_merge(&mut self, object: ObjectIndex, merge: &Merged, at_ms: i64) {
        let Some(webhooks) = self.settings().webhooks.clone() else {
            return;
        };
        let mut event = self.event(&webhooks, object, "merge", at_ms);
        event["objectId"] = json!(merge.primary);
        event["changeFlag"] = json!("MERGED");
        event["changeSource"] = json!("CRM_UI");
        event["primaryObjectId"] = json!(merge.primary);
        event["mergedObjectIds"] = json!([merge.other]);
        event["newObjectId"] = json!((merge.winner != merge.primary).then_some(merge.winner));
        self.send_event(&webhooks, &event, at_ms);
        let mut event = self.event(&webhooks, object, "deletion", at_ms);
        event["objectId"] = json!(merge.other);
        event["changeFlag"] = json!("DELETED");
        self.send_event(&webhooks, &event, at_ms);
    }

    /// Days and moments are epoch milliseconds in events; a cleared property is empty text.
    fn raw(&self, object: ObjectIndex, name: &str, value: Option<&str>) -> String {
        let Some(value) = value else {
            return String::new();
        };
        let schema = &self.table(object).schema;
        let kind = schema.id(name).map(|id| schema.property(id).kind);
        let millis = match kind {
            Some(Kind::Date) => time::date_ms(value),
            Some(Kind::Datetime) => time::datetime_ms(value),
            _ => None,
        };
        millis.map_or_else(|| value.to_owned(), |ms| ms.to_string())
    }

    /// Takes the events of the next request; `None` while none is due.
    pub fn take_events(&mut self, now_ms: i64) -> Option<Vec<Value>> {
        let at_ms = self.hubspot_ms(now_ms);
        let webhooks = self.settings().webhooks.as_ref()?;
        let most = webhooks.most_in_a_request.max(1);
        let waiting = &mut self.outgoing_mut().waiting;
        let mut events = Vec::new();
        while events.len() < most {
            match waiting.first_entry().filter(|entry| entry.key().0 <= at_ms) {
                Some(entry) => events.push(entry.remove()),
                None => break,
            }
        }
        (!events.is_empty()).then_some(events)
    }

    pub(crate) fn log_delivery(&mut self, entry: DeliveryLogEntry) {
        let log = &mut self.outgoing_mut().log;
        if log.len() == MOST_REMEMBERED {
            log.pop_front();
        }
        log.push_back(entry);
    }

    /// The requests to the app so far.
    pub fn delivery_log(&self) -> Vec<DeliveryLogEntry> {
        self.outgoing().log.iter().copied().collect()
    }

    /// Sends all events that wait, without regard to their delay.
    pub fn send_at_once(&mut self) {
        let outgoing = self.outgoing_mut();
        let waiting = std::mem::take(&mut outgoing.waiting);
        let due = waiting
            .into_iter()
            .map(|((_, count), event)| ((i64::MIN, count), event));
        outgoing.waiting = due.collect();
    }

    /// Events that have not been taken for a request yet.
    pub fn waiting_events(&self) -> usize {
        self.outgoing().waiting.len()
    }
}
