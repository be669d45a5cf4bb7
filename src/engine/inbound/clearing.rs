//! Values that are emptied: a column of which one side empties more than the guard allows is held (`decide/guard`). What is held
//! is taken out of its entries, and the field stays as it is on each side until an operator has said something.
//!
//! What a program empties here is counted before its batch is sent, and held as a whole. What comes in empty from HubSpot is judged
//! with all that the same answer empties, and held from the answer on that crosses the bound: whichever step asked, also where it is the
//! answer to a write of ours, and also of a row that has just become the record's.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction};

use crate::decide::acts::Act;
use crate::decide::guard::{Count, Verdict, judge_cleared};
use crate::decide::record::RecordPlan;
use crate::engine::inbound::applying::Applying;
use crate::engine::inbound::merge::ShownRecord;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::model::entry::{Base, Entry, EntryField, EntryState, Operation};
use crate::model::id::{HoldId, HubspotId, LocalId, OutboxId};
use crate::model::mapping::{FieldMapping, WriteMode};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::cleared::{self, HeldClear};
use crate::store::history::{self, Change, Origin};
use crate::store::holds::{self, HeldOperation, HoldKey, HoldWord, Side};
use crate::store::{Lane, StoreError, fields, outbox};

/// The guard's key of the values of a column.
pub(crate) fn clear_key<'a>(
    object: &'a ObjectType,
    side: Side,
    property: &'a PropertyName,
) -> HoldKey<'a> {
    HoldKey {
        object,
        side,
        operation: HeldOperation::Clear,
        property: Some(property),
    }
}

/// Takes out of due updates what empties too much of a column, and gives the archive of a deleted row back what was held of it.
/// `None`: entries were changed, and are to be looked at again.
pub(crate) async fn without_held(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
) -> Result<Option<Vec<Entry>>, StepError> {
    let (sync, guard) = (object.clone(), engine.settings().guard);
    let (now, offset) = (engine.now(), engine.client.clock_offset_ms());
    let since = now.plus_millis(offset) - guard.window;
    let (due, found) = engine
        .store
        .read(move |connection| {
            let found = Found {
                written_again: written_again(connection, &sync, &due)?,
                crossing: crossing(connection, &sync, &due, (guard.max_cleared, since))?,
            };
            Ok((due, found))
        })
        .await?;
    if found.written_again.is_empty() && found.crossing.is_empty() {
        return Ok(Some(due));
    }
    let sync = object.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            for held in &found.written_again {
                rejoin(tx, &sync, held, tx.now())?;
            }
            for property in &found.crossing {
                hold_waiting(tx, &sync, property, (guard.max_cleared, since), tx.now())?;
            }
            Ok(())
        })
        .await?;
    Ok(None)
}

struct Found {
    /// Held fields that a program has written again: they wait like any other.
    written_again: Vec<HeldClear>,
    /// Properties of which too much is emptied.
    crossing: Vec<PropertyName>,
}

fn written_again(
    connection: &Connection,
    object: &ObjectSync,
    due: &[Entry],
) -> Result<Vec<HeldClear>, StoreError> {
    let mut again = Vec::new();
    if !cleared::has_any(connection, object.object())? {
        return Ok(again);
    }
    for entry in due {
        let held = cleared::of_row(connection, object.object(), entry.local_id)?;
        let is_deleted = entry.standing.operation == Operation::Archive;
        again.extend(
            held.into_iter()
                .filter(|held| is_deleted || entry.field(&held.property).is_some()),
        );
    }
    Ok(again)
}

/// A held field that was written again is pending over what HubSpot holds; so is one that a program emptied and whose row it has
/// deleted since: what stands in HubSpot is nobody's edit.
fn rejoin(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    held: &HeldClear,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(entry) = outbox::of_row(tx, object.object(), held.local_id)? {
        put_over_hubspots(tx, &entry, held)?;
    }
    cleared::forget(tx, object.object(), held)?;
    recount(tx, object.object(), held.side, &held.property, now)
}

