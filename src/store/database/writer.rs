//! The thread that owns the writing connection. It commits before it answers, and several waiting jobs share one commit.
//!
//! Promise 9: interactive jobs go first, and a transaction holds at most one bulk job, so that a local writer never waits
//! for longer than one small transaction. While other programs write too, bulk jobs hold the lock a fifth of the time at most
//! ([`LockTurns`]). In a simulated run the caller runs the job.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::clock::Clock;
use crate::model::settings::Checkpoint;
use crate::model::time::Timestamp;
use crate::store::calls::{self, CallBook, CallingTask, TakenCalls};
use crate::store::database::lease::{Lease, Lock};
use crate::store::database::{access, checkpoints};
use crate::store::measured::JobTally;
use crate::store::shape::matching;
use crate::store::{Lane, Mode, OpenOptions, StoreError, measured};

/// Jobs that may wait in each queue; a caller beyond it waits for its turn. HubSpot calls a webhook ten times at once at
/// most, and no step of the daemon hands over more than one job.
const MAX_WAITING: usize = 256;

/// Interactive jobs that share a commit: enough that the flush is a small part of each, few enough for a short transaction.
const MAX_SHARING: usize = 64;

/// Statement texts that stay prepared: those of all tables and of a dozen objects.
const CACHED_STATEMENTS: usize = 256;

/// Bulk jobs leave the lock free for so many times as long as they held it: nobody tells who waits for it, and SQLite's own
/// wait looks every 25 ms to 100 ms in the end, so that it finds the lock free only where it is free most of the time.
const LEFT_FREE: u32 = 4;

/// No job, however long it held the lock, puts the next one off for longer.
const LONGEST_REST: Duration = Duration::from_millis(400);

/// For so long after another program's commit the next one is reckoned with.
const OTHERS: Duration = Duration::from_secs(10);

/// How long the last checkpoint waits for another program: what a reader has not read yet stays in the log.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The log is written back from so many frames on, often and in small parts: at SQLite's own 1,000 pages one commit in a hundred of a
/// busy inbox waited 10 ms for it, at 300 it is 5 ms (`docs/figures.md`).
const LOG_FRAMES: u32 = 300;

/// The log is cut to this when it begins anew: more than stands in it between two checkpoints, so that only one that a
/// reader had held up shrinks.
const LOG_BYTES: i64 = 4 * 1024 * 1024;

/// A transaction of the writing connection, with its time. All that a job decides by time, it decides by this one: what
/// was taken before the transaction had its turn may be older than what another transaction has written since.
#[derive(Debug)]
pub struct WriteTx<'conn> {
    tx: Transaction<'conn>,
    now: Timestamp,
}

impl WriteTx<'_> {
    /// This machine's time when the transaction got the write lock. Jobs that share a transaction share it.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

