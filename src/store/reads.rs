//! Records that must be read from HubSpot's store, records that left the mirror, and rows that wait to be removed.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

pub(crate) use crate::decide::incoming::reading::{Archived, Due, Removal};
use crate::decide::retry::{latest_due, rest_of_refused};
use crate::model::id::{HoldId, HubspotId};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::history::Origin;
use crate::store::shape::ddl::literal;
use crate::store::shape::views;

/// Asks for a read of a record. An earlier request for the same record stays, with the earlier time. Returns how often
/// it was asked for: the number of the read that answers this request.
pub(crate) fn ask(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    origin: Origin,
    due: Timestamp,
) -> Result<i64, StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO _sync_reads (object, hs_id, origin, due_at)
         VALUES (:object, :id, :origin, :due)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET due_at = iif(asked = 0, excluded.due_at, min(due_at, excluded.due_at)),
             problem = iif(asked = 0, NULL, problem),
             asked = asked + 1
         RETURNING asked",
    )?;
    let number = statement.query_row(
        named_params! {
            ":object": object.as_str(),
            ":id": id.0,
            ":origin": origin.as_str(),
            ":due": due.to_string(),
        },
        |row| row.get(0),
    )?;
    Ok(number)
}

/// Asks for a later read of a record that its table refused, after a rest that grows with each try, and keeps the words
/// until that read is done. Tells whether they are news.
pub(crate) fn ask_refused(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    origin: Origin,
    now: Timestamp,
    explanation: &str,
) -> Result<bool, StoreError> {
    let former: Option<(Option<String>, u32, bool)> = tx
        .prepare_cached(
            "SELECT problem, refusals, asked = 0 FROM _sync_reads WHERE object = :object AND hs_id = :id",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let (is_news, refusals) = match former {
        // A page that shows it during its rest is no further try.
        Some((Some(problem), refusals, is_done)) => {
            (problem != explanation, refusals + u32::from(is_done))
        }
        Some((None, _, _)) | None => (true, 1),
    };
    ask(tx, object, id, origin, now + rest_of_refused(refusals))?;
    tx.prepare_cached(
        "UPDATE _sync_reads
         SET problem = :words, refusals = :refusals
         WHERE object = :object AND hs_id = :id",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": id.0,
        ":words": explanation,
        ":refusals": refusals,
    })?;
    Ok(is_news)
}

/// Makes due what tables have refused of an object: whoever calls may have mended what refused it.
pub(crate) fn try_refused(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_reads
         SET due_at = :now
         WHERE object = :object AND problem IS NOT NULL AND due_at > :now",
    )?
    .execute(named_params! { ":object": object.as_str(), ":now": now.to_string() })?;
    tx.prepare_cached(
        "UPDATE _sync_removals
         SET due_at = NULL
         WHERE object = :object AND problem IS NOT NULL AND hold_id IS NULL",
    )?
    .execute(named_params! { ":object": object.as_str() })?;
    Ok(())
}

/// How many records of an object tables refuse, in or out, and why they refuse one of them.
pub fn refused(
    connection: &Connection,
    object: &ObjectType,
) -> Result<(u64, Option<String>), StoreError> {
    let sql = format!(
        "SELECT count(*), min(problem) FROM ({})",
        views::refused(&literal(object.as_str()))
    );
    Ok(connection.query_row(&sql, [], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
    })?)
}