/// Where a program has written a held field again, or deleted its row, what waits of it stands over what HubSpot holds: the write
/// itself knows only what the mirror held. `None`: nothing waits of it.
fn over_hubspots(entry: &Entry, held: &HeldClear) -> Option<EntryField> {
    let written = entry.field(&held.property).map(|field| field.changed_at);
    let is_deleted = entry.standing.operation == Operation::Archive;
    let emptied = (is_deleted && held.side == Side::Hubspot).then_some(held.changed_at);
    Some(EntryField {
        property: held.property.clone(),
        base: Base::Known(held.remote.clone()),
        changed_at: written.or(emptied)?,
        sent: None,
    })
}

/// Puts it so into the outbox. Tells whether anything waits of the field.
fn put_over_hubspots(
    tx: &Transaction<'_>,
    entry: &Entry,
    held: &HeldClear,
) -> Result<bool, StoreError> {
    let Some(field) = over_hubspots(entry, held) else {
        return Ok(false);
    };
    outbox::put_field(tx, entry.id, &field.property, &field.base, field.changed_at)?;
    Ok(true)
}

/// An entry as the push takes it up, and what the guard holds on of its row: a held field that was written again has rejoined it.
pub(crate) fn rejoined(
    connection: &Connection,
    object: &ObjectType,
    mut entry: Entry,
) -> Result<(Entry, Vec<HeldClear>), StoreError> {
    let mut held = match cleared::has_any(connection, object)? {
        true => cleared::of_row(connection, object, entry.local_id)?,
        false => Vec::new(),
    };
    held.retain(|held| {
        let Some(field) = over_hubspots(&entry, held) else {
            return true;
        };
        entry.fields.retain(|own| own.property != field.property);
        entry.fields.push(field);
        false
    });
    Ok((entry, held))
}

/// What is held of a row on its way to HubSpot is a local write like any other: where the row as a whole is decided, it waits with
/// the others, and the row is no clean one. Gives back what waits of the row then; while that is on its way, nothing is moved.
pub(crate) fn rejoin_row(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
    queued: Option<Entry>,
) -> Result<Option<Entry>, StoreError> {
    let (name, local_id) = (pass.name(), row.record.local_id);
    let is_flying = |entry: &Entry| entry.standing.state == EntryState::InFlight;
    if queued.as_ref().is_some_and(is_flying) || !cleared::has_any(tx, name)? {
        return Ok(queued);
    }
    let mut all = cleared::of_row(tx, name, local_id)?;
    all.retain(|held| held.side == Side::Hubspot);
    for held in &all {
        let is_written = queued
            .as_ref()
            .is_some_and(|entry| entry.field(&held.property).is_some());
        if !is_written {
            send(tx, pass, held, held.changed_at)?;
        }
        rejoin(tx, pass.object, held, pass.now)?;
    }
    match all.is_empty() {
        true => Ok(queued),
        false => outbox::of_row(tx, name, local_id),
    }
}

/// Tells the hold of a column how much it holds by now.
pub(crate) fn recount(
    tx: &Transaction<'_>,
    object: &ObjectType,
    side: Side,
    property: &PropertyName,
    now: Timestamp,
) -> Result<(), StoreError> {
    let held = cleared::count(tx, object, side, property)?;
    holds::recount(tx, clear_key(object, side, property), held, now)
}

/// Whether a field of an entry is emptied, without an approval.
fn is_cleared(entry: &Entry, row: &MirrorRow, field: &FieldMapping) -> bool {
    let pending = entry.field(&field.property);
    let had_value = pending
        .is_some_and(|pending| matches!(&pending.base, Base::Known(base) if !base.is_empty()));
    // Where HubSpot's value is not replaced, a clearing never goes out.
    had_value
        && field.write_mode() == WriteMode::Replace
        && field.is_sent()
        && entry.standing.approved_hold.is_none()
        && row.value(&field.property).is_empty()
}

