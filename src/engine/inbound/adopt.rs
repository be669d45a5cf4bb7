//! A record that no row has by its id: is it a row that waits for its create, or one that was deleted and inserted again?
//!
//! The key of our own create comes first, then the row's natural key, then the object's match property (`design.md`, "Which
//! row is this record?").

use std::collections::BTreeMap;

use rusqlite::Transaction;

use crate::decide::acts::Act;
use crate::decide::adopt::{
    self as decide, Adoption, Claims, Matched, based_on_carried, is_fresh, rebased, spelled,
};
use crate::decide::echo::sent_values;
use crate::decide::incoming::convert::{match_identity, record_identities};
use crate::decide::incoming::freshness::{Freshness, of_claim};
use crate::decide::outgoing::claim::NO_RECORD_TO_LINK;
use crate::decide::outgoing::looking::agreed_before;
use crate::decide::record::{CleanBase, OpenConflict};
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::acts::EntryWork;
use crate::engine::inbound::applying::Applying;
use crate::engine::inbound::existence::note_made;
use crate::engine::inbound::merge::{ShownRecord, merge_into};
use crate::engine::inbound::went::{MadeRecord, row_went};
use crate::engine::outbound::left_out;
use crate::engine::pass::Pass;
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::store::conflicts::{self, About};
use crate::store::history::Origin;
use crate::store::lookups::Lookups;
use crate::store::outbox;
use crate::store::{StoreError, fields, gaps, reads};

/// A row that has no record and is to get one.
#[derive(Clone, Copy)]
pub struct Claimant<'a> {
    /// The row.
    pub local_id: LocalId,
    /// Its create, where that waits.
    pub create: Option<&'a Entry>,
}

