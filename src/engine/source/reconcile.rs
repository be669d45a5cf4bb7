//! The scheduled full comparison: what polling can't see, over all of its list (`source/ranges`).
//!
//! Rows whose record a page should have shown and did not become reads; a deletion is believed only after a read of that
//! id. For push-only objects the rows' own records are read instead of the whole object. Where the token sees only what its
//! user sees, the list of archived records follows: what stands there and has a row is believed to be deleted, unless a read
//! shows it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::cursor::is_ahead;
use crate::decide::incoming::ranges::IdRange;
use crate::engine::inbound::apply::apply_page;
use crate::engine::inbound::applying::Applying;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::ranges::{self, Applied, PAGE, PagePart, PagedWalk, Walked};
use crate::engine::source::reads::ask_unread;
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::hubspot::{ListQuery, Priority};
use crate::model::answer::MERGED_IDS;
use crate::model::id::HubspotId;
use crate::model::mapping::Sees;
use crate::model::time::Timestamp;
use crate::store::absent::{self, Deletion, WhyAbsent};
use crate::store::cursors::{self, Backfill};
use crate::store::history::Origin;
use crate::store::links::passes;
use crate::store::ranges::{self as stored, ListWalk};
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, WriteTx, conflicts, outbox, reads};

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
pub(crate) async fn begin_if_behind(
    engine: &Engine,
    object: &ObjectSync,
) -> Result<bool, StepError> {
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
    let begun = cursor.reconcile_started_at;
    if behind {
        begin_not_before(engine, object, engine.now() - LONGEST_GAP).await?;
    }
    Ok(behind || begun.is_some_and(|begun| engine.is_of_this_run(begun)))
}

/// Begins a comparison; one that began before that moment begins anew.
async fn begin_not_before(
    engine: &Engine,
    object: &ObjectSync,
    earliest: Timestamp,
) -> Result<(), StepError> {
    let name = object.object().clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let (cursor, now) = (cursors::get(tx, &name)?, tx.now());
            match cursor.reconcile_started_at {
                Some(began) if began >= earliest && began <= now => Ok(()),
                Some(_) | None => cursors::compare(tx, &name, now),
            }
        })
        .await?;
    Ok(())
}

/// Sets a cursor back that lies in HubSpot's future, where every poll would find nothing until that time has come. What was
/// changed before is found by a comparison.
pub(crate) async fn set_back_if_ahead(
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
            // One that runs has passed records by: what was changed of them since, no poll finds.
            cursors::compare(tx, &name, tx.now())
        })
        .await?;
    Ok(true)
}

/// Between two comparisons that a search made necessary: a search that makes no sense may do so for days.
const BETWEEN_SECOND_WAYS: Duration = Duration::from_mins(10);

/// Begins a comparison in place of a search that makes no sense, unless one has just ended.
pub(crate) async fn begin_instead(engine: &Engine, object: &ObjectSync) -> Result<(), StepError> {
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
    if cursor.reconcile_started_at.is_none() || cursor.backfill != Backfill::Done {
        return Ok(Progress::RING);
    }
    if cursor.reconcile_archived {
        let range = one_range(engine, object).await?;
        compare_archive(engine, object, range).await
    } else if object.mapping().direction.pulls() {
        match ranges::step(engine, object, &COMPARISON, ends).await? {
            Walked::Ended { is_done: true } => Ok(Progress::RING),
            Walked::Ended { is_done: false } | Walked::More => Ok(Progress::More),
        }
    } else {
        let range = one_range(engine, object).await?;
        ask_rows(engine, object, range).await
    }
}

/// Where a walk stands that goes on in one range.
async fn one_range(engine: &Engine, object: &ObjectSync) -> Result<IdRange, StepError> {
    let name = object.object().clone();
    let ranges = engine
        .store
        .read(move |connection| stored::of(connection, &name, ListWalk::Reconcile))
        .await?;
    Ok(ranges.into_iter().next().unwrap_or_else(IdRange::whole))
}

const COMPARISON: PagedWalk = PagedWalk {
    walk: ListWalk::Reconcile,
    apply: compare,
    before_end: |_, _| Ok(()),
    end: |tx, sync, offset| {
        let pass = Pass::of(tx, sync, Origin::Reconcile, offset);
        ask_for_undecided(tx, sync, pass.now)?;
        end_or_turn(tx, &pass)
    },
};

/// Compares a page with the rows of its part of the list.
fn compare(
    tx: &WriteTx<'_>,
    sync: &ObjectSync,
    offset: i64,
    part: &PagePart,
) -> Result<Applied, StoreError> {
    let (now, page) = (tx.now(), &part.page);
    let pass = Pass::of(tx, sync, Origin::Reconcile, offset);
    let applying = Applying::from_store(pass, page.asked_at);
    let _run = runs::begin_job(tx, sync.object(), Kind::Reconcile)?;
    let work = runs::Work {
        requests: 1,
        seen: page.records.len(),
        changed: apply_page(tx, &applying, &page.records)?,
    };
    runs::extend(tx, sync.object(), Kind::Reconcile, work, now)?;
    runs::note(tx, sync.object(), Kind::Reconcile, page.odd.as_deref())?;
    ask_unread(tx, &applying.pass, &page.unread)?;
    ask_for_absent(tx, &applying.pass, part)
}

