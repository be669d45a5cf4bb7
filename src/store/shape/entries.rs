//! What becomes of the outbox where a program writes to a mirror: the parts that all mirrors share, each a view that takes
//! INSERTs and does one thing. A mirror's own triggers (`triggers.rs`) say what was written, these what it is in the outbox,
//! so that the words about entries stand in the file once.
//!
//! | written to | means |
//! |---|---|
//! | `_sync_entry_note` | an INSERT is about to come: of the rows that it may stand for, the deleted ones are noted |
//! | `_sync_entry_create` | a row is to become a record |
//! | `_sync_entry_update` | the fields in `_sync_changed` were written |
//! | `_sync_entry_again` | the noted row is back, with the values in `_sync_changed` |
//! | `_sync_entry_archive` | a row was deleted |
//! | `_sync_entry_past` | something was written while the gate was open |
//!
//! All but the last take nothing while the gate is shut. Read are `_sync_entry`, the entries
//! that are a row's own, `_sync_entry_kept`, those of deleted rows, `_sync_entry_leaving`, the noted rows whose archive is on its
//! way, and `_sync_entry_too_long`, the properties in `_sync_changed` whose text HubSpot would not take.

use crate::store::outbox::{OF_ROW, UNWRITABLE};
use crate::store::shape::bypassed;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::guards::kept_by_hubsyncd;
use crate::store::shape::triggers::{FROM_OUTSIDE, KEY, Made, is_too_long, made, raise};
use crate::store::shape::views::NOW;

/// How the triggers of these views begin.
pub(crate) const PREFIX: &str = "sync_entry_";

/// The views by name, and their columns.
const WRITTEN_TO: [(&str, &str); 6] = [
    ("_sync_entry_note", "object, local_id, hs_id"),
    ("_sync_entry_create", "object, local_id, key"),
    ("_sync_entry_update", "object, local_id, hs_id"),
    ("_sync_entry_again", "object, local_id"),
    ("_sync_entry_archive", "object, local_id, hs_id, row"),
    ("_sync_entry_past", "object"),
];

/// The views that are read.
const READ: [&str; 4] = [
    "_sync_entry",
    "_sync_entry_kept",
    "_sync_entry_leaving",
    "_sync_entry_too_long",
];

/// Whether a view of this name is one of these.
pub(crate) fn is_view(name: &str) -> bool {
    READ.contains(&name) || WRITTEN_TO.iter().any(|(view, _)| name == *view)
}

/// The views, and after them their triggers.
pub(crate) fn all() -> Vec<Made> {
    let written_to = WRITTEN_TO.iter().map(|(name, columns)| {
        let nothing = vec!["NULL"; columns.split(", ").count()].join(", ");
        view(name, columns, &format!("SELECT {nothing} WHERE 0"))
    });
    let [entry, kept, leaving, too_long] = READ;
    let columns = "id, object, local_id, hs_id, operation, state, unanswered_since, row, key";
    let read = [
        view(
            entry,
            columns,
            &format!("SELECT {columns} FROM sync_outbox WHERE {OF_ROW}"),
        ),
        view(
            kept,
            "object, local_id, hs_id, row",
            "SELECT object, local_id, hs_id, row FROM _sync_entry WHERE row IS NOT NULL",
        ),
        view(
            leaving,
            "object",
            "SELECT e.object FROM _sync_entry AS e JOIN _sync_replaced AS n ON n.object = e.object AND n.local_id = e.local_id\n\
             WHERE e.operation = 'archive' AND (e.state = 'in_flight' OR e.unanswered_since IS NOT NULL)",
        ),
        view(
            too_long,
            "property",
            &format!(
                "SELECT property FROM _sync_changed WHERE {}",
                is_too_long("new_value")
            ),
        ),
    ];
    let mut all: Vec<Made> = read.into_iter().chain(written_to).collect();
    all.extend([
        part("note", &note()),
        part("create", &[create()]),
        part("update", &update()),
        part("again", &again()),
        part("archive", &archive()),
        trigger("past", &[bypassed::mark()]),
    ]);
    all
}

fn view(name: &str, columns: &str, select: &str) -> Made {
    Made {
        name: name.to_owned(),
        sql: format!("CREATE VIEW {} ({columns}) AS\n{select}", quoted(name)),
    }
}

fn trigger(what: &str, steps: &[String]) -> Made {
    let steps: Vec<String> = steps
        .iter()
        .map(|step| step.replace('\n', "\n    "))
        .collect();
    made(
        &format!("{PREFIX}{what}"),
        "INSTEAD OF INSERT",
        &quoted(&format!("_sync_entry_{what}")),
        "1",
        &steps,
    )
}

