//! How many records are asked for at once.
//!
//! HubSpot's gateway gives up on pages that take too long, as many records of many properties do
//! (`hubspot/api-facts.md#14`). A page that it gave up on is asked for again with half the records, and so are the
//! pages after it: asking for the whole each time would cost three requests and their waits a page. After a row of good
//! pages the length doubles.

use crate::hubspot::call::Request;
use crate::hubspot::error::HubspotError;
use crate::hubspot::paths::Endpoint;
use crate::hubspot::{Client, wire};
use crate::model::name::ObjectType;

/// A page is not halved below this.
const LEAST_PAGE: u32 = 10;

/// From 200 records down to the least, and twice more.
pub(super) const PAGE_ATTEMPTS: u32 = 7;

/// After so many pages in a row that HubSpot answered, more are asked for again.
const GOOD_PAGES: u32 = 20;

/// The length of an object's pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSize {
    pub(super) most: u32,
    good: u32,
}

impl PageSize {
    const WHOLE: Self = Self {
        most: u32::MAX,
        good: 0,
    };

    pub(super) fn was_too_much(&mut self, asked: u32) {
        self.most = self.most.min((asked / 2).max(LEAST_PAGE));
        self.good = 0;
    }

    pub(super) fn was_good(&mut self) {
        if self.most == u32::MAX {
            return;
        }
        self.good += 1;
        if self.good >= GOOD_PAGES {
            self.most = self.most.saturating_mul(2);
            self.good = 0;
        }
    }
}

impl Client {
    /// Asks for a page of at most `most` records, and for a shorter one where HubSpot's gateway gave up on it.
    pub(super) async fn paged<'a, T: for<'de> serde::Deserialize<'de>>(
        &self,
        endpoint: Endpoint,
        object: &ObjectType,
        most: u32,
        request: impl Fn(u32) -> Request<'a>,
    ) -> Result<wire::Page<T>, HubspotError> {
        let mut attempt = 1;
        loop {
            let limit = self.page_size(endpoint, object, |size| size.most.min(most));
            let error = match self.page::<T>(&request(limit)).await {
                Ok(page) => {
                    self.page_size(endpoint, object, PageSize::was_good);
                    return Ok(page);
                }
                Err(error) => error,
            };
            if !is_too_much(&error) || attempt >= PAGE_ATTEMPTS {
                return Err(error);
            }
            self.page_size(endpoint, object, |size| size.was_too_much(limit));
            self.rest(&error, attempt).await;
            attempt += 1;
        }
    }

    pub(super) fn page_size<R>(
        &self,
        endpoint: Endpoint,
        object: &ObjectType,
        with: impl FnOnce(&mut PageSize) -> R,
    ) -> R {
        let mut sizes = self
            .inner
            .page_sizes
            .lock()
            .expect("no panic while a page's length is looked up");
        let key = (endpoint.label(), object.clone());
        with(sizes.entry(key).or_insert(PageSize::WHOLE))
    }
}

/// Whether HubSpot's gateway gave up on a page.
pub(super) fn is_too_much(error: &HubspotError) -> bool {
    matches!(error, HubspotError::Gateway { answer, .. } if matches!(answer.status, 502 | 504 | 524))
}
