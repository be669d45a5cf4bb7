//! Every key of the mapping file, a table a section: its shape, its default, what it means. The reader's lists of names, the JSON
//! Schema (`config/json_schema`) and the manual's tables come from here.

/// What a key's value looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueShape {
    /// A text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// A number within bounds.
    Number(f64, f64),
    /// `500ms`, `10s`, `5m`, `1h`, `30d`.
    Time,
    /// A time, or a cron expression.
    Rhythm,
    /// `512KiB`, `1MiB`, `10GiB`.
    Size,
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// Any of some shapes.
    AnyOf(&'static [ValueShape]),
    /// A list.
    List(&'static ValueShape),
    /// A table with these keys.
    Table(&'static [MappingKey]),
    /// A table whose keys are names that people choose.
    Named(&'static ValueShape),
    /// A name that is kept free.
    Reserved,
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappingKey {
    /// Its name.
    pub(crate) name: &'static str,
    /// What its value looks like.
    pub(crate) shape: ValueShape,
    /// What holds where it is not written, as the manual says it: a value in backticks, or words.
    pub(crate) default: &'static str,
    /// What it means, as the manual says it.
    pub(crate) meaning: &'static str,
}

/// What [`MappingKey::default`] says of a key that has none.
pub(crate) const MUST_BE_WRITTEN: &str = "must be written";

/// The types of the mapping file.
const TYPES: &[&str] = &[
    "string",
    "number",
    "decimal",
    "integer",
    "bool",
    "date",
    "datetime",
    "enumeration",
    "set",
];

/// Those of which HubSpot makes a property.
pub(crate) const MADE_TYPES: &[&str] = &[
    "string",
    "number",
    "bool",
    "date",
    "datetime",
    "enumeration",
    "set",
];

/// The names of a table's keys.
const fn names<const N: usize>(keys: &[MappingKey]) -> [&'static str; N] {
    let mut all = [""; N];
    let mut at = 0;
    while at < N {
        all[at] = keys[at].name;
        at += 1;
    }
    all
}

/// The file's own tables, key by key.
pub(crate) const ROOT_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "portal",
        shape: ValueShape::Table(PORTAL_KEYS),
        default: "none",
        meaning: "which account, and where HubSpot is",
    },
    MappingKey {
        name: "auth",
        shape: ValueShape::Table(AUTH_KEYS),
        default: "none",
        meaning: "how the daemon is let in",
    },
    MappingKey {
        name: "database",
        shape: ValueShape::Table(DATABASE_KEYS),
        default: "none",
        meaning: "where the tables are",
    },
    MappingKey {
        name: "limits",
        shape: ValueShape::Table(LIMITS_KEYS),
        default: "none",
        meaning: "the account's limits, where the tier's are not meant",
    },
    MappingKey {
        name: "schedule",
        shape: ValueShape::Table(SCHEDULE_KEYS),
        default: "none",
        meaning: "when HubSpot is asked",
    },
    MappingKey {
        name: "webhooks",
        shape: ValueShape::Table(WEBHOOKS_KEYS),
        default: "none",
        meaning: "where HubSpot's deliveries arrive; without it polling finds all changes",
    },
    MappingKey {
        name: "http",
        shape: ValueShape::Table(HTTP_KEYS),
        default: "none",
        meaning: "health, metrics and a page for people; without it nothing listens",
    },
    MappingKey {
        name: "conflicts",
        shape: ValueShape::Table(CONFLICTS_KEYS),
        default: "none",
        meaning: "who wins where both sides changed one field",
    },
    MappingKey {
        name: "log",
        shape: ValueShape::Table(LOG_KEYS),
        default: "none",
        meaning: "what is logged, and how",
    },
    MappingKey {
        name: "objects",
        shape: ValueShape::Named(&ValueShape::Table(OBJECT_KEYS)),
        default: "none",
        meaning: "which object meets which table, a table each",
    },
    MappingKey {
        name: "associations",
        shape: ValueShape::Named(&ValueShape::Table(ASSOCIATION_KEYS)),
        default: "none",
        meaning: "whose links are kept, a line a pair of objects",
    },
    MappingKey {
        name: "guard",
        shape: ValueShape::Table(GUARD_KEYS),
        default: "none",
        meaning: "the brake on mass removal",
    },
    MappingKey {
        name: "retention",
        shape: ValueShape::Table(RETENTION_KEYS),
        default: "none",
        meaning: "what may be forgotten, by age",
    },
];
/// The file's own tables.
pub(crate) const ROOT: &[&str] = &names::<{ ROOT_KEYS.len() }>(ROOT_KEYS);

/// `[portal]`, key by key.
pub(crate) const PORTAL_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "id",
        shape: ValueShape::AnyOf(&[
            ValueShape::Whole(1, u64::MAX >> 1),
            ValueShape::Table(ENV_KEYS),
        ]),
        default: "none",
        meaning: r#"run against this portal only: a number, or `{ env = "HUBSPOT_PORTAL_ID" }`"#,
    },
    MappingKey {
        name: "base_url",
        shape: ValueShape::Text,
        default: r#"`"https://api.hubapi.com"`"#,
        meaning: "scheme, host and port. `http` only for 127.0.0.0/8, ::1 and localhost",
    },
    MappingKey {
        name: "allow_other_host",
        shape: ValueShape::Flag,
        default: "`false`",
        meaning: "lets the token go to a host that is neither HubSpot's nor this machine",
    },
    MappingKey {
        name: "api_version",
        shape: ValueShape::OneOf(&["2026-03", "2026-09", "v3"]),
        default: r#"`"2026-03"`"#,
        meaning: "`2026-03`, `2026-09` or `v3`",
    },
    MappingKey {
        name: "tier",
        shape: ValueShape::OneOf(&["free", "starter", "professional", "enterprise"]),
        default: r#"`"free"`"#,
        meaning: "`free`, `starter`, `professional` or `enterprise`: the limits until HubSpot's headers say more",
    },
];
/// `[portal]`.
pub(crate) const PORTAL: &[&str] = &names::<{ PORTAL_KEYS.len() }>(PORTAL_KEYS);

