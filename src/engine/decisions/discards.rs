//! Entries that a person gives up: the row goes back to what both sides agreed on, or is back as it was.

use rusqlite::Transaction;

use crate::decide::decision::taken_back;
use crate::decide::existence::{GivenUp, Moment, given_up};
use crate::engine::acts::EntryWork;
use crate::engine::inbound::existence::undelete;
use crate::engine::outbound::guarded::{archive_key, disassociation_key, update_key};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::Objects;
use crate::engine::{Engine, StepError};
use crate::model::conflict::Winner;
use crate::model::entry::{Base, Entry, EntryField, Operation};
use crate::model::id::{HubspotId, LocalId};
use crate::model::value::Value;
use crate::store::conflicts::{self, End};
use crate::store::database::savepoint;
use crate::store::fields::{self, FieldRow};
use crate::store::history::{self, Change, Origin};
use crate::store::links::due;
use crate::store::outbox::{GuardedEntries, links};
use crate::store::{Lane, StoreError, holds, outbox, reads};

/// How many entries one step gives up.
const BATCH: usize = 100;

/// Gives up what people have discarded. Tells whether something was.
pub(super) async fn step(engine: &Engine) -> Result<bool, StepError> {
    let objects = engine.objects();
    let waiting = engine
        .store
        .read(|connection| outbox::discarded(connection, BATCH))
        .await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let offset_ms = engine.client.clock_offset_ms();
    let more = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            carry_out(tx, &objects, Moment { now, offset_ms })
        })
        .await?;
    Ok(more)
}

/// Gives up what people have discarded, a batch of it. Tells whether something was.
pub(super) fn carry_out(
    tx: &Transaction<'_>,
    objects: &Objects,
    moment: Moment,
) -> Result<bool, StoreError> {
    let mut carried_out = false;
    for (object, queued) in outbox::discarded(tx, BATCH)? {
        let Some(sync) = objects.get(&object) else {
            continue;
        };
        carried_out = true;
        let pass = Pass::at(moment, &sync, Origin::Discard);
        match savepoint::within(tx, || discard_one(tx, &pass, &queued)) {
            Err(error) if error.is_of_one_row() => {
                let explanation = format!("it can't be discarded: {error}");
                outbox::refuse_discard(tx, queued.id, &explanation)?;
            }
            discarded => discarded?,
        }
    }
    Ok(carried_out)
}

pub(super) fn discard_one(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    if is_of_link(entry) {
        return discard_link(tx, pass, entry);
    }
    match given_up(entry) {
        GivenUp::TakeBack(hs_id) => {
            take_back(tx, pass, entry)?;
            outbox::end(tx, entry.id)?;
            reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
        }
        GivenUp::Undelete(hs_id) => {
            undelete(tx, pass, entry, hs_id)?;
            if let Some(whole) = conflicts::open_whole(tx, object.object(), entry.local_id)? {
                let end = End {
                    winner: Winner::Remote,
                    resolution: "discarded",
                    reason: "the deletion was discarded, and the row is back",
                };
                conflicts::close(tx, whole, end, now)?;
            }
            reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
        }
        GivenUp::Exclude => {
            outbox::end(tx, entry.id)?;
            outbox::exclude(tx, object.object(), entry.local_id)?;
        }
        GivenUp::End => outbox::end(tx, entry.id)?,
    }
    for key in [archive_key, update_key].map(|key| key(object.object())) {
        holds::recount_entries(tx, key, GuardedEntries::of_key(key), now)?;
    }
    Ok(())
}

fn is_of_link(entry: &Entry) -> bool {
    matches!(
        entry.standing.operation,
        Operation::Associate | Operation::Disassociate
    )
}

/// An association that is given up goes again, one whose taking away is given up is back, in both directions where each has a
/// row; reads of the records' associations tell what HubSpot has.
fn discard_link(tx: &Transaction<'_>, pass: &Pass<'_>, entry: &Entry) -> Result<(), StoreError> {
    let pair = links::pair_of(tx, entry.id, &pass.object.pairs)?;
    let pairs = &pass.object.pairs;
    let opposite = pair.as_ref().and_then(|pair| pair.opposite(pairs));
    let [from, to] = links::records_shown_by(tx, entry.id)?;
    match entry.standing.operation {
        Operation::Disassociate => links::put_rows_back(tx, entry.id, opposite)?,
        Operation::Create | Operation::Update | Operation::Archive | Operation::Associate => {
            links::delete_rows(tx, entry.id, pass.now)?;
        }
    }
    outbox::end(tx, entry.id)?;
    let Some(pair) = pair else {
        return Ok(());
    };
    for (pair, record) in [(Some(&pair), from), (opposite, to)] {
        if let (Some(pair), Some(hs_id)) = (pair, record) {
            due::ask(tx, &pair.key, hs_id, Origin::Poll, pass.now)?;
        }
    }
    let (name, entries) = (pair.name(), GuardedEntries::of_pair(&pair));
    holds::recount_entries(tx, disassociation_key(&name), entries, pass.now)
}

