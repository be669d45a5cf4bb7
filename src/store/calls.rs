//! `sync_calls`, a ring of all attempts of requests, and `sync_requests`, their number by the hour.
//!
//! What was sent waits in a `CallBook` for the next transaction of the task that sent it, which takes it along; where none comes
//! within a second, one is made for it (`Store::write_calls`). The transaction that works for a run signs the calls with it.

pub mod ring;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Transaction, named_params};

use crate::model::attempt::CallMade;
use crate::store::StoreError;
use crate::store::measured::Measured;
use crate::store::quota::{self, Requests};

/// Calls that may wait for a transaction: some minutes of the busiest portal, while the database is locked. The oldest go first.
const MOST_WAITING: usize = 5_000;

/// Calls of one step that may wait for the run that they belong to.
const MOST_UNSIGNED: usize = 64;

/// Classes of calls that belong to a run; the portal's schema, tokens and an app's webhooks are read and written outside of all.
const OF_RUNS: [&str; 8] = [
    "list",
    "search",
    "read",
    "create",
    "update",
    "upsert",
    "archive",
    "associations",
];

/// Whose call it is: the task that sent it, `None` outside of all.
pub(crate) type CallingTask = Option<tokio::task::Id>;

/// The task that asks.
pub(crate) fn caller() -> CallingTask {
    tokio::task::try_id()
}

/// What was sent and is in no row yet; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallBook {
    inner: Arc<Mutex<UnwrittenCalls>>,
    measured: Measured,
}

#[derive(Debug, Default)]
struct UnwrittenCalls {
    calls: VecDeque<(CallingTask, CallMade)>,
    /// Rows that belong to no run yet: of the step before, and of this one.
    unsigned: HashMap<CallingTask, [Vec<i64>; 2]>,
    /// What HubSpot called the last request that it answered, of each task.
    answered: HashMap<CallingTask, String>,
}

impl CallBook {
    /// Keeps a call of this task.
    pub(crate) fn note(&self, call: CallMade) {
        self.measured.asked(&call);
        let mut waiting = self.inner.lock();
        if waiting.calls.len() >= MOST_WAITING {
            waiting.calls.pop_front();
        }
        let own = caller();
        match &call.correlation_id {
            Some(id) => drop(waiting.answered.insert(own, id.clone())),
            None => drop(waiting.answered.remove(&own)),
        }
        waiting.calls.push_back((own, call));
    }

    /// What was counted and measured since the start.
    pub(crate) fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Tells how many records this task's last call has brought, unless it knows how many it asked for.
    pub(crate) fn found(&self, records: u64) {
        let own = caller();
        let mut waiting = self.inner.lock();
        let last = waiting.calls.iter_mut().rev().find(|(of, _)| *of == own);
        if let Some((_, call)) = last {
            call.records.get_or_insert(records);
        }
    }

    /// What HubSpot called this task's last request; `None` where it has not answered it, or not said.
    pub(crate) fn last_correlation_id(&self) -> Option<String> {
        self.inner.lock().answered.get(&caller()).cloned()
    }

    /// What this task sent before its last step belongs to no run of what it begins; what it has read ahead in that may.
    pub(crate) fn begins_step(&self) {
        if let Some(steps) = self.inner.lock().unsigned.get_mut(&caller()) {
            steps.rotate_left(1);
            steps[1].clear();
        }
    }