/// `{ env = … }` where only the environment is meant, key by key.
pub(crate) const ENV_KEYS: &[MappingKey] = &[MappingKey {
    name: "env",
    shape: ValueShape::Text,
    default: "must be written",
    meaning: "an environment variable",
}];
/// `{ env = … }` where only the environment is meant.
pub(crate) const ENV: &[&str] = &names::<{ ENV_KEYS.len() }>(ENV_KEYS);

/// A secret's place, key by key.
pub(crate) const SECRET_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "env",
        shape: ValueShape::Text,
        default: "none",
        meaning: "an environment variable",
    },
    MappingKey {
        name: "file",
        shape: ValueShape::Text,
        default: "none",
        meaning: "a file that holds nothing else",
    },
    MappingKey {
        name: "credential",
        shape: ValueShape::Text,
        default: "none",
        meaning: "systemd's `LoadCredential=`",
    },
];
/// A secret's place.
pub(crate) const SECRET: &[&str] = &names::<{ SECRET_KEYS.len() }>(SECRET_KEYS);

/// `[auth]`, key by key.
pub(crate) const AUTH_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "access_token",
        shape: ValueShape::Table(SECRET_KEYS),
        default: r#"`{ env = "HUBSPOT_ACCESS_TOKEN" }`"#,
        meaning: "a service key, a private app's token, any static bearer token",
    },
    MappingKey {
        name: "oauth",
        shape: ValueShape::Table(OAUTH_KEYS),
        default: "none",
        meaning: "an OAuth app in its place: the table below",
    },
    MappingKey {
        name: "sees",
        shape: ValueShape::OneOf(&["portal", "user"]),
        default: r#"`"portal"`"#,
        meaning: "`portal`: what HubSpot does not show is gone. `user`: the token sees only what its user may see (a user-level app), so that a record's absence is no deletion; see below",
    },
];
/// `[auth]`.
pub(crate) const AUTH: &[&str] = &names::<{ AUTH_KEYS.len() }>(AUTH_KEYS);