/// Reads that are due, at most `limit`, with where they came from. A time that no wait explains was written by a clock
/// that was ahead: it is due.
pub fn due(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id, origin, asked
         FROM _sync_reads
         WHERE object = :object AND (due_at <= :now OR due_at > :latest)
         ORDER BY due_at, hs_id
         LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":object": object.as_str(),
            ":now": now.to_string(),
            ":latest": latest_due(now).to_string(),
            ":limit": limit as i64,
        },
        |row| {
            let origin: String = row.get(1)?;
            Ok(Due {
                id: HubspotId(row.get(0)?),
                // It only names where a change came from: a record is not left unread for it.
                origin: Origin::parse(&origin).unwrap_or(Origin::Poll),
                number: row.get(2)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the next read falls due.
pub(crate) fn next_due(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT min(due_at) FROM _sync_reads WHERE object = :object")?
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// A read is done; one that was asked for again while it ran is due once more. What the table had refused of it before is
/// known until `end_done`.
pub fn done(tx: &Transaction<'_>, object: &ObjectType, due: Due) -> Result<(), StoreError> {
    let of = named_params! { ":object": object.as_str(), ":id": due.id.0, ":number": due.number };
    let done = tx
        .prepare_cached(
            "DELETE FROM _sync_reads
             WHERE object = :object AND hs_id = :id AND asked <= :number AND problem IS NULL",
        )?
        .execute(of)?;
    // Its table has refused it: the sentence stands until `end_done`, so that a status in between does not lose it.
    if done == 0 {
        tx.prepare_cached(
            "UPDATE _sync_reads
             SET asked = 0
             WHERE object = :object AND hs_id = :id AND asked <= :number",
        )?
        .execute(of)?;
    }
    Ok(())
}

/// Ends the reads that are done and were not asked for again.
pub(crate) fn end_done(tx: &Transaction<'_>, object: &ObjectType) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_reads WHERE object = :object AND problem IS NOT NULL AND asked = 0",
    )?
    .execute(named_params! { ":object": object.as_str() })?;
    Ok(())
}

/// What of a record falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FallsDue {
    /// Its read.
    Read,
    /// The removal of its row.
    Removal,
}

/// Puts off what falls due of a record.
pub(crate) fn put_off(
    tx: &Transaction<'_>,
    what: FallsDue,
    object: &ObjectType,
    id: HubspotId,
    due: Timestamp,
) -> Result<(), StoreError> {
    let sql = match what {
        FallsDue::Read => {
            "UPDATE _sync_reads SET due_at = :due WHERE object = :object AND hs_id = :id"
        }
        FallsDue::Removal => {
            "UPDATE _sync_removals SET due_at = :due WHERE object = :object AND hs_id = :id"
        }
    };
    tx.prepare_cached(sql)?.execute(
        named_params! { ":object": object.as_str(), ":id": id.0, ":due": due.to_string() },
    )?;
    Ok(())
}

/// Remembers that a record left the mirror, so that an old page or a late search hit does not bring it back.
pub(crate) fn bury(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_tombstones (object, hs_id, at)
         VALUES (:object, :id, :now)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET at = excluded.at",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":now": now.to_string() })?;
    Ok(())
}

/// When a record left the mirror, where that was lately.
pub(crate) fn buried_at(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT at FROM _sync_tombstones WHERE object = :object AND hs_id = :id")?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0),
        )
        .optional()?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// Forgets a tombstone: the record is back.
pub(crate) fn unbury(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_tombstones WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(())
}

/// Notes when what is still known of a buried record is to be erased, unless it shows itself again; `None`: never, since it
/// has, or nothing is known of it any more.
pub(crate) fn erase_later(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    at: Option<Timestamp>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_tombstones SET erase_at = :at WHERE object = :object AND hs_id = :id",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":at": at.map(|at| at.to_string()) })?;
    Ok(())
}

/// Buried records of which what is still known is to be erased by now, at most `limit`.
pub(crate) fn to_be_erased(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id
         FROM _sync_tombstones
         WHERE object = :object AND erase_at <= :now
         ORDER BY hs_id
         LIMIT :limit",
    )?;
    let ids = statement.query_map(
        named_params! { ":object": object.as_str(), ":now": now.to_string(), ":limit": limit as i64 },
        |row| row.get(0).map(HubspotId),
    )?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Forgets tombstones older than `before`.
pub(crate) fn forget_tombstones(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM _sync_tombstones WHERE at < :before AND erase_at IS NULL",
        named_params! { ":before": before.to_string() },
    )?;
    Ok(())
}

/// Notes that HubSpot no longer has a record: counted first, then removed or held.
pub(crate) fn note_removal(
    tx: &Transaction<'_>,
    object: &ObjectType,
    removal: Removal,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_removals (object, hs_id, archived, archived_at, seen_at, origin)
         VALUES (:object, :id, :archived, :archived_at, :now, :origin)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET archived = excluded.archived, archived_at = excluded.archived_at, seen_at = excluded.seen_at, due_at = NULL",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": removal.id.0,
        ":archived": removal.archived.is_shown(),
        ":archived_at": removal.archived.at().map(|at| at.to_string()),
        ":now": now.to_string(),
        ":origin": removal.origin.as_str(),
    })?;
    Ok(())
}

