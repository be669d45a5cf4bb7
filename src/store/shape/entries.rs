//! What becomes of the outbox where a program writes to a mirror: the parts that all mirrors share, each a view that takes
//! INSERTs and does one thing. A mirror's own triggers (`triggers.rs`) say what was written, these what it is in the outbox,
//! so that the words about entries stand in the file once.
//!
//! | written to | means |
//! |---|---|
//! | `_sync_entry_note` | an INSERT is about to come: of the rows that it may stand for, the deleted ones are noted |
//! | `_sync_entry_former` | a row that an INSERT may stand for is noted |
//! | `_sync_entry_found` | the new row is to take the identity of the noted one |
//! | `_sync_entry_insert` | a row was inserted: it is a create, unless it stands for a noted one |
//! | `_sync_entry_freed` | a new row has the number of a deleted one whose entry is still here: that entry gives it up |
//! | `_sync_entry_create` | a row has something to send for the first time: the entry is made |
//! | `_sync_entry_update` | the fields in `_sync_changed` were written |
//! | `_sync_entry_apart` | the row has an entry, or there is more to them than most writes have |
//! | `_sync_entry_unusual` | there is more to them than that a row's own values have changed, one after the other |
//! | `_sync_entry_long` | a text is too long: the mirror's own trigger there refuses it, which has the columns' names |
//! | `_sync_entry_written` | these are of a row that is still to take the identity of a noted one |
//! | `_sync_entry_late` | some of these writes are told after later ones |
//! | `_sync_entry_more` | the row has an entry |
//! | `_sync_entry_first` | it has none, and these are the first that are to be sent |
//! | `_sync_entry_again` | the noted row is back, with the values in `_sync_changed` |
//! | `_sync_entry_rewritten` | triggers of the user's have written to that row meanwhile |
//! | `_sync_entry_archive` | a row was deleted |
//! | `_sync_entry_leave` | the same, with its entry, if it had one |
//! | `_sync_entry_fixed` | a column was set that is not the programs' to change |
//! | `_sync_entry_past` | something was written while the gate was open |
//!
//! Those that a mirror's own triggers write to open the gate and close it again, and take nothing without the number that says
//! whose write it is; the others take nothing while it is shut, or have nothing to write then. Beside them stands [`told`], which
//! takes the fields out of `_sync_changed` one by one. Read are `_sync_entry`, the entries that are a row's own,
//! `_sync_entry_kept`, those of deleted rows, and `_sync_entry_leaving`, the noted rows whose archive is on its way.
//!
//! What every local write passes is made so that SQLite opens no table of its own for it: no SELECT as the source of an INSERT
//! into what has triggers, no list of more than two values after IN, no UPDATE or DELETE of more than one row of what has
//! triggers or no row numbers. Such a table costs as much as all the rest of a write. What is seldom needed stands in
//! parts of its own behind a WHEN.
//!
//! A trigger of the user's that writes to the row which fired it is run before or after ours, as it happens. Then the later of two
//! writes is told first: see [`late`].

use rusqlite::Transaction;

use crate::model::mapping::ObjectMapping;
use crate::store::StoreError;
use crate::store::outbox::{OF_ROW, UNWRITABLE};
use crate::store::shape::associations::{self, Pairs};
use crate::store::shape::bypassed;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::guards::kept_by_hubsyncd;
use crate::store::shape::triggers::{
    ARCHIVED, CLOSE_GATE, FIXED, FROM_OUTSIDE, KEY, Made, OPEN_GATE, OPENED, is_too_long, made,
    raise, refuse_number,
};
use crate::store::shape::views::NOW;

/// How the triggers of these views begin.
pub(crate) const PREFIX: &str = "sync_entry_";

/// The views by name, and their columns.
const WRITTEN_TO: [(&str, &str); 20] = [
    (
        "_sync_entry_note",
        "writer, object, local_id, hs_id, newest",
    ),
    (
        "_sync_entry_former",
        "writer, object, for_id, local_id, hs_id, hs_created_at, hs_modified_at, hs_archived, row",
    ),
    ("_sync_entry_found", "writer, object, local_id"),
    ("_sync_entry_insert", "writer, object, local_id, long"),
    ("_sync_entry_long", "object, property"),
    ("_sync_entry_freed", "object, local_id"),
    (
        "_sync_entry_create",
        "object, local_id, hs_id, key, at, waits_for",
    ),
    (
        "_sync_entry_update",
        "writer, object, local_id, hs_id, hs_archived",
    ),
    ("_sync_entry_apart", "object, local_id, hs_id, id"),
    ("_sync_entry_unusual", "object, local_id, hs_id, id"),
    ("_sync_entry_written", "object, local_id, hs_id"),
    ("_sync_entry_late", "id"),
    ("_sync_entry_more", "id"),
    (
        "_sync_entry_first",
        "object, local_id, hs_id, at, waits_for",
    ),
    ("_sync_entry_again", "writer, object, local_id"),
    ("_sync_entry_rewritten", "object, for_id, local_id, key"),
    (
        "_sync_entry_archive",
        "writer, object, local_id, hs_id, row",
    ),
    ("_sync_entry_leave", "id, object, local_id, hs_id, row, at"),
    (
        "_sync_entry_fixed",
        "local_id, hs_id, hs_created_at, hs_modified_at, hs_archived",
    ),
    ("_sync_entry_past", "object"),
];

