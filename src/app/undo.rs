//! `undo`: turns recorded changes back as ordinary local writes on a program's connection, beside a running daemon or without one.
//! What was changed again since is left. It asks HubSpot nothing: the push sends what it writes, and the guard counts it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::Transaction;
use serde_json::Value as Json;
use thiserror::Error;

use crate::clock::Clock;
use crate::config::{Config, suggest};
use crate::decide::decision::undo::{
    ChosenChanges, ChosenLink, ChosenRecord, FieldChange, FieldNow, LeftWhy, LinkNow, RowNow,
    WholeChange, is_own, is_same, judge_field, judge_gone, judge_link, judge_made, sorted,
};
use crate::decide::incoming::convert::match_identity;
use crate::engine::portal::last_known;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::model::association::{PairMapping, TypeId};
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::{FieldMapping, OnLocalDelete};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::store::commands::{CommandDb, CommandError};
use crate::store::links::types;
use crate::store::modes::{self, FieldMode};
use crate::store::shape::fit::as_made;
use crate::store::undo::{self, HistoryChoice, NewValue, UndoLink, UndoMark};
use crate::store::{StoreError, conflicts, outbox, rowjson};

/// Records that are turned back in one transaction: a program that waits to write waits for no more than that.
const RECORDS: usize = 100;

/// The property of a record as a whole.
const WHOLE: &str = "*";

/// Why nothing could be turned back.
#[derive(Debug, Error)]
pub(crate) enum UndoError {
    /// The database can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database refuses.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// No object has that name.
    #[error("no object `{object}` is synced here")]
    NoObject {
        /// What was written.
        object: String,
        /// What may have been meant.
        hint: String,
    },
    /// No run has that number.
    #[error("there is no run {0}")]
    NoRun(i64),
    /// No column has that name.
    #[error("`{object}` has no column `{column}`")]
    NoColumn {
        /// The object.
        object: String,
        /// The column.
        column: String,
    },
}

impl UndoError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Store(error) => error.hint().map(Cow::Borrowed),
            Self::Command(error) => error.hint().map(Cow::Borrowed),
            Self::NoObject { hint, .. } => Some(hint.into()),
            Self::NoRun(_) => {
                Some("`SELECT id, kind, object, started_at FROM sync_runs` names them".into())
            }
            Self::NoColumn { .. } => {
                Some("`SELECT object, column_name FROM sync_fields` names them".into())
            }
        }
    }

    /// Whether what was asked for is not there (status 2).
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Store(_) | Self::Command(_) => false,
            Self::NoObject { .. } | Self::NoRun(_) | Self::NoColumn { .. } => true,
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Command(error) => error.code(),
            Self::NoObject { .. } => "unknown-object",
            Self::NoRun(_) => "unknown-run",
            Self::NoColumn { .. } => "unknown-column",
        }
    }

    /// Whether the program or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Store(error) => error.is_configuration(),
            Self::Command(error) => error.is_configuration(),
            Self::NoObject { .. } | Self::NoRun(_) | Self::NoColumn { .. } => false,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct UndoWish {
    /// Which rows of `sync_history`.
    pub choice: HistoryChoice,
    /// Only those of this column.
    pub column: Option<String>,
    /// Whether nothing is to be written.
    pub is_dry_run: bool,
}

/// A change that is, or would be, turned back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UndoChange {
    /// The rows of `sync_history`.
    pub history_ids: Vec<i64>,
    /// The object, or the pair of an association.
    pub object: String,
    /// The row.
    pub local_id: i64,
    /// The property, `*` or `association`.
    pub property: String,
    /// What the mirror holds.
    pub from: Option<String>,
    /// What it is to hold.
    pub to: Option<String>,
    /// The objects of an association, from and to.
    pub ends: Option<(String, String)>,
}

/// A row of `sync_history` that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UndoLeft {
    /// Its number.
    pub history_id: i64,
    /// The object, or the pair of an association.
    pub object: String,
    /// The row.
    pub local_id: i64,
    /// The property, `*` or `association`.
    pub property: String,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub message: String,
}

/// What an undo does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct UndoReport {
    /// What is turned back.
    pub changes: Vec<UndoChange>,
    /// What is left.
    pub left: Vec<UndoLeft>,
}

/// The database, and what was chosen of it.
pub(crate) struct Undo {
    db: CommandDb,
    chosen: ChosenByMapping,
    is_any_chosen: bool,
    missing: Vec<(i64, i64)>,
}

/// What was chosen, and by which mapping it is turned back.
struct ChosenByMapping {
    objects: Objects,
    pairs: Vec<PairMapping>,
    changes: ChosenChanges,
    clock: Arc<dyn Clock>,
}

