//! `sync_runs`: what was read or sent, when, and how much it was.
//!
//! A run is open from its first work to [`finish`]. Polls that found nothing extend the last row instead of adding one.
//!
//! A row of `sync_history` is written with the number of its run, though a run takes the work of a transaction only at its end, when
//! it is known what it was: `begin_job` says beforehand which run that will be.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::entry::{code_in, states};
use crate::model::name::ObjectType;
use crate::model::origin::Origin;
use crate::model::time::Timestamp;
use crate::store::{StoreError, calls};

states! {
    /// What a run does.
    Kind {
        /// The first full read.
        Backfill = "backfill",
        /// A poll's window.
        Poll = "poll",
        /// A window walked again.
        Again = "again",
        /// The full comparison.
        Reconcile = "reconcile",
        /// Outbox to HubSpot.
        Push = "push",
        /// The rotating pass over associations.
        Associations = "associations",
        /// The portal's schema and reference tables; also the filling of new columns.
        Schema = "schema",
        /// HubSpot's own history of chosen properties.
        History = "history",
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Requests sent.
    pub requests: usize,
    /// Records seen.
    pub seen: usize,
    /// Records that changed on the side they were carried to.
    pub changed: usize,
}

thread_local! {
    /// The run that the present job works for: a job begins and ends on one thread.
    static OF_JOB: Cell<Option<RunOfJob>> = const { Cell::new(None) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RunOfJob {
    id: i64,
    is_push: bool,
}

/// As long as it lives, what is written into `sync_history` belongs to a run.
#[derive(Debug)]
#[must_use]
pub(crate) struct JobOfRun(());

impl Drop for JobOfRun {
    fn drop(&mut self) {
        OF_JOB.set(None);
    }
}

/// A job begins that will [`extend`] the run of an object: the open one, or else the next.
pub(crate) fn begin_job(
    tx: &Transaction<'_>,
    object: &ObjectType,
    kind: Kind,
) -> Result<JobOfRun, StoreError> {
    let open: Option<i64> = tx
        .prepare_cached(
            "SELECT id
             FROM (
                 SELECT id, finished_at
                 FROM sync_runs
                 WHERE object = :object AND kind = :kind
                 ORDER BY id DESC
                 LIMIT 1
             )
             WHERE finished_at IS NULL",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":kind": kind.as_str() },
            |row| row.get(0),
        )
        .optional()?;
    let id = match open {
        Some(id) => id,
        None => next(tx)?,
    };
    let is_push = kind == Kind::Push;
    OF_JOB.set(Some(RunOfJob { id, is_push }));
    Ok(JobOfRun(()))
}

/// The number that the next run gets.
fn next(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'sync_runs'), 0)",
        )?
        .query_row([], |row| row.get(0))?)
}

/// The run that brings what is written into `sync_history` with that origin; `None` outside of all. A push settles what was sent, a
/// read brings what HubSpot has: what lost to one of them goes with the other one's origin too.
pub(super) fn of_line(origin: Origin) -> Option<i64> {
    let run = OF_JOB.get()?;
    let belongs = match origin {
        Origin::Push | Origin::Undo => run.is_push,
        Origin::Conflict => true,
        Origin::Discard => false,
        Origin::Poll
        | Origin::Webhook
        | Origin::Reconcile
        | Origin::Absorb
        | Origin::Schema
        | Origin::Rule => !run.is_push,
    };
    belongs.then_some(run.id)
}

/// Adds a step's work to the open run of an object, or begins one.
pub fn extend(
    tx: &Transaction<'_>,
    object: &ObjectType,
    kind: Kind,
    work: Work,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = match open(tx, object, kind, work)? {
        Some(id) => {
            add(tx, id, work)?;
            id
        }
        None => begin(tx, object, kind, work, now)?,
    };
    take(tx, id, now)
}

/// What this transaction's job has sent and written belongs to that run. What was written for a run that was not begun goes over to
/// it: a poll that changed nothing joins the last one.
fn take(tx: &Transaction<'_>, id: i64, now: Timestamp) -> Result<(), StoreError> {
    calls::sign(tx, id)?;
    let Some(expected) = OF_JOB.get().map(|run| run.id).filter(|run| *run != id) else {
        return Ok(());
    };
    tx.prepare_cached(
        "UPDATE sync_history SET run_id = :id WHERE at = :now AND run_id = :expected",
    )?
    .execute(named_params! { ":id": id, ":expected": expected, ":now": now.to_string() })?;
    Ok(())
}