/// `[auth.oauth]`, key by key.
pub(crate) const OAUTH_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "client_id",
        shape: ValueShape::AnyOf(&[ValueShape::Text, ValueShape::Table(SECRET_KEYS)]),
        default: "must be written",
        meaning: "the app's id; text, or a secret's place",
    },
    MappingKey {
        name: "client_secret",
        shape: ValueShape::Table(SECRET_KEYS),
        default: "must be written",
        meaning: "the app's secret",
    },
    MappingKey {
        name: "token_key",
        shape: ValueShape::Table(SECRET_KEYS),
        default: "must be written",
        meaning: "32 random bytes as base64 or hexadecimal (`openssl rand -base64 32`): seals the tokens in the database. Without it nothing is stored; with another one than at the last login the daemon does not start",
    },
    MappingKey {
        name: "redirect_uri",
        shape: ValueShape::Text,
        default: r#"`"http://localhost:8976/callback"`"#,
        meaning: "where the browser comes back to: an address of this machine with a port, registered with HubSpot",
    },
    MappingKey {
        name: "scopes",
        shape: ValueShape::List(&ValueShape::Text),
        default: "what the mapping needs",
        meaning: "what is asked for; all of it must be granted. `check` names what the mapping needs and this has not, `optional_scopes` included",
    },
    MappingKey {
        name: "optional_scopes",
        shape: ValueShape::List(&ValueShape::Text),
        default: "none",
        meaning: "what may be declined",
    },
    MappingKey {
        name: "authorize_url",
        shape: ValueShape::Text,
        default: r#"`"https://app.hubspot.com/oauth/authorize"`"#,
        meaning: "HubSpot's consent page",
    },
    MappingKey {
        name: "token_path",
        shape: ValueShape::OneOf(&[
            "/oauth/2026-03/token",
            "/oauth/2026-09/token",
            "/oauth/v3/token",
            "/oauth/v1/token",
        ]),
        default: r#"`"/oauth/2026-03/token"`"#,
        meaning: "or `/oauth/2026-09/token`, `/oauth/v3/token`, and `/oauth/v1/token` until HubSpot switches it off on 2027-02-16",
    },
];
/// `[auth.oauth]`.
pub(crate) const OAUTH: &[&str] = &names::<{ OAUTH_KEYS.len() }>(OAUTH_KEYS);

/// `[database]`, key by key.
pub(crate) const DATABASE_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "path",
        shape: ValueShape::Text,
        default: r#"`"/var/lib/hubsyncd/crm.db"`"#,
        meaning: "the SQLite file",
    },
    MappingKey {
        name: "checkpoint",
        shape: ValueShape::OneOf(&["own", "outside"]),
        default: r#"`"own"`"#,
        meaning: "who writes the log (`-wal`) back into the file: `own`, or another program that copies it elsewhere (`outside`: Litestream, see [replicas.md](replicas.md)); then hubsyncd never does, also not at its end",
    },
];
/// `[database]`.
pub(crate) const DATABASE: &[&str] = &names::<{ DATABASE_KEYS.len() }>(DATABASE_KEYS);

/// `[limits]`, key by key.
pub(crate) const LIMITS_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "burst_per_10_seconds",
        shape: ValueShape::Whole(1, 10_000),
        default: "the tier's",
        meaning: "requests in any 10 seconds; 1 – 10000",
    },
    MappingKey {
        name: "per_second",
        shape: ValueShape::Number(0.1, 1000.0),
        default: "a tenth of the burst",
        meaning: "the pace inside the burst; 0.1 – 1000",
    },
    MappingKey {
        name: "search_per_second",
        shape: ValueShape::Number(0.1, 100.0),
        default: "`5.0`",
        meaning: "searches, shared by all apps of the account; 0.1 – 100",
    },
    MappingKey {
        name: "associations_per_second",
        shape: ValueShape::Number(0.1, 100.0),
        default: "a tenth of the tier's burst",
        meaning: "bulk calls for associations and their labels, which spend nothing of the burst; at most 4 are unanswered at once, as a write goes with the reads that it rests on, and for a minute after a 429 they go at half this pace; 0.1 – 100",
    },
    MappingKey {
        name: "per_day",
        shape: ValueShape::Whole(1, 1_000_000_000),
        default: "the tier's",
        meaning: "requests a day, shared by all apps of the account; 1 – 1000000000",
    },
    MappingKey {
        name: "reserve_for_push",
        shape: ValueShape::Number(0.0, 0.9),
        default: "`0.10`",
        meaning: "share of the day kept free of polling and backfill; 0 – 0.9",
    },
];
/// `[limits]`.
pub(crate) const LIMITS: &[&str] = &names::<{ LIMITS_KEYS.len() }>(LIMITS_KEYS);

