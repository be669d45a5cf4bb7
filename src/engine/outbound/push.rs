//! Local changes to HubSpot: a batch a step, or several at once while a long queue drains. Here: which batch, and updates; creates and archives have files of their
//! own, answers are settled in `settle`.
//!
//! Due entries → re-read → merge and claim in one transaction → send → settle. Nothing is sent that is not on disk as
//! an attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::{Connection, Transaction};

use crate::decide::acts::Act;
use crate::decide::existence::{Action, Again, Here, Hubspot, Sides, Word, decide};
use crate::decide::fight;
use crate::decide::outgoing::claim::{
    after_its_read, is_free_update, rest_unwritable, unsendable, update_fields, update_of,
};
use crate::decide::outgoing::needed;
use crate::decide::outgoing::plan::{BATCH, Backlog, next_batch};
use crate::decide::outgoing::present::{KnownVersion, Look, Present};
use crate::decide::retry::{AFTER_READ, AFTER_UNREAD};
use crate::engine::acts::EntryWork;
use crate::engine::inbound::apply::apply_record;
use crate::engine::inbound::applying::{Applying, behind};
use crate::engine::inbound::clearing;
use crate::engine::inbound::existence::{Matter, missed, shown_version};
use crate::engine::inbound::went::{MadeRecord, row_went};
use crate::engine::outbound::archive;
use crate::engine::outbound::associate;
use crate::engine::outbound::claiming::{park_without_row, put_aside};
use crate::engine::outbound::create;
use crate::engine::outbound::guarded::update_key;
use crate::engine::outbound::left_out;
use crate::engine::outbound::settle::recover_object;
use crate::engine::outbound::stages;
use crate::engine::outbound::taken;
use crate::engine::outbound::together;
use crate::engine::outbound::unchanged;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::Priority;
use crate::model::attempt::Sent;
use crate::model::entry::{Base, Entry, EntryField, Operation};
use crate::model::id::{HubspotId, OutboxId};
use crate::model::mapping::Policy;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::cursors;
use crate::store::database::savepoint;
use crate::store::history::{self, Origin};
use crate::store::outbox::{self, Attempt};
use crate::store::{Lane, StoreError, holds, reads, unreadable};

/// How long an entry waits whose record is known to be gone, while the guard or an operator has the word on its row.
const AFTER_REMOVAL: Duration = Duration::from_mins(1);

/// Sends the object's next batch.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    // Its rows are not pushed, but its pairs may be: what is in flight is of associations alone.
    if !object.mapping().direction.pushes() {
        recover_left(engine, object).await?;
        heal_times(engine, object).await?;
        return associate::step(engine, object).await;
    }
    let mut looked = look(engine, object).await?;
    if looked.needs_care {
        recover_left(engine, object).await?;
        heal_times(engine, object).await?;
        archive::judge_due(engine, object).await?;
        looked = look(engine, object).await?;
    }
    let Looked {
        mut backlog, next, ..
    } = looked;
    let rest = leave_alone(engine, &mut backlog);
    let turn = engine.memory.turns.next(object.object());
    let pick = next_batch(&backlog, turn);
    // What two records are to each other goes before either of them goes.
    if pick.is_none_or(|pick| pick.operation == Operation::Archive) {
        let said = associate::step(engine, object).await;
        match (said, pick) {
            (Ok(Progress::More), _) => return Ok(Progress::More),
            (Ok(said), None) => {
                return Ok(said.or(Progress::Idle {
                    until: rest.or(next),
                }));
            }
            // HubSpot takes an association along with its record: a pair of which it takes nothing at the moment keeps none here.
            (Ok(_) | Err(StepError::Hubspot(_)), Some(_)) => {}
            (Err(error), _) => return Err(error),
        }
    }
    let Some(pick) = pick else {
        return Ok(Progress::RING);
    };
    let (name, now) = (object.object().clone(), engine.now());
    let most = BATCH * at_once(engine, object, pick.operation);
    let (due, awaited) = engine
        .store
        .read(move |connection| {
            let due = outbox::due(connection, &name, pick, now, most)?;
            let awaited = awaited(connection, &name, &due)?;
            Ok((due, awaited))
        })
        .await?;
    if due.is_empty() {
        return Ok(Progress::Idle { until: next });
    }
    let goes_with_others = matches!(pick.operation, Operation::Create | Operation::Update);
    let is_full = goes_with_others && due.len() == most;
    let due = without_awaited(engine, object, due, awaited).await?;
    let due = match pick.operation {
        Operation::Update | Operation::Archive => {
            match clearing::without_held(engine, object, due).await? {
                Some(due) => due,
                None => return Ok(Progress::More),
            }
        }
        Operation::Create | Operation::Associate | Operation::Disassociate => due,
    };
    // A row that a program wrote back to what HubSpot has costs no request.
    let due = if pick.operation == Operation::Update {
        unchanged::without_unchanged(engine, object, due).await?
    } else {
        due
    };
    let due = taken::without_waiting(engine, object, due).await?;
    if due.is_empty() {
        return Ok(Progress::More);
    }
    stages::read_again_for(engine, object, &due).await?;
    let small =
        due.len() < BATCH || pick.order == crate::decide::outgoing::plan::Order::NewestFirst;
    let priority = if small {
        Priority::Interactive
    } else {
        Priority::Poll
    };
    let begun = engine.clock.monotonic();
    let batches = due.chunks(BATCH).map(<[Entry]>::to_vec);
    let sends = batches.map(|batch| send(engine, object, pick.operation, batch, priority));
    // Each is settled by itself, also where another one fails.
    let sent = join_all(sends).await;
    if is_full {
        let took = engine.clock.monotonic().saturating_sub(begun);
        let rests = engine.client.rest_of(pick.operation).is_some();
        let went_well = !rests && sent.iter().all(Result::is_ok);
        let memory = &engine.memory.at_once;
        memory.learn(object.object(), took, went_well);
    }
    sent.into_iter().collect::<Result<(), _>>()?;
    Ok(Progress::More)
}

