//! What people decide by SQL: conflicts, discarded entries, approved holds. Noticed within a second, carried out here.

use rusqlite::Transaction;

use crate::decide::echo::{is_sent, late_since};
use crate::decide::existence::{
    Action, Again, GivenUp, Here, Hubspot, Sides, Word, decide, given_up,
};
use crate::decide::freshness::{Evidence, Freshness, of_version};
use crate::decide::record::judge_open;
use crate::decide::retry::{AFTER_FLIGHT, AFTER_UNREAD};
use crate::engine::inbound::actions::ended_by_itself;
use crate::engine::inbound::existence::{Matter, missed, put_back};
use crate::engine::inbound::removal::remove_all;
use crate::engine::outbound::gap;
use crate::engine::outbound::guarded::{archive_key, update_key};
use crate::engine::outbound::present::{Present, read_records};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::Priority;
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::{Base, Entry, EntryField};
use crate::model::id::{HoldId, HubspotId, LocalId};
use crate::model::mapping::FieldMapping;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};
use crate::store::conflicts::{self, End, Waiting};
use crate::store::fields::{self, FieldRow, FieldState, Troubled};
use crate::store::file::savepoint;
use crate::store::history::{self, Change, Origin};
use crate::store::outbox;
use crate::store::reads::{self, Removal};
use crate::store::{Lane, StoreError, holds, rowjson, unreadable};

/// How many decisions one step takes.
const BATCH: usize = 100;

/// Carries out what people have decided.
pub async fn step(engine: &Engine) -> Result<Progress, StepError> {
    let discarded = discard(engine).await?;
    let decided = decide_conflicts(engine).await?;
    let approved = approve(engine).await?;
    let closed = close_gone(engine).await?;
    Ok(if discarded || decided || approved || closed {
        Progress::More
    } else {
        Progress::RING
    })
}

async fn discard(engine: &Engine) -> Result<bool, StepError> {
    let objects = engine.objects();
    let waiting = engine
        .store
        .read(|connection| outbox::discarded(connection, BATCH))
        .await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let offset_ms = engine.client.clock_offset_ms();
    let more = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let mut carried_out = false;
            for (object, queued) in outbox::discarded(tx, BATCH)? {
                let Some(sync) = objects.get(&object) else {
                    continue;
                };
                carried_out = true;
                let pass = Pass::of(tx, &sync, Origin::Discard, offset_ms);
                match savepoint::within(tx, || discard_one(tx, &pass, &queued)) {
                    Err(error) if error.is_of_one_row() => {
                        let words = format!("it can't be discarded: {error}");
                        outbox::refuse_discard(tx, queued.id, &words)?;
                    }
                    discarded => discarded?,
                }
            }
            Ok(carried_out)
        })
        .await?;
    Ok(more)
}

fn discard_one(tx: &Transaction<'_>, pass: &Pass<'_>, queued: &Entry) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let entry = &queued;
    match given_up(entry) {
        GivenUp::TakeBack(hs_id) => {
            take_back(tx, pass, queued)?;
            outbox::end(tx, entry.id)?;
            reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
        }
        GivenUp::Undelete(hs_id) => {
            undelete(tx, pass, queued, hs_id)?;
            if let Some(whole) = conflicts::open_whole(tx, object.object(), entry.local_id)? {
                let end = End {
                    winner: Winner::Remote,
                    resolution: "discarded",
                    reason: "the deletion was discarded, and the row is back",
                };
                conflicts::close(tx, whole, end, now)?;
            }
            reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
        }
        GivenUp::Exclude => {
            outbox::exclude(tx, object.object(), entry.local_id)?;
            outbox::end(tx, entry.id)?;
        }
        GivenUp::End => outbox::end(tx, entry.id)?,
    }
    for key in [archive_key, update_key].map(|key| key(object.object())) {
        holds::recount_entries(tx, key, now)?;
    }
    Ok(())
}

