//! Which entries of a pair go next: the oldest, or the youngest where they overtake nothing; and what is read before they do.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::decide::outgoing::associate::{
    NamedType, Overtakes, needs_reread, needs_reread_of_other_row,
};
use crate::decide::outgoing::plan::Order;
use crate::decide::portal::link_types::KnownType;
use crate::model::association::PairMapping;
use crate::model::entry::Operation;
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::time::Timestamp;
use crate::store::outbox::links::{IS_DECIDED, OPERATIONS, end_of, is_reread_at_other_end};
use crate::store::outbox::{MAY_BE_SENT, time_of, unknown};
use crate::store::{StoreError, conflicts};

/// The entries of a pair that may be sent, in an order.
pub(crate) fn due(
    connection: &Connection,
    pair: &PairMapping,
    order: Order,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<OutboxId>, StoreError> {
    let by_age = match order {
        Order::OldestFirst => "ORDER BY next_attempt_at, id",
        Order::NewestFirst => "ORDER BY next_attempt_at DESC, id DESC",
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT next_attempt_at, id
         FROM sync_outbox
         WHERE object = :from AND to_object = :to AND operation = :operation
           AND {MAY_BE_SENT} AND next_attempt_at <= :now
           AND {IS_DECIDED}
         {by_age}
         LIMIT :limit"
    ))?;
    let mut found: Vec<(String, i64)> = Vec::new();
    for operation in OPERATIONS {
        let rows = statement.query_map(
            named_params! {
                ":from": pair.from.as_str(),
                ":to": pair.to.as_str(),
                ":operation": operation.as_str(),
                ":now": now.to_string(),
                ":limit": limit as i64,
            },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    // Each operation gave its first ones: the first of both are among them.
    found.sort_unstable();
    if order == Order::NewestFirst {
        found.reverse();
    }
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, id)| OutboxId(id)).collect())
}

/// The youngest entries of a pair that may be sent and overtake no older one of the same records that is due, oldest first: of two
/// writes of one association, or of two that exclude each other, the last is to have the last word.
pub(crate) fn youngest(
    connection: &Connection,
    pair: &PairMapping,
    types: &[KnownType],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<OutboxId>, StoreError> {
    let mut found = due(connection, pair, Order::NewestFirst, now, limit)?;
    found.reverse();
    let mut free = Vec::new();
    for id in found {
        let Some((ends, overtakes)) = ends_and_rivals(connection, types, id)? else {
            continue;
        };
        let older = Older {
            connection,
            pair,
            id,
            now,
        };
        let turned = (ends.1, ends.0);
        let Overtakes {
            none_of_from,
            none_of_to,
        } = overtakes;
        let mut waits = older.of_from(ends, none_of_from)? || older.of_to(ends, none_of_to)?;
        if pair.is_of_one_object() && !waits {
            waits = older.of_from(turned, none_of_to)? || older.of_to(turned, none_of_from)?;
        }
        if !waits {
            free.push(id);
        }
    }
    Ok(free)
}

/// Where an association starts, and where it leads.
type TwoRows = (LocalId, LocalId);

/// An entry's two rows, and what it may not overtake.
fn ends_and_rivals(
    connection: &Connection,
    types: &[KnownType],
    id: OutboxId,
) -> Result<Option<(TwoRows, Overtakes)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT local_id, to_local_id, category, type_id, label
         FROM sync_outbox
         WHERE id = :id",
    )?;
    let mut rows = statement.query(named_params! { ":id": id.0 })?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (category, label): (Option<String>, Option<String>) = (row.get(2)?, row.get(4)?);
    let named = NamedType {
        category: category.as_deref(),
        number: row.get(3)?,
        label: label.as_deref(),
    };
    let ends = (LocalId(row.get(0)?), LocalId(row.get(1)?));
    Ok(Some((ends, Overtakes::of(named, types))))
}

/// Entries of a pair that are due and older than one of them.
struct Older<'a> {
    connection: &'a Connection,
    pair: &'a PairMapping,
    id: OutboxId,
    now: Timestamp,
}