/// How many batches of an operation are sent at once. Of archives one: the guard counts them before each.
fn at_once(engine: &Engine, object: &ObjectSync, operation: Operation) -> usize {
    match operation {
        Operation::Create | Operation::Update => engine.memory.at_once.of(object.object()),
        Operation::Archive | Operation::Associate | Operation::Disassociate => 1,
    }
}

/// Sends a batch. No other one that is on its way has an entry of it, so that no record is in two of them.
async fn send(
    engine: &Engine,
    object: &ObjectSync,
    operation: Operation,
    batch: Vec<Entry>,
    priority: Priority,
) -> Result<(), StepError> {
    match operation {
        Operation::Create => create::send(engine, object, batch, priority).await,
        Operation::Update | Operation::Archive => {
            together::send(engine, object, operation, batch, priority).await
        }
        Operation::Associate | Operation::Disassociate => Ok(()),
    }
}

/// What stands in the outbox.
struct Looked {
    /// Whether something must be put in order before a batch is picked.
    needs_care: bool,
    backlog: Backlog,
    /// When the next entry falls due.
    next: Option<Timestamp>,
}

/// One look at all of it: mostly there is nothing.
async fn look(engine: &Engine, object: &ObjectSync) -> Result<Looked, StoreError> {
    let (sync, guard, now) = (object.clone(), engine.settings().guard, engine.now());
    engine
        .store
        .read(move |connection| {
            let name = sync.object();
            Ok(Looked {
                needs_care: is_left_in_flight(connection, name)?
                    || outbox::is_put_off_by_a_clock(connection, name, now)?
                    || archive::is_to_be_judged(connection, &sync, guard, now)?,
                backlog: outbox::backlog(connection, name, now, BATCH + 1)?,
                next: outbox::next_due(connection, name)?,
            })
        })
        .await
}

/// Leaves out what HubSpot is in trouble with, so that everything else goes on. Gives the moment at which the first of it
/// may go again.
fn leave_alone(engine: &Engine, backlog: &mut Backlog) -> Option<Timestamp> {
    let operations = [Operation::Create, Operation::Update, Operation::Archive];
    let rests = operations.into_iter().filter_map(|operation| {
        let rest = engine.client.rest_of(operation)?;
        backlog.leave_out(operation).then_some(rest)
    });
    rests.min().map(|rest| engine.now() + rest)
}

/// Whether anything of an object is on its way before a step of it has begun.
fn is_left_in_flight(connection: &Connection, name: &ObjectType) -> Result<bool, StoreError> {
    Ok(!outbox::in_flight(connection, name)?.is_empty()
        || !outbox::links::in_flight(connection, name)?.is_empty())
}

/// Takes up what a step before this one could not settle.
async fn recover_left(engine: &Engine, object: &ObjectSync) -> Result<(), StoreError> {
    let name = object.object().clone();
    let left = engine
        .store
        .read(move |connection| is_left_in_flight(connection, &name))
        .await?;
    if !left {
        return Ok(());
    }
    let name = object.object().clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            recover_object(tx, &name, now).map(drop)
        })
        .await
}

