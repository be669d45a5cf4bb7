//! Batches of up to 100 inputs: 200, 201, 204, 207 or one 400 for all (`api-facts.md#4`, `#5`).
//!
//! With a distinct `objectWriteTraceId` for each input, failures are entries of a 207; without, one bad input fails all.

use std::collections::BTreeSet;

use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use crate::api::answer::{Addition, Answer, RecordWriter, Selection, spelled};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::Route;
use crate::api::single::{api_aim, body_of, id_text};
use crate::catalogue::ObjectIndex;
use crate::portal::links::End;
use crate::portal::prepare::{Claims, Wanted, wanted_of};
use crate::portal::record::Stored;
use crate::portal::table::Change;
use crate::portal::value::unique_key;
use crate::portal::{Handled, Portal};
use crate::world::time;

pub(crate) const MOST: usize = 100;

/// One input as sent.
pub(crate) struct Input {
    pub id: String,
    pub id_property: Option<String>,
    pub wanted: Wanted,
    pub trace_id: Option<String>,
    /// `associations` of a create, as sent; other calls take none.
    pub links: Value,
}

/// One result: the record, and what the answer says besides.
pub(crate) struct Done {
    pub id: u64,
    pub trace_id: Option<String>,
    pub new: Option<bool>,
}

/// What has come of a batch so far.
#[derive(Default)]
pub(crate) struct Outcome {
    pub done: Vec<Done>,
    pub errors: Vec<Problem>,
    pub names: BTreeSet<String>,
}

pub(crate) fn inputs_of(
    body: &Value,
    most: usize,
    null_clears: bool,
) -> Result<Vec<Input>, Problem> {
    let inputs = body.get("inputs").and_then(Value::as_array);
    let inputs =
        inputs.ok_or_else(|| Problem::validation("Invalid input JSON: inputs is missing"))?;
    if inputs.len() > most {
        let message = format!(
            "Batch size too large: {} inputs, the limit is {most}",
            inputs.len()
        );
        return Err(Problem::validation(message));
    }
    let text = |input: &Value, name: &str| {
        input
            .get(name)
            .and_then(id_text)
            .filter(|text| !text.is_empty())
    };
    let parse = |input: &Value| {
        Ok(Input {
            id: text(input, "id").unwrap_or_default(),
            id_property: text(input, "idProperty"),
            wanted: wanted_of(input.get("properties"), null_clears)?,
            trace_id: text(input, "objectWriteTraceId"),
            links: json!({"associations": input.get("associations")}),
        })
    };
    if !inputs.iter().all(Value::is_object) {
        return Err(Problem::validation(
            "Invalid input JSON: each of inputs must be an object",
        ));
    }
    inputs.iter().map(parse).collect()
}

/// A batch that names records names one in each input.
pub(crate) fn check_ids(inputs: &[Input]) -> Result<(), Problem> {
    if inputs.iter().all(|input| !input.id.is_empty()) {
        return Ok(());
    }
    Err(Problem::validation(
        "Invalid input JSON: id is required in each of inputs",
    ))
}

/// Whether each input has a trace id of its own.
pub(crate) fn is_traced(inputs: &[Input]) -> bool {
    let distinct: BTreeSet<&str> = inputs
        .iter()
        .filter_map(|input| input.trace_id.as_deref())
        .collect();
    distinct.len() == inputs.len()
}

pub(crate) fn check_distinct(ids: impl Iterator<Item = String>) -> Result<(), Problem> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for id in ids {
        if !seen.insert(id.clone()) {
            twice.insert(id);
        }
    }
    if twice.is_empty() {
        return Ok(());
    }
    let twice: Vec<String> = twice.into_iter().collect();
    let message = format!(
        "Duplicate IDs found in batch input: [{}]. IDs must be unique",
        twice.join(", ")
    );
    Err(Problem::validation(message).with("ids", twice))
}

