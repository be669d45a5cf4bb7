//! `plan`: shows what the next push would send, and sends nothing.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::app::plan::{PlanSums, offline, online};
use crate::cli::ExitStatus;
use crate::cli::args::PlanArgs;
use crate::cli::format::{JsonArray, counted, printable, shortened, thousands};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::engine::outbound::preview::PlanTotals;
use crate::engine::outbound::preview::planned::PlannedEntry;
use crate::model::entry::WaitsFor;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::commands::CommandDb;

/// Entries that are shown to people; `--json` gives all of them.
const MOST_SHOWN: usize = 50;

/// Wide enough for an address or a name.
const WIDEST_VALUE: usize = 60;

/// Shows the plan.
///
/// # Errors
/// The database can't be read, HubSpot refuses or can't be reached, or `out` is closed.
pub async fn plan(path: &Path, args: PlanArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let config = config::load(path)?;
    // Says in the words of all commands why a database can't be looked at.
    drop(CommandDb::open(&config.database)?);
    let clock: Arc<dyn Clock> = SystemClock::new();
    let sums = match args.json {
        true => {
            let mut array = JsonArray::begin(out);
            let sums = each(&config, args, &clock, |planned| {
                array.push(&as_json(&planned))
            })
            .await?;
            array.end()?;
            sums
        }
        false => {
            let mut shown = ShownPlan { out, entries: 0 };
            // What fell due while HubSpot was asked is due.
            let sums = each(&config, args, &clock, |planned| {
                shown.push(&planned, clock.now())
            })
            .await?;
            shown.end(&sums)?;
            sums
        }
    };
    Ok(match args.exit_code && sums.totals.entries > 0 {
        true => ExitStatus::Found,
        false => ExitStatus::Done,
    })
}

async fn each(
    config: &Config,
    args: PlanArgs,
    clock: &Arc<dyn Clock>,
    tell: impl FnMut(PlannedEntry) -> anyhow::Result<()>,
) -> anyhow::Result<PlanSums> {
    match args.online {
        true => online(config, clock, tell).await,
        false => offline(config, clock.now(), tell),
    }
}

fn as_json(planned: &PlannedEntry) -> Json {
    let fields = planned.preview.fields.iter().map(|field| {
        json!({ "property": field.property.as_str(), "old": field.old.as_deref(), "new": field.new.as_deref() })
    });
    let kept = planned.preview.kept.iter().map(|field| {
        json!({ "property": field.property.as_str(), "local": field.local.as_deref(), "remote": field.remote.as_deref(),
                "why": field.why.as_str() })
    });
    let mut shown = json!({
        "object": planned.object.as_str(),
        "local_id": planned.local_id.0,
        "hs_id": planned.hs_id.map(|id| id.0),
        "operation": planned.operation.as_str(),
        "waits_for": planned.waits_for.map(WaitsFor::as_str),
        "due_at": planned.due.map(|at| at.to_string()),
        "fields": fields.collect::<Vec<_>>(),
        "kept": kept.collect::<Vec<_>>(),
        "sent": planned.is_sent(),
        "reason": planned.why_not_sent(),
    });
    if let Some(ends) = &planned.association {
        shown["to_object"] = ends.to_object.as_str().into();
        shown["to_local_id"] = ends.to_local_id.0.into();
        shown["category"] = ends.category.as_deref().into();
        shown["type_id"] = ends.type_id.into();
        shown["label"] = ends.label.as_deref().into();
    }
    shown
}

/// The plan as people see it.
struct ShownPlan<'out> {
    out: &'out mut dyn Write,
    entries: usize,
}

impl ShownPlan<'_> {
    fn push(&mut self, planned: &PlannedEntry, now: Timestamp) -> anyhow::Result<()> {
        self.entries += 1;
        if self.entries > MOST_SHOWN {
            return Ok(());
        }
        for line in lines(planned, now) {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn end(self, sums: &PlanSums) -> anyhow::Result<()> {
        let Self { out, entries } = self;
        if entries > MOST_SHOWN {
            let more = (entries - MOST_SHOWN) as i64;
            writeln!(
                out,
                "{} more: `hubsyncd plan --json` gives all of them",
                thousands(more)
            )?;
        }
        if entries > 0 {
            writeln!(out)?;
        }
        for line in summed_up(sums) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

fn lines(planned: &PlannedEntry, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}{}: {}{}",
        printable(planned.object.as_str()),
        planned.local_id,
        planned
            .hs_id
            .map_or_else(String::new, |id| format!(" (record {id})")),
        operation(planned),
        waits(planned, now)
    )];
    if let Some(why) = planned.why_not_sent() {
        lines.push(format!("  is not sent: {}", shortened(why, 300)));
    }
    for field in &planned.preview.fields {
        let (old, new) = (shown(&field.old), shown(&field.new));
        lines.push(format!(
            "  {}: {old} -> {new}",
            printable(field.property.as_str())
        ));
    }
    for field in &planned.preview.kept {
        let property = printable(field.property.as_str());
        let why = kept_because(field.why.as_str(), &shown(&field.remote));
        lines.push(format!("  {property}: {} {why}", shown(&field.local)));
    }
    lines
}

