//! Bodies of association calls: which records, which types.

use serde_json::Value;

use crate::api::problem::Problem;
use crate::api::single::id_text;
use crate::portal::link_types::{LinkCategory, LinkType};

/// A type as a request names it.
pub(crate) type Spec = LinkType;

/// One input of a batch: a pair, and the types where the call takes any.
pub(crate) struct PairInput {
    pub from: String,
    pub to: String,
    pub types: Vec<Spec>,
}

fn invalid(words: &str) -> Problem {
    Problem::validation(format!("Invalid input JSON: {words}"))
}

/// A list of `{associationCategory, associationTypeId}`.
pub(crate) fn specs_of(value: &Value) -> Result<Vec<Spec>, Problem> {
    let list = value.as_array();
    let list = list.ok_or_else(|| invalid("association types must be a list"))?;
    list.iter().map(|one| spec_of(one, "association")).collect()
}

/// `{category, typeId}` with a prefix on both names, or without one.
pub(crate) fn spec_of(value: &Value, prefix: &str) -> Result<Spec, Problem> {
    let names = if prefix.is_empty() {
        ("category", "typeId")
    } else {
        ("associationCategory", "associationTypeId")
    };
    let category = value.get(names.0).and_then(Value::as_str);
    let category = category.and_then(LinkCategory::parse);
    let type_id = value.get(names.1).and_then(id_text);
    let type_id = type_id.and_then(|text| text.parse().ok());
    match (category, type_id) {
        (Some(category), Some(type_id)) => Ok(LinkType { category, type_id }),
        _ => Err(invalid(&format!(
            "{} and {} are required",
            names.0, names.1
        ))),
    }
}

/// `inputs`, at most so many.
pub(crate) fn inputs_list(body: &Value, most: usize) -> Result<&[Value], Problem> {
    let inputs = body.get("inputs").and_then(Value::as_array);
    let inputs = inputs.ok_or_else(|| invalid("inputs is missing"))?;
    if inputs.len() > most {
        return Err(Problem::validation(format!(
            "Batch size too large: {} inputs, the limit is {most}",
            inputs.len()
        )));
    }
    Ok(inputs)
}

/// The id of `{"id": …}`.
pub(crate) fn id_in(value: Option<&Value>) -> Result<String, Problem> {
    let id = value.and_then(|one| one.get("id")).and_then(id_text);
    id.filter(|text| !text.is_empty())
        .ok_or_else(|| invalid("id is required"))
}

/// Inputs of one pair each, with types where the call takes them.
pub(crate) fn pairs_of(inputs: &[Value], is_typed: bool) -> Result<Vec<PairInput>, Problem> {
    let pair = |input: &Value| {
        let types = match input.get("types") {
            Some(types) if is_typed => specs_of(types)?,
            None if is_typed => return Err(invalid("types is required")),
            _ => Vec::new(),
        };
        Ok(PairInput {
            from: id_in(input.get("from"))?,
            to: id_in(input.get("to"))?,
            types,
        })
    };
    inputs.iter().map(pair).collect()
}

/// Inputs of one record and several others each, as single pairs.
pub(crate) fn fans_of(inputs: &[Value]) -> Result<Vec<PairInput>, Problem> {
    let mut pairs = Vec::new();
    for input in inputs {
        let from = id_in(input.get("from"))?;
        let others = input.get("to").and_then(Value::as_array);
        for other in others.ok_or_else(|| invalid("to must be a list"))? {
            pairs.push(PairInput {
                from: from.clone(),
                to: id_in(Some(other))?,
                types: Vec::new(),
            });
        }
    }
    Ok(pairs)
}
