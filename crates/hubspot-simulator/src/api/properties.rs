//! Property definitions over the API: list, read, create, change, archive (`api-facts.md#7`).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::answer::{Answer, spelled};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::api::single::body_of;
use crate::catalogue::ObjectIndex;
use crate::portal::schema::{Choice, Kind, Property, Schema};
use crate::portal::{Handled, Portal};
use crate::world::settings::Settings;
use crate::world::time;

const MOST_UNIQUE: usize = 10;

/// The `fieldType`s that go with a `type`.
fn field_types(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::String => &["text", "textarea", "html", "file", "phonenumber"],
        Kind::Number => &["number", "calculation_equation"],
        Kind::Bool => &["booleancheckbox", "calculation_equation"],
        Kind::Enumeration => &["select", "radio", "checkbox", "booleancheckbox"],
        Kind::Date | Kind::Datetime => &["date"],
        Kind::PhoneNumber => &["phonenumber"],
        Kind::Json => &[],
    }
}

pub(crate) fn property_json(property: &Property, settings: &Settings) -> Value {
    let at = |ms: i64| spelled(&time::iso(ms), settings);
    let options = property.choices.iter().enumerate().map(|(position, choice)| {
        json!({"label": choice.label, "value": choice.value, "displayOrder": position, "hidden": choice.hidden,
               "description": choice.description})
    });
    let mut body = json!({
        "name": property.name, "label": property.label, "type": property.kind.name(), "fieldType": property.field_type,
        "description": property.description, "groupName": property.group, "options": options.collect::<Vec<_>>(),
        "displayOrder": property.display_order, "calculated": property.calculated,
        "externalOptions": property.external_options, "archived": !property.is_live(),
        "hasUniqueValue": property.unique, "hidden": property.hidden, "formField": property.form_field,
        "hubspotDefined": property.hubspot_defined, "dataSensitivity": "non_sensitive",
        "createdAt": at(property.created_ms), "updatedAt": at(property.updated_ms),
    });
    if let Some(object) = &property.referenced_object {
        body["referencedObjectType"] = json!(object);
    }
    if let Some(ms) = property.archived_ms {
        body["archivedAt"] = json!(at(ms));
    }
    // Custom properties may come without (api-facts.md#7), so every other one does.
    if property.hubspot_defined || property.name.len().is_multiple_of(2) {
        let own = !property.hubspot_defined;
        body["modificationMetadata"] = json!({"archivable": own, "readOnlyDefinition": !own, "readOnlyValue": property.read_only});
    }
    body
}

impl Portal {
    pub(crate) fn properties(&self, route: &Route, request: &Request) -> Answer {
        let archived = Query::parse(&request.query).flag("archived");
        let wanted = self
            .table(route.object)
            .schema
            .iter()
            .filter(|(_, property)| property.listed && property.is_live() != archived);
        let results: Vec<Value> = wanted
            .map(|(_, property)| property_json(property, self.settings()))
            .collect();
        Answer::json(200, &json!({"results": results}))
    }

    pub(crate) fn groups(&self, route: &Route) -> Answer {
        let groups = self.table(route.object).schema.groups.iter().enumerate();
        let results: Vec<Value> = groups
            .map(|(position, (name, label))| json!({"name": name, "label": label, "displayOrder": position, "archived": false}))
            .collect();
        Answer::json(200, &json!({"results": results}))
    }

