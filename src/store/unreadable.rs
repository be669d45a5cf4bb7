//! `sync_unreadable`: values of HubSpot's that their column's type can't hold. The column keeps what it had; the field's row
//! in `sync_fields` says so while there is one, and the field is synced on.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::decide::schema::FieldProblem;
use crate::model::id::HubspotId;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::shape::ddl::literal;
use crate::store::shape::views;

const HINT: &str = "correct the values in HubSpot, or write another `type` for the property: SELECT * FROM sync_unreadable shows them";

/// What is wrong with a field whose column can't hold all values of HubSpot's.
pub(super) const VALUE_UNREADABLE: &str = "unreadable-value";

/// Brings what is noted of a record up to date: its values that can't be read, and those that can be read again.
pub fn note(
    tx: &Transaction<'_>,
    object: &ObjectType,
    record: &RemoteRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    // A field that is left out of requests has no values, not even from an answer that was on its way.
    let mut insert = tx.prepare_cached(
        "INSERT INTO sync_unreadable (object, property, hs_id, value, seen_at)
         SELECT :object, :property, :id, :value, :now
         WHERE EXISTS (SELECT 1 FROM sync_fields
                       WHERE object = :object AND property = :property
                         AND (state IN ('active', 'filling')
                              OR (state = 'degraded'
                                  AND EXISTS (SELECT 1 FROM sync_unreadable WHERE object = :object AND property = :property))))
         ON CONFLICT (object, property, hs_id) DO UPDATE
         SET value = excluded.value, seen_at = excluded.seen_at
         WHERE value IS NOT excluded.value",
    )?;
    for (property, value) in &record.invalid {
        let noted = insert.execute(named_params! {
            ":object": object.as_str(),
            ":property": property.as_str(),
            ":id": record.id.0,
            ":value": value.as_deref(),
            ":now": now.to_string(),
        })?;
        if noted > 0 {
            tell(tx, object.as_str(), property.as_str(), now)?;
        }
    }
    let is_readable = |property: &str| {
        let mut readable = record.values.iter();
        property == RECORD || readable.any(|(name, _)| name.as_str() == property)
    };
    forget_where(tx, object, record.id, is_readable, now)
}

/// What stands for a whole record.
const RECORD: &str = "*";

/// Notes a record that HubSpot shows and of which nothing but the id can be read.
pub(crate) fn note_record(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_unreadable (object, property, hs_id, seen_at)
         VALUES (:object, :record, :id, :now)
         ON CONFLICT (object, property, hs_id) DO NOTHING",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":record": RECORD,
        ":id": id.0,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// What of an object's answers can't be read and no field's problem tells of, in a sentence.
pub(crate) fn odd_answers(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Option<String>, StoreError> {
    let sql = format!("SELECT {}", views::odd_answers(&literal(object.as_str())));
    Ok(connection.query_row(&sql, [], |row| row.get(0))?)
}

/// The fields of an object whose columns can't hold all values of HubSpot's, as `sync_fields` says.
pub(crate) fn problems(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<FieldProblem>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT property, problem
         FROM sync_fields
         WHERE object = :object AND code = :code AND state <> 'unmapped'
         ORDER BY property",
    )?;
    let mut rows =
        statement.query(named_params! { ":object": object.as_str(), ":code": VALUE_UNREADABLE })?;
    let mut problems = Vec::new();
    while let Some(row) = rows.next()? {
        let property: String = row.get(0)?;
        problems.push(FieldProblem {
            object: object.clone(),
            property: PropertyName::parse(&property)
                .map_err(|error| StoreError::UnknownValue(error.to_string()))?,
            code: VALUE_UNREADABLE,
            problem: row.get(1)?,
            hint: HINT.to_owned(),
        });
    }
    Ok(problems)
}

/// Forgets that a record could not be read: HubSpot shows it no more.
pub(crate) fn forget_whole(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM sync_unreadable WHERE object = :object AND property = :record AND hs_id = :id",
    )?
    .execute(named_params! { ":object": object.as_str(), ":record": RECORD, ":id": id.0 })?;
    Ok(())
}

/// Forgets a record that is here no more.
pub(crate) fn forget_record(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    now: Timestamp,
) -> Result<(), StoreError> {
    forget_where(tx, object, id, |_| true, now)
}

fn forget_where(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
    is_done: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let noted = tx
        .prepare_cached(
            "SELECT property FROM sync_unreadable WHERE object = :object AND hs_id = :id ORDER BY property",
        )?
        .query_map(named_params! { ":object": object.as_str(), ":id": id.0 }, |row| {
            row.get::<_, String>(0)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for property in noted.iter().filter(|property| is_done(property)) {
        tx.prepare_cached(
            "DELETE FROM sync_unreadable WHERE object = :object AND property = :property AND hs_id = :id",
        )?
        .execute(named_params! { ":object": object.as_str(), ":property": property, ":id": id.0 })?;
        tell(tx, object.as_str(), property, now)?;
    }
    Ok(())
}

/// Forgets all values of a property: its column is made or filled anew, or it is left out of requests.
pub(super) fn forget_property(
    tx: &Transaction<'_>,
    object: &str,
    property: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM sync_unreadable WHERE object = :object AND property = :property",
    )?
    .execute(named_params! { ":object": object, ":property": property })?;
    Ok(())
}

/// Whether some record's value of a property can't be read.
pub(super) fn has_any(
    connection: &Connection,
    object: &str,
    property: &str,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM sync_unreadable WHERE object = :object AND property = :property LIMIT 1",
        )?
        .exists(named_params! { ":object": object, ":property": property })?)
}

/// Says in `sync_fields` what is noted of a property.
fn tell(
    tx: &Transaction<'_>,
    object: &str,
    property: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let first: Option<(i64, bool)> = tx
        .prepare_cached(
            "SELECT hs_id,
                    EXISTS (SELECT 1 FROM sync_unreadable AS o
                            WHERE o.object = u.object AND o.property = u.property AND o.hs_id > u.hs_id)
             FROM sync_unreadable AS u
             WHERE object = :object AND property = :property
             ORDER BY hs_id
             LIMIT 1",
        )?
        .query_row(
            named_params! { ":object": object, ":property": property },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let problem = first.map(|(id, more)| {
        match more {
            true => format!("HubSpot record {id} and others hold values that are not of the column's type: their rows keep what they had"),
            false => format!("HubSpot record {id} holds a value that is not of the column's type: its row keeps what it had"),
        }
    });
    tx.prepare_cached(
        "UPDATE sync_fields
         SET since = CASE WHEN state = 'filling' OR (state = 'degraded') = (:problem IS NOT NULL) THEN since ELSE :now END,
             state = CASE WHEN state = 'filling' THEN state WHEN :problem IS NULL THEN 'active' ELSE 'degraded' END,
             problem = :problem,
             hint = CASE WHEN :problem IS NOT NULL THEN :hint END,
             code = CASE WHEN :problem IS NOT NULL THEN :code END
         WHERE object = :object
           AND property = :property
           AND state <> 'unmapped'
           AND (problem IS NOT :problem OR state <> CASE WHEN :problem IS NULL THEN 'active' ELSE 'degraded' END)",
    )?
    .execute(named_params! {
        ":object": object,
        ":property": property,
        ":problem": problem,
        ":hint": HINT,
        ":code": VALUE_UNREADABLE,
        ":now": now.to_string(),
    })?;
    Ok(())
}
