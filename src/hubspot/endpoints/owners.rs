//! Owners: the people whom records belong to. Read-only in HubSpot's API.

use crate::decide::quota::Priority;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::endpoints::list::{Page, encoded};
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::{Client, wire};
use crate::model::reference::Owner;

/// Owners of a page; the endpoint allows 500 (`hubspot/api-facts.md#9`), but a hundred is enough for most accounts.
const PAGE: u32 = 100;

impl Client {
    /// A page of owners; deactivated ones are apart.
    pub async fn owners(
        &self,
        after: Option<&str>,
        archived: bool,
    ) -> Result<Page<Owner>, HubspotError> {
        let after = after
            .map(|after| format!("&after={}", encoded(after)))
            .unwrap_or_default();
        let request = Request {
            endpoint: Endpoint::Owners,
            object: None,
            to: None,
            query: format!("?limit={PAGE}&archived={archived}{after}"),
            body: None,
            inputs: None,
            priority: Priority::Poll,
        };
        let (page, date) = self.page::<wire::Owner>(&request).await?;
        Ok(Page {
            odd: page.results.odd(),
            after: page.after(),
            records: page.results.read.into_iter().map(from_wire).collect(),
            unread: page.results.unread.into_iter().collect(),
            date,
            by_search: false,
        })
    }
}

fn from_wire(owner: wire::Owner) -> Owner {
    Owner {
        id: owner.id.0,
        email: owner.email.0,
        first_name: owner.first_name.0,
        last_name: owner.last_name.0,
        user_id: owner.user_id.map(|id| id.0),
        archived: owner.archived.unwrap_or(false),
    }
}
