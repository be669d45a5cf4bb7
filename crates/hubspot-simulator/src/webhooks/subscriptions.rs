//! The developer API of an app's webhooks (`api-facts.md#10`): target URL and subscriptions, by the developer key.

use serde_json::{Value, json};

use crate::api::request::{Delivery, Reply, Request};
use crate::api::routes::Query;
use crate::portal::Portal;
use crate::webhooks::ClientSecret;
use crate::world::time;

/// A subscription as it is kept.
#[derive(Clone, Debug)]
struct Subscription {
    id: u64,
    event_type: String,
    object_type_id: Option<String>,
    property: Option<String>,
    active: bool,
    created_ms: i64,
}

/// What the app has set.
#[derive(Debug, Clone, Default)]
pub(crate) struct AppWebhooks {
    target: Option<String>,
    concurrent: u64,
    /// Properties that can't be subscribed.
    refused: Vec<String>,
    subscriptions: Vec<Subscription>,
    count: u64,
}

impl AppWebhooks {
    /// Whether an event is subscribed.
    pub(crate) fn wants(&self, event: &Value) -> bool {
        let text = |name: &str| event[name].as_str();
        self.subscriptions.iter().any(|subscription| {
            subscription.active
                && Some(subscription.event_type.as_str()) == text("subscriptionType")
                && subscription.object_type_id.as_deref()
                    == text("objectTypeId").or(text("fromObjectTypeId"))
                && subscription.property.as_deref() == text("propertyName")
        })
    }
}

const EVENTS: [&str; 7] = [
    "creation",
    "deletion",
    "merge",
    "restore",
    "propertyChange",
    "associationChange",
    "privacyDeletion",
];

type Done = Result<(u16, Value), (u16, &'static str)>;

impl Subscription {
    fn to_json(&self) -> Value {
        let at = time::iso(self.created_ms);
        json!({"id": self.id.to_string(), "eventType": self.event_type, "objectTypeId": self.object_type_id,
               "propertyName": self.property, "active": self.active, "createdAt": at, "updatedAt": at})
    }
}

impl Portal {
    /// Answers what belongs to the developer API; `None` for everything else.
    pub(crate) fn app_webhooks(&mut self, request: &Request, at_ms: i64) -> Option<Reply> {
        let rest = [
            "/webhooks/v3/",
            "/webhooks/2026-03/",
            "/app-webhooks/2026-09/",
        ]
        .iter()
        .find_map(|prefix| request.path.strip_prefix(prefix))?;
        let (app, rest) = rest.split_once('/')?;
        let key = self.settings().developer_key.clone()?;
        let done = if self.is_developer(&key, app, request) {
            self.change_app(&request.method, rest, request, at_ms)
        } else {
            Err((401, "INVALID_AUTHENTICATION"))
        };
        let (status, body) = done.unwrap_or_else(|(status, category)| {
            (status, json!({"status": "error", "category": category, "message": category, "correlationId": "0"}))
        });
        Some(Reply {
            status,
            headers: vec![(
                "Content-Type".to_owned(),
                "application/json;charset=utf-8".to_owned(),
            )],
            body: if status == 204 {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            },
            delivery: Delivery::Whole { latency_ms: 0 },
        })
    }

    fn is_developer(&self, key: &ClientSecret, app: &str, request: &Request) -> bool {
        let query = Query::parse(&request.query);
        query.get("hapikey") == Some(key.0.as_str()) && app == self.settings().app_id.to_string()
    }

    fn change_app(&mut self, method: &str, rest: &str, request: &Request, at_ms: i64) -> Done {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let app = self.app_mut();
        match (method, rest.split('/').collect::<Vec<_>>().as_slice()) {
            ("GET", ["settings"]) => {
                let target = app.target.as_ref().ok_or((404, "OBJECT_NOT_FOUND"))?;
                Ok((
                    200,
                    json!({"targetUrl": target, "throttling": {"maxConcurrentRequests": app.concurrent}}),
                ))
            }
            ("PUT", ["settings"]) => {
                let target = body["targetUrl"]
                    .as_str()
                    .filter(|url| url.starts_with("http"));
                let many = body["throttling"]["maxConcurrentRequests"].as_u64();
                let (Some(target), Some(many @ 6..)) = (target, many) else {
                    return Err((400, "VALIDATION_ERROR"));
                };
                app.concurrent = many;
                app.target = Some(target.to_owned());
                Ok((200, body))
            }
            ("GET", ["subscriptions"]) => {
                let all: Vec<Value> = app
                    .subscriptions
                    .iter()
                    .map(Subscription::to_json)
                    .collect();
                Ok((200, json!({"results": all})))
            }
            ("POST", ["subscriptions"]) => app.subscribe(&body, at_ms),
            ("PATCH", ["subscriptions", id]) => {
                let active = body["active"].as_bool().ok_or((400, "VALIDATION_ERROR"))?;
                let found = app
                    .subscriptions
                    .iter_mut()
                    .find(|own| own.id.to_string() == **id);
                let found = found.ok_or((404, "OBJECT_NOT_FOUND"))?;
                found.active = active;
                Ok((200, found.to_json()))
            }
            ("DELETE", ["subscriptions", id]) => {
                app.subscriptions.retain(|own| own.id.to_string() != **id);
                Ok((204, Value::Null))
            }
            _ => Err((404, "OBJECT_NOT_FOUND")),
        }
    }

    /// Sets the app's webhooks by hand: the URL that it calls, and how many requests at once.
    pub fn set_app_target(&mut self, url: &str, concurrent: u64) {
        let app = self.app_mut();
        app.target = Some(url.to_owned());
        app.concurrent = concurrent;
    }

    /// A property that can't be subscribed, as some calculated ones.
    pub fn refuse_subscription(&mut self, property: &str) {
        self.app_mut().refused.push(property.to_owned());
    }

    /// How many requests at once the app takes.
    pub fn app_concurrent(&self) -> u64 {
        self.app().concurrent
    }

    /// Event types and properties of the active subscriptions.
    pub fn active_subscriptions(&self) -> Vec<(String, Option<String>)> {
        let active = self.app().subscriptions.iter().filter(|own| own.active);
        active
            .map(|own| (own.event_type.clone(), own.property.clone()))
            .collect()
    }
}

impl AppWebhooks {
    fn subscribe(&mut self, body: &Value, at_ms: i64) -> Done {
        let text = |name: &str| {
            body[name]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let event_type = text("eventType").unwrap_or_default();
        let event = event_type
            .split_once('.')
            .map(|(_, event)| event)
            .unwrap_or_default();
        let property = text("propertyName");
        if property
            .as_ref()
            .is_some_and(|own| self.refused.contains(own))
        {
            return Err((400, "VALIDATION_ERROR"));
        }
        if !EVENTS.contains(&event) || (event == "propertyChange") != property.is_some() {
            return Err((400, "VALIDATION_ERROR"));
        }
        let object_type_id = text("objectTypeId");
        let is_same = |own: &Subscription| {
            own.event_type == event_type
                && own.property == property
                && own.object_type_id == object_type_id
        };
        if self.subscriptions.iter().any(is_same) {
            return Err((400, "VALIDATION_ERROR"));
        }
        self.count += 1;
        let made = Subscription {
            id: self.count,
            event_type,
            object_type_id,
            property,
            // New ones are paused unless somebody says otherwise.
            active: body["active"].as_bool().unwrap_or(false),
            created_ms: at_ms,
        };
        let shown = made.to_json();
        self.subscriptions.push(made);
        Ok((201, shown))
    }
}
