//! HubSpot's own history of the properties that the file chooses (`remote_history = true`), into `property_history`: of 50
//! records a request, after all other requests, and only of records that are new or whose last-modified time has moved.

use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::incoming::convert::told_histories;
use crate::decide::outgoing::plan::BATCH_WITH_HISTORY;
use crate::engine::outbound::gap::Looks;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{BatchRead, HubspotError, Priority, ReadQuery};
use crate::model::answer::{MERGED_IDS, Record};
use crate::model::id::HubspotId;
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, property_history};

/// Records are collected so long, where they do not fill a request.
const COLLECTED_FOR: Duration = Duration::from_secs(5);

/// Reads the histories of one batch of records.
pub async fn step(
    engine: &Engine,
    object: &ObjectSync,
    looks: Looks,
) -> Result<Progress, StepError> {
    let chosen = object.mapping().with_remote_history();
    let chosen: Vec<String> = chosen.map(|field| field.property.to_string()).collect();
    if chosen.is_empty() {
        return Ok(Progress::RING);
    }
    let (name, now) = (object.object().clone(), engine.now());
    let (ids, asked_at) = engine
        .store
        .read(move |connection| {
            let ids = property_history::due(connection, &name, BATCH_WITH_HISTORY)?;
            Ok((ids, property_history::asked_at(connection, &name)?))
        })
        .await?;
    if ids.is_empty() {
        return Ok(Progress::RING);
    }
    // A time to come was written before the clock was set back.
    let rests = asked_at.filter(|asked| *asked <= now && now.since(*asked) < COLLECTED_FOR);
    if let (Some(asked), Looks::Due) = (rests, looks)
        && ids.len() < BATCH_WITH_HISTORY
    {
        return Ok(Progress::Idle {
            until: Some(asked + COLLECTED_FOR),
        });
    }
    let query = ReadQuery {
        keys: ids.iter().map(ToString::to_string).collect(),
        id_property: None,
        properties: vec![MERGED_IDS.to_owned()],
        with_history: chosen,
        archived: false,
    };
    let read = engine
        .client
        .batch_read(object.object(), &query, Priority::Look)
        .await;
    let read = match read {
        // What is left of the day is for other work: the histories tell as much tomorrow.
        Err(error) if error.out_of_quota_until().is_some() => {
            return Ok(Progress::Idle {
                until: error.out_of_quota_until(),
            });
        }
        Err(error @ HubspotError::Refused { .. }) => {
            tracing::warn!(object = %object.object(), records = ids.len(), error = %error, code = error.code(), "HubSpot refused to tell the histories of records");
            BatchRead {
                unread: query.keys,
                ..BatchRead::default()
            }
        }
        read => read?,
    };
    let sync = object.clone();
    engine
        .store
        .write(Lane::Bulk, move |tx| keep(tx, &sync, &ids, &read))
        .await?;
    Ok(Progress::More)
}

fn keep(
    tx: &crate::store::WriteTx<'_>,
    object: &ObjectSync,
    ids: &[HubspotId],
    read: &BatchRead,
) -> Result<(), StoreError> {
    let (name, now) = (object.object(), tx.now());
    let mut changed = 0;
    for id in ids {
        match Record::answering(&read.records, *id) {
            Some(record) => changed += usize::from(keep_record(tx, object, *id, record)?),
            None if read.unread.contains(&id.to_string()) => {
                property_history::again(tx, name, *id)?;
            }
            // What became of it, others ask; what is known of it stays.
            None => property_history::done(tx, name, *id)?,
        }
    }
    let work = runs::Work {
        requests: 1,
        seen: read.records.len(),
        changed,
    };
    runs::extend(tx, name, Kind::History, work, now)?;
    if property_history::note_asked(tx, name, now)? {
        runs::finish(tx, name, Kind::History, None, now)?;
    }
    Ok(())
}

/// Keeps what an answer tells of a record, under the id that it has by now. Tells whether something of it is new.
fn keep_record(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    asked: HubspotId,
    record: &Record,
) -> Result<bool, StoreError> {
    let name = object.object();
    let changed = property_history::save(tx, name, record.id, &told_histories(object, record))?;
    if record.id != asked {
        property_history::forget(tx, name, asked)?;
        return Ok(changed);
    }
    let row = object.table.by_hs_id(tx, record.id)?;
    let known = row.and_then(|row| row.record.modified_at);
    match known.is_some_and(|known| known > record.updated_at) {
        true => property_history::again(tx, name, asked)?,
        false => property_history::done(tx, name, asked)?,
    }
    Ok(changed)
}