/// An input's error as an entry of the 207.
pub(crate) fn traced(problem: Problem, input: &Input) -> Problem {
    match &input.trace_id {
        Some(trace_id) => problem.with("objectWriteTraceId", vec![trace_id.clone()]),
        None => problem,
    }
}

impl Portal {
    pub(crate) fn batch(
        &mut self,
        route: &Route,
        request: &Request,
        now_ms: i64,
        action: Action,
    ) -> Handled {
        let body = body_of(request)?;
        let inputs = inputs_of(&body, MOST, self.settings().null_clears)?;
        if inputs.is_empty() {
            return self.empty_batch(action);
        }
        let mut outcome = Outcome::default();
        outcome.names.extend(
            inputs
                .iter()
                .flat_map(|input| input.wanted.iter().map(|(name, _)| name.clone())),
        );
        if action != Action::Create {
            check_ids(&inputs)?;
        }
        if action == Action::Upsert {
            // The answer shows the key too, whether or not it was among the properties.
            let keys = inputs.iter().filter_map(|input| input.id_property.clone());
            outcome.names.extend(keys);
        }
        match action {
            Action::Create => self.batch_create(route, &inputs, now_ms, &mut outcome)?,
            Action::Update => self.batch_update(route, &inputs, now_ms, &mut outcome)?,
            Action::Upsert => self.batch_upsert(route, &inputs, now_ms, &mut outcome)?,
            Action::Archive => {
                for id in inputs
                    .iter()
                    .filter_map(|input| input.id.trim().parse().ok())
                {
                    self.commit_archive(route.object, id, &self.author(None), now_ms);
                }
                return Ok(Answer::empty());
            }
        }
        let status = if action == Action::Create { 201 } else { 200 };
        Ok(self.batch_answer(route.object, status, outcome, now_ms))
    }

    pub(crate) fn empty_batch(&self, action: Action) -> Handled {
        if self.settings().empty_batch_is_400 {
            return Err(Problem::validation(
                "Invalid input: inputs must not be empty",
            ));
        }
        Ok(if action == Action::Archive {
            Answer::empty()
        } else {
            Answer::json(200, &json!({"status": "COMPLETE", "results": []}))
        })
    }

    fn batch_create(
        &mut self,
        route: &Route,
        inputs: &[Input],
        now_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        let mut ready: Vec<Option<Vec<Change>>> = Vec::new();
        if !is_traced(inputs) {
            for input in inputs {
                self.new_links(route.object, &input.links)?;
            }
            ready = self.prepare_all(route, inputs.iter().map(|input| (None, input)))?;
        }
        for (position, input) in inputs.iter().enumerate() {
            let prepared = match ready.get_mut(position).and_then(Option::take) {
                Some(changes) => Ok(changes),
                None => self.prepare(api_aim(route, None, &Claims::new()), &input.wanted),
            };
            let links = self.new_links(route.object, &input.links);
            match prepared.and_then(|changes| Ok((changes, links?))) {
                Ok((changes, links)) => {
                    let id = self.commit_create(
                        route.object,
                        &changes,
                        &self.author(input.trace_id.as_deref()),
                        now_ms,
                    );
                    let end = End {
                        object: route.object,
                        id,
                    };
                    self.commit_new_links(end, &links, now_ms);
                    outcome.done.push(Done {
                        id,
                        trace_id: input.trace_id.clone(),
                        new: None,
                    });
                }
                Err(problem) => outcome.errors.push(traced(problem, input)),
            }
        }
        Ok(())
    }

    /// Prepares all or fails with the first problem: nothing is written.
    pub(crate) fn prepare_all<'a>(
        &self,
        route: &Route,
        inputs: impl Iterator<Item = (Option<u64>, &'a Input)>,
    ) -> Result<Vec<Option<Vec<Change>>>, Problem> {
        let mut claims = Claims::new();
        let mut ready = Vec::new();
        for (id, input) in inputs {
            let prepared = self.prepare(api_aim(route, id, &claims), &input.wanted);
            let changes = prepared.map_err(Problem::without_context)?;
            let table = self.table(route.object);
            let keys = changes
                .iter()
                .filter(|(property, _)| table.is_key(*property));
            claims.extend(
                keys.filter_map(|(property, value)| {
                    Some((*property, unique_key(value.as_deref()?)))
                }),
            );
            ready.push(Some(changes));
        }
        Ok(ready)
    }