/// Links a record to a row that means it. `None`: no row does. `Some(false)`: one may, and the record waits.
pub(crate) fn adopt(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<Option<bool>, StoreError> {
    let pass = &applying.pass;
    let object = pass.name();
    let state = |queued: &Entry| queued.standing.state;
    let pending = outbox::of_record(tx, object, record.id)?;
    let made_by = match &record.own_key {
        Some(key) => outbox::of_key(tx, object, key)?,
        None => None,
    };
    let matched = match made_by {
        Some(_) => None,
        None => matched(tx, pass, record)?,
    };
    let create = match matched {
        Some(local_id) => outbox::of_row(tx, object, local_id)?,
        None => None,
    };
    let adoption = decide::adopt(Claims {
        by_key: made_by.as_ref().map(state),
        by_match: matched.map(|_| Matched {
            create: create.as_ref().map(state),
        }),
        pending: pending
            .as_ref()
            .map(|queued| (queued.standing.operation, queued.standing.state)),
        is_outdated: match &pending {
            Some(queued) => is_outdated(tx, applying, record, queued)?,
            None => false,
        },
    });
    let claimant = |local_id| Claimant {
        local_id,
        create: create.as_ref(),
    };
    match (adoption, matched, pending, made_by) {
        (Adoption::Made, _, _, Some(made_by)) => link_made(tx, applying, record, &made_by),
        (Adoption::Take, Some(local_id), ..) => {
            let unknown = CleanBase::Unknown;
            link(tx, applying, record, claimant(local_id), unknown)
        }
        (Adoption::TakePlace, Some(local_id), Some(archive), _) => {
            take_place(tx, applying, record, claimant(local_id), &archive)
        }
        (Adoption::Wait, ..) => wait(tx, pass, record),
        (Adoption::Leave, _, Some(queued), _) => {
            outbox::note_shown(tx, queued.id, record.updated_at).map(|()| false)
        }
        (
            Adoption::Nobody
            | Adoption::Made
            | Adoption::Take
            | Adoption::TakePlace
            | Adoption::Leave,
            ..,
        ) => {
            return Ok(None);
        }
    }
    .map(Some)
}

/// Whether an answer shows a record as it was before another one that came while its entry waited.
pub(crate) fn is_outdated(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    waiting: &Entry,
) -> Result<bool, StoreError> {
    let asked_at = applying.asked_at.plus_millis(applying.pass.offset_ms);
    let known = outbox::shown_version(tx, waiting.id)?;
    Ok(of_claim(asked_at, record.updated_at, known) == Freshness::Stale)
}

/// The row without a record that has the surest of a record's values.
fn matched(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
) -> Result<Option<LocalId>, StoreError> {
    for identity in record_identities(pass.object, record) {
        let found = pass.object.table.unlinked_by(tx, &identity)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Gives a row the record that its lost create made: what that carried has reached HubSpot, and is what both sides agreed
/// on.
pub(crate) fn link_made(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    create: &Entry,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    let (object, entry) = (pass.name(), &create);
    let sent = sent_values(entry);
    let work = EntryWork::of_entry(tx, object, entry, pass.now).of_record(record.id);
    let made = RemoteRecord {
        values: sent.clone(),
        ..record.clone()
    };
    note_made(tx, &pass.saying(Origin::Push), entry.local_id, &made)?;
    if pass.object.table.by_local_id(tx, entry.local_id)?.is_some() {
        let base = CleanBase::Given(&sent);
        let claimant = Claimant {
            local_id: entry.local_id,
            create: Some(create),
        };
        return link(tx, applying, record, claimant, base);
    }
    // Deleted while it was in doubt, its archive is measured against what the create carried.
    if entry.row.is_some() {
        work.carry_out(based_on_carried(entry))?;
    }
    let shows = match is_fresh(record) {
        true => MadeRecord::Fresh,
        false => MadeRecord::Found,
    };
    row_went(tx, pass, entry, record, shows).map(|()| false)
}

/// Gives a row the record of a row that was deleted, whose archive ends, with what both sides agreed on of that.
pub(crate) fn take_place(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    claimant: Claimant<'_>,
    archive: &Entry,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    let agreed = agreed_before(pass.object, archive);
    match pass.object.table.by_local_id(tx, claimant.local_id)? {
        Some(row) => succeed(tx, pass, archive, &row, record.id).map(drop)?,
        None => outbox::end(tx, archive.id)?,
    }
    let base = CleanBase::Given(&agreed);
    link(tx, applying, record, claimant, base)
}

/// A row succeeds a deleted one whose record it is, and whose archive ends: to it go the conflicts that wait for a person's word,
/// which are given back, what lost requests of the former row may still bring, and what is to be looked at of its writes.
/// Further rows of the same value name the row that has the record by now.
pub(crate) fn succeed(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    archive: &Entry,
    row: &MirrorRow,
    record: HubspotId,
) -> Result<BTreeMap<PropertyName, OpenConflict>, StoreError> {
    let object = pass.name();
    let (former, now) = (archive.local_id, row.record.local_id);
    outbox::end(tx, archive.id)?;
    let open = take_conflicts(tx, object, former, row, record)?;
    outbox::move_sent(tx, object, former, now)?;
    gaps::move_row(tx, object, record, former, now)?;
    outbox::name_holder(tx, object, record, (former, now))?;
    Ok(open)
}

fn wait(tx: &Transaction<'_>, pass: &Pass<'_>, record: &RemoteRecord) -> Result<bool, StoreError> {
    reads::ask(
        tx,
        pass.name(),
        record.id,
        pass.origin,
        pass.now + AFTER_FLIGHT,
    )?;
    Ok(false)
}

/// Gives a row its record: the id and times, then the fields through the merge.
pub fn link(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    claimant: Claimant<'_>,
    clean_base: CleanBase<'_>,
) -> Result<bool, StoreError> {
    let Claimant { local_id, create } = claimant;
    let pass = &applying.pass;
    let Some(mut row) = pass.object.table.by_local_id(tx, local_id)? else {
        let Some(create) = create else {
            return Ok(false);
        };
        outbox::drop_fields(tx, create.id)?;
        return row_went(tx, pass, create, record, MadeRecord::Found).map(|()| false);
    };
    row.link(record);
    take_spelling(tx, applying, &mut row, record)?;
    pass.object.table.update(tx, &row)?;
    become_record(tx, pass, local_id, record.id)?;
    if let Some(create) = create {
        rebase(tx, pass, create, &row, clean_base)?;
        outbox::become_update(tx, create.id, record.id, pass.now)?;
    }
    tell_others(tx, pass, &row)?;
    // The row has the record's version already: the merge must not take it for an unchanged search hit.
    row.record.modified_at = None;
    let shown = ShownRecord {
        record,
        histories: None,
        clean_base,
        lookups: Lookups::ALL,
    };
    merge_into(tx, applying, row, shown)?;
    Ok(true)
}

/// A row is a record from this moment: nothing buries that any more, and what waits of the row, conflicts and associations, is
/// about it.
pub(crate) fn become_record(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    local_id: LocalId,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    let object = pass.name();
    reads::unbury(tx, object, hs_id)?;
    conflicts::follow(tx, object, local_id, Some(hs_id))?;
    outbox::links::follow(tx, object, local_id, Some(hs_id), pass.now)
}

/// A row that only links and means the same record is told that another one is it by now: its create is looked at again.
fn tell_others(tx: &Transaction<'_>, pass: &Pass<'_>, row: &MirrorRow) -> Result<(), StoreError> {
    let object = pass.object;
    let makes_records = object.mapping().modes.new_records.makes_records();
    let identity = match_identity(object, &row.record.values).filter(|_| !makes_records);
    let other = match identity {
        Some(identity) => object.table.unlinked_by(tx, &identity)?,
        None => None,
    };
    let waiting = match other {
        Some(other) => outbox::of_row(tx, object.object(), other)?,
        None => None,
    };
    let is_told_otherwise = |entry: &Entry| entry.standing.code() == Some(NO_RECORD_TO_LINK);
    match waiting.filter(is_told_otherwise) {
        Some(entry) => outbox::decide(tx, entry.id, pass.now),
        None => Ok(()),
    }
}

/// The fields that a create knows get their bases afresh, and keep the time at which they were written: what it carried is
/// in `clean_base`.
fn rebase(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    create: &Entry,
    row: &MirrorRow,
    clean_base: CleanBase<'_>,
) -> Result<(), StoreError> {
    // A field that is left out at the moment waits on, its base unknown.
    let left_out = fields::left_out(tx, pass.object.mapping())?;
    let left_out = left_out::keep(tx, pass.object, create, &left_out)?;
    let acts = rebased(pass.object.mapping(), create, row, clean_base, &left_out);
    EntryWork::of_entry(tx, pass.name(), create, pass.now).carry_out(acts)
}

/// Values by which the row and its record are one and that only differ in their spelling are no conflict: HubSpot keeps
/// them in its own.
fn take_spelling(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    row: &mut MirrorRow,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let mapping = pass.object.mapping();
    let held = conflicts::open_of(tx, pass.name(), row.record.local_id)?;
    let mut acts = spelled(mapping, row, record, &held, pass.origin);
    acts.retain(|act| applying.with_history || !matches!(act, Act::History { .. }));
    let work = EntryWork {
        tx,
        object: pass.name(),
        now: pass.now,
        local_id: row.record.local_id,
        hs_id: Some(record.id),
        entry: None,
    };
    work.carry_out_on(mapping, row, acts)
}

/// What waits for a person's word goes on waiting with the row that is the record by now.
fn take_conflicts(
    tx: &Transaction<'_>,
    object: &ObjectType,
    from: LocalId,
    row: &MirrorRow,
    record: HubspotId,
) -> Result<BTreeMap<PropertyName, OpenConflict>, StoreError> {
    let open = conflicts::open_of(tx, object, from)?;
    for property in open.keys() {
        let about = |local_id| About {
            object,
            local_id,
            hs_id: Some(record),
        };
        let to = about(row.record.local_id);
        conflicts::move_open(tx, about(from), property, to, row.value(property))?;
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::acts::back_and_uncounted;
    use crate::decide::echo::{Author, Histories, PastValue, ToldSource};
    use crate::decide::entry::{Answered, EntryEvent};
    use crate::engine::inbound::apply::{apply_page, apply_record};
    use crate::engine::outbound::settle::recover_object;
    use crate::engine::testing::{How, Scene, at, property, record, synced};
    use crate::model::mapping::Policy;
    use crate::model::value::Value;

    const ANN: &str = "ann@example.com";

    /// What a read with histories does.
    fn read(scene: &Scene, second: i64, record: &RemoteRecord, changed_at: i64) {
        let top = PastValue {
            value: Value::from_canonical("Theirs"),
            at: at(changed_at),
            author: Author::Other,
            source: ToldSource::default(),
        };
        let histories: Histories = [(property("firstname"), vec![top])].into();
        scene.write(|tx| {
            apply_record(
                tx,
                &scene.applying(How::at(second)),
                record,
                Some(&histories),
            )
        });
    }

    fn times(scene: &Scene) -> Vec<String> {
        scene.rows("SELECT property, changed_at FROM sync_outbox_fields ORDER BY property")
    }

    fn insert_at(scene: &Scene, second: i64) {
        scene.program(&format!(
            "INSERT INTO contacts (email, first_name) VALUES ('{ANN}', 'Ours')"
        ));
        scene.daemon(&format!(
            "UPDATE sync_outbox SET enqueued_at = '{}'",
            at(second)
        ));
    }

    #[test]
    fn an_adopted_row_keeps_what_is_left_out_of_requests_until_it_can_be_merged() {
        let mut scene = Scene::of(Policy::Newest);
        insert_at(&scene, 0);
        let whole = scene.object.clone();
        let mut mapping = whole.mapping().clone();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "firstname");
        scene.object = synced(mapping);
        scene.apply(How::at(10), &record(101, 5, &[("email", ANN)]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was ?"]);
        // Synced again, and HubSpot's side has another value.
        scene.object = whole;
        let theirs = record(101, 20, &[("email", ANN), ("firstname", "Theirs")]);
        read(&scene, 30, &theirs, 20);
        assert_eq!(scene.conflicts(), ["1 firstname Ours Theirs remote"]);
    }

    #[test]
    fn newest_compares_an_adopted_rows_values_with_the_time_of_its_create() {
        for (changed_at, expected) in [(50, "Theirs"), (-50, "Ours")] {
            let scene = Scene::of(Policy::Newest);
            insert_at(&scene, 0);
            let theirs = record(101, 60, &[("email", ANN), ("firstname", "Theirs")]);
            // They meet long after both wrote; the property's history is to be read first.
            scene.apply(How::at(100), &theirs);
            assert_eq!(times(&scene), [format!("firstname {}", at(0))]);
            assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
            read(&scene, 110, &theirs, changed_at);
            assert_eq!(scene.rows("SELECT first_name FROM contacts"), [expected]);
            assert_eq!(scene.conflicts().len(), 1);
        }
    }

    #[test]
    fn what_hubspot_emptied_of_rows_that_a_program_inserted_anew_is_held_from_the_bound_on() {
        let scene = Scene::of_adas();
        scene.program(
            "CREATE TEMP TABLE kept AS SELECT email, first_name FROM contacts WHERE local_id <= 50;
             DELETE FROM contacts WHERE local_id <= 50;
             INSERT INTO contacts (email, first_name) SELECT email, first_name FROM kept",
        );
        let page = Scene::emptied(50);
        scene.write(|tx| apply_page(tx, &scene.applying(How::at(10)), &page));
        assert_eq!(scene.clear_holds(), ["local 38 firstname"]);
        let names = "SELECT count(first_name), count(*), count(hs_id) FROM contacts";
        assert_eq!(scene.rows(names), ["108 120 120"]);
        assert_eq!(scene.outbox(), [""; 0]);
    }

    #[test]
    fn the_clock_offset_is_applied_in_the_right_direction() {
        // Written at 10 by this clock, and at 20 by HubSpot's: 15 s ahead of this one it was at 25 there.
        for (clock_offset_ms, expected) in [(0, "Theirs"), (15_000, "Ours"), (-15_000, "Theirs")] {
            let scene = Scene::of(Policy::Newest);
            scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
            scene.program("UPDATE contacts SET first_name = 'Ours'");
            scene.daemon(&format!(
                "UPDATE sync_outbox_fields SET changed_at = '{}'",
                at(10)
            ));
            let top = PastValue {
                value: Value::from_canonical("Theirs"),
                at: at(20),
                author: Author::Other,
                source: ToldSource::default(),
            };
            let histories: Histories = [(property("firstname"), vec![top])].into();
            let how = How {
                clock_offset_ms,
                ..How::at(40)
            };
            let theirs = record(101, 30, &[("firstname", "Theirs")]);
            scene.write(|tx| apply_record(tx, &scene.applying(how), &theirs, Some(&histories)));
            assert_eq!(
                scene.rows("SELECT first_name FROM contacts"),
                [expected],
                "{clock_offset_ms}"
            );
        }
    }

    #[test]
    fn a_write_of_a_clock_that_is_ahead_was_written_now_at_the_latest() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(900)
        ));
        let theirs = record(101, 60, &[("firstname", "Theirs")]);
        read(&scene, 50, &theirs, 60);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Theirs"]);
    }

    #[test]
    fn a_column_that_was_written_after_the_insert_counts_with_its_own_time() {
        let scene = Scene::of(Policy::Newest);
        insert_at(&scene, 0);
        scene.program("UPDATE contacts SET first_name = 'Ours again'");
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(70)
        ));
        let theirs = record(101, 60, &[("email", ANN), ("firstname", "Theirs")]);
        scene.apply(How::at(100), &theirs);
        read(&scene, 110, &theirs, 50);
        assert_eq!(
            scene.rows("SELECT first_name FROM contacts"),
            ["Ours again"]
        );
        assert_eq!(
            times(&scene),
            [format!("firstname {}", at(70))],
            "a new base does not make it younger"
        );
    }

    #[test]
    fn a_row_that_is_inserted_again_counts_with_the_time_of_its_insert() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("email", ANN), ("firstname", "Base")]),
        );
        scene.program("DELETE FROM contacts");
        insert_at(&scene, 10);
        let theirs = record(101, 60, &[("email", ANN), ("firstname", "Theirs")]);
        scene.apply(How::at(100), &theirs);
        assert_eq!(scene.outbox(), ["update 2 101; firstname was Base"]);
        assert_eq!(times(&scene), [format!("firstname {}", at(10))]);
        read(&scene, 110, &theirs, 50);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Theirs"]);
    }

    #[test]
    fn a_row_that_takes_a_deleted_ones_place_still_sends_what_that_waited_to_send() {
        let scene = Scene::of(Policy::Remote);
        let base = record(101, 0, &[("email", ANN), ("firstname", "Base")]);
        scene.apply(How::at(0), &base);
        scene.program("UPDATE contacts SET first_name = 'Ours'; DELETE FROM contacts");
        insert_at(&scene, 10);
        scene.apply(How::at(20), &base);
        assert_eq!(scene.outbox(), ["update 2 101; firstname was Base"]);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Ours"]);
        assert_eq!(scene.conflicts(), Vec::<String>::new());
    }

    #[test]
    fn what_an_adopted_row_has_to_push_is_as_old_as_its_create() {
        let scene = Scene::of(Policy::Newest);
        insert_at(&scene, 0);
        scene.apply(
            How::at(100),
            &record(101, -50, &[("email", ANN), ("firstname", "")]),
        );
        assert_eq!(scene.outbox(), ["update 1 101; firstname was -"]);
        assert_eq!(times(&scene), [format!("firstname {}", at(0))]);
    }

    #[test]
    fn a_value_that_goes_over_hubspots_again_is_no_younger_than_the_record_that_showed_it() {
        let scene = Scene::with(|mapping| {
            for field in &mut mapping.fields {
                field.direction = crate::model::mapping::Direction::Push;
            }
        });
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        let how = How {
            clock_offset_ms: 5_000,
            ..How::at(100)
        };
        scene.apply(how, &record(101, 60, &[("firstname", "Theirs")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Theirs"]);
        assert_eq!(times(&scene), [format!("firstname {}", at(55))]);
    }

    #[test]
    fn a_lost_create_is_linked_with_what_was_sent_as_its_base() {
        for (here, there, waits) in [
            (
                "Ours at last",
                "Ours",
                Some("update 1 101; firstname was Ours"),
            ),
            ("Ours", "Theirs", None),
        ] {
            let scene = Scene::of(Policy::Local);
            insert_at(&scene, 0);
            scene.daemon(&format!(
                "UPDATE sync_outbox SET attempts = 1, unanswered_since = '{0}';
                 INSERT INTO sync_outbox_fields (outbox_id, property, base_known, changed_at, sent_value)
                 SELECT id, 'email', 1, '{0}', '{ANN}' FROM sync_outbox
                 UNION ALL SELECT id, 'firstname', 1, '{0}', 'Ours' FROM sync_outbox",
                at(0)
            ));
            scene.program(&format!("UPDATE contacts SET first_name = '{here}'"));
            let made = record(101, 20, &[("email", ANN), ("firstname", there)]);
            scene.write(|tx| {
                let create = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
                let create = create.expect("it is in doubt");
                link_made(tx, &scene.applying(How::at(30)), &made, &create)
            });
            assert_eq!(scene.outbox(), waits.as_slice());
            assert_eq!(scene.conflicts(), Vec::<String>::new());
            let expected = waits.map_or(there, |_| here);
            assert_eq!(scene.rows("SELECT first_name FROM contacts"), [expected]);
            assert_eq!(
                scene.rows("SELECT new_value ->> 'first_name' FROM sync_history WHERE property = '*' AND origin = 'push'"),
                ["Ours"]
            );
        }
    }

    #[test]
    fn a_record_of_a_lost_create_whose_row_went_without_a_deletion_is_not_archived() {
        let scene = Scene::of(Policy::Newest);
        insert_at(&scene, 0);
        scene.daemon(&format!(
            "UPDATE sync_outbox SET key = 'k', attempts = 1, unanswered_since = '{}'; DELETE FROM contacts",
            at(0)
        ));
        let made = RemoteRecord {
            own_key: Some("k".to_owned()),
            ..record(101, 1, &[("email", ANN)])
        };
        scene.apply(How::at(100), &made);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
    }

    #[test]
    fn a_record_whose_row_was_deleted_here_does_not_come_back_while_its_archive_waits() {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("email", ANN)]));
        scene.program("DELETE FROM contacts");
        scene.apply(How::at(10), &record(101, 5, &[("email", ANN)]));
        assert_eq!(scene.rows("SELECT count(*) FROM contacts"), ["0"]);
        assert_eq!(scene.outbox(), ["archive 1 101"]);
    }

    #[test]
    fn a_record_waits_while_the_create_that_may_be_its_own_is_in_flight() {
        let scene = Scene::of(Policy::Local);
        insert_at(&scene, 0);
        scene.daemon("UPDATE sync_outbox SET state = 'in_flight', attempts = 1");
        scene.apply(How::at(10), &record(101, 5, &[("email", ANN)]));
        assert_eq!(scene.rows("SELECT local_id, hs_id FROM contacts"), ["1 -"]);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
    }

    #[test]
    fn a_new_base_does_not_make_a_local_write_younger() {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox_fields SET changed_at = '{}'",
            at(10)
        ));
        scene.apply(How::at(100), &record(101, 60, &[("firstname", "Theirs")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Theirs"]);
        assert_eq!(times(&scene), [format!("firstname {}", at(10))]);
    }

    /// Ann's row is record 101, an update of her first name is on its way, and she is deleted and inserted again under another number,
    /// without the first name.
    fn inserted_again_in_flight() -> Scene {
        let scene = Scene::of(Policy::Newest);
        let ann = record(
            101,
            0,
            &[("email", ANN), ("firstname", "Base"), ("stage", "won")],
        );
        scene.apply(How::at(0), &ann);
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET state = 'in_flight', attempts = 1, unanswered_since = '{0}', sent_over = '{0}';
             UPDATE sync_outbox_fields SET sent_value = 'Ours'",
            at(0)
        ));
        scene.program(&format!(
            "DELETE FROM contacts; INSERT INTO contacts (email) VALUES ('{ANN}')"
        ));
        scene
    }

    #[test]
    fn a_row_inserted_again_while_its_update_was_refused_a_place_has_the_base_of_the_deleted_one() {
        for ends in [
            back_and_uncounted(at(32), "HubSpot has locked the record", None),
            refused_for_good(),
        ] {
            let scene = inserted_again_in_flight();
            scene.write(|tx| {
                let entry = outbox::in_flight(tx, scene.object.object())?.remove(0);
                EntryWork::of_entry(tx, scene.object.object(), &entry, at(30)).carry_out(ends)
            });
            assert_eq!(
                scene.outbox(),
                ["archive 1 101; firstname was Base", "create 2 -"]
            );
            let shown = record(
                101,
                0,
                &[("email", ANN), ("firstname", "Base"), ("stage", "won")],
            );
            scene.apply(How::at(31), &shown);
            assert_eq!(
                scene.outbox(),
                ["update 2 101; firstname was Base; stage was won"],
                "what the program has left out is emptied in HubSpot"
            );
            assert_eq!(scene.conflicts(), Vec::<String>::new());
        }
    }

    fn refused_for_good() -> Vec<Act> {
        let refused = EntryEvent::Refused {
            explanation: "HubSpot does not take it".to_owned(),
            answered: Answered::Yes,
        };
        vec![Act::ClearSent, Act::Befall(refused)]
    }

    #[test]
    fn what_a_lost_update_brings_is_no_edit_over_the_row_that_took_its_place() {
        let scene = inserted_again_in_flight();
        scene.write(|tx| recover_object(tx, scene.object.object(), at(30)));
        let landed = record(
            101,
            20,
            &[("email", ANN), ("firstname", "Ours"), ("stage", "won")],
        );
        scene.apply(How::at(31), &landed);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        let top = PastValue {
            value: Value::from_canonical("Ours"),
            at: at(20),
            author: Author::Us,
            source: ToldSource::default(),
        };
        let histories: Histories = [(property("firstname"), vec![top])].into();
        scene.write(|tx| apply_record(tx, &scene.applying(How::at(32)), &landed, Some(&histories)));
        assert_eq!(scene.conflicts(), Vec::<String>::new());
        assert_eq!(
            scene.outbox(),
            ["update 2 101; firstname was Ours; stage was won"]
        );
        assert_eq!(
            scene.rows("SELECT first_name, stage FROM contacts"),
            ["- -"]
        );
    }

    #[test]
    fn an_open_conflict_goes_with_the_row_that_takes_the_record_over() {
        let scene = Scene::of(Policy::Manual);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("email", ANN), ("firstname", "Base")]),
        );
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        let theirs = record(101, 5, &[("email", ANN), ("firstname", "Theirs")]);
        scene.apply(How::at(5), &theirs);
        scene.program("DELETE FROM contacts");
        insert_at(&scene, 10);
        scene.apply(How::at(20), &theirs);
        assert_eq!(scene.conflicts(), ["2 firstname Ours Theirs -"]);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(
            scene.rows("SELECT local_id, hs_id FROM contacts"),
            ["2 101"]
        );
    }
}
