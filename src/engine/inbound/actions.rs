//! Carries out the decisions on one record's fields, inside the transaction that applies the record.

use rusqlite::Transaction;

use crate::decide::echo::{Histories, PastValue};
use crate::decide::record::{CleanBase, ConflictNote, FieldAction, RecordPlan, ended_by_itself};
use crate::engine::inbound::applying::Applying;
use crate::model::conflict::Winner;
use crate::model::entry::Base;
use crate::model::id::{ConflictId, OutboxId};
use crate::model::name::PropertyName;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::history::{self, Change, Origin};
use crate::store::{StoreError, outbox};

/// The row under hands and its entry.
pub(crate) struct RecordHands<'a, 'tx> {
    /// The transaction.
    pub tx: &'a Transaction<'tx>,
    /// What is being applied.
    pub applying: &'a Applying<'a>,
    /// HubSpot's time of the record's version.
    pub version: Timestamp,
    /// The row, changed in place; the caller writes it back.
    pub row: &'a mut MirrorRow,
    /// Its entry, made when a field is to be pushed over.
    pub entry: Option<OutboxId>,
    /// When the values were written here that have no change of their own on disk.
    pub written_at: Timestamp,
    /// The histories that were read with the record.
    pub histories: Option<&'a Histories>,
}

impl RecordHands<'_, '_> {
    /// Carries out a plan. Tells whether the mirror row changed.
    pub(crate) fn carry_out(&mut self, plan: &RecordPlan) -> Result<bool, StoreError> {
        let mut changed = false;
        let mut lost_in_conflict: Option<&PropertyName> = None;
        for action in &plan.actions {
            match action {
                FieldAction::Take {
                    property,
                    value,
                    old,
                } => {
                    self.row
                        .set(self.applying.pass.object.mapping(), property, value);
                    self.drop_field(property)?;
                    if lost_in_conflict != Some(property) {
                        self.history(property, old, value, self.applying.pass.origin)?;
                    }
                    changed = true;
                }
                FieldAction::Meet {
                    property,
                    value,
                    old,
                    gives_up,
                } => {
                    self.row
                        .set(self.applying.pass.object.mapping(), property, value);
                    match gives_up {
                        // It stands in no conflict: kept here, also while a first load keeps nothing else.
                        true => self.keep(property, old, value, Origin::Conflict)?,
                        false => self.history(property, old, value, self.applying.pass.origin)?,
                    }
                    changed = true;
                }
                FieldAction::Agree { property } => self.drop_field(property)?,
                FieldAction::Arrived {
                    property,
                    value,
                    old,
                } => self.history(property, old, value, Origin::Push)?,
                FieldAction::ArrivedBeside {
                    id,
                    property,
                    value,
                    old,
                } if !self.is_told(*id, property, value)? => {
                    self.history(property, old, value, Origin::Push)?;
                }
                FieldAction::ArrivedBeside { .. } => {}
                FieldAction::Checked { property } => outbox::check_sent(
                    self.tx,
                    self.applying.pass.name(),
                    self.row.record.local_id,
                    property,
                    self.version,
                )?,
                FieldAction::PushOver { property, base } => self.push_over(property, base)?,
                FieldAction::Conflict { note, winner } => {
                    let (about, now) = (self.about(), self.applying.pass.now);
                    conflicts::record_closed(self.tx, about, self.told(note), *winner, now)?;
                    let (old, new) = note.losing_first(*winner);
                    self.history(&note.property, old, new, Origin::Conflict)?;
                    lost_in_conflict = Some(&note.property);
                }
                FieldAction::Withhold { property, note } => {
                    // What loses stays in the mirror for now: the history tells of it when it goes.
                    if let Some(note) = note {
                        let (about, now) = (self.about(), self.applying.pass.now);
                        conflicts::record_closed(
                            self.tx,
                            about,
                            self.told(note),
                            Winner::Remote,
                            now,
                        )?;
                    }
                    self.drop_field(property)?;
                }
                FieldAction::Ask { note } => self.ask(note)?,
                FieldAction::RemoteMoved {
                    id,
                    property,
                    remote,
                    former,
                } => {
                    let set = self.set(property, remote);
                    conflicts::set_remote(self.tx, *id, remote, set)?;
                    self.history(property, former, remote, Origin::Conflict)?;
                }
                FieldAction::Close { id, winner } => {
                    let end = ended_by_itself(*winner);
                    conflicts::close(self.tx, *id, end, self.applying.pass.now)?;
                }
            }
        }
        Ok(changed)
    }

    /// Whether the history tells of that value as our own since the conflict was noticed.
    fn is_told(
        &self,
        conflict: ConflictId,
        property: &PropertyName,
        value: &Value,
    ) -> Result<bool, StoreError> {
        let pass = &self.applying.pass;
        let Some(field) = pass.object.mapping().field(property) else {
            return Ok(true);
        };
        let since = conflicts::detected_at(self.tx, conflict)?;
        let span = (since, pass.now);
        history::was_pushed(
            self.tx,
            pass.name(),
            self.row.record.local_id,
            field,
            value,
            span,
        )
    }

