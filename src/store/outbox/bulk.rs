//! What befalls many entries at once, in one statement each: a first backfill has more of them than a
//! transaction could carry over one by one. Each makes of an entry what `decide/entry` says; `store/shape/local_sql/entries`
//! holds them to it.

use rusqlite::{Connection, Transaction, named_params};

use crate::decide::retry::latest_due;
use crate::model::entry::Operation;
use crate::model::id::OutboxId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::outbox::missing;
use crate::store::{StoreError, meta};

/// Lets go the creates that waited for the first backfill.
pub(crate) fn release_backfill(
    tx: &Transaction<'_>,
    object: &ObjectType,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET waits_for = NULL, next_attempt_at = enqueued_at
         WHERE object = :object AND operation = 'create' AND waits_for = 'backfill'",
    )?
    .execute(named_params! { ":object": object.as_str() })?;
    Ok(())
}

/// Makes updates due that carry a property which can be written again: while it could not, they were put off.
pub(crate) fn release_property(
    tx: &Transaction<'_>,
    object: &str,
    property: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox
         SET next_attempt_at = :now
         WHERE object = :object
           AND operation IN ('create', 'update')
           AND state = 'pending'
           AND waits_for IS NULL
           AND next_attempt_at > :now
           AND EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = sync_outbox.id AND f.property = :property)",
    )?
    .execute(named_params! { ":object": object, ":property": property, ":now": now.to_string() })?;
    Ok(())
}

/// Tries again what HubSpot refused for what its settings were: entries that are dead by one of these codes. When that was is noted
/// for those whose refusal is still on its way.
pub(crate) fn revive_refused(
    tx: &Transaction<'_>,
    object: &ObjectType,
    codes: &[&str],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "UPDATE sync_outbox
         SET state = 'pending', attempts = 0, next_attempt_at = :now, last_error = NULL, code = NULL
         WHERE object = :object
           AND operation IN ('create', 'update')
           AND state = 'dead'
           AND code = :code
           AND discarded_at IS NULL
         RETURNING id, operation",
    )?;
    for code in codes {
        let own =
            named_params! { ":object": object.as_str(), ":code": code, ":now": now.to_string() };
        let revived = statement.query_map(own, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let revived: Vec<(i64, String)> = revived.collect::<Result<_, _>>()?;
        meta::set(tx, &settings_changed(object, code), &now.to_string())?;
        // What waits for their records says no more that nothing makes them.
        for (id, operation) in revived {
            if operation == Operation::Create.as_str() {
                missing::tell_of_create(tx, OutboxId(id))?;
            }
        }
    }
    Ok(())
}

/// Whether the settings that a refusal by this code is about have changed since its request was made: it says nothing of those that
/// are in force.
pub(crate) fn is_outdated_refusal(
    connection: &Connection,
    object: &ObjectType,
    code: &str,
    asked_at: Timestamp,
) -> Result<bool, StoreError> {
    let changed = meta::get(connection, &settings_changed(object, code))?;
    let changed = changed.as_deref().and_then(Timestamp::parse);
    Ok(changed.is_some_and(|changed| asked_at <= changed))
}

/// Where it is noted when the settings of an object changed that one of HubSpot's refusals is about.
fn settings_changed(object: &ObjectType, code: &str) -> String {
    format!("settings_changed {object} {code}")
}

/// Entries whose time is none that the daemon set: due at once when they were queued, by a clock that was ahead; or later
/// than any wait.
const PUT_OFF_BY_A_CLOCK: &str = "object = :object
           AND operation IN ('create', 'update', 'archive', 'associate', 'disassociate')
           AND state = 'pending'
           AND next_attempt_at > :now
           AND (next_attempt_at > :latest OR (attempts = 0 AND next_attempt_at = enqueued_at))";

/// Whether a clock that was ahead has put an entry off.
pub(crate) fn is_put_off_by_a_clock(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT 1 FROM sync_outbox WHERE {PUT_OFF_BY_A_CLOCK}"
        ))?
        .exists(named_params! {
            ":object": object.as_str(),
            ":now": now.to_string(),
            ":latest": latest_due(now).to_string(),
        })?)
}

