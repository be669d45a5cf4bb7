//! `conflicts`: lists and shows what both sides changed, and writes down what a person decides. The daemon carries it out.

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::Path;

use serde_json::Value;

use crate::cli::args::{ConflictsCommand, ResolveArgs, Take};
use crate::cli::format::{Align, JsonArray, TextTable, counted, moment, printable, shortened};
use crate::cli::{ExitStatus, NobodyToAsk, carried_out, known_object};
use crate::model::time::Timestamp;
use crate::store::commands::{CommandDb, CommandError, Most, Row, WantedConflicts, Which};

/// Rows of a list for people; `--json` gives all of them.
const MOST_LISTED: u32 = 50;

/// The widest value in a list, so that it stays within 80 columns.
const WIDEST_VALUE: usize = 14;

/// Carries out one of the commands.
///
/// # Errors
/// The database can't be read or refuses the decision, or `out` can't be written to.
pub fn conflicts(
    database: &Path,
    command: &ConflictsCommand,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        ConflictsCommand::List { open, json } => {
            let which = if *open { Which::Open } else { Which::All };
            let db = CommandDb::open(database)?;
            if *json {
                list_json(&db, which, out)?;
            } else {
                list(&db, which, out)?;
            }
        }
        ConflictsCommand::Show { id, json } => {
            let db = CommandDb::open(database)?;
            let conflict = db.conflict(*id)?;
            if *json {
                let listed = conflict.without("base_known");
                writeln!(out, "{}", serde_json::to_string(&listed)?)?;
            } else {
                show(&conflict, &db.changes_of(*id)?, now, out)?;
            }
        }
        ConflictsCommand::Resolve(args) => match resolution(args) {
            Some(resolution) => resolve(database, args, &resolution, out)?,
            None => ask(database, args, now, out)?,
        },
    }
    Ok(ExitStatus::Done)
}

fn list_json(db: &CommandDb, which: Which, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut array = JsonArray::begin(out);
    db.each_conflict(which, Most::All, |row| array.push(&row))?;
    array.end()
}

fn list(db: &CommandDb, which: Which, out: &mut dyn Write) -> anyhow::Result<()> {
    let (open, decided) = db.count_conflicts()?;
    let mut table = TextTable::new(&[
        ("id", Align::Right),
        ("row", Align::Left),
        ("property", Align::Left),
        ("local", Align::Left),
        ("remote", Align::Left),
        ("winner", Align::Left),
    ]);
    let mut listed = 0;
    db.each_conflict(which, Most::Rows(MOST_LISTED), |conflict| {
        listed += 1;
        table.push(cells(&conflict));
        anyhow::Ok(())
    })?;
    let all = open + if which == Which::All { decided } else { 0 };
    if listed > 0 {
        writeln!(out, "{table}")?;
    }
    write!(
        out,
        "{} for a decision",
        counted(open, "conflict waits", "conflicts wait")
    )?;
    writeln!(
        out,
        ", {} decided by policy or by you",
        counted(decided, "was", "were")
    )?;
    if all > listed {
        writeln!(
            out,
            "{} more: `hubsyncd conflicts list --json` gives all of them",
            all - listed
        )?;
    }
    if open > 0 {
        writeln!(
            out,
            "decide: `hubsyncd conflicts resolve ID --take local|remote` or `--value TEXT`"
        )?;
    }
    Ok(())
}

fn cells(conflict: &Row) -> Vec<String> {
    let value = |column: &str| shortened(conflict.text(column).unwrap_or("-"), WIDEST_VALUE);
    vec![
        conflict.number("id").unwrap_or(0).to_string(),
        format!(
            "{} {}",
            printable(conflict.text("object").unwrap_or_default()),
            conflict.number("local_id").unwrap_or(0)
        ),
        shortened(conflict.text("property").unwrap_or_default(), 16),
        value("local_value"),
        value("remote_value"),
        winner(conflict).to_owned(),
    ]
}

fn winner(conflict: &Row) -> &str {
    match (conflict.text("winner"), conflict.text("resolution")) {
        (Some(winner), _) => winner,
        (None, Some(_)) => "decided",
        (None, None) => "open",
    }
}