    /// How many calls wait.
    pub(crate) fn len(&self) -> u64 {
        self.inner.lock().calls.len() as u64
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what a task has sent.
    pub(crate) fn take(&self, of: CallingTask) -> TakenCalls {
        let mut waiting = self.inner.lock();
        let is_own = |(caller, _): &(CallingTask, CallMade)| *caller == of;
        let mut calls = VecDeque::new();
        if waiting.calls.iter().any(is_own) {
            (calls, waiting.calls) = waiting.calls.drain(..).partition(is_own);
        }
        let unsigned = waiting.unsigned.remove(&of).unwrap_or_default().concat();
        TakenCalls {
            book: self.clone(),
            of,
            calls,
            unsigned,
        }
    }

    /// Whose call has waited for longest.
    fn longest_waiting(&self) -> Option<CallingTask> {
        self.inner.lock().calls.front().map(|(caller, _)| *caller)
    }

    /// Writes what all have sent.
    pub(crate) fn write_all(&self, tx: &Transaction<'_>) -> Result<Vec<TakenCalls>, StoreError> {
        let mut written = Vec::new();
        while let Some(caller) = self.longest_waiting() {
            let mut calls = self.take(caller);
            calls.begin(tx)?;
            calls.end(tx)?;
            written.push(calls);
        }
        Ok(written)
    }
}

/// Calls on their way into rows. They go back where that fails.
#[derive(Debug)]
pub(crate) struct TakenCalls {
    book: CallBook,
    of: CallingTask,
    calls: VecDeque<(CallingTask, CallMade)>,
    /// Rows that belong to no run yet.
    unsigned: Vec<i64>,
}

impl TakenCalls {
    /// Whether there is nothing to write, and nothing to sign.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.unsigned.is_empty()
    }

    /// Writes the rows, for the run that this transaction works for to sign.
    pub(crate) fn begin(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        for id in &self.unsigned {
            tx.prepare_cached("UPDATE sync_calls SET run_id = -1 WHERE id = :id")?
                .execute(named_params! { ":id": id })?;
        }
        for (_, call) in &self.calls {
            insert(tx, call)?;
        }
        Ok(())
    }

    /// Says of the rows that nobody has signed that they belong to no run so far.
    pub(crate) fn end(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let mut left = tx
            .prepare_cached("UPDATE sync_calls SET run_id = NULL WHERE run_id = -1 RETURNING id")?;
        let left = left.query_map([], |row| row.get(0))?;
        self.unsigned = left.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// They are on disk: nothing goes back. A later transaction of the step may sign the rest.
    pub(crate) fn are_written(mut self) {
        self.calls.clear();
    }
}

impl Drop for TakenCalls {
    fn drop(&mut self) {
        if self.is_empty() {
            return;
        }
        let mut waiting = self.book.inner.lock();
        for call in self.calls.drain(..).rev() {
            waiting.calls.push_front(call);
        }
        let most = self.unsigned.len().saturating_sub(MOST_UNSIGNED);
        let unsigned = self.unsigned.split_off(most);
        if !unsigned.is_empty() {
            waiting.unsigned.insert(self.of, [Vec::new(), unsigned]);
        }
    }
}

/// A row, counted by its hour as well.
pub(crate) fn insert(tx: &Transaction<'_>, call: &CallMade) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_calls (at, method, path, class, status, ms, attempt, records, code, correlation_id, burst_left, day_left, run_id)
         VALUES (:at, :method, :path, :class, :status, :ms, :attempt, :records, :code, :correlation_id, :burst_left, :day_left, :run)",
    )?
    .execute(named_params! {
        ":at": call.at.to_string(),
        ":method": call.method,
        ":path": call.path,
        ":class": call.class,
        ":status": call.status,
        ":ms": call.ms as i64,
        ":attempt": call.attempt,
        ":records": call.records.map(|records| records as i64),
        ":code": call.code,
        ":correlation_id": call.correlation_id,
        ":burst_left": call.burst_left,
        ":day_left": call.day_left.map(|left| left as i64),
        ":run": OF_RUNS.contains(&call.class).then_some(-1),
    })?;
    let counted = Requests {
        requests: 1,
        errors: u64::from(call.code.is_some()),
        throttled: u64::from(call.is_throttled()),
    };
    quota::count(tx, call.class, counted, call.at)
}

/// Says which run the calls belong to that this transaction has taken along.
pub(crate) fn sign(tx: &Transaction<'_>, run: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_calls SET run_id = :run WHERE run_id = -1")?
        .execute(named_params! { ":run": run })?;
    Ok(())
}
