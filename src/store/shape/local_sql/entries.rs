//! What triggers make of an entry is what `decide/entry` says: each standing that the file can hold meets each statement.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::decide::entry::{EntryEvent, UNWRITABLE, step};
use crate::model::association::PairMapping;
use crate::model::entry::{EntryState, Operation, Standing, WaitsFor};
use crate::model::id::{HoldId, HubspotId, OutboxId};
use crate::model::mapping::{Direction, Policy};
use crate::model::name::{ObjectType, TableName};
use crate::model::time::Timestamp;
use crate::store::outbox::GuardedEntries;
use crate::store::shape::ddl;
use crate::store::testing::{self, contacts, daemons_connection, folder, mapping, now, open};
use crate::store::{Lane, Mode, StoreError, WriteTx, outbox};

/// When the entries of this test were queued: long before any statement runs.
const LONG_AGO: &str = "2020-01-01T00:00:00.000Z";

const ENTRY: OutboxId = OutboxId(1);

fn long_ago() -> Timestamp {
    Timestamp::parse(LONG_AGO).expect("a time")
}

/// Every standing of a row's own entry that the table's checks let in, apart from what no statement looks at.
fn standings() -> Vec<Standing> {
    standings_of(&[Operation::Create, Operation::Update, Operation::Archive])
}

/// The same of an association's.
fn standings_of_links() -> Vec<Standing> {
    standings_of(&[Operation::Associate, Operation::Disassociate])
}

fn is_of_link(standing: &Standing) -> bool {
    matches!(
        standing.operation,
        Operation::Associate | Operation::Disassociate
    )
}