fn show(conflict: &Row, changes: &Row, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let id = conflict.number("id").unwrap_or(0);
    writeln!(out, "conflict {id} of {}", place(conflict))?;
    let base = if conflict.number("base_known") == Some(0) {
        None
    } else {
        Some("base_value")
    };
    line(
        out,
        "base",
        &base.map_or_else(|| "not known".to_owned(), |column| value(conflict, column)),
    )?;
    sides(conflict, changes, now, out)?;
    line(out, "policy", conflict.text("policy").unwrap_or_default())?;
    line(out, "winner", conflict.text("winner").unwrap_or("none yet"))?;
    line(
        out,
        "reason",
        conflict
            .text("reason")
            .map(printable)
            .as_deref()
            .unwrap_or("-"),
    )?;
    for (title, column) in [("seen", "detected_at"), ("resolved", "resolved_at")] {
        if let Some(at) = conflict.text(column) {
            line(
                out,
                title,
                &format!("{} ({})", printable(at), moment(at, now)),
            )?;
        }
    }
    if let Some(resolution) = conflict.text("resolution") {
        line(out, "decision", &printable(resolution))?;
    }
    if conflict.text("resolved_at").is_none() {
        writeln!(
            out,
            "\ndecide: `hubsyncd conflicts resolve {id} --take local|remote` or `--value TEXT`"
        )?;
    }
    Ok(())
}

/// Both values, and below each when it was written, and by whom, as far as that is known.
fn sides(conflict: &Row, changes: &Row, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    line(out, "local", &value(conflict, "local_value"))?;
    if let Some(at) = changes.text("local_at") {
        line(
            out,
            "",
            &format!("written {} ({})", printable(at), moment(at, now)),
        )?;
    }
    line(out, "remote", &value(conflict, "remote_value"))?;
    if let Some(at) = changes.text("remote_at") {
        let written = format!("written {} ({})", printable(at), moment(at, now));
        line(out, "", &written)?;
        let by = ["person", "source_type", "source_id"]
            .iter()
            .filter_map(|column| changes.text(column))
            .map(printable);
        let by: Vec<String> = by.collect();
        if !by.is_empty() {
            line(out, "", &format!("by {}", by.join(", ")))?;
        }
    }
    Ok(())
}

fn line(out: &mut dyn Write, title: &str, text: &str) -> anyhow::Result<()> {
    writeln!(out, "{title:<10}{text}")?;
    Ok(())
}

/// `contacts row 12, HubSpot record 101, property email`.
fn place(conflict: &Row) -> String {
    let object = printable(conflict.text("object").unwrap_or_default());
    let row = conflict.number("local_id").unwrap_or(0);
    let record = conflict
        .number("hs_id")
        .map(|id| format!(", HubSpot record {id}"))
        .unwrap_or_default();
    let property = match conflict.text("property") {
        Some("*") | None => "the record as a whole".to_owned(),
        Some(property) => format!("property {}", printable(property)),
    };
    format!("{object} row {row}{record}, {property}")
}

/// A value; a record as a whole has a property a line.
fn value(conflict: &Row, column: &str) -> String {
    let whole = conflict.text("property") == Some("*");
    let Some(text) = conflict.text(column) else {
        return if whole {
            "(no record)".to_owned()
        } else {
            "(empty)".to_owned()
        };
    };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(properties)) if whole => {
            let line = |(name, value): (&String, &Value)| {
                format!(
                    "{}: {}",
                    printable(name),
                    value.as_str().map_or_else(|| value.to_string(), printable)
                )
            };
            properties
                .iter()
                .map(line)
                .collect::<Vec<_>>()
                .join("\n          ")
        }
        Ok(_) | Err(_) => printable(text),
    }
}

fn resolve(
    database: &Path,
    args: &ResolveArgs,
    resolution: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut db = opened(database, args)?;
    let decided = db.resolve(&wanted(args), resolution)?;
    for conflict in decided.iter().take(MOST_LISTED as usize) {
        writeln!(out, "{}: {}", place(conflict), chosen(resolution))?;
    }
    if decided.len() > MOST_LISTED as usize {
        writeln!(out, "{} conflicts are decided in all", decided.len())?;
    }
    writeln!(out, "{}", carried_out(&db)?)?;
    Ok(())
}

/// The database, where it knows the object that was named.
fn opened(database: &Path, args: &ResolveArgs) -> anyhow::Result<CommandDb> {
    let db = CommandDb::open_to_decide(database)?;
    if let Some(object) = &args.object {
        known_object(object, &db.names()?)?;
    }
    Ok(db)
}

