//! What triggers make of an entry is what `decide/entry` says: each standing that the file can hold meets each statement.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction};

use crate::decide::entry::{Event, Standing, UNWRITABLE, step};
use crate::model::entry::{EntryState, Operation, WaitsFor};
use crate::model::id::{HoldId, HubspotId, OutboxId};
use crate::model::time::Timestamp;
use crate::store::holds::{self, HeldOperation, HoldKey, Side};
use crate::store::shape::ddl;
use crate::store::testing::{self, contacts, daemons_connection, folder, mapping, now, open};
use crate::store::{Lane, Mode, StoreError, WriteTx, outbox};

/// When the entries of this test were queued: long before any statement runs.
const LONG_AGO: &str = "2020-01-01T00:00:00.000Z";

const ENTRY: OutboxId = OutboxId(1);

fn long_ago() -> Timestamp {
    Timestamp::parse(LONG_AGO).expect("a time")
}

/// Every standing that the table's checks let in, apart from what no statement looks at.
fn standings() -> Vec<Standing> {
    let mut all = Vec::new();
    for operation in [Operation::Create, Operation::Update, Operation::Archive] {
        for state in [EntryState::Pending, EntryState::InFlight, EntryState::Dead] {
            for waits_for in [
                None,
                Some(WaitsFor::Answer),
                Some(WaitsFor::Lock),
                Some(WaitsFor::Guard),
                Some(WaitsFor::Backfill),
            ] {
                for unanswered_since in [None, Some(long_ago())] {
                    for attempts in [0, 2] {
                        for last_error in [None, Some("words"), Some(UNWRITABLE)] {
                            for discarded_at in [None, Some(long_ago())] {
                                all.push(Standing {
                                    operation,
                                    hs_id: (operation != Operation::Create)
                                        .then_some(HubspotId(101)),
                                    state,
                                    attempts,
                                    enqueued_at: long_ago(),
                                    due: Some(long_ago().plus_millis(60_000)),
                                    waits_for,
                                    unanswered_since,
                                    last_error: last_error.map(str::to_owned),
                                    sent_over: None,
                                    sent_keyless: false,
                                    taken_by: None,
                                    discarded_at,
                                    approved_hold: None,
                                    has_row: operation == Operation::Archive,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

/// The row and its entry, written past all triggers.
fn put(connection: &Connection, standing: &Standing) {
    fires(connection, false);
    let hs_id = standing.hs_id.map(|hs_id| hs_id.0);
    if standing.operation != Operation::Archive {
        connection
            .execute(
                "INSERT INTO contacts (local_id, hs_id, first_name) VALUES (1, ?1, 'Ada')",
                [hs_id],
            )
            .expect("a row");
    }
    connection
        .execute(
            "INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, state, attempts, enqueued_at, next_attempt_at,
                                      last_error, waits_for, key, row, unanswered_since, discarded_at)
             VALUES (1, 'contacts', 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'key', ?9, ?10, ?11)",
            rusqlite::params![
                hs_id,
                standing.operation.as_str(),
                standing.state.as_str(),
                standing.attempts,
                standing.enqueued_at.to_string(),
                standing.due.map(|due| due.to_string()),
                standing.last_error,
                standing.waits_for.map(WaitsFor::as_str),
                standing.has_row.then_some("{}"),
                standing.unanswered_since.map(|since| since.to_string()),
                standing.discarded_at.map(|at| at.to_string()),
            ],
        )
        .expect("an entry");
    connection
        .execute(
            "INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at) VALUES (1, 'email', 'a@example.com', ?1)",
            [LONG_AGO],
        )
        .expect("a field");
}

fn fires(connection: &Connection, fires: bool) {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, fires)
        .expect("triggers");
}

/// A standing whose times of this run are all the same one.
fn timeless(standing: Standing) -> Standing {
    let year = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
    let flat = |time: Timestamp| if time > year { now() } else { time };
    Standing {
        enqueued_at: flat(standing.enqueued_at),
        due: standing.due.map(flat),
        discarded_at: standing.discarded_at.map(flat),
        ..standing
    }
}

/// Holds what `act` makes of each standing to what the table says of the events; where `act` is refused nothing changes.
fn holds_to_the_table(
    concerns: impl Fn(&Standing) -> bool,
    events: impl Fn() -> Vec<Event>,
    act: impl Fn(&Transaction<'_>),
) {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    testing::at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
        ddl::bring_up(tx, &mapping(vec![contacts()]), now())?;
        Ok::<_, StoreError>(tx.execute_batch("UPDATE _sync_cursors SET backfill = 'done'")?)
    }))
    .expect("fills");
    store.close();
    let connection = daemons_connection(&folder);
    let mut seen = 0;
    for standing in standings().into_iter().filter(concerns) {
        let tx = connection.unchecked_transaction().expect("begins");
        put(&tx, &standing);
        act(&tx);
        let found = outbox::standing(&tx, ENTRY).expect("reads").map(timeless);
        let expected = events()
            .into_iter()
            .try_fold(standing.clone(), step)
            .map(timeless);
        assert_eq!(found, expected, "{standing:?}");
        tx.rollback().expect("rolls back");
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

/// A program's statement. What is refused leaves the entry as it was.
fn program(sql: &'static str) -> impl Fn(&Transaction<'_>) {
    move |connection| {
        fires(connection, true);
        let _refused = connection.execute_batch(sql).is_err();
        fires(connection, false);
    }
}

fn has_its_row(standing: &Standing) -> bool {
    standing.operation != Operation::Archive
}

#[test]
fn a_write_makes_of_an_entry_what_the_table_says() {
    holds_to_the_table(
        has_its_row,
        || vec![Event::Written],
        program("UPDATE contacts SET first_name = 'Eve'"),
    );
}

#[test]
fn a_deletion_makes_of_an_entry_what_the_table_says() {
    holds_to_the_table(
        has_its_row,
        || vec![Event::Deleted { at: now() }],
        program("DELETE FROM contacts"),
    );
}

#[test]
fn a_replacement_makes_of_an_entry_what_the_table_says() {
    holds_to_the_table(
        // The create of a row that HubSpot never heard of goes and comes again.
        |standing| standing.operation == Operation::Update,
        || vec![Event::Deleted { at: now() }, Event::InsertedAgain],
        program(
            "PRAGMA recursive_triggers = ON;
             REPLACE INTO contacts (local_id, hs_id, first_name) VALUES (1, 101, 'Ada')",
        ),
    );
}

#[test]
fn a_retry_makes_of_an_entry_what_the_table_says() {
    holds_to_the_table(
        |_| true,
        || vec![Event::Retried],
        program("UPDATE sync_outbox SET state = 'pending'"),
    );
}

#[test]
fn giving_an_entry_up_makes_of_it_what_the_table_says() {
    holds_to_the_table(
        |_| true,
        || vec![Event::Discarded { at: now() }],
        program("DELETE FROM sync_outbox"),
    );
}

#[test]
fn an_approval_makes_of_an_entry_what_the_table_says() {
    holds_to_the_table(
        |standing| standing.operation == Operation::Archive,
        || vec![Event::Released { hold: 7, at: now() }],
        |tx| holds::release_entries(tx, "contacts", "archive", HoldId(7), now()).expect("lets go"),
    );
}

#[test]
fn the_guard_makes_of_an_entry_what_the_table_says() {
    let object = contacts().object;
    let key = HoldKey {
        object: &object,
        side: Side::Hubspot,
        operation: HeldOperation::Archive,
    };
    holds_to_the_table(
        |standing| standing.operation == Operation::Archive,
        || vec![Event::Held],
        |tx| holds::hold_entries(tx, key, now()).expect("holds"),
    );
}
