//! Watches both sides of a world: what a program or a person wrote, what the daemon wrote, what is left to be done, and what
//! the model says of it all.

use std::collections::BTreeSet;

use hubsyncd::model::mapping::{Direction, Policy};
use hubsyncd::simulator::portal::{Operation, WriteLogEntry};

use crate::model::{Doubt, FieldModel, Place};
use crate::model_existence::Deletion;
use crate::points::{Call, Moment, Point};
use crate::worlds::acts::Act;
use crate::worlds::alphabet::{Mode, When};
use crate::worlds::bench::{PERSON, first};
use crate::worlds::play::{Play, Played};
use crate::worlds::seen::{
    ConflictSeen, ExistenceSeen, FieldSeen, RowSeen, conflicts, everything, hot, kept,
    open_conflicts, rows,
};

impl Play<'_> {
    /// Sees what has changed in the mirror since the last look; by a program, or else by the daemon.
    pub(super) fn look(&mut self, hand: Hand) -> Result<(), String> {
        let now = self.bench.world.state().true_ms();
        self.see_clearings();
        let open = self.open_now();
        let before = std::mem::replace(&mut self.open, open);
        let held: BTreeSet<_> = before.intersection(&self.open).cloned().collect();
        let found = rows(self.bench.programs.connection());
        if found == self.rows {
            return self.look_at_ties(hand);
        }
        let before = std::mem::replace(&mut self.rows, found);
        self.judge_versions(&before)?;
        for row in &before {
            if self.rows.iter().any(|other| other.local_id == row.local_id) {
                continue;
            }
            match hand {
                Hand::Daemon => {
                    if let Some(id) = row.hs_id
                        && !self.existence.may_go(Place::Local, id, true)
                    {
                        return Err(format!("the row of record {id} went without a cause"));
                    }
                    self.existence.went(self.small.setup.mode, Place::Local)?;
                }
                Hand::Program => {
                    // A record that was just made of it is not known to it yet.
                    let made = row.is_of_person().then_some(self.record);
                    self.existence.unwanted.extend(row.hs_id.or(made));
                    if self.small.setup.mode == Mode::Sparing && !row.is_of_person() {
                        continue;
                    }
                    self.said.clear();
                    self.existence.deleted.push(Deletion {
                        at_ms: now,
                        local_id: row.local_id,
                        over_an_edit: self.has_an_edit(),
                    });
                }
            }
        }
        self.look_at_ties(hand)?;
        if self.existence.twins > 0 {
            return Ok(());
        }
        let former = hot(&before).cloned();
        let Some(after) = self.hot().cloned() else {
            return Ok(());
        };
        let is_orderly = self.is_orderly();
        let same = former.filter(|former| former.local_id == after.local_id);
        let (fields, mode) = (self.fields, self.small.setup.mode);
        if let Hand::Program = hand {
            for (index, value) in after.values.iter().enumerate() {
                let is_same = |former: &RowSeen| former.values[index] == *value;
                match value {
                    _ if same.as_ref().is_some_and(is_same) => {}
                    Some(value) if value.starts_with('l') => {
                        self.said.insert(index, value.clone());
                    }
                    Some(_) | None => drop(self.said.remove(&index)),
                }
            }
        }
        if mode == Mode::Append
            && let (Hand::Program, Some(former)) = (hand, &same)
        {
            self.options
                .written_here(&former.values[0], &after.values[0]);
        }
        if mode == Mode::Append
            && let (Hand::Daemon, Some(former)) = (hand, &same)
        {
            self.options.taken_here(&former.values[0], &after.values[0]);
        }
        for (index, field) in fields.into_iter().enumerate() {
            let value = after.values[index].clone();
            let was = same.as_ref().map(|former| &former.values[index]);
            if matches!(hand, Hand::Daemon) && value.is_none() && was.is_some_and(Option::is_some) {
                self.may_be_emptied(index, Place::Local)?;
            }
            let model = &mut self.models[index];
            match &same {
                Some(former) if former.values[index] == value => continue,
                Some(_) => {}
                None => model.begins_anew(Place::Local),
            }
            if mode == Mode::Append && index == 0 {
                continue;
            }
            match hand {
                Hand::Program => model.written(Place::Local, now, value),
                // A row that comes back has what it had.
                Hand::Daemon if same.is_some() && waits(&held, after.local_id, field) => {
                    return Err(format!("{field} waits for a person, and was changed here"));
                }
                Hand::Daemon if is_orderly && model.comes_back(Place::Local, &value) => {
                    return Err(format!(
                        "{value:?} came back here over what was written over it"
                    ));
                }
                Hand::Daemon if model.carried(Place::Local, &value) => {}
                Hand::Daemon => return Err(nobody_wrote(field, &after)),
            }
        }
        Ok(())
    }

    /// No row goes back to an older version of its record.
    fn judge_versions(&self, before: &[RowSeen]) -> Result<(), String> {
        for row in &self.rows {
            let same =
                |former: &&RowSeen| former.local_id == row.local_id && former.hs_id == row.hs_id;
            let Some(former) = before.iter().find(same) else {
                continue;
            };
            if row.hs_id.is_some() && row.modified_at < former.modified_at {
                return Err(format!(
                    "row {} went back from {:?} to {:?}",
                    row.local_id, former.modified_at, row.modified_at
                ));
            }
        }
        Ok(())
    }

    /// Sees what was written in HubSpot since the last look.
    pub(super) fn look_there(&mut self) -> Result<(), String> {
        let news = {
            let state = self.bench.world.state();
            let log = state.portal.write_log();
            let news = log[self.writes_seen..].to_vec();
            self.writes_seen = log.len();
            news
        };
        let open = self.open_now();
        let held: BTreeSet<_> = self
            .open_at_departure
            .intersection(&open)
            .cloned()
            .collect();
        let row = self.hot().map_or(0, |row| row.local_id);
        let is_orderly = self.is_orderly();
        for entry in &news {
            if entry.object != "contacts" {
                if entry.by_api {
                    self.made_another(entry.operation)?;
                }
                continue;
            }
            if entry.operation == Operation::Archive && entry.by_api {
                // Without a match property another row of the person is somebody else.
                let is_other = entry.id == self.bench.records[1];
                let is_row =
                    self.row_at_archive && self.small.setup.mode != Mode::Keyless && !is_other;
                if !self.existence.may_go(Place::Remote, entry.id, is_row) {
                    return Err(format!("record {} was archived without a cause", entry.id));
                }
                self.existence.gone.insert(entry.id);
                self.existence.went(self.small.setup.mode, Place::Remote)?;
                self.edit_in_gap |= self.models.iter().any(|model| {
                    let edited = model.last(Place::Remote).map(|told| told.at_ms);
                    edited.is_some_and(|at| at >= model.read_at_ms)
                });
            }
            if entry.operation == Operation::Create && entry.by_api {
                self.creates += 1;
                self.record = entry.id;
                if self.hot().is_none() {
                    self.existence.unwanted.insert(entry.id);
                }
                self.created_over_ms = self.pending_ms();
                self.options.read(&None);
                for model in &mut self.models {
                    model.begins_anew(Place::Remote);
                }
            }
            // Which of two rows of a person a record comes from is not told.
            if entry.id != self.record || self.existence.twins > 0 {
                continue;
            }
            for change in entry.properties.iter().filter(|one| one.old != one.new) {
                let Some(index) = self.fields.iter().position(|name| *name == change.name) else {
                    continue;
                };
                if self.small.setup.mode == Mode::Append && index == 0 {
                    match entry.by_api {
                        true => self.options.pushed(&change.new)?,
                        false => self.options.written_there(&change.old, &change.new),
                    }
                    continue;
                }
                if entry.by_api && change.new.is_none() {
                    self.may_be_emptied(index, Place::Remote)?;
                }
                let model = &mut self.models[index];
                if entry.by_api && is_orderly && model.comes_back(Place::Remote, &change.new) {
                    let what = &change.new;
                    return Err(format!(
                        "{what:?} came back there over what was written over it"
                    ));
                }
                if entry.by_api && waits(&held, row, self.fields[index]) {
                    return Err(format!(
                        "{} waits for a person, and was changed there",
                        self.fields[index]
                    ));
                }
                if !entry.by_api {
                    let at_ms = entry.at_ms - self.small.setup.ahead_ms;
                    model.written(Place::Remote, at_ms, change.new.clone());
                } else if !model.carried(Place::Remote, &change.new) {
                    return Err(nobody_wrote(self.fields[index], change));
                }
            }
        }
        // An edit that a push went over meanwhile is no longer there when the deleted row's record is read.
        let is_pushed = |one: &WriteLogEntry| one.by_api && one.operation == Operation::Update;
        if self.hot().is_none() && news.iter().any(is_pushed) {
            let has_an_edit = self.has_an_edit();
            for deletion in &mut self.existence.deleted {
                deletion.over_an_edit &= has_an_edit;
            }
        }
        let wanted = match self.small.setup.mode.only_links() {
            true => 0,
            // Each of two rows that were archived as one record is made anew.
            false => {
                let anew = self.existence.archived_ms.len();
                self.existence.inserted + anew * (1 + self.existence.merges)
            }
        };
        if self.creates > wanted {
            return Err(format!(
                "{} creates where {wanted} were wanted",
                self.creates
            ));
        }
        self.look_at_ties_there()
    }

    /// The conflicts that are open, where some wait for a person.
    pub(super) fn open_now(&self) -> BTreeSet<(i64, i64, String)> {
        if self.small.setup.policy != Policy::Manual {
            return BTreeSet::new();
        }
        open_conflicts(self.bench.programs.connection())
    }

    /// Whether every request is answered, if not at once, and the record stays the one that it was.
    fn is_orderly(&self) -> bool {
        self.is_answered() && self.existence.is_plain()
    }

    /// Whether every request is answered, if not at once.
    pub(super) fn is_answered(&self) -> bool {
        let is_answered = self.small.fault.is_none() || self.small.is_slow();
        let mut acts = self.small.acts.iter();
        is_answered && !acts.any(|placed| matches!(placed.act, Act::Kill | Act::Down))
    }

    /// Whether the daemon ends where the answer to one of these calls has come and nobody has looked at it.
    fn was_killed_at_answers_of(&self, calls: &[Call]) -> bool {
        let mut acts = self.small.acts.iter();
        acts.any(|placed| {
            let is_answer = matches!(placed.when, When::At(point, _) if point.moment == Moment::Answered && calls.contains(&point.call));
            is_answer && matches!(placed.act, Act::Kill | Act::Down)
        })
    }

    fn has_an_edit(&self) -> bool {
        let mut models = self.models.iter();
        models.any(|model| model.direction == Direction::Both && model.is_pending(Place::Remote))
    }

    /// What waits to be done.
    pub(super) fn left(&self) -> Vec<String> {
        let connection = self.bench.programs.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT 'entry ' || operation || ' ' || state || ' ' || ifnull(waits_for, '') FROM sync_outbox WHERE state <> 'dead' AND next_attempt_at IS NOT NULL
                 UNION ALL SELECT 'read ' || hs_id FROM _sync_reads
                 UNION ALL SELECT 'removal ' || hs_id FROM _sync_removals
                 UNION ALL SELECT 'event ' || event_type FROM sync_inbox WHERE state = 'pending'
                 UNION ALL SELECT 'look ' || hs_id FROM _sync_gaps WHERE look_at IS NOT NULL
                 UNION ALL SELECT 'decision ' || property FROM sync_conflicts WHERE resolved_at IS NULL AND resolution IS NOT NULL
                 UNION ALL SELECT 'history ' || hs_id FROM _sync_histories
                 UNION ALL SELECT 'first read of ' || object FROM _sync_cursors WHERE backfill <> 'done'",
            )
            .expect("the tables can be read");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        let mut left: Vec<String> = rows.collect::<Result<_, _>>().expect("what is left");
        if self.is_held() {
            left.retain(|what| !what.starts_with("removal") && !what.starts_with("entry update"));
        }
        left.extend(self.ties_left());
        let state = self.bench.world.state();
        if state.portal.late_requests() > 0 {
            left.push("a request on the wire".to_owned());
        }
        if state.portal.waiting_events() > 0 {
            left.push("an announcement".to_owned());
        }
        left
    }

    pub(super) fn judge(&mut self, played: &mut Played) -> Result<(), String> {
        let count = |call, moment| {
            let point = Point { call, moment };
            self.passes.get(&point).copied().unwrap_or_default()
        };
        let writes = [
            Call::Update,
            Call::Upsert,
            Call::Create,
            Call::Archive,
            Call::Associate,
            Call::Disassociate,
        ];
        let unanswered = writes
            .iter()
            .any(|call| count(*call, Moment::Departed) != count(*call, Moment::Answered))
            || (self.small.fault.is_some() && !self.small.is_slow())
            // What a daemon that was killed had been answered it never wrote down: of a push over an edit it does not know that.
            || (self.was_killed_at_answers_of(&writes) && self.models.iter().any(FieldModel::has_a_gap));
        let steps = self.small.acts.iter().any(|placed| {
            matches!(
                placed.act,
                Act::ClockAhead | Act::ClockBack | Act::ClockDayAhead | Act::ClockDayBack
            )
        });
        let doubt = Doubt {
            unanswered,
            clock_ms: match (steps, self.small.setup.ahead_ms) {
                (true, _) => 90_000_000,
                (false, 0) => 0,
                // What tells of the other clock knows only whole seconds.
                (false, _) => 2_000,
            },
        };
        played.ties = self.judge_ties(unanswered)?;
        self.judge_traces()?;
        self.judge_remembered()?;
        self.judge_others()?;
        self.judge_holds()?;
        let connection = self.bench.programs.connection();
        let row = self.hot();
        let state = self.bench.world.state();
        let records = state.portal.records("contacts");
        let record = records
            .into_iter()
            .find(|record| record.value("email") == Some(PERSON));
        let whole = conflicts(connection, "*");
        played.conflicts.clear();
        let mut seen_whole = ExistenceSeen {
            row: row.map(|row| (row.local_id, row.hs_id)),
            record: record.map(|record| record.id()),
            is_open: whole.iter().any(|conflict| conflict.is_open),
            is_marked: row.is_some_and(|row| row.is_archived),
            is_dead: self.is_dead(),
            is_held: self.is_held(),
            edit_fell_into_a_gap: self.edit_in_gap,
            clock_ms: doubt.clock_ms,
            pending_local_ms: self.pending_ms().max(self.created_over_ms),
            ..ExistenceSeen::default()
        };
        for (index, property) in self.fields.into_iter().enumerate() {
            let model = &self.models[index];
            let found = conflicts(connection, property);
            // Also one about a value that came with another record.
            let waits_for_a_person = found.iter().any(|one| one.is_open);
            let seen = FieldSeen {
                local: row.and_then(|row| row.values[index].clone()),
                remote: record.and_then(|one| one.value(property).map(str::to_owned)),
                kept: kept(connection, property, &found, &whole),
                conflicts: model.own(found),
            };
            if self.small.setup.mode == Mode::Append && index == 0 {
                if self.existence.is_plain() {
                    self.options
                        .judge(first(self.small.setup), &seen.local, &seen.remote)?;
                    self.options.gave_way(self.finds(
                        "SELECT 1 FROM sync_history WHERE property = 'interests' AND origin = 'conflict'",
                    ))?;
                }
                continue;
            }
            played
                .conflicts
                .extend(seen.conflicts.iter().map(ConflictSeen::word));
            let said = self.said.get(&index).into_iter();
            let elsewhere = self.said_elsewhere.iter().filter(|_| index == 0);
            for value in said.chain(elsewhere) {
                let mut log = state
                    .portal
                    .write_log()
                    .iter()
                    .flat_map(|one| &one.properties);
                let was_there = log.any(|one| one.new.as_ref() == Some(value));
                let is_here = self
                    .rows
                    .iter()
                    .any(|row| row.values[index].as_ref() == Some(value));
                let is_somewhere = was_there || is_here || seen.kept.contains(value);
                // Which of two rows of a person a program wrote over is not followed.
                let is_followed = !self.existence.is_erased && self.existence.twins == 0;
                if !is_somewhere && is_followed && !self.waits_somewhere(value) {
                    return Err(format!("{property}: a program's {value} is nowhere"));
                }
            }
            self.judge_field((index, model), &seen, doubt)
                .map_err(|what| format!("{property}: {what}"))?;
            let is_open = seen_whole.is_open || waits_for_a_person;
            let is_taken = model.direction != Direction::Push
                && !self.existence.was_hidden
                && !self.is_clear_held(index);
            // A row that is held stands for its own record yet, though there is another one of the person by now.
            let linked = row.and_then(|row| row.hs_id);
            let is_its_row = linked.is_some() && linked == record.map(|one| one.id());
            if is_its_row && !is_open && is_taken {
                let (here, there) = (&seen.local, &seen.remote);
                if here != there {
                    return Err(format!("{property}: {here:?} here and {there:?} there"));
                }
            }
            let edited = model.last(Place::Remote).map(|told| told.at_ms);
            let edited = edited.filter(|_| model.direction == Direction::Both);
            seen_whole.last_remote_ms = seen_whole.last_remote_ms.max(edited);
        }
        played
            .conflicts
            .extend(whole.iter().map(ConflictSeen::word));
        let policy = self.small.setup.policy;
        let taken_back = self.models.iter().any(FieldModel::was_taken_back);
        let coincided = self.models.iter().any(|model| model.coincided);
        let is_untracked = self.small.setup.mode == Mode::Append;
        // What a person's word was carried out before is not told.
        let was_asked = self.models.iter().any(FieldModel::was_asked);
        let is_doubtful =
            unanswered || steps || taken_back || coincided || is_untracked || was_asked;
        let mode = self.small.setup.mode;
        if self.existence.was_hidden {
            // What nobody sees stays as it is; that nothing goes without a cause is looked at all the time.
            return Ok(());
        }
        let ends = self
            .existence
            .judge((policy, mode), &seen_whole, is_doubtful)?;
        played.ends = (!self.existence.is_plain()).then_some(ends);
        played.erased = self.existence.is_erased && self.existence.inserted == 0;
        if played.erased
            && let Some((query, text)) = everything(connection)
                .into_iter()
                .find(|(_, text)| is_of_the_person(text))
        {
            return Err(format!("erased, and {query} finds {text}"));
        }
        Ok(())
    }

    /// Rows of other people stand for records that are there: one that was merged away is followed, one that went takes its row
    /// along. What waits for a word stays as it is.
    fn judge_others(&self) -> Result<(), String> {
        let waits = self.is_held() || self.small.setup.mode == Mode::User;
        if waits
            || self
                .finds("SELECT 1 FROM sync_conflicts WHERE property = '*' AND resolved_at IS NULL")
        {
            return Ok(());
        }
        let state = self.bench.world.state();
        let others = self
            .rows
            .iter()
            .filter(|row| !row.is_of_person() && !row.is_archived);
        for (row, id) in others.filter_map(|row| Some((row.local_id, row.hs_id?))) {
            let record = state.portal.record("contacts", id);
            if record.is_none_or(|record| record.is_archived()) {
                return Err(format!(
                    "row {row} stands for record {id}, which is not there"
                ));
            }
        }
        Ok(())
    }

    fn judge_field(
        &self,
        (index, model): (usize, &FieldModel),
        seen: &FieldSeen,
        doubt: Doubt,
    ) -> Result<(), String> {
        if self.existence.is_erased {
            return Ok(());
        }
        if self.small.setup.webhooks && self.lost_announcements() && model.has_a_gap() {
            // Where events tell of gaps nobody asks, and this one told nobody.
            return Ok(());
        }
        for (place, value) in &model.gone_over {
            // Of a field whose history nobody wants only that is told which gave way before HubSpot had it.
            let is_untold = matches!(self.small.setup.mode, Mode::Untold | Mode::Fills)
                && (*place == Place::Remote || !value.starts_with('l') || model.was_there(value));
            // Nobody can know what became of a record that is hidden.
            let is_unseen = self.existence.was_hidden && *place == Place::Remote;
            if !is_untold && !is_unseen && !seen.kept.contains(value) {
                return Err(format!(
                    "{value} was written over in {place:?} and is kept nowhere"
                ));
            }
        }
        self.judge_open(model, seen)?;
        if let Some(fits) = self.judge_clearing(index, seen) {
            return fits;
        }
        let is_new = self.small.setup.mode == Mode::New && self.existence.was_only_made();
        if !self.existence.is_plain() && !is_new {
            return Ok(());
        }
        for conflict in &seen.conflicts {
            if !conflict.is_open && conflict.reason.is_none() {
                return Err(format!("{conflict:?} has no reason"));
            }
            let is_real = model.was_said(Place::Local, &conflict.local)
                && model.was_said(Place::Remote, &conflict.remote);
            if !is_real && !doubt.unanswered && model.direction == Direction::Both {
                return Err(format!("{conflict:?} is between nobody"));
            }
        }
        let stands = seen.stands(model.landed_late(doubt));
        let allowed = model.allowed(doubt);
        match stands.iter().any(|one| allowed.contains(one)) {
            true => Ok(()),
            false => Err(format!("{seen:?} where the design allows {allowed:?}")),
        }
    }

    /// What a person is asked: both values as the row has one of them, and what both sides had agreed on.
    fn judge_open(&self, model: &FieldModel, seen: &FieldSeen) -> Result<(), String> {
        let open = seen.conflicts.iter().filter(|conflict| conflict.is_open);
        for conflict in open.filter(|_| self.hot().is_some() && self.existence.twins == 0) {
            if conflict.local != seen.local {
                return Err(format!(
                    "{conflict:?} is open, and the row holds {:?}",
                    seen.local
                ));
            }
            if conflict
                .base
                .as_ref()
                .is_some_and(|base| !model.was_agreed(base))
            {
                return Err(format!(
                    "{conflict:?} is open over what nobody had agreed on"
                ));
            }
        }
        Ok(())
    }

    /// Whether the outbox still knows a value.
    fn waits_somewhere(&self, value: &str) -> bool {
        let connection = self.bench.programs.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT 1 FROM sync_outbox WHERE instr(row, ?1)
                 UNION ALL SELECT 1 FROM sync_outbox_fields WHERE ?1 IN (base_value, sent_value)",
            )
            .expect("the outbox can be read");
        statement.exists([value]).expect("the outbox")
    }

    /// Whether an entry waits for a person.
    pub(super) fn is_dead(&self) -> bool {
        self.finds("SELECT 1 FROM sync_outbox WHERE state = 'dead'")
    }

    /// Whether the guard holds something.
    fn is_held(&self) -> bool {
        self.small.setup.mode.holds()
            && self.finds("SELECT 1 FROM sync_holds WHERE settled_at IS NULL")
    }

    pub(super) fn finds(&self, sql: &str) -> bool {
        let connection = self.bench.programs.connection();
        let mut statement = connection.prepare_cached(sql).expect(sql);
        statement.exists([]).expect(sql)
    }

    /// When the last write was made that HubSpot does not have.
    fn pending_ms(&self) -> Option<i64> {
        let pending = self
            .models
            .iter()
            .filter(|model| model.is_pending(Place::Local));
        pending
            .filter_map(|model| model.last(Place::Local))
            .map(|told| told.at_ms)
            .max()
    }
}

/// Whose work in the mirror is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hand {
    Program,
    Daemon,
}

/// Whether a field of a row is in one of the conflicts.
fn waits(held: &BTreeSet<(i64, i64, String)>, row: i64, field: &str) -> bool {
    let mut held = held.iter();
    held.any(|(_, own, property)| *own == row && property == field)
}

fn nobody_wrote(field: &str, seen: &dyn std::fmt::Debug) -> String {
    format!("{field} was given a value which nobody had written: {seen:?}")
}

/// Whether a text has the person's e-mail, or a value of a world's own.
fn is_of_the_person(text: &str) -> bool {
    let mut explanation =
        text.split(|letter: char| !letter.is_alphanumeric() && !"@.".contains(letter));
    explanation.any(|word| {
        let number = word.strip_prefix(['l', 'r']);
        word == PERSON || number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}