/// A deletion that is given up: the row is back as it was, and what was pending of it before is pending again.
fn undelete(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    queued: &Entry,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    let (object, entry) = (pass.object, &queued);
    let text = entry.row.as_deref().unwrap_or_default();
    let record = former_record(pass, hs_id, text);
    if !put_back(tx, pass, entry, &record)? {
        return outbox::end(tx, entry.id);
    }
    let open = conflicts::open_of(tx, object.object(), entry.local_id)?;
    for field in &entry.fields {
        let agreed = object
            .mapping()
            .field(&field.property)
            .is_some_and(|mapped| {
                let held = record.values.get(&field.property).unwrap_or(&Value::EMPTY);
                matches!(&field.base, Base::Known(base) if mapped.property_type.same(base, held))
            });
        if agreed || open.contains_key(&field.property) {
            outbox::drop_field(tx, entry.id, &field.property)?;
        }
    }
    match outbox::fields(tx, entry.id)?.is_empty() {
        true => outbox::end(tx, entry.id),
        false => outbox::undelete(tx, entry.id),
    }
}

/// The row as it was when it was deleted.
fn former_record(pass: &Pass<'_>, id: HubspotId, text: &str) -> RemoteRecord {
    let (object, now) = (pass.object, pass.now);
    RemoteRecord {
        id,
        values: rowjson::values(object.mapping(), text),
        invalid: std::collections::BTreeMap::new(),
        created_at: rowjson::created_at(text).unwrap_or(now),
        updated_at: rowjson::modified_at(text).unwrap_or(Timestamp::EPOCH),
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
    }
}

/// The fields of a discarded update go back to their base; what they held is kept.
fn take_back(tx: &Transaction<'_>, pass: &Pass<'_>, queued: &Entry) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let entry = &queued;
    let Some(mut row) = object.table.by_local_id(tx, entry.local_id)? else {
        return Ok(());
    };
    for field in &entry.fields {
        let base = match &field.base {
            Base::Known(base) => base.clone(),
            Base::Unknown => Value::EMPTY,
        };
        if object.mapping().field(&field.property).is_none() {
            take_back_other(tx, pass, queued, field)?;
            continue;
        }
        let change = Change {
            object: object.object(),
            local_id: entry.local_id,
            hs_id: entry.standing.hs_id,
            property: field.property.as_str(),
            old: row.value(&field.property).as_deref(),
            new: base.as_deref(),
            origin: Origin::Discard,
        };
        history::record(tx, change, now)?;
        row.set(object.mapping(), &field.property, &base);
    }
    object.table.update(tx, &row)
}

/// A field that is not in force, since it left the mapping or has a problem: its column stands in the table all the same.
/// Without a known base, or without the column, nothing is taken back, and nothing is written down.
fn take_back_other(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    queued: &Entry,
    field: &EntryField,
) -> Result<(), StoreError> {
    let Base::Known(base) = &field.base else {
        return Ok(());
    };
    let others = fields::out_of_force(tx, pass.object.mapping())?;
    let other = others
        .iter()
        .find(|other| other.property == field.property.as_str());
    match other {
        Some(other) => {
            let ids = (queued.local_id, queued.standing.hs_id);
            set_other(tx, pass, ids, other, (base, Origin::Discard))
        }
        None => Ok(()),
    }
}

/// Gives the column of a field that is not in force a value; what it held is kept.
fn set_other(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (local_id, hs_id): (LocalId, Option<HubspotId>),
    other: &FieldRow,
    (value, origin): (&Value, Origin),
) -> Result<(), StoreError> {
    let object = pass.object;
    let Some(held) = object.table.former_value(tx, local_id, other)? else {
        return Ok(());
    };
    let change = Change {
        object: object.object(),
        local_id,
        hs_id,
        property: &other.property,
        old: held.as_deref(),
        new: value.as_deref(),
        origin,
    };
    history::record(tx, change, pass.now)?;
    object.table.set_former(tx, local_id, other, value)
}

/// Closes conflicts of fields whose row is gone from both sides: nobody could decide them any more.
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
                    conflicts::close_fields_of(
                        tx,
                        sync.object(),
                        *row,
                        Some(Winner::Agreed),
                        reason,
                        now,
                    )?;
                }
                Ok(!gone.is_empty())
            })
            .await?;
    }
    Ok(closed)
}

