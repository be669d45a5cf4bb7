//! `_sync_links_missed`: associations that HubSpot's answer missed, and of which the records were asked for since.

use rusqlite::{Row, Statement, named_params};

use crate::model::id::HubspotId;
use crate::model::name::TableName;
use crate::store::links::noted::NotedLink;

/// One of them: the record at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MissedLink(pub(crate) HubspotId);

impl NotedLink for MissedLink {
    const SELECT: &'static str = "SELECT to_hs_id
         FROM _sync_links_missed
         WHERE pair = :pair AND from_hs_id = :from";
    const DELETE: &'static str = "DELETE FROM _sync_links_missed
         WHERE pair = :pair AND from_hs_id = :from";
    const INSERT: &'static str = "INSERT INTO _sync_links_missed (pair, from_hs_id, to_hs_id)
         VALUES (:pair, :from, :to)";

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self(HubspotId(row.get(0)?)))
    }

    fn insert(
        &self,
        insert: &mut Statement<'_>,
        pair: &TableName,
        from: HubspotId,
    ) -> rusqlite::Result<usize> {
        insert.execute(named_params! { ":pair": pair.as_str(), ":from": from.0, ":to": self.0.0 })
    }
}
