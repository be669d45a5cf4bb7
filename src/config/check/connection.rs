//! `[portal]` and `[database]`: which account, into which file.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use http::Uri;

use crate::config::check::values::is_variable_name;
use crate::config::file::{KeyAndValue, TomlTable};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::secret::PortalIdSource;
use crate::config::settings::PortalSettings;
use crate::model::id::PortalId;
use crate::model::settings::{ApiVersion, Checkpoint, Tier};

/// HubSpot's one API host, for every region (`hubspot/api-facts.md#1`).
const BASE_URL: &str = "https://api.hubapi.com";

const BASE_URL_HINT: &str = "write `https://api.hubapi.com`, or leave it out";

/// The database where the file says nothing.
const DATABASE_PATH: &str = "/var/lib/hubsyncd/crm.db";

/// `[portal]`.
pub(super) fn portal(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> PortalSettings {
    let table = reader.section(root, "portal", keys::PORTAL);
    let id = reader.optional(&table, "id", portal_id);
    let other = reader.or_default(
        &table,
        "allow_other_host",
        (false, "false"),
        Reader::boolean,
    );
    let base_url = reader.or_default(
        &table,
        "base_url",
        (BASE_URL.to_owned(), "\"https://api.hubapi.com\""),
        |reader, entry| base_url(reader, entry, other),
    );
    let versions = ApiVersion::ALL.map(|version| (version.as_str(), version));
    let api_version = reader.or_default(
        &table,
        "api_version",
        (ApiVersion::default(), "\"2026-03\""),
        |reader, entry| reader.choice(entry, "version", &versions),
    );
    let tiers = Tier::ALL.map(|tier| (tier.as_str(), tier));
    let tier = reader.or_default(
        &table,
        "tier",
        (Tier::default(), "\"free\""),
        |reader, entry| reader.choice(entry, "tier", &tiers),
    );
    PortalSettings {
        id,
        base_url,
        api_version,
        tier,
    }
}

fn portal_id(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<PortalIdSource> {
    if !Reader::is_table(entry) {
        let id = reader.integer(entry, 1..=i64::MAX as u64)?;
        return Some(PortalIdSource::Number(PortalId(id as i64)));
    }
    let table = reader.table(entry, keys::ENV)?;
    let Some(variable) = table.get("env") else {
        reader.error(
            "missing-key",
            &entry.span,
            &entry.path,
            "`portal.id` names no variable",
            "write the number, or `{ env = \"HUBSPOT_PORTAL_ID\" }`",
        );
        return None;
    };
    let name = reader.text(variable)?;
    if !is_variable_name(name) {
        let message = format!(
            "`{}` is not the name of an environment variable",
            variable.path
        );
        reader.error(
            "bad-value",
            &variable.span,
            &variable.path,
            &message,
            "write `{ env = \"HUBSPOT_PORTAL_ID\" }`",
        );
        return None;
    }
    Some(PortalIdSource::Env(name.to_owned()))
}

/// Scheme, host and port, without a slash at the end.
fn base_url(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>, other_host: bool) -> Option<String> {
    let text = reader.text(entry)?;
    let refuse = |reader: &mut Reader<'_>, code, message: &str, hint: &str| {
        reader.error(code, &entry.span, &entry.path, message, hint);
        None
    };
    if text.contains('@') {
        // Whatever stands before the `@` may be a password.
        reader.secrets.push(entry.span.clone());
        return refuse(
            reader,
            "bad-url",
            "`portal.base_url` must not hold a user or a password",
            BASE_URL_HINT,
        );
    }
    let uri = text.parse::<Uri>().ok();
    let parts = uri
        .as_ref()
        .and_then(|uri| Some((uri, uri.scheme_str()?, uri.host()?)));
    let Some((uri, scheme, host)) = parts else {
        return refuse(
            reader,
            "bad-url",
            &format!("`{text}` is no URL with scheme and host"),
            BASE_URL_HINT,
        );
    };
    if !uri.path().trim_matches('/').is_empty()
        || uri.query().is_some()
        || text.contains(['#', '?'])
    {
        let hint = format!(
            "write `{scheme}://{}`: the paths follow from `api_version`",
            uri.authority()?
        );
        return refuse(
            reader,
            "bad-url",
            "`portal.base_url` must end with the host",
            &hint,
        );
    }
    if uri.authority()?.as_str() != host && uri.port_u16().is_none_or(|port| port == 0) {
        return refuse(
            reader,
            "bad-url",
            &format!("`{text}` has no port behind the last `:`"),
            BASE_URL_HINT,
        );
    }
    match (scheme, is_loopback(host)) {
        ("https" | "http", true) => {}
        ("https", false) if other_host || !needs_leave(host) => {}
        ("https", false) => {
            let hint = "add `allow_other_host = true` below `[portal]` if the token may go there";
            return refuse(
                reader,
                "other-host",
                &format!("`{host}` isn't HubSpot's"),
                hint,
            );
        }
        ("http", false) => {
            let message = format!("`{scheme}` to `{host}` would send the token in clear");
            let hint =
                format!("write `https://{host}`; `http` is for 127.0.0.0/8, ::1 and localhost");
            return refuse(reader, "insecure-url", &message, &hint);
        }
        _ => {
            return refuse(
                reader,
                "bad-url",
                &format!("`{scheme}` is no scheme for HubSpot"),
                BASE_URL_HINT,
            );
        }
    }
    Some(format!("{scheme}://{}", uri.authority()?))
}

/// Whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let v6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || v6
            .and_then(|address| address.parse::<Ipv6Addr>().ok())
            .is_some_and(|address| address.is_loopback())
}

