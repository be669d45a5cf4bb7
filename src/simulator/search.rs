//! `POST O/search`: from the index with its stale documents, with every cap of HubSpot's (`api-facts.md#6`).
//!
//! A query's hits are kept until the index changes, so that a walk by record id over a big window costs one scan.

use serde_json::{Value, json};

use super::answer::{Answer, RecordWriter, Selection};
use super::catalogue::ObjectIndex;
use super::filter::{Comparable, Field, Filter, Operator};
use super::portal::{Handled, Portal};
use super::problem::Problem;
use super::request::Request;
use super::routes::Route;
use super::single::{body_of, id_text};
use super::table::{System, Table};

const MOST_CHARACTERS: usize = 3_000;
const MOST_HITS: u64 = 10_000;
const MOST_ON_A_PAGE: u64 = 200;
const MOST_GROUPS: usize = 5;
const MOST_FILTERS_IN_A_GROUP: usize = 6;
const MOST_FILTERS: usize = 18;

/// The hits of the last query.
#[derive(Debug)]
pub(super) struct SearchCache {
    key: String,
    generation: u64,
    hits: Vec<u64>,
}

struct Query {
    groups: Vec<Vec<Filter>>,
    sort: Option<(Field, bool)>,
    text: Option<String>,
    /// Only ids above this; taken out of the filters so that pages of one walk share their hits.
    floor: Option<u64>,
    limit: u64,
    after: u64,
    properties: Vec<String>,
}

impl Portal {
    pub(super) fn search(&mut self, route: &Route, request: &Request) -> Handled {
        let body = body_of(request)?;
        self.check_size(request, &body)?;
        let query = Query::parse(self.table(route.object), &body)?;
        self.find_hits(route.object, &query);
        let fault = self.take_page_fault();
        let hits = self
            .search_cache()
            .map(|cache| cache.hits.as_slice())
            .unwrap_or_default();
        let start = query
            .floor
            .map_or(0, |floor| hits.partition_point(|id| *id <= floor));
        let hits = &hits[start..];
        let page: Vec<u64> = hits
            .iter()
            .skip(query.after as usize)
            .take(query.limit as usize)
            .copied()
            .collect();
        let end = query.after + page.len() as u64;
        let page = fault.map_or(page.clone(), |fault| fault.spoil(page));
        let total = hits.len() as u64;
        Ok(self.search_answer(
            route.object,
            &query,
            &page,
            total,
            Some(end).filter(|end| *end < total),
        ))
    }

    fn check_size(&self, request: &Request, body: &Value) -> Result<(), Problem> {
        let characters = if self.settings().search_limit_is_whole_body {
            String::from_utf8_lossy(&request.body).chars().count()
        } else {
            let filters = body
                .get("filterGroups")
                .map(Value::to_string)
                .unwrap_or_default();
            filters.len()
                + body
                    .get("query")
                    .and_then(Value::as_str)
                    .map_or(0, str::len)
        };
        if characters <= MOST_CHARACTERS {
            return Ok(());
        }
        let message = format!(
            "The request body is {characters} characters long, the limit is {MOST_CHARACTERS}"
        );
        Err(Problem::validation(message))
    }

    /// Leaves the sorted hits in the cache.
    fn find_hits(&mut self, object: ObjectIndex, query: &Query) {
        let (groups, sort, text) = (&query.groups, &query.sort, &query.text);
        let key = format!("{object} {groups:?} {sort:?} {text:?}");
        let table = self.table(object);
        let generation = table.index.generation();
        let is_fresh = self
            .search_cache()
            .is_some_and(|cache| cache.key == key && cache.generation == generation);
        if is_fresh && !self.settings().ties_change_between_pages {
            return;
        }
        let tie_seed = if self.settings().ties_change_between_pages {
            self.draw_tie_seed()
        } else {
            0
        };
        let hits = self.hits(object, query, tie_seed);
        self.set_search_cache(SearchCache {
            key,
            generation,
            hits,
        });
    }

    fn hits(&self, object: ObjectIndex, query: &Query, tie_seed: u64) -> Vec<u64> {
        let table = self.table(object);
        let negative = self.settings().negative_filters_match_empty;
        let is_hit = |id: u64| {
            table
                .visible(id)
                .is_some_and(|document| query.matches(table, id, document, negative))
        };
        let mut hits: Vec<u64> = query
            .candidates(table)
            .into_iter()
            .filter(|id| is_hit(*id))
            .collect();
        hits.extend(
            table
                .index
                .stale()
                .map(|(id, _)| id)
                .filter(|id| is_hit(*id)),
        );
        hits.sort_unstable();
        hits.dedup();
        self.sort_hits(table, query, tie_seed, &mut hits);
        hits
    }

