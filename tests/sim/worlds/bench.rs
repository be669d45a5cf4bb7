//! Where small worlds are run: a database and a portal that were filled once, and are put back as they were after each
//! world. The file stays open and its statements prepared: to open and fill one takes as long as a hundred worlds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hubsyncd::clock::Clock;
use hubsyncd::decide::round::Task;
use hubsyncd::model::association::PairMapping;
use hubsyncd::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Mapping, Modes, NewRecords, ObjectMapping,
    OnLocalDelete, OnRemoteDelete, Policy, Sees, WriteMode,
};
use hubsyncd::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use hubsyncd::model::settings::{Checkpoint, Guard};
use hubsyncd::model::value::PropertyType;
use hubsyncd::simulator::portal::{LinkType, Portal};
use hubsyncd::simulator::settings::Settings;
use hubsyncd::simulator::webhooks::Webhooks;
use hubsyncd::store::{Mode as StoreMode, OpenOptions, Store};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use crate::daemon::{Begun, Daemon};
use crate::executor::Executor;
use crate::local::Programs;
use crate::plan::Plan;
use crate::run::folder;
use crate::trace::Trace;
use crate::world::{Network, START_MS, VirtualClock, World};
use crate::worlds::alphabet::{Mode, Setup};
use crate::worlds::clearings::fillers;

pub(super) const SECOND: u64 = 1_000_000_000;
/// Between two polls.
pub(super) const POLL: Duration = Duration::from_secs(10);
/// One way over the network.
pub(super) const WAY_MS: u64 = 10;
/// How long the search index is behind.
const INDEX_MS: u64 = 1_000;
/// How far a window reaches back: beyond what the index is behind, and by less than passes between two polls, so that what one
/// window leaves out the next one does not make up for.
const OVERLAP: Duration = Duration::from_secs(2);
/// A request lands at the latest so long after its answer was lost (`api-facts.md#4`).
const LATEST_MS: u64 = 55_000;
/// The value with which the hot field begins.
pub(super) const FIRST: &str = "first";
/// Options of a field that holds some: that with which it begins, and those that are added.
pub(super) const OPTIONS: [&str; 5] = [
    "webinars",
    "newsletter",
    "events",
    "beta_programme",
    "case_studies",
];

/// The fields that are watched: the hot one first.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
pub(super) fn fields(setup: Setup) -> [&'static str; 2] {
    match setup.mode {
        Mode::Append => ["interests", "lastname"],
        _ => ["firstname", "lastname"],
    }
}

/// With what the hot field begins.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
pub(super) fn first(setup: Setup) -> &'static str {
    match setup.mode {
        Mode::Append => OPTIONS[0],
        Mode::Fills | Mode::New => "",
        _ => FIRST,
    }
}

/// With what the other field begins.
pub(super) fn second(setup: Setup) -> &'static str {
    match setup.mode == Mode::New {
        true => "",
        false => FIRST,
    }
}

/// The person of the hot record.
pub(crate) const PERSON: &str = "hot@example.com";
/// How many other people there are where nothing may be emptied: a column of fewer than a hundred values has no bound.
pub(super) const FILLERS: usize = 100;
/// What a company can be labelled as.
pub(super) const LABEL: &str = "Signer";
/// The record of whoever has none.
pub(super) const NOBODY: u64 = 0;
/// How few requests HubSpot allows in ten seconds where it allows few: a change takes four.
const FEW: u32 = 5;
/// For how long it asks whoever it refuses there to stay away, seconds.
const AN_HOUR_S: u64 = 3_600;
/// What a program's trigger does to its own values: as a change and as a new row.
const TRIGGER: &str = "
    CREATE TRIGGER app_changes AFTER UPDATE OF c_firstname ON contacts
    WHEN new.c_firstname GLOB 'l[0-9]*' AND new.c_firstname NOT GLOB '*t' AND new.c_firstname IS NOT old.c_firstname
    BEGIN UPDATE contacts SET c_firstname = new.c_firstname || 't' WHERE local_id = new.local_id; END;
    CREATE TRIGGER app_inserts AFTER INSERT ON contacts
    WHEN new.c_firstname GLOB 'l[0-9]*' AND new.c_firstname NOT GLOB '*t'
    BEGIN UPDATE contacts SET c_firstname = new.c_firstname || 't' WHERE local_id = new.local_id; END;";
/// That person, and one whose record may be merged into the hot one.
const PERSONS: [&str; 2] = [PERSON, "other@example.com"];
/// Tables of the image that no world changes.
const UNCHANGED: [&str; 8] = [
    "_sync_lease",
    "_sync_objects",
    "association_types",
    "owners",
    "pipeline_stages",
    "pipelines",
    "properties",
    "sync_fields",
];

