//! Plays one small world: its acts in their places, its fault, the rest that must follow, and what the model says of it.

use std::collections::{BTreeMap, BTreeSet};

use hubsyncd::model::mapping::Direction;
use hubsyncd::simulator::faults::Script;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::daemon::Daemon;
use crate::model::{FieldModel, Place};
use crate::model_existence::{Ends, Existence};
use crate::model_options::Options;
use crate::points::{Call, Moment, Point};
use crate::world::START_MS;
use crate::worlds::acts::Act;
use crate::worlds::alphabet::{Mode, Placed, Small, When};
use crate::worlds::bench::{Bench, OPTIONS, POLL, SECOND, fields, first, second};
use crate::worlds::clearings::Clearings;
use crate::worlds::programs::TOGGLES;
use crate::worlds::seen::{RowSeen, hot, rows};
use crate::worlds::ties::Tied;
use crate::worlds::watch::Hand;

/// Between an act and the next one: in the middle of what the one before set off.
const BREATH: u64 = 15_000_000;
/// By how much the clock steps.
const STEP_MS: i64 = 600_000;
const DAY_MS: i64 = 86_400_000;
/// What was to be done at a time to come that nobody believes is done within this.
const BELIEVED: u64 = 900 * SECOND;
/// How long a pause is.
pub(super) const PAUSE: u64 = 3 * SECOND;
/// How long a slow answer takes: longer than a read before a push stays fresh, shorter than a request may take.
const SLOW_MS: u64 = 3_000;
/// Another app than the daemon.
const OTHER_APP: u32 = 4_242;
/// Before a poll: less than the search index is behind, and than passes between two whole seconds of HubSpot's answers.
const EVE: u64 = SECOND / 10;
/// Beyond a poll and what it reads.
const BEYOND_A_POLL: u64 = 11 * SECOND;
/// Its polls, and windows that are walked again.
const MOST_REQUESTS_OF_A_QUIET_MINUTE: u64 = 16;
/// A read, a write, a look, and what is asked again.
const MOST_REQUESTS_OF_AN_ACT: u64 = 6;
/// How long a world may take to come to rest in which something went wrong: a create that was lost waits for a minute.
const DISTURBED: u64 = 300 * SECOND;
/// More polls of the executor at one moment than this is a task that spins.
const MOST_AT_ONCE: u32 = 5_000;

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
    pub(super) conflicts: Vec<&'static str>,
    /// How both sides' associations ended.
    pub(super) ties: Option<&'static str>,
    /// How the record and its row ended, where something was done to them as a whole.
    pub(super) ends: Option<Ends>,
    /// On which sides something was held that would have been emptied there.
    pub(super) held: Vec<Place>,
    /// Whether it was seen that an erasure left nothing.
    pub(super) erased: bool,
}

/// A world that is played.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one kind of thing was seen"
)]
pub(super) struct Play<'a> {
    pub(super) bench: &'a mut Bench,
    pub(super) small: &'a Small,
    pub(super) daemon: Option<Daemon>,
    pub(super) rng: ChaCha8Rng,
    /// The fields that are watched: the hot one first.
    pub(super) fields: [&'static str; 2],
    pub(super) models: Vec<FieldModel>,
    /// The hot field, where it holds options.
    pub(super) options: Options,
    pub(super) existence: Existence,
    /// What is held of values that are emptied.
    pub(super) clearings: Clearings,
    /// What programs have written last, by field.
    pub(super) said: BTreeMap<usize, String>,
    /// And to the row of another person.
    pub(super) said_elsewhere: Option<String>,
    /// Whether the token does not see the record.
    pub(super) is_hidden: bool,
    /// What the record is associated with.
    pub(super) tied: Tied,
    /// What the row held when an update left.
    pub(super) carried_last: Option<String>,
    /// The person's record as it was seen last.
    pub(super) record: u64,
    /// Whether a row of the person was there when the last archive was sent.
    pub(super) row_at_archive: bool,
    /// Whether the daemon archived over an edit that it could not know of.
    pub(super) edit_in_gap: bool,
    /// When the write was made that waited as the daemon made a record anew.
    pub(super) created_over_ms: Option<i64>,
    /// When something happened last (nanoseconds).
    acted_at: u64,
    /// When the last search left (nanoseconds).
    searched_at: u64,
    /// The conflicts that were open at the last look, and when an update left.
    pub(super) open: BTreeSet<(i64, i64, String)>,
    pub(super) open_at_departure: BTreeSet<(i64, i64, String)>,
    /// Records that the daemon has made.
    pub(super) creates: usize,
    /// The landed request that the fault met.
    pub(super) faulted: Option<Call>,
    pub(super) landed_since: u8,
    pub(super) rows: Vec<RowSeen>,
    pub(super) writes_seen: usize,
    /// How many HubSpot had logged when the world began, and how many requests it had refused.
    pub(super) writes_at_first: usize,
    pub(super) refused_at_first: u64,
    pub(super) values: u32,
    pub(super) waiting: Vec<(Placed, u8)>,
    pub(super) answered: bool,
    pub(super) passes: BTreeMap<Point, u64>,
}

