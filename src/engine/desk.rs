//! What the engine's tests share: a clock whose wall time can be stepped while its steady time goes on, a HubSpot that
//! answers by path, and an engine between them on a file of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use parking_lot::{Mutex, MutexGuard};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::{Engine, Settings, StepError};
use crate::hubspot::call::limiter::{LeaseFn, LimitSettings, StartState};
use crate::hubspot::call::transport::{HttpRequest, HttpResponse, TransportError};
use crate::hubspot::{Client, Limiter, Transport};
use crate::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Mapping, Modes, ObjectMapping, Policy,
};
use crate::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use crate::model::settings::{ApiVersion, Checkpoint, Guard, Limits, Tier};
use crate::model::time::Timestamp;
use crate::model::value::PropertyType;
use crate::store::cursors::{self, Cursor};
use crate::store::{Mode, OpenOptions, Store};

/// Steady time moves when somebody waits or an answer takes its time; wall time also when it is stepped.
pub(crate) struct TestClock(Mutex<(Timestamp, Duration)>);

impl TestClock {
    fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new((now, Duration::ZERO))))
    }

    /// Somebody sets the clock.
    pub(crate) fn step(&self, ms: i64) {
        let mut times = self.0.lock();
        times.0 = times.0.plus_millis(ms);
    }

    /// Time passes.
    pub(crate) fn pass(&self, time: Duration) {
        let mut times = self.0.lock();
        *times = (times.0 + time, times.1 + time);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().1
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.pass(duration);
        Box::pin(std::future::ready(()))
    }
}

/// What was asked: the path with its query, the token, the body.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) body: String,
}

#[derive(Default)]
struct Script {
    /// Part of a path, and status and body of one answer to it.
    answers: VecDeque<(&'static str, u16, String)>,
    asked: Vec<Asked>,
    /// How far the `Date` of one more answer is from HubSpot's time.
    wrong_date_ms: Option<i64>,
}

/// Answers by path: schema and account as they are, all else from a script, and nothing found without one.
pub(crate) struct Hubspot {
    clock: Arc<TestClock>,
    began: Timestamp,
    takes: Duration,
    script: Mutex<Script>,
}

const PROPERTIES: &str = r#"{"results":[{"name":"email","type":"string","fieldType":"text"},
    {"name":"hs_object_id","type":"number","fieldType":"number"},
    {"name":"hs_merged_object_ids","type":"string","fieldType":"text"},
    {"name":"hubsyncd_key","type":"string","fieldType":"text","hasUniqueValue":true}]}"#;

impl Hubspot {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock()
    }

    /// The next request whose path holds this gets that body.
    pub(crate) fn answer(&self, path: &'static str, body: impl Into<String>) {
        self.script().answers.push_back((path, 200, body.into()));
    }

    /// The next request whose path holds this is refused.
    pub(crate) fn refuse(&self, path: &'static str, status: u16) {
        let body = r#"{"status":"error","message":"no","category":"VALIDATION_ERROR"}"#;
        self.script()
            .answers
            .push_back((path, status, body.to_owned()));
    }

    /// One more answer has a wrong `Date`.
    pub(crate) fn date_wrongly(&self, ms: i64) {
        self.script().wrong_date_ms = Some(ms);
    }

    /// HubSpot's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.began + self.clock.monotonic()
    }

    /// The requests so far whose path holds this.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let mut asked = self.script().asked.clone();
        asked.retain(|one| one.path.contains(path));
        asked
    }

    fn reply(&self, request: &HttpRequest) -> HttpResponse {
        let path = &request.path_and_query;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let token = request
            .headers
            .iter()
            .find(|(name, _)| *name == http::header::AUTHORIZATION);
        let mut script = self.script();
        script.asked.push(Asked {
            path: path.clone(),
            token: token.map_or_else(String::new, |(_, value)| text(value.as_bytes())),
            body: request.body.as_deref().map_or_else(String::new, text),
        });
        let scripted = script
            .answers
            .iter()
            .position(|(part, ..)| path.contains(part));
        let scripted = scripted.and_then(|place| script.answers.remove(place));
        let status = scripted.as_ref().map_or(200, |(_, status, _)| *status);
        let body = match scripted {
            Some((.., body)) => body,
            None if path.contains("account-info") => {
                r#"{"portalId":12345678,"timeZone":"UTC"}"#.to_owned()
            }
            None if path.contains("/properties/") => PROPERTIES.to_owned(),
            None => r#"{"results":[],"total":0}"#.to_owned(),
        };
        let now = self.began + self.clock.monotonic();
        let date = now.plus_millis(script.wrong_date_ms.take().unwrap_or(0));
        let date = date
            .to_chrono()
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::DATE,
            HeaderValue::from_str(&date).expect("a date"),
        );
        drop(script);
        // The answer is on its way.
        self.clock.pass(self.takes);
        HttpResponse {
            status,
            headers,
            body: Bytes::from(body),
        }
    }
}

