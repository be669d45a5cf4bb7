//! `status`: the status views as a table, or as one JSON value. It reads the database and asks nobody else, so it works
//! while the daemon runs and while it doesn't. `watch` shows it again and again, on a terminal as a `screen`.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::app::doctor::Colour;
use crate::app::remedies;
use crate::cli::ExitStatus;
use crate::cli::args::StatusArgs;
use crate::cli::format::{
    Align, TextTable, counted, duration, moment, painted, printable, thousands,
};
use crate::config::Drawing;
use crate::engine::portal::access::{LOOK_AT_THE_NAME, remedy};
use crate::model::time::Timestamp;
use crate::store::commands::{CommandDb, Row, StatusRows, WhyStopped};
use crate::store::meta::{FORBIDDEN, MISSING_SCOPE, OBJECT_UNKNOWN};

mod screen;
pub mod watch;

/// `{"health":{…},"objects":[…],"holds":[…]}` with the columns' names.
#[derive(Serialize)]
struct Json<'rows> {
    health: &'rows Row,
    objects: &'rows [Row],
    holds: &'rows [Row],
}

/// Prints how the daemon and each object are doing.
///
/// # Errors
/// The database can't be read, or `out` can't be written to.
pub fn status(
    database: &Path,
    args: StatusArgs,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let rows = CommandDb::open(database).and_then(|mut db| db.status())?;
    print(&rows, args.json, Drawing::of_stdout(), now, out)?;
    Ok(if args.exit_code {
        exit_status(&rows)
    } else {
        ExitStatus::Done
    })
}

fn print(
    rows: &StatusRows,
    json: bool,
    drawing: Drawing,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if json {
        let StatusRows {
            health,
            objects,
            holds,
            ..
        } = rows;
        let json = Json {
            health,
            objects,
            holds,
        };
        writeln!(out, "{}", serde_json::to_string(&json)?)?;
        return Ok(());
    }
    print_health(rows, drawing, now, out)?;
    print_objects(rows, out)?;
    print_trouble(rows, now, out)
}

/// What a monitor is told: whether somebody should look, or nothing is synced at all.
fn exit_status(rows: &StatusRows) -> ExitStatus {
    let sum = |column: &str| -> i64 {
        rows.objects
            .iter()
            .filter_map(|row| row.number(column))
            .sum()
    };
    match colour_of(state(&rows.health)) {
        Colour::Red => ExitStatus::NotSyncing,
        Colour::Yellow => ExitStatus::Found,
        Colour::Green if sum("dead") > 0 || sum("conflicts") > 0 => ExitStatus::Found,
        Colour::Green => ExitStatus::Done,
    }
}

fn state(health: &Row) -> &str {
    health.text("state").unwrap_or("stopped")
}

/// Red: nothing is synced. Yellow: somebody should look.
fn colour_of(state: &str) -> Colour {
    match state {
        "stopped" | "stopping" | "unauthorized" | "unreachable" | "out_of_quota" => Colour::Red,
        "held" | "paused" | "degraded" => Colour::Yellow,
        _ => Colour::Green,
    }
}

fn print_health(
    rows: &StatusRows,
    drawing: Drawing,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let health = &rows.health;
    let state = state(health);
    let word = painted(&format!("{state:<8}"), colour_of(state), drawing);
    let line = format!("{word}  {}", about(health, now));
    writeln!(out, "{}", line.trim_end())?;
    writeln!(out, "requests  {}", requests(health, now))?;
    writeln!(out, "outbox    {}\n", outbox_of(rows))?;
    Ok(())
}

/// `hubsyncd 0.1.0, portal 12345678, pid 4711, started 3 h ago`.
fn about(health: &Row, now: Timestamp) -> String {
    let mut about = Vec::new();
    if let Some(version) = health.text("version") {
        about.push(format!("hubsyncd {}", printable(version)));
    }
    if let Some(portal) = health.number("portal_id") {
        about.push(format!("portal {portal}"));
    }
    match (
        state(health),
        health.text("started_at"),
        health.text("heartbeat_at"),
    ) {
        ("stopped", _, Some(heartbeat)) => {
            about.push(format!("last seen {}", moment(heartbeat, now)));
        }
        (state, Some(started), _) if state != "stopped" => {
            if let Some(pid) = health.number("pid") {
                about.push(format!("pid {pid}"));
            }
            about.push(format!("started {}", moment(started, now)));
        }
        (_, _, _) => {}
    }
    about.join(", ")
}

