//! Associations of rows whose creates go in the same push: each follows its rows' creates, or goes along in one of them.

use std::collections::BTreeSet;

use crate::decide::outgoing::associate::{LinkEnd, QueuedLink};
use crate::engine::outbound::preview::{Rehearsal, pairs_of};
use crate::model::association::PairMapping;
use crate::model::entry::{Operation, WaitsFor};
use crate::model::id::{LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::store::StoreError;
use crate::store::links::types;
use crate::store::outbox::links::queued;
use crate::store::outbox::{self, WaitingEntry};

/// What the creates of a push make.
#[derive(Debug, Clone, Default)]
pub struct MadeAhead {
    /// The rows that become records.
    rows: BTreeSet<(ObjectType, LocalId)>,
    /// The entries of the associations that go along in their creates.
    along: BTreeSet<OutboxId>,
}

impl MadeAhead {
    /// An association's entry as it stands once the creates of its rows are answered.
    pub(super) fn once_made(&self, pair: &PairMapping, mut link: QueuedLink) -> QueuedLink {
        self.make(&pair.from, &mut link.from);
        self.make(&pair.to, &mut link.to);
        link
    }

    fn make(&self, object: &ObjectType, end: &mut LinkEnd) {
        if self.rows.contains(&(object.clone(), end.local_id)) {
            end.made();
        }
    }

    /// Whether an association goes along in a create.
    pub(super) fn takes_along(&self, id: OutboxId) -> bool {
        self.along.contains(&id)
    }
}

impl Rehearsal<'_> {
    pub(super) fn is_made(&self, object: &ObjectType, row: LocalId) -> bool {
        self.made.borrow().rows.contains(&(object.clone(), row))
    }

    /// Looks which creates go, where an association waits for one.
    pub(super) fn look_at_creates(&self) -> Result<(), StoreError> {
        let mut is_any = false;
        for object in self.objects.iter() {
            for pair in pairs_of(object) {
                is_any |= self.is_any_unmade(pair)?;
            }
        }
        if is_any {
            // What goes along depends on the rows that are made, of other objects too.
            for _ in 0..2 {
                let made = self.made_now()?;
                self.made.replace(made);
            }
        }
        Ok(())
    }

    fn is_any_unmade(&self, pair: &PairMapping) -> Result<bool, StoreError> {
        let known = types::of(self.tx, pair)?;
        for entry in outbox::waiting(
            self.tx,
            &pair.from,
            Some(&pair.to),
            Operation::Associate,
            self.now,
        )? {
            let link = queued(self.tx, &known, entry.id)?;
            let is_unmade = |end: &LinkEnd| end.is_there && end.hs_id.is_none();
            if link.is_some_and(|link| is_unmade(&link.from) || is_unmade(&link.to)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn made_now(&self) -> Result<MadeAhead, StoreError> {
        let mut made = MadeAhead::default();
        for object in self.objects.iter() {
            if !object.mapping().direction.pushes() {
                continue;
            }
            for create in self.due(object.object(), None, &[Operation::Create], &mut Vec::new())? {
                self.tell(object, create.id, true, false, &mut |planned| {
                    if planned.is_sent() {
                        made.rows.insert((planned.object.clone(), planned.local_id));
                        made.along
                            .extend(planned.along.iter().map(|along| along.entry));
                    }
                    Ok::<_, StoreError>(())
                })?;
            }
        }
        Ok(made)
    }

    /// Whether an association that waits for a create goes in the same push as that.
    pub(super) fn follows(
        &self,
        pair: &PairMapping,
        entry: &WaitingEntry,
    ) -> Result<bool, StoreError> {
        let waits = outbox::by_id(self.tx, entry.id)?;
        let waits = waits.and_then(|entry| entry.standing.waits_for);
        if waits != Some(WaitsFor::Create) {
            return Ok(false);
        }
        let known = types::of(self.tx, pair)?;
        let link = queued(self.tx, &known, entry.id)?;
        let link = link.map(|link| self.made.borrow().once_made(pair, link));
        Ok(link.is_some_and(|link| link.from.hs_id.is_some() && link.to.hs_id.is_some()))
    }
}
