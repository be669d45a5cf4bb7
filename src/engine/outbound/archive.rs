//! Archives: the guard's word first, then a read of the records, then what nobody has edited meanwhile is sent.

use rusqlite::{Connection, Transaction};

use crate::decide::echo::{Edited, SentValues, late_since};
use crate::decide::existence::{Action, Again, Here, Hubspot, Sides, Word, decide};
use crate::decide::guard::Bounds;
use crate::decide::incoming::convert::identities;
use crate::decide::outgoing::archiving::{DeletedRow, is_undecided};
use crate::decide::outgoing::looking::former_values;
use crate::decide::outgoing::present::{KnownVersion, Look, Present};
use crate::decide::outgoing::taken::shared_words;
use crate::decide::retry::AFTER_READ;
use crate::engine::inbound::absorb;
use crate::engine::inbound::existence::{Matter, missed, note_arrived, shown_version};
use crate::engine::outbound::claiming::put_aside;
use crate::engine::outbound::gap;
use crate::engine::outbound::guarded::{Guarded, archive_key, bounds, update_key};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::model::attempt::Sent;
use crate::model::entry::{Entry, EntryState, Operation, WaitsFor};
use crate::model::id::HubspotId;
use crate::model::mapping::OnLocalDelete;
use crate::model::record::RemoteRecord;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::store::database::savepoint;
use crate::store::history::Origin;
use crate::store::outbox::{self, Attempt, GuardedEntries};
use crate::store::{Lane, StoreError, conflicts, holds, reads, unreadable};

/// How long an archive waits while a row that was inserted again may mean the same record.
const AFTER_REINSERT: std::time::Duration = std::time::Duration::from_secs(10);

/// Counts what is due and holds it as a whole where it would cross the bound.
pub(crate) async fn judge_due(engine: &Engine, object: &ObjectSync) -> Result<(), StepError> {
    let (sync, guard, now) = (object.clone(), engine.settings().guard, engine.now());
    let crossing = engine
        .store
        .read({
            let sync = object.clone();
            move |connection| is_to_be_judged(connection, &sync, guard, now)
        })
        .await?;
    if !crossing {
        return Ok(());
    }
    let offset = engine.client.clock_offset_ms();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            judge(tx, &sync, &guard, (tx.now(), offset))
        })
        .await?;
    Ok(())
}

/// The same inside the transaction that claims: what a program has committed since the last look is counted too, and what is held is
/// not claimed.
pub(super) fn judge_before_claim(
    tx: &Transaction<'_>,
    sync: &ObjectSync,
    guard: &Guard,
    (now, offset_ms): (Timestamp, i64),
) -> Result<(), StoreError> {
    match is_to_be_judged(tx, sync, *guard, now)? {
        true => judge(tx, sync, guard, (now, offset_ms)),
        false => Ok(()),
    }
}

fn judge(
    tx: &Transaction<'_>,
    sync: &ObjectSync,
    guard: &Guard,
    (now, offset_ms): (Timestamp, i64),
) -> Result<(), StoreError> {
    let since = now.plus_millis(offset_ms) - guard.window;
    let Guards { archives, updates } = guards(tx, sync, guard, since)?;
    match archives_records(sync) {
        true => archives.judge(tx, now)?,
        false => holds::recount_entries(tx, archives.key, archives.entries, now)?,
    }
    updates.map_or(Ok(()), |updates| updates.judge(tx, now))
}

/// What the guard has its word on of an object's own entries.
pub(super) struct Guards<'a> {
    /// Its archives.
    pub(super) archives: Guarded<'a>,
    /// Its updates, where they are bound.
    pub(super) updates: Option<Guarded<'a>>,
}

/// An object's.
pub(super) fn guards<'a>(
    connection: &Connection,
    sync: &'a ObjectSync,
    guard: &Guard,
    since: Timestamp,
) -> Result<Guards<'a>, StoreError> {
    let left = sync.table.linked(connection)?;
    let archives = Guarded {
        key: archive_key(sync.object()),
        entries: GuardedEntries::of_key(archive_key(sync.object())),
        bounds: bounds(guard),
        left,
        since,
    };
    let updates = Guarded {
        key: update_key(sync.object()),
        entries: GuardedEntries::of_key(update_key(sync.object())),
        bounds: Bounds {
            max_records: guard.max_updates,
            max_share: 0.0,
        },
        left: left.max(1),
        since,
    };
    Ok(Guards {
        archives,
        updates: (guard.max_updates > 0).then_some(updates),
    })
}

/// Whether deletions here archive anything: where the rows come back, nothing is to be held.
pub(super) fn archives_records(object: &ObjectSync) -> bool {
    object.mapping().modes.on_local_delete == OnLocalDelete::Archive
}