fn outbox_of(rows: &StatusRows) -> String {
    let dead = rows.objects.iter().filter_map(|row| row.number("dead"));
    outbox(rows.health.number("outbox_depth").unwrap_or(0), dead.sum())
}

/// `3 entries wait, 2 dead`.
fn outbox(waiting: i64, dead: i64) -> String {
    let waiting = counted(waiting, "entry waits", "entries wait");
    match dead {
        0 => waiting,
        dead => format!("{waiting}, {} dead", thousands(dead)),
    }
}

fn requests(health: &Row, now: Timestamp) -> String {
    let minute = health.number("requests_last_minute").unwrap_or(0);
    let throttled = health.number("throttled_last_minute").unwrap_or(0);
    let mut text = format!("{} in the last minute", thousands(minute));
    if throttled > 0 {
        text.push_str(&format_args!(", {} of them throttled", thousands(throttled)).to_string());
    }
    match (health.number("daily_used"), health.number("daily_limit")) {
        (Some(used), Some(limit)) => {
            text.push_str(
                &format_args!("; today {} of {}", thousands(used), thousands(limit)).to_string(),
            );
        }
        (Some(used), None) => {
            text.push_str(&format_args!("; today {}", thousands(used)).to_string());
        }
        (None, _) => {}
    }
    if let Some(resets) = health.text("daily_resets_at") {
        text.push_str(&format_args!(", new {}", moment(resets, now)).to_string());
    }
    text
}

fn print_objects(rows: &StatusRows, out: &mut dyn Write) -> anyhow::Result<()> {
    write!(out, "{}", table_of(&rows.objects))?;
    Ok(())
}

fn table_of(objects: &[Row]) -> TextTable {
    let mut table = TextTable::new(&[
        ("object", Align::Left),
        ("rows", Align::Right),
        ("in sync", Align::Right),
        ("waiting", Align::Right),
        ("failing", Align::Right),
        ("excluded", Align::Right),
        ("backfill", Align::Left),
        ("lag", Align::Left),
    ]);
    for object in objects {
        let name = object.text("object").unwrap_or_default();
        let mut cells = vec![printable(name)];
        cells.extend(
            ["rows", "in_sync", "waiting", "failing", "excluded"]
                .map(|column| number(object, column)),
        );
        cells.push(printable(object.text("backfill").unwrap_or_default()));
        cells.push(lag(object));
        table.push(cells);
    }
    table
}

/// How far behind HubSpot an object is; `-` before the first read is done.
fn lag(object: &Row) -> String {
    let seconds = object
        .number("lag_seconds")
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| duration(std::time::Duration::from_secs(seconds)),
    )
}

fn number(row: &Row, column: &str) -> String {
    row.number(column).map_or_else(|| "-".to_owned(), thousands)
}

