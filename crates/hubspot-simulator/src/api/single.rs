//! Reads and writes of one record (`api-facts.md#5`, `#13`).

use serde_json::Value;

use crate::api::answer::{Addition, Answer, RecordWriter, Selection};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::catalogue::ObjectIndex;
use crate::portal::links::End;
use crate::portal::prepare::{Aim, Claims, wanted_of};
use crate::portal::{Handled, Portal};

/// The body as JSON.
pub(crate) fn body_of(request: &Request) -> Result<Value, Problem> {
    serde_json::from_slice(&request.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::validation(format!(
            "Invalid input JSON on line {line}, column {column}: the body could not be parsed"
        ))
    })
}

/// An id as JSON text or number.
pub(crate) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Portal {
    /// The live record that an id or a key value means.
    pub(crate) fn look_up(
        &self,
        object: ObjectIndex,
        id: &str,
        id_property: Option<&str>,
    ) -> Result<Option<u64>, Problem> {
        let table = self.table(object);
        let Some(name) = id_property.filter(|name| !name.is_empty() && *name != "hs_object_id")
        else {
            return Ok(id.trim().parse().ok().and_then(|id| table.resolve(id)));
        };
        let property = table
            .schema
            .live(name)
            .filter(|property| table.is_key(*property));
        let property = property.ok_or_else(|| self.non_unique(object, name))?;
        Ok(table.find_by_key(property, id))
    }

    /// The complaint about an `idProperty` that isn't unique.
    pub(crate) fn non_unique(&self, object: ObjectIndex, name: &str) -> Problem {
        let type_id = self.table(object).spec.type_id;
        Problem::validation(format!(
            "Unable to perform update/upsert by non-unique {type_id} property {name}"
        ))
    }

    /// A record with the properties that were written.
    pub(crate) fn written(
        &self,
        object: ObjectIndex,
        id: u64,
        status: u16,
        names: &[String],
    ) -> Handled {
        let table = self.table(object);
        let stored = table
            .live
            .get(&id)
            .ok_or_else(|| Problem::not_found("resource not found"))?;
        let selection = Selection::new(table, names, &[]);
        let mut body = Vec::with_capacity(600);
        let writer = RecordWriter {
            table,
            settings: self.settings(),
            selection: &selection,
        };
        writer.stored(&mut body, id, stored, Addition::default());
        Ok(Answer { status, body })
    }

    pub(crate) fn read(&self, route: &Route, request: &Request) -> Handled {
        let query = Query::parse(&request.query);
        let table = self.table(route.object);
        let found = if query.flag("archived") {
            let id = route.name.parse().ok();
            id.and_then(|id: u64| table.archived.get_key_value(&id))
        } else {
            let id = self.look_up(route.object, &route.name, query.get("idProperty"))?;
            id.and_then(|id| table.live.get_key_value(&id))
        };
        let (id, stored) = found.ok_or_else(|| Problem::not_found("resource not found"))?;
        let history = query.list("propertiesWithHistory");
        let selection = Selection::new(table, &query.list("properties"), &history);
        let mut body = Vec::with_capacity(600);
        let writer = RecordWriter {
            table,
            settings: self.settings(),
            selection: &selection,
        };
        let end = End {
            object: route.object,
            id: *id,
        };
        let links = self.shown_links(end, &query.list("associations"));
        let addition = Addition {
            links: links.as_ref(),
            ..Addition::default()
        };
        writer.stored(&mut body, *id, stored, addition);
        Ok(Answer { status: 200, body })
    }

    pub(crate) fn create_one(&mut self, route: &Route, request: &Request, now_ms: i64) -> Handled {
        let body = body_of(request)?;
        let wanted = wanted_of(body.get("properties"), self.settings().null_clears)?;
        let changes = self
            .prepare(api_aim(route, None, &Claims::new()), &wanted)
            .map_err(Problem::without_context)?;
        let links = self.new_links(route.object, &body)?;
        let id = self.commit_create(route.object, &changes, &self.author(None), now_ms);
        let end = End {
            object: route.object,
            id,
        };
        self.commit_new_links(end, &links, now_ms);
        let names: Vec<String> = wanted.into_iter().map(|(name, _)| name).collect();
        self.written(route.object, id, 201, &names)
    }

    pub(crate) fn patch(&mut self, route: &Route, request: &Request, now_ms: i64) -> Handled {
        let query = Query::parse(&request.query);
        let body = body_of(request)?;
        let wanted = wanted_of(body.get("properties"), self.settings().null_clears)?;
        let id = self.look_up(route.object, &route.name, query.get("idProperty"))?;
        let is_merged = query.get("idProperty").is_none()
            && id.is_some_and(|id| id.to_string() != route.name.trim());
        let id = id.filter(|_| !is_merged || self.settings().merged_id_update_lands);
        let id = id.ok_or_else(|| Problem::not_found("resource not found"))?;
        let claims = Claims::new();
        let aim = api_aim(route, Some(id), &claims);
        let changes = self
            .prepare(aim, &wanted)
            .map_err(Problem::without_context)?;
        self.commit_update(route.object, id, &changes, &self.author(None), now_ms);
        let names: Vec<String> = wanted.into_iter().map(|(name, _)| name).collect();
        self.written(route.object, id, 200, &names)
    }

    /// 204 also for what is archived already or was never there; a merged-away id touches nothing.
    pub(crate) fn delete(&mut self, route: &Route, now_ms: i64) -> Answer {
        if let Ok(id) = route.name.trim().parse() {
            self.commit_archive(route.object, id, &self.author(None), now_ms);
        }
        Answer::empty()
    }

    pub(crate) fn merge_call(&mut self, route: &Route, request: &Request, now_ms: i64) -> Handled {
        let body = body_of(request)?;
        let id = |name: &str| {
            body.get(name)
                .and_then(id_text)
                .and_then(|text| text.parse().ok())
        };
        let (Some(primary), Some(other)) = (id("primaryObjectId"), id("objectIdToMerge")) else {
            return Err(Problem::validation(
                "primaryObjectId and objectIdToMerge are required",
            ));
        };
        let merged = self.commit_merge(route.object, primary, other, &self.author(None), now_ms);
        let words = || Problem::validation(format!("Unable to merge {other} into {primary}"));
        self.written(route.object, merged.ok_or_else(words)?, 200, &[])
    }

    /// Erases a record for good: no read finds it, and a contact's e-mail can't come back.
    pub(crate) fn privacy_delete(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let text = body.get("objectId").and_then(id_text);
        let text = text.ok_or_else(|| Problem::validation("objectId is required"))?;
        let id_property = body.get("idProperty").and_then(Value::as_str);
        if let Some(id) = self.look_up(route.object, &text, id_property)? {
            self.commit_privacy_delete(route.object, id, &self.author(None), now_ms);
        }
        Ok(Answer::empty())
    }
}

