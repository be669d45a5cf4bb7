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
pub(crate) const MAX_WORDS_BYTES: usize = 2048;

/// A larger body is no error that HubSpot wrote; only its beginning is looked at.
const MAX_ERROR_BODY_BYTES: usize = 1024 * 1024;

/// As much of a body that is no JSON as is looked at: escapes may make the words longer than they are.
const MAX_WORDS_READ: usize = 4 * MAX_WORDS_BYTES;

/// More codes, ids or trace ids than a batch has inputs are not kept.
const MAX_LIST: usize = 100;

/// Text that may quote a property's value: at most `MAX_WORDS_BYTES`, and not shown by `Debug`.
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
pub(crate) fn read_answer(status: u16, body: &[u8]) -> Answer {
    let beginning = &body[..body.len().min(MAX_ERROR_BODY_BYTES)];
    let parsed = serde_json::from_slice::<Value>(beginning).ok();
    let mut answer = match parsed.as_ref().filter(|value| value.is_object()) {
        Some(value) => read_entry(value),
        None => {
            let text = String::from_utf8_lossy(&beginning[..beginning.len().min(MAX_WORDS_READ)]);
            Answer {
                message: Words::new(&words_of(text.trim())),
                ..Answer::default()
            }
        }
    };
    answer.status = status;
    answer
}

/// The words of a body that is no object: a page's title, a text, or what an object says that was cut off.
fn words_of(text: &str) -> String {
    if !text.starts_with('{') && json_start(text) != Some(0) {
        return plain_words(text);
    }
    let cut = completed(text).filter(Value::is_object);
    let said = cut.map(|value| read_entry(&value).message.0);
    match said.unwrap_or_default() {
        said if said.ends_with(LEFT_OUT) => said,
        said => format!("{said}{LEFT_OUT}"),
    }
}

/// Reads an error object: a body, or an entry of a batch's `errors`.
pub(crate) fn read_entry(value: &Value) -> Answer {
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
    add_sentences(&mut answer, value.get("context"));
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
    let mut explanation = answer.message.as_str().to_owned();
    for detail in details.take(MAX_LIST) {
        let more = text_of(detail, "message");
        let lists = more.contains("[{");
        let more = &*readable(more).explanation;
        if !more.is_empty() && !lists && !explanation.contains(more) {
            let between = if explanation.is_empty() { "" } else { "; " };
            explanation = format!("{explanation}{between}{more}");
        }
    }
    answer.message = Words::new(&explanation);
}

