//! `batch/read`: by id or by a unique property, through merges, archived ones apart (`api-facts.md#4`, `#13`).

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom as _;
use serde_json::Value;

use super::answer::{Addition, Selection};
use super::batch::{Action, Input, MOST, inputs_of, missing};
use super::catalogue::ObjectIndex;
use super::portal::{Handled, Portal};
use super::problem::Problem;
use super::record::Stored;
use super::request::Request;
use super::routes::{Query, Route};
use super::single::body_of;

/// With history a batch takes half as many.
const MOST_WITH_HISTORY: usize = 50;

impl Portal {
    pub(super) fn batch_read(&mut self, route: &Route, request: &Request, now_ms: i64) -> Handled {
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
        let archived = Query::parse(&request.query).flag("archived");
        let id_property = body.get("idProperty").and_then(Value::as_str);
        let (mut found, absent) = self.find_all(route.object, &inputs, id_property, archived)?;
        found.shuffle(self.rng_mut());
        let table = self.table(route.object);
        let selection = Selection::new(table, &names("properties"), &history);
        let errors: Vec<Problem> = if absent.is_empty() {
            Vec::new()
        } else {
            vec![missing(table.spec.upper, absent)]
        };
        let records = if archived {
            &table.archived
        } else {
            &table.live
        };
        let results: Vec<(u64, &Stored, Addition<'_>)> = found
            .iter()
            .filter_map(|id| Some((*id, records.get(id)?, Addition::default())))
            .collect();
        Ok(self.envelope((route.object, &selection), 200, &results, &errors, now_ms))
    }

    /// The records asked for, each once, and the ids or key values that found none.
    fn find_all(
        &self,
        object: ObjectIndex,
        inputs: &[Input],
        id_property: Option<&str>,
        archived: bool,
    ) -> Result<(Vec<u64>, Vec<String>), Problem> {
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
            } else {
                self.look_up(object, &input.id, id_property)?
            };
            match id {
                None => absent.push(input.id.clone()),
                Some(id) => {
                    let times = by_record.entry(id).or_default();
                    *times += 1;
                    if *times == 1 || self.settings().merged_ids_read_twice {
                        found.push(id);
                    }
                }
            }
        }
        Ok((found, absent))
    }
}
