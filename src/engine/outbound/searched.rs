//! A look by search, where HubSpot keeps no value of the row unique: just before a create where nothing is read into the mirror
//! (`direction = "push"`), and for what a lost create made whose row was deleted since, so that no row can take it.
//!
//! Search is behind the store: a create waits until what was there when its row was made can be found. A record that
//! somebody makes within that time is not found; `check` says so.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction};

use crate::decide::incoming::convert::identities;
use crate::decide::matching::{LookBefore, MatchRule, SEARCH_LAG, looked_up};
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::decide::outgoing::present::Present;
use crate::decide::retry::AFTER_UNREAD;
use crate::engine::inbound::apply::apply_record;
use crate::engine::inbound::applying::Applying;
use crate::engine::outbound::present::{read_records, read_with_histories};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::hubspot::endpoints::search::{ValuesQuery, values_that_fit};
use crate::hubspot::{Client, HubspotError, Priority, ReadQuery};
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, OutboxId};
use crate::model::mapping::FieldMapping;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::database::savepoint;
use crate::store::history::Origin;
use crate::store::outbox;
use crate::store::{Lane, StoreError, reads};

/// The most pages that are looked through for one part of the values: beyond 10,000 records of one value nobody could say
/// which of them is meant.
const MOST_PAGES: usize = 50;

/// The entries whose look may be made now; the others wait until search shows what was there when they were made.
pub(crate) async fn ripe(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
) -> Result<Vec<Entry>, StepError> {
    if looked_up(object, LookBefore::Search).next().is_none() {
        return Ok(due);
    }
    let now = engine.now();
    let (young, ripe): (Vec<_>, Vec<_>) = due.into_iter().partition(|queued| is_young(queued, now));
    if !young.is_empty() {
        engine
            .store
            .write(Lane::Interactive, move |tx| {
                for queued in &young {
                    outbox::put_off(tx, queued.id, queued.standing.enqueued_at + SEARCH_LAG)?;
                }
                Ok(())
            })
            .await?;
    }
    Ok(ripe)
}

/// Whether search may not show yet what was there when an entry was made. One whose time lies in the future was made by a clock
/// that was put right since: it has waited.
pub(crate) fn is_young(create: &Entry, now: Timestamp) -> bool {
    let made = create.standing.enqueued_at;
    made <= now && now < made + SEARCH_LAG
}

/// Looks for the records that the entries' rows mean, and gives them to their rows.
pub(crate) async fn look(
    engine: &Engine,
    object: &ObjectSync,
    entries: &[OutboxId],
    priority: Priority,
) -> Result<(), StepError> {
    if entries.is_empty() || looked_up(object, LookBefore::Search).next().is_none() {
        return Ok(());
    }
    let asked_at = engine.now();
    let (sync, entries) = (object.clone(), entries.to_vec());
    let values = engine
        .store
        .read(move |connection| values_of(connection, &sync, &entries))
        .await?;
    let found = meant(&engine.client, object, values, priority).await?;
    for ids in found.chunks(BATCH) {
        let present = read_records(engine, object, ids, priority).await?;
        let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
        engine
            .store
            .write(Lane::Interactive, move |tx| {
                let pass = Pass::of(tx, &sync, Origin::Poll, offset);
                take(tx, &Applying::from_store(pass, asked_at), &present.records)
            })
            .await?;
    }
    Ok(())
}

/// Gives records to the rows that mean them.
pub(crate) fn take(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    records: &[RemoteRecord],
) -> Result<(), StoreError> {
    let records: Vec<&RemoteRecord> = records.iter().collect();
    for (applying, record) in applying.each(&records) {
        match savepoint::within(tx, || apply_record(tx, &applying, record, None)) {
            Err(error) if error.is_constraint() => {
                let again = applying.pass.now + AFTER_UNREAD;
                reads::ask(tx, applying.pass.name(), record.id, Origin::Poll, again)?;
            }
            applied => {
                applied?;
            }
        }
    }
    Ok(())
}

