//! One seed from start to end: chaos first, then calm, then the checks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hubsyncd::simulator::portal::Portal;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::causes;
use crate::chaos::Appointments;
use crate::checks;
use crate::daemon::Daemon;
use crate::executor::Executor;
use crate::links;
use crate::local::{Programs, Shadow};
use crate::people::People;
use crate::plan::{MACHINE, Plan, define_machine};
use crate::script::Act;
use crate::tally::Tally;
use crate::trace::Trace;
use crate::values::Values;
use crate::world::{START_MS, World};

/// In nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;
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
    /// What was reached, and how often.
    pub(crate) reached: BTreeMap<String, u64>,
    /// What was broken, and the end of the trace.
    pub(crate) broken: Option<(String, String)>,
}

pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) world: Arc<World>,
    pub(crate) folder: TempDir,
    pub(crate) executor: Executor,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) programs: Programs,
    pub(crate) people: People,
    rng: ChaCha8Rng,
    pub(crate) versions: BTreeMap<(String, i64), (u64, String)>,
    pub(crate) copy: Option<(Vec<u8>, Shadow)>,
    pub(crate) appointments: Appointments,
    /// While an act is carried out nobody keeps an appointment.
    pub(crate) is_acting: bool,
    pub(crate) tally: Tally,
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
    let mut tally = std::mem::take(&mut run.tally);
    tally.end(run.programs.connection(), &run.plan);
    let state = run.world.state();
    tally.passed(state.points.as_deref().unwrap_or_default());
    let mut reached = tally.counts();
    for ((call, fault), times) in &state.met {
        reached.insert(format!("fault: {fault} at {}", call.as_str()), *times);
    }
    Outcome {
        digest: state.trace.digest(),
        happened: state.trace.happened().clone(),
        reached,
        broken: broken.map(|what| (what, state.trace.text())),
    }
}

impl Run {
    pub(crate) fn new(plan: Plan, whole_trace: bool) -> Self {
        let draws = |stream: u64| {
            ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(31).wrapping_add(stream))
        };
        let mut portal = Portal::new(plan.settings.clone(), plan.seed, START_MS);
        if plan.mapping.object(MACHINE).is_some() {
            define_machine(&mut portal, START_MS);
        }
        let mut trace = Trace::new(whole_trace);
        trace.line(0, &format!("{plan:?}"));
        let world = World::new(portal, trace, plan.network, draws(1), draws(2));
        world.state().points = Some(Vec::new());
        let folder = folder();
        let path = folder.path().join("crm.db");
        let mut filling = draws(4);
        let schedule = draws(3);
        let mut run = Self {
            programs: Programs::open(&path, &world, &plan.mapping).meeting(&plan.hot),
            world,
            folder,
            executor: Executor::default(),
            daemon: None,
            people: People::default(),
            rng: schedule,
            versions: BTreeMap::new(),
            copy: None,
            appointments: Appointments::default(),
            is_acting: false,
            tally: Tally::default(),
            plan,
        };
        run.people
            .fill(&run.plan, &run.world, &mut filling, &mut Values::of(0));
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
            "associations",
            "_sync_links_due",
            "_sync_links_waiting",
            "_sync_links_missed",
            "_sync_link_passes",
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

    pub(crate) fn path(&self) -> PathBuf {
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

    pub(crate) fn start(&mut self) -> Result<(), String> {
        self.world.note("the daemon starts");
        let path = self.path();
        let daemon = Daemon::start(&self.plan, &self.world, &path, &mut self.executor);
        self.daemon = Some(daemon.map_err(|error| format!("the daemon could not start: {error}"))?);
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        self.world.note("the daemon is killed");
        self.executor.kill();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.world.cut_wire();
    }

    /// Lets that much time pass.
    pub(crate) fn wait(&mut self, nanos: u64) -> Result<(), String> {
        let end = self.world.state().steady + nanos;
        self.until(end, u64::MAX)
    }

    /// Lets time pass until then, or until the tasks have had so many turns; appointments are kept where somebody waits
    /// for them.
    pub(crate) fn until(&mut self, end: u64, turns: u64) -> Result<(), String> {
        let (mut polls, mut left) = (0, turns);
        loop {
            if let Some(what) = self.world.state().broken.clone() {
                return Err(what);
            }
            self.keep_appointments()?;
            self.tally.look(self.programs.connection());
            if left == 0 {
                return Ok(());
            }
            if self.executor.poll_one(&mut self.rng).is_some() {
                (polls, left) = (polls + 1, left - 1);
                if polls > MOST_POLLS_AT_ONCE {
                    return Err("a task spins: time does not go on".to_owned());
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
        self.until(start + 70 * SECOND + index, u64::MAX)?;
        if self.plan.never_compares && !self.plan.has(Act::PutBack) {
            self.settle_by_polls(start)?;
        }
        self.compare(start)?;
        checks::at_any_time(&self.programs, &self.world, &self.plan, &mut self.versions)?;
        checks::both_sides_agree(self.programs.connection(), &self.world, &self.plan)?;
        links::both_sides_agree(self.programs.connection(), &self.world, &self.plan)?;
        for _ in 0..2 {
            self.programs.settle_all(&mut self.rng);
            self.compare(start)?;
        }
        Ok(())
    }

    /// Polls and their walks again find everything by themselves.
    fn settle_by_polls(&mut self, start: u64) -> Result<(), String> {
        let again = self.plan.again.iter().max().copied().unwrap_or_default();
        let index = self.plan.settings.index_delay_max_ms * SECOND / 1_000;
        // What a quiet window hides is walked again with what comes within two delays of it.
        let waits = (3 * again + 6 * self.plan.poll).as_nanos() as u64 + index + 90 * SECOND;
        self.until(start + waits, u64::MAX)?;
        self.quiet(start)?;
        checks::both_sides_agree(self.programs.connection(), &self.world, &self.plan)
            .map_err(|what| format!("I6: without a comparison: {what}"))
    }

    /// A full comparison, and all that follows from it.
    fn compare(&mut self, start: u64) -> Result<(), String> {
        self.quiet(start)?;
        while !self.daemon.as_ref().is_none_or(Daemon::compare)
            && self.world.state().steady < start + LONGEST_CALM
        {
            let end = self.world.state().steady + SECOND;
            self.until(end, u64::MAX)?;
        }
        self.quiet(start)
    }

    fn quiet(&mut self, start: u64) -> Result<(), String> {
        loop {
            let end = self.world.state().steady + 2 * SECOND;
            self.until(end, u64::MAX)?;
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
        links::both_sides_agree(connection, &self.world, &self.plan)?;
        checks::the_status_adds_up(connection)?;
        causes::all_have_causes(&self.programs, &self.world, &self.plan, &self.versions)?;
        let before = checks::mirror(connection, &self.plan);
        let writes = self.world.state().portal.write_log().len();
        let start = self.world.state().steady;
        self.compare(start)?;
        self.until(start + 60 * SECOND, u64::MAX)?;
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
        let violations = state.portal.violations();
        let is_exceeded = match self.plan.narrow {
            Some(_) => violations.burst > 0 && self.plan.keeps_its_limit(),
            None => violations.total() > 0 && self.plan.is_faultless(),
        };
        if is_exceeded {
            return Err(format!(
                "I9: HubSpot's limits were exceeded: {violations:?}"
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