/// A trigger that nobody but a mirror's own can fire.
fn part(what: &str, steps: &[String]) -> Made {
    let sentence = kept_by_hubsyncd(&format!("_sync_entry_{what}"));
    let refuse = format!("SELECT {} WHERE {FROM_OUTSIDE}", raise(&sentence));
    trigger(what, &[&[refuse], steps].concat())
}

/// The entry of the row that a part is told of, as its id.
const ENTRY: &str =
    "(SELECT id FROM _sync_entry WHERE object = new.object AND local_id = new.local_id)";

/// The entry of a deleted row keeps the row. It comes back by its record, or by its own id.
fn note() -> Vec<String> {
    let former = |condition: &str| {
        format!(
            "INSERT INTO _sync_replaced (object, local_id, hs_id, row)\n\
             SELECT object, local_id, hs_id, row FROM _sync_entry_kept\n\
             WHERE object = new.object AND {condition}\n\
             ON CONFLICT DO NOTHING"
        )
    };
    vec![
        "DELETE FROM _sync_replaced WHERE object = new.object".to_owned(),
        former("hs_id = new.hs_id"),
        former("local_id = new.local_id AND new.hs_id IS NULL"),
    ]
}

/// Creates wait for the first backfill, so that a filled local table meets the records that HubSpot has already. What waits
/// has no time, so that a long queue of it costs a look at what is due nothing. A list of VALUES and no SELECT, which SQLite
/// would copy into a table of its own for each row.
fn create() -> String {
    let waits =
        "(SELECT 'backfill' FROM _sync_cursors WHERE object = new.object AND backfill <> 'done')";
    format!(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, waits_for, key)\n\
         VALUES (new.object, new.local_id, 'create', {NOW},\n    \
         CASE WHEN {waits} IS NULL THEN {NOW} END,\n    \
         {waits},\n    \
         coalesce(new.key, {KEY}))\n\
         ON CONFLICT DO NOTHING"
    )
}

/// Carries `_sync_changed` over into the row's open conflicts, its entry and its fields.
fn update() -> Vec<String> {
    let open = "object = new.object AND local_id = new.local_id AND resolved_at IS NULL";
    let changed = "EXISTS (SELECT 1 FROM _sync_changed)";
    let settled = format!(
        "id = {ENTRY} AND operation = 'update' AND state <> 'in_flight' AND unanswered_since IS NULL"
    );
    vec![
        // A field in an open conflict waits for a person: only the conflict learns of the write. The daemon spells it.
        format!(
            "UPDATE sync_conflicts\n\
             SET local_value = (SELECT iif(typeof(c.new_value) = 'real', quote(c.new_value), c.new_value)\n    \
             FROM _sync_changed AS c WHERE c.property = sync_conflicts.property)\n\
             WHERE {open} AND property IN (SELECT property FROM _sync_changed)"
        ),
        format!(
            "DELETE FROM _sync_changed WHERE property IN (SELECT property FROM sync_conflicts WHERE {open})"
        ),
        // What can't be written rests for a while; what is written after it must not wait for it.
        format!(
            "UPDATE sync_outbox SET version = version + 1, discarded_at = NULL,\n    \
             attempts = CASE state WHEN 'dead' THEN 0 ELSE attempts END,\n    \
             next_attempt_at = CASE WHEN state = 'dead' OR last_error = {unwritable} THEN enqueued_at ELSE next_attempt_at END,\n    \
             last_error = CASE WHEN last_error = {unwritable} THEN NULL ELSE last_error END,\n    \
             state = CASE state WHEN 'dead' THEN 'pending' ELSE state END\n\
             WHERE id = {ENTRY} AND operation <> 'archive' AND {changed}",
            unwritable = literal(UNWRITABLE),
        ),
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at)\n\
             SELECT new.object, new.local_id, new.hs_id, 'update', {NOW}, {NOW}\n\
             WHERE new.hs_id IS NOT NULL AND {changed} AND {ENTRY} IS NULL"
        ),
        // A row without a record and without an entry is one whose create was discarded: the next write creates it.
        format!(
            "INSERT INTO _sync_entry_create (object, local_id)\n\
             SELECT new.object, new.local_id\n\
             WHERE new.hs_id IS NULL AND {changed} AND {ENTRY} IS NULL"
        ),
        // The first write saves the base. A create sends whole rows: its fields say when a column was written after the INSERT,
        // and while an attempt is open, that it was written since.
        format!(
            "INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at, base_known)\n\
             SELECT e.id, c.property, CASE e.operation WHEN 'update' THEN c.base_value END, {NOW}, e.operation = 'update'\n\
             FROM _sync_entry AS e CROSS JOIN _sync_changed AS c\n\
             WHERE e.object = new.object AND e.local_id = new.local_id AND e.operation <> 'archive'\n\
             ON CONFLICT (outbox_id, property) DO UPDATE SET changed_at = excluded.changed_at"
        ),
        // Back to the base: nothing is left to send. Not while an attempt is open.
        format!(
            "DELETE FROM sync_outbox_fields\n\
             WHERE outbox_id = (SELECT id FROM sync_outbox WHERE {settled}) AND base_known = 1 AND sent_value IS NULL\n    \
             AND EXISTS (SELECT 1 FROM _sync_changed AS c\n        \
             WHERE c.property = sync_outbox_fields.property AND c.new_value IS sync_outbox_fields.base_value)"
        ),
        format!(
            "DELETE FROM sync_outbox\n\
             WHERE {settled} AND NOT EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = sync_outbox.id)"
        ),
        "DELETE FROM _sync_changed".to_owned(),
    ]
}

