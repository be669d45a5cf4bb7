//! The properties of an object: their definitions, and making one.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::decide::quota::Priority;
use crate::decide::schema::Definition;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::batch::to_body;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::endpoints::search::ID_PROPERTY;
use crate::hubspot::wire::Elements;
use crate::hubspot::{Client, wire};
use crate::model::name::{ObjectType, PropertyName};

/// A property as the portal defines it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "HubSpot's own flags, each by itself"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyDefinition {
    /// Its internal name.
    pub name: String,
    /// What people see.
    pub label: String,
    /// HubSpot's `type`; an unknown one is treated as `string`.
    pub kind: String,
    /// HubSpot's `fieldType`.
    pub field_type: String,
    /// The group it stands in.
    pub group_name: String,
    /// Whether no two records can hold the same value.
    pub has_unique_value: bool,
    /// Whether its value can't be written (`hubspot/api-facts.md#7`).
    pub read_only: bool,
    /// Whether people don't see it.
    pub hidden: bool,
    /// Whether HubSpot calculates it.
    pub calculated: bool,
    /// The kind of record whose id it holds.
    pub referenced_object_type: Option<String>,
    /// Value and label of each option.
    pub options: Vec<(String, String)>,
    /// Whether HubSpot made it, not the portal.
    pub hubspot_defined: bool,
    /// Whether it lies in the archive.
    pub archived: bool,
}

impl PropertyDefinition {
    /// What the mapping is held against.
    pub(crate) fn to_definition(&self) -> Definition {
        Definition {
            kind: self.kind.clone(),
            field_type: self.field_type.clone(),
            read_only: self.read_only,
            unique: self.has_unique_value,
            refers_to_record: self.referenced_object_type.is_some(),
        }
    }
}

/// A property to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewProperty {
    /// Its internal name.
    pub name: String,
    /// What people see.
    pub label: String,
    /// HubSpot's `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// HubSpot's `fieldType`.
    pub field_type: String,
    /// An existing group.
    pub group_name: String,
    /// Whether no two records can hold the same value; can't be changed later.
    pub has_unique_value: bool,
    /// Whether people don't see it.
    pub hidden: bool,
    /// What it is for.
    pub description: String,
    /// Options of an enumeration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<SentOption>,
}

