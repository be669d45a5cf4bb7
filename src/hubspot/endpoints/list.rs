//! List: all records of an object, page by page, in the order of their ids.
//!
//! Consistent with the store, without the search's delay; the way of backfill and reconciliation. A page that
//! HubSpot's gateway gives up on is asked for again with half the records; a property list that does not fit a URL and
//! records of which one alone is too large are read by batch: none of that shows in the result but by its length. A list
//! that leads back to where it was goes on by search, from its beginning.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::quota::Priority;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::batch::{BatchRead, ReadQuery};
use crate::hubspot::endpoints::pages::Paged;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::record::from_wire;
use crate::hubspot::{Client, wire};
use crate::model::answer::Record;
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The most records of a page (`hubspot/api-facts.md#5`).
pub(crate) const MAX_PAGE: u32 = 100;

/// URLs beyond 8 to 16 KB are refused; below this they are known to work (`hubspot/api-facts.md#5`).
const MAX_URL_CHARS: usize = 7000;

/// What a URL has beside the property list: path, limit, `archived`, `after`.
const URL_OVERHEAD_CHARS: usize = 300;

/// Which page of which records.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Where the page begins: the `after` of the page before.
    pub after: Option<String>,
    /// The most records of the page, 1 to 100.
    pub limit: u32,
    /// The properties wanted.
    pub properties: Vec<String>,
    /// Archived records in place of the others; HubSpot lists 90 days of them.
    pub archived: bool,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T = Record> {
    /// Its records; fewer than the limit does not mean that it is the last.
    pub records: Vec<T>,
    /// Where the next page begins; `None` on the last.
    pub after: Option<String>,
    /// Records of the page that HubSpot could not read this time, or that make no sense: to be asked for again.
    pub unread: Vec<HubspotId>,
    /// Where on the page something stands of which not even the id can be read, in a sentence.
    pub odd: Option<String>,
    /// The `Date` of the answer, by HubSpot's clock.
    pub date: Option<Timestamp>,
    /// Whether the search's index has said which records there are: it may be late.
    pub by_search: bool,
}

/// Where the pages of lists began that are being walked, by object, archive and properties: one that begins there again
/// leads in a circle. Ids tell that by themselves and are not kept.
#[derive(Debug, Default)]
pub(crate) struct ListWalks(BTreeMap<(ObjectType, bool, Vec<String>), BTreeSet<String>>);

/// An `after` of our own: where a list leads nowhere, the records behind an id are searched for.
const BY_SEARCH: &str = "search:";

/// Whether a list can ask for these properties in one request. If not it takes two: ids, then a batch read.
pub(crate) fn fits_in_url(properties: &[String]) -> bool {
    let length: usize = properties.iter().map(|name| encoded(name).len() + 1).sum();
    length + URL_OVERHEAD_CHARS <= MAX_URL_CHARS
}

impl Client {
    /// A page of all records of an object.
    pub async fn list(
        &self,
        object: &ObjectType,
        query: &ListQuery,
        priority: Priority,
    ) -> Result<Page, HubspotError> {
        if let Some(last) = searched_to(query) {
            return self.list_by_search(object, query, last, priority).await;
        }
        if fits_in_url(&query.properties) {
            let whole = self
                .list_page(object, query, &query.properties, priority)
                .await;
            match whole {
                // One record alone is too large: the others must not wait for it.
                Err(error) if error.is_too_large() => {}
                whole => return whole,
            }
        }
        let ids = [String::from("hs_object_id")];
        let page = self.list_page(object, query, &ids, priority).await?;
        self.fill_page(object, query, page, priority).await
    }

    async fn list_page(
        &self,
        object: &ObjectType,
        query: &ListQuery,
        properties: &[String],
        priority: Priority,
    ) -> Result<Page, HubspotError> {
        let request = |limit| Request {
            endpoint: Endpoint::List,
            object: Some(object),
            to: None,
            query: list_query(query, properties, limit),
            body: None,
            inputs: None,
            priority,
        };
        let most = query.limit.clamp(1, MAX_PAGE);
        let paged = self
            .paged::<wire::Shown>(Endpoint::List, object, most, request)
            .await?;
        let shown = paged.page.results.len();
        let mut page = from_page(paged);
        let is_round = self.comes_round(object, query, page.after.as_deref());
        if is_round || leads_nowhere(query, page.after.as_deref(), shown) {
            if query.archived {
                // A search shows no archived records.
                return Err(HubspotError::Unreadable {
                    call: self.name(Endpoint::List),
                    status: 200,
                    source: "the next page is said to begin where one has begun before".into(),
                });
            }
            tracing::warn!(object = %object, "the list leads back to where it was; its records are searched for");
            page.after = Some(format!("{BY_SEARCH}0"));
        }
        Ok(page)
    }

