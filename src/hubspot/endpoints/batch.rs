//! Batch read: up to 100 records by id or by a unique property, from the store and not from the search's index.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;

use crate::decide::matching;
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::decide::quota::Priority;
use crate::hubspot::Client;
use crate::hubspot::call::Request;
use crate::hubspot::call::answer::read_entry;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::pages::{PAGE_ATTEMPTS, PageSize, is_too_much};
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::endpoints::reread::Reread;
use crate::hubspot::endpoints::write::InputError;
use crate::hubspot::record::from_wire;
use crate::hubspot::wire;
use crate::model::answer::{MERGED_IDS, Record};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;

/// Which records are read.
#[derive(Debug, Clone, Default)]
pub struct ReadQuery {
    /// Ids, or values of `id_property`; doubles are asked for once. At most 100, 50 with history.
    pub keys: Vec<String>,
    /// The unique property whose values the keys are.
    pub id_property: Option<String>,
    /// The properties wanted.
    pub properties: Vec<String>,
    /// The properties whose former values are wanted.
    pub with_history: Vec<String>,
    /// Archived records in place of the others.
    pub archived: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BatchRead {
    /// Records, in no order. After a merge an id is answered by another one (`hubspot/api-facts.md#13`).
    pub records: Vec<Record>,
    /// Keys that HubSpot says are not there, as it spells them: archived, deleted, never there, or invisible to the
    /// token.
    pub missing: Vec<String>,
    /// Keys that were asked for and that the answer neither shows nor says to be missing: HubSpot could not read them
    /// this time, and nothing is known of them. A refusal of single keys is one of [`errors`](Self::errors).
    pub unread: Vec<String>,
    /// Records among them that the answer shows and of which nothing but the id can be read.
    pub unreadable: Vec<HubspotId>,
    /// Anything else that HubSpot says about single keys.
    pub errors: Vec<InputError>,
}

impl BatchRead {
    fn append(&mut self, other: Self) {
        self.records.extend(other.records);
        self.missing.extend(other.missing);
        self.unread.extend(other.unread);
        self.unreadable.extend(other.unreadable);
        self.errors.extend(other.errors);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadBody<'a> {
    inputs: Vec<ReadKey<'a>>,
    properties: &'a [String],
    properties_with_history: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    id_property: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct ReadKey<'a> {
    pub(crate) id: &'a str,
}

impl Client {
    /// Reads up to 100 records; in smaller batches where HubSpot's gateway gives up on them. Nothing asked is nothing sent.
    pub(crate) async fn batch_read(
        &self,
        object: &ObjectType,
        query: &ReadQuery,
        priority: Priority,
    ) -> Result<BatchRead, HubspotError> {
        self.batch_read_within(object, query, priority, None).await
    }