/// What somebody should know or do, a line each.
fn print_trouble(rows: &StatusRows, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for column in ["config_error", "last_error"] {
        if let Some(explanation) = rows.health.text(column) {
            lines.push(format!(
                "{}: {}",
                column.replace('_', " "),
                printable(explanation)
            ));
        }
    }
    lines.extend(remedy_of_state(rows).map(|hint| format!("hint: {hint}")));
    for object in &rows.objects {
        lines.extend(waiting_of(object));
    }
    lines.extend(causes(rows));
    lines.extend(rows.holds.iter().map(|hold| held(hold, now)));
    if !lines.is_empty() {
        writeln!(out)?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What lies behind the state and is no list of its own on the live screen: pauses, first reads, what HubSpot forbids or could not be
/// done of an object, fields that are not synced.
fn causes(rows: &StatusRows) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(paused(rows));
    lines.extend(rows.backfills.iter().filter_map(backfill));
    for object in &rows.objects {
        lines.extend(error_of(object, &rows.objects));
    }
    lines.extend(rows.problems.iter().map(problem));
    lines
}

/// A pause is told whatever the state is: `held`, `unreachable` and others are told in its place.
fn paused(rows: &StatusRows) -> Option<String> {
    let sides = rows.paused.iter().filter_map(|row| row.text("side"));
    let sides: Vec<&str> = sides.collect();
    // Where that is the state, its hint says how it ends.
    let resume = match state(&rows.health) {
        "paused" => String::new(),
        _ => format!(
            "; {}",
            remedies::remedy_of_state("paused", WhyStopped::Ended).unwrap_or_default()
        ),
    };
    (!sides.is_empty()).then(|| format!("paused: {}{resume}", sides.join(" and ")))
}

fn backfill(row: &Row) -> Option<String> {
    let object = printable(row.text("object").unwrap_or_default());
    let done = row.number("backfill_rows").filter(|done| *done > 0)?;
    let Some(total) = row.number("backfill_total").filter(|total| *total >= done) else {
        return Some(format!(
            "{object}: {} read so far",
            counted(done, "row", "rows")
        ));
    };
    let share = done * 100 / total.max(1);
    Some(format!(
        "{object}: {} of ~{} read, {share} %",
        thousands(done),
        counted(total, "row", "rows")
    ))
}

/// What of an object waits for a person.
fn waiting_of(object: &Row) -> Vec<String> {
    let name = printable(object.text("object").unwrap_or_default());
    let count = |column: &str| object.number(column).unwrap_or(0);
    let mut lines = Vec::new();
    if count("dead") > 0 {
        lines.push(format!(
            "{name}: {} dead, see `hubsyncd outbox list`",
            thousands(count("dead"))
        ));
    }
    if count("conflicts") > 0 {
        let waiting = counted(count("conflicts"), "conflict waits", "conflicts wait");
        lines.push(format!(
            "{name}: {waiting} for a decision, see `hubsyncd conflicts list`"
        ));
    }
    lines
}

/// What an object last met, with what to do about it.
fn error_of(object: &Row, all: &[Row]) -> Vec<String> {
    let name = printable(object.text("object").unwrap_or_default());
    match object.text("last_error") {
        Some(explanation) if object.text("code") == Some(OBJECT_UNKNOWN) => vec![
            format!("{name}: {}", printable(explanation)),
            format!("hint: {LOOK_AT_THE_NAME}"),
        ],
        Some(explanation) if is_forbidden(object) => scope_lines(object, explanation, all).into(),
        Some(explanation) => vec![format!("{name}: last error: {}", printable(explanation))],
        None => Vec::new(),
    }
}

/// Whether a row of `sync_status` says that HubSpot forbids something of the object.
pub(crate) fn is_forbidden(object: &Row) -> bool {
    waits_for_a_scope(object) || object.text("code") == Some(FORBIDDEN)
}

/// Whether that is for want of a scope.
pub(crate) fn waits_for_a_scope(object: &Row) -> bool {
    object.text("code") == Some(MISSING_SCOPE)
}

/// What HubSpot forbids of an object, and what to do about it.
pub(crate) fn scope_lines(object: &Row, explanation: &str, all: &[Row]) -> [String; 2] {
    let name = printable(object.text("object").unwrap_or_default());
    let others: Vec<String> = all
        .iter()
        .filter(|other| !is_forbidden(other))
        .map(|other| printable(other.text("object").unwrap_or_default()))
        .collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    [
        format!("{name}: {}", printable(explanation)),
        format!(
            "hint: {}",
            remedy(&name, &others, waits_for_a_scope(object))
        ),
    ]
}

/// What somebody can do about the state.
fn remedy_of_state(rows: &StatusRows) -> Option<&'static str> {
    remedies::remedy_of_state(rows.health.text("state")?, rows.stopped)
}

fn problem(field: &Row) -> String {
    let text = |column: &str| printable(field.text(column).unwrap_or_default());
    let mut line = format!("{}.{}: {}", text("object"), text("property"), text("state"));
    for (column, before) in [("problem", ", "), ("hint", "; ")] {
        if let Some(explanation) = field.text(column) {
            line.push_str(before);
            line.push_str(&printable(explanation));
        }
    }
    line
}

/// A hold, and how to approve it.
pub(crate) fn held(hold: &Row, now: Timestamp) -> String {
    let id = hold.number("id").unwrap_or(0);
    let at = hold
        .text("held_at")
        .map(|at| moment(at, now))
        .unwrap_or_default();
    let next = match hold.text("approved_at") {
        Some(_) => "approved, and soon carried out".to_owned(),
        None => format!(
            "let go with `hubsyncd outbox approve {id}`, take back with `hubsyncd outbox discard --hold {id}`"
        ),
    };
    format!(
        "hold {id}: {}, held {at} (at most {} at once): {next}",
        held_work(hold),
        number(hold, "allowed")
    )
}