/// The aim of a write through the API.
pub(crate) fn api_aim<'a>(route: &Route, id: Option<u64>, claims: &'a Claims) -> Aim<'a> {
    Aim {
        object: route.object,
        id,
        enforces_rules: route.enforces_rules,
        is_person: false,
        claims,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Desk;
    use crate::world::settings::{DEFAULT_TOKEN, Settings};

    const CONTACTS: &str = "/crm/objects/2026-03/contacts";

    /// api-facts.md#5: values are texts or null, three properties come unasked, unknown ones are left out.
    #[test]
    fn a_created_record_reads_back_normalised() {
        let mut desk = Desk::quick();
        let body = json!({"properties": {"email": " Ada@Example.com", "credit_limit": 42.50, "vip": true}});
        let (status, created) = desk.post(CONTACTS, &body);
        assert_eq!(status, 201);
        assert_eq!(created["properties"]["email"], "ada@example.com");
        let id = created["id"].as_str().expect("an id");
        let (status, read) = desk.get(&format!(
            "{CONTACTS}/{id}?properties=vip,credit_limit,lastname,nonsense"
        ));
        assert_eq!(status, 200);
        let properties = read["properties"].as_object().expect("properties");
        assert_eq!(
            (&properties["vip"], &properties["credit_limit"]),
            (&json!("true"), &json!("42.5"))
        );
        assert_eq!(
            (&properties["lastname"], &properties["hs_object_id"]),
            (&json!(null), &json!(id))
        );
        assert!(!properties.contains_key("nonsense"));
        assert_eq!(read["updatedAt"], properties["lastmodifieddate"]);
    }

    #[test]
    fn what_is_written_with_the_people_s_token_a_person_has_written() {
        for (people, source) in [(None, "INTEGRATION"), (Some(DEFAULT_TOKEN), "CRM_UI")] {
            let mut desk = Desk::new(Settings {
                people_token: people.map(str::to_owned),
                ..Settings::quick()
            });
            let body = json!({"properties": {"email": "ada@example.com"}});
            let (_, created) = desk.post(CONTACTS, &body);
            let id = created["id"].as_str().expect("an id");
            let (_, read) = desk.get(&format!("{CONTACTS}/{id}?propertiesWithHistory=email"));
            let told = &read["propertiesWithHistory"]["email"][0]["sourceType"];
            assert_eq!(told, source);
        }
    }

    /// api-facts.md#4, 409.
    #[test]
    fn a_taken_email_is_409_with_the_other_id_in_words() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        let (status, body) = desk.post(
            CONTACTS,
            &json!({"properties": {"email": "ADA@example.com"}}),
        );
        assert_eq!((status, body["category"].as_str()), (409, Some("CONFLICT")));
        assert_eq!(
            body["message"],
            format!("Contact already exists. Existing ID: {id}")
        );
    }

    #[test]
    fn bad_values_are_400_each_with_its_code() {
        let mut desk = Desk::quick();
        let cases = [
            ("loyalty_tier", "tin", "INVALID_OPTION"),
            ("email", "nobody", "INVALID_EMAIL"),
            ("birthday", "1606768561954", "INVALID_DATE"),
            ("foo", "x", "PROPERTY_DOESNT_EXIST"),
            ("createdate", "2026-01-01", "READ_ONLY_VALUE"),
            ("hubspot_owner_id", "1", "INVALID_OWNER_ID"),
        ];
        for (name, value, code) in cases {
            let (status, body) = desk.post(
                CONTACTS,
                &json!({"properties": {"firstname": "A", (name): value}}),
            );
            assert_eq!(
                (status, body["errors"][0]["code"].as_str()),
                (400, Some(code)),
                "{name}"
            );
        }
        let (_, body) = desk.post(CONTACTS, &json!({"properties": {}}));
        assert_eq!(body["errors"][0]["code"], "REQUIRED_PROPERTY");
    }

    /// api-facts.md#5: the stage must belong to the pipeline; a ticket needs one.
    #[test]
    fn stages_belong_to_pipelines() {
        let mut desk = Desk::quick();
        let mut deal = |properties: serde_json::Value| {
            let (status, body) =
                desk.post("/crm/v3/objects/deals", &json!({"properties": properties}));
            (
                status,
                body["errors"][0]["code"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            )
        };
        assert_eq!(deal(json!({"dealname": "a"})).0, 201);
        assert_eq!(
            deal(json!({"dealname": "a", "dealstage": "closedwon"})).0,
            201
        );
        assert_eq!(
            deal(json!({"dealname": "a", "dealstage": "139921"})),
            (400, "INVALID_PIPELINE_STAGE".to_owned())
        );
        assert_eq!(
            deal(json!({"dealname": "a", "pipeline": "default"})),
            (400, "REQUIRED_PROPERTY".to_owned())
        );
        assert_eq!(
            deal(json!({"dealname": "a", "pipeline": "x", "dealstage": "1"})),
            (400, "INVALID_PIPELINE".to_owned())
        );
        let ticket = desk.post(
            "/crm/v3/objects/tickets",
            &json!({"properties": {"subject": "a"}}),
        );
        assert_eq!(ticket.0, 400);
    }

    /// api-facts.md#7: `""` clears, `null` is ignored or clears; `#5`: `lifecyclestage` only moves forward.
    #[test]
    fn clearing_and_the_one_way_stage() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        let target = format!("{CONTACTS}/{id}");
        let patch = |desk: &mut Desk, name: &str, value: serde_json::Value| {
            let (status, body) =
                desk.call("PATCH", &target, &json!({"properties": {(name): value}}));
            assert_eq!(status, 200);
            body["properties"][name].clone()
        };
        assert_eq!(patch(&mut desk, "firstname", json!("Ada")), "Ada");
        assert_eq!(patch(&mut desk, "firstname", json!(null)), "Ada");
        assert_eq!(patch(&mut desk, "firstname", json!("")), json!(null));
        assert_eq!(
            patch(&mut desk, "lifecyclestage", json!("customer")),
            "customer"
        );
        assert_eq!(
            patch(&mut desk, "lifecyclestage", json!("lead")),
            "customer"
        );
        assert_eq!(patch(&mut desk, "lifecyclestage", json!("")), json!(null));
        assert_eq!(patch(&mut desk, "lifecyclestage", json!("lead")), "lead");
        desk.portal.settings_mut().null_clears = true;
        assert_eq!(patch(&mut desk, "lifecyclestage", json!(null)), json!(null));
    }

    #[test]
    fn an_equal_write_moves_the_last_modified_time_only_by_the_switch() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        let body = json!({"properties": {"email": "ada@example.com"}});
        for (moves, expected) in [(false, 0), (true, 2_000)] {
            desk.portal.settings_mut().equal_write_moves_modified = moves;
            desk.now_ms += 1_000;
            desk.call("PATCH", &format!("{CONTACTS}/{id}"), &body);
            let record = desk.portal.record("contacts", id).expect("there");
            assert_eq!(record.modified_ms() - record.created_ms(), expected);
        }
    }

    #[test]
    fn history_is_newest_first_and_names_its_source() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        desk.now_ms += 1_000;
        desk.call(
            "PATCH",
            &format!("{CONTACTS}/{id}"),
            &json!({"properties": {"email": "b@example.com"}}),
        );
        let (_, body) = desk.get(&format!("{CONTACTS}/{id}?propertiesWithHistory=email"));
        let history = &body["propertiesWithHistory"]["email"];
        assert_eq!(
            (&history[0]["value"], &history[0]["sourceType"]),
            (&json!("b@example.com"), &json!("INTEGRATION"))
        );
        assert_eq!(
            (&history[1]["value"], &history[1]["sourceType"]),
            (&json!("ada@example.com"), &json!("CRM_UI"))
        );
        for number in 0..60 {
            desk.now_ms += 1;
            desk.portal.edit(
                "contacts",
                id,
                &[("firstname", &number.to_string())],
                desk.now_ms,
            );
        }
        let (_, body) = desk.get(&format!("{CONTACTS}/{id}?propertiesWithHistory=firstname"));
        assert_eq!(
            body["propertiesWithHistory"]["firstname"]
                .as_array()
                .map(Vec::len),
            Some(45)
        );
    }

    #[test]
    fn deleted_is_404_until_asked_for_as_archived_and_erased_is_404_for_ever() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        let target = format!("{CONTACTS}/{id}");
        assert_eq!(desk.call("DELETE", &target, &json!(null)).0, 204);
        assert_eq!(desk.call("DELETE", &target, &json!(null)).0, 204);
        assert_eq!(desk.get(&target).0, 404);
        assert_eq!(desk.get(&format!("{target}?archived=true")).0, 200);
        assert_eq!(
            desk.call("PATCH", &target, &json!({"properties": {"firstname": "x"}}))
                .0,
            404
        );
        let erased = desk.contact("b@example.com").to_string();
        assert_eq!(
            desk.post(
                &format!("{CONTACTS}/gdpr-delete"),
                &json!({"objectId": erased})
            )
            .0,
            204
        );
        assert_eq!(
            desk.get(&format!("{CONTACTS}/{erased}?archived=true")).0,
            404
        );
        let (status, body) =
            desk.post(CONTACTS, &json!({"properties": {"email": "b@example.com"}}));
        assert_eq!(
            (status, body["errors"][0]["code"].as_str()),
            (400, Some("INVALID_EMAIL"))
        );
    }

    /// Unknown 9.
    #[test]
    fn an_archived_holder_of_an_email_blocks_it_only_by_the_switch() {
        for (archived_holds_unique, expected) in [(false, 201), (true, 409)] {
            let mut desk = Desk::new(Settings {
                archived_holds_unique,
                ..Settings::quick()
            });
            let id = desk.contact("ada@example.com");
            desk.portal.archive("contacts", id, desk.now_ms);
            let created = desk.post(
                CONTACTS,
                &json!({"properties": {"email": "ada@example.com"}}),
            );
            assert_eq!(created.0, expected);
        }
    }

    #[test]
    fn rules_of_the_create_form_hold_in_2026_09_alone() {
        let mut desk = Desk::quick();
        let asked = vec!["phone".to_owned()];
        desk.portal
            .settings_mut()
            .required_in_2026_09
            .insert("contacts".to_owned(), asked);
        let mut create = |version: &str, email: &str| {
            let body = json!({"properties": {"email": email}});
            desk.post(&format!("/crm/objects/{version}/contacts"), &body)
        };
        assert_eq!(create("2026-03", "a@example.com").0, 201);
        assert_eq!(
            create("2026-09", "b@example.com").1["errors"][0]["code"],
            "MISSING_REQUIRED_PROPERTY"
        );
    }
}