    /// Notes where a page of a walk began; tells whether the next one begins where one of the walk's has begun before. A
    /// page that is asked for once more leads where it led.
    fn comes_round(&self, object: &ObjectType, query: &ListQuery, next: Option<&str>) -> bool {
        let walk = (object.clone(), query.archived, query.properties.clone());
        let mut walks = self.inner.walks.lock();
        match (&query.after, next) {
            (None, _) | (_, None) => drop(walks.0.remove(&walk)),
            (Some(after), Some(_)) if is_id(after) => {}
            (Some(after), Some(_)) => {
                walks
                    .0
                    .entry(walk.clone())
                    .or_default()
                    .insert(after.clone());
            }
        }
        let began = walks.0.get(&walk);
        began.is_some_and(|began| next.is_some_and(|next| began.contains(next)))
    }

    /// The next records by id, as the search's index names them and the store shows them: what the index alone says of a record may be
    /// of before a later word of the store.
    async fn list_by_search(
        &self,
        object: &ObjectType,
        query: &ListQuery,
        last: HubspotId,
        priority: Priority,
    ) -> Result<Page, HubspotError> {
        let found = self
            .search_beyond(object, last, query.limit, &[], priority)
            .await?;
        let ids = found.records.iter().map(|record| record.id);
        let end = ids.chain(found.unread.iter().copied()).max();
        let end = end.filter(|end| *end > last);
        if end.is_none() && !found.is_last {
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::Search),
                status: 200,
                source: "a search for records behind an id shows none".into(),
            });
        }
        let page = Page {
            records: found.records,
            after: end
                .filter(|_| !found.is_last)
                .map(|end| format!("{BY_SEARCH}{end}")),
            unread: found.unread,
            odd: found.odd,
            date: found.date,
            by_search: true,
        };
        self.fill_page(object, query, page, priority).await
    }

    /// Puts the properties to a page of ids. A record that went between the two requests is left out.
    async fn fill_page(
        &self,
        object: &ObjectType,
        query: &ListQuery,
        page: Page,
        priority: Priority,
    ) -> Result<Page, HubspotError> {
        if page.records.is_empty() {
            return Ok(page);
        }
        let read = ReadQuery {
            keys: page
                .records
                .iter()
                .map(|record| record.id.to_string())
                .collect(),
            properties: query.properties.clone(),
            archived: query.archived,
            ..ReadQuery::default()
        };
        let BatchRead {
            mut records,
            unread,
            ..
        } = self.batch_read(object, &read, priority).await?;
        records.sort_by_key(|record| record.id);
        let unread = unread.iter().filter_map(|id| id.parse().ok());
        Ok(Page {
            records,
            after: page.after,
            unread: page.unread.into_iter().chain(unread).collect(),
            odd: page.odd,
            date: page.date,
            by_search: page.by_search,
        })
    }
}

fn from_page(Paged { page, date, .. }: Paged<wire::Shown>) -> Page {
    Page {
        after: page.after(),
        odd: page.results.odd(),
        records: page
            .results
            .read
            .into_iter()
            .map(|shown| from_wire(shown.0))
            .collect(),
        unread: page.results.unread.into_iter().collect(),
        date,
        by_search: false,
    }
}

/// The id behind which a list that goes on by search goes on.
fn searched_to(query: &ListQuery) -> Option<HubspotId> {
    query
        .after
        .as_deref()?
        .strip_prefix(BY_SEARCH)?
        .parse()
        .ok()
}

fn is_id(after: &str) -> bool {
    after.parse::<u64>().is_ok()
}

/// Whether following a page might never end: the next one begins where this one began or before it, or this one has
/// nothing in it. Numbers are ids; of other forms only sameness tells anything.
fn leads_nowhere(query: &ListQuery, after: Option<&str>, shown: u64) -> bool {
    let Some(after) = after else {
        return false;
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let asked = query.after.as_deref();
    let goes_back = match (asked.and_then(number), number(after)) {
        (Some(asked), Some(after)) => after <= asked,
        _ => asked == Some(after),
    };
    goes_back || shown == 0
}

fn list_query(query: &ListQuery, properties: &[String], limit: u32) -> String {
    let mut text = format!("?limit={limit}&archived={}", query.archived);
    if !properties.is_empty() {
        let names: Vec<String> = properties.iter().map(|name| encoded(name)).collect();
        text.push_str("&properties=");
        text.push_str(&names.join(","));
    }
    if let Some(after) = &query.after {
        text.push_str("&after=");
        text.push_str(&encoded(after));
    }
    text
}

/// Percent-encoded; `_` is unreserved and stands in most property names.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
        .to_string()
        .replace("%5F", "_")
}
