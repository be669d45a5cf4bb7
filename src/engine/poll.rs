//! Incremental polling by search on the last-modified time: one page of a window's walk a step.
//!
//! A page and its cursor are one transaction. Walks again look at ids and times only and ask for reads where they differ.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::cursor::{Window, next_again, next_window, page_end};
use crate::engine::apply::{Applying, Evidence, apply_page_naming};
use crate::engine::convert::remote_records;
use crate::engine::objects::ObjectSync;
use crate::engine::reads::ask_unread;
use crate::engine::{Engine, Progress, StepError, blanks, deliveries, reconcile};
use crate::hubspot::search::search_body_fits;
use crate::hubspot::{Priority, ReadQuery, Record, SearchPage, SearchQuery};
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Again, Backfill};
use crate::store::history::Origin;
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, reads};

/// The most records of a search page (`hubspot/api-facts.md#6`).
pub const PAGE: u32 = 200;

/// The most inputs of a batch read (`hubspot/api-facts.md#3`).
const READ_BATCH: usize = 100;

/// Walks one page of the object's present window, or begins the next one. `Idle` when a window was walked to its end.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let cursor = engine
        .store
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    let (Backfill::Done, Some(polled_to), true) = (
        cursor.backfill,
        cursor.polled_to,
        object.mapping().direction.pulls(),
    ) else {
        return Ok(Progress::RING);
    };
    let window = match cursor.window {
        Some(window) => window,
        None => next_window(
            polled_to,
            engine.client.hubspot_now(),
            engine.settings.overlap,
        ),
    };
    let asked_at = engine.now();
    let whole = search_body_fits(&object.properties);
    let properties = if whole {
        object.properties.clone()
    } else {
        Vec::new()
    };
    let mut found = search(engine, object, &window, properties).await?;
    let end = walk_on(engine, object, &window, &found).await?;
    let done = found.is_last;
    let read = match whole {
        true => {
            blanks::fill(engine, object, &object.properties, &mut found.records).await?;
            Read {
                records: remote_records(object, found.records),
                evidence: Evidence::Search,
                requests: 1,
                unread: Vec::new(),
            }
        }
        false => read_whole(engine, object, &found.records).await?,
    };
    let window = Window {
        last_id: end,
        ..window
    };
    save_page(
        engine,
        object,
        Page {
            read,
            window,
            done,
            asked_at,
        },
    )
    .await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

/// What a page's records are, and how that was learnt.
struct Read {
    records: Vec<RemoteRecord>,
    evidence: Evidence,
    requests: usize,
    /// Records that the search shows and the store could not read this time.
    unread: Vec<HubspotId>,
}

struct Page {
    read: Read,
    window: Window,
    done: bool,
    asked_at: Timestamp,
}

async fn save_page(engine: &Engine, object: &ObjectSync, page: Page) -> Result<(), StepError> {
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let changed = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            let applying = Applying {
                object: &sync,
                origin: Origin::Poll,
                evidence: page.read.evidence,
                asked_at: page.asked_at,
                now,
                clock_offset_ms: offset,
                with_history: true,
            };
            let doubtful = match page.read.evidence {
                Evidence::Search => doubtful(tx, &sync, &page.read.records, page.window.from)?,
                Evidence::Store => BTreeSet::new(),
            };
            for id in &doubtful {
                reads::ask(tx, sync.object(), *id, Origin::Poll, now)?;
            }
            let mut records = page.read.records;
            let seen = records.len();
            records.retain(|record| !doubtful.contains(&record.id));
            let changed = apply_page_naming(tx, &applying, &records)?;
            ask_unread(tx, &sync, &page.read.unread, Origin::Poll, now)?;
            let work = runs::Work {
                requests: page.read.requests,
                seen,
                changed: changed.len(),
            };
            runs::extend(tx, sync.object(), Kind::Poll, work, now)?;
            if page.done {
                cursors::end_window(tx, sync.object(), page.window.to, now)?;
                runs::finish(tx, sync.object(), Kind::Poll, None, now)?;
            } else {
                cursors::save_window(tx, sync.object(), &page.window)?;
            }
            Ok::<_, StoreError>(changed)
        })
        .await?;
    deliveries::found_by_polling(engine, object.object(), changed);
    Ok(())
}

/// Records that have no row though they were made before the window: the mirror would know them. The index may show what
/// was archived long ago (`hubspot/api-facts.md#6`), so that the store has the word.
fn doubtful(
    tx: &rusqlite::Transaction<'_>,
    object: &ObjectSync,
    records: &[RemoteRecord],
    from: Timestamp,
) -> Result<BTreeSet<HubspotId>, StoreError> {
    let mut doubtful = BTreeSet::new();
    for record in records.iter().filter(|record| record.created_at < from) {
        if object.table.by_hs_id(tx, record.id)?.is_none() {
            doubtful.insert(record.id);
        }
    }
    Ok(doubtful)
}