/// Whether the guard has something to count, or a hold to settle.
pub(super) fn is_to_be_judged(
    connection: &Connection,
    object: &ObjectSync,
    guard: Guard,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let archives_any = archives_records(object);
    let object = object.object();
    let counted = |key| GuardedEntries::of_key(key).due_and_held(connection, now);
    let (archives, held) = counted(archive_key(object))?;
    let updates = match guard.max_updates {
        0 => (0, 0),
        _ => counted(update_key(object))?,
    };
    // A hold whose records have all gone another way is settled there too.
    let is_open = holds::open(connection, archive_key(object))?.is_some()
        || guard.max_updates > 0 && holds::open(connection, update_key(object))?.is_some();
    Ok((archives_any && archives > 0) || held > 0 || updates.0 > 0 || is_open)
}

/// Claims the archives of records that are as the deleted rows were.
pub(super) async fn claim_all(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
    present: Present,
) -> Result<(Vec<Sent>, Timestamp), StoreError> {
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let guard = engine.settings().guard;
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset);
            let claimed = claim_judged(tx, &pass, &guard, (&due, &present))?;
            Ok((claimed, pass.now))
        })
        .await
}

pub(super) fn claim_judged(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    guard: &Guard,
    (due, present): (&[Entry], &Present),
) -> Result<Vec<Sent>, StoreError> {
    let now = pass.now;
    judge_before_claim(tx, pass.object, guard, (now, pass.offset_ms))?;
    let mut claimed = Vec::new();
    for queued in due {
        match savepoint::within(tx, || claim(tx, pass, queued, present)) {
            Err(error) if error.is_of_one_row() => put_aside(tx, queued, &error, now)?,
            archive => claimed.extend(archive?),
        }
    }
    let fresh = claimed
        .iter()
        .filter_map(|sent: &Sent| sent.archive.as_ref())
        .filter(|archive| !archive.approved)
        .count();
    if fresh > 0 {
        let at = pass.moment().there();
        holds::count(tx, archive_key(pass.name()), fresh as u64, at)?;
    }
    Ok(claimed)
}

fn claim(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    read: &Present,
) -> Result<Option<Sent>, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(present) = outbox::by_id(tx, entry.id)? else {
        return Ok(None);
    };
    // Given up since the look: the row comes back by the discards' own step, and its record must be there.
    if present.standing.discarded_at.is_some() {
        return Ok(None);
    }
    let entry = present.clone();
    let (Operation::Archive, EntryState::Pending, Some(hs_id)) = (
        entry.standing.operation,
        entry.standing.state,
        entry.standing.hs_id,
    ) else {
        return Ok(None);
    };
    let look = ArchiveLook::of(tx, pass, (&entry, hs_id), read)?;
    if let Look::Shown(record) = look.look()?
        && record.id == hs_id
    {
        unreadable::forget_whole(tx, object.object(), hs_id)?;
    }
    let (hubspot, actions) = look.judge()?;
    if let [Action::LookAgain(again)] = actions[..] {
        look.put_off(again)?;
        return Ok(None);
    }
    let matter = Matter {
        pass: *pass,
        hs_id,
        row: None,
        queued: Some(&present),
        record: read.of(hs_id),
        key: "",
        decided: None,
    };
    // Each of these ends what the entry knows of lost updates: what they brought is written down before.
    let keeps = [Action::Archive, Action::BringBack, Action::Undelete];
    let is_merged = matches!(hubspot, Hubspot::Merged | Hubspot::Survivor);
    if is_merged || keeps.iter().any(|action| actions.contains(action)) {
        look.note_arrived()?;
    }
    matter.carry_out(tx, &actions)?;
    // What HubSpot has merged the record into, or what into it, has a row that hears of it at once.
    if is_merged && let Some(survivor) = read.of(hs_id) {
        reads::ask(tx, object.object(), survivor.id, Origin::Poll, now)?;
    }
    if !actions.contains(&Action::Archive) {
        return Ok(None);
    }
    let Some(record) = read.of(hs_id) else {
        return Ok(None);
    };
    outbox::claim(tx, &present, Attempt::Archive, now)?;
    gap::note_claimed_archive(tx, pass, &entry, record)?;
    Ok(Some(Sent::archive_of(entry, hs_id)))
}

/// What is done with the archive of a deleted row whose record a read has shown like this, or not.
pub(super) fn judged(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    deleted: (&Entry, HubspotId),
    read: &Present,
) -> Result<(Hubspot, Vec<Action>), StoreError> {
    ArchiveLook::of(tx, pass, deleted, read)?.judge()
}

/// A deleted row and its record, before its archive.
struct ArchiveLook<'a, 'tx> {
    tx: &'a Transaction<'tx>,
    pass: Pass<'a>,
    entry: &'a Entry,
    hs_id: HubspotId,
    read: &'a Present,
    /// What lost updates of the row carried.
    sent: SentValues,
}

