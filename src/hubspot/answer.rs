//! A refusal as HubSpot words it: whatever body came with a status that is no success, or an entry of a batch's
//! `errors`.
//!
//! Reading never fails: HTML, an empty body, JSON of another shape or in another encoding all leave an `Answer` with
//! what could be learnt (`hubspot/api-facts.md#4`). HubSpot's words may quote a property's value, so `Debug` and
//! `Display` of the errors don't show them; they go to the database, never to the log.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::model::id::HubspotId;

/// As much of HubSpot's words as is kept.
pub const MAX_WORDS_BYTES: usize = 2048;

/// A larger body is no error that HubSpot wrote; only its beginning is looked at.
const MAX_ERROR_BODY_BYTES: usize = 1024 * 1024;

/// More codes, ids or trace ids than a batch has inputs are not kept.
const MAX_LIST: usize = 100;

/// Text that may quote a property's value: at most [`MAX_WORDS_BYTES`], and not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Words(String);

impl Words {
    /// Keeps the beginning of a text.
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        let mut end = text.len().min(MAX_WORDS_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Words({} bytes)", self.0.len())
    }
}

/// What a refusal says. Every part may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status; 0 for an entry of a batch's `errors`.
    pub status: u16,
    /// HubSpot's `category` (or the older `errorType`), such as `VALIDATION_ERROR`.
    pub category: String,
    /// HubSpot's `subCategory`.
    pub sub_category: String,
    /// HubSpot's own words.
    pub message: Words,
    /// Codes of single mistakes: `PROPERTY_DOESNT_EXIST`, `INVALID_OPTION` …
    pub codes: Vec<String>,
    /// The properties that the mistakes name.
    pub properties: Vec<String>,
    /// What a person tells HubSpot's support.
    pub correlation_id: String,
    /// The quota that a 429 names.
    pub policy: String,
    /// The trace ids of the inputs meant.
    pub trace_ids: Vec<String>,
    /// The ids or keys meant.
    pub ids: Vec<String>,
    /// The record that exists already.
    pub existing_id: Option<HubspotId>,
    /// The scopes that the token lacks.
    pub scopes: Vec<String>,
    /// Whether the body was JSON of HubSpot's own; a gateway in front of it answers in HTML or not at all.
    pub by_hubspot: bool,
    /// When HubSpot wants to be asked again, by `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// Reads the body of a refusal.
pub fn read_answer(status: u16, body: &[u8]) -> Answer {
    let beginning = &body[..body.len().min(MAX_ERROR_BODY_BYTES)];
    let parsed = serde_json::from_slice::<Value>(beginning).ok();
    let mut answer = match parsed.as_ref().filter(|value| value.is_object()) {
        Some(value) => read_entry(value),
        None => Answer {
            message: Words::new(&plain_words(&String::from_utf8_lossy(
                &beginning[..beginning.len().min(4 * MAX_WORDS_BYTES)],
            ))),
            ..Answer::default()
        },
    };
    answer.status = status;
    answer
}

/// Reads an error object: a body, or an entry of a batch's `errors`.
pub fn read_entry(value: &Value) -> Answer {
    let message = text_of(value, "message");
    // Some gateways put the real error as JSON text into `message`.
    let nested = message
        .trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str::<Value>(message).ok())
        .flatten();
    if let Some(inner) = nested.filter(|inner| inner.get("message").is_some_and(Value::is_string)) {
        let mut answer = read_entry_as_it_is(&inner);
        let outer = read_entry_as_it_is(value);
        fill(&mut answer.category, outer.category);
        fill(&mut answer.correlation_id, outer.correlation_id);
        fill(&mut answer.policy, outer.policy);
        return answer;
    }
    read_entry_as_it_is(value)
}

fn fill(field: &mut String, other: String) {
    if field.is_empty() {
        *field = other;
    }
}

fn read_entry_as_it_is(value: &Value) -> Answer {
    let message = text_of(value, "message");
    let mut answer = Answer {
        category: first_text(value, &["category", "errorType"]),
        sub_category: text_of(value, "subCategory").to_owned(),
        message: Words::new(message),
        correlation_id: text_of(value, "correlationId").to_owned(),
        policy: text_of(value, "policyName").to_owned(),
        by_hubspot: true,
        ..Answer::default()
    };
    read_context(&mut answer, value.get("context"));
    read_details(&mut answer, value.get("errors"));
    read_embedded(&mut answer, message);
    add_details(&mut answer, value.get("errors"));
    if answer.existing_id.is_none() {
        answer.existing_id = existing_id_in(message);
    }
    answer
}