impl<'conn> Deref for WriteTx<'conn> {
    type Target = Transaction<'conn>;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

/// A job with its waiter, whatever its result's type.
trait QueuedJob: Send {
    /// Runs the job; what it returns is kept until it may be told.
    fn run(&mut self, tx: &WriteTx<'_>) -> Result<(), StoreError>;
    /// The task that handed it over.
    fn caller(&self) -> CallingTask;
    /// What it is part of.
    fn work(&self) -> &'static str;
    /// Tells the waiter the job's result, or what kept the commit from being made.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct WriterJob<T, J> {
    caller: CallingTask,
    of: &'static str,
    /// Taken when it runs.
    work: Option<J>,
    result: Option<Result<T, StoreError>>,
    waiter: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, J> QueuedJob for WriterJob<T, J>
where
    T: Send,
    J: FnOnce(&WriteTx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &WriteTx<'_>) -> Result<(), StoreError> {
        let job = self.work.take().expect("a job runs once");
        let result = self.result.insert(job(tx));
        result.as_ref().map(|_kept| ()).map_err(Clone::clone)
    }

    fn caller(&self) -> CallingTask {
        self.caller
    }

    fn work(&self) -> &'static str {
        self.of
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // The waiter may be gone: the job was carried out all the same.
        drop(self.waiter.send(answer));
    }
}

struct WaitingJobs {
    work: Box<dyn QueuedJob>,
    /// Frees the place in the queue when the job is taken out.
    _place: OwnedSemaphorePermit,
}

pub(crate) struct Writer {
    hands: WriterHands,
    patience: Arc<Patience>,
    clock: Arc<dyn Clock>,
}

/// How long another program's lock is waited for, and until when at the latest, by the steady clock.
#[derive(Debug)]
struct Patience {
    longest: Duration,
    ends_at: Mutex<Option<Duration>>,
}

impl Patience {
    /// How long a wait that begins now may last, where `longest` is no bound of its own.
    fn left(&self, longest: Duration, clock: &dyn Clock) -> Duration {
        let ends_at = *self.ends_at.lock().expect("no holder panics");
        ends_at.map_or(longest, |end| {
            longest.min(end.saturating_sub(clock.monotonic()))
        })
    }
}

enum WriterHands {
    Thread {
        shared: Arc<WriterShared>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    Inline(Mutex<Option<Box<FileOwner>>>),
}

/// The writing connection and what must hold for it to be used. The lock goes last.
struct FileOwner {
    connection: Connection,
    clock: Arc<dyn Clock>,
    patience: Arc<Patience>,
    lease: Lease,
    lock: Lock,
    turns: LockTurns,
    calls: CallBook,
    checkpoint: Checkpoint,
}

/// When bulk jobs leave the lock to other programs. A load without anybody beside it rests never: whose commits show nobody
/// else has nothing to leave free.
#[derive(Debug, Default)]
struct LockTurns {
    /// What `PRAGMA data_version` said last: another connection's commit moves it, this one's own do not.
    version: Option<i64>,
    /// When another program's commit was last seen, by the steady clock.
    others_at: Option<Duration>,
    /// Until then no bulk job begins, by the same clock.
    rests_until: Duration,
}

impl LockTurns {
    /// Learns at the beginning of a transaction whether others have written.
    fn saw(&mut self, version: i64, now: Duration) {
        let last = self.version.replace(version);
        if last.is_some_and(|last| last != version) {
            self.others_at = Some(now);
        }
    }

    /// Learns how long a transaction with a bulk job has held the lock.
    fn held(&mut self, since: Duration, now: Duration) {
        let others = self
            .others_at
            .is_some_and(|at| now.saturating_sub(at) < OTHERS);
        if others {
            let rest = now.saturating_sub(since) * LEFT_FREE;
            self.rests_until = now + rest.min(LONGEST_REST);
        }
    }

    /// How long bulk jobs are still to wait.
    fn rest(&self, now: Duration) -> Duration {
        self.rests_until.saturating_sub(now)
    }
}

struct WriterShared {
    queues: Mutex<Queues>,
    ring: Condvar,
    interactive: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

#[derive(Default)]
struct Queues {
    interactive: VecDeque<WaitingJobs>,
    bulk: VecDeque<WaitingJobs>,
    closed: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writer")
    }
}

impl Writer {
    pub(crate) fn start(
        options: &OpenOptions,
        connection: Connection,
        clock: Arc<dyn Clock>,
        (lease, lock): (Lease, Lock),
        calls: CallBook,
    ) -> Result<Self, StoreError> {
        let patience = Arc::new(Patience {
            longest: options.busy_timeout,
            ends_at: Mutex::default(),
        });
        let owner = FileOwner {
            connection,
            clock: Arc::clone(&clock),
            patience: Arc::clone(&patience),
            lease,
            lock,
            turns: LockTurns::default(),
            calls,
            checkpoint: options.checkpoint,
        };
        if options.mode == Mode::Inline {
            return Ok(Self {
                hands: WriterHands::Inline(Mutex::new(Some(Box::new(owner)))),
                patience,
                clock,
            });
        }
        let shared = Arc::new(WriterShared {
            queues: Mutex::new(Queues::default()),
            ring: Condvar::new(),
            interactive: Arc::new(Semaphore::new(MAX_WAITING)),
            bulk: Arc::new(Semaphore::new(MAX_WAITING)),
        });
        let path = owner.lease.path().to_path_buf();
        let at_work = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || work(&at_work, owner))
            .map_err(|error| StoreError::Open {
                path,
                cause: Arc::new(error),
            })?;
        Ok(Self {
            hands: WriterHands::Thread {
                shared,
                thread: Mutex::new(Some(thread)),
            },
            patience,
            clock,
        })
    }