fn standings_of(operations: &[Operation]) -> Vec<Standing> {
    let mut all = Vec::new();
    for operation in operations.iter().copied() {
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
                        for last_error in [None, Some("words [not-visible]"), Some(UNWRITABLE)] {
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
    if has_its_row(standing) {
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
                                      last_error, waits_for, key, row, unanswered_since, discarded_at, approved_hold, code,
                                      to_object, to_local_id)
             VALUES (1, 'contacts', 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'key', ?9, ?10, ?11, ?12, ?13,
                     iif(?14, 'companies', NULL), iif(?14, 1, NULL))",
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
                standing.approved_hold,
                standing.code(),
                is_of_link(standing),
            ],
        )
        .expect("an entry");
    if is_of_link(standing) {
        return;
    }
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

/// The same with each time that the daemon's own statements tell apart, each before and after `now`, and with an approval.
fn in_time(standings: impl Iterator<Item = Standing>) -> impl Iterator<Item = Standing> {
    let minute = now().plus_millis(60_000);
    let times = [
        (long_ago(), Some(long_ago())),
        (long_ago(), Some(now())),
        (long_ago(), Some(minute)),
        (minute, Some(minute)),
        (long_ago(), Some(now().plus_millis(24 * 3_600_000))),
        (long_ago(), None),
    ];
    standings.flat_map(move |standing| {
        times.map(|(enqueued_at, due)| Standing {
            enqueued_at,
            due,
            approved_hold: (standing.attempts > 0).then_some(3),
            ..standing.clone()
        })
    })
}

/// Holds what a program's statement makes of each standing to what the table says of the events; where it is refused nothing
/// changes.
fn a_program_holds_to_the_table(
    concerns: impl Fn(&Standing) -> bool,
    events: impl Fn() -> Vec<EntryEvent>,
    sql: &'static str,
) {
    let standings = standings().into_iter().filter(concerns);
    hold_to_the_table(standings, events, program(sql), timeless);
}

/// The same of a statement of the daemon's.
fn the_daemon_holds_to_the_table(
    concerns: impl Fn(&Standing) -> bool,
    event: &EntryEvent,
    act: impl Fn(&Transaction<'_>) -> Result<(), StoreError>,
) {
    let all = standings().into_iter().chain(standings_of_links());
    // What no daemon's statement looks at.
    let is_plain =
        |standing: &Standing| standing.last_error.is_none() && standing.discarded_at.is_none();
    let standings = in_time(all.filter(is_plain)).filter(concerns);
    let act = |tx: &Transaction<'_>| act(tx).expect("runs");
    hold_to_the_table(standings, || vec![event.clone()], act, |standing| standing);
}

fn hold_to_the_table(
    standings: impl Iterator<Item = Standing>,
    events: impl Fn() -> Vec<EntryEvent>,
    act: impl Fn(&Transaction<'_>),
    seen_as: impl Fn(Standing) -> Standing,
) {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    testing::at_once(store.write(Lane::Bulk, |tx: &WriteTx<'_>| {
        ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now())?;
        Ok::<_, StoreError>(tx.execute_batch("UPDATE _sync_cursors SET backfill = 'done'")?)
    }))
    .expect("fills");
    store.close();
    let connection = daemons_connection(&folder);
    let mut seen = 0;
    for standing in standings {
        let tx = connection.unchecked_transaction().expect("begins");
        put(&tx, &standing);
        act(&tx);
        let found = outbox::standing(&tx, ENTRY).expect("reads").map(&seen_as);
        let expected = events()
            .into_iter()
            .try_fold(standing.clone(), step)
            .map(&seen_as);
        assert_eq!(found, expected, "{standing:?}");
        // The code is that of the sentence, whoever wrote it.
        let code = "SELECT code FROM sync_outbox WHERE id = 1";
        let code = tx.query_row(code, [], |row| row.get::<_, Option<String>>(0));
        let code = code.optional().expect("reads").flatten();
        let said = found.as_ref().and_then(Standing::code);
        assert_eq!(code.as_deref(), said, "{standing:?}");
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
    !matches!(
        standing.operation,
        Operation::Archive | Operation::Associate | Operation::Disassociate
    )
}

fn pair() -> PairMapping {
    PairMapping {
        key: TableName::parse("contacts_companies").expect("a name"),
        from: contacts().object,
        to: ObjectType::parse("companies").expect("a name"),
        direction: Direction::Both,
        policy: Policy::Remote,
    }
}

#[test]
fn a_write_makes_of_an_entry_what_the_table_says() {
    a_program_holds_to_the_table(
        has_its_row,
        || vec![EntryEvent::Written],
        "UPDATE contacts SET first_name = 'Eve'",
    );
}

#[test]
fn a_deletion_makes_of_an_entry_what_the_table_says() {
    a_program_holds_to_the_table(
        has_its_row,
        || vec![EntryEvent::Deleted { at: now() }],
        "DELETE FROM contacts",
    );
}

#[test]
fn a_replacement_makes_of_an_entry_what_the_table_says() {
    a_program_holds_to_the_table(
        // The create of a row that HubSpot never heard of goes and comes again.
        |standing| standing.operation == Operation::Update,
        || vec![EntryEvent::Deleted { at: now() }, EntryEvent::InsertedAgain],
        "PRAGMA recursive_triggers = ON;
             REPLACE INTO contacts (local_id, hs_id, first_name) VALUES (1, 101, 'Ada')",
    );
}

#[test]
fn a_retry_makes_of_an_entry_what_the_table_says() {
    let sql = "UPDATE sync_outbox SET state = 'pending'";
    for standings in [standings(), standings_of_links()] {
        let events = || vec![EntryEvent::Retried];
        hold_to_the_table(standings.into_iter(), events, program(sql), timeless);
    }
}

#[test]
fn giving_an_entry_up_makes_of_it_what_the_table_says() {
    for standings in [standings(), standings_of_links()] {
        let events = || vec![EntryEvent::Discarded { at: now() }];
        let act = program("DELETE FROM sync_outbox");
        hold_to_the_table(standings.into_iter(), events, act, timeless);
    }
}

/// Archives of contacts, as the guard sees them.
fn archives() -> GuardedEntries<'static> {
    GuardedEntries::of("contacts", "archive")
}

/// Holds what taking back a hold of these entries makes of each to what the table says: of those alone that are held, and
/// that nobody has given up yet.
fn a_taken_back_hold_holds_to_the_table(
    operation: Operation,
    act: impl Fn(&Transaction<'_>) -> Result<(), StoreError>,
) {
    let held = standings_of(&[operation]).into_iter().filter(|standing| {
        standing.state == EntryState::Pending && standing.waits_for == Some(WaitsFor::Guard)
    });
    let events = || vec![EntryEvent::Discarded { at: now() }];
    let act = |tx: &Transaction<'_>| act(tx).expect("runs");
    hold_to_the_table(in_time(held), events, act, |standing| standing);
}

#[test]
fn a_hold_that_is_taken_back_makes_of_an_entry_what_the_table_says() {
    a_taken_back_hold_holds_to_the_table(Operation::Archive, |tx| {
        archives().discard_held(tx, now())
    });
    a_taken_back_hold_holds_to_the_table(Operation::Disassociate, |tx| {
        GuardedEntries::of_pair(&pair()).discard_held(tx, now())
    });
}

#[test]
fn an_approval_makes_of_an_entry_what_the_table_says() {
    the_daemon_holds_to_the_table(
        |standing| standing.operation == Operation::Archive,
        &EntryEvent::Released { hold: 7, at: now() },
        |tx| archives().release_held(tx, HoldId(7), now()),
    );
    the_daemon_holds_to_the_table(
        |standing| standing.operation == Operation::Disassociate,
        &EntryEvent::Released { hold: 7, at: now() },
        |tx| GuardedEntries::of_pair(&pair()).release_held(tx, HoldId(7), now()),
    );
}

#[test]
fn the_guard_makes_of_an_entry_what_the_table_says() {
    the_daemon_holds_to_the_table(
        // The guard looks at what is due.
        |standing| {
            standing.operation == Operation::Archive && standing.due.is_some_and(|due| due <= now())
        },
        &EntryEvent::Held,
        |tx| archives().hold_due(tx, now()),
    );
    the_daemon_holds_to_the_table(
        |standing| {
            standing.operation == Operation::Disassociate
                && standing.due.is_some_and(|due| due <= now())
        },
        &EntryEvent::Held,
        |tx| GuardedEntries::of_pair(&pair()).hold_due(tx, now()),
    );
}

#[test]
fn the_end_of_a_backfill_makes_of_an_entry_what_the_table_says() {
    the_daemon_holds_to_the_table(
        // Nothing else waits for one.
        |standing| standing.operation == Operation::Create,
        &EntryEvent::Backfilled,
        |tx| outbox::release_backfill(tx, &contacts().object),
    );
}

#[test]
fn a_property_that_can_be_written_again_makes_of_an_entry_what_the_table_says() {
    the_daemon_holds_to_the_table(
        // An association carries no property.
        |standing| !is_of_link(standing),
        &EntryEvent::Writable { at: now() },
        |tx| outbox::release_property(tx, "contacts", "email", now()),
    );
}

#[test]
fn healing_makes_of_an_entry_what_the_table_says() {
    the_daemon_holds_to_the_table(
        |_| true,
        &EntryEvent::Healed { at: now() },
        |tx| {
            let object = contacts().object;
            let was_put_off = outbox::is_put_off_by_a_clock(tx, &object, now())?;
            let healed = outbox::heal_times(tx, &object, now())?;
            assert_eq!(was_put_off, healed > 0);
            Ok(())
        },
    );
}
