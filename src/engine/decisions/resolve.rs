//! What people decide by SQL, noticed within a second: conflicts, carried out here; entries that are given up (`discards`) and
//! holds that are approved (`approvals`).

use crate::decide::decision::{
    FieldConflict, FieldDecision, FieldWaits, NOT_MAPPED, REMOTE_TAKEN, ROW_DELETED, WHOLE_TAKES,
    decide_field, not_in_force, taken_here, waits_of_decided,
};
use crate::decide::echo::late_since;
use crate::decide::existence::{Action, Again, Here, Hubspot, Moment, Sides, Word, decide};
use crate::decide::outgoing::present::{KnownVersion, Look, Present};
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::acts::EntryWork;
use crate::engine::decisions::discards::set_other;
use crate::engine::decisions::{approvals, discards, linked, unmapped};
use crate::engine::inbound::clearing::{self, Emptied};
use crate::engine::inbound::existence::{Matter, missed, shown_version};
use crate::engine::outbound::present::read_records;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::Priority;
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::{Base, Entry};
use crate::model::id::{ConflictId, HubspotId};
use crate::model::mapping::{FieldMapping, Mapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};
use crate::store::conflicts::{self, Waiting};
use crate::store::database::savepoint;
use crate::store::fields::{self, FieldRow, FieldState};
use crate::store::history::Origin;
use crate::store::shape::options;
use crate::store::shape::triggers::read_only;
use crate::store::{Lane, StoreError, holds, outbox};
use rusqlite::{Connection, Transaction};

/// How many decisions one step takes.
pub(super) const BATCH: usize = 100;

/// Carries out what people have decided.
pub async fn step(engine: &Engine) -> Result<Progress, StepError> {
    let (mapping, objects) = (engine.mapping(), engine.objects());
    let look = engine
        .store
        .read(move |connection| waits_for_somebody(connection, &mapping, &objects));
    // The steps below each look at what is theirs, in a transaction of its own. A daemon comes here with each commit and finds
    // nothing, as a rule.
    if !look.await? {
        return Ok(Progress::RING);
    }
    let discarded = discards::step(engine).await? | unmapped::step(engine).await?;
    let decided = decide_conflicts(engine).await? | linked::step(engine).await?;
    let approved = approvals::step(engine).await?;
    let closed = close_gone(engine).await? | forget_gone_clears(engine).await?;
    Ok(if discarded || decided || approved || closed {
        Progress::More
    } else {
        Progress::RING
    })
}

/// Whether one of the steps would find something to do, by what each of them looks at.
fn waits_for_somebody(
    connection: &Connection,
    mapping: &Mapping,
    objects: &Objects,
) -> Result<bool, StoreError> {
    if !outbox::discarded(connection, 1)?.is_empty()
        || !unmapped::waiting(connection, mapping)?.is_empty()
        || conflicts::is_misspelled(connection)?
        || !conflicts::waiting(connection, 1)?.is_empty()
        || !holds::decided(connection)?.is_empty()
    {
        return Ok(true);
    }
    for pair in linked::pairs(mapping, objects) {
        if !linked::waiting(connection, &pair)?.is_empty() {
            return Ok(true);
        }
    }
    for object in objects.iter() {
        if !object.table.gone_in_conflict(connection, 1)?.is_empty()
            || clearing::holds_of_gone(connection, object)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Closes conflicts of fields and of whole records whose row is gone from both sides: nobody could decide them any more.
async fn close_gone(engine: &Engine) -> Result<bool, StepError> {
    let mut closed = false;
    for object in engine.objects().iter() {
        let table = object.table.clone();
        let gone = engine
            .store
            .read(move |connection| table.gone_in_conflict(connection, BATCH))
            .await?;
        if gone.is_empty() {
            continue;
        }
        let sync = object.clone();
        closed |= engine
            .store
            .write(Lane::Interactive, move |tx| {
                let now = tx.now();
                let gone = sync.table.gone_in_conflict(tx, BATCH)?;
                for row in &gone {
                    let reason = "neither side has the row any more";
                    conflicts::close_of_gone(tx, sync.object(), *row, reason, now)?;
                }
                Ok(!gone.is_empty())
            })
            .await?;
    }
    Ok(closed)
}

async fn forget_gone_clears(engine: &Engine) -> Result<bool, StepError> {
    let mut were_any = false;
    for object in engine.objects().iter() {
        were_any |= clearing::forget_gone(engine, object).await?;
    }
    Ok(were_any)
}

async fn decide_conflicts(engine: &Engine) -> Result<bool, StepError> {
    if engine.store.read(conflicts::is_misspelled).await? {
        engine
            .store
            .write(Lane::Interactive, |tx| conflicts::spell(tx))
            .await?;
    }
    let later = engine.memory.later.ids(engine.now());
    let limit = BATCH + later.len();
    let waiting = engine
        .store
        .read(move |connection| conflicts::waiting(connection, limit))
        .await?;
    let objects = engine.objects();
    let waiting: Vec<Waiting> = waiting
        .into_iter()
        .filter(|conflict| object_of(&objects, conflict).is_some())
        .filter(|conflict| !later.contains(&conflict.id))
        .collect();
    if waiting.is_empty() {
        return Ok(false);
    }
    let records = read_present(engine, &objects, &waiting).await?;
    let offset_ms = engine.client.clock_offset_ms();
    let keys: Vec<String> = waiting.iter().map(|_| engine.random_key()).collect();
    let (carried_out, put_off) = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            let read = ReadDecisions {
                waiting: &waiting,
                limit,
                records: &records,
                keys: &keys,
            };
            read.carry_out(tx, &objects, Moment { now, offset_ms })
        })
        .await?;
    engine.memory.later.put_off(put_off);
    Ok(carried_out)
}

