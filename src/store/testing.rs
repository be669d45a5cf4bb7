//! What the store's tests share: a clock that stands, a file in a folder of its own, a small mapping.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Mapping, Modes, ObjectMapping, Policy,
};
use crate::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use crate::model::settings::Checkpoint;
use crate::model::time::Timestamp;
use crate::model::value::PropertyType;
use crate::store::{Mode, OpenOptions, Store, StoreError};

/// 2026-11-24T03:10:00Z, always.
#[derive(Debug)]
pub(crate) struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        now()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment")
}

pub(crate) fn options(folder: &TempDir, mode: Mode) -> OpenOptions {
    OpenOptions {
        path: folder.path().join("crm.db"),
        mode,
        busy_timeout: Duration::from_millis(50),
        checkpoint: Checkpoint::Own,
    }
}

pub(crate) fn open(folder: &TempDir, mode: Mode) -> Result<Store, StoreError> {
    Store::open(&options(folder, mode), Arc::new(Standing))
}

/// A connection of a program's own to the file in a folder.
pub(crate) fn connection(folder: &TempDir) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.path().join("crm.db")).expect("opens")
}

/// A connection that knows what the daemon's know, and fires no trigger.
pub(crate) fn daemons_connection(folder: &TempDir) -> rusqlite::Connection {
    let connection = connection(folder);
    crate::store::shape::matching::register(&connection).expect("registers");
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .expect("turns triggers off");
    connection
}

pub(crate) fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

/// Runs a future that never waits, as all of an inline store are.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

pub(crate) fn field(
    property: &str,
    column: &str,
    property_type: PropertyType,
    direction: Direction,
) -> FieldMapping {
    FieldMapping {
        property: PropertyName::parse(property).expect(property),
        column: ColumnName::parse(column).expect(column),
        declared_type: None,
        property_type,
        direction,
        policy: Policy::Newest,
        modes: FieldModes::default(),
    }
}

pub(crate) fn object(name: &str, direction: Direction, fields: Vec<FieldMapping>) -> ObjectMapping {
    ObjectMapping {
        object: ObjectType::parse(name).expect(name),
        address: None,
        table: TableName::parse(name).expect(name),
        direction,
        key: KeyChoice::Auto,
        match_property: None,
        modes: Modes::default(),
        policy: Policy::Newest,
        poll: Duration::from_secs(5),
        fields,
    }
}

/// Contacts with a field of each type, one of them calculated by HubSpot.
pub(crate) fn contacts() -> ObjectMapping {
    let both = |property: &str, column: &str, kind| field(property, column, kind, Direction::Both);
    object(
        "contacts",
        Direction::Both,
        vec![
            both("email", "email", PropertyType::String),
            both("firstname", "first_name", PropertyType::String),
            both("annualrevenue", "revenue", PropertyType::Number),
            both("price", "price", PropertyType::Decimal),
            both("owner", "owner", PropertyType::Integer),
            both("optout", "opt_out", PropertyType::Bool),
            both("birthday", "birthday", PropertyType::Date),
            both("seen", "seen", PropertyType::Datetime),
            both("stage", "stage", PropertyType::Enumeration),
            both("interests", "interests", PropertyType::Set),
            field("score", "score", PropertyType::Number, Direction::Pull),
        ],
    )
}

pub(crate) fn mapping(objects: Vec<ObjectMapping>) -> Mapping {
    let pairs = Vec::new();
    Mapping { objects, pairs }
}

/// A value as a test compares it; NULL is `-`.
pub(crate) fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

/// The texts that a query gives, read as another program would.
pub(crate) fn texts(folder: &TempDir, sql: &str) -> Vec<String> {
    let connection = connection(folder);
    let mut statement = connection.prepare(sql).expect(sql);
    let rows = statement.query_map([], |row| row.get(0)).expect(sql);
    rows.collect::<Result<_, _>>().expect("texts")
}
