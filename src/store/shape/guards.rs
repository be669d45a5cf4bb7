//! Who may write to hubsyncd's own tables: its triggers and the daemon; and people, where design.md says "Operating by
//! SQL". Everybody else is refused with a sentence.
//!
//! A guard lets through what a mirror table's trigger writes, because that opens `_sync_gate`; the daemon fires no trigger.

use crate::store::shape::ddl::{each, quoted};
use crate::store::shape::entries;
use crate::store::shape::triggers::{
    CLOSE_GATE, FROM_OUTSIDE, Made, OPEN_GATE, OPENED, made, raise,
};
use crate::store::shape::views::NOW;

/// Tables that nobody but the daemon and the triggers writes.
const KEPT: [&str; 51] = [
    "_sync_meta",
    "_sync_lease",
    "_sync_replaced",
    "_sync_written",
    "_sync_left",
    "sync_outbox_fields",
    "_sync_sent",
    "sync_inbox",
    "_sync_merges",
    "_sync_erasures",
    "_sync_removals",
    "_sync_guard_log",
    "_sync_held_clears",
    "sync_history",
    "sync_runs",
    "sync_calls",
    "sync_requests",
    "sync_fields",
    "sync_unreadable",
    "_sync_objects",
    "_sync_cursors",
    "_sync_again",
    "_sync_ranges",
    "_sync_tombstones",
    "_sync_absent",
    "_sync_reads",
    "_sync_links_due",
    "_sync_links_waiting",
    "_sync_links_missed",
    "_sync_link_limits",
    "_sync_link_passes",
    "_sync_gaps",
    "_sync_quota",
    "_sync_quota_others",
    "_sync_quota_leases",
    "_sync_command_leases",
    "_sync_daemon",
    "_sync_command_work",
    "_sync_pauses",
    "_sync_tokens",
    "_sync_set_aside",
    "_sync_bypassed",
    "_sync_excluded",
    "_sync_owed",
    "_sync_modes",
    "_sync_pushes",
    "_sync_undone",
    "_sync_histories",
    "_sync_options",
    "_sync_gone_options",
    "property_history",
];

/// Tables that are copies of HubSpot's settings.
const REFERENCE: [&str; 5] = [
    "owners",
    "pipelines",
    "pipeline_stages",
    "properties",
    "association_types",
];

/// Tables that recording stands on: whoever writes to them can take a change out of it, or keep it from being seen.
const RECORDING: [&str; 6] = [
    "_sync_gate",
    "_sync_replaced",
    "_sync_written",
    "_sync_left",
    "sync_outbox",
    "sync_outbox_fields",
];

/// Whether recording stands on what has this name: a guard of one of those tables, or a part that writes to them.
pub(crate) fn keeps_recording(name: &str) -> bool {
    let guarded = name.strip_prefix("sync_guard_");
    let is_guard =
        guarded.is_some_and(|rest| RECORDING.iter().any(|table| rest.starts_with(table)));
    is_guard || name.starts_with(entries::PREFIX) || entries::is_view(name)
}

const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// All guards.
pub(crate) fn all() -> Vec<Made> {
    let kept = KEPT
        .iter()
        .flat_map(|table| EVENTS.map(|event| refuse(table, event, &kept_by_hubsyncd(table))));
    let reference = REFERENCE.iter().flat_map(|table| {
        EVENTS.map(|event| {
            refuse(
                table,
                event,
                &format!(
                    "{table} is a copy of HubSpot's settings: change them in HubSpot [read-only]"
                ),
            )
        })
    });
    kept.chain(gate())
        .chain(reference)
        .chain(conflicts())
        .chain(outbox())
        .chain(holds())
        .chain(commands())
        .collect()
}

/// The gate's one row must be there, or no condition on it holds; and it stands open only as our triggers open it. Whether a
/// trigger writes that can't be told: a write to a mirror while it is open is marked (`triggers.rs`), and a gate left open is
/// noticed within seconds (`repair.rs`).
fn gate() -> [Made; 3] {
    let opened_otherwise = format!("new.open NOT IN (0, {OPENED})");
    [
        ("INSERT", "1"),
        ("UPDATE", &opened_otherwise),
        ("DELETE", "1"),
    ]
    .map(|(event, when)| {
        let sentence = kept_by_hubsyncd("_sync_gate");
        guard(
            "_sync_gate",
            event,
            when,
            &[format!("SELECT {}", raise(&sentence))],
        )
    })
}