    fn batch_update(
        &mut self,
        route: &Route,
        inputs: &[Input],
        now_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        check_distinct(inputs.iter().map(|input| input.id.clone()))?;
        let mut targets = Vec::with_capacity(inputs.len());
        for input in inputs {
            targets.push(self.update_target(route.object, input)?);
        }
        let is_lenient = is_traced(inputs) && self.settings().update_bad_value_is_207;
        if !is_lenient {
            let found = targets
                .iter()
                .zip(inputs)
                .filter_map(|(target, input)| Some((Some(target.id()?), input)));
            self.prepare_all(route, found)?;
        }
        for (target, input) in targets.iter().zip(inputs) {
            self.update_input(route, input, *target, now_ms, outcome);
        }
        Ok(())
    }

    fn update_target(&self, object: ObjectIndex, input: &Input) -> Result<Target, Problem> {
        let by_email =
            input.id_property.as_deref() == Some("email") && !self.settings().batch_update_by_email;
        if by_email {
            return Err(self.non_unique(object, "email"));
        }
        let id = self.look_up(object, &input.id, input.id_property.as_deref())?;
        Ok(match id {
            None => Target::Missing,
            Some(id) if input.id_property.is_none() && id.to_string() != input.id.trim() => {
                Target::MergedInto(id)
            }
            Some(id) => Target::Found(id),
        })
    }

    fn update_input(
        &mut self,
        route: &Route,
        input: &Input,
        target: Target,
        now_ms: i64,
        outcome: &mut Outcome,
    ) {
        let (id, answers) = match target {
            Target::Found(id) => (id, true),
            Target::MergedInto(id) if self.settings().merged_id_update_lands => (id, false),
            Target::MergedInto(_) => return,
            Target::Missing => return self.note_missing(route.object, input, outcome),
        };
        match self.prepare(api_aim(route, Some(id), &Claims::new()), &input.wanted) {
            Ok(changes) => {
                self.commit_update(
                    route.object,
                    id,
                    &changes,
                    &self.author(input.trace_id.as_deref()),
                    now_ms,
                );
                if answers {
                    outcome.done.push(Done {
                        id,
                        trace_id: input.trace_id.clone(),
                        new: None,
                    });
                }
            }
            Err(problem) => outcome.errors.push(traced(problem, input)),
        }
    }

    /// With trace ids each missing id has an entry of its own; without, one entry names all.
    fn note_missing(&self, object: ObjectIndex, input: &Input, outcome: &mut Outcome) {
        let shared = outcome
            .errors
            .iter_mut()
            .find(|problem| problem.is_missing_ids() && input.trace_id.is_none());
        if let Some(problem) = shared {
            problem.context[0].1.push(input.id.clone());
            return;
        }
        let problem = missing(self.table(object).spec.upper, vec![input.id.clone()]);
        outcome.errors.push(traced(problem, input));
    }

