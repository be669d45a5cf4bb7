//! Limits that a portal sets on the associations of a pair: `definitions/configurations` (`api-facts.md#8`).

use serde_json::{Value, json};

use crate::api::answer::Answer;
use crate::api::associations::inputs::{inputs_list, spec_of};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Call, Route};
use crate::api::single::body_of;
use crate::portal::link_types::LinkDefinition;
use crate::portal::{Handled, Portal};

const MOST: usize = 100;

fn limit_json(definition: &LinkDefinition) -> Value {
    json!({"category": definition.kind.category.name(), "typeId": definition.kind.type_id,
           "label": definition.label, "userEnforcedMaxToObjectIds": definition.most})
}

fn limits_of<'a>(definitions: impl Iterator<Item = &'a LinkDefinition>) -> Answer {
    let limited = definitions.filter(|definition| definition.most.is_some());
    let results: Vec<Value> = limited.map(limit_json).collect();
    Answer::json(200, &json!({"results": results}))
}

impl Portal {
    pub(crate) fn link_limits(&self, route: &Route) -> Answer {
        limits_of(self.link_types().of(route.object, route.to).iter())
    }

    pub(crate) fn all_link_limits(&self) -> Answer {
        limits_of(self.link_types().all())
    }

    /// What is over a new limit already stays.
    pub(crate) fn link_limits_write(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in inputs_list(&body, MOST)? {
            let kind = spec_of(input, "")?;
            let most = input.get("maxToObjectIds").and_then(Value::as_u64);
            let most = most.and_then(|most| u32::try_from(most).ok());
            let most = most.filter(|most| *most > 0).ok_or_else(|| {
                Problem::validation("Invalid input JSON: maxToObjectIds must be positive")
            })?;
            let pair = (route.object, route.to);
            let types = self.link_types_mut();
            types.change(pair, kind, |definition| definition.most = Some(most));
            match types.find(pair.0, pair.1, kind) {
                Some(definition) => results.push(limit_json(definition)),
                None => errors.push(Problem::not_found(format!(
                    "No association type {} {} exists",
                    kind.category.name(),
                    kind.type_id
                ))),
            }
        }
        let status = if route.call == Call::LinkLimitsCreate {
            201
        } else {
            200
        };
        Ok(self.link_envelope(status, &results, &errors, now_ms))
    }

    pub(crate) fn link_limits_purge(&mut self, route: &Route, request: &Request) -> Handled {
        let body = body_of(request)?;
        for input in inputs_list(&body, MOST)? {
            let kind = spec_of(input, "")?;
            let types = self.link_types_mut();
            let pair = (route.object, route.to);
            types.change(pair, kind, |definition| definition.most = None);
        }
        Ok(Answer::empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::portal::LinkType;
    use crate::testing::Desk;

    const LIMITS: &str = "/crm/associations/2026-03/definitions/configurations";

    #[test]
    fn a_limit_of_a_pair_refuses_one_record_too_many_from_either_end() {
        let mut desk = Desk::quick();
        let (big, small) = (desk.deal("Big"), desk.deal("Small"));
        let (acme, beta) = (desk.company("Acme"), desk.company("Beta"));
        let limit = json!({"inputs": [{"category": "HUBSPOT_DEFINED", "typeId": 341, "maxToObjectIds": 1}]});
        let (status, body) = desk.post(&format!("{LIMITS}/deals/companies/batch/create"), &limit);
        let told = json!([{"category": "HUBSPOT_DEFINED", "typeId": 341, "label": null, "userEnforcedMaxToObjectIds": 1}]);
        assert_eq!((status, &body["results"]), (201, &told));
        assert_eq!(
            desk.get(&format!("{LIMITS}/deals/companies")).1["results"],
            told
        );
        assert_eq!(desk.get(&format!("{LIMITS}/all")).1["results"], told);
        let put = |desk: &mut Desk, deal: u64, company: u64| {
            let path =
                format!("/crm/v4/objects/companies/{company}/associations/default/deals/{deal}");
            desk.call("PUT", &path, &Value::Null).0
        };
        assert_eq!(put(&mut desk, big, acme), 200);
        assert_eq!(put(&mut desk, big, acme), 200, "what is there is no more");
        assert_eq!(put(&mut desk, big, beta), 400);
        assert_eq!(put(&mut desk, small, acme), 200, "the limit is the deal's");
        let spec = json!({"inputs": [{"category": "HUBSPOT_DEFINED", "typeId": 341}]});
        assert_eq!(
            desk.post(&format!("{LIMITS}/deals/companies/batch/purge"), &spec)
                .0,
            204
        );
        assert_eq!(put(&mut desk, big, beta), 200);
    }

    #[test]
    fn a_person_limits_a_pair_and_is_bound_by_it() {
        let mut desk = Desk::quick();
        let (deal, acme, beta) = (desk.deal("Big"), desk.company("Acme"), desk.company("Beta"));
        let kind = LinkType::hubspot(341);
        desk.portal
            .limit_links(("deals", "companies"), kind, Some(1));
        let mut to = |company: u64| {
            let (from, to) = (("deals", deal), ("companies", company));
            desk.portal.associate(from, to, desk.now_ms)
        };
        assert_eq!((to(acme), to(beta)), (true, false));
    }
}