/// A database, a portal and an executor for worlds of one setup.
pub(super) struct Bench {
    pub(super) plan: Plan,
    pub(super) world: Arc<World>,
    pub(super) executor: Executor,
    pub(super) programs: Programs,
    /// The hot record, and one that may be merged into it.
    pub(super) records: [u64; 2],
    /// The companies, where there are any; at first the first one is the hot record's primary one.
    pub(super) companies: Vec<u64>,
    /// The label that its pair has.
    pub(super) label: Option<LinkType>,
    store: Store,
    begun: Begun,
    /// Puts the tables back, with the image attached to it.
    keeper: Connection,
    back: Vec<String>,
    portal: Portal,
    at: u64,
    _folder: TempDir,
}

/// What a world runs of the daemon's tasks: those that could lose something.
fn wanted(task: Task) -> bool {
    matches!(
        task,
        Task::Inbox
            | Task::Deliveries
            | Task::Inbound
            | Task::Reads
            | Task::Push
            | Task::Looks
            | Task::Comparison
    )
}

/// Before anything was read.
fn reads_no_records(task: Task) -> bool {
    !matches!(task, Task::Inbound | Task::Comparison)
}

/// Where records hang together.
fn wanted_by_ties(task: Task) -> bool {
    wanted_by_people(task) || task == Task::Links
}

/// Where conflicts wait for people, they are looked at too.
fn wanted_by_people(task: Task) -> bool {
    wanted(task) || task == Task::Decisions
}

impl Bench {
    /// Fills a portal, reads it into a database, and keeps both as they stand at rest.
    pub(super) fn new(setup: Setup, whole_trace: bool) -> Self {
        let plan = plan(setup);
        let mut portal = Portal::new(plan.settings.clone(), plan.seed, START_MS);
        let records = PERSONS.map(|email| {
            if setup.mode == Mode::New && email == PERSON {
                return NOBODY;
            }
            let hot = (fields(setup)[0], first(setup));
            let properties = [("email", email), hot, ("lastname", FIRST)];
            portal.create("contacts", &properties, START_MS)
        });
        if setup.mode == Mode::Filled {
            for properties in fillers() {
                let properties = properties
                    .each_ref()
                    .map(|(name, value)| (*name, value.as_str()));
                portal.create("contacts", &properties, START_MS);
            }
        }
        let (mut companies, mut label) = (Vec::new(), None);
        if setup.mode == Mode::Linked {
            for name in ["One", "Two", "Three"] {
                companies.push(portal.create("companies", &[("name", name)], START_MS));
            }
            let ends = (("contacts", records[0]), ("companies", companies[0]));
            assert!(portal.set_primary(ends.0, ends.1, START_MS), "a company");
            label = Some(
                portal
                    .create_label(("contacts", "companies"), LABEL, None)
                    .0,
            );
        }
        let draws = ChaCha8Rng::seed_from_u64;
        let world = World::new(
            portal,
            Trace::new(whole_trace),
            plan.network,
            draws(1),
            draws(2),
        );
        let folder = folder();
        let path = folder.path().join("crm.db");
        let mut executor = Executor::default();
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(Arc::clone(&world)));
        let options = OpenOptions {
            path: path.clone(),
            mode: StoreMode::Inline,
            busy_timeout: Duration::ZERO,
            checkpoint: Checkpoint::Own,
        };
        let store = Store::open(&options, clock).expect("a new file");
        let first = Daemon::on(
            &plan,
            &world,
            store.clone(),
            &mut executor,
            &Begun {
                wanted: if setup.mode == Mode::Fresh {
                    reads_no_records
                } else {
                    |_task| true
                },
                knows: None,
            },
        );
        let first = first.expect("a daemon on a new file");
        run_until(&world, &mut executor, 100 * SECOND);
        // A first create makes the property that keys all others.
        let programs = Programs::open(&path, &world, &plan.mapping);
        if setup.mode.leaves_alone() {
            // Rows that mean the records which are there.
            let insert =
                "INSERT INTO contacts (c_email, c_firstname, c_lastname) VALUES (?1, ?2, ?2)";
            for email in PERSONS {
                let row = programs.connection().execute(insert, [email, FIRST]);
                row.expect("a row");
            }
        }
        if !setup.mode.only_links() && setup.mode != Mode::Fresh {
            let insert = "INSERT INTO contacts (c_email) VALUES ('third@example.com')";
            programs.connection().execute(insert, []).expect("a row");
        }
        if setup.mode == Mode::Triggered {
            programs
                .connection()
                .execute_batch(TRIGGER)
                .expect("triggers");
        }
        first.committed();
        run_until(&world, &mut executor, 300 * SECOND);
        executor.kill();
        let begun = Begun {
            wanted: match (setup.mode, setup.policy) {
                (Mode::Linked, _) => wanted_by_ties,
                (Mode::Guarded | Mode::Sparing | Mode::Filled, _) | (_, Policy::Manual) => {
                    wanted_by_people
                }
                _ => wanted,
            },
            knows: Some(Arc::clone(first.engine())),
        };
        let image = folder.path().join("image.db");
        let keeper = keeper(&path, &image);
        let (portal, at) = {
            let mut state = world.state();
            state.points = Some(Vec::new());
            state.portal.faults_mut().late_max_ms = LATEST_MS;
            if setup.mode == Mode::Narrow {
                state.portal.faults_mut().retry_after_s = AN_HOUR_S;
            }
            (state.portal.clone(), state.steady)
        };
        Self {
            programs,
            back: statements(&keeper),
            plan,
            world,
            executor,
            records,
            companies,
            label,
            store,
            begun,
            keeper,
            portal,
            at,
            _folder: folder,
        }
    }

    /// Everything as it was at first; `seed` draws what the network and the triggers draw.
    pub(super) fn put_back(&mut self, seed: u64) {
        self.executor.kill();
        self.world.begin_again(self.portal.clone(), self.at, seed);
        let put_back = || -> rusqlite::Result<()> {
            self.keeper.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for sql in &self.back {
                self.keeper.prepare_cached(sql)?.execute([])?;
            }
            self.keeper.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        };
        put_back().expect("the tables can be put back");
    }

    /// When every world begins (nanoseconds).
    pub(super) fn started_at(&self) -> u64 {
        self.at
    }

    /// What a live record holds.
    pub(super) fn value_of(&self, record: u64, property: &str) -> Option<String> {
        let state = self.world.state();
        let found = state.portal.record("contacts", record);
        found.and_then(|record| record.value(property).map(str::to_owned))
    }

    /// What happened in the last world.
    pub(super) fn trace(&self) -> String {
        self.world.state().trace.text()
    }

    /// Starts a daemon on the open file.
    pub(super) fn start(&mut self) -> Daemon {
        Daemon::on(
            &self.plan,
            &self.world,
            self.store.clone(),
            &mut self.executor,
            &self.begun,
        )
        .expect("a daemon on an open file")
    }
}