impl Undo {
    /// Looks what was chosen.
    ///
    /// # Errors
    /// The database can't be read, or the mapping file knows no such object or column.
    pub(crate) fn begin(
        config: &Config,
        wish: &UndoWish,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, UndoError> {
        let mut db = match wish.is_dry_run {
            true => CommandDb::open(&config.database)?,
            false => CommandDb::open_to_decide(&config.database)?,
        };
        let (objects, pairs, rows, missing, (turned, absorbed)) = {
            let tx = db.look()?;
            let made = as_made(&tx, &config.mapping)?;
            let objects = last_known::objects(&tx, &made)?;
            let pairs = made.pairs;
            check_names(&tx, &wish.choice, (&objects, &pairs))?;
            let choice = HistoryChoice {
                property: property_of(&objects, wish)?,
                ..wish.choice.clone()
            };
            let missing = undo::missing(&tx, &choice.ids)?;
            let links = (turned_types(&tx, &pairs)?, undo::absorbed(&tx)?);
            (objects, pairs, undo::chosen(&tx, &choice)?, missing, links)
        };
        let is_any_chosen = !rows.is_empty();
        let turned_of = |pair: &str, kind: &TypeId| turned.get(pair)?.get(kind).cloned();
        let surviving = |key: &str, (from, to): (i64, Option<i64>)| {
            let Some(pair) = pairs.iter().find(|pair| pair.key.as_str() == key) else {
                return (from, to);
            };
            let of = |object: &ObjectType, row| survivor_of(&absorbed, object, row);
            (of(&pair.from, from), to.map(|to| of(&pair.to, to)))
        };
        let changes = sorted(rows, &turned_of, &surviving);
        Ok(Self {
            db,
            is_any_chosen,
            missing,
            chosen: ChosenByMapping {
                objects,
                pairs,
                changes,
                clock: Arc::clone(clock),
            },
        })
    }

    /// The ranges of numbers that were asked for and that no row of `sync_history` has.
    pub(crate) fn missing(&self) -> &[(i64, i64)] {
        &self.missing
    }

    /// Whether a row of `sync_history` is chosen, be it one of which nothing is left to turn back.
    pub(crate) fn is_any_chosen(&self) -> bool {
        self.is_any_chosen
    }

    /// What would be turned back as things stand: it is turned back in a copy, so that what a trigger or a constraint refuses is known
    /// before anybody is asked, and no program waits for the look.
    ///
    /// # Errors
    /// The database can't be read, or there is no room for the copy.
    pub(crate) fn look(&self) -> Result<UndoReport, UndoError> {
        if self.chosen.changes.is_empty() {
            return Ok(UndoReport::default());
        }
        self.chosen.turn_back(&mut self.db.rehearsal()?)
    }

    /// Turns it back. What is meanwhile otherwise, or refused by the database, is left.
    ///
    /// # Errors
    /// The database can't be written; what was turned back stays so.
    pub(crate) fn carry_out(&mut self) -> Result<UndoReport, UndoError> {
        self.chosen.turn_back(&mut self.db)
    }
}

impl ChosenByMapping {
    /// Turns all of it back, so much in a transaction: records, then what joins them.
    fn turn_back(&self, db: &mut CommandDb) -> Result<UndoReport, UndoError> {
        let (mut done, mut turned) = (UndoReport::default(), Turned::default());
        let now = self.clock.now();
        for records in self.changes.records.chunks(RECORDS) {
            let tx = db.begin()?;
            let mut turning = Turning::new(&tx, &self.objects, &self.pairs);
            turning.turned.matches.clone_from(&turned.matches);
            for record in records {
                turning.turn(now, |turning| turning.record(record))?;
            }
            turning.end(&mut done, &mut turned);
            tx.commit().map_err(CommandError::from)?;
        }
        for links in self.changes.links.chunks(RECORDS) {
            let tx = db.begin()?;
            let mut turning = Turning::new(&tx, &self.objects, &self.pairs);
            turning.turned = turned.clone();
            for link in links {
                turning.turn(now, |turning| turning.link(link))?;
            }
            turning.end(&mut done, &mut turned);
            tx.commit().map_err(CommandError::from)?;
        }
        Ok(done)
    }
}

/// By pair and type, the pair and type of the other direction.
type TurnedTypes = BTreeMap<String, BTreeMap<TypeId, (String, TypeId)>>;

/// The types of the mapped pairs that have rows from both ends, with the other direction of each.
fn turned_types(tx: &Transaction<'_>, pairs: &[PairMapping]) -> Result<TurnedTypes, StoreError> {
    let mut turned = BTreeMap::new();
    for pair in pairs {
        let Some(back) = pair.opposite(pairs) else {
            continue;
        };
        let known = types::of(tx, pair)?;
        let both = known.iter().filter_map(|known| {
            let other = known.turned()?;
            Some((known.id.clone(), (back.key.as_str().to_owned(), other)))
        });
        turned.insert(pair.key.as_str().to_owned(), both.collect());
    }
    Ok(turned)
}

/// The row that a row's record is now, however often it was merged.
fn survivor_of(absorbed: &BTreeMap<(String, i64), i64>, object: &ObjectType, row: i64) -> i64 {
    let mut row = row;
    // No row goes twice, so that this ends.
    for _ in 0..=absorbed.len() {
        match absorbed.get(&(object.as_str().to_owned(), row)) {
            Some(into) => row = *into,
            None => break,
        }
    }
    row
}

/// A slip of the pen must not look as if there were nothing to turn back.
fn check_names(
    tx: &Transaction<'_>,
    choice: &HistoryChoice,
    (objects, pairs): (&Objects, &[PairMapping]),
) -> Result<(), UndoError> {
    if let Some(object) = &choice.object {
        let names = objects.iter().map(|object| object.object().as_str());
        let pairs = pairs.iter().map(|pair| pair.key.as_str());
        let known: Vec<&str> = names.chain(pairs).collect();
        // One that was taken out of the file since may have a history all the same.
        if !known.contains(&object.as_str()) && !undo::is_told_of(tx, object)? {
            return Err(UndoError::NoObject {
                object: object.clone(),
                hint: suggest::which(object, &known),
            });
        }
    }
    match choice.run {
        Some(run) if !undo::is_run(tx, run)? => Err(UndoError::NoRun(run)),
        Some(_) | None => Ok(()),
    }
}

fn property_of(objects: &Objects, wish: &UndoWish) -> Result<Option<String>, UndoError> {
    let Some(name) = &wish.choice.object else {
        return Ok(None);
    };
    let Some(column) = &wish.column else {
        return Ok(None);
    };
    let object = ObjectType::parse(name)
        .ok()
        .and_then(|name| objects.get(&name));
    let object = object.ok_or_else(|| {
        let known: Vec<&str> = objects
            .iter()
            .map(|object| object.object().as_str())
            .collect();
        UndoError::NoObject {
            object: name.clone(),
            hint: suggest::which(name, &known),
        }
    })?;
    let mut fields = object.mapping().fields.iter();
    let field = fields.find(|field| field.column.as_str().eq_ignore_ascii_case(column));
    match field {
        Some(field) => Ok(Some(field.property.as_str().to_owned())),
        None => Err(UndoError::NoColumn {
            object: name.clone(),
            column: column.clone(),
        }),
    }
}

/// Rows by object and number.
type RowSet = BTreeSet<(String, i64)>;

/// What is to be written for a record or an association.
enum Write {
    Row(ObjectType, i64, Vec<NewValue>),
    Delete(ObjectType, i64),
    Insert(ObjectType, i64, Vec<NewValue>, String),
    Associate(UndoLink),
    Disassociate(UndoLink),
}

/// A mark of what is written: object, row, property and value.
type Mark = (String, i64, String, Option<String>);

/// One transaction's look at chosen changes.
struct Turning<'a> {
    tx: &'a Transaction<'a>,
    objects: &'a Objects,
    pairs: &'a [PairMapping],
    report: UndoReport,
    writes: Vec<Write>,
    marks: Vec<Mark>,
    turned: Turned,
}

