//! `_sync_gaps`: fields of writes, and archived records, in whose gap somebody may have edited the record; fetches and saves
//! them, decides nothing.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use crate::decide::outgoing::gap::Gap;
pub(crate) use crate::decide::outgoing::gap::{Noted, NotedArchive};
use crate::model::entry::Base;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::StoreError;

/// Rows that are looked through for the records of one look.
const LOOKED_THROUGH: i64 = 2_000;

/// The most rows that one transaction forgets.
const FORGOTTEN_AT_ONCE: i64 = 10_000;

/// A field to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewGap<'a> {
    /// The object.
    pub object: &'a ObjectType,
    /// The record.
    pub hs_id: HubspotId,
    /// The row of the mirror.
    pub local_id: LocalId,
    /// The property.
    pub property: &'a PropertyName,
    /// What was read, sent and answered.
    pub gap: &'a Gap,
    /// When its history is to be asked for; `None`: only an event may tell.
    pub look_at: Option<Timestamp>,
    /// Whether that is so although webhooks of the property arrive.
    pub seen: bool,
}

/// Keeps a field of a write.
pub fn note(tx: &Transaction<'_>, new: NewGap<'_>, now: Timestamp) -> Result<(), StoreError> {
    let (base, base_known) = match &new.gap.base {
        Base::Known(base) => (base.as_deref(), true),
        Base::Unknown => (None, false),
    };
    tx.prepare_cached(
        "INSERT INTO _sync_gaps (object, hs_id, local_id, property, base_value, base_known, sent_value, answered_value,
                                read_version, written_version, noted_at, look_at, seen)
         VALUES (:object, :hs_id, :local_id, :property, :base, :base_known, :sent, :answered,
                 :read_version, :written_version, :now, :look_at, :seen)",
    )?
    .execute(named_params! {
        ":object": new.object.as_str(),
        ":hs_id": new.hs_id.0,
        ":local_id": new.local_id.0,
        ":property": new.property.as_str(),
        ":base": base,
        ":base_known": base_known,
        ":sent": new.gap.sent.as_deref(),
        ":answered": new.gap.answered.as_ref().and_then(|value| value.as_deref()),
        ":read_version": new.gap.read_version.to_string(),
        ":written_version": new.gap.written_version.map(|at| at.to_string()),
        ":now": now.to_string(),
        ":look_at": new.look_at.map(|at| at.to_string()),
        ":seen": new.seen,
    })?;
    Ok(())
}

const COLUMNS: &str = "id, hs_id, local_id, property, base_value, base_known, sent_value, answered_value, read_version,
                       written_version, noted_at, look_at, seen";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Option<Noted>> {
    let time = |text: Option<String>| text.as_deref().and_then(Timestamp::parse);
    let property: String = row.get(3)?;
    let (base, base_known): (Option<String>, bool) = (row.get(4)?, row.get(5)?);
    let written_version = time(row.get(9)?);
    let answered: Option<String> = row.get(7)?;
    let (Ok(property), Some(read_version)) = (PropertyName::parse(&property), time(row.get(8)?))
    else {
        return Ok(None);
    };
    Ok(Some(Noted {
        id: row.get(0)?,
        hs_id: HubspotId(row.get(1)?),
        local_id: LocalId(row.get(2)?),
        property,
        gap: Gap {
            base: match base_known {
                true => Base::Known(Value::from_stored(base)),
                false => Base::Unknown,
            },
            sent: Value::from_stored(row.get(6)?),
            answered: written_version.map(|_| Value::from_stored(answered)),
            read_version,
            written_version,
        },
        noted_at: time(row.get(10)?).unwrap_or_default(),
        look_at: time(row.get(11)?),
        seen: row.get(12)?,
    }))
}

/// What stands in the place of a property's name where a record was archived.
const WHOLE: &str = "*";

/// Keeps what a record showed that is about to be archived, in the place of what an earlier attempt has kept. It is not
/// looked at before [`look_at_archive`] says so.
pub(crate) fn note_archive(
    tx: &Transaction<'_>,
    object: &ObjectType,
    (hs_id, local_id): (HubspotId, LocalId),
    (read, read_version): (&str, Timestamp),
    now: Timestamp,
) -> Result<(), StoreError> {
    forget_archive(tx, object, hs_id)?;
    tx.prepare_cached(
        "INSERT INTO _sync_gaps (object, hs_id, local_id, property, base_value, base_known, read_version, noted_at, seen)
         VALUES (:object, :hs_id, :local_id, :whole, :read, 1, :read_version, :now, 0)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":hs_id": hs_id.0,
        ":local_id": local_id.0,
        ":whole": WHOLE,
        ":read": read,
        ":read_version": read_version.to_string(),
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// What is kept of a record's archive.
pub(crate) fn archive_of(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Option<NotedArchive>, StoreError> {
    let time = |text: Option<String>| text.as_deref().and_then(Timestamp::parse);
    let noted = connection
        .prepare_cached(
            "SELECT id, local_id, coalesce(base_value, ''), read_version, noted_at, look_at IS NOT NULL
             FROM _sync_gaps
             WHERE object = :object AND hs_id = :id AND property = :whole",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":id": id.0, ":whole": WHOLE },
            |row| {
                Ok(NotedArchive {
                    id: row.get(0)?,
                    hs_id: id,
                    local_id: LocalId(row.get(1)?),
                    read: row.get(2)?,
                    read_version: time(row.get(3)?).unwrap_or_default(),
                    noted_at: time(row.get(4)?).unwrap_or_default(),
                    is_looked_at: row.get(5)?,
                })
            },
        )
        .optional()?;
    Ok(noted)
}

/// An archived record is to be looked at, at a time.
pub(crate) fn look_at_archive(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_gaps SET look_at = :at WHERE object = :object AND hs_id = :id AND property = :whole",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": id.0,
        ":whole": WHOLE,
        ":at": at.to_string(),
    })?;
    Ok(())
}

/// Forgets what was kept of a record's archive: it was not sent, or surely did not happen.
pub(crate) fn forget_archive(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_gaps WHERE object = :object AND hs_id = :id AND property = :whole",
    )?
    .execute(named_params! { ":object": object.as_str(), ":id": id.0, ":whole": WHOLE })?;
    Ok(())
}

