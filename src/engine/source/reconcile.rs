//! The scheduled full comparison: what polling can't see. One page of the list a step.
//!
//! Rows whose record a page should have shown and did not become reads; a deletion is believed only after a read of that
//! id. For push-only objects the rows' own records are read instead of the whole object.

use std::time::Duration;

use crate::decide::cursor::is_ahead;
use crate::decide::incoming::convert::remote_records;
use crate::engine::inbound::apply::apply_page;
use crate::engine::inbound::applying::Applying;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::backfill::PAGE;
use crate::engine::source::blanks;
use crate::engine::source::reads::ask_unread;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{ListQuery, Page, Priority};
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::cursors::{self, Backfill, Cursor};
use crate::store::history::Origin;
use crate::store::links::passes;
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, reads};

/// How many rows are compared with a page at a time.
const ROWS: usize = 1_000;

/// Begins a comparison; one that runs already goes on.
pub async fn begin(engine: &Engine, object: &ObjectSync) -> Result<(), StepError> {
    let name = object.object().clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            cursors::begin_reconcile(tx, &name, now)
        })
        .await?;
    Ok(())
}

/// A gap longer than this is compared in full: archived records are listed for 90 days, and a month of changes may be
/// most of the portal (`design.md`, section 3).
const LONGEST_GAP: Duration = Duration::from_hours(30 * 24);

/// Begins a comparison where the last poll is too long ago, or in HubSpot's future: the daemon was away, an old backup was
/// put back, or a clock was wrong. Tells whether one is to be made at once, also one that the file's shape made necessary in
/// this run.
pub async fn begin_if_behind(engine: &Engine, object: &ObjectSync) -> Result<bool, StepError> {
    let (name, now) = (object.object().clone(), engine.client.hubspot_now());
    let cursor = engine
        .store
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    if let Some(polled_to) = cursor.polled_to
        && set_back_if_ahead(engine, object, polled_to).await?
    {
        return Ok(true);
    }
    let behind = cursor
        .polled_to
        .is_some_and(|polled_to| now.since(polled_to) > LONGEST_GAP);
    if behind {
        begin(engine, object).await?;
    }
    let begun = cursor
        .reconcile_started_at
        .is_some_and(|begun| begun >= engine.started_at);
    Ok(behind || begun)
}

/// Sets a cursor back that lies in HubSpot's future, where every poll would find nothing until that time has come. What was
/// changed before is found by a comparison.
pub async fn set_back_if_ahead(
    engine: &Engine,
    object: &ObjectSync,
    polled_to: Timestamp,
) -> Result<bool, StepError> {
    let (name, now) = (object.object().clone(), engine.client.hubspot_now());
    if !engine.client.knows_hubspots_time() || !is_ahead(polled_to, now) {
        return Ok(false);
    }
    tracing::warn!(object = %name, until = %polled_to, "polling stood in HubSpot's future; it goes on from now, and a full comparison begins");
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            cursors::set_back(tx, &name, now)?;
            cursors::begin_reconcile(tx, &name, tx.now())
        })
        .await?;
    Ok(true)
}

/// Between two comparisons that a search made necessary: a search that makes no sense may do so for days.
const BETWEEN_SECOND_WAYS: Duration = Duration::from_mins(10);

/// Begins a comparison in place of a search that makes no sense, unless one has just ended.
pub async fn begin_instead(engine: &Engine, object: &ObjectSync) -> Result<(), StepError> {
    let name = object.object().clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let (cursor, now) = (cursors::get(tx, &name)?, tx.now());
            let lately = |ended: Timestamp| ended <= now && now.since(ended) < BETWEEN_SECOND_WAYS;
            if cursor.last_reconcile_at.is_some_and(lately) {
                return Ok(());
            }
            cursors::begin_reconcile(tx, &name, now)
        })
        .await?;
    Ok(())
}

/// Compares the next page, while a comparison runs.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let cursor = engine
        .store
        .read(move |connection| cursors::get(connection, &name))
        .await?;
    if cursor.reconcile_started_at.is_none() || cursor.backfill != Backfill::Done {
        return Ok(Progress::RING);
    }
    if object.mapping().direction.pulls() {
        compare_page(engine, object, &cursor).await
    } else {
        ask_rows(engine, object, &cursor).await
    }
}

async fn compare_page(
    engine: &Engine,
    object: &ObjectSync,
    cursor: &Cursor,
) -> Result<Progress, StepError> {
    let asked_at = engine.now();
    let query = ListQuery {
        after: cursor
            .reconcile_after
            .clone()
            .filter(|after| !after.is_empty()),
        limit: PAGE,
        properties: object.properties.clone(),
        archived: false,
    };
    let mut page = engine
        .client
        .list(object.object(), &query, Priority::Bulk)
        .await?;
    blanks::fill(engine, object, &object.properties, &mut page.records).await?;
    let (sync, cursor, offset) = (
        object.clone(),
        cursor.clone(),
        engine.client.clock_offset_ms(),
    );
    let page = Page {
        records: remote_records(object, page.records),
        after: page.after,
        unread: page.unread,
        odd: page.odd,
        date: page.date,
    };
    let done = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            let applying =
                Applying::from_store(Pass::of(tx, &sync, Origin::Reconcile, offset), asked_at);
            let changed = apply_page(tx, &applying, &page.records)?;
            let work = runs::Work {
                requests: 1,
                seen: page.records.len(),
                changed,
            };
            runs::extend(tx, sync.object(), Kind::Reconcile, work, now)?;
            runs::note(tx, sync.object(), Kind::Reconcile, page.odd.as_deref())?;
            ask_unread(tx, &applying.pass, &page.unread)?;
            if let Some(last) = ask_for_absent(tx, &applying.pass, &cursor, &page)? {
                // More rows than one small transaction takes: the page is read once more from here.
                let after = cursor.reconcile_after.as_deref().unwrap_or("");
                cursors::move_reconcile(tx, sync.object(), after, Some(last))?;
                return Ok(false);
            }
            advance(tx, &applying.pass, &cursor, &page)?;
            Ok(page.after.is_none())
        })
        .await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

