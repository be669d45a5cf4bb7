//! Rows whose record HubSpot no longer has: counted as a whole by the guard, then removed, created again or held.

use rusqlite::Transaction;

use crate::decide::existence::{
    Action, ERASED_AFTER, Here, Hubspot, Sides, Word, decide, is_gone_for_good,
};
use crate::decide::guard::{Count, Verdict, judge};
use crate::engine::inbound::applying::why_kept;
use crate::engine::inbound::clearing::rejoin_row;
use crate::engine::inbound::existence::Matter;
use crate::engine::outbound::guarded::{bounds, removal_key};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::model::id::HubspotId;
use crate::model::mapping::Modes;
use crate::model::name::ObjectType;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::store::database::savepoint;
use crate::store::history::Origin;
use crate::store::holds::{self, HoldKey};
use crate::store::reads::{self, Removal};
use crate::store::{Lane, StoreError, conflicts, cursors, outbox};

/// How many rows are removed in one transaction.
const BATCH: usize = 200;

/// Judges and carries out what was found missing, once nothing more is being looked for.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let (name, now) = (object.object().clone(), engine.now());
    let (due, until) = engine
        .store
        .read(move |connection| {
            let due = reads::count_due_removals(connection, &name, now)?;
            Ok((due, reads::next_removal(connection, &name, now)?))
        })
        .await?;
    if due == 0 {
        return Ok(Progress::Idle { until });
    }
    let (sync, guard) = (object.clone(), engine.settings().guard);
    let offset_ms = engine.client.clock_offset_ms();
    let keys: Vec<String> = (0..BATCH).map(|_| engine.random_key()).collect();
    let progress = engine
        .store
        .write(Lane::Bulk, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset_ms);
            remove_due(tx, &pass, &guard, keys)
        })
        .await?;
    Ok(progress)
}

/// One batch of what is due, or a hold of all that is.
fn remove_due(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    guard: &Guard,
    keys: Vec<String>,
) -> Result<Progress, StoreError> {
    let object = pass.object;
    let (name, now) = (object.object(), pass.now);
    let due = reads::count_due_removals(tx, name, now)?;
    let until = reads::next_removal(tx, name, now)?;
    if due == 0 || still_looking(tx, name, now)? {
        return Ok(Progress::Idle { until });
    }
    let key = removal_key(name);
    let count = Count {
        due,
        in_window: holds::counted(tx, key, pass.moment().there() - guard.window)?,
        left: object.table.linked(tx)?.saturating_sub(due),
    };
    if let Verdict::Hold { allowed } = judge(count, bounds(guard)) {
        hold(tx, key, allowed, now)?;
        return Ok(Progress::RING);
    }
    let removals = reads::removals(tx, name, None, now, BATCH)?;
    let done = remove_all(tx, pass, object.mapping().modes, (&removals, keys))?;
    holds::count(tx, key, done.settled as u64, pass.moment().there())?;
    Ok(match done.settled + done.refused > 0 {
        true => Progress::More,
        false => Progress::Idle { until },
    })
}

/// Carries out all that is due, as the step does it batch by batch, where no key of a record that is created again is ever sent.
pub(crate) fn rehearse(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    guard: &Guard,
) -> Result<(), StoreError> {
    for round in 0.. {
        let numbers = round * BATCH..(round + 1) * BATCH;
        let keys = numbers.map(|number| format!("a{number:031x}")).collect();
        if remove_due(tx, pass, guard, keys)? != Progress::More {
            break;
        }
    }
    Ok(())
}

fn still_looking(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let reconciling = cursors::get(tx, object)?.reconcile_started_at.is_some();
    let reading = reads::next_due(tx, object)?.is_some_and(|due| due <= now);
    Ok(reconciling || reading)
}

fn hold(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    allowed: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = holds::hold(tx, key, 0, allowed, now)?;
    reads::hold_removals(tx, key.object, id)?;
    let held = reads::count_removals(tx, key.object, Some(id))?;
    holds::hold(tx, key, held, allowed, now)?;
    tracing::error!(
        object = %key.object, records = held, allowed, code = key.operation.code(),
        "HubSpot no longer has these records; their rows stay until `hubsyncd outbox approve` or an answer in sync_holds"
    );
    Ok(())
}

/// What became of removals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Those that were decided and carried out.
    pub settled: usize,
    /// Those that a constraint of somebody else's refused: they are tried again later.
    pub refused: usize,
}

