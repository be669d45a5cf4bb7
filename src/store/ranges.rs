//! `_sync_ranges`: the ranges of ids in which an object's list is being walked. A range moves only in the transaction that
//! applies its page.

use rusqlite::{Connection, Transaction, named_params};

use crate::decide::incoming::ranges::IdRange;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::store::StoreError;

/// What walks an object's list in ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListWalk {
    /// The first full read.
    Backfill,
    /// The full comparison.
    Reconcile,
}

impl ListWalk {
    fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Reconcile => "reconcile",
        }
    }
}

/// The ranges of a walk that are not read to their end, by rising ids; none where no walk was begun.
pub fn of(
    connection: &Connection,
    object: &ObjectType,
    walk: ListWalk,
) -> Result<Vec<IdRange>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT start_id, after, last_id, until_id
         FROM _sync_ranges
         WHERE object = :object AND walk = :walk
         ORDER BY start_id",
    )?;
    let named = named_params! { ":object": object.as_str(), ":walk": walk.as_str() };
    let rows = statement.query_map(named, |row| {
        Ok(IdRange {
            start: HubspotId(row.get(0)?),
            after: row.get(1)?,
            last: HubspotId(row.get(2)?),
            until: row.get::<_, Option<i64>>(3)?.map(HubspotId),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets the ranges of a walk that has ended.
pub(super) fn clear(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM _sync_ranges WHERE object = :object AND walk = :walk")?
        .execute(named_params! { ":object": object.as_str(), ":walk": walk.as_str() })?;
    Ok(())
}

/// Begins a walk with the whole list, also where one is under way.
pub fn begin(tx: &Transaction<'_>, object: &ObjectType, walk: ListWalk) -> Result<(), StoreError> {
    clear(tx, object, walk)?;
    insert(tx, object, walk, &IdRange::whole())
}

fn insert(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
    range: &IdRange,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_ranges (object, walk, start_id, after, last_id, until_id)
         VALUES (:object, :walk, :start, :after, :last, :until)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":walk": walk.as_str(),
        ":start": range.start.0,
        ":after": range.after,
        ":last": range.last.0,
        ":until": range.until.map(|id| id.0),
    })?;
    Ok(())
}

/// Moves a range to its next page. Tells whether it stood where it was said to stand; else the walk was begun anew meanwhile, and
/// nothing moves.
pub fn advance(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
    range: &IdRange,
    (after, last): (&str, HubspotId),
) -> Result<bool, StoreError> {
    let moved = tx
        .prepare_cached(
            "UPDATE _sync_ranges
             SET after = :after, last_id = :last
             WHERE object = :object AND walk = :walk AND start_id = :start AND after IS :former",
        )?
        .execute(named_params! {
            ":object": object.as_str(),
            ":walk": walk.as_str(),
            ":start": range.start.0,
            ":former": range.after,
            ":after": after,
            ":last": last.0,
        })?;
    Ok(moved > 0)
}

/// Forgets a range that was read to its end. Tells whether it stood where it was said to stand.
pub(crate) fn finish(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
    range: &IdRange,
) -> Result<bool, StoreError> {
    let ended = tx
        .prepare_cached(
            "DELETE FROM _sync_ranges
             WHERE object = :object AND walk = :walk AND start_id = :start AND after IS :former",
        )?
        .execute(named_params! {
            ":object": object.as_str(),
            ":walk": walk.as_str(),
            ":start": range.start.0,
            ":former": range.after,
        })?;
    Ok(ended > 0)
}

/// Puts a range back to where it stood before its page, of which all is done with up to an id.
pub(crate) fn stop_at(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
    range: &IdRange,
    last: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO _sync_ranges (object, walk, start_id, after, last_id, until_id)
         VALUES (:object, :walk, :start, :after, :last, :until)
         ON CONFLICT (object, walk, start_id) DO UPDATE
         SET after = excluded.after, last_id = excluded.last_id",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":walk": walk.as_str(),
        ":start": range.start.0,
        ":after": range.after,
        ":last": last.0,
        ":until": range.until.map(|id| id.0),
    })?;
    Ok(())
}

/// Parts a range at an id, where it still ends at `range`'s end; what lies behind becomes a range of its own. Tells whether it does.
pub(crate) fn split(
    tx: &Transaction<'_>,
    object: &ObjectType,
    walk: ListWalk,
    range: &IdRange,
    at: HubspotId,
) -> Result<bool, StoreError> {
    let shortened = tx
        .prepare_cached(
            "UPDATE _sync_ranges
             SET until_id = :at
             WHERE object = :object AND walk = :walk AND start_id = :start AND until_id IS :until AND last_id < :at",
        )?
        .execute(named_params! {
            ":object": object.as_str(),
            ":walk": walk.as_str(),
            ":start": range.start.0,
            ":until": range.until.map(|id| id.0),
            ":at": at.0,
        })?;
    if shortened == 0 {
        return Ok(false);
    }
    insert(tx, object, walk, &IdRange::behind(at, range.until))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{daemons_connection, folder, open};

    fn contacts() -> ObjectType {
        ObjectType::parse("contacts").expect("a name")
    }

    #[test]
    fn a_range_moves_from_where_it_stands_alone() {
        let folder = folder();
        drop(open(&folder, Mode::Inline).expect("a file"));
        let mut connection = daemons_connection(&folder);
        let (object, walk) = (contacts(), ListWalk::Backfill);
        let tx = connection.transaction().expect("begins");
        begin(&tx, &object, walk).expect("a walk");
        let whole = IdRange::whole();
        let to = |id: i64| HubspotId(id);
        assert!(advance(&tx, &object, walk, &whole, ("101", to(100))).expect("moves"));
        assert!(
            !advance(&tx, &object, walk, &whole, ("201", to(200))).expect("runs"),
            "it stands behind its first page"
        );
        let stands = of(&tx, &object, walk).expect("reads").remove(0);
        assert_eq!(
            (stands.after.as_deref(), stands.last),
            (Some("101"), to(100))
        );
        assert!(split(&tx, &object, walk, &stands, to(500)).expect("parts"));
        assert!(
            !split(&tx, &object, walk, &stands, to(400)).expect("runs"),
            "it ends elsewhere by now"
        );
        let ranges = of(&tx, &object, walk).expect("reads");
        let ends: Vec<_> = ranges
            .iter()
            .map(|range| (range.start.0, range.until))
            .collect();
        assert_eq!(ends, [(0, Some(to(500))), (500, None)]);
        assert!(finish(&tx, &object, walk, &ranges[1]).expect("ends"));
        begin(&tx, &object, walk).expect("anew");
        assert!(!finish(&tx, &object, walk, &ranges[0]).expect("runs"));
        assert_eq!(of(&tx, &object, walk).expect("reads"), [whole]);
        assert_eq!(of(&tx, &object, ListWalk::Reconcile).expect("reads"), []);
    }
}
