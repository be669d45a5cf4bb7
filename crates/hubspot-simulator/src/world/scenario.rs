//! What a scenario file says and can't mean: found when it is read, not when a test wonders why nothing happens.

use std::net::IpAddr;

use axum::http::Uri;
use serde_json::Value;

use crate::api::routes::{APP_SCOPE, AUTOMATION_SCOPE};
use crate::catalogue::{OBJECTS, object_named};
use crate::portal::table::Table;
use crate::webhooks::Webhooks;
use crate::world::auth::static_scopes;
use crate::world::faults::Scenario;
use crate::world::oauth::OAuthApp;
use crate::world::time;

/// A year: longer times are a mistake in their unit.
const LONGEST_MS: u64 = 365 * 86_400_000;

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];

/// Why a scenario file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is no JSON, or has an unknown key or a value of the wrong type; with line and column.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Values that mean nothing: each with its key and what it may be.
    #[error("{}", .0.join("; "))]
    Values(Vec<String>),
}

/// Every mistake in the values; `named` is the same file as it was written.
pub(crate) fn mistakes(scenario: &Scenario, named: &Value) -> Vec<String> {
    let mut found = Found::default();
    faults(&mut found, scenario, named);
    settings(&mut found, scenario);
    if let Some(webhooks) = &scenario.settings.webhooks {
        let has_key = scenario.settings.developer_key.is_some();
        deliveries(&mut found, webhooks, has_key);
    }
    if let Some(app) = &scenario.settings.oauth {
        oauth(&mut found, app);
    }
    bounds(&mut found, named);
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn unless(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    fn chance(&mut self, key: &str, chance: f64) {
        self.unless((0.0..=1.0).contains(&chance), || {
            format!("`{key}` is {chance}: a chance lies between 0 and 1")
        });
    }

    fn time(&mut self, key: &str, ms: u64) {
        self.unless(ms <= LONGEST_MS, || {
            format!("`{key}` is longer than a year: give milliseconds")
        });
    }

    fn positive(&mut self, key: &str, number: u64) {
        self.unless(number > 0, || {
            format!("`{key}` is 0: it must be at least 1")
        });
    }
}

fn faults(found: &mut Found, scenario: &Scenario, named: &Value) {
    let faults = &scenario.faults;
    let chances = named.pointer("/faults/chances").and_then(Value::as_object);
    for (name, chance) in chances.into_iter().flatten() {
        let key = format!("faults.chances.{name}");
        found.chance(&key, chance.as_f64().unwrap_or(f64::NAN));
    }
    for (position, script) in faults.scripts.iter().enumerate() {
        let key = |name: &str| format!("faults.scripts[{position}].{name}");
        found.positive(&key("times"), u64::from(script.times));
        let method = script.method.as_deref();
        let is_known = method.is_none_or(|method| {
            METHODS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(method))
        });
        found.unless(is_known, || {
            format!("`{}` must be one of {}", key("method"), METHODS.join(", "))
        });
    }
    found.time("faults.slow_ms", faults.slow_ms);
    found.time("faults.late_max_ms", faults.late_max_ms);
    found.unless(faults.retry_after_s <= LONGEST_MS / 1000, || {
        "`faults.retry_after_s` is longer than a year: give seconds".to_owned()
    });
    found.unless(faults.migration_s <= LONGEST_MS / 1000, || {
        "`faults.migration_s` is longer than a year: give seconds".to_owned()
    });
    if let Some(most) = faults.pages_time_out_above {
        found.positive("faults.pages_time_out_above", most as u64);
    }
}

