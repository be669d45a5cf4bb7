//! `POST O/search`: from the index with its stale documents, with every cap of HubSpot's (`api-facts.md#6`).
//!
//! A query's hits are kept until the index changes, so that a walk by record id over a big window costs one scan.

pub(crate) mod filter;
pub(crate) mod query;

use serde_json::{Value, json};

use crate::api::answer::{Answer, RecordWriter, Selection};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::Route;
use crate::api::search::filter::Comparable;
use crate::api::search::query::Query;
use crate::api::single::body_of;
use crate::catalogue::ObjectIndex;
use crate::portal::table::{System, Table};
use crate::portal::{Handled, Portal};

const MOST_CHARACTERS: usize = 3_000;

/// The hits of the last query.
#[derive(Debug, Clone)]
pub(crate) struct SearchCache {
    key: String,
    generation: u64,
    hits: Vec<u64>,
}

impl Portal {
    pub(crate) fn search(&mut self, route: &Route, request: &Request) -> Handled {
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
        let hidden = &self.settings().hidden;
        let page: Vec<u64> = page.into_iter().filter(|id| !hidden.contains(id)).collect();
        self.check_page(page.len())?;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::portal::record::Record;
    use crate::testing::{Desk, ids};
    use crate::world::settings::Settings;

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

    /// api-facts.md#4: wrong JSON is a 400.
    #[test]
    fn searches_that_say_nothing_or_nonsense_are_400() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        let filter = |filter: Value| json!({"filterGroups": [{"filters": [filter]}]});
        let wrong = [
            filter(json!({"propertyName": "email", "operator": "ALMOST", "value": "x"})),
            filter(json!({"propertyName": "email", "value": "x"})),
            filter(json!({"operator": "EQ", "value": "x"})),
            filter(json!({"propertyName": "email", "operator": "EQ"})),
            filter(json!({"propertyName": "email", "operator": "IN", "value": "x"})),
            filter(json!({"propertyName": "email", "operator": "IN", "values": []})),
            filter(json!({"propertyName": "email", "operator": "IN", "values": ["x", null]})),
            filter(json!({"propertyName": "createdate", "operator": "BETWEEN", "value": "1"})),
            filter(json!({"propertyName": "createdate", "operator": "GTE", "value": "soon"})),
            filter(json!("email")),
            json!({"filterGroups": {"filters": []}}),
            json!({"filterGroups": ["email"]}),
            json!({"filterGroups": [{"filters": {}}]}),
            json!({"sorts": "email"}),
            json!({"sorts": [{"direction": "ASCENDING"}]}),
            json!({"sorts": [{"propertyName": "email", "direction": "UP"}]}),
            json!({"sorts": [7]}),
            json!({"limit": 0}),
            json!({"limit": true}),
            json!({"limit": 1.5}),
            json!({"after": -1}),
            json!({"query": 7}),
            json!({"properties": "email"}),
            json!({"properties": [7]}),
        ];
        for body in wrong {
            let (status, answer) = desk.post(SEARCH, &body);
            assert_eq!(
                (status, &answer["category"]),
                (400, &json!("VALIDATION_ERROR")),
                "{body}"
            );
        }
        let right = [
            json!({}),
            json!({"filterGroups": [], "sorts": [], "properties": [], "after": "", "query": ""}),
            json!({"filterGroups": [{"filters": []}], "sorts": null, "query": null}),
            json!({"sorts": ["-createdate"], "limit": "5", "after": 0}),
            json!({"sorts": [{"propertyName": "email"}]}),
        ];
        for body in right {
            let (status, answer) = desk.post(SEARCH, &body);
            assert_eq!((status, ids(&answer)), (200, vec![id]), "{body}");
        }
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