fn wanted(args: &ResolveArgs) -> WantedConflicts {
    match &args.object {
        Some(object) => WantedConflicts::Of {
            object: object.clone(),
            property: args.property.clone(),
        },
        None if args.ids.is_empty() => WantedConflicts::Waiting,
        None => WantedConflicts::Ids(args.ids.clone()),
    }
}

fn chosen(resolution: &str) -> &'static str {
    match resolution {
        "local" => "the local value wins",
        "remote" => "HubSpot's value wins",
        "value:" => "the property is cleared",
        _ => "your value wins",
    }
}

/// What `sync_conflicts.resolution` says for the arguments; nothing where they leave it to be asked.
fn resolution(args: &ResolveArgs) -> Option<String> {
    match (args.take, &args.value) {
        (Some(Take::Local), _) => Some("local".to_owned()),
        (Some(Take::Remote), _) => Some("remote".to_owned()),
        (None, Some(value)) => Some(format!("value:{value}")),
        (None, None) => None,
    }
}

/// Shows the conflicts one after another and asks about each.
fn ask(
    database: &Path,
    args: &ResolveArgs,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(NobodyToAsk {
            hint: "give `--take local`, `--take remote` or `--value TEXT`",
        }
        .into());
    }
    ask_from(database, args, now, (&mut input.lock(), out))
}

fn ask_from(
    database: &Path,
    args: &ResolveArgs,
    now: Timestamp,
    (input, out): (&mut dyn BufRead, &mut dyn Write),
) -> anyhow::Result<()> {
    let mut db = opened(database, args)?;
    let mut decided = 0;
    let waiting = db.waiting_conflicts(&wanted(args))?;
    for (index, conflict) in waiting.iter().enumerate() {
        let id = conflict.number("id").unwrap_or(0);
        writeln!(
            out,
            "({}/{}) conflict {id} of {}",
            index + 1,
            waiting.len(),
            place(conflict)
        )?;
        sides(conflict, &db.changes_of(id)?, now, out)?;
        match answer(input, out)? {
            PersonsAnswer::Decided(resolution) => {
                // HubSpot or a program may have ended it while it was shown.
                match db.resolve(&WantedConflicts::Ids(vec![id]), &resolution) {
                    Ok(_) => {
                        writeln!(out, "{}", chosen(&resolution))?;
                        decided += 1;
                    }
                    Err(error @ CommandError::Refused(_)) => writeln!(out, "{error}")?,
                    Err(error) => return Err(error.into()),
                }
            }
            PersonsAnswer::Later => {}
            PersonsAnswer::Enough => break,
        }
    }
    writeln!(
        out,
        "{}",
        counted(decided, "conflict is decided", "conflicts are decided")
    )?;
    if decided > 0 {
        writeln!(out, "{}", carried_out(&db)?)?;
    }
    Ok(())
}

enum PersonsAnswer {
    Decided(String),
    Later,
    Enough,
}

/// What the letters do.
const LETTERS: &str = "l: the local value wins
r: HubSpot's value wins
e: write a value of its own to both sides; `e TEXT` at once
s: leave it open and go on with the next
q: leave it and all that follow open";

/// Asks until the answer is understood; the end of the input ends the asking.
fn answer(input: &mut dyn BufRead, out: &mut dyn Write) -> anyhow::Result<PersonsAnswer> {
    loop {
        write!(out, "[l]ocal, [r]emote, [e]dit, [s]kip, [q]uit? ")?;
        let Some(text) = typed(input, out)? else {
            return Ok(PersonsAnswer::Enough);
        };
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match (word, rest) {
            ("l" | "local", "") => return Ok(PersonsAnswer::Decided("local".to_owned())),
            ("r" | "remote", "") => return Ok(PersonsAnswer::Decided("remote".to_owned())),
            ("e" | "edit", "") => {
                write!(out, "value (nothing: go back; `-`: clear it): ")?;
                match typed(input, out)?.as_deref() {
                    None => return Ok(PersonsAnswer::Enough),
                    Some("") => {}
                    Some("-") => return Ok(PersonsAnswer::Decided("value:".to_owned())),
                    Some(value) => return Ok(PersonsAnswer::Decided(format!("value:{value}"))),
                }
            }
            ("e" | "edit", value) => return Ok(PersonsAnswer::Decided(format!("value:{value}"))),
            ("s" | "skip", "") => return Ok(PersonsAnswer::Later),
            ("q" | "quit", "") => return Ok(PersonsAnswer::Enough),
            _ => writeln!(out, "{LETTERS}")?,
        }
    }
}