/// Makes due what a clock that was ahead, of a program's machine or of this one, has put off.
async fn heal_times(engine: &Engine, object: &ObjectSync) -> Result<(), StoreError> {
    let (name, now) = (object.object().clone(), engine.now());
    let is_any = engine
        .store
        .read(move |connection| outbox::is_put_off_by_a_clock(connection, &name, now))
        .await?;
    if !is_any {
        return Ok(());
    }
    let name = object.object().clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let healed = outbox::heal_times(tx, &name, tx.now())?;
            tracing::warn!(object = %name, entries = healed, "changes were put off by a clock that was ahead; they are due");
            Ok(())
        })
        .await
}

/// The updates of whose record a read is asked for. None of them goes before that read has had its say ([`merge_and_claim`]),
/// whatever a read of their own would show.
fn awaited(
    connection: &Connection,
    name: &ObjectType,
    due: &[Entry],
) -> Result<Vec<OutboxId>, StoreError> {
    let mut awaited = Vec::new();
    let updates = due
        .iter()
        .filter(|queued| queued.standing.operation == Operation::Update);
    for queued in updates {
        if let Some(hs_id) = queued.standing.hs_id
            && reads::asked_for(connection, name, hs_id)?.is_some()
        {
            awaited.push(queued.id);
        }
    }
    Ok(awaited)
}

/// Puts those off without a request. A push goes before all other work; where few requests go (`limits.per_second = 0.4`), its
/// own reads would take each place that comes free, and the read that it waits for would never have one.
async fn without_awaited(
    engine: &Engine,
    object: &ObjectSync,
    mut due: Vec<Entry>,
    awaited: Vec<OutboxId>,
) -> Result<Vec<Entry>, StoreError> {
    if awaited.is_empty() {
        return Ok(due);
    }
    due.retain(|queued| !awaited.contains(&queued.id));
    let name = object.object().clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            for id in awaited {
                // A program may have changed the entry, and the read may have come, since they were looked at.
                let queued = outbox::by_id(tx, id)?.filter(is_free_update);
                let Some((id, hs_id)) =
                    queued.and_then(|queued| Some((queued.id, queued.standing.hs_id?)))
                else {
                    continue;
                };
                if let Some(due) = reads::asked_for(tx, &name, hs_id)? {
                    outbox::put_off(tx, id, after_its_read(due, now))?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(due)
}

pub(super) async fn claim_updates(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
    present: Present,
    asked_at: Timestamp,
) -> Result<(Vec<Sent>, Timestamp), StoreError> {
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let guard = engine.settings().guard;
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            let applying =
                Applying::from_store(Pass::of(tx, &sync, Origin::Poll, offset), asked_at);
            if guard.max_updates > 0 {
                archive::judge_before_claim(tx, &sync, &guard, (now, offset))?;
            }
            let mut claimed = Vec::with_capacity(due.len());
            let shown = shown_in_order(&due, &present);
            let mut later = shown.as_slice();
            for queued in &due {
                later = behind(later, queued.standing.hs_id);
                let applying = Applying { later, ..applying };
                match savepoint::within(tx, || merge_and_claim(tx, &applying, queued, &present)) {
                    Err(error) if error.is_of_one_row() => put_aside(tx, queued, &error, now)?,
                    sent => claimed.extend(sent?),
                }
            }
            if guard.max_updates > 0 {
                let is_counted = |queued: &&Entry| {
                    queued.standing.approved_hold.is_none()
                        && claimed
                            .iter()
                            .any(|sent: &Sent| sent.entry == queued.id && sent.attempts == 1)
                };
                let fresh = due.iter().filter(is_counted).count();
                let at = now.plus_millis(offset);
                holds::count(tx, update_key(sync.object()), fresh as u64, at)?;
            }
            Ok((claimed, now))
        })
        .await
}

/// What the read shows of the records of some entries, in their order: the guard judges together what a batch empties here.
fn shown_in_order<'a>(due: &[Entry], present: &'a Present) -> Vec<&'a RemoteRecord> {
    let by_id: BTreeMap<HubspotId, &RemoteRecord> = present
        .records
        .iter()
        .map(|record| (record.id, record))
        .collect();
    let shown = due.iter().filter_map(|queued| {
        let id = queued.standing.hs_id?;
        by_id.get(&id).copied()
    });
    shown.collect()
}