/// Makes those due, and their writes no later than now: a write is not made after it was seen. Tells how many they are.
pub(crate) fn heal_times(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<usize, StoreError> {
    tx.prepare_cached(&format!(
        "UPDATE sync_outbox_fields
         SET changed_at = :now
         WHERE changed_at > :now AND outbox_id IN (SELECT id FROM sync_outbox WHERE {PUT_OFF_BY_A_CLOCK})"
    ))?
    .execute(named_params! {
        ":object": object.as_str(),
        ":now": now.to_string(),
        ":latest": latest_due(now).to_string(),
    })?;
    Ok(tx
        .prepare_cached(&format!(
            "UPDATE sync_outbox
             SET next_attempt_at = :now, enqueued_at = min(enqueued_at, :now)
             WHERE {PUT_OFF_BY_A_CLOCK}"
        ))?
        .execute(named_params! {
            ":object": object.as_str(),
            ":now": now.to_string(),
            ":latest": latest_due(now).to_string(),
        })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode, WriteTx};

    #[test]
    fn a_time_to_come_that_no_wait_explains_is_due() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let name = ObjectType::parse("contacts").expect("a name");
        let (hours, minutes) = (
            |hours| now() + std::time::Duration::from_hours(hours),
            |minutes| now() + std::time::Duration::from_mins(minutes),
        );
        let entries = [
            // By a program whose clock is ahead.
            (1, 0, hours(8), hours(8), true),
            (2, 0, minutes(3), minutes(3), true),
            // By this machine while its clock was ahead.
            (3, 2, now(), hours(8), true),
            // By the daemon: a wait, and a put-off.
            (4, 1, now(), minutes(5), false),
            (5, 0, now(), minutes(1), false),
            (6, 0, now(), now(), false),
            // An association, by the trigger of a program whose clock is ahead.
            (7, 0, hours(8), hours(8), true),
        ];
        let healed = at_once(store.write(Lane::Bulk, move |tx: &WriteTx<'_>| {
            let mut insert = tx.prepare(
                "INSERT INTO sync_outbox (object, local_id, hs_id, operation, attempts, enqueued_at, next_attempt_at)
                 VALUES ('contacts', ?1, ?1, 'update', ?2, ?3, ?4)",
            )?;
            for (id, attempts, enqueued_at, next, _) in entries {
                insert.execute((id, attempts, enqueued_at.to_string(), next.to_string()))?;
            }
            tx.execute_batch(
                "UPDATE sync_outbox SET operation = 'associate', to_object = 'companies', to_local_id = 1 WHERE local_id = 7;
                 INSERT INTO sync_outbox_fields (outbox_id, property, changed_at)
                 SELECT id, 'city', enqueued_at FROM sync_outbox",
            )?;
            assert!(is_put_off_by_a_clock(tx, &name, now())?);
            let healed = heal_times(tx, &name, now())?;
            assert!(!is_put_off_by_a_clock(tx, &name, now())?);
            for (id, _, enqueued_at, next, is_due) in entries {
                let due: String = tx.query_row(
                    "SELECT next_attempt_at FROM sync_outbox WHERE local_id = ?1",
                    [id],
                    |row| row.get(0),
                )?;
                let expected = if is_due { now() } else { next };
                assert_eq!(due, expected.to_string(), "{id}");
                let times: (String, String) = tx.query_row(
                    "SELECT e.enqueued_at, f.changed_at
                     FROM sync_outbox AS e
                     JOIN sync_outbox_fields AS f ON f.outbox_id = e.id
                     WHERE e.local_id = ?1",
                    [id],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?;
                let written = enqueued_at.min(now()).to_string();
                assert_eq!(times, (written.clone(), written), "{id}");
            }
            Ok::<_, StoreError>(healed)
        }));
        assert_eq!(healed.expect("heals"), 4);
    }
}
