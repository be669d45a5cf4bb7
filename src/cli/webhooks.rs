//! `webhooks list` and `webhooks apply`: the app's subscriptions beside what the mapping wants.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::app::subscriptions::{SubscriptionPlan, SubscriptionWay, look, project_file};
use crate::cli::args::WebhooksCommand;
use crate::cli::format::counted;
use crate::cli::{ExitStatus, agreed};
use crate::clock::{Clock, SystemClock};
use crate::config;

/// Carries the command out.
///
/// # Errors
/// HubSpot refuses or can't be reached, a file can't be written, or `out` is closed.
pub async fn webhooks(
    path: &Path,
    command: WebhooksCommand,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let config = config::load(path)?;
    let clock: Arc<dyn Clock> = SystemClock::new();
    match command {
        WebhooksCommand::List { json } => list(&look(&config, &clock).await?, json, out),
        WebhooksCommand::Apply {
            project: Some(folder),
            yes,
        } => apply_project(&config, &folder, yes, out),
        WebhooksCommand::Apply { project: None, yes } => {
            apply(&look(&config, &clock).await?, yes, out).await
        }
    }
}

fn list(look: &SubscriptionPlan, as_json: bool, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    if as_json {
        writeln!(out, "{}", to_json(look))?;
        return Ok(ExitStatus::Done);
    }
    match &look.way {
        SubscriptionWay::Api {
            app_id,
            settings,
            found,
            plan,
        } => {
            let paused = found.iter().filter(|found| !found.active).count();
            writeln!(
                out,
                "app {app_id} calls {}",
                settings.target.as_deref().unwrap_or("nothing yet")
            )?;
            writeln!(
                out,
                "{}, {paused} of them paused; the mapping wants {}",
                counted(found.len() as i64, "subscription", "subscriptions"),
                look.wanted.len()
            )?;
            for subscription in &look.wanted {
                let state = if plan.create.contains(subscription) {
                    "missing"
                } else if plan.activate.iter().any(|(_, own)| own == subscription) {
                    "paused"
                } else {
                    "ok"
                };
                writeln!(out, "  {state:<8} {subscription}")?;
            }
            for (_, subscription) in &plan.pause {
                writeln!(out, "  {:<8} {subscription}", "unwanted")?;
            }
            if !plan.is_empty() {
                writeln!(out, "`hubsyncd webhooks apply` makes them match")?;
            }
        }
        SubscriptionWay::ByHand { .. }
        | SubscriptionWay::ServiceKey
        | SubscriptionWay::RefusedToken => {
            writeln!(out, "the mapping wants, for {}:", look.public_url)?;
            for subscription in &look.wanted {
                writeln!(out, "  {subscription}")?;
            }
            writeln!(
                out,
                "what the app has can't be asked: `hubsyncd webhooks apply` says how to set it"
            )?;
        }
    }
    Ok(ExitStatus::Done)
}

fn to_json(look: &SubscriptionPlan) -> serde_json::Value {
    let wanted: Vec<_> = look
        .wanted
        .iter()
        .map(|one| {
            let mut shown = json!({ "event_type": one.event_type(), "property": one.property });
            if let Some(type_id) = one.object_type_id() {
                shown["object_type_id"] = type_id.into();
            }
            shown
        })
        .collect();
    let (way, app_id, target, plan) = match &look.way {
        SubscriptionWay::Api {
            app_id,
            settings,
            plan,
            ..
        } => (
            "api",
            Some(*app_id),
            settings.target.clone(),
            Some(plan.lines()),
        ),
        SubscriptionWay::ByHand { app_id } => ("by_hand", *app_id, None, None),
        SubscriptionWay::ServiceKey => ("service_key", None, None, None),
        SubscriptionWay::RefusedToken => ("refused_token", None, None, None),
    };
    json!({ "way": way, "app_id": app_id, "public_url": look.public_url, "target_url": target,
            "wanted": wanted, "plan": plan })
}