/// `[schedule]`, key by key.
pub(crate) const SCHEDULE_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "poll",
        shape: ValueShape::Rhythm,
        default: r#"`"10s"`"#,
        meaning: "for changes; 1s to 1d",
    },
    MappingKey {
        name: "poll_idle",
        shape: ValueShape::Time,
        default: r#"`"90s"`; nine times a written `poll`"#,
        meaning: "the longest wait of an object in which nothing has changed for hours; the same as `poll`: never slower; see below",
    },
    MappingKey {
        name: "reconcile",
        shape: ValueShape::Rhythm,
        default: r#"`"0 30 3 * * *"`"#,
        meaning: "the full comparison, which finds what polling can't; 1s to 365d; a duration counts from its end, a cron expression is met to the second, or as soon as the one before has ended",
    },
    MappingKey {
        name: "timezone",
        shape: ValueShape::Text,
        default: r#"`"UTC"`"#,
        meaning: "of the cron expressions",
    },
    MappingKey {
        name: "overlap",
        shape: ValueShape::Time,
        default: r#"`"15s"`"#,
        meaning: "how far a poll reaches back into the last one; up to 1h",
    },
    MappingKey {
        name: "again",
        shape: ValueShape::List(&ValueShape::Time),
        default: r#"`["5m", "1h"]`"#,
        meaning: "how long after its end each window is walked again; eight at most",
    },
    MappingKey {
        name: "poll_with_webhooks",
        shape: ValueShape::Time,
        default: r#"`"60s"`"#,
        meaning: "instead of `poll` while webhooks are healthy",
    },
    MappingKey {
        name: "reference",
        shape: ValueShape::Time,
        default: r#"`"1h"`"#,
        meaning: "for owners, pipelines and properties, from 1 s to 30 d; an object that waits for a scope is asked again with it",
    },
    MappingKey {
        name: "associations",
        shape: ValueShape::Time,
        default: r#"`"24h"`"#,
        meaning: "one rotation over all records' associations, from 1 s to 365 d; evenly spread, a thousand records at a time, and made up for after a stop",
    },
];
/// `[schedule]`.
pub(crate) const SCHEDULE: &[&str] = &names::<{ SCHEDULE_KEYS.len() }>(SCHEDULE_KEYS);

