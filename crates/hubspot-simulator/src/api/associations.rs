//! Associations of one record: page, default, labels, delete (`api-facts.md#8`); what all association calls share.

pub(crate) mod batch;
pub(crate) mod inputs;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod of_record;

use serde_json::{Value, json};

use crate::api::answer::{Answer, spelled};
use crate::api::associations::inputs::{Spec, specs_of};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::api::single::body_of;
use crate::catalogue::ObjectIndex;
use crate::catalogue::links::LinkRole;
use crate::portal::link_commit::LinkRefusal;
use crate::portal::link_types::{LinkDefinition, LinkType};
use crate::portal::links::{End, Partners};
use crate::portal::{Handled, Portal};
use crate::world::time;

/// The two ends of what a path or an input names.
pub(crate) type Ends = (End, End);

impl Portal {
    /// The record whose associations are read: by a merged-away id the survivor, if the portal finds it.
    pub(crate) fn read_end(&self, object: ObjectIndex, text: &str) -> Option<End> {
        let id = text.trim().parse().ok()?;
        let found = self.table(object).resolve(id)?;
        let is_seen = found == id || self.settings().merged_id_associations_found;
        is_seen.then_some(End { object, id: found })
    }

    /// The record that a write names; it may be none that is live.
    pub(crate) fn written_end(&self, object: ObjectIndex, text: &str) -> End {
        let id = text.trim().parse().unwrap_or_default();
        let resolved = self.table(object).resolve(id);
        let lands = self.settings().merged_id_update_lands;
        let id = resolved.filter(|_| lands).unwrap_or(id);
        End { object, id }
    }

    /// A record's id as association answers spell it.
    pub(crate) fn id_value(&self, id: u64) -> Value {
        if self.settings().association_ids_are_numbers {
            json!(id)
        } else {
            json!(id.to_string())
        }
    }

