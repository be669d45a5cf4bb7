//! Mirror tables: reads and writes rows, decides nothing.
//!
//! Statement texts are made from the mapping once (`MirrorTable::new`) and cached by SQLite's own statement cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params_from_iter};

use crate::decide::matching::{Identity, MatchRule};
use crate::model::field_values::{FieldNames, FieldValues};
use crate::model::hex;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::PropertyName;
use crate::model::record::{LocalRecord, RemoteRecord};
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::model::value::{ColumnRef, ColumnValue, PropertyType, Value};
use crate::store::database::savepoint;
use crate::store::database::text;
use crate::store::fields::FieldRow;
use crate::store::links::rows;
use crate::store::outbox::OF_ROW;
use crate::store::rowjson::OwnValue;
use crate::store::shape::ddl::quoted;
use crate::store::shape::fit;
use crate::store::shape::matching;
use crate::store::shape::referrers;
use crate::store::{StoreError, rowjson};

/// The row's own columns in front of the mapped ones in every SELECT.
const OWN_COLUMNS: usize = 3;

/// An object's mirror table.
#[derive(Debug, Clone)]
pub struct MirrorTable {
    mapping: Arc<ObjectMapping>,
    names: Arc<FieldNames>,
    sql: Arc<Statements>,
}

#[derive(Debug)]
struct Statements {
    by_hs_id: String,
    by_local_id: String,
    identities: Vec<IdentityStatements>,
    insert: String,
    /// Puts a record into `_sync_histories` whose row is about to be told another time or id; where histories are kept.
    moved: Option<String>,
    update: String,
    delete: String,
    blank: String,
    linked_between: String,
    count: String,
    highest: String,
    newest: String,
    linked: String,
    unlinked: String,
    marked: String,
    is_marked: String,
    mark: String,
    gone_in_conflict: String,
    gone_unreadable: String,
}

/// Lookups by the value of one property that says which record a row is.
#[derive(Debug)]
struct IdentityStatements {
    property: PropertyName,
    unlinked: String,
    linked: String,
    creating: String,
}

impl MirrorTable {
    /// Prepares the statement texts of an object.
    pub fn new(mapping: Arc<ObjectMapping>) -> Self {
        let names = FieldNames::of(&mapping);
        Self::of(mapping, names)
    }

    /// The same with the names of the mapping's properties, which other values share.
    pub fn of(mapping: Arc<ObjectMapping>, names: Arc<FieldNames>) -> Self {
        let sql = Arc::new(Statements::of(&mapping));
        Self {
            mapping,
            names,
            sql,
        }
    }

    /// The object's mapping.
    pub fn mapping(&self) -> &Arc<ObjectMapping> {
        &self.mapping
    }

    /// The properties of the mapping, by whose places values are numbered.
    pub fn names(&self) -> &Arc<FieldNames> {
        &self.names
    }

    /// The row of a record.
    pub(crate) fn by_hs_id(
        &self,
        connection: &Connection,
        id: HubspotId,
    ) -> Result<Option<MirrorRow>, StoreError> {
        self.one(connection, &self.sql.by_hs_id, id.0)
    }

    /// A row by its own id.
    pub fn by_local_id(
        &self,
        connection: &Connection,
        id: LocalId,
    ) -> Result<Option<MirrorRow>, StoreError> {
        self.one(connection, &self.sql.by_local_id, id.0)
    }

