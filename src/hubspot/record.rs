//! Records off the wire, as the centre takes them (`model/answer`).

use std::collections::BTreeMap;

use crate::hubspot::wire::{self, Elements};
use crate::model::answer::{HistoryEntry, Record};
use crate::model::object::MODIFIED_PROPERTIES;
use crate::model::time::Timestamp;

/// The properties of a record's creation, for answers that leave the times out.
const CREATED: [&str; 2] = ["createdate", "hs_createdate"];

/// Takes a record from the wire.
pub(super) fn from_wire(record: wire::Record) -> Record {
    let id = record.hubspot_id();
    let wire::Properties {
        texts: properties,
        odd,
    } = record.properties.unwrap_or_default();
    let time = |given: Option<wire::WireMoment>, names: [&str; 2]| {
        let property = || {
            names
                .iter()
                .find_map(|name| Timestamp::parse(properties.get(*name)?.as_deref()?))
        };
        given
            .map(|moment| moment.0)
            .or_else(property)
            .unwrap_or_default()
    };
    let created_at = time(record.created_at, CREATED);
    let updated_at = time(record.updated_at, MODIFIED_PROPERTIES).max(created_at);
    Record {
        id,
        created_at,
        updated_at,
        properties,
        odd,
        archived: record.archived.unwrap_or(false),
        archived_at: record.archived_at.map(|moment| moment.0),
        new: record.new,
        trace_id: record.object_write_trace_id.0,
        history: history_from_wire(record.properties_with_history),
    }
}

fn history_from_wire(
    history: Option<BTreeMap<String, Elements<wire::HistoryValue>>>,
) -> BTreeMap<String, Vec<HistoryEntry>> {
    let entry = |value: wire::HistoryValue| HistoryEntry {
        value: value.value.0,
        at: value.timestamp.0,
        source_type: value.source_type.0,
        source_id: value.source_id.0,
    };
    history
        .unwrap_or_default()
        .into_iter()
        // Without its newest entry, a history would tell an older change for the last one: then nothing is known of it.
        .filter(|(_, values)| !values.begins_unread)
        .map(|(name, values)| (name, values.read.into_iter().map(entry).collect()))
        .collect()
}