/// Removes rows, or creates their records again, each by its own decision and for itself: what somebody else's constraint
/// keeps, keeps no other one. `modes`: what becomes of a row whose record is gone.
pub(crate) fn remove_all(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    modes: Modes,
    (removals, keys): (&[Removal], Vec<String>),
) -> Result<Removed, StoreError> {
    let mut done = Removed::default();
    for (removal, key) in removals.iter().zip(keys) {
        match savepoint::within(tx, || remove(tx, pass, modes, (removal, &key))) {
            Err(error) if error.is_of_one_row() => {
                refuse(tx, pass, removal.id, &error)?;
                done.refused += 1;
            }
            settled => done.settled += usize::from(settled?),
        }
    }
    Ok(done)
}

/// Names the row that can't be removed, and puts its removal off.
fn refuse(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    error: &StoreError,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let table = &object.mapping().table;
    let row = match object.table.by_hs_id(tx, id) {
        Ok(Some(row)) => format!("row {}", row.record.local_id),
        // A row that is too large to be read is named by its record alone.
        Ok(None) | Err(_) => "its row".to_owned(),
    };
    let why = why_kept(tx, object, error)?;
    let explanation =
        format!("HubSpot no longer has record {id}, and {table} {row} can't be removed: {why}");
    let name = object.object();
    if reads::refuse_removal(tx, name, id, now, &explanation)? {
        tracing::error!(object = %name, hs_id = %id, code = error.code(), "a constraint keeps a row whose record HubSpot no longer has; see sync_status.last_error");
    }
    Ok(())
}

