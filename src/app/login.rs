//! `auth login`, `auth status` and `auth logout`: a consent in the browser, and the installation that it leaves.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use percent_encoding::percent_decode_str;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::Transaction;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::app::calls::CommandCalls;
use crate::clock::Clock;
use crate::config::{Auth, ClientId, Config, ConfigError, OAuth, PortalIdSource, SecretSource};
use crate::decide::portal::scopes;
use crate::engine::portal::tokens::{Keeper, tokens_of};
use crate::http::callback::{self, IsAwaited};
use crate::hubspot::call::limiter::{LeaseFn, Limiter, StartState};
use crate::hubspot::call::oauth::{App, OAuthError, TokenGrant, with_query};
use crate::hubspot::call::transport::{ReqwestTransport, TransportSetupError};
use crate::hubspot::{BadToken, Client, HubspotError};
use crate::model::id::PortalId;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::seal::{SealError, Sealer};
use crate::store::tokens::{self, Installation, Nobody, Own, Tokens};

/// How long somebody may take over the consent.
const CONSENT: Duration = Duration::from_mins(10);

/// How long it is tried to keep what HubSpot gave in a locked database. The consent can't be repeated by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Why a login, a logout or a look at them failed.
#[derive(Debug, Error)]
pub enum LoginError {
    /// There is nothing to log in to.
    #[error("the mapping file has a static token: there is nothing to log in to")]
    Static,
    /// A secret is missing or malformed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key of the tokens is none, or another one than before.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client.
    #[error(transparent)]
    Transport(#[from] TransportSetupError),
    /// The token endpoint.
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    /// HubSpot gave a token that can't be sent.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// HubSpot did not say whose token it is.
    #[error(transparent)]
    Hubspot(#[from] HubspotError),
    /// The callback's address can't be listened on.
    #[error("can't listen on `{address}`")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody came back from the consent page.
    #[error("nobody came back from HubSpot's consent page within 10 minutes")]
    TooLate,
    /// The person, or HubSpot, said no.
    #[error("HubSpot sent the browser back without a code: {0}")]
    Declined(String),
    /// HubSpot gave no refresh token.
    #[error("HubSpot gave no refresh token")]
    NoRefreshToken,
    /// The consent was for another portal.
    #[error("the consent was for portal {found}, and the mapping file is for portal {expected}")]
    OtherPortal {
        /// The consent's.
        found: PortalId,
        /// The file's.
        expected: PortalId,
    },
    /// Not everything was granted that the mapping needs.
    #[error("these scopes were not granted: {}", .0.join(", "))]
    MissingScopes(Vec<String>),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// HubSpot gave a grant that could not be kept.
    #[error("{reason}; {outcome}")]
    NotKept {
        /// Why.
        reason: Box<LoginError>,
        /// What became of the grant.
        outcome: String,
    },
}

impl LoginError {
    /// What somebody can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Static => "write `[auth.oauth]` in place of `access_token` to use an OAuth app",
            Self::Config(error) => return error.hint(),
            Self::Seal(SealError::OtherKey) => {
                "give `token_key` the key of the last login, or log in again with `hubsyncd auth login`"
            }
            Self::Seal(SealError::NotAKey) => "make one with `openssl rand -base64 32`",
            Self::Store(error) => return error.hint().map(str::to_owned),
            Self::OAuth(OAuthError::Refused { .. }) => {
                "check `client_id`, `client_secret` and `redirect_uri` against the app's `Auth` page"
            }
            Self::OAuth(error) => error.hint(),
            Self::Hubspot(error) => return error.hint().map(Cow::into_owned),
            Self::Listen { .. } => "free the port, or register and write another `redirect_uri`",
            Self::TooLate | Self::Declined(_) => "begin again with `hubsyncd auth login`",
            Self::OtherPortal { .. } => "log in again and choose the other account",
            Self::MissingScopes(_) => {
                "add them to the app's scopes in HubSpot, and log in again; a scope that was added takes effect with a new consent"
            }
            Self::Transport(error) => return error.hint().map(str::to_owned),
            Self::NotKept { reason, .. } => return reason.hint(),
            Self::Token(_) | Self::NoRefreshToken => {
                "begin again with `hubsyncd auth login`; if it comes again, look at the app in HubSpot"
            }
            Self::Seal(SealError::NoRandom) | Self::NoRandom => return None,
        };
        Some(hint.to_owned())
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Static => "static-token",
            Self::Config(error) => return error.code(),
            Self::Seal(_) => "token-key",
            Self::Store(error) => error.code(),
            Self::Transport(error) => error.code(),
            Self::OAuth(error) => error.code(),
            Self::Token(_) => "token-malformed",
            Self::Hubspot(error) => error.code(),
            Self::Listen { .. } => "address-taken",
            Self::TooLate | Self::Declined(_) => "no-consent",
            Self::NoRefreshToken => "no-refresh-token",
            Self::OtherPortal { .. } => "other-portal",
            Self::MissingScopes(_) => "missing-scope",
            Self::NoRandom => "no-random",
            Self::NotKept { reason, .. } => return reason.code(),
        })
    }

    /// Whether the file, a secret or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Static | Self::Config(_) | Self::Transport(_) => true,
            Self::Seal(error) => *error != SealError::NoRandom,
            Self::Store(error) => error.is_configuration(),
            Self::NotKept { reason, .. } => reason.is_configuration(),
            Self::OAuth(_)
            | Self::Token(_)
            | Self::Hubspot(_)
            | Self::Listen { .. }
            | Self::TooLate
            | Self::Declined(_)
            | Self::NoRefreshToken
            | Self::OtherPortal { .. }
            | Self::MissingScopes(_)
            | Self::NoRandom => false,
        }
    }
}

