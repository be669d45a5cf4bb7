//! Records from a poll, a backfill, a read or the comparison → one transaction: which row is this record, what becomes
//! of its fields, what is written.
//!
//! It sends nothing. Whatever it can't decide without asking HubSpot becomes a row of `_sync_reads`.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::echo::Histories;
use crate::decide::existence::{Here, Hubspot, NOT_VISIBLE, Sides, decide};
use crate::decide::incoming::freshness::{Evidence, Freshness, of_departed};
use crate::decide::record::CleanBase;
use crate::engine::inbound::absorb;
use crate::engine::inbound::adopt;
use crate::engine::inbound::applying::{Applying, refuse_record};
use crate::engine::inbound::existence::{Matter, end_removal, note_made};
use crate::engine::inbound::links::{self, OwnLinks};
use crate::engine::inbound::merge::{ShownRecord, merge_into, note_unreadable};
use crate::engine::pass::Pass;
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::store::database::savepoint;
use crate::store::lookups::{self, Lookups};
use crate::store::{StoreError, absent, outbox, reads};

/// How long a read waits that is to tell whether a record is back: it must be asked after all that is known of it.
const AFTER_UNSURE: Duration = Duration::from_secs(1);

/// How long an unknown record waits while a create that may be its own is in doubt (`design.md`, section 4).
const AFTER_DOUBT: Duration = Duration::from_secs(70);

/// How far this machine's clock may have been set back while a create was under way.
const CLOCK_MOVED: Duration = Duration::from_mins(2);

/// Applies a page. Tells how many records changed something here.
pub fn apply_page(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[RemoteRecord],
) -> Result<usize, StoreError> {
    Ok(apply_page_naming(tx, applying, records)?.len())
}

/// Applies a page. Names the records that changed something here, with HubSpot's time.
pub(crate) fn apply_page_naming(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[RemoteRecord],
) -> Result<Vec<(HubspotId, Timestamp)>, StoreError> {
    let pass = &applying.pass;
    let lookups = lookups::look(tx, pass.name(), &pass.object.table)?;
    let mut seen = BTreeSet::new();
    // A record that stands twice in a page was applied the first time.
    let records: Vec<&RemoteRecord> = records
        .iter()
        .filter(|record| seen.insert(record.id))
        .collect();
    let apply = |way| apply_all(tx, applying, &records, lookups, way);
    let changed = match savepoint::within(tx, || apply(PageWay::Together)) {
        Err(error) if error.is_of_one_row() => apply(PageWay::OneByOne)?,
        applied => applied?,
    };
    if !changed.is_empty() && applying.with_history {
        crate::store::cursors::set_last_change(tx, pass.name(), pass.now)?;
    }
    Ok(changed)
}

/// What a record takes over in a page (conflicts, entries, tombstones of the merged ids) was not there when the page was
/// looked at: from here on everything is looked up.
fn after_merges(lookups: Lookups, record: &RemoteRecord) -> Lookups {
    match record.merged_ids.is_empty() {
        true => lookups,
        false => Lookups::ALL,
    }
}

/// How the records of a page are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageWay {
    /// All or none.
    Together,
    /// Each for itself: one that a constraint of the user's own refuses (a UNIQUE index, a CHECK), or whose row is too large,
    /// must not keep the others out.
    OneByOne,
}