/// `[webhooks]`, key by key.
pub(crate) const WEBHOOKS_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "listen",
        shape: ValueShape::Text,
        default: r#"`"127.0.0.1:8787"`"#,
        meaning: "address and port",
    },
    MappingKey {
        name: "path",
        shape: ValueShape::Text,
        default: r#"`"/webhooks/hubspot"`"#,
        meaning: "the path that takes deliveries",
    },
    MappingKey {
        name: "public_url",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "the whole URL that HubSpot calls, and signs: scheme, host and path as HubSpot sees them",
    },
    MappingKey {
        name: "client_secret",
        shape: ValueShape::AnyOf(&[
            ValueShape::Table(SECRET_KEYS),
            ValueShape::List(&ValueShape::Table(SECRET_KEYS)),
        ]),
        default: r#"`{ env = "HUBSPOT_CLIENT_SECRET" }`"#,
        meaning: "the app's secret; a list of two while it is being changed",
    },
    MappingKey {
        name: "signature",
        shape: ValueShape::OneOf(&["v3", "v2", "v1"]),
        default: r#"`"v3"`"#,
        meaning: "`v3`; `v2` and `v1` carry no time, so whoever has seen a delivery can send it again",
    },
    MappingKey {
        name: "app_id",
        shape: ValueShape::Whole(1, u64::MAX >> 1),
        default: "none",
        meaning: "the app's number, for `webhooks apply` by API, with `developer_key`",
    },
    MappingKey {
        name: "developer_key",
        shape: ValueShape::Table(SECRET_KEYS),
        default: "none",
        meaning: "a developer account's key, for the same",
    },
    MappingKey {
        name: "max_body",
        shape: ValueShape::Size,
        default: r#"`"1MiB"`"#,
        meaning: "the largest delivery; 1KiB to 64MiB",
    },
    MappingKey {
        name: "max_connections",
        shape: ValueShape::Whole(1, 4096),
        default: "`64`",
        meaning: "at the same time; the oldest idle one makes room for another",
    },
    MappingKey {
        name: "tls",
        shape: ValueShape::Table(TLS_KEYS),
        default: "none",
        meaning: r#"`{ cert = "PATH", key = "PATH" }`: TLS ends here; both files are read again when they change"#,
    },
];
/// `[webhooks]`.
pub(crate) const WEBHOOKS: &[&str] = &names::<{ WEBHOOKS_KEYS.len() }>(WEBHOOKS_KEYS);

/// `[webhooks].tls`, key by key.
pub(crate) const TLS_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "cert",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "the chain, the own certificate first, as PEM",
    },
    MappingKey {
        name: "key",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "the private key as PEM",
    },
];
/// `[webhooks].tls`.
pub(crate) const TLS: &[&str] = &names::<{ TLS_KEYS.len() }>(TLS_KEYS);

/// `[http]`, key by key.
pub(crate) const HTTP_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "listen",
        shape: ValueShape::Text,
        default: r#"`"127.0.0.1:9187"`"#,
        meaning: "address and port of `/healthz`, `/readyz`, `/metrics` and the page under `/`; one that other machines reach needs a `token`",
    },
    MappingKey {
        name: "token",
        shape: ValueShape::Table(SECRET_KEYS),
        default: "none",
        meaning: "what `/metrics` and the page ask for, as `Authorization: Bearer TOKEN`; `/healthz` and `/readyz` answer without it",
    },
];
/// `[http]`.
pub(crate) const HTTP: &[&str] = &names::<{ HTTP_KEYS.len() }>(HTTP_KEYS);

/// `[conflicts]`, key by key.
pub(crate) const CONFLICTS_KEYS: &[MappingKey] = &[MappingKey {
    name: "policy",
    shape: ValueShape::OneOf(&["remote", "local", "newest", "manual"]),
    default: r#"`"newest"`"#,
    meaning: "who wins where both sides changed one field: `remote`, `local`, `newest`, or nobody until a person decides (`manual`)",
}];
/// `[conflicts]`.
pub(crate) const CONFLICTS: &[&str] = &names::<{ CONFLICTS_KEYS.len() }>(CONFLICTS_KEYS);

/// `[log]`, key by key.
pub(crate) const LOG_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "level",
        shape: ValueShape::Text,
        default: r#"`"info"`"#,
        meaning: "`off`, `error`, `warn`, `info`, `debug`, `trace`, or parts such as `info,hubsyncd::hubspot=debug`",
    },
    MappingKey {
        name: "format",
        shape: ValueShape::OneOf(&["auto", "journal", "json", "text"]),
        default: r#"`"auto"`"#,
        meaning: "`auto`: `journal` where standard error is systemd's journal, else `text`; or `journal`, `json`, `text`",
    },
];
/// `[log]`.
pub(crate) const LOG: &[&str] = &names::<{ LOG_KEYS.len() }>(LOG_KEYS);

