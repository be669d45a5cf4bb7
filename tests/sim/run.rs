//! One seed from start to end: chaos first, then calm, then the checks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hubsyncd::simulator::portal::Portal;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::checks;
use crate::daemon::Daemon;
use crate::executor::Executor;
use crate::local::{Programs, Shadow};
use crate::people::People;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::values::Values;
use crate::world::{START_MS, World};

const SECOND: u64 = 1_000_000_000;
/// More polls at one moment than this is a task that spins.
const MOST_POLLS_AT_ONCE: u32 = 20_000;
/// The calm may last this long, virtually.
const LONGEST_CALM: u64 = 3 * 3_600 * SECOND;

/// How a seed ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The trace's digest: equal for equal runs.
    pub(crate) digest: (u64, u64),
    /// How often each kind of thing happened.
    pub(crate) happened: BTreeMap<&'static str, u64>,
    /// What was broken, and the end of the trace.
    pub(crate) broken: Option<(String, String)>,
}

struct Run {
    plan: Plan,
    world: Arc<World>,
    folder: TempDir,
    executor: Executor,
    daemon: Option<Daemon>,
    programs: Programs,
    people: People,
    values: Values,
    rng: ChaCha8Rng,
    versions: BTreeMap<(String, i64), (u64, String)>,
    copy: Option<(Vec<u8>, Shadow)>,
}

/// Runs a seed.
pub(crate) fn run_seed(seed: u64, whole_trace: bool) -> Outcome {
    let plan = Plan::draw(seed);
    run_plan(plan, whole_trace)
}

/// Runs a plan.
pub(crate) fn run_plan(plan: Plan, whole_trace: bool) -> Outcome {
    let mut run = Run::new(plan, whole_trace);
    let result = run.whole();
    let broken = run.world.state().broken.take().or(result.err());
    if whole_trace && broken.is_some() {
        run.show_tables();
    }
    run.count_tables();
    let state = run.world.state();
    Outcome {
        digest: state.trace.digest(),
        happened: state.trace.happened().clone(),
        broken: broken.map(|what| (what, state.trace.text())),
    }
}

