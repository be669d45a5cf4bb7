//! Carries out what `decide/existence` says of a record and its row, inside the transaction in which both sides were
//! looked at. It decides nothing.

use rusqlite::Transaction;

use crate::decide::decision::{former_record, settled_by_return};
use crate::decide::echo::SentValues;
use crate::decide::existence::{Absence, Action};
use crate::decide::outgoing::archiving::DeletedRow;
use crate::engine::acts::EntryWork;
use crate::engine::inbound::links::{self, OwnLinks};
use crate::engine::outbound::pushed::note_archived;
use crate::engine::pass::Pass;
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::{Base, Entry, EntryState, Operation, Standing};
use crate::model::id::{ConflictId, HubspotId, LocalId};
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::absent::WhyAbsent;
use crate::store::conflicts::{self, About, End, NewConflict};
use crate::store::history::{self, Change, Origin, WholeRecord};
use crate::store::outbox;
use crate::store::reads::{self, Archived, Removal};
use crate::store::shape::associations;
use crate::store::{StoreError, absent, cursors, erase, fields, rowjson, unreadable};

/// A record and its row, as they were looked at.
pub(crate) struct Matter<'a> {
    /// The transaction's work that this is a part of.
    pub pass: Pass<'a>,
    /// The record.
    pub hs_id: HubspotId,
    /// The row as it is.
    pub row: Option<&'a MirrorRow>,
    /// What waits of it.
    pub queued: Option<&'a Entry>,
    /// What HubSpot shows.
    pub record: Option<&'a RemoteRecord>,
    /// The key of a create that takes the place of what was there.
    pub key: &'a str,
    /// The conflict that a person has decided.
    pub decided: Option<ConflictId>,
}

