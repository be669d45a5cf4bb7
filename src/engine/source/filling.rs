//! Newly mapped columns of an object that is in agreement already: filled from the list, those columns alone.
//!
//! A column that is mapped again may hold old values: where HubSpot's differs, the old one goes to `sync_history`.

use std::collections::BTreeSet;

use rusqlite::Transaction;

use crate::decide::incoming::convert::remote_record;
use crate::decide::incoming::freshness::{Evidence, Freshness, of_version};
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
use crate::store::outbox;
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, conflicts, cursors, fields, reads, unreadable};

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
            let mut changed = 0;
            let seen = page.records.len();
            for record in page.records {
                changed += usize::from(fill(tx, &pass, &remote_record(&sync, record), &filling)?);
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
    pass: &Pass<'_>,
    record: &RemoteRecord,
    filling: &BTreeSet<PropertyName>,
) -> Result<bool, StoreError> {
    let (object, now) = (pass.object, pass.now);
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
        if record.invalid.contains_key(property) {
            continue;
        }
        if !local.is_empty() {
            let change = Change {
                object: object.object(),
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
        scene.write(|tx| fill(tx, &scene.pass(at(100)), record, &filling))
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