/// An option of a property, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SentOption {
    /// What records hold.
    pub value: String,
    /// What people see.
    pub label: String,
    /// Its place; -1 behind all that have one.
    pub display_order: i64,
    /// Whether people don't see it.
    pub hidden: bool,
    /// What people are told of it; none where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Client {
    /// All properties of an object that are not archived.
    pub async fn properties(
        &self,
        object: &ObjectType,
    ) -> Result<Vec<PropertyDefinition>, HubspotError> {
        let response = self.send(&read(Endpoint::Properties, object)).await?;
        let page = self.parse::<wire::Page<wire::Property>>(Endpoint::Properties, &response)?;
        self.note_unread(Endpoint::Properties, &page.results);
        let read = &page.results.read;
        let has_id = read.iter().any(|property| property.name == ID_PROPERTY);
        // Every record has it. Believed, a list without it would take the object's fields out of the requests.
        if !has_id && (read.is_empty() || page.results.are_whole()) {
            let shown = page.results.len();
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::Properties),
                status: response.status,
                source: format!("`{ID_PROPERTY}` is not among the {shown} properties").into(),
            });
        }
        Ok(page.results.read.into_iter().map(from_wire).collect())
    }

    /// The names of an object's archived properties.
    ///
    /// # Errors
    /// Those of a request.
    pub(crate) async fn archived_properties(
        &self,
        object: &ObjectType,
    ) -> Result<Vec<String>, HubspotError> {
        let request = Request {
            query: "?archived=true".to_owned(),
            ..read(Endpoint::Properties, object)
        };
        let (page, _) = self.page::<wire::Property>(&request).await?;
        let all = page.results.read.into_iter();
        Ok(all.map(|property| property.name).collect())
    }

    /// Makes a property. One of that name makes it a refusal of category `OBJECT_ALREADY_EXISTS`, one in the archive
    /// comes back (`hubspot/api-facts.md#7`).
    pub(crate) async fn create_property(
        &self,
        object: &ObjectType,
        property: &NewProperty,
    ) -> Result<PropertyDefinition, HubspotError> {
        let request = Request {
            body: Some(to_body(property)),
            ..read(Endpoint::CreateProperty, object)
        };
        let response = self.send(&request).await?;
        let property = self.parse::<wire::Property>(Endpoint::CreateProperty, &response)?;
        Ok(from_wire(property))
    }

    /// Makes a group of properties.
    ///
    /// # Errors
    /// Those of a request; 409 where it is there.
    pub(crate) async fn create_group(
        &self,
        object: &ObjectType,
        name: &str,
    ) -> Result<(), HubspotError> {
        let body = serde_json::json!({ "name": name, "label": name, "displayOrder": -1 });
        let request = Request {
            body: Some(to_body(&body)),
            ..read(Endpoint::CreateGroup, object)
        };
        self.send(&request).await.map(drop)
    }

    /// The options of a property at this moment, to be sent with others behind them: HubSpot takes the list as a whole, and what is
    /// left out of it is deleted (`hubspot/api-facts.md#7`). None where the object has no such property.
    ///
    /// # Errors
    /// Those of a request; one of the options can't be read, and so can't be sent back as it is.
    pub(crate) async fn options_of(
        &self,
        object: &ObjectType,
        property: &PropertyName,
    ) -> Result<Option<Vec<SentOption>>, HubspotError> {
        let response = self.send(&read(Endpoint::Properties, object)).await?;
        let page = self.parse::<wire::Page<wire::Property>>(Endpoint::Properties, &response)?;
        let mut listed = page.results.read.into_iter();
        let Some(found) = listed.find(|found| found.name == property.as_str()) else {
            return Ok(None);
        };
        let whole = found.options.filter(Elements::are_whole);
        let sent = whole.and_then(|options| {
            let numbered = (0..).zip(options.read);
            numbered.map(sent_option).collect::<Option<Vec<_>>>()
        });
        let Some(sent) = sent else {
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::Properties),
                status: response.status,
                source: format!("not every option of `{property}` can be read").into(),
            });
        };
        Ok(Some(sent))
    }

    /// Gives a property these options in place of those that it has.
    ///
    /// # Errors
    /// Those of a request.
    pub(crate) async fn set_options(
        &self,
        object: &ObjectType,
        property: &PropertyName,
        options: &[SentOption],
    ) -> Result<(), HubspotError> {
        let name = utf8_percent_encode(property.as_str(), NON_ALPHANUMERIC).to_string();
        let request = Request {
            // What a path ends with stands where a query would.
            query: name.replace("%5F", "_"),
            body: Some(to_body(&serde_json::json!({ "options": options }))),
            ..read(Endpoint::ChangeProperty, object)
        };
        self.send(&request).await.map(drop)
    }

    /// The names of the groups that properties of an object can stand in.
    pub(crate) async fn property_groups(
        &self,
        object: &ObjectType,
    ) -> Result<Vec<String>, HubspotError> {
        let (page, _) = self
            .page::<wire::Group>(&read(Endpoint::PropertyGroups, object))
            .await?;
        let groups = page
            .results
            .read
            .into_iter()
            .filter(|group| group.archived != Some(true));
        Ok(groups.map(|group| group.name).collect())
    }
}

fn read(endpoint: Endpoint, object: &ObjectType) -> Request<'_> {
    Request {
        endpoint,
        object: Some(object),
        to: None,
        query: String::new(),
        body: None,
        inputs: None,
        priority: Priority::Webhook,
    }
}

/// An option as it is sent back unchanged; without a value or label it could not be.
fn sent_option((place, option): (i64, wire::PropertyOption)) -> Option<SentOption> {
    Some(SentOption {
        value: option.value.0?,
        label: option.label.0?,
        display_order: option.display_order.unwrap_or(place),
        hidden: option.hidden.unwrap_or(false),
        description: option.description.0.unwrap_or_default(),
    })
}

fn from_wire(property: wire::Property) -> PropertyDefinition {
    let text = |scalar: wire::Scalar| scalar.0.unwrap_or_default();
    let field_type = text(property.field_type);
    let calculated = property.calculated.unwrap_or(false);
    // Metadata may be missing, and then only what is calculated can't be written.
    let said = property
        .modification_metadata
        .and_then(|metadata| metadata.read_only_value);
    let read_only = calculated || said.unwrap_or_else(|| field_type.starts_with("calculation_"));
    let options = property.options.unwrap_or_default().read.into_iter();
    PropertyDefinition {
        name: property.name,
        label: text(property.label),
        kind: text(property.kind),
        group_name: text(property.group_name),
        has_unique_value: property.has_unique_value.unwrap_or(false),
        read_only,
        hidden: property.hidden.unwrap_or(false),
        calculated,
        referenced_object_type: property
            .referenced_object_type
            .0
            .filter(|name| !name.is_empty()),
        options: options
            .map(|option| (text(option.value), text(option.label)))
            .collect(),
        hubspot_defined: property.hubspot_defined.unwrap_or(false),
        archived: property.archived.unwrap_or(false),
        field_type,
    }
}
