//! The acts of a plan are carried out: in their order, and at the points that they wait for.

use std::collections::BTreeMap;

use hubsyncd::simulator::faults::{FaultKind, Script};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::checks;
use crate::links;
use crate::local::{Programs, Shadow};
use crate::plan::pick;
use crate::points::Point;
use crate::run::{Run, SECOND};
use crate::script::{Act, Deed, Side, When};
use crate::values::Values;

/// Turns that an act waits for come within this time, or it goes on.
const TURNS_WITHIN: u64 = 30 * SECOND;
/// All promises are looked at after each act whose number this divides.
const LOOKS: u64 = 8;

/// Acts that wait for a point.
#[derive(Debug, Default)]
pub(crate) struct Appointments {
    waiting: Vec<Deed>,
    passed: BTreeMap<Point, u32>,
    seen: usize,
}

impl Appointments {
    /// Those whose point was passed since the last look.
    fn due(&mut self, points: &[Point]) -> Vec<Deed> {
        let mut due = Vec::new();
        for point in &points[self.seen.min(points.len())..] {
            let times = self.passed.entry(*point).or_default();
            *times += 1;
            let when = When::At(*point, *times);
            due.extend(self.waiting.extract_if(.., |deed| deed.when == when));
        }
        self.seen = points.len();
        due
    }
}

impl Run {
    /// Everything happens that the plan says.
    pub(crate) fn chaos(&mut self) -> Result<(), String> {
        let script = std::mem::take(&mut self.plan.script);
        let (appointments, acts): (Vec<_>, Vec<_>) =
            script.iter().cloned().partition(Deed::is_appointment);
        self.plan.script = script;
        self.appointments.waiting = appointments;
        for deed in acts {
            let now = self.world.state().steady;
            match deed.when {
                When::After(ms) => self.until(now + ms * SECOND / 1_000, u64::MAX)?,
                When::Turns(turns) => self.until(now + TURNS_WITHIN, turns)?,
                When::At(..) => {}
            }
            self.carry_out(&deed)?;
        }
        // What waits for a point gets a little more time.
        let end = self.world.state().steady + TURNS_WITHIN;
        self.until(end, u64::MAX)?;
        self.appointments.waiting.clear();
        Ok(())
    }

    /// Those of a point that was just passed.
    pub(crate) fn keep_appointments(&mut self) -> Result<(), String> {
        if self.appointments.waiting.is_empty() || self.is_acting {
            return Ok(());
        }
        let due = {
            let state = self.world.state();
            let passed = state.points.iter().flatten();
            let points: Vec<Point> = passed.map(|passing| passing.point).collect();
            self.appointments.due(&points)
        };
        for deed in due {
            self.carry_out(&deed)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, deed: &Deed) -> Result<(), String> {
        let kept = if deed.is_appointment() { "kept " } else { "" };
        self.world.note(&format!("{kept}act {}", deed.number));
        self.is_acting = true;
        let result = self.act(deed);
        self.is_acting = false;
        result?;
        if deed.number.is_multiple_of(LOOKS) && self.programs.is_ready() {
            checks::at_any_time(&self.programs, &self.world, &self.plan, &mut self.versions)?;
        }
        Ok(())
    }

    fn act(&mut self, deed: &Deed) -> Result<(), String> {
        let rng = &mut ChaCha8Rng::seed_from_u64(deed.draw);
        let values = &mut Values::of(deed.number);
        match (deed.act, deed.act.side()) {
            (_, Side::Person) => {
                self.people
                    .act(deed.act, &self.plan, &self.world, rng, values);
                Ok(())
            }
            (Act::Kill, _) => self.restart(rng),
            (Act::Jump, _) => {
                self.jump(rng);
                Ok(())
            }
            (Act::StepDate, _) => {
                let times = *pick(rng, &[1, 1, 3]);
                let script = Script::new(FaultKind::FutureDate, times, "");
                let mut state = self.world.state();
                state.portal.faults_mut().scripts.push(script);
                state.note("the dates of answers step");
                Ok(())
            }
            (Act::Sleep, _) => {
                self.sleep(rng);
                Ok(())
            }
            (Act::LoseAnswers, _) => {
                self.world.lose_answers();
                Ok(())
            }
            _ if !self.programs.is_ready() => Ok(()),
            (Act::PutBack, _) => self.put_back(),
            (Act::Lock, _) => self.hold_the_lock(rng, values),
            (_, Side::Operator) => {
                self.programs.operate(deed.act, rng, values);
                self.ring(rng);
                Ok(())
            }
            (_, Side::Program | Side::Machine) => {
                links::write(&self.programs, &self.plan, &self.world);
                self.programs.act(deed.act, rng, values);
                self.ring(rng);
                Ok(())
            }
        }
    }

    fn ring(&self, rng: &mut ChaCha8Rng) {
        // A ring is lost now and then; the slow look finds the change.
        if rng.random_bool(self.plan.rings)
            && let Some(daemon) = &self.daemon
        {
            daemon.committed();
        }
    }

    fn jump(&self, rng: &mut ChaCha8Rng) {
        let by = *pick(rng, &[-600_000, -60_000, -1_000, 1_000, 60_000, 600_000]);
        let mut state = self.world.state();
        state.wall_offset_ms += by;
        state.note(&format!("the wall clock jumps by {by} ms"));
    }

    fn restart(&mut self, rng: &mut ChaCha8Rng) -> Result<(), String> {
        self.kill();
        let pause = *pick(rng, &[0, 0, 1, 5, 90]);
        let end = self.world.state().steady + pause * SECOND;
        self.until(end, u64::MAX)?;
        self.start()
    }

    /// The process is stopped and goes on: time passes, the wire works, and nothing here has a turn.
    fn sleep(&self, rng: &mut ChaCha8Rng) {
        let seconds = *pick(rng, &[2, 20, 70, 700]);
        self.world.note("the process sleeps");
        let end = self.world.state().steady + seconds * SECOND;
        while self.world.advance(end) {}
    }

    /// A program writes and does not commit at once.
    fn hold_the_lock(&mut self, rng: &mut ChaCha8Rng, values: &mut Values) -> Result<(), String> {
        let seconds = *pick(rng, &[1, 3, 12]);
        if !self.programs.lock(true) {
            return Ok(());
        }
        self.world.note("a program holds the lock");
        self.programs.act(Act::Write, rng, values);
        let end = self.world.state().steady + seconds * SECOND;
        let held = self.until(end, u64::MAX);
        self.programs.lock(false);
        self.ring(rng);
        held
    }

    /// Keeps a copy of the file, or puts an older one in its place.
    fn put_back(&mut self) -> Result<(), String> {
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
        self.programs =
            Programs::open(&self.path(), &self.world, &self.plan.mapping).meeting(&self.plan.hot);
        self.programs.shadow = shadow;
        self.versions.clear();
    }
}
