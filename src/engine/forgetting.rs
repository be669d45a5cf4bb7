//! Forgets what only matters for a while, and erases what the file still knows of a record that is nowhere in HubSpot.
//! Nothing here asks HubSpot.

use std::time::Duration;

use crate::decide::echo::late_since;
use crate::engine::outbound::gap;
use crate::engine::{Engine, StepError};
use crate::model::time::Timestamp;
use crate::store::{Lane, erase, holds, outbox, reads, unreadable};

/// How many records of an object one step takes.
const BATCH: usize = 100;

/// How long after a record's erasure an event of it may still come: HubSpot repeats one for a day
/// (`hubspot/api-facts.md#10`), and what stands between may hold it back longer.
const LATE_EVENTS: Duration = Duration::from_hours(30 * 24);

/// Forgets what only matters for a while: values of lost requests, counts of the guard, tombstones, erasures; and what
/// could not be read of records that are here no more.
pub(crate) async fn forget(engine: &Engine, now: Timestamp) -> Result<(), StepError> {
    let window = engine.settings().guard.window;
    let (objects, offset) = (engine.objects(), engine.client.clock_offset_ms());
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            outbox::forget_sent(tx, late_since(now, offset))?;
            for object in objects.iter() {
                for id in object.table.gone_unreadable(tx, BATCH)? {
                    unreadable::forget_record(tx, object.object(), id, now)?;
                }
                for id in reads::to_be_erased(tx, object.object(), now, BATCH)? {
                    let row = object.table.by_hs_id(tx, id)?;
                    let is_marked = match &row {
                        Some(row) => object.table.is_marked(tx, row.record.local_id)?,
                        None => false,
                    };
                    if row.is_some() && !is_marked {
                        // Whatever brought it, it is here again.
                        reads::unbury(tx, object.object(), id)?;
                        continue;
                    }
                    tracing::info!(object = %object.object(), hs_id = %id, "a record was nowhere in HubSpot for 30 days: what was known of it is erased");
                    erase::erase(tx, &object.table, &object.pairs, id, now)?;
                }
            }
            holds::forget_counts(tx, now - window)?;
            gap::forget(tx, now)?;
            reads::forget_tombstones(tx, now - Duration::from_hours(24))?;
            reads::forget_erased(tx, now - LATE_EVENTS)
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::incoming::reading::{Archived, Removal};
    use crate::engine::desk::{Desk, run};
    use crate::engine::inbound::apply::apply_record;
    use crate::engine::inbound::applying::Applying;
    use crate::engine::inbound::removal::remove_all;
    use crate::engine::pass::Pass;
    use crate::engine::portal::objects::ObjectSync;
    use crate::engine::source::reads::note_missing;
    use crate::engine::testing::record;
    use crate::model::id::HubspotId;
    use crate::store::history::Origin;

    const SECRET: &str = "secret@example.com";

    /// Where the file still says something of record 101, but that it was here: table and column.
    fn told_of_the_lost(desk: &Desk) -> Vec<String> {
        let file = desk.folder.path().join("crm.db");
        let program = rusqlite::Connection::open(file).expect("opens");
        let columns =
            "SELECT t.name, c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
                       WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
                         AND t.name NOT IN ('_sync_tombstones', '_sync_erasures')";
        let mut statement = program.prepare(columns).expect("is SQL");
        let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let columns: Vec<(String, String)> = columns
            .expect("runs")
            .collect::<Result<_, _>>()
            .expect("reads");
        assert!(columns.len() > 200, "{}", columns.len());
        let is_told = |(table, column): &(String, String)| {
            let sql = format!(
                "SELECT count(*) FROM \"{table}\"
                 WHERE instr(CAST(\"{column}\" AS TEXT), 'secret') > 0 OR ('{column}' = 'hs_id' AND \"{column}\" = 101)"
            );
            let found: i64 = program.query_row(&sql, [], |row| row.get(0)).expect(&sql);
            found > 0
        };
        let told = columns.into_iter().filter(is_told);
        told.map(|(table, column)| format!("{table}.{column}"))
            .collect()
    }

    /// Record 101 with a life, whose row was removed at the desk's time since no comparison and no read finds it.
    fn gone_for_good(desk: &Desk) -> (std::sync::Arc<ObjectSync>, Timestamp) {
        let contacts = desk.loaded();
        let sync = std::sync::Arc::clone(&contacts);
        let fill = desk.engine.store().write(Lane::Bulk, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Reconcile, 0);
            let applying = Applying::from_store(pass, tx.now());
            apply_record(tx, &applying, &record(101, -9_000, &[("email", SECRET)]), None)?;
            tx.execute_batch(&format!(
                "INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, origin)
                 VALUES ('x', 'contacts', 1, 101, 'email', '{SECRET}', 'push');
                 INSERT INTO sync_conflicts (object, local_id, hs_id, property, local_value, policy, winner, detected_at, resolved_at)
                 VALUES ('contacts', 1, 101, 'email', '{SECRET}', 'remote', 'remote', 'x', 'x');
                 INSERT INTO sync_inbox (event_type, object, hs_id, received_at, state, value)
                 VALUES ('x', 'contacts', 101, 'x', 'done', '{SECRET}');
                 INSERT INTO sync_unreadable (object, property, hs_id, value, seen_at)
                 VALUES ('contacts', 'email', 101, '{SECRET}', 'x');
                 INSERT INTO property_history (object, hs_id, property, at, value)
                 VALUES ('contacts', 101, 'email', 'x', '{SECRET}');
                 INSERT INTO _sync_pushes (at, object, local_id, hs_id, property, old_value)
                 VALUES ('x', 'contacts', 1, 101, 'email', '{SECRET}');
                 INSERT INTO _sync_sent (object, local_id, property, value, sent_at)
                 VALUES ('contacts', 1, 'email', '{SECRET}', '{}')",
                tx.now()
            ))?;
            let removal = Removal {
                id: HubspotId(101),
                archived: Archived::Unshown,
                origin: Origin::Reconcile,
            };
            let keys = vec!["0".repeat(32)];
            remove_all(tx, &pass, sync.mapping().modes, (&[removal], keys))?;
            Ok(tx.now())
        });
        let removed_at = run(fill).expect("removes");
        (contacts, removed_at)
    }

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn of_a_record_that_is_nowhere_the_file_holds_nothing_thirty_days_later() {
        let desk = Desk::new(0);
        let (contacts, removed_at) = gone_for_good(&desk);
        let before = told_of_the_lost(&desk);
        for table in [
            "sync_history.old_value",
            "sync_conflicts.local_value",
            "property_history.value",
        ] {
            assert!(before.contains(&table.to_owned()), "{before:?}");
        }
        run(forget(&desk.engine, removed_at + 29 * DAY)).expect("forgets");
        assert!(told_of_the_lost(&desk).contains(&"sync_history.old_value".to_owned()));
        // A late event asks for it, and the read misses it as before: that is not showing itself.
        let sync = std::sync::Arc::clone(&contacts);
        let missed = desk.engine.store().write(Lane::Bulk, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Webhook, 0);
            let removal = Removal {
                id: HubspotId(101),
                archived: Archived::Unshown,
                origin: Origin::Webhook,
            };
            note_missing(tx, &pass, removal, tx.now())
        });
        run(missed).expect("notes");
        run(forget(&desk.engine, removed_at + 30 * DAY)).expect("forgets");
        assert_eq!(told_of_the_lost(&desk), Vec::<String>::new());
        let log_is_to_be_emptied = desk.engine.store().read(erase::log_is_to_be_emptied);
        assert!(run(log_is_to_be_emptied).expect("reads"));
    }

    #[test]
    fn a_row_that_says_that_its_record_is_gone_goes_with_what_else_is_known_of_it() {
        for is_marked in [true, false] {
            let desk = Desk::new(0);
            let contacts = desk.loaded();
            let fill = desk.engine.store().write(Lane::Bulk, move |tx| {
                let pass = Pass::of(tx, &contacts, Origin::Reconcile, 0);
                let applying = Applying::from_store(pass, tx.now());
                apply_record(tx, &applying, &record(101, -9_000, &[("email", SECRET)]), None)?;
                tx.execute_batch(&format!(
                    "UPDATE contacts SET hs_archived = {};
                     INSERT INTO _sync_tombstones (object, hs_id, at, erase_at) VALUES ('contacts', 101, '{now}', '{now}')",
                    i32::from(is_marked),
                    now = tx.now()
                ))?;
                Ok(tx.now())
            });
            let now = run(fill).expect("fills");
            run(forget(&desk.engine, now)).expect("forgets");
            assert_eq!(told_of_the_lost(&desk).is_empty(), is_marked);
        }
    }

    #[test]
    fn a_record_that_shows_itself_again_is_not_erased_thirty_days_later() {
        // Live, or in the archive after all.
        for is_live in [true, false] {
            let desk = Desk::new(0);
            let (contacts, removed_at) = gone_for_good(&desk);
            desk.clock.pass(Duration::from_secs(5));
            let show = desk.engine.store().write(Lane::Bulk, move |tx| {
                let pass = Pass::of(tx, &contacts, Origin::Poll, 0);
                if is_live {
                    let shown = record(101, -8_000, &[("email", SECRET)]);
                    let applying = Applying::from_store(pass, tx.now());
                    return apply_record(tx, &applying, &shown, None);
                }
                let removal = Removal {
                    id: HubspotId(101),
                    archived: Archived::Shown(Some(removed_at)),
                    origin: Origin::Reconcile,
                };
                note_missing(tx, &pass, removal, tx.now())
            });
            assert!(run(show).expect("shows"));
            run(forget(&desk.engine, removed_at + 31 * DAY)).expect("forgets");
            let told = told_of_the_lost(&desk);
            assert!(
                told.contains(&"sync_history.old_value".to_owned()),
                "{told:?}"
            );
            assert_eq!(told.contains(&"contacts.email".to_owned()), is_live);
        }
    }
}
