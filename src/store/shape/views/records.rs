//! `sync_records`: a row for each row of a mirror, with what waits of it and why. A row's state is that by which
//! `sync_status` counts it (`contract-operations.md`, section 3).

use crate::model::mapping::{Mapping, ObjectMapping};
use crate::store::outbox::OF_ROW;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::triggers::Made;
use crate::store::shape::views::conflict_objects;

/// The view, over the objects of a mapping; each has its table.
pub(super) fn records(mapping: &Mapping) -> Made {
    let objects = mapping.objects.iter();
    let mut rows: Vec<String> = objects.map(|object| of_object(mapping, object)).collect();
    if rows.is_empty() {
        rows.push(
            "SELECT NULL AS object, NULL AS local_id, NULL AS hs_id, NULL AS state, NULL AS waits_for, NULL AS pending,
       NULL AS conflicts, NULL AS attempts, NULL AS next_attempt_at, NULL AS code, NULL AS last_error, NULL AS changed_at,
       NULL AS pushed_at
WHERE 0"
                .to_owned(),
        );
    }
    Made {
        name: "sync_records".to_owned(),
        sql: format!(
            "CREATE VIEW \"sync_records\" AS\n{}",
            rows.join("\nUNION ALL\n")
        ),
    }
}

fn of_object(mapping: &Mapping, object: &ObjectMapping) -> String {
    let name = literal(object.object.as_str());
    let conflicts = format!(
        "(SELECT count(*) FROM sync_conflicts AS c
        WHERE c.object IN ({}) AND c.local_id = m.\"local_id\" AND c.resolved_at IS NULL)",
        conflict_objects(mapping, object)
    );
    let written =
        "(SELECT max(f.changed_at) FROM sync_outbox_fields AS f WHERE f.outbox_id = e.id)";
    let changed = |origins: &str| {
        format!(
            "(SELECT max(h.at) FROM sync_history AS h WHERE h.object = {name} AND h.local_id = m.\"local_id\"{origins})"
        )
    };
    format!(
        "SELECT {name} AS object, m.\"local_id\" AS local_id, m.\"hs_id\" AS hs_id,
       CASE
           WHEN e.state = 'dead' OR {conflicts} > 0 THEN 'failing'
           WHEN e.state IS NOT NULL OR {held} THEN 'waiting'
           WHEN m.\"hs_id\" IS NULL OR m.\"hs_archived\" = 1 THEN 'excluded'
           ELSE 'in_sync'
       END AS state,
       coalesce(e.waits_for, iif({removal}, 'guard', NULL), iif(e.id IS NULL AND {held}, 'guard', NULL)) AS waits_for,
       {pending} AS pending, {conflicts} AS conflicts, coalesce(e.attempts, 0) AS attempts, e.next_attempt_at,
       coalesce(e.code, iif(e.id IS NOT NULL AND {removal}, 'removals-held', NULL), iif(e.id IS NULL AND {held}, 'clears-held', NULL))
           AS code,
       e.last_error,
       CASE WHEN e.id IS NULL THEN {any} ELSE coalesce({written}, e.enqueued_at) END AS changed_at, {pushed} AS pushed_at
FROM {table} AS m
LEFT JOIN sync_outbox AS e ON e.object = {name} AND e.local_id = m.\"local_id\" AND e.{OF_ROW}",
        held = held_clear(object, "m.\"local_id\""),
        removal = format_args!(
            "EXISTS (SELECT 1 FROM _sync_removals AS r WHERE r.object = {name} AND r.hs_id = e.hs_id AND r.hold_id IS NOT NULL)"
        ),
        pending = pending(mapping, object),
        any = changed(""),
        pushed = changed(" AND h.origin IN ('push', 'undo')"),
        table = quoted(object.table.as_str()),
    )
}

/// Whether the guard holds an emptied value of a row.
pub(super) fn held_clear(object: &ObjectMapping, local_id: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM _sync_held_clears AS h WHERE h.object = {} AND h.local_id = {local_id})",
        literal(object.object.as_str())
    )
}

/// The columns whose values wait, those among them that the guard holds, and the pairs of which an association does.
fn pending(mapping: &Mapping, object: &ObjectMapping) -> String {
    let name = literal(object.object.as_str());
    let mut waiting = vec![format!(
        "SELECT coalesce((SELECT s.column_name FROM sync_fields AS s WHERE s.object = {name} AND s.property = f.property), f.property)
            AS name FROM sync_outbox_fields AS f WHERE f.outbox_id = e.id
        UNION SELECT coalesce((SELECT s.column_name FROM sync_fields AS s WHERE s.object = {name} AND s.property = h.property), h.property)
            AS name FROM _sync_held_clears AS h WHERE h.object = {name} AND h.local_id = m.\"local_id\""
    )];
    for pair in &mapping.pairs {
        if pair.from == object.object {
            waiting.push(format!(
                "SELECT {key} AS name WHERE EXISTS (
                SELECT 1 FROM sync_outbox AS l
                WHERE l.operation IN ('associate', 'disassociate') AND l.object = {name} AND l.local_id = m.\"local_id\"
                  AND l.to_object = {to})",
                key = literal(pair.key.as_str()),
                to = literal(pair.to.as_str()),
            ));
        }
    }
    let listed = format!(
        "(SELECT group_concat(p.name, ',') FROM (SELECT w.name FROM (\n        {}) AS w ORDER BY w.name) AS p)",
        waiting.join("\n        UNION ALL ")
    );
    format!(
        "CASE WHEN e.operation = 'create' THEN nullif(rtrim({}, ','), '') ELSE {listed} END",
        given(object)
    )
}

/// As many arguments a call of a function takes.
const ARGUMENTS: usize = 100;

/// The columns of a record to be made that have a value, each with a comma behind it. An expression can't be as deep as a table can
/// be wide.
fn given(object: &ObjectMapping) -> String {
    let pushed = object
        .fields
        .iter()
        .filter(|field| field.direction.pushes());
    let mut columns: Vec<&str> = pushed.map(|field| field.column.as_str()).collect();
    columns.sort_unstable();
    let calls = columns.chunks(ARGUMENTS).map(|columns| {
        let own = columns.iter().map(|column| {
            let name = literal(&format!("{column},"));
            format!("iif(m.{} IS NULL, '', {name})", quoted(column))
        });
        format!(
            "printf('{}', {})",
            "%s".repeat(columns.len()),
            own.collect::<Vec<_>>().join(", ")
        )
    });
    let calls: Vec<String> = calls.collect();
    match calls[..] {
        [] => "''".to_owned(),
        [..] => calls.join(" || "),
    }
}
