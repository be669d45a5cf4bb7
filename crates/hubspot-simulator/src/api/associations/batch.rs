//! Batches of associations: read 1,000 records, write 2,000 pairs a request (`api-facts.md#3`, `#8`).

use std::collections::BTreeSet;

use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use crate::api::answer::Answer;
use crate::api::associations::Ends;
use crate::api::associations::inputs::{PairInput, fans_of, id_in, inputs_list, pairs_of};
use crate::api::batch::Action;
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::Route;
use crate::api::single::{body_of, id_text};
use crate::portal::link_commit::LinkRefusal;
use crate::portal::{Handled, PageFault, Portal};

const MOST_READ: usize = 1_000;
const MOST_WRITTEN: usize = 2_000;

impl Portal {
    /// Records without associations are missing from the results, and each has an error of its own.
    pub(crate) fn associations_read(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let inputs = inputs_list(&body, MOST_READ)?;
        if inputs.is_empty() {
            return self.empty_batch(Action::Update);
        }
        self.check_page(inputs.len())?;
        let (mut results, mut errors, mut asked) = (Vec::new(), Vec::new(), BTreeSet::new());
        for input in inputs {
            let id = id_in(Some(input))?;
            let after = input.get("after").and_then(id_text);
            let start = self.start_of(after.as_deref())?;
            if !asked.insert(id.clone()) {
                continue;
            }
            match self.associations_of(route, &id, start) {
                Some(result) => results.push(result),
                None => errors.push(self.no_associations(route, id)),
            }
        }
        errors.extend(self.lose_one(&mut results));
        results.shuffle(self.rng_mut());
        Ok(self.link_envelope(200, &results, &errors, now_ms))
    }

    fn associations_of(&self, route: &Route, id: &str, start: u64) -> Option<Value> {
        let from = self.read_end(route.object, id)?;
        if self.settings().hidden.contains(&from.id) {
            return None;
        }
        let partners = self.record_links().partners(from, route.to)?;
        let most = self.settings().associations_per_page;
        let pair = (route.object, route.to);
        let (to, next) = self.association_page(pair, partners, start, most);
        if to.is_empty() && start == 0 {
            return None;
        }
        let mut result = json!({"from": {"id": from.id.to_string()}, "to": to});
        if let Some(next) = next {
            let types = [pair.0, pair.1].map(|object| self.table(object).spec.type_id);
            let after = self.after_text(next);
            let link = format!(
                "https://api.hubapi.com/crm/v4/objects/{}/{}/associations/{}?after={after}",
                types[0], from.id, types[1]
            );
            result["paging"] = json!({"next": {"after": after, "link": link}});
        }
        Some(result)
    }

    fn no_associations(&self, route: &Route, id: String) -> Problem {
        let (from, to) = (
            self.table(route.object).spec.singular,
            self.table(route.to).spec.singular,
        );
        let problem = Problem::not_found(format!("No {to} is associated with {from} {id}."));
        let problem = problem
            .with("fromObjectId", vec![id])
            .with("fromObjectType", vec![from.to_owned()])
            .with("toObjectType", vec![to.to_owned()]);
        Problem {
            sub_category: Some("crm.associations.NO_ASSOCIATIONS_FOUND"),
            ..problem
        }
    }

    /// The record that a fault takes away, and what the answer says of it.
    fn lose_one(&mut self, results: &mut Vec<Value>) -> Option<Problem> {
        let fault = self.take_page_fault()?;
        let is_lost = matches!(fault, PageFault::Unreadable | PageFault::Omitted);
        if results.is_empty() || !is_lost {
            return None;
        }
        results.remove(results.len() / 2);
        let words = "There was a problem with the request.";
        let problem = Problem::new(500, "INTERNAL_ERROR", words);
        (fault == PageFault::Unreadable).then_some(problem)
    }