async fn apply(
    look: &SubscriptionPlan,
    yes: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let (app_id, plan) = match &look.way {
        SubscriptionWay::Api { app_id, plan, .. } => (app_id, plan),
        SubscriptionWay::ByHand { app_id } => return by_hand(look, *app_id, out),
        SubscriptionWay::ServiceKey => {
            writeln!(
                out,
                "This token is no app's, so a service key: it is for REST calls alone, and HubSpot gives it no webhooks.\n\
                 Polling finds the same changes; `schedule.poll` says how often. For webhooks make a project app\n\
                 (`hs project create`) with static or OAuth authentication in the same account, put its client secret\n\
                 into `client_secret`, and run `hubsyncd webhooks apply --project FOLDER`. The service key may stay the\n\
                 daemon's token."
            )?;
            return Ok(ExitStatus::Failed);
        }
        SubscriptionWay::RefusedToken => {
            writeln!(
                out,
                "HubSpot refuses the portal's token (401): it is mistyped, rotated or deleted, and so does not tell what kind\n\
                 of app it is from. Put the present token where `[auth]` looks for it and run this again; for a project app\n\
                 `hubsyncd webhooks apply --project FOLDER` needs no token."
            )?;
            return Ok(ExitStatus::Failed);
        }
    };
    if plan.is_empty() {
        writeln!(
            out,
            "app {app_id} has what the mapping wants; nothing to do"
        )?;
        return Ok(ExitStatus::Done);
    }
    writeln!(out, "app {app_id}:")?;
    for line in plan.lines() {
        writeln!(out, "  {line}")?;
    }
    look.check_bound()?;
    if !agreed(yes, out)? {
        writeln!(out, "nothing was changed")?;
        return Ok(ExitStatus::Failed);
    }
    let mut written = Ok(());
    let applied = look
        .apply(&mut |line| {
            if written.is_ok() {
                written = writeln!(out, "{line}");
            }
        })
        .await;
    let refused = applied?;
    written?;
    if refused > 0 {
        writeln!(
            out,
            "HubSpot refused {refused} of the steps; the others are done. Polling finds what is not subscribed"
        )?;
        return Ok(ExitStatus::Failed);
    }
    writeln!(
        out,
        "done; HubSpot takes up to five minutes to use changed settings"
    )?;
    Ok(ExitStatus::Done)
}

fn by_hand(
    look: &SubscriptionPlan,
    app_id: Option<u64>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let whose = app_id.map_or_else(|| "the app".to_owned(), |id| format!("app {id}"));
    writeln!(
        out,
        "HubSpot lets nobody change {whose}'s subscriptions by API with what the mapping file has. By kind of app:\n\n\
         Project app: `hubsyncd webhooks apply --project FOLDER` writes its webhooks-hsmeta.json; then `hs project upload`.\n\
         Legacy public app: write `app_id` and `developer_key` into `[webhooks]`, and run this again.\n\
         Legacy private app: in HubSpot, Settings > Integrations > Private Apps > the app > Edit > Webhooks, set\n\n  \
         Target URL  {}\n\n\
         and subscribe:\n",
        look.public_url
    )?;
    for subscription in &look.wanted {
        writeln!(out, "  {subscription}")?;
    }
    Ok(ExitStatus::Done)
}

fn apply_project(
    config: &config::Config,
    folder: &Path,
    yes: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let file = project_file(config, folder)?;
    if file.changes.is_empty() {
        writeln!(
            out,
            "`{}` has what the mapping wants; nothing to do",
            file.path.display()
        )?;
        return Ok(ExitStatus::Done);
    }
    writeln!(out, "`{}`:", file.path.display())?;
    for line in &file.changes {
        writeln!(out, "  {line}")?;
    }
    if !agreed(yes, out)? {
        writeln!(out, "nothing was changed")?;
        return Ok(ExitStatus::Failed);
    }
    file.write()?;
    writeln!(out, "written; `hs project upload` brings it to HubSpot")?;
    Ok(ExitStatus::Done)
}