    fn name_of(&self, object: ObjectIndex) -> &'static str {
        self.table(object).spec.singular
    }

    /// A page of a record's associations from an id on: the entries, and the id after the last one if others follow.
    pub(crate) fn association_page(
        &self,
        (from, to): (ObjectIndex, ObjectIndex),
        partners: &Partners,
        start: u64,
        limit: usize,
    ) -> (Vec<Value>, Option<u64>) {
        let hidden = &self.settings().hidden;
        let seen = partners.range(start..);
        let mut page = seen.filter(|(id, _)| !hidden.contains(id));
        let shown: Vec<(&u64, &Vec<LinkType>)> = page.by_ref().take(limit).collect();
        let next = page.next().and(shown.last()).map(|(id, _)| *id + 1);
        let entries = shown.into_iter().map(|(id, kinds)| {
            let types = kinds
                .iter()
                .filter_map(|kind| self.link_types().find(from, to, *kind))
                .map(spec_with_label);
            json!({"toObjectId": self.id_value(*id), "associationTypes": types.collect::<Vec<_>>()})
        });
        (entries.collect(), next)
    }

    pub(crate) fn associations(&self, route: &Route, request: &Request) -> Handled {
        let query = Query::parse(&request.query);
        let most = self.settings().associations_per_page;
        let limit = query.get("limit").map_or(Ok(most), str::parse);
        let limit = limit.ok().filter(|limit| (1..=500).contains(limit));
        let limit = limit
            .ok_or_else(|| Problem::validation("Invalid limit: it must be between 1 and 500"))?;
        let from = self.read_end(route.object, &route.name);
        let from = from.ok_or_else(|| Problem::not_found("resource not found"))?;
        let start = self.start_of(query.get("after"))?;
        let none = Partners::new();
        let partners = self
            .record_links()
            .partners(from, route.to)
            .unwrap_or(&none);
        let pair = (route.object, route.to);
        let (results, next) = self.association_page(pair, partners, start, limit.min(most));
        let mut body = json!({"results": results});
        if let Some(next) = next {
            body["paging"] = self.paging(request, next - 1);
        }
        Ok(Answer::json(200, &body))
    }

    pub(crate) fn associate_default(&mut self, route: &Route, now_ms: i64) -> Handled {
        let ends = (
            self.written_end(route.object, &route.name),
            self.written_end(route.to, &route.to_name),
        );
        let results = self.default_link(ends, now_ms)?;
        Ok(self.link_envelope(200, &results, &[], now_ms))
    }

    /// Associates by the pair's default; the entries of the answer, both directions of each type.
    pub(crate) fn default_link(
        &mut self,
        (from, to): Ends,
        now_ms: i64,
    ) -> Result<Vec<Value>, Problem> {
        let types = self.link_types();
        let plain = types.plain(from.object, to.object).cloned();
        let Some(plain) = plain else {
            let upper = |end: End| self.table(end.object).spec.upper;
            return Err(Problem::validation(format!(
                "No default association exists between {} and {}",
                upper(from),
                upper(to)
            )));
        };
        self.check_link(from, to, plain.kind)
            .map_err(|refusal| self.link_problem((from, to), plain.kind, &refusal))?;
        let mut made = self.commit_default_link((from, to), &plain, &self.author(None), now_ms);
        if !self.settings().default_names_primary {
            made.truncate(1);
        }
        let types = self.link_types();
        let made = made
            .iter()
            .filter_map(|kind| types.find(from.object, to.object, *kind));
        let both = made.flat_map(|definition| {
            [
                default_json((from, to), definition.kind),
                default_json((to, from), definition.inverse),
            ]
        });
        Ok(both.collect())
    }

    pub(crate) fn associate_one(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
    ) -> Handled {
        let specs = specs_of(&body_of(request)?)?;
        if specs.is_empty() {
            return Err(Problem::validation(
                "Invalid input JSON: at least one association type is required",
            ));
        }
        let ends = (
            self.written_end(route.object, &route.name),
            self.written_end(route.to, &route.to_name),
        );
        let definitions = self.checked_links(ends, &specs)?;
        if self.settings().label_replaces_others {
            self.drop_other_labels(ends, &definitions, now_ms);
        }
        Ok(Answer::json(
            201,
            &self.write_links(ends, &definitions, now_ms),
        ))
    }

    fn drop_other_labels(&mut self, (from, to): Ends, kept: &[LinkDefinition], now_ms: i64) {
        let kinds = self.record_links().kinds(from, to).to_vec();
        for kind in kinds {
            let known = self.link_types().find(from.object, to.object, kind);
            let is_label = known.is_some_and(|one| one.role != LinkRole::Plain);
            if is_label && !kept.iter().any(|one| one.kind == kind) {
                self.commit_unlink((from, to), kind, &self.author(None), now_ms);
            }
        }
    }

    /// The definitions of the types of one pair; the first refusal is the problem.
    pub(crate) fn checked_links(
        &self,
        (from, to): Ends,
        specs: &[Spec],
    ) -> Result<Vec<LinkDefinition>, Problem> {
        let mut definitions = Vec::with_capacity(specs.len());
        for kind in specs {
            let checked = self.check_link(from, to, *kind);
            definitions
                .push(checked.map_err(|refusal| self.link_problem((from, to), *kind, &refusal))?);
        }
        Ok(definitions)
    }

    /// Makes checked links of one pair; the entry of the answer.
    pub(crate) fn write_links(
        &mut self,
        (from, to): Ends,
        definitions: &[LinkDefinition],
        now_ms: i64,
    ) -> Value {
        for definition in definitions {
            self.commit_link((from, to), definition, &self.author(None), now_ms);
        }
        let labels = definitions
            .iter()
            .filter_map(|definition| definition.label.clone());
        let type_id = |end: End| self.table(end.object).spec.type_id;
        json!({"fromObjectTypeId": type_id(from), "fromObjectId": self.id_value(from.id),
               "toObjectTypeId": type_id(to), "toObjectId": self.id_value(to.id),
               "labels": labels.collect::<Vec<_>>()})
    }

    /// 204 also for what was never associated.
    pub(crate) fn disassociate_one(&mut self, route: &Route, now_ms: i64) -> Answer {
        let ends = (
            self.written_end(route.object, &route.name),
            self.written_end(route.to, &route.to_name),
        );
        self.commit_unlink_pair(ends, &self.author(None), now_ms);
        Answer::empty()
    }

    pub(crate) fn link_problem(
        &self,
        (from, to): Ends,
        kind: LinkType,
        refusal: &LinkRefusal,
    ) -> Problem {
        let invalid = || Problem::validation("One or more associations are invalid");
        match refusal {
            LinkRefusal::UnknownType => {
                let type_id = |end: End| self.table(end.object).spec.type_id;
                let words = format!(
                    "{} {} is not valid between object types {} and {}",
                    kind.category.name(),
                    kind.type_id,
                    type_id(from),
                    type_id(to)
                );
                let spec = format!("{}={}", kind.category.name(), kind.type_id);
                invalid()
                    .with("INVALID_ASSOCIATION_TYPE_ID", vec![words])
                    .with("associationSpec", vec![spec])
            }
            LinkRefusal::Missing(end) => {
                let (name, id) = (self.name_of(end.object), end.id.to_string());
                let problem = Problem::not_found(format!("No {name} with ID {id} exists"));
                problem.with("objectId", vec![id])
            }
            LinkRefusal::Itself => {
                let words = format!(
                    "{} {} cannot be associated with itself",
                    self.name_of(from.object),
                    from.id
                );
                invalid().with("SELF_ASSOCIATION", vec![words])
            }
            LinkRefusal::TooMany { from, most } => {
                let words = format!(
                    "{} {} has reached its limit of {most} associations of this type",
                    self.name_of(from.object),
                    from.id
                );
                invalid().with("ASSOCIATION_LIMIT_EXCEEDED", vec![words])
            }
        }
    }

    /// The body of a batch: 207 with errors.
    pub(crate) fn link_envelope(
        &self,
        status: u16,
        results: &[Value],
        errors: &[Problem],
        now_ms: i64,
    ) -> Answer {
        let at = spelled(&time::iso(now_ms), self.settings());
        let mut body =
            json!({"status": "COMPLETE", "results": results, "startedAt": at, "completedAt": at});
        if errors.is_empty() {
            return Answer::json(status, &body);
        }
        body["numErrors"] = json!(errors.len());
        body["errors"] = errors.iter().map(Problem::entry).collect();
        Answer::json(207, &body)
    }
}