/// `240 archives of contacts in HubSpot`.
pub(crate) fn held_work(hold: &Row) -> String {
    let records = hold.number("records").unwrap_or(0);
    let object = printable(hold.text("object").unwrap_or_default());
    let operation = match hold.text("operation") {
        Some("clear") => return held_clears(hold, records, &object),
        Some("remove") => "removal".to_owned(),
        Some("disassociate") => "disassociation".to_owned(),
        operation => printable(operation.unwrap_or_default()),
    };
    let place = if hold.text("side") == Some("local") {
        "in the mirror"
    } else {
        "in HubSpot"
    };
    format!(
        "{} of {object} {place}",
        counted(records, &operation, &format!("{operation}s"))
    )
}

/// `240 emptied values of contacts.phone in HubSpot`.
fn held_clears(hold: &Row, records: i64, object: &str) -> String {
    let property = printable(hold.text("property").unwrap_or_default());
    let place = match hold.text("side") {
        Some("local") => "in the mirror",
        _ => "in HubSpot",
    };
    let values = counted(records, "value", "values");
    format!("{values} of {object}.{property} that would become empty {place}")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::commands::testing::{database, execute};

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment")
    }

    fn printed(path: &Path, json: bool) -> String {
        let mut out = Vec::new();
        let ended = status(
            path,
            StatusArgs {
                json,
                ..StatusArgs::default()
            },
            now(),
            &mut out,
        )
        .expect("read");
        assert_eq!(ended, ExitStatus::Done);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn it_shows_health_objects_and_what_to_do() {
        let folder = TempDir::new().expect("a folder");
        insta::assert_snapshot!(printed(&database(&folder), false));
    }

    #[test]
    fn json_has_the_views_columns_by_name_and_in_order() {
        let folder = TempDir::new().expect("a folder");
        let text = printed(&database(&folder), true);
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(3));
        assert_eq!(value["health"]["portal_id"], 12_345_678);
        assert_eq!(value["health"]["webhooks"], "healthy");
        assert_eq!(value["health"]["webhooks_dropped"], 2);
        assert_eq!(value["objects"][1]["object"], "contacts");
        assert_eq!(value["holds"][0]["records"], 240);
        let value = text.find(
            r#"{"object":"companies","table_name":"companies","direction":"pull","rows":50,"#,
        );
        assert!(value.is_some(), "{text}");
    }

    #[test]
    fn a_long_state_stands_apart_from_what_follows() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        for state in ["out_of_quota", "unauthorized", "backfilling", "held"] {
            execute(
                &path,
                &format!(
                    "DROP VIEW sync_health;
                     CREATE VIEW sync_health AS SELECT '{state}' AS state, 7 AS pid, '0.1.0' AS version,
                        '2026-11-24T02:10:00.000Z' AS started_at, NULL AS heartbeat_at, NULL AS portal_id,
                        NULL AS daily_limit, NULL AS daily_used, NULL AS daily_resets_at, 0 AS requests_last_minute,
                        0 AS throttled_last_minute, 0 AS inbox_depth, 0 AS outbox_depth, NULL AS config_error,
                        NULL AS last_error, NULL AS webhooks, 0 AS webhooks_dropped, NULL AS code"
                ),
            );
            let text = printed(&path, false);
            assert!(
                text.starts_with(&format!("{state:<8}  hubsyncd 0.1.0")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_daemon_that_is_gone_is_said_to_be_and_since_when() {
        let folder = TempDir::new().expect("a folder");
        let path = database(&folder);
        execute(
            &path,
            "DROP VIEW sync_health;
             CREATE VIEW sync_health AS SELECT 'stopped' AS state, NULL AS pid, '0.1.0' AS version, NULL AS started_at,
                '2026-11-24T02:10:00.000Z' AS heartbeat_at, NULL AS portal_id, NULL AS daily_limit, NULL AS daily_used,
                NULL AS daily_resets_at, 0 AS requests_last_minute, 4 AS throttled_last_minute, 0 AS inbox_depth,
                0 AS outbox_depth, 'line 3: `tabel`' AS config_error, 'HubSpot could not be reached' AS last_error,
                NULL AS webhooks, 0 AS webhooks_dropped, NULL AS code",
        );
        let text = printed(&path, false);
        assert!(
            text.starts_with("stopped   hubsyncd 0.1.0, last seen 1 h ago\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "config error: line 3: `tabel`\nlast error: HubSpot could not be reached\n"
            ),
            "{text}"
        );
        assert!(text.contains("4 of them throttled"), "{text}");
    }
}
