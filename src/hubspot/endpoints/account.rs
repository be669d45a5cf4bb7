//! The account: which portal the token is for, and its time zone.

use secrecy::SecretString;

use crate::decide::quota::{EndpointClass, Priority};
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::call::limiter::QuotaWord;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::endpoints::subscriptions::{TokenInfo, TokenKind};
use crate::hubspot::{Client, OwnApp, wire};
use crate::model::id::PortalId;

/// A HubSpot account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub portal_id: PortalId,
    /// Its time zone, in which its day ends: `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// `STANDARD`, `SANDBOX`, `DEVELOPER_TEST` …
    pub account_type: Option<String>,
}

impl Client {
    /// The account of the token; the limiter takes its time zone from it.
    pub async fn account(&self) -> Result<Account, HubspotError> {
        let response = self.send(&request(Endpoint::Account)).await?;
        let account = self.parse::<wire::Account>(Endpoint::Account, &response)?;
        if let Some(zone) = &account.time_zone.0
            && !self.limiter().set_time_zone(zone)
        {
            tracing::warn!(
                zone,
                "the account's time zone is unknown; its day is taken to end at midnight UTC"
            );
        }
        Ok(Account {
            portal_id: PortalId(account.portal_id.0),
            time_zone: account.time_zone.0,
            account_type: account.kind.0,
        })
    }

    /// The id of the app that the token belongs to, as the histories of properties name it; `None` where nobody knows.
    /// HubSpot is asked once: a static token's introspection tells it, and what was learnt from the histories of our own
    /// writes ([`learn_own_app`](Self::learn_own_app)) does as well.
    pub(crate) async fn own_app(&self) -> Option<String> {
        match self.known_app() {
            OwnApp::Known(id) => return Some(id),
            OwnApp::Unsaid => return None,
            OwnApp::NotAsked => {}
        }
        // Not answered: it is asked again when it matters again.
        match self.about_token().await?.kind {
            TokenKind::App(id) => self.learn_own_app(&id.to_string()),
            TokenKind::ServiceKey | TokenKind::Refused => {
                *self.own_app_state() = OwnApp::Unsaid;
            }
        }
        match self.known_app() {
            OwnApp::Known(id) => Some(id),
            OwnApp::Unsaid | OwnApp::NotAsked => None,
        }
    }

    /// What HubSpot says of the present static token; `None` where it is another one, or nobody answers.
    pub(crate) async fn about_token(&self) -> Option<TokenInfo> {
        let token = self.present_token().ok()?;
        let token = token.to_str().ok()?.trim_start_matches("Bearer ");
        if self.inner.is_oauth {
            return None;
        }
        let class = EndpointClass::Crm;
        let permit = self.inner.limiter.acquire(class, Priority::Webhook).await;
        let permit = permit.ok()?;
        let info = self.token_info(&SecretString::from(token)).await.ok()?;
        permit.answered(&QuotaWord {
            by_hubspot: true,
            ..QuotaWord::default()
        });
        Some(info)
    }

    /// Takes a history's word for which app we are: it names the app of a write that HubSpot acknowledged to us.
    pub(crate) fn learn_own_app(&self, id: &str) {
        *self.own_app_state() = OwnApp::Known(id.to_owned());
    }

    fn known_app(&self) -> OwnApp {
        self.own_app_state().clone()
    }

    fn own_app_state(&self) -> parking_lot::MutexGuard<'_, OwnApp> {
        self.inner.own_app.lock()
    }
}

fn request(endpoint: Endpoint) -> Request<'static> {
    Request {
        endpoint,
        object: None,
        to: None,
        query: String::new(),
        body: None,
        inputs: None,
        priority: Priority::Interactive,
    }
}