async fn decide_conflicts(engine: &Engine) -> Result<bool, StepError> {
    if engine.store.read(conflicts::is_misspelled).await? {
        engine
            .store
            .write(Lane::Interactive, |tx| conflicts::spell(tx))
            .await?;
    }
    let later = engine.later.ids(engine.now());
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
    let asked_at = engine.now();
    let records = read_present(engine, &objects, &waiting).await?;
    let offset_ms = engine.client.clock_offset_ms();
    let keys: Vec<String> = waiting.iter().map(|_| engine.random_key()).collect();
    let (carried_out, put_off) = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let mut carried_out = false;
            let mut put_off = Vec::new();
            // Both sides may have moved, and the person may have thought better of it, while the records were read.
            let still = conflicts::waiting(tx, limit)?;
            for (conflict, key) in waiting.iter().zip(&keys) {
                let found = still.iter().find(|present| {
                    present.id == conflict.id
                        && present.hs_id == conflict.hs_id
                        && present.resolution == conflict.resolution
                });
                let Some(conflict) = found else {
                    carried_out = true;
                    continue;
                };
                let Some(object) = object_of(&objects, conflict) else {
                    continue;
                };
                let present = records
                    .iter()
                    .find(|(name, _)| name == object.object())
                    .map(|(_, present)| present)
                    .zip(conflict.hs_id);
                let decision = Decision {
                    pass: Pass::of(tx, &object, Origin::Conflict, offset_ms),
                    conflict,
                    record: present.and_then(|(present, id)| present.of(id)),
                    is_unread: present.is_some_and(|(present, id)| present.is_unread(id)),
                    asked_at,
                    key,
                };
                match decision.carry_out(tx)? {
                    CarriedOut::Yes => carried_out = true,
                    CarriedOut::NotYet => {}
                    CarriedOut::Later(until) => put_off.push((conflict.id, until)),
                }
            }
            Ok((carried_out, put_off))
        })
        .await?;
    engine.later.put_off(put_off);
    Ok(carried_out)
}

