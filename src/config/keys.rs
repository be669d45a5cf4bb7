//! Every key of the mapping file, a list a table. A test holds the example and the manual against them.

/// The file's own tables.
pub(crate) const ROOT: &[&str] = &[
    "portal",
    "auth",
    "database",
    "limits",
    "schedule",
    "webhooks",
    "http",
    "conflicts",
    "log",
    "objects",
    "associations",
    "guard",
    "retention",
];
/// `[portal]`.
pub(crate) const PORTAL: &[&str] = &["id", "base_url", "allow_other_host", "api_version", "tier"];
/// `{ env = … }` where only the environment is meant.
pub(crate) const ENV: &[&str] = &["env"];
/// A secret's place.
pub(crate) const SECRET: &[&str] = &["env", "file", "credential"];
/// `[auth]`.
pub(crate) const AUTH: &[&str] = &["access_token", "oauth", "sees"];
/// `[auth.oauth]`.
pub(crate) const OAUTH: &[&str] = &[
    "client_id",
    "client_secret",
    "token_key",
    "redirect_uri",
    "scopes",
    "optional_scopes",
    "authorize_url",
    "token_path",
];
/// `[database]`.
pub(crate) const DATABASE: &[&str] = &["path"];
/// `[limits]`.
pub(crate) const LIMITS: &[&str] = &[
    "burst_per_10_seconds",
    "per_second",
    "search_per_second",
    "associations_per_second",
    "per_day",
    "reserve_for_push",
];
/// `[schedule]`.
pub(crate) const SCHEDULE: &[&str] = &[
    "poll",
    "reconcile",
    "timezone",
    "overlap",
    "again",
    "poll_with_webhooks",
    "reference",
    "associations",
];
/// `[webhooks]`.
pub(crate) const WEBHOOKS: &[&str] = &[
    "listen",
    "path",
    "public_url",
    "client_secret",
    "signature",
    "app_id",
    "developer_key",
    "max_body",
    "max_connections",
    "tls",
];
/// `[webhooks].tls`.
pub(crate) const TLS: &[&str] = &["cert", "key"];
/// `[http]`.
pub(crate) const HTTP: &[&str] = &["listen"];
/// `[conflicts]`.
pub(crate) const CONFLICTS: &[&str] = &["policy"];
/// `[log]`.
pub(crate) const LOG: &[&str] = &["level", "format"];
/// `[objects.NAME]`; `filter` is reserved and not offered.
pub(crate) const OBJECT: &[&str] = &[
    "object",
    "table",
    "direction",
    "key",
    "match",
    "strict_options",
    "backfill",
    "on_remote_delete",
    "on_local_delete",
    "new_records",
    "poll",
    "conflict",
    "properties",
    FILTER,
];
/// Record filters are to come: the key is kept free for them.
pub(crate) const FILTER: &str = "filter";
/// A property in long form.
pub(crate) const PROPERTY: &[&str] = &[
    "column",
    "type",
    "direction",
    "conflict",
    "write",
    "history",
    "remote_history",
    "create",
];
/// A property's `create`.
pub(crate) const CREATE: &[&str] = &["label", "type", "options"];
/// `[associations]`, each.
pub(crate) const ASSOCIATION: &[&str] = &["from", "to", "direction", "conflict"];
/// `[guard]`.
pub(crate) const GUARD: &[&str] = &[
    "max_archives",
    "max_share",
    "window",
    "max_updates",
    "max_cleared",
];
/// `[retention]`.
pub(crate) const RETENTION: &[&str] = &["history", "inbox", "runs", "max_size"];

/// All lists.
pub(crate) const ALL: &[&[&str]] = &[
    ROOT,
    PORTAL,
    SECRET,
    AUTH,
    OAUTH,
    DATABASE,
    LIMITS,
    SCHEDULE,
    WEBHOOKS,
    TLS,
    HTTP,
    CONFLICTS,
    LOG,
    OBJECT,
    PROPERTY,
    CREATE,
    ASSOCIATION,
    GUARD,
    RETENTION,
];

/// Whether some table has such a key.
pub(crate) fn is_key(name: &str) -> bool {
    ALL.iter().any(|keys| keys.contains(&name))
}

/// Whether a table that holds secrets has such a key.
pub(crate) fn is_key_beside_secrets(name: &str) -> bool {
    [AUTH, OAUTH, WEBHOOKS, TLS, SECRET]
        .iter()
        .any(|keys| keys.contains(&name))
}