/// The records are compared: the archived ones follow where an absence says nothing. Tells whether all is done.
fn end_or_turn(tx: &rusqlite::Transaction<'_>, pass: &Pass<'_>) -> Result<bool, StoreError> {
    match pass.object.mapping().modes.sees {
        Sees::Portal => end(tx, pass).map(|()| true),
        Sees::User => cursors::turn_to_archive(tx, pass.name()).map(|()| false),
    }
}

fn end(tx: &rusqlite::Transaction<'_>, pass: &Pass<'_>) -> Result<(), StoreError> {
    let now = pass.now;
    cursors::end_reconcile(tx, pass.name(), now)?;
    // A change of associations alone moves no record's time: they are compared behind the records.
    for pair in pass
        .object
        .pairs
        .iter()
        .filter(|pair| pair.from == *pass.name())
    {
        passes::begin(tx, pair, now)?;
    }
    runs::finish(tx, pass.name(), Kind::Reconcile, None, now)
}

/// Takes a page of the archived records: those that have a row, or whose archive waits, are read.
async fn compare_archive(
    engine: &Engine,
    object: &ObjectSync,
    range: IdRange,
) -> Result<Progress, StepError> {
    let query = ListQuery {
        after: range.after.clone(),
        limit: PAGE,
        properties: vec![MERGED_IDS.to_owned()],
        archived: true,
    };
    let page = engine
        .client
        .list(object.object(), &query, Priority::Bulk)
        .await?;
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let done = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Reconcile, offset);
            let name = sync.object();
            let work = runs::Work {
                requests: 1,
                seen: page.records.len(),
                changed: 0,
            };
            runs::extend(tx, name, Kind::Reconcile, work, pass.now)?;
            for record in &page.records {
                let archived_at = record.archived_at;
                // What was merged into it is archived with it.
                for id in record.merged_ids().into_iter().chain([record.id]) {
                    note_archived(tx, &pass, id, Deletion { archived_at })?;
                }
            }
            let walk = ListWalk::Reconcile;
            match &page.after {
                Some(after) => {
                    stored::advance(tx, name, walk, &range, (after, range.last)).map(|_| false)
                }
                None if stored::finish(tx, name, walk, &range)? => end(tx, &pass).map(|()| true),
                // The comparison was begun anew meanwhile.
                None => Ok(false),
            }
        })
        .await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

/// A read tells whether it was merged into another record, or is back.
fn note_archived(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    deletion: Deletion,
) -> Result<(), StoreError> {
    let (object, name) = (pass.object, pass.name());
    let is_here = match object.table.by_hs_id(tx, id)? {
        Some(row) => !object.table.is_marked(tx, row.record.local_id)?,
        None => outbox::of_record(tx, name, id)?.is_some(),
    };
    if !is_here {
        return Ok(());
    }
    absent::note(tx, name, id, WhyAbsent::Deleted(deletion), pass.now)?;
    reads::ask(tx, name, id, Origin::Reconcile, pass.now).map(drop)
}

/// Asks for the rows between the last page and the end of this one whose record the page does not show, a thousand at a time.
fn ask_for_absent(
    tx: &WriteTx<'_>,
    pass: &Pass<'_>,
    part: &PagePart,
) -> Result<Applied, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let shown: BTreeSet<HubspotId> = part.page.shown().collect();
    let (after, to) = (part.range.last.0, part.reach.to.0);
    let rows = object.table.linked_between(tx, after, to, ROWS)?;
    for id in rows.iter().filter(|id| !shown.contains(id)) {
        reads::ask(tx, object.object(), *id, Origin::Reconcile, now)?;
    }
    Ok(match rows.last() {
        Some(last) if rows.len() == ROWS => Applied::UpTo(*last),
        Some(_) | None => Applied::Whole,
    })
}

/// Asks for the records of deleted rows whose archive waits for a person: they have no row that a page could miss, and where the
/// record is gone too, nobody has to decide any more.
fn ask_for_undecided(
    tx: &rusqlite::Transaction<'_>,
    object: &ObjectSync,
    now: Timestamp,
) -> Result<(), StoreError> {
    for id in conflicts::of_deleted(tx, object.object())? {
        reads::ask(tx, object.object(), id, Origin::Reconcile, now)?;
    }
    Ok(())
}

