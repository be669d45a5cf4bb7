//! Erases what the file holds of a record: HubSpot deleted it for good because of a privacy law.
//!
//! SQLite overwrites the freed bytes (`secure_delete`, on for all that the daemon writes), and the log is emptied after
//! the commit (`Store::empty_log`), so that no copy stays in the file.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::association::PairMapping;
use crate::model::conflict::WHOLE_RECORD;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::database::savepoint;
use crate::store::mirror::MirrorTable;
use crate::store::{StoreError, merges, meta, outbox, property_history, reads, unreadable};

/// The time of the first erasure since the log was emptied; `0` where there was none.
const LOG_TO_EMPTY: &str = "log_to_empty";

/// Erases a record from mirror, history, conflicts, inbox and outbox, with all that was merged into it, under whatever
/// rows that lived. The ids stay in `_sync_tombstones`, so that a late page does not bring it back, and
/// in `_sync_erasures`, so that a late event does not bring its value.
pub(crate) fn erase(
    tx: &Transaction<'_>,
    table: &MirrorTable,
    pairs: &[PairMapping],
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let object = &table.mapping().object;
    let ids = merges::ids_of(tx, object, id)?;
    let rows = rows_of(tx, table, &ids)?;
    let (of_ids, of_rows) = (
        listed(ids.iter().map(|id| id.0)),
        listed(rows.iter().map(|row| row.0)),
    );
    // One walk over each table, however many records became this one.
    for sql in [
        "DELETE FROM _sync_owed
         WHERE outbox_id IN (
             SELECT id
             FROM sync_outbox
             WHERE object = :object
               AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))
         )",
        "DELETE FROM sync_outbox_fields
         WHERE outbox_id IN (
             SELECT id
             FROM sync_outbox
             WHERE object = :object
               AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))
         )",
        "DELETE FROM sync_outbox
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM _sync_replaced
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM sync_history
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM _sync_pushes
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM _sync_held_clears
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM _sync_undone
         WHERE object = :object
           AND local_id IN (SELECT value FROM json_each(:rows)) AND :ids IS NOT NULL",
        "DELETE FROM sync_conflicts
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM _sync_gaps
         WHERE object = :object
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
    ] {
        tx.prepare_cached(sql)?.execute(
            named_params! { ":object": object.as_str(), ":ids": of_ids, ":rows": of_rows },
        )?;
    }
    for pair in pairs {
        forget_associations(tx, (object, pair), &of_ids, &of_rows)?;
    }
    forget_in_other_rows(tx, object, &of_ids, &of_rows)?;
    tx.prepare_cached(
        "DELETE FROM _sync_sent
         WHERE object = :object AND local_id IN (SELECT value FROM json_each(:rows))",
    )?
    .execute(named_params! { ":object": object.as_str(), ":rows": of_rows })?;
    forget_sent_of_no_row(tx, table)?;
    outbox::forget_owed(tx)?;
    // Of use to one statement, which has ended.
    tx.prepare_cached("DELETE FROM _sync_written WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str() })?;
    for row in rows {
        match savepoint::within(tx, || table.delete(tx, row)) {
            // A program's constraint keeps the row: it stays without anything of the person in it.
            Err(error) if error.is_of_one_row() => {
                tracing::error!(object = %object, local_id = %row, code = error.code(), "a constraint keeps the row of a record that was erased: its values are gone, the empty row stays");
                table.blank(tx, row)?;
                outbox::exclude(tx, object, row)?;
            }
            deleted => deleted?,
        }
    }
    for id in ids {
        erase_id(tx, object, id, now)?;
    }
    if erased_since(tx)?.is_none() {
        meta::set(tx, LOG_TO_EMPTY, &now.to_string())?;
    }
    Ok(())
}

