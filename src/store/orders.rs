//! `sync_commands`, what programs ask of the daemon by SQL; how far each is (`_sync_command_work`); and what is paused.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::decision::commands::{OrderProgress, PausedSide, RefusedOrder, SqlOrder};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::{StoreError, cursors, runs};

/// A command that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenOrder {
    pub id: i64,
    pub command: String,
    pub object: Option<String>,
    pub argument: Option<String>,
    pub is_running: bool,
    /// The last of its equals that were noticed with it while they waited.
    pub last: i64,
}

/// Those that wait or run, one of several equal ones that are carried out together, the oldest first. Equal ones are not one where
/// some were noticed when the others ran already: those are answered by what is read from then on. Neither are two that pause with
/// a resume between them, or the other way round: what was written last is what holds.
pub(crate) fn open(connection: &Connection) -> Result<Vec<OpenOrder>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT min(id), command, object, argument, 0, max(id)
         FROM (SELECT id, command, object, argument,
                      CASE command
                          WHEN 'pause' THEN sum(command = 'resume') OVER former
                          WHEN 'resume' THEN sum(command = 'pause') OVER former
                      END AS opposite
               FROM sync_commands
               WHERE state = 'waiting'
               WINDOW former AS (ORDER BY id))
         GROUP BY command, object, argument, opposite
         UNION ALL
         SELECT id, command, object, argument, 1, id
         FROM sync_commands AS c
         WHERE state = 'running'
           AND (EXISTS (SELECT 1 FROM _sync_command_work WHERE command_id = c.id)
                OR NOT EXISTS (SELECT 1
                               FROM sync_commands AS former
                               WHERE former.command = c.command AND former.object IS c.object AND former.argument IS c.argument
                                 AND former.state = 'running' AND former.id < c.id))
         ORDER BY 1",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(OpenOrder {
            id: row.get(0)?,
            command: row.get(1)?,
            object: row.get(2)?,
            argument: row.get(3)?,
            is_running: row.get(4)?,
            last: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How far a command is with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderWork {
    pub object: String,
    /// HubSpot's time when it was noticed.
    pub noticed_at: Timestamp,
    /// This machine's.
    pub began_at: Timestamp,
    /// The page where a walk of its own goes on.
    pub after: Option<String>,
    /// Records that such a walk has read.
    pub seen: u64,
    pub is_done: bool,
    /// Whether HubSpot lets the object's records be read.
    pub is_readable: bool,
}

/// A command that was noticed while it waited, by the first of its equals that still does; `None`: somebody has taken all of them
/// back since.
pub(crate) fn still_waiting(
    tx: &Transaction<'_>,
    order: &OpenOrder,
) -> Result<Option<OpenOrder>, StoreError> {
    let first: Option<i64> = tx
        .prepare_cached(
            "SELECT min(id)
             FROM sync_commands
             WHERE command = :command AND object IS :object AND argument IS :argument AND state = 'waiting'
               AND id BETWEEN :first AND :last",
        )?
        .query_row(
            named_params! {
                ":command": order.command,
                ":object": order.object,
                ":argument": order.argument,
                ":first": order.id,
                ":last": order.last,
            },
            |row| row.get(0),
        )?;
    Ok(first.map(|id| OpenOrder {
        id,
        ..order.clone()
    }))
}

/// Begins a command, and all that are equal and were noticed with it, with these objects.
pub(crate) fn begin(
    tx: &Transaction<'_>,
    order: &OpenOrder,
    objects: &[ObjectType],
    (noticed_at, now): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    for object in objects {
        tx.prepare_cached(
            "INSERT INTO _sync_command_work (command_id, object, noticed_at, began_at, history_from, calls_from, seen_from)
             VALUES (:id, :object, :noticed_at, :now,
                     coalesce((SELECT max(id) FROM sync_history), 0), coalesce((SELECT max(id) FROM sync_calls), 0),
                     coalesce((SELECT sum(seen) FROM sync_runs WHERE object = :object AND kind = :command), 0))
             ON CONFLICT (command_id, object) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": order.id,
            ":object": object.as_str(),
            ":command": order.command,
            ":noticed_at": noticed_at.to_string(),
            ":now": now.to_string(),
        })?;
    }
    set(tx, order, "state = 'running'", "waiting", named_params! {})
}