/// The app of a mapping file, and the key of its tokens.
pub(crate) struct LoginApp<'c> {
    config: &'c Config,
    oauth: &'c OAuth,
    app: App,
    sealer: Sealer,
    portal: Option<PortalId>,
}

impl<'c> LoginApp<'c> {
    /// Resolves the app's secrets.
    ///
    /// # Errors
    /// The file has a static token, or a secret is missing.
    pub(crate) fn new(config: &'c Config) -> Result<Self, LoginError> {
        let Auth::OAuth(oauth) = &config.auth else {
            return Err(LoginError::Static);
        };
        let (app, sealer) = app_of(oauth)?;
        let portal = config
            .portal
            .id
            .as_ref()
            .map(PortalIdSource::resolve)
            .transpose()?;
        Ok(Self {
            config,
            oauth,
            app,
            sealer,
            portal,
        })
    }

    /// What is asked for: the file's scopes, else what the mapping needs.
    fn scopes(&self) -> BTreeSet<String> {
        match self.oauth.scopes.is_empty() {
            true => scopes::needed(&self.config.mapping),
            false => self.oauth.scopes.iter().cloned().collect(),
        }
    }

    fn client(&self, clock: &Arc<dyn Clock>) -> Result<Client, LoginError> {
        let transport = Arc::new(ReqwestTransport::new(&self.config.portal.base_url)?);
        let start = StartState::default();
        // A handful of requests in another process than the daemon's: its reserve holds them.
        let lease: LeaseFn = Arc::new(|_request| Box::pin(async { Ok(()) }));
        let limiter = Limiter::new(self.config.limits, Arc::clone(clock), lease, &start);
        Ok(Client::logged_out(
            transport,
            limiter,
            Arc::clone(clock),
            self.config.portal.api_version,
        ))
    }

    /// Runs the consent: `show` is told the URL to open. Keeps the installation that comes of it.
    ///
    /// # Errors
    /// Nobody consents, HubSpot refuses, a scope is missing, or the database can't keep it.
    pub(crate) async fn login(
        &self,
        clock: &Arc<dyn Clock>,
        show: &mut dyn FnMut(&str),
    ) -> Result<Login, LoginError> {
        let (state, verifier) = (random()?, random()?);
        let redirect = Redirect::of(&self.oauth.redirect_uri);
        let listeners = callback::bind(&redirect.host, redirect.port)
            .await
            .map_err(|source| LoginError::Listen {
                address: self.oauth.redirect_uri.clone(),
                source,
            })?;
        let asked = self.scopes();
        show(&self.consent_url(&asked, &state, &verifier));
        let awaited = state.clone();
        let is_awaited: IsAwaited = Arc::new(move |query| has_state(query, &awaited));
        let wait = callback::wait(listeners, &redirect.path, is_awaited);
        let returned = tokio::time::timeout(CONSENT, wait)
            .await
            .map_err(|_elapsed| LoginError::TooLate)?
            .ok_or(LoginError::TooLate)?;
        let Some(code) = parameter(&returned.query, "code") else {
            return Err(LoginError::Declined(declined(&returned.query)));
        };
        let client = self.client(clock)?;
        let _calls = CommandCalls::of(&client, &self.config.database, clock);
        let asked_at = clock.now();
        let grant = client
            .exchange_code(&self.app, &code, &self.oauth.redirect_uri, &verifier)
            .await?;
        match self.keep(&client, clock, &grant, asked_at, &asked).await {
            Ok(login) => Ok(login),
            Err(error) => Err(self.give_back(&client, &grant, error).await),
        }
    }

