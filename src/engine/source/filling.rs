//! Newly mapped columns of an object that is in agreement already: filled from the list, those columns alone.
//!
//! A column that is mapped again, or whose property is well again, may hold old values: what HubSpot has changed of it meanwhile goes
//! to `sync_history`; the first values of a new column are no changes. What waits to be sent, or for a person's decision, is not the
//! filling's to write, and what it would empty passes the guard as on any other answer of HubSpot's.

use std::collections::BTreeSet;

use rusqlite::Transaction;

use crate::decide::incoming::convert::remote_record;
use crate::decide::incoming::freshness::{Evidence, Freshness, of_version};
use crate::engine::inbound::applying::Applying;
use crate::engine::inbound::clearing;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::blanks;
use crate::engine::source::ranges::PAGE;
use crate::engine::source::reads::ask_unread;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{ListQuery, Priority};
use crate::model::entry::{Base, Entry};
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::store::fields::FieldState;
use crate::store::history::{self, Change, Origin};
use crate::store::modes::{self, FieldMode};
use crate::store::outbox;
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, cleared, conflicts, cursors, fields, reads, unreadable};

/// Fills one page, while columns are to be filled.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let name = object.object().clone();
    let (cursor, filling) = engine
        .store
        .read(move |connection| {
            Ok((
                cursors::get(connection, &name)?,
                fields::in_state(connection, &name, FieldState::Filling)?,
            ))
        })
        .await?;
    let filling: BTreeSet<PropertyName> = filling
        .into_iter()
        .filter(|property| object.mapping().field(property).is_some())
        .collect();
    if filling.is_empty() || cursor.backfill != cursors::Backfill::Done {
        return Ok(Progress::RING);
    }
    let query = ListQuery {
        after: cursor.filling_after.clone(),
        limit: PAGE,
        properties: filling
            .iter()
            .map(|property| property.as_str().to_owned())
            .collect(),
        archived: false,
    };
    let asked_at = engine.now();
    let mut page = engine
        .client
        .list(object.object(), &query, Priority::Bulk)
        .await?;
    blanks::fill(engine, object, &query.properties, &mut page.records).await?;
    let done = page.after.is_none();
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset);
            let now = pass.now;
            let _run = runs::begin_job(tx, sync.object(), Kind::Schema)?;
            let mut changed = 0;
            let seen = page.records.len();
            let records = page.records.into_iter();
            let records: Vec<RemoteRecord> =
                records.map(|record| remote_record(&sync, record)).collect();
            let shown: Vec<&RemoteRecord> = records.iter().collect();
            for (applying, record) in Applying::from_store(pass, asked_at).each(&shown) {
                changed += usize::from(fill(tx, &applying, record, &filling)?);
            }
            let work = runs::Work {
                requests: 1,
                seen,
                changed,
            };
            runs::extend(tx, sync.object(), Kind::Schema, work, now)?;
            runs::note(tx, sync.object(), Kind::Schema, page.odd.as_deref())?;
            ask_unread(tx, &pass, &page.unread)?;
            cursors::move_filling(tx, sync.object(), page.after.as_deref())?;
            if page.after.is_none() {
                fields::end_filling(tx, sync.object(), now)?;
                runs::finish(tx, sync.object(), Kind::Schema, None, now)?;
            }
            Ok(())
        })
        .await?;
    Ok(if done { Progress::RING } else { Progress::More })
}

