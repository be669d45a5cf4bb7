//! Plays one small world: its acts in their places, its fault, the rest that must follow, and what the model says of it.

use std::collections::{BTreeMap, BTreeSet};

use hubsyncd::simulator::faults::Script;
use hubsyncd::simulator::portal::Operation;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;

use crate::daemon::Daemon;
use crate::model::{ConflictSeen, Doubt, FieldModel, FieldSeen, Place, Text};
use crate::points::{Call, Moment, Point};
use crate::world::START_MS;
use crate::worlds::alphabet::{Act, Placed, Small, When};
use crate::worlds::bench::{Bench, FIRST, PERSON, SECOND, WAY_MS};

/// Between an act and the next one: in the middle of what the one before set off.
const BREATH: u64 = 15_000_000;
/// How long a pause is.
const PAUSE: u64 = 3 * SECOND;
/// Beyond a poll and what it reads.
const BEYOND_A_POLL: u64 = 11 * SECOND;
/// The world must come to rest within this.
const LONGEST: u64 = 1_200 * SECOND;
/// More polls of the executor at one moment than this is a task that spins.
const MOST_AT_ONCE: u32 = 5_000;
/// The fields that are watched: the hot one first.
pub(super) const FIELDS: [&str; 2] = ["firstname", "lastname"];

/// What happened in a world.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// What was broken.
    pub(super) broken: Option<String>,
    /// The points that were passed.
    pub(super) passed: BTreeMap<Point, u64>,
    /// Acts that were placed at a point that was not passed.
    pub(super) missed: usize,
    /// Which request met the fault.
    pub(super) faulted: Option<Call>,
    /// Requests in all.
    pub(super) requests: u64,
    /// Winners of the conflicts, or `open`.
    pub(super) conflicts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RowSeen {
    local_id: i64,
    hs_id: Option<u64>,
    values: Vec<Text>,
}

struct Play<'a> {
    bench: &'a mut Bench,
    small: &'a Small,
    daemon: Option<Daemon>,
    rng: ChaCha8Rng,
    models: Vec<FieldModel>,
    rows: Vec<RowSeen>,
    writes_seen: usize,
    values: u32,
    waiting: Vec<(Placed, u8)>,
    answered: bool,
    passes: BTreeMap<Point, u64>,
}

/// Plays a world.
pub(super) fn play(bench: &mut Bench, small: &Small) -> Played {
    bench.put_back(1);
    let setup = small.setup;
    let writes_seen = bench.world.state().portal.write_log().len();
    let rows = rows(bench.programs.connection());
    let mut play = Play {
        models: vec![
            FieldModel::new(setup.policy, setup.direction, first(), START_MS),
            FieldModel::new(
                setup.policy,
                hubsyncd::model::mapping::Direction::Both,
                first(),
                START_MS,
            ),
        ],
        writes_seen,
        rows,
        daemon: None,
        rng: ChaCha8Rng::seed_from_u64(1),
        values: 0,
        waiting: Vec::new(),
        answered: false,
        passes: BTreeMap::new(),
        bench,
        small,
    };
    let mut played = Played::default();
    if let Err(broken) = play.whole(&mut played) {
        played.broken = Some(broken);
    }
    played.missed = play.waiting.len();
    played.requests = play.bench.world.state().requests;
    played.passed = std::mem::take(&mut play.passes);
    play.kill();
    played
}

fn first() -> Text {
    Some(FIRST.to_owned())
}