    /// A grant that is not kept would live on in HubSpot: it is revoked as far as it goes, and the error says it.
    async fn give_back(
        &self,
        client: &Client,
        grant: &TokenGrant,
        error: LoginError,
    ) -> LoginError {
        let Some(refresh) = &grant.refresh_token else {
            return error;
        };
        if let LoginError::OtherPortal { .. } = error {
            // HubSpot may give one token twice, and that portal's own database may live by it.
            return LoginError::NotKept {
                reason: Box::new(error),
                outcome: "the grant that HubSpot gave for it was left as it is: uninstall the app there if nothing else uses it".to_owned(),
            };
        }
        let outcome = match self.is_in_use(refresh) {
            Ok(false) => match self.revoke_token(client, refresh).await {
                None => "the grant that HubSpot gave was revoked".to_owned(),
                Some(why) => format!(
                    "the grant that HubSpot gave could not be revoked ({why}): uninstall the app there to end its access"
                ),
            },
            Ok(true) => "the earlier login goes on".to_owned(),
            Err(why) => format!(
                "the grant that HubSpot gave was not revoked, since an earlier login may live by it ({why})"
            ),
        };
        LoginError::NotKept {
            reason: Box::new(error),
            outcome,
        }
    }

    /// Whether an earlier login has the same refresh token: HubSpot may give it again.
    fn is_in_use(&self, refresh: &SecretString) -> Result<bool, StoreError> {
        let all = tokens::look(&self.config.database, tokens::all)?.unwrap_or_default();
        let same = |one: &Installation| {
            one.open(&self.sealer)
                .is_ok_and(|tokens| tokens.refresh.expose_secret() == refresh.expose_secret())
        };
        Ok(all.iter().any(same))
    }

    async fn keep(
        &self,
        client: &Client,
        clock: &Arc<dyn Clock>,
        grant: &TokenGrant,
        asked_at: Timestamp,
        asked: &BTreeSet<String>,
    ) -> Result<Login, LoginError> {
        client.authorize(&grant.access_token, asked_at + grant.expires_in)?;
        let said = match (grant.portal_id, &grant.scopes) {
            (Some(portal), Some(scopes)) => (Some(portal), Some(scopes.clone())),
            (portal, scopes) => {
                match client.introspect(&self.app, &grant.access_token).await {
                    Ok(Some(said)) => (said.portal_id.or(portal), said.scopes.or(scopes.clone())),
                    // Only a convenience: the account tells the portal, and a missing scope shows at the first request.
                    Ok(None) => (portal, scopes.clone()),
                    Err(error) => {
                        tracing::debug!(%error, "the new token could not be introspected");
                        (portal, scopes.clone())
                    }
                }
            }
        };
        let portal = match said.0 {
            Some(portal) => portal,
            None => client.account().await?.portal_id,
        };
        if let Some(expected) = self.portal.filter(|expected| *expected != portal) {
            return Err(LoginError::OtherPortal {
                found: portal,
                expected,
            });
        }
        if let Some(granted) = &said.1 {
            let missing = scopes::missing(asked, granted);
            if !missing.is_empty() {
                return Err(LoginError::MissingScopes(missing));
            }
        }
        let tokens = tokens_of(grant, asked_at, None).ok_or(LoginError::NoRefreshToken)?;
        let sealed = tokens::seal(&self.sealer, portal, &tokens)?;
        let scopes = said.1;
        let replaced = self
            .save(clock, |tx| {
                tokens::log_in(tx, portal, &sealed, scopes.as_deref(), clock.now())
            })
            .await?;
        Ok(Login {
            portal,
            expires_at: tokens.expires_at,
            scopes,
            replaced: self.revoke(client, &replaced).await,
        })
    }