/// The views that are read.
const READ: [&str; 3] = ["_sync_entry", "_sync_entry_kept", "_sync_entry_leaving"];

/// Whether a view of this name is one of these.
pub(crate) fn is_view(name: &str) -> bool {
    READ.contains(&name) || WRITTEN_TO.iter().any(|(view, _)| name == *view)
}

/// The views, and after them their triggers.
pub(crate) fn all(pairs: &Pairs<'_>) -> Vec<Made> {
    let written_to = WRITTEN_TO.iter().map(|(name, columns)| {
        let nothing = vec!["NULL"; columns.split(", ").count()].join(", ");
        view(name, columns, &format!("SELECT {nothing} WHERE 0"))
    });
    let [entry, kept, leaving] = READ;
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
            "object, for_id",
            "SELECT e.object, n.for_id FROM _sync_entry AS e JOIN _sync_replaced AS n ON n.object = e.object AND n.local_id = e.local_id\n\
             WHERE e.operation = 'archive' AND (e.state = 'in_flight' OR e.unanswered_since IS NOT NULL)",
        ),
    ];
    let mut all: Vec<Made> = read.into_iter().chain(written_to).collect();
    all.extend([
        entrance("note", "1", &note()),
        entrance("former", "1", &[former()]),
        entrance("found", "1", &found()),
        entrance("insert", IS_NEW, &insert()),
        made(
            &format!("{PREFIX}insert_long"),
            "INSTEAD OF INSERT",
            "\"_sync_entry_insert\"",
            "new.long IS NOT NULL",
            &["INSERT INTO _sync_entry_long VALUES (new.object, new.long)".to_owned()],
        ),
        // Where no mirror has a text: SQLite takes no INSERT into a view without a trigger.
        trigger("long", "0", &["SELECT NULL".to_owned()]),
        part_where("freed", IS_TAKEN, &freed()),
        trigger("create", "1", &[create("new.key")]),
        entrance("update", "1", &update()),
        part_where("apart", &is_apart(), &apart()),
        part_where("unusual", &is_unusual(), &unusual()),
        part_where("written", IS_OF_A_NEW_ROW, &[written()]),
        part_where("late", &are_late(), &late()),
        part_where("more", "new.id IS NOT NULL", &more()),
        trigger("first", "new.at IS NOT NULL", &first()),
        told(),
        entrance("again", "1", &again()),
        part_where("rewritten", IS_REWRITTEN, &rewritten()),
        entrance("archive", "1", &archive(pairs)),
        made(
            &format!("{PREFIX}taken_away"),
            "INSTEAD OF INSERT",
            "\"_sync_entry_leave\"",
            "new.id IS NOT NULL",
            &indented(&taken_away()),
        ),
        trigger(
            "leave",
            "new.hs_id IS NOT NULL AND new.id IS NULL",
            &[leave()],
        ),
        trigger("fixed", "1", &[fixed()]),
        trigger("past", "1", &[bypassed::mark()]),
    ]);
    all
}

fn view(name: &str, columns: &str, select: &str) -> Made {
    Made {
        name: name.to_owned(),
        sql: format!("CREATE VIEW {} ({columns}) AS\n{select}", quoted(name)),
    }
}

fn trigger(what: &str, when: &str, steps: &[String]) -> Made {
    made(
        &format!("{PREFIX}{what}"),
        "INSTEAD OF INSERT",
        &quoted(&format!("_sync_entry_{what}")),
        when,
        &indented(steps),
    )
}

fn indented(steps: &[String]) -> Vec<String> {
    steps
        .iter()
        .map(|step| step.replace('\n', "\n    "))
        .collect()
}