    /// The same, before a write that rests on it.
    pub(crate) async fn batch_read_within(
        &self,
        object: &ObjectType,
        query: &ReadQuery,
        priority: Priority,
        reread: Option<&Reread>,
    ) -> Result<BatchRead, HubspotError> {
        let mut keys: Vec<&str> = query.keys.iter().map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(BatchRead::default());
        }
        let most = if query.with_history.is_empty() {
            BATCH
        } else {
            BATCH_WITH_HISTORY
        };
        if keys.len() > most {
            return Err(self.invalid(Endpoint::BatchRead, "too many keys for one batch"));
        }
        let mut read = BatchRead::default();
        let (mut left, mut attempt) = (&keys[..], 1);
        while !left.is_empty() {
            let size = self.page_size(Endpoint::BatchRead, object, |size| size.most);
            let (batch, rest) = left.split_at(left.len().min(size as usize));
            match self.read_keys(object, query, batch, priority, reread).await {
                Ok(part) => {
                    self.page_size(Endpoint::BatchRead, object, PageSize::was_good);
                    read.append(part);
                    (left, attempt) = (rest, 1);
                }
                Err(error) if error.is_too_large() && batch.len() == 1 => {
                    // One record alone: the others must not wait for it.
                    tracing::warn!(object = %object, error = %error, code = error.code(), "a record is too large to be read");
                    read.unread.push(batch[0].to_owned());
                    (left, attempt) = (rest, 1);
                }
                Err(error)
                    if is_too_much(&error) && (error.is_too_large() || attempt < PAGE_ATTEMPTS) =>
                {
                    let asked = batch.len() as u32;
                    self.page_size(Endpoint::BatchRead, object, |size| {
                        size.was_too_much(asked, &error);
                    });
                    self.rest(&error, attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    async fn read_keys(
        &self,
        object: &ObjectType,
        query: &ReadQuery,
        keys: &[&str],
        priority: Priority,
        reread: Option<&Reread>,
    ) -> Result<BatchRead, HubspotError> {
        let body = ReadBody {
            inputs: keys.iter().map(|id| ReadKey { id }).collect(),
            properties: &query.properties,
            properties_with_history: &query.with_history,
            id_property: query.id_property.as_deref(),
        };
        let request = Request {
            endpoint: Endpoint::BatchRead,
            object: Some(object),
            to: None,
            query: format!("?archived={}", query.archived),
            body: Some(to_body(&body)),
            inputs: Some(keys.len() as u64),
            priority,
        };
        let response = self.send_within(&request, reread).await?;
        let batch = self.parse::<wire::Batch<wire::Shown>>(Endpoint::BatchRead, &response)?;
        self.note_unread(Endpoint::BatchRead, &batch.results);
        let mut read = sort_answer(batch, keys, query.id_property.as_deref());
        if query.id_property.is_none() && query.properties.iter().any(|name| name == MERGED_IDS) {
            drop_unasked(&mut read.records, keys);
        }
        Ok(read)
    }
}

/// Drops records that nobody asked for: what is known of them is not known by this answer.
fn drop_unasked(records: &mut Vec<Record>, asked: &[&str]) {
    let asked: BTreeSet<HubspotId> = asked.iter().filter_map(|key| key.parse().ok()).collect();
    records.retain(|record| {
        asked.contains(&record.id) || record.merged_ids().iter().any(|id| asked.contains(id))
    });
}

/// The category of keys that are not there.
const NOT_FOUND: &str = "OBJECT_NOT_FOUND";

fn sort_answer(
    batch: wire::Batch<wire::Shown>,
    asked: &[&str],
    id_property: Option<&str>,
) -> BatchRead {
    let mut read = BatchRead {
        records: batch
            .results
            .read
            .into_iter()
            .map(|shown| from_wire(shown.0))
            .collect(),
        unreadable: batch.results.unread.into_iter().collect(),
        ..BatchRead::default()
    };
    for entry in batch.errors.unwrap_or_default().read {
        let answer = read_entry(&entry);
        if answer.category == NOT_FOUND && !answer.ids.is_empty() {
            read.missing.extend(answer.ids);
        } else {
            read.errors.push(InputError::from_answer(answer));
        }
    }
    let mut unread = unshown(asked, &read, id_property);
    let others_are_missing =
        !read.errors.is_empty() && read.errors.iter().all(|error| error.category == NOT_FOUND);
    if others_are_missing {
        // Said without naming them: then it is all those that are not shown.
        read.missing.append(&mut unread);
        read.errors.clear();
    }
    read.unread = unread;
    read
}

/// The keys that an answer neither shows nor says to be missing.
fn unshown(asked: &[&str], read: &BatchRead, id_property: Option<&str>) -> Vec<String> {
    if read.records.len() + read.missing.len() >= asked.len() && id_property.is_some() {
        // A contact is found by its second e-mail address too, and shows its first.
        return Vec::new();
    }
    let mut seen: BTreeSet<String> = read.missing.iter().map(|key| comparable(key)).collect();
    for record in &read.records {
        match id_property {
            Some(property) => {
                seen.extend(record.text(property).map(comparable));
                // A contact is found by each of its further addresses too.
                let others = record.text("hs_additional_emails").unwrap_or_default();
                seen.extend(others.split(';').map(comparable));
            }
            None => {
                seen.insert(record.id.to_string());
                // An id that was merged away is answered by the survivor (`hubspot/api-facts.md#13`).
                seen.extend(record.merged_ids().iter().map(ToString::to_string));
            }
        }
    }
    asked
        .iter()
        .filter(|key| !seen.contains(&comparable(key)))
        .map(|key| (*key).to_owned())
        .collect()
}

/// HubSpot compares keys without regard to case and to space around them.
fn comparable(key: &str) -> String {
    matching::plain(key)
}

/// JSON of a request's body.
pub(crate) fn to_body(body: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("texts, lists and booleans have a JSON form"))
}
