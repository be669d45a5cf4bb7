//! What a run that ends waits for: the retries that hubsyncd makes by itself. What rests until a person, a program or HubSpot
//! has changed something is looked at again at an interval, which is a daemon's to wait for.
//!
//! | rests | until |
//! |---|---|
//! | an update of degraded fields alone | HubSpot has the properties again |
//! | a create whose own key is degraded | the same |
//! | a change to an option, stage or pipeline that HubSpot has taken away | HubSpot has it again, or another is written |
//! | a record that the user's own constraint refuses, in or out | the row or the constraint is changed |
//! | a change of a record whose removal is held | somebody decides about the hold |
//! | a record that can't be read, for more than a minute | HubSpot shows it |
//! | a record that is to be erased and that HubSpot still shows | HubSpot has deleted it |
//! | an association, or a create that one goes along with, whose labels HubSpot did not give | the portal's schema is read again |
//! | a change that waits for a value of another row that rests or is held | that row goes on |

use std::time::Duration;

use rusqlite::{Connection, named_params};

use crate::decide::outgoing::associate::UNTYPED;
use crate::model::association::PairMapping;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::outbox::{LISTED, MAY_BE_SENT, OF_ROW, UNWRITABLE, writable};
use crate::store::shape::options;

/// A record that could not be read for so long was asked for three times.
const MAY_BE_A_HICCUP: Duration = Duration::from_mins(1);

/// Records, under `id`, of which somebody else has the next word.
const LEFT_TO_OTHERS: &str = "
    SELECT hs_id AS id FROM _sync_removals WHERE object = :object AND (hold_id IS NOT NULL OR due_at IS NOT NULL)
    UNION SELECT hs_id FROM _sync_reads WHERE object = :object AND problem IS NOT NULL
    UNION SELECT hs_id FROM sync_unreadable WHERE object = :object AND property = '*' AND seen_at < :since
    UNION SELECT hs_id FROM _sync_erasures WHERE object = :object AND erased_at IS NULL";

