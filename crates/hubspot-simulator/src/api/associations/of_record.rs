//! Associations that go along with a record: made in its create, shown in reads that ask for them (`api-facts.md#5`).

use serde_json::{Map, Value, json};

use crate::api::associations::inputs::{Spec, id_in, specs_of};
use crate::api::problem::Problem;
use crate::catalogue::ObjectIndex;
use crate::portal::Portal;
use crate::portal::link_commit::LinkRefusal;
use crate::portal::link_types::LinkDefinition;
use crate::portal::links::{End, Partners};

/// Associations of one object that a read of a record shows.
const MOST_SHOWN: usize = 100;

/// Associations that a new record will have.
pub(crate) type NewLinks = Vec<(End, LinkDefinition)>;

impl Portal {
    /// The `associations` of a create, checked; the types are as the new record sees them.
    pub(crate) fn new_links(
        &self,
        object: ObjectIndex,
        input: &Value,
    ) -> Result<NewLinks, Problem> {
        let mut links = NewLinks::new();
        let wanted = input.get("associations").filter(|value| !value.is_null());
        let Some(wanted) = wanted else {
            return self.check_needed(object, links);
        };
        let wanted = wanted.as_array().ok_or_else(|| {
            Problem::validation("Invalid input JSON: associations must be a list")
        })?;
        for one in wanted {
            let to = id_in(one.get("to"))?;
            let types = one.get("types").unwrap_or(&Value::Null);
            for kind in specs_of(types)? {
                links.push(self.new_link(object, &to, kind)?);
            }
        }
        self.check_needed(object, links)
    }

    /// Some objects are nothing without an association (`api-facts.md#5`).
    fn check_needed(&self, object: ObjectIndex, links: NewLinks) -> Result<NewLinks, Problem> {
        let spec = self.table(object).spec;
        let is_needed = |to: &End| {
            spec.needs_link
                .contains(&self.table(to.object).spec.type_id)
        };
        if spec.needs_link.is_empty() || links.iter().any(|(to, _)| is_needed(to)) {
            return Ok(links);
        }
        let types = spec.needs_link.join(", ");
        Err(Problem::validation(format!(
            "Error creating {}. An association with one of these object types is required: [{types}]",
            spec.upper
        )))
    }

    fn new_link(
        &self,
        object: ObjectIndex,
        to: &str,
        kind: Spec,
    ) -> Result<(End, LinkDefinition), Problem> {
        // The new record has no id yet.
        let from = End { object, id: 0 };
        let definition = self.link_types().seen_from(object, kind).cloned();
        let Some(definition) = definition else {
            return Err(self.link_problem((from, from), kind, &LinkRefusal::UnknownType));
        };
        let to = self.written_end(definition.to, to);
        let checked = if self.is_live(to) {
            self.check_room(to, from, &definition)
        } else {
            Err(LinkRefusal::Missing(to))
        };
        checked.map_err(|refusal| self.link_problem((from, to), kind, &refusal))?;
        Ok((to, definition))
    }

    pub(crate) fn commit_new_links(&mut self, from: End, links: &NewLinks, now_ms: i64) {
        for (to, definition) in links {
            self.commit_link((from, *to), definition, &self.author(None), now_ms);
        }
    }

    /// `associations` of a record in the old spelling: by the other object's name, one entry a type.
    pub(crate) fn shown_links(&self, from: End, names: &[String]) -> Option<Value> {
        let mut shown = Map::new();
        for name in names {
            let Some(to) = self.object_of(name) else {
                continue;
            };
            let none = Partners::new();
            let partners = self.record_links().partners(from, to).unwrap_or(&none);
            let entries = partners.iter().flat_map(|(id, kinds)| {
                let known = kinds
                    .iter()
                    .filter_map(|kind| self.link_types().find(from.object, to, *kind));
                known.map(|one| (*id, json!({"id": id.to_string(), "type": one.name})))
            });
            let mut entries: Vec<(u64, Value)> = entries.collect();
            if entries.is_empty() {
                continue;
            }
            let next = entries.get(MOST_SHOWN).map(|(id, _)| *id);
            entries.truncate(MOST_SHOWN);
            let results: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
            let mut part = json!({"results": results});
            if let Some(next) = next {
                part["paging"] = json!({"next": {"after": self.after_text(next)}});
            }
            shown.insert(self.table(to).spec.plural.to_owned(), part);
        }
        (!shown.is_empty()).then_some(Value::Object(shown))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Desk, ids};

    fn linked(properties: &Value, to: u64, id: u32) -> Value {
        let types = json!([{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": id}]);
        json!({"properties": properties, "associations": [{"to": {"id": to.to_string()}, "types": types}]})
    }

    #[test]
    fn a_create_makes_its_associations_or_nothing() {
        let mut desk = Desk::quick();
        let acme = desk.company("Acme");
        let contact = json!({"email": "ada@example.com"});
        let path = "/crm/objects/2026-03/contacts";
        for (to, id, status) in [(acme, 4, 404), (7, 279, 404), (acme, 99, 400)] {
            assert_eq!(desk.post(path, &linked(&contact, to, id)).0, status);
            assert_eq!(desk.portal.count("contacts"), 0);
        }
        let (status, body) = desk.post(path, &linked(&contact, acme, 1));
        let id: u64 = body["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        assert_eq!((status, desk.kinds(id, acme)), (201, vec![1, 279]));
    }

    #[test]
    fn a_batch_create_makes_associations_input_by_input_and_an_upsert_none() {
        let mut desk = Desk::quick();
        let acme = desk.company("Acme");
        let traced = |email: &str, id: u32, trace: &str| {
            let mut input = linked(&json!({"email": email}), acme, id);
            input["objectWriteTraceId"] = json!(trace);
            input
        };
        let inputs = json!({"inputs": [traced("a@example.com", 279, "a"), traced("b@example.com", 99, "b")]});
        let path = "/crm/objects/2026-03/contacts/batch";
        let (status, body) = desk.post(&format!("{path}/create"), &inputs);
        assert_eq!((status, body["numErrors"].as_u64()), (207, Some(1)));
        assert_eq!(desk.kinds(ids(&body)[0], acme), [279]);
        let plain = json!({"inputs": [linked(&json!({"email": "c@example.com"}), acme, 99)]});
        assert_eq!(desk.post(&format!("{path}/create"), &plain).0, 400);
        let mut input = linked(&json!({"firstname": "D"}), acme, 279);
        input["id"] = json!("K-1");
        input["idProperty"] = json!("customer_number");
        let (status, body) = desk.post(&format!("{path}/upsert"), &json!({"inputs": [input]}));
        assert_eq!(status, 200);
        assert_eq!(desk.kinds(ids(&body)[0], acme), [] as [u32; 0]);
    }

    #[test]
    fn reads_show_associations_in_the_old_spelling_when_asked() {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let (from, to) = (("contacts", ada), ("companies", acme));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        let id = acme.to_string();
        let expected = json!({"companies": {"results": [{"id": id, "type": "contact_to_company"},
                                                        {"id": id, "type": "contact_to_company_unlabeled"}]}});
        let (_, one) = desk.get(&format!(
            "/crm/v3/objects/contacts/{ada}?associations=companies,deals"
        ));
        assert_eq!(one["associations"], expected);
        let (_, page) = desk.get("/crm/v3/objects/contacts?associations=companies");
        assert_eq!(page["results"][0]["associations"], expected);
        let (_, page) = desk.get("/crm/v3/objects/contacts");
        assert_eq!(page["results"][0].get("associations"), None);
    }
}
