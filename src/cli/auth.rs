//! `auth login`, `auth status` and `auth logout`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::json;

use crate::app::login::{self, LoginApp, LoginEnded};
use crate::cli::ExitStatus;
use crate::cli::args::AuthCommand;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Auth, Config};
use crate::model::time::Timestamp;
use crate::store::tokens::Own;

/// Carries the command out.
///
/// # Errors
/// The login fails, the database can't be used, or `out` is closed.
pub async fn auth(
    path: &Path,
    command: AuthCommand,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let config = config::load(path)?;
    let clock: Arc<dyn Clock> = SystemClock::new();
    match command {
        AuthCommand::Login { no_browser } => login(&config, &clock, no_browser, out).await,
        AuthCommand::Status { json } => status(&config, &clock, json, out),
        AuthCommand::Logout => logout(&config, &clock, out).await,
    }
}

async fn login(
    config: &Config,
    clock: &Arc<dyn Clock>,
    no_browser: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let entry = LoginApp::new(config)?;
    let mut written = Ok(());
    let login = entry
        .login(clock, &mut |url| {
            let opened = !no_browser && open_browser(url);
            let what = match opened {
                true => "The browser was sent to HubSpot's consent page. If it does not show, open this URL:",
                false => "Open this URL in a browser on this machine and choose the account:",
            };
            written = writeln!(out, "{what}\n\n  {url}\n").and_then(|()| out.flush());
        })
        .await?;
    written?;
    writeln!(
        out,
        "logged in to portal {}; the first access token lives until {}, and the daemon renews it",
        login.portal, login.expires_at
    )?;
    for ended in &login.replaced {
        say_ended(ended, out)?;
    }
    if login.scopes.is_none() {
        writeln!(
            out,
            "HubSpot did not say which scopes were granted: `hubsyncd once` tells what is missing"
        )?;
    }
    Ok(ExitStatus::Done)
}

/// Opens a browser where there is a screen. It must not hold the terminal.
fn open_browser(url: &str) -> bool {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    has_screen
        && Command::new("xdg-open")
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
}

fn status(
    config: &Config,
    clock: &Arc<dyn Clock>,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    if let Auth::Token(source) = &config.auth {
        if as_json {
            writeln!(
                out,
                "{}",
                json!({ "kind": "static", "token": source.to_string() })
            )?;
        } else {
            writeln!(out, "a static token, from {source}; it needs no login")?;
        }
        return Ok(ExitStatus::Done);
    }
    let entry = LoginApp::new(config)?;
    let found = match entry.installation()? {
        Own::Found(found) => found,
        Own::Nobody(nobody) => {
            let explanation = nobody.to_string();
            if as_json {
                writeln!(
                    out,
                    "{}",
                    json!({ "kind": "oauth", "state": "logged_out", "problem": explanation })
                )?;
            } else {
                writeln!(out, "{explanation}")?;
            }
            return Ok(ExitStatus::Failed);
        }
    };
    let unreadable = entry.open(&found).err().map(|error| error.to_string());
    let readable = unreadable.is_none();
    let state = state_of(
        found.problem.is_some(),
        readable,
        found.expires_at,
        clock.now(),
    );
    if as_json {
        let value = json!({
            "kind": "oauth",
            "state": state,
            "portal_id": found.portal_id.0,
            "logged_in_at": found.logged_in_at.to_string(),
            "renewed_at": found.issued_at.to_string(),
            "expires_at": found.expires_at.to_string(),
            "scopes": found.scopes,
            "problem": found.problem.as_ref().or(unreadable.as_ref()),
        });
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "portal      {}", found.portal_id)?;
        writeln!(out, "state       {state}")?;
        writeln!(out, "logged in   {}", found.logged_in_at)?;
        writeln!(out, "renewed     {}", found.issued_at)?;
        writeln!(out, "lives until {}", found.expires_at)?;
        if let Some(scopes) = &found.scopes {
            writeln!(out, "scopes      {}", scopes.join(" "))?;
        }
        if let Some(problem) = &found.problem {
            writeln!(out, "problem     {problem}: run `hubsyncd auth login`")?;
        }
        if let Some(problem) = &unreadable {
            writeln!(out, "problem     {problem}")?;
        }
    }
    let is_good = state == "logged_in" || state == "expired";
    Ok(if is_good {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

/// `expired` is no failure: a daemon that runs renews it, and one that starts does so first.
fn state_of(revoked: bool, readable: bool, expires: Timestamp, now: Timestamp) -> &'static str {
    match (revoked, readable) {
        (true, _) => "revoked",
        (false, false) => "unreadable",
        (false, true) if expires <= now => "expired",
        (false, true) => "logged_in",
    }
}

async fn logout(
    config: &Config,
    clock: &Arc<dyn Clock>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let ended = login::logout(config, clock).await?;
    if ended.is_empty() {
        writeln!(out, "nobody was logged in")?;
    }
    for one in &ended {
        say_ended(one, out)?;
    }
    let is_good = ended.iter().all(|one| one.problem.is_none());
    Ok(if is_good {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

fn say_ended(ended: &LoginEnded, out: &mut dyn Write) -> std::io::Result<()> {
    let portal = ended.portal;
    match &ended.problem {
        None => writeln!(
            out,
            "logged out of portal {portal}: the refresh token is revoked and forgotten; an access token that was given lives until its end"
        ),
        Some(why) => writeln!(
            out,
            "logged out of portal {portal} here alone: {why}. Uninstall the app in HubSpot to end its access"
        ),
    }
}
