//! `batch/read`: by id or by a unique property, through merges, archived ones apart (`api-facts.md#4`, `#13`).

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use serde_json::Value;

use crate::api::answer::{Addition, Selection};
use crate::api::batch::{Action, Input, MOST, check_ids, inputs_of, missing};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::api::single::body_of;
use crate::catalogue::ObjectIndex;
use crate::portal::record::Stored;
use crate::portal::{Handled, PageFault, Portal};

/// With history a batch takes half as many.
const MOST_WITH_HISTORY: usize = 50;

/// A record, and the id or key value that asked for it.
type Found = (u64, String);

impl Portal {
    pub(crate) fn batch_read(&mut self, route: &Route, request: &Request, now_ms: i64) -> Handled {
        let body = body_of(request)?;
        let names = |key: &str| {
            let list = body
                .get(key)
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let history = names("propertiesWithHistory");
        let inputs = inputs_of(
            &body,
            if history.is_empty() {
                MOST
            } else {
                MOST_WITH_HISTORY
            },
            false,
        )?;
        if inputs.is_empty() {
            return self.empty_batch(Action::Update);
        }
        check_ids(&inputs)?;
        let archived = Query::parse(&request.query).flag("archived");
        let id_property = body.get("idProperty").and_then(Value::as_str);
        let (mut found, absent) = self.find_all(route.object, &inputs, id_property, archived)?;
        self.check_page(found.len())?;
        let unreadable = self.leave_one_out(&mut found);
        found.shuffle(self.rng_mut());
        let table = self.table(route.object);
        let selection = Selection::new(table, &names("properties"), &history);
        let mut errors = Vec::from_iter(unreadable);
        if !absent.is_empty() {
            errors.push(missing(table.spec.upper, absent));
        }
        let records = if archived {
            &table.archived
        } else {
            &table.live
        };
        let results: Vec<(u64, &Stored, Addition<'_>)> = found
            .iter()
            .filter_map(|(id, _)| Some((*id, records.get(id)?, Addition::default())))
            .collect();
        Ok(self.envelope((route.object, &selection), 200, &results, &errors, now_ms))
    }

    /// The record that a fault takes away, and what the answer says of it.
    fn leave_one_out(&mut self, found: &mut Vec<Found>) -> Option<Problem> {
        let says_so = match self.take_page_fault()? {
            PageFault::Unreadable => true,
            PageFault::Omitted => false,
            PageFault::Duplicate | PageFault::Missing => return None,
        };
        if found.is_empty() {
            return None;
        }
        let (_, asked) = found.remove(found.len() / 2);
        if !says_so {
            return None;
        }
        let problem = Problem::new(
            500,
            "INTERNAL_ERROR",
            "There was a problem with the request.",
        );
        Some(if self.rng_mut().random_bool(0.5) {
            problem.with("ids", vec![asked])
        } else {
            problem
        })
    }

    /// The records asked for, each once, and the ids or key values that found none.
    fn find_all(
        &self,
        object: ObjectIndex,
        inputs: &[Input],
        id_property: Option<&str>,
        archived: bool,
    ) -> Result<(Vec<Found>, Vec<String>), Problem> {
        let (mut found, mut absent, mut asked) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut by_record: BTreeMap<u64, usize> = BTreeMap::new();
        for input in inputs.iter().filter(|input| asked.insert(input.id.clone())) {
            let id = if archived {
                input
                    .id
                    .trim()
                    .parse()
                    .ok()
                    .filter(|id| self.table(object).archived.contains_key(id))
                    .filter(|_| self.settings().archived_by_id)
            } else {
                self.look_up(object, &input.id, id_property)?
            };
            match id.filter(|id| !self.settings().hidden.contains(id)) {
                None => absent.push(input.id.clone()),
                Some(id) => {
                    let times = by_record.entry(id).or_default();
                    *times += 1;
                    if *times == 1 || self.settings().merged_ids_read_twice {
                        found.push((id, input.id.clone()));
                    }
                }
            }
        }
        Ok((found, absent))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Desk, ids};
    use crate::world::faults::{FaultKind, Script};

    const READ: &str = "/crm/objects/2026-03/contacts/batch/read";

    fn three_contacts(desk: &mut Desk) -> (Vec<u64>, Value) {
        let known: Vec<u64> = ["a", "b", "c"]
            .iter()
            .map(|name| desk.contact(&format!("{name}@example.com")))
            .collect();
        let inputs: Vec<Value> = known
            .iter()
            .map(|id| json!({"id": id.to_string()}))
            .collect();
        (known, json!({"inputs": inputs}))
    }

    #[test]
    fn an_unreadable_record_is_an_error_that_is_not_an_absence() {
        let mut desk = Desk::quick();
        let (known, body) = three_contacts(&mut desk);
        let (mut named, mut unnamed) = (0, 0);
        for _ in 0..20 {
            desk.portal.faults_mut().script(Script::new(
                FaultKind::UnreadableRecord,
                1,
                "/batch/read",
            ));
            let (status, answer) = desk.post(READ, &body);
            let mut read = ids(&answer);
            read.sort_unstable();
            assert_eq!((status, read), (207, vec![known[0], known[2]]));
            assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1));
            let error = &answer["errors"][0];
            assert_eq!(error["category"], "INTERNAL_ERROR");
            match error.get("context") {
                Some(context) => {
                    assert_eq!(context["ids"], json!([known[1].to_string()]));
                    named += 1;
                }
                None => unnamed += 1,
            }
        }
        assert!(named > 0 && unnamed > 0, "both by chance");
        assert_eq!(ids(&desk.post(READ, &body).1).len(), 3, "and then no more");
    }

    #[test]
    fn an_omitted_record_is_neither_result_nor_error() {
        let mut desk = Desk::quick();
        let (known, body) = three_contacts(&mut desk);
        desk.portal
            .faults_mut()
            .chances
            .insert(FaultKind::OmittedRecord, 1.0);
        let (status, answer) = desk.post(READ, &body);
        let read = ids(&answer);
        assert_eq!((status, read.len(), answer.get("errors")), (200, 2, None));
        assert!(!read.contains(&known[1]), "{read:?}");
        let by_key = json!({"idProperty": "email", "inputs": [{"id": "a@example.com"}]});
        let (status, answer) = desk.post(READ, &by_key);
        assert_eq!((status, ids(&answer)), (200, Vec::new()));
        let list = desk.get("/crm/v3/objects/contacts").1;
        assert_eq!(ids(&list), known, "batch reads alone");
    }

    #[test]
    fn big_pages_run_into_the_gateway_s_time() {
        let mut desk = Desk::quick();
        let (known, body) = three_contacts(&mut desk);
        desk.portal.faults_mut().pages_time_out_above = Some(2);
        let list = "/crm/objects/2026-03/contacts?limit=";
        let search = "/crm/objects/2026-03/contacts/search";
        let reply = desk.reply("GET", &format!("{list}3"), &Value::Null);
        assert_eq!(reply.status, 504);
        assert!(reply.body.starts_with(b"<!DOCTYPE html>"));
        assert_eq!(desk.post(search, &json!({"limit": 200})).0, 504);
        assert_eq!(desk.post(READ, &body).0, 504);

        let (_, page) = desk.get(&format!("{list}2"));
        assert_eq!(ids(&page), known[..2]);
        assert_eq!(desk.post(search, &json!({"limit": 2})).0, 200);
        let one = json!({"inputs": [{"id": known[0].to_string()}]});
        assert_eq!(desk.post(READ, &one).0, 200);
        desk.portal.faults_mut().calm();
        assert_eq!(desk.post(READ, &body).0, 200);
    }
}