fn crossing(
    connection: &Connection,
    object: &ObjectSync,
    due: &[Entry],
    (max_cleared, since): (f64, Timestamp),
) -> Result<Vec<PropertyName>, StoreError> {
    let mut emptied = BTreeSet::new();
    let is_bound = max_cleared < 1.0;
    for entry in due.iter().filter(|_| is_bound) {
        let Some(row) = object.table.by_local_id(connection, entry.local_id)? else {
            continue;
        };
        let fields = object.mapping().fields.iter();
        let cleared = fields.filter(|field| is_cleared(entry, &row, field));
        emptied.extend(cleared.map(|field| field.property.clone()));
    }
    let mut crossing = Vec::new();
    for property in emptied {
        if let Verdict::Hold { .. } = word(connection, object, &property, (max_cleared, since))?.1 {
            crossing.push(property);
        }
    }
    Ok(crossing)
}

/// How many values of a property wait to be emptied in HubSpot, and what the guard says of all of them.
pub(crate) fn word(
    connection: &Connection,
    object: &ObjectSync,
    property: &PropertyName,
    (max_cleared, since): (f64, Timestamp),
) -> Result<(u64, Verdict), StoreError> {
    let Some(field) = object.mapping().field(property) else {
        return Ok((0, Verdict::Go));
    };
    let (table, column) = (object.mapping().table.as_str(), field.column.as_str());
    let due = cleared::waiting(connection, object.object(), property, (table, column))?;
    let count = Count {
        due,
        in_window: holds::counted(
            connection,
            clear_key(object.object(), Side::Hubspot, property),
            since,
        )?,
        left: cleared::filled(connection, (table, column), None)?,
    };
    Ok((due, judge_cleared(count, max_cleared)))
}

fn hold_waiting(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    property: &PropertyName,
    bounds: (f64, Timestamp),
    now: Timestamp,
) -> Result<(), StoreError> {
    // A program may have written since it was looked at.
    let (due, Verdict::Hold { allowed }) = word(tx, object, property, bounds)? else {
        return Ok(());
    };
    let Some(field) = object.mapping().field(property) else {
        return Ok(());
    };
    let name = object.object();
    let key = clear_key(name, Side::Hubspot, property);
    let records = cleared::count(tx, name, Side::Hubspot, property)? + due;
    let hold = holds::hold(tx, key, records, allowed, now)?;
    let (table, column) = (object.mapping().table.as_str(), field.column.as_str());
    for id in cleared::take_out(tx, name, property, (table, column), hold)? {
        if outbox::fields(tx, id)?.is_empty() {
            outbox::end(tx, id)?;
        }
    }
    recount(tx, name, Side::Hubspot, property, now)?;
    tell(name, property, records, allowed);
    Ok(())
}

fn tell(object: &ObjectType, property: &PropertyName, records: u64, allowed: u64) {
    tracing::error!(
        object = %object, property = %property, records, allowed, code = HeldOperation::Clear.code(),
        "emptied values wait for an operator's word: `hubsyncd outbox approve` lets them go, `hubsyncd outbox discard --hold`, or \
         a DELETE from `sync_holds`, takes them back"
    );
}