/// What this undo has turned back so far, with what came and went by itself.
#[derive(Debug, Clone, Default)]
struct Turned {
    /// Rows that it brings back, and those that it deletes: their associations come and go with them.
    back: RowSet,
    gone: RowSet,
    /// Whose the match values are of the rows that come back, by object and form.
    matches: BTreeMap<(String, String), LocalId>,
    /// Associations that came with others, and those that went: HubSpot's primary goes with the plain type, the other half of one
    /// between two records of an object with the first.
    came: BTreeSet<UndoLink>,
    went: BTreeSet<UndoLink>,
}

impl<'a> Turning<'a> {
    fn new(tx: &'a Transaction<'a>, objects: &'a Objects, pairs: &'a [PairMapping]) -> Self {
        Self {
            tx,
            objects,
            pairs,
            report: UndoReport::default(),
            writes: Vec::new(),
            marks: Vec::new(),
            turned: Turned::default(),
        }
    }

    fn end(self, done: &mut UndoReport, turned: &mut Turned) {
        done.changes.extend(self.report.changes);
        done.left.extend(self.report.left);
        turned.back.extend(self.turned.back);
        turned.matches.extend(self.turned.matches);
        turned.gone.extend(self.turned.gone);
        turned.came.extend(self.turned.came);
        turned.went.extend(self.turned.went);
    }

