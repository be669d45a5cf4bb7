//! The world of one seed: virtual time, the events that wait for it, the wire, the portal, the trace.
//!
//! Everything that happens goes through one lock and one seeded generator, so that a run can be replayed byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hubsyncd::clock::Clock;
use hubsyncd::hubspot::call::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use hubsyncd::model::time::Timestamp;
use hubsyncd::simulator::portal::Portal;
use hubsyncd::simulator::request::{Delivery, Reply, Request};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::points::{Call, Moment, Passing, Point};
use crate::trace::Trace;

/// The true time at which every run begins: 2026-11-24T06:00:00Z.
pub(crate) const START_MS: i64 = 1_795_500_000_000;

/// What the network adds to HubSpot's own time, and what it does with lost requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// Least time of one way.
    pub(crate) least_ms: u64,
    /// Most time of one way.
    pub(crate) most_ms: u64,
    /// Chance that an unanswered request ends by the timeout and not by a cut connection.
    pub(crate) times_out: f64,
}

/// All that changes.
pub(crate) struct State {
    /// True time since the start, nanoseconds.
    pub(crate) steady: u64,
    /// The machine's wall clock minus true time, milliseconds.
    pub(crate) wall_offset_ms: i64,
    events: BTreeMap<(u64, u64), Event>,
    next_id: u64,
    slots: BTreeMap<u64, Slot>,
    /// HubSpot.
    pub(crate) portal: Portal,
    /// What happened.
    pub(crate) trace: Trace,
    /// Draws for the network.
    rng: ChaCha8Rng,
    /// Draws for the random keys of local triggers.
    pub(crate) key_rng: ChaCha8Rng,
    pub(crate) network: Network,
    /// The daemon's run: requests of an earlier one may still be on the wire.
    pub(crate) incarnation: u64,
    in_flight: BTreeSet<(String, String)>,
    /// When the daemon that runs was last shown a record by a read: object and id (nanoseconds).
    answered: BTreeMap<(String, String), u64>,
    /// The first broken promise that was noticed outside the checks.
    pub(crate) broken: Option<String>,
    /// What ended a task for good, where that must be; `None`: that breaks a promise.
    pub(crate) ends: Option<Vec<String>>,
    /// Requests that arrived.
    pub(crate) requests: u64,
    /// Whether a program holds the file's lock.
    pub(crate) locked: bool,
    /// The faults that requests met.
    pub(crate) met: BTreeMap<(Call, String), u64>,
    /// The points that were passed since somebody looked; `None`: nobody looks.
    pub(crate) points: Option<Vec<Passing>>,
}

enum Event {
    Wake(Waker),
    Arrive(Box<Arrival>),
    Answer(Call, u64, Box<Result<HttpResponse, TransportError>>),
}

struct Arrival {
    slot: u64,
    incarnation: u64,
    request: Request,
    timeout_ns: u64,
    sent: u64,
    template: &'static str,
    call: Call,
}

#[derive(Default)]
struct Slot {
    answer: Option<Result<HttpResponse, TransportError>>,
    waker: Option<Waker>,
    mutations: Vec<(String, String)>,
    /// The object of which it reads records.
    reads: Option<String>,
}

/// The world, shared by the daemon's parts and the test.
pub(crate) struct World {
    state: Mutex<State>,
}

const MS: u64 = 1_000_000;
/// A change or a removal rests on a read that was answered so long ago at most (`design.md`, section 4).
const FRESH: u64 = 1_000 * MS;

impl World {
    /// A world at its start.
    pub(crate) fn new(
        portal: Portal,
        trace: Trace,
        network: Network,
        rng: ChaCha8Rng,
        key_rng: ChaCha8Rng,
    ) -> Arc<Self> {
        let state = State::new(portal, trace, network, rng, key_rng);
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// Begins anew, with a portal as it stands at that time (nanoseconds). Nobody may wait for the former one.
    pub(crate) fn begin_again(&self, portal: Portal, at: u64, seed: u64) {
        let mut state = self.state();
        // Not those of the portal's first filling: a key that was drawn twice would be one record's.
        let draws = |stream: u64| {
            ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(1_000 + stream))
        };
        let again = State::new(
            portal,
            state.trace.again(),
            state.network,
            draws(1),
            draws(2),
        );
        *state = State {
            steady: at,
            points: state.points.as_ref().map(|_former| Vec::new()),
            ..again
        };
    }