/// Puts an update off whose record the read misses: a read with the archive says what became of it, and the guard has its word
/// on the row.
pub(super) fn put_off_missed(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    entry: &Entry,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let (object, moment) = (pass.name(), pass.moment());
    let row = pass.object.table.by_local_id(tx, entry.local_id)?;
    let missed = missed(
        tx,
        pass,
        Some(hs_id),
        (row.as_ref(), Some(entry)),
        applying.asked_at,
    )?;
    let actions = decide(&Sides {
        hubspot: Hubspot::missed(&missed, &moment),
        here: match row {
            Some(_) => Here::row(Some(entry), None, &moment),
            None => Here::rowless(Some(entry), &moment),
        },
        word: match reads::is_removal_noted(tx, object, hs_id)? {
            true => Word::Noted,
            false => Word::Unasked,
        },
        policy: pass.object.mapping().policy,
        modes: pass.object.mapping().modes,
        is_erasure: false,
    });
    if actions.contains(&Action::CountUnseen) {
        let matter = Matter {
            pass: *pass,
            hs_id,
            row: row.as_ref(),
            queued: Some(entry),
            record: None,
            key: "",
            decided: None,
        };
        return matter.carry_out(tx, &actions);
    }
    if let [Action::LookAgain(again @ (Again::At(_) | Again::Removal))] = actions[..] {
        let next = again.due(&moment, AFTER_REMOVAL);
        let explanation = again.explanation(pass.object.mapping().modes);
        return outbox::put_off_saying(tx, entry.id, next, explanation);
    }
    reads::ask(tx, object, hs_id, Origin::Poll, pass.now)?;
    outbox::put_off(tx, entry.id, pass.now + AFTER_READ)
}

/// Merges what the read showed, and takes what is still to be sent.
fn merge_and_claim(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    entry: &Entry,
    present: &Present,
) -> Result<Option<Sent>, StoreError> {
    let pass = &applying.pass;
    let object = pass.name();
    if park_without_row(tx, pass, entry.id)? {
        return Ok(None);
    }
    let Some(hs_id) = entry.standing.hs_id else {
        return Ok(None);
    };
    let row = pass.object.table.by_local_id(tx, entry.local_id)?;
    let known = KnownVersion {
        version: shown_version(tx, row.as_ref(), Some(entry))?,
        offset_ms: pass.offset_ms,
    };
    let record = match present.look(hs_id, known) {
        Look::Shown(record) => record,
        Look::Outdated => {
            outbox::put_off(tx, entry.id, pass.now + AFTER_READ)?;
            return Ok(None);
        }
        Look::Unread => {
            unreadable::note_record(tx, object, hs_id, pass.now)?;
            outbox::put_off_unread(tx, entry.id, pass.now + AFTER_UNREAD)?;
            return Ok(None);
        }
        Look::Missing => return put_off_missed(tx, applying, entry, hs_id).map(|()| None),
    };
    if apply_record(tx, applying, record, None)? {
        cursors::set_last_change(tx, object, pass.now)?;
    }
    if let Some(due) = reads::asked_for(tx, object, record.id)? {
        outbox::put_off(tx, entry.id, after_its_read(due, pass.now))?;
        return Ok(None);
    }
    match outbox::by_id(tx, entry.id)?.filter(is_free_update) {
        Some(present) => {
            let was_written = present.version != entry.version;
            claim_update(tx, pass, (&present, was_written), record)
        }
        None => Ok(None),
    }
}

fn claim_update(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (entry, was_written): (&Entry, bool),
    record: &RemoteRecord,
) -> Result<Option<Sent>, StoreError> {
    let Some(row) = pass.object.table.by_local_id(tx, entry.local_id)? else {
        return row_went(tx, pass, entry, record, MadeRecord::Found).map(|()| None);
    };
    if was_written && clearing::is_overtaken(tx, pass, entry, &row)? {
        return Ok(None);
    }
    let gone = left_out::gone_options(tx, pass, &row)?;
    let is_sent =
        |property: &PropertyName| entry.field(property).is_some() && !gone.contains(property);
    if let Some(explanation) = unfit(tx, pass, (&row, record), &is_sent)? {
        outbox::park(tx, entry.id, &explanation, outbox::Answered::No)?;
        return Ok(None);
    }
    let open = conflicts::open_of(tx, pass.name(), entry.local_id)?;
    let fields = update_fields(pass.object.mapping(), entry, &open);
    for property in fields.held {
        outbox::drop_field(tx, entry.id, property)?;
    }
    let mut carried = Vec::new();
    for field in fields.free {
        if !gone.contains(&field.property) && !park_fight(tx, pass, &row, record, field)? {
            let value = row.value(&field.property);
            outbox::set_sent(tx, entry.id, &field.property, value)?;
            carried.push((&field.property, value));
        }
    }
    if carried.is_empty() {
        let act = match outbox::fields(tx, entry.id)?.is_empty() {
            true => Act::End,
            false => {
                let is_writable = outbox::is_writable(tx, pass.name(), entry.id, &gone)?;
                rest_unwritable(outbox::UNWRITABLE, is_writable, pass.now)
            }
        };
        EntryWork::of_entry(tx, pass.name(), entry, pass.now).carry_out(vec![act])?;
        return Ok(None);
    }
    clearing::count_claimed(tx, pass, entry, &row)?;
    let over = record.updated_at;
    outbox::claim(tx, entry, Attempt::Update { over }, pass.now)?;
    Ok(Some(update_of(entry, record, &carried)))
}

