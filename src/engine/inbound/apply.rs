//! Records from a poll, a backfill, a read or the comparison → one transaction: which row is this record, what becomes
//! of its fields, what is written.
//!
//! It sends nothing. Whatever it can't decide without asking HubSpot becomes a row of `_sync_reads`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::echo::{Histories, SentValues};
use crate::decide::freshness::{Freshness, Question, of_departed, of_version};
use crate::decide::record::{CleanBase, RecordInput, RecordPlan, merge_record, written_at};
use crate::engine::inbound::absorb;
use crate::engine::inbound::actions::{RecordHands, late_since};
use crate::engine::inbound::adopt;
use crate::engine::inbound::removal::why_kept;
use crate::engine::pass::Pass;
use crate::engine::source::reads::AFTER_FLIGHT;
use crate::model::entry::{EntryState, Operation};
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::around::{self, Around};
use crate::store::file::savepoint;
use crate::store::history::{self, Change};
use crate::store::mirror::MirrorRow;
use crate::store::outbox::Queued;
use crate::store::{StoreError, conflicts, outbox, reads, unreadable};

pub use crate::decide::freshness::Evidence;

/// What is being applied, and how.
#[derive(Debug)]
pub struct Applying<'a> {
    /// The transaction's work that this is a part of.
    pub pass: Pass<'a>,
    /// How sure the answer is.
    pub evidence: Evidence,
    /// This machine's time before the request was sent.
    pub asked_at: Timestamp,
    /// Whether changes are written to `sync_history`: not during the first backfill.
    pub with_history: bool,
}

impl<'a> Applying<'a> {
    /// The store's answer to a question that was asked at that time.
    pub fn from_store(pass: Pass<'a>, asked_at: Timestamp) -> Self {
        Self {
            pass,
            evidence: Evidence::Store,
            asked_at,
            with_history: true,
        }
    }

    fn question(&self) -> Question {
        Question {
            evidence: self.evidence,
            asked_at: self.asked_at,
            now: self.pass.now,
        }
    }
}

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
pub fn apply_page_naming(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[RemoteRecord],
) -> Result<Vec<(HubspotId, Timestamp)>, StoreError> {
    let pass = &applying.pass;
    let around = around::look(tx, pass.name(), &pass.object.table)?;
    let mut seen = BTreeSet::new();
    // A record that stands twice in a page was applied the first time.
    let records: Vec<&RemoteRecord> = records
        .iter()
        .filter(|record| seen.insert(record.id))
        .collect();
    let changed = match savepoint::within(tx, || apply_all(tx, applying, &records, around)) {
        Err(error) if error.is_of_one_row() => apply_each(tx, applying, &records, around)?,
        applied => applied?,
    };
    if !changed.is_empty() && applying.with_history {
        crate::store::cursors::set_last_change(tx, pass.name(), pass.now)?;
    }
    Ok(changed)
}

fn apply_all(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[&RemoteRecord],
    mut around: Around,
) -> Result<Vec<(HubspotId, Timestamp)>, StoreError> {
    let mut changed = Vec::new();
    for record in records {
        around = after_merges(around, record);
        if apply_within(tx, applying, record, None, around)? {
            changed.push((record.id, record.updated_at));
        }
    }
    Ok(changed)
}

/// What a record takes over in a page (conflicts, entries, tombstones of the merged ids) was not there when the page was
/// looked at: from here on everything is looked up.
fn after_merges(around: Around, record: &RemoteRecord) -> Around {
    match record.merged_ids.is_empty() {
        true => around,
        false => Around::ANYTHING,
    }
}

/// How long an entry waits whose record one of the user's own constraints refused, and a record that HubSpot shows in no
/// form that can be read.
pub const AFTER_CONSTRAINT: Duration = Duration::from_mins(10);

