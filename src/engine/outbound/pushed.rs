//! Writes down what of this side has reached HubSpot: values, and deletions.

use rusqlite::Transaction;

use crate::engine::pass::Pass;
use crate::model::conflict::WHOLE_RECORD;
use crate::model::entry::{Base, Entry};
use crate::model::id::HubspotId;
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::StoreError;
use crate::store::conflicts::About;
use crate::store::history::{self, Change, Origin};

/// A local value that has reached HubSpot.
#[derive(Clone, Copy)]
pub struct Pushed<'a> {
    /// Its property.
    pub property: &'a PropertyName,
    /// What was there before.
    pub base: &'a Base,
    /// The value as HubSpot has it.
    pub value: &'a Value,
}

/// Writes down that a local value has reached HubSpot, over the value that was there.
pub fn note_pushed(
    tx: &Transaction<'_>,
    about: About<'_>,
    pushed: Pushed<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let old = match pushed.base {
        Base::Known(base) => base.as_deref(),
        Base::Unknown => None,
    };
    let change = Change {
        object: about.object,
        local_id: about.local_id,
        hs_id: about.hs_id,
        property: pushed.property.as_str(),
        old,
        new: pushed.value.as_deref(),
        origin: Origin::Push,
    };
    history::record(tx, change, now)
}

/// Writes down that a deletion has reached HubSpot.
pub fn note_archived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    let (object, now) = (pass.name(), pass.now);
    let change = Change {
        object,
        local_id: entry.local_id,
        hs_id: Some(hs_id),
        property: WHOLE_RECORD,
        old: entry.row.as_deref(),
        new: None,
        origin: Origin::Push,
    };
    history::record(tx, change, now)
}
