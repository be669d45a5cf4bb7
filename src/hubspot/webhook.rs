//! Webhooks: bytes and the time in, events out. The signature first, the body's meaning after it.
//!
//! What is signed, and with which header, is in `hubspot/api-facts.md#11`; what an event carries in `#10`. Nothing here
//! waits, logs or stores.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::hubspot::wire::{Scalar, WireMoment, mend};
use crate::model::event::{Event, EventKind};
use crate::model::hex;
use crate::model::id::{HubspotId, PortalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::{ObjectEvents, STANDARD_OBJECTS, StandardObject};
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
pub(crate) enum DeliveryRefusal {
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
pub(crate) fn verify(
    secrets: &[SecretString],
    version: SignatureVersion,
    delivery: &Delivery<'_>,
    now: Timestamp,
) -> Result<(), DeliveryRefusal> {
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
) -> Result<(), DeliveryRefusal> {
    let signature =
        single(delivery.headers, "x-hubspot-signature-v3").ok_or(DeliveryRefusal::Missing)?;
    let timestamp = single(delivery.headers, "x-hubspot-request-timestamp")
        .ok_or(DeliveryRefusal::NoTimestamp)?;
    let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let signed_at: i64 = timestamp
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or(DeliveryRefusal::NoTimestamp)?;
    if now.millis().abs_diff(signed_at) > WINDOW_MS.unsigned_abs() {
        return Err(DeliveryRefusal::Stale);
    }
    let signature = STANDARD
        .decode(signature)
        .map_err(|_not_base64| DeliveryRefusal::Wrong)?;
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
        Err(DeliveryRefusal::Wrong)
    }
}

/// v1 and v2 are plain hashes over the secret, without a time: whoever has one delivery can send it again for ever.
fn verify_hash(
    secrets: &[SecretString],
    version: &str,
    delivery: &Delivery<'_>,
    message: &dyn Fn(&str) -> Vec<u8>,
) -> Result<(), DeliveryRefusal> {
    let named = single(delivery.headers, "x-hubspot-signature-version");
    if named.is_some_and(|named| !named.eq_ignore_ascii_case(version)) {
        return Err(DeliveryRefusal::Missing);
    }
    let signature =
        single(delivery.headers, "x-hubspot-signature").ok_or(DeliveryRefusal::Missing)?;
    let signature = hex::decode(signature).ok_or(DeliveryRefusal::Wrong)?;
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
        Err(DeliveryRefusal::Wrong)
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

/// Reads the events of a verified body; one that comes alone, without its array, is taken too. Each is read for itself:
/// an odd one must not keep the others out, since HubSpot would only send all of them again. It comes out without a record
/// or a type, or with its problem: it is kept and looked at by a person. The work grows with the body's length and not with
/// what stands in it.
///
/// # Errors
/// [`NotEvents`] where the body is neither a JSON array nor an event.
pub fn parse(body: &[u8]) -> Result<Vec<Event>, NotEvents> {
    let mended;
    let events: Vec<&RawValue> = match serde_json::from_slice(body) {
        Ok(events) => events,
        Err(_) if !begins_a_list(body) => return parse_alone(body),
        // Somewhere in it are bytes that are no text.
        Err(_) => {
            mended = mend(body);
            serde_json::from_str(&mended).map_err(|_not_json| NotEvents)?
        }
    };
    if events.len() > MAX_EVENTS {
        return Err(NotEvents);
    }
    Ok(events.into_iter().map(read_event).collect())
}

fn begins_a_list(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

fn parse_alone(body: &[u8]) -> Result<Vec<Event>, NotEvents> {
    let mended = mend(body);
    let alone: &RawValue = serde_json::from_str(&mended).map_err(|_not_json| NotEvents)?;
    let event = read_event(alone);
    if event.event_type.is_empty() || event.hs_id.is_none() {
        return Err(NotEvents);
    }
    Ok(vec![event])
}

/// The fields of an event that are looked at, each as it stands there; of others not even the name is kept.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a RawValue>; MEANINGFUL.len()],
    /// Whether one of them stands there twice, and not the same.
    contradicts_itself: bool,
}

/// A field's place among those that are looked at.
struct FieldPlace(Option<usize>);

impl<'de> serde::Deserialize<'de> for FieldPlace {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlaceVisitor;
        impl Visitor<'_> for PlaceVisitor {
            type Value = FieldPlace;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field's name")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<FieldPlace, E> {
                Ok(FieldPlace(
                    MEANINGFUL.iter().position(|known| *known == name),
                ))
            }
        }
        deserializer.deserialize_str(PlaceVisitor)
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<'a>(PhantomData<&'a RawValue>);
        impl<'de: 'a, 'a> Visitor<'de> for FieldsVisitor<'a> {
            type Value = Fields<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut fields = Fields::default();
                while let Some((FieldPlace(place), value)) =
                    map.next_entry::<FieldPlace, &RawValue>()?
                {
                    let Some(place) = place else { continue };
                    let first = *fields.values[place].get_or_insert(value);
                    fields.contradicts_itself |= first.get() != value.get();
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

/// What a field says.
enum Said {
    /// It is not there, or null.
    Nothing,
    /// A text, number or boolean.
    Text(String),
    /// Something else: a list, half a letter, a number that is none.
    Unreadable,
}

impl Said {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::Unreadable => None,
        }
    }
}