/// Whether an entry that a program has written to since its batch was looked at is to be looked at again: it empties too much of a
/// column, or writes again what is held of one.
pub(crate) fn is_overtaken(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    row: &MirrorRow,
) -> Result<bool, StoreError> {
    if !written_again(tx, pass.object, std::slice::from_ref(entry))?.is_empty() {
        return Ok(true);
    }
    let fields = pass.object.mapping().fields.iter();
    let emptied: Vec<&FieldMapping> = fields
        .filter(|field| is_cleared(entry, row, field))
        .collect();
    let bound = match emptied.is_empty() {
        true => None,
        false => cleared::bound(tx)?,
    };
    let Some((max_cleared, window)) = bound else {
        return Ok(false);
    };
    let bounds = (max_cleared, pass.moment().there() - window);
    for field in emptied {
        if let Verdict::Hold { .. } = word(tx, pass.object, &field.property, bounds)?.1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether something is held of rows that are gone, which [`forget_gone`] forgets.
pub(crate) fn holds_of_gone(
    connection: &Connection,
    object: &ObjectSync,
) -> Result<bool, StoreError> {
    let table = object.mapping().table.as_str();
    let gone = cleared::of_gone(connection, object.object(), table, 1)?;
    Ok(!gone.is_empty())
}

/// Forgets what is held of rows that are gone and of which nothing waits: nobody could decide it any more. Tells whether there was
/// any.
pub(crate) async fn forget_gone(engine: &Engine, object: &ObjectSync) -> Result<bool, StepError> {
    let (name, table) = (object.object().clone(), object.mapping().table.clone());
    let gone = engine
        .store
        .read(move |connection| cleared::of_gone(connection, &name, table.as_str(), BATCH))
        .await?;
    if gone.is_empty() {
        return Ok(false);
    }
    let (name, table) = (object.object().clone(), object.mapping().table.clone());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            for held in cleared::of_gone(tx, &name, table.as_str(), BATCH)? {
                cleared::forget(tx, &name, &held)?;
                recount(tx, &name, held.side, &held.property, tx.now())?;
            }
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(true)
}

/// Counts what an update that is claimed empties.
pub(crate) fn count_claimed(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    row: &MirrorRow,
) -> Result<(), StoreError> {
    // A repeated attempt was counted the first time.
    if entry.standing.attempts > 0 {
        return Ok(());
    }
    for field in &pass.object.mapping().fields {
        if is_cleared(entry, row, field) {
            let key = clear_key(pass.name(), Side::Hubspot, &field.property);
            holds::count(tx, key, 1, pass.moment().there())?;
        }
    }
    Ok(())
}

/// Leaves fields alone that are held, and holds what comes in empty beyond the bound.
pub(crate) fn guarded(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    row: &MirrorRow,
    shown: ShownRecord<'_>,
    mut plan: RecordPlan,
) -> Result<RecordPlan, StoreError> {
    let pass = &applying.pass;
    if shown.lookups.held_clears {
        let held = still_held(tx, pass, row, shown.record)?;
        plan.leave(&held);
    }
    let mut held = BTreeSet::new();
    for property in plan.emptied() {
        if keeps(tx, applying, row, &property)? {
            held.insert(property);
        }
    }
    plan.withhold(&held);
    Ok(plan)
}

/// The same of what the answer to a write of ours empties that was not to be empty: the row keeps what it holds, and nothing of it
/// waits.
pub(crate) fn kept_of_answer(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    row: &MirrorRow,
    mut acts: Vec<Act>,
) -> Result<Vec<Act>, StoreError> {
    let mut held = BTreeSet::new();
    for act in &acts {
        if let Act::Set { property, value } = act
            && value.is_empty()
            && !row.value(property).is_empty()
            && keeps(tx, applying, row, property)?
        {
            held.insert(property.clone());
        }
    }
    acts.retain(|act| !matches!(act, Act::Set { property, .. } if held.contains(property)));
    Ok(acts)
}

/// A value here that HubSpot empties.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emptied<'a> {
    /// The property.
    pub property: &'a PropertyName,
    /// The column, which also a property has that is out of force.
    pub column: &'a str,
    /// The row.
    pub local_id: LocalId,
    /// Its record.
    pub hs_id: Option<HubspotId>,
}

impl<'a> Emptied<'a> {
    /// A row's value of a property that is in force.
    pub(crate) fn of(row: &MirrorRow, field: &'a FieldMapping) -> Self {
        Self {
            property: &field.property,
            column: field.column.as_str(),
            local_id: row.record.local_id,
            hs_id: row.record.hs_id,
        }
    }
}

/// Whether the guard keeps a column's value that HubSpot shows empty, beside all that empties the same column: then it is held.
pub(crate) fn keeps(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    row: &MirrorRow,
    property: &PropertyName,
) -> Result<bool, StoreError> {
    let Some(field) = applying.pass.object.mapping().field(property) else {
        return Ok(false);
    };
    let later = || empty_in(applying.later, property);
    keeps_beside(tx, &applying.pass, Emptied::of(row, field), later)
}

/// The same beside what is to be emptied of the column right behind it, by the records.
pub(crate) fn keeps_beside(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    emptied: Emptied<'_>,
    later: impl FnOnce() -> Vec<HubspotId>,
) -> Result<bool, StoreError> {
    let is_held = is_to_be_held(tx, pass, emptied, later)?;
    if is_held {
        hold_incoming(tx, pass, emptied)?;
    }
    Ok(is_held)
}

/// The fields of a row that are held: nothing of what HubSpot shows is taken over into them. One of which both sides say the same
/// by now is held no more: HubSpot has a value again of what it emptied, or has emptied what a program emptied. What it shows of
/// the others is noted, for the row to go back to.
pub(crate) fn still_held(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
    record: &RemoteRecord,
) -> Result<BTreeSet<PropertyName>, StoreError> {
    let mut still = BTreeSet::new();
    for held in cleared::of_row(tx, pass.name(), row.record.local_id)? {
        let shown = record.values.get(&held.property);
        let is_over = shown.is_some_and(|value| match held.side {
            Side::Local => !value.is_empty(),
            Side::Hubspot => value.is_empty(),
        });
        if is_over {
            cleared::forget(tx, pass.name(), &held)?;
            recount(tx, pass.name(), held.side, &held.property, pass.now)?;
            continue;
        }
        if let Some(shown) = shown.filter(|shown| *shown != held.last_shown()) {
            cleared::note_shown(tx, pass.name(), &held, shown)?;
        }
        still.insert(held.property);
    }
    Ok(still)
}

fn hold_incoming(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    emptied: Emptied<'_>,
) -> Result<(), StoreError> {
    let (object, property) = (pass.name(), emptied.property);
    let field = HeldClear {
        property: property.clone(),
        local_id: emptied.local_id,
        hs_id: emptied.hs_id,
        side: Side::Local,
        remote: Value::EMPTY,
        shown: None,
        changed_at: pass.now,
    };
    if let Some(hold) = holds::open(tx, clear_key(object, Side::Local, property))? {
        cleared::hold(tx, object, &field, hold)?;
    }
    recount(tx, object, Side::Local, property, pass.now)
}

fn is_to_be_held(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    emptied: Emptied<'_>,
    later: impl FnOnce() -> Vec<HubspotId>,
) -> Result<bool, StoreError> {
    let (object, property) = (pass.object, emptied.property);
    let key = clear_key(object.object(), Side::Local, property);
    if holds::open(tx, key)?.is_some() {
        return Ok(true);
    }
    let Some((max_cleared, window)) = cleared::bound(tx)? else {
        return Ok(false);
    };
    let there = pass.moment().there();
    let in_window = holds::counted(tx, key, there - window)?;
    let names = (object.mapping().table.as_str(), emptied.column);
    let judge = |due: u64| -> Result<Verdict, StoreError> {
        // No more of the column is looked at than is needed to see that these may go.
        let enough = ((in_window + due) as f64 / max_cleared.max(0.000_001)).ceil() as u64 + due;
        let filled = cleared::filled(tx, names, Some(enough.max(SMALL)))?;
        let count = Count {
            due,
            in_window,
            left: filled.saturating_sub(due),
        };
        Ok(judge_cleared(count, max_cleared))
    };
    let empty_later = later();
    // Most of them were empty before: only where they would matter is it looked which were not.
    let (due, verdict) = match judge(1 + empty_later.len() as u64)? {
        Verdict::Go => (1, Verdict::Go),
        Verdict::Hold { .. } => {
            let due = 1 + cleared::filled_of(tx, names, &empty_later)?;
            (due, judge(due)?)
        }
    };
    match verdict {
        Verdict::Go => {
            holds::count(tx, key, 1, there)?;
            Ok(false)
        }
        Verdict::Hold { allowed } => {
            holds::hold(tx, key, due, allowed, pass.now)?;
            tell(object.object(), property, due, allowed);
            Ok(true)
        }
    }
}

/// Those of some records that show a property empty.
fn empty_in(records: &[&RemoteRecord], property: &PropertyName) -> Vec<HubspotId> {
    let shows_empty =
        |record: &&&RemoteRecord| record.values.get(property).is_some_and(Value::is_empty);
    let empty = records.iter().filter(shows_empty);
    empty.map(|record| record.id).collect()
}

/// More values than a column of which there is no bound has.
const SMALL: u64 = 200;

/// How many values one step lets go or takes back.
const BATCH: usize = 100;

/// Carries out an operator's word about a column, a batch at a time. Tells whether something is left.
pub(crate) fn carry_out(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (hold, word): (HoldId, HoldWord),
) -> Result<bool, StoreError> {
    let fields = cleared::of_hold(tx, hold, BATCH)?;
    let is_more = fields.len() == BATCH;
    for one in &fields {
        let row = pass.object.table.by_local_id(tx, one.local_id)?;
        if let Some(row) = row {
            settle_one(tx, pass, row, one, (hold, word))?;
        }
        cleared::forget(tx, pass.name(), one)?;
    }
    if !is_more {
        holds::settle(tx, hold, pass.now)?;
    }
    Ok(is_more)
}

fn settle_one(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: MirrorRow,
    field: &HeldClear,
    (hold, word): (HoldId, HoldWord),
) -> Result<(), StoreError> {
    // A program has written it again meanwhile: that is what counts.
    if let Some(entry) = outbox::of_row(tx, pass.name(), field.local_id)?
        && put_over_hubspots(tx, &entry, field)?
    {
        return Ok(());
    }
    match (word, field.side) {
        (HoldWord::Approved, Side::Hubspot) => {
            let entry = send(tx, pass, field, field.changed_at)?;
            outbox::cover(tx, entry, hold)
        }
        (HoldWord::Discarded, Side::Local) => send(tx, pass, field, pass.now).map(drop),
        (HoldWord::Approved, Side::Local) => set(tx, pass, row, field, pass.origin),
        (HoldWord::Discarded, Side::Hubspot) => set(tx, pass, row, field, Origin::Discard),
    }
}

/// What the mirror holds waits to be sent over what HubSpot holds.
fn send(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    held: &HeldClear,
    changed_at: Timestamp,
) -> Result<OutboxId, StoreError> {
    let hs_id = held.hs_id.unwrap_or(HubspotId(0));
    let entry = outbox::ensure_update(tx, pass.name(), held.local_id, hs_id, pass.now)?;
    let base = Base::Known(held.remote.clone());
    outbox::put_field(tx, entry, &held.property, &base, changed_at)?;
    Ok(entry)
}

/// The mirror takes what HubSpot holds, also into a column that is out of force; what it held is kept.
fn set(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    mut row: MirrorRow,
    held: &HeldClear,
    origin: Origin,
) -> Result<(), StoreError> {
    let object = pass.object;
    let is_in_force = object.mapping().field(&held.property).is_some();
    let others = match is_in_force {
        true => Vec::new(),
        false => fields::out_of_force(tx, object.mapping())?,
    };
    let mut others = others.iter();
    let other = others.find(|other| other.property == held.property.as_str());
    let former = match other {
        Some(other) => object.table.former_value(tx, held.local_id, other)?,
        None => is_in_force.then(|| row.value(&held.property).clone()),
    };
    // Without its column there is nothing to take it.
    let Some(former) = former else {
        return Ok(());
    };
    let change = Change {
        object: pass.name(),
        local_id: held.local_id,
        hs_id: held.hs_id,
        property: held.property.as_str(),
        old: former.as_deref(),
        new: held.last_shown().as_deref(),
        origin,
    };
    history::record(tx, change, pass.now)?;
    if let Some(other) = other {
        let value = held.last_shown();
        return object.table.set_former(tx, held.local_id, other, value);
    }
    row.set(object.mapping(), &held.property, held.last_shown());
    object.table.update(tx, &row)
}
