//! `undo`: shows what would be turned back, asks, and writes it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::app::undo::{Undo, UndoChange, UndoLeft, UndoReport, UndoWish};
use crate::cli::args::{UndoArgs, UndoSince};
use crate::cli::ask::agreed;
use crate::cli::format::{counted, printable, shortened, thousands};
use crate::cli::{ExitStatus, carried_out};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::model::origin::Origin;
use crate::store::commands::CommandDb;
use crate::store::undo::HistoryChoice;

/// Changes, and rows that are left, that are shown to people; `--json` gives all of them.
const MOST_SHOWN: usize = 50;

/// Wide enough for an address or a name.
const WIDEST_VALUE: usize = 60;

/// Turns recorded changes back.
///
/// # Errors
/// The database can't be read or written, nobody is there to ask, or `out` or `err` is closed.
pub fn undo(
    path: &Path,
    args: &UndoArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let config = config::load(path)?;
    let clock: Arc<dyn Clock> = SystemClock::new();
    let mut undo = Undo::begin(&config, &wish(args, clock.as_ref()), &clock)?;
    for (from, to) in undo.missing() {
        match from == to {
            true => writeln!(err, "`sync_history` has no row {from}")?,
            false => writeln!(err, "`sync_history` has no row from {from} to {to}")?,
        }
    }
    let seen = undo.look()?;
    // With `--json` standard output is for the one value.
    let told: &mut dyn Write = if args.json { err } else { &mut *out };
    if !args.json || !(args.dry_run || args.yes) {
        show(&seen, undo.is_any_chosen(), told)?;
    }
    if args.dry_run || seen.changes.is_empty() {
        return match args.json {
            true => print_json(args.dry_run, &seen, 0, out),
            false if seen.changes.is_empty() => Ok(ExitStatus::Done),
            false => {
                writeln!(out, "nothing was written (`--dry-run`)")?;
                Ok(ExitStatus::Done)
            }
        };
    }
    if !agreed(args.yes, "Write this?", told)? {
        writeln!(told, "nothing was written")?;
        return Ok(ExitStatus::Failed);
    }
    let done = undo.carry_out()?;
    if args.json {
        let undone = done.changes.len();
        return print_json(false, &done, undone, out);
    }
    let undone = counted(done.changes.len() as i64, "change is", "changes are");
    writeln!(out, "{undone} turned back, as local writes")?;
    // What was otherwise when it came to it.
    let late = done.left.iter().filter(|left| !seen.left.contains(left));
    for left in late {
        writeln!(out, "{}", left_line(left))?;
    }
    writeln!(out, "{}", carried_out(&CommandDb::open(&config.database)?)?)?;
    Ok(ExitStatus::Done)
}

fn wish(args: &UndoArgs, clock: &dyn Clock) -> UndoWish {
    UndoWish {
        choice: HistoryChoice {
            since: args.since.map(|since| match since {
                UndoSince::At(at) => at,
                UndoSince::Ago(ago) => clock.now() - ago,
            }),
            run: args.run,
            ids: args.ids.clone(),
            object: args.object.clone(),
            property: None,
            origin: args.origin.as_deref().and_then(Origin::parse),
        },
        column: args.column.clone(),
        is_dry_run: args.dry_run,
    }
}

fn print_json(
    is_dry_run: bool,
    report: &UndoReport,
    undone: usize,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let changes: Vec<Json> = report
        .changes
        .iter()
        .map(|change| {
            json!({ "history_ids": change.history_ids, "object": change.object, "local_id": change.local_id,
                    "property": change.property, "from": change.from, "to": change.to })
        })
        .collect();
    let left: Vec<Json> = report
        .left
        .iter()
        .map(|left| {
            json!({ "history_id": left.history_id, "object": left.object, "local_id": left.local_id,
                    "property": left.property, "code": left.code, "message": left.message })
        })
        .collect();
    let all = json!({ "dry_run": is_dry_run, "undone": undone, "changes": changes, "left": left });
    writeln!(out, "{all}")?;
    Ok(ExitStatus::Done)
}

