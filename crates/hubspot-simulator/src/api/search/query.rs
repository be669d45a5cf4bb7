//! A search as asked: its JSON read and checked once, and which records can match at all (`api-facts.md#6`).

use serde_json::Value;

use crate::api::problem::Problem;
use crate::api::search::filter::{Comparable, Field, Filter, Operator};
use crate::api::single::id_text;
use crate::portal::record::Document;
use crate::portal::table::{System, Table};

const MOST_HITS: u64 = 10_000;
const MOST_ON_A_PAGE: u64 = 200;
const MOST_GROUPS: usize = 5;
const MOST_FILTERS_IN_A_GROUP: usize = 6;
const MOST_FILTERS: usize = 18;

/// What a search asks for.
pub(crate) struct Query {
    pub groups: Vec<Vec<Filter>>,
    pub sort: Option<(Field, bool)>,
    pub text: Option<String>,
    /// Only ids above this; taken out of the filters so that pages of one walk share their hits.
    pub floor: Option<u64>,
    pub limit: u64,
    pub after: u64,
    pub properties: Vec<String>,
}

impl Query {
    pub(crate) fn parse(table: &Table, body: &Value) -> Result<Self, Problem> {
        let limit = whole(body, "limit", 10)?;
        if !(1..=MOST_ON_A_PAGE).contains(&limit) {
            return Err(Problem::validation(format!(
                "Invalid limit: it must be between 1 and {MOST_ON_A_PAGE}"
            )));
        }
        let after = whole(body, "after", 0)?;
        if after.saturating_add(limit) > MOST_HITS {
            return Err(Problem::validation(
                "The request is not valid: paging beyond 10000 results is not supported",
            ));
        }
        let text = match present(body, "query") {
            None => None,
            Some(Value::String(text)) => Some(text.to_lowercase()).filter(|text| !text.is_empty()),
            Some(_) => return Err(wrong("query must be text")),
        };
        let mut query = Self {
            groups: groups_of(table, body)?,
            sort: sort_of(table, body)?,
            text,
            floor: None,
            limit,
            after,
            properties: properties_of(body)?,
        };
        query.take_floor();
        Ok(query)
    }

    /// Only where hits are in the order of ids can the floor be cut off afterwards.
    fn take_floor(&mut self) {
        let ascending_ids = self
            .sort
            .is_some_and(|(field, descending)| field.is(System::ObjectId) && !descending);
        let [group] = self.groups.as_mut_slice() else {
            return;
        };
        if !ascending_ids {
            return;
        }
        let is_floor = |filter: &Filter| {
            filter.operator == Operator::Gt
                && filter
                    .bounds(System::ObjectId)
                    .is_some_and(|(low, _)| low > 0)
        };
        if let Some(position) = group.iter().position(is_floor) {
            let floor = group
                .remove(position)
                .bounds(System::ObjectId)
                .map(|(low, _)| (low - 1) as u64);
            self.floor = floor;
        }
    }

    pub(crate) fn matches(
        &self,
        table: &Table,
        id: u64,
        document: &Document,
        negative: bool,
    ) -> bool {
        let in_groups = self.groups.is_empty()
            || self.groups.iter().any(|group| {
                group
                    .iter()
                    .all(|filter| filter.matches(id, document, negative))
            });
        in_groups
            && self
                .text
                .as_ref()
                .is_none_or(|text| has_text(table, document, text))
    }

    /// A superset of the hits among the records whose latest version is visible.
    pub(crate) fn candidates(&self, table: &Table) -> Vec<u64> {
        if self.groups.is_empty() {
            return table.live.keys().copied().collect();
        }
        self.groups
            .iter()
            .flat_map(|group| candidates_of(group, table))
            .collect()
    }
}

fn candidates_of(group: &[Filter], table: &Table) -> Vec<u64> {
    let bounds = |system| {
        let all = group.iter().filter_map(|filter| filter.bounds(system));
        all.reduce(|(low, high), (other_low, other_high)| {
            (low.max(other_low), high.min(other_high))
        })
    };
    if let Some(ids) = listed_ids(group) {
        return ids;
    }
    match (bounds(System::Modified), bounds(System::ObjectId)) {
        (Some((low, high)), _) if low <= high => table
            .by_modified
            .range((low, 0)..=(high, u64::MAX))
            .map(|(_, id)| *id)
            .collect(),
        (None, Some((low, high))) if low <= high => table
            .live
            .range(low.max(0) as u64..=high.max(0) as u64)
            .map(|(id, _)| *id)
            .collect(),
        (Some(_), _) | (None, Some(_)) => Vec::new(),
        (None, None) => table.live.keys().copied().collect(),
    }
}

