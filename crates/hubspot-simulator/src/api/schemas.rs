//! Schemas of custom objects: list, read, create, change, delete; which associations they allow (`api-facts.md#9`).

use serde_json::{Value, json};

use crate::api::answer::{Answer, spelled};
use crate::api::problem::Problem;
use crate::api::properties::{new_property, property_json};
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::api::single::body_of;
use crate::catalogue::objects::plain_object;
use crate::catalogue::{OBJECTS, ObjectIndex, schema_of};
use crate::portal::custom::{CustomLink, CustomObject};
use crate::portal::{Handled, Portal};
use crate::world::time;

/// Which parts of a schema an answer has.
#[derive(Clone, Copy)]
struct Parts {
    properties: bool,
    associations: bool,
    audit: bool,
}

impl Parts {
    fn of(request: &Request) -> Self {
        let query = Query::parse(&request.query);
        let is_wanted = |name: &str| query.get(name).is_none() || query.flag(name);
        Self {
            properties: is_wanted("includePropertyDefinitions"),
            associations: is_wanted("includeAssociationDefinitions"),
            audit: is_wanted("includeAuditMetadata"),
        }
    }
}

fn texts_in(body: &Value, name: &str) -> Vec<String> {
    let list = body.get(name).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn text_in(body: &Value, name: &str) -> Option<String> {
    let text = body.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn invalid(words: &str) -> Problem {
    Problem::validation(format!("Invalid input JSON: {words}"))
}

impl Portal {
    fn link_json(&self, link: &CustomLink, at: &str) -> Value {
        let type_id = |object| self.table(object).spec.type_id;
        json!({"id": link.kind.type_id.to_string(), "name": link.name, "fromObjectTypeId": type_id(link.from),
               "toObjectTypeId": type_id(link.to), "createdAt": at, "updatedAt": at})
    }

    /// What a schema says of the object itself.
    fn definition_json(&self, object: ObjectIndex, custom: &CustomObject) -> Value {
        let spec = self.table(object).spec;
        let at = |ms: i64| spelled(&time::iso(ms), self.settings());
        let number = spec.type_id.rsplit('-').next().unwrap_or_default();
        json!({
            "id": number, "objectTypeId": spec.type_id, "fullyQualifiedName": spec.plural, "name": custom.name,
            "labels": {"singular": custom.singular, "plural": custom.plural}, "description": custom.description,
            "primaryDisplayProperty": custom.primary_display,
            "secondaryDisplayProperties": custom.secondary_display, "searchableProperties": custom.searchable,
            "requiredProperties": custom.required, "archived": custom.archived_ms.is_some(),
            "allowsSensitiveProperties": false, "createdAt": at(custom.created_ms), "updatedAt": at(custom.updated_ms),
        })
    }

    fn schema_json(&self, object: ObjectIndex, custom: &CustomObject, parts: Parts) -> Value {
        let mut body = self.definition_json(object, custom);
        let listed = self.table(object).schema.iter();
        let listed = listed.filter(|(_, one)| one.listed && one.is_live() && parts.properties);
        let properties = listed.map(|(_, property)| property_json(property, self.settings()));
        body["properties"] = properties.collect();
        let at = spelled(&time::iso(custom.created_ms), self.settings());
        let links = custom.links.iter().filter(|_| parts.associations);
        body["associations"] = links.map(|link| self.link_json(link, &at)).collect();
        if parts.audit {
            body["createdByUserId"] = json!(crate::catalogue::OWNERS[0].user_id);
            body["updatedByUserId"] = json!(crate::catalogue::OWNERS[0].user_id);
        }
        body
    }

    /// Custom objects alone: standard ones have no schema here.
    pub(crate) fn schemas(&self, request: &Request) -> Answer {
        let archived = Query::parse(&request.query).flag("archived");
        let parts = Parts::of(request);
        let customs = self.customs().iter().enumerate();
        let wanted = customs.filter(|(_, custom)| custom.archived_ms.is_some() == archived);
        let results: Vec<Value> = wanted
            .map(|(place, custom)| self.schema_json(place + OBJECTS.len(), custom, parts))
            .collect();
        Answer::json(200, &json!({"results": results}))
    }

    pub(crate) fn schemas_read(&self, request: &Request) -> Handled {
        let body = body_of(request)?;
        let is_wanted = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(true);
        let parts = Parts {
            properties: is_wanted("includePropertyDefinitions"),
            associations: is_wanted("includeAssociationDefinitions"),
            audit: is_wanted("includeAuditMetadata"),
        };
        let names = texts_in(&body, "inputs");
        let found = names.iter().filter_map(|name| {
            let object = self.custom_named(name)?;
            Some(self.schema_json(object, self.custom(object)?, parts))
        });
        Ok(Answer::json(
            200,
            &json!({"results": found.collect::<Vec<_>>()}),
        ))
    }

    pub(crate) fn schema(&self, route: &Route, request: &Request) -> Handled {
        let custom = self.schema_of_route(route)?;
        let body = self.schema_json(route.object, custom, Parts::of(request));
        Ok(Answer::json(200, &body))
    }

    fn schema_of_route(&self, route: &Route) -> Result<&CustomObject, Problem> {
        let custom = self.custom(route.object);
        custom.ok_or_else(|| Problem::not_found(format!("No schema exists for {}", route.name)))
    }

    pub(crate) fn schema_create(&mut self, request: &Request, now_ms: i64) -> Handled {
        let body = body_of(request)?;
        let name = text_in(&body, "name").ok_or_else(|| invalid("name is required"))?;
        let labels = body.get("labels").unwrap_or(&Value::Null);
        let label = |key: &str| text_in(labels, key).unwrap_or_else(|| name.clone());
        if self.object_of(&name).is_some() {
            let words = format!("An object type named {name} already exists.");
            return Err(Problem::new(409, "OBJECT_ALREADY_EXISTS", words));
        }
        let custom = CustomObject {
            singular: label("singular"),
            plural: label("plural"),
            description: text_in(&body, "description"),
            required: texts_in(&body, "requiredProperties"),
            searchable: texts_in(&body, "searchableProperties"),
            primary_display: text_in(&body, "primaryDisplayProperty"),
            secondary_display: texts_in(&body, "secondaryDisplayProperties"),
            links: Vec::new(),
            created_ms: now_ms,
            updated_ms: now_ms,
            archived_ms: None,
            name,
        };
        let known = schema_of(&plain_object(("", ""), "", "", &[]));
        let mut properties = Vec::new();
        for property in body
            .get("properties")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let mut property = property.clone();
            property["groupName"] = json!("information");
            properties.push(new_property(&property, &known, now_ms)?);
        }
        let is_known = |wanted: &&String| properties.iter().any(|one| one.name == **wanted);
        let mut displayed = custom.primary_display.iter().chain(&custom.required);
        if let Some(unknown) = displayed.find(|wanted| !is_known(wanted)) {
            return Err(invalid(&format!("{unknown} is none of the properties")));
        }
        let mut associated = Vec::new();
        for other in texts_in(&body, "associatedObjects") {
            let object = self.object_of(&other);
            associated.push(object.ok_or_else(|| invalid(&format!("no object {other}")))?);
        }
        let object = self.add_custom(custom, properties, &associated, now_ms);
        self.whole_schema(object, 201)
    }

    fn whole_schema(&self, object: ObjectIndex, status: u16) -> Handled {
        let all = Parts {
            properties: true,
            associations: true,
            audit: true,
        };
        let custom = self.custom(object);
        let custom = custom.ok_or_else(|| Problem::not_found("resource not found"))?;
        Ok(Answer::json(status, &self.schema_json(object, custom, all)))
    }

    pub(crate) fn schema_patch(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        self.schema_of_route(route)?;
        let list = |name: &str| body.get(name).map(|_| texts_in(&body, name));
        let labels = body.get("labels").unwrap_or(&Value::Null);
        if let Some(custom) = self.custom_mut(route.object) {
            let kept = custom.clone();
            custom.required = list("requiredProperties").unwrap_or(kept.required);
            custom.searchable = list("searchableProperties").unwrap_or(kept.searchable);
            custom.secondary_display =
                list("secondaryDisplayProperties").unwrap_or(kept.secondary_display);
            custom.primary_display =
                text_in(&body, "primaryDisplayProperty").or(kept.primary_display);
            custom.description = text_in(&body, "description").or(kept.description);
            custom.singular = text_in(labels, "singular").unwrap_or(kept.singular);
            custom.plural = text_in(labels, "plural").unwrap_or(kept.plural);
            custom.updated_ms = now_ms;
        }
        let custom = self.schema_of_route(route)?;
        Ok(Answer::json(
            200,
            &self.definition_json(route.object, custom),
        ))
    }

    /// Only an object without live records can be deleted.
    pub(crate) fn schema_delete(&mut self, route: &Route, now_ms: i64) -> Handled {
        self.schema_of_route(route)?;
        if !self.table(route.object).live.is_empty() {
            return Err(Problem::validation(format!(
                "{} has records: they must be deleted first",
                route.name
            )));
        }
        if let Some(custom) = self.custom_mut(route.object) {
            custom.archived_ms = Some(now_ms);
        }
        Ok(Answer::empty())
    }

    pub(crate) fn schema_associate(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let end = |name: &str| {
            let named = text_in(&body, name).and_then(|text| self.object_of(&text));
            named.ok_or_else(|| invalid(&format!("{name} names no object")))
        };
        let (from, to) = (end("fromObjectTypeId")?, end("toObjectTypeId")?);
        if from != route.object {
            return Err(invalid("fromObjectTypeId is not this object"));
        }
        let name = text_in(&body, "name");
        let link = self.allow_links(from, to, name.as_deref(), now_ms);
        let link = link.ok_or_else(|| Problem::not_found("resource not found"))?;
        let at = spelled(&time::iso(now_ms), self.settings());
        Ok(Answer::json(201, &self.link_json(&link, &at)))
    }

    pub(crate) fn schema_disassociate(&mut self, route: &Route) -> Handled {
        self.schema_of_route(route)?;
        let id = route.to_name.as_str();
        let custom = self.custom_mut(route.object);
        let links = custom.map(|custom| &mut custom.links);
        let Some(links) = links else {
            return Ok(Answer::empty());
        };
        let is_named = |link: &CustomLink| link.kind.type_id.to_string() == id || link.name == id;
        if !links.iter().any(is_named) {
            return Err(Problem::not_found(format!("No association {id} exists")));
        }
        links.retain(|link| !is_named(link));
        Ok(Answer::empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::portal::NewObject;
    use crate::testing::{Desk, ids};

    const SCHEMAS: &str = "/crm-object-schemas/2026-03/schemas";

    fn machine() -> Value {
        json!({
            "name": "machine", "labels": {"singular": "Machine", "plural": "Machines"},
            "primaryDisplayProperty": "model", "requiredProperties": ["model"], "searchableProperties": ["model"],
            "secondaryDisplayProperties": [], "associatedObjects": ["CONTACT"],
            "properties": [
                {"name": "model", "label": "Model", "type": "string", "fieldType": "text"},
                {"name": "serial", "label": "Serial", "type": "string", "fieldType": "text", "hasUniqueValue": true},
            ],
        })
    }

    #[test]
    fn a_schema_makes_an_object_that_is_found_by_each_of_its_names() {
        let mut desk = Desk::quick();
        let (status, made) = desk.post(SCHEMAS, &machine());
        assert_eq!(
            (status, &made["fullyQualifiedName"]),
            (201, &json!("p48151623_machine"))
        );
        let type_id = made["objectTypeId"].as_str().expect("an id").to_owned();
        assert_eq!(desk.post(SCHEMAS, &machine()).0, 409);
        for base in [
            SCHEMAS,
            "/crm/v3/schemas",
            "/crm-object-schemas/2026-09/schemas",
        ] {
            for name in [type_id.as_str(), "p48151623_machine", "machine"] {
                let (status, schema) = desk.get(&format!("{base}/{name}"));
                assert_eq!(
                    (status, &schema["objectTypeId"]),
                    (200, &json!(type_id)),
                    "{name}"
                );
                assert_eq!(schema["requiredProperties"], json!(["model"]));
                let path = format!("/crm/objects/2026-03/{name}");
                assert_eq!(desk.get(&path).0, 200, "{path}");
            }
            let (_, list) = desk.get(base);
            assert_eq!(list["results"].as_array().map(Vec::len), Some(1));
        }
        let (_, bare) = desk.get(&format!(
            "{SCHEMAS}/machine?includePropertyDefinitions=false"
        ));
        assert_eq!(bare["properties"], json!([]));
    }

    #[test]
    fn its_records_obey_required_and_unique_properties_and_are_read_by_key() {
        let mut desk = Desk::quick();
        desk.post(SCHEMAS, &machine());
        let path = "/crm/objects/2026-03/machine";
        let create = |desk: &mut Desk, properties: Value| {
            desk.post(path, &json!({"properties": properties})).0
        };
        assert_eq!(create(&mut desk, json!({"serial": "S-1"})), 400);
        assert_eq!(
            create(&mut desk, json!({"model": "M", "serial": "S-1"})),
            201
        );
        assert_eq!(
            create(&mut desk, json!({"model": "N", "serial": "s-1"})),
            400
        );
        let read =
            json!({"inputs": [{"id": "S-1"}], "idProperty": "serial", "properties": ["model"]});
        let (status, body) = desk.post(&format!("{path}/batch/read"), &read);
        assert_eq!((status, ids(&body).len()), (200, 1));
        let shown = &body["results"][0]["properties"];
        assert_eq!(
            (&shown["model"], shown.get("createdate")),
            (&json!("M"), None)
        );
        assert!(shown["hs_createdate"].is_string());
        let new = json!({"name": "colour", "label": "Colour", "type": "string", "fieldType": "text",
                         "groupName": "machine_information"});
        assert_eq!(desk.post("/crm/properties/2026-03/machine", &new).0, 201);
    }

    #[test]
    fn its_associations_have_types_of_the_portal_in_both_directions() {
        let mut desk = Desk::quick();
        let (_, made) = desk.post(SCHEMAS, &machine());
        let ends = |link: &Value| {
            (
                link["fromObjectTypeId"].clone(),
                link["toObjectTypeId"].clone(),
                link["id"].clone(),
            )
        };
        let type_id = &made["objectTypeId"];
        let own: Vec<_> = made["associations"]
            .as_array()
            .expect("a list")
            .iter()
            .map(ends)
            .collect();
        assert_eq!(
            own,
            [
                (type_id.clone(), json!("0-1"), json!("1")),
                (json!("0-1"), type_id.clone(), json!("2"))
            ]
        );
        let (ada, deal) = (desk.contact("ada@example.com"), desk.deal("Big"));
        let id = desk
            .portal
            .create("machine", &[("model", "M")], desk.now_ms);
        let put = |desk: &mut Desk, to: &str, to_id: u64| {
            let path = format!("/crm/v4/objects/machine/{id}/associations/default/{to}/{to_id}");
            desk.call("PUT", &path, &Value::Null)
        };
        let (status, body) = put(&mut desk, "contacts", ada);
        let spec = json!({"associationCategory": "USER_DEFINED", "associationTypeId": 1});
        assert_eq!(
            (status, &body["results"][0]["associationSpec"]),
            (200, &spec)
        );
        let (status, body) = put(&mut desk, "deals", deal);
        let words = format!(
            "No default association exists between {} and DEAL",
            type_id.as_str().unwrap_or_default()
        );
        assert_eq!((status, &body["message"]), (400, &json!(words)));
        let new = json!({"fromObjectTypeId": type_id, "toObjectTypeId": "0-3", "name": "machine_to_deal"});
        let (status, link) = desk.post(&format!("{SCHEMAS}/machine/associations"), &new);
        assert_eq!((status, &link["name"]), (201, &json!("machine_to_deal")));
        assert_eq!(put(&mut desk, "deals", deal).0, 200);
        assert_eq!(desk.portal.links("deals", "machine").len(), 1);
    }

    #[test]
    fn a_schema_is_changed_and_deleted_once_no_record_is_left() {
        let mut desk = Desk::quick();
        desk.post(SCHEMAS, &machine());
        let one = format!("{SCHEMAS}/machine");
        let (status, body) = desk.call("PATCH", &one, &json!({"requiredProperties": []}));
        assert_eq!((status, &body["requiredProperties"]), (200, &json!([])));
        let id = desk
            .portal
            .create("machine", &[("model", "M")], desk.now_ms);
        assert_eq!(desk.call("DELETE", &one, &Value::Null).0, 400);
        assert!(desk.portal.archive("machine", id, desk.now_ms));
        assert_eq!(desk.call("DELETE", &one, &Value::Null).0, 204);
        assert_eq!(desk.get(&one).0, 404);
        assert_eq!(desk.get("/crm/objects/2026-03/machine").0, 404);
        let (_, list) = desk.get(&format!("{SCHEMAS}?archived=true"));
        assert_eq!(list["results"][0]["archived"], true);
    }

    #[test]
    fn a_person_makes_and_deletes_an_object_and_a_token_needs_the_scopes_of_custom_ones() {
        let mut desk = Desk::quick();
        let new = NewObject {
            name: "machine",
            singular: "Machine",
            plural: "Machines",
            texts: &["model"],
            unique: &["serial"],
            required: &["model"],
            associated: &["companies", "contacts"],
        };
        let type_id = desk.portal.create_object(new, desk.now_ms);
        assert_eq!(
            desk.get(&format!("{SCHEMAS}/{type_id}")).1["name"],
            "machine"
        );
        let denied = &mut desk.portal.settings_mut().denied_scopes;
        denied.insert("crm.objects.custom.read".to_owned());
        denied.insert("crm.schemas.custom.read".to_owned());
        assert_eq!(desk.get(SCHEMAS).0, 403);
        assert_eq!(desk.get("/crm/objects/2026-03/machine").0, 403);
        desk.portal.settings_mut().denied_scopes.clear();
        assert!(desk.portal.archive_object(&type_id, desk.now_ms));
        assert_eq!(desk.get(&format!("{SCHEMAS}/{type_id}")).0, 404);
    }
}