fn remove(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    modes: Modes,
    (removal, key): (&Removal, &str),
) -> Result<bool, StoreError> {
    let object = pass.object;
    let name = object.object();
    let row = object.table.by_hs_id(tx, removal.id)?;
    let mut here = Here::Nothing;
    let mut queued = None;
    if let Some(row) = &row {
        let local_id = row.record.local_id;
        queued = rejoin_row(tx, pass, row, outbox::of_row(tx, name, local_id)?)?;
        let asked_at = conflicts::last_opened_at(tx, name, local_id)?;
        here = match object.table.is_marked(tx, local_id)? {
            true => Here::Marked,
            false => Here::row(queued.as_ref(), asked_at, &pass.moment()),
        };
    }
    let actions = decide(&Sides {
        hubspot: Hubspot::Gone {
            archived: removal.archived,
        },
        here,
        word: Word::Passed,
        policy: object.mapping().policy,
        modes,
        is_erasure: reads::erasure_asked_at(tx, name, removal.id)?.is_some(),
    });
    if let [Action::LookAgain(_)] = actions[..] {
        return Ok(false);
    }
    let matter = Matter {
        pass: pass.saying(removal.origin),
        hs_id: removal.id,
        row: row.as_ref(),
        queued: queued.as_ref(),
        record: None,
        key,
        decided: None,
    };
    matter.carry_out(tx, &actions)?;
    // A row that an operator kept against the file's word stays as long as they let it.
    let is_by_the_file = modes.on_remote_delete == object.mapping().modes.on_remote_delete;
    let leaves = actions.contains(&Action::RemoveRow)
        || (actions.contains(&Action::MarkRow) && is_by_the_file);
    if leaves && is_gone_for_good(removal, modes) {
        reads::erase_later(tx, name, removal.id, Some(pass.now + ERASED_AFTER))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::incoming::reading::Archived;
    use crate::engine::testing::{How, Scene, at, record, synced};
    use crate::model::id::HubspotId;
    use crate::model::mapping::{OnRemoteDelete, Policy};

    fn remove_101(scene: &Scene, archived_at: i64, offset_ms: i64) {
        let removal = Removal {
            id: HubspotId(101),
            archived: Archived::Shown(Some(at(archived_at))),
            origin: Origin::Poll,
        };
        let pass = Pass {
            offset_ms,
            ..scene.pass(at(1_000))
        };
        let keys = vec!["0123456789abcdef0123456789abcdef".to_owned()];
        scene.write(|tx| remove_all(tx, &pass, scene.object.mapping().modes, (&[removal], keys)));
    }

    /// Written twice: the first name at 5, the price at 20.
    fn written(policy: Policy) -> Scene {
        let scene = Scene::of(policy);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
        );
        scene.program("UPDATE contacts SET first_name = 'Ours', price = '2'");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET enqueued_at = '{}';
             UPDATE sync_outbox_fields SET changed_at = CASE property WHEN 'price' THEN '{}' ELSE '{}' END",
            at(5),
            at(20),
            at(5)
        ));
        scene
    }

    #[test]
    fn a_rows_latest_pending_write_is_compared_with_an_archiving() {
        let scene = written(Policy::Newest);
        remove_101(&scene, 10, 0);
        assert_eq!(scene.rows("SELECT local_id, hs_id FROM contacts"), ["1 -"]);
        let scene = written(Policy::Newest);
        remove_101(&scene, 30, 0);
        assert_eq!(scene.rows("SELECT count(*) FROM contacts"), ["0"]);
        assert_eq!(scene.conflicts().len(), 1);
    }

    #[test]
    fn a_write_is_compared_with_an_archiving_in_hubspots_time() {
        // HubSpot's clock is 15 s behind: the write was at 5 there, and at 35 if it is 15 s ahead.
        for (archived_at, offset_ms, left) in [(10, -15_000, "0"), (30, 15_000, "1")] {
            let scene = written(Policy::Newest);
            remove_101(&scene, archived_at, offset_ms);
            assert_eq!(scene.rows("SELECT count(*) FROM contacts"), [left]);
        }
    }

    #[test]
    fn a_row_whose_push_is_in_flight_is_not_removed_before_its_answer() {
        let scene = written(Policy::Remote);
        scene.daemon("UPDATE sync_outbox SET state = 'in_flight'");
        remove_101(&scene, 30, 0);
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
    }

    #[test]
    fn a_row_that_is_created_again_was_not_written_again() {
        let scene = written(Policy::Local);
        remove_101(&scene, 30, 0);
        assert_eq!(scene.outbox(), ["create 1 -; firstname was ?; price was ?"]);
        assert_eq!(
            scene.rows("SELECT enqueued_at FROM sync_outbox UNION ALL SELECT changed_at FROM sync_outbox_fields"),
            [at(5), at(5), at(20)].map(|at| at.to_string())
        );
    }

    #[test]
    fn what_a_person_was_asked_of_a_record_that_is_created_again_keeps_its_id() {
        let scene = written(Policy::Local);
        scene.daemon(&format!(
            "INSERT INTO sync_conflicts (object, local_id, hs_id, property, policy, detected_at)
             VALUES ('contacts', 1, 101, '*', 'manual', '{}')",
            at(6)
        ));
        remove_101(&scene, 30, 0);
        let told = "SELECT hs_id, winner, resolved_at IS NOT NULL FROM sync_conflicts";
        assert_eq!(scene.rows(told), ["101 local 1"; 2]);
    }

    #[test]
    fn what_is_known_of_a_record_that_is_nowhere_is_erased_after_thirty_days() {
        let removed_by = |mode, archived, origin| {
            let mut scene = Scene::of(Policy::Newest);
            let mut object = scene.object.mapping().clone();
            object.modes.on_remote_delete = mode;
            scene.object = synced(object);
            let ann = record(101, 0, &[("firstname", "Ann")]);
            scene.apply(How::at(0), &ann);
            let removal = Removal {
                id: HubspotId(101),
                archived,
                origin,
            };
            let keys = vec!["0123456789abcdef0123456789abcdef".to_owned()];
            scene.write(|tx| {
                remove_all(
                    tx,
                    &scene.pass(at(10)),
                    scene.object.mapping().modes,
                    (&[removal], keys),
                )
            });
            scene
        };
        let (unshown, shown) = (Archived::Unshown, Archived::Shown(Some(at(5))));
        let removed = |archived, origin| removed_by(OnRemoteDelete::Delete, archived, origin);
        let erased = |scene: &Scene, days: i64| {
            let day = at(10).plus_millis(days * 86_400_000);
            scene.write(|tx| {
                reads::forget_tombstones(tx, day)?;
                reads::to_be_erased(tx, scene.object.object(), day, 10)
            })
        };
        let lost = removed(unshown, Origin::Reconcile);
        assert_eq!(erased(&lost, 29), []);
        assert_eq!(erased(&lost, 30), [HubspotId(101)]);
        // It shows itself again.
        lost.apply(How::at(20), &record(101, 15, &[("firstname", "Ann")]));
        assert_eq!(erased(&lost, 30), []);
        assert_eq!(erased(&removed(shown, Origin::Reconcile), 30), []);
        // A row that says that its record is gone goes with the rest.
        let marked = |archived| removed_by(OnRemoteDelete::Mark, archived, Origin::Reconcile);
        assert_eq!(erased(&marked(unshown), 30), [HubspotId(101)]);
        assert_eq!(erased(&marked(shown), 30), []);
        assert_eq!(erased(&removed(unshown, Origin::Webhook), 30), []);
    }

    #[test]
    fn a_marked_row_goes_back_to_what_both_sides_knew_and_takes_no_write() {
        let mut scene = written(Policy::Remote);
        let mut object = scene.object.mapping().clone();
        object.modes.on_remote_delete = OnRemoteDelete::Mark;
        scene.object = synced(object);
        remove_101(&scene, 30, 0);
        let row = "SELECT local_id, hs_id, hs_archived, first_name, price FROM contacts";
        assert_eq!(scene.rows(row), ["1 101 1 Base 1"]);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        let kept = "SELECT winner, local_value ->> 'first_name' FROM sync_conflicts";
        assert_eq!(scene.rows(kept), ["remote Ours"]);
        // The next comparison misses it again, and tells nobody.
        remove_101(&scene, 30, 0);
        let told = "SELECT count(*) FROM sync_history WHERE property = '*' AND new_value IS NULL";
        assert_eq!(scene.rows(told), ["1"]);
        let missed = |tx: &Transaction<'_>| scene.object.table.linked_between(tx, 0, i64::MAX, 10);
        assert_eq!(scene.write(missed), []);
    }

    #[test]
    fn a_row_that_waits_for_a_decision_is_not_removed_as_a_clean_one() {
        let in_conflict = |policy| {
            let scene = Scene::with(|mapping| {
                mapping.policy = policy;
                for field in &mut mapping.fields {
                    field.policy = Policy::Manual;
                }
            });
            scene.apply(
                How::at(0),
                &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
            );
            scene.program("UPDATE contacts SET first_name = 'Ours'");
            scene.apply(
                How::at(5),
                &record(101, 5, &[("firstname", "Theirs"), ("price", "1")]),
            );
            remove_101(&scene, 10, 0);
            scene
        };
        let asked = in_conflict(Policy::Manual);
        assert_eq!(asked.rows("SELECT first_name FROM contacts"), ["Ours"]);
        let kept = in_conflict(Policy::Remote);
        assert_eq!(kept.rows("SELECT count(*) FROM contacts"), ["0"]);
        assert_eq!(kept.conflicts()[0], "1 firstname Ours Theirs remote");
        // Created again: the field goes on waiting, for the record that will be.
        let again = in_conflict(Policy::Local);
        assert_eq!(again.conflicts()[0], "1 firstname Ours Theirs -");
        assert_eq!(
            again.rows("SELECT hs_id FROM sync_conflicts WHERE resolved_at IS NULL"),
            ["-"]
        );
    }
}

