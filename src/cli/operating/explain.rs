//! `explain`: why a record is as it is, and what a code means. It asks HubSpot nothing.

use std::io::Write;
use std::path::Path;

use crate::app::codes;
use crate::cli::args::ExplainArgs;
use crate::cli::format::{Align, TextTable, moment, printable, shortened};
use crate::cli::{ExitStatus, WrongUsage, database, known_object};
use crate::model::time::Timestamp;
use crate::store::commands::{CommandDb, CommandError, ExplainedRecord, Row, WantedRecord};

/// The widest value in the table of fields.
const WIDEST: usize = 40;

/// Explains a record or a code.
///
/// # Errors
/// There is no such record or code, or the database can't be read.
pub fn explain(
    config: &Path,
    args: &ExplainArgs,
    now: Timestamp,
    (out, err): (&mut dyn Write, &mut dyn Write),
) -> anyhow::Result<ExitStatus> {
    let wanted = match (args.local_id, args.hs_id) {
        (Some(id), _) => WantedRecord::Local(id),
        (None, Some(id)) => WantedRecord::Remote(id),
        (None, None) => return code(&args.what, args.json, out),
    };
    let mut db = CommandDb::open(&database(config, err)?)?;
    let Some(record) = db.explained(&args.what, wanted)? else {
        let known = db.objects()?;
        let known: Vec<&str> = known.iter().filter_map(|row| row.text("object")).collect();
        known_object(&args.what, &known)?;
        let id = match wanted {
            WantedRecord::Local(id) => format!("row {id}"),
            WantedRecord::Remote(id) => format!("record {id} of HubSpot"),
        };
        return Err(CommandError::NoneOf(format!("{} has no {id}", args.what)).into());
    };
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&record)?)?;
    } else {
        print(&record, now, out)?;
    }
    Ok(ExitStatus::Done)
}

fn code(code: &str, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let page = codes::page(code).map_err(|hint| WrongUsage {
        explanation: format!("there is no code `{code}`"),
        hint: format!("{hint}; for a record name its row too"),
    })?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&page)?)?;
    } else {
        writeln!(out, "{}\n  {}\n", page.code, page.means)?;
        writeln!(out, "look\n  {}\n\ndo\n  {}", page.look, page.action)?;
    }
    Ok(ExitStatus::Done)
}

fn print(record: &ExplainedRecord, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let id = record.hs_id.map(|id| format!(", record {id} of HubSpot"));
    writeln!(
        out,
        "{} {}{}: {}",
        printable(&record.object),
        record.local_id,
        id.unwrap_or_default(),
        record.state
    )?;
    let at = record
        .next
        .at
        .as_deref()
        .map(|at| format!(", {}", moment(at, now)));
    writeln!(
        out,
        "next: {}{}\n",
        record.next.what,
        at.unwrap_or_default()
    )?;
    let left = Align::Left;
    let mut table = TextTable::new(&[
        ("column", left),
        ("base", left),
        ("local", left),
        ("remote", left),
        ("state", left),
        ("waits for", left),
    ]);
    for field in &record.fields {
        let value = |value: &Option<String>| {
            value
                .as_deref()
                .map_or_else(|| "-".to_owned(), |text| shortened(text, WIDEST))
        };
        table.push(vec![
            printable(&field.column),
            value(&field.base),
            value(&field.local),
            value(&field.remote),
            field.state.to_owned(),
            field.waits_for.clone().unwrap_or_default(),
        ]);
    }
    write!(out, "{table}")?;
    let entry = record.entry.iter().map(|row| ("entry", row));
    let associations = (record.associations.iter()).map(|row| ("association", row));
    let conflicts = record.conflicts.iter().map(|row| ("conflict", row));
    let history = record.history.iter().map(|row| ("change", row));
    let call = record.call.iter().map(|row| ("call", row));
    let waiting = entry.chain(associations).chain(conflicts);
    for (name, row) in waiting.chain(call).chain(history) {
        writeln!(out, "\n{name} {}", told(row))?;
    }
    Ok(())
}

/// What of a row is not NULL, `column value`.
fn told(row: &Row) -> String {
    let columns = row.columns().filter_map(|(name, value)| {
        let value = match value {
            serde_json::Value::Null => return None,
            serde_json::Value::String(text) => shortened(text, 200),
            other @ (serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_)) => other.to_string(),
        };
        Some(format!("{name} {value}"))
    });
    columns.collect::<Vec<_>>().join(", ")
}