/// A type with its label, as reads have it.
pub(crate) fn spec_with_label(definition: &LinkDefinition) -> Value {
    json!({"category": definition.kind.category.name(), "typeId": definition.kind.type_id,
           "label": definition.label})
}

/// The answer of a default association names records by text alone.
fn default_json((from, to): Ends, kind: LinkType) -> Value {
    json!({"from": {"id": from.id.to_string()}, "to": {"id": to.id.to_string()},
           "associationSpec": {"associationCategory": kind.category.name(), "associationTypeId": kind.type_id}})
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Desk;
    use crate::world::settings::Settings;

    const FAMILIES: [&str; 3] = [
        "/crm/v4/objects",
        "/crm/objects/2026-03",
        "/crm/objects/2026-09",
    ];

    fn desk() -> (Desk, u64, u64) {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        (desk, ada, acme)
    }

    #[test]
    fn a_default_answers_both_directions_and_makes_the_first_company_primary() {
        for base in FAMILIES {
            let (mut desk, ada, acme) = desk();
            let beta = desk.company("Beta");
            let path = format!("{base}/contacts/{ada}/associations/default/companies");
            let (status, body) = desk.call("PUT", &format!("{path}/{acme}"), &Value::Null);
            assert_eq!((status, &body["status"]), (200, &json!("COMPLETE")));
            let spec = |id: u32| json!({"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": id});
            let (one, two) = (
                json!({"id": ada.to_string()}),
                json!({"id": acme.to_string()}),
            );
            assert_eq!(
                body["results"],
                json!([
                    {"from": one, "to": two, "associationSpec": spec(279)},
                    {"from": two, "to": one, "associationSpec": spec(280)},
                    {"from": one, "to": two, "associationSpec": spec(1)},
                    {"from": two, "to": one, "associationSpec": spec(2)},
                ])
            );
            assert_eq!(
                desk.call("PUT", &format!("{path}/{beta}"), &Value::Null).0,
                200
            );
            assert_eq!(
                (desk.kinds(ada, acme), desk.kinds(ada, beta)),
                (vec![1, 279], vec![279])
            );
        }
    }

    #[test]
    fn a_record_tells_its_associations_in_pages_with_ids_as_numbers_or_text() {
        for association_ids_are_numbers in [true, false] {
            let (mut desk, ada, acme) = desk();
            *desk.portal.settings_mut() = Settings {
                association_ids_are_numbers,
                ..Settings::quick()
            };
            let beta = desk.company("Beta");
            let (from, now_ms) = (("contacts", ada), desk.now_ms);
            assert!(desk.portal.set_primary(from, ("companies", acme), now_ms));
            assert!(desk.portal.associate(from, ("companies", beta), now_ms));
            let path = format!("/crm/objects/2026-03/contacts/{ada}/associations/companies");
            let (status, page) = desk.get(&format!("{path}?limit=1"));
            let id = |id: u64| match association_ids_are_numbers {
                true => json!(id),
                false => json!(id.to_string()),
            };
            assert_eq!(
                (status, &page["results"]),
                (
                    200,
                    &json!([{"toObjectId": id(acme), "associationTypes": [
                    {"category": "HUBSPOT_DEFINED", "typeId": 1, "label": "Primary"},
                    {"category": "HUBSPOT_DEFINED", "typeId": 279, "label": null}]}])
                )
            );
            let after = page["paging"]["next"]["after"]
                .as_str()
                .expect("a page follows");
            let (_, page) = desk.get(&format!("{path}?limit=1&after={after}"));
            assert_eq!(page["results"][0]["toObjectId"], id(beta));
            assert_eq!(page.get("paging"), None);
        }
    }

    #[test]
    fn a_label_is_added_or_replaces_the_others_by_the_settings() {
        for label_replaces_others in [false, true] {
            let (mut desk, ada, acme) = desk();
            desk.portal.settings_mut().label_replaces_others = label_replaces_others;
            let pair = ("contacts", "companies");
            let (adviser, _) = desk
                .portal
                .create_label(pair, "Adviser", Some("Advised by"));
            let (from, to) = (("contacts", ada), ("companies", acme));
            assert!(desk.portal.set_primary(from, to, desk.now_ms));
            let path = format!("/crm/v4/objects/contacts/{ada}/associations/companies/{acme}");
            let types = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": adviser.type_id}]);
            let (status, body) = desk.call("PUT", &path, &types);
            assert_eq!(
                (status, body),
                (
                    201,
                    json!({"fromObjectTypeId": "0-1", "fromObjectId": ada, "toObjectTypeId": "0-2",
                             "toObjectId": acme, "labels": ["Adviser"]})
                )
            );
            let is_primary = desk.kinds(ada, acme).len() == 3;
            assert_eq!(is_primary, !label_replaces_others);
        }
    }

    #[test]
    fn a_bad_type_and_a_missing_record_are_told_apart() {
        let (mut desk, ada, acme) = desk();
        let put = |desk: &mut Desk, to: u64, id: u32| {
            let path = format!("/crm/objects/2026-03/contacts/{ada}/associations/companies/{to}");
            let types = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": id}]);
            desk.call("PUT", &path, &types)
        };
        let (status, body) = put(&mut desk, acme, 3);
        assert_eq!(
            (status, &body["category"]),
            (400, &json!("VALIDATION_ERROR"))
        );
        assert_eq!(body["message"], "One or more associations are invalid");
        assert_eq!(
            body["context"]["associationSpec"],
            json!(["USER_DEFINED=3"])
        );
        assert!(body["context"]["INVALID_ASSOCIATION_TYPE_ID"].is_array());
        desk.portal
            .create_label(("contacts", "companies"), "Adviser", None);
        let (status, body) = put(&mut desk, 99, 1);
        assert_eq!(
            (status, &body["category"]),
            (404, &json!("OBJECT_NOT_FOUND"))
        );
        assert_eq!(
            desk.get("/crm/v4/objects/contacts/99/associations/companies")
                .0,
            404
        );
    }

    #[test]
    fn a_deleted_pair_is_gone_with_all_its_labels_and_deleting_it_again_is_204_too() {
        let (mut desk, ada, acme) = desk();
        let (from, to) = (("contacts", ada), ("companies", acme));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        let path = format!("/crm/v4/objects/companies/{acme}/associations/contacts/{ada}");
        for _ in 0..2 {
            assert_eq!(desk.call("DELETE", &path, &Value::Null), (204, Value::Null));
        }
        assert_eq!(desk.kinds(ada, acme), [] as [u32; 0]);
    }

    #[test]
    fn a_merged_away_id_answers_with_the_survivors_associations_by_the_settings() {
        for (found, status) in [(true, 200), (false, 404)] {
            let (mut desk, ada, acme) = desk();
            desk.portal.settings_mut().merged_id_associations_found = found;
            let twin = desk.contact("twin@example.com");
            let (from, to) = (("contacts", ada), ("companies", acme));
            assert!(desk.portal.associate(from, to, desk.now_ms));
            desk.portal.merge("contacts", ada, twin, desk.now_ms);
            let path = format!("/crm/v4/objects/contacts/{ada}/associations/companies");
            assert_eq!(desk.get(&path).0, status);
        }
    }

    #[test]
    fn associations_need_the_scopes_of_both_objects() {
        let (mut desk, ada, acme) = desk();
        let scopes = &mut desk.portal.settings_mut().denied_scopes;
        scopes.insert("crm.objects.companies.write".to_owned());
        let path = format!("/crm/v4/objects/contacts/{ada}/associations/default/companies/{acme}");
        let (status, body) = desk.call("PUT", &path, &Value::Null);
        assert_eq!((status, &body["category"]), (403, &json!("MISSING_SCOPES")));
        let path = format!("/crm/v4/objects/contacts/{ada}/associations/companies");
        assert_eq!(desk.get(&path).0, 200, "reading needs no right to write");
    }

    #[test]
    fn an_association_moves_the_last_modified_times_by_the_settings() {
        for moves in [false, true] {
            let (mut desk, ada, acme) = desk();
            desk.portal.settings_mut().association_moves_modified = moves;
            let deal = desk.deal("Big");
            let (then, now_ms) = (desk.now_ms, desk.now_ms + 5_000);
            assert!(
                desk.portal
                    .associate(("deals", deal), ("companies", acme), now_ms)
            );
            let record = desk.portal.record("deals", deal).expect("live");
            assert_eq!(record.modified_ms() > then, moves);
            assert_eq!(desk.kinds(ada, acme), [] as [u32; 0]);
        }
    }
}