fn object_of(objects: &Objects, conflict: &Waiting) -> Option<std::sync::Arc<ObjectSync>> {
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

/// Why a resolution is given back that is no decision.
const UNKNOWN_WORD: &str =
    "this is no decision: write `local`, `remote` or `value:…` with the value behind it";

struct Decision<'a> {
    pass: Pass<'a>,
    conflict: &'a Waiting,
    record: Option<&'a RemoteRecord>,
    /// Whether HubSpot could not read the record this time.
    is_unread: bool,
    /// When it was asked.
    asked_at: Timestamp,
    key: &'a str,
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
        if self.is_unread {
            return Ok(self.later(Again::Unread));
        }
        let Some(row) = self.pass.object.table.by_local_id(tx, conflict.local_id)? else {
            // Its archive looks at the conflict; once nothing waits any more, `close_gone` closes it.
            return match conflict.resolution {
                Some(_) => self.refuse(tx, "the row was deleted here: INSERT it again to keep it"),
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
        if self.is_read_before(&row) {
            return Ok(CarriedOut::NotYet);
        }
        let local = row.value(property).clone();
        let remote = self
            .record
            .and_then(|record| record.shown(property))
            .unwrap_or(&conflict.remote)
            .clone();
        let theirs = self.theirs(tx, property, field, &remote)?;
        let unreadable = field.property_type.canonical(theirs.as_deref()).is_err();
        let decided = |winner, reason| End {
            winner,
            resolution: "decided",
            reason,
        };
        let (end, value) = match conflict.resolution.as_deref() {
            None => match judge_open(field.property_type, &conflict.base, &local, &remote) {
                // Nothing here is to be sent any more; what can't be read is not taken either.
                Some(Winner::Remote) if unreadable => {
                    let end = ended_by_itself(Winner::Remote);
                    conflicts::close(tx, conflict.id, end, self.pass.now)?;
                    return Ok(CarriedOut::Yes);
                }
                Some(Winner::Remote) => (ended_by_itself(Winner::Remote), theirs),
                Some(winner) => (ended_by_itself(winner), local),
                None => return Ok(CarriedOut::NotYet),
            },
            Some("local") => (
                decided(Winner::Local, "decided: the value here stays"),
                local,
            ),
            Some("remote") if unreadable => {
                let reason = "HubSpot's value is not of the column's type, so that it can't be taken: write `local` or `value:…`, or correct it in HubSpot";
                return self.refuse(tx, reason);
            }
            Some("remote") => (
                decided(Winner::Remote, "decided: HubSpot's value is taken"),
                theirs,
            ),
            Some(text) => match text
                .strip_prefix("value:")
                .map(|text| field.property_type.canonical_here(Some(text)))
            {
                Some(Ok(value)) if value.is_too_long() => {
                    return self.refuse(tx, "the value is longer than HubSpot takes");
                }
                Some(Ok(value)) => (
                    decided(Winner::Value, "decided: a third value goes to both sides"),
                    value,
                ),
                Some(Err(invalid)) => return self.refuse(tx, &invalid.to_string()),
                None => return self.refuse(tx, UNKNOWN_WORD),
            },
        };
        conflicts::close(tx, conflict.id, end, self.pass.now)?;
        self.settle_field(tx, property, &value, &remote)?;
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
            return self.refuse(tx, "the property is not mapped any more");
        };
        if word == "remote" {
            let end = End {
                winner: Winner::Remote,
                resolution: "decided",
                reason: "decided: HubSpot's value is taken",
            };
            conflicts::close(tx, conflict.id, end, self.pass.now)?;
            self.take_other(tx, other)?;
            return Ok(CarriedOut::Yes);
        }
        let mut troubled = fields::troubled(tx)?.into_iter();
        let trouble =
            troubled.find(|field| field.object == other.object && field.property == other.property);
        let why = match trouble {
            Some(Troubled { problem, hint, .. }) => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!(": {problem}{hint}")
            }
            None => String::new(),
        };
        let reason = format!(
            "`{}` is not synced at the moment, so that only `remote` can be decided{why}",
            other.property
        );
        self.refuse(tx, &reason)
    }

    /// The column takes HubSpot's value as it was last seen, where it can hold it; else it is about to be made anew.
    fn take_other(&self, tx: &Transaction<'_>, other: &FieldRow) -> Result<(), StoreError> {
        let (conflict, object) = (self.conflict, self.pass.object);
        let queued = outbox::of_row(tx, object.object(), conflict.local_id)?;
        if let (Some(queued), Ok(property)) = (queued, PropertyName::parse(&conflict.property)) {
            outbox::drop_field(tx, queued.id, &property)?;
        }
        let kind = PropertyType::parse(&other.property_type).unwrap_or(PropertyType::String);
        match kind.canonical(conflict.remote.as_deref()) {
            Ok(value) => {
                let ids = (conflict.local_id, conflict.hs_id);
                set_other(tx, &self.pass, ids, other, (&value, Origin::Conflict))
            }
            Err(_) => Ok(()),
        }
    }

    /// Whether the row was written from a later version of the record: the decision waits for the next read.
    fn is_read_before(&self, row: &MirrorRow) -> bool {
        self.record.is_some_and(|record| {
            of_version(Evidence::Store, record.updated_at, row.record.modified_at)
                == Freshness::Stale
        })
    }

    /// What somebody else has set in HubSpot: a late request of ours over it is not what the conflict is about.
    fn theirs(
        &self,
        tx: &Transaction<'_>,
        property: &PropertyName,
        field: &FieldMapping,
        remote: &Value,
    ) -> Result<Value, StoreError> {
        let (row, since) = (self.conflict.local_id, late_since(self.pass.now));
        let sent = outbox::sent_earlier(tx, self.pass.name(), row, since)?;
        let is_ours = sent
            .get(property)
            .is_some_and(|sent| is_sent(field.property_type, sent, remote));
        Ok(match is_ours {
            true => self.conflict.remote.clone(),
            false => remote.clone(),
        })
    }

    /// The mirror takes the decided value; what differs from HubSpot's is queued with that as its base.
    fn settle_field(
        &self,
        tx: &Transaction<'_>,
        property: &PropertyName,
        value: &Value,
        remote: &Value,
    ) -> Result<(), StoreError> {
        let Some(mut row) = self
            .pass
            .object
            .table
            .by_local_id(tx, self.conflict.local_id)?
        else {
            return Ok(());
        };
        let Some(field) = self.pass.object.mapping().field(property) else {
            return Ok(());
        };
        let former = row.value(property).clone();
        if !field.property_type.same(&former, value) {
            let change = Change {
                object: self.pass.name(),
                local_id: self.conflict.local_id,
                hs_id: row.record.hs_id,
                property: property.as_str(),
                old: former.as_deref(),
                new: value.as_deref(),
                origin: Origin::Conflict,
            };
            history::record(tx, change, self.pass.now)?;
            row.set(self.pass.object.mapping(), property, value);
            self.pass.object.table.update(tx, &row)?;
        }
        let queued = outbox::of_row(tx, self.pass.name(), self.conflict.local_id)?;
        let Some(hs_id) = row.record.hs_id else {
            // The create takes the value along; where that is under way without it, an update follows.
            return queued.map_or(Ok(()), |queued| {
                let now = self.pass.now;
                outbox::put_field(tx, queued.id, property, &Base::Unknown, now)
            });
        };
        if field.property_type.same(value, remote) {
            return match queued {
                Some(queued) => outbox::drop_field(tx, queued.id, property),
                None => Ok(()),
            };
        }
        let entry = outbox::ensure_update(
            tx,
            self.pass.name(),
            self.conflict.local_id,
            hs_id,
            self.pass.now,
        )?;
        outbox::put_field(
            tx,
            entry,
            property,
            &Base::Known(remote.clone()),
            self.pass.now,
        )
    }

    fn whole(&self, tx: &Transaction<'_>) -> Result<CarriedOut, StoreError> {
        let word = match self.conflict.resolution.as_deref() {
            Some("local") => Word::Local,
            Some("remote") => Word::Remote,
            Some(_) => {
                let reason = "a conflict about a whole record takes `local` or `remote`";
                return self.refuse(tx, reason);
            }
            None => return Ok(CarriedOut::NotYet),
        };
        let conflict = self.conflict;
        let queued = outbox::of_row(tx, self.pass.name(), conflict.local_id)?;
        let row = self.pass.object.table.by_local_id(tx, conflict.local_id)?;
        let entry = queued.as_ref();
        let actions = decide(&Sides {
            hubspot: match self.record {
                Some(_) => Hubspot::Unchanged,
                None if self.is_unread => Hubspot::Unread,
                None => Hubspot::missed(
                    &missed(row.as_ref(), entry, self.asked_at),
                    &self.pass.moment(),
                ),
            },
            here: match &row {
                Some(_) => Here::row(entry, None, &self.pass.moment()),
                None => Here::rowless(entry, &self.pass.moment()),
            },
            word,
            policy: self.pass.object.mapping().policy,
            is_erasure: false,
        });
        if let [Action::LookAgain(again)] = actions[..] {
            return Ok(self.later(again));
        }
        let of_row = row.as_ref().and_then(|row| row.record.hs_id);
        let shown = self.record.map(|record| record.id);
        let matter = Matter {
            pass: self.pass,
            hs_id: shown.or(of_row).or(conflict.hs_id).unwrap_or(HubspotId(0)),
            row: row.as_ref(),
            queued: queued.as_ref(),
            record: self.record,
            key: self.key,
            decided: Some(conflict.id),
        };
        matter.carry_out(tx, &actions)?;
        Ok(CarriedOut::Yes)
    }

    /// When HubSpot is asked again.
    fn later(&self, again: Again) -> CarriedOut {
        let now = self.pass.now;
        CarriedOut::Later(match again {
            Again::At(there) => there.plus_millis(-self.pass.offset_ms),
            Again::Unread => now + AFTER_UNREAD,
            Again::History | Again::Flight | Again::Create | Again::Removal => now + AFTER_FLIGHT,
        })
    }

    fn refuse(&self, tx: &Transaction<'_>, reason: &str) -> Result<CarriedOut, StoreError> {
        conflicts::refuse_resolution(tx, self.conflict.id, reason)?;
        Ok(CarriedOut::Yes)
    }
}