/// Plays a world.
pub(super) fn play(bench: &mut Bench, small: &Small) -> Played {
    bench.put_back(u64::from(small.chance));
    let setup = small.setup;
    let writes_seen = bench.world.state().portal.write_log().len();
    let refused_at_first = bench.world.state().portal.violations().burst;
    let rows = rows(bench.programs.connection());
    let mut play = Play {
        models: vec![
            FieldModel::new(setup.policy, setup.direction, first(setup), START_MS)
                .filling_only(matches!(setup.mode, Mode::IfEmpty | Mode::Fills)),
            FieldModel::new(setup.policy, Direction::Both, second(setup), START_MS),
        ],
        fields: fields(setup),
        options: Options::default(),
        existence: Existence::default(),
        clearings: Clearings::default(),
        tied: Tied::default(),
        said: BTreeMap::new(),
        said_elsewhere: None,
        is_hidden: false,
        carried_last: None,
        record: bench.records[0],
        row_at_archive: false,
        creates: 0,
        edit_in_gap: false,
        created_over_ms: None,
        acted_at: 0,
        searched_at: 0,
        open: BTreeSet::new(),
        open_at_departure: BTreeSet::new(),
        faulted: None,
        landed_since: 0,
        writes_seen,
        writes_at_first: writes_seen,
        refused_at_first,
        rows,
        daemon: None,
        rng: ChaCha8Rng::seed_from_u64(u64::from(small.chance)),
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
    played.faulted = play.faulted;
    played.held = play
        .clearings
        .seen
        .iter()
        .map(|(_, place)| *place)
        .collect();
    played.requests = play.bench.world.state().requests;
    played.passed = std::mem::take(&mut play.passes);
    play.kill();
    played
}

impl Play<'_> {
    fn whole(&mut self, played: &mut Played) -> Result<(), String> {
        self.begin_ties();
        self.daemon = Some(self.bench.start());
        if self.small.setup.mode == Mode::Fresh {
            for model in &mut self.models {
                model.begins_anew(Place::Local);
            }
        } else {
            self.pass(SECOND)?;
        }
        if let Some(fault) = self.small.fault {
            let mut state = self.bench.world.state();
            let faults = state.portal.faults_mut();
            faults.slow_ms = SLOW_MS;
            faults.script(Script {
                after: u32::from(fault.after),
                ..Script::new(
                    fault.kind,
                    1,
                    if self.are_tied() {
                        "/crm/"
                    } else {
                        "/objects/"
                    },
                )
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
        self.rest(played)
    }

    fn now(&self) -> u64 {
        self.bench.world.state().steady
    }

    /// Lets that much time pass.
    pub(super) fn pass(&mut self, nanos: u64) -> Result<(), String> {
        let end = self.now() + nanos;
        let mut at_once = 0;
        loop {
            if self.bench.executor.poll_one(&mut self.rng).is_some() {
                at_once += 1;
                if at_once > MOST_AT_ONCE {
                    return Err("a task spins: time does not go on".to_owned());
                }
            } else if std::mem::take(&mut self.answered) {
                self.look(Hand::Daemon)?;
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
            match passing.point.moment {
                Moment::Departed => self.departed(passing.point.call),
                Moment::Landed => self.landed(passing.point.call, &passing.answer)?,
                Moment::Answered => self.answered = true,
            }
            self.at(passing.point)?;
        }
        Ok(())
    }

    /// Does what was appointed at a point.
    fn at(&mut self, point: Point) -> Result<(), String> {
        let mut due = Vec::new();
        self.waiting.retain_mut(|(placed, left)| {
            if placed.when_point() != Some(point) {
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
        Ok(())
    }

    fn departed(&mut self, call: Call) {
        match call {
            Call::Update | Call::Create | Call::Upsert => {
                for model in &mut self.models {
                    model.may_be_known(Place::Local);
                }
                let open = self.open_now();
                // One that is still to land left when others were open.
                match self.bench.world.state().portal.late_requests() {
                    0 => self.open_at_departure = open,
                    _ => self.open_at_departure.retain(|held| open.contains(held)),
                }
                self.carried_last = self.hot().and_then(|row| row.values[0].clone());
            }
            Call::Archive => self.row_at_archive = self.hot().is_some(),
            Call::Search => self.searched_at = self.now(),
            Call::Read
            | Call::History
            | Call::List
            | Call::Links
            | Call::Associate
            | Call::Disassociate
            | Call::Other
            | Call::Commit => {}
        }
    }

    /// HubSpot has carried a request out.
    fn landed(&mut self, call: Call, answer: &str) -> Result<(), String> {
        if let Some(fault) = self.small.fault
            && call != Call::Other
        {
            if self.landed_since == fault.after && self.faulted.is_none() {
                self.faulted = Some(call);
            }
            self.landed_since = self.landed_since.saturating_add(1);
        }
        let id = format!("\"id\":\"{}\"", self.record);
        let reads = matches!(call, Call::Read | Call::History | Call::List);
        if reads && self.small.setup.mode == Mode::Append && answer.contains(&id) {
            let there = self.bench.value_of(self.record, self.fields[0]);
            self.options.read(&there);
        }
        if answer.contains(&id) {
            let now = self.bench.world.state().true_ms();
            for model in &mut self.models {
                match call {
                    Call::Read | Call::History | Call::List => {
                        model.read_at_ms = now;
                        model.may_be_known(Place::Remote);
                    }
                    Call::Search => model.may_be_known(Place::Remote),
                    Call::Create
                    | Call::Upsert
                    | Call::Update
                    | Call::Archive
                    | Call::Links
                    | Call::Associate
                    | Call::Disassociate
                    | Call::Other
                    | Call::Commit => {}
                }
            }
        }
        self.look_there()
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        self.look(Hand::Daemon)?;
        self.acted_at = self.now();
        self.forget_word(act);
        let at_row = |column: &str| {
            format!("UPDATE contacts SET {column} = nullif(?1, '') WHERE local_id = ?2")
        };
        match act {
            Act::Write => {
                let value = self.next_hot("l");
                self.sql(&at_row("c_firstname"), &value)
            }
            Act::WriteBack => self.sql(&at_row("c_firstname"), first(self.small.setup)),
            Act::Clear => self.sql(&at_row("c_firstname"), ""),
            Act::WriteOther => {
                let value = self.next_value("l");
                self.sql(&at_row("c_lastname"), &value)
            }
            Act::Delete => self.sql("DELETE FROM contacts WHERE ?1 = ?1 AND local_id = ?2", ""),
            Act::Insert => self.insert(None),
            Act::InsertNumber => self.insert_number(),
            Act::InsertTwin => self.insert_twin(),
            Act::DeleteOther => self.delete_other(),
            Act::WriteElsewhere => {
                let value = self.next_value("o");
                self.models[0].elsewhere.insert(value.clone());
                let sql = format!("UPDATE contacts SET c_firstname = '{value}' WHERE c_email = 'other@example.com'");
                self.operate(&sql)?;
                let was_taken = self.rows.iter().any(|row| row.values[0].as_ref() == Some(&value));
                self.said_elsewhere = was_taken.then_some(value).or(self.said_elsewhere.take());
                Ok(())
            }
            Act::EditElsewhere => {
                let value = self.next_value("o");
                self.models[0].elsewhere.insert(value.clone());
                let other = self.bench.records[1];
                {
                    let mut state = self.bench.world.state();
                    let now = state.true_ms();
                    let change = [(self.fields[0], value.as_str())];
                    state.portal.edit("contacts", other, &change, now);
                }
                self.look_there()
            }
            Act::Replace => self.replace(),
            Act::WriteTwice => self.write_twice(),
            Act::Toggle => self.toggle(),
            Act::Compare => {
                if let Some(daemon) = &self.daemon {
                    daemon.compare();
                }
                Ok(())
            }
            Act::Edit => {
                let value = self.next_hot("r");
                self.edit(self.fields[0], &value)
            }
            Act::EditBack => self.edit(self.fields[0], first(self.small.setup)),
            Act::ClearThere => self.edit(self.fields[0], ""),
            Act::EditByApp => {
                let value = self.next_hot("r");
                self.edit_by(Some(OTHER_APP), self.fields[0], &value)
            }
            Act::EditSent | Act::EditSentByApp => match self.carried_last.clone() {
                Some(value) => {
                    let app = (act == Act::EditSentByApp).then_some(OTHER_APP);
                    self.edit_by(app, self.fields[0], &value)
                }
                None => Ok(()),
            },
            Act::EditSame => match self.hot().and_then(|row| row.values[0].clone()) {
                Some(value) => self.edit(self.fields[0], &value),
                None => Ok(()),
            },
            Act::EditOther => {
                let value = self.next_value("r");
                self.edit(self.fields[1], &value)
            }
            Act::Archive
            | Act::ArchiveOther
            | Act::Restore
            | Act::Merge
            | Act::MergeAway
            | Act::Erase
            | Act::Create => self.whole_record(act),
            Act::Hide | Act::Show => {
                let mut state = self.bench.world.state();
                let hidden = &mut state.portal.settings_mut().hidden;
                match act == Act::Hide {
                    true => hidden.insert(self.record),
                    false => hidden.remove(&self.record),
                };
                self.is_hidden = act == Act::Hide;
                self.existence.was_hidden = true;
                Ok(())
            }
            Act::DecideOddly => self.operate("UPDATE sync_conflicts SET resolution = 'whoever' WHERE resolved_at IS NULL AND resolution IS NULL"),
            Act::DecideValue => self.decide_value(),
            Act::DecideLocal => self.decide(Place::Local),
            Act::DecideRemote => self.decide(Place::Remote),
            Act::Discard => self.discard(),
            Act::Retry => {
                self.operate("UPDATE sync_outbox SET state = 'pending' WHERE state = 'dead'")
            }
            Act::Approve => {
                self.existence.approved |= self.finds("SELECT 1 FROM sync_holds");
                self.word_on_clearings(true);
                self.operate("UPDATE sync_holds SET approved_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE approved_at IS NULL AND settled_at IS NULL")
            }
            Act::TakeBack => {
                self.word_on_clearings(false);
                self.operate("DELETE FROM sync_holds WHERE approved_at IS NULL AND settled_at IS NULL")
            }
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
            Act::ClockAhead => {
                self.step_clock(STEP_MS);
                Ok(())
            }
            Act::ClockBack => {
                self.step_clock(-STEP_MS);
                Ok(())
            }
            Act::ClockDayAhead => {
                self.step_clock(DAY_MS);
                Ok(())
            }
            Act::ClockDayBack => {
                self.step_clock(-DAY_MS);
                Ok(())
            }
            Act::Ties(what) => self.tie(what),
            Act::TiesThere(what) => self.tie_there(what),
            Act::Pause => self.pass(PAUSE),
            Act::Poll => self.pass(BEYOND_A_POLL),
            Act::Eve => {
                if self.searched_at == 0 {
                    self.pass(BEYOND_A_POLL)?;
                }
                let eve = self.searched_at + POLL.as_nanos() as u64 - EVE;
                self.pass(eve.saturating_sub(self.now()))
            }
        }
    }

    fn step_clock(&self, by_ms: i64) {
        self.bench.world.state().wall_offset_ms += by_ms;
    }

    fn kill(&mut self) {
        self.bench.executor.kill();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
            for model in &mut self.models {
                model.may_be_forgotten();
            }
            self.bench.world.cut_wire();
        }
    }

    /// A new value of the hot field; of one that holds options, one more of them.
    pub(super) fn next_hot(&mut self, side: &str) -> String {
        if self.small.setup.mode != Mode::Append {
            return self.next_value(side);
        }
        self.values += 1;
        let next = OPTIONS[self.values as usize % OPTIONS.len()];
        let there = match side {
            "l" => self.hot().and_then(|row| row.values[0].clone()),
            _ => self.bench.value_of(self.record, self.fields[0]),
        };
        let mut all: Vec<String> = there
            .iter()
            .flat_map(|text| text.split(';').map(str::to_owned))
            .filter(|option| option != next && !option.is_empty())
            .collect();
        all.push(next.to_owned());
        all.join(";")
    }

    pub(super) fn next_value(&mut self, prefix: &str) -> String {
        self.values += 1;
        format!("{prefix}{}", self.values)
    }

    pub(super) fn ran(&mut self, done: rusqlite::Result<usize>) -> Result<(), String> {
        match done {
            Ok(_) => self.committed(),
            // A field that is only pulled refuses it.
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                Ok(())
            }
            Err(error) => Err(format!("a program's write failed: {error}")),
        }
    }

    pub(super) fn committed(&mut self) -> Result<(), String> {
        self.look(Hand::Program)?;
        *self.passes.entry(Point::COMMITTED).or_default() += 1;
        self.at(Point::COMMITTED)?;
        if let Some(daemon) = &self.daemon {
            daemon.committed();
        }
        Ok(())
    }

    /// The person's row.
    pub(super) fn hot(&self) -> Option<&RowSeen> {
        hot(&self.rows)
    }

    /// The daemon is there, what HubSpot has to say is said, and what must follow has its time, and no more.
    fn rest(&mut self, played: &mut Played) -> Result<(), String> {
        let is_disturbed = self.small.fault.is_some()
            || self.small.acts.iter().any(|placed| placed.act.disturbs());
        let steps_back = self
            .small
            .acts
            .iter()
            .filter(|placed| placed.act == Act::ClockBack);
        let mut acts = self.small.acts.iter();
        let by_a_day = acts.any(|placed| placed.act == Act::ClockDayBack);
        let bound = match (is_disturbed, self.small.setup.webhooks) {
            (true, _) if by_a_day => DISTURBED + BELIEVED,
            // What was due by the former time waits for it.
            (true, _) => DISTURBED + steps_back.count() as u64 * STEP_MS as u64 * SECOND / 1_000,
            (false, true) => 7 * BEYOND_A_POLL,
            (false, false) => 4 * BEYOND_A_POLL,
        };
        let start = self.bench.started_at();
        self.acted_at = self.now();
        let is_announced = self.small.setup.webhooks && !self.lost_announcements();
        let (mut compared_at, mut was_late) = (0, false);
        loop {
            if self.daemon.is_none() {
                self.daemon = Some(self.bench.start());
            }
            self.bench.world.state().portal.send_at_once();
            self.pass(BEYOND_A_POLL)?;
            self.look(Hand::Daemon)?;
            self.look_there()?;
            let left = self.left();
            let judged = if left.is_empty() {
                self.judge(played)
            } else {
                Err(format!("it does not come to rest; left: {left:?}"))
            };
            if judged.is_ok() {
                self.costs_its_share(start)?;
                return self.stays_at_rest();
            }
            if self.now() >= self.acted_at + bound {
                return judged;
            }
            // Without an event, only a comparison tells of a record that is gone, or of an association; also where a late
            // archive of the daemon's own has taken it.
            let is_late = self.bench.world.state().portal.late_requests() > 0;
            if (!self.existence.gone.is_empty() || self.ties_are_untold())
                && !is_announced
                && (compared_at < self.acted_at || (was_late && !is_late))
                && let Some(daemon) = &self.daemon
            {
                daemon.compare();
                (compared_at, was_late) = (self.now(), is_late);
            }
        }
    }

    /// Polls, and a few requests for each thing that happened.
    fn costs_its_share(&self, start: u64) -> Result<(), String> {
        let polls = (self.now() - start) / POLL.as_nanos() as u64 + 1;
        let acts = self.small.acts.iter();
        let acts = acts.map(|placed| {
            if placed.act == Act::Toggle {
                TOGGLES
            } else {
                1
            }
        });
        let happened = acts.sum::<usize>() + usize::from(self.small.fault.is_some()) + 1;
        let objects = 1 + u64::from(self.are_tied());
        let enough = objects * (polls + MOST_REQUESTS_OF_AN_ACT * happened as u64);
        let requests = self.bench.world.state().requests;
        if requests > enough {
            return Err(format!("{requests} requests where {enough} are enough"));
        }
        Ok(())
    }

    /// One world in a few; of those in which something waits for a person, more.
    fn is_watched_at_rest(&self) -> bool {
        let places = self.small.acts.iter().map(|placed| placed.act.place());
        let number = places.fold(usize::from(self.small.chance), |sum, place| {
            31 * sum + place
        });
        number % 8 == 1 || (number % 8 < 4 && (!self.open_now().is_empty() || self.is_dead()))
    }

    /// Of some worlds: a quiet minute costs its polls, and changes nothing on either side.
    fn stays_at_rest(&mut self) -> Result<(), String> {
        // A field that is only pushed meets HubSpot's value at some read.
        // A second row of a person is looked for again while the first one has its record.
        let is_left = self.small.setup.direction == Direction::Push || self.existence.twins > 0;
        if is_left || !self.is_watched_at_rest() {
            return Ok(());
        }
        self.waiting.clear();
        // The person's row may be at rest before a poll has brought what happened to other records.
        let seen_by = self.acted_at + 2 * BEYOND_A_POLL;
        if self.now() < seen_by {
            self.pass(seen_by - self.now())?;
            self.look(Hand::Daemon)?;
            self.look_there()?;
        }
        let (before, requests) = (self.rows.clone(), self.bench.world.state().requests);
        let writes = self.writes_seen;
        self.pass(6 * BEYOND_A_POLL)?;
        self.look(Hand::Daemon)?;
        self.look_there()?;
        let requests = self.bench.world.state().requests - requests;
        let is_same = |one: &RowSeen, other: &RowSeen| {
            let modified_at = other.modified_at.clone();
            let one = RowSeen {
                modified_at,
                ..one.clone()
            };
            one == *other
        };
        let are_same = before.len() == self.rows.len()
            && before
                .iter()
                .zip(&self.rows)
                .all(|(one, other)| is_same(one, other));
        if !are_same
            || self.writes_seen != writes
            || requests > MOST_REQUESTS_OF_A_QUIET_MINUTE * (1 + u64::from(self.are_tied()))
        {
            return Err(format!(
                "a quiet minute changed something or cost {requests} requests"
            ));
        }
        Ok(())
    }

    pub(super) fn lost_announcements(&self) -> bool {
        let mut acts = self.small.acts.iter();
        acts.any(|placed| placed.act == Act::Lose)
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
