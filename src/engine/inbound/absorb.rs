//! Two records became one in HubSpot: rows of the ids that were merged away go over to the survivor's, also where that one's own row
//! was deleted here.
//!
//! The word is *absorb*, since *merge* is ours for values. Nothing is archived, and nothing local is lost: the lost row
//! stays in `sync_history`, its pending changes go to the survivor or become conflicts.

use rusqlite::Transaction;

use crate::decide::echo::late_since;
use crate::decide::existence::{Here, Hubspot, Sides, Word, decide};
use crate::decide::incoming::absorb::{AbsorbedField, absorb_field};
use crate::engine::inbound::adopt::become_record;
use crate::engine::inbound::applying::{Applying, refuse_saying, why_kept};
use crate::engine::inbound::existence::{Matter, note_arrived};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::conflict::Winner;
use crate::model::entry::{Entry, EntryField};
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::value::Value;
use crate::store::conflicts::{self, About};
use crate::store::database::savepoint;
use crate::store::history::{self, Change, Origin, WholeRecord};
use crate::store::links::rows;
use crate::store::{StoreError, fields, gaps, merges, outbox, reads};

/// Takes care of every id that was merged into a record. Tells whether a row changed.
pub(crate) fn absorb_merged(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    let mut changed = end_survivors_archive(tx, pass, record)?;
    let mut losers = Vec::new();
    for id in merges::note(tx, pass.name(), record.id, &record.merged_ids)? {
        bury_merged(tx, pass, id)?;
    }
    for id in &record.merged_ids {
        changed |= end_archive(tx, pass, *id, (Hubspot::Merged, record))?;
        gaps::rename_record(tx, pass.name(), *id, record.id)?;
        if let Some(row) = pass.object.table.by_hs_id(tx, *id)? {
            losers.push(row);
        }
    }
    if losers.is_empty() {
        return Ok(changed);
    }
    losers.sort_by_key(|row| row.record.local_id);
    let mut losers = losers.into_iter();
    let mut survivor = match pass.object.table.by_hs_id(tx, record.id)? {
        Some(row) => row,
        None => match losers.next() {
            Some(row) => take_over(tx, pass, row, record)?,
            None => return Ok(changed),
        },
    };
    for loser in losers {
        let mut with_loser = survivor.clone();
        match savepoint::within(tx, || lose_row(tx, pass, &mut with_loser, &loser)) {
            // A program's constraint keeps the row: it is tried again later, and the survivor goes on.
            Err(error) if error.is_of_one_row() => {
                refuse_loss(tx, applying, record.id, &loser, &error)?;
            }
            lost => {
                lost?;
                survivor = with_loser;
            }
        }
    }
    Ok(true)
}

/// A record that was merged away and that no row is of: a page from before, or the late index, makes no row of it. Those of rows are
/// buried with them.
pub(crate) fn bury_merged(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
) -> Result<(), StoreError> {
    match pass.object.table.by_hs_id(tx, id)? {
        Some(_) => Ok(()),
        None => reads::bury(tx, pass.name(), id, pass.now),
    }
}

/// Names the row that can't go, and puts the merge off.
fn refuse_loss(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    survivor: HubspotId,
    loser: &MirrorRow,
    error: &StoreError,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let merged = match loser.record.hs_id {
        Some(id) => format!("record {id}"),
        None => "a record".to_owned(),
    };
    let explanation = format!(
        "HubSpot merged {merged} into record {survivor}, and {} row {} can't be removed: {}",
        pass.object.mapping().table,
        loser.record.local_id,
        why_kept(tx, pass.object, error)?
    );
    refuse_saying(tx, pass, survivor, &explanation)
}

/// The only row of the pair takes the survivor's id.
fn take_over(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    mut row: MirrorRow,
    record: &RemoteRecord,
) -> Result<MirrorRow, StoreError> {
    let object = pass.name();
    if let Some(former) = row.record.hs_id {
        reads::bury(tx, object, former, pass.now)?;
        reads::forget_removal(tx, object, former)?;
    }
    let former = row.record.hs_id;
    row.link(record);
    row.record.modified_at = None;
    pass.object.table.update(tx, &row)?;
    if let Some(former) = former {
        pass.object.table.check_given_up(tx, former)?;
    }
    outbox::rename_record(tx, object, row.record.local_id, record.id)?;
    become_record(tx, pass, row.record.local_id, record.id)?;
    Ok(row)
}