    /// The state, for a moment.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, text: &str) {
        let mut state = self.state();
        state.note(text);
    }

    /// Lets the next event happen if it is due by `until` (nanoseconds); else time moves there. Tells whether one did.
    pub(crate) fn advance(&self, until: u64) -> bool {
        let mut state = self.state();
        let Some(entry) = state
            .events
            .first_entry()
            .filter(|entry| entry.key().0 <= until)
        else {
            state.steady = state.steady.max(until);
            return false;
        };
        let ((due, _), event) = entry.remove_entry();
        state.steady = state.steady.max(due);
        match event {
            Event::Wake(waker) => {
                drop(state);
                waker.wake();
            }
            Event::Arrive(arrival) => state.arrive(&arrival),
            Event::Answer(call, slot, answer) => {
                state.passes(call, Moment::Answered, String::new());
                let Some(waiting) = state.slots.get_mut(&slot) else {
                    return true;
                };
                waiting.answer = Some(*answer);
                let object = waiting.reads.take();
                let shown = object.map(|object| shown(&object, waiting.answer.as_ref()));
                let (waker, mutations) =
                    (waiting.waker.take(), std::mem::take(&mut waiting.mutations));
                for key in &mutations {
                    state.in_flight.remove(key);
                }
                let now = state.steady;
                let shown = shown.into_iter().flatten();
                state.answered.extend(shown.map(|key| (key, now)));
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        true
    }

    /// What is on its way back to the daemon does not arrive.
    pub(crate) fn lose_answers(&self) {
        let mut state = self.state();
        let mut lost = 0;
        for event in state.events.values_mut() {
            if let Event::Answer(_, _, answer) = event {
                **answer = Err(TransportError::Lost("the connection was cut".into()));
                lost += 1;
            }
        }
        state.note(&format!("{lost} answers on their way are lost"));
    }

    /// The daemon is gone: what it had on the wire arrives or not, as chance has it.
    pub(crate) fn cut_wire(&self) {
        let mut state = self.state();
        state.incarnation += 1;
        state.slots.clear();
        state.in_flight.clear();
        state.answered.clear();
        let waiting: Vec<_> = state
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Arrive(_)))
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            if state.rng.random_bool(0.5) {
                state.events.remove(&key);
            }
        }
        state
            .events
            .retain(|_, event| matches!(event, Event::Arrive(_)));
    }
}

impl State {
    fn new(
        portal: Portal,
        trace: Trace,
        network: Network,
        rng: ChaCha8Rng,
        key_rng: ChaCha8Rng,
    ) -> Self {
        Self {
            steady: 0,
            wall_offset_ms: 0,
            events: BTreeMap::new(),
            next_id: 0,
            slots: BTreeMap::new(),
            portal,
            trace,
            rng,
            key_rng,
            network,
            incarnation: 0,
            in_flight: BTreeSet::new(),
            answered: BTreeMap::new(),
            broken: None,
            ends: None,
            requests: 0,
            locked: false,
            met: BTreeMap::new(),
            points: None,
        }
    }

    /// True time, epoch milliseconds.
    pub(crate) fn true_ms(&self) -> i64 {
        START_MS + (self.steady / MS) as i64
    }