    /// The pairs of a batch that may be written; an unknown type fails all, by the settings.
    fn pairs_in(
        &self,
        route: &Route,
        request: &Request,
        is_typed: bool,
    ) -> Result<Vec<PairInput>, Problem> {
        let body = body_of(request)?;
        let inputs = inputs_list(&body, MOST_WRITTEN)?;
        let pairs = pairs_of(inputs, is_typed)?;
        if self.settings().bad_association_type_fails_batch {
            for pair in &pairs {
                self.check_types(route, pair)?;
            }
        }
        Ok(pairs)
    }

    fn check_types(&self, route: &Route, pair: &PairInput) -> Result<(), Problem> {
        let types = self.link_types();
        let is_unknown = |kind: &&_| types.find(route.object, route.to, **kind).is_none();
        match pair.types.iter().find(is_unknown) {
            Some(kind) => {
                let ends = self.ends_of(route, pair);
                Err(self.link_problem(ends, *kind, &LinkRefusal::UnknownType))
            }
            None => Ok(()),
        }
    }

    /// A record that isn't there fails all, by the settings.
    fn check_there(&self, route: &Route, pairs: &[PairInput]) -> Result<(), Problem> {
        if !self.settings().missing_record_fails_batch {
            return Ok(());
        }
        let types = self.link_types();
        for pair in pairs {
            let (from, to) = self.ends_of(route, pair);
            let plain = types.plain(from.object, to.object);
            let named = pair.types.first().copied();
            let Some(kind) = named.or(plain.map(|plain| plain.kind)) else {
                continue;
            };
            if let Err(refusal @ LinkRefusal::Missing(_)) = self.check_link(from, to, kind) {
                return Err(self.link_problem((from, to), kind, &refusal));
            }
        }
        Ok(())
    }

    fn ends_of(&self, route: &Route, pair: &PairInput) -> Ends {
        (
            self.written_end(route.object, &pair.from),
            self.written_end(route.to, &pair.to),
        )
    }

    pub(crate) fn associations_create(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let pairs = self.pairs_in(route, request, true)?;
        if pairs.is_empty() {
            return self.empty_batch(Action::Create);
        }
        self.check_there(route, &pairs)?;
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for pair in &pairs {
            let ends = self.ends_of(route, pair);
            match self.checked_links(ends, &pair.types) {
                Ok(definitions) => results.push(self.write_links(ends, &definitions, now_ms)),
                Err(problem) => errors.push(problem),
            }
        }
        results.shuffle(self.rng_mut());
        Ok(self.link_envelope(201, &results, &errors, now_ms))
    }

    pub(crate) fn associations_default(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let pairs = self.pairs_in(route, request, false)?;
        if pairs.is_empty() {
            return self.empty_batch(Action::Update);
        }
        self.check_there(route, &pairs)?;
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for pair in &pairs {
            match self.default_link(self.ends_of(route, pair), now_ms) {
                Ok(made) => results.extend(made),
                Err(problem) => errors.push(problem),
            }
        }
        Ok(self.link_envelope(200, &results, &errors, now_ms))
    }

    pub(crate) fn associations_archive(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let body = body_of(request)?;
        let pairs = fans_of(inputs_list(&body, MOST_WRITTEN)?)?;
        for pair in &pairs {
            let ends = self.ends_of(route, pair);
            self.commit_unlink_pair(ends, &self.author(None), now_ms);
        }
        Ok(self.archived_links(route, now_ms))
    }

    pub(crate) fn labels_archive(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let pairs = self.pairs_in(route, request, true)?;
        for pair in &pairs {
            let ends = self.ends_of(route, pair);
            for kind in &pair.types {
                self.commit_unlink(ends, *kind, &self.author(None), now_ms);
            }
        }
        Ok(self.archived_links(route, now_ms))
    }