/// Of associations HubSpot says only that they are invalid; why stands under a code in `context`
/// (`hubspot/api-facts.md#8`).
fn add_sentences(answer: &mut Answer, context: Option<&Value>) {
    let is_code = |key: &str| {
        key.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let context = context.and_then(Value::as_object).into_iter().flatten();
    let coded: Vec<(&String, &Vec<Value>)> = context
        .filter(|(key, _)| is_code(key))
        .filter_map(|(key, value)| Some((key, value.as_array()?)))
        .take(MAX_LIST)
        .collect();
    let mut explanation = answer.message.as_str().to_owned();
    for (code, _) in &coded {
        add(&mut answer.codes, code);
    }
    let listed = coded.into_iter().flat_map(|(_, sentences)| sentences);
    for sentence in listed.filter_map(Value::as_str).take(MAX_LIST) {
        if sentence.contains(' ') && !explanation.contains(sentence) {
            explanation = format!("{explanation}: {sentence}");
        }
    }
    if explanation != answer.message.as_str() {
        answer.message = Words::new(&explanation);
    }
}

/// `Property values were not valid: [{…}]`.
fn read_embedded(answer: &mut Answer, message: &str) {
    let Readable {
        explanation,
        mistakes,
    } = readable(message);
    for mistake in mistakes.iter().take(MAX_LIST) {
        add(&mut answer.codes, text_of(mistake, "error"));
        add(&mut answer.properties, text_of(mistake, "name"));
    }
    answer.message = Words::new(&explanation);
}

/// HubSpot's words, and what the JSON in them lists.
struct Readable {
    explanation: String,
    mistakes: Vec<Value>,
}

/// Stands where JSON in HubSpot's words says nothing to people: it was cut off, or quotes what was sent.
const LEFT_OUT: &str = "…";

/// Longer JSON than this is no value that somebody looks for in the words.
const MAX_QUOTED_BYTES: usize = 200;

/// Reads words that may hold JSON: a list of mistakes becomes their sentences, also one that ends too soon; other JSON that
/// is long or ends too soon is left out.
fn readable(message: &str) -> Readable {
    let mut read = Readable {
        explanation: String::new(),
        mistakes: Vec::new(),
    };
    let mut rest = message;
    while let Some(start) = json_start(rest) {
        let (before, json) = rest.split_at(start);
        read.explanation.push_str(before);
        let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
        let (value, is_whole, length) = match values.next() {
            Some(Ok(value)) => (Some(value), true, values.byte_offset()),
            _ if is_cut(json) => (completed(json), false, json.len()),
            // It only looks like JSON.
            _ => {
                read.explanation.push_str(&json[..1]);
                rest = &json[1..];
                continue;
            }
        };
        let mistakes = value.as_ref().map(mistakes_in).unwrap_or_default();
        let said: Vec<String> = mistakes.iter().take(MAX_LIST).map(sentence_of).collect();
        read.explanation.push_str(&said.join("; "));
        match (mistakes.is_empty(), is_whole) {
            (true, true) if length <= MAX_QUOTED_BYTES => {
                read.explanation.push_str(&json[..length]);
            }
            (true, _) | (false, false) => read.explanation.push_str(LEFT_OUT),
            (false, true) => {}
        }
        read.mistakes.extend(mistakes);
        rest = &json[length..];
    }
    read.explanation.push_str(rest);
    read
}

/// Where the first list or object begins.
fn json_start(text: &str) -> Option<usize> {
    let starts = ["[{", "[[", "[\"", "{\""].map(|start| text.find(start));
    starts.into_iter().flatten().min()
}

/// The mistakes that a value lists or is. One says at least its words or its code.
fn mistakes_in(value: &Value) -> Vec<Value> {
    let says = |entry: &&Value| !sentence_of(entry).is_empty();
    match value {
        Value::Array(entries) => entries.iter().filter(says).cloned().collect(),
        Value::Object(_) => [value].into_iter().filter(says).cloned().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Whether a text is JSON up to where it ends, too soon; whoever cut it may have put dots there.
fn is_cut(json: &str) -> bool {
    let json = json.trim_end_matches(['.', '…', ' ']);
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(json);
    parsed.is_err_and(|error| error.is_eof())
}

/// JSON that was cut off, as far as it goes: what is open is closed, in the middle of a text if need be, and a member that
/// says nothing yet is left out.
fn completed(json: &str) -> Option<Value> {
    let json = json.trim_end_matches(['.', '…', ' ']);
    let (mut open, mut in_text, mut escaped) = (Vec::new(), false, false);
    let mut last_member = None;
    let mut last_escape = 0;
    for (place, letter) in json.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_text => (escaped, last_escape) = (true, place),
            '"' => in_text = !in_text,
            _ if in_text => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            ',' => last_member = Some((place, open.clone())),
            _ => {}
        }
    }
    let closed = |text: &str, end: &str, open: &[char]| {
        let open: String = open.iter().rev().collect();
        serde_json::from_str(&format!("{text}{end}{open}")).ok()
    };
    let end = if in_text { "\"" } else { "" };
    closed(json, end, &open)
        .or_else(|| closed(&json[..last_escape], end, &open))
        .or_else(|| {
            let (place, open) = last_member.as_ref()?;
            closed(&json[..*place], "", open)
        })
}

/// One mistake as people read it: `email: Email address x is invalid (INVALID_EMAIL)`.
fn sentence_of(entry: &Value) -> String {
    let explanation = first_text(entry, &["message", "localizedErrorMessage"]);
    let name = match text_of(entry, "name") {
        "" => String::new(),
        name => format!("{name}: "),
    };
    match (explanation.as_str(), text_of(entry, "error")) {
        ("", code) => format!("{name}{code}"),
        (explanation, code) if code.is_empty() || explanation.contains(code) => {
            format!("{name}{explanation}")
        }
        (explanation, code) => format!("{name}{explanation} ({code})"),
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
        let answer = fixture(include_str!("../../../tests/fixtures/400_embedded.json"));
        assert_eq!(answer.category, "VALIDATION_ERROR");
        assert_eq!(answer.codes, ["PROPERTY_DOESNT_EXIST", "INVALID_EMAIL"]);
        assert_eq!(answer.properties, ["foo", "email"]);
        let explanation = answer.message.as_str();
        assert!(
            explanation.starts_with("Property values were not valid: foo: ")
                && explanation.contains("; email: ")
                && explanation.ends_with("(INVALID_EMAIL)")
                && !explanation.contains('{'),
            "{explanation}"
        );
        assert_eq!(
            answer.correlation_id,
            "a43683b0-5717-4ceb-80b4-104d02915d8c"
        );
    }

    #[test]
    fn the_newer_list_of_errors_is_read() {
        let answer = fixture(include_str!("../../../tests/fixtures/400_required.json"));
        assert_eq!(answer.codes, ["MISSING_CONDITIONAL_REQUIRED_PROPERTY"]);
        assert_eq!(answer.properties, ["closed_lost_reason"]);
    }

    #[test]
    fn why_an_association_is_invalid_stands_under_a_code() {
        let answer = read_answer(
            400,
            br#"{"message":"One or more associations are invalid","category":"VALIDATION_ERROR",
                "context":{"INVALID_ASSOCIATION_TYPE_ID":["USER_DEFINED 3 is not valid between object types 0-1 and 0-2"],
                           "associationSpec":["USER_DEFINED=3"],"id":["a b"]}}"#,
        );
        assert_eq!(
            answer.message.as_str(),
            "One or more associations are invalid: USER_DEFINED 3 is not valid between object types 0-1 and 0-2"
        );
    }

    #[test]
    fn an_existing_record_is_found_in_words_and_in_context() {
        let answer = read_answer(
            409,
            include_bytes!("../../../tests/fixtures/409_exists.json"),
        );
        assert_eq!(answer.existing_id, Some(HubspotId(12345)));
        let entry = serde_json::json!({"category": "CONFLICT", "message": "taken",
            "context": {"objectWriteTraceId": ["0"], "existingId": ["171591000198"]}});
        let answer = read_entry(&entry);
        assert_eq!(answer.existing_id, Some(HubspotId(171_591_000_198)));
        assert_eq!(answer.trace_ids, ["0"]);
    }

    #[test]
    fn missing_scopes_are_named() {
        let answer = read_answer(
            403,
            include_bytes!("../../../tests/fixtures/403_scopes.json"),
        );
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
            include_bytes!("../../../tests/fixtures/502_cloudflare.html"),
        );
        assert_eq!(html.message.as_str(), "api.hubapi.com | 502: Bad gateway");
        assert!(!html.by_hubspot);
        assert_eq!(read_answer(500, b"").message.as_str(), "");
        assert_eq!(
            read_answer(500, b"{\"message\":\"cut").message.as_str(),
            "cut…"
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
    fn json_that_is_cut_off_becomes_words() {
        let said = |message: &str| {
            let body = serde_json::json!({"category": "VALIDATION_ERROR", "message": message});
            let explanation = read_entry(&body).message.as_str().to_owned();
            assert!(
                !explanation.contains("{\"") && !explanation.contains("[{"),
                "{explanation}"
            );
            explanation
        };
        let list = r#"Property values were not valid: [{"isValid":false,"message":"x is no mail","error":"INVALID_EMAIL","name":"email"},{"isValid":false,"message":"y is \"no\" number","error":"INVALID_INTEGER","name":"n\u00fc"}]"#;
        let whole = said(list);
        assert_eq!(
            whole,
            "Property values were not valid: email: x is no mail (INVALID_EMAIL); nü: y is \"no\" number (INVALID_INTEGER)"
        );
        // Wherever it ends, and however the end is marked.
        let start = list.find("[{").expect("a list") + 2;
        for end in (start..list.len()).filter(|end| list.is_char_boundary(*end)) {
            for mark in ["", "...", "…"] {
                let explanation = said(&format!("{}{mark}", &list[..end]));
                assert!(
                    explanation.starts_with("Property values were not valid: ")
                        && explanation.ends_with('…'),
                    "{explanation}"
                );
                let first = list.find("},{").expect("two");
                assert!(
                    end <= first || explanation.contains("email: x is no mail (INVALID_EMAIL)"),
                    "{explanation}"
                );
            }
        }
        let middle = &list[..list.find(" mail\"").expect("in a text")];
        assert_eq!(said(middle), "Property values were not valid: x is no…");
        let quoted = format!(r#"bad JSON at column 3: {{"a":[{{"b":"{}"#, "x".repeat(300));
        assert_eq!(said(&quoted), "bad JSON at column 3: …");
        assert_eq!(said(&format!("{quoted}\"}}]}}")), "bad JSON at column 3: …");
        let body = serde_json::json!({"message": quoted, "errors": [{"message": "inner words"}]});
        assert_eq!(
            read_entry(&body).message.as_str(),
            "bad JSON at column 3: …; inner words"
        );
        let inner = r#"{"status":"error","message":"inner wor"#;
        assert_eq!(said(inner), "inner wor…");
        // A value that somebody wrote is shown as it is.
        let value = r#"{"a":1} is no number"#;
        let body = serde_json::json!({"message": value});
        assert_eq!(read_entry(&body).message.as_str(), value);
    }

    #[test]
    fn a_body_that_is_cut_off_says_what_came_of_it() {
        let body = r#"{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"x is no mail\",\"error\":\"INVALID_EMAIL\",\"name\":\"email\"}]","correlationId":"c"}"#;
        for end in 1..body.len() {
            let answer = read_answer(400, &body.as_bytes()[..end]);
            let explanation = answer.message.as_str();
            assert!(
                !answer.by_hubspot && !explanation.contains('{'),
                "{end}: {explanation}"
            );
        }
        let end = body.find("correlationId").expect("a member");
        let answer = read_answer(400, &body.as_bytes()[..end]);
        assert_eq!(
            answer.message.as_str(),
            "Property values were not valid: email: x is no mail (INVALID_EMAIL)…"
        );
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