    /// Looks at one and writes it at once. What the database refuses is left, with its sentence.
    fn turn(
        &mut self,
        now: Timestamp,
        look: impl FnOnce(&mut Self) -> Result<(), UndoError>,
    ) -> Result<(), UndoError> {
        let before = self.report.changes.len();
        look(self)?;
        let (writes, marks) = (
            std::mem::take(&mut self.writes),
            std::mem::take(&mut self.marks),
        );
        if writes.is_empty() {
            return Ok(());
        }
        let point = "undo_of_one";
        self.tx
            .execute_batch(&format!("SAVEPOINT {point}"))
            .map_err(CommandError::from)?;
        let written = self.write(&writes, &marks, now);
        if written.is_err() {
            self.tx
                .execute_batch(&format!("ROLLBACK TO {point}"))
                .map_err(CommandError::from)?;
        }
        self.tx
            .execute_batch(&format!("RELEASE {point}"))
            .map_err(CommandError::from)?;
        match written {
            Ok(beside) => {
                self.turned.came.extend(beside.came);
                self.turned.went.extend(beside.went);
                Ok(())
            }
            Err(error) if error.is_of_one_row() => {
                let refused = self.report.changes.split_off(before);
                let (sentence, code) = error.told();
                // What is left says its code by itself.
                let said = sentence.strip_suffix(&format!(" [{code}]"));
                let message = said.unwrap_or(&sentence);
                self.report
                    .left
                    .extend(refused.into_iter().flat_map(|change| {
                        let left = change.left(&code, message);
                        left.collect::<Vec<_>>()
                    }));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes it, and tells which associations came and went with that.
    fn write(
        &self,
        writes: &[Write],
        marks: &[Mark],
        now: Timestamp,
    ) -> Result<Turned, CommandError> {
        let mut beside = Turned::default();
        for write in writes {
            match write {
                Write::Row(object, row, values) => {
                    undo::write_row(self.tx, &self.table(object), *row, values)?;
                }
                Write::Delete(object, row) => undo::delete_row(self.tx, &self.table(object), *row)?,
                Write::Insert(object, row, values, text) => {
                    undo::insert_row(self.tx, &self.table(object), *row, values)?;
                    for link in links_in(text) {
                        // One that its other record, or the pair, does not take any more keeps the row from nothing.
                        if link.insert(self.tx).is_ok() {
                            self.note_link(&link, now)?;
                        }
                    }
                }
                Write::Associate(link) => beside.came.extend(link.insert(self.tx)?),
                Write::Disassociate(link) => beside.went.extend(link.delete(self.tx)?),
            }
        }
        // What waits of them is told as an undo too: else the same command would choose it, and turn it round again.
        for link in beside.came.iter().chain(&beside.went) {
            if link.is_pending(self.tx)? {
                self.note_link(link, now)?;
            }
        }
        for (object, local_id, property, value) in marks {
            let mark = UndoMark {
                object,
                local_id: *local_id,
                property,
                value: value.as_deref(),
            };
            undo::note(self.tx, mark, now)?;
        }
        Ok(beside)
    }

    fn note_link(&self, link: &UndoLink, now: Timestamp) -> Result<(), CommandError> {
        let is_of = |pair: &&PairMapping| {
            pair.from.as_str() == link.from_object && pair.to.as_str() == link.to_object
        };
        let Some(pair) = self.pairs.iter().find(is_of) else {
            return Ok(());
        };
        let value = link.mark();
        let mark = UndoMark {
            object: pair.key.as_str(),
            local_id: link.from,
            property: conflicts::ASSOCIATION,
            value: Some(&value),
        };
        undo::note(self.tx, mark, now)
    }

    fn table(&self, object: &ObjectType) -> String {
        let object = self.objects.get(object);
        object.map_or_else(String::new, |object| {
            object.mapping().table.as_str().to_owned()
        })
    }

    fn record(&mut self, record: &ChosenRecord) -> Result<(), UndoError> {
        let name = ObjectType::parse(&record.object).ok();
        let Some(object) = name.and_then(|name| self.objects.get(&name)) else {
            self.leave_all(record, LeftWhy::ReadOnly);
            return Ok(());
        };
        let around = Around::of(self.tx, &object, record.local_id)?;
        if let Some(why) = self.never_goes_out(&object, record)? {
            self.leave_whole(record, why);
            self.fields(&object, record, &around);
            return Ok(());
        }
        match &record.whole {
            Some(WholeChange::Made { ids, row, origin }) => {
                let now = RowNow {
                    is_as_made: is_as_made(&object, record, row, around.row.as_ref()),
                    ..around.now()
                };
                match judge_made(*origin, now) {
                    Ok(()) => {
                        self.delete(&object, record, ids, row);
                        return Ok(());
                    }
                    Err(why) => self.leave(record, WHOLE, ids, why),
                }
            }
            Some(WholeChange::Gone { ids, row }) => {
                match (judge_gone(row.is_some(), around.now()), row) {
                    (Ok(()), Some(row)) => {
                        return self.insert(&object, (record, &around), ids, row);
                    }
                    (Ok(()), None) => self.leave(record, WHOLE, ids, LeftWhy::HistoryOff),
                    (Err(why), _) => self.leave(record, WHOLE, ids, why),
                }
            }
            Some(WholeChange::Absorbed { ids }) => self.leave(record, WHOLE, ids, LeftWhy::Merged),
            Some(WholeChange::Undone) | None => {}
        }
        self.fields(&object, record, &around);
        Ok(())
    }

    /// Why a whole record is not turned back by a local write, whatever its row holds.
    fn never_goes_out(
        &self,
        object: &ObjectSync,
        record: &ChosenRecord,
    ) -> Result<Option<LeftWhy>, StoreError> {
        let (mapping, whole) = (object.mapping(), record.whole.as_ref());
        let made = matches!(whole, Some(WholeChange::Made { origin, .. }) if is_own(*origin));
        let gone = matches!(whole, Some(WholeChange::Gone { .. }));
        if (made || gone) && !mapping.direction.pushes() {
            return Ok(Some(LeftWhy::ReadOnly));
        }
        if made && mapping.modes.on_local_delete == OnLocalDelete::Restore {
            return Ok(Some(LeftWhy::ComesBack));
        }
        if !gone {
            return Ok(None);
        }
        let id = record.hs_id.map(HubspotId);
        let other = match id {
            Some(id) => object.table.by_hs_id(self.tx, id)?,
            None => None,
        };
        if other.is_some_and(|row| row.record.local_id != LocalId(record.local_id)) {
            return Ok(Some(LeftWhy::RecordIsBack));
        }
        Ok((!mapping.modes.new_records.makes_records()).then_some(LeftWhy::NoRecord))
    }

    fn fields(&mut self, object: &ObjectSync, record: &ChosenRecord, around: &Around) {
        let mut values = Vec::new();
        for change in &record.fields {
            let Some(row) = &around.row else {
                self.leave(record, &change.property, &change.ids, LeftWhy::Gone);
                continue;
            };
            let field = writable(object, &change.property);
            let property = field.map(|field| &field.property);
            let now = FieldNow {
                kind: field.map(|field| field.property_type),
                value: property.and_then(|property| row.value(property).as_deref()),
                waits: around.keeps(property),
                is_unkept: around.unkept.contains(&change.property),
                write: field.map(FieldMapping::write_mode).unwrap_or_default(),
            };
            let is_undone = now
                .kind
                .is_some_and(|kind| is_same(kind, now.value, change.to.as_deref()));
            match (judge_field(change, now), field) {
                (Some(Ok(())), Some(field)) => values.push(self.change(record, change, field)),
                (Some(Err(LeftWhy::ChangedSince)), _) if is_undone => {
                    let place = (
                        record.object.as_str(),
                        record.local_id,
                        change.property.as_str(),
                    );
                    self.leave_undone(place, &change.ids);
                }
                (Some(Err(why)), _) => self.leave(record, &change.property, &change.ids, why),
                (Some(Ok(())) | None, _) => {}
            }
        }
        if !values.is_empty() {
            let name = object.object().clone();
            self.writes.push(Write::Row(name, record.local_id, values));
        }
    }

    fn change(
        &mut self,
        record: &ChosenRecord,
        change: &FieldChange,
        field: &FieldMapping,
    ) -> NewValue {
        self.report.changes.push(UndoChange {
            history_ids: change.ids.clone(),
            object: record.object.clone(),
            local_id: record.local_id,
            property: change.property.clone(),
            from: change.from.clone(),
            to: change.to.clone(),
            ends: None,
        });
        self.mark(
            &record.object,
            record.local_id,
            &change.property,
            change.to.clone(),
        );
        NewValue::of(
            field.column.as_str(),
            field.property_type,
            change.to.as_deref(),
        )
    }

    fn mark(&mut self, object: &str, local_id: i64, property: &str, value: Option<String>) {
        self.marks
            .push((object.to_owned(), local_id, property.to_owned(), value));
    }

    fn delete(&mut self, object: &ObjectSync, record: &ChosenRecord, ids: &[i64], row: &str) {
        // What was changed of it goes with it.
        let fields = record.fields.iter().flat_map(|field| &field.ids);
        let mut history_ids: Vec<i64> = ids.iter().chain(fields).copied().collect();
        history_ids.sort_unstable();
        self.report.changes.push(UndoChange {
            history_ids,
            object: record.object.clone(),
            local_id: record.local_id,
            property: WHOLE.to_owned(),
            from: Some(row.to_owned()),
            to: None,
            ends: None,
        });
        self.mark(&record.object, record.local_id, WHOLE, None);
        self.turned
            .gone
            .insert((record.object.clone(), record.local_id));
        let name = object.object().clone();
        self.writes.push(Write::Delete(name, record.local_id));
    }

    fn insert(
        &mut self,
        object: &ObjectSync,
        (record, around): (&ChosenRecord, &Around),
        ids: &[i64],
        row: &str,
    ) -> Result<(), UndoError> {
        if let Some(other) = self.take_match(object, record, row)? {
            let (why, place) = (
                LeftWhy::ValueTaken,
                (record.object.as_str(), record.local_id, WHOLE),
            );
            let message = format!("row {other}: {}", why.message());
            self.report
                .left
                .extend(left_of(place, ids, why.as_str(), &message));
            return Ok(());
        }
        self.report.changes.push(UndoChange {
            history_ids: ids.to_vec(),
            object: record.object.clone(),
            local_id: record.local_id,
            property: WHOLE.to_owned(),
            from: None,
            to: Some(row.to_owned()),
            ends: None,
        });
        self.mark(&record.object, record.local_id, WHOLE, None);
        let mut values = undo::own_columns(self.tx, object.mapping(), row)?;
        let fields = object.mapping().fields.iter();
        for field in fields.filter(|field| field.direction.pushes()) {
            if around.unkept.contains(field.property.as_str()) {
                // The history has kept no value of it: the column comes back empty.
                self.leave(record, field.property.as_str(), ids, LeftWhy::HistoryOff);
                continue;
            }
            let held = rowjson::text_in(row, field.column.as_str()).flatten();
            let mut changes = record.fields.iter();
            let change = changes.find(|change| change.property == field.property.as_str());
            let to = match change {
                // It was changed before it went: it comes back as it was before that too.
                Some(change)
                    if is_same(field.property_type, held.as_deref(), change.from.as_deref()) =>
                {
                    self.change(record, change, field);
                    change.to.clone()
                }
                Some(change) => {
                    self.leave(record, &change.property, &change.ids, LeftWhy::ChangedSince);
                    held
                }
                None => held,
            };
            values.push(NewValue::of(
                field.column.as_str(),
                field.property_type,
                to.as_deref(),
            ));
        }
        self.turned
            .back
            .insert((record.object.clone(), record.local_id));
        let name = object.object().clone();
        self.writes
            .push(Write::Insert(name, record.local_id, values, row.to_owned()));
        Ok(())
    }

    /// Another row, or one that comes back too, that has the value by which the record of a gone row is known: HubSpot would make no
    /// second record of it. Where there is none the value is this row's.
    fn take_match(
        &mut self,
        object: &ObjectSync,
        record: &ChosenRecord,
        row: &str,
    ) -> Result<Option<LocalId>, StoreError> {
        let fields = object.mapping().fields.iter();
        let values = fields.map(|field| {
            let mut changes = record.fields.iter();
            let change = changes.find(|change| change.property == field.property.as_str());
            let held = rowjson::text_in(row, field.column.as_str()).flatten();
            let text = change.map_or(held, |change| change.to.clone());
            let value = field.property_type.canonical(text.as_deref());
            (field.property.clone(), value.unwrap_or_default())
        });
        let Some(identity) = match_identity(object, &values.collect()) else {
            return Ok(None);
        };
        let own = LocalId(record.local_id);
        let linked = object.table.linked_by(self.tx, &identity, own)?;
        let other = match linked {
            Some((other, _)) => Some(other),
            None => object.table.unlinked_by(self.tx, &identity)?,
        };
        if other.is_some() {
            return Ok(other);
        }
        let key = (record.object.clone(), identity.form);
        let first = *self.turned.matches.entry(key).or_insert(own);
        Ok((first != own).then_some(first))
    }

    fn link(&mut self, chosen: &ChosenLink) -> Result<(), UndoError> {
        let named = self
            .pairs
            .iter()
            .find(|pair| pair.key.as_str() == chosen.pair)
            .and_then(|pair| link_of(pair, &chosen.text));
        let Some(link) = named else {
            self.leave_link(chosen, LeftWhy::Gone);
            return Ok(());
        };
        let ends = [
            (link.from_object.clone(), link.from),
            (link.to_object.clone(), link.to),
        ];
        let (mut has_ends, mut comes, mut goes) = (true, false, false);
        for end in &ends {
            let object = ObjectType::parse(&end.0).ok();
            let object = object.and_then(|name| self.objects.get(&name));
            let row = match object {
                Some(object) => object.table.by_local_id(self.tx, LocalId(end.1))?,
                None => None,
            };
            comes |= self.turned.back.contains(end);
            goes |= self.turned.gone.contains(end);
            has_ends &= row.is_some() || self.turned.back.contains(end);
        }
        let is_there = link.is_there(self.tx)?;
        // It went, or came, with the row of one of its records just now, or with another association of the two.
        let is_done = if chosen.was_made {
            (goes || self.turned.went.contains(&link)) && !is_there
        } else {
            (comes || self.turned.came.contains(&link)) && is_there
        };
        if !is_done {
            let now = LinkNow {
                has_ends,
                is_there,
                is_pending: !comes && link.is_pending(self.tx)?,
            };
            match judge_link(chosen.was_made, now) {
                Ok(()) => {}
                // It is there or not: what was changed again is as it was before.
                Err(LeftWhy::ChangedSince) => {
                    let place = (
                        chosen.pair.as_str(),
                        chosen.local_id,
                        conflicts::ASSOCIATION,
                    );
                    self.leave_undone(place, &chosen.ids);
                    return Ok(());
                }
                Err(why) => {
                    self.leave_link(chosen, why);
                    return Ok(());
                }
            }
        }
        let text = Some(chosen.text.clone());
        let (from, to) = match chosen.was_made {
            true => (text, None),
            false => (None, text),
        };
        self.report.changes.push(UndoChange {
            history_ids: chosen.ids.clone(),
            object: chosen.pair.clone(),
            local_id: chosen.local_id,
            property: conflicts::ASSOCIATION.to_owned(),
            from,
            to,
            ends: Some((link.from_object.clone(), link.to_object.clone())),
        });
        if !is_done {
            self.mark(
                &chosen.pair,
                chosen.local_id,
                conflicts::ASSOCIATION,
                Some(link.mark()),
            );
            let write = match chosen.was_made {
                true => self.disassociate(chosen, link)?,
                false => Write::Associate(link),
            };
            self.writes.push(write);
        }
        Ok(())
    }

    /// A label that was made is taken away, and the plain type that came with it alone: that is told as well, also where its own line
    /// was not chosen.
    fn disassociate(&mut self, chosen: &ChosenLink, link: UndoLink) -> Result<Write, UndoError> {
        let Some(last) = chosen.ids.last() else {
            return Ok(Write::Disassociate(link));
        };
        let ends = (link.from_object.clone(), link.to_object.clone());
        let (whole, told) = link.whole(self.tx, (&chosen.pair, *last))?;
        if let Some(told) = told {
            self.report.changes.push(UndoChange {
                history_ids: vec![told.id],
                object: chosen.pair.clone(),
                local_id: chosen.local_id,
                property: conflicts::ASSOCIATION.to_owned(),
                from: Some(told.text),
                to: None,
                ends: Some(ends),
            });
        }
        Ok(Write::Disassociate(whole))
    }

    fn leave(&mut self, record: &ChosenRecord, property: &str, ids: &[i64], why: LeftWhy) {
        let place = (record.object.as_str(), record.local_id, property);
        self.report
            .left
            .extend(left_of(place, ids, why.as_str(), why.message()));
    }

    fn leave_link(&mut self, link: &ChosenLink, why: LeftWhy) {
        let place = (link.pair.as_str(), link.local_id, conflicts::ASSOCIATION);
        self.report
            .left
            .extend(left_of(place, &link.ids, why.as_str(), why.message()));
    }

    /// What was changed again since, to what it was before.
    fn leave_undone(&mut self, place: (&str, i64, &str), ids: &[i64]) {
        let (why, message) = (LeftWhy::ChangedSince, LeftWhy::UNDONE);
        self.report
            .left
            .extend(left_of(place, ids, why.as_str(), message));
    }

    fn leave_all(&mut self, record: &ChosenRecord, why: LeftWhy) {
        self.leave_whole(record, why);
        for change in &record.fields {
            self.leave(record, &change.property, &change.ids, why);
        }
    }

    fn leave_whole(&mut self, record: &ChosenRecord, why: LeftWhy) {
        match &record.whole {
            Some(
                WholeChange::Made { ids, .. }
                | WholeChange::Gone { ids, .. }
                | WholeChange::Absorbed { ids },
            ) => self.leave(record, WHOLE, ids, why),
            Some(WholeChange::Undone) | None => {}
        }
    }
}

impl UndoChange {
    fn left<'a>(&'a self, code: &'a str, message: &'a str) -> impl Iterator<Item = UndoLeft> + 'a {
        let place = (self.object.as_str(), self.local_id, self.property.as_str());
        left_of(place, &self.history_ids, code, message)
    }
}

fn left_of<'a>(
    (object, local_id, property): (&'a str, i64, &'a str),
    ids: &'a [i64],
    code: &'a str,
    message: &'a str,
) -> impl Iterator<Item = UndoLeft> + 'a {
    ids.iter().map(move |id| UndoLeft {
        history_id: *id,
        object: object.to_owned(),
        local_id,
        property: property.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    })
}