/// `[objects.NAME]`, key by key.
pub(crate) const OBJECT_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "object",
        shape: ValueShape::Text,
        default: "the key",
        meaning: "what HubSpot calls a custom object, where the key is another word",
    },
    MappingKey {
        name: "table",
        shape: ValueShape::Text,
        default: "the key; of an object type id the name in the portal's schema",
        meaning: "the mirror table",
    },
    MappingKey {
        name: "direction",
        shape: ValueShape::OneOf(&["both", "pull", "push"]),
        default: r#"`"both"`; `"pull"` for users"#,
        meaning: "`both`, `pull` (HubSpot to SQLite only) or `push`; users can only be pulled",
    },
    MappingKey {
        name: "key",
        shape: ValueShape::Text,
        default: r#"`"auto"`"#,
        meaning: r#"what makes creates safe to repeat: `auto` (the property `hubsyncd_key`, made before the first row becomes a record; never where none does, as under `new_records = "from_hubspot"`), the name of a unique property that is mapped and that programs fill (a *natural key*: the row's own value is sent as it stands and identifies the record; of two rows with one value the second is dead; a row without a value is made as with `none`; where HubSpot does not keep the property unique, it does only what `match` does, and `sync_fields.problem`, `status` and `once` say so), or `none`. With `direction = "pull"` no row becomes a record, so that `key` and `match` do nothing, and `check` says so (`no-effect`)"#,
    },
    MappingKey {
        name: "match",
        shape: ValueShape::Text,
        default: "`key` where that is a mapped property, else `email` for contacts",
        meaning: "the property that tells which record a new row is; see below",
    },
    MappingKey {
        name: "strict_options",
        shape: ValueShape::Flag,
        default: "`false`",
        meaning: "`true`: a value that is none of a property's options in HubSpot is refused where it is written, with a sentence that names the column; the options are those of the last look (`[schedule].reference`), and what a row holds already stays. `false`: HubSpot refuses it, and its entry is dead (`invalid-option`)",
    },
    MappingKey {
        name: "backfill",
        shape: ValueShape::OneOf(&["list", "list_only", "export"]),
        default: r#"`"list"`"#,
        meaning: "how the object is read first: `list` by lists, with searches beside them where that is faster; `list_only` by lists alone; `export` not yet",
    },
    MappingKey {
        name: "on_remote_delete",
        shape: ValueShape::OneOf(&["delete", "mark", "recreate"]),
        default: r#"`"delete"`"#,
        meaning: "what an archived record does to its row: `delete` takes it away, `mark` sets `hs_archived` to 1, `recreate` makes the record anew; see below",
    },
    MappingKey {
        name: "on_local_delete",
        shape: ValueShape::OneOf(&["archive", "restore"]),
        default: r#"`"archive"`"#,
        meaning: "what a DELETE does to the record: `archive`, or nothing, and the row comes back (`restore`)",
    },
    MappingKey {
        name: "new_records",
        shape: ValueShape::OneOf(&["both", "from_hubspot", "from_local", "none"]),
        default: r#"`"both"`"#,
        meaning: "which side may make records: `both`, `from_hubspot`, `from_local` or `none`; see below",
    },
    MappingKey {
        name: "poll",
        shape: ValueShape::Rhythm,
        default: "the schedule's",
        meaning: "a duration or a cron expression",
    },
    MappingKey {
        name: "poll_idle",
        shape: ValueShape::Time,
        default: "nine times the object's own `poll`, else the schedule's",
        meaning: "the longest wait after quiet hours",
    },
    MappingKey {
        name: "conflict",
        shape: ValueShape::OneOf(&["remote", "local", "newest", "manual"]),
        default: "that of `[conflicts]`",
        meaning: "a policy; an object that flows one way can have none",
    },
    MappingKey {
        name: "properties",
        shape: ValueShape::Named(&ValueShape::AnyOf(&[
            ValueShape::Text,
            ValueShape::Table(PROPERTY_KEYS),
        ])),
        default: "the standard ones; of a custom object those that its schema names and the portal made",
        meaning: "see below",
    },
    MappingKey {
        name: "filter",
        shape: ValueShape::Reserved,
        default: "",
        meaning: "reserved",
    },
];
/// `[objects.NAME]`.
pub(crate) const OBJECT: &[&str] = &names::<{ OBJECT_KEYS.len() }>(OBJECT_KEYS);