#[cfg(test)]
mod guard_tests {
    use tempfile::TempDir;

    use super::*;
    use crate::decide::incoming::reading::Archived;
    use crate::decide::outgoing::present::Present;
    use crate::decide::retry::rest_of_refused;
    use crate::engine::decisions::approvals::{HoldPart, settle_removals};
    use crate::engine::testing::{keys, pass, showing, sync, synced, with_contacts, write};
    use crate::model::record::RemoteRecord;
    use crate::store::Store;
    use crate::store::shape::ddl;
    use crate::store::testing::{contacts, mapping, now, texts as shown};

    const GUARD: Guard = Guard {
        max_archives: 100,
        max_share: 0.05,
        window: std::time::Duration::from_hours(1),
        max_updates: 0,
        max_cleared: 1.0,
    };

    fn gone(id: i64) -> Removal {
        Removal {
            id: HubspotId(1000 + id),
            archived: Archived::Unshown,
            origin: crate::store::history::Origin::Reconcile,
        }
    }

    fn note(store: &Store, ids: std::ops::RangeInclusive<i64>) {
        write(store, move |tx| {
            for id in ids {
                reads::note_removal(tx, sync().object(), gone(id), now())?;
            }
            Ok(())
        });
    }

    fn remove(store: &Store) -> Progress {
        write(store, |tx| remove_due(tx, &pass(&sync()), &GUARD, keys()))
    }

