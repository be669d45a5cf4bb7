//! The types of a pair: list them, and make, rename and delete labels (`api-facts.md#8`).

use serde_json::{Value, json};

use crate::api::answer::Answer;
use crate::api::associations::spec_with_label;
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::Route;
use crate::api::single::{body_of, id_text};
use crate::catalogue::links::LinkRole;
use crate::portal::link_types::{LinkDefinition, LinkType, NewLabel};
use crate::portal::{Handled, Portal};

/// Labels of a pair (`api-facts.md#8`).
const MOST_LABELS: usize = 50;

impl Portal {
    pub(crate) fn labels(&self, route: &Route) -> Answer {
        let known = self.link_types().of(route.object, route.to);
        let results: Vec<Value> = known.iter().map(spec_with_label).collect();
        Answer::json(200, &json!({"results": results}))
    }

    /// Makes a label; the answer has both directions.
    pub(crate) fn label_create(&mut self, route: &Route, request: &Request) -> Handled {
        let body = body_of(request)?;
        let (label, name) = (text_in(&body, "label")?, text_in(&body, "name")?);
        let known = self.link_types().of(route.object, route.to);
        let is_twin =
            |one: &LinkDefinition| one.label.as_deref() == Some(label) || one.name == name;
        if known.iter().any(is_twin) {
            return Err(Problem::validation(format!(
                "An association label named {label} already exists"
            )));
        }
        let labels = known.iter().filter(|one| one.role == LinkRole::Labelled);
        if labels.count() >= MOST_LABELS {
            return Err(Problem::validation(format!(
                "At most {MOST_LABELS} labels of a pair are possible"
            )));
        }
        let (kind, inverse) = self.link_types_mut().add(NewLabel {
            from: route.object,
            to: route.to,
            name,
            label: Some(label),
            inverse_label: body.get("inverseLabel").and_then(Value::as_str),
        });
        let types = self.link_types();
        let back = Some(inverse).filter(|inverse| *inverse != kind);
        let both = [
            types.find(route.object, route.to, kind),
            back.and_then(|back| types.find(route.to, route.object, back)),
        ];
        let results: Vec<Value> = both.into_iter().flatten().map(spec_with_label).collect();
        Ok(Answer::json(200, &json!({"results": results})))
    }

    pub(crate) fn label_update(&mut self, route: &Route, request: &Request) -> Handled {
        let body = body_of(request)?;
        let label = text_in(&body, "label")?.to_owned();
        let id = body.get("associationTypeId").and_then(id_text);
        let definition = self.own_label(route, &id.unwrap_or_default())?;
        let inverse_label = body.get("inverseLabel").and_then(Value::as_str);
        let types = self.link_types_mut();
        types.change((route.object, route.to), definition.kind, |one| {
            one.label = Some(label);
        });
        if let Some(inverse_label) = inverse_label {
            types.change((route.to, route.object), definition.inverse, |one| {
                one.label = Some(inverse_label.to_owned());
            });
        }
        Ok(Answer::empty())
    }

    pub(crate) fn label_delete(&mut self, route: &Route, now_ms: i64) -> Handled {
        let kind = self.own_label(route, &route.to_name)?.kind;
        let pair = (route.object, route.to);
        self.commit_delete_label(pair, kind, &self.author(None), now_ms);
        Ok(Answer::empty())
    }

    /// A label that people made: the id alone says it, for HubSpot's own can't be changed.
    fn own_label(&self, route: &Route, id: &str) -> Result<LinkDefinition, Problem> {
        let kind = id.trim().parse().ok().map(LinkType::user);
        let known = kind.and_then(|kind| self.link_types().find(route.object, route.to, kind));
        let label = known.filter(|one| one.role == LinkRole::Labelled).cloned();
        label.ok_or_else(|| Problem::not_found(format!("No association label with id {id} exists")))
    }
}

fn text_in<'a>(body: &'a Value, name: &str) -> Result<&'a str, Problem> {
    let text = body.get(name).and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty());
    text.ok_or_else(|| Problem::validation(format!("Invalid input JSON: {name} is required")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Desk;

    const LABELS: &str = "/crm/associations/2026-03/contacts/companies/labels";

    #[test]
    fn labels_are_made_in_both_directions_renamed_and_deleted() {
        let mut desk = Desk::quick();
        let (status, body) = desk.get("/crm/v4/associations/0-1/0-2/labels");
        let hubspot = |id: u32, label: Value| json!({"category": "HUBSPOT_DEFINED", "typeId": id, "label": label});
        let own = [hubspot(1, json!("Primary")), hubspot(279, Value::Null)];
        assert_eq!((status, &body["results"]), (200, &json!(own)));
        let new = json!({"label": "Adviser", "name": "adviser", "inverseLabel": "Advised by"});
        let (status, body) = desk.post(LABELS, &new);
        let label = |id: u32, label: &str| json!({"category": "USER_DEFINED", "typeId": id, "label": label});
        let both = json!([label(1, "Adviser"), label(2, "Advised by")]);
        assert_eq!((status, &body["results"]), (200, &both));
        assert_eq!(desk.post(LABELS, &new).0, 400, "its name is taken");
        let renamed = json!({"associationTypeId": 1, "label": "Consultant"});
        assert_eq!(desk.call("PUT", LABELS, &renamed).0, 204);
        let (_, body) = desk.get(LABELS);
        assert_eq!(body["results"][2], label(1, "Consultant"));
        assert_eq!(
            desk.call("DELETE", &format!("{LABELS}/1"), &Value::Null).0,
            204
        );
        assert_eq!(
            desk.call("DELETE", &format!("{LABELS}/279"), &Value::Null)
                .0,
            404
        );
        let (_, body) = desk.get("/crm/associations/v4/companies/contacts/labels");
        assert_eq!(body["results"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn associations_keep_the_plain_type_when_their_label_is_deleted() {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let pair = ("contacts", "companies");
        let (adviser, _) = desk.portal.create_label(pair, "Adviser", None);
        let (from, to) = (("contacts", ada), ("companies", acme));
        assert!(desk.portal.label(from, to, adviser, desk.now_ms));
        assert!(desk.portal.rename_label(pair, adviser, "Consultant"));
        let known = desk.portal.pair_types(pair.0, pair.1);
        let label = known.iter().find(|known| known.kind == adviser);
        let label = label.and_then(|known| known.label.as_deref());
        assert_eq!(label, Some("Consultant"));
        assert!(desk.portal.delete_label(pair, adviser, desk.now_ms));
        assert_eq!(desk.kinds(ada, acme), [279]);
        assert!(!desk.portal.delete_label(pair, adviser, desk.now_ms));
    }
}
