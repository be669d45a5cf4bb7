//! What the guard holds: entries of one operation that wait for an operator's word, counted and moved in one statement each. Each
//! makes of an entry what `decide/entry` says; `store/shape/local_sql/entries` holds them to it.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::association::PairMapping;
use crate::model::id::{HoldId, OutboxId};
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::holds::{HeldOperation, HoldKey};

/// Whose entries the guard looks at, and of which operation: an object's archives or updates, or a pair's disassociations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuardedEntries<'a> {
    object: &'a str,
    /// The object that a pair's rows lead to.
    to_object: Option<&'a str>,
    operation: &'a str,
}

/// Which entries are theirs.
const THEIRS: &str =
    "object = :object AND to_object IS :to AND operation = :operation AND state = 'pending'";

/// Which of those wait for the guard's word.
const HELD: &str = "waits_for = 'guard'";

/// Which of those are due, so that they would wait for it.
const DUE: &str = "next_attempt_at <= :now";

/// Which of those no word covers yet.
const UNDECIDED: &str = "approved_hold IS NULL";

impl<'a> GuardedEntries<'a> {
    /// An object's own entries of an operation, as a hold names both.
    pub(crate) fn of(object: &'a str, operation: &'a str) -> Self {
        Self {
            object,
            to_object: None,
            operation,
        }
    }

    /// The same by the hold's key.
    pub(crate) fn of_key(key: HoldKey<'a>) -> Self {
        Self::of(key.object.as_str(), key.operation.as_str())
    }

    /// A pair's disassociations.
    pub(crate) fn of_pair(pair: &'a PairMapping) -> Self {
        Self {
            object: pair.from.as_str(),
            to_object: Some(pair.to.as_str()),
            operation: HeldOperation::Disassociate.as_str(),
        }
    }

    /// Records or pairs of records whose entries are due and that no approval covers, and those that wait for one already.
    pub(crate) fn due_and_held(
        self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        let open = format!(
            "FROM sync_outbox
             WHERE {THEIRS} AND ({DUE} OR {HELD}) AND {UNDECIDED} AND discarded_at IS NULL"
        );
        let held = match self.to_object {
            // A pair of records goes as a whole, with an entry for each of its types.
            Some(_) => format!(
                "SELECT max(({HELD}) IS TRUE) AS held {open} GROUP BY local_id, to_local_id"
            ),
            None => format!("SELECT ({HELD}) IS TRUE AS held {open}"),
        };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT coalesce(sum(NOT held), 0), coalesce(sum(held), 0)
             FROM ({held})"
        ))?;
        let (due, held): (i64, i64) = statement.query_row(
            named_params! {
                ":object": self.object,
                ":to": self.to_object,
                ":operation": self.operation,
                ":now": now.to_string(),
            },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok((due.unsigned_abs(), held.unsigned_abs()))
    }

    /// Makes all that are due wait for an operator's word.
    pub(crate) fn hold_due(self, tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
        tx.prepare_cached(&format!(
            "UPDATE sync_outbox
             SET waits_for = 'guard', next_attempt_at = NULL
             WHERE {THEIRS} AND {DUE} AND {UNDECIDED}"
        ))?
        .execute(named_params! {
            ":object": self.object,
            ":to": self.to_object,
            ":operation": self.operation,
            ":now": now.to_string(),
        })?;
        Ok(())
    }

    /// Lets those go that wait for it.
    pub(crate) fn release_held(
        self,
        tx: &Transaction<'_>,
        hold: HoldId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        tx.prepare_cached(&format!(
            "UPDATE sync_outbox
             SET waits_for = NULL, next_attempt_at = :now, approved_hold = :hold
             WHERE {THEIRS} AND {HELD}"
        ))?
        .execute(named_params! {
            ":object": self.object,
            ":to": self.to_object,
            ":operation": self.operation,
            ":hold": hold.0,
            ":now": now.to_string(),
        })?;
        Ok(())
    }

    /// Gives those up that wait for it.
    pub(crate) fn discard_held(
        self,
        tx: &Transaction<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        tx.prepare_cached(&format!(
            "UPDATE sync_outbox
             SET discarded_at = :now
             WHERE {THEIRS} AND {HELD} AND discarded_at IS NULL"
        ))?
        .execute(named_params! {
            ":object": self.object,
            ":to": self.to_object,
            ":operation": self.operation,
            ":now": now.to_string(),
        })?;
        Ok(())
    }
}

/// An approval covers an entry: the guard counts it no more.
pub(crate) fn cover(tx: &Transaction<'_>, id: OutboxId, hold: HoldId) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_outbox SET approved_hold = :hold WHERE id = :id")?
        .execute(named_params! { ":id": id.0, ":hold": hold.0 })?;
    Ok(())
}
