//! `sync_outbox_fields`: what an entry carries, and what both sides last agreed on.

use rusqlite::{Connection, Transaction, named_params};

use crate::model::entry::{Base, EntryField};
use crate::model::id::OutboxId;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};
use crate::store::database::text;
use crate::store::outbox::time_of;
use crate::store::shape::options;
use crate::store::{StoreError, rowjson};

/// The canonical value of what a column held, as text; what can't be of its type stays as it is.
fn spelled(kind: Option<PropertyType>, held: Option<String>) -> Value {
    let canonical = kind.and_then(|kind| kind.canonical(held.as_deref()).ok());
    canonical.unwrap_or_else(|| Value::from_stored(held))
}

/// A row as canonical text; triggers write what its columns held.
pub(super) fn spelled_row(
    connection: &Connection,
    id: OutboxId,
    row: &str,
) -> Result<String, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT s.property, s.type
         FROM sync_outbox AS e
         JOIN sync_fields AS s ON s.object = e.object
         WHERE e.id = :id",
    )?;
    let types = statement
        .query_map(named_params! { ":id": id.0 }, |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<(String, String)>, _>>()?;
    let types = types
        .into_iter()
        .filter_map(|(property, name)| Some((property, PropertyType::parse(&name)?)))
        .collect();
    Ok(rowjson::spelled(row, &types))
}

/// The fields of an entry, by property name. Their bases are canonical; triggers write what the columns held.
pub fn fields(connection: &Connection, id: OutboxId) -> Result<Vec<EntryField>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT f.property, f.base_value, f.changed_at, f.base_known, f.sent_value, f.sent_value IS NOT NULL, s.type
         FROM sync_outbox_fields AS f
         JOIN sync_outbox AS e ON e.id = f.outbox_id
         LEFT JOIN sync_fields AS s ON s.object = e.object AND s.property = f.property
         WHERE f.outbox_id = :id
         ORDER BY f.property",
    )?;
    let mut rows = statement.query(named_params! { ":id": id.0 })?;
    let mut fields = Vec::new();
    while let Some(row) = rows.next()? {
        let property: String = row.get(0)?;
        let changed_at: String = row.get(2)?;
        let kind: Option<String> = row.get(6)?;
        let kind = kind.as_deref().and_then(PropertyType::parse);
        let base = spelled(kind, text::of(row, 1)?);
        fields.push(EntryField {
            property: PropertyName::parse(&property)
                .map_err(|error| StoreError::UnknownValue(error.to_string()))?,
            base: if row.get(3)? {
                Base::Known(base)
            } else {
                Base::Unknown
            },
            changed_at: time_of(&changed_at)?,
            sent: if row.get(5)? {
                Some(Value::from_stored(text::of(row, 4)?))
            } else {
                None
            },
        });
    }
    Ok(fields)
}

/// Saves a field: made where it is missing, given this base where it is there. The write's time stays.
pub(crate) fn put_field(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    base: &Base,
    changed_at: Timestamp,
) -> Result<(), StoreError> {
    let (value, known) = match base {
        Base::Known(value) => (value.as_deref(), true),
        Base::Unknown => (None, false),
    };
    tx.prepare_cached(
        "INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at, base_known)
         VALUES (:id, :property, :base, :changed_at, :known)
         ON CONFLICT (outbox_id, property) DO UPDATE
         SET base_value = excluded.base_value, base_known = excluded.base_known, sent_value = NULL",
    )?
    .execute(named_params! {
        ":id": id.0,
        ":property": property.as_str(),
        ":base": value,
        ":changed_at": changed_at.to_string(),
        ":known": known,
    })?;
    Ok(())
}

/// Gives a field that was written in flight the base that the answer brought.
pub(crate) fn set_base(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    base: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox_fields
         SET base_value = :base, base_known = 1, sent_value = NULL
         WHERE outbox_id = :id AND property = :property",
    )?
    .execute(
        named_params! { ":id": id.0, ":property": property.as_str(), ":base": base.as_deref() },
    )?;
    Ok(())
}