/// Changes a command and its equals that are carried out with it: not those that were noticed or begun later.
fn set(
    tx: &Transaction<'_>,
    order: &OpenOrder,
    change: &str,
    state: &str,
    values: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE sync_commands SET {change}
         WHERE command = :command AND object IS :object AND argument IS :argument AND state = :former
           AND id >= :first
           AND (id <= :last OR state = 'running')
           AND NOT EXISTS (SELECT 1
                           FROM _sync_command_work AS w
                           JOIN sync_commands AS later ON later.id = w.command_id
                           WHERE w.command_id > :first AND w.command_id <= sync_commands.id
                             AND later.command = :command AND later.object IS :object AND later.argument IS :argument)"
    );
    let mut all: Vec<(&str, &dyn rusqlite::ToSql)> = vec![
        (":command", &order.command),
        (":object", &order.object),
        (":argument", &order.argument),
        (":former", &state),
        (":first", &order.id),
        (":last", &order.last),
    ];
    all.extend_from_slice(values);
    tx.prepare_cached(&sql)?.execute(&all[..])?;
    Ok(())
}

/// Renews what is told of a running command.
pub(crate) fn tell(
    tx: &Transaction<'_>,
    order: &OpenOrder,
    result: &str,
) -> Result<(), StoreError> {
    set(
        tx,
        order,
        "result = :result",
        "running",
        named_params! { ":result": result },
    )
}

/// Ends a command that waited or ran, and its equals.
pub(crate) fn finish(
    tx: &Transaction<'_>,
    order: &OpenOrder,
    ended: Result<String, (&'static str, RefusedOrder)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let former = if order.is_running {
        "running"
    } else {
        "waiting"
    };
    let (state, result, code) = match ended {
        Ok(result) => ("done", result, None),
        Err((state, refused)) => (state, refused.explanation, Some(refused.code)),
    };
    let run: Option<i64> = tx
        .prepare_cached(
            "SELECT max(r.id)
             FROM sync_runs AS r JOIN _sync_command_work AS w ON w.object = r.object
             WHERE w.command_id = :id AND r.kind = CASE :command WHEN 'refetch' THEN 'poll' ELSE :command END
               AND coalesce(r.finished_at, w.began_at) >= w.began_at",
        )?
        .query_row(named_params! { ":id": order.id, ":command": order.command }, |row| row.get(0))?;
    set(
        tx,
        order,
        "state = :state, result = :result, code = :code, finished_at = :now, run_id = :run",
        former,
        named_params! {
            ":state": state,
            ":result": result,
            ":code": code,
            ":now": now.to_string(),
            ":run": run,
        },
    )?;
    tx.prepare_cached("DELETE FROM _sync_command_work WHERE command_id = :id")?
        .execute(named_params! { ":id": order.id })?;
    Ok(())
}

