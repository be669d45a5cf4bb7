//! The OAuth side of the portal (`api-facts.md#2`): a consent that says yes at once, and tokens that are issued, expire, are
//! renewed, introspected and revoked.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rand::RngExt as _;
use ring::digest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::request::{Delivery, Reply, Request};
use crate::catalogue::{OWNERS, Owner};
use crate::portal::Portal;
use crate::webhooks::ClientSecret;

/// An OAuth app that the portal knows. Every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuthApp {
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: ClientSecret,
    /// Where the browser may come back to.
    pub redirect_uri: String,
    /// Life of an access token, seconds (`api-facts.md#2`: 1800 today).
    pub life_s: u64,
    /// Whether each renewal gives another refresh token and kills the former one.
    pub rotates: bool,
    /// Scopes that the person declines.
    pub declined: Vec<String>,
    /// Whether the person says no.
    pub denies: bool,
    /// Whether a grant names neither portal nor scopes, as the oldest endpoint's.
    pub is_terse: bool,
}

impl Default for OAuthApp {
    fn default() -> Self {
        Self {
            client_id: "7d2f1c00-aaaa-4bbb-8ccc-dddddddddddd".to_owned(),
            client_secret: ClientSecret("0a0a0a0a-1111-4222-8333-bbbbbbbbbbbb".to_owned()),
            redirect_uri: "http://localhost:8976/callback".to_owned(),
            life_s: 1_800,
            rotates: false,
            declined: Vec::new(),
            denies: false,
            is_terse: false,
        }
    }
}

/// What was consented to.
#[derive(Clone, Debug)]
struct Consent {
    scopes: Vec<String>,
    challenge: Option<String>,
}

/// Codes and tokens that live. Never printed.
#[derive(Clone, Default)]
pub(crate) struct Grants {
    codes: BTreeMap<String, Consent>,
    refresh: BTreeMap<String, Vec<String>>,
    /// With the time at which each dies, epoch milliseconds.
    access: BTreeMap<String, (i64, Vec<String>)>,
    /// How many times a token was renewed.
    renewals: u64,
}

impl std::fmt::Debug for Grants {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Grants({})", self.refresh.len())
    }
}

/// Whether an access token is good.
pub(crate) enum Standing<'a> {
    Unknown,
    /// With the scopes that were granted.
    Good(&'a [String]),
    /// Since so many seconds.
    Dead(i64),
}

impl Grants {
    pub(crate) fn standing(&self, token: &str, at_ms: i64) -> Standing<'_> {
        match self.access.get(token) {
            None => Standing::Unknown,
            Some((dies_ms, _)) if *dies_ms <= at_ms => Standing::Dead((at_ms - dies_ms) / 1000),
            Some((_, scopes)) => Standing::Good(scopes),
        }
    }
}

/// What is escaped in a query: all but the unreserved characters.
const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Who consents.
const USER: &Owner = &OWNERS[0];

/// The portal's domain, as introspection says it.
const HUB_DOMAIN: &str = "simulated.example.com";

/// The signed form of an access token: its shape is HubSpot's, its signatures are empty.
fn signed(portal: u64, app_id: u64, dies_ms: i64) -> Value {
    json!({
        "appId": app_id, "appInstallId": "1", "audience": "hubapi", "expiresAt": dies_ms, "hubId": portal, "hublet": "na1",
        "installingUserId": USER.user_id, "isPrivateDistribution": false, "isServiceAccount": false, "isUserLevel": false,
        "newSignature": "", "scopeToScopeGroupPks": "", "scopes": "", "signature": "", "trialScopeToScopeGroupPks": "",
        "trialScopes": "", "userId": USER.user_id,
    })
}

type Fields = BTreeMap<String, String>;