impl Play<'_> {
    fn whole(&mut self, played: &mut Played) -> Result<(), String> {
        self.daemon = Some(self.bench.start());
        self.pass(SECOND)?;
        if let Some(fault) = self.small.fault {
            let mut state = self.bench.world.state();
            let faults = state.portal.faults_mut();
            faults.script(Script {
                after: u32::from(fault.after),
                ..Script::new(fault.kind, 1, "/objects/")
            });
        }
        let acts = &self.small.acts;
        for placed in acts {
            match placed.when {
                When::Next => {
                    self.act(placed.act)?;
                    self.pass(BREATH)?;
                }
                When::At(_, nth) => self.waiting.push((*placed, nth)),
            }
        }
        self.rest()?;
        self.judge(played)
    }

    fn now(&self) -> u64 {
        self.bench.world.state().steady
    }

    /// Lets that much time pass.
    fn pass(&mut self, nanos: u64) -> Result<(), String> {
        let end = self.now() + nanos;
        let mut at_once = 0;
        loop {
            if self.bench.executor.poll_one(&mut self.rng).is_some() {
                at_once += 1;
                if at_once > MOST_AT_ONCE {
                    return Err("a task spins: time does not go on".to_owned());
                }
            } else if std::mem::take(&mut self.answered) {
                self.look(None)?;
            } else {
                let before = self.now();
                if !self.bench.world.advance(end) && !self.bench.executor.is_ready() {
                    return Ok(());
                }
                if self.now() != before {
                    at_once = 0;
                }
            }
            self.points()?;
        }
    }

    /// Takes note of the points that were passed, and does what was appointed there.
    fn points(&mut self) -> Result<(), String> {
        let passed = {
            let mut state = self.bench.world.state();
            if let Some(what) = state.broken.take() {
                return Err(what);
            }
            match &mut state.points {
                Some(points) if !points.is_empty() => std::mem::take(points),
                _ => return Ok(()),
            }
        };
        for passing in passed {
            *self.passes.entry(passing.point).or_default() += 1;
            if passing.point.moment == Moment::Answered {
                self.answered = true;
            }
            if passing.point.moment == Moment::Landed {
                self.landed(passing.point.call, &passing.answer)?;
            }
            let mut due = Vec::new();
            self.waiting.retain_mut(|(placed, left)| {
                if placed.when_point() != Some(passing.point) {
                    return true;
                }
                if *left > 0 {
                    *left -= 1;
                    return true;
                }
                due.push(placed.act);
                false
            });
            for act in due {
                self.act(act)?;
            }
        }
        Ok(())
    }

    /// HubSpot has carried a request out.
    fn landed(&mut self, call: Call, answer: &str) -> Result<(), String> {
        let id = format!("\"id\":\"{}\"", self.bench.records[0]);
        if matches!(call, Call::Read | Call::History | Call::List) && answer.contains(&id) {
            let now = self.bench.world.state().true_ms();
            for model in &mut self.models {
                model.read(now);
            }
        }
        self.look_there()
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        self.look(None)?;
        let record = self.bench.records[0];
        match act {
            Act::Write => {
                let value = self.next_value("l");
                self.sql(
                    "UPDATE contacts SET c_firstname = ?1 WHERE local_id = ?2",
                    &value,
                )
            }
            Act::WriteBack => self.sql(
                "UPDATE contacts SET c_firstname = ?1 WHERE local_id = ?2",
                FIRST,
            ),
            Act::WriteOther => {
                let value = self.next_value("l");
                self.sql(
                    "UPDATE contacts SET c_lastname = ?1 WHERE local_id = ?2",
                    &value,
                )
            }
            Act::Edit => {
                let value = self.next_value("r");
                self.edit(record, FIELDS[0], &value)
            }
            Act::EditBack => self.edit(record, FIELDS[0], FIRST),
            Act::EditOther => {
                let value = self.next_value("r");
                self.edit(record, FIELDS[1], &value)
            }
            Act::Delete | Act::Insert | Act::Archive | Act::Restore | Act::Merge => Ok(()),
            Act::Announce => {
                self.bench.world.state().portal.send_at_once();
                Ok(())
            }
            Act::Lose => {
                let mut state = self.bench.world.state();
                state.portal.send_at_once();
                let now = state.true_ms();
                while state.portal.take_events(now).is_some() {}
                Ok(())
            }
            Act::Kill => {
                self.kill();
                self.daemon = Some(self.bench.start());
                Ok(())
            }
            Act::Down => {
                self.kill();
                Ok(())
            }
            Act::Up => {
                if self.daemon.is_none() {
                    self.daemon = Some(self.bench.start());
                }
                Ok(())
            }
            Act::ClockAhead => self.step_clock(600_000),
            Act::ClockBack => self.step_clock(-600_000),
            Act::Pause => self.pass(PAUSE),
            Act::Poll => self.pass(BEYOND_A_POLL),
        }
    }

    fn step_clock(&mut self, by_ms: i64) -> Result<(), String> {
        self.bench.world.state().wall_offset_ms += by_ms;
        Ok(())
    }

    fn kill(&mut self) {
        self.bench.executor.kill();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
            self.bench.world.cut_wire();
        }
    }

    fn next_value(&mut self, prefix: &str) -> String {
        self.values += 1;
        format!("{prefix}{}", self.values)
    }

    /// A program's statement about the hot row.
    fn sql(&mut self, sql: &str, value: &str) -> Result<(), String> {
        let Some(row) = self.hot_row() else {
            return Ok(());
        };
        let connection = self.bench.programs.connection();
        let done = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((value, row)));
        match done {
            Ok(_) => {}
            // A field that is only pulled refuses it.
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {}
            Err(error) => return Err(format!("a program's write failed: {error}")),
        }
        self.look(Some(()))?;
        if let Some(daemon) = &self.daemon {
            daemon.committed();
        }
        Ok(())
    }

    fn edit(&mut self, record: u64, property: &str, value: &str) -> Result<(), String> {
        {
            let mut state = self.bench.world.state();
            let now = state.true_ms();
            state
                .portal
                .edit("contacts", record, &[(property, value)], now);
        }
        self.look_there()
    }

    fn hot_row(&self) -> Option<i64> {
        let record = self.bench.records[0];
        let linked = self.rows.iter().find(|row| row.hs_id == Some(record));
        linked.map(|row| row.local_id)
    }

    /// Sees what has changed in the mirror since the last look; by a program, or else by the daemon.
    fn look(&mut self, program: Option<()>) -> Result<(), String> {
        let now = self.bench.world.state().true_ms();
        let found = rows(self.bench.programs.connection());
        if found == self.rows {
            return Ok(());
        }
        let record = self.bench.records[0];
        let hot = |rows: &[RowSeen]| rows.iter().find(|row| row.hs_id == Some(record)).cloned();
        if let (Some(before), Some(after)) = (hot(&self.rows), hot(&found)) {
            for (index, model) in self.models.iter_mut().enumerate() {
                if before.values[index] == after.values[index] {
                    continue;
                }
                let value = after.values[index].clone();
                match program {
                    Some(()) => model.written(Place::Local, now, value),
                    None => model.carried(Place::Local, now, value)?,
                }
            }
        }
        self.rows = found;
        Ok(())
    }

    /// Sees what was written in HubSpot since the last look.
    fn look_there(&mut self) -> Result<(), String> {
        let news = {
            let state = self.bench.world.state();
            let log = state.portal.write_log();
            let news = log[self.writes_seen..].to_vec();
            self.writes_seen = log.len();
            news
        };
        for entry in news
            .iter()
            .filter(|entry| entry.id == self.bench.records[0])
        {
            let changes = entry.properties.iter().filter(|one| one.old != one.new);
            for change in changes {
                let Some(index) = FIELDS.iter().position(|name| *name == change.name) else {
                    continue;
                };
                let model = &mut self.models[index];
                let value = change.new.clone();
                match entry.operation {
                    Operation::Update if entry.by_api => {
                        model.carried(Place::Remote, entry.at_ms, value)?;
                    }
                    _ if !entry.by_api => model.written(Place::Remote, entry.at_ms, value),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Faults end, the daemon is there, and everything that waits has its time.
    fn rest(&mut self) -> Result<(), String> {
        if self.daemon.is_none() {
            self.daemon = Some(self.bench.start());
        }
        self.bench.world.state().portal.send_at_once();
        let start = self.now();
        self.pass(2 * BEYOND_A_POLL)?;
        while !self.is_at_rest() {
            if self.now() > start + LONGEST {
                return Err("it does not come to rest".to_owned());
            }
            self.pass(BEYOND_A_POLL)?;
        }
        self.look(None)?;
        self.look_there()
    }

    fn is_at_rest(&self) -> bool {
        let busy: i64 = self
            .bench
            .programs
            .connection()
            .prepare_cached(
                "SELECT (SELECT count(*) FROM sync_outbox WHERE state <> 'dead')
                      + (SELECT count(*) FROM _sync_reads)
                      + (SELECT count(*) FROM _sync_removals)
                      + (SELECT count(*) FROM _sync_gaps WHERE look_at IS NOT NULL)
                      + (SELECT count(*) FROM sync_inbox WHERE state = 'pending')",
            )
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .expect("the tables can be read");
        let state = self.bench.world.state();
        busy == 0 && state.portal.late_requests() == 0 && state.portal.waiting_events() == 0
    }

    fn judge(&mut self, played: &mut Played) -> Result<(), String> {
        let count = |call, moment| {
            let point = Point { call, moment };
            self.passes.get(&point).copied().unwrap_or_default()
        };
        let writes = [Call::Update, Call::Upsert, Call::Create, Call::Archive];
        let unanswered = writes
            .iter()
            .any(|call| count(*call, Moment::Departed) != count(*call, Moment::Answered))
            || self.small.fault.is_some();
        let steps = self
            .small
            .acts
            .iter()
            .any(|placed| matches!(placed.act, Act::ClockAhead | Act::ClockBack));
        let doubt = Doubt {
            unanswered,
            clock_ms: if steps { 700_000 } else { 0 },
        };
        let connection = self.bench.programs.connection();
        let record = self.bench.records[0];
        let row = self.rows.iter().find(|row| row.hs_id == Some(record));
        let state = self.bench.world.state();
        for (index, property) in FIELDS.into_iter().enumerate() {
            let remote = state.portal.record("contacts", record);
            let seen = FieldSeen {
                local: row.and_then(|row| row.values[index].clone()),
                remote: remote.and_then(|remote| remote.value(property).map(str::to_owned)),
                conflicts: conflicts(connection, property),
                history: history(connection, property),
            };
            for conflict in &seen.conflicts {
                let word = if conflict.is_open {
                    "open"
                } else {
                    conflict.winner.as_deref().unwrap_or("nobody")
                };
                played.conflicts.push(word.to_owned());
            }
            self.models[index]
                .judge(&seen, doubt)
                .map_err(|what| format!("{property}: {what}"))?;
        }
        Ok(())
    }
}

impl Placed {
    fn when_point(self) -> Option<Point> {
        match self.when {
            When::Next => None,
            When::At(point, _) => Some(point),
        }
    }
}

fn rows(connection: &Connection) -> Vec<RowSeen> {
    let mut statement = connection
        .prepare_cached(
            "SELECT local_id, hs_id, c_firstname, c_lastname FROM contacts ORDER BY local_id",
        )
        .expect("the mirror can be read");
    let rows = statement.query_map([], |row| {
        Ok(RowSeen {
            local_id: row.get(0)?,
            hs_id: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            values: vec![row.get(2)?, row.get(3)?],
        })
    });
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("mirror rows")
}

fn conflicts(connection: &Connection, property: &str) -> Vec<ConflictSeen> {
    let mut statement = connection
        .prepare_cached(
            "SELECT local_value, remote_value, winner, reason, resolved_at IS NULL FROM sync_conflicts WHERE property = ?1",
        )
        .expect("the conflicts can be read");
    let rows = statement.query_map([property], |row| {
        Ok(ConflictSeen {
            local: row.get(0)?,
            remote: row.get(1)?,
            winner: row.get(2)?,
            reason: row.get(3)?,
            is_open: row.get(4)?,
        })
    });
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("conflicts")
}

fn history(connection: &Connection, property: &str) -> BTreeSet<String> {
    let mut statement = connection
        .prepare_cached(
            "SELECT old_value FROM sync_history WHERE property = ?1 AND old_value IS NOT NULL
             UNION SELECT new_value FROM sync_history WHERE property = ?1 AND new_value IS NOT NULL AND origin = 'conflict'",
        )
        .expect("the history can be read");
    let rows = statement.query_map([property], |row| row.get(0));
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("history")
}

#[test]
fn the_numbers_of_a_world_fit_together() {
    assert!(BREATH < 2 * WAY_MS * 1_000_000, "{PERSON}");
}
