//! The token, the account and its limits.

use std::sync::Arc;
use std::time::Duration;

use crate::app::budget::{AskError, AskingCommand};
use crate::app::client::ClientError;
use crate::app::doctor::{ALL_OF_HUBSPOT, DoctorError};
use crate::app::login::{LoginApp, LoginError};
use crate::clock::Clock;
use crate::config::{Auth, Config, PortalIdSource, SecretSource};
use crate::decide::portal::doctor::{self, CheckLine};
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::call::transport::WayThere;
use crate::hubspot::endpoints::account::Account;
use crate::hubspot::endpoints::subscriptions::TokenKind;
use crate::hubspot::{Client, HubspotError};
use crate::model::id::PortalId;
use crate::model::mapping::Sees;
use crate::model::time::Timestamp;
use crate::store::tokens::Own;
use crate::store::{meta, quota, tokens};

/// HubSpot answers: whom it was asked for, and what the token may do.
pub(super) struct Asked {
    pub(super) asking: AskingCommand,
    /// The scopes, where HubSpot says them.
    pub(super) scopes: Option<Vec<String>>,
}

/// What is known of a token before it is used.
struct TokenLook {
    /// What it is, in words.
    what: String,
    scopes: Option<Vec<String>>,
    ends_at: Option<Timestamp>,
}

/// The lines of token, portal, tier, day and clock; nothing where HubSpot can't be asked on.
pub(super) async fn ask(
    config: &Config,
    clock: &Arc<dyn Clock>,
    way: &WayThere,
    lines: &mut Vec<CheckLine>,
) -> Result<Option<Asked>, DoctorError> {
    let expected = config.portal.id.as_ref().map(PortalIdSource::resolve);
    let expected = expected.transpose()?;
    let asking = match AskingCommand::begin(config, clock).await {
        Ok(asking) => asking,
        Err(AskError::Client(ClientError::Config(error))) => return Err(error.into()),
        Err(AskError::Login(error)) if error.is_configuration() => return Err(error.into()),
        Err(error) => {
            replace(lines, unbegun(&error).leaving_out(ALL_OF_HUBSPOT));
            return Ok(None);
        }
    };
    let client = asking.client();
    let look = match &config.auth {
        Auth::Token(source) => static_token(config, source, client).await,
        Auth::OAuth(_) => login(config)?,
    };
    let account = match client.account().await {
        Ok(account) => account,
        Err(error) => {
            replace(lines, unasked(&error, way).leaving_out(ALL_OF_HUBSPOT));
            return Ok(None);
        }
    };
    lines.push(doctor::token(&look.what, look.ends_at, clock.now()));
    let remembered = tokens::look(&config.database, |connection| {
        meta::get(connection, meta::PORTAL_ID)
    });
    let remembered = remembered.ok().flatten().flatten();
    let remembered = remembered.and_then(|text| text.parse().ok().map(PortalId));
    let line = portal(&account, expected, remembered);
    if line.code == Some(OTHER_PORTAL) {
        lines.push(line.leaving_out("what the mapping has of it"));
        return Ok(None);
    }
    lines.push(line);
    lines.extend(limits(config, &asking));
    lines.push(doctor::clock(client.clock_offset_ms()));
    Ok(Some(Asked {
        scopes: look.scopes,
        asking,
    }))
}

/// The line of why a command can't ask.
fn unbegun(error: &AskError) -> CheckLine {
    let name = match error {
        AskError::Client(ClientError::Transport(_)) => "certificates",
        AskError::Store(_) => "database",
        AskError::Taken(_) | AskError::NoRoom => "day",
        AskError::Client(ClientError::Config(_) | ClientError::Token(_))
        | AskError::Login(_)
        | AskError::LoggedOut(_)
        | AskError::Ended(_) => "token",
    };
    let code = error.code().unwrap_or("refused");
    let hint = error.hint().unwrap_or_default();
    CheckLine::red(name, code, with_causes(error), &hint)
}

const OTHER_PORTAL: &str = "other-portal";

/// A line in the place of the one that has its name, else behind all others.
pub(super) fn replace(lines: &mut Vec<CheckLine>, line: CheckLine) {
    match lines.iter_mut().find(|known| known.name == line.name) {
        Some(known) => *known = line,
        None => lines.push(line),
    }
}

