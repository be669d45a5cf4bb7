//! A look by search, where HubSpot keeps no value of the row unique: just before a create where nothing is read into the mirror
//! (`direction = "push"`), and for what a lost create made whose row was deleted since, so that no row can take it.
//!
//! Search is behind the store: a create waits until what was there when its row was made can be found. A record that
//! somebody makes within that time is not found; `check` says so.

use std::collections::{BTreeMap, BTreeSet};

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
use crate::hubspot::{Priority, ReadQuery};
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, OutboxId};
use crate::model::mapping::FieldMapping;
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::database::savepoint;
use crate::store::history::Origin;
use crate::store::outbox;
use crate::store::{Lane, reads};

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
    // An entry whose time lies in the future was made by a clock that was put right since: it has waited.
    let is_young = |queued: &Entry| {
        let made = queued.standing.enqueued_at;
        made <= now && now < made + SEARCH_LAG
    };
    let (young, ripe): (Vec<_>, Vec<_>) = due.into_iter().partition(is_young);
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

/// Looks for the records that the entries' rows mean, and gives them to their rows.
pub(crate) async fn look(
    engine: &Engine,
    object: &ObjectSync,
    entries: &[OutboxId],
    priority: Priority,
) -> Result<(), StepError> {
    let fields: Vec<FieldMapping> = looked_up(object, LookBefore::Search).cloned().collect();
    if fields.is_empty() || entries.is_empty() {
        return Ok(());
    }
    let asked_at = engine.now();
    let mut found = BTreeSet::new();
    for field in &fields {
        let values = values_of(engine, object, field, entries).await?;
        for part in values_that_fit(values) {
            found.extend(search(engine, object, field, part, priority).await?);
        }
    }
    let found: Vec<HubspotId> = found.into_iter().collect();
    for ids in found.chunks(BATCH) {
        let present = read_records(engine, object, ids, priority).await?;
        let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
        engine
            .store
            .write(Lane::Interactive, move |tx| {
                let applying =
                    Applying::from_store(Pass::of(tx, &sync, Origin::Poll, offset), asked_at);
                for record in &present.records {
                    match savepoint::within(tx, || apply_record(tx, &applying, record, None)) {
                        Err(error) if error.is_constraint() => {
                            let again = applying.pass.now + AFTER_UNREAD;
                            reads::ask(tx, sync.object(), record.id, Origin::Poll, again)?;
                        }
                        applied => {
                            applied?;
                        }
                    }
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// What the rows of entries hold in a field, as search is asked for it.
async fn values_of(
    engine: &Engine,
    object: &ObjectSync,
    field: &FieldMapping,
    entries: &[OutboxId],
) -> Result<BTreeSet<String>, StepError> {
    let (sync, entries, property) = (object.clone(), entries.to_vec(), field.property.clone());
    let values = engine
        .store
        .read(move |connection| {
            let mut values = BTreeSet::new();
            for id in entries {
                let Some(queued) = outbox::by_id(connection, id)? else {
                    continue;
                };
                let Some(row) = sync.table.by_local_id(connection, queued.local_id)? else {
                    continue;
                };
                let own = identities(&sync, &row.record.values).into_iter();
                values.extend(
                    own.filter(|identity| identity.property == property)
                        .map(|identity| identity.form),
                );
            }
            Ok(values)
        })
        .await?;
    Ok(values)
}

/// The first record of each value: which of several is meant nobody can say, and the oldest one is taken every time.
async fn search(
    engine: &Engine,
    object: &ObjectSync,
    field: &FieldMapping,
    values: Vec<String>,
    priority: Priority,
) -> Result<Vec<HubspotId>, StepError> {
    let mut first: BTreeMap<String, HubspotId> = BTreeMap::new();
    for hit in hits(engine, object, field, values, priority).await? {
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
    engine: &Engine,
    object: &ObjectSync,
    field: &FieldMapping,
    values: Vec<String>,
    priority: Priority,
) -> Result<Vec<ValueHit>, StepError> {
    let rule = MatchRule::of(object.object(), field);
    let mut query = ValuesQuery {
        property: [field.property.as_str().to_owned()],
        values,
        after_id: None,
    };
    let mut hits = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = engine
            .client
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
        let hits = hits(engine, object, field, part, priority).await?;
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