    /// Creates a group; of a name that exists it refuses.
    pub(crate) fn group_create(&mut self, route: &Route, request: &Request) -> Handled {
        let body = body_of(request)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, label) = (text("name"), text("label"));
        if !is_property_name(name) || label.is_empty() {
            return Err(Problem::validation("A group needs a name and a label"));
        }
        let schema = Arc::make_mut(&mut self.table_mut(route.object).schema);
        if schema.groups.iter().any(|(known, _)| known == name) {
            return Err(Problem::new(
                409,
                "OBJECT_ALREADY_EXISTS",
                format!("A property group named '{name}' already exists."),
            ));
        }
        schema.groups.push((name.to_owned(), label.to_owned()));
        let group = json!({"name": name, "label": label, "displayOrder": schema.groups.len(), "archived": false});
        Ok(Answer::json(201, &group))
    }

    pub(crate) fn property(&self, route: &Route, request: &Request) -> Handled {
        let archived = Query::parse(&request.query).flag("archived");
        let schema = &self.table(route.object).schema;
        let found = schema
            .id(&route.name)
            .map(|id| schema.property(id))
            .filter(|found| found.listed && found.is_live() != archived);
        let property = found.ok_or_else(|| unknown(&route.name))?;
        Ok(Answer::json(200, &property_json(property, self.settings())))
    }

    /// Creates a definition; of an archived name, restores the old one with its `createdAt`.
    pub(crate) fn property_create(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let property = new_property(&body, &self.table(route.object).schema, now_ms)?;
        let schema = Arc::make_mut(&mut self.table_mut(route.object).schema);
        let id = match schema.id(&property.name) {
            Some(id) if schema.property(id).is_live() => return Err(name_exists(&property.name)),
            Some(id) => {
                schema.property_mut(id).archived_ms = None;
                schema.property_mut(id).updated_ms = now_ms;
                id
            }
            None => schema.add(property),
        };
        if schema.property(id).unique {
            self.table_mut(route.object).add_key(id);
        }
        self.forget_searches();
        let property = self.table(route.object).schema.property(id);
        Ok(Answer::json(201, &property_json(property, self.settings())))
    }

    /// `options` replaces the whole list; what is left out is kept.
    pub(crate) fn property_patch(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let choices = choices_of(&body)?;
        let property = self.live_property(route.object, &route.name)?;
        if property.hubspot_defined {
            return Err(Problem::validation(format!(
                "{} has a read-only definition and cannot be changed",
                route.name
            )));
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(choices) = choices {
            property.choices = choices;
        }
        property.label = text("label").unwrap_or_else(|| property.label.clone());
        property.description = text("description").unwrap_or_else(|| property.description.clone());
        property.field_type = text("fieldType").unwrap_or_else(|| property.field_type.clone());
        property.hidden = body
            .get("hidden")
            .and_then(Value::as_bool)
            .unwrap_or(property.hidden);
        property.updated_ms = now_ms;
        self.forget_searches();
        let schema = &self.table(route.object).schema;
        let property = schema.property(schema.id(&route.name).ok_or_else(|| unknown(&route.name))?);
        Ok(Answer::json(200, &property_json(property, self.settings())))
    }

    /// Archives a definition: its values vanish from reads at once, and no record's last-modified time moves.
    pub(crate) fn property_delete(&mut self, route: &Route, now_ms: i64) -> Handled {
        let property = self.live_property(route.object, &route.name)?;
        if property.hubspot_defined {
            return Err(Problem::validation(format!(
                "{} is a HubSpot-defined property and cannot be archived",
                route.name
            )));
        }
        property.archived_ms = Some(now_ms);
        self.forget_searches();
        Ok(Answer::empty())
    }

    fn live_property(&mut self, object: ObjectIndex, name: &str) -> Result<&mut Property, Problem> {
        let schema = Arc::make_mut(&mut self.table_mut(object).schema);
        let id = schema.live(name).ok_or_else(|| unknown(name))?;
        Ok(schema.property_mut(id))
    }
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("No property exists with name \"{name}\""))
}

fn name_exists(name: &str) -> Problem {
    let problem = Problem::new(
        409,
        "OBJECT_ALREADY_EXISTS",
        format!("A property named '{name}' already exists."),
    );
    Problem {
        sub_category: Some("Properties.PROPERTY_WITH_NAME_EXISTS"),
        ..problem
    }
}

pub(crate) fn new_property(
    body: &Value,
    schema: &Schema,
    now_ms: i64,
) -> Result<Property, Problem> {
    let text = |name: &str| {
        let value = body
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        value.ok_or_else(|| Problem::validation(format!("Invalid input JSON: {name} is required")))
    };
    let (name, label, group) = (text("name")?, text("label")?, text("groupName")?);
    let (type_name, field_type) = (text("type")?, text("fieldType")?);
    if !is_property_name(name) {
        return Err(Problem::validation(format!(
            "The name {name} is not valid: lower case letters, digits and _ only"
        )));
    }
    let kind = Kind::parse(type_name).filter(|kind| field_types(*kind).contains(&field_type));
    let kind = kind.ok_or_else(|| {
        Problem::validation(format!(
            "fieldType {field_type} is not valid for type {type_name}"
        ))
    })?;
    if !schema.groups.iter().any(|(known, _)| known == group) {
        return Err(Problem::validation(format!(
            "No property group exists with name {group}"
        )));
    }
    let unique = body
        .get("hasUniqueValue")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    check_unique(schema, kind, field_type, unique)?;
    let mut property = Property::new(name, kind, field_type, group);
    label.clone_into(&mut property.label);
    let description = body.get("description").and_then(Value::as_str);
    description
        .unwrap_or_default()
        .clone_into(&mut property.description);
    property.choices = choices_of(body)?.unwrap_or_default();
    property.unique = unique;
    property.hidden = body.get("hidden").and_then(Value::as_bool).unwrap_or(false);
    property.form_field = body
        .get("formField")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    property.external_options = body
        .get("externalOptions")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    property.calculated = field_type.starts_with("calculation_");
    property.hubspot_defined = false;
    (property.created_ms, property.updated_ms) = (now_ms, now_ms);
    Ok(property)
}

fn check_unique(
    schema: &Schema,
    kind: Kind,
    field_type: &str,
    unique: bool,
) -> Result<(), Problem> {
    if !unique {
        return Ok(());
    }
    if !matches!(kind, Kind::String | Kind::Number) || field_type == "textarea" {
        return Err(Problem::validation(
            "Unique values are possible for single-line text and numbers only",
        ));
    }
    let own = schema
        .iter()
        .filter(|(_, property)| property.unique && !property.hubspot_defined);
    if own.count() >= MOST_UNIQUE {
        return Err(Problem::validation(format!(
            "At most {MOST_UNIQUE} properties of an object can be unique"
        )));
    }
    Ok(())
}

