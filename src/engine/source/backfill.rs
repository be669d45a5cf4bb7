//! The first full read of an object, over its whole list (`source/ranges`), resumable where it stopped.

use crate::decide::cursor::no_later;
use crate::engine::inbound::apply::apply_page;
use crate::engine::inbound::applying::Applying;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::ranges::{self, Applied, PagePart, PagedWalk, Walked, read_page};
use crate::engine::source::reads::ask_unread;
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::store::cursors::{self, Backfill, Cursor};
use crate::store::history::Origin;
use crate::store::ranges::ListWalk;
use crate::store::runs::{self, Kind};
use crate::store::shape::ddl::make_match_index;
use crate::store::{Lane, StoreError, WriteTx, orders, outbox};

const FIRST_READ: PagedWalk = PagedWalk {
    walk: ListWalk::Backfill,
    apply,
    before_end: |tx, sync| make_match_index(tx, sync.mapping()),
    end,
};

/// Reads on, some pages at once.
pub async fn step(
    engine: &Engine,
    object: &ObjectSync,
    ends: &StepEnd,
) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let cursor = engine
        .store
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    if cursor.backfill == Backfill::Done {
        return Ok(Progress::RING);
    }
    begin(engine, object, &cursor).await?;
    match ranges::step(engine, object, &FIRST_READ, ends).await? {
        Walked::More => Ok(Progress::More),
        Walked::Ended { .. } => Ok(Progress::RING),
    }
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
        let _run = runs::begin_job(tx, sync.object(), Kind::Backfill)?;
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

/// Writes a page, and what the cursor knows by it.
fn apply(
    tx: &WriteTx<'_>,
    sync: &ObjectSync,
    offset: i64,
    part: &PagePart,
) -> Result<Applied, StoreError> {
    let (now, page) = (tx.now(), &part.page);
    let applying = Applying {
        pass: Pass::of(tx, sync, Origin::Poll, offset),
        evidence: page.evidence,
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
    if let Some(started) = cursors::get(tx, sync.object())?.backfill_started_at {
        // Polling goes on from there: no later than a page knows of.
        let started = no_later(started, page.known_at());
        cursors::count_backfill(tx, sync.object(), rows, started)?;
    }
    Ok(Applied::Whole)
}

/// Everything was read: polling goes on from where the first page was asked for.
fn end(tx: &WriteTx<'_>, sync: &ObjectSync, _offset: i64) -> Result<bool, StoreError> {
    let name = sync.object();
    let cursor = cursors::get(tx, name)?;
    let started = cursor.backfill_started_at.unwrap_or(tx.now());
    cursors::end_backfill(tx, name, started)?;
    outbox::release_backfill(tx, name)?;
    runs::finish(tx, name, Kind::Backfill, None, tx.now())?;
    tracing::info!(object = %name, rows = cursor.backfill_rows, "the first full read is done");
    Ok(true)
}

async fn begin(engine: &Engine, object: &ObjectSync, cursor: &Cursor) -> Result<(), StepError> {
    if cursor.backfill == Backfill::Running && cursor.backfill_started_at.is_some() {
        return Ok(());
    }
    let (name, started) = (object.object().clone(), engine.client.hubspot_now());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            cursors::begin_backfill(tx, &name, started)
        })
        .await?;
    tracing::info!(object = %object.object(), "the first full read begins");
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
            run(step(&desk.engine, &contacts, &StepEnd::never())).ok(),
            Some(Progress::More)
        );
        desk.clock.pass(Duration::from_mins(1));
        desk.hubspot.answer("/contacts?", page(102, ""));
        while run(step(&desk.engine, &contacts, &StepEnd::never())).expect("a page")
            == Progress::More
        {}
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
        run(step(&desk.engine, &contacts, &StepEnd::never())).expect("a page");
        let polled_to = desk.cursor().polled_to.expect("an end");
        assert!(polled_to <= before + Duration::from_secs(1), "{polled_to}");
    }
}
