//! `sync_holds` and what the guard counts: fetches and saves, decides nothing.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::id::HoldId;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::outbox::GuardedEntries;

/// Where a held change would land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Records in HubSpot.
    Hubspot,
    /// Rows in the mirror.
    Local,
}

impl Side {
    /// The text in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hubspot => "hubspot",
            Self::Local => "local",
        }
    }
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldOperation {
    /// Archives in HubSpot.
    Archive,
    /// Removals here.
    Remove,
    /// Pushed updates.
    Update,
    /// Values of a column that become empty.
    Clear,
    /// Disassociations in HubSpot; the object is the pair's name.
    Disassociate,
}

impl HeldOperation {
    /// The text in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Remove => "remove",
            Self::Update => "update",
            Self::Clear => "clear",
            Self::Disassociate => "disassociate",
        }
    }

    /// The stable code of a hold of it.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Archive => "archives-held",
            Self::Remove => "removals-held",
            Self::Update => "updates-held",
            Self::Clear => "clears-held",
            Self::Disassociate => "disassociations-held",
        }
    }
}

/// What a hold is about.
#[derive(Debug, Clone, Copy)]
pub struct HoldKey<'a> {
    /// The object.
    pub object: &'a ObjectType,
    /// Where the change would land.
    pub side: Side,
    /// What it would do.
    pub operation: HeldOperation,
    /// Of a column that is emptied: its property.
    pub property: Option<&'a PropertyName>,
}

/// How many records went within the window. Its times are HubSpot's: a step of this machine's clock neither empties the
/// window nor fills it.
pub fn counted(
    connection: &Connection,
    key: HoldKey<'_>,
    since: Timestamp,
) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(records), 0)
             FROM _sync_guard_log
             WHERE object = :object AND side = :side AND operation = :operation AND property IS :property AND at >= :since",
        )?
        .query_row(
            named_params! {
                ":object": key.object.as_str(),
                ":side": key.side.as_str(),
                ":operation": key.operation.as_str(),
        ":property": key.property.map(PropertyName::as_str),
                ":since": since.to_string(),
            },
            |row| row.get(0),
        )?;
    // What was taken back may have been noted before the window began.
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Notes that records go, at HubSpot's time.
pub fn count(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    records: u64,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_guard_log (object, side, operation, at, records, property)
         VALUES (:object, :side, :operation, :at, :records, :property)",
    )?
    .execute(named_params! {
        ":object": key.object.as_str(),
        ":side": key.side.as_str(),
        ":operation": key.operation.as_str(),
        ":property": key.property.map(PropertyName::as_str),
        ":at": at.to_string(),
        ":records": records as i64,
    })?;
    Ok(())
}

/// Takes back what [`count`] noted of records that did not go after all.
pub(crate) fn uncount(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    records: u64,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_guard_log (object, side, operation, at, records, property)
         VALUES (:object, :side, :operation, :at, -:records, :property)",
    )?
    .execute(named_params! {
        ":object": key.object.as_str(),
        ":side": key.side.as_str(),
        ":operation": key.operation.as_str(),
        ":property": key.property.map(PropertyName::as_str),
        ":at": at.to_string(),
        ":records": records as i64,
    })?;
    Ok(())
}

/// Forgets counts older than `before`.
pub(crate) fn forget_counts(tx: &Transaction<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM _sync_guard_log WHERE at < :before",
        named_params! { ":before": before.to_string() },
    )?;
    Ok(())
}

