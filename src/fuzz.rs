//! What fuzzing feeds: bytes of the three things that come from elsewhere, each to a plain function that may neither panic nor be silent.
//!
//! `fuzz/` calls them under `afl`, and the test below goes over the files of `fuzz/corpus` (`docs/TESTING.md`). No part of the product.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;

use crate::clock::Clock;
use crate::config::Drawing;
use crate::config::check::check_bytes;
use crate::decide::incoming::news::verdict;
use crate::hubspot::call::limiter::{LeaseFn, LimitSettings, StartState};
use crate::hubspot::call::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use crate::hubspot::testing::{ManualClock, run};
use crate::hubspot::webhook::{self, Delivery};
use crate::hubspot::{
    Client, HubspotError, Limiter, ListQuery, Priority, ReadQuery, SearchQuery, WriteInput,
};
use crate::model::hex;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::settings::{ApiVersion, Limits, SignatureVersion, Tier};
use crate::model::time::Timestamp;

/// A place that takes bytes.
pub type Target = fn(&[u8]);

/// All of them by the names of their folders in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 3] = [
    ("mapping", mapping_file),
    ("webhook", webhook_body),
    ("answer", hubspot_answer),
];

/// A sentence for people has at most so many letters: an answer of a megabyte is not told whole.
const LONGEST_WORDS: usize = 20_000;

/// A mapping file of these bytes is either in force or refused with words, a place and a remedy for each mistake.
fn mapping_file(bytes: &[u8]) {
    let checked = check_bytes(Path::new("config.toml"), bytes.to_vec());
    assert_eq!(checked.config.is_some(), checked.report.is_ok());
    for problem in &checked.report.problems {
        assert!(!problem.message.is_empty() && !problem.hint.is_empty());
        assert!(!problem.code.is_empty() && problem.line > 0 && problem.column > 0);
    }
    for drawing in [Drawing::Plain, Drawing::Coloured] {
        assert!(!checked.report.render(drawing).is_empty());
    }
    assert!(checked.report.to_json().is_object());
}

/// The secret that deliveries are signed with here.
const SECRET: &str = "fuzz";

/// A webhook's body of these bytes, rightly signed, is a list of events, each with a verdict, or none.
fn webhook_body(bytes: &[u8]) {
    let now = Timestamp::EPOCH.plus_millis(1_795_489_785_000);
    let headers = signed(bytes);
    let delivery = Delivery {
        method: "POST",
        uri: "https://sync.example.com/webhooks/hubspot",
        headers: &headers,
        body: bytes,
    };
    let secrets = [SecretString::from(SECRET)];
    webhook::verify(&secrets, SignatureVersion::V1, &delivery, now).expect("rightly signed");
    let Ok(events) = webhook::parse(bytes) else {
        return;
    };
    let mapping = check_bytes(Path::new("config.toml"), MAPPING.into());
    let mapping = mapping.config.expect("a mapping").mapping;
    for event in &events {
        assert!(!format!("{:?}", verdict(&mapping, event)).is_empty());
    }
}

const MAPPING: &str = "[objects.contacts.properties]\nemail = \"email\"\n[objects.deals]\n";

/// The headers of a delivery with that body.
fn signed(body: &[u8]) -> HeaderMap {
    let text = [SECRET.as_bytes(), body].concat();
    let hash = ring::digest::digest(&ring::digest::SHA256, &text);
    let value = HeaderValue::from_str(&hex::encode(hash.as_ref())).expect("letters");
    HeaderMap::from_iter([(http::HeaderName::from_static("x-hubspot-signature"), value)])
}

/// Says the same to whatever is asked.
struct Parrot {
    status: u16,
    body: Bytes,
}