/// What stands around a row.
struct Around {
    row: Option<MirrorRow>,
    entry: Option<Entry>,
    open: BTreeSet<PropertyName>,
    is_in_conflict: bool,
    is_whole_in_conflict: bool,
    is_archived: bool,
    unkept: BTreeSet<String>,
}

impl Around {
    fn of(tx: &Transaction<'_>, object: &ObjectSync, local_id: i64) -> Result<Self, StoreError> {
        let (name, id) = (object.object(), LocalId(local_id));
        let open: BTreeSet<_> = conflicts::open_of(tx, name, id)?.into_keys().collect();
        let is_in_conflict = undo::is_in_conflict(tx, name.as_str(), local_id)?;
        Ok(Self {
            row: object.table.by_local_id(tx, id)?,
            entry: outbox::of_row(tx, name, id)?,
            is_whole_in_conflict: is_in_conflict && open.is_empty(),
            open,
            is_in_conflict,
            is_archived: object.table.is_marked(tx, id)?,
            unkept: modes::said(tx, name, FieldMode::Unkept)?,
        })
    }

    /// What keeps a field of the row from being touched.
    fn keeps(&self, property: Option<&PropertyName>) -> Option<LeftWhy> {
        if self.is_archived {
            return Some(LeftWhy::Archived);
        }
        let is_open = |property| self.open.contains(property);
        if self.is_whole_in_conflict || property.is_some_and(is_open) {
            return Some(LeftWhy::OpenConflict);
        }
        let waits = self.entry.as_ref()?.field(property?);
        waits.map(|_| LeftWhy::Pending)
    }