/// Applies record by record: one that a constraint of the user's own refuses (a UNIQUE index, a CHECK), or whose row is too
/// large, must not keep the others out.
fn apply_each(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[&RemoteRecord],
    mut around: Around,
) -> Result<Vec<(HubspotId, Timestamp)>, StoreError> {
    let mut changed = Vec::new();
    for record in records {
        around = after_merges(around, record);
        match savepoint::within(tx, || apply_within(tx, applying, record, None, around)) {
            Ok(true) => changed.push((record.id, record.updated_at)),
            Ok(false) => {}
            Err(error) if error.is_of_one_row() => {
                refuse_record(tx, &applying.pass, record.id, &error)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

/// Puts off a record that the table refuses: it is read and tried again later, and `sync_status` says so until then.
pub fn refuse_record(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    error: &StoreError,
) -> Result<(), StoreError> {
    let table = &pass.object.mapping().table;
    let why = match error.is_of_reference() {
        true => why_kept(tx, pass.object, error)?,
        false => {
            format!("{error}: change the rows, or what refuses it; it is tried again by itself")
        }
    };
    let words = format!("HubSpot record {id} does not fit into {table}: {why}");
    refuse_saying(tx, pass, id, &words)
}

/// The same, in these words.
pub fn refuse_saying(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    words: &str,
) -> Result<(), StoreError> {
    let object = pass.name();
    if reads::ask_refused(tx, object, id, pass.origin, pass.now, words)? {
        tracing::error!(object = %object, hs_id = %id, "the table refuses a record; see sync_status.last_error");
    }
    Ok(())
}

/// Applies one record. Tells whether it changed something here.
pub fn apply_record(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    histories: Option<&Histories>,
) -> Result<bool, StoreError> {
    apply_within(tx, applying, record, histories, Around::ANYTHING)
}

fn apply_within(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    record: &RemoteRecord,
    histories: Option<&Histories>,
    around: Around,
) -> Result<bool, StoreError> {
    let pass = &applying.pass;
    if around.tombstones && !may_come_back(tx, applying, record)? {
        return Ok(false);
    }
    let absorbed = absorb::absorb_merged(tx, applying, record)?;
    if let Some(row) = pass.object.table.by_hs_id(tx, record.id)? {
        if around.removals {
            doubt_removal(tx, applying, record)?;
        }
        let shown = ShownRecord {
            record,
            histories,
            clean_base: CleanBase::Mirror,
            around,
        };
        let changed = merge_into(tx, applying, row, shown)?;
        return Ok(changed || absorbed);
    }
    if around.may_adopt()
        && let Some(adopted) = adopt::adopt(tx, applying, record)?
    {
        return Ok(adopted);
    }
    if !pass.object.mapping().direction.pulls() || !may_appear(tx, pass, record, around)? {
        return Ok(absorbed);
    }
    insert(tx, applying, record)?;
    note_unreadable(tx, pass, record, around)?;
    Ok(true)
}

/// Notes values that no column can hold, and that former ones can be read again.
fn note_unreadable(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
    around: Around,
) -> Result<(), StoreError> {
    if record.invalid.is_empty() && !around.unreadable {
        return Ok(());
    }
    unreadable::note(tx, pass.name(), record, pass.now)
}

/// Whether a record that left the mirror may be applied again: as a new row, or as the row that means it by now.
pub fn may_come_back(
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
        Freshness::Fresh => reads::forget_removal(tx, object, record.id),
        Freshness::Unsure => reads::ask(tx, object, record.id, pass.origin, pass.now).map(drop),
        Freshness::Stale => Ok(()),
    }
}

/// Whether a record that no row matches may become a new row.
fn may_appear(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
    around: Around,
) -> Result<bool, StoreError> {
    let object = pass.name();
    let unsure = around.entries
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
    let object = pass.name();
    let local_id = pass.object.table.insert_record(tx, record)?;
    if !applying.with_history {
        return Ok(());
    }
    reads::unbury(tx, object, record.id)?;
    for (property, value) in record.values.iter().filter(|(_, value)| !value.is_empty()) {
        let change = Change {
            object,
            local_id,
            hs_id: Some(record.id),
            property: property.as_str(),
            old: None,
            new: value.as_deref(),
            origin: pass.origin,
        };
        history::record(tx, change, pass.now)?;
    }
    Ok(())
}

/// What HubSpot shows of a record, as its row is to be merged with it.
#[derive(Clone, Copy)]
pub struct ShownRecord<'a> {
    /// The record.
    pub record: &'a RemoteRecord,
    /// The histories that were read with it.
    pub histories: Option<&'a Histories>,
    /// What both sides agreed on where nothing waits.
    pub clean_base: CleanBase<'a>,
    /// What may stand around its row.
    pub around: Around,
}

/// Merges a record into its row.
pub fn merge_into(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    mut row: MirrorRow,
    shown: ShownRecord<'_>,
) -> Result<bool, StoreError> {
    let ShownRecord {
        record,
        clean_base,
        around,
        ..
    } = shown;
    let pass = &applying.pass;
    let known = row.record.modified_at;
    let freshness = of_version(applying.evidence, record.updated_at, known);
    if freshness == Freshness::Stale {
        return Ok(false);
    }
    let object = pass.name();
    let queued = match around.entries {
        true => outbox::of_row(tx, object, row.record.local_id)?,
        false => None,
    };
    let plan = plan_for(tx, pass, &row, queued.as_ref(), shown)?;
    if freshness == Freshness::Unsure {
        if !plan.actions.is_empty() || !plan.need_history.is_empty() {
            reads::ask(tx, object, record.id, pass.origin, pass.now)?;
        }
        return Ok(false);
    }
    note_unreadable(tx, pass, record, around)?;
    let settled = ask_for_more(tx, pass, &plan, record)?;
    let entry = queued.as_ref().map(|queued| queued.entry.id);
    let written_at = written_at(
        queued.as_ref().map(|queued| &queued.entry),
        clean_base,
        record.updated_at,
        pass.offset_ms,
    );
    let mut hands = RecordHands {
        tx,
        applying,
        version: record.updated_at,
        row: &mut row,
        entry,
        written_at,
    };
    let changed = hands.carry_out(&plan)?;
    hands.keep_bases(&plan.need_history, clean_base)?;
    hands.keep_bases(&plan.held, clean_base)?;
    let moved = settled && known != Some(record.updated_at);
    if moved {
        row.record.modified_at = Some(record.updated_at);
    }
    if changed || moved {
        pass.object.table.update(tx, &row)?;
    }
    end_if_done(tx, queued.as_ref(), record)?;
    Ok(changed)
}

fn plan_for(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
    queued: Option<&Queued>,
    shown: ShownRecord<'_>,
) -> Result<RecordPlan, StoreError> {
    let object = pass.name();
    let local_id = row.record.local_id;
    let sent_earlier = match shown.around.sent {
        true => outbox::sent_earlier(tx, object, local_id, late_since(pass.now))?,
        false => SentValues::new(),
    };
    let open = match shown.around.conflicts {
        true => conflicts::open_of(tx, object, local_id)?,
        false => BTreeMap::new(),
    };
    Ok(merge_record(&RecordInput {
        mapping: pass.object.mapping(),
        local: &row.record,
        entry: queued.map(|queued| &queued.entry),
        open: &open,
        remote: shown.record,
        histories: shown.histories,
        sent_earlier: &sent_earlier,
        now: pass.now,
        clock_offset_ms: pass.offset_ms,
        clean_base: shown.clean_base,
    }))
}

/// Asks for the reads that a plan still needs; tells whether the record's version is settled.
fn ask_for_more(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    plan: &RecordPlan,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let object = pass.name();
    if plan.deferred {
        reads::ask(tx, object, record.id, pass.origin, pass.now + AFTER_FLIGHT)?;
    } else if !plan.need_history.is_empty() {
        reads::ask(tx, object, record.id, pass.origin, pass.now)?;
    }
    Ok(!plan.deferred && plan.need_history.is_empty())
}

/// Ends an update of which nothing is left, and makes an adopted row's create an update or ends it.
pub fn end_if_done(
    tx: &Transaction<'_>,
    queued: Option<&Queued>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let Some(queued) = queued else { return Ok(()) };
    let entry = &queued.entry;
    if entry.state == EntryState::InFlight
        || entry.row.is_some()
        || entry.operation != Operation::Update
    {
        return Ok(());
    }
    if outbox::fields(tx, entry.id)?.is_empty() {
        return outbox::end(tx, entry.id);
    }
    if entry.hs_id != Some(record.id) {
        outbox::become_update(tx, entry.id, record.id, entry.enqueued_at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, at, record};
    use crate::model::id::HubspotId;
    use crate::model::mapping::Policy;

    const NOBODY: [&str; 0] = [];

    fn bury(scene: &Scene, second: i64) {
        scene.write(|tx| reads::bury(tx, scene.object.object(), HubspotId(101), at(second)));
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
                archived_at: None,
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
}