impl Transport for Parrot {
    fn send(&self, _request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let answer = HttpResponse {
            status: self.status,
            headers: HeaderMap::new(),
            body: self.body.clone(),
        };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// HubSpot's answer: a line with its status and what was asked (`200 search`), then the body. It is read, or refused with words and a
/// code.
fn hubspot_answer(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (head, body) = bytes.split_at(end.unwrap_or(bytes.len()));
    let head = std::str::from_utf8(head).unwrap_or_default();
    let Some((status, asked)) = head.split_once(' ') else {
        return;
    };
    let Some(status) = status
        .parse()
        .ok()
        .filter(|status| (200..600).contains(status))
    else {
        return;
    };
    let body = Bytes::copy_from_slice(body.get(1..).unwrap_or_default());
    let clock = ManualClock::at("2026-11-24T03:10:00Z");
    let client = client(&clock, Parrot { status, body });
    let contacts = ObjectType::parse("contacts").expect("a name");
    let outcome = run(&clock, async {
        ask(&client, &contacts, asked.trim()).await
    });
    let Some(Err(error)) = outcome else { return };
    let words = error.explanation();
    assert!(!words.is_empty() && words.len() < LONGEST_WORDS, "{words}");
    assert!(!error.code().is_empty());
    assert!(!error.to_string().is_empty());
}

fn client(clock: &Arc<ManualClock>, parrot: Parrot) -> Client {
    let steady: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let lease: LeaseFn = Arc::new(|_| Box::pin(async { Ok(()) }));
    let settings = LimitSettings::new(&Limits::default(), Tier::Professional);
    let limiter = Limiter::new(settings, Arc::clone(&steady), lease, &StartState::default());
    let token = SecretString::from("pat-na1-secret");
    let version = ApiVersion::V2026_03;
    Client::new(Arc::new(parrot), limiter, steady, &token, version).expect("a token")
}

/// Asks one question; `None` where there is none of that name.
async fn ask(
    client: &Client,
    contacts: &ObjectType,
    asked: &str,
) -> Option<Result<(), HubspotError>> {
    let properties = || vec!["email".to_owned(), "city".to_owned()];
    let input = |id: Option<&str>| WriteInput {
        trace_id: "1-1".to_owned(),
        id: id.map(str::to_owned),
        properties: vec![("city".to_owned(), "Lima".to_owned())],
        associations: Vec::new(),
    };
    let priority = Priority::Interactive;
    Some(match asked {
        "list" => {
            let query = ListQuery {
                limit: 100,
                properties: properties(),
                ..ListQuery::default()
            };
            client.list(contacts, &query, priority).await.map(drop)
        }
        "search" => {
            let query = SearchQuery {
                modified_property: "lastmodifieddate".to_owned(),
                from: Timestamp::EPOCH,
                to: Timestamp::EPOCH.plus_millis(1_795_489_800_000),
                after_id: Some(HubspotId(100)),
                limit: 200,
                properties: properties(),
            };
            client.search(contacts, &query, priority).await.map(drop)
        }
        "read" | "history" => {
            let with_history = match asked {
                "history" => vec!["city".to_owned()],
                _ => Vec::new(),
            };
            let query = ReadQuery {
                keys: vec!["1".to_owned(), "2".to_owned()],
                properties: properties(),
                with_history,
                ..ReadQuery::default()
            };
            client
                .batch_read(contacts, &query, priority)
                .await
                .map(drop)
        }
        "create" => {
            let inputs = [input(None)];
            let created = client.batch_create(contacts, &inputs, priority).await;
            created.map(drop)
        }
        "update" => {
            let inputs = [input(Some("1"))];
            let updated = client.batch_update(contacts, &inputs, priority, None).await;
            updated.map(drop)
        }
        "properties" => client.properties(contacts).await.map(drop),
        "pipelines" => client.pipelines(contacts).await.map(drop),
        "owners" => client.owners(None, false).await.map(drop),
        "schemas" => client.schemas().await.map(drop),
        "account" => client.account().await.map(drop),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// The CPU time of a file, in the slowest profile: each has at most some kilobytes.
    const LONGEST: Duration = Duration::from_secs(2);

    /// What the process may have in memory at most meanwhile, in KiB.
    const MOST_MEMORY_KIB: u64 = 400 * 1024;

    fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(target);
        let entries = fs::read_dir(&folder).expect("a folder for each target");
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).expect("a file");
            (path, bytes)
        };
        files.into_iter().map(read).collect()
    }

    fn of_this_thread() -> Duration {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(spent).expect("a time")
    }

    fn peak_memory_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
        let number = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
        number.unwrap_or_default()
    }

    #[test]
    fn whatever_comes_from_elsewhere_is_read_or_refused_with_words() {
        for (name, target) in TARGETS {
            let files = corpus(name);
            assert!(files.len() >= 24, "{name} has {} files", files.len());
            for (path, bytes) in files {
                let begun = of_this_thread();
                target(&bytes);
                let took = of_this_thread().saturating_sub(begun);
                assert!(took < LONGEST, "{} took {took:?}", path.display());
            }
        }
        let peak = peak_memory_kib();
        assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
    }

    #[test]
    fn the_targets_tell_good_from_bad() {
        let good = check_bytes(Path::new("config.toml"), MAPPING.into());
        assert!(good.report.is_ok());
        let events = br#"[{"eventId":1,"subscriptionType":"contact.creation","objectId":1,"portalId":1,"occurredAt":1}]"#;
        assert_eq!(webhook::parse(events).expect("events").len(), 1);
        let clock = ManualClock::at("2026-11-24T03:10:00Z");
        let contacts = ObjectType::parse("contacts").expect("a name");
        let say = |status, body: &'static str| {
            let body = Bytes::from_static(body.as_bytes());
            let client = client(&clock, Parrot { status, body });
            run(&clock, async { ask(&client, &contacts, "list").await })
        };
        assert!(matches!(say(200, r#"{"results":[]}"#), Some(Ok(()))));
        assert!(matches!(
            say(400, "{}"),
            Some(Err(HubspotError::Refused { .. }))
        ));
    }
}