/// A part that only a mirror's own trigger writes to, which says so by what opens the gate. The gate is open while it works.
fn entrance(what: &str, when: &str, steps: &[String]) -> Made {
    let sentence = kept_by_hubsyncd(&format!("_sync_entry_{what}"));
    let refuse = format!(
        "SELECT {} WHERE new.writer IS NOT {OPENED}",
        raise(&sentence)
    );
    let first = [refuse, OPEN_GATE.to_owned()];
    trigger(
        what,
        when,
        &[&first, steps, &[CLOSE_GATE.to_owned()]].concat(),
    )
}

/// A part that other parts write to. It has nothing to do unless a condition holds.
fn part_where(what: &str, when: &str, steps: &[String]) -> Made {
    let sentence = kept_by_hubsyncd(&format!("_sync_entry_{what}"));
    let refuse = format!("SELECT {} WHERE {FROM_OUTSIDE}", raise(&sentence));
    trigger(what, when, &[&[refuse], steps].concat())
}

/// The entry of the row that a part is told of, as its id.
const ENTRY: &str =
    "(SELECT id FROM _sync_entry WHERE object = new.object AND local_id = new.local_id)";

/// Whether a write has changed anything that is to be sent.
const CHANGED: &str = "EXISTS (SELECT 1 FROM _sync_changed)";

/// As many notes as triggers of the user's can need at once, each inside the other's REPLACE. What an UPSERT noted is of no use.
const NOTES_KEPT: usize = 4;

/// The entry of a deleted row keeps the row. It comes back by its record, or by its own id. A note without a number is that
/// of the newest row, into whose trigger this INSERT is put, or of none.
fn note() -> Vec<String> {
    let kept = |name: &str| format!("json_extract(row, '$.\"${name}\"')");
    let (created_at, modified_at) = (kept("hs_created_at"), kept("hs_modified_at"));
    // One for each index: both at once would be a walk over all entries.
    let former = |condition: &str| {
        format!(
            "INSERT INTO _sync_replaced (object, for_id, local_id, hs_id, hs_created_at, hs_modified_at, row)\n\
             SELECT object, new.local_id, local_id, hs_id, {created_at}, {modified_at}, row FROM _sync_entry_kept\n\
             WHERE object = new.object AND {condition}"
        )
    };
    vec![
        refuse_number(),
        "DELETE FROM _sync_replaced WHERE object = new.object AND for_id = new.local_id AND for_id > 0".to_owned(),
        "UPDATE _sync_replaced SET for_id = coalesce(new.newest, 0) WHERE object = new.object AND for_id = -1".to_owned(),
        format!("DELETE FROM _sync_replaced WHERE id <= (SELECT max(id) FROM _sync_replaced) - {NOTES_KEPT}"),
        "DELETE FROM _sync_written WHERE (object = new.object AND for_id = new.local_id) OR NOT EXISTS (SELECT 1\n    \
         FROM _sync_replaced AS n WHERE n.object = _sync_written.object AND _sync_written.for_id IN (n.for_id, n.local_id))"
            .to_owned(),
        former("hs_id = new.hs_id"),
        former("local_id = new.local_id AND new.hs_id IS NULL"),
    ]
}

/// The row itself, with the key of its create.
fn former() -> String {
    "INSERT INTO _sync_replaced (object, for_id, local_id, hs_id, hs_created_at, hs_modified_at, hs_archived, key, row)\n\
     VALUES (new.object, new.for_id, new.local_id, new.hs_id, new.hs_created_at, new.hs_modified_at, new.hs_archived,\n    \
     (SELECT key FROM _sync_entry WHERE object = new.object AND local_id = new.local_id AND operation = 'create'), new.row)"
        .to_owned()
}

/// Whether an inserted row is still there, and no note is for it.
const IS_NEW: &str = "new.local_id IS NOT NULL\n    \
    AND NOT EXISTS (SELECT 1 FROM _sync_replaced WHERE object = new.object AND for_id IN (-1, new.local_id))";

fn insert() -> Vec<String> {
    vec![
        "INSERT INTO _sync_entry_freed VALUES (new.object, new.local_id)".to_owned(),
        format!(
            "INSERT INTO _sync_entry_create VALUES (new.object, new.local_id, NULL, {KEY}, {NOW}, {WAITS})"
        ),
    ]
}

/// Whether the number of a row is that of a deleted one: a program has set `sqlite_sequence` back, or made the table anew.
const IS_TAKEN: &str =
    "EXISTS (SELECT 1 FROM _sync_entry_kept WHERE object = new.object AND local_id = new.local_id)";