    fn archived_links(&self, route: &Route, now_ms: i64) -> Answer {
        if route.is_dated && self.settings().association_archive_is_200 {
            self.link_envelope(200, &[], &[], now_ms)
        } else {
            Answer::empty()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Desk;
    use crate::world::faults::{FaultKind, Script};

    const PAIR: &str = "/crm/associations/2026-03/deals/companies/batch";

    fn input(from: u64, to: u64, types: &Value) -> Value {
        json!({"from": {"id": from.to_string()}, "to": {"id": to.to_string()}, "types": types})
    }

    fn hubspot(id: u32) -> Value {
        json!([{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": id}])
    }

    #[test]
    fn a_record_without_associations_is_an_error_of_a_207_and_no_result() {
        let mut desk = Desk::quick();
        let (big, small, acme) = (desk.deal("Big"), desk.deal("Small"), desk.company("Acme"));
        let (from, to) = (("deals", big), ("companies", acme));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        for base in [
            "/crm/v4/associations",
            "/crm/associations/v4",
            "/crm/associations/2026-09",
        ] {
            let inputs = json!({"inputs": [{"id": small.to_string()}, {"id": big.to_string()}, {"id": "7"}]});
            let (status, body) = desk.post(&format!("{base}/0-3/0-2/batch/read"), &inputs);
            assert_eq!((status, &body["numErrors"]), (207, &json!(2)), "{base}");
            let expected = json!([{"from": {"id": big.to_string()}, "to": [{"toObjectId": acme,
                "associationTypes": [{"category": "HUBSPOT_DEFINED", "typeId": 5, "label": "Primary"},
                                     {"category": "HUBSPOT_DEFINED", "typeId": 341, "label": null}]}]}]);
            assert_eq!(body["results"], expected);
            let error = &body["errors"][0];
            assert_eq!(
                error["subCategory"],
                "crm.associations.NO_ASSOCIATIONS_FOUND"
            );
            assert_eq!(
                error["message"],
                format!("No company is associated with deal {small}.")
            );
            assert_eq!(
                error["context"],
                json!({"fromObjectId": [small.to_string()], "fromObjectType": ["deal"], "toObjectType": ["company"]})
            );
        }
    }

    #[test]
    fn a_batch_read_takes_a_thousand_and_pages_within_a_record() {
        let mut desk = Desk::quick();
        desk.portal.settings_mut().associations_per_page = 2;
        let deal = desk.deal("Big");
        let companies: Vec<u64> = (0..3)
            .map(|number| desk.company(&format!("C{number}")))
            .collect();
        for company in &companies {
            let (from, to) = (("deals", deal), ("companies", *company));
            assert!(desk.portal.associate(from, to, desk.now_ms));
        }
        let read = |desk: &mut Desk, after: &Value| {
            let inputs = json!({"inputs": [{"id": deal.to_string(), "after": after}]});
            let (status, mut body) = desk.post(&format!("{PAIR}/read"), &inputs);
            assert_eq!(status, 200);
            body["results"][0].take()
        };
        let page = read(&mut desk, &Value::Null);
        assert_eq!(page["to"].as_array().map(Vec::len), Some(2));
        let page = read(&mut desk, &page["paging"]["next"]["after"]);
        assert_eq!(page["to"][0]["toObjectId"], json!(companies[2]));
        assert_eq!(page.get("paging"), None);
        for (count, status) in [(1_000, 207), (1_001, 400)] {
            let inputs: Vec<Value> = (1..=count).map(|id| json!({"id": id})).collect();
            let (told, _) = desk.post(&format!("{PAIR}/read"), &json!({"inputs": inputs}));
            assert_eq!(told, status);
        }
    }

    #[test]
    fn a_create_answers_pairs_with_labels_and_names_records_that_are_not_there() {
        let mut desk = Desk::quick();
        let (deal, acme) = (desk.deal("Big"), desk.company("Acme"));
        let body =
            json!({"inputs": [input(deal, acme, &hubspot(5)), input(deal, 7, &hubspot(341))]});
        let (status, body) = desk.post(&format!("{PAIR}/create"), &body);
        assert_eq!((status, &body["numErrors"]), (207, &json!(1)));
        assert_eq!(body["results"][0]["labels"], json!(["Primary"]));
        assert_eq!(body["errors"][0]["category"], "OBJECT_NOT_FOUND");
        assert_eq!(desk.portal.links("deals", "companies").len(), 2);
    }

    #[test]
    fn a_bad_type_fails_the_batch_or_its_own_input_by_the_settings() {
        for (whole, status, links) in [(true, 400, 0), (false, 207, 1)] {
            let mut desk = Desk::quick();
            desk.portal.settings_mut().bad_association_type_fails_batch = whole;
            let (deal, acme, beta) = (desk.deal("Big"), desk.company("Acme"), desk.company("Beta"));
            let body = json!({"inputs": [input(deal, acme, &hubspot(341)), input(deal, beta, &hubspot(279))]});
            assert_eq!(desk.post(&format!("{PAIR}/create"), &body).0, status);
            assert_eq!(desk.portal.links("deals", "companies").len(), links);
        }
    }

    #[test]
    fn a_missing_record_fails_the_batch_or_its_own_input_by_the_settings() {
        for (whole, status, links) in [(true, 404, 0), (false, 207, 1)] {
            let mut desk = Desk::quick();
            desk.portal.settings_mut().missing_record_fails_batch = whole;
            let (deal, acme) = (desk.deal("Big"), desk.company("Acme"));
            let body = json!({"inputs": [input(deal, acme, &hubspot(341)), input(deal, 7, &hubspot(341))]});
            assert_eq!(desk.post(&format!("{PAIR}/create"), &body).0, status);
            assert_eq!(desk.portal.links("deals", "companies").len(), links);
        }
    }

    #[test]
    fn a_default_that_a_pair_does_not_have_is_an_error_of_its_input() {
        let mut desk = Desk::quick();
        let (ada, deal) = (desk.contact("ada@example.com"), desk.deal("Big"));
        let (deals, other) = (
            json!({"id": deal.to_string()}),
            json!({"id": ada.to_string()}),
        );
        let body = json!({"inputs": [{"from": deals, "to": other}]});
        let path = |pair: &str| format!("/crm/associations/2026-03/{pair}/batch/associate/default");
        assert_eq!(desk.post(&path("deals/contacts"), &body).0, 200);
        let twice = json!({"inputs": [{"from": deals, "to": deals}]});
        let (status, body) = desk.post(&path("deals/deals"), &twice);
        assert_eq!(
            (status, &body["errors"][0]["category"]),
            (207, &json!("VALIDATION_ERROR"))
        );
    }

    #[test]
    fn archives_take_one_type_or_all_and_answer_204_or_200_by_the_settings() {
        let mut desk = Desk::quick();
        let (deal, acme) = (desk.deal("Big"), desk.company("Acme"));
        let (from, to) = (("deals", deal), ("companies", acme));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        let body = json!({"inputs": [input(deal, acme, &hubspot(5))]});
        assert_eq!(
            desk.post(&format!("{PAIR}/labels/archive"), &body),
            (204, Value::Null)
        );
        assert_eq!(desk.portal.links("deals", "companies").len(), 1);
        desk.portal.settings_mut().association_archive_is_200 = true;
        let body = json!({"inputs": [{"from": {"id": deal}, "to": [{"id": acme}, {"id": 7}]}]});
        let (status, answer) = desk.post(&format!("{PAIR}/archive"), &body);
        assert_eq!((status, &answer["results"]), (200, &json!([])));
        assert_eq!(
            desk.post("/crm/v4/associations/deals/companies/batch/archive", &body)
                .0,
            204
        );
        assert_eq!(desk.portal.links("deals", "companies"), []);
    }

    #[test]
    fn a_fault_takes_a_record_out_of_an_answer_with_or_without_a_word() {
        for (fault, status) in [
            (FaultKind::UnreadableRecord, 207),
            (FaultKind::OmittedRecord, 200),
        ] {
            let mut desk = Desk::quick();
            let (deal, acme) = (desk.deal("Big"), desk.company("Acme"));
            let (from, to) = (("deals", deal), ("companies", acme));
            assert!(desk.portal.associate(from, to, desk.now_ms));
            let script = Script::new(fault, 1, "/batch/read");
            desk.portal.faults_mut().script(script);
            let inputs = json!({"inputs": [{"id": deal}]});
            let (told, body) = desk.post(&format!("{PAIR}/read"), &inputs);
            assert_eq!((told, &body["results"]), (status, &json!([])));
        }
    }
}