    fn ask(&mut self, note: &ConflictNote) -> Result<(), StoreError> {
        let (about, now) = (self.about(), self.applying.pass.now);
        conflicts::record_open(self.tx, about, self.told(note), now)?;
        self.drop_field(&note.property)
    }

    /// A conflict as it is written down, with what was read of who set HubSpot's value.
    fn told<'n>(&'n self, note: &'n ConflictNote) -> NewConflict<'n> {
        NewConflict {
            set: self.set(&note.property, &note.remote),
            ..note.into()
        }
    }

    /// When a value was set that HubSpot holds, or held before a late request of ours, and by whom, as its history says.
    fn set(&self, property: &PropertyName, value: &Value) -> Option<&PastValue> {
        let field = self.applying.pass.object.mapping().field(property)?;
        let mut history = self.histories?.get(property)?.iter();
        history.find(|past| field.property_type.same(&past.value, value))
    }

    fn about(&self) -> About<'_> {
        About {
            object: self.applying.pass.name(),
            local_id: self.row.record.local_id,
            hs_id: self.row.record.hs_id,
        }
    }

    fn drop_field(&self, property: &PropertyName) -> Result<(), StoreError> {
        match self.entry {
            Some(entry) => outbox::drop_field(self.tx, entry, property),
            None => Ok(()),
        }
    }

    fn push_over(&mut self, property: &PropertyName, base: &Value) -> Result<(), StoreError> {
        self.put_base(property, &Base::Known(base.clone()))
    }

    fn put_base(&mut self, property: &PropertyName, base: &Base) -> Result<(), StoreError> {
        let Some(hs_id) = self.row.record.hs_id else {
            return Ok(());
        };
        let object = self.applying.pass.name();
        let now = self.applying.pass.now;
        let entry = match self.entry {
            Some(entry) => entry,
            None => outbox::ensure_update(self.tx, object, self.row.record.local_id, hs_id, now)?,
        };
        self.entry = Some(entry);
        outbox::put_field(self.tx, entry, property, base, self.written_at.min(now))
    }

    /// Keeps the base of fields that wait for their history where it is not the mirror's value: the next merge could
    /// not know it.
    pub(crate) fn keep_bases(
        &mut self,
        waiting: &[PropertyName],
        clean_base: CleanBase<'_>,
    ) -> Result<(), StoreError> {
        if clean_base == CleanBase::Mirror {
            return Ok(());
        }
        for property in waiting {
            let base = clean_base.of(property, self.row.value(property));
            self.put_base(property, &base)?;
        }
        Ok(())
    }

    fn history(
        &self,
        property: &PropertyName,
        old: &Value,
        new: &Value,
        origin: Origin,
    ) -> Result<(), StoreError> {
        match self.applying.with_history {
            true => self.keep(property, old, new, origin),
            false => Ok(()),
        }
    }

    fn keep(
        &self,
        property: &PropertyName,
        old: &Value,
        new: &Value,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let change = Change {
            object: self.applying.pass.name(),
            local_id: self.row.record.local_id,
            hs_id: self.row.record.hs_id,
            property: property.as_str(),
            old: old.as_deref(),
            new: new.as_deref(),
            origin,
        };
        history::record(self.tx, change, self.applying.pass.now)
    }
}

#[cfg(test)]
mod tests {
    use crate::decide::echo::{Author, Histories, PastValue, ToldSource};
    use crate::engine::inbound::apply::apply_record;
    use crate::engine::testing::{How, Scene, at, property, record};
    use crate::model::mapping::Policy;
    use crate::model::value::Value;

    #[test]
    fn what_a_late_request_brings_beside_an_open_conflict_is_told_once() {
        let scene = Scene::of(Policy::Manual);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Here'");
        scene.apply(How::at(5), &record(101, 4, &[("firstname", "There")]));
        scene.daemon(&format!(
            "INSERT INTO _sync_sent (object, local_id, property, value, sent_at, sent_over)
             VALUES ('contacts', 1, 'firstname', 'Late', '{}', '{}')",
            at(1),
            at(0)
        ));
        let landed = record(101, 20, &[("firstname", "Late")]);
        let top = PastValue {
            value: Value::from_canonical("Late"),
            at: at(20),
            author: Author::Us,
            source: ToldSource::default(),
        };
        let histories: Histories = [(property("firstname"), vec![top])].into();
        let shown = |second| {
            let applying = scene.applying(How::at(second));
            scene.write(|tx| apply_record(tx, &applying, &landed, Some(&histories)));
        };
        shown(30);
        shown(40);
        let told = "SELECT old_value, new_value FROM sync_history WHERE origin = 'push'";
        assert_eq!(scene.rows(told), ["There Late"]);
        assert_eq!(scene.conflicts(), ["1 firstname Here There -"]);
    }
}