    /// Renews an installation's token, and keeps what HubSpot gives before anything is sent with it. Nobody else may renew it
    /// meanwhile: a refresh token that two use at once can be lost.
    ///
    /// # Errors
    /// HubSpot can't be reached, has revoked the grant, or the database can't keep the new one.
    pub(crate) async fn renew(
        &self,
        client: &Client,
        clock: &Arc<dyn Clock>,
        installation: &Installation,
    ) -> Result<Tokens, LoginError> {
        let (portal, generation) = (installation.portal_id, installation.generation);
        let former = self.open(installation)?;
        let asked_at = clock.now();
        let grant = match client.refresh(&self.app, &former.refresh).await {
            Err(OAuthError::Revoked { explanation }) => {
                self.save(clock, |tx| {
                    tokens::revoked(tx, portal, generation, &explanation, clock.now())
                })
                .await?;
                return Err(OAuthError::Revoked { explanation }.into());
            }
            grant => grant?,
        };
        let renewed = tokens_of(&grant, asked_at, Some(&former.refresh));
        let renewed = renewed.ok_or(LoginError::NoRefreshToken)?;
        let sealed = tokens::seal(&self.sealer, portal, &renewed)?;
        // Where somebody logged in meanwhile, theirs is kept; this one lives all the same.
        self.save(clock, |tx| tokens::renew(tx, portal, generation, &sealed))
            .await?;
        Ok(renewed)
    }

    /// Writes what must not be lost, also where another program has the database locked for a while.
    async fn save<T>(
        &self,
        clock: &Arc<dyn Clock>,
        job: impl Fn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let give_up = clock.monotonic() + PATIENCE;
        loop {
            match tokens::beside_the_daemon(&self.config.database, clock, &job) {
                Err(StoreError::Busy(_) | StoreError::Locked { .. })
                    if clock.monotonic() < give_up =>
                {
                    clock.sleep(BETWEEN_TRIES).await;
                }
                saved => return saved,
            }
        }
    }