/// Forgets what was told of the record's associations, from either end of a pair.
fn forget_associations(
    tx: &Transaction<'_>,
    (object, pair): (&ObjectType, &PairMapping),
    of_ids: &str,
    of_rows: &str,
) -> Result<(), StoreError> {
    const FROM: [&str; 3] = [
        "DELETE FROM sync_history
         WHERE object = :pair
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        "DELETE FROM sync_conflicts
         WHERE object = :pair
           AND (local_id IN (SELECT value FROM json_each(:rows)) OR hs_id IN (SELECT value FROM json_each(:ids)))",
        // What excludes where associations lead is a conflict of those that start from several records.
        "DELETE FROM sync_conflicts
         WHERE object = :pair
           AND resolved_at IS NOT NULL
           AND EXISTS (SELECT 1
                       FROM json_each(iif(json_valid(local_value), local_value, '[]')) AS link
                       WHERE link.value ->> 'from_local_id' IN (SELECT value FROM json_each(:rows))
                          OR link.value ->> 'from_hs_id' IN (SELECT value FROM json_each(:ids))
                       UNION ALL
                       SELECT 1
                       FROM json_each(iif(json_valid(remote_value), remote_value, '[]')) AS link
                       WHERE link.value ->> 'from_local_id' IN (SELECT value FROM json_each(:rows))
                          OR link.value ->> 'from_hs_id' IN (SELECT value FROM json_each(:ids)))",
    ];
    const WAITING_FROM: [&str; 3] = [
        "DELETE FROM _sync_links_missed
         WHERE pair = :pair AND from_hs_id IN (SELECT value FROM json_each(:ids))",
        "DELETE FROM _sync_links_waiting
         WHERE pair = :pair AND from_hs_id IN (SELECT value FROM json_each(:ids))",
        "DELETE FROM _sync_links_due
         WHERE pair = :pair AND side = 'from' AND hs_id IN (SELECT value FROM json_each(:ids))",
    ];
    const TO: [&str; 2] = [
        "DELETE FROM sync_history
         WHERE object = :pair
           AND property = 'association'
           AND json_valid(coalesce(new_value, old_value))
           AND (coalesce(new_value, old_value) ->> 'to_local_id' IN (SELECT value FROM json_each(:rows))
                OR coalesce(new_value, old_value) ->> 'to_hs_id' IN (SELECT value FROM json_each(:ids)))",
        // What somebody is still asked about is told again by the next answer.
        "DELETE FROM sync_conflicts
         WHERE object = :pair
           AND resolved_at IS NOT NULL
           AND EXISTS (SELECT 1
                       FROM json_each(iif(json_valid(local_value), local_value, '[]')) AS link
                       WHERE link.value ->> 'to_local_id' IN (SELECT value FROM json_each(:rows))
                          OR link.value ->> 'to_hs_id' IN (SELECT value FROM json_each(:ids))
                       UNION ALL
                       SELECT 1
                       FROM json_each(iif(json_valid(remote_value), remote_value, '[]')) AS link
                       WHERE link.value ->> 'to_local_id' IN (SELECT value FROM json_each(:rows))
                          OR link.value ->> 'to_hs_id' IN (SELECT value FROM json_each(:ids)))",
    ];
    const WAITING_TO: [&str; 3] = [
        "DELETE FROM _sync_links_missed
         WHERE pair = :pair AND to_hs_id IN (SELECT value FROM json_each(:ids))",
        "DELETE FROM _sync_links_waiting
         WHERE pair = :pair AND to_hs_id IN (SELECT value FROM json_each(:ids))",
        "DELETE FROM _sync_links_due
         WHERE pair = :pair AND side = 'to' AND hs_id IN (SELECT value FROM json_each(:ids))",
    ];
    let key = pair.key.as_str();
    let told = named_params! { ":pair": key, ":ids": of_ids, ":rows": of_rows };
    let waiting = named_params! { ":pair": key, ":ids": of_ids };
    let ends = [
        (&pair.from, &FROM[..], WAITING_FROM),
        (&pair.to, &TO[..], WAITING_TO),
    ];
    for (_, of_end, waiting_of_end) in ends.into_iter().filter(|(end, ..)| *end == object) {
        for sql in of_end {
            tx.prepare_cached(sql)?.execute(told)?;
        }
        for sql in waiting_of_end {
            tx.prepare_cached(sql)?.execute(waiting)?;
        }
    }
    Ok(())
}