fn fill(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    filling: &BTreeSet<PropertyName>,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    let (object, name, now) = (pass.object, pass.name(), pass.now);
    let Some(mut row) = object.table.by_hs_id(tx, record.id)? else {
        return Ok(false);
    };
    let known = row.record.modified_at;
    if of_version(Evidence::Store, record.updated_at, known) == Freshness::Stale {
        // An answer to a push knows nothing of the columns that it did not carry: a read fills them.
        if filling
            .iter()
            .any(|property| row.value(property).is_empty())
        {
            reads::ask(tx, object.object(), record.id, Origin::Schema, now)?;
        }
        return Ok(false);
    }
    unreadable::note(tx, object.object(), record, now)?;
    let queued = outbox::of_row(tx, object.object(), row.record.local_id)?;
    let open = conflicts::open_of(tx, object.object(), row.record.local_id)?;
    let held = match cleared::has_any(tx, object.object())? {
        true => clearing::still_held(tx, pass, &row, record)?,
        false => BTreeSet::new(),
    };
    let mut changed = false;
    for property in filling {
        let (Some(field), Some(remote)) =
            (object.mapping().field(property), record.shown(property))
        else {
            continue;
        };
        let local = row.value(property).clone();
        if field.property_type.same(&local, remote) {
            continue;
        }
        // An operator decides about it, or it waits once a program has written it again.
        if held.contains(property) {
            continue;
        }
        if let Some(open) = open.get(property) {
            // A person decides about it; only the merge of a read tells the conflict what HubSpot holds.
            if !field.property_type.same(&open.remote, remote) {
                reads::ask(tx, object.object(), record.id, Origin::Schema, now)?;
            }
            continue;
        }
        if let Some(queued) = pending(queued.as_ref(), property) {
            let written = queued
                .fields
                .iter()
                .find(|other| &other.property == property)
                .map(|other| other.changed_at);
            // Written before the filling began, the column held what both sides had agreed on: that base stays.
            let since = fields::since(tx, object.object(), property)?;
            if written.is_some_and(|written| since.is_some_and(|since| written < since)) {
                continue;
            }
            // Written here before the column was filled: the push's merge decides, with an unknown base.
            outbox::put_field(
                tx,
                queued.id,
                property,
                &Base::Unknown,
                written.unwrap_or(now),
            )?;
            continue;
        }
        // What can't be read is noted, and the column keeps what it has.
        if record.invalid.contains_key(property)
            || (remote.is_empty() && clearing::keeps(tx, applying, &row, property)?)
        {
            continue;
        }
        if !local.is_empty() || modes::is_said(tx, name, FieldMode::Filled, property.as_str())? {
            let change = Change {
                object: name,
                local_id: row.record.local_id,
                hs_id: Some(record.id),
                property: property.as_str(),
                old: local.as_deref(),
                new: remote.as_deref(),
                origin: Origin::Schema,
            };
            history::record(tx, change, now)?;
        }
        row.set(object.mapping(), property, remote);
        changed = true;
    }
    if changed {
        object.table.update(tx, &row)?;
    }
    Ok(changed)
}

