//! `Config`: what the mapping file says, checked, one plain struct a section, so that each part of the daemon is handed
//! only its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use crate::config::ConfigError;
use crate::config::problem::Problem;
use crate::config::schedule::Schedule;
use crate::config::secret::{PortalIdSource, SecretSource};
use crate::decide::portal::wishes::PropertyWish;
use crate::decide::quota::LimitSettings;
use crate::model::mapping::Mapping;
use crate::model::name::ObjectType;
use crate::model::settings::{ApiVersion, Checkpoint, Guard, SignatureVersion, Tier};

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[portal]`.
    pub portal: PortalSettings,
    /// `[auth]`.
    pub auth: Auth,
    /// `[database] path`; a relative one is taken from the file's folder.
    pub database: PathBuf,
    /// `[database] checkpoint`.
    pub checkpoint: Checkpoint,
    /// `[limits]`, with what the tier, or an OAuth app, says where the file doesn't.
    pub limits: LimitSettings,
    /// `[schedule]`, and each object's own `poll`.
    pub poll: PollSettings,
    /// `[webhooks]`; without it polling alone finds changes.
    pub webhooks: Option<Webhooks>,
    /// `[http]`; without it nothing listens.
    pub http: Option<HttpSettings>,
    /// `[log]`.
    pub log: LogSettings,
    /// `[guard]`.
    pub guard: Guard,
    /// `[retention]`.
    pub retention: Retention,
    /// `[objects]`.
    pub mapping: Mapping,
    /// The properties that are to be in HubSpot; `properties apply` makes them.
    pub creates: Vec<PropertyWish>,
    /// What is odd and doesn't stop anything; to be logged at the start.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Looks whether the secrets of the listeners are there for whoever runs this; the daemon does not start without them.
    ///
    /// # Errors
    /// One of them is not.
    pub(crate) fn look_for_secrets(&self) -> Result<(), ConfigError> {
        let page = self.http.iter().filter_map(|http| http.token.as_ref());
        let deliveries = self.webhooks.iter();
        let deliveries = deliveries.flat_map(|webhooks| &webhooks.client_secrets);
        page.chain(deliveries).try_for_each(SecretSource::look)
    }
}

/// How the daemon is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A static bearer token.
    Token(SecretSource),
    /// An OAuth app, after `auth login`.
    OAuth(OAuth),
}

/// An OAuth app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// The app's id.
    pub client_id: ClientId,
    /// Its secret.
    pub client_secret: SecretSource,
    /// 32 random bytes that seal the stored tokens.
    pub token_key: SecretSource,
    /// Where the browser comes back to, on this machine.
    pub redirect_uri: String,
    /// What is asked for; empty: what the mapping needs.
    pub scopes: Vec<String>,
    /// What may be declined.
    pub optional_scopes: Vec<String>,
    /// HubSpot's consent page.
    pub authorize_url: String,
    /// The token endpoint, below `base_url`.
    pub token_path: String,
}

/// An app's id, which is no secret and may be kept like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientId {
    /// In the file.
    Written(String),
    /// Elsewhere.
    Kept(SecretSource),
}

/// Where HubSpot is and what kind of account this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalSettings {
    /// The only portal to run against; `None`: any that the token opens.
    pub id: Option<PortalIdSource>,
    /// Scheme, host and port, without a slash at the end.
    pub base_url: String,
    /// The family of paths.
    pub api_version: ApiVersion,
    /// The account's tier.
    pub tier: Tier,
}

/// How often an object is asked for changes.
#[derive(Debug, Clone, PartialEq)]
pub struct PollRhythm {
    /// While something changes.
    pub poll: Schedule,
    /// Between two polls after quiet hours, at most; of no matter where `poll` is a cron expression.
    pub idle: Duration,
}

impl PollRhythm {
    /// An unwritten `poll_idle` is so many times the written `poll`.
    const IDLE: u32 = 9;

    /// The rhythm of a `poll` beside which no `poll_idle` is written.
    pub fn of(poll: Schedule) -> Self {
        let idle = poll.interval() * Self::IDLE;
        Self { poll, idle }
    }

    /// The longest wait between two polls, where it may differ from what is written: a cron expression is met as written.
    pub(crate) fn longest(&self) -> Option<Duration> {
        match self.poll {
            Schedule::Every(_) => Some(self.idle),
            Schedule::Cron(_) => None,
        }
    }
}

/// When HubSpot is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct PollSettings {
    /// For changes, where an object doesn't say otherwise.
    pub poll: PollRhythm,
    /// For changes of the objects that do.
    pub objects: Vec<(ObjectType, PollRhythm)>,
    /// For everything.
    pub reconcile: Schedule,
    /// The zone of all cron expressions.
    pub timezone: Tz,
    /// How far each poll's window reaches back into the last one.
    pub overlap: Duration,
    /// How long after its end each window is walked again.
    pub again: Vec<Duration>,
    /// Between two polls while webhooks are healthy.
    pub poll_with_webhooks: Duration,
    /// Between two reads of owners, pipelines and properties.
    pub reference: Duration,
    /// One rotation over all records' associations.
    pub associations: Duration,
}

impl PollSettings {
    /// When an object is polled.
    pub fn of(&self, object: &ObjectType) -> &PollRhythm {
        let own = self.objects.iter().find(|(name, _)| name == object);
        own.map_or(&self.poll, |(_, rhythm)| rhythm)
    }
}

/// Where health, metrics and the page are served, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// What whoever asks for more than health must show; `None`: everybody on this machine may ask.
    pub token: Option<SecretSource>,
}

/// Where HubSpot's deliveries arrive, and how they are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// The path that takes deliveries.
    pub path: String,
    /// The whole URL that HubSpot calls.
    pub public_url: String,
    /// The app's secret; two while it is being changed.
    pub client_secrets: Vec<SecretSource>,
    /// How deliveries are signed.
    pub signature: SignatureVersion,
    /// The app whose subscriptions `webhooks apply` makes by API.
    pub app_id: Option<u64>,
    /// The developer account's key for that.
    pub developer_key: Option<SecretSource>,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Certificate and key; without them a proxy in front ends TLS.
    pub tls: Option<TlsFiles>,
}

/// A certificate's files; they are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the own certificate first, as PEM.
    pub cert: PathBuf,
    /// The private key as PEM.
    pub key: PathBuf,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A level, or `target=level` parts with commas between.
    pub level: String,
    /// The form.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// By what standard error is: for the journal where it is the journal's, else for people.
    Auto,
    /// For systemd's journal: no time and no colour, which the journal has itself.
    Journal,
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Text,
}

/// What the daemon may forget, by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `sync_history`.
    pub history: Duration,
    /// Events that are done.
    pub inbox: Duration,
    /// `sync_runs`.
    pub runs: Duration,
    /// `sync_calls` that succeeded.
    pub calls: Duration,
    /// `sync_calls` that failed.
    pub call_errors: Duration,
    /// Bytes of the first three together; 0: no bound.
    pub max_size: u64,
}