/// How far a command is with each of its objects.
pub(crate) fn work(connection: &Connection, id: i64) -> Result<Vec<OrderWork>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT w.object, w.noticed_at, w.began_at, w.after, w.seen, w.is_done, coalesce(k.is_readable, 1)
         FROM _sync_command_work AS w
         LEFT JOIN _sync_cursors AS k ON k.object = w.object
         WHERE w.command_id = :id
         ORDER BY w.object",
    )?;
    let time = |text: String| Timestamp::parse(&text).unwrap_or(Timestamp::EPOCH);
    let rows = statement.query_map(named_params! { ":id": id }, |row| {
        Ok(OrderWork {
            object: row.get(0)?,
            noticed_at: time(row.get(1)?),
            began_at: time(row.get(2)?),
            after: row.get(3)?,
            seen: row.get::<_, i64>(4)?.unsigned_abs(),
            is_done: row.get(5)?,
            is_readable: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that a command is done with an object.
pub(crate) fn object_is_done(
    tx: &Transaction<'_>,
    id: i64,
    object: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_command_work SET is_done = 1 WHERE command_id = :id AND object = :object",
    )?
    .execute(named_params! { ":id": id, ":object": object })?;
    Ok(())
}

/// Moves a walk of a command's own to its next page; without one it is done.
pub(crate) fn walk_on(
    tx: &Transaction<'_>,
    (id, object): (i64, &ObjectType),
    after: Option<&str>,
    work: runs::Work,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_command_work
         SET after = :after,
             seen = seen + :seen,
             changed = changed + :changed,
             requests = requests + :requests,
             is_done = :after IS NULL
         WHERE command_id = :id AND object = :object",
    )?
    .execute(named_params! {
        ":id": id,
        ":object": object.as_str(),
        ":after": after,
        ":seen": work.seen as i64,
        ":changed": work.changed as i64,
        ":requests": work.requests as i64,
    })?;
    Ok(())
}

/// What a command has done so far: by its own walk where it has one, else by the runs of its kind since it began, or by the records
/// that it names. Whatever others read and change meanwhile is theirs.
pub(crate) fn progress(
    connection: &Connection,
    order: &OpenOrder,
    wish: &SqlOrder,
) -> Result<OrderProgress, StoreError> {
    let ids = wish.ids();
    let named: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(CASE
                     WHEN :walks THEN w.seen
                     ELSE max(coalesce((SELECT sum(r.seen) FROM sync_runs AS r
                                        WHERE r.object = w.object AND r.kind = :command), 0) - w.seen_from, 0)
                 END), 0),
                coalesce(sum(CASE
                     WHEN :walks THEN w.changed
                     ELSE (SELECT count(DISTINCT h.local_id)
                           FROM sync_history AS h LEFT JOIN sync_runs AS r ON r.id = h.run_id
                           WHERE h.id > w.history_from AND h.object = w.object
                             AND CASE
                                 WHEN :is_by_id THEN h.run_id IS NULL AND h.origin = 'poll'
                                      AND h.hs_id IN (SELECT value FROM json_each(:named))
                                 -- What a comparison finds otherwise is read one by one.
                                 ELSE r.kind = :command OR (h.run_id IS NULL AND h.origin = :command AND :command = 'reconcile')
                             END)
                 END), 0),
                coalesce(sum(CASE
                     WHEN :walks THEN w.requests
                     ELSE (SELECT count(*)
                           FROM sync_calls AS c LEFT JOIN sync_runs AS r ON r.id = c.run_id
                           WHERE c.id > w.calls_from
                             AND CASE
                                 WHEN :is_by_id THEN c.run_id IS NULL AND c.class = 'read' AND instr(c.path, '/' || w.object) > 0
                                 ELSE r.kind = :command AND r.object = w.object
                             END)
                 END), 0),
                coalesce(sum((SELECT count(*) FROM _sync_removals AS m
                              WHERE m.object = w.object AND m.hold_id IS NOT NULL AND :command = 'reconcile')), 0)
         FROM _sync_command_work AS w
         WHERE w.command_id = :id",
    )?;
    let number = |row: &rusqlite::Row<'_>, index| row.get::<_, i64>(index).map(i64::unsigned_abs);
    let own = named_params! {
        ":id": order.id,
        ":command": order.command,
        ":is_by_id": !ids.is_empty(),
        ":named": serde_json::json!(named).to_string(),
        ":walks": wish.walks(),
    };
    let mut progress = statement.query_row(own, |row| {
        Ok(OrderProgress {
            seen: number(row, 0)?,
            total: None,
            changed: number(row, 1)?,
            requests: number(row, 2)?,
            held: number(row, 3)?,
        })
    })?;
    if !ids.is_empty() {
        let left = unread(connection, order.object.as_deref().unwrap_or_default(), ids)?;
        progress.total = Some(ids.len() as u64);
        progress.seen = ids.len() as u64 - left;
    }
    Ok(progress)
}

/// How many of these records are still to be read.
pub(crate) fn unread(
    connection: &Connection,
    object: &str,
    ids: &[HubspotId],
) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM _sync_reads WHERE object = :object AND hs_id = :id AND problem IS NULL",
    )?;
    let mut left = 0;
    for id in ids {
        let own = named_params! { ":object": object, ":id": id.0 };
        left += u64::from(statement.exists(own)?);
    }
    Ok(left)
}

/// Whether reads or removals of an object are still to be done.
pub(crate) fn is_settling(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM _sync_reads WHERE object = :object AND problem IS NULL AND due_at <= :now AND asked > 0
             UNION ALL
             SELECT 1 FROM _sync_removals WHERE object = :object AND problem IS NULL AND hold_id IS NULL",
        )?
        .exists(named_params! { ":object": object.as_str(), ":now": now.to_string() })?)
}

/// Has an object compared from the beginning.
pub(crate) fn compare(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    cursors::compare(tx, object, now)
}