/// Where the walk goes on behind a page. A search that shows the same ids again can't be walked: then the full comparison
/// finds what it hides.
async fn walk_on(
    engine: &Engine,
    object: &ObjectSync,
    window: &Window,
    page: &SearchPage,
) -> Result<Option<HubspotId>, StepError> {
    match page_end(window.last_id, page.records.iter().map(|record| record.id)) {
        Ok(end) => Ok(end),
        Err(stuck) => {
            reconcile::begin(engine, object).await?;
            Err(stuck.into())
        }
    }
}

async fn search(
    engine: &Engine,
    object: &ObjectSync,
    window: &Window,
    properties: Vec<String>,
) -> Result<SearchPage, StepError> {
    let query = SearchQuery {
        modified_property: object.mapping().modified_property().to_owned(),
        from: window.from,
        to: window.to,
        after_id: window.last_id,
        limit: PAGE,
        properties,
    };
    Ok(engine
        .client
        .search(object.object(), &query, Priority::Poll)
        .await?)
}

/// Reads the values of a page whose property list would burst a search request.
async fn read_whole(
    engine: &Engine,
    object: &ObjectSync,
    page: &[Record],
) -> Result<Read, StepError> {
    let mut read = Read {
        records: Vec::with_capacity(page.len()),
        evidence: Evidence::Store,
        requests: 1,
        unread: Vec::new(),
    };
    for batch in page.chunks(READ_BATCH) {
        let query = ReadQuery {
            keys: batch.iter().map(|record| record.id.to_string()).collect(),
            id_property: None,
            properties: object.properties.clone(),
            with_history: Vec::new(),
            archived: false,
        };
        let mut found = engine
            .client
            .batch_read(object.object(), &query, Priority::Poll)
            .await?;
        blanks::fill(engine, object, &object.properties, &mut found.records).await?;
        read.records.extend(remote_records(object, found.records));
        let unread = found.unread.iter();
        read.unread
            .extend(unread.filter_map(|id| id.parse::<HubspotId>().ok()));
        read.requests += 1;
    }
    Ok(read)
}

/// Walks one page of a window again, for one of the configured delays.
pub async fn step_again(
    engine: &Engine,
    object: &ObjectSync,
    delay: Duration,
) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let (cursor, again) = engine
        .store
        .read(move |connection| {
            Ok((
                cursors::get(connection, &name)?,
                cursors::again(connection, &name, delay)?,
            ))
        })
        .await?;
    let (Backfill::Done, Some(polled_to), true) = (
        cursor.backfill,
        cursor.polled_to,
        object.mapping().direction.pulls(),
    ) else {
        return Ok(Progress::RING);
    };
    let Some(again) = again else {
        let first = Again {
            walked_to: polled_to - engine.settings.overlap,
            window: None,
        };
        return save_again(engine, object, delay, first, Vec::new(), 0)
            .await
            .map(|()| Progress::More);
    };
    let hubspot_now = engine.client.hubspot_now();
    // Never beyond what was polled once: a walk again is no substitute for the first.
    let Some(window) = again
        .window
        .or_else(|| next_again(again.walked_to, hubspot_now.min(polled_to), delay))
    else {
        return Ok(Progress::RING);
    };
    let page = search(engine, object, &window, Vec::new()).await?;
    let end = walk_on(engine, object, &window, &page).await?;
    let done = page.is_last;
    let next = if done {
        Again {
            walked_to: window.to,
            window: None,
        }
    } else {
        Again {
            walked_to: again.walked_to,
            window: Some(Window {
                last_id: end,
                ..window
            }),
        }
    };
    let seen = page
        .records
        .iter()
        .map(|record| (record.id, record.updated_at))
        .collect();
    save_again(engine, object, delay, next, seen, 1).await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

async fn save_again(
    engine: &Engine,
    object: &ObjectSync,
    delay: Duration,
    again: Again,
    seen: Vec<(HubspotId, Timestamp)>,
    requests: usize,
) -> Result<(), StepError> {
    let sync = object.clone();
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            let mut asked = 0;
            for (id, updated_at) in &seen {
                let row = sync.table.by_hs_id(tx, *id)?;
                let known = row.and_then(|row| row.record.modified_at);
                if known.is_none_or(|known| known < *updated_at) {
                    reads::ask(tx, sync.object(), *id, Origin::Poll, now)?;
                    asked += 1;
                }
            }
            if requests > 0 {
                let work = runs::Work {
                    requests,
                    seen: seen.len(),
                    changed: asked,
                };
                runs::extend(tx, sync.object(), Kind::Again, work, now)?;
                if again.window.is_none() {
                    runs::finish(tx, sync.object(), Kind::Again, None, now)?;
                }
            }
            cursors::save_again(tx, sync.object(), delay, &again)
        })
        .await?;
    Ok(())
}