fn show(report: &UndoReport, is_any_chosen: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    for change in report.changes.iter().take(MOST_SHOWN) {
        writeln!(out, "{}", change_line(change))?;
    }
    more(report.changes.len(), "changes", out)?;
    for left in report.left.iter().take(MOST_SHOWN) {
        writeln!(out, "{}", left_line(left))?;
    }
    more(report.left.len(), "that are left", out)?;
    if report.changes.is_empty() {
        let left = match (report.left.len(), is_any_chosen) {
            (0, false) => "no recorded change is chosen".to_owned(),
            (0, true) => {
                "nothing is left to turn back: what is chosen is undone already, or came and went"
                    .to_owned()
            }
            (left, _) => format!(
                "nothing can be turned back, {} left",
                thousands(left as i64)
            ),
        };
        writeln!(out, "{left}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{} to be turned back, {} left",
        counted(report.changes.len() as i64, "change", "changes"),
        thousands(report.left.len() as i64)
    )?;
    Ok(())
}

fn more(all: usize, what: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    if all > MOST_SHOWN {
        let more = thousands((all - MOST_SHOWN) as i64);
        writeln!(
            out,
            "{more} more {what}: `--dry-run --json` gives all of them"
        )?;
    }
    Ok(())
}

fn change_line(change: &UndoChange) -> String {
    let place = format!("{} {}", printable(&change.object), change.local_id);
    match (change.property.as_str(), &change.to) {
        ("*", None) => format!(
            "{place}: its row is deleted, and HubSpot archives the record that this daemon made"
        ),
        ("*", Some(_)) => {
            format!("{place}: its row comes back; HubSpot makes a new record of it, under a new id")
        }
        ("association", None) => format!(
            "{place}: the association is taken away: {}",
            association(change, change.from.as_deref())
        ),
        ("association", Some(_)) => format!(
            "{place}: the association is made again: {}",
            association(change, change.to.as_deref())
        ),
        (property, _) => format!(
            "{place}: {}: {} -> {}",
            printable(property),
            value(change.from.as_deref()),
            value(change.to.as_deref())
        ),
    }
}

/// An association by its two rows and its label, or its type where it has none.
fn association(change: &UndoChange, text: Option<&str>) -> String {
    let link: Json = text
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let Some((from, to)) = &change.ends else {
        return value(text);
    };
    let kind = match (link["label"].as_str(), link["type_id"].as_i64()) {
        (Some(label), _) => format!(" ({})", shortened(label, WIDEST_VALUE)),
        (None, Some(id)) => format!(" (type {id})"),
        (None, None) => String::new(),
    };
    format!(
        "{} {} - {} {}{kind}",
        printable(from),
        link["from_local_id"],
        printable(to),
        link["to_local_id"]
    )
}

fn value(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| shortened(text, WIDEST_VALUE))
}

fn left_line(left: &UndoLeft) -> String {
    format!(
        "left: {} {}: {}: {} [{}]",
        printable(&left.object),
        left.local_id,
        printable(&left.property),
        shortened(&left.message, 300),
        printable(&left.code)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::decision::undo::LeftWhy;

    const LINK: &str = r#"{"from_local_id":7,"to_local_id":9,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Primary"}"#;

    fn change(property: &str, from: Option<&str>, to: Option<&str>) -> UndoChange {
        UndoChange {
            history_ids: vec![1],
            object: "contacts".to_owned(),
            local_id: 7,
            property: property.to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            ends: (property == "association")
                .then(|| ("contacts".to_owned(), "companies".to_owned())),
        }
    }

    #[test]
    fn every_change_and_every_reason_to_leave_one_reads_as_it_should() {
        let left = |why: &LeftWhy| UndoLeft {
            history_id: 1,
            object: "contacts".to_owned(),
            local_id: 8,
            property: "city".to_owned(),
            code: why.as_str().to_owned(),
            message: why.message().to_owned(),
        };
        let reasons = [
            LeftWhy::ChangedSince,
            LeftWhy::Pending,
            LeftWhy::OpenConflict,
            LeftWhy::Gone,
            LeftWhy::HistoryOff,
            LeftWhy::MadeInHubspot,
            LeftWhy::Merged,
            LeftWhy::ReadOnly,
            LeftWhy::IfEmpty,
            LeftWhy::Append,
            LeftWhy::Archived,
            LeftWhy::ComesBack,
            LeftWhy::NoRecord,
            LeftWhy::RecordIsBack,
            LeftWhy::ValueTaken,
        ];
        let report = UndoReport {
            changes: vec![
                change("city", Some("Lima"), Some("Rome")),
                change("city", Some("a\tb"), None),
                change("*", Some("{}"), None),
                change("*", None, Some("{}")),
                change("association", Some(LINK), None),
                change("association", None, Some(LINK)),
            ],
            left: reasons.iter().map(left).collect(),
        };
        let nothing = UndoReport {
            changes: Vec::new(),
            ..report.clone()
        };
        let many = UndoReport {
            changes: vec![change("city", Some("Lima"), Some("Rome")); MOST_SHOWN + 2],
            left: Vec::new(),
        };
        let mut out = Vec::new();
        let none = UndoReport::default();
        for (report, is_any_chosen) in [
            (&report, true),
            (&nothing, true),
            (&none, false),
            (&none, true),
        ] {
            show(report, is_any_chosen, &mut out).expect("written");
            out.extend(b"----\n");
        }
        let mut all = Vec::new();
        show(&many, true, &mut all).expect("written");
        let all = String::from_utf8(all).expect("text");
        let text = String::from_utf8(out).expect("text");
        let end: Vec<&str> = all.lines().skip(MOST_SHOWN).collect();
        insta::assert_snapshot!(format!("{text}{}", end.join("\n")));
    }
}
