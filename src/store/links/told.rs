//! What `sync_history` says of an association.

use rusqlite::Transaction;

use crate::model::association::PairMapping;
use crate::model::association::json::LinkJson;
use crate::model::time::Timestamp;
use crate::store::history::{self, Change, Origin};
use crate::store::{StoreError, conflicts};

/// Whether an association came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkWay {
    /// It was made.
    Came,
    /// It was taken away.
    Went,
}

/// Writes a line down: what was made is the new value, what was taken away the old one. Tells what the line names as the origin,
/// which is what it implied has too.
pub fn record(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    link: LinkJson<'_>,
    (way, origin): (LinkWay, Origin),
    now: Timestamp,
) -> Result<Origin, StoreError> {
    // One that starts from no row has no place there: conflicts alone show it.
    let Some(local_id) = link.from_local_id else {
        return Ok(origin);
    };
    let text = link.to_text();
    let (old, new) = match way {
        LinkWay::Came => (None, Some(text.as_str())),
        LinkWay::Went => (Some(text.as_str()), None),
    };
    let change = Change {
        object: &pair.name(),
        local_id,
        hs_id: link.from_hs_id,
        property: conflicts::ASSOCIATION,
        old,
        new,
        origin,
    };
    history::tell(tx, change, now)
}