impl Run {
    fn new(plan: Plan, whole_trace: bool) -> Self {
        let draws = |stream: u64| {
            ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(31).wrapping_add(stream))
        };
        let portal = Portal::new(plan.settings.clone(), plan.seed, START_MS);
        let mut trace = Trace::new(whole_trace);
        trace.line(0, &format!("{plan:?}"));
        let world = World::new(portal, trace, plan.network, draws(1), draws(2));
        let folder = folder();
        let path = folder.path().join("crm.db");
        let mut run = Self {
            programs: Programs::open(&path, &world, &plan.mapping),
            world,
            folder,
            executor: Executor::default(),
            daemon: None,
            people: People::default(),
            values: Values::default(),
            rng: draws(3),
            versions: BTreeMap::new(),
            copy: None,
            plan,
        };
        run.people
            .fill(&run.plan, &run.world, &mut run.rng, &mut run.values);
        run
    }

    /// What the tables tell of a run.
    fn count_tables(&self) {
        const TABLES: [(&str, &str); 6] = [
            ("events taken in", "SELECT count(*) FROM sync_inbox"),
            (
                "changes by webhook",
                "SELECT count(*) FROM sync_history WHERE origin = 'webhook'",
            ),
            ("conflicts", "SELECT count(*) FROM sync_conflicts"),
            ("holds", "SELECT count(*) FROM sync_holds"),
            (
                "losers kept",
                "SELECT count(*) FROM sync_history WHERE origin = 'conflict'",
            ),
            (
                "records absorbed",
                "SELECT count(*) FROM sync_history WHERE origin = 'absorb'",
            ),
        ];
        for (kind, sql) in TABLES {
            let count = self
                .programs
                .connection()
                .query_row(sql, [], |row| row.get::<_, i64>(0));
            // A run that broke before its first start has no tables.
            let count = count.unwrap_or(0).unsigned_abs();
            self.world.state().trace.count(kind, count);
        }
    }

    /// The tables as the failure left them, at the end of the trace.
    fn show_tables(&self) {
        for table in [
            "sync_outbox",
            "_sync_reads",
            "_sync_removals",
            "sync_holds",
            "sync_conflicts",
            "_sync_cursors",
            "sync_inbox",
        ] {
            for line in checks::texts(
                self.programs.connection(),
                &format!("SELECT * FROM {table}"),
            ) {
                self.world.note(&format!("{table}: {line}"));
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("crm.db")
    }

    fn whole(&mut self) -> Result<(), String> {
        self.start()?;
        self.begin_faults();
        self.chaos()?;
        self.calm()?;
        self.judge()
    }

    fn begin_faults(&self) {
        let mut state = self.world.state();
        let faults = state.portal.faults_mut();
        faults.chances.clone_from(&self.plan.chances);
        faults.late_max_ms = self.plan.late_max_ms;
        faults.late_min_ms = 500;
        faults.slow_ms = self.plan.slow_ms;
        faults.migration_s = 30;
    }

    fn start(&mut self) -> Result<(), String> {
        self.world.note("the daemon starts");
        let path = self.path();
        let daemon = Daemon::start(&self.plan, &self.world, &path, &mut self.executor);
        self.daemon = Some(daemon.map_err(|error| format!("the daemon could not start: {error}"))?);
        Ok(())
    }

    fn kill(&mut self) {
        self.world.note("the daemon is killed");
        self.executor.kill();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.world.cut_wire();
    }

    /// Lets time pass until then; between any two polls something may happen.
    fn until(&mut self, end: u64, disturb: bool) -> Result<(), String> {
        let mut polls = 0;
        loop {
            if let Some(what) = self.world.state().broken.clone() {
                return Err(what);
            }
            if self.executor.poll_one(&mut self.rng).is_some() {
                polls += 1;
                if polls > MOST_POLLS_AT_ONCE {
                    return Err("a task spins: time does not go on".to_owned());
                }
                if disturb && self.rng.random_bool(0.01) {
                    self.act()?;
                }
                continue;
            }
            let before = self.world.state().steady;
            if !self.world.advance(end) && !self.executor.is_ready() {
                return Ok(());
            }
            if self.world.state().steady != before {
                polls = 0;
            }
        }
    }

    fn chaos(&mut self) -> Result<(), String> {
        for _ in 0..self.plan.actions {
            let gap = match self.rng.random_range(0..10) {
                0 => 0,
                1 => self.plan.gap_ms * 20,
                _ => self.rng.random_range(0..=2 * self.plan.gap_ms),
            };
            let end = self.world.state().steady + gap * SECOND / 1_000;
            self.until(end, true)?;
            self.act()?;
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), String> {
        if self.rng.random_bool(self.plan.kills) {
            return self.restart();
        }
        if self.rng.random_bool(self.plan.restores) {
            return self.restore();
        }
        if self.rng.random_bool(self.plan.jumps) {
            self.jump();
        }
        let choice = self.rng.random_range(0..100);
        if choice < 50 && self.programs.is_ready() {
            self.programs.act(&mut self.rng, &mut self.values);
            self.ring();
        } else if choice < 58 && self.plan.operators && self.programs.is_ready() {
            self.programs.operate(&mut self.rng, &mut self.values);
            self.ring();
        } else {
            self.people
                .act(&self.plan, &self.world, &mut self.rng, &mut self.values);
        }
        if self.programs.is_ready() && self.rng.random_bool(0.1) {
            checks::at_any_time(&self.programs, &self.world, &self.plan, &mut self.versions)?;
        }
        Ok(())
    }

    fn ring(&mut self) {
        // A ring is lost now and then; the slow look finds the change.
        if let Some(daemon) = self.daemon.as_ref().filter(|_| self.rng.random_bool(0.8)) {
            daemon.committed();
        }
    }

    fn jump(&mut self) {
        let by = *crate::plan::pick(
            &mut self.rng,
            &[-600_000, -60_000, -1_000, 1_000, 60_000, 600_000],
        );
        let mut state = self.world.state();
        state.wall_offset_ms += by;
        state.note(&format!("the wall clock jumps by {by} ms"));
    }

    fn restart(&mut self) -> Result<(), String> {
        self.kill();
        let pause = *crate::plan::pick(&mut self.rng, &[0, 1, 5, 90]);
        let end = self.world.state().steady + pause * SECOND;
        self.until(end, false)?;
        if self.programs.is_ready() && self.rng.random_bool(0.5) {
            self.programs.act(&mut self.rng, &mut self.values);
        }
        self.start()
    }

    /// Keeps a copy of the file, or puts an older one in its place.
    fn restore(&mut self) -> Result<(), String> {
        if !self.programs.is_ready() {
            return Ok(());
        }
        self.kill();
        self.programs
            .connection()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .expect("a checkpoint");
        match self.copy.take() {
            None => {
                self.world.note("a copy of the file is kept");
                let bytes = std::fs::read(self.path()).expect("the file can be read");
                self.copy = Some((bytes, self.programs.shadow.clone()));
            }
            Some((bytes, shadow)) => {
                self.world.note("an older copy of the file is put in place");
                self.put_file(&bytes, shadow);
            }
        }
        self.start()
    }

    fn put_file(&mut self, bytes: &[u8], shadow: Shadow) {
        let elsewhere = self.folder.path().join("elsewhere.db");
        // The old connection must let go of the file before it is replaced.
        self.programs = Programs::open(&elsewhere, &self.world, &self.plan.mapping);
        for suffix in ["-wal", "-shm"] {
            let side = self.folder.path().join(format!("crm.db{suffix}"));
            if side.exists() {
                std::fs::remove_file(side).expect("a file can be removed");
            }
        }
        std::fs::write(self.path(), bytes).expect("the copy can be written");
        self.programs = Programs::open(&self.path(), &self.world, &self.plan.mapping);
        self.programs.shadow = shadow;
        self.versions.clear();
    }

    fn end_faults(&self) {
        let mut state = self.world.state();
        state.note("calm");
        state.portal.faults_mut().calm();
        let settings = state.portal.settings_mut();
        settings.ties_change_between_pages = false;
        state.network.times_out = 0.0;
    }

    /// Faults end; time passes until both sides have said all they have to say.
    fn calm(&mut self) -> Result<(), String> {
        self.end_faults();
        let start = self.world.state().steady;
        let index = self.plan.settings.index_delay_max_ms * SECOND / 1_000;
        self.until(start + 70 * SECOND + index, false)?;
        self.compare(start)?;
        checks::at_any_time(&self.programs, &self.world, &self.plan, &mut self.versions)?;
        checks::both_sides_agree(self.programs.connection(), &self.world, &self.plan)?;
        for _ in 0..2 {
            self.programs.settle_all(&mut self.rng);
            self.compare(start)?;
        }
        Ok(())
    }

    /// A full comparison, and all that follows from it.
    fn compare(&mut self, start: u64) -> Result<(), String> {
        self.quiet(start)?;
        while !self.daemon.as_ref().is_none_or(Daemon::compare)
            && self.world.state().steady < start + LONGEST_CALM
        {
            let end = self.world.state().steady + SECOND;
            self.until(end, false)?;
        }
        self.quiet(start)
    }

    fn quiet(&mut self, start: u64) -> Result<(), String> {
        loop {
            let end = self.world.state().steady + 2 * SECOND;
            self.until(end, false)?;
            let left = checks::unfinished(self.programs.connection());
            let (late, untold) = {
                let state = self.world.state();
                (state.portal.late_requests(), state.portal.waiting_events())
            };
            if left.is_empty() && late == 0 && untold == 0 {
                return Ok(());
            }
            if self.world.state().steady > start + LONGEST_CALM {
                return Err(format!("I3: it does not come to rest; left: {left:#?}"));
            }
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        let connection = self.programs.connection();
        checks::at_any_time(&self.programs, &self.world, &self.plan, &mut self.versions)?;
        checks::both_sides_agree(connection, &self.world, &self.plan)?;
        checks::the_status_adds_up(connection)?;
        let before = checks::mirror(connection, &self.plan);
        let writes = self.world.state().portal.write_log().len();
        let start = self.world.state().steady;
        self.compare(start)?;
        self.until(start + 60 * SECOND, false)?;
        if checks::mirror(self.programs.connection(), &self.plan) != before {
            return Err("I3: one more pass changed the mirror".to_owned());
        }
        let state = self.world.state();
        if state.portal.write_log().len() != writes {
            return Err(format!(
                "I3: one more pass wrote to HubSpot: {:?}",
                &state.portal.write_log()[writes..]
            ));
        }
        let throttled = state.portal.violations().total();
        if throttled > 0 && self.plan.is_faultless() {
            return Err(format!(
                "I9: HubSpot's limits were exceeded: {:?}",
                state.portal.violations()
            ));
        }
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.executor.kill();
    }
}

/// A folder in memory, where there is one.
pub(crate) fn folder() -> TempDir {
    let shared = std::path::Path::new("/dev/shm");
    let made = if shared.is_dir() {
        TempDir::new_in(shared)
    } else {
        TempDir::new()
    };
    made.expect("a folder")
}
