//! `outbox`: lists what waits to be pushed and what the guard holds, and writes down what a person wants of it: retry,
//! discard, approve. The daemon carries it out.

use std::io::Write;
use std::path::Path;

use crate::cli::args::OutboxCommand;
use crate::cli::format::{
    Align, JsonArray, TextTable, counted, moment, printable, shortened, thousands,
};
use crate::cli::status::{held, held_work, is_forbidden, scope_lines, waits_for_a_scope};
use crate::cli::{ExitStatus, carried_out};
use crate::model::time::Timestamp;
use crate::store::commands::{CommandDb, Most, Row};
use crate::store::outbox::UNWRITABLE;

/// Entries of a list for people; `--json` gives all of them.
const MOST_LISTED: u32 = 50;

/// Dead entries of a list whose last error is told.
const MOST_ERRORS: usize = 10;

/// Carries out one of the commands.
///
/// # Errors
/// The database can't be read or refuses, or `out` can't be written to.
pub fn outbox(
    database: &Path,
    command: &OutboxCommand,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        OutboxCommand::List { json } => {
            let db = CommandDb::open(database)?;
            if *json {
                list_json(&db, out)?;
            } else {
                list(&db, now, out)?;
            }
        }
        OutboxCommand::Retry { ids } => retry(database, ids, out)?,
        OutboxCommand::Discard { ids, hold } => discard(database, ids, *hold, out)?,
        OutboxCommand::Approve { id } => approve(database, *id, out)?,
    }
    Ok(ExitStatus::Done)
}

fn list_json(db: &CommandDb, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut array = JsonArray::begin(out);
    db.each_entry(Most::All, |row| array.push(&row))?;
    array.end()
}

fn list(db: &CommandDb, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let all = db.count_entries()?;
    let mut table = TextTable::new(&[
        ("id", Align::Right),
        ("row", Align::Left),
        ("operation", Align::Left),
        ("state", Align::Left),
        ("attempts", Align::Right),
        ("next attempt", Align::Left),
    ]);
    let objects = db.objects()?;
    let stuck: Vec<&Row> = objects.iter().filter(|row| is_forbidden(row)).collect();
    let mut listed = 0;
    let mut errors = Vec::new();
    db.each_entry(Most::Rows(MOST_LISTED), |entry| {
        listed += 1;
        errors.extend(last_error(&entry));
        let waits = stuck
            .iter()
            .find(|row| row.text("object") == entry.text("object"));
        let waits = waits.map(|row| match waits_for_a_scope(row) {
            true => "waits for a scope",
            false => "waits: HubSpot forbids it",
        });
        table.push(cells(&entry, waits, now));
        anyhow::Ok(())
    })?;
    if listed > 0 {
        writeln!(out, "{table}")?;
    }
    for error in errors.iter().take(MOST_ERRORS) {
        writeln!(out, "{error}")?;
    }
    if !errors.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{} in the outbox", counted(all, "entry", "entries"))?;
    if all > listed {
        writeln!(
            out,
            "{} more: `hubsyncd outbox list --json` gives all of them",
            thousands(all - listed)
        )?;
    }
    for object in stuck {
        let explanation = object.text("last_error").unwrap_or_default();
        for line in scope_lines(object, explanation, &objects) {
            writeln!(out, "{line}")?;
        }
    }
    for hold in db.holds()? {
        writeln!(out, "{}", held(&hold, now))?;
    }
    Ok(())
}

fn cells(entry: &Row, waits: Option<&str>, now: Timestamp) -> Vec<String> {
    let text = |column: &str| printable(entry.text(column).unwrap_or_default());
    vec![
        entry.number("id").unwrap_or(0).to_string(),
        row_of(entry),
        text("operation"),
        text("state"),
        entry.number("attempts").unwrap_or(0).to_string(),
        match (entry.text("state"), waits) {
            (Some("pending"), Some(waits)) => waits.to_owned(),
            _ => next_attempt(entry, now),
        },
    ]
}

fn row_of(entry: &Row) -> String {
    format!(
        "{} {}",
        printable(entry.text("object").unwrap_or_default()),
        entry.number("local_id").unwrap_or(0)
    )
}

fn next_attempt(entry: &Row, now: Timestamp) -> String {
    match (
        entry.text("state"),
        entry.text("waits_for"),
        entry.text("next_attempt_at"),
    ) {
        (Some("pending"), Some(what), _) => format!("waits for {}", printable(what)),
        (Some("pending"), None, Some(at)) if Timestamp::parse(at).is_some_and(|at| at > now) => {
            moment(at, now)
        }
        (Some("pending"), None, _) => "due".to_owned(),
        (_, _, _) => "-".to_owned(),
    }
}