/// What the rows of entries hold in the fields that are searched by, as search is asked for it.
pub(crate) fn values_of(
    connection: &Connection,
    object: &ObjectSync,
    entries: &[OutboxId],
) -> Result<Vec<(FieldMapping, BTreeSet<String>)>, StoreError> {
    let mut found = Vec::new();
    for field in looked_up(object, LookBefore::Search) {
        let mut values = BTreeSet::new();
        for id in entries {
            let Some(queued) = outbox::by_id(connection, *id)? else {
                continue;
            };
            let Some(row) = object.table.by_local_id(connection, queued.local_id)? else {
                continue;
            };
            let own = identities(object, &row.record.values).into_iter();
            let own = own.filter(|identity| identity.property == field.property);
            values.extend(own.map(|identity| identity.form));
        }
        found.push((field.clone(), values));
    }
    Ok(found)
}

/// The records that are meant by such values.
pub(crate) async fn meant(
    client: &Client,
    object: &ObjectSync,
    values: Vec<(FieldMapping, BTreeSet<String>)>,
    priority: Priority,
) -> Result<Vec<HubspotId>, HubspotError> {
    let mut found = BTreeSet::new();
    for (field, values) in values {
        for part in values_that_fit(values) {
            found.extend(search(client, object, &field, part, priority).await?);
        }
    }
    Ok(found.into_iter().collect())
}

/// The first record of each value: which of several is meant nobody can say, and the oldest one is taken every time.
async fn search(
    client: &Client,
    object: &ObjectSync,
    field: &FieldMapping,
    values: Vec<String>,
    priority: Priority,
) -> Result<Vec<HubspotId>, HubspotError> {
    let mut first: BTreeMap<String, HubspotId> = BTreeMap::new();
    for hit in hits(client, object, field, values, priority).await? {
        first.entry(hit.form).or_insert(hit.id);
    }
    Ok(first.into_values().collect())
}

/// A record that search shows for a value.
struct ValueHit {
    form: String,
    id: HubspotId,
    created_at: Timestamp,
}

/// The records of some values, by rising id.
async fn hits(
    client: &Client,
    object: &ObjectSync,
    field: &FieldMapping,
    values: Vec<String>,
    priority: Priority,
) -> Result<Vec<ValueHit>, HubspotError> {
    let rule = MatchRule::of(object.object(), field);
    let mut query = ValuesQuery {
        property: [field.property.as_str().to_owned()],
        values,
        after_id: None,
    };
    let mut hits = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = client
            .search_values(object.object(), &query, priority)
            .await?;
        for record in &page.records {
            let text = record.text(field.property.as_str()).unwrap_or_default();
            if let Some(form) = rule.form(&Value::from_canonical(text)) {
                hits.push(ValueHit {
                    form,
                    id: record.id,
                    created_at: record.created_at,
                });
            }
        }
        query.after_id = page
            .records
            .last()
            .map(|record| record.id)
            .or(query.after_id);
        if page.is_last || page.records.is_empty() {
            break;
        }
    }
    Ok(hits)
}

/// Records that hold one of these values and were made since then, as the store shows them, with the history of the value:
/// a lost create may have made them.
pub(crate) async fn made_since(
    engine: &Engine,
    object: &ObjectSync,
    values: (&PropertyName, BTreeSet<String>),
    since: Timestamp,
    priority: Priority,
) -> Result<Vec<Present>, StepError> {
    let (property, forms) = values;
    let Some(field) = object.mapping().field(property) else {
        return Ok(Vec::new());
    };
    let mut made = Vec::new();
    for part in values_that_fit(forms) {
        let hits = hits(&engine.client, object, field, part, priority).await?;
        made.extend(hits.into_iter().filter(|hit| hit.created_at >= since));
    }
    let mut shown = Vec::new();
    for hits in made.chunks(BATCH_WITH_HISTORY) {
        let query = ReadQuery {
            keys: hits.iter().map(|hit| hit.id.to_string()).collect(),
            id_property: None,
            properties: object.properties.clone(),
            with_history: vec![property.as_str().to_owned()],
            archived: false,
        };
        shown.push(read_with_histories(engine, object, &query, priority, property).await?);
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene};

    #[test]
    fn what_a_search_finds_empty_is_held_as_a_whole() {
        let scene = Scene::of_adas();
        scene.write(|tx| take(tx, &scene.applying(How::at(10)), &Scene::emptied(50)));
        assert_eq!(scene.clear_holds(), ["local 50 firstname"]);
        assert_eq!(
            scene.rows("SELECT count(first_name) FROM contacts"),
            ["120"]
        );
    }
}