fn lose_row(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    survivor: &mut MirrorRow,
    loser: &MirrorRow,
) -> Result<(), StoreError> {
    let object = pass.name();
    let others = fields::out_of_force(tx, pass.object.mapping())?;
    let lost = pass.object.table.whole(tx, loser, &others)?;
    let whole = WholeRecord {
        mapping: pass.object.mapping(),
        local_id: loser.record.local_id,
        hs_id: loser.record.hs_id,
        origin: Origin::Absorb,
    };
    whole.absorbed(tx, &lost, survivor.record.local_id, pass.now)?;
    if let Some(queued) = outbox::of_row(tx, object, loser.record.local_id)? {
        move_pending(tx, pass, survivor, loser, &queued)?;
        outbox::remember_sent(tx, object, &queued, pass.now)?;
        outbox::end(tx, queued.id)?;
    }
    move_open(tx, pass, survivor, loser)?;
    // What is still on its way to the lost record lands on the survivor.
    let (from, to) = (loser.record.local_id, survivor.record.local_id);
    outbox::move_sent(tx, object, from, to)?;
    if let Some(id) = survivor.record.hs_id {
        gaps::move_row(tx, object, id, from, to)?;
    }
    // The survivor has the associations of both (`hubspot/api-facts.md#13`); a read tells which were dropped.
    rows::move_all(tx, object, from, to)?;
    outbox::links::move_all(tx, object, from, to)?;
    outbox::links::follow(tx, object, to, survivor.record.hs_id, pass.now)?;
    conflicts::close_all_of(
        tx,
        object,
        loser.record.local_id,
        Winner::Remote,
        "the record was merged into another one in HubSpot, and the row went with it",
        pass.now,
    )?;
    if let Some(id) = loser.record.hs_id {
        reads::bury(tx, object, id, pass.now)?;
        reads::forget_removal(tx, object, id)?;
    }
    pass.object.table.delete(tx, loser.record.local_id)
}

/// The lost row's pending changes go to the survivor; where that has its own, or waits for a person's word,
/// `decide/incoming/absorb` says what becomes of the other.
fn move_pending(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    survivor: &mut MirrorRow,
    loser: &MirrorRow,
    entry: &Entry,
) -> Result<(), StoreError> {
    let object = pass.name();
    let Some(hs_id) = survivor.record.hs_id else {
        return Ok(());
    };
    let mapping = pass.object.mapping();
    for field in &entry.fields {
        let value = loser.value(&field.property);
        if let Some(reason) = taken(tx, object, survivor.record.local_id, &field.property)? {
            let values = (value, survivor.value(&field.property));
            let mapped = mapping.field(&field.property);
            let absorbed = mapped.map(|mapped| absorb_field(mapped, field, values, reason));
            if let Some(absorbed) = absorbed {
                carry_out(tx, pass, survivor, (field, value), &absorbed)?;
            }
        } else {
            let local_id = survivor.record.local_id;
            let target = outbox::ensure_update(tx, object, local_id, hs_id, pass.now)?;
            outbox::put_field(tx, target, &field.property, &field.base, field.changed_at)?;
            survivor.set(mapping, &field.property, value);
        }
    }
    pass.object.table.update(tx, survivor)
}

/// Carries out what becomes of a field of which both rows waited with a value; `lost` is that of the row that goes.
fn carry_out(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    survivor: &mut MirrorRow,
    (field, lost): (&EntryField, &Value),
    absorbed: &AbsorbedField,
) -> Result<(), StoreError> {
    let about = About {
        object: pass.name(),
        local_id: survivor.record.local_id,
        hs_id: survivor.record.hs_id,
    };
    match absorbed {
        AbsorbedField::Agreed => Ok(()),
        AbsorbedField::Meet { value, gives_up } => {
            survivor.set(pass.object.mapping(), &field.property, value);
            if !gives_up {
                return Ok(());
            }
            let kept = Change {
                object: about.object,
                local_id: about.local_id,
                hs_id: about.hs_id,
                property: field.property.as_str(),
                old: lost.as_deref(),
                new: value.as_deref(),
                origin: Origin::Conflict,
            };
            history::record(tx, kept, pass.now)
        }
        AbsorbedField::Lost(note) => {
            conflicts::record_closed(tx, about, note.into(), Winner::Remote, pass.now)
        }
    }
}

