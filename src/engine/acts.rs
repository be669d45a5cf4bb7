//! Carries out what was decided of a row, its entry and its conflicts (`decide/acts`). It decides nothing.

use rusqlite::Transaction;

use crate::decide::acts::Act;
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::ObjectMapping;
use crate::model::name::ObjectType;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::gaps::{self, NewGap};
use crate::store::history::{self, Change};
use crate::store::{StoreError, outbox, reads};

/// A row and its entry under hands.
pub(crate) struct EntryWork<'a, 'tx> {
    /// The transaction.
    pub(crate) tx: &'a Transaction<'tx>,
    /// The object.
    pub(crate) object: &'a ObjectType,
    /// The transaction's time.
    pub(crate) now: Timestamp,
    /// The row's id.
    pub(crate) local_id: LocalId,
    /// The record's id.
    pub(crate) hs_id: Option<HubspotId>,
    /// The entry.
    pub(crate) entry: Option<&'a Entry>,
}

impl<'a, 'tx> EntryWork<'a, 'tx> {
    /// An entry, and the row that it is of.
    pub(crate) fn of_entry(
        tx: &'a Transaction<'tx>,
        object: &'a ObjectType,
        entry: &'a Entry,
        now: Timestamp,
    ) -> Self {
        Self {
            tx,
            object,
            now,
            local_id: entry.local_id,
            hs_id: entry.standing.hs_id,
            entry: Some(entry),
        }
    }

    /// The same where the record is known by now.
    #[must_use]
    pub(crate) fn of_record(self, hs_id: HubspotId) -> Self {
        Self {
            hs_id: Some(hs_id),
            ..self
        }
    }

    /// Carries out what changes nothing in the row itself.
    pub(crate) fn carry_out(&self, acts: Vec<Act>) -> Result<(), StoreError> {
        acts.into_iter().try_for_each(|act| self.act(act))
    }

    /// Carries out what changes the row too; the caller writes it back.
    pub(crate) fn carry_out_on(
        &self,
        mapping: &ObjectMapping,
        row: &mut MirrorRow,
        acts: Vec<Act>,
    ) -> Result<(), StoreError> {
        acts.into_iter().try_for_each(|act| {
            if let Act::Set { property, value } = act {
                row.set(mapping, &property, &value);
                Ok(())
            } else {
                self.act(act)
            }
        })
    }

    fn act(&self, act: Act) -> Result<(), StoreError> {
        let (tx, object, now) = (self.tx, self.object, self.now);
        match act {
            Act::AskRead { hs_id, origin, at } => {
                reads::ask(tx, object, hs_id, origin, at).map(drop)
            }
            Act::NoteGap {
                hs_id,
                property,
                gap,
                look,
            } => {
                let new = NewGap {
                    object,
                    hs_id,
                    local_id: self.local_id,
                    property: &property,
                    gap: &gap,
                    look_at: look.at,
                    seen: look.seen,
                };
                gaps::note(tx, new, now)
            }
            Act::LookAtArchive { hs_id, at } => gaps::look_at_archive(tx, object, hs_id, at),
            Act::History {
                property,
                old,
                new,
                origin,
            } => {
                let change = Change {
                    object,
                    local_id: self.local_id,
                    hs_id: self.hs_id,
                    property: property.as_str(),
                    old: old.as_deref(),
                    new: new.as_deref(),
                    origin,
                };
                history::record(tx, change, now)
            }
            Act::Conflict { note, winner, set } => {
                let about = About {
                    object,
                    local_id: self.local_id,
                    hs_id: self.hs_id,
                };
                let conflict = NewConflict {
                    set: set.as_ref(),
                    ..(&note).into()
                };
                conflicts::record_closed(tx, about, conflict, winner, now)
            }
            Act::Set { .. } => Ok(()),
            of_entry @ (Act::Befall(_)
            | Act::End
            | Act::EndIfEmpty
            | Act::DropField(_)
            | Act::DropFields
            | Act::PutField { .. }
            | Act::SetBase { .. }
            | Act::SetSent { .. }
            | Act::Owe { .. }
            | Act::ClearSent
            | Act::RememberSent) => match self.entry {
                Some(entry) => outbox::act(tx, object, entry, of_entry, now),
                None => Ok(()),
            },
        }
    }
}