/// Puts a removal off that a constraint of somebody else's refused, with the words, each time for longer. Tells whether
/// they are news.
pub(crate) fn refuse_removal(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
    explanation: &str,
) -> Result<bool, StoreError> {
    let of = named_params! { ":object": object.as_str(), ":id": id.0 };
    let (former, refusals): (Option<String>, u32) = tx
        .prepare_cached(
            "SELECT problem, refusals FROM _sync_removals WHERE object = :object AND hs_id = :id",
        )?
        .query_row(of, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or_default();
    let refusals = refusals + 1;
    tx.prepare_cached(
        "UPDATE _sync_removals
         SET due_at = :due, problem = :words, refusals = :refusals
         WHERE object = :object AND hs_id = :id",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": id.0,
        ":due": (now + rest_of_refused(refusals)).to_string(),
        ":words": explanation,
        ":refusals": refusals,
    })?;
    Ok(former.as_deref() != Some(explanation))
}

/// When the next removal falls due, later than `now`, that was refused and that no hold has.
pub(crate) fn next_removal(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(
            "SELECT min(due_at)
             FROM _sync_removals
             WHERE object = :object AND hold_id IS NULL AND due_at > :now",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":now": now.to_string() },
            |row| row.get(0),
        )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// Forgets a removal: the record is back, or its row is gone.
pub(crate) fn forget_removal(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_removals WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(())
}

/// When a record was found to be gone whose row waits for its removal.
pub(crate) fn removal_noted_at(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(
            "SELECT seen_at FROM _sync_removals WHERE object = :object AND hs_id = :id",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0),
        )
        .optional()?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// Whether a record is known to be gone, and its row waits for its removal.
pub(crate) fn is_removal_noted(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    Ok(removal_noted_at(connection, object, id)?.is_some())
}

/// Removals that no hold has yet, or those of one hold, and that were not refused lately; at most `limit`.
pub fn removals(
    connection: &Connection,
    object: &ObjectType,
    hold: Option<HoldId>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Removal>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id, iif(archived, coalesce(archived_at, ''), NULL), origin
         FROM _sync_removals
         WHERE object = :object AND hold_id IS :hold AND (due_at IS NULL OR due_at <= :now)
         ORDER BY hs_id
         LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! { ":object": object.as_str(), ":hold": hold.map(|hold| hold.0), ":now": now.to_string(), ":limit": limit as i64 },
        |row| Ok((HubspotId(row.get(0)?), row.get::<_, Option<String>>(1)?, row.get::<_, String>(2)?)),
    )?;
    rows.map(|row| {
        let (id, archived, origin) = row?;
        Ok(Removal {
            id,
            archived: match archived {
                Some(at) => Archived::Shown(Timestamp::parse(&at)),
                None => Archived::Unshown,
            },
            origin: Origin::parse(&origin).unwrap_or(Origin::Reconcile),
        })
    })
    .collect()
}

/// How many removals no hold has yet, or how many a hold has.
pub(crate) fn count_removals(
    connection: &Connection,
    object: &ObjectType,
    hold: Option<HoldId>,
) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM _sync_removals WHERE object = :object AND hold_id IS :hold",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":hold": hold.map(|hold| hold.0) },
            |row| row.get(0),
        )?;
    Ok(count.unsigned_abs())
}

/// How many removals no hold has yet and nothing has refused lately.
pub(crate) fn count_due_removals(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*)
             FROM _sync_removals
             WHERE object = :object AND hold_id IS NULL AND (due_at IS NULL OR due_at <= :now)",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":now": now.to_string() },
            |row| row.get(0),
        )?;
    Ok(count.unsigned_abs())
}

/// Puts all uncounted removals of an object under a hold.
pub(crate) fn hold_removals(
    tx: &Transaction<'_>,
    object: &ObjectType,
    hold: HoldId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_removals SET hold_id = :hold WHERE object = :object AND hold_id IS NULL",
    )?
    .execute(named_params! { ":object": object.as_str(), ":hold": hold.0 })?;
    Ok(())
}

/// Whether a read of a record is asked for.
pub(crate) fn is_asked(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM _sync_reads WHERE object = :object AND hs_id = :id")?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.is_some())
}

/// When the read of a record that is asked for falls due.
pub(crate) fn asked_for(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT due_at FROM _sync_reads WHERE object = :object AND hs_id = :id")?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0),
        )
        .optional()?;
    Ok(text.map(|text| Timestamp::parse(&text).unwrap_or_default()))
}

