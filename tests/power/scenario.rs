//! A day of the store in small: a backfill, programs that write, polls, pushes, conflicts, deletions, checkpoints. Each step
//! is one transaction, through the functions that the daemon itself uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hubsyncd::clock::Clock;
use hubsyncd::decide::cursor::SearchWindow;
use hubsyncd::decide::incoming::freshness::Evidence;
use hubsyncd::engine::inbound::apply::apply_page;
use hubsyncd::engine::inbound::applying::Applying;
use hubsyncd::engine::pass::Pass;
use hubsyncd::engine::portal::objects::ObjectSync;
use hubsyncd::model::id::{HubspotId, LocalId};
use hubsyncd::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Mapping, Modes, ObjectMapping, Policy,
};
use hubsyncd::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use hubsyncd::model::record::RemoteRecord;
use hubsyncd::model::settings::Checkpoint;
use hubsyncd::model::synced::SyncedObject;
use hubsyncd::model::time::Timestamp;
use hubsyncd::model::value::{PropertyType, Value};
use hubsyncd::store::history::{self, Change, Origin};
use hubsyncd::store::outbox::Attempt;
use hubsyncd::store::ranges::{self, ListWalk};
use hubsyncd::store::shape::ddl;
use hubsyncd::store::{Lane, Mode, OpenOptions, Store, StoreError, cursors, outbox};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::vfs;

/// Pages of HubSpot's list, and records on each: small, so that the disk is compared often.
const PAGES: i64 = 4;
const PAGE: i64 = 25;

/// Frames in the WAL before it is copied into the database: few, so that it happens often.
const CHECKPOINT_FRAMES: i64 = 60;

/// How the transactions of the daemon are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// By the store, as it is.
    Store,
    /// By a connection at `synchronous=NORMAL`: what the store must not be.
    Normal,
}

/// What was recorded.
pub(crate) struct Recorded {
    pub(crate) operations: Vec<vfs::Operation>,
    pub(crate) transactions: Vec<Done>,
}

/// A transaction that was acknowledged.
pub(crate) struct Done {
    pub(crate) what: String,
    /// Operations that were recorded when it began, and when it was acknowledged.
    pub(crate) began: usize,
    pub(crate) acknowledged: usize,
    /// The whole content of the file after it.
    pub(crate) content: u64,
}

/// 2026-11-24T03:10:00Z, always.
#[derive(Debug)]
pub(crate) struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        now()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(now().millis() + second * 1000)
}

type Job = Box<dyn FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send>;

/// Who makes the daemon's transactions.
enum Daemon {
    Store(Store),
    Connection(Connection),
}

impl Daemon {
    fn write(&mut self, job: Job) {
        match self {
            Self::Store(store) => {
                at_once(store.write(Lane::Interactive, move |tx| job(tx))).expect("commits");
            }
            Self::Connection(connection) => {
                let tx = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .expect("begins");
                job(&tx).expect("does its work");
                tx.commit().expect("commits");
            }
        }
    }
}

/// Runs a future that never waits.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

pub(crate) fn open(path: &Path) -> Result<Store, StoreError> {
    let options = OpenOptions {
        path: path.to_path_buf(),
        mode: Mode::Inline,
        busy_timeout: Duration::from_secs(5),
        checkpoint: Checkpoint::Own,
    };
    Store::open(&options, Arc::new(Standing))
}

/// Opens the store and makes the file fit the mapping, as a start does.
pub(crate) fn start(path: &Path) -> Result<Store, StoreError> {
    let store = open(path)?;
    at_once(store.write(Lane::Interactive, |tx| {
        ddl::fit_to_mapping(tx, &mapping(), now()).map(drop)
    }))?;
    Ok(store)
}

struct Scene {
    path: PathBuf,
    daemon: Daemon,
    program: Connection,
    /// Reads the content after each transaction; writes nothing.
    reader: Connection,
    object: Arc<ObjectSync>,
    rng: ChaCha8Rng,
    done: Vec<Done>,
}

/// Runs the scenario in an empty folder and records it.
pub(crate) fn run(folder: &Path, seed: u64, durability: Durability) -> Recorded {
    vfs::record(folder);
    let path = folder.join("crm.db");
    let store = start(&path).expect("starts");
    let mut scene = Scene::new(path, store, seed, durability);
    scene.note("start", 0);
    scene.act();
    scene.stop();
    let transactions = std::mem::take(&mut scene.done);
    drop(scene);
    Recorded {
        operations: vfs::take(),
        transactions,
    }
}

impl Scene {
    fn new(path: PathBuf, store: Store, seed: u64, durability: Durability) -> Self {
        let program = Connection::open(&path).expect("opens");
        let reader = Connection::open(&path).expect("opens");
        let daemon = match durability {
            Durability::Store => Daemon::Store(store),
            Durability::Normal => {
                store.close();
                program
                    .pragma_update(None, "synchronous", "NORMAL")
                    .expect("is set");
                Daemon::Connection(less_than_the_store(&path))
            }
        };
        let object = Arc::new(ObjectSync::new(SyncedObject {
            unique: vec![property_name("email")],
            ..SyncedObject::of(contacts())
        }));
        Self {
            path,
            daemon,
            program,
            reader,
            object,
            rng: ChaCha8Rng::seed_from_u64(seed),
            done: Vec::new(),
        }
    }

