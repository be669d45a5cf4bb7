//! What people have decided and no daemon has carried out yet, carried out ahead in a copy of the database
//! (`store/database/scratch`), so that a plan shows what goes then. The steps' own transactions do it; what they would ask HubSpot
//! is answered by whoever rehearses, or by what is known here.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

use crate::decide::decision::former_record;
use crate::decide::existence::Moment;
use crate::decide::outgoing::present::Present;
use crate::engine::decisions::approvals::{self, Held, HoldPart, held_by};
use crate::engine::decisions::resolve::{self, ReadDecisions, object_of};
use crate::engine::decisions::{discards, linked, unmapped};
use crate::engine::inbound::clearing;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::model::conflict::WHOLE_RECORD;
use crate::model::id::{ConflictId, HubspotId};
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::model::record::RemoteRecord;
use crate::store::conflicts::{self, Waiting};
use crate::store::history::Origin;
use crate::store::holds::{self, Decided};
use crate::store::reads::Removal;
use crate::store::{StoreError, outbox, reads};

/// Rounds of all steps; each carries out a batch of what waits, so that whatever has not ended by then never would.
const MOST_ROUNDS: usize = 100_000;

/// What HubSpot showed of the records that decisions are about, by object; what is not there was not asked for.
pub(crate) type ShownToDecisions = BTreeMap<ObjectType, Present>;

/// Decisions that wait, in the mapping that is in force.
pub(crate) struct AheadOfDaemon<'a> {
    /// What of the file the database has.
    pub(crate) mapping: &'a Mapping,
    /// The objects in force.
    pub(crate) objects: &'a Objects,
}

impl AheadOfDaemon<'_> {
    /// Whether any waits.
    pub(crate) fn is_any(&self, connection: &Connection) -> Result<bool, StoreError> {
        if !outbox::discarded(connection, 1)?.is_empty()
            || !holds::decided(connection)?.is_empty()
            || !self.conflicts(connection)?.is_empty()
        {
            return Ok(true);
        }
        for pair in linked::pairs(self.mapping, self.objects) {
            if !linked::waiting(connection, &pair)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The records that are read before they are carried out.
    pub(crate) fn records(
        &self,
        connection: &Connection,
        moment: Moment,
    ) -> Result<BTreeMap<ObjectType, Vec<HubspotId>>, StoreError> {
        let mut records: BTreeMap<ObjectType, Vec<HubspotId>> = BTreeMap::new();
        for conflict in self.conflicts(connection)? {
            let object = object_of(self.objects, &conflict);
            if let (Some(object), Some(id), Some(_)) =
                (object, conflict.hs_id, &conflict.resolution)
            {
                records.entry(object.object().clone()).or_default().push(id);
            }
        }
        for hold in holds::decided(connection)? {
            if let Some(Held::Removals(object)) = held_by(&hold, self.mapping, self.objects) {
                let due = removals(connection, &hold, &object, MOST_ROUNDS, moment)?;
                let ids = due.into_iter().map(|removal| removal.id);
                records
                    .entry(object.object().clone())
                    .or_default()
                    .extend(ids);
            }
        }
        Ok(records)
    }

    /// Carries out all that can be, in the order of the daemon's step. `shown`: what HubSpot was asked about; `None`: it was not.
    pub(crate) fn carry_out(
        &self,
        tx: &Transaction<'_>,
        shown: Option<&ShownToDecisions>,
        moment: Moment,
    ) -> Result<(), StoreError> {
        if conflicts::is_misspelled(tx)? {
            conflicts::spell(tx)?;
        }
        let mut put_off: Vec<ConflictId> = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let given_back = unmapped::give_back(tx, self.mapping)?;
            let discarded = discards::carry_out(tx, self.objects, moment)? || given_back;
            let decided = self.decide(tx, shown, &mut put_off, moment)?;
            let linked = self.decide_linked(tx, moment)?;
            let approved = self.approve(tx, shown, moment)?;
            if !(discarded || decided || linked || approved) {
                break;
            }
        }
        Ok(())
    }

    fn conflicts(&self, connection: &Connection) -> Result<Vec<Waiting>, StoreError> {
        let mut waiting = conflicts::waiting(connection, MOST_ROUNDS)?;
        waiting.retain(|conflict| object_of(self.objects, conflict).is_some());
        Ok(waiting)
    }

    fn decide(
        &self,
        tx: &Transaction<'_>,
        shown: Option<&ShownToDecisions>,
        put_off: &mut Vec<ConflictId>,
        moment: Moment,
    ) -> Result<bool, StoreError> {
        let mut waiting = self.conflicts(tx)?;
        waiting.retain(|conflict| !put_off.contains(&conflict.id));
        waiting.truncate(resolve::BATCH);
        let mut records = Vec::new();
        for object in self.objects.iter() {
            let present = match shown {
                Some(shown) => shown
                    .get(object.object())
                    .cloned()
                    .unwrap_or_else(|| unasked(moment)),
                None => known(tx, object, &waiting, moment)?,
            };
            records.push((object.object().clone(), present));
        }
        let keys: Vec<String> = waiting.iter().map(|conflict| key(conflict.id.0)).collect();
        let read = ReadDecisions {
            waiting: &waiting,
            limit: MOST_ROUNDS,
            records: &records,
            keys: &keys,
        };
        let (carried_out, later) = read.carry_out(tx, self.objects, moment)?;
        put_off.extend(later.into_iter().map(|(id, _)| id));
        Ok(carried_out)
    }

    fn decide_linked(&self, tx: &Transaction<'_>, moment: Moment) -> Result<bool, StoreError> {
        let mut is_any = false;
        for pair in linked::pairs(self.mapping, self.objects) {
            if !linked::waiting(tx, &pair)?.is_empty() {
                linked::carry_out(tx, &pair, moment.now)?;
                is_any = true;
            }
        }
        Ok(is_any)
    }

    fn approve(
        &self,
        tx: &Transaction<'_>,
        shown: Option<&ShownToDecisions>,
        moment: Moment,
    ) -> Result<bool, StoreError> {
        let mut carried_out = false;
        for hold in holds::decided(tx)? {
            carried_out |= match held_by(&hold, self.mapping, self.objects) {
                Some(Held::Entries(pair)) => {
                    approvals::settle_held(tx, &hold, pair, moment.now)?;
                    true
                }
                Some(Held::Clears(object)) => {
                    let pass = Pass::at(moment, &object, Origin::Poll);
                    clearing::carry_out(tx, &pass, (hold.id, hold.word))?;
                    true
                }
                Some(Held::Removals(object)) => remove(tx, &hold, &object, shown, moment)?,
                None => false,
            };
        }
        Ok(carried_out)
    }
}

