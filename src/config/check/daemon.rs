//! `[limits]`, `[http]`, `[log]`, `[guard]` and `[retention]`: how the daemon behaves on this machine and in the account.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::settings::{HttpSettings, LogFormat, LogSettings, Retention};
use crate::config::suggest::which;
use crate::decide::quota::{BURST_WINDOW, LimitSettings};
use crate::model::settings::{Guard, Limits, Tier};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The port of `[http]` where nothing is said.
const HTTP_PORT: u16 = 9187;

/// Levels of the log, the least first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `[limits]`; what is left out is decided by the tier, or by HubSpot's limits of an OAuth app.
pub(super) fn limits(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    tier: Tier,
    is_oauth: bool,
) -> LimitSettings {
    let table = reader.section(root, "limits", keys::LIMITS);
    let burst = reader.optional(&table, "burst_per_10_seconds", |reader, entry| {
        reader.integer(entry, 1..=10_000)
    });
    let per_second = reader.optional(&table, "per_second", |reader, entry| {
        reader.number(entry, 0.1..=1000.0)
    });
    let search = reader.optional(&table, "search_per_second", |reader, entry| {
        reader.number(entry, 0.1..=100.0)
    });
    let associations = reader.optional(&table, "associations_per_second", |reader, entry| {
        reader.number(entry, 0.1..=100.0)
    });
    let per_day = reader.optional(&table, "per_day", |reader, entry| {
        reader.integer(entry, 1..=1_000_000_000)
    });
    let defaults = Limits::default();
    let reserve_for_push = reader.or_default(
        &table,
        "reserve_for_push",
        (defaults.reserve_for_push, "0.1"),
        |reader, entry| reader.number(entry, 0.0..=0.9),
    );
    let limits = Limits {
        burst_per_10_seconds: burst.map(|burst| burst as u32),
        per_second,
        search_per_second: search,
        associations_per_second: associations,
        per_day,
        reserve_for_push,
    };
    let (in_force, origin) = match is_oauth {
        true => (LimitSettings::oauth(&limits), SettingOrigin::App),
        false => (LimitSettings::new(&limits, tier), SettingOrigin::Tier),
    };
    let per_second = f64::from(in_force.burst) / BURST_WINDOW.as_secs_f64();
    let per_day = in_force.per_day.map(|per_day| per_day.to_string());
    for (name, value) in [
        ("burst_per_10_seconds", in_force.burst.to_string()),
        ("per_second", format!("{per_second:?}")),
        (
            "search_per_second",
            format!("{:?}", in_force.search_per_second),
        ),
        (
            "associations_per_second",
            format!("{:?}", in_force.associations_per_second),
        ),
        ("per_day", per_day.unwrap_or_default()),
    ] {
        if table.get(name).is_none() {
            reader.show(&join(&table.path, name), &value, origin);
        }
    }
    in_force
}

/// `[http]`: without it nothing listens. Whoever listens to other machines asks them for a token.
pub(super) fn http(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> Option<HttpSettings> {
    root.get("http")?;
    let table = reader.section(root, "http", keys::HTTP);
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, HTTP_PORT));
    let listen = reader.or_default(
        &table,
        "listen",
        (default, "\"127.0.0.1:9187\""),
        Reader::address,
    );
    let entry = table.get("token").cloned();
    let token = entry.as_ref().and_then(|entry| reader.shown_secret(entry));
    if entry.is_none()
        && !listen.ip().is_loopback()
        && let Some(written) = table.get("listen")
    {
        let message = format!(
            "`{}` lets other machines in, and `[http]` has no `token` that keeps strangers out",
            written.path
        );
        let hint = format!(
            "write `token = {{ file = \"PATH\" }}` beside it, or listen on `127.0.0.1:{}`",
            listen.port()
        );
        reader.error(OPEN_ADDRESS, &written.span, &written.path, &message, &hint);
    }
    Some(HttpSettings { listen, token })
}

/// The code of a listener that everybody reaches.
const OPEN_ADDRESS: &str = "open-address";

/// An address of `[webhooks]` that everybody reaches is a warning: deliveries are signed.
pub(super) fn warn_of_open_webhooks(
    reader: &mut Reader<'_>,
    entry: &KeyAndValue<'_>,
) -> Option<SocketAddr> {
    let address = reader.address(entry)?;
    if address.ip().is_unspecified() {
        let message = format!(
            "`{}` listens to every network that the machine is on, without a password",
            entry.path
        );
        let hint = format!(
            "write `127.0.0.1:{}` unless something else keeps strangers out",
            address.port()
        );
        reader.warning(OPEN_ADDRESS, &entry.span, &entry.path, &message, &hint);
    }
    Some(address)
}

