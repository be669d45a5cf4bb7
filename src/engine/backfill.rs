//! The first full read of an object: one page of the list a step, resumable at the page where it stopped.

use crate::engine::apply::{Applying, Evidence, apply_page};
use crate::engine::convert::remote_record;
use crate::engine::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{ListQuery, Priority, SearchQuery};
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Backfill, Cursor};
use crate::store::history::Origin;
use crate::store::runs::{self, Kind};
use crate::store::{Lane, outbox};

/// The most records of a list page (`hubspot/api-facts.md#3`).
pub const PAGE: u32 = 100;

/// After this many pages HubSpot is asked how many records there are, for the progress line: one request in sixty is
/// within the two percent that a backfill may cost above its pages.
const PAGES_BEFORE_TOTAL: u64 = 60;

/// Reads and applies the next page.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let cursor = engine
        .store
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    if cursor.backfill == Backfill::Done {
        return Ok(Progress::RING);
    }
    let started = begin(engine, object, &cursor).await?;
    let asked_at = engine.now();
    let page = engine
        .client
        .list(
            object.object(),
            &ListQuery {
                after: cursor.backfill_after.clone(),
                limit: PAGE,
                properties: object.properties.clone(),
                archived: false,
            },
            Priority::Bulk,
        )
        .await?;
    let records: Vec<_> = page
        .records
        .iter()
        .map(|record| remote_record(object, record))
        .collect();
    let (now, offset) = (engine.now(), engine.client.clock_offset_ms());
    let (sync, after, rows) = (object.clone(), page.after.clone(), records.len());
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let applying = Applying {
                object: &sync,
                origin: Origin::Poll,
                evidence: Evidence::Store,
                asked_at,
                now,
                clock_offset_ms: offset,
                with_history: false,
            };
            let changed = apply_page(tx, &applying, &records)?;
            runs::extend(
                tx,
                sync.object(),
                Kind::Backfill,
                runs::Work {
                    requests: 1,
                    seen: rows,
                    changed,
                },
                now,
            )?;
            match &after {
                Some(after) => cursors::move_backfill(tx, sync.object(), after, rows),
                None => {
                    cursors::end_backfill(tx, sync.object(), rows, started)?;
                    outbox::release_backfill(tx, sync.object())?;
                    runs::finish(tx, sync.object(), Kind::Backfill, None, now)
                }
            }
        })
        .await?;
    if page.after.is_none() {
        tracing::info!(object = %object.object(), rows = cursor.backfill_rows + rows as u64, "the first full read is done");
        return Ok(Progress::RING);
    }
    ask_total(engine, object, &cursor).await?;
    Ok(Progress::More)
}

async fn begin(
    engine: &Engine,
    object: &ObjectSync,
    cursor: &Cursor,
) -> Result<Timestamp, StepError> {
    if let (Backfill::Running, Some(started)) = (cursor.backfill, cursor.backfill_started_at) {
        return Ok(started);
    }
    let (name, started) = (object.object().clone(), engine.client.hubspot_now());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            cursors::begin_backfill(tx, &name, started)
        })
        .await?;
    tracing::info!(object = %object.object(), "the first full read begins");
    Ok(started)
}

/// Asks once how many records there are. A refusal costs the progress line its share and nothing else.
async fn ask_total(engine: &Engine, object: &ObjectSync, cursor: &Cursor) -> Result<(), StepError> {
    let pages = cursor.backfill_rows / u64::from(PAGE);
    if cursor.backfill_total.is_some() || pages != PAGES_BEFORE_TOTAL {
        return Ok(());
    }
    let query = SearchQuery {
        modified_property: object.mapping().modified_property().to_owned(),
        from: Timestamp::EPOCH,
        to: engine.client.hubspot_now(),
        after_id: None,
        limit: 1,
        properties: Vec::new(),
    };
    let Ok(found) = engine
        .client
        .search(object.object(), &query, Priority::Bulk)
        .await
    else {
        return Ok(());
    };
    let (name, total) = (object.object().clone(), found.total);
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            cursors::set_backfill_total(tx, &name, total)
        })
        .await?;
    Ok(())
}