    fn batch_answer(
        &mut self,
        object: ObjectIndex,
        status: u16,
        mut outcome: Outcome,
        now_ms: i64,
    ) -> Answer {
        outcome.done.shuffle(self.rng_mut());
        let table = self.table(object);
        let names: Vec<String> = outcome.names.into_iter().collect();
        let selection = Selection::new(table, &names, &[]);
        let results: Vec<(u64, &Stored, Addition<'_>)> = outcome
            .done
            .iter()
            .filter_map(|done| {
                let addition = Addition {
                    trace_id: done.trace_id.as_deref(),
                    new: done.new,
                    links: None,
                };
                Some((done.id, table.live.get(&done.id)?, addition))
            })
            .collect();
        self.envelope(
            (object, &selection),
            status,
            &results,
            &outcome.errors,
            now_ms,
        )
    }

    pub(crate) fn envelope(
        &self,
        (object, selection): (ObjectIndex, &Selection),
        status: u16,
        results: &[(u64, &Stored, Addition<'_>)],
        errors: &[Problem],
        now_ms: i64,
    ) -> Answer {
        let writer = RecordWriter {
            table: self.table(object),
            settings: self.settings(),
            selection,
        };
        let mut body = Vec::with_capacity(results.len() * 700 + 300);
        body.extend_from_slice(b"{\"status\":\"COMPLETE\",\"results\":[");
        for (position, (id, stored, addition)) in results.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            writer.stored(&mut body, *id, stored, *addition);
        }
        body.push(b']');
        for name in ["startedAt", "completedAt"] {
            let at = spelled(&time::iso(now_ms), self.settings());
            body.extend_from_slice(format!(",\"{name}\":\"{at}\"").as_bytes());
        }
        if !errors.is_empty() {
            let entries: Vec<Value> = errors.iter().map(Problem::entry).collect();
            let (count, entries) = (entries.len(), Value::Array(entries));
            body.extend_from_slice(
                format!(",\"numErrors\":{count},\"errors\":{entries}").as_bytes(),
            );
        }
        body.push(b'}');
        Answer {
            status: if errors.is_empty() { status } else { 207 },
            body,
        }
    }
}

/// Which batch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Update,
    Upsert,
    Archive,
}

/// What an update's id means.
#[derive(Clone, Copy)]
enum Target {
    Found(u64),
    MergedInto(u64),
    Missing,
}

impl Target {
    fn id(self) -> Option<u64> {
        match self {
            Self::Found(id) => Some(id),
            Self::MergedInto(_) | Self::Missing => None,
        }
    }
}

pub(crate) fn missing(upper: &str, ids: Vec<String>) -> Problem {
    let message = format!(
        "Could not get some {upper} objects, they may be deleted or not exist. Check that ids are valid."
    );
    Problem::not_found(message).with("ids", ids)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Desk, ids};
    use crate::world::settings::Settings;

    const CONTACTS: &str = "/crm/objects/2026-03/contacts/batch";

    fn create_inputs(values: &[(&str, &str)], traced: bool) -> Value {
        let inputs = values.iter().enumerate().map(|(position, (name, value))| {
            let mut input = json!({"properties": {(*name): value}});
            if traced {
                input["objectWriteTraceId"] = json!(format!("t{position}"));
            }
            input
        });
        json!({"inputs": inputs.collect::<Vec<_>>()})
    }

    /// api-facts.md#4: with trace ids 207, without one bad input fails all.
    #[test]
    fn one_bad_input_fails_all_unless_each_has_a_trace_id() {
        let mut desk = Desk::quick();
        let taken = desk.contact("taken@example.com");
        let values = [
            ("email", "good@example.com"),
            ("email", "bad"),
            ("email", "taken@example.com"),
        ];
        let (status, body) = desk.post(
            &format!("{CONTACTS}/create"),
            &create_inputs(&values, false),
        );
        assert_eq!(
            (status, body["category"].as_str()),
            (400, Some("VALIDATION_ERROR"))
        );
        assert_eq!(desk.portal.count("contacts"), 1);
        let (status, body) =
            desk.post(&format!("{CONTACTS}/create"), &create_inputs(&values, true));
        assert_eq!((status, body["numErrors"].as_u64()), (207, Some(2)));
        assert_eq!(body["results"][0]["objectWriteTraceId"], "t0");
        assert_eq!(
            body["errors"][0]["context"],
            json!({"objectWriteTraceId": ["t1"]})
        );
        assert_eq!(body["errors"][1]["category"], "CONFLICT");
        assert_eq!(
            body["errors"][1]["context"],
            json!({"objectWriteTraceId": ["t2"], "existingId": [taken.to_string()]})
        );
    }