impl<'a, 'tx> ArchiveLook<'a, 'tx> {
    fn of(
        tx: &'a Transaction<'tx>,
        pass: &Pass<'a>,
        (entry, hs_id): (&'a Entry, HubspotId),
        read: &'a Present,
    ) -> Result<Self, StoreError> {
        let since = late_since(pass.now, pass.offset_ms);
        Ok(Self {
            tx,
            pass: *pass,
            entry,
            hs_id,
            read,
            sent: outbox::sent_earlier(tx, pass.name(), entry.local_id, since)?,
        })
    }

    fn judge(&self) -> Result<(Hubspot, Vec<Action>), StoreError> {
        let hubspot = self.hubspot()?;
        let mapping = self.pass.object.mapping();
        let actions = decide(&Sides {
            hubspot,
            here: self.here()?,
            word: match self.entry.standing.waits_for {
                Some(WaitsFor::Guard) => Word::Held,
                Some(WaitsFor::Backfill | WaitsFor::Answer | WaitsFor::Create | WaitsFor::Lock)
                | None => Word::Passed,
            },
            policy: mapping.policy,
            modes: mapping.modes,
            is_erasure: false,
        });
        Ok((hubspot, actions))
    }

    fn look(&self) -> Result<Look<'_>, StoreError> {
        let known = KnownVersion {
            version: shown_version(self.tx, None, Some(self.entry))?,
            offset_ms: self.pass.offset_ms,
        };
        Ok(self.read.look(self.hs_id, known))
    }

    fn here(&self) -> Result<Here, StoreError> {
        let (tx, object) = (self.tx, self.pass.object);
        if object.table.by_hs_id(tx, self.hs_id)?.is_some() {
            return Ok(Here::Replaced);
        }
        match self.same_person()?.is_empty() {
            true => Ok(Here::rowless(Some(self.entry), &self.pass.moment())),
            false => Ok(Here::InsertedAgain),
        }
    }

    /// Creates of rows that mean the record. One that is dead makes no record by itself, and the archive would wait for it for ever,
    /// unless it is dead for nothing but the deleted row, which had the record.
    fn same_person(&self) -> Result<Vec<Entry>, StoreError> {
        let (tx, object) = (self.tx, self.pass.object);
        let own = (self.entry.local_id, self.hs_id);
        let mut found = Vec::new();
        for identity in identities(object, &former_values(object, self.entry)) {
            let Some(other) = object.table.unlinked_by(tx, &identity)? else {
                continue;
            };
            let Some(queued) = outbox::of_row(tx, object.object(), other)? else {
                continue;
            };
            let gave_way = shared_words(object, other, identity.property.as_str(), own);
            let is_dead = queued.standing.state == EntryState::Dead;
            if !is_dead || outbox::is_dead_saying(tx, queued.id, &gave_way)? {
                found.push(queued);
            }
        }
        Ok(found)
    }

    fn hubspot(&self) -> Result<Hubspot, StoreError> {
        let (tx, object, hs_id) = (self.tx, self.pass.object, self.hs_id);
        let record = match self.look()? {
            Look::Shown(record) if record.id == hs_id => {
                // Whoever was merged into it since the row was deleted would go with it.
                if absorb::has_taken_in_another(tx, object, record)? {
                    return Ok(Hubspot::Survivor);
                }
                record
            }
            // HubSpot answers to the id of a record that was merged away with the one that is left (`hubspot/api-facts.md#13`).
            Look::Shown(_) => return Ok(Hubspot::Merged),
            Look::Outdated => return Ok(Hubspot::Outdated),
            Look::Unread => return Ok(Hubspot::Unread),
            Look::Missing => return self.missing(),
        };
        let histories = self.read.histories.get(&hs_id);
        let edited = self.deleted(record).edited(histories);
        let is_edited = match edited {
            Edited::NeedHistory => return Ok(Hubspot::Untold),
            Edited::Yes => true,
            Edited::No => {
                let open = conflicts::open_of(tx, object.object(), self.entry.local_id)?;
                is_undecided(
                    object.mapping(),
                    &open,
                    &former_values(object, self.entry),
                    record,
                )
            }
        };
        Ok(match is_edited {
            true => Hubspot::Edited(record.updated_at),
            false => Hubspot::Unchanged,
        })
    }

    fn note_arrived(&self) -> Result<(), StoreError> {
        match self.read.of(self.hs_id) {
            Some(record) => note_arrived(self.tx, &self.pass, (self.entry, &self.sent), record),
            None => Ok(()),
        }
    }

    fn deleted<'b>(&'b self, record: &'b RemoteRecord) -> DeletedRow<'b> {
        DeletedRow {
            mapping: self.pass.object.mapping(),
            entry: self.entry,
            record,
            sent: &self.sent,
        }
    }

