//! The present state of records, read just before something is decided about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::echo::{Histories, late_since};
use crate::decide::incoming::convert::{histories, remote_records};
use crate::decide::outgoing::present::Present;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::blanks;
use crate::engine::{Engine, StepError};
use crate::hubspot::{BatchRead, Priority, ReadQuery, Record, Reread};
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::store::outbox;

/// Reads the present state of records, by id; those that are gone are left out.
pub(crate) async fn read_records(
    engine: &Engine,
    object: &ObjectSync,
    ids: &[HubspotId],
    priority: Priority,
) -> Result<Present, StepError> {
    if ids.is_empty() {
        return Ok(Present::default());
    }
    let query = ReadQuery {
        keys: ids.iter().map(ToString::to_string).collect(),
        id_property: None,
        properties: object.properties.clone(),
        with_history: Vec::new(),
        archived: false,
    };
    read(engine, object, &query, priority).await
}

/// The properties of which updates were lost: their histories tell whose values HubSpot holds.
#[derive(Debug, Default)]
pub struct Doubt {
    properties: Vec<PropertyName>,
    own_app: Option<String>,
}

impl Doubt {
    /// What is in doubt of these entries' rows.
    pub async fn about(
        engine: &Engine,
        object: &ObjectSync,
        due: &[Entry],
    ) -> Result<Self, StepError> {
        let rows: Vec<LocalId> = due.iter().map(|queued| queued.local_id).collect();
        let since = late_since(engine.now(), engine.client.clock_offset_ms());
        let sync = object.clone();
        let properties: Vec<PropertyName> = engine
            .store
            .read(move |connection| {
                let mut properties = BTreeSet::new();
                for row in rows {
                    let sent = outbox::sent_earlier(connection, sync.object(), row, since)?;
                    properties.extend(sent.into_keys());
                }
                properties.retain(|property| sync.mapping().field(property).is_some());
                Ok(properties.into_iter().collect())
            })
            .await?;
        let own_app = match properties.is_empty() {
            true => None,
            false => engine.client.own_app().await,
        };
        Ok(Self {
            properties,
            own_app,
        })
    }

    /// Whether every request was answered.
    pub fn is_none(&self) -> bool {
        self.properties.is_empty()
    }
}

/// Reads the present state of records that are to be written right afterwards.
pub(crate) async fn reread_records(
    engine: &Engine,
    object: &ObjectSync,
    ids: &[HubspotId],
    priority: Priority,
    reread: &Reread,
    doubt: &Doubt,
) -> Result<Present, StepError> {
    let query = ReadQuery {
        keys: ids.iter().map(ToString::to_string).collect(),
        id_property: None,
        properties: object.properties.clone(),
        with_history: doubt.properties.iter().map(ToString::to_string).collect(),
        archived: false,
    };
    let asked_at = engine.now();
    let found = engine
        .client
        .reread(object.object(), &query, priority, reread)
        .await?;
    let told = |record: &Record| {
        let own_app = doubt.own_app.as_deref();
        (
            record.id,
            histories(object, record, &doubt.properties, own_app),
        )
    };
    let told: BTreeMap<HubspotId, Histories> = found.records.iter().map(told).collect();
    let present = present(engine, object, (&query, asked_at), found).await?;
    Ok(Present {
        histories: told,
        ..present
    })
}

/// Reads records by a batch read.
pub async fn read(
    engine: &Engine,
    object: &ObjectSync,
    query: &ReadQuery,
    priority: Priority,
) -> Result<Present, StepError> {
    let asked_at = engine.now();
    let found = engine
        .client
        .batch_read(object.object(), query, priority)
        .await?;
    present(engine, object, (query, asked_at), found).await
}

/// The same with the history of one property, as far as HubSpot tells it.
pub(crate) async fn read_with_histories(
    engine: &Engine,
    object: &ObjectSync,
    query: &ReadQuery,
    priority: Priority,
    property: &PropertyName,
) -> Result<Present, StepError> {
    let own_app = engine.client.own_app().await;
    let asked_at = engine.now();
    let found = engine
        .client
        .batch_read(object.object(), query, priority)
        .await?;
    let asked = std::slice::from_ref(property);
    let told = |record: &Record| {
        (
            record.id,
            histories(object, record, asked, own_app.as_deref()),
        )
    };
    let told = found.records.iter().map(told).collect();
    let present = present(engine, object, (query, asked_at), found).await?;
    Ok(Present {
        histories: told,
        ..present
    })
}

async fn present(
    engine: &Engine,
    object: &ObjectSync,
    (query, asked_at): (&ReadQuery, Timestamp),
    mut found: BatchRead,
) -> Result<Present, StepError> {
    blanks::fill_before_a_write(engine, object, &query.properties, &mut found.records).await?;
    Ok(Present {
        asked_at,
        records: remote_records(object, found.records),
        histories: BTreeMap::new(),
        unread: found.unread,
    })
}