fn operation(planned: &PlannedEntry) -> String {
    let word = planned.operation.as_str();
    let Some(ends) = &planned.association else {
        return word.to_owned();
    };
    let kind = match (&ends.label, ends.type_id) {
        (Some(label), _) => format!(" as {}", printable(label)),
        (None, Some(id)) => format!(" by type {id}"),
        (None, None) => String::new(),
    };
    let with = match word {
        "associate" => "with",
        _ => "from",
    };
    format!(
        "{word} {with} {} {}{kind}",
        printable(&ends.to_object),
        ends.to_local_id
    )
}

fn waits(planned: &PlannedEntry, now: Timestamp) -> String {
    let due = planned.due.filter(|due| *due > now);
    match (planned.waits_for, due) {
        (Some(what), _) if what.as_str() == "guard" => ", held by the guard".to_owned(),
        (Some(what), _) => format!(", waits for {}", what.as_str()),
        (None, Some(due)) => format!(", not before {due}"),
        (None, None) if planned.is_in_flight => ", in flight".to_owned(),
        (None, None) => String::new(),
    }
}

fn kept_because(why: &str, remote: &str) -> String {
    match why {
        "if-empty" => {
            format!("gives way to HubSpot's {remote}: it goes out only where HubSpot has nothing")
        }
        "conflict" => format!("stays here: in conflict with HubSpot's {remote}"),
        "guard" => format!("stays here, held by the guard: HubSpot keeps {remote}"),
        _ => {
            "stays here: the property is degraded; `SELECT problem, hint FROM sync_fields` says why"
                .to_owned()
        }
    }
}

/// A value for people; `-` where it is empty.
fn shown(value: &Value) -> String {
    match value.as_deref() {
        None => "-".to_owned(),
        Some(text) => shortened(text, WIDEST_VALUE),
    }
}

fn summed_up(sums: &PlanSums) -> Vec<String> {
    let totals = &sums.totals;
    let sent = match totals.entries {
        0 => "the next push would send nothing".to_owned(),
        entries => format!(
            "the next push would send {} in {}{}",
            counted(entries as i64, "entry", "entries"),
            counted(totals.requests as i64, "request", "requests"),
            share_of_day(sums)
        ),
    };
    let paused = sums.is_paused.then(|| {
        "push is paused in the daemon, which sends nothing of it before `INSERT INTO sync_commands (command) VALUES ('resume')`; \
         `hubsyncd once` sends it all the same"
            .to_owned()
    });
    let kept_back = sums.kept_back.iter().map(|(object, code)| {
        format!(
            "{} is not synced at present (`{}`), and nothing of it is sent: `SELECT last_error FROM sync_status` says why",
            printable(object),
            printable(code)
        )
    });
    [sent]
        .into_iter()
        .chain(held(totals))
        .chain(paused)
        .chain(kept_back)
        .collect()
}

/// What the guard holds, or would hold, and what can be said about it.
fn held(totals: &PlanTotals) -> Option<String> {
    let kinds = [
        (totals.held, "entry", "entries"),
        (totals.held_values, "emptied value", "emptied values"),
    ];
    let kinds = kinds.into_iter().filter(|(number, ..)| *number > 0);
    let said: Vec<String> = kinds
        .map(|(number, one, many)| counted(number as i64, one, many))
        .collect();
    let (goes, comes_back) = match totals.held + totals.held_values {
        0 => return None,
        1 => ("it", "it is"),
        _ => ("them", "they are"),
    };
    Some(format!(
        "the guard holds {}: `hubsyncd outbox approve` lets {goes} go once {comes_back} held, `hubsyncd outbox discard --hold ID` takes {goes} back",
        said.join(" and ")
    ))
}

fn share_of_day(sums: &PlanSums) -> String {
    let Some(limit) = sums.day_limit.filter(|limit| *limit > 0) else {
        return String::new();
    };
    let share = sums.totals.requests as f64 / limit as f64 * 100.0;
    format!(
        ", {share:.2} % of the day's {} ({} are used)",
        thousands(limit as i64),
        thousands(sums.day_used as i64)
    )
}
