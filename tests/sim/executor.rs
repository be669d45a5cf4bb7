//! A tiny deterministic executor: futures that are ready are polled one at a time, in an order drawn from the seed.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    name: String,
    future: BoxFuture<'static, ()>,
    ready: Arc<Flag>,
}

/// The daemon's tasks.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: Vec<Task>,
    door: Door,
}

/// Where tasks come in, from outside and from one another.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Vec<Task>>>);

impl Door {
    /// Adds a task, ready to be polled.
    pub(crate) fn spawn(&self, name: &str, future: BoxFuture<'static, ()>) {
        self.0.lock().expect("no panic").push(Task {
            name: name.to_owned(),
            future,
            ready: Arc::new(Flag(AtomicBool::new(true))),
        });
    }
}

impl Executor {
    /// Where tasks come in.
    pub(crate) fn door(&self) -> Door {
        self.door.clone()
    }

    /// Drops all tasks where they stand.
    pub(crate) fn kill(&mut self) {
        self.let_in();
        self.tasks.clear();
    }

    fn let_in(&mut self) {
        let mut new = std::mem::take(&mut *self.door.0.lock().expect("no panic"));
        self.tasks.append(&mut new);
    }

    /// Whether a task can go on.
    pub(crate) fn is_ready(&self) -> bool {
        self.tasks
            .iter()
            .any(|task| task.ready.0.load(Ordering::Relaxed))
    }

    /// Polls one of the ready tasks; its name. `None`: none can go on.
    pub(crate) fn poll_one(&mut self, rng: &mut ChaCha8Rng) -> Option<String> {
        self.let_in();
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|index| self.tasks[*index].ready.0.load(Ordering::Relaxed))
            .collect();
        if ready.is_empty() {
            return None;
        }
        let index = ready[rng.random_range(0..ready.len())];
        let task = &mut self.tasks[index];
        task.ready.0.store(false, Ordering::Relaxed);
        let name = task.name.clone();
        let waker = Waker::from(Arc::clone(&task.ready));
        let done = task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        if done {
            self.tasks.remove(index);
        }
        Some(name)
    }
}

/// Runs a future that waits for nothing but other tasks' turns.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    unreachable!("it waits for something")
}

/// Gives way once.
#[derive(Default)]
pub(crate) struct GiveWay(bool);

impl Future for GiveWay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