/// Lets time pass until then.
fn run_until(world: &Arc<World>, executor: &mut Executor, end: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    loop {
        if executor.poll_one(&mut rng).is_none() && !world.advance(end) && !executor.is_ready() {
            return;
        }
    }
}

/// A connection that fires no trigger, with a copy of the file as it stands.
fn keeper(path: &Path, image: &Path) -> Connection {
    let open = || -> rusqlite::Result<Connection> {
        let keeper = Connection::open(path)?;
        keeper.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        keeper.pragma_update(None, "synchronous", "OFF")?;
        // Whole tables are put back.
        keeper.pragma_update(None, "foreign_keys", false)?;
        keeper.set_prepared_statement_cache_capacity(256);
        let image = image.to_string_lossy().into_owned();
        keeper.execute("VACUUM INTO ?1", [&image])?;
        keeper.execute("ATTACH ?1 AS image", [&image])?;
        Ok(keeper)
    };
    open().expect("a copy of the file")
}

/// What puts each table back.
fn statements(keeper: &Connection) -> Vec<String> {
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = keeper.prepare(sql).expect(sql);
        let rows = statement.query_map([], |row| row.get(0)).expect(sql);
        rows.collect::<Result<_, _>>().expect(sql)
    };
    let tables = texts(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND (name = 'sqlite_sequence' OR name NOT LIKE 'sqlite_%')",
    );
    let mut back = Vec::new();
    for table in tables
        .iter()
        .filter(|table| !UNCHANGED.contains(&table.as_str()))
    {
        let filled = texts(&format!("SELECT 'x' FROM image.\"{table}\" LIMIT 1"));
        // Without a condition SQLite writes the first page of an empty table and of each of its indexes too, and every
        // other connection reads them again.
        back.push(format!("DELETE FROM main.\"{table}\" WHERE true"));
        if !filled.is_empty() {
            let columns = texts(&format!(
                "SELECT '\"' || name || '\"' FROM pragma_table_xinfo('{table}') WHERE hidden = 0"
            ))
            .join(", ");
            back.push(format!(
                "INSERT INTO main.\"{table}\" ({columns}) SELECT {columns} FROM image.\"{table}\""
            ));
        }
    }
    back
}