impl Matter<'_> {
    /// Carries out the actions in their order. What is only to be looked at again, and the archive that is to be sent, is
    /// for whoever looked.
    pub(crate) fn carry_out(
        &self,
        tx: &Transaction<'_>,
        actions: &[Action],
    ) -> Result<(), StoreError> {
        for action in actions {
            self.act(tx, *action)?;
        }
        Ok(())
    }

    fn act(&self, tx: &Transaction<'_>, action: Action) -> Result<(), StoreError> {
        let (object, id, now) = (self.pass.name(), self.hs_id, self.pass.now);
        match action {
            Action::LookAgain(_) | Action::Archive => Ok(()),
            Action::NoteRemoval { archived } => {
                let origin = self.pass.origin;
                let removal = Removal {
                    id,
                    archived,
                    origin,
                };
                reads::note_removal(tx, object, removal, now)
            }
            Action::ForgetRemoval => end_removal(tx, &self.pass, id),
            Action::AskRead => reads::ask(tx, object, id, self.source(), now).map(drop),
            Action::Erase => {
                let object = self.pass.object;
                erase::erase(tx, &object.table, &object.pairs, id, now)
            }
            Action::RemoveRow => self.remove_row(tx),
            Action::MarkRow => self.mark_row(tx),
            Action::UnmarkRow => self.unmark_row(tx),
            Action::CountUnseen => absent::note(tx, object, id, WhyAbsent::Unseen, now),
            Action::Park(explanation) => {
                self.of_entry(|entry| outbox::park(tx, entry.id, explanation, outbox::Answered::No))
            }
            Action::Undelete => {
                self.of_entry(|entry| undelete(tx, &self.pass, entry, id).map(drop))
            }
            Action::CreateAgain => self.create_again(tx),
            Action::BringBack => match (self.queued, self.record) {
                (Some(queued), Some(record)) => bring_back(tx, &self.pass, queued, record),
                (None, _) | (_, None) => Ok(()),
            },
            Action::CountAsSeen => self.count_as_seen(tx),
            Action::MakeDue => self.of_entry(|entry| outbox::decide(tx, entry.id, now)),
            Action::Rest(explanation) => {
                self.of_entry(|entry| outbox::never_due(tx, entry.id, explanation))
            }
            Action::Done => self.done(tx),
            Action::End => self.end(tx),
            Action::Bury => {
                reads::bury(tx, object, id, now)?;
                absent::forget(tx, object, id).map(drop)
            }
            Action::CloseFields(winner, reason) => self.of_entry(|entry| {
                conflicts::close_fields_of(tx, object, entry.local_id, winner, reason, now)
            }),
            Action::Conflict(winner, reason) => self.conflict(tx, Some(winner), reason),
            Action::Ask(reason) => self.conflict(tx, None, reason),
            Action::Close(winner, reason) => self.close(tx, winner, reason),
        }
    }

    /// A person's word brings no record; a poll does.
    fn source(&self) -> Origin {
        match self.pass.origin == Origin::Conflict {
            true => Origin::Poll,
            false => self.pass.origin,
        }
    }

    fn of_entry(
        &self,
        act: impl FnOnce(&Entry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.queued.map_or(Ok(()), act)
    }

    fn end(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        self.of_entry(|entry| outbox::end(tx, entry.id))
    }

    fn close(&self, tx: &Transaction<'_>, winner: Winner, reason: &str) -> Result<(), StoreError> {
        let end = End {
            winner,
            resolution: winner.as_str(),
            reason,
        };
        self.decided.map_or(Ok(()), |conflict| {
            conflicts::close(tx, conflict, end, self.pass.now)
        })
    }

    /// What is archived is the record as a person saw it.
    fn count_as_seen(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(record) = self.record else {
            return Ok(());
        };
        self.of_entry(|entry| {
            outbox::drop_fields(tx, entry.id)?;
            let former = entry.row.as_deref().unwrap_or_default();
            let row = rowjson::with_record(self.pass.object.mapping(), former, record);
            outbox::set_row(tx, entry.id, &row)
        })
    }

    /// Ends the entry of a deleted row whose record is gone too. Where an archive of ours was unanswered, that was it.
    fn done(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(queued) = self.queued else {
            return Ok(());
        };
        let (entry, object, now) = (&queued, self.pass.name(), self.pass.now);
        if let Some(id) = entry.standing.hs_id {
            if entry.standing.operation == Operation::Archive
                && queued.standing.unanswered_since.is_some()
            {
                note_archived(tx, &self.pass, entry, id)?;
            }
            reads::bury(tx, object, id, now)?;
            absent::forget(tx, object, id)?;
        }
        outbox::end(tx, entry.id)
    }

    /// A conflict `*`; `None` is one for a person. It keeps the side that is not in the other's place: the row as it is,
    /// or the row that was deleted and what HubSpot shows.
    fn conflict(
        &self,
        tx: &Transaction<'_>,
        winner: Option<Winner>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let object = self.pass.name();
        let (local_id, local, base) = match (self.row, self.queued) {
            (Some(row), _) => {
                let others = fields::out_of_force(tx, self.pass.object.mapping())?;
                let local = self.pass.object.table.whole(tx, row, &others)?;
                (row.record.local_id, Some(local), None)
            }
            (None, Some(entry)) => (entry.local_id, None, entry.row.as_deref()),
            (None, None) => return Ok(()),
        };
        // People read a row: what it is for us to bring it back stands in its entry.
        let shown = |row: &str| rowjson::by_column(self.pass.object.mapping(), row);
        let (base, local) = (base.map(shown), local.as_deref().map(shown));
        let remote = self.record.map(|record| shown(&rowjson::of_record(record)));
        let conflict = NewConflict {
            property: WHOLE_RECORD,
            base: base.as_deref(),
            base_known: self.row.is_none(),
            local: local.as_deref(),
            remote: remote.as_deref(),
            policy: self.pass.object.mapping().policy.as_str(),
            reason,
            set: None,
        };
        let about = About {
            object,
            local_id,
            hs_id: Some(self.hs_id),
        };
        let now = self.pass.now;
        match winner {
            // The archive that it was written for was not sent, and is decided again.
            Some(winner)
                if self.row.is_none() && conflicts::is_recorded(tx, about, conflict, winner)? =>
            {
                Ok(())
            }
            Some(winner) => conflicts::record_closed(tx, about, conflict, winner, now),
            None => conflicts::record_open(tx, about, conflict, now),
        }
    }

    /// Takes the row out of the mirror; the whole row stays in `sync_history`.
    fn remove_row(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(row) = self.row else { return Ok(()) };
        let local_id = row.record.local_id;
        self.note_gone(tx, row)?;
        self.leave(
            tx,
            row,
            "the record was removed in HubSpot, and the row with it",
        )?;
        self.pass.object.table.delete(tx, local_id)
    }

    /// The row stays as both sides knew it last, and says that its record is archived.
    fn mark_row(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(row) = self.row else { return Ok(()) };
        self.note_gone(tx, row)?;
        let mut row = row.clone();
        for field in self.queued.into_iter().flat_map(|entry| &entry.fields) {
            if let Base::Known(base) = &field.base {
                row.set(self.pass.object.mapping(), &field.property, base);
            }
        }
        self.leave(
            tx,
            &row,
            "the record was archived in HubSpot, and its row says so",
        )?;
        self.pass.object.table.update(tx, &row)?;
        let local_id = row.record.local_id;
        self.pass.object.table.mark(tx, local_id, true)
    }

    fn unmark_row(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let (Some(row), Some(record)) = (self.row, self.record) else {
            return Ok(());
        };
        let local_id = row.record.local_id;
        reads::unbury(tx, self.pass.name(), self.hs_id)?;
        note_made(tx, &self.pass, local_id, record)?;
        self.pass.object.table.mark(tx, local_id, false)?;
        links::ask(tx, &self.pass, self.hs_id, OwnLinks::Too)
    }

    /// Keeps the whole row in `sync_history`.
    fn note_gone(&self, tx: &Transaction<'_>, row: &MirrorRow) -> Result<(), StoreError> {
        let mapping = self.pass.object.mapping();
        let others = fields::out_of_force(tx, mapping)?;
        let lost = self.pass.object.table.whole(tx, row, &others)?;
        let lost = associations::taken_away(tx, self.pass.name(), &row.record, &lost)?;
        let whole = WholeRecord {
            mapping,
            local_id: row.record.local_id,
            hs_id: Some(self.hs_id),
            origin: self.pass.origin,
        };
        whole.gone(tx, Some(&lost), self.pass.now)
    }

    /// What waits of a row whose record is gone ends, and no older page brings the record back.
    fn leave(&self, tx: &Transaction<'_>, row: &MirrorRow, reason: &str) -> Result<(), StoreError> {
        let (object, id, now) = (self.pass.name(), self.hs_id, self.pass.now);
        let local_id = row.record.local_id;
        self.end(tx)?;
        outbox::links::look_at_gone(tx, object, local_id, now)?;
        conflicts::close_all_of(tx, object, local_id, Winner::Remote, reason, now)?;
        reads::bury(tx, object, id, now)?;
        absent::forget(tx, object, id)?;
        cursors::set_last_change(tx, object, now)
    }

    /// The row stays, loses its id, and a create with all columns is queued.
    fn create_again(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(row) = self.row else { return Ok(()) };
        self.note_gone(tx, row)?;
        let local_id = row.record.local_id;
        let (object, now) = (self.pass.name(), self.pass.now);
        let former = row.record.hs_id;
        if let Some(id) = former {
            reads::bury(tx, object, id, now)?;
            absent::forget(tx, object, id)?;
        }
        self.end(tx)?;
        let mut row = row.clone();
        row.unlink();
        self.pass.object.table.update(tx, &row)?;
        if let Some(id) = former {
            self.pass.object.table.check_given_up(tx, id)?;
        }
        // A person who was asked about the record that is gone need not answer, and what was asked keeps its id.
        if let Some(whole) = conflicts::open_whole(tx, object, local_id)? {
            let end = End {
                winner: Winner::Local,
                resolution: "policy",
                reason: match self.pass.object.mapping().modes.new_records.makes_records() {
                    true => "the record is created again in HubSpot",
                    false => "the row stays, and is linked once HubSpot has a record of it",
                },
            };
            conflicts::close(tx, whole, end, now)?;
        }
        conflicts::follow(tx, object, local_id, None)?;
        outbox::links::follow(tx, object, local_id, None, now)?;
        // Created again, but not written again: what meets the create is compared with the times of the writes.
        let entry = self.queued;
        // By a clock that was ahead it was written by now, too: an erasure tells this create from a later row's by that.
        let written_at = entry.map_or(now, |entry| entry.standing.enqueued_at.min(now));
        let create = outbox::queue_create(tx, object, local_id, self.key, written_at, now)?;
        for field in entry.into_iter().flat_map(|entry| &entry.fields) {
            outbox::put_field(
                tx,
                create,
                &field.property,
                &Base::Unknown,
                field.changed_at,
            )?;
        }
        Ok(())
    }
}