    fn rows_left(folder: &TempDir) -> String {
        shown(folder, "SELECT CAST(count(*) AS TEXT) FROM contacts").remove(0)
    }

    #[test]
    fn removals_wait_for_the_end_of_the_comparison_and_of_the_reads() {
        let (folder, store) = with_contacts(5);
        write(&store, |tx| {
            cursors::begin_reconcile(tx, sync().object(), now())
        });
        note(&store, 1..=2);
        assert_eq!(remove(&store), Progress::RING);
        assert_eq!(rows_left(&folder), "5");
        write(&store, |tx| {
            cursors::end_reconcile(tx, sync().object(), now())?;
            let origin = crate::store::history::Origin::Reconcile;
            reads::ask(tx, sync().object(), HubspotId(1003), origin, now()).map(drop)
        });
        assert_eq!(remove(&store), Progress::RING);
        assert_eq!(rows_left(&folder), "5", "a read may find more of them");
        write(
            &store,
            |tx| Ok(tx.execute_batch("DELETE FROM _sync_reads")?),
        );
        assert_eq!(remove(&store), Progress::More);
        assert_eq!(rows_left(&folder), "3");
    }

    #[test]
    fn a_step_of_this_machines_clock_does_not_empty_the_guards_window() {
        let (folder, store) = with_contacts(400);
        note(&store, 1..=60);
        remove(&store);
        note(&store, 61..=120);
        // Put ahead by a day, and right by HubSpot's answers all the while.
        let day_ms = 24 * 3_600_000;
        let remove_on = |days| {
            write(&store, move |tx| {
                let object = sync();
                let pass = Pass {
                    now: now().plus_millis(days * day_ms),
                    offset_ms: -day_ms,
                    ..pass(&object)
                };
                remove_due(tx, &pass, &GUARD, keys())
            })
        };
        remove_on(1);
        assert_eq!(rows_left(&folder), "340");
        assert_eq!(
            shown(&folder, "SELECT CAST(records AS TEXT) FROM sync_holds"),
            ["60"]
        );
        // The window ends when its time has passed there.
        note(&store, 121..=122);
        remove_on(2);
        assert_eq!(rows_left(&folder), "338");
    }

    #[test]
    fn removals_of_less_than_a_batch_count_in_the_guards_window() {
        let (folder, store) = with_contacts(400);
        for (ids, left) in [
            (1..=60, "340"),
            (61..=99, "301"),
            (100..=100, "300"),
            (101..=101, "300"),
        ] {
            note(&store, ids);
            remove(&store);
            assert_eq!(rows_left(&folder), left);
        }
        assert_eq!(
            shown(
                &folder,
                "SELECT side || ' ' || records || ' ' || allowed FROM sync_holds"
            ),
            ["local 1 100"]
        );
    }

    fn approve(store: &Store, seconds: i64, present: Present) -> usize {
        write(store, move |tx| {
            let now = now().plus_millis(seconds * 1_000);
            let hold = holds::decided(tx)?.remove(0).id;
            let removals = reads::removals(tx, sync().object(), Some(hold), now, 100)?;
            let in_hold = reads::count_removals(tx, sync().object(), Some(hold))?;
            let part = HoldPart {
                hold,
                removals: &removals,
                in_hold,
                modes: sync().mapping().modes,
                keys: keys(),
            };
            let object = sync();
            let pass = Pass {
                now,
                ..pass(&object)
            };
            settle_removals(tx, &pass, part, &present)?;
            Ok(removals.len())
        })
    }

    #[test]
    fn an_approved_hold_keeps_the_rows_whose_record_could_not_be_read_this_time() {
        let (folder, store) = with_contacts(20);
        note(&store, 1..=20);
        assert_eq!(remove(&store), Progress::RING);
        write(&store, |tx| {
            Ok(tx.execute_batch("UPDATE sync_holds SET approved_at = 'x'")?)
        });
        let live = RemoteRecord {
            id: HubspotId(1008),
            values: crate::model::field_values::FieldValues::default(),
            invalid: std::collections::BTreeMap::new(),
            created_at: now(),
            updated_at: now(),
            archived: false,
            archived_at: None,
            merged_ids: Vec::new(),
            own_key: None,
            other_emails: Vec::new(),
            pipeline: None,
        };
        approve(&store, 0, showing(vec![live], &["1007"]));
        let left = "SELECT CAST(hs_id AS TEXT) FROM contacts ORDER BY hs_id";
        assert_eq!(shown(&folder, left), ["1007", "1008"]);
        let open = "SELECT CAST(records AS TEXT) FROM sync_holds WHERE settled_at IS NULL";
        assert_eq!(
            shown(&folder, open),
            ["20"],
            "what was not read is still held"
        );
        let looked_at = approve(&store, 1, Present::default());
        assert_eq!(
            looked_at, 0,
            "a look a second would cost a request a second"
        );
        approve(&store, 30, showing(Vec::new(), &[]));
        assert_eq!(shown(&folder, left), ["1008"]);
        assert_eq!(shown(&folder, open), [""; 0]);
    }