/// The deleted row's entry goes on under a number that no row has: minus its own id, and one less, since SQLite gives -1 out as
/// the number of a row before it has one. What else is kept of that row goes with it.
fn freed() -> Vec<String> {
    let freed = format!("-1 - {ENTRY}");
    let moved = |table: &str, only: &str| {
        format!(
            "UPDATE {table} SET local_id = {freed} WHERE object = new.object AND local_id = new.local_id{only}"
        )
    };
    vec![
        moved("sync_conflicts", " AND resolved_at IS NULL"),
        moved("_sync_sent", ""),
        moved("_sync_gaps", ""),
        format!("UPDATE sync_outbox SET local_id = -1 - id WHERE id = {ENTRY}"),
    ]
}

/// The row takes its identity with the gate shut, so that what triggers of the user's write then is recorded.
fn found() -> Vec<String> {
    let archiving = raise(
        "the former row is being archived in HubSpot at this moment: INSERT it without local_id and hs_id to make a new record [entry-in-flight]",
    );
    vec![
        "DELETE FROM _sync_written WHERE object = new.object AND for_id IN (SELECT local_id FROM _sync_replaced\n    \
         WHERE object = new.object AND for_id IN (-1, new.local_id) AND local_id <> new.local_id)"
            .to_owned(),
        "UPDATE _sync_replaced SET for_id = new.local_id, taking = 1\n\
         WHERE object = new.object AND for_id IN (-1, new.local_id)"
            .to_owned(),
        format!(
            "SELECT {archiving} FROM _sync_entry_leaving WHERE object = new.object AND for_id = new.local_id"
        ),
    ]
}

/// Whether a row that is written to is one that is noted: it is still to take its identity, or is just taking it. One that
/// has the number of the noted row has it by the INSERT itself.
const IS_OF_A_NEW_ROW: &str = "EXISTS (SELECT 1 FROM _sync_replaced AS n WHERE n.object = new.object\n    \
    AND ((n.for_id = new.local_id AND n.taking < 2) OR (n.taking = 1 AND n.local_id = new.local_id)\n        \
    OR (n.for_id = -1 AND n.local_id <> new.local_id AND coalesce(new.hs_id, n.hs_id) IS n.hs_id)))";

fn written() -> String {
    "INSERT INTO _sync_written\n\
     SELECT new.object, new.local_id, property, held_value FROM _sync_changed WHERE 1\n\
     ON CONFLICT (object, for_id, property) DO UPDATE SET value = excluded.value"
        .to_owned()
}