/// A row waits for its removal no longer: what was written to it meanwhile is due.
pub(crate) fn end_removal(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
) -> Result<(), StoreError> {
    let object = pass.name();
    if reads::removal_noted_at(tx, object, id)?.is_none() {
        return Ok(());
    }
    reads::forget_removal(tx, object, id)?;
    let Some(entry) = outbox::of_record(tx, object, id)? else {
        return Ok(());
    };
    let Standing {
        operation,
        state,
        waits_for,
        due,
        ..
    } = entry.standing;
    let is_put_off = due.is_some_and(|due| due > pass.now);
    if operation == Operation::Update
        && state == EntryState::Pending
        && waits_for.is_none()
        && is_put_off
    {
        outbox::put_off(tx, entry.id, pass.now)?;
    }
    Ok(())
}

/// Writes down what lost updates of a deleted row have brought to HubSpot, once: the entry's bases are all that is left of what they
/// went over, and whatever ends the entry takes them along. `sent`: what they carried.
pub(crate) fn note_arrived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    (entry, sent): (&Entry, &SentValues),
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let deleted = DeletedRow {
        mapping: pass.object.mapping(),
        entry,
        record,
        sent,
    };
    EntryWork::of_entry(tx, pass.name(), entry, pass.now).carry_out(deleted.arrived())
}

