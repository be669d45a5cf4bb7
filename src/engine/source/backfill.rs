//! The first full read of an object: one page of the list a step, resumable at the page where it stopped.

use crate::decide::cursor::no_later;
use crate::decide::incoming::convert::remote_records;
use crate::decide::incoming::freshness::Evidence;
use crate::engine::inbound::apply::apply_page;
use crate::engine::inbound::applying::Applying;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::ahead::ReadPage;
use crate::engine::source::blanks;
use crate::engine::source::reads::ask_unread;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{ListQuery, Priority, SearchQuery};
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Backfill, Cursor};
use crate::store::history::Origin;
use crate::store::runs::{self, Kind};
use crate::store::shape::ddl::make_match_index;
use crate::store::{Lane, orders, outbox};

/// The most records of a list page (`hubspot/api-facts.md#3`).
pub const PAGE: u32 = 100;

/// After this many pages HubSpot is asked how many records there are, for the progress line: one request in sixty is
/// within the two percent that a backfill may cost above its pages.
const PAGES_BEFORE_TOTAL: u64 = 60;

/// Applies the next page, and asks for the one after it meanwhile.
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
    let after = cursor.backfill_after.as_ref();
    let page = match engine.memory.ahead.take(object, after, engine.now()) {
        Some(page) => page,
        None => read_page(engine, object, cursor.backfill_after.clone()).await?,
    };
    let Some(after) = page.after.clone() else {
        let rows = cursor.backfill_rows + page.records.len() as u64;
        let sync = object.clone();
        engine
            .store
            .write(Lane::Bulk, move |tx| make_match_index(tx, sync.mapping()))
            .await?;
        apply(engine, object, page, started).await?;
        tracing::info!(object = %object.object(), rows, "the first full read is done");
        return Ok(Progress::RING);
    };
    let (applied, next) = tokio::join!(
        apply(engine, object, page, started),
        read_page(engine, object, Some(after.clone()))
    );
    applied?;
    engine.memory.ahead.keep(object, after, next?);
    ask_total(engine, object, &cursor).await?;
    Ok(Progress::More)
}

/// Reads all records again for a command, a page a call: through the merge, and nothing is removed. Tells whether it was the last.
pub(crate) async fn read_again(
    engine: &Engine,
    object: &ObjectSync,
    command: i64,
    after: Option<String>,
) -> Result<bool, StepError> {
    let page = read_page(engine, object, after).await?;
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let is_last = page.after.is_none();
    let written = engine.store.write(Lane::Bulk, move |tx| {
        let now = tx.now();
        let pass = Pass::of(tx, &sync, Origin::Poll, offset);
        let applying = Applying::from_store(pass, page.asked_at);
        let work = runs::Work {
            requests: 1,
            seen: page.records.len(),
            changed: apply_page(tx, &applying, &page.records)?,
        };
        runs::extend(tx, sync.object(), Kind::Backfill, work, now)?;
        runs::note(tx, sync.object(), Kind::Backfill, page.odd.as_deref())?;
        ask_unread(tx, &applying.pass, &page.unread)?;
        if is_last {
            runs::finish(tx, sync.object(), Kind::Backfill, None, now)?;
        }
        orders::walk_on(tx, (command, sync.object()), page.after.as_deref(), work)
    });
    written.await?;
    Ok(is_last)
}

async fn read_page(
    engine: &Engine,
    object: &ObjectSync,
    after: Option<String>,
) -> Result<ReadPage, StepError> {
    let asked_at = engine.now();
    let query = ListQuery {
        after,
        limit: PAGE,
        properties: object.properties.clone(),
        archived: false,
    };
    let mut page = engine
        .client
        .list(object.object(), &query, Priority::Bulk)
        .await?;
    blanks::fill(engine, object, &object.properties, &mut page.records).await?;
    Ok(ReadPage {
        asked_at,
        records: remote_records(object, page.records),
        unread: page.unread,
        odd: page.odd,
        after: page.after,
        date: page.date,
    })
}

/// Writes a page and the cursor behind it in one transaction.
async fn apply(
    engine: &Engine,
    object: &ObjectSync,
    page: ReadPage,
    started: Timestamp,
) -> Result<(), StepError> {
    let offset = engine.client.clock_offset_ms();
    let sync = object.clone();
    let written = engine.store.write(Lane::Bulk, move |tx| {
        let now = tx.now();
        // Polling goes on from there: no later than a page knows of.
        let started = no_later(started, page.date);
        let applying = Applying {
            pass: Pass::of(tx, &sync, Origin::Poll, offset),
            evidence: Evidence::Store,
            asked_at: page.asked_at,
            with_history: false,
            later: &[],
        };
        let rows = page.records.len();
        let work = runs::Work {
            requests: 1,
            seen: rows,
            changed: apply_page(tx, &applying, &page.records)?,
        };
        runs::extend(tx, sync.object(), Kind::Backfill, work, now)?;
        runs::note(tx, sync.object(), Kind::Backfill, page.odd.as_deref())?;
        ask_unread(tx, &applying.pass, &page.unread)?;
        match &page.after {
            Some(after) => cursors::move_backfill(tx, sync.object(), after, rows, started)?,
            None => {
                cursors::end_backfill(tx, sync.object(), rows, started)?;
                outbox::release_backfill(tx, sync.object())?;
                runs::finish(tx, sync.object(), Kind::Backfill, None, now)?;
            }
        }
        // The page goes back to the thread that made it: freeing another thread's memory makes both wait.
        Ok(page)
    });
    drop(written.await?);
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::desk::{Desk, began, run};

    const YEAR_MS: i64 = 365 * 24 * 3_600_000;

    #[test]
    fn polling_begins_where_the_backfill_began_and_not_where_it_ended() {
        let desk = Desk::new(0);
        let contacts = desk.contacts();
        let began = desk.hubspot.now();
        let page = |id: u32, next: &str| {
            format!(r#"{{"results":[{{"id":"{id}","properties":{{"email":"a@b.c"}}}}]{next}}}"#)
        };
        let next = r#","paging":{"next":{"after":"102"}}"#;
        desk.hubspot.answer("/contacts?", page(101, next));
        assert_eq!(
            run(step(&desk.engine, &contacts)).ok(),
            Some(Progress::More)
        );
        desk.clock.pass(Duration::from_mins(1));
        desk.hubspot.answer("/contacts?", page(102, ""));
        while run(step(&desk.engine, &contacts)).expect("a page") == Progress::More {}
        let cursor = desk.cursor();
        assert_eq!((cursor.backfill, cursor.backfill_rows), (Backfill::Done, 2));
        assert_eq!(cursor.polled_to, Some(began));
    }

    #[test]
    fn a_backfill_began_no_later_than_the_date_of_its_first_page() {
        let desk = Desk::new(YEAR_MS);
        // Before any answer this machine's clock is all that is known.
        let contacts = desk.contacts();
        let start = began() + Duration::from_secs(30);
        let ahead = run(desk.engine.store().write(Lane::Bulk, move |tx| {
            cursors::begin_backfill(
                tx,
                &crate::model::name::ObjectType::parse("contacts").expect("a name"),
                start.plus_millis(YEAR_MS),
            )
        }));
        ahead.expect("a start");
        let before = desk.hubspot.now();
        run(step(&desk.engine, &contacts)).expect("a page");
        let polled_to = desk.cursor().polled_to.expect("an end");
        assert!(polled_to <= before + Duration::from_secs(1), "{polled_to}");
    }
}
