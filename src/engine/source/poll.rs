//! Incremental polling by search on the last-modified time: one page of a window's walk a step.
//!
//! A page and its cursor are one transaction. Walks again look at ids and times only and ask for reads where they differ.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::cursor::{SearchWindow, next_again, next_window, page_end, window_since};
use crate::decide::incoming::convert::remote_records;
use crate::decide::incoming::freshness::Evidence;
use crate::decide::outgoing::plan::BATCH;
use crate::engine::inbound::apply::apply_page_naming;
use crate::engine::inbound::applying::Applying;
use crate::engine::inbound::links::{self, OwnLinks};
use crate::engine::pass::Pass;
use crate::engine::portal::contradictions;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::blanks;
use crate::engine::source::deliveries;
use crate::engine::source::reads::ask_unread;
use crate::engine::source::reconcile;
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::hubspot::endpoints::search::search_body_fits;
use crate::hubspot::{Priority, ReadQuery, Record, SearchPage, SearchQuery};
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::cursors::{self, AgainWalk, Backfill};
use crate::store::history::Origin;
use crate::store::orders::{self, OrderWork};
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, reads};

/// The most records of a search page (`hubspot/api-facts.md#6`).
pub const PAGE: u32 = 200;

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
    if reconcile::set_back_if_ahead(engine, object, polled_to).await? {
        return Ok(Progress::More);
    }
    let window = match cursor.window {
        Some(window) => window,
        None => next_window(
            polled_to,
            engine.client.hubspot_now(),
            engine.settings().overlap,
        ),
    };
    let asked_at = engine.now();
    let (whole, mut found) = search_whole(engine, object, &window).await?;
    // Before values are read: a page that makes no sense costs no further request.
    let end = walk_on(engine, object, &window, &found).await?;
    let (done, date) = (found.is_last, found.date);
    let mut read = match whole {
        true => {
            blanks::fill(engine, object, &object.properties, &mut found.records).await?;
            contradictions::look_at(engine, object, &found.records).await?;
            Read {
                records: remote_records(object, found.records),
                evidence: Evidence::Search,
                requests: 1,
                unread: Vec::new(),
                odd: None,
            }
        }
        false => read_whole(engine, object, &found.records).await?,
    };
    read.unread.extend(found.unread);
    read.odd = found.odd;
    // What HubSpot changed after the answer's `Date` no page has shown: the window ends there.
    let window = SearchWindow {
        last_id: end,
        ..window.seen_at(date)
    };
    let page = WindowPage {
        read,
        window,
        polled_to,
        done,
        asked_at,
    };
    save_page(engine, object, page).await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

/// A poll; where the search makes no sense, a page of the full comparison that is begun in its place.
///
/// For runs that end: a daemon polls again and compares beside it.
pub(crate) async fn step_or_compare(
    engine: &Engine,
    object: &ObjectSync,
    ends: &StepEnd,
) -> Result<Progress, StepError> {
    match step(engine, object).await {
        Err(error) if is_senseless(&error) => {
            tracing::warn!(object = %object.object(), error = %error, code = error.code(), "the search makes no sense; the object is compared in full instead");
            reconcile::step(engine, object, ends).await
        }
        done => done,
    }
}

/// Whether an error says that the search can't be walked.
pub(crate) fn is_senseless(error: &StepError) -> bool {
    match error {
        StepError::NoProgress(_) => true,
        StepError::Hubspot(error) => error.is_unreadable(),
        StepError::Store(_)
        | StepError::OAuth(_)
        | StepError::Seal(_)
        | StepError::OtherPortal { .. } => false,
    }
}

/// What a page's records are, and how that was learnt.
struct Read {
    records: Vec<RemoteRecord>,
    evidence: Evidence,
    requests: usize,
    /// Records that the search shows and the store could not read this time.
    unread: Vec<HubspotId>,
    /// What of the page not even the id could be read, in a sentence.
    odd: Option<String>,
}

struct WindowPage {
    read: Read,
    window: SearchWindow,
    /// Where the window before ended.
    polled_to: Timestamp,
    done: bool,
    asked_at: Timestamp,
}