    /// The machine's wall clock, epoch milliseconds.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.true_ms() + self.wall_offset_ms
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, text: &str) {
        let at = self.steady / MS;
        self.trace.line(at, text);
    }

    /// Notes the first broken promise.
    pub(crate) fn breaks(&mut self, what: String) {
        self.note(&format!("BROKEN {what}"));
        self.broken.get_or_insert(what);
    }

    fn passes(&mut self, call: Call, moment: Moment, answer: String) {
        if let Some(points) = &mut self.points {
            points.push(Passing {
                point: Point { call, moment },
                answer,
            });
        }
    }

    /// What is about to be changed or removed was read a moment ago: an edit since then would go under.
    fn judge_reads(&mut self, records: &[(String, String)]) {
        for key in records {
            let age = self.answered.get(key).map(|at| self.steady - at);
            if age.is_none_or(|age| age > FRESH) {
                let age = age.map_or("nobody knows when".to_owned(), |age| {
                    format!("{} ms ago", age / MS)
                });
                self.breaks(format!(
                    "a write to {} {} rests on a read of {age}",
                    key.0, key.1
                ));
            }
        }
    }

    fn put(&mut self, due: u64, event: Event) -> (u64, u64) {
        self.next_id += 1;
        let key = (due, self.next_id);
        self.events.insert(key, event);
        key
    }

    fn way(&mut self) -> u64 {
        let (least, most) = (
            self.network.least_ms,
            self.network.most_ms.max(self.network.least_ms),
        );
        self.rng.random_range(least..=most) * MS + 1
    }

    fn arrive(&mut self, arrival: &Arrival) {
        let now_ms = self.true_ms();
        self.requests += 1;
        let reply = self.portal.handle(&arrival.request, now_ms);
        self.note(&format!(
            "wire {} {} {} -> {} {:?} {}B",
            arrival.incarnation,
            arrival.request.method,
            arrival.template,
            reply.status,
            reply.delivery,
            reply.body.len()
        ));
        if self.trace.is_whole() && arrival.request.method != "GET" {
            self.note(&String::from_utf8_lossy(&reply.body));
        }
        if let Some(fault) = fault_of(&reply) {
            *self.met.entry((arrival.call, fault)).or_default() += 1;
        }
        let comes_back = matches!(reply.delivery, Delivery::Whole { .. }) && reply.status < 300;
        let answer = if self.points.is_some() && comes_back {
            String::from_utf8_lossy(&reply.body).into_owned()
        } else {
            String::new()
        };
        self.passes(arrival.call, Moment::Landed, answer);
        if arrival.incarnation != self.incarnation {
            return;
        }
        let (due, answer) = self.carry_back(arrival, reply);
        self.put(
            due,
            Event::Answer(arrival.call, arrival.slot, Box::new(answer)),
        );
    }

    fn carry_back(
        &mut self,
        arrival: &Arrival,
        reply: Reply,
    ) -> (u64, Result<HttpResponse, TransportError>) {
        let back = self.steady + self.way();
        let limit = arrival.sent + arrival.timeout_ns;
        let timed_out = self.rng.random_bool(self.network.times_out);
        let lost_at = if timed_out { limit.max(back) } else { back };
        let lost = |explanation: &str| Err(TransportError::Lost(explanation.to_owned().into()));
        match reply.delivery {
            Delivery::Whole { latency_ms } => {
                let due = back + latency_ms * MS;
                if due > limit {
                    (limit, lost("no answer in time"))
                } else {
                    (due, Ok(response(reply)))
                }
            }
            Delivery::Never if !timed_out => {
                (back, Err(TransportError::NotSent("no connection".into())))
            }
            Delivery::Never => (lost_at, lost("the connection was cut")),
            Delivery::AnswerLost | Delivery::Late { .. } => {
                (lost_at, lost("the connection was cut"))
            }
            Delivery::CutAfter(_) => (back, lost("the answer was cut")),
        }
    }
}

/// What went wrong with a request.
fn fault_of(reply: &Reply) -> Option<String> {
    match reply.delivery {
        Delivery::Whole { .. } if reply.status < 400 => None,
        Delivery::Whole { .. } => Some(reply.status.to_string()),
        Delivery::Never => Some("never arrived".to_owned()),
        Delivery::AnswerLost => Some("answer lost".to_owned()),
        Delivery::Late { .. } => Some("late".to_owned()),
        Delivery::CutAfter(_) => Some("cut".to_owned()),
    }
}

fn response(reply: Reply) -> HttpResponse {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &reply.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        headers.append(
            name,
            http::HeaderValue::from_str(value).expect("a header's value"),
        );
    }
    HttpResponse {
        status: reply.status,
        headers,
        body: reply.body.into(),
    }
}

/// Time for the daemon.
pub(crate) struct VirtualClock(pub(crate) Arc<World>);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.state().wall_ms())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.state().steady)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Sleep::new(&self.0, duration))
    }
}

/// Waits for virtual time.
pub(crate) struct Sleep {
    world: Arc<World>,
    due: u64,
    key: Option<(u64, u64)>,
}