fn fields_of(text: &str) -> Fields {
    let unescape = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

/// A refusal in both vocabularies.
fn refused(code: &str, old: &str, words: &str) -> (u16, Value) {
    let body = json!({"error": code, "error_description": words, "status": old, "message": words});
    (400, body)
}

fn answer((status, body): (u16, Value)) -> Reply {
    Reply {
        status,
        headers: vec![(
            "Content-Type".to_owned(),
            "application/json;charset=utf-8".to_owned(),
        )],
        body: body.to_string().into_bytes(),
        delivery: Delivery::Whole { latency_ms: 0 },
    }
}

impl Portal {
    /// Answers what belongs to OAuth; `None` for everything else.
    pub(crate) fn oauth(&mut self, request: &Request, at_ms: i64) -> Option<Reply> {
        let app = self.settings().oauth.clone()?;
        let path = request.path.trim_end_matches('/');
        if request.method == "GET" && path == "/oauth/authorize" {
            return Some(self.consent(&app, &fields_of(&request.query)));
        }
        let rest = path.strip_prefix("/oauth/")?;
        let (version, rest) = rest.split_once('/')?;
        if !["v1", "v3", "2026-03", "2026-09"].contains(&version) {
            return None;
        }
        let is_oldest = version == "v1";
        let done = match (request.method.as_str(), rest) {
            ("POST", "token") => self.token(&app, request, is_oldest, at_ms),
            ("POST", "token/introspect") if !is_oldest => self.introspect(&app, request, at_ms),
            ("POST", "token/revoke") if !is_oldest => self.revoke(&app, request),
            _ => return None,
        };
        Some(answer(done))
    }

    /// The person's answer, at once.
    fn consent(&mut self, app: &OAuthApp, fields: &Fields) -> Reply {
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        if field("client_id") != app.client_id || field("redirect_uri") != app.redirect_uri {
            return answer(refused(
                "invalid_request",
                "BAD_CLIENT_ID",
                "unknown app or redirect",
            ));
        }
        let state = utf8_percent_encode(field("state"), UNSAFE);
        let query = if app.denies {
            format!("error=access_denied&error_description=The%20user%20said%20no&state={state}")
        } else {
            let wanted = field("scope")
                .split(' ')
                .chain(field("optional_scope").split(' '));
            let scopes = wanted
                .filter(|scope| !scope.is_empty() && !app.declined.iter().any(|no| no == scope))
                .map(str::to_owned)
                .collect();
            let challenge = fields.get("code_challenge").cloned();
            let code = self.draw_token("code");
            self.grants_mut()
                .codes
                .insert(code.clone(), Consent { scopes, challenge });
            format!("code={code}&state={state}")
        };
        let mut reply = answer((302, Value::Null));
        let joint = if app.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        let location = format!("{}{joint}{query}", app.redirect_uri);
        reply.headers.push(("Location".to_owned(), location));
        reply
    }

    fn token(
        &mut self,
        app: &OAuthApp,
        request: &Request,
        is_oldest: bool,
        at_ms: i64,
    ) -> (u16, Value) {
        let fields = match form_of(app, request) {
            Ok(fields) => fields,
            Err(refusal) => return refusal,
        };
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let scopes = match field("grant_type") {
            "authorization_code" => {
                let Some(consent) = self.grants_mut().codes.remove(field("code")) else {
                    return refused(
                        "invalid_grant",
                        "BAD_AUTH_CODE",
                        "missing or unknown auth code",
                    );
                };
                if field("redirect_uri") != app.redirect_uri
                    || !is_proven(&consent, field("code_verifier"))
                {
                    return refused(
                        "invalid_grant",
                        "MISMATCH_REDIRECT_URI_AUTH_CODE",
                        "the code is not for this request",
                    );
                }
                consent.scopes
            }
            "refresh_token" => {
                let Some(scopes) = self
                    .grants_mut()
                    .refresh
                    .get(field("refresh_token"))
                    .cloned()
                else {
                    return refused(
                        "invalid_grant",
                        "BAD_REFRESH_TOKEN",
                        "refresh token is invalid, expired or revoked",
                    );
                };
                self.grants_mut().renewals += 1;
                scopes
            }
            _ => {
                return refused(
                    "unsupported_grant_type",
                    "BAD_GRANT_TYPE",
                    "unknown grant_type",
                );
            }
        };
        let former = fields.get("refresh_token").cloned();
        let refresh = match former {
            Some(former) if !app.rotates => former,
            Some(former) => {
                self.grants_mut().refresh.remove(&former);
                self.draw_token("refresh")
            }
            None => self.draw_token("refresh"),
        };
        let access = self.draw_token("access");
        let dies_ms = at_ms + app.life_s as i64 * 1000;
        let grants = self.grants_mut();
        grants.refresh.insert(refresh.clone(), scopes.clone());
        grants
            .access
            .insert(access.clone(), (dies_ms, scopes.clone()));
        let mut body = json!({"access_token": access, "refresh_token": refresh, "expires_in": app.life_s, "token_type": "bearer"});
        if !is_oldest && !app.is_terse {
            body["hub_id"] = json!(self.settings().portal_id);
            body["user_id"] = json!(USER.user_id);
            body["scopes"] = json!(scopes);
            body["token_use"] = json!("access_token");
        }
        (200, body)
    }

    fn introspect(&mut self, app: &OAuthApp, request: &Request, at_ms: i64) -> (u16, Value) {
        let fields = match form_of(app, request) {
            Ok(fields) => fields,
            Err(refusal) => return refusal,
        };
        let token = fields.get("token").map(String::as_str).unwrap_or_default();
        let grants = self.grants();
        let access = grants
            .access
            .get(token)
            .filter(|(dies_ms, _)| *dies_ms > at_ms);
        let (token_use, scopes) = match (access, grants.refresh.get(token)) {
            (Some((_, scopes)), _) => ("access_token", scopes),
            (None, Some(scopes)) => ("refresh_token", scopes),
            (None, None) => return (200, json!({"active": false})),
        };
        let (portal, app_id) = (self.settings().portal_id, self.settings().app_id);
        let mut body = json!({
            "active": true, "token": token, "token_type": "bearer", "token_use": token_use, "client_id": app.client_id,
            "app_id": app_id, "hub_id": portal, "hub_domain": HUB_DOMAIN, "user": USER.email, "user_id": USER.user_id,
            "scopes": scopes,
        });
        if let Some((dies_ms, _)) = access {
            body["expires_in"] = json!((dies_ms - at_ms) / 1000);
            body["is_private_distribution"] = json!(false);
            body["signed_access_token"] = signed(portal, app_id, *dies_ms);
        }
        (200, body)
    }

    fn revoke(&mut self, app: &OAuthApp, request: &Request) -> (u16, Value) {
        match form_of(app, request) {
            Ok(fields) => {
                let token = fields.get("token").map(String::as_str).unwrap_or_default();
                self.grants_mut().refresh.remove(token);
                (200, json!({}))
            }
            Err(refusal) => refusal,
        }
    }

    fn draw_token(&mut self, what: &str) -> String {
        let bits: u128 = self.rng_mut().random();
        format!("na1-{what}-{bits:032x}")
    }

    /// The app is uninstalled: all of its tokens die, access tokens included.
    pub fn uninstall(&mut self) {
        *self.grants_mut() = Grants::default();
    }

    /// Access tokens die before their time; refresh tokens live.
    pub fn kill_access_tokens(&mut self) {
        for (dies_ms, _) in self.grants_mut().access.values_mut() {
            *dies_ms = 0;
        }
    }

    /// How many times tokens were renewed.
    pub fn renewals(&self) -> u64 {
        self.grants().renewals
    }

    /// Every refresh and access token that was given and is not dead, for tests that look where they are not.
    pub fn live_tokens(&self) -> Vec<String> {
        let grants = self.grants();
        grants
            .refresh
            .keys()
            .chain(grants.access.keys())
            .cloned()
            .collect()
    }
}

/// The fields of a token request by an app that proved itself.
fn form_of(app: &OAuthApp, request: &Request) -> Result<Fields, (u16, Value)> {
    // The newer endpoints refuse parameters in the query string.
    let is_form = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form || !request.query.is_empty() {
        return Err(refused(
            "invalid_request",
            "BAD_REQUEST",
            "send a form in the body",
        ));
    }
    let fields = fields_of(&String::from_utf8_lossy(&request.body));
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    if field("client_id") != app.client_id {
        return Err(refused(
            "invalid_client",
            "BAD_CLIENT_ID",
            "missing or unknown client id",
        ));
    }
    if field("client_secret") != app.client_secret.0 {
        return Err(refused(
            "invalid_client",
            "BAD_CLIENT_SECRET",
            "missing or invalid client secret",
        ));
    }
    Ok(fields)
}

/// Whether the verifier is the one whose hash was sent with the consent (PKCE, S256).
fn is_proven(consent: &Consent, verifier: &str) -> bool {
    use base64::Engine as _;
    let Some(challenge) = &consent.challenge else {
        return true;
    };
    let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash) == *challenge
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::Desk;
    use crate::world::settings::Settings;

    fn desk() -> Desk {
        Desk::new(Settings {
            oauth: Some(OAuthApp::default()),
            ..Settings::default()
        })
    }

    fn encoded(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    /// Where the browser is sent after the consent.
    fn sent_back(desk: &mut Desk, scope: &str, state: &str) -> String {
        let app = OAuthApp::default();
        let request = Request {
            method: "GET".to_owned(),
            path: "/oauth/authorize".to_owned(),
            query: format!(
                "client_id={}&redirect_uri={}&scope={}&state={}",
                app.client_id,
                encoded(&app.redirect_uri),
                encoded(scope),
                encoded(state)
            ),
            ..Request::default()
        };
        let reply = desk.portal.handle(&request, desk.now_ms);
        reply.header("location").expect("a redirect").to_owned()
    }

    /// A call of the app's own, by a form.
    fn form(desk: &mut Desk, path: &str, fields: &str) -> (u16, Value) {
        let app = OAuthApp::default();
        let secret = &app.client_secret.0;
        let form = format!(
            "client_id={}&client_secret={secret}&{fields}",
            app.client_id
        );
        let request = Request {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: vec![(
                "Content-Type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            )],
            body: form.into_bytes(),
            ..Request::default()
        };
        let reply = desk.portal.handle(&request, desk.now_ms);
        let body = serde_json::from_slice(&reply.body).expect("JSON");
        (reply.status, body)
    }

    /// The answer of the token endpoint to a person's consent.
    fn tokens(desk: &mut Desk, scope: &str) -> Value {
        let back = sent_back(desk, scope, "s");
        let (_, code) = back.split_once("code=").expect("a code");
        let code = code.split('&').next().expect("a code");
        let redirect = encoded(&OAuthApp::default().redirect_uri);
        let fields = format!("grant_type=authorization_code&redirect_uri={redirect}&code={code}");
        let (status, body) = form(desk, "/oauth/2026-03/token", &fields);
        assert_eq!(status, 200, "{body}");
        body
    }

    fn call(desk: &mut Desk, tokens: &Value, method: &str, path: &str, body: &Value) -> Reply {
        let token = tokens["access_token"].as_str().expect("a token");
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: vec![
                ("Authorization".to_owned(), format!("Bearer {token}")),
                ("Content-Type".to_owned(), "application/json".to_owned()),
            ],
            body: body.to_string().into_bytes(),
            ..Request::default()
        };
        desk.portal.handle(&request, desk.now_ms)
    }

    #[test]
    fn a_token_does_what_its_scopes_allow_and_no_more() {
        let mut desk = desk();
        let tokens = tokens(
            &mut desk,
            "oauth crm.objects.contacts.read crm.schemas.contacts.read tickets",
        );
        let contact = json!({"properties": {"email": "ada@example.com"}});
        let nothing = json!({});
        let ticket = json!({"properties": {"subject": "Help", "hs_pipeline_stage": "1"}});
        let cases = [
            ("GET", "/crm/v3/objects/contacts", None),
            ("POST", "/crm/v3/objects/contacts/search", None),
            ("GET", "/crm/properties/2026-03/contacts", None),
            ("GET", "/account-info/2026-03/details", None),
            ("POST", "/crm/v3/objects/tickets", None),
            ("GET", "/crm/properties/2026-03/tickets", None),
            (
                "POST",
                "/crm/v3/objects/contacts",
                Some(json!(["crm.objects.contacts.write"])),
            ),
            (
                "POST",
                "/crm/properties/2026-03/contacts",
                Some(json!(["crm.schemas.contacts.write"])),
            ),
            (
                "GET",
                "/crm/v3/objects/deals",
                Some(json!(["crm.objects.deals.read"])),
            ),
            (
                "GET",
                "/crm/properties/v3/companies",
                Some(json!(["crm.schemas.companies.read"])),
            ),
            (
                "GET",
                "/crm/owners/2026-03",
                Some(json!(["crm.objects.owners.read", "automation"])),
            ),
        ];
        for (method, path, missing) in cases {
            let sent = match path.rsplit('/').next() {
                Some("tickets") => &ticket,
                Some("search") => &nothing,
                _ => &contact,
            };
            let reply = call(&mut desk, &tokens, method, path, sent);
            let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
            let Some(missing) = missing else {
                assert!(reply.status < 300, "{method} {path}: {body}");
                continue;
            };
            assert_eq!(
                (reply.status, &body["category"]),
                (403, &json!("MISSING_SCOPES")),
                "{method} {path}"
            );
            let named = &body["errors"][0]["context"]["requiredGranularScopes"];
            assert_eq!(named, &missing, "{method} {path}");
        }
        assert_eq!(desk.portal.count("contacts"), 0);
    }

    /// api-facts.md#3: the day is the account's and its static tokens'.
    #[test]
    fn an_app_has_no_day_and_no_headers_about_one() {
        let mut desk = desk();
        desk.portal.settings_mut().daily_limit = 1;
        let tokens = tokens(&mut desk, "crm.objects.contacts.read");
        for _ in 0..3 {
            let path = "/crm/v3/objects/contacts";
            let reply = call(&mut desk, &tokens, "GET", path, &Value::Null);
            assert_eq!(reply.status, 200);
            assert!(reply.header("X-HubSpot-RateLimit-Remaining").is_some());
            for name in ["Daily", "Daily-Remaining"] {
                assert_eq!(reply.header(&format!("X-HubSpot-RateLimit-{name}")), None);
            }
        }
        let reply = desk.reply("GET", "/crm/v3/objects/contacts", &Value::Null);
        assert_eq!(
            (
                reply.status,
                reply.header("X-HubSpot-RateLimit-Daily-Remaining")
            ),
            (200, Some("0"))
        );
        assert_eq!(desk.get("/crm/v3/objects/contacts").0, 429);
    }

    /// The fields that openapi/oauth.2026-03.json requires of an introspection.
    #[test]
    fn introspection_says_everything_of_a_live_token_and_nothing_of_a_dead_one() {
        let mut desk = desk();
        let tokens = tokens(&mut desk, "oauth tickets");
        let introspect = |desk: &mut Desk, name: &str| {
            let token = tokens[name].as_str().expect("a token");
            let fields = format!("token={token}&token_type_hint={name}");
            let (status, body) = form(desk, "/oauth/2026-03/token/introspect", &fields);
            assert_eq!(status, 200);
            body
        };
        let both = [
            "active",
            "app_id",
            "client_id",
            "hub_id",
            "scopes",
            "token",
            "token_type",
            "token_use",
            "user_id",
        ];
        let of_access = [
            "expires_in",
            "is_private_distribution",
            "signed_access_token",
        ];
        let access = introspect(&mut desk, "access_token");
        let refresh = introspect(&mut desk, "refresh_token");
        for name in both {
            assert!(
                !access[name].is_null() && !refresh[name].is_null(),
                "{name}"
            );
        }
        for name in of_access {
            assert!(!access[name].is_null(), "{name}");
        }
        assert_eq!(
            (
                &access["token_use"],
                &refresh["token_use"],
                &access["scopes"]
            ),
            (
                &json!("access_token"),
                &json!("refresh_token"),
                &json!(["oauth", "tickets"])
            )
        );
        assert_eq!(access["user_id"], tokens["user_id"]);
        desk.now_ms += 1_800_000;
        let dead = introspect(&mut desk, "access_token");
        assert_eq!(dead, json!({"active": false}));
        assert_eq!(introspect(&mut desk, "refresh_token")["active"], true);
    }

    #[test]
    fn the_state_comes_back_as_it_was_sent() {
        let mut desk = desk();
        let state = "a b&code=x#+%/~ü";
        for denies in [false, true] {
            let app = OAuthApp {
                denies,
                ..OAuthApp::default()
            };
            desk.portal.settings_mut().oauth = Some(app);
            let back = sent_back(&mut desk, "oauth", state);
            assert!(back.is_ascii() && !back.contains([' ', '#']), "{back}");
            let (_, query) = back.split_once('?').expect("a query");
            assert_eq!(
                fields_of(query).get("state").map(String::as_str),
                Some(state)
            );
        }
    }
}
