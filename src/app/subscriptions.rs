//! `webhooks list` and `webhooks apply`: what the mapping wants of the app, what the app has, and how it can be changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;
use thiserror::Error;

use crate::app::calls::CommandCalls;
use crate::clock::Clock;
use crate::config::{Auth, Config, ConfigError, Webhooks};
use crate::decide::portal::subscriptions::{
    self, CONCURRENT, FoundSubscription, MOST, Plan, Subscription, project,
};
use crate::hubspot::Client;
use crate::hubspot::call::limiter::{LeaseFn, Limiter, StartState};
use crate::hubspot::call::transport::{ReqwestTransport, TransportSetupError};
use crate::hubspot::endpoints::subscriptions::{
    AppSettings, Developer, SubscriptionError, TokenKind,
};

/// Where a project keeps its webhooks.
const PROJECT_FILE: &str = "src/app/webhooks/webhooks-hsmeta.json";

/// What makes a folder a project.
const PROJECT_MARK: &str = "hsproject.json";

/// Why nothing could be shown or changed.
#[derive(Debug, Error)]
pub enum WebhooksError {
    /// There is no URL to subscribe for.
    #[error("the mapping file has no `[webhooks]`")]
    NoSection,
    /// A secret is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The HTTP client.
    #[error(transparent)]
    Transport(#[from] TransportSetupError),
    /// HubSpot.
    #[error(transparent)]
    Hubspot(#[from] SubscriptionError),
    /// More than an app may have.
    #[error("the mapping wants {0} subscriptions, and an app may have {MOST}")]
    TooMany(usize),
    /// Together with what the app has.
    #[error(
        "with {there} subscriptions that are there and {new} new ones it would be more than the {MOST} of an app"
    )]
    TooManyTogether {
        /// Those of the app, paused ones too.
        there: usize,
        /// Those that the plan makes.
        new: usize,
    },
    /// The folder is no project.
    #[error("`{}` is no HubSpot project: it has no {PROJECT_MARK}", .0.display())]
    NoProject(PathBuf),
    /// The project's file can't be read or written.
    #[error("can't use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The project's file holds something else.
    #[error("`{}` is no JSON object of type `webhooks`", .0.display())]
    NotAProjectFile(PathBuf),
    /// A part of the project's file is not what HubSpot describes.
    #[error("`{place}` in `{}` is not as HubSpot describes it", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The part.
        place: &'static str,
    },
}

impl WebhooksError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSection => {
                "write `[webhooks]` with the URL that HubSpot is to call; see docs/webhooks.md"
            }
            Self::Config(error) => return error.hint(),
            Self::Transport(error) => return error.hint().map(str::to_owned),
            Self::Hubspot(error) => return error.hint().map(str::to_owned),
            Self::TooManyTogether { .. } => {
                "delete those of the app that nobody needs, paused ones count too; or map fewer properties"
            }
            Self::TooMany(_) => "map fewer properties, or leave the rest to polling",
            Self::NoProject(_) => "give the folder that `hs project create` made",
            Self::NotAProjectFile(_) => "move it away; it is written anew",
            Self::Shape { .. } => "correct it, or move the file away; it is written anew",
            Self::File { .. } => "look whose the file and its folder are, and run this again",
        };
        Some(hint.to_owned())
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoSection => "no-webhooks",
            Self::Config(error) => return error.code(),
            Self::Transport(error) => error.code(),
            Self::Hubspot(error) => error.code(),
            Self::TooMany(_) | Self::TooManyTogether { .. } => "too-many-subscriptions",
            Self::NoProject(_) => "no-project",
            Self::File { .. } => "file-unusable",
            Self::NotAProjectFile(_) | Self::Shape { .. } => "no-project-file",
        })
    }

    /// Whether the file or a secret must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self, Self::NoSection | Self::Config(_) | Self::Transport(_))
    }
}

/// How the app's subscriptions are managed.
#[derive(Debug)]
pub enum SubscriptionWay {
    /// By API.
    Api {
        /// The app's number.
        app_id: u64,
        /// What it has set: the URL that it calls.
        settings: AppSettings,
        /// What it has.
        found: Vec<FoundSubscription>,
        /// What makes it match.
        plan: Plan,
    },
    /// In HubSpot's pages, or as a project.
    ByHand {
        /// The app, where HubSpot said it.
        app_id: Option<u64>,
    },
    /// Not at all.
    ServiceKey,
    /// HubSpot refuses the portal's token, which would tell the kind of app.
    RefusedToken,
}

