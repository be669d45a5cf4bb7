//! The URL that HubSpot is to call, and the app's subscriptions.

use std::sync::Arc;

use http::Uri;

use crate::app::doctor::machine::look_up;
use crate::app::subscriptions::{self, SubscriptionWay};
use crate::clock::Clock;
use crate::config::{Config, Webhooks};
use crate::decide::portal::doctor::CheckLine;

const URL: &str = "webhook url";
const SUBSCRIPTIONS: &str = "subscriptions";

/// Both lines; that of the subscriptions only where HubSpot can be asked.
pub(super) async fn look(
    config: &Config,
    webhooks: &Webhooks,
    clock: &Arc<dyn Clock>,
    is_asked: bool,
) -> Vec<CheckLine> {
    let url = url(&webhooks.public_url).await;
    if !is_asked {
        return vec![url];
    }
    let plan = match subscriptions::look(config, clock).await {
        Ok(plan) => plan,
        Err(error) => {
            let code = error.code().unwrap_or("refused");
            let hint = error.hint().unwrap_or_default();
            let line = CheckLine::yellow(SUBSCRIPTIONS, code, error.to_string(), &hint);
            return vec![url, line];
        }
    };
    match &plan.way {
        SubscriptionWay::Api {
            settings,
            plan: changes,
            ..
        } => {
            let called = settings.target.as_deref();
            let url = match called {
                Some(called) if called != webhooks.public_url => CheckLine::yellow(
                    URL,
                    "webhook-url-differs",
                    format!(
                        "the app calls {called}, and the file says {}",
                        webhooks.public_url
                    ),
                    "run `hubsyncd webhooks apply`, or correct `[webhooks].public_url`",
                ),
                Some(_) | None => url,
            };
            let missing = changes.lines();
            let line = match missing.as_slice() {
                [] => CheckLine::green(
                    SUBSCRIPTIONS,
                    format!("all {} that the mapping wants", plan.wanted.len()),
                ),
                [first, ..] => CheckLine::yellow(
                    SUBSCRIPTIONS,
                    "subscriptions-differ",
                    format!(
                        "the app's are not what the mapping wants, in {} places: {first}",
                        missing.len()
                    ),
                    "run `hubsyncd webhooks apply`; until then polling finds what nothing announces",
                ),
            };
            vec![url, line]
        }
        SubscriptionWay::ByHand { .. } => vec![
            url,
            CheckLine::green(
                SUBSCRIPTIONS,
                "HubSpot shows them in its pages alone: `hubsyncd webhooks list` says what the mapping wants",
            ),
        ],
        SubscriptionWay::ServiceKey | SubscriptionWay::RefusedToken => vec![
            url,
            CheckLine::yellow(
                SUBSCRIPTIONS,
                "no-app",
                "the token is a service key, and HubSpot gives those no webhooks".to_owned(),
                "leave `[webhooks]` out, or make a project app: `hubsyncd webhooks apply` says how",
            ),
        ],
    }
}

async fn url(url: &str) -> CheckLine {
    let hint = "write the URL that HubSpot reaches from outside into `[webhooks].public_url`";
    let parsed: Option<Uri> = url.parse().ok();
    let host = parsed.as_ref().and_then(Uri::host).unwrap_or_default();
    let port = parsed.as_ref().and_then(Uri::port_u16).unwrap_or(443);
    let host = host.trim_matches(['[', ']']);
    match look_up(host, port).await {
        Err(why) => CheckLine::yellow(
            URL,
            "webhook-url-unknown",
            format!("`{host}` can't be looked up: {why}"),
            hint,
        ),
        Ok(address) if is_private(&address) => CheckLine::yellow(
            URL,
            "webhook-url-private",
            format!("`{host}` is {address}, which HubSpot can't reach"),
            hint,
        ),
        Ok(address) => CheckLine::green(URL, format!("{url}; `{host}` is {address}")),
    }
}

/// Whether an address is reached from within a network alone.
fn is_private(address: &str) -> bool {
    use std::net::IpAddr;
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            address.is_private() || address.is_loopback() || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => false,
    }
}