/// When the next read of an object falls due that may bring something.
pub(crate) fn next_read(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(&format!(
            "WITH resting (id) AS ({LEFT_TO_OTHERS})
             SELECT min(due_at)
             FROM _sync_reads
             WHERE object = :object AND hs_id NOT IN (SELECT id FROM resting)"
        ))?
        .query_row(
            named_params! { ":object": object.as_str(), ":since": (now - MAY_BE_A_HICCUP).to_string() },
            |row| row.get(0),
        )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// When the next entry of an object falls due whose attempt may do something. `keyless`: the object's own key, where that
/// is left out of requests at the moment.
pub(crate) fn next_attempt(
    connection: &Connection,
    object: &ObjectType,
    keyless: Option<&PropertyName>,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let (writable, lost) = (writable(), options::lost_codes());
    let text: Option<String> = connection
        .prepare_cached(&format!(
            "WITH RECURSIVE
                 left_to_others (id) AS ({LEFT_TO_OTHERS}),
                 resting (local_id) AS (
                     SELECT e.local_id
                     FROM sync_outbox AS e
                     WHERE e.object = :object AND e.{OF_ROW}
                       AND e.state <> 'dead'
                       AND (e.waits_for IS 'guard'
                            OR e.next_attempt_at IS NULL
                            OR e.hs_id IN (SELECT id FROM left_to_others)
                            OR (e.operation = 'update'
                                AND EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = e.id)
                                AND NOT EXISTS (SELECT 1
                                                FROM sync_outbox_fields AS f
                                                JOIN sync_fields AS s ON s.object = e.object AND s.property = f.property
                                                WHERE f.outbox_id = e.id AND {writable}))
                            OR (e.last_error IS '{UNWRITABLE}'
                                AND EXISTS (SELECT 1 FROM sync_fields AS s
                                            WHERE s.object = e.object AND s.state = 'degraded' AND s.code IN ({lost})))
                            OR e.last_error IS '{UNTYPED}'
                            OR (e.operation = 'create'
                                AND EXISTS (SELECT 1 FROM sync_outbox_fields AS f
                                            WHERE f.outbox_id = e.id AND f.property = :keyless)))
                     UNION
                     SELECT e.local_id
                     FROM resting AS r
                     JOIN sync_outbox AS e ON e.taken_by = r.local_id
                     WHERE e.object = :object AND e.{OF_ROW}
                 )
             SELECT min(next_attempt_at)
             FROM sync_outbox
             WHERE object = :object
               AND {LISTED}
               AND {MAY_BE_SENT}
               AND local_id NOT IN (SELECT local_id FROM resting)"
        ))?
        .query_row(
            named_params! {
                ":object": object.as_str(),
                ":keyless": keyless.map(PropertyName::as_str),
                ":since": (now - MAY_BE_A_HICCUP).to_string(),
            },
            |row| row.get(0),
        )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// When the next read falls due of associations that an answer missed, and that are believed to be gone once their records were shown.
pub(crate) fn next_look(
    connection: &Connection,
    pair: &PairMapping,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let resting = |object: &str| LEFT_TO_OTHERS.replace(":object", object);
    let (from, to) = (resting(":from"), resting(":to"));
    let text: Option<String> = connection
        .prepare_cached(&format!(
            "WITH resting_from (id) AS ({from}), resting_to (id) AS ({to})
             SELECT min(d.due_at)
             FROM _sync_links_due AS d
             JOIN _sync_links_missed AS m ON m.pair = d.pair AND m.from_hs_id = d.hs_id
             WHERE d.pair = :pair AND d.side = 'from'
               AND m.from_hs_id NOT IN (SELECT id FROM resting_from) AND m.to_hs_id NOT IN (SELECT id FROM resting_to)"
        ))?
        .query_row(
            named_params! {
                ":pair": pair.key.as_str(),
                ":from": pair.from.as_str(),
                ":to": pair.to.as_str(),
                ":since": (now - MAY_BE_A_HICCUP).to_string(),
            },
            |row| row.get(0),
        )?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// Records that are to be erased and that HubSpot still shows.
pub(crate) fn erasures(connection: &Connection, object: &ObjectType) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM _sync_erasures WHERE object = :object AND erased_at IS NULL",
        )?
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?;
    Ok(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, contacts, folder, mapping, now, open};
    use crate::store::{Lane, Mode, StoreError, shape};

    /// What is waited for of contacts after `sql`: the second at which the next read and the next attempt fall due.
    fn awaited(sql: &'static str) -> (Option<i64>, Option<i64>) {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let found = at_once(store.write(Lane::Bulk, move |tx| {
            shape::ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now())?;
            tx.execute_batch(sql)?;
            let name = contacts().object;
            let key = PropertyName::parse("email").expect("a name");
            let second = |at: Timestamp| (at.millis() - now().millis()) / 1_000;
            Ok::<_, StoreError>((
                next_read(tx, &name, now())?.map(second),
                next_attempt(tx, &name, Some(&key), now())?.map(second),
            ))
        }));
        found.expect("is read")
    }

    /// Row 1 is record 101, and its first name waits until ten minutes from now.
    const CHANGE: &str = "
        INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
        VALUES (1, 'contacts', 1, 101, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:20:00.000Z');
        INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at)
        VALUES (1, 'firstname', 'Ada', '2026-11-24T03:00:00.000Z');";

    /// Record 101 is read again two minutes from now.
    const READ: &str = "
        INSERT INTO _sync_reads (object, hs_id, origin, due_at)
        VALUES ('contacts', 101, 'poll', '2026-11-24T03:12:00.000Z');";

    #[test]
    fn a_retry_is_waited_for_and_what_rests_until_somebody_else_acts_is_not() {
        let check = |sql: &str, read, attempt| {
            let sql: &'static str = Box::leak(format!("{CHANGE}{READ}{sql}").into_boxed_str());
            assert_eq!(awaited(sql), (read, attempt), "{sql}");
        };
        check("", Some(120), Some(600));
        check(
            "UPDATE sync_fields SET state = 'degraded' WHERE property = 'firstname'",
            Some(120),
            None,
        );
        check(
            "UPDATE sync_outbox SET operation = 'create', hs_id = NULL, key = 'k'; UPDATE sync_outbox_fields SET property = 'email'",
            Some(120),
            None,
        );
        check(
            "UPDATE _sync_reads SET problem = 'does not fit'",
            None,
            None,
        );
        check(
            "INSERT INTO _sync_removals (object, hs_id, seen_at, due_at, origin)
             VALUES ('contacts', 101, '2026-11-24T03:09:00.000Z', NULL, 'poll')",
            Some(120),
            Some(600),
        );
        check(
            "INSERT INTO _sync_removals (object, hs_id, seen_at, due_at, origin)
             VALUES ('contacts', 101, '2026-11-24T03:09:00.000Z', '2026-11-24T03:19:00.000Z', 'poll')",
            None,
            None,
        );
        check(
            "INSERT INTO sync_holds (id, object, side, operation, records, allowed, held_at)
             VALUES (1, 'contacts', 'local', 'remove', 1, 0, '2026-11-24T03:09:00.000Z');
             INSERT INTO _sync_removals (object, hs_id, seen_at, hold_id, origin)
             VALUES ('contacts', 101, '2026-11-24T03:09:00.000Z', 1, 'poll')",
            None,
            None,
        );
        check(
            "INSERT INTO _sync_erasures (object, hs_id, asked_at) VALUES ('contacts', 101, '2026-11-24T03:09:00.000Z')",
            None,
            None,
        );
    }

    #[test]
    fn a_record_that_can_t_be_read_is_asked_for_again_for_a_minute() {
        let since = |seen: &str| -> &'static str {
            let sql = format!(
                "{CHANGE}{READ}INSERT INTO sync_unreadable (object, property, hs_id, seen_at)
                 VALUES ('contacts', '*', 101, '2026-11-24T03:0{seen}Z')"
            );
            Box::leak(sql.into_boxed_str())
        };
        assert_eq!(awaited(since("9:30.000")), (Some(120), Some(600)));
        assert_eq!(awaited(since("8:30.000")), (None, None));
    }

    #[test]
    fn what_waits_for_a_row_that_rests_rests_too() {
        let chain = |state: &str| -> &'static str {
            let sql = format!(
                "{CHANGE}
                 UPDATE sync_fields SET state = '{state}' WHERE property = 'firstname';
                 INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at, taken_by)
                 VALUES (2, 'contacts', 2, 102, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:11:00.000Z', 1),
                        (3, 'contacts', 3, 103, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:11:00.000Z', 2)"
            );
            Box::leak(sql.into_boxed_str())
        };
        assert_eq!(awaited(chain("active")), (None, Some(60)));
        assert_eq!(awaited(chain("degraded")), (None, None));
    }
}
