//! Custom objects: what the portal has made, and under which names (`hubspot/api-facts.md#9`).

use crate::decide::portal::objects::ObjectSchema;
use crate::decide::quota::Priority;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::{Client, wire};
use crate::model::name::ObjectType;

impl Client {
    /// The schemas of all custom objects that are not archived.
    ///
    /// # Errors
    /// Those of a request; 403 where the account can have no custom objects.
    pub async fn schemas(&self) -> Result<Vec<ObjectSchema>, HubspotError> {
        let (page, _) = self
            .page::<wire::Schema>(&read(Endpoint::Schemas, None))
            .await?;
        let live = page
            .results
            .read
            .into_iter()
            .filter(|schema| schema.archived != Some(true));
        Ok(live.map(from_wire).collect())
    }

    /// The schema of one object by any of its names.
    ///
    /// # Errors
    /// Those of a request; 404 where the portal has no such object.
    pub async fn schema(&self, object: &ObjectType) -> Result<ObjectSchema, HubspotError> {
        let response = self.send(&read(Endpoint::Schema, Some(object))).await?;
        let schema = self.parse::<wire::Schema>(Endpoint::Schema, &response)?;
        Ok(from_wire(schema))
    }
}

fn read(endpoint: Endpoint, object: Option<&ObjectType>) -> Request<'_> {
    Request {
        endpoint,
        object,
        to: None,
        query: String::new(),
        body: None,
        inputs: None,
        priority: Priority::Webhook,
    }
}

fn from_wire(schema: wire::Schema) -> ObjectSchema {
    let texts = |list: Option<Vec<wire::Scalar>>| -> Vec<String> {
        list.unwrap_or_default()
            .into_iter()
            .filter_map(|one| one.0)
            .collect()
    };
    let mut display: Vec<String> = schema.primary_display_property.0.into_iter().collect();
    display.extend(texts(schema.secondary_display_properties));
    ObjectSchema {
        full_name: schema.fully_qualified_name.0.unwrap_or_default(),
        name: schema.name.0.unwrap_or_default(),
        type_id: schema.object_type_id,
        required: texts(schema.required_properties),
        display,
        defaults: Vec::new(),
    }
}
