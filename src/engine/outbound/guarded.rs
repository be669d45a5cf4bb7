//! What the guard counts, by what key, and its bounds; and its word on what is due of the outbox.

use rusqlite::{Connection, Transaction};

use crate::decide::guard::{Bounds, Count, Verdict, judge};
use crate::model::name::ObjectType;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::holds::{self, HeldOperation, HoldKey, Side};
use crate::store::outbox::GuardedEntries;

/// The guard's key of archives in HubSpot.
pub(crate) fn archive_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Hubspot,
        operation: HeldOperation::Archive,
        property: None,
    }
}

/// The guard's key of updates in HubSpot.
pub(crate) fn update_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Hubspot,
        operation: HeldOperation::Update,
        property: None,
    }
}

/// The guard's key of disassociations in HubSpot, by the pair's name.
pub(crate) fn disassociation_key(pair: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object: pair,
        side: Side::Hubspot,
        operation: HeldOperation::Disassociate,
        property: None,
    }
}

/// The guard's key of removals here.
pub(crate) fn removal_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Local,
        operation: HeldOperation::Remove,
        property: None,
    }
}

/// The guard's bounds.
pub fn bounds(guard: &Guard) -> Bounds {
    Bounds {
        max_records: guard.max_archives,
        max_share: guard.max_share,
    }
}

/// Entries of the outbox on which the guard has its word.
#[derive(Clone, Copy)]
pub(super) struct Guarded<'a> {
    /// Under which key they are counted and held.
    pub(super) key: HoldKey<'a>,
    /// Which they are.
    pub(super) entries: GuardedEntries<'a>,
    /// How many may go.
    pub(super) bounds: Bounds,
    /// Records, or associated pairs of records, that are here.
    pub(super) left: u64,
    /// Where the window begins, in HubSpot's time.
    pub(super) since: Timestamp,
}

impl Guarded<'_> {
    /// Counts what is due, holds it as a whole where it would cross the bound, and brings the open hold up to date: of what it
    /// holds some may have been discarded, or be back.
    pub(super) fn judge(&self, tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
        let (key, entries) = (self.key, self.entries);
        let (records, verdict) = self.word(tx, now)?;
        if let Verdict::Hold { allowed } = verdict {
            entries.hold_due(tx, now)?;
            holds::hold(tx, key, records, allowed, now)?;
            tracing::error!(
                object = %key.object, records, allowed, code = key.operation.code(),
                "{} wait for an operator's word: `hubsyncd outbox approve` lets them go, `hubsyncd outbox discard --hold`, or a DELETE from `sync_holds`, takes them back",
                of_what(key.operation)
            );
        }
        holds::recount_entries(tx, key, entries, now)
    }

    /// What is said of all that is due; with how many would be held then, those that are held already among them.
    pub(super) fn word(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<(u64, Verdict), StoreError> {
        let (due, held) = self.entries.due_and_held(connection, now)?;
        let count = Count {
            due,
            in_window: holds::counted(connection, self.key, self.since)?,
            left: self.left,
        };
        Ok((held + due, judge(count, self.bounds)))
    }
}

/// What waits, in words.
fn of_what(operation: HeldOperation) -> &'static str {
    match operation {
        HeldOperation::Archive => "local deletions",
        HeldOperation::Update => "updates",
        HeldOperation::Disassociate => "disassociations",
        HeldOperation::Remove => "removals",
        HeldOperation::Clear => "emptied values",
    }
}