/// The latest version of a record that was shown here: its row has it, or the entry of a deleted one.
pub(crate) fn shown_version(
    tx: &Transaction<'_>,
    row: Option<&MirrorRow>,
    entry: Option<&Entry>,
) -> Result<Option<Timestamp>, StoreError> {
    let of_row = row.and_then(|row| row.record.modified_at);
    let of_entry = match entry {
        Some(entry) => outbox::shown_version(tx, entry.id)?,
        None => None,
    };
    Ok(of_row.max(of_entry))
}

/// What is known here of a record that an answer to a question of `asked_at` misses: of its row, or of what its entry keeps
/// of a deleted one.
pub fn missed(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: Option<HubspotId>,
    (row, entry): (Option<&MirrorRow>, Option<&Entry>),
    asked_at: Timestamp,
) -> Result<Absence, StoreError> {
    let kept = || rowjson::created_at(entry?.row.as_deref()?);
    let sees = pass.object.mapping().modes.sees;
    let announced = match id {
        Some(id) => absent::announced(tx, pass.name(), id)?,
        None => None,
    };
    Ok(Absence {
        asked_at,
        created_at: match row {
            Some(row) => row.created_at(),
            None => kept(),
        },
        version: shown_version(tx, row, entry)?,
        archived: match announced.and_then(|deletion| deletion.archived_at) {
            Some(at) => Archived::Shown(Some(at)),
            None => Archived::Unshown,
        },
        is_announced: announced.is_some(),
        sees,
    })
}

/// Writes down that a record was made, with the row that it is.
pub(crate) fn note_made(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    local_id: LocalId,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let whole = WholeRecord {
        mapping: pass.object.mapping(),
        local_id,
        hs_id: Some(record.id),
        origin: pass.origin,
    };
    whole.made(tx, &rowjson::of_record(record), pass.now)
}

/// A deletion that is given up: the row is back as it was, and what was pending of it before is pending again. Tells whether
/// it is: another row may have taken its place.
pub(crate) fn undelete(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    hs_id: HubspotId,
) -> Result<bool, StoreError> {
    let object = pass.object;
    let text = entry.row.as_deref().unwrap_or_default();
    let record = former_record(object, hs_id, text, pass.now);
    if !put_back(tx, pass, entry, &record)? {
        return outbox::end(tx, entry.id).map(|()| false);
    }
    let open = conflicts::open_of(tx, object.object(), entry.local_id)?;
    let is_open = |property: &PropertyName| open.contains_key(property);
    let acts = settled_by_return(object.mapping(), entry, &record.values, is_open);
    EntryWork::of_entry(tx, object.object(), entry, pass.now).carry_out(acts)?;
    match outbox::fields(tx, entry.id)?.is_empty() {
        true => outbox::end(tx, entry.id)?,
        false => outbox::undelete(tx, entry.id)?,
    }
    Ok(true)
}

