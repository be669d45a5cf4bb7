//! Writes down which deletions have reached HubSpot; values are `decide/acts`' business.

use rusqlite::Transaction;

use crate::engine::pass::Pass;
use crate::model::entry::Entry;
use crate::model::id::HubspotId;
use crate::store::StoreError;
use crate::store::history::{Origin, WholeRecord};

/// Writes down that a deletion has reached HubSpot.
pub(crate) fn note_archived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    let whole = WholeRecord {
        mapping: pass.object.mapping(),
        local_id: entry.local_id,
        hs_id: Some(hs_id),
        origin: Origin::Push,
    };
    whole.gone(tx, entry.row.as_deref(), pass.now)
}