    fn consent_url(
        &self,
        asked: &BTreeSet<String>,
        state: &SecretString,
        verifier: &SecretString,
    ) -> String {
        let challenge = digest::digest(&digest::SHA256, verifier.expose_secret().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let (scope, optional) = (asked.join(" "), self.oauth.optional_scopes.join(" "));
        let mut fields = vec![
            ("client_id", self.app.client_id.as_str()),
            ("redirect_uri", &self.oauth.redirect_uri),
            ("scope", &scope),
            ("state", state.expose_secret()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if !optional.is_empty() {
            fields.push(("optional_scope", &optional));
        }
        with_query(&self.oauth.authorize_url, &fields)
    }

    /// The installation that this database uses, or why there is none.
    ///
    /// # Errors
    /// The database can't be read.
    pub(crate) fn installation(&self) -> Result<Own, LoginError> {
        let found = tokens::look(&self.config.database, |connection| {
            tokens::own(connection, self.portal)
        })?;
        Ok(found.unwrap_or_else(|| Own::Nobody(Nobody::default())))
    }

    /// Opens an installation's tokens.
    ///
    /// # Errors
    /// They were sealed with another key.
    pub(crate) fn open(&self, installation: &Installation) -> Result<Tokens, LoginError> {
        Ok(installation.open(&self.sealer)?)
    }

    /// Revokes as far as it goes.
    async fn revoke(&self, client: &Client, all: &[Installation]) -> Vec<LoginEnded> {
        let mut ended = Vec::with_capacity(all.len());
        for one in all {
            let problem = match self.open(one) {
                Ok(tokens) => self.revoke_token(client, &tokens.refresh).await,
                Err(error) => Some(error.to_string()),
            };
            ended.push(LoginEnded {
                portal: one.portal_id,
                problem,
            });
        }
        ended
    }

    /// Why a refresh token could not be revoked.
    async fn revoke_token(&self, client: &Client, refresh: &SecretString) -> Option<String> {
        match client.revoke(&self.app, refresh).await {
            Ok(true) => None,
            Ok(false) => {
                Some("the old token endpoint can't revoke without the token in a URL".to_owned())
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Revokes the refresh tokens and forgets every installation, those to other portals too. What could not be revoked is
/// forgotten all the same, and said: a lost key or secret keeps nobody logged in.
///
/// # Errors
/// The file has a static token, or the database can't be written.
pub async fn logout(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<LoginEnded>, LoginError> {
    if !matches!(config.auth, Auth::OAuth(_)) {
        return Err(LoginError::Static);
    }
    let all = tokens::look(&config.database, tokens::all)?.unwrap_or_default();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let entry = LoginApp::new(config).and_then(|entry| {
        let client = entry.client(clock)?;
        let calls = CommandCalls::of(&client, &config.database, clock);
        Ok((entry, client, calls))
    });
    let ended = match entry {
        Ok((entry, client, _calls)) => entry.revoke(&client, &all).await,
        Err(error) => all
            .iter()
            .map(|one| LoginEnded {
                portal: one.portal_id,
                problem: Some(error.to_string()),
            })
            .collect(),
    };
    tokens::beside_the_daemon(&config.database, clock, |tx| {
        for one in &all {
            tokens::log_out(tx, one.portal_id)?;
        }
        Ok(())
    })?;
    Ok(ended)
}

/// What a login left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The portal.
    pub portal: PortalId,
    /// When the first access token dies.
    pub expires_at: Timestamp,
    /// What was granted, where HubSpot said it.
    pub scopes: Option<Vec<String>>,
    /// Logins to other portals, which a database can't have beside it.
    pub replaced: Vec<LoginEnded>,
}

/// An installation that was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEnded {
    /// The portal.
    pub portal: PortalId,
    /// Why its refresh token was not revoked, where it was not.
    pub problem: Option<String>,
}

/// The app and the key of its tokens.
///
/// # Errors
/// A secret is missing, or the key is none.
pub(crate) fn app_of(oauth: &OAuth) -> Result<(App, Sealer), LoginError> {
    let client_id = match &oauth.client_id {
        ClientId::Written(id) => id.clone(),
        ClientId::Kept(source) => source.resolve()?.expose_secret().to_owned(),
    };
    let app = App {
        client_id,
        client_secret: oauth.client_secret.resolve()?,
        token_path: oauth.token_path.clone(),
    };
    let key: &SecretSource = &oauth.token_key;
    Ok((app, Sealer::new(&key.resolve()?)?))
}

/// A keeper of an app's tokens.
///
/// # Errors
/// As [`app_of`].
pub(crate) fn keeper_of(oauth: &OAuth) -> Result<Keeper, LoginError> {
    let (app, sealer) = app_of(oauth)?;
    Ok(Keeper::new(app, sealer))
}

/// Where the browser comes back to.
struct Redirect {
    host: String,
    port: u16,
    path: String,
}

impl Redirect {
    fn of(uri: &str) -> Self {
        let parsed = uri.parse::<Uri>().unwrap_or_default();
        Self {
            host: parsed.host().unwrap_or("localhost").to_owned(),
            port: parsed.port_u16().unwrap_or(8976),
            path: parsed.path().to_owned(),
        }
    }
}

/// 256 random bits as text: a state, and a verifier of 43 letters as PKCE wants it.
fn random() -> Result<SecretString, LoginError> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_says_nothing| LoginError::NoRandom)?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes)))
}

/// A parameter of a query, unescaped.
fn parameter(query: &str, name: &str) -> Option<String> {
    let found = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(own, _)| *own == name)?;
    let text = found.1.replace('+', " ");
    Some(percent_decode_str(&text).decode_utf8_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Whether a redirect answers our own question: it carries the whole state and no part of it.
fn has_state(query: &str, state: &SecretString) -> bool {
    parameter(query, "state").is_some_and(|own| own == state.expose_secret())
}

/// HubSpot's words for a consent that was not given.
fn declined(query: &str) -> String {
    let error = parameter(query, "error").unwrap_or_else(|| "no reason given".to_owned());
    let explanation = parameter(query, "error_description").map_or(error.clone(), |explanation| {
        format!("{error}: {explanation}")
    });
    explanation
        .chars()
        .filter(|letter| !letter.is_control())
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_s_parameters_are_unescaped() {
        let query = "code=a%2Bb&state=x&error_description=not+now";
        assert_eq!(parameter(query, "code").as_deref(), Some("a+b"));
        assert_eq!(
            parameter(query, "error_description").as_deref(),
            Some("not now")
        );
        assert_eq!(parameter(query, "none"), None);
        assert_eq!(
            declined("error=access_denied&error_description=No%0Athanks"),
            "access_denied: Nothanks"
        );
    }

    #[test]
    fn the_whole_state_must_match_and_not_its_beginning() {
        let state = SecretString::from("abcdef");
        assert!(has_state("code=1&state=abcdef", &state));
        for other in [
            "",
            "abcde",
            "bcdef",
            "abcdefg",
            "ABCDEF",
            "abcdef%00",
            "+abcdef",
        ] {
            assert!(
                !has_state(&format!("code=1&state={other}"), &state),
                "{other}"
            );
        }
        assert!(!has_state("code=abcdef", &state));
        assert!(!has_state("state=x&state=abcdef", &state));
    }

    #[test]
    fn the_redirect_s_parts_are_where_it_listens() {
        let redirect = Redirect::of("http://localhost:8976/callback");
        assert_eq!(
            (
                redirect.host.as_str(),
                redirect.port,
                redirect.path.as_str()
            ),
            ("localhost", 8976, "/callback")
        );
    }
}