/// The same for rows that got such a number past the triggers.
pub(crate) fn free_numbers(tx: &Transaction<'_>, object: &ObjectMapping) -> Result<(), StoreError> {
    let name = object.object.as_str();
    let taken: Vec<i64> = tx
        .prepare(&format!(
            "SELECT local_id FROM sync_outbox
             WHERE {OF_ROW} AND row IS NOT NULL AND object = ?1
               AND local_id IN (SELECT local_id FROM {} WHERE hs_id IS NULL)",
            quoted(object.table.as_str())
        ))?
        .query_map([name], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for row in taken {
        for step in freed() {
            // The views may be what a program has dropped.
            let step = step
                .replace(
                    "FROM _sync_entry WHERE",
                    &format!("FROM sync_outbox WHERE {OF_ROW} AND"),
                )
                .replace("new.object", "?1")
                .replace("new.local_id", "?2");
            tx.execute(&step, (name, row))?;
        }
    }
    Ok(())
}

/// Creates wait for the first backfill, so that a filled local table meets the records that HubSpot has already.
const WAITS: &str =
    "(SELECT 'backfill' FROM _sync_cursors WHERE object = new.object AND backfill <> 'done')";

/// The entry of a row: a create, or an update where the row has a record. What waits has no time, so that a long queue of it
/// costs a look at what is due nothing. What is more than a value is given to this part: the table's guard comes before the
/// INSERT, so that SQLite reckons each of its terms twice; and with a SELECT it would make a table of its own for each row.
fn create(key: &str) -> String {
    format!(
        "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, waits_for, key)\n\
         VALUES (new.object, new.local_id, new.hs_id, iif(new.hs_id IS NULL, 'create', 'update'), new.at,\n    \
         iif(new.waits_for IS NULL, new.at, NULL), new.waits_for, {key})\n\
         ON CONFLICT DO NOTHING"
    )
}

/// Carries `_sync_changed` over into the row's open conflicts, its entry and its fields. [`first`] has nothing left to do where the row
/// has an entry.
fn update() -> Vec<String> {
    vec![
        format!("SELECT {} WHERE new.hs_archived", raise(ARCHIVED)),
        format!(
            "INSERT INTO _sync_entry_apart VALUES (new.object, new.local_id, new.hs_id, {ENTRY})"
        ),
        format!(
            "INSERT INTO _sync_entry_first VALUES (new.object, new.local_id, new.hs_id, (SELECT at FROM _sync_changed),\n    \
             iif(new.hs_id IS NULL, {WAITS}, NULL))"
        ),
    ]
}

/// Whether a write is not the first of a row which stands for itself and has nothing in dispute. Most are, and this is the one look
/// that they cost: each look costs every write.
fn is_apart() -> String {
    format!(
        "new.id IS NOT NULL OR EXISTS (SELECT 1 FROM _sync_replaced)\n    \
         OR EXISTS (SELECT 1 FROM sync_conflicts WHERE {DISPUTED})\n    \
         OR EXISTS (SELECT 1 FROM _sync_changed WHERE held_value IS NOT new_value OR ({}))",
        is_too_long("new_value"),
    )
}

fn apart() -> Vec<String> {
    vec![
        "INSERT INTO _sync_entry_unusual VALUES (new.object, new.local_id, new.hs_id, new.id)"
            .to_owned(),
        "INSERT INTO _sync_entry_more VALUES (new.id)".to_owned(),
    ]
}

/// The open conflicts of the row that a part is told of.
const DISPUTED: &str = "object = new.object AND local_id = new.local_id AND resolved_at IS NULL";

/// Whether a write is more than that of a row which stands for itself and has nothing in dispute, in the order in which it
/// was made.
fn is_unusual() -> String {
    format!(
        "EXISTS (SELECT 1 FROM _sync_replaced)\n    \
         OR EXISTS (SELECT 1 FROM sync_conflicts WHERE {DISPUTED})\n    \
         OR EXISTS (SELECT 1 FROM _sync_changed WHERE {})\n    \
         OR {}",
        is_too_long("new_value"),
        are_late()
    )
}

fn unusual() -> Vec<String> {
    vec![
        format!(
            "INSERT INTO _sync_entry_long\n\
             SELECT new.object, property FROM _sync_changed WHERE {}",
            is_too_long("new_value")
        ),
        "INSERT INTO _sync_entry_written VALUES (new.object, new.local_id, new.hs_id)".to_owned(),
        // A field in an open conflict waits for a person: only the conflict learns of the write. The daemon spells it.
        format!(
            "UPDATE sync_conflicts\n\
             SET local_value = (SELECT iif(typeof(c.held_value) = 'real', quote(c.held_value), c.held_value)\n    \
             FROM _sync_changed AS c WHERE c.property = sync_conflicts.property)\n\
             WHERE {DISPUTED} AND property IN (SELECT property FROM _sync_changed)"
        ),
        format!(
            "DELETE FROM _sync_changed WHERE property IN (SELECT property FROM sync_conflicts WHERE {DISPUTED})"
        ),
        "INSERT INTO _sync_entry_late VALUES (new.id)".to_owned(),
    ]
}

/// Whether nothing of an entry is on its way, so that it ends where nothing is left to send.
const MAY_END: &str = "operation = 'update' AND state <> 'in_flight' AND unanswered_since IS NULL";

/// A write to a row that has an entry. A deleted row's entry is not that of the row which has its number by now.
fn more() -> Vec<String> {
    let entry = |what: &str| format!("(SELECT {what} FROM sync_outbox WHERE id = new.id)");
    vec![
        // What can't be written rests for a while; what is written after it must not wait for it.
        format!(
            "UPDATE sync_outbox SET version = version + 1, discarded_at = NULL,\n    \
             attempts = CASE state WHEN 'dead' THEN 0 ELSE attempts END,\n    \
             next_attempt_at = CASE WHEN state = 'dead' OR last_error = {unwritable} THEN enqueued_at ELSE next_attempt_at END,\n    \
             last_error = CASE WHEN last_error = {unwritable} THEN NULL ELSE last_error END,\n    \
             code = CASE WHEN last_error = {unwritable} THEN NULL ELSE code END,\n    \
             state = CASE state WHEN 'dead' THEN 'pending' ELSE state END\n\
             WHERE id = new.id AND operation <> 'archive' AND {CHANGED}",
            unwritable = literal(UNWRITABLE),
        ),
        // Not before the row that takes another's identity has been told of.
        format!(
            "UPDATE _sync_changed SET outbox_id = {}, base_known = {},\n    \
             may_end = {} AND NOT EXISTS (SELECT 1 FROM _sync_replaced AS n\n        \
             WHERE n.taking = 1 AND n.object = {} AND n.local_id = {})",
            entry("iif(operation = 'archive', NULL, id)"),
            entry("operation = 'update'"),
            entry(MAY_END),
            entry("object"),
            entry("local_id"),
        ),
        TELL.to_owned(),
        format!(
            "DELETE FROM sync_outbox\n\
             WHERE id = new.id AND {MAY_END} AND NOT EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = new.id)"
        ),
    ]
}

/// The entry that the first write makes. It is the row that was inserted last, as long as this trigger runs: the fields' table has
/// no row numbers, and what other triggers insert counts for them alone.
fn first() -> Vec<String> {
    vec![
        create(&format!("iif(new.hs_id IS NULL, {KEY}, NULL)")),
        "UPDATE _sync_changed SET outbox_id = last_insert_rowid(), base_known = new.hs_id IS NOT NULL"
            .to_owned(),
        TELL.to_owned(),
    ]
}

/// Takes the changes up one by one: see [`told`].
const TELL: &str = "DELETE FROM _sync_changed";

/// What is taken out of `_sync_changed` under the number of an entry becomes a field of that entry. The first write saves the
/// base. A create sends whole rows: its fields say when a column was written after the INSERT, and while an attempt is open,
/// that it was written since. A field that is back at its base goes: nothing is left to send.
///
/// A trigger for each row is the one loop that costs no table of its own: SQLite copies the source of an INSERT … SELECT where
/// the target has triggers, and what an UPDATE or DELETE is to look at where it is no single row of a table with row numbers.
fn told() -> Made {
    made(
        &format!("{PREFIX}told"),
        "AFTER DELETE",
        "\"_sync_changed\"",
        "old.outbox_id IS NOT NULL",
        &[
            "INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at, base_known)\n    \
             VALUES (old.outbox_id, old.property, iif(old.base_known, old.base_value, NULL), old.at, old.base_known)\n    \
             ON CONFLICT (outbox_id, property) DO UPDATE SET changed_at = excluded.changed_at"
                .to_owned(),
            "DELETE FROM sync_outbox_fields\n    \
             WHERE old.may_end AND outbox_id = old.outbox_id AND property = old.property\n        \
             AND base_known = 1 AND sent_value IS NULL AND base_value IS old.held_value"
                .to_owned(),
        ],
    )
}

/// The field of an entry whose base is known, beside a write `c`.
const BASED: &str = "f.outbox_id = new.id AND f.property = c.property AND f.base_known = 1";

/// Whether a write was made before one that has been told already, or may turn out to be made after one that has not.
fn are_late() -> String {
    format!(
        "EXISTS (SELECT 1 FROM _sync_changed AS c WHERE c.held_value IS NOT c.new_value OR (new.id IS NOT NULL\n        \
         AND EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE {BASED} AND f.base_value IS c.base_value)))\n    \
         OR (new.id IS NOT NULL AND EXISTS (SELECT 1 FROM _sync_left))"
    )
}

/// Writes of one statement that are told in another order than they were made in: a write fires a trigger of the user's, whose
/// own write is told first.
///
/// Whatever the order, the writes of a field make a way from its base to what the row holds by now. A write that ends at the
/// base comes before it, and has the true base, unless the way has left the base once more than it came there: then it is
/// what the way came by. Where nothing of a field is to be sent but the row holds something else than was written, the later
/// writes have been told and have led back to the base.
fn late() -> Vec<String> {
    let ends_at_base = format!(
        "EXISTS (SELECT 1 FROM sync_outbox_fields AS f, _sync_changed AS c\n    \
         WHERE {BASED} AND c.new_value IS f.base_value AND c.property = "
    );
    let is_left = format!(
        "EXISTS (SELECT 1 FROM _sync_left AS l WHERE l.at = {NOW} AND l.outbox_id = new.id AND l.property = _sync_changed.property)"
    );
    vec![
        format!(
            "UPDATE _sync_left SET times = times - 1 WHERE at = {NOW} AND outbox_id = new.id AND {ends_at_base}_sync_left.property)"
        ),
        format!(
            "DELETE FROM _sync_changed WHERE {is_left} AND {ends_at_base}_sync_changed.property)"
        ),
        format!("DELETE FROM _sync_left WHERE times = 0 OR at <> {NOW}"),
        format!(
            "INSERT INTO _sync_left\n\
             SELECT new.id, c.property, {NOW}, 1 FROM _sync_changed AS c, sync_outbox_fields AS f\n\
             WHERE {BASED} AND f.base_value IS c.base_value\n\
             ON CONFLICT (outbox_id, property) DO UPDATE SET times = times + 1"
        ),
        "DELETE FROM _sync_changed\n\
         WHERE held_value IS NOT new_value AND NOT EXISTS (SELECT 1 FROM sync_outbox_fields AS f\n    \
         WHERE f.outbox_id = new.id AND f.property = _sync_changed.property)"
            .to_owned(),
        format!(
            "UPDATE sync_outbox_fields SET base_value = (SELECT c.base_value FROM _sync_changed AS c WHERE c.property = sync_outbox_fields.property)\n\
             WHERE outbox_id = new.id AND base_known = 1 AND sent_value IS NULL\n    \
             AND EXISTS (SELECT 1 FROM _sync_changed AS c WHERE c.property = sync_outbox_fields.property\n        \
             AND c.new_value IS sync_outbox_fields.base_value AND c.held_value IS NOT c.new_value)"
        ),
    ]
}

/// The row is back: what a DELETE made of its entry is undone, and a dead one is due again. A row that was never there is a
/// create; so is one whose create a REPLACE has just taken away, under the same key.
fn again() -> Vec<String> {
    let noted = |what: &str| {
        format!(
            "(SELECT {what} FROM _sync_replaced WHERE object = new.object AND for_id = new.local_id)"
        )
    };
    let local_id = format!("coalesce({}, new.local_id)", noted("local_id"));
    vec![
        "UPDATE _sync_replaced SET taking = 2 WHERE object = new.object AND for_id = new.local_id"
            .to_owned(),
        format!(
            "UPDATE _sync_changed SET base_value = {}, held_value = new_value",
            noted("json_extract(row, '$.\"' || property || '\"')")
        ),
        format!(
            "INSERT INTO _sync_entry_rewritten VALUES (new.object, new.local_id, {}, {})",
            noted("local_id"),
            noted("key")
        ),
        format!(
            "DELETE FROM _sync_changed WHERE base_value IS new_value OR {} IS NULL",
            noted("local_id")
        ),
        format!(
            "INSERT INTO _sync_link_back\n\
             SELECT coalesce((SELECT row FROM _sync_entry WHERE object = new.object AND local_id = {} AND row IS NOT NULL), {})",
            noted("local_id"),
            noted("row")
        ),
        format!(
            "UPDATE sync_outbox SET version = version + 1, row = NULL, discarded_at = NULL,\n    \
             attempts = CASE WHEN operation = 'archive' OR state = 'dead' THEN 0 ELSE attempts END,\n    \
             next_attempt_at = CASE WHEN operation = 'archive' OR state = 'dead' THEN enqueued_at ELSE next_attempt_at END,\n    \
             waits_for = CASE operation WHEN 'archive' THEN NULL ELSE waits_for END,\n    \
             approved_hold = CASE operation WHEN 'archive' THEN NULL ELSE approved_hold END,\n    \
             last_error = CASE operation WHEN 'archive' THEN NULL ELSE last_error END,\n    \
             code = CASE operation WHEN 'archive' THEN NULL ELSE code END,\n    \
             state = CASE state WHEN 'dead' THEN 'pending' ELSE state END,\n    \
             operation = CASE operation WHEN 'archive' THEN 'update' ELSE operation END\n\
             WHERE id = (SELECT id FROM _sync_entry WHERE object = new.object AND local_id = {} AND row IS NOT NULL)",
            noted("local_id")
        ),
        format!(
            "INSERT INTO _sync_entry_create\n\
             SELECT new.object, {local_id}, NULL, coalesce({key}, {KEY}), {NOW}, {WAITS}\n\
             WHERE NOT EXISTS (SELECT 1 FROM _sync_entry WHERE object = new.object AND local_id = {local_id})\n    \
             AND ({key} IS NOT NULL OR {} IS NULL)",
            noted("local_id"),
            key = noted("key"),
        ),
        format!(
            "INSERT INTO _sync_entry_update VALUES ({OPENED}, new.object, {local_id}, {}, 0)",
            noted("hs_id")
        ),
    ]
}

/// Whether triggers of the user's have written to a row that has taken the identity of a noted one, before or while it did.
const IS_REWRITTEN: &str = "EXISTS (SELECT 1 FROM _sync_written WHERE object = new.object AND for_id IN (new.for_id, new.local_id))";

/// What was made of such writes under the number that the row had then goes, and so does the create of a row that seemed to
/// have no record.
fn rewritten() -> Vec<String> {
    let untold = "object = new.object AND local_id = new.for_id AND operation <> 'archive' AND row IS NULL\n    \
                  AND (local_id <> new.local_id OR (operation = 'create' AND key IS NOT new.key))";
    let written = |row: &str| {
        format!(
            "SELECT w.property FROM _sync_written AS w WHERE w.object = new.object AND w.for_id = new.{row}"
        )
    };
    let value = |row: &str| {
        format!(
            "(SELECT w.value FROM _sync_written AS w\n    \
             WHERE w.object = new.object AND w.for_id = new.{row} AND w.property = _sync_changed.property)"
        )
    };
    vec![
        format!(
            "DELETE FROM sync_outbox_fields WHERE outbox_id IN (SELECT id FROM _sync_entry WHERE {untold})"
        ),
        format!("DELETE FROM sync_outbox WHERE id IN (SELECT id FROM _sync_entry WHERE {untold})"),
        // What was written before the row took its number is what it was given; what was written then stands in the entry.
        format!(
            "UPDATE _sync_changed SET new_value = {value}, held_value = {value}\n\
             WHERE new.for_id <> new.local_id AND property IN ({})",
            written("for_id"),
            value = value("for_id"),
        ),
        format!(
            "UPDATE _sync_changed SET held_value = {} WHERE property IN ({})",
            value("local_id"),
            written("local_id")
        ),
        // The same where no entry tells of it.
        "UPDATE _sync_changed SET new_value = held_value WHERE NOT EXISTS (SELECT 1\n    \
         FROM _sync_entry AS e JOIN sync_outbox_fields AS f ON f.outbox_id = e.id AND f.property = _sync_changed.property\n    \
         WHERE e.object = new.object AND e.local_id = new.local_id AND e.operation <> 'archive')"
            .to_owned(),
        "DELETE FROM _sync_written WHERE object = new.object AND for_id IN (new.for_id, new.local_id)"
            .to_owned(),
    ]
}

/// Refuses to change what is HubSpot's or hubsyncd's in every mirror: told is of each column whether it was changed.
fn fixed() -> String {
    let cases: Vec<String> = FIXED
        .iter()
        .map(|column| {
            let owner = match *column {
                "local_id" => "is the row's own id for ever",
                "hs_archived" => "is set by hubsyncd",
                _ => "is given by HubSpot",
            };
            let refuse = raise(&format!("{column} {owner}: leave it as it is [read-only]"));
            format!("\nWHEN new.{column} THEN {refuse}")
        })
        .collect();
    format!("SELECT CASE{} END", cases.concat())
}

/// A row was deleted: what its entry makes of that, or an archive, where it has none.
fn archive(pairs: &Pairs<'_>) -> Vec<String> {
    let row = associations::with_associations(pairs);
    let mut steps = vec![format!(
        "INSERT INTO _sync_entry_leave VALUES ({ENTRY}, new.object, new.local_id, new.hs_id, {row}, {NOW})"
    )];
    steps.extend(associations::note_replaced(pairs));
    steps.push(
        "INSERT INTO _sync_link_lost VALUES (new.object, new.local_id, new.hs_id)".to_owned(),
    );
    steps
}

/// The entry keeps the whole row, or goes where HubSpot never saw it. While an attempt is on its way, and of a create in doubt, only
/// the row is kept: settling makes the archive. The DELETE's own time counts, also where an attempt is open: an edit in HubSpot is compared
/// with it.
fn taken_away() -> Vec<String> {
    let unseen = "operation = 'create'\n    \
                  AND (state = 'dead' OR (attempts = 0 AND unanswered_since IS NULL AND state <> 'in_flight'))";
    let sentence = kept_by_hubsyncd("_sync_entry_leave");
    vec![
        format!("SELECT {} WHERE {FROM_OUTSIDE}", raise(&sentence)),
        format!(
            "DELETE FROM sync_outbox_fields WHERE outbox_id = (SELECT id FROM sync_outbox WHERE id = new.id AND {unseen})"
        ),
        format!("DELETE FROM sync_outbox WHERE id = new.id AND {unseen}"),
        format!(
            "UPDATE sync_outbox SET row = new.row, version = version + 1, discarded_at = NULL, enqueued_at = {NOW}\n\
             WHERE id = new.id"
        ),
        format!(
            "UPDATE sync_outbox SET operation = 'archive', state = 'pending', attempts = 0, next_attempt_at = {NOW},\n    \
             last_error = NULL, code = NULL, waits_for = NULL, approved_hold = NULL, unanswered_since = NULL\n\
             WHERE id = new.id AND operation = 'update' AND state <> 'in_flight'"
        ),
    ]
}

/// The archive of a row that had no entry.
fn leave() -> String {
    "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, row)\n\
     VALUES (new.object, new.local_id, new.hs_id, 'archive', new.at, new.at, new.row)"
        .to_owned()
}
