//! Webhooks: bytes and the time in, events out. The signature first, the body's meaning after it.
//!
//! What is signed, and with which header, is in `hubspot/api-facts.md#11`; what an event carries in `#10`. Nothing here
//! waits, logs or stores.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::hubspot::wire::{Moment, Scalar};
use crate::model::event::{Event, EventKind};
use crate::model::hex;
use crate::model::id::{HubspotId, PortalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::settings::SignatureVersion;
use crate::model::time::Timestamp;

/// How far a v3 timestamp may be from now, either way, in milliseconds (`hubspot/api-facts.md#11`).
const WINDOW_MS: i64 = 5 * 60 * 1000;

/// The most events that one body may hold. HubSpot sends up to 100; the body's own bound is the mapping file's.
const MAX_EVENTS: usize = 10_000;

/// Escapes that HubSpot decodes in the URI before it signs with v3, and no others (`hubspot/api-facts.md#11`).
const DECODED: [(&str, char); 12] = [
    ("3A", ':'),
    ("2F", '/'),
    ("3F", '?'),
    ("40", '@'),
    ("21", '!'),
    ("24", '$'),
    ("27", '\''),
    ("28", '('),
    ("29", ')'),
    ("2A", '*'),
    ("2C", ','),
    ("3B", ';'),
];

/// A request as it came, under the URL that HubSpot called.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// `POST`, or what a card calls with.
    pub method: &'a str,
    /// Scheme, host, path and query as HubSpot sees them; never taken from `Host` or `X-Forwarded-…`.
    pub uri: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
}

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No signature of the wanted version.
    #[error("no signature of the wanted version")]
    Missing,
    /// The timestamp is no number of milliseconds.
    #[error("the timestamp is not a number of milliseconds")]
    NoTimestamp,
    /// Signed more than five minutes ago, or from now.
    #[error("signed more than five minutes from now")]
    Stale,
    /// Not signed with any of the secrets.
    #[error("signed with another secret, or for another URL or body")]
    Wrong,
}

/// Checks a delivery against each secret, in constant time for the signature.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    secrets: &[SecretString],
    version: SignatureVersion,
    delivery: &Delivery<'_>,
    now: Timestamp,
) -> Result<(), Refusal> {
    match version {
        SignatureVersion::V3 => verify_v3(secrets, delivery, now),
        SignatureVersion::V2 => verify_hash(secrets, "v2", delivery, &|secret| {
            [
                secret.as_bytes(),
                delivery.method.as_bytes(),
                delivery.uri.as_bytes(),
                delivery.body,
            ]
            .concat()
        }),
        SignatureVersion::V1 => verify_hash(secrets, "v1", delivery, &|secret| {
            [secret.as_bytes(), delivery.body].concat()
        }),
    }
}

/// A header that stands there exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn verify_v3(
    secrets: &[SecretString],
    delivery: &Delivery<'_>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let signature = single(delivery.headers, "x-hubspot-signature-v3").ok_or(Refusal::Missing)?;
    let timestamp =
        single(delivery.headers, "x-hubspot-request-timestamp").ok_or(Refusal::NoTimestamp)?;
    let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let signed_at: i64 = timestamp
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or(Refusal::NoTimestamp)?;
    if now.millis().abs_diff(signed_at) > WINDOW_MS.unsigned_abs() {
        return Err(Refusal::Stale);
    }
    let signature = STANDARD
        .decode(signature)
        .map_err(|_not_base64| Refusal::Wrong)?;
    let decoded = decode_uri(delivery.uri);
    let raw = (decoded != delivery.uri).then_some(delivery.uri);
    let is_right = secrets.iter().any(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        [Some(decoded.as_ref()), raw]
            .into_iter()
            .flatten()
            .any(|uri| {
                let message = [
                    delivery.method.as_bytes(),
                    uri.as_bytes(),
                    delivery.body,
                    timestamp.as_bytes(),
                ]
                .concat();
                hmac::verify(&key, &message, &signature).is_ok()
            })
    });
    if is_right {
        Ok(())
    } else {
        Err(Refusal::Wrong)
    }
}

/// v1 and v2 are plain hashes over the secret, without a time: whoever has one delivery can send it again for ever.
fn verify_hash(
    secrets: &[SecretString],
    version: &str,
    delivery: &Delivery<'_>,
    message: &dyn Fn(&str) -> Vec<u8>,
) -> Result<(), Refusal> {
    let named = single(delivery.headers, "x-hubspot-signature-version");
    if named.is_some_and(|named| !named.eq_ignore_ascii_case(version)) {
        return Err(Refusal::Missing);
    }
    let signature = single(delivery.headers, "x-hubspot-signature").ok_or(Refusal::Missing)?;
    let signature = hex::decode(signature).ok_or(Refusal::Wrong)?;
    // Both sides go through an HMAC under one key: what is compared in constant time is no longer the hash itself.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    let given = hmac::sign(&key, &signature);
    let is_right = secrets.iter().any(|secret| {
        let hash = digest::digest(&digest::SHA256, &message(secret.expose_secret()));
        hmac::verify(&key, hash.as_ref(), given.as_ref()).is_ok()
    });
    if is_right {
        Ok(())
    } else {
        Err(Refusal::Wrong)
    }
}

