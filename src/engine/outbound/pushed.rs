//! Writes down which deletions have reached HubSpot; values are `decide/acts`' business.

use rusqlite::Transaction;

use crate::engine::pass::Pass;
use crate::model::conflict::WHOLE_RECORD;
use crate::model::entry::Entry;
use crate::model::id::HubspotId;
use crate::store::history::{self, Change, Origin};
use crate::store::{StoreError, rowjson};

/// Writes down that a deletion has reached HubSpot.
pub fn note_archived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    hs_id: HubspotId,
) -> Result<(), StoreError> {
    let (object, now) = (pass.name(), pass.now);
    let row = entry.row.as_deref();
    let row = row.map(|row| rowjson::by_column(pass.object.mapping(), row));
    let change = Change {
        object,
        local_id: entry.local_id,
        hs_id: Some(hs_id),
        property: WHOLE_RECORD,
        old: row.as_deref(),
        new: None,
        origin: Origin::Push,
    };
    history::record(tx, change, now)
}
