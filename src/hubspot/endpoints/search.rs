//! Search: records that changed in a window of time, walked by record id.
//!
//! The keyset recipe of `hubspot/api-facts.md#6`: a fixed window of the last-modified time, ids beyond the last one
//! seen, sorted by id. So neither the cap of 10,000 results nor many records of one timestamp loses a record. The
//! index is late: what a search shows may be older than the store, and what it does not show may be there.

use bytes::Bytes;
use serde::Serialize;

use crate::decide::quota::Priority;
use crate::hubspot::Client;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::batch::to_body;
use crate::hubspot::endpoints::pages::Paged;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::record::from_wire;
use crate::hubspot::wire;
use crate::model::answer::Record;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;

/// The most results of a page (`hubspot/api-facts.md#6`).
pub(crate) const MAX_SEARCH_PAGE: u32 = 200;

/// A longer body is refused (`hubspot/api-facts.md#6`); whether values alone count is unsure, so that all do.
const MAX_BODY_CHARS: usize = 3000;

/// Which records of a window.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// The object's last-modified property.
    pub modified_property: String,
    /// The first moment of the window, included.
    pub from: Timestamp,
    /// The last moment, included; by HubSpot's clock.
    pub to: Timestamp,
    /// Records up to this id were seen.
    pub after_id: Option<HubspotId>,
    /// The most records, 1 to 200.
    pub limit: u32,
    /// The properties wanted.
    pub properties: Vec<String>,
}

/// Results of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// How many records of the window have a higher id than `after_id`, these included.
    pub total: u64,
    /// Records, by rising id.
    pub records: Vec<Record>,
    /// Records of the page that make no sense: to be read from the store.
    pub unread: Vec<HubspotId>,
    /// Where on the page something stands of which not even the id can be read, in a sentence.
    pub odd: Option<String>,
    /// Whether no record of the window is left. A short page is not always the last one.
    pub is_last: bool,
    /// The `Date` of the answer, by HubSpot's clock.
    pub date: Option<Timestamp>,
}

/// Whether a search can ask for these properties. If not it asks for none, and values are read by batch.
pub(crate) fn search_body_fits(properties: &[String]) -> bool {
    let query = SearchQuery {
        modified_property: "hs_lastmodifieddate".to_owned(),
        from: Timestamp::from_millis(i64::MAX),
        to: Timestamp::from_millis(i64::MAX),
        after_id: Some(HubspotId(i64::MAX)),
        limit: MAX_SEARCH_PAGE,
        properties: properties.to_vec(),
    };
    let body = to_body(&body_of(filters_of(&query), &query.properties, query.limit));
    String::from_utf8_lossy(&body).chars().count() <= MAX_BODY_CHARS
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SearchBody<'a> {
    filter_groups: [FilterGroup<'a>; 1],
    sorts: [Sort; 1],
    properties: &'a [String],
    limit: u32,
}

#[derive(Serialize)]
struct FilterGroup<'a> {
    filters: Vec<Filter<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    property_name: &'a str,
    operator: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_value: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    values: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sort {
    property_name: &'static str,
    direction: &'static str,
}

pub(crate) const ID_PROPERTY: &str = "hs_object_id";

fn filters_of(query: &SearchQuery) -> Vec<Filter<'_>> {
    let window = Filter {
        property_name: &query.modified_property,
        operator: "BETWEEN",
        value: Some(query.from.millis().to_string()),
        high_value: Some(query.to.millis().to_string()),
        values: &[],
    };
    let beyond = query.after_id.map(beyond);
    std::iter::once(window).chain(beyond).collect()
}

fn beyond(id: HubspotId) -> Filter<'static> {
    Filter {
        property_name: ID_PROPERTY,
        operator: "GT",
        value: Some(id.to_string()),
        high_value: None,
        values: &[],
    }
}

fn body_of<'a>(filters: Vec<Filter<'a>>, properties: &'a [String], limit: u32) -> SearchBody<'a> {
    sorted_body(filters, "ASCENDING", properties, limit)
}

fn sorted_body<'a>(
    filters: Vec<Filter<'a>>,
    direction: &'static str,
    properties: &'a [String],
    limit: u32,
) -> SearchBody<'a> {
    SearchBody {
        filter_groups: [FilterGroup { filters }],
        sorts: [Sort {
            property_name: ID_PROPERTY,
            direction,
        }],
        properties,
        limit,
    }
}

/// Records that hold one of some values.
#[derive(Debug, Clone)]
pub(crate) struct ValuesQuery {
    /// The property, in a list of its own: the answer shows it.
    pub property: [String; 1],
    /// Its values, text in lower case (`hubspot/api-facts.md#6`); what [`values_that_fit`] lets through.
    pub values: Vec<String>,
    /// Records up to this id were seen.
    pub after_id: Option<HubspotId>,
}

/// The most values of one search, and of their letters: the body stays far below its bound.
const MAX_VALUES: usize = 50;
const MAX_VALUE_CHARS: usize = 1_500;

