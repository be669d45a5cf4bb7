//! Batch writes: create, update, upsert, archive; up to 100 records.
//!
//! Each input carries its own trace id, so that HubSpot answers for each apart (`hubspot/api-facts.md#4`). Results come
//! in no order: match them by trace id, else by id. An input may have neither result nor error (a merged-away id):
//! silence is no success. None of these is repeated after a lost answer.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::decide::outgoing::plan::BATCH;
use crate::decide::quota::{Priority, RestingWork};
use crate::hubspot::Client;
use crate::hubspot::call::Request;
use crate::hubspot::call::answer::{Answer, Words, read_entry};
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::associations::{IdBody, TypeBody};
use crate::hubspot::endpoints::batch::{ReadKey, to_body};
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::endpoints::reread::Reread;
use crate::hubspot::record::from_wire;
use crate::hubspot::wire;
use crate::model::answer::{NewAssociation, Record, WriteInput};
use crate::model::entry::Operation;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;

/// HubSpot's refusal of single inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputError {
    /// The trace ids of the inputs meant.
    pub trace_ids: Vec<String>,
    /// The ids or keys meant.
    pub ids: Vec<String>,
    /// HubSpot's category.
    pub category: String,
    /// HubSpot's sub-category.
    pub sub_category: String,
    /// Codes of single mistakes.
    pub codes: Vec<String>,
    /// The properties that the mistakes name.
    pub properties: Vec<String>,
    /// HubSpot's own words, at most 2 KB.
    pub message: Words,
    /// The record that exists already.
    pub existing_id: Option<HubspotId>,
}

impl InputError {
    pub(crate) fn from_answer(answer: Answer) -> Self {
        Self {
            trace_ids: answer.trace_ids,
            ids: answer.ids,
            category: answer.category,
            sub_category: answer.sub_category,
            codes: answer.codes,
            properties: answer.properties,
            message: answer.message,
            existing_id: answer.existing_id,
        }
    }
}

/// What became of a batch that HubSpot took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BatchWrite {
    /// What was written, in no order.
    pub results: Vec<Record>,
    /// What was not.
    pub errors: Vec<InputError>,
}

#[derive(Serialize)]
struct Inputs<T> {
    inputs: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_property: Option<&'a str>,
    #[serde(serialize_with = "as_map")]
    properties: &'a [(String, String)],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    associations: Vec<NewAssociationBody<'a>>,
    object_write_trace_id: &'a str,
}

#[derive(Serialize)]
struct NewAssociationBody<'a> {
    to: IdBody,
    types: Vec<TypeBody<'a>>,
}

impl<'a> NewAssociationBody<'a> {
    fn of(new: &'a NewAssociation) -> Self {
        Self {
            to: new.to.into(),
            types: new.types.iter().map(TypeBody::of).collect(),
        }
    }
}