fn read_context(answer: &mut Answer, context: Option<&Value>) {
    let Some(context) = context else {
        return;
    };
    extend(&mut answer.trace_ids, context.get("objectWriteTraceId"));
    extend(&mut answer.ids, context.get("ids"));
    extend(&mut answer.ids, context.get("id"));
    extend(&mut answer.properties, context.get("propertyName"));
    extend(&mut answer.scopes, context.get("requiredGranularScopes"));
    extend(&mut answer.scopes, context.get("requiredScopes"));
    let mut existing = Vec::new();
    extend(&mut existing, context.get("existingId"));
    answer.existing_id = answer
        .existing_id
        .or_else(|| existing.first().and_then(|id| id.parse().ok()));
}

/// `errors[]` of a body.
fn read_details(answer: &mut Answer, errors: Option<&Value>) {
    for detail in errors
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_LIST)
    {
        add(&mut answer.codes, text_of(detail, "code"));
        add(&mut answer.properties, text_of(detail, "in"));
        read_context(answer, detail.get("context"));
    }
}

/// Puts the words of single mistakes behind those of the whole, where they say more.
fn add_details(answer: &mut Answer, errors: Option<&Value>) {
    let details = errors.and_then(Value::as_array).into_iter().flatten();
    let mut words = answer.message.as_str().to_owned();
    for detail in details.take(MAX_LIST) {
        let more = text_of(detail, "message");
        if !more.is_empty() && !more.contains("[{") && !words.contains(more) {
            let between = if words.is_empty() { "" } else { "; " };
            words = format!("{words}{between}{more}");
        }
    }
    answer.message = Words::new(&words);
}

/// `Property values were not valid: [{…}]`.
fn read_embedded(answer: &mut Answer, message: &str) {
    let array = message.find("[{").map(|start| &message[start..]);
    let Some(array) = array else {
        return;
    };
    let end = array.rfind(']').map_or(array.len(), |end| end + 1);
    let Ok(entries) = serde_json::from_str::<Vec<Value>>(&array[..end]) else {
        return;
    };
    for entry in entries.iter().take(MAX_LIST) {
        add(&mut answer.codes, text_of(entry, "error"));
        add(&mut answer.properties, text_of(entry, "name"));
    }
    let before = message.find("[{").map_or("", |start| &message[..start]);
    let said: Vec<String> = entries.iter().take(MAX_LIST).map(sentence_of).collect();
    answer.message = Words::new(&format!("{before}{}", said.join("; ")));
}

/// One mistake as people read it: `email: Email address x is invalid (INVALID_EMAIL)`.
fn sentence_of(entry: &Value) -> String {
    let words = first_text(entry, &["message", "localizedErrorMessage"]);
    let name = match text_of(entry, "name") {
        "" => String::new(),
        name => format!("{name}: "),
    };
    match (words.as_str(), text_of(entry, "error")) {
        ("", code) => format!("{name}{code}"),
        (words, code) if code.is_empty() || words.contains(code) => format!("{name}{words}"),
        (words, code) => format!("{name}{words} ({code})"),
    }
}

/// `Contact already exists. Existing ID: 12345` (`hubspot/api-facts.md#4`, status 409).
fn existing_id_in(message: &str) -> Option<HubspotId> {
    let (_, after) = message.split_once("Existing ID:")?;
    let digits: String = after
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// A page's title where it is HTML, else the text.
fn plain_words(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let length = lower[start..].find("</title>")?;
        text.get(start..start + length)
    });
    title.unwrap_or(text).trim().to_owned()
}

fn text_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn first_text(value: &Value, keys: &[&str]) -> String {
    keys.iter()
        .map(|key| text_of(value, key))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
        .to_owned()
}

fn add(list: &mut Vec<String>, text: &str) {
    if !text.is_empty() && list.len() < MAX_LIST && !list.iter().any(|known| known == text) {
        list.push(Words::new(text).0);
    }
}