/// Wide enough for a sentence; the whole text stands in `sync_outbox.last_error`.
const WIDEST_ERROR: usize = 200;

/// What is said of an entry that goes nowhere by itself: a dead one, one that waits for a record which nothing makes, and one that
/// waits for the portal to be as the mapping has it.
fn last_error(entry: &Row) -> Option<String> {
    let is_stuck = entry.text("state") == Some("dead")
        || entry.text("waits_for") == Some("create")
        || entry.text("last_error") == Some(UNWRITABLE);
    let explanation = entry.text("last_error").filter(|_| is_stuck)?;
    Some(format!(
        "{}: {}",
        entry.number("id").unwrap_or(0),
        shortened(explanation, WIDEST_ERROR)
    ))
}

fn retry(database: &Path, ids: &[i64], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut db = CommandDb::open_to_decide(database)?;
    let retried = db.retry(ids)?;
    if retried == 0 {
        writeln!(
            out,
            "nothing is dead, and nothing waits for a later attempt"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "{} due again",
        counted(retried as i64, "entry is", "entries are")
    )?;
    writeln!(out, "{}", carried_out(&db)?)?;
    Ok(())
}

/// Entries of a hold that are told one by one: it may have thousands.
const MOST_TOLD: usize = 20;

fn discard(
    database: &Path,
    ids: &[i64],
    hold: Option<i64>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut db = CommandDb::open_to_decide(database)?;
    let discarded = match hold {
        Some(hold) => {
            let (hold, entries) = db.discard_hold(hold)?;
            writeln!(out, "taken back: {}", held_work(&hold))?;
            entries
        }
        None => db.discard(ids)?,
    };
    for entry in discarded.iter().take(MOST_TOLD) {
        writeln!(out, "{}: {}", row_of(entry), comes_of(entry))?;
    }
    if discarded.len() > MOST_TOLD {
        let more = discarded.len() - MOST_TOLD;
        writeln!(out, "and {} more", thousands(more as i64))?;
    }
    writeln!(out, "{}", carried_out(&db)?)?;
    Ok(())
}

/// What comes of a row whose change is given up.
fn comes_of(entry: &Row) -> &'static str {
    match entry.text("operation") {
        Some("create") => "the row stays here alone, until the next write to it",
        Some("archive") => "the row comes back as it was",
        Some("update") => "its fields go back to what both sides last agreed on",
        Some("associate") => "the row of `associations` goes",
        Some("disassociate") => "the row of `associations` comes back",
        Some(_) | None => "it is given up",
    }
}