/// The records to be looked at, at most `limit`, the longest waiting first: once the first of them is due, or, with
/// `full_is_due`, there are enough for a full look. A time later than `latest` was written by a clock that was ahead.
pub fn due(
    connection: &Connection,
    object: &ObjectType,
    now: Timestamp,
    latest: Timestamp,
    limit: usize,
    full_is_due: bool,
) -> Result<Vec<HubspotId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT hs_id, look_at
         FROM _sync_gaps
         WHERE object = :object AND look_at IS NOT NULL
         ORDER BY look_at
         LIMIT :limit",
    )?;
    let mut rows =
        statement.query(named_params! { ":object": object.as_str(), ":limit": LOOKED_THROUGH })?;
    let (mut ids, mut is_due) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        let (id, look_at): (i64, String) = (row.get(0)?, row.get(1)?);
        is_due |= Timestamp::parse(&look_at).is_none_or(|at| at <= now || at > latest);
        let id = HubspotId(id);
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() == limit {
            break;
        }
    }
    let is_full = full_is_due && ids.len() == limit;
    Ok(if is_due || is_full { ids } else { Vec::new() })
}

/// When the next look is due.
pub(crate) fn next_due(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Option<Timestamp>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(
            "SELECT min(look_at) FROM _sync_gaps WHERE object = :object AND look_at IS NOT NULL",
        )?
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?;
    Ok(text.as_deref().and_then(Timestamp::parse))
}

/// What is kept of the fields of a record's writes, the oldest first.
pub fn of_record(
    connection: &Connection,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Vec<Noted>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM _sync_gaps WHERE object = :object AND hs_id = :id AND property <> '{WHOLE}' ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! { ":object": object.as_str(), ":id": id.0 },
        from_row,
    )?;
    Ok(rows
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// A record was merged into another one, which has the history of its fields from now on.
pub(crate) fn rename_record(
    tx: &Transaction<'_>,
    object: &ObjectType,
    merged: HubspotId,
    survivor: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_gaps
         SET hs_id = :survivor
         WHERE object = :object AND hs_id = :merged AND property <> :whole",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":merged": merged.0,
        ":survivor": survivor.0,
        ":whole": WHOLE,
    })?;
    Ok(())
}

/// The row that a record's writes came from went over to another one.
pub(crate) fn move_row(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    from: LocalId,
    to: LocalId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_gaps SET local_id = :to WHERE object = :object AND hs_id = :id AND local_id = :from",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": id.0,
        ":from": from.0,
        ":to": to.0,
    })?;
    Ok(())
}

/// Whether anything is kept of an object's writes.
pub(crate) fn is_any(connection: &Connection, object: &ObjectType) -> Result<bool, StoreError> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM _sync_gaps WHERE object = :object LIMIT 1")?
        .query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })
        .optional()?;
    Ok(found.is_some())
}

/// The history is to be asked for at a time, whatever webhooks say; a look that is due earlier stays so.
pub fn look_at(tx: &Transaction<'_>, id: i64, at: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_gaps SET look_at = min(coalesce(look_at, :at), :at), seen = 1 WHERE id = :id",
    )?
    .execute(named_params! { ":id": id, ":at": at.to_string() })?;
    Ok(())
}

/// A look is put off.
pub(crate) fn put_off(tx: &Transaction<'_>, id: i64, at: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_gaps SET look_at = :at WHERE id = :id")?
        .execute(named_params! { ":id": id, ":at": at.to_string() })?;
    Ok(())
}

/// Webhooks of the property arrive: an event tells, if there is anything to tell.
pub(crate) fn leave_to_events(tx: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE _sync_gaps SET look_at = NULL WHERE id = :id")?
        .execute(named_params! { ":id": id })?;
    Ok(())
}

/// Forgets a field: its history has told.
pub fn end(tx: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_gaps WHERE id = :id")?
        .execute(named_params! { ":id": id })?;
    Ok(())
}

/// Forgets what was noted before `before`, or by a clock that was ahead, and whose history is not asked for any more;
/// and what was noted before `long_before` whatever waits.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    before: Timestamp,
    long_before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM _sync_gaps
         WHERE id IN (
             SELECT id
             FROM _sync_gaps
             WHERE (noted_at < :before AND (look_at IS NULL OR noted_at < :long_before))
                OR (noted_at > :now AND look_at IS NULL)
             LIMIT :limit
         )",
    )?
    .execute(named_params! {
        ":before": before.to_string(),
        ":long_before": long_before.to_string(),
        ":now": now.to_string(),
        ":limit": FORGOTTEN_AT_ONCE,
    })?;
    Ok(())
}