/// The row comes back with HubSpot's values and its own `local_id`, and nothing of it waits. What HubSpot changed of it meanwhile is
/// written down.
pub(crate) fn bring_back(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    outbox::end(tx, entry.id)?;
    if put_back(tx, pass, entry, record)?
        && let Some(text) = entry.row.as_deref()
    {
        note_changed(tx, pass, entry.local_id, (text, record))?;
    }
    Ok(())
}

/// Writes down what a row that is back holds otherwise than before it was deleted.
fn note_changed(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    local_id: LocalId,
    (text, record): (&str, &RemoteRecord),
) -> Result<(), StoreError> {
    let mapping = pass.object.mapping();
    let former = rowjson::values(mapping, text);
    let open = conflicts::open_of(tx, pass.name(), local_id)?;
    for field in &mapping.fields {
        let old = former.get(&field.property).unwrap_or(&Value::EMPTY);
        let Some(new) = record.values.get(&field.property) else {
            continue;
        };
        if field.property_type.same(old, new) || open.contains_key(&field.property) {
            continue;
        }
        let change = Change {
            object: pass.name(),
            local_id,
            hs_id: Some(record.id),
            property: field.property.as_str(),
            old: old.as_deref(),
            new: new.as_deref(),
            origin: pass.origin,
        };
        history::record(tx, change, pass.now)?;
    }
    Ok(())
}

/// Puts a deleted row back with these values and its own `local_id`; one that has taken its place stays, and then it tells
/// `false`. A field that waits for a person's word keeps what the row held.
pub fn put_back(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    record: &RemoteRecord,
) -> Result<bool, StoreError> {
    let (object, now) = (pass.object, pass.now);
    reads::unbury(tx, object.object(), record.id)?;
    if object.table.by_local_id(tx, entry.local_id)?.is_some()
        || object.table.by_hs_id(tx, record.id)?.is_some()
    {
        return Ok(false);
    }
    object.table.insert_back(tx, entry.local_id, record)?;
    bring_others_back(tx, pass, entry)?;
    if let Some(text) = entry.row.as_deref() {
        outbox::links::bring_back(tx, text, now)?;
    }
    let open = conflicts::open_of(tx, object.object(), entry.local_id)?;
    if let Some(text) = entry.row.as_deref().filter(|_| !open.is_empty())
        && let Some(mut row) = object.table.by_local_id(tx, entry.local_id)?
    {
        let former = rowjson::values(object.mapping(), text);
        for (property, value) in former.iter().filter(|(name, _)| open.contains_key(*name)) {
            row.set(object.mapping(), property, value);
        }
        object.table.update(tx, &row)?;
        reads::ask(tx, object.object(), record.id, Origin::Poll, now)?;
    }
    unreadable::note(tx, object.object(), record, now)?;
    Ok(true)
}

/// Columns that the mapping in force does not know hold what the row held, the user's own and those of properties that left it
/// or have a problem: HubSpot is not asked for them. What has no column any more is written down as lost.
fn bring_others_back(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(text) = entry.row.as_deref() else {
        return Ok(());
    };
    let mut lost: Vec<(String, Option<String>)> = Vec::new();
    for field in fields::out_of_force(tx, object.mapping())? {
        let Some(held) = rowjson::text_in(text, &field.property) else {
            continue;
        };
        let column = object.table.former_value(tx, entry.local_id, &field)?;
        if column.is_some() {
            let held = held.map_or(Value::EMPTY, Value::from_canonical);
            object.table.set_former(tx, entry.local_id, &field, &held)?;
        } else {
            lost.push((field.property, held));
        }
    }
    let own = rowjson::own_values(text);
    let refused = object.table.put_own_back(tx, entry.local_id, own)?;
    lost.extend(refused.iter().map(|own| (own.name(), own.text())));
    for (property, value) in lost.iter().filter(|(_, value)| value.is_some()) {
        let change = Change {
            object: object.object(),
            local_id: entry.local_id,
            hs_id: entry.standing.hs_id,
            property,
            old: value.as_deref(),
            new: None,
            origin: Origin::Conflict,
        };
        history::record(tx, change, now)?;
    }
    Ok(())
}