async fn save_page(
    engine: &Engine,
    object: &ObjectSync,
    page: WindowPage,
) -> Result<(), StepError> {
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let changed = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let now = tx.now();
            let applying = Applying {
                pass: Pass::of(tx, &sync, Origin::Poll, offset),
                evidence: page.read.evidence,
                asked_at: page.asked_at,
                with_history: true,
                later: &[],
            };
            let _run = runs::begin_job(tx, sync.object(), Kind::Poll)?;
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
            // An association that somebody made or took away may have moved the record's time, and nothing else tells of it.
            for record in &records {
                links::ask(tx, &applying.pass, record.id, OwnLinks::Too)?;
            }
            ask_unread(tx, &applying.pass, &page.read.unread)?;
            let work = runs::Work {
                requests: page.read.requests,
                seen,
                changed: changed.len(),
            };
            runs::extend(tx, sync.object(), Kind::Poll, work, now)?;
            runs::note(tx, sync.object(), Kind::Poll, page.read.odd.as_deref())?;
            if page.done {
                // The window's end, and not the time after its walk: what was changed meanwhile is in the next one.
                let to = page.window.to.max(page.polled_to);
                cursors::end_window(tx, sync.object(), to, now)?;
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
    window: &SearchWindow,
    page: &SearchPage,
) -> Result<Option<HubspotId>, StepError> {
    match page_end(window.last_id, page.records.iter().map(|record| record.id)) {
        Ok(end) => Ok(end.max(page.unread.iter().copied().max())),
        Err(stuck) => {
            reconcile::begin_instead(engine, object).await?;
            Err(stuck.into())
        }
    }
}

/// The next page of a window, with its values where a search can show them; `false` where it shows ids and times alone.
async fn search_whole(
    engine: &Engine,
    object: &ObjectSync,
    window: &SearchWindow,
) -> Result<(bool, SearchPage), StepError> {
    if search_body_fits(&object.properties) {
        let properties = object.properties.clone();
        match search(engine, object, window, properties).await {
            // One record alone is too large: the others must not wait for it.
            Err(StepError::Hubspot(error)) if error.is_too_large() => {}
            found => return Ok((true, found?)),
        }
    }
    let found = search(engine, object, window, Vec::new()).await?;
    Ok((false, found))
}

async fn search(
    engine: &Engine,
    object: &ObjectSync,
    window: &SearchWindow,
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
    let found = engine
        .client
        .search(object.object(), &query, Priority::Poll)
        .await;
    if let Err(error) = &found
        && error.is_unreadable()
        && !error.is_too_large()
    {
        reconcile::begin_instead(engine, object).await?;
    }
    Ok(found?)
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
        odd: None,
    };
    for batch in page.chunks(BATCH) {
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
        contradictions::look_at(engine, object, &found.records).await?;
        read.records.extend(remote_records(object, found.records));
        let unread = found.unread.iter();
        read.unread
            .extend(unread.filter_map(|id| id.parse::<HubspotId>().ok()));
        read.requests += 1;
    }
    Ok(read)
}

/// Reads a page of what HubSpot's search shows as modified since a time again, for a command: from the store, and through the
/// merge. Nothing moves by which polls go. Tells whether it was the last.
pub(crate) async fn read_since(
    engine: &Engine,
    object: &ObjectSync,
    (command, part): (i64, &OrderWork),
    since: Timestamp,
) -> Result<bool, StepError> {
    let last_id = part.after.as_deref().and_then(|id| id.parse().ok());
    let window = SearchWindow {
        last_id: last_id.map(HubspotId),
        ..window_since(since, part.noticed_at)
    };
    let asked_at = engine.now();
    let found = search(engine, object, &window, Vec::new()).await?;
    let end = walk_on(engine, object, &window, &found).await?;
    let ids: Vec<HubspotId> = found.records.iter().map(|record| record.id).collect();
    let mut read = read_whole(engine, object, &found.records).await?;
    read.unread.extend(found.unread);
    read.odd = found.odd;
    let is_last = found.is_last;
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let written = engine.store.write(Lane::Bulk, move |tx| {
        let (now, name) = (tx.now(), sync.object());
        let pass = Pass::of(tx, &sync, Origin::Poll, offset);
        let applying = Applying::from_store(pass, asked_at);
        let _run = runs::begin_job(tx, name, Kind::Poll)?;
        let changed = apply_page_naming(tx, &applying, &read.records)?;
        for record in &read.records {
            links::ask(tx, &applying.pass, record.id, OwnLinks::Too)?;
        }
        ask_unread(tx, &applying.pass, &read.unread)?;
        // What became of a record that the index shows and the store does not, a read of its own tells.
        let is_shown = |id: HubspotId| read.records.iter().any(|record| record.answers_to(id));
        for id in ids.iter().filter(|id| !is_shown(**id)) {
            reads::ask(tx, name, *id, Origin::Poll, now)?;
        }
        let work = runs::Work {
            requests: read.requests,
            seen: ids.len(),
            changed: changed.len(),
        };
        runs::extend(tx, name, Kind::Poll, work, now)?;
        runs::note(tx, name, Kind::Poll, read.odd.as_deref())?;
        if is_last {
            runs::finish(tx, name, Kind::Poll, None, now)?;
        }
        let after = end.filter(|_| !is_last).map(|id| id.to_string());
        orders::walk_on(tx, (command, name), after.as_deref(), work)
    });
    written.await?;
    Ok(is_last)
}

