//! What an object has in the bookkeeping tables at all: a page for an object without pending work skips the look-ups.

use rusqlite::{Connection, OptionalExtension};

use crate::model::name::ObjectType;
use crate::store::StoreError;
use crate::store::mirror::MirrorTable;

/// Which kinds of rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "ten independent questions, asked together"
)]
pub struct Lookups {
    /// Outbox entries of the object.
    pub entries: bool,
    /// Open conflicts of the object.
    pub conflicts: bool,
    /// Values that lost requests carried.
    pub sent: bool,
    /// Records that left the mirror lately.
    pub tombstones: bool,
    /// Rows that wait to be removed.
    pub removals: bool,
    /// Rows without a record.
    pub unlinked: bool,
    /// Values of HubSpot's that can't be read.
    pub unreadable: bool,
    /// Rows that say that their record is archived.
    pub marked: bool,
    /// Records that the token does not see, or whose deletion was announced.
    pub absent: bool,
    /// Emptied values that the guard holds.
    pub held_clears: bool,
}

impl Lookups {
    /// Every look-up is to be made.
    pub(crate) const ALL: Self = Self {
        entries: true,
        conflicts: true,
        sent: true,
        tombstones: true,
        removals: true,
        unlinked: true,
        unreadable: true,
        marked: true,
        absent: true,
        held_clears: true,
    };

    /// Whether a record may belong to a row that does not have its id.
    pub(crate) fn may_adopt(self) -> bool {
        self.entries || self.unlinked
    }
}

/// Looks once, for a whole page.
pub fn look(
    connection: &Connection,
    object: &ObjectType,
    table: &MirrorTable,
) -> Result<Lookups, StoreError> {
    let any = |sql: &str| -> Result<bool, StoreError> {
        let found: Option<i64> = connection
            .prepare_cached(sql)?
            .query_row([object.as_str()], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    };
    Ok(Lookups {
        entries: any("SELECT 1 FROM sync_outbox WHERE object = ?1 LIMIT 1")?,
        conflicts: any(
            "SELECT 1 FROM sync_conflicts WHERE object = ?1 AND resolved_at IS NULL LIMIT 1",
        )?,
        sent: any("SELECT 1 FROM _sync_sent WHERE object = ?1 LIMIT 1")?,
        tombstones: any("SELECT 1 FROM _sync_tombstones WHERE object = ?1 LIMIT 1")?,
        removals: any("SELECT 1 FROM _sync_removals WHERE object = ?1 LIMIT 1")?,
        unlinked: table.has_unlinked(connection)?,
        unreadable: any("SELECT 1 FROM sync_unreadable WHERE object = ?1 LIMIT 1")?,
        marked: table.has_marked(connection)?,
        absent: any("SELECT 1 FROM _sync_absent WHERE object = ?1 LIMIT 1")?,
        held_clears: any("SELECT 1 FROM _sync_held_clears WHERE object = ?1 LIMIT 1")?,
    })
}
