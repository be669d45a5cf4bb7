//! `[webhooks]`: where HubSpot's deliveries arrive, under which URL, and how they are signed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;

use crate::config::check::connection::is_loopback;
use crate::config::check::daemon::warn_of_open_webhooks;
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::secret::SecretSource;
use crate::config::settings::{TlsFiles, Webhooks};
use crate::model::settings::SignatureVersion;

/// The port where nothing is said.
const PORT: u16 = 8787;

/// The path where nothing is said.
const PATH: &str = "/webhooks/hubspot";

/// The variable that holds the app's secret where the file says nothing.
const SECRET_VARIABLE: &str = "HUBSPOT_CLIENT_SECRET";

/// Secrets that may be valid at once: the old one and the new one.
const MOST_SECRETS: usize = 2;

const URL_HINT: &str =
    "write the URL that HubSpot calls, such as `https://sync.example.com/webhooks/hubspot`";

/// `[webhooks]`; without it polling alone finds changes.
pub(super) fn webhooks(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> Option<Webhooks> {
    let entry = root.get("webhooks")?.clone();
    let table = reader.table(&entry, keys::WEBHOOKS)?;
    let listen = reader.or_default(
        &table,
        "listen",
        (
            SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            "\"127.0.0.1:8787\"",
        ),
        warn_of_open_webhooks,
    );
    let path = reader.or_default(
        &table,
        "path",
        (PATH.to_owned(), "\"/webhooks/hubspot\""),
        path,
    );
    let public_url = reader.optional(&table, "public_url", public_url);
    if table.get("public_url").is_none() {
        reader.error(
            "missing-key",
            &entry.key_span,
            &join(&table.path, "public_url"),
            "`[webhooks]` has no `public_url`, and HubSpot signs the URL that it calls",
            URL_HINT,
        );
    }
    let client_secrets = client_secrets(reader, &table);
    let versions = SignatureVersion::ALL.map(|version| (version.as_str(), version));
    let signature = reader.or_default(
        &table,
        "signature",
        (SignatureVersion::default(), "\"v3\""),
        |reader, entry| reader.choice(entry, "signature", &versions),
    );
    let app_id = reader.optional(&table, "app_id", |reader, entry| {
        reader.integer(entry, 1..=i64::MAX as u64)
    });
    let developer_key = table
        .get("developer_key")
        .cloned()
        .and_then(|entry| reader.shown_secret(&entry));
    for (own, other) in [("app_id", "developer_key"), ("developer_key", "app_id")] {
        if let (Some(entry), None) = (table.get(own), table.get(other)) {
            let message = format!("`{own}` is of no use without `{other}`");
            let hint = "write both for `webhooks apply` by API, or neither";
            reader.warning("missing-key", &entry.key_span, &entry.path, &message, hint);
        }
    }
    let max_body = reader.or_default(
        &table,
        "max_body",
        (1 << 20, "\"1MiB\""),
        |reader, entry| reader.size(entry, 1024..=64 << 20),
    );
    let max_connections =
        reader.or_default(&table, "max_connections", (64, "64"), |reader, entry| {
            reader.integer(entry, 1..=4096)
        });
    Some(Webhooks {
        listen,
        path,
        public_url: public_url.unwrap_or_default(),
        client_secrets,
        signature,
        app_id,
        developer_key,
        max_body: max_body as usize,
        max_connections: max_connections as usize,
        tls: tls(reader, &table),
    })
}

/// The path that is served: from a `/`, without a query.
fn path(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let is_path = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
    if is_path {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` is no path of letters, digits, `/`, `-`, `_`, `.` and `~`");
    let hint = "write a path such as `/webhooks/hubspot`";
    reader.error("bad-path", &entry.span, &entry.path, &message, hint);
    None
}

/// The whole URL; https, since HubSpot calls nothing else (`hubspot/api-facts.md#10`).
fn public_url(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    if text.contains('@') {
        // Whatever stands before the `@` may be a password.
        reader.secrets.push(entry.span.clone());
        let message = "`webhooks.public_url` must not hold a user or a password";
        reader.error("bad-url", &entry.span, &entry.path, message, URL_HINT);
        return None;
    }
    let uri = text.parse::<Uri>().ok();
    let parts = uri
        .as_ref()
        .and_then(|uri| Some((uri.scheme_str()?, uri.host()?)))
        .filter(|_| !text.contains('#'));
    let Some((scheme, host)) = parts else {
        let message = format!("`{text}` is no URL with scheme, host and path");
        reader.error("bad-url", &entry.span, &entry.path, &message, URL_HINT);
        return None;
    };
    if scheme == "https" || (scheme == "http" && is_loopback(host)) {
        return Some(text.to_owned());
    }
    let message = format!("HubSpot calls https alone, and `{text}` is `{scheme}`");
    let hint = "write the https URL; a proxy in front, or `tls`, ends TLS";
    reader.error("insecure-url", &entry.span, &entry.path, &message, hint);
    None
}

/// One secret, or two while the app's secret is being changed.
fn client_secrets(reader: &mut Reader<'_>, table: &TomlTable<'_>) -> Vec<SecretSource> {
    let path = join(&table.path, "client_secret");
    let Some(entry) = table.get("client_secret").cloned() else {
        return vec![reader.secret_in_variable(&path, SECRET_VARIABLE)];
    };
    let places = if Reader::is_list(&entry) {
        reader.list(&entry).unwrap_or_default()
    } else {
        vec![entry.clone()]
    };
    if places.is_empty() || places.len() > MOST_SECRETS {
        let message = format!("`{path}` must name one secret, or two while it is being changed");
        let hint = "write `{ env = \"HUBSPOT_CLIENT_SECRET\" }`, or two of them in `[ ]`";
        reader.error("bad-value", &entry.span, &path, &message, hint);
    }
    let sources: Vec<SecretSource> = places
        .iter()
        .filter_map(|place| reader.secret(place))
        .collect();
    let shown: Vec<String> = sources.iter().map(SecretSource::to_toml).collect();
    let (line, _) = reader.source.position(entry.key_span.start);
    let shown = match shown.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    reader.show(&path, &shown, SettingOrigin::File { line });
    if sources.is_empty() {
        return vec![SecretSource::Env(SECRET_VARIABLE.to_owned())];
    }
    sources
}

fn tls(reader: &mut Reader<'_>, table: &TomlTable<'_>) -> Option<TlsFiles> {
    let entry = table.get("tls")?.clone();
    let tls = reader.table(&entry, keys::TLS)?;
    let mut file = |name: &str| -> Option<PathBuf> {
        let read = reader.optional(&tls, name, |reader, entry| {
            Some(reader.source.resolve(reader.text(entry)?))
        });
        if tls.get(name).is_none() {
            let message = format!("`webhooks.tls` has no `{name}`");
            let hint = "write `tls = { cert = \"fullchain.pem\", key = \"privkey.pem\" }`";
            let path = join(&tls.path, name);
            reader.error("missing-key", &entry.key_span, &path, &message, hint);
        }
        read
    };
    let (cert, key) = (file("cert"), file("key"));
    Some(TlsFiles {
        cert: cert?,
        key: key?,
    })
}