fn advance(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    cursor: &Cursor,
    page: &Page<RemoteRecord>,
) -> Result<(), StoreError> {
    let now = pass.now;
    match &page.after {
        Some(after) => cursors::move_reconcile(tx, pass.name(), after, page_last(cursor, page)),
        None => {
            cursors::end_reconcile(tx, pass.name(), now)?;
            // A change of associations alone moves no record's time: they are compared behind the records.
            for pair in pass
                .object
                .pairs
                .iter()
                .filter(|pair| pair.from == *pass.name())
            {
                passes::begin(tx, &pair.key, now)?;
            }
            runs::finish(tx, pass.name(), Kind::Reconcile, None, now)
        }
    }
}

fn page_last(cursor: &Cursor, page: &Page<RemoteRecord>) -> Option<HubspotId> {
    shown(page).max().max(cursor.reconcile_last_id)
}

/// The records of a page, those included that HubSpot could not read this time: they are there.
fn shown(page: &Page<RemoteRecord>) -> impl Iterator<Item = HubspotId> {
    let read = page.records.iter().map(|record| record.id);
    read.chain(page.unread.iter().copied())
}

/// Asks for the rows between the last page and this one whose record the page does not show. Answers with the row at
/// which it stopped, where there are more.
fn ask_for_absent(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    cursor: &Cursor,
    page: &Page<RemoteRecord>,
) -> Result<Option<HubspotId>, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let after = cursor.reconcile_last_id.map_or(0, |id| id.0);
    let to = if page.after.is_none() {
        i64::MAX
    } else {
        page_last(cursor, page).map_or(after, |id| id.0)
    };
    let shown: std::collections::BTreeSet<HubspotId> = shown(page).collect();
    let rows = object.table.linked_between(tx, after, to, ROWS)?;
    for id in rows.iter().filter(|id| !shown.contains(id)) {
        reads::ask(tx, object.object(), *id, Origin::Reconcile, now)?;
    }
    Ok(rows.last().copied().filter(|_| rows.len() == ROWS))
}

/// Asks for reads of a push-only object's own records.
async fn ask_rows(
    engine: &Engine,
    object: &ObjectSync,
    cursor: &Cursor,
) -> Result<Progress, StepError> {
    let (sync, after) = (
        object.clone(),
        cursor.reconcile_last_id.map_or(0, |id| id.0),
    );
    let more = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            let rows = sync.table.linked_between(tx, after, i64::MAX, ROWS)?;
            for id in &rows {
                reads::ask(tx, sync.object(), *id, Origin::Reconcile, now)?;
            }
            match rows.last() {
                Some(last) => cursors::move_reconcile(tx, sync.object(), "", Some(*last))?,
                None => cursors::end_reconcile(tx, sync.object(), now)?,
            }
            Ok(!rows.is_empty())
        })
        .await?;
    Ok(if more { Progress::More } else { Progress::RING })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, run};

    /// The errors of the object's runs, and what its status says.
    fn told(desk: &Desk) -> (Vec<Option<String>>, Option<String>) {
        let file = desk.folder.path().join("crm.db");
        let program = rusqlite::Connection::open(file).expect("opens");
        let mut errors = program
            .prepare("SELECT error FROM sync_runs WHERE kind = 'reconcile' ORDER BY id")
            .expect("is SQL");
        let errors = errors.query_map([], |row| row.get(0)).expect("runs");
        let errors = errors.collect::<Result<_, _>>().expect("reads");
        let status = program.query_row("SELECT last_error FROM sync_status", [], |row| row.get(0));
        (errors, status.expect("a row"))
    }

    #[test]
    fn a_record_without_a_readable_id_is_told_until_a_comparison_meets_none() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let compare = |page: &str| {
            desk.hubspot.answer("/objects/2026-03/contacts?", page);
            run(begin(&desk.engine, &contacts)).expect("begins");
            run(step(&desk.engine, &contacts)).expect("a page");
        };
        compare(
            r#"{"results":[{"id":"101","properties":{"email":"ann@example.com"},
                "createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","archived":false},
                {"id":"a secret","properties":{}}]}"#,
        );
        let words = "record 2 of 2 in an answer of HubSpot's (the one after record 101) can't be read, not even its id";
        let words = Some(words.to_owned());
        assert_eq!(told(&desk), (vec![words.clone()], words.clone()));
        compare(r#"{"results":[]}"#);
        assert_eq!(told(&desk), (vec![words, None], None));
    }
}