/// The ids of an `IN` on `hs_object_id`.
fn listed_ids(group: &[Filter]) -> Option<Vec<u64>> {
    let is_list = |filter: &&Filter| {
        filter.operator == Operator::In
            && filter.field.is_some_and(|field| field.is(System::ObjectId))
    };
    let filter = group.iter().find(is_list)?;
    let id = |operand: &Comparable| match operand {
        Comparable::Number(number) => Some(*number as u64),
        Comparable::Text(_) => None,
    };
    Some(filter.operands.iter().filter_map(id).collect())
}

/// Whether one of the default properties contains the text.
fn has_text(table: &Table, document: &Document, text: &str) -> bool {
    let shown = table
        .spec
        .defaults
        .iter()
        .filter_map(|name| table.schema.live(name));
    shown
        .filter_map(|property| document.values.get(property))
        .any(|value| value.to_lowercase().contains(text))
}

fn wrong(what: &str) -> Problem {
    Problem::validation(format!("Invalid input JSON: {what}"))
}

/// What a key holds, unless it is absent or `null`.
fn present<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    json.get(name).filter(|value| !value.is_null())
}

/// The items of a list; of an absent one, none.
fn list<'a>(json: &'a Value, name: &str) -> Result<&'a [Value], Problem> {
    match present(json, name) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(wrong(&format!("{name} must be a list"))),
    }
}

fn whole(body: &Value, name: &str, default: u64) -> Result<u64, Problem> {
    let Some(value) = present(body, name) else {
        return Ok(default);
    };
    match id_text(value) {
        Some(text) if text.is_empty() => Ok(default),
        text => text
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong(&format!("{name} must be an integer"))),
    }
}

fn properties_of(body: &Value) -> Result<Vec<String>, Problem> {
    let name = |item: &Value| item.as_str().map(str::to_owned);
    let names: Option<Vec<String>> = list(body, "properties")?.iter().map(name).collect();
    names.ok_or_else(|| wrong("properties must be names"))
}

fn groups_of(table: &Table, body: &Value) -> Result<Vec<Vec<Filter>>, Problem> {
    let mut groups = Vec::new();
    for group in list(body, "filterGroups")? {
        if !group.is_object() {
            return Err(wrong("each of filterGroups must be an object"));
        }
        groups.push(list(group, "filters")?);
    }
    groups.push(list(body, "filters")?);
    groups.retain(|group| !group.is_empty());
    let too_many = groups.len() > MOST_GROUPS
        || groups
            .iter()
            .any(|group| group.len() > MOST_FILTERS_IN_A_GROUP)
        || groups.iter().copied().map(<[Value]>::len).sum::<usize>() > MOST_FILTERS;
    if too_many {
        let message = format!(
            "Too many filters: at most {MOST_GROUPS} groups, {MOST_FILTERS_IN_A_GROUP} a group, {MOST_FILTERS} in all"
        );
        return Err(Problem::validation(message));
    }
    groups
        .iter()
        .map(|group| {
            group
                .iter()
                .map(|filter| Filter::parse(table, filter))
                .collect()
        })
        .collect()
}

/// The first sort counts; `"-createdate"` works too, and an unknown property sorts nothing.
fn sort_of(table: &Table, body: &Value) -> Result<Option<(Field, bool)>, Problem> {
    let mut sorts = Vec::new();
    for sort in list(body, "sorts")? {
        sorts.push(one_sort(sort)?);
    }
    let first = sorts.first();
    Ok(first.and_then(|(name, descending)| Some((Field::named(table, name)?, *descending))))
}

fn one_sort(sort: &Value) -> Result<(&str, bool), Problem> {
    if let Some(text) = sort.as_str() {
        let (name, descending) = text
            .strip_prefix('-')
            .map_or((text, false), |name| (name, true));
        return Ok((name, descending));
    }
    let name = sort.get("propertyName").and_then(Value::as_str);
    let name = name.ok_or_else(|| wrong("propertyName is missing in sorts"))?;
    let descending = match present(sort, "direction").map(Value::as_str) {
        None | Some(Some("ASCENDING")) => false,
        Some(Some("DESCENDING")) => true,
        Some(_) => return Err(wrong("direction must be ASCENDING or DESCENDING")),
    };
    Ok((name, descending))
}