fn is_property_name(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

fn choices_of(body: &Value) -> Result<Option<Vec<Choice>>, Problem> {
    let Some(options) = body.get("options").and_then(Value::as_array) else {
        return Ok(None);
    };
    let choice = |option: &Value| {
        let text = |name: &str| option.get(name).and_then(Value::as_str).map(str::to_owned);
        let (value, label) = (text("value")?, text("label")?);
        Some(Choice {
            value,
            label,
            hidden: option
                .get("hidden")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            description: text("description").unwrap_or_default(),
        })
    };
    let choices: Option<Vec<Choice>> = options.iter().map(choice).collect();
    choices
        .map(Some)
        .ok_or_else(|| Problem::validation("Invalid input JSON: each option needs label and value"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Desk;

    const CONTACTS: &str = "/crm/properties/2026-03/contacts";

    fn key(name: &str) -> Value {
        json!({"name": name, "label": "key", "type": "string", "fieldType": "text", "groupName": "contactinformation",
               "hasUniqueValue": true, "hidden": true})
    }

    #[test]
    fn a_unique_property_can_be_made_once_used_and_archived() {
        let mut desk = Desk::quick();
        assert_eq!(desk.post(CONTACTS, &key("hubsyncd_key")).0, 201);
        let (status, body) = desk.post(CONTACTS, &key("hubsyncd_key"));
        assert_eq!(
            (status, body["category"].as_str()),
            (409, Some("OBJECT_ALREADY_EXISTS"))
        );
        assert_eq!(body["subCategory"], "Properties.PROPERTY_WITH_NAME_EXISTS");
        let upsert = json!({"inputs": [{"id": "1", "idProperty": "hubsyncd_key", "properties": {"firstname": "A"}}]});
        assert_eq!(
            desk.post("/crm/v3/objects/contacts/batch/upsert", &upsert)
                .0,
            200
        );
        assert_eq!(
            desk.call("DELETE", &format!("{CONTACTS}/hubsyncd_key"), &Value::Null)
                .0,
            204
        );
        assert_eq!(desk.get(&format!("{CONTACTS}/hubsyncd_key")).0, 404);
        let (status, body) = desk.post(CONTACTS, &key("hubsyncd_key"));
        assert_eq!((status, &body["archived"]), (201, &json!(false)));
    }

    #[test]
    fn definitions_are_checked() {
        let mut desk = Desk::quick();
        let mut status = |name: &str, value: Value| {
            let mut body = key("fine");
            body[name] = value;
            desk.post(CONTACTS, &body).0
        };
        assert_eq!(status("name", json!("Not Fine")), 400);
        assert_eq!(status("fieldType", json!("checkbox")), 400);
        assert_eq!(status("groupName", json!("nowhere")), 400);
        assert_eq!(status("fieldType", json!("textarea")), 400);
        assert_eq!(status("label", json!("a key")), 201);
    }

    #[test]
    fn a_patch_replaces_all_options_and_old_values_stay() {
        let mut desk = Desk::quick();
        let id = desk.portal.create(
            "contacts",
            &[("firstname", "A"), ("loyalty_tier", "gold")],
            desk.now_ms,
        );
        let options = json!({"options": [{"label": "Tin", "value": "tin", "displayOrder": 0, "hidden": false}]});
        let (status, body) = desk.call("PATCH", &format!("{CONTACTS}/loyalty_tier"), &options);
        assert_eq!(
            (status, body["options"].as_array().map(Vec::len)),
            (200, Some(1))
        );
        assert_eq!(
            desk.portal
                .record("contacts", id)
                .and_then(|record| record.value("loyalty_tier")),
            Some("gold")
        );
        assert!(
            !desk
                .portal
                .edit("contacts", id, &[("loyalty_tier", "gold")], desk.now_ms)
        );
    }

    #[test]
    fn a_read_only_definition_stays_as_it_is() {
        let mut desk = Desk::quick();
        let path = format!("{CONTACTS}/lifecyclestage");
        let (_, before) = desk.get(&path);
        assert_eq!(before["modificationMetadata"]["readOnlyDefinition"], true);
        let change = json!({"label": "Stage", "options": []});
        let (status, body) = desk.call("PATCH", &path, &change);
        assert_eq!(
            (status, &body["category"]),
            (400, &json!("VALIDATION_ERROR"))
        );
        assert_eq!(desk.get(&path).1, before);
    }

    #[test]
    fn the_list_has_every_live_property_with_its_type() {
        let mut desk = Desk::quick();
        let (_, body) = desk.get("/crm/v3/properties/0-1");
        let all = body["results"].as_array().expect("results");
        let named = |name: &str| {
            all.iter()
                .find(|property| property["name"] == name)
                .expect("there")
                .clone()
        };
        assert_eq!(
            named("lastmodifieddate")["modificationMetadata"]["readOnlyValue"],
            true
        );
        assert_eq!(named("hubspot_owner_id")["options"], json!([]));
        assert_eq!(named("customer_number")["hasUniqueValue"], true);
        assert_eq!(named("birthday")["type"], "date");
    }
}
