//! `batch/upsert`: by a unique property, never by anything else (`api-facts.md#5`).

use crate::api::batch::{Done, Input, Outcome, check_distinct, is_traced, traced};
use crate::api::problem::Problem;
use crate::api::routes::Route;
use crate::api::single::api_aim;
use crate::catalogue::ObjectIndex;
use crate::portal::Portal;
use crate::portal::prepare::Claims;
use crate::portal::record::PropertyId;
use crate::portal::value::unique_key;

impl Portal {
    pub(crate) fn batch_upsert(
        &mut self,
        route: &Route,
        inputs: &[Input],
        now_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        let keys = inputs
            .iter()
            .map(|input| self.upsert_key(route.object, input))
            .collect::<Result<Vec<_>, _>>()?;
        check_distinct(inputs.iter().map(|input| unique_key(&input.id)))?;
        if !is_traced(inputs) {
            let all: Vec<(Option<u64>, Input)> = keys
                .iter()
                .zip(inputs)
                .map(|(key, input)| self.keyed(route.object, *key, input))
                .collect();
            self.prepare_all(route, all.iter().map(|(id, input)| (*id, input)))?;
        }
        for (key, input) in keys.into_iter().zip(inputs) {
            let (id, keyed) = self.keyed(route.object, key, input);
            let author = self.author(input.trace_id.as_deref());
            let prepared = self.prepare(api_aim(route, id, &Claims::new()), &keyed.wanted);
            // An upsert takes no associations, so it can't create what needs one.
            let linked = match id {
                Some(_) => Ok(Vec::new()),
                None => self.new_links(route.object, &keyed.links),
            };
            match linked.and(prepared) {
                Ok(changes) => {
                    let written = match id {
                        Some(id) => self
                            .commit_update(route.object, id, &changes, &author, now_ms)
                            .then_some(id),
                        None => Some(self.commit_create(route.object, &changes, &author, now_ms)),
                    };
                    let done = |done_id| Done {
                        id: done_id,
                        trace_id: input.trace_id.clone(),
                        new: Some(id.is_none()),
                    };
                    outcome.done.extend(written.map(done));
                }
                Err(problem) => outcome.errors.push(traced(problem, input)),
            }
        }
        Ok(())
    }

    fn upsert_key(&self, object: ObjectIndex, input: &Input) -> Result<PropertyId, Problem> {
        let name = input.id_property.as_deref();
        let name =
            name.ok_or_else(|| Problem::validation("idProperty is required for batch upsert"))?;
        let table = self.table(object);
        let key = table
            .schema
            .live(name)
            .filter(|property| table.is_key(*property));
        key.ok_or_else(|| self.non_unique(object, name))
    }

    /// The record that an upsert finds, and its input with the key among the properties of a new one.
    fn keyed(&self, object: ObjectIndex, key: PropertyId, input: &Input) -> (Option<u64>, Input) {
        let table = self.table(object);
        let id = table.find_by_key(key, &input.id);
        let name = &table.schema.property(key).name;
        let mut wanted = input.wanted.clone();
        if id.is_none() && !wanted.iter().any(|(known, _)| known == name) {
            wanted.push((name.clone(), input.id.clone()));
        }
        let (id_property, trace_id) = (input.id_property.clone(), input.trace_id.clone());
        (
            id,
            Input {
                id: input.id.clone(),
                id_property,
                wanted,
                trace_id,
                links: serde_json::Value::Null,
            },
        )
    }
}