/// Walks one page of a window again, for one of the configured delays.
pub(crate) async fn step_again(
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
        let first = AgainWalk {
            walked_to: polled_to - engine.settings().overlap,
            window: None,
        };
        return save_again(engine, object, delay, first, Vec::new(), 0)
            .await
            .map(|()| Progress::More);
    };
    let hubspot_now = engine.client.hubspot_now();
    // Never beyond what was polled once: a walk again is no substitute for the first.
    let offset = engine.client.clock_offset_ms();
    let changed = cursor.last_change_at.map(|at| at.plus_millis(offset));
    let present = hubspot_now.min(polled_to);
    let Some(window) = again
        .window
        .or_else(|| next_again(again.walked_to, present, delay, changed))
    else {
        return Ok(Progress::RING);
    };
    let page = search(engine, object, &window, Vec::new()).await?;
    let end = walk_on(engine, object, &window, &page).await?;
    let done = page.is_last;
    let window = window.seen_at(page.date);
    let next = if done {
        AgainWalk {
            walked_to: window.to,
            window: None,
        }
    } else {
        AgainWalk {
            walked_to: again.walked_to,
            window: Some(SearchWindow {
                last_id: end,
                ..window
            }),
        }
    };
    let times = page.records.iter();
    let times = times.map(|record| (record.id, Some(record.updated_at)));
    let unread = page.unread.iter().map(|id| (*id, None));
    let seen = times.chain(unread).collect();
    save_again(engine, object, delay, next, seen, 1).await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