fn as_map<S: Serializer>(
    properties: &&[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(properties.len()))?;
    for (name, value) in *properties {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

impl Client {
    /// Makes records. Not safe to repeat: a lost answer may have made them.
    pub(crate) async fn batch_create(
        &self,
        object: &ObjectType,
        inputs: &[WriteInput],
        priority: Priority,
    ) -> Result<BatchWrite, HubspotError> {
        self.write(Endpoint::BatchCreate, object, inputs, None, priority, None)
            .await
    }

    /// Changes records by id. With `reread` nothing is sent once what it read is too old: [`HubspotError::Stale`].
    pub(crate) async fn batch_update(
        &self,
        object: &ObjectType,
        inputs: &[WriteInput],
        priority: Priority,
        reread: Option<&Reread>,
    ) -> Result<BatchWrite, HubspotError> {
        self.write(
            Endpoint::BatchUpdate,
            object,
            inputs,
            None,
            priority,
            reread,
        )
        .await
    }

    /// Makes or changes records by a unique property; each result's `new` says which. Never two at once for one key
    /// (`hubspot/api-facts.md#5`).
    pub(crate) async fn batch_upsert(
        &self,
        object: &ObjectType,
        inputs: &[WriteInput],
        id_property: &str,
        priority: Priority,
    ) -> Result<BatchWrite, HubspotError> {
        self.write(
            Endpoint::BatchUpsert,
            object,
            inputs,
            Some(id_property),
            priority,
            None,
        )
        .await
    }

    /// Whether the token may write records of an object: asked with an update of none, which HubSpot refuses for its emptiness
    /// or takes, and forbids where the scope is missing.
    ///
    /// # Errors
    /// Those of a request; a refusal for the emptiness is none.
    pub(crate) async fn try_to_write(&self, object: &ObjectType) -> Result<(), HubspotError> {
        let nothing: Inputs<()> = Inputs { inputs: Vec::new() };
        let request = Request {
            endpoint: Endpoint::BatchUpdate,
            object: Some(object),
            to: None,
            query: String::new(),
            body: Some(to_body(&nothing)),
            inputs: Some(0),
            priority: Priority::Interactive,
        };
        match self.send(&request).await {
            Ok(_) | Err(HubspotError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How long HubSpot is still to be left alone with what an operation of the outbox sends.
    pub(crate) fn rest_of(&self, operation: Operation) -> Option<Duration> {
        let work = match operation {
            Operation::Create => RestingWork::Create,
            Operation::Update => RestingWork::Update,
            Operation::Archive => RestingWork::Archive,
            Operation::Associate | Operation::Disassociate => RestingWork::Associations,
        };
        self.inner.limiter.rest_of(work)
    }

    /// Archives records; those that are gone already are no error (`hubspot/api-facts.md#4`). With `reread` as
    /// [`Self::batch_update`].
    pub(crate) async fn batch_archive(
        &self,
        object: &ObjectType,
        ids: &[HubspotId],
        priority: Priority,
        reread: Option<&Reread>,
    ) -> Result<(), HubspotError> {
        let ids: BTreeSet<HubspotId> = ids.iter().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        if ids.len() > BATCH {
            return Err(self.invalid(Endpoint::BatchArchive, "too many ids for one batch"));
        }
        let ids: Vec<String> = ids.iter().map(HubspotId::to_string).collect();
        let inputs = ids.iter().map(|id| ReadKey { id }).collect();
        let request = Request {
            endpoint: Endpoint::BatchArchive,
            object: Some(object),
            to: None,
            query: String::new(),
            inputs: Some(ids.len() as u64),
            body: Some(to_body(&Inputs { inputs })),
            priority,
        };
        self.send_within(&request, reread).await.map(drop)
    }

    async fn write(
        &self,
        endpoint: Endpoint,
        object: &ObjectType,
        inputs: &[WriteInput],
        id_property: Option<&str>,
        priority: Priority,
        reread: Option<&Reread>,
    ) -> Result<BatchWrite, HubspotError> {
        if inputs.is_empty() {
            return Ok(BatchWrite::default());
        }
        if let Some(why) = mistake(endpoint, inputs) {
            return Err(self.invalid(endpoint, why));
        }
        let wire_input = |input: &'_ WriteInput| -> serde_json::Value {
            serde_json::to_value(InputBody {
                id: input.id.as_deref(),
                id_property,
                properties: &input.properties,
                associations: input
                    .associations
                    .iter()
                    .map(NewAssociationBody::of)
                    .collect(),
                object_write_trace_id: &input.trace_id,
            })
            .expect("texts have a JSON form")
        };
        let inputs: Vec<_> = inputs.iter().map(wire_input).collect();
        let request = Request {
            endpoint,
            object: Some(object),
            to: None,
            query: String::new(),
            inputs: Some(inputs.len() as u64),
            body: Some(to_body(&Inputs { inputs })),
            priority,
        };
        let response = self.send_within(&request, reread).await?;
        let batch = self.parse::<wire::Batch<wire::Record>>(endpoint, &response)?;
        self.note_unread(endpoint, &batch.results);
        Ok(from_batch(batch))
    }
}

/// What HubSpot would refuse the whole batch for, or answer so that nobody can tell inputs apart.
fn mistake(endpoint: Endpoint, inputs: &[WriteInput]) -> Option<&'static str> {
    let distinct = |texts: BTreeSet<&str>| texts.len() == inputs.len();
    if inputs.len() > BATCH {
        return Some("too many inputs for one batch");
    }
    if !distinct(inputs.iter().map(|input| input.trace_id.as_str()).collect()) {
        return Some("two inputs have the same trace id");
    }
    let ids: BTreeSet<&str> = inputs
        .iter()
        .filter_map(|input| input.id.as_deref())
        .collect();
    let takes_links = endpoint == Endpoint::BatchCreate;
    if !takes_links && inputs.iter().any(|input| !input.associations.is_empty()) {
        return Some("only a create takes associations");
    }
    match endpoint == Endpoint::BatchCreate {
        true if !ids.is_empty() => Some("a create has no id"),
        false if !distinct(ids) => Some("an id is missing or there twice"),
        true | false => None,
    }
}

fn from_batch(batch: wire::Batch<wire::Record>) -> BatchWrite {
    let errors = batch.errors.unwrap_or_default();
    BatchWrite {
        results: batch.results.read.into_iter().map(from_wire).collect(),
        errors: errors
            .read
            .iter()
            .map(|entry| InputError::from_answer(read_entry(entry)))
            .collect(),
    }
}