/// The row is back: what a DELETE made of its entry is undone, and a dead one is due again. A row that was never there is a
/// create; so is one whose create a REPLACE has just taken away, under the same key.
fn again() -> Vec<String> {
    let noted =
        |what: &str| format!("(SELECT {what} FROM _sync_replaced WHERE object = new.object)");
    let local_id = format!("coalesce({}, new.local_id)", noted("local_id"));
    vec![
        format!(
            "UPDATE _sync_changed SET base_value = {}",
            noted("json_extract(row, '$.\"' || property || '\"')")
        ),
        format!(
            "DELETE FROM _sync_changed WHERE base_value IS new_value OR {} IS NULL",
            noted("local_id")
        ),
        format!(
            "UPDATE sync_outbox SET version = version + 1, row = NULL, discarded_at = NULL,\n    \
             attempts = CASE WHEN operation = 'archive' OR state = 'dead' THEN 0 ELSE attempts END,\n    \
             next_attempt_at = CASE WHEN operation = 'archive' OR state = 'dead' THEN enqueued_at ELSE next_attempt_at END,\n    \
             waits_for = CASE operation WHEN 'archive' THEN NULL ELSE waits_for END,\n    \
             approved_hold = CASE operation WHEN 'archive' THEN NULL ELSE approved_hold END,\n    \
             last_error = CASE operation WHEN 'archive' THEN NULL ELSE last_error END,\n    \
             state = CASE state WHEN 'dead' THEN 'pending' ELSE state END,\n    \
             operation = CASE operation WHEN 'archive' THEN 'update' ELSE operation END\n\
             WHERE id = (SELECT id FROM _sync_entry WHERE object = new.object AND local_id = {} AND row IS NOT NULL)",
            noted("local_id")
        ),
        format!(
            "INSERT INTO _sync_entry_create (object, local_id, key)\n\
             SELECT new.object, {local_id}, {key}\n\
             WHERE NOT EXISTS (SELECT 1 FROM _sync_entry WHERE object = new.object AND local_id = {local_id})\n    \
             AND ({key} IS NOT NULL OR {} IS NULL)",
            noted("local_id"),
            key = noted("key"),
        ),
        format!(
            "INSERT INTO _sync_entry_update (object, local_id, hs_id) VALUES (new.object, {local_id}, {})",
            noted("hs_id")
        ),
    ]
}

/// An archive that keeps the whole row; nothing where HubSpot never saw it. While an attempt is open, only the row is kept:
/// settling makes the archive. The DELETE's own time counts, also where an attempt is open: an edit in HubSpot is compared
/// with it.
fn archive() -> Vec<String> {
    let unseen = format!(
        "id = {ENTRY} AND operation = 'create'\n    \
         AND (state = 'dead' OR (attempts = 0 AND unanswered_since IS NULL AND state <> 'in_flight'))"
    );
    vec![
        format!(
            "DELETE FROM sync_outbox_fields WHERE outbox_id = (SELECT id FROM sync_outbox WHERE {unseen})"
        ),
        format!("DELETE FROM sync_outbox WHERE {unseen}"),
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, version)\n\
             SELECT new.object, new.local_id, new.hs_id, 'archive', {NOW}, {NOW}, 0\n\
             WHERE new.hs_id IS NOT NULL AND {ENTRY} IS NULL"
        ),
        format!(
            "UPDATE sync_outbox SET row = new.row, version = version + 1, discarded_at = NULL, enqueued_at = {NOW}\n\
             WHERE id = {ENTRY}"
        ),
        format!(
            "UPDATE sync_outbox SET operation = 'archive', state = 'pending', attempts = 0, next_attempt_at = {NOW},\n    \
             last_error = NULL, waits_for = NULL, approved_hold = NULL\n\
             WHERE id = {ENTRY} AND operation = 'update' AND state <> 'in_flight' AND unanswered_since IS NULL"
        ),
    ]
}