/// Why the survivor's value of a field stays.
fn taken(
    tx: &Transaction<'_>,
    object: &ObjectType,
    survivor: LocalId,
    property: &PropertyName,
) -> Result<Option<&'static str>, StoreError> {
    if conflicts::open_of(tx, object, survivor)?.contains_key(property) {
        return Ok(Some(
            "the record was merged in HubSpot, and the surviving row's value waits for a decision",
        ));
    }
    let queued = outbox::of_row(tx, object, survivor)?;
    let is_dirty = queued.is_some_and(|queued| {
        let mut fields = queued.fields.iter();
        fields.any(|field| &field.property == property)
    });
    Ok(is_dirty.then_some(
        "the record was merged in HubSpot, and the surviving row had a change of its own",
    ))
}

/// A field of the lost row that waits for a person's word goes on waiting on the survivor, with the value here, unless the
/// survivor has a change or a conflict of its own: then the lost row's is closed with the row.
fn move_open(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    survivor: &mut MirrorRow,
    loser: &MirrorRow,
) -> Result<(), StoreError> {
    let object = pass.name();
    let about = |row: &MirrorRow| About {
        object,
        local_id: row.record.local_id,
        hs_id: row.record.hs_id,
    };
    let open = conflicts::open_of(tx, object, loser.record.local_id)?;
    for property in open.keys() {
        if taken(tx, object, survivor.record.local_id, property)?.is_none() {
            let value = loser.value(property);
            conflicts::move_open(tx, about(loser), property, about(survivor), value)?;
            survivor.set(pass.object.mapping(), property, value);
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    pass.object.table.update(tx, survivor)
}

/// Whether another record has become a part of this one since the mirror knew of it: a row or an entry is of one of the ids that went
/// into it, or nobody here has heard of that id.
pub(crate) fn has_taken_in_another(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    if record.merged_ids.is_empty() {
        return Ok(false);
    }
    let known = merges::ids_of(tx, object.object(), record.id)?;
    for id in &record.merged_ids {
        if !known.contains(id) || is_held(tx, object, *id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a row is of a record, or something that waits.
pub(crate) fn is_held(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    id: HubspotId,
) -> Result<bool, StoreError> {
    Ok(object.table.by_hs_id(tx, id)?.is_some()
        || outbox::of_record(tx, object.object(), id)?.is_some())
}

/// Whether the row of a record was deleted here, and the record waits for its archive.
pub(crate) fn is_deleted_here(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    id: HubspotId,
) -> Result<bool, StoreError> {
    Ok(object.table.by_hs_id(tx, id)?.is_none()
        && outbox::of_record(tx, object.object(), id)?.is_some())
}

/// Neither is one of the record that others were merged into: it would take them with it.
fn end_survivors_archive(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let ends = has_taken_in_another(tx, pass.object, record)?
        && is_deleted_here(tx, pass.object, record.id)?;
    match ends {
        true => end_archive(tx, pass, record.id, (Hubspot::Survivor, record)),
        false => Ok(false),
    }
}

/// A pending archive of a merged record is never sent: it would take the survivor with it.
fn end_archive(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    (hubspot, survivor): (Hubspot, &RemoteRecord),
) -> Result<bool, StoreError> {
    let object = pass.object;
    let queued = outbox::of_record(tx, object.object(), id)?;
    let actions = decide(&Sides {
        hubspot,
        here: Here::rowless(queued.as_ref(), &pass.moment()),
        word: Word::Passed,
        policy: object.mapping().policy,
        modes: object.mapping().modes,
        is_erasure: false,
    });
    if actions.is_empty() {
        return Ok(false);
    }
    let matter = Matter {
        pass: *pass,
        hs_id: id,
        row: None,
        queued: queued.as_ref(),
        record: Some(survivor),
        key: "",
        decided: None,
    };
    if let Some(entry) = &queued {
        let sent = outbox::sent_earlier(
            tx,
            pass.name(),
            entry.local_id,
            late_since(pass.now, pass.offset_ms),
        )?;
        note_arrived(tx, pass, (entry, &sent), survivor)?;
    }
    matter.carry_out(tx, &actions)?;
    tracing::warn!(object = %object.object(), hs_id = %id, "an archive was dropped: its record was merged in HubSpot");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::inbound::apply::apply_page;
    use crate::engine::testing::{How, Scene, at, record};
    use crate::model::mapping::{Policy, WriteMode};

    const NOBODY: [&str; 0] = [];
    const FIRST_NAMES: &str = "SELECT local_id, hs_id, first_name FROM contacts ORDER BY local_id";

    /// Rows 1 to 3 are records 101 to 103, all of the same first name.
    fn three(policy: Policy) -> Scene {
        let scene = Scene::of(policy);
        for id in 101..=103 {
            scene.apply(
                How::at(0),
                &record(id, 0, &[("firstname", "Base"), ("price", "1")]),
            );
        }
        scene
    }

    fn open_conflict(scene: &Scene, id: i64, ours: &str, theirs: &str) {
        scene.program(&format!(
            "UPDATE contacts SET first_name = '{ours}' WHERE hs_id = {id}"
        ));
        scene.apply(
            How::at(5),
            &record(id, 5, &[("firstname", theirs), ("price", "1")]),
        );
    }

    #[test]
    fn a_merge_that_somebody_elses_table_forbids_names_the_row_and_the_table_and_keeps_no_other_waiting()
     {
        const AT_ONCE: &str = "REFERENCES contacts (local_id)";
        const DEFERRED: &str = "REFERENCES contacts (local_id) DEFERRABLE INITIALLY DEFERRED";
        for reference in [AT_ONCE, DEFERRED] {
            let scene = three(Policy::Newest);
            scene.daemon(&format!(
                "PRAGMA foreign_keys = ON;
                 CREATE TABLE orders (id INTEGER PRIMARY KEY, contact INTEGER {reference});
                 INSERT INTO orders (contact) VALUES (2)"
            ));
            scene.apply(
                How::at(10),
                &merged(101, &[102, 103], &[("firstname", "B")]),
            );
            assert_eq!(scene.rows(FIRST_NAMES), ["1 101 B", "2 102 Base"]);
            let said = scene.rows("SELECT last_error FROM sync_status");
            let begins =
                "HubSpot merged record 102 into record 101, and contacts row 2 can't be removed: ";
            let ends = "; rows of `orders` refer to contacts: delete what keeps it, or let it refer to nothing";
            assert!(
                said[0].starts_with(begins) && said[0].ends_with(ends),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_row_whose_former_id_somebody_elses_table_refers_to_keeps_it_and_the_table_is_named() {
        const AT_ONCE: &str = "REFERENCES contacts (hs_id)";
        const DEFERRED: &str = "REFERENCES contacts (hs_id) DEFERRABLE INITIALLY DEFERRED";
        for reference in [AT_ONCE, DEFERRED] {
            let scene = three(Policy::Newest);
            scene.daemon(&format!(
                "PRAGMA foreign_keys = ON;
                 CREATE TABLE orders (id INTEGER PRIMARY KEY, contact INTEGER {reference});
                 INSERT INTO orders (contact) VALUES (102)"
            ));
            let page = [
                merged(900, &[102], &[("firstname", "B")]),
                record(103, 10, &[("firstname", "C")]),
            ];
            scene.write(|tx| apply_page(tx, &scene.applying(How::at(10)), &page));
            assert_eq!(
                scene.rows(FIRST_NAMES),
                ["1 101 Base", "2 102 Base", "3 103 C"]
            );
            let said = scene.rows("SELECT last_error FROM sync_status");
            let begins = "HubSpot record 900 does not fit into contacts: ";
            assert!(
                said[0].starts_with(begins) && said[0].contains("rows of `orders` refer to"),
                "{said:?}"
            );
        }
    }

    fn merged(id: i64, from: &[i64], values: &[(&str, &str)]) -> RemoteRecord {
        let mut record = record(id, 10, values);
        record.merged_ids = from.iter().map(|id| HubspotId(*id)).collect();
        record
    }

    #[test]
    fn the_associations_of_a_lost_row_are_the_survivors_and_doubles_go() {
        let scene = three(Policy::Newest);
        scene.daemon(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id)
             VALUES ('contacts', 1, 'companies', 7, 'HUBSPOT_DEFINED', 279), ('contacts', 2, 'companies', 7, 'HUBSPOT_DEFINED', 279),
                    ('contacts', 2, 'companies', 8, 'HUBSPOT_DEFINED', 279), ('contacts', 2, 'companies', 9, 'USER_DEFINED', 36),
                    ('deals', 5, 'contacts', 2, 'HUBSPOT_DEFINED', 3),
                    ('contacts', 1, 'contacts', 2, 'HUBSPOT_DEFINED', 449), ('contacts', 2, 'contacts', 1, 'HUBSPOT_DEFINED', 449),
                    ('contacts', 3, 'companies', 7, 'HUBSPOT_DEFINED', 279);
             INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, to_object, to_local_id, category, type_id)
             VALUES ('contacts', 2, 102, 'associate', '2026-11-24T03:10:00.000Z', 'companies', 9, 'USER_DEFINED', 36),
                    ('contacts', 2, 102, 'associate', '2026-11-24T03:10:00.000Z', 'contacts', 1, 'HUBSPOT_DEFINED', 449)",
        );
        scene.apply(How::at(10), &merged(101, &[102], &[("firstname", "Base")]));
        assert_eq!(
            scene.rows(
                "SELECT from_object, from_local_id, to_object, to_local_id FROM associations ORDER BY from_object, from_local_id, to_local_id"
            ),
            [
                "contacts 1 companies 7",
                "contacts 1 companies 8",
                "contacts 1 companies 9",
                "contacts 3 companies 7",
                "deals 5 contacts 1",
            ]
        );
        assert_eq!(
            scene.rows("SELECT local_id, hs_id, operation, to_local_id FROM sync_outbox"),
            ["1 101 associate 9"]
        );
    }

    #[test]
    fn no_archive_and_no_late_request_of_a_merged_record_is_left_to_meet_the_survivor_unknown() {
        let scene = Scene::of(Policy::Newest);
        for id in [101, 102, 103] {
            scene.apply(How::at(0), &record(id, 0, &[("firstname", "Ann")]));
        }
        scene.program("DELETE FROM contacts WHERE hs_id = 103");
        scene.daemon(&format!(
            "INSERT INTO _sync_sent (object, local_id, property, value, sent_at)
             VALUES ('contacts', 2, 'firstname', 'Ours', '{}')",
            at(1)
        ));
        assert_eq!(scene.outbox(), ["archive 3 103"]);
        let mut survivor = record(101, 5, &[("firstname", "Ann")]);
        survivor.merged_ids = vec![HubspotId(102), HubspotId(103)];
        scene.apply(How::at(10), &survivor);
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(scene.rows("SELECT local_id FROM _sync_sent"), ["1"]);
    }

    #[test]
    fn a_look_at_a_push_follows_its_record_into_the_survivor() {
        const LOOKS: &str =
            "SELECT hs_id, local_id, property FROM _sync_gaps ORDER BY local_id, property";
        let noted = |scene: &Scene| {
            scene.daemon(&format!(
                "INSERT INTO _sync_gaps (object, hs_id, local_id, property, base_known, read_version, noted_at, look_at, seen)
                 SELECT 'contacts', hs_id, local_id, 'firstname', 1, '{time}', '{time}', '{time}', 1 FROM contacts
                 UNION ALL
                 SELECT 'contacts', 102, 2, '*', 1, '{time}', '{time}', NULL, 0",
                time = at(1)
            ));
        };
        let scene = three(Policy::Newest);
        noted(&scene);
        scene.apply(How::at(10), &merged(101, &[102], &[("firstname", "B")]));
        // What was noted of an archive is asked for by the id that was archived.
        assert_eq!(
            scene.rows(LOOKS),
            [
                "101 1 firstname",
                "101 1 firstname",
                "102 2 *",
                "103 3 firstname"
            ]
        );
        // The survivor's id is new, and no row had it.
        let scene = three(Policy::Newest);
        noted(&scene);
        scene.apply(
            How::at(10),
            &merged(900, &[102, 103], &[("firstname", "B")]),
        );
        assert_eq!(
            scene.rows(LOOKS),
            [
                "101 1 firstname",
                "102 2 *",
                "900 2 firstname",
                "900 2 firstname"
            ]
        );
    }

    #[test]
    fn a_row_that_takes_the_survivors_id_takes_the_time_of_its_making_too() {
        let scene = three(Policy::Newest);
        let survivor = RemoteRecord {
            created_at: at(9),
            ..merged(900, &[102], &[("firstname", "B")])
        };
        scene.apply(How::at(10), &survivor);
        assert_eq!(
            scene.rows("SELECT local_id, hs_created_at FROM contacts WHERE hs_id = 900"),
            [format!("2 {}", at(9))]
        );
    }

    #[test]
    fn a_merge_in_hubspot_does_not_override_an_open_conflict() {
        let scene = three(Policy::Manual);
        open_conflict(&scene, 101, "ours of A", "theirs of A");
        scene.program("UPDATE contacts SET first_name = 'ours of B' WHERE hs_id = 102");
        let survivor = merged(101, &[102], &[("firstname", "theirs of A"), ("price", "1")]);
        scene.apply(How::at(10), &survivor);
        assert_eq!(scene.rows(FIRST_NAMES), ["1 101 ours of A", "3 103 Base"]);
        assert_eq!(
            scene.conflicts(),
            [
                "1 firstname ours of A theirs of A -",
                "1 firstname ours of B ours of A remote"
            ]
        );
        assert_eq!(
            scene.outbox(),
            NOBODY,
            "nothing is pushed until a person decides"
        );
        // And after a local write in between, and another look at the record.
        scene.program("UPDATE contacts SET first_name = 'ours again' WHERE hs_id = 101");
        scene.apply(How::at(20), &survivor);
        assert_eq!(scene.outbox(), NOBODY);
        assert_eq!(scene.conflicts()[0], "1 firstname ours again theirs of A -");
        let lost = "SELECT count(*) FROM sync_history WHERE property = '*' AND old_value LIKE '%ours of B%'";
        assert_eq!(scene.rows(lost), ["1"]);
    }

    #[test]
    fn an_open_conflict_of_the_row_that_is_lost_waits_on_the_survivor() {
        let scene = three(Policy::Manual);
        open_conflict(&scene, 102, "ours of B", "theirs of B");
        scene.apply(
            How::at(10),
            &merged(101, &[102], &[("firstname", "theirs of A"), ("price", "1")]),
        );
        assert_eq!(scene.rows(FIRST_NAMES), ["1 101 ours of B", "3 103 Base"]);
        assert_eq!(
            scene.conflicts(),
            ["1 firstname ours of B theirs of A -"],
            "HubSpot's former value is in the history"
        );
        let former = "SELECT old_value FROM sync_history WHERE property = 'firstname' AND origin = 'conflict'";
        assert_eq!(scene.rows(former), ["theirs of B"]);
        assert_eq!(scene.rows("SELECT hs_id FROM sync_conflicts"), ["101"]);
        assert_eq!(scene.outbox(), NOBODY);
    }

    #[test]
    fn where_both_rows_wait_for_a_decision_the_survivors_conflict_stays_open() {
        let scene = three(Policy::Manual);
        open_conflict(&scene, 101, "ours of A", "theirs of A");
        open_conflict(&scene, 102, "ours of B", "theirs of B");
        scene.apply(
            How::at(10),
            &merged(101, &[102], &[("firstname", "theirs of A"), ("price", "1")]),
        );
        assert_eq!(scene.rows(FIRST_NAMES), ["1 101 ours of A", "3 103 Base"]);
        assert_eq!(
            scene.conflicts(),
            [
                "1 firstname ours of A theirs of A -",
                "2 firstname ours of B theirs of B remote"
            ]
        );
        assert_eq!(scene.outbox(), NOBODY);
    }

    #[test]
    fn a_survivor_under_a_new_id_takes_its_conflict_along() {
        let scene = three(Policy::Manual);
        open_conflict(&scene, 102, "ours of B", "theirs of B");
        scene.apply(
            How::at(10),
            &merged(900, &[102], &[("firstname", "theirs of B"), ("price", "1")]),
        );
        assert_eq!(
            scene.rows("SELECT local_id, hs_id, local_value FROM sync_conflicts"),
            ["2 900 ours of B"]
        );
        assert_eq!(
            scene.rows("SELECT hs_id FROM contacts WHERE local_id = 2"),
            ["900"]
        );
    }

    #[test]
    fn the_changes_of_several_lost_rows_all_go_to_the_survivor() {
        let scene = three(Policy::Local);
        scene.program("UPDATE contacts SET first_name = 'of B' WHERE hs_id = 102");
        scene.program("UPDATE contacts SET price = '2' WHERE hs_id = 103");
        scene.apply(
            How::at(10),
            &merged(101, &[102, 103], &[("firstname", "Base"), ("price", "1")]),
        );
        assert_eq!(
            scene.rows("SELECT hs_id, first_name, price FROM contacts"),
            ["101 of B 2"]
        );
        assert_eq!(
            scene.outbox(),
            ["update 1 101; firstname was Base; price was 1"]
        );
    }

    #[test]
    fn where_both_rows_wait_with_a_value_the_way_of_writing_goes_first_and_equal_ones_agree() {
        let scene = Scene::with(|mapping| {
            for field in &mut mapping.fields {
                field.modes.write = match field.property.as_str() {
                    "interests" => WriteMode::Append,
                    "stage" => WriteMode::IfEmpty,
                    _ => WriteMode::Replace,
                };
                if field.property.as_str() == "firstname" {
                    field.policy = Policy::Local;
                }
            }
        });
        let shared = [
            ("firstname", "Base"),
            ("interests", "a"),
            ("stage", ""),
            ("price", "1"),
        ];
        for id in [101, 102] {
            scene.apply(How::at(0), &record(id, 0, &shared));
        }
        scene.program(
            "UPDATE contacts SET first_name = 'A', interests = 'a;b', stage = '111', price = '2' WHERE hs_id = 101;
             UPDATE contacts SET first_name = 'B', interests = 'a;e', stage = '112', price = '2.0' WHERE hs_id = 102",
        );
        scene.apply(How::at(10), &merged(101, &[102], &shared));
        assert_eq!(
            scene.rows("SELECT hs_id, first_name, interests, stage FROM contacts"),
            ["101 A a;b;e 111"]
        );
        assert_eq!(
            scene.rows(
                "SELECT property, local_value, remote_value, policy, winner FROM sync_conflicts"
            ),
            ["firstname B A local remote"]
        );
        assert_eq!(
            scene.rows(
                "SELECT property, old_value, new_value FROM sync_history WHERE origin = 'conflict'"
            ),
            ["stage 112 111"]
        );
        assert_eq!(
            scene.outbox(),
            ["update 1 101; firstname was Base; interests was a; price was 1; stage was -"]
        );
    }

    #[test]
    fn an_association_that_hubspot_refused_for_a_merged_records_sake_goes_to_the_survivor() {
        let scene = three(Policy::Remote);
        scene.daemon(&format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, state, attempts, enqueued_at, to_object, to_local_id, last_error, code)
             VALUES ('contacts', 1, 101, 'associate', 'dead', 3, '{0}', 'contacts', 2, 'no record 101 [record-not-found]', 'record-not-found'),
                    ('contacts', 3, 103, 'associate', 'dead', 3, '{0}', 'contacts', 1, 'full [association-limit]', 'association-limit')",
            at(1)
        ));
        let mut survivor = record(900, 5, &[("firstname", "Base")]);
        survivor.merged_ids = vec![HubspotId(101)];
        scene.apply(How::at(5), &survivor);
        assert_eq!(
            scene.rows(
                "SELECT local_id, hs_id, state, attempts, code FROM sync_outbox ORDER BY local_id"
            ),
            ["1 900 pending 0 -", "3 103 dead 3 association-limit"]
        );
    }
}