/// Pauses a side, or goes on with it. It holds across restarts.
pub(crate) fn pause(
    tx: &Transaction<'_>,
    side: PausedSide,
    is_paused: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = if is_paused {
        "INSERT INTO _sync_pauses (side, at) VALUES (:side, :now) ON CONFLICT (side) DO NOTHING"
    } else {
        "DELETE FROM _sync_pauses WHERE side = :side AND :now IS NOT NULL"
    };
    tx.prepare_cached(sql)?
        .execute(named_params! { ":side": side.as_str(), ":now": now.to_string() })?;
    Ok(())
}

/// The sides that are paused.
pub(crate) fn paused(connection: &Connection) -> Result<Vec<PausedSide>, StoreError> {
    let mut sides = Vec::new();
    for side in [PausedSide::Push, PausedSide::Pull] {
        if is_paused(connection, side)? {
            sides.push(side);
        }
    }
    Ok(sides)
}

/// Whether a side is paused.
pub(crate) fn is_paused(connection: &Connection, side: PausedSide) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM _sync_pauses WHERE side = :side")?
        .query_row(named_params! { ":side": side.as_str() }, |_| Ok(()))
        .optional()?
        .is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open as open_store, texts};
    use crate::store::{Lane, Mode};

    /// What waits, as a look at it gives it: each with the last of its equals.
    fn noticed(folder: &tempfile::TempDir) -> Vec<OpenOrder> {
        open(&crate::store::testing::connection(folder)).expect("reads")
    }

    fn tell_all(folder: &tempfile::TempDir, rows: &[(&str, &str)]) {
        let program = crate::store::testing::daemons_connection(folder);
        for (command, argument) in rows {
            let argument = (!argument.is_empty()).then_some(*argument);
            program
                .execute(
                    "INSERT INTO sync_commands (command, argument) VALUES (?1, ?2)",
                    (command, argument),
                )
                .expect("written");
        }
    }

    #[test]
    fn equal_ones_are_one_unless_one_of_the_opposite_word_lies_between() {
        let check = |rows: &[(&str, &str)], expected: &[(i64, i64)]| {
            let folder = folder();
            drop(open_store(&folder, Mode::Inline).expect("opens"));
            tell_all(&folder, rows);
            let found = noticed(&folder);
            let found: Vec<(i64, i64)> = found.iter().map(|one| (one.id, one.last)).collect();
            assert_eq!(found, expected, "{rows:?}");
        };
        let (pause, resume, poll) = (("pause", ""), ("resume", ""), ("poll", ""));
        check(&[pause, pause, resume], &[(1, 2), (3, 3)]);
        check(&[pause, resume, pause], &[(1, 1), (2, 2), (3, 3)]);
        check(&[resume, pause, pause, resume], &[(1, 1), (2, 3), (4, 4)]);
        let push = ("pause", "push");
        check(&[push, resume, push], &[(1, 1), (2, 2), (3, 3)]);
        check(&[push, pause, push], &[(1, 3), (2, 2)]);
        // What is read once all of them were written answers all of them.
        check(
            &[poll, pause, poll, resume, poll],
            &[(1, 5), (2, 2), (4, 4)],
        );
    }

    #[test]
    fn one_that_is_taken_back_after_it_was_noticed_leaves_its_turn_to_its_equals() {
        let folder = folder();
        let store = open_store(&folder, Mode::Inline).expect("opens");
        tell_all(&folder, &[("poll", ""), ("poll", "")]);
        let noticed = noticed(&folder).remove(0);
        // Another is written meanwhile: it is noticed later, and by a later time of HubSpot's.
        tell_all(&folder, &[("poll", "")]);
        let take_back = |id: i64| {
            crate::store::testing::daemons_connection(&folder)
                .execute("DELETE FROM sync_commands WHERE id = ?1", [id])
                .expect("it waits");
        };
        let still = || {
            let noticed = noticed.clone();
            let still = store.write(Lane::Interactive, move |tx| still_waiting(tx, &noticed));
            at_once(still).expect("reads")
        };
        take_back(1);
        let second = still().expect("its equal waits");
        assert_eq!((second.id, second.last), (2, 2));
        take_back(2);
        assert_eq!(still(), None);
        let contacts = ObjectType::parse("contacts").expect("an object");
        let begun = store.write(Lane::Interactive, move |tx| {
            begin(tx, &second, &[contacts], (now(), now()))
        });
        at_once(begun).expect("written");
        assert_eq!(
            texts(&folder, "SELECT state FROM sync_commands"),
            ["waiting"]
        );
    }
}