/// Lets go what approved holds hold at this moment.
async fn approve(engine: &Engine) -> Result<bool, StepError> {
    let approved = engine.store.read(holds::approved).await?;
    let mut carried_out = false;
    for hold in approved {
        let Some(object) = ObjectType::parse(&hold.object)
            .ok()
            .and_then(|name| engine.object(&name))
        else {
            continue;
        };
        carried_out |= if hold.local {
            approve_removals(engine, &object, &hold).await?
        } else {
            approve_entries(engine, &hold).await?
        };
    }
    Ok(carried_out)
}

async fn approve_entries(engine: &Engine, hold: &holds::Approved) -> Result<bool, StepError> {
    let hold = hold.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            outbox::release_held(tx, &hold.object, &hold.operation, hold.id, now)?;
            holds::settle(tx, hold.id, now)
        })
        .await?;
    Ok(true)
}

/// Removes the rows that a hold holds, a batch at a time, each only if a fresh read does not show its record.
async fn approve_removals(
    engine: &Engine,
    object: &ObjectSync,
    hold: &holds::Approved,
) -> Result<bool, StepError> {
    let (name, id, now) = (object.object().clone(), hold.id, engine.now());
    let (removals, in_hold) = engine
        .store
        .read(move |connection| {
            let due = reads::removals(connection, &name, Some(id), now, BATCH)?;
            Ok((due, reads::count_removals(connection, &name, Some(id))?))
        })
        .await?;
    if removals.is_empty() && in_hold > 0 {
        // What somebody else's constraint keeps is tried again when it falls due.
        return Ok(false);
    }
    let ids: Vec<HubspotId> = removals.iter().map(|removal| removal.id).collect();
    let present = read_records(engine, object, &ids, Priority::Webhook).await?;
    let keys: Vec<String> = removals.iter().map(|_| engine.random_key()).collect();
    let offset_ms = engine.client.clock_offset_ms();
    let sync = object.clone();
    let carried_out = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Reconcile, offset_ms);
            let part = HoldPart {
                hold: id,
                removals: &removals,
                in_hold,
                keys,
            };
            settle_removals(tx, &pass, part, &present)
        })
        .await?;
    Ok(carried_out)
}

