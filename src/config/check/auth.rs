//! `[auth]`: a static bearer token, or an OAuth app whose tokens the daemon keeps and renews.

use http::Uri;

use crate::config::check::connection::is_loopback;
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::secret::SecretSource;
use crate::config::settings::{Auth, ClientId, OAuth};
use crate::decide::portal::scopes;
use crate::model::mapping::{Mapping, Sees};

/// The variable that holds the token where the file says nothing.
const TOKEN_VARIABLE: &str = "HUBSPOT_ACCESS_TOKEN";

/// What a token sees, by name.
const SEES: [(&str, Sees); 2] = [("portal", Sees::Portal), ("user", Sees::User)];

/// Where the browser comes back to.
const REDIRECT_URI: &str = "http://localhost:8976/callback";

/// HubSpot's consent page (`hubspot/api-facts.md#1`).
const AUTHORIZE_URL: &str = "https://app.hubspot.com/oauth/authorize";

/// The newest token endpoint, and the older ones that HubSpot still serves (`hubspot/api-facts.md#1`).
const TOKEN_PATHS: [&str; 4] = [
    "/oauth/2026-03/token",
    "/oauth/2026-09/token",
    "/oauth/v3/token",
    "/oauth/v1/token",
];

/// `[auth]`, and what the token sees of the portal.
pub(super) fn auth(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> (Auth, Sees) {
    let table = reader.section(root, "auth", keys::AUTH);
    let auth = way_in(reader, &table);
    let sees = reader.or_default(
        &table,
        "sees",
        (Sees::Portal, "\"portal\""),
        |reader, entry| reader.choice(entry, "sees", &SEES),
    );
    (auth, sees)
}

fn way_in(reader: &mut Reader<'_>, table: &TomlTable<'_>) -> Auth {
    let Some(entry) = table.get("oauth").cloned() else {
        return Auth::Token(token(reader, table));
    };
    if let Some(token) = table.get("access_token") {
        let message = "`[auth]` has both `access_token` and `oauth`";
        let hint = "keep the one that is meant; the other's tokens are never used";
        reader.error("two-tokens", &token.key_span, &token.path, message, hint);
    }
    match oauth(reader, &entry) {
        Some(oauth) => Auth::OAuth(oauth),
        None => Auth::Token(SecretSource::Env(TOKEN_VARIABLE.to_owned())),
    }
}

/// Whether the scopes that the file asks for are all that its mapping needs.
pub(super) fn scopes(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    auth: &Auth,
    mapping: &Mapping,
) {
    let Auth::OAuth(oauth) = auth else {
        return;
    };
    if oauth.scopes.is_empty() {
        return;
    }
    let place = root
        .get("auth")
        .and_then(|entry| reader.free_table(entry))
        .and_then(|table| table.get("oauth").cloned())
        .and_then(|entry| reader.free_table(&entry))
        .and_then(|table| table.get("scopes").cloned());
    let Some(entry) = place else {
        return;
    };
    let asked = [oauth.scopes.as_slice(), &oauth.optional_scopes].concat();
    let missing = scopes::missing(&scopes::needed(mapping), &asked);
    let (records, others): (Vec<String>, Vec<String>) = missing
        .into_iter()
        .partition(|scope| scopes::is_of_records(scope));
    let (hint, path, span) = (
        "add them, or leave `scopes` out: the default is what the mapping needs",
        &entry.path,
        &entry.span,
    );
    let list = |missing: &[String]| missing.join("`, `");
    if !records.is_empty() {
        let message = format!(
            "the mapping needs scopes that are not here: `{}`",
            list(&records)
        );
        reader.error("missing-scope", span, path, &message, hint);
    }
    if !others.is_empty() {
        let message = format!(
            "schemas and owners are read and made by scopes that are not here: `{}`",
            list(&others)
        );
        reader.warning("missing-scope", span, path, &message, hint);
    }
}

fn token(reader: &mut Reader<'_>, table: &TomlTable<'_>) -> SecretSource {
    let path = join(&table.path, "access_token");
    let Some(entry) = table.get("access_token").cloned() else {
        return reader.secret_in_variable(&path, TOKEN_VARIABLE);
    };
    let source = reader.shown_secret(&entry);
    source.unwrap_or_else(|| SecretSource::Env(TOKEN_VARIABLE.to_owned()))
}

fn oauth(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<OAuth> {
    let table = reader.table(entry, keys::OAUTH)?;
    for (name, hint) in [
        (
            "client_id",
            "write the id that HubSpot shows on the app's `Auth` page",
        ),
        (
            "client_secret",
            "write `{ env = \"HUBSPOT_CLIENT_SECRET\" }`",
        ),
        (
            "token_key",
            "make one with `openssl rand -base64 32` and write `{ env = \"HUBSYNCD_TOKEN_KEY\" }`: it seals the stored tokens",
        ),
    ] {
        if table.get(name).is_none() {
            let message = format!("`[{}]` has no `{name}`", table.path);
            let path = join(&table.path, name);
            reader.error("missing-key", &entry.key_span, &path, &message, hint);
        }
    }
    let client_id = table
        .get("client_id")
        .cloned()
        .and_then(|entry| client_id(reader, &entry));
    let mut place = |name: &str| {
        let entry = table.get(name).cloned()?;
        reader.shown_secret(&entry)
    };
    let (client_secret, token_key) = (place("client_secret"), place("token_key"));
    let redirect_uri = reader.or_default(
        &table,
        "redirect_uri",
        (
            REDIRECT_URI.to_owned(),
            "\"http://localhost:8976/callback\"",
        ),
        redirect_uri,
    );
    let scopes = reader.optional(&table, "scopes", texts).unwrap_or_default();
    let optional_scopes = reader
        .optional(&table, "optional_scopes", texts)
        .unwrap_or_default();
    let authorize_url = reader.or_default(
        &table,
        "authorize_url",
        (
            AUTHORIZE_URL.to_owned(),
            "\"https://app.hubspot.com/oauth/authorize\"",
        ),
        authorize_url,
    );
    let paths = TOKEN_PATHS.map(|path| (path, path.to_owned()));
    let token_path = reader.or_default(
        &table,
        "token_path",
        (TOKEN_PATHS[0].to_owned(), "\"/oauth/2026-03/token\""),
        |reader, entry| reader.choice(entry, "path", &paths),
    );
    Some(OAuth {
        client_id: client_id?,
        client_secret: client_secret?,
        token_key: token_key?,
        redirect_uri,
        scopes,
        optional_scopes,
        authorize_url,
        token_path,
    })
}

/// An app's id is printed in every consent URL: it may stand in the file.
fn client_id(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<ClientId> {
    if Reader::is_table(entry) {
        return reader.shown_secret(entry).map(ClientId::Kept);
    }
    reader.show_entry(entry);
    let text = reader.text(entry)?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(ClientId::Written(text.to_owned()));
    }
    let hint = "write the id that HubSpot shows on the app's `Auth` page";
    reader.error(
        "bad-value",
        &entry.span,
        &entry.path,
        "the app's id is no word",
        hint,
    );
    None
}

/// The browser must come back to this machine: `auth login` listens there (`hubspot/api-facts.md#2`: HubSpot takes plain
/// http for localhost alone).
fn redirect_uri(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let uri = text.parse::<Uri>().ok();
    let is_ours = uri.as_ref().is_some_and(|uri| {
        uri.scheme_str() == Some("http")
            && uri.host().is_some_and(is_loopback)
            && uri.port_u16().is_some_and(|port| port > 0)
            && uri.query().is_none()
            && !text.contains(['#', '@'])
    });
    if is_ours {
        return Some(text.to_owned());
    }
    let message =
        format!("`{text}` is no address of this machine that `auth login` could listen on");
    let hint = "write `http://localhost:8976/callback`, and register the same with HubSpot";
    reader.error("bad-url", &entry.span, &entry.path, &message, hint);
    None
}

fn authorize_url(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let uri = text.parse::<Uri>().ok();
    let is_good = uri.as_ref().is_some_and(|uri| {
        let host = uri.host().unwrap_or_default();
        (uri.scheme_str() == Some("https")
            || (uri.scheme_str() == Some("http") && is_loopback(host)))
            && !host.is_empty()
            && !text.contains(['#', '@'])
    });
    if is_good {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` is no https URL");
    let hint = "write `https://app.hubspot.com/oauth/authorize`, or leave it out";
    reader.error("bad-url", &entry.span, &entry.path, &message, hint);
    None
}

fn texts(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<Vec<String>> {
    let list = reader.list(entry)?;
    let mut read = Vec::with_capacity(list.len());
    for element in &list {
        let text = reader.text(element)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("`{text}` is no scope");
            let hint = "write scopes such as `crm.objects.contacts.read`";
            reader.error("bad-value", &element.span, &element.path, &message, hint);
            return None;
        }
        read.push(text.to_owned());
    }
    Some(read)
}