    fn act(&mut self) {
        self.daemon("little room in the WAL", |tx, _| {
            tx.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_FRAMES)?;
            Ok(())
        });
        self.backfill();
        for round in 0..12 {
            self.programs();
            self.poll(round);
            self.push(round);
        }
    }

    /// A clean stop: the last connection copies the WAL over and takes it away.
    fn stop(&mut self) {
        let nothing = Connection::open_in_memory().expect("opens");
        let daemon = std::mem::replace(&mut self.daemon, Daemon::Connection(nothing));
        let aside = |connection: &mut Connection| {
            let nothing = Connection::open_in_memory().expect("opens");
            std::mem::replace(connection, nothing)
                .close()
                .expect("closes");
        };
        aside(&mut self.reader);
        aside(&mut self.program);
        match daemon {
            Daemon::Store(store) => store.close(),
            Daemon::Connection(connection) => connection.close().expect("closes"),
        }
        assert!(!self.path.with_file_name("crm.db-wal").exists());
    }

    fn note(&mut self, what: &str, began: usize) {
        let acknowledged = vfs::position();
        self.done.push(Done {
            what: what.to_owned(),
            began,
            acknowledged,
            content: crate::replay::content(&self.reader).expect("reads"),
        });
    }

    fn daemon<J>(&mut self, what: &str, job: J)
    where
        J: FnOnce(&Transaction<'_>, &ObjectSync) -> Result<(), StoreError> + Send + 'static,
    {
        let (began, object) = (vfs::position(), Arc::clone(&self.object));
        self.daemon.write(Box::new(move |tx| job(tx, &object)));
        self.note(what, began);
    }

    fn program(&mut self, sql: &str) {
        let began = vfs::position();
        self.program.execute_batch(sql).expect(sql);
        self.note(sql, began);
    }

    /// Pages with their cursor.
    fn backfill(&mut self) {
        self.daemon("backfill begins", |tx, object| {
            cursors::begin_backfill(tx, object.object(), now())
        });
        for page in 0..PAGES {
            let records: Vec<RemoteRecord> = (0..PAGE)
                .map(|index| record(page * PAGE + index + 1, 0))
                .collect();
            let last = page == PAGES - 1;
            self.daemon("a page and its cursor", move |tx, object| {
                apply_page(tx, &applying(object, Origin::Reconcile, false), &records)?;
                let (name, walk) = (object.object(), ListWalk::Backfill);
                cursors::count_backfill(tx, name, records.len(), now())?;
                let range = ranges::of(tx, name, walk)?.remove(0);
                if last {
                    return cursors::end_backfill(tx, name, now());
                }
                let read_to = HubspotId((page + 1) * PAGE);
                let after = read_to.to_string();
                ranges::advance(tx, name, walk, &range, (&after, read_to)).map(drop)
            });
        }
    }

    /// What local programs do.
    fn programs(&mut self) {
        let id = self.rng.random_range(1..=PAGES * PAGE);
        let other = self.rng.random_range(1..=PAGES * PAGE);
        self.program(&format!(
            "UPDATE contacts SET first_name = 'local {id}', revenue = {id}.5 WHERE local_id = {id}"
        ));
        self.program(&format!(
            "INSERT INTO contacts (email, first_name) VALUES ('new{id}@example.com', 'New')"
        ));
        self.program(&format!(
            "BEGIN; UPDATE contacts SET note = note || ' more' WHERE local_id % 10 = {};
             DELETE FROM contacts WHERE local_id = {other}; COMMIT",
            other % 10
        ));
        self.program(&format!(
            "REPLACE INTO contacts (hs_id, email) VALUES ({}, 'replaced{id}@example.com') ",
            1000 + self.linked(id)
        ));
    }

    /// A record that has a row.
    fn linked(&self, near: i64) -> i64 {
        let sql = "SELECT hs_id - 1000 FROM contacts WHERE hs_id IS NOT NULL ORDER BY abs(hs_id - 1000 - ?1) LIMIT 1";
        self.reader
            .query_row(sql, [near], |row| row.get(0))
            .expect("a row")
    }

    /// A page of a poll and its window; where a program wrote the same field, a conflict with it.
    fn poll(&mut self, round: i64) {
        let first = self.rng.random_range(1..=PAGES * PAGE - 8);
        let records: Vec<RemoteRecord> =
            (first..first + 8).map(|id| record(id, round + 1)).collect();
        let window = SearchWindow {
            from: at(round * 10),
            to: at(round * 10 + 10),
            last_id: records.last().map(|record| record.id),
        };
        let to = window.to;
        self.daemon("a page and its window", move |tx, object| {
            apply_page(tx, &applying(object, Origin::Poll, true), &records)?;
            cursors::save_window(tx, object.object(), &window)
        });
        self.daemon("the window's end", move |tx, object| {
            cursors::end_window(tx, object.object(), to, now())
        });
    }

    /// Takes the oldest entries, and settles them: HubSpot's values become the base, the history says so, the entry goes.
    fn push(&mut self, round: i64) {
        let sql = "SELECT id FROM sync_outbox WHERE state = 'pending' ORDER BY id LIMIT 4";
        let mut statement = self.reader.prepare(sql).expect("is SQL");
        let ids = statement.query_map([], |row| row.get(0)).expect("runs");
        let ids: Vec<i64> = ids.collect::<Result<_, _>>().expect("reads");
        drop(statement);
        let claimed = ids.clone();
        self.daemon("entries in flight", move |tx, object| {
            for id in claimed {
                claim(tx, object, id)?;
            }
            Ok(())
        });
        self.daemon("entries settled", move |tx, object| {
            for id in ids {
                settle(tx, object, id, round)?;
            }
            Ok(())
        });
    }
}

