//! Associations from HubSpot: those of records that something asked for, and passes over all records of a pair: the first one
//! when both objects are loaded, one behind each full comparison, and one in each `[schedule].associations`, a slice at a time, so
//! that it costs the same in each part of a day.
//!
//! One step is one request for up to 1,000 records of a pair. They spend nothing of the ten-second window
//! (`hubspot/api-facts.md#3`), so that a pass runs beside a first load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::decide::incoming::rotation::RotationPace;
use crate::decide::retry::AFTER_UNREAD;
use crate::engine::inbound::links::{PairSync, ShownLinks, Taken, apply};
use crate::engine::inbound::other_end::apply_other_end;
use crate::engine::portal::access::{self, Access};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::Priority;
use crate::hubspot::endpoints::associations::{AssociationsRead, Ends, MOST_READ};
use crate::model::id::HubspotId;
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Backfill};
use crate::store::history::Origin;
use crate::store::links::due::Side;
use crate::store::links::passes::{self, LinkPass};
use crate::store::links::{due, types};
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, WriteTx};

/// Records whose associations one transaction takes in: no other writer waits for more.
const AT_ONCE: usize = 100;

/// Reads one batch of what is due of an object's pairs; where nothing is, the next batch of a pass.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let pairs = pairs_from(engine, object);
    let (mut said, mut failure) = (Progress::RING, None);
    for what in [Reading::OtherEnd, Reading::Due, Reading::Pass] {
        for pair in &pairs {
            // A pair that can't be read does not keep the others from being read.
            match read_some(engine, pair, what).await {
                Ok(Progress::More) => return Ok(Progress::More),
                Ok(idle) => said = said.or(idle),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
    }
    failure.map_or(Ok(said), Err)
}

/// The pairs whose rows start from an object: also those that are only pushed, of which HubSpot tells what it made of them.
fn pairs_from(engine: &Engine, object: &ObjectSync) -> Vec<PairSync> {
    let own = object
        .pairs
        .iter()
        .filter(|pair| pair.from == *object.object());
    let in_force = own.filter_map(|pair| {
        Some(PairSync {
            mapping: pair.clone(),
            from: engine.object(&pair.from)?,
            to: engine.object(&pair.to)?,
        })
    });
    in_force.collect()
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Records that something asked for, from the end to which the pair's rows lead.
    OtherEnd,
    /// Records that something asked for.
    Due,
    /// The next ones of a pass over all.
    Pass,
}

/// The records that a request is to ask about, each with the number of its question and where that came from.
#[derive(Debug, Default)]
struct Batch {
    records: BTreeMap<HubspotId, (Option<i64>, Option<Origin>)>,
    /// The pass that it belongs to, and whether it is the pass's last.
    pass: Option<(LinkPass, bool)>,
    /// When there is something to do next, where there is nothing now.
    next: Option<Timestamp>,
}

async fn read_some(engine: &Engine, pair: &PairSync, what: Reading) -> Result<Progress, StepError> {
    let (sync, now, interval) = (pair.clone(), engine.now(), engine.settings().associations);
    let batch = engine
        .store
        .read(move |connection| match what {
            _ if !is_loaded(connection, &sync)? => Ok(Batch::default()),
            // The first pass, which has no history, brings what is due as well.
            Reading::OtherEnd | Reading::Due if !is_passed(connection, &sync)? => {
                Ok(Batch::default())
            }
            Reading::OtherEnd => due_batch(connection, &sync, Side::To, now),
            Reading::Due => due_batch(connection, &sync, Side::From, now),
            Reading::Pass => pass_batch(connection, &sync, now, interval),
        })
        .await?;
    if batch.records.is_empty() && batch.pass.is_none() {
        return Ok(Progress::Idle { until: batch.next });
    }
    let ids: BTreeSet<HubspotId> = batch.records.keys().copied().collect();
    let (from, to) = match what {
        Reading::OtherEnd => (pair.to.object(), pair.from.object()),
        Reading::Due | Reading::Pass => (pair.from.object(), pair.to.object()),
    };
    let ends = Ends { from, to };
    let priority = match what {
        Reading::OtherEnd | Reading::Due => Priority::Poll,
        Reading::Pass => Priority::Bulk,
    };
    let read = match ids.is_empty() {
        true => AssociationsRead::default(),
        false => {
            let read = engine.client.read_associations(ends, &ids, priority);
            match access::of_pair(engine, ends, Access::Read, read).await? {
                Some(read) => read,
                // It is asked again with the next read of the schema.
                None => return Ok(Progress::RING),
            }
        }
    };
    take_in(engine, pair, what, batch, read).await?;
    Ok(Progress::More)
}

/// Whether a pass over the pair has ended.
fn is_passed(connection: &Connection, pair: &PairSync) -> Result<bool, StoreError> {
    let pass = passes::get(connection, &pair.mapping.key)?;
    Ok(pass.first_ended_at.is_some())
}

/// Whether both objects of a pair were read in full.
fn is_loaded(connection: &Connection, pair: &PairSync) -> Result<bool, StoreError> {
    let is_done = |object: &ObjectSync| -> Result<bool, StoreError> {
        Ok(cursors::get(connection, object.object())?.backfill == Backfill::Done)
    };
    Ok(is_done(&pair.from)? && is_done(&pair.to)?)
}

fn due_batch(
    connection: &Connection,
    pair: &PairSync,
    side: Side,
    now: Timestamp,
) -> Result<Batch, StoreError> {
    let key = &pair.mapping.key;
    let due = due::due(connection, (key, side), now, MOST_READ)?;
    let record = |due: due::DueLinks| (due.id, (Some(due.asked), Some(due.told_by())));
    Ok(Batch {
        records: due.into_iter().map(record).collect(),
        pass: None,
        next: due::next(connection, (key, side))?,
    })
}

fn pass_batch(
    connection: &Connection,
    pair: &PairSync,
    now: Timestamp,
    interval: Duration,
) -> Result<Batch, StoreError> {
    let key = &pair.mapping.key;
    let pass = passes::get(connection, key)?;
    let next = pass.pace.map(|pace| pace.next(interval, now));
    if let Some(next) = next.filter(|next| *next > now) {
        return Ok(Batch {
            next: Some(next),
            ..Batch::default()
        });
    }
    let after = pass.last_hs_id.map_or(0, |id| id.0);
    let ids = pair
        .from
        .table
        .linked_between(connection, after, i64::MAX, MOST_READ)?;
    let asked = due::asked(connection, (key, Side::From), &ids)?;
    let origin = pass.first_ended_at.map(|_| Origin::Reconcile);
    let is_last = ids.len() < MOST_READ;
    let record = |id: HubspotId| (id, (asked.get(&id).copied(), origin));
    Ok(Batch {
        records: ids.into_iter().map(record).collect(),
        pass: Some((pass, is_last)),
        next: None,
    })
}

/// Takes an answer in, in small transactions; the pass moves on with the last of them.
async fn take_in(
    engine: &Engine,
    pair: &PairSync,
    what: Reading,
    batch: Batch,
    read: AssociationsRead,
) -> Result<(), StepError> {
    let AssociationsRead {
        mut links,
        unread,
        types,
    } = read;
    let types = Arc::new(types);
    let rotation = engine.settings().associations;
    let records: Vec<_> = batch.records.into_iter().collect();
    let lane = if batch.pass.is_some() {
        Lane::Bulk
    } else {
        Lane::Interactive
    };
    let mut changed = 0;
    for part in records.chunks(AT_ONCE) {
        let shown = |(id, (asked, origin)): &(HubspotId, (Option<i64>, Option<Origin>))| {
            Some(ShownLinks {
                id: *id,
                links: links.remove(id)?,
                asked: *asked,
                origin: *origin,
                demoted_by: None,
            })
        };
        let part: Vec<ShownLinks> = part.iter().filter_map(shown).collect();
        let (sync, labels) = (pair.clone(), Arc::clone(&types));
        changed += engine
            .store
            .write(lane, move |tx| {
                let now = tx.now();
                let mut changed = 0;
                for shown in &part {
                    if what == Reading::OtherEnd {
                        apply_other_end(tx, &sync, shown, &BTreeMap::new(), now)?;
                    } else if let Taken::In(rows) = apply(tx, &sync, shown, &labels, now)? {
                        changed += rows;
                    }
                }
                Ok::<_, StoreError>(changed)
            })
            .await?;
    }
    let sync = pair.clone();
    let work = runs::Work {
        requests: usize::from(!records.is_empty()),
        seen: records.len(),
        changed,
    };
    engine
        .store
        .write(lane, move |tx| {
            let side = match what {
                Reading::OtherEnd => Side::To,
                Reading::Due | Reading::Pass => {
                    types::note_met(tx, &sync.mapping, &types)?;
                    Side::From
                }
            };
            put_off(tx, (&sync, side), &unread)?;
            let object = sync.from.object();
            runs::extend(tx, object, Kind::Associations, work, tx.now())?;
            match batch.pass {
                Some((pass, is_last)) => {
                    let last = records.last().map(|(id, _)| *id);
                    move_on(tx, &sync, (pass, rotation), last.filter(|_| !is_last))
                }
                None => Ok(()),
            }
        })
        .await?;
    Ok(())
}

/// Records of which HubSpot told nothing this time are asked about again.
fn put_off(
    tx: &WriteTx<'_>,
    (pair, side): (&PairSync, Side),
    unread: &BTreeSet<HubspotId>,
) -> Result<(), StoreError> {
    let (key, until) = (&pair.mapping.key, tx.now() + AFTER_UNREAD);
    let table = match side {
        Side::From => &pair.from.table,
        Side::To => &pair.to.table,
    };
    for id in unread {
        // Merged into another record: that one is asked about.
        if table.by_hs_id(tx, *id)?.is_none() {
            due::done(tx, (key, side), *id)?;
            continue;
        }
        due::put_off(tx, (key, side), *id, Origin::Reconcile, until)?;
    }
    if !unread.is_empty() {
        tracing::warn!(object = %key, records = unread.len(), "HubSpot did not tell the associations of some records; they are asked for again");
    }
    Ok(())
}

/// The pass goes on behind a record, or has come to its end.
fn move_on(
    tx: &WriteTx<'_>,
    pair: &PairSync,
    (mut pass, rotation): (LinkPass, Duration),
    last: Option<HubspotId>,
) -> Result<(), StoreError> {
    let (key, now, object) = (&pair.mapping.key, tx.now(), pair.from.object());
    if pass.started_at.is_none() {
        match pass.pace {
            Some(_) => passes::rotate(tx, key, now)?,
            None => passes::begin(tx, &pair.mapping, now)?,
        }
        pass.started_at = Some(now);
    }
    pass.pace = pass.pace.map(|pace| pace.moved_on(rotation, now));
    if let Some(last) = last {
        return passes::advance(tx, key, &pass, last);
    }
    let mut pace = RotationPace::from(pair.from.table.count(tx)?, MOST_READ, now);
    if let Some(before) = pass.pace {
        pace.last_due_at = before.last_due_at;
    }
    passes::end(tx, key, &pass, pace, now)?;
    runs::finish(tx, object, Kind::Associations, None, now)?;
    passes::show(tx, Some(object))
}