impl Older<'_> {
    /// Whether there is one of two rows, or any that starts at the first.
    fn of_from(&self, (from, to): TwoRows, of_any: bool) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .prepare_cached(&format!(
                "SELECT 1
                 FROM sync_outbox
                 WHERE object = :from AND local_id = :from_row AND operation IN ('associate', 'disassociate')
                   AND to_object = :to AND (:of_any OR to_local_id = :to_row)
                   AND id < :id AND {MAY_BE_SENT} AND next_attempt_at <= :now"
            ))?
            .exists(named_params! {
                ":from": self.pair.from.as_str(),
                ":from_row": from.0,
                ":to": self.pair.to.as_str(),
                ":to_row": to.0,
                ":of_any": of_any,
                ":id": self.id.0,
                ":now": self.now.to_string(),
            })?)
    }

    /// Whether there is one that leads to the second of two rows, where none of them may be overtaken.
    fn of_to(&self, (_, to): TwoRows, of_any: bool) -> Result<bool, StoreError> {
        if !of_any {
            return Ok(false);
        }
        Ok(self
            .connection
            .prepare_cached(&format!(
                "SELECT 1
                 FROM sync_outbox
                 WHERE to_object = :to AND to_local_id = :to_row AND to_local_id IS NOT NULL AND object = :from
                   AND id < :id AND {MAY_BE_SENT} AND next_attempt_at <= :now"
            ))?
            .exists(named_params! {
                ":from": self.pair.from.as_str(),
                ":to": self.pair.to.as_str(),
                ":to_row": to.0,
                ":id": self.id.0,
                ":now": self.now.to_string(),
            })?)
    }
}

/// Those of some entries that may still be sent, oldest first.
pub(crate) fn still_due(
    connection: &Connection,
    entries: &[OutboxId],
    now: Timestamp,
) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT next_attempt_at
         FROM sync_outbox
         WHERE id = :id
           AND {MAY_BE_SENT} AND next_attempt_at <= :now
           AND {IS_DECIDED}"
    ))?;
    let mut found: Vec<(String, OutboxId)> = Vec::new();
    for id in entries {
        let due = statement
            .query_row(
                named_params! { ":id": id.0, ":now": now.to_string() },
                |row| row.get(0),
            )
            .optional()?;
        found.extend(due.map(|due| (due, *id)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// Records whose associations are to be read before what is due of them goes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RereadEnds {
    /// Where the associations start.
    pub from: BTreeSet<HubspotId>,
    /// Where they lead.
    pub to: BTreeSet<HubspotId>,
}

impl RereadEnds {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.from.is_empty() && self.to.is_empty()
    }
}

/// Those of some entries of a pair, by its types.
pub(crate) fn to_be_read(
    connection: &Connection,
    pair: &PairMapping,
    types: &[KnownType],
    entries: &[OutboxId],
) -> Result<RereadEnds, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT local_id, category, type_id, label, to_local_id, operation
         FROM sync_outbox
         WHERE id = :id AND to_local_id IS NOT NULL",
    )?;
    let name = pair.name();
    let mut found = RereadEnds::default();
    for id in entries {
        let mut rows = statement.query(named_params! { ":id": id.0 })?;
        if let Some(row) = rows.next()? {
            let local_id = LocalId(row.get(0)?);
            let operation: String = row.get(5)?;
            let operation =
                Operation::parse(&operation).ok_or_else(|| unknown("operation", &operation))?;
            let (category, label): (Option<String>, Option<String>) = (row.get(1)?, row.get(3)?);
            let named = NamedType {
                category: category.as_deref(),
                number: row.get(2)?,
                label: label.as_deref(),
            };
            let is_open = |row| conflicts::is_open(connection, &name, row, conflicts::ASSOCIATION);
            if needs_reread(operation, named, types, is_open(local_id)?) {
                let end = end_of(connection, pair.from.as_str(), local_id)?;
                found.from.extend(end.hs_id);
            }
            let other = LocalId(row.get(4)?);
            if pair.is_of_one_object()
                && needs_reread_of_other_row(operation, named, types, is_open(other)?)
            {
                let end = end_of(connection, pair.to.as_str(), other)?;
                found.from.extend(end.hs_id);
            }
            if is_reread_at_other_end(connection, pair, types, (operation, named, other))? {
                let end = end_of(connection, pair.to.as_str(), other)?;
                found.to.extend(end.hs_id);
            }
        }
    }
    Ok(found)
}

/// When the next entry of a pair falls due; those that say `besides` are left out.
pub(crate) fn next_due(
    connection: &Connection,
    pair: &PairMapping,
    besides: Option<&str>,
) -> Result<Option<Timestamp>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT min(next_attempt_at)
         FROM sync_outbox
         WHERE object = :from AND to_object = :to AND operation = :operation AND {MAY_BE_SENT}
           AND {IS_DECIDED}
           AND (:besides IS NULL OR last_error IS NOT :besides)"
    ))?;
    let mut next: Option<Timestamp> = None;
    for operation in OPERATIONS {
        let text: Option<String> = statement.query_row(
            named_params! {
                ":from": pair.from.as_str(),
                ":to": pair.to.as_str(),
                ":operation": operation.as_str(),
                ":besides": besides,
            },
            |row| row.get(0),
        )?;
        let due = text.as_deref().map(time_of).transpose()?;
        next = [next, due].into_iter().flatten().min();
    }
    Ok(next)
}
