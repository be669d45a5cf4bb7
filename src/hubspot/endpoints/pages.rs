//! How many records are asked for at once.
//!
//! HubSpot's gateway gives up on pages that take too long, as many records of many properties do
//! (`hubspot/api-facts.md#14`), and a page of long texts may have more bytes than are read. Such a page is asked for again
//! with half the records, and so are the pages after it: asking for the whole each time would cost three requests and
//! their waits a page. After a row of good pages the length doubles.

use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::{Client, wire};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use serde::de::DeserializeOwned;

/// A page that takes too long is not halved below this.
const LEAST_PAGE: u32 = 10;

/// From 200 records down to the least, and twice more.
pub(crate) const PAGE_ATTEMPTS: u32 = 7;

/// After so many pages in a row that HubSpot answered, more are asked for again.
const GOOD_PAGES: u32 = 20;

/// The length of an object's pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    pub(crate) most: u32,
    good: u32,
}

impl PageSize {
    const WHOLE: Self = Self {
        most: u32::MAX,
        good: 0,
    };

    pub(crate) fn was_too_much(&mut self, asked: u32, error: &HubspotError) {
        // What takes too long may be HubSpot's bad hour; what is too large is so at any hour.
        let least = if error.is_too_large() { 1 } else { LEAST_PAGE };
        self.most = self.most.min((asked / 2).max(least));
        self.good = 0;
    }

    pub(crate) fn was_good(&mut self) {
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

/// A page, and how it was asked for.
pub(crate) struct Paged<T> {
    pub(in crate::hubspot) page: wire::Page<T>,
    /// The `Date` of the answer.
    pub(crate) date: Option<Timestamp>,
    /// How many records were asked for.
    pub(crate) limit: u32,
}

impl Client {
    /// Asks for a page of at most `most` records, and for a shorter one where HubSpot's gateway gave up on it or it is too large.
    pub(in crate::hubspot) async fn paged<'a, T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        object: &ObjectType,
        most: u32,
        request: impl Fn(u32) -> Request<'a>,
    ) -> Result<Paged<T>, HubspotError> {
        let mut attempt = 1;
        loop {
            let limit = self.page_size(endpoint, object, |size| size.most.min(most));
            let error = match self.page::<T>(&request(limit)).await {
                Ok((page, date)) => {
                    self.page_size(endpoint, object, PageSize::was_good);
                    return Ok(Paged { page, date, limit });
                }
                Err(error) => error,
            };
            let is_over = match error.is_too_large() {
                true => limit == 1,
                false => attempt >= PAGE_ATTEMPTS,
            };
            if is_over || !is_too_much(&error) {
                return Err(error);
            }
            self.page_size(endpoint, object, |size| size.was_too_much(limit, &error));
            self.rest(&error, attempt).await;
            attempt += 1;
        }
    }

    pub(crate) fn page_size<R>(
        &self,
        endpoint: Endpoint,
        object: &ObjectType,
        with: impl FnOnce(&mut PageSize) -> R,
    ) -> R {
        let mut sizes = self.inner.page_sizes.lock();
        let key = (endpoint.label(), object.clone());
        with(sizes.entry(key).or_insert(PageSize::WHOLE))
    }
}

/// Whether HubSpot's gateway gave up on a page, or it is too large to be read.
pub(crate) fn is_too_much(error: &HubspotError) -> bool {
    error.is_too_large()
        || matches!(error, HubspotError::Gateway { answer, .. } if matches!(answer.status, 502 | 504 | 524))
}