/// Decisions with what a read of their records showed.
pub(super) struct ReadDecisions<'a> {
    pub(super) waiting: &'a [Waiting],
    /// How many are looked at to find them again.
    pub(super) limit: usize,
    /// What the read showed, by object.
    pub(super) records: &'a [(ObjectType, Present)],
    /// A key for each of them: a record may have to be created again.
    pub(super) keys: &'a [String],
}

impl ReadDecisions<'_> {
    /// Tells whether something was carried out, and what waits until when.
    pub(super) fn carry_out(
        &self,
        tx: &Transaction<'_>,
        objects: &Objects,
        moment: Moment,
    ) -> Result<(bool, Vec<(ConflictId, Timestamp)>), StoreError> {
        let mut carried_out = false;
        let mut put_off = Vec::new();
        // Both sides may have moved, and the person may have thought better of it, while the records were read.
        let still = conflicts::waiting(tx, self.limit)?;
        for (place, (conflict, key)) in self.waiting.iter().zip(self.keys).enumerate() {
            let found = still.iter().find(|present| {
                present.id == conflict.id
                    && present.hs_id == conflict.hs_id
                    && present.resolution == conflict.resolution
            });
            let Some(conflict) = found else {
                carried_out = true;
                continue;
            };
            let Some(object) = object_of(objects, conflict) else {
                continue;
            };
            let mut of_object = self.records.iter();
            let Some((_, present)) = of_object.find(|(name, _)| name == object.object()) else {
                continue;
            };
            let decision = Decision {
                pass: Pass::at(moment, &object, Origin::Conflict),
                conflict,
                present,
                key,
                later: &self.waiting[place + 1..],
            };
            match decision.carry_out(tx)? {
                CarriedOut::Yes => carried_out = true,
                CarriedOut::NotYet => {}
                CarriedOut::Later(until) => put_off.push((conflict.id, until)),
            }
        }
        Ok((carried_out, put_off))
    }
}

pub(super) fn object_of(
    objects: &Objects,
    conflict: &Waiting,
) -> Option<std::sync::Arc<ObjectSync>> {
    ObjectType::parse(&conflict.object)
        .ok()
        .and_then(|name| objects.get(&name))
}

/// What HubSpot holds when a decision is carried out.
async fn read_present(
    engine: &Engine,
    objects: &Objects,
    waiting: &[Waiting],
) -> Result<Vec<(ObjectType, Present)>, StepError> {
    let mut records = Vec::new();
    for object in objects.iter() {
        let ids: Vec<HubspotId> = waiting
            .iter()
            .filter(|conflict| {
                conflict.object == object.object().as_str() && conflict.resolution.is_some()
            })
            .filter_map(|conflict| conflict.hs_id)
            .collect();
        let found = read_records(engine, object, &ids, Priority::Interactive).await?;
        records.push((object.object().clone(), found));
    }
    Ok(records)
}

struct Decision<'a> {
    pass: Pass<'a>,
    conflict: &'a Waiting,
    /// What a read of the object's decided records showed.
    present: &'a Present,
    key: &'a str,
    /// What is decided behind it: the guard judges it with that.
    later: &'a [Waiting],
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CarriedOut {
    /// It was carried out, or given back.
    Yes,
    /// It waits for what this machine is about to learn.
    NotYet,
    /// It waits for a better answer of HubSpot's, which is not to be asked before that time.
    Later(Timestamp),
}