fn settings(found: &mut Found, scenario: &Scenario) {
    let settings = &scenario.settings;
    found.unless(time::is_zone(&settings.time_zone), || {
        format!(
            "`settings.time_zone` is `{}`: give an IANA zone, such as Europe/Berlin",
            settings.time_zone
        )
    });
    found.time("settings.latency_max_ms", settings.latency_max_ms);
    found.time("settings.index_delay_max_ms", settings.index_delay_max_ms);
    let offset = settings.clock_offset_ms.unsigned_abs();
    found.time("settings.clock_offset_ms", offset);
    for scope in &settings.denied_scopes {
        let others = [APP_SCOPE, AUTOMATION_SCOPE];
        let is_known = others.contains(&scope.as_str()) || static_scopes().contains(scope);
        found.unless(is_known, || {
            format!("`settings.denied_scopes` names `{scope}`, which no request needs")
        });
    }
    found.positive(
        "settings.associations_per_page",
        settings.associations_per_page as u64,
    );
    let by_plural =
        |object: &str| object_named(object).filter(|index| OBJECTS[*index].plural == object);
    for object in &settings.missing_objects {
        found.unless(by_plural(object).is_some(), || {
            format!("`settings.missing_objects` names `{object}`, which is no standard object's plural name")
        });
    }
    for (object, names) in &settings.required_in_2026_09 {
        let index = by_plural(object);
        let Some(index) = index else {
            found.0.push(format!(
                "`settings.required_in_2026_09` names `{object}`, which is no standard object's plural name"
            ));
            continue;
        };
        let table = Table::new(index);
        for name in names {
            found.unless(table.schema.live(name).is_some(), || {
                format!("`settings.required_in_2026_09` names `{name}`, which {object} don't have")
            });
        }
    }
}

fn deliveries(found: &mut Found, webhooks: &Webhooks, has_key: bool) {
    let url = &webhooks.url;
    // The app may set its target by API.
    let is_later = url.is_empty() && has_key;
    found.unless(is_later || is_target(url), || {
        format!(
            "`settings.webhooks.url` is `{url}`: give http://, a numeric address of this machine and a port, such as \
             http://127.0.0.1:8787/webhooks/hubspot"
        )
    });
    found.chance("settings.webhooks.duplicates", webhooks.duplicates);
    found.chance("settings.webhooks.losses", webhooks.losses);
    found.time("settings.webhooks.delay_max_ms", webhooks.delay_max_ms);
    found.time("settings.webhooks.retry_span_ms", webhooks.retry_span_ms);
    found.time("settings.webhooks.timeout_ms", webhooks.timeout_ms);
    found.positive("settings.webhooks.timeout_ms", webhooks.timeout_ms);
    let (most, at_once) = (webhooks.most_in_a_request, webhooks.concurrency);
    found.positive("settings.webhooks.most_in_a_request", most as u64);
    found.positive("settings.webhooks.concurrency", at_once as u64);
}

/// Whether webhooks can go there.
fn is_target(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
    uri.scheme_str() == Some("http") && is_here && uri.port_u16().is_some()
}

fn oauth(found: &mut Found, app: &OAuthApp) {
    found.positive("settings.oauth.life_s", app.life_s);
    found.unless(app.life_s <= LONGEST_MS / 1000, || {
        "`settings.oauth.life_s` is longer than a year: give seconds".to_owned()
    });
    let redirect = app.redirect_uri.parse::<Uri>();
    let is_url = redirect.is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
    found.unless(is_url, || {
        format!(
            "`settings.oauth.redirect_uri` is `{}`: give a URL",
            app.redirect_uri
        )
    });
}