/// A property in long form, key by key.
pub(crate) const PROPERTY_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "column",
        shape: ValueShape::Text,
        default: "the property's name",
        meaning: "the column; letters, digits and `_`. SQL's own words are fine",
    },
    MappingKey {
        name: "type",
        shape: ValueShape::OneOf(TYPES),
        default: "the portal's",
        meaning: "`string`, `number`, `decimal`, `integer`, `bool`, `date`, `datetime`, `enumeration`, `set`",
    },
    MappingKey {
        name: "direction",
        shape: ValueShape::OneOf(&["both", "pull", "push"]),
        default: "the object's",
        meaning: "may be narrower than the object's",
    },
    MappingKey {
        name: "conflict",
        shape: ValueShape::OneOf(&["remote", "local", "newest", "manual"]),
        default: "the object's",
        meaning: "a policy; a field that flows one way can have none",
    },
    MappingKey {
        name: "write",
        shape: ValueShape::OneOf(&["replace", "if_empty", "append"]),
        default: r#"`"replace"`"#,
        meaning: "how a local value is written; see below. Not for a field that flows one way",
    },
    MappingKey {
        name: "history",
        shape: ValueShape::Flag,
        default: "`true`",
        meaning: "`false`: its changes are not kept in `sync_history`; conflicts, and what gave way by `write`, are all the same",
    },
    MappingKey {
        name: "remote_history",
        shape: ValueShape::Flag,
        default: "`false`",
        meaning: "`true`: HubSpot's own history of the property is kept in `property_history`; see [the manual](operating.md)",
    },
    MappingKey {
        name: "create",
        shape: ValueShape::Table(CREATE_KEYS),
        default: "",
        meaning: "how HubSpot is to have it, where it has not: `label`, `type` and more; see [below](#properties-that-are-made)",
    },
];
/// A property in long form.
pub(crate) const PROPERTY: &[&str] = &names::<{ PROPERTY_KEYS.len() }>(PROPERTY_KEYS);

/// A property's `create`, key by key.
pub(crate) const CREATE_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "label",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "what people see",
    },
    MappingKey {
        name: "type",
        shape: ValueShape::OneOf(MADE_TYPES),
        default: "must be written",
        meaning: "`string`, `number`, `bool`, `date`, `datetime`, `enumeration`, or `set` for a checkbox property of several options",
    },
    MappingKey {
        name: "field_type",
        shape: ValueShape::Text,
        default: "what fits the type",
        meaning: "HubSpot's `fieldType`: of a `string` `text`, `textarea`, `html`, `file` or `phonenumber`, of an `enumeration` `select`, `radio`, `checkbox` or `booleancheckbox`; each other type has one alone",
    },
    MappingKey {
        name: "group",
        shape: ValueShape::Text,
        default: "the object's first",
        meaning: "the group it stands in, made where it is missing",
    },
    MappingKey {
        name: "description",
        shape: ValueShape::Text,
        default: "none",
        meaning: "what it is for",
    },
    MappingKey {
        name: "options",
        shape: ValueShape::List(&ValueShape::AnyOf(&[
            ValueShape::Text,
            ValueShape::Table(OPTION_KEYS),
        ])),
        default: "none",
        meaning: r#"of an `enumeration` or `set`: texts, or `{ value = "silver", label = "Silver" }`"#,
    },
    MappingKey {
        name: "unique",
        shape: ValueShape::Flag,
        default: "`false`",
        meaning: "whether no two records can hold one value of it; HubSpot lets nobody change that later",
    },
];
/// A property's `create`.
pub(crate) const CREATE: &[&str] = &names::<{ CREATE_KEYS.len() }>(CREATE_KEYS);

/// An option of it in long form, key by key.
pub(crate) const OPTION_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "value",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "what records hold",
    },
    MappingKey {
        name: "label",
        shape: ValueShape::Text,
        default: "the value",
        meaning: "what people see",
    },
];
/// An option of it in long form.
pub(crate) const OPTION: &[&str] = &names::<{ OPTION_KEYS.len() }>(OPTION_KEYS);