/// Two can't listen on one port of an address.
pub(super) fn one_port_each(
    reader: &mut Reader<'_>,
    root: &TomlTable<'_>,
    http: Option<SocketAddr>,
    webhooks: Option<SocketAddr>,
) {
    let (Some(http), Some(webhooks)) = (http, webhooks) else {
        return;
    };
    let one_ip =
        http.ip() == webhooks.ip() || http.ip().is_unspecified() || webhooks.ip().is_unspecified();
    // The system gives each a port of its own for 0.
    if !one_ip || http.port() != webhooks.port() || http.port() == 0 {
        return;
    }
    let Some(section) = root.get("http").cloned() else {
        return;
    };
    let table = reader.free_table(&section);
    let written = table.as_ref().and_then(|table| table.get("listen"));
    let (span, path) = written.map_or_else(
        || (section.key_span.clone(), section.path.clone()),
        |entry| (entry.span.clone(), entry.path.clone()),
    );
    let message = format!(
        "`[http]` and `[webhooks]` would both listen on port {}",
        http.port()
    );
    let hint = "give each a port of its own; without `listen` they are 9187 and 8787";
    reader.error("duplicate-address", &span, &path, &message, hint);
}

/// `[log]`.
pub(super) fn log(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> LogSettings {
    let table = reader.section(root, "log", keys::LOG);
    let level = reader.or_default(&table, "level", ("info".to_owned(), "\"info\""), log_level);
    let formats = [
        ("auto", LogFormat::Auto),
        ("journal", LogFormat::Journal),
        ("json", LogFormat::Json),
        ("text", LogFormat::Text),
    ];
    let format = reader.or_default(
        &table,
        "format",
        (LogFormat::Auto, "\"auto\""),
        |reader, entry| reader.choice(entry, "format", &formats),
    );
    LogSettings { level, format }
}

/// A level, or parts `target=level` with commas between; one part may be a level alone.
fn log_level(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    for part in text.split(',') {
        let (target, level) = part.split_once('=').unwrap_or(("hubsyncd", part));
        let is_target = !target.is_empty()
            && target
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
        if !is_target || !LEVELS.contains(&level) {
            let message = format!("`{part}` is no level for `{}`", entry.path);
            reader.error(
                "unknown-value",
                &entry.span,
                &entry.path,
                &message,
                &which(level, &LEVELS),
            );
            return None;
        }
    }
    Some(text.to_owned())
}

/// `[guard]`.
pub(super) fn guard(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> Guard {
    let table = reader.section(root, "guard", keys::GUARD);
    let defaults = Guard::default();
    let count =
        |reader: &mut Reader<'_>, entry: &KeyAndValue<'_>| reader.integer(entry, 0..=1_000_000_000);
    Guard {
        max_archives: reader.or_default(
            &table,
            "max_archives",
            (defaults.max_archives, "100"),
            count,
        ),
        max_share: reader.or_default(
            &table,
            "max_share",
            (defaults.max_share, "0.05"),
            |reader, entry| reader.number(entry, 0.0..=1.0),
        ),
        window: reader.or_default(
            &table,
            "window",
            (defaults.window, "\"1h\""),
            |reader, entry| reader.duration(entry, &(MINUTE..=30 * DAY)),
        ),
        max_updates: reader.or_default(&table, "max_updates", (defaults.max_updates, "0"), count),
        max_cleared: reader.or_default(
            &table,
            "max_cleared",
            (defaults.max_cleared, "0.2"),
            |reader, entry| reader.number(entry, 0.0..=1.0),
        ),
    }
}

/// `[retention]`.
pub(super) fn retention(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> Retention {
    let table = reader.section(root, "retention", keys::RETENTION);
    let bounds: RangeInclusive<Duration> = HOUR..=3650 * DAY;
    let age = |reader: &mut Reader<'_>, entry: &KeyAndValue<'_>| reader.duration(entry, &bounds);
    Retention {
        history: reader.or_default(&table, "history", (90 * DAY, "\"90d\""), age),
        inbox: reader.or_default(&table, "inbox", (7 * DAY, "\"7d\""), age),
        runs: reader.or_default(&table, "runs", (30 * DAY, "\"30d\""), age),
        calls: reader.or_default(&table, "calls", (7 * DAY, "\"7d\""), age),
        call_errors: reader.or_default(&table, "call_errors", (30 * DAY, "\"30d\""), age),
        max_size: reader.or_default(&table, "max_size", (0, "\"0\""), |reader, entry| {
            reader.size(entry, 0..=u64::MAX)
        }),
    }
}