pub(crate) fn kept_by_hubsyncd(table: &str) -> String {
    format!(
        "{table} is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]"
    )
}

fn guard(table: &str, event: &str, when: &str, steps: &[String]) -> Made {
    let name = format!("sync_guard_{table}_{}", event.to_lowercase());
    made(
        &name,
        &format!("BEFORE {event}"),
        &quoted(table),
        when,
        steps,
    )
}

fn refuse(table: &str, event: &str, sentence: &str) -> Made {
    guard(
        table,
        event,
        FROM_OUTSIDE,
        &[format!("SELECT {}", raise(sentence))],
    )
}

/// `SELECT CASE` with a refusal for each condition that holds.
fn refuse_where(cases: &[(String, &str)]) -> String {
    let arms = each(cases, |(condition, sentence)| {
        format!(" WHEN {condition} THEN {}", raise(sentence))
    });
    format!("SELECT CASE{arms} END")
}

/// Whether any of these columns would change.
fn any_changed(columns: &[&str]) -> String {
    columns
        .iter()
        .map(|column| format!("new.\"{column}\" IS NOT old.\"{column}\""))
        .collect::<Vec<_>>()
        .join(" OR ")
}

/// A person's word on an open conflict.
fn conflicts() -> Vec<Made> {
    let others = any_changed(&[
        "id",
        "object",
        "local_id",
        "hs_id",
        "property",
        "base_value",
        "local_value",
        "remote_value",
        "policy",
        "winner",
        "detected_at",
        "resolved_at",
        "reason",
        "base_known",
        "to_local_id",
        "local_changed_at",
        "remote_changed_at",
        "remote_source_type",
        "remote_source_id",
    ]);
    let explanation = "new.resolution IS NOT NULL AND new.resolution NOT IN ('local', 'remote') AND substr(new.resolution, 1, 6) <> 'value:'";
    let update = refuse_where(&[
        (
            format!("({others})"),
            "only resolution can be set in sync_conflicts: 'local', 'remote', 'value:...' or NULL [read-only]",
        ),
        (
            "old.resolved_at IS NOT NULL".to_owned(),
            "this conflict is closed: change the value in the mirror table instead [conflict-closed]",
        ),
        (
            format!("({explanation})"),
            "resolution must be 'local', 'remote', 'value:...' or NULL [bad-value]",
        ),
    ]);
    vec![
        refuse(
            "sync_conflicts",
            "INSERT",
            &kept_by_hubsyncd("sync_conflicts"),
        ),
        guard("sync_conflicts", "UPDATE", FROM_OUTSIDE, &[update]),
        refuse(
            "sync_conflicts",
            "DELETE",
            "a conflict is decided by its resolution: UPDATE sync_conflicts SET resolution = 'local' or 'remote' [kept-by-hubsyncd]",
        ),
    ]
}

/// Retry and discard.
fn outbox() -> Vec<Made> {
    let others = any_changed(&[
        "id",
        "object",
        "local_id",
        "hs_id",
        "operation",
        "attempts",
        "enqueued_at",
        "next_attempt_at",
        "last_error",
        "code",
        "version",
        "waits_for",
        "key",
        "row",
        "to_object",
        "to_local_id",
        "category",
        "type_id",
        "label",
        "unanswered_since",
        "discarded_at",
        "approved_hold",
        "sent_over",
        "shown_version",
        "taken_by",
        "sent_keyless",
        "by_default",
    ]);
    let wait = "this entry is in flight: wait until its attempt is answered [entry-in-flight]";
    let update = refuse_where(&[
        (
            format!("({others}) OR new.state <> 'pending'"),
            "only state can be set in sync_outbox, and only to 'pending': that tries again; DELETE discards [read-only]",
        ),
        ("old.state = 'in_flight'".to_owned(), wait),
    ]);
    // Whoever retries a dead entry has looked in HubSpot: its lost attempt is no longer in doubt.
    let retry = "UPDATE sync_outbox SET attempts = 0, next_attempt_at = enqueued_at, \
         unanswered_since = CASE WHEN old.state <> 'dead' THEN unanswered_since END, \
         waits_for = CASE WHEN waits_for IN ('guard', 'backfill') THEN waits_for END WHERE id = new.id"
        .to_owned();
    let retried = made(
        "sync_guard_sync_outbox_retry",
        "AFTER UPDATE",
        "\"sync_outbox\"",
        FROM_OUTSIDE,
        &[OPEN_GATE.to_owned(), retry, CLOSE_GATE.to_owned()],
    );
    // The daemon carries the discarding out: it needs the base values, which stand in this row and its fields.
    let discard = [
        format!("SELECT {} WHERE old.state = 'in_flight'", raise(wait)),
        OPEN_GATE.to_owned(),
        format!(
            "UPDATE sync_outbox SET discarded_at = coalesce(discarded_at, {NOW}) WHERE id = old.id"
        ),
        CLOSE_GATE.to_owned(),
        "SELECT RAISE(IGNORE)".to_owned(),
    ];
    vec![
        refuse("sync_outbox", "INSERT", &kept_by_hubsyncd("sync_outbox")),
        guard("sync_outbox", "UPDATE", FROM_OUTSIDE, &[update]),
        retried,
        guard("sync_outbox", "DELETE", FROM_OUTSIDE, &discard),
    ]
}

