//! Records of which an answer said something that is believed only later: those that the token does not see
//! (`[auth] sees = "user"`), and those whose deletion a webhook or the list of archived records has announced, or a read of
//! the archive has shown.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// What was said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyAbsent {
    /// An answer missed it, and its row is kept, or what waits of it.
    Unseen,
    /// HubSpot has announced its deletion, or lists it among its archived records.
    Deleted(Deletion),
}

/// A deletion that is believed where a read misses the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// When it was archived, where HubSpot says so.
    pub archived_at: Option<Timestamp>,
}

/// Notes what an answer or an event says of a record.
pub fn note(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    said: WhyAbsent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let archived_at = match said {
        WhyAbsent::Unseen => None,
        WhyAbsent::Deleted(deletion) => deletion.archived_at,
    };
    tx.prepare_cached(
        "INSERT INTO _sync_absent (object, hs_id, at, unseen, announced, archived_at)
         VALUES (:object, :id, :now, :unseen, NOT :unseen, :archived_at)
         ON CONFLICT (object, hs_id) DO UPDATE
         SET unseen = max(unseen, excluded.unseen),
             announced = max(announced, excluded.announced),
             archived_at = coalesce(excluded.archived_at, archived_at)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": id.0,
        ":now": now.to_string(),
        ":unseen": said == WhyAbsent::Unseen,
        ":archived_at": archived_at.map(|at| at.to_string()),
    })?;
    Ok(())
}

/// The deletion that HubSpot has announced of a record, where it has not shown the record since.
pub fn announced(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Option<Deletion>, StoreError> {
    let archived_at: Option<Option<String>> = connection
        .prepare_cached(
            "SELECT archived_at FROM _sync_absent WHERE object = :object AND hs_id = :id AND announced = 1",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0 },
            |row| row.get(0),
        )
        .optional()?;
    Ok(archived_at.map(|at| Deletion {
        archived_at: at.as_deref().and_then(Timestamp::parse),
    }))
}

/// Whether anything is said of a record that an answer has missed, and none has shown since.
pub(crate) fn is_noted(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM _sync_absent WHERE object = :object AND hs_id = :id")?
        .exists(named_params! { ":object": object.as_str(), ":id": id.0 })?)
}

/// Forgets what was said of a record: it is shown, or its row is gone. Tells whether there was something.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<bool, StoreError> {
    let forgotten = tx
        .prepare_cached("DELETE FROM _sync_absent WHERE object = :object AND hs_id = :id")?
        .execute(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    Ok(forgotten > 0)
}
