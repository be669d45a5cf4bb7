//! List: all records of an object, page by page, in the order of their ids.
//!
//! Consistent with the store, without the search's delay; the way of backfill and reconciliation. A page that
//! HubSpot's gateway gives up on is asked for again with half the records, and a property list that does not fit a URL
//! is read by batch: neither shows in the result but by its length.

use crate::decide::quota::Priority;
use crate::hubspot::batch::{BatchRead, ReadQuery};
use crate::hubspot::call::Request;
use crate::hubspot::error::HubspotError;
use crate::hubspot::paths::Endpoint;
use crate::hubspot::record::{Record, from_wire};
use crate::hubspot::{Client, wire};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The most records of a page (`hubspot/api-facts.md#5`).
pub const MAX_PAGE: u32 = 100;

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
    /// Records of the page that HubSpot could not read this time: to be asked for again.
    pub unread: Vec<HubspotId>,
}

/// Whether a list can ask for these properties in one request. If not it takes two: ids, then a batch read.
pub fn fits_in_url(properties: &[String]) -> bool {
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
        if fits_in_url(&query.properties) {
            return self
                .list_page(object, query, &query.properties, priority)
                .await;
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
            query: list_query(query, properties, limit),
            body: None,
            priority,
        };
        let most = query.limit.clamp(1, MAX_PAGE);
        let page = self
            .paged::<wire::Record>(Endpoint::List, object, most, request)
            .await?;
        let page = from_page(page);
        if page.after.is_some() && page.after == query.after {
            // Followed, it would be the same page for ever.
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::List),
                status: 200,
                source: "the next page is said to begin where this one began".into(),
            });
        }
        Ok(page)
    }

    /// Puts the properties to a page of ids. A record that went between the two requests is left out.
    async fn fill_page(
        &self,
        object: &ObjectType,
        query: &ListQuery,
        page: Page,
        priority: Priority,
    ) -> Result<Page, HubspotError> {
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
        Ok(Page {
            records,
            after: page.after,
            unread: unread.iter().filter_map(|id| id.parse().ok()).collect(),
        })
    }
}

fn from_page(page: wire::Page<wire::Record>) -> Page {
    Page {
        after: page.after(),
        records: page.results.into_iter().map(from_wire).collect(),
        unread: Vec::new(),
    }
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
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
        .to_string()
        .replace("%5F", "_")
}