/// Removals that a hold holds, as many as one batch takes.
pub(crate) struct HoldPart<'a> {
    /// The hold.
    pub(crate) hold: HoldId,
    /// What is to be removed.
    pub(crate) removals: &'a [Removal],
    /// How many the hold holds in all.
    pub(crate) in_hold: u64,
    /// A key for each record that is created again.
    pub(crate) keys: Vec<String>,
}

/// Removes of a hold's part what a fresh read did not show; the rows stay whose record is there, or could not be read this
/// time. Tells whether something was carried out.
pub(crate) fn settle_removals(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    part: HoldPart<'_>,
    present: &Present,
) -> Result<bool, StoreError> {
    let object = pass.object;
    for record in &present.records {
        keep_row(tx, pass, record)?;
    }
    // One that is shown again meanwhile is none any more.
    let noted = reads::removals(tx, object.object(), Some(part.hold), pass.now, BATCH)?;
    let gone: Vec<Removal> = part
        .removals
        .iter()
        .filter(|removal| noted.contains(removal))
        .filter(|removal| !present.records.iter().any(|record| record.id == removal.id))
        .filter(|removal| !present.is_unread(removal.id))
        .copied()
        .collect();
    let settled = remove_all(tx, pass, &gone, part.keys)?.settled;
    let mut unread = false;
    for removal in part.removals {
        if present.is_unread(removal.id) {
            unread = true;
            reads::put_off_removal(tx, object.object(), removal.id, pass.now + AFTER_UNREAD)?;
        }
    }
    let all = part.removals.len() as u64 == part.in_hold;
    if all && settled == gone.len() && !unread {
        holds::settle(tx, part.hold, pass.now)?;
    }
    Ok(!unread || !gone.is_empty() || !present.records.is_empty())
}

/// A row that was to be removed, and whose record is shown.
fn keep_row(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let object = pass.object;
    let row = object.table.by_hs_id(tx, record.id)?;
    let actions = decide(&Sides {
        hubspot: Hubspot::Unchanged,
        here: match row {
            Some(_) => Here::row(None, None, &pass.moment()),
            None => Here::Nothing,
        },
        word: Word::Passed,
        policy: object.mapping().policy,
        is_erasure: false,
    });
    let matter = Matter {
        pass: pass.saying(Origin::Reconcile),
        hs_id: record.id,
        row: row.as_ref(),
        queued: None,
        record: Some(record),
        key: "",
        decided: None,
    };
    matter.carry_out(tx, &actions)
}

/// How long after a record's erasure an event of it may still come: HubSpot repeats one for a day
/// (`hubspot/api-facts.md#10`), and what stands between may hold it back longer.
const LATE_EVENTS: std::time::Duration = std::time::Duration::from_hours(30 * 24);