impl Fields<'_> {
    fn raw(&self, name: &str) -> Option<&str> {
        let place = MEANINGFUL.iter().position(|known| *known == name)?;
        self.values[place]
            .map(RawValue::get)
            .filter(|text| *text != "null")
    }

    fn said(&self, name: &str) -> Said {
        match self.raw(name) {
            None => Said::Nothing,
            Some(text) if text.starts_with(['{', '[']) => Said::Unreadable,
            Some(text) => serde_json::from_str::<Scalar>(text)
                .ok()
                .and_then(|scalar| scalar.0)
                .map_or(Said::Unreadable, Said::Text),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.said(name).text()
    }

    fn id(&self, name: &str) -> Option<HubspotId> {
        id(&self.text(name)?)
    }

    /// Ids in a list, or one alone.
    fn ids(&self, name: &str) -> Vec<HubspotId> {
        let Some(text) = self.raw(name).filter(|text| text.starts_with('[')) else {
            return self.id(name).into_iter().collect();
        };
        let list: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let texts = list
            .into_iter()
            .filter_map(|value| serde_json::from_str::<Scalar>(value.get()).ok()?.0);
        texts.filter_map(|text| id(&text)).collect()
    }

    /// A time; one in no known form is none, since it decides nothing.
    fn time(&self, name: &str) -> Option<Timestamp> {
        let text = serde_json::Value::String(self.text(name)?);
        serde_json::from_value::<WireMoment>(text)
            .ok()
            .map(|moment| moment.0)
    }
}

fn id(text: &str) -> Option<HubspotId> {
    text.parse().ok().filter(|id: &HubspotId| id.0 > 0)
}

/// The fields that are looked at.
const MEANINGFUL: [&str; 19] = [
    "eventId",
    "subscriptionType",
    "eventType",
    "portalId",
    "objectId",
    "objectTypeId",
    "fromObjectTypeId",
    "fromObjectId",
    "toObjectId",
    "associationType",
    "primaryObjectId",
    "newObjectId",
    "mergedObjectIds",
    "propertyName",
    "propertyValue",
    "occurredAt",
    "changeSource",
    "sourceId",
    "appId",
];

fn read_event(event: &RawValue) -> Event {
    let text = event.get();
    if !text.starts_with('{') {
        return odd("the event is not a JSON object");
    }
    let of = |fields: &Fields<'_>| match fields.contradicts_itself {
        true => odd("the event says one of its fields twice, and not the same"),
        false => from_fields(fields),
    };
    if let Ok(fields) = serde_json::from_str::<Fields<'_>>(text) {
        return of(&fields);
    }
    // A name that is no text.
    let mended = mend(text.as_bytes());
    serde_json::from_str::<Fields<'_>>(&mended).map_or_else(
        |_| odd("the event has a field whose name can't be read"),
        |fields| of(&fields),
    )
}

/// An event of which nothing is believed.
fn odd(problem: &'static str) -> Event {
    Event {
        event_id: None,
        event_type: String::new(),
        portal_id: None,
        object: None,
        hs_id: None,
        others: Vec::new(),
        property: None,
        value: None,
        occurred_at: None,
        own: false,
        problem: Some(problem),
    }
}