/// The fields of a discarded update go back to their base; what they held is kept.
fn take_back(tx: &Transaction<'_>, pass: &Pass<'_>, entry: &Entry) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(mut row) = object.table.by_local_id(tx, entry.local_id)? else {
        return Ok(());
    };
    let work = EntryWork::of_entry(tx, object.object(), entry, now);
    for field in &entry.fields {
        match taken_back(object.mapping(), field, &row) {
            Some(acts) => work.carry_out_on(object.mapping(), &mut row, acts)?,
            None => take_back_other(tx, pass, entry, field)?,
        }
    }
    object.table.update(tx, &row)
}

/// A field that is not in force, since it left the mapping or has a problem: its column stands in the table all the same.
/// Without a known base, or without the column, nothing is taken back, and nothing is written down.
fn take_back_other(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    field: &EntryField,
) -> Result<(), StoreError> {
    let Base::Known(base) = &field.base else {
        return Ok(());
    };
    let others = fields::out_of_force(tx, pass.object.mapping())?;
    let other = others
        .iter()
        .find(|other| other.property == field.property.as_str());
    match other {
        Some(other) => {
            let ids = (entry.local_id, entry.standing.hs_id);
            set_other(tx, pass, ids, other, (base, Origin::Discard))
        }
        None => Ok(()),
    }
}