/// The writing connection as the store opens it, but for the one setting.
fn less_than_the_store(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opens");
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .expect("is set");
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("turns triggers off");
    hubsyncd::store::shape::matching::register(&connection).expect("knows the rule of matching");
    connection
}

fn claim(tx: &Transaction<'_>, object: &ObjectSync, id: i64) -> Result<(), StoreError> {
    let id = hubsyncd::model::id::OutboxId(id);
    let Some(queued) = outbox::by_id(tx, id)? else {
        return Ok(());
    };
    let row = object.table.by_local_id(tx, queued.local_id)?;
    let attempt = match queued.standing.hs_id {
        Some(_) => Attempt::Update { over: now() },
        None => Attempt::Create { is_keyless: false },
    };
    outbox::claim(tx, &queued, attempt, now())?;
    for field in &queued.fields {
        let sent = row
            .as_ref()
            .map_or(Value::EMPTY, |row| row.value(&field.property).clone());
        outbox::set_sent(tx, id, &field.property, &sent)?;
    }
    Ok(())
}

fn settle(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    id: i64,
    round: i64,
) -> Result<(), StoreError> {
    let id = hubsyncd::model::id::OutboxId(id);
    let Some(queued) = outbox::by_id(tx, id)? else {
        return Ok(());
    };
    let local_id: LocalId = queued.local_id;
    if let Some(mut row) = object.table.by_local_id(tx, local_id)? {
        let hs_id = row.record.hs_id.unwrap_or(HubspotId(50_000 + local_id.0));
        let mut answer = record(hs_id.0 - 1000, round);
        answer.id = hs_id;
        for field in &queued.fields {
            let change = Change {
                object: object.object(),
                local_id,
                hs_id: Some(hs_id),
                property: field.property.as_str(),
                old: None,
                new: row.value(&field.property).as_deref(),
                origin: Origin::Push,
            };
            history::record(tx, change, now())?;
        }
        row.link(&answer);
        object.table.update(tx, &row)?;
    }
    outbox::end(tx, id)
}

fn applying(object: &ObjectSync, origin: Origin, with_history: bool) -> Applying<'_> {
    Applying {
        pass: Pass {
            object,
            origin,
            now: now(),
            offset_ms: 0,
        },
        evidence: Evidence::Store,
        asked_at: now(),
        with_history,
        later: &[],
    }
}

fn record(number: i64, version: i64) -> RemoteRecord {
    let texts = [
        ("email", format!("p{number}@example.com")),
        ("firstname", format!("remote {number} {version}")),
        ("annualrevenue", (number * 10 + version).to_string()),
        (
            "note",
            "a longer text that fills pages ".repeat(6 + version as usize % 3),
        ),
    ];
    let values =
        texts.map(|(property, text)| (property_name(property), Value::from_canonical(text)));
    RemoteRecord {
        id: HubspotId(1000 + number),
        values: values.into_iter().collect(),
        invalid: BTreeMap::new(),
        pipeline: None,
        created_at: now(),
        updated_at: at(version),
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
    }
}

fn property_name(name: &str) -> PropertyName {
    PropertyName::parse(name).expect(name)
}

fn field(property: &str, column: &str, property_type: PropertyType) -> FieldMapping {
    FieldMapping {
        property: property_name(property),
        column: ColumnName::parse(column).expect(column),
        declared_type: None,
        property_type,
        direction: Direction::Both,
        policy: Policy::Remote,
        modes: FieldModes::default(),
    }
}

fn contacts() -> ObjectMapping {
    ObjectMapping {
        object: ObjectType::parse("contacts").expect("a name"),
        address: None,
        table: TableName::parse("contacts").expect("a name"),
        direction: Direction::Both,
        key: KeyChoice::Auto,
        match_property: Some(property_name("email")),
        modes: Modes::default(),
        policy: Policy::Remote,
        poll: Duration::from_secs(5),
        fields: vec![
            field("email", "email", PropertyType::String),
            field("firstname", "first_name", PropertyType::String),
            field("annualrevenue", "revenue", PropertyType::Number),
            field("note", "note", PropertyType::String),
        ],
    }
}

fn mapping() -> Mapping {
    Mapping {
        pairs: Vec::new(),
        objects: vec![contacts()],
    }
}
