//! Writes down which deletions have reached HubSpot; values are `decide/acts`' business.

use rusqlite::Transaction;

use crate::engine::pass::Pass;
use crate::model::conflict::WHOLE_RECORD;
use crate::model::entry::Entry;
use crate::model::id::HubspotId;
use crate::store::StoreError;
use crate::store::history::{self, Change, Origin};

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