/// The line of what keeps HubSpot from being asked.
pub(super) fn unasked(error: &HubspotError, way: &WayThere) -> CheckLine {
    let code = error.code();
    let name = match code {
        "dns" => "dns",
        "tls" => "certificates",
        "proxy" => "proxy",
        "unauthorized" | "logged-out" => "token",
        "out-of-quota" | "throttled" => "day",
        _ if matches!(&way.proxy, Ok(Some(_))) && code == "no-connection" => "proxy",
        _ => "portal",
    };
    let hint = error.hint().unwrap_or_default();
    CheckLine::red(name, code, with_causes(error), &hint)
}

fn sees(config: &Config) -> &'static str {
    let objects = &config.mapping.objects;
    match objects.first().map(|object| object.modes.sees) {
        Some(Sees::User) => "sees what its user sees",
        Some(Sees::Portal) | None => "sees the whole portal",
    }
}

/// What HubSpot says of a static token.
async fn static_token(config: &Config, source: &SecretSource, client: &Client) -> TokenLook {
    // What can't be asked about it is no mistake: its use tells whether it is good.
    let info = client.about_token().await;
    let kind = match info.as_ref().map(|info| info.kind) {
        Some(TokenKind::App(id)) => format!("the token of app {id}"),
        Some(TokenKind::ServiceKey | TokenKind::Refused) => "a service key".to_owned(),
        None => "a static token".to_owned(),
    };
    let (scopes, ends_at) = info.map_or((None, None), |info| (info.scopes, info.ends_at));
    TokenLook {
        what: format!("{kind}, from {}; it {}", source.in_short(), sees(config)),
        scopes,
        ends_at,
    }
}

/// What is known of the login of an OAuth app.
fn login(config: &Config) -> Result<TokenLook, LoginError> {
    let found = match LoginApp::new(config)?.installation()? {
        Own::Found(found) => Some(found),
        Own::Nobody(_) => None,
    };
    let whose = found.as_ref().map(|found| found.portal_id.to_string());
    Ok(TokenLook {
        what: format!(
            "a login to portal {}, renewed by the daemon; it {}",
            whose.unwrap_or_default(),
            sees(config)
        ),
        scopes: found.and_then(|found| found.scopes),
        ends_at: None,
    })
}

fn portal(
    account: &Account,
    expected: Option<PortalId>,
    remembered: Option<PortalId>,
) -> CheckLine {
    let found = account.portal_id;
    let other = |whose: &str, other: PortalId, hint: &str| {
        let message = format!("the token is for portal {found}, and {whose} for portal {other}");
        CheckLine::red("portal", OTHER_PORTAL, message, hint)
    };
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        let hint = "use the token of the portal that the mapping file names";
        return other("the mapping file", expected, hint);
    }
    if let Some(remembered) = remembered.filter(|remembered| *remembered != found) {
        let hint = "use that portal's token, or another file in `[database].path`";
        return other("the database", remembered, hint);
    }
    let kind = account.account_type.as_deref().unwrap_or("unknown kind");
    let zone = account.time_zone.as_deref().unwrap_or("none is said");
    CheckLine::green(
        "portal",
        format!("{found} ({kind}), time zone {zone}, in which its day ends"),
    )
}

/// The lines of tier and day, by the headers of HubSpot's answers.
fn limits(config: &Config, asking: &AskingCommand) -> Vec<CheckLine> {
    const DAY: Duration = Duration::from_hours(24);
    let seen = asking.client().limiter().snapshot();
    // What this command has sent itself is no other app's, written down already or not.
    let unwritten = asking.write_calls();
    let since = seen.daily_resets_at - DAY;
    let own = tokens::look(&config.database, |connection| {
        quota::requests_since(connection, since)
    });
    let own = own.ok().flatten().unwrap_or(0) + unwritten;
    vec![
        doctor::tier(
            config.limits.burst,
            seen.burst_limit,
            config.portal.tier.as_str(),
        ),
        doctor::day(seen.daily_limit, seen.daily_used, own, seen.daily_resets_at),
    ]
}