/// Notes the value that an attempt carries for a field. Empty text stands for a cleared value.
pub fn set_sent(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
    sent: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_outbox_fields
         SET sent_value = :sent
         WHERE outbox_id = :id AND property = :property",
    )?
    .execute(
        named_params! { ":id": id.0, ":property": property.as_str(), ":sent": sent.to_wire() },
    )?;
    Ok(())
}

/// Forgets what attempts carried, after a definite refusal.
pub(crate) fn clear_sent(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_outbox_fields SET sent_value = NULL WHERE outbox_id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// Drops a field's pending change.
pub(crate) fn drop_field(
    tx: &Transaction<'_>,
    id: OutboxId,
    property: &PropertyName,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM sync_outbox_fields WHERE outbox_id = :id AND property = :property",
    )?
    .execute(named_params! { ":id": id.0, ":property": property.as_str() })?;
    Ok(())
}

/// Drops all fields of an entry.
pub(crate) fn drop_fields(tx: &Transaction<'_>, id: OutboxId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM sync_outbox_fields WHERE outbox_id = :id")?
        .execute(named_params! { ":id": id.0 })?;
    Ok(())
}

/// Whether the field `s` of `sync_fields` can be written. One that is degraded for what rows hold is synced on.
pub(crate) fn writable() -> String {
    let lost = options::lost_codes();
    format!(
        "s.direction <> 'pull'
         AND (s.state IN ('active', 'filling')
              OR (s.state = 'degraded'
                  AND (s.code IN ({lost})
                       OR EXISTS (SELECT 1 FROM sync_unreadable AS u
                                  WHERE u.object = s.object AND u.property = s.property))))"
    )
}

/// Whether a field of an entry can be written, as `sync_fields` says: a step that began before it could does not know. Those
/// whose value HubSpot does not have any more (`gone`) can't.
pub(crate) fn is_writable(
    connection: &Connection,
    object: &ObjectType,
    id: OutboxId,
    gone: &[PropertyName],
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT f.property
         FROM sync_outbox_fields AS f
         JOIN sync_fields AS s ON s.object = :object AND s.property = f.property
         WHERE f.outbox_id = :id AND {}",
        writable()
    ))?;
    let mut rows = statement.query(named_params! { ":object": object.as_str(), ":id": id.0 })?;
    while let Some(row) = rows.next()? {
        let property: String = row.get(0)?;
        if gone.iter().all(|gone| gone.as_str() != property) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::outgoing::plan::{Order, Pick};
    use crate::model::entry::{Entry, Operation};
    use crate::store::outbox::due;
    use crate::store::testing::{at_once, folder, now, open};
    use crate::store::{Lane, Mode};

    #[test]
    fn an_entry_of_a_row_with_text_that_is_no_utf_8_keeps_no_other_one_from_being_read() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let read = store.write(Lane::Bulk, |tx| {
            tx.execute_batch(
                "INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, enqueued_at, next_attempt_at, row) VALUES
                     (1, 'contacts', 1, 101, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z', NULL),
                     (2, 'contacts', 2, 102, 'update', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z',
                      CAST(x'7b2261223a22ff222c2262223a22616461227d' AS TEXT));
                 INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at) VALUES
                     (1, 'firstname', CAST(x'fffe41' AS TEXT), '2026-11-24T03:00:00.000Z'),
                     (2, 'firstname', 'Ada', '2026-11-24T03:00:00.000Z')",
            )?;
            let pick = Pick {
                operation: Operation::Update,
                order: Order::OldestFirst,
            };
            due(tx, &ObjectType::parse("contacts").expect("a name"), pick, now(), 100)
        });
        let entries = at_once(read).expect("reads");
        let base = |queued: &Entry| match &queued.fields[0].base {
            Base::Known(value) => value.to_wire().to_owned(),
            Base::Unknown => "?".to_owned(),
        };
        assert_eq!(
            entries.iter().map(base).collect::<Vec<_>>(),
            ["x'fffe41'", "Ada"]
        );
        assert_eq!(
            entries[1].row.as_deref(),
            Some(r#"{"a":"x'ff'","b":"ada"}"#)
        );
    }
}