/// Texts and numbers, alone or in a list.
fn extend(list: &mut Vec<String>, value: Option<&Value>) {
    match value {
        Some(Value::Array(values)) => {
            for value in values.iter().take(MAX_LIST) {
                extend(list, Some(value));
            }
        }
        Some(Value::String(text)) => add(list, text),
        Some(Value::Number(number)) => add(list, &number.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::Object(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(text: &str) -> Answer {
        read_answer(400, text.as_bytes())
    }

    #[test]
    fn the_embedded_array_is_read() {
        let answer = fixture(include_str!("../../tests/fixtures/400_embedded.json"));
        assert_eq!(answer.category, "VALIDATION_ERROR");
        assert_eq!(answer.codes, ["PROPERTY_DOESNT_EXIST", "INVALID_EMAIL"]);
        assert_eq!(answer.properties, ["foo", "email"]);
        let words = answer.message.as_str();
        assert!(
            words.starts_with("Property values were not valid: foo: ")
                && words.contains("; email: ")
                && words.ends_with("(INVALID_EMAIL)")
                && !words.contains('{'),
            "{words}"
        );
        assert_eq!(
            answer.correlation_id,
            "a43683b0-5717-4ceb-80b4-104d02915d8c"
        );
    }

    #[test]
    fn the_newer_list_of_errors_is_read() {
        let answer = fixture(include_str!("../../tests/fixtures/400_required.json"));
        assert_eq!(answer.codes, ["MISSING_CONDITIONAL_REQUIRED_PROPERTY"]);
        assert_eq!(answer.properties, ["closed_lost_reason"]);
    }

    #[test]
    fn an_existing_record_is_found_in_words_and_in_context() {
        let answer = read_answer(409, include_bytes!("../../tests/fixtures/409_exists.json"));
        assert_eq!(answer.existing_id, Some(HubspotId(12345)));
        let entry = serde_json::json!({"category": "CONFLICT", "message": "taken",
            "context": {"objectWriteTraceId": ["0"], "existingId": ["171591000198"]}});
        let answer = read_entry(&entry);
        assert_eq!(answer.existing_id, Some(HubspotId(171_591_000_198)));
        assert_eq!(answer.trace_ids, ["0"]);
    }

    #[test]
    fn missing_scopes_are_named() {
        let answer = read_answer(403, include_bytes!("../../tests/fixtures/403_scopes.json"));
        assert_eq!(answer.scopes, ["crm.objects.deals.write"]);
        let old = read_answer(
            403,
            br#"{"category":"MISSING_SCOPES","context":{"requiredScopes":["tickets"]}}"#,
        );
        assert_eq!(old.scopes, ["tickets"]);
    }

    #[test]
    fn an_error_inside_a_message_is_unpacked() {
        let body = br#"{"message":"{\"status\":\"error\",\"message\":\"inner words\",\"category\":\"CONFLICT\"}","correlationId":"c"}"#;
        let answer = read_answer(400, body);
        assert_eq!(
            (answer.message.as_str(), &*answer.category),
            ("inner words", "CONFLICT")
        );
        assert_eq!(answer.correlation_id, "c");
    }

    #[test]
    fn every_malformed_body_leaves_an_answer() {
        let html = read_answer(
            502,
            include_bytes!("../../tests/fixtures/502_cloudflare.html"),
        );
        assert_eq!(html.message.as_str(), "api.hubapi.com | 502: Bad gateway");
        assert!(!html.by_hubspot);
        assert_eq!(read_answer(500, b"").message.as_str(), "");
        assert_eq!(
            read_answer(500, b"{\"message\":\"cut").message.as_str(),
            "{\"message\":\"cut"
        );
        assert_eq!(read_answer(500, b"null").message.as_str(), "null");
        assert!(!read_answer(500, b"[1]").by_hubspot);
        let odd = read_answer(
            400,
            br#"{"message":7,"category":{},"errors":"x","context":[1],"subCategory":{"a":1}}"#,
        );
        assert_eq!((odd.message.as_str(), odd.by_hubspot), ("", true));
        let latin = read_answer(500, b"caf\xe9");
        assert_eq!(latin.message.as_str(), "caf\u{fffd}");
    }

    #[test]
    fn words_are_bounded_at_a_characters_edge() {
        let huge = format!("{{\"message\":\"{}\"}}", "ä".repeat(3000));
        let answer = read_answer(400, huge.as_bytes());
        assert_eq!(answer.message.as_str().len(), MAX_WORDS_BYTES);
        let uneven = Words::new(&format!("x{}", "ä".repeat(3000)));
        assert_eq!(uneven.as_str().len(), MAX_WORDS_BYTES - 1);
        let flood = read_answer(500, &vec![b'x'; 5_000_000]);
        assert_eq!(flood.message.as_str().len(), MAX_WORDS_BYTES);
    }

    #[test]
    fn debug_shows_no_words() {
        let shown = format!(
            "{:?}",
            fixture(r#"{"message":"jane@example.com is taken"}"#)
        );
        assert!(!shown.contains("jane"), "{shown}");
    }
}