/// Why what is to be sent of a row can't be, in a sentence.
pub(super) fn unfit(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (row, record): (&MirrorRow, &RemoteRecord),
    is_sent: &dyn Fn(&PropertyName) -> bool,
) -> Result<Option<String>, StoreError> {
    if let Some(explanation) = unsendable(pass.object.mapping(), row, is_sent) {
        return Ok(Some(explanation));
    }
    let shown_in = record.pipeline.as_deref();
    stages::misplaced_in(tx, pass, row, needed::SentPart::Some { is_sent, shown_in })
}

/// Parks a field over which two systems fight.
fn park_fight(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
    record: &RemoteRecord,
    field: &EntryField,
) -> Result<bool, StoreError> {
    let (object, property) = (pass.name(), &field.property);
    let Base::Known(held) = &field.base else {
        return Ok(false);
    };
    if !is_fought_over(tx, pass, (row, record), property, held)? {
        return Ok(false);
    }
    let about = About {
        object,
        local_id: row.record.local_id,
        hs_id: Some(record.id),
    };
    let conflict = NewConflict {
        property: property.as_str(),
        base: held.as_deref(),
        base_known: false,
        local: row.value(property).as_deref(),
        remote: held.as_deref(),
        policy: Policy::Manual.as_str(),
        reason: fight::REASON,
        set: None,
    };
    conflicts::record_open(tx, about, conflict, pass.now)?;
    if let Some(queued) = outbox::of_row(tx, object, about.local_id)? {
        outbox::drop_field(tx, queued.id, property)?;
    }
    Ok(true)
}

