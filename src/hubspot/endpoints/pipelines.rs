//! Pipelines and their stages, of deals, tickets and custom objects.

use crate::decide::quota::Priority;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::{Client, wire};
use crate::model::name::ObjectType;
use crate::model::object::StandardObject;
use crate::model::reference::{Pipeline, Stage};

impl Client {
    /// All pipelines of an object that are not archived; objects without pipelines are refused.
    pub async fn pipelines(&self, object: &ObjectType) -> Result<Vec<Pipeline>, HubspotError> {
        let request = Request {
            endpoint: Endpoint::Pipelines,
            object: Some(object),
            to: None,
            query: String::new(),
            body: None,
            inputs: None,
            priority: Priority::Poll,
        };
        let (page, _) = self.page::<wire::Pipeline>(&request).await?;
        // Deals and tickets have a pipeline of HubSpot's own; others may have none (`hubspot/api-facts.md#9`).
        let stages = StandardObject::of(object.as_str()).and_then(|known| known.stages);
        let has_one = stages.is_some_and(|known| known.default_pipeline.is_some());
        if page.results.len() == 0 && has_one {
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::Pipelines),
                status: 200,
                source: "no pipeline is shown".into(),
            });
        }
        let pipelines = page.results.read.into_iter().map(from_wire);
        Ok(pipelines.filter(|found| !found.id.is_empty()).collect())
    }
}

fn from_wire(pipeline: wire::Pipeline) -> Pipeline {
    Pipeline {
        id: pipeline.id.0.unwrap_or_default(),
        label: pipeline.label.0.or_else(|| Some(String::new())),
        display_order: pipeline.display_order.or(Some(0)),
        archived: pipeline.archived.unwrap_or(false),
        stages: pipeline
            .stages
            .unwrap_or_default()
            .read
            .into_iter()
            .map(stage_from_wire)
            .filter(|stage| !stage.id.is_empty())
            .collect(),
    }
}

/// `isClosed` says it of deals, `ticketState` of tickets.
fn stage_from_wire(stage: wire::Stage) -> Stage {
    let mut known = stage.metadata.unwrap_or_default().texts;
    let mut metadata = |name| known.remove(name).flatten();
    let is_closed = metadata("isClosed").is_some_and(|text| text == "true")
        || metadata("ticketState").is_some_and(|text| text == "CLOSED");
    let probability = metadata("probability").and_then(|text| text.parse().ok());
    Stage {
        id: stage.id.0.unwrap_or_default(),
        label: stage.label.0.or_else(|| Some(String::new())),
        display_order: stage.display_order.or(Some(0)),
        closed: Some(is_closed),
        probability,
        archived: stage.archived.unwrap_or(false),
    }
}