/// Gives the column of a field that is not in force a value; what it held is kept.
pub(super) fn set_other(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (local_id, hs_id): (LocalId, Option<HubspotId>),
    other: &FieldRow,
    (value, origin): (&Value, Origin),
) -> Result<(), StoreError> {
    let object = pass.object;
    let Some(held) = object.table.former_value(tx, local_id, other)? else {
        return Ok(());
    };
    let change = Change {
        object: object.object(),
        local_id,
        hs_id,
        property: &other.property,
        old: held.as_deref(),
        new: value.as_deref(),
        origin,
    };
    history::record(tx, change, pass.now)?;
    object.table.set_former(tx, local_id, other, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, at, pass, record, synced, with_contacts, write};
    use crate::model::id::OutboxId;
    use crate::model::mapping::{ObjectMapping, Policy};
    use crate::store::Store;
    use crate::store::shape::ddl;
    use crate::store::testing::{contacts, mapping, now, texts as shown};

    const PENDING: &str = "
        UPDATE contacts SET stage = 'lead', first_name = 'Augusta' WHERE local_id = 1;
        INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at)
        VALUES (1, 'contacts', 1, 1001, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z');
        INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at)
        VALUES (1, 'stage', 'customer', '2026-11-24T03:00:00.000Z'), (1, 'firstname', 'Ada', '2026-11-24T03:00:00.000Z');";

    fn without_stage() -> ObjectMapping {
        let mut mapping = contacts();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "stage");
        mapping
    }

    fn discard_the_only_entry(store: &Store) {
        let object = synced(without_stage());
        write(store, move |tx| {
            let queued = outbox::by_id(tx, OutboxId(1))?.expect("is there");
            discard_one(tx, &pass(&object), &queued)
        });
    }

    #[test]
    fn discarding_takes_a_property_back_that_left_the_mapping_and_writes_down_what_is_so() {
        let (folder, store) = with_contacts(2);
        write(&store, |tx| {
            tx.execute_batch(PENDING)?;
            ddl::fit_to_mapping(tx, &mapping(vec![without_stage()]), now()).map(drop)
        });
        discard_the_only_entry(&store);
        assert_eq!(
            shown(
                &folder,
                "SELECT first_name || ' ' || stage FROM contacts WHERE local_id = 1"
            ),
            ["Ada customer"]
        );
        assert_eq!(
            shown(
                &folder,
                "SELECT property || ' ' || old_value || ' ' || new_value || ' ' || origin FROM sync_history ORDER BY id"
            ),
            [
                "firstname Augusta Ada discard",
                "stage lead customer discard"
            ]
        );
    }

    #[test]
    fn a_discarded_deletion_leaves_pending_what_was_pending_before_it() {
        let scene = Scene::of(Policy::Local);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
        );
        scene.program(
            "UPDATE contacts SET first_name = 'Ours', price = '2';
             UPDATE contacts SET price = '1' WHERE price = '2'",
        );
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(3)
        ));
        let before = scene.outbox();
        assert_eq!(before, ["update 1 101; firstname was Base"]);
        scene.program("DELETE FROM contacts; DELETE FROM sync_outbox");
        scene.write(|tx| {
            let (_, queued) = outbox::discarded(tx, BATCH)?.remove(0);
            discard_one(tx, &scene.pass(at(9)), &queued)
        });
        assert_eq!(scene.outbox(), before);
        assert_eq!(
            scene.rows("SELECT local_id, first_name, price FROM contacts"),
            ["1 Ours 1"]
        );
        let waits = "SELECT e.state, e.row IS NULL, e.discarded_at IS NULL, e.next_attempt_at IS NOT NULL, f.changed_at
                     FROM sync_outbox AS e, sync_outbox_fields AS f";
        assert_eq!(scene.rows(waits), [format!("pending 1 1 1 {}", at(3))]);
        assert_eq!(
            scene.rows("SELECT origin FROM sync_history WHERE origin = 'discard'"),
            NOTHING
        );
        // Nothing was pending: nothing is.
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("DELETE FROM contacts; DELETE FROM sync_outbox");
        scene.write(|tx| {
            let (_, queued) = outbox::discarded(tx, BATCH)?.remove(0);
            discard_one(tx, &scene.pass(at(9)), &queued)
        });
        assert_eq!(scene.outbox(), NOTHING);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Base"]);
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_discarded_deletion_brings_back_what_was_pending_of_a_property_that_left_the_mapping() {
        let (folder, store) = with_contacts(2);
        write(&store, |tx| {
            tx.execute_batch(PENDING)?;
            ddl::fit_to_mapping(tx, &mapping(vec![without_stage()]), now())?;
            tx.execute_batch("DELETE FROM contacts WHERE local_id = 1")?;
            tx.execute(
                "UPDATE sync_outbox SET operation = 'archive', row = ?1 WHERE id = 1",
                [r#"{"email":"1@example.com","firstname":"Augusta","stage":"lead"}"#],
            )?;
            Ok(())
        });
        discard_the_only_entry(&store);
        assert_eq!(
            shown(&folder, "SELECT stage FROM contacts WHERE local_id = 1"),
            ["lead"]
        );
        let waits = "SELECT e.operation || ' ' || f.base_value
                     FROM sync_outbox_fields AS f JOIN sync_outbox AS e ON e.id = f.outbox_id WHERE f.property = 'stage'";
        assert_eq!(shown(&folder, waits), ["update customer"]);
        assert_eq!(
            shown(&folder, "SELECT origin FROM sync_history"),
            NOTHING.map(str::to_owned)
        );
    }

    #[test]
    fn a_discarded_deletion_brings_back_a_column_that_had_left_the_mapping_before_it() {
        let (folder, store) = with_contacts(1);
        write(&store, |tx| {
            tx.execute_batch("UPDATE contacts SET stage = 'lead'")?;
            ddl::fit_to_mapping(tx, &mapping(vec![without_stage()]), now()).map(drop)
        });
        crate::store::testing::connection(&folder)
            .execute_batch("DELETE FROM contacts")
            .expect("deletes");
        discard_the_only_entry(&store);
        assert_eq!(shown(&folder, "SELECT stage FROM contacts"), ["lead"]);
    }

    #[test]
    fn discarding_says_nothing_of_a_column_that_is_not_there_any_more() {
        for gone in [
            "DELETE FROM sync_fields WHERE property = 'stage'",
            "ALTER TABLE contacts DROP COLUMN stage",
        ] {
            let (folder, store) = with_contacts(2);
            write(&store, move |tx| {
                tx.execute_batch(PENDING)?;
                ddl::fit_to_mapping(tx, &mapping(vec![without_stage()]), now())?;
                // No column can be dropped that a trigger names.
                let triggers: Option<String> = tx.query_row(
                    "SELECT group_concat('DROP TRIGGER ' || name, ';') FROM sqlite_schema WHERE type = 'trigger'",
                    [],
                    |row| row.get(0),
                )?;
                tx.execute_batch(&triggers.unwrap_or_default())?;
                Ok(tx.execute_batch(gone)?)
            });
            discard_the_only_entry(&store);
            assert_eq!(
                shown(&folder, "SELECT property FROM sync_history"),
                ["firstname"],
                "{gone}"
            );
        }
    }
}
