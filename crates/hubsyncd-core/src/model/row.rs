//! A mirror row, ready to be changed and written back.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::HubspotId;
use crate::model::mapping::ObjectMapping;
use crate::model::name::PropertyName;
use crate::model::record::{LocalRecord, RemoteRecord};
use crate::model::row::json as rowjson;
use crate::model::time::Timestamp;
use crate::model::value::{ColumnValue, Value};

pub mod json;

/// A mirror row as it lies in the table, ready to be changed and written back.
#[derive(Debug, Clone)]
pub struct MirrorRow {
    /// Its values by property.
    pub record: LocalRecord,
    /// Its mapped columns, also those whose text is of no use to their type: they are written back as they are.
    pub columns: Vec<ColumnValue>,
    /// Columns whose text is no UTF-8, by position: they are written back byte for byte.
    pub raw: BTreeMap<usize, Vec<u8>>,
    /// Positions of the columns that were set since the row was read.
    pub changed: BTreeSet<usize>,
    /// When HubSpot made the record, as the table has it.
    pub created: Option<String>,
}

impl MirrorRow {
    /// Sets a field.
    pub fn set(&mut self, mapping: &ObjectMapping, property: &PropertyName, value: &Value) {
        let position = mapping
            .fields
            .iter()
            .position(|field| &field.property == property);
        if let Some((index, field)) = position.map(|index| (index, &mapping.fields[index])) {
            self.columns[index] = field.property_type.to_column(value).into();
            self.changed.insert(index);
            self.raw.remove(&index);
            self.record.unreadable.remove(property);
            self.record.values.set_at(index, value.clone());
        }
    }

    /// The value of a property; empty where it is not mapped.
    pub fn value(&self, property: &PropertyName) -> &Value {
        self.record.values.get(property).unwrap_or(&Value::EMPTY)
    }

    /// Links the row to a record: its id and times.
    pub fn link(&mut self, record: &RemoteRecord) {
        self.record.hs_id = Some(record.id);
        self.tell_times(record);
    }

    /// The times of its record. A row that was taken over from another table has none yet.
    pub fn tell_times(&mut self, record: &RemoteRecord) {
        self.record.modified_at = Some(record.updated_at);
        self.created = Some(record.created_at.to_string());
    }

    /// Links the row to the record that a deleted row was, by what is kept of that.
    pub fn link_former(&mut self, id: HubspotId, former: &str) {
        self.record.hs_id = Some(id);
        self.record.modified_at = rowjson::modified_at(former);
        self.created = rowjson::created_at(former).map(|at| at.to_string());
    }

    /// When HubSpot made the record.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.as_deref().and_then(Timestamp::parse)
    }

    /// Takes the link away.
    pub fn unlink(&mut self) {
        self.record.hs_id = None;
        self.record.modified_at = None;
        self.created = None;
    }
}