/// Takes the record out of the associations with which rows of other records are kept that are gone: in the history, in what waits
/// to be sent, and in what is asked.
fn forget_in_other_rows(
    tx: &Transaction<'_>,
    object: &ObjectType,
    of_ids: &str,
    of_rows: &str,
) -> Result<(), StoreError> {
    const KEPT: [(&str, &str, &str); 5] = [
        ("sync_history", "old_value", "property = '*'"),
        ("sync_conflicts", "local_value", "property = '*'"),
        ("sync_conflicts", "base_value", "property = '*'"),
        ("sync_outbox", "row", "operation = 'archive'"),
        ("_sync_replaced", "row", "true"),
    ];
    for (table, column, which) in KEPT {
        let links = format!("json_each({column}, '$.associations') AS link");
        let names = |end: &str| {
            let of = |what: &str| {
                format!("iif(link.type = 'object', link.value ->> '{end}_{what}', NULL)")
            };
            format!(
                "({} = :object AND ({} IN (SELECT value FROM json_each(:rows)) OR {} IN (SELECT value FROM json_each(:ids))))",
                of("object"),
                of("local_id"),
                of("hs_id")
            )
        };
        let is_named = format!("({} IS TRUE OR {} IS TRUE)", names("from"), names("to"));
        tx.prepare_cached(&format!(
            "UPDATE {table}
             SET {column} = json_set(
                 {column}, '$.associations',
                 json((SELECT json_group_array(json(link.value)) FROM {links} WHERE NOT {is_named})))
             WHERE {which}
               AND instr({column}, '\"associations\":')
               AND iif(json_valid({column}), json_type({column}, '$.associations') IS 'array', 0)
               AND EXISTS (SELECT 1 FROM {links} WHERE {is_named})"
        ))?
        .execute(named_params! { ":object": object.as_str(), ":ids": of_ids, ":rows": of_rows })?;
    }
    Ok(())
}