/// A portal without moods, and a mapping of one object.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
fn plan(setup: Setup) -> Plan {
    let is_narrow = setup.mode == Mode::Narrow;
    let quick = Settings::quick();
    let settings = Settings {
        index_delay_min_ms: INDEX_MS,
        index_delay_max_ms: INDEX_MS,
        clock_offset_ms: setup.ahead_ms,
        limits_enabled: is_narrow,
        burst_limit: if is_narrow { FEW } else { quick.burst_limit },
        retry_after_on_429: is_narrow,
        webhooks: setup.webhooks.then(|| Webhooks {
            url: "http://127.0.0.1:1".to_owned(),
            // They wait until a world lets them arrive.
            delay_min_ms: 3_600_000,
            delay_max_ms: 3_600_000,
            ..Webhooks::default()
        }),
        ..quick
    };
    Plan {
        settings,
        network: Network {
            least_ms: WAY_MS,
            most_ms: WAY_MS,
            times_out: 0.0,
        },
        mapping: mapping(setup),
        guard: Guard {
            max_archives: match setup.mode {
                Mode::Guarded => 0,
                Mode::Sparing => 1,
                _ => 1_000,
            },
            max_share: if setup.mode.holds() { 0.0 } else { 1.0 },
            window: Duration::from_hours(1),
            max_updates: 0,
            max_cleared: if setup.mode == Mode::Filled { 0.0 } else { 1.0 },
        },
        poll: POLL,
        overlap: OVERLAP,
        again: vec![Duration::from_mins(5)],
        reconcile: Duration::from_hours(24),
        narrow: is_narrow.then_some(FEW),
        unpaced: is_narrow && !setup.webhooks,
        ..Plan::draw(1)
    }
}

fn mapping(setup: Setup) -> Mapping {
    let both = Direction::Both;
    let mut contacts = object(
        setup,
        "contacts",
        Some("email").filter(|_| setup.mode != Mode::Keyless),
        &[
            ("email", both),
            (fields(setup)[0], setup.direction),
            ("lastname", both),
        ],
    );
    let hot = &mut contacts.fields[1];
    // Whatever its property, the hot column is the same.
    hot.column = ColumnName::parse("c_firstname").expect("a name");
    match setup.mode {
        Mode::Marks => contacts.modes.on_remote_delete = OnRemoteDelete::Mark,
        Mode::MakesAnew => contacts.modes.on_remote_delete = OnRemoteDelete::Recreate,
        Mode::BringsBack => contacts.modes.on_local_delete = OnLocalDelete::Restore,
        Mode::FromHubspot => contacts.modes.new_records = NewRecords::FromHubspot,
        Mode::FromLocal => contacts.modes.new_records = NewRecords::FromLocal,
        Mode::OnlyLinks => contacts.modes.new_records = NewRecords::None,
        Mode::IfEmpty => hot.modes.write = WriteMode::IfEmpty,
        Mode::Fills => {
            hot.modes.write = WriteMode::IfEmpty;
            hot.modes.history = false;
        }
        Mode::User => contacts.modes.sees = Sees::User,
        Mode::Append => hot.modes.write = WriteMode::Append,
        Mode::Untold => hot.modes.history = false,
        Mode::Remembers => hot.modes.remote_history = true,
        Mode::Keyless => contacts.key = KeyChoice::None,
        Mode::Plain
        | Mode::Linked
        | Mode::Guarded
        | Mode::Sparing
        | Mode::Filled
        | Mode::Fresh
        | Mode::New
        | Mode::Narrow
        | Mode::Triggered => {}
    }
    if setup.mode != Mode::Linked {
        return Mapping {
            pairs: Vec::new(),
            objects: vec![contacts],
        };
    }
    let companies = object(setup, "companies", None, &[("name", both)]);
    let pair = PairMapping {
        key: TableName::parse("contacts_companies").expect("a name"),
        from: contacts.object.clone(),
        to: companies.object.clone(),
        direction: both,
        policy: setup.policy,
    };
    Mapping {
        pairs: vec![pair],
        objects: vec![contacts, companies],
    }
}

fn object(
    setup: Setup,
    name: &str,
    matching: Option<&str>,
    fields: &[(&str, Direction)],
) -> ObjectMapping {
    let field = |(property, direction): &(&str, Direction)| FieldMapping {
        property: PropertyName::parse(property).expect(property),
        column: ColumnName::parse(&format!("c_{property}")).expect(property),
        declared_type: None,
        property_type: PropertyType::String,
        direction: *direction,
        policy: setup.policy,
        modes: FieldModes::default(),
    };
    ObjectMapping {
        object: ObjectType::parse(name).expect("a name"),
        address: None,
        table: TableName::parse(name).expect("a name"),
        direction: Direction::Both,
        key: KeyChoice::Auto,
        match_property: matching.map(|name| PropertyName::parse(name).expect("a name")),
        modes: Modes::default(),
        policy: setup.policy,
        poll: POLL,
        fields: fields.iter().map(field).collect(),
    }
}