/// Writes down work that failed as a whole, with what was said and its code: as a run of its own, or at the end of the last one where
/// that failed in the same way and brought nothing. So an outage is a line, and its requests belong to it.
pub(crate) fn fail(
    tx: &Transaction<'_>,
    (object, kind): (&ObjectType, Kind),
    work: Work,
    (explanation, code): (&str, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    let last = tx
        .prepare_cached(
            "SELECT id, changed = 0 AND code IS :code
             FROM sync_runs
             WHERE object = :object AND kind = :kind
             ORDER BY id DESC
             LIMIT 1",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":kind": kind.as_str(), ":code": code },
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)),
        )
        .optional()?;
    let id = match last {
        Some((id, true)) => {
            add(tx, id, work)?;
            id
        }
        Some((_, false)) | None => begin(tx, object, kind, work, now)?,
    };
    take(tx, id, now)?;
    tx.prepare_cached(
        "UPDATE sync_runs
         SET finished_at = :now, error = :error, code = :code
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": id,
        ":error": explanation,
        ":code": code,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// The run that takes the work: an open one, or the last one where neither found anything.
fn open(
    connection: &Connection,
    object: &ObjectType,
    kind: Kind,
    work: Work,
) -> Result<Option<i64>, StoreError> {
    let last = connection
        .prepare_cached(
            "SELECT id, finished_at IS NULL, changed = 0 AND error IS NULL
             FROM sync_runs
             WHERE object = :object AND kind = :kind
             ORDER BY id DESC
             LIMIT 1",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":kind": kind.as_str() },
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, bool>(1)?,
                    row.get::<_, bool>(2)?,
                ))
            },
        )
        .optional()?;
    let joins = matches!(kind, Kind::Poll | Kind::Again) && work.changed == 0;
    Ok(last.and_then(|(id, is_open, found_nothing)| {
        (is_open || (joins && found_nothing)).then_some(id)
    }))
}

fn add(tx: &Transaction<'_>, id: i64, work: Work) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_runs
         SET requests = requests + :requests,
             seen = seen + :seen,
             changed = changed + :changed,
             finished_at = NULL
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": id,
        ":requests": work.requests as i64,
        ":seen": work.seen as i64,
        ":changed": work.changed as i64,
    })?;
    Ok(())
}

fn begin(
    tx: &Transaction<'_>,
    object: &ObjectType,
    kind: Kind,
    work: Work,
    now: Timestamp,
) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_runs (object, kind, started_at, requests, seen, changed)
         VALUES (:object, :kind, :now, :requests, :seen, :changed)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":kind": kind.as_str(),
        ":now": now.to_string(),
        ":requests": work.requests as i64,
        ":seen": work.seen as i64,
        ":changed": work.changed as i64,
    })?;
    Ok(tx.last_insert_rowid())
}

/// Says in the last run of an object what it met and could not read; the run goes on.
pub fn note(
    tx: &Transaction<'_>,
    object: &ObjectType,
    kind: Kind,
    explanation: Option<&str>,
) -> Result<(), StoreError> {
    let Some(explanation) = explanation else {
        return Ok(());
    };
    tx.prepare_cached(
        "UPDATE sync_runs
         SET error = :words, code = :code
         WHERE id = (SELECT max(id) FROM sync_runs WHERE object = :object AND kind = :kind)",
    )?
    .execute(
        named_params! { ":object": object.as_str(), ":kind": kind.as_str(), ":words": explanation, ":code": code_of(explanation) },
    )?;
    Ok(())
}

/// What a run's error is called: runs meet what they can't read; whatever else happens has a name of its own.
fn code_of(explanation: &str) -> &str {
    code_in(explanation).unwrap_or("unreadable-answer")
}