    #[test]
    fn a_batch_creates_a_hundred_and_answers_in_another_order() {
        let mut desk = Desk::quick();
        let names: Vec<String> = (0..101).map(|number| format!("n{number}")).collect();
        let values: Vec<(&str, &str)> = names
            .iter()
            .map(|name| ("firstname", name.as_str()))
            .collect();
        assert_eq!(
            desk.post(&format!("{CONTACTS}/create"), &create_inputs(&values, true))
                .0,
            400
        );
        let (status, body) = desk.post(
            &format!("{CONTACTS}/create"),
            &create_inputs(&values[..100], true),
        );
        let found = ids(&body);
        assert_eq!((status, found.len()), (201, 100));
        assert!(!found.is_sorted(), "answers are in no order");
    }

    /// api-facts.md#4: one error names all the missing ids.
    #[test]
    fn a_batch_read_names_all_missing_ids_in_one_error() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com").to_string();
        let read =
            json!({"inputs": [{"id": id}, {"id": "99"}, {"id": "100"}], "properties": ["email"]});
        let (status, body) = desk.post(&format!("{CONTACTS}/read"), &read);
        assert_eq!((status, body["numErrors"].as_u64()), (207, Some(1)));
        assert_eq!(body["errors"][0]["context"]["ids"], json!(["99", "100"]));
        assert_eq!(body["errors"][0]["category"], "OBJECT_NOT_FOUND");
        let by_email = json!({"inputs": [{"id": "Ada@example.com"}], "idProperty": "email"});
        let (status, body) = desk.post(&format!("{CONTACTS}/read"), &by_email);
        assert_eq!(
            (status, ids(&body)),
            (200, vec![id.parse().expect("a number")])
        );
        let by_name = json!({"inputs": [{"id": "Ada"}], "idProperty": "firstname"});
        assert_eq!(desk.post(&format!("{CONTACTS}/read"), &by_name).0, 400);
    }

    #[test]
    fn updates_refuse_twins_and_answer_missing_ids_one_by_one_with_trace_ids() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com").to_string();
        let input = |id: &str, trace: &str| json!({"id": id, "properties": {"firstname": "A"}, "objectWriteTraceId": trace});
        let (status, body) = desk.post(
            &format!("{CONTACTS}/update"),
            &json!({"inputs": [input(&id, "a"), input(&id, "b")]}),
        );
        assert_eq!(status, 400);
        assert_eq!(
            body["message"],
            format!("Duplicate IDs found in batch input: [{id}]. IDs must be unique")
        );
        let (status, body) = desk.post(
            &format!("{CONTACTS}/update"),
            &json!({"inputs": [input("5", "a"), input(&id, "b")]}),
        );
        assert_eq!((status, ids(&body).len()), (207, 1));
        assert_eq!(
            body["errors"][0]["context"],
            json!({"ids": ["5"], "objectWriteTraceId": ["a"]})
        );
        let by_email =
            json!({"inputs": [{"id": "ada@example.com", "idProperty": "email", "properties": {}}]});
        assert_eq!(desk.post(&format!("{CONTACTS}/update"), &by_email).0, 400);
    }

    #[test]
    fn an_input_without_an_id_is_400_for_all() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        let named = json!({"id": id.to_string(), "properties": {"firstname": "A"}});
        let wrong = [
            json!({"properties": {"firstname": "A"}}),
            json!({"id": ""}),
            json!({"id": null}),
            json!({"id": {}}),
            json!(id),
        ];
        for input in wrong {
            let body = json!({"inputs": [named, input]});
            for name in ["read", "update", "archive"] {
                let (status, _) = desk.post(&format!("{CONTACTS}/{name}"), &body);
                assert_eq!(status, 400, "{name} {input}");
            }
        }
        let record = desk.portal.record("contacts", id).expect("not archived");
        assert_eq!(record.value("firstname"), None);
    }

    /// Unknown 5.
    #[test]
    fn an_update_with_one_bad_value_is_207_or_400_by_the_switch() {
        for (update_bad_value_is_207, expected) in [(true, 207), (false, 400)] {
            let mut desk = Desk::new(Settings {
                update_bad_value_is_207,
                ..Settings::quick()
            });
            let (one, two) = (desk.contact("a@example.com"), desk.contact("b@example.com"));
            let inputs = json!({"inputs": [
                {"id": one.to_string(), "properties": {"vip": "perhaps"}, "objectWriteTraceId": "a"},
                {"id": two.to_string(), "properties": {"vip": "true"}, "objectWriteTraceId": "b"}]});
            assert_eq!(
                desk.post(&format!("{CONTACTS}/update"), &inputs).0,
                expected
            );
            let written = desk
                .portal
                .record("contacts", two)
                .and_then(|record| record.value("vip"));
            assert_eq!(written.is_some(), update_bad_value_is_207);
        }
    }

    /// api-facts.md#5, upsert.
    #[test]
    fn upsert_works_by_unique_properties_and_says_what_is_new() {
        let mut desk = Desk::quick();
        let upsert = |key: &str, property: &str| json!({"inputs": [{"id": key, "idProperty": property, "properties": {"firstname": "A"}}]});
        let (status, body) = desk.post(
            &format!("{CONTACTS}/upsert"),
            &upsert("K-1", "customer_number"),
        );
        assert_eq!((status, &body["results"][0]["new"]), (200, &json!(true)));
        let shown = &body["results"][0]["properties"];
        assert_eq!(
            (&shown["customer_number"], &shown["firstname"]),
            (&json!("K-1"), &json!("A")),
            "the key is shown unasked"
        );
        let id = ids(&body)[0];
        assert_eq!(
            desk.portal
                .record("contacts", id)
                .and_then(|record| record.value("customer_number")),
            Some("K-1")
        );
        let (_, body) = desk.post(
            &format!("{CONTACTS}/upsert"),
            &upsert("k-1", "customer_number"),
        );
        assert_eq!(
            (ids(&body), &body["results"][0]["new"]),
            (vec![id], &json!(false))
        );
        let (status, body) = desk.post(&format!("{CONTACTS}/upsert"), &upsert("x", "firstname"));
        assert_eq!(status, 400);
        assert_eq!(
            body["message"],
            "Unable to perform update/upsert by non-unique 0-1 property firstname"
        );
        assert_eq!(
            desk.post(&format!("{CONTACTS}/upsert"), &upsert("5", "hs_object_id"))
                .0,
            400
        );
        let unkeyed = json!({"inputs": [{"id": "x", "properties": {}}]});
        assert_eq!(desk.post(&format!("{CONTACTS}/upsert"), &unkeyed).0, 400);
    }

    #[test]
    fn a_taken_unique_value_is_a_validation_error() {
        let mut desk = Desk::quick();
        let mine = [("firstname", "A"), ("customer_number", "K-1")];
        desk.portal.create("contacts", &mine, desk.now_ms);
        let theirs = json!({"firstname": "B", "customer_number": "k-1"});
        let body = json!({"inputs": [{"properties": theirs}]});
        let (status, body) = desk.post(&format!("{CONTACTS}/create"), &body);
        assert_eq!(status, 400);
        assert_eq!(body["errors"][0]["code"], "CONFLICTING_UNIQUE_VALUE");
    }

    #[test]
    fn an_archive_is_204_for_ids_that_are_not_there_too() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com").to_string();
        let inputs = json!({"inputs": [{"id": id}, {"id": "5"}]});
        assert_eq!(
            desk.post(&format!("{CONTACTS}/archive"), &inputs),
            (204, Value::Null)
        );
        assert_eq!(desk.portal.count("contacts"), 0);
    }
}