/// Notes that a record's data must be erased once HubSpot no longer has it; also one that was erased before.
pub(crate) fn note_erasure(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_erasures (object, hs_id, asked_at)
         VALUES (:object, :id, :now)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET asked_at = excluded.asked_at, erased_at = NULL
         WHERE erased_at IS NOT NULL",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":now": now.to_string() })?;
    Ok(())
}

/// Whether a record was erased, or is to be.
pub(crate) fn is_to_be_erased(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM _sync_erasures WHERE object = :object AND hs_id = :id")?
        .exists(named_params! { ":object": object.as_str(), ":id": id.0 })?)
}

/// When the erasure of a record was asked for that is not done.
pub(crate) fn erasure_asked_at(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(
            "SELECT asked_at
             FROM _sync_erasures
             WHERE object = :object AND hs_id = :id AND erased_at IS NULL",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0),
        )
        .optional()?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// Notes that a record was erased: values that late events carry are not kept.
pub(crate) fn note_erased(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_erasures (object, hs_id, asked_at, erased_at)
         VALUES (:object, :id, :now, :now)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET erased_at = excluded.erased_at",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":now": now.to_string() })?;
    Ok(())
}

/// What was erased at or after a time.
pub(crate) fn erased_since(
    connection: &Connection,
    since: &str,
) -> Result<Vec<(String, HubspotId)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, hs_id
         FROM _sync_erasures
         WHERE erased_at >= :since
         ORDER BY object, hs_id",
    )?;
    let rows = statement.query_map(named_params! { ":since": since }, |row| {
        Ok((row.get(0)?, HubspotId(row.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets erasures that were done before `before`.
pub(crate) fn forget_erased(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM _sync_erasures WHERE erased_at < :before",
        named_params! { ":before": before.to_string() },
    )?;
    Ok(())
}

/// Forgets an erasure: HubSpot still has the record.
pub(crate) fn forget_erasure(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_erasures WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode};

    #[test]
    fn a_refusal_is_news_until_its_words_change_or_a_read_was_taken_and_rests_longer_after_each_try()
     {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let contacts = ObjectType::parse("contacts").expect("a name");
        let done = at_once(store.write(Lane::Bulk, move |tx| {
            let minute = |minutes| now() + Duration::from_mins(minutes);
            let refuse = |explanation: &str, at| -> Result<(bool, Option<Timestamp>), StoreError> {
                let id = HubspotId(1);
                let is_news = ask_refused(tx, &contacts, id, Origin::Poll, at, explanation)?;
                Ok((is_news, next_due(tx, &contacts)?))
            };
            let read = |at| -> Result<(), StoreError> {
                for found in due(tx, &contacts, at, 10)? {
                    super::done(tx, &contacts, found)?;
                }
                Ok(())
            };
            assert_eq!(refuse("taken", now())?, (true, Some(minute(1))));
            // Pages show it meanwhile.
            let second = now() + Duration::from_secs(1);
            assert_eq!(refuse("taken", second)?, (false, Some(minute(1))));
            read(minute(1))?;
            assert_eq!(refuse("taken", minute(1))?, (false, Some(minute(3))));
            end_done(tx, &contacts)?;
            assert_eq!(refuse("too long", minute(2))?, (true, Some(minute(3))));
            assert_eq!(refused(tx, &contacts)?, (1, Some("too long".to_owned())));
            read(minute(3))?;
            end_done(tx, &contacts)?;
            assert_eq!(refused(tx, &contacts)?, (0, None));
            assert_eq!(refuse("too long", minute(4))?, (true, Some(minute(5))));
            Ok::<_, StoreError>(())
        }));
        done.expect("is written");
    }

    #[test]
    fn a_read_that_was_put_off_before_the_clock_was_set_back_is_due() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let contacts = ObjectType::parse("contacts").expect("a name");
        let found = at_once(store.write(Lane::Bulk, move |tx| {
            for (id, minutes) in [(1, 0), (2, 10), (3, 480)] {
                let due = now() + Duration::from_mins(minutes);
                ask(tx, &contacts, HubspotId(id), Origin::Poll, due)?;
            }
            due(tx, &contacts, now(), 10)
        }));
        let ids: Vec<i64> = found.expect("reads").iter().map(|due| due.id.0).collect();
        assert_eq!(ids, [1, 3]);
    }
}
