//! Who still has a unique value, by the outbox: records that are to give it up.

use rusqlite::{Connection, named_params};

use crate::decide::matching::MatchRule;
use crate::decide::outgoing::taken::Giver;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::store::StoreError;
use crate::store::outbox::time_of;

/// Records that HubSpot shows with a value of this form and that a change of ours, or an archive, takes it from.
pub(crate) fn givers(
    connection: &Connection,
    object: &ObjectType,
    property: &PropertyName,
    rule: MatchRule,
    form: &str,
) -> Result<Vec<Giver>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.local_id, e.hs_id, e.state = 'dead', iif(e.waits_for IS 'guard', NULL, e.next_attempt_at)
         FROM sync_outbox_fields AS f
         JOIN sync_outbox AS e ON e.id = f.outbox_id
         WHERE f.property = :property
           AND f.base_known = 1
           AND e.object = :object
           AND e.operation = 'update'
           AND e.hs_id IS NOT NULL
           AND hubsyncd_match_form(f.base_value, :rule) = :form
         UNION ALL
         SELECT e.local_id, e.hs_id, e.state = 'dead', iif(e.waits_for IS 'guard', NULL, e.next_attempt_at)
         FROM sync_outbox AS e
         WHERE e.object = :object
           AND e.operation = 'archive'
           AND e.hs_id IS NOT NULL
           AND json_valid(e.row)
           AND hubsyncd_match_form(json_extract(e.row, :path), :rule) = :form",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":object": object.as_str(),
            ":property": property.as_str(),
            ":path": format!("$.\"{property}\""),
            ":rule": rule.as_str(),
            ":form": form,
        },
        |row| {
            Ok((
                LocalId(row.get(0)?),
                HubspotId(row.get(1)?),
                row.get(2)?,
                row.get::<_, Option<String>>(3)?,
            ))
        },
    )?;
    rows.map(|row| {
        let (local_id, hs_id, is_dead, next) = row?;
        Ok(Giver {
            local_id,
            hs_id,
            is_dead,
            next: next.as_deref().map(time_of).transpose()?,
        })
    })
    .collect()
}