fn pending<'a>(queued: Option<&'a Entry>, property: &PropertyName) -> Option<&'a Entry> {
    queued.filter(|queued| {
        queued
            .fields
            .iter()
            .any(|field| &field.property == property)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, at, property, record};
    use crate::model::mapping::Policy;

    fn fill_first_name(scene: &Scene, record: &RemoteRecord) -> bool {
        let filling = [property("firstname")].into();
        let applying = Applying::from_store(scene.pass(at(100)), at(100));
        scene.write(|tx| fill(tx, &applying, record, &filling))
    }

    const NAMES: &str = "SELECT count(first_name) FROM contacts";

    fn fill_all(scene: &Scene, value: &str) {
        let records: Vec<RemoteRecord> = (1..=120)
            .map(|number| record(100 + number, 9, &[("firstname", value)]))
            .collect();
        let shown: Vec<&RemoteRecord> = records.iter().collect();
        let filling = [property("firstname")].into();
        scene.write(|tx| {
            let applying = Applying::from_store(scene.pass(at(100)), at(100));
            for (applying, record) in applying.each(&shown) {
                fill(tx, &applying, record, &filling)?;
            }
            Ok(())
        });
    }

    #[test]
    fn a_column_that_comes_back_empty_is_held_as_a_whole() {
        let scene = Scene::of_adas();
        fill_all(&scene, "");
        assert_eq!(scene.rows(NAMES), ["120"]);
        assert_eq!(scene.clear_holds(), ["local 120 firstname"]);
        // What HubSpot has a value of again is held no more.
        fill_first_name(&scene, &record(101, 10, &[("firstname", "Eve")]));
        assert_eq!(scene.clear_holds(), ["local 119 firstname"]);
        assert_eq!(
            scene.rows("SELECT first_name FROM contacts WHERE local_id = 1"),
            ["Eve"]
        );
    }

    #[test]
    fn what_a_program_emptied_and_the_guard_holds_is_not_filled() {
        let scene = Scene::of_adas();
        scene.daemon(
            "INSERT INTO sync_holds (object, side, operation, records, allowed, held_at, property)
             VALUES ('contacts', 'hubspot', 'clear', 2, 0, '2026-11-24T03:10:00.000Z', 'firstname');
             INSERT INTO _sync_held_clears (object, property, local_id, hs_id, side, hold_id, remote_value, changed_at)
             SELECT 'contacts', 'firstname', local_id, hs_id, 'hubspot', 1, 'Ada', '2026-11-24T03:10:00.000Z'
             FROM contacts WHERE local_id <= 2;
             UPDATE contacts SET first_name = NULL WHERE local_id <= 2",
        );
        assert!(!fill_first_name(
            &scene,
            &record(101, 9, &[("firstname", "Eve")])
        ));
        // Both sides say the same of the other one.
        fill_first_name(&scene, &record(102, 9, &[("firstname", "")]));
        assert_eq!(scene.rows(NAMES), ["118"]);
        assert_eq!(scene.clear_holds(), ["hubspot 1 firstname"]);
        assert_eq!(
            scene.rows("SELECT remote_value, shown_value FROM _sync_held_clears"),
            ["Ada Eve"]
        );
    }

    #[test]
    fn what_hubspot_changed_of_a_column_while_it_was_out_of_force_is_written_down() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 0, &[("email", "a@example.com")]));
        scene.apply(How::at(0), &record(102, 0, &[("email", "b@example.com")]));
        let lines = || {
            scene.rows("SELECT old_value, new_value, origin FROM sync_history WHERE property = 'firstname'")
        };
        // The first values of a new column are no changes.
        fill_first_name(&scene, &record(101, 9, &[("firstname", "Ann")]));
        assert_eq!(lines(), [""; 0]);
        scene.write(|tx| modes::note_filled(tx, scene.object.object(), FieldState::Active));
        fill_first_name(&scene, &record(102, 9, &[("firstname", "Bob")]));
        assert_eq!(lines(), ["- Bob schema"]);
    }

    #[test]
    fn a_filled_column_leaves_a_field_that_waits_for_a_decision() {
        let scene = Scene::of(Policy::Manual);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.apply(How::at(5), &record(101, 5, &[("firstname", "Theirs")]));
        assert!(!fill_first_name(
            &scene,
            &record(101, 9, &[("firstname", "Others")])
        ));
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Ours"]);
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs -"]);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
    }

    #[test]
    fn a_filled_column_does_not_make_a_waiting_write_younger() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(1)
        ));
        fill_first_name(&scene, &record(101, 9, &[("firstname", "Theirs")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was ?"]);
        assert_eq!(
            scene.rows("SELECT changed_at FROM sync_outbox_fields"),
            [at(1).to_string()]
        );
    }

    #[test]
    fn a_write_from_before_the_column_was_to_be_filled_again_keeps_its_base() {
        let scene = Scene::of(Policy::Remote);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}';
             UPDATE sync_fields SET state = 'filling', since = '{}' WHERE property = 'firstname'",
            at(1),
            at(2)
        ));
        fill_first_name(&scene, &record(101, 9, &[("firstname", "Base")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Base"]);
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(3)
        ));
        fill_first_name(&scene, &record(101, 9, &[("firstname", "Base")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was ?"]);
    }

    #[test]
    fn a_row_that_is_fresher_than_the_page_is_read() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 10, &[("price", "1")]));
        assert!(!fill_first_name(
            &scene,
            &record(101, 9, &[("firstname", "Ann")])
        ));
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
    }
}