/// The mapping's wishes and the way to them.
pub struct SubscriptionPlan {
    /// The URL that HubSpot is to call.
    pub public_url: String,
    /// What is wanted.
    pub wanted: BTreeSet<Subscription>,
    /// How it is managed.
    pub way: SubscriptionWay,
    client: Client,
    _calls: CommandCalls,
    developer: Option<Developer>,
}

/// Looks at mapping and app.
///
/// # Errors
/// There is no `[webhooks]`, or HubSpot can't be asked.
pub async fn look(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<SubscriptionPlan, WebhooksError> {
    let webhooks = section(config)?;
    let wanted = subscriptions::wanted(&config.mapping);
    if wanted.len() > MOST {
        return Err(WebhooksError::TooMany(wanted.len()));
    }
    let client = client(config, clock)?;
    let calls = CommandCalls::of(&client, &config.database, clock);
    let developer = developer(webhooks)?;
    let way = match &developer {
        Some(developer) => {
            let settings = client.webhook_settings(developer).await?;
            let found = client.subscriptions(developer).await?;
            let set = (settings.target.as_deref(), settings.concurrent);
            let plan = subscriptions::plan(&wanted, &found, set, &webhooks.public_url);
            SubscriptionWay::Api {
                app_id: developer.app_id,
                settings,
                found,
                plan,
            }
        }
        None => by_hand(config, &client).await?,
    };
    Ok(SubscriptionPlan {
        public_url: webhooks.public_url.clone(),
        wanted,
        way,
        client,
        _calls: calls,
        developer,
    })
}

fn section(config: &Config) -> Result<&Webhooks, WebhooksError> {
    config.webhooks.as_ref().ok_or(WebhooksError::NoSection)
}

fn developer(webhooks: &Webhooks) -> Result<Option<Developer>, WebhooksError> {
    let (Some(app_id), Some(source)) = (webhooks.app_id, &webhooks.developer_key) else {
        return Ok(None);
    };
    Ok(Some(Developer {
        app_id,
        key: source.resolve()?,
    }))
}

async fn by_hand(config: &Config, client: &Client) -> Result<SubscriptionWay, WebhooksError> {
    let Auth::Token(source) = &config.auth else {
        return Ok(SubscriptionWay::ByHand { app_id: None });
    };
    let token: SecretString = source.resolve()?;
    Ok(match client.token_kind(&token).await? {
        TokenKind::App(app_id) => SubscriptionWay::ByHand {
            app_id: Some(app_id),
        },
        TokenKind::ServiceKey => SubscriptionWay::ServiceKey,
        TokenKind::Refused => SubscriptionWay::RefusedToken,
    })
}

/// A client that sends no token of the portal: the developer API takes none.
fn client(config: &Config, clock: &Arc<dyn Clock>) -> Result<Client, WebhooksError> {
    let transport = Arc::new(ReqwestTransport::new(&config.portal.base_url)?);
    let lease: LeaseFn = Arc::new(|_request| Box::pin(async { Ok(()) }));
    let limiter = Limiter::new(
        config.limits,
        Arc::clone(clock),
        lease,
        &StartState::default(),
    );
    let version = config.portal.api_version;
    Ok(Client::logged_out(
        transport,
        limiter,
        Arc::clone(clock),
        version,
    ))
}

impl SubscriptionPlan {
    /// Whether the app can have what the plan makes beside what it has.
    ///
    /// # Errors
    /// [`WebhooksError::TooManyTogether`].
    pub(crate) fn check_bound(&self) -> Result<(), WebhooksError> {
        match &self.way {
            SubscriptionWay::Api { plan, found, .. } => check_bound(found.len(), plan.create.len()),
            SubscriptionWay::ByHand { .. }
            | SubscriptionWay::ServiceKey
            | SubscriptionWay::RefusedToken => Ok(()),
        }
    }

    /// Carries the plan out, a step at a time; `done` is told each line. A step that HubSpot refuses is told and the next
    /// one taken; tells how many were refused.
    ///
    /// # Errors
    /// HubSpot refuses the key or the target URL, or can't be reached; what was done stays done. Applying again goes on.
    pub async fn apply(&self, done: &mut dyn FnMut(&str)) -> Result<usize, WebhooksError> {
        let (SubscriptionWay::Api { plan, settings, .. }, Some(developer)) =
            (&self.way, &self.developer)
        else {
            return Ok(0);
        };
        if let Some(url) = &plan.target {
            let many = settings
                .concurrent
                .or(plan.concurrent)
                .unwrap_or(CONCURRENT);
            self.client
                .set_webhook_target(developer, url, many, settings)
                .await?;
            done(&format!("set the target URL to {url}"));
        }
        let mut refused = 0;
        let mut tell = |step: Result<(), SubscriptionError>, line: String| match step {
            Ok(()) => {
                done(&line);
                Ok(())
            }
            Err(error) if is_of_one(&error) => {
                refused += 1;
                done(&format!("not {line}: {error}"));
                Ok(())
            }
            Err(error) => Err(error),
        };
        for subscription in &plan.create {
            let step = self.client.subscribe(developer, subscription).await;
            tell(step, format!("subscribed {subscription}"))?;
        }
        for (id, subscription) in &plan.activate {
            let step = self.client.set_active(developer, id, true).await;
            tell(step, format!("switched on {subscription}"))?;
        }
        for (id, subscription) in &plan.pause {
            let step = self.client.set_active(developer, id, false).await;
            tell(step, format!("paused {subscription}"))?;
        }
        Ok(refused)
    }
}

/// Whether HubSpot refused one subscription, which says nothing about the others.
fn is_of_one(error: &SubscriptionError) -> bool {
    match error {
        SubscriptionError::Refused { status, .. } => (400..500).contains(status) && *status != 429,
        SubscriptionError::Unauthorized { .. }
        | SubscriptionError::Unreadable
        | SubscriptionError::Transport(_) => false,
    }
}

fn check_bound(there: usize, new: usize) -> Result<(), WebhooksError> {
    if new > 0 && there + new > MOST {
        return Err(WebhooksError::TooManyTogether { there, new });
    }
    Ok(())
}

/// A project's file as it would be.
#[derive(Debug)]
pub(crate) struct ProjectFile {
    /// Where it stands.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What changes in it, a line each; none where it is so already.
    pub changes: Vec<String>,
}

/// What the mapping wants, as a project's `webhooks-hsmeta.json`. What else the file holds is kept.
///
/// # Errors
/// The folder is no project, or its file is something else.
pub(crate) fn project_file(config: &Config, folder: &Path) -> Result<ProjectFile, WebhooksError> {
    let webhooks = section(config)?;
    let wanted = subscriptions::wanted(&config.mapping);
    if wanted.len() > MOST {
        return Err(WebhooksError::TooMany(wanted.len()));
    }
    if !folder.join(PROJECT_MARK).is_file() {
        return Err(WebhooksError::NoProject(folder.to_owned()));
    }
    let path = folder.join(PROJECT_FILE);
    let former = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(WebhooksError::File { path, source }),
    };
    let former = match former {
        None => None,
        Some(text) => Some(
            serde_json::from_str::<Value>(&text)
                .ok()
                .filter(|value| value["type"] == "webhooks")
                .ok_or_else(|| WebhooksError::NotAProjectFile(path.clone()))?,
        ),
    };
    let merged = match project::merge(former, &wanted, &webhooks.public_url) {
        Ok(merged) => merged,
        Err(place) => return Err(WebhooksError::Shape { path, place }),
    };
    check_bound(merged.there, merged.new)?;
    Ok(ProjectFile {
        text: serde_json::to_string_pretty(&merged.file).unwrap_or_default() + "\n",
        changes: merged.changes,
        path,
    })
}

impl ProjectFile {
    /// Writes it, its folder too.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn write(&self) -> Result<(), WebhooksError> {
        let written = self
            .path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| {
                // Never half a file: others' settings are in it too.
                let whole = self.path.with_extension("json.new");
                std::fs::write(&whole, &self.text)?;
                std::fs::rename(&whole, &self.path)
            });
        written.map_err(|source| WebhooksError::File {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_app_has_counts_towards_the_bound() {
        assert!(check_bound(990, 10).is_ok());
        assert!(check_bound(1_200, 0).is_ok(), "nothing is made");
        let error = check_bound(991, 10).expect_err("one too many");
        assert!(
            error
                .to_string()
                .contains("991 subscriptions that are there and 10 new")
        );
    }
}
