//! `properties plan` and `properties apply`: what the mapping file declares, made in HubSpot.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::app::properties::{PropertyPlan, PropertyStep, PropertyWish, look};
use crate::cli::ExitStatus;
use crate::cli::args::PropertiesCommand;
use crate::cli::ask::agreed;
use crate::cli::format::{counted, printable};
use crate::clock::{Clock, SystemClock};
use crate::config;

/// Carries the command out.
///
/// # Errors
/// HubSpot refuses or can't be reached, nobody is there to answer, or `out` is closed.
pub async fn properties(
    path: &Path,
    command: PropertiesCommand,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let config = config::load(path)?;
    let clock: Arc<dyn Clock> = SystemClock::new();
    let found = look(&config, &clock).await?;
    let plan = &found.plan;
    let (as_json, yes) = match command {
        PropertiesCommand::Plan { json, exit_code } => {
            show(plan, json, out, err)?;
            return Ok(match exit_code && !plan.steps.is_empty() {
                true => ExitStatus::Found,
                false => ExitStatus::Done,
            });
        }
        PropertiesCommand::Apply { json, yes } => (json, yes),
    };
    show(plan, as_json, out, err)?;
    let words: &mut dyn Write = if as_json { err } else { out };
    if plan.steps.is_empty() {
        return Ok(ExitStatus::Done);
    }
    if !agreed(yes, "Carry this out?", words)? {
        writeln!(words, "nothing was made")?;
        return Ok(ExitStatus::Failed);
    }
    let mut written = Ok(());
    let applied = found
        .apply(&mut |step| {
            if written.is_ok() {
                written = writeln!(words, "done: {}", printable(&told(step)));
            }
        })
        .await;
    written?;
    applied?;
    Ok(ExitStatus::Done)
}

/// The plan on `out`, and what is there and other than declared, which nobody changes.
fn show(
    plan: &PropertyPlan,
    as_json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    if as_json {
        let steps: Vec<_> = plan.steps.iter().flat_map(rows).collect();
        writeln!(out, "{}", serde_json::Value::from(steps))?;
    } else if plan.steps.is_empty() {
        writeln!(out, "HubSpot has what the file declares; nothing to make")?;
    }
    for step in plan.steps.iter().filter(|_| !as_json) {
        writeln!(out, "{}", printable(&told(step)))?;
    }
    for difference in &plan.differences {
        writeln!(err, "note: {}", printable(difference))?;
    }
    Ok(())
}

fn told(step: &PropertyStep) -> String {
    match step {
        PropertyStep::Group { object, name } => format!("{object}: makes the group `{name}`"),
        PropertyStep::Property {
            wish,
            group,
            is_archived,
        } => {
            let PropertyWish {
                object,
                property,
                label,
                kind,
                ..
            } = wish;
            let options = match wish.options.len() {
                0 => String::new(),
                many => format!(" with {}", counted(many as i64, "option", "options")),
            };
            let unique = if wish.unique { ", unique" } else { "" };
            let again = match is_archived {
                true => "; HubSpot brings it back from its archive as it was",
                false => "",
            };
            format!(
                "{object}: makes the property `{property}` ({label}, {kind}{options}{unique}) in `{group}`{again}"
            )
        }
        PropertyStep::Options {
            object,
            property,
            added,
        } => {
            let values: Vec<&str> = added.iter().map(|option| option.value.as_str()).collect();
            format!(
                "{object}: adds `{}` to the options of `{property}`",
                values.join("`, `")
            )
        }
    }
}

/// The rows of `--json`: an option each.
fn rows(step: &PropertyStep) -> Vec<serde_json::Value> {
    match step {
        PropertyStep::Group { object, name } => vec![
            json!({ "object": object.as_str(), "name": name, "kind": "group", "label": name, "type": null }),
        ],
        PropertyStep::Property { wish, .. } => vec![
            json!({ "object": wish.object.as_str(), "name": wish.property.as_str(), "kind": "property",
                    "label": wish.label, "type": wish.kind.as_str() }),
        ],
        PropertyStep::Options {
            object,
            property,
            added,
        } => added
            .iter()
            .map(|option| {
                json!({ "object": object.as_str(), "name": property.as_str(), "kind": "option",
                        "label": option.label, "type": null })
            })
            .collect(),
    }
}
