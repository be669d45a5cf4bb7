//! What tests of the client stand on: a clock that is moved by hand, a runner that moves it when all wait, and a
//! transport that answers from a script.
//!
//! The runner polls only what was woken, as a real runtime does, so that a missing wake-up shows as a deadlock.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::hubspot::call::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use crate::model::time::Timestamp;

/// Virtual time: it begins at a moment, and moves only when it is told to.
#[derive(Clone)]
pub(crate) struct ManualClock {
    began: Timestamp,
    timers: Arc<Mutex<Timers>>,
}

#[derive(Default)]
struct Timers {
    now: Duration,
    made: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl ManualClock {
    pub(crate) fn at(text: &str) -> Arc<Self> {
        Arc::new(Self {
            began: Timestamp::parse(text).expect(text),
            timers: Arc::default(),
        })
    }

    /// Moves to a moment and wakes what waits until then.
    pub(super) fn advance(&self, duration: Duration) {
        let mut timers = self.timers.lock();
        timers.now += duration;
        let now = timers.now;
        while let Some(entry) = timers
            .waiting
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            entry.remove().wake();
        }
    }

    fn next_timer(&self) -> Option<Duration> {
        let timers = self.timers.lock();
        timers.waiting.first_key_value().map(|(key, _)| key.0)
    }

    /// Moves to the next timer; false if nothing waits.
    fn advance_to_next(&self) -> bool {
        let now = self.monotonic();
        let next = self.next_timer();
        next.inspect(|next| self.advance(next.saturating_sub(now)))
            .is_some()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.began + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.timers.lock().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut timers = self.timers.lock();
        timers.made += 1;
        let key = (timers.now + duration, timers.made);
        drop(timers);
        Box::pin(Sleep {
            timers: Arc::clone(&self.timers),
            key,
        })
    }
}

struct Sleep {
    timers: Arc<Mutex<Timers>>,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.timers.lock();
        if timers.now >= self.key.0 {
            timers.waiting.remove(&self.key);
            return Poll::Ready(());
        }
        timers.waiting.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.timers.lock().waiting.remove(&self.key);
    }
}

struct Ring(AtomicBool);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs all to their ends, and moves the clock whenever every one of them waits.
pub(super) fn run_all<'a, T>(
    clock: &ManualClock,
    futures: impl IntoIterator<Item = BoxFuture<'a, T>>,
) -> Vec<T> {
    run_until(clock, Duration::MAX, futures)
}

/// Runs all to their ends or to a moment; what is not done then is dropped, as by a kill.
pub(super) fn run_until<'a, T>(
    clock: &ManualClock,
    end: Duration,
    futures: impl IntoIterator<Item = BoxFuture<'a, T>>,
) -> Vec<T> {
    let mut tasks: FuturesUnordered<_> = futures.into_iter().collect();
    let ring = Arc::new(Ring(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&ring));
    let mut results = Vec::new();
    loop {
        ring.0.store(false, Ordering::SeqCst);
        match Pin::new(&mut tasks).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(result)) => results.push(result),
            Poll::Ready(None) => return results,
            Poll::Pending if ring.0.load(Ordering::SeqCst) => {}
            Poll::Pending if clock.next_timer().is_some_and(|next| next > end) => return results,
            Poll::Pending => assert!(
                clock.advance_to_next(),
                "everything waits and nothing will wake it"
            ),
        }
    }
}

/// Runs one to its end.
pub(crate) fn run<'a, T>(clock: &ManualClock, future: impl Future<Output = T> + Send + 'a) -> T {
    let future: BoxFuture<'a, T> = Box::pin(future);
    run_all(clock, [future]).pop().expect("one result")
}

/// Answers from a script and remembers what was asked.
#[derive(Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Result<HttpResponse, TransportError>>>,
    asked: Mutex<Vec<HttpRequest>>,
}

impl Script {
    pub(super) fn new(
        answers: impl IntoIterator<Item = Result<HttpResponse, TransportError>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
        })
    }

    /// What was asked so far.
    pub(super) fn asked(&self) -> Vec<HttpRequest> {
        self.asked.lock().clone()
    }

    /// The JSON that was sent with the request of that number.
    pub(super) fn body(&self, number: usize) -> serde_json::Value {
        let body = self.asked()[number].body.clone().expect("a body");
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Transport for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        self.asked.lock().push(request);
        let answer = self.answers.lock().pop_front();
        Box::pin(async move { answer.expect("the script has an answer for each request") })
    }
}

/// An answer of a status with a body.
pub(super) fn answer(status: u16, body: &str) -> Result<HttpResponse, TransportError> {
    answer_with(status, &[], body)
}

/// An answer with headers.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a script has answers and failures"
)]
pub(super) fn answer_with(
    status: u16,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Result<HttpResponse, TransportError> {
    let header = |(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a header"),
        )
    };
    Ok(HttpResponse {
        status,
        headers: headers.iter().map(header).collect::<HeaderMap>(),
        body: Bytes::from(body.to_owned()),
    })
}

/// A failure on the way.
pub(super) fn lost() -> Result<HttpResponse, TransportError> {
    Err(TransportError::Lost("the connection was reset".into()))
}

/// A failure before the way.
pub(super) fn not_sent() -> Result<HttpResponse, TransportError> {
    Err(TransportError::NotSent("no route".into()))
}