/// `[associations], each`, key by key.
pub(crate) const ASSOCIATION_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "from",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "a name of `[objects]`: rows stand from it. The other order is a pair of its own",
    },
    MappingKey {
        name: "to",
        shape: ValueShape::Text,
        default: "must be written",
        meaning: "a name of `[objects]`, which may be the same",
    },
    MappingKey {
        name: "direction",
        shape: ValueShape::OneOf(&["both", "pull", "push"]),
        default: r#"`"both"`"#,
        meaning: "who may write, as for objects",
    },
    MappingKey {
        name: "conflict",
        shape: ValueShape::OneOf(&["remote", "local", "manual"]),
        default: r#"`"remote"`"#,
        meaning: "`remote`, `local` or `manual`: who wins where both sides have changed what excludes each other, such as a contact's primary company. A pair that flows one way can have none",
    },
];
/// `[associations], each`.
pub(crate) const ASSOCIATION: &[&str] = &names::<{ ASSOCIATION_KEYS.len() }>(ASSOCIATION_KEYS);

/// `[guard]`, key by key.
pub(crate) const GUARD_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "max_archives",
        shape: ValueShape::Whole(0, u64::MAX >> 1),
        default: "`100`",
        meaning: "archives or deletions of an object on one side within `window` …",
    },
    MappingKey {
        name: "max_share",
        shape: ValueShape::Number(0.0, 1.0),
        default: "`0.05`",
        meaning: "… or this share of its rows, whichever is more",
    },
    MappingKey {
        name: "window",
        shape: ValueShape::Time,
        default: r#"`"1h"`"#,
        meaning: "1m to 30d",
    },
    MappingKey {
        name: "max_updates",
        shape: ValueShape::Whole(0, u64::MAX >> 1),
        default: "`0`",
        meaning: "the same for pushed updates; 0: no bound",
    },
    MappingKey {
        name: "max_cleared",
        shape: ValueShape::Number(0.0, 1.0),
        default: "`0.2`",
        meaning: "share of a column's values (of at least 100) that may become empty within `window`, on either side; 1: no bound",
    },
];
/// `[guard]`.
pub(crate) const GUARD: &[&str] = &names::<{ GUARD_KEYS.len() }>(GUARD_KEYS);

/// `[retention]`, key by key.
pub(crate) const RETENTION_KEYS: &[MappingKey] = &[
    MappingKey {
        name: "history",
        shape: ValueShape::Time,
        default: r#"`"90d"`"#,
        meaning: "`sync_history`",
    },
    MappingKey {
        name: "inbox",
        shape: ValueShape::Time,
        default: r#"`"7d"`"#,
        meaning: "events that are done",
    },
    MappingKey {
        name: "runs",
        shape: ValueShape::Time,
        default: r#"`"30d"`"#,
        meaning: "`sync_runs`",
    },
    MappingKey {
        name: "calls",
        shape: ValueShape::Time,
        default: r#"`"7d"`"#,
        meaning: "`sync_calls` that succeeded, 64 MiB of them at most",
    },
    MappingKey {
        name: "call_errors",
        shape: ValueShape::Time,
        default: r#"`"30d"`"#,
        meaning: "`sync_calls` that failed, 64 MiB of them at most",
    },
    MappingKey {
        name: "max_size",
        shape: ValueShape::Size,
        default: r#"`"0"`"#,
        meaning: r#"of history, inbox and runs together; `"0"`: no bound"#,
    },
];
/// `[retention]`.
pub(crate) const RETENTION: &[&str] = &names::<{ RETENTION_KEYS.len() }>(RETENTION_KEYS);

/// Record filters are to come: the key is kept free for them.
pub(crate) const FILTER: &str = "filter";

/// All lists, but that of an option: `value` is a word that anybody writes, and says nothing of where a secret ends.
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

/// A table of the manual.
#[cfg(test)]
pub(crate) fn manual_table(keys: &[MappingKey]) -> String {
    let rows = keys.iter().map(|key| {
        let default = match key.default {
            "" => String::new(),
            default => format!(" {default}"),
        };
        format!(
            "| `{}` |{default} | {} |\n",
            key.name,
            key.meaning.replace('|', "\\|")
        )
    });
    let head = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    std::iter::once(head).chain(rows).collect()
}