fn approve(database: &Path, id: Option<i64>, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut db = CommandDb::open_to_decide(database)?;
    let approved = db.approve(id)?;
    if approved.is_empty() {
        writeln!(out, "nothing is held")?;
        return Ok(());
    }
    for hold in &approved {
        writeln!(out, "let go: {}", held_work(hold))?;
    }
    writeln!(out, "{}", carried_out(&db)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;
    use crate::store::commands::testing::{database, execute, one};

    fn run(path: &Path, command: &OutboxCommand) -> anyhow::Result<String> {
        let now = Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment");
        let mut out = Vec::new();
        outbox(path, command, now, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    fn discard_of(ids: &[i64]) -> OutboxCommand {
        OutboxCommand::Discard {
            ids: ids.to_vec(),
            hold: None,
        }
    }

    #[test]
    fn several_entries_are_given_up_together_or_none_is() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        for (command, explanation) in [
            (discard_of(&[1, 99]), "there is no outbox entry 99"),
            (
                discard_of(&[1, 3]),
                "this entry is in flight; wait for its answer",
            ),
            (
                OutboxCommand::Discard {
                    ids: vec![],
                    hold: Some(99),
                },
                "there is no hold that waits with id 99",
            ),
        ] {
            let error = run(&path, &command).expect_err("refused");
            assert_eq!(error.to_string(), explanation);
        }
        let marked =
            "SELECT CAST(count(*) AS TEXT) FROM sync_outbox WHERE discarded_at IS NOT NULL";
        assert_eq!(one(&path, marked).as_deref(), Some("0"));
    }

    #[test]
    fn what_a_hold_keeps_back_is_given_up_as_a_whole_and_nothing_else() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        execute(
            &path,
            "INSERT INTO sync_outbox (id, object, local_id, hs_id, operation, state, attempts, enqueued_at, waits_for)
             VALUES (5, 'contacts', 16, 106, 'archive', 'pending', 0, '2026-11-24T03:05:00.000Z', 'guard'),
                    (6, 'contacts', 17, 107, 'archive', 'pending', 0, '2026-11-24T03:05:00.000Z', 'guard'),
                    (7, 'deals', 9, 108, 'archive', 'pending', 0, '2026-11-24T03:05:00.000Z', 'guard')",
        );
        let command = OutboxCommand::Discard {
            ids: vec![],
            hold: Some(2),
        };
        assert_eq!(
            run(&path, &command).expect("written"),
            "taken back: 240 archives of contacts in HubSpot\n\
             contacts 16: the row comes back as it was\n\
             contacts 17: the row comes back as it was\n\
             the running daemon carries it out within a second\n"
        );
        // What a hold holds the daemon gives up, by the hold's own word.
        let word = "SELECT group_concat(id) FROM sync_holds WHERE discarded_at IS NOT NULL";
        assert_eq!(one(&path, word).as_deref(), Some("2"));
        let again = run(&path, &command).expect_err("it is taken back already");
        assert_eq!(again.to_string(), "there is no hold that waits with id 2");
    }

    #[test]
    fn a_hold_about_rows_here_is_taken_back_too() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        execute(
            &path,
            "UPDATE sync_holds SET side = 'local', operation = 'remove' WHERE id = 2",
        );
        let command = OutboxCommand::Discard {
            ids: vec![],
            hold: Some(2),
        };
        insta::assert_snapshot!(run(&path, &command).expect("written"));
    }

    #[test]
    fn the_list_shows_what_is_dead_first_and_what_is_held() {
        let folder = TempDir::new().expect("a folder");
        let text = run(&database(&folder), &OutboxCommand::List { json: false }).expect("printed");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn json_is_an_array_of_table_rows() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        let text = run(&path, &OutboxCommand::List { json: true }).expect("printed");
        let value: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&text).expect("json");
        assert_eq!(value.len(), 4);
        assert_eq!(value[0].len(), 21, "the documented columns and no other");
        assert_eq!(
            (&value[0]["id"], &value[0]["state"]),
            (&Value::from(2), &Value::from("dead"))
        );
    }

    #[test]
    fn an_empty_outbox_says_so() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        execute(
            &path,
            "DROP TRIGGER note_discard; DROP TRIGGER refuse_discard; DROP TRIGGER note_taken_back; DELETE FROM sync_outbox; DELETE FROM sync_holds",
        );
        assert_eq!(
            run(&path, &OutboxCommand::List { json: false }).expect("printed"),
            "0 entries in the outbox\n"
        );
        assert_eq!(
            run(&path, &OutboxCommand::List { json: true }).expect("printed"),
            "[]\n"
        );
        assert_eq!(
            run(&path, &OutboxCommand::Retry { ids: vec![] }).expect("printed"),
            "nothing is dead, and nothing waits for a later attempt\n"
        );
        assert_eq!(
            run(&path, &OutboxCommand::Approve { id: None }).expect("printed"),
            "nothing is held\n"
        );
    }

    #[test]
    fn retry_discard_and_approve_say_what_happens() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        for (command, wanted) in [
            (
                discard_of(&[1]),
                "contacts 11: the row stays here alone, until the next write to it\n",
            ),
            (
                discard_of(&[2]),
                "contacts 13: its fields go back to what both sides last agreed on\n",
            ),
            (
                discard_of(&[4]),
                "contacts 15: the row comes back as it was\n",
            ),
            (
                discard_of(&[1, 2]),
                "contacts 11: the row stays here alone, until the next write to it\n\
                 contacts 13: its fields go back to what both sides last agreed on\n",
            ),
            (
                OutboxCommand::Retry { ids: vec![] },
                "2 entries are due again\n",
            ),
            (
                OutboxCommand::Retry { ids: vec![1] },
                "1 entry is due again\n",
            ),
            (
                OutboxCommand::Approve { id: Some(2) },
                "let go: 240 archives of contacts in HubSpot\n",
            ),
        ] {
            let text = run(&path, &command).expect("written");
            assert_eq!(
                text,
                format!("{wanted}the running daemon carries it out within a second\n")
            );
        }
        assert!(one(&path, "SELECT approved_at FROM sync_holds WHERE id = 2").is_some());
    }

    #[test]
    fn what_is_in_flight_is_left_alone() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        for command in [discard_of(&[3]), OutboxCommand::Retry { ids: vec![3] }] {
            let error = run(&path, &command).expect_err("in flight");
            assert_eq!(
                error.to_string(),
                "this entry is in flight; wait for its answer"
            );
        }
    }
}