fn remove(
    tx: &Transaction<'_>,
    hold: &Decided,
    object: &ObjectSync,
    shown: Option<&ShownToDecisions>,
    moment: Moment,
) -> Result<bool, StoreError> {
    let pass = Pass::at(moment, object, Origin::Reconcile);
    let due = removals(tx, hold, object, approvals::BATCH, moment)?;
    let in_hold = reads::count_removals(tx, object.object(), Some(hold.id))?;
    if due.is_empty() && in_hold > 0 {
        return Ok(false);
    }
    let part = HoldPart {
        hold: hold.id,
        removals: &due,
        in_hold,
        modes: approvals::modes_of(object, hold.word),
        keys: due.iter().map(|removal| key(removal.id.0)).collect(),
    };
    let present = shown.and_then(|shown| shown.get(object.object()).cloned());
    let present = present.unwrap_or_else(|| unasked(moment));
    approvals::settle_removals(tx, &pass, part, &present)
}

fn removals(
    connection: &Connection,
    hold: &Decided,
    object: &ObjectSync,
    limit: usize,
    moment: Moment,
) -> Result<Vec<Removal>, StoreError> {
    reads::removals(
        connection,
        object.object(),
        Some(hold.id),
        moment.now,
        limit,
    )
}

/// Of a rehearsal no key is ever sent.
fn key(of: i64) -> String {
    format!("{of:032x}")
}

/// What is known where HubSpot was not asked: nothing is shown.
fn unasked(moment: Moment) -> Present {
    Present {
        asked_at: moment.now,
        ..Present::default()
    }
}

/// What HubSpot was last seen to hold of the records that are decided as a whole: one that it showed is there, and one that it had
/// archived is gone.
fn known(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    waiting: &[Waiting],
    moment: Moment,
) -> Result<Present, StoreError> {
    let mut present = unasked(moment);
    for conflict in waiting {
        let is_own = conflict.object == object.object().as_str();
        let (WHOLE_RECORD, true, false, Some(id)) = (
            conflict.property.as_str(),
            is_own,
            conflict.remote.is_empty(),
            conflict.hs_id,
        ) else {
            continue;
        };
        let entry = outbox::of_row(tx, object.object(), conflict.local_id)?;
        let row = entry.and_then(|entry| entry.row).unwrap_or_default();
        present.records.push(RemoteRecord {
            updated_at: moment.there(),
            ..former_record(object, id, &row, moment.now)
        });
    }
    Ok(present)
}