fn decode_uri(uri: &str) -> Cow<'_, str> {
    if !uri.contains('%') {
        return Cow::Borrowed(uri);
    }
    let mut decoded = String::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let escape = after.get(..2);
        let letter = DECODED
            .iter()
            .find(|(code, _)| escape.is_some_and(|escape| escape.eq_ignore_ascii_case(code)));
        match letter {
            Some((_, letter)) => {
                decoded.push(*letter);
                rest = &after[2..];
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// A body that holds no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the body is not a JSON array of events")]
pub struct NotEvents;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEvent {
    #[serde(default)]
    event_id: Scalar,
    #[serde(default)]
    subscription_type: Scalar,
    /// Where old samples have the type.
    #[serde(default)]
    event_type: Scalar,
    #[serde(default)]
    portal_id: Scalar,
    #[serde(default)]
    object_id: Scalar,
    #[serde(default)]
    object_type_id: Scalar,
    #[serde(default)]
    from_object_type_id: Scalar,
    #[serde(default)]
    from_object_id: Scalar,
    #[serde(default)]
    to_object_id: Scalar,
    #[serde(default)]
    primary_object_id: Scalar,
    #[serde(default)]
    new_object_id: Scalar,
    #[serde(default)]
    merged_object_ids: Ids,
    #[serde(default)]
    property_name: Scalar,
    #[serde(default)]
    property_value: Scalar,
    #[serde(default)]
    occurred_at: Occurred,
}

/// A time; one in no known form is none, since it decides nothing.
#[derive(Default)]
struct Occurred(Option<Timestamp>);

impl<'de> serde::Deserialize<'de> for Occurred {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        let moment = text.and_then(|text| {
            serde_json::from_value::<Moment>(serde_json::Value::String(text)).ok()
        });
        Ok(Self(moment.map(|moment| moment.0)))
    }
}

/// A list of ids, or nothing.
#[derive(Default)]
struct Ids(Vec<HubspotId>);

impl<'de> serde::Deserialize<'de> for Ids {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Option::<Vec<Scalar>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self(list.iter().filter_map(id).collect()))
    }
}

fn id(text: &Scalar) -> Option<HubspotId> {
    text.0
        .as_deref()?
        .parse()
        .ok()
        .filter(|id: &HubspotId| id.0 > 0)
}

/// Reads the events of a verified body. An event that makes no sense comes out without record or type: it is kept and
/// looked at by a person, since HubSpot would only send it again.
///
/// # Errors
/// [`NotEvents`] where the body is not a JSON array of objects.
pub fn parse(body: &[u8]) -> Result<Vec<Event>, NotEvents> {
    let events: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_not_json| NotEvents)?;
    if events.len() > MAX_EVENTS {
        return Err(NotEvents);
    }
    events.into_iter().map(read_event).collect()
}

/// serde would take an array for a struct.
fn read_event(event: &RawValue) -> Result<Event, NotEvents> {
    let text = event.get();
    let event = serde_json::from_str(text)
        .ok()
        .filter(|_| text.starts_with('{'));
    event.map(from_wire).ok_or(NotEvents)
}

/// What HubSpot writes in place of a sensitive property's value (`hubspot/api-facts.md#10`).
const REDACTED: &str = "REDACTED";

fn from_wire(event: WireEvent) -> Event {
    let event_type = event
        .subscription_type
        .0
        .or(event.event_type.0)
        .unwrap_or_default();
    let is_association = EventKind::of(&event_type) == Some(EventKind::AssociationChange);
    let type_id = event.object_type_id.0.or(event.from_object_type_id.0);
    let mut others = event.merged_object_ids.0;
    others.extend(id(&event.primary_object_id));
    others.extend(id(&event.new_object_id));
    let own = id(&event.object_id).or_else(|| id(&event.primary_object_id));
    let hs_id = if is_association {
        others.extend(id(&event.to_object_id));
        id(&event.from_object_id).or(own)
    } else {
        own
    };
    Event {
        event_id: event.event_id.0.and_then(|text| text.parse().ok()),
        portal_id: event
            .portal_id
            .0
            .and_then(|text| text.parse().ok().map(PortalId)),
        object: object_of(&event_type, type_id.as_deref()),
        hs_id,
        others,
        property: event
            .property_name
            .0
            .and_then(|name| PropertyName::parse(&name).ok()),
        value: event.property_value.0.filter(|value| value != REDACTED),
        occurred_at: event.occurred_at.0,
        event_type,
    }
}

/// Object names of the mapping by the word in front of the dot and by HubSpot's type id (`hubspot/api-facts.md#5`).
const OBJECTS: [(&str, &str, &str); 6] = [
    ("contact", "0-1", "contacts"),
    ("company", "0-2", "companies"),
    ("deal", "0-3", "deals"),
    ("ticket", "0-5", "tickets"),
    ("product", "0-7", "products"),
    ("line_item", "0-8", "line_items"),
];

fn object_of(event_type: &str, type_id: Option<&str>) -> Option<ObjectType> {
    let word = event_type.split('.').next().unwrap_or("");
    let found = OBJECTS.iter().find(|(own_word, own_id, _)| {
        *own_word == word || (word == "object" && type_id == Some(*own_id))
    });
    found.and_then(|(_, _, name)| ObjectType::parse(name).ok())
}

#[cfg(test)]
mod tests;
