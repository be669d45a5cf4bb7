//! HubSpot's stand-in, served over HTTP on a port of its own; the test is the people in it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hubsyncd::clock::{Clock as _, SystemClock};
use hubsyncd::simulator::faults::{FaultKind, Script};
use hubsyncd::simulator::portal::Portal as Stand;
use hubsyncd::simulator::request::Request;
use hubsyncd::simulator::server::serve;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A portal that answers until it is dropped.
pub(crate) struct Portal {
    stand: Arc<Mutex<Stand>>,
    address: SocketAddr,
    clock: Arc<SystemClock>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Portal {
    /// An empty portal whose search index is up to date at once.
    pub(crate) fn quick() -> Self {
        Self::with(Settings {
            index_delay_min_ms: 0,
            index_delay_max_ms: 0,
            ..Settings::default()
        })
    }

    /// A portal of its own settings.
    pub(crate) fn with(settings: Settings) -> Self {
        let clock = SystemClock::new();
        let stand = Arc::new(Mutex::new(Stand::new(settings, 1, clock.now().millis())));
        let stop = CancellationToken::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a listener for tokio");
        let address = listener.local_addr().expect("an address");
        let (served, ended) = (Arc::clone(&stand), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    served = serve(served, listener, ended.clone()) => served.expect("it serves"),
                    // Connections that the daemon keeps open must not hold the test up.
                    () = ended.cancelled() => {}
                }
            });
        });
        Self {
            stand,
            address,
            clock,
            stop,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The stand-in itself.
    pub(crate) fn stand(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now().millis()
    }

    /// Sample records, made a day ago.
    pub(crate) fn fill(&self, object: &str, count: usize) {
        let day_ago = self.now_ms() - 86_400_000;
        self.stand().fill(object, count, day_ago);
    }

    /// A new deal in the second stage of the default pipeline: its id.
    pub(crate) fn deal(&self) -> u64 {
        let deal = [
            ("dealname", "Big"),
            ("dealstage", "qualifiedtobuy"),
            ("pipeline", "default"),
        ];
        let now = self.now_ms();
        self.stand().create("deals", &deal, now)
    }

    /// A person makes a contact.
    pub(crate) fn contact(&self, email: &str) -> u64 {
        let now = self.now_ms();
        self.stand()
            .create("contacts", &[("email", email), ("firstname", "Ann")], now)
    }

    /// A person edits a contact.
    pub(crate) fn edit(&self, id: u64, values: &[(&str, &str)]) {
        let now = self.now_ms();
        self.stand().edit("contacts", id, values, now);
    }

    /// What HubSpot holds; `None` where the record is not there (any more) or the property is empty.
    pub(crate) fn value(&self, id: u64, property: &str) -> Option<String> {
        let stand = self.stand();
        let record = stand.record("contacts", id)?;
        if record.is_archived() {
            return None;
        }
        record.value(property).map(str::to_owned)
    }

    /// Live contacts that have this value.
    pub(crate) fn count_with(&self, property: &str, value: &str) -> usize {
        self.stand()
            .records("contacts")
            .iter()
            .filter(|record| !record.is_archived() && record.value(property) == Some(value))
            .count()
    }

    /// Live contacts.
    pub(crate) fn contacts(&self) -> usize {
        self.stand()
            .records("contacts")
            .iter()
            .filter(|record| !record.is_archived())
            .count()
    }

    /// Somebody with the token calls the API: the status, and what is answered.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let token = format!("Bearer {DEFAULT_TOKEN}");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: [
                ("Authorization", token.as_str()),
                ("Content-Type", "application/json"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            body: match body.is_null() {
                true => Vec::new(),
                false => body.to_string().into_bytes(),
            },
        };
        let now = self.now_ms();
        let reply = self.stand().handle(&request, now);
        (
            reply.status,
            serde_json::from_slice(&reply.body).unwrap_or_default(),
        )
    }

    /// The next requests whose path contains this meet a fault.
    pub(crate) fn script(&self, fault: FaultKind, times: u32, path: &str) {
        self.stand()
            .faults_mut()
            .script(Script::new(fault, times, path));
    }

    /// How many requests were made whose path contains this.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.stand()
            .request_log()
            .iter()
            .filter(|request| request.path_template.contains(path))
            .count()
    }

    /// How many pages of an object's list were asked for.
    pub(crate) fn pages(&self, object: &str) -> usize {
        let is_list =
            |path: &str| path.contains("/objects/") && path.ends_with(&format!("/{object}"));
        let stand = self.stand();
        let asked = stand.request_log().iter();
        asked
            .filter(|request| request.method == "GET" && is_list(&request.path_template))
            .count()
    }

    /// Nobody was throttled, and no window was ever overrun.
    pub(crate) fn assert_limits_were_kept(&self) {
        let stand = self.stand();
        let (violations, settings) = (stand.violations(), stand.settings());
        assert_eq!(violations.total(), 0, "{violations:?}");
        assert!(
            violations.most_in_ten_seconds <= u64::from(settings.burst_limit),
            "{violations:?}"
        );
        assert!(
            violations.most_searches_in_a_second <= u64::from(settings.search_limit),
            "{violations:?}"
        );
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in there has printed itself.
            drop(thread.join());
        }
    }
}