    fn sort_hits(&self, table: &Table, query: &Query, tie_seed: u64, hits: &mut Vec<u64>) {
        let Some((field, descending)) = query.sort else {
            hits.sort_by_key(|id| (table.visible(*id).map(|document| document.created_ms), *id));
            return;
        };
        if field.is(System::ObjectId) && !self.settings().sort_ids_as_text {
            if descending {
                hits.reverse();
            }
            return;
        }
        let value = |id: u64| {
            if field.is(System::ObjectId) {
                return Some(Comparable::Text(id.to_string()));
            }
            field.comparable(id, table.visible(id)?)
        };
        let mut keyed: Vec<(Option<Comparable>, u64, u64)> = hits
            .iter()
            .map(|id| {
                (
                    value(*id),
                    (*id ^ tie_seed).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                    *id,
                )
            })
            .collect();
        keyed.sort_by(|left, right| compare(left, right, descending));
        *hits = keyed.into_iter().map(|(_, _, id)| id).collect();
    }

    fn search_answer(
        &self,
        object: ObjectIndex,
        query: &Query,
        page: &[u64],
        total: u64,
        next: Option<u64>,
    ) -> Answer {
        let table = self.table(object);
        let selection = Selection::new(table, &query.properties, &[]);
        let writer = RecordWriter {
            table,
            settings: self.settings(),
            selection: &selection,
        };
        let mut body = Vec::with_capacity(page.len() * 600 + 200);
        body.extend_from_slice(format!("{{\"total\":{total},\"results\":[").as_bytes());
        let shown = page
            .iter()
            .filter_map(|id| Some((*id, table.visible(*id)?)));
        for (position, (id, document)) in shown.enumerate() {
            if position > 0 {
                body.push(b',');
            }
            writer.document(&mut body, id, document);
        }
        body.push(b']');
        if let Some(next) = next {
            let paging = json!({"next": {"after": next.to_string()}});
            body.extend_from_slice(format!(",\"paging\":{paging}").as_bytes());
        }
        body.push(b'}');
        Answer { status: 200, body }
    }
}