    fn missing(&self) -> Result<Hubspot, StoreError> {
        let (tx, pass, entry) = (self.tx, &self.pass, Some(self.entry));
        let asked_at = self.read.asked_at;
        let missed = missed(tx, pass, Some(self.hs_id), (None, entry), asked_at)?;
        Ok(Hubspot::missed(&missed, &pass.moment()))
    }

    fn put_off(&self, again: Again) -> Result<(), StoreError> {
        let (tx, id, now) = (self.tx, self.entry.id, self.pass.now);
        // A row inserted again takes its record over with its own push, which goes before any archive.
        let rest = match again {
            Again::Create => {
                for queued in self.same_person()? {
                    if queued.standing.state == EntryState::Dead {
                        outbox::decide(tx, queued.id, now)?;
                    }
                }
                AFTER_REINSERT
            }
            Again::At(_)
            | Again::Unread
            | Again::Outdated
            | Again::History
            | Again::Flight
            | Again::Removal => AFTER_READ,
        };
        let next = again.due(&self.pass.moment(), rest);
        if again == Again::Unread {
            unreadable::note_record(tx, self.pass.name(), self.hs_id, now)?;
            return outbox::put_off_unread(tx, id, next);
        }
        let explanation = again.explanation(self.pass.object.mapping().modes);
        outbox::put_off_saying(tx, id, next, explanation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::existence::{NOT_VISIBLE, SURVIVES};
    use crate::engine::inbound::adopt::link_made;
    use crate::engine::inbound::existence::bring_back;
    use crate::engine::outbound::settle::recover;
    use crate::engine::testing::{How, Scene, at, record, showing};
    use crate::model::id::LocalId;
    use crate::model::mapping::{Policy, Sees};
    use crate::model::value::Value;
    use crate::store::absent::{self, Deletion, WhyAbsent};
    use crate::store::shape::ddl;
    use crate::store::testing::{mapping, now};

    fn claimed(scene: &Scene, shown: RemoteRecord, now: i64, offset_ms: i64) -> usize {
        let pass = Pass {
            offset_ms,
            ..scene.pass(at(now))
        };
        let mut present = Present::default();
        present.records.push(shown);
        scene.write(|tx| {
            let mut claimed = 0;
            for queued in outbox::waiting_archives(tx, scene.object.object(), 10)? {
                let one = claim(tx, &pass, &queued, &present)?;
                claimed += usize::from(one.is_some());
            }
            Ok(claimed)
        })
    }

    fn base() -> RemoteRecord {
        record(101, 0, &[("firstname", "Base")])
    }

    #[test]
    fn an_archive_is_not_sent_where_another_row_is_that_record_by_now() {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &base());
        scene.program("DELETE FROM contacts");
        scene.daemon("INSERT INTO contacts (local_id, hs_id) VALUES (2, 101)");
        assert_eq!(claimed(&scene, base(), 10, 0), 0);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        // Nobody has it: it is sent.
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &base());
        scene.program("DELETE FROM contacts");
        assert_eq!(claimed(&scene, base(), 10, 0), 1);
    }

    #[test]
    fn what_a_program_deletes_between_the_guards_look_and_the_claim_is_held_with_the_rest() {
        let scene = Scene::of(Policy::Local);
        let all: Vec<RemoteRecord> = (101..=130)
            .map(|id| record(id, 0, &[("firstname", "Base")]))
            .collect();
        for shown in &all {
            scene.apply(How::at(0), shown);
        }
        let guard = Guard {
            max_archives: 5,
            ..Guard::default()
        };
        let due = || {
            scene.write(|tx| {
                let name = scene.object.object();
                judge_before_claim(tx, &scene.object, &guard, (at(9), 0))?;
                outbox::waiting_archives(tx, name, 100)
            })
        };
        let claim_all = |due: &[Entry]| {
            let present = showing(all.clone(), &[]);
            let pass = scene.pass(at(10));
            scene
                .write(|tx| claim_judged(tx, &pass, &guard, (due, &present)))
                .len()
        };
        let delete = |up_to: u64| {
            scene.program(&format!("DELETE FROM contacts WHERE hs_id <= {up_to}"));
            scene.daemon(&format!(
                "UPDATE sync_outbox SET next_attempt_at = '{}'",
                at(1)
            ));
        };
        delete(102);
        let few = due();
        assert_eq!(few.len(), 2);
        // While their records are read.
        delete(120);
        assert_eq!(claim_all(&few), 0);
        let held = "SELECT operation, records FROM sync_holds WHERE settled_at IS NULL";
        assert_eq!(scene.rows(held), ["archive 20"]);
        let waits =
            "SELECT count(*) FROM sync_outbox WHERE waits_for = 'guard' AND state = 'pending'";
        assert_eq!(scene.rows(waits), ["20"]);
    }