/// Forgets what only matters for a while: values of lost requests, counts of the guard, tombstones, erasures; and what
/// could not be read of records that are here no more.
pub async fn forget(engine: &Engine, now: Timestamp) -> Result<(), StepError> {
    let window = engine.settings().guard.window;
    let objects = engine.objects();
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            outbox::forget_sent(tx, late_since(now))?;
            for object in objects.iter() {
                for id in object.table.gone_unreadable(tx, BATCH)? {
                    unreadable::forget_record(tx, object.object(), id, now)?;
                }
            }
            holds::forget_counts(tx, now - window)?;
            gap::forget(tx, now)?;
            reads::forget_tombstones(tx, now - std::time::Duration::from_hours(24))?;
            reads::forget_erased(tx, now - LATE_EVENTS)
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::desk::{Desk, run};
    use crate::engine::testing::{How, Scene, at, record, synced};
    use crate::model::mapping::Policy;

    /// Row 1 is record 101, both sides wrote its first name, and nobody has decided.
    fn in_conflict() -> Scene {
        let scene = Scene::of(Policy::Manual);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.apply(How::at(5), &record(101, 5, &[("firstname", "Theirs")]));
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs -"]);
        scene
    }

    fn decide(scene: &Scene, resolution: &str, record: Option<&RemoteRecord>) -> bool {
        scene.program(&format!(
            "UPDATE sync_conflicts SET resolution = '{resolution}'"
        ));
        scene.write(|tx| {
            let waiting = conflicts::waiting(tx, BATCH)?;
            let decision = Decision {
                pass: scene.pass(at(100)),
                conflict: &waiting[0],
                record,
                is_unread: false,
                asked_at: at(100),
                key: "",
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
                        record: None,
                        is_unread: false,
                        asked_at: at(asked_at),
                        key: "0123456789abcdef0123456789abcdef",
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
    use crate::engine::testing::{How, Scene, at, pass, record, synced, with_contacts, write};
    use crate::model::mapping::{ObjectMapping, Policy};
    use crate::store::Store;
    use crate::store::shape::ddl;
    use crate::store::testing::{contacts, mapping, now, texts as shown};

    const PENDING: &str = "
        UPDATE contacts SET stage = 'lead', first_name = 'Augusta' WHERE local_id = 1;
        INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
        VALUES (1, 'contacts', 1, 1001, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z');
        INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at)
        VALUES (1, 'stage', 'customer', '2026-11-24T03:00:00.000Z'), (1, 'firstname', 'Ada', '2026-11-24T03:00:00.000Z');";

    fn without_stage() -> ObjectMapping {
        let mut mapping = contacts();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "stage");
        mapping
    }

    fn discard_the_only_entry(store: &Store) {
        let object = synced(without_stage());
        write(store, move |tx| {
            let queued = outbox::by_id(tx, crate::model::id::OutboxId(1))?.expect("is there");
            discard_one(tx, &pass(&object), &queued)
        });
    }

    #[test]
    fn discarding_takes_a_property_back_that_left_the_mapping_and_writes_down_what_is_so() {
        let (folder, store) = with_contacts(2);
        write(&store, |tx| {
            tx.execute_batch(PENDING)?;
            ddl::bring_up(tx, &mapping(vec![without_stage()]), now()).map(drop)
        });
        discard_the_only_entry(&store);
        assert_eq!(
            shown(
                &folder,
                "SELECT first_name || ' ' || stage FROM contacts WHERE local_id = 1"
            ),
            ["Ada customer"]
        );
        assert_eq!(
            shown(
                &folder,
                "SELECT property || ' ' || old_value || ' ' || new_value || ' ' || origin FROM sync_history ORDER BY id"
            ),
            [
                "firstname Augusta Ada discard",
                "stage lead customer discard"
            ]
        );
    }

    #[test]
    fn a_discarded_deletion_leaves_pending_what_was_pending_before_it() {
        let scene = Scene::of(Policy::Local);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
        );
        scene.program(
            "UPDATE contacts SET first_name = 'Ours', price = '2';
             UPDATE contacts SET price = '1' WHERE price = '2'",
        );
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(3)
        ));
        let before = scene.outbox();
        assert_eq!(before, ["update 1 101; firstname was Base"]);
        scene.program("DELETE FROM contacts; DELETE FROM sync_outbox");
        scene.write(|tx| {
            let (_, queued) = outbox::discarded(tx, BATCH)?.remove(0);
            discard_one(tx, &scene.pass(at(9)), &queued)
        });
        assert_eq!(scene.outbox(), before);
        assert_eq!(
            scene.rows("SELECT local_id, first_name, price FROM contacts"),
            ["1 Ours 1"]
        );
        let waits = "SELECT e.state, e.row IS NULL, e.discarded_at IS NULL, e.next_attempt_at IS NOT NULL, f.changed_at
                     FROM sync_outbox AS e, sync_outbox_fields AS f";
        assert_eq!(scene.rows(waits), [format!("pending 1 1 1 {}", at(3))]);
        assert_eq!(
            scene.rows("SELECT origin FROM sync_history WHERE origin = 'discard'"),
            NOTHING
        );
        // Nothing was pending: nothing is.
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("DELETE FROM contacts; DELETE FROM sync_outbox");
        scene.write(|tx| {
            let (_, queued) = outbox::discarded(tx, BATCH)?.remove(0);
            discard_one(tx, &scene.pass(at(9)), &queued)
        });
        assert_eq!(scene.outbox(), NOTHING);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Base"]);
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_discarded_deletion_brings_back_what_was_pending_of_a_property_that_left_the_mapping() {
        let (folder, store) = with_contacts(2);
        write(&store, |tx| {
            tx.execute_batch(PENDING)?;
            ddl::bring_up(tx, &mapping(vec![without_stage()]), now())?;
            tx.execute_batch("DELETE FROM contacts WHERE local_id = 1")?;
            tx.execute(
                "UPDATE sync_outbox SET operation = 'archive', row = ?1 WHERE id = 1",
                [r#"{"email":"1@example.com","firstname":"Augusta","stage":"lead"}"#],
            )?;
            Ok(())
        });
        discard_the_only_entry(&store);
        assert_eq!(
            shown(&folder, "SELECT stage FROM contacts WHERE local_id = 1"),
            ["lead"]
        );
        let waits = "SELECT e.operation || ' ' || f.base_value
                     FROM sync_outbox_fields AS f JOIN sync_outbox AS e ON e.id = f.outbox_id WHERE f.property = 'stage'";
        assert_eq!(shown(&folder, waits), ["update customer"]);
        assert_eq!(
            shown(&folder, "SELECT origin FROM sync_history"),
            NOTHING.map(str::to_owned)
        );
    }

    #[test]
    fn a_discarded_deletion_brings_back_a_column_that_had_left_the_mapping_before_it() {
        let (folder, store) = with_contacts(1);
        write(&store, |tx| {
            tx.execute_batch("UPDATE contacts SET stage = 'lead'")?;
            ddl::bring_up(tx, &mapping(vec![without_stage()]), now()).map(drop)
        });
        crate::store::testing::connection(&folder)
            .execute_batch("DELETE FROM contacts")
            .expect("deletes");
        discard_the_only_entry(&store);
        assert_eq!(shown(&folder, "SELECT stage FROM contacts"), ["lead"]);
    }

    #[test]
    fn discarding_says_nothing_of_a_column_that_is_not_there_any_more() {
        for gone in [
            "DELETE FROM sync_fields WHERE property = 'stage'",
            "ALTER TABLE contacts DROP COLUMN stage",
        ] {
            let (folder, store) = with_contacts(2);
            write(&store, move |tx| {
                tx.execute_batch(PENDING)?;
                ddl::bring_up(tx, &mapping(vec![without_stage()]), now())?;
                // No column can be dropped that a trigger names.
                let triggers: Option<String> = tx.query_row(
                    "SELECT group_concat('DROP TRIGGER ' || name, ';') FROM sqlite_schema WHERE type = 'trigger'",
                    [],
                    |row| row.get(0),
                )?;
                tx.execute_batch(&triggers.unwrap_or_default())?;
                Ok(tx.execute_batch(gone)?)
            });
            discard_the_only_entry(&store);
            assert_eq!(
                shown(&folder, "SELECT property FROM sync_history"),
                ["firstname"],
                "{gone}"
            );
        }
    }

    /// Carries out what waits, as the step does where HubSpot shows nothing new.
    fn decide(store: &Store) {
        write(store, |tx| {
            for conflict in conflicts::waiting(tx, BATCH)? {
                let object = synced(contacts());
                let decision = Decision {
                    pass: pass(&object),
                    conflict: &conflict,
                    record: None,
                    is_unread: false,
                    asked_at: now(),
                    key: "00",
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
                "the value is longer than HubSpot takes",
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