/// Forgets what lost requests carried for rows that are gone, with their entries: whose they were is not known any more, and
/// no late request of theirs meets a row.
fn forget_sent_of_no_row(tx: &Transaction<'_>, table: &MirrorTable) -> Result<(), StoreError> {
    let object = table.mapping().object.as_str();
    let mut statement = tx.prepare_cached(
        "SELECT DISTINCT local_id
         FROM _sync_sent AS sent
         WHERE object = :object
           AND NOT EXISTS (
               SELECT 1 FROM sync_outbox AS entry WHERE entry.object = sent.object AND entry.local_id = sent.local_id
           )",
    )?;
    let rows = statement
        .query_map(named_params! { ":object": object }, |row| {
            row.get(0).map(LocalId)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for row in rows {
        if table.by_local_id(tx, row)?.is_none() {
            tx.prepare_cached("DELETE FROM _sync_sent WHERE object = :object AND local_id = :row")?
                .execute(named_params! { ":object": object, ":row": row.0 })?;
        }
    }
    Ok(())
}

/// What the bookkeeping knows of one id.
fn erase_id(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let own = named_params! { ":object": object.as_str(), ":id": id.0 };
    for sql in [
        "DELETE FROM sync_inbox WHERE object = :object AND hs_id = :id",
        "DELETE FROM _sync_reads WHERE object = :object AND hs_id = :id",
        "DELETE FROM _sync_absent WHERE object = :object AND hs_id = :id",
    ] {
        tx.prepare_cached(sql)?.execute(own)?;
    }
    property_history::forget(tx, object, id)?;
    unreadable::forget_record(tx, object, id, now)?;
    reads::forget_removal(tx, object, id)?;
    reads::note_erased(tx, object, id, now)?;
    merges::forget(tx, object, id)?;
    reads::bury(tx, object, id, now)?;
    reads::erase_later(tx, object, id, None)
}

/// The rows that are or were one of the records: their rows, and those that entries, history and conflicts know under
/// their ids. A row that is another record's by now is not among them, and neither is a new row that got the number of a
/// former one; one that waits to be made anew in place of the record is.
fn rows_of(
    tx: &Transaction<'_>,
    table: &MirrorTable,
    ids: &[HubspotId],
) -> Result<Vec<LocalId>, StoreError> {
    let object = &table.mapping().object;
    let mut statement = tx.prepare_cached(
        "SELECT local_id FROM sync_outbox WHERE object = :object AND hs_id IN (SELECT value FROM json_each(:ids))
         UNION
         SELECT local_id
         FROM sync_history
         WHERE object = :object AND hs_id IN (SELECT value FROM json_each(:ids)) AND local_id IS NOT NULL
         UNION
         SELECT local_id FROM sync_conflicts WHERE object = :object AND hs_id IN (SELECT value FROM json_each(:ids))",
    )?;
    let of_ids = listed(ids.iter().map(|id| id.0));
    let known = statement
        .query_map(
            named_params! { ":object": object.as_str(), ":ids": of_ids },
            |row| row.get(0).map(LocalId),
        )?
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(table.by_hs_id(tx, *id)?.map(|row| row.record.local_id));
    }
    for row in known {
        let is_others = match table.by_local_id(tx, row)?.map(|row| row.record.hs_id) {
            None => false,
            Some(Some(id)) => !ids.contains(&id),
            Some(None) => !is_made_anew(tx, object, row, &of_ids)?,
        };
        if !is_others && !rows.contains(&row) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether a row without a record waits to be created in place of one of these: it was written before that was decided.
fn is_made_anew(
    tx: &Transaction<'_>,
    object: &ObjectType,
    row: LocalId,
    of_ids: &str,
) -> Result<bool, StoreError> {
    Ok(tx
        .prepare_cached(
            "SELECT 1
             FROM sync_outbox AS entry
             JOIN sync_conflicts AS decided
               ON decided.object = entry.object AND decided.local_id = entry.local_id
             WHERE entry.object = :object
               AND entry.local_id = :row
               AND entry.operation = 'create'
               AND decided.property = :whole
               AND decided.winner = 'local'
               AND decided.hs_id IN (SELECT value FROM json_each(:ids))
               AND decided.resolved_at >= entry.enqueued_at",
        )?
        .exists(named_params! {
            ":object": object.as_str(),
            ":row": row.0,
            ":whole": WHOLE_RECORD,
            ":ids": of_ids,
        })?)
}

/// Numbers as the JSON array that `json_each` takes apart.
fn listed(numbers: impl Iterator<Item = i64>) -> String {
    let texts: Vec<String> = numbers.map(|number| number.to_string()).collect();
    format!("[{}]", texts.join(","))
}

/// Since when the log may still hold what was erased; `None` where it does not.
fn erased_since(connection: &Connection) -> Result<Option<String>, StoreError> {
    Ok(meta::get(connection, LOG_TO_EMPTY)?.filter(|since| since != "0"))
}

/// Whether the log still holds what was erased.
pub(crate) fn log_is_to_be_emptied(connection: &Connection) -> Result<bool, StoreError> {
    Ok(erased_since(connection)?.is_some())
}

/// The log was emptied, or is another program's business. Tells which records were erased since the last time.
pub(crate) fn log_was_emptied(
    tx: &Transaction<'_>,
) -> Result<Vec<(String, HubspotId)>, StoreError> {
    let Some(since) = erased_since(tx)? else {
        return Ok(Vec::new());
    };
    meta::set(tx, LOG_TO_EMPTY, "0")?;
    reads::erased_since(tx, &since)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::model::event::Event;
    use crate::model::mapping::{Direction, Policy};
    use crate::model::name::{PropertyName, TableName};
    use crate::store::inbox::{self, NewEvent, State};
    use crate::store::shape::ddl;
    use crate::store::testing::{at_once, contacts, folder, mapping, now, open, shown};
    use crate::store::{Lane, Mode, Store, WriteTx};

    /// A file with contacts, and what `sql` puts into it.
    fn filled(sql: &'static str) -> (TempDir, Store) {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let fill = move |tx: &WriteTx<'_>| {
            ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now())?;
            Ok::<_, StoreError>(tx.execute_batch(sql)?)
        };
        at_once(store.write(Lane::Bulk, fill)).expect("fills");
        (folder, store)
    }

    fn erase_contact(store: &Store, id: i64) {
        let job = move |tx: &WriteTx<'_>| {
            let table = MirrorTable::new(Arc::new(contacts()));
            erase(tx, &table, &[], HubspotId(id), now())
        };
        at_once(store.write(Lane::Bulk, job)).expect("erases");
    }

    fn rows(folder: &TempDir, sql: &str) -> Vec<String> {
        let connection = Connection::open(folder.path().join("crm.db")).expect("opens");
        let mut statement = connection.prepare(sql).expect(sql);
        let texts = statement.query_map([], |row| row.get_ref(0).map(shown));
        texts
            .expect(sql)
            .collect::<Result<_, _>>()
            .expect("reads texts")
    }

    /// Each of these queries finds something that was to be kept, and nothing else.
    fn leaves_what_is_kept(folder: &TempDir, queries: &[&str]) {
        for sql in queries {
            let left = rows(folder, sql);
            assert!(!left.is_empty(), "{sql} took too much");
            assert!(left.iter().all(|text| text == "kept"), "{sql}: {left:?}");
        }
    }

    /// Contact 1 is record 300, into which 200 went and into that 100. Their rows 2 and 3 are gone; contact 4 had record
    /// 100 long ago and is record 400 by now.
    const MERGED: &str = "
        INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 300, 'x'), (4, 400, 'kept'), (5, 500, 'kept');
        INSERT INTO _sync_merges (object, hs_id, into_id) VALUES ('contacts', 200, 300), ('contacts', 100, 200), ('contacts', 501, 500);
        INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, origin) VALUES
            ('x', 'contacts', 1, 300, 'email', 'gone', 'poll'), ('x', 'contacts', 2, 200, '*', 'gone', 'absorb'),
            ('x', 'contacts', 2, NULL, 'email', 'gone', 'push'), ('x', 'contacts', 3, 100, 'email', 'gone', 'poll'),
            ('x', 'contacts', 4, 100, 'email', 'gone', 'poll'), ('x', 'contacts', 4, 400, 'email', 'kept', 'poll'),
            ('x', 'contacts', 6, 501, 'email', 'kept', 'poll'), ('x', 'companies', 7, 100, 'email', 'kept', 'poll');
        INSERT INTO sync_conflicts (object, local_id, hs_id, property, local_value, policy, detected_at) VALUES
            ('contacts', 2, 200, 'email', 'gone', 'remote', 'x'), ('contacts', 3, NULL, 'email', 'gone', 'remote', 'x'),
            ('contacts', 4, 400, 'email', 'kept', 'remote', 'x');
        INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, state, enqueued_at, row) VALUES
            (1, 'contacts', 3, 100, 'archive', 'dead', 'x', 'gone'), (2, 'contacts', 4, 400, 'update', 'dead', 'x', 'kept');
        INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at) VALUES (1, 'email', 'gone', 'x'), (2, 'email', 'kept', 'x');
        INSERT INTO _sync_sent (object, local_id, property, value, sent_at) VALUES ('contacts', 2, 'email', 'gone', 'x'), ('contacts', 4, 'email', 'kept', 'x');
        INSERT INTO sync_inbox (event_type, object, hs_id, received_at, state, value) VALUES
            ('x', 'contacts', 100, 'x', 'pending', 'gone'), ('x', 'contacts', 400, 'x', 'pending', 'kept');";

    #[test]
    fn what_was_merged_into_a_record_goes_with_it() {
        let (folder, store) = filled(MERGED);
        erase_contact(&store, 300);
        leaves_what_is_kept(
            &folder,
            &[
                "SELECT email FROM contacts",
                "SELECT old_value FROM sync_history",
                "SELECT local_value FROM sync_conflicts",
                "SELECT row FROM sync_outbox",
                "SELECT base_value FROM sync_outbox_fields",
                "SELECT value FROM _sync_sent",
                "SELECT value FROM sync_inbox",
            ],
        );
        assert_eq!(rows(&folder, "SELECT old_value FROM sync_history").len(), 3);
        assert_eq!(
            rows(&folder, "SELECT hs_id FROM _sync_tombstones ORDER BY hs_id"),
            ["100", "200", "300"]
        );
        assert_eq!(rows(&folder, "SELECT hs_id FROM _sync_merges"), ["501"]);
    }

    #[test]
    fn an_erasure_follows_a_record_to_rows_that_only_the_outbox_knows() {
        let (folder, store) = filled(
            "INSERT INTO _sync_merges (object, hs_id, into_id) VALUES ('contacts', 100, 200);
             INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, state, enqueued_at, row) VALUES
                 (1, 'contacts', 7, 200, 'archive', 'dead', 'x', 'gone'), (2, 'contacts', 8, 100, 'archive', 'pending', 'x', 'gone'),
                 (3, 'contacts', 9, 300, 'archive', 'pending', 'x', 'kept');
             INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at) VALUES
                 (1, 'email', 'gone', 'x'), (2, 'email', 'gone', 'x'), (3, 'email', 'kept', 'x');
             INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, origin) VALUES
                 ('x', 'contacts', 7, NULL, 'email', 'gone', 'push'), ('x', 'contacts', 8, NULL, 'email', 'gone', 'push'),
                 ('x', 'contacts', 9, NULL, 'email', 'kept', 'push');
             INSERT INTO sync_conflicts (object, local_id, hs_id, property, local_value, policy, detected_at) VALUES
                 ('contacts', 7, NULL, 'email', 'gone', 'remote', 'x'), ('contacts', 8, NULL, 'email', 'gone', 'remote', 'x'),
                 ('contacts', 9, NULL, 'email', 'kept', 'remote', 'x');
             INSERT INTO _sync_sent (object, local_id, property, value, sent_at) VALUES
                 ('contacts', 7, 'email', 'gone', 'x'), ('contacts', 8, 'email', 'gone', 'x'), ('contacts', 9, 'email', 'kept', 'x');
             INSERT INTO _sync_replaced (object, local_id, row) VALUES
                 ('contacts', 7, 'gone'), ('contacts', 8, 'gone'), ('contacts', 9, 'kept')",
        );
        erase_contact(&store, 200);
        leaves_what_is_kept(
            &folder,
            &[
                "SELECT old_value FROM sync_history",
                "SELECT local_value FROM sync_conflicts",
                "SELECT row FROM sync_outbox",
                "SELECT base_value FROM sync_outbox_fields",
                "SELECT value FROM _sync_sent",
                "SELECT row FROM _sync_replaced",
            ],
        );
    }

    #[test]
    fn what_was_told_of_its_associations_goes_with_a_record_from_either_end() {
        let (folder, store) = filled(
            r#"INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 300, 'x');
             INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, new_value, origin) VALUES
                 ('x', 'contacts_companies', 1, 300, 'association', NULL, '{"to_local_id":9,"to_hs_id":900,"label":"gone"}', 'poll'),
                 ('x', 'contacts_companies', 2, 400, 'association', NULL, '{"to_local_id":1,"to_hs_id":300,"label":"kept"}', 'poll'),
                 ('x', 'deals_contacts', 1, 300, 'association', NULL, '{"to_local_id":4,"to_hs_id":400,"label":"kept"}', 'poll'),
                 ('x', 'deals_contacts', 5, 500, 'association', NULL, '{"to_local_id":7,"to_hs_id":300,"label":"gone"}', 'poll'),
                 ('x', 'deals_contacts', 5, 500, 'association', '{"to_local_id":1,"to_hs_id":null,"label":"gone"}', NULL, 'push');
             INSERT INTO sync_conflicts (object, local_id, hs_id, property, local_value, remote_value, policy, detected_at, resolved_at) VALUES
                 ('contacts_companies', 1, 300, 'association', '[{"to_hs_id":8,"label":"gone"}]', '[]', 'remote', 'x', 'x'),
                 ('deals_contacts', 5, 500, 'association', '[{"to_local_id":8,"to_hs_id":800,"label":"gone"}]', '[{"to_local_id":1,"to_hs_id":300,"label":"gone"}]', 'remote', 'x', 'x'),
                 ('deals_contacts', 6, 600, 'association', '[{"to_hs_id":8,"label":"kept"}]', NULL, 'remote', 'x', 'x');
             INSERT INTO _sync_links_waiting (pair, from_hs_id, to_hs_id, category, type_id, label) VALUES
                 ('contacts_companies', 300, 900, 'x', 1, 'gone'), ('contacts_companies', 400, 300, 'x', 1, 'kept'),
                 ('deals_contacts', 500, 300, 'x', 1, 'gone'), ('deals_contacts', 300, 400, 'x', 1, 'kept');
             INSERT INTO _sync_links_due (pair, side, hs_id, origin, due_at) VALUES
                 ('contacts_companies', 'from', 300, 'poll', 'gone'), ('contacts_companies', 'to', 300, 'poll', 'kept'),
                 ('deals_contacts', 'to', 300, 'poll', 'gone'), ('deals_contacts', 'from', 300, 'poll', 'kept')"#,
        );
        let pair = |key: &str, from: &str, to: &str| PairMapping {
            key: TableName::parse(key).expect("a name"),
            from: ObjectType::parse(from).expect("a name"),
            to: ObjectType::parse(to).expect("a name"),
            direction: Direction::Both,
            policy: Policy::Remote,
        };
        let pairs = [
            pair("contacts_companies", "contacts", "companies"),
            pair("deals_contacts", "deals", "contacts"),
        ];
        let job = move |tx: &WriteTx<'_>| {
            let table = MirrorTable::new(Arc::new(contacts()));
            erase(tx, &table, &pairs, HubspotId(300), now())
        };
        at_once(store.write(Lane::Bulk, job)).expect("erases");
        leaves_what_is_kept(
            &folder,
            &[
                "SELECT coalesce(new_value, old_value) ->> 'label' FROM sync_history",
                "SELECT local_value ->> '$[0].label' FROM sync_conflicts",
                "SELECT label FROM _sync_links_waiting",
                "SELECT due_at FROM _sync_links_due",
            ],
        );
    }

    #[test]
    fn a_record_is_taken_out_of_the_associations_that_rows_of_others_went_with() {
        let row = r#"{"name":"kept","associations":[
            {"from_object":"contacts","from_local_id":1,"from_hs_id":300,"to_object":"companies","to_local_id":9,"to_hs_id":900,"label":"gone"},
            {"from_object":"contacts","from_local_id":1,"from_hs_id":null,"to_object":"companies","to_local_id":9,"to_hs_id":900,"label":"gone"},
            {"from_object":"contacts","from_local_id":4,"from_hs_id":400,"to_object":"companies","to_local_id":9,"to_hs_id":900,"label":"kept"},
            {"from_object":"companies","from_local_id":9,"from_hs_id":900,"to_object":"contacts","to_local_id":8,"to_hs_id":300,"label":"gone"},
            {"from_object":"deals","from_local_id":1,"from_hs_id":300,"to_object":"companies","to_local_id":9,"to_hs_id":900,"label":"kept"}]}"#;
        let sql = format!(
            "INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 300, 'x');
             INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, origin) VALUES
                 ('x', 'companies', 9, 900, '*', '{row}', 'poll'),
                 ('x', 'companies', 10, 910, '*', '{{\"associations\":\"kept\"}}', 'poll'),
                 ('x', 'companies', 11, 911, '*', 'no JSON: \"associations\":', 'poll');
             INSERT INTO sync_conflicts (object, local_id, hs_id, property, local_value, base_value, policy, detected_at) VALUES
                 ('companies', 9, 900, '*', '{row}', '{row}', 'manual', 'x');
             INSERT INTO sync_outbox (object, local_id, hs_id, operation, state, enqueued_at, row) VALUES
                 ('companies', 9, 900, 'archive', 'pending', 'x', '{row}');
             INSERT INTO _sync_replaced (object, local_id, row) VALUES ('companies', 9, '{row}')"
        );
        let (folder, store) = filled(Box::leak(sql.into_boxed_str()));
        erase_contact(&store, 300);
        for (table, column) in [
            ("sync_history", "old_value"),
            ("sync_conflicts", "local_value"),
            ("sync_conflicts", "base_value"),
            ("sync_outbox", "row"),
            ("_sync_replaced", "row"),
        ] {
            let left = format!(
                "SELECT link.value ->> 'label'
                 FROM {table}, json_each({column}, '$.associations') AS link
                 WHERE local_id = 9"
            );
            assert_eq!(rows(&folder, &left), ["kept", "kept"], "{table}.{column}");
            let rest = format!("SELECT {column} ->> 'name' FROM {table} WHERE local_id = 9");
            assert_eq!(rows(&folder, &rest), ["kept"]);
        }
        let others = "SELECT old_value FROM sync_history WHERE local_id > 9 ORDER BY local_id";
        assert_eq!(
            rows(&folder, others),
            [r#"{"associations":"kept"}"#, r#"no JSON: "associations":"#]
        );
    }

    #[test]
    fn a_row_that_waits_to_be_made_anew_is_the_erased_persons_and_a_new_row_with_its_number_is_not()
    {
        let check = |enqueued: &str, expected: &[&str]| {
            let fill = format!(
                "INSERT INTO contacts (local_id, email) VALUES (1, 'x');
                 INSERT INTO sync_outbox (object, local_id, operation, state, enqueued_at, key) VALUES
                     ('contacts', 1, 'create', 'dead', '{enqueued}', 'x');
                 INSERT INTO sync_conflicts (object, local_id, hs_id, property, local_value, policy, winner, resolution, detected_at, resolved_at) VALUES
                     ('contacts', 1, 300, '*', 'x', 'local', 'local', 'policy', '2026-11-24', '2026-11-24')"
            );
            let (folder, store) = filled(fill.leak());
            erase_contact(&store, 300);
            assert_eq!(
                rows(&folder, "SELECT email FROM contacts"),
                expected,
                "{enqueued}"
            );
            assert_eq!(
                rows(&folder, "SELECT operation FROM sync_outbox").len(),
                expected.len()
            );
        };
        check("2026-11-23", &[]);
        check("2026-11-24", &[]);
        check("2026-11-25", &["x"]);
    }

    #[test]
    fn what_a_lost_request_carried_for_a_row_that_is_gone_goes_with_an_erasure() {
        let (folder, store) = filled(
            "INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 100, 'x');
             INSERT INTO sync_outbox (object, local_id, hs_id, operation, state, enqueued_at, row) VALUES
                 ('contacts', 2, 200, 'archive', 'dead', 'x', 'x');
             INSERT INTO _sync_sent (object, local_id, property, value, sent_at) VALUES
                 ('contacts', 1, 'email', 'kept', 'x'), ('contacts', 2, 'email', 'kept', 'x'), ('contacts', 3, 'email', 'gone', 'x'),
                 ('companies', 3, 'name', 'kept', 'x')",
        );
        erase_contact(&store, 300);
        assert_eq!(rows(&folder, "SELECT value FROM _sync_sent"), ["kept"; 3]);
    }

    #[test]
    fn of_a_row_that_a_constraint_keeps_an_erasure_leaves_nothing_but_its_number() {
        let (folder, store) = filled(
            "INSERT INTO contacts (local_id, hs_id, email, first_name, seen) VALUES (1, 300, 'x', 'gone', '2026-11-24');
             CREATE TABLE orders (contact INTEGER REFERENCES contacts (local_id));
             INSERT INTO orders VALUES (1)",
        );
        erase_contact(&store, 300);
        assert_eq!(
            rows(
                &folder,
                "SELECT local_id || coalesce(hs_id, '-') || coalesce(email, '-') || coalesce(first_name, '-') || coalesce(seen, '-') FROM contacts"
            ),
            ["1----"]
        );
    }

    fn receive_change(store: &Store, id: i64, event_id: i64) {
        let event = NewEvent {
            event: Event {
                event_id: Some(event_id),
                event_type: "contact.propertyChange".to_owned(),
                portal_id: None,
                object: Some(contacts().object),
                hs_id: Some(HubspotId(id)),
                others: Vec::new(),
                property: PropertyName::parse("email").ok(),
                value: Some("gone".to_owned()),
                occurred_at: Some(now()),
                own: false,
                problem: None,
            },
            state: State::Pending,
            explanation: None,
        };
        let job = move |tx: &WriteTx<'_>| inbox::receive(tx, &[event], now());
        assert_eq!(at_once(store.write(Lane::Bulk, job)).expect("stores"), 1);
    }

    #[test]
    fn a_late_event_of_an_erased_record_is_kept_without_its_value() {
        let (folder, store) = filled(MERGED);
        let values = "SELECT hs_id || ' ' || coalesce(value, '-') FROM sync_inbox WHERE event_id > 0 ORDER BY event_id";
        let contacts = contacts().object;
        receive_change(&store, 300, 1);
        assert_eq!(rows(&folder, values), ["300 gone"]);
        let name = contacts.clone();
        let ask = move |tx: &WriteTx<'_>| {
            reads::note_erasure(tx, &name, HubspotId(300), now())?;
            inbox::forget_values(tx, &name, HubspotId(300))
        };
        at_once(store.write(Lane::Bulk, ask)).expect("notes");
        receive_change(&store, 300, 2);
        assert_eq!(rows(&folder, values), ["300 -", "300 -"]);
        erase_contact(&store, 300);
        assert_eq!(rows(&folder, values), [""; 0]);
        for (id, event) in [(300, 3), (100, 4), (400, 5)] {
            receive_change(&store, id, event);
        }
        assert_eq!(rows(&folder, values), ["300 -", "100 -", "400 gone"]);
        // Asked for again: it is to be looked at again.
        let asked = move |tx: &WriteTx<'_>| {
            let before = reads::erasure_asked_at(tx, &contacts, HubspotId(300))?;
            reads::note_erasure(tx, &contacts, HubspotId(300), now())?;
            let after = reads::erasure_asked_at(tx, &contacts, HubspotId(300))?;
            reads::forget_erased(tx, now() + std::time::Duration::from_secs(1))?;
            Ok::<_, StoreError>((before, after))
        };
        assert_eq!(
            at_once(store.write(Lane::Bulk, asked)).expect("notes"),
            (None, Some(now()))
        );
        assert_eq!(rows(&folder, "SELECT hs_id FROM _sync_erasures"), ["300"]);
    }
}