/// Whether two systems fight over a field, of which HubSpot holds this value.
pub(super) fn is_fought_over(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (row, record): (&MirrorRow, &RemoteRecord),
    property: &PropertyName,
    held: &Value,
) -> Result<bool, StoreError> {
    let object = pass.name();
    let Some(mapping) = pass.object.mapping().field(property) else {
        return Ok(false);
    };
    let about = About {
        object,
        local_id: row.record.local_id,
        hs_id: Some(record.id),
    };
    let decided_at = conflicts::last_decided_at(tx, about, property)?;
    let since = fight::counted_since(pass.now, decided_at);
    let pushes = history::pushes_since(tx, object, about.local_id, property, since)?;
    if pushes.len() < fight::ROUNDS {
        return Ok(false);
    }
    let late = outbox::sent_earlier(tx, object, about.local_id, pass.now - fight::SPAN)?;
    let own = late.get(property).map_or(&[][..], Vec::as_slice);
    Ok(fight::is_fight(mapping.property_type, &pushes, held, own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::echo::{Author, Histories, PastValue, ToldSource};
    use crate::decide::existence::NOT_VISIBLE;
    use crate::decide::incoming::freshness::Evidence;
    use crate::decide::retry::latest_due;
    use crate::engine::testing::{How, Scene, at, property, record, showing};
    use crate::model::id::LocalId;
    use crate::model::mapping::Sees;
    use crate::model::value::{LONGEST_VALUE, PropertyType};

    /// Row 1 is record 101, and its first name was written here at 10.
    fn written(policy: Policy) -> Scene {
        let scene = Scene::of(policy);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(10)
        ));
        scene
    }

    /// What a push of this moment would send of row 1.
    fn claimed(scene: &Scene, second: i64, shown: &RemoteRecord) -> Vec<String> {
        let present = showing(vec![shown.clone()], &[]);
        let sent = scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("something waits");
            merge_and_claim(tx, &scene.applying(How::at(second)), &queued, &present)
        });
        let properties = sent.into_iter().flat_map(|sent| sent.input.properties);
        properties
            .map(|(name, value)| format!("{name} = {value}"))
            .collect()
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn an_update_waits_while_the_history_that_newest_needs_is_still_to_be_read() {
        let scene = written(Policy::Newest);
        let theirs = record(101, 20, &[("firstname", "Theirs")]);
        assert_eq!(claimed(&scene, 30, &theirs), NOTHING);
        assert_eq!(
            scene.rows("SELECT state, next_attempt_at FROM sync_outbox"),
            [format!("pending {}", at(31))]
        );
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        assert_eq!(claimed(&scene, 31, &theirs), NOTHING);
        // Somebody set it before this write, and something else of the record later.
        let top = PastValue {
            value: Value::from_canonical("Theirs"),
            at: at(5),
            author: Author::Other,
            source: ToldSource::default(),
        };
        let histories: Histories = [(property("firstname"), vec![top])].into();
        scene.daemon("DELETE FROM _sync_reads");
        scene.write(|tx| apply_record(tx, &scene.applying(How::at(32)), &theirs, Some(&histories)));
        assert_eq!(claimed(&scene, 33, &theirs), ["firstname = Ours"]);
    }

    #[test]
    fn a_push_does_not_rest_on_a_read_that_is_older_than_its_row() {
        let scene = Scene::of(Policy::Local);
        let shown =
            |second, price: &str| record(101, second, &[("firstname", "Base"), ("price", price)]);
        scene.apply(How::at(0), &shown(0, "1"));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.apply(How::at(7), &shown(6, "2"));
        assert_eq!(claimed(&scene, 8, &shown(0, "1")), NOTHING);
        assert_eq!(
            scene.rows("SELECT state, next_attempt_at FROM sync_outbox"),
            [format!("pending {}", at(9))]
        );
        assert_eq!(claimed(&scene, 9, &shown(6, "2")), ["firstname = Ours"]);
    }

    #[test]
    fn a_write_by_a_clock_that_is_ahead_is_no_later_than_the_look_that_saw_it() {
        let theirs = record(101, 20, &[("firstname", "Theirs")]);
        let base = record(101, 1, &[("firstname", "Base")]);
        for is_claimed in [true, false] {
            let scene = written(Policy::Newest);
            scene.daemon(&format!(
                "UPDATE sync_outbox_fields SET changed_at = '{}'",
                at(500)
            ));
            if is_claimed {
                assert_eq!(claimed(&scene, 12, &base), ["firstname = Ours"]);
                scene.daemon(
                    "UPDATE sync_outbox SET state = 'pending', unanswered_since = NULL;
                     UPDATE sync_outbox_fields SET sent_value = NULL",
                );
            } else {
                scene.apply(How::at(12), &base);
            }
            assert_eq!(
                scene.rows("SELECT changed_at FROM sync_outbox_fields"),
                [at(12).to_string()]
            );
            let top = PastValue {
                value: Value::from_canonical("Theirs"),
                at: at(20),
                author: Author::Other,
                source: ToldSource::default(),
            };
            let histories: Histories = [(property("firstname"), vec![top])].into();
            scene.write(|tx| {
                apply_record(tx, &scene.applying(How::at(30)), &theirs, Some(&histories))
            });
            assert_eq!(
                scene.rows("SELECT first_name FROM contacts"),
                ["Theirs"],
                "{is_claimed}"
            );
        }
    }

    #[test]
    fn an_update_that_waits_for_a_read_asks_when_the_time_of_that_has_come() {
        let scene = written(Policy::Local);
        let shown = record(101, 0, &[("firstname", "Base")]);
        let (object, now) = (scene.object.object(), at(30));
        for (due, expected) in [
            (at(10), now + AFTER_READ),
            (at(600), at(600)),
            (at(86_400), latest_due(now)),
        ] {
            scene.daemon("DELETE FROM _sync_reads");
            scene.write(|tx| reads::ask(tx, object, HubspotId(101), Origin::Poll, due));
            assert_eq!(claimed(&scene, 30, &shown), NOTHING);
            assert_eq!(
                scene.rows("SELECT next_attempt_at FROM sync_outbox"),
                [expected.to_string()]
            );
        }
    }

    #[test]
    fn text_that_is_no_utf_8_is_dead_by_its_column_and_not_sent_as_something_else() {
        let scene = written(Policy::Local);
        scene.program("UPDATE contacts SET first_name = CAST(x'fffe41' AS TEXT)");
        let shown = record(101, 0, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 30, &shown), NOTHING);
        let kept = "SELECT e.state, e.last_error LIKE '`contacts.first_name` of row 1 holds text that is no UTF-8%', hex(first_name)
                    FROM sync_outbox AS e, contacts";
        assert_eq!(scene.rows(kept), ["dead 1 FFFE41"]);
    }

    #[test]
    fn a_number_that_tells_the_record_and_that_its_column_can_not_keep_is_dead_and_not_sent() {
        for (number, sent) in [("9007199254740991", true), ("9007199254740993", false)] {
            for kind in [PropertyType::Number, PropertyType::Decimal] {
                let scene = Scene::with(|mapping| {
                    mapping.match_property = Some(property("price"));
                    let fields = mapping.fields.iter_mut();
                    for field in fields.filter(|field| field.property.as_str() == "price") {
                        field.property_type = kind;
                    }
                });
                scene.apply(How::at(0), &record(101, 0, &[("price", "1")]));
                scene.program(&format!("UPDATE contacts SET price = {number}"));
                let shown = record(101, 0, &[("price", "1")]);
                let claimed = claimed(&scene, 30, &shown);
                let dead = scene.rows("SELECT last_error FROM sync_outbox WHERE state = 'dead'");
                if sent || kind == PropertyType::Decimal {
                    assert_eq!(claimed, [format!("price = {number}")]);
                } else {
                    assert_eq!(claimed, NOTHING);
                    let named = "`contacts.price` of row 1 says which record the row is";
                    assert!(dead[0].starts_with(named), "{dead:?}");
                }
            }
        }
    }

    #[test]
    fn a_row_that_nobody_saw_deleted_archives_nothing_and_what_waited_of_it_is_named() {
        let scene = written(Policy::Local);
        scene.daemon("DELETE FROM contacts");
        let shown = record(101, 0, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 30, &shown), NOTHING);
        assert_eq!(
            scene.rows("SELECT operation, state, hs_id, last_error FROM sync_outbox"),
            [
                "update dead - row 1, HubSpot record 101, is gone, and no trigger recorded its deletion, with what waited of it: \
              write `firstname` again, and discard this entry [row-gone]"
            ]
        );
        assert_eq!(
            scene.rows("SELECT hs_id FROM _sync_reads"),
            ["101"],
            "its record comes in"
        );
        // Retried, it is named again, and asks for nothing.
        scene.daemon("UPDATE sync_outbox SET state = 'pending'");
        assert_eq!(claimed(&scene, 31, &shown), NOTHING);
        assert_eq!(scene.rows("SELECT state FROM sync_outbox"), ["dead"]);
    }

    #[test]
    fn a_text_that_is_longer_than_hubspot_takes_is_dead_by_its_column_and_not_sent() {
        for (letters, sent) in [(LONGEST_VALUE, 1), (LONGEST_VALUE + 1, 0)] {
            let scene = written(Policy::Local);
            scene.daemon(&format!(
                "UPDATE contacts SET first_name = replace(hex(zeroblob({letters})), '00', 'ü')"
            ));
            let shown = record(101, 0, &[("firstname", "Base")]);
            assert_eq!(claimed(&scene, 30, &shown).len(), sent);
            let dead = scene.rows("SELECT last_error FROM sync_outbox WHERE state = 'dead'");
            let named = "`contacts.first_name` of row 1 holds more than the 65536 characters";
            assert_eq!(
                dead.iter()
                    .any(|explanation| explanation.starts_with(named)),
                sent == 0
            );
        }
    }

    #[test]
    fn what_waits_for_a_decision_is_not_pushed_however_it_came_to_the_outbox() {
        let scene = written(Policy::Local);
        scene.daemon(
            "INSERT INTO sync_conflicts (object, local_id, hs_id, property, base_value, local_value, remote_value, policy, detected_at)
             VALUES ('contacts', 1, 101, 'firstname', 'Old', 'Ours', 'Base', 'manual', '2026-11-24T03:10:00.000Z')",
        );
        let shown = record(101, 0, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 30, &shown), NOTHING);
        assert_eq!(scene.outbox(), NOTHING.map(str::to_owned));
    }

    #[test]
    fn an_update_of_a_record_made_moments_ago_waits_and_asks_nobody_whether_it_is_archived() {
        let scene = Scene::of(Policy::Local);
        let young = RemoteRecord {
            created_at: at(0),
            ..record(101, 0, &[("firstname", "Base")])
        };
        scene.apply(How::at(0), &young);
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        let sent = scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("something waits");
            let applying = scene.applying(How::at(20));
            merge_and_claim(tx, &applying, &queued, &Present::default())
        });
        assert!(sent.is_none());
        assert_eq!(
            scene.rows("SELECT next_attempt_at FROM sync_outbox"),
            [at(30).to_string()]
        );
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), NOTHING);
    }

    fn pushed(scene: &Scene, pushes: &[(&str, &str)]) {
        for (second, (before, after)) in (100..).step_by(10).zip(pushes) {
            scene.daemon(&format!(
                "INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, new_value, origin)
                 VALUES ('{}', 'contacts', 1, 101, 'firstname', '{before}', '{after}', 'push')",
                at(second)
            ));
        }
    }

    #[test]
    fn a_program_that_toggles_a_field_is_pushed_for_ever() {
        let scene = written(Policy::Local);
        let toggles: Vec<(&str, &str)> = [("Base", "Ours"), ("Ours", "Base")].repeat(20);
        pushed(&scene, &toggles);
        let shown = record(101, 0, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 500, &shown), ["firstname = Ours"]);
    }

    #[test]
    fn our_own_late_request_is_no_answer_in_a_fight() {
        let scene = written(Policy::Local);
        pushed(&scene, &[("Base", "Ours"); 5]);
        scene.daemon(&format!(
            "INSERT INTO _sync_sent (object, local_id, property, value, sent_at, sent_over)
             VALUES ('contacts', 1, 'firstname', 'Base', '{}', '{}')",
            at(400),
            at(10)
        ));
        let shown = record(101, 0, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 500, &shown), ["firstname = Ours"]);
    }

    #[test]
    fn a_fight_is_parked_stays_parked_and_ends_with_a_persons_word() {
        let scene = written(Policy::Local);
        pushed(&scene, &[("Base", "Ours"); 5]);
        let shown = record(101, 0, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 500, &shown), NOTHING);
        assert_eq!(scene.conflicts(), ["1 firstname Ours Base -"]);
        assert_eq!(scene.outbox(), NOTHING.map(str::to_owned));
        scene.apply(How::at(510), &record(101, 505, &[("firstname", "Base")]));
        assert_eq!(scene.conflicts(), ["1 firstname Ours Base -"]);
        // Decided: `local`, and it goes out.
        scene.daemon(&format!(
            "UPDATE sync_conflicts SET resolved_at = '{}', winner = 'local', resolution = 'local'",
            at(520)
        ));
        scene.program("UPDATE contacts SET first_name = 'Ours at last'");
        let shown = record(101, 505, &[("firstname", "Base")]);
        assert_eq!(claimed(&scene, 530, &shown), ["firstname = Ours at last"]);
    }

    #[test]
    fn an_update_of_a_record_that_the_token_does_not_see_is_dead_until_the_record_is_shown() {
        let scene = Scene::with(|mapping| mapping.modes.sees = Sees::User);
        let shown = record(101, 0, &[("firstname", "Base")]);
        scene.apply(How::at(0), &shown);
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        let nothing = Present::default();
        let sent = scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("something waits");
            merge_and_claim(tx, &scene.applying(How::at(60)), &queued, &nothing)
        });
        assert!(sent.is_none());
        let told = "SELECT state || iif(state = 'dead', ' ' || last_error, ''), first_name, (SELECT unseen FROM sync_status)
                    FROM sync_outbox, contacts";
        assert_eq!(scene.rows(told), [format!("dead {NOT_VISIBLE} Ours 1")]);
        // Search shows what it showed before; the store tells.
        let search = How {
            evidence: Evidence::Search,
            ..How::at(70)
        };
        scene.apply(search, &shown);
        assert_eq!(scene.rows(told), [format!("dead {NOT_VISIBLE} Ours 1")]);
        scene.apply(How::at(80), &shown);
        assert_eq!(scene.rows(told), ["pending Ours 0"]);
    }

    #[test]
    fn an_update_of_a_young_record_that_the_token_does_not_see_says_so_while_it_waits() {
        let scene = Scene::with(|mapping| mapping.modes.sees = Sees::User);
        let shown = RemoteRecord {
            created_at: at(58),
            ..record(101, 58, &[("firstname", "Base")])
        };
        scene.apply(How::at(59), &shown);
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("something waits");
            let nothing = Present {
                asked_at: at(60),
                ..Present::default()
            };
            merge_and_claim(tx, &scene.applying(How::at(60)), &queued, &nothing)
        });
        let told = "SELECT state, code, last_error FROM sync_outbox";
        assert_eq!(
            scene.rows(told),
            [format!("pending not-visible {NOT_VISIBLE}")]
        );
    }
}