    const ORDERS: &str = "
        CREATE TABLE orders (id INTEGER PRIMARY KEY, contact INTEGER REFERENCES contacts (local_id));
        INSERT INTO orders (contact) VALUES (2)";
    const DEFERRED: &str = "
        CREATE TABLE orders (id INTEGER PRIMARY KEY, contact INTEGER REFERENCES contacts (hs_id) DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO orders (contact) VALUES (1002)";

    #[test]
    fn a_row_that_somebody_elses_table_refers_to_keeps_no_other_removal_waiting() {
        for referring in [ORDERS, DEFERRED] {
            let (folder, store) = with_contacts(5);
            write(&store, move |tx| Ok(tx.execute_batch(referring)?));
            note(&store, 1..=3);
            assert_eq!(remove(&store), Progress::More);
            let left = "SELECT CAST(local_id AS TEXT) FROM contacts ORDER BY local_id";
            assert_eq!(shown(&folder, left), ["2", "4", "5"]);
            let explanation = shown(&folder, "SELECT last_error FROM sync_status");
            assert!(
                explanation[0].starts_with(
                    "HubSpot no longer has record 1002, and contacts row 2 can't be removed: "
                ),
                "{explanation:?}"
            );
            assert!(
                explanation[0].contains("; rows of `orders` refer to contacts: "),
                "{explanation:?}"
            );
            // It is tried again later, not at once and not for ever.
            let until = Some(now() + rest_of_refused(1));
            assert_eq!(remove(&store), Progress::Idle { until });
            note(&store, 4..=4);
            assert_eq!(remove(&store), Progress::More);
            assert_eq!(shown(&folder, left), ["2", "5"]);
            assert_eq!(
                shown(&folder, "SELECT last_error FROM sync_status"),
                explanation,
                "it stays until it is over"
            );
            write(&store, |tx| Ok(tx.execute_batch("DELETE FROM orders")?));
            note(&store, 2..=2);
            assert_eq!(remove(&store), Progress::More);
            assert_eq!(shown(&folder, left), ["5"]);
            assert_eq!(
                shown(&folder, "SELECT coalesce(last_error, '-') FROM sync_status"),
                ["-"]
            );
            // Only what went counts in the guard's window.
            assert_eq!(
                shown(
                    &folder,
                    "SELECT CAST(sum(records) AS TEXT) FROM _sync_guard_log"
                ),
                ["4"]
            );
        }
    }

    #[test]
    fn a_removed_rows_pending_value_of_a_property_that_left_the_mapping_is_kept_with_the_row() {
        let (folder, store) = with_contacts(3);
        write(&store, |tx| {
            tx.execute_batch(
                "ALTER TABLE contacts ADD COLUMN note TEXT;
                 UPDATE contacts SET stage = 'lead', note = 'mine' WHERE local_id = 1;
                 INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
                 VALUES (1, 'contacts', 1, 1001, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z');
                 INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at)
                 VALUES (1, 'stage', 'customer', '2026-11-24T03:00:00.000Z')",
            )?;
            ddl::fit_to_mapping(tx, &mapping(vec![without_stage()]), now()).map(drop)
        });
        note(&store, 1..=1);
        let stage_is_gone = synced(without_stage());
        write(&store, move |tx| {
            remove_due(tx, &pass(&stage_is_gone), &GUARD, keys())
        });
        let kept = "SELECT old_value ->> 'stage' || ' ' || (old_value ->> 'note') || ' ' || (old_value ->> 'email')
                    FROM sync_history WHERE property = '*'";
        assert_eq!(shown(&folder, kept), ["lead mine 1@example.com"]);
    }

    fn without_stage() -> crate::model::mapping::ObjectMapping {
        let mut mapping = contacts();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "stage");
        mapping
    }
}
