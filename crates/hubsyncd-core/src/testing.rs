//! Values that tests of several decisions share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::entry::{Base, Entry, EntryField, Operation, Standing};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Modes, ObjectMapping, Policy,
};
use crate::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use crate::model::record::{LocalRecord, RemoteRecord};
use crate::model::row::MirrorRow;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::{ColumnValue, PropertyType, Value};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

pub(crate) fn value(text: &str) -> Value {
    Value::from_canonical(text)
}

pub(crate) fn property(name: &str) -> PropertyName {
    PropertyName::parse(name).expect("a name")
}

/// Contacts by their e-mail address, with a name, a city and a score that HubSpot calculates.
pub(crate) fn contacts() -> SyncedObject {
    let field = |name: &str, direction| FieldMapping {
        property: property(name),
        column: ColumnName::parse(name).expect("a column"),
        declared_type: None,
        property_type: PropertyType::String,
        direction,
        policy: Policy::Remote,
        modes: FieldModes::default(),
    };
    let mapping = ObjectMapping {
        object: ObjectType::parse("contacts").expect("an object"),
        address: None,
        table: TableName::parse("contacts").expect("a table"),
        direction: Direction::Both,
        key: KeyChoice::None,
        match_property: Some(property("email")),
        modes: Modes::default(),
        policy: Policy::Remote,
        poll: Duration::from_mins(1),
        fields: vec![
            field("email", Direction::Both),
            field("firstname", Direction::Both),
            field("city", Direction::Both),
            field("score", Direction::Pull),
        ],
    };
    SyncedObject {
        unique: vec![property("email")],
        ..SyncedObject::of(mapping)
    }
}

pub(crate) fn record(id: i64, updated: i64, values: &[(&str, &str)]) -> RemoteRecord {
    RemoteRecord {
        id: HubspotId(id),
        values: values
            .iter()
            .map(|(name, text)| (property(name), value(text)))
            .collect(),
        invalid: BTreeMap::new(),
        created_at: at(-1_000_000),
        updated_at: at(updated),
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
        pipeline: None,
    }
}

/// A row of [`contacts`].
pub(crate) fn row(id: i64, hs_id: Option<i64>, values: &[(&str, &str)]) -> MirrorRow {
    let object = contacts();
    let mut row = MirrorRow {
        record: LocalRecord {
            local_id: LocalId(id),
            hs_id: hs_id.map(HubspotId),
            values: values
                .iter()
                .map(|(name, text)| (property(name), value(text)))
                .collect(),
            unreadable: std::collections::BTreeSet::new(),
            modified_at: hs_id.map(|_| at(0)),
        },
        columns: vec![ColumnValue::Null; object.mapping().fields.len()],
        raw: BTreeMap::new(),
        changed: std::collections::BTreeSet::new(),
        created: None,
    };
    row.record.values = object
        .mapping()
        .fields
        .iter()
        .map(|field| (field.property.clone(), row.value(&field.property).clone()))
        .collect();
    row
}

/// An entry of row 1, with fields over these bases and with what they sent.
pub(crate) fn entry(operation: Operation, fields: &[(&str, &str, Option<&str>)]) -> Entry {
    Entry {
        id: OutboxId(1),
        local_id: LocalId(1),
        standing: Standing {
            operation,
            ..Standing::NOTHING
        },
        version: 1,
        key: None,
        row: None,
        fields: fields
            .iter()
            .map(|(name, base, sent)| EntryField {
                property: property(name),
                base: Base::Known(value(base)),
                changed_at: at(5),
                sent: sent.map(value),
            })
            .collect(),
    }
}