    /// The steady clock's time.
    pub(crate) fn steady(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Waits for no other program's lock any more once the steady clock shows this time.
    pub(crate) fn wait_until(&self, end: Duration) {
        *self.patience.ends_at.lock().expect("no holder panics") = Some(end);
    }

    pub(crate) async fn write<T, J>(&self, lane: Lane, job: J) -> Result<T, StoreError>
    where
        T: Send + 'static,
        J: FnOnce(&WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (work, mut answer) = prepare(job);
        match &self.hands {
            WriterHands::Thread { shared, .. } => {
                shared.hand_over(lane, work).await?;
                answer.await.map_err(|_gone| StoreError::Closed)?
            }
            WriterHands::Inline(owner) => {
                let mut owner = owner.lock().expect("no holder panics");
                let owner = owner.as_mut().ok_or(StoreError::Closed)?;
                owner.carry_out(vec![work], lane);
                answer.try_recv().map_err(|_gone| StoreError::Closed)?
            }
        }
    }

    pub(crate) fn close(&self) {
        match &self.hands {
            WriterHands::Thread { shared, thread } => {
                shared.close();
                let joined = thread
                    .lock()
                    .expect("no holder panics")
                    .take()
                    .map(JoinHandle::join);
                debug_assert!(
                    !matches!(joined, Some(Err(_))),
                    "the writer's thread panicked"
                );
            }
            WriterHands::Inline(owner) => {
                if let Some(owner) = owner.lock().expect("no holder panics").take() {
                    owner.end();
                }
            }
        }
    }
}

impl Drop for Writer {
    /// The last handle may go with its task: the process must not end before the log is in the file.
    fn drop(&mut self) {
        if let WriterHands::Thread { shared, thread } = &mut self.hands {
            shared.close();
            let thread = thread.get_mut().ok().and_then(Option::take);
            // A job that held the last handle is dropped by the thread itself, which then ends.
            if let Some(thread) = thread
                && thread.thread().id() != thread::current().id()
            {
                drop(thread.join());
            }
        }
    }
}

fn prepare<T, J>(job: J) -> (Box<dyn QueuedJob>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    J: FnOnce(&WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
{
    let (waiter, answer) = oneshot::channel();
    (
        Box::new(WriterJob {
            caller: calls::caller(),
            of: measured::work(),
            work: Some(job),
            result: None,
            waiter,
        }),
        answer,
    )
}

impl WriterShared {
    async fn hand_over(&self, lane: Lane, work: Box<dyn QueuedJob>) -> Result<(), StoreError> {
        let places = match lane {
            Lane::Interactive => &self.interactive,
            Lane::Bulk => &self.bulk,
        };
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .map_err(|_closed| StoreError::Closed)?;
        let mut queues = self.queues.lock().expect("no holder panics");
        if queues.closed {
            return Err(StoreError::Closed);
        }
        let waiting = WaitingJobs {
            work,
            _place: place,
        };
        match lane {
            Lane::Interactive => queues.interactive.push_back(waiting),
            Lane::Bulk => queues.bulk.push_back(waiting),
        }
        self.ring.notify_one();
        Ok(())
    }

    fn close(&self) {
        self.queues.lock().expect("no holder panics").closed = true;
        self.interactive.close();
        self.bulk.close();
        self.ring.notify_one();
    }

    /// The jobs of the next transaction, with the lane of the last of them; `None` once the store is closed and nothing waits.
    /// For `rest` no bulk job is taken, unless the store is closed.
    fn next(&self, rest: Duration) -> Option<(Vec<Box<dyn QueuedJob>>, Lane)> {
        let mut queues = self.queues.lock().expect("no holder panics");
        let mut may_be_bulk = rest.is_zero();
        if !may_be_bulk {
            let resting = |queues: &mut Queues| !queues.closed && queues.interactive.is_empty();
            let (woken, waited) = self
                .ring
                .wait_timeout_while(queues, rest, resting)
                .expect("no holder panics");
            queues = woken;
            may_be_bulk = waited.timed_out() || queues.closed;
        }
        let idle = |queues: &mut Queues| {
            !queues.closed && queues.interactive.is_empty() && queues.bulk.is_empty()
        };
        let mut queues = self
            .ring
            .wait_while(queues, idle)
            .expect("no holder panics");
        let sharing = queues.interactive.len().min(MAX_SHARING);
        let mut jobs: Vec<Box<dyn QueuedJob>> = queues
            .interactive
            .drain(..sharing)
            .map(|waiting| waiting.work)
            .collect();
        let bulk = may_be_bulk.then(|| queues.bulk.pop_front()).flatten();
        let lane = match bulk {
            Some(_) => Lane::Bulk,
            None => Lane::Interactive,
        };
        jobs.extend(bulk.map(|waiting| waiting.work));
        (!jobs.is_empty()).then_some((jobs, lane))
    }
}

fn work(shared: &WriterShared, mut owner: FileOwner) {
    while let Some((jobs, lane)) = shared.next(owner.rest()) {
        owner.carry_out(jobs, lane);
    }
    owner.end();
}

impl FileOwner {
    /// Runs jobs in one transaction and answers each after the commit.
    fn carry_out(&mut self, mut jobs: Vec<Box<dyn QueuedJob>>, lane: Lane) {
        let committed = self.commit(&mut jobs, lane);
        let committed = committed.map_err(|error| access::explain(self.lease.path(), error));
        let is_whole = committed.is_ok();
        for job in jobs {
            job.answer(committed.clone());
        }
        if is_whole && self.checkpoint == Checkpoint::Own && self.lease.log_frames() >= LOG_FRAMES {
            self.write_back();
        }
    }

    /// Writes back of the log what no reader needs there, after the look at the files that follows each commit: a log with holes in it
    /// would put them into the database. What fails is tried again after the next commit, and a disk that is full says so then.
    fn write_back(&mut self) {
        let begun = self.clock.monotonic();
        let written = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
            .and_then(|mut statement| statement.query_row([], |_row| Ok(())));
        let took = self.clock.monotonic().saturating_sub(begun);
        match written {
            Ok(()) => self.calls.measured().checkpointed(took),
            Err(error) => tracing::debug!(%error, "the log could not be written back yet"),
        }
    }

    /// How long bulk jobs leave the lock to others from now on.
    fn rest(&self) -> Duration {
        self.turns.rest(self.clock.monotonic())
    }

    fn commit(&mut self, jobs: &mut [Box<dyn QueuedJob>], lane: Lane) -> Result<(), StoreError> {
        self.lease.check_file()?;
        let patience = self.patience.left(self.patience.longest, &*self.clock);
        self.connection.busy_timeout(patience)?;
        let tx = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        // Only now is the lock ours: another program may have held it for as long as the busy timeout.
        let (now, since) = (self.clock.now(), self.clock.monotonic());
        let tx = WriteTx { tx, now };
        self.turns.saw(data_version(&tx)?, since);
        self.lease.check_epoch(&tx)?;
        let (mut written, mut parts) = (Vec::new(), Vec::with_capacity(jobs.len()));
        let mut counted = Vec::with_capacity(jobs.len());
        for job in jobs {
            let begun = self.clock.monotonic();
            let mut calls = self.calls.take(job.caller());
            if calls.is_empty() {
                counted.extend(run_alone(&tx, job.as_mut())?);
            } else {
                calls.begin(&tx)?;
                counted.extend(run_alone(&tx, job.as_mut())?);
                calls.end(&tx)?;
                written.push(calls);
            }
            let took = self.clock.monotonic().saturating_sub(begun);
            parts.push((job.work(), took));
        }
        // Nothing more is written into a log with holes.
        self.lease.check_file()?;
        let begun = self.clock.monotonic();
        tx.tx.commit()?;
        let ended = self.clock.monotonic();
        let (commit, held) = (ended.saturating_sub(begun), ended.saturating_sub(since));
        self.calls.measured().committed(commit, held, &parts);
        self.calls.measured().counted(counted);
        if lane == Lane::Bulk {
            self.turns.held(since, ended);
        }
        written.into_iter().for_each(TakenCalls::are_written);
        self.lease.check_file()
    }

    /// Closes the file with everything in it: what stands in the log is written back and the log cut to nothing, also where
    /// another program has the file open and the log stays. A log that was only removed is the one place of what it holds,
    /// and is saved so; beside another one it must not touch the file, nor where it was cut, nor where writing it back is
    /// another program's business.
    fn end(mut self) {
        if self.lease.log_was_cut()
            && let Err(error) = self.lock.unsign()
        {
            tracing::warn!(%error, "the lock file could not be emptied; the next start takes the database for what was left");
        }
        let is_ours = self.checkpoint == Checkpoint::Own;
        let ended = if is_ours && self.lease.log_may_be_written_back() {
            let wait = self.patience.left(LAST_WAIT, &*self.clock);
            let wait = self.connection.busy_timeout(wait);
            let emptied = wait.and_then(|()| {
                self.connection
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            });
            emptied.map(|is_busy: bool| {
                if is_busy {
                    tracing::info!(
                        hint = "copy `-wal` and `-shm` with the database, or end that program's transaction before",
                        "the log beside the database could not be emptied: another program has a transaction open; nothing is lost"
                    );
                }
            })
        } else {
            let setting = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            self.connection.set_db_config(setting, true).map(drop)
        };
        let closed = self
            .connection
            .close()
            .map_err(|(_still_open, error)| error);
        if let Err(error) = ended.and(closed) {
            tracing::warn!(%error, "the log could not be written back; the next start does it");
        }
    }
}

/// Moves with each commit of another connection.
fn data_version(tx: &WriteTx<'_>) -> Result<i64, StoreError> {
    let mut statement = tx.prepare_cached("PRAGMA data_version")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Runs a job in a savepoint of its own: one that fails takes nothing of its neighbours with it. It fails as a whole where
/// SQLite itself gave up the transaction (a full disk). Gives what the job counted, of one that did not fail.
fn run_alone(tx: &WriteTx<'_>, job: &mut dyn QueuedJob) -> Result<Option<JobTally>, StoreError> {
    tx.prepare_cached("SAVEPOINT job")?.execute([])?;
    let ran = job.run(tx);
    let counted = measured::take_tally();
    match ran {
        Ok(()) => {
            tx.prepare_cached("RELEASE job")?.execute([])?;
            return Ok(Some(counted));
        }
        Err(error) if tx.is_autocommit() => return Err(error),
        Err(_told_to_its_waiter) => tx.execute_batch("ROLLBACK TO job; RELEASE job")?,
    }
    Ok(None)
}

/// Opens the writing connection: its own writes fire no trigger.
pub(crate) fn connect(options: &OpenOptions) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&options.path, flags)?;
    harden(&connection, options.busy_timeout)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::NoLog { mode });
    }
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    match options.checkpoint {
        // The writer itself does it, once it has answered (`FileOwner::write_back`).
        Checkpoint::Own => connection.pragma_update(None, "wal_autocheckpoint", 0)?,
        Checkpoint::Outside => checkpoints::leave(&connection)?,
    }
    // What a row held before must not stay in the file when its person's data is erased later (`store/erase.rs`).
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    Ok(connection)
}

/// What holds for every connection of the daemon: whoever may write to the file must not run SQL with its rights.
pub(crate) fn harden(connection: &Connection, busy_timeout: Duration) -> Result<(), StoreError> {
    connection.busy_timeout(busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    // Else a statement whose plan could use a partial index for one value of a parameter is prepared anew for each value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    matching::register(connection)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn bulk_jobs_leave_the_lock_free_four_times_as_long_as_they_held_it_while_others_write() {
        let mut turns = LockTurns::default();
        let mut check = |version, since, now, rest| {
            turns.saw(version, ms(since));
            turns.held(ms(since), ms(now));
            assert_eq!(turns.rest(ms(now)), ms(rest), "at {now} ms");
        };
        // Nobody else.
        check(1, 0, 5, 0);
        check(1, 5, 12, 0);
        // A program commits, and may commit again.
        check(2, 20, 25, 20);
        check(2, 45, 55, 40);
        check(2, 100, 2_000, 400);
        check(2, 10_014, 10_019, 20);
        check(2, 10_040, 10_045, 0);
        assert_eq!(turns.rest(ms(20_000)), Duration::ZERO);
    }
}