impl Decision<'_> {
    /// Each for itself: one that somebody else's constraint refuses goes back to the person, and keeps no other one.
    fn carry_out(&self, tx: &Transaction<'_>) -> Result<CarriedOut, StoreError> {
        let decide = || match self.conflict.property == WHOLE_RECORD {
            true => self.whole(tx),
            false => self.field(tx),
        };
        match savepoint::within(tx, decide) {
            Err(error) if error.is_of_one_row() => {
                self.refuse(tx, &format!("it can't be carried out: {error}"))
            }
            decided => decided,
        }
    }

    fn field(&self, tx: &Transaction<'_>) -> Result<CarriedOut, StoreError> {
        let conflict = self.conflict;
        let row = self.pass.object.table.by_local_id(tx, conflict.local_id)?;
        let record = match self.look(tx, row.as_ref(), None)? {
            Look::Outdated => return Ok(self.later(Again::Outdated)),
            Look::Unread => return Ok(self.later(Again::Unread)),
            Look::Shown(record) => Some(record),
            Look::Missing => None,
        };
        let Some(row) = row else {
            // Its archive looks at the conflict; once nothing waits any more, `close_gone` closes it.
            return match conflict.resolution {
                Some(_) => self.refuse(tx, ROW_DELETED),
                None => Ok(CarriedOut::NotYet),
            };
        };
        let property = PropertyName::parse(&conflict.property).ok();
        let Some((property, field)) = property.as_ref().and_then(|name| {
            self.pass
                .object
                .mapping()
                .field(name)
                .map(|field| (name, field))
        }) else {
            return self.other_field(tx);
        };
        let since = late_since(self.pass.now, self.pass.offset_ms);
        let sent = outbox::sent_earlier(tx, self.pass.name(), conflict.local_id, since)?;
        let decision = decide_field(&FieldConflict {
            field,
            base: &conflict.base,
            remembered: &conflict.remote,
            shown: record.and_then(|record| record.shown(property)),
            local: row.value(property),
            sent: sent.get(property).map_or(&[], Vec::as_slice),
            word: conflict.resolution.as_deref(),
        });
        match decision {
            FieldDecision::Wait => return Ok(CarriedOut::NotYet),
            FieldDecision::Refuse(explanation) => return self.refuse(tx, &explanation),
            FieldDecision::Close(end) => conflicts::close(tx, conflict.id, end, self.pass.now)?,
            FieldDecision::Settle { end, value, remote } => {
                if let Some(why) = self.refusal(tx, (&row, field), (end.winner, &value))? {
                    return self.refuse(tx, &why);
                }
                conflicts::close(tx, conflict.id, end, self.pass.now)?;
                if end.winner == Winner::Remote && self.is_withheld(tx, (&row, field), &value)? {
                    return Ok(CarriedOut::Yes);
                }
                self.settle_field(tx, (row, field), &value, &remote)?;
            }
        }
        Ok(CarriedOut::Yes)
    }

    /// A field that is not in force: nothing of it can be sent, and HubSpot's value is all that can be decided for.
    fn other_field(&self, tx: &Transaction<'_>) -> Result<CarriedOut, StoreError> {
        let conflict = self.conflict;
        let Some(word) = conflict.resolution.as_deref() else {
            return Ok(CarriedOut::NotYet);
        };
        let others = fields::out_of_force(tx, self.pass.object.mapping())?;
        let mut mapped = others
            .iter()
            .filter(|other| other.state != FieldState::Unmapped);
        let Some(other) = mapped.find(|other| other.property == conflict.property) else {
            return self.refuse(tx, NOT_MAPPED);
        };
        if word == "remote" {
            conflicts::close(tx, conflict.id, REMOTE_TAKEN, self.pass.now)?;
            self.take_other(tx, other)?;
            return Ok(CarriedOut::Yes);
        }
        let mut troubled = fields::troubled(tx)?.into_iter();
        let trouble =
            troubled.find(|field| field.object == other.object && field.property == other.property);
        let trouble = trouble.as_ref();
        let trouble = trouble.map(|trouble| (trouble.problem.as_str(), trouble.hint.as_deref()));
        self.refuse(tx, &not_in_force(&other.property, trouble))
    }

    /// The column takes HubSpot's value as it was last seen, where it can hold it; else it is about to be made anew.
    fn take_other(&self, tx: &Transaction<'_>, other: &FieldRow) -> Result<(), StoreError> {
        let (conflict, object) = (self.conflict, self.pass.object);
        let Ok(property) = PropertyName::parse(&conflict.property) else {
            return Ok(());
        };
        if let Some(queued) = outbox::of_row(tx, object.object(), conflict.local_id)? {
            outbox::drop_field(tx, queued.id, &property)?;
        }
        let kind = PropertyType::parse(&other.property_type).unwrap_or(PropertyType::String);
        let here = object.table.former_value(tx, conflict.local_id, other)?;
        let (Ok(value), Some(here)) = (kind.canonical(conflict.remote.as_deref()), here) else {
            return Ok(());
        };
        let emptied = Emptied {
            property: &property,
            column: &other.column_name,
            local_id: conflict.local_id,
            hs_id: conflict.hs_id,
        };
        if self.keeps(tx, (&here, emptied), &value)? {
            return Ok(());
        }
        let ids = (conflict.local_id, conflict.hs_id);
        set_other(tx, &self.pass, ids, other, (&value, Origin::Conflict))
    }

    /// What the read says of the conflict's record.
    fn look(
        &self,
        tx: &Transaction<'_>,
        row: Option<&MirrorRow>,
        entry: Option<&Entry>,
    ) -> Result<Look<'_>, StoreError> {
        let Some(id) = self.conflict.hs_id else {
            return Ok(Look::Missing);
        };
        let known = KnownVersion {
            version: shown_version(tx, row, entry)?,
            offset_ms: self.pass.offset_ms,
        };
        Ok(self.present.look(id, known))
    }

    /// Why a third value can't be taken, though its type can hold it: what the mirror's triggers refuse of a program's write.
    fn refusal(
        &self,
        tx: &Transaction<'_>,
        (row, field): (&MirrorRow, &FieldMapping),
        (winner, value): (Winner, &Value),
    ) -> Result<Option<String>, StoreError> {
        let mapping = self.pass.object.mapping();
        let is_kept = field.property_type.same(row.value(&field.property), value);
        match winner {
            Winner::Value if !is_kept && !field.direction.pushes() => {
                Ok(Some(read_only(mapping, field)))
            }
            Winner::Value if !is_kept => options::refusal(tx, mapping, field, value),
            Winner::Value | Winner::Local | Winner::Remote | Winner::Agreed => Ok(None),
        }
    }

    /// Whether HubSpot's value is empty, and the guard holds what it would empty here: the row keeps its value, and nothing of it
    /// waits, until an operator has said something.
    fn is_withheld(
        &self,
        tx: &Transaction<'_>,
        (row, field): (&MirrorRow, &FieldMapping),
        value: &Value,
    ) -> Result<bool, StoreError> {
        let property = &field.property;
        let emptied = Emptied::of(row, field);
        if !self.keeps(tx, (row.value(property), emptied), value)? {
            return Ok(false);
        }
        if let Some(entry) = outbox::of_row(tx, self.pass.name(), row.record.local_id)? {
            outbox::drop_field(tx, entry.id, property)?;
        }
        Ok(true)
    }

    /// Whether the guard keeps what a column holds from the empty value of HubSpot's that was decided for.
    fn keeps(
        &self,
        tx: &Transaction<'_>,
        (here, emptied): (&Value, Emptied<'_>),
        value: &Value,
    ) -> Result<bool, StoreError> {
        if !value.is_empty() || here.is_empty() || emptied.hs_id.is_none() {
            return Ok(false);
        }
        let later = || {
            let emptied = self.later.iter().filter(|later| {
                later.object == self.conflict.object
                    && later.property == self.conflict.property
                    && later.resolution.as_deref() == Some("remote")
                    && later.remote.is_empty()
            });
            emptied.filter_map(|later| later.hs_id).collect()
        };
        clearing::keeps_beside(tx, &self.pass, emptied, later)
    }

    /// The mirror takes the decided value; what differs from HubSpot's is queued with that as its base.
    fn settle_field(
        &self,
        tx: &Transaction<'_>,
        (mut row, field): (MirrorRow, &FieldMapping),
        value: &Value,
        remote: &Value,
    ) -> Result<(), StoreError> {
        let (object, now, local_id) = (self.pass.object, self.pass.now, row.record.local_id);
        let name = object.object();
        let acts = taken_here(field, &row, value);
        if !acts.is_empty() {
            let work = EntryWork {
                tx,
                object: name,
                now,
                local_id,
                hs_id: row.record.hs_id,
                entry: None,
            };
            work.carry_out_on(object.mapping(), &mut row, acts)?;
            object.table.update(tx, &row)?;
        }
        let queued = outbox::of_row(tx, name, local_id)?.map(|entry| entry.id);
        let property = &field.property;
        let waits = waits_of_decided(field, &row, value, remote);
        match (waits, queued, row.record.hs_id) {
            (FieldWaits::Nothing, Some(entry), _) => outbox::drop_field(tx, entry, property),
            (FieldWaits::WithCreate, Some(entry), _) => {
                outbox::put_field(tx, entry, property, &Base::Unknown, now)
            }
            (FieldWaits::Over(base), _, Some(hs_id)) => {
                let entry = outbox::ensure_update(tx, name, local_id, hs_id, now)?;
                outbox::put_field(tx, entry, property, &base, now)
            }
            (FieldWaits::Nothing | FieldWaits::WithCreate | FieldWaits::Over(_), ..) => Ok(()),
        }
    }

    fn whole(&self, tx: &Transaction<'_>) -> Result<CarriedOut, StoreError> {
        let Some(word) = self.conflict.resolution.as_deref() else {
            return Ok(CarriedOut::NotYet);
        };
        let Some(word) = Word::of_person(word) else {
            return self.refuse(tx, WHOLE_TAKES);
        };
        let conflict = self.conflict;
        let queued = outbox::of_row(tx, self.pass.name(), conflict.local_id)?;
        let row = self.pass.object.table.by_local_id(tx, conflict.local_id)?;
        let entry = queued.as_ref();
        let look = self.look(tx, row.as_ref(), entry)?;
        let actions = decide(&Sides {
            hubspot: match look {
                Look::Shown(_) => Hubspot::Unchanged,
                Look::Outdated => Hubspot::Outdated,
                Look::Unread => Hubspot::Unread,
                Look::Missing => {
                    let id = row.as_ref().and_then(|row| row.record.hs_id);
                    let known = (row.as_ref(), entry);
                    let id = id.or(conflict.hs_id);
                    let missed = missed(tx, &self.pass, id, known, self.present.asked_at)?;
                    Hubspot::missed(&missed, &self.pass.moment())
                }
            },
            here: match &row {
                Some(row) if self.pass.object.table.is_marked(tx, row.record.local_id)? => {
                    Here::Marked
                }
                Some(_) => Here::row(entry, None, &self.pass.moment()),
                None => Here::rowless(entry, &self.pass.moment()),
            },
            word,
            policy: self.pass.object.mapping().policy,
            modes: self.pass.object.mapping().modes,
            is_erasure: false,
        });
        if let [Action::LookAgain(again)] = actions[..] {
            return Ok(self.later(again));
        }
        let of_row = row.as_ref().and_then(|row| row.record.hs_id);
        let record = match look {
            Look::Shown(record) => Some(record),
            Look::Outdated | Look::Unread | Look::Missing => None,
        };
        let shown = record.map(|record| record.id);
        let matter = Matter {
            pass: self.pass,
            hs_id: shown.or(of_row).or(conflict.hs_id).unwrap_or(HubspotId(0)),
            row: row.as_ref(),
            queued: queued.as_ref(),
            record,
            key: self.key,
            decided: Some(conflict.id),
        };
        matter.carry_out(tx, &actions)?;
        Ok(CarriedOut::Yes)
    }

    /// When HubSpot is asked again.
    fn later(&self, again: Again) -> CarriedOut {
        CarriedOut::Later(again.due(&self.pass.moment(), AFTER_FLIGHT))
    }

    fn refuse(&self, tx: &Transaction<'_>, reason: &str) -> Result<CarriedOut, StoreError> {
        conflicts::refuse_resolution(tx, self.conflict.id, reason)?;
        Ok(CarriedOut::Yes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::incoming::reading::{Archived, Removal};
    use crate::engine::decisions::discards::discard_one;
    use crate::engine::desk::{Desk, run};
    use crate::engine::inbound::apply::apply_page;
    use crate::engine::inbound::removal::remove_all;
    use crate::engine::source::reads::note_missing;
    use crate::engine::testing::{How, Scene, at, property, record, showing, synced};
    use crate::model::id::LocalId;
    use crate::model::mapping::{ObjectMapping, Policy, Sees};
    use crate::model::record::RemoteRecord;
    use crate::store::holds::{self, HoldWord, Side};

    /// Row 1 is record 101, both sides wrote its first name, and nobody has decided.
    fn in_conflict() -> Scene {
        let scene = Scene::of(Policy::Manual);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.apply(How::at(5), &record(101, 5, &[("firstname", "Theirs")]));
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs -"]);
        scene
    }

    /// Carries a decision out by a read of second 10.
    fn decide(scene: &Scene, resolution: &str, record: Option<&RemoteRecord>) -> bool {
        let present = Present {
            asked_at: at(10),
            ..showing(record.cloned().into_iter().collect(), &[])
        };
        scene.program(&format!(
            "UPDATE sync_conflicts SET resolution = '{resolution}'"
        ));
        scene.write(|tx| {
            let waiting = conflicts::waiting(tx, BATCH)?;
            let decision = Decision {
                pass: scene.pass(at(100)),
                conflict: &waiting[0],
                present: &present,
                key: "",
                later: &[],
            };
            Ok(decision.field(tx)? == CarriedOut::Yes)
        })
    }

    #[test]
    fn a_decision_is_not_carried_out_by_a_read_of_before() {
        let scene = in_conflict();
        scene.apply(
            How::at(20),
            &record(101, 20, &[("firstname", "Theirs again")]),
        );
        let before = record(101, 5, &[("firstname", "Theirs")]);
        assert!(!decide(&scene, "remote", Some(&before)));
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs again -"]);
        let present = record(101, 20, &[("firstname", "Theirs again")]);
        assert!(decide(&scene, "remote", Some(&present)));
        assert_eq!(
            scene.rows("SELECT first_name FROM contacts"),
            ["Theirs again"]
        );
    }

    /// HubSpot's type of the first name has changed, and its column waits with the type that it had.
    fn waits_for_its_type(scene: &mut Scene) {
        scene.daemon(
            "UPDATE sync_fields SET state = 'degraded', problem = 'HubSpot changed its type', hint = 'set it back'
             WHERE property = 'firstname'",
        );
        let mut mapping = scene.object.mapping().clone();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "firstname");
        scene.object = synced(mapping);
    }

    const FIRST_NAME: &str = "SELECT first_name FROM contacts";
    const CHANGES: &str = "SELECT property, old_value, new_value, origin FROM sync_history WHERE origin IN ('conflict', 'discard')";

    #[test]
    fn an_open_conflict_of_a_field_that_waits_for_its_type_can_be_decided_for_hubspot() {
        let mut scene = in_conflict();
        waits_for_its_type(&mut scene);
        for word in ["local", "value:77"] {
            assert!(decide(&scene, word, None));
            assert_eq!(
                scene.rows("SELECT reason, resolution FROM sync_conflicts"),
                [
                    "`firstname` is not synced at the moment, so that only `remote` can be decided: HubSpot changed its type; set it back -"
                ]
            );
        }
        assert!(decide(&scene, "remote", None));
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs remote"]);
        assert_eq!(scene.rows(FIRST_NAME), ["Theirs"]);
        assert_eq!(scene.rows(CHANGES), ["firstname Ours Theirs conflict"]);
        // One that left the mapping stays with whoever maps it again.
        let mut scene = in_conflict();
        waits_for_its_type(&mut scene);
        scene.daemon("UPDATE sync_fields SET state = 'unmapped' WHERE property = 'firstname'");
        assert!(decide(&scene, "remote", None));
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs -"]);
        assert_eq!(scene.rows(FIRST_NAME), ["Ours"]);
    }

    #[test]
    fn what_people_decide_to_empty_of_a_field_that_waits_for_its_type_is_held_as_a_whole() {
        let mut scene = Scene::of_adas();
        scene.object = synced(ObjectMapping {
            fields: scene
                .object
                .mapping()
                .fields
                .iter()
                .cloned()
                .map(|field| FieldMapping {
                    policy: Policy::Manual,
                    ..field
                })
                .collect(),
            ..scene.object.mapping().clone()
        });
        scene.program("UPDATE contacts SET first_name = 'Eva' WHERE local_id <= 50");
        scene.write(|tx| apply_page(tx, &scene.applying(How::at(10)), &Scene::emptied(50)));
        assert_eq!(scene.conflicts().len(), 50);
        waits_for_its_type(&mut scene);
        scene.program("UPDATE sync_conflicts SET resolution = 'remote'");
        scene.write(|tx| {
            let waiting = conflicts::waiting(tx, BATCH)?;
            let present = showing(Vec::new(), &[]);
            for (place, conflict) in waiting.iter().enumerate() {
                let decision = Decision {
                    pass: scene.pass(at(100)),
                    conflict,
                    present: &present,
                    key: "",
                    later: &waiting[place + 1..],
                };
                decision.field(tx)?;
            }
            Ok(())
        });
        assert_eq!(scene.clear_holds(), ["local 50 firstname"]);
        let names = "SELECT first_name, count(*) FROM contacts GROUP BY 1";
        assert_eq!(scene.rows(names), ["Ada 70", "Eva 50"]);
        let open = "SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL";
        assert_eq!(scene.rows(open), ["0"]);
        // The operator lets it go while the column still waits.
        scene.write(|tx| {
            let hold = holds::open(
                tx,
                clearing::clear_key(scene.object.object(), Side::Local, &property("firstname")),
            )?;
            let hold = hold.expect("it is held");
            clearing::carry_out(tx, &scene.pass(at(110)), (hold, HoldWord::Approved))
        });
        assert_eq!(scene.rows(names), ["- 50", "Ada 70"]);
    }

    #[test]
    fn a_discarded_value_of_a_field_that_waits_for_its_type_goes_back_to_its_base() {
        let mut scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        waits_for_its_type(&mut scene);
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let pass = Pass {
                origin: Origin::Discard,
                ..scene.pass(at(10))
            };
            discard_one(tx, &pass, &queued.expect("it waits"))
        });
        assert_eq!(scene.rows(FIRST_NAME), ["Base"]);
        assert_eq!(scene.rows(CHANGES), ["firstname Ours Base discard"]);
        assert_eq!(scene.outbox(), NOTHING);
    }

    #[test]
    fn a_discarded_deletion_brings_back_what_a_field_held_that_waits_for_its_type() {
        let mut scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("DELETE FROM contacts");
        waits_for_its_type(&mut scene);
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            discard_one(tx, &scene.pass(at(10)), &queued.expect("it waits"))
        });
        assert_eq!(scene.rows(FIRST_NAME), ["Base"]);
    }

    #[test]
    fn a_record_that_was_made_moments_ago_is_not_created_again_because_one_read_misses_it() {
        for word in ["local", "remote"] {
            let scene = Scene::of(Policy::Manual);
            let young = RemoteRecord {
                created_at: at(0),
                ..record(101, 1, &[("firstname", "Base")])
            };
            scene.apply(How::at(1), &young);
            scene.daemon(&format!(
                "INSERT INTO sync_conflicts (object, local_id, hs_id, property, policy, detected_at, resolution)
                 VALUES ('contacts', 1, 101, '*', 'manual', '{}', '{word}')",
                at(2)
            ));
            let decided = |second, asked_at| {
                scene.write(|tx| {
                    let waiting = conflicts::waiting(tx, BATCH)?;
                    let decision = Decision {
                        pass: scene.pass(at(second)),
                        conflict: &waiting[0],
                        present: &Present {
                            asked_at: at(asked_at),
                            ..Present::default()
                        },
                        key: "0123456789abcdef0123456789abcdef",
                        later: &[],
                    };
                    decision.carry_out(tx)
                })
            };
            assert_eq!(decided(20, 20), CarriedOut::Later(at(30)));
            assert_eq!(decided(55, 55), CarriedOut::Later(at(60)));
            // It was seen since the question.
            assert_eq!(decided(70, 0), CarriedOut::Later(at(100)));
            assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
            assert_eq!(decided(70, 70), CarriedOut::Yes);
            assert_eq!(
                scene.rows("SELECT hs_id FROM contacts WHERE hs_id = 101"),
                NOTHING
            );
            let told = "SELECT hs_id, winner FROM sync_conflicts WHERE resolved_at IS NOT NULL";
            assert_eq!(scene.rows(told), [format!("101 {word}")]);
        }
    }

    #[test]
    fn a_conflict_of_a_record_ends_once_neither_side_has_it() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let made = desk.engine.now();
        let fill = desk.engine.store().write(Lane::Bulk, move |tx| {
            Ok(tx.execute_batch(&format!(
                "INSERT INTO sync_conflicts (object, local_id, hs_id, property, policy, detected_at)
                 VALUES ('contacts', 1, 101, '*', 'manual', '{made}');
                 INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, row)
                 VALUES ('contacts', 1, 101, 'archive', '{made}', '{{}}')"
            ))?)
        });
        run(fill).expect("fills");
        let ends = || {
            run(step(&desk.engine)).expect("a step");
            let told = desk.engine.store().read(|connection| {
                Ok(connection.query_row(
                    "SELECT winner, resolution FROM sync_conflicts",
                    [],
                    |row| Ok((row.get::<_, Option<String>>(0)?, row.get(1)?)),
                )?)
            });
            run(told).expect("a conflict")
        };
        // The archive waits for a word about it.
        assert_eq!(ends(), (None, None));
        let done = desk.engine.store().write(Lane::Bulk, move |tx| {
            assert_eq!(
                conflicts::of_deleted(tx, contacts.object())?,
                [HubspotId(101)]
            );
            Ok(tx.execute_batch("DELETE FROM sync_outbox")?)
        });
        run(done).expect("it has ended");
        let agreed = (Some("agreed".to_owned()), Some("gone".to_owned()));
        assert_eq!(ends(), agreed);
    }

    #[test]
    fn a_decision_that_waits_for_a_better_answer_does_not_ask_each_second() {
        let desk = Desk::new(0);
        desk.loaded();
        let made = desk.engine.now();
        let fill = desk.engine.store().write(Lane::Bulk, move |tx| {
            Ok(tx.execute_batch(&format!(
                "INSERT INTO contacts (local_id, hs_id, hs_created_at, email) VALUES (1, 101, '{made}', 'ann@example.com');
                 INSERT INTO sync_conflicts (object, local_id, hs_id, property, policy, detected_at, resolution)
                 VALUES ('contacts', 1, 101, '*', 'manual', '{made}', 'local')"
            ))?)
        });
        run(fill).expect("fills");
        let missing = r#"{"status":"COMPLETE","results":[],"numErrors":1,"errors":[{"category":"OBJECT_NOT_FOUND",
            "message":"Could not get some objects","context":{"ids":["101"]}}]}"#;
        let mut asked = Vec::new();
        for _ in 0..12 {
            desk.hubspot.answer("/batch/read", missing);
            run(step(&desk.engine)).expect("a step");
            asked.push(desk.hubspot.asked("/batch/read").len());
            desk.clock.pass(Duration::from_secs(1));
        }
        assert_eq!(asked[..9], [1; 9]);
        assert_eq!(asked[11], 2);
    }

    #[test]
    fn a_decision_about_a_record_that_the_archive_showed_is_carried_out_at_once() {
        // Its user does not see all, or it was made moments ago: an answer that misses the record says nothing by itself.
        let cases = [(Sees::User, -9_000), (Sees::Portal, 0)];
        let explanation = [("local", "1 -"), ("remote", "")];
        for ((sees, made), (word, left)) in cases
            .into_iter()
            .flat_map(|case| explanation.map(|word| (case, word)))
        {
            let scene = Scene::with(|mapping| {
                mapping.policy = Policy::Manual;
                mapping.modes.sees = sees;
            });
            let shown = RemoteRecord {
                created_at: at(made),
                ..record(101, 0, &[("firstname", "Base")])
            };
            scene.apply(How::at(0), &shown);
            scene.program("UPDATE contacts SET first_name = 'Ours'");
            let removal = Removal {
                id: HubspotId(101),
                archived: Archived::Shown(Some(at(10))),
                origin: Origin::Reconcile,
            };
            let modes = scene.object.mapping().modes;
            let keys = vec!["1".repeat(32)];
            scene.write(|tx| {
                note_missing(tx, &scene.pass(at(20)), removal, at(20))?;
                remove_all(tx, &scene.pass(at(20)), modes, (&[removal], keys))
            });
            scene.program(&format!("UPDATE sync_conflicts SET resolution = '{word}'"));
            // The decision's own read asks for what is live.
            let decided = scene.write(|tx| {
                let waiting = conflicts::waiting(tx, BATCH)?;
                let decision = Decision {
                    pass: scene.pass(at(30)),
                    conflict: &waiting[0],
                    present: &Present {
                        asked_at: at(30),
                        ..Present::default()
                    },
                    key: "0123456789abcdef0123456789abcdef",
                    later: &[],
                };
                decision.carry_out(tx)
            });
            assert_eq!(decided, CarriedOut::Yes, "{sees:?} {word}");
            let rows = scene.rows("SELECT local_id, hs_id FROM contacts");
            assert_eq!(rows.join(""), left);
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn what_is_decided_while_its_record_is_created_again_follows_the_create() {
        for (word, value) in [("local", "Ours"), ("remote", "Theirs")] {
            let scene = in_conflict();
            scene.daemon(
                "UPDATE contacts SET hs_id = NULL;
                 UPDATE sync_conflicts SET hs_id = NULL;
                 INSERT INTO sync_outbox (object, local_id, operation, state, enqueued_at, key)
                 VALUES ('contacts', 1, 'create', 'in_flight', '2026-11-24T03:10:00.000Z', 'k')",
            );
            assert!(decide(&scene, word, None));
            assert_eq!(scene.rows("SELECT first_name FROM contacts"), [value]);
            assert_eq!(scene.outbox(), ["create 1 -; firstname was ?"]);
        }
    }
}

#[cfg(test)]
mod row_tests {
    use super::*;
    use crate::decide::decision::UNKNOWN_WORD;
    use crate::engine::testing::{pass, synced, with_contacts, write};
    use crate::store::Store;
    use crate::store::testing::{contacts, now, texts as shown};

    /// Carries out what waits, as the step does where HubSpot shows nothing new.
    fn decide(store: &Store) {
        write(store, |tx| {
            for conflict in conflicts::waiting(tx, BATCH)? {
                let object = synced(contacts());
                let decision = Decision {
                    pass: pass(&object),
                    conflict: &conflict,
                    present: &Present {
                        asked_at: now(),
                        ..Present::default()
                    },
                    key: "00",
                    later: &[],
                };
                decision.carry_out(tx)?;
            }
            Ok(())
        });
    }

    fn in_conflict(store: &Store, resolution: &'static str) {
        write(store, move |tx| {
            tx.execute_batch("DELETE FROM sync_conflicts")?;
            tx.execute(
                &format!(
                    "INSERT INTO sync_conflicts (id, object, local_id, hs_id, property, base_value, local_value, remote_value,
                                                 policy, detected_at, resolution)
                     VALUES (1, 'contacts', 1, 1001, 'firstname', 'A', 'Ada', 'Augusta', 'manual', 'x', {resolution})"
                ),
                [],
            )?;
            Ok(())
        });
    }

    #[test]
    fn a_resolution_that_is_no_decision_goes_back_with_the_sentence() {
        let (folder, store) = with_contacts(1);
        for (resolution, sentence) in [
            ("'remot'", UNKNOWN_WORD),
            ("''", UNKNOWN_WORD),
            ("'Turku'", UNKNOWN_WORD),
            // Text that is no UTF-8 keeps no other decision waiting, and reaches neither side.
            ("CAST(x'76616c75653afffe' AS TEXT)", UNKNOWN_WORD),
            (
                "'value:' || hex(zeroblob(32769))",
                "the value is longer than HubSpot takes [value-too-long]",
            ),
        ] {
            in_conflict(&store, resolution);
            decide(&store);
            assert_eq!(
                shown(
                    &folder,
                    "SELECT coalesce(resolution, '-') || ' ' || reason FROM sync_conflicts WHERE resolved_at IS NULL"
                ),
                [format!("- {sentence}")],
                "{resolution}"
            );
            assert_eq!(shown(&folder, "SELECT first_name FROM contacts"), ["Ada"]);
        }
        in_conflict(&store, "'value:Zoë'");
        decide(&store);
        assert_eq!(shown(&folder, "SELECT first_name FROM contacts"), ["Zoë"]);
    }

    #[test]
    fn a_decision_that_a_constraint_refuses_goes_back_and_keeps_no_other_one_waiting() {
        let (folder, store) = with_contacts(2);
        write(&store, |tx| {
            Ok(tx.execute_batch(
                "CREATE UNIQUE INDEX mine ON contacts (first_name) WHERE first_name <> 'Ada';
                 UPDATE contacts SET first_name = 'Taken' WHERE local_id = 2;
                 INSERT INTO sync_conflicts (id, object, local_id, hs_id, property, base_value, local_value, remote_value,
                                             policy, detected_at, resolution)
                 VALUES (1, 'contacts', 1, 1001, 'firstname', 'A', 'Ada', 'B', 'manual', 'x', 'value:Taken'),
                        (2, 'contacts', 2, 1002, 'email', 'a', '2@example.com', 'b', 'manual', 'x', 'remote')",
            )?)
        });
        decide(&store);
        assert_eq!(
            shown(
                &folder,
                "SELECT id || ' ' || coalesce(resolution, '-') || ' ' || substr(reason, 1, 23) FROM sync_conflicts ORDER BY id"
            ),
            [
                "1 - it can't be carried out",
                "2 remote decided: HubSpot's valu"
            ]
        );
        assert_eq!(
            shown(
                &folder,
                "SELECT first_name || ' ' || email FROM contacts ORDER BY local_id"
            ),
            ["Ada 1@example.com", "Taken b"]
        );
    }
}