/// Whether a token may go to a host only where the file says so: it is neither HubSpot's nor this machine.
pub(crate) fn needs_leave(host: &str) -> bool {
    !is_loopback(host) && !is_hubspot(host)
}

fn is_hubspot(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    ["hubapi.com", "hubspot.com"].iter().any(|domain| {
        let before = host.strip_suffix(domain);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// `[database]`.
pub(super) fn database(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> (PathBuf, Checkpoint) {
    let table = reader.section(root, "database", keys::DATABASE);
    let default = (PathBuf::from(DATABASE_PATH), "\"/var/lib/hubsyncd/crm.db\"");
    let path = reader.or_default(&table, "path", default, |reader, entry| {
        let text = reader.text(entry)?;
        let is_file = !text.is_empty() && !text.ends_with('/') && !text.contains('\0');
        if !is_file || text == ":memory:" || text.starts_with("file:") {
            let message = format!("`{text}` is no path of a file");
            let hint = "write a path such as `/var/lib/hubsyncd/crm.db`; a relative one begins at this file's folder";
            reader.error("bad-path", &entry.span, &entry.path, &message, hint);
            return None;
        }
        let path = reader.source.resolve(text);
        if let Some((what, hint)) = is_something_else(&path, &reader.source.path) {
            let message = format!("`{text}` is {what}");
            reader.error("bad-path", &entry.span, &entry.path, &message, hint);
            return None;
        }
        Some(path)
    });
    let owners = Checkpoint::ALL.map(|owner| (owner.as_str(), owner));
    let checkpoint = reader.or_default(
        &table,
        "checkpoint",
        (Checkpoint::default(), "\"own\""),
        |reader, entry| reader.choice(entry, "owner of the checkpoints", &owners),
    );
    (path, checkpoint)
}

/// What stands at the database's path and can't be one, and what to write.
fn is_something_else(path: &Path, mapping: &Path) -> Option<(&'static str, &'static str)> {
    if path.is_dir() {
        let hint = "write the path of a file in that folder, such as `crm.db` behind it";
        return Some(("a folder", hint));
    }
    if path.ancestors().skip(1).any(Path::is_file) {
        let hint = "write a path whose folders are folders, or move that file away";
        return Some(("below a file", hint));
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    (real(path) == real(mapping)).then_some((
        "this mapping file",
        "write another path; the database is made where it is missing",
    ))
}