/// Ends the open run of an object, and keeps what was noted of it; nothing happens where none is open.
pub fn finish(
    tx: &Transaction<'_>,
    object: &ObjectType,
    kind: Kind,
    error: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_runs
         SET finished_at = :now, error = coalesce(:error, error), code = coalesce(:code, code)
         WHERE id = (
             SELECT id
             FROM sync_runs
             WHERE object = :object AND kind = :kind
             ORDER BY id DESC
             LIMIT 1
         )
           AND finished_at IS NULL",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":kind": kind.as_str(),
        ":error": error,
        ":code": error.map(code_of),
        ":now": now.to_string(),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::LocalId;
    use crate::store::history::{self, Change};
    use crate::store::testing::{at_once, folder, now, open as open_store};
    use crate::store::{Lane, Mode, Store};

    type Shown = (bool, i64, i64, Option<String>);

    fn shown(connection: &Connection) -> Vec<Shown> {
        let sql =
            "SELECT finished_at IS NOT NULL, requests, changed, error FROM sync_runs ORDER BY id";
        let mut statement = connection.prepare(sql).expect("prepares");
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .expect("runs");
        rows.collect::<Result<_, _>>().expect("reads")
    }

    #[test]
    fn what_fails_in_the_same_way_again_is_one_run() {
        let folder = folder();
        let store = open_store(&folder, Mode::Inline).expect("opens");
        let contacts = ObjectType::parse("contacts").expect("a name");
        let rows = at_once(store.write(Lane::Bulk, move |tx| {
            let sent = |changed| Work {
                requests: 1,
                seen: 2,
                changed,
            };
            let push = (&contacts, Kind::Push);
            for code in ["gateway", "gateway", "timeout"] {
                fail(tx, push, sent(0), (&format!("it says {code}"), code), now())?;
            }
            extend(tx, &contacts, Kind::Push, sent(2), now())?;
            finish(tx, &contacts, Kind::Push, None, now())?;
            fail(tx, push, sent(0), ("it says timeout", "timeout"), now())?;
            Ok(shown(tx))
        }));
        let failed = |requests, words: &str| (true, requests, 0, Some(words.to_owned()));
        assert_eq!(
            rows.expect("written"),
            [
                failed(2, "it says gateway"),
                failed(1, "it says timeout"),
                (true, 1, 2, None),
                failed(1, "it says timeout"),
            ]
        );
    }

    /// Writes so many lines of history, as a job of a run that changed so many records does. Gives the run of each line of the table
    /// and how many rows were written in all.
    fn told(store: &Store, kind: Kind, (lines, changed): (i64, usize)) -> (Vec<Option<i64>>, u64) {
        let contacts = ObjectType::parse("contacts").expect("a name");
        let written = store.write(Lane::Bulk, move |tx| {
            let before = tx.total_changes();
            let run = begin_job(tx, &contacts, kind)?;
            for line in 0..lines {
                let change = Change {
                    object: &contacts,
                    local_id: LocalId(line),
                    hs_id: None,
                    property: "city",
                    old: None,
                    new: Some("Rome"),
                    origin: if kind == Kind::Push {
                        Origin::Push
                    } else {
                        Origin::Poll
                    },
                };
                history::record(tx, change, tx.now())?;
            }
            let work = Work {
                requests: 1,
                seen: changed,
                changed,
            };
            extend(tx, &contacts, kind, work, tx.now())?;
            finish(tx, &contacts, kind, None, tx.now())?;
            drop(run);
            let rows = tx.total_changes() - before;
            let mut runs = tx.prepare("SELECT run_id FROM sync_history ORDER BY id")?;
            let runs = runs.query_map([], |row| row.get(0))?;
            Ok((runs.collect::<Result<_, _>>()?, rows))
        });
        at_once(written).expect("written")
    }

    #[test]
    fn a_line_of_history_is_written_once_with_the_run_that_brings_it() {
        let folder = folder();
        let store = open_store(&folder, Mode::Inline).expect("opens");
        // The run, with its end, and the lines.
        assert_eq!(told(&store, Kind::Poll, (40, 40)), (vec![Some(1); 40], 42));
        let (runs, rows) = told(&store, Kind::Push, (2, 2));
        assert_eq!((&runs[40..], rows), (&[Some(2); 2][..], 4));
        // A poll that found nothing, and one that joins it though it had something to say.
        told(&store, Kind::Poll, (0, 0));
        let (runs, _) = told(&store, Kind::Poll, (1, 0));
        assert_eq!(runs[42..], [Some(3)]);
        // What no run brings has none.
        let of_none = store.write(Lane::Bulk, |tx| Ok((of_line(Origin::Poll), next(tx)?)));
        assert_eq!(at_once(of_none).expect("asked"), (None, 4));
    }

    #[test]
    fn polls_that_found_nothing_extend_the_last_row() {
        let folder = folder();
        let store = open_store(&folder, Mode::Inline).expect("opens");
        let contacts = ObjectType::parse("contacts").expect("a name");
        let rows = at_once(store.write(Lane::Bulk, move |tx| {
            for (changed, error) in [
                (0, None),
                (0, None),
                (3, None),
                (0, None),
                (0, Some("refused")),
                (0, None),
            ] {
                extend(
                    tx,
                    &contacts,
                    Kind::Poll,
                    Work {
                        requests: 1,
                        seen: 0,
                        changed,
                    },
                    now(),
                )?;
                finish(tx, &contacts, Kind::Poll, error, now())?;
                finish(tx, &contacts, Kind::Poll, Some("nothing is open"), now())?;
            }
            extend(
                tx,
                &contacts,
                Kind::Backfill,
                Work {
                    requests: 1,
                    seen: 100,
                    changed: 100,
                },
                now(),
            )?;
            extend(
                tx,
                &contacts,
                Kind::Backfill,
                Work {
                    requests: 1,
                    seen: 50,
                    changed: 50,
                },
                now(),
            )?;
            Ok(shown(tx))
        }));
        let refused = Some("refused".to_owned());
        let expected = [
            (true, 2, 0, None),
            (true, 1, 3, None),
            (true, 2, 0, refused),
            (true, 1, 0, None),
            (false, 2, 150, None),
        ];
        assert_eq!(rows.expect("writes"), expected);
    }
}