/// What HubSpot writes in place of a sensitive property's value (`hubspot/api-facts.md#10`).
const REDACTED: &str = "REDACTED";

fn from_fields(fields: &Fields<'_>) -> Event {
    let event_type = fields
        .text("subscriptionType")
        .or_else(|| fields.text("eventType"))
        .unwrap_or_default();
    let is_association = EventKind::of(&event_type) == Some(EventKind::AssociationChange);
    let primary = fields.id("primaryObjectId");
    let mut others = fields.ids("mergedObjectIds");
    others.extend(primary);
    others.extend(fields.id("newObjectId"));
    let own = fields.id("objectId").or(primary);
    if primary.is_none() && fields.id("newObjectId").is_none() && !others.is_empty() {
        // The survivor stands last.
        others.extend(own);
    }
    let from = fields.id("fromObjectId").filter(|_| is_association);
    if is_association {
        others.extend(fields.id("toObjectId"));
    }
    let hs_id = from.or(own);
    let own_type = object_of(&event_type, fields.text("objectTypeId").as_deref());
    // The id that is read must be one of the object that it is read as: which end a company's subscription tells first is unsure
    // (`hubspot/api-facts.md#10`), and each spelling of the type may be missing.
    let object = match from {
        Some(_) => from_type(fields).or(own_type),
        None => own_type.or_else(|| from_type(fields)),
    };
    let (portal_id, problem) = portal_of(fields);
    Event {
        event_id: fields.text("eventId").and_then(|text| text.parse().ok()),
        portal_id,
        object,
        hs_id,
        others,
        property: fields
            .text("propertyName")
            .and_then(|name| PropertyName::parse(&name).ok()),
        // One that can't be read says nothing, as one that is hidden: the record is read.
        value: fields
            .text("propertyValue")
            .filter(|value| value != REDACTED),
        occurred_at: fields.time("occurredAt"),
        event_type,
        own: is_own(fields),
        problem,
    }
}

/// Whether the app whose webhooks these are made the change (`hubspot/api-facts.md#10`).
fn is_own(fields: &Fields<'_>) -> bool {
    let by_app = fields.text("changeSource").as_deref() == Some("INTEGRATION");
    by_app
        && fields
            .text("sourceId")
            .is_some_and(|source| fields.text("appId") == Some(source))
}

/// The portal, or what is wrong with it. An event that names none is the own portal's: whatever it says is believed only
/// after a read there. One that names a portal in no known form may be anybody's.
fn portal_of(fields: &Fields<'_>) -> (Option<PortalId>, Option<&'static str>) {
    let portal = match fields.said("portalId") {
        Said::Nothing => return (None, None),
        Said::Text(text) => text.parse().ok().map(PortalId),
        Said::Unreadable => None,
    };
    let problem = portal
        .is_none()
        .then_some("the event's portalId is not a number");
    (portal, problem)
}

/// The object that an event is about, by the word in front of the dot or by HubSpot's type id: a standard one by its name,
/// any other by its type id.
fn object_of(event_type: &str, type_id: Option<&str>) -> Option<ObjectType> {
    let word = event_type.split('.').next().unwrap_or("");
    if word != "object" {
        let found = STANDARD_OBJECTS
            .iter()
            .find(|object| object.event_word == word && object.events == ObjectEvents::Classic);
        return found.map(StandardObject::object_type);
    }
    object_of_type(type_id?)
}

fn object_of_type(type_id: &str) -> Option<ObjectType> {
    match STANDARD_OBJECTS
        .iter()
        .find(|object| object.type_id == type_id)
    {
        Some(standard) => Some(standard.object_type()),
        None => ObjectType::parse(type_id).ok(),
    }
}

/// The object at the end where an association starts: by its type id, else by the first word of `CONTACT_TO_COMPANY`.
fn from_type(fields: &Fields<'_>) -> Option<ObjectType> {
    if let Some(type_id) = fields.text("fromObjectTypeId") {
        return object_of_type(&type_id);
    }
    let kind = fields.text("associationType")?;
    let (word, _) = kind.split_once("_TO_")?;
    let word = word.to_ascii_lowercase();
    let named = |object: &&StandardObject| !word.is_empty() && object.event_word == word;
    let found = STANDARD_OBJECTS.iter().find(named)?;
    Some(found.object_type())
}

#[cfg(test)]
mod tests;