/// Values in parts of which each fits into one search. One that is longer than any record's is asked for by nobody.
pub(crate) fn values_that_fit(values: impl IntoIterator<Item = String>) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut chars = 0;
    for value in values {
        // A quote and a backslash take two letters.
        let length = 2 * value.chars().count();
        if length > MAX_VALUE_CHARS {
            continue;
        }
        chars += length;
        match parts.last_mut() {
            Some(part) if part.len() < MAX_VALUES && chars <= MAX_VALUE_CHARS => part.push(value),
            Some(_) | None => {
                chars = length;
                parts.push(vec![value]);
            }
        }
    }
    parts
}

impl Client {
    /// The next records of a window. A page that HubSpot's gateway gives up on is asked for again with half the
    /// records; `is_last` says when the window is done.
    pub async fn search(
        &self,
        object: &ObjectType,
        query: &SearchQuery,
        priority: Priority,
    ) -> Result<SearchPage, HubspotError> {
        let body = |limit| to_body(&body_of(filters_of(query), &query.properties, limit));
        self.search_by(object, body, query.limit, priority).await
    }

    /// The next records behind an id, whenever they were changed.
    pub(crate) async fn search_beyond(
        &self,
        object: &ObjectType,
        id: HubspotId,
        limit: u32,
        properties: &[String],
        priority: Priority,
    ) -> Result<SearchPage, HubspotError> {
        let body = |limit| to_body(&body_of(vec![beyond(id)], properties, limit));
        self.search_by(object, body, limit, priority).await
    }

    /// The next records between two ids, the second one's included, whenever they were changed.
    pub(crate) async fn search_between(
        &self,
        object: &ObjectType,
        (id, until): (HubspotId, Option<HubspotId>),
        properties: &[String],
        priority: Priority,
    ) -> Result<SearchPage, HubspotError> {
        let body = |limit| {
            let filter = match until {
                None => beyond(id),
                Some(until) => Filter {
                    operator: "BETWEEN",
                    value: Some((id.0 + 1).to_string()),
                    high_value: Some(until.to_string()),
                    ..beyond(id)
                },
            };
            to_body(&body_of(vec![filter], properties, limit))
        };
        self.search_by(object, body, MAX_SEARCH_PAGE, priority)
            .await
    }

    /// How many records the index counts, and the highest id that it shows.
    pub(crate) async fn search_highest(
        &self,
        object: &ObjectType,
        priority: Priority,
    ) -> Result<(u64, Option<HubspotId>), HubspotError> {
        let filters = || vec![beyond(HubspotId(0))];
        let body = |limit| to_body(&sorted_body(filters(), "DESCENDING", &[], limit));
        let found = self.search_by(object, body, 1, priority).await?;
        let ids = found.records.iter().map(|record| record.id);
        let highest = ids.chain(found.unread.iter().copied()).max();
        Ok((found.total, highest))
    }

    async fn search_by(
        &self,
        object: &ObjectType,
        body: impl Fn(u32) -> Bytes,
        limit: u32,
        priority: Priority,
    ) -> Result<SearchPage, HubspotError> {
        let request = |limit| Request {
            endpoint: Endpoint::Search,
            object: Some(object),
            to: None,
            query: String::new(),
            body: Some(body(limit)),
            inputs: None,
            priority,
        };
        let most = limit.clamp(1, MAX_SEARCH_PAGE);
        let paged = self
            .paged::<wire::Shown>(Endpoint::Search, object, most, request)
            .await?;
        self.search_page(paged)
    }

    /// The next records that hold one of some values, as the index shows them.
    pub(crate) async fn search_values(
        &self,
        object: &ObjectType,
        query: &ValuesQuery,
        priority: Priority,
    ) -> Result<SearchPage, HubspotError> {
        let [property] = &query.property;
        let body = |limit| {
            let filter = Filter {
                property_name: property,
                operator: "IN",
                value: None,
                high_value: None,
                values: &query.values,
            };
            let filters = std::iter::once(filter).chain(query.after_id.map(beyond));
            to_body(&body_of(filters.collect(), &query.property, limit))
        };
        self.search_by(object, body, MAX_SEARCH_PAGE, priority)
            .await
    }

    fn search_page(&self, paged: Paged<wire::Shown>) -> Result<SearchPage, HubspotError> {
        let Paged { page, date, limit } = paged;
        let shown = page.results.len();
        let has_next = page.after().is_some();
        let total = page
            .total
            .unwrap_or(if has_next { shown + 1 } else { shown });
        // A full page that counts fewer records than it shows says nothing of what is behind it.
        let counts_wrong = total < shown && shown >= u64::from(limit);
        let is_last = total <= shown && !has_next && !counts_wrong;
        let named = page.results.read.len() + page.results.unread.len();
        if named == 0 && !is_last {
            // Taken for the end, a window would be closed over records that nobody saw.
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::Search),
                status: 200,
                source: format!("{total} results are said to be there and none is shown").into(),
            });
        }
        Ok(SearchPage {
            total,
            odd: page.results.odd(),
            records: page
                .results
                .read
                .into_iter()
                .map(|shown| from_wire(shown.0))
                .collect(),
            unread: page.results.unread.into_iter().collect(),
            is_last,
            date,
        })
    }
}
