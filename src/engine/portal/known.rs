//! What the portal knows beside its lists: custom objects under any of their names, and properties that are answered by name
//! without being listed.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::portal::objects::{ListedProperty, ObjectSchema};
use crate::decide::schema::{Definition, Definitions, unlisted};
use crate::engine::portal::reading::keeps_no_other;
use crate::hubspot::endpoints::list::MAX_PAGE;
use crate::hubspot::endpoints::properties::PropertyDefinition;
use crate::hubspot::{Client, HubspotError, ListQuery, Priority};
use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::name::ObjectType;
use crate::model::object::StandardObject;

/// The schemas of the mapped objects that HubSpot doesn't define, by the portal's list, else by their own address. Where
/// neither says anything (an account without custom objects, a scope that is missing), what was known before holds, and an
/// object of which nothing was known is asked for by the name that the file has.
///
/// # Errors
/// HubSpot can't be asked.
pub(super) async fn schemas(
    client: &Client,
    in_file: &Mapping,
    mut former: BTreeMap<String, ObjectSchema>,
) -> Result<Schemas, HubspotError> {
    let is_custom = |object: &&ObjectMapping| StandardObject::of(object.object.as_str()).is_none();
    let custom: Vec<&ObjectMapping> = in_file.objects.iter().filter(is_custom).collect();
    if custom.is_empty() {
        return Ok(Schemas::default());
    }
    let listed = match client.schemas().await {
        Ok(listed) => listed,
        Err(error) if keeps_no_other(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut all = Schemas::default();
    for object in custom {
        let address = object.address();
        let in_list = listed
            .iter()
            .find(|schema| schema.is_called(address.as_str()));
        let schema = match in_list {
            Some(schema) => Some(schema.clone()),
            None => match client.schema(address).await {
                Ok(schema) => Some(schema),
                Err(error) if keeps_no_other(&error) => {
                    if error.status() == Some(404) {
                        all.unheard_of.insert(object.object.clone());
                    }
                    None
                }
                Err(error) => return Err(error),
            },
        };
        let former = former.remove(object.object.as_str());
        let former = former.filter(|known| known.is_called(address.as_str()));
        let schema = match (schema, former) {
            // What is mapped without a list stays until the properties are read.
            (Some(schema), Some(former)) => ObjectSchema {
                defaults: former.defaults,
                ..schema
            },
            (Some(schema), None) | (None, Some(schema)) => schema,
            (None, None) => ObjectSchema {
                type_id: address.to_string(),
                name: address.to_string(),
                ..ObjectSchema::default()
            },
        };
        if let Ok(type_id) = ObjectType::parse(&schema.type_id) {
            client.call_object(&object.object, &type_id);
        }
        all.found.insert(object.object.clone(), schema);
    }
    Ok(all)
}

/// What is known of the mapped objects that HubSpot doesn't define.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    /// A schema each.
    pub(super) found: BTreeMap<ObjectType, ObjectSchema>,
    /// Those of which neither the portal's list nor their own address knows anything.
    pub(super) unheard_of: BTreeSet<ObjectType>,
}

/// The properties of an answer, for what is mapped without a list.
pub(super) fn listed(properties: &[PropertyDefinition]) -> Vec<ListedProperty<'_>> {
    let properties = properties.iter().filter(|property| !property.archived);
    properties
        .map(|property| ListedProperty {
            name: &property.name,
            is_portals_own: !property.hubspot_defined,
        })
        .collect()
}

/// Mapped properties that HubSpot doesn't list and answers all the same (`hubspot/api-facts.md#7`): asked for by a read
/// before they are called missing. Where HubSpot can't be asked, `former` holds; where no record could show them, its own
/// names are believed.
///
/// # Errors
/// HubSpot can't be reached at all.
pub(super) async fn unlisted_properties(
    client: &Client,
    object: &ObjectMapping,
    listed: &Definitions,
    former: &BTreeSet<String>,
) -> Result<BTreeMap<String, Definition>, HubspotError> {
    let fields = object.fields.iter().map(|field| field.property.as_str());
    let missing: Vec<String> = fields
        .filter(|name| !listed.contains_key(*name))
        .map(str::to_owned)
        .collect();
    if missing.is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = ListQuery {
        limit: MAX_PAGE,
        properties: missing.clone(),
        ..ListQuery::default()
    };
    let read = client.list(&object.object, &query, Priority::Webhook);
    let is_there: Box<dyn Fn(&str) -> bool> = match read.await {
        Ok(page) if page.records.is_empty() => Box::new(unlisted::may_be_hubspots),
        Ok(page) => Box::new(move |name| page.records.iter().any(|record| record.shows(name))),
        Err(error) if keeps_no_other(&error) => {
            let former = former.clone();
            Box::new(move |name| former.contains(name))
        }
        Err(error) => return Err(error),
    };
    let found = missing.into_iter().filter(|name| is_there(name));
    Ok(found
        .map(|name| {
            let definition = unlisted::definition(&name);
            (name, definition)
        })
        .collect())
}