/// Records without a value come last; ties in an order that means nothing.
fn compare(
    left: &(Option<Comparable>, u64, u64),
    right: &(Option<Comparable>, u64, u64),
    descending: bool,
) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let by_value = match (&left.0, &right.0) {
        (Some(mine), Some(theirs)) => {
            let order = mine.partial_cmp(theirs).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_value.then(left.1.cmp(&right.1))
}

impl Query {
    fn parse(table: &Table, body: &Value) -> Result<Self, Problem> {
        let limit = whole(body, "limit", 10)?;
        if !(1..=MOST_ON_A_PAGE).contains(&limit) {
            return Err(Problem::validation(format!(
                "Invalid limit: it must be between 1 and {MOST_ON_A_PAGE}"
            )));
        }
        let after = whole(body, "after", 0)?;
        if after + limit > MOST_HITS {
            return Err(Problem::validation(
                "The request is not valid: paging beyond 10000 results is not supported",
            ));
        }
        let properties = body
            .get("properties")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let text = body
            .get("query")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_lowercase);
        let mut query = Self {
            groups: groups_of(table, body)?,
            sort: sort_of(table, body),
            text,
            floor: None,
            limit,
            after,
            properties: properties
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
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

    fn matches(
        &self,
        table: &Table,
        id: u64,
        document: &super::record::Document,
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
    fn candidates(&self, table: &Table) -> Vec<u64> {
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
fn has_text(table: &Table, document: &super::record::Document, text: &str) -> bool {
    let shown = table
        .spec
        .defaults
        .iter()
        .filter_map(|name| table.schema.live(name));
    shown
        .filter_map(|property| document.values.get(property))
        .any(|value| value.to_lowercase().contains(text))
}

fn whole(body: &Value, name: &str, default: u64) -> Result<u64, Problem> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(default);
    };
    let text = id_text(value).unwrap_or_default();
    if text.is_empty() {
        return Ok(default);
    }
    text.parse().map_err(|error| {
        Problem::validation(format!(
            "Invalid input JSON: {name} must be an integer: {error}"
        ))
    })
}

fn groups_of(table: &Table, body: &Value) -> Result<Vec<Vec<Filter>>, Problem> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut groups: Vec<Vec<Value>> = list(body.get("filterGroups"))
        .iter()
        .map(|group| list(group.get("filters")))
        .collect();
    let top = list(body.get("filters"));
    if !top.is_empty() {
        groups.push(top);
    }
    groups.retain(|group| !group.is_empty());
    let too_many = groups.len() > MOST_GROUPS
        || groups
            .iter()
            .any(|group| group.len() > MOST_FILTERS_IN_A_GROUP)
        || groups.iter().map(Vec::len).sum::<usize>() > MOST_FILTERS;
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
fn sort_of(table: &Table, body: &Value) -> Option<(Field, bool)> {
    let sort = body.get("sorts").and_then(Value::as_array)?.first()?;
    if let Some(text) = sort.as_str() {
        let (name, descending) = text
            .strip_prefix('-')
            .map_or((text, false), |name| (name, true));
        return Some((Field::named(table, name)?, descending));
    }
    let name = sort.get("propertyName").and_then(Value::as_str)?;
    let descending = sort.get("direction").and_then(Value::as_str) == Some("DESCENDING");
    Some((Field::named(table, name)?, descending))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::record::Record;
    use super::super::settings::Settings;
    use super::super::testing::{Desk, ids};

    const SEARCH: &str = "/crm/objects/2026-03/contacts/search";

    fn filters(filters: &Value) -> Value {
        json!({"filterGroups": [{"filters": filters}], "limit": 200})
    }

    fn found(desk: &mut Desk, name: &str, operator: &str, value: impl Into<Value>) -> Vec<u64> {
        let value = value.into();
        let key = if value.is_array() { "values" } else { "value" };
        let filter = json!([{"propertyName": name, "operator": operator, (key): value}]);
        let (status, body) = desk.post(SEARCH, &filters(&filter));
        assert_eq!(status, 200, "{body}");
        ids(&body)
    }

    /// api-facts.md#6, operators.
    #[test]
    fn each_operator_finds_what_it_should() {
        let mut desk = Desk::quick();
        let now = desk.now_ms;
        let ada = desk.portal.create(
            "contacts",
            &[
                ("firstname", "Ada Love"),
                ("credit_limit", "10"),
                ("loyalty_tier", "gold"),
            ],
            now,
        );
        let bob = desk.portal.create(
            "contacts",
            &[
                ("firstname", "bob"),
                ("credit_limit", "9"),
                ("birthday", "1990-01-01"),
            ],
            now,
        );
        assert_eq!(
            found(&mut desk, "firstname", "EQ", json!("ADA LOVE")),
            [ada]
        );
        assert_eq!(
            found(&mut desk, "firstname", "IN", json!(["bob", "Ada Love"])),
            [bob],
            "IN needs lower case"
        );
        assert_eq!(
            found(&mut desk, "credit_limit", "GT", json!("9")),
            [ada],
            "numbers compare as numbers"
        );
        assert_eq!(
            found(&mut desk, "credit_limit", "LTE", json!("10")),
            [ada, bob]
        );
        assert_eq!(
            found(&mut desk, "loyalty_tier", "EQ", json!("GOLD")),
            [0; 0],
            "options compare with case"
        );
        assert_eq!(
            found(&mut desk, "loyalty_tier", "NOT_HAS_PROPERTY", json!(null)),
            [bob]
        );
        assert_eq!(
            found(&mut desk, "loyalty_tier", "NEQ", json!("gold")),
            [bob]
        );
        assert_eq!(
            found(&mut desk, "birthday", "EQ", json!("631152000000")),
            [bob]
        );
        assert_eq!(
            found(&mut desk, "firstname", "CONTAINS_TOKEN", json!("lov*")),
            [ada]
        );
        assert_eq!(
            found(&mut desk, "hs_object_id", "IN", json!([ada.to_string()])),
            [ada]
        );
        assert_eq!(
            found(&mut desk, "hs_lastmodifieddate", "GTE", json!("0")),
            [0; 0],
            "unknown on contacts: no hit"
        );
        desk.portal.settings_mut().negative_filters_match_empty = false;
        assert_eq!(
            found(&mut desk, "loyalty_tier", "NOT_IN", json!(["bronze"])),
            [ada]
        );
    }

    #[test]
    fn caps_are_400() {
        let mut desk = Desk::quick();
        let mut status = |body: Value| desk.post(SEARCH, &body).0;
        assert_eq!(status(json!({"limit": 200, "after": "9800"})), 200);
        assert_eq!(status(json!({"limit": 200, "after": "9801"})), 400);
        assert_eq!(status(json!({"limit": 201})), 400);
        assert_eq!(status(json!({"after": "x"})), 400);
        assert_eq!(status(json!({"query": "x".repeat(3_000)})), 400);
        let filter = json!({"propertyName": "email", "operator": "HAS_PROPERTY"});
        assert_eq!(
            status(json!({"filterGroups": vec![json!({"filters": [filter]}); 6]})),
            400
        );
        assert_eq!(status(json!({"filters": vec![filter; 7]})), 400);
        assert_eq!(
            status(
                json!({"filters": [{"propertyName": "email", "operator": "LIKE", "value": "x"}]})
            ),
            400
        );
    }

    #[test]
    fn a_walk_by_id_within_a_window_of_time_meets_each_record_once() {
        let mut desk = Desk::quick();
        desk.portal.fill("contacts", 1_000, desk.now_ms);
        let (low, high) = (desk.now_ms - 400 * 86_400_000, desk.now_ms);
        let expected: Vec<u64> = desk
            .portal
            .records("contacts")
            .iter()
            .filter(|record| (low..=high).contains(&record.modified_ms()))
            .map(Record::id)
            .collect();
        assert!(expected.len() > 400, "{}", expected.len());
        let (mut seen, mut last) = (Vec::new(), 0);
        loop {
            let filter = json!([
                {"propertyName": "lastmodifieddate", "operator": "BETWEEN", "value": low.to_string(), "highValue": high.to_string()},
                {"propertyName": "hs_object_id", "operator": "GT", "value": last.to_string()}]);
            let mut body = filters(&filter);
            body["sorts"] = json!([{"propertyName": "hs_object_id", "direction": "ASCENDING"}]);
            let (_, page) = desk.post(SEARCH, &body);
            assert_eq!(page["total"], expected.len() - seen.len());
            seen.extend(ids(&page));
            last = seen.last().copied().unwrap_or_default();
            if ids(&page).len() < 200 {
                break;
            }
        }
        assert_eq!(seen, expected);
    }

    /// api-facts.md#6, index lag.
    #[test]
    fn the_index_lags_shows_stale_values_and_archived_records() {
        let settings = Settings {
            index_delay_min_ms: 1_000,
            index_delay_max_ms: 1_000,
            ..Settings::quick()
        };
        let mut desk = Desk::new(settings);
        let id = desk.contact("ada@example.com");
        assert_eq!(
            found(&mut desk, "email", "HAS_PROPERTY", json!(null)),
            [0; 0]
        );
        desk.now_ms += 1_000;
        assert_eq!(found(&mut desk, "email", "HAS_PROPERTY", json!(null)), [id]);
        desk.portal
            .edit("contacts", id, &[("email", "new@example.com")], desk.now_ms);
        assert_eq!(
            found(&mut desk, "email", "EQ", json!("ada@example.com")),
            [id]
        );
        desk.now_ms += 1_000;
        assert_eq!(
            found(&mut desk, "email", "EQ", json!("new@example.com")),
            [id]
        );
        desk.portal.archive("contacts", id, desk.now_ms);
        assert_eq!(
            found(&mut desk, "email", "EQ", json!("new@example.com")),
            [id]
        );
        desk.now_ms += 1_000;
        assert_eq!(
            found(&mut desk, "email", "EQ", json!("new@example.com")),
            [0; 0]
        );
    }

    #[test]
    fn sorts_go_both_ways_and_pages_are_offsets() {
        let mut desk = Desk::quick();
        let now = desk.now_ms;
        let made: Vec<u64> = (0..5)
            .map(|n| {
                desk.portal.create(
                    "contacts",
                    &[
                        ("credit_limit", (n * 10).to_string().as_str()),
                        ("firstname", "x"),
                    ],
                    now,
                )
            })
            .collect();
        let body = json!({"sorts": [{"propertyName": "credit_limit", "direction": "DESCENDING"}], "limit": 2, "after": "2"});
        let (_, page) = desk.post(SEARCH, &body);
        assert_eq!(ids(&page), [made[2], made[1]]);
        assert_eq!(
            (&page["total"], &page["paging"]["next"]["after"]),
            (&json!(5), &json!("4"))
        );
        let (_, page) = desk.post(SEARCH, &json!({"sorts": ["-credit_limit"], "limit": 1}));
        assert_eq!(ids(&page), [made[4]]);
    }
}