/// A row that is there stays as it was written, also under `OR REPLACE`.
const FIXED: &str =
    "a command can not be changed: delete it while it waits, and write another [command-fixed]";

/// What programs ask of the daemon: what can be told at once is refused at once.
fn commands() -> [Made; 3] {
    let insert = refuse_where(&[
        (
            "new.command IS NULL OR new.command NOT IN ('refetch', 'reconcile', 'poll', 'backfill', 'pause', 'resume')".to_owned(),
            "there is no such command: write refetch, reconcile, poll, backfill, pause or resume [command-unknown]",
        ),
        (
            "new.state IS NOT 'waiting' OR new.result IS NOT NULL OR new.finished_at IS NOT NULL OR new.run_id IS NOT NULL OR new.code IS NOT NULL"
                .to_owned(),
            "a command is written without state, result and end: the daemon fills them in [command-state]",
        ),
        (
            "EXISTS (SELECT 1 FROM sync_commands WHERE id = new.id)".to_owned(),
            FIXED,
        ),
    ]);
    let running = refuse_where(&[(
        "old.state = 'running'".to_owned(),
        "this command runs: wait for its end [command-running]",
    )]);
    [
        guard("sync_commands", "INSERT", FROM_OUTSIDE, &[insert]),
        refuse("sync_commands", "UPDATE", FIXED),
        guard("sync_commands", "DELETE", FROM_OUTSIDE, &[running]),
    ]
}

/// Of which hold a person can say nothing any more.
const IS_CLOSED: &str =
    "old.approved_at IS NOT NULL OR old.settled_at IS NOT NULL OR old.discarded_at IS NOT NULL";

/// An operator's word on what the guard of promise 11 holds.
fn holds() -> Vec<Made> {
    let others = any_changed(&[
        "id",
        "object",
        "side",
        "operation",
        "records",
        "allowed",
        "held_at",
        "code",
        "property",
        "settled_at",
        "discarded_at",
    ]);
    let update = refuse_where(&[
        (
            format!("({others}) OR new.approved_at IS NULL"),
            "only approved_at can be set in sync_holds: that lets go what is held [read-only]",
        ),
        (IS_CLOSED.to_owned(), "this hold is closed [hold-closed]"),
    ]);
    let stamp = format!("UPDATE sync_holds SET approved_at = {NOW} WHERE id = new.id");
    let stamped = made(
        "sync_guard_sync_holds_approve",
        "AFTER UPDATE",
        "\"sync_holds\"",
        FROM_OUTSIDE,
        &[OPEN_GATE.to_owned(), stamp, CLOSE_GATE.to_owned()],
    );
    // The daemon takes back what it holds, and then the row goes.
    let discard = [
        format!(
            "SELECT {} WHERE old.approved_at IS NOT NULL AND old.settled_at IS NULL",
            raise("this hold is approved: what it holds is let go [hold-closed]")
        ),
        OPEN_GATE.to_owned(),
        // One that holds nothing any more has nothing to be taken back.
        format!(
            "UPDATE sync_holds SET discarded_at = {NOW} WHERE id = old.id AND NOT ({})",
            IS_CLOSED.replace("old.", "")
        ),
        CLOSE_GATE.to_owned(),
        "SELECT RAISE(IGNORE)".to_owned(),
    ];
    vec![
        refuse("sync_holds", "INSERT", &kept_by_hubsyncd("sync_holds")),
        guard("sync_holds", "UPDATE", FROM_OUTSIDE, &[update]),
        stamped,
        guard("sync_holds", "DELETE", FROM_OUTSIDE, &discard),
    ]
}
