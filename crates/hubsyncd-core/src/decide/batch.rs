//! Which input of a batch a result or an error of its answer is about.
//!
//! | the answer names | a result of | an error of |
//! |---|---|---|
//! | a trace id | the input that carried it | the inputs that carried it |
//! | an id, of an update | the record's input | the inputs with it |
//! | an id, of a create | the input whose key the record has | the inputs with that key |
//! | nothing of these | the create whose unique value the record has | the only input of its batch |

use crate::model::entry::Operation;
use crate::model::record::RemoteRecord;

/// An input, by what an answer may name of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input<'a> {
    /// Its trace id.
    pub trace_id: &'a str,
    /// The record's id, or the key of a create.
    pub id: Option<&'a str>,
}

/// What an error names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Trace ids.
    pub trace_ids: &'a [String],
    /// Ids or keys.
    pub ids: &'a [String],
}

/// Whether an error is about an input of a batch of so many.
pub fn is_error_of(input: Input<'_>, error: Named<'_>, inputs: usize) -> bool {
    let named = |names: &[String], own: &str| names.iter().any(|name| name == own);
    if !error.trace_ids.is_empty() {
        return named(error.trace_ids, input.trace_id);
    }
    match error.ids {
        [] => inputs == 1,
        ids => input.id.is_some_and(|id| named(ids, id)),
    }
}

/// Whether a result with that trace id is an input's. `shares_value` says whether the record has a unique value that the
/// input carried.
pub fn is_result_of(
    operation: Operation,
    input: Input<'_>,
    trace_id: Option<&str>,
    record: &RemoteRecord,
    shares_value: impl FnOnce() -> bool,
) -> bool {
    if let Some(trace_id) = trace_id {
        return trace_id == input.trace_id;
    }
    match operation {
        Operation::Update => input.id == Some(record.id.to_string().as_str()),
        Operation::Create | Operation::Archive | Operation::Associate | Operation::Disassociate => {
            let by_key = input.id.is_some() && input.id == record.own_key.as_deref();
            by_key || shares_value()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::field_values::FieldValues;
    use crate::model::id::HubspotId;
    use crate::model::time::Timestamp;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_error_is_about_the_inputs_that_it_names_and_about_the_only_one_where_it_names_none() {
        let check = |trace_ids: &[&str], ids: &[&str], inputs, expected| {
            let (trace_ids, ids) = (names(trace_ids), names(ids));
            let error = Named {
                trace_ids: &trace_ids,
                ids: &ids,
            };
            let input = Input {
                trace_id: "7-1",
                id: Some("101"),
            };
            let found = is_error_of(input, error, inputs);
            assert_eq!(found, expected, "{error:?} of {inputs}");
        };
        check(&["7-1"], &[], 2, true);
        check(&["6-1", "7-1"], &[], 2, true);
        check(&["7-2"], &[], 1, false);
        // A trace id says more than an id: an earlier attempt had the same.
        check(&["7-2"], &["101"], 2, false);
        check(&[], &["101"], 2, true);
        check(&[], &["102"], 2, false);
        check(&[], &["102"], 1, false);
        check(&[], &[], 1, true);
        check(&[], &[], 2, false);
    }

    #[test]
    fn an_error_that_names_ids_is_not_about_an_input_without_one() {
        let ids = names(&["101"]);
        let error = Named {
            trace_ids: &[],
            ids: &ids,
        };
        let input = Input {
            trace_id: "7-1",
            id: None,
        };
        assert!(!is_error_of(input, error, 1));
    }

    fn record(key: Option<&str>) -> RemoteRecord {
        RemoteRecord {
            id: HubspotId(101),
            values: FieldValues::default(),
            invalid: std::collections::BTreeMap::new(),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            archived: false,
            archived_at: None,
            merged_ids: Vec::new(),
            own_key: key.map(str::to_owned),
            other_emails: Vec::new(),
        }
    }

    #[test]
    fn a_result_is_of_the_input_whose_trace_id_id_key_or_value_it_has() {
        let check = |operation, id, trace_id, key, shares_value, expected| {
            let input = Input {
                trace_id: "7-1",
                id,
            };
            let record = record(key);
            let found = is_result_of(operation, input, trace_id, &record, || shares_value);
            assert_eq!(
                found, expected,
                "{operation:?} {input:?} {trace_id:?} {key:?}"
            );
        };
        let (create, update) = (Operation::Create, Operation::Update);
        for operation in [create, update] {
            check(operation, Some("102"), Some("7-1"), None, false, true);
            check(
                operation,
                Some("101"),
                Some("7-2"),
                Some("101"),
                true,
                false,
            );
        }
        check(update, Some("101"), None, None, false, true);
        check(update, Some("102"), None, Some("102"), true, false);
        check(create, Some("k"), None, Some("k"), false, true);
        check(create, Some("k"), None, Some("other"), false, false);
        check(create, None, None, None, false, false);
        check(create, None, None, None, true, true);
        check(create, Some("k"), None, None, true, true);
    }
}