impl Sleep {
    /// Ends that much later.
    pub(crate) fn new(world: &Arc<World>, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos())
            .unwrap_or(u64::MAX / 4)
            .min(u64::MAX / 4);
        let due = world.state().steady + nanos;
        Self {
            world: Arc::clone(world),
            due,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Arc::clone(&self.world);
        let mut state = world.state();
        if let Some(key) = self.key.take() {
            state.events.remove(&key);
        }
        if state.steady >= self.due {
            return Poll::Ready(());
        }
        self.key = Some(state.put(self.due, Event::Wake(context.waker().clone())));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.world.state().events.remove(&key);
        }
    }
}

/// Requests of the daemon to the portal.
pub(crate) struct Wire(pub(crate) Arc<World>);

impl Transport for Wire {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let slot = depart(&self.0, &request);
        Box::pin(InFlight {
            world: Arc::clone(&self.0),
            slot,
        })
    }
}

fn depart(world: &Arc<World>, request: &HttpRequest) -> u64 {
    let mut state = world.state();
    state.next_id += 1;
    let slot = state.next_id;
    let (path, query) = request
        .path_and_query
        .split_once('?')
        .unwrap_or((&request.path_and_query, ""));
    let headers = request.headers.iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    let sent = Request {
        method: request.method.as_str().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.collect(),
        body: request.body.as_deref().unwrap_or_default().to_vec(),
    };
    let mutations = mutations(&sent);
    for key in &mutations {
        if !state.in_flight.insert(key.clone()) {
            state.breaks(format!(
                "I7: two mutations of {} {} are in flight",
                key.0, key.1
            ));
        }
    }
    let line = format!(
        "send {} {}",
        sent.method,
        request.path_and_query.split('?').next().unwrap_or_default()
    );
    state.note(&line);
    if state.trace.is_whole() {
        state.note(&String::from_utf8_lossy(&sent.body));
    }
    let call = Call::of(request.template, request.body.as_deref());
    state.passes(call, Moment::Departed, String::new());
    if matches!(call, Call::Update | Call::Archive) {
        state.judge_reads(&mutations);
    }
    let reads = object_of(&sent).filter(|_| matches!(call, Call::Read | Call::History));
    let arrival = Arrival {
        call,
        slot,
        incarnation: state.incarnation,
        request: sent,
        timeout_ns: request.timeout.as_nanos() as u64,
        sent: state.steady,
        template: request.template,
    };
    let due = state.steady + state.way();
    state.slots.insert(
        slot,
        Slot {
            mutations,
            reads,
            ..Slot::default()
        },
    );
    state.put(due, Event::Arrive(Box::new(arrival)));
    slot
}

/// The records that a request changes: object and id or key.
fn mutations(request: &Request) -> Vec<(String, String)> {
    let Some(object) = object_of(request).filter(|_| !request.path.ends_with("/read")) else {
        return Vec::new();
    };
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
    inputs
        .iter()
        .filter_map(|input| Some((object.clone(), input["id"].as_str()?.to_owned())))
        .collect()
}

/// The object of a batch.
fn object_of(request: &Request) -> Option<String> {
    let mut parts = request.path.split('/').rev();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_verb), Some("batch"), Some(object)) => Some(object.to_owned()),
        _ => None,
    }
}

/// The records that an answer shows: object and id.
fn shown(
    object: &str,
    answer: Option<&Result<HttpResponse, TransportError>>,
) -> Vec<(String, String)> {
    let Some(Ok(answer)) = answer else {
        return Vec::new();
    };
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let results = body["results"].as_array().cloned().unwrap_or_default();
    let ids = results.iter().filter_map(|record| record["id"].as_str());
    ids.map(|id| (object.to_owned(), id.to_owned())).collect()
}

struct InFlight {
    world: Arc<World>,
    slot: u64,
}

impl Future for InFlight {
    type Output = Result<HttpResponse, TransportError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.world.state();
        let Some(slot) = state.slots.get_mut(&self.slot) else {
            return Poll::Ready(Err(TransportError::Lost("the wire was cut".into())));
        };
        match slot.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.world.state().slots.remove(&self.slot);
    }
}