/// The open hold, made where there is none, with its numbers brought up to date.
pub fn hold(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    records: u64,
    allowed: u64,
    now: Timestamp,
) -> Result<HoldId, StoreError> {
    let open = open(tx, key)?;
    if let Some(id) = open {
        tx.prepare_cached(
            "UPDATE sync_holds SET records = :records, allowed = :allowed WHERE id = :id",
        )?
        .execute(
            named_params! { ":id": id.0, ":records": records as i64, ":allowed": allowed as i64 },
        )?;
        return Ok(id);
    }
    tx.prepare_cached(
        "INSERT INTO sync_holds (object, side, operation, records, allowed, held_at, code, property)
         VALUES (:object, :side, :operation, :records, :allowed, :now, :code, :property)",
    )?
    .execute(named_params! {
        ":object": key.object.as_str(),
        ":side": key.side.as_str(),
        ":operation": key.operation.as_str(),
        ":code": key.operation.code(),
        ":property": key.property.map(PropertyName::as_str),
        ":records": records as i64,
        ":allowed": allowed as i64,
        ":now": now.to_string(),
    })?;
    Ok(HoldId(tx.last_insert_rowid()))
}

/// The hold of which nobody has said anything, and that is not settled.
pub fn open(connection: &Connection, key: HoldKey<'_>) -> Result<Option<HoldId>, StoreError> {
    let id: Option<i64> = connection
        .prepare_cached(
            "SELECT id
             FROM sync_holds
             WHERE object = :object AND side = :side AND operation = :operation AND property IS :property
               AND approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL",
        )?
        .query_row(
            named_params! {
                ":object": key.object.as_str(),
                ":side": key.side.as_str(),
                ":operation": key.operation.as_str(),
        ":property": key.property.map(PropertyName::as_str),
            },
            |row| row.get(0),
        )
        .optional()?;
    Ok(id.map(HoldId))
}

/// What a person said of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldWord {
    /// What it holds is let go.
    Approved,
    /// What it holds is taken back.
    Discarded,
}

/// A hold of which a person has said something that has not been carried out yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Its row.
    pub id: HoldId,
    /// The object.
    pub object: String,
    /// What is held.
    pub operation: String,
    /// Whether it is about rows here; otherwise about records in HubSpot.
    pub local: bool,
    /// What was said.
    pub word: HoldWord,
}

/// Holds that were approved or discarded, and are not settled.
pub fn decided(connection: &Connection) -> Result<Vec<Decided>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, object, operation, side = 'local', discarded_at IS NOT NULL
         FROM sync_holds
         WHERE (approved_at IS NOT NULL OR discarded_at IS NOT NULL) AND settled_at IS NULL
         ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Decided {
            id: HoldId(row.get(0)?),
            object: row.get(1)?,
            operation: row.get(2)?,
            local: row.get(3)?,
            word: match row.get(4)? {
                true => HoldWord::Discarded,
                false => HoldWord::Approved,
            },
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A hold has been carried out, or nothing is held by it any more. One that a person deleted goes.
pub fn settle(tx: &Transaction<'_>, id: HoldId, now: Timestamp) -> Result<(), StoreError> {
    let gone = tx
        .prepare_cached("DELETE FROM sync_holds WHERE id = :id AND discarded_at IS NOT NULL")?
        .execute(named_params! { ":id": id.0 })?;
    if gone > 0 {
        return Ok(());
    }
    tx.prepare_cached("UPDATE sync_holds SET settled_at = :now WHERE id = :id")?
        .execute(named_params! { ":id": id.0, ":now": now.to_string() })?;
    Ok(())
}

/// Counts anew what the open hold on entries holds: some were discarded, or their rows are back. One that holds nothing
/// any more is settled.
pub(crate) fn recount_entries(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    entries: GuardedEntries<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (_, held) = entries.due_and_held(tx, now)?;
    recount(tx, key, held, now)
}

/// Tells an open hold how much it holds by now. One that holds nothing any more is settled.
pub(crate) fn recount(
    tx: &Transaction<'_>,
    key: HoldKey<'_>,
    held: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(open) = open(tx, key)? else {
        return Ok(());
    };
    if held == 0 {
        return settle(tx, open, now);
    }
    tx.prepare_cached(
        "UPDATE sync_holds SET records = :records WHERE id = :id AND records <> :records",
    )?
    .execute(named_params! { ":id": open.0, ":records": held as i64 })?;
    Ok(())
}