    #[test]
    fn what_a_deleted_rows_record_was_merged_into_is_read_at_once() {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &base());
        scene.program("DELETE FROM contacts");
        let mut survivor = record(104, 5, &[("firstname", "Theirs")]);
        survivor.merged_ids = vec![HubspotId(101)];
        assert_eq!(claimed(&scene, survivor, 10, 0), 0);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["104"]);
    }

    #[test]
    fn a_record_that_others_were_merged_into_since_its_row_was_deleted_is_not_archived() {
        let theirs = || record(102, 0, &[("firstname", "Theirs")]);
        let mut survivor = record(101, 5, &[("firstname", "Base")]);
        survivor.merged_ids = vec![HubspotId(102)];
        let kept = "SELECT winner, reason, base_value ->> 'first_name' FROM sync_conflicts";
        let dropped = [format!("remote {SURVIVES} Base")];
        for policy in Policy::ALL {
            // One with a row, and one that nobody here has heard of.
            for rows in [vec![base(), theirs()], vec![base()]] {
                let scene = Scene::of(policy);
                for row in &rows {
                    scene.apply(How::at(0), row);
                }
                scene.program("DELETE FROM contacts WHERE hs_id = 101");
                assert_eq!(claimed(&scene, survivor.clone(), 10, 0), 0);
                assert_eq!(scene.outbox(), Vec::<String>::new());
                assert_eq!(scene.rows(kept), dropped);
                assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
                scene.apply(How::at(11), &survivor);
                assert_eq!(
                    scene.rows("SELECT local_id, hs_id FROM contacts"),
                    ["2 101"]
                );
            }
            // A page or a read that shows it first.
            let scene = Scene::of(policy);
            scene.apply(How::at(0), &base());
            scene.apply(How::at(0), &theirs());
            scene.program("DELETE FROM contacts WHERE hs_id = 101");
            scene.apply(How::at(10), &survivor);
            assert_eq!(scene.outbox(), Vec::<String>::new());
            assert_eq!(scene.rows(kept), dropped);
            assert_eq!(
                scene.rows("SELECT local_id, hs_id FROM contacts"),
                ["2 101"]
            );
        }
        // What went into it before its row was deleted is no news.
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &theirs());
        scene.apply(How::at(6), &survivor);
        scene.program("DELETE FROM contacts");
        assert_eq!(claimed(&scene, survivor.clone(), 10, 0), 1);
        // Where deletions are taken back, the row comes back and takes the other one in.
        let scene = Scene::with(|mapping| mapping.modes.on_local_delete = OnLocalDelete::Restore);
        scene.apply(How::at(0), &base());
        scene.apply(How::at(0), &theirs());
        scene.program("DELETE FROM contacts WHERE hs_id = 101");
        scene.apply(How::at(10), &survivor);
        assert_eq!(
            scene.rows("SELECT local_id, hs_id FROM contacts"),
            ["1 101"]
        );
        assert_eq!(scene.outbox(), Vec::<String>::new());
    }

    #[test]
    fn an_archive_does_not_rest_on_a_read_that_is_older_than_what_was_shown_meanwhile() {
        for policy in [Policy::Remote, Policy::Newest] {
            let scene = Scene::of(policy);
            scene.apply(How::at(0), &base());
            scene.program("DELETE FROM contacts");
            scene.daemon(&format!("UPDATE sync_outbox SET enqueued_at = '{}'", at(4)));
            // Asked at 5 and slow to come; what a webhook asked for was faster.
            let edited = record(101, 6, &[("firstname", "Theirs")]);
            scene.apply(How::at(7), &edited);
            let slow = |shown| Present {
                asked_at: at(5),
                ..showing(vec![shown], &[])
            };
            let claim_by = |present: &Present, second| {
                scene.write(|tx| {
                    let queued = outbox::waiting_archives(tx, scene.object.object(), 1)?.remove(0);
                    Ok(claim(tx, &scene.pass(at(second)), &queued, present)?.is_some())
                })
            };
            assert!(!claim_by(&slow(base()), 8));
            assert_eq!(
                scene.rows("SELECT operation, state, next_attempt_at FROM sync_outbox"),
                [format!("archive pending {}", at(9))]
            );
            assert!(!claim_by(&slow(edited), 9));
            assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Theirs"]);
        }
    }

    #[test]
    fn an_absence_of_before_a_deleted_rows_record_was_shown_says_nothing() {
        let scene = Scene::of(Policy::Remote);
        scene.apply(How::at(0), &base());
        scene.program("DELETE FROM contacts");
        scene.apply(How::at(7), &record(101, 6, &[("firstname", "Theirs")]));
        let missing = |asked_at| {
            scene.write(|tx| {
                let queued = outbox::waiting_archives(tx, scene.object.object(), 1)?.remove(0);
                let present = Present {
                    asked_at: at(asked_at),
                    ..Present::default()
                };
                claim(tx, &scene.pass(at(8)), &queued, &present)
            });
            scene.outbox().len()
        };
        assert_eq!((missing(5), missing(7)), (1, 0));
    }

    /// Row 1, whose update of the first name to `Ours` was sent over a read of second 3, and lost; deleted since.
    fn lost_and_deleted() -> Scene {
        let scene = Scene::of(Policy::Remote);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
        );
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("an update waits");
            for field in &queued.fields {
                let ours = Value::from_canonical("Ours");
                outbox::set_sent(tx, queued.id, &field.property, &ours)?;
            }
            outbox::claim(tx, &queued, Attempt::Update { over: at(3) }, at(4))
        });
        scene.program("DELETE FROM contacts");
        scene.write(|tx| recover(tx, at(10)));
        scene
    }

    #[test]
    fn what_a_lost_update_of_a_deleted_row_went_over_is_kept_once() {
        const PUSHED: &str = "SELECT local_id, hs_id, property, old_value, new_value FROM sync_history WHERE origin = 'push'";
        let landed = record(101, 5, &[("firstname", "Ours"), ("price", "1")]);
        let scene = lost_and_deleted();
        assert_eq!(claimed(&scene, landed.clone(), 90, 0), 1);
        assert_eq!(scene.rows(PUSHED), ["1 101 firstname Base Ours"]);
        // The archive's own answer is lost as well, and it is claimed again.
        scene.write(|tx| recover(tx, at(100)));
        assert_eq!(claimed(&scene, landed, 190, 0), 1);
        assert_eq!(scene.rows(PUSHED).len(), 1);
        // Somebody has edited another field, and the row comes back.
        let scene = lost_and_deleted();
        let edited = record(101, 6, &[("firstname", "Ours"), ("price", "2")]);
        assert_eq!(claimed(&scene, edited, 90, 0), 0);
        assert_eq!(
            scene.rows("SELECT first_name, price FROM contacts"),
            ["Ours 2"]
        );
        assert_eq!(scene.rows(PUSHED), ["1 101 firstname Base Ours"]);
        // It has not landed.
        let scene = lost_and_deleted();
        let shown = record(101, 0, &[("firstname", "Base"), ("price", "1")]);
        assert_eq!(claimed(&scene, shown, 90, 0), 1);
        assert_eq!(scene.rows(PUSHED), Vec::<String>::new());
    }

    #[test]
    fn an_archive_waits_where_its_record_could_not_be_read_or_was_made_moments_ago() {
        let left = |created_at, present: &Present| {
            let scene = Scene::of(Policy::Local);
            let made = RemoteRecord {
                created_at,
                ..base()
            };
            scene.apply(How::at(0), &made);
            scene.program("DELETE FROM contacts");
            scene.write(|tx| {
                let queued = outbox::waiting_archives(tx, scene.object.object(), 1)?.remove(0);
                claim(tx, &scene.pass(at(10)), &queued, present)
            });
            scene.outbox().len()
        };
        let long_ago = at(-1_000_000);
        assert_eq!(left(long_ago, &showing(Vec::new(), &["101"])), 1);
        assert_eq!(left(at(0), &Present::default()), 1);
        // HubSpot says that it is not there: gone on both sides.
        assert_eq!(left(long_ago, &Present::default()), 0);
    }

    #[test]
    fn a_record_that_a_lost_create_made_moments_ago_is_not_gone_because_one_read_misses_it() {
        let scene = Scene::of(Policy::Local);
        scene.program("INSERT INTO contacts (first_name) VALUES ('Ours')");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET attempts = 1, unanswered_since = '{}'",
            at(0)
        ));
        scene.program("DELETE FROM contacts");
        // Somebody has edited it since.
        let found = RemoteRecord {
            created_at: at(0),
            ..record(101, 15, &[("firstname", "Theirs")])
        };
        scene.write(|tx| {
            let create = outbox::of_row(tx, scene.object.object(), LocalId(1))?.expect("waits");
            link_made(tx, &scene.applying(How::at(20)), &found, &create)
        });
        let missed = |second| {
            scene.write(|tx| {
                let queued = outbox::waiting_archives(tx, scene.object.object(), 1)?.remove(0);
                claim(tx, &scene.pass(at(second)), &queued, &Present::default())
            });
            scene.rows("SELECT next_attempt_at FROM sync_outbox")
        };
        assert_eq!(missed(20), [at(30).to_string()]);
        assert_eq!(missed(55), [at(60).to_string()]);
        assert_eq!(missed(60), Vec::<String>::new());
    }

    #[test]
    fn an_archive_whose_record_could_not_be_read_says_why_it_waits() {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &base());
        scene.program("DELETE FROM contacts");
        scene.write(|tx| {
            let queued = outbox::waiting_archives(tx, scene.object.object(), 1)?.remove(0);
            let present = showing(Vec::new(), &["101"]);
            claim(tx, &scene.pass(at(10)), &queued, &present)
        });
        assert_eq!(
            scene.rows("SELECT state || ' ' || attempts || ': ' || last_error FROM sync_outbox"),
            [format!("pending 0: {}", outbox::UNREAD)]
        );
    }

    #[test]
    fn a_deletion_is_compared_with_an_edit_in_hubspots_time() {
        // Deleted at 20 by this clock, edited at 30 by HubSpot's.
        for (offset_ms, sent) in [(0, 0), (15_000, 1), (-15_000, 0)] {
            let scene = Scene::of(Policy::Newest);
            scene.apply(How::at(0), &base());
            scene.program("DELETE FROM contacts");
            scene.daemon(&format!(
                "UPDATE sync_outbox SET enqueued_at = '{}'",
                at(20)
            ));
            let edited = record(101, 30, &[("firstname", "Theirs")]);
            assert_eq!(claimed(&scene, edited, 40, offset_ms), sent, "{offset_ms}");
        }
    }

    #[test]
    fn a_row_that_is_deleted_while_its_update_is_in_flight_was_deleted_then() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &base());
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET state = 'in_flight', enqueued_at = '{}'",
            at(5)
        ));
        scene.program("DELETE FROM contacts");
        assert_eq!(
            scene.rows(&format!(
                "SELECT operation, enqueued_at > '{}' FROM sync_outbox",
                at(5)
            )),
            ["update 1"]
        );
    }

    /// Contacts with columns of the user's own, whose only row was deleted.
    fn deleted_with_own_columns(meanwhile: &str) -> (Scene, RemoteRecord) {
        let scene = Scene::of(Policy::Remote);
        let shown = record(101, 0, &[("firstname", "Ada")]);
        scene.apply(How::at(0), &shown);
        scene.program(
            "ALTER TABLE contacts ADD COLUMN mine TEXT;
             ALTER TABLE contacts ADD COLUMN \"odd \"\" name\" REAL;
             ALTER TABLE contacts ADD COLUMN photo BLOB;
             ALTER TABLE contacts ADD COLUMN anything ANY;
             ALTER TABLE contacts ADD COLUMN number ANY;
             ALTER TABLE contacts ADD COLUMN given TEXT DEFAULT 'given';
             ALTER TABLE contacts ADD COLUMN broken TEXT;
             ALTER TABLE contacts ADD COLUMN alike TEXT;
             ALTER TABLE contacts ADD COLUMN computed TEXT AS (upper(mine));
             UPDATE contacts SET mine = '', \"odd \"\" name\" = 0.1 + 0.2, photo = x'00ff', anything = 1e300,
                    number = 9007199254740993, given = NULL,
                    broken = CAST(x'22fffe410a5cc3' AS TEXT), alike = 'x''fffe41'''",
        );
        let all = mapping(vec![scene.object.mapping().clone()]);
        scene.write(|tx| ddl::fit_to_mapping(tx, &all, now()).map(drop));
        scene.program("DELETE FROM contacts");
        scene.daemon(meanwhile);
        (scene, shown)
    }

    fn back(scene: &Scene, shown: &RemoteRecord) {
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?.expect("waits");
            bring_back(tx, &scene.pass(at(10)), &queued, shown)
        });
    }

    #[test]
    fn a_row_that_comes_back_has_what_the_users_own_columns_held_each_of_its_class() {
        let (scene, shown) = deleted_with_own_columns("");
        back(&scene, &shown);
        let held = "SELECT quote(mine), \"odd \"\" name\" = 0.1 + 0.2, quote(photo), typeof(anything), anything = 1e300,
                           quote(number), given, quote(computed), typeof(broken), hex(broken), alike FROM contacts";
        assert_eq!(
            scene.rows(held),
            ["'' 1 X'00FF' real 1 9007199254740993 - '' text 22FFFE410A5CC3 x'fffe41'"]
        );
        let lost = "SELECT count(*) FROM sync_history WHERE property LIKE '$column:%'";
        assert_eq!(scene.rows(lost), ["0"]);
    }

    #[test]
    fn what_hubspot_changed_of_a_row_while_it_was_deleted_is_written_down_when_it_comes_back() {
        let scene = Scene::of(Policy::Remote);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Ann"), ("price", "1")]),
        );
        scene.program("DELETE FROM contacts");
        back(
            &scene,
            &record(101, 9, &[("firstname", "Eve"), ("price", "1")]),
        );
        let lines = "SELECT property, old_value, new_value FROM sync_history WHERE property <> '*'";
        assert_eq!(scene.rows(lines), ["firstname Ann Eve"]);
    }

    #[test]
    fn what_a_row_that_comes_back_can_put_nowhere_is_written_down() {
        // What is gone, what is computed by now, and what a constraint refuses.
        let (scene, shown) = deleted_with_own_columns(
            "ALTER TABLE contacts RENAME COLUMN number TO another;
             ALTER TABLE contacts RENAME COLUMN photo TO picture;
             ALTER TABLE contacts ADD COLUMN photo BLOB AS (NULL);
             CREATE UNIQUE INDEX only_one ON contacts (anything);
             INSERT INTO contacts (local_id, hs_id, anything) VALUES (7, 107, 1e300);",
        );
        back(&scene, &shown);
        let held = "SELECT \"odd \"\" name\" = 0.1 + 0.2, picture, anything FROM contacts WHERE local_id = 1";
        assert_eq!(scene.rows(held), ["1 - -"]);
        let lost = "SELECT property, old_value <> '' FROM sync_history WHERE property LIKE '$column:%' ORDER BY property";
        assert_eq!(
            scene.rows(lost),
            ["$column:anything 1", "$column:number 1", "$column:photo 1"]
        );
    }

    #[test]
    fn a_row_that_comes_back_keeps_what_waits_for_a_decision() {
        let scene = Scene::with(|mapping| {
            mapping.policy = Policy::Remote;
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
        scene.program("DELETE FROM contacts");
        let shown = record(101, 9, &[("firstname", "Theirs"), ("price", "2")]);
        assert_eq!(claimed(&scene, shown, 10, 0), 0);
        assert_eq!(
            scene.rows("SELECT local_id, first_name, price FROM contacts"),
            ["1 Ours 2"]
        );
        assert_eq!(scene.conflicts()[0], "1 firstname Ours Theirs -");
        assert_eq!(scene.outbox(), Vec::<String>::new());
    }

    #[test]
    fn an_edit_that_the_answer_to_our_own_push_did_not_show_is_seen_before_an_archive() {
        let check = |updated, expected| {
            let scene = Scene::of(Policy::Remote);
            scene.apply(How::at(0), &base());
            scene.daemon(&format!("UPDATE contacts SET hs_modified_at = '{}'", at(5)));
            scene.program("DELETE FROM contacts");
            let edited = record(101, updated, &[("firstname", "Theirs")]);
            assert_eq!(claimed(&scene, edited, 9, 0), expected, "{updated}");
            let came_back = scene.rows("SELECT first_name FROM contacts");
            assert_eq!(came_back.len(), 1 - expected, "{updated}");
        };
        check(4, 1);
        check(5, 0);
        check(6, 0);
    }

    /// What is left of the deletion of a row whose record the token misses.
    fn missed_by_its_user(is_announced: bool, created_at: Timestamp) -> Vec<String> {
        let scene = Scene::with(|mapping| mapping.modes.sees = Sees::User);
        let shown = RemoteRecord {
            created_at,
            ..base()
        };
        scene.apply(How::at(0), &shown);
        scene.program("DELETE FROM contacts");
        scene.write(|tx| {
            if is_announced {
                let said = WhyAbsent::Deleted(Deletion { archived_at: None });
                absent::note(tx, scene.object.object(), HubspotId(101), said, at(5))?;
            }
            let queued = outbox::waiting_archives(tx, scene.object.object(), 1)?.remove(0);
            claim(tx, &scene.pass(at(90)), &queued, &Present::default())
        });
        scene.rows("SELECT operation, state, last_error FROM sync_outbox")
    }

    #[test]
    fn an_archive_is_sent_only_where_a_users_token_sees_the_record() {
        let dead = format!("archive dead {NOT_VISIBLE}");
        assert_eq!(missed_by_its_user(false, at(-60)), [dead]);
        assert_eq!(missed_by_its_user(true, at(-60)), Vec::<String>::new());
        // So young that nothing is believed yet: it waits, and says why.
        let waits = format!("archive pending {NOT_VISIBLE}");
        assert_eq!(missed_by_its_user(false, at(80)), [waits]);
    }

    #[test]
    fn a_deleted_row_comes_back_with_what_waited_of_it_where_the_file_says_so() {
        let scene = Scene::with(|mapping| mapping.modes.on_local_delete = OnLocalDelete::Restore);
        scene.apply(
            How::at(0),
            &record(101, 0, &[("firstname", "Base"), ("price", "1")]),
        );
        scene.program("UPDATE contacts SET first_name = 'Ours'; DELETE FROM contacts");
        let edited = record(101, 5, &[("firstname", "Base"), ("price", "2")]);
        assert_eq!(claimed(&scene, edited, 10, 0), 0);
        assert_eq!(
            scene.rows("SELECT local_id, hs_id, first_name FROM contacts"),
            ["1 101 Ours"]
        );
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Base"]);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        assert_eq!(scene.conflicts(), Vec::<String>::new());
    }
}