async fn save_again(
    engine: &Engine,
    object: &ObjectSync,
    delay: Duration,
    again: AgainWalk,
    seen: Vec<(HubspotId, Option<Timestamp>)>,
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
                let is_known = known
                    .zip(*updated_at)
                    .is_some_and(|(known, at)| known >= at);
                if !is_known {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, run};

    const HOUR_MS: i64 = 3_600_000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

    fn poll(desk: &Desk, contacts: &ObjectSync) -> Progress {
        run(step(&desk.engine, contacts)).expect("a poll")
    }

    /// The end of the last window that was asked for.
    fn asked_to(desk: &Desk) -> Timestamp {
        let asked = desk.hubspot.asked("/search");
        let body: serde_json::Value =
            serde_json::from_str(&asked.last().expect("a search").body).expect("JSON");
        let to = body["filterGroups"][0]["filters"][0]["highValue"]
            .as_str()
            .and_then(|text| text.parse().ok());
        Timestamp::from_millis(to.expect("an end"))
    }

    #[test]
    fn the_cursor_moves_to_the_windows_end_and_not_to_the_time_after_the_walk() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        desk.clock.pass(Duration::from_secs(10));
        let window_ends = desk.hubspot.now();
        let page = |id: u32, total: u32| {
            format!(r#"{{"total":{total},"results":[{{"id":"{id}","properties":{{}}}}]}}"#)
        };
        desk.hubspot.answer("/search", page(101, 2));
        desk.hubspot.answer("/search", page(102, 1));
        assert_eq!(poll(&desk, &contacts), Progress::More);
        desk.clock.pass(Duration::from_mins(1));
        assert_eq!(poll(&desk, &contacts), Progress::RING);
        assert_eq!(asked_to(&desk), window_ends);
        assert_eq!(desk.cursor().polled_to, Some(window_ends));
    }

    #[test]
    fn a_search_whose_pages_lead_round_in_a_circle_makes_way_for_a_full_comparison() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        desk.clock.pass(Duration::from_secs(10));
        for id in [101, 102, 101, 102] {
            let page = format!(r#"{{"total":9,"results":[{{"id":"{id}","properties":{{}}}}]}}"#);
            desk.hubspot.answer("/search", page);
        }
        assert_eq!(poll(&desk, &contacts), Progress::More);
        assert_eq!(poll(&desk, &contacts), Progress::More);
        let round = run(step(&desk.engine, &contacts));
        assert!(matches!(round, Err(StepError::NoProgress(_))), "{round:?}");
        assert!(desk.cursor().reconcile_started_at.is_some());
    }

    #[test]
    fn no_step_of_the_clock_moves_a_window_or_a_cursor() {
        for step in [8 * HOUR_MS, -8 * HOUR_MS, 400 * 24 * HOUR_MS, -20 * YEAR_MS] {
            let desk = Desk::new(0);
            let contacts = desk.loaded();
            poll(&desk, &contacts);
            desk.clock.step(step);
            for _ in 0..2 {
                desk.clock.pass(Duration::from_secs(10));
                let now = desk.hubspot.now();
                poll(&desk, &contacts);
                assert_eq!(asked_to(&desk), now, "{step}");
                assert_eq!(desk.cursor().polled_to, Some(now), "{step}");
            }
        }
    }

    #[test]
    fn a_start_at_a_wrong_time_polls_by_hubspots() {
        for ahead in [8 * HOUR_MS, -8 * HOUR_MS, 400 * 24 * HOUR_MS, -20 * YEAR_MS] {
            let desk = Desk::new(ahead);
            let contacts = desk.loaded();
            desk.clock.pass(Duration::from_secs(10));
            let now = desk.hubspot.now();
            poll(&desk, &contacts);
            let late = now.since(asked_to(&desk));
            assert!(
                asked_to(&desk) <= now && late < Duration::from_secs(2),
                "{ahead}"
            );
        }
    }

    #[test]
    fn an_answer_whose_date_is_a_year_ahead_ends_no_window_in_the_future() {
        for wrong in [YEAR_MS, -YEAR_MS] {
            let desk = Desk::new(0);
            let contacts = desk.loaded();
            for _ in 0..3 {
                desk.clock.pass(Duration::from_secs(10));
                desk.hubspot.date_wrongly(wrong);
                poll(&desk, &contacts);
                desk.clock.pass(Duration::from_secs(10));
                let now = desk.hubspot.now();
                for _ in 0..2 {
                    poll(&desk, &contacts);
                }
                let polled_to = desk.cursor().polled_to.expect("an end");
                assert!(
                    polled_to >= now && polled_to <= desk.hubspot.now(),
                    "{wrong}"
                );
            }
        }
    }

    #[test]
    fn a_cursor_in_hubspots_future_is_set_back_and_what_it_hid_is_compared() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let name = contacts.object().clone();
        let future = desk.hubspot.now().plus_millis(8 * HOUR_MS);
        let written = run(desk.engine.store().write(Lane::Bulk, move |tx| {
            cursors::end_window(tx, &name, future, future)?;
            let again = AgainWalk {
                walked_to: future,
                window: None,
            };
            cursors::save_again(tx, &name, Duration::from_mins(5), &again)
        }));
        written.expect("a cursor");
        assert_eq!(poll(&desk, &contacts), Progress::More);
        let now = desk.hubspot.now();
        assert_eq!(poll(&desk, &contacts), Progress::RING);
        let cursor = desk.cursor();
        assert!(cursor.polled_to.is_some_and(|to| to <= now), "{cursor:?}");
        assert!(cursor.reconcile_started_at.is_some());
        let name = contacts.object().clone();
        let read = desk
            .engine
            .store()
            .read(move |connection| cursors::again(connection, &name, Duration::from_mins(5)));
        assert_eq!(run(read).expect("a chain"), None);
    }

    #[test]
    fn a_window_counts_from_the_first_answer_of_its_walk() {
        // A clock that only one answer has confirmed, and that one wrongly.
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let name = contacts.object().clone();
        let now = desk.hubspot.now();
        let window = SearchWindow {
            from: now,
            to: now.plus_millis(HOUR_MS),
            last_id: None,
        };
        let saved = run(desk.engine.store().write(Lane::Bulk, move |tx| {
            cursors::save_window(tx, &name, &window)
        }));
        saved.expect("a window");
        let page = r#"{"total":2,"results":[{"id":"101","properties":{}}]}"#;
        desk.hubspot.answer("/search", page);
        assert_eq!(poll(&desk, &contacts), Progress::More);
        desk.clock.pass(Duration::from_mins(30));
        assert_eq!(poll(&desk, &contacts), Progress::RING);
        let polled_to = desk.cursor().polled_to.expect("an end");
        assert!(polled_to <= now + Duration::from_secs(1), "{polled_to}");
    }
}