/// A line, without its end; nothing at the end of the input.
fn typed(input: &mut dyn BufRead, out: &mut dyn Write) -> anyhow::Result<Option<String>> {
    out.flush()?;
    let mut text = String::new();
    let is_line = input.read_line(&mut text)? > 0;
    Ok(is_line.then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::commands::testing::{database, execute, one};

    fn run(path: &Path, command: &ConflictsCommand) -> anyhow::Result<String> {
        let now = Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment");
        let mut out = Vec::new();
        conflicts(path, command, now, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    fn list(open: bool, json: bool) -> ConflictsCommand {
        ConflictsCommand::List { open, json }
    }

    fn take(id: i64, side: Take) -> ConflictsCommand {
        ConflictsCommand::Resolve(ResolveArgs {
            take: Some(side),
            ..of_ids(&[id])
        })
    }

    fn of_ids(ids: &[i64]) -> ResolveArgs {
        ResolveArgs {
            ids: ids.to_vec(),
            object: None,
            property: None,
            take: None,
            value: None,
        }
    }

    fn write_value(id: i64, text: &str) -> ConflictsCommand {
        ConflictsCommand::Resolve(ResolveArgs {
            value: Some(text.to_owned()),
            ..of_ids(&[id])
        })
    }

    #[test]
    fn lists_and_pages_read_as_they_should() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        let mut whole = String::new();
        for command in [
            list(false, false),
            list(true, false),
            ConflictsCommand::Show { id: 1, json: false },
            ConflictsCommand::Show { id: 2, json: false },
            ConflictsCommand::Show { id: 4, json: false },
        ] {
            whole.push_str(&run(&path, &command).expect("printed"));
            whole.push_str("---\n");
        }
        assert!(
            whole.lines().all(|line| line.chars().count() <= 80),
            "{whole}"
        );
        insta::assert_snapshot!(whole);
    }

    #[test]
    fn json_is_an_array_of_table_rows() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        for (open, wanted) in [(false, 4), (true, 2)] {
            let text = run(&path, &list(open, true)).expect("printed");
            let value: Vec<serde_json::Map<String, Value>> =
                serde_json::from_str(&text).expect("json");
            assert_eq!(value.len(), wanted);
            assert_eq!(value[0].len(), 14, "the documented columns and no other");
        }
        execute(&path, "DELETE FROM sync_conflicts");
        assert_eq!(run(&path, &list(false, true)).expect("printed"), "[]\n");
    }

    #[test]
    fn a_long_list_ends_with_how_many_more() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        execute(
            &path,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
             INSERT INTO sync_conflicts (object, local_id, property, policy, winner, detected_at, resolved_at)
             SELECT 'contacts', i, 'email', 'local', 'local', '2026-11-24T03:00:00.000Z', '2026-11-24T03:00:00.000Z' FROM n",
        );
        let text = run(&path, &list(false, false)).expect("printed");
        assert!(
            text.contains("2 conflicts wait for a decision, 62 were decided"),
            "{text}"
        );
        assert!(
            text.contains("14 more: `hubsyncd conflicts list --json`"),
            "{text}"
        );
    }

    #[test]
    fn a_decision_is_written_and_says_who_carries_it_out() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        for (command, written) in [
            (take(1, Take::Local), "local"),
            (take(1, Take::Remote), "remote"),
            (write_value(1, "ann@example.org"), "value:ann@example.org"),
            (write_value(1, "local"), "value:local"),
            (write_value(1, ""), "value:"),
        ] {
            let text = run(&path, &command).expect("written");
            assert!(
                text.starts_with("contacts row 12, HubSpot record 101, property email: "),
                "{text}"
            );
            assert!(
                text.ends_with("the running daemon carries it out within a second\n"),
                "{text}"
            );
            let resolution = one(&path, "SELECT resolution FROM sync_conflicts WHERE id = 1");
            assert_eq!(resolution.as_deref(), Some(written));
        }
        execute(
            &path,
            "DROP VIEW sync_health; CREATE VIEW sync_health AS SELECT 'stopped' AS state",
        );
        let text = run(&path, &take(1, Take::Local)).expect("written");
        assert!(
            text.ends_with("the daemon does not run; it carries this out at its next start\n"),
            "{text}"
        );
    }

    #[test]
    fn what_cant_be_decided_fails_with_a_sentence() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        let error = run(&path, &take(77, Take::Local)).expect_err("none");
        assert_eq!(error.to_string(), "there is no conflict 77");
        let error = run(&path, &take(2, Take::Local)).expect_err("decided");
        assert!(error.to_string().contains("was decided at"), "{error}");
    }

    fn resolutions(path: &Path) -> Vec<Option<String>> {
        (1..=4)
            .map(|id| {
                one(
                    path,
                    &format!("SELECT resolution FROM sync_conflicts WHERE id = {id}"),
                )
            })
            .collect()
    }

    fn all_of(object: &str, property: Option<&str>) -> ConflictsCommand {
        ConflictsCommand::Resolve(ResolveArgs {
            object: Some(object.to_owned()),
            property: property.map(str::to_owned),
            take: Some(Take::Remote),
            ..of_ids(&[])
        })
    }

    #[test]
    fn all_conflicts_of_an_object_or_of_its_property_are_decided_at_once() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        let remote = || Some("remote".to_owned());
        let policy = || Some("policy".to_owned());
        run(&path, &all_of("contacts", Some("email"))).expect("written");
        assert_eq!(resolutions(&path), [remote(), policy(), policy(), None]);
        run(&path, &all_of("contacts", None)).expect("written");
        assert_eq!(resolutions(&path), [remote(), policy(), policy(), remote()]);
        let error = run(&path, &all_of("deals", None)).expect_err("decided");
        assert_eq!(error.to_string(), "no conflict of `deals` waits");
        let error = run(&path, &all_of("contacts", Some("phone"))).expect_err("decided");
        assert_eq!(error.to_string(), "no conflict of `contacts.phone` waits");
    }

    #[test]
    fn of_several_conflicts_all_are_decided_or_none() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        let both = ConflictsCommand::Resolve(ResolveArgs {
            take: Some(Take::Local),
            ..of_ids(&[1, 77])
        });
        assert_eq!(
            run(&path, &both).expect_err("one is missing").to_string(),
            "there is no conflict 77"
        );
        assert_eq!(resolutions(&path)[0], None);
    }

    #[test]
    fn without_a_side_each_conflict_is_shown_and_asked_about() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        let mut out = Vec::new();
        let now = Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment");
        execute(
            &path,
            "UPDATE sync_conflicts SET local_changed_at = '2026-11-24T03:00:00.000Z' WHERE id = 1;
             INSERT INTO owners (id, first_name, last_name, user_id, archived) VALUES (9, 'Ada', 'Lovelace', 42, 0);
             INSERT INTO property_history (object, hs_id, property, at, value, source_type, source_id)
             VALUES ('contacts', 101, 'email', '2026-11-24T02:00:00.000Z', 'old', 'API', NULL),
                    ('contacts', 101, 'email', '2026-11-24T03:05:00.000Z', 'new', 'CRM_UI', 'userId:42')",
        );
        let mut input: &[u8] = b"mine\ne\n\ne a third one\ns\n";
        ask_from(&path, &of_ids(&[]), now, (&mut input, &mut out)).expect("asked");
        let text = String::from_utf8(out).expect("text");
        insta::assert_snapshot!(text);
        assert_eq!(resolutions(&path)[0].as_deref(), Some("value:a third one"));
        assert_eq!(resolutions(&path)[3], None);
        for (typed, expected) in [
            ("l\n", Some("local")),
            ("e\n-\n", Some("value:")),
            ("r\nq\n", Some("remote")),
            ("q\n", Some("remote")),
            ("", Some("remote")),
        ] {
            let (mut input, mut out) = (typed.as_bytes(), Vec::new());
            ask_from(&path, &of_ids(&[1, 4]), now, (&mut input, &mut out)).expect("asked");
            assert_eq!(resolutions(&path)[0].as_deref(), expected, "{typed:?}");
            assert_eq!(resolutions(&path)[3], None);
        }
    }
}