impl Transport for Hubspot {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let reply = self.reply(&request);
        Box::pin(async move {
            // Nobody has an answer at the moment when he asks.
            tokio::task::yield_now().await;
            Ok(reply)
        })
    }
}

/// An engine with contacts, and what it stands between.
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) hubspot: Arc<Hubspot>,
    pub(crate) folder: TempDir,
}

/// HubSpot's time at the start.
pub(crate) fn began() -> Timestamp {
    Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment")
}

impl Desk {
    /// This machine's clock differs from HubSpot's by `ahead_ms`; each answer takes a second.
    pub(crate) fn new(ahead_ms: i64) -> Self {
        Self::with(ahead_ms, true)
    }

    /// With an OAuth app's client that has no token yet.
    pub(crate) fn logged_out() -> Self {
        Self::with(0, false)
    }

    fn with(ahead_ms: i64, has_token: bool) -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = TestClock::at(began().plus_millis(ahead_ms));
        let hubspot = Arc::new(Hubspot {
            clock: Arc::clone(&clock),
            began: began(),
            takes: Duration::from_secs(1),
            script: Mutex::default(),
        });
        let steady: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let transport: Arc<dyn Transport> = Arc::<Hubspot>::clone(&hubspot);
        let lease: LeaseFn = Arc::new(|_| Box::pin(async { Ok(()) }));
        let limits = LimitSettings::new(&Limits::default(), Tier::Professional);
        let limiter = Limiter::new(limits, Arc::clone(&steady), lease, &StartState::default());
        let version = ApiVersion::V2026_03;
        let client = if has_token {
            let token = SecretString::from("pat-na1-secret");
            Client::new(transport, limiter, Arc::clone(&steady), &token, version).expect("a token")
        } else {
            Client::logged_out(transport, limiter, Arc::clone(&steady), version)
        };
        let options = OpenOptions {
            path: folder.path().join("crm.db"),
            mode: Mode::Inline,
            busy_timeout: Duration::from_millis(50),
            checkpoint: Checkpoint::Own,
        };
        let store = Store::open(&options, Arc::clone(&steady)).expect("a database");
        let settings = Settings {
            portal: None,
            overlap: Duration::from_secs(15),
            again: Vec::new(),
            guard: Guard::default(),
            relaxed_poll: None,
            associations: Duration::from_hours(24),
        };
        let engine = Engine::new(store, client, steady, Arc::new(mapping()), settings, 1);
        Self {
            engine,
            clock,
            hubspot,
            folder,
        }
    }

    /// Reads the schema; the object in force.
    pub(crate) fn contacts(&self) -> Arc<ObjectSync> {
        run(schema::refresh(&self.engine)).expect("a schema");
        let name = ObjectType::parse("contacts").expect("a name");
        self.engine.object(&name).expect("contacts")
    }

    /// Reads until nothing is to be read, as the first read of an empty portal does.
    pub(crate) fn loaded(&self) -> Arc<ObjectSync> {
        let contacts = self.contacts();
        run(super::source::backfill::step(
            &self.engine,
            &contacts,
            &super::StepEnd::never(),
        ))
        .expect("a page");
        contacts
    }

    /// Where contacts stand.
    pub(crate) fn cursor(&self) -> Cursor {
        let name = ObjectType::parse("contacts").expect("a name");
        let read = self
            .engine
            .store()
            .read(move |connection| cursors::get(connection, &name));
        run(read).expect("a cursor")
    }
}

fn mapping() -> Mapping {
    let field = FieldMapping {
        property: PropertyName::parse("email").expect("a name"),
        column: ColumnName::parse("email").expect("a name"),
        declared_type: None,
        property_type: PropertyType::String,
        direction: Direction::Both,
        policy: Policy::Newest,
        modes: FieldModes::default(),
    };
    Mapping {
        pairs: Vec::new(),
        objects: vec![ObjectMapping {
            object: ObjectType::parse("contacts").expect("a name"),
            address: None,
            table: TableName::parse("contacts").expect("a name"),
            direction: Direction::Both,
            key: KeyChoice::Auto,
            match_property: None,
            modes: Modes::default(),
            policy: Policy::Newest,
            poll: Duration::from_secs(5),
            fields: vec![field],
        }],
    }
}

/// Runs to its end what waits for nothing but this clock and an inline store.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// The words of a step that failed.
pub(crate) fn failure<T>(result: Result<T, StepError>) -> String {
    result
        .err()
        .map_or_else(String::new, |error| error.to_string())
}