/// Lower bounds that are above their upper ones, where the file names them: a lower bound by default gives way.
fn bounds(found: &mut Found, named: &Value) {
    let pairs = [
        ("/faults/late", 90_000),
        ("/settings/latency", 0),
        ("/settings/index_delay", 3_000),
        ("/settings/webhooks/delay", 0),
    ];
    for (key, usual) in pairs {
        let bound = |end: &str| {
            named
                .pointer(&format!("{key}_{end}_ms"))
                .and_then(Value::as_u64)
        };
        let low = bound("min").unwrap_or_default();
        let high = bound("max").unwrap_or(usual);
        let key = key[1..].replace('/', ".");
        found.unless(low <= high, || {
            format!("`{key}_min_ms` is {low}, above `{key}_max_ms` of {high}")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Scenario::from_json(text)
            .expect_err("a mistake")
            .to_string()
    }

    #[test]
    fn values_that_mean_nothing_are_refused_by_their_keys() {
        let cases = [
            (r#"{"faults": {"chances": {"slow": 2}}}"#, "between 0 and 1"),
            (
                r#"{"faults": {"chances": {"slow": -0.1}}}"#,
                "`faults.chances.slow` is -0.1",
            ),
            (
                r#"{"faults": {"scripts": [{"fault": "slow", "times": 0}]}}"#,
                "scripts[0].times",
            ),
            (
                r#"{"faults": {"scripts": [{"fault": "slow", "method": "FETCH"}]}}"#,
                "scripts[0].method",
            ),
            (
                r#"{"faults": {"late_min_ms": 100000}}"#,
                "faults.late_min_ms",
            ),
            (
                r#"{"faults": {"pages_time_out_above": 0}}"#,
                "pages_time_out_above",
            ),
            (
                r#"{"settings": {"time_zone": "Berlin"}}"#,
                "settings.time_zone",
            ),
            (
                r#"{"settings": {"latency_min_ms": 5}}"#,
                "settings.latency_min_ms",
            ),
            (
                r#"{"settings": {"index_delay_max_ms": 99999999999999}}"#,
                "index_delay_max_ms",
            ),
            (
                r#"{"settings": {"denied_scopes": ["crm.objects.contact.read"]}}"#,
                "denied_scopes",
            ),
            (
                r#"{"settings": {"required_in_2026_09": {"contact": []}}}"#,
                "`contact`",
            ),
            (
                r#"{"settings": {"required_in_2026_09": {"deals": ["nmae"]}}}"#,
                "`nmae`",
            ),
            (
                r#"{"settings": {"missing_objects": ["lead"]}}"#,
                "missing_objects",
            ),
            (
                r#"{"settings": {"associations_per_page": 0}}"#,
                "associations_per_page",
            ),
            (r#"{"settings": {"webhooks": {}}}"#, "webhooks.url"),
            (
                r#"{"settings": {"webhooks": {"url": "http://localhost:1"}}}"#,
                "webhooks.url",
            ),
            (
                r#"{"settings": {"webhooks": {"url": "https://127.0.0.1:1"}}}"#,
                "webhooks.url",
            ),
            (
                r#"{"settings": {"webhooks": {"url": "http://127.0.0.1:1", "losses": 7}}}"#,
                "losses",
            ),
            (
                r#"{"settings": {"webhooks": {"url": "http://127.0.0.1:1", "concurrency": 0}}}"#,
                "concurrency",
            ),
            (r#"{"settings": {"oauth": {"life_s": 0}}}"#, "life_s"),
            (
                r#"{"settings": {"oauth": {"redirect_uri": "callback"}}}"#,
                "redirect_uri",
            ),
        ];
        for (text, words) in cases {
            let error = refused(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let both =
            refused(r#"{"faults": {"chances": {"slow": 2}}, "settings": {"time_zone": "x"}}"#);
        assert!(
            both.contains("chances.slow") && both.contains("time_zone"),
            "{both}"
        );
    }

    #[test]
    fn a_value_that_differs_from_the_usual_needs_no_others() {
        let texts = [
            "{}",
            r#"{"faults": {"late_max_ms": 10}, "settings": {"index_delay_max_ms": 0, "latency_max_ms": 9}}"#,
            r#"{"settings": {"developer_key": "k", "webhooks": {"by_subscription": true}}}"#,
            r#"{"settings": {"webhooks": {"url": "http://[::1]:8787/x"}, "oauth": {}, "denied_scopes": ["oauth", "tickets"]}}"#,
            r#"{"settings": {"daily_limit": 0, "required_in_2026_09": {"deals": ["dealname"]}}}"#,
        ];
        for text in texts {
            assert!(Scenario::from_json(text).is_ok(), "{text}");
        }
    }
}