    fn one(
        &self,
        connection: &Connection,
        sql: &str,
        id: i64,
    ) -> Result<Option<MirrorRow>, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement
            .query_row([id], |row| self.read_row(row))
            .optional()?)
    }

    /// The oldest row without a record that a value identifies.
    pub(crate) fn unlinked_by(
        &self,
        connection: &Connection,
        identity: &Identity,
    ) -> Result<Option<LocalId>, StoreError> {
        let Some(sql) = self.sql.by(identity) else {
            return Ok(None);
        };
        let mut statement = connection.prepare_cached(&sql.unlinked)?;
        Ok(statement
            .query_row([&identity.form], |row| row.get(0).map(LocalId))
            .optional()?)
    }

    /// A row with a record that holds such a value too, other than `except`. One whose record is archived holds nothing in HubSpot.
    pub(crate) fn linked_by(
        &self,
        connection: &Connection,
        identity: &Identity,
        except: LocalId,
    ) -> Result<Option<(LocalId, HubspotId)>, StoreError> {
        let Some(sql) = self.sql.by(identity) else {
            return Ok(None);
        };
        let mut statement = connection.prepare_cached(&sql.linked)?;
        let found = statement
            .query_row((&identity.form, except.0), |row| {
                Ok((LocalId(row.get(0)?), HubspotId(row.get(1)?)))
            })
            .optional()?;
        Ok(found)
    }

    /// A row with a record that holds a value of this form in any of its columns' properties, other than `except`. It looks
    /// through the table: for what is refused, not for what is sent.
    pub(crate) fn holder_of(
        &self,
        connection: &Connection,
        identity: &Identity,
        except: LocalId,
    ) -> Result<Option<(LocalId, HubspotId)>, StoreError> {
        if self.sql.by(identity).is_some() {
            return self.linked_by(connection, identity, except);
        }
        let Some(field) = self.mapping.field(&identity.property) else {
            return Ok(None);
        };
        let sql = IdentityStatements::of(&self.mapping, field).linked;
        let found = connection
            .prepare(&sql)?
            .query_row((&identity.form, except.0), |row| {
                Ok((LocalId(row.get(0)?), HubspotId(row.get(1)?)))
            })
            .optional()?;
        Ok(found)
    }

    /// Whether another row without a record holds such a value too, and its create is on its way or unanswered.
    pub(crate) fn is_being_created(
        &self,
        connection: &Connection,
        identity: &Identity,
        except: LocalId,
    ) -> Result<bool, StoreError> {
        let Some(sql) = self.sql.by(identity) else {
            return Ok(false);
        };
        let mut statement = connection.prepare_cached(&sql.creating)?;
        let object = self.mapping.object.as_str();
        Ok(statement.exists((&identity.form, except.0, object))?)
    }

    /// Inserts a record of HubSpot's as a new row.
    pub(crate) fn insert_record(
        &self,
        tx: &Transaction<'_>,
        record: &RemoteRecord,
    ) -> Result<LocalId, StoreError> {
        self.insert(tx, None, record)
    }

    /// Inserts a record of HubSpot's under the `local_id` that its row had before.
    pub(crate) fn insert_back(
        &self,
        tx: &Transaction<'_>,
        local_id: LocalId,
        record: &RemoteRecord,
    ) -> Result<(), StoreError> {
        self.insert(tx, Some(local_id), record).map(|_| ())
    }

    fn insert(
        &self,
        tx: &Transaction<'_>,
        local_id: Option<LocalId>,
        record: &RemoteRecord,
    ) -> Result<LocalId, StoreError> {
        let mut statement = tx.prepare_cached(&self.sql.insert)?;
        let (created, updated) = (record.created_at.to_string(), record.updated_at.to_string());
        let own = [
            to_sql(local_id.map_or(ColumnRef::Null, |id| ColumnRef::Integer(id.0))),
            to_sql(ColumnRef::Integer(record.id.0)),
            to_sql(ColumnRef::Text(&created)),
            to_sql(ColumnRef::Text(&updated)),
        ];
        let mapped = self.mapping.fields.iter().map(|field| {
            let value = record.values.get(&field.property);
            to_sql(value.map_or(ColumnRef::Null, |value| {
                field.property_type.to_column(value)
            }))
        });
        statement.execute(params_from_iter(own.into_iter().chain(mapped)))?;
        let local_id = LocalId(tx.last_insert_rowid());
        self.note_moved(tx, None, Some(record.id), Some(record.updated_at))?;
        Ok(local_id)
    }

    /// Notes that a record's history is to be read, unless the row has its id and time already.
    fn note_moved(
        &self,
        tx: &Transaction<'_>,
        row: Option<LocalId>,
        id: Option<HubspotId>,
        modified_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (Some(sql), Some(id)) = (&self.sql.moved, id) else {
            return Ok(());
        };
        let object = self.mapping.object.as_str();
        let modified_at = modified_at.map(|at| at.to_string());
        let row = row.map(|row| row.0);
        tx.prepare_cached(sql)?
            .execute((object, id.0, row, modified_at))?;
        Ok(())
    }

    /// Writes a row back, with the record's id and times.
    ///
    /// A value that is in the row past its column's CHECK (a client may ignore checks) must not keep HubSpot's out of the
    /// other columns: then only those are written that were set.
    pub fn update(&self, tx: &Transaction<'_>, row: &MirrorRow) -> Result<(), StoreError> {
        let record = &row.record;
        self.note_moved(tx, Some(record.local_id), record.hs_id, record.modified_at)?;
        match write(tx, row, &self.sql.update, |_| true) {
            Err(error) if is_check(&error) && row.changed.len() < row.columns.len() => {
                let fields = self.mapping.fields.iter().enumerate();
                let changed = fields.filter(|(index, _)| row.changed.contains(index));
                let sql = update_of(&self.mapping, changed.map(|(_, field)| field));
                Ok(write(tx, row, &sql, |index| row.changed.contains(&index))?)
            }
            written => Ok(written?),
        }
    }

    /// Removes a row, and with it its associations.
    ///
    /// # Errors
    /// A constraint of somebody else's keeps it, one that looks only at the commit included: `StoreError::is_of_one_row`.
    pub fn delete(&self, tx: &Transaction<'_>, id: LocalId) -> Result<(), StoreError> {
        let deferred = referrers::deferred(tx, self.mapping.table.as_str())?;
        let former = match deferred.is_empty() {
            true => None,
            false => self.by_local_id(tx, id)?,
        };
        tx.prepare_cached(&self.sql.delete)?.execute([id.0])?;
        rows::end_of(tx, &self.mapping.object, id)?;
        match former {
            Some(row) => referrers::check_gone(tx, deferred, Some(id), row.record.hs_id),
            None => Ok(()),
        }
    }

    /// Whether a row could give up the id of its record.
    ///
    /// # Errors
    /// As [`Self::delete`], where rows of another table refer to that id.
    pub(crate) fn check_given_up(
        &self,
        tx: &Transaction<'_>,
        former: HubspotId,
    ) -> Result<(), StoreError> {
        let deferred = referrers::deferred(tx, self.mapping.table.as_str())?;
        referrers::check_gone(tx, deferred, None, Some(former))
    }

    /// Takes everything out of a row that can't be removed: its record, its times and all mapped values.
    pub(crate) fn blank(&self, tx: &Transaction<'_>, id: LocalId) -> Result<(), StoreError> {
        tx.prepare_cached(&self.sql.blank)?.execute([id.0])?;
        Ok(())
    }

    /// A whole row as JSON: the mapped properties, those that were mapped once (`unmapped`), and the user's own columns, text that is
    /// no UTF-8 and BLOBs by their bytes.
    pub fn whole(
        &self,
        connection: &Connection,
        row: &MirrorRow,
        unmapped: &[FieldRow],
    ) -> Result<String, StoreError> {
        let mut columns = fit::columns_of(connection, self.mapping.table.as_str())?;
        columns.retain(|name| !self.is_ours(name));
        let mut others = Vec::with_capacity(columns.len());
        for column in columns {
            let former = unmapped
                .iter()
                .find(|field| field.column_name.eq_ignore_ascii_case(&column));
            let id = row.record.local_id;
            match former {
                Some(field) => {
                    let value = self.former_value(connection, id, field)?;
                    others.extend(value.map(|value| (field.property.clone(), value)));
                }
                None => others.extend(self.own_column(connection, id, &column)?),
            }
        }
        Ok(rowjson::of_row(&row.record.values, others))
    }

    /// What a column of the user's own holds, as text under the name of its class (`model/row/json`); `None` where the row is gone.
    fn own_column(
        &self,
        connection: &Connection,
        id: LocalId,
        column: &str,
    ) -> Result<Option<(String, Value)>, StoreError> {
        let (table, quoted) = (quoted(self.mapping.table.as_str()), quoted(column));
        let sql = format!("SELECT {quoted} FROM {table} WHERE local_id = ?1");
        let found = connection
            .prepare_cached(&sql)?
            .query_row([id.0], |row| {
                let held = row.get_ref(0)?;
                Ok(match (held, not_utf8(held)) {
                    (ValueRef::Blob(bytes), _) => ("blob", hex_of(bytes)),
                    (_, Some(bytes)) => ("text", hex_of(bytes)),
                    (held, None) => ("column", as_text(&from_sql(held))),
                })
            })
            .optional()?;
        Ok(found.map(|(class, value)| (format!("${class}:{column}"), value)))
    }

    /// What the column of a property holds that is not mapped, or not at the moment; `None` where the column or the row is gone.
    pub(crate) fn former_value(
        &self,
        connection: &Connection,
        id: LocalId,
        field: &FieldRow,
    ) -> Result<Option<Value>, StoreError> {
        let columns = fit::columns_of(connection, self.mapping.table.as_str())?;
        let mut names = columns.iter();
        if !names.any(|name| name.eq_ignore_ascii_case(&field.column_name)) {
            return Ok(None);
        }
        let Some(column) = self.column(connection, id, &field.column_name)? else {
            return Ok(None);
        };
        let kind = PropertyType::parse(&field.property_type);
        let value = kind.and_then(|kind| kind.from_column(&column).ok());
        Ok(Some(value.unwrap_or_else(|| as_text(&column))))
    }

    /// The properties of fields outside the mapping in which a row holds a value.
    pub(crate) fn holding(
        &self,
        connection: &Connection,
        id: LocalId,
        fields: &[FieldRow],
    ) -> Result<Vec<PropertyName>, StoreError> {
        let mut held = Vec::new();
        for field in fields {
            let value = self.former_value(connection, id, field)?;
            if value.is_some_and(|value| !value.is_empty()) {
                let property = PropertyName::parse(&field.property);
                held.push(property.map_err(|error| StoreError::UnknownValue(error.to_string()))?);
            }
        }
        Ok(held)
    }

    /// Gives a row back what it held in columns that the mapping does not know. Answers with what no column takes any more:
    /// it is gone, it is mapped or computed by now, or a constraint refuses the value.
    pub(crate) fn put_own_back(
        &self,
        tx: &Transaction<'_>,
        id: LocalId,
        mut own: Vec<OwnValue>,
    ) -> Result<Vec<OwnValue>, StoreError> {
        let mut columns = fit::columns_of(tx, self.mapping.table.as_str())?;
        columns.retain(|name| !self.is_ours(name));
        let has_place = |value: &OwnValue| {
            let mut names = columns.iter();
            names.any(|name| name.eq_ignore_ascii_case(&value.column))
        };
        let mut lost: Vec<OwnValue> = own.extract_if(.., |value| !has_place(value)).collect();
        // All at once: a CHECK may look at several of them. Then each for itself: one that is refused keeps no other out.
        match savepoint::within(tx, || self.set_own(tx, id, &own)) {
            Err(error) if error.is_of_one_row() => {}
            written => return written.map(|()| lost),
        }
        for value in own {
            match savepoint::within(tx, || self.set_own(tx, id, std::slice::from_ref(&value))) {
                Err(error) if error.is_of_one_row() => lost.push(value),
                written => written?,
            }
        }
        Ok(lost)
    }

    fn set_own(
        &self,
        tx: &Transaction<'_>,
        id: LocalId,
        own: &[OwnValue],
    ) -> Result<(), StoreError> {
        let settings: Vec<String> = own
            .iter()
            .map(|value| format!("{} = {}", quoted(&value.column), value.place()))
            .collect();
        if settings.is_empty() {
            return Ok(());
        }
        let (table, settings) = (quoted(self.mapping.table.as_str()), settings.join(", "));
        let id = SqlValue::Integer(id.0);
        let values = own.iter().map(|value| &value.value).chain([&id]);
        tx.prepare_cached(&format!("UPDATE {table} SET {settings} WHERE local_id = ?"))?
            .execute(params_from_iter(values))?;
        Ok(())
    }

    /// Whether a column is one of the mapped or of our own.
    fn is_ours(&self, name: &str) -> bool {
        let fields = &mut self.mapping.fields.iter();
        let reserved = &mut crate::model::name::RESERVED_COLUMNS.iter();
        fields.any(|field| field.column.as_str().eq_ignore_ascii_case(name))
            || reserved.any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Sets the column of a property that is not mapped any more.
    pub(crate) fn set_former(
        &self,
        tx: &Transaction<'_>,
        id: LocalId,
        field: &FieldRow,
        value: &Value,
    ) -> Result<(), StoreError> {
        let kind = PropertyType::parse(&field.property_type).unwrap_or(PropertyType::String);
        let (table, column) = (
            quoted(self.mapping.table.as_str()),
            quoted(&field.column_name),
        );
        tx.prepare_cached(&format!(
            "UPDATE {table} SET {column} = ?2 WHERE local_id = ?1"
        ))?
        .execute((id.0, to_sql(kind.to_column(value))))?;
        Ok(())
    }

    fn column(
        &self,
        connection: &Connection,
        id: LocalId,
        column: &str,
    ) -> Result<Option<ColumnValue>, StoreError> {
        let (table, column) = (quoted(self.mapping.table.as_str()), quoted(column));
        let sql = format!("SELECT {column} FROM {table} WHERE local_id = ?1");
        let found = connection
            .prepare_cached(&sql)?
            .query_row([id.0], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Blob(_) => ColumnValue::Null,
                    value @ (ValueRef::Null
                    | ValueRef::Integer(_)
                    | ValueRef::Real(_)
                    | ValueRef::Text(_)) => from_sql(value),
                })
            })
            .optional()?;
        Ok(found)
    }

    /// Ids of records with a row that does not say that they are archived, above `after` and up to `to`, at most `limit`, ascending.
    pub(crate) fn linked_between(
        &self,
        connection: &Connection,
        after: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<HubspotId>, StoreError> {
        let mut statement = connection.prepare_cached(&self.sql.linked_between)?;
        let ids =
            statement.query_map((after, to, limit as i64), |row| row.get(0).map(HubspotId))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// How many rows the table has.
    pub fn count(&self, connection: &Connection) -> Result<u64, StoreError> {
        let count: i64 = connection
            .prepare_cached(&self.sql.count)?
            .query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The highest id of a row's record.
    pub(crate) fn highest_id(
        &self,
        connection: &Connection,
    ) -> Result<Option<HubspotId>, StoreError> {
        let highest: Option<i64> = connection
            .prepare_cached(&self.sql.highest)?
            .query_row([], |row| row.get(0))?;
        Ok(highest.map(HubspotId))
    }

    /// The newest change that a row shows, by HubSpot's clock. Reads all rows: no index holds it.
    pub(crate) fn newest_change(
        &self,
        connection: &Connection,
    ) -> Result<Option<Timestamp>, StoreError> {
        let newest: Option<String> = connection
            .prepare_cached(&self.sql.newest)?
            .query_row([], |row| row.get(0))?;
        Ok(newest.as_deref().and_then(Timestamp::parse))
    }

    /// Whether some row has no record.
    pub(crate) fn has_unlinked(&self, connection: &Connection) -> Result<bool, StoreError> {
        Ok(connection.prepare_cached(&self.sql.unlinked)?.exists([])?)
    }

    /// Whether some row says that its record is archived.
    pub(crate) fn has_marked(&self, connection: &Connection) -> Result<bool, StoreError> {
        Ok(connection.prepare_cached(&self.sql.marked)?.exists([])?)
    }

    /// Whether a row says that its record is archived.
    pub fn is_marked(&self, connection: &Connection, id: LocalId) -> Result<bool, StoreError> {
        Ok(connection
            .prepare_cached(&self.sql.is_marked)?
            .exists([id.0])?)
    }

    /// Lets a row say that its record is archived, or that it is there. HubSpot takes the associations of an archived record with it.
    pub fn mark(
        &self,
        tx: &Transaction<'_>,
        id: LocalId,
        is_archived: bool,
    ) -> Result<(), StoreError> {
        tx.prepare_cached(&self.sql.mark)?
            .execute((id.0, is_archived))?;
        match is_archived {
            true => rows::end_of(tx, &self.mapping.object, id),
            false => Ok(()),
        }
    }

    /// Rows with open conflicts of fields that are gone, and of which nothing waits to be sent; at most `limit`.
    pub(crate) fn gone_in_conflict(
        &self,
        connection: &Connection,
        limit: usize,
    ) -> Result<Vec<LocalId>, StoreError> {
        let mut statement = connection.prepare_cached(&self.sql.gone_in_conflict)?;
        let rows = statement.query_map((self.mapping.object.as_str(), limit as i64), |row| {
            row.get(0).map(LocalId)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Records of which unreadable values are noted and that have no row any more; at most `limit`.
    pub(crate) fn gone_unreadable(
        &self,
        connection: &Connection,
        limit: usize,
    ) -> Result<Vec<HubspotId>, StoreError> {
        let mut statement = connection.prepare_cached(&self.sql.gone_unreadable)?;
        let ids = statement.query_map((self.mapping.object.as_str(), limit as i64), |row| {
            row.get(0).map(HubspotId)
        })?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// How many rows have a record.
    pub fn linked(&self, connection: &Connection) -> Result<u64, StoreError> {
        let count: i64 = connection
            .prepare_cached(&self.sql.linked)?
            .query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    fn read_row(&self, row: &Row<'_>) -> rusqlite::Result<MirrorRow> {
        let mut values = FieldValues::nothing(&self.names);
        let mut columns = Vec::with_capacity(self.mapping.fields.len());
        let (mut raw, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
        for (index, field) in self.mapping.fields.iter().enumerate() {
            let stored = row.get_ref(OWN_COLUMNS + 1 + index)?;
            if let Some(bytes) = not_utf8(stored) {
                raw.insert(index, bytes.to_vec());
                unreadable.insert(field.property.clone());
            }
            let column = from_sql(stored);
            values.set_at(index, readable(field, &column));
            columns.push(column);
        }
        let modified: Option<String> = row.get(OWN_COLUMNS)?;
        Ok(MirrorRow {
            record: LocalRecord {
                local_id: LocalId(row.get(0)?),
                hs_id: row.get::<_, Option<i64>>(1)?.map(HubspotId),
                values,
                unreadable,
                modified_at: modified.as_deref().and_then(Timestamp::parse),
            },
            columns,
            raw,
            changed: BTreeSet::new(),
            created: row.get(2)?,
        })
    }
}

/// The column's value, or its raw text where the type can't hold it: HubSpot then says what is wrong with it.
fn readable(field: &FieldMapping, column: &ColumnValue) -> Value {
    field
        .property_type
        .from_column(column)
        .unwrap_or_else(|_invalid| as_text(column))
}

fn as_text(column: &ColumnValue) -> Value {
    match column {
        ColumnValue::Null => Value::EMPTY,
        ColumnValue::Integer(number) => Value::from_canonical(number.to_string()),
        ColumnValue::Real(number) => Value::from_canonical(number.to_string()),
        ColumnValue::Text(text) => Value::from_canonical(text.clone()),
    }
}

fn hex_of(bytes: &[u8]) -> Value {
    Value::from_canonical(hex::encode(bytes).to_uppercase())
}

/// A column's value as SQLite gives it.
pub(super) fn from_sql(value: ValueRef<'_>) -> ColumnValue {
    match value {
        ValueRef::Null => ColumnValue::Null,
        ValueRef::Integer(number) => ColumnValue::Integer(number),
        ValueRef::Real(number) => ColumnValue::Real(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => ColumnValue::Text(text::spelled(bytes)),
    }
}

fn not_utf8(value: ValueRef<'_>) -> Option<&[u8]> {
    let bytes = value.as_bytes().ok()?;
    std::str::from_utf8(bytes).is_err().then_some(bytes)
}

fn text_or_null(text: Option<&str>) -> ColumnRef<'_> {
    text.map_or(ColumnRef::Null, ColumnRef::Text)
}

/// A column's value as SQLite takes it.
pub(super) fn to_sql(value: ColumnRef<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        ColumnRef::Null => ValueRef::Null,
        ColumnRef::Integer(number) => ValueRef::Integer(number),
        ColumnRef::Real(number) => ValueRef::Real(number),
        ColumnRef::Text(text) => ValueRef::Text(text.as_bytes()),
    })
}

/// Writes a row by an UPDATE of its own columns and of those mapped ones that `is_written` picks.
fn write(
    tx: &Transaction<'_>,
    row: &MirrorRow,
    sql: &str,
    is_written: impl Fn(usize) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached(sql)?;
    let modified = row.record.modified_at.map(|at| at.to_string());
    let own = [
        to_sql(ColumnRef::Integer(row.record.local_id.0)),
        to_sql(
            row.record
                .hs_id
                .map_or(ColumnRef::Null, |id| ColumnRef::Integer(id.0)),
        ),
        to_sql(text_or_null(row.created.as_deref())),
        to_sql(text_or_null(modified.as_deref())),
    ];
    let columns = row.columns.iter().enumerate();
    let written = columns.filter(|(index, _)| is_written(*index));
    let mapped = written.map(|(index, column)| match row.raw.get(&index) {
        Some(bytes) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
        None => to_sql(column.borrowed()),
    });
    statement.execute(params_from_iter(own.into_iter().chain(mapped)))?;
    Ok(())
}

/// Whether a column's CHECK refused.
fn is_check(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_CHECK)
}

/// An UPDATE of a row's own columns and of these mapped ones.
fn update_of<'a>(
    mapping: &ObjectMapping,
    fields: impl Iterator<Item = &'a FieldMapping>,
) -> String {
    let mut settings = String::new();
    for (index, field) in fields.enumerate() {
        let (column, place) = (quoted(field.column.as_str()), index + 5);
        write!(settings, ", {column} = ?{place}").expect("a string takes text");
    }
    format!(
        "UPDATE {} SET hs_id = ?2, hs_created_at = ?3, hs_modified_at = ?4{settings} WHERE local_id = ?1",
        quoted(mapping.table.as_str())
    )
}

/// An UPDATE that leaves of a row nothing but its own id.
fn blank_of(mapping: &ObjectMapping) -> String {
    let mut settings = String::new();
    for field in &mapping.fields {
        write!(settings, ", {} = NULL", quoted(field.column.as_str()))
            .expect("a string takes text");
    }
    format!(
        "UPDATE {} SET hs_id = NULL, hs_created_at = NULL, hs_modified_at = NULL, hs_archived = 0{settings} WHERE local_id = ?1",
        quoted(mapping.table.as_str())
    )
}

impl Statements {
    fn by(&self, identity: &Identity) -> Option<&IdentityStatements> {
        let mut identities = self.identities.iter();
        identities.find(|statements| statements.property == identity.property)
    }
}

/// Rows without a record. Most rows of a table that is pushed for the first time are: without the hint SQLite takes the
/// index of `hs_id`, whose NULLs it thinks to be few, and looks through all of them for each row.
const UNLINKED: &str = "likelihood(hs_id IS NULL, 0.99)";

impl IdentityStatements {
    fn of(mapping: &ObjectMapping, field: &FieldMapping) -> Self {
        let table = quoted(mapping.table.as_str());
        let rule = MatchRule::of(&mapping.object, field);
        let holds = matching::holds_form(rule, &quoted(field.column.as_str()));
        // Few rows hold one value: by the row's number SQLite would look through all of them instead.
        Self {
            property: field.property.clone(),
            unlinked: format!(
                "SELECT local_id FROM {table} WHERE {UNLINKED} AND {holds} ORDER BY +local_id LIMIT 1"
            ),
            linked: format!(
                "SELECT local_id, hs_id FROM {table} WHERE hs_id IS NOT NULL AND hs_archived = 0 AND {holds} \
                 AND local_id <> ?2 ORDER BY +local_id LIMIT 1"
            ),
            creating: format!(
                "SELECT 1 FROM {table} WHERE {UNLINKED} AND {holds} AND local_id <> ?2 \
                 AND EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.object = ?3 AND e.local_id = {table}.local_id \
                 AND e.{OF_ROW} AND +e.operation = 'create' AND e.state <> 'dead' AND (e.state = 'in_flight' OR e.unanswered_since IS NOT NULL))"
            ),
        }
    }
}

impl Statements {
    fn of(mapping: &ObjectMapping) -> Self {
        let table = quoted(mapping.table.as_str());
        let mut columns = String::new();
        let mut places = String::new();
        for (index, field) in mapping.fields.iter().enumerate() {
            let column = quoted(field.column.as_str());
            let place = index + 5;
            write!(columns, ", {column}").expect("a string takes text");
            write!(places, ", ?{place}").expect("a string takes text");
        }
        let select =
            format!("SELECT local_id, hs_id, hs_created_at, hs_modified_at{columns} FROM {table}");
        Self {
            by_hs_id: format!("{select} WHERE hs_id = ?1"),
            by_local_id: format!("{select} WHERE local_id = ?1"),
            identities: mapping
                .identities()
                .map(|field| IdentityStatements::of(mapping, field))
                .collect(),
            insert: format!(
                "INSERT INTO {table} (local_id, hs_id, hs_created_at, hs_modified_at{columns}) VALUES (?1, ?2, ?3, ?4{places})"
            ),
            moved: mapping.with_remote_history().next().map(|_| {
                format!(
                    "INSERT INTO _sync_histories (object, hs_id) SELECT ?1, ?2 WHERE NOT EXISTS \
                     (SELECT 1 FROM {table} WHERE local_id = ?3 AND hs_id = ?2 AND hs_modified_at IS ?4) \
                     ON CONFLICT DO NOTHING"
                )
            }),
            update: update_of(mapping, mapping.fields.iter()),
            delete: format!("DELETE FROM {table} WHERE local_id = ?1"),
            blank: blank_of(mapping),
            linked_between: format!(
                "SELECT hs_id FROM {table} WHERE hs_id > ?1 AND hs_id <= ?2 AND +hs_archived = 0 ORDER BY hs_id LIMIT ?3"
            ),
            count: format!("SELECT count(*) FROM {table}"),
            highest: format!("SELECT max(hs_id) FROM {table}"),
            newest: format!("SELECT max(hs_modified_at) FROM {table}"),
            linked: format!("SELECT count(hs_id) FROM {table}"),
            unlinked: format!("SELECT 1 FROM {table} WHERE hs_id IS NULL LIMIT 1"),
            marked: format!("SELECT 1 FROM {table} WHERE hs_archived = 1 LIMIT 1"),
            is_marked: format!("SELECT 1 FROM {table} WHERE local_id = ?1 AND hs_archived = 1"),
            mark: format!("UPDATE {table} SET hs_archived = ?2 WHERE local_id = ?1"),
            gone_unreadable: format!(
                "SELECT DISTINCT u.hs_id FROM sync_unreadable AS u WHERE u.object = ?1 AND u.property <> '*' \
                 AND NOT EXISTS (SELECT 1 FROM {table} AS m WHERE m.hs_id = u.hs_id) LIMIT ?2"
            ),
            gone_in_conflict: format!(
                "SELECT DISTINCT c.local_id FROM sync_conflicts AS c \
                 WHERE c.object = ?1 AND c.resolved_at IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM {table} AS m WHERE m.local_id = c.local_id) \
                 AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.object = c.object AND e.local_id = c.local_id \
                 AND e.{OF_ROW}) LIMIT ?2"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::config::DbConfig;

    use super::*;
    use crate::store::shape::ddl;
    use crate::store::testing::{at_once, contacts, folder, mapping, now, open};
    use crate::store::{Lane, Mode};

    #[test]
    fn text_that_is_no_utf_8_is_written_back_byte_for_byte() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let written = store.write(Lane::Bulk, |tx| {
            ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now())?;
            tx.execute_batch(
                "INSERT INTO contacts (hs_id, email, first_name, stage)
                 VALUES (101, 'ada@example.com', CAST(x'fffe41' AS TEXT), CAST(x'c3' AS TEXT))",
            )?;
            let mapping = contacts();
            let (email, first_name, stage) = (
                &mapping.fields[0].property,
                &mapping.fields[1].property,
                &mapping.fields[8].property,
            );
            let table = MirrorTable::new(Arc::new(contacts()));
            let mut row = table.by_hs_id(tx, HubspotId(101))?.expect("is there");
            assert_eq!(row.value(first_name).to_wire(), "x'fffe41'");
            assert!(row.record.unreadable.contains(first_name));
            row.set(&mapping, email, &Value::from_canonical("ada@example.org"));
            row.set(&mapping, stage, &Value::from_canonical("lead"));
            assert!(!row.record.unreadable.contains(stage));
            table.update(tx, &row)?;
            let sql = "SELECT email || ' ' || hex(first_name) || ' ' || typeof(first_name) || ' ' || stage FROM contacts";
            Ok(tx.query_row(sql, [], |row| row.get::<_, String>(0))?)
        });
        assert_eq!(
            at_once(written).expect("writes"),
            "ada@example.org FFFE41 text lead"
        );
    }

    #[test]
    fn a_value_past_its_check_keeps_nothing_else_out() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let made = store.write(Lane::Bulk, |tx| {
            ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now())
        });
        at_once(made).expect("makes");
        let program = Connection::open(folder.path().join("crm.db")).expect("opens");
        program
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
            .expect("turns triggers off");
        program
            .execute_batch(
                "PRAGMA ignore_check_constraints = ON;
                 INSERT INTO contacts (hs_id, birthday, first_name) VALUES (101, '2026-02-30', 'Ada')",
            )
            .expect("ignores the check");
        let written = store.write(Lane::Bulk, |tx| {
            let mapping = contacts();
            let (first_name, birthday) = (&mapping.fields[1].property, &mapping.fields[6].property);
            let table = MirrorTable::new(Arc::new(contacts()));
            let mut row = table.by_hs_id(tx, HubspotId(101))?.expect("is there");
            row.set(&mapping, first_name, &Value::from_canonical("Augusta"));
            table.update(tx, &row)?;
            let kept = table.by_hs_id(tx, HubspotId(101))?.expect("is there");
            row.set(&mapping, birthday, &Value::from_canonical("2026-02-28"));
            table.update(tx, &row)?;
            let taken = table.by_hs_id(tx, HubspotId(101))?.expect("is there");
            let values = |row: &MirrorRow| {
                [first_name, birthday].map(|property| row.value(property).to_wire().to_owned())
            };
            Ok([values(&kept), values(&taken)])
        });
        assert_eq!(
            at_once(written).expect("writes"),
            [["Augusta", "2026-02-30"], ["Augusta", "2026-02-28"]]
        );
    }
}