    fn now(&self) -> RowNow {
        RowNow {
            is_there: self.row.is_some(),
            is_archived: self.is_archived,
            waits: match (self.is_in_conflict, &self.entry) {
                (true, _) => Some(LeftWhy::OpenConflict),
                (false, Some(_)) => Some(LeftWhy::Pending),
                (false, None) => None,
            },
            is_as_made: false,
        }
    }
}

/// The field of a property that may be written here.
fn writable<'a>(object: &'a ObjectSync, property: &str) -> Option<&'a FieldMapping> {
    let mut fields = object.mapping().fields.iter();
    fields.find(|field| field.property.as_str() == property && field.direction.pushes())
}

/// Whether a row holds what it was made with, but for what is chosen as well.
fn is_as_made(
    object: &ObjectSync,
    record: &ChosenRecord,
    made: &str,
    row: Option<&MirrorRow>,
) -> bool {
    let Some(row) = row else { return false };
    let fields = object.mapping().fields.iter();
    let mut pushed = fields.filter(|field| field.direction.pushes());
    pushed.all(|field| {
        let mut changes = record.fields.iter();
        let change = changes.find(|change| change.property == field.property.as_str());
        let expected = match change {
            Some(change) => Some(change.from.clone()),
            None => rowjson::text_in(made, field.column.as_str()),
        };
        expected.is_none_or(|expected| {
            let held = row.value(&field.property).as_deref();
            is_same(field.property_type, held, expected.as_deref())
        })
    })
}

/// The association that a line of `sync_history` is about; `None` where its other record was not in the mirror.
fn link_of(pair: &PairMapping, text: &str) -> Option<UndoLink> {
    let json: Json = serde_json::from_str(text).ok()?;
    Some(UndoLink {
        from_object: pair.from.as_str().to_owned(),
        from: json["from_local_id"].as_i64()?,
        to_object: pair.to.as_str().to_owned(),
        to: json["to_local_id"].as_i64()?,
        category: json["category"].as_str().map(str::to_owned),
        type_id: json["type_id"].as_i64(),
    })
}

/// The associations that the JSON of a row has kept.
fn links_in(row: &str) -> Vec<UndoLink> {
    let json: Json = serde_json::from_str(row).unwrap_or_default();
    let kept = json["associations"].as_array().into_iter().flatten();
    kept.filter_map(|link| {
        Some(UndoLink {
            from_object: link["from_object"].as_str()?.to_owned(),
            from: link["from_local_id"].as_i64()?,
            to_object: link["to_object"].as_str()?.to_owned(),
            to: link["to_local_id"].as_i64()?,
            category: link["category"].as_str().map(str::to_owned),
            type_id: link["type_id"].as_i64(),
        })
    })
    .collect()
}