/// Asks for reads of a push-only object's own records.
async fn ask_rows(
    engine: &Engine,
    object: &ObjectSync,
    range: IdRange,
) -> Result<Progress, StepError> {
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let done = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let (now, walk) = (tx.now(), ListWalk::Reconcile);
            let rows = sync
                .table
                .linked_between(tx, range.last.0, i64::MAX, ROWS)?;
            for id in &rows {
                reads::ask(tx, sync.object(), *id, Origin::Reconcile, now)?;
            }
            let work = runs::Work {
                requests: 0,
                seen: rows.len(),
                changed: 0,
            };
            runs::extend(tx, sync.object(), Kind::Reconcile, work, now)?;
            match rows.last() {
                Some(last) => {
                    stored::advance(tx, sync.object(), walk, &range, ("", *last)).map(|_| false)
                }
                None if stored::finish(tx, sync.object(), walk, &range)? => {
                    ask_for_undecided(tx, &sync, now)?;
                    end_or_turn(tx, &Pass::of(tx, &sync, Origin::Reconcile, offset))
                }
                // The comparison was begun anew meanwhile.
                None => Ok(false),
            }
        })
        .await?;
    Ok(if done { Progress::RING } else { Progress::More })
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
            run(step(&desk.engine, &contacts, &StepEnd::never())).expect("a page");
        };
        compare(
            r#"{"results":[{"id":"101","properties":{"email":"ann@example.com"},
                "createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","archived":false},
                {"id":"a secret","properties":{}}]}"#,
        );
        let explanation = "record 2 of 2 in an answer of HubSpot's (the one after record 101) can't be read, not even its id";
        let explanation = Some(explanation.to_owned());
        assert_eq!(
            told(&desk),
            (vec![explanation.clone()], explanation.clone())
        );
        compare(r#"{"results":[]}"#);
        assert_eq!(told(&desk), (vec![explanation, None], None));
    }

    /// A list of records, in the archive where `archived_at` says so.
    fn list_of(ids: &[u32], archived_at: &str, paging: &str) -> String {
        let records: Vec<String> = ids
            .iter()
            .map(|id| {
                format!(
                    r#"{{"id":"{id}","properties":{{"email":"{id}@example.com"}},"createdAt":"2026-01-01T00:00:00Z",
                        "updatedAt":"2026-01-01T00:00:00Z","archived":{}{archived_at}}}"#,
                    !archived_at.is_empty()
                )
            })
            .collect();
        format!(r#"{{"results":[{}]{paging}}}"#, records.join(","))
    }

    #[test]
    fn what_the_archive_lists_is_announced_where_the_token_sees_what_its_user_sees() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let list = |ids: &[u32], archived_at: &str, paging: &str| {
            let page = list_of(ids, archived_at, paging);
            desk.hubspot.answer("/objects/2026-03/contacts?", page);
        };
        let rows = |sql: &str| {
            let file = desk.folder.path().join("crm.db");
            let program = rusqlite::Connection::open(file).expect("opens");
            let mut rows = program.prepare(sql).expect("is SQL");
            let rows = rows.query_map([], |row| row.get(0)).expect("runs");
            rows.collect::<Result<Vec<String>, _>>().expect("reads")
        };
        list(&[101, 102, 103], "", "");
        run(begin(&desk.engine, &contacts)).expect("begins");
        assert_eq!(
            run(step(&desk.engine, &contacts, &StepEnd::never())).expect("a page"),
            Progress::RING,
            "a token that sees all is done"
        );
        let mut mapping = contacts.mapping().clone();
        mapping.modes.sees = Sees::User;
        let contacts = crate::engine::testing::synced(mapping);
        // Of the three it sees none; two of them stand in the archive, and one of those says so on its second page.
        let archived_at = r#","archivedAt":"2026-11-23T00:00:00Z""#;
        list(&[], "", "");
        list(
            &[101, 900],
            archived_at,
            r#","paging":{"next":{"after":"7"}}"#,
        );
        list(&[103], archived_at, "");
        run(begin(&desk.engine, &contacts)).expect("begins");
        for said in [Progress::More, Progress::More, Progress::RING] {
            assert_eq!(
                run(step(&desk.engine, &contacts, &StepEnd::never())).expect("a page"),
                said
            );
        }
        let announced = "SELECT hs_id || ' ' || archived_at FROM _sync_absent WHERE announced = 1";
        let at = "2026-11-23T00:00:00.000Z";
        assert_eq!(rows(announced), [format!("101 {at}"), format!("103 {at}")]);
        let asked = "SELECT CAST(hs_id AS TEXT) FROM _sync_reads ORDER BY hs_id";
        assert_eq!(rows(asked), ["101", "102", "103"]);
        let asked = desk.hubspot.asked("archived=true");
        let is_second = |path: &str| path.contains("after=7");
        let second: Vec<bool> = asked.iter().map(|one| is_second(&one.path)).collect();
        assert_eq!(second, [false, true]);
        assert!(!desk.cursor().reconcile_archived);
        assert!(desk.cursor().last_reconcile_at.is_some());
    }
}