fn apply_all(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[&RemoteRecord],
    mut lookups: Lookups,
    way: PageWay,
) -> Result<Vec<(HubspotId, Timestamp)>, StoreError> {
    let mut changed = Vec::new();
    for (applying, record) in applying.each(records) {
        lookups = after_merges(lookups, record);
        let apply = || apply_within(tx, &applying, record, None, lookups);
        let applied = match way {
            PageWay::Together => apply(),
            PageWay::OneByOne => savepoint::within(tx, apply),
        };
        match applied {
            Ok(true) => changed.push((record.id, record.updated_at)),
            Ok(false) => {}
            Err(error) if way == PageWay::OneByOne && error.is_of_one_row() => {
                refuse_record(tx, &applying.pass, record.id, &error)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

/// Applies one record. Tells whether it changed something here.
pub(crate) fn apply_record(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    histories: Option<&Histories>,
) -> Result<bool, StoreError> {
    apply_within(tx, applying, record, histories, Lookups::ALL)
}

fn apply_within(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    histories: Option<&Histories>,
    lookups: Lookups,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    if lookups.tombstones && !may_come_back(tx, applying, record)? {
        return Ok(false);
    }
    let absorbed = absorb::absorb_merged(tx, applying, record)?;
    if lookups.absent {
        note_seen(tx, applying, record)?;
    }
    if let Some(row) = pass.object.table.by_hs_id(tx, record.id)? {
        if lookups.marked && !is_live(tx, applying, &row, record)? {
            return Ok(absorbed);
        }
        if lookups.removals {
            doubt_removal(tx, applying, record)?;
        }
        let shown = ShownRecord {
            record,
            histories,
            clean_base: CleanBase::Mirror,
            lookups,
        };
        let changed = merge_into(tx, applying, row, shown)?;
        if absorbed {
            links::ask(tx, pass, record.id, OwnLinks::Too)?;
        }
        return Ok(changed || absorbed);
    }
    if lookups.may_adopt()
        && let Some(adopted) = adopt::adopt(tx, applying, record)?
    {
        links::ask(tx, pass, record.id, OwnLinks::Too)?;
        return Ok(adopted);
    }
    let mapping = pass.object.mapping();
    let makes_rows = mapping.direction.pulls() && mapping.modes.new_records.makes_rows();
    if !makes_rows || !may_appear(tx, pass, record, lookups)? {
        return Ok(absorbed);
    }
    if lookups.tombstones {
        reads::unbury(tx, pass.name(), record.id)?;
    }
    insert(tx, applying, record)?;
    let own = match applying.with_history {
        true => OwnLinks::Too,
        false => OwnLinks::No,
    };
    links::ask(tx, pass, record.id, own)?;
    note_unreadable(tx, pass, record, lookups)?;
    Ok(true)
}

/// Whether a record that left the mirror may be applied again: as a new row, or as the row that means it by now.
pub(crate) fn may_come_back(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    let object = pass.name();
    let Some(left_at) = reads::buried_at(tx, object, record.id)? else {
        return Ok(true);
    };
    if pass.object.table.by_hs_id(tx, record.id)?.is_some() {
        return Ok(true);
    }
    let freshness = of_departed(applying.question(), left_at);
    if freshness == Freshness::Unsure {
        let wait = match applying.evidence {
            Evidence::Search => Duration::ZERO,
            Evidence::Store => AFTER_UNSURE,
        };
        reads::ask(tx, object, record.id, pass.origin, pass.now + wait)?;
        if left_at > pass.now {
            // Of before the clock was put back: from here on it is compared with what is asked later.
            reads::bury(tx, object, record.id, pass.now)?;
        }
    }
    Ok(freshness == Freshness::Fresh)
}

/// A record that the token did not see, or whose deletion was announced, and that is shown, itself or what it was merged into:
/// what is dead for that goes on.
fn note_seen(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    if applying.evidence == Evidence::Search {
        return Ok(());
    }
    let mut was_absent = absent::forget(tx, pass.name(), record.id)?;
    for id in &record.merged_ids {
        was_absent |= absent::forget(tx, pass.name(), *id)?;
    }
    if !was_absent {
        return Ok(());
    }
    let entry = match pass.object.table.by_hs_id(tx, record.id)? {
        Some(row) => outbox::of_row(tx, pass.name(), row.record.local_id)?,
        None => outbox::of_record(tx, pass.name(), record.id)?,
    };
    match entry {
        Some(entry) if outbox::is_dead_saying(tx, entry.id, NOT_VISIBLE)? => {
            outbox::decide(tx, entry.id, pass.now)
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a row takes what its record shows: one that says that its record is archived does so once a later answer of the
/// store shows the record again.
fn is_live(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    row: &MirrorRow,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    if !pass.object.table.is_marked(tx, row.record.local_id)? {
        return Ok(true);
    }
    let left_at = reads::buried_at(tx, pass.name(), record.id)?.unwrap_or_default();
    match of_departed(applying.question(), left_at) {
        Freshness::Stale => return Ok(false),
        Freshness::Unsure => {
            reads::ask(
                tx,
                pass.name(),
                record.id,
                pass.origin,
                pass.now + AFTER_UNSURE,
            )?;
            return Ok(false);
        }
        Freshness::Fresh => {}
    }
    let mapping = pass.object.mapping();
    let actions = decide(&Sides::passed(Hubspot::Unchanged, Here::Marked, mapping));
    let matter = Matter {
        pass: *pass,
        hs_id: record.id,
        row: Some(row),
        queued: None,
        record: Some(record),
        key: "",
        decided: None,
    };
    matter.carry_out(tx, &actions)?;
    Ok(true)
}

/// A record that is shown while its row waits to be removed: it was not gone, or it is back.
fn doubt_removal(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let object = pass.name();
    let Some(seen_at) = reads::removal_noted_at(tx, object, record.id)? else {
        return Ok(());
    };
    match of_departed(applying.question(), seen_at) {
        Freshness::Fresh => end_removal(tx, pass, record.id),
        Freshness::Unsure => reads::ask(tx, object, record.id, pass.origin, pass.now).map(drop),
        Freshness::Stale => Ok(()),
    }
}

/// Whether a record that no row matches may become a new row.
fn may_appear(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
    lookups: Lookups,
) -> Result<bool, StoreError> {
    let object = pass.name();
    let unsure = lookups.entries
        && outbox::keyless_create_in_doubt(
            tx,
            object,
            pass.object.key_property.is_some(),
            record.created_at.plus_millis(-pass.offset_ms) + CLOCK_MOVED,
        )?;
    if unsure {
        reads::ask(tx, object, record.id, pass.origin, pass.now + AFTER_DOUBT)?;
    }
    Ok(!unsure)
}

fn insert(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let local_id = pass.object.table.insert_record(tx, record)?;
    if !applying.with_history {
        return Ok(());
    }
    note_made(tx, pass, local_id, record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, at, record};
    use crate::model::id::{HubspotId, LocalId};
    use crate::model::mapping::{NewRecords, OnRemoteDelete, Policy, Sees};
    use crate::store::absent::WhyAbsent;

    const NOBODY: [&str; 0] = [];

    fn bury(scene: &Scene, second: i64) {
        scene.write(|tx| reads::bury(tx, scene.object.object(), HubspotId(101), at(second)));
    }

    #[test]
    fn a_row_without_its_records_times_is_told_both() {
        let scene = Scene::of(Policy::Newest);
        let ann = record(101, 0, &[("email", "ann@example.com")]);
        assert!(scene.apply(How::at(10), &ann));
        scene.daemon("UPDATE contacts SET hs_created_at = NULL, hs_modified_at = NULL");
        scene.apply(How::at(20), &ann);
        assert_eq!(
            scene.rows("SELECT hs_created_at, hs_modified_at FROM contacts"),
            [format!("{} {}", at(-1_000_000), at(0))]
        );
    }

    #[test]
    fn a_page_asked_for_before_an_archive_and_applied_after_it_does_not_bring_the_row_back() {
        let scene = Scene::of(Policy::Newest);
        let ann = record(101, 0, &[("email", "ann@example.com")]);
        bury(&scene, 20);
        let stale = How {
            asked_at: at(10),
            ..How::at(30)
        };
        assert!(!scene.apply(stale, &ann));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), NOBODY);
        // Both within a millisecond, and a clock that was put back after the archive: a read tells.
        for (asked_at, now) in [(20, 30), (10, 15), (25, 22)] {
            bury(&scene, 20);
            scene.daemon("DELETE FROM _sync_reads");
            let unsure = How {
                asked_at: at(asked_at),
                ..How::at(now)
            };
            assert!(!scene.apply(unsure, &ann));
            assert_eq!(scene.rows("SELECT hs_id FROM contacts"), NOBODY);
            assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        }
        // Restored: what was asked later brings it.
        assert!(scene.apply(How::at(40), &ann));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
    }

    #[test]
    fn a_stale_page_gives_a_row_that_was_inserted_again_no_archived_record() {
        let scene = Scene::of(Policy::Newest);
        bury(&scene, 20);
        scene.program("INSERT INTO contacts (email) VALUES ('ann@example.com')");
        let ann = record(101, 0, &[("email", "ann@example.com")]);
        let stale = How {
            asked_at: at(10),
            ..How::at(30)
        };
        assert!(!scene.apply(stale, &ann));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["-"]);
        assert_eq!(scene.outbox(), ["create 1 -"]);
    }

    #[test]
    fn a_stale_page_does_not_give_the_row_of_a_merged_record_to_a_survivor_that_is_archived() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(102, 0, &[("email", "bob@example.com")]));
        bury(&scene, 20);
        let mut survivor = record(101, 5, &[("email", "ann@example.com")]);
        survivor.merged_ids = vec![HubspotId(102)];
        let stale = How {
            asked_at: at(10),
            ..How::at(30)
        };
        assert!(!scene.apply(stale, &survivor));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["102"]);
    }

    #[test]
    fn a_page_that_shows_both_records_of_a_merge_leaves_one_row() {
        let scene = Scene::of(Policy::Newest);
        for id in [101, 102] {
            scene.apply(How::at(0), &record(id, 0, &[("firstname", "Ann")]));
        }
        let mut survivor = record(101, 5, &[("firstname", "Ann")]);
        survivor.merged_ids = vec![HubspotId(102)];
        let late = record(102, 0, &[("firstname", "Ann")]);
        let search = How {
            evidence: Evidence::Search,
            ..How::at(10)
        };
        scene.write(|tx| apply_page(tx, &scene.applying(search), &[survivor, late]));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["102"]);
    }

    #[test]
    fn an_unknown_record_waits_only_where_a_create_in_doubt_may_have_made_it() {
        // Made at 150 by HubSpot's clock: 150 s before the create by this one, if that is 300 s behind.
        for (clock_offset_ms, appears) in [(0, "0"), (300_000, "1")] {
            let scene = Scene::of(Policy::Newest);
            scene.program("INSERT INTO contacts (email) VALUES ('bob@example.com')");
            scene.daemon(&format!(
                "UPDATE sync_outbox SET attempts = 1, unanswered_since = '{}'",
                at(0)
            ));
            let made = RemoteRecord {
                created_at: at(150),
                ..record(101, 150, &[("email", "ann@example.com")])
            };
            let how = How {
                clock_offset_ms,
                ..How::at(200)
            };
            scene.apply(how, &made);
            let rows = scene.rows("SELECT count(*) FROM contacts WHERE hs_id = 101");
            assert_eq!(rows, [appears], "{clock_offset_ms}");
        }
    }

    #[test]
    fn a_search_hit_of_the_same_time_is_read_and_not_applied() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 5, &[("firstname", "Ann")]));
        let search = How {
            evidence: Evidence::Search,
            ..How::at(10)
        };
        assert!(!scene.apply(search, &record(101, 5, &[("firstname", "Anne")])));
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Ann"]);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        // Nothing to read where the hit shows what is here, and an older one shows nothing.
        scene.daemon("DELETE FROM _sync_reads");
        assert!(!scene.apply(search, &record(101, 5, &[("firstname", "Ann")])));
        assert!(!scene.apply(search, &record(101, 4, &[("firstname", "Anne")])));
        assert!(!scene.apply(How::at(10), &record(101, 4, &[("firstname", "Anne")])));
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), NOBODY);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Ann"]);
        // The store may correct what is here.
        assert!(scene.apply(How::at(10), &record(101, 5, &[("firstname", "Anne")])));
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Anne"]);
    }

    #[test]
    fn a_record_that_is_shown_again_is_not_removed_for_an_older_absence() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Ann")]));
        let note = || {
            let removal = reads::Removal {
                id: HubspotId(101),
                archived: reads::Archived::Unshown,
                origin: crate::store::history::Origin::Poll,
            };
            scene.write(|tx| reads::note_removal(tx, scene.object.object(), removal, at(20)));
        };
        let removals = || scene.rows("SELECT hs_id FROM _sync_removals");
        note();
        let stale = How {
            asked_at: at(10),
            ..How::at(30)
        };
        scene.apply(stale, &record(101, 0, &[("firstname", "Ann")]));
        assert_eq!(removals(), ["101"]);
        let search = How {
            evidence: Evidence::Search,
            ..How::at(30)
        };
        scene.apply(search, &record(101, 25, &[("firstname", "Ann")]));
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        assert_eq!(removals(), ["101"]);
        scene.apply(How::at(31), &record(101, 25, &[("firstname", "Ann")]));
        assert_eq!(removals(), NOBODY);
    }

    #[test]
    fn a_marked_row_is_one_as_any_other_again_once_a_later_answer_of_the_store_shows_its_record() {
        let scene = Scene::with(|mapping| mapping.modes.on_remote_delete = OnRemoteDelete::Mark);
        let ann = record(101, 0, &[("email", "ann@example.com")]);
        let restored = record(101, 25, &[("email", "anne@example.com")]);
        scene.apply(How::at(0), &ann);
        let shown = |how, record: &RemoteRecord| {
            scene.daemon("UPDATE contacts SET hs_archived = 1; DELETE FROM _sync_reads");
            bury(&scene, 20);
            scene.apply(how, record);
            scene
                .rows("SELECT hs_archived, email, (SELECT count(*) FROM _sync_reads) FROM contacts")
        };
        let stale = How {
            asked_at: at(10),
            ..How::at(30)
        };
        assert_eq!(shown(stale, &ann), ["1 ann@example.com 0"]);
        let search = How {
            evidence: Evidence::Search,
            ..How::at(30)
        };
        assert_eq!(shown(search, &restored), ["1 ann@example.com 1"]);
        assert_eq!(shown(How::at(40), &restored), ["0 anne@example.com 0"]);
        let made = "SELECT local_id, hs_id, new_value ->> 'email' FROM sync_history WHERE property = '*' AND id > 1";
        assert_eq!(scene.rows(made), ["1 101 anne@example.com"]);
    }

    #[test]
    fn a_record_that_no_row_means_is_left_alone_where_programs_alone_make_records() {
        let scene = Scene::with(|mapping| mapping.modes.new_records = NewRecords::FromLocal);
        let ann = record(101, 0, &[("email", "ann@example.com")]);
        assert!(!scene.apply(How::at(10), &ann));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), NOBODY);
        scene.program("INSERT INTO contacts (email) VALUES ('ann@example.com')");
        scene.daemon("UPDATE sync_outbox SET state = 'dead'");
        assert!(scene.apply(How::at(20), &ann));
        assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
        assert_eq!(scene.outbox(), Vec::<String>::new());
    }

    #[test]
    fn a_record_that_was_not_seen_is_shown_by_what_it_was_merged_into_also_where_its_row_has_that_id_by_now()
     {
        const STANDS: &str =
            "SELECT hs_id, state, (SELECT count(*) FROM _sync_absent) FROM sync_outbox";
        let survivor = RemoteRecord {
            merged_ids: vec![HubspotId(101)],
            ..record(900, 5, &[("firstname", "Base")])
        };
        for row_is_of in [101, 900] {
            let scene = Scene::with(|mapping| mapping.modes.sees = Sees::User);
            scene.apply(How::at(0), &record(row_is_of, 0, &[("firstname", "Base")]));
            scene.program("UPDATE contacts SET first_name = 'Ours'");
            scene.write(|tx| {
                let object = scene.object.object();
                absent::note(tx, object, HubspotId(101), WhyAbsent::Unseen, at(1))?;
                let entry = outbox::of_row(tx, object, LocalId(1))?.expect("it waits");
                outbox::park(tx, entry.id, NOT_VISIBLE, outbox::Answered::No)
            });
            assert_eq!(scene.rows(STANDS), [format!("{row_is_of} dead 1")]);
            scene.apply(How::at(10), &survivor);
            assert_eq!(scene.rows(STANDS), ["900 pending 0"]);
        }
    }

    /// A push put it off, for the guard's word on the row; that the record is shown again ends the removal.
    #[test]
    fn what_was_written_to_a_row_goes_out_as_soon_as_its_record_is_shown_again() {
        let scene = Scene::of(Policy::Remote);
        let shown = record(101, 0, &[("firstname", "Base")]);
        scene.apply(How::at(0), &shown);
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET next_attempt_at = '{}';
             INSERT INTO _sync_removals (object, hs_id, seen_at, origin, hold_id) VALUES ('contacts', 101, '{}', 'reconcile', 1)",
            at(80),
            at(20)
        ));
        let due = || scene.rows("SELECT next_attempt_at FROM sync_outbox");
        // A page that was asked for before the record was missed says nothing of it.
        scene.apply(How::at(10), &shown);
        assert_eq!(due(), [at(80).to_string()]);
        scene.apply(How::at(30), &shown);
        assert_eq!(due(), [at(30).to_string()]);
        assert_eq!(
            scene.rows("SELECT hs_id FROM _sync_removals"),
            Vec::<String>::new()
        );
    }
}
